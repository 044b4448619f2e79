"""What the encoder says of z, beyond independent normals. Each is sampled and coded number by number: z_1, then z_2 given z_1.

The KL term has no closed form now, or needs none: log q(z|x) - log p(z) at the draw is an unbiased estimate.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from .model import BITS, FREE_BITS, LATENT_UNIT, POINT_UNIT, Conditional, LatentModel, Mlp, chained, log_prob, normal, std


class SampledKL(LatentModel):
    """A typical VAE but for the KL term, which is estimated at the draw."""

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) with its gradient, in nats. (B,)"""
        return log_prob(self.prior(), z)

    def kl(self, q: Conditional, z: Tensor) -> Tensor:
        mean = (log_prob(q, z) - self.log_prior(z)).mean()
        return F.relu(mean - 2 * FREE_BITS / BITS) + 2 * FREE_BITS / BITS


def correlated(mean: Tensor, deviation: Tensor, slope: Tensor) -> Conditional:
    """A normal of two numbers: z_1, and z_2 whose mean moves by `slope` with z_1, and whose deviation is that given z_1.

    Shapes: mean, deviation (..., 2); slope (...).
    """

    def conditional(before: Tensor) -> Normal:
        if not before.shape[-1]:
            return normal(mean[..., 0], deviation[..., 0])
        return normal(mean[..., 1] + slope * (before[..., 0] - mean[..., 0]), deviation[..., 1])

    return conditional


class FullCovariance(SampledKL):
    """q(z|x): one normal of any covariance, so z_2 given z_1 has a mean that moves with z_1."""

    title = "full-covariance posterior"
    source = "Yu 2020, Section 3.3 (the Sigma-VAE)"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Mlp(2, 5, POINT_UNIT)

    def posterior(self, x: Tensor) -> Conditional:
        output = self.encoder(x)
        return correlated(output[..., :2], std(output[..., 2:4]), output[..., 4])


class InverseAutoregressive(SampledKL):
    """q(z_2|z_1, x) by a network of both: a normal whose mean and deviation are any functions of z_1."""

    title = "inverse-autoregressive posterior"
    source = "Kingma et al., Improving variational inference with inverse autoregressive flow, 2016"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Mlp(2, 2, POINT_UNIT)
        self.second = Mlp(3, 2, 1.0)

    def posterior(self, x: Tensor) -> Conditional:
        return chained(self.encoder, self.second, x, POINT_UNIT, LATENT_UNIT)


class ImportanceWeighted(LatentModel):
    """Trained by the IWAE bound of several draws, which asks less of q(z|x): coded by Monte Carlo bits-back."""

    source = "Burda, Grosse and Salakhutdinov 2016; Yu 2020, Section 6"
    batch = 128

    def __init__(self, particles: int = 10) -> None:
        super().__init__()
        self.particles = particles
        self.title = f"IWAE ({particles} draw{'s' if particles > 1 else ''})"

    def loss(self, x: Tensor) -> Tensor:
        return -self.bound(x, self.particles).mean()
