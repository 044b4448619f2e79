"""Arrays and Pillow images <-> picture files.

::

    array  --array_to_file-> NPY          any file --file_to_array-> array
    image  --image_to_file-> PNG          any file --file_to_image-> image

On the right, each is the inverse of the function on the left.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bbans.errors import UnsupportedImageError
from bbans.images import npy
from bbans.images.picture import MAX_PIXELS, bit_depth_of
from bbans.images.pillow import load_any, open_any

PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
"""The modes of Pillow that its PNG keeps exactly."""


def array_to_file(array: npt.NDArray[np.generic]) -> bytes:
    """The NPY of an array, in C order. Inverse: `file_to_array`.

    Raises:
        UnsupportedImageError: a masked array, or one of Python objects.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise UnsupportedImageError("a masked array is not supported (its mask would be lost)")
    if array.dtype.hasobject:
        raise UnsupportedImageError("an array of Python objects is not supported")
    rows = np.asarray(array, order="C")
    if rows.dtype == np.uint8 and rows.ndim in (2, 3):
        return b"".join([npy.plain_header(rows.shape), rows.data])
    file = io.BytesIO()
    np.lib.format.write_array(file, rows, allow_pickle=False)
    return file.getvalue()


def file_to_array(data: bytes) -> npt.NDArray[np.generic]:
    """The array of an NPY; of any other still picture its samples (H, W) or (H, W, C), of a palette its colours.

    The type of the elements is that of the file where numpy has it: bool for 1 bit, uint8, uint16, ... Formats that lose something
    come as Pillow decodes them.

    Raises:
        UnsupportedImageError: not a picture, one of several frames, or more bits a sample than Pillow decodes.
    """
    if data.startswith(npy.SIGNATURE):
        header = npy.parse(data)
        elements: npt.NDArray[np.generic] = np.frombuffer(data, header.dtype, math.prod(header.shape), header.start).copy()
        return elements.reshape(header.shape, order="F" if header.fortran else "C")
    with open_any(data, MAX_PIXELS) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise UnsupportedImageError(f"the {image.format} has {getattr(image, 'n_frames', 1)} frames: no single array")
        image.load()
        depth = bit_depth_of(image, data)
        shown = image.convert("RGBA" if image.has_transparency_data else "RGB") if image.mode in ("P", "PA") else image
        array = np.array(shown)
        if depth > 8 * array.itemsize:
            raise UnsupportedImageError(
                f"the {image.format} has {depth} bits a sample, of which Pillow decodes {8 * array.itemsize}"
            )
    return array


def image_to_file(image: Image.Image, **options: Any) -> bytes:
    """The PNG of a Pillow image, or of its current frame. Inverse: `file_to_image`.

    Mode, pixels, palette and ICC profile come back, other metadata if `options` name it, which go to `Image.save`.

    Raises:
        UnsupportedImageError: a mode that PNG does not keep exactly, an image without pixels, or one that cannot be loaded.
    """
    if image.mode not in PNG_MODES:
        raise UnsupportedImageError(f"a Pillow image of mode {image.mode} is not supported (only {', '.join(PNG_MODES)})")
    if not image.width or not image.height:
        raise UnsupportedImageError(f"the Pillow image is empty ({image.width} x {image.height} pixels)")
    file = io.BytesIO()
    try:
        image.load()
        if image.mode == "P" and 3 * int(np.asarray(image).max()) >= len(image.getpalette() or ()):
            raise UnsupportedImageError("a Pillow image with pixels beyond its palette is not supported")
        image.save(file, "PNG", **options)
    except (OSError, SyntaxError, ValueError) as error:
        raise UnsupportedImageError(f"the Pillow image cannot be loaded: {error}") from error
    return file.getvalue()


def file_to_image(data: bytes) -> Image.Image:
    """The Pillow image of a picture file; an animation has all of its frames. Inverse: `image_to_file`.

    Raises:
        UnsupportedImageError: not a picture.
    """
    if data.startswith(npy.SIGNATURE):
        array = file_to_array(data)
        if not npy.parse(data).is_picture or (array.dtype != np.uint8 and array.shape[2:] not in ((), (1,))):
            raise UnsupportedImageError(f"{npy.parse(data).kind} is not a picture of Pillow's")
        return Image.fromarray(array.reshape(array.shape[:2]) if array.shape[2:] == (1,) else array)
    return load_any(data, MAX_PIXELS)
