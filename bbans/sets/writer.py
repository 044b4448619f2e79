"""Writing an archive.

::

    source -> groups -> chunks -codec-> bodies, decoded again and compared -> index | bodies

The index comes first in the file, but is known last: until then the bodies are in a temporary file.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, BinaryIO, Literal

import numpy as np

from bbans.accounting import Accounting
from bbans.errors import BbansError, ModelError, UnsupportedImageError, VerifyError
from bbans.files import atomic_write, working_folder
from bbans.formats import archive
from bbans.formats.archive import Archive
from bbans.formats.groups import Chunk, Group
from bbans.formats.wire import crc32
from bbans.formats.words import first_names
from bbans.images.picture import read_picture, write_picture

from . import arrays
from .chunk import Content, ImagesContent, pack_samples
from .group import SPAN_SAMPLES
from .listing import scan
from .methods import FILE_METHODS, METHODS, FileMethod
from .model import ModelLoader, SetModel
from .plan import plan_group
from .source import PackSource, Progress, Samples, from_array, from_files
from .tar import is_tar, read_tar

_MEMORY_BYTES = 1 << 26

PackMode = Literal["auto", "stored"]


@dataclass(frozen=True)
class Packed:
    """An archive that was written: its index, the size of the file, and notes for the user on how it was coded."""

    archive: Archive
    file_bytes: int
    notes: list[str]


def pack(
    source: str | Path | BinaryIO | arrays.Images,
    target: str | Path | BinaryIO,
    *,
    model: str | Path | SetModel | ModelLoader | None = None,
    scheme: str | None = None,
    chunk: int | None = None,
    mode: PackMode = "auto",
    threads: int | None = None,
    verify: bool = True,
    times: bool = True,
    follow: bool = False,
    any_files: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Packed:
    """Write an archive of images. Inverse: `bbans.sets.open_archive`.

    Args:
        source: a folder; a tar, compressed or not; a file of `bbans.sets.arrays` (`FILE.npz:KEY` for one array of several), each
            as a path or as an open file that can seek; or an array (N, H, W[, C]) of uint8, uint16 or bool.
        target: a path, which is written whole or not at all, and replaced if it exists; or an open file, written from its
            current position.
        model: codes all images that it fits: the id of an installed model, a weight file, or a model. None chooses a model for
            each shape of images, by coding the first of them. A `ModelLoader` has models that are loaded already.
        scheme: of bits-back coding, such as `bit-swap`; None for the model's own.
        chunk: images in a chunk; None for as few as keep the cost of starting chunks below `plan.INITIAL_SHARE`.
        mode: `stored` uses no model.
        threads: the most to use; None for as many as there are cores. The bytes do not depend on it.
        verify: decode everything and compare.
        times: keep when files were changed last. Without them the same files give the same archive.
        follow: pack the files that symbolic links lead to, instead of the links.
        any_files: pack a folder without a picture, too.
        progress: called with what is going on, images done, and images in all.
    Raises:
        UnsupportedImageError: not an array of images; files without pictures; a link that leads outside of the folder.
        ModelError: the model is not installed, cannot run, or fits none of the images.
        VerifyError: what was coded does not decode to the same images.
        ValueError: an argument is out of range, or contradicts another.
        OSError: a file cannot be read or written.
    """
    if mode not in ("auto", "stored"):
        raise ValueError(f"mode: auto or stored, not {mode!r}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: at least 1, or None for the default, not {chunk}")
    for name, value in (("model", model), ("scheme", scheme)):
        if mode == "stored" and value is not None:
            raise ValueError(f"{name}: mode stored uses none")
    if isinstance(model, ModelLoader):
        models = model
    else:
        models = ModelLoader(model, scheme=scheme, threads=threads, stored=mode == "stored")
    with ExitStack() as until:
        images = _images(source, models, progress, times, follow, until)
        writer = _Writer(images, models, chunk, verify, any_files, progress)
        until.callback(writer.close)
        return writer.write(until.enter_context(atomic_write(Path(target))) if isinstance(target, str | Path) else target)


def _images(
    source: str | Path | BinaryIO | arrays.Images,
    models: ModelLoader,
    progress: Progress,
    times: bool,
    follow: bool,
    until: ExitStack,
) -> PackSource:
    """The source of `pack`. What it needs is there until the stack is closed."""
    if isinstance(source, np.ndarray):
        return from_array(source)
    name, key = None, None
    if isinstance(source, str | Path):
        if Path(source).is_dir():
            return from_files(scan(Path(source), follow), models, progress, times)
        name, (path, key) = str(source), arrays.split_key(source)
        source = until.enter_context(path.open("rb"))
    if is_tar(source):
        folder = until.enter_context(working_folder())
        return from_files(read_tar(source, folder), models, progress, times)
    return from_array(arrays.read_array_from(source, name, key))


@dataclass
class _OpenGroup:
    """A group that is being written. Its bodies wait in a temporary file."""

    group: Group
    members: Sequence[int]
    chunks: list[Chunk] = field(default_factory=list)
    bodies: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(_MEMORY_BYTES))  # noqa: SIM115

    def add(self, body: bytes, check: bytes) -> None:
        self.chunks.append(Chunk(len(body), crc32(body), check))
        try:
            self.bodies.write(body)
        except OSError as error:  # the user knows nothing of this file
            message = f"the folder for temporary files, {tempfile.gettempdir()}, cannot be written: {error.strerror}"
            raise OSError(errno.EIO, message) from error


@dataclass
class _Writer:
    source: PackSource
    models: ModelLoader
    chunk: int | None
    verify: bool
    any_files: bool
    progress: Progress
    groups: list[_OpenGroup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def close(self) -> None:
        for group in self.groups:
            group.bodies.close()

    def write(self, file: BinaryIO) -> Packed:
        self.notes += self.source.notes
        model = self.models.only
        if model and not any(self.models.fitting(samples.shape, samples.unit is not None) for samples in self.source.samples):
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
        members = [0] * len(self.source.names)
        if members:
            for number, group in enumerate(self.groups):
                for member in group.members:
                    members[member] = number
        groups = tuple(replace(group.group, chunks=tuple(group.chunks)) for group in self.groups)
        source = self.source
        return Archive(
            array=source.array,
            names=tuple(source.names),
            members=tuple(members),
            source_bytes=source.source_bytes,
            groups=groups,
            links=tuple(source.links),
            times=tuple(source.times),
        )

    def _add_samples(self, samples: Samples) -> None:
        """Code a group of images of one shape, as many at a time as SPAN_SAMPLES allows."""
        plan, notes = plan_group(samples, self.models, self.chunk)
        self.notes += notes
        codec, chunk, count = plan.codec, plan.chunk, len(samples.images)
        total = Accounting(0, 0, 0, 0)
        group = _OpenGroup(codec.group(count, chunk, plan.unit, total), samples.members)
        self.groups.append(group)
        # one by one takes long: the user sees each
        span = 1 if codec.alone else chunk * max(1, SPAN_SAMPLES // (chunk * samples.images[0].size))
        for start in range(0, count, span):
            stop = min(start + span, count)
            self.progress("packing", start, count)
            encoded = codec.encode(samples.symbols(start, stop, plan.unit), chunk)
            total += encoded.accounting
            bodies, contents = [], []
            for first, message in zip(range(start, stop, chunk), encoded.messages, strict=True):
                part = slice(first, min(first + chunk, stop))
                contents.append(ImagesContent(samples.images[part], samples.wrappers[part], b"" if codec.alone else None))
                bodies.append(pack_samples(samples.wrappers[part], message))
                group.add(bodies[-1], contents[-1].check())
            if self.verify:
                self.progress("verifying", start, count)
                self._verify(group.group, bodies, contents)
        group.group = codec.group(count, chunk, plan.unit, total)

    def _verify(self, group: Group, bodies: list[bytes], contents: list[ImagesContent]) -> None:
        """Raises VerifyError unless the bodies give back the images, and those their files."""
        try:
            decode = METHODS[group.method].decoder(group, self.models, self.source.array)
            decoded = decode(bodies, [len(content.samples) for content in contents])
            same = all(map(_same, decoded, contents))
        except BbansError as error:
            raise VerifyError(f"what was packed cannot be unpacked: {error}") from error
        if not same:
            raise VerifyError("what was packed unpacks to other images")

    def _add_others(self) -> None:
        """Code the files that are coded one by one. Raises: UnsupportedImageError: none of them is a picture."""
        groups: dict[FileMethod, _OpenGroup] = {}
        members: dict[FileMethod, list[int]] = {}
        for done, number in enumerate(self.source.others):
            self.progress("packing", done, len(self.source.others))
            method, body, check = self._file(number)
            if method not in groups:
                members[method] = []
                groups[method] = _OpenGroup(Group(method.number, 0, 1), members[method])
                self.groups.append(groups[method])
            members[method].append(number)
            groups[method].add(body, check)
        for group in groups.values():
            group.group = replace(group.group, count=len(group.members))
        kept = [self.source.names[number] for method in groups if not method.pictures for number in members[method]]
        if len(kept) == len(self.source.names) > 0 and not self.any_files:
            raise UnsupportedImageError(f"there are no pictures in {self.source.what}")
        if kept:
            self.notes.append(f"not pictures, kept as they are: {first_names(kept)}")

    def _file(self, number: int) -> tuple[FileMethod, bytes, bytes]:
        """The method, body and check of a file. Raises: VerifyError."""
        data = self.source.read(number)
        try:
            for method in FILE_METHODS:
                encoded = method.encode(data, self.models, self.verify)
                if encoded is not None:
                    return method, *encoded
        except VerifyError as error:
            raise VerifyError(f"{self.source.names[number]}: {error}") from error
        raise AssertionError("the last method keeps any file")


def _same(decoded: Content, content: ImagesContent) -> bool:
    """Whether a chunk decodes to the same images, and these, if they are pictures, give files that read as the same pictures."""
    if not isinstance(decoded, ImagesContent) or not np.array_equal(decoded.samples, content.samples):
        return False
    pictures = map(content.picture, range(len(content.wrappers)))
    return decoded.wrappers == content.wrappers and all(read_picture(write_picture(own), bilevel=True) == own for own in pictures)
