"""Other codecs, lossless, through well-kept libraries, in the settings that favour them: several where speed and rate pull apart.

imagecodecs (of the extra `bench`) has all but xz and the PNG of binary images. Binary images are given to the peers as samples 0
and 1, with one bit declared where the format can (PNG, JPEG XL, JPEG 2000), and packed eight to a byte for zstd and xz.

JPEG-LS has no colour transform of its own in these libraries. The row with one codes R - G, G, B - (R + G) / 2 modulo 256 (HP2 of
Hewlett-Packard's encoder), as that encoder's extension does.

A new codec is one more `Peer` in `peers`.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from . import libjxl

if TYPE_CHECKING:
    from .datasets import Pixels

Shape = tuple[int, ...]
XZ_PRESET = 9 | lzma.PRESET_EXTREME
XZ_DICTIONARY_MIN = 4096
ZSTD_LEVEL = 19
_HALF = np.uint8(128)


class MissingPeersError(ImportError):
    """The libraries of the peers are not installed; the message says how to get them."""


@dataclass(frozen=True)
class Peer:
    """A codec of pictures (H, W, C), or of any bytes in the shape of one.

    `encode(pixels, threads)`, `decode(data, shape)`; `general`: takes arrays of any shape, as bytes; `slow`: left out of quick
    runs; `brief`: has rows in the README.
    """

    name: str
    encode: Callable[[Pixels, int], bytes]
    decode: Callable[[bytes, Shape], Pixels]
    general: bool = False
    slow: bool = False
    brief: bool = False


def peers(colours: int = 3, symbols: int = 256) -> list[Peer]:
    """The codecs for pictures of so many channels and values. Their libraries are imported when they run."""
    binary = symbols == 2
    bits = 1 if binary else None
    jpeg_ls = _plain("JPEG-LS", "jpegls")
    return [
        Peer("PNG, 1 bit", _png1_encode, _pillow_decode, brief=True)
        if binary
        else Peer("PNG, level 9", _png_encode, _decoder("png"), brief=True),
        *(_webp(method) for method in (4, 6)),
        *(_jpeg_xl(effort, bits) for effort in (1, 3, 5, 7, 9, 10)),
        *(_tuned_jpeg_xl(effort, bits or 8) for effort in (9, 10)),
        *([jpeg_ls] if colours == 1 else _coloured(jpeg_ls)),
        _plain("JPEG 2000", "jpeg2k", brief=True, level=0, reversible=True, bitspersample=bits),
        Peer("QOI", lambda x, _: bytes(library().qoi_encode(_rgb(x))), _decoder("qoi")),
        _general("zstd, level 19", _zstd_encode, lambda data: library().zstd_decode(data), binary),
        _general("xz, preset 9e", _xz_encode, lzma.decompress, binary, brief=True),
    ]


def library() -> Any:
    """The module imagecodecs. Raises: MissingPeersError."""
    try:
        import imagecodecs
    except ImportError:
        raise MissingPeersError("other codecs are left out: imagecodecs is not installed (pip install 'bbans[bench]')") from None
    return imagecodecs


def _webp(method: int) -> Peer:
    def encode(pixels: Pixels, threads: int) -> bytes:
        return bytes(library().webp_encode(_rgb(pixels), lossless=True, method=method, level=100, numthreads=threads))

    return Peer(f"WebP lossless, method {method}", encode, _decoder("webp"), slow=method == 6, brief=method == 6)


def _jpeg_xl(effort: int, bits: int | None) -> Peer:
    def encode(pixels: Pixels, threads: int) -> bytes:
        options = {"effort": effort, "bitspersample": bits, "numthreads": threads}
        return bytes(library().jpegxl_encode(_squeezed(pixels), lossless=True, **options))

    return Peer(f"JPEG XL, effort {effort}", encode, _decoder("jpegxl"), slow=effort >= 9, brief=effort in (7, 9, 10))


def _tuned_jpeg_xl(effort: int, bits: int) -> Peer:
    """Groups of 1024 x 1024, three channels before as context, trees learned from all pixels."""
    options = {libjxl.EFFORT: effort, libjxl.GROUP_SIZE: 3, libjxl.PREVIOUS_CHANNELS: 3, libjxl.TREE_PERCENT: 100}

    def encode(pixels: Pixels, threads: int) -> bytes:
        return libjxl.encode(pixels, bits, threads, options)

    return Peer(f"JPEG XL, effort {effort}, -g 3 -E 3 -I 100", encode, _decoder("jpegxl"), slow=True, brief=True)


def _coloured(jpeg_ls: Peer) -> list[Peer]:
    return [
        Peer("JPEG-LS, no colour transform", jpeg_ls.encode, jpeg_ls.decode),
        Peer(
            "JPEG-LS, colour transform HP2",
            lambda x, threads: jpeg_ls.encode(transform(x), threads),
            lambda data, shape: untransform(jpeg_ls.decode(data, shape)),
        ),
    ]


def transform(pixels: Pixels) -> Pixels:
    """HP2: G, and R and B as differences from it and from (R + G) / 2, modulo 256 and around 128. Inverse: untransform."""
    red, green, blue = (pixels[..., i] for i in range(3))
    mean = ((red.astype(np.uint16) + green) >> 1).astype(np.uint8)
    return np.stack([red - green + _HALF, green, blue - mean + _HALF], -1)


def untransform(pixels: Pixels) -> Pixels:
    """Inverse of transform."""
    red, green, blue = (pixels[..., i] for i in range(3))
    red = red + green - _HALF
    mean = ((red.astype(np.uint16) + green) >> 1).astype(np.uint8)
    return np.stack([red, green, blue + mean - _HALF], -1)


def _plain(name: str, prefix: str, brief: bool = False, **options: Any) -> Peer:
    """A codec of imagecodecs that takes gray and RGB alike, on one thread."""

    def encode(pixels: Pixels, _: int) -> bytes:
        return bytes(getattr(library(), f"{prefix}_encode")(_squeezed(pixels), **options))

    return Peer(name, encode, _decoder(prefix), brief=brief)


def _decoder(prefix: str) -> Callable[[bytes, Shape], Pixels]:
    """A decoder of imagecodecs. It gives (H, W), RGB or RGBA."""

    def decode(data: bytes, shape: Shape) -> Pixels:
        pixels: Pixels = np.asarray(getattr(library(), f"{prefix}_decode")(data), np.uint8)
        return pixels.reshape(*shape[:2], -1)[..., : shape[-1]]

    return decode


def _general(name: str, encode: Callable[[bytes], Any], decode: Callable[[bytes], Any], binary: bool, brief: bool = False) -> Peer:
    """A codec of bytes."""

    def unpacked(data: bytes, shape: Shape) -> Pixels:
        values = np.frombuffer(decode(data), np.uint8)
        if binary:
            values = np.unpackbits(values, count=int(np.prod(shape)))
        return values.reshape(shape)

    def packed(pixels: Pixels, _: int) -> bytes:
        return bytes(encode((np.packbits(pixels) if binary else pixels).tobytes()))

    return Peer(name, packed, unpacked, general=True, brief=brief)


def _png_encode(pixels: Pixels, _: int) -> bytes:
    """The smaller of zlib's two strategies that make sense: filtered residuals are better for photos, the default for drawings."""
    codecs = library()
    strategies = codecs.PNG.STRATEGY.DEFAULT, codecs.PNG.STRATEGY.FILTERED
    return min((bytes(codecs.png_encode(_squeezed(pixels), level=9, strategy=strategy)) for strategy in strategies), key=len)


def _zstd_encode(data: bytes) -> Any:
    return library().zstd_encode(data, level=ZSTD_LEVEL)


def _xz_encode(data: bytes) -> bytes:
    """The dictionary no larger than the data: 64 MiB of it take 40 ms for an image of any size."""
    sizes = {"preset": XZ_PRESET, "dict_size": max(len(data), XZ_DICTIONARY_MIN)}
    return lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, **sizes}])


def _png1_encode(pixels: Pixels, _: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] * np.uint8(255)).convert("1", dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _pillow_decode(data: bytes, shape: Shape) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.uint8).reshape(shape)


def _squeezed(pixels: Pixels) -> Pixels:
    """(H, W, 1) as (H, W)."""
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _rgb(pixels: Pixels) -> Pixels:
    """Gray three times, for formats that know no gray."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:-1], 3)))
