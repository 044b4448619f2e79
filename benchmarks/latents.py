"""What the latents save.

::

    python -m benchmarks latents DATASET --train PHOTOS --weights FOLDER          three small models from the start, then the table
    python -m benchmarks latents DATASET --with Z --without NONE --control CONTROL        the table of weights that are there

Three models that were trained alike but for one thing: `with` codes its latents by bits-back; `without` has none; `control`
has the prior's mode, a deterministic function of pixels known before, wherever the first has z. So the difference of the first
two is what latents are worth, and that of the first and the third is what they are worth beyond more context.

Trained by `--train`, they are equal in data, steps and work (see ablation.py). How small they are and how long they train are
options: what holds for small models need not hold for large ones, and early in training z leads.

Bytes are those of the messages, every picture is decoded and compared, with the adaptive stage and without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bbans import models
from bbans.codecs import Codec
from bbans.errors import BbansError, CorruptDataError
from bbans.models.grids import Latent
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.config import PhotoConfig
from bbans.models.photo.geometry import Bytes
from bbans.models.photo.level import Level
from bbans.training.callbacks import Callbacks, Status
from bbans.training.schedule import Schedule

from . import datasets, machine, rows
from .detail import photo_codec
from .rows import Stamp

FOLDER = click.Path(path_type=Path, file_okay=False)
PREFIX = "latents-"
TRAINED = PREFIX + "trained-"  # of models that --train made
WITH, WITHOUT, CONTROL = "with", "without", "control"


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
class Training:
    """How the three were trained: on crops of so many pictures, `batch` of them a step, with so many pixels a side.

    `macs_per_pixel`: multiplications of the decoder, by name. `halfway`, `at_end`: the negative ELBO, in bits/dim, of crops of the
    pictures that were held out, after half of the steps and after all, by name; empty where none were.
    """

    pictures: int
    steps: int
    batch: int
    side: int
    macs_per_pixel: dict[str, float]
    halfway: dict[str, float] = field(default_factory=dict)
    at_end: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Latents:
    """The rates of the three models on a data set of so many pictures. `training`: None where only heads were trained apart."""

    pictures: int
    with_z: Rates
    without: Rates
    control: Rates
    stamp: Stamp | None = None
    training: Training | None = None


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
@click.option("--with", "with_z", metavar="FILE", help="Weight file of the model with latents.")
@click.option("--without", metavar="FILE", help="Weight file of the model without.")
@click.option("--control", metavar="FILE", help="Weight file of the control.")
@click.option("--train", "photos", type=FOLDER, metavar="PHOTOS", help="Train all three on the pictures below this folder.")
@click.option("--weights", type=FOLDER, metavar="FOLDER", help="Of the three that are trained. An interrupted run goes on there.")
@click.option("--width", default=32, show_default=True, type=click.IntRange(min=1), help="Channels of the models to train.")
@click.option("--steps", default=4000, show_default=True, type=click.IntRange(min=1), help="Of each training.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Crops of a step.")
@click.option("--side", default=64, show_default=True, type=click.IntRange(min=32), help="Of a crop: a power of two.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores]")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write JSON into this folder.")
@click.option("--allow-dirty", is_flag=True, help="Write results of a checkout with changes.")
def main(
    name: str,
    data: Path | None,
    with_z: str | None,
    without: str | None,
    control: str | None,
    photos: Path | None,
    weights: Path | None,
    width: int,
    steps: int,
    batch: int,
    side: int,
    threads: int | None,
    out: Path | None,
    allow_dirty: bool,
) -> None:
    """What latents save on a data set of pictures."""
    given = [file for file in (with_z, without, control) if file is not None]
    if (photos is None) == (len(given) < 3) or (photos is None) != (weights is None) or (photos and given):
        raise click.UsageError("say --train and --weights, or --with, --without and --control")
    if side & (side - 1):
        raise click.UsageError(f"--side is a power of two, not {side}")
    stamp, training = machine.stamp(), None
    if out is not None and not allow_dirty:
        rows.refuse_dirty([stamp.commit])
    chosen = datasets.load(name, data)
    pictures = list(chosen.images)
    if photos is not None and weights is not None:
        training, given = trained(photos, weights, width, Schedule(steps=steps, batch=batch, side=side), threads)
    with_z, without, control = given
    rates = [rates_of(codec, pictures) for codec in codecs_of(with_z, without, control, threads)]
    for label, of_model in zip((WITH, WITHOUT, CONTROL), rates, strict=True):
        click.echo(f"{label:8} {of_model}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        rows.dump(
            out / f"{TRAINED if training else PREFIX}{chosen.name}.json",
            rows.to_json(Latents(len(pictures), rates[0], rates[1], rates[2], stamp, training)),
        )


def trained(photos: Path, weights: Path, width: int, schedule: Schedule, threads: int | None) -> tuple[Training, list[str]]:
    """How three models of that width were trained, and their weight files. Raises: ClickException."""
    from .ablation import train_three

    class Notes(Callbacks):
        def note(self, message: str) -> None:
            click.echo(message, err=True)

        def report(self, row: dict[str, Any], status: Status) -> None:
            click.echo(f"step {status.step} of {status.steps}: {row['train']:.4f} bits/dim", err=True)

    config = PhotoConfig(width=width, blocks=1, carried=max(1, width // 4), head=width, latent_width=max(1, width // 2))
    try:
        training, files = train_three(photos, weights, config, schedule, threads, Notes())
    except BbansError as error:
        raise click.ClickException(str(error)) from None
    return training, [str(files[name]) for name in (WITH, WITHOUT, CONTROL)]


def codecs_of(with_z: str, without: str, control: str, threads: int | None = None) -> list[PhotoCodec]:
    """The codecs of the three weight files."""
    *others, last = (photo_codec(models.read(file), threads) for file in (with_z, without, control))
    return [*others, ControlCodec(last.network, models.read(control))]


def read(path: Path) -> Latents | None:
    """What was measured; None where there is no file."""
    return rows.from_json(Latents, json.loads(path.read_text())) if path.exists() else None


if __name__ == "__main__":
    main()
