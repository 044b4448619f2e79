"""Codecs: what to push and pop, as pairs of functions that compose.

A codec is craystack's idea: ``push(message, symbol) -> message`` and its exact inverse ``pop(message) -> (message,
symbol)``. Both consume the message they are given (see bbans.ans), so write ``message = codec.push(message, symbol)``.

Which one:

===============  ==========================================================  =========================================
uniform          0 .. n - 1, all alike                                       bits that cost what they are
categorical      0 .. n - 1 with any integer freqs                           see tables.quantise_probabilities
logistic         0 .. n - 1, discretised logistic                            latents
mixture          0 .. n - 1, mixture of K discretised logistics              pixels
serial, repeat   lists of symbols, one codec each / one codec for all        different things in a row
substack         the symbols of a codec on some of the lanes only            several lanes
===============  ==========================================================  =========================================

The symbols of the first four may be arrays: the shape is that of their parameters. Pop returns them in order, so push
goes backwards. On a message of several lanes symbol i of the flattened array rides on lane ``i % lanes``; one symbol
for each lane gives the words that craystack gives.

>>> message = logistic([640, 700], [48, 48], 256).push(Message.empty(), [11, 10])
>>> message, symbols = logistic([640, 700], [48, 48], 256).pop(message)
>>> symbols.tolist(), message.is_initial()
([11, 10], True)
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bbans import tables
from bbans._jit import jit
from bbans.ans import MAX_PRECISION, Message, peek_one, pop_one, push_one
from bbans.tables import PRECISION, logistic_search, logistic_start, mixture_cf, mixture_search

Kernel = Callable[..., int]


class Codec(NamedTuple):
    """push(message, symbol) -> message, and its inverse pop(message) -> (message, symbol).

    Raises: ValueError from push for a symbol outside the alphabet or of another shape; CorruptDataError from pop when
    the message runs dry.
    """

    push: Callable[[Message, Any], Message]
    pop: Callable[[Message], tuple[Message, Any]]


def uniform(n: int, shape: tuple[int, ...] = ()) -> Codec:
    """Symbols 0 .. n - 1, all as likely. n up to 2**31; log2(n) bits each, exactly so for powers of two.

    Shapes: symbols `shape`. For n = 2**precision this is craystack's Uniform(precision).
    """
    if not 1 <= n <= 1 << MAX_PRECISION:
        raise ValueError(f"a uniform codec has 1 to 2**{MAX_PRECISION} symbols, not {n}")
    # Each bit halves what the rounding of freqs costs and doubles what the head loses by division; 12 make both
    # invisible.
    precision = n.bit_length() - 1 if n & (n - 1) == 0 else min(n.bit_length() + 12, MAX_PRECISION)
    return _array_codec(n, shape, _push_uniform, _pop_uniform, n, precision)


def categorical(freqs: npt.ArrayLike, shape: tuple[int, ...] | None = None) -> Codec:
    """Symbols 0 .. n - 1 of the integer `freqs`, each at least 1, their sum a power of two up to 2**31.

    Shapes: freqs (..., n), symbols (...); or freqs (n,) for all symbols of `shape`.
    Raises: ValueError when freqs are no such integers.
    """
    given = np.asarray(freqs)
    if given.ndim == 0 or given.shape[-1] == 0 or given.dtype.kind not in "iu" or np.any(given < 1):
        raise ValueError("freqs are integers of at least 1, along the last axis")
    ends = np.cumsum(given, axis=-1, dtype=np.int64)
    starts = np.concatenate([np.zeros_like(ends[..., :1]), ends], axis=-1)
    total = int(ends[..., -1].max(initial=1))
    if np.any(ends[..., -1] != total) or total & (total - 1) or total > 1 << MAX_PRECISION:
        raise ValueError(f"freqs sum to a power of two up to 2**{MAX_PRECISION}, the same in every row")
    if shape is None:
        shape = given.shape[:-1]
    elif given.ndim != 1:
        raise ValueError("a shape goes with one row of freqs")
    rows = np.ascontiguousarray(starts.reshape(-1, starts.shape[-1]))
    step = 0 if len(rows) == 1 else 1  # one row serves all symbols
    return _array_codec(given.shape[-1], shape, _push_table, _pop_table, rows, step, total.bit_length() - 1)


def logistic(mean: npt.ArrayLike, scale_index: npt.ArrayLike, n: int) -> Codec:
    """Symbols 0 .. n - 1 of a discretised logistic (see bbans.tables).

    Shapes: mean, scale_index: integers that broadcast to the shape of the symbols. Units: mean in 1/64 of a symbol,
    scale_index i for log_scale = -3 + i / 16 nats.
    Raises: ValueError for parameters out of range.
    """
    means, indices = np.broadcast_arrays(_integers(mean, "means"), _integers(scale_index, "scale indices"))
    inverse_scales = _inverse_scales(indices)
    _check_alphabet(n, means)
    parameters = (n, _flat(means), _flat(inverse_scales), tables.logistic_table())
    return _array_codec(n, means.shape, _push_logistic, _pop_logistic, *parameters)


def mixture(means: npt.ArrayLike, scale_indices: npt.ArrayLike, weights: npt.ArrayLike, n: int) -> Codec:
    """Symbols 0 .. n - 1 of a mixture of K discretised logistics (see bbans.tables).

    Shapes: all three broadcast to (..., K), symbols (...). Units: as logistic; weights are integers >= 0 that sum to
    2**14.
    Raises: ValueError for parameters out of range.
    """
    mean, index, weight = np.broadcast_arrays(
        _integers(means, "means"), _integers(scale_indices, "scale indices"), _integers(weights, "weights")
    )
    if mean.ndim == 0 or np.any(weight < 0) or np.any(weight.sum(-1) != 1 << tables.WEIGHT_BITS):
        raise ValueError(f"weights are not negative and sum to 2**{tables.WEIGHT_BITS} along the last axis")
    _check_alphabet(n, mean)
    components = mean.shape[-1]
    rows = [_flat(values).reshape(-1, components) for values in (mean, _inverse_scales(index), weight)]
    return _array_codec(n, mean.shape[:-1], _push_mixture, _pop_mixture, n, *rows, tables.logistic_table())


def serial(codecs: Sequence[Codec]) -> Codec:
    """A list of symbols, one for each of `codecs`; the first is popped first."""

    def push(message: Message, symbols: Sequence[Any]) -> Message:
        for codec, symbol in reversed(list(zip(codecs, symbols, strict=True))):
            message = codec.push(message, symbol)
        return message

    def pop(message: Message) -> tuple[Message, list[Any]]:
        symbols = []
        for codec in codecs:
            message, symbol = codec.pop(message)
            symbols.append(symbol)
        return message, symbols

    return Codec(push, pop)


def repeat(codec: Codec, n: int) -> Codec:
    """A list of n symbols of one codec. (For numbers, an array codec is much faster.)"""
    return serial([codec] * n)


def substack(codec: Codec, view: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Codec:
    """`codec` on some lanes only: `view` picks them from an array (lanes,), for example ``lambda head: head[:4]``."""

    def split(message: Message) -> tuple[npt.NDArray[Any], Message]:
        chosen = np.atleast_1d(view(np.arange(message.head.size)))
        return chosen, Message(message.head[chosen], message.words, message.size)

    def join(message: Message, chosen: npt.NDArray[Any], part: Message) -> Message:
        message.head[chosen] = part.head
        message.words, message.size = part.words, part.size
        return message

    def push(message: Message, symbol: Any) -> Message:
        chosen, part = split(message)
        return join(message, chosen, codec.push(part, symbol))

    def pop(message: Message) -> tuple[Message, Any]:
        chosen, part = split(message)
        part, symbol = codec.pop(part)
        return join(message, chosen, part), symbol

    return Codec(push, pop)


def _array_codec(n: int, shape: tuple[int, ...], push_kernel: Kernel, pop_kernel: Kernel, *parameters: Any) -> Codec:
    """The codec of symbols 0 .. n - 1 in arrays of `shape`, from two of the compiled loops below."""

    def push(message: Message, symbol: Any) -> Message:
        symbols = _integers(symbol, "symbols")
        if symbols.shape != shape:
            raise ValueError(f"this codec codes symbols of shape {shape}, not {symbols.shape}")
        if symbols.size and (symbols.min() < 0 or symbols.max() >= n):
            raise ValueError(f"symbols are in 0 .. {n - 1}, here {symbols.min()} .. {symbols.max()}")
        message.reserve(symbols.size)
        message.resize(push_kernel(message.head, message.words, message.size, _flat(symbols), *parameters))
        return message

    def pop(message: Message) -> tuple[Message, Any]:
        symbols = np.empty(shape, np.int64)
        message.resize(pop_kernel(message.head, message.words, message.size, symbols.reshape(-1), *parameters))
        return message, symbols[()]

    return Codec(push, pop)


def _integers(values: npt.ArrayLike, name: str) -> tables.IntArray:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} are integers, not {array.dtype}")
    return array.astype(np.int64)


def _flat(values: tables.IntArray) -> tables.IntArray:
    return np.ascontiguousarray(values).reshape(-1)


def _inverse_scales(indices: tables.IntArray) -> tables.IntArray:
    if np.any(indices < 0) or np.any(indices >= tables.SCALES):
        raise ValueError(f"scale indices are in 0 .. {tables.SCALES - 1}")
    return tables.inverse_scales()[indices]


def _check_alphabet(n: int, means: tables.IntArray) -> None:
    if not 1 <= n <= tables.MAX_SYMBOLS:
        raise ValueError(f"a logistic has 1 to {tables.MAX_SYMBOLS} symbols, not {n}")
    if np.any(np.abs(means) >= 1 << 31):
        raise ValueError("means fit in 32 bits")


# Compiled loops: (heads, words, size, symbols, *parameters) -> size, -1 when the message ran dry. Each pair mirrors the
# other.


@jit
def _push_uniform(heads, words, size, symbols, n, precision):
    for i in range(len(symbols) - 1, -1, -1):
        lane = i % len(heads)
        start = (symbols[i] << precision) // n
        stop = ((symbols[i] + 1) << precision) // n
        heads[lane], size = push_one(heads[lane], words, size, start, stop - start, precision)
    return size


@jit
def _pop_uniform(heads, words, size, symbols, n, precision):
    for i in range(len(symbols)):
        lane = i % len(heads)
        symbols[i] = ((peek_one(heads[lane], precision) + 1) * n - 1) >> precision
        start = (symbols[i] << precision) // n
        stop = ((symbols[i] + 1) << precision) // n
        heads[lane], size = pop_one(heads[lane], words, size, start, stop - start, precision)
    return size


@jit
def _push_table(heads, words, size, symbols, starts, step, precision):
    for i in range(len(symbols) - 1, -1, -1):
        lane = i % len(heads)
        start = starts[i * step, symbols[i]]
        stop = starts[i * step, symbols[i] + 1]
        heads[lane], size = push_one(heads[lane], words, size, start, stop - start, precision)
    return size


@jit
def _pop_table(heads, words, size, symbols, starts, step, precision):
    for i in range(len(symbols)):
        lane = i % len(heads)
        cf = peek_one(heads[lane], precision)
        low, high = 0, starts.shape[1] - 1
        while high - low > 1:
            middle = (low + high) >> 1
            if starts[i * step, middle] <= cf:
                low = middle
            else:
                high = middle
        symbols[i] = low
        start = starts[i * step, low]
        heads[lane], size = pop_one(heads[lane], words, size, start, starts[i * step, high] - start, precision)
    return size


@jit
def _push_logistic(heads, words, size, symbols, n, means, inverse_scales, table):
    for i in range(len(symbols) - 1, -1, -1):
        lane = i % len(heads)
        start = logistic_start(symbols[i], n, means[i], inverse_scales[i], table)
        stop = logistic_start(symbols[i] + 1, n, means[i], inverse_scales[i], table)
        heads[lane], size = push_one(heads[lane], words, size, start, stop - start, PRECISION)
    return size


@jit
def _pop_logistic(heads, words, size, symbols, n, means, inverse_scales, table):
    for i in range(len(symbols)):
        lane = i % len(heads)
        cf = peek_one(heads[lane], PRECISION)
        symbols[i], start, freq = logistic_search(cf, n, means[i], inverse_scales[i], table)
        heads[lane], size = pop_one(heads[lane], words, size, start, freq, PRECISION)
    return size


@jit
def _push_mixture(heads, words, size, symbols, n, means, inverse_scales, weights, table):
    components = means.shape[1]
    mean, inverse_scale, weight = (
        np.empty(components, np.int64),
        np.empty(components, np.int64),
        np.empty(components, np.int64),
    )
    for i in range(len(symbols) - 1, -1, -1):
        lane = i % len(heads)
        _copy_row(i, means, inverse_scales, weights, mean, inverse_scale, weight)
        start = mixture_cf(symbols[i], n, mean, inverse_scale, weight, table)
        stop = mixture_cf(symbols[i] + 1, n, mean, inverse_scale, weight, table)
        heads[lane], size = push_one(heads[lane], words, size, start, stop - start, PRECISION)
    return size


@jit
def _pop_mixture(heads, words, size, symbols, n, means, inverse_scales, weights, table):
    components = means.shape[1]
    mean, inverse_scale, weight = (
        np.empty(components, np.int64),
        np.empty(components, np.int64),
        np.empty(components, np.int64),
    )
    for i in range(len(symbols)):
        lane = i % len(heads)
        _copy_row(i, means, inverse_scales, weights, mean, inverse_scale, weight)
        cf = peek_one(heads[lane], PRECISION)
        symbols[i], start, freq = mixture_search(cf, n, mean, inverse_scale, weight, table)
        heads[lane], size = pop_one(heads[lane], words, size, start, freq, PRECISION)
    return size


@jit
def _copy_row(i, means, inverse_scales, weights, mean, inverse_scale, weight):
    """Parameters of symbol i into arrays of their own: a view of a row costs more than the rest of a push."""
    for k in range(means.shape[1]):
        mean[k], inverse_scale[k], weight[k] = means[i, k], inverse_scales[i, k], weights[i, k]
