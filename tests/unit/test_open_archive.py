"""An open archive as a sequence: numbers, names, slices, iteration; what is decoded for each, and how often."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbans import api, models, sets
from bbans.errors import CorruptDataError, FormatError, ModelError
from bbans.images.picture import read_picture
from bbans.results import Restored
from bbans.sets import arrays, writer
from tests.fake_sets import FakeCodec, install

GRAY = FakeCodec("gray-1")
NAMES = ("a.png", "b.ppm", "c.png", "notes.txt", "sub/d.png", "sub/e.ppm")


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, GRAY, FakeCodec("rgb-1", shape=(4, 5, 3)))
    GRAY.decoded.clear()


@pytest.fixture(params=[(20, 4, 5), (20, 4, 5, 1)], ids=str)
def array(request: pytest.FixtureRequest) -> arrays.Images:
    return np.random.default_rng(0).integers(0, 256, request.param, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of two shapes by turns, and a file that is none."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    for name in NAMES:
        shape = (4, 5, 3) if name.endswith("ppm") else (4, 5)
        if name.endswith("txt"):
            (folder / name).write_text("no picture")
        else:
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / name)
    return folder


def test_an_array(array: arrays.Images) -> None:
    sets.pack(array, file := io.BytesIO(), model=GRAY, chunk=6)
    with sets.open_archive(file) as images:
        assert len(images) == 20 and images.names == ()
        for number in (0, 17, 19, -1, -20, np.int64(3)):
            assert np.array_equal(images[number], array[number]) and images[number].dtype == np.uint8
        for part in (slice(5), slice(None), slice(3, 17, 2), slice(None, None, -1), slice(-3, None), slice(7, 7)):
            found = images[part]
            assert isinstance(found, np.ndarray) and found.shape == array[part].shape and np.array_equal(found, array[part])
        assert np.array_equal(np.stack(list(images)), array)
        for number in (20, -21, 10**30):
            with pytest.raises(IndexError, match=f"no image {number} among 20"):
                images[number]
        with pytest.raises(KeyError):
            images["17"]
        for key in (1.0, [1, 2], None):
            with pytest.raises(TypeError):
                images[key]  # type: ignore[call-overload]
        assert "a.png" not in images and 3 not in images
    assert not file.closed  # it was the caller's


def test_a_bool_array() -> None:
    array = np.random.default_rng(0).integers(0, 2, (5, 3, 2), np.uint8) > 0
    sets.pack(array, file := io.BytesIO(), mode="stored")
    images = sets.open_archive(file)
    assert images[2].dtype == bool and np.array_equal(images[2], array[2])
    assert all(own.dtype == bool for own in images) and np.array_equal(list(images), array)


def test_files(folder: Path, tmp_path: Path) -> None:
    sets.pack(folder, tmp_path / "set.vaeza", chunk=2)
    with sets.open_archive(str(tmp_path / "set.vaeza")) as images:
        assert images.names == NAMES and [name in images for name in ("sub/d.png", "d.png")] == [True, False]
        for number, (name, restored) in enumerate(zip(NAMES, images, strict=True)):
            data = (folder / name).read_bytes()
            assert restored == images[number] == images[number - 6] == images[name] == images[number:][0]
            if name.endswith("png"):
                assert restored.format == "PNG" and read_picture(restored.data) == read_picture(data)
            else:
                assert restored == Restored(data, "PPM" if name.endswith("ppm") else "")
        assert images[::-2] == [images["sub/e.ppm"], images["notes.txt"], images["b.ppm"]]
        with pytest.raises(IndexError):
            images[6]
        with pytest.raises(KeyError):
            images["d.png"]
    with pytest.raises(ValueError, match="closed"):
        images[0]


@pytest.mark.parametrize(("cache_bytes", "again"), [(1 << 20, []), (240, [6, 6]), (0, [6, 6, 6])])
def test_chunks_are_kept(array: arrays.Images, cache_bytes: int, again: list[int]) -> None:
    """As many as may be: an image has 20 bytes. The last one stays in any case."""
    sets.pack(array, file := io.BytesIO(), model=GRAY, chunk=6, verify=False)
    images = sets.open_archive(file, cache_bytes=cache_bytes)
    for number in range(20):
        assert np.array_equal(images[number], array[number])
    assert GRAY.decoded == [6, 6, 6, 2]
    GRAY.decoded.clear()
    assert np.array_equal(np.stack(list(images)), array)
    assert GRAY.decoded == again


def test_each_chunk_of_files_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though images of two groups come by turns."""
    gray, rgb = FakeCodec("gray-1"), FakeCodec("rgb-1", shape=(4, 5, 3))
    install(monkeypatch, gray, rgb)
    monkeypatch.setattr("bbans.sets.lzma.LzmaCodec.cost_bits", lambda *_: (1e9, 0.0))
    sets.pack(folder, file := io.BytesIO(), chunk=2, verify=False)
    for one_by_one in (False, True):
        gray.decoded.clear()
        rgb.decoded.clear()
        images = sets.open_archive(file)
        assert len([images[number] for number in range(6)] if one_by_one else list(images)) == 6
        assert (sorted(gray.decoded), sorted(rgb.decoded)) == ([1, 2], [2])


def test_models_are_loaded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Counter[str] = Counter()
    load_set, load = models.load_set, models.load

    def count_set(model: FakeCodec, **options: object) -> FakeCodec:
        loaded[model.id] += 1
        return load_set(model, **options)  # type: ignore[arg-type, return-value]

    def count(model: object = None, **options: object) -> object:
        loaded["photo"] += 1
        return load(model, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(models, "load_set", count_set)
    monkeypatch.setattr(models, "load", count)
    monkeypatch.setattr(api, "CLEARLY_SMALLER", 1000)
    monkeypatch.setattr(api, "SMALL_PX", 0)
    monkeypatch.setattr("bbans.sets.lzma.LzmaCodec.cost_bits", lambda *_: (1e9, 0.0))
    for name in ("large.png", "larger.png"):
        Image.fromarray(np.zeros((len(name), 9), np.uint8)).save(folder / name)
    sets.pack(folder, file := io.BytesIO(), chunk=1)
    assert loaded == {"gray-1": 1, "rgb-1": 1, "photo": 1}
    loaded.clear()
    images = sets.open_archive(file)
    assert images["notes.txt"].data == b"no picture" and not loaded
    for number in range(8):
        assert images[number] == images[number]
    assert loaded == {"gray-1": 1, "rgb-1": 1, "photo": 1}


def test_what_does_not_come(array: arrays.Images) -> None:
    done = sets.pack(array, file := io.BytesIO(), model=GRAY, chunk=6)
    data = bytearray(file.getvalue())
    data[-done.archive.groups[0].chunks[-1].size] ^= 1
    images = sets.open_archive(io.BytesIO(data))
    assert np.array_equal(images[:18], array[:18])
    for read in (lambda: images[18], lambda: images[:], lambda: list(images)):
        with pytest.raises(CorruptDataError, match=r"images? 18.*the chunk is damaged: its check failed"):
            read()


def test_a_file_that_does_not_come(folder: Path) -> None:
    sets.pack(folder, file := io.BytesIO(), model=FakeCodec("rgb-1", shape=(4, 5, 3)), chunk=2)
    images = sets.open_archive(file, model=GRAY)
    assert images["notes.txt"].data == b"no picture"
    with pytest.raises(ModelError, match=r"b.ppm: it needs the model 'rgb-1'"):
        images[1]
    with pytest.raises(ModelError, match=r"b.ppm"):
        list(images)


def test_pack_to_a_path(array: arrays.Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all."""
    target = tmp_path / "set.vaeza"
    sets.pack(array, file := io.BytesIO(), mode="stored")
    for path in (target, str(target)):
        done = sets.pack(array, path, mode="stored")
        assert target.read_bytes() == file.getvalue() and done.file_bytes == len(file.getvalue())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="No space"):
        sets.pack(array[:3], target, mode="stored")
    assert target.read_bytes() == file.getvalue() and list(tmp_path.iterdir()) == [target]


def test_a_path_that_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sets.open_archive(tmp_path / "nowhere.vaeza")
    (tmp_path / "text").write_text("text")
    with pytest.raises(FormatError, match="not an archive"):
        sets.open_archive(tmp_path / "text")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "best"}, "mode: auto or stored, not 'best'"),
        ({"mode": "stored", "model": "gray-1"}, "model: mode stored uses none"),
        ({"mode": "stored", "scheme": "fake"}, "scheme: mode stored uses none"),
        ({"chunk": 0}, "chunk: at least 1"),
        ({"chunk": -5}, "chunk: at least 1"),
        ({"threads": 0}, "threads: at least 1"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be(array: arrays.Images, tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sets.pack(array, tmp_path / "set.vaeza", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_the_other_kind(array: arrays.Images) -> None:
    with pytest.raises(TypeError, match="model: a bbans.Model codes pictures of any size"):
        sets.pack(array, io.BytesIO(), model=api.Model())  # type: ignore[arg-type]
