"""Integer convolutions: what a trained layer becomes, and why float32 computes it exactly.

::

    y = clamp(round_half_even((sum w a + b + (skip << e)) * 2**-e), 0, 127)         relu layers
    y = (sum w a + b) * 2**-e, kept at accumulator precision                        heads

`a` and `skip` are activations 0 .. 127, `w` weights -127 .. 127, `b` an integer, `e` an exponent for each output channel. If for
every channel `sum|w| * 127 + |b| + (127 << e) < 2**24`, then every partial sum is an integer that float32 holds exactly, in any
order of summation. Scaling everything by 2**-e is exact too, so weights are used as `w * 2**-e` and the accumulator comes out
scaled. The constructor checks the bound, so an inexact layer cannot exist.

Source: Ballé, Johnston and Minnen, "Integer Networks for Data Compression with Latent-Variable Models", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bbans.errors import CorruptDataError, ModelError

ACTIVATION_MAX = 127
WEIGHT_MAX = 127
EXPONENT_MAX = 15
ACCUMULATOR_LIMIT = 1 << 24


@dataclass(frozen=True)
class IntConv:
    """An integer convolution of stride 1, without padding.

    Shapes: weight (C_out, C_in, k, k) int8; bias (variants, C_out) int32, in units of the accumulator; exponent (C_out,) int8.
    relu: whether outputs are activations; else they are a head's.
    Raises: ModelError when a channel could leave the range in which float32 is exact.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    exponent: NDArray[np.int8]
    relu: bool

    def __post_init__(self) -> None:
        shape = self.weight.shape
        if len(shape) != 4 or self.weight.size == 0 or shape[2] != shape[3] or shape[2] % 2 == 0:
            raise ModelError(f"{shape} is not the shape of a layer's weight")
        if self.bias.shape[1:] != shape[:1] or self.bias.size == 0 or self.exponent.shape != shape[:1]:
            raise ModelError("a layer's weight, bias and exponent do not fit together")
        if self.exponent.min() < 0 or self.exponent.max() > EXPONENT_MAX or self.weight.min() < -WEIGHT_MAX:
            raise ModelError("a layer's weights or exponents are out of range")
        reach = np.abs(self.weight.astype(np.int64)).sum(axis=(1, 2, 3)) * ACTIVATION_MAX
        reach += np.abs(self.bias.astype(np.int64)).max(axis=0) + (ACTIVATION_MAX << self.exponent.astype(np.int64))
        if reach.max() >= ACCUMULATOR_LIMIT:
            raise ModelError(f"channel {int(reach.argmax())} of a layer can reach {int(reach.max())}, not below 2**24")

    @property
    def form(self) -> tuple[int, int, int, int, bool]:
        """Channels out and in, kernel, biases to choose from, relu: what a model's config says of the layer."""
        c_out, c_in, kernel, _ = self.weight.shape
        return c_out, c_in, kernel, len(self.bias), self.relu

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for each output position."""
        return self.weight.size


def round_shift(values: NDArray[np.int64], exponents: NDArray[np.int64]) -> NDArray[np.int64]:
    """values * 2**-exponents, rounded to integers, halves to the even one. Shapes: they broadcast."""
    some = (exponents > 0).astype(np.int64)
    odd = (values >> exponents) & some
    rounded: NDArray[np.int64] = (values + ((1 << exponents) >> 1) - some + odd) >> exponents
    return rounded


def to_tensors(layers: Mapping[str, IntConv]) -> dict[str, NDArray[np.generic]]:
    """The layers of a model as named arrays, for a weight file. Inverse: from_tensors."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, layer in layers.items():
        tensors[f"{name}.weight"] = layer.weight
        tensors[f"{name}.bias"] = layer.bias
        tensors[f"{name}.exponent"] = layer.exponent
        tensors[f"{name}.relu"] = np.array([layer.relu], np.uint8)
    return tensors


def from_tensors(tensors: Mapping[str, NDArray[np.generic]]) -> dict[str, IntConv]:
    """The layers of named arrays. Inverse: to_tensors. Raises: CorruptDataError when a part is missing or of another type."""
    layers = {}
    for name in sorted({key.rpartition(".")[0] for key in tensors}):
        try:
            weight, bias, exponent, relu = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "exponent", "relu"))
        except KeyError as missing:
            raise CorruptDataError(f"the weights lack {missing}") from None
        kinds = [str(array.dtype) for array in (weight, bias, exponent, relu)]
        if kinds != ["int8", "int32", "int8", "uint8"] or relu.shape != (1,):
            raise CorruptDataError(f"the weights of {name} are not integers of the expected kind")
        layers[name] = IntConv(weight.astype(np.int8), bias.astype(np.int32), exponent.astype(np.int8), bool(relu[0]))
    return layers
