"""What is kept without a network: a file or a picture, exactly, by the smallest of some methods.

::

    FILE         the file's own bytes                          exact for everything, byte for byte
    FILE_LZMA    raw LZMA2 of the file's bytes                 the same
    WEBP         lossless WebP                                 samples of up to 8 bits
    ROWS_LZMA    raw LZMA2 of PNG rows                         samples of 1 to 16 bits
    JXL          lossless JPEG XL                              the same
    JPEG         JPEG XL of a JPEG's coefficients              a JPEG file, byte for byte

A payload is that stream alone: sizes, format and metadata are the container's, as in mode model, and so are the checks. Samples
have a form (`bbans.formats.forms`), which the first byte of their payload names.

Decoding is exact for ever, but the bytes of streams depend on the versions of libjxl, libwebp and liblzma.

>>> method, payload = encode(b"not even a picture", None)
>>> decode_file(method, payload, 18)
b'not even a picture'
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction

import numpy as np

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats import jpeg, jxl, lzma2
from bbans.formats.container import StoredMethod
from bbans.formats.forms import Form, Layout, from_form, has_form, to_form
from bbans.formats.wire import ByteReader, pack_varint
from bbans.images import png, webp
from bbans.images.picture import MAX_PIXELS, Picture
from bbans.images.rows import FILTERS, Samples, row_bytes
from bbans.progress import Work

MAX_BYTES = 1 << 32
"""The most that the header may claim for a file in FILE_LZMA."""

STRIP_PX = 1 << 21
"""Pixels of a strip, which is coded alone: libjxl takes about 90 bytes a pixel, libwebp 37."""

GROUP_ROWS = 256
"""JPEG XL codes blocks of so many rows: a strip that is cut through them is larger."""

SMALL_BYTES = 1 << 20
"""Up to this size LZMA is tried on everything. It codes about 3 MB a second: beyond, it is tried where it promises something."""

TINY_BYTES = 1 << 16
"""Up to this size LZMA is tried after each filter."""

EFFORTS = {1 << 14: (7, 8, 9), 1 << 17: (7, 8)}
"""Of JPEG XL, up to so many pixels; 7 beyond. More is mostly smaller, but not on every icon. 9 takes time without bound: 12 seconds
for 256 x 256 samples that repeat themselves."""

LARGER_EFFORTS = {7: (7, 8), 8: (7, 8, 9), 9: (7, 8, 9)}
"""By the effort that the caller asks for: those of JPEG XL, whatever the size. They take 3 and 8 times as long as 7 alone."""

CAREFUL_PX = 1 << 17
"""Up to this size WebP is tried always."""

WEBP_SHARE = 0.25
"""WebP is tried if JPEG XL takes at most this share of the samples: on photos it never wins."""

ENCODING_UNITS = {StoredMethod.JXL: Fraction(1, 3), StoredMethod.WEBP: Fraction(1)}
"""Of work (`bbans.progress`), for each pixel: about, at the efforts of large pictures."""

DECODING_UNITS = Fraction(1, 25)
"""As well."""


Size = tuple[int, int]
"""(height, width)"""


def encode(
    data: bytes, picture: Picture | None, size: Size = (0, 0), beside: int = 0, work: Work | None = None, effort: int = 5
) -> tuple[StoredMethod, bytes]:
    """The method and payload of the smallest way to store a file. Inverse: `decode_file` or `decode_picture`.

    Args:
        data: the file's bytes.
        picture: the picture in them; None where only the file can be kept.
        size: height and width of a JPEG.
        beside: bytes of what stands beside samples, and is in a file anyway.
        work: told of each strip.
        effort: 1 to 9; from 7 on more of JPEG XL is tried.
    """
    streams = [(StoredMethod.FILE, data)]
    if picture is None and data.startswith(jpeg.SIGNATURE):
        with suppress(UnsupportedImageError):
            streams.append((StoredMethod.JPEG, encode_file(StoredMethod.JPEG, data, size)))
            return min(streams, key=lambda stream: len(stream[1]))
    if len(data) <= SMALL_BYTES or (picture is None and len(lzma2.compress(data[:SMALL_BYTES])) < SMALL_BYTES * 31 // 32):
        streams.append((StoredMethod.FILE_LZMA, encode_file(StoredMethod.FILE_LZMA, data)))
    if picture is not None:
        streams.append(encode_samples(picture, work, effort))
    return min(streams, key=lambda stream: (len(stream[1]) + (0 if stream[0].keeps_file else beside), stream[0]))


def encode_samples(picture: Picture, work: Work | None = None, effort: int = 5) -> tuple[StoredMethod, bytes]:
    """The method and payload of the smallest way to store samples. Arguments: as for `encode`. Inverse: `decode_picture`."""
    return min(_picture_candidates(picture, work or Work(), effort), key=lambda stream: (len(stream[1]), stream[0]))


def _picture_candidates(picture: Picture, work: Work, effort: int) -> Iterator[tuple[StoredMethod, bytes]]:
    """Payloads by JPEG XL, and by WebP and LZMA where they may be smaller."""
    pixels = picture.pixels
    height, width, _ = pixels.shape
    area, layout = height * width, layout_of(picture)
    careful = area <= CAREFUL_PX
    forms = [form for form in Form if has_form(form, pixels, layout)]
    if Form.EIGHT_BITS in forms:
        forms.remove(Form.SAMPLES)
    least = pixels.nbytes
    efforts = next((efforts for limit, efforts in EFFORTS.items() if area <= limit), (7,))
    efforts = max(efforts, LARGER_EFFORTS.get(effort, efforts), key=len)
    work.expect(len(forms) * len(efforts) * encoding_units(StoredMethod.JXL, height, width))
    work.did("storing", 0)
    for form in forms:
        for jxl_effort in efforts:
            try:
                payload = encode_picture(StoredMethod.JXL, picture, form, effort=jxl_effort, work=work)
            except UnsupportedImageError:
                continue
            least = min(least, len(payload))
            yield StoredMethod.JXL, payload
    if max(height, width) <= webp.MAX_SIDE_PX and (careful or least <= WEBP_SHARE * pixels.nbytes):
        forms_of_webp = [form for form in forms if layout.coded(form).bit_depth <= 8]
        work.expect(len(forms_of_webp) * encoding_units(StoredMethod.WEBP, height, width))
        for form in forms_of_webp:
            webp_effort = 9 if area <= STRIP_PX else 7
            yield StoredMethod.WEBP, encode_picture(StoredMethod.WEBP, picture, form, effort=webp_effort, work=work)
    if pixels.nbytes <= SMALL_BYTES:
        for filters in (None, *range(FILTERS)) if pixels.nbytes <= TINY_BYTES else (None, 0):
            yield StoredMethod.ROWS_LZMA, encode_picture(StoredMethod.ROWS_LZMA, picture, forms[-1], filters=filters)


def layout_of(picture: Picture) -> Layout:
    """What a decoder of the picture's samples knows before it reads them."""
    height, width, channels = picture.pixels.shape
    return Layout((height, width, channels), picture.bit_depth, picture.palette)


def encode_file(method: StoredMethod, data: bytes, size: Size = (0, 0)) -> bytes:
    """The payload of a file by FILE, FILE_LZMA or JPEG. Inverse: `decode_file`.

    Args:
        size: height and width, for JPEG.
    Raises: UnsupportedImageError: libjxl does not take the JPEG.
    """
    if method == StoredMethod.JPEG:
        return jpeg.encode(data, *size)
    return data if method == StoredMethod.FILE else lzma2.compress(data)


def decode_file(method: StoredMethod, payload: bytes, file_bytes: int, size: Size = (0, 0)) -> bytes:
    """The file, of `file_bytes`, of a payload by FILE, FILE_LZMA or JPEG. Inverse: `encode_file`.

    Args:
        size: height and width, for JPEG.
    Raises:
        CorruptDataError: the payload is damaged, or of a file of another or a larger size.
    """
    if method == StoredMethod.FILE:
        if len(payload) != file_bytes:
            raise CorruptDataError(f"the stored file has {len(payload)} bytes, but the header says {file_bytes}")
        return payload
    if file_bytes > MAX_BYTES:
        raise CorruptDataError(f"the stored file claims {file_bytes} bytes, more than the limit of {MAX_BYTES}")
    if method == StoredMethod.JPEG:
        return jpeg.decode(payload, file_bytes, *size)
    return lzma2.decompress(payload, file_bytes)


def encode_picture(
    method: StoredMethod,
    picture: Picture,
    form: Form = Form.SAMPLES,
    *,
    effort: int = 7,
    filters: int | None = None,
    work: Work | None = None,
) -> bytes:
    """The payload of a picture's samples by WEBP, ROWS_LZMA or JXL. Inverse: `decode_picture`.

    Args:
        form: one that the picture has (`has_form`).
        effort: 1 to 9, of JXL and WEBP.
        filters: of the rows, see `png.to_rows`.
        work: told of each strip by JXL and WEBP.
    """
    layout = layout_of(picture)
    if method == StoredMethod.ROWS_LZMA:
        rows = png.to_rows(to_form(form, picture.pixels, layout), layout.coded(form).bit_depth, filters)
        return bytes([form]) + lzma2.compress(rows, fitted=True)
    height, width, _ = layout.shape
    payload = io.BytesIO()
    payload.write(bytes([form]))
    before: Samples | None = None
    for top, bottom in strips(height, width):
        samples = to_form(form, picture.pixels[top:bottom], layout)
        if before is None or not np.array_equal(samples, before):  # large flat pictures would take minutes
            stream = _encode_strip(method, samples, effort)
        before = samples
        if bottom < height:
            payload.write(pack_varint(len(stream)))
        payload.write(stream)
        if work is not None:
            work.did("storing", encoding_units(method, bottom, width) - encoding_units(method, top, width))
    return payload.getvalue()


def _encode_strip(method: StoredMethod, samples: Samples, effort: int) -> bytes:
    if method == StoredMethod.JXL:
        return jxl.encode(samples, effort)
    return webp.encode_stream(samples.astype(np.uint8, copy=False), quality=100 if effort == 9 else 90, method=6)


def encoding_units(method: StoredMethod, height: int, width: int) -> int:
    """How long WEBP or JXL takes, in units of work."""
    return int(height * width * ENCODING_UNITS[method])


def decoding_units(height: int, width: int) -> int:
    """How long it takes to decode samples, in units of work."""
    return int(height * width * DECODING_UNITS)


def decode_picture(
    method: StoredMethod, payload: bytes, layout: Layout, tell: Callable[[int], None] = lambda units: None
) -> Samples:
    """The samples of a payload by WEBP, ROWS_LZMA or JXL. Inverse: `encode_picture`.

    Args:
        tell: called with the units of work that are done, after each strip but of ROWS_LZMA.
    Raises:
        CorruptDataError: the payload is damaged, or of another picture, or the picture is too large.
    """
    height, width, channels = layout.shape
    if channels not in range(1, 5) or layout.bit_depth not in (1, 2, 4, 8, 16):
        raise CorruptDataError(f"the stored picture claims {channels} channels of {layout.bit_depth} bits")
    if height * width > MAX_PIXELS:
        raise CorruptDataError(f"the stored picture claims {width} x {height} pixels, the limit is {MAX_PIXELS}")
    number = ByteReader(payload, "payload").byte()
    if number not in list(Form):
        raise CorruptDataError(f"the stored picture claims the form {number}, which is not known")
    form = Form(number)
    coded = layout.coded(form)
    try:
        return _decode_samples(method, form, payload, layout, coded, tell)
    except MemoryError as error:
        raise CorruptDataError(f"the stored picture claims {width} x {height} pixels, more than the memory holds") from error


def _decode_samples(
    method: StoredMethod, form: Form, payload: bytes, layout: Layout, coded: Layout, tell: Callable[[int], None]
) -> Samples:
    """The samples of a payload after its first byte. Raises: CorruptDataError, MemoryError."""
    height, width, _ = layout.shape
    if method == StoredMethod.ROWS_LZMA:
        rows = lzma2.decompress(payload[1:], height * (1 + row_bytes(width, coded.shape[2], coded.bit_depth)))
        return from_form(form, png.from_rows(rows, coded.shape, coded.bit_depth), layout)
    reader, edges = ByteReader(payload, "payload"), strips(height, width)
    reader.byte()  # the form
    # Each strip takes a byte or more: a claim of more strips than the payload can hold allocates nothing.
    if len(edges) > len(payload):
        raise CorruptDataError("the stored picture is damaged: it ends early")
    out: Samples | None = None
    for top, bottom in edges:
        size = len(reader.data) - reader.position if bottom == height else reader.varint()
        stream, shape = reader.take(size), (bottom - top, width, coded.shape[2])
        if method == StoredMethod.JXL:
            samples = jxl.decode(stream, shape, 16 if coded.bit_depth == 16 else 8)
        elif coded.bit_depth <= 8:
            samples = webp.decode_stream(stream, shape)
        else:
            raise CorruptDataError(f"no WebP has {coded.bit_depth} bits")
        strip = from_form(form, samples, layout)
        tell(decoding_units(bottom, width) - decoding_units(top, width))
        if bottom - top == height:
            return strip
        if out is None:  # not before a strip of it was there
            out = np.empty(layout.shape, strip.dtype)
        out[top:bottom] = strip
    assert out is not None  # there is a strip
    return out


def strips(height: int, width: int) -> list[tuple[int, int]]:
    """First and last row (not included) of each strip."""
    rows = max(1, STRIP_PX // width)
    rows = rows // GROUP_ROWS * GROUP_ROWS or rows
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
