"""Chunks of arrays <-> bytes, for `bbans.numcodecs` and `bbans.zarr`.

::

    chunk of uint8                                     bytes
    (H, W), (H, W, 1), (H, W, 3): a picture            a .vaez file, by the photo model or without it, whichever is smaller
    (N, H, W), (N, H, W, C), also of bool: images      a .vaeza archive, by the models for images of that size

Axes of length 1 before those of a picture are left out, so (1, H, W, 3) is one. All other chunks are refused.

>>> chunks = ArrayChunks()
>>> chunks.fault((1, 512, 512, 3), np.dtype(np.uint8)), chunks.fault((64, 28, 28), np.dtype(np.uint8))
(None, None)
>>> chunks.fault((64, 30, 30), np.dtype(np.uint8))
'no model is for images of 30x30x1'
>>> chunks.fault((512, 512), np.dtype(np.uint16))
'uint16; pictures are uint8'
"""

from __future__ import annotations

import io
import math
import os
import threading
from functools import cache
from typing import cast

import numpy as np
import numpy.typing as npt

from bbans import api, sets
from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats import archive
from bbans.results import StrPath
from bbans.sets.arrays import Images
from bbans.sets.model import ModelLoader


class ArrayChunks:
    """Encoder and decoder of chunks; threads may share it.

    Args:
        model: id of an installed model or path of a weight file, for pictures or for images of one size; None chooses.
        threads: the most to use for a chunk; None is as many as there are cores.
    """

    def __init__(self, model: StrPath | None = None, threads: int | None = None) -> None:
        self.model, self.threads = None if model is None else os.fspath(model), threads
        self._lock = threading.RLock()

    def fault(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str | None:
        """Why chunks of that shape and type are refused; None if they are not."""
        kind = picture_shape(shape)
        if dtype != np.uint8 and (kind is not None or dtype != np.bool_):
            return f"{dtype}; pictures are uint8" + ("" if kind else ", images of one size uint8 or bool")
        if min(shape, default=0) < 1:
            return f"the shape {shape}; no axis may be 0"
        if kind is not None:
            return None
        if len(shape) not in (3, 4):
            return f"the shape {shape}; pictures are (H, W) or (H, W, 3), images of one size (N, H, W) or (N, H, W, C)"
        image = (*shape[1:], 1)[:3]
        if not self._loader.takes(image):  # type: ignore[arg-type]  # three of them
            return f"no model is for images of {'x'.join(map(str, image))}"
        return None

    def encode(self, chunk: npt.NDArray[np.generic]) -> bytes:
        """The bytes of a chunk, which were decoded and compared. Inverse: `decode`.

        Raises: UnsupportedImageError: a chunk that is neither a picture nor images of one size. ModelError.
        """
        fault = self.fault(chunk.shape, chunk.dtype)
        if fault:
            raise UnsupportedImageError(f"chunk: {fault}")
        shape = picture_shape(chunk.shape)
        chunk = np.ascontiguousarray(chunk)
        if shape is not None:
            return api.compress(chunk.reshape(shape), model=self._photo).data
        file = io.BytesIO()
        with self._lock:
            sets.pack(cast(Images, chunk), file, model=self._loader)
        return file.getvalue()

    def decode(self, data: bytes, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.generic]:
        """The chunk of these bytes; of that shape, if one is given. Inverse: `encode`.

        Raises: FormatError: damaged, or another chunk. ModelError.
        """
        if data.startswith(archive.MAGIC):
            with self._lock, sets.open_archive(io.BytesIO(data), model=self._loader) as reader:
                chunk: npt.NDArray[np.generic] = reader.array()
        else:
            chunk = api.decompress(data, model=self._photo).array()
        if shape is None:
            return chunk
        if chunk.size != math.prod(shape):
            raise CorruptDataError(f"the chunk holds an array {chunk.shape}, not one of the shape {shape}")
        return chunk.reshape(shape)

    @property
    def _photo(self) -> api.Model:
        return _photo_model(self.model, self.threads)

    @property
    def _loader(self) -> ModelLoader:
        return _set_models(self.model, self.threads)


def picture_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of the picture in a chunk, (H, W) or (H, W, C); None if it is none."""
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)) else None


# All codecs of a process share their models: libraries make a codec for each array, and copies of it.
@cache
def _photo_model(model: str | None, threads: int | None) -> api.Model:
    return api.Model(model, threads=threads)


@cache
def _set_models(model: str | None, threads: int | None) -> ModelLoader:
    return ModelLoader(model, threads=threads)
