"""Priors that are learned: what a fixed p(z) leaves unused, the KL term pays for.

Sources: Tomczak and Welling, "VAE with a VampPrior", 2018; Bauer and Mnih, "Resampled priors for variational autoencoders", 2019.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from .model import LATENT_UNIT, Conditional, Mlp, normal, std
from .posteriors import SampledKL
from .training import Points

COMPONENTS = 32
TRAINING_CELLS, SETTLED_CELLS = 32, 400  # a side of the grids of the resampled prior


def mixture(logits: Tensor, means: Tensor, deviations: Tensor) -> Conditional:
    """A mixture of K normals with independent numbers: z_1 chooses among them, so z_2 given z_1 is a mixture with other weights.

    Shapes: logits (K,), means and deviations (K, 2).
    """

    def conditional(before: Tensor) -> Distribution:
        d = before.shape[-1]
        weights = logits.expand(*before.shape[:-1], len(logits))
        if d:
            weights = weights + normal(means[:, 0], deviations[:, 0]).log_prob(before[..., :1])
        shape = weights.shape
        parts = normal(means[:, d].expand(shape), deviations[:, d].expand(shape))
        return MixtureSameFamily(Categorical(logits=weights, validate_args=False), parts, validate_args=False)

    return conditional


class LearnedPrior(SampledKL):
    """p(z): a mixture of normals, trained with the rest."""

    title = "learned prior (32 Gaussians)"
    source = "Jiang et al., Variational deep embedding, 2017"

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(COMPONENTS))
        self.means = nn.Parameter(1.5 * torch.randn(COMPONENTS, 2))
        self.raw = nn.Parameter(torch.zeros(COMPONENTS, 2))

    def prior(self) -> Conditional:
        return mixture(self.logits, self.means, std(self.raw))


class VampPrior(SampledKL):
    """p(z): the mean of q(z|u) over learned points u, with learned weights. The best points would be those of the data."""

    warm_up = 0.3  # without it the prior follows the posteriors into saying nothing, and latents stay off
    title = "VampPrior (32 pseudo-points)"
    source = "Tomczak and Welling 2018"

    def __init__(self) -> None:
        super().__init__()
        self.pseudo_points = nn.Parameter(0.2 * torch.randn(COMPONENTS, 2))
        self.logits = nn.Parameter(torch.zeros(COMPONENTS))

    def prior(self) -> Conditional:
        mean, raw = self.encoder(self.pseudo_points).chunk(2, -1)
        return mixture(self.logits, mean, std(raw))


class ResampledPrior(SampledKL):
    """LARS: draws from a normal N are accepted with probability a(z), and draw T is taken as it is::

        p(z) = N(z) (a(z) (1 - (1 - Z)^(T-1)) / Z + (1 - Z)^(T-1))      Z = E_N a(z)

    In two dimensions Z is a mean over a grid: while training, at random places of cells that N gives equal masses. The last draw
    keeps a(z) from becoming a few peaks that such a mean misses. For coding p(z_1) and p(z_2|z_1) are tables of a fine grid, made
    after training.
    """

    warm_up = 0.3
    title = "resampled prior (LARS)"
    source = "Bauer and Mnih 2019"
    draws = 100  # T, the paper's
    limit = 5.0

    def __init__(self) -> None:
        super().__init__()
        self.acceptance = Mlp(2, 1, LATENT_UNIT)
        self.register_buffer("settled", torch.zeros(SETTLED_CELLS, SETTLED_CELLS))
        self.settled: Tensor

    def log_accepted(self, z: Tensor) -> Tensor:
        """log a(z). (...)"""
        return nn.functional.logsigmoid(self.acceptance(z)[..., 0])

    def log_density(self, z: Tensor, log_mean: Tensor) -> Tensor:
        """log p(z), given log Z. (...)"""
        log_left = (self.draws - 1) * torch.log1p(-log_mean.exp().clamp(max=1 - 1e-6))
        log_taken = torch.log1p(-log_left.exp()) - log_mean
        ratio = torch.logaddexp(self.log_accepted(z) + log_taken, log_left)
        return normal(torch.zeros(()), torch.ones(())).log_prob(z).sum(-1) + ratio

    def log_prior(self, z: Tensor) -> Tensor:
        places = (grid(TRAINING_CELLS) + torch.rand(TRAINING_CELLS, TRAINING_CELLS, 2)) / TRAINING_CELLS
        draws = torch.special.ndtri(places.clamp(1e-6, 1 - 1e-6))
        return self.log_density(z, self.log_accepted(draws).logsumexp((0, 1)) - 2 * math.log(TRAINING_CELLS))

    @torch.no_grad()
    def settle(self, points: Points) -> None:
        step = 2 * self.limit / SETTLED_CELLS
        middles = (grid(SETTLED_CELLS) + 0.5) * step - self.limit
        log_normal = normal(torch.zeros(()), torch.ones(())).log_prob(middles).sum(-1) + 2 * math.log(step)
        log_masses = self.log_density(middles, (log_normal + self.log_accepted(middles)).logsumexp((0, 1)))
        self.settled.copy_(log_masses - log_masses.logsumexp((0, 1)))

    def prior(self) -> Conditional:
        joint = self.settled
        first, cells, step = joint.logsumexp(1), len(joint), 2 * self.limit / len(joint)

        def conditional(before: Tensor) -> Distribution:
            if not before.shape[-1]:
                return Table(first.expand(*before.shape[:-1], cells), self.limit)
            row = ((before[..., 0] + self.limit) / step).long().clamp(0, cells - 1)
            return Table(joint[row] - first[row].unsqueeze(-1), self.limit)

        return conditional


def grid(cells: int) -> Tensor:
    """The corners of cells of side 1, (cells, cells, 2)."""
    return torch.stack(torch.meshgrid(*[torch.arange(cells)] * 2, indexing="ij"), -1)


class Table(Distribution):
    """A density of one number that is constant in each of n cells of [-limit, limit]. Shape of log masses: (..., n)."""

    def __init__(self, log_mass: Tensor, limit: float) -> None:
        self.log_mass, self.limit, self.step = log_mass, limit, 2 * limit / log_mass.shape[-1]
        super().__init__(log_mass.shape[:-1], validate_args=False)

    def log_prob(self, value: Tensor) -> Any:
        n = self.log_mass.shape[-1]
        cell = ((value + self.limit) / self.step).long().clamp(0, n - 1)
        return self.log_mass.expand(*value.shape, n).gather(-1, cell.unsqueeze(-1))[..., 0] - math.log(self.step)

    def cdf(self, value: Tensor) -> Any:
        n = self.log_mass.shape[-1]
        ends = nn.functional.pad(self.log_mass.exp().cumsum(-1), (1, 0))
        place = ((value + self.limit) / self.step).clamp(0, n - 1e-9)
        cell = place.long()
        ends = ends.expand(*value.shape, n + 1)
        below, above = (ends.gather(-1, at.unsqueeze(-1))[..., 0] for at in (cell, cell + 1))
        return below + (place - cell) * (above - below)
