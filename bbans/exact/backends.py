"""Backends: the arithmetic that runs integer layers. One contract, several implementations, all with the same results.

`reference`
    float64, each layer a matrix product of weights and unfolded patches. Slow and obvious.
`float32`
    PyTorch's convolution in float32, channels last: exact by the bound that IntConv checks, as long as the library multiplies
    and adds (directly or as a matrix product) and does not transform (Winograd, FFT).
`float32-unfold`
    float32 patches times weights as one matrix product, where no library can choose a transform. The fallback.
`int8`
    oneDNN's convolution of bytes on x86 processors: uint8 activations times int8 weights, summed in int32. Processors without
    VNNI first add pairs in int16, which is exact too, as 2 * 127 * 127 < 2**15; activations above 127 would overflow. What
    follows the sum is float32 and exact by the same bound: times 2**-e, plus the scaled bias, plus the skip, clamp, round half
    to even.

Whether a backend keeps the contract on this machine is never assumed: it is tested whenever a model is loaded, on the very shapes
that coding will run (see bbans.exact.selfcheck).

A new backend is a subclass of Layer and its entries in LAYERS and BACKENDS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bbans.errors import ModelError
from bbans.exact.network import ACTIVATION_MAX, IntConv


class Layer(ABC):
    """An IntConv prepared for one backend and device. Several threads may call it at a time.

    Takes x (N, C_in, H, W) and, if it is a relu layer, optionally a skip (N, C_out, H', W'); both are activations, and are not
    changed. Returns (N, C_out, H', W') with H' = H - k + 1: activations (relu) or exact multiples of 2**-exponent (heads).

    Raises: RuntimeError, from the constructor or a call, if the library lacks this arithmetic.
    """

    activations: ClassVar[torch.dtype]
    outputs: ClassVar[torch.dtype]  # of heads

    def __init__(self, layer: IntConv, device: torch.device) -> None:
        self.relu, self.kernel = layer.relu, layer.weight.shape[-1]
        scale = torch.from_numpy(np.ldexp(1.0, -layer.exponent.astype(np.int32)))  # exact, unlike exp2
        self.scale = scale.to(self.outputs)
        self.biases = (torch.from_numpy(layer.bias) * scale).to(self.outputs).to(device).unbind()

    @abstractmethod
    def __call__(self, x: Tensor, skip: Tensor | None = None, variant: int = 0) -> Tensor: ...


class _FloatLayer(Layer):
    """Weights are scaled by 2**-e, so that the accumulator comes out scaled."""

    def __init__(self, layer: IntConv, device: torch.device) -> None:
        super().__init__(layer, device)
        self.weight = (torch.from_numpy(layer.weight) * self.scale.view(-1, 1, 1, 1)).to(device)

    def __call__(self, x: Tensor, skip: Tensor | None = None, variant: int = 0) -> Tensor:
        y = self._convolve(x, self.biases[variant])
        if skip is not None:
            y += skip
        return y.round_().clamp_(0, ACTIVATION_MAX) if self.relu else y

    @abstractmethod
    def _convolve(self, x: Tensor, bias: Tensor) -> Tensor: ...


class Float32(_FloatLayer):
    """PyTorch's convolution."""

    activations = outputs = torch.float32

    def __init__(self, layer: IntConv, device: torch.device) -> None:
        super().__init__(layer, device)
        self.weight = self.weight.to(memory_format=torch.channels_last)

    def _convolve(self, x: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, bias)


class Float32Unfold(_FloatLayer):
    """A matrix product of weights and unfolded patches."""

    activations = outputs = torch.float32

    def _convolve(self, x: Tensor, bias: Tensor) -> Tensor:
        height, width = (side - self.kernel + 1 for side in x.shape[-2:])
        y = (self.weight.flatten(1) @ F.unfold(x, self.kernel)).view(len(x), -1, height, width)
        return y.add_(bias.view(1, -1, 1, 1))


class Reference(Float32Unfold):
    """Float32Unfold in float64."""

    activations = outputs = torch.float64


_PACKED_FOR = 64  # side of the inputs: oneDNN packs weights for a shape, and again at each call that another order suits better
_HEAD = {"output_dtype": torch.float32, "attr": "none", "scalars": [], "algorithm": ""}
# clamped before rounding, which is the same, as the bounds are integers
_CLAMPED = {"output_dtype": torch.uint8, "attr": "hardtanh", "scalars": [0.0, float(ACTIVATION_MAX)], "algorithm": ""}
# here relu is the only clamp, but sums have the type of what they are added to, and int8 ends at 127
_ONTO_SKIP = {
    "output_dtype": torch.int8,
    "accum_scale": 1.0,
    "accum_zero_point": 0,
    "binary_attr": "sum",
    "alpha": 1.0,
    "unary_attr": "relu",
    "unary_scalars": [],
    "unary_algorithm": "",
}


class Int8(Layer):
    """oneDNN's int8 kernels, through the operators that PyTorch lowers quantised graphs to.

    Arguments are passed by name, as their order differs between versions.
    """

    activations, outputs = torch.uint8, torch.float32

    def __init__(self, layer: IntConv, device: torch.device) -> None:
        super().__init__(layer, device)
        if device.type != "cpu":
            raise RuntimeError(f"int8 convolutions run on the CPU, not on '{device}'")
        try:
            pack, operator = torch.ops.onednn.qconv_prepack.default, torch.ops.onednn.qconv2d_pointwise
            self._convolve, self._convolve_onto = operator.default, operator.binary
        except AttributeError as error:
            raise RuntimeError(f"this PyTorch has no int8 convolutions: {error}") from None
        c_out, c_in, *_ = layer.weight.shape
        geometry = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
        shape = [1, c_in, _PACKED_FOR, _PACKED_FOR]
        packed = pack(torch.from_numpy(layer.weight), self.scale, x_scale=1.0, x_zp=0, x_shape=shape, **geometry)
        arguments: dict[str, Any] = geometry | {
            "x_scale": 1.0,
            "x_zero_point": 0,
            "qw": packed,
            "w_scale": self.scale,
            "w_zero_point": torch.zeros(c_out, dtype=torch.int64),
            "output_scale": 1.0,
            "output_zero_point": 0,
        }
        self._plain = arguments | (_CLAMPED if layer.relu else _HEAD)
        self._onto = arguments | _ONTO_SKIP

    def __call__(self, x: Tensor, skip: Tensor | None = None, variant: int = 0) -> Tensor:
        bias = self.biases[variant]
        if skip is None:
            return cast(Tensor, self._convolve(x, bias=bias, **self._plain))
        sums = skip.view(torch.int8).clone(memory_format=torch.channels_last)  # the kernel adds to it in place
        return cast(Tensor, self._convolve_onto(x, qaccum=sums, bias=bias, **self._onto)).view(torch.uint8)


def _has_int8_kernels() -> bool:
    """Whether oneDNN has int8 kernels for this processor. On others than x86 it may have plain loops: correct, but slow."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX") and hasattr(torch.ops.onednn, "qconv2d_pointwise")


LAYERS: dict[str, type[Layer]] = {"int8": Int8, "float32": Float32, "float32-unfold": Float32Unfold, "reference": Reference}

BACKENDS = {  # by kind of device, the preferred one first
    "cpu": (*(["int8"] if _has_int8_kernels() else []), "float32", "float32-unfold", "reference"),
    # no library convolution: cuDNN may switch to a transform after the self-check has passed, when memory is short
    "cuda": ("float32-unfold", "reference"),
}


def layer_class(backend: str) -> type[Layer]:
    """The class of a backend's layers. Raises: ModelError when there is no backend of that name."""
    if backend not in LAYERS:
        raise ModelError(f"there is no backend '{backend}', only {', '.join(LAYERS)}")
    return LAYERS[backend]
