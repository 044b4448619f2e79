"""A picture file without its metadata: the same pixels, coded as they were, in a smaller file.

::

    PNG     all chunks but those that the pixels need, APNG's too; bytes after the end
    WebP    ICCP, EXIF, XMP and unknown chunks
    JPEG    the segments APP1 to APP15, but Adobe's, which says how colours are coded; comments; bytes after the end

An ICC profile says what the colours look like, and Exif which way is up: without them a picture may be shown otherwise.

Source: PNG Specification (Third Edition), 11; WebP Container Specification; ITU-T T.81, B (markers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bbans.errors import UnsupportedImageError
from bbans.images import pngfile, tiff, webp

Dropped = tuple[tuple[str, int], ...]
"""What was dropped: names, each once, and bytes of the file."""

_PNG_KEPT = {b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT"}
_WEBP_KEPT = {b"VP8X", b"VP8L", b"VP8 ", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_FLAGS = 0x20 | 0x08 | 0x04
"""Of VP8X: there are ICCP, EXIF, XMP."""

FORMATS = ("PNG", "WEBP", "JPEG")
"""Those of which metadata is dropped."""

_ORIENTATION = 274
_JPEG = b"\xff\xd8\xff"
_SOS, _EOI, _COM = 0xDA, 0xD9, 0xFE
_APP_NAMES = {
    b"Exif\0": "Exif",
    b"http://ns.adobe.com/x": "XMP",
    b"ICC_PROFILE\0": "ICC profile",
    b"Photoshop 3.0\0": "IPTC",
    b"MPF\0": "MPF",
}


def strip(data: bytes, max_pixels: int) -> tuple[bytes, Dropped]:
    """A picture file without metadata, and what was dropped. Of formats other than PNG, WebP and JPEG nothing is.

    Raises: UnsupportedImageError: it is broken.
    """
    if data.startswith(pngfile.SIGNATURE):
        kept, dropped = _png(data, max_pixels)
    elif webp.is_webp(data):
        kept, dropped = _webp(data)
    elif data.startswith(_JPEG):
        kept, dropped = _jpeg(data)
    else:
        return data, ()
    return (kept, _sums(dropped)) if dropped else (data, ())


def _sums(dropped: list[tuple[str, int]]) -> Dropped:
    sums: dict[str, int] = {}
    for name, size in dropped:
        sums[name] = sums.get(name, 0) + size
    return tuple(sums.items())


def _named(kind: bytes, body: bytes) -> str:
    """The name of a chunk of a PNG or WebP."""
    return _exif(body) if kind in (b"eXIf", b"EXIF") else kind.decode("latin-1").strip()


def _exif(body: bytes) -> str:
    """Exif, and whether it says that the picture is to be turned."""
    try:
        turned = tiff.parse(body.removeprefix(b"Exif\0\0")).tags.get(_ORIENTATION, (1,)) not in ((1,), ())
    except UnsupportedImageError:
        turned = False
    return "Exif with an orientation" if turned else "Exif"


def _png(data: bytes, max_pixels: int) -> tuple[bytes, list[tuple[str, int]]]:
    png = pngfile.parse(data, max_pixels)
    others = [(kind, body) for kind, body in [*png.before, *png.after] if kind not in _PNG_KEPT]
    dropped = [(_named(kind, body), 12 + len(body)) for kind, body in others]
    if png.trailing_bytes:
        dropped.append(("bytes after the end", png.trailing_bytes))
    before, after = ([chunk for chunk in part if chunk[0] in _PNG_KEPT] for part in (png.before, png.after))
    return pngfile.assemble(data[16:29], before, png.stream, after), dropped


def _webp(data: bytes) -> tuple[bytes, list[tuple[str, int]]]:
    kept: list[tuple[bytes, bytes | memoryview]] = []
    dropped = []
    body = webp.riff_body(data)
    for kind, part in webp.chunks_of(body):
        if kind not in _WEBP_KEPT:
            dropped.append((_named(kind, bytes(part)), 8 + len(part) + len(part) % 2))
        elif kind == b"VP8X" and part:
            kept.append((kind, bytes([part[0] & ~_WEBP_FLAGS]) + bytes(part[1:])))
        else:
            kept.append((kind, part))
    if surplus := len(data) - 12 - len(body):
        dropped.append(("bytes after the end", surplus))
    return webp.file_of(kept), dropped


def _jpeg(data: bytes) -> tuple[bytes, list[tuple[str, int]]]:
    kept, dropped, end = [], [], 0
    for start, end, marker in _segments(data):
        body = data[start + 4 : end]
        if marker == _COM:
            dropped.append(("comment", end - start))
        elif 0xE1 <= marker <= 0xEF and not (marker == 0xEE and body.startswith(b"Adobe")):
            known = (name for head, name in _APP_NAMES.items() if body.startswith(head))
            name = next(known, f"APP{marker - 0xE0}")
            dropped.append((_exif(body) if name == "Exif" else name, end - start))
        else:
            kept.append(data[start:end])
    if end < len(data):
        dropped.append(("bytes after the end", len(data) - end))
    return b"".join(kept), dropped


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, end and marker of all segments of a JPEG; a scan belongs to its SOS. Raises: UnsupportedImageError: it is broken."""
    yield 0, 2, 0xD8
    start = 2
    while True:
        if data[start : start + 1] != b"\xff" or start + 2 > len(data):
            raise UnsupportedImageError("the JPEG is broken or cut short: a marker is missing")
        marker = data[start + 1]
        if marker == 0xFF:  # a fill byte
            yield start, start + 1, 0xFF
            start += 1
            continue
        if marker == _EOI:
            yield start, start + 2, marker
            return
        if start + 4 > len(data):
            raise UnsupportedImageError("the JPEG is cut short")
        end = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
        if marker == _SOS:
            end = _scan_end(data, end)
        if end < start + 4 or end > len(data):
            raise UnsupportedImageError("the JPEG is cut short in a segment")
        yield start, end, marker
        start = end


def _scan_end(data: bytes, at: int) -> int:
    """Where the codes of a scan end: at the first marker that is none of a restart."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise UnsupportedImageError("the JPEG is cut short in a scan")
        if data[at + 1] and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
