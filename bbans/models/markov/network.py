"""The Markov models as integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bbans.models.batches import BatchNetwork, LatentStep, Walk, logistics, padded, probe_images, probe_latents
from bbans.models.grids import LATENT_CENTRE, Latent, Levels, Samples
from bbans.models.markov.config import PRIOR_INDEX, MarkovConfig


class MarkovNetwork(BatchNetwork):
    """The arrows of a Markov hierarchy. Shapes: z (B, n), the latents that a distribution depends on."""

    config: MarkovConfig

    def posterior_of_samples(self, x: Samples) -> Latent:
        """q(z_1|x). Shapes: x (B, H, W, C)."""
        flat = np.ascontiguousarray(padded(x).transpose(0, 3, 1, 2)).reshape(-1, 1, 1, self.config.dims)
        return logistics(self._arrow("posterior.0", self.samples(flat))).first(len(x))

    def posterior(self, level: int, z: Levels) -> Latent:
        """q(z_level+1 | z_level)."""
        return self._latent(f"posterior.{level}", z)

    def prior(self, level: int, z: Levels) -> Latent:
        """p(z_level | z_level+1)."""
        return self._latent(f"likelihood.{level}", z)

    def top(self, batch: int) -> Latent:
        """p(z_L), which is fixed."""
        shape = batch, self.config.latents[-1]
        return Latent(np.full(shape, 64 * LATENT_CENTRE, np.int64), np.full(shape, PRIOR_INDEX, np.int64))

    def likelihood(self, z: Levels) -> NDArray[np.float32]:
        """The heads' outputs for p(x|z_1): (B, outputs, H * W), exact multiples of powers of two."""
        out = self._arrow("likelihood.0", self.levels(padded(z)))
        return out[: len(z)].reshape(len(z), self.config.outputs, -1).float().numpy()

    def walks(self, x: Samples, draw: Callable[[Latent], Levels]) -> Iterator[Walk]:
        depth, first = len(self.config.latents), self.posterior_of_samples(x)
        while True:
            posteriors, z = [first], [draw(first)]
            for level in range(1, depth):
                posteriors.append(self.posterior(level, z[-1]))
                z.append(draw(posteriors[-1]))
            priors = [*(self.prior(level, z[level]) for level in range(1, depth)), self.top(len(x))]
            yield Walk(list(map(LatentStep, priors, posteriors, z)), self.likelihood(z[0]))

    def _latent(self, name: str, z: Levels) -> Latent:
        return logistics(self._arrow(name, self.levels(padded(z)))).first(len(z))

    def _arrow(self, name: str, x: Tensor) -> Tensor:
        """Images lie side by side as positions: (B, n, 1, 1) -> (B, outputs, 1, 1)."""
        x = x.view(len(x), -1).t()[None, :, :, None]
        out = self.layers[f"{name}.out"](self.layers[f"{name}.hidden"](x))
        return out[0, :, :, 0].t()[:, :, None, None]

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        c = self.config
        latents = [self.posterior_of_samples(probe_images(c, batch))]
        z = [probe_latents(size, batch) for size in c.latents]
        for level in range(1, len(c.latents)):
            latents += [self.posterior(level, z[level - 1]), self.prior(level, z[level])]
        return [self.likelihood(z[0]), *(part for latent in latents for part in (latent.mean, latent.scale))]
