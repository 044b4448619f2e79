"""What a shard is made of. Each kind of source has its own; all of them can go to another machine, and say what they depend on."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from bbans.errors import UnsupportedImageError
from bbans.files import copy_status
from bbans.formats.names import fault_of_name
from bbans.sets.arrays import Images
from bbans.storage import Entry, Folder

from .arrays import open_rows

FETCHED_AT_ONCE = 16
"""Files of a URL that a worker asks for at the same time."""


class ShardWork(Protocol):
    """The images of a shard."""

    @property
    def source_bytes(self) -> int:
        """About how much there is to read."""

    @property
    def has_times(self) -> bool:
        """Whether its files say when they were changed last; object storage says when they were put there."""

    def identity(self) -> str:
        """What the shard depends on: the same text, the same bytes."""

    def images(self, folder: Path) -> Path | Images:
        """What `bbans.sets.pack` takes: an array, or a folder of files, which are put into this empty one. Raises: OSError."""


@dataclass(frozen=True)
class FilesWork:
    """Files of a folder."""

    url: str
    entries: tuple[Entry, ...]

    @property
    def source_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)

    @property
    def has_times(self) -> bool:
        return Folder(self.url).path is not None

    def identity(self) -> str:
        return "\n".join(f"{entry.name}\0{entry.size}\0{entry.stamp}" for entry in self.entries)

    def images(self, folder: Path) -> Path:
        source = Folder(self.url)
        for entry in self.entries:
            (folder / entry.name).parent.mkdir(parents=True, exist_ok=True)
        for entry, data in self._read(source):
            (folder / entry.name).write_bytes(data)
            if source.path is not None:
                copy_status(folder / entry.name, (source.path / entry.name).stat())
        return folder

    def _read(self, source: Folder) -> Iterator[tuple[Entry, bytes]]:
        names = [entry.name for entry in self.entries]
        for start in range(0, len(names), FETCHED_AT_ONCE):
            part = slice(start, start + FETCHED_AT_ONCE)
            yield from zip(self.entries[part], source.read_many(names[part]), strict=True)


@dataclass(frozen=True)
class TarWork:
    """The members of a tar file, such as a shard of WebDataset. Their names begin with that of the tar, without `.tar`."""

    url: str
    entry: Entry

    @property
    def source_bytes(self) -> int:
        return self.entry.size

    @property
    def has_times(self) -> bool:
        return True

    def identity(self) -> str:
        return f"tar\0{self.entry.name}\0{self.entry.size}\0{self.entry.stamp}"

    def images(self, folder: Path) -> Path:
        try:
            with Folder(self.url).open(self.entry.name) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                for member in tar:
                    if member.isfile():
                        self._put(folder, member, tar)
        except tarfile.TarError as error:
            raise UnsupportedImageError(f"{self.entry.name}: a damaged tar: {error}") from error
        return folder

    def _put(self, folder: Path, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
        name = f"{tar_prefix(self.entry.name)}{PurePosixPath(member.name)}"
        fault = fault_of_name(name)
        data = tar.extractfile(member)
        if fault or data is None:
            raise UnsupportedImageError(f"{self.entry.name}: {fault or f'{member.name} cannot be read'}")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.read())
        os.utime(folder / name, (member.mtime, member.mtime))


def tar_prefix(name: str) -> str:
    """What the names of a tar's files begin with: `train-0001.tar` -> `train-0001/`."""
    return name.removesuffix(".gz").removesuffix(".tar") + "/"


@dataclass(frozen=True)
class RowsWork:
    """Rows of an array in a file or in a Zarr store, which the worker opens itself."""

    url: str
    start: int
    stop: int
    row_bytes: int
    stamp: str

    has_times = False

    @property
    def source_bytes(self) -> int:
        return (self.stop - self.start) * self.row_bytes

    def identity(self) -> str:
        return f"rows\0{self.start}\0{self.stop}\0{self.stamp}"

    def images(self, folder: Path) -> Images:
        return open_rows(self.url).read(self.start, self.stop)


@dataclass(frozen=True, eq=False)
class BlockWork:
    """Rows of an array in memory, from `start` on, which go to the worker."""

    start: int
    block: Images

    has_times = False

    @property
    def source_bytes(self) -> int:
        return self.block.nbytes

    def identity(self) -> str:
        block = np.ascontiguousarray(self.block)
        return f"block\0{self.start}\0{block.dtype}\0{block.shape}\0{hashlib.blake2b(block.data, digest_size=16).hexdigest()}"

    def images(self, folder: Path) -> Images:
        return self.block
