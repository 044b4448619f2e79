"""Optimisers: Adam, and Muon for the convolutions with Adam for the rest.

Muon replaces the momentum of a weight matrix by the nearest orthogonal one, so that all its directions are learned at the same
rate. A convolution (C_out, C_in, k, k) counts as a matrix (C_out, C_in k k). Biases have no such structure, and the heads want
every output at its own rate: those are Adam's.

Sources: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (the iteration and its coefficients);
Liu et al., "Muon is scalable for LLM training", 2025 (the scale that makes its rates comparable to Adam's);
Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bbans.exact.qat import QConv

OPTIMISERS = ("adam", "muon")
BETAS = (0.9, 0.99)
MOMENTUM = 0.95
SCALE = 0.2  # of an orthogonal update: root mean square of Adam's updates
ADAM_SHARE = 0.5  # rate of the parameters that are left to Adam, of Muon's
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the iteration; singular values end between 0.7 and 1.2
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: for weights of at least two axes, the first against all others. In `kind`, see `orthogonal`."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = MOMENTUM,
        scale: float = SCALE,
        kind: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "scale": scale})
        self.kind = kind

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)  # Nesterov's
                by_shape.setdefault(tuple(update.shape), []).append((parameter, update))
            for (rows, columns), alike in by_shape.items():  # all matrices of a shape at once
                rate = group["lr"] * group["scale"] * max(rows, columns) ** 0.5
                for (parameter, _), update in zip(alike, orthogonal(torch.stack([u for _, u in alike]), self.kind), strict=True):
                    parameter.sub_(update.view_as(parameter), alpha=rate)


def orthogonal(x: Tensor, kind: torch.dtype = torch.bfloat16) -> Tensor:
    """Matrices near U V^T of their singular value decompositions U S V^T, by Newton and Schulz's iteration. (N, rows, columns)

    In bfloat16: three times as fast as in float32, and the singular values are only brought near 1 anyway. Small matrices on a
    processor may be faster in float32.
    """
    tall, given = x.shape[1] > x.shape[2], x.dtype
    x = x.mT if tall else x
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)).to(kind)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.mT
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)  # b square + c square^2
        x = torch.baddbmm(x, factor, x, beta=a)  # a x + factor x
    return (x.mT if tall else x).to(given)


class Optimiser:
    """The optimisers of a model's parameters, as one. Each takes its share of the rate."""

    def __init__(self, parts: list[tuple[torch.optim.Optimizer, float]]) -> None:
        self.parts = parts

    def step(self, rate: float) -> None:
        for optimiser, share in self.parts:
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimiser.state_dict() for optimiser, _ in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for (optimiser, _), state in zip(self.parts, states, strict=True):
            optimiser.load_state_dict(state)


def make_optimiser(name: str, model: nn.Module) -> Optimiser:
    """The optimiser of a model, by one of the names in OPTIMISERS."""
    if name not in OPTIMISERS:
        raise ValueError(f"an optimiser is one of {', '.join(OPTIMISERS)}, not {name!r}")
    if name == "adam":
        return Optimiser([(torch.optim.Adam(model.parameters(), betas=BETAS), 1.0)])
    matrices = [module.weight for module in model.modules() if isinstance(module, QConv) and module.relu]
    chosen = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return Optimiser([(Muon(matrices, lr=0.0), 1.0), (torch.optim.Adam(rest, betas=BETAS), ADAM_SHARE)])
