"""What a run trains: a family of models on its pictures. The loop knows no more of either than this.

`bbans.training.tasks.photo` is for families for pictures of any size, `bbans.training.tasks.images` for sets of images of one size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset

from bbans.errors import TrainingError
from bbans.exact.qat import Quantised
from bbans.models.weights import Weights
from bbans.training.callbacks import Callbacks
from bbans.training.data.batches import PixelsAndNoise
from bbans.training.distributed import Processes
from bbans.training.schedule import Schedule


@dataclass(frozen=True)
class Measured:
    """Pictures of training or validation (`name`) as real files, decoded and compared.

    `others`: bits of other codes of the same pictures, by name; None where there is none. `row`: what the journal keeps.
    """

    name: str
    pictures: int
    dims: int
    file_bytes: int
    others: dict[str, float | None]
    row: dict[str, Any]


class TrainingTask(Protocol):
    """A family of models, the config of one, and the pictures to train on and to measure with.

    Its model's forward is x (B, C, H, W) uint8, noise (B, n) -> bbans.models.losses.Bits.
    """

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with: `family`, `config`, `data` (a hash), `binarise`."""

    def counts(self) -> dict[str, int]:
        """Of `pictures` to train on and those `held_out`, for the journal."""

    def sample_px(self, schedule: Schedule) -> int:
        """Pixels of a sample of a batch."""

    def make(self, start: Weights | None) -> Quantised:
        """The model, to begin with or as these weights have it. Raises: ModelError for weights of another config."""

    def batches(self, schedule: Schedule, processes: Processes) -> Dataset[PixelsAndNoise]:
        """This process's batches by step; a function of the schedule's seed and the step. Raises: TrainingError."""

    def evaluate(self, model: Quantised, autocast: bool) -> dict[str, float]:
        """`neg_elbo` and `kl` in bits/dim over what is held out; empty when nothing is. The same for the same model."""

    def export(self, model: Quantised, id: str) -> bytes:
        """The weight file of a model on the CPU. Raises: ModelError when a layer breaks the bound of exactness."""

    def measure(
        self, model: Quantised, weights: Path, *, threads: int | None, device: str, callbacks: Callbacks
    ) -> Iterator[Measured]:
        """Code pictures with that weight file, of training and validation. Raises: VerifyError when others come back; Stopped."""


def share(schedule: Schedule, processes: Processes) -> int:
    """How many samples of a batch are this process's. Raises: TrainingError when they cannot be shared evenly."""
    count, rest = divmod(schedule.batch, processes.size)
    if rest or not count:
        raise TrainingError(f"{processes.size} processes cannot share a batch of {schedule.batch} evenly")
    return count
