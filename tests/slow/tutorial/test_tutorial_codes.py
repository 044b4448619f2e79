"""The tutorial's data, numbers as codes, and every row against its own log probabilities."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from benchmarks.tutorial import (
    coding,
    deterministic,
    likelihoods,
    measuring,
    mixture,
    objectives,
    priors,
)
from benchmarks.tutorial.coding import LATENTS, POINTS, Grid, code, number, point_codec, primed, sizes, vector
from benchmarks.tutorial.data import GAUSSIANS, PLANE, Data, midpoints
from benchmarks.tutorial.deterministic import TwoPart, VectorQuantised
from benchmarks.tutorial.measuring import CODED_DRAWS, default, measure, nll
from benchmarks.tutorial.model import BITS, Conditional, LatentModel, log_prob
from benchmarks.tutorial.rows import ENTRIES, Code, Entry
from tests.tutorial import ROWS, points, trained

# Data


@pytest.mark.parametrize("data", PLANE.values(), ids=PLANE.keys())
def test_samples_follow_the_density_and_have_its_entropy(data: Data) -> None:
    limit, bins, fine, n = 0.75, 24, 16, 100_000
    middles = midpoints(limit, bins * fine)
    density = data.density(middles, middles)
    mass = density * (2 * limit / (bins * fine)) ** 2
    assert mass.sum() == pytest.approx(1, abs=1e-3)
    x = points(data, n)
    edges = np.linspace(-limit, limit, bins + 1)
    counts = np.histogram2d(x[:, 0], x[:, 1], [edges, edges])[0]
    assert counts.sum() >= n - 5
    expected = n * mass.reshape(bins, fine, bins, fine).sum((1, 3))
    likely = expected > 10
    chi_squared = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    assert abs(chi_squared - likely.sum()) < 5 * math.sqrt(2 * likely.sum())
    assert counts[~likely].sum() < expected[~likely].sum() + 5 * math.sqrt(expected[~likely].sum() + 1)

    cells = np.floor((x + limit) / (2 * limit) * bins * fine).astype(int)
    lengths = -np.log2(np.maximum(density[cells[:, 0], cells[:, 1]], 1e-9))
    entropy = -(mass * np.log2(np.maximum(density, 1e-300))).sum()
    assert lengths.mean() == pytest.approx(entropy, abs=5 * lengths.std() / n**0.5)
    if data.published_entropy is not None:
        assert entropy == pytest.approx(data.published_entropy, abs=0.01)
    if data is GAUSSIANS:
        assert data.entropy() == pytest.approx(entropy, abs=1e-3)


def test_the_mixture_of_three_has_its_entropy() -> None:
    x = mixture.THREE.sample(np.random.default_rng(0), 100_000)
    lengths = -mixture.THREE.log2_density(x[:, 0])
    assert lengths.mean() == pytest.approx(mixture.THREE.entropy(), abs=4 * lengths.std() / 100_000**0.5)
    assert mixture.THREE.joint(midpoints(1.0, 1 << 12)).sum() / (1 << 11) == pytest.approx(1)


# Numbers as codes


COARSE = Grid(-1.0, 1.0, 7)
DISTRIBUTIONS = {
    "normal": Normal(torch.tensor(0.1), torch.tensor(0.2)),
    "wide": Normal(torch.tensor(0.0), torch.tensor(50.0)),
    "narrow": Normal(torch.tensor(0.3), torch.tensor(1e-4)),
    "far below": Normal(torch.tensor(-9.0), torch.tensor(0.01)),
    "far above": Normal(torch.tensor(9.0), torch.tensor(0.01)),
    "logistic": likelihoods.Logistic(torch.tensor(-0.5), torch.tensor(0.02)),
    "mixture": priors.mixture(torch.zeros(2), torch.tensor([[-0.4], [0.6]]), torch.tensor([[0.05], [0.2]]))(torch.zeros(0)),
}


@pytest.mark.parametrize(("precision", "rounding"), [(24, 0.01), (coding.PRECISION, 0.1)])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_cell_has_a_code(name: str, precision: int, rounding: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most unlikely ones too; and the shares of all are 1. Heads of 31 bits are rounded the more, the finer freqs are."""
    monkeypatch.setattr(coding, "PRECISION", precision)
    codec, cells = number(COARSE, DISTRIBUTIONS[name]), np.arange(1 << COARSE.bits)
    shares = codec.log_freqs(cells, True) / 2**16
    batch = primed(len(cells), words=8)
    before = sizes(batch)
    codec.push(batch, cells)
    assert sizes(batch) - before == pytest.approx(-shares, abs=rounding)
    assert (sizes(batch) - before + shares).mean() == pytest.approx(0, abs=0.005)
    assert np.exp2(shares).sum() == pytest.approx(1, abs=1e-3)
    assert codec.pop(batch)[1].tolist() == cells.tolist()
    assert batch.messages == primed(len(cells), words=8).messages


@pytest.mark.parametrize("name", ["normal", "wide", "logistic", "mixture"])
def test_shares_of_cells_are_those_of_the_distribution(name: str) -> None:
    """Of the mass between edges, where there is some; the first and the last cell have the tails."""
    distribution = DISTRIBUTIONS[name]
    codec = number(COARSE, distribution)
    edges = COARSE.low + COARSE.step * torch.arange((1 << COARSE.bits) + 1, dtype=torch.float64)
    below = distribution.cdf(edges).double()
    below[0], below[-1] = 0, 1
    mass = below.diff().numpy()
    log_shares = codec.log_freqs(np.arange(1 << COARSE.bits), True) / 2**16
    likely = mass > 1e-4
    assert likely.sum() > 2
    assert log_shares[likely] == pytest.approx(np.log2(mass[likely]), abs=0.002)


def test_cells_at_the_ends_of_fine_grids_have_codes() -> None:
    for grid in (POINTS, LATENTS):
        codec = number(grid, Normal(torch.zeros((), dtype=torch.float64), 0.001))
        cells = np.array([0, 1, (1 << grid.bits - 1) - 1, 1 << grid.bits - 1, (1 << grid.bits) - 2, (1 << grid.bits) - 1])
        batch = primed(len(cells), words=8)
        before = sizes(batch)
        codec.push(batch, cells)
        assert (sizes(batch) - before).max() <= 2 * coding.PRECISION + 0.01
        assert codec.pop(batch)[1].tolist() == cells.tolist()
        assert batch.messages == primed(len(cells), words=8).messages


def test_cells_hold_their_numbers() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 1000)
    assert np.abs(POINTS.middles(POINTS.cells(x)).numpy() - x).max() <= POINTS.step / 2
    assert POINTS.cells(np.array([-5.0, 5.0])).tolist() == [0, (1 << POINTS.bits) - 1]


@pytest.mark.usefixtures("in_float64")
def test_a_vector_is_coded_number_by_number() -> None:
    """The second given the middle of the first's cell, so its cell is all but certain here."""

    def conditional(before: Tensor) -> Normal:
        return Normal(before[..., 0] / 2, 1e-5) if before.shape[-1] else Normal(torch.tensor(0.2), 0.1)

    codec = vector(POINTS, conditional)
    batch, cells = codec.pop(primed(5, words=8))
    x = POINTS.middles(cells)
    assert cells.shape == (5, 2)
    assert (x[:, 1] - x[:, 0] / 2).abs().max() < POINTS.step
    assert codec.push(batch, cells).messages == primed(5, words=8).messages


@pytest.mark.usefixtures("in_float64")
def test_latents_are_drawn_from_clean_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a posterior half as wide as the prior, unclean bits draw a z that is half of the last, and soon 0."""

    class Narrow(LatentModel):
        def posterior(self, x: Tensor) -> Conditional:
            return lambda before: Normal(torch.zeros(before.shape[:-1]), torch.tensor(0.5))

        def likelihood(self, z: Tensor) -> Conditional:
            return lambda before: Normal(torch.zeros_like(z[..., 0]), torch.tensor(0.3))

    vae, x = Narrow(), points(GAUSSIANS, 1000)
    expected = measuring.neg_elbo(vae, POINTS.middles(POINTS.cells(x))).mean().item()
    clean = code(x, point_codec(vae))
    assert clean.decoded_equal
    assert clean.bits == pytest.approx(expected, abs=5 * clean.error)
    monkeypatch.setattr(coding, "dithered", lambda codec, key: codec)
    assert abs(code(x, point_codec(vae)).bits - expected) > 10 * clean.error


# Rows: what they say of themselves, and what is coded


def claimed(vae: LatentModel, way: Code, cells: np.ndarray) -> np.ndarray:
    """The bits of each point less the grid's, by the log probabilities of the very latents that bits-back will draw."""
    x = POINTS.middles(cells)
    if isinstance(vae, TwoPart):
        return (-BITS * vae.bound(x, 1)).numpy()
    batch, q, drawn = primed(len(x)), vector(way.latents, vae.posterior(x), vae.latents, cells), []
    for _ in range(way.particles):
        batch, latent = q.pop(batch)
        drawn.append(way.latents.middles(latent))
    z = torch.stack(drawn)
    weights = log_prob(vae.likelihood(z), x) + log_prob(vae.prior(), z) - log_prob(vae.posterior(x), z)
    return (-BITS * (torch.logsumexp(weights, 0) - math.log(way.particles))).numpy()


@pytest.mark.parametrize(("entry", "way"), ROWS)
def test_a_row_takes_the_bits_that_it_claims(entry: Entry, way: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """With freqs of 24 bits, as the rounding of heads hides less then; those of the page are tested on the first row."""
    precision = coding.PRECISION if entry.name == "typical" else 24
    for module in (coding, deterministic):
        monkeypatch.setattr(module, "PRECISION", precision)
    vae = trained(entry)
    if isinstance(vae, objectives.Wasserstein):  # whose narrow normals are not where the points are yet: a cell that is
        vae.raw.data.zero_()  # 7 standard deviations away takes less than it claims, as no freq is below 2**-24
    vae = way.read(vae) if way.read else vae
    x = points(GAUSSIANS, 15 if way.particles < 10 else 5)
    times = max(1, CODED_DRAWS // way.particles)
    row = measure(vae, GAUSSIANS, x, particles=way.particles, latents=way.latents)
    assert row.decoded_equal
    assert row.points == len(x)
    assert (row.dataset, row.model, row.particles) == ("8gaussians", vae.title, way.particles)
    figures = [value for value in row.json().values() if isinstance(value, float | int)]
    assert np.isfinite(figures).all()
    with default(torch.float64), torch.no_grad():
        vae = vae.double().eval()
        lengths = claimed(vae, way, np.tile(POINTS.cells(x), (times, 1)))
    tolerance = 0.05 if isinstance(vae, priors.ResampledPrior) else 0.01  # its density is constant in cells
    assert row.code_length_bits == pytest.approx(np.mean(lengths), abs=tolerance)
    if way.particles == 1:  # by other latents
        error = math.hypot(row.code_length_error, row.neg_elbo_error)
        assert row.coded_bound_bits == pytest.approx(row.neg_elbo_bits, abs=4 * error)
        assert row.code_length_bits == pytest.approx(row.neg_elbo_bits, abs=4 * error)


def test_rows_have_names_of_their_own() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    models = [entry for entry in ENTRIES if entry.name != "flow" and not entry.weights]
    assert len({(entry.make().title, entry.steps) for entry in models}) == len(models)
    assert all(entry.make().source for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_weights_are_all_that_a_trained_model_is(entry: Entry) -> None:
    """The page is redrawn from them."""
    vae, again = trained(entry, 2).eval(), entry.make().eval()
    again.load_state_dict(vae.state_dict())
    x = torch.from_numpy(points(GAUSSIANS, 20)).float()
    with torch.no_grad():
        torch.manual_seed(1)
        expected = vae.bound(x, 2)
        torch.manual_seed(1)
        assert torch.equal(again.bound(x, 2), expected)


@pytest.mark.usefixtures("in_float64")
def test_two_part_codes_take_what_the_code_and_the_point_take() -> None:
    with default(torch.float32), torch.enable_grad():
        vae = trained(Entry("vq", VectorQuantised)).double()
    assert isinstance(vae, TwoPart)
    codec, batch = vae.codec(), primed(20, words=8)
    cells = POINTS.cells(points(GAUSSIANS, 20))
    x = POINTS.middles(cells)
    before = sizes(batch)
    codec.push(batch, cells)
    assert all(message.lowest == 8 for message in batch.messages)  # nothing to get back
    grid = 2 * math.log2(1 / POINTS.step)
    assert sizes(batch) - before - grid == pytest.approx((-BITS * vae.bound(x, 1)).numpy(), abs=0.01)
    assert torch.all(vae.bound(x, 2) >= vae.bound(x, 1))  # the sum over all codes
    assert vae.log_prior.exp().sum().item() == pytest.approx(1)
    assert codec.pop(batch)[1].tolist() == cells.tolist()
    assert batch.messages == primed(20, words=8).messages


@pytest.mark.parametrize(("precision", "most", "mean"), [(24, 0.02, 0.001), (coding.PRECISION, 0.1, 0.002)])
def test_the_mixture_takes_its_log_density_point_by_point(
    precision: int, most: float, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (coding, mixture):
        monkeypatch.setattr(module, "PRECISION", precision)
    codec, x = mixture.THREE.codec(), mixture.THREE.sample(np.random.default_rng(1), 200)
    cells = POINTS.cells(x)
    batch, grid = primed(len(x), words=8), math.log2(1 / POINTS.step)
    before = sizes(batch)
    codec.push(batch, cells)
    lengths = sizes(batch) - before - grid
    excess = lengths + mixture.THREE.log2_density(POINTS.middles(cells).numpy()[:, 0])
    assert np.abs(excess).max() < most  # the rounding of heads, as above
    assert abs(excess.mean()) < mean
    length = code(x, codec)
    assert length.decoded_equal
    assert length.bits == pytest.approx(lengths.mean(), abs=0.01)  # fewer messages, other latents


def test_a_point_that_comes_back_changed_is_seen() -> None:
    codec = vector(POINTS, standard)
    broken = replace(codec, pop=lambda message: (lambda m, cells: (m, cells + 1))(*codec.pop(message)))
    assert code(points(GAUSSIANS, 3), codec).decoded_equal
    assert not code(points(GAUSSIANS, 3), broken).decoded_equal


def standard(before: Tensor) -> Normal:
    return Normal(torch.zeros((), dtype=torch.float64), 1.0)


def test_nll_is_known_as_well_as_it_says() -> None:
    """Of a model whose codes are few it is exact; of others, importance sampling has an error."""
    assert nll(trained(Entry("vq", VectorQuantised), 5).eval(), GAUSSIANS)[1] == 0
    vae = trained(ENTRIES[0]).eval()
    (first, error), (second, _) = nll(vae, GAUSSIANS), nll(vae, GAUSSIANS)
    assert 0 < error < 0.5
    assert first == pytest.approx(second, abs=5 * error)
    assert first != second
