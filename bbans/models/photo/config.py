"""What the training form and the integer form of the photo model share: sizes, constants, the order of phases. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bbans.errors import ModelError
from bbans.models.config import SIZE_LIMIT, PictureConfig, Shapes

LEVELS_OF_BIAS = 4  # the first layer has a bias for the levels 0, 1, 2 and one for all coarser ones
COARSEST = 4  # a level is split as long as a side is longer than this; what is left is coded flat, 8 bits each
BLOCK = 16  # positions of a phase, per side, that share one latent vector
POOL_SHIFT = 5  # the networks of latents see sums over a block times 2**-5, which is 8 times the mean
PIXEL_CENTRE = 64  # of the plane x >> 1
PHASES = ((1, 1), (0, 1), (1, 0))  # row and column offset, in coding order


@dataclass(frozen=True)
class PhotoConfig(PictureConfig):
    """Sizes of the photo model. `latents` = 0 gives the same model without latents."""

    width: int = 64
    blocks: int = 2  # residual blocks per phase
    carried: int = 16  # channels that a level takes from the coarser one
    head: int = 64
    components: int = 3  # logistics in a mixture
    latents: int = 8  # channels of z
    latent_width: int = 32
    adaptive: bool = True  # mixtures are corrected by what the pixels before have shown; training leaves that out

    def __post_init__(self) -> None:
        if not all(0 <= size < SIZE_LIMIT for size in asdict(self).values()):
            raise ModelError(f"sizes of the photo model are below {SIZE_LIMIT}")

    @property
    def outputs(self) -> int:
        """Head outputs per position: per colour K logits, means and log scales, then K slopes R|G, K B|G, K B|R."""
        return 12 * self.components

    def noise_size(self, side: int) -> int:
        count, grid = 0, side // 2
        while grid >= BLOCK:
            count += (-(-grid // BLOCK)) ** 2 * self.latents
            grid //= 2
        return count

    def layers(self) -> Shapes:
        layers: Shapes = {
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
