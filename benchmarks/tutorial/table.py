"""Train, measure and keep everything that the page shows; see ``__main__`` for the command."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from .. import machine
from . import errata, experiments, figures, mixture
from .coding import code, standard_error
from .data import PLANE, SPIRALS, Data
from .measuring import Row, measure
from .model import LatentModel
from .rows import ENTRIES, Entry
from .training import fit, points_of

POINTS = 10_000
TEST_SEED, TRAINING_SEED = 1, 2
DRAWN = ("typical", "iwae", "beta")  # models that figures need
ACCURACIES = tuple(range(1, 15))
ACCURACY_POINTS = 10_000
EPSILONS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)

Results = dict[str, Any]


def train(entry: Entry, dataset: str, share: float) -> LatentModel:
    """The model of an entry, trained on a data set. The same each time on one machine."""
    torch.manual_seed(TRAINING_SEED)
    model = entry.make()
    fit(model, points_of(PLANE[dataset], TRAINING_SEED), max(1, round(share * entry.steps)))
    return model


def rows_of(task: tuple[str, str, float, int, Path]) -> list[dict[str, Any]]:
    """Train one entry on one data set and measure its rows; weights that figures need are saved."""
    name, dataset, share, points, weights = task
    entry = next(entry for entry in ENTRIES if entry.name == name)
    data = PLANE[dataset]
    began = time.perf_counter()
    model = train(entry, dataset, share)
    seconds = time.perf_counter() - began
    if (name, dataset) in shown():
        weights.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path_of(weights, name, dataset))
    unseen = data.sample(np.random.default_rng(TEST_SEED), points)
    rows: list[dict[str, Any]] = []
    for way in entry.codes:
        coded = way.of(model) if way.of else model
        known = (rows[0]["nll_bits"], rows[0]["nll_error"]) if rows and coded is model else None
        row = measure(coded, data, unseen, particles=way.particles, latents=way.latents, plain=way.plain, known_nll=known)
        rows.append(
            {"entry": name, **row.json(), "steps": round(share * entry.steps), "training_s": round(seconds, 1), "share": share}
        )
    return rows


def mixture_row(points: int) -> dict[str, Any]:
    """The row of the model whose posterior is exact: three normals of one number."""
    x = mixture.sample(np.random.default_rng(TEST_SEED), points)
    bits = -mixture.log2_density(x[:, 0])
    error = standard_error(bits)
    length = code(x, mixture.codec())
    row = Row(
        dataset=mixture.NAME,
        model="mixture with its exact posterior",
        source="Frey and Hinton 1997",
        entropy_bits=mixture.entropy(),
        neg_elbo_bits=float(bits.mean()),
        neg_elbo_error=error,
        coded_bound_bits=float(bits.mean()),
        nll_bits=float(bits.mean()),
        nll_error=error,
        iwae_bits=None,
        iwae_error=None,
        active_latents=None,
        particles=1,
        code_length_bits=length.bits,
        code_length_error=length.error,
        beyond_error=standard_error(length.lengths - bits),
        initial_bits=length.initial_bits,
        points=points,
        decoded_equal=length.decoded_equal,
    )
    return {"entry": "mixture", **row.json(), "steps": 0, "training_s": 0.0, "share": 1.0}


def entropies(data: Data, points: int) -> dict[str, Any]:
    """Of a density, of as much of it as is on the tutorial's square, and what the coded points take by it."""
    lengths = -data.log2_density(data.sample(np.random.default_rng(TEST_SEED), points))
    return {
        "dataset": data.name,
        "entropy_bits": data.entropy(),
        "square_bits": data.entropy(0.5, 1024),
        "gaussian_bits": data.gaussian_bits(),
        "published": data.published_entropy,
        "points_bits": float(lengths.mean()),
        "points_error": standard_error(lengths),
    }


def path_of(weights: Path, name: str, dataset: str) -> Path:
    return weights / f"{name}-{dataset}.safetensors"


def shown() -> list[tuple[str, str]]:
    """Entries and data sets of the trained models that figures need."""
    return [(name, dataset) for name in DRAWN for dataset in PLANE]


def missing(results: Results, weights: Path) -> list[str]:
    """What a page needs and is not there."""
    parts = ["rows", "entropies", "accuracy", "two_optima", "errata", "dark", "machine"]
    return [part for part in parts if part not in results] + [
        path.name for path in (path_of(weights, *key) for key in shown()) if not path.exists()
    ]


def drawn(weights: Path) -> dict[str, dict[str, LatentModel]]:
    """The trained models that figures need: by entry, by data set."""
    found: dict[str, dict[str, LatentModel]] = {}
    make = {entry.name: entry.make for entry in ENTRIES}
    for name, dataset in shown():
        model = make[name]()
        model.load_state_dict(load_file(path_of(weights, name, dataset)))
        found.setdefault(name, {})[dataset] = model.eval()
    return found


def compute(results: Results, share: float, points: int, processes: int, path: Path, weights: Path) -> None:
    """Fill in all of `results`, and save them after each model. Rows that are there are kept."""
    done = {(row["entry"], row["dataset"]) for row in results["rows"] if row["share"] == share and row["points"] == points}
    done -= {key for key in shown() if not path_of(weights, *key).exists()}
    results["rows"] = [row for row in results["rows"] if (row["entry"], row["dataset"]) in done]
    tasks = [
        (entry.name, dataset, share, points, weights)
        for entry in sorted(ENTRIES, key=lambda entry: -entry.steps)
        for dataset in PLANE
        if (entry.name, dataset) not in done
    ]
    about = machine.about()
    results |= about
    with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
        for rows in pool.imap_unordered(rows_of, tasks):
            results["rows"] += [{**row, "commit": about["commit"]} for row in rows]
            save(results, path)
            for row in rows:
                figures_of_row = f"-ELBO {row['neg_elbo_bits']:7.3f}, coded {row['code_length_bits']:7.3f}"
                click.echo(f"{row['dataset']:13s} {row['model']:45s} {figures_of_row}", err=True)
        models = drawn(weights)
        unseen = SPIRALS.sample(np.random.default_rng(TEST_SEED), ACCURACY_POINTS)
        results["accuracy"] = experiments.accuracy(models["typical"][SPIRALS.name], SPIRALS, unseen, ACCURACIES, pool.map)
    if ("mixture", mixture.NAME) not in done:
        results["rows"].append({**mixture_row(points), "commit": about["commit"]})
    results["entropies"] = [entropies(data, points) for data in PLANE.values()]
    results["two_optima"] = experiments.two_optima(EPSILONS)
    results["errata"] = [
        {"place": erratum.place, "claim": erratum.claim, "computed": erratum.computed} for erratum in errata.errata()
    ]
    results["dark"] = [
        {"dataset": dataset, "model": model.title, "share": figures.dark_share(model, PLANE[dataset])}
        for name in ("typical", "iwae")
        for dataset, model in models[name].items()
    ]
    save(results, path)


def save(results: Results, path: Path) -> None:
    datasets, entries = [*PLANE, mixture.NAME], [*(entry.name for entry in ENTRIES), "mixture"]
    results["rows"].sort(key=lambda row: (datasets.index(row["dataset"]), entries.index(row["entry"]), row["particles"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")


def draw(results: Results, models: dict[str, dict[str, LatentModel]], folder: Path) -> None:
    """All figures of the page."""

    def by_dataset(*names: str) -> list[tuple[Data, list[LatentModel]]]:
        return [(PLANE[dataset], [models[name][dataset] for name in names]) for dataset in PLANE]

    figures.density(by_dataset("typical", "iwae"), folder / "density.png")
    figures.latent_space(by_dataset("typical", "iwae"), folder / "latent_space.png")
    figures.noisy_channel(by_dataset("typical", "beta"), folder / "noisy_channel.png")
    figures.accuracy(results["accuracy"], folder / "accuracy.png")
    figures.two_optima(results["two_optima"], folder / "two_optima.png")
    figures.particles([row for row in results["rows"] if row["entry"] == "iwae"], folder / "particles.png")
