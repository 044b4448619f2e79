"""The tutorial's errata and experiments: formulas beside what was drawn and coded."""

import math

import numpy as np
import pytest
import torch

from benchmarks.tutorial import channel, jensen, mixture, model
from benchmarks.tutorial.data import GAUSSIANS, PLANE, midpoints
from benchmarks.tutorial.errata import Erratum, errata
from benchmarks.tutorial.experiments import CELLS_IN_STD, accuracy, gradients, own_grid, two_optima
from benchmarks.tutorial.measuring import measure
from benchmarks.tutorial.model import BITS, LatentModel
from benchmarks.tutorial.rows import BY_NAME, ENTRIES
from tests.tutorial import points, trained

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
    vae = trained(ENTRIES[0], 200)
    x = points(GAUSSIANS, 30)
    rows = accuracy(vae, GAUSSIANS, x, (0, 8, 12, 14))
    assert [row["n"] for row in rows] == [0, 8, 12, 14]
    assert len({row["neg_elbo_bits"] for row in rows}) == 1
    by_n = {row["n"]: row["code_length_bits"] for row in rows}
    assert by_n[0] > by_n[14] + 2  # a cell as large as the square shows nothing of 8 clusters
    assert by_n[8] == pytest.approx(by_n[14], abs=0.2)  # 30 points, and other latents
    assert by_n[12] == measure(vae, GAUSSIANS, x).code_length_bits
    assert by_n[14] == pytest.approx(rows[0]["neg_elbo_bits"], abs=0.6)  # 30 points, and other latents
    assert all(row["dataset"] == "8gaussians" for row in rows)
    assert next(vae.parameters()).dtype == torch.float32  # left as it was


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


def test_the_mean_of_logarithms_is_more_than_the_logarithm_of_the_mean() -> None:
    assert jensen.bound(1) == pytest.approx(1)
    bounds = [jensen.bound(k) for k in (1, 2, 5, 10, 100)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == pytest.approx(-math.log2(jensen.EVIDENCE), abs=0.001)
    weights = np.where(np.random.default_rng(0).random((200_000, 5)) < jensen.CHANCE, 1, jensen.RARE)
    assert jensen.bound(5) == pytest.approx(-np.log2(weights.mean(1)).mean(), abs=0.005)


@pytest.mark.parametrize("draws", [1, 2, 10])
def test_the_bound_of_several_draws_is_a_code_length(draws: int) -> None:
    [row] = jensen.averages([draws], 2000)
    assert row["code_length_bits"] == pytest.approx(row["bound_bits"], abs=3 * row["code_length_error"] + 0.005)


def test_with_the_true_posterior_every_draw_takes_the_evidence() -> None:
    lengths = jensen.coded(200, q=jensen.POSTERIOR)
    assert lengths == pytest.approx(-math.log2(jensen.EVIDENCE), abs=0.02)


def test_one_normal_fits_badly_and_three_fit() -> None:
    rows = mixture.fits(300, 150)
    one, two, three = (row["code_length_bits"] for row in rows)
    assert all(row["decoded_equal"] for row in rows)
    assert one > two + 0.1 > three + 0.2
    for row in rows:
        assert row["code_length_bits"] == pytest.approx(row["nll_bits"], abs=0.01)
        assert sum(row["weights"]) == pytest.approx(1)
    assert np.sort(rows[2]["means"]) == pytest.approx(mixture.THREE.means, abs=0.02)
    x = mixture.THREE.sample(np.random.default_rng(2), mixture.TRAINING_POINTS)[:, 0]
    assert (rows[0]["means"][0], rows[0]["stds"][0]) == (pytest.approx(x.mean()), pytest.approx(x.std()))


def test_a_step_of_em_makes_the_code_shorter() -> None:
    x = mixture.THREE.sample(np.random.default_rng(3), 2000)[:, 0]
    lengths = [-mixture.fit(x, 3, steps).log2_density(x).mean() for steps in range(8)]
    assert lengths == sorted(lengths, reverse=True)


def test_the_gradient_of_the_plain_mse_falls_with_the_errors_and_that_of_its_logarithm_grows() -> None:
    rows = gradients([1, 4, 32])
    for row in rows:
        assert row["mse_gradient"] == pytest.approx(rows[0]["mse_gradient"] / row["factor"])
        assert row["log_mse_gradient"] == pytest.approx(rows[0]["log_mse_gradient"] * row["factor"])
    errors = 0.1 * np.random.default_rng(0).standard_normal((1000, 2))
    assert rows[0]["mse_gradient"] == pytest.approx(2 * np.linalg.norm(errors, axis=1).mean())


def test_so_many_words_are_heard_apart_and_no_more() -> None:
    wrong = {(row["rate"], row["uses"]): row["wrong"] for row in channel.packing(10, 1000)}
    assert wrong[0.5, 16] < wrong[0.5, 4] / 2
    assert wrong[1.5, 6] > wrong[1.5, 2] > wrong[0.5, 2]


def test_the_cost_of_latents_is_their_capacity_where_they_match_the_prior() -> None:
    """KL = R + (sigma^2 + m^2 - 1) / (2 ln 2) for each latent."""
    vae, x = trained(ENTRIES[0]), torch.from_numpy(points(GAUSSIANS, 50)).float()
    cost, capacity, distortion = channel.channel(vae, x)
    with torch.no_grad():
        mean, raw = vae.encoder(x).chunk(2, -1)
        excess = (model.std(raw).square() + mean.square() - 1).sum(-1) * BITS / 2
    assert (cost - capacity).tolist() == pytest.approx(excess.tolist(), abs=1e-4)
    assert torch.isfinite(distortion).all()
    [row] = channel.means({"typical": {"8gaussians": vae}})
    assert row["words"] == pytest.approx(2 ** row["capacity_bits"])


def test_the_best_single_normal() -> None:
    for data in PLANE.values():
        middles = midpoints(0.75, 192)  # of which edges of the checkerboard are a part
        p = data.density(middles, middles)
        x = np.stack(np.meshgrid(middles, middles, indexing="ij"), -1)
        covariance = np.cov(points(data, 40_000).T)
        log2_normal = -0.5 * (np.einsum("...i,ij,...j", x, np.linalg.inv(covariance), x) * BITS)
        log2_normal -= 0.5 * np.log2((2 * math.pi) ** 2 * np.linalg.det(covariance))
        assert data.gaussian_bits() == pytest.approx(-(p * log2_normal).sum() / p.sum(), abs=0.02)


def test_blur_is_the_share_of_the_variance_that_is_left_to_noise() -> None:
    entry = BY_NAME["latents-1"]
    row = measure(trained(entry), GAUSSIANS, points(GAUSSIANS, 20), blurred=True)
    assert row.blur is not None and 0 < row.blur < 2
    assert row.active_latents in (0, 1)
    assert row.latent_bits is not None and len(row.latent_bits) == 1
    assert row.decoded_equal
    assert measure(LatentModel(1), GAUSSIANS, points(GAUSSIANS, 5)).blur is None
