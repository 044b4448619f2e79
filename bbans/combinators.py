"""Codecs of codecs::

    serial, repeat   several independent symbols
    dependent        several symbols, each with a codec that may depend on those before it
    mapped           the symbols of a codec in another form
    sized            a codec that is made for the number of messages at hand
    substack         a codec on some of the lanes of a message
    beside           symbols in a list instead of on the message

All take a Message or a Batch, as the codecs that they are made of do, and all but substack work for any symbols.

>>> from bbans.codecs import categorical, uniform
>>> codec = repeat(serial([uniform(6), categorical([1, 3])]), 2)
>>> message = codec.push(Message.empty(), [(5, 0), (2, 1)])
>>> message, symbols = codec.pop(message)
>>> message.is_initial()
True

Source: craystack, which has serial, repeat and substack (https://github.com/j-towns/craystack).
"""

from collections.abc import Callable, Generator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from bbans.ans import AnyMessage, Batch, Message
from bbans.codecs import Codec
from bbans.errors import CorruptDataError
from bbans.tables import IntArray

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


def serial(codecs: Sequence[Codec[S]]) -> Codec[Sequence[S]]:
    """Several symbols, one for each of `codecs`; the first is popped first."""

    @dependent
    def parts() -> Generator[Codec[S], S, None]:
        for codec in codecs:  # noqa: UP028  (yield from would send symbols into the sequence)
            yield codec

    return parts()


def repeat(codec: Codec[S], n: int) -> Codec[Sequence[S]]:
    """n symbols of one codec. (For numbers, an array codec is much faster.)"""
    return serial([codec] * n)


def dependent(parts: Callable[P, Generator[Codec[S], S, None]]) -> Callable[P, Codec[Sequence[S]]]:
    """Decorator: a generator of codecs, of which each may depend on the symbols before it, becomes one codec of them all.

    The function yields the codec of the next symbol and is sent that symbol: p(a), then p(b | a), and so on. It may stop when it
    likes, so how many symbols there are can be one of them.

    >>> from bbans.codecs import logistic, uniform
    >>> @dependent
    ... def walk(steps):
    ...     x = yield uniform(256)
    ...     for _ in range(steps):
    ...         x = yield logistic(64 * x, 30, 256)  # near the one before
    >>> codec = walk(2)
    >>> message = codec.push(Message.empty(), (100, 103, 101))
    >>> message, symbols = codec.pop(message)
    >>> list(map(int, symbols))
    [100, 103, 101]

    Pop runs the function and pops each codec that it yields. Push has to go backwards: it first runs the function on the symbols
    that it knows, then pushes the last first. So the function must yield the same codecs whenever it is sent the same symbols.

    Raises: ValueError from push unless there are exactly as many symbols as codecs.
    """

    @wraps(parts)
    def codec_of(*args: P.args, **kwargs: P.kwargs) -> Codec[Sequence[S]]:
        def codecs_of(symbols: Sequence[S]) -> list[Codec[S]]:
            steps, codecs = parts(*args, **kwargs), []
            codec = next(steps, None)
            for symbol in symbols:
                if codec is None:
                    break
                codecs.append(codec)
                codec = _send(steps, symbol)
            if codec is not None or len(codecs) != len(symbols):
                raise ValueError(f"{len(symbols)} symbols for {len(codecs)}{' or more' if codec else ''} codecs")
            return codecs

        def push(message: AnyMessage, symbols: Sequence[S]) -> AnyMessage:
            for codec, symbol in reversed(list(zip(codecs_of(symbols), symbols, strict=True))):
                message = codec.push(message, symbol)
            return message

        def pop(message: AnyMessage) -> tuple[AnyMessage, Sequence[S]]:
            steps, symbols = parts(*args, **kwargs), []
            codec = next(steps, None)
            while codec is not None:
                message, symbol = codec.pop(message)
                symbols.append(symbol)
                codec = _send(steps, symbol)
            return message, tuple(symbols)

        def log_freqs(symbols: Sequence[S], rows: bool) -> IntArray:
            logs = [codec.log_freqs(symbol, rows) for codec, symbol in zip(codecs_of(symbols), symbols, strict=True)]
            return np.asarray(np.sum(logs, axis=0, dtype=np.int64))

        return Codec(push, pop, log_freqs)

    return codec_of


def _send(steps: Generator[Codec[S], S, None], symbol: S) -> Codec[S] | None:
    """The next codec, None after the last."""
    try:
        return steps.send(symbol)
    except StopIteration:
        return None


def mapped(codec: Codec[S], join: Callable[[S], T], split: Callable[[T], S]) -> Codec[T]:
    """The symbols of `codec` in another form: join(symbol), of which split is the inverse."""

    def push(message: AnyMessage, symbol: T) -> AnyMessage:
        return codec.push(message, split(symbol))

    def pop(message: AnyMessage) -> tuple[AnyMessage, T]:
        message, symbol = codec.pop(message)
        return message, join(symbol)

    return Codec(push, pop, lambda symbol, rows: codec.log_freqs(split(symbol), rows))


def afterwards(codec: Codec[S], call: Callable[[], None]) -> Codec[S]:
    """`codec`, with a call after each push and pop: for who wants to know how far a work is."""

    def push(message: AnyMessage, symbol: S) -> AnyMessage:
        message = codec.push(message, symbol)
        call()
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, S]:
        message, symbol = codec.pop(message)
        call()
        return message, symbol

    return Codec(push, pop, codec.log_freqs)


def sized(make: Callable[[int], Codec[S]]) -> Codec[S]:
    """The codec make(n) for a Batch of n messages, make(1) for a Message."""

    def own(message: Message | Batch) -> Codec[S]:
        return make(len(message) if isinstance(message, Batch) else 1)

    def push(message: AnyMessage, symbol: S) -> AnyMessage:
        return own(message).push(message, symbol)

    def pop(message: AnyMessage) -> tuple[AnyMessage, S]:
        return own(message).pop(message)

    return Codec(push, pop)


def beside(symbols: list[S]) -> Codec[S]:
    """Symbols that are kept off the message: push appends them to the list `symbols`, pop takes the last.

    For what is stored in another place. Raises: CorruptDataError from pop when the list is empty.
    """

    def push(message: AnyMessage, symbol: S) -> AnyMessage:
        symbols.append(symbol)
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, S]:
        if not symbols:
            raise CorruptDataError("a symbol that is kept beside the message is missing")
        return message, symbols.pop()

    return Codec(push, pop)


def substack(codec: Codec[S], view: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Codec[S]:
    """`codec` on some lanes only: `view` picks them from an array (lanes,), for example `lambda head: head[:4]`.

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

    def push(message: Any, symbol: S) -> Any:
        chosen, part = split(message)
        return join(message, chosen, codec.push(part, symbol))

    def pop(message: Any) -> tuple[Any, S]:
        chosen, part = split(message)
        part, symbol = codec.pop(part)
        return join(message, chosen, part), symbol

    return Codec(push, pop, codec.log_freqs)
