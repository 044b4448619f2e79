"""What a photo model is worth: the negative ELBO of centre crops while it is trained, and real files at the end."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image

from bbans import api
from bbans.errors import UnsupportedImageError, VerifyError
from bbans.exact.qat import Quantised
from bbans.images import webp
from bbans.models.config import PictureConfig
from bbans.models.losses import Bits
from bbans.training.data.crops import Pixels
from bbans.training.data.photos import Photo


def evaluate(model: Quantised, photos: Sequence[Pixels], side: int = 256, autocast: bool = True) -> dict[str, float]:
    """Mean negative ELBO in bits/dim over the centre crops of the photos, and its parts. No coder is involved."""
    device, config = next(model.parameters()).device, cast(PictureConfig, model.config)
    likelihood = kl = 0.0
    for index, photo in enumerate(photos):
        size = 1 << min(side, *photo.shape[:2]).bit_length() - 1
        top, left = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
        crop = np.ascontiguousarray(photo[top : top + size, left : left + size])
        x = torch.from_numpy(crop).permute(2, 0, 1)[None].to(device)
        rng = np.random.default_rng((1, index))
        noise = torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, (1, config.noise_size(size))).astype(np.float32))
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            bits: Bits = model(x, noise.to(device))
        likelihood += bits.likelihood().item() / x.numel()
        kl += bits.kl().item() / x.numel()
    count = len(photos)
    return {"neg_elbo": (likelihood + kl) / count, "kl": kl / count}


@dataclass(frozen=True)
class FileSize:
    """A picture as files: its sub-pixels, the bytes of ours and of a lossless WebP (None when it is too large for one)."""

    path: Path
    dims: int
    file_bytes: int
    webp_bytes: int | None


def file_sizes(photos: Sequence[Photo], model: Path, *, threads: int | None = None, device: str = "cpu") -> Iterator[FileSize]:
    """Compress each picture whole with the weights of that file, decompress it and compare.

    A picture that the model does not take as its file has it (with alpha, say) is taken as the pixels that it was trained on.
    Raises: VerifyError when another picture comes back.
    """
    codec = api.Model(model, threads=threads, device=device)
    for photo in photos:
        data = photo.path.read_bytes()
        try:
            packed = codec.compress(data, mode="model", verify=False)
            pixels = _pixels(data)
        except UnsupportedImageError:
            pixels = photo.pixels
            data = _ppm(pixels)
            packed = codec.compress(data, mode="model", verify=False)
        restored = codec.decompress(packed.data)
        if not np.array_equal(_pixels(restored.data), pixels):
            raise VerifyError(f"{photo.path}: another picture came back from the new model")
        fits = max(photo.pixels.shape) <= webp.MAX_SIDE_PX
        yield FileSize(photo.path, pixels.size, len(packed.data), len(webp.encode(photo.pixels)) if fits else None)


def _pixels(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _ppm(pixels: Pixels) -> bytes:
    return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()
