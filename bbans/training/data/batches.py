"""Batches of crops, and batches of any kind made ahead of the steps that take them.

A batch is a function of the step, so that workers in the background change when it is made and not what is in it. The workers are
processes: a crop is a handful of small calls of numpy and Pillow, and in threads these would keep the interpreter from
launching the network's kernels.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bbans.training.data.crops import Crops
from bbans.training.tasks.task import Batch

AHEAD = 4  # batches that each worker may be ahead


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """The batches of one of ``size`` processes by step: crops (count, side, side, 3) uint8 and their noise (count, n).

    All processes together take the samples ``step * count * size`` and on, whatever their number.
    """

    crops: Crops
    count: int
    noise: int
    rank: int = 0
    size: int = 1

    def __getitem__(self, step: int) -> Batch:
        return _samples(self.crops, (step * self.size + self.rank) * self.count, self.count, self.noise)


def batches_from(batches: Dataset[Batch], step: int, device: torch.device, workers: int) -> Generator[Batch]:
    """The batches of that step and all later ones, on the device: x (B, C, H, W) uint8, channels last, and noise (B, n).

    Args:
        workers: processes in the background; with 0 each batch is made when it is asked for.
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


def _samples(crops: Crops, first: int, count: int, noise: int) -> Batch:
    samples = [crops.sample(index, noise) for index in range(first, first + count)]
    x, uniform = (torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))
    return x, uniform


def _leave_signals(worker: int) -> None:
    """Terminals and service managers send signals to the workers too; the run still wants its batch, and ends them itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
