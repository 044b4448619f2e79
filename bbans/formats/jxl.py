"""Lossless JPEG XL of samples, as a stream without the headers that the container's already say.

A JPEG XL codestream begins with the size and the kind of its picture. `headers` writes those bits, and a stream is what follows
them: so a damaged or hostile stream cannot claim another size, more channels or more bits than the file's header.

Decoding is exact for ever, but the bytes of a stream depend on the version of libjxl.

Source: ISO/IEC 18181-1 (JPEG XL core coding system), image headers; 18181-2, boxes.

>>> samples = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
>>> bool((decode(encode(samples), samples.shape, 8) == samples).all())
True
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images.rows import Samples

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_SIGNATURE = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, where the width need not be written."""
_SIDE_BITS = (9, 13, 18, 30)
THREADS = min(os.cpu_count() or 1, 8)
"""Of libjxl: more cost memory. The bytes do not depend on it."""


def encode(samples: Samples, effort: int = 7) -> bytes:
    """The stream of samples (H, W, C), C in 1..4: gray, gray and alpha, RGB, RGB and alpha. Inverse: `decode`.

    Args:
        samples: uint8 or uint16. Any value is kept, so samples of fewer bits need not fill their type.
        effort: 1 to 9. At 7 about 0.5 to 3 megapixels a second and 90 bytes a pixel; 8 takes twice as long, 9 without bound.
    Raises:
        UnsupportedImageError: this version of libjxl writes other headers than `headers`, or libjxl is not installed.
    """
    jpegxl_encode = codec("jpegxl_encode")
    height, width, channels = samples.shape
    data = bytes(jpegxl_encode(_squeezed(samples), lossless=True, effort=effort, numthreads=THREADS))
    stream, head = _codestream(data), headers(height, width, channels, 8 * samples.itemsize)
    if not stream.startswith(head):
        raise UnsupportedImageError("libjxl writes headers that are not those of the format")
    return stream[len(head) :]


def decode(stream: bytes, shape: tuple[int, int, int], bit_depth: int) -> Samples:
    """The samples of `shape` (H, W, C) and 8 or 16 bits. Inverse: `encode`.

    Raises:
        CorruptDataError: the stream is damaged, or of another picture.
        UnsupportedImageError: libjxl is not installed.
    """
    jpegxl_decode = codec("jpegxl_decode")
    try:
        samples: Any = np.empty(shape, np.uint8 if bit_depth == 8 else np.uint16)
        jpegxl_decode(headers(*shape, bit_depth) + stream, numthreads=THREADS, out=_squeezed(samples))
    except (RuntimeError, ValueError, MemoryError) as error:
        raise CorruptDataError(f"the stored picture is damaged: {error}") from error
    return samples  # type: ignore[no-any-return]


def headers(height: int, width: int, channels: int, bit_depth: int) -> bytes:
    """The first bytes of a codestream: its signature, SizeHeader and ImageMetadata, filled up to whole bytes.

    Args:
        bit_depth: 8 or 16.
    """
    bits = ""

    def put(value: int, count: int) -> None:
        nonlocal bits
        bits += f"{value:0{count}b}"[::-1]

    def put_side(side: int) -> None:
        if small:
            put(side // 8 - 1, 5)
        else:
            selector = next(i for i, count in enumerate(_SIDE_BITS) if side <= 1 << count)
            put(selector, 2)
            put(side - 1, _SIDE_BITS[selector])

    def put_depth() -> None:
        put(0, 1)  # integers
        put(*((0, 2) if bit_depth == 8 else (15 << 2 | 3, 8)))

    gray, alpha, deep = channels < 3, channels % 2 == 0, bit_depth == 16
    ratio = next((i for i, (a, b) in enumerate(_RATIOS, 1) if width == height * a // b), 0)
    small = all(side <= 256 and side % 8 == 0 for side in ([height] if ratio else [height, width]))
    put(small, 1)
    put_side(height)
    put(ratio, 3)
    if not ratio:
        put_side(width)
    put(0, 2)  # not all default, no orientation or preview
    put_depth()
    put(not deep, 1)  # 16 bits are enough for intermediate values
    put(alpha, 2)  # extra channels
    if alpha and deep:
        put(0, 3)  # not all default, of the type alpha
        put_depth()
        put(0, 5)  # of the same size, without a name, not premultiplied
    elif alpha:
        put(1, 1)  # all default
    put(0, 1)  # not XYB
    put(not (gray or deep), 1)  # sRGB is the default
    if gray or deep:
        put(0, 1)  # no ICC profile
        put(gray, 2)
        put(1, 2)  # D65
        if not gray:
            put(1, 2)  # primaries of sRGB
        put(0, 1)
        put((6 if deep else 11) << 2 | 2, 6)  # a linear transfer function, or that of sRGB
        put(1, 2)  # relative intent
    put(0, 2)  # no extensions
    put(1, 1)  # default transforms
    bits += "0" * (-len(bits) % 8)
    return _SIGNATURE + bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


def codec(name: str) -> Callable[..., Any]:
    """A function of imagecodecs, which is imported late: most files need none."""
    try:
        import imagecodecs

        function: Callable[..., Any] = getattr(imagecodecs, name)
        return function
    except ImportError as error:
        raise UnsupportedImageError(f"JPEG XL needs the package imagecodecs ({error})") from error


def _squeezed(samples: Samples) -> Samples:
    return samples[:, :, 0] if samples.shape[2] == 1 else samples


def read_size(stream: bytes) -> tuple[int, int]:
    """(height, width) of a codestream. Inverse: `headers`.

    Raises: CorruptDataError: no codestream, or cut short.
    """
    if not stream.startswith(_SIGNATURE) or len(stream) < 12:
        raise CorruptDataError("the stored picture is damaged: no codestream")
    bits, at = int.from_bytes(stream[2:12], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> at - count & (1 << count) - 1

    def take_side() -> int:
        return 8 * take(5) + 8 if small else take(_SIDE_BITS[take(2)]) + 1

    small = take(1)
    height, ratio = take_side(), take(3)
    if not ratio:
        return height, take_side()
    a, b = _RATIOS[ratio - 1]
    return height, height * a // b


def _codestream(data: bytes) -> bytes:
    """The codestream of a JPEG XL file, whose boxes libjxl leaves out for up to 8 bits."""
    if not data.startswith(_CONTAINER):
        return data
    return b"".join(body for kind, body in boxes(data) if kind in (b"jxlc", b"jxlp"))


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type and content of the boxes of a JPEG XL file; of parts of a codestream without their number.

    Raises: CorruptDataError: they do not fill it.
    """
    start = 0
    while start < len(data):
        size, kind, body = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        end = start + size if size else len(data)
        if not body <= end <= len(data):
            raise CorruptDataError("the stored picture is damaged: its boxes do not fill it")
        yield kind, data[body + 4 * (kind == b"jxlp") : end]
        start = end
