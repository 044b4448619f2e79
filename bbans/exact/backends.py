"""Backends: the arithmetic that runs integer layers. One contract, several implementations, all with the same integers.

`native`
    bytes times bytes, summed in int32, by the compiled core (bbans/_core/convolution.c): the best instructions the processor has.
`reference`
    NumPy, in 64-bit integers. Slow and obvious.
`cuda`
    PyTorch on a GPU, in float32: patches times weights as one matrix product, where no library can choose a transform. Exact by the
    bound that `IntConv` checks, in any order of summation.

Whether a backend keeps the contract on this machine is never assumed: it is tested whenever a model is loaded
(`bbans.exact.selfcheck`). A new backend is a subclass of `Layer` and its entries in LAYERS and BACKENDS.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans._core.convolution import convolve, pack
from bbans.errors import ModelError
from bbans.exact.network import ACTIVATION_MAX, IntConv, round_shift

Activations = NDArray[np.uint8]
Sums = NDArray[np.int32]


class Layer(ABC):
    """An `IntConv` prepared for one backend and device. Several threads may call it at a time.

    Shapes: x (N, h, w, C_in) and skip (N, h - k + 1, w - k + 1, C_out), activations 0 .. 127; views too, as long as the pixels and
    channels of a row lie side by side.
    Raises: RuntimeError, from the constructor or a call, if this machine lacks the arithmetic.
    """

    def __init__(self, layer: IntConv) -> None:
        self.relu, self.kernel, self.exponents = layer.relu, layer.weight.shape[-1], layer.exponent.astype(np.int64)

    @abstractmethod
    def __call__(self, x: Activations, skip: Activations | None = None, variant: int = 0) -> Activations:
        """Activations (N, h - k + 1, w - k + 1, C_out) of a relu layer, with one of its biases."""

    @abstractmethod
    def sums(self, x: Activations) -> Sums:
        """Accumulators (N, h - k + 1, w - k + 1, C_out) of a head: each stands for itself times 2**-exponent of its channel."""

    def head(self, x: Activations, factors: NDArray[np.int64]) -> NDArray[np.int64]:
        """The outputs of a head times factors (C_out,), rounded to integers."""
        return round_shift(self.sums(x) * factors, self.exponents)


class Native(Layer):
    """The compiled core's convolution."""

    def __init__(self, layer: IntConv) -> None:
        super().__init__(layer)
        self._packed = [pack(layer.weight, bias, layer.exponent) for bias in layer.bias]

    def __call__(self, x: Activations, skip: Activations | None = None, variant: int = 0) -> Activations:
        return convolve(self._packed[variant], x, skip)

    def sums(self, x: Activations) -> Sums:
        return convolve(self._packed[0], x, sums=True)


class Reference(Layer):
    """Shifted pictures times weights, in 64-bit integers."""

    def __init__(self, layer: IntConv) -> None:
        super().__init__(layer)
        self._weight, self._bias = layer.weight.astype(np.int64), layer.bias.astype(np.int64)

    def __call__(self, x: Activations, skip: Activations | None = None, variant: int = 0) -> Activations:
        sums = self._sums(x, variant)
        if skip is not None:
            sums += skip.astype(np.int64) << self.exponents
        return np.clip(round_shift(sums, self.exponents), 0, ACTIVATION_MAX).astype(np.uint8)

    def sums(self, x: Activations) -> Sums:
        return self._sums(x, 0).astype(np.int32)

    def _sums(self, x: Activations, variant: int) -> NDArray[np.int64]:
        height, width = (side - self.kernel + 1 for side in x.shape[1:3])
        wide = x.astype(np.int64)
        sums = np.zeros((len(x), height, width, len(self._weight)), np.int64)
        sums += self._bias[variant]
        for row in range(self.kernel):
            for column in range(self.kernel):
                sums += wide[:, row : row + height, column : column + width] @ self._weight[:, :, row, column].T
        return sums


class Cuda(Layer):
    """A matrix product of weights and unfolded patches by PyTorch. Only tests run it on another `device`."""

    def __init__(self, layer: IntConv, device: str = "cuda") -> None:
        super().__init__(layer)
        try:
            import torch
        except ImportError:
            raise RuntimeError("the device 'cuda' needs torch: pip install 'bbans[train]'") from None
        self._torch, self._device = torch, torch.device(device)
        self._scale = self._moved(np.ldexp(1.0, -layer.exponent.astype(np.int32)).astype(np.float32))
        self._weight = self._moved(layer.weight.reshape(len(layer.weight), -1).astype(np.float32))
        self._biases = [self._moved(bias.astype(np.float32)) for bias in layer.bias]

    def __call__(self, x: Activations, skip: Activations | None = None, variant: int = 0) -> Activations:
        with self._exactly():
            y = self._product(x, variant) * self._scale.view(1, -1, 1, 1)  # exact: a power of two
            if skip is not None:
                y += self._moved(skip).permute(0, 3, 1, 2)
            y = y.round_().clamp_(0, ACTIVATION_MAX).to(self._torch.uint8)
            activations: Activations = y.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return activations

    def sums(self, x: Activations) -> Sums:
        with self._exactly():
            sums: Sums = self._product(x, 0).permute(0, 2, 3, 1).to(self._torch.int32).contiguous().cpu().numpy()
        return sums

    def _product(self, x: Activations, variant: int) -> Any:
        inputs = self._moved(x).permute(0, 3, 1, 2).float()
        height, width = (side - self.kernel + 1 for side in inputs.shape[-2:])
        patches = self._torch.nn.functional.unfold(inputs, self.kernel)
        return (self._weight @ patches).view(len(x), -1, height, width) + self._biases[variant].view(1, -1, 1, 1)

    def _moved(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def _exactly(self) -> Any:
        """No gradients, and no autocast of the caller's."""
        stack = contextlib.ExitStack()
        stack.enter_context(self._torch.inference_mode())
        stack.enter_context(self._torch.autocast(self._device.type, enabled=False))
        return stack


def cuda_is_there() -> bool:
    """Whether torch is installed, and finds a GPU."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


LAYERS: dict[str, type[Layer]] = {"native": Native, "reference": Reference, "cuda": Cuda}

BACKENDS = {"cpu": ("native", "reference"), "cuda": ("cuda",)}
"""By kind of device, the preferred one first."""


def layer_class(backend: str) -> type[Layer]:
    """The class of a backend's layers. Raises: ModelError when there is no backend of that name."""
    if backend not in LAYERS:
        raise ModelError(f"there is no backend '{backend}', only {', '.join(LAYERS)}")
    return LAYERS[backend]
