"""Codecs of latents and of images of one shape, given what a network said of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bbans._core.images import SampleLoops, dense
from bbans.ans import AnyMessage, Batch, Message
from bbans.codecs import ArrayCodec, Codec, logistic
from bbans.exact.backends import Activations, Sums
from bbans.exact.network import IntConv
from bbans.models.config import ImageConfig
from bbans.models.grids import LATENT_LEVELS, Latent, Samples
from bbans.tables import IntArray


def latent_codec(latent: Latent) -> ArrayCodec:
    """The codec of latents (B, n)."""
    return logistic(latent.mean, latent.scale, LATENT_LEVELS)


class ImageLikelihood:
    """p(x|z): codecs of images (see bbans/_core/images.c).

    Args:
        exponents: (outputs, H * W) of the accumulators that a network gives for all pixels. Or:
        layers: pixel layers that the coder runs, the first, those in the middle and the last.
        radius: of the square of pixels that pixel layers look at, of which those coded before count.
        relative: the means of colours are relative to the pixels at the left and above.
    """

    def __init__(
        self,
        config: ImageConfig,
        *,
        exponents: NDArray[np.int64] | None = None,
        layers: list[IntConv] | None = None,
        radius: int = 0,
        relative: bool = False,
    ) -> None:
        components = 0 if config.binary else config.components
        if layers is None:
            self._loops = SampleLoops(config.shape, components, exponents=exponents, relative=relative)
        else:
            enter, *middle, leave = (dense(layer.weight[:, :, 0, 0], layer.bias[0], layer.exponent) for layer in layers)
            self._loops = SampleLoops(config.shape, components, layers=(enter, middle, leave), radius=radius, relative=relative)

    def codec(self, known: Activations | Sums) -> Codec[Samples]:
        """The codec of images (B, H, W, C), one on each message of a batch.

        Shapes: known (B, n, H * W), accumulators of the outputs or the features that pixel layers get, of each pixel.
        """
        loops = self._loops

        def push(message: AnyMessage, x: Samples) -> AnyMessage:
            def push_one(own: Message, pixels: Samples, row: Activations | Sums) -> None:
                own.reserve(pixels.size)
                own.resize(loops.push(own.head, own.words, own.size, pixels, row))

            _rows(message).map(push_one, np.ascontiguousarray(x), known)
            return message

        def pop(message: AnyMessage) -> tuple[AnyMessage, Samples]:
            x = np.empty((len(known), *loops.shape), np.uint8)

            def pop_one(own: Message, pixels: Samples, row: Activations | Sums) -> None:
                own.resize(loops.pop(own.head, own.words, own.size, pixels, row))

            _rows(message).map(pop_one, x, known)
            return message, x

        def log_freqs(x: Samples, rows: bool) -> IntArray:
            images = np.ascontiguousarray(x)
            sums = [loops.log_freqs(own, row) for own, row in zip(images, known, strict=True)]
            return np.asarray(sums if rows else sum(sums), np.int64)

        return Codec(push, pop, log_freqs)


def _rows(message: Message | Batch) -> Batch:
    return message if isinstance(message, Batch) else Batch([message])
