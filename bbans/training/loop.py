"""The training loop of the photo model: Adam, one cycle, moving average, rounding switched on at a stated step."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bbans.exact.qat import set_quantised
from bbans.models.photo import Bits, PhotoVAE
from bbans.models.photo_layout import BLOCK, PhotoConfig
from bbans.training.data import Crops, Pixels


@dataclass(frozen=True)
class Schedule:
    """What a run is, apart from its pictures."""

    steps: int = 10_000
    batch: int = 16
    side: int = 64
    rate: float = 1e-3
    warm_up: int = 200  # steps to the full learning rate
    decay_from: float = 0.5  # share of the steps after which the rate falls, as half a cosine
    quantise_from: float = 0.5  # share of the steps after which activations and weights are rounded
    kl_from: float = 0.1  # weight of the KL term at the start; a full weight at once would shut the latents off
    kl_until: float = 0.2  # share of the steps after which the KL term has its full weight
    ema: float = 0.998
    clip: float = 1.0
    seed: int = 0

    def rate_at(self, step: int) -> float:
        share = step / self.steps
        fall = 1.0
        if share > self.decay_from:
            fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - self.decay_from) / (1 - self.decay_from)))
        return self.rate * min(1.0, (step + 1) / self.warm_up) * fall

    def kl_weight_at(self, step: int) -> float:
        return min(1.0, self.kl_from + (1 - self.kl_from) * step / max(1.0, self.kl_until * self.steps))


def noise_size(config: PhotoConfig, side: int) -> int:
    """How many uniform numbers the latents of a side x side picture take."""
    count, grid = 0, side // 2
    while grid >= BLOCK:
        count += (-(-grid // BLOCK)) ** 2 * config.latents
        grid //= 2
    return count


def batch_of(crops: Crops, first: int, count: int, config: PhotoConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """The samples ``first`` to ``first + count``: pixels (B, 3, side, side) uint8 and noise (B, n)."""
    samples = [crops.sample(i, noise_size(config, crops.side)) for i in range(first, first + count)]
    x = torch.from_numpy(np.stack([s[0] for s in samples])).permute(0, 3, 1, 2)
    return x.to(device), torch.from_numpy(np.stack([s[1] for s in samples])).to(device)


def evaluate(model: PhotoVAE, photos: list[Pixels], side: int = 256, autocast: bool = True) -> dict[str, float]:
    """Mean negative ELBO in bits/dim over the centre crops of the photos, and its parts. No coder is involved."""
    device = next(model.parameters()).device
    likelihood = kl = 0.0
    for index, photo in enumerate(photos):
        size = 1 << min(side, *photo.shape[:2]).bit_length() - 1
        top, left = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
        crop = np.ascontiguousarray(photo[top : top + size, left : left + size])
        x = torch.from_numpy(crop).permute(2, 0, 1)[None].to(device)
        rng = np.random.default_rng((1, index))
        noise = torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, (1, noise_size(model.config, size))).astype(np.float32))
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            bits: Bits = model(x, noise.to(device))
        likelihood += bits.likelihood().item() / x.numel()
        kl += bits.kl().item() / x.numel()
    count = len(photos)
    return {"neg_elbo": (likelihood + kl) / count, "kl": kl / count}


def train(
    photos: list[Pixels],
    valid: list[Pixels],
    config: PhotoConfig,
    schedule: Schedule,
    checkpoint: Path,
    *,
    device: str = "cpu",
    every: int = 500,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> PhotoVAE:
    """Train, or go on from ``checkpoint`` where it exists, and return the averaged model, quantised.

    ``report`` gets a dictionary every ``every`` steps, when the checkpoint is written too.
    """
    target = torch.device(device)
    torch.manual_seed(schedule.seed)
    model: PhotoVAE = PhotoVAE(config).to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=schedule.rate, betas=(0.9, 0.99))
    step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=target, weights_only=True)
        if state["config"] != asdict(config):
            raise ValueError(f"{checkpoint} was trained as {state['config']}, not {asdict(config)}")
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    crops = Crops(photos, schedule.side, schedule.seed)
    recent: list[float] = []
    kls: list[float] = []
    started = time.monotonic()
    first = step
    while step < schedule.steps:
        quantised = step >= schedule.quantise_from * schedule.steps
        set_quantised(model, quantised)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        x, noise = batch_of(crops, step * schedule.batch, schedule.batch, config, target)
        with torch.autocast(target.type, torch.bfloat16):
            bits: Bits = model(x, noise)
        dims = x[0].numel()
        kl = bits.kl().mean() / dims
        likelihood = bits.likelihood().mean() / dims
        optimiser.zero_grad(set_to_none=True)
        (likelihood + schedule.kl_weight_at(step) * kl).backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)):
            optimiser.step()
        step += 1
        with torch.no_grad():
            weight = 1 - min(schedule.ema, (step + 1) / (step + 20))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
        recent.append((likelihood + kl).item())
        kls.append(kl.item())
        if step % every == 0 or step == schedule.steps:
            set_quantised(average, quantised)
            row: dict[str, Any] = {"step": step, "steps": schedule.steps, "quantised": quantised}
            row |= {"train": float(np.mean(recent)), "train_kl": float(np.mean(kls))}
            row |= {f"valid_{k}": v for k, v in evaluate(average, valid).items()} if valid else {}
            row["seconds_per_step"] = (time.monotonic() - started) / (step - first)
            report(row)
            recent, kls = [], []
            state = {"config": asdict(config), "schedule": asdict(schedule), "step": step}
            state |= {"model": model.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
            partial = checkpoint.with_suffix(".tmp")
            torch.save(state, partial)
            partial.replace(checkpoint)
    set_quantised(average, True)
    return average


def json_lines(path: Path) -> Callable[[dict[str, Any]], None]:
    """A ``report`` that appends to a file of JSON lines and prints nothing."""

    def write(row: dict[str, Any]) -> None:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    return write
