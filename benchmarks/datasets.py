"""The data sets, by name, each hash-checked where it has an official file.

::

    python -m benchmarks.datasets NAME [--data DIR] --out x.npy       the images of a set as an array, for vaezip pack

DIR (option --data, or the environment variable VAEZIP_DATA) holds the files in one folder a set::

    mnist/t10k-images-idx3-ubyte[.gz]         fashion-mnist/t10k-images-idx3-ubyte[.gz]      cifar-10/cifar-10-python.tar.gz
    kodak/kodim01.png .. kodim24.png          photos/valid/* (any photos of yours)

Nothing is downloaded: a set that is not there is a MissingDataError that says how to get it. `fashion-500` and `samples` ship with
the benchmarks. Any path is a data set too: a folder of pictures, or an idx, .npy or .npz file.

Binarised MNIST is either of two sets, never mixed: `mnist-sampled` takes pixel i (counted through all images, from 0) as 1 when
u(i) mod 255 < its value, where u(i) is number i of bbans.ans.splitmix64 from SAMPLING_SEED: sampled with probability value / 255,
as the BB-ANS paper has it. `mnist-threshold` takes values from 128 on as 1.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bbans.ans import splitmix64
from bbans.sets.arrays import is_array, read_byte_array, write_npy

from . import photos32

Pixels = NDArray[np.uint8]
"""A picture (H, W, C) or a set (N, H, W, C)."""

SAMPLING_SEED = 0
PHOTOS32_COUNT, PHOTOS32_SEED = 2000, 0
ENVIRONMENT = "VAEZIP_DATA"
SHIPPED = files(__package__) / "data"

MNIST_TEST = "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
FASHION_TEST = "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
FASHION_500 = "c9bd0ed7148856eb2287d902861921296d6c36d95a5113341a35554343e84123"
CIFAR_TAR = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
IDX_NAME = "t10k-images-idx3-ubyte"
IDX_HEADER_BYTES = 16


class MissingDataError(Exception):
    """The data set is not there, or its files are not the official ones; the message says what to do."""


@dataclass(frozen=True)
class DataSet:
    """Images in their order: an array (N, H, W, C) for sets of one shape, else a list of (H, W, C).

    `symbols`: 2 or 256, samples are 0 .. symbols - 1. `models`: as of `Source`; None where nobody says.
    """

    name: str
    title: str
    images: Pixels | list[Pixels]
    symbols: int = 256
    models: tuple[str, ...] | None = None

    @property
    def is_set(self) -> bool:
        """Whether all images are of one shape and are coded as a set."""
        return isinstance(self.images, np.ndarray)

    @property
    def dims(self) -> int:
        """Sub-pixels: what bits/dim divide by."""
        return sum(image.size for image in self.images)

    @property
    def pixels(self) -> int:
        return sum(image[..., 0].size for image in self.images)

    def first(self, count: int | None) -> DataSet:
        """The first images alone."""
        return self if count is None else replace(self, images=self.images[:count])

    def trained(self, model: str | None) -> bool:
        """Whether the model of this id was trained on images of this kind. True where nobody says, and for no model."""
        return model is None or self.models is None or any(fnmatch.fnmatch(model, pattern) for pattern in self.models)


@dataclass(frozen=True)
class Source:
    """How a named data set is read, given the data folder, and how to get it.

    `models`: patterns of the ids of models that were trained on images of this kind. Others code it too, but their bound is no
    measure of the coder: a frequency has a floor, a float64 mass has none. `note`: what a reader of its table must know.
    """

    title: str
    read: Callable[[Path], Pixels | list[Pixels]]
    get: str
    symbols: int = 256
    models: tuple[str, ...] = ()
    note: str = ""


def load(name: str, data: Path | None = None) -> DataSet:
    """A data set by its name or path.

    Args: data: the folder of data sets; VAEZIP_DATA where None. Raises: MissingDataError.
    """
    if name in SOURCES:
        source = SOURCES[name]
        folder = data or Path(os.environ.get(ENVIRONMENT, "."))
        try:
            return DataSet(name, source.title, source.read(folder), source.symbols, source.models)
        except (OSError, MissingDataError) as error:
            cause = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
            raise MissingDataError(f"{name} is left out ({cause}). {source.get}") from None
    path = Path(name)
    label = path.name.partition(".")[0]
    if is_array(name):
        array = read_byte_array(name)
        images = array.view(np.uint8).reshape(*array.shape[:3], -1)
        return DataSet(label, path.name, images, 2 if array.dtype == np.bool_ or images.max() < 2 else 256)
    if path.is_dir():
        return DataSet(label, path.name, _folder(path))
    raise MissingDataError(f"{name} is neither a data set ({', '.join(SOURCES)}) nor a folder or array.")


def check_name(name: str) -> None:
    """Raises: UsageError for a name that is neither a data set nor a folder or array."""
    if name not in SOURCES and not is_array(name) and not Path(name).is_dir():
        raise click.UsageError(f"{name} is neither a folder or array nor one of the data sets {', '.join(SOURCES)}")


def sampled(images: Pixels, seed: int = SAMPLING_SEED) -> Pixels:
    """Samples 0 and 1 drawn with probability value / 255, by the rule above."""
    uniform = splitmix64(images.size, seed).reshape(images.shape)
    ones: Pixels = (uniform % np.uint64(255) < images).astype(np.uint8)
    return ones


def _mnist(folder: Path) -> Pixels:
    return _idx(folder / "mnist" / IDX_NAME, MNIST_TEST)


def _fashion(folder: Path) -> Pixels:
    return _idx(folder / "fashion-mnist" / IDX_NAME, FASHION_TEST)


def _idx(path: Path, sha256: str) -> Pixels:
    """Gray images of 28 x 28 of an idx file, gzipped (by whatever program) or not. The hash is that of the idx itself."""
    zipped = path.with_name(path.name + ".gz")
    content = path.read_bytes() if path.exists() else gzip.decompress(zipped.read_bytes())
    _check(content, sha256, path)
    return np.frombuffer(content, np.uint8, offset=IDX_HEADER_BYTES).reshape(-1, 28, 28, 1)


def _cifar(folder: Path) -> Pixels:
    """The 10,000 test images of the python version."""
    path = folder / "cifar-10" / "cifar-10-python.tar.gz"
    _check(path.read_bytes(), CIFAR_TAR, path)
    with tarfile.open(path) as tar:
        member = tar.extractfile("cifar-10-batches-py/test_batch")
        assert member is not None  # the hash says so
        batch = pickle.load(member, encoding="bytes")  # code from a file, but from this file alone
    planes: Pixels = batch[b"data"].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _kodak(folder: Path) -> list[Pixels]:
    pictures = []
    for line in (SHIPPED / "kodak.sha256").read_text().splitlines():
        sha256, name = line.split()
        path = folder / "kodak" / name
        _check(path.read_bytes(), sha256, path)
        pictures.append(_picture(path))
    return pictures


def _through_jpeg(pixels: Pixels) -> Pixels:
    """What comes of pixels (H, W, C) as a JPEG of quality 90 with chroma of half the resolution."""
    file = io.BytesIO()
    _image(pixels).save(file, "JPEG", quality=90, subsampling=2)
    return _picture(file)


def _stretched(pixels: Pixels) -> Pixels:
    """Pixels (H, W, C) with the levels of each channel stretched until a half percent is clipped at both ends."""
    return np.asarray(ImageOps.autocontrast(_image(pixels), cutoff=0.5)).reshape(pixels.shape)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _check(content: bytes, sha256: str, path: Path) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise MissingDataError(f"{path} is not the official file: its SHA-256 is {actual}, not {sha256}")


def _folder(folder: Path) -> list[Pixels]:
    """The pictures below a folder, by relative path. Raises: MissingDataError when there are none."""
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in photos32.SUFFIXES]
    if not paths:
        raise MissingDataError(f"{folder}: no pictures")
    return [_picture(path) for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix())]


def _picture(path: Path | io.BytesIO) -> Pixels:
    """Gray stays gray, all else becomes RGB."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _samples(_: Path) -> list[Pixels]:
    """The pictures that ship with the command, in a checkout and in an installation."""
    beside = Path(__file__).parent.parent / "cli" / "samples"
    return _folder(beside if beside.exists() else Path(str(files("vaezip_cli"))) / "samples")


def _photos32(folder: Path) -> Pixels:
    return photos32.crops([folder / "photos" / "valid"], PHOTOS32_COUNT, PHOTOS32_SEED)


_GET_MNIST = "Get https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz into DIR/mnist."
_GET_FASHION = (
    "Get data/fashion/t10k-images-idx3-ubyte.gz of https://github.com/zalandoresearch/fashion-mnist into DIR/fashion-mnist."
)
_GET_PHOTOS = "Put photos of your own into DIR/photos/valid."

SOURCES = {
    "mnist-sampled": Source(
        f"MNIST, binarised by sampling (seed {SAMPLING_SEED})", lambda data: sampled(_mnist(data)), _GET_MNIST, 2, ("mnist-bits-*",)
    ),
    "mnist-threshold": Source("MNIST, binarised at 128", lambda data: (_mnist(data) >> 7).astype(np.uint8), _GET_MNIST, 2),
    "mnist": Source("MNIST", _mnist, _GET_MNIST, models=("mnist-[0-9]*", "mnist-paper-*")),
    "fashion-mnist": Source("Fashion-MNIST", _fashion, _GET_FASHION, models=("fashion-*",)),
    "fashion-500": Source(
        "Fashion-MNIST, first 500 test images",
        lambda _: _idx(Path(str(SHIPPED)) / "fashion-500-idx3-ubyte", FASHION_500),
        "It ships with the benchmarks: install them again.",
        models=("fashion-*",),
    ),
    "cifar-10": Source(
        "CIFAR-10", _cifar, "Get https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz into DIR/cifar-10; no copy as image files."
    ),
    "photos32": Source("photos32, 32 x 32 crops of validation photos", _photos32, _GET_PHOTOS, models=("photos32-*",)),
    "kodak": Source(
        "Kodak",
        _kodak,
        "Get kodim01.png to kodim24.png of https://r0k.us/graphics/kodak into DIR/kodak.",
        models=("photo-*",),
        note="All pictures of this set are scans from a Photo CD: RGB made of 8-bit luma, and of chroma of half the resolution. "
        "vaezip finds that, as in decoded JPEGs and WebPs, and codes luma and chroma; no other codec here looks for it. So its "
        "gain here is that of pictures with such a past, which the validation photos have not.",
    ),
    "photos": Source(
        "photos, validation",
        lambda data: _folder(data / "photos" / "valid"),
        _GET_PHOTOS,
        models=("photo-*",),
        note="Downscaled photos, in which little is left of the luma and chroma of their JPEGs. paq8px, run on crops alone, is "
        "a few percent smaller than vaezip, and takes minutes for each megapixel.",
    ),
    "photos-jpeg": Source(
        "photos, validation, as JPEGs of quality 90 decode",
        lambda data: [_through_jpeg(pixels) for pixels in _folder(data / "photos" / "valid")],
        _GET_PHOTOS,
        models=("photo-*",),
        note="Pixels of JPEGs that were kept as PNG, as many screenshots, crops and downloads are. The JPEGs themselves, if they "
        "are still there, are far smaller.",
    ),
    "photos-levels": Source(
        "photos, validation, with levels stretched",
        lambda data: [_stretched(pixels) for pixels in _folder(data / "photos" / "valid")],
        _GET_PHOTOS,
        models=("photo-*",),
        note="What Pillow's `ImageOps.autocontrast` makes of them with a cutoff of 0.5 percent. Where it stretches a channel, some "
        "of its values never come: vaezip codes the others by their numbers.",
    ),
    "samples": Source("sample pictures", _samples, "They ship with the command: install it again.", models=("photo-*",)),
}
QUICK = ("fashion-500", "samples")
FULL: Sequence[str] = tuple(name for name in SOURCES if name not in QUICK)


@click.command()
@click.argument("name")
@click.option("--data", type=click.Path(path_type=Path), help=f"Folder of data sets. [default: ${ENVIRONMENT}]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .npy file to write.")
def main(name: str, data: Path | None, out: Path) -> None:
    """Write the images of a data set as an array, (N, H, W) or (N, H, W, 3) uint8."""
    try:
        chosen = load(name, data)
    except MissingDataError as error:
        raise click.ClickException(str(error)) from None
    if not isinstance(chosen.images, np.ndarray):
        raise click.ClickException(f"{name} is a folder of pictures, no array")
    array = chosen.images[..., 0] if chosen.images.shape[3] == 1 else chosen.images
    with out.open("wb") as file:
        write_npy(file, array)
    click.echo(f"{out}: {array.shape}, {chosen.title}, SHA-256 {hashlib.sha256(array.tobytes()).hexdigest()}")


if __name__ == "__main__":
    main()
