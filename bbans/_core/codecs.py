"""The loops of `bbans.codecs`, one set for each distribution, and those of `bbans.ans`. codecs.c has them.

Symbols are int64 arrays, of which symbols[begin:end] ride on the lanes of a message in turn. The parameters of a distribution come
last: arrays with a row for each symbol, or numbers.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bbans._core.library import I32, I64, U32, U64, Integer, checked, function
from bbans.tables import log2_table, logistic_table

_MESSAGE = (U64, Integer, U32, Integer, Integer)  # heads, how many, words, how many there is room for, how many there are

IntArray = npt.NDArray[np.int64]
Count = Callable[..., int]  # parameters -> for how many symbols they are


class Loops(NamedTuple):
    """push and pop: (heads, words, size, symbols, begin, end, *parameters) -> size.

    intervals: (symbols, starts, freqs, *parameters).

    Raises: CorruptDataError from pop when the message runs dry; ValueError for fewer parameters than symbols, or too little room.
    """

    push: Callable[..., int]
    pop: Callable[..., int]
    intervals: Callable[..., None]


def _coded(
    code: Any, count: Count, last: tuple[Any, ...], heads: Any, words: Any, size: int, symbols: Any, begin: int, end: int, *own: Any
) -> int:
    if not 0 <= begin <= end <= symbols.size or count(*own) < end:
        raise ValueError(f"there are no symbols {begin} .. {end} in an array of {symbols.size}, or no parameters for them")
    return checked(code(heads, heads.size, words, words.size, size, symbols, begin, end, *own, *last))


def _loops(name: str, count: Count, *parameters: Any, last: tuple[Any, ...] = ()) -> Loops:
    push, pop = (function(f"{verb}_{name}", *_MESSAGE, I64, Integer, Integer, *parameters) for verb in ("push", "pop"))
    intervals = function(f"{name}_intervals", I64, Integer, I64, I64, *parameters)

    def located(symbols: Any, starts: Any, freqs: Any, *own: Any) -> None:
        if not symbols.size == starts.size == freqs.size <= count(*own):
            raise ValueError("symbols, starts and freqs are of one size, and there are parameters for all")
        intervals(symbols, symbols.size, starts, freqs, *own, *last)

    return Loops(functools.partial(_coded, push, count, last), functools.partial(_coded, pop, count, last), located)


def _rows(step: int, columns: int, *arrays: Any) -> int:
    """For how many symbols there are rows of parameters, of which symbol i has row i * step."""
    rows = min(array.size for array in arrays) // columns
    return -(-rows // step) if step else rows and sys.maxsize


@functools.lru_cache(maxsize=1)
def logistic_table_32() -> npt.NDArray[np.int32]:
    """`bbans.tables.logistic_table` as the core has it."""
    return logistic_table().astype(np.int32)


_LAST = (logistic_table_32(),)
UNIFORM = _loops("uniform", lambda ns, step, precision: _rows(step, 1, ns), I64, Integer, Integer)
TABLE = _loops("table", lambda edges, columns, step, _: _rows(step, columns, edges) if columns > 1 else 0, I64, *3 * (Integer,))
BERNOULLI = _loops("bernoulli", lambda logits: _rows(1, 1, logits), I64, I32, last=_LAST)
LOGISTIC = _loops("logistic", lambda n, means, scales: _rows(1, 1, means, scales), Integer, I64, I64, I32, last=_LAST)
MIXTURE = _loops("mixture", lambda n, k, *rows: k and _rows(1, k, *rows), Integer, Integer, I64, I64, I64, I32, last=_LAST)

_push_intervals = function("push_intervals", *_MESSAGE, I64, Integer, Integer, I64, Integer)
push_intervals = functools.partial(_coded, _push_intervals, lambda freqs, precision: freqs.size, ())
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
