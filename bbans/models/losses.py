"""Bits of samples and latents, differentiable: what the training forms of all models are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from bbans.exact.qat import ACTIVATION_STEP, round_ste
from bbans.models.config import BINARY_LEVEL, ImageConfig
from bbans.models.grids import COLOURS, LATENT_CENTRE, LATENT_LEVELS, LEVELS_PER_UNIT, LOG_SCALE_MAX, LOG_SCALE_MIN

TOP = LATENT_LEVELS - 1


@dataclass
class Bits:
    """Bits of each picture, (B,) each: parts of -log2 p(x|z), and -log2 p(z) and -log2 q(z|x) of every latent layer."""

    data: list[Tensor] = field(default_factory=list)
    prior: list[Tensor] = field(default_factory=list)
    posterior: list[Tensor] = field(default_factory=list)

    def likelihood(self) -> Tensor:
        """-log2 p(x|z)."""
        return torch.stack(self.data).sum(0)

    def kl(self) -> Tensor:
        """log2 q(z|x) - log2 p(z)."""
        if not self.prior:
            return torch.zeros_like(self.data[0])
        return torch.stack(self.prior).sum(0) - torch.stack(self.posterior).sum(0)

    def latent(self, z: Tensor, prior: Logistic, posterior: Logistic) -> None:
        """Count the bits of a latent layer."""
        self.prior.append(prior.bits(z))
        self.posterior.append(posterior.bits(z))


@dataclass
class Logistic:
    """Logistics of latents: means in levels, log scales rounded as the integer form has them."""

    mean: Tensor
    log_scale: Tensor

    def draw(self, uniform: Tensor) -> Tensor:
        """Levels 0 .. 127, by the inverse of the CDF."""
        return round_ste((self.mean + torch.exp(self.log_scale) * torch.logit(uniform)).clamp(0, TOP))

    def mode(self) -> Tensor:
        """The likeliest levels."""
        return round_ste(self.mean.clamp(0, TOP))

    def bits(self, z: Tensor) -> Tensor:
        """-log2 of the discretised masses, summed over all but the first axis."""
        return -logistic_log_mass(z, self.mean, self.log_scale, TOP).flatten(1).sum(1) / math.log(2)


def logistic_of(out: Tensor, quantised: bool, prior: Logistic | None = None) -> Logistic:
    """What a head's outputs (B, 2 C, ..) mean: means and log scales, relative to the prior's if there is one."""
    mean, log_scale = out.chunk(2, 1)
    if prior is None:
        return Logistic(LATENT_CENTRE + LEVELS_PER_UNIT * mean, log_scale_of(log_scale, quantised))
    return Logistic(prior.mean + LEVELS_PER_UNIT * mean, log_scale_of(prior.log_scale + log_scale, quantised))


def log_scale_of(out: Tensor, quantised: bool) -> Tensor:
    """The log scales that a head's outputs mean."""
    out = round_ste(out * 16) / 16 if quantised else out
    return out.clamp(LOG_SCALE_MIN, LOG_SCALE_MAX)


def latent_input(z: Tensor) -> Tensor:
    """Levels as activations."""
    return z * ACTIVATION_STEP


def logistic_log_mass(x: Tensor, mean: Tensor, log_scale: Tensor, top: int, sample: Tensor | None = None) -> Tensor:
    """log of the mass of x in 0 .. top under a discretised logistic whose tails belong to 0 and top, in nats.

    Where x and the mean are both relative to something, so that nothing large is subtracted, `sample` is what x was before.
    """
    sample = x if sample is None else sample
    inverse = torch.exp(-log_scale)
    upper, lower = (x + 0.5 - mean) * inverse, (x - 0.5 - mean) * inverse
    log_upper, log_lower = F.softplus(-upper), F.softplus(lower)
    inner = torch.log(-torch.expm1(-inverse) + 1e-12) - log_upper - log_lower
    return torch.where(sample < 0.5, -log_upper, torch.where(sample > top - 0.5, -log_lower, inner))


def mixture_bits(x: Tensor, reference: Tensor, out: Tensor, components: int, quantised: bool) -> Tensor:
    """Bits of each picture's pixels under the heads' mixtures. (B,)

    Shapes: x (B, 3, h, w) pixels; reference (B, 3, h, w) four times a pixel; out (B, 12 K, h, w), colours in coding order.
    """
    batch, _, height, width = x.shape
    k = components
    order = list(COLOURS)
    pixel = x[:, order].float()
    residual = pixel - reference[:, order].float() / 4
    logits, means, log_scales = out[:, : 9 * k].view(batch, 3, 3, k, height, width).unbind(1)  # (B, 3, K, h, w) each
    slopes = out[:, 9 * k :].view(batch, 3, k, height, width).clamp(-2, 2)
    log_scales = log_scales.clamp(LOG_SCALE_MIN, LOG_SCALE_MAX)
    if quantised:  # the grids of the integer form: see bbans.models.mixture
        logits, log_scales = round_ste(logits * 16) / 16, round_ste(log_scales * 16) / 16
        slopes = round_ste(slopes * 64) / 64
    green, red = residual[:, 0:1], residual[:, 1:2]
    shift = torch.stack([torch.zeros_like(slopes[:, 0]), slopes[:, 0] * green, slopes[:, 1] * green + slopes[:, 2] * red], 1)
    mean = means * LEVELS_PER_UNIT + shift
    log_mass = logistic_log_mass(residual.unsqueeze(2), mean, log_scales, 255, sample=pixel.unsqueeze(2))
    total = torch.logsumexp(log_mass + F.log_softmax(logits, 2), 2)
    return -total.flatten(1).sum(1) / math.log(2)


def sample_input(x: Tensor, config: ImageConfig) -> Tensor:
    """Samples (B, C, H, W) uint8 as activations: the seven high bits, or a fixed level for a binary 1."""
    return (x.float() * BINARY_LEVEL if config.binary else (x >> 1).float()) * ACTIVATION_STEP


def sample_gain(config: ImageConfig) -> float:
    """Gain of the layers that see samples: makes up for how large these are."""
    return 8.0 if config.binary else (1.0 if config.channels == 3 else 0.5)


def sample_centre(config: ImageConfig) -> int:
    """Level that samples are centred on: photos are gray in the mean, drawings are mostly background."""
    return 64 if config.channels == 3 else 0


def sample_bits(x: Tensor, out: Tensor, reference: Tensor | None, config: ImageConfig, quantised: bool) -> Tensor:
    """Bits of each image given the head's outputs. (B,)

    Shapes: x (B, C, H, W) uint8; out (B, outputs, H, W); reference (B, C, H, W) four times what means are relative to, or None.
    """
    if config.binary:
        logit = (round_ste(out * 64) / 64 if quantised else out).clamp(-15, 15)
        nats = F.softplus(torch.where(x > 0, -logit, logit))
        return nats.flatten(1).sum(1) / math.log(2)
    k = config.components
    if config.channels == 3:
        base = torch.full_like(x, 128, dtype=torch.int32) * 4 if reference is None else reference
        return mixture_bits(x, base, out, k, quantised)
    logits, means, log_scales = out.chunk(3, 1)  # (B, K, H, W) each
    log_scales = log_scale_of(log_scales, quantised)
    logits = round_ste(logits * 16) / 16 if quantised else logits
    mean = means * LEVELS_PER_UNIT
    log_mass = logistic_log_mass(x.float(), mean, log_scales, 255) + F.log_softmax(logits, 1)
    return -torch.logsumexp(log_mass, 1).flatten(1).sum(1) / math.log(2)


@torch.no_grad()
def start_head(bias: Tensor, config: ImageConfig) -> None:
    """Start as a plausible code: means spread over the range of samples."""
    k = config.components
    if config.binary:
        bias.fill_(-2.0)
    elif config.channels == 1:
        rows = bias.view(3, k)
        rows[0] = torch.linspace(2, 0, k)
        rows[1] = torch.linspace(-8, 272, k) / LEVELS_PER_UNIT
        rows[2] = 2.5
    else:
        bias[3 * k : 6 * k] = torch.linspace(-0.5, 0.5, k).repeat(3)
        bias[6 * k : 9 * k] = 2.5
        start_slopes(bias, k)


@torch.no_grad()
def start_slopes(bias: Tensor, components: int) -> None:
    """Tie colours to green, and blue a little to red. Shapes: bias (12 K,)."""
    k = components
    bias[9 * k : 10 * k], bias[10 * k : 11 * k], bias[11 * k :] = 0.8, 0.3, 0.5
