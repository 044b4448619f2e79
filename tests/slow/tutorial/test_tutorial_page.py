"""The tutorial's errata, experiments, figures as numbers, command and page."""

import json
import multiprocessing.dummy
import re
from dataclasses import replace
from functools import partial
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
    appendix,
    mixture,
    page,
    pictures,
    table,
)
from benchmarks.tutorial.__main__ import HERE, RESULTS, main
from benchmarks.tutorial.chapters import BY_NAME, CHAPTERS, Chapter
from benchmarks.tutorial.chapters.models import used
from benchmarks.tutorial.data import CHECKERBOARD, GAUSSIANS, PLANE, midpoints
from benchmarks.tutorial.markdown import signed
from benchmarks.tutorial.model import Conditional, LatentModel
from benchmarks.tutorial.published import PUBLISHED
from benchmarks.tutorial.rows import ENTRIES, TRAINED_WITH
from benchmarks.tutorial.table import KEPT, Part
from tests.tutorial import points

NOTEBOOKS = [page.notebook_name(place, chapter) for place, chapter in enumerate(CHAPTERS, 1)]


def figures_of(some: list[Chapter]) -> list[str]:
    return [f"{figure.name}.png" for chapter in some for figure in chapter.figures]


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


def test_what_chapters_say_of_the_data() -> None:
    """0.02 % of the 8 Gaussians are not on the square."""
    middles = midpoints(0.5, 1024)
    assert f"{1 - GAUSSIANS.density(middles, middles).mean():.2%}" == "0.02%"


def test_what_rounds_to_zero_has_no_minus() -> None:
    assert [signed(value) for value in (-0.0002, 0.0002, -0.0008, 1.5)] == ["+0.000", "+0.000", "-0.001", "+1.500"]
    assert signed(-0.26, 1) == "-0.3"


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


def test_a_small_run_has_everything_and_is_redrawn_from_what_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smaller: None
) -> None:
    threads = SimpleNamespace(get_context=lambda method: multiprocessing.dummy)  # which see what is patched here
    monkeypatch.setattr(table, "multiprocessing", threads)
    monkeypatch.setattr(table, "PLANE", {"8gaussians": GAUSSIANS})
    entries = [replace(entry, datasets=("8gaussians",)) for entry in ENTRIES]
    monkeypatch.setattr(table, "ENTRIES", entries)
    drawn = [chapter for chapter in CHAPTERS if chapter.name in ("priors", "particles", "channel")]
    monkeypatch.setattr(page, "draw", partial(page.draw, chapters=drawn))
    results, folder = tmp_path / "t.json", tmp_path / "page"
    options = ["--out", str(results), "--page", str(folder), "--processes", "1"]
    first = click.testing.CliRunner().invoke(main, [*options, "--share", "0.0002", "--points", "20"])
    assert first.exit_code == 0, first.output
    rows = json.loads(results.read_text())["rows"]
    assert len(rows) == sum(len(entry.codes) * len(entry.datasets) for entry in entries) + 1
    assert all(row["decoded_equal"] and row["points"] in (2, 20) for row in rows)
    written = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".safetensors"}
    assert sorted(written) == sorted(["README.md", "TABLES.md", *figures_of(drawn), *NOTEBOOKS])
    for entry in entries:  # nothing would be trained anew
        assert all(table.done({"rows": rows}, entry, dataset, folder / "weights") for dataset in entry.datasets)
    assert all(table.current(row, 0.0002, 20) and not table.current(row, 0.0002, 30) for row in rows)
    monkeypatch.setattr(table, "PARTS", {name: replace(part, work=forbidden) for name, part in table.PARTS.items()})
    again = click.testing.CliRunner().invoke(main, [*options, "--share", "0.0002", "--points", "20"])
    assert again.exit_code == 0, again.output
    redrawn = click.testing.CliRunner().invoke(main, [*options, "--redraw"])
    assert redrawn.exit_code == 0, redrawn.output
    assert written == {path.name: path.read_bytes() for path in folder.rglob("*") if path.name in written}


def forbidden(*arguments: object) -> list[dict[str, Any]]:
    raise AssertionError("it is there already")


def test_parts_are_made_anew_with_the_rows_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smaller: None) -> None:
    threads = SimpleNamespace(get_context=lambda method: multiprocessing.dummy)
    monkeypatch.setattr(table, "multiprocessing", threads)
    monkeypatch.setattr(table, "PLANE", {"8gaussians": GAUSSIANS})
    monkeypatch.setattr(table, "ENTRIES", [replace(entry, datasets=("8gaussians",)) for entry in ENTRIES if entry.name in KEPT])
    made: list[str] = []

    def part(name: str, models: tuple[str, ...]) -> Part:
        return Part(lambda *arguments: [{"made": made.append(name)}], models)

    monkeypatch.setattr(table, "PARTS", {"of_none": part("of_none", ()), "of_beta": part("of_beta", ("beta",))})
    results: dict[str, Any] = {"rows": []}
    arguments = 1, tmp_path / "t.json", tmp_path / "weights"
    table.compute(results, 0.0002, 20, *arguments)
    table.compute(results, 0.0002, 20, *arguments)
    assert made == ["of_none", "of_beta"]
    results["rows"] = [row for row in results["rows"] if row["entry"] != "beta"]
    table.compute(results, 0.0002, 20, *arguments)
    assert made[2:] == ["of_beta"]
    table.compute(results, 0.0002, 30, *arguments)
    assert made[3:] == ["of_none", "of_beta"]


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
    results = json.loads(RESULTS.read_text())
    page.write(results, tmp_path)
    appendix.write(results, tmp_path)
    for name in ("README.md", "TABLES.md"):
        text = (tmp_path / name).read_text()
        assert text == (HERE / name).read_text()
        assert [link for link in re.findall(r"\]\(([^):#]+)\)", text) if not (HERE / link).exists()] == []
    headings = re.findall(r"^## (.*)$", (tmp_path / "README.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", (tmp_path / "README.md").read_text())) <= anchors


def test_committed_rows_are_what_the_page_claims() -> None:
    """Every point came back, and code lengths are the bounds as coded, but for what draws of z leave open."""
    rows = json.loads(RESULTS.read_text())["rows"]
    there = {(row["entry"], row["dataset"]) for row in rows}
    assert there == {*((entry.name, dataset) for entry in ENTRIES for dataset in entry.datasets), ("mixture", mixture.NAME)}
    assert all(row["decoded_equal"] and table.current(row, 1.0, table.POINTS) for row in rows)
    for row in rows:
        off = abs(row["code_length_bits"] - row["coded_bound_bits"])
        assert off <= max(appendix.CLOSE * max(1, abs(row["code_length_bits"])), appendix.SURE * row["beyond_error"]), row
    for dataset in PLANE:
        lengths = {row["particles"]: row["code_length_bits"] for row in rows if (row["entry"], row["dataset"]) == ("iwae", dataset)}
        assert list(lengths) == [1, 2, 5, 10]
        assert lengths[1] > lengths[2] > lengths[5] > lengths[10]


def test_committed_rows_bear_out_the_texts() -> None:
    """What chapters say in words of more than one row."""
    results = json.loads(RESULTS.read_text())
    gaussian = {row["dataset"]: row["gaussian_bits"] for row in results["entropies"]}

    def rows(name: str, dataset: str) -> list[dict[str, Any]]:
        return [row for row in results["rows"] if (row["entry"], row["dataset"]) == (name, dataset)]

    for dataset in PLANE:
        [typical], [short], [full], [chain] = (
            rows(name, dataset) for name in ("typical", "typical-short", "full-covariance", "iaf")
        )
        assert typical["code_length_bits"] < short["code_length_bits"]
        assert typical["nll_bits"] < typical["neg_elbo_bits"] and short["nll_bits"] < short["neg_elbo_bits"]
        assert max(full["nll_bits"], chain["nll_bits"]) < short["nll_bits"]
        plain, read = rows("mse", dataset)
        assert plain["code_length_bits"] - gaussian[dataset] > 1.4
        [beta] = rows("beta", dataset)
        for row in (read, beta):
            assert abs(row["code_length_bits"] - gaussian[dataset]) < 0.06  # the draw of points moves both by 0.01
            assert row["code_length_bits"] > rows("log-mse", dataset)[0]["code_length_bits"] + 1
        alone, *more = rows("particles", dataset)
        assert alone["code_length_bits"] > more[-1]["code_length_bits"]
        assert all(row["iwae_bits"] < alone["neg_elbo_bits"] for row in more)
        one, *_, ten = rows("iwae", dataset)
        assert one["code_length_bits"] > 0 > ten["code_length_bits"]
        assert ten["code_length_bits"] < typical["code_length_bits"]
        off = [row["neg_elbo_bits"] - row["flow_bits"] for row in rows("flow", dataset)]
        assert off == sorted(off, reverse=True) and off[-1] < 0.01
        [vq], [autoencoder] = rows("vq", dataset), rows("autoencoder", dataset)
        assert autoencoder["neg_elbo_bits"] - autoencoder["iwae_bits"] > vq["neg_elbo_bits"] - vq["iwae_bits"] > 0.5
        assert typical["plain_bits"] - typical["neg_elbo_bits"] < 0.01 < beta["plain_bits"] - beta["neg_elbo_bits"]
    for dataset in ("8gaussians", "2spirals"):
        family = [row for draws in TRAINED_WITH for row in rows(f"iwae-{draws}", dataset)]
        assert [row["particles"] for row in family][:3] == [1, 2, 5]
        for key in ("code_length_bits", "nll_bits"):
            bits = [row[key] for row in family]
            assert bits == sorted(bits, reverse=True)
    for dataset in ("8gaussians", "2spirals"):
        [mmd], [w1], [short] = (rows(name, dataset) for name in ("wae", "wae-w1", "typical-short"))
        assert min(mmd["code_length_bits"], w1["code_length_bits"]) > short["code_length_bits"] + 0.5
    one, two, four = (rows(f"latents-{count}", "8gaussians")[0] for count in (1, 2, 4))
    assert [used(row) for row in (one, two, four)] == [1, 2, 2]
    assert one["blur"] > 2 * two["blur"]
    assert one["code_length_bits"] > two["code_length_bits"] + 0.1


def test_what_a_posterior_loses_is_of_the_same_points() -> None:
    """NLL is of the density: what the draw of points makes easier is added. Where NLL of these points is known, it is that."""
    results = json.loads(RESULTS.read_text())
    truth = {row["dataset"]: row for row in results["entropies"]}
    nll = {(row["entry"], row["dataset"]): row["nll_bits"] for row in results["rows"]}
    for row in results["limits"]:
        if row["points"] == table.POINTS:
            easier = truth[row["dataset"]]["entropy_bits"] - truth[row["dataset"]]["points_bits"]
            assert row["points_nll_bits"] == pytest.approx(nll[row["entry"], row["dataset"]] - easier, abs=0.006)

    def losses() -> list[float]:
        lines = BY_NAME["posteriors"].tables(results).splitlines()[2:]
        return [float(line.split(" | ")[-2]) for line in lines if line.startswith("| ")]

    before = losses()
    for row in results["entropies"]:
        row["points_bits"] -= 0.5
    assert np.array(losses()) - before == pytest.approx(0.5, abs=0.0011)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda row: f"{row['model']}-{row['dataset']}")
def test_committed_rows_are_as_good_as_published(published: dict[str, Any]) -> None:
    entry, particles = {"VAE": ("typical", 1), "IWAE": ("iwae", 10)}[published["model"]]
    rows = json.loads(RESULTS.read_text())["rows"]
    [row] = [row for row in rows if (row["entry"], row["dataset"], row["particles"]) == (entry, published["dataset"], particles)]
    for key in published.keys() - {"dataset", "model"}:
        assert row[key] <= published[key] + 0.02
