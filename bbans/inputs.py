"""What `compress` and `decompress` take, as the bytes of a file."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from bbans.errors import naming
from bbans.images.objects import array_to_file, image_to_file
from bbans.results import Result, StrPath

BytesLike: TypeAlias = bytes | bytearray | memoryview
PictureLike: TypeAlias = StrPath | BytesLike | npt.NDArray[np.generic] | Image.Image
CompressedLike: TypeAlias = StrPath | BytesLike | Result


def picture_file(source: PictureLike) -> bytes:
    """The bytes of a picture file: of a path, of an array its NPY, of a Pillow image its PNG.

    Raises:
        UnsupportedImageError: an array or an image that no such file keeps.
        TypeError: a source of another type. OSError.
    """
    if isinstance(source, np.ndarray):
        return array_to_file(source)
    if isinstance(source, Image.Image):
        return image_to_file(source)
    return _bytes(source, "source: a path, bytes, an array or a Pillow image")


def compressed_file(file: CompressedLike) -> bytes:
    """The bytes of a compressed file. Raises: TypeError: a file of another type. OSError."""
    return file.data if isinstance(file, Result) else _bytes(file, "file: a path, bytes or a Result")


def named(source: object) -> AbstractContextManager[None]:
    """Within this context, the messages of our errors begin with the source, if it is a path."""
    return naming(str(os.fspath(source))) if isinstance(source, str | os.PathLike) else nullcontext()


def _bytes(source: StrPath | BytesLike, expected: str) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    try:
        return bytes(memoryview(source))
    except TypeError:
        raise TypeError(f"{expected}, not {type(source).__name__}") from None
