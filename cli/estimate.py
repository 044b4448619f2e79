"""vaezip estimate: about how small pictures would become, from a few parts of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

import bbans
from bbans.errors import UnsupportedImageError

from . import files, jobs, output, report
from .inputs import expand
from .progress import Ticker, duration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIDE_PX = 192
"""Of a square that is coded: large enough for the model to learn from, as it does in whole pictures."""
SQUARES = 6
"""At most so many of a picture are coded."""


@dataclass(frozen=True)
class Estimate:
    """Of the file that the model would make, and of the seconds to make and check it."""

    file_bytes: int
    seconds: float
    exact: bool


@click.command("estimate")
@jobs.inputs
@click.option("-r", "--recursive", is_flag=True, help="Take the pictures in folders.")
@click.option("--model", metavar="ID|FILE", help="Use this installed model or weight file.  [default: the best one]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all cores]")
@report.option
@jobs.loudness
def command(
    inputs: tuple[str, ...], recursive: bool, model: str | None, threads: int | None, as_json: bool, quiet: bool, verbose: int
) -> int:
    """Say about how many bytes pictures take by the model, and how long it takes, from a few squares of each.

    Small pictures are coded whole. Large ones mostly become a little smaller than estimated: the model learns from all of it.

    \b
    Example:
      vaezip estimate photos/*.png
    """
    from bbans.exact.runtime import cores

    suffixes = files.picture_suffixes() if recursive else set()
    found = expand(inputs, recursive=recursive, wanted=lambda name: any(name.lower().endswith(suffix) for suffix in suffixes))
    # By one thread, as all threads would hardly speed up so small squares: the time is divided by their number instead.
    codec = bbans.api.Model(model, threads=1)
    at_once = threads or cores()
    line = Ticker(quiet)
    rows = [["file", "picture", "source", "estimated", "ratio", "time"]]

    def show(source: str) -> None:
        data = files.read(source)
        picture, plain = files.plain_picture(data)
        height, width, channels = picture.pixels.shape
        conversion_bytes = sum(map(len, replace(plain, samples=plain.samples[:1, :1]).convert()[1]))
        try:
            beside = len(picture.metadata) + conversion_bytes
            estimate = estimate_of(data, plain.samples, beside, codec, partial(line, f"{output.printable(source)}: squares coded"))
        finally:
            line.clear()
        seconds = estimate.seconds / at_once
        if as_json:
            fields = {"width": width, "height": height, "channels": channels, "source_bytes": len(data)}
            fields |= {"estimated_bytes": estimate.file_bytes, "seconds": seconds, "exact": estimate.exact}
            report.line(source, {"status": "done", **fields})
        share = output.ratio(estimate.file_bytes, len(data))
        size = ("" if estimate.exact else "about ") + output.size(estimate.file_bytes)
        rows.append(
            [output.printable(source), f"{width}x{height}x{channels}", output.size(len(data)), size, share, duration(seconds)]
        )

    code = jobs.run([item.source for item in found.items if not item.link], show, effect="", verbose=verbose, as_json=as_json)
    code = max([code, *(jobs.fail(*fault, effect="", verbose=verbose, as_json=as_json) for fault in found.faults)])
    if len(rows) > 1 and not as_json:
        click.echo(output.table(rows))
    return code


def estimate_of(
    data: bytes,
    pixels: npt.NDArray[np.uint8],
    metadata_bytes: int,
    codec: bbans.api.Model,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Estimate:
    """From the file itself, if its picture (H, W, C) is small; else from squares on a regular grid, which `tell` counts.

    Raises: ModelError.
    """
    height, width, channels = pixels.shape
    if not pixels.size:
        raise UnsupportedImageError("the picture is empty")
    codec.load()
    parts = squares(height, width)
    if parts == [(slice(0, height), slice(0, width))]:
        began = time.perf_counter()
        return Estimate(codec.compress(data, mode="model").info.file_bytes, time.perf_counter() - began, True)
    coded_bytes, dims, seconds = 0, 0, 0.0
    for number, (rows, columns) in enumerate(parts):
        tell(number, len(parts))
        part = pixels[rows, columns].copy(order="C")
        began = time.perf_counter()
        info = codec.compress(part, mode="model").info
        seconds += time.perf_counter() - began
        coded_bytes += info.coded_bytes
        dims += part.size
    scale = height * width * channels / dims
    header_bytes = info.header_bytes  # of a small picture, with few messages: those of a large one take a few bytes more
    return Estimate(round(coded_bytes * scale) + header_bytes + metadata_bytes, seconds * scale, False)


def squares(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of at most SQUARES squares, evenly spread; the whole picture if that is no more."""
    if height * width <= SQUARES * SIDE_PX**2:
        return [(slice(0, height), slice(0, width))]
    ratio = width / height
    down = max(1, min(SQUARES, round(math.sqrt(SQUARES / ratio))))
    across = max(1, SQUARES // down)
    return [(rows, columns) for rows in _spread(height, down) for columns in _spread(width, across)]


def _spread(size: int, count: int) -> list[slice]:
    """`count` parts of SIDE_PX, or the whole, with even gaps."""
    side = min(SIDE_PX, size)
    gap = (size - count * side) / (count + 1)
    if gap < 0:
        return [slice(0, size)] if size <= count * SIDE_PX else [slice(0, side)]
    starts = [round(gap + number * (side + gap)) for number in range(count)]
    return [slice(start, start + side) for start in starts]
