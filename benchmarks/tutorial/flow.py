"""The small-epsilon limit of Section 3.3: a VAE whose likelihood and posterior are near-deterministic is a normalizing flow.

Let f be a map with an inverse, p(x|z) = N(f(z), eps^2 I), and q(z|x) the normal around f^-1(x) with covariance eps^2 J^-1 J^-T,
where J is the Jacobian of f there. Then -log p(x|z) is log(2 pi eps^2) + 1 in the mean, the entropy of q is log(2 pi e eps^2) -
log|det J|, and what is left of the ELBO as eps -> 0 is

    log p(f^-1(x)) - log|det J|,

the change of variables. All small eps give the same code length. What grows is the rate, KL(q || p), by log2(1/eps) for each
latent: z says more, and x given z takes as much less. One grid of z for all eps has to be fine enough for the smallest.

How small is small? So small that f is as good as linear within eps. A flow that is trained by log p(x) folds as tightly as it likes
between clusters: its VAE had a negative ELBO of tens of bits even for eps = 0.003, most of them from a few points. So the map is
trained by the ELBO for an eps that is not small yet, which keeps it as smooth as that takes.

Sources: Dinh, Sohl-Dickstein and Bengio, "Density estimation using real NVP", ICLR 2017; Ho, Lohn and Abbeel, "Compression with
flows via local bits-back coding", NeurIPS 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .coding import Grid
from .model import POINT_UNIT, Conditional, LatentModel, Mlp, log_prob, normal
from .posteriors import correlated

COUPLINGS = 8
TRAINED_EPSILON = 0.01
LATENTS = Grid(-8.0, 8.0, 20)  # fine enough for the posteriors of the smallest epsilon


class Flow(LatentModel):
    """x = f(z) by affine couplings: each moves and scales one number by what the other is. p(x) by the change of variables."""

    title = "normalizing flow (real NVP)"
    source = "Dinh et al. 2017"
    batch = 256

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.couplings = nn.ModuleList(Mlp(1, 2, POINT_UNIT * 4) for _ in range(COUPLINGS))
        self.scale = nn.Parameter(torch.tensor(0.25))

    def forward(self, z: Tensor) -> Tensor:
        """x of z. Inverse: `inverse`."""
        a, b = z.unbind(-1)
        for coupling in self.couplings:
            shift, log_scale = self._move(coupling, a)
            a, b = b * log_scale.exp() + shift, a
        return torch.stack([a, b], -1) * self.scale

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z of x, and log |det dz/dx| (...)."""
        a, b = (x / self.scale).unbind(-1)
        log_det = -2 * self.scale.abs().log() * torch.ones_like(a)
        for coupling in reversed(self.couplings):
            a, b = b, a
            shift, log_scale = self._move(coupling, a)
            b = (b - shift) * (-log_scale).exp()
            log_det = log_det - log_scale
        return torch.stack([a, b], -1), log_det

    @staticmethod
    def _move(coupling: nn.Module, a: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = coupling(a.unsqueeze(-1)).unbind(-1)
        return shift, 2 * torch.tanh(raw / 2)

    def bound(self, x: Tensor, particles: int) -> Tensor:
        """log p(x) itself, whatever the particles."""
        z, log_det = self.inverse(x)
        return log_prob(self.prior(), z) + log_det

    def loss(self, x: Tensor) -> Tensor:
        """The negative ELBO of NearDeterministic(self, TRAINED_EPSILON).

        A draw from q is z + eps dz, with dz = J^-1 noise by forward differentiation: the covariance is not needed. The mean of
        log q is in closed form.
        """
        z, dz, log_det = torch.func.jvp(self.inverse, (x,), (torch.randn_like(x),), has_aux=True)  # type: ignore[misc]
        z = z + TRAINED_EPSILON * dz
        errors = ((x - self(z)) / TRAINED_EPSILON).square().sum(-1)
        log_p_less_log_q = 0.5 * (2 - errors) + log_det  # their log(2 pi eps^2) cancel
        return -(log_p_less_log_q + log_prob(self.prior(), z)).mean()


class NearDeterministic(LatentModel):
    """The VAE that a flow is the limit of. It is not trained itself."""

    source = "Yu 2020, Section 3.3; Ho et al. 2019"

    def __init__(self, flow: Flow, epsilon: float) -> None:
        nn.Module.__init__(self)
        self.flow, self.epsilon = flow, epsilon
        self.title = f"flow as a VAE, epsilon = {epsilon:g}"

    def posterior(self, x: Tensor) -> Conditional:
        z, log_det = self.flow.inverse(x)
        jacobian = torch.vmap(torch.func.jacrev(lambda point: self.flow.inverse(point)[0]))(x.reshape(-1, 2))  # dz/dx
        covariance = (self.epsilon**2 * jacobian @ jacobian.mT).reshape(*x.shape, 2)
        first = covariance[..., 0, 0]
        slope = covariance[..., 1, 0] / first
        left = self.epsilon**4 * (2 * log_det).exp() / first  # determinant over first: no difference of near equals
        return correlated(z, torch.stack([first, left], -1).sqrt(), slope)

    def likelihood(self, z: Tensor) -> Conditional:
        mean = self.flow(z)
        return lambda before: normal(mean[..., before.shape[-1]], torch.full_like(mean[..., 0], self.epsilon))
