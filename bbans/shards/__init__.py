"""Sets: archives of many images, cut into shards that any machine can pack, in a folder or on object storage.

>>> import tempfile
>>> import numpy as np
>>> images = np.arange(50 * 6 * 7, dtype=np.uint8).reshape(50, 6, 7)
>>> with tempfile.TemporaryDirectory() as folder:
...     packed = pack(images, folder, shard_images=20, mode="stored")
...     with open_archive(folder) as archived:
...         len(packed.manifest.parts), len(archived), bool((archived[10:45] == images[10:45]).all())
(3, 50, True)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, BinaryIO, overload

from bbans import sets
from bbans.formats.manifest import Manifest, Part
from bbans.sets.model import ModelLoader, SetModel
from bbans.sets.writer import Packed, PackMode
from bbans.storage import is_url

from .reader import SetReader, open_archive
from .write import SHARD_BYTES, SHARD_IMAGES, PackedSet, SetProgress, pack_shards

__all__ = ["Manifest", "PackedSet", "Part", "SetProgress", "SetReader", "open_archive", "pack", "pack_shards"]


@overload
def pack(
    source: str | Path | sets.arrays.Images,
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
    progress: Callable[[str, int, int], None] = ...,
) -> Packed: ...
@overload
def pack(
    source: Any,
    target: str | Path,
    *,
    executor: Executor | None = ...,
    shard_bytes: int | None = ...,
    shard_images: int | None = ...,
    model: str | Path | None = None,
    scheme: str | None = None,
    chunk: int | None = None,
    mode: PackMode = "auto",
    threads: int | None = None,
    verify: bool = True,
    times: bool = True,
    read_back: bool = False,
    progress: Callable[[SetProgress], None] = ...,
) -> PackedSet: ...
def pack(
    source: Any,
    target: Any,
    *,
    executor: Executor | None = None,
    shard_bytes: int | None = None,
    shard_images: int | None = None,
    **options: Any,
) -> Packed | PackedSet:
    """Pack images into an archive; or into a set of them, if there is an executor or a size of shards, or one of both is a URL.

    Args:
        source: of an archive, see `bbans.sets.pack`; of a set, see `bbans.shards.source.open_source`.
        target: the file of an archive; the folder or URL of a set.
        executor: runs a task for each shard: a process pool, Dask's `client.get_executor()`, MPI's. None: this process.
        shard_bytes: the most bytes of the source in a shard; None for 256 MB.
        shard_images: the most images in a shard; None for 10,000.
        options: see `bbans.sets.pack`; for sets also `read_back`, see `bbans.shards.pack_shards`.
    Raises: as those. Inverse: `open_archive`.
    """
    by_url = any(isinstance(place, str) and is_url(place) for place in (source, target))
    if executor is None and shard_bytes is None and shard_images is None and not by_url:
        return sets.pack(source, target, **options)
    return pack_shards(
        source,
        target,
        executor=executor,
        shard_bytes=SHARD_BYTES if shard_bytes is None else shard_bytes,
        shard_images=SHARD_IMAGES if shard_images is None else shard_images,
        **options,
    )
