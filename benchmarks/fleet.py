"""Packing on several processes against one, and what a job of a given size would be: `python -m benchmarks.fleet`.

::

    python -m benchmarks.fleet measure --images 2000     crops of the sample photos: one process, then a LocalCluster of 2
    python -m benchmarks.fleet drill --every 10          a worker killed every 10 s, the client once: the same bytes
    python -m benchmarks.fleet loader set.vaeza          a DataLoader with 2 workers against the decoder in one process
    python -m benchmarks.fleet plan                      from 10^3 to 10^9 pictures, from the constants that were measured

`measure` compares the bytes and writes `benchmarks/results/fleet.json`. On a machine that others use, too, seconds of the clock say
little, so CPU seconds are there as well. `machine_speed_up` is what the machine gives any engine: N times what a shard takes one
worker alone, over what it takes each of N at the same time; while another core is busy with other work it comes out too high. The
engine's share is what workers do besides packing shards: 1 - (seconds in tasks) / (workers * seconds of the job).
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import click
import numpy as np
from PIL import Image

from bbans import fleet
from bbans.formats.manifest import Manifest, Part
from bbans.shards import state
from bbans.shards.source import open_source
from bbans.shards.task import PackOptions, ShardTask, pack_shard
from bbans.shards.write import SHARD_BYTES, SHARD_IMAGES, whole
from bbans.shards.write import plan as plan_tasks
from bbans.storage import Folder

from . import drill, machine
from .rows import dump

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "fleet.json"
DRILL_RESULTS = RESULTS.with_name("fleet-drill.json")
SIDE = 32
LISTED_AT_ONCE = 1000
"""Keys in an answer of S3."""
ENTRY_BYTES = 300
"""What a file that was listed takes in the memory of whoever submits the job: by tracemalloc, names of 25 bytes, etags of 34."""


def write_crops(folder: Path, count: int, side: int = SIDE, seed: int = 0) -> None:
    """So many square crops of the sample photos as PNG files."""
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((ROOT / "cli" / "samples").glob("*.png"))]
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (int(rng.integers(0, size - side + 1)) for size in photo.shape[:2])
        Image.fromarray(photo[top : top + side, left : left + side]).save(folder / f"{number:07}.png")


@dataclass(frozen=True)
class Timed:
    """A part, what it took, and in which process."""

    part: Part
    seconds: float
    cpu_seconds: float
    pid: int


def timed(task: ShardTask) -> Timed:
    """As `pack_shard`."""
    began, cpu = time.perf_counter(), time.process_time()
    part = pack_shard(task)
    return Timed(part, time.perf_counter() - began, time.process_time() - cpu, os.getpid())


def measure(images: int, workers: int, shard_images: int, side: int = SIDE) -> dict[str, Any]:
    """Pack the same crops by this process and by a cluster, one thread each. Raises: SystemExit: the bytes differ."""
    with tempfile.TemporaryDirectory() as name:
        crops = Path(name, "crops")
        write_crops(crops, images, side)
        one = _run(crops, Path(name, "one"), shard_images, lambda tasks: list(map(timed, tasks)))
        with fleet.engine(f"local:{workers}") as engine:
            list(engine.executor.map(_warm_up, range(workers)))
            many = _run(crops, Path(name, "many"), shard_images, lambda tasks: list(engine.executor.map(timed, tasks)))
            idle = _idle_tasks(engine)
            task = next(
                plan_tasks(open_source(str(crops), SHARD_BYTES, shard_images), str(Path(name, "bound")), PackOptions(threads=1))
            )
            bound = _bound(engine, task, workers)
        same = drill.files_of(Path(name, "one")) == drill.files_of(Path(name, "many"))
    if not same:
        raise SystemExit("the cluster has written other bytes than one process")
    return {
        **machine.about(),
        "load": machine.stamp().load,
        "images": images,
        "side": side,
        "shards": one["shards"],
        "workers": workers,
        "one": one,
        "many": many,
        "speed_up": one["seconds"] / many["seconds"],
        "machine_speed_up": bound,
        "engine_share": 1 - many["task_seconds"] / (workers * many["seconds"]),
        "task_overhead_seconds": idle,
        "manifest_bytes_a_shard": one["manifest_bytes"] / one["shards"],
        "manifest_seconds_a_shard": _manifest_seconds(),
    }


def _run(source: Path, target: Path, shard_images: int, work: Callable[[list[ShardTask]], list[Timed]]) -> dict[str, Any]:
    began = time.perf_counter()
    found = open_source(str(source), SHARD_BYTES, shard_images)
    tasks = list(plan_tasks(found, str(target), PackOptions(threads=1)))
    done = work(tasks)
    manifest = whole(found, [own.part for own in done])
    state.finish(Folder(str(target)), manifest)
    return {
        "seconds": time.perf_counter() - began,
        "task_seconds": sum(own.seconds for own in done),
        "task_cpu_seconds": sum(own.cpu_seconds for own in done),
        "shards": len(done),
        "source_bytes": manifest.source_bytes,
        "file_bytes": manifest.file_bytes,
        "manifest_bytes": len(manifest.pack()),
    }


def _warm_up(number: int) -> int:
    time.sleep(0.2)
    return number


def _bound(engine: fleet.Engine, task: ShardTask, workers: int, rounds: int = 3) -> float | None:
    """The speed-up that this machine can give: a shard by one worker, against the same shard by all of them at the same time.

    Cores share caches and memory, and may be two halves of one. In CPU seconds, which other work on the machine changes least.
    None: a worker was given two tasks each time.
    """
    found = []
    for turn in range(rounds):
        tasks = [replace(task, target=f"{task.target}-{turn}-{worker}") for worker in range(workers + 1)]
        alone = engine.executor.submit(timed, tasks[0]).result()
        together = list(engine.executor.map(timed, tasks[1:]))
        if len({own.pid for own in together}) == workers:
            found.append(workers * alone.cpu_seconds / mean(own.cpu_seconds for own in together))
    return median(found) if found else None


def _idle_tasks(engine: fleet.Engine, count: int = 1000) -> float:
    """Seconds that the engine takes for a task that does nothing, besides its work: what its scheduler can do at most."""
    began = time.perf_counter()
    list(engine.executor.map(abs, range(1, count + 1)))
    return (time.perf_counter() - began) / count


def _manifest_seconds(count: int = 20_000) -> float:
    """Seconds to read the line of a shard."""
    line = Part("set-00000.vaeza", 10_000, "a/b/0000000.png", "a/b/0009999.png", 10**8, 10**8, 10**5, "0" * 32, "0" * 32, ("a-1",))
    data = Manifest((line,) * count).pack()
    began = time.perf_counter()
    Manifest.unpack(data)
    return (time.perf_counter() - began) / count


@dataclass(frozen=True)
class Job:
    """A job of a given size, as it would be: all from measured constants."""

    pictures: int
    shards: int
    manifest_bytes: float
    open_seconds: float
    list_requests: int
    listing_bytes: float
    scheduler_seconds: float
    core_hours: float
    cores_at_most: float


def plan(pictures: int, picture_bytes: int, picture_seconds: float, measured: dict[str, Any]) -> Job:
    """The job of so many pictures.

    Args:
        picture_bytes: of the source. picture_seconds: of a core, to pack one.
        measured: what `measure` returns.
    """
    in_shard = max(1, min(SHARD_IMAGES, SHARD_BYTES // picture_bytes))
    shards_count = -(-pictures // in_shard)
    return Job(
        pictures=pictures,
        shards=shards_count,
        manifest_bytes=shards_count * measured["manifest_bytes_a_shard"],
        open_seconds=shards_count * measured["manifest_seconds_a_shard"],
        list_requests=-(-pictures // LISTED_AT_ONCE),
        listing_bytes=pictures * ENTRY_BYTES,
        scheduler_seconds=shards_count * measured["task_overhead_seconds"],
        core_hours=pictures * picture_seconds / 3600,
        cores_at_most=in_shard * picture_seconds / measured["task_overhead_seconds"],
    )


def table(picture_bytes: int, picture_seconds: float, measured: dict[str, Any]) -> str:
    """Jobs from 10^3 to 10^9 pictures, as Markdown."""
    lines = ["| pictures | shards | manifest | opened in | LIST requests | listing in memory | scheduler | core hours |"]
    lines.append("|---:" * 8 + "|")
    for power in range(3, 10):
        job = plan(10**power, picture_bytes, picture_seconds, measured)
        cells = [f"10^{power}", f"{job.shards:,}", _bytes(job.manifest_bytes), _seconds(job.open_seconds), f"{job.list_requests:,}"]
        cells += [_bytes(job.listing_bytes), _seconds(job.scheduler_seconds), f"{job.core_hours:,.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    most = plan(10**9, picture_bytes, picture_seconds, measured).cores_at_most
    return "\n".join([*lines, "", f"One scheduler keeps {most:,.0f} cores busy."])


def _bytes(count: float) -> str:
    """Such as `26.7 MB`."""
    power = min(4, max(0, int(np.log10(max(count, 1)) // 3)))
    return f"{count / 1000**power:.1f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def _seconds(count: float) -> str:
    """Such as `8 s` or `3.2 h`."""
    return f"{count:,.2f} s" if count < 10 else f"{count:,.0f} s" if count < 3600 else f"{count / 3600:,.1f} h"


@click.group()
def command() -> None:
    """Packing on several processes, measured, and planned for any size."""


@command.command("measure")
@click.option("--images", default=2000, show_default=True, type=click.IntRange(min=1), help="Crops.")
@click.option("--side", default=SIDE, show_default=True, type=click.IntRange(8, 320), help="Side of a crop; 256: photos.")
@click.option("--shard-images", default=250, show_default=True, type=click.IntRange(min=1), help="Images in a shard, at most.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Processes of the cluster.")
@click.option("--json", "out", default=RESULTS, type=click.Path(path_type=Path, dir_okay=False), help="Write JSON into this file.")
def measure_command(images: int, side: int, shard_images: int, workers: int, out: Path) -> None:
    """Pack crops by one process, then by a cluster, and compare."""
    measured = measure(images, workers, shard_images, side)
    dump(out, measured)
    shown = ("images", "shards", "speed_up", "machine_speed_up", "engine_share", "task_overhead_seconds")
    click.echo(", ".join(f"{key}: {measured[key]}" for key in shown))


@command.command("drill")
@click.option("--images", default=2000, show_default=True, type=click.IntRange(min=2), help="Crops of 32 x 32.")
@click.option("--shard-images", default=60, show_default=True, type=click.IntRange(min=1), help="Images in a shard, at most.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Processes of the cluster.")
@click.option(
    "--every", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Seconds between deaths."
)
@click.option("--json", "out", default=DRILL_RESULTS, type=click.Path(path_type=Path, dir_okay=False), help="Write JSON there.")
def drill_command(images: int, shard_images: int, workers: int, every: float, out: Path) -> None:
    """Pack crops while workers are killed one by one, and the client once; compare, and count what was done in vain."""
    with tempfile.TemporaryDirectory() as name:
        write_crops(Path(name, "crops"), images)
        found = drill.drill(Path(name, "crops"), Path(name), workers=workers, shard_images=shard_images, every=every)
    dump(out, {**machine.about(), "load": machine.stamp().load, "images": images, **found})
    click.echo(", ".join(f"{key}: {value}" for key, value in found.items()))


@command.command("loader")
@click.argument("archive", type=click.Path(path_type=Path, exists=True))
@click.option("--batch", default=64, show_default=True, type=click.IntRange(min=1), help="Images in a batch.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Processes of the loader.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Times that each way is measured.")
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON into this file.")
def loader_command(archive: Path, batch: int, workers: int, rounds: int, out: Path | None) -> None:
    """What a DataLoader reads of an archive or a set, against its decoder in one process."""
    from . import loader  # which takes torch

    found = loader.measure(archive, batch=batch, workers=workers, rounds=rounds)
    if out is not None:
        dump(out, {**machine.about(), "load": machine.stamp().load, **found})
    for name, own in found["ways"].items():
        click.echo(f"{name}: {', '.join(f'{key} {value:.2f}' for key, value in own.items())}")


@command.command("plan")
@click.option("--picture-bytes", default=8_000_000, show_default=True, type=click.IntRange(min=1), help="Of a picture file.")
@click.option("--picture-seconds", default=20.0, show_default=True, type=click.FloatRange(min=0), help="Of a core, to pack one.")
@click.option("--json", "source", default=RESULTS, type=click.Path(path_type=Path, exists=True), help="What `measure` wrote.")
def plan_command(picture_bytes: int, picture_seconds: float, source: Path) -> None:
    """What jobs of any size would be, from what was measured."""
    click.echo(table(picture_bytes, picture_seconds, json.loads(source.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    command(prog_name="python -m benchmarks.fleet")
