"""Pillow, strictly: it refuses what it would otherwise tolerate, and all of its errors become `UnsupportedImageError`.

Pillow's pixel limit, its tolerance of truncated files and Python's warning filters belong to the whole process. `strict` changes
them behind a lock while a picture is decoded, and then restores them.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from bbans.errors import BbansError, UnsupportedImageError

NOT_TRIED = {"EPS", "FITS", "FLI", "GBR", "MPEG", "BUFR", "GRIB", "HDF5", "WMF", "MCIDAS", "FPX", "MIC", "PCD", "IPTC", "VAEZ"}
"""Formats that `open_any` leaves out: for EPS, Pillow runs Ghostscript; others it only recognises, or needs another program for, or
they are no longer in use. VAEZ is our own, which `bbans.pillow` registers."""

_STRIP_PX = 1 << 18

_LOCK = threading.RLock()


@contextmanager
def strict(max_pixels: int) -> Iterator[None]:
    """Within this context, warnings of Pillow are errors, and all errors are UnsupportedImageError.

    Args:
        max_pixels: Pillow refuses larger pictures once it has read the header, before it allocates anything.
    """
    with _LOCK, warnings.catch_warnings():
        # By module: all threads share the filters, and the warnings of other libraries are not ours to handle.
        warnings.filterwarnings("error", module=r"PIL\b")
        # Exif is kept, not interpreted: a fault in it does not affect the picture.
        warnings.filterwarnings("ignore", "(Possibly )?corrupt EXIF data|Metadata Warning", module=r"PIL\b")
        limit, tolerant = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            yield
        except BbansError:
            raise
        except UnidentifiedImageError as error:
            raise UnsupportedImageError("not a picture of a known format") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise UnsupportedImageError(f"the picture is larger than the limit of {max_pixels} pixels") from error
        except MemoryError as error:
            raise UnsupportedImageError("the picture needs more memory than there is") from error
        except Exception as error:  # the decoders of Pillow raise nearly every class there is
            cause = " ".join(str(error).split()) or type(error).__name__
            raise UnsupportedImageError(f"the picture cannot be decoded: {cause}") from error
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, tolerant


@contextmanager
def open_any(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The Pillow image of a file of any format, not decoded yet; `strict` applies while it is open."""
    if not data:
        raise UnsupportedImageError("the file is empty")
    with strict(max_pixels), _open(data) as image:
        yield image


def load_any(data: bytes, max_pixels: int) -> Image.Image:
    """The decoded Pillow image of a file of any format; an animation has all of its frames.

    Raises: UnsupportedImageError: not a picture, or broken.
    """
    with strict(max_pixels):
        image = _open(data)
        image.load()
    return image


def _open(data: bytes) -> Image.Image:
    Image.init()
    return Image.open(io.BytesIO(data), formats=sorted(set(Image.OPEN) - NOT_TRIED))


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise UnsupportedImageError if a header declares no pixels, or more than `max_pixels`."""
    if width < 1 or height < 1:
        raise UnsupportedImageError(f"the picture is empty ({width} x {height} pixels)")
    if width * height > max_pixels:
        raise UnsupportedImageError(f"the picture is larger than the limit of {max_pixels} pixels ({width} x {height} pixels)")


def to_pixels(data: bytes, format: str, max_pixels: int, modes: Sequence[str] = ("L", "RGB")) -> npt.NDArray[np.uint8]:
    """The samples of a still picture, by default of 8-bit gray or RGB.

    Args:
        modes: those of Pillow that are expected, of at most 8 bits a sample.
    Returns:
        uint8, shape (H, W, C), C is 1 or 3 by default; writable.
    Raises:
        UnsupportedImageError: Pillow cannot decode it, or decodes it to another mode.
    """
    with strict(max_pixels), Image.open(io.BytesIO(data), formats=[format]) as image:
        image.load()
        if image.mode not in modes:
            raise UnsupportedImageError(f"a picture of mode {' or '.join(modes)} expected, but Pillow decodes it as {image.mode}")
        return _samples(image)


def _samples(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The samples of an image with 8 bits or 1 bit a band: uint8, shape (H, W, bands)."""
    # In strips: numpy takes an image as bytes, a copy of all of it.
    width, height, bands = image.width, image.height, len(image.getbands())
    pixels = np.empty((height, width, bands), np.uint8)
    rows = max(1, _STRIP_PX // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(strip).reshape(-1, width, bands)
    return pixels


def to_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """The Pillow image of `pixels` (H, W, C): of the mode L, LA, RGB or RGBA."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
