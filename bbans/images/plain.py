"""What a model may code of a picture: samples of 8 bits, gray or RGB, and the conversions that make the picture of them.

::

    Picture  -find-> Plain  -convert->  samples, bodies of sections  -restore->  pixels

Conversions are made in this order: samples to RGB, or to values with gaps (`bbans.images.conversion`, `gaps`); to other channels or
16 bits (`channels`); and alpha comes beside them, which is kept without a model. FORMAT.md, section 4.2, specifies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError
from bbans.formats import stored
from bbans.formats.container import ConversionNumber, StoredMethod
from bbans.formats.forms import Layout
from bbans.formats.wire import newer
from bbans.images import channels, conversion
from bbans.images.picture import Picture
from bbans.images.rows import Samples
from bbans.progress import Work

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Plain:
    """Samples (H, W, 1 or 3) that a picture is made of, by a conversion if there is one; and its alpha (H, W, 1), if it has one."""

    samples: Bytes
    conversion: bytes | None = None
    alpha: Bytes | None = None

    def convert(self, effort: int = 5, work: Work | None = None) -> tuple[Bytes, list[bytes]]:
        """The samples (H, W, C) that a model codes, and the bodies of all conversions. Inverse: `restore`.

        Args:
            effort: 1 to 9, of what is kept without a model.
            work: told of it.
        """
        found = conversion.find(self.samples)
        bodies = [] if found is None else [found.pack()]
        if self.conversion is not None:
            bodies.append(self.conversion)
        if self.alpha is not None:
            method, payload = stored.encode_samples(Picture(self.alpha, "PNG"), work, effort)
            bodies.append(bytes([ConversionNumber.ALPHA, method]) + payload)
        return self.samples if found is None else found.samples, bodies


def find(picture: Picture) -> Plain | None:
    """The plain samples of a picture; None if it has none."""
    pixels = picture.pixels
    if picture.bit_depth not in (8, 16) or picture.palette is not None:
        return None
    found = channels.find(pixels)
    if found is not None:
        return Plain(found.samples, found.pack())
    if picture.bit_depth != 8:
        return None
    pixels = pixels.astype(np.uint8, copy=False)
    if pixels.shape[2] in (1, 3):
        return Plain(pixels)
    colours, alpha = np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1:])
    found = channels.find(colours)
    return Plain(colours, None, alpha) if found is None else Plain(found.samples, found.pack(), alpha)


def channels_of_samples(conversions: Sequence[bytes], picture_channels: int, bit_depth: int) -> int:
    """How many channels the samples have, of which conversions make a picture: looked at before any is decoded.

    Raises: CorruptDataError: no model has coded it. UnsupportedVersionError: a conversion of a newer version.
    """
    by_number = {body[0] if body else 0: body for body in conversions}
    for number in filter(None, by_number):
        if number not in list(ConversionNumber):
            raise newer("conversion", number)
    stages = [max(body[0] if body else 0, ConversionNumber.GAPS) for body in conversions]
    if any(later <= before for before, later in pairwise(stages)):
        raise CorruptDataError("conversion: out of order")
    has_alpha = ConversionNumber.ALPHA in by_number
    if has_alpha and (picture_channels not in (2, 4) or bit_depth != 8):
        raise CorruptDataError(f"conversion: alpha of {picture_channels} channels of {bit_depth} bits")
    count = picture_channels - has_alpha
    if ConversionNumber.CHANNELS in by_number:
        body = channels.unpack(by_number[ConversionNumber.CHANNELS])
        if (len(body.tables), body.bit_depth) != (count, bit_depth):
            raise CorruptDataError(f"conversion: to {len(body.tables)} channels of {body.bit_depth} bits, which the header has not")
        return body.of_samples
    if count not in (1, 3) or bit_depth != 8:
        raise CorruptDataError(f"header: no model codes {count} channels of {bit_depth} bits")
    return count


def restore(samples: Bytes, conversions: Sequence[bytes]) -> Samples:
    """The pixels (H, W, C) of plain samples, which are written over. Inverse: `find`, `Plain.convert`.

    Raises: CorruptDataError: conversions of another picture, or one that no memory holds. UnsupportedVersionError.
    """
    pixels: Samples = samples
    try:
        for body in conversions:
            plain = pixels.astype(np.uint8, copy=False)  # only the last makes 16 bits
            pixels = _with_alpha(plain, body) if body[:1] == bytes([ConversionNumber.ALPHA]) else conversion.convert(plain, body)
    except MemoryError as error:
        raise CorruptDataError("conversion: the picture needs more memory than there is") from error
    return pixels


def opaque(colours: Samples) -> Bytes:
    """Colours (H, W, C) of 8 bits with an alpha of 255."""
    return np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=2).astype(np.uint8, copy=False)


def _with_alpha(colours: Bytes, body: bytes) -> Bytes:
    """Colours (H, W, C) and the channel that a section keeps beside them."""
    method = body[1] if len(body) > 1 else StoredMethod.FILE
    if method not in list(StoredMethod):
        raise newer("stored method", method)
    if StoredMethod(method).keeps_file:
        raise CorruptDataError("conversion: alpha that is no channel")
    alpha = stored.decode_picture(StoredMethod(method), body[2:], Layout((*colours.shape[:2], 1), 8, None))
    return np.concatenate([colours, alpha.astype(np.uint8, copy=False)], axis=2)
