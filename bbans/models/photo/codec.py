"""Pictures to messages by bits-back coding with the photo model, and back.

A picture is cut into regions, coded one after another, each on its own: so memory is bounded, and damage stays where it is. A
region is a pyramid of levels (see `bbans.models.photo.vae`). Each level is pushed in this order, and popped in the reverse::

    push  x10 | all else, mode of q        pop   z ~ p(z | x00)
    pop   z ~ q(z | x00, x11, x01)         pop   x11 | x00, z
    push  x01 | x00, x11, z                pop   x01 | x00, x11, z
    push  x11 | x00, z                     push  z by q(z | x00, x11, x01)
    push  z by p(z | x00)                  pop   x10 | all else, mode of q

The posterior is drawn with bits of x10, so a picture needs no initial bits. Where x10 has too few of them (a tiny or flat level),
z is the prior's mode and is not coded: a bit for each level says so.

The body of a region's first message begins with flags: which levels have coded latents, whether decisions are left out, and
whether the heads are tuned to the region (see `bbans.models.photo.changes`).

Large levels are cut into strips, each with a message of its own, so that threads can code them side by side. All levels of a single
strip share the region's first message, the coarsest on top.

Source: Townsend, Bird and Barber, "Practical lossless compression with latent variables using bits back coding", ICLR 2019.
"""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from bbans.accounting import Accounting, Encoded
from bbans.ans import Batch, Message
from bbans.bitsback import bb_ans_with_fallback
from bbans.codecs import Codec, logistic, uniform
from bbans.combinators import afterwards, beside, dependent, mapped
from bbans.errors import CorruptDataError
from bbans.meter import Meter
from bbans.models.grids import COLOURS, LATENT_LEVELS, Latent
from bbans.models.photo.changes import LEVELS as TUNED_LEVELS
from bbans.models.photo.changes import Changes, changes_codec
from bbans.models.photo.config import PhotoConfig
from bbans.models.photo.geometry import Bytes, block_counts, grid_size, level_sizes, message_count, pyramid, regions, strips
from bbans.models.photo.level import Level, known_levels
from bbans.models.photo.likelihood import PhaseLikelihood
from bbans.models.photo.network import PhotoNetwork
from bbans.models.photo.start import from_arrays
from bbans.models.photo.tuning import Trial, best_of_phases, by_phase, trials, tune
from bbans.models.photo.tuning import units as tuning_units
from bbans.models.weights import Weights
from bbans.results import DEFAULT_EFFORT, Damage
from bbans.tables import IntArray

Phases = Sequence[Any]  # (x11, x01), x10
_LIKELIHOODS = ("likelihood of x11", "likelihood of x01", "likelihood of x10")  # names of a meter

DECISIONS_FROM = 3
"""The least effort that codes by decisions."""

UNDECIDED = 1 << 7
"""The flag of a region whose pixels are coded without decisions. The lower bits are those of levels with coded latents."""

CHANGED = 1 << 6
"""The flag of a region whose heads are tuned to it: its first message begins with the changes."""

CHEQUER_PX = 16
"""The side of a square that shows where a region is lost."""


class PhotoCodec:
    """Encoder and decoder of pictures with one model.

    Args:
        network: the integer networks on the backend to use.
        weights: those of the network, with start values of the adaptive stage; files name their id and hash.

    Raises: ModelError for start values that are none.
    """

    level_type: type[Level] = Level

    def __init__(self, network: PhotoNetwork, weights: Weights) -> None:
        self.network = network
        self.id, self.weights_hash = weights.id, weights.hash
        self.likelihood = PhaseLikelihood(network, from_arrays(weights.arrays))
        self._tell: Callable[[int], None] = lambda units: None

    def reporting(self, tell: Callable[[int], None], /) -> PhotoCodec:
        """The same codec, which calls `tell` with the units of work that are done since the last call; decoding has one a pixel."""
        codec = copy.copy(self)
        codec._tell = tell
        return codec

    def units(self, height: int, width: int, effort: int, /) -> int:
        """Those of encoding a picture: its pixels, and what takes as long as some."""
        extra = 0
        for rows, columns in regions(height, width):
            sizes = level_sizes(rows.stop - rows.start, columns.stop - columns.start)
            for index, (size, coarser) in enumerate(pairwise(sizes)):
                if units := tuning_units(effort, index, *grid_size(*size)):
                    extra += units + trials(effort) * (prod(size) - prod(coarser))
        return height * width + extra

    def encode(self, pixels: Bytes, effort: int = DEFAULT_EFFORT) -> Encoded:
        """The messages of a picture. Shapes: pixels (H, W, 3) RGB or (H, W, 1) gray, uint8. Inverse: decode.

        An effort of 1 or 2 leaves out the decisions of the adaptive stage, so that both directions are quicker; one of 7 to 9 tunes
        the heads to each region, which takes its time here alone.

        Beside the picture and its messages, coding takes at most about 150 MB, 60 bytes for each pixel of a region, and 20 MB for
        each thread; tuning the heads takes more.
        """
        encoded: list[bytes] = []
        meter, net = Meter(_bits), 0
        for rows, columns in regions(*pixels.shape[:2]):
            flags, messages = self._encode_region(_as_rgb(pixels[rows, columns]), pixels.shape[2], effort, meter)
            encoded += [bytes([flags]) + messages[0].to_bytes(), *(message.to_bytes() for message in messages[1:])]
            net += _bits(Batch(messages)) - len(messages) * _bits(Message.empty())
        likelihood = sum(meter.bits[name] for name in ("coarsest", *_LIKELIHOODS))
        prior, changes = meter.bits["prior"], meter.bits["changes"]
        bits = [round(number / _PER_BIT) for number in (likelihood, prior, likelihood + prior + changes - net, 0, changes)]
        return Encoded(encoded, Accounting(*bits))

    def decode(self, messages: Sequence[bytes], height: int, width: int, channels: int) -> Bytes:
        """The picture (height, width, channels) of `encode`.

        The size says how many messages there are, one for at most 0.22 megapixels: so the time is linear in the number of messages,
        whatever size is claimed. No network runs before that number is right, nor for a region with a message that is none, nor for
        a level after the message of a coarser one has run dry.

        Raises: CorruptDataError when the messages are not those of a picture of this size and this model.
        """
        count = message_count(height, width)
        if len(messages) != count:
            raise CorruptDataError(f"a picture of {width} x {height} pixels has {count} messages, here are {len(messages)}")
        out = np.empty((height, width, channels), np.uint8)
        left = iter(messages)
        for rows, columns in regions(height, width):
            size = (rows.stop - rows.start, columns.stop - columns.start)
            out[rows, columns] = self._decode_region(left, *size, channels)[..., :channels]
        return out

    def recover(self, messages: Sequence[bytes | None], height: int, width: int, channels: int) -> tuple[Bytes, list[Damage]]:
        """What is left of a picture (height, width, channels), some of whose messages are damaged (None), and what is not whole.

        A region is shown as its finest level that all messages of coarser ones are there for, each pixel repeated; one without any
        is a chequered gray.

        Raises: CorruptDataError: there are not as many messages as such a picture has.
        """
        count = message_count(height, width)
        if len(messages) != count:
            raise CorruptDataError(f"a picture of {width} x {height} pixels has {count} messages, here are {len(messages)}")
        out = np.empty((height, width, channels), np.uint8)
        left, damaged = iter(messages), []
        for rows, columns in regions(height, width):
            size = (rows.stop - rows.start, columns.stop - columns.start)
            own = [next(left) for _ in range(message_count(*size))]
            shown, step = _chequered(*size), 0
            with contextlib.suppress(CorruptDataError):
                for index, x in self._region_levels(iter(own), *size, channels):
                    shown, step = x.repeat(1 << index, 0).repeat(1 << index, 1)[: size[0], : size[1]], 1 << index
            out[rows, columns] = shown[..., :channels]
            if step != 1:
                damaged.append(Damage(rows.start, rows.stop, columns.start, columns.stop, step))
        return out, damaged

    def levels(self, pixels: Bytes, decided: bool = True) -> Iterator[Level]:
        """See `known_levels`."""
        return known_levels(self.network, pixels, self.level_type, decided)

    def _encode_region(self, pixels: Bytes, colours: int, effort: int, meter: Meter) -> tuple[int, list[Message]]:
        """The flags of a region and its messages. Inverse: _decode_region."""
        shared = Message.empty()
        own: list[Message] = []
        *_, coarsest = pictures = pyramid(pixels)
        has_decisions = self.network.config.adaptive and len(pictures) > 1
        flags = UNDECIDED if has_decisions and effort < DECISIONS_FROM else 0
        changes: dict[int, Changes] = {}
        levels = deque(self.levels(pixels, not flags))  # each is dropped when it is pushed: its features are large
        single: list[Level] = []
        while levels and len(levels[0].grid.strips()) == 1:
            single.append(levels.popleft())
        while single:
            flags |= self._push_tuned(single.pop(), [shared], colours, effort, changes, meter)
        while levels:
            level = levels.popleft()
            messages = [Message.empty() for _ in level.grid.strips()]
            flags |= self._push_tuned(level, messages, colours, effort, changes, meter)
            own += messages
        height, width, _ = coarsest.shape
        meter.count("coarsest", _coarsest_codec(height, width, colours)).push(shared, coarsest)
        self._tell(height * width)
        if changes:
            flags |= CHANGED
            meter.count("changes", self._changes_codec(len(pictures) - 1)).push(shared, changes)
        return flags, [shared, *own]

    def _push_tuned(
        self, level: Level, messages: list[Message], colours: int, effort: int, changes: dict[int, Changes], meter: Meter
    ) -> int:
        """As _push_level, with heads tuned to the level where that takes fewer bits. Adds their changes to `changes`.

        Heads are tuned without the adaptive stage, which may save the same bits: so each has to show what it saves with it.
        """
        candidates = tune(level, colours, effort, self._tell)
        if not candidates:
            return self._push_level(level, messages, colours, meter)

        def trial(tuned: Changes) -> Trial:
            own, counted = [message.copy() for message in messages], Meter(_bits, meter.bits.copy())
            level.tune(tuned)
            flag = self._push_level(level, own, colours, counted)
            likelihoods = [counted.bits[name] for name in _LIKELIHOODS]
            return Trial(tuned, own, counted.bits, flag, likelihoods, [self._cost(level.index, one) for one in by_phase(tuned)])

        tried = [trial(tuned) for tuned in ({}, *candidates)]
        mixed = best_of_phases(tried)
        if any(one.has(mixed) for one in tried):
            self._tell(level.height * level.width - prod(level.x00.shape[:2]))  # it has been tried
        else:
            tried.append(trial(mixed))
        best = min(tried, key=lambda one: _bits(Batch(one.messages)) + self._cost(level.index, one.changes))
        for message, own in zip(messages, best.messages, strict=True):
            message.restore(own)
        meter.bits = best.bits
        if best.changes:
            changes[level.index] = best.changes
        return best.flag

    def _cost(self, index: int, changes: Changes) -> int:
        """The bits of changes to a level, in the unit of `_bits`."""
        return (
            _bits(self._changes_codec(index + 1).push(Message.empty(), {index: changes})) - _bits(Message.empty()) if changes else 0
        )

    def _changes_codec(self, levels: int) -> Codec[Mapping[int, Changes]]:
        """The changes of the heads of a region with so many levels above the coarsest pixels."""
        return changes_codec(self.network.config, min(levels, TUNED_LEVELS))

    def _decode_region(self, messages: Iterator[bytes], height: int, width: int, colours: int) -> Bytes:
        """The pixels (height, width, 3) of a region. Inverse: _encode_region."""
        *_, (_, x) = self._region_levels(messages, height, width, colours)
        return x

    def _region_levels(
        self, messages: Iterator[bytes | None], height: int, width: int, colours: int
    ) -> Iterator[tuple[int, Bytes]]:
        """The pictures of a region's levels with their indices, the coarsest first, each once it is decoded.

        Raises: CorruptDataError where the message of the next level is damaged, or None.
        """
        sizes = level_sizes(height, width)
        grids = [grid_size(*size) for size in sizes[:-1]]
        first = next(messages)
        if first is None:
            raise CorruptDataError("the first message of a region is damaged")
        flags = first[0] if first else 0
        _check_flags(flags, grids, self.network.config)
        shared = Message.from_bytes(first[1:])
        own = {
            index: [_message(next(messages)) for _ in parts]
            for index, parts in reversed([*enumerate(strips(*grid) for grid in grids)])
            if len(parts) > 1
        }
        changes: Mapping[int, Changes] = {}
        if flags & CHANGED:
            _, changes = self._changes_codec(len(grids)).pop(shared)
        _, x = _coarsest_codec(*sizes[-1], colours).pop(shared)
        self._tell(prod(sizes[-1]))
        yield len(grids), x
        level: Level | None = None
        for index in reversed(range(len(grids))):
            level = self.level_type(self.network, index, *sizes[index], x, level, not flags & UNDECIDED)
            level.tune(changes.get(index, {}))
            strips_of_level = [message for message in own.get(index, [shared]) if message is not None]
            if len(strips_of_level) < len(own.get(index, [shared])):
                raise CorruptDataError("a message of a level is damaged")
            self._pop_level(level, strips_of_level, colours, flags)
            _check_spent(strips_of_level if index in own else [])
            x = level.joined()
            yield index, x
        _check_spent([shared])

    def _push_level(self, level: Level, messages: list[Message], colours: int, meter: Meter) -> int:
        """Push all of a level but x00. Returns its bit of the flags. Inverse: _pop_level."""
        coded: list[int] = []
        x11, x01, x10 = level.phases
        self._level_codec(level, colours, beside(coded), meter).push(Batch(messages), ((x11, x01), x10))
        return sum(coded) << level.index

    def _pop_level(self, level: Level, messages: list[Message], colours: int, flags: int) -> None:
        """Pop all of a level, which has x00 alone. Inverse: _push_level."""
        coded = [flags >> level.index & 1]
        self._level_codec(level, colours, beside(coded), Meter()).pop(Batch(messages))

    def _level_codec(self, level: Level, colours: int, coded: Codec[int], meter: Meter) -> Codec[Phases]:
        """(x11, x01), x10 given x00, on a Batch of one message for each strip."""

        def pixels(phase: int, z: Bytes | None) -> Codec[Bytes]:
            codec = meter.count(_LIKELIHOODS[phase], self.likelihood.codec(level, phase, colours, z))
            return afterwards(codec, partial(self._tell, prod(level.size(phase))))

        @dependent
        def likelihood(z: Bytes | None) -> Generator[Codec[Bytes], Bytes, None]:
            level.add(0, (yield pixels(0, z)))
            level.add(1, (yield pixels(1, z)))

        def posterior(_: Sequence[Bytes]) -> Codec[Bytes]:
            return self.latent_codec(level, level.posterior)

        @dependent
        def phases() -> Generator[Codec[Any], Any, None]:
            if level.has_latents:
                prior = meter.count("prior", self.latent_codec(level, level.prior))
                yield bb_ans_with_fallback(prior, likelihood, posterior, level.prior.mode(), coded)
                x10 = yield pixels(2, level.posterior.mode())
            else:
                yield likelihood(None)
                x10 = yield pixels(2, None)
            level.add(2, x10)

        return phases()

    def latent_codec(self, level: Level, latent: Latent) -> Codec[Bytes]:
        """Latents (block rows, block columns, Z) of a level, on a Batch of one message for each strip."""
        parts = level.grid.block_rows()
        codecs = [logistic(latent.mean[rows], latent.scale[rows], LATENT_LEVELS) for rows in parts]

        def push(batch: Any, z: Bytes) -> Any:
            batch.map(lambda message, codec, rows: codec.push(message, z[rows]), codecs, parts)
            return batch

        def pop(batch: Any) -> tuple[Any, Bytes]:
            z = [symbols for _, symbols in batch.map(lambda message, codec: codec.pop(message), codecs)]
            return batch, np.concatenate(z).astype(np.uint8)

        return Codec(push, pop)


def _check_flags(flags: int, grids: Sequence[tuple[int, int]], config: PhotoConfig) -> None:
    """Raise CorruptDataError for flags that no region of levels with these grids has."""
    if flags & UNDECIDED and not (config.adaptive and grids):
        raise CorruptDataError("decisions are left out where there are none")
    if flags & CHANGED and not grids:
        raise CorruptDataError("heads are changed where there are none")
    if (
        flags
        & ~(UNDECIDED | CHANGED)
        & ~sum(1 << index for index, grid in enumerate(grids) if block_counts(*grid)[0] and config.latents)
    ):
        raise CorruptDataError("a level that is not there or has no latents claims to have some")


def _coarsest_codec(height: int, width: int, colours: int) -> Codec[Bytes]:
    """The coarsest pixels (height, width, 3), 8 bits for each sample; gray ones are coded as G alone."""

    def to_rgb(symbols: IntArray) -> Bytes:
        x = np.empty((height, width, 3), np.uint8)
        x[..., list(COLOURS)] = symbols
        return x

    def to_symbols(x: Bytes) -> IntArray:
        return x[..., list(COLOURS[:colours])].astype(np.int64)

    return mapped(uniform(256, (height, width, colours)), to_rgb, to_symbols)


_PER_BIT = 256


def _bits(message: Message | Batch) -> int:
    """Bits on the messages, in 1/256 of a bit for each, by integers alone: files hold the sums, so no logarithm may round here."""
    messages = message.messages if isinstance(message, Batch) else [message]
    return sum(32 * _PER_BIT * m.size + (int(m.head[0]) ** _PER_BIT).bit_length() - 1 for m in messages)


def _as_rgb(pixels: Bytes) -> Bytes:
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _message(data: bytes | None) -> Message | None:
    return None if data is None else Message.from_bytes(data)


def _chequered(height: int, width: int) -> Bytes:
    """Squares (height, width, 3) of two grays."""
    y, x = np.ogrid[:height, :width]
    squares = np.where((y // CHEQUER_PX + x // CHEQUER_PX) % 2, np.uint8(96), np.uint8(160))
    return np.repeat(squares[..., None], 3, axis=2)


def _check_spent(messages: Sequence[Message]) -> None:
    if not all(message.is_initial() for message in messages):
        raise CorruptDataError("a message holds more than its part of the picture: it is damaged or another model wrote it")
