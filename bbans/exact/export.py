"""Trained layers to integer layers, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bbans.errors import ModelError
from bbans.exact.network import ACCUMULATOR_LIMIT, ACTIVATION_MAX, WEIGHT_MAX, IntConv
from bbans.exact.qat import ACTIVATION_STEP, QConv, weight_exponents

ATTEMPTS = 50  # of keep_exact for a layer, each 1 % further inside; one or two suffice unless exponents change


def export_conv(layer: QConv) -> IntConv:
    """The integer layer that computes what `layer` computes when quantised, except that the bias is rounded too.

    Inverse: import_conv. Raises: ModelError when a channel breaks the bound of exactness.
    """
    weight, bias, exponent = _integers(layer)
    return IntConv(
        weight=weight.cpu().numpy().astype(np.int8, order="C"),  # a model may be channels last
        bias=bias.cpu().numpy().astype(np.int32),
        exponent=exponent.cpu().numpy().astype(np.int8),
        relu=layer.relu,
    )


@torch.no_grad()
def import_conv(layer: QConv, integers: IntConv) -> None:
    """Set the weights and biases of `layer` to those of an integer layer. Inverse: export_conv.

    Raises: ModelError when the shapes differ.
    """
    if integers.weight.shape != layer.weight.shape or integers.bias.shape != layer.bias.shape or integers.relu != layer.relu:
        raise ModelError(f"a layer of shape {tuple(layer.weight.shape)} is expected, not {integers.weight.shape}")
    scale = torch.from_numpy(np.ldexp(1.0, -integers.exponent.astype(np.int32)))
    weight = torch.from_numpy(integers.weight).double() * scale.view(-1, 1, 1, 1)
    centre = layer.centre * ACTIVATION_STEP * weight[:, : layer.centred].sum(dim=(1, 2, 3))
    layer.weight.copy_(weight)
    layer.bias.copy_(torch.from_numpy(integers.bias).double() * scale * ACTIVATION_STEP + centre)


def export_layers(model: nn.Module) -> dict[str, IntConv]:
    """The layers of a trained model by name. Inverse: import_layers. Raises: ModelError when one breaks the bound of exactness."""
    layers = {}
    for name, module in _convolutions(model):
        try:
            layers[name] = export_conv(module)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
    return layers


def import_layers(model: nn.Module, layers: Mapping[str, IntConv]) -> None:
    """Set a model's weights to those of integer layers. Inverse: export_layers. Raises: ModelError for layers of another model."""
    modules = dict(_convolutions(model))
    if modules.keys() != layers.keys():
        raise ModelError(f"the weights do not fit the model: {', '.join(sorted(modules.keys() ^ layers.keys()))}")
    for name, module in modules.items():
        try:
            import_conv(module, layers[name])
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None


@torch.no_grad()
def keep_exact(model: nn.Module) -> list[str]:
    """Project weights that break the bound of exactness onto it. Returns the names of the layers that changed.

    For training: a network that is projected now and then never drifts to where it cannot be exported. The projection is the
    nearest point of the l1 ball: every weight of the channel shrinks by the same amount, small ones to zero.

    Raises: ModelError when a channel's bias leaves its weights no room.

    Source: Duchi et al., "Efficient projections onto the l1-ball for learning in high dimensions", ICML 2008.
    """
    changed = []
    for name, layer in _convolutions(model):
        for attempt in range(ATTEMPTS):
            weight, bias, exponent = _integers(layer)
            fixed = bias.abs().amax(0) + ACTIVATION_MAX * 2.0**exponent
            total = weight.abs().sum(dim=(1, 2, 3))
            broken = total * ACTIVATION_MAX + fixed >= ACCUMULATOR_LIMIT
            if not broken.any():
                break
            room = (ACCUMULATOR_LIMIT - fixed) / ACTIVATION_MAX * (1 - 0.01 * (attempt + 1))
            for channel in broken.nonzero().flatten().tolist():
                if room[channel] <= 0:
                    raise ModelError(f"{name}: the bias of channel {channel} is out of the range of exact sums")
                radius = float(room[channel]) * 2.0 ** -float(exponent[channel])
                layer.weight[channel] = _onto_l1_ball(layer.weight[channel].double(), radius).to(layer.weight.dtype)
            if name not in changed:
                changed.append(name)
    return changed


def _integers(layer: QConv) -> tuple[Tensor, Tensor, Tensor]:
    """Weight (C_out, C_in, k, k), biases (variants, C_out) and exponents (C_out,): integers in float64."""
    exponent = weight_exponents(layer.weight).double()
    weight = (layer.weight.detach().double() * (2.0**exponent).view(-1, 1, 1, 1)).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
    grid = weight * (2.0**-exponent).view(-1, 1, 1, 1)
    bias = (layer.folded_bias(grid).detach().double() / ACTIVATION_STEP * 2.0**exponent).round()
    return weight, bias, exponent


def _onto_l1_ball(x: Tensor, radius: float) -> Tensor:
    """The nearest point whose magnitudes sum to the radius, for x outside the ball."""
    ordered = x.abs().flatten().sort(descending=True).values
    excess = (ordered.cumsum(0) - radius) / torch.arange(1, x.numel() + 1, device=x.device)
    threshold = excess[int((ordered > excess).sum()) - 1]
    return x.sign() * (x.abs() - threshold).clamp(min=0)


def _convolutions(model: nn.Module) -> list[tuple[str, QConv]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, QConv)]
