"""What the training forms and the integer forms of the models for small images share: sizes, layers, the order of things. No torch.

Two architectures, both for sets of images of one shape (H, W, C) whose samples are 0 .. symbols - 1:

``markov``
    dense, one hidden layer each way: q(z_1|x), q(z_l+1|z_l) and p(x|z_1), p(z_l|z_l+1). With one latent vector it is the model of
    the BB-ANS paper.
``topdown``
    convolutions on grids from coarse to fine; priors and posteriors share the way down; the likelihood of a pixel may look at the
    pixels around that are coded before it (`context`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from bbans.errors import ModelError

Shapes = dict[str, tuple[int, int, int, int, bool]]

LATENT_LEVELS = 128
LATENT_CENTRE = 64
LEVELS_PER_UNIT = 16  # a head output of 1.0 moves a mean by so many latent levels or pixel values
LOG_SCALE_MIN = -3.0
LOG_SCALE_MAX = LOG_SCALE_MIN + 127 / 16
LOG_SCALE_OFFSET = 48  # index of log scale 0: (0 - LOG_SCALE_MIN) * 16
MARKOV_PRIOR_INDEX = 81  # scale index of the top prior of the Markov models: e^2.06, about 8 levels
BINARY_LEVEL = 32  # activation of a binary sample that is 1
MAX_COMPONENTS = 5
MAX_SIDE = 256

_LIMIT = 1 << 12  # of any size

Config = TypeVar("Config", bound="SmallConfig")


@dataclass(frozen=True)
class SmallConfig:
    """What all models for small images say of them. ``components``: logistics in the mixture of 8-bit samples."""

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
        return self.height, self.width, self.channels

    @property
    def dims(self) -> int:
        return self.height * self.width * self.channels

    @property
    def binary(self) -> bool:
        return self.symbols == 2

    @property
    def outputs(self) -> int:
        """Head outputs for each pixel: a logit; K logits, means and log scales; or for colours all three by colour (G, R, B), then
        K slopes R|G, K B|G, K B|R."""
        if self.binary:
            return 1
        return 3 * self.components if self.channels == 1 else 12 * self.components

    @property
    def latent_count(self) -> int:
        raise NotImplementedError

    def layers(self) -> Shapes:
        """The layers by name: channels out and in, kernel, biases to choose from, relu."""
        raise NotImplementedError


@dataclass(frozen=True)
class MarkovConfig(SmallConfig):
    """``latents``: sizes of z_1, z_2, ..; ``hidden``: of the layers between x and z_1, z_1 and z_2, .."""

    latents: tuple[int, ...] = (40,)
    hidden: tuple[int, ...] = (100,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.latents or len(self.latents) != len(self.hidden) or not all(0 < s < _LIMIT for s in self.latents + self.hidden):
            raise ModelError(f"{self.latents} latents do not go with hidden layers of {self.hidden}")

    @property
    def latent_count(self) -> int:
        return sum(self.latents)

    def layers(self) -> Shapes:
        layers: Shapes = {}
        for level, (size, hidden) in enumerate(zip(self.latents, self.hidden, strict=True)):
            below = self.latents[level - 1] if level else self.dims
            out = 2 * below if level else self.height * self.width * self.outputs
            layers[f"posterior.{level}.hidden"] = (hidden, below, 1, 1, True)
            layers[f"posterior.{level}.out"] = (2 * size, hidden, 1, 1, False)
            layers[f"likelihood.{level}.hidden"] = (hidden, size, 1, 1, True)
            layers[f"likelihood.{level}.out"] = (out, hidden, 1, 1, False)
        return layers


@dataclass(frozen=True)
class TopDownConfig(SmallConfig):
    """Sizes of a top-down model; all tuples by grid, coarse to fine.

    ``divisors``: image side over grid side, each a multiple of the next; ``widths``: channels; ``blocks``: residual blocks on the
    way up, and after each latent layer on the way down (once, where a grid has none); ``latents``: channels of each latent layer,
    the first coded first. ``features``: channels that the pixel layers get for each pixel; ``hidden``: their width; ``depth``: how
    many there are between the first and the last; ``context``: radius of the square of pixels they see, of which those coded
    before count (0: none, a factorised likelihood). With ``features`` 0 there are no pixel layers: the last layer on the way down
    gives the likelihood's parameters.
    """

    divisors: tuple[int, ...] = (28, 4)
    widths: tuple[int, ...] = (256, 64)
    blocks: tuple[int, ...] = (1, 1)
    latents: tuple[tuple[int, ...], ...] = ((20, 20), (2, 2))
    features: int = 16
    hidden: int = 48
    depth: int = 1
    context: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        grids = len(self.divisors)
        if not grids or not grids == len(self.widths) == len(self.blocks) == len(self.latents):
            raise ModelError("divisors, widths, blocks and latents are of one length")
        for coarse, fine in zip(self.divisors, (*self.divisors[1:], 1), strict=True):
            if not fine or coarse % fine or self.height % coarse or self.width % coarse:
                raise ModelError(f"divisors {self.divisors} do not divide each other and {self.height}x{self.width}")
        sizes = (*self.widths, self.features or 1, self.hidden, *(size for grid in self.latents for size in grid))
        if not all(0 < size < _LIMIT for size in sizes):
            raise ModelError(f"sizes of a model are between 1 and {_LIMIT - 1}")
        if not all(0 <= size < 10 for size in (*self.blocks, self.depth, self.context)) or not any(self.latents):
            raise ModelError("a top-down model has latents, up to 9 blocks, and a depth and a context of up to 9")
        if self.context and not self.features:
            raise ModelError("a context needs pixel layers, and these need features")

    def grid_size(self, grid: int) -> tuple[int, int]:
        return self.height // self.divisors[grid], self.width // self.divisors[grid]

    def kernel(self, grid: int) -> int:
        return 1 if self.grid_size(grid) == (1, 1) else 3

    @property
    def latent_count(self) -> int:
        return sum(sum(sizes) * math.prod(self.grid_size(grid)) for grid, sizes in enumerate(self.latents))

    def ratio(self, grid: int) -> int:
        """Side of the next finer grid, or of the image, over that of a grid."""
        return self.divisors[grid] // (*self.divisors, 1)[grid + 1]

    def leaving(self, grid: int) -> int:
        """Channels with which the way down leaves a grid: those of all positions that a position becomes."""
        finer = self.widths[grid + 1] if grid + 1 < len(self.widths) else self.features or self.outputs
        return finer * self.ratio(grid) ** 2

    @property
    def taps(self) -> tuple[tuple[int, int], ...]:
        """Row and column offsets of the pixels that a pixel's likelihood looks at."""
        r = self.context
        return tuple((dy, dx) for dy in range(-r, 1) for dx in range(-r, r + 1) if dy < 0 or dx < 0)

    @property
    def reference(self) -> bool:
        """Whether means are relative to the pixels at the left and above: for photos they are near, for drawings often not."""
        return bool(self.context) and self.channels == 3

    def layers(self) -> Shapes:
        layers: Shapes = {}

        def block(name: str, width: int, kernel: int) -> None:
            layers[f"{name}.a"] = layers[f"{name}.b"] = (width, width, kernel, 1, True)

        last = len(self.divisors) - 1
        for grid in reversed(range(last + 1)):
            width, kernel = self.widths[grid], self.kernel(grid)
            given = self.widths[grid + 1] if grid < last else self.channels
            layers[f"up.{grid}.enter"] = (width, given * self.ratio(grid) ** 2, kernel if grid == last else 1, 1, True)
            for index in range(self.blocks[grid]):
                block(f"up.{grid}.blocks.{index}", width, kernel)
        layers["start"] = (self.widths[0], math.prod(self.grid_size(0)), 1, 1, True)
        for grid in range(last + 1):
            width, kernel = self.widths[grid], self.kernel(grid)
            for number, size in enumerate(self.latents[grid]):
                name = f"down.{grid}.layers.{number}"
                layers[f"{name}.prior"] = (2 * size, width, 1, 1, False)
                layers[f"{name}.seen"] = (width, 2 * width, 1, 1, True)
                layers[f"{name}.posterior"] = (2 * size, width, 1, 1, False)
                layers[f"{name}.inject"] = (width, size + width, kernel, 1, True)
                for index in range(self.blocks[grid]):
                    block(f"{name}.blocks.{index}", width, kernel)
            for index in range(0 if self.latents[grid] else self.blocks[grid]):
                block(f"down.{grid}.blocks.{index}", width, kernel)
            layers[f"down.{grid}.leave"] = (self.leaving(grid), width, 1, 1, grid < last or self.features > 0)
        if not self.features:
            return layers
        layers["pixel.enter"] = (self.hidden, len(self.taps) * self.channels + self.features, 1, 1, True)
        for index in range(self.depth):
            layers[f"pixel.hidden.{index}"] = (self.hidden, self.hidden, 1, 1, True)
        layers["pixel.out"] = (self.outputs, self.hidden, 1, 1, False)
        return layers


def to_json(config: SmallConfig) -> dict[str, Any]:
    """The fields as a weight file keeps them. Inverse: from_json."""
    return {field.name: _listed(getattr(config, field.name)) for field in fields(config)}


def from_json(kind: type[Config], found: Mapping[str, Any], id: str) -> Config:
    """The sizes of a model. Raises: ModelError when they are not exactly those of this architecture.

    None may be missing: with a default in its place, a later version with another default would decode other pictures.
    """
    wanted = {field.name: getattr(kind(), field.name) for field in fields(kind)}
    if wanted.keys() != found.keys() or not all(_same_kind(value, found[name]) for name, value in wanted.items()):
        raise ModelError(f"the model '{id}' is of another architecture: its sizes are not {', '.join(wanted)}")
    return kind(**{name: _tupled(value) for name, value in found.items()})


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(_tupled(entry) for entry in value) if isinstance(value, list) else value


def _same_kind(value: Any, found: Any) -> bool:
    if isinstance(value, tuple):
        return isinstance(found, list) and all(_same_kind(value[0], entry) for entry in found)
    return type(found) is int
