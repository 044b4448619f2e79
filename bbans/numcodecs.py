"""A codec for numcodecs, and so for Zarr 2 and all that takes codecs of numcodecs: `bbans.photo`.

Its chunks are those of `bbans.array_chunks`: pictures of uint8, and images of one size. It is an entry point of the group
`numcodecs.codecs`, so that `numcodecs.get_codec` finds it in any process where `bbans` is installed, and Zarr does when it reads.

::

    compressor = numcodecs.get_codec({"id": "bbans.photo"})
    zarr.create_array("photos.zarr", zarr_format=2, compressors=compressor, ...)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_contiguous_ndarray_like, ndarray_copy
from numcodecs.registry import register_codec

from bbans.array_chunks import ArrayChunks
from bbans.results import StrPath


class PhotoCodec(Codec):
    """Pictures by the photo model, images of one size by theirs.

    Args:
        model: id of an installed model or path of a weight file; None chooses.
    """

    codec_id = "bbans.photo"

    def __init__(self, model: StrPath | None = None) -> None:
        self.model = model
        self._chunks = ArrayChunks(model)

    def encode(self, buf: Any) -> bytes:
        """The bytes of a chunk. Raises: UnsupportedImageError: neither a picture nor images of one size. ModelError."""
        return self._chunks.encode(np.asarray(buf))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk, copied into `out` if that is given. Raises: FormatError, ModelError."""
        chunk = self._chunks.decode(ensure_bytes(buf))
        return chunk if out is None else ndarray_copy(ensure_contiguous_ndarray_like(chunk), out)

    def get_config(self) -> dict[str, Any]:
        """As Zarr writes it down."""
        return {"id": self.codec_id} if self.model is None else {"id": self.codec_id, "model": str(self.model)}

    def __repr__(self) -> str:
        return "PhotoCodec()" if self.model is None else f"PhotoCodec(model={str(self.model)!r})"


register_codec(PhotoCodec)
