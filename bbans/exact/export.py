"""From trained layers to integer ones."""

from __future__ import annotations

import numpy as np
from torch import nn

from bbans.exact.network import WEIGHT_MAX, IntConv
from bbans.exact.qat import ACTIVATION_STEP, QConv, weight_exponents


def export_conv(layer: QConv) -> IntConv:
    """The integer layer that computes what ``layer`` computes when it is quantised, but for the bias's own rounding."""
    exponent = weight_exponents(layer.weight).double()
    weight = (layer.weight.detach().double() * (2.0**exponent).view(-1, 1, 1, 1)).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
    grid = weight * (2.0**-exponent).view(-1, 1, 1, 1)
    bias = (layer.folded_bias(grid).detach().double() / ACTIVATION_STEP * 2.0**exponent).round()
    return IntConv(
        weight=weight.numpy().astype(np.int8),
        bias=bias.numpy().astype(np.int32),
        exponent=exponent.numpy().astype(np.int8),
        relu=layer.relu,
    )


def export_layers(model: nn.Module) -> dict[str, IntConv]:
    """All layers of a trained model by their names in it. Raises: ModelError when one breaks the bound of exactness."""
    return {name: export_conv(module) for name, module in model.named_modules() if isinstance(module, QConv)}
