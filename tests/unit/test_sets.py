"""Images to archives and back: every kind of input, access to one image, every kind of damage."""

import gzip
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bbans import api, sets
from bbans.accounting import Accounting, Encoded
from bbans.errors import BbansError, CorruptDataError, ModelError, ModelMissingError, UnsupportedImageError, VerifyError
from bbans.formats import archive, wire
from bbans.formats.groups import Filter, GroupMethod
from bbans.formats.words import spans
from bbans.images.picture import read_picture
from bbans.results import Restored
from bbans.sets import arrays, group, plan, writer
from bbans.sets.chunk import Wrapper, pack_samples, unpack_samples
from bbans.sets.lzma import LzmaCodec
from tests.fake_sets import FakeCodec, install

GRAY, BINARY = FakeCodec("gray-1"), FakeCodec("binary-1", symbols=2)


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, GRAY, BINARY, FakeCodec("rgb-1", shape=(4, 5, 3)))


def digits(count: int = 20, channels: int | None = None, seed: int = 0, high: int = 256) -> arrays.Images:
    shape = (count, 4, 5) if channels is None else (count, 4, 5, channels)
    return np.random.default_rng(seed).integers(0, high, shape, np.uint8)


def packed(source: str | Path | arrays.Images, **options: object) -> tuple[io.BytesIO, sets.Packed]:
    file = io.BytesIO()
    done = sets.pack(source, file, **options)  # type: ignore[arg-type]
    assert done.file_bytes == len(file.getvalue())
    return file, done


def png(pixels: arrays.Images, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every kind of file: pictures that models for sets take, others, and none."""
    folder = tmp_path / "set"
    (folder / "sub" / "deep").mkdir(parents=True)
    gray, rgb = digits(9, seed=1), digits(4, 3, seed=2)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(png(gray[number]))
        (folder / "sub" / f"rgb {number}.png").write_bytes(png(rgb[number]))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "kept")
    (folder / "β😀\n.png").write_bytes(png(gray[4], pnginfo=text, dpi=(300, 300)))
    (folder / "sub" / "deep" / "x.pgm").write_bytes(b"P5 5 4 255 " + gray[5].tobytes())
    (folder / "10.pgm").write_bytes(b"P5\n5 4\n255\n" + gray[6].tobytes())
    (folder / "1-bit.png").write_bytes(png(gray[7] > 127))
    (folder / "large.png").write_bytes(png(digits(1, seed=3).repeat(4, 1)[0]))
    Image.fromarray(rgb[0]).save(folder / "photo.jpg")
    Image.fromarray(rgb[0]).convert("RGBA").save(folder / "alpha.png")
    (folder / "labels.csv").write_text("0,1,2\n" * 50)
    (folder / "broken.png").write_bytes(png(gray[0])[:-5])
    (folder / "empty").write_bytes(b"")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_same(name: str, found: bytes, expected: bytes) -> None:
    """The same file, or for PNGs that were coded the same picture."""
    if found != expected:
        assert name.endswith(".png")
        assert read_picture(found, bilevel=True) == read_picture(expected, bilevel=True)


@pytest.mark.parametrize(
    "array",
    [
        digits(),
        digits(1),
        digits(7, 1),
        digits(7, 3),
        digits(high=2),
        digits(high=2) * 255,
        digits(high=2).astype(bool),
        digits(9, 1, high=2).astype(bool),
        digits(9, 3, high=2).astype(bool),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((3, 4, 5), bool),
        np.full((3, 4, 5), 255, np.uint8),
        digits(6, 4),
        digits(6, 3)[:, :, :, ::-1],
        digits(6)[::2],
        np.asfortranarray(digits(6, 3)),
        np.random.default_rng(0).integers(0, 256, (3, 7, 2, 13), np.uint8),
        np.random.default_rng(0).integers(0, 2, (3, 7, 3), np.uint8).astype(bool),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}-{array.max()}",
)
@pytest.mark.parametrize("chunk", [None, 1, 4, 1000])
def test_arrays(array: arrays.Images, chunk: int | None) -> None:
    file, done = packed(array, chunk=chunk)
    assert len(done.archive) == len(array)
    back = sets.ArchiveReader(file)
    images = back.array()
    assert images.dtype == array.dtype and images.flags.c_contiguous and images.flags.writeable
    np.testing.assert_array_equal(images, array)
    np.testing.assert_array_equal(back.array([len(array) - 1, 0, 0]), array[[-1, 0, 0]])
    assert back.damage() == [] and back.surplus_bytes == 0
    assert packed(array, chunk=chunk)[0].getvalue() == file.getvalue()


@pytest.mark.parametrize("suffix", ["npy", "npz", "npz:b", "idx", "idx.gz"])
def test_files_of_arrays(tmp_path: Path, suffix: str) -> None:
    array = digits()
    path = tmp_path / f"set.{suffix.partition(':')[0]}"
    idx = b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in array.shape) + array.tobytes()
    if suffix == "npy":
        np.save(path, array)
    elif suffix == "npz":
        np.savez_compressed(path, only=array)
    elif suffix == "npz:b":
        np.savez(path, a=array + 1, b=array)
    else:
        path.write_bytes(gzip.compress(idx) if suffix.endswith("gz") else idx)
    file, _ = packed(str(tmp_path / f"set.{suffix}"))
    np.testing.assert_array_equal(sets.ArchiveReader(file).array(), array)
    assert file.getvalue() == packed(array)[0].getvalue()


def test_what_is_no_array_of_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=digits(), b=digits())
    np.save(tmp_path / "floats.npy", digits().astype(np.float32))
    for source, words in [("two.npz", r"2 arrays \(a, b\).*FILE.npz:KEY"), ("floats.npy", "float32.*uint16 or bool")]:
        with pytest.raises(UnsupportedImageError, match=words):
            packed(str(tmp_path / source))
    with pytest.raises(FileNotFoundError):
        packed(tmp_path / "nowhere")
    for array in (digits().astype(np.int16), digits()[0], digits()[:0], digits().reshape(2, 2, 5, 4, 5)):
        with pytest.raises(UnsupportedImageError, match="uint16 or bool|its shape is"):
            packed(array)


@pytest.mark.parametrize("options", [{}, {"chunk": 2}, {"mode": "stored"}], ids=str)
def test_folder(folder: Path, options: dict[str, object]) -> None:
    expected = files_of(folder)
    file, done = packed(folder, **options)
    back = sets.ArchiveReader(file)
    assert list(back.archive.names) == sorted(expected, key=lambda name: name.encode())
    found = {back.archive.names[number]: data for number, data in back.files()}
    assert found.keys() == expected.keys()
    for name, data in found.items():
        assert isinstance(data, Restored)
        assert_same(name, data.data, expected[name])
    assert back.archive.source_bytes == sum(map(len, expected.values()))
    assert any("not pictures, kept as they are: broken.png, empty, labels.csv" in note for note in done.notes)
    assert packed(folder, **options)[0].getvalue() == file.getvalue()

    groups = {name: back.archive.groups[member] for name, member in zip(back.archive.names, back.archive.members, strict=True)}
    assert {groups[name].method for name in ("large.png", "photo.jpg", "alpha.png")} == {GroupMethod.VAEZ}
    assert {groups[name].method for name in ("labels.csv", "broken.png", "empty")} == {GroupMethod.FILE}
    if "mode" in options:
        assert len(back.archive.groups) == 2
    else:
        assert groups["0.png"] is groups["sub/deep/x.pgm"] is groups["10.pgm"] is groups["β😀\n.png"]
        assert groups["0.png"].shape == groups["1-bit.png"].shape == (4, 5, 1) and groups["sub/rgb 1.png"].shape == (4, 5, 3)
        assert groups["1-bit.png"] is not groups["0.png"]


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    name = b"\xff\xfe.png".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_bytes(png(digits(1)[0]))
    back = sets.ArchiveReader(packed(tmp_path)[0])
    assert back.archive.names == (name,)
    assert back.number(name) == 0 and read_picture(back[name].data) == read_picture(png(digits(1)[0]))


def test_folders_that_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError, match="no pictures in this folder"):
        packed(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnsupportedImageError, match="no pictures in this folder"):
        packed(tmp_path)
    (tmp_path / "text").write_text("no picture")
    with pytest.raises(UnsupportedImageError, match="no pictures in this folder"):
        packed(tmp_path, follow=True)
    (tmp_path / "a.png").write_bytes(png(digits(1)[0]))
    _, done = packed(tmp_path, follow=True)
    assert {"link is not a file: left out", "broken is not a file: left out"} <= set(done.notes)
    (tmp_path / "a.png").chmod(0)
    try:
        packed(tmp_path, follow=True)  # root may
    except PermissionError as error:
        assert "a.png cannot be read" in str(error)


def test_folders_too_deep(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(255):
        place = place / "a"
        place.mkdir()
    (place.parent / "b.png").write_bytes(png(digits(1)[0]))
    assert sets.ArchiveReader(packed(tmp_path)[0]).archive.names == ("a/" * 254 + "b.png",)
    (place / "b.png").write_bytes(png(digits(1)[0]))
    with pytest.raises(UnsupportedImageError, match="this folder cannot be packed: a name of 256 parts"):
        packed(tmp_path)


def test_what_else_a_picture_has(tmp_path: Path) -> None:
    """Formats and metadata, few and many, each with its own picture."""
    gray = digits(40, seed=5)
    for number in range(40):
        text = PngImagePlugin.PngInfo()
        text.add_text("Number", str(number % 7))
        name, data = f"{number:02}.png", png(gray[number], pnginfo=text)
        if number % 3 == 0:
            name, data = f"{number:02}.pgm", b"P5 5 4 # %d\n255 " % number + gray[number].tobytes()
        (tmp_path / name).write_bytes(data)
    expected = files_of(tmp_path)
    file, done = packed(tmp_path, chunk=16)
    assert [group.method for group in done.archive.groups] in ([GroupMethod.MODEL], [GroupMethod.LZMA])
    for number, data in sets.ArchiveReader(file).files():
        assert isinstance(data, Restored)
        assert_same(done.archive.names[number], data.data, expected[done.archive.names[number]])


def test_wrappers_of_other_pictures_with_checks_that_fit(tmp_path: Path) -> None:
    """The content check of a chunk covers formats and metadata."""
    for number, pixels in enumerate(digits(3)):
        (tmp_path / f"{number}.pgm").write_bytes(b"P5 5 4 # %d\n255\n" % number + pixels.tobytes())
    file, done = packed(tmp_path)
    [group] = done.archive.groups
    body = file.getvalue()[-group.size :]
    assert group.method in (GroupMethod.MODEL, GroupMethod.LZMA)
    wrappers, message = unpack_samples(body, 3)
    for changed in ([*wrappers[1:], wrappers[0]], [replace(wrapper, metadata=b"") for wrapper in wrappers]):
        other = pack_samples(changed, message)
        chunk = replace(group.chunks[0], size=len(other), crc=wire.crc32(other))
        made = archive.pack_head(replace(done.archive, groups=(replace(group, chunks=(chunk,)),))) + other
        for _, restored in sets.ArchiveReader(io.BytesIO(made)).files():
            assert isinstance(restored, CorruptDataError) and "content check" in str(restored)


def test_sizes_that_no_file_can_have(tmp_path: Path) -> None:
    """With checks that fit: the chunks after such a one begin beyond any address."""
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(b"text")
    (tmp_path / "a.pgm").write_bytes(b"P5 1 1 255\n0")
    file, done = packed(tmp_path)
    groups = [
        replace(group, chunks=tuple(replace(chunk, size=(1 << 63) - 1) for chunk in group.chunks)) for group in done.archive.groups
    ]
    made = archive.pack_head(replace(done.archive, groups=tuple(groups))) + file.getvalue()[-done.archive.size :]
    reader = sets.ArchiveReader(io.BytesIO(made))
    assert sum(len(lost.images) for lost in reader.damage()) == len(reader) == 4
    assert all(isinstance(restored, CorruptDataError) for _, restored in reader.files())


def test_bilevel_pictures(tmp_path: Path) -> None:
    """1-bit PNGs, and 8-bit ones of black and white alone, go to a binary model; one gray picture among them changes that."""
    bits = digits(30, seed=6, high=2)
    for number in range(10):
        (tmp_path / f"bits {number}.png").write_bytes(png(bits[number].astype(bool), bits=1))
        (tmp_path / f"bytes {number}.png").write_bytes(png(bits[10 + number] * 255))
    expected = files_of(tmp_path)
    file, done = packed(tmp_path, model="binary-1")
    assert [(group.model.id, group.unit, group.count) for group in done.archive.groups if group.model] == [
        ("binary-1", 1, 10),
        ("binary-1", 255, 10),
    ]
    for number, data in sets.ArchiveReader(file).files():
        assert isinstance(data, Restored)
        assert read_picture(data.data, bilevel=True) == read_picture(expected[done.archive.names[number]], bilevel=True)
    (tmp_path / "gray.png").write_bytes(png(digits(1)[0]))
    _, done = packed(tmp_path, model="binary-1")
    assert [(group.method, group.count) for group in done.archive.groups] == [(GroupMethod.MODEL, 10), (GroupMethod.LZMA, 11)]


@pytest.mark.parametrize(
    ("array", "model"),
    [
        (digits(high=2), "binary-1"),
        (digits(high=2) * 255, "binary-1"),
        (digits(high=2).astype(bool), "binary-1"),
        (digits(), "gray-1"),
        (digits(channels=3), "rgb-1"),
    ],
    ids=["0 and 1", "0 and 255", "bool", "gray", "rgb"],
)
def test_a_model_that_fits(array: arrays.Images, model: str) -> None:
    for options in ({}, {"model": model}):
        _, done = packed(array, **options)
        [group] = done.archive.groups
        assert group.model is None or group.model.id == model
        assert any(model in note and "LZMA" in note for note in done.notes) == (not options)
    assert group.model and group.model.accounting.net_bits == 8 * group.size
    assert group.model.weights_hash == GRAY.weights_hash and group.model.scheme == "fake"


def test_a_gray_model_for_binary_images_sees_them_as_they_are() -> None:
    file, done = packed(digits(high=2) * 255, model="gray-1")
    assert done.archive.groups[0].unit == 1
    np.testing.assert_array_equal(sets.ArchiveReader(file).array(), digits(high=2) * 255)


def test_the_smallest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCodec("wasteful", level=0), FakeCodec("good"), FakeCodec("other", shape=(4, 5, 3)))
    smooth = np.zeros((400, 4, 5), np.uint8)
    smooth[:, 1, :3] = np.arange(400)[:, None] // 20
    _, done = packed(smooth, chunk=400)
    assert any("good (fake)" in note and "wasteful (fake)" in note and "other" not in note for note in done.notes)
    [tried] = [note.split(": ")[1].split(", ") for note in done.notes if note.startswith("bits/dim of the first 256")]
    assert sorted(tried, key=lambda entry: float(entry.split()[-1])) == tried


@pytest.mark.parametrize(
    ("source", "model", "error", "words"),
    [
        (digits(channels=3), "gray-1", ModelError, "'gray-1' is for images of 4x5x1 samples of 256 values"),
        (digits(), "binary-1", ModelError, "of 2 values, not for these"),
        (digits(), "nothing", ModelMissingError, "no model 'nothing'"),
    ],
    ids=["shape", "values", "missing"],
)
def test_a_model_that_does_not_fit(source: arrays.Images, model: str, error: type[BbansError], words: str) -> None:
    with pytest.raises(error, match=words):
        packed(source, model=model)


def test_a_model_that_fits_no_picture(folder: Path) -> None:
    with pytest.raises(ModelError, match="not for these"):
        packed(folder, model=FakeCodec("far", shape=(9, 9, 1)))
    with pytest.raises(ValueError, match="stored"):
        packed(folder, model="gray-1", mode="stored")


def test_chunk_size() -> None:
    """By default the beginnings of chunks cost no more than their share; chunks are of about one length."""
    images = digits(3000, seed=7)
    _, done = packed(images, model=GRAY)
    [group] = done.archive.groups
    assert len(group.chunks) > 1 and min(group.images_in_chunk(number) for number in range(len(group.chunks))) > 0.9 * group.chunk
    begin_bits = len(group.chunks) * plan.ENTRY_BITS + (group.model.accounting.initial_bits if group.model else 0)
    assert 0.5 * plan.INITIAL_SHARE < begin_bits / (8 * done.file_bytes) <= plan.INITIAL_SHARE
    [note] = [note for note in done.notes if "in chunks of" in note]
    assert f"in chunks of {group.chunk}:" in note and f"--chunk {group.chunk // 4}" in note
    assert packed(images, model=GRAY, chunk=5000)[1].archive.groups[0].chunk == 3000


class CountingFile(io.BytesIO):
    """A file that notes which of its bytes are read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.reads.append((start, len(data)))
        return data


def test_one_image_reads_one_chunk() -> None:
    file, done = packed(digits(100), model=GRAY, chunk=10)
    counting = CountingFile(file.getvalue())
    back = sets.ArchiveReader(counting)
    GRAY.decoded.clear()
    np.testing.assert_array_equal(back.array([57]), digits(100)[57:58])
    assert GRAY.decoded == [10]
    chunks = done.archive.groups[0].chunks
    start = back.head_bytes + sum(chunk.size for chunk in chunks[:5])
    beyond = [read for read in counting.reads if sum(read) > back.head_bytes and read[0] >= back.head_bytes]
    assert beyond == [(start, chunks[5].size)]
    assert sum(size for at, size in counting.reads if at < back.head_bytes) <= back.head_bytes + chunks[0].size
    back.array([3, 57, 99, 5])  # and two others, as that one is kept
    assert GRAY.decoded == [10, 10, 10]


def test_one_picture_reads_one_chunk(folder: Path) -> None:
    file, done = packed(folder, chunk=2)
    counting = CountingFile(file.getvalue())
    back = sets.ArchiveReader(counting)
    for number, name in enumerate(back.archive.names):
        counting.reads.clear()
        [(found, data)] = back.files([back.number(name)])
        assert found == number and isinstance(data, Restored)
        assert_same(name, data.data, (folder / name).read_bytes())
        sizes = {chunk.size for chunk in done.archive.groups[back.archive.members[number]].chunks}
        assert len(counting.reads) <= 1 and {size for _, size in counting.reads} <= sizes


def test_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: chunks are coded and decoded some at a time, and the bytes are the same."""
    images = digits(100, seed=8)
    file, _ = packed(images, model=GRAY, chunk=7)
    monkeypatch.setattr(writer, "SPAN_SAMPLES", 20 * 7 * 3)
    monkeypatch.setattr(group, "SPAN_SAMPLES", 20 * 7 * 2)
    seen: list[tuple[str, int, int]] = []
    again, _ = packed(images, model=GRAY, chunk=7, progress=lambda *step: seen.append(step))
    assert again.getvalue() == file.getvalue()
    assert seen == [(what, start, 100) for start in range(0, 100, 21) for what in ("packing", "verifying")]
    GRAY.decoded.clear()
    calls: list[int] = []
    decode = FakeCodec.decode
    monkeypatch.setattr(
        FakeCodec, "decode", lambda self, messages, counts: calls.append(len(counts)) or decode(self, messages, counts)
    )
    np.testing.assert_array_equal(sets.ArchiveReader(file).array(), images)
    assert calls == [2] * 7 + [1]


def assert_good_images_come(data: bytes, expected: arrays.Images) -> list[sets.Lost] | None:
    """Each image comes right or not at all. The images that are lost; None for all."""
    try:
        back = sets.ArchiveReader(io.BytesIO(data))
        images, lost = back.recover()
    except BbansError:
        return None
    missing = {number for entry in lost for number in entry.images}
    assert images.shape == expected.shape and images.dtype == expected.dtype
    for number in range(len(expected)):
        assert np.array_equal(images[number], np.zeros_like(expected[0]) if number in missing else expected[number])
    if lost:
        with pytest.raises((CorruptDataError, ModelError)):
            back.array()
    return lost


@pytest.mark.parametrize("options", [{"model": GRAY}, {"mode": "stored"}], ids=["model", "stored"])
def test_a_flipped_byte(options: dict[str, object]) -> None:
    """In the index nothing comes; in a chunk all but its images do."""
    images = digits(9, seed=9)
    file, done = packed(images, chunk=3, **options)
    data = file.getvalue()
    head = len(data) - done.archive.size
    ends = np.cumsum([chunk.size for chunk in done.archive.groups[0].chunks])
    for place in range(len(data)):
        damaged = data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]
        lost = assert_good_images_come(damaged, images)
        if place < head:
            assert lost is None
        else:
            chunk = int(np.searchsorted(ends, place - head, "right"))
            assert lost and [list(entry.images) for entry in lost] == [[3 * chunk, 3 * chunk + 1, 3 * chunk + 2]]
            assert sets.ArchiveReader(io.BytesIO(damaged)).damage()[0].images == lost[0].images


def test_cut_and_appended() -> None:
    images = digits(9, seed=9)
    file, done = packed(images, chunk=3, model=GRAY)
    data = file.getvalue()
    head = len(data) - done.archive.size
    for size in range(len(data)):
        lost = assert_good_images_come(data[:size], images)
        assert (lost is None) == (size < head)
        if lost is not None:
            assert "cut short" in str(lost[-1].error) and list(lost[-1].images) == [6, 7, 8]
    longer = sets.ArchiveReader(io.BytesIO(data + b"more"))
    assert longer.surplus_bytes == 4
    np.testing.assert_array_equal(longer.array(), images)


def test_chunks_in_each_others_place() -> None:
    images = digits(9, seed=9)
    file, done = packed(images, chunk=3, model=GRAY)
    head, (first, second, third) = file.getvalue()[: -done.archive.size], done.archive.groups[0].chunks
    body = file.getvalue()[len(head) :]
    parts = [body[: first.size], body[first.size : -third.size], body[-third.size :]]
    lost = assert_good_images_come(head + parts[1] + parts[0] + parts[2], images)
    assert lost is not None and {number for entry in lost for number in entry.images} >= set(range(6))
    # With an index that says so as well, and whose check holds: each chunk decodes, to images that are not its own.
    group = replace(done.archive.groups[0], chunks=(replace(second, check=first.check), replace(first, check=second.check), third))
    head = archive.pack_head(replace(done.archive, groups=(group,)))
    lost = assert_good_images_come(head + parts[1] + parts[0] + parts[2], images)
    assert lost is not None and [list(entry.images) for entry in lost] == [[0, 1, 2], [3, 4, 5]]
    assert "content check" in str(lost[0].error)


def test_a_message_that_does_not_decode() -> None:
    """Its check holds: it is the codec that refuses it, and the other chunks come all the same."""
    images = digits(9, seed=9)
    file, done = packed(images, chunk=3, model=GRAY)
    data = bytearray(file.getvalue())
    first, second, third = done.archive.groups[0].chunks
    bad = b"?" * second.size
    group = replace(done.archive.groups[0], chunks=(first, replace(second, crc=wire.crc32(bad)), third))
    body = bytes(data[-done.archive.size :])
    made = archive.pack_head(replace(done.archive, groups=(group,))) + body[: first.size] + bad + body[-third.size :]
    lost = assert_good_images_come(made, images)
    assert lost is not None and [list(entry.images) for entry in lost] == [[3, 4, 5]]


def test_a_model_that_is_not_here(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Its images do not come, the others do."""
    rgb = FakeCodec("rgb-1", shape=(4, 5, 3))
    install(monkeypatch, FakeCodec("gray-2"), rgb)
    monkeypatch.setattr(LzmaCodec, "encode", lambda *_: Encoded([bytes(9999)], Accounting(0, 0, 0, 0)))
    file, done = packed(folder)
    assert {group.model.id for group in done.archive.groups if group.model} == {"gray-2", "rgb-1"}
    install(monkeypatch, rgb)
    lost = {
        done.archive.names[number]: found for number, found in sets.ArchiveReader(file).files() if isinstance(found, BbansError)
    }
    assert set(lost) >= {"0.png", "1.png", "2.png", "3.png", "10.pgm"} and not any("rgb" in name for name in lost)
    assert all(isinstance(error, ModelMissingError) for error in lost.values())

    given = FakeCodec("gray-1", weights_hash=b"others!!")
    array, _ = packed(digits(), model=GRAY)
    for model in (given, replace(GRAY, scheme="another")):
        with pytest.raises(ModelError, match="it needs the model 'gray-1'"):
            sets.ArchiveReader(array, model=model).array()
    np.testing.assert_array_equal(sets.ArchiveReader(array, model=GRAY).array(), digits())


def test_damage_in_a_folder(folder: Path) -> None:
    """Each file comes right or not at all, whichever byte is flipped."""
    for name in ("large.png", "photo.jpg", "alpha.png", "sub/rgb 2.png", "sub/rgb 3.png"):
        (folder / name).unlink()
    expected = files_of(folder)
    file, done = packed(folder, chunk=3, mode="auto")
    data = file.getvalue()
    head = len(data) - done.archive.size
    for place in range(head, len(data), 3):
        back = sets.ArchiveReader(io.BytesIO(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]))
        lost = 0
        for number, found in back.files():
            if isinstance(found, BbansError):
                assert isinstance(found, CorruptDataError)
                lost += 1
            else:
                assert_same(back.archive.names[number], found.data, expected[back.archive.names[number]])
        assert 1 <= lost <= 3 and sum(len(entry.images) for entry in back.damage()) == lost


def test_pictures_by_the_photo_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_png: bytes) -> None:
    monkeypatch.setattr(api, "CLEARLY_SMALLER", 1000)
    monkeypatch.setattr(api, "SMALL_PX", 0)
    (tmp_path / "a.png").write_bytes(tiny_png)
    file, done = packed(tmp_path)
    assert api.inspect(file.getvalue()[-done.archive.size :]).model == "photo-0"
    [(_, found)] = sets.ArchiveReader(file).files()
    assert isinstance(found, Restored) and read_picture(found.data) == read_picture(tiny_png)


@pytest.mark.parametrize("fault", ["another", "refuses"])
def test_verification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str) -> None:
    class Faulty(FakeCodec):
        def decode(self, messages: object, counts: object) -> arrays.Images:
            if fault == "refuses":
                raise CorruptDataError("no message")
            return digits(seed=99)

    with pytest.raises(VerifyError, match="other images" if fault == "another" else "cannot be unpacked: no message"):
        packed(digits(), model=Faulty())
    packed(digits(), model=Faulty(), verify=False)
    (tmp_path / "a.png").write_bytes(png(digits(1)[0]))
    monkeypatch.setattr(api, "compress", lambda *_, **__: (_ for _ in ()).throw(VerifyError("another picture")))
    with pytest.raises(VerifyError, match="a.png: another picture"):
        packed(tmp_path, mode="stored")


@pytest.mark.parametrize("kind", list(Filter))
@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (2, 1, 1, 1), (5, 3, 7, 3), (2, 4, 3, 5)], ids=str)
def test_filters(kind: Filter, shape: tuple[int, int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 2 if kind == Filter.BITS else 256, shape, np.uint8)
    codec = LzmaCodec(shape[1:], kind)
    for chunk in (1, 2, shape[0]):
        messages = codec.encode(images, chunk).messages
        counts = [len(images[start : start + chunk]) for start in range(0, shape[0], chunk)]
        np.testing.assert_array_equal(codec.decode(messages, counts), images)
    for counts in ([shape[0] + 1], [shape[0] - 1]):
        with pytest.raises(CorruptDataError):
            codec.decode(messages, counts)


def test_samples_that_no_bool_has() -> None:
    """A file that claims bool for samples beyond 1 gives no array at all."""
    images = digits(3, seed=4)
    file, done = packed(images, mode="stored")
    made = replace(done.archive, array=replace(done.archive.array, dtype="bool"))
    data = archive.pack_head(made) + file.getvalue()[-done.archive.size :]
    with pytest.raises(CorruptDataError, match="0 or 1"):
        sets.ArchiveReader(io.BytesIO(data)).array()


def test_wrappers() -> None:
    wrappers = [Wrapper("PNG", b""), Wrapper("PNG", b"meta"), Wrapper("PGM", b""), Wrapper("PNG", b"")]
    for some in (wrappers, wrappers[:1], wrappers * 50):
        body = pack_samples(some, b"message")
        assert unpack_samples(body, len(some)) == (some, b"message")
        for size in range(len(body) - len(b"message")):
            with pytest.raises(CorruptDataError):
                unpack_samples(body[:size], len(some))
    with pytest.raises(CorruptDataError):
        unpack_samples(pack_samples(wrappers, b""), 3)
    assert unpack_samples(b"message", 0) == ([], b"message") == (unpack_samples(pack_samples([], b"message"), 0))


def test_images_that_are_not_there(folder: Path) -> None:
    pictures, array = sets.ArchiveReader(packed(folder)[0]), sets.ArchiveReader(packed(digits())[0])
    np.testing.assert_array_equal(array.array([-1, -20, 19]), digits()[[-1, -20, 19]])
    assert [number for number, _ in pictures.files([-1])] == [len(pictures) - 1]
    for number in (20, 99, -21):
        with pytest.raises(IndexError, match=f"no image {number} among 20"):
            array.array([0, number])
        with pytest.raises(IndexError, match="no image"):
            array.recover([number])
        with pytest.raises(IndexError, match="no image"):
            list(pictures.files([number]))


def test_wrong_kind_of_archive(folder: Path) -> None:
    pictures, array = sets.ArchiveReader(packed(folder)[0]), sets.ArchiveReader(packed(digits())[0])
    with pytest.raises(ValueError, match="no array"):
        pictures.array()
    with pytest.raises(ValueError, match="no files"):
        array.files()
    for name in ("0", "x", "-1", ""):
        with pytest.raises(KeyError):
            array.number(name)
        with pytest.raises(KeyError):
            pictures[name]
    assert pictures.number("sub/rgb 0.png") == pictures.archive.names.index("sub/rgb 0.png")


@pytest.mark.parametrize(("numbers", "text"), [([3], "image 3"), ([0, 1, 2, 7], "images 0-2, 7"), ([5, 4], "images 4-5")])
def test_spans_in_words(numbers: list[int], text: str) -> None:
    assert spans(numbers) == text
