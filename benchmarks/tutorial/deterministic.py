"""Latents without noise: a code in two parts, with nothing to get back.

The encoder names one of K codes, and the message is the code's number by p(k) and the point by p(x|k). That is a valid code, but it
pays for a choice that bits-back would get back: its length is -log2 p(k) p(x|k) and not -log2 of the sum over k.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bbans.codecs import Codec, categorical
from bbans.combinators import sized
from bbans.tables import quantise_probabilities

from .coding import POINTS, PRECISION, vector
from .model import LATENT_UNIT, POINT_UNIT, LatentModel, Mlp, normal, std
from .training import Points

SETTLING_POINTS = 1 << 18


class TwoPart(LatentModel):
    """A model with codes 0 .. K - 1 in place of latents: p(k), p(x|k) and a k for each point."""

    def __init__(self, codes: int) -> None:
        nn.Module.__init__(self)
        self.register_buffer("log_prior", torch.zeros(codes))
        self.log_prior: Tensor

    def assign(self, x: Tensor) -> Tensor:
        """The code of each point: (...) integers."""
        raise NotImplementedError

    def moments(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of p(x|k), (..., 2) each."""
        raise NotImplementedError

    def bound(self, x: Tensor, particles: int) -> Tensor:
        """For one particle log p(k) p(x|k) of the code that is sent; for more log p(x), which has only K terms. (B,)"""
        if particles == 1:
            k = self.assign(x)
            return self.log_prior[k] + normal(*self.moments(k)).log_prob(x).sum(-1)
        mean, deviation = self.moments(torch.arange(len(self.log_prior)))
        parts = [
            torch.logsumexp(self.log_prior + normal(mean, deviation).log_prob(part[:, None]).sum(-1), -1) for part in x.split(2048)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def settle(self, points: Points) -> None:
        """p(k) is how often k is sent, and once more, so that none is impossible."""
        counts = torch.bincount(self.assign(points(SETTLING_POINTS)), minlength=len(self.log_prior)) + 1.0
        self.log_prior.copy_((counts / counts.sum()).log())

    def codec(self) -> Codec[Any]:
        """Of points as cells (rows, 2)."""
        freqs = quantise_probabilities(self.log_prior.double().exp().numpy(), PRECISION)

        def prior_of(rows: int) -> Codec[Any]:
            return categorical(freqs, (rows,))

        prior = sized(prior_of)

        def likelihood(k: Any) -> Codec[Any]:
            mean, deviation = self.moments(torch.as_tensor(k))
            return vector(POINTS, lambda before: normal(mean[:, before.shape[-1]], deviation[:, before.shape[-1]]))

        def push(message: Any, cells: Any) -> Any:
            k = self.assign(POINTS.middles(cells)).numpy()
            return prior.push(likelihood(k).push(message, cells), k)

        def pop(message: Any) -> tuple[Any, Any]:
            message, k = prior.pop(message)
            return likelihood(k).pop(message)

        def log_freqs(cells: Any, rows: bool) -> Any:
            k = self.assign(POINTS.middles(cells)).numpy()
            return prior_of(len(k)).log_freqs(k, rows) + likelihood(k).log_freqs(cells, rows)

        return Codec(push, pop, log_freqs)


class VectorQuantised(TwoPart):
    """The nearest of K learned vectors to what the encoder says. Gradients pass it as if it were not there."""

    title = "VQ-VAE (64 codes)"
    source = "van den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning, 2017"
    commitment = 0.25

    def __init__(self, codes: int = 64) -> None:
        super().__init__(codes)
        self.encoder = Mlp(2, 2, POINT_UNIT)
        self.decoder = Mlp(2, 4, LATENT_UNIT)
        self.vectors = nn.Parameter(torch.randn(codes, 2))

    def assign(self, x: Tensor) -> Tensor:
        return (self.encoder(x)[..., None, :] - self.vectors).square().sum(-1).argmin(-1)

    def moments(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.decoder(self.vectors[codes]).chunk(2, -1)
        return mean, std(raw)

    def loss(self, x: Tensor) -> Tensor:
        z = self.encoder(x)
        vector = self.vectors[self.assign(x)]
        mean, raw = self.decoder(z + (vector - z).detach()).chunk(2, -1)
        pull = (z.detach() - vector).square() + self.commitment * (z - vector.detach()).square()
        return (pull - normal(mean, std(raw)).log_prob(x)).sum(-1).mean()


class Autoencoder(TwoPart):
    """Trained by the squared error alone. A code exists when its z is put on a grid: here one of 32 x 32 cells over all z's."""

    title = "auto-encoder, z on a 32 x 32 grid"
    source = "Hinton and Salakhutdinov 2006"
    side = 32

    def __init__(self) -> None:
        super().__init__(self.side**2)
        self.encoder = Mlp(2, 2, POINT_UNIT)
        self.decoder = Mlp(2, 2, LATENT_UNIT)
        for name in ("low", "high", "deviation"):
            self.register_buffer(name, torch.ones(2))
        self.low: Tensor
        self.high: Tensor
        self.deviation: Tensor

    def assign(self, x: Tensor) -> Tensor:
        place = (self.encoder(x) - self.low) / (self.high - self.low) * self.side
        row, column = place.long().clamp(0, self.side - 1).unbind(-1)
        return row * self.side + column

    def moments(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        cell = torch.stack([codes // self.side, codes % self.side], -1) + 0.5
        mean = self.decoder(self.low + cell / self.side * (self.high - self.low))
        return mean, self.deviation.expand_as(mean)

    def loss(self, x: Tensor) -> Tensor:
        return (x - self.decoder(self.encoder(x))).square().sum(-1).mean()

    @torch.no_grad()
    def settle(self, points: Points) -> None:
        x = points(SETTLING_POINTS)
        z = self.encoder(x)
        self.low.copy_(z.amin(0))
        self.high.copy_(z.amax(0))
        self.deviation.copy_((x - self.moments(self.assign(x))[0]).square().mean(0).sqrt())
        super().settle(points)
