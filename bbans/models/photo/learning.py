"""Start values of the adaptive stage, learned from training pictures: the mean of what the stage has learned at the end of each.

Pictures are coded several times over, each time from the start values of the time before, as Reptile does: what is learned quickly
from any start drops out, and what every picture has to learn anew stays. Start values count as much as a few symbols would, so that
an unusual picture soon leaves them. Floats decide here what a weight file holds, and nothing else.

Source: Nichol, Achiam and Schulman, "On first-order meta-learning algorithms", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans._core.photo import Start, empty_start
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.likelihood import PhaseLikelihood
from bbans.models.photo.network import PhotoNetwork
from bbans.models.photo.start import factors_of, plain_starts, to_arrays
from bbans.models.weights import Weights

COUNTED = {
    "node_weights": "nodes_seen",
    "class_weights": "classes_seen",
    "variety_weights": "varieties_seen",
    "position_weights": "positions_seen",
    "weights": "weights_seen",
    "steps": "steps_seen",
    "maps": "maps_seen",
}
"""Where the symbols that taught a value are counted."""

UNCOUNTED = ("biases", "vote_weights")
WORTH = {
    "nodes_seen": 100,
    "classes_seen": 100,
    "varieties_seen": 100,
    "positions_seen": 100,
    "weights_seen": 30,
    "steps_seen": 20,
    "maps_seen": 20,
}
"""Symbols that start values count as, which sets how quickly they are left."""

ROUNDS = 4
PRIOR = 300  # symbols that the start values of the round before count as in a mean
MOST = 4000  # symbols of one strip that count
SUMS_SHIFT = 6  # least squares start with so much less than a strip has at its end


def learn_starts(network: PhotoNetwork, weights: Weights, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    """The arrays of start values for a weight file; none for a model without the stage. Shapes: pictures (H, W, 3) uint8."""
    if not network.config.adaptive:
        return {}
    starts = plain_starts()
    for _ in range(ROUNDS):
        ends: list[list[Start]] = [[], [], []]
        codec = PhotoCodec(network, replace(weights, arrays={}))
        codec.likelihood = PhaseLikelihood(network, starts, partial(_keep, ends))
        for pixels in pictures:
            codec.encode(pixels)
        starts = tuple(_mean(start, end) if end else start for start, end in zip(starts, ends, strict=True))
    factors = np.array([[factors_of(sums) for sums in start.sums] for start in starts], np.int32)
    return to_arrays(starts, factors)


def _keep(ends: list[list[Start]], phase: int, learned: Start) -> None:
    ends[phase].append(learned)


def _mean(start: Start, ends: Sequence[Start]) -> Start:
    """Start values from those that strips began with and what each had learned at its end."""
    out = empty_start()
    before, after = start.learned[0], np.concatenate([end.learned for end in ends])
    for name, seen in COUNTED.items():
        counts = np.minimum(after[seen] - before[seen], MOST).astype(np.float64)
        over = counts.reshape(counts.shape + (1,) * (after[name].ndim - counts.ndim))
        mean = ((over * after[name]).sum(0) + PRIOR * before[name].astype(np.float64)) / (over.sum(0) + PRIOR)
        out.learned[0][name] = np.rint(mean)
        out.learned[0][seen] = np.minimum(counts.sum(0) + before[seen], WORTH[seen])
    for name in UNCOUNTED:
        out.learned[0][name] = np.rint(after[name].mean(0))
    out.sums[...] = np.rint(np.mean([end.sums for end in ends], 0) / (1 << SUMS_SHIFT))
    return out
