"""What the training form and the integer form of the photo model share: sizes, constants, the order of things. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bbans.errors import ModelError
from bbans.models.weights import Weights

LEVELS_OF_BIAS = 4  # the first layer has a bias for the levels 0, 1, 2 and one for all coarser ones
COARSEST = 4  # a level is split as long as a side is longer than this; what is left is coded flat, 8 bits each
BLOCK = 16  # positions of a phase, per side, that share one latent vector
POOL_SHIFT = 5  # the latent nets see sums over a block times 2**-5, i.e. 8 times the mean
LATENT_LEVELS = 128
LATENT_CENTRE = 64
PIXEL_CENTRE = 64  # of the plane x >> 1
LOG_SCALE_MIN = -3.0
LOG_SCALE_MAX = LOG_SCALE_MIN + 127 / 16
PIXELS_PER_UNIT = 16  # a head output of 1.0 moves a mean by so many pixel values (or latent levels)
PHASES = ((1, 1), (0, 1), (1, 0))  # row and column offset, in coding order
COLOURS = (1, 0, 2)  # G, then R given G, then B given G and R


@dataclass(frozen=True)
class PhotoConfig:
    """Sizes of the photo model. ``latents`` = 0 gives the same model without latents."""

    width: int = 64
    blocks: int = 2  # residual blocks per phase
    carried: int = 16  # channels handed up from the coarser level
    head: int = 64
    components: int = 3  # logistics in a mixture
    latents: int = 8  # channels of z
    latent_width: int = 32
    adaptive: bool = True  # the coder corrects the mixtures by what the pixels before have shown; training does not know of it

    @property
    def outputs(self) -> int:
        """Head outputs per position: per colour K logits, means and log scales, then K slopes R|G, K B|G, K B|R."""
        return 12 * self.components

    def layers(self) -> dict[str, tuple[int, int, int, int, bool]]:
        """The layers of the model by name: channels out and in, kernel, biases to choose from, relu."""
        layers = {
            "carry": (4 * self.carried, self.width, 1, 1, True),
            "first": (self.width, 6 + self.carried, 3, LEVELS_OF_BIAS, True),
            "inject.0": (self.width, 6, 3, 1, True),
            "inject.1": (self.width, 6, 3, 1, True),
        }
        for phase in range(3):
            for block in range(self.blocks):
                layers[f"trunk.{phase}.{block}.a"] = layers[f"trunk.{phase}.{block}.b"] = (self.width, self.width, 3, 1, True)
            layers[f"hidden.{phase}"] = (self.head, self.latents + self.width, 1, 1, True)
            layers[f"out.{phase}"] = (self.outputs, self.head, 1, 1, False)
        if self.latents:
            layers["prior_in"] = (self.latent_width, self.width, 1, 1, True)
            layers["prior_hidden"] = (self.latent_width, self.latent_width, 1, 1, True)
            layers["prior_out"] = (2 * self.latents, self.latent_width, 1, 1, False)
            layers["posterior_in"] = (self.latent_width, self.width + 6, 1, 1, True)
            layers["posterior_hidden"] = (self.latent_width, 2 * self.latent_width, 1, 1, True)
            layers["posterior_out"] = (2 * self.latents, self.latent_width, 1, 1, False)
        return layers


def config_of(weights: Weights) -> PhotoConfig:
    """The sizes of a photo model. Raises: ModelError when they are not exactly those of this architecture.

    None may be missing: with a default in its place, a later version with another default would decode other pictures.
    """
    wanted, found = asdict(PhotoConfig()), weights.config
    if {name: type(value) for name, value in wanted.items()} != {name: type(value) for name, value in found.items()}:
        raise ModelError(f"the model '{weights.id}' is of another architecture: its sizes are not {', '.join(wanted)}")
    if not all(0 <= size < 1 << 12 for size in found.values()):
        raise ModelError(f"the sizes of the model '{weights.id}' are out of range")
    return PhotoConfig(**found)
