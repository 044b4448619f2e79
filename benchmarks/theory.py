"""What our models could code a data set in, beside what they did: the bounds of rows, and the scatter of single images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bbans import models
from bbans.images.conversion import samples_of
from bbans.models.elbo import Draws
from bbans.models.registry import family_of
from bbans.models.schemes import particles_of
from bbans.models.weights import Weights

from .datasets import DataSet
from .rows import Bound, Row, Scatter

PURE, CONTEXT = "pure VAE", "with pixel context"
SCATTER_IMAGES = 200
CHAIN_IMAGES = 4
PICTURE_DRAWS = 2


def kind(weights: Weights) -> str:
    """Whether a pixel's likelihood looks at other pixels, or at z alone."""
    return CONTEXT if family_of(weights).any_size or weights.config.get("context") else PURE


class Theory:
    """Bounds on one data set; draws are made once for each model.

    `draws` an image at least, and as many as the particles of any scheme that is measured; PICTURE_DRAWS of pictures of any size.
    """

    def __init__(self, data: DataSet, draws: int, particles: Sequence[int] = ()) -> None:
        self.data, self.draws = data, max(draws, *particles, 0)
        self._draws: dict[tuple[str, int], Draws] = {}

    def bound(self, row: Row, model: str) -> Bound:
        """Of a row of as many images from the first on. `model`: an id or a weight file."""
        weights = models.read(model)
        drawn, particles = self.drawn(model, row.images), particles_of(row.scheme)
        return Bound(
            weights=weights.hash.hex(),
            kind=kind(weights),
            draws=len(drawn.bits),
            neg_elbo_bits_per_dim=float(drawn.neg_elbo.sum()) / row.dims,
            neg_elbo_error=drawn.standard_error / row.dims,
            particles_bits_per_dim=float(drawn.iwae(particles).sum()) / row.dims if particles > 1 else None,
            adaptive=bool(weights.config.get("adaptive")),
        )

    def drawn(self, model: str, images: int) -> Draws:
        """Draws for the first images."""
        key = model, images
        if key not in self._draws:
            weights = models.read(model)
            family = family_of(weights)
            draws, wanted = self.draws, self.data.images[:images]
            if family.any_size:
                draws, wanted = PICTURE_DRAWS, [samples_of(pixels) for pixels in wanted]
            self._draws[key] = family.draw(family.load_network(weights), wanted, draws)
        return self._draws[key]

    def scatter(self, model: str, scheme: str | None, images: int) -> Scatter:
        """For each of the first images its negative ELBO and its code length in a chain.

        A chunk's last image is pushed first. So the code length is what a chunk of an image and those after it takes beyond the
        chunk without it. Coded alone, all images would draw z by the same initial bits: not the draws that a chain makes.
        """
        codec = models.load_set(model, scheme=scheme)
        array = self.data.images[:images]
        assert isinstance(array, np.ndarray)
        count = min(SCATTER_IMAGES, len(array) - CHAIN_IMAGES)

        def net_bits(start: int, stop: int) -> int:
            bits = codec.encode(array[start:stop], stop - start).accounting
            return bits.net_bits - bits.initial_bits

        code = [net_bits(i, i + 1 + CHAIN_IMAGES) - net_bits(i + 1, i + 1 + CHAIN_IMAGES) for i in range(count)]
        neg_elbo_bits = np.round(self.drawn(model, images).neg_elbo[: len(code)], 1).tolist()
        return Scatter(self.data.name, Path(model).stem, codec.scheme, array[0].size, tuple(neg_elbo_bits), tuple(code))
