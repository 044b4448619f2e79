"""Networks of the models for sets: layers that run on batches of images.

All arithmetic is exact, so what an image gives does not depend on the batch that it is in. `BatchNetwork.digest` is stored with the
weights, so a backend that rounds anywhere is found out before it codes anything.

Shapes: B images; activations are bytes (B, h, w, C), distributions int64 arrays (B, n), n in the order of channels, rows, columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbans.exact import selfcheck
from bbans.exact.backends import Activations, Sums, layer_class
from bbans.exact.network import IntConv, round_shift
from bbans.models.config import BINARY_LEVEL, ImageConfig
from bbans.models.grids import LATENT_CENTRE, LATENT_LEVELS, LOG_SCALE_OFFSET, Latent, Levels, Samples
from bbans.tables import SCALES

MAX_BATCH = 64
PROBES = MAX_BATCH  # images of the self-check
LATENT_MEAN_LIMIT = 1 << 15  # in 1/64 of a level: four times the range


class LatentStep(NamedTuple):
    """A layer of latents on the way through a model: the two distributions, and z (B, n)."""

    prior: Latent
    posterior: Latent
    z: Levels


class Walk(NamedTuple):
    """A way through a model: its layers of latents, and the head's outputs for p(x|z), (B, outputs, H * W)."""

    latents: list[LatentStep]
    outputs: NDArray[np.float32]


class BatchNetwork:
    """The layers of a model on one backend. A family adds the stages that its coder runs.

    Raises: ModelError when the layers are not those of the config, or there is no such backend; RuntimeError when this
    machine lacks the backend's arithmetic.
    """

    def __init__(self, config: ImageConfig, layers: Mapping[str, IntConv], backend: str) -> None:
        config.check_layers(layers)
        kind = layer_class(backend)
        self.config, self.backend, self.weights = config, backend, dict(layers)
        self.layers = {name: kind(layer) for name, layer in layers.items()}

    def samples(self, x: Samples) -> Activations:
        """Samples (B, H, W, C) as activations."""
        return np.asarray(x * BINARY_LEVEL if self.config.binary else x >> 1, np.uint8)

    def levels(self, z: Levels, height: int = 1, width: int = 1) -> Activations:
        """Latents (B, n) as activations (B, height, width, n / (height width))."""
        return np.ascontiguousarray(z.astype(np.uint8).reshape(len(z), -1, height, width).transpose(0, 2, 3, 1))

    def walks(self, x: Samples, draw: Callable[[Latent], Levels]) -> Iterator[Walk]:
        """Endless ways through the model for images (B, H, W, C), at most a batch; `draw` takes a z from each posterior."""
        raise NotImplementedError

    def digest(self) -> str:
        """What every stage gives for fixed inputs (see bbans.exact.selfcheck)."""
        return selfcheck.digest(self._run_stages(PROBES))

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        """What every stage gives for the first `batch` images of a fixed set."""
        raise NotImplementedError

    def _run(self, name: str, x: Activations, skip: Activations | None = None) -> Activations:
        return self.layers[name](self._bordered(name, x), skip)

    def _logistics(self, name: str, x: Activations, prior: Latent | None = None) -> Latent:
        """What a head's outputs mean: means and log scales, relative to the prior's if there is one."""
        out = self.layers[name].sums(x).astype(np.int64)
        size = out.shape[3] // 2
        exponents = self.layers[name].exponents
        mean = round_shift(out[..., :size] * 64, exponents[:size])
        scale = round_shift(out[..., size:], exponents[size:])
        mean, scale = (part.transpose(0, 3, 1, 2).reshape(len(x), -1) for part in (mean, scale))
        if prior is None:
            return Latent(_limited(mean + 64 * LATENT_CENTRE), np.clip(scale + LOG_SCALE_OFFSET, 0, SCALES - 1))
        return Latent(_limited(mean + prior.mean), np.clip(scale + prior.scale, 0, SCALES - 1))

    def _bordered(self, name: str, x: Activations) -> Activations:
        """With the border of zeros that a layer of 3 x 3 takes."""
        return np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) if self.layers[name].kernel > 1 else x


def as_floats(sums: Sums | Activations, exponents: NDArray[np.int64]) -> NDArray[np.float32]:
    """The numbers that accumulators stand for. Shapes: they broadcast. A weight file's digest is made of these."""
    return np.ldexp(sums.astype(np.float32), -exponents.astype(np.int32))


def _limited(mean: Levels) -> Levels:
    return np.clip(mean, -LATENT_MEAN_LIMIT, LATENT_MEAN_LIMIT)


def probe_images(config: ImageConfig, batch: int) -> Samples:
    """The first images (batch, H, W, C) of a fixed set of PROBES."""
    return _probe(config.shape, config.symbols, batch)


def probe_latents(size: int, batch: int) -> Levels:
    """The first latents (batch, size) of a fixed set of PROBES."""
    return _probe((size,), LATENT_LEVELS, batch).astype(np.int64)


def _probe(shape: tuple[int, ...], below: int, batch: int) -> Samples:
    return selfcheck.probe((PROBES, *shape), below, shift=13)[:batch]
