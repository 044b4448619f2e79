"""Sets of archives on the command line: packed by an engine, unpacked shard by shard."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click
import numpy as np

from bbans import fleet, shards
from bbans.sets.writer import PackMode
from bbans.shards.write import SHARD_BYTES, SHARD_IMAGES
from bbans.storage import is_url

from . import manifests, output, progress, report
from .output import Refused

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}


EFFECT = "Complete shards stay, and the same command goes on from there."
"""How the line of an error ends."""


def size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Bytes, of such as 250MB or 1GiB. Raises: BadParameter."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", value)
    count = int(float(found[1]) * UNITS.get(found[2].lower(), 0)) if found else 0
    if count < 1:
        raise click.BadParameter(f"{value!r} is no size, such as 250MB or 1GiB", ctx, param)
    return count


def options(function: output.Function) -> output.Function:
    """What makes `pack` write a set."""
    for option in (
        click.option(
            "--on",
            "where",
            metavar="ENGINE",
            help="Run on local[:N], processes of this machine, or on a scheduler of Dask, tcp://HOST:8786.  [sets: local]",
        ),
        click.option(
            "--shard-count", type=click.IntRange(min=1), metavar="N", help=f"Images in a shard, at most.  [default: {SHARD_IMAGES}]"
        ),
        click.option(
            "--shard-size",
            callback=size,
            metavar="SIZE",
            help=f"Write a folder of archives, each of at most so much of the source.  [default: {SHARD_BYTES // 10**6}MB]",
        ),
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class SetJob:
    """The options of `pack` for a set."""

    model: str | None
    scheme: str | None
    chunk: int | None
    mode: PackMode
    threads: int | None
    verify: bool
    read_back: bool
    times: bool
    shard_size: int | None
    shard_count: int | None
    where: str | None
    quiet: bool
    verbose: int
    as_json: bool


def wanted(source: str, target: str | None, job: SetJob) -> bool:
    """Whether the user wants a set, not an archive."""
    if job.shard_size or job.shard_count or job.where:
        return True
    places = [source, target or ""]
    return (target or "").endswith(("/", os.sep)) or any(map(is_url, places))


def pack(source: str, target: str, job: SetJob) -> None:
    """Pack a source into a set, or go on with one. Raises: as `bbans.shards.pack_shards`, and Refused."""
    line = progress.ProgressLine(job.quiet)
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(fleet.engine(job.where or "local"))
        except (ValueError, ModuleNotFoundError) as error:
            raise Refused(f"--on: {error}") from error
        if engine.dashboard and job.verbose:
            output.note(f"{engine.dashboard} shows what goes on")
        stack.callback(line.clear)
        packed = shards.pack_shards(
            source,
            target,
            executor=engine.executor,
            shard_bytes=job.shard_size or SHARD_BYTES,
            shard_images=job.shard_count or SHARD_IMAGES,
            model=job.model,
            scheme=job.scheme,
            chunk=job.chunk,
            mode=job.mode,
            threads=job.threads or engine.threads,
            verify=job.verify,
            times=job.times,
            read_back=job.read_back,
            progress=lambda state: line.show(in_words(state)),
        )
    manifest = packed.manifest
    if job.as_json:
        report.line(
            source,
            {
                "status": "done",
                "target": target,
                **manifests.fields(manifest),
                "kept": packed.kept,
                "seconds": time.monotonic() - began,
            },
        )
    if not job.quiet:
        kept = f"; {packed.kept} {'was' if packed.kept == 1 else 'were'} complete before" if packed.kept else ""
        seconds = f", {progress.duration(time.monotonic() - began)}" if job.verbose else ""
        output.note(f"{target}: {manifests.sizes(manifest)}{kept}{seconds}")


def in_words(state: shards.SetProgress) -> str:
    """Such as `12 of 300 shards, 45.3 MB of 120 MB, 1.20 MB/s, 1 min 02 s to go`."""
    count, size = state.done + state.kept, state.done_bytes + state.kept_bytes
    parts = [f"{count} of {state.shards} shards", f"{output.size(size)} of {output.size(state.source_bytes)}"]
    if state.left_seconds is not None:
        parts += [f"{output.size(round(state.rate))}/s", f"{progress.duration(state.left_seconds)} to go"]
    return ", ".join(parts)


def default_target(source: str) -> Path:
    """photos/ -> photos.set."""
    return Path(source.rstrip("/" + os.sep) + ".set")


def in_shards(reader: shards.SetReader, numbers: Sequence[int] | None) -> Iterator[tuple[int, list[int] | None]]:
    """(shard, images in it) of these images of a set; None: all of them."""
    if numbers is None:
        yield from ((shard, None) for shard in range(len(reader.manifest.parts)))
        return
    wanted: dict[int, list[int]] = {}
    for number in sorted(set(numbers)):
        shard, place = reader.place(number)
        wanted.setdefault(shard, []).append(place)
    yield from wanted.items()


def write_array(file: BinaryIO, reader: shards.SetReader, numbers: Sequence[int] | None) -> tuple[int, ...]:
    """Write an array as an .npy, shard by shard. Returns its shape. Raises: CorruptDataError, ModelError, OSError."""
    shape = reader.manifest.shape or ()
    shape = shape if numbers is None else (len(numbers), *shape[1:])
    header = {"descr": np.dtype(reader.manifest.dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    if numbers is None:
        for shard in range(len(reader.manifest.parts)):
            file.write(reader.shard(shard).array().data)
    else:
        for number in numbers:
            file.write(np.ascontiguousarray(reader[number]).data)
    return shape
