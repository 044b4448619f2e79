"""An adapter to craystack: its codecs on messages of bbans, codecs of bbans on its messages.

craystack is the library in which bits-back coding with vectorised rANS was first published. Both have the same heads and the
same words in the same order; only the containers differ::

    bbans       Message: head (lanes,), words[:size] with the top last
    craystack   (head, tail): head of any shape, tail nested pairs (words, (words, ...)) with the top first, () at the end
                push(message, symbol) -> (message,)      pop(message) -> (message, symbol)

    >>> codec = codec_from_craystack(load().Uniform(8))                                 # doctest: +SKIP
    >>> message = codec.push(Message.empty(), np.array([7]))            # doctest: +SKIP

Message.to_words gives the words of its rans.flatten. (Its codecs.flatten first codes several lanes into one.) craystack is
optional, for experiments and for tests of interoperation, and is imported by `load` alone, which says how to get it: no package
registry has it.

Source: https://github.com/j-towns/craystack
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bbans.ans import RAN_DRY, Message
from bbans.codecs import Codec
from bbans.errors import CorruptDataError

State = tuple[Any, Any]


class CraystackCodec(NamedTuple):
    """A codec with craystack's protocol: push(state, symbol) -> (state,), pop(state) -> (state, symbol)."""

    push: Callable[[Any, Any], Any]
    pop: Callable[[Any], tuple[Any, Any]]


def load() -> Any:
    """The module craystack. Raises: ImportError that says how to get it."""
    try:
        return importlib.import_module("craystack")
    except ImportError as error:
        raise ImportError(
            f"craystack cannot be imported ({error}). It is on no package registry; get it from its repository: "
            "git clone https://github.com/j-towns/craystack && pip install -e ./craystack"
        ) from error


def to_craystack(message: Message) -> State:
    """craystack's message with the same contents, copied. Inverse: from_craystack."""
    tail = message.words[: message.size][::-1].copy()
    return message.head.copy(), (tail, ()) if tail.size else ()


def from_craystack(state: State) -> Message:
    """The Message with the same contents, copied, its head flattened. Inverse: to_craystack."""
    head, tail = state
    chunks = []
    while isinstance(tail, tuple) and tail:
        chunk, tail = tail
        chunks.append(np.asarray(chunk, np.uint32))
    words = np.concatenate([np.empty(0, np.uint32), *chunks])[::-1].copy()
    return Message(np.array(head, np.uint64).reshape(-1), words, words.size)


def codec_from_craystack(codec: Any, shape: tuple[int, ...] | None = None) -> Codec[Any]:
    """A codec of craystack as one of bbans, on heads of `shape` (default: (lanes,)); not for a Batch. Inverse: codec_to_craystack.

    Every call copies the message.

    Raises: CorruptDataError from either function when the message runs dry, where craystack warns and invents bits.
    """

    def lend(message: Message) -> State:
        head, tail = to_craystack(message)
        return head.reshape(shape or head.shape), (tail[0], _Bottom()) if tail else _Bottom()

    def take_back(state: State, lent: Message) -> Message:
        message = from_craystack(state)
        message.lowest = min(lent.lowest, message.size)
        return message

    def push(message: Any, symbol: Any) -> Any:
        (state,) = codec.push(lend(message), symbol)
        return take_back(state, message)

    def pop(message: Any) -> tuple[Any, Any]:
        state, symbol = codec.pop(lend(message))
        return take_back(state, message), symbol

    return Codec(push, pop)


def codec_to_craystack(codec: Codec[Any]) -> CraystackCodec:
    """A codec of bbans as one of craystack. Inverse: codec_from_craystack."""

    def push(state: Any, symbol: Any) -> Any:
        return (_reshaped(codec.push(from_craystack(state), symbol), state),)

    def pop(state: Any) -> tuple[Any, Any]:
        message, symbol = codec.pop(from_craystack(state))
        return _reshaped(message, state), symbol

    return CraystackCodec(push, pop)


def _reshaped(message: Message, state: State) -> State:
    head, tail = to_craystack(message)
    return head.reshape(np.shape(state[0])), tail


class _Bottom:
    """Stands under a tail lent to craystack, which asks whether a tail is empty only when it needs words from it."""

    def __bool__(self) -> bool:
        raise CorruptDataError(RAN_DRY)
