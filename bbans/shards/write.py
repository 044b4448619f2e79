"""Packing a source into shards: by this process, or by an engine, which is any `concurrent.futures.Executor`.

::

    source -cut-> works -> tasks -executor: pack_shard-> shards, their lines -> manifest

What an engine does is its own: where tasks run, what becomes of a dead worker, how often a task is tried again. The shards and the
manifest are the same bytes with every engine. A job that has ended anywhere goes on from the shards that are complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from bbans.errors import naming
from bbans.formats import manifest
from bbans.formats.manifest import Manifest, Part, shard_name
from bbans.sets.writer import PackMode
from bbans.storage import Folder, is_url

from . import state
from .source import ShardSource, open_source
from .task import PackOptions, ShardTask, pack_shard, source_digest

SHARD_BYTES = 256 * 10**6
SHARD_IMAGES = 10_000
"""Defaults: of a random access to a shard, its index is read first, and that grows with its images."""
IN_FLIGHT = 256
"""Tasks that an engine has at a time: enough for as many workers, few enough for the memory of whoever submits them."""
IN_MEMORY = 4
"""As IN_FLIGHT, where tasks hold their images."""
PAUSE_SECONDS = 0.5


@dataclass
class SetProgress:
    """How far a job is. `kept` shards were complete before it began."""

    shards: int
    source_bytes: int
    done: int = 0
    kept: int = 0
    done_bytes: int = 0
    kept_bytes: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Source bytes in a second."""
        return self.done_bytes / max(time.monotonic() - self.began, 1e-9)

    @property
    def left_seconds(self) -> float | None:
        """At this rate; None before the first shard is done."""
        left = self.source_bytes - self.done_bytes - self.kept_bytes
        return left / self.rate if self.done_bytes else None


@dataclass(frozen=True)
class PackedSet:
    """A set that was written, and how many of its shards were complete before."""

    manifest: Manifest
    kept: int


def pack_shards(
    source: Any,
    target: str | Path,
    *,
    executor: Executor | None = None,
    shard_bytes: int = SHARD_BYTES,
    shard_images: int = SHARD_IMAGES,
    model: str | Path | None = None,
    scheme: str | None = None,
    chunk: int | None = None,
    mode: PackMode = "auto",
    threads: int | None = None,
    verify: bool = True,
    times: bool = True,
    read_back: bool = False,
    progress: Callable[[SetProgress], None] = lambda progress: None,
) -> PackedSet:
    """Pack a source into a folder of archives, a set. Inverse: `bbans.open_archive`.

    Args:
        source: see `open_source`.
        target: a folder by its path or URL. Shards in it that are complete and of the same source are kept.
        executor: runs the tasks, one for each shard; None: this process.
        shard_bytes: the most bytes of the source in a shard. The shard itself is mostly smaller.
        shard_images: the most images in a shard.
        model, scheme, chunk, mode, threads, verify, times: see `bbans.sets.pack`. Links are followed; files by URL have no times.
        read_back: read every shard again, those that are kept too, and pack those again that are damaged.
        progress: called when a shard is done, and at times between.
    Raises: as `bbans.sets.pack`, with the name of the shard. Complete shards stay, and the next call goes on from there.
    """
    for name, value in (("shard_bytes", shard_bytes), ("shard_images", shard_images)):
        if value < 1:
            raise ValueError(f"{name}: at least 1, not {value}")
    options = PackOptions(None if model is None else str(model), scheme, chunk, mode, threads, verify, times)
    check_target(source, str(target))
    found = open_source(source, shard_bytes, shard_images)
    job = SetProgress(found.shards, found.source_bytes)
    planned = plan(found, str(target), options, read_back)
    if executor is None:
        runs = _run(planned, _Here(), 1, lambda: None)
    else:
        runs = _run(planned, executor, IN_MEMORY if found.in_memory else IN_FLIGHT, lambda: progress(job))
    parts: dict[int, Part] = {}
    for position, own, part in runs:
        parts[position] = part
        if part == own.kept:
            job.kept, job.kept_bytes = job.kept + 1, job.kept_bytes + own.work.source_bytes
        else:
            job.done, job.done_bytes = job.done + 1, job.done_bytes + own.work.source_bytes
        progress(job)
    result = whole(found, [parts[position] for position in sorted(parts)])
    state.finish(Folder(str(target)), result)
    return PackedSet(result, job.kept)


def check_target(source: Any, target: str) -> None:
    """Raises: ValueError: the target lies in the folder that is packed, or holds it."""
    if isinstance(source, str | Path) and not is_url(str(source)) and not is_url(target):
        here, there = Path(source).resolve(), Folder(target).path
        if there is not None and there.resolve().is_relative_to(here):
            raise ValueError(f"target: {target} lies in the folder that is packed")


def plan(source: ShardSource, target: str, options: PackOptions, read_back: bool = False) -> Iterator[ShardTask]:
    """The tasks of a source in order. Names of shards that an old manifest has are not given again: its readers still need them."""
    parts, kept = state.earlier(Folder(target))
    taken = {part.file for part in parts}
    numbers = count(max([source.shards, *((manifest.shard_number(name) or 0) + 1 for name in taken)]))
    for position, work in enumerate(source.works):
        digest = source_digest(work, options)
        part = kept.get(digest)
        name = part.file if part else shard_name(position)
        if part is None and name in taken:
            name = shard_name(next(numbers))
        yield ShardTask(work, target, name, digest, options, read_back, part)


def whole(source: ShardSource, parts: list[Part]) -> Manifest:
    """The manifest of all parts of a source."""
    return Manifest(tuple(parts), *((source.rows.dtype, source.rows.shape) if source.rows else ()))


class _Here(Executor):
    """Runs each task when it is given."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def _run(
    planned: Iterator[ShardTask], executor: Executor, most: int, pause: Callable[[], None]
) -> Iterator[tuple[int, ShardTask, Part]]:
    """(position, task, part) of all tasks, as they are done. At most so many are with the executor at a time."""
    waiting: dict[Future[Part], tuple[int, ShardTask]] = {}
    tasks = enumerate(planned)
    ended = False
    try:
        while not ended or waiting:
            while not ended and len(waiting) < most:
                position, own = next(tasks, (-1, None))
                if own is None:
                    ended = True
                elif own.settled is not None:  # it need not go to the executor
                    yield position, own, own.settled
                else:
                    waiting[executor.submit(pack_shard, own)] = position, own
            for future in wait(waiting, PAUSE_SECONDS, FIRST_COMPLETED).done if waiting else ():
                position, own = waiting.pop(future)
                with naming(own.file):
                    part = future.result()
                yield position, own, part
            pause()
    finally:
        for future in waiting:
            future.cancel()
