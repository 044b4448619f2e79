"""Picture files as pixels and metadata, exactly or not at all.

::

    file bytes --read--> Picture(pixels, format, metadata) --write--> file bytes       pixels and metadata come back
    file bytes --probe-> PictureInfo                                                   the file itself can be stored

`read_picture` takes the pictures that the networks code: still, of 8-bit gray or RGB, in PNG, lossless WebP, QOI, TIFF, TGA, or
without compression (BMP, PBM, PGM, PPM, PAM and NPY, numpy's file of an array); and if it may, those of any depth, with alpha
or a palette. For any other it raises an error that says what would be lost; nothing is ever converted.
`probe_picture` tells whether a file is a whole picture of any kind that is known.

The interlacing, filters and compression level of a PNG are not metadata: they come back as the encoder sets them. All but PNG and
WebP come back byte for byte.

Memory: decoding takes about 8 bytes a pixel (20 for WebP where there is no imagecodecs), for no more pixels than the headers
declare; see `MAX_PIXELS`.

>>> picture = read_picture(b"P6 2 1 255 \\xff\\x00\\x00\\x00\\x00\\xff")
>>> picture.pixels.tolist(), picture.format, write_picture(picture)
([[[255, 0, 0], [0, 0, 255]]], 'PPM', b'P6 2 1 255 \\xff\\x00\\x00\\x00\\x00\\xff')
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import apng, chunks, gif, headers, npy, png, pngfile, qoi, raster, tiff, tiffstrips, webp
from bbans.images.frames import Animation
from bbans.images.pillow import check_size, open_any, to_pixels
from bbans.images.rows import Samples

MAX_PIXELS = 1 << 30
"""The default limit: seven times the largest camera, 3 GiB as RGB. A header that declares more is taken for a bomb."""

_Reader = Callable[[bytes, int], tuple[npt.NDArray[np.uint8], bytes]]
_Writer = Callable[[npt.NDArray[np.uint8], bytes], bytes]
_CODED: dict[str, tuple[_Reader, _Writer, tuple[int, ...]]] = {
    "PNG": (png.read, png.write, (1, 3)),
    "PNG1": (png.read_bilevel, png.write_bilevel, (1,)),
    "WEBP": (webp.read, webp.write, (3, 4)),
    "QOI": (qoi.read, qoi.write, (3, 4)),
}
"""Formats of 8 bits that compress (a PNG has other depths and channels too): (reader, writer, possible numbers of channels)"""

_RASTERS: dict[str, tuple[raster.Locate, raster.Plain | None]] = {
    "BMP": (headers.bmp, None),
    "PBM": (headers.pbm, None),
    "PGM": (headers.pgm, headers.plain_pnm),
    "PPM": (headers.ppm, headers.plain_pnm),
    "PAM": (headers.pam, None),
    "TGA": (headers.tga, None),
    "TIFF": (tiff.locate, None),
    "NPY": (npy.locate, npy.plain),
}
"""Formats without compression: see `bbans.images.raster`."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A still picture, with all that is needed to write its file again."""

    pixels: Samples
    """Shape (H, W, C): C = 1 for gray or a palette's indices, 2 with alpha, 3 for RGB, 4 with alpha; uint16 for 16 bits."""
    format: str
    """PNG, WEBP, QOI, or one of those without compression; PNG1 is a PNG of 1-bit gray, whose pixels are 0 and 1."""
    metadata: bytes = b""
    """The other chunks of a PNG or WebP (`bbans.images.chunks`); what other files have around their samples."""
    bit_depth: int = 8
    """Of a sample."""

    @property
    def palette(self) -> npt.NDArray[np.uint8] | None:
        """The colours (N, 3) or (N, 4) of the indices in `pixels`, or None. Raises: CorruptDataError: it is no palette."""
        return png.palette(self.metadata) if self.format == "PNG" and self.pixels.shape[2] == 1 else None

    @property
    def plain(self) -> npt.NDArray[np.uint8] | None:
        """The pixels, if they are what networks code: 8-bit gray or RGB."""
        if self.bit_depth != 8 or self.pixels.shape[2] not in (1, 3) or self.palette is not None:
            return None
        return self.pixels.astype(np.uint8, copy=False)

    @property
    def kind(self) -> str:
        """For a person: `16-bit RGB PNG`."""
        layout = {1: "gray", 2: "gray and alpha", 3: "RGB", 4: "RGB and alpha"}[self.pixels.shape[2]]
        if self.format == "TIFF" and self.pixels.shape[2] == 4:
            layout = "four-channel"  # or CMYK
        return f"{self.bit_depth}-bit {layout if self.palette is None else 'palette'} {self.format}"

    def __eq__(self, other: object) -> bool:
        """The same pixels, format, bit depth and metadata."""
        if not isinstance(other, Picture):
            return NotImplemented
        around = (self.format, self.bit_depth, self.metadata) == (other.format, other.bit_depth, other.metadata)
        return around and np.array_equal(self.pixels, other.pixels)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class PictureInfo:
    """What `probe_picture` says of a file."""

    format: str
    width: int
    height: int
    channels: int
    bit_depth: int
    """Bits per sample: by the file's header where it is read here, else as Pillow decodes it."""
    kind: str
    """Such as `16-bit RGB PNG`."""
    frames: int = 1


def read_picture(
    data: bytes, *, max_pixels: int = MAX_PIXELS, decoded: bool = False, bilevel: bool = False, any_kind: bool = False
) -> Picture:
    """The picture in a file's bytes. Inverse: `write_picture`.

    Args:
        max_pixels: the most that the header may declare, checked before anything is allocated.
        decoded: take a JPEG too, as a PNG of the pixels that the libjpeg of this machine decodes, with its ICC profile, Exif
            and XMP. The caller has to warn the user: neither the JPEG file nor its other markers come back.
        bilevel: take a PNG of 1-bit gray too, as a picture of the format PNG1.
        any_kind: take samples of 1 to 16 bits, with alpha or of a palette too.
    Raises:
        UnsupportedImageError: not a whole picture, or one that pixels and metadata do not keep exactly; says what is lost.
    """
    name = _detect(data)
    if name == "PNG" and any_kind:
        samples, bit_depth, metadata = png.read_any(data, max_pixels)
        return Picture(samples, name, metadata, bit_depth)
    if name == "PNG" and bilevel and png.is_bilevel(data):
        name = "PNG1"
    if not name:
        with open_any(data, max_pixels) as image:
            name = str(image.format)
    if name in _CODED:
        pixels, metadata = _CODED[name][0](data, max_pixels)
        picture = Picture(pixels, name, metadata)
    elif name in _RASTERS:
        if name == "TIFF" and not tiff.is_plain(data):
            samples, bit_depth, metadata = tiffstrips.read(data, max_pixels)
        else:
            samples, bit_depth, metadata = raster.read(name, data, *_RASTERS[name], max_pixels)
        picture = Picture(samples, name, metadata, bit_depth)
    elif name == "JPEG" and decoded:
        return _read_jpeg(data, max_pixels)
    else:
        raise UnsupportedImageError(f"{name} is not supported (only its decoded pixels would be kept)")
    if not any_kind and name != "PNG1" and picture.plain is None:
        lost = "some bits of its samples" if picture.bit_depth != 8 else "its alpha channel"
        raise UnsupportedImageError(f"{picture.kind} is not supported ({lost} would be lost)")
    return picture


def write_picture(picture: Picture, at_most: int | None = None) -> bytes:
    """The file of a picture: the same format, pixels and metadata. Inverse: `read_picture`.

    Args:
        at_most: of a PNG, the bytes that it should not exceed; see `png.write`.
    Raises:
        CorruptDataError: the parts do not belong together. Those of a file that was read always do.
    """
    if picture.format not in _CODED and picture.format not in _RASTERS:
        raise CorruptDataError(f"the picture format {picture.format!r} is not known")
    pixels, bit_depth = picture.pixels, picture.bit_depth
    is_png, is_raster = picture.format == "PNG", picture.format in _RASTERS
    channels = (1, 2, 3, 4) if is_png or is_raster else _CODED[picture.format][2]
    dtype = np.uint16 if bit_depth == 16 and (is_png or is_raster) else np.uint8
    if pixels.dtype != dtype or pixels.ndim != 3 or pixels.shape[2] not in channels or not pixels.size:
        raise CorruptDataError(f"no {picture.format} has pixels of shape {pixels.shape} and type {pixels.dtype}")
    if is_png:
        return png.write(pixels, picture.metadata, bit_depth, at_most)
    if picture.format == "TIFF" and picture.metadata[:1] and picture.metadata[0] & tiffstrips.PACKED:
        return tiffstrips.write(pixels, picture.metadata, bit_depth)
    if is_raster:
        return raster.write(pixels, picture.metadata, bit_depth, *_RASTERS[picture.format])
    if bit_depth != 8:
        raise CorruptDataError(f"no {picture.format} has {bit_depth} bits")
    return _CODED[picture.format][1](pixels.astype(np.uint8, copy=False), picture.metadata)


def is_source(picture: Picture, file: bytes) -> bool:
    """Whether the file that was written of a picture is the one that was read, unless that is of a PNG or a WebP."""
    packed = picture.format == "TIFF" and picture.metadata[0] & tiffstrips.PACKED
    return not packed or tiffstrips.is_source(file, picture.metadata)


def _detect(data: bytes) -> str:
    """The format that the first bytes tell, if it is one of those that are read here, or an empty string."""
    if data.startswith(pngfile.SIGNATURE):
        return "PNG"
    if webp.is_webp(data):
        return "WEBP"
    if data.startswith(npy.SIGNATURE):
        return "NPY"
    if data.startswith(tiff.SIGNATURES):
        return "TIFF"
    if data.startswith(qoi.SIGNATURE):
        return "QOI"
    return {b"P7": "PAM", b"P6": "PPM", b"P5": "PGM", b"P4": "PBM", b"BM": "BMP"}.get(data[:2], "")


def _read_jpeg(data: bytes, max_pixels: int) -> Picture:
    """The decoded pixels of a JPEG, as a picture of the format PNG. Source of the chunks: PNG Specification, 11.3."""
    with open_any(data, max_pixels) as image:
        icc, exif, xmp = (image.info.get(key, b"") for key in ("icc_profile", "exif", "xmp"))
    metadata: list[chunks.Chunk] = []
    if icc:
        metadata.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        metadata.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if xmp:
        metadata.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    return Picture(to_pixels(data, "JPEG", max_pixels), "PNG", chunks.pack(metadata, []))


def probe_picture(data: bytes, *, max_pixels: int = MAX_PIXELS) -> PictureInfo:
    """What kind of picture a file is, after all of its frames were decoded once: it is whole, and no bomb.

    Any such file can be stored as its own bytes: JPEG, 16 bits, palettes, alpha, animation, and arrays of numbers, whose first two
    axes count as height and width and the others as channels.

    Args:
        max_pixels: the most that all frames together may declare, checked before any is decoded.
    Raises:
        UnsupportedImageError: not a picture, cut short, broken, or larger than `max_pixels`.
    """
    if data.startswith(pngfile.SIGNATURE):
        still = pngfile.parse(data, max_pixels)
        frames = 1
        if still.animated:
            frames = _probe_animation(apng.parse(still), max_pixels).frames
        else:
            pngfile.check_stream(still)
            # Without its metadata: the decoder would refuse faults in chunks that are kept, and not looked at.
            _probe_pages(still.picture, max_pixels)
        return PictureInfo("PNG", still.width, still.height, still.channels, still.bit_depth, still.kind, frames)
    if data.startswith(npy.SIGNATURE):
        header = npy.parse(data)
        height, width, *channels = (*header.shape, 1, 1)
        if header.is_picture:
            check_size(width, height, max_pixels)
        return PictureInfo("NPY", width, height, math.prod(channels), 8 * header.dtype.itemsize, header.kind)
    animation = gif.parse(data) if data.startswith(gif.SIGNATURES) else webp.animation(data) if webp.is_webp(data) else None
    return _probe_animation(animation, max_pixels) if animation else _probe_pages(data, max_pixels)


def _probe_animation(animation: Animation, max_pixels: int) -> PictureInfo:
    """Probe an animation, each of its frames by itself."""
    check_size(animation.width, animation.height, max_pixels)
    _check_sizes([(frame.width, frame.height) for frame in animation.frames], max_pixels)
    infos = []
    for frame in animation.frames:
        file = frame.file()
        if file.startswith(pngfile.SIGNATURE):
            pngfile.check_stream(pngfile.parse(file, max_pixels))
        infos.append(_probe_pages(file, max_pixels))
    count = len(infos)
    kind = infos[0].kind + f" of {count} frames" * (count > 1)
    return replace(infos[0], width=animation.width, height=animation.height, kind=kind, frames=count)


def _probe_pages(data: bytes, max_pixels: int) -> PictureInfo:
    """Probe a file that Pillow decodes page by page, with one in memory at a time."""
    with open_any(data, max_pixels) as image:
        (width, height), count = image.size, getattr(image, "n_frames", 1)
        channels, bit_depth = len(image.getbands()), bit_depth_of(image, data)
        layout = {"LA": "gray and alpha", "RGBA": "RGB and alpha", "P": "palette", "PA": "palette and alpha"}
        gray = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
        kind = f"{bit_depth}-bit {'gray' if gray else layout.get(image.mode, image.mode)} {image.format}"
        sizes = []
        for page in range(count):
            image.seek(page)
            sizes.append((image.width, image.height))
        _check_sizes(sizes, max_pixels)
        for page in range(count):
            image.seek(page)
            if image.format == "WEBP":
                webp.decode(data, max_pixels)
            else:
                image.load()
        name = str(image.format)
    return PictureInfo(name, width, height, channels, bit_depth, kind + f" of {count} frames" * (count > 1), count)


def _check_sizes(sizes: Sequence[tuple[int, int]], max_pixels: int) -> None:
    """Raise UnsupportedImageError if frames (width, height) have more than `max_pixels` together."""
    if sum(width * height for width, height in sizes) > max_pixels:
        raise UnsupportedImageError(f"its frames have more than {max_pixels} pixels together")


def bit_depth_of(image: Image.Image, data: bytes) -> int:
    """Bits per sample: of the header where Pillow may decode to others (PNG, TIFF, PPM, PGM), else of Pillow's mode."""
    if data.startswith(pngfile.SIGNATURE):
        return data[24]
    tags = getattr(image, "tag_v2", None)
    if tags and 258 in tags:  # BitsPerSample of a TIFF
        return int(max(tags[258]))
    if data[:2] in (b"P5", b"P6"):
        return headers.pnm_maximum(data).bit_length()
    return {"1": 1, "I": 32, "F": 32}.get(image.mode, 16 if image.mode.startswith("I;16") else 8)
