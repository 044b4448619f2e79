"""The photo model as integers: the stages that a coder runs, tile by tile.

The phases of a level share one grid of positions. Arrays on it are uint8 buffers with a border of HALO zeros, so that a tile with
its halo is a plain slice, and what lies outside the picture is zero in every layer, as in training::

    +-----------------------------+      trunk tile: reads (T + 2 HALO)^2, writes T^2; each 3x3 layer loses a border of one
    |  halo (zeros)               |      head tile:  reads and writes T^2
    |   +--------+--------+       |
    |   | T x T  | T x T  |  ...  |      Because all arithmetic is exact, tiles and whole pictures give the same integers.
    |   +--------+--------+       |

A library may choose its arithmetic by the shape, so tiles have few shapes, and each is tried before a byte is coded. The squares
are part of `PhotoNetwork.digest`, whose value is stored with the weights; thin tiles are compared with squares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bbans.exact import selfcheck
from bbans.exact.backends import layer_class
from bbans.exact.network import ACTIVATION_MAX, IntConv
from bbans.exact.runtime import own_thread
from bbans.models.grids import LATENT_CENTRE, LOG_SCALE_OFFSET, LOGIT_LIMIT, MEAN_LIMIT, SLOPE_LIMIT, Latent
from bbans.models.photo.config import BLOCK, LEVELS_OF_BIAS, POOL_SHIFT, PhotoConfig
from bbans.models.photo.geometry import TILES, Bytes, Grid, Tile, tile_shape
from bbans.tables import SCALES

Params = NDArray[np.int16]


class PhotoNetwork:
    """The integer photo model on one backend (see `bbans.exact.backends`) and device.

    Tiles are shared among `threads`. Torch itself must run on one thread (see `bbans.exact.runtime.coding`): where its own threads
    divide a tile, they wait for each other after every layer, which on a busy machine costs far more than the arithmetic.

    Raises: ModelError when the layers are not those of the configuration or there is no such backend; RuntimeError when the
    library lacks the backend's arithmetic or the device.
    """

    def __init__(
        self, config: PhotoConfig, layers: Mapping[str, IntConv], backend: str, device: str = "cpu", threads: int = 1
    ) -> None:
        config.check_layers(layers)
        self.config = config
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.device = torch.device(device)
        self.backend, layer_type = backend, layer_class(backend)
        self.layers = {name: layer_type(layer, self.device) for name, layer in layers.items()}
        self._activations, self._outputs = layer_type.activations, layer_type.outputs
        self.halo = 1 + 2 * config.blocks
        self._exact_on: dict[tuple[int, int], bool] = {}
        k = config.components
        factors = [1] * 3 * k + [64] * 3 * k + [1] * 3 * k + [4] * 3 * k
        offsets = [0] * 6 * k + [LOG_SCALE_OFFSET] * 3 * k + [0] * 3 * k
        lows = [-LOGIT_LIMIT] * 3 * k + [-MEAN_LIMIT] * 3 * k + [0] * 3 * k + [-SLOPE_LIMIT] * 3 * k
        highs = [LOGIT_LIMIT] * 3 * k + [MEAN_LIMIT] * 3 * k + [SCALES - 1] * 3 * k + [SLOPE_LIMIT] * 3 * k
        self._factors, self._offsets, self._lows, self._highs = (
            torch.tensor(v, dtype=self._outputs, device=self.device) for v in (factors, offsets, lows, highs)
        )

    def grid(self, height: int, width: int) -> Grid:
        """The grid of a phase, cut into tiles of shapes on which this backend is exact."""
        tile = tile_shape(height, width)
        if tile[0] != tile[1] and not self._is_exact_on(tile):
            tile = TILES[-1], TILES[-1]
        return Grid(height, width, self.halo, tile)

    def in_parallel(self, work: Callable[..., None], *arguments: Iterable[Any]) -> None:
        """`work` for each tuple of arguments, as map has it, shared among the threads. No result depends on their order."""

        def alone(*values: Any) -> None:
            with own_thread():
                work(*values)

        items = list(zip(*arguments, strict=True))
        if self._pool is None or len(items) == 1:
            for item in items:
                alone(*item)
        else:
            list(self._pool.map(lambda item: alone(*item), items))

    def first_input(self, grid: Grid, planes: Bytes, coarse: Bytes | None, coarse_grid: Grid | None) -> Bytes:
        """The input of x11's trunk, a buffer (.., 6 + carried): pixels of x00, and what is carried from the coarser level.

        Shapes: planes (height, width, 6); coarse the last trunk buffer of the coarser level.
        """
        buffer = grid.buffer(6 + self.config.carried)
        inner = grid.inner(buffer)
        inner[..., :6] = planes
        if coarse is not None and coarse_grid is not None:

            def work(tile: Tile) -> None:
                y = self.layers["carry"](self._tensor(tile.input(coarse)))
                tile.store_doubled(self._bytes(F.pixel_shuffle(y, 2)), inner[..., 6:])

            self.in_parallel(work, coarse_grid.tiles())
        return buffer

    def trunk(self, phase: int, level: int, grid: Grid, features: Bytes, planes: Bytes | None = None) -> Bytes:
        """The trunk's outputs for a phase, a buffer (.., width), from those for the phase before and the pixels just coded.

        Args:
            features: for phase 0, the output of `first_input`.
            planes: a buffer (.., 6) of the phase before; None for phase 0.
        """
        out = grid.buffer(self.config.width)
        inner = grid.inner(out)

        def work(tile: Tile) -> None:
            x = self._tensor(tile.input(features, self.halo))
            if planes is None:
                y = self.layers["first"](x, variant=min(level, LEVELS_OF_BIAS - 1))
            else:
                y = self.layers[f"inject.{phase - 1}"](self._tensor(tile.input(planes, self.halo)), skip=x[..., 1:-1, 1:-1])
            margin = self.halo - 1
            _clear_outside(y, tile, margin)
            for block in range(self.config.blocks):
                hidden = self.layers[f"trunk.{phase}.{block}.a"](y)
                _clear_outside(hidden, tile, margin - 1)
                y = self.layers[f"trunk.{phase}.{block}.b"](hidden, skip=y[..., 2:-2, 2:-2])
                margin -= 2
                _clear_outside(y, tile, margin)
            tile.store(self._bytes(y), inner)

        self.in_parallel(work, grid.tiles())
        return out

    def head(self, phase: int, grid: Grid, features: Bytes, z: Bytes | None) -> Params:
        """Integer parameters of the mixtures of a phase: (height, width, 12 K) int16.

        They are logits in 1/16 nat, means in 1/64 beyond the reference, scale indices, slopes in 1/64. Shapes: z (block rows, block
        columns, Z), or None for the centre.
        """
        out = np.empty((grid.height, grid.width, self.config.outputs), np.int16)

        def work(tile: Tile) -> None:
            x = tile.input(features)
            if self.config.latents:
                x = np.concatenate([self._spread(z, tile), x], axis=2)
            y = self.layers[f"out.{phase}"](self.layers[f"hidden.{phase}"](self._tensor(x)))[0].permute(1, 2, 0)
            y = (y * self._factors).round_().add_(self._offsets).clamp_(self._lows, self._highs)
            tile.store(y.to(torch.int16).cpu().numpy(), out)

        self.in_parallel(work, grid.tiles())
        return out

    def prior(self, grid: Grid, features: Bytes) -> tuple[Latent, Bytes]:
        """p(z | x00), and the summary that the posterior starts from. `features`: the trunk's outputs for x11."""
        latent = self._empty_latent(grid)
        summary = np.empty((*grid.blocks, self.config.latent_width), np.uint8)

        def work(tile: Tile) -> None:
            hidden = self.layers["prior_hidden"](self._pooled("prior_in", tile.input(features), tile))
            tile.store_blocks(self._bytes(hidden), summary)
            self._store_latent(self.layers["prior_out"](hidden), tile, latent)

        self.in_parallel(work, grid.tiles())
        return latent, summary

    def posterior(self, grid: Grid, features: Bytes, residuals: Bytes, summary: Bytes, prior: Latent) -> Latent:
        """q(z | x00, x11, x01). `features`: the trunk's outputs for x10; `residuals`: a buffer (.., 6) of |pixel - reference|."""
        latent = self._empty_latent(grid)

        def work(tile: Tile) -> None:
            x = np.concatenate([tile.input(features), tile.input(residuals)], axis=2)
            pooled = self._pooled("posterior_in", x, tile)
            hidden = self.layers["posterior_hidden"](torch.cat([self._tensor(tile.load_blocks(summary)), pooled], 1))
            self._store_latent(self.layers["posterior_out"](hidden), tile, latent, prior)

        self.in_parallel(work, grid.tiles())
        return latent

    def digest(self) -> str:
        """SHA-256 over the outputs of every stage for fixed inputs, on every square tile. The same wherever arithmetic is exact."""
        # with a row of the tile outside the picture, and without
        grids = [Grid(height, side, self.halo, (side, side)) for side in TILES for height in (side - 1, side)]
        outputs: list[list[NDArray[Any]]] = [[] for _ in grids]

        def work(index: int, grid: Grid) -> None:
            # the coarser grid is larger than it need be, so that its tile is as large as this grid's
            outputs[index] = self._run_stages(grid, replace(grid, height=grid.width))

        self.in_parallel(work, range(len(grids)), grids)
        return selfcheck.digest(chain.from_iterable(outputs))

    def _is_exact_on(self, shape: tuple[int, int]) -> bool:
        """Whether tiles of this shape give what the least squares give, which the digest covers. Tried once, when first needed."""
        if shape not in self._exact_on:
            thin = Grid(*shape, self.halo, shape)
            squares = replace(thin, tile=(TILES[0], TILES[0]))
            pairs = zip(self._run_stages(thin, thin), self._run_stages(squares, squares), strict=True)
            self._exact_on[shape] = all(_same_where_both_are(*pair) for pair in pairs)
        return self._exact_on[shape]

    def _run_stages(self, grid: Grid, coarse_grid: Grid) -> list[NDArray[Any]]:
        """The outputs of every stage for fixed inputs, with every bias of the first layer."""
        planes, coarse = _probe(grid, 6, 1), _probe(coarse_grid, self.config.width, 2)
        first = self.first_input(grid, grid.inner(planes), coarse, coarse_grid)
        features = [self.trunk(0, level, grid, first) for level in range(LEVELS_OF_BIAS)]
        arrays: list[NDArray[Any]] = [first, *features]
        features = features[:1]
        for phase in (1, 2):
            features.append(self.trunk(phase, 0, grid, features[-1], planes))
        z = None
        if self.config.latents and grid.blocks[0]:
            prior, summary = self.prior(grid, features[0])
            posterior = self.posterior(grid, features[2], planes, summary, prior)
            z = posterior.mode()
            arrays += [summary, prior.mean, prior.scale, posterior.mean, posterior.scale]
        return arrays + features[1:] + [self.head(phase, grid, features[phase], z) for phase in range(3)]

    def _tensor(self, array: Bytes) -> Tensor:
        """(h, w, C) bytes as activations (1, C, h, w), channels last in memory: the same memory, where they are bytes as well."""
        return torch.from_numpy(array).to(self.device).permute(2, 0, 1)[None].to(self._activations)

    def _bytes(self, y: Tensor) -> Bytes:
        """Inverse: _tensor."""
        return y[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()

    def _spread(self, z: Bytes | None, tile: Tile) -> Bytes:
        """The latents of a tile, each repeated over its block: (rows, columns, Z)."""
        if z is None:
            return np.full((*tile.shape, self.config.latents), LATENT_CENTRE, np.uint8)
        return tile.load_blocks(z).repeat(BLOCK, 0).repeat(BLOCK, 1)

    def _pooled(self, layer: str, x: Bytes, tile: Tile) -> Tensor:
        y = self.layers[layer](self._tensor(x))
        _clear_outside(y, tile, 0)
        total = F.avg_pool2d(y.to(self._outputs), BLOCK) * float(BLOCK * BLOCK)
        return (total * 2.0**-POOL_SHIFT).round_().clamp_(0, 127).to(self._activations)

    def _empty_latent(self, grid: Grid) -> Latent:
        shape = (*grid.blocks, self.config.latents)
        return Latent(np.empty(shape, np.int64), np.empty(shape, np.int64))

    def _store_latent(self, y: Tensor, tile: Tile, latent: Latent, prior: Latent | None = None) -> None:
        """Turn the outputs of a latent head into integers; the posterior's are relative to its prior's."""
        values = y[0].permute(1, 2, 0)
        z = self.config.latents
        mean = (values[..., :z] * 64).round().clamp(-MEAN_LIMIT, MEAN_LIMIT).to(torch.int64).cpu().numpy()
        scale = values[..., z:].round().clamp(-SCALES, SCALES).to(torch.int64).cpu().numpy()
        mean += tile.load_blocks(prior.mean) if prior else LATENT_CENTRE * 64
        scale += tile.load_blocks(prior.scale) if prior else LOG_SCALE_OFFSET
        tile.store_blocks(mean, latent.mean)
        tile.store_blocks(np.clip(scale, 0, SCALES - 1), latent.scale)


def _clear_outside(y: Tensor, tile: Tile, margin: int) -> None:
    """Zero what lies outside the picture in a tile that reaches `margin` positions beyond its own on each side."""
    for dim, start, size in ((2, tile.row, tile.grid.height), (3, tile.column, tile.grid.width)):
        extent = y.shape[dim]
        before = max(0, margin - start)
        after = min(extent, size - start + margin)
        if before:
            y.narrow(dim, 0, before).zero_()
        if after < extent:
            y.narrow(dim, after, extent - after).zero_()


def _same_where_both_are(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays have the same numbers; buffers of the same grid may end with more zeros."""
    rows, columns = (min(sides) for sides in zip(a.shape[:2], b.shape[:2], strict=True))
    return np.array_equal(a[:rows, :columns], b[:rows, :columns])


def _probe(grid: Grid, channels: int, seed: int) -> Bytes:
    """A buffer of fixed pseudo-random activations, zero outside the picture."""
    buffer = grid.buffer(channels)
    inner = grid.inner(buffer)
    inner[...] = selfcheck.probe(inner.shape, ACTIVATION_MAX + 1, shift=15, seed=40503 * seed)
    return buffer
