"""What the latents save: ``python -m benchmarks.latents FOLDER --with Z --without NONE --control CONTROL [--json OUT]``.

Three models that were trained alike but for one thing: ``with`` codes its latents by bits-back; ``without`` has none; ``control``
has the prior's mode, a deterministic function of pixels known before, wherever the first has z. So the difference of the first
two is what latents are worth, and that of the first and the third is what they are worth beyond more context.

Bytes are those of the messages, every picture is decoded and compared, with the adaptive stage and without it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbans import models
from bbans.ans import Message
from bbans.models.grids import Latent
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.geometry import Bytes
from bbans.models.photo.level import Level

from .photos import SUFFIXES


class ControlLevel(Level):
    """The prior's mode takes the place of the posterior's mode."""

    @property
    def posterior(self) -> Latent:
        return self.prior


class ControlCodec(PhotoCodec):
    """Codes with the prior's mode in place of z and of the posterior's mode. Nothing is drawn."""

    level_type = ControlLevel

    def _draw(self, level: Level, posterior: Latent, messages: list[Message], z: Bytes) -> bool:
        return False


def bits_per_dim(codec: PhotoCodec, pictures: list[NDArray[np.uint8]], adaptive: bool) -> float:
    """Total bits of the messages by total dimensions."""
    codec.phases.adaptive = adaptive
    size = 0
    for pixels in pictures:
        messages = codec.encode(pixels).messages
        if not np.array_equal(codec.decode(messages, *pixels.shape), pixels):
            raise click.ClickException("a picture does not come back as it was")
        size += sum(len(message) for message in messages)
    return 8 * size / sum(pixels.size for pixels in pictures)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--with", "with_z", required=True, help="Weight file of the model with latents.")
@click.option("--without", required=True, help="Weight file of the model without.")
@click.option("--control", required=True, help="Weight file of the control.")
@click.option("--json", "out", default=None, type=click.Path(path_type=Path))
def main(folder: Path, with_z: str, without: str, control: str, out: Path | None) -> None:
    """Measure the pictures below FOLDER."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    rates: dict[str, Any] = {"pictures": len(files)}
    for name, file in (("with", with_z), ("without", without), ("control", control)):
        codec = cast(PhotoCodec, models.load(file))
        if name == "control":
            codec = ControlCodec(codec.network, models.read(file))
        rates[name] = {
            "bits_per_dim": bits_per_dim(codec, pictures, True),
            "without_adaptive_bits_per_dim": bits_per_dim(codec, pictures, False),
        }
        click.echo(f"{name:8} " + " ".join(f"{key} {value:.4f}" for key, value in rates[name].items()))
    if out:
        out.write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
