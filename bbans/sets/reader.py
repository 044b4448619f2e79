"""Reading an archive: all of its images, or some of them.

A chunk that is damaged, or whose model is not installed, costs its own images and no others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bbans.errors import BbansError, CorruptDataError
from bbans.formats.archive import Lost, damage, read_head
from bbans.formats.entries import Link
from bbans.formats.words import images_in_words
from bbans.results import Restored

from .arrays import Images, from_samples
from .cache import CACHE_BYTES, ChunkCache
from .chunk import Content, ImagesContent
from .group import GroupReader
from .model import ModelLoader, SetModel
from .sequence import Image, ImageSequence


def open_archive(
    source: str | Path | BinaryIO,
    *,
    model: str | Path | SetModel | ModelLoader | None = None,
    threads: int | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> ArchiveReader:
    """Open an archive for reading. Inverse: `bbans.sets.pack`.

    Args:
        source: a path, or a file that can seek and begins with the archive. A file stays open when the reader is closed.
        model: a weight file, or a model, for archives whose model is not installed; or a `ModelLoader`, which keeps its models.
        threads: the most to use; None for as many as there are cores.
        cache_bytes: the most that decoded chunks take which are kept for other images of them.
    Raises: FormatError: not an archive, a damaged index, or a newer version. ValueError: threads. OSError.
    """
    cache = ChunkCache(cache_bytes)
    if not isinstance(source, str | Path):
        return ArchiveReader(source, model=model, threads=threads, cache=cache)
    file = open(source, "rb")  # noqa: SIM115
    try:
        reader = ArchiveReader(file, model=model, threads=threads, cache=cache)
    except BaseException:
        file.close()
        raise
    reader.on_close(file.close)
    return reader


class ArchiveReader(ImageSequence):
    """The images of an archive as a sequence, which reads and decodes no more than the chunks it needs.

    ====================  ===============================  ===================================
    archive               of an array                      of the files of a folder
    ====================  ===============================  ===================================
    `images[17]`          array (H, W) or (H, W, C)        `bbans.Restored`: a file
    `images["sea.png"]`   KeyError                         the same, by name
    `images[:100]`        array (n, H, W) or (n, H, W, C)  list of files
    iteration             each image, in order             each file, in order
    ====================  ===============================  ===================================

    The `format` of a file that is no picture is empty. Models are loaded once. Chunks that were decoded for some of their images
    are kept for others. Not thread-safe: give each thread a reader of its own.

    Args:
        file, model, threads: see `open_archive`.
        cache: has those chunks; readers may share one.
    Raises: as `open_archive`.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        model: str | Path | SetModel | ModelLoader | None = None,
        threads: int | None = None,
        cache: ChunkCache | None = None,
    ) -> None:
        self._file = file
        self._cache = cache or ChunkCache()
        self._closing: Callable[[], object] = lambda: None
        file.seek(0)
        self.archive, self.head_bytes = read_head(file)
        self.file_bytes = file.seek(0, io.SEEK_END)
        models = model if isinstance(model, ModelLoader) else ModelLoader(model, threads=threads)
        self._groups: list[GroupReader] = []
        offset = self.head_bytes
        for group, images in zip(self.archive.groups, self.archive.images_by_group(), strict=True):
            self._groups.append(GroupReader(group, images, offset, self._read, models, self.archive.array, self._cache))
            offset += group.size

    def close(self) -> None:
        """Close the file, if `open_archive` opened it, and keep no chunks."""
        self._cache.clear()
        self._closing()

    def on_close(self, closing: Callable[[], object]) -> None:
        """Have this called by `close`."""
        self._closing = closing

    def __len__(self) -> int:
        """The number of images."""
        return len(self.archive)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the files below their folder, with `/` between the parts. Empty for an array."""
        return self.archive.names

    @property
    def links(self) -> tuple[Link, ...]:
        """The symbolic links among the files, which are no images."""
        return self.archive.links

    @property
    def times(self) -> tuple[int, ...]:
        """When the files and then the links were changed last, in nanoseconds since 1970; empty where that is not kept."""
        return self.archive.times

    @property
    def surplus_bytes(self) -> int:
        """Bytes after the last chunk: there should be none."""
        return max(0, self.file_bytes - self.head_bytes - self.archive.size)

    def __contains__(self, name: object) -> bool:
        """Whether a file has that name."""
        return name in self._numbers

    def number(self, name: str) -> int:
        """The number of the file of that name. Raises: KeyError."""
        return self._numbers[name]

    def __iter__(self) -> Iterator[Image | Restored]:
        """All images in order. Each chunk is decoded once. Raises: CorruptDataError, ModelError: the next image cannot be had."""
        streams = [self._stream(group) for group in self._groups]
        for group in self.archive.members if self.archive.array is None else repeat(0, len(self)):
            yield next(streams[group])

    def _stream(self, group: GroupReader) -> Iterator[Image | Restored]:
        """The images of a group, in order."""
        spec = self.archive.array
        for part, content in group.contents(group.parts(), readers=len(self._groups)):
            if isinstance(content, BbansError):
                raise self._named(part.images, content) from content
            if spec and isinstance(content, ImagesContent):
                yield from from_samples(content.samples.copy(), spec)
                continue
            for place, image in zip(part.places, part.images, strict=True):
                yield self._good(image, _file(content, place))

    def many(self, numbers: Iterable[int]) -> Images | list[Restored]:
        """The images with these numbers, in that order; an array for those of an array. Negative numbers count from the end.

        Raises: IndexError: there is no such image. CorruptDataError, ModelError: it cannot be had. OSError.
        """
        if self.archive.array is not None:
            return self.array(numbers)
        numbers = self._checked(numbers)
        files = dict(self._files(numbers))
        return [self._good(number, files[number]) for number in numbers]

    def _good(self, image: int, file: Restored | BbansError) -> Restored:
        if isinstance(file, BbansError):
            raise self._named([image], file) from file
        return file

    def array(self, wanted: Iterable[int] | None = None) -> Images:
        """The array that was packed, (N, H, W) or (N, H, W, C), or the images with these numbers, in that order.

        Raises: CorruptDataError, ModelError: an image cannot be had. IndexError: there is no such image. ValueError: an archive of
        files.
        """
        images, lost = self.recover(wanted)
        if lost:
            raise self._named(lost[0].images, lost[0].error) from lost[0].error
        return images

    def recover(self, wanted: Iterable[int] | None = None) -> tuple[Images, list[Lost]]:
        """As `array`, but with zeros for images that cannot be had, and a list of these."""
        spec = self.archive.array
        if spec is None:
            raise ValueError("an archive of files has no array: see `files`")
        [group] = self._groups
        lost: list[Lost] = []
        numbers = range(len(self)) if wanted is None else self._checked(wanted)
        rows: dict[int, list[int]] = {}
        if wanted is not None:
            for row, number in enumerate(numbers):
                rows.setdefault(number, []).append(row)
        samples = np.zeros((len(numbers), *spec.image_shape), np.uint8)
        for part, content in group.contents(
            group.parts() if wanted is None else group.parts_at(sorted(rows)), keep=wanted is not None
        ):
            if isinstance(content, BbansError):
                lost.append(Lost(part.images, content))
                continue
            assert isinstance(content, ImagesContent)  # the group has the array's shape
            if wanted is None:
                samples[part.images[0] : part.images[-1] + 1] = content.samples
            else:
                for place, image in zip(part.places, part.images, strict=True):
                    samples[rows[image]] = content.samples[place]
        return from_samples(samples, spec), lost

    def files(self, wanted: Iterable[int] | None = None) -> Iterator[tuple[int, Restored | BbansError]]:
        """Each file with its number, or why it cannot be had: all files, or those with these numbers, group by group.

        Raises: IndexError: there is no such file. ValueError: the archive of an array.
        """
        if self.archive.array is not None:
            raise ValueError("the archive of an array has no files: see `array`")
        return self._files(wanted)

    def _files(self, wanted: Iterable[int] | None) -> Iterator[tuple[int, Restored | BbansError]]:
        if wanted is None:
            selected = [(group, group.parts()) for group in self._groups]
        else:
            places: dict[int, list[int]] = {}
            for number in sorted(set(self._checked(wanted))):
                places.setdefault(self.archive.members[number], []).append(self._places[number])
            selected = [(self._groups[group], self._groups[group].parts_at(own)) for group, own in places.items()]
        for group, parts in selected:
            for part, content in group.contents(parts, keep=wanted is not None):
                for place, image in zip(part.places, part.images, strict=True):
                    yield image, content if isinstance(content, BbansError) else _file(content, place)

    def chunks(self) -> list[Sequence[int]]:
        """The numbers of the images of each chunk: who wants some of a chunk had better ask for its others soon."""
        return [part.images for group in self._groups for part in group.parts()]

    def damage(self) -> list[Lost]:
        """The images of damaged chunks. Reads all chunks and decodes none."""
        return damage(self.archive, self.head_bytes, self._read)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.archive.names)}

    @cached_property
    def _places(self) -> list[int]:
        """The place of each file in its group."""
        places = [0] * len(self)
        for images in self.archive.images_by_group():
            for place, image in enumerate(images):
                places[image] = place
        return places

    def _named(self, images: Sequence[int], error: BbansError) -> BbansError:
        """The error with the images that it concerns."""
        return type(error)(f"{images_in_words(self.archive, images)}: {error}")

    def _read(self, offset: int, size: int) -> bytes:
        """Bytes of the file, fewer at its end: a false size allocates nothing."""
        if offset >= self.file_bytes:  # sizes before it may add up to more than a file can have
            return b""
        self._file.seek(offset)
        return self._file.read(min(size, self.file_bytes - offset))


def _file(content: Content, place: int) -> Restored | BbansError:
    try:
        return content.file(place)
    except CorruptDataError as error:
        return error
