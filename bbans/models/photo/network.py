"""The photo model as integers: the stages that a coder runs, tile by tile.

The phases of a level share one grid of positions. Arrays on it are uint8 buffers with a border of HALO zeros, so that a tile with
its halo is a plain slice, and what lies outside the picture is zero in every layer, as in training::

    +-----------------------------+      trunk tile: reads (T + 2 HALO)^2, writes T^2; each 3x3 layer loses a border of one
    |  halo (zeros)               |      head tile:  reads and writes T^2
    |   +--------+--------+       |
    |   | T x T  | T x T  |  ...  |      Because all arithmetic is exact, tiles and whole pictures give the same integers.
    |   +--------+--------+       |

`PhotoNetwork.digest` is stored with the weights, so a backend that rounds anywhere is found out before it codes a byte.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans._core.convolution import Scaling, scale
from bbans.exact import selfcheck
from bbans.exact.backends import Layer, layer_class
from bbans.exact.network import ACTIVATION_MAX, IntConv, round_shift
from bbans.models.grids import LATENT_CENTRE, LOG_SCALE_OFFSET, LOGIT_LIMIT, MEAN_LIMIT, SLOPE_LIMIT, Latent, pixel_shuffle
from bbans.models.photo.changes import changed
from bbans.models.photo.config import BLOCK, LEVELS_OF_BIAS, POOL_SHIFT, PhotoConfig
from bbans.models.photo.geometry import TILES, Bytes, Grid, Tile, tile_shape
from bbans.tables import SCALES, IntArray

Params = NDArray[np.int16]

_here = threading.local()
"""Of a thread: whether it belongs to a pool."""


class PhotoNetwork:
    """The integer photo model on one backend (see `bbans.exact.backends`) and device.

    Tiles are shared among `threads`.

    Raises: ModelError when the layers are not those of the configuration or there is no such backend; RuntimeError when this
    machine lacks the backend's arithmetic.
    """

    def __init__(self, config: PhotoConfig, layers: Mapping[str, IntConv], backend: str, threads: int = 1) -> None:
        config.check_layers(layers)
        self.config = config
        self._pool = ThreadPoolExecutor(threads, initializer=_join_pool) if threads > 1 else None
        self.backend, kind = backend, layer_class(backend)
        self._kind, self.layers = kind, {name: kind(layer) for name, layer in layers.items()}
        self.outs = [layers[f"out.{phase}"] for phase in range(3)]
        self.halo = 1 + 2 * config.blocks
        k = config.components
        factors = [1] * 3 * k + [64] * 3 * k + [1] * 3 * k + [4] * 3 * k
        offsets = [0] * 6 * k + [LOG_SCALE_OFFSET] * 3 * k + [0] * 3 * k
        lows = [-LOGIT_LIMIT] * 3 * k + [-MEAN_LIMIT] * 3 * k + [0] * 3 * k + [-SLOPE_LIMIT] * 3 * k
        highs = [LOGIT_LIMIT] * 3 * k + [MEAN_LIMIT] * 3 * k + [SCALES - 1] * 3 * k + [SLOPE_LIMIT] * 3 * k
        limits = [np.array(values, np.int32) for values in (factors, offsets, lows, highs)]
        exponents = [layers[f"out.{phase}"].exponent.astype(np.int32) for phase in range(3)]
        self._scalings = [Scaling(**dict(zip(Scaling.FIELDS, (exponent, *limits), strict=True))) for exponent in exponents]

    def grid(self, height: int, width: int) -> Grid:
        """The grid of a phase, cut into tiles."""
        return Grid(height, width, self.halo, tile_shape(height, width))

    def in_parallel(self, work: Callable[..., None], *arguments: Iterable[Any]) -> None:
        """`work` for each tuple of arguments, as map has it, shared among the threads. No result depends on their order.

        What is shared already goes on in its thread.
        """
        items = list(zip(*arguments, strict=True))
        if self._pool is None or len(items) == 1 or getattr(_here, "in_pool", False):
            for item in items:
                work(*item)
        else:
            list(self._pool.map(lambda item: work(*item), items))

    def first_input(self, grid: Grid, planes: Bytes, coarse: Bytes | None, coarse_grid: Grid | None) -> Bytes:
        """The input of x11's trunk, a buffer (.., 6 + carried): pixels of x00, and what is carried from the coarser level.

        Shapes: planes (height, width, 6); coarse the last trunk buffer of the coarser level.
        """
        buffer = grid.buffer(6 + self.config.carried)
        inner = grid.inner(buffer)
        inner[..., :6] = planes
        if coarse is not None and coarse_grid is not None:

            def work(tile: Tile) -> None:
                y = self.layers["carry"](tile.input(coarse)[None])
                tile.store_doubled(pixel_shuffle(y, 2)[0], inner[..., 6:])

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
            x = tile.input(features, self.halo)[None]
            if planes is None:
                y = self.layers["first"](x, variant=min(level, LEVELS_OF_BIAS - 1))
            else:
                y = self.layers[f"inject.{phase - 1}"](tile.input(planes, self.halo)[None], skip=x[:, 1:-1, 1:-1])
            margin = self.halo - 1
            _clear_outside(y, tile, margin)
            for block in range(self.config.blocks):
                hidden = self.layers[f"trunk.{phase}.{block}.a"](y)
                _clear_outside(hidden, tile, margin - 1)
                y = self.layers[f"trunk.{phase}.{block}.b"](hidden, skip=y[:, 2:-2, 2:-2])
                margin -= 2
                _clear_outside(y, tile, margin)
            tile.store(y[0], inner)

        self.in_parallel(work, grid.tiles())
        return out

    def head(
        self, phase: int, grid: Grid, features: Bytes, z: Bytes | None, out: Layer | None = None, rows: slice | None = None
    ) -> Params:
        """Integer parameters of the mixtures of a phase, of all rows or some: (rows, width, 12 K) int16.

        They are logits in 1/16 nat, means in 1/64 beyond the reference, scale indices, slopes in 1/64. Shapes: z (block rows, block
        columns, Z), or None for the centre. out: the last layer, where it is not the model's (see `tuned`).
        """
        last, wanted = self.layers[f"out.{phase}"] if out is None else out, grid.rows if rows is None else rows
        params = np.empty((wanted.stop - wanted.start, grid.width, self.config.outputs), np.int16)

        def work(tile: Tile) -> None:
            sums = last.sums(self._hidden(phase, tile, features, z))
            tile.store(scale(sums, self._scalings[phase])[0], params, wanted.start)

        self.in_parallel(work, grid.tiles(wanted))
        return params

    def hidden(self, phase: int, grid: Grid, features: Bytes, z: Bytes | None) -> Bytes:
        """What the last layer of a head takes: (height, width, head)."""
        inputs = np.empty((grid.height, grid.width, self.config.head), np.uint8)
        self.in_parallel(lambda tile: tile.store(self._hidden(phase, tile, features, z)[0], inputs), grid.tiles())
        return inputs

    def tuned(self, phase: int, changes: IntArray) -> Layer:
        """The last layer of a head with changes. Raises: CorruptDataError: no layer may have such weights."""
        return self._kind(changed(self.outs[phase], changes))

    def _hidden(self, phase: int, tile: Tile, features: Bytes, z: Bytes | None) -> Bytes:
        x = tile.input(features)
        if self.config.latents:
            x = np.concatenate([self._spread(z, tile), x], axis=2)
        return self.layers[f"hidden.{phase}"](x[None])

    def prior(self, grid: Grid, features: Bytes) -> tuple[Latent, Bytes]:
        """p(z | x00), and the summary that the posterior starts from. `features`: the trunk's outputs for x11."""
        latent = self._empty_latent(grid)
        summary = np.empty((*grid.blocks, self.config.latent_width), np.uint8)

        def work(tile: Tile) -> None:
            hidden = self.layers["prior_hidden"](self._pooled("prior_in", tile.input(features), tile))
            tile.store_blocks(hidden[0], summary)
            self._store_latent("prior_out", hidden, tile, latent)

        self.in_parallel(work, grid.tiles())
        return latent, summary

    def posterior(self, grid: Grid, features: Bytes, residuals: Bytes, summary: Bytes, prior: Latent) -> Latent:
        """q(z | x00, x11, x01). `features`: the trunk's outputs for x10; `residuals`: a buffer (.., 6) of |pixel - reference|."""
        latent = self._empty_latent(grid)

        def work(tile: Tile) -> None:
            x = np.concatenate([tile.input(features), tile.input(residuals)], axis=2)
            pooled = self._pooled("posterior_in", x, tile)
            hidden = self.layers["posterior_hidden"](np.concatenate([tile.load_blocks(summary)[None], pooled], axis=3))
            self._store_latent("posterior_out", hidden, tile, latent, prior)

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

    def _spread(self, z: Bytes | None, tile: Tile) -> Bytes:
        """The latents of a tile, each repeated over its block: (rows, columns, Z)."""
        if z is None:
            return np.full((*tile.shape, self.config.latents), LATENT_CENTRE, np.uint8)
        return tile.load_blocks(z).repeat(BLOCK, 0).repeat(BLOCK, 1)

    def _pooled(self, layer: str, x: Bytes, tile: Tile) -> Bytes:
        """A layer's activations, summed over blocks: (1, block rows, block columns, C)."""
        y = self.layers[layer](x[None])
        _clear_outside(y, tile, 0)
        _, height, width, channels = y.shape
        sums = y.reshape(1, height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels).sum((2, 4), np.int64)
        pooled: Bytes = np.clip(round_shift(sums, np.int64(POOL_SHIFT)), 0, ACTIVATION_MAX).astype(np.uint8)
        return pooled

    def _empty_latent(self, grid: Grid) -> Latent:
        shape = (*grid.blocks, self.config.latents)
        return Latent(np.empty(shape, np.int64), np.empty(shape, np.int64))

    def _store_latent(self, head: str, hidden: Bytes, tile: Tile, latent: Latent, prior: Latent | None = None) -> None:
        """Turn the outputs of a latent head into integers; the posterior's are relative to its prior's."""
        z = self.config.latents
        values = self.layers[head].head(hidden, np.array([64] * z + [1] * z))[0]
        mean, scale = np.clip(values[..., :z], -MEAN_LIMIT, MEAN_LIMIT), np.clip(values[..., z:], -SCALES, SCALES)
        mean += tile.load_blocks(prior.mean) if prior else LATENT_CENTRE * 64
        scale += tile.load_blocks(prior.scale) if prior else LOG_SCALE_OFFSET
        tile.store_blocks(mean, latent.mean)
        tile.store_blocks(np.clip(scale, 0, SCALES - 1), latent.scale)


def _join_pool() -> None:
    _here.in_pool = True


def _clear_outside(y: Bytes, tile: Tile, margin: int) -> None:
    """Zero what lies outside the picture in a tile that reaches `margin` positions beyond its own on each side."""
    top, left = max(0, margin - tile.row), max(0, margin - tile.column)
    y[:, :top] = 0
    y[:, max(0, tile.grid.height - tile.row + margin) :] = 0
    y[:, :, :left] = 0
    y[:, :, max(0, tile.grid.width - tile.column + margin) :] = 0


def _probe(grid: Grid, channels: int, seed: int) -> Bytes:
    """A buffer of fixed pseudo-random activations, zero outside the picture."""
    buffer = grid.buffer(channels)
    inner = grid.inner(buffer)
    inner[...] = selfcheck.probe(inner.shape, ACTIVATION_MAX + 1, shift=15, seed=40503 * seed)
    return buffer
