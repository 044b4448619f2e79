"""What tests of the compiled core share: messages as it takes them, and arrays that it must refuse.

The tests compare every function with plain Python (tests/reference), to the bit. tests/slow/test_sanitizers.py runs them by a core
that watches its own memory and arithmetic. Arrays are as large as they must be and no larger, so that it notices what is read or
written beyond them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from bbans.ans import HEAD_MIN

Array = np.ndarray[Any, Any]
WORDS = st.lists(st.integers(0, (1 << 31) - 1), min_size=2, max_size=40).map(lambda words: np.array(words, "<u4").tobytes())
MESSAGES = st.binary(max_size=160) | WORDS  # the latter with heads as they must be


class State(NamedTuple):
    """A message: heads, words of which there are `size`, and room for more."""

    heads: Array
    words: Array
    size: int

    def copy(self) -> State:
        return State(self.heads.copy(), self.words.copy(), self.size)


def state(rng: np.random.Generator, lanes: int, size: int, room: int = 0) -> State:
    heads = rng.integers(HEAD_MIN, HEAD_MIN << 32, lanes, np.uint64)
    return State(heads, rng.integers(0, 1 << 32, size + room, np.uint32), size)


def assert_equal(left: State, left_size: int, right: State, right_size: int) -> None:
    assert left_size == right_size
    assert np.array_equal(left.heads, right.heads)
    assert np.array_equal(left.words[:left_size], right.words[:right_size])


def refuses_other_arrays(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Each array in turn is of another type, of another byte order, not contiguous, or none at all."""
    for at, array in enumerate(arguments):
        if not isinstance(array, np.ndarray):
            continue
        wider = np.zeros((*array.shape, 2), array.dtype)[..., 0]
        wider[...] = array
        others = [array.astype(np.float64), array.astype(array.dtype.newbyteorder()), wider]
        others.append(array.astype(np.int32 if array.dtype.itemsize == 8 else np.int64))
        for other in others:
            if other.dtype == array.dtype and other.flags.c_contiguous:
                continue  # one byte has no order; one element is contiguous
            with pytest.raises((TypeError, ValueError)):
                call(*arguments[:at], other, *arguments[at + 1 :])
        with pytest.raises((TypeError, ValueError, AttributeError)):
            call(*arguments[:at], None, *arguments[at + 1 :])
