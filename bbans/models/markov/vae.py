"""Dense VAEs with a Markov hierarchy of latents. Training form.

::

    x <- z_1 <- z_2 <- .. <- z_L     p(x|z_1) p(z_1|z_2) .. p(z_L)
    x -> z_1 -> z_2 -> .. -> z_L     q(z_1|x) q(z_2|z_1) ..

Each arrow is a network of one hidden layer. With L = 1 it is the model of the BB-ANS paper. Latents are integers 0 .. 127 with
discretised logistic distributions; the top prior is fixed. Every layer is a QConv on 1x1 images; the integer form is
`bbans.models.markov.network`.

Sources: Townsend, Bird, Barber, "Practical lossless compression with latent variables using bits back coding", ICLR 2019; Kingma,
Abbeel, Ho, "Bit-Swap: recursive bits-back coding for lossless compression with hierarchical latent variables", ICML 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bbans.exact.qat import QConv, Quantised
from bbans.models.grids import LATENT_CENTRE, LOG_SCALE_OFFSET
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
from bbans.models.markov.config import PRIOR_INDEX, MarkovConfig

PRIOR_LOG_SCALE = (PRIOR_INDEX - LOG_SCALE_OFFSET) / 16


class Arrow(nn.Module):
    """(B, n, 1, 1) -> (B, outputs, 1, 1), with one hidden layer."""

    def __init__(self, inputs: int, hidden: int, outputs: int, centre: int, gain: float) -> None:
        super().__init__()
        self.hidden = QConv(inputs, hidden, 1, centre=centre, centred=inputs if centre else 0, gain=gain)
        self.out = QConv(hidden, outputs, 1, relu=False, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x).float()
        with torch.autocast(h.device.type, enabled=False):
            return self.out(h)  # type: ignore[no-any-return]


class MarkovVAE(Quantised):
    """Bits of images under a Markov hierarchy, differentiable."""

    def __init__(self, config: MarkovConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or MarkovConfig()
        below = (c.dims, *c.latents)
        posterior, likelihood = [], []
        for level, (size, hidden) in enumerate(zip(c.latents, c.hidden, strict=True)):
            centre, gain = (LATENT_CENTRE, 2.0) if level else (sample_centre(c), sample_gain(c))
            outputs = 2 * below[level] if level else c.height * c.width * c.outputs
            posterior.append(Arrow(below[level], hidden, 2 * size, centre, gain))
            likelihood.append(Arrow(size, hidden, outputs, LATENT_CENTRE, 2.0))
        self.posterior, self.likelihood = nn.ModuleList(posterior), nn.ModuleList(likelihood)
        with torch.no_grad():
            for level, size in enumerate(c.latents):
                posterior[level].out.bias[0, size:] = PRIOR_LOG_SCALE - 1
                if level:
                    likelihood[level].out.bias[0, c.latents[level - 1] :] = PRIOR_LOG_SCALE
            pixel = torch.zeros(c.outputs)
            start_head(pixel, c)
            likelihood[0].out.bias[0] = pixel.view(-1, 1).expand(-1, c.height * c.width).reshape(-1)

    def forward(self, x: Tensor, noise: Tensor) -> Bits:
        """Bits of a batch. Shapes: x (B, C, H, W) uint8, noise (B, latent_count) uniform in (0, 1)."""
        c, q = self.config, self.quantised
        uniforms = torch.split(noise, list(c.latents), 1)
        latents: list[Tensor] = []
        posteriors: list[Logistic] = []
        below = sample_input(x, c).flatten(1)[:, :, None, None]
        for level in range(len(c.latents)):
            posteriors.append(logistic_of(self.posterior[level](below), q))
            latents.append(posteriors[level].draw(uniforms[level][:, :, None, None]))
            below = latent_input(latents[level])
        bits = Bits()
        for level, z in enumerate(latents):
            if level + 1 < len(latents):
                prior = logistic_of(self.likelihood[level + 1](latent_input(latents[level + 1])), q)
            else:
                prior = Logistic(torch.full_like(z, LATENT_CENTRE), torch.full_like(z, PRIOR_LOG_SCALE))
            bits.latent(z, prior, posteriors[level])
        out = self.likelihood[0](latent_input(latents[0])).reshape(-1, c.outputs, c.height, c.width)
        bits.data.append(sample_bits(x, out, None, c, q))
        return bits
