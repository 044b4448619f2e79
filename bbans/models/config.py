"""Configs: the sizes that make a model, and how weight files keep them. No torch.

The config of a family is a frozen dataclass. It names the layers that the family's training form and integer form both have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from bbans.errors import ModelError
from bbans.exact.network import IntConv

Shapes = dict[str, tuple[int, int, int, int, bool]]
"""Layers by name: channels out and in, kernel, number of biases to choose from, relu (see IntConv.form)."""

SIZE_LIMIT = 1 << 12  # of any size
BINARY_LEVEL = 32  # activation of a binary sample that is 1
MAX_COMPONENTS = 5
MAX_SIDE = 256

Config = TypeVar("Config", bound="ModelConfig")


@dataclass(frozen=True)
class ModelConfig:
    """Base of all configs. Fields are integers, bools, or tuples of integers or of such tuples, and all have a default."""

    def layers(self) -> Shapes:
        """The layers of the model."""
        raise NotImplementedError

    def check_layers(self, layers: Mapping[str, IntConv]) -> None:
        """Raises: ModelError for other layers than these."""
        if self.layers() != {name: layer.form for name, layer in layers.items()}:
            raise ModelError("the model's layers are not those of its config")


@dataclass(frozen=True)
class PictureConfig(ModelConfig):
    """Base of the configs of models for pictures of any size."""

    def noise_size(self, side: int) -> int:
        """How many numbers the latents of a picture of side x side pixels are."""
        raise NotImplementedError


@dataclass(frozen=True)
class ImageConfig(ModelConfig):
    """Base of the configs of models for sets of images of one size: what images these are.

    `components`: logistics in the mixture of 8-bit samples.
    """

    height: int = 28
    width: int = 28
    channels: int = 1
    symbols: int = 2
    components: int = 5

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE and self.channels in (1, 3)):
            raise ModelError(f"no model is for images of {self.height}x{self.width}x{self.channels}")
        if self.symbols not in (2, 256) or not 1 <= self.components <= MAX_COMPONENTS:
            raise ModelError(f"samples have 2 or 256 values, and mixtures 1 to {MAX_COMPONENTS} components")
        if self.symbols == 2 and self.channels != 1:
            raise ModelError("binary images have one channel")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height, self.width, self.channels

    @property
    def dims(self) -> int:
        """Samples of an image."""
        return self.height * self.width * self.channels

    @property
    def binary(self) -> bool:
        """Whether samples are 0 and 1."""
        return self.symbols == 2

    @property
    def outputs(self) -> int:
        """A head's outputs for each pixel: a logit; or K logits, K means and K log scales; or these by colour (G, R, B), then K
        slopes R|G, K B|G and K B|R."""
        if self.binary:
            return 1
        return 3 * self.components if self.channels == 1 else 12 * self.components

    @property
    def reference(self) -> bool:
        """Whether the means of colours are relative to the pixels at the left and above, not to 128."""
        return False

    @property
    def latent_count(self) -> int:
        """How many numbers the latents of an image are."""
        raise NotImplementedError


def to_json(config: ModelConfig) -> dict[str, Any]:
    """The fields as a weight file keeps them. Inverse: from_json."""
    return {field.name: _listed(getattr(config, field.name)) for field in fields(config)}


def from_json(kind: type[Config], values: Mapping[str, Any], id: str) -> Config:
    """The config of the model `id`. Inverse: to_json. Raises: ModelError when the values are not exactly the fields of this class.

    None may be missing: with a default in its place, a later version with another default would decode other pictures.
    """
    defaults = {field.name: getattr(kind(), field.name) for field in fields(kind)}
    if defaults.keys() != values.keys() or not all(_same_kind(default, values[name]) for name, default in defaults.items()):
        raise ModelError(f"the model '{id}' is of another architecture: its sizes are not {', '.join(defaults)}")
    return kind(**{name: _tupled(value) for name, value in values.items()})


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(entry) for entry in value) if isinstance(value, list) else value


def _same_kind(default: Any, value: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_same_kind(default[0], entry) for entry in value)
    return type(value) is type(default)
