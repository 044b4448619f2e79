"""What is packed, sorted into groups: an array of images, or the files below a folder.

::

    array          one group
    folder         pictures of a shape that a model for sets takes     one group a shape, pixels in memory
                   all other files                                     read again when they are coded, each on its own
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bbans.errors import UnsupportedImageError
from bbans.formats.archive import ArraySpec
from bbans.formats.names import fault_of_names
from bbans.images.picture import Picture, read_picture
from bbans.sets import arrays

from .chunk import Wrapper
from .codec import Models, Pixels


@dataclass(frozen=True)
class Samples:
    """Images of one shape (N, H, W, C).

    ``binary`` are those whose samples are 0 and `unit`, which is 1 or 255. ``members`` are their numbers in the archive.
    ``wrappers`` has what else belongs to pictures; none for an array.
    """

    images: Pixels
    members: range | list[int]
    wrappers: list[Wrapper] = field(default_factory=list)
    binary: bool = field(init=False)
    unit: int = field(init=False)

    def __post_init__(self) -> None:
        highest = int(self.images.max())
        binary = highest <= 1 or (highest == 255 and bool(((self.images == 0) | (self.images == 255)).all()))
        object.__setattr__(self, "binary", binary)
        object.__setattr__(self, "unit", 255 if binary and highest == 255 else 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)"""
        return shape_of(self.images[0])

    def symbols(self, start: int, stop: int, unit: int) -> Pixels:
        """What is coded for the images from `start` to `stop`: their samples, of which each is so many units."""
        part = self.images[start:stop]
        return part if unit == 1 else part // np.uint8(unit)


@dataclass(frozen=True)
class Source:
    """All that goes into an archive. ``others`` are the names' numbers of the files that are coded one by one."""

    array: ArraySpec | None
    names: list[str]
    source_bytes: int
    samples: list[Samples]
    others: list[int]
    folder: Path | None
    notes: list[str]

    def read(self, number: int) -> bytes:
        """The file of a name. Raises: OSError."""
        assert self.folder is not None
        name = self.names[number]
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise OSError(error.errno, f"{name} cannot be read: {error.strerror or error}") from error


def from_array(array: arrays.Images) -> Source:
    """Raises: UnsupportedImageError: not uint8 or bool, or not (N, H, W) or (N, H, W, C)."""
    if array.dtype not in (np.uint8, np.bool_):
        raise UnsupportedImageError(f"its elements are {array.dtype}; images are uint8 or bool")
    if array.ndim not in (3, 4) or min(array.shape) < 1:
        raise UnsupportedImageError(f"its shape is {array.shape}; images are (N, H, W) or (N, H, W, C), none of them 0")
    spec = ArraySpec(str(array.dtype), array.shape)
    images = np.ascontiguousarray(array).view(np.uint8).reshape(-1, *spec.image_shape)
    return Source(spec, [], array.size, [Samples(images, range(len(images)))], [], None, [])


def from_folder(folder: Path, models: Models, progress: Callable[[str, int, int], None]) -> Source:
    """All files below a folder, sorted by name. What is neither file nor folder, and folders behind links, are left out and noted.

    Raises: UnsupportedImageError: no files, or names beyond the limits of `bbans.formats.names`. OSError.
    """
    notes: list[str] = []
    names = sorted(_files(folder, notes), key=os.fsencode)
    if not names:
        raise UnsupportedImageError("there are no pictures in this folder")
    fault = fault_of_names(names)
    if fault:
        raise UnsupportedImageError(f"this folder cannot be packed: {fault}")
    source = Source(None, names, 0, [], [], folder, notes)
    found: dict[tuple[tuple[int, int, int], bool], list[tuple[int, Picture]]] = {}
    source_bytes = 0
    for number in range(len(names)):
        progress("reading", number, len(names))
        data = source.read(number)
        source_bytes += len(data)
        picture = _picture(data)
        if picture is not None and models.take(shape_of(picture.pixels)):
            found.setdefault((shape_of(picture.pixels), picture.format == "PNG1"), []).append((number, picture))
        else:
            source.others.append(number)
    for group in found.values():
        images = np.stack([picture.pixels for _, picture in group])
        wrappers = [Wrapper(picture.format, picture.metadata) for _, picture in group]
        source.samples.append(Samples(images, [number for number, _ in group], wrappers))
    return Source(None, names, source_bytes, source.samples, source.others, folder, notes)


def _files(folder: Path, notes: list[str]) -> Iterator[str]:
    """Paths of all files below a folder, with `/` between their parts."""
    folders = [""]
    while folders:
        prefix = folders.pop()
        for entry in os.scandir(folder / prefix):
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name + "/")
            elif entry.is_file():
                yield name
            else:
                notes.append(f"{name} is no file: left out")


def _picture(data: bytes) -> Picture | None:
    try:
        return read_picture(data, bilevel=True)
    except UnsupportedImageError:
        return None


def shape_of(pixels: Pixels) -> tuple[int, int, int]:
    """(H, W, C) of an image."""
    height, width, channels = pixels.shape
    return height, width, channels
