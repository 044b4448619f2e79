"""Top-down models with other pixel layers than they were trained with, to be trained further."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bbans.errors import ModelError
from bbans.models.topdown.config import TopDownConfig
from bbans.models.topdown.vae import TopDownVAE


def widen(model: TopDownVAE, config: TopDownConfig) -> TopDownVAE:
    """A model of this config, which looks at the pixels around, from one without or with another context.

    Trained with context from the start, a model learns to use that alone and then never finds a use for its latents. Pixel layers
    that only get more context do at first what they did. They begin anew with another `hidden` or `depth`, with less context,
    and for colours that had none, whose means become relative to the pixels around. A model of binary images without pixel layers
    gets two features, by which the new ones pass its logits on.

    Raises: ModelError when the configs differ in anything but the pixel layers, or in their features otherwise.
    """
    old = model.config
    if replace(config, features=old.features, hidden=old.hidden, depth=old.depth, context=old.context) != old:
        raise ModelError("another context, hidden and depth can be added to a model: other sizes cannot")
    passing = not old.features and config.features == 2 and config.binary
    if config.features != old.features and not passing:
        has = f"{old.features} features" if old.features else "no pixel layers (for binary images, features=2 adds some)"
        raise ModelError(f"the model has {has}: these stay")
    wide, weights = TopDownVAE(config), model.state_dict()
    if passing:
        _pass_logits_on(wide, weights)
    elif (old.hidden, old.depth, old.reference) != (config.hidden, config.depth, config.reference) or config.context < old.context:
        weights |= {f"pixel.{name}": value for name, value in wide.pixel.state_dict().items()}
    else:
        weights["pixel.enter.weight"] = _see_more(old, config, weights["pixel.enter.weight"])
    wide.load_state_dict({name: weights[name] for name in wide.state_dict()})
    return wide


def _see_more(old: TopDownConfig, config: TopDownConfig, entering: Tensor) -> Tensor:
    """The weights of the first pixel layer, with zeros for the taps that it did not see: (hidden, taps and features, 1, 1)."""
    channels = config.channels
    wider = entering.new_zeros(len(entering), len(config.taps) * channels + config.features, 1, 1)
    for index, tap in enumerate(old.taps):
        place = config.taps.index(tap) * channels
        wider[:, place : place + channels] = entering[:, index * channels : (index + 1) * channels]
    wider[:, len(config.taps) * channels :] = entering[:, len(old.taps) * channels :]
    return wider


def _pass_logits_on(wide: TopDownVAE, weights: dict[str, Tensor]) -> None:
    """Fill in the pixel layers: the two features are half the positive and half the negative part of the logit."""
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
