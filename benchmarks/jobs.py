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

import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .datasets import DataSet, Pixels
from .machine import watch_memory
from .peers import Peer

EACH, SHEET, ARCHIVE, CHAIN = "each alone", "contact sheet", "archive", "one chain"
PARTS = 8
SHEET_SIDE = 2048
"""Pixels a side of a contact sheet. Beyond, libjxl models each piece of 2048 by itself: MNIST 1.566 for 1.341 bits/dim."""


class MismatchError(Exception):
    """What was decoded is not what was encoded: an error, not a number."""


@dataclass(frozen=True)
class Step:
    """What one part took. ``mib``: how far resident memory rose during the call, None where unknown."""

    bytes: int
    encode_s: float
    decode_s: float
    encode_mib: float | None
    decode_mib: float | None


class Job(Protocol):
    """One codec on one data set in one layout. ``about``: further fields of its row; complete after the last step."""

    codec: str
    layout: str
    images: int
    dims: int
    pixels: int
    parts: int
    about: dict[str, Any]

    def step(self, part: int) -> Step:
        """Encode, decode and compare a part. Raises: MismatchError."""
        ...


def measure(jobs: Sequence[Job], rounds: int = 1, say: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """The rows of jobs on one data set. One that fails gets a row with its error, and no figures."""
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
                        say(f"{job.codec}, {job.layout}: {errors[index]}")
    return [_row(job, steps[index], errors.get(index)) for index, job in enumerate(jobs)]


def _row(job: Job, steps: list[list[Step]], error: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"codec": job.codec, "model": None, "layout": job.layout, "images": job.images}
    row |= {"dims": job.dims, "pixels": job.pixels}
    if error is not None:
        return {**row, "error": error, "verified": False}
    size = sum(part[0].bytes for part in steps)
    encode, decode = (
        sum(statistics.median(getattr(step, key) for step in part) for part in steps) for key in ("encode_s", "decode_s")
    )
    row |= {"bytes": size, "bits_per_dim": 8 * size / job.dims, "neg_elbo_bits_per_dim": None}
    row |= {"encode_s": encode, "decode_s": decode, "rounds": len(steps[0])}
    row |= {"images_per_s": job.images / encode, "decode_images_per_s": job.images / decode}
    for key in ("encode_mib", "decode_mib"):
        found = [getattr(step, key) for part in steps for step in part]
        row[key] = None if None in found else max(found)
    return {**row, "verified": True, **job.about}


@dataclass
class PeerJob:
    """A codec of pictures: each image alone, on a pool of threads; or on contact sheets (one stream, if it takes any bytes)."""

    peer: Peer
    data: DataSet
    layout: str
    threads: int
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.codec, self.images, self.dims, self.pixels = self.peer.name, len(self.data.images), self.data.dims, self.data.pixels
        self.parts = min(PARTS, self.images)
        if self.layout == SHEET:
            self.parts = 1 if self.peer.general else sheets(self.data.images[0].shape, self.images)
        self.about |= {"threads": self.threads}
        first = self.data.images[0]
        self.peer.decode(self.peer.encode(first, 1), first.shape)  # a library's first call makes its tables

    def step(self, part: int) -> Step:
        if self.layout == SHEET:
            assert isinstance(self.data.images, np.ndarray)
            share = np.array_split(self.data.images, self.parts)[part]
            images = [share.reshape(-1, 1, 1) if self.peer.general else contact_sheet(share)]
        else:
            images = list(self.data.images[part :: self.parts])
        inside = self.threads if self.layout == SHEET else 1
        files, encode_s, encode_mib = self._timed(lambda image: self.peer.encode(image, inside), images)
        shapes = [image.shape for image in images]
        decoded, decode_s, decode_mib = self._timed(lambda pair: self.peer.decode(*pair), list(zip(files, shapes, strict=True)))
        compare(images, decoded)
        return Step(sum(map(len, files)), encode_s, decode_s, encode_mib, decode_mib)

    def _timed(self, work: Callable[[Any], Any], items: list[Any]) -> tuple[list[Any], float, float | None]:
        """Results, seconds, MiB. A thread takes a whole share: a task for every small image would cost more than its work."""
        threads = min(self.threads, len(items))
        with ThreadPoolExecutor(threads) as pool, watch_memory() as memory:
            start = time.perf_counter()
            shares = list(pool.map(lambda share: [work(item) for item in share], [items[i::threads] for i in range(threads)]))
            seconds = time.perf_counter() - start
        results = [None] * len(items)
        for index, share in enumerate(shares):
            results[index::threads] = share
        return results, seconds, memory.mib


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
