"""Arrays of images: every format there and back, and everything else refused by name."""

import gzip
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bbans.errors import UnsupportedImageError
from bbans.sets.arrays import is_array, read_array, write_npy

GRAY = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), np.uint8)
BITS = GRAY > 127


def npy(array: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def idx(array: npt.NDArray[Any], kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def gzipped(data: bytes) -> bytes:
    """Without the time: the names of tests have such bytes, and must be the same in each process."""
    return gzip.compress(data, mtime=0)


def written(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    write_npy(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (idx(GRAY), GRAY),
        (idx(RGB), RGB),
        (gzipped(idx(GRAY)), GRAY),
        (npy(GRAY), GRAY),
        (npy(RGB, version=(2, 0)), RGB),
        (npy(BITS), BITS),
        (npy(np.asfortranarray(RGB)), RGB),
        (gzipped(npy(RGB)), RGB),
        (npz(images=RGB), RGB),
        (written(GRAY), GRAY),
        (written(BITS[::-1]), BITS[::-1]),
        (npy(GRAY).replace(b"(3, 4, 5), }   ", b"(3L, 4L, 5L), }"), GRAY),
    ],
)
def test_arrays_come_as_they_were(tmp_path: Path, data: bytes, expected: npt.NDArray[Any]) -> None:
    """Whatever the file's name says."""
    path = tmp_path / "images"
    path.write_bytes(data)
    found = read_array(path)
    assert is_array(path)
    assert found.dtype == expected.dtype and found.flags.c_contiguous
    assert np.array_equal(found, expected)


def test_keys_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    path.write_bytes(npz(train=GRAY, test=RGB, labels=np.arange(3)))
    assert np.array_equal(read_array(f"{path}:train"), GRAY)
    assert np.array_equal(read_array(Path(f"{path}:test")), RGB)
    assert is_array(path) and is_array(f"{path}:train")
    colon = tmp_path / "one.npz:train"
    colon.write_bytes(npz(x=GRAY))
    assert np.array_equal(read_array(colon), GRAY)


def npz_that_begins_before_itself() -> bytes:
    """Its list of members claims to be longer than what stands before its end."""
    data = bytearray(npz(a=GRAY))
    end = data.rindex(b"PK\5\6")
    offset = int.from_bytes(data[end + 16 : end + 20], "little")
    data[end + 16 : end + 20] = (offset + 1000).to_bytes(4, "little")
    return bytes(data)


def damaged_npz() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", npy(GRAY))
    data = bytearray(file.getvalue())
    data[data.index(GRAY.tobytes()) + 7] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.npy", npy(GRAY.astype(np.float32)), "its elements are float32; images are uint8, uint16 or bool"),
        ("a.npy", npy(GRAY.astype(np.int8)), "its elements are int8"),
        ("a.npy", npy(np.array([[["x"]]], object)), "its elements are Python objects"),
        ("a.npy", npy(np.zeros((2, 2, 2), [("a", object)])), "its elements are Python objects"),
        ("a.npy", npy(GRAY[0]), r"its shape is \(4, 5\); images are"),
        ("a.npy", npy(GRAY[:0]), r"its shape is \(0, 4, 5\); images are"),
        ("a.npy", npy(np.asfortranarray(GRAY[0])), r"its shape is \(4, 5\); images are"),
        ("a.npy", npy(GRAY)[:-1], "cut short: 59 of 60 elements are there"),
        ("a.npy", npy(GRAY)[:40], "its header is damaged"),
        ("a.npy", npy(GRAY)[:6], "an .npy of version , not 1.0 or 2.0"),
        ("a.npy", npy(GRAY) + b"\0", "bytes follow after its 60 elements"),
        ("a.npy", npy(GRAY, version=(3, 0)), "an .npy of version 3.0, not 1.0 or 2.0"),
        ("a.npy", npy(GRAY).replace(b"(3, 4, 5)", b"(3, 4, x)"), "its header is damaged"),
        ("a.npy", npy(GRAY).replace(b"(3, 4, 5)", b"((3, 4,5)"), "its header is damaged"),
        ("a.npy", b"\x93NUMPY\1\0\x40\0" + b"[" * 64, "its header is damaged"),
        ("a.npy", npy(GRAY).replace(b"(3, 4, 5)", b"(-3,4,-5)"), r"its shape is \(-3, 4, -5\)"),
        ("a.npy", npy(GRAY).replace(b"|u1", b"|b1"), "its elements are bool, but not all are 0 or 1"),
        ("a.npy", gzipped(npy(GRAY))[:-9], "ended before"),
        ("a.npy", gzipped(npy(GRAY)) + b"more", "Not a gzipped file"),
        ("t10k-images", idx(GRAY)[:-1], "cut short: 59 of 60 elements are there"),
        ("t10k-images", idx(GRAY) + b"\0", "bytes follow after its 60 elements"),
        ("t10k-images", idx(GRAY)[:9], "cut short in its header"),
        ("t10k-labels", idx(np.zeros(4, np.uint8)), r"its shape is \(4,\); images are"),
        ("idx", idx(GRAY.astype(">i4"), 0x0C), "its elements are int32"),
        ("text", b"not an array", "not an array of images: neither idx nor .npy nor .npz"),
        ("empty", b"", "not an array of images"),
        ("text.gz", gzipped(b"not an array"), "not an array of images"),
        ("a.npz", npz(a=GRAY, b=GRAY), r"it holds 2 arrays \(a, b\): choose one by FILE.npz:KEY"),
        ("a.npz:c", npz(a=GRAY, b=GRAY), "it has no array 'c', only a, b"),
        ("a.npz:b", npy(GRAY), "only an .npz has keys, such as 'b'"),
        ("a.npz", npz(a=GRAY)[:-30], "not a zip file"),
        ("a.npz", damaged_npz(), "Bad CRC-32"),
        ("a.npz", npz_that_begins_before_itself(), "its list of members is damaged"),
    ],
)
def test_refused_by_name(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name.partition(":")[0]).write_bytes(data)
    with pytest.raises(UnsupportedImageError, match=words) as caught:
        read_array(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_zip_without_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")
        archive.writestr("a.npy", "no array either")
    with pytest.raises(UnsupportedImageError, match="its member a.npy is not an .npy"):
        read_array(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(UnsupportedImageError, match="it holds no array"):
        read_array(path)


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    """It costs no memory: elements are counted as they come."""
    path = tmp_path / "huge"
    path.write_bytes(idx(GRAY).replace(struct.pack(">I", 3), b"\xff\xff\xff\xff", 1))
    with pytest.raises(UnsupportedImageError, match="cut short: 60 of 85899345900 elements are there"):
        read_array(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path / "nowhere.npy")
    assert not is_array(tmp_path / "nowhere.npy") and not is_array(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    assert not is_array(tmp_path / "a.png")
