"""Codecs of latents and of images of one shape, given what a network said of them."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bbans.ans import AnyMessage, Batch, Message
from bbans.codecs import ArrayCodec, Codec, logistic
from bbans.exact.network import IntConv
from bbans.models import sample_kernels as kernels
from bbans.models.config import ImageConfig
from bbans.models.grids import LATENT_LEVELS, Latent, Samples
from bbans.tables import IntArray, exp_table, inverse_scales, log2_table, logistic_table

PixelLayers = tuple[NDArray[np.float32], ...]
"""Weights (inputs, outputs) and biases of the first layer, the stacked hidden ones and the last, scaled by 2**-exponent."""

_NO_LAYERS: PixelLayers = tuple(np.zeros(shape, np.float32) for shape in ((1, 1), 1, (0, 1, 1), (0, 1), (1, 1), 1))


def latent_codec(latent: Latent) -> ArrayCodec:
    """The codec of latents (B, n)."""
    return logistic(latent.mean, latent.scale, LATENT_LEVELS)


class ImageLikelihood:
    """p(x|z): codecs of images (see bbans.models.sample_kernels).

    Args:
        layers: pixel layers that the coder runs; None where a network gives the outputs of all pixels.
        radius: of the square of pixels that pixel layers look at, of which those coded before count.
        relative: the means of colours are relative to the pixels at the left and above.
    """

    def __init__(self, config: ImageConfig, layers: PixelLayers | None = None, *, radius: int = 0, relative: bool = False) -> None:
        self._shape = config.shape
        components = 0 if config.binary else config.components
        tables = logistic_table(), exp_table(), inverse_scales(), log2_table()
        self._rest = layers or _NO_LAYERS, radius if layers else -1, relative, components, tables

    def codec(self, known: NDArray[np.float32]) -> Codec[Samples]:
        """The codec of images (B, H, W, C), one on each message of a batch.

        Shapes: known (B, n, H * W), the head's outputs of each pixel, or the features that pixel layers get.
        """
        shape = len(known), *self._shape
        by_pixel = np.ascontiguousarray(known.transpose(0, 2, 1))

        def push(message: AnyMessage, x: Samples) -> AnyMessage:
            def push_one(own: Message, pixels: Samples, row: NDArray[np.float32]) -> None:
                own.reserve(pixels.size)
                own.head[0], size = kernels.push_samples(own.head[0], own.words, own.size, pixels, row, *self._rest)
                own.resize(size)

            _rows(message).map(push_one, x, by_pixel)
            return message

        def pop(message: AnyMessage) -> tuple[AnyMessage, Samples]:
            x = np.empty(shape, np.uint8)

            def pop_one(own: Message, pixels: Samples, row: NDArray[np.float32]) -> None:
                own.head[0], size = kernels.pop_samples(own.head[0], own.words, own.size, pixels, row, *self._rest)
                own.resize(size)

            _rows(message).map(pop_one, x, by_pixel)
            return message, x

        def log_freqs(x: Samples, rows: bool) -> IntArray:
            sums = [kernels.log_freqs_of_samples(own, row, *self._rest) for own, row in zip(x, by_pixel, strict=True)]
            return np.asarray(sums if rows else sum(sums), np.int64)

        return Codec(push, pop, log_freqs)


def pixel_layers(enter: IntConv, hidden: list[IntConv], out: IntConv) -> PixelLayers:
    """1x1 layers as the loops take them."""
    width = len(enter.weight)
    parts = [_scaled(layer) for layer in hidden]
    weights = np.array([weight for weight, _ in parts], np.float32).reshape(len(hidden), width, width)
    biases = np.array([bias for _, bias in parts], np.float32).reshape(len(hidden), width)
    return *_scaled(enter), weights, biases, *_scaled(out)


def _scaled(layer: IntConv) -> PixelLayers:
    scale = np.ldexp(1.0, -layer.exponent.astype(np.int32))
    weight = np.ascontiguousarray((layer.weight[:, :, 0, 0] * scale[:, None]).T, np.float32)
    return weight, np.ascontiguousarray(layer.bias[0] * scale, np.float32)


def _rows(message: Message | Batch) -> Batch:
    return message if isinstance(message, Batch) else Batch([message])
