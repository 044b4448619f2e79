"""Files that hold many images of one size as one array: idx, .npy and .npz. No pickle, no guesses.

::

    idx        00 00 type axes | axes x uint32, big-endian | the elements          as MNIST has them, gzipped or not
    .npy       numpy's own: a header with dtype and shape, then the elements       gzipped or not
    .npz       a zip of .npy files; one array, or FILE.npz:KEY for one of several

`read_array` reads images of uint8, bool or uint16, and refuses everything else with the reason. A file that is shorter or longer
than its header says is damaged, and no part of it is used.

Sources: the idx format, http://yann.lecun.com/exdb/mnist; the .npy format, NEP 1.

>>> import io
>>> file = io.BytesIO()
>>> write_npy(file, np.zeros((2, 28, 28), np.uint8))
>>> file.getvalue()[:6]
b'\\x93NUMPY'
"""

from __future__ import annotations

import gzip
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

from bbans.errors import UnsupportedImageError
from bbans.formats.archive import ArraySpec

ByteImages = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]
Images = ByteImages | npt.NDArray[np.uint16]
"""Images of one size: (N, H, W) or (N, H, W, C), C-contiguous, N >= 1."""

GZIP, NPY, ZIP = b"\x1f\x8b", b"\x93NUMPY", b"PK\x03\x04"
IDX_TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
SUFFIX_NPY = ".npy"  # of the members of an .npz
BLOCK_BYTES = 1 << 24  # read at a time: a header may promise more than there is


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def is_array(path: str | Path) -> bool:
    """Whether a file begins like those that `read_array` reads. False for folders, and for files that cannot be read."""
    try:
        with open(split_key(path)[0], "rb") as file:
            head = file.read(len(NPY))
    except OSError:
        return False
    return head.startswith((GZIP, NPY, ZIP)) or _is_idx(head)


def read_array(path: str | Path) -> Images:
    """The images of a file: idx or .npy, gzipped or not, or .npz (`FILE.npz:KEY` where it has several arrays).

    Inverse: `write_npy`, for .npy.

    Raises: UnsupportedImageError, which names the file: another dtype, shape or format, or a damaged file. OSError.
    """
    name, key = split_key(path)
    with open(name, "rb") as file:
        return read_array_from(file, str(path), key)


def read_byte_array(path: str | Path) -> ByteImages:
    """As `read_array`, for what takes images of 8 bits alone. Raises: as `read_array`."""
    images = read_array(path)
    if images.dtype == np.uint16:
        raise UnsupportedImageError(f"{path}: its elements are uint16, not uint8 or bool")
    return cast(ByteImages, images)


def read_array_from(file: BinaryIO, name: str | None, key: str | None = None) -> Images:
    """As `read_array`, from an open file that can seek; errors give it that name, if any."""
    try:
        head = file.read(len(NPY))
        file.seek(0)
        if head.startswith(ZIP):
            return _read_npz(file, key)
        if key is not None:
            raise ValueError(f"only an .npz has keys, such as {key!r}")
        if head.startswith(GZIP):
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _read_single(unzipped)
        return _read_single(file)
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError, RuntimeError) as error:
        raise UnsupportedImageError(str(error) if name is None else f"{name}: {error}") from None


def write_npy(file: BinaryIO, array: Images) -> None:
    """Write an array as an .npy of version 1.0. Inverse: `read_array`. Raises: OSError."""
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)


def split_key(path: str | Path) -> tuple[Path, str | None]:
    """FILE.npz:KEY as its two parts; the key is None where there is none, and where a file has that very name."""
    name, colon, key = str(path).rpartition(":")
    if not colon or not name.endswith(".npz") or Path(path).exists():
        return Path(path), None
    return Path(name), key


def fault_of_images(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str | None:
    """Why an array of that kind is not one of images; None if it is."""
    if dtype not in (np.uint8, np.bool_) and dtype.newbyteorder("=") != np.uint16:
        return f"its elements are {'Python objects' if dtype.hasobject else dtype}; images are uint8, uint16 or bool"
    if len(shape) not in (3, 4) or min(shape) < 1:
        return f"its shape is {shape}; images are (N, H, W) or (N, H, W, C), none of them 0"
    return None


def to_samples(array: Images) -> npt.NDArray[np.uint8]:
    """The samples (N, H, W, C) of images as archives code them: of uint16 the high bytes of the channels, then the low bytes.

    Inverse: `from_samples`.
    """
    images = array.reshape(*array.shape[:3], -1)
    if array.dtype.itemsize == 1:
        return np.ascontiguousarray(images).view(np.uint8)
    return np.concatenate([images >> 8, images & 255], axis=3).astype(np.uint8)


def from_samples(samples: npt.NDArray[np.uint8], array: ArraySpec) -> Images:
    """The images of an array that has these samples; N may be another. Inverse: `to_samples`."""
    shape = (len(samples), *array.shape[1:])
    if array.dtype != "uint16":
        return samples.reshape(shape).view(array.dtype)
    high, low = np.split(samples.astype(np.uint16), 2, axis=3)
    wide: npt.NDArray[np.uint16] = high << np.uint16(8) | low
    return wide.reshape(shape)


def image_shape(pixels: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """(H, W, C) of an image, or of the images of (N, H, W, C)."""
    height, width, channels = pixels.shape[-3:]
    return height, width, channels


def binary_unit(images: npt.NDArray[np.uint8]) -> int | None:
    """1 if all samples are 0 or 1, 255 if all are 0 or 255, None if they take more values."""
    highest = int(images.max(initial=0))
    if highest <= 1:
        return 1
    return 255 if highest == 255 and bool(((images == 0) | (images == 255)).all()) else None


def _is_idx(head: bytes) -> bool:
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in IDX_TYPES and 0 < head[3] <= 8


def _read_single(file: _Readable) -> Images:
    """An idx or .npy from its beginning to its end."""
    head = file.read(4)
    if _is_idx(head):
        return _read_idx(file, head)
    if head + file.read(2) == NPY:
        return _read_npy(file)
    raise ValueError("not an array of images: neither idx nor .npy nor .npz")


def _read_npz(file: BinaryIO, key: str | None) -> Images:
    with zipfile.ZipFile(file) as archive:
        keys = [name.removesuffix(SUFFIX_NPY) for name in archive.namelist() if name.endswith(SUFFIX_NPY)]
        if key is None:
            if len(keys) != 1:
                contents = f"{len(keys)} arrays ({', '.join(keys)}): choose one by FILE.npz:KEY" if keys else "no array"
                raise ValueError(f"it holds {contents}")
            [key] = keys
        if key not in keys:
            raise ValueError(f"it has no array {key!r}, only {', '.join(keys) or 'none at all'}")
        info = archive.getinfo(key + SUFFIX_NPY)
        if info.header_offset < 0:  # zipfile would look there, and the error would be that of the file's disk
            raise ValueError("its list of members is damaged")
        with archive.open(info) as member:
            if member.read(len(NPY)) != NPY:
                raise ValueError(f"its member {key}{SUFFIX_NPY} is not an .npy")
            return _read_npy(member)


def _read_idx(file: _Readable, head: bytes) -> Images:
    axes = file.read(4 * head[3])
    if len(axes) < 4 * head[3]:
        raise ValueError("cut short in its header")
    shape = tuple(int.from_bytes(axes[i : i + 4], "big") for i in range(0, len(axes), 4))
    return _elements(file, np.dtype(IDX_TYPES[head[2]]), shape)


def _read_npy(file: _Readable) -> Images:
    """What follows the magic of an .npy."""
    version = tuple(file.read(2))
    readers: dict[tuple[int, ...], Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:  # 3.0 is for structures with names beyond Latin 1
        raise ValueError(f"an .npy of version {'.'.join(map(str, version))}, not 1.0 or 2.0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Python 2 wrote numbers such as 60000L
        try:
            shape, fortran, dtype = readers[version](file)
        except (ValueError, SyntaxError, RecursionError, tokenize.TokenError):  # numpy's own messages are about its internals
            raise ValueError("its header is damaged") from None
    return _elements(file, dtype, shape, fortran)


def _elements(file: _Readable, dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool = False) -> Images:
    """The elements, which must fill the rest of the file; in Fortran's order or in that of C. Raises: ValueError."""
    fault = fault_of_images(dtype, shape)
    if fault:
        raise ValueError(fault)
    count = math.prod(shape)
    size = count * dtype.itemsize
    data = bytearray()
    while block := file.read(min(BLOCK_BYTES, size - len(data))):
        data += block
    if len(data) < size:
        raise ValueError(f"cut short: {len(data) // dtype.itemsize} of {count} elements are there")
    if file.read(1):
        raise ValueError(f"bytes follow after its {count} elements")
    if dtype == np.bool_ and max(data) > 1:
        raise ValueError("its elements are bool, but not all are 0 or 1")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(values, dtype.newbyteorder("="))
