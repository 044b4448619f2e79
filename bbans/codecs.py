"""Codecs: how symbols go on a message and come back, as pairs of functions that compose.

A codec is craystack's idea: `push(message, symbol) -> message` and its exact inverse `pop(message) -> (message, symbol)`.
Both consume the message that they take (see bbans.ans), so write `message = codec.push(message, symbol)`.

Distributions of integers; a symbol is one number or an array of them::

    uniform          0 .. n - 1, all equally likely               numbers of which nothing is known
    categorical      0 .. n - 1 with any integer freqs            tables.quantise_probabilities makes freqs
    bernoulli        0 and 1                                      pixels of two colours
    logistic         0 .. n - 1, discretised logistic             latents
    mixture          0 .. n - 1, mixture of K such logistics      pixels
    from_intervals   integers by any two functions                your own; tables.quantise_cdf makes both from a cdf

bbans.combinators makes codecs of codecs, bbans.bitsback makes them of models with latents.

Arrays have the shape of their parameters. Pop returns their symbols in order, so push goes backwards. On a message of
several lanes, symbol i of the flattened array rides on lane `i % lanes`; with one symbol for each lane the words are those of
craystack. On a Batch, row i of the array rides on message i alone.

>>> codec = logistic([640, 700], [48, 48], 256)
>>> message = codec.push(Message.empty(), [11, 10])
>>> message, symbols = codec.pop(message)
>>> symbols.tolist(), message.is_initial()
([11, 10], True)
"""

# mypy: disable-error-code="no-untyped-call"

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bbans import tables
from bbans._core import codecs as core
from bbans.ans import HEAD_MIN, MAX_PRECISION, AnyMessage, Batch, Message, peek
from bbans.tables import PRECISION, IntArray

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
S_co = TypeVar("S_co", covariant=True)


class Push(Protocol[S_contra]):
    """(message, symbol) -> message, for a Message or a Batch."""

    def __call__(self, message: AnyMessage, symbol: S_contra, /) -> AnyMessage: ...


class Pop(Protocol[S_co]):
    """message -> (message, symbol), for a Message or a Batch."""

    def __call__(self, message: AnyMessage, /) -> tuple[AnyMessage, S_co]: ...


class LogFreqs(Protocol[S_contra]):
    """(symbol, rows) -> log2 of the probability with which a symbol is coded, int64 in 2**-16 bit, at most 0.

    It is the sum over the whole symbol, shape (); or, if `rows`, over each row of a symbol for a Batch, shape (rows,).
    """

    def __call__(self, symbol: S_contra, rows: bool, /) -> IntArray: ...


def _no_log_freqs(symbol: object, rows: bool) -> IntArray:
    raise ValueError("this codec has no log_freqs: it cannot tell how likely its symbols are")


@dataclass(frozen=True)
class Codec(Generic[S]):
    """push(message, symbol) -> message, and its inverse pop(message) -> (message, symbol), for symbols of type S.

    Monte Carlo bits-back (bbans.bitsback) weighs latents by `log_freqs`, which raises ValueError where a codec has none.

    Raises: ValueError from push for a symbol outside the alphabet or of another shape; CorruptDataError from pop when
    the message runs dry.
    """

    push: Push[S]
    pop: Pop[S]
    log_freqs: LogFreqs[S] = _no_log_freqs


class Intervals(NamedTuple):
    """Where the symbols of an array codec lie in [0, 2**precision).

    locate: symbols -> (starts, freqs). search: cfs -> the symbols whose intervals hold them. All are int64 of `shape`.
    Raises: ValueError from `locate`, as push.
    """

    shape: tuple[int, ...]
    precision: int
    locate: Callable[[npt.ArrayLike], tuple[IntArray, IntArray]]
    search: Callable[[IntArray], IntArray]


@dataclass(frozen=True)
class ArrayCodec(Codec[IntArray]):
    """A codec of integers: pushes whatever NumPy makes an array of integers of, pops int64 of `intervals.shape`."""

    push: Push[npt.ArrayLike]
    intervals: Intervals = field(kw_only=True)


def uniform(n: int | IntArray, shape: tuple[int, ...] = ()) -> ArrayCodec:
    """Symbols 0 .. n - 1, all equally likely, for n up to 2**31: log2(n) bits each, exactly so for powers of two.

    Shapes: symbols `shape`; or those of n, an array. For a number n = 2**precision this is craystack's Uniform(precision).
    """
    if np.min(n, initial=1) < 1 or np.max(n, initial=1) > 1 << MAX_PRECISION:
        raise ValueError(f"a uniform codec has 1 to 2**{MAX_PRECISION} symbols, not {n}")
    # Each bit halves what the rounding of freqs costs and doubles what the head loses by division; 12 make both
    # invisible. The precision of an array is fixed, so that a row is coded alike whatever the other rows are.
    if isinstance(n, np.ndarray):
        return _compiled(n, n.shape, MAX_PRECISION, core.UNIFORM, _flat(_integers(n, "sizes")), 1, MAX_PRECISION)
    n = int(n)
    precision = n.bit_length() - 1 if n & (n - 1) == 0 else min(n.bit_length() + 12, MAX_PRECISION)
    return _compiled(n, shape, precision, core.UNIFORM, np.array([n]), 0, precision)


def categorical(freqs: npt.ArrayLike, shape: tuple[int, ...] | None = None) -> ArrayCodec:
    """Symbols 0 .. n - 1 of the integer `freqs`, each at least 1, their sum a power of two up to 2**31.

    Shapes: freqs (..., n), symbols (...); or freqs (n,) for all symbols of `shape`.
    Raises: ValueError for other freqs.
    """
    table = np.asarray(freqs)
    if table.ndim == 0 or table.shape[-1] == 0 or table.dtype.kind not in "iu" or np.any(table < 1):
        raise ValueError("freqs are integers of at least 1, along the last axis")
    ends = np.cumsum(table, axis=-1, dtype=np.int64)
    starts = np.concatenate([np.zeros_like(ends[..., :1]), ends], axis=-1)
    total = int(ends[..., -1].max(initial=1))
    too_large = np.any(table > 1 << MAX_PRECISION) or total > 1 << MAX_PRECISION  # sums of the former may wrap around
    if too_large or np.any(ends[..., -1] != total) or total & (total - 1):
        raise ValueError(f"freqs sum to a power of two up to 2**{MAX_PRECISION}, the same in every row")
    if shape is None:
        shape = table.shape[:-1]
    elif table.ndim != 1:
        raise ValueError("a shape goes with one row of freqs")
    rows = np.ascontiguousarray(starts.reshape(-1, starts.shape[-1]))
    step = 0 if len(rows) == 1 else 1  # one row serves all symbols
    precision = total.bit_length() - 1
    return _compiled(table.shape[-1], shape, precision, core.TABLE, rows, rows.shape[1], step, precision)


def bernoulli(logits: npt.ArrayLike) -> ArrayCodec:
    """Symbols 0 and 1, with P(1) = sigmoid(logits / 64): the same as logistic(32 + logits, 48, 2), and faster.

    Shapes: logits, integers, are of the shape of the symbols. Units: logits in 1/64 nat.
    Raises: ValueError for logits of more than 32 bits.
    """
    logit = _integers(logits, "logits")
    _check_alphabet(2, logit)
    return _compiled(2, logit.shape, PRECISION, core.BERNOULLI, _flat(logit))


def logistic(mean: npt.ArrayLike, scale_index: npt.ArrayLike, n: int) -> ArrayCodec:
    """Symbols 0 .. n - 1 of a discretised logistic (see bbans.tables).

    Shapes: mean, scale_index, integers, broadcast to the shape of the symbols. Units: mean in 1/64 of a symbol;
    scale_index i stands for a log_scale of -3 + i / 16 nats.
    Raises: ValueError for parameters out of range.
    """
    means, indices = np.broadcast_arrays(_integers(mean, "means"), _integers(scale_index, "scale indices"))
    inverse_scales = _inverse_scales(indices)
    _check_alphabet(n, means)
    return _compiled(n, means.shape, PRECISION, core.LOGISTIC, n, _flat(means), _flat(inverse_scales))


def mixture(means: npt.ArrayLike, scale_indices: npt.ArrayLike, weights: npt.ArrayLike, n: int) -> ArrayCodec:
    """Symbols 0 .. n - 1 of a mixture of K discretised logistics (see bbans.tables).

    Shapes: all three, integers, broadcast to (..., K), for symbols (...). Units: as logistic; weights, not negative, sum to 2**14.
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
    return _compiled(n, mean.shape[:-1], PRECISION, core.MIXTURE, n, components, *rows)


def from_intervals(
    locate: Callable[[IntArray], tuple[npt.ArrayLike, npt.ArrayLike]],
    search: Callable[[IntArray], npt.ArrayLike],
    precision: int,
    shape: tuple[int, ...] = (),
) -> ArrayCodec:
    """Symbols of any distribution, by where they lie in [0, 2**precision): two functions, each the inverse of the other.

    locate(symbols) -> (starts, freqs); search(cfs) -> the symbols whose intervals hold them. Both work element by element, on
    int64: a number for shape (), else arrays. Push locates all symbols at once, pop searches as many at a time as there are
    lanes or messages; functions with parameters for every symbol therefore need a lane or message for each.

    >>> locate, search = tables.quantise_cdf(lambda k: 1 - 0.9**k, 500, 24)  # P(X < k) of a geometric distribution
    >>> codec = from_intervals(locate, search, 24, shape=(3,))
    >>> message = codec.push(Message.empty(), [7, 0, 31])
    >>> message, symbols = codec.pop(message)
    >>> symbols.tolist()
    [7, 0, 31]

    Raises: ValueError, from pop too, for intervals that are empty, leave [0, 2**precision) or do not hold what is searched.
    """
    if not 0 <= precision <= MAX_PRECISION:
        raise ValueError(f"precision is between 0 and {MAX_PRECISION} bits, not {precision}")

    def located(symbols: IntArray) -> tuple[IntArray, IntArray]:
        starts, freqs = (np.broadcast_to(_integers(values, "intervals"), symbols.shape) for values in locate(symbols[()]))
        if np.any(starts < 0) or np.any(freqs < 1) or np.any(starts + freqs > 1 << precision):
            raise ValueError(f"an interval is empty or leaves [0, 2**{precision})")
        return starts, freqs

    def searched(cfs: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        symbols = np.broadcast_to(_integers(search(cfs[()]), "symbols"), cfs.shape)
        starts, freqs = located(symbols)
        if np.any(cfs < starts) or np.any(cfs >= starts + freqs):
            raise ValueError("search and locate are not inverse: an interval does not hold what was searched")
        return symbols, starts, freqs

    def push(message: AnyMessage, symbol: npt.ArrayLike) -> AnyMessage:
        starts, freqs = located(_shaped(symbol, shape))
        _push_rows(message, shape, core.push_intervals, _flat(starts), _flat(freqs), precision)
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, IntArray]:
        messages, row = _rows(message, shape)
        symbols = np.empty((len(messages), row), np.int64)
        lanes = messages[0].head.size if messages else 1
        for begin in range(0, row, lanes):
            part = symbols[:, begin : begin + lanes]
            cfs = np.stack([peek(own, precision)[: part.shape[1]] for own in messages])
            alike = shape if part.size == symbols.size else (part.size,)
            part[...], starts, freqs = (values.reshape(part.shape) for values in searched(cfs.reshape(alike)))
            for own, start, freq in zip(messages, starts, freqs, strict=True):
                own.resize(core.pop_lanes(own.head, own.words, own.size, start, freq, precision))
        return message, symbols.reshape(shape)[()]

    def locate_all(symbol: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        return located(_shaped(symbol, shape))

    return _array_codec(push, pop, Intervals(shape, precision, locate_all, lambda cfs: searched(cfs)[0]))


def _compiled(n: int | IntArray, shape: tuple[int, ...], precision: int, loops: core.Loops, *parameters: Any) -> ArrayCodec:
    """The codec of symbols 0 .. n - 1 in arrays of `shape`, from the loops of a distribution."""
    size = math.prod(shape)

    def checked(symbol: npt.ArrayLike) -> IntArray:
        symbols = _shaped(symbol, shape)
        if size and (symbols.min() < 0 or np.any(symbols >= n)):
            raise ValueError(f"symbols are in 0 .. {np.max(n) - 1}, here {symbols.min()} .. {symbols.max()}")
        return _flat(symbols)

    def push(message: AnyMessage, symbol: npt.ArrayLike) -> AnyMessage:
        _push_rows(message, shape, loops.push, checked(symbol), *parameters)
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, IntArray]:
        symbols = np.empty(size, np.int64)
        messages, row = _rows(message, shape)
        for i, own in enumerate(messages):
            own.resize(loops.pop(own.head, own.words, own.size, symbols, i * row, (i + 1) * row, *parameters))
        return message, symbols.reshape(shape)[()]

    def locate(symbol: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        starts, freqs = np.empty(size, np.int64), np.empty(size, np.int64)
        loops.intervals(checked(symbol), starts, freqs, *parameters)
        return starts.reshape(shape), freqs.reshape(shape)

    def search(cfs: IntArray) -> IntArray:
        # A lane for each symbol, its head so large that no pop needs a word.
        heads = (_flat(cfs) + (HEAD_MIN << precision)).astype(np.uint64)
        symbols = np.empty(size, np.int64)
        loops.pop(heads, np.empty(0, np.uint32), 0, symbols, 0, size, *parameters)
        return symbols.reshape(shape)

    return _array_codec(push, pop, Intervals(shape, precision, locate, search))


def _array_codec(push: Push[npt.ArrayLike], pop: Pop[IntArray], intervals: Intervals) -> ArrayCodec:
    def log_freqs(symbol: npt.ArrayLike, rows: bool) -> IntArray:
        sums = np.empty(intervals.shape[0] if rows else (), np.int64)
        freqs = _flat(intervals.locate(symbol)[1])
        core.sum_log_freqs(freqs, intervals.precision, sums.reshape(-1))
        return sums

    return ArrayCodec(push, pop, log_freqs, intervals=intervals)


def _rows(message: Message | Batch, shape: tuple[int, ...]) -> tuple[Sequence[Message], int]:
    """The messages, and how many of the flattened symbols of `shape` ride on each."""
    if isinstance(message, Message):
        return [message], math.prod(shape)
    if shape[:1] != (len(message),):
        raise ValueError(f"symbols of shape {shape} do not go on a batch of {len(message)} messages, a row on each")
    return message.messages, math.prod(shape[1:])


def _push_rows(
    message: Message | Batch, shape: tuple[int, ...], loop: Callable[..., int], symbols: IntArray, *parameters: Any
) -> None:
    messages, row = _rows(message, shape)
    for i, own in enumerate(messages):
        own.reserve(row)
        own.resize(loop(own.head, own.words, own.size, symbols, i * row, (i + 1) * row, *parameters))


def _shaped(symbol: npt.ArrayLike, shape: tuple[int, ...]) -> IntArray:
    symbols = _integers(symbol, "symbols")
    if symbols.shape != shape:
        raise ValueError(f"this codec codes symbols of shape {shape}, not {symbols.shape}")
    return symbols


def _integers(values: npt.ArrayLike, name: str) -> IntArray:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} are integers, not {array.dtype}")
    return array.astype(np.int64)


def _flat(values: IntArray) -> IntArray:
    return np.ascontiguousarray(values).reshape(-1)


def _inverse_scales(indices: IntArray) -> IntArray:
    if np.any(indices < 0) or np.any(indices >= tables.SCALES):
        raise ValueError(f"scale indices are in 0 .. {tables.SCALES - 1}")
    return tables.inverse_scales()[indices]


def _check_alphabet(n: int, means: IntArray) -> None:
    if not 1 <= n <= tables.MAX_SYMBOLS:
        raise ValueError(f"a logistic has 1 to {tables.MAX_SYMBOLS} symbols, not {n}")
    if np.any(np.abs(means) >= 1 << 31):
        raise ValueError("means fit in 32 bits")
