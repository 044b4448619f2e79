"""Several processes that train one model: each its part of every batch, all the same step.

The gradients of all layers travel as one vector, and with them what else the processes must agree on: the losses, whether to
stop, what the clock of the first one says. Every process then makes the same step, so weights are never sent again.

A process that ends takes the others with it: what they send to each other fails. A process whose torchrun has ended would train on,
with nobody to end it and none to restart it; it tells the others, and all of them stop.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bbans.errors import ModelError, TrainingError

T = TypeVar("T")


class Processes:
    """The processes of a run, as one of them knows them. With one process nothing is sent.

    Args:
        parent: the process id of the torchrun that has started this process; None: nothing that has to stay has.
    """

    def __init__(self, rank: int = 0, size: int = 1, parent: int | None = None) -> None:
        self.rank, self.size, self._parent = rank, size, parent

    @property
    def first(self) -> bool:
        """Whether this is the one that reports and writes."""
        return self.rank == 0

    @property
    def abandoned(self) -> bool:
        """Whether the torchrun that has started this process has ended before it."""
        return self._parent is not None and os.getppid() != self._parent

    def average(self, gradients: Sequence[Tensor], others: Tensor) -> Tensor:
        """Replace the gradients by their means over all processes; returns the mean of the other numbers (N,).

        Raises: TrainingError: a process is gone.
        """
        if self.size == 1:
            return others
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), others.to(torch.float32)])
        with _reached():
            dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return flat[start:]

    def from_first(self, make: Callable[[], T]) -> T:
        """What a function returns or raises in the first process, in all of them. Raises: TrainingError: a process is gone."""
        if self.size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.first:
            try:
                box[0] = make()
            except Exception as error:
                box[1] = error
        with _reached():
            dist.broadcast_object_list(box)
        if box[1] is not None:
            raise box[1]
        return box[0]  # type: ignore[no-any-return]

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1:
            dist.destroy_process_group()


@contextmanager
def _reached() -> Iterator[None]:
    """Within this context, what torch raises when another process cannot be reached is a TrainingError."""
    try:
        yield
    except RuntimeError as error:  # torch has a class of its own for some of its transports only
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        cause = re.sub(r"^\[\S+\] ", "", line).partition(". ")[0]  # without the place in torch's source
        raise TrainingError(f"a process of the run has ended, or cannot be reached ({cause})") from error


def device_of(name: str) -> torch.device:
    """The device of this process: `cuda` is the one of torchrun's local rank. Raises: ModelError when it is not there."""
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there
        raise ModelError(f"the device '{device}' cannot be used: {str(error).splitlines()[0]}") from None
    return device


def join(device: torch.device) -> Processes:
    """The processes that torchrun has started, or this one alone. Raises: TrainingError: one does not come."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Processes()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _reached():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), size, os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None)
