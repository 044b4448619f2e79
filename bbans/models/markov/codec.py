"""The Markov models with the schemes of bits-back coding for chains of latents."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from bbans.bitsback import Conditional
from bbans.codecs import Codec
from bbans.meter import Meter
from bbans.models.image_codecs import ImageLikelihood, latent_codec
from bbans.models.markov.config import MarkovConfig
from bbans.models.markov.network import MarkovNetwork
from bbans.models.schemes import chain_scheme, chain_schemes


class MarkovCoder:
    """A Markov model with one of its schemes. Raises: ModelError for the name of a scheme that does not go with it."""

    def __init__(self, network: MarkovNetwork, scheme: str | None) -> None:
        self._network = network
        self._depth = len(network.config.latents)
        self._scheme = chain_scheme(scheme, self._depth)
        self.scheme, self.particles = self._scheme.name, self._scheme.particles
        self._likelihood = ImageLikelihood(network.config, exponents=network.likelihood_exponents)

    @staticmethod
    def schemes(config: MarkovConfig, particles: Iterable[int]) -> list[str]:
        """See bbans.models.sets.ImageCoder."""
        return chain_schemes(len(config.latents), particles)

    def codec(self, batch: int, meter: Meter) -> Codec[Any]:
        """See bbans.models.sets.ImageCoder."""
        network = self._network

        def prior(level: int, z: Any) -> Codec[Any]:
            return meter.count("prior", latent_codec(network.prior(level, z)))

        def likelihood(z: Any) -> Codec[Any]:
            return meter.count("likelihood", self._likelihood.codec(network.likelihood(z)))

        def posterior_of_samples(x: Any) -> Codec[Any]:
            return latent_codec(network.posterior_of_samples(x))

        def posterior(level: int, z: Any) -> Codec[Any]:
            return latent_codec(network.posterior(level, z))

        above = range(1, self._depth)
        likelihoods: list[Conditional[Any, Any]] = [likelihood, *(partial(prior, level) for level in above)]
        posteriors: list[Conditional[Any, Any]] = [posterior_of_samples, *(partial(posterior, level) for level in above)]
        top = meter.count("prior", latent_codec(network.top(batch)))
        return self._scheme.combine(top, likelihoods, posteriors)
