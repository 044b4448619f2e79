"""Top-down models with other pixel layers than they were trained with, to be trained further."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bbans.errors import ModelError
from bbans.models.topdown.config import TopDownConfig
from bbans.models.topdown.vae import TopDownVAE


def widen(model: TopDownVAE, config: TopDownConfig) -> TopDownVAE:
    """A model of this config, made of one with another context or none.

    A model that is trained with context from the start relies on it alone, and never finds a use for its latents. Pixel layers
    that only get more context begin as they were. They start anew with another `hidden` or `depth`, with less context, and
    when colours get their first context, as their means become relative to the pixels around. A model of binary images without
    pixel layers gets two features, by which the new layers pass its logits on.

    Raises: ModelError when the configs differ in anything else.
    """
    old = model.config
    if replace(config, features=old.features, hidden=old.hidden, depth=old.depth, context=old.context) != old:
        raise ModelError("a model can get another context, hidden and depth, but no other sizes")
    passing = not old.features and config.features == 2 and config.binary
    if config.features != old.features and not passing:
        number = f"{old.features} features" if old.features else "no pixel layers (for binary images, features=2 adds some)"
        raise ModelError(f"the model has {number}, and keeps these")
    wide, weights = TopDownVAE(config), model.state_dict()
    if passing:
        _pass_logits_on(wide, weights)
    elif (old.hidden, old.depth, old.reference) != (config.hidden, config.depth, config.reference) or config.context < old.context:
        weights |= {f"pixel.{name}": value for name, value in wide.pixel.state_dict().items()}
    else:
        weights["pixel.enter.weight"] = _more_taps(old, config, weights["pixel.enter.weight"])
    wide.load_state_dict({name: weights[name] for name in wide.state_dict()})
    return wide


def _more_taps(old: TopDownConfig, config: TopDownConfig, weight: Tensor) -> Tensor:
    """The weights of the first pixel layer, with zeros for the new taps: (hidden, taps and features, 1, 1)."""
    channels = config.channels
    wider = weight.new_zeros(len(weight), len(config.taps) * channels + config.features, 1, 1)
    for index, tap in enumerate(old.taps):
        place = config.taps.index(tap) * channels
        wider[:, place : place + channels] = weight[:, index * channels : (index + 1) * channels]
    wider[:, len(config.taps) * channels :] = weight[:, len(old.taps) * channels :]
    return wider


def _pass_logits_on(wide: TopDownVAE, weights: dict[str, Tensor]) -> None:
    """Set the pixel layers so that they pass logits on: the two features are half the logit and its negative."""
    last = f"down.{len(wide.config.divisors) - 1}.leave"
    for name in ("weight", "bias"):
        logits = weights[f"{last}.{name}"] / 2
        weights[f"{last}.{name}"] = torch.cat([logits, -logits], 0 if name == "weight" else 1)
    weights |= {f"pixel.{name}": value for name, value in wide.pixel.state_dict().items()}
    weights["pixel.enter.weight"][:2] = 0
    weights["pixel.enter.weight"][:2, -2:, 0, 0] = torch.eye(2)
    for index in range(wide.config.depth):
        weights[f"pixel.hidden.{index}.weight"][:2] = 0
        weights[f"pixel.hidden.{index}.bias"].zero_()
    weights["pixel.out.weight"].zero_()
    weights["pixel.out.weight"][0, :2, 0, 0] = torch.tensor([2.0, -2.0])
    for name in ("enter", "out"):
        weights[f"pixel.{name}.bias"].zero_()
