"""ArchiveReader: an archive -> its images, all of them or some, whatever became of the others.

A chunk that is damaged, or whose model is not here, costs its own images and no more: what was asked for comes as parts, each the
images of one chunk or the reason why they do not come.
"""

from __future__ import annotations

import io
import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bbans import api
from bbans.errors import BbansError, CorruptDataError
from bbans.formats import wire
from bbans.formats.archive import Chunk, Group, GroupMethod, read_head
from bbans.formats.blob import unpack_blob
from bbans.images.picture import Picture, write_picture
from bbans.sets.arrays import Images

from .chunk import MAX_FILE_BYTES, Wrapper, file_check, samples_check, unpack_samples
from .codec import SPAN_SAMPLES, GroupCodec, Models, Pixels, SetCodec, codec_of


@dataclass(frozen=True)
class Lost:
    """Images that do not come, by their numbers in the archive, and why."""

    images: list[int]
    error: BbansError


@dataclass(frozen=True)
class _Part:
    """A chunk and which of its images are wanted: their places in the chunk, and their numbers in the archive."""

    chunk: Chunk
    offset: int
    count: int
    places: list[int]
    images: list[int]


_Found = tuple[Pixels, list[Wrapper]] | bytes | BbansError
"""What a chunk decodes to: samples of all its images with what belongs to them, a file, or nothing."""


class ArchiveReader:
    """An archive that is open for reading.

    Args:
        file: begins with the archive, and can seek. Only the index and the chunks that are asked for are read.
        model: a weight file, or a codec, beside the installed ones.
        threads: at most so many; as many as there are cores if None.
    Raises: FormatError: no archive, its index is damaged, or it is from a newer version. OSError.
    """

    def __init__(self, file: BinaryIO, *, model: str | Path | SetCodec | None = None, threads: int | None = None) -> None:
        self._file = file
        self._models = Models(model, threads=threads)
        self._photo = api.Model(model if isinstance(model, str | Path) else None, threads=threads)
        file.seek(0)
        self.archive, self.head_bytes = read_head(file)
        self.file_bytes = file.seek(0, io.SEEK_END)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.archive)

    @property
    def surplus_bytes(self) -> int:
        """So many bytes follow after the last chunk, where none should."""
        return max(0, self.file_bytes - self.head_bytes - self.archive.size)

    def number(self, name: str) -> int:
        """The image of that name, or else of that number. Raises: KeyError."""
        if name in self._numbers:
            return self._numbers[name]
        if name.isascii() and name.isdecimal() and int(name) < len(self):
            return int(name)
        raise KeyError(name)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.archive.names)}

    def _checked(self, wanted: Iterable[int]) -> list[int]:
        """Numbers from 0 on; negative ones count from the end. Raises: IndexError."""
        count, numbers = len(self), list(map(operator.index, wanted))
        for number in numbers:
            if not -count <= number < count:
                raise IndexError(f"there is no image {number} among {count}")
        return [number % count for number in numbers]

    def damage(self) -> list[Lost]:
        """The chunks that are not as they were written. Reads all of them, but decodes none."""
        lost = []
        for _, parts in self._parts(None):
            for part in parts:
                try:
                    self._body(part)
                except CorruptDataError as error:
                    lost.append(Lost(part.images, error))
        return lost

    def array(self, wanted: Iterable[int] | None = None) -> Images:
        """The array that was packed; or some of its images, in the order of their numbers in `wanted`; -1 is the last.

        Raises: CorruptDataError, ModelError: an image that is wanted does not come. IndexError: there is no such image. ValueError:
        an archive of pictures.
        """
        images, lost = self.recover(wanted)
        if lost:
            raise type(lost[0].error)(f"{spans(lost[0].images)}: {lost[0].error}") from lost[0].error
        return images

    def recover(self, wanted: Iterable[int] | None = None) -> tuple[Images, list[Lost]]:
        """As `array`, but images that do not come are zeros, and listed."""
        spec = self.archive.array
        if spec is None:
            raise ValueError("an archive of pictures has no array")
        asked = np.arange(len(self)) if wanted is None else np.array(self._checked(wanted), np.int64)
        numbers, places = (asked, None) if wanted is None else np.unique(asked, return_inverse=True)
        images = np.zeros((len(numbers), *spec.image_shape), np.uint8)
        lost = []
        for part, found in self._decoded(None if wanted is None else set(numbers.tolist())):
            if isinstance(found, tuple):
                images[np.searchsorted(numbers, part.images)] = found[0][part.places]
            elif isinstance(found, BbansError):
                lost.append(Lost(part.images, found))
        if places is not None:
            images = images[places]
        return images.reshape(-1, *spec.shape[1:]).view(spec.dtype), lost

    def pictures(self, wanted: Iterable[int] | None = None) -> Iterator[tuple[int, bytes | BbansError]]:
        """The numbers and files of the pictures that were packed, or of some, as they come; or why one does not come.

        Raises: IndexError: there is no such picture. ValueError: the archive of an array.
        """
        if self.archive.array is not None:
            raise ValueError("the archive of an array has no pictures")
        for part, found in self._decoded(None if wanted is None else set(self._checked(wanted))):
            for place, number in zip(part.places, part.images, strict=True):
                if isinstance(found, tuple):
                    samples, wrappers = found
                    try:
                        yield number, write_picture(Picture(samples[place], wrappers[place].format, wrappers[place].metadata))
                    except CorruptDataError as error:
                        yield number, error
                else:
                    yield number, found

    def _parts(self, wanted: set[int] | None) -> Iterator[tuple[Group, list[_Part]]]:
        """The chunks of each group that hold an image that is wanted; all of them for None."""
        offset = self.head_bytes
        for number, group in enumerate(self.archive.groups):
            members = self.archive.images_in_group(number)
            parts = []
            for start, chunk in zip(range(0, group.count, group.chunk), group.chunks, strict=True):
                images = list(members[start : start + group.chunk])
                places = [place for place, image in enumerate(images) if wanted is None or image in wanted]
                if places:
                    parts.append(_Part(chunk, offset, len(images), places, [images[place] for place in places]))
                offset += chunk.size
            yield group, parts

    def _decoded(self, wanted: set[int] | None) -> Iterator[tuple[_Part, _Found]]:
        for group, parts in self._parts(wanted):
            if group.shape is None:
                for part in parts:
                    yield part, self._file_of(group, part)
            elif parts:
                yield from self._samples_of(group, parts)

    def _samples_of(self, group: Group, parts: list[_Part]) -> Iterator[tuple[_Part, _Found]]:
        """Chunks of a group of samples, in spans, so that memory does not grow with their number."""
        try:
            codec = codec_of(group, self._models)
        except BbansError as error:
            yield from ((part, error) for part in parts)
            return
        chunks = max(1, SPAN_SAMPLES // (min(group.chunk, group.count) * math.prod(codec.shape)))
        for start in range(0, len(parts), chunks):
            yield from self._span_of(group, codec, parts[start : start + chunks])

    def _span_of(self, group: Group, codec: GroupCodec, parts: list[_Part]) -> Iterator[tuple[_Part, _Found]]:
        """Chunks decoded together; alone where that fails."""
        whole = []
        for part in parts:
            try:
                whole.append((part, *unpack_samples(self._body(part), 0 if self.archive.array else part.count)))
            except CorruptDataError as error:
                yield part, error
        if not whole:
            return
        counts = [part.count for part, _, _ in whole]
        try:
            samples = codec.decode([message for _, _, message in whole], counts)
        except BbansError as error:
            if len(whole) == 1:
                yield whole[0][0], error
            else:
                for part, _, _ in whole:
                    yield from self._span_of(group, codec, [part])
            return
        ends = np.cumsum(counts)
        for (part, wrappers, _), chunk in zip(whole, np.split(samples, ends[:-1]), strict=True):
            values = chunk if group.unit == 1 else chunk * np.uint8(group.unit)
            if samples_check(values) != part.chunk.check:
                yield part, CorruptDataError("the chunk decodes, but not to the images that were packed: its content check failed")
            elif self.archive.array and self.archive.array.dtype == "bool" and values.max() > 1:
                yield part, CorruptDataError("the chunk decodes, but to samples other than 0 or 1")
            else:
                yield part, (values, wrappers)

    def _file_of(self, group: Group, part: _Part) -> bytes | BbansError:
        try:
            body = self._body(part)
            if group.method == GroupMethod.VAEZ:
                return self._photo.decompress(body).data
            blob = wire.ByteReader(body, "file")
            data = unpack_blob(blob, MAX_FILE_BYTES)
            if blob.at != len(body) or file_check(data) != part.chunk.check:
                raise CorruptDataError("the file is not the one that was packed: its content check failed")
            return data
        except BbansError as error:
            return error

    def _body(self, part: _Part) -> bytes:
        """Raises: CorruptDataError."""
        size = part.chunk.size
        left = max(0, self.file_bytes - part.offset)
        if left < size:  # before it is allocated
            raise CorruptDataError(f"the chunk is cut short, {left} of {size} bytes are here")
        self._file.seek(part.offset)
        body = self._file.read(size)
        if wire.crc32(body) != part.chunk.crc:
            raise CorruptDataError("the chunk is damaged: its check failed")
        return body


def spans(numbers: list[int]) -> str:
    """Such as `images 0-454, 910`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    listed = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"image{'' if len(numbers) == 1 else 's'} {listed}"
