"""pack: images -> an archive.

::

    source -> groups -> chunks -codec-> bodies, decoded again and compared -> index | bodies

Bodies wait in a temporary file until the index, which lists them and comes first, can be written.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, BinaryIO, Literal

import numpy as np

from bbans import api
from bbans.accounting import Accounting
from bbans.errors import BbansError, ModelError, UnsupportedImageError, VerifyError
from bbans.formats import archive
from bbans.formats.archive import Archive, Chunk, Group, GroupMethod
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.wire import ByteReader, crc32
from bbans.images.picture import Picture, read_picture, write_picture
from bbans.sets import arrays

from .chunk import file_check, pack_samples, samples_check, unpack_samples
from .codec import SPAN_SAMPLES, Models, SetCodec, group_of
from .plan import Plan, plan
from .source import Samples, Source, from_array, from_folder

_MEMORY_BYTES = 1 << 26
_NAMES = 5  # in a note

ModeName = Literal["auto", "stored"]
Progress = Callable[[str, int, int], None]
"""(what is done, how many images of how many are done)"""


@dataclass(frozen=True)
class Packed:
    """An archive that was written: its index, the size of the file, and what the user should know of how it was done."""

    archive: Archive
    file_bytes: int
    notes: list[str]


def pack(
    source: str | Path | arrays.Images,
    file: BinaryIO,
    *,
    model: str | Path | SetCodec | None = None,
    scheme: str | None = None,
    chunk: int | None = None,
    mode: ModeName = "auto",
    threads: int | None = None,
    verify: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> Packed:
    """Write an archive of images into a file. Inverse: `bbans.sets.ArchiveReader`.

    Args:
        source: a folder, a file of `bbans.sets.arrays` (`FILE.npz:KEY` for one array of several), or an array (N, H, W[, C]) of
            uint8 or bool.
        file: written from where it is.
        model: codes all images that it fits: an installed model's id, a weight file, or a codec. None: for each shape of images,
            the one that makes the first of them smallest.
        scheme: of bits-back coding; None for the model's own.
        chunk: images in a chunk; None for as few as keep the cost of beginning chunks below `plan.INITIAL_SHARE`.
        mode: ``stored`` codes nothing by a model.
        threads: at most so many; as many as there are cores if None. The bytes do not depend on it.
        verify: decode everything once, and compare.
    Raises:
        UnsupportedImageError: not an array of images, or a folder without pictures.
        ModelError: the model is not here, cannot run, or fits none of the images.
        VerifyError: what was coded does not decode to the same.
    """
    if mode == "stored" and model is not None:
        raise ValueError("mode stored uses no model")
    models = Models(model, scheme=scheme, threads=threads, stored=mode == "stored")
    if not isinstance(source, str | Path):
        found = from_array(source)
    elif Path(source).is_dir():
        found = from_folder(Path(source), models, progress)
    else:
        found = from_array(arrays.read_array(source))
    writer = _Writer(found, models, chunk, mode, verify, progress)
    try:
        return writer.write(file)
    finally:
        writer.close()


@dataclass
class _Open:
    """A group that is being written: its bodies are not in the file yet."""

    group: Group
    members: range | list[int]
    chunks: list[Chunk] = field(default_factory=list)
    bodies: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(_MEMORY_BYTES))  # noqa: SIM115

    def add(self, body: bytes, check: bytes, member: int | None = None) -> None:
        """A chunk, and its member where that is not known from the start."""
        if member is not None and isinstance(self.members, list):
            self.members.append(member)
        self.chunks.append(Chunk(len(body), crc32(body), check))
        self.bodies.write(body)


@dataclass
class _Writer:
    source: Source
    models: Models
    chunk: int | None
    mode: ModeName
    verify: bool
    progress: Progress
    groups: list[_Open] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        for group in self.groups:
            group.bodies.close()

    def write(self, file: BinaryIO) -> Packed:
        self.notes += self.source.notes
        model = self.models.only
        if model and not any(self.models.fitting(samples.shape, samples.binary) for samples in self.source.samples):
            kind = "x".join(map(str, model.shape))
            raise ModelError(f"the model '{model.id}' is for images of {kind} samples of {model.symbols} values, not for these")
        for samples in self.source.samples:
            self._add_samples(samples)
        self._add_others()
        index = self._index()
        head = archive.pack_head(index)
        file.write(head)
        for group in self.groups:
            group.bodies.seek(0)
            shutil.copyfileobj(group.bodies, file)
        return Packed(index, len(head) + index.size, self.notes)

    def _index(self) -> Archive:
        source = self.source
        members = [0] * len(source.names)
        if source.names:
            for number, group in enumerate(self.groups):
                for member in group.members:
                    members[member] = number
        groups = tuple(replace(group.group, chunks=tuple(group.chunks)) for group in self.groups)
        return Archive(source.array, tuple(source.names), tuple(members), source.source_bytes, groups)

    def _add_samples(self, samples: Samples) -> None:
        """A group of images of one shape, coded in spans, so that memory does not grow with their number."""
        chosen, notes = plan(samples, self.models, self.chunk)
        self.notes += notes
        codec, chunk, count = chosen.codec, chosen.chunk, len(samples.images)
        total = Accounting(0, 0, 0, 0)
        group = _Open(group_of(codec, total, count, chunk, chosen.unit), samples.members)
        self.groups.append(group)
        span = chunk * max(1, SPAN_SAMPLES // (chunk * samples.images[0].size))
        for start in range(0, count, span):
            stop = min(start + span, count)
            self.progress("packing", start, count)
            encoded = codec.encode(samples.symbols(start, stop, chosen.unit), chunk)
            total += encoded.accounting
            bodies = []
            for first, message in zip(range(start, stop, chunk), encoded.messages, strict=True):
                bodies.append(pack_samples(samples.wrappers[first : first + chunk], message))
                group.add(bodies[-1], samples_check(samples.images[first : min(first + chunk, stop)]))
            if self.verify:
                self.progress("verifying", start, count)
                self._verify(chosen, samples, range(start, stop, chunk), bodies, stop)
        group.group = group_of(codec, total, count, chunk, chosen.unit)

    def _verify(self, chosen: Plan, samples: Samples, starts: range, bodies: list[bytes], stop: int) -> None:
        """Raises VerifyError unless the bodies give back the images, and those their files."""
        counts = [min(start + starts.step, stop) - start for start in starts]
        try:
            unpacked = [unpack_samples(body, count if samples.wrappers else 0) for body, count in zip(bodies, counts, strict=True)]
            decoded = chosen.codec.decode([message for _, message in unpacked], counts)
            same = np.array_equal(decoded, samples.symbols(starts.start, stop, chosen.unit))
            wrappers = [wrapper for some, _ in unpacked for wrapper in some]
            for number, wrapper in enumerate(wrappers, starts.start):
                picture = Picture(samples.images[number], wrapper.format, wrapper.metadata)
                same &= wrapper == samples.wrappers[number] and read_picture(write_picture(picture), bilevel=True) == picture
        except BbansError as error:
            raise VerifyError(f"what was packed cannot be unpacked: {error}") from error
        if not same:
            raise VerifyError("what was packed unpacks to other images")

    def _add_others(self) -> None:
        """The files that are coded one by one: pictures, and the rest as they are. Raises: UnsupportedImageError."""
        groups: dict[GroupMethod, _Open] = {}
        for done, number in enumerate(self.source.others):
            self.progress("packing", done, len(self.source.others))
            method, body, check = self._file(self.source.names[number], self.source.read(number))
            if method not in groups:
                groups[method] = _Open(Group(method, 0, 1), [])
                self.groups.append(groups[method])
            groups[method].add(body, check, number)
        for method, group in groups.items():
            group.group = Group(method, len(group.chunks), 1)
        if GroupMethod.FILE in groups:
            kept = [self.source.names[number] for number in groups[GroupMethod.FILE].members]
            if len(self.groups) == 1:
                raise UnsupportedImageError("there are no pictures in this folder")
            self.notes.append(f"no pictures, kept as they are: {_some(kept)}")

    def _file(self, name: str, data: bytes) -> tuple[GroupMethod, bytes, bytes]:
        """A file on its own: method, body and check."""
        try:
            model = self._photo if self.mode == "auto" else None
            return GroupMethod.VAEZ, api.compress(data, mode=self.mode, model=model, verify=self.verify).data, b""
        except UnsupportedImageError:
            body = pack_blob(data)
            if self.verify and unpack_blob(ByteReader(body, name), len(data)) != data:
                raise VerifyError(f"{name}: what was packed unpacks to another file") from None
            return GroupMethod.FILE, body, file_check(data)
        except VerifyError as error:
            raise VerifyError(f"{name}: {error}") from error

    @cached_property
    def _photo(self) -> api.Model:
        """For all pictures that are coded one by one."""
        return api.Model(threads=self.models.threads)


def _some(names: list[str]) -> str:
    """The first of many names."""
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")
