"""What is packed into shards, and how it is cut: a folder, tar files, an array. See `bbans.shards.work` for the kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from bbans.errors import UnsupportedImageError
from bbans.storage import Folder, split

from .arrays import Rows, is_rows, open_rows, rows_of, spans
from .cut import cut
from .work import BlockWork, FilesWork, RowsWork, ShardWork, TarWork, tar_prefix

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class ShardSource:
    """A source, cut into shards: `works` says what each holds, in order. It can be asked for once.

    `in_memory`: each holds its images themselves, so that few should wait at a time.
    """

    works: Iterator[ShardWork]
    shards: int
    source_bytes: int
    rows: Rows | None = None
    in_memory: bool = False


def open_source(source: Any, shard_bytes: int, shard_images: int) -> ShardSource:
    """A source, listed and cut.

    Args:
        source: a folder, an array in a file or a Zarr store, or tar files such as `train-{0000..0099}.tar` or `*.tar`, by path or
            URL; or an array of numpy, Dask or Zarr, (N, H, W) or (N, H, W, C) of uint8, uint16 or bool.
    Raises: UnsupportedImageError: no files, or an array of no images. FileNotFoundError, OSError.
    """
    if not isinstance(source, str | Path):
        return _open_array(source, shard_bytes, shard_images)
    url = str(source)
    if url.endswith((".tar", ".tar.gz")):
        return _open_tars(url)
    if is_rows(url):
        rows = open_rows(url)
        row_spans = spans(rows, shard_bytes, shard_images)
        works: Iterator[ShardWork] = (RowsWork(url, start, stop, rows.row_bytes, rows.stamp) for start, stop in row_spans)
        return ShardSource(works, len(row_spans), rows.row_bytes * rows.shape[0], rows)
    entries = Folder(url).find()
    if not entries:
        raise UnsupportedImageError(f"{url}: there are no files")
    shards = list(cut(entries, shard_bytes, shard_images))
    works = (FilesWork(url, tuple(shard)) for shard in shards)
    return ShardSource(works, len(shards), sum(entry.size for entry in entries))


def _open_tars(url: str) -> ShardSource:
    """Each tar is a shard: what its maker has put together stays so."""
    folder, pattern = split(url)
    patterns = list(_expand(pattern))
    listed = {entry.name: entry for entry in folder.find() if "/" not in entry.name}
    names = {name for pattern in patterns for name in listed if fnmatchcase(name, pattern)}
    missing = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if missing:
        raise FileNotFoundError(2, f"{folder.url}: there is no {missing[0]}")
    entries = [listed[name] for name in sorted(names, key=lambda name: tar_prefix(name).encode("utf-8", "surrogateescape"))]
    works = (TarWork(folder.url, entry) for entry in entries)
    return ShardSource(works, len(entries), sum(entry.size for entry in entries))


def _expand(pattern: str) -> Iterator[str]:
    """`a-{08..11}.tar` as the four names that it means; other patterns as they are."""
    found = _RANGE.search(pattern)
    if not found:
        yield pattern
        return
    for number in range(int(found[1]), int(found[2]) + 1):
        yield from _expand(f"{pattern[: found.start()]}{number:0{len(found[1])}}{pattern[found.end() :]}")


def _open_array(array: Any, shard_bytes: int, shard_images: int) -> ShardSource:
    chunks = getattr(array, "chunks", None)
    step = int(np.max(chunks[0])) if chunks else 1  # Dask has the length of each chunk, Zarr that of all
    rows = rows_of(array, "array", step, "")
    row_spans = spans(rows, shard_bytes, shard_images)
    works = (BlockWork(start, rows.read(start, stop)) for start, stop in row_spans)
    return ShardSource(works, len(row_spans), rows.row_bytes * rows.shape[0], rows, in_memory=True)
