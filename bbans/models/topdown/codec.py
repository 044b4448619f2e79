"""The top-down models with their scheme of bits-back coding."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from bbans.bitsback import top_down
from bbans.codecs import Codec
from bbans.exact.backends import Activations
from bbans.meter import Meter
from bbans.models.grids import Latent, Levels, Samples
from bbans.models.image_codecs import ImageLikelihood, latent_codec
from bbans.models.schemes import TOP_DOWN, check_top_down
from bbans.models.topdown.config import TopDownConfig
from bbans.models.topdown.network import TopDownNetwork

Above = tuple[int, Activations, Latent]
"""A layer, the state there and its prior: what a posterior has to know from above."""


class TopDownCoder:
    """A top-down model with its scheme. Raises: ModelError for the name of another scheme."""

    particles = 1
    scheme = TOP_DOWN

    def __init__(self, network: TopDownNetwork, scheme: str | None) -> None:
        check_top_down(scheme)
        self._network, c = network, network.config
        if c.features:
            names = ("enter", *(f"hidden.{index}" for index in range(c.depth)), "out")
            layers = [network.weights[f"pixel.{name}"] for name in names]
            self._likelihood = ImageLikelihood(c, layers=layers, radius=c.context, relative=c.reference)
        else:
            self._likelihood = ImageLikelihood(c, exponents=network.output_exponents)

    @staticmethod
    def schemes(config: TopDownConfig, particles: Iterable[int]) -> list[str]:
        """See bbans.models.sets.ImageCoder."""
        return [TOP_DOWN]

    def codec(self, batch: int, meter: Meter) -> Codec[Samples]:
        """See bbans.models.sets.ImageCoder."""
        network = self._network

        def model() -> Generator[tuple[Codec[Levels], Above], Levels, Codec[Samples]]:
            state = network.start(batch)
            for layer in range(len(network.places)):
                prior = network.prior(layer, state)
                z = yield meter.count("prior", latent_codec(prior)), (layer, state, prior)
                state = network.descend(layer, state, z)
            return meter.count("likelihood", self._likelihood.codec(network.pixels(state)))

        def posterior(x: Samples) -> Callable[[Above], Codec[Levels]]:
            bottom_up = network.up(x)

            def conditional(above: Above) -> Codec[Levels]:
                layer, state, prior = above
                return latent_codec(network.posterior(layer, state, bottom_up, prior))

            return conditional

        return top_down(model, posterior)
