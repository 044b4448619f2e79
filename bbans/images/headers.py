"""Where BMP, PBM, PGM, PPM, PAM and TGA files have their samples.

::

    header | rows of samples                 PBM, PGM, PPM, PAM: as the header says, top row first; 16 bits with the high byte first
    header, palette | rows                   BMP: B G R, B G R A or indices, padded to 4 bytes, most often bottom row first
                                             TGA: B G R, B G R A, gray or indices

All without compression, but for a TGA of runs. Samples are what the file has: of a PBM 1 is black, of a palette they are indices.

Source: Netpbm's pbm(5), pgm(5), ppm(5) and pam(5); Microsoft's BITMAPFILEHEADER and BITMAPINFOHEADER; Truevision TGA File Format
Specification, version 2.0.
"""

from __future__ import annotations

import re
import struct

from bbans.errors import UnsupportedImageError
from bbans.images.raster import BOTTOM_UP, REVERSED, RUNS, Raster
from bbans.images.rows import row_bytes

_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM_HEADER = re.compile(rb"P([56])" + (_SPACE + rb"([0-9]{1,9})") * 3 + rb"\s")
_PBM_HEADER = re.compile(rb"P4" + (_SPACE + rb"([0-9]{1,9})") * 2 + rb"\s")
_PAM_HEADER = re.compile(rb"P7\n(?:(?:#[^\n]*|[A-Z]+[ \t]+[^\n]{1,80}|)\n){4,40}?ENDHDR\n")
_PAM_LINE = re.compile(rb"^(WIDTH|HEIGHT|DEPTH|MAXVAL)[ \t]+([0-9]{1,9})[ \t]*$", re.MULTILINE)

_BMP_HEADER_BYTES = (40, 52, 56, 64, 108, 124)
"""Sizes of the second header: BITMAPINFOHEADER and its successors."""
_BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)
"""Of red, green and blue in a pixel of 32 bits."""


def pbm(data: bytes) -> Raster:
    """The raster of a binary PBM."""
    match = _PBM_HEADER.match(data)
    if not match:
        raise UnsupportedImageError("the PBM is broken: no complete header")
    return Raster(int(match[2]), int(match[1]), 1, 1, match.end())


def pgm(data: bytes) -> Raster:
    """The raster of a binary PGM."""
    return _pnm(data, b"5")


def ppm(data: bytes) -> Raster:
    """The raster of a binary PPM."""
    return _pnm(data, b"6")


def _pnm(data: bytes, kind: bytes) -> Raster:
    match = _PNM_HEADER.match(data)
    if not match or match[1] != kind or not 0 < int(match[4]) < 1 << 16:
        raise UnsupportedImageError("the PPM or PGM is broken: no complete header")
    return Raster(int(match[3]), int(match[2]), 3 if kind == b"6" else 1, _bytes_of(int(match[4])), match.end())


def plain_pnm(shape: tuple[int, ...], bit_depth: int) -> tuple[int, bytes]:
    """The order and the usual header of a PGM or PPM of samples (H, W, C) of 8 or 16 bits."""
    return 0, b"P%d\n%d %d\n%d\n" % (6 if shape[2] == 3 else 5, shape[1], shape[0], (1 << bit_depth) - 1)


def pam(data: bytes) -> Raster:
    """The raster of a PAM."""
    match = _PAM_HEADER.match(data)
    fields = {name: int(number) for name, number in _PAM_LINE.findall(match[0])} if match else {}
    if match is None or len(fields) < 4 or not 0 < fields[b"MAXVAL"] < 1 << 16:
        raise UnsupportedImageError("the PAM is broken: no complete header")
    if not 1 <= fields[b"DEPTH"] <= 4:
        raise UnsupportedImageError(f"PAM with {fields[b'DEPTH']} channels is not supported")
    return Raster(fields[b"HEIGHT"], fields[b"WIDTH"], fields[b"DEPTH"], _bytes_of(fields[b"MAXVAL"]), match.end())


def _bytes_of(maximum: int) -> int:
    """The bits in which the samples of a PGM, PPM or PAM stand."""
    return 8 if maximum < 256 else 16


def pnm_maximum(data: bytes) -> int:
    """The largest sample that the header of a binary PPM or PGM allows. Raises: UnsupportedImageError: there is no such header."""
    match = _PNM_HEADER.match(data)
    if not match:
        raise UnsupportedImageError("the PPM or PGM is broken: no complete header")
    return int(match[4])


def bmp(data: bytes) -> Raster:
    """The raster of a BMP."""
    if len(data) < 54:
        raise UnsupportedImageError("the BMP is cut short in its header")
    start, header_bytes, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if data[:2] != b"BM" or header_bytes not in _BMP_HEADER_BYTES or start < 14 + header_bytes or width < 1:
        raise UnsupportedImageError("BMP with this header is not supported")
    masked = bits == 32 and compression == 3 and len(data) >= 66 and struct.unpack_from("<III", data, 54) == _BMP_MASKS
    if bits not in (1, 4, 8, 24, 32) or (compression and not masked):
        raise UnsupportedImageError(f"{bits}-bit BMP{' with compression' * bool(compression)} is not supported")
    channels, order = max(1, bits // 8), REVERSED * (bits > 8) | BOTTOM_UP * (height > 0)
    return Raster(abs(height), width, channels, min(bits, 8), start, order, padding=-row_bytes(width, 1, bits) % 4)


def tga(data: bytes) -> Raster:
    """The raster of a TGA. They have no signature: ask only of a file that cannot be of another format."""
    if len(data) < 18:
        raise UnsupportedImageError("the TGA is cut short in its header")
    id_bytes, has_palette, kind, _, colours, colour_bits, _, _, width, height, bits, flags = struct.unpack_from(
        "<BBBHHBHHHHBB", data
    )
    packed, kind = kind & 8, kind & ~8
    if (kind, bits) not in ((1, 8), (2, 24), (2, 32), (3, 8)) or has_palette > 1 or kind == 1 > has_palette or flags & 0xD0:
        raise UnsupportedImageError("TGA of this kind is not supported")
    start = 18 + id_bytes + has_palette * colours * (-(-colour_bits // 8))
    order = REVERSED * (kind == 2) | BOTTOM_UP * (not flags & 0x20) | RUNS * (packed > 0)
    return Raster(height, width, bits // 8, 8, start, order)
