"""The Markov models as integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bbans.exact.backends import Activations, Sums
from bbans.models.batches import BatchNetwork, LatentStep, Walk, as_floats, probe_images, probe_latents
from bbans.models.grids import LATENT_CENTRE, Latent, Levels, Samples
from bbans.models.markov.config import PRIOR_INDEX, MarkovConfig


class MarkovNetwork(BatchNetwork):
    """The arrows of a Markov hierarchy. Shapes: z (B, n), the latents that a distribution depends on."""

    config: MarkovConfig

    def posterior_of_samples(self, x: Samples) -> Latent:
        """q(z_1|x). Shapes: x (B, H, W, C)."""
        return self._latent("posterior.0", self.samples(x).transpose(0, 3, 1, 2).reshape(len(x), -1))

    def posterior(self, level: int, z: Levels) -> Latent:
        """q(z_level+1 | z_level)."""
        return self._latent(f"posterior.{level}", z.astype(np.uint8))

    def prior(self, level: int, z: Levels) -> Latent:
        """p(z_level | z_level+1)."""
        return self._latent(f"likelihood.{level}", z.astype(np.uint8))

    def top(self, batch: int) -> Latent:
        """p(z_L), which is fixed."""
        shape = batch, self.config.latents[-1]
        return Latent(np.full(shape, 64 * LATENT_CENTRE, np.int64), np.full(shape, PRIOR_INDEX, np.int64))

    def likelihood(self, z: Levels) -> Sums:
        """The heads' accumulators for p(x|z_1): (B, outputs, H * W), times 2**-`likelihood_exponents`."""
        hidden = self._run("likelihood.0.hidden", _positions(z.astype(np.uint8)))
        return self.layers["likelihood.0.out"].sums(hidden).reshape(len(z), self.config.outputs, -1)

    @property
    def likelihood_exponents(self) -> NDArray[np.int64]:
        """(outputs, H * W)"""
        return self.layers["likelihood.0.out"].exponents.reshape(self.config.outputs, -1)

    def walks(self, x: Samples, draw: Callable[[Latent], Levels]) -> Iterator[Walk]:
        depth, first = len(self.config.latents), self.posterior_of_samples(x)
        while True:
            posteriors, z = [first], [draw(first)]
            for level in range(1, depth):
                posteriors.append(self.posterior(level, z[-1]))
                z.append(draw(posteriors[-1]))
            priors = [*(self.prior(level, z[level]) for level in range(1, depth)), self.top(len(x))]
            outputs = as_floats(self.likelihood(z[0]), self.likelihood_exponents)
            yield Walk(list(map(LatentStep, priors, posteriors, z)), outputs)

    def _latent(self, name: str, x: Activations) -> Latent:
        """Shapes: x (B, n)."""
        latent = self._logistics(f"{name}.out", self._run(f"{name}.hidden", _positions(x)))
        return Latent(*(part.reshape(-1, len(x)).T.copy() for part in (latent.mean, latent.scale)))

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        c = self.config
        latents = [self.posterior_of_samples(probe_images(c, batch))]
        z = [probe_latents(size, batch) for size in c.latents]
        for level in range(1, len(c.latents)):
            latents += [self.posterior(level, z[level - 1]), self.prior(level, z[level])]
        floats = as_floats(self.likelihood(z[0]), self.likelihood_exponents)
        return [floats, *(part for latent in latents for part in (latent.mean, latent.scale))]


def _positions(x: Activations) -> Activations:
    """Images (B, n) side by side, as positions: (1, 1, B, n)."""
    return np.ascontiguousarray(x)[None, None]
