"""Other codecs, lossless, through well-kept libraries: ``python -m benchmarks.peers FOLDER [--json OUT]`` for folders of pictures.

imagecodecs (of the extra ``bench``) has all but xz and the PNG of binary images. Binary images are given to the peers as samples 0
and 1, with one bit declared where the format can (PNG, JPEG XL, JPEG 2000), and packed eight to a byte for zstd and xz.

JPEG-LS has no colour transform of its own in these libraries. The row with one codes R - G, G, B - (R + G) / 2 modulo 256 (HP2 of
Hewlett-Packard's encoder), as that encoder's extension does.
"""

from __future__ import annotations

import functools
import io
import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from .datasets import Pixels

Shape = tuple[int, ...]
JPEG_XL_EFFORTS = (1, 3, 5, 7, 9)
XZ_PRESET = 9 | lzma.PRESET_EXTREME
XZ_DICTIONARY_MIN = 4096
ZSTD_LEVEL = 19
_HALF = np.uint8(128)


class MissingPeersError(Exception):
    """The libraries of the peers are not installed; the message says how to get them."""


@dataclass(frozen=True)
class Peer:
    """A codec of pictures (H, W, C), or of any bytes in the shape of one.

    ``encode(pixels, threads)``, ``decode(data, shape)``; ``general``: takes arrays of any shape, as bytes; ``slow``: left out of
    quick runs.
    """

    name: str
    encode: Callable[[Pixels, int], bytes]
    decode: Callable[[bytes, Shape], Pixels]
    general: bool = False
    slow: bool = False


def peers(colours: int = 3, symbols: int = 256) -> list[Peer]:
    """The codecs for pictures of so many channels and values. Raises: MissingPeersError."""
    codecs = library()
    binary = symbols == 2
    found = [
        Peer("PNG, 1 bit", _png1_encode, _pillow_decode)
        if binary
        else _plain("PNG", codecs.png_encode, codecs.png_decode, level=9),
        *(
            Peer(
                f"WebP lossless, method {method}",
                lambda x, threads, m=method: codecs.webp_encode(_rgb(x), lossless=True, method=m, level=100, numthreads=threads),  # type: ignore[misc]
                lambda data, shape: _channels(codecs.webp_decode(data), shape),
                slow=method == 6,
            )
            for method in (4, 6)
        ),
        *(
            Peer(
                f"JPEG XL, effort {effort}",
                lambda x, threads, e=effort: codecs.jpegxl_encode(  # type: ignore[misc]
                    _squeezed(x), lossless=True, effort=e, bitspersample=1 if binary else None, numthreads=threads
                ),
                lambda data, shape: _channels(codecs.jpegxl_decode(data), shape),
                slow=effort == 9,
            )
            for effort in JPEG_XL_EFFORTS
        ),
        _plain("JPEG-LS", codecs.jpegls_encode, codecs.jpegls_decode),
        _plain(
            "JPEG 2000", codecs.jpeg2k_encode, codecs.jpeg2k_decode, level=0, reversible=True, bitspersample=1 if binary else None
        ),
        Peer(
            "QOI",
            lambda x, _: bytes(codecs.qoi_encode(_rgb(x))),
            lambda data, shape: _channels(codecs.qoi_decode(data), shape),
        ),
        _general("zstd, level 19", functools.partial(codecs.zstd_encode, level=ZSTD_LEVEL), codecs.zstd_decode, binary),
        _general("xz, preset 9e", _xz_encode, lzma.decompress, binary),
    ]
    if colours == 3:
        index = [peer.name for peer in found].index("JPEG-LS")
        plain = found[index]
        transformed = Peer(
            "JPEG-LS, colour transform HP2",
            lambda x, threads: plain.encode(transform(x), threads),
            lambda data, shape: untransform(plain.decode(data, shape)),
        )
        found[index : index + 1] = [Peer("JPEG-LS, no colour transform", plain.encode, plain.decode), transformed]
    return found


def library() -> Any:
    """The module imagecodecs. Raises: MissingPeersError."""
    try:
        import imagecodecs
    except ImportError:
        raise MissingPeersError("other codecs are left out: imagecodecs is not installed (pip install 'bbans[bench]')") from None
    return imagecodecs


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


def _plain(name: str, encode: Callable[..., Any], decode: Callable[[bytes], Any], **options: Any) -> Peer:
    """A codec that takes gray and RGB alike, on one thread."""
    return Peer(name, lambda x, _: bytes(encode(_squeezed(x), **options)), lambda data, shape: _channels(decode(data), shape))


def _general(name: str, encode: Callable[[bytes], Any], decode: Callable[[bytes], Any], binary: bool) -> Peer:
    """A codec of bytes."""

    def unpacked(data: bytes, shape: Shape) -> Pixels:
        values = np.frombuffer(decode(data), np.uint8)
        if binary:
            values = np.unpackbits(values, count=int(np.prod(shape)))
        return values.reshape(shape)

    return Peer(name, lambda x, _: bytes(encode((np.packbits(x) if binary else x).tobytes())), unpacked, general=True)


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


def _channels(decoded: Any, shape: Shape) -> Pixels:
    """What a codec gave back in the shape of what it was given: (H, W), RGB or RGBA as (H, W, C)."""
    pixels: Pixels = np.asarray(decoded, np.uint8)
    return pixels.reshape(*shape[:2], -1)[..., : shape[-1]]


TABLE = ("PNG", "WebP lossless, method 6", "JPEG XL, effort 7", "JPEG XL, effort 9")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "out", default=None, type=click.Path(path_type=Path))
def main(folder: Path, out: Path | None) -> None:
    """Bits/dim of the PNG and WebP pictures below FOLDER, one file each, decoded and compared."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".webp"))
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    rates = {}
    try:
        chosen = [peer for peer in peers() if peer.name in TABLE]
    except MissingPeersError as error:
        raise click.ClickException(str(error)) from None
    for peer in chosen:
        size = 0
        for picture in pictures:
            data = peer.encode(picture, 1)
            if not np.array_equal(peer.decode(data, picture.shape), picture):
                raise click.ClickException(f"{peer.name}: a picture does not come back as it was")
            size += len(data)
        rates[peer.name] = 8 * size / sum(picture.size for picture in pictures)
        click.echo(f"{peer.name}: {rates[peer.name]:.4f}")
    if out:
        found = {"imagecodecs": library().__version__, "pictures": len(files), "bits_per_dim": rates}
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
