"""The metadata section of a file: as it is, or by LZMA, or by deflate that knows frequent ICC profiles, whichever is smallest.

>>> section = metadata_section(b"to and fro, " * 9)
>>> section.kind.name, metadata_of([section])[:11]
('PACKED_METADATA', b'to and fro,')
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bbans.errors import CorruptDataError
from bbans.formats import lzma2
from bbans.formats.container import Section, SectionKind
from bbans.formats.wire import ByteReader, pack_varint

MAX_PACKED_BYTES = 1 << 26
"""The most that a packed section may hold; larger metadata is not packed."""

LEAST_GAIN_BYTES = 64
"""Deflate is taken where it saves so much: metadata with one of the profiles."""

_WINDOW = -15
"""Raw deflate."""


@cache
def profiles() -> bytes:
    """What deflate may refer to: ICC profiles, as they are and as streams of zlib, which PNGs have. See `FORMAT.md`, 2.2."""
    return Path(__file__).with_name("profiles.bin").read_bytes()


def metadata_section(metadata: bytes) -> Section:
    """The smallest section of some metadata, which is not empty. Inverse: `metadata_of`."""
    if len(metadata) > MAX_PACKED_BYTES:
        return Section(SectionKind.METADATA, metadata)
    packed = pack_varint(len(metadata)) + lzma2.compress(metadata, fitted=True)
    least = min(Section(SectionKind.METADATA, metadata), Section(SectionKind.PACKED_METADATA, packed), key=_size)
    if len(least.body) > LEAST_GAIN_BYTES:
        deflate = zlib.compressobj(9, zlib.DEFLATED, _WINDOW, 9, zdict=profiles())
        by_profiles = pack_varint(len(metadata)) + deflate.compress(metadata) + deflate.flush()
        if len(by_profiles) + LEAST_GAIN_BYTES <= len(least.body):
            return Section(SectionKind.METADATA_BY_PROFILES, by_profiles)
    return least


def metadata_of(sections: Sequence[Section]) -> bytes:
    """The metadata in the sections of a file; empty if there is none. Inverse: `metadata_section`.

    Raises: CorruptDataError: packed metadata is damaged, or claims too much.
    """
    for section in sections:
        if section.kind == SectionKind.METADATA:
            return section.body
        if section.kind.is_metadata:
            reader = ByteReader(section.body, "metadata")
            size = reader.varint()
            if not 0 < size <= MAX_PACKED_BYTES:
                raise CorruptDataError(f"metadata: {size} bytes, the limit is {MAX_PACKED_BYTES}")
            stream = reader.take(len(section.body) - reader.position)
            packed = section.kind == SectionKind.PACKED_METADATA
            return lzma2.decompress(stream, size) if packed else _inflated(stream, size)
    return b""


def _inflated(stream: bytes, size: int) -> bytes:
    """What deflate has made, with the profiles. Raises: CorruptDataError: damaged, or of another size."""
    inflate = zlib.decompressobj(_WINDOW, zdict=profiles())
    try:
        metadata = inflate.decompress(stream, size)
        if len(metadata) == size and not inflate.eof:  # the end of the stream may be left to read
            metadata += inflate.decompress(inflate.unconsumed_tail, 1)
    except zlib.error as error:
        raise CorruptDataError(f"metadata: it is damaged ({error})") from error
    if len(metadata) != size or not inflate.eof or inflate.unused_data:
        raise CorruptDataError(f"metadata: it is not {size} bytes")
    return metadata


def _size(section: Section) -> int:
    return len(section.body)
