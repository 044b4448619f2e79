"""Networks of the models for sets: layers that run on batches of images.

Batches are padded to one of BATCHES, and the self-check runs these very shapes. All arithmetic is exact, so what an image gives
does not depend on the batch that it is in.

Shapes: B images; activations are tensors (B, C, h, w) of the backend's own type, distributions int64 arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bbans.exact import selfcheck
from bbans.exact.backends import layer_class
from bbans.exact.network import IntConv
from bbans.models.config import BINARY_LEVEL, ImageConfig
from bbans.models.grids import LATENT_CENTRE, LATENT_LEVELS, LOG_SCALE_OFFSET, Latent, Levels, Samples
from bbans.tables import SCALES

BATCHES = (1, 2, 4, 8, 16, 32, 64)
MAX_BATCH = BATCHES[-1]
LATENT_MEAN_LIMIT = 1 << 15  # in 1/64 of a level: four times the range

Number = TypeVar("Number", bound=np.generic)


class LatentStep(NamedTuple):
    """A layer of latents on the way through a model: the two distributions, and z (B, n)."""

    prior: Latent
    posterior: Latent
    z: Levels

    def first(self, count: int) -> LatentStep:
        """Those of the first `count` images."""
        return LatentStep(self.prior.first(count), self.posterior.first(count), self.z[:count])


class Walk(NamedTuple):
    """A way through a model: its layers of latents, and the head's outputs for p(x|z), (B, outputs, H * W)."""

    latents: list[LatentStep]
    outputs: NDArray[np.float32]


class BatchNetwork:
    """The layers of a model on one backend. A family adds the stages that its coder runs.

    Raises: ModelError when the layers are not those of the config, or there is no such backend; RuntimeError when torch lacks the
    backend's arithmetic.
    """

    def __init__(self, config: ImageConfig, layers: Mapping[str, IntConv], backend: str) -> None:
        config.check_layers(layers)
        kind = layer_class(backend)
        self.config, self.backend, self.weights = config, backend, dict(layers)
        self.layers = {name: kind(layer, torch.device("cpu")) for name, layer in layers.items()}
        self._activations = kind.activations

    def samples(self, x: Samples) -> Tensor:
        """Samples (B, H, W, C) as activations."""
        levels = x * np.uint8(BINARY_LEVEL) if self.config.binary else x >> 1
        return torch.from_numpy(np.ascontiguousarray(levels)).permute(0, 3, 1, 2).to(self._activations)

    def levels(self, z: Levels, height: int = 1, width: int = 1) -> Tensor:
        """Latents (B, n) as activations (B, n / (height width), height, width)."""
        return torch.from_numpy(z.astype(np.uint8)).view(len(z), -1, height, width).to(self._activations)

    def walks(self, x: Samples, draw: Callable[[Latent], Levels]) -> Iterator[Walk]:
        """Endless ways through the model for images (B, H, W, C), at most a batch; `draw` takes a z from each posterior."""
        raise NotImplementedError

    def digest(self) -> str:
        """See bbans.exact.selfcheck: of the largest batch; "" if a smaller one gives anything else."""
        whole = self._run_stages(MAX_BATCH)
        for size in BATCHES[:-1]:
            if not all(np.array_equal(part, all[:size]) for part, all in zip(self._run_stages(size), whole, strict=True)):
                return ""
        return selfcheck.digest(whole)

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        """What every stage gives for the first `batch` images of a fixed set."""
        raise NotImplementedError

    def _run(self, name: str, x: Tensor, skip: Tensor | None = None) -> Tensor:
        layer = self.layers[name]
        if layer.kernel > 1:
            x = F.pad(x, (1, 1, 1, 1))
        return layer(x.contiguous(memory_format=torch.channels_last), skip)


def batch_size(images: int) -> int:
    """To how many images a batch is padded: one of BATCHES."""
    return next(size for size in BATCHES if size >= images)


def padded(array: NDArray[Number]) -> NDArray[Number]:
    """An array (B, ..) with zeros for further images, up to a size of BATCHES."""
    size = batch_size(len(array))
    if size == len(array):
        return array
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


def logistics(out: Tensor, prior: Latent | None = None) -> Latent:
    """What a head's outputs (B, 2 C, h, w) mean: means and log scales, relative to the prior's if there is one."""
    v = out.flatten(2).double()
    size = v.shape[1] // 2
    mean = v[:, :size].mul(64).round_().flatten(1).to(torch.int64).numpy()
    scale = v[:, size:].round().flatten(1).to(torch.int64).numpy()
    if prior is None:
        return Latent(_limited(mean + 64 * LATENT_CENTRE), np.clip(scale + LOG_SCALE_OFFSET, 0, SCALES - 1))
    return Latent(_limited(mean + prior.mean), np.clip(scale + prior.scale, 0, SCALES - 1))


def _limited(mean: Levels) -> Levels:
    return np.clip(mean, -LATENT_MEAN_LIMIT, LATENT_MEAN_LIMIT)


def probe_images(config: ImageConfig, batch: int) -> Samples:
    """The first images (batch, H, W, C) of a fixed set of MAX_BATCH."""
    return _probe(config.shape, config.symbols, batch)


def probe_latents(size: int, batch: int) -> Levels:
    """The first latents (batch, size) of a fixed set of MAX_BATCH."""
    return _probe((size,), LATENT_LEVELS, batch).astype(np.int64)


def _probe(shape: tuple[int, ...], below: int, batch: int) -> Samples:
    return selfcheck.probe((MAX_BATCH, *shape), below, shift=13)[:batch]
