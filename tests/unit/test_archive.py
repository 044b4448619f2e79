"""The bytes of archives: every field there and back, every rule, every kind of damage to the index."""

import io
import os
import tracemalloc
from dataclasses import replace

import pytest

from bbans.accounting import Accounting
from bbans.errors import CorruptDataError, FormatError, UnsupportedVersionError
from bbans.formats import archive, names
from bbans.formats.archive import Archive, ArraySpec, pack_head, read_head
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.entries import MAX_TIME, Link
from bbans.formats.groups import Chunk, Filter, Group, GroupMethod, ModelInfo
from bbans.formats.names import MAX_PATH_BYTES, MAX_PATH_PARTS
from bbans.formats.wire import ByteReader, crc32, pack_varint

CHUNK = Chunk(7, b"crc!", b"checked!")
MODEL = ModelInfo("mnist-1", b"8 bytes.", "mcbits-50", Accounting(1000, 200, 100, 50))
CODED = Group(GroupMethod.MODEL, count=5, chunk=2, chunks=(CHUNK,) * 3, shape=(28, 28, 1), unit=255, model=MODEL)
PACKED = Group(GroupMethod.LZMA, count=5, chunk=9, chunks=(CHUNK,), shape=(4, 5, 3), filter=Filter.ROWS)
FILES = Group(GroupMethod.FILE, count=1, chunk=1, chunks=(CHUNK,))
PICTURES = Group(GroupMethod.VAEZ, count=2, chunk=1, chunks=(Chunk(0, b"crc1"), Chunk(1 << 40, b"crc2")))
ARRAY = Archive(ArraySpec("uint8", (5, 28, 28)), (), (), 5 * 28 * 28, (CODED,))
NAMES = ("a.png", "b/b.png", "b/c.txt", "b/\udcff\n.png", "β😀.png", "z z.png", "z z.png2", "z.png")
LINKS = (Link("b/\udcfe", "../z.png"), Link("to a folder", "./b/"), Link("z/z/dangling", ".././../no/such"))
TIMES = (0, 1, -1, 10**9, 1_700_000_000_123_456_789, -(10**9), -MAX_TIME, MAX_TIME - 1, 5, 5, 5)
#: An index of a file `a` and a link `b`, up to the targets.
ONE_AND_A_LINK = b"\x00\x00\x01\x01\x06\x06\x00a\0\x00b\0\x00\x00"
MIXED = Archive(None, NAMES, (0, 1, 2, 1, 0, 0, 0, 0), 12345, (CODED, PICTURES, FILES))


def read(data: bytes) -> Archive:
    found, size = read_head(io.BytesIO(data))
    assert size == len(data)
    return found


@pytest.mark.parametrize(
    "made",
    [
        ARRAY,
        replace(ARRAY, array=ArraySpec("bool", (5, 28, 28, 1))),
        Archive(ArraySpec("uint8", (5, 4, 5, 3)), (), (), 5 * 60, (PACKED,)),
        replace(
            ARRAY, array=ArraySpec("uint16", (5, 28, 14, 2)), groups=(replace(CODED, shape=(28, 14, 4)),), source_bytes=3920 * 2
        ),
        replace(ARRAY, array=ArraySpec("uint16", (2, 28, 14)), groups=(PICTURES,), source_bytes=784 * 2),
        MIXED,
        replace(MIXED, links=LINKS),
        replace(MIXED, times=TIMES[:8]),
        replace(MIXED, links=LINKS, times=TIMES),
        Archive(None, NAMES[:1], (0,), 0, (FILES,)),
    ],
)
def test_there_and_back(made: Archive) -> None:
    data = pack_head(made)
    assert read(data) == made
    assert pack_head(read(data)) == data


def test_bytes() -> None:
    """The format does not drift unseen."""
    index = (
        bytes.fromhex("01 00 03 05 1c 1c 01 03 05 02 1c 1c 01 ff 07")
        + b"mnist-18 bytes.\x09mcbits-50"
        + bytes.fromhex("e807 c801 64 32")
    )
    index += (b"\x07crc!checked!") * 3
    head = b"VAEA\x01" + bytes([len(index)]) + index
    assert pack_head(ARRAY) == head + crc32(head)


def test_names_that_follow_from_each_other_cost_little() -> None:
    names = tuple(f"folder/image_{number:05}.png" for number in range(10_000))
    group = replace(FILES, count=10_000, chunks=(Chunk(0, bytes(4), bytes(8)),) * 10_000)
    made = Archive(None, names, (0,) * 10_000, 0, (group,))
    data = pack_head(made)
    assert read(data) == made
    assert len(data) < 13 * 10_000 + 500


def test_where_images_are() -> None:
    assert len(ARRAY) == 5 and len(MIXED) == 8
    assert ARRAY.images_by_group() == [range(5)]
    assert MIXED.images_by_group() == [[0, 4, 5, 6, 7], [1, 3], [2]]
    assert [CODED.images_in_chunk(number) for number in range(3)] == [2, 2, 1]


@pytest.mark.parametrize("place", range(len(pack_head(MIXED))))
def test_a_flipped_byte(place: int) -> None:
    data = bytearray(pack_head(MIXED))
    for bit in (0, 7):
        data[place] ^= 1 << bit
        with pytest.raises(FormatError):
            read_head(io.BytesIO(data + bytes(1000)))
        data[place] ^= 1 << bit


def test_cut_short() -> None:
    data = pack_head(MIXED)
    for size in range(len(data)):
        with pytest.raises(FormatError):
            read_head(io.BytesIO(data[:size]))


def test_no_archive() -> None:
    with pytest.raises(FormatError, match="it is empty"):
        read_head(io.BytesIO())
    with pytest.raises(FormatError, match="does not begin with VAEA"):
        read_head(io.BytesIO(b"VAEZ\x01"))


def sealed(index: bytes, version: int = 1) -> io.BytesIO:
    head = b"VAEA" + bytes([version]) + pack_varint(len(index)) + index
    return io.BytesIO(head + crc32(head))


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"\x02", "kind of archive 2"),
        (b"\x01\x03\x03\x01\x01\x01\x00", "type of array 3"),
        (b"\x01\x00\x03\x01\x01\x01\x01\x04\x01\x01", "method 4"),
        (b"\x01\x00\x03\x01\x01\x01\x01\x02\x01\x01\x01\x01\x01\x01\x03", "filter 3"),
    ],
)
def test_of_a_newer_version(index: bytes, words: str) -> None:
    with pytest.raises(UnsupportedVersionError, match=words):
        read_head(sealed(index))


def test_versions() -> None:
    with pytest.raises(UnsupportedVersionError, match="archive version 2"):
        read_head(sealed(b"", version=2))
    with pytest.raises(CorruptDataError, match="version 0"):
        read_head(sealed(b"", version=0))


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"", "cut short"),
        (b"\x01\x00\x02\x05\x05\x00", "2 axes"),
        (b"\x01\x00\x03\x05\x05\x05" + pack_varint(1 << 60), "cut short"),
        (b"\x01\x00\x03\x05\x05\x05\x01\x02" + pack_varint(1 << 60) + b"\x01\x05\x05\x01\x01\x00", "cut short"),
        (b"\x01\x00\x03\x05\x05\x05\x01\x02\x05\x00\x05\x05\x01\x01\x00", "chunks of no images"),
        (b"\x01\x00\x03\x05\x05\x05\x00", "more than one group"),
        (b"\x00\x00" + pack_varint(1 << 60) + b"\x00\x02\x02\x00a\x00", "names together"),
        (b"\x00\x00\x02\x00\x04\x04\x00a\x00\x00", "do not follow"),
        (b"\x00\x00\x02\x01" + pack_varint(1 << 15) + b"\x05", "limit"),  # three names take at most 12 kB
        (b"\x00\x00\x03\x00\x02\x02\x00\x00", "without a name"),
        (b"\x00\x00\x01\x02\x05\x05\x00a\x00\x01\x00", "two files"),
        (b"\x00\x00\x01\x00\x03\x03\x05a\0\x00\x00\x00", "do not follow"),
        (b"\x00\x00\x01\x00\x02\x02\x00a\x00\x00\x00", "do not follow"),
        (b"\x00\x00\x01\x00\x06\x06\x00a\0\x00b\0\x00\x00\x00", "more names"),
        (bytes(13), "holds no image"),
        (b"\x00\x00\x01" + pack_varint(1 << 60) + b"\x00", "names together"),
        (b"\x00\x00\x01\x01\x06\x06\x00a\0\x00b\0\x00\x00" + pack_varint(1 << 15) + b"\x00", "limit"),  # one target, 4 kB
        (ONE_AND_A_LINK + b"\x01\x01a" + bytes(3), "fewer targets"),
        (ONE_AND_A_LINK + b"\x04\x04a\0b\0" + bytes(3), "more targets"),
        (ONE_AND_A_LINK + b"\x02\x02a\0" + b"\x1d\x1d" + bytes(30), "limit"),  # two times of 14 bytes
        (ONE_AND_A_LINK + b"\x02\x02a\0" + b"\x03\x03" + bytes(4), "cut short"),
        (ONE_AND_A_LINK + b"\x02\x02a\0" + b"\x05\x05" + bytes(6), "times are not well formed"),
        (ONE_AND_A_LINK + b"\x02\x02a\0" + b"\x08\x08\0\0\0" + pack_varint(10**9) + b"\0", "times are not well formed"),
        (pack_head(ARRAY)[6:-4] + b"\x00", "more than its fields"),
    ],
)
def test_an_index_that_cannot_be(index: bytes, words: str) -> None:
    """With a check that holds: nobody's accident, and still no crash, no hang and no memory."""
    with pytest.raises(CorruptDataError, match=words):
        read_head(sealed(index))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (replace(ARRAY, groups=()), "more than one group"),
        (replace(ARRAY, groups=(CODED, CODED)), "more than one group"),
        (replace(ARRAY, array=ArraySpec("uint8", (5, 28, 27))), "another shape"),
        (replace(ARRAY, array=ArraySpec("uint8", (6, 28, 28))), "more or fewer images"),
        (replace(ARRAY, array=ArraySpec("uint8", (0, 28, 28))), "holds no image"),
        (replace(ARRAY, array=ArraySpec("uint8", (1 << 60, 28, 28))), "more than"),
        (replace(ARRAY, groups=(replace(CODED, chunks=(CHUNK,) * 2),)), "chunks than its images"),
        (replace(ARRAY, array=ArraySpec("uint16", (5, 28, 28))), "another shape"),
        (replace(ARRAY, array=ArraySpec("uint8", (1, 2, 2)), groups=(FILES,)), "another shape"),
        (replace(MIXED, times=TIMES[:7]), "not every file has a time"),
        (replace(MIXED, times=(*TIMES[:7], MAX_TIME)), "34,000 years"),
        (replace(MIXED, links=(Link("a.png", "b"),)), "two files"),
        (replace(MIXED, links=(Link("b", "z.png"),)), "a file and a folder"),
        (replace(MIXED, links=(Link("l", "b"), Link("l/c", "d"))), "a file and a folder"),
        (replace(ARRAY, groups=(replace(CODED, unit=0),)), "unit"),
        (replace(ARRAY, groups=(replace(CODED, model=None),)), "model and method"),
        (replace(ARRAY, groups=(replace(CODED, model=replace(MODEL, id="")),)), "id or scheme"),
        (replace(ARRAY, groups=(replace(CODED, model=replace(MODEL, scheme="?")),)), "id or scheme"),
        (replace(ARRAY, groups=(replace(CODED, model=replace(MODEL, weights_hash=b"")),)), "weight hash"),
        (replace(ARRAY, groups=(replace(CODED, chunks=(CHUNK, CHUNK, Chunk(1, b"crc!"))),)), "wrong lengths"),
        (replace(ARRAY, groups=(replace(CODED, shape=None),)), "another shape"),
        (
            Archive(ArraySpec("uint8", (3, 1 << 15, 1 << 15)), (), (), 0, (replace(PACKED, count=3, shape=(1 << 15, 1 << 15, 1)),)),
            "samples",
        ),
        (Archive(ArraySpec("uint8", (2, 1 << 16, 1 << 15)), (), (), 0, (PICTURES,)), "an image of more than"),
        (replace(MIXED, members=(0,) * 7), "not every file"),
        (replace(MIXED, members=(0,) * 8), "more or fewer images"),
        (replace(MIXED, members=(0, 1, 3, 1, 0, 0, 0, 0)), "not there"),
        (Archive(None, ("a", "b"), (0, 0), 0, (replace(FILES, count=2, chunk=2),)), "more than one file"),
    ],
)
def test_rules(made: Archive, words: str) -> None:
    """For what is written and for what is read."""
    with pytest.raises(ValueError, match=words):
        pack_head(made)
    head = b"VAEA\x01" + pack_varint(len(index := archive._pack_index(made))) + index
    with pytest.raises(CorruptDataError):
        read_head(io.BytesIO(head + crc32(head)))


def test_images_of_an_array_have_no_names() -> None:
    for more in ({"names": ("a",)}, {"links": LINKS}, {"times": TIMES[:5]}):
        with pytest.raises(ValueError, match="no names"):
            pack_head(replace(ARRAY, **more))


@pytest.mark.parametrize(
    "names",
    [
        ("/a",),
        ("..",),
        ("../a",),
        ("a/../../b",),
        ("a//b",),
        ("a/",),
        (".",),
        ("./a",),
        ("",),
        ("a\0b",),
        ("a", "a"),
        ("a", "a/b"),
        ("a/b/c", "a/b"),
        ("a", "a.b", "a/b"),
        ("a" * (MAX_PATH_BYTES + 1),),
        ("a/" * MAX_PATH_PARTS + "a",),
        ("a/" * 20_000 + "a",),
    ],
    ids=lambda names: ",".join(names)[:20],
)
def test_names_that_lead_elsewhere(names: tuple[str, ...]) -> None:
    group = replace(FILES, count=len(names), chunks=(CHUNK,) * len(names))
    made = Archive(None, names, (0,) * len(names), 0, (group,))
    with pytest.raises(ValueError, match="not a valid archive"):
        pack_head(made)
    head = b"VAEA\x01" + pack_varint(len(index := archive._pack_index(made))) + index
    with pytest.raises(CorruptDataError):
        read_head(io.BytesIO(head + crc32(head)))


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("l", "/etc"),
        ("l", ".."),
        ("l", "../x"),
        ("l", "./../x"),
        ("a/l", "../../x"),
        ("a/b/l", "../.././../x"),
        ("l", "b/../../x"),
        ("l", "b/.."),  # where b is a link to c/d, this is c
        ("a/l", "../b/../c"),
        ("a/l", "b/.."),
        ("a/b/l", "../c/../d"),
        ("l", ""),
        ("l", "a\0b"),
        ("l", "a" * (MAX_PATH_BYTES + 1)),
    ],
    ids=lambda text: text[:10],
)
def test_links_that_lead_elsewhere(name: str, target: str) -> None:
    """Nobody writes them, and nobody takes them."""
    made = replace(MIXED, links=(Link(name, target),))
    with pytest.raises(ValueError, match="link"):
        pack_head(made)
    head = b"VAEA\x01" + pack_varint(len(index := archive._pack_index(made))) + index
    with pytest.raises(CorruptDataError, match="link|index"):
        read_head(io.BytesIO(head + crc32(head)))


def test_times_cost_little() -> None:
    """Of files that came one after the other, no more than what is below a second; of whole seconds, next to nothing."""
    made = Archive(
        None, tuple(f"{n:04}" for n in range(1000)), (0,) * 1000, 0, (replace(FILES, count=1000, chunks=(CHUNK,) * 1000),)
    )
    size = len(pack_head(made))
    seconds = tuple(1_700_000_000 * 10**9 + n // 9 * 10**9 for n in range(1000))
    below = tuple(time + n * 777_777_777 % 10**9 for n, time in enumerate(seconds))
    assert len(pack_head(replace(made, times=seconds))) < size + 200
    assert len(pack_head(replace(made, times=below))) < size + 5 * 1000 + 200


def test_long_names() -> None:
    names = ("a" * MAX_PATH_BYTES, "a/" * (MAX_PATH_PARTS - 1) + "b", "b", "b.c", "bc/d")
    group = replace(FILES, count=len(names), chunks=(CHUNK,) * len(names))
    made = Archive(None, names, (0,) * len(names), 0, (group,))
    assert read(pack_head(made)) == made


def test_names_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each repeats 4000 bytes of the one before it: the archive is small, its names are not."""
    monkeypatch.setattr(names, "MAX_NAMES_BYTES", limit := 1 << 22)
    count = 2 * limit // 4000
    listed = pack_varint(0) + b"a" * 4000 + b"\0" + (pack_varint(4000) + b"%d\0") * (count - 1) % (*range(1, count),)
    index = b"\0\0" + pack_varint(count) + b"\0" + pack_varint(len(listed)) * 2 + listed + pack_blob(b"") * 3 + b"\1"
    file = sealed(index + bytes([GroupMethod.LZMA]) + pack_varint(count) * 2 + b"\1\1\1\1\0\0crc!checked!")
    assert len(file.getvalue()) < 20_000
    tracemalloc.start()
    try:
        with pytest.raises(CorruptDataError, match="names together"):
            read_head(file)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * limit
    finally:
        tracemalloc.stop()


def test_names_that_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_NAMES_BYTES", sum(map(len, map(os.fsencode, NAMES))) + 64 * len(NAMES))
    pack_head(MIXED)
    monkeypatch.setattr(names, "MAX_NAMES_BYTES", names.MAX_NAMES_BYTES - 3)
    with pytest.raises(ValueError, match="names together"):
        pack_head(MIXED)


@pytest.mark.parametrize("data", [b"", b"a", b"no more than itself", b"again and again " * 50])
def test_blobs(data: bytes) -> None:
    packed = pack_blob(data)
    assert unpack_blob(ByteReader(packed, "blob"), len(data)) == data
    assert len(packed) <= len(data) + 2 + (len(data) > 127)
    with pytest.raises(CorruptDataError, match="limit"):
        unpack_blob(ByteReader(packed, "blob"), len(data) - 1)
    for size in range(len(packed)):
        with pytest.raises(CorruptDataError):
            unpack_blob(ByteReader(packed[:size], "blob"), len(data))
