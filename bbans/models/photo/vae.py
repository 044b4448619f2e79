"""The photo model: a discretised-logistic VAE with a polyphase (scale-autoregressive) likelihood. Training form.

::

    level s picture   a b a b        a = x00: the whole picture of level s+1, coded before
                      c d c d        d = x11, b = x01, c = x10: coded in this order, a phase at a time
                      a b a b
                      c d c d

    p(x_s | x_{s+1}) = integral p(z | x00) p(x11, x01 | x00, z) p(x10 | x00, x11, x01) dz

The trunk (residual blocks) sees pixels only and is carried from phase to phase and from level to level. The latents z, one
vector for 16x16 positions of a phase (32x32 pixels), enter the head of each phase. The prior of z sees x00, the posterior all
but x10: so the encoder can push x10 first and draw z from its bits, and no picture needs initial bits. The head of x10 takes
the posterior's mode in place of z; by then the decoder knows it as well.

All levels share one set of weights, but for the first layer's bias. Every layer is a `bbans.exact.qat.QConv`; the integer form
that codes files is `bbans.models.photo.network`.

Sources: bits-back with the initial bits of an autoregressive part, ArIB-BPS (CVPR 2024) and SHVC (CVPR 2022); mixtures with
linear terms between colours, PixelCNN++ (ICLR 2017).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bbans.exact.qat import ACTIVATION_STEP, QConv, Quantised, pool
from bbans.models.blocks import Residual
from bbans.models.grids import LATENT_CENTRE
from bbans.models.losses import Bits, logistic_of, mixture_bits, start_slopes
from bbans.models.photo.config import BLOCK, COARSEST, LEVELS_OF_BIAS, PIXEL_CENTRE, POOL_SHIFT, PhotoConfig

PIXEL_GAIN = 8.0  # of the layers that see pixels: their outputs fill the grid of activations, so that rounding costs less


def planes(x: Tensor) -> Tensor:
    """The two input planes of each colour, x >> 1 and x & 1, on the activation grid. (B, 3, H, W) uint8 -> (B, 6, H, W)."""
    return torch.cat([x >> 1, x & 1], 1).float() * ACTIVATION_STEP


def references(x00: Tensor, x11: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """References of x11, x01 and x10: sums of their four nearest pixels in phases before, borders repeated. (B, 3, h, w) each."""
    right = torch.cat([x00[..., 1:], x00[..., -1:]], -1)
    below = torch.cat([x00[..., 1:, :], x00[..., -1:, :]], -2)
    corner = torch.cat([right[..., 1:, :], right[..., -1:, :]], -2)
    up = torch.cat([x11[..., :1, :], x11[..., :-1, :]], -2)
    left = torch.cat([x11[..., :1], x11[..., :-1]], -1)
    return x00 + right + below + corner, x00 + right + x11 + up, x00 + below + x11 + left


class PhotoVAE(Quantised):
    """Bits of pictures under the photo model, differentiable."""

    def __init__(self, config: PhotoConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or PhotoConfig()
        self.carry = QConv(c.width, 4 * c.carried, 1)
        self.first = QConv(6 + c.carried, c.width, 3, centre=PIXEL_CENTRE, centred=3, variants=LEVELS_OF_BIAS, gain=PIXEL_GAIN)
        self.inject = nn.ModuleList(QConv(6, c.width, 3, centre=PIXEL_CENTRE, centred=3, gain=PIXEL_GAIN) for _ in range(2))
        self.trunk = nn.ModuleList(nn.Sequential(*(Residual(c.width) for _ in range(c.blocks))) for _ in range(3))
        self.hidden = nn.ModuleList(
            QConv(c.latents + c.width, c.head, 1, centre=LATENT_CENTRE, centred=c.latents) for _ in range(3)
        )
        self.out = nn.ModuleList(QConv(c.head, c.outputs, 1, relu=False) for _ in range(3))
        if c.latents:
            self.prior_in = QConv(c.width, c.latent_width, 1)
            self.prior_hidden = QConv(c.latent_width, c.latent_width, 1)
            self.prior_out = QConv(c.latent_width, 2 * c.latents, 1, relu=False)
            self.posterior_in = QConv(c.width + 6, c.latent_width, 1)
            self.posterior_hidden = QConv(2 * c.latent_width, c.latent_width, 1)
            self.posterior_out = QConv(c.latent_width, 2 * c.latents, 1, relu=False)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Start as a plausible model: interpolation with a scale of e^2, colours tied to green, z without effect."""
        c, k = self.config, self.config.components
        for out in self.out:
            head = cast(QConv, out)
            head.weight.mul_(0.1)
            bias = head.bias[0]
            bias[3 * k : 6 * k] = torch.linspace(-0.2, 0.2, k).repeat(3)
            bias[6 * k : 9 * k] = 2.0
            start_slopes(bias, k)
        if c.latents:
            for net in (self.prior_out, self.posterior_out):
                net.weight.mul_(0.1)
            self.prior_out.bias[0, c.latents :] = 2.0

    def forward(self, x: Tensor, noise: Tensor) -> Bits:
        """Bits of a batch of pictures.

        Args:
            x: (B, 3, H, W) uint8, H and W powers of two above COARSEST.
            noise: (B, n) uniform in (0, 1); the latents are drawn with it, finest level last.
        """
        pyramid = [x]
        while max(pyramid[-1].shape[-2:]) > COARSEST:
            pyramid.append(pyramid[-1][..., ::2, ::2])
        coarsest = pyramid[-1]
        bits = Bits([torch.full((len(x),), 8.0 * coarsest[0].numel(), device=x.device)])
        carried: Tensor | None = None
        for level in reversed(range(len(pyramid) - 1)):
            carried, noise = self._level(pyramid[level], level, carried, noise, bits)
        return bits

    def _level(self, x: Tensor, level: int, coarse: Tensor | None, noise: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
        c = self.config
        x00, x01, x10, x11 = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
        targets = (x11, x01, x10)
        batch, _, height, width = x00.shape
        refs = references(x00.int(), x11.int())
        if coarse is None:
            carried = x00.new_zeros((batch, c.carried, height, width), dtype=torch.float32)
        else:
            carried = F.pixel_shuffle(self.carry(coarse), 2)[..., :height, :width]
        f = self.first(torch.cat([planes(x00), carried], 1), variant=min(level, LEVELS_OF_BIAS - 1))
        features = []
        for phase in range(3):
            if phase:
                f = self.inject[phase - 1](planes(targets[phase - 1]), skip=f)
            f = self.trunk[phase](f)
            features.append(f)
        latents: tuple[Tensor, ...] = ()
        if c.latents:
            z, mode, noise = self._latents(features, targets, refs, noise, bits)
            latents = (z, z, mode)
        for phase in range(3):
            h = torch.cat([latents[phase], features[phase]], 1) if c.latents else features[phase]
            h = self.hidden[phase](h).float()
            with torch.autocast(h.device.type, enabled=False):
                out = self.out[phase](h)
                bits.data.append(mixture_bits(targets[phase], refs[phase], out, c.components, self.quantised))
        return f, noise

    def _latents(
        self,
        features: list[Tensor],
        targets: tuple[Tensor, ...],
        refs: tuple[Tensor, Tensor, Tensor],
        noise: Tensor,
        bits: Bits,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw z ~ q(z | x00, x11, x01): (z, mode of q, noise that is left), the first two (B, Z, h, w) on the activation grid.

        Grids smaller than a block have no latents: z is the centre there.
        """
        c = self.config
        batch, _, height, width = features[0].shape
        if min(height, width) < BLOCK:
            centre = features[0].new_full((batch, c.latents, height, width), LATENT_CENTRE * ACTIVATION_STEP)
            return centre, centre, noise
        q = self.quantised
        summary = self.prior_hidden(pool(self.prior_in(features[0]), BLOCK, POOL_SHIFT, q))
        residuals = [((4 * targets[i].int() - refs[i]).abs() >> 1).clamp(max=127) * ACTIVATION_STEP for i in range(2)]
        pooled = pool(self.posterior_in(torch.cat([features[2], *residuals], 1)), BLOCK, POOL_SHIFT, q)
        hidden = self.posterior_hidden(torch.cat([summary, pooled], 1))
        with torch.autocast(summary.device.type, enabled=False):
            prior = logistic_of(self.prior_out(summary.float()), q)
            posterior = logistic_of(self.posterior_out(hidden.float()), q, prior)
            count = posterior.mean[0].numel()
            uniform, noise = noise[:, :count].view(posterior.mean.shape), noise[:, count:]
            z, mode = posterior.draw(uniform), posterior.mode()
            bits.latent(z, prior, posterior)

        def spread(t: Tensor) -> Tensor:
            t = t.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)[..., :height, :width]
            return t * ACTIVATION_STEP

        return spread(z), spread(mode), noise
