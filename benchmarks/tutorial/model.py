"""A latent-variable model of the plane, one number at a time. What every row of the table shares.

Everything is made of distributions of one number given those before it::

    q(z|x) = q(z_1|x) q(z_2|z_1, x)      p(z) = p(z_1) p(z_2|z_1)      p(x|z) = p(x_1|z) p(x_2|x_1, z)

so that any of them, factorised or not, can be sampled, weighed and coded by the same few lines. A `Conditional` gives the
distribution of number d from the numbers before, (..., d).

Shapes: ... stands for any batch; points and latents (..., 2). Units: nats in here, bits outside.

Sources: Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014; Burda, Grosse and Salakhutdinov, "Importance weighted
autoencoders", ICLR 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, kl_divergence
from torch.nn import functional as F

Conditional = Callable[[Tensor], Distribution]

BITS = 1 / math.log(2)  # in a nat
HIDDEN, LAYERS = 128, 3
POINT_UNIT, LATENT_UNIT = 1 / 16, 1 / 4  # of what networks see: about the size of what they have to tell apart
LEAST_STD = 1e-3  # of a likelihood or posterior
FREE_BITS = 0.05  # for each latent, that the KL term does not ask for: the tutorial's, against latents that never begin


def normal(mean: Tensor, deviation: Tensor | float) -> Normal:
    """A normal distribution, without the checks of torch.distributions: they take longer than the small networks here."""
    return Normal(mean, deviation, validate_args=False)


class Mlp(nn.Sequential):
    """Fully connected layers, whose inputs are given in a unit of their own."""

    def __init__(self, inputs: int, outputs: int, unit: float) -> None:
        layers: list[nn.Module] = []
        for _ in range(LAYERS):
            layers += [nn.Linear(inputs, HIDDEN), nn.SiLU()]
            inputs = HIDDEN
        super().__init__(*layers, nn.Linear(inputs, outputs))
        self.unit = unit

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = super().forward(input / self.unit)
        return output


def std(raw: Tensor) -> Tensor:
    """A standard deviation from a network's output, near 0.3 for an output of 0."""
    return LEAST_STD + 0.3 * torch.exp(raw.clamp(-8, 4))


def independent(mean: Tensor, deviation: Tensor) -> Conditional:
    """Normals that know nothing of each other. Shapes: (..., n)."""
    return lambda before: normal(mean[..., before.shape[-1]], deviation[..., before.shape[-1]])


def draw(conditional: Conditional, shape: torch.Size, size: int = 2) -> Tensor:
    """Numbers by the reparameterisation trick, (*shape, size). The gradient goes through them."""
    numbers: list[Tensor] = []
    for _ in range(size):
        before = torch.stack(numbers, -1) if numbers else torch.empty(*shape, 0)
        numbers.append(conditional(before).expand(shape).rsample())
    return torch.stack(numbers, -1)


def log_prob(conditional: Conditional, numbers: Tensor) -> Tensor:
    """Of numbers (..., n), in nats: (...)."""
    total = torch.zeros(())
    for d in range(numbers.shape[-1]):
        total = total + conditional(numbers[..., :d]).log_prob(numbers[..., d])
    return total


def chained(first: Mlp, second: Mlp, condition: Tensor, condition_unit: float, before_unit: float) -> Conditional:
    """Two normals: the first network knows the `condition` (..., 2), the second the number before as well. Its unit is 1."""

    def conditional(before: Tensor) -> Normal:
        if not before.shape[-1]:
            mean, raw = first(condition).unbind(-1)
        else:
            shape = torch.broadcast_shapes(before.shape[:-1], condition.shape[:-1])
            inputs = [condition.expand(*shape, 2) / condition_unit, before.expand(*shape, 1) / before_unit]
            mean, raw = second(torch.cat(inputs, -1)).unbind(-1)
        return normal(mean, std(raw))

    return conditional


class LatentModel(nn.Module):
    """The typical VAE. The other rows change what they are about and nothing else."""

    title = "typical VAE"
    source = "Kingma and Welling 2014; Yu 2020, Section 2"
    reading = ""  # what is coded, where the objective is no code length
    latents = 2
    batch = 512  # points of a training step
    beta = 1.0  # what training counts the KL term for
    warm_up = 0.0  # share of the steps in which beta grows from 0 to 1

    def __init__(self, latents: int = 2) -> None:
        super().__init__()
        self.latents = latents
        self.encoder = Mlp(2, 2 * latents, POINT_UNIT)
        self.decoder = Mlp(latents, 4, LATENT_UNIT)

    def posterior(self, x: Tensor) -> Conditional:
        """q(z|x): independent normals."""
        mean, raw = self.encoder(x).chunk(2, -1)
        return independent(mean, std(raw))

    def prior(self) -> Conditional:
        """p(z): a standard normal."""
        return lambda before: normal(torch.zeros(before.shape[:-1]), torch.ones(()))

    def likelihood(self, z: Tensor) -> Conditional:
        """p(x|z): independent normals."""
        mean, raw = self.decoder(z).chunk(2, -1)
        return independent(mean, std(raw))

    def loss(self, x: Tensor) -> Tensor:
        """What training makes small, in nats, from points (B, 2)."""
        q = self.posterior(x)
        z = draw(q, x.shape[:-1], self.latents)
        return (self.beta * self.kl(q, z) - log_prob(self.likelihood(z), x)).mean()

    def kl(self, q: Conditional, z: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)) in closed form, latent by latent. (B,)"""
        total = torch.zeros(())
        for d in range(z.shape[-1]):
            of_latent = kl_divergence(q(z[..., :d]), self.prior()(z[..., :d]))
            total = total + F.relu(of_latent - FREE_BITS / BITS) + FREE_BITS / BITS
        return total

    def log_weights(self, x: Tensor, particles: int) -> Tensor:
        """log p(x, z_k) / q(z_k|x) for z_k ~ q(z|x), in nats. (K, B)"""
        q = self.posterior(x)
        z = draw(q, torch.Size([particles, *x.shape[:-1]]), self.latents)
        return log_prob(self.likelihood(z), x) + log_prob(self.prior(), z) - log_prob(q, z)

    def bound(self, x: Tensor, particles: int) -> Tensor:
        """A lower bound of log p(x) in nats: the ELBO for one particle, the IWAE bound for more, log p(x) in the limit. (B,)"""
        return torch.logsumexp(self.log_weights(x, particles), 0) - math.log(particles)

    def settle(self, points: Callable[[int], Tensor]) -> None:
        """What is left to do after training; points(n) draws from the data."""
