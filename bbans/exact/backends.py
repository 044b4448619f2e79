"""The arithmetic that runs integer layers: one contract, several ways to fulfil it, all with the same bits.

``reference``
    float64, every output a matrix product of unfolded patches. Slow and obvious.
``float32``
    the library's convolution in float32, channels last: exact by the bound that IntConv checks, as long as the library
    multiplies and adds (direct or matrix product) and does not transform (Winograd, FFT).
``float32-unfold``
    float32 patches times weights as one matrix product, where no library can choose a transform. The fallback.

Whether a backend keeps the contract on this machine is tested when a model is loaded, on the very shapes that it will run
(see bbans.models.photo_network), never assumed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bbans.exact.network import ACTIVATION_MAX, IntConv

BACKENDS = {  # of a kind of device, in the order of preference
    "cpu": ("float32", "float32-unfold", "reference"),
    # cuDNN may choose a transform after the self-check has passed, for want of memory: there, no convolution is the library's
    "cuda": ("float32-unfold", "reference"),
}


class Layer:
    """An IntConv made ready for one backend and device.

    Called with x (1, C_in, H, W), skip (1, C_out, H', W') of activations; returns (1, C_out, H', W') with H' = H - k + 1, of the
    backend's float type, holding exact integers (relu) or exact multiples of 2**-exponent (heads).
    """

    def __init__(self, layer: IntConv, backend: str, device: torch.device) -> None:
        self.relu, self.kernel = layer.relu, layer.weight.shape[-1]
        self.dtype = torch.float64 if backend == "reference" else torch.float32
        self.unfold = backend != "float32"
        scale = torch.from_numpy(np.ldexp(1.0, -layer.exponent.astype(np.int32))).to(self.dtype)  # exact, unlike exp2
        weight = torch.from_numpy(layer.weight).to(self.dtype) * scale.view(-1, 1, 1, 1)
        self.bias = (torch.from_numpy(layer.bias).to(self.dtype) * scale).to(device)
        self.weight = weight.to(device)
        self.weight = self.weight.flatten(1) if self.unfold else self.weight.to(memory_format=torch.channels_last)

    def __call__(self, x: Tensor, skip: Tensor | None = None, variant: int = 0) -> Tensor:
        if self.unfold:
            height, width = x.shape[-2] - self.kernel + 1, x.shape[-1] - self.kernel + 1
            y = (self.weight @ F.unfold(x, self.kernel)[0]).view(1, -1, height, width)
            y += self.bias[variant].view(1, -1, 1, 1)
        else:
            y = F.conv2d(x, self.weight, self.bias[variant])
        if skip is not None:
            y += skip
        return y.round_().clamp_(0, ACTIVATION_MAX) if self.relu else y
