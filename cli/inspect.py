"""vaezip inspect: one picture in detail, and where its bits go as a heat map."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from bbans import api, models
from bbans.errors import ModelError
from bbans.formats import archive, container
from bbans.images.conversion import samples_of
from bbans.images.picture import Picture, write_picture
from bbans.models.registry import family_of
from bbans.models.weights import PHOTO

from . import files, jobs, output, report
from .decompress import inspect
from .list import details
from .progress import Ticker

COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)
"""Of no bits to the most, evenly spaced: from black over violet and orange to light yellow, as matplotlib's `inferno`."""

Floats = npt.NDArray[np.float64]


@click.command("inspect")
@click.argument("source", metavar="IN")
@click.option("--heatmap", "target", metavar="OUT.png", help="Write where the bits go, pixel by pixel.")
@click.option("--model", metavar="ID|FILE", help="Of a picture that is not compressed: this model.  [default: the best one]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all cores]")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@report.option
@jobs.loudness
def command(
    source: str, target: str | None, model: str | None, threads: int | None, force: bool, as_json: bool, quiet: bool, verbose: int
) -> int:
    """Show a compressed picture in detail; one that is not compressed is compressed first, by the model, and not written.

    In a heat map, a pixel's colour is what the model spends on it, from black over violet and orange to light yellow. Latents count
    with what bits-back coding does not get back of them, spread over their block.

    \b
    Examples:
      vaezip inspect photo.png.vaez
      vaezip inspect photo.png --heatmap bits.png
    """

    line = Ticker(quiet)

    def show(source: str) -> None:
        try:
            lines = shown(source)
        finally:
            line.clear()
        if lines:
            click.echo("\n".join(lines))

    def shown(source: str) -> list[str]:
        place = None if target is None else Path(target)
        if place is not None:
            files.check_target(place, source, force=force)
        data = files.read(source)
        codec, tell = api.Model(model, threads=threads), line.share_of(output.printable(source))
        if data.startswith((container.MAGIC, archive.MAGIC)):
            info = inspect(data, None)
            pixels = None if place is None else files.plain_picture(codec.decompress(data, progress=tell).data)[1].samples
        else:
            result = codec.compress(data, mode="model", verify=False, progress=tell)
            info, pixels = result.info, files.plain_picture(data)[1].samples
        fields: dict[str, object] = {"status": "done", **report.info_object(info)}
        lines = [output.printable(source), details(info)]
        if place is not None and pixels is not None:
            weights = (
                models.read(model)
                if info.weights_hash is None
                else models.find(str(info.model), bytes.fromhex(info.weights_hash), model)
            )
            line.show(f"{output.printable(source)}: counting the bits of each pixel")
            heat, share, highest = heat_map(pixels, weights, threads)
            files.write(place, write_picture(Picture(heat, "PNG")), like=None, force=force)
            fields |= {"target": str(place), "latents_share": share, "highest_bits": highest}
            lines.append(
                f"\n  heat map  {output.printable(str(place))}: black is 0 bits, the lightest {highest:.1f} bits a pixel or more"
            )
            lines.append(
                f"  latents   {100 * share:.2f} % of the bits{'' if info.mode == 'model' else ', were it coded by the model'}"
            )
        if as_json:
            report.line(source, fields)
            return []
        return lines

    effect = jobs.NOTHING_WRITTEN if target is not None else ""
    return jobs.run([source], show, effect=effect, verbose=verbose, as_json=as_json)


def heat_map(
    pixels: npt.NDArray[np.uint8], weights: models.Weights, threads: int | None
) -> tuple[npt.NDArray[np.uint8], float, float]:
    """(the map (H, W, 3), the latents' share of the bits, bits a pixel of the lightest colour).

    Raises: ModelError: it is not a model of the photo family.
    """
    from bbans.models.photo.elbo import pixel_bits

    family = family_of(weights)
    if family.name != PHOTO:
        raise ModelError(f"the model '{weights.id}' is of the family {family.name}, which has no heat maps")
    of_pixels, of_latents = pixel_bits(family.load_network(weights, threads=threads), samples_of(pixels))
    total = of_pixels + of_latents
    highest = max(1.0, float(np.quantile(total, 0.995)))
    return coloured(total / highest), float(of_latents.sum() / total.sum()), highest


def coloured(values: Floats) -> npt.NDArray[np.uint8]:
    """Values 0 .. 1 as colours (H, W, 3). Those beyond have the colours of the ends."""
    places = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(values, places, COLOURS[:, channel]) for channel in range(3)]
    colours: npt.NDArray[np.uint8] = np.stack(channels, axis=-1).round().astype(np.uint8)
    return colours
