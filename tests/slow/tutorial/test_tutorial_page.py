"""The tutorial's errata, experiments, figures as numbers, command and page."""

import json
import multiprocessing.dummy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click.testing
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from benchmarks.tutorial import (
    channel,
    mixture,
    page,
    pictures,
    table,
    training,
)
from benchmarks.tutorial.__main__ import HERE, RESULTS, main
from benchmarks.tutorial.data import CHECKERBOARD, GAUSSIANS, PLANE
from benchmarks.tutorial.model import Conditional, LatentModel
from benchmarks.tutorial.rows import ENTRIES
from tests.tutorial import points

FIGURES = ("density", "latent_space", "noisy_channel", "accuracy", "two_optima", "particles")


# Figures as numbers, the command and the page


@pytest.mark.parametrize(("inside", "share"), [(1.0, 0.0), (0.0, 1.0)])
def test_latents_are_dark_where_no_data_is(inside: float, share: float) -> None:
    """All latents to a cell of the checkerboard that has points, or to one that has none."""
    cell = torch.tensor([-0.375, -0.375 if inside else -0.125])

    class Constant(LatentModel):
        def likelihood(self, z: Tensor) -> Conditional:
            mean = cell.expand_as(z)
            return lambda before: Normal(mean[..., before.shape[-1]], torch.tensor(0.1))

    assert pictures.dark_share(Constant(), CHECKERBOARD) == share


def test_half_of_the_latents_are_dark_where_half_are_where_no_data_is() -> None:
    class Half(LatentModel):
        def likelihood(self, z: Tensor) -> Conditional:
            mean = torch.stack([torch.full_like(z[..., 0], -0.375), torch.where(z[..., 0] > 0, -0.375, -0.125)], -1)
            return lambda before: Normal(mean[..., before.shape[-1]], torch.tensor(0.1))

    assert pictures.dark_share(Half(), CHECKERBOARD) == pytest.approx(0.5)


def test_the_coded_points_are_a_draw_from_the_density() -> None:
    for data in PLANE.values():
        x = points(data, 7)
        expected = [np.log2(data.density(x[i : i + 1, 0], x[i : i + 1, 1])[0, 0]) for i in range(7)]
        assert data.log2_density(x) == pytest.approx(expected)
    row = table.entropies(GAUSSIANS, 4000)
    assert row["gaussian_bits"] > row["entropy_bits"] + 1
    assert row["points_bits"] == pytest.approx(row["entropy_bits"], abs=4 * row["points_error"])


def test_the_row_of_the_mixture() -> None:
    row = table.mixture_row(400)
    assert row["decoded_equal"]
    assert row["code_length_bits"] == pytest.approx(row["nll_bits"], abs=0.005)
    assert row["nll_bits"] == pytest.approx(row["entropy_bits"], abs=4 * row["nll_error"])


def test_a_small_run_does_not_replace_the_full_results(tmp_path: Path) -> None:
    for options in (["--share", "0.1"], ["--points", "10"], ["--share", "0.1", "--out", str(tmp_path / "t.json")]):
        result = click.testing.CliRunner().invoke(main, options)
        assert result.exit_code == 2
        assert "--out and --page" in result.output


def test_a_small_run_has_everything_and_is_redrawn_from_what_it_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = SimpleNamespace(get_context=lambda method: multiprocessing.dummy)  # which see what is patched here
    monkeypatch.setattr(table, "multiprocessing", threads)
    monkeypatch.setattr(training, "POOL", 1 << 12)
    names = ("typical", "mse", "iwae", "particles", "beta", "vq", "latents-1")
    monkeypatch.setattr(table, "ENTRIES", tuple(entry for entry in ENTRIES if entry.name in names))
    small = {
        table: {"ACCURACIES": (3, 6), "EPSILONS": (1.0, 0.1), "DRAWS": (1, 2), "LIMIT_PARTICLES": 5},
        mixture: {"TRAINING_POINTS": 200, "EM_STEPS": 2},
        channel: {"POINTS": 20, "TRIALS": 100, "MOST_BITS": 4},
        pictures: {"DENSITY_CELLS": 16, "DENSITY_PARTICLES": 2, "LATENT_CELLS": 16, "CHANNEL_POINTS": 20},
    }
    for module, sizes in small.items():
        for name, size in sizes.items():
            monkeypatch.setattr(module, name, size)
    results, folder = tmp_path / "t.json", tmp_path / "page"
    options = ["--out", str(results), "--page", str(folder), "--processes", "1"]
    first = click.testing.CliRunner().invoke(main, [*options, "--share", "0.0005", "--points", "20"])
    assert first.exit_code == 0, first.output
    rows = json.loads(results.read_text())["rows"]
    assert len(rows) == len(PLANE) * (1 + 2 + 4 + 6 + 1 + 1) + 1 + 1
    assert all(row["decoded_equal"] and row["points"] in (2, 20) for row in rows)
    written = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert sorted(written) == sorted(["README.md", *(f"{name}.png" for name in FIGURES)])
    again = click.testing.CliRunner().invoke(main, [*options, "--share", "0.0005", "--points", "20"])
    assert again.exit_code == 0, again.output
    assert again.output == ""  # nothing was trained anew
    redrawn = click.testing.CliRunner().invoke(main, [*options, "--redraw"])
    assert redrawn.exit_code == 0, redrawn.output
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == written


def test_nothing_is_redrawn_from_no_results(tmp_path: Path) -> None:
    result = click.testing.CliRunner().invoke(
        main, ["--redraw", "--out", str(tmp_path / "none.json"), "--page", str(tmp_path / "page")]
    )
    assert result.exit_code == 2
    assert "none.json: there is nothing to redraw without" in result.output
    assert "iwae-2spirals.safetensors" in result.output
    assert not list(tmp_path.iterdir())


def test_the_page_is_that_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of the sizes that the page speaks of
    page.write(json.loads(RESULTS.read_text()), tmp_path)
    assert (tmp_path / "README.md").read_text() == (HERE / "README.md").read_text()
    links = re.findall(r"\]\(([^):]+)\)", (HERE / "README.md").read_text())
    assert len(links) > 20
    assert [link for link in links if not (HERE / link).exists()] == []


def test_committed_rows_are_what_the_page_claims() -> None:
    """Every point came back, and code lengths are the bounds as coded, but for what draws of z leave open."""
    rows = json.loads(RESULTS.read_text())["rows"]
    there = {(row["entry"], row["dataset"]) for row in rows}
    assert there <= {*((entry.name, dataset) for entry in ENTRIES for dataset in entry.datasets), ("mixture", mixture.NAME)}
    assert all(row["decoded_equal"] and table.current(row, 1.0, table.POINTS) for row in rows)
    for row in rows:
        off = abs(row["code_length_bits"] - row["coded_bound_bits"])
        assert off <= max(page.CLOSE * max(1, abs(row["code_length_bits"])), page.SURE * row["beyond_error"]), row
    for dataset in PLANE:
        lengths = {row["particles"]: row["code_length_bits"] for row in rows if (row["entry"], row["dataset"]) == ("iwae", dataset)}
        assert list(lengths) == [1, 2, 5, 10]
        assert lengths[1] > lengths[2] > lengths[5] > lengths[10]


@pytest.mark.parametrize("published", page.PUBLISHED, ids=lambda row: f"{row['model']}-{row['dataset']}")
def test_committed_rows_are_as_good_as_published(published: dict[str, Any]) -> None:
    entry, particles = {"VAE": ("typical", 1), "IWAE": ("iwae", 10)}[published["model"]]
    rows = json.loads(RESULTS.read_text())["rows"]
    [row] = [row for row in rows if (row["entry"], row["dataset"], row["particles"]) == (entry, published["dataset"], particles)]
    for key in published.keys() - {"dataset", "model"}:
        assert row[key] <= published[key] + 0.02
