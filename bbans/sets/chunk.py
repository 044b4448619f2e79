"""Chunks: the body of a chunk of images, and what a decoded chunk holds.

::

    a chunk of pictures   blob of wrappers | message            FORMAT.md, 6.4
    a chunk of an array   message
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.wire import CHECK_BYTES, ByteReader, is_name, pack_name, pack_varint, unpack_name
from bbans.images.picture import Picture, write_picture
from bbans.results import Restored

Pixels = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]
"""(H, W, C)"""

MAX_WRAPPERS_BYTES = 1 << 28
"""Limit for the wrappers of a chunk."""


@dataclass(frozen=True)
class Wrapper:
    """What a picture file has besides its pixels: see `bbans.images.picture.Picture`."""

    format: str
    metadata: bytes


def pack_samples(wrappers: Sequence[Wrapper], message: bytes) -> bytes:
    """The body of a chunk of images: the different wrappers, which image has which, and the message. Inverse: `unpack_samples`."""
    return pack_blob(_pack_wrappers(wrappers)) + message if wrappers else message


def _pack_wrappers(wrappers: Sequence[Wrapper]) -> bytes:
    different = list(dict.fromkeys(wrappers))
    listed = [pack_varint(len(different))]
    for wrapper in different:
        listed += [pack_name(wrapper.format), pack_varint(len(wrapper.metadata)), wrapper.metadata]
    if len(different) > 1:
        places = {wrapper: pack_varint(place) for place, wrapper in enumerate(different)}
        listed += [places[wrapper] for wrapper in wrappers]
    return b"".join(listed)


def unpack_samples(body: bytes, pictures: int) -> tuple[list[Wrapper], bytes]:
    """The wrapper of each picture, and the message. Inverse: `pack_samples`.

    Args:
        pictures: how many there are; 0 for the images of an array, which have no wrappers.
    Raises: CorruptDataError.
    """
    if not pictures:
        return [], body
    outer = ByteReader(body, "wrappers")
    listed = ByteReader(unpack_blob(outer, MAX_WRAPPERS_BYTES), "wrappers")
    different = []
    for _ in range(listed.varint()):  # a false count runs into the end: nothing is allocated by it
        format = unpack_name(listed)
        different.append(Wrapper(format, listed.take(listed.varint())))
        if not is_name(format):
            raise CorruptDataError("wrappers: the format's name is not a name")
    places = [listed.varint() for _ in range(pictures)] if len(different) > 1 else [0] * pictures
    if listed.position != len(listed.data) or max(places) >= len(different):
        raise CorruptDataError("wrappers: they are not those of the pictures")
    return [different[place] for place in places], body[outer.position :]


class Content(Protocol):
    """What a decoded chunk holds. `nbytes`: what that takes in memory, besides metadata."""

    @property
    def nbytes(self) -> int: ...

    def alone(self) -> Content:
        """The same, which keeps nothing else in memory: samples may be a part of those of many chunks."""

    def check(self) -> bytes:
        """The digest in the index."""

    def file(self, place: int) -> Restored:
        """The file of an image. Raises: CorruptDataError: it is no picture."""


@dataclass(frozen=True)
class ImagesContent:
    """Images of one shape: samples (N, H, W, C), and for pictures a wrapper each.

    `checked` is their digest in the index where it is not that of the samples: empty where each has a check of its own.
    """

    samples: Pixels
    wrappers: list[Wrapper] = field(default_factory=list)
    checked: bytes | None = None

    @property
    def nbytes(self) -> int:
        return self.samples.nbytes

    def alone(self) -> ImagesContent:
        return self if self.samples.base is None else replace(self, samples=self.samples.copy())

    def check(self) -> bytes:
        if self.checked is not None:
            return self.checked
        return digest(_pack_wrappers(self.wrappers) if self.wrappers else b"", np.ascontiguousarray(self.samples).data)

    def picture(self, place: int) -> Picture:
        """An image with its wrapper."""
        return Picture(self.samples[place], self.wrappers[place].format, self.wrappers[place].metadata)

    def file(self, place: int) -> Restored:
        picture = self.picture(place)
        return Restored(write_picture(picture), "PNG" if picture.format == "PNG1" else picture.format)


@dataclass(frozen=True)
class FileContent:
    """A file. `checked` is its digest in the index, empty where the file was checked otherwise."""

    restored: Restored
    checked: bytes

    @property
    def nbytes(self) -> int:
        return len(self.restored.data)

    def alone(self) -> FileContent:
        return self

    def check(self) -> bytes:
        return self.checked

    def file(self, place: int) -> Restored:
        return self.restored


def digest(*parts: bytes | memoryview) -> bytes:
    """The digest of a file, or of the wrappers and the samples of a chunk."""
    hashed = hashlib.blake2b(digest_size=CHECK_BYTES)
    for part in parts:
        hashed.update(part)
    return hashed.digest()
