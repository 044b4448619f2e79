"""Train, measure and keep everything that the page shows; see `__main__` for the command."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from bbans.formats.tensors import pack_tensors, unpack_tensors

from .. import machine
from . import channel, errata, experiments, jensen, mixture, pictures
from .coding import code, standard_error
from .data import PLANE, SPIRALS, Data
from .measuring import Row, bits, measure
from .model import LatentModel
from .pictures import Models
from .rows import BY_NAME, ENTRIES, Entry
from .training import fit, points_of

POINTS = 10_000
TEST_SEED, TRAINING_SEED = 1, 2
KEPT = ("typical", "iwae", "beta")  # entries whose weights are kept, for figures
ACCURACIES = tuple(range(1, 15))
ACCURACY_POINTS = 10_000
EPSILONS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
DRAWS = (1, 2, 5, 10, 20, 50)
JENSEN_POINTS = 4000
FACTORS = (1, 2, 4, 8, 16, 32)
LIMIT_PARTICLES = 500  # of -log2 p(x) of the coded points

Results = dict[str, Any]


def train(entry: Entry, dataset: str, share: float) -> LatentModel:
    """The model of an entry, trained on a data set. The same each time on one machine."""
    torch.manual_seed(TRAINING_SEED)
    model = entry.make()
    fit(model, points_of(PLANE[dataset], TRAINING_SEED), max(1, round(share * entry.steps)))
    return model


def rows_of(task: tuple[str, str, float, int, Path]) -> list[dict[str, Any]]:
    """Train one entry on one data set, or take the weights of another, and measure its rows."""
    name, dataset, share, points, weights = task
    entry, data = BY_NAME[name], PLANE[dataset]
    began = time.process_time()  # one thread: seconds of a core, whatever else the machine does
    if entry.weights:
        model, seconds = load(weights, entry.weights, dataset), 0.0
    else:
        model = keep(name, dataset, share, weights) if name in KEPT else train(entry, dataset, share)
        seconds = time.process_time() - began
    test_points = data.sample(np.random.default_rng(TEST_SEED), points)[: count(entry, points)]
    rows: list[dict[str, Any]] = []
    for way in entry.codes:
        coded = way.read(model) if way.read else model
        nll = (rows[0]["nll_bits"], rows[0]["nll_error"]) if rows and coded is model else None
        ways = {"particles": way.particles, "latents": way.latents, "plain": way.plain, "blurred": entry.blur}
        row = measure(coded, data, test_points, known_nll=nll, **ways)  # type: ignore[arg-type]
        rows.append(
            {"entry": name, **row.json(), "steps": round(share * entry.steps), "training_s": round(seconds, 1), "share": share}
        )
    return rows


def count(entry: Entry, points: int) -> int:
    """The points that are coded with an entry's models, of so many that there are."""
    return max(1, round(entry.share * points))


def mixture_row(points: int) -> dict[str, Any]:
    """The row of the model whose posterior is exact: three normals of one number."""
    x = mixture.THREE.sample(np.random.default_rng(TEST_SEED), points)
    lengths = -mixture.THREE.log2_density(x[:, 0])
    error = standard_error(lengths)
    length = code(x, mixture.THREE.codec())
    row = Row(
        dataset=mixture.NAME,
        model="mixture with its exact posterior",
        source="Frey and Hinton 1997",
        entropy_bits=mixture.THREE.entropy(),
        neg_elbo_bits=float(lengths.mean()),
        neg_elbo_error=error,
        coded_bound_bits=float(lengths.mean()),
        nll_bits=float(lengths.mean()),
        nll_error=error,
        iwae_bits=None,
        iwae_error=None,
        active_latents=None,
        particles=1,
        code_length_bits=length.bits,
        code_length_error=length.error,
        beyond_error=standard_error(length.lengths - lengths),
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


def limits(models: Models, points: int) -> list[dict[str, Any]]:
    """-log2 p(x) of the points that are coded with several particles: where their bounds tend to."""
    rows = []
    for name, of_entry in (("iwae", models["iwae"]), ("particles", models["typical"])):
        for dataset, model in of_entry.items():
            x = PLANE[dataset].sample(np.random.default_rng(TEST_SEED), points)[: count(BY_NAME[name], points)]
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(TEST_SEED)
                mean = float(bits(model, torch.from_numpy(x).float(), LIMIT_PARTICLES).mean())
            rows.append({"entry": name, "dataset": dataset, "points_nll_bits": mean, "points": len(x)})
    return rows


# Weights


def path_of(weights: Path, name: str, dataset: str) -> Path:
    return weights / f"{name}-{dataset}.safetensors"


def keep(name: str, dataset: str, share: float, weights: Path) -> LatentModel:
    """An entry's model, trained; its weights are saved. Inverse, but for the training: load."""
    model = train(BY_NAME[name], dataset, share)
    weights.mkdir(parents=True, exist_ok=True)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    path_of(weights, name, dataset).write_bytes(pack_tensors(state, {}))
    return model


def load(weights: Path, name: str, dataset: str) -> LatentModel:
    model = BY_NAME[name].make()
    tensors, _ = unpack_tensors(path_of(weights, name, dataset).read_bytes())
    model.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in tensors.items()})
    return model.eval()


def kept(weights: Path) -> Models:
    """The trained models that figures need."""
    return {name: {dataset: load(weights, name, dataset) for dataset in PLANE} for name in KEPT}


def missing(results: Results, weights: Path) -> list[str]:
    """What a page needs and is not there."""
    parts = ["rows", *PARTS, "machine"]
    files = [path_of(weights, name, dataset) for name in KEPT for dataset in PLANE]
    return [part for part in parts if part not in results] + [path.name for path in files if not path.exists()]


# All of it


def accuracy(models: Models, points: int) -> list[dict[str, Any]]:
    """Of the spirals, or of what there is a model of."""
    of_data = models["typical"]
    data = SPIRALS if SPIRALS.name in of_data else PLANE[next(iter(of_data))]
    test_points = data.sample(np.random.default_rng(TEST_SEED), min(points, ACCURACY_POINTS))
    return experiments.accuracy(of_data[data.name], data, test_points, ACCURACIES)


def dark(models: Models) -> list[dict[str, Any]]:
    """How much of p(z) has no use."""
    return [
        {"dataset": dataset, "model": model.title, "share": pictures.dark_share(model, PLANE[dataset])}
        for of_data in models.values()
        for dataset, model in of_data.items()
    ]


def computed(points: int) -> list[dict[str, Any]]:
    """The errata."""
    all_of_them = errata.errata(min(points, errata.POINTS_CODED))
    return [{"place": erratum.place, "claim": erratum.claim, "computed": erratum.computed} for erratum in all_of_them]


@dataclass(frozen=True)
class Part:
    """Of the results, beside the rows: work(models, points to code) -> rows. It looks into models of these entries."""

    work: Callable[[Models, int], list[dict[str, Any]]]
    models: tuple[str, ...] = ()


PARTS = {
    "entropies": Part(lambda models, points: [entropies(data, points) for data in PLANE.values()]),
    "mixtures": Part(lambda models, points: mixture.fits(points, mixture.EM_STEPS)),
    "averages": Part(lambda models, points: jensen.averages(DRAWS, min(points, JENSEN_POINTS))),
    "accuracy": Part(accuracy, ("typical",)),
    "two_optima": Part(lambda models, points: experiments.two_optima(EPSILONS, min(points, experiments.OPTIMA_POINTS))),
    "gradients": Part(lambda models, points: experiments.gradients(FACTORS)),
    "limits": Part(lambda models, points: limits(models, points), ("typical", "iwae")),
    "channel": Part(lambda models, points: channel.means(models), ("typical", "iwae", "beta")),
    "packing": Part(lambda models, points: channel.packing(channel.MOST_BITS, channel.TRIALS)),
    "dark": Part(lambda models, points: dark(models), ("typical", "iwae")),
    "errata": Part(lambda models, points: computed(points)),
}


def compute(results: Results, share: float, points: int, processes: int, path: Path, weights: Path) -> None:
    """Fill in all of `results`, and save them after each model. What is there is kept, but for parts of a model trained anew."""
    about = machine.about()
    results |= about
    origin = {"commit": about["commit"], "processor": about["machine"]["processor"]}
    rows_there = [row for row in results["rows"] if current(row, share, points)]
    if len(rows_there) < len(results["rows"]):
        forget(results, PARTS)  # they are of that other size as well
    results["rows"] = rows_there
    with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
        for own in (True, False):  # the second need weights of the first
            tasks = [
                (entry.name, dataset, share, points, weights)
                for entry in sorted(ENTRIES, key=lambda entry: -entry.steps)
                for dataset in entry.datasets
                if own == (not entry.weights) and not done(results, entry, dataset, weights)
            ]
            for rows in pool.imap_unordered(rows_of, tasks):
                replaced = {(row["entry"], row["dataset"]) for row in rows}
                forget(results, [name for name, part in PARTS.items() if rows[0]["entry"] in part.models])
                results["rows"] = [row for row in results["rows"] if (row["entry"], row["dataset"]) not in replaced]
                results["rows"] += [{**row, **origin} for row in rows]
                save(results, path)
                for row in rows:
                    lengths = f"-ELBO {row['neg_elbo_bits']:7.3f}, coded {row['code_length_bits']:7.3f}"
                    click.echo(f"{row['dataset']:13s} {row['model']:45s} {lengths}", err=True)
        pool.close()
        pool.join()  # for their seconds of a core to be counted
    if not any(row["entry"] == "mixture" for row in results["rows"]):
        results["rows"].append({**mixture_row(points), **origin})
    models = kept(weights)
    for name, part in PARTS.items():
        if name not in results:
            results[name] = part.work({entry: models[entry] for entry in part.models}, points)
    save(results, path)


def forget(results: Results, parts: Iterable[str]) -> None:
    for name in parts:
        results.pop(name, None)


def current(row: dict[str, Any], share: float, points: int) -> bool:
    """Whether a row is of as much training and of as many points as are asked for, and of an entry that there is."""
    if row["entry"] == "mixture":
        return bool(row["points"] == points)
    entry = BY_NAME.get(row["entry"])
    return entry is not None and (row["share"], row["points"]) == (share, count(entry, points))


def done(results: Results, entry: Entry, dataset: str, weights: Path) -> bool:
    """Whether all rows of an entry are there, and its weights where they are kept."""
    rows = [row for row in results["rows"] if (row["entry"], row["dataset"]) == (entry.name, dataset)]
    there = entry.name not in KEPT or path_of(weights, entry.name, dataset).exists()
    return there and len(rows) == len(entry.codes)


def save(results: Results, path: Path) -> None:
    datasets, entries = [*PLANE, mixture.NAME], [*BY_NAME, "mixture"]
    results["rows"].sort(key=lambda row: (datasets.index(row["dataset"]), entries.index(row["entry"]), row["particles"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
