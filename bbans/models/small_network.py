"""The models for small images as integers: layers run on batches of images, and the stages that a coder needs.

Batches are padded to one of BATCHES, and :meth:`SmallNetwork.digest` runs these very shapes: its value is stored with the
weights, so a backend that rounds anywhere is found out before it codes anything. All arithmetic is exact, so what an image gives
does not depend on the batch that it is in.

Shapes: B images; activations are tensors (B, C, h, w) of the backend's own type, distributions int64 arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bbans.errors import ModelError
from bbans.exact.backends import layer_class
from bbans.exact.network import IntConv
from bbans.models.small_layout import (
    BINARY_LEVEL,
    LATENT_CENTRE,
    LOG_SCALE_OFFSET,
    MARKOV_PRIOR_INDEX,
    MarkovConfig,
    SmallConfig,
    TopDownConfig,
)
from bbans.tables import SCALES

Samples = NDArray[np.uint8]
Levels = NDArray[np.int64]

BATCHES = (1, 2, 4, 8, 16, 32, 64)
MAX_BATCH = BATCHES[-1]
MEAN_LIMIT = 1 << 15  # in 1/64 of a level: four times the range


@dataclass
class Latent:
    """Discretised logistics of latents: means in 1/64 of a level and scale indices, int64 (B, n)."""

    mean: Levels
    scale: Levels


class SmallNetwork:
    """The layers of a model on one backend.

    Raises: ModelError when the layers are not those of the configuration or there is no such backend; RuntimeError when the
    library lacks the backend's arithmetic.
    """

    config: SmallConfig

    def __init__(self, config: SmallConfig, layers: Mapping[str, IntConv], backend: str) -> None:
        if config.layers() != {name: (*layer.weight.shape[:3], len(layer.bias), layer.relu) for name, layer in layers.items()}:
            raise ModelError("the model's layers are not those that its configuration asks for")
        made = layer_class(backend)
        self.backend, self.weights = backend, dict(layers)
        self.layers = {name: made(layer, torch.device("cpu")) for name, layer in layers.items()}
        self._activations = made.activations

    def samples(self, x: Samples) -> Tensor:
        """Samples (B, H, W, C) as activations."""
        levels = x * np.uint8(BINARY_LEVEL) if self._binary else x >> 1
        return torch.from_numpy(np.ascontiguousarray(levels)).permute(0, 3, 1, 2).to(self._activations)

    def levels(self, z: Levels, height: int = 1, width: int = 1) -> Tensor:
        """Latents (B, n) as activations (B, n / (height width), height, width)."""
        return torch.from_numpy(z.astype(np.uint8)).view(len(z), -1, height, width).to(self._activations)

    def digest(self) -> str:
        """SHA-256 over what every stage gives for fixed inputs in the largest batch. "" if a smaller batch gives anything else."""
        sha = hashlib.sha256()
        whole = self._run_stages(MAX_BATCH)
        for size in BATCHES[:-1]:
            if not all(np.array_equal(part, all[:size]) for part, all in zip(self._run_stages(size), whole, strict=True)):
                return ""
        for array in whole:
            array = array + array.dtype.type(0)  # floats have a second zero, which is no other number
            sha.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        return sha.hexdigest()

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        """What every stage gives for the first images of a fixed set."""
        raise NotImplementedError

    _binary: bool

    def _run(self, name: str, x: Tensor, skip: Tensor | None = None) -> Tensor:
        layer = self.layers[name]
        if layer.kernel > 1:
            x = F.pad(x, (1, 1, 1, 1))
        return layer(x.contiguous(memory_format=torch.channels_last), skip)


def batch_size(images: int) -> int:
    """The one of BATCHES that so many images are padded to."""
    return next(size for size in BATCHES if size >= images)


def padded(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """An array (B, ..) with zeros for as many images as one of BATCHES has."""
    size = batch_size(len(array))
    if size == len(array):
        return array
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


def logistics(out: Tensor, given: Latent | None = None) -> Latent:
    """What a head's outputs (B, 2 C, h, w) mean: means and log scales, relative to those of `given` if there is one."""
    v = out.flatten(2).double()
    size = v.shape[1] // 2
    mean = v[:, :size].mul(64).round_().flatten(1).to(torch.int64).numpy()
    scale = v[:, size:].round().flatten(1).to(torch.int64).numpy()
    if given is None:
        return Latent(_limited(mean + 64 * LATENT_CENTRE), np.clip(scale + LOG_SCALE_OFFSET, 0, SCALES - 1))
    return Latent(_limited(mean + given.mean), np.clip(scale + given.scale, 0, SCALES - 1))


def _limited(mean: Levels) -> Levels:
    return np.clip(mean, -MEAN_LIMIT, MEAN_LIMIT)


def probe(shape: tuple[int, ...], below: int) -> Samples:
    """Fixed pseudo-random numbers 0 .. below - 1: a multiplicative hash of the index."""
    index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(2654435761)
    numbers: Samples = ((index >> np.uint64(13)) % np.uint64(below)).astype(np.uint8)
    return numbers.reshape(shape)


class MarkovNetwork(SmallNetwork):
    """The arrows of a Markov hierarchy. `z` is the latents below or above, (B, n)."""

    config: MarkovConfig

    def __init__(self, config: MarkovConfig, layers: Mapping[str, IntConv], backend: str) -> None:
        self.config, self._binary = config, config.binary
        super().__init__(config, layers, backend)

    def posterior_of_samples(self, x: Samples) -> Latent:
        """q(z_1|x). Shapes: x (B, H, W, C)."""
        flat = np.ascontiguousarray(padded(x).transpose(0, 3, 1, 2)).reshape(-1, 1, 1, self.config.dims)
        return _first(logistics(self._arrow("posterior.0", self.samples(flat))), len(x))

    def posterior(self, level: int, z: Levels) -> Latent:
        """q(z_level+1 | z_level)."""
        return self._latent(f"posterior.{level}", z)

    def prior(self, level: int, z: Levels) -> Latent:
        """p(z_level | z_level+1)."""
        return self._latent(f"likelihood.{level}", z)

    def top(self, batch: int) -> Latent:
        """p(z_L), which is fixed."""
        shape = batch, self.config.latents[-1]
        return Latent(np.full(shape, 64 * LATENT_CENTRE, np.int64), np.full(shape, MARKOV_PRIOR_INDEX, np.int64))

    def likelihood(self, z: Levels) -> NDArray[np.float32]:
        """The heads' outputs for p(x|z_1): (B, outputs, H * W), exact multiples of powers of two."""
        out = self._arrow("likelihood.0", self.levels(padded(z)))  # type: ignore[arg-type]
        return out[: len(z)].reshape(len(z), self.config.outputs, -1).float().numpy()

    def _latent(self, name: str, z: Levels) -> Latent:
        return _first(logistics(self._arrow(name, self.levels(padded(z)))), len(z))  # type: ignore[arg-type]

    def _arrow(self, name: str, x: Tensor) -> Tensor:
        """Images lie side by side as positions: (B, n, 1, 1) -> (B, outputs, 1, 1)."""
        x = x.view(len(x), -1).t()[None, :, :, None]
        out = self.layers[f"{name}.out"](self.layers[f"{name}.hidden"](x))
        return out[0, :, :, 0].t()[:, :, None, None]

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        c = self.config
        given = [self.posterior_of_samples(probe((MAX_BATCH, *c.shape), c.symbols)[:batch])]
        z = [probe((MAX_BATCH, size), 128).astype(np.int64)[:batch] for size in c.latents]
        for level in range(1, len(c.latents)):
            given += [self.posterior(level, z[level - 1]), self.prior(level, z[level])]
        return [self.likelihood(z[0]), *(part for latent in given for part in (latent.mean, latent.scale))]


class TopDownNetwork(SmallNetwork):
    """The stages of a top-down model: up once, then down layer by layer. Its pixel layers are run by the coder.

    Layers of latents are numbered through all grids, coarse to fine.
    """

    config: TopDownConfig

    def __init__(self, config: TopDownConfig, layers: Mapping[str, IntConv], backend: str) -> None:
        self.config, self._binary = config, config.binary
        super().__init__(config, layers, backend)
        self.places = [(grid, number) for grid, sizes in enumerate(config.latents) for number in range(len(sizes))]

    def up(self, x: Samples) -> list[Tensor]:
        """What posteriors see of x, by grid. Shapes: x (B, H, W, C) of a padded batch."""
        c = self.config
        seen: list[Tensor] = []
        y = self.samples(x)
        for grid in reversed(range(len(c.divisors))):
            y = self._run(f"up.{grid}.enter", F.pixel_unshuffle(y, c.ratio(grid)))
            y = self._blocks(f"up.{grid}", grid, y)
            seen.insert(0, y)
        return seen

    def start(self, batch: int) -> Tensor:
        """The state before the first layer of latents; `batch` is one of BATCHES."""
        height, width = self.config.grid_size(0)
        one = 16 * torch.eye(height * width, dtype=self._activations).view(1, -1, height, width)
        return self._arrive(0, self._run("start", one.expand(batch, -1, -1, -1)))

    def prior(self, layer: int, state: Tensor) -> Latent:
        """p(z | state)."""
        return logistics(self._run(f"{self._name(layer)}.prior", state))

    def posterior(self, layer: int, state: Tensor, seen: list[Tensor], prior: Latent) -> Latent:
        """q(z | state, x)."""
        name, grid = self._name(layer), self.places[layer][0]
        asked = self._run(f"{name}.seen", torch.cat([state, seen[grid]], 1))
        return logistics(self._run(f"{name}.posterior", asked), prior)

    def descend(self, layer: int, state: Tensor, z: Levels) -> Tensor:
        """The state after z (B, n): that of the next layer, or in the end features or outputs of every pixel (B, n, H, W)."""
        name, (grid, number) = self._name(layer), self.places[layer]
        latents = self.levels(z, *self.config.grid_size(grid))
        state = self._run(f"{name}.inject", torch.cat([latents, state], 1), state)
        state = self._blocks(name, grid, state)
        if number + 1 < len(self.config.latents[grid]):
            return state
        return self._arrive(grid + 1, self._leave(grid, state))

    def _arrive(self, grid: int, state: Tensor) -> Tensor:
        """Go on through grids that have no latents."""
        c = self.config
        while grid < len(c.divisors) and not c.latents[grid]:
            state = self._leave(grid, self._blocks(f"down.{grid}", grid, state))
            grid += 1
        return state

    def _leave(self, grid: int, state: Tensor) -> Tensor:
        return F.pixel_shuffle(self._run(f"down.{grid}.leave", state), self.config.ratio(grid))

    def _blocks(self, name: str, grid: int, x: Tensor) -> Tensor:
        for index in range(self.config.blocks[grid]):
            y = self._run(f"{name}.blocks.{index}.a", x)
            x = self._run(f"{name}.blocks.{index}.b", y, x.contiguous(memory_format=torch.channels_last))
        return x

    def _name(self, layer: int) -> str:
        grid, number = self.places[layer]
        return f"down.{grid}.layers.{number}"

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        seen = self.up(probe((MAX_BATCH, *self.config.shape), self.config.symbols)[:batch])
        arrays: list[NDArray[np.generic]] = [y.to(torch.uint8).numpy() for y in seen]
        state = self.start(batch)
        for layer in range(len(self.places)):
            prior = self.prior(layer, state)
            posterior = self.posterior(layer, state, seen, prior)
            arrays += [prior.mean, prior.scale, posterior.mean, posterior.scale]
            z = probe((MAX_BATCH, prior.mean.shape[1]), 128).astype(np.int64)[:batch]
            state = self.descend(layer, state, z)
        return [*arrays, state.float().numpy()]


def _first(latent: Latent, count: int) -> Latent:
    return Latent(latent.mean[:count], latent.scale[:count])
