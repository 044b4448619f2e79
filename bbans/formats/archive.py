"""The archive: many images in one file, bytes <-> Archive.

::

    +------+---------+--------------+-------+-----------+---------+---------+--
    | VAEA | version | index length | index | index CRC | chunk 0 | chunk 1 | ...
    +------+---------+--------------+-------+-----------+---------+---------+--
       4        1         varint       ...      4 (LE)    lengths and CRCs are in the index

The images of an archive are divided into *groups*, each coded in its own way, and the images of a group into *chunks*, each coded
on its own. To read an image takes the index and one chunk, and damage to a chunk is damage to its images alone. `FORMAT.md`,
chapter 6, is the byte-level specification, and changes with this file. This module knows nothing of pictures or models: it imports
neither numpy, torch nor Pillow.

>>> from bbans.formats.groups import GroupMethod
>>> group = Group(GroupMethod.FILE, count=1, chunk=1, chunks=(Chunk(4, bytes(4), bytes(8)),))
>>> archive = Archive(array=None, names=("a/b.txt",), members=(0,), source_bytes=9, groups=(group,))
>>> read_head(io.BytesIO(pack_head(archive))) == (archive, len(pack_head(archive)))
True
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from bbans.errors import BbansError, CorruptDataError, FormatError
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.entries import (
    Link,
    fault_of_links,
    fault_of_times,
    most_target_bytes,
    most_time_bytes,
    pack_targets,
    pack_times,
    unpack_targets,
    unpack_times,
)
from bbans.formats.groups import MAX_CHUNK_SAMPLES, Chunk, Group, GroupMethod, fault_of_group, pack_group, unpack_group
from bbans.formats.names import fault_of_names, most_bytes, pack_names, unpack_names
from bbans.formats.wire import CRC_BYTES, ByteReader, crc32, newer, pack_varint, take_version

MAGIC = b"VAEA"
VERSION = 1
MAX_SAMPLES = 1 << 48
"""Of an array: more than fits any memory."""

_VARINT_BYTES = 9  # at most
_PREFIX_BYTES = len(MAGIC) + 1 + _VARINT_BYTES  # of a file, up to the end of the longest index length


@dataclass(frozen=True)
class ArraySpec:
    """An array of images: dtype `uint8`, `bool` or `uint16`, shape (N, H, W) or (N, H, W, C), none of them 0."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image's samples as groups have them: of 16 bits the high bytes of its channels, then the low bytes."""
        channels = self.shape[3] if len(self.shape) == 4 else 1
        return self.shape[1], self.shape[2], channels * self.item_bytes

    @property
    def item_bytes(self) -> int:
        """Bytes of an element."""
        return 2 if self.dtype == "uint16" else 1


@dataclass(frozen=True)
class Archive:
    """The index of a file: of the images of an array, or of files with their names.

    `names` are the paths of the files below their folder (see `bbans.formats.names`). `members` has the group of each file; files
    keep their order within a group. `source_bytes` is the size of the files that were packed, or of the array's elements.
    `links` are no images. `times` are those of the last change of the files, then of the links, in nanoseconds since 1970; empty
    where they are not kept.
    """

    array: ArraySpec | None
    names: tuple[str, ...]
    members: tuple[int, ...]
    source_bytes: int
    groups: tuple[Group, ...]
    links: tuple[Link, ...] = ()
    times: tuple[int, ...] = ()

    def __len__(self) -> int:
        """The number of images."""
        return self.array.shape[0] if self.array else len(self.names)

    def images_by_group(self) -> list[Sequence[int]]:
        """The images of each group, by their numbers in the archive, in order."""
        if self.array:
            return [range(len(self))]
        groups: list[list[int]] = [[] for _ in self.groups]
        for number, group in enumerate(self.members):
            groups[group].append(number)
        return [*groups]

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(group.size for group in self.groups)


@dataclass(frozen=True)
class Lost:
    """Images that cannot be had, by their numbers in the archive, and why."""

    images: Sequence[int]
    error: BbansError


Read = Callable[[int, int], bytes]
"""(offset, size) -> bytes of a file; fewer at its end."""


def pack_head(archive: Archive) -> bytes:
    """The bytes of an archive up to its first chunk. Inverse: `read_head`.

    Raises: ValueError: an archive that `read_head` would refuse.
    """
    fault = _fault(archive)
    if fault:
        raise ValueError(f"not a valid archive: {fault}")
    index = _pack_index(archive)
    head = MAGIC + bytes([VERSION]) + pack_varint(len(index)) + index
    return head + crc32(head)


def read_head(file: BinaryIO) -> tuple[Archive, int]:
    """The index of the archive that begins here, and the length of all before its first chunk. Inverse: `pack_head`.

    Reads little more than that, and takes memory in proportion to what is there, or to the limits of `bbans.formats.names`.

    Raises: FormatError: no archive. UnsupportedVersionError: a newer one. CorruptDataError: its index is damaged.
    """
    start = file.read(_PREFIX_BYTES)
    if not start.startswith(MAGIC):
        raise FormatError(f"not an archive of vaezip: {'it does not begin with VAEA' if start else 'it is empty'}")
    reader = ByteReader(start, "index")
    reader.take(len(MAGIC))
    take_version(reader, "archive version", VERSION)
    size = reader.varint()
    here = reader.position
    missing = here + size + CRC_BYTES - len(start)
    left = _left(file)
    if missing > left:  # before anything is allocated for it
        raise CorruptDataError(f"index: cut short, {len(start) + left - here} of {size + CRC_BYTES} bytes are here")
    start += file.read(max(missing, 0))
    head, crc = start[: here + size], start[here + size : here + size + CRC_BYTES]
    if crc32(head) != crc:
        raise CorruptDataError("index: its check failed")
    archive = _unpack_index(ByteReader(head[here:], "index"))
    fault = _fault(archive)
    if fault:
        raise CorruptDataError(f"index: {fault}")
    return archive, len(head) + CRC_BYTES


def _left(file: BinaryIO) -> int:
    """Bytes from here to the end of a file."""
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


def _pack_index(archive: Archive) -> bytes:
    return b"".join(
        [
            _pack_files(archive) if archive.array is None else _pack_array(archive.array),
            pack_varint(len(archive.groups)),
            *map(pack_group, archive.groups),
        ]
    )


def _unpack_index(index: ByteReader) -> Archive:
    kind = index.byte()
    if kind > 1:
        raise newer("kind of archive", kind)
    archive = _unpack_array(index) if kind else _unpack_files(index)
    groups = []
    for _ in range(index.varint()):  # a false count runs into the end of the index: nothing is allocated by it
        groups.append(unpack_group(index))
    if index.position != len(index.data):
        raise CorruptDataError(f"index: {len(index.data) - index.position} bytes more than its fields")
    return replace(archive, groups=tuple(groups))


_DTYPES = ("uint8", "bool", "uint16")


def _pack_array(array: ArraySpec) -> bytes:
    return bytes([1, _DTYPES.index(array.dtype), len(array.shape)]) + b"".join(map(pack_varint, array.shape))


def _unpack_array(index: ByteReader) -> Archive:
    """An archive without groups. Inverse: `_pack_array`."""
    dtype, axes = index.byte(), index.byte()
    if dtype >= len(_DTYPES):
        raise newer("type of array", dtype)
    if axes not in (3, 4):
        raise CorruptDataError(f"index: an array of {axes} axes")
    array = ArraySpec(_DTYPES[dtype], tuple(index.varint() for _ in range(axes)))
    return Archive(array, (), (), math.prod(array.shape) * array.item_bytes, ())


def _pack_files(archive: Archive) -> bytes:
    members = b"".join(map(pack_varint, archive.members)) if len(archive.groups) > 1 else b""
    names = (*archive.names, *(link.name for link in archive.links))
    counts = (archive.source_bytes, len(archive.names), len(archive.links))
    blobs = (pack_names(names), members, pack_targets(archive.links), pack_times(archive.times))
    return b"\0" + b"".join([*map(pack_varint, counts), *map(pack_blob, blobs)])


def _unpack_files(index: ByteReader) -> Archive:
    """An archive without groups. Inverse: `_pack_files`."""
    source_bytes, count, links = index.varint(), index.varint(), index.varint()
    names = unpack_names(unpack_blob(index, most_bytes(count + links)), count + links)
    members = ByteReader(unpack_blob(index, count * _VARINT_BYTES), "index: groups of files")
    groups = [members.varint() if members.data else 0 for _ in range(count)]
    if members.position != len(members.data):
        raise CorruptDataError("index: more groups of files than files")
    targets = unpack_targets(unpack_blob(index, most_target_bytes(links)), links)
    times = unpack_blob(index, most_time_bytes(count + links))
    return Archive(
        array=None,
        names=names[:count],
        members=tuple(groups),
        source_bytes=source_bytes,
        groups=(),
        links=tuple(map(Link, names[count:], targets)),
        times=unpack_times(times, count + links) if times else (),
    )


def _fault(archive: Archive) -> str | None:
    """What is wrong with the fields of an archive, or None: the same rules for writing and for reading."""
    array = archive.array
    rules = [
        (len(archive) > 0, "it holds no image"),
        (array is None or min(array.shape) > 0, "the array has no samples"),
        (array is None or math.prod(array.shape) <= MAX_SAMPLES, f"the array has more than {MAX_SAMPLES} samples"),
        (
            array is None or math.prod(array.image_shape) <= MAX_CHUNK_SAMPLES,
            f"an image of more than {MAX_CHUNK_SAMPLES} samples",
        ),
        (array is None or not (archive.names or archive.links or archive.times), "an array's images have no names"),
        (array is None or len(archive.groups) == 1, "an array's images are in more than one group"),
        (array is None or all(_fits(group, array) for group in archive.groups), "the images have another shape"),
        (len(archive.members) == len(archive.names), "not every file is in a group"),
        (len(archive.times) in (0, len(archive.names) + len(archive.links)), "not every file has a time"),
    ]
    faults = [fault for holds, fault in rules if not holds]
    faults += filter(None, (fault_of_group(group) for group in archive.groups))
    if not faults:
        counts = [0] * len(archive.groups)
        for member in archive.members:
            if member >= len(counts):
                return "a file is in a group that is not there"
            counts[member] += 1
        if [group.count for group in archive.groups] != (counts if array is None else [len(archive)]):
            return "the groups have more or fewer images than the archive"
    names = (*archive.names, *(link.name for link in archive.links))
    return next(iter(faults), None) or fault_of_names(names) or fault_of_links(archive.links) or fault_of_times(archive.times)


def _fits(group: Group, array: ArraySpec) -> bool:
    """Whether a group can hold the images of an array: by their samples, or each as a file of `bbans.api`."""
    return group.shape == array.image_shape or group.method == GroupMethod.VAEZ


def read_body(chunk: Chunk, offset: int, read: Read) -> bytes:
    """The bytes of the chunk that begins at an offset. Raises: CorruptDataError."""
    body = read(offset, chunk.size)
    if len(body) < chunk.size:
        raise CorruptDataError(f"the chunk is cut short, {len(body)} of {chunk.size} bytes are here")
    if crc32(body) != chunk.crc:
        raise CorruptDataError("the chunk is damaged: its check failed")
    return body


def damage(archive: Archive, offset: int, read: Read) -> list[Lost]:
    """The images of damaged chunks, of which the first begins at an offset. Reads all chunks and decodes none."""
    lost = []
    for group, images in zip(archive.groups, archive.images_by_group(), strict=True):
        for number, chunk in enumerate(group.chunks):
            try:
                read_body(chunk, offset, read)
            except CorruptDataError as error:
                start = number * group.chunk
                lost.append(Lost(images[start : start + group.images_in_chunk(number)], error))
            offset += chunk.size
    return lost
