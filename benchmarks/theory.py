"""What our models could code a data set in, beside what they did: fields for the rows of run.py, and the scatter of images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np

from bbans import models
from bbans.models.photo.codec import PhotoCodec
from bbans.models.registry import family_of
from bbans.models.schemes import particles_of
from bbans.models.weights import PHOTO, Weights

from .datasets import DataSet
from .elbo import neg_elbo
from .set_elbo import Draws, Network, draw

PURE, CONTEXT = "pure VAE", "with pixel context"
SCATTER_IMAGES = 200
CHAIN_IMAGES = 4
PHOTO_DRAWS = 2


def kind(weights: Weights) -> str:
    """Whether a pixel's likelihood looks at other pixels, or at z alone."""
    return CONTEXT if weights.architecture == PHOTO or weights.config.get("context") else PURE


class Theory:
    """Bounds on one data set; draws are made once for each model.

    ``draws`` an image at least, and as many as the particles of any scheme that is asked about; PHOTO_DRAWS for the photo model.
    """

    def __init__(self, data: DataSet, draws: int, particles: int = 1) -> None:
        self.data, self.draws = data, max(draws, particles)
        self._draws: dict[tuple[str, int], Draws] = {}

    def fields(self, row: dict[str, Any], model: str) -> dict[str, Any]:
        """neg_elbo_bits_per_dim and what follows from it, for a row of as many images from the first on. ``model``: id or file."""
        weights = models.read(model)
        found: dict[str, Any] = {"kind": kind(weights), "weights": weights.hash.hex()}
        if weights.architecture == PHOTO:
            found |= self._photo(model, row)
        else:
            drawn = self.drawn(model, row["images"])
            found |= {"draws": len(drawn.bits), "neg_elbo_bits_per_dim": float(drawn.neg_elbo.sum()) / row["dims"]}
            found["neg_elbo_error"] = drawn.standard_error / row["dims"]
            found["bound_bits_per_dim"] = float(drawn.iwae(particles_of(row["scheme"])).sum()) / row["dims"]
        bound = found.get("bound_bits_per_dim", found["neg_elbo_bits_per_dim"])
        found["overhead"] = row["bits_per_dim"] / bound - 1
        if "initial_bits" in row:
            found["net_bits_per_dim"] = (8 * row["bytes"] - row["initial_bits"]) / row["dims"]
            found["net_overhead"] = found["net_bits_per_dim"] / bound - 1
        return found

    def drawn(self, model: str, images: int) -> Draws:
        """Draws for the first images."""
        key = model, images
        if key not in self._draws:
            array = self.data.images[:images]
            assert isinstance(array, np.ndarray)
            weights = models.read(model)
            self._draws[key] = draw(cast(Network, family_of(weights).load_network(weights)), array, self.draws)
        return self._draws[key]

    def scatter(self, model: str, scheme: str | None, images: int) -> dict[str, Any]:
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
        found = {"dataset": self.data.name, "model": Path(model).stem, "scheme": codec.scheme, "dims": array[0].size}
        found["neg_elbo_bits"] = np.round(self.drawn(model, images).neg_elbo[: len(code)], 1).tolist()
        return found | {"code_bits": code}

    def _photo(self, model: str, row: dict[str, Any]) -> dict[str, Any]:
        """The photo model's adaptive stage is no part of its negative ELBO: it makes files shorter than that."""
        codec = cast(PhotoCodec, models.load(model))
        bounds = [neg_elbo(codec, pixels, PHOTO_DRAWS) for pixels in self.data.images[: row["images"]]]
        bits = sum(bound.neg_elbo_bits for bound in bounds)
        error = math.hypot(*(bound.standard_error_bits for bound in bounds))
        return {"draws": PHOTO_DRAWS, "neg_elbo_bits_per_dim": bits / row["dims"], "neg_elbo_error": error / row["dims"]}
