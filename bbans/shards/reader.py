"""Reading a set of archives: any image by its number or name, by two requests for ranges; many in order, fetched ahead.

::

    manifest           which shard                                         once, when the set is opened
    index of a shard   where in it                                         one range
    chunk              the image                                           one range
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from bbans.errors import CorruptDataError, FormatError, naming
from bbans.formats import manifest
from bbans.results import Restored
from bbans.sets.arrays import Images
from bbans.sets.cache import CACHE_BYTES, ChunkCache
from bbans.sets.model import ModelLoader, SetModel
from bbans.sets.reader import ArchiveReader
from bbans.sets.reader import open_archive as open_local
from bbans.sets.sequence import Image, ImageSequence
from bbans.storage import Folder, is_url, local, split

from . import state
from .ranges import RangeFile

SHARDS_KEPT = 64
"""Shards whose index stays in memory."""
FIRST_BYTES = 1 << 16
"""What is read first of an archive by URL whose index may have any size."""


def open_archive(
    source: str | Path | BinaryIO,
    *,
    model: str | Path | SetModel | ModelLoader | None = None,
    threads: int | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> ArchiveReader | SetReader:
    """Open an archive, or a set of archives. Inverse: `bbans.pack`.

    Args:
        source: the path or URL of an archive, of a folder of archives with a manifest, or of its manifest; or an open file, see
            `bbans.sets.open_archive`.
        model, threads, cache_bytes: see there.
    Raises: FormatError: not an archive, no manifest, damaged, or of a newer version. ValueError: threads. OSError.
    """
    if not isinstance(source, str | Path):
        return open_local(source, model=model, threads=threads, cache_bytes=cache_bytes)
    url = local(str(source))
    folder, name = split(url)
    cache = ChunkCache(cache_bytes)
    if name == manifest.NAME:
        return SetReader(folder, model=model, threads=threads, cache=cache)
    if not is_url(url):
        if os.path.isdir(url):
            return SetReader(Folder(url), model=model, threads=threads, cache=cache)
        return open_local(url, model=model, threads=threads, cache_bytes=cache_bytes)
    if not name.endswith(".vaeza"):
        return SetReader(Folder(url.rstrip("/")), model=model, threads=threads, cache=cache)
    pool = ThreadPoolExecutor(1)
    try:
        file = RangeFile(folder, name, folder.size(name), FIRST_BYTES, pool)
        reader = ArchiveReader(cast(BinaryIO, file), model=model, threads=threads, cache=cache)
    except BaseException:
        pool.shutdown(wait=False)
        raise
    reader.on_close(pool.shutdown)
    return reader


class SetReader(ImageSequence):
    """The images of a set as a sequence: see `ArchiveReader`, whose table of what can be asked for holds here too.

    The index of a shard is kept for the next images of it, of up to `SHARDS_KEPT` shards; so are decoded chunks. Not thread-safe,
    and not to be used in two processes: give each a reader of its own.

    Args:
        folder: where the manifest is.
        model, threads, cache: see `open_archive`.
    Raises: as `open_archive`.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        model: str | Path | SetModel | ModelLoader | None = None,
        threads: int | None = None,
        cache: ChunkCache | None = None,
    ) -> None:
        found = state.read(folder)
        if found is None:
            raise FormatError(f"{folder.url}: there is no {manifest.NAME}: no set of archives, or one that is not complete")
        self.folder, self.manifest = folder, found
        self._models = model if isinstance(model, ModelLoader) else ModelLoader(model, threads=threads)
        self._starts = list(accumulate((part.images for part in found.parts), initial=0))
        self._files: OrderedDict[int, RangeFile] = OrderedDict()
        self._readers: dict[int, ArchiveReader] = {}
        self._cache = cache or ChunkCache()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="vaezip-ahead")

    def close(self) -> None:
        """End what fetches ahead, and keep no chunks."""
        self._cache.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        """The number of images in all shards."""
        return self._starts[-1]

    @property
    def is_array(self) -> bool:
        """Whether an array was packed; else files were."""
        return self.manifest.shape is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all files, in order; empty for an array. Reads the index of every shard, one request each."""
        return tuple(name for shard in range(len(self.manifest.parts)) for name in self.shard(shard).names)

    def __contains__(self, name: object) -> bool:
        """Whether a file has that name. One request, unless its shard's index is here."""
        if not isinstance(name, str) or self.is_array:
            return False
        place = self._shard_of(name)
        return place >= 0 and name in self.shard(place)

    def number(self, name: str) -> int:
        """The number of the file of that name. Raises: KeyError."""
        place = -1 if self.is_array else self._shard_of(name)
        if place < 0:
            raise KeyError(name)
        return self._starts[place] + self.shard(place).number(name)

    def chunks(self) -> list[Sequence[int]]:
        """As `ArchiveReader.chunks`. Reads the index of every shard, one request each."""
        return [
            [self.first(shard) + place for place in places]
            for shard in range(len(self.manifest.parts))
            for places in self.shard(shard).chunks()
        ]

    def shard(self, number: int) -> ArchiveReader:
        """The reader of a shard. Raises: CorruptDataError: it is not the manifest's. OSError."""
        if number not in self._readers:
            file = self._file(number)
            part = self.manifest.parts[number]
            with naming(part.file):
                reader = ArchiveReader(cast(BinaryIO, file), model=self._models, cache=self._cache)
            if len(reader) != part.images:
                raise CorruptDataError(f"{part.file}: {len(reader)} images, but the manifest says {part.images}")
            self._readers[number] = reader
        self._files.move_to_end(number)
        return self._readers[number]

    def __iter__(self) -> Iterator[Image | Restored]:
        """All images in order, each chunk decoded once, the next blocks and the next shard's index fetched meanwhile."""
        for shard in range(len(self.manifest.parts)):
            self._prepare(shard + 1)
            with self._named(shard):
                yield from self.shard(shard)

    def many(self, numbers: Iterable[int]) -> Images | list[Restored]:
        """As `ArchiveReader.many`, each chunk decoded once, the next shard's index fetched meanwhile."""
        checked = self._checked(numbers)
        places: dict[int, list[int]] = {}
        for number in checked:
            shard, place = self.place(number)
            places.setdefault(shard, []).append(place)
        found: dict[int, Restored] = {}
        images: list[Images] = []
        order = list(places)
        for turn, shard in enumerate(order):
            self._prepare(*order[turn + 1 : turn + 2])
            with self._named(shard):
                own = self.shard(shard).many(places[shard])
            if isinstance(own, list):
                found.update((self.first(shard) + place, file) for place, file in zip(places[shard], own, strict=True))
            else:
                images.append(own)
        if not self.is_array:
            return [found[number] for number in checked]
        shape = self.manifest.shape or ()
        if not images:
            return cast(Images, np.zeros((0, *shape[1:]), self.manifest.dtype))
        rows = [self.first(shard) + place for shard in order for place in places[shard]]
        joined = np.concatenate(images)
        return cast(Images, joined if rows == checked else joined[_order(rows, checked)])

    def place(self, number: int) -> tuple[int, int]:
        """The shard of an image, and its number in it."""
        shard = bisect_right(self._starts, number) - 1
        return shard, number - self._starts[shard]

    def first(self, shard: int) -> int:
        """The number of the first image of a shard. Inverse: `place`."""
        return self._starts[shard]

    def _shard_of(self, name: str) -> int:
        """The shard that has the name, if any has; -1 if it comes before all."""
        return bisect_right(self._firsts, os.fsencode(name)) - 1

    @cached_property
    def _firsts(self) -> list[bytes]:
        return [os.fsencode(part.first) for part in self.manifest.parts]

    def _file(self, number: int) -> RangeFile:
        """The file of a shard; the one that was used least goes for it."""
        if number not in self._files:
            part = self.manifest.parts[number]
            self._files[number] = RangeFile(self.folder, part.file, part.file_bytes, part.head_bytes, self._pool)
            if len(self._files) > SHARDS_KEPT:
                oldest, _ = self._files.popitem(last=False)
                self._readers.pop(oldest, None)
        return self._files[number]

    def _prepare(self, *shards: int) -> list[Future[None]]:
        """Fetch the indexes of shards that are read next."""
        return [self._pool.submit(self._file(shard).fetch_head) for shard in shards if shard < len(self.manifest.parts)]

    def _named(self, shard: int) -> AbstractContextManager[None]:
        return naming(self.manifest.parts[shard].file)


def _order(rows: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Where in the rows each wanted number is."""
    where = {number: place for place, number in enumerate(rows)}
    return [where[number] for number in wanted]
