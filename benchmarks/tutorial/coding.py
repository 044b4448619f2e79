"""From a model to a code: numbers on grids, distributions on them as codecs, and bits-back over these.

A number is coded as the cell of a grid that it lies in, in two digits: which run of cells, then which of these. Each digit has a
table of integer freqs from the distribution's cumulative function, so one table of 2**14 cells becomes two of 2**7.

Points and latents are decoded as cells, and a model is asked about the middles of cells. A point's code length less `2 n` bits,
for a grid of 2**n cells in a unit, compares with a density: see `experiments.accuracy` for how fine is fine enough.

Many points are coded at once, one on each message of a batch (bbans.ans.Batch), so that networks see batches. They run in float64,
on the same batches in coding as in decoding; that is exact in one process on one machine only, which is what a page of figures
needs. The product's networks are exact everywhere (`bbans.exact`).

Shapes: points and latents are coded as cells (rows, 2), a row on each message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from bbans import bitsback
from bbans.ans import SPLITMIX_STEP, Batch, Message, mix64
from bbans.codecs import Codec, categorical, uniform
from bbans.montecarlo import importance_sampling

from .data import Floats
from .model import Conditional, LatentModel

PRECISION = 27  # of the freqs of a digit: with 24 the least of 2**10 freqs were felt, with 30 the rounding of a head of 31 bits
CHAINS = 100  # messages that share the points, each coding of them
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
        cells = np.floor((numbers - self.low) / self.step).astype(np.int64)
        return np.clip(cells, 0, (1 << self.bits) - 1)

    def middles(self, cells: Any) -> Tensor:
        return torch.as_tensor(self.low + (np.asarray(cells) + 0.5) * self.step, dtype=torch.float64)


POINTS = Grid(-1.0, 1.0, 13)  # 2**12 cells in a unit: their logarithms are the bits that a density does not count
LATENTS = Grid(-8.0, 8.0, 14)


def number(grid: Grid, distribution: Distribution, key: Cells | None = None) -> Codec[Any]:
    """The codec of cells (rows,), by the distributions of as many numbers, or one for all. With a key it is `dithered`."""
    run = 1 << grid.bits // 2
    runs = (1 << grid.bits) // run

    def below(cells: Cells) -> Floats:
        """The cumulative functions at the lower edges of cells (rows, n)."""
        shares: Floats = distribution.cdf(torch.from_numpy(grid.low + grid.step * cells.T)).numpy().T
        return shares

    def upper(rows: int) -> Codec[Any]:
        codec = _digit(below(np.broadcast_to(run * np.arange(runs + 1), (rows, runs + 1))))
        return codec if key is None else dithered(codec, key)

    def lower(chosen: Cells) -> Codec[Any]:
        shares = below(run * chosen[:, None] + np.arange(run + 1))
        shares[chosen == 0, 0], shares[chosen == runs - 1, -1] = 0.0, 1.0
        low, mass = shares[:, :1], shares[:, -1:] - shares[:, :1]
        codec = _digit((shares - low) / np.where(mass > 0, mass, 1.0))
        return codec if key is None else dithered(codec, _mixed(key))

    def push(message: Any, cells: Any) -> Any:
        high, low = np.divmod(cells, run)
        return upper(len(high)).push(lower(high).push(message, low), high)

    def pop(message: Any) -> tuple[Any, Any]:
        message, high = upper(len(message)).pop(message)
        message, low = lower(high).pop(message)
        return message, run * high + low

    def log_freqs(cells: Any, rows: bool) -> Any:
        high, low = np.divmod(cells, run)
        return upper(len(high)).log_freqs(high, rows) + lower(high).log_freqs(low, rows)

    return Codec(push, pop, log_freqs)


def _digit(below: Floats) -> Codec[Any]:
    """Of digits (rows,), by the shares (rows, n + 1) of all below each of 0 .. n; those at the ends are taken to be 0 and 1.

    All rows at once, where tables.quantise_probabilities would take most of the time of coding, row by row.
    """
    count = below.shape[-1] - 1
    starts = np.floor(np.clip(below, 0.0, 1.0) * ((1 << PRECISION) - count)).astype(np.int64)
    starts[:, 0], starts[:, -1] = 0, (1 << PRECISION) - count
    return categorical(np.diff(np.maximum.accumulate(starts, -1)) + 1)  # rounding may make a cumulative function fall


def dithered(codec: Codec[Any], key: Cells) -> Codec[Any]:
    """The codec of a digit (rows,), which pops it from other bits: those on top of a message move by pseudo-random numbers first.

    What bits-back draws z from is, on top of the message, the z of the point before. If that is as p(z) says, its bits are as good
    as random ("clean"). If not, the next z is not a draw from q(z|x), and the code length not the negative ELBO: with q near to p,
    it may even be the same z again and again. `key` (rows,) is of integers that coder and decoder both know.

    Source: the question is raised by Townsend, Bird and Barber, "Practical lossless compression with latent variables using bits
    back coding", ICLR 2019.
    """
    top, shift = uniform(1 << PRECISION, (len(key),)), _mixed(key) >> 63 - PRECISION

    def moved(message: Any, by: Cells) -> Any:
        message, bits = top.pop(message)
        return top.push(message, (bits + by) & ((1 << PRECISION) - 1))

    def push(message: Any, symbol: Any) -> Any:
        return moved(codec.push(message, symbol), -shift)

    def pop(message: Any) -> tuple[Any, Any]:
        return codec.pop(moved(message, shift))

    return replace(codec, push=push, pop=pop)


def _mixed(key: Cells) -> Cells:
    """Of integers, others from 0 to 2**63 that look random: the first value of splitmix64 with each as seed."""
    return (mix64(key.astype(np.uint64) + SPLITMIX_STEP) >> np.uint64(1)).astype(np.int64)


def vector(grid: Grid, conditional: Conditional, size: int = 2, key: Cells | None = None) -> Codec[Any]:
    """The codec of the cells (rows, size) of numbers, each by its distribution given those before it.

    With a key (rows, n), of integers, its digits are `dithered`.
    """
    seed = None if key is None else _mixed(_mixed(key[:, 0]) ^ key[:, -1])

    def codec(cells: Cells) -> Codec[Any]:
        return number(grid, conditional(grid.middles(cells)), None if seed is None else seed ^ cells.shape[1])

    def push(message: Any, cells: Any) -> Any:
        for d in reversed(range(size)):
            message = codec(cells[:, :d]).push(message, cells[:, d])
        return message

    def pop(message: Any) -> tuple[Any, Any]:
        cells = np.empty((len(message), 0), np.int64)
        for _ in range(size):
            message, cell = codec(cells).pop(message)
            cells = np.column_stack([cells, cell])
        return message, cells

    def log_freqs(cells: Any, rows: bool) -> Any:
        return sum(codec(cells[:, :d]).log_freqs(cells[:, d], rows) for d in range(size))

    return Codec(push, pop, log_freqs)


Parts = tuple[Codec[Any], Callable[[Any], Codec[Any]], Callable[[Any], Codec[Any]]]


def parts(model: LatentModel, latents: Grid, grid: Grid, clean: bool) -> Parts:
    """p(z), p(x|z) and q(z|x) of a float64 model as codecs of cells (rows, n): of `latents` for z, of `grid` for x.

    q is `dithered` by the point, which the decoder knows when it gives z back; not so if not `clean`.
    """

    def likelihood(z: Any) -> Codec[Any]:
        return vector(grid, model.likelihood(latents.middles(z)))

    def posterior(x: Any) -> Codec[Any]:
        return vector(latents, model.posterior(grid.middles(x)), model.latents, x if clean else None)

    return vector(latents, model.prior(), model.latents), likelihood, posterior


def point_codec(
    model: LatentModel, particles: int = 1, latents: Grid = LATENTS, grid: Grid = POINTS, clean: bool = True
) -> Codec[Any]:
    """Bits-back of points, as cells (rows, 2) of `grid`, by a float64 model; Monte Carlo bits-back for more than one particle."""
    if particles > 1:
        return importance_sampling(*parts(model, latents, grid, clean), particles)
    return bitsback.bb_ans(*parts(model, latents, grid, clean))


@dataclass(frozen=True)
class CodeLength:
    """What points took, in bits less those of the grid, so that a uniform density on the unit square takes 0.

    Args:
        lengths: of each point, (N,).
        initial_bits: that a message held before, used and given back: of all messages the most.
        decoded_equal: whether the same points came out again and left the messages as they had been.
    """

    lengths: Floats
    initial_bits: int
    decoded_equal: bool

    @property
    def bits(self) -> float:
        """Per point."""
        return float(self.lengths.mean())

    @property
    def error(self) -> float:
        """The standard error of `bits` as an estimate for the density that the points are from, draws of z included."""
        return standard_error(self.lengths)


def standard_error(values: Floats | Tensor) -> float:
    """Of the mean of values (N,)."""
    return float(values.std() / len(values) ** 0.5)


def primed(count: int, words: int = PRIMED_WORDS) -> Batch:
    """So many messages, each with other initial bits."""
    return Batch([Message.primed(words, seed=seed) for seed in range(count)])


def sizes(batch: Batch) -> Floats:
    """The bits of each message, (rows,)."""
    return np.array([message.bits for message in batch.messages])


@torch.no_grad()
def code(points: Floats, codec: Codec[Any], grid: Grid = POINTS, times: int = 1) -> CodeLength:
    """Push points (N, D) on CHAINS messages, one on each at a time, pop them, compare.

    With several `times` this is done on as many sets of messages side by side: other latents are drawn in each, and a point's
    length is the mean.
    """
    cells = grid.cells(points)
    steps = [np.tile(cells[begin : begin + CHAINS], (times, 1)) for begin in range(0, len(cells), CHAINS)]
    chains = primed(len(steps[0]))
    grown = []
    for row in steps:
        batch = chains[: len(row)]
        before = sizes(batch)
        codec.push(batch, row)
        grown.append(sizes(batch) - before)
    initial = max(31 + 32 * (PRIMED_WORDS - message.lowest) for message in chains.messages)
    equal = True
    for row in reversed(steps):
        _, came = codec.pop(chains[: len(row)])
        equal = equal and bool(np.array_equal(came, row))
    equal = equal and chains.messages == primed(len(chains)).messages
    lengths = np.concatenate([bits.reshape(times, -1).mean(0) for bits in grown]) - points.shape[1] * np.log2(1 / grid.step)
    return CodeLength(lengths, initial, equal)
