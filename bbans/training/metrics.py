"""What a model is worth while it is trained: its negative ELBO over pictures that are held out. No coder is involved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import numpy as np
import torch

from bbans.exact.qat import Quantised
from bbans.models.config import ImageConfig, PictureConfig
from bbans.models.losses import Bits
from bbans.training.data.batches import PixelsAndNoise, uniform
from bbans.training.data.pictures import Pixels

BATCH = 250  # images at a time
SIDE_PX = 256


def evaluate(model: Quantised, batches: Iterable[PixelsAndNoise], autocast: bool) -> dict[str, float]:
    """The mean negative ELBO of pictures in bits/dim, `neg_elbo`, and the KL term's part, `kl`. Each picture counts alike."""
    device = next(model.parameters()).device
    likelihood = kl = 0.0
    count = 0
    for pixels, noise in batches:
        x = pixels.to(device).permute(0, 3, 1, 2)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            bits: Bits = model(x, noise.to(device))
        dims = x[0].numel()
        likelihood += bits.likelihood().double().sum().item() / dims
        kl += bits.kl().double().sum().item() / dims
        count += len(x)
    return {"neg_elbo": (likelihood + kl) / count, "kl": kl / count}


def evaluate_photos(model: Quantised, photos: Sequence[Pixels], autocast: bool) -> dict[str, float]:
    """`evaluate` of the centre crops of photos, of SIDE_PX or as large as they allow. The same for the same model."""
    config = cast(PictureConfig, model.config)

    def crops() -> Iterator[PixelsAndNoise]:
        for index, photo in enumerate(photos):
            size = 1 << min(SIDE_PX, *photo.shape[:2]).bit_length() - 1
            top, left = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
            crop = np.ascontiguousarray(photo[None, top : top + size, left : left + size])
            yield torch.from_numpy(crop), uniform(np.random.default_rng((1, index)), 1, config.noise_size(size))

    return evaluate(model, crops(), autocast)


def evaluate_images(model: Quantised, pixels: Pixels, autocast: bool) -> dict[str, float]:
    """`evaluate` of images (N, H, W, C). The same for the same model."""
    noise = cast(ImageConfig, model.config).latent_count

    def batches() -> Iterator[PixelsAndNoise]:
        for first in range(0, len(pixels), BATCH):
            x = torch.from_numpy(pixels[first : first + BATCH])
            yield x, uniform(np.random.default_rng((1, first)), len(x), noise)

    return evaluate(model, batches(), autocast)
