"""What the latents save: `python -m benchmarks latents DATASET --with Z --without NONE --control CONTROL [--out FOLDER]`.

Three models that were trained alike but for one thing: `with` codes its latents by bits-back; `without` has none; `control`
has the prior's mode, a deterministic function of pixels known before, wherever the first has z. So the difference of the first
two is what latents are worth, and that of the first and the third is what they are worth beyond more context.

Bytes are those of the messages, every picture is decoded and compared, with the adaptive stage and without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bbans import models
from bbans.codecs import Codec
from bbans.errors import CorruptDataError
from bbans.models.grids import Latent
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.geometry import Bytes
from bbans.models.photo.level import Level

from . import datasets, machine, rows
from .detail import photo_codec
from .rows import Stamp

PREFIX = "latents-"


class ControlLevel(Level):
    """The prior's mode takes the place of the posterior's mode."""

    @property
    def posterior(self) -> Latent:
        return self.prior


class ControlCodec(PhotoCodec):
    """Codes with the prior's mode in place of z and of the posterior's mode. Nothing is drawn."""

    level_type = ControlLevel

    def latent_codec(self, level: Level, latent: Latent) -> Codec[Bytes]:
        def pop(_: Any) -> Any:
            raise CorruptDataError("too few bits for latents, here always")

        return replace(super().latent_codec(level, latent), pop=pop)


@dataclass(frozen=True)
class Rates:
    """Bits of all messages by all dimensions, as they are coded and without the adaptive stage. `weights`: the model's hash."""

    bits_per_dim: float
    without_adaptive_bits_per_dim: float
    weights: str | None = None


@dataclass(frozen=True)
class Latents:
    """The rates of the three models on a data set of so many pictures."""

    pictures: int
    with_z: Rates
    without: Rates
    control: Rates
    stamp: Stamp | None = None


def rates_of(codec: PhotoCodec, pictures: Sequence[NDArray[np.uint8]]) -> Rates:
    """Raises: ClickException when a picture does not come back."""
    rates: dict[bool, float] = {}
    for adaptive in (True, False):
        codec.likelihood.adaptive = adaptive
        size = 0
        for pixels in pictures:
            messages = codec.encode(pixels).messages
            if not np.array_equal(codec.decode(messages, *pixels.shape), pixels):
                raise click.ClickException("a picture does not come back as it was")
            size += sum(len(message) for message in messages)
        rates[adaptive] = 8 * size / sum(pixels.size for pixels in pictures)
    return Rates(rates[True], rates[False], codec.weights_hash.hex())


@click.command()
@click.argument("name", metavar="DATASET")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of data sets. [default: $VAEZIP_DATA]")
@click.option("--with", "with_z", required=True, help="Weight file of the model with latents.")
@click.option("--without", required=True, help="Weight file of the model without.")
@click.option("--control", required=True, help="Weight file of the control.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write JSON into this folder.")
def main(name: str, data: Path | None, with_z: str, without: str, control: str, out: Path | None) -> None:
    """What latents save on a data set of pictures."""
    pictures, stamp = datasets.load(name, data).images, machine.stamp()
    if out is not None:
        rows.refuse_dirty([stamp.commit])
    loaded = {label: photo_codec(file) for label, file in (("with_z", with_z), ("without", without), ("control", control))}
    codecs = loaded | {"control": ControlCodec(loaded["control"].network, models.read(control))}
    rates = {}
    for label, codec in codecs.items():
        rates[label] = rates_of(codec, list(pictures))
        click.echo(f"{label:8} {rates[label]}")
    if out is not None:
        rows.dump(out / f"{PREFIX}{name}.json", rows.to_json(Latents(len(pictures), **rates, stamp=stamp)))


def read(path: Path) -> Latents | None:
    """What was measured; None where there is no file."""
    return rows.from_json(Latents, json.loads(path.read_text())) if path.exists() else None


if __name__ == "__main__":
    main()
