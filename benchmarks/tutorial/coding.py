"""From a model to a code: numbers on grids, distributions on them as codecs, and bits-back over these.

A number is coded as the cell of a grid that it lies in, in two digits: which run of cells, then which of these. A digit's interval
is a difference of the distribution's cumulative function, made an integer, so what is pushed needs no table.

Points and latents are decoded as cells, and a model is asked about the middles of cells. A point's code length less ``2 n`` bits,
for a grid of 2**n cells in a unit, compares with a density: see `experiments.accuracy` for how fine is fine enough.

Networks run in float64, one point at a time, in coding as in decoding; that is exact in one process on one machine only, which is
what a page of figures needs. The product's networks are exact everywhere (`bbans.exact`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from bbans import ans, bitsback
from bbans.ans import AnyMessage, Message
from bbans.codecs import Codec
from bbans.tables import LOG_BITS, log2, log2_table

from .data import Floats
from .model import Conditional, LatentModel

PRECISION = 24  # of the freqs of a digit
LEAST_FREQ = 2  # of a digit: 1, should rounding make a cumulative function fall
PRIMED_WORDS = 4096  # of initial bits that are there; what is used of them is measured

Cells = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """2**bits cells of one size from `low` to `high`. The first and the last reach to infinity."""

    low: float
    high: float
    bits: int

    @property
    def step(self) -> float:
        return (self.high - self.low) / (1 << self.bits)

    def cells(self, numbers: Floats) -> Cells:
        """The cells that numbers lie in. Inverse, up to half a cell: middles."""
        found = np.floor((numbers - self.low) / self.step).astype(np.int64)
        return np.clip(found, 0, (1 << self.bits) - 1)

    def middles(self, cells: Any) -> Tensor:
        return torch.as_tensor(self.low + (np.asarray(cells) + 0.5) * self.step, dtype=torch.float64)


POINTS = Grid(-1.0, 1.0, 13)  # 2**12 cells in a unit: their logarithms are the bits that a density does not count
LATENTS = Grid(-8.0, 8.0, 14)


Interval = tuple[int, int]  # start and freq


def number(grid: Grid, distribution: Distribution) -> Codec:
    """The codec of a cell, by a distribution of one number."""
    run = 1 << grid.bits // 2
    count = 1 << grid.bits

    def below(cells: Cells) -> Floats:
        """The cumulative function at the lower edges of cells (n,)."""
        found = distribution.cdf(torch.from_numpy(grid.low + grid.step * cells)).numpy()
        return np.where(cells <= 0, 0.0, np.where(cells >= count, 1.0, found))

    def intervals(cell: int) -> tuple[Interval, Interval]:
        """Of the run that the cell is in, and of the cell in its run."""
        first = cell - cell % run
        low, high, *edges = below(np.array([first, first + run, cell, cell + 1])).tolist()
        place = np.array([first // run, first // run + 1])
        start, end = _starts(np.array([low, high]), place, count // run)
        inside, beyond = _starts(_within(np.array(edges), low, high), np.array([cell - first, cell - first + 1]), run)
        return (int(start), int(end - start)), (int(inside), int(beyond - inside))

    def push(message: Any, cell: Any) -> Any:
        upper, lower = intervals(int(cell))
        return ans.push(ans.push(message, *lower, PRECISION), *upper, PRECISION)

    def pop(message: Any) -> tuple[Any, Any]:
        runs = np.arange(count // run + 1)
        shares = below(run * runs)
        chosen, upper = _digit(
            ans.peek(message, PRECISION).item(), _starts(shares, runs, count // run), lambda r: intervals(run * r)[0]
        )
        message = ans.pop(message, *upper, PRECISION)
        first, parts = run * chosen, np.arange(run + 1)
        shares = _within(below(first + parts), float(shares[chosen]), float(shares[chosen + 1]))
        part, lower = _digit(ans.peek(message, PRECISION).item(), _starts(shares, parts, run), lambda i: intervals(first + i)[1])
        return ans.pop(message, *lower, PRECISION), first + part

    def log_freqs(cell: Any, rows: bool) -> Any:
        return sum(log2(freq, log2_table()) - (PRECISION << LOG_BITS) for _, freq in intervals(int(cell)))

    return Codec(push, pop, log_freqs)


def _within(below: Floats, low: float, high: float) -> Floats:
    """Shares of the mass between `low` and `high`, of which there may be none."""
    return (below - low) / (high - low) if high > low else np.zeros_like(below)


def _starts(shares: Floats, places: Cells, count: int) -> Cells:
    """Where the digits at `places` of 0 .. count begin, (n,), by the shares of all below them, (n,): 0 .. 2**PRECISION."""
    shares = np.where(places == 0, 0.0, np.where(places == count, 1.0, np.clip(shares, 0.0, 1.0)))
    starts: Cells = np.floor(shares * ((1 << PRECISION) - LEAST_FREQ * count)).astype(np.int64) + LEAST_FREQ * places
    return starts


def _digit(place: int, starts: Cells, interval: Callable[[int], Interval]) -> tuple[int, Interval]:
    """The digit whose interval holds `place`, and that interval.

    `starts`, of all digits at once, may be off by 1: a function of many numbers may round otherwise than one of a few.
    """
    digit = int(np.searchsorted(starts, place, "right")) - 1
    start, freq = interval(digit)
    while not start <= place < start + freq:
        digit += 1 if place >= start + freq else -1
        start, freq = interval(digit)
    return digit, (start, freq)


def _log_freq(codec: Codec, symbol: int) -> Any:
    assert codec.log_freqs is not None  # those of numbers have them
    return codec.log_freqs(symbol, False)


def vector(grid: Grid, conditional: Conditional, size: int = 2) -> Codec:
    """The codec of the cells (size,) of numbers, each by its distribution given those before it."""

    def codec(cells: Sequence[int]) -> Codec:
        return number(grid, conditional(grid.middles(np.array(cells, np.int64))))

    def push(message: AnyMessage, cells: Any) -> AnyMessage:
        for d in reversed(range(size)):
            message = codec(cells[:d]).push(message, cells[d])
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        cells: list[int] = []
        for _ in range(size):
            message, cell = codec(cells).pop(message)
            cells.append(cell)
        return message, np.array(cells, np.int64)

    def log_freqs(cells: Any, rows: bool) -> Any:
        return sum(_log_freq(codec(cells[:d]), cells[d]) for d in range(size))

    return Codec(push, pop, log_freqs)


def point_codec(model: LatentModel, particles: int = 1, latents: Grid = LATENTS, grid: Grid = POINTS) -> Codec:
    """Bits-back of points, as cells (2,) of `grid`, by a float64 model; Monte Carlo bits-back for more than one particle."""
    prior = vector(latents, model.prior())

    def likelihood(z: Any) -> Codec:
        return vector(grid, model.likelihood(latents.middles(z)))

    def posterior(x: Any) -> Codec:
        return vector(latents, model.posterior(grid.middles(x)))

    if particles > 1:
        return bitsback.importance_sampling(prior, likelihood, posterior, particles)
    return bitsback.bb_ans(prior, likelihood, posterior)


@dataclass(frozen=True)
class CodeLength:
    """What points took, in bits per point less those of the grid, so that a uniform density on the unit square takes 0.

    Args:
        error: the standard error of `bits` as an estimate for the density that the points are from.
        initial_bits: that the message held before, used and given back.
        decoded_equal: whether the same points came out again and left the message as it had been.
    """

    bits: float
    error: float
    initial_bits: int
    points: int
    decoded_equal: bool


@torch.no_grad()
def code(points: Floats, codec: Codec, grid: Grid = POINTS) -> CodeLength:
    """Push points (N, D) one by one on one message, pop them, compare."""
    cells = grid.cells(points)
    message = Message.primed(PRIMED_WORDS)
    lengths = [message.bits]
    for row in cells:
        message = codec.push(message, row)
        lengths.append(message.bits)
    initial = 31 + 32 * (PRIMED_WORDS - message.lowest)
    equal = True
    for row in reversed(cells):
        message, came = codec.pop(message)
        equal = equal and bool(np.array_equal(came, row))
    equal = equal and message.is_primed(0) and message.bits == lengths[0]
    grown = np.diff(lengths) - points.shape[1] * np.log2(1 / grid.step)
    return CodeLength(float(grown.mean()), float(grown.std() / len(grown) ** 0.5), initial, len(grown), equal)
