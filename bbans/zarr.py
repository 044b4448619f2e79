"""A codec for Zarr 3: `bbans.photo`, from arrays to bytes.

Its chunks are those of `bbans.array_chunks`: pictures of uint8, and images of one size. Other arrays are refused when they are
created. It is an entry point of the group `zarr.codecs`, so that Zarr finds it by the name in an array's metadata in any process
where `bbans` is installed.

::

    zarr.create_array("photos.zarr", shape=(9, 512, 768, 3), chunks=(1, 512, 768, 3), dtype="uint8", serializer=PhotoCodec(),
                      compressors=None)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from zarr.abc.codec import ArrayBytesCodec
from zarr.registry import register_codec

from bbans.array_chunks import ArrayChunks
from bbans.errors import UnsupportedImageError

NAME = "bbans.photo"


@dataclass(frozen=True)
class PhotoCodec(ArrayBytesCodec):
    """Pictures by the photo model, images of one size by theirs.

    Attributes:
        model: id of an installed model or path of a weight file; None chooses.
    """

    model: str | None = None

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PhotoCodec:
        """The codec of an array's metadata. Inverse: `to_dict`. Raises: ValueError: another codec, or an unknown setting."""
        settings = data.get("configuration", {})
        if data.get("name") != NAME or settings.keys() - {"model"}:
            raise ValueError(f"not a configuration of {NAME}: {data}")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """As the array's metadata has it. Inverse: `from_dict`."""
        return {"name": NAME} if self.model is None else {"name": NAME, "configuration": {"model": self.model}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raises: UnsupportedImageError: the chunks are neither pictures nor images of one size."""
        chunk = getattr(chunk_grid, "chunk_shape", shape)
        fault = ArrayChunks(self.model).fault(chunk, dtype.to_native_dtype())
        if fault:
            raise UnsupportedImageError(f"{NAME} does not code these chunks: {fault}")

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        data = await asyncio.to_thread(ArrayChunks(self.model).encode, chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        chunk = await asyncio.to_thread(ArrayChunks(self.model).decode, chunk_data.to_bytes(), chunk_spec.shape)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(chunk)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Raises: NotImplementedError: it depends on what the chunk holds."""
        raise NotImplementedError(f"the size of a chunk of {NAME} depends on what it holds")


register_codec(NAME, PhotoCodec)
