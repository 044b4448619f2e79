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

>>> group = Group(GroupMethod.FILE, count=1, chunk=1, chunks=(Chunk(4, bytes(4), bytes(8)),))
>>> archive = Archive(array=None, names=("a/b.txt",), members=(0,), source_bytes=9, groups=(group,))
>>> read_head(io.BytesIO(pack_head(archive))) == (archive, len(pack_head(archive)))
True
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import BinaryIO

from bbans.accounting import Accounting
from bbans.errors import CorruptDataError, FormatError
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.names import fault_of_names, most_bytes, pack_names, unpack_names
from bbans.formats.wire import (
    CHECK_BYTES,
    CRC_BYTES,
    ByteReader,
    crc32,
    is_name,
    newer,
    pack_accounting,
    pack_name,
    pack_varint,
    take_version,
    unpack_accounting,
    unpack_name,
)

MAGIC = b"VAEA"
VERSION = 1
MAX_CHUNK_SAMPLES = 1 << 30
"""H * W * C of all images of a chunk: the most that a file can make a decoder allocate at once."""
MAX_SAMPLES = 1 << 48
"""Of an array: more than fits any memory."""

_VARINT_BYTES = 9  # at most
_PREFIX_BYTES = len(MAGIC) + 1 + _VARINT_BYTES  # of a file, up to the end of the longest index length


class GroupMethod(IntEnum):
    """How the images of a group are kept."""

    FILE = 0
    """Any files, each by LZMA."""
    VAEZ = 1
    """Pictures, each as a file of `bbans.api`."""
    LZMA = 2
    """Images of one shape, by LZMA."""
    MODEL = 3
    """Images of one shape, by a model for that shape."""


@dataclass(frozen=True)
class _Fields:
    """What the header of a group has besides its method and its counts."""

    samples: bool = False
    """The shape and the unit of its images. A group without them holds files, one in a chunk."""
    filter: bool = False
    model: bool = False
    check: bool = True
    """A digest of what each chunk decodes to."""


_FIELDS = {
    GroupMethod.FILE: _Fields(),
    GroupMethod.VAEZ: _Fields(check=False),
    GroupMethod.LZMA: _Fields(samples=True, filter=True),
    GroupMethod.MODEL: _Fields(samples=True, model=True),
}


class Filter(IntEnum):
    """What is done to samples before LZMA (FORMAT.md, 6.5)."""

    NONE = 0
    BITS = 1
    ROWS = 2


@dataclass(frozen=True)
class ArraySpec:
    """An array of images: dtype `uint8` or `bool`, shape (N, H, W) or (N, H, W, C), none of them 0."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)"""
        return self.shape[1], self.shape[2], self.shape[3] if len(self.shape) == 4 else 1


@dataclass(frozen=True)
class Chunk:
    """The size of a chunk's body, its CRC-32, and a digest of what it decodes to (none for VAEZ, whose files have their own)."""

    size: int
    crc: bytes
    check: bytes = b""


@dataclass(frozen=True)
class ModelInfo:
    """The model of a group: its id, the hash of its weights, the bits-back scheme, and where the bits of all chunks come from."""

    id: str
    weights_hash: bytes
    scheme: str
    accounting: Accounting


@dataclass(frozen=True)
class Group:
    """Images that are kept in one way. Each chunk holds `chunk` of them; the last may hold fewer.

    The images of LZMA and MODEL have one `shape` (H, W, C), and their samples are `unit` times the coded symbols.
    """

    method: GroupMethod
    count: int
    chunk: int
    chunks: tuple[Chunk, ...] = ()
    shape: tuple[int, int, int] | None = None
    unit: int = 1
    filter: Filter = Filter.NONE
    model: ModelInfo | None = None

    def images_in_chunk(self, number: int) -> int:
        """How many images chunk `number` holds."""
        return min(self.chunk, self.count - number * self.chunk)

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.size for chunk in self.chunks)


@dataclass(frozen=True)
class Archive:
    """The index of a file: of the images of an array, or of files with their names.

    `names` are the paths of the files below their folder (see `bbans.formats.names`). `members` has the group of each file; files
    keep their order within a group. `source_bytes` is the size of the files that were packed, or of the array's samples.
    """

    array: ArraySpec | None
    names: tuple[str, ...]
    members: tuple[int, ...]
    source_bytes: int
    groups: tuple[Group, ...]

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
            *map(_pack_group, archive.groups),
        ]
    )


def _unpack_index(index: ByteReader) -> Archive:
    kind = index.byte()
    if kind > 1:
        raise newer("kind of archive", kind)
    archive = _unpack_array(index) if kind else _unpack_files(index)
    groups = []
    for _ in range(index.varint()):  # a false count runs into the end of the index: nothing is allocated by it
        groups.append(_unpack_group(index))
    if index.position != len(index.data):
        raise CorruptDataError(f"index: {len(index.data) - index.position} bytes more than its fields")
    return replace(archive, groups=tuple(groups))


def _pack_array(array: ArraySpec) -> bytes:
    return bytes([1, array.dtype == "bool", len(array.shape)]) + b"".join(map(pack_varint, array.shape))


def _unpack_array(index: ByteReader) -> Archive:
    """An archive without groups. Inverse: `_pack_array`."""
    dtype, axes = index.byte(), index.byte()
    if dtype > 1:
        raise newer("type of array", dtype)
    if axes not in (3, 4):
        raise CorruptDataError(f"index: an array of {axes} axes")
    array = ArraySpec("bool" if dtype else "uint8", tuple(index.varint() for _ in range(axes)))
    return Archive(array, (), (), math.prod(array.shape), ())


def _pack_files(archive: Archive) -> bytes:
    members = b"".join(map(pack_varint, archive.members)) if len(archive.groups) > 1 else b""
    names = pack_blob(pack_names(archive.names)) + pack_blob(members)
    return b"\0" + pack_varint(archive.source_bytes) + pack_varint(len(archive.names)) + names


def _unpack_files(index: ByteReader) -> Archive:
    """An archive without groups. Inverse: `_pack_files`."""
    source_bytes, count = index.varint(), index.varint()
    names = unpack_names(unpack_blob(index, most_bytes(count)), count)
    members = ByteReader(unpack_blob(index, count * _VARINT_BYTES), "index: groups of files")
    groups = [members.varint() if members.data else 0 for _ in range(count)]
    if members.position != len(members.data):
        raise CorruptDataError("index: more groups of files than files")
    return Archive(None, names, tuple(groups), source_bytes, ())


def _pack_group(group: Group) -> bytes:
    fields = [bytes([group.method]), pack_varint(group.count), pack_varint(group.chunk)]
    if group.shape is not None:
        fields += [*map(pack_varint, group.shape), bytes([group.unit])]
    if _FIELDS[group.method].filter:
        fields.append(bytes([group.filter]))
    if group.model is not None:
        model = group.model
        fields += [pack_name(model.id), model.weights_hash, pack_name(model.scheme), pack_accounting(model.accounting)]
    return b"".join([*fields, *(pack_varint(chunk.size) + chunk.crc + chunk.check for chunk in group.chunks)])


def _unpack_group(index: ByteReader) -> Group:
    number = index.byte()
    if number not in GroupMethod.__members__.values():
        raise newer("method", number)
    group = Group(GroupMethod(number), index.varint(), index.varint())
    fields = _FIELDS[group.method]
    if fields.samples:
        group = replace(group, shape=(index.varint(), index.varint(), index.varint()), unit=index.byte())
    if fields.filter:
        number = index.byte()
        if number not in Filter.__members__.values():
            raise newer("filter", number)
        group = replace(group, filter=Filter(number))
    if fields.model:
        id, weights_hash, scheme = unpack_name(index), index.take(CHECK_BYTES), unpack_name(index)
        group = replace(group, model=ModelInfo(id, weights_hash, scheme, unpack_accounting(index)))
    if group.chunk == 0:
        raise CorruptDataError("index: chunks of no images")
    chunks = []
    for _ in range(-(-group.count // group.chunk)):  # as above
        size, crc = index.varint(), index.take(CRC_BYTES)
        chunks.append(Chunk(size, crc, index.take(CHECK_BYTES) if fields.check else b""))
    return replace(group, chunks=tuple(chunks))


def _fault(archive: Archive) -> str | None:
    """What is wrong with the fields of an archive, or None: the same rules for writing and for reading."""
    array = archive.array
    rules = [
        (len(archive) > 0, "it holds no image"),
        (array is None or min(array.shape) > 0, "the array has no samples"),
        (array is None or math.prod(array.shape) <= MAX_SAMPLES, f"the array has more than {MAX_SAMPLES} samples"),
        (array is None or not archive.names, "an array's images have no names"),
        (array is None or len(archive.groups) == 1, "an array's images are in more than one group"),
        (array is None or all(group.shape == array.image_shape for group in archive.groups), "the images have another shape"),
        (len(archive.members) == len(archive.names), "not every file is in a group"),
    ]
    faults = [fault for holds, fault in rules if not holds]
    faults += filter(None, (_fault_of_group(group) for group in archive.groups))
    if not faults:
        counts = [0] * len(archive.groups)
        for member in archive.members:
            if member >= len(counts):
                return "a file is in a group that is not there"
            counts[member] += 1
        if [group.count for group in archive.groups] != (counts if array is None else [len(archive)]):
            return "the groups have more or fewer images than the archive"
    return next(iter(faults), None) or fault_of_names(archive.names)


def _fault_of_group(group: Group) -> str | None:
    shape, model, fields = group.shape, group.model, _FIELDS[group.method]
    checks = (CRC_BYTES, CHECK_BYTES if fields.check else 0)
    rules = [
        (group.count > 0 and group.chunk > 0, "a group or its chunks are empty"),
        (len(group.chunks) == -(-group.count // max(group.chunk, 1)), "a group has more or fewer chunks than its images need"),
        (fields.samples or group.chunk == 1, "a chunk of more than one file"),
        ((shape is not None) == fields.samples, "shape and method of a group disagree"),
        (shape is None or min(shape) > 0, "images without samples"),
        (
            shape is None or min(group.chunk, group.count) * math.prod(shape) <= MAX_CHUNK_SAMPLES,
            f"a chunk of more than {MAX_CHUNK_SAMPLES} samples",
        ),
        (0 < group.unit < 256, "the unit of samples is not in 1..255"),
        ((model is not None) == fields.model, "model and method of a group disagree"),
        (model is None or (is_name(model.id) and is_name(model.scheme)), "the model's id or scheme is not a name"),
        (model is None or len(model.weights_hash) == CHECK_BYTES, f"the weight hash is not {CHECK_BYTES} bytes"),
        (all((len(chunk.crc), len(chunk.check)) == checks for chunk in group.chunks), "checks of wrong lengths"),
    ]
    return next((fault for holds, fault in rules if not holds), None)
