"""A tiny photo model with random weights, and pictures for it: what the tests of the models share."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bbans import models
from bbans.exact.qat import ACTIVATION_STEP, QConv, set_quantised
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.config import PhotoConfig
from bbans.models.photo.vae import PhotoVAE
from bbans.models.registry import FAMILIES
from bbans.models.weights import PHOTO, Weights, unpack

TINY = PhotoConfig(width=16, blocks=1, carried=4, head=16, latents=2, latent_width=8)
WITHOUT_LATENTS = PhotoConfig(width=16, blocks=1, carried=4, head=16, latents=0)


@torch.no_grad()
def random_vae(config: PhotoConfig = TINY, seed: int = 0) -> PhotoVAE:
    """A quantised model whose outputs all vary with its inputs, and whose biases lie on the integer grid.

    With biases on the grid the training form in float32 computes the very integers of the integer form. Weights do not depend
    on how training starts.
    """
    rng = np.random.default_rng(seed)
    model = PhotoVAE(config)
    for name, module in model.named_modules():
        if isinstance(module, QConv):
            gain = 0.8 if name.startswith("trunk") and name.endswith("b") else 0.6 if name.startswith("out") else 1.0
            bound = gain / np.sqrt(module.weight[0].numel())
            module.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(module.weight.shape))))
            bias = rng.uniform(-0.3, 0.3, tuple(module.bias.shape))
            if name.startswith("out"):
                bias[:, 6 * config.components : 9 * config.components] += 2  # log scales
                bias[:, 9 * config.components :] += np.repeat([0.9, -0.3, 0.8], config.components)  # slopes
            if name in ("prior_out", "posterior_out"):
                bias[:, config.latents :] += 1
            module.bias.copy_(torch.from_numpy(np.rint(bias / ACTIVATION_STEP) * ACTIVATION_STEP))
    set_quantised(model, True)
    return model.eval()


@functools.cache
def weight_file(config: PhotoConfig = TINY, seed: int = 0) -> bytes:
    """The weight file of `random_vae`."""
    return FAMILIES[PHOTO].export(random_vae(config, seed), "tiny")


@functools.cache
def weights(config: PhotoConfig = TINY, seed: int = 0) -> Weights:
    """The weights of `random_vae`, as `bbans.models.read` gives them for `weight_file`."""
    return unpack(weight_file(config, seed), "tiny")


def codec(config: PhotoConfig = TINY, seed: int = 0, *, threads: int = 1, backend: str | None = None) -> PhotoCodec:
    """The codec of `random_vae`."""
    made = models.load(weights(config, seed), threads=threads, backend=backend)
    assert isinstance(made, PhotoCodec)
    return made


def write_weight_file(path: Path, config: PhotoConfig = TINY, seed: int = 0) -> Path:
    path.write_bytes(weight_file(config, seed))
    return path


def picture(height: int, width: int, channels: int = 3, *, kind: str = "photo", seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, channels): ``photo`` is smooth with grain and edges; ``noise``, ``flat``, ``gradient``."""
    rng = np.random.default_rng((seed, height, width, channels))
    shape = (height, width, channels)
    if kind == "noise":
        return rng.integers(0, 256, shape, np.uint8)
    if kind == "flat":
        return np.full(shape, 77, np.uint8)
    y, x, c = np.ogrid[:height, :width, :channels]
    if kind == "gradient":
        return ((3 * y + 2 * x + 40 * c) % 256).astype(np.uint8)
    waves = 128 + 60 * np.sin(x / 9 + c / 3) + 40 * np.cos(y / 13) + 30 * ((x + y) // 20 % 2) + 4 * rng.normal(size=shape)
    return np.clip(waves, 0, 255).astype(np.uint8)
