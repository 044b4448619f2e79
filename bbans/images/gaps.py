"""Pictures in which values are missing between others that come often, as after a change of levels: what is coded has no gaps.

An editor that stretches 200 levels over 256 leaves 56 of them out. A model of pixels does not know that they never come, and pays
for them in every pixel. So what is coded is the number of a value among those that are there: about what the picture was before.

::

    pixels  -find, pack->  samples without gaps, body of a section  -restore->  pixels

Only short gaps are left out: those between colours that were chosen far from each other say something. FORMAT.md, section 4.2,
specifies it. JPEG XL's palettes of single channels do the same for pictures with few values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError
from bbans.formats.container import ConversionNumber

Bytes = npt.NDArray[np.uint8]

_VALUES = 256
_MAP_BYTES = _VALUES // 8
_LONGEST = 15
"""Values in a gap."""
_LEAST_GAIN = 0.07
"""Bits a sample, as estimated."""
_TIMES_MAPS = 4
"""The gain to the size of the maps: small pictures have gaps by chance."""
_PIECE_ROWS = 256


@dataclass(frozen=True)
class WithoutGaps:
    """Samples (H, W, C): numbers of values among those that are not absent.

    Attributes:
        absent: (1, 256) for all channels, or (C, 256) for each.
    """

    samples: Bytes
    absent: npt.NDArray[np.bool_]

    def pack(self) -> bytes:
        """The body of a section. Inverse: in `restore`."""
        return bytes([ConversionNumber.GAPS]) + np.packbits(self.absent).tobytes()


def find(pixels: Bytes) -> WithoutGaps | None:
    """The samples of pixels (H, W, C), if their values have gaps that are worth it. Inverse: `restore`."""
    counts = _counts(pixels)
    expected = np.stack([_expected(of_channel) for of_channel in counts])
    own = expected > 0
    common: npt.NDArray[np.bool_] = np.logical_and.reduce(own, axis=0, keepdims=True)
    absent = max((own, common), key=lambda maps: _gain(counts, expected, maps) - maps.size)
    if _gain(counts, expected, absent) < max(_LEAST_GAIN * pixels.size, _TIMES_MAPS * absent.size):
        return None
    numbers = np.cumsum(~absent, axis=1) - 1
    return WithoutGaps(_looked_up(pixels.copy(), numbers.astype(np.uint8)), absent)


def restore(samples: Bytes, maps: bytes) -> Bytes:
    """The pixels (H, W, C) of samples, by the maps of their section. They are written over. Inverse: `find`, `WithoutGaps.pack`.

    Raises: CorruptDataError: there are not as many maps, or none of the values is there.
    """
    if len(maps) not in (_MAP_BYTES, _MAP_BYTES * samples.shape[2]):
        raise CorruptDataError(f"conversion: maps of {len(maps)} bytes, for {samples.shape[2]} channels")
    absent = np.unpackbits(np.frombuffer(maps, np.uint8)).reshape(-1, _VALUES).astype(bool)
    if absent.all(axis=1).any():
        raise CorruptDataError("conversion: a channel without values")
    values = [np.flatnonzero(~of_channel) for of_channel in absent]
    tables = np.stack([np.pad(present, (0, _VALUES - len(present)), mode="edge") for present in values])
    return _looked_up(np.require(samples, requirements=["W"]), tables.astype(np.uint8))


def _looked_up(samples: Bytes, tables: Bytes) -> Bytes:
    """Samples (H, W, C), each replaced by its entry in its channel's table, of (1 or C, 256). They are written over."""
    for top in range(0, len(samples), _PIECE_ROWS):
        for channel in range(samples.shape[2]):
            piece = samples[top : top + _PIECE_ROWS, :, channel]
            piece[...] = tables[channel % len(tables)][piece]
    return samples


def _counts(pixels: Bytes) -> npt.NDArray[np.int64]:
    """How often each value comes: (C, 256)."""
    counts = np.zeros((pixels.shape[2], _VALUES), np.int64)
    for top in range(0, len(pixels), _PIECE_ROWS):
        for channel, of_channel in enumerate(counts):
            of_channel += np.bincount(pixels[top : top + _PIECE_ROWS, :, channel].ravel(), minlength=_VALUES)
    return counts


def _expected(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How often values in short gaps would come if they came as often as those around: (256,), 0 for the rest."""
    expected = np.zeros(_VALUES)
    for below, above in pairwise(np.flatnonzero(counts).tolist()):
        if above - below - 1 <= _LONGEST:
            expected[below + 1 : above] = (counts[below] + counts[above]) / 2
    return expected


def _gain(counts: npt.NDArray[np.int64], expected: npt.NDArray[np.float64], absent: npt.NDArray[np.bool_]) -> float:
    """The bits that samples save, about: what is expected of absent values is left to the others. absent: (1 or C, 256)."""
    there = counts.sum(axis=1)
    return float((there * np.log2(1 + (expected * absent).sum(axis=1) / there)).sum())
