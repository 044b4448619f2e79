"""What codecs push, counted in bits by integers alone: files hold the sums, so no logarithm may round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bbans.ans import AnyMessage, Batch, Message
from bbans.codecs import Codec
from bbans.tables import log2_table

S = TypeVar("S")


def bits_of(message: Message | Batch) -> int:
    """Bits on the messages, in 2**-16 bit."""
    return sum((m.size << 21) + head_bits(int(m.head[0])) for m in (message.messages if isinstance(message, Batch) else [message]))


def head_bits(head: int) -> int:
    """log2 of a head, in 2**-16 bit."""
    table = log2_table()
    exponent = head.bit_length() - 1
    mantissa = head << 20 >> exponent  # in [2**20, 2**21): ten bits choose an entry, ten lie between two
    entry, fraction = mantissa >> 10 & 1023, mantissa & 1023
    below = int(table[entry])
    return (exponent << 16) + (below + ((int(table[entry + 1]) - below) * fraction >> 10) >> 16)


@dataclass
class Meter:
    """Bits that codecs have pushed, by the names under which they are counted, in the unit of `measure`: 2**-16 bit."""

    measure: Callable[[Message | Batch], int] = bits_of
    bits: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, codec: Codec[S]) -> Codec[S]:
        """The codec with its pushes counted."""

        def push(message: AnyMessage, symbol: S) -> AnyMessage:
            before = self.measure(message)
            message = codec.push(message, symbol)
            self.bits[name] += self.measure(message) - before
            return message

        return replace(codec, push=push)
