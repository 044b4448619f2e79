"""What the adaptive stage of each strip starts from: start values that a model has learned from training pictures, or plain ones.

A weight file keeps them as arrays of int32 named `learned.` and a field of `bbans._core.photo.LEARNED`, each with the three phases
in front; those that mix inputs as int16, as the lowest `MIXED_BITS` of such weights tell nothing. And it has `learned.factors`
(3, 3, 946): the matrix of sums that least squares begin with, Q = G G^T, by its triangle G, row by row. So Q is positive
semidefinite whatever a file holds, and that is what keeps the arithmetic inside 64 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans._core.photo import LEARNED, NAMES, SUMS, TAPS, Start, empty_start
from bbans.errors import ModelError
from bbans.models.photo.adaptive import EARLIER
from bbans.models.weights import LEARNED as PREFIX

TOTAL = 1 << 24  # of a share
MIXED = ("node_weights", "class_weights", "variety_weights", "position_weights")
MIXED_BITS = 10  # that a file leaves out of these
LIMITS = {
    "weights": (-(1 << 26), 1 << 26),
    "biases": (-(1 << 21), 1 << 21),
    "steps": (-(1 << 22), 1 << 22),
    "maps": (0, TOTAL),
    **dict.fromkeys(MIXED, (-(1 << 13), 1 << 13)),
    "vote_weights": (-(1 << 23), 1 << 23),
    "factors": (-(1 << 20), 1 << 20),
}
"""The least and the largest values in a file: those that photo.c and mixing.h keep while learning, and of factors such that 43
products stay below 2**46. Counts, whose names end in `_seen`, are 0 .. 2**20."""

TRIANGLE = np.tril_indices(TAPS + 1)

Arrays = Mapping[str, NDArray[Any]]


@cache
def plain_starts() -> tuple[Start, ...]:
    """The start values of the phases of a model that has learned none: predictions are those of the networks and of least squares
    alike, shares are left as they are, and mixing trusts the corrected mixture and the maps alike."""
    starts = []
    for phase, places in enumerate(EARLIER):
        start = empty_start()
        learned = start.learned[0]
        for colour in range(3):
            learned["weights"][colour, :, 11 + 2 * colour + len(places) + (2 if phase else 0)] = 1 << 22
        learned["maps"][...] = np.linspace(0, TOTAL, 17).astype(np.int32)
        learned["vote_weights"][...] = 1 << 18
        for name in MIXED:
            learned[name][..., 0] = 1 << 18
            learned[name][..., 1:19] = 1 << 15
        for array in start:
            array.flags.writeable = False
        starts.append(start)
    return tuple(starts)


def from_arrays(arrays: Arrays) -> tuple[Start, ...]:
    """The start values of the three phases from a weight file's arrays; plain ones if it has none. Inverse: to_arrays.

    Raises: ModelError for arrays of other names, shapes, types or ranges.
    """
    if not arrays:
        return plain_starts()
    shapes = {PREFIX + name: (3, *(LEARNED[name].shape)) for name in NAMES} | {f"{PREFIX}factors": (3, *SUMS)}
    if {name: (array.dtype, array.shape) for name, array in arrays.items()} != {
        name: (np.dtype(np.int16 if name.removeprefix(PREFIX) in MIXED else np.int32), shape) for name, shape in shapes.items()
    }:
        raise ModelError("the start values of the model are not those of the photo model")
    for name, array in arrays.items():
        low, high = LIMITS.get(name.removeprefix(PREFIX), (0, 1 << 20))
        if array.min() < low or array.max() > high:
            raise ModelError(f"{name} of the model is out of range")
    maps = arrays[f"{PREFIX}maps"]
    if (np.diff(maps, axis=-1) < 0).any() or maps[..., 0].any() or (maps[..., -1] != TOTAL).any():
        raise ModelError(f"{PREFIX}maps of the model are not maps of shares")
    starts = []
    for phase in range(3):
        start = empty_start()
        for name in NAMES:
            start.learned[0][name] = arrays[PREFIX + name][phase].astype(np.int32) << (MIXED_BITS if name in MIXED else 0)
        for colour in range(3):
            start.sums[colour] = _sums(arrays[f"{PREFIX}factors"][phase, colour])
        starts.append(start)
    return tuple(starts)


def to_arrays(starts: Sequence[Start], factors: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """The arrays of a weight file. factors (3, 3, 946) stand for the sums. Inverse: from_arrays."""
    arrays = {PREFIX + name: np.stack([start.learned[0][name] for start in starts]) for name in NAMES}
    for name in MIXED:
        rounded = (arrays[PREFIX + name] + (1 << (MIXED_BITS - 1))) >> MIXED_BITS
        arrays[PREFIX + name] = rounded.astype(np.int16)
    return arrays | {f"{PREFIX}factors": factors}


def factors_of(sums: NDArray[np.int64]) -> NDArray[np.int32]:
    """G (946,), rounded, with G G^T about a triangle of sums (946,) and a little more. Inverse, about: `_sums`."""
    matrix = np.zeros((TAPS + 1, TAPS + 1))
    matrix[TRIANGLE] = sums
    matrix += np.tril(matrix, -1).T
    # Far less than what solving adds, and more than rounding may have taken from the least eigenvalue.
    matrix[np.diag_indices(TAPS + 1)] += (1 << 18) + 1e-9 * matrix.diagonal()
    while matrix.max() >= 1 << 40:  # what all sums are scaled by matters little
        matrix /= 4
    factors: NDArray[np.int32] = np.rint(np.linalg.cholesky(matrix))[TRIANGLE].astype(np.int32)
    return factors


def _sums(factors: NDArray[np.int32]) -> NDArray[np.int64]:
    """The triangle (946,) of G G^T, for that of G."""
    matrix = np.zeros((TAPS + 1, TAPS + 1), np.int64)
    matrix[TRIANGLE] = factors
    sums: NDArray[np.int64] = (matrix @ matrix.T)[TRIANGLE]
    return sums
