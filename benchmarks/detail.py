"""The photo model on a data set of pictures, in detail: `python -m benchmarks detail kodak --out benchmarks/results`.

Beside the sizes, times and bounds of the table: the size of every picture without the adaptive stage, which is what the negative
ELBO of the networks is to be compared with; the time of the networks apart from the coder's; and, given the checkpoint of a
training, the negative ELBO before quantisation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bbans import models
from bbans.exact.runtime import cores
from bbans.images.conversion import samples_of
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.config import PhotoConfig

from . import datasets, machine, rows
from .rows import Stamp

PREFIX = "detail-"
STAGES = ("first_input", "trunk", "head", "prior", "posterior")


@dataclass(frozen=True)
class Seconds:
    """Of a picture, a mean: in the networks, and in all else, the coder for the most part."""

    encode_network_s: float
    encode_coder_s: float
    decode_network_s: float
    decode_coder_s: float


@dataclass(frozen=True)
class Crops:
    """Mean negative ELBO of centre crops of 256 x 256, in bits/dim: of the averaged float model, without rounding and with it."""

    neg_elbo_float: float
    neg_elbo_quantised: float


@dataclass(frozen=True)
class Detail:
    """`files`: bytes of the messages of each picture without the adaptive stage. `seconds`: None where only sizes were measured."""

    dataset: str
    model: str
    weights: str
    stamp: Stamp
    threads: int
    macs_per_pixel: float
    dims: int
    files: tuple[int, ...]
    seconds: Seconds | None = None
    crops: Crops | None = None

    @property
    def bits_per_dim(self) -> float:
        """Without the adaptive stage."""
        return 8 * sum(self.files) / self.dims


def photo_codec(model: str | models.Weights | None, threads: int | None = None) -> PhotoCodec:
    """The codec of a model of the photo family. Raises: ClickException for another."""
    codec = models.load(model, threads=threads)
    if not isinstance(codec, PhotoCodec):
        raise click.ClickException(f"{codec.id} is no model of the photo family")
    return codec


def without_adaptive(codec: PhotoCodec, pixels: NDArray[np.uint8]) -> int:
    """Bytes of a picture's messages when the mixtures are taken as the networks give them."""
    codec.likelihood.adaptive = False
    try:
        messages = codec.encode(pixels).messages
        if not np.array_equal(codec.decode(messages, *pixels.shape), pixels):
            raise click.ClickException("a picture does not come back as it was without the adaptive stage")
    finally:
        codec.likelihood.adaptive = codec.network.config.adaptive
    return sum(len(message) for message in messages)


def seconds_of(codec: PhotoCodec, pictures: Sequence[NDArray[np.uint8]]) -> Seconds:
    """Encodes and decodes all pictures with a clock around the networks."""
    in_networks = 0.0

    def timed(stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            nonlocal in_networks
            start = time.perf_counter()
            try:
                return stage(*values)
            finally:
                in_networks += time.perf_counter() - start

        return run

    def both(work: Callable[[], Any]) -> tuple[Any, NDArray[np.float64]]:
        """What the work gives, and its seconds in networks and elsewhere."""
        nonlocal in_networks
        in_networks, start = 0.0, time.perf_counter()
        result = work()
        return result, np.array([in_networks, time.perf_counter() - start - in_networks])

    totals = np.zeros((2, 2))
    for name in STAGES:
        setattr(codec.network, name, timed(getattr(codec.network, name)))
    try:
        for pixels in pictures:
            messages, encoding = both(lambda pixels=pixels: codec.encode(pixels).messages)  # type: ignore[misc]
            _, decoding = both(lambda messages=messages, pixels=pixels: codec.decode(messages, *pixels.shape))  # type: ignore[misc]
            totals += [encoding, decoding]
    finally:
        for name in STAGES:
            delattr(codec.network, name)
    return Seconds(*(totals / len(pictures)).ravel().tolist())


def macs_per_pixel(config: PhotoConfig) -> float:
    """Multiplications that a decoder runs for each pixel, halos of tiles not counted; a level has 1/4 of a position per pixel."""
    shares = {"carry": 1 / 4, "prior_hidden": 1 / 256, "prior_out": 1 / 256, "posterior_hidden": 1 / 256, "posterior_out": 1 / 256}
    if (
        config.adaptive
    ):  # residuals of the phases before: x01 has those of x11 at no cost, x10 wants both under the posterior's mode
        shares |= dict.fromkeys(("hidden.1", "out.1"), 2.0)
        shares |= dict.fromkeys(("hidden.0", "out.0"), 2.0 if config.latents else 1.0)
    layers = config.layers().items()
    finest = sum(c_out * c_in * kernel**2 * shares.get(name, 1.0) / 4 for name, (c_out, c_in, kernel, *_) in layers)
    return finest * 4 / 3


def crops_of(checkpoint: Path, pictures: Sequence[NDArray[np.uint8]]) -> Crops:
    """Of a checkpoint's averaged model in float32."""
    import torch

    from bbans.exact.qat import set_quantised
    from bbans.models.photo.vae import PhotoVAE
    from bbans.training.metrics import evaluate_photos

    state = torch.load(checkpoint, weights_only=True)
    model = PhotoVAE(PhotoConfig(**state["config"]))
    model.load_state_dict(state["average"])

    def neg_elbo(quantised: bool) -> float:
        set_quantised(model, quantised)
        return evaluate_photos(model, list(pictures), autocast=False)["neg_elbo"]

    return Crops(neg_elbo(False), neg_elbo(True))


OPTIONS = (
    click.argument("names", nargs=-1, required=True, metavar="DATASET..."),
    click.option("--data", type=click.Path(path_type=Path), help="Folder of data sets. [default: $VAEZIP_DATA]"),
    click.option("--model", default=None, help="Model id or weight file. [default: the default model]"),
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores]"),
    click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write JSON into this folder."),
    click.option("--allow-dirty", is_flag=True, help="Write results of a checkout with changes."),
)


def measures_pictures(command: Callable[..., None]) -> Callable[..., None]:
    """A command with what all have that measure the photo model on data sets of pictures."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command()
@measures_pictures
@click.option("--sizes", is_flag=True, help="No times: on a machine with other work.")
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), help="Training checkpoint of the model.")
def main(
    names: tuple[str, ...],
    data: Path | None,
    model: str | None,
    threads: int | None,
    sizes: bool,
    checkpoint: Path | None,
    out: Path | None,
    allow_dirty: bool,
) -> None:
    """The photo model on data sets of pictures: without the adaptive stage, and its time in networks and coder."""
    weights, stamp = models.read(model), machine.stamp()
    if out is not None and not allow_dirty:
        rows.refuse_dirty([stamp.commit])
    codec = photo_codec(weights, threads)
    for name in names:
        pictures = [samples_of(pixels) for pixels in datasets.load(name, data).images]
        path = None if out is None else out / f"{PREFIX}{name}.json"
        old = read(path) if path else None
        known = old if old is not None and old.weights == weights.hash.hex() else None
        detail = Detail(
            dataset=name,
            model=weights.id,
            weights=weights.hash.hex(),
            stamp=stamp,
            threads=threads or cores(),
            macs_per_pixel=macs_per_pixel(codec.network.config),
            dims=sum(pixels.size for pixels in pictures),
            files=tuple(without_adaptive(codec, pixels) for pixels in pictures),
            seconds=(known.seconds if known else None) if sizes else seconds_of(codec, list(pictures)),
            crops=crops_of(checkpoint, list(pictures)) if checkpoint else known.crops if known else None,
        )
        click.echo(f"{name}: {detail.bits_per_dim:.4f} bits/dim without the adaptive stage, {detail.seconds or 'no times'}")
        if path is not None:
            rows.dump(path, rows.to_json(detail))


def read(path: Path) -> Detail | None:
    """What was measured before; None where there is no file."""
    return rows.from_json(Detail, json.loads(path.read_text())) if path.exists() else None


if __name__ == "__main__":
    main()
