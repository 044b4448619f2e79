"""Sets of archives: cut, packed by any engine to the same bytes, started again, read image by image."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

import bbans
from bbans import shards
from bbans.errors import CorruptDataError, FormatError, UnsupportedImageError, UnsupportedVersionError
from bbans.formats import manifest
from bbans.formats.manifest import Manifest, Part
from bbans.results import Restored
from bbans.shards import arrays, task, write
from bbans.shards.cut import cut
from bbans.shards.ranges import AHEAD_BYTES, RangeFile
from bbans.shards.reader import SetReader
from bbans.storage import Entry, Folder
from tests.fake_sets import FakeCodec, install

SHARD = {"shard_images": 8, "mode": "stored"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 pictures of two sizes in two folders, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(30):
        shape = (4, 5) if number % 3 else (9, 8, 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / ("sub" if number % 2 else "") / f"{number:02}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_set(target: Path | str, **options: object) -> SetReader:
    reader = bbans.open_archive(target, **options)  # type: ignore[arg-type]
    assert isinstance(reader, SetReader)
    return reader


def entries(count: int, size: int = 1000) -> list[Entry]:
    return [Entry(f"{number:05}.png", size, "") for number in range(count)]


def test_shards_are_cut_within_their_limits() -> None:
    for shard in cut(entries(5000), 20_000, 1000):
        assert len(shard) <= 20
    for shard in cut(entries(5000), 10**9, 7):
        assert len(shard) <= 7
    assert [len(shard) for shard in cut(entries(3, 500), 100, 10)] == [1, 1, 1]
    assert [entry for shard in cut(entries(5000), 20_000, 1000) for entry in shard] == entries(5000)


def test_a_file_more_or_less_moves_few_cuts() -> None:
    before = {tuple(shard) for shard in cut(entries(5000), 50_000, 1000)}
    for gone in (0, 17, 2500, 4999):
        after = {tuple(shard) for shard in cut([own for own in entries(5000) if own.name != f"{gone:05}.png"], 50_000, 1000)}
        assert len(after - before) <= 8 < 60 < len(after)


def test_names_of_a_shard_stay_within_the_limit_of_an_archive() -> None:
    long = [Entry(f"{number:05}" + "x" * 4000, 1, "") for number in range(40_000)]
    assert max(map(len, cut(long, 10**12, 10**9))) < 33_100


def test_a_folder_there_and_back(folder: Path, tmp_path: Path) -> None:
    done = bbans.pack(folder, tmp_path / "set", **SHARD)  # type: ignore[call-overload]
    assert isinstance(done, shards.PackedSet)
    assert done.kept == 0 and len(done.manifest.parts) >= 4 and done.manifest.images == 31
    written = files_of(tmp_path / "set")
    assert sorted(written) == ["manifest.jsonl", *(f"set-{number:05}.vaeza" for number in range(len(done.manifest.parts)))]
    expected = files_of(folder)
    with read_set(tmp_path / "set") as images:
        assert len(images) == 31 and list(images.names) == sorted(expected)
        for number, name in enumerate(images.names):
            file = images[name]
            assert file.data == expected[name] and images.number(name) == number and name in images
            assert images[number - len(images)] == file
        restored = images[3:27:2]
        assert isinstance(restored, list) and [own.data for own in restored] == [expected[name] for name in images.names[3:27:2]]
        assert [own.data for own in images if isinstance(own, Restored)] == [expected[name] for name in images.names]
        assert images[::-1][0] == images[30] and images[5:5] == []
        for name in ("", "zzz", "00.pn", "sub/00.png"):
            assert name not in images
            with pytest.raises(KeyError):
                images[name]
        for number in (31, -32):
            with pytest.raises(IndexError, match="there is no image"):
                images[number]
    for part in done.manifest.parts:  # every shard is an ordinary archive
        with bbans.open_archive(tmp_path / "set" / part.file) as archive:
            assert (len(archive), archive.names[0], archive.names[-1]) == (part.images, part.first, part.last)
    with read_set(tmp_path / "set" / "manifest.jsonl") as images:
        assert len(images) == 31


def test_a_shard_without_a_picture_is_packed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.txt").write_text(f"text {number}")
    bbans.pack(tmp_path / "in", tmp_path / "set", shard_images=2)
    with read_set(tmp_path / "set") as files:
        assert [own.data for own in files[:] if isinstance(own, Restored)] == [b"text %d" % number for number in range(5)]


@pytest.mark.parametrize("shape", [(50, 6, 7), (50, 4, 5, 3)])
def test_an_array_there_and_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    bbans.pack(images, tmp_path / "a", shard_images=20, mode="stored")
    np.save(tmp_path / "images.npy", images)
    bbans.pack(tmp_path / "images.npy", tmp_path / "b", shard_images=20, mode="stored")
    with read_set(tmp_path / "a") as archived:
        assert archived.is_array and archived.names == () and "x" not in archived
        assert archived.manifest.shape == shape and archived.manifest.dtype == "uint8"
        for part in (slice(None), slice(7, 43, 3), slice(None, None, -1), slice(4, 4)):
            assert np.array_equal(archived[part], images[part])
        assert all(np.array_equal(own, image) for own, image in zip(archived, images, strict=True))
        assert np.array_equal(archived[-1], images[49])
        with pytest.raises(KeyError):
            archived.number("x")
    shard_names = [f"set-{number:05}.vaeza" for number in range(3)]
    assert all(files_of(tmp_path / "a")[name] == files_of(tmp_path / "b")[name] for name in shard_names)


def test_arrays_of_16_bits_and_zarr(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    for dtype, high in ((np.uint16, 65536), (np.uint8, 256)):
        images = np.random.default_rng(0).integers(0, high, (30, 6, 7), dtype)
        stored = zarr.create_array(str(tmp_path / f"{dtype.__name__}.zarr"), shape=images.shape, chunks=(4, 6, 7), dtype=dtype)
        stored[:] = images
        one_image = images[0].nbytes
        done = shards.pack(
            tmp_path / f"{dtype.__name__}.zarr", tmp_path / dtype.__name__, shard_bytes=11 * one_image, mode="stored"
        )
        assert [part.images for part in done.manifest.parts] == [8, 8, 8, 6]  # whole chunks of the array
        assert done.manifest.source_bytes == images.nbytes
        with read_set(tmp_path / dtype.__name__) as archived:
            assert np.array_equal(archived[:], images) and archived[3].dtype == dtype
        arrays.open_rows.cache_clear()
        assert (
            shards.pack(
                tmp_path / f"{dtype.__name__}.zarr", tmp_path / dtype.__name__, shard_bytes=11 * one_image, mode="stored"
            ).kept
            == 4
        )
        stored[29] = 0
        arrays.open_rows.cache_clear()
        assert (
            shards.pack(
                tmp_path / f"{dtype.__name__}.zarr", tmp_path / dtype.__name__, shard_bytes=11 * one_image, mode="stored"
            ).kept
            == 0
        )


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_700_000_000
            tar.addfile(info, io.BytesIO(data))


def test_tar_files_as_webdataset_has_them(tmp_path: Path) -> None:
    expected = {}
    for number in (0, 1, 10):
        files = {f"{sample:03}.{kind}": f"{number} {sample} {kind}".encode() for sample in range(5) for kind in ("txt", "cls")}
        write_tar(tmp_path / f"train-{number:02}.tar", files)
        expected.update({f"train-{number:02}/{name}": data for name, data in files.items()})
    write_tar(tmp_path / "valid.tar", {"a.txt": b"other"})
    for target, pattern, count in (("a", "train-*.tar", 3), ("b", "train-{00..01}.tar", 2), ("c", "*.tar", 4)):
        done = shards.pack(tmp_path / pattern, tmp_path / target, shard_images=1)
        assert len(done.manifest.parts) == count
        with read_set(tmp_path / target) as files_of_set:
            for name in list(expected)[:: 7 if count > 2 else 30]:
                assert files_of_set[name].data == expected[name]
        assert shards.pack(tmp_path / pattern, tmp_path / target, shard_images=1).kept == count
    with read_set(tmp_path / "a") as files_of_set:
        assert {name: files_of_set[name].data for name in files_of_set.names} == expected
    with pytest.raises(FileNotFoundError, match=r"there is no train-02\.tar"):
        shards.pack(tmp_path / "train-{00..02}.tar", tmp_path / "d", shard_images=1)
    for name, message in (("../out.txt", "is no name of a file"), ("/out.txt", "is no name of a file")):
        write_tar(tmp_path / "bad.tar", {name: b"out"})
        with pytest.raises(UnsupportedImageError, match=message):
            shards.pack(tmp_path / "bad.tar", tmp_path / "e", shard_images=1)
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(UnsupportedImageError, match="a damaged tar"):
        shards.pack(tmp_path / "bad.tar", tmp_path / "e", shard_images=1)
    assert not (tmp_path / "out.txt").exists()


def test_times_come_back_unless_they_are_not_wanted(folder: Path, tmp_path: Path) -> None:
    os.utime(folder / "notes.txt", ns=(1_600_000_000 * 10**9, 1_600_000_000 * 10**9))
    for times in (True, False):
        shards.pack(folder, tmp_path / str(times), times=times, **SHARD)  # type: ignore[call-overload]
    with read_set(tmp_path / "True") as images:
        shard, place = images.place(images.number("notes.txt"))
        assert images.shard(shard).times[place] == 1_600_000_000 * 10**9
    with read_set(tmp_path / "False") as images:
        assert not any(images.shard(shard).times for shard in range(len(images.manifest.parts)))


class Backwards(Executor):
    """Runs the tasks when they are asked for all at once, the last one first, each twice, as an engine whose workers die."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def submit(self, call, /, *arguments, **options):  # type: ignore[no-untyped-def]
        future: Future[object] = Future()

        def run() -> None:
            call(*arguments, **options)
            future.set_result(call(*arguments, **options))

        self._waiting.append(run)
        if len(self._waiting) == 4:
            for own in reversed(self._waiting):
                own()
            self._waiting.clear()
        return future


def test_every_engine_gives_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCodec("gray-1"))
    task._loader.cache_clear()
    loaded: list[object] = []
    load = task.ModelLoader
    monkeypatch.setattr(task, "ModelLoader", lambda *given, **options: loaded.append(given) or load(*given, **options))
    monkeypatch.setattr(write, "IN_FLIGHT", 4)
    shards.pack(folder, tmp_path / "here", shard_images=4)
    expected = files_of(tmp_path / "here")
    assert len(expected) == 17  # `Backwards` wants whole fours
    assert len(loaded) == 1
    shards.pack(folder, tmp_path / "backwards", executor=Backwards(), shard_images=4)
    with ThreadPoolExecutor(3) as pool:
        shards.pack(folder, tmp_path / "threads", executor=pool, shard_images=4)
    assert files_of(tmp_path / "backwards") == files_of(tmp_path / "threads") == expected
    assert len(loaded) == 1
    task._loader.cache_clear()


class Counted:
    """Counts the shards that are packed, and fails at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> None:
        self.files: list[str] = []
        self._write, self._fail_at = task.write_shard, fail_at
        monkeypatch.setattr(task, "write_shard", self)

    def __call__(self, own: task.ShardTask) -> Part:
        if len(self.files) == self._fail_at:
            raise OSError(5, "the machine is gone")
        self.files.append(own.file)
        return self._write(own)


def test_a_job_goes_on_where_it_ended(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards.pack(folder, tmp_path / "whole", **SHARD)  # type: ignore[call-overload]
    expected = files_of(tmp_path / "whole")
    with monkeypatch.context() as context:
        first = Counted(context, fail_at=2)
        with pytest.raises(OSError, match="the machine is gone"):
            shards.pack(folder, tmp_path / "set", **SHARD)  # type: ignore[call-overload]
    left = files_of(tmp_path / "set")
    assert sorted(left) == sorted([*first.files, *(f"{name}.json" for name in first.files)])
    with pytest.raises(FormatError, match="there is no manifest.jsonl: no set of archives, or one that is not complete"):
        bbans.open_archive(tmp_path / "set")
    second = Counted(monkeypatch)
    done = shards.pack(folder, tmp_path / "set", **SHARD)  # type: ignore[call-overload]
    assert done.kept == 2 and not set(first.files) & set(second.files)
    assert files_of(tmp_path / "set") == expected


def test_a_shard_without_its_line_or_with_half_of_it_is_packed_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards.pack(folder, tmp_path / "whole", **SHARD)  # type: ignore[call-overload]
    target = tmp_path / "set"
    with monkeypatch.context() as context:
        Counted(context, fail_at=3)
        with pytest.raises(OSError):
            shards.pack(folder, target, **SHARD)  # type: ignore[call-overload]
    (target / "set-00000.vaeza.json").unlink()
    line = target / "set-00001.vaeza.json"
    line.write_bytes(line.read_bytes()[:40])
    (target / "set-00002.vaeza").unlink()
    counted = Counted(monkeypatch)
    shards.pack(folder, target, **SHARD)  # type: ignore[call-overload]
    assert {f"set-{number:05}.vaeza" for number in range(3)} <= set(counted.files)
    assert files_of(target) == files_of(tmp_path / "whole")


def test_changed_and_new_files_are_packed_and_others_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "in", tmp_path / "set"
    source.mkdir()
    for number in range(100):
        (source / f"{number:03}.txt").write_text(f"text {number}")
    first = shards.pack(source, target, shard_images=8)
    old = files_of(target)
    counted = Counted(monkeypatch)
    assert shards.pack(source, target, shard_images=8).kept == len(first.manifest.parts) and not counted.files
    assert files_of(target) == old
    (source / "050.txt").write_text("other 50")  # as long as before: its time tells
    os.utime(source / "050.txt", ns=(1, 1))
    (source / "0505.txt").write_text("new")
    (source / "099.txt").unlink()
    second = shards.pack(source, target, shard_images=8)
    assert 1 <= len(counted.files) <= 6 and second.kept >= len(first.manifest.parts) - 6
    kept = {part.file for part in second.manifest.parts} & {part.file for part in first.manifest.parts}
    assert all(files_of(target)[name] == old[name] for name in kept) and not set(counted.files) & set(old)
    assert {part.file for part in second.manifest.parts} | {"manifest.jsonl"} == set(files_of(target))
    with read_set(target) as files:
        assert {name: files[name].data for name in files.names} == files_of(source)
    assert shards.pack(source, target, shard_images=8, chunk=3).kept == 0  # coded in another way


def test_what_was_written_is_read_back(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "set"
    shards.pack(folder, target, read_back=True, **SHARD)  # type: ignore[call-overload]
    whole = files_of(target)
    damaged = bytearray(whole["set-00001.vaeza"])
    damaged[-1] ^= 1
    (target / "set-00001.vaeza").write_bytes(damaged)
    counted = Counted(monkeypatch)
    shards.pack(folder, target, **SHARD)  # type: ignore[call-overload]
    assert not counted.files
    with read_set(target) as images:
        messages = set()
        for read in (lambda: list(images), lambda: images[:]):
            with pytest.raises(CorruptDataError, match=r"set-00001\.vaeza: .*its check failed") as raised:
                read()
            messages.add(str(raised.value))
    assert len(messages) == 1, messages  # each names the image
    shards.pack(folder, target, read_back=True, **SHARD)  # type: ignore[call-overload]
    assert counted.files == ["set-00001.vaeza"] and files_of(target) == whole
    monkeypatch.setattr(Folder, "write", lambda self, name, data: None)
    with pytest.raises(bbans.VerifyError, match=r"set-00000\.vaeza: what was written does not read back"):
        shards.pack(folder, tmp_path / "nowhere", read_back=True, **SHARD)  # type: ignore[call-overload]


def test_errors_of_packing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnsupportedImageError, match="there are no files"):
        shards.pack(tmp_path / "empty", tmp_path / "set", shard_images=8)
    with pytest.raises(ValueError, match="lies in the folder that is packed"):
        shards.pack(folder, folder / "set", shard_images=8)
    for name in ("shard_images", "shard_bytes"):
        with pytest.raises(ValueError, match=f"{name}: at least 1, not 0"):
            shards.pack(folder, tmp_path / "set", **{name: 0})  # type: ignore[call-overload]
    with pytest.raises(UnsupportedImageError, match="its elements are float64"):
        shards.pack(np.zeros((3, 4, 5)), tmp_path / "set", shard_images=8)
    with pytest.raises(bbans.ModelError, match=r"set-00000\.vaeza: "):
        shards.pack(folder, tmp_path / "set", shard_images=8, model="no-such-model")
    assert not (tmp_path / "set" / "manifest.jsonl").exists()


def test_progress_counts_shards_and_bytes(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int, int]] = []
    for _ in range(2):
        shards.pack(
            folder,
            tmp_path / "set",
            shard_images=8,
            progress=lambda state: seen.append((state.done, state.kept, state.done_bytes, state.kept_bytes)),
        )
    total = sum(map(len, files_of(folder).values()))
    count = len(Manifest.unpack((tmp_path / "set" / "manifest.jsonl").read_bytes()).parts)
    assert (count, 0, total, 0) in seen and seen[-1] == (0, count, 0, total)


PART = Part("set-00000.vaeza", 3, "a", "c", 30, 20, 10, "ab", "cd", ("m",))


def test_the_manifest_there_and_back_and_damaged() -> None:
    whole = Manifest((PART, PART), "uint8", (6, 4, 5))
    data = whole.pack()
    assert Manifest.unpack(data) == whole and (whole.images, whole.source_bytes, whole.file_bytes) == (6, 60, 40)
    lines = data.splitlines(keepends=True)
    for damaged, error, message in [
        (b"", FormatError, "not the manifest"),
        (b"hello", FormatError, "not the manifest"),
        (lines[1], FormatError, "not the manifest"),
        (lines[0] + lines[1], CorruptDataError, "cut short, 1 of 2 shards"),
        (lines[0] + lines[1] + lines[2][:-30], CorruptDataError, "no JSON object"),
        (data.replace(b'"images": 6', b'"images": 7'), CorruptDataError, "7 images, but its shards hold 6"),
        (data.replace(b'"vaezip_set": 1', b'"vaezip_set": 2'), UnsupportedVersionError, "version 2"),
        (data.replace(b"set-00000", b"../../etc"), CorruptDataError, "is no name of a shard"),
        (data.replace(b'"images": 3', b'"images": -3'), CorruptDataError, "images of a shard is -3"),
        (data.replace(b'"check": "ab"', b'"check": 5'), CorruptDataError, "check of a shard is 5"),
    ]:
        with pytest.raises(error, match=message):
            Manifest.unpack(damaged)
    assert manifest.shard_number("set-123456.vaeza.json") == 123456 and manifest.shard_number("set-1.vaeza") is None


def test_a_shard_of_another_set_is_found(folder: Path, tmp_path: Path) -> None:
    shards.pack(folder, tmp_path / "set", **SHARD)  # type: ignore[call-overload]
    parts = Manifest.unpack((tmp_path / "set" / "manifest.jsonl").read_bytes()).parts
    few, many = sorted(parts, key=lambda part: part.images)[:: len(parts) - 1]
    shutil.copy(tmp_path / "set" / few.file, tmp_path / "set" / many.file)
    with read_set(tmp_path / "set") as images, pytest.raises(CorruptDataError, match=many.file):
        images[many.first]


class Requests(Folder):
    """Counts requests for ranges."""

    log: ClassVar[list[tuple[int | None, int | None]]] = []

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        self.log.append((start, stop))
        return super().read(name, start, stop)


def test_what_is_read_on_and_on_is_fetched_in_blocks(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, 3 * AHEAD_BYTES + 1000, np.uint8).tobytes()
    (tmp_path / "file").write_bytes(data)
    Requests.log = []
    with ThreadPoolExecutor(1) as pool:
        file = RangeFile(Requests(str(tmp_path)), "file", len(data), 100, pool)
        assert file.read(10) == data[:10] and file.read(90) == data[10:100] and Requests.log == [(0, 100)]
        ends = range(100, len(data), 50_000)
        for place in ends:
            file.seek(place)
            assert file.read(50_000) == data[place : place + 50_000]
        assert file.read(1) == b"" and len(Requests.log) == 5 and len(set(Requests.log)) == 5
        file.seek(200)
        assert file.read(10) == data[200:210] and file.read() == data[210:]
