"""From a model to a code: numbers on grids, distributions on them as codecs, and bits-back over these.

A number is coded as the cell of a grid that it lies in, in two digits: which of the coarse cells, then which part of that. Each
digit has a table of integer freqs from the distribution's cumulative function, so one table of 2**14 cells becomes two of 2**7.

Points and latents are decoded as cells, and a model is asked about the middles of cells. A point's code length less ``2 n`` bits,
for a grid of 2**n cells in a unit, compares with a density: see `experiments.accuracy` for how fine is fine enough.

Networks run in float64, one point at a time, in coding as in decoding; that is exact in one process on one machine only, which is
what a page of figures needs. The product's networks are exact everywhere (`bbans.exact`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from bbans import bitsback
from bbans.ans import AnyMessage, Message
from bbans.codecs import Codec, categorical
from bbans.tables import quantise_probabilities

from .data import Floats
from .model import Conditional, LatentModel

PRECISION = 24  # of the freqs of a digit
PRIMED_WORDS = 4096  # of initial bits that are there; what is used of them is measured
LEAST = 1e-30  # stands for the mass of cells so unlikely that their differences vanish

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


def number(grid: Grid, distribution: Distribution) -> Codec:
    """The codec of a cell, by a distribution of one number."""
    low_bits = grid.bits // 2
    coarse, parts = 1 << (grid.bits - low_bits), 1 << low_bits

    def digit(first: int, count: int, stride: int) -> Codec:
        """Which of `count` runs of `stride` cells, from cell `first` on."""
        edges = grid.low + grid.step * (first + stride * np.arange(count + 1, dtype=np.float64))
        below = distribution.cdf(torch.from_numpy(edges)).numpy().astype(np.float64)
        if first == 0:
            below[0] = 0.0
        if first + count * stride == 1 << grid.bits:
            below[-1] = 1.0
        return categorical(quantise_probabilities(np.maximum(np.diff(below), LEAST), PRECISION))

    upper = digit(0, coarse, parts)

    def lower(chosen: Any) -> Codec:
        return digit(int(chosen) * parts, parts, 1)

    def push(message: AnyMessage, cell: Any) -> AnyMessage:
        high, low = divmod(int(cell), parts)
        return upper.push(lower(high).push(message, low), high)

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        message, high = upper.pop(message)
        message, low = lower(high).pop(message)
        return message, int(high) * parts + int(low)

    def log_freqs(cell: Any, rows: bool) -> Any:
        high, low = divmod(int(cell), parts)
        return _log_freq(upper, high) + _log_freq(lower(high), low)

    return Codec(push, pop, log_freqs)


def _log_freq(codec: Codec, symbol: int) -> Any:
    assert codec.log_freqs is not None  # categorical has them
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
