"""Bits of samples and latents in the training forms of the models for small images, differentiable."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from bbans.exact.qat import ACTIVATION_STEP, round_ste
from bbans.models.photo.vae import logistic_log_mass, mixture_bits
from bbans.models.small_layout import (
    BINARY_LEVEL,
    LATENT_LEVELS,
    LEVELS_PER_UNIT,
    LOG_SCALE_MAX,
    LOG_SCALE_MIN,
    SmallConfig,
)

TOP = LATENT_LEVELS - 1


@dataclass
class SmallBits:
    """Bits of each image, (B,) each: of the samples given z, and of every latent layer under prior and posterior."""

    data: Tensor
    prior: list[Tensor] = field(default_factory=list)
    posterior: list[Tensor] = field(default_factory=list)

    def likelihood(self) -> Tensor:
        return self.data

    def kl(self) -> Tensor:
        return torch.stack(self.prior).sum(0) - torch.stack(self.posterior).sum(0)


@dataclass
class Logistic:
    """Logistics of latents: means in levels, log scales rounded as the integer form has them."""

    mean: Tensor
    log_scale: Tensor

    def draw(self, uniform: Tensor) -> Tensor:
        """Levels 0 .. 127, by the inverse of the CDF."""
        return round_ste((self.mean + torch.exp(self.log_scale) * torch.logit(uniform)).clamp(0, TOP))

    def bits(self, z: Tensor) -> Tensor:
        """-log2 of the discretised masses, summed over all but the first axis."""
        return -logistic_log_mass(z, self.mean, self.log_scale, TOP).flatten(1).sum(1) / math.log(2)


def log_scale_of(out: Tensor, quantised: bool) -> Tensor:
    """The log scales that a head's outputs mean."""
    out = round_ste(out * 16) / 16 if quantised else out
    return out.clamp(LOG_SCALE_MIN, LOG_SCALE_MAX)


def latent_input(z: Tensor) -> Tensor:
    """Levels as activations."""
    return z * ACTIVATION_STEP


def sample_input(x: Tensor, config: SmallConfig) -> Tensor:
    """Samples (B, C, H, W) uint8 as activations: the seven high bits, or a fixed level for a binary 1."""
    return (x.float() * BINARY_LEVEL if config.binary else (x >> 1).float()) * ACTIVATION_STEP


def sample_gain(config: SmallConfig) -> float:
    """Gain of the layers that see samples: makes up for how large these are."""
    return 8.0 if config.binary else (1.0 if config.channels == 3 else 0.5)


def sample_centre(config: SmallConfig) -> int:
    """Level that samples are centred on: photos are gray in the mean, drawings are mostly background."""
    return 64 if config.channels == 3 else 0


def sample_bits(x: Tensor, out: Tensor, reference: Tensor | None, config: SmallConfig, quantised: bool) -> Tensor:
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
def start_head(bias: Tensor, config: SmallConfig) -> None:
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
        bias[9 * k : 10 * k], bias[10 * k : 11 * k], bias[11 * k :] = 0.8, 0.3, 0.5
