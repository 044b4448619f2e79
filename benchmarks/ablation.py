"""Trains the three models that benchmarks/latents.py compares, from the start, alike but for their latents.

::

    with      z, drawn from the posterior and coded by bits-back
    without   no z; its heads are wider by as much as gives the decoder no less work
    control   the prior's mode in place of z, a deterministic function of pixels known before: the same layers, and no bits for z

All see the same crops in the same order, take as many steps by the same schedule, and start from the same random numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bbans.exact.qat import ACTIVATION_STEP, Quantised, pool
from bbans.models.losses import Bits, logistic_of
from bbans.models.photo.config import BLOCK, POOL_SHIFT, PhotoConfig
from bbans.models.photo.vae import PhotoVAE
from bbans.models.weights import Weights
from bbans.training.callbacks import Callbacks
from bbans.training.distributed import Processes
from bbans.training.loop import Machine
from bbans.training.outputs import Outputs
from bbans.training.run import run
from bbans.training.schedule import Schedule
from bbans.training.tasks.photo import PhotoTask, read_photo_task

from .detail import macs_per_pixel
from .latents import CONTROL, WITH, WITHOUT, Training


class ControlVAE(PhotoVAE):
    """The photo model with the prior's mode in place of z and of the posterior's mode. The posterior's layers do nothing."""

    def _latents(
        self,
        features: list[Tensor],
        targets: tuple[Tensor, ...],
        refs: tuple[Tensor, Tensor, Tensor],
        noise: Tensor,
        bits: Bits,
    ) -> tuple[Tensor, Tensor, Tensor]:
        height, width = features[0].shape[-2:]
        if min(height, width) < BLOCK:
            return super()._latents(features, targets, refs, noise, bits)
        summary = self.prior_hidden(pool(self.prior_in(features[0]), BLOCK, POOL_SHIFT, self.quantised))
        with torch.autocast(summary.device.type, enabled=False):
            mode = logistic_of(self.prior_out(summary.float()), self.quantised).mode() * ACTIVATION_STEP
        mode = F.interpolate(mode, scale_factor=BLOCK)[..., :height, :width]
        return mode, mode, noise


@dataclass(frozen=True)
class ControlTask(PhotoTask):
    """Trains a ControlVAE. Its weights are those of a photo model, but to be coded with benchmarks.latents.ControlCodec."""

    def make(self, start: Weights | None) -> Quantised:
        assert isinstance(self.config, PhotoConfig) and start is None
        return ControlVAE(self.config)


def without_latents(config: PhotoConfig) -> PhotoConfig:
    """The same sizes without latents, and the least head whose decoder does no less work."""
    plain = replace(config, latents=0)
    while macs_per_pixel(plain) < macs_per_pixel(config):
        plain = replace(plain, head=plain.head + 1)
    return plain


def tasks(photos: Path, config: PhotoConfig, side: int, callbacks: Callbacks) -> dict[str, PhotoTask]:
    """By name. The pictures are read once."""
    task = read_photo_task([photos], [], config, side, callbacks=callbacks)
    return {
        WITH: task,
        WITHOUT: replace(task, config=without_latents(config)),
        CONTROL: ControlTask(task.photos, task.valid, config),
    }


def train_three(
    photos: Path,
    weights: Path,
    config: PhotoConfig,
    schedule: Schedule,
    threads: int | None = None,
    callbacks: Callbacks | None = None,
) -> tuple[Training, dict[str, Path]]:
    """How they were trained, and their weight files by name. A run that was interrupted goes on from its checkpoint there.

    Args:
        photos, weights: folders to read pictures from, and for with.safetensors, without.safetensors, control.safetensors.
        config: the sizes of the models with latents.
    Raises: TrainingError.
    """
    assert schedule.steps is not None
    callbacks = callbacks or Callbacks()
    weights.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    files: dict[str, Path] = {}
    macs: dict[str, float] = {}
    halfway: dict[str, float] = {}
    at_end: dict[str, float] = {}
    by_name = tasks(photos, config, schedule.side, callbacks)
    for name, task in by_name.items():
        assert isinstance(task.config, PhotoConfig)
        files[name], macs[name] = weights / f"{name}.safetensors", macs_per_pixel(task.config)
        callbacks.note(f"training {name}: {macs[name]:.0f} multiplications a pixel")
        run(
            task,
            Outputs(files[name]),
            f"photo-{name}",
            schedule,
            machine=Machine(compiled=False, workers=0),
            processes=Processes(),
            callbacks=callbacks,
            evaluated=False,
        )
        if found := half_and_end(Outputs(files[name]).journal, schedule.steps):
            halfway[name], at_end[name] = found
    photos_there = by_name[WITH].photos
    return Training(len(photos_there), schedule.steps, schedule.batch, schedule.side, macs, halfway, at_end), files


def half_and_end(journal: Path, steps: int) -> tuple[float, float] | None:
    """The negative ELBO of crops of held-out pictures, in bits/dim, as a run reported it after half of its steps and after all.

    None where it did not report both, or held out no pictures.
    """
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    curve = {row["step"]: row["valid_neg_elbo"] for row in rows if row.get("valid_neg_elbo") is not None}
    return (curve[steps // 2], curve[steps]) if {steps // 2, steps} <= curve.keys() else None
