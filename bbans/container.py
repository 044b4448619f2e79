"""The file: bytes <-> Container.

::

    +------+---------+---------------+--------+--------------+-----------+-----------+--
    | VAEZ | version | header length | header | header CRC   | section 0 | section 1 | ...
    +------+---------+---------------+--------+--------------+-----------+-----------+--
       4        1         varint        ...       4 (LE)       lengths and CRCs are in the header

Everything before the bodies is covered by one CRC-32, every body by its own, and the header lists all bodies: so no
byte of a file is unchecked, and a body can be read (or found damaged) without the others. `FORMAT.md` is the
byte-level specification, and changes with this file. This module knows nothing of pictures or models: it imports
neither numpy, torch nor Pillow.

>>> container = Container(mode=Mode.STORED, method=0, format="PNG", source_bytes=5, height=1, width=1,
...                       channels=3, bit_depth=8, content_check=bytes(8), model=None,
...                       sections=(Section(SectionKind.PAYLOAD, b"hello"),))
>>> unpack(pack(container)) == container
True
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from enum import IntEnum

from bbans.errors import CorruptDataError, FormatError, UnsupportedVersionError

MAGIC = b"VAEZ"
VERSION = 1
CHECK_BYTES = 8
MAX_NAME_BYTES = 64

_VARINT_BYTES = 9  # 63 bits: any length or size fits a signed 64-bit integer
_CRC_BYTES = 4
_UPDATE = "install a newer one to read this file"
_NAME_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_")


class Mode(IntEnum):
    """How the pixels are kept."""

    STORED = 0
    MODEL = 1


class SectionKind(IntEnum):
    """What the body of a section is. Sections are sorted by kind; messages keep the order of the model."""

    METADATA = 1
    PAYLOAD = 2
    MESSAGE = 3


@dataclass(frozen=True)
class Section:
    """One body with its kind."""

    kind: SectionKind
    body: bytes


@dataclass(frozen=True)
class Accounting:
    """Where the bits of the messages come from, in whole bits.

    ``likelihood_bits`` is -log2 p(x|z), ``prior_bits`` -log2 p(z), ``posterior_bits`` -log2 q(z|x), which bits-back
    coding gives back, and ``initial_bits`` what had to be put on the message before latents could be popped.
    """

    likelihood_bits: int
    prior_bits: int
    posterior_bits: int
    initial_bits: int

    @property
    def net_bits(self) -> int:
        """Length of the messages as the model predicts it: likelihood + prior - posterior + initial bits."""
        return self.likelihood_bits + self.prior_bits - self.posterior_bits + self.initial_bits

    def __add__(self, other: Accounting) -> Accounting:
        """That of the messages of both."""
        return Accounting(
            likelihood_bits=self.likelihood_bits + other.likelihood_bits,
            prior_bits=self.prior_bits + other.prior_bits,
            posterior_bits=self.posterior_bits + other.posterior_bits,
            initial_bits=self.initial_bits + other.initial_bits,
        )


@dataclass(frozen=True)
class ModelHeader:
    """What a file in mode ``MODEL`` says of its model."""

    id: str
    weights_hash: bytes
    accounting: Accounting


@dataclass(frozen=True)
class Container:
    """A whole file. ``model`` is given exactly in mode ``MODEL``; ``method`` is 0 there.

    ``format`` names the picture file that comes back (as `bbans.image` does), ``source_bytes`` is the size of the file
    that was compressed, and ``content_check`` an 8-byte digest of what must come back (made by `bbans.api`).
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
        """Bodies of all sections of that kind, in the order of the file."""
        return [section.body for section in self.sections if section.kind == kind]


def pack(container: Container) -> bytes:
    """File bytes of a container.

    Raises: ValueError for a container that `unpack` would refuse (a mistake of the caller, not of the data).
    Inverse: `unpack`.
    """
    fault = _fault(container)
    if fault:
        raise ValueError(f"not a valid container: {fault}")
    header = _pack_header(container)
    head = MAGIC + bytes([VERSION]) + pack_varint(len(header)) + header
    return b"".join([head, crc32(head), *(section.body for section in container.sections)])


def unpack(data: bytes) -> Container:
    """Container of file bytes, every byte of which has been checked.

    Raises: FormatError (no vaezip file), UnsupportedVersionError (a newer one), CorruptDataError (damaged; the message
    names the section).
    Inverse: `pack`.
    """
    if not data.startswith(MAGIC):
        raise FormatError(f"not a vaezip file: {'it does not begin with VAEZ' if data else 'it is empty'}")
    reader = Reader(data, "header")
    reader.take(len(MAGIC))
    version = reader.byte()
    if version > VERSION:
        raise UnsupportedVersionError(f"format version {version}, but this vaezip reads only {VERSION}: {_UPDATE}")
    if version == 0:
        raise CorruptDataError("header: format version 0 does not exist")
    header = reader.take(reader.varint())
    head = reader.data[: reader.at]
    if reader.take(_CRC_BYTES) != crc32(head):
        raise CorruptDataError("header: its check failed")
    container, directory = _unpack_header(Reader(header, "header"))

    surplus = len(reader.data) - reader.at - sum(size for _, size, _ in directory)
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
            *(bytes([section.kind]) + pack_varint(len(section.body)) + crc32(section.body) for section in container.sections),
        ]
    )


def _unpack_header(header: Reader) -> tuple[Container, list[tuple[SectionKind, int, bytes]]]:
    """Container without sections, and the directory of its sections: (kind, bytes, check)."""
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
        model=_unpack_model(header) if mode == Mode.MODEL else None,
        sections=(),
    )
    directory = []
    for _ in range(header.varint()):  # a false count runs into the end of the header: nothing is allocated by it
        kind, size, crc = header.byte(), header.varint(), header.take(_CRC_BYTES)
        if kind not in SectionKind.__members__.values():
            raise newer("section kind", kind)
        directory.append((SectionKind(kind), size, crc))
    if header.at != len(header.data):
        raise CorruptDataError(f"header: {len(header.data) - header.at} bytes more than its fields")
    return container, directory


def _pack_model(model: ModelHeader) -> bytes:
    return pack_name(model.id) + model.weights_hash + pack_accounting(model.accounting)


def _unpack_model(header: Reader) -> ModelHeader:
    return ModelHeader(id=unpack_name(header), weights_hash=header.take(CHECK_BYTES), accounting=unpack_accounting(header))


def pack_accounting(bits: Accounting) -> bytes:
    """Four varints. Inverse: `unpack_accounting`."""
    counts = (bits.likelihood_bits, bits.prior_bits, bits.posterior_bits, bits.initial_bits)
    return b"".join(map(pack_varint, counts))


def unpack_accounting(header: Reader) -> Accounting:
    """Inverse: `pack_accounting`."""
    return Accounting(
        likelihood_bits=header.varint(),
        prior_bits=header.varint(),
        posterior_bits=header.varint(),
        initial_bits=header.varint(),
    )


def pack_name(name: str) -> bytes:
    """Its length and ASCII. Inverse: `unpack_name`."""
    return pack_varint(len(name)) + name.encode("ascii")


def unpack_name(header: Reader) -> str:
    """Inverse: `pack_name`."""
    # Latin-1 takes every byte, and keeps it: what a name may not have is found by `is_name`.
    return header.take(header.varint()).decode("latin-1")


def is_name(name: str) -> bool:
    """Whether a container can carry it as the name of a format or a model."""
    return 0 < len(name) <= MAX_NAME_BYTES and _NAME_CHARACTERS.issuperset(name.encode())


def _fault(container: Container) -> str | None:
    """What is wrong with the fields of a container, or None. One list of rules for both directions."""
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
        (model is None or container.method == 0, "a stored method in a file of a model"),
        (kinds == sorted(kinds), "the sections are out of order"),
        (kinds.count(SectionKind.METADATA) <= 1, "metadata twice"),
        (kinds.count(SectionKind.PAYLOAD) == (container.mode == Mode.STORED), "not exactly one payload"),
        ((SectionKind.MESSAGE in kinds) == (container.mode == Mode.MODEL), "messages and mode disagree"),
    ]
    return next((fault for holds, fault in rules if not holds), None)


def pack_varint(number: int) -> bytes:
    """Bytes of an integer in [0, 2**63): 7 bits a byte, low bits first, the high bit says that more follow."""
    if not 0 <= number < 1 << 7 * _VARINT_BYTES:
        raise ValueError(f"{number} is not in [0, 2**{7 * _VARINT_BYTES})")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class Reader:
    """Takes pieces of data from the front; nothing is copied before its length is known to be there.

    Every method raises CorruptDataError, with the `name` of what is read, when the data ends too early.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def take(self, size: int) -> bytes:
        left = len(self.data) - self.at
        if size > left:
            raise CorruptDataError(f"{self.name}: cut short, {left} of {size} bytes are here")
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        number = 0
        for position in range(_VARINT_BYTES):
            byte = self.byte()
            number |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                if byte == 0 and position > 0:
                    break  # one value, one spelling: else two different files would hold the same container
                return number
        raise CorruptDataError(f"{self.name}: a number is not well formed")


def crc32(data: bytes) -> bytes:
    """The CRC-32 of zlib, low byte first."""
    return zlib.crc32(data).to_bytes(_CRC_BYTES, "little")


def newer(name: str, value: int) -> UnsupportedVersionError:
    """What to raise for a value that this version does not know, in a header whose check holds."""
    return UnsupportedVersionError(f"{name} {value} is of a newer vaezip: {_UPDATE}")
