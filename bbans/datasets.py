"""Archives as data sets of PyTorch, to train from directly: `pip install 'bbans[train]'`.

::

    images = Archive("s3://bucket/packed")
    loader = DataLoader(images, batch_sampler=ChunkBatches(images, 64, workers=8), num_workers=8)

Each process opens the archive itself, so that workers may be forked or spawned, and ranks of torchrun share nothing. Small images
are in chunks of a hundred or more, and one is decoded with all of its chunk: `ChunkBatches` shuffles so that images of a chunk come
soon after each other, and to the same worker. Any other sampler does as well for pictures that have a chunk each, as photos do, and
where all images fit into `cache_bytes` and workers stay (`persistent_workers=True`): then the second epoch decodes nothing.

>>> import tempfile
>>> import numpy as np
>>> import bbans
>>> with tempfile.TemporaryDirectory() as folder:
...     packed = bbans.pack(np.zeros((5, 6, 7), np.uint8), folder + "/set.vaeza", mode="stored")
...     images = Archive(folder + "/set.vaeza")
...     len(images), images[4].shape, images[4].dtype
...     images.close()
(5, torch.Size([1, 6, 7]), torch.uint8)
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from bbans.errors import UnsupportedImageError
from bbans.results import Restored
from bbans.sets.arrays import Images
from bbans.sets.reader import ArchiveReader
from bbans.shards import SetReader, open_archive

CACHE_BYTES = 1 << 28
"""Decoded images that each process keeps: 300,000 of 28 x 28."""
POOL = 4096
"""Images that are mixed at a time."""


class Archive(Dataset[Any]):
    """The pictures of an archive or a set, decoded: uint8 (C, H, W).

    Args:
        source: path or URL of an archive, or of a set: see `bbans.open_archive`.
        transform: called with each picture; its results are the samples.
        model: a weight file, for an archive whose model is not installed.
        threads: that decode, in each process.
        cache_bytes: the most that decoded chunks take which are kept for other images of them, in each process.
    Raises: as `bbans.open_archive`, when a process first asks for something.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        transform: Callable[[torch.Tensor], Any] | None = None,
        model: str | Path | None = None,
        threads: int | None = 1,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.source, self.transform, self._model, self._threads = str(source), transform, model, threads
        self._cache_bytes = cache_bytes
        self._opened: tuple[int, ArchiveReader | SetReader] | None = None

    @property
    def reader(self) -> ArchiveReader | SetReader:
        """The archive, opened by this process."""
        if self._opened is None or self._opened[0] != os.getpid():  # a fork has the open file and the threads of its parent
            reader = open_archive(self.source, model=self._model, threads=self._threads, cache_bytes=self._cache_bytes)
            self._opened = os.getpid(), reader
        return self._opened[1]

    def close(self) -> None:
        """Close the archive, in this process. It is opened again when it is asked for."""
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: no open archive."""
        return {**self.__dict__, "_opened": None}

    def __len__(self) -> int:
        """The number of files, or of images of an array."""
        return len(self.reader)

    def __getitem__(self, index: SupportsIndex) -> Any:
        """A picture. Negative numbers count from the end.

        Raises: IndexError. UnsupportedImageError: the file is no picture of 8 bits. CorruptDataError, ModelError: it cannot be had.
        """
        return self._sample(self.reader[operator.index(index)], index)

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[Any]:
        """Some pictures, as a DataLoader asks for a batch: of a set of small images each chunk is decoded once."""
        wanted = list(map(operator.index, indices))
        return [self._sample(image, number) for image, number in zip(self.reader.many(wanted), wanted, strict=True)]

    def _sample(self, image: Images | Restored, number: SupportsIndex) -> Any:
        if isinstance(image, Restored):
            try:
                pixels = image.array()
            except UnsupportedImageError as error:
                raise UnsupportedImageError(f"image {number}: {error}") from error
        else:
            pixels = cast(Any, image)
        if pixels.dtype not in (np.uint8, np.bool_):
            raise UnsupportedImageError(f"image {number}: samples of {pixels.dtype}; tensors are uint8")
        pixels = pixels.view(np.uint8)
        pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        tensor = torch.from_numpy(np.array(pixels, order="C"))  # a copy: samples of a chunk share its memory
        return tensor if self.transform is None else self.transform(tensor)


class ChunkBatches(Sampler[list[int]]):
    """Batches of images, mixed among some chunks at a time, for `DataLoader(batch_sampler=...)`.

    Chunks are shuffled, then `pool` images at a time. A loader gives its workers batches in turn: each has chunks of its own here,
    and decodes each of them once. So do the ranks of a run; all have the same number of batches, and what is left over is dropped.

    Args:
        archive: whose indexes are read, those of all shards of a set.
        batch_size: images in a batch; the last one may have fewer, if there is one rank.
        workers: `num_workers` of the loader.
        shuffle: False: images in the order of the chunks.
        pool: images that are mixed. Each worker keeps their chunks: see `cache_bytes` of `Archive`.
        seed, rank, size: the same seed in all ranks; which of how many this is.
    Raises: ValueError. As `bbans.open_archive`.
    """

    def __init__(
        self,
        archive: Archive,
        batch_size: int,
        *,
        workers: int = 1,
        shuffle: bool = True,
        pool: int = POOL,
        seed: int = 0,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("pool", pool)):
            if value < 1:
                raise ValueError(f"{name}: at least 1, not {value}")
        self._chunks = [np.asarray(chunk, np.int64) for chunk in archive.reader.chunks()]
        self._batch, self._workers, self._shuffle, self._pool = batch_size, max(1, workers), shuffle, pool
        self._seed, self._rank, self._size = seed, rank, size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Shuffle in another way from now on: as `DistributedSampler.set_epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        images = sum(map(len, self._chunks))
        return -(-images // self._batch) if self._size == 1 else images // (self._size * self._batch)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self._seed, self.epoch))
        order = rng.permutation(len(self._chunks)) if self._shuffle else range(len(self._chunks))
        images = np.concatenate([np.zeros(0, np.int64), *(self._chunks[number] for number in order)])
        first, count = self._rank * len(self), len(self)
        own = []
        for worker in range(self._workers):  # the first ones have a batch more, if any have
            batches, more = divmod(count, self._workers)
            batches += worker < more
            own.append(self._mixed(rng, images[first * self._batch : (first + batches) * self._batch]))
            first += batches
        for turn in range(-(-count // self._workers)):
            for mixed in own:
                batch = mixed[turn * self._batch : (turn + 1) * self._batch]
                if len(batch):
                    yield batch.tolist()

    def _mixed(self, rng: np.random.Generator, images: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if not self._shuffle:
            return images
        pools = [rng.permutation(images[start : start + self._pool]) for start in range(0, len(images), self._pool)]
        return np.concatenate([images[:0], *pools])
