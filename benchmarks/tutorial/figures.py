"""The figures of what was computed and coded, as PNG. Needs matplotlib (of the extra `bench`).

Each takes the results of `table`: the rows and parts that it names. The figures that look into models are in `pictures`.

Source: R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", 2020: Sections 4.2, 4.3, 5.1, 5.2 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..plots import DPI, pyplot
from . import by_hand as example
from . import mixture
from .data import PLANE, midpoints

Row = Mapping[str, Any]
Results = Mapping[str, Any]

SIDE = 2.7  # of a panel, in inches
TICKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")


def by_hand(results: Results, path: Path) -> None:
    """The bits of the message, log2 of its state, after each of the sender's and the receiver's steps."""
    steps = example.steps()
    states = [example.MESSAGE, *(step.state for step in steps)]
    with panels(1, 1, path, (7, 3.2)) as [[axes]]:
        axes.plot(np.log2(states), "o-")
        for place, (before, step, state) in enumerate(zip(states[:-1], steps, states[1:], strict=True), 1):
            axes.annotate(str(state), (place, np.log2(state)), (0, 8), textcoords="offset points", fontsize=8, ha="center")
            middle, what = (np.log2(before) + np.log2(state)) / 2, step.what.split(" =")[0]
            axes.annotate(what, (place - 0.5, middle), (0, -16), textcoords="offset points", fontsize=7, ha="center")
        axes.annotate(str(states[0]), (0, np.log2(states[0])), (0, 8), textcoords="offset points", fontsize=8, ha="center")
        axes.axvline(3, color="black", linewidth=0.5, linestyle=":")
        axes.set(xlabel="steps: the sender's three, then the receiver's three", ylabel="log2 of the state, bits", ylim=(10.8, 13.2))


def data(results: Results, path: Path) -> None:
    """The true densities, each with its entropy."""
    middles = midpoints(0.5, 192)
    with panels(1, len(results["entropies"]), path) as [row]:
        for axes, truth in zip(row, results["entropies"], strict=True):
            values = PLANE[truth["dataset"]].density(middles, middles)
            axes.imshow(values.T, origin="lower", extent=(-0.5, 0.5, -0.5, 0.5), cmap="magma", vmin=0)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{title_of(truth['dataset'])}: H = {truth['entropy_bits']:.3f}", fontsize=9)


def mixtures(results: Results, path: Path) -> None:
    """Fits of one, two and three normals beside the truth; thin lines are the parts, weighted."""
    x = midpoints(0.7, 1000)
    with panels(1, len(results["mixtures"]), path, (3.4, 3.0)) as [row]:
        for axes, fit in zip(row, results["mixtures"], strict=True):
            fitted = mixture.Mixture(*(np.array(fit[name]) for name in ("weights", "means", "stds")))
            axes.fill_between(x, mixture.THREE.joint(x).sum(1), color="0.85", label="truth")
            axes.plot(x, fitted.joint(x).sum(1), color="tab:blue", label="fit")
            axes.plot(x, fitted.joint(x), color="tab:orange", linewidth=0.8)
            axes.set_title(f"{fit['components']}: {fit['code_length_bits']:.3f} bits", fontsize=9)
            axes.set(xlabel="x", ylim=(0, None), xticks=(-0.5, 0, 0.5))
        row[0].set_ylabel("density")
        row[0].legend(fontsize=7)


def averages(results: Results, path: Path) -> None:
    """What the bound of K draws takes beyond -log2 p(x), and what was coded."""
    rows = results["averages"]
    draws = [row["draws"] for row in rows]
    with panels(1, 1, path, (6, 3.6)) as [[axes]]:
        axes.plot(draws, [row["bound_bits"] - row["nll_bits"] for row in rows], "-", label="bound, exactly")
        coded = [row["code_length_bits"] - row["nll_bits"] for row in rows]
        errors_over(axes, draws, coded, [row["code_length_error"] for row in rows], label="coded")
        axes.set(xlabel="draws K", ylabel="bits beyond -log2 p(x)", yscale="log")
        log_ticks(axes, draws)
        axes.legend(fontsize=8)


def accuracy(results: Results, path: Path) -> None:
    """Section 4.2: how far code length less 2 n bits is from -ELBO, on grids of 2**n cells in a unit.

    It falls while cells are larger than what the density has to show; then draws of latents are what is left. Rows have 2 n taken
    off already, as everywhere.
    """
    with panels(1, 1, path, (6.5, 4)) as [[axes]]:
        for colour, (name, of_data) in zip(COLOURS, by_dataset(results["accuracy"]).items(), strict=False):
            ordered = sorted(of_data, key=lambda row: int(row["n"]))
            beyond = [abs(row["code_length_bits"] - row["neg_elbo_bits"]) for row in ordered]
            axes.plot([row["n"] for row in ordered], beyond, ".-", color=colour, label=title_of(name))
        axes.set(xlabel="grid accuracy n, bits in each direction", yscale="log")
        axes.set_ylabel("|code length less 2 n less -ELBO|, bits per point")
        axes.legend(fontsize=8)


def two_optima(results: Results, path: Path) -> None:
    """Section 5.2: one Gaussian and its two optima. Code lengths, which are equal; the KL term, which grows by a bit when epsilon
    halves; and the initial bits, which on one grid of latents fall by as much, and on grids that go with epsilon stay.

    Rows: epsilon (None where the latent is ignored), code_length_bits, entropy_bits, kl_bits, initial_bits, own_grid_initial_bits.
    """
    rows = results["two_optima"]
    near = sorted((row for row in rows if row["epsilon"] is not None), key=lambda row: float(row["epsilon"]))
    epsilons = [row["epsilon"] for row in near]
    ignored = [row for row in rows if row["epsilon"] is None]
    with panels(1, 3, path, (3.4, 3.4)) as [[lengths, kl, initial]]:
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
            log_ticks(axes, epsilons)
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


def particles(results: Results, path: Path) -> None:
    """Monte Carlo bits-back: code length beyond -log2 p(x) of the same points, against the number K of particles.

    Lines are bounds of K particles as coded, for K = 1 -ELBO; dots are code lengths, with the error that draws of latents leave.
    """
    limits = {(row["entry"], row["dataset"]): row["points_nll_bits"] for row in results["limits"]}
    grouped = by_dataset([row for row in results["rows"] if row["entry"] in ("particles", "iwae")])
    with panels(1, len(grouped), path, (3.4, 3.4)) as [axes_of_data]:
        for axes, (name, of_data) in zip(axes_of_data, grouped.items(), strict=True):
            for colour, (entry, label) in zip(COLOURS, (("particles", "typical VAE"), ("iwae", "IWAE (10 draws)")), strict=False):
                ordered = sorted((row for row in of_data if row["entry"] == entry), key=lambda row: int(row["particles"]))
                counts, limit = [row["particles"] for row in ordered], limits[entry, name]
                axes.plot(counts, [row["coded_bound_bits"] - limit for row in ordered], "-", color=colour, linewidth=0.8)
                beyond = [row["code_length_bits"] - limit for row in ordered]
                errors_over(axes, counts, beyond, [row["beyond_error"] for row in ordered], color=colour, label=label)
            axes.set(xlabel="particles K", title=title_of(name), yscale="log")
            log_ticks(axes, sorted({row["particles"] for row in of_data}))
        axes_of_data[0].set_ylabel("bits beyond -log2 p(x)")
        axes_of_data[0].legend(fontsize=7)


def trained_with(results: Results, path: Path) -> None:
    """Models that were trained with K draws and are coded with K: lines are the bounds as coded, dots are code lengths."""
    grouped = by_dataset([row for row in results["rows"] if row["entry"].startswith("iwae-")])
    with panels(1, len(grouped), path, (3.4, 3.4)) as [axes_of_data]:
        for axes, (name, of_data) in zip(axes_of_data, grouped.items(), strict=True):
            counts = [row["particles"] for row in of_data]
            axes.plot(counts, [row["coded_bound_bits"] for row in of_data], "-", color=COLOURS[0], linewidth=0.8)
            lengths, errors = [row["code_length_bits"] for row in of_data], [row["beyond_error"] for row in of_data]
            axes.errorbar(counts, lengths, errors, fmt="o", color=COLOURS[0], markersize=4)
            axes.set(xlabel="draws K, in training and in the code", title=title_of(name))
            log_ticks(axes, counts)
        axes_of_data[0].set_ylabel("code length, bits per point")


def gradients(results: Results, path: Path) -> None:
    """Section 5.1: the gradient of both losses by what the decoder says, against how far errors have fallen."""
    rows = results["gradients"]
    factors = [row["factor"] for row in rows]
    with panels(1, 1, path, (5.5, 3.6)) as [[axes]]:
        axes.plot(factors, [row["log_mse_gradient"] for row in rows], "o-", label="log MSE")
        axes.plot(factors, [row["mse_gradient"] for row in rows], "o-", label="plain MSE")
        axes.set(xlabel="errors are c times less", ylabel="gradient, nats per unit of x", yscale="log")
        log_ticks(axes, factors)
        axes.legend(fontsize=8)


def packing(results: Results, path: Path) -> None:
    """How often a word is taken for another, against the uses d of the channel, for rates below, at and above its capacity."""
    with panels(1, 1, path, (5.5, 3.6)) as [[axes]]:
        for rate in sorted({row["rate"] for row in results["packing"]}):
            rows = [row for row in results["packing"] if row["rate"] == rate]
            axes.plot([row["uses"] for row in rows], [row["wrong"] for row in rows], "o-", label=f"bits a use: {rate:g}")
        axes.set(xlabel="uses d of a channel of 1 bit", ylabel="share of words heard wrongly", yscale="log")
        log_ticks(axes, sorted({row["uses"] for row in results["packing"]}))
        axes.legend(fontsize=8)


def latents(results: Results, path: Path) -> None:
    """The KL term of each latent, blur and code length against the number of latents that a typical VAE has."""
    rows = [row for row in results["rows"] if row["entry"].startswith("latents-")]
    counts = [int(row["entry"].removeprefix("latents-")) for row in rows]
    columns = {"blur": "blur, a share of the variance", "code_length_bits": "code length, bits"}
    with panels(1, 1 + len(columns), path, (3.2, 3.0)) as [[terms, *others]]:
        for count, row in zip(counts, rows, strict=True):
            terms.plot([count] * count, row["latent_bits"], "o", color="tab:blue")
        terms.set(xlabel="latents", ylabel="KL of each, bits", yscale="log")
        for axes, (key, label) in zip(others, columns.items(), strict=True):
            axes.plot(counts, [row[key] for row in rows], "o-")
            axes.set(xlabel="latents", ylabel=label)
        others[0].set_yscale("log")
        for axes in (terms, *others):
            log_ticks(axes, counts)


def above(results: Results, path: Path, entries: Sequence[str]) -> None:
    """Code lengths beyond what the true density takes for the same points: a line for each model, a colour for each data set."""
    truth = {row["dataset"]: row["points_bits"] for row in results["entropies"]}
    rows = [row for row in results["rows"] if row["entry"] in entries and row["dataset"] in truth]
    names = list(dict.fromkeys(name_of(row) for row in rows))
    with panels(1, 1, path, (7, 0.8 + 0.32 * len(names))) as [[axes]]:
        for colour, (dataset, of_data) in zip(COLOURS, by_dataset(rows).items(), strict=False):
            beyond = [row["code_length_bits"] - truth[dataset] for row in of_data]
            axes.plot(beyond, [names.index(name_of(row)) for row in of_data], "o", color=colour, alpha=0.8, label=title_of(dataset))
        axes.set(xlabel="bits per point beyond the true density", yticks=range(len(names)), yticklabels=names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        beyond = [row["code_length_bits"] - truth[row["dataset"]] for row in rows]
        log_ticks(axes, [tick for tick in TICKS if min(beyond) / 2 <= tick <= 2 * max(beyond)])
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", linewidth=0.3)
        axes.legend(fontsize=7)


def clean(results: Results, path: Path) -> None:
    """Code length less -ELBO of each model and data set, with clean bits and without."""
    rows = [row for row in results["rows"] if row["plain_bits"] is not None]
    names = [f"{row['model']}, {title_of(row['dataset'])}" for row in rows]
    with panels(1, 1, path, (7, 0.8 + 0.3 * len(names))) as [[axes]]:
        for key, label in (("code_length_bits", "with"), ("plain_bits", "without")):
            axes.plot([row[key] - row["neg_elbo_bits"] for row in rows], range(len(rows)), "o", alpha=0.8, label=label)
        axes.axvline(0, color="black", linewidth=0.5)
        axes.set(xlabel="code length less -ELBO, bits", yticks=range(len(names)), yticklabels=names)
        axes.tick_params(labelsize=8)
        axes.invert_yaxis()
        axes.legend(fontsize=8)


# Shared by figures and page


def name_of(row: Row) -> str:
    """What tells a row from the others of its data set."""
    several = row["entry"] == "particles" or row["entry"].startswith("iwae")
    coded = f", coded with {row['particles']}" if several else ""
    short = row["entry"] == "typical-short" or row["entry"].startswith("iwae-")
    return f"{row['model']}{coded}" + (f" ({row['steps']} steps)" if short else "")


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Mapping[str, Any]]]:
    """Sequence[Row] of each data set, in their order."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["dataset"], []).append(row)
    return grouped


def title_of(dataset: str) -> str:
    """What a data set is called on the page."""
    return PLANE[dataset].title if dataset in PLANE else mixture.TITLE


@contextmanager
def panels(rows: int, columns: int, path: Path, size: tuple[float, float] = (SIDE, SIDE)) -> Iterator[Any]:
    """Axes (rows, columns), each of a size in inches, saved at the end."""
    figure, axes = pyplot().subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)
    yield axes
    figure.tight_layout()
    figure.savefig(path, dpi=DPI, metadata={"Software": None})  # no version inside: the same results, the same file
    pyplot().close(figure)


def log_ticks(axes: Any, values: Sequence[float]) -> None:
    """Across by logarithms, with the values that there are as the only ticks."""
    axes.set_xscale("log")
    axes.set_xticks(values, [format(value, "g") for value in values])
    axes.minorticks_off()


def errors_over(axes: Any, x: Sequence[float], y: Sequence[float], errors: Sequence[float], **how: Any) -> None:
    """Dots with bars on a logarithmic axis: those that are within an error of 0 are drawn at that error, as an upper limit."""
    limits = [value <= error for value, error in zip(y, errors, strict=True)]
    shown = [max(value, error) for value, error in zip(y, errors, strict=True)]
    axes.errorbar(x, shown, errors, fmt="o", markersize=4, capsize=2, uplims=limits, **how)
