"""The top-down models as integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bbans.exact.network import IntConv
from bbans.models.batches import BatchNetwork, LatentStep, Walk, logistics, padded, probe_images, probe_latents
from bbans.models.grids import Latent, Levels, Samples
from bbans.models.topdown.config import TopDownConfig


class TopDownNetwork(BatchNetwork):
    """The stages of a top-down model: bottom-up once, then down layer by layer. Its pixel layers are run by the coder.

    Layers of latents are numbered through all grids, coarse to fine. A `state` is that before a layer.
    """

    config: TopDownConfig

    def __init__(self, config: TopDownConfig, layers: Mapping[str, IntConv], backend: str) -> None:
        super().__init__(config, layers, backend)
        self.places = [(grid, number) for grid, sizes in enumerate(config.latents) for number in range(len(sizes))]

    def up(self, x: Samples) -> list[Tensor]:
        """What posteriors know of x, by grid. Shapes: x (B, H, W, C) of a padded batch."""
        states: list[Tensor] = []
        y = self.samples(x)
        for grid in reversed(range(len(self.config.divisors))):
            y = self._run(f"up.{grid}.enter", F.pixel_unshuffle(y, self.config.ratio(grid)))
            y = self._blocks(f"up.{grid}", grid, y)
            states.insert(0, y)
        return states

    def start(self, batch: int) -> Tensor:
        """The state before the first layer of latents; `batch` is one of BATCHES."""
        height, width = self.config.grid_size(0)
        one = 16 * torch.eye(height * width, dtype=self._activations).view(1, -1, height, width)
        return self._arrive(0, self._run("start", one.expand(batch, -1, -1, -1)))

    def prior(self, layer: int, state: Tensor) -> Latent:
        """p(z | state)."""
        return logistics(self._run(f"{self._name(layer)}.prior", state))

    def posterior(self, layer: int, state: Tensor, bottom_up: list[Tensor], prior: Latent) -> Latent:
        """q(z | state, x), for what `up` gives of x and the prior of the layer."""
        name, grid = self._name(layer), self.places[layer][0]
        hidden = self._run(f"{name}.seen", torch.cat([state, bottom_up[grid]], 1))
        return logistics(self._run(f"{name}.posterior", hidden), prior)

    def descend(self, layer: int, state: Tensor, z: Levels) -> Tensor:
        """The state after z (B, n): that of the next layer, or in the end features or outputs of every pixel (B, n, H, W)."""
        name, (grid, number) = self._name(layer), self.places[layer]
        latents = self.levels(z, *self.config.grid_size(grid))
        state = self._run(f"{name}.inject", torch.cat([latents, state], 1), state)
        state = self._blocks(name, grid, state)
        if number + 1 < len(self.config.latents[grid]):
            return state
        return self._arrive(grid + 1, self._leave(grid, state))

    def walks(self, x: Samples, draw: Callable[[Latent], Levels]) -> Iterator[Walk]:
        count, x = len(x), padded(x)
        bottom_up, start = self.up(x), self.start(len(x))
        while True:
            steps, state = [], start
            for layer in range(len(self.places)):
                prior = self.prior(layer, state)
                posterior = self.posterior(layer, state, bottom_up, prior)
                steps.append(LatentStep(prior, posterior, draw(posterior)))
                state = self.descend(layer, state, steps[-1].z)
            yield Walk([step.first(count) for step in steps], self.outputs(x, state)[:count])

    def outputs(self, x: Samples, features: Tensor) -> NDArray[np.float32]:
        """The head's outputs (B, outputs, H * W) for known samples, all pixels at once. A coder runs the pixel layers itself.

        `features`: what the last layer on the way down gives; outputs already where the model has no pixel layers.
        """
        c, r = self.config, self.config.context
        if not c.features:
            return features.flatten(2).float().numpy()
        samples = F.pad(self.samples(x), (r, r, r, 0))
        taps = [samples[..., r + dy : r + dy + c.height, r + dx : r + dx + c.width] for dy, dx in c.taps]
        hidden = self._run("pixel.enter", torch.cat([*taps, features], 1))
        for index in range(c.depth):
            hidden = self._run(f"pixel.hidden.{index}", hidden, hidden)
        return self._run("pixel.out", hidden).flatten(2).float().numpy()

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
        bottom_up = self.up(probe_images(self.config, batch))
        arrays: list[NDArray[np.generic]] = [y.to(torch.uint8).numpy() for y in bottom_up]
        state = self.start(batch)
        for layer in range(len(self.places)):
            prior = self.prior(layer, state)
            posterior = self.posterior(layer, state, bottom_up, prior)
            arrays += [prior.mean, prior.scale, posterior.mean, posterior.scale]
            state = self.descend(layer, state, probe_latents(prior.mean.shape[1], batch))
        return [*arrays, state.float().numpy()]
