"""The file: bytes <-> Container.

::

    +------+---------+---------------+--------+--------------+-----------+-----------+--
    | VAEZ | version | header length | header | header CRC   | section 0 | section 1 | ...
    +------+---------+---------------+--------+--------------+-----------+-----------+--
       4        1         varint        ...       4 (LE)       lengths and CRCs are in the header

One CRC-32 covers everything before the bodies, and each body has its own. The header lists all bodies, so no byte of a file
is unchecked, and each body can be read, or rejected, without the others. `FORMAT.md` is the byte-level specification and
changes with this file. This module knows nothing of pictures or models: it imports neither numpy nor Pillow.

>>> container = Container(mode=Mode.STORED, method=0, format="PNG", source_bytes=5, height=1, width=1,
...                       channels=3, bit_depth=8, content_check=bytes(8), model=None,
...                       sections=(Section(SectionKind.PAYLOAD, b"hello"),))
>>> unpack(pack(container)) == container
True
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from bbans.accounting import Accounting
from bbans.errors import CorruptDataError, FormatError
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

MAGIC = b"VAEZ"
VERSION = 1


class Mode(IntEnum):
    """How the pixels are kept."""

    STORED = 0
    MODEL = 1


TO_THE_BYTE = frozenset({"BMP", "PBM", "PGM", "PPM", "PAM", "TGA", "TIFF", "NPY", "QOI"})
"""Formats in which samples and metadata make one file, the one that was compressed."""


class StoredMethod(IntEnum):
    """How a payload is stored. Of methods of equal size the first wins."""

    FILE = 0
    FILE_LZMA = 1
    WEBP = 2
    ROWS_LZMA = 3
    JXL = 4
    JPEG = 5

    @property
    def keeps_file(self) -> bool:
        """Whether the payload is the file, with whatever is in it; else it is samples, with the metadata beside it."""
        return self in (StoredMethod.FILE, StoredMethod.FILE_LZMA, StoredMethod.JPEG)


class SectionKind(IntEnum):
    """What a section holds. Sections are sorted by kind; messages keep the order of the model."""

    METADATA = 1
    PAYLOAD = 2
    MESSAGE = 3
    PACKED_METADATA = 4
    PNG_WRITING = 5
    CONVERSION = 6
    METADATA_BY_PROFILES = 7

    @property
    def is_metadata(self) -> bool:
        """Whether it is one of the ways to keep metadata, of which a file has one at most."""
        return self in (SectionKind.METADATA, SectionKind.PACKED_METADATA, SectionKind.METADATA_BY_PROFILES)


class ConversionNumber(IntEnum):
    """How a picture is made of the samples of a model: the first byte of a section. See `bbans.images.conversion`."""

    JFIF = 1
    WEBP = 2
    PHOTO_CD = 3
    GAPS = 4
    CHANNELS = 5
    ALPHA = 6


@dataclass(frozen=True)
class Section:
    """A body and its kind."""

    kind: SectionKind
    body: bytes


@dataclass(frozen=True)
class ModelHeader:
    """The model of a file in mode `MODEL`, and where its bits went."""

    id: str
    weights_hash: bytes
    accounting: Accounting


@dataclass(frozen=True)
class Container:
    """A whole file.

    Attributes:
        method: of storing; in mode `MODEL` 1 if there are changes of the networks, else 0.
        format: of the picture file that comes back, as `bbans.images.picture` names it.
        source_bytes: size of the file that was compressed.
        content_check: 8-byte digest of what must come back (`bbans.vaez.content_check`).
        model: in mode `MODEL` only.
    """

    mode: Mode
    method: int
    format: str
    source_bytes: int
    height: int
    width: int
    channels: int
    bit_depth: int
    content_check: bytes
    model: ModelHeader | None
    sections: tuple[Section, ...]

    def bodies(self, kind: SectionKind) -> list[bytes]:
        """The bodies of all sections of a kind, in the order of the file."""
        return [section.body for section in self.sections if section.kind == kind]


def pack(container: Container) -> bytes:
    """The bytes of a file. Inverse: `unpack`.

    Raises: ValueError: `unpack` would refuse the container (a mistake of the caller, not of the data).
    """
    fault = _fault(container)
    if fault:
        raise ValueError(f"not a valid container: {fault}")
    header = _pack_header(container)
    head = MAGIC + bytes([VERSION]) + pack_varint(len(header)) + header
    return b"".join([head, crc32(head), *(section.body for section in container.sections)])


def entry_bytes(section: Section) -> int:
    """What a section takes beside its body."""
    return len(_pack_entry(section))


def unpack(data: bytes) -> Container:
    """The container in a file, with every byte checked. Inverse: `pack`.

    Raises:
        FormatError: not a vaezip file.
        UnsupportedVersionError: of a newer version.
        CorruptDataError: damaged; the message names the section.
    """
    reader = ByteReader(data, "header")
    container, directory = _read_head(reader)
    surplus = len(reader.data) - reader.position - sum(size for _, size, _ in directory)
    if surplus > 0:
        raise CorruptDataError(f"{surplus} bytes too many after the last section")
    sections = []
    for number, (kind, size, crc) in enumerate(directory, 1):
        reader.name = f"section {number} of {len(directory)} ({kind.name.lower()})"
        body = reader.take(size)
        if crc32(body) != crc:
            raise CorruptDataError(f"{reader.name}: its check failed")
        sections.append(Section(kind, body))
    container = replace(container, sections=tuple(sections))
    fault = _fault(container)
    if fault:
        raise CorruptDataError(f"header: {fault}")
    return container


def unpack_damaged(data: bytes) -> tuple[Container, list[tuple[SectionKind, bytes | None]]]:
    """The container in a damaged file, without sections, and their kinds and bodies, None for each that is damaged or cut off.

    Raises: FormatError: not a vaezip file, of a newer version, or damaged in its header.
    """
    reader = ByteReader(data, "header")
    container, directory = _read_head(reader)
    start, bodies = reader.position, []
    for kind, size, crc in directory:
        body = data[start : start + size]
        start += size
        bodies.append((kind, body if len(body) == size and crc32(body) == crc else None))
    return container, bodies


def _read_head(reader: ByteReader) -> tuple[Container, list[tuple[SectionKind, int, bytes]]]:
    """Read a file up to its first section. As `_unpack_header`; raises FormatError as `unpack`."""
    data = reader.data
    if not data.startswith(MAGIC):
        raise FormatError(f"not a vaezip file: {'it does not begin with VAEZ' if data else 'it is empty'}")
    reader.take(len(MAGIC))
    take_version(reader, "format version", VERSION)
    header = reader.take(reader.varint())
    head = data[: reader.position]
    if reader.take(CRC_BYTES) != crc32(head):
        raise CorruptDataError("header: its check failed")
    return _unpack_header(ByteReader(header, "header"))


def _pack_header(container: Container) -> bytes:
    return b"".join(
        [
            bytes([container.mode, container.method]),
            pack_name(container.format),
            pack_varint(container.source_bytes),
            pack_varint(container.height),
            pack_varint(container.width),
            pack_varint(container.channels),
            pack_varint(container.bit_depth),
            container.content_check,
            b"" if container.model is None else _pack_model(container.model),
            pack_varint(len(container.sections)),
            *map(_pack_entry, container.sections),
        ]
    )


def _pack_entry(section: Section) -> bytes:
    return bytes([section.kind]) + pack_varint(len(section.body)) + crc32(section.body)


def _unpack_header(header: ByteReader) -> tuple[Container, list[tuple[SectionKind, int, bytes]]]:
    """The container without its sections, and their directory: (kind, size in bytes, check)."""
    mode, method = header.byte(), header.byte()
    if mode not in Mode.__members__.values():
        raise newer("mode", mode)
    container = Container(
        mode=Mode(mode),
        method=method,
        format=unpack_name(header),
        source_bytes=header.varint(),
        height=header.varint(),
        width=header.varint(),
        channels=header.varint(),
        bit_depth=header.varint(),
        content_check=header.take(CHECK_BYTES),
        model=_unpack_model(header, method == 1) if mode == Mode.MODEL else None,
        sections=(),
    )
    directory = []
    for _ in range(header.varint()):  # a false count allocates nothing: it runs into the end of the header
        kind, size, crc = header.byte(), header.varint(), header.take(CRC_BYTES)
        if kind not in SectionKind.__members__.values():
            raise newer("section kind", kind)
        directory.append((SectionKind(kind), size, crc))
    if header.position != len(header.data):
        raise CorruptDataError(f"header: {len(header.data) - header.position} bytes more than its fields")
    return container, directory


def _pack_model(model: ModelHeader) -> bytes:
    return pack_name(model.id) + model.weights_hash + pack_accounting(model.accounting)


def _unpack_model(header: ByteReader, changes: bool) -> ModelHeader:
    return ModelHeader(unpack_name(header), header.take(CHECK_BYTES), unpack_accounting(header, changes))


def _fault(container: Container) -> str | None:
    """What is wrong with a container, or None: one list of rules for both directions."""
    model = container.model
    kinds = [section.kind for section in container.sections]
    rules = [
        (container.height > 0 and container.width > 0, "the picture has no pixels"),
        (container.channels > 0 and container.bit_depth > 0, "the picture has no channels or no bits"),
        (is_name(container.format), "the format's name is not a name"),
        (len(container.content_check) == CHECK_BYTES, f"the content check is not {CHECK_BYTES} bytes"),
        ((model is not None) == (container.mode == Mode.MODEL), "mode and model disagree"),
        (model is None or is_name(model.id), "the model's id is not a name"),
        (model is None or len(model.weights_hash) == CHECK_BYTES, f"the weight hash is not {CHECK_BYTES} bytes"),
        (model is None or container.method in (0, 1), "a stored method in a file of a model"),
        (model is None or container.method == (model.accounting.changes_bits > 0), "its method and the bits of changes disagree"),
        (kinds == sorted(kinds), "the sections are out of order"),
        (sum(kind.is_metadata for kind in kinds) <= 1, "metadata twice"),
        (all(container.bodies(SectionKind.METADATA)), "metadata of no bytes"),
        (kinds.count(SectionKind.PNG_WRITING) <= 1, "two writings of a PNG"),
        (kinds.count(SectionKind.CONVERSION) <= 3 * (container.mode == Mode.MODEL), "a conversion too many"),
        (kinds.count(SectionKind.PAYLOAD) == (container.mode == Mode.STORED), "not exactly one payload"),
        ((SectionKind.MESSAGE in kinds) == (container.mode == Mode.MODEL), "messages and mode disagree"),
    ]
    return next((fault for holds, fault in rules if not holds), None)
