"""The codecs `bbans.photo` of numcodecs and of Zarr, with the real libraries."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbans import api
from bbans.array_chunks import ArrayChunks, picture_shape
from bbans.errors import CorruptDataError, ModelError, UnsupportedImageError
from bbans.formats import archive, container

NUMBERS = np.random.default_rng(0)
PHOTO = NUMBERS.integers(0, 256, (24, 32, 3), np.uint8)
DIGITS = (NUMBERS.integers(0, 8, (6, 28, 28)) == 0).astype(np.uint8) * 255

REFUSED = [
    (np.zeros((4, 5), np.uint16), "uint16; pictures are uint8"),
    (np.zeros((4, 5), np.bool_), "bool; pictures are uint8"),
    (np.zeros((4, 28, 28), np.float32), "float32; pictures are uint8, images of one size uint8 or bool"),
    (np.zeros((4, 30, 30), np.uint8), "no model is for images of 30x30x1"),
    (np.zeros(7, np.uint8), "the shape (7,); pictures are (H, W)"),
    (np.zeros((2, 3, 4, 5, 3), np.uint8), "the shape (2, 3, 4, 5, 3); pictures are (H, W)"),
    (np.zeros((0, 5), np.uint8), "no axis may be 0"),
]


@pytest.fixture(scope="module")
def chunks() -> ArrayChunks:
    return ArrayChunks()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 5), (4, 5)),
        ((1, 4, 5), (4, 5)),
        ((1, 1, 4, 5, 3), (4, 5, 3)),
        ((4, 5, 1), (4, 5, 1)),
        ((1, 5), (1, 5)),
        ((4, 28, 28), None),
        ((4, 32, 32, 3), None),
        ((4,), None),
    ],
)
def test_picture_shape(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    assert picture_shape(shape) == expected


def test_pictures_are_vaez_files(chunks: ArrayChunks) -> None:
    for array in (PHOTO, PHOTO[:, :, 0], PHOTO[:, :, :1], PHOTO[None], PHOTO[::2, ::3], np.asfortranarray(PHOTO)):
        data = chunks.encode(array)
        assert data.startswith(container.MAGIC)
        again = chunks.decode(data, array.shape)
        assert again.dtype == array.dtype and again.shape == array.shape and np.array_equal(again, array)
    smooth = np.add.outer(np.arange(64), np.arange(48))[..., None] + NUMBERS.integers(0, 9, (64, 48, 3))
    assert api.inspect(chunks.encode(smooth.astype(np.uint8))).mode == "model"


@pytest.mark.parametrize("digits", [DIGITS, DIGITS > 0, NUMBERS.integers(0, 256, (3, 32, 32, 3), np.uint8)])
def test_images_of_one_size_are_archives(chunks: ArrayChunks, digits: Any) -> None:
    data = chunks.encode(digits)
    assert data.startswith(archive.MAGIC)
    again = chunks.decode(data, digits.shape)
    assert again.dtype == digits.dtype and np.array_equal(again, digits)


@pytest.mark.parametrize(("array", "words"), REFUSED)
def test_other_arrays_are_refused_by_name(chunks: ArrayChunks, array: Any, words: str) -> None:
    with pytest.raises(UnsupportedImageError) as caught:
        chunks.encode(array)
    assert words in str(caught.value)


def test_damage_and_another_shape(chunks: ArrayChunks) -> None:
    data = chunks.encode(PHOTO)
    with pytest.raises(CorruptDataError):
        chunks.decode(data[:-1] + bytes([data[-1] ^ 1]), PHOTO.shape)
    with pytest.raises(CorruptDataError, match="not one of the shape"):
        chunks.decode(data, (24, 33, 3))


def test_a_model_by_name() -> None:
    digits = ArrayChunks("mnist-bits-1")
    assert np.array_equal(ArrayChunks().decode(digits.encode(DIGITS)), DIGITS)
    assert b"mnist-bits-1" in digits.encode(DIGITS)
    with pytest.raises(ModelError, match="not for pictures of any size"):
        digits.encode(PHOTO)


def test_numcodecs() -> None:
    numcodecs = pytest.importorskip("numcodecs")
    from bbans.numcodecs import PhotoCodec

    codec = numcodecs.get_codec({"id": "bbans.photo", "model": "photo-6"})
    assert isinstance(codec, PhotoCodec) and codec == PhotoCodec("photo-6") != PhotoCodec()
    assert numcodecs.get_codec(codec.get_config()) == codec and repr(codec) == "PhotoCodec(model='photo-6')"
    data = codec.encode(PHOTO)
    assert np.array_equal(codec.decode(data), PHOTO)
    out = np.zeros_like(PHOTO)
    assert codec.decode(np.frombuffer(data, np.uint8), out) is out and np.array_equal(out, PHOTO)
    with pytest.raises(UnsupportedImageError, match="uint16"):
        codec.encode(PHOTO.astype(np.uint16))


READ = """
import sys
import numpy as np
import zarr
array = zarr.open_array(sys.argv[1], mode="r")
np.save(sys.argv[2], array[:])
if len(sys.argv) > 3:
    import dask.array
    np.save(sys.argv[2], dask.array.from_zarr(sys.argv[1])[1:].compute())
"""


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_in_another_process(version: int, tmp_path: Path) -> None:
    """It finds the codec by the entry point; if this fails alone, install the package again."""
    zarr = pytest.importorskip("zarr")
    photos = np.stack([PHOTO, PHOTO[::-1], PHOTO // 4])
    where: dict[str, Any] = {"store": str(tmp_path / "photos.zarr"), "shape": photos.shape, "chunks": (1, 24, 32, 3)}
    if version == 3:
        from bbans.zarr import PhotoCodec

        array = zarr.create_array(**where, dtype="uint8", serializer=PhotoCodec(), compressors=None)
        metadata = json.loads((tmp_path / "photos.zarr" / "zarr.json").read_text())
        assert metadata["codecs"] == [{"name": "bbans.photo"}]
    else:
        from bbans import numcodecs

        array = zarr.create_array(**where, dtype="uint8", compressors=numcodecs.PhotoCodec(), zarr_format=2)
    array[:] = photos
    stored = [path for path in (tmp_path / "photos.zarr").rglob("*") if path.is_file() and not path.name.startswith((".z", "zarr"))]
    assert len(stored) == 3 and all(path.read_bytes().startswith(b"VAEZ") for path in stored)
    pytest.importorskip("dask.array")
    out = tmp_path / "out.npy"
    subprocess.run([sys.executable, "-c", READ, where["store"], out], check=True)
    assert np.array_equal(np.load(out), photos)
    subprocess.run([sys.executable, "-c", READ, where["store"], out, "dask"], check=True)
    assert np.array_equal(np.load(out), photos[1:])


def test_zarr_digits_and_edges(tmp_path: Path) -> None:
    """The last chunk is not full."""
    zarr = pytest.importorskip("zarr")
    from bbans.zarr import PhotoCodec

    codec = PhotoCodec(model="mnist-bits-1")
    array = zarr.create_array(
        str(tmp_path / "a"), shape=DIGITS.shape, chunks=(4, 28, 28), dtype="uint8", serializer=codec, compressors=None
    )
    array[:] = DIGITS
    assert np.array_equal(zarr.open_array(str(tmp_path / "a"))[:], DIGITS)
    assert zarr.open_array(str(tmp_path / "a")).serializer == codec


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [((8, 5), "uint16", "uint16"), ((9, 30, 30), "uint8", "30x30x1"), ((9, 28, 28, 28, 28), "uint8", "the shape")],
)
def test_zarr_refuses_other_arrays_when_they_are_created(shape: tuple[int, ...], dtype: str, words: str, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    from bbans.zarr import PhotoCodec

    with pytest.raises(UnsupportedImageError, match=words):
        zarr.create_array(str(tmp_path / "a"), shape=shape, chunks=shape, dtype=dtype, serializer=PhotoCodec(), compressors=None)


def test_entry_points() -> None:
    """If this fails alone, install the package again."""
    for group in ("numcodecs.codecs", "zarr.codecs"):
        found = importlib.metadata.entry_points(group=group, name="bbans.photo")
        assert {point.value.partition(":")[2] for point in found} == {"PhotoCodec"}
