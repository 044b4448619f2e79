"""The parts that all our files share: varints, names, CRCs, and a reader that trusts no length.

>>> reader = ByteReader(pack_varint(300) + pack_name("mnist-1"), "header")
>>> reader.varint(), unpack_name(reader)
(300, 'mnist-1')
"""

from __future__ import annotations

import zlib

from bbans.accounting import Accounting
from bbans.errors import CorruptDataError, UnsupportedVersionError

CHECK_BYTES = 8
"""The size of a digest in a file, of weights or of the content."""
MAX_NAME_BYTES = 64
CRC_BYTES = 4

_VARINT_BYTES = 9  # 63 bits: any length or size fits a signed 64-bit integer
_UPDATE_ADVICE = "install a newer one to read this file"
_NAME_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_")


def pack_varint(number: int) -> bytes:
    """The bytes of an integer in [0, 2**63): 7 bits in each, low bits first; the high bit says that more follow.

    Inverse: `ByteReader.varint`. Raises: ValueError: out of range.
    """
    if not 0 <= number < 1 << 7 * _VARINT_BYTES:
        raise ValueError(f"{number} is not in [0, 2**{7 * _VARINT_BYTES})")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class ByteReader:
    """Reads bytes from the front, and allocates nothing that is not there.

    Every method raises CorruptDataError when the data ends too early; its message begins with `name`.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.position = data, name, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        left = len(self.data) - self.position
        if size > left:
            raise CorruptDataError(f"{self.name}: cut short, {left} of {size} bytes are here")
        self.position += size
        return self.data[self.position - size : self.position]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """The next integer. Inverse: `pack_varint`."""
        number = 0
        for place in range(_VARINT_BYTES):
            byte = self.byte()
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if byte == 0 and place > 0:
                    break  # each number has one spelling: else two different files would hold the same container
                return number
        raise CorruptDataError(f"{self.name}: a number is not well formed")


def crc32(data: bytes) -> bytes:
    """The CRC-32 of zlib, low byte first."""
    return zlib.crc32(data).to_bytes(CRC_BYTES, "little")


def take_version(reader: ByteReader, name: str, newest: int) -> None:
    """Read past a version number, which is between 1 and `newest`; the messages call it `name`.

    Raises: UnsupportedVersionError: a newer one. CorruptDataError: 0.
    """
    version = reader.byte()
    if version > newest:
        raise UnsupportedVersionError(f"{name} {version}, but this vaezip reads only {newest}: {_UPDATE_ADVICE}")
    if version == 0:
        raise CorruptDataError(f"{reader.name}: {name} 0 does not exist")


def newer(name: str, value: int) -> UnsupportedVersionError:
    """The error for a value that this version does not know, in a header whose check holds."""
    return UnsupportedVersionError(f"{name} {value} is of a newer vaezip: {_UPDATE_ADVICE}")


def pack_accounting(bits: Accounting) -> bytes:
    """Four varints, and a fifth where there are changes. Inverse: `unpack_accounting`."""
    counts = [bits.likelihood_bits, bits.prior_bits, bits.posterior_bits, bits.initial_bits]
    return b"".join(map(pack_varint, counts + [bits.changes_bits] * (bits.changes_bits > 0)))


def unpack_accounting(header: ByteReader, changes: bool = False) -> Accounting:
    """Inverse: `pack_accounting`. changes: whether there are some."""
    return Accounting(
        likelihood_bits=header.varint(),
        prior_bits=header.varint(),
        posterior_bits=header.varint(),
        initial_bits=header.varint(),
        changes_bits=header.varint() if changes else 0,
    )


def pack_name(name: str) -> bytes:
    """A name's length and its ASCII. Inverse: `unpack_name`."""
    return pack_varint(len(name)) + name.encode("ascii")


def unpack_name(header: ByteReader) -> str:
    """Inverse: `pack_name`."""
    # Latin-1 keeps every byte: `is_name` is there to reject what a name may not have.
    return header.take(header.varint()).decode("latin-1")


def is_name(name: str) -> bool:
    """Whether a file can carry this as the name of a format or a model."""
    return 0 < len(name) <= MAX_NAME_BYTES and _NAME_CHARACTERS.issuperset(name.encode())
