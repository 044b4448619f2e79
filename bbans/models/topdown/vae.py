"""Hierarchical VAEs whose priors and posteriors share the way down. Training form.

::

    bottom-up   x -> up.G -> .. -> up.0              from the finest grid to the coarsest
    top-down    start -> z, z, .. -> down.0 -> z, .. -> down.G -> features of every pixel -> pixel layers -> p(x|z)

    at every layer of latents:   p(z | t) from the state t alone;   q(z | t, x) from t and the bottom-up pass;   t <- t + f(z, t)

A pixel's likelihood depends on its features and, if the config has a `context`, on the pixels around that are coded before it.
The pixel layers are 1x1 convolutions over these, so that a coder can run them pixel by pixel.

Latents are integers 0 .. 127 with discretised logistic distributions. Every layer is a QConv; the integer form is
`bbans.models.topdown.network`.

Sources: Sønderby et al., "Ladder variational autoencoders", NeurIPS 2016; Maaløe et al., "BIVA", NeurIPS 2019; Child, "Very deep
VAEs", ICLR 2021; local pixel context: Gulrajani et al., "PixelVAE", ICLR 2017; Zhang et al., "NeLLoC", 2022.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bbans.exact.qat import QConv, Quantised
from bbans.models.blocks import Residual
from bbans.models.grids import LATENT_CENTRE
from bbans.models.losses import (
    Bits,
    Logistic,
    latent_input,
    logistic_of,
    sample_bits,
    sample_centre,
    sample_gain,
    sample_input,
    start_head,
)
from bbans.models.topdown.config import TopDownConfig

PRIOR_LOG_SCALE = 0.0  # at the start: small, as a draw from a wide posterior takes many initial bits


class Up(nn.Module):
    """A grid of the bottom-up pass."""

    def __init__(self, enter: QConv, width: int, kernel: int, blocks: int) -> None:
        super().__init__()
        self.enter = enter
        self.blocks = nn.ModuleList(Residual(width, kernel) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return x


class LatentLayer(nn.Module):
    """A layer of latents z: its prior and posterior given the state, and the state after it."""

    def __init__(self, size: int, width: int, kernel: int, blocks: int) -> None:
        super().__init__()
        self.prior = QConv(width, 2 * size, 1, relu=False, gain=0.02)
        self.seen = QConv(2 * width, width, 1)  # state and bottom-up pass joined; weight files know it by this name
        self.posterior = QConv(width, 2 * size, 1, relu=False, gain=0.1)
        self.inject = QConv(size + width, width, kernel, centre=LATENT_CENTRE, centred=size)
        self.blocks = nn.ModuleList(Residual(width, kernel) for _ in range(blocks))
        with torch.no_grad():
            self.prior.bias[0, size:] = PRIOR_LOG_SCALE
            self.inject.weight[:, :size] *= 4
            self.inject.weight[:, size:] *= 0.3

    def logistics(self, state: Tensor, bottom_up: Tensor, quantised: bool) -> tuple[Logistic, Logistic]:
        """p(z | state) and q(z | state, x); the posterior's parameters are relative to the prior's."""
        hidden = self.seen(torch.cat([state, bottom_up], 1))
        with torch.autocast(state.device.type, enabled=False):
            prior = logistic_of(self.prior(state.float()), quantised)
            return prior, logistic_of(self.posterior(hidden.float()), quantised, prior)

    def descend(self, state: Tensor, z: Tensor) -> Tensor:
        """The state after z (B, size, h, w)."""
        state = self.inject(torch.cat([latent_input(z), state], 1), skip=state)
        for block in self.blocks:
            state = block(state)
        return state


class Down(nn.Module):
    """A grid of the top-down pass."""

    def __init__(self, config: TopDownConfig, grid: int, leave: QConv) -> None:
        super().__init__()
        width, kernel, blocks = config.widths[grid], config.kernel(grid), config.blocks[grid]
        self.layers = nn.ModuleList(LatentLayer(size, width, kernel, blocks) for size in config.latents[grid])
        self.blocks = nn.ModuleList(Residual(width, kernel) for _ in range(0 if self.layers else blocks))
        self.leave = leave


class Pixel(nn.Module):
    """The likelihood's parameters of every pixel, from features and context."""

    def __init__(self, config: TopDownConfig) -> None:
        super().__init__()
        taps = len(config.taps) * config.channels
        self.enter = QConv(taps + config.features, config.hidden, 1, centre=sample_centre(config), centred=taps, gain=1.0)
        self.hidden = nn.ModuleList(QConv(config.hidden, config.hidden, 1, gain=1.0) for _ in range(config.depth))
        self.out = QConv(config.hidden, config.outputs, 1, relu=False, gain=0.1)
        with torch.no_grad():
            start_head(self.out.bias[0], config)


class TopDownVAE(Quantised):
    """Bits of images under a top-down hierarchy, differentiable."""

    def __init__(self, config: TopDownConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or TopDownConfig()
        # of the pixels that the pixel layers run on: less in training, where they take most of the time; None if there are none
        self.pixel_share = 1.0 if c.features else None
        last = len(c.divisors) - 1
        up, down = [], []
        for grid in range(last + 1):
            width, kernel = c.widths[grid], c.kernel(grid)
            if grid == last:
                inputs = c.channels * c.ratio(grid) ** 2
                centre = sample_centre(c)
                enter = QConv(inputs, width, kernel, centre=centre, centred=inputs if centre else 0, gain=sample_gain(c))
            else:
                enter = QConv(c.widths[grid + 1] * c.ratio(grid) ** 2, width, 1)
            up.append(Up(enter, width, kernel, c.blocks[grid]))
            head = grid == last and not c.features
            down.append(Down(c, grid, QConv(width, c.leaving(grid), 1, relu=not head, gain=0.1 if head else 2.0)))
        self.up, self.down = nn.ModuleList(up), nn.ModuleList(down)
        self.start = QConv(math.prod(c.grid_size(0)), c.widths[0], 1)
        with torch.no_grad():
            self.start.bias.fill_(1.0)
        if c.features:
            self.pixel = Pixel(c)
        else:
            pixel = torch.zeros(c.outputs)
            start_head(pixel, c)
            with torch.no_grad():
                down[-1].leave.bias[0] = pixel.repeat_interleave(c.ratio(last) ** 2)

    def forward(self, x: Tensor, noise: Tensor) -> Bits:
        """Bits of a batch. Shapes: x (B, C, H, W) uint8, noise (B, latent_count) uniform in (0, 1)."""
        c, q, noise_of_step = self.config, self.quantised, noise
        samples = sample_input(x, c)
        bits = Bits()
        bottom_up = self._bottom_up(samples)
        state = self.start(self.positions(x))
        for grid, module in enumerate(self.down):
            down = cast(Down, module)
            height, width = c.grid_size(grid)
            for layer, size in zip(cast(list[LatentLayer], list(down.layers)), c.latents[grid], strict=True):
                prior, posterior = layer.logistics(state, bottom_up[grid], q)
                uniform, noise = noise[:, : size * height * width], noise[:, size * height * width :]
                z = posterior.draw(uniform.view(-1, size, height, width))
                bits.latent(z, prior, posterior)
                state = layer.descend(state, z)
            for block in down.blocks:
                state = block(state)
            if grid + 1 == len(c.divisors) and not c.features:
                with torch.autocast(state.device.type, enabled=False):
                    out = F.pixel_shuffle(down.leave(state.float()), c.ratio(grid))
                    bits.data.append(sample_bits(x, out, None, c, q))
                return bits
            state = F.pixel_shuffle(down.leave(state), c.ratio(grid))
        bits.data.append(self._pixel_bits(x, samples, state, noise_of_step))
        return bits

    def _pixel_bits(self, x: Tensor, samples: Tensor, features: Tensor, noise: Tensor) -> Tensor:
        """-log2 p(x|z) by the pixel layers, (B,): of all pixels, or of some as an estimate for all."""
        c, reference = self.config, self._reference(x)
        if self.pixel_share is not None and self.pixel_share < 1:
            chosen = self._pixels_of_step(noise, round(self.pixel_share * c.height * c.width))
            context = self._context_of(samples, chosen)
            features, x = (a.flatten(2)[:, :, chosen, None] for a in (features, x))
            reference = None if reference is None else reference.flatten(2)[:, :, chosen, None]
        else:
            context = self._context(samples)
        h = self.pixel.enter(torch.cat([context, features], 1))
        for hidden in self.pixel.hidden:
            h = hidden(h, skip=h)
        h = h.float()
        with torch.autocast(h.device.type, enabled=False):
            bits = sample_bits(x, self.pixel.out(h), reference, c, self.quantised)
        return bits * (c.height * c.width / x[0, 0].numel())

    def _pixels_of_step(self, noise: Tensor, count: int) -> Tensor:
        """The pixels that a step is about, (max(1, count),): spread evenly, and over all steps each as often as any other."""
        pixels = self.config.height * self.config.width
        golden = (math.sqrt(5) - 1) / 2
        places = (torch.arange(pixels, device=noise.device, dtype=torch.float64) * golden + noise[0, 0].double()) % 1
        return places.argsort()[: max(1, count)]

    def positions(self, x: Tensor) -> Tensor:
        """A channel for each position of the coarsest grid, 1 there and 0 elsewhere: (B, h w, h, w)."""
        height, width = self.config.grid_size(0)
        one = torch.eye(height * width, device=x.device).view(1, -1, height, width)
        return one.expand(len(x), -1, -1, -1)

    def _bottom_up(self, samples: Tensor) -> list[Tensor]:
        """What posteriors know of x, by grid."""
        states: list[Tensor] = []
        x = samples
        for grid in reversed(range(len(self.config.divisors))):
            x = self.up[grid](F.pixel_unshuffle(x, self.config.ratio(grid)))
            states.insert(0, x)
        return states

    def _context(self, samples: Tensor) -> Tensor:
        """The samples at each tap of every pixel, 0 outside the image: (B, taps C, H, W), the channels of a tap side by side."""
        r = self.config.context
        height, width = samples.shape[-2:]
        padded = F.pad(samples, (r, r, r, 0))
        shifted = [padded[..., r + dy : r + dy + height, r + dx : r + dx + width] for dy, dx in self.config.taps]
        return torch.cat(shifted, 1) if shifted else samples[:, :0]

    def _context_of(self, samples: Tensor, chosen: Tensor) -> Tensor:
        """`_context` of some pixels only, (n,) of the flattened image: (B, taps C, n, 1)."""
        r, width = self.config.context, samples.shape[-1]
        padded = F.pad(samples, (r, r, r, 0))
        across = width + 2 * r
        row, column = chosen // width, chosen % width
        taps = [(row + r + dy) * across + column + r + dx for dy, dx in self.config.taps]
        if not taps:
            return samples.flatten(2)[:, :0, chosen, None]
        samples = padded.flatten(2)[:, :, torch.stack(taps)]  # (B, C, taps, n)
        return samples.transpose(1, 2).flatten(1, 2).unsqueeze(-1)

    def _reference(self, x: Tensor) -> Tensor | None:
        """Twice the sum of the pixels at the left and above, (B, C, H, W); at a border twice the other, in the corner 128."""
        if not self.config.reference:
            return None
        wide = x.int()
        left, above = torch.full_like(wide, 128), torch.full_like(wide, 128)
        left[..., 1:], above[..., 1:, :] = wide[..., :-1], wide[..., :-1, :]
        left[..., 1:, 0], above[..., 0, 1:] = above[..., 1:, 0], left[..., 0, 1:]
        return 2 * (left + above)
