"""The photo model as integers: the stages that a coder runs, tile by tile.

A level's phases live on one grid of positions. Arrays over it are uint8 buffers with a border of HALO zeros, so that a tile
with its halo is a plain slice, and what lies outside the picture is zero in every layer, as in training::

    +-----------------------------+      trunk tile: reads (T + 2 HALO)^2, writes T^2; each 3x3 layer eats a ring of one
    |  halo (zeros)               |      head tile:  reads and writes T^2
    |   +--------+--------+       |
    |   | T x T  | T x T  |  ...  |      Because all arithmetic is exact, tiles and whole pictures give the same integers.
    |   +--------+--------+       |

Tiles come in the few sizes TILES, and :meth:`PhotoNetwork.digest` runs these very shapes: its value is stored with the weights,
so a backend that rounds anywhere is found out before it codes a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
from bbans.models.photo.geometry import TILES, Bytes, Grid
from bbans.tables import SCALES

Params = NDArray[np.int16]


class PhotoNetwork:
    """The integer photo model on one backend (see bbans.exact.backends) and device.

    Tiles are shared out among ``threads``. Torch itself is to run on one (see photo_codec.py): where its own threads divide a
    tile, they wait for each other after every layer, which on a busy machine costs far more than the arithmetic.

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
        self.backend, made = backend, layer_class(backend)
        self.layers = {name: made(layer, self.device) for name, layer in layers.items()}
        self._activations, self._outputs = made.activations, made.outputs
        self.halo = 1 + 2 * config.blocks
        k = config.components
        factors = [1] * 3 * k + [64] * 3 * k + [1] * 3 * k + [4] * 3 * k
        offsets = [0] * 6 * k + [LOG_SCALE_OFFSET] * 3 * k + [0] * 3 * k
        lows = [-LOGIT_LIMIT] * 3 * k + [-MEAN_LIMIT] * 3 * k + [0] * 3 * k + [-SLOPE_LIMIT] * 3 * k
        highs = [LOGIT_LIMIT] * 3 * k + [MEAN_LIMIT] * 3 * k + [SCALES - 1] * 3 * k + [SLOPE_LIMIT] * 3 * k
        self._factors, self._offsets, self._lows, self._highs = (
            torch.tensor(v, dtype=self._outputs, device=self.device) for v in (factors, offsets, lows, highs)
        )

    def grid(self, height: int, width: int) -> Grid:
        return Grid(height, width, self.halo)

    def each(self, work: Callable[..., None], *arguments: Iterable[Any]) -> None:
        """``work`` for each tuple of arguments, as map has it, side by side on the threads. No result depends on their order."""

        def alone(*values: Any) -> None:
            with own_thread():
                work(*values)

        items = list(zip(*arguments, strict=True))
        if self._pool is None or len(items) == 1:
            for item in items:
                alone(*item)
        else:
            list(self._pool.map(lambda item: alone(*item), items))

    def _each_tile(self, grid: Grid, work: Callable[[int, int], None]) -> None:
        self.each(work, *zip(*grid.tiles(), strict=True))

    def first_input(self, grid: Grid, planes: Bytes, coarse: Bytes | None, coarse_grid: Grid | None) -> Bytes:
        """The buffer (.., 6 + carried) of phase x11's trunk: pixels of x00, and what the coarser level hands up.

        Shapes: planes (height, width, 6); coarse the last trunk buffer of the coarser level.
        """
        buffer = grid.buffer(6 + self.config.carried)
        inner = grid.inner(buffer)
        inner[..., :6] = planes
        if coarse is not None and coarse_grid is not None:

            def work(row: int, column: int) -> None:
                y = self.layers["carry"](self._gather(coarse, coarse_grid, row, column, 0))
                tile = self._bytes(F.pixel_shuffle(y, 2))
                target = inner[2 * row : 2 * row + tile.shape[0], 2 * column : 2 * column + tile.shape[1], 6:]
                target[...] = tile[: target.shape[0], : target.shape[1]]

            self._each_tile(coarse_grid, work)
        return buffer

    def trunk(self, phase: int, level: int, grid: Grid, features: Bytes, planes: Bytes | None = None) -> Bytes:
        """The trunk buffer (.., width) of a phase from that of the phase before and the pixels just coded.

        ``features`` is first_input's for phase 0 (then ``planes`` is None). Shapes: planes a buffer (.., 6).
        """
        out = grid.buffer(self.config.width)
        inner = grid.inner(out)

        def work(row: int, column: int) -> None:
            x = self._gather(features, grid, row, column, self.halo)
            if planes is None:
                y = self.layers["first"](x, variant=min(level, LEVELS_OF_BIAS - 1))
            else:
                pixels = self._gather(planes, grid, row, column, self.halo)
                y = self.layers[f"inject.{phase - 1}"](pixels, skip=x[..., 1:-1, 1:-1])
            margin = self.halo - 1
            _clear_outside(y, grid, row, column, margin)
            for block in range(self.config.blocks):
                inside = self.layers[f"trunk.{phase}.{block}.a"](y)
                _clear_outside(inside, grid, row, column, margin - 1)
                y = self.layers[f"trunk.{phase}.{block}.b"](inside, skip=y[..., 2:-2, 2:-2])
                margin -= 2
                _clear_outside(y, grid, row, column, margin)
            target = inner[row : row + grid.tile, column : column + grid.tile]
            target[...] = self._bytes(y)[: target.shape[0], : target.shape[1]]

        self._each_tile(grid, work)
        return out

    def head(self, phase: int, grid: Grid, features: Bytes, z: Bytes | None) -> Params:
        """Integer parameters of the mixtures of a phase. Shapes: z (block rows, block columns, Z) or None for the centre;
        returns (height, width, 12 K) int16: logits in 1/16 nat, means in 1/64 beyond the reference, scale indices, slopes in 1/64.
        """
        out = np.empty((grid.height, grid.width, self.config.outputs), np.int16)

        def work(row: int, column: int) -> None:
            x = _cut(features, grid, row, column, 0)
            if self.config.latents:
                x = np.concatenate([self._spread(z, grid, row, column), x], axis=2)
            y = self.layers[f"out.{phase}"](self.layers[f"hidden.{phase}"](self._tensor(x)))[0].permute(1, 2, 0)
            y = (y * self._factors).round_().add_(self._offsets).clamp_(self._lows, self._highs)
            target = out[row : row + grid.tile, column : column + grid.tile]
            target[...] = y.to(torch.int16).cpu().numpy()[: target.shape[0], : target.shape[1]]

        self._each_tile(grid, work)
        return out

    def prior(self, grid: Grid, features: Bytes) -> tuple[Latent, Bytes]:
        """p(z | x00), and the summary that the posterior starts from. ``features``: the trunk of phase x11."""
        rows, columns = grid.blocks
        latent = self._empty_latent(rows, columns)
        summary = np.empty((rows, columns, self.config.latent_width), np.uint8)

        def work(row: int, column: int) -> None:
            pooled = self._pooled("prior_in", self._gather(features, grid, row, column, 0), grid, row, column)
            hidden = self.layers["prior_hidden"](pooled)
            here = self._blocks_of(summary, grid, row, column)
            here[...] = self._bytes(hidden)[: here.shape[0], : here.shape[1]]
            self._store(latent, self.layers["prior_out"](hidden), None, grid, row, column)

        self._each_tile(grid, work)
        return latent, summary

    def posterior(self, grid: Grid, features: Bytes, rests: Bytes, summary: Bytes, prior: Latent) -> Latent:
        """q(z | x00, x11, x01). ``features``: the trunk of phase x10; ``rests``: buffer (.., 6) of |pixel - reference|."""
        latent = self._empty_latent(*grid.blocks)
        per_tile = grid.tile // BLOCK

        def work(row: int, column: int) -> None:
            x = np.concatenate([_cut(buffer, grid, row, column, 0) for buffer in (features, rests)], axis=2)
            asked = self._pooled("posterior_in", self._tensor(x), grid, row, column)
            seen = np.zeros((per_tile, per_tile, self.config.latent_width), np.uint8)
            here = self._blocks_of(summary, grid, row, column)
            seen[: here.shape[0], : here.shape[1]] = here
            hidden = self.layers["posterior_hidden"](torch.cat([self._tensor(seen), asked], 1))
            self._store(latent, self.layers["posterior_out"](hidden), prior, grid, row, column)

        self._each_tile(grid, work)
        return latent

    def digest(self) -> str:
        """SHA-256 over what every stage gives for fixed inputs, on every tile shape. The same wherever arithmetic is exact."""
        # with a row of the tile outside the picture, and without
        grids = [self.grid(height, tile) for tile in TILES for height in (tile - 1, tile)]
        given: list[list[NDArray[Any]]] = [[] for _ in grids]

        def work(index: int, grid: Grid) -> None:
            given[index] = self._run_stages(grid)

        self.each(work, range(len(grids)), grids)
        return selfcheck.digest(chain.from_iterable(given))

    def _run_stages(self, grid: Grid) -> list[NDArray[Any]]:
        """What every stage gives for fixed inputs on a grid of one tile, with every bias of the first layer."""
        coarse_grid = self.grid(grid.tile, grid.tile)  # larger than it need be, so that its tile is as large as this grid's
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
        """The inverse of ``_tensor``."""
        return y[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()

    def _gather(self, buffer: Bytes, grid: Grid, row: int, column: int, margin: int) -> Tensor:
        return self._tensor(_cut(buffer, grid, row, column, margin))

    def _spread(self, z: Bytes | None, grid: Grid, row: int, column: int) -> Bytes:
        """The latents of a tile, each repeated over its block: (T, T, Z)."""
        per_tile = max(1, grid.tile // BLOCK)
        blocks = np.full((per_tile, per_tile, self.config.latents), LATENT_CENTRE, np.uint8)
        if z is not None:
            here = self._blocks_of(z, grid, row, column)
            blocks[: here.shape[0], : here.shape[1]] = here
        return blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[: grid.tile, : grid.tile]

    def _blocks_of(self, array: Bytes, grid: Grid, row: int, column: int) -> Bytes:
        per_tile = grid.tile // BLOCK
        top, left = row // BLOCK, column // BLOCK
        return array[top : top + per_tile, left : left + per_tile]

    def _pooled(self, layer: str, x: Tensor, grid: Grid, row: int, column: int) -> Tensor:
        y = self.layers[layer](x)
        _clear_outside(y, grid, row, column, 0)
        total = F.avg_pool2d(y.to(self._outputs), BLOCK) * float(BLOCK * BLOCK)
        return (total * 2.0**-POOL_SHIFT).round_().clamp_(0, 127).to(self._activations)

    def _empty_latent(self, rows: int, columns: int) -> Latent:
        shape = (rows, columns, self.config.latents)
        return Latent(np.empty(shape, np.int64), np.empty(shape, np.int64))

    def _store(self, latent: Latent, y: Tensor, base: Latent | None, grid: Grid, row: int, column: int) -> None:
        """Turn the outputs of a latent head into integers; the posterior's are relative to its prior's (``base``)."""
        values = y[0].permute(1, 2, 0)
        z = self.config.latents
        mean = (values[..., :z] * 64).round().clamp(-MEAN_LIMIT, MEAN_LIMIT).to(torch.int64).cpu().numpy()
        scale = values[..., z:].round().clamp(-SCALES, SCALES).to(torch.int64).cpu().numpy()
        per_tile = grid.tile // BLOCK
        here = (slice(row // BLOCK, row // BLOCK + per_tile), slice(column // BLOCK, column // BLOCK + per_tile))
        target = latent.mean[here]
        inside = (slice(target.shape[0]), slice(target.shape[1]))
        base_mean = base.mean[here] if base else LATENT_CENTRE * 64
        base_scale = base.scale[here] if base else LOG_SCALE_OFFSET
        latent.mean[here] = base_mean + mean[inside]
        latent.scale[here] = np.clip(base_scale + scale[inside], 0, SCALES - 1)


def _cut(buffer: Bytes, grid: Grid, row: int, column: int, margin: int) -> Bytes:
    """The part of a buffer that a tile covers together with ``margin`` positions on each side. A view."""
    top, left = (at + grid.halo - margin for at in (row, column))
    side = grid.tile + 2 * margin
    return buffer[top : top + side, left : left + side]


def _clear_outside(y: Tensor, grid: Grid, row: int, column: int, margin: int) -> None:
    """Zero what lies outside the picture in a tile that reaches ``margin`` positions beyond its own on each side."""
    for dim, at, size in ((2, row, grid.height), (3, column, grid.width)):
        extent = y.shape[dim]
        before = max(0, margin - at)
        after = min(extent, size - at + margin)
        if before:
            y.narrow(dim, 0, before).zero_()
        if after < extent:
            y.narrow(dim, after, extent - after).zero_()


def _probe(grid: Grid, channels: int, seed: int) -> Bytes:
    """A buffer of fixed pseudo-random activations, zero outside the picture."""
    buffer = grid.buffer(channels)
    inner = grid.inner(buffer)
    inner[...] = selfcheck.probe(inner.shape, ACTIVATION_MAX + 1, shift=15, seed=40503 * seed)
    return buffer
