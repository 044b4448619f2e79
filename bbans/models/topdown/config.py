"""Sizes of the top-down models. No torch.

Convolutions on grids from coarse to fine. Priors and posteriors share the way down; the likelihood of a pixel may look at the
pixels around that are coded before it (`context`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bbans.errors import ModelError
from bbans.models.config import SIZE_LIMIT, ImageConfig, Shapes


@dataclass(frozen=True)
class TopDownConfig(ImageConfig):
    """Sizes of a top-down model. Tuples have an entry for each grid, coarse to fine.

    Args:
        divisors: side of the image over side of the grid, each a multiple of the next.
        widths: channels.
        blocks: residual blocks on the way up, and on the way down after each layer of latents (once, where a grid has none).
        latents: channels of each layer of latents, in coding order.
        features: channels that the pixel layers get for each pixel. 0: there are no pixel layers, and the last layer on the way
            down gives the likelihood's parameters.
        hidden: width of the pixel layers.
        depth: pixel layers between the first and the last.
        context: radius of the square of pixels that pixel layers look at, of which those coded before count. 0: none, a likelihood
            that factorises.
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
        if not all(0 < size < SIZE_LIMIT for size in sizes):
            raise ModelError(f"sizes of a model are between 1 and {SIZE_LIMIT - 1}")
        if not all(0 <= size < 10 for size in (*self.blocks, self.depth, self.context)) or not any(self.latents):
            raise ModelError("a top-down model has latents, up to 9 blocks, and a depth and a context of up to 9")
        if self.context and not self.features:
            raise ModelError("a context needs pixel layers, and these need features")

    def grid_size(self, grid: int) -> tuple[int, int]:
        """Rows and columns."""
        return self.height // self.divisors[grid], self.width // self.divisors[grid]

    def kernel(self, grid: int) -> int:
        """Side of the kernels of a grid: on a single position there is nothing around."""
        return 1 if self.grid_size(grid) == (1, 1) else 3

    @property
    def latent_count(self) -> int:
        return sum(sum(sizes) * math.prod(self.grid_size(grid)) for grid, sizes in enumerate(self.latents))

    def ratio(self, grid: int) -> int:
        """Side of the next finer grid, or of the image, over that of a grid."""
        return self.divisors[grid] // (*self.divisors, 1)[grid + 1]

    def leaving(self, grid: int) -> int:
        """Channels of a grid's last layer on the way down: those of all finer positions that a position becomes."""
        finer = self.widths[grid + 1] if grid + 1 < len(self.widths) else self.features or self.outputs
        return finer * self.ratio(grid) ** 2

    @property
    def taps(self) -> tuple[tuple[int, int], ...]:
        """Row and column offsets of the pixels that a pixel's likelihood looks at."""
        r = self.context
        return tuple((dy, dx) for dy in range(-r, 1) for dx in range(-r, r + 1) if dy < 0 or dx < 0)

    @property
    def reference(self) -> bool:
        # for photos the pixels around are near in value, for drawings often not
        return bool(self.context) and self.channels == 3

    def layers(self) -> Shapes:
        layers: Shapes = {}

        def block(name: str, width: int, kernel: int) -> None:
            layers[f"{name}.a"] = layers[f"{name}.b"] = (width, width, kernel, 1, True)

        last = len(self.divisors) - 1
        for grid in reversed(range(last + 1)):
            width, kernel = self.widths[grid], self.kernel(grid)
            inputs = self.widths[grid + 1] if grid < last else self.channels
            layers[f"up.{grid}.enter"] = (width, inputs * self.ratio(grid) ** 2, kernel if grid == last else 1, 1, True)
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
