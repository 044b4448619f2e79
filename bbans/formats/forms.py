"""The forms of a picture's samples in a stored payload: as they are, as the colours of their palette, as 8 of 16 bits.

::

    SAMPLES       the picture's samples; those of a palette are indices
    COLOURS       RGB, or RGB and alpha, of each pixel; the palette itself is metadata
    EIGHT_BITS    samples of 16 bits that are 257 times one of 8, as the latter

`to_form` and `from_form` are inverse on pictures that have the form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError
from bbans.images.rows import Samples


class Form(IntEnum):
    """What the samples of a payload are."""

    SAMPLES = 0
    COLOURS = 1
    EIGHT_BITS = 2


@dataclass(frozen=True, eq=False)
class Layout:
    """What the header and the metadata say of samples."""

    shape: tuple[int, int, int]
    bit_depth: int = 8
    palette: npt.NDArray[np.uint8] | None = None
    """(N, 3) or (N, 4)"""

    def coded(self, form: Form) -> Layout:
        """The layout of the samples in a form. Raises: CorruptDataError: these samples cannot have it."""
        if form == Form.COLOURS:
            if self.palette is None:
                raise CorruptDataError("the stored picture claims colours of a palette, and has none")
            return Layout((*self.shape[:2], self.palette.shape[1]))
        if form == Form.EIGHT_BITS:
            if self.bit_depth != 16:
                raise CorruptDataError(f"the stored picture claims 8 of 16 bits, and has {self.bit_depth}")
            return replace(self, bit_depth=8)
        return self


def has_form(form: Form, samples: Samples, layout: Layout) -> bool:
    """Whether samples (H, W, C) can go in a form and come back."""
    if form == Form.SAMPLES:
        return True
    if form == Form.EIGHT_BITS:
        return layout.bit_depth == 16 and all(bool((row >> 8 == row & 255).all()) for row in samples)
    if layout.palette is None or int(samples.max()) >= len(layout.palette):
        return False
    used = np.zeros(len(layout.palette), np.bool_)
    for row in samples:
        used[row] = True
    return bool((_first_of(layout.palette) == np.arange(len(used)))[used].all())


def to_form(form: Form, samples: Samples, layout: Layout) -> Samples:
    """Samples in a form that they have. Inverse: `from_form`."""
    if form == Form.COLOURS and layout.palette is not None:
        colours: npt.NDArray[np.uint8] = layout.palette[samples[:, :, 0]]
        return colours
    if form == Form.EIGHT_BITS:
        high: npt.NDArray[np.uint8] = (samples >> 8).astype(np.uint8)
        return high
    return samples


def from_form(form: Form, coded: Samples, layout: Layout) -> Samples:
    """The samples of a picture. Inverse: `to_form`.

    Raises: CorruptDataError: a colour that is not in the palette.
    """
    if form == Form.EIGHT_BITS:
        wide: npt.NDArray[np.uint16] = coded.astype(np.uint16) * np.uint16(257)
        return wide
    if form == Form.SAMPLES or layout.palette is None:
        return coded
    known, first = np.unique(_codes(layout.palette), return_index=True)
    codes = _codes(coded)
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    if (known[place] != codes).any():
        raise CorruptDataError("the stored picture has colours that are not in its palette")
    indices: npt.NDArray[np.uint8] = first[place].astype(np.uint8)[..., None]
    return indices


def _first_of(palette: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """For each colour the number of the first one that is equal."""
    _, first, inverse = np.unique(_codes(palette), return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def _codes(colours: Samples) -> npt.NDArray[np.uint32]:
    """One number for each colour (..., 3 or 4)."""
    codes = np.zeros(colours.shape[:-1], np.uint32)
    for channel in range(colours.shape[-1]):
        codes = codes << np.uint32(8) | colours[..., channel]
    return codes
