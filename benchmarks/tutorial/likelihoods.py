"""What the decoder says of x: Section 5.1 of the tutorial, and two ways to say more.

Section 5.1: who trains by the squared error, summed over the numbers of a point, has chosen a Gaussian likelihood of variance 1/2,
mostly unaware. For points a few hundredths apart that is absurd, and beside such a likelihood the KL term leaves latents no more
than their free bits. By the logarithm of the mean squared error (MSE) the variance is free, the same for all points. With a
variance for each point it is the typical VAE.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F

from .model import LATENT_UNIT, POINT_UNIT, Conditional, LatentModel, Mlp, chained, draw, normal, std
from .training import Points

SETTLING_POINTS = 1 << 16


class Logistic(Distribution):
    """A logistic distribution; on a grid, a discretised logistic, as in all models that this library ships."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        away = (value - self.loc) / self.scale
        return F.logsigmoid(away) + F.logsigmoid(-away) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return torch.sigmoid((value - self.loc) / self.scale)


class LogisticVAE(LatentModel):
    """Logistics instead of normals in p(x|z)."""

    title = "discretised-logistic VAE"
    source = "Kingma et al. 2016; Salimans et al. 2017"

    def likelihood(self, z: Tensor) -> Conditional:
        mean, raw = self.decoder(z).chunk(2, -1)
        scale = 0.5 * std(raw)
        return lambda before: Logistic(mean[..., before.shape[-1]], scale[..., before.shape[-1]])


def plain_mse(squared: Tensor) -> Tensor:
    """What is trained in nats, but for a constant, from squared errors (B, n): a variance of 1/2."""
    return squared.sum(-1).mean()


def log_mse(squared: Tensor) -> Tensor:
    """The same with the variance that is best for all of them, as min over v of MSE/v + log v is 1 + log MSE."""
    return 0.5 * squared.shape[-1] * (math.log(2 * math.pi) + 1 + squared.mean().log())


class MeanSquaredError(LatentModel):
    """|x - mean|^2 + KL. The variance that makes this an ELBO, up to a constant, is 1/2."""

    title = "VAE by MSE, as trained (variance 1/2)"
    source = "Yu 2020, Section 5.1"

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Mlp(2, 2, LATENT_UNIT)
        self.register_buffer("variance", torch.tensor(0.5))
        self.register_buffer("best_variance", torch.tensor(0.5))
        self.variance: Tensor
        self.best_variance: Tensor

    def likelihood(self, z: Tensor) -> Conditional:
        mean, deviation = self.decoder(z), self.variance.sqrt()
        return lambda before: normal(mean[..., before.shape[-1]], deviation)

    def squared_errors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of points: the squared errors of reconstructions from a draw of z (B, 2), and the KL term (B,)."""
        q = self.posterior(x)
        z = draw(q, x.shape[:-1])
        return (x - self.decoder(z)).square(), self.kl(q, z)

    def loss(self, x: Tensor) -> Tensor:
        squared, kl = self.squared_errors(x)
        return plain_mse(squared) + kl.mean()

    @torch.no_grad()
    def settle(self, points: Points) -> None:
        self.best_variance.copy_(self.squared_errors(points(SETTLING_POINTS))[0].mean())

    def read(self) -> MeanSquaredError:
        """The same networks with the variance that fits best: the most that they can claim."""
        model = copy.deepcopy(self)
        model.variance.copy_(self.best_variance)
        model.title = "VAE by MSE, read with its MSE as variance"
        model.reading = "trained with a variance of 1/2; the same networks with the variance that fits best"
        return model


class LogMeanSquaredError(MeanSquaredError):
    """log MSE + KL: the ELBO with the best variance for all points of the batch."""

    title = "VAE by log MSE"

    def settle(self, points: Points) -> None:
        super().settle(points)
        self.variance.copy_(self.best_variance)

    def loss(self, x: Tensor) -> Tensor:
        squared, kl = self.squared_errors(x)
        return log_mse(squared) + kl.mean()


class AutoregressiveDecoder(LatentModel):
    """p(x_1|z) p(x_2|x_1, z): the decoder sees what it has decoded, and latents are kept for what that cannot tell."""

    title = "autoregressive decoder"
    source = "Chen et al., Variational lossy autoencoder, 2017"

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Mlp(2, 2, LATENT_UNIT)
        self.second = Mlp(3, 2, 1.0)

    def likelihood(self, z: Tensor) -> Conditional:
        return chained(self.decoder, self.second, z, LATENT_UNIT, POINT_UNIT)
