"""rANS: a Message is a stack of symbols, last in, first out, a Batch several of them. Neither knows anything of models.

Terms:

- a *symbol* owns an interval of the integers [0, 2**precision), which begins at `start` and is `freq` >= 1 wide::

      0                                                       2**precision
      |      a      |          b          |   c   |        d        |
                    |------- freq --------|
                  start         ^ cf: any number inside the interval

- the *head* is one integer in [2**31, 2**63) (one for each *lane*), the *tail* a stack of 32-bit words;
- *push* puts a symbol on the message, which grows by precision - log2(freq) bits; *pop* is its inverse::

      push   if head >= freq * 2**(63 - precision):  head -> tail (low 32 bits)
             head = (head // freq) * 2**precision + head % freq + start
      pop    head = freq * (head >> precision) + head % 2**precision - start
             if head < 2**31:  head <- tail

Both keep the head in its range for any symbols and any precision up to 31. Symbols that were never pushed can be popped as
long as there are bits: bits-back coding rests on that. When there are none left, a pop raises CorruptDataError; bits are never
invented.

>>> message = Message.empty()
>>> message = push(message, [3], [2], precision=4)
>>> message.to_words().tolist()
[4, 3]
>>> message = pop(message, [3], [2], precision=4)
>>> message.is_initial()
True

Source: J. Duda, "Asymmetric numeral systems", arXiv 1311.2540; F. Giesen, "Interleaved entropy coders", arXiv
1402.3392. Heads, words and their order are those of craystack, so that either reads the other's messages (see
bbans.craystack).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bbans._core.codecs import pop_lanes, push_lanes
from bbans.errors import CorruptDataError

HEAD_MIN = 1 << 31  # heads live in [HEAD_MIN, HEAD_MIN << 32)
MAX_PRECISION = 31  # above it a pop could need two words

#: For functions that take either and return the same kind.
AnyMessage = TypeVar("AnyMessage", bound="Message | Batch")
Result = TypeVar("Result")

RAN_DRY = "the message ran dry: it is truncated or damaged"
_WORD_BITS = np.uint64(32)
SPLITMIX_STEP = np.uint64(0x9E3779B97F4A7C15)  # of the counter in splitmix64: odd, 2**64 over the golden ratio


class Message:
    """A stack of symbols: `head` uint64 (lanes,) and `words[:size]` uint32, the tail, its top last.

    Functions and codecs change a message in place and return it: `message = codec.push(message, symbol)`. Keep one with copy().
    After an exception its state is undefined. `lowest` is the smallest size so far (see primed).
    """

    __slots__ = ("head", "lowest", "size", "words")

    def __init__(self, head: npt.NDArray[np.uint64], words: npt.NDArray[np.uint32], size: int) -> None:
        self.head = head
        self.words = words
        self.size = size
        self.lowest = size

    @classmethod
    def empty(cls, lanes: int = 1) -> Message:
        """The message that holds nothing: every head at 2**31, no tail."""
        if lanes < 1:
            raise ValueError(f"a message has at least one lane, not {lanes}")
        return cls(np.full(lanes, HEAD_MIN, np.uint64), np.empty(64, np.uint32), 0)

    @classmethod
    def random(cls, rng: np.random.Generator, words: int, lanes: int = 1) -> Message:
        """`words` random words below random heads: initial bits for bits-back coding, from an explicit generator."""
        head = rng.integers(HEAD_MIN, HEAD_MIN << 32, lanes, np.uint64)
        return cls(head, rng.integers(0, 1 << 32, words, np.uint32), words)

    @classmethod
    def primed(cls, words: int, lanes: int = 1, seed: int = 0) -> Message:
        """A message of initial bits that can be made again anywhere: `words` words below heads in [2**31, 2**32).

        They are the high halves of the values of splitmix64(seed): the first `lanes`, shifted right by one, are the low 31 bits of
        the heads, those after them the tail from its top down. So a smaller tail is the top of a larger one, and nobody has to
        know beforehand how many initial bits bits-back coding needs::

            message = Message.primed(plenty)         coding pops some of it, down to message.lowest
            message = message.drop_untouched()       the initial bits: 31 for each lane and 32 (plenty - lowest)
            ...                                      once all is popped again, just these are left:
            message.is_primed()
        """
        high = splitmix64(lanes + words, seed) >> _WORD_BITS
        head = high[:lanes] >> np.uint64(1) | np.uint64(HEAD_MIN)
        return cls(head, high[lanes:][::-1].astype(np.uint32), words)

    def drop_untouched(self) -> Message:
        """This message without the words that no pop has reached. What was coded on it pops from what remains, to the bit."""
        self.words = self.words[self.lowest : self.size].copy()
        self.size, self.lowest = self.words.size, 0
        return self

    def is_primed(self, seed: int = 0) -> bool:
        """Whether just the message of `primed` is left, as when all that was pushed on it has been popped: a free check."""
        return self == Message.primed(self.size, self.head.size, seed)

    def to_words(self) -> npt.NDArray[np.uint32]:
        """All as uint32 (2 * lanes + size,): high halves of the heads, low halves, then the tail from its top down."""
        high, low = self.head >> _WORD_BITS, self.head & np.uint64(0xFFFFFFFF)
        return np.concatenate([high.astype(np.uint32), low.astype(np.uint32), self.words[: self.size][::-1]])

    @classmethod
    def from_words(cls, words: npt.ArrayLike, lanes: int = 1) -> Message:
        """The message of `to_words`.

        Raises: CorruptDataError when there are too few words or a head is outside [2**31, 2**63).
        """
        flat = np.asarray(words, np.uint32)
        if flat.ndim != 1 or flat.size < 2 * lanes:
            raise CorruptDataError(f"a message of {lanes} lanes has at least {2 * lanes} words, this one {flat.size}")
        head = flat[:lanes].astype(np.uint64) << _WORD_BITS | flat[lanes : 2 * lanes]
        if np.any(head < np.uint64(HEAD_MIN)) or np.any(head >= np.uint64(HEAD_MIN << 32)):
            raise CorruptDataError("a head of the message is out of range: the message is damaged")
        tail = flat[2 * lanes :][::-1].copy()
        return cls(head, tail, tail.size)

    def to_bytes(self) -> bytes:
        """`to_words` as little-endian bytes."""
        return self.to_words().astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, lanes: int = 1) -> Message:
        """The message of `to_bytes`. Raises: CorruptDataError, as from_words, or for a length no multiple of 4."""
        if len(data) % 4:
            raise CorruptDataError(f"a message consists of 4-byte words, this one has {len(data)} bytes")
        return cls.from_words(np.frombuffer(data, "<u4"), lanes)

    @property
    def bits(self) -> float:
        """The information on the message, in bits: 32 for each word of the tail and log2 of each head (31 a lane when empty).

        Its differences are net lengths, exact to a fraction of a bit. The bytes of `to_bytes` are up to 33 bits a lane longer.
        """
        return 32.0 * self.size + float(np.log2(self.head.astype(np.float64)).sum())

    def is_initial(self) -> bool:
        """Whether nothing is left, as when all that was pushed on Message.empty() has been popped: a free check."""
        return self.size == 0 and bool(np.all(self.head == np.uint64(HEAD_MIN)))

    def copy(self) -> Message:
        """An independent message with the same contents."""
        message = Message(self.head.copy(), self.words.copy(), self.size)
        message.lowest = self.lowest
        return message

    def restore(self, copy: Message) -> None:
        """Make this message what `copy` is, as after an exception; they share nothing."""
        self.head, self.words = copy.head.copy(), copy.words.copy()
        self.size, self.lowest = copy.size, copy.lowest

    def reserve(self, count: int) -> None:
        """Make room for `count` more words, so that a loop of the core can push as many symbols."""
        needed = self.size + count
        if needed > self.words.size:
            grown = np.empty(max(needed, 2 * self.words.size), np.uint32)
            grown[: self.size] = self.words[: self.size]
            self.words = grown

    def resize(self, size: int) -> None:
        """Set the size that a loop of the core returned, after any number of pushes or any number of pops.

        The size is smallest after the last pop, so this is where `lowest` is kept.
        Raises: CorruptDataError for a size below 0, which says that the message ran dry.
        """
        if size < 0:
            raise CorruptDataError(RAN_DRY)
        self.size = size
        self.lowest = min(self.lowest, size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return np.array_equal(self.head, other.head) and np.array_equal(self.words[: self.size], other.words[: other.size])

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Message of {self.head.size} lanes, {self.bits:.1f} bits>"


class Batch:
    """Independent messages that are coded in lockstep, so that one call of a model serves them all.

    Codecs take a Batch wherever they take a Message. The first axis of symbols and of parameters is then that of messages: row
    i goes on message i, which becomes the same, to the bit, as a lone Message with row i alone. `batch[:n]` is a Batch of
    the first n of these messages (not of copies), for when the others are complete.
    """

    __slots__ = ("messages",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages

    def __len__(self) -> int:
        return len(self.messages)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(self.messages[rows])

    def map(self, function: Callable[..., Result], *rows: Iterable[Any]) -> list[Result]:
        """[function(message i, row i of each of `rows`) for all i].

        Raises: ValueError when there are not as many rows as messages.
        """
        return [function(*item) for item in list(zip(self.messages, *rows, strict=True))]

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} messages>"


def splitmix64(count: int, seed: int = 0) -> npt.NDArray[np.uint64]:
    """The first `count` values, uint64 (count,), of the generator of initial bits, which is part of the file format.

    Value j = 0, 1, .. is `mix64(seed + (j + 1) * SPLITMIX_STEP)`, modulo 2**64.

    Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; S. Vigna,
    splitmix64.c.
    """
    return mix64(np.arange(1, count + 1, dtype=np.uint64) * SPLITMIX_STEP + np.uint64(seed))


def mix64(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Pseudo-random numbers from the uint64 z, different ones for different z, in its shape: the mixing function of splitmix64.

    All modulo 2**64::

        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
        z = (z ^ z >> 27) * 0x94D049BB133111EB
        z ^ z >> 31
    """
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = z ^ z >> np.uint64(31)
    return mixed


def push(message: Message, starts: npt.ArrayLike, freqs: npt.ArrayLike, precision: int) -> Message:
    """The message with one symbol pushed on each lane, by its interval. Shapes: starts, freqs (lanes,) or (). Inverse: pop.

    Raises: ValueError for intervals that are empty or leave [0, 2**precision).
    """
    start, freq = _intervals(message, starts, freqs, precision)
    message.reserve(start.size)
    message.resize(push_lanes(message.head, message.words, message.size, start, freq, precision))
    return message


def pop(message: Message, starts: npt.ArrayLike, freqs: npt.ArrayLike, precision: int) -> Message:
    """The message with one symbol popped from each lane, by the interval that holds its `peek`. Inverse: push.

    Raises: ValueError for intervals that do not hold it, CorruptDataError when the message runs dry.
    """
    start, freq = _intervals(message, starts, freqs, precision)
    cf = peek(message, precision)
    if np.any(cf < start) or np.any(cf >= start + freq):
        raise ValueError("an interval does not hold what peek says")
    message.resize(pop_lanes(message.head, message.words, message.size, start, freq, precision))
    return message


def peek(message: Message, precision: int) -> npt.NDArray[np.int64]:
    """The cf of each lane, int64 (lanes,), which lies in the interval of the symbol on top. The message stays as it is."""
    cf: npt.NDArray[np.int64] = (message.head & np.uint64((1 << precision) - 1)).astype(np.int64)
    return cf


def _intervals(
    message: Message, starts: npt.ArrayLike, freqs: npt.ArrayLike, precision: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if not 0 <= precision <= MAX_PRECISION:
        raise ValueError(f"precision is between 0 and {MAX_PRECISION} bits, not {precision}")
    start = np.ascontiguousarray(np.broadcast_to(np.asarray(starts, np.int64), message.head.shape))
    freq = np.ascontiguousarray(np.broadcast_to(np.asarray(freqs, np.int64), message.head.shape))
    if np.any(start < 0) or np.any(freq < 1) or np.any(start + freq > 1 << precision):
        raise ValueError(f"an interval is empty or leaves [0, 2**{precision})")
    return start, freq
