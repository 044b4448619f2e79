"""Objectives that are no code lengths, and what their networks are worth as codes.

beta times the KL term, or another distance in its place, may be better for whatever latents are wanted for. With beta above 1 the
loss still is a bound of -log p(x), but a looser one than bits-back takes; with another distance it is no bound. The networks still
are a prior, a likelihood and a posterior: their own ELBO is the code length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .model import LATENT_UNIT, POINT_UNIT, Conditional, LatentModel, Mlp, normal, std
from .training import Points, fit


class BetaVAE(LatentModel):
    """-log p(x|z) + beta KL."""

    title = "beta-VAE (beta = 4)"
    source = "Higgins et al., beta-VAE, ICLR 2017"
    reading = "the loss is no code length; the same networks by their ELBO (beta = 1)"
    beta = 4.0


class Wasserstein(LatentModel):
    """Squared error, and the distance of all encoded points together from p(z): here the MMD.

    The encoder has no noise, so there is no q(z|x) and no code. Its valid reading: the decoder stays, and gets a variance and a
    posterior, which are trained by the ELBO afterwards.
    """

    title = "Wasserstein auto-encoder (MMD)"
    source = "Tolstikhin et al., Wasserstein auto-encoders, ICLR 2018"
    reading = "no posterior, so no code; its decoder with a variance and a posterior trained afterwards"
    weight = 0.05  # of the distance against the squared error
    settling_steps = 3000

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Mlp(2, 2, LATENT_UNIT)
        self.map = Mlp(2, 2, POINT_UNIT)
        self.raw = nn.Parameter(torch.tensor(-2.0))
        self.settled = False

    def likelihood(self, z: Tensor) -> Conditional:
        mean, deviation = self.decoder(z), std(self.raw)
        return lambda before: normal(mean[..., before.shape[-1]], deviation)

    def loss(self, x: Tensor) -> Tensor:
        if self.settled:
            return super().loss(x)
        z = self.map(x)
        return (x - self.decoder(z)).square().sum(-1).mean() + self.weight * self.distance(z, torch.randn_like(z))

    @staticmethod
    def distance(a: Tensor, b: Tensor) -> Tensor:
        """Of two sets of latents, (B, 2) each."""
        return mmd(a, b)

    def settle(self, points: Points) -> None:
        if self.settled:
            return
        self.settled = True
        self.decoder.requires_grad_(False)
        fit(self, points, self.settling_steps)


class SlicedWasserstein(Wasserstein):
    """The same with a W1 distance in place of the MMD. No critic has to be trained for it: along a line W1 is a sort."""

    title = "Wasserstein auto-encoder (sliced W1)"
    source = "Kolouri et al., Sliced Wasserstein auto-encoders, ICLR 2019"

    @staticmethod
    def distance(a: Tensor, b: Tensor) -> Tensor:
        return sliced_w1(a, b)


def sliced_w1(a: Tensor, b: Tensor, directions: int = 32) -> Tensor:
    """The mean over random directions of the W1 distance of two sets (B, 2): along a line, of the sorted numbers, pair by pair."""
    lines = nn.functional.normalize(torch.randn(2, directions), dim=0)
    return ((a @ lines).sort(0).values - (b @ lines).sort(0).values).abs().mean()


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two sets (B, 2), by inverse multiquadratics at several scales; unbiased."""

    def kernels(u: Tensor, v: Tensor) -> Tensor:
        distance = torch.cdist(u, v).square()
        return sum((scale / (scale + distance) for scale in (0.2, 1.0, 4.0, 16.0)), torch.zeros(()))

    n = len(a)
    off = 1 - torch.eye(n)
    return ((kernels(a, a) + kernels(b, b)) * off).sum() / (n * (n - 1)) - 2 * kernels(a, b).mean()
