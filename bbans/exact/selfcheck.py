"""The self-check of a network: a digest of what its stages give for fixed inputs, which weight files carry.

A backend that rounds anywhere gives another digest, and so codes nothing. The reference backend makes the digest when a model is
exported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_MULTIPLIER = 2654435761  # Knuth's, of multiplicative hashing: 2**32 over the golden ratio


def probe(shape: tuple[int, ...], below: int, *, shift: int, seed: int = 0) -> NDArray[np.uint8]:
    """Fixed pseudo-random numbers 0 .. below - 1 as an input: a multiplicative hash of the index, of which bits from `shift` on."""
    index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(_MULTIPLIER) + np.uint64(seed)
    numbers: NDArray[np.uint8] = ((index >> np.uint64(shift)) % np.uint64(below)).astype(np.uint8)
    return numbers.reshape(shape)


def digest(outputs: Iterable[NDArray[np.generic]]) -> str:
    """SHA-256 over the little-endian bytes of arrays, in hexadecimal. The same wherever arithmetic is exact."""
    sha = hashlib.sha256()
    for array in outputs:
        array = array + array.dtype.type(0)  # floats have a second zero, which is no other number
        sha.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()
