"""The loops of `bbans.codecs`, one set for each distribution, and those of `bbans.ans`. codecs.c has them.

Symbols are int64 arrays, of which symbols[begin:end] ride on the lanes of a message in turn. The parameters of a distribution come
last: arrays with a row for each symbol, or numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bbans._core.library import I32, I64, U32, U64, Integer, checked, function
from bbans.tables import log2_table, logistic_table

_MESSAGE = (U64, Integer, U32, Integer, Integer)  # heads, how many, words, how many there is room for, how many there are

IntArray = npt.NDArray[np.int64]


class Loops(NamedTuple):
    """push and pop: (heads, words, size, symbols, begin, end, *parameters) -> size.

    intervals: (symbols, starts, freqs, *parameters).

    Raises: CorruptDataError from pop when the message runs dry.
    """

    push: Callable[..., int]
    pop: Callable[..., int]
    intervals: Callable[..., None]


def _coded(
    code: Any, last: tuple[Any, ...], heads: Any, words: Any, size: int, symbols: Any, begin: int, end: int, *own: Any
) -> int:
    if not 0 <= begin <= end <= symbols.size:
        raise ValueError(f"there are no symbols {begin} .. {end} in an array of {symbols.size}")
    return checked(code(heads, heads.size, words, words.size, size, symbols, begin, end, *own, *last))


def _loops(name: str, *parameters: Any, last: tuple[Any, ...] = ()) -> Loops:
    push, pop = (function(f"{verb}_{name}", *_MESSAGE, I64, Integer, Integer, *parameters) for verb in ("push", "pop"))
    intervals = function(f"{name}_intervals", I64, Integer, I64, I64, *parameters)

    def located(symbols: Any, starts: Any, freqs: Any, *own: Any) -> None:
        if not symbols.size == starts.size == freqs.size:
            raise ValueError("symbols, starts and freqs are of one size")
        intervals(symbols, symbols.size, starts, freqs, *own, *last)

    return Loops(functools.partial(_coded, push, last), functools.partial(_coded, pop, last), located)


@functools.lru_cache(maxsize=1)
def logistic_table_32() -> npt.NDArray[np.int32]:
    """`bbans.tables.logistic_table` as the core has it."""
    return logistic_table().astype(np.int32)


UNIFORM = _loops("uniform", I64, Integer, Integer)  # ns, step, precision
TABLE = _loops("table", I64, Integer, Integer, Integer)  # edges, columns, step, precision
BERNOULLI = _loops("bernoulli", I64, I32, last=(logistic_table_32(),))  # logits
LOGISTIC = _loops("logistic", Integer, I64, I64, I32, last=(logistic_table_32(),))  # n, means, inverse scales
MIXTURE = _loops("mixture", Integer, Integer, I64, I64, I64, I32, last=(logistic_table_32(),))  # n, k, then as rows

push_intervals = functools.partial(_coded, function("push_intervals", *_MESSAGE, I64, Integer, Integer, I64, Integer), ())
"""Push of any intervals: symbols are starts, and the parameters freqs and precision."""

_push_lanes, _pop_lanes = (function(f"{verb}_lanes", *_MESSAGE, I64, I64, Integer) for verb in ("push", "pop"))
_sum_log_freqs = function("sum_log_freqs", I64, Integer, Integer, I64, I64, Integer)


def push_lanes(heads: Any, words: Any, size: int, starts: IntArray, freqs: IntArray, precision: int) -> int:
    """The size after pushing an interval on every lane. Inverse: `pop_lanes`."""
    if not starts.size == freqs.size == heads.size:
        raise ValueError(f"{starts.size} intervals for {heads.size} lanes")
    return checked(_push_lanes(heads, heads.size, words, words.size, size, starts, freqs, precision))


def pop_lanes(heads: Any, words: Any, size: int, starts: IntArray, freqs: IntArray, precision: int) -> int:
    """The size after popping intervals from the first lanes. Inverse: `push_lanes`. Raises: CorruptDataError when it runs dry."""
    if not starts.size == freqs.size <= heads.size:
        raise ValueError(f"{starts.size} intervals for {heads.size} lanes")
    return checked(_pop_lanes(heads, starts.size, words, words.size, size, starts, freqs, precision))


def sum_log_freqs(freqs: IntArray, precision: int, sums: IntArray) -> None:
    """Fill in log2(freq / 2**precision) in 2**-16 bit, summed over so many equal parts of freqs as there are sums."""
    _sum_log_freqs(freqs, freqs.size, precision, log2_table(), sums, sums.size)
