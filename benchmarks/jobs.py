"""A job is one codec on one data set in one layout; `measure` runs several of them, interleaved.

Layouts::

    each alone       one file an image: the sum of all files
    contact sheet    the images of a set as the tiles of a picture, near square, so that headers don't count; of several pictures
                     where one would be larger than SHEET_SIDE
    archive          the images of a set in one archive of ours, in chunks
    one chain        the same, in a single chunk: initial bits once, as the papers report

A job is cut into parts. A round runs part 0 of every job, then part 1 of every job, and so on: what slows the machine for a while
slows all of them. Seconds are the median over rounds of a part, summed over parts. Every round decodes and compares every part.
"""

from __future__ import annotations

import functools
import math
import operator
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bbans.accounting import Accounting

from .datasets import DataSet, Pixels
from .machine import watch
from .peers import Peer
from .rows import Cost, Row, Speed, Stamp

EACH, SHEET, ARCHIVE, CHAIN = "each alone", "contact sheet", "archive", "one chain"
PARTS = 8
WARM_SIDE = 64
SHEET_SIDE = 2048
"""Pixels a side of a contact sheet. Beyond, libjxl models each piece of 2048 by itself: MNIST 1.566 for 1.341 bits/dim."""


class MismatchError(Exception):
    """What was decoded is not what was encoded: an error, not a number."""


@dataclass(frozen=True)
class Task:
    """What a job is, as in its row."""

    codec: str
    layout: str
    images: int
    dims: int
    pixels: int
    threads: int
    model: str | None = None
    scheme: str | None = None


def task_of(data: DataSet, codec: str, layout: str, threads: int, model: str | None = None, scheme: str | None = None) -> Task:
    """The task of coding a whole data set. `model`: an id or a weight file."""
    name = None if model is None else Path(model).stem
    return Task(codec, layout, len(data.images), data.dims, data.pixels, threads, name, scheme)


@dataclass(frozen=True)
class Step:
    """What one part took. `files`: bytes of each file."""

    files: Sequence[int]
    encode: Cost
    decode: Cost
    accounting: Accounting | None = None
    chunks: int | None = None
    header_bytes: int | None = None
    start_up_s: tuple[float, ...] = ()
    backend: str | None = None


class Job(Protocol):
    """One codec on one data set in one layout."""

    task: Task
    parts: int

    def step(self, part: int) -> Step:
        """Encode, decode and compare a part. Raises: MismatchError."""
        ...


def measure(
    data: DataSet, jobs: Sequence[Job], stamp: Stamp, rounds: int = 1, say: Callable[[str], None] = lambda text: None
) -> list[Row]:
    """The rows of jobs on a data set. One that fails gets a row with its error, and no figures."""
    steps: dict[int, list[list[Step]]] = {index: [[] for _ in range(job.parts)] for index, job in enumerate(jobs)}
    errors: dict[int, str] = {}
    for _ in range(rounds):
        for part in range(max((job.parts for job in jobs), default=0)):
            for index, job in enumerate(jobs):
                if part < job.parts and index not in errors:
                    try:
                        steps[index][part].append(job.step(part))
                    except Exception as error:  # of any library: the other codecs go on
                        errors[index] = f"{type(error).__name__}: {error}"
                        say(f"{job.task.codec}, {job.task.layout}: {errors[index]}")
    rows = []
    for index, job in enumerate(jobs):
        row = Row(data.name, data.title, stamp=stamp, trained_for_it=data.trained(job.task.model), **asdict(job.task))
        failed = errors.get(index)
        rows.append(replace(row, error=failed) if failed is not None else _measured(row, steps[index], data))
    return rows


def _measured(row: Row, steps: list[list[Step]], data: DataSet) -> Row:
    """The row with what all rounds (the inner lists) of all its parts took."""
    firsts = [part[0] for part in steps]
    files = [0] * sum(len(part.files) for part in firsts)
    for index, part in enumerate(firsts):
        files[index :: len(firsts)] = part.files
    encode, decode = (_total([[getattr(step, side) for step in part] for part in steps]) for side in ("encode", "decode"))
    last = steps[-1][-1]
    accountings = [part.accounting for part in firsts if part.accounting is not None]
    return replace(
        row,
        bytes=sum(files),
        files=() if data.is_set else tuple(files),
        speed=Speed(encode, decode, len(steps[0]), row.stamp, last.start_up_s, last.backend),
        accounting=functools.reduce(operator.add, accountings) if accountings else None,
        chunks=last.chunks,
        header_bytes=last.header_bytes,
    )


def _total(costs: list[list[Cost]]) -> Cost:
    """Medians over rounds, the inner lists, summed over parts; of memory the most."""
    cpu = [[cost.cpu_s for cost in part if cost.cpu_s is not None] for part in costs]
    mib = [cost.mib for part in costs for cost in part]
    return Cost(
        sum(statistics.median(cost.wall_s for cost in part) for part in costs),
        sum(map(statistics.median, cpu)) if all(cpu) else None,
        None if None in mib else max(value for value in mib if value is not None),
    )


class PeerJob:
    """A codec of pictures: each image alone, on a pool of threads; or on contact sheets (one stream, if it takes any bytes).

    Raises: ImportError when its library cannot be imported.
    """

    def __init__(self, peer: Peer, data: DataSet, layout: str, threads: int) -> None:
        self.task = task_of(data, peer.name, layout, threads)
        self._peer, self._images = peer, data.images
        self.parts = min(PARTS, len(data.images))
        if layout == SHEET:
            self.parts = 1 if peer.general else sheets(data.images[0].shape, len(data.images))
        first = data.images[0][:WARM_SIDE, :WARM_SIDE]
        peer.decode(peer.encode(first, 1), first.shape)  # a library's first call makes its tables

    def step(self, part: int) -> Step:
        if self.task.layout == SHEET:
            assert isinstance(self._images, np.ndarray)
            share = np.array_split(self._images, self.parts)[part]
            images = [share.reshape(-1, 1, 1) if self._peer.general else contact_sheet(share)]
        else:
            images = list(self._images[part :: self.parts])
        inside = self.task.threads if self.task.layout == SHEET else 1
        files, encode = self._timed(lambda image: self._peer.encode(image, inside), images)
        shapes = [image.shape for image in images]
        decoded, decode = self._timed(lambda pair: self._peer.decode(*pair), list(zip(files, shapes, strict=True)))
        compare(images, decoded)
        return Step([len(file) for file in files], encode, decode)

    def _timed(self, work: Callable[[Any], Any], items: list[Any]) -> tuple[list[Any], Cost]:
        """Results and cost. A thread takes a whole share: a task for every small image would cost more than its work."""
        threads = min(self.task.threads, len(items))
        with ThreadPoolExecutor(threads) as pool, watch() as watched:
            shares = list(pool.map(lambda share: [work(item) for item in share], [items[i::threads] for i in range(threads)]))
        results = [None] * len(items)
        for index, share in enumerate(shares):
            results[index::threads] = share
        return results, watched.cost


def compare(images: Sequence[Pixels], decoded: Sequence[Pixels]) -> None:
    """Raises: MismatchError."""
    for index, (image, back) in enumerate(zip(images, decoded, strict=True)):
        if image.shape != back.shape or not np.array_equal(image, back):
            raise MismatchError(f"image {index} does not come back as it was")


def sheets(shape: tuple[int, ...], count: int) -> int:
    """How many contact sheets, alike in size, `count` images (H, W, C) make."""
    height, width, _ = shape
    side = max(1, min(SHEET_SIDE // height, SHEET_SIDE // width))
    return -(-count // side**2)


def contact_sheet(images: Pixels) -> Pixels:
    """(N, H, W, C) as the tiles of one picture, row by row, ceil(sqrt(N)) a row; tiles that are left over are 0. Inverse: tiles."""
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = images
    grid: Pixels = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, channels)


def tiles(sheet: Pixels, shape: tuple[int, ...]) -> Pixels:
    """The images (N, H, W, C) of a contact sheet. Inverse: contact_sheet."""
    count, height, width, channels = shape
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // width
    grid: Pixels = sheet.reshape(rows, height, columns, width, channels).swapaxes(1, 2)
    return grid.reshape(-1, height, width, channels)[:count]
