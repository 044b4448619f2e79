"""The mean of logarithms and the logarithm of a mean: why -ELBO is more than -log p(x), and what more draws of z change.

The example is Section 6.2's. One symbol x is coded; z is 0 with chance 0.9, else 1, by p(z) as by q(z|x); p(x|z) is 1 for z = 0 and
2^-10 for z = 1. So the weight w = p(x, z) / q(z|x) is 1 or 2^-10, p(x) is its mean, and

    -ELBO = -E log2 w = 0.9 * 0 + 0.1 * 10 = 1 bit        -log2 p(x) = -log2 E w = 0.15 bits

by Jensen's inequality -E log w >= -log E w for any w. With K draws it is the mean of K weights whose logarithm is taken.

Sources: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016; Yu 2020, Section 6.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bbans import bitsback
from bbans.codecs import ArrayCodec, categorical
from bbans.montecarlo import importance_sampling
from bbans.tables import quantise_probabilities

from .coding import PRECISION, primed, sizes, standard_error
from .data import Floats

CHANCE, RARE = 0.9, 2.0**-10  # of z = 0; the weight of z = 1
IMPOSSIBLE = 2.0**-20  # what p(x|z = 0) lacks of 1, as any symbol of a code has a share
EVIDENCE = CHANCE + (1 - CHANCE) * RARE  # p(x)
Q = (CHANCE, 1 - CHANCE)
POSTERIOR = (CHANCE / EVIDENCE, (1 - CHANCE) * RARE / EVIDENCE)  # p(z|x)


def bound(draws: int) -> float:
    """-E log2 of the mean of so many weights, in bits: a sum over how many of them are rare."""
    total = 0.0
    for rare in range(draws + 1):
        chance = math.comb(draws, rare) * CHANCE ** (draws - rare) * (1 - CHANCE) ** rare
        total -= chance * math.log2((draws - rare + rare * RARE) / draws)
    return total


def coded(points: int, draws: int = 1, q: tuple[float, float] = Q) -> Floats:
    """The bits that x takes on so many messages, one on each: (points,). Bits-back; with several draws, Monte Carlo bits-back."""

    def table(shares: tuple[float, float]) -> ArrayCodec:
        return categorical(quantise_probabilities(shares, PRECISION), (points,))

    likelihoods = quantise_probabilities([[1 - IMPOSSIBLE, IMPOSSIBLE], [RARE, 1 - RARE]], PRECISION)
    parts = table(Q), lambda z: categorical(likelihoods[z]), lambda x: table(q)
    codec = bitsback.bb_ans(*parts) if draws == 1 else importance_sampling(*parts, draws)
    batch = primed(points, words=8 + 2 * draws)
    before = sizes(batch)
    codec.push(batch, np.zeros(points, np.int64))  # x is the symbol 0 of two
    return sizes(batch) - before


def averages(draws: Sequence[int], points: int) -> list[dict[str, Any]]:
    """The bound of so many draws beside what x takes as coded, and -log2 p(x), where it tends to."""
    rows = []
    for k in draws:
        lengths = coded(points, k)
        rows.append(
            {
                "draws": k,
                "bound_bits": bound(k),
                "code_length_bits": float(lengths.mean()),
                "code_length_error": standard_error(lengths),
                "nll_bits": -math.log2(EVIDENCE),
                "points": points,
            }
        )
    return rows
