"""Codecs: what to push and pop, as pairs of functions that compose.

A codec is craystack's idea: ``push(message, symbol) -> message`` and its exact inverse ``pop(message) -> (message,
symbol)``. Both consume the message they are given (see bbans.ans), so write ``message = codec.push(message, symbol)``.

Which one:

===============  ==========================================================  =========================================
uniform          0 .. n - 1, all alike                                       bits that cost what they are
categorical      0 .. n - 1 with any integer freqs                           see tables.quantise_probabilities
bernoulli        0 and 1                                                     pixels of two colours
logistic         0 .. n - 1, discretised logistic                            latents
mixture          0 .. n - 1, mixture of K discretised logistics              pixels
serial, repeat   lists of symbols, one codec each / one codec for all        different things in a row
substack         the symbols of a codec on some of the lanes only            several lanes
===============  ==========================================================  =========================================

The symbols of the first five may be arrays: the shape is that of their parameters. Pop returns them in order, so push
goes backwards. On a message of several lanes symbol i of the flattened array rides on lane ``i % lanes``; one symbol
for each lane gives the words that craystack gives. On a Batch row i of the array rides on message i alone.

>>> message = logistic([640, 700], [48, 48], 256).push(Message.empty(), [11, 10])
>>> message, symbols = logistic([640, 700], [48, 48], 256).pop(message)
>>> symbols.tolist(), message.is_initial()
([11, 10], True)
"""

# mypy: disable-error-code="no-untyped-call"

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bbans import kernels, tables
from bbans.ans import HEAD_MIN, MAX_PRECISION, AnyMessage, Batch, Message
from bbans.tables import PRECISION


class Push(Protocol):
    """(message, symbol) -> message, for a Message or a Batch."""

    def __call__(self, message: AnyMessage, symbol: Any, /) -> AnyMessage: ...


class Pop(Protocol):
    """message -> (message, symbol), for a Message or a Batch."""

    def __call__(self, message: AnyMessage, /) -> tuple[AnyMessage, Any]: ...


class Intervals(NamedTuple):
    """Where the symbols of an array codec lie in [0, 2**precision).

    locate: symbols -> (starts, freqs). search: cfs -> the symbols whose intervals hold them. All are int64 of `shape`.
    Raises: ValueError from `locate`, as push.
    """

    shape: tuple[int, ...]
    precision: int
    locate: Callable[[Any], tuple[tables.IntArray, tables.IntArray]]
    search: Callable[[tables.IntArray], tables.IntArray]


class Codec(NamedTuple):
    """push(message, symbol) -> message, and its inverse pop(message) -> (message, symbol).

    Monte Carlo bits-back (bbans.bitsback) weighs and shifts symbols, and asks for more; None where it cannot be had:

    - log_freqs(symbol, rows): what log2 of the symbol's probability is as it is coded, int64 in 2**-16 bit, so not positive;
      the sum over all of a symbol's parts, or if `rows`, that of every row of a symbol for a Batch, (rows,);
    - intervals: of the symbols of array codecs.

    Raises: ValueError from push for a symbol outside the alphabet or of another shape; CorruptDataError from pop when
    the message runs dry.
    """

    push: Push
    pop: Pop
    log_freqs: Callable[[Any, bool], Any] | None = None
    intervals: Intervals | None = None


def uniform(n: int | tables.IntArray, shape: tuple[int, ...] = ()) -> Codec:
    """Symbols 0 .. n - 1, all as likely. n up to 2**31; log2(n) bits each, exactly so for powers of two.

    Shapes: symbols `shape`; or n an array, symbols as it. For one n = 2**precision this is craystack's Uniform(precision).
    """
    if np.min(n, initial=1) < 1 or np.max(n, initial=1) > 1 << MAX_PRECISION:
        raise ValueError(f"a uniform codec has 1 to 2**{MAX_PRECISION} symbols, not {n}")
    # Each bit halves what the rounding of freqs costs and doubles what the head loses by division; 12 make both
    # invisible. With an array, the precision must not hang on other rows.
    if isinstance(n, np.ndarray):
        return _array_codec(n, n.shape, MAX_PRECISION, _UNIFORM, _flat(_integers(n, "sizes")), 1, MAX_PRECISION)
    n = int(n)
    precision = n.bit_length() - 1 if n & (n - 1) == 0 else min(n.bit_length() + 12, MAX_PRECISION)
    return _array_codec(n, shape, precision, _UNIFORM, np.array([n]), 0, precision)


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
    precision = total.bit_length() - 1
    return _array_codec(given.shape[-1], shape, precision, _TABLE, rows, step, precision)


def bernoulli(logits: npt.ArrayLike) -> Codec:
    """Symbols 0 and 1. P(1) = sigmoid(logits / 64): this is logistic(32 + logits, 48, 2), and faster.

    Shapes: logits: integers, symbols the same. Units: 1/64 nat.
    Raises: ValueError for logits of more than 32 bits.
    """
    logit = _integers(logits, "logits")
    _check_alphabet(2, logit)
    return _array_codec(2, logit.shape, PRECISION, _BERNOULLI, _flat(logit), tables.logistic_table())


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
    return _array_codec(n, means.shape, PRECISION, _LOGISTIC, *parameters)


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
    return _array_codec(n, mean.shape[:-1], PRECISION, _MIXTURE, n, *rows, tables.logistic_table())


def serial(codecs: Sequence[Codec]) -> Codec:
    """A list of symbols, one for each of `codecs`; the first is popped first."""

    def push(message: AnyMessage, symbols: Sequence[Any]) -> AnyMessage:
        for codec, symbol in reversed(list(zip(codecs, symbols, strict=True))):
            message = codec.push(message, symbol)
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, list[Any]]:
        symbols = []
        for codec in codecs:
            message, symbol = codec.pop(message)
            symbols.append(symbol)
        return message, symbols

    parts = [codec.log_freqs for codec in codecs if codec.log_freqs]

    def log_freqs(symbols: Sequence[Any], rows: bool) -> Any:
        return sum(part(symbol, rows) for part, symbol in zip(parts, symbols, strict=True))

    return Codec(push, pop, log_freqs if len(parts) == len(codecs) else None)


def repeat(codec: Codec, n: int) -> Codec:
    """A list of n symbols of one codec. (For numbers, an array codec is much faster.)"""
    return serial([codec] * n)


def substack(codec: Codec, view: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Codec:
    """`codec` on some lanes only: `view` picks them from an array (lanes,), for example ``lambda head: head[:4]``.

    For a Message; those of a Batch have a lane each.
    """

    def split(message: Message) -> tuple[npt.NDArray[Any], Message]:
        chosen = np.atleast_1d(view(np.arange(message.head.size)))
        return chosen, Message(message.head[chosen], message.words, message.size)

    def join(message: Message, chosen: npt.NDArray[Any], part: Message) -> Message:
        message.head[chosen] = part.head
        message.words, message.size = part.words, part.size
        message.lowest = min(message.lowest, part.lowest)
        return message

    def push(message: Any, symbol: Any) -> Any:
        chosen, part = split(message)
        return join(message, chosen, codec.push(part, symbol))

    def pop(message: Any) -> tuple[Any, Any]:
        chosen, part = split(message)
        part, symbol = codec.pop(part)
        return join(message, chosen, part), symbol

    return Codec(push, pop, codec.log_freqs)


class _Loops(NamedTuple):
    """Those of bbans.kernels for one distribution."""

    push: Callable[..., int]
    pop: Callable[..., int]
    intervals: Callable[..., None]


_UNIFORM = _Loops(kernels.push_uniform, kernels.pop_uniform, kernels.uniform_intervals)
_TABLE = _Loops(kernels.push_table, kernels.pop_table, kernels.table_intervals)
_BERNOULLI = _Loops(kernels.push_bernoulli, kernels.pop_bernoulli, kernels.bernoulli_intervals)
_LOGISTIC = _Loops(kernels.push_logistic, kernels.pop_logistic, kernels.logistic_intervals)
_MIXTURE = _Loops(kernels.push_mixture, kernels.pop_mixture, kernels.mixture_intervals)


def _array_codec(
    n: int | tables.IntArray,
    shape: tuple[int, ...],
    precision: int,
    loops: _Loops,
    *parameters: Any,
) -> Codec:
    """The codec of symbols 0 .. n - 1 in arrays of `shape`, from the loops of a distribution."""
    size = math.prod(shape)

    def checked(symbol: Any) -> tables.IntArray:
        symbols = _integers(symbol, "symbols")
        if symbols.shape != shape:
            raise ValueError(f"this codec codes symbols of shape {shape}, not {symbols.shape}")
        if size and (symbols.min() < 0 or np.any(symbols >= n)):
            raise ValueError(f"symbols are in 0 .. {np.max(n) - 1}, here {symbols.min()} .. {symbols.max()}")
        return _flat(symbols)

    def on_rows(message: Message | Batch, code: Callable[[Message, int, int], None]) -> None:
        """code(message, begin, end) for the part of the flattened symbols that rides on a message."""
        if isinstance(message, Message):
            code(message, 0, size)
        elif shape[:1] != (len(message),):
            raise ValueError(f"symbols of shape {shape} do not go on a batch of {len(message)} messages, a row on each")
        else:
            row = math.prod(shape[1:])
            message.map(lambda own, i: code(own, i * row, (i + 1) * row), range(len(message)))

    def push(message: AnyMessage, symbol: Any) -> AnyMessage:
        symbols = checked(symbol)

        def code(own: Message, begin: int, end: int) -> None:
            own.reserve(end - begin)
            own.resize(loops.push(own.head, own.words, own.size, symbols, begin, end, *parameters))

        on_rows(message, code)
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        symbols = np.empty(size, np.int64)

        def code(own: Message, begin: int, end: int) -> None:
            own.resize(loops.pop(own.head, own.words, own.size, symbols, begin, end, *parameters))

        on_rows(message, code)
        return message, symbols.reshape(shape)[()]

    def locate(symbol: Any) -> tuple[tables.IntArray, tables.IntArray]:
        starts, freqs = np.empty(size, np.int64), np.empty(size, np.int64)
        loops.intervals(checked(symbol), starts, freqs, *parameters)
        return starts.reshape(shape), freqs.reshape(shape)

    def search(cfs: tables.IntArray) -> tables.IntArray:
        # A lane for each symbol, its head so large that no pop needs a word.
        heads = (_flat(cfs) + (HEAD_MIN << precision)).astype(np.uint64)
        symbols = np.empty(size, np.int64)
        loops.pop(heads, np.empty(0, np.uint32), 0, symbols, 0, size, *parameters)
        return symbols.reshape(shape)

    def log_freqs(symbol: Any, rows: bool) -> Any:
        sums = np.empty(shape[0] if rows else 1, np.int64)
        kernels.sum_log_freqs(locate(symbol)[1].reshape(-1), precision, tables.log2_table(), sums)
        return sums if rows else sums[0]

    return Codec(push, pop, log_freqs, Intervals(shape, precision, locate, search))


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
