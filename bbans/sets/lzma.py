"""Images of one shape without a model: their samples, filtered, as one LZMA2 stream for each chunk.

>>> images = np.arange(24, dtype=np.uint8).reshape(2, 4, 3, 1)
>>> codec = LzmaCodec((4, 3, 1), Filter.ROWS)
>>> messages = codec.encode(images, 2).messages
>>> bool((codec.decode(messages, [2]) == images).all())
True
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bbans.accounting import Accounting, Encoded
from bbans.formats import lzma2
from bbans.formats.groups import Filter, Group, GroupMethod

from .chunk import Pixels, Shape

CHUNK_SAMPLES = 1 << 20
"""LZMA finds little more in longer chunks, and reads one of these in a tenth of a second."""


@dataclass(frozen=True)
class LzmaCodec:
    """A `bbans.sets.methods.SamplesCodec`. The filter is part of the group's header."""

    shape: Shape
    filter: Filter
    binary = True
    alone = False

    @property
    def name(self) -> str:
        return "LZMA" if self.filter == Filter.NONE else f"LZMA of {self.filter.name.lower()}"

    @property
    def chunk(self) -> int:
        return max(1, CHUNK_SAMPLES // math.prod(self.shape))

    def encode(self, images: Pixels, chunk: int) -> Encoded:
        parts = (images[start : start + chunk] for start in range(0, len(images), chunk))
        messages = [lzma2.compress(_filtered(part, self.filter), fitted=True) for part in parts]
        return Encoded(messages, Accounting(0, 0, 0, 0))  # nothing is known of what LZMA does

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Pixels:
        decoded = []
        for message, count in zip(messages, counts, strict=True):
            shape = (count, *self.shape)
            size = count * -(-math.prod(self.shape) // 8) if self.filter == Filter.BITS else math.prod(shape)
            decoded.append(_unfiltered(lzma2.decompress(message, size), shape, self.filter))
        return np.concatenate(decoded)

    def cost_bits(self, images: Pixels) -> tuple[float, float]:
        [message] = self.encode(images, len(images)).messages
        return 8 * len(message) / len(images), 0.0

    def group(self, count: int, chunk: int, unit: int, accounting: Accounting) -> Group:
        return Group(GroupMethod.LZMA, count, chunk, shape=self.shape, unit=unit, filter=self.filter)


def _filtered(images: Pixels, kind: Filter) -> bytes:
    """Images (N, H, W, C) as LZMA finds them easier. Inverse: `_unfiltered`. Source: FORMAT.md, 6.5."""
    if kind == Filter.BITS:
        return np.packbits(images.reshape(len(images), -1), axis=1).tobytes()
    if kind == Filter.ROWS:
        planes: Pixels = images.transpose(0, 3, 1, 2).copy()  # (N, C, H, W)
        if planes.shape[1] == 3:
            planes[:, 0::2] -= planes[:, 1:2]
        planes[:, :, 1:] -= planes[:, :, :-1].copy()
        return planes.tobytes()
    return images.tobytes()


def _unfiltered(data: bytes, shape: tuple[int, int, int, int], kind: Filter) -> Pixels:
    """The images (N, H, W, C) of filtered bytes. Inverse: `_filtered`."""
    count, height, width, channels = shape
    if kind == Filter.BITS:
        packed = np.frombuffer(data, np.uint8).reshape(count, -1)
        return np.unpackbits(packed, axis=1, count=height * width * channels).reshape(shape)
    if kind == Filter.ROWS:
        planes = np.cumsum(np.frombuffer(data, np.uint8).reshape(count, channels, height, width), axis=2, dtype=np.uint8)
        if channels == 3:
            planes[:, 0::2] += planes[:, 1:2]
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return np.frombuffer(data, np.uint8).reshape(shape)
