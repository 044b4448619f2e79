"""The groups of an archive: how each is kept, and its header in the index, bytes <-> Group.

FORMAT.md, section 6.3. Knows nothing of pictures or models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

from bbans.accounting import Accounting
from bbans.errors import CorruptDataError
from bbans.formats.wire import (
    CHECK_BYTES,
    CRC_BYTES,
    ByteReader,
    is_name,
    newer,
    pack_accounting,
    pack_name,
    pack_varint,
    unpack_accounting,
    unpack_name,
)

MAX_CHUNK_SAMPLES = 1 << 30
"""H * W * C of all images of a chunk: the most that a file can make a decoder allocate at once."""


class GroupMethod(IntEnum):
    """How the images of a group are kept."""

    FILE = 0
    """Any files, each by LZMA."""
    VAEZ = 1
    """Pictures, or the images of an array, each as a file of `bbans.api`."""
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
    def how(self) -> str:
        """In words, such as `model mnist-1, top-down`."""
        if self.model is not None:
            return f"model {self.model.id}, {self.model.scheme}"
        return {GroupMethod.FILE: "kept", GroupMethod.VAEZ: "one by one"}.get(self.method, f"stored {self.method.name.lower()}")

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.size for chunk in self.chunks)


def pack_group(group: Group) -> bytes:
    fields = [bytes([group.method]), pack_varint(group.count), pack_varint(group.chunk)]
    if group.shape is not None:
        fields += [*map(pack_varint, group.shape), bytes([group.unit])]
    if _FIELDS[group.method].filter:
        fields.append(bytes([group.filter]))
    if group.model is not None:
        model = group.model
        fields += [pack_name(model.id), model.weights_hash, pack_name(model.scheme), pack_accounting(model.accounting)]
    return b"".join([*fields, *(pack_varint(chunk.size) + chunk.crc + chunk.check for chunk in group.chunks)])


def unpack_group(index: ByteReader) -> Group:
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


def fault_of_group(group: Group) -> str | None:
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
