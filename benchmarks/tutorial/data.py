"""The toy data: points of the plane with known densities, on [-1/2, 1/2]^2 but for thin tails. A uniform density there is 0 bits.

Densities are mostly needed on a grid: for entropies, for the NLL of a model weighted by the truth, and for pictures.

Sources: R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", 2020 (the first three, and their entropies); C.
Doersch, "Tutorial on variational autoencoders", 2016 (the ring).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROOT = 1.414  # the tutorial's square root of 2, in its densities as in its samples
RING_SCALE = 1 / 3  # the ring is made to fit the square as the others do


@dataclass(frozen=True)
class Data:
    """A density of the plane.

    Args:
        sample: (rng, n) -> points (n, 2).
        density: (xs, ys), the coordinates of a grid (n,) and (m,) -> density (n, m) per unit area.
        published_entropy: the tutorial's, in bits; None where it has none.
    """

    name: str
    title: str
    sample: Callable[[np.random.Generator, int], Floats]
    density: Callable[[Floats, Floats], Floats]
    published_entropy: float | None = None

    def entropy(self, limit: float = 0.75, cells: int = 1536) -> float:
        """In bits, by the midpoint rule on [-limit, limit]^2."""
        return _entropy(self, limit, cells)

    def gaussian_bits(self, limit: float = 0.75, cells: int = 384) -> float:
        """What points take in the mean by one normal, the one that fits best: 1/2 log2 of (2 pi e)^2 det(covariance)."""
        middles = midpoints(limit, cells)
        p = self.density(middles, middles)
        grid = np.stack(np.meshgrid(middles, middles, indexing="ij")).reshape(2, -1)
        covariance = np.cov(grid, aweights=p.reshape(-1), ddof=0)
        return 0.5 * float(np.log2((2 * math.pi * math.e) ** 2 * np.linalg.det(covariance)))

    def log2_density(self, points: Floats) -> Floats:
        """Of points (n, 2), in bits: (n,)."""
        parts = np.array_split(points, max(1, len(points) // 100))  # each part as a small grid, whose diagonal is asked for
        return np.log2(np.concatenate([self.density(*part.T).diagonal() for part in parts]))


@cache  # two million cells, asked for by every row
def _entropy(data: Data, limit: float, cells: int) -> float:
    p = data.density(*[midpoints(limit, cells)] * 2)
    area = (2 * limit / cells) ** 2
    inside = p[p > 0]
    return -float((inside * np.log2(inside)).sum() * area)


def midpoints(limit: float, cells: int) -> Floats:
    """Of `cells` equal parts of [-limit, limit]. (cells,)"""
    return (np.arange(cells, dtype=np.float64) + 0.5) * (2 * limit / cells) - limit


# 8 Gaussians: centres on a circle

CENTRES = 4 / (ROOT * 8) * np.stack([np.cos(np.arange(8) * math.pi / 4), np.sin(np.arange(8) * math.pi / 4)], 1)
GAUSSIAN_STD = 0.5 / (ROOT * 8)


def _sample_gaussians(rng: np.random.Generator, n: int) -> Floats:
    points: Floats = CENTRES[rng.integers(0, 8, n)] + GAUSSIAN_STD * rng.standard_normal((n, 2))
    return points


def _gaussians(xs: Floats, ys: Floats) -> Floats:
    parts = [(normal_density(xs - cx, GAUSSIAN_STD), normal_density(ys - cy, GAUSSIAN_STD)) for cx, cy in CENTRES]
    return np.mean([np.outer(x, y) for x, y in parts], axis=0)


def normal_density(x: Floats, std: float | Floats) -> Floats:
    """The density of a normal around 0."""
    return np.exp(-0.5 * (x / std) ** 2) / (std * math.sqrt(2 * math.pi))


# Checkerboard: the alternate cells of a 4 x 4 grid


def _sample_checkerboard(rng: np.random.Generator, n: int) -> Floats:
    column, row = rng.integers(0, 4, n), rng.integers(0, 2, n)
    cell = np.stack([column, 2 * row + column % 2], 1)
    return (cell + rng.random((n, 2))) / 4 - 0.5


def _checkerboard(xs: Floats, ys: Floats) -> Floats:
    column, row = np.floor(4 * (xs + 0.5))[:, None], np.floor(4 * (ys + 0.5))[None]
    inside = (column >= 0) & (column < 4) & (row >= 0) & (row < 4)
    return 2.0 * (inside & ((column + row) % 2 == 0))


# 2 spirals: arms of one and a half turns, blurred

SPIRAL_STD = 0.0125


def _arm(u: Floats) -> Floats:
    """The first arm at u in (0, 1); the second is its negative."""
    n = np.sqrt(u) * 3 * math.pi
    return np.stack([-n * np.cos(n), n * np.sin(n)], -1) / 24


def _sample_spirals(rng: np.random.Generator, n: int) -> Floats:
    sign = 2 * rng.integers(0, 2, (n, 1)) - 1
    return sign * _arm(rng.random(n)) + SPIRAL_STD * rng.standard_normal((n, 2))


def _spirals(xs: Floats, ys: Floats, nodes: int = 400) -> Floats:
    """The mean of the noise's densities around points of the arms: sums of products, so one matrix product for each arm.

    The sum over an arm is Gauss-Legendre in sqrt(u), of which the arm's points are a smooth function.
    """
    place, weight = np.polynomial.legendre.leggauss(nodes)
    root = (place + 1) / 2
    arm, weight = _arm(root**2), weight * root / 2  # half an arm's share: du = 2 root d(root), on an interval of half the length
    total = np.zeros((len(xs), len(ys)))
    for points in (arm, -arm):
        columns = weight * normal_density(xs[:, None] - points[:, 0], SPIRAL_STD)
        total += columns @ normal_density(ys[:, None] - points[:, 1], SPIRAL_STD).T
    return total


# The ring: what x/10 + x/|x| makes of a normal x


def _sample_ring(rng: np.random.Generator, n: int) -> Floats:
    x = rng.standard_normal((n, 2))
    return RING_SCALE * (x / 10 + x / np.linalg.norm(x, axis=1, keepdims=True))


def _ring(xs: Floats, ys: Floats) -> Floats:
    """A point at radius 1 + r/10 comes from radius r, whose density is r exp(-r^2/2)."""
    radius = np.hypot(xs[:, None], ys[None]) / RING_SCALE
    r = np.maximum(10 * (radius - 1), 0)
    return r * np.exp(-0.5 * r**2) * 10 / (2 * math.pi * radius) / RING_SCALE**2


GAUSSIANS = Data("8gaussians", "8 Gaussians", _sample_gaussians, _gaussians, -1.92)
CHECKERBOARD = Data("checkerboard", "Checkerboard", _sample_checkerboard, _checkerboard, -1.0)
SPIRALS = Data("2spirals", "2 Spirals", _sample_spirals, _spirals, -2.34)
RING = Data("ring", "Ring", _sample_ring, _ring)

PLANE = {data.name: data for data in (GAUSSIANS, CHECKERBOARD, SPIRALS, RING)}
