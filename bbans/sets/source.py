"""What goes into an archive, sorted into groups: an array of images, or the files of a folder or a tar.

::

    array          one group
    files          pictures of a shape that some model for sets takes     one group for each shape, pixels in memory
                   all others                                             coded one by one, read again for that
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from bbans.errors import UnsupportedImageError
from bbans.formats.archive import ArraySpec
from bbans.formats.entries import Link
from bbans.images.picture import Picture, read_picture

from . import arrays
from .chunk import Pixels, Shape, Wrapper
from .listing import Listing
from .model import ModelLoader

Progress = Callable[[str, int, int], None]
"""(what is going on, images done, images in all)"""


@dataclass(frozen=True)
class Samples:
    """Images of one shape (N, H, W, C). `members` are their numbers in the archive; pictures have a wrapper each."""

    images: Pixels
    members: range | list[int]
    wrappers: list[Wrapper] = field(default_factory=list)
    array: ArraySpec | None = None
    """The array that they are the images of."""

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
    notes: list[str]
    paths: list[Path] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    what: str = ""
    """What the files come from, for messages."""

    def read(self, number: int) -> bytes:
        """The bytes of a file. Raises: OSError, which names it."""
        return _read(self.paths[number], self.names[number])


def from_array(array: arrays.Images) -> PackSource:
    """The images of an array.

    Raises: UnsupportedImageError: not uint8, uint16 or bool, or not (N, H, W) or (N, H, W, C).
    """
    fault = arrays.fault_of_images(array.dtype, array.shape)
    if fault:
        raise UnsupportedImageError(fault)
    spec = ArraySpec(array.dtype.name, array.shape)
    images = arrays.to_samples(array)
    return PackSource(spec, [], array.nbytes, [Samples(images, range(len(images)), array=spec)], [], [])


def from_files(listing: Listing, models: ModelLoader, progress: Progress, times: bool) -> PackSource:
    """Files and links, sorted by name.

    Raises: UnsupportedImageError: no files, or names or links that no archive has. OSError.
    """
    listing.sort()
    names, paths = list(listing.files), [path for path, _ in listing.files.values()]
    others: list[int] = []
    groups: dict[tuple[Shape, bool], list[tuple[int, Picture, Pixels]]] = {}
    source_bytes = 0
    for number, name in enumerate(names):
        progress("reading", number, len(names))
        data = _read(paths[number], name)
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
    return PackSource(
        array=None,
        names=names,
        source_bytes=source_bytes,
        samples=samples,
        others=others,
        notes=listing.notes,
        paths=paths,
        links=listing.link_list,
        times=listing.times if times else [],
        what=listing.what,
    )


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(error.errno, f"{name} cannot be read: {error.strerror or error}") from error


def _picture(data: bytes) -> Picture | None:
    try:
        return read_picture(data, bilevel=True)
    except UnsupportedImageError:
        return None
