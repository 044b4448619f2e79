"""Archives and sets as what a model is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bbans.errors import UnsupportedImageError
from bbans.formats.archive import MAGIC
from bbans.formats.manifest import NAME
from bbans.results import Restored
from bbans.shards import SetReader, open_archive


def is_archived(path: Path) -> bool:
    """Whether a path is an archive, a set of archives, or its manifest. False for what cannot be read."""
    try:
        if path.is_dir():
            return (path / NAME).is_file()
        if path.name == NAME:
            return True
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def archived_array(path: Path) -> NDArray[np.uint8] | NDArray[np.bool_] | None:
    """The array of an archive; None if it holds files.

    Raises: UnsupportedImageError: of more than 8 bits. FormatError, ModelError, OSError.
    """
    with open_archive(path) as reader:
        is_array = reader.is_array if isinstance(reader, SetReader) else reader.archive.array is not None
        images = reader[:] if is_array else None
    if not isinstance(images, np.ndarray):
        return None
    if images.dtype.itemsize > 1:
        raise UnsupportedImageError(f"{path}: images of {images.dtype}; models are trained on 8 bits")
    return cast("NDArray[np.uint8] | NDArray[np.bool_]", images)


def archived_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file of an archive. Raises: FormatError, ModelError, OSError."""
    with open_archive(path) as reader:
        for name, file in zip(reader.names, reader, strict=True):
            assert isinstance(file, Restored)
            yield name, file.data
