"""Quantisation-aware training modules: float networks that round exactly where the integer networks do.

The integer network (`bbans.exact.network`) computes, for activations `a` in 0 .. 127, weights `w` in -127 .. 127 and an exponent
`e` for each output channel::

    y = clamp(round_half_even((sum w a + b + (skip << e)) * 2**-e), 0, 127)

Here the same numbers are floats on a grid: an activation is `a * ACTIVATION_STEP`, a weight `w * 2**-e`. While `quantised` is
off, a module clamps but does not round, so that training can start in plain float and switch later. Gradients pass the rounding
unchanged (straight-through estimator).

Source: Ballé, Johnston and Minnen, "Integer Networks for Data Compression with Latent-Variable Models", ICLR 2019.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from bbans.exact.network import ACTIVATION_MAX, EXPONENT_MAX, WEIGHT_MAX

ACTIVATION_STEP = 1 / 16
REVIVAL = 0.05  # share of an upward gradient that reaches an activation at zero


class _Activation(torch.autograd.Function):
    """Clamp to the range of activations and, if `quantised`, round to their grid.

    Outside the range the gradient would be zero, and a layer whose outputs drifted out would never come back: with plain ReLUs
    most channels of the photo model died or saturated within 3,000 steps. So a gradient that pulls down passes above the range,
    and part of a gradient that pulls up passes below it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, quantised: bool) -> Tensor:
        y = x.clamp(0, ACTIVATION_MAX * ACTIVATION_STEP)
        if quantised:
            y = y.mul(1 / ACTIVATION_STEP).round_().mul_(ACTIVATION_STEP)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,), grad = ctx.saved_tensors, grads[0]
        low, high = y <= 0, y >= ACTIVATION_MAX * ACTIVATION_STEP
        grad = torch.where(low, REVIVAL * grad.clamp(max=0), grad)
        return torch.where(high, grad.clamp(min=0), grad), None


def activation(x: Tensor, quantised: bool) -> Tensor:
    """ReLU clamped to the range of the integer activations; rounded to their grid when `quantised`."""
    return cast(Tensor, _Activation.apply(x, quantised))  # type: ignore[no-untyped-call]


def round_ste(x: Tensor) -> Tensor:
    """Round half to even, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def weight_exponents(weight: Tensor) -> Tensor:
    """For each output channel the largest e for which all its weights * 2**e are in -127 .. 127. Shape: (C_out,)."""
    largest = weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=1e-9)
    return torch.floor(torch.log2(WEIGHT_MAX / largest)).clamp(0, EXPONENT_MAX)


class Quantised(nn.Module):
    """A module that can round as its integer form does. It starts without rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.quantised = False


class QConv(Quantised):
    """A convolution with zero padding whose weights and outputs can be rounded to the integer grids.

    Args:
        c_in, c_out, kernel: as in `nn.Conv2d`; the stride is 1.
        centre: integer level that is subtracted from the first `centred` input channels. The integer network has it in the bias
            and gets raw unsigned inputs; in training the centred inputs are better conditioned.
        variants: number of biases to choose from, such as one for each level of a pyramid.
        gain: initial variance of a weight times the fan-in; 2 is He's initialisation.
        relu: clamp and round the output as an activation; else it stays at accumulator precision.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        centre: int = 0,
        centred: int = 0,
        variants: int = 1,
        relu: bool = True,
        gain: float = 2.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel) * math.sqrt(gain / (c_in * kernel * kernel)))
        self.bias = nn.Parameter(torch.zeros(variants, c_out))
        self.centre, self.centred, self.relu, self.kernel = centre, centred, relu, kernel
        offset = torch.zeros(1, c_in, 1, 1)
        offset[:, :centred] = centre * ACTIVATION_STEP
        self.offset: Tensor
        self.register_buffer("offset", offset, persistent=False)

    def grid_weight(self) -> Tensor:
        """The weight as the forward pass uses it."""
        if not self.quantised:
            return self.weight
        step = torch.exp2(-weight_exponents(self.weight)).view(-1, 1, 1, 1)
        rounded = (self.weight.detach() / step).round().clamp(-WEIGHT_MAX, WEIGHT_MAX) * step
        return self.weight + (rounded - self.weight).detach()

    def folded_bias(self, weight: Tensor) -> Tensor:
        """Biases with the centre of the inputs folded in. Shape: (variants, C_out)."""
        if not self.centred:
            return self.bias
        return self.bias - self.centre * ACTIVATION_STEP * weight[:, : self.centred].sum(dim=(1, 2, 3))

    def forward(self, x: Tensor, skip: Tensor | None = None, variant: int = 0) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W); `skip` (B, C_out, H, W) is added before the activation."""
        weight, padding = self.grid_weight(), self.kernel // 2
        if self.centred:  # subtracted from the inputs: folded into the bias it would be too large for bfloat16
            x = nn.functional.pad(x, (padding,) * 4) - self.offset
            padding = 0
        if self.kernel == 1 and x.shape[-2:] == (1, 1):  # as a matrix product it is three times as fast on the CPU
            y = nn.functional.linear(x.flatten(1), weight.flatten(1))[:, :, None, None]
        else:
            y = nn.functional.conv2d(x, weight, padding=padding)
        # The bias is added in float32, whatever the convolution ran in. Rounded to bfloat16 it would be off by up to a quarter
        # of an activation step, the same for all inputs, and a model that has adapted to that fails as integers.
        total = y.float() + self.bias[variant].view(-1, 1, 1)
        if skip is not None:
            total = total + skip
        return activation(total, self.quantised).to(y.dtype) if self.relu else total


def pool(x: Tensor, block: int, shift: int, quantised: bool) -> Tensor:
    """Sums of activations over blocks of b x b, times 2**-shift, as activations. (B, C, H, W) -> (B, C, ceil(H/b), ceil(W/b)).

    Positions beyond the border count as zero, as in the convolutions.
    """
    height, width = x.shape[-2:]
    x = nn.functional.pad(x, (0, -width % block, 0, -height % block))
    total = nn.functional.avg_pool2d(x.float(), block) * float(block * block)
    return activation(total * 2.0**-shift, quantised)


def set_quantised(module: nn.Module, quantised: bool) -> None:
    """Switch the rounding of every layer below `module` on or off."""
    for child in module.modules():
        if isinstance(child, Quantised):
            child.quantised = quantised
