"""The top-down models with their scheme of bits-back coding."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from torch import Tensor

from bbans.bitsback import top_down
from bbans.codecs import Codec
from bbans.meter import Meter
from bbans.models.batches import batch_size, padded
from bbans.models.grids import Latent, Levels, Samples
from bbans.models.image_codecs import ImageLikelihood, latent_codec, pixel_layers
from bbans.models.schemes import TOP_DOWN, check_top_down
from bbans.models.topdown.config import TopDownConfig
from bbans.models.topdown.network import TopDownNetwork

Above = tuple[int, Tensor, Latent]
"""A layer, the state there and its prior: what a posterior has to know from above."""


class TopDownCoder:
    """A top-down model with its scheme. Raises: ModelError for the name of another scheme."""

    particles = 1
    scheme = TOP_DOWN

    def __init__(self, network: TopDownNetwork, scheme: str | None) -> None:
        check_top_down(scheme)
        self._network, c = network, network.config
        layers = None
        if c.features:
            enter, out = (network.weights[f"pixel.{name}"] for name in ("enter", "out"))
            layers = pixel_layers(enter, [network.weights[f"pixel.hidden.{i}"] for i in range(c.depth)], out)
        self._likelihood = ImageLikelihood(c, layers, radius=c.context, relative=c.reference)

    @staticmethod
    def schemes(config: TopDownConfig, particles: Iterable[int]) -> list[str]:
        """See bbans.models.sets.ImageCoder."""
        return [TOP_DOWN]

    def codec(self, batch: int, meter: Meter) -> Codec[Samples]:
        """See bbans.models.sets.ImageCoder."""
        network = self._network

        def model() -> Generator[tuple[Codec[Levels], Above], Levels, Codec[Samples]]:
            state = network.start(batch_size(batch))
            for layer in range(len(network.places)):
                prior = network.prior(layer, state)
                z = yield meter.count("prior", latent_codec(prior.first(batch))), (layer, state, prior)
                state = network.descend(layer, state, padded(z))
            features = state[:batch].flatten(2).float().numpy()
            return meter.count("likelihood", self._likelihood.codec(features))

        def posterior(x: Samples) -> Callable[[Above], Codec[Levels]]:
            bottom_up = network.up(padded(x))

            def conditional(above: Above) -> Codec[Levels]:
                layer, state, prior = above
                return latent_codec(network.posterior(layer, state, bottom_up, prior).first(batch))

            return conditional

        return top_down(model, posterior)
