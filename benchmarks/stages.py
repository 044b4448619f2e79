"""What each part of the photo model's coder saves and takes: `python -m benchmarks stages kodak --out benchmarks/results`.

The parts are added one after another, each picture is coded by all up to there, decoded and compared. Sizes are those of the
messages. The coder has no switch for least squares on pixels: without them means a core that is compiled from the same sources with
one line changed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from bbans import models
from bbans._core import build_core
from bbans.exact.runtime import cores
from bbans.images.conversion import samples_of
from bbans.models.photo.likelihood import PhaseLikelihood
from bbans.models.photo.start import plain_starts

from . import datasets, machine, rows
from .detail import measures_pictures, photo_codec
from .rows import Cost, Stamp

PREFIX = "stages-"
EXPECTED = (
    "return 8 * *mean + shift_right(least_squares_sum(&state->squares[colour], features, *taps) + (1 << 12), COEFFICIENT_BITS - 3);"
)
MEAN = "return 8 * *mean;"  # of the pixels around, in place of what least squares expect


@dataclass(frozen=True)
class Stage:
    """What codes: all parts of the stages before, and one more, which `what` names."""

    what: str
    adaptive: bool = True
    least_squares: bool = True
    effort: int = 5
    learned: bool = True
    converted: bool = True


STAGES = (
    Stage("the networks alone", adaptive=False, learned=False, converted=False),
    Stage("corrections learned from the picture", least_squares=False, effort=1, learned=False, converted=False),
    Stage("least squares on pixels", effort=1, learned=False, converted=False),
    Stage("mixed decisions", learned=False, converted=False),
    Stage("start values learned in training", converted=False),
    Stage("luma and chroma, where RGB was made of them (effort 5)"),
    *(Stage(f"heads tuned to the picture, effort {effort}", effort=effort) for effort in (7, 8, 9)),
)


@dataclass(frozen=True)
class Measured:
    """`files`: bytes of the messages of each picture. Costs are means of a picture."""

    what: str
    files: tuple[int, ...]
    encode: Cost
    decode: Cost


@dataclass(frozen=True)
class Stages:
    """What all stages take on one data set. `dims`: samples of all pictures."""

    dataset: str
    model: str
    weights: str
    stamp: Stamp
    threads: int
    dims: int
    stages: tuple[Measured, ...]


def measure(stage: Stage, model: str | None, pictures: Sequence[NDArray[np.uint8]], threads: int) -> Measured:
    """Encode and decode all pictures. Raises: ClickException: one does not come back as it was."""
    codec = photo_codec(model, threads)
    if not stage.learned:
        starts = plain_starts()
        if not stage.least_squares:  # which plain starts trust half
            starts = tuple(start._replace(learned=start.learned.copy()) for start in starts)
            for start in starts:
                start.learned["weights"] = 0
        codec.likelihood = PhaseLikelihood(codec.network, starts)
    codec.likelihood.adaptive = stage.adaptive
    files, costs = [], np.zeros((2, 2))
    for pixels in pictures:
        samples = samples_of(pixels) if stage.converted else pixels
        messages, encoding = _timed(lambda samples=samples: codec.encode(samples, stage.effort).messages)  # type: ignore[misc]
        back, decoding = _timed(lambda messages=messages, samples=samples: codec.decode(messages, *samples.shape))  # type: ignore[misc]
        if not np.array_equal(back, samples):
            raise click.ClickException(f"{stage.what}: a picture does not come back as it was")
        files.append(sum(len(message) for message in messages))
        costs += [encoding, decoding]
    encode, decode = (Cost(float(wall), float(cpu)) for wall, cpu in costs / len(pictures))
    return Measured(stage.what, tuple(files), encode, decode)


def _timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What the work gives, and its seconds of the clock and of all cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, (time.perf_counter() - wall, time.process_time() - cpu)


def measure_apart(stage: Stage, *args: Any) -> Measured:
    """As `measure`, in a process whose core has no least squares if the stage has none."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("BBANS_CORE")
        if not stage.least_squares:
            os.environ["BBANS_CORE"] = str(core_without_least_squares(Path(folder)))
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(measure, stage, *args).result()
        finally:
            os.environ.pop("BBANS_CORE", None)
            if before is not None:
                os.environ["BBANS_CORE"] = before


def core_without_least_squares(folder: Path) -> Path:
    """Compile one. Raises: ClickException: the line is no longer there. RuntimeError: the compiler failed."""
    sources = Path(shutil.copytree(build_core.FOLDER, folder / "core"))
    text = (sources / "photo.c").read_text()
    if text.count(EXPECTED) != 1:
        raise click.ClickException("photo.c has no longer the line that stages.py changes")
    (sources / "photo.c").write_text(text.replace(EXPECTED, MEAN))
    build_core.compile_core(folder / build_core.LIBRARY, folder=sources)
    return folder / build_core.LIBRARY


def table(known: Stages) -> list[str]:
    """In Markdown."""
    lines = ["| with | bits/dim | change | encode | decode |", "|---|---:|---:|---:|---:|"]
    before, count = 0, len(known.stages[0].files)
    for stage in known.stages:
        size = sum(stage.files)
        change = f"{100 * (size / before - 1):+.2f} %" if before else ""
        times = (f"{cost.wall_s:.1f} s ({cost.cpu_s:.1f})" for cost in (stage.encode, stage.decode))
        lines.append(f"| {stage.what} | {8 * size / known.dims:.4f} | {change} | {' | '.join(times)} |")
        before = size
    lines += [
        "",
        f"Each row has the parts of all rows above it. Sizes are of messages of {count} pictures; each was decoded and compared.",
        f"Seconds are of a picture, in brackets those of all cores, with {known.threads} threads on {known.stamp.machine}, "
        f"at {known.stamp.commit}.",
    ]
    return lines


@click.command()
@measures_pictures
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="Only the first N of each data set.")
def main(
    names: tuple[str, ...],
    data: Path | None,
    images: int | None,
    model: str | None,
    threads: int | None,
    out: Path | None,
    allow_dirty: bool,
) -> None:
    """What each part of the photo model's coder saves and takes."""
    weights, stamp = models.read(model), machine.stamp()
    if out is not None and not allow_dirty:
        rows.refuse_dirty([stamp.commit])
    for name in names:
        dataset = datasets.load(name, data)
        pictures = list(dataset.images)[:images]
        measured = []
        for stage in STAGES:
            measured.append(measure_apart(stage, model, pictures, threads or cores()))
            click.echo(
                f"{dataset.name}: {stage.what}: {sum(measured[-1].files)} bytes, {measured[-1].encode}, {measured[-1].decode}"
            )
        known = Stages(
            dataset=dataset.name,
            model=weights.id,
            weights=weights.hash.hex(),
            stamp=stamp,
            threads=threads or cores(),
            dims=sum(pixels.size for pixels in pictures),
            stages=tuple(measured),
        )
        click.echo("\n".join(table(known)))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            rows.dump(out / f"{PREFIX}{dataset.name}.json", rows.to_json(known))


def read(path: Path) -> Stages | None:
    """What was measured before; None where there is no file."""
    return rows.from_json(Stages, json.loads(path.read_text())) if path.exists() else None
