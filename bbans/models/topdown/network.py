"""The top-down models as integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from bbans.exact.backends import Activations, Sums
from bbans.exact.network import IntConv
from bbans.models.batches import BatchNetwork, LatentStep, Walk, as_floats, probe_images, probe_latents
from bbans.models.grids import Latent, Levels, Samples, pixel_shuffle, pixel_unshuffle
from bbans.models.topdown.config import TopDownConfig


class TopDownNetwork(BatchNetwork):
    """The stages of a top-down model: bottom-up once, then down layer by layer. Its pixel layers are run by the coder.

    Layers of latents are numbered through all grids, coarse to fine. A `state` is that before a layer.
    """

    config: TopDownConfig

    def __init__(self, config: TopDownConfig, layers: Mapping[str, IntConv], backend: str) -> None:
        super().__init__(config, layers, backend)
        self._last = len(config.divisors) - 1
        self.places = [(grid, number) for grid, sizes in enumerate(config.latents) for number in range(len(sizes))]

    def up(self, x: Samples) -> list[Activations]:
        """What posteriors know of x, by grid. Shapes: x (B, H, W, C)."""
        states: list[Activations] = []
        y = self.samples(x)
        for grid in reversed(range(len(self.config.divisors))):
            y = self._run(f"up.{grid}.enter", pixel_unshuffle(y, self.config.ratio(grid)))
            y = self._blocks(f"up.{grid}", grid, y)
            states.insert(0, y)
        return states

    def start(self, batch: int) -> Activations:
        """The state before the first layer of latents."""
        height, width = self.config.grid_size(0)
        one = 16 * np.eye(height * width, dtype=np.uint8).reshape(1, height, width, -1)
        return self._arrive(0, self._run("start", np.repeat(one, batch, axis=0)))

    def prior(self, layer: int, state: Activations) -> Latent:
        """p(z | state)."""
        return self._logistics(f"{self._name(layer)}.prior", state)

    def posterior(self, layer: int, state: Activations, bottom_up: list[Activations], prior: Latent) -> Latent:
        """q(z | state, x), for what `up` gives of x and the prior of the layer."""
        name, grid = self._name(layer), self.places[layer][0]
        hidden = self._run(f"{name}.seen", np.concatenate([state, bottom_up[grid]], axis=3))
        return self._logistics(f"{name}.posterior", hidden, prior)

    def descend(self, layer: int, state: Activations, z: Levels) -> Activations:
        """The state after z (B, n): that of the next layer, or in the end what `pixels` takes."""
        name, (grid, number) = self._name(layer), self.places[layer]
        latents = self.levels(z, *self.config.grid_size(grid))
        state = self._run(f"{name}.inject", np.concatenate([latents, state], axis=3), state)
        state = self._blocks(name, grid, state)
        if number + 1 < len(self.config.latents[grid]):
            return state
        return self._arrive(grid + 1, self._leave(grid, state))

    def walks(self, x: Samples, draw: Callable[[Latent], Levels]) -> Iterator[Walk]:
        bottom_up, start = self.up(x), self.start(len(x))
        while True:
            steps, state = [], start
            for layer in range(len(self.places)):
                prior = self.prior(layer, state)
                posterior = self.posterior(layer, state, bottom_up, prior)
                steps.append(LatentStep(prior, posterior, draw(posterior)))
                state = self.descend(layer, state, steps[-1].z)
            yield Walk(steps, self.outputs(x, state))

    def outputs(self, x: Samples, state: Activations) -> NDArray[np.float32]:
        """The head's outputs (B, outputs, H * W) for known samples and the last state. A coder runs the pixel layers itself."""
        c, r = self.config, self.config.context
        if not c.features:
            return as_floats(self.pixels(state), self.output_exponents)
        samples = np.pad(self.samples(x), ((0, 0), (r, 0), (r, r), (0, 0)))
        taps = [samples[:, r + dy : r + dy + c.height, r + dx : r + dx + c.width] for dy, dx in c.taps]
        hidden = self._run("pixel.enter", np.concatenate([*taps, state], axis=3))
        for index in range(c.depth):
            hidden = self._run(f"pixel.hidden.{index}", hidden, hidden)
        head = self.layers["pixel.out"]
        outputs = as_floats(head.sums(hidden), head.exponents)
        return np.ascontiguousarray(outputs.transpose(0, 3, 1, 2)).reshape(len(x), -1, c.height * c.width)

    def pixels(self, state: Activations) -> Activations | Sums:
        """What the likelihood gets of every pixel from the last state, (B, n, H * W): features, or accumulators of its outputs.

        The latter stand for themselves times 2**-`output_exponents`.
        """
        values: Activations | Sums = state
        if not self.config.features:
            values = pixel_shuffle(self.layers[f"down.{self._last}.leave"].sums(state), self.config.ratio(self._last))
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2)).reshape(len(state), -1, self.config.height * self.config.width)

    @property
    def output_exponents(self) -> NDArray[np.int64]:
        """(outputs, H * W), where there are no pixel layers."""
        c, grid = self.config, self._last
        exponents = np.broadcast_to(self.layers[f"down.{grid}.leave"].exponents, (1, *c.grid_size(grid), c.leaving(grid)))
        by_pixel: NDArray[np.int64] = pixel_shuffle(exponents, c.ratio(grid)).transpose(0, 3, 1, 2).reshape(-1, c.height * c.width)
        return by_pixel

    def _arrive(self, grid: int, state: Activations) -> Activations:
        """Go on through grids that have no latents."""
        c = self.config
        while grid < len(c.divisors) and not c.latents[grid]:
            state = self._leave(grid, self._blocks(f"down.{grid}", grid, state))
            grid += 1
        return state

    def _leave(self, grid: int, state: Activations) -> Activations:
        """Go on to the next grid; from the last one only to features."""
        if grid == self._last and not self.config.features:
            return state
        return pixel_shuffle(self._run(f"down.{grid}.leave", state), self.config.ratio(grid))

    def _blocks(self, name: str, grid: int, x: Activations) -> Activations:
        for index in range(self.config.blocks[grid]):
            y = self._run(f"{name}.blocks.{index}.a", x)
            x = self._run(f"{name}.blocks.{index}.b", y, x)
        return x

    def _name(self, layer: int) -> str:
        grid, number = self.places[layer]
        return f"down.{grid}.layers.{number}"

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        bottom_up = self.up(probe_images(self.config, batch))
        arrays: list[NDArray[np.generic]] = [y.transpose(0, 3, 1, 2) for y in bottom_up]
        state = self.start(batch)
        for layer in range(len(self.places)):
            prior = self.prior(layer, state)
            posterior = self.posterior(layer, state, bottom_up, prior)
            arrays += [prior.mean, prior.scale, posterior.mean, posterior.scale]
            state = self.descend(layer, state, probe_latents(prior.mean.shape[1], batch))
        c = self.config
        exponents = np.zeros(1, np.int64) if c.features else self.output_exponents
        return [*arrays, as_floats(self.pixels(state), exponents).reshape(batch, -1, c.height, c.width)]
