"""Sizes of the Markov models. No torch.

Dense, one hidden layer each way: q(z_1|x), q(z_l+1|z_l) and p(x|z_1), p(z_l|z_l+1). With one latent vector it is the model of the
BB-ANS paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from bbans.errors import ModelError
from bbans.models.config import SIZE_LIMIT, ImageConfig, Shapes

PRIOR_INDEX = 81  # scale index of the top prior: e^2.06, about 8 levels


@dataclass(frozen=True)
class MarkovConfig(ImageConfig):
    """Sizes of a Markov model: `latents` of z_1, z_2, ..; `hidden` of the layers between x and z_1, z_1 and z_2, .."""

    latents: tuple[int, ...] = (40,)
    hidden: tuple[int, ...] = (100,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            not self.latents
            or len(self.latents) != len(self.hidden)
            or not all(0 < s < SIZE_LIMIT for s in self.latents + self.hidden)
        ):
            raise ModelError(f"{self.latents} latents do not go with hidden layers of {self.hidden}")

    @property
    def latent_count(self) -> int:
        return sum(self.latents)

    def layers(self) -> Shapes:
        layers: Shapes = {}
        for level, (size, hidden) in enumerate(zip(self.latents, self.hidden, strict=True)):
            below = self.latents[level - 1] if level else self.dims
            out = 2 * below if level else self.height * self.width * self.outputs
            layers[f"posterior.{level}.hidden"] = (hidden, below, 1, 1, True)
            layers[f"posterior.{level}.out"] = (2 * size, hidden, 1, 1, False)
            layers[f"likelihood.{level}.hidden"] = (hidden, size, 1, 1, True)
            layers[f"likelihood.{level}.out"] = (out, hidden, 1, 1, False)
        return layers
