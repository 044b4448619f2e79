"""A tiny photo model with random weights, and pictures for it: what the tests of the models share."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from bbans.exact.export import export_layers
from bbans.exact.qat import ACTIVATION_STEP, QConv, set_quantised
from bbans.models.photo import PhotoVAE, Residual
from bbans.models.photo_codec import PhotoCodec, load_photo_codec
from bbans.models.photo_layout import PhotoConfig
from bbans.models.photo_network import PhotoNetwork
from bbans.models.weights import Weights, fingerprint, pack

TINY = PhotoConfig(width=16, blocks=1, carried=4, head=16, latents=2, latent_width=8)
WITHOUT_LATENTS = PhotoConfig(width=16, blocks=1, carried=4, head=16, latents=0)


@torch.no_grad()
def random_vae(config: PhotoConfig = TINY, seed: int = 0) -> PhotoVAE:
    """A quantised model whose outputs all vary with its inputs, and whose biases lie on the integer grid.

    With biases on the grid the training form in float32 computes the very integers of the integer form.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PhotoVAE(config)
        for module in model.modules():
            if isinstance(module, Residual):
                module.b.weight.mul_(8)
            if isinstance(module, QConv):
                module.bias += torch.empty_like(module.bias).uniform_(-0.3, 0.3)
        for head in model.out:
            cast(QConv, head).weight.mul_(6)
        if config.latents:
            for net in (model.prior_out, model.posterior_out):
                net.weight.mul_(10)
                net.bias[0, config.latents :] = 1.0
        for module in model.modules():
            if isinstance(module, QConv):
                module.bias.copy_((module.bias / ACTIVATION_STEP).round() * ACTIVATION_STEP)
    set_quantised(model, True)
    return model.eval()


@functools.cache
def weight_file(config: PhotoConfig = TINY, seed: int = 0) -> bytes:
    """The weight file of `random_vae`."""
    layers = export_layers(random_vae(config, seed))
    with torch.inference_mode():
        digest = PhotoNetwork(config, layers, "reference").digest()
    return pack("tiny", asdict(config), digest, layers)


@functools.cache
def weights(config: PhotoConfig = TINY, seed: int = 0) -> Weights:
    """What `bbans.models.read` gives for that file."""
    layers = export_layers(random_vae(config, seed))
    with torch.inference_mode():
        digest = PhotoNetwork(config, layers, "reference").digest()
    return Weights("tiny", fingerprint(weight_file(config, seed)), asdict(config), digest, layers)


def codec(config: PhotoConfig = TINY, seed: int = 0, *, threads: int = 1, backend: str | None = None) -> PhotoCodec:
    """The codec of `random_vae`."""
    return load_photo_codec(weights(config, seed), threads=threads, device="cpu", backend=backend)


def write_weight_file(path: Path, config: PhotoConfig = TINY, seed: int = 0) -> Path:
    path.write_bytes(weight_file(config, seed))
    return path


def picture(height: int, width: int, channels: int = 3, *, kind: str = "photo", seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, channels): ``photo`` is smooth with grain and edges, others are ``noise``, ``flat``, ``gradient``."""
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
