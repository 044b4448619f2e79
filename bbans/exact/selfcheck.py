"""The self-check: a digest of what a network gives for fixed inputs, which weight files carry.

The digest is computed by the reference backend when a model is exported, and again by every backend that is to run the model: one
that rounds anywhere gives another digest, and is not used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_MULTIPLIER = 2654435761  # Knuth's, for multiplicative hashing: 2**32 over the golden ratio


class Network(Protocol):
    """An integer network on one backend."""

    @property
    def backend(self) -> str:
        """Its name in bbans.exact.backends."""

    def digest(self) -> str:
        """Of what its stages give for fixed inputs, on every shape that coding runs. The same wherever arithmetic is exact."""


def probe(shape: tuple[int, ...], below: int, *, shift: int, seed: int = 0) -> NDArray[np.uint8]:
    """Fixed pseudo-random inputs 0 .. below - 1: a multiplicative hash of the index, from bit `shift` on."""
    index = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(_MULTIPLIER) + np.uint64(seed)
    numbers: NDArray[np.uint8] = ((index >> np.uint64(shift)) % np.uint64(below)).astype(np.uint8)
    return numbers.reshape(shape)


def digest(outputs: Iterable[NDArray[np.generic]]) -> str:
    """SHA-256 over the little-endian bytes of arrays, in hexadecimal."""
    sha = hashlib.sha256()
    for array in outputs:
        array = array + array.dtype.type(0)  # floats have a second zero, which is no other number
        sha.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()
