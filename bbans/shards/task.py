"""Packing one shard: what an engine runs, on any machine, and again if a worker dies.

`pack_shard` writes the same bytes under the same name however often it runs, and where. The shard's line is written after the
shard: what has a line is complete.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from bbans.errors import VerifyError
from bbans.files import working_folder
from bbans.formats.manifest import Part
from bbans.sets.model import ModelLoader
from bbans.sets.writer import Packed, PackMode, pack
from bbans.storage import COPY_BYTES, Folder

from .work import ShardWork

_lock = threading.Lock()


@dataclass(frozen=True)
class PackOptions:
    """How images are coded: see `bbans.sets.pack`. `model` is an id, or a weight file that every worker finds under that path."""

    model: str | None = None
    scheme: str | None = None
    chunk: int | None = None
    mode: PackMode = "auto"
    threads: int | None = None
    verify: bool = True
    times: bool = True

    def identity(self) -> str:
        """What the bytes depend on."""
        return "\0".join(str(value) for name, value in asdict(self).items() if name not in ("threads", "verify"))


@dataclass(frozen=True)
class ShardTask:
    """A shard to be packed: what it holds, and the folder and name that it gets.

    Attributes:
        read_back: the shard is read again once it is written, and compared; one of an earlier job too.
        kept: what an earlier job wrote of the same source.
    """

    work: ShardWork
    target: str
    file: str
    source: str
    options: PackOptions = PackOptions()
    read_back: bool = False
    kept: Part | None = None

    @property
    def settled(self) -> Part | None:
        """What stands for the shard, if there is nothing to do."""
        return None if self.read_back else self.kept


def source_digest(work: ShardWork, options: PackOptions) -> str:
    """A digest of what a shard is made of, and how: where it is the same, the shard need not be packed again."""
    return hashlib.blake2b(
        f"{options.identity()}\1{work.identity()}".encode("utf-8", "surrogateescape"), digest_size=16
    ).hexdigest()


def pack_shard(task: ShardTask) -> Part:
    """What the manifest says of a shard, which is packed unless an earlier job has done so.

    Raises: BbansError: as `bbans.sets.pack`; VerifyError: what was written is not there. OSError.
    """
    if task.settled is not None:
        return task.settled
    return task.kept if task.kept is not None and is_whole(task.target, task.kept) else write_shard(task)


def write_shard(task: ShardTask) -> Part:
    """Pack a shard, write it, then its line. Returns and raises: as `pack_shard`."""
    target = Folder(task.target)
    with working_folder() as own:
        folder, archive = own / "source", own / task.file
        folder.mkdir()
        images = task.work.images(folder)
        with models(task.options) as loader, open(archive, "wb") as file:
            options = task.options
            times = options.times and task.work.has_times
            packed = pack(images, file, model=loader, chunk=options.chunk, verify=options.verify, times=times, any_files=True)
        part = _part(task, packed, archive)
        target.write(task.file, archive)
    if task.read_back and not is_whole(task.target, part):
        raise VerifyError(f"{task.file}: what was written does not read back")
    target.write(f"{task.file}.json", part.to_json().encode())
    return part


def is_whole(target: str, part: Part) -> bool:
    """Whether a shard reads back as it was written: all of it is read, nothing decoded. Raises: OSError, other than a lost file."""
    try:
        with Folder(target).open(part.file) as file:
            return _digest(file) == part.check
    except FileNotFoundError:
        return False


@contextmanager
def models(options: PackOptions) -> Iterator[ModelLoader]:
    """The models of this process, loaded once. One shard at a time uses them: they have threads of their own."""
    with _lock:
        yield _loader(options.model, options.scheme, options.threads, options.mode == "stored")


@cache
def _loader(model: str | None, scheme: str | None, threads: int | None, stored: bool) -> ModelLoader:
    return ModelLoader(model, scheme=scheme, threads=threads, stored=stored)


def _part(task: ShardTask, packed: Packed, archive: Path) -> Part:
    with open(archive, "rb") as file:
        check = _digest(file)
    index = packed.archive
    ids = {group.model.id for group in index.groups if group.model}
    return Part(
        file=task.file,
        images=len(index),
        first=index.names[0] if index.names else "",
        last=index.names[-1] if index.names else "",
        source_bytes=index.source_bytes,
        file_bytes=packed.file_bytes,
        head_bytes=packed.file_bytes - index.size,
        check=check,
        source=task.source,
        models=tuple(sorted(ids)),
    )


def _digest(file: BinaryIO) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    while block := file.read(COPY_BYTES):
        hashed.update(block)
    return hashed.hexdigest()
