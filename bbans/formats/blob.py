"""Bytes of any kind inside our files: as they are, or as an LZMA stream where that is smaller.

>>> from bbans.formats.wire import ByteReader
>>> unpack_blob(ByteReader(pack_blob(b"to and fro, " * 9), "blob"), 108)[:11]
b'to and fro,'
"""

from __future__ import annotations

from bbans.errors import CorruptDataError
from bbans.formats import lzma2
from bbans.formats.wire import ByteReader, pack_varint


def pack_blob(data: bytes) -> bytes:
    """Two sizes, and the bytes themselves or an LZMA2 stream of them, whichever is smaller. Inverse: `unpack_blob`."""
    stream = lzma2.compress(data, fitted=True) if data else b""
    kept = stream if len(stream) < len(data) else data
    return pack_varint(len(data)) + pack_varint(len(kept)) + kept


def unpack_blob(reader: ByteReader, limit_bytes: int) -> bytes:
    """The data of a blob. Inverse: `pack_blob`. Raises: CorruptDataError: damaged, or more than the limit."""
    size, kept_bytes = reader.varint(), reader.varint()
    if size > limit_bytes:
        raise CorruptDataError(f"{reader.name}: {size} bytes are more than the limit of {limit_bytes}")
    kept = reader.take(kept_bytes)
    return kept if kept_bytes == size else lzma2.decompress(kept, size)
