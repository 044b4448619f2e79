"""The body of a chunk, and the check of what it decodes to.

::

    a chunk of pictures   blob of wrappers | message            FORMAT.md, 6.4
    a chunk of an array   message
    any file              blob of the file
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bbans.errors import CorruptDataError
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.wire import CHECK_BYTES, ByteReader, is_name, pack_name, pack_varint, unpack_name

from .codec import Pixels

MAX_FILE_BYTES = 1 << 32
"""What the body of a file may claim to inflate to."""
MAX_WRAPPERS_BYTES = 1 << 28
"""What the wrappers of a chunk may."""


@dataclass(frozen=True)
class Wrapper:
    """What a picture file has beside its pixels: see `bbans.images.picture.Picture`."""

    format: str
    metadata: bytes


def pack_samples(wrappers: Sequence[Wrapper], message: bytes) -> bytes:
    """The body of a chunk of images: their wrappers, each that occurs once, and the message. Inverse: `unpack_samples`."""
    if not wrappers:
        return message
    different = list(dict.fromkeys(wrappers))
    listed = [pack_varint(len(different))]
    for wrapper in different:
        listed += [pack_name(wrapper.format), pack_varint(len(wrapper.metadata)), wrapper.metadata]
    if len(different) > 1:
        places = {wrapper: pack_varint(place) for place, wrapper in enumerate(different)}
        listed += [places[wrapper] for wrapper in wrappers]
    return pack_blob(b"".join(listed)) + message


def unpack_samples(body: bytes, pictures: int) -> tuple[list[Wrapper], bytes]:
    """Wrappers of so many pictures (0 for the images of an array), and the message. Inverse: `pack_samples`.

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
    if listed.at != len(listed.data) or max(places) >= len(different):
        raise CorruptDataError("wrappers: they are not those of the pictures")
    return [different[place] for place in places], body[outer.at :]


def samples_check(images: Pixels) -> bytes:
    """Digest of the samples of images (N, H, W, C)."""
    return file_check(np.ascontiguousarray(images).data)


def file_check(data: bytes | memoryview) -> bytes:
    """Digest of a file."""
    return hashlib.blake2b(data, digest_size=CHECK_BYTES).digest()
