"""The tutorial's errata, experiments, figures as numbers, command and page."""

import json
import math
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
    figures,
    mixture,
    model,
    page,
    table,
    training,
)
from benchmarks.tutorial.__main__ import HERE, RESULTS, main
from benchmarks.tutorial.data import CHECKERBOARD, GAUSSIANS, PLANE
from benchmarks.tutorial.errata import Erratum, errata
from benchmarks.tutorial.experiments import CELLS_IN_STD, accuracy, own_grid, two_optima
from benchmarks.tutorial.measuring import measure
from benchmarks.tutorial.model import BITS, Conditional, LatentModel
from benchmarks.tutorial.rows import ENTRIES
from tests.tutorial import points, trained

FIGURES = ("density", "latent_space", "noisy_channel", "accuracy", "two_optima", "particles")


# Errata and experiments


@pytest.fixture(scope="module")
def computed() -> dict[str, Erratum]:
    return {erratum.place: erratum for erratum in errata(300)}


def test_errata_name_their_figures(computed: dict[str, Erratum]) -> None:
    for erratum in computed.values():
        assert erratum.claim.endswith(".") and erratum.computed.endswith(".")
        for name, value in erratum.numbers.items():
            said = [f"{value:{form}}" for form in (".4f", ".3f", ".2f", "+.2f", "g")]
            assert any(text in f"{erratum.claim} {erratum.computed}" for text in said), (erratum.place, name)


def test_errata_are_what_they_say(computed: dict[str, Erratum]) -> None:
    """Formulas beside what was drawn and coded."""
    at = {place: erratum.numbers for place, erratum in computed.items()}
    noise, scale, missing = at["Equation 3"], at["Equation 5"], at["Equation 11"]
    assert noise["variance"] == pytest.approx(0.5**4, rel=0.02)
    assert noise["missing_bits"] == pytest.approx(0.5 * (0.5**4 - 0.5**2) * BITS + 1, abs=0.01)
    assert scale["mass"] > 1.2  # and a code's lengths are those of shares that sum to 1 at most
    assert scale["more_bits"] == pytest.approx(math.log2(scale["mass"]))
    assert scale["coded_bits"] == pytest.approx(scale["claimed_bits"] + scale["more_bits"], abs=0.001)
    assert missing["kl_bits"] > 0.05
    assert missing["neg_elbo_bits"] == pytest.approx(missing["nll_bits"] + missing["kl_bits"])
    assert missing["coded_bits"] == pytest.approx(missing["neg_elbo_bits"], abs=3 * missing["error"])
    assert missing["coded_bits"] > missing["nll_bits"] + 1.5 * missing["error"]

    axes, halved, hundredth, signs = (at[place] for place in ("Section 3.3", "Section 5.1", "Equation 43", "Section 6.2"))
    assert abs(axes["along_u"]) < 0.2 < 0.6 < abs(axes["along_v"])
    assert axes["kl_bits"] == pytest.approx(BITS / 2 * math.sin(math.radians(40)) ** 2 * (3 - 1 / 3) ** 2)
    assert axes["coded_bits"] == pytest.approx(axes["kl_bits"], abs=3 * axes["error"])
    assert halved["formula_bits"] == pytest.approx(0.5)
    assert halved["saved_bits"] == pytest.approx(0.5, abs=3 * halved["error"])
    assert 5 * halved["error"] < 0.5
    assert (hundredth["claimed_bits"], round(hundredth["best_bits"], 2)) == (7.4, 6.73)
    assert hundredth["best_coded_bits"] == pytest.approx(hundredth["best_bits"], abs=3 * hundredth["error"])
    assert hundredth["plain_bits"] == pytest.approx(8.8402, abs=1e-4)
    assert hundredth["plain_coded_bits"] == pytest.approx(hundredth["plain_bits"], abs=0.01)
    assert (signs["of_logs_bits"], round(signs["log_of_bits"], 2)) == (pytest.approx(1), 0.15)
    assert signs["coded_bits"] == pytest.approx(signs["of_logs_bits"], abs=3 * signs["error"])
    assert signs["exact_coded_bits"] == pytest.approx(signs["log_of_bits"], abs=0.01)


def test_code_length_flattens_where_the_grid_is_fine() -> None:
    found = trained(ENTRIES[0], 200)
    x = points(GAUSSIANS, 30)
    rows = accuracy(found, GAUSSIANS, x, (0, 8, 12, 14))
    assert [row["n"] for row in rows] == [0, 8, 12, 14]
    assert len({row["neg_elbo_bits"] for row in rows}) == 1
    by_n = {row["n"]: row["code_length_bits"] for row in rows}
    assert by_n[0] > by_n[14] + 2  # a cell as large as the square shows nothing of 8 clusters
    assert by_n[8] == pytest.approx(by_n[14], abs=0.2)  # 30 points, and other latents
    assert by_n[12] == measure(found, GAUSSIANS, x).code_length_bits
    assert by_n[14] == pytest.approx(rows[0]["neg_elbo_bits"], abs=0.6)  # 30 points, and other latents
    assert all(row["dataset"] == "8gaussians" for row in rows)
    assert next(found.parameters()).dtype == torch.float32  # left as it was


def test_two_optima_have_one_code_length() -> None:
    epsilons = (1.0, 0.25, 1 / 64, 1 / 512)
    rows = two_optima(epsilons, 150)
    assert [row["epsilon"] for row in rows] == [None, *epsilons[1:]]
    lengths = [row["code_length_bits"] for row in rows]
    assert max(lengths) - min(lengths) < 0.01
    for epsilon, row in zip(epsilons, rows, strict=True):
        assert row["code_length_bits"] == pytest.approx(row["entropy_bits"], abs=3 * row["code_length_error"])
        assert row["kl_bits"] == pytest.approx(math.log2(1 / epsilon), abs=0.3)
        on_the_grid = 0.5 * math.log2(2 * math.pi * math.e) + math.log2(epsilon * 2**16)
        assert row["initial_bits"] == pytest.approx(on_the_grid, abs=0.3)
        of_its_own = 0.5 * math.log2(2 * math.pi * math.e) + math.log2(CELLS_IN_STD)
        assert row["own_grid_initial_bits"] == pytest.approx(of_its_own, abs=0.3)


def test_a_grid_of_its_own_has_room_and_cells_enough() -> None:
    for epsilon in (1.0, 0.3, 0.003, 2.0**-10):
        grid = own_grid(epsilon)
        assert grid.step == pytest.approx(epsilon / CELLS_IN_STD)
        assert 8 <= grid.high < 16
        assert grid.low == -grid.high


def test_two_optima_know_their_grids() -> None:
    with pytest.raises(ValueError, match="epsilons are"):
        two_optima([0.5, 1e-6])
    with pytest.raises(ValueError, match="epsilons are"):
        two_optima([2.0])


# Figures as numbers, the command and the page


def test_the_cost_of_latents_is_their_capacity_where_they_match_the_prior() -> None:
    """KL = R + (sigma^2 + m^2 - 1) / (2 ln 2) for each latent."""
    found, x = trained(ENTRIES[0]), torch.from_numpy(points(GAUSSIANS, 50)).float()
    cost, capacity, distortion = figures.channel(found, x)
    with torch.no_grad():
        mean, raw = found.encoder(x).chunk(2, -1)
        excess = (model.std(raw).square() + mean.square() - 1).sum(-1) * BITS / 2
    assert (cost - capacity).tolist() == pytest.approx(excess.tolist(), abs=1e-4)
    assert torch.isfinite(distortion).all()


@pytest.mark.parametrize(("inside", "share"), [(1.0, 0.0), (0.0, 1.0)])
def test_latents_are_dark_where_no_data_is(inside: float, share: float) -> None:
    """All latents to a cell of the checkerboard that has points, or to one that has none."""
    cell = torch.tensor([-0.375, -0.375 if inside else -0.125])

    class Constant(LatentModel):
        def likelihood(self, z: Tensor) -> Conditional:
            mean = cell.expand_as(z)
            return lambda before: Normal(mean[..., before.shape[-1]], torch.tensor(0.1))

    assert figures.dark_share(Constant(), CHECKERBOARD) == share


def test_half_of_the_latents_are_dark_where_half_are_where_no_data_is() -> None:
    class Half(LatentModel):
        def likelihood(self, z: Tensor) -> Conditional:
            mean = torch.stack([torch.full_like(z[..., 0], -0.375), torch.where(z[..., 0] > 0, -0.375, -0.125)], -1)
            return lambda before: Normal(mean[..., before.shape[-1]], torch.tensor(0.1))

    assert figures.dark_share(Half(), CHECKERBOARD) == pytest.approx(0.5)


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
    monkeypatch.setattr(
        table, "ENTRIES", tuple(entry for entry in ENTRIES if entry.name in ("typical", "mse", "iwae", "beta", "vq"))
    )
    monkeypatch.setattr(table, "ACCURACY_POINTS", 20)
    monkeypatch.setattr(table, "ACCURACIES", (3, 6))
    monkeypatch.setattr(table, "EPSILONS", (1.0, 0.1))
    monkeypatch.setattr(table.errata, "errata", lambda: errata(20))
    for name, cells in (("DENSITY_CELLS", 16), ("LATENT_CELLS", 16), ("CHANNEL_POINTS", 20)):
        monkeypatch.setattr(figures, name, cells)
    results, folder = tmp_path / "t.json", tmp_path / "page"
    options = ["--out", str(results), "--page", str(folder), "--processes", "1"]
    first = click.testing.CliRunner().invoke(main, [*options, "--share", "0.0005", "--points", "20"])
    assert first.exit_code == 0, first.output
    rows = json.loads(results.read_text())["rows"]
    assert len(rows) == len(PLANE) * (1 + 2 + 4 + 1 + 1) + 1
    assert all(row["decoded_equal"] and row["points"] == 20 for row in rows)
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
    assert there >= {*((entry.name, dataset) for entry in ENTRIES for dataset in PLANE), ("mixture", mixture.NAME)}
    assert all(row["decoded_equal"] and row["points"] == table.POINTS and row["share"] == 1 for row in rows)
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
