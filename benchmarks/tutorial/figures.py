"""The page's figures, as PNG: the first six functions are a figure each. Needs matplotlib (of the extra ``bench``).

`density`, `latent_space` and `noisy_channel` look into trained models; `accuracy`, `two_optima` and `particles` draw what was
coded. Randomness has a seed of its own in each of them, so the same models give the same picture.

Source: R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", 2020: Figures 1 and 2, Sections 4.2, 4.3 and 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ..plots import DPI, pyplot
from . import mixture
from .data import CHECKERBOARD, GAUSSIANS, PLANE, SPIRALS, Data, Floats, midpoints
from .measuring import bits, seeded
from .model import BITS, LatentModel, draw, log_prob

Entries = Sequence[tuple[Data, Sequence[LatentModel]]]  # data sets, each with models that were trained on it
Rows = Sequence[Mapping[str, Any]]  # of tutorial.json

SIDE = 2.7  # of a panel, in inches
DENSITY_PARTICLES, DENSITY_CELLS = 50, 192
LATENT_LIMIT, LATENT_CELLS = 2.0, 256  # the square of latents that is shown, and counted for its dark share
POINT_LIMIT, POINT_CELLS = 0.625, 640  # cells of 1/512, so that no cell of the checkerboard is cut
DARK = 0.01  # of the largest density
CHANNEL_POINTS = 1000
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")


def density(entries: Entries, path: Path) -> None:
    """Figure 1: the true density beside those of models, by importance sampling. A row is a data set and has one colour scale."""
    middles = midpoints(0.5, DENSITY_CELLS)
    x = torch.from_numpy(_square(0.5, DENSITY_CELLS)).float()
    with _panels(len(entries), 1 + max(len(models) for _, models in entries), path) as panels:
        for row, (data, models) in zip(panels, entries, strict=True):
            truth = data.density(middles, middles)
            pictures = {"truth": truth}
            for model in models:
                with seeded(), torch.no_grad():
                    log2_density = -bits(model, x, DENSITY_PARTICLES)
                pictures[model.title] = log2_density.exp2().numpy().reshape(truth.shape)
            for axes, (title, values) in zip(row, pictures.items(), strict=False):
                _image(axes, values, 0.5, title, cmap="magma", vmin=0, vmax=truth.max())
            row[0].set_ylabel(data.title)


def latent_space(entries: Entries, path: Path) -> None:
    """Figure 2: a latent has the colour of the point that it is decoded to, the mean of p(x|z).

    A point's hue is where it is, its brightness the true density there. So a dark latent is one that p(z) pays for and the data
    does not need; a model's title says how much of p(z) is dark, as `dark_share`.
    """
    points, z = _square(POINT_LIMIT, POINT_CELLS), _square(LATENT_LIMIT, LATENT_CELLS)
    with _panels(len(entries), 1 + max(len(models) for _, models in entries), path) as panels:
        for row, (data, models) in zip(panels, entries, strict=True):
            _image(row[0], colours(data, points).reshape(POINT_CELLS, POINT_CELLS, 3), POINT_LIMIT, "data space")
            row[0].set_ylabel(data.title)
            for axes, model in zip(row[1:], models, strict=False):
                decoded = colours(data, means(model, z)).reshape(LATENT_CELLS, LATENT_CELLS, 3)
                _image(axes, decoded, LATENT_LIMIT, f"{model.title}: {dark_share(model, data):.1%} dark".replace("%", " %"))


def noisy_channel(entries: Entries, path: Path) -> None:
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
    with _panels(1, len(entries), path, side=4.2) as [row]:
        for axes, (data, models) in zip(row, entries, strict=True):
            x = torch.from_numpy(data.sample(np.random.default_rng(0), CHANNEL_POINTS)).float()
            end = 0.0
            for colour, model in zip(COLOURS, models, strict=False):
                cost, capacity, distortion = channel(model, x)
                end = max(end, float(cost.max()), float(capacity.max()))
                axes.plot(cost, capacity, ".", color=colour, markersize=2, alpha=0.4)
                cross = [float(values.mean()) for values in (cost, capacity, distortion)]
                label = "{}: $L_{{reg}}$ {:.2f}, $dR$ {:.2f}, distortion {:.2f}".format(model.title, *cross)
                axes.plot(*cross[:2], "X", color=colour, markeredgecolor="black", markersize=9, zorder=3, label=label)
            axes.plot([0, end], [0, end], color="black", linewidth=0.5)
            axes.set(xlabel="$L_{reg}$, bits", ylabel="$dR$, bits", title=data.title)
            axes.legend(fontsize=6)


def accuracy(rows: Rows, path: Path) -> None:
    """Section 4.2: code length less 2 n bits against the grid's accuracy n, of 2**n cells in a unit. Flat where cells are small
    enough for a density not to change within one; there it is what the density says, the negative ELBO (dashed).

    Rows: dataset, n, code_length_bits (2 n less already, as everywhere), neg_elbo_bits.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for colour, (name, of_data) in zip(COLOURS, by_dataset(rows).items(), strict=False):
        ordered = sorted(of_data, key=lambda row: int(row["n"]))
        n = [row["n"] for row in ordered]
        axes.plot(n, [row["code_length_bits"] for row in ordered], ".-", color=colour, label=title_of(name))
        axes.plot(n, [row["neg_elbo_bits"] for row in ordered], "--", color=colour, linewidth=0.8)
    axes.plot([], [], "--", color="black", linewidth=0.8, label="-ELBO of the density")
    axes.set(xlabel="grid accuracy n, bits in each direction", ylabel="code length less 2 n, bits per point")
    axes.legend(fontsize=8)
    _save(figure, path)


def two_optima(rows: Rows, path: Path) -> None:
    """Section 5.2: one Gaussian and its two optima. Code lengths, which are equal; the KL term, which grows by a bit when epsilon
    halves; and the initial bits, which on one grid of latents fall by as much, and on grids that go with epsilon stay.

    Rows: epsilon (None where the latent is ignored), code_length_bits, entropy_bits, kl_bits, initial_bits, own_grid_initial_bits.
    """
    near = sorted((row for row in rows if row["epsilon"] is not None), key=lambda row: float(row["epsilon"]))
    epsilons = [row["epsilon"] for row in near]
    ignored = [row for row in rows if row["epsilon"] is None]
    with _panels(1, 3, path, side=3.4) as [[lengths, kl, initial]]:
        columns = (
            (lengths, "code_length_bits", "code length, bits"),
            (kl, "kl_bits", "KL(q || p), bits"),
            (initial, "initial_bits", "initial bits"),
        )
        for axes, key, label in columns:
            axes.plot(epsilons, [row[key] for row in near], "o-", label="near-deterministic")
            for row in ignored:
                axes.axhline(row[key], color="tab:orange", linestyle="--", label="latent ignored")
            axes.set(xlabel="$\\epsilon$, smaller to the right", ylabel=label)
            _log_axis(axes, epsilons)
            axes.invert_xaxis()
        entropy = rows[0]["entropy_bits"]
        lengths.axhline(entropy, color="black", linewidth=0.8, linestyle=":", label="entropy")
        reach = max(0.1, *(1.5 * abs(row["code_length_bits"] - entropy) for row in rows))
        lengths.set_ylim(entropy - reach, entropy + reach)  # a scale on which equal looks equal
        own = [row["own_grid_initial_bits"] for row in near]
        initial.plot(epsilons, own, "o-", color="tab:green", label="near-deterministic, each on its own grid")
        initial.set_ylim(bottom=0)
        initial.legend(fontsize=7)
        lengths.legend(fontsize=8)


def particles(rows: Rows, path: Path) -> None:
    """Monte Carlo bits-back with an IWAE: code length, net of initial bits, against the number K of particles.

    Bounds are those of K particles as coded, for K = 1 the negative ELBO. The line is the NLL. Bars are standard errors of the code
    length, by the draw of latents and of points; these are the same ones for all K.

    Rows: all of a model's, with dataset, particles and the rest as `measuring.Row`.
    """
    found = by_dataset(rows)
    with _panels(1, len(found), path, side=3.4) as [row_of_axes]:
        for axes, (name, of_data) in zip(row_of_axes, found.items(), strict=True):
            ordered = sorted(of_data, key=lambda row: int(row["particles"]))
            lengths, errors = ([row[key] for row in ordered] for key in ("code_length_bits", "code_length_error"))
            counts = [row["particles"] for row in ordered]
            axes.errorbar(counts, lengths, errors, fmt="o-", capsize=3, label="code length")
            bounds = [row["coded_bound_bits"] for row in ordered]
            axes.plot(counts, bounds, "x", color="tab:red", markersize=8, zorder=3, label="bound, as coded")
            axes.axhline(np.mean([row["nll_bits"] for row in ordered]), color="black", linewidth=0.8, label="NLL")
            axes.set(xlabel="particles K", ylabel="bits per point", title=title_of(name))
            _log_axis(axes, counts)
            axes.legend(fontsize=7)


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
def channel(model: LatentModel, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L_reg, d R and the distortion of points (N, 2), as `noisy_channel` has them, in bits: (N,) each."""
    with seeded():
        q, p = model.posterior(x), model.prior()
        z = draw(q, x.shape[:-1])
        cost, capacity = torch.zeros(len(x)), torch.zeros(len(x))
        for d in range(2):
            of_latent, prior = q(z[..., :d]), p(z[..., :d])
            cost += BITS * kl_divergence(of_latent, prior)
            capacity += BITS * (prior.stddev / of_latent.stddev).log()
        return cost, capacity, -BITS * log_prob(model.likelihood(z), x)


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
    found = data.density(middles, middles)
    relative: Floats = found / found.max()
    return relative


# Shared by figures and page


def by_dataset(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of each data set, in their order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["dataset"], []).append(row)
    return found


def title_of(dataset: str) -> str:
    """What a data set is called on the page."""
    return PLANE[dataset].title if dataset in PLANE else mixture.TITLE


def _square(limit: float, cells: int) -> Floats:
    """The middles of cells of [-limit, limit]^2, the second number changing first. (cells**2, 2)"""
    middles = midpoints(limit, cells)
    return np.stack(np.meshgrid(middles, middles, indexing="ij"), -1).reshape(-1, 2)


@contextmanager
def _panels(rows: int, columns: int, path: Path, side: float = SIDE) -> Iterator[Any]:
    """Axes (rows, columns), saved at the end."""
    figure, axes = pyplot().subplots(rows, columns, figsize=(side * columns, side * rows), squeeze=False)
    yield axes
    for panel in axes.flat:
        panel.set_visible(panel.has_data())  # a data set may have fewer models than another
    _save(figure, path)


def _image(axes: Any, values: Floats, limit: float, title: str, **how: Any) -> None:
    """Values (n, n) or colours (n, n, 3) of a grid over [-limit, limit]^2, the first number to the right."""
    axes.imshow(values.swapaxes(0, 1), origin="lower", extent=(-limit, limit, -limit, limit), **how)
    axes.set_xticks([-limit, 0, limit])
    axes.set_yticks([-limit, 0, limit])
    axes.tick_params(labelsize=6)
    axes.set_title(title, fontsize=9)


def _log_axis(axes: Any, values: Sequence[float]) -> None:
    """Across by logarithms, with the values that there are as the only ticks."""
    axes.set_xscale("log")
    axes.set_xticks(values, [format(value, "g") for value in values])
    axes.minorticks_off()


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI, metadata={"Software": None})  # no version inside: the same results, the same file
    pyplot().close(figure)
