"""The figures that look into trained models, as PNG. Needs matplotlib (of the extra `bench`).

Randomness has a seed of its own in each of them, so the same models give the same picture.

Source: R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", 2020: Figures 1 and 2, Section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .channel import POINTS as CHANNEL_POINTS
from .channel import channel
from .data import CHECKERBOARD, GAUSSIANS, PLANE, SPIRALS, Data, Floats, midpoints
from .figures import COLOURS, panels
from .measuring import bits, seeded
from .model import LatentModel, draw, log_prob

Models = Mapping[str, Mapping[str, LatentModel]]  # by entry, by data set

DENSITY_PARTICLES, DENSITY_CELLS = 50, 192
LATENT_LIMIT, LATENT_CELLS = 2.0, 256  # the square of latents that is shown, and counted for its dark share
POINT_LIMIT, POINT_CELLS = 0.625, 640  # cells of 1/512, so that no cell of the checkerboard is cut
DARK = 0.01  # of the largest density
SAMPLES = 2000


def density(models: Models, path: Path, entries: tuple[str, ...] = ("typical", "iwae")) -> None:
    """Figure 1: the true density beside those of models, by importance sampling. A row is a data set and has one colour scale."""
    middles = midpoints(0.5, DENSITY_CELLS)
    x = torch.from_numpy(_square(0.5, DENSITY_CELLS)).float()
    with panels(len(models[entries[0]]), 1 + len(entries), path) as rows:
        for row, dataset in zip(rows, models[entries[0]], strict=True):
            data = PLANE[dataset]
            truth = data.density(middles, middles)
            pictures = {"truth": truth}
            for model in (models[name][dataset] for name in entries):
                with seeded(), torch.no_grad():
                    log2_density = -bits(model, x, DENSITY_PARTICLES)
                pictures[model.title] = log2_density.exp2().numpy().reshape(truth.shape)
            for axes, (title, values) in zip(row, pictures.items(), strict=True):
                _image(axes, values, 0.5, title, cmap="magma", vmin=0, vmax=truth.max())
            row[0].set_ylabel(data.title)


def latent_space(models: Models, path: Path, entries: tuple[str, ...] = ("typical", "iwae")) -> None:
    """Figure 2: a latent has the colour of the point that it is decoded to, the mean of p(x|z).

    A point's hue is where it is, its brightness the true density there. So a dark latent is one that p(z) pays for and the data
    does not need; a model's title says how much of p(z) is dark, as `dark_share`.
    """
    points, z = _square(POINT_LIMIT, POINT_CELLS), _square(LATENT_LIMIT, LATENT_CELLS)
    with panels(len(models[entries[0]]), 1 + len(entries), path) as rows:
        for row, dataset in zip(rows, models[entries[0]], strict=True):
            data = PLANE[dataset]
            _image(row[0], colours(data, points).reshape(POINT_CELLS, POINT_CELLS, 3), POINT_LIMIT, "data space")
            row[0].set_ylabel(data.title)
            for axes, model in zip(row[1:], (models[name][dataset] for name in entries), strict=True):
                decoded = colours(data, means(model, z)).reshape(LATENT_CELLS, LATENT_CELLS, 3)
                _image(axes, decoded, LATENT_LIMIT, f"{model.title}: {dark_share(model, data):.1%} dark".replace("%", " %"))


def blur(models: Models, path: Path, entries: tuple[str, ...] = ("typical", "beta")) -> None:
    """Points of the data; what a decoder says of draws from p(z), the mean of p(x|z); and draws from p(x|z) around it."""
    datasets = list(models[entries[0]])
    with panels(len(datasets), 1 + 2 * len(entries), path) as rows:
        for row, dataset in zip(rows, datasets, strict=True):
            clouds = {"data": PLANE[dataset].sample(np.random.default_rng(0), SAMPLES)}
            for name in entries:
                model = models[name][dataset]
                with seeded(), torch.no_grad():
                    z = draw(model.prior(), torch.Size([SAMPLES]), model.latents)
                    x = draw(model.likelihood(z), torch.Size([SAMPLES]))
                clouds[f"{model.title}: decoded"] = means(model, z.numpy())
                clouds[f"{model.title}: drawn"] = x.numpy()
            row[0].set_ylabel(PLANE[dataset].title)
            for axes, (title, cloud) in zip(row, clouds.items(), strict=True):
                axes.plot(*cloud.T, ".", color="black", markersize=1, alpha=0.5)
                axes.set(xlim=(-POINT_LIMIT, POINT_LIMIT), ylim=(-POINT_LIMIT, POINT_LIMIT), xticks=[], yticks=[])
                axes.set_title(title, fontsize=9)


def noisy_channel(models: Models, path: Path, entries: tuple[str, ...] = ("typical", "beta")) -> None:
    """Section 4.3: latents as a noisy channel from encoder to decoder. A dot is a point x; a cross is the mean over points.

    Across: L_reg = KL(q(z|x) || p(z)), what the latents of x cost beyond the bits that q gives back.
    Up: d R, the sum over the d latents of R = log2(1/sigma(x)), sigma the posterior's standard deviation. A channel whose output
    has the variance 1 of the prior, sigma^2 of it noise, carries 1/2 log2(1 + (1 - sigma^2) / sigma^2) = R bits a use.

    For normals, with m(x) the posterior's mean, KL = R + (sigma^2 + m^2 - 1) / (2 ln 2) in each latent. When all q(z|x) together
    match p(z), sigma^2 + m^2 is 1 in the mean: the crosses are on the diagonal. A dot below it is of a point with latents further
    out than most, which have longer codes. The legend has the mean distortion -log2 p(x|z) too: with L_reg it makes the negative
    ELBO.

    Models have a standard normal prior, and normals for posterior: of z_1, and of z_2 given z_1.
    """
    datasets = list(models[entries[0]])
    with panels(1, len(datasets), path, (4.2, 4.2)) as [row]:
        for axes, data in zip(row, (PLANE[dataset] for dataset in datasets), strict=True):
            x = torch.from_numpy(data.sample(np.random.default_rng(0), CHANNEL_POINTS)).float()
            end = 0.0
            for colour, model in zip(COLOURS, (models[name][data.name] for name in entries), strict=False):
                cost, capacity, distortion = channel(model, x)
                end = max(end, float(cost.max()), float(capacity.max()))
                axes.plot(cost, capacity, ".", color=colour, markersize=2, alpha=0.4)
                cross = [float(values.mean()) for values in (cost, capacity, distortion)]
                label = "{}: $L_{{reg}}$ {:.2f}, $dR$ {:.2f}, distortion {:.2f}".format(model.title, *cross)
                axes.plot(*cross[:2], "X", color=colour, markeredgecolor="black", markersize=9, zorder=3, label=label)
            axes.plot([0, end], [0, end], color="black", linewidth=0.5)
            axes.set(xlabel="$L_{reg}$, bits", ylabel="$dR$, bits", title=data.title)
            axes.legend(fontsize=6)


# What the figures show, as numbers


def dark_share(model: LatentModel, data: Data) -> float:
    """The share of dark latents: how much of p(z), over [-2, 2]^2, is decoded to means where the true density is below DARK of its
    maximum. In [0, 1]. p(x|z) is of independent normals.
    """
    z = _square(LATENT_LIMIT, LATENT_CELLS)
    dark = brightness(data, means(model, z)) < DARK
    with torch.no_grad():
        weight = log_prob(model.prior(), torch.from_numpy(z).float()).double().exp().numpy()
    return float((weight * dark).sum() / weight.sum())


@torch.no_grad()
def means(model: LatentModel, z: Floats) -> Floats:
    """Of p(x|z), which is of independent normals, for latents (N, 2): (N, 2)."""
    latents = torch.from_numpy(z).float()
    likelihood = model.likelihood(latents)
    # Independent numbers ask only how many came before, so anything may stand for those.
    return torch.stack([likelihood(latents[:, :d]).mean for d in range(2)], -1).double().numpy()


# Colours of points


def colours(data: Data, points: Floats) -> Floats:
    """Red, green and blue in [0, 1] of points (N, 2): (N, 3). Hue by place, brightness by the true density."""
    from matplotlib.colors import hsv_to_rgb

    rgb: Floats = hsv_to_rgb(np.stack([hue(data, points), np.ones(len(points)), brightness(data, points)], -1))
    return rgb


def hue(data: Data, points: Floats) -> Floats:
    """In [0, 1): of points (N, 2), which part of the data they are nearest to; of other data, the angle. (N,)"""
    x, y = points.T
    angle: Floats = np.arctan2(y, x)
    turns: Floats = angle / (2 * math.pi) % 1.0
    if data.name == GAUSSIANS.name:  # which of the 8
        turns = np.round(8 * turns) % 8 / 8
    elif data.name == CHECKERBOARD.name:  # which of the 8 cells: 4 columns of 2
        column, row = np.clip(np.floor(4 * (points.T + 0.5)), 0, 3)
        turns = (2 * column + row // 2) / 8
    elif data.name == SPIRALS.name:
        # Arms cross the ray of this angle at radius n/24, n = (k + 1) pi - angle: the first arm for even k, the second for odd.
        k = np.round((24 * np.hypot(x, y) + angle) / math.pi - 1)
        n = np.clip((k + 1) * math.pi - angle, 0, 3 * math.pi)
        share = (n / (3 * math.pi)) ** 2  # of the arm's points that are further in
        turns = 0.5 * (k % 2) + 0.4 * share  # a gap between the end of an arm and the start of the other
    return turns


def brightness(data: Data, points: Floats) -> Floats:
    """The true density at points (..., 2) as a share of its maximum, from the middles of a fine grid's cells. (...)"""
    cells = np.floor((points + POINT_LIMIT) * (POINT_CELLS / (2 * POINT_LIMIT))).astype(np.int64)
    inside = ((cells >= 0) & (cells < POINT_CELLS)).all(-1)
    row, column = np.moveaxis(cells.clip(0, POINT_CELLS - 1), -1, 0)
    return np.where(inside, _relative_density(data)[row, column], 0.0)


@cache
def _relative_density(data: Data) -> Floats:
    middles = midpoints(POINT_LIMIT, POINT_CELLS)
    values = data.density(middles, middles)
    relative: Floats = values / values.max()
    return relative


def _square(limit: float, cells: int) -> Floats:
    """The middles of cells of [-limit, limit]^2, the second number changing first. (cells**2, 2)"""
    middles = midpoints(limit, cells)
    return np.stack(np.meshgrid(middles, middles, indexing="ij"), -1).reshape(-1, 2)


def _image(axes: Any, values: Floats, limit: float, title: str, **how: Any) -> None:
    """Values (n, n) or colours (n, n, 3) of a grid over [-limit, limit]^2, the first number to the right."""
    axes.imshow(values.swapaxes(0, 1), origin="lower", extent=(-limit, limit, -limit, limit), **how)
    axes.set_xticks([-limit, 0, limit])
    axes.set_yticks([-limit, 0, limit])
    axes.tick_params(labelsize=6)
    axes.set_title(title, fontsize=9)
