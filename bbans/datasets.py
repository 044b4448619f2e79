"""Archives as data sets of PyTorch, to train from directly: `pip install 'bbans[train]'`.

::

    images = Archive("s3://bucket/packed")
    loader = DataLoader(images, batch_size=64, shuffle=True, num_workers=8)

Each process opens the archive itself, so that workers may be forked or spawned, and ranks of torchrun share nothing: give them a
`DistributedSampler` as for any other map-style data set. A batch decodes each chunk that it needs once.

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from bbans.errors import BbansError, UnsupportedImageError
from bbans.results import Restored
from bbans.sets.arrays import Images
from bbans.sets.reader import ArchiveReader
from bbans.shards import SetReader, open_archive


class Archive(Dataset[Any]):
    """The pictures of an archive or a set, decoded: uint8 (C, H, W).

    Args:
        source: path or URL of an archive, or of a set: see `bbans.open_archive`.
        transform: called with each picture; its results are the samples.
        model: a weight file, for an archive whose model is not installed.
        threads: that decode, in each process.
    Raises: as `bbans.open_archive`, when a process first asks for something.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        transform: Callable[[torch.Tensor], Any] | None = None,
        model: str | Path | None = None,
        threads: int | None = 1,
    ) -> None:
        self.source, self.transform, self._model, self._threads = str(source), transform, model, threads
        self._opened: tuple[int, ArchiveReader | SetReader] | None = None

    @property
    def reader(self) -> ArchiveReader | SetReader:
        """The archive, opened by this process."""
        if self._opened is None or self._opened[0] != os.getpid():  # a fork has the open file and the threads of its parent
            self._opened = os.getpid(), open_archive(self.source, model=self._model, threads=self._threads)
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
        reader = self.reader
        images: Any
        if isinstance(reader, SetReader):
            images = reader.many(wanted)
        elif reader.archive.array is None:
            found = dict(reader.files(wanted))
            images = [found[number % len(reader)] for number in wanted]
        else:
            images = reader.array(wanted)
        return [self._sample(image, number) for image, number in zip(images, wanted, strict=True)]

    def _sample(self, image: Images | Restored | BbansError, number: SupportsIndex) -> Any:
        if isinstance(image, BbansError):
            raise image
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
