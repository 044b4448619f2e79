"""The container: exact bytes, inverse, and a typed error for every flipped bit, cut and appended byte."""

import dataclasses
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbans.accounting import Accounting
from bbans.errors import CorruptDataError, FormatError, UnsupportedVersionError
from bbans.formats.container import Container, Mode, ModelHeader, Section, SectionKind, pack, unpack
from bbans.formats.wire import pack_varint

STORED = Container(
    mode=Mode.STORED,
    method=2,
    format="PNG",
    source_bytes=300,
    height=2,
    width=130,
    channels=1,
    bit_depth=8,
    content_check=bytes(range(8)),
    model=None,
    sections=(Section(SectionKind.METADATA, b"meta"), Section(SectionKind.PAYLOAD, b"payload")),
)
MODEL = dataclasses.replace(
    STORED,
    mode=Mode.MODEL,
    method=0,
    channels=3,
    model=ModelHeader("tiny-1", bytes(range(8, 16)), Accounting(1000, 20, 300, 0)),
    sections=(
        Section(SectionKind.MESSAGE, b"one"),
        Section(SectionKind.MESSAGE, b""),
        Section(SectionKind.MESSAGE, b"3"),
    ),
)
CHANGED = dataclasses.replace(
    MODEL, method=1, model=ModelHeader("tiny-1", bytes(range(8, 16)), Accounting(1000, 20, 300, 0, changes_bits=129))
)


def test_exact_bytes() -> None:
    """The layout of FORMAT.md, spelled out by hand."""
    header = bytes.fromhex("00 02 03504e47  ac02 02 8201 01 08  0001020304050607  02")
    header += b"\x01\x04" + zlib.crc32(b"meta").to_bytes(4, "little")
    header += b"\x02\x07" + zlib.crc32(b"payload").to_bytes(4, "little")
    head = b"VAEZ\x01" + bytes([len(header)]) + header
    assert pack(STORED) == head + zlib.crc32(head).to_bytes(4, "little") + b"meta" + b"payload"


def test_exact_bytes_of_the_model_fields() -> None:
    fields = b"\x06tiny-1" + bytes(range(8, 16)) + bytes.fromhex("e807 14 ac02 00") + b"\x03"
    assert fields in pack(MODEL)


def test_exact_bytes_where_there_are_changes() -> None:
    fields = b"\x06tiny-1" + bytes(range(8, 16)) + bytes.fromhex("e807 14 ac02 00 8101") + b"\x03"
    assert fields in pack(CHANGED)
    assert pack(CHANGED)[7] == 1


@pytest.mark.parametrize("container", [STORED, MODEL, CHANGED])
def test_inverse(container: Container) -> None:
    assert unpack(pack(container)) == container


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_inverse_of_any_messages(bodies: list[bytes], height: int, likelihood_bits: int) -> None:
    container = dataclasses.replace(
        MODEL,
        height=height,
        model=ModelHeader("m", bytes(8), Accounting(likelihood_bits, 0, 0, 1)),
        sections=tuple(Section(SectionKind.MESSAGE, body) for body in bodies),
    )
    assert unpack(pack(container)) == container


@pytest.mark.parametrize("container", [STORED, MODEL, CHANGED])
def test_every_flipped_bit_is_a_typed_error(container: Container) -> None:
    data = pack(container)
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(FormatError):
                unpack(bytes(damaged))


@pytest.mark.parametrize("container", [STORED, MODEL])
def test_every_cut_and_append_is_a_typed_error(container: Container) -> None:
    data = pack(container)
    for size in range(len(data)):
        with pytest.raises(FormatError):
            unpack(data[:size])
    with pytest.raises(CorruptDataError, match="1 bytes too many"):
        unpack(data + b"\0")


@given(st.binary(max_size=80))
def test_anything_after_the_magic_is_a_typed_error(rest: bytes) -> None:
    with pytest.raises(FormatError):
        unpack(b"VAEZ\x01" + rest)


def test_the_error_names_what_is_damaged() -> None:
    data = pack(STORED)
    with pytest.raises(CorruptDataError, match=r"section 2 of 2 \(payload\): its check failed"):
        unpack(data[:-1] + b"?")
    with pytest.raises(CorruptDataError, match=r"section 2 of 2 \(payload\): cut short, 6 of 7 bytes"):
        unpack(data[:-1])
    with pytest.raises(CorruptDataError, match="header: its check failed"):
        unpack(data.replace(b"VAEZ\x01", b"VAEZ\x01", 1).replace(bytes(range(8)), bytes(8)))


def test_foreign_and_newer_files() -> None:
    with pytest.raises(FormatError, match="not a vaezip file: it is empty"):
        unpack(b"")
    with pytest.raises(FormatError, match="not a vaezip file") as caught:
        unpack(b"\x89PNG\r\n\x1a\n")
    assert not isinstance(caught.value, CorruptDataError)
    with pytest.raises(UnsupportedVersionError, match="format version 2"):
        unpack(b"VAEZ\x02")
    with pytest.raises(CorruptDataError, match="version 0"):
        unpack(b"VAEZ\x00")


def _reseal(header: bytes) -> bytes:
    """A file with a header of our making and a check that fits it."""
    head = b"VAEZ\x01" + pack_varint(len(header)) + header
    return head + zlib.crc32(head).to_bytes(4, "little")


HEADER = bytes.fromhex("00 02 03504e47  ac02 02 8201 01 08  0001020304050607  01 02 00 00000000")


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        (b"", b"", None, ""),
        (HEADER[:1], b"\x02", UnsupportedVersionError, "mode 2 is of a newer"),
        (b"\x03PNG", b"\x03P\xe9G", CorruptDataError, "format's name"),
        (b"\x03PNG", b"\x00", CorruptDataError, "format's name"),
        (b"\x01\x02\x00\x00\x00\x00\x00", b"\x01\x09\x00\x00\x00\x00\x00", UnsupportedVersionError, "section kind 9"),
        (b"\xac\x02\x02", b"\xac\x02\x00", CorruptDataError, "no pixels"),
        (b"\xac\x02\x02", b"\xac\x02\x82\x00", CorruptDataError, "a number is not well formed"),
        (b"\xac\x02\x02", b"\xac\x02" + b"\xff" * 9, CorruptDataError, "a number is not well formed"),
        (b"\x01\x02\x00\x00\x00\x00\x00", b"\x01\x02\x00\x00\x00\x00\x00!", CorruptDataError, "1 bytes more"),
        (b"\x01\x02\x00\x00\x00\x00\x00", b"\xff\xff\xff\x7f\x02\x00\x00\x00\x00\x00", CorruptDataError, "cut short"),
        (b"\x01\x02\x00\x00\x00\x00\x00", b"\x00", CorruptDataError, "not exactly one payload"),
    ],
)
def test_well_sealed_nonsense(old: bytes, new: bytes, error: type[Exception] | None, match: str) -> None:
    """A check that fits does not make a header true: each field is looked at."""
    data = _reseal(HEADER.replace(old, new, 1))
    if error is None:
        assert unpack(data).height == 2
    else:
        with pytest.raises(error, match=match):
            unpack(data)


@pytest.mark.parametrize(
    "change",
    [
        {"height": 0},
        {"content_check": b"short"},
        {"mode": Mode.MODEL},
        {"sections": ()},
        {"sections": (*STORED.sections, STORED.sections[1])},
        {"sections": STORED.sections[::-1]},
        {"sections": (STORED.sections[0], *STORED.sections)},
        {"sections": (Section(SectionKind.METADATA, b""), STORED.sections[1])},
        {"format": "no such format"},
        {"width": -1},
        {"width": 1 << 63},
        {"model": MODEL.model},
    ],
)
def test_pack_refuses_what_unpack_would(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        pack(dataclasses.replace(STORED, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("model_id", ["", "x" * 65, "\u00dcber", "a b"])
def test_model_ids(model_id: str) -> None:
    assert MODEL.model is not None
    with pytest.raises(ValueError):
        pack(dataclasses.replace(MODEL, model=dataclasses.replace(MODEL.model, id=model_id)))
