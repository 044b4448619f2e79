"""Everything that a training step changes, and the step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from bbans.errors import TrainingError
from bbans.exact.qat import Quantised, set_quantised
from bbans.models.losses import Bits
from bbans.training.distributed import Processes
from bbans.training.optimisers import make_optimiser
from bbans.training.schedule import Schedule

Losses = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Trainer:
    """A model, its moving average and its optimiser.

    Args:
        model: on its device, channels last. The average starts as a copy.
        schedule: for optimiser, moving average and clipping.
        float32: compute in it throughout; else in bfloat16 where autocast does.
        compiled: let torch.compile fuse the operations of a step; where it cannot, `note` gets a line and the step runs without.
        processes: those that share the batches.
    Raises: TrainingError when the schedule trains no layer of the model, or a share of the pixels of one without pixel layers.
    """

    def __init__(
        self,
        model: Quantised,
        schedule: Schedule,
        *,
        float32: bool = False,
        compiled: bool = False,
        processes: Processes | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model, self.average = model, copy.deepcopy(model)
        self.schedule, self.autocast, self.processes, self.note = schedule, not float32, processes or Processes(), note
        self.optimiser = make_optimiser(schedule.optimiser, model)
        self.parameters: list[Tensor] = list(model.parameters())
        if schedule.pixels < 1:
            if getattr(model, "pixel_share", None) is None:
                raise TrainingError("only models with pixel layers can look at a share of the pixels")
            model.pixel_share = schedule.pixels  # type: ignore[assignment]
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(schedule.only))
        if not any(parameter.requires_grad for parameter in self.parameters):
            raise TrainingError(f"the model has no layers whose names begin with '{schedule.only}'")
        self.device = self.parameters[0].device
        self.step = 0
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, bits/dim, KL in bits/dim
        self.summed = self.skipped = 0  # steps since the last report: in the sums, and without a finite gradient
        self._compiled = cast(Losses, torch.compile(self._losses)) if compiled else None
        self._announced: set[bool] = set()

    def advance(
        self, x: Tensor, noise: Tensor, *, quantised: bool, rate: float, kl_weight: float, signals: Sequence[float] = ()
    ) -> list[float]:
        """One step. Returns the sums of the signals of all processes.

        A gradient that is not finite in one process is so in the mean of all: then none of them changes its weights.
        Shapes: x (B, C, H, W) uint8; noise (B, n).
        """
        if self.model.quantised != quantised:
            set_quantised(self.model, quantised)
        if self._compiled and quantised not in self._announced:
            self._announced.add(quantised)
            self.note(f"compiling the step {'with' if quantised else 'without'} rounding: that takes a minute or two")
        likelihood, kl = self._compiled_losses(x, noise) if self._compiled else self._losses(x, noise)
        loss = likelihood + kl_weight * kl
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        means = torch.stack([loss.detach(), (likelihood + kl).detach(), kl.detach(), *loss.new_tensor(signals)])
        means = self.processes.average(gradients, means)
        if torch.isfinite(nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip)):
            self.optimiser.step(rate)
            self.sums += means[:3]
            self.summed += 1
        else:
            self.skipped += 1
        self.step += 1
        with torch.no_grad():
            weight = 1 - min(self.schedule.ema, (self.step + 1) / (self.step + 20))
            torch._foreach_lerp_(list(self.average.parameters()), self.parameters, weight)
        return list(signals) if self.processes.size == 1 else (self.processes.size * means[3:]).tolist()

    @property
    def compiled(self) -> bool:
        return self._compiled is not None

    def means(self) -> dict[str, float]:
        """Means since the last `clear`: the loss (KL weighted), bits/dim and the KL's part of them."""
        loss, bits, kl = (self.sums / max(1, self.summed)).tolist()
        return {"loss": loss, "train": bits, "train_kl": kl}

    def clear(self) -> None:
        """Start the means anew."""
        self.sums.zero_()
        self.summed = self.skipped = 0

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint. Inverse: restore."""
        generators = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sums": self.sums,
            "summed": self.summed,
            "skipped": self.skipped,
            "generators": generators,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state. Inverse: state."""
        self.step, self.summed, self.skipped = state["step"], state["summed"], state["skipped"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.sums.copy_(state["sums"])
        torch.set_rng_state(state["generators"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["generators"]:
            torch.cuda.set_rng_state(state["generators"]["cuda"], self.device)

    def _losses(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean bits/dim of the batch: -log2 p(x|z), and the KL term."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            bits: Bits = self.model(x, noise)
        dims = x[0].numel()
        return bits.likelihood().mean() / dims, bits.kl().mean() / dims

    def _compiled_losses(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        assert self._compiled is not None
        try:
            return self._compiled(x, noise)
        except Exception as error:  # no compiler here, or one that fails: torch has many classes for it
            self._compiled = None
            cause = str(error).strip().splitlines() or [type(error).__name__]
            self.note(f"torch.compile does not work here, so the steps run without it ({cause[0]})")
            return self._losses(x, noise)
