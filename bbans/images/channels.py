"""Pictures that hold no more than a gray or RGB picture of 8 bits: their alpha is the same everywhere, or all channels are tones of
one gray, or their 16 bits have 256 values at most. What is coded is that picture.

::

    pixels  -find, pack->  samples (H, W, 1 or 3), body of a section  -restore->  pixels

FORMAT.md, section 4.2, specifies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.container import ConversionNumber
from bbans.formats.wire import ByteReader, pack_varint
from bbans.images.rows import Samples

Bytes = npt.NDArray[np.uint8]
Table: TypeAlias = npt.NDArray[Any]
"""What each number stands for, (n,); none if the numbers stand for themselves."""

_VALUES = 256  # of a sample
_MOST_CHANNELS = 4
_MOST_BYTES = _MOST_CHANNELS * (_VALUES + 2) * 3  # of tables
_PIECE_ROWS = 64
_LEAST_PIXELS = 16
"""For each value of a table: in small pictures each value may come once, and says all others by chance."""


@dataclass(frozen=True)
class Channels:
    """A picture by the samples of another.

    Attributes:
        samples: (H, W, 1 or 3).
        tables: for each channel of the picture, by which channel of the samples it goes, and what their numbers stand for in it.
        bit_depth: of the picture, 8 or 16.
    """

    samples: Bytes
    tables: Sequence[tuple[int, Table]]
    bit_depth: int

    def pack(self) -> bytes:
        """The body of a section. Inverse: `unpack`."""
        packed = b""
        for channel, table in self.tables:
            steps = np.diff(table.astype(np.int64), prepend=0)
            numbers = np.where(steps < 0, -2 * steps - 1, 2 * steps)
            packed += b"".join(map(pack_varint, (channel, len(table), *numbers.tolist())))
        return bytes([ConversionNumber.CHANNELS, self.samples.shape[2], self.bit_depth]) + pack_blob(packed)


def find(pixels: Samples) -> Channels | None:
    """The picture that pixels (H, W, C), uint8 or uint16, are made of, if they are of one with fewer channels or bits.

    Inverse: `restore`.
    """
    channels, wide = pixels.shape[2], pixels.dtype == np.uint16
    if channels == 1 and not wide:
        return None
    values = [_values(pixels[..., channel]) for channel in range(channels)]
    counts = [len(of_channel) for of_channel in values]
    most = int(np.argmax(counts))
    if counts[most] > _VALUES:
        return None

    def samples(*of: int) -> Bytes:
        """Some channels, wide values by their rank."""
        if not wide:
            return np.ascontiguousarray(pixels[..., of], np.uint8)
        own = np.empty((*pixels.shape[:2], len(of)), np.uint8)
        for place, channel in enumerate(of):
            _look_up(pixels[..., channel], np.searchsorted(values[channel], np.arange(1 << 16)).astype(np.uint8), own[..., place])
        return own

    often = pixels.shape[0] * pixels.shape[1] >= _LEAST_PIXELS * counts[most]
    own = samples(most)[..., 0]
    tables = [_table(own, pixels[..., channel]) for channel in range(channels)] if often else [None]
    if all(table is not None for table in tables):
        if channels == 3 and not wide and all(np.array_equal(own, pixels[..., channel]) for channel in range(3)):
            return None  # models take it for gray themselves
        of_one = [(0, table) for table in tables if table is not None]
        return Channels(own[..., None], of_one, 16 if wide else 8)
    if channels < 3 or (channels == 3 and not wide) or (wide and not often) or any(count > 1 for count in counts[3:]):
        return None
    colours = [(channel, values[channel] if wide else values[channel][:0]) for channel in range(3)]
    return Channels(samples(0, 1, 2), [*colours, *((0, alpha) for alpha in values[3:])], 16 if wide else 8)


@dataclass(frozen=True)
class Body:
    """What the body of a section says: see `Channels`.

    Attributes:
        of_samples: how many channels they have.
    """

    of_samples: int
    bit_depth: int
    tables: Sequence[tuple[int, Table]]


def unpack(body: bytes) -> Body:
    """Inverse: `Channels.pack`. Raises: CorruptDataError: it is damaged."""
    reader = ByteReader(body, "conversion")
    number, of_samples, bit_depth = reader.byte(), reader.byte(), reader.byte()
    packed = ByteReader(unpack_blob(reader, _MOST_BYTES), "conversion")
    damaged = CorruptDataError("conversion: its channels are damaged")
    if number != ConversionNumber.CHANNELS or of_samples not in (1, 3) or bit_depth not in (8, 16) or reader.position < len(body):
        raise damaged
    tables: list[tuple[int, Table]] = []
    while packed.position < len(packed.data):
        channel, count = packed.varint(), packed.varint()
        if channel >= of_samples or count > _VALUES or (bit_depth == 16 and not count) or len(tables) == _MOST_CHANNELS:
            raise damaged
        value, table = 0, []
        for _ in range(count):
            step = packed.varint()
            value += (step >> 1) ^ -(step & 1)
            if not 0 <= value < 1 << bit_depth:
                raise damaged
            table.append(value)
        tables.append((channel, np.array(table, _type(bit_depth))))
    if not tables:
        raise damaged
    return Body(of_samples, bit_depth, tables)


def restore(samples: Bytes, body: bytes) -> Samples:
    """The pixels (H, W, C), uint8 or uint16, of samples (H, W, 1 or 3). Inverse: `find`, `Channels.pack`.

    Raises: CorruptDataError: the body is damaged, or of other samples.
    """
    unpacked = unpack(body)
    if unpacked.of_samples != samples.shape[2]:
        raise CorruptDataError(f"conversion: of {unpacked.of_samples} channels, not {samples.shape[2]}")
    pixels = np.empty((*samples.shape[:2], len(unpacked.tables)), _type(unpacked.bit_depth))
    for place, (channel, table) in enumerate(unpacked.tables):
        whole = np.pad(table, (0, _VALUES - len(table)), mode="edge") if len(table) else np.arange(_VALUES, dtype=np.uint8)
        _look_up(samples[..., channel], whole, pixels[..., place])
    return pixels


def _type(bit_depth: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint16 if bit_depth == 16 else np.uint8


def _look_up(numbers: Samples, table: Table, out: Samples) -> None:
    """Write the entries of a table into out (H, W), piece by piece: NumPy makes 8 bytes of each number (H, W) on the way."""
    for top in range(0, len(numbers), _PIECE_ROWS):
        out[top : top + _PIECE_ROWS] = table[numbers[top : top + _PIECE_ROWS]]


def _values(channel: Samples) -> Table:
    """The values that there are, in order, (n,)."""
    there = np.zeros(1 << 8 * channel.itemsize, bool)
    for top in range(0, len(channel), _PIECE_ROWS):
        there[channel[top : top + _PIECE_ROWS]] = True
    return np.flatnonzero(there).astype(channel.dtype)


def _table(numbers: Bytes, channel: Samples) -> Table | None:
    """What numbers (H, W) stand for in a channel (H, W), up to the largest; None unless each always stands for the same."""
    table, there = np.zeros(_VALUES, channel.dtype), np.zeros(_VALUES, bool)
    for top in range(0, len(numbers), _PIECE_ROWS):
        own, values = numbers[top : top + _PIECE_ROWS], channel[top : top + _PIECE_ROWS]
        new = ~there[own]
        table[own[new]] = values[new]
        there[own] = True
        if not np.array_equal(table[own], values):
            return None
    last = np.maximum.accumulate(np.where(there, np.arange(_VALUES), 0))
    filled: Table = table[last][: np.flatnonzero(there)[-1] + 1]
    return filled
