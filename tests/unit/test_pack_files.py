"""What archives keep of files beside their contents: links and times; tars in and out; and arrays of uint16 and of large images."""

import gzip
import io
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbans import sets
from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats.archive import pack_head
from bbans.formats.entries import SECOND, Link
from bbans.formats.groups import GroupMethod
from bbans.sets import tar
from bbans.sets.listing import Listing

TIME = 1_700_000_000_123_456_789


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files and links of odd names, each with a time of its own."""
    folder = tmp_path / "in"
    (folder / "sub" / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "sub/b b.png", "sub/deep/\u03b2.png"):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(folder / name)
    wide = np.arange(7 * 9, dtype=np.uint16).reshape(7, 9) * 900
    Image.fromarray(wide).save(folder / "16 bits.png")
    (folder / os.fsdecode(b"sub/\xff.txt")).write_bytes(b"no picture")
    for name, target in {"first": "a.png", "sub/up": "../a.png", "to sub": "sub/", "gone": "no/such/file"}.items():
        (folder / name).symlink_to(target)
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if path.is_symlink() or path.is_file():
            time = (TIME, 0, -5 * SECOND - 1, TIME - TIME % SECOND)[number % 4] + number * SECOND
            os.utime(path, ns=(time, time), follow_symlinks=False)
    return folder


def state(folder: Path) -> dict[str, tuple[str | bytes, int]]:
    """What a link holds or a file has in it, and its time, by name."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = os.readlink(path), path.lstat().st_mtime_ns
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes(), path.stat().st_mtime_ns
    return found


def packed(source: object, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    sets.pack(source, file, mode="stored", **options)
    return file


def kept(file: io.BytesIO) -> dict[str, tuple[str | bytes, int]]:
    """As `state`, of an archive."""
    reader = sets.ArchiveReader(file)
    times = iter(reader.times)
    files = {name: (reader[name].data, next(times)) for name in reader.names}
    return files | {link.name: (link.target, next(times)) for link in reader.links}


def test_a_folder(folder: Path) -> None:
    assert kept(packed(folder)) == state(folder)
    assert packed(folder).getvalue() == packed(folder).getvalue()


def test_without_times(folder: Path) -> None:
    file = packed(folder, times=False)
    assert sets.ArchiveReader(file).times == ()
    os.utime(folder / "a.png")
    assert packed(folder, times=False).getvalue() == file.getvalue() != packed(folder).getvalue()


def test_what_links_lead_to(folder: Path) -> None:
    (folder / "gone").unlink()
    (folder / "outside").symlink_to(folder.parent / "x.txt")
    (folder.parent / "x.txt").write_text("elsewhere")
    with pytest.raises(UnsupportedImageError, match=r"cannot be packed: 'outside' is a link to '/.*x.txt', outside of the folder"):
        packed(folder)
    file = packed(folder, follow=True)
    reader = sets.ArchiveReader(file)
    assert reader.links == () and reader["outside"].data == b"elsewhere" and reader["sub/up"].data == reader["a.png"].data


def test_a_folder_of_links_alone(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    with pytest.raises(UnsupportedImageError, match="no pictures"):
        packed(tmp_path)


@pytest.mark.parametrize("squeezed", [False, True])
def test_a_tar_there_and_back(folder: Path, tmp_path: Path, squeezed: bool) -> None:
    """By the tar of the system, in both directions."""
    made = subprocess.run(["tar", "c", "--format=pax", "-C", folder, "."], capture_output=True, check=True).stdout
    (tmp_path / "a.tar").write_bytes(gzip.compress(made) if squeezed else made)
    for source in (tmp_path / "a.tar", io.BytesIO((tmp_path / "a.tar").read_bytes())):
        file = packed(source)
        assert kept(file) == state(folder)
    reader, stream = sets.ArchiveReader(file), io.BytesIO()
    with tar.open_tar(stream) as made_again:
        for name, time in zip(reader.names, reader.times, strict=False):
            tar.add_file(made_again, name, reader[name].data, time)
        for link, time in zip(reader.links, reader.times[len(reader) :], strict=True):
            tar.add_link(made_again, link, time)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "x", "-C", tmp_path / "out"], input=stream.getvalue(), check=True)
    assert state(tmp_path / "out") == state(folder)


def stream(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for member, data in members:
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **more: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    for key, value in more.items():
        setattr(made, key, value)
    return made


PPM = b"P6 1 1 255 abc"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([(member("../a.ppm"), PPM)], "no name of a file below a folder"),
        ([(member("/a.ppm"), PPM)], "no name of a file below a folder"),
        ([(member("l", tarfile.SYMTYPE, "/etc"), b""), (member("l/passwd"), PPM)], "a file and a folder"),
        ([(member("a.ppm"), PPM), (member("l", tarfile.SYMTYPE, ".."), b"")], "'l' is a link to '..', outside of the folder"),
        ([(member("a.ppm"), PPM), (member("b", tarfile.LNKTYPE, "/etc/passwd"), b"")], "which is not there"),
        ([(member("d", tarfile.DIRTYPE), b"")], "no pictures in this tar"),
    ],
)
def test_tars_that_are_refused(members: list[tuple[tarfile.TarInfo, bytes]], words: str) -> None:
    with pytest.raises(UnsupportedImageError, match=words):
        packed(io.BytesIO(stream(*members)))


def test_members_that_come_twice_or_are_no_files(tmp_path: Path) -> None:
    """The last one counts, hard links are files, times of any text are read, and nothing touches the disk by its name."""
    far = member("far.ppm", pax_headers={"mtime": "1e99999999"})
    made = stream(
        (member("a.ppm"), b"P6 1 1 255 old"),
        (member("./a.ppm"), PPM),
        (member("hard.ppm", tarfile.LNKTYPE, "a.ppm"), b""),
        (member("l", tarfile.SYMTYPE, "x"), b""),
        (member("l"), PPM),
        (member("pipe", tarfile.FIFOTYPE), b""),
        (far, PPM),
    )
    listing = tar.read_tar(io.BytesIO(made), tmp_path)
    assert sorted(listing.files) == ["a.ppm", "far.ppm", "hard.ppm", "l"] and not listing.links
    assert {path.read_bytes() for path, _ in listing.files.values()} == {PPM}
    assert listing.notes == ["pipe is not a file: left out"] and listing.files["far.ppm"][1] == 0
    assert all(path.name.isdecimal() for path in tmp_path.iterdir())


def test_a_tar_that_is_cut_short() -> None:
    made = stream((member("a.ppm"), PPM), (member("b.ppm"), PPM), (member("c.ppm"), PPM))
    end = 3 * 1024
    for whole in (made, gzip.compress(made)):
        packed(io.BytesIO(whole))
        for size in [*range(600, end, 211), 1024, 2048, end] if whole is made else [len(whole) - 9]:
            with pytest.raises(UnsupportedImageError, match="a damaged tar"):
                packed(io.BytesIO(whole[:size]))


def test_what_is_a_tar() -> None:
    assert tar.is_tar(io.BytesIO(stream((member("a"), b""))))
    for other in (b"", bytes(2000), b"\x93NUMPY" + bytes(600), gzip.compress(bytes(600)), gzip.compress(b"x" * 600)[:-4], b"BZh9"):
        assert not tar.is_tar(io.BytesIO(other))


def test_times_beyond_reason_are_the_nearest() -> None:
    listing = Listing("x", {"a": (Path(), 1 << 99)}, {"b": ("c", -(1 << 99))})
    assert listing.times == [(SECOND << 40) - 1, -(SECOND << 40)] and listing.link_list == [Link("b", "c")]


WIDE = (np.arange(6 * 5 * 4 * 2, dtype=np.uint32).reshape(6, 5, 4, 2) * 541 % 65536).astype(np.uint16)


@pytest.mark.parametrize("array", [WIDE, WIDE[..., 0], WIDE.astype(">u2"), np.asfortranarray(WIDE), WIDE * 0, WIDE % 2])
def test_arrays_of_16_bits(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    for source in (array, tmp_path / "a.npy"):
        reader = sets.ArchiveReader(packed(source, chunk=4))
        assert reader.archive.source_bytes == array.nbytes
        back = reader.array()
        assert back.dtype == np.uint16 and back.shape == array.shape and np.array_equal(back, array)
        assert np.array_equal(reader[3], array[3]) and np.array_equal(reader[1:5:2], array[1:5:2])
        assert all(np.array_equal(image, own) for image, own in zip(reader, array, strict=True))


def photos(height: int, width: int, *channels: int) -> np.ndarray:
    """Two smooth images with grain, which LZMA finds hard."""
    y, x = np.mgrid[:height, :width]
    base = 90 + 60 * np.sin(x / 9) + 40 * np.cos(y / 13)
    grain = np.random.default_rng(1).normal(size=(2, height, width, *channels)) * 3
    return np.clip(base.reshape(1, height, width, *(1 for _ in channels)) + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(40, 36, 3), (64, 64)])
def test_larger_images_of_an_array_go_one_by_one(shape: tuple[int, ...]) -> None:
    array = photos(*shape)
    seen = []
    file = packed(array, progress=lambda *step: seen.append(step))
    assert seen == [(what, number, 2) for number in range(2) for what in ("packing", "verifying")]
    reader = sets.ArchiveReader(file)
    assert [(group.method, group.chunk) for group in reader.archive.groups] == [(GroupMethod.VAEZ, 1)]
    assert np.array_equal(reader.array(), array) and np.array_equal(reader[1], array[1])
    together = packed(array, chunk=2)
    assert sets.ArchiveReader(together).archive.groups[0].method == GroupMethod.LZMA
    assert np.array_equal(sets.ArchiveReader(together).array(), array)
    assert len(file.getvalue()) < len(together.getvalue())


def test_an_image_of_an_array_that_is_another() -> None:
    """Files with valid checks that hold images of another shape."""
    array = photos(40, 36, 3)
    index = sets.ArchiveReader(packed(array)).archive
    for other in (photos(36, 40, 3), photos(65, 64)):
        data = packed(other).getvalue()
        [group] = sets.ArchiveReader(io.BytesIO(data)).archive.groups
        assert group.method == GroupMethod.VAEZ
        forged = pack_head(replace(index, groups=(group,))) + data[-group.size :]
        with pytest.raises(CorruptDataError, match="where the array has others"):
            sets.ArchiveReader(io.BytesIO(forged)).array()
