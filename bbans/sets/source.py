"""What goes into an archive, sorted into groups: an array of images, or the files below a folder.

::

    array          one group
    folder         pictures of a shape that some model for sets takes     one group for each shape, pixels in memory
                   all other files                                        coded one by one, read again for that
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from bbans.errors import UnsupportedImageError
from bbans.formats.archive import ArraySpec
from bbans.formats.names import fault_of_names
from bbans.images.picture import Picture, read_picture

from . import arrays
from .chunk import Pixels, Shape, Wrapper
from .model import ModelLoader

Progress = Callable[[str, int, int], None]
"""(what is going on, images done, images in all)"""


@dataclass(frozen=True)
class Samples:
    """Images of one shape (N, H, W, C). `members` are their numbers in the archive; pictures have a wrapper each."""

    images: Pixels
    members: range | list[int]
    wrappers: list[Wrapper] = field(default_factory=list)

    @property
    def shape(self) -> Shape:
        """(H, W, C)"""
        return arrays.image_shape(self.images)

    @cached_property
    def unit(self) -> int | None:
        """See `arrays.binary_unit`."""
        return arrays.binary_unit(self.images)

    def symbols(self, start: int, stop: int, unit: int) -> Pixels:
        """The symbols of the images from `start` to `stop`: their samples divided by `unit`."""
        part = self.images[start:stop]
        return part if unit == 1 else part // np.uint8(unit)


@dataclass(frozen=True)
class PackSource:
    """All that goes into an archive: groups of images of one shape, and the numbers of the `others`, which are coded one by one."""

    array: ArraySpec | None
    names: list[str]
    source_bytes: int
    samples: list[Samples]
    others: list[int]
    folder: Path | None
    notes: list[str]

    def read(self, number: int) -> bytes:
        """The bytes of a file. Raises: OSError, which names it."""
        assert self.folder is not None
        return _read(self.folder, self.names[number])


def from_array(array: arrays.Images) -> PackSource:
    """The images of an array. Raises: UnsupportedImageError: not uint8 or bool, or not (N, H, W) or (N, H, W, C)."""
    fault = arrays.fault_of_images(array.dtype, array.shape)
    if fault:
        raise UnsupportedImageError(fault)
    spec = ArraySpec(str(array.dtype), array.shape)
    images = np.ascontiguousarray(array).view(np.uint8).reshape(-1, *spec.image_shape)
    return PackSource(spec, [], array.size, [Samples(images, range(len(images)))], [], None, [])


def from_folder(folder: Path, models: ModelLoader, progress: Progress) -> PackSource:
    """All files below a folder, sorted by name. Links to folders, and what is neither file nor folder, are left out and noted.

    Raises: UnsupportedImageError: no files, or names beyond the limits of `bbans.formats.names`. OSError.
    """
    notes: list[str] = []
    names = sorted(_files(folder, notes), key=os.fsencode)
    if not names:
        raise UnsupportedImageError("there are no pictures in this folder")
    fault = fault_of_names(names)
    if fault:
        raise UnsupportedImageError(f"this folder cannot be packed: {fault}")
    others: list[int] = []
    groups: dict[tuple[Shape, bool], list[tuple[int, Picture, Pixels]]] = {}
    source_bytes = 0
    for number, name in enumerate(names):
        progress("reading", number, len(names))
        data = _read(folder, name)
        source_bytes += len(data)
        picture = _picture(data)
        pixels = None if picture is None else picture.plain
        if picture is not None and pixels is not None and models.takes(arrays.image_shape(pixels)):
            groups.setdefault((arrays.image_shape(pixels), picture.format == "PNG1"), []).append((number, picture, pixels))
        else:
            others.append(number)
    samples = []
    for group in groups.values():
        images = np.stack([pixels for _, _, pixels in group])
        wrappers = [Wrapper(picture.format, picture.metadata) for _, picture, _ in group]
        samples.append(Samples(images, [number for number, _, _ in group], wrappers))
    return PackSource(None, names, source_bytes, samples, others, folder, notes)


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise OSError(error.errno, f"{name} cannot be read: {error.strerror or error}") from error


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
                notes.append(f"{name} is not a file: left out")


def _picture(data: bytes) -> Picture | None:
    try:
        return read_picture(data, bilevel=True)
    except UnsupportedImageError:
        return None
