"""Batches of crops and of images, prepared ahead of the steps that use them.

A batch is a function of the seed and the step: workers in the background change when it is prepared, not what is in it. The workers
are processes. A crop is a handful of small calls of numpy and Pillow, which in threads would keep the interpreter from launching
the network's kernels.

Batches of images run through one permutation of all images after the other, one an epoch. The noise of the latents, and the draws
where 8-bit samples become 0 or 1 anew for every use, are those of the batch of all processes, of which each takes its rows.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bbans.training.data.crops import RandomCrops
from bbans.training.data.images import binarise
from bbans.training.data.pictures import Pixels

PixelsAndNoise = tuple[Tensor, Tensor]
"""x (B, H, W, C) uint8 and the noise of its latents (B, n), uniform in (0, 1)."""

AHEAD = 4  # batches that each worker may be ahead
NOISE, DRAWS = 1, 2  # streams of a step's random numbers


@dataclass(frozen=True)
class CropBatches(Dataset[PixelsAndNoise]):
    """The batches of one of `size` processes by step: crops (count, side, side, 3) uint8 and their noise (count, n).

    All processes together take the samples `step * count * size` and on, whatever their number.
    """

    crops: RandomCrops
    count: int
    noise: int
    rank: int = 0
    size: int = 1

    def __getitem__(self, step: int) -> PixelsAndNoise:
        first = (step * self.size + self.rank) * self.count
        samples = [self.crops.sample(index, self.noise) for index in range(first, first + self.count)]
        x, noise = (torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))
        return x, noise


@dataclass(frozen=True)
class ImageBatches(Dataset[PixelsAndNoise]):
    """The batches of one of `size` processes by step: images (count, H, W, C) uint8 and their noise (count, n).

    All processes together take the samples `step * count * size` and on, whatever their number. `sampled`: images are 8-bit, and
    what comes out is 0 or 1.
    """

    pixels: Pixels
    count: int
    noise: int
    seed: int
    sampled: bool = False
    rank: int = 0
    size: int = 1

    def __getitem__(self, step: int) -> PixelsAndNoise:
        total = self.count * self.size
        rows = slice(self.rank * self.count, (self.rank + 1) * self.count)
        x = self.pixels[order(self.seed, len(self.pixels), step * total + rows.start, self.count)]
        if self.sampled:
            every = np.zeros((total, *x.shape[1:]), np.uint8)
            every[rows] = x
            x = binarise(every, "sampled", np.random.default_rng((self.seed, step, DRAWS)))[rows]
        return torch.from_numpy(x), uniform(np.random.default_rng((self.seed, step, NOISE)), total, self.noise)[rows]


def order(seed: int, images: int, first: int, count: int) -> NDArray[np.int64]:
    """The images of the samples `first` to `first + count`, (count,)."""
    parts = []
    while count:
        epoch, start = divmod(first, images)
        part = _permutation(seed, images, epoch)[start : start + count]
        parts.append(part)
        first, count = first + len(part), count - len(part)
    return np.concatenate(parts)


def uniform(rng: np.random.Generator, rows: int, columns: int) -> Tensor:
    """Noise of latents, in (0, 1). Both ends are left out: their logits are not finite."""
    return torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, (rows, columns)).astype(np.float32))


@functools.lru_cache(maxsize=2)  # a batch may lie in two epochs
def _permutation(seed: int, images: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(images)


def batches_from(batches: Dataset[PixelsAndNoise], step: int, device: torch.device, workers: int) -> Generator[PixelsAndNoise]:
    """The batches of that step and all later ones, on the device: x (B, C, H, W) uint8, channels last, and noise (B, n).

    Args:
        workers: processes in the background; with 0 each batch is prepared when it is needed.
    """
    on_gpu = device.type == "cuda"
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(step, sys.maxsize),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=on_gpu,
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),  # the loader draws a seed for workers; not from the generator that all share
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,  # photos are shared, not copied
    )
    for x, noise in loader:
        yield x.to(device, non_blocking=True).permute(0, 3, 1, 2), noise.to(device, non_blocking=True)


def _leave_signals(worker: int) -> None:
    """Terminals and service managers send signals to the workers too; the run still wants its batch, and ends them itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
