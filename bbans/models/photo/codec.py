"""Pictures to messages by bits-back coding with the photo model, and back.

A picture is cut into regions, coded one after another on their own: memory stays bounded, and damage stays where it is. A region
is a pyramid of levels (see :mod:`bbans.models.photo.vae`); each level is coded in this order, and popped in exactly the reverse::

    push  x10 | all else, mode of q        pop   z ~ p(z | x00)
    pop   z ~ q(z | x00, x11, x01)         pop   x11 | x00, z
    push  x01 | x00, x11, z                pop   x01 | x00, x11, z
    push  x11 | x00, z                     push  z by q(z | x00, x11, x01)
    push  z by p(z | x00)                  pop   x10 | all else, mode of q

The posterior is drawn with bits of x10, so a picture needs no initial bits. Where x10 has too few of them (a tiny or flat level),
z is the prior's mode and is not coded: a bit for each level says so.

Large levels are cut into strips, each a message of its own, so that threads can code them side by side; all levels of a single
strip share the region's first message, the coarsest on top.

Source: Townsend, Bird and Barber, "Practical lossless compression with latent variables using bits back coding", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bbans.ans import Message
from bbans.codecs import logistic, uniform
from bbans.errors import CorruptDataError
from bbans.exact.runtime import coding
from bbans.models.grids import COLOURS, LATENT_LEVELS, Latent
from bbans.models.photo.geometry import Bytes, block_counts, grid_size, level_sizes, message_count, pyramid, regions, strips
from bbans.models.photo.level import Level
from bbans.models.photo.network import PhotoNetwork
from bbans.models.photo.phase import PhaseCoder
from bbans.models.weights import Weights


@dataclass
class Accounting:
    """Where the bits of a file went; net = likelihood + prior - posterior. Initial bits are those of the empty messages' heads."""

    likelihood_bits: float = 0.0
    prior_bits: float = 0.0
    posterior_bits: float = 0.0
    initial_bits: float = 0.0


@dataclass
class Encoded:
    """The messages of a picture, in the order in which ``decode`` takes them."""

    messages: list[bytes] = field(default_factory=list)
    accounting: Accounting = field(default_factory=Accounting)


class PhotoCodec:
    """Encoder and decoder of pictures with one model.

    Args:
        network: the integer networks on the backend to use.
        weights: what the network was made of; files name its id and hash.
    """

    level_type: type[Level] = Level

    def __init__(self, network: PhotoNetwork, weights: Weights) -> None:
        self.network = network
        self.id, self.weights_hash = weights.id, weights.hash
        self.phases = PhaseCoder(network)

    def encode(self, pixels: Bytes) -> Encoded:
        """The messages of a picture. Shapes: pixels (H, W, 3) RGB or (H, W, 1) gray, uint8. Inverse: decode."""
        encoded = Encoded()
        with coding():
            for rows, columns in regions(*pixels.shape[:2]):
                self._encode_region(_as_rgb(pixels[rows, columns]), pixels.shape[2], encoded)
        return encoded

    def decode(self, messages: Sequence[bytes], height: int, width: int, channels: int) -> Bytes:
        """The picture (height, width, channels) of ``encode``.

        The size says how many messages there are, and a message holds at most 0.4 megapixels: so the time is linear in the number
        of messages, whatever size is claimed. No network runs before that number is right, nor for a region with a message that
        is none, nor for a level after the message of a coarser one has run dry.

        Raises: CorruptDataError when the messages are not those of a picture of this size and this model.
        """
        count = message_count(height, width)
        if len(messages) != count:
            raise CorruptDataError(f"a picture of {width} x {height} pixels has {count} messages, here are {len(messages)}")
        out = np.empty((height, width, channels), np.uint8)
        left = iter(messages)
        with coding():
            for rows, columns in regions(height, width):
                size = (rows.stop - rows.start, columns.stop - columns.start)
                out[rows, columns] = self._decode_region(left, *size, channels)[..., :channels]
        return out

    # A region

    def _encode_region(self, pixels: Bytes, colours: int, encoded: Encoded) -> None:
        shared = Message.empty()
        single: list[Level] = []
        own: list[Message] = []
        flags = 0
        for level in self.levels(pixels):
            strips = level.grid.strips()
            if len(strips) == 1:
                single.append(level)
                continue
            messages = [Message.empty() for _ in strips]
            flags |= self._push_level(level, messages, colours, encoded.accounting) << level.index
            own += messages
        for level in reversed(single):
            flags |= self._push_level(level, [shared], colours, encoded.accounting) << level.index
        before = _bits([shared])
        _push_flat(shared, pyramid(pixels)[-1], colours)
        encoded.accounting.likelihood_bits += _bits([shared]) - before
        encoded.messages.append(bytes([flags]) + shared.to_bytes())
        encoded.messages += [message.to_bytes() for message in own]

    def _decode_region(self, messages: Iterator[bytes], height: int, width: int, colours: int) -> Bytes:
        sizes = level_sizes(height, width)
        grids = [grid_size(*size) for size in sizes[:-1]]
        first = next(messages)
        flags = first[0] if first else 0
        if flags & ~sum(1 << index for index, grid in enumerate(grids) if block_counts(*grid)[0] and self.network.config.latents):
            raise CorruptDataError("a level that is not there or has no latents claims to have some")
        shared = Message.from_bytes(first[1:])
        own = {
            index: [Message.from_bytes(next(messages)) for _ in parts]
            for index, parts in reversed([*enumerate(strips(*grid) for grid in grids)])
            if len(parts) > 1
        }
        x = _pop_flat(shared, *sizes[-1], colours)
        level: Level | None = None
        for index in reversed(range(len(grids))):
            level = self.level_type(self.network, index, *sizes[index], x, level)
            self._pop_level(level, own.get(index, [shared]), colours, bool(flags >> index & 1))
            _check_spent(own.get(index, []))
            x = level.joined()
        _check_spent([shared])
        return x

    def levels(self, pixels: Bytes) -> Iterator[Level]:
        """The levels of a region (H, W, 3), all of whose pixels are known, the coarsest first."""
        pictures = pyramid(pixels)
        level: Level | None = None
        for index in reversed(range(len(pictures) - 1)):
            height, width, _ = pictures[index].shape
            level = self.level_type(self.network, index, height, width, pictures[index + 1], level)
            level.phases = level.split(pictures[index])
            yield level

    # A level

    def _push_level(self, level: Level, messages: list[Message], colours: int, accounting: Accounting) -> bool:
        """Push all of a level but x00. Returns whether its latents were coded. Inverse: _pop_level."""
        start = _bits(messages)
        mode = level.posterior.mode() if level.has_latents else None
        self.phases.push(level, 2, messages, colours, mode)
        z = level.prior.mode() if level.has_latents else None
        after = _bits(messages)
        accounting.likelihood_bits += after - start
        coded = False
        if z is not None:
            coded = self._draw(level, level.posterior, messages, z)
            accounting.posterior_bits += after - _bits(messages)
        start = _bits(messages)
        for phase in (1, 0):
            self.phases.push(level, phase, messages, colours, z)
        accounting.likelihood_bits += _bits(messages) - start
        if coded and z is not None:
            start = _bits(messages)
            self._push_z(level, level.prior, messages, z)
            accounting.prior_bits += _bits(messages) - start
        return coded

    def _pop_level(self, level: Level, messages: list[Message], colours: int, coded: bool) -> None:
        """Inverse: _push_level."""
        z = level.prior.mode() if level.has_latents else None
        if coded and z is not None:
            self._pop_z(level, level.prior, messages, z)
        for phase in (0, 1):
            self.phases.pop(level, phase, messages, colours, z)
        if coded and z is not None:
            self._push_z(level, level.posterior, messages, z)
        mode = level.posterior.mode() if level.has_latents else None
        self.phases.pop(level, 2, messages, colours, mode)

    def _draw(self, level: Level, posterior: Latent, messages: list[Message], z: Bytes) -> bool:
        """Pop z ~ q from every message of a level into ``z``; where one has too few bits, leave all as they were."""
        held = [(message.head.copy(), message.size) for message in messages]
        drawn = z.copy()
        try:
            self._pop_z(level, posterior, messages, drawn)
        except CorruptDataError:
            for message, (head, size) in zip(messages, held, strict=True):
                message.head, message.size = head, size
            return False
        z[...] = drawn
        return True

    def _push_z(self, level: Level, given: Latent, messages: list[Message], z: Bytes) -> None:
        for message, blocks in zip(messages, level.grid.block_rows(), strict=True):
            logistic(given.mean[blocks], given.scale[blocks], LATENT_LEVELS).push(message, z[blocks])

    def _pop_z(self, level: Level, given: Latent, messages: list[Message], z: Bytes) -> None:
        for message, blocks in zip(messages, level.grid.block_rows(), strict=True):
            _, z[blocks] = logistic(given.mean[blocks], given.scale[blocks], LATENT_LEVELS).pop(message)


def _bits(messages: Sequence[Message]) -> float:
    """Bits on the messages, to 1/256 of a bit for each, by integers alone: files hold the sums, so no logarithm may round here."""
    return sum(32 * m.size + ((int(m.head[0]) ** 256).bit_length() - 1) / 256 for m in messages)


def _as_rgb(pixels: Bytes) -> Bytes:
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _push_flat(message: Message, x: Bytes, colours: int) -> None:
    """Push the coarsest pixels, 8 bits each. Inverse: _pop_flat."""
    uniform(256, (*x.shape[:2], colours)).push(message, x[..., list(COLOURS[:colours])])


def _pop_flat(message: Message, height: int, width: int, colours: int) -> Bytes:
    _, symbols = uniform(256, (height, width, colours)).pop(message)
    x = np.empty((height, width, 3), np.uint8)
    x[..., list(COLOURS)] = symbols
    return x


def _check_spent(messages: Sequence[Message]) -> None:
    if not all(message.is_initial() for message in messages):
        raise CorruptDataError("a message holds more than its part of the picture: it is damaged or another model wrote it")
