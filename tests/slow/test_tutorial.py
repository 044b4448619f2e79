"""The tutorial's models: every identity against brute-force sums, every row against its own log probabilities."""

import json
import math
import multiprocessing.dummy
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click.testing
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from benchmarks.tutorial import (
    coding,
    deterministic,
    figures,
    flow,
    likelihoods,
    measuring,
    mixture,
    model,
    objectives,
    page,
    posteriors,
    priors,
    table,
    training,
)
from benchmarks.tutorial.__main__ import HERE, RESULTS, main
from benchmarks.tutorial.coding import LATENTS, POINTS, Grid, code, number, point_codec, primed, sizes, standard_error, vector
from benchmarks.tutorial.data import CHECKERBOARD, GAUSSIANS, PLANE, Data, midpoints
from benchmarks.tutorial.deterministic import TwoPart, VectorQuantised
from benchmarks.tutorial.errata import errata
from benchmarks.tutorial.experiments import CELLS_IN_STD, accuracy, own_grid, two_optima
from benchmarks.tutorial.flow import Flow, NearDeterministic
from benchmarks.tutorial.measuring import CODED_DRAWS, default, measure, nll
from benchmarks.tutorial.model import BITS, FREE_BITS, Conditional, LatentModel, draw, log_prob
from benchmarks.tutorial.rows import ENTRIES, Code, Entry

FIGURES = ("density", "latent_space", "noisy_channel", "accuracy", "two_optima", "particles")
ROWS = [pytest.param(entry, way, id=f"{entry.name}-{i}") for entry in ENTRIES for i, way in enumerate(entry.codes)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, one_torch_thread: None) -> None:
    """Networks, batches and grids small enough for tests, and the same in each of them."""
    torch.manual_seed(0)
    monkeypatch.setattr(model, "HIDDEN", 16)
    monkeypatch.setattr(LatentModel, "batch", 64)
    monkeypatch.setattr(likelihoods, "SETTLING_POINTS", 1 << 10)
    monkeypatch.setattr(deterministic, "SETTLING_POINTS", 1 << 10)
    monkeypatch.setattr(measuring, "NLL_GRID", (0.5, 12))
    monkeypatch.setattr(measuring, "NLL_PARTICLES", 10)
    monkeypatch.setattr(objectives.Wasserstein, "settling_steps", 3)


@pytest.fixture
def in_float64() -> Iterator[None]:
    with default(torch.float64), torch.no_grad():
        yield


def points(data: Data, n: int) -> np.ndarray:
    return data.sample(np.random.default_rng(1), n)


def trained(entry: Entry, steps: int = 5) -> LatentModel:
    found = entry.make()
    training.fit(found, lambda n: torch.from_numpy(points(GAUSSIANS, n)).float(), steps)
    return found


# What all rows share: the ELBO, its terms, and the bounds, by sums over a grid of latents


def latent_grid(limit: float = 6.0, cells: int = 240) -> tuple[Tensor, float]:
    """Middles of cells (cells, cells, 2), and the area of one."""
    side = torch.from_numpy(midpoints(limit, cells))
    return torch.stack(torch.meshgrid(side, side, indexing="ij"), -1), (2 * limit / cells) ** 2


def summed(found: LatentModel, x: Tensor) -> tuple[float, float, float]:
    """Of a point (2,): log p(x), the ELBO, and KL(q(z|x) || p(z|x)), in nats, each a sum of its own over the grid."""
    z, area = latent_grid()
    log_q = log_prob(found.posterior(x.expand_as(z)), z)
    log_joint = log_prob(found.prior(), z) + log_prob(found.likelihood(z), x.expand_as(z))
    evidence = (torch.logsumexp(log_joint.flatten(), 0) + math.log(area)).item()
    q = log_q.exp() * area
    assert q.sum().item() == pytest.approx(1, abs=1e-4)
    return evidence, (q * (log_joint - log_q)).sum().item(), (q * (log_q - (log_joint - evidence))).sum().item()


@pytest.mark.usefixtures("in_float64")
def test_kl_in_closed_form_is_the_sum_over_a_grid() -> None:
    found = LatentModel().double()
    z, area = latent_grid()
    for x in torch.tensor([[0.1, -0.3], [0.4, 0.4]]):
        q = found.posterior(x)
        log_q = log_prob(found.posterior(x.expand_as(z)), z)
        expected = (log_q.exp() * (log_q - log_prob(found.prior(), z))).sum() * area
        assert found.kl(q, torch.zeros(2)).item() == pytest.approx(expected.item(), abs=1e-6)
        assert expected > 4 * FREE_BITS / BITS


@pytest.mark.usefixtures("in_float64")
def test_kl_asks_nothing_of_the_free_bits() -> None:
    found = LatentModel().double()
    assert found.kl(found.prior(), torch.zeros(7, 2)).tolist() == pytest.approx([2 * FREE_BITS / BITS] * 7)


def test_draws_have_the_mean_and_the_covariance_of_their_conditionals() -> None:
    """z_2 given z_1 is N(1 + 2 z_1, 0.3^2), z_1 is N(-1, 0.5^2)."""

    def conditional(before: Tensor) -> Normal:
        if not before.shape[-1]:
            return Normal(torch.full(before.shape[:-1], -1.0), 0.5)
        return Normal(1 + 2 * before[..., 0], 0.3)

    z = draw(conditional, torch.Size([200_000]))
    assert z.mean(0).tolist() == pytest.approx([-1, -1], abs=0.02)
    assert z.T.cov().flatten().tolist() == pytest.approx([0.25, 0.5, 0.5, 1.09], abs=0.02)


def test_gradients_go_through_draws() -> None:
    """The mean of z^2 is mean^2 + std^2, by its derivatives too; and z_2 passes on what it owes to z_1."""
    mean, deviation = torch.tensor([0.7, -0.4], requires_grad=True), torch.tensor([0.5, 0.2], requires_grad=True)

    def conditional(before: Tensor) -> Normal:
        d = before.shape[-1]
        return Normal(mean[d] + before.sum(-1), deviation[d])

    z = draw(conditional, torch.Size([200_000]))
    z[:, 1].square().mean().backward()
    assert mean.grad is not None and deviation.grad is not None
    assert mean.grad.tolist() == pytest.approx([2 * 0.3, 2 * 0.3], abs=0.02)  # z_2 is N(0.7 - 0.4, 0.5^2 + 0.2^2)
    assert deviation.grad.tolist() == pytest.approx([2 * 0.5, 2 * 0.2], abs=0.02)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "make", [LatentModel, posteriors.FullCovariance, posteriors.InverseAutoregressive, priors.LearnedPrior, priors.VampPrior]
)
def test_log_p_is_the_elbo_and_the_kl_to_the_true_posterior(make: type[LatentModel]) -> None:
    found = make().double()
    x = torch.tensor([0.2, -0.1])
    evidence, elbo, kl = summed(found, x)
    draws = found.bound(x.expand(20_000, 2), 1)
    assert kl > 0
    assert elbo + kl == pytest.approx(evidence, abs=1e-6)
    wide = Normal(torch.zeros(()), 2.0)  # log p(x) once more, by importance sampling without q
    z = wide.sample(torch.Size([200_000, 2]))
    weights = log_prob(found.likelihood(z), x.expand_as(z)) + log_prob(found.prior(), z) - wide.log_prob(z).sum(-1)
    assert (torch.logsumexp(weights, 0) - math.log(len(z))).item() == pytest.approx(evidence, abs=0.02)
    assert draws.mean().item() == pytest.approx(evidence - kl, abs=4 * standard_error(draws))


@pytest.mark.usefixtures("in_float64")
def test_more_particles_bring_the_bound_nearer_to_log_p() -> None:
    found = LatentModel().double()
    x = torch.tensor([0.2, -0.1])
    evidence, elbo, _ = summed(found, x)
    before, before_error = elbo, 0.0
    for particles, repeats in ((2, 30_000), (10, 10_000), (100, 2000)):
        draws = found.bound(x.expand(repeats, 2), particles)
        now, now_error = draws.mean().item(), standard_error(draws)
        assert now > before + 2 * math.hypot(before_error, now_error)
        assert now < evidence + 3 * now_error
        before, before_error = now, now_error
    assert evidence - now < (evidence - elbo) / 2


@pytest.mark.usefixtures("in_float64")
def test_a_model_is_a_density_of_points() -> None:
    """p(x_1|z) p(x_2|x_1, z) of the decoder that sees x_1 sums to 1 over the plane."""
    found = likelihoods.AutoregressiveDecoder().double()
    x, area = latent_grid(4.0, 200)
    assert log_prob(found.likelihood(torch.tensor([0.3, -1.0])), x).exp().sum().item() * area == pytest.approx(1, abs=1e-4)


# Rows that differ in one thing


def check_density(distribution: Distribution, limit: float, cells: int = 4000, tolerance: float = 1e-3) -> None:
    """log_prob and cdf of one number say the same."""
    edges = torch.linspace(-limit, limit, cells + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    below = distribution.cdf(edges)
    step = 2 * limit / cells
    assert torch.all(below.diff() >= -1e-12)
    assert (below[-1] - below[0]).item() == pytest.approx(1, abs=1e-4)
    mass = distribution.log_prob(middles).exp() * step
    assert (mass.cumsum(0) - below[1:]).abs().max().item() < tolerance


@pytest.mark.usefixtures("in_float64")
def test_logistics_have_tails() -> None:
    logistic = likelihoods.Logistic(torch.tensor(0.1), torch.tensor(0.05))
    check_density(logistic, 1.5)
    for scales in (-100.0, -20.0, 20.0, 100.0):
        log_density = -abs(scales) - math.log(0.05)  # but for exp(-20)
        assert logistic.log_prob(torch.tensor(0.1 + 0.05 * scales)).item() == pytest.approx(log_density, abs=1e-3)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("make", [LatentModel, priors.LearnedPrior, priors.VampPrior, priors.ResampledPrior])
def test_priors_are_densities(make: type[LatentModel]) -> None:
    found = make().double().eval()
    found.settle(lambda n: torch.zeros(n, 2))
    prior = found.prior()
    check_density(prior(torch.zeros(0)), 7, tolerance=0.01)
    check_density(prior(torch.tensor([0.4])), 7, tolerance=0.01)


@pytest.mark.usefixtures("in_float64")
def test_a_mixture_number_by_number_is_the_mixture() -> None:
    logits, means, deviations = torch.randn(5), torch.randn(5, 2), torch.rand(5, 2) + 0.2
    z = torch.randn(9, 2)
    parts = logits.log_softmax(0) + Normal(means, deviations).log_prob(z[:, None]).sum(-1)
    expected = torch.logsumexp(parts, -1)
    assert log_prob(priors.mixture(logits, means, deviations), z).tolist() == pytest.approx(expected.tolist())


@pytest.mark.usefixtures("in_float64")
def test_a_resampled_prior_is_the_accepted_share_of_a_normal() -> None:
    found = priors.ResampledPrior().double().eval()
    found.settle(lambda n: torch.zeros(n, 2))
    z, area = latent_grid(4.9, 160)
    weight = torch.exp(-z.square().sum(-1) / 2) * torch.sigmoid(found.acceptance(z)[..., 0])
    expected = (weight / (weight.sum() * area)).log()
    near = z.norm(dim=-1) < 3
    assert (log_prob(found.prior(), z) - expected)[near].abs().max().item() < 0.06  # a cell of 1/40 where the slope is 3
    assert (log_prob(found.prior(), z) - expected)[near].mean().item() == pytest.approx(0, abs=0.002)
    assert (found.log_prior(z) - expected)[near].abs().max().item() < 0.01  # what training sees


@pytest.mark.usefixtures("in_float64")
def test_a_resampled_prior_moves_both_latents() -> None:
    found = priors.ResampledPrior().double()
    z, step = torch.randn(20, 2), 1e-5
    with torch.enable_grad():
        gradient = torch.autograd.grad(found.log_prior(z.requires_grad_()).sum(), z)[0]
    for d in range(2):
        moved = step * torch.eye(2)[d]
        slope = (found.log_accepted(z + moved) - found.log_accepted(z - moved)) / (2 * step)
        assert gradient[:, d].tolist() == pytest.approx(slope.tolist(), abs=1e-6)


@pytest.mark.usefixtures("in_float64")
def test_log_mse_is_the_elbo_with_the_best_variance() -> None:
    found = likelihoods.LogMeanSquaredError().double()
    x = torch.from_numpy(points(GAUSSIANS, 300))
    losses = []
    torch.manual_seed(3)
    by_log = found.loss(x).item()
    torch.manual_seed(3)
    squared, kl = found.squared_errors(x)
    for factor in (0.9, 1.0, 1.1):
        variance = factor * squared.mean()
        losses.append((0.5 * (squared / variance + (2 * math.pi * variance).log()).sum(-1) + kl).mean().item())
    assert by_log == pytest.approx(losses[1])
    assert min(losses) == losses[1]


@pytest.mark.usefixtures("in_float64")
def test_plain_mse_is_the_elbo_with_variance_one_half() -> None:
    found = likelihoods.MeanSquaredError().double()
    x = torch.from_numpy(points(GAUSSIANS, 300))
    torch.manual_seed(3)
    plain = found.loss(x)
    torch.manual_seed(3)
    assert (LatentModel.loss(found, x) - plain).item() == pytest.approx(math.log(math.pi))  # of the normals


@pytest.mark.usefixtures("in_float64")
def test_mmd_is_nothing_for_equal_distributions() -> None:
    same = torch.tensor([objectives.mmd(torch.randn(100, 2), torch.randn(100, 2)) for _ in range(200)])
    other = torch.stack([objectives.mmd(torch.randn(100, 2), torch.randn(100, 2) + 1) for _ in range(10)])
    assert same.mean().item() == pytest.approx(0, abs=4 * standard_error(same))
    assert other.min() > 0.2


@pytest.mark.usefixtures("in_float64")
def test_a_flow_is_a_density_and_has_an_inverse() -> None:
    found = Flow().double()
    x, area = latent_grid(2.5, 250)
    assert found.bound(x, 1).exp().sum().item() * area == pytest.approx(1, abs=1e-3)
    assert torch.allclose(found(found.inverse(x)[0]), x)


@pytest.mark.usefixtures("in_float64")
def test_near_deterministic_models_tend_to_the_flow() -> None:
    found = trained_flow()
    x = torch.from_numpy(points(GAUSSIANS, 20))
    exact = found.bound(x, 1)
    gaps = []
    for epsilon in (0.1, 0.03, 0.01, 0.001):
        near = NearDeterministic(found, epsilon)
        gaps.append((exact - near.bound(x.repeat(100, 1), 1).view(100, 20).mean(0)).abs().max().item())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.01


@pytest.mark.usefixtures("in_float64")
def test_a_flow_is_trained_by_the_elbo_of_its_near_deterministic_model() -> None:
    found = trained_flow()
    x = torch.from_numpy(points(GAUSSIANS, 10)).repeat(500, 1)
    losses = torch.stack([found.loss(part) for part in x.split(100)])
    negative = -NearDeterministic(found, flow.TRAINED_EPSILON).bound(x, 1).view(500, 10)
    error = math.hypot(losses.std().item() / 50**0.5, negative.mean(1).std().item() / 500**0.5)
    assert losses.mean().item() == pytest.approx(negative.mean().item(), abs=4 * error)
    assert error < 0.1


def trained_flow() -> Flow:
    with default(torch.float32), torch.enable_grad():
        found = trained(next(entry for entry in ENTRIES if entry.name == "flow"), 20)
    assert isinstance(found, Flow)
    return found.double()


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
    x = mixture.sample(np.random.default_rng(0), 100_000)
    lengths = -mixture.log2_density(x[:, 0])
    assert lengths.mean() == pytest.approx(mixture.entropy(), abs=4 * lengths.std() / 100_000**0.5)
    assert mixture.joint(midpoints(1.0, 1 << 12)).sum() / (1 << 11) == pytest.approx(1)


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

    found, x = Narrow(), points(GAUSSIANS, 2000)
    expected = measuring.neg_elbo(found, POINTS.middles(POINTS.cells(x))).mean().item()
    clean = code(x, point_codec(found))
    assert clean.decoded_equal
    assert clean.bits == pytest.approx(expected, abs=5 * clean.error)
    monkeypatch.setattr(coding, "dithered", lambda codec, key: codec)
    assert abs(code(x, point_codec(found)).bits - expected) > 20 * clean.error


# Rows: what they say of themselves, and what is coded


def claimed(found: LatentModel, way: Code, cells: np.ndarray) -> np.ndarray:
    """The bits of each point less the grid's, by the log probabilities of the very latents that bits-back will draw."""
    x = POINTS.middles(cells)
    if isinstance(found, TwoPart):
        return (-BITS * found.bound(x, 1)).numpy()
    batch, q, drawn = primed(len(x)), vector(way.latents, found.posterior(x), key=cells), []
    for _ in range(way.particles):
        batch, latent = q.pop(batch)
        drawn.append(way.latents.middles(latent))
    z = torch.stack(drawn)
    weights = log_prob(found.likelihood(z), x) + log_prob(found.prior(), z) - log_prob(found.posterior(x), z)
    return (-BITS * (torch.logsumexp(weights, 0) - math.log(way.particles))).numpy()


@pytest.mark.parametrize(("precision", "rounding"), [(24, 0.0), (coding.PRECISION, 0.005)])
@pytest.mark.parametrize(("entry", "way"), ROWS)
def test_a_row_takes_the_bits_that_it_claims(
    entry: Entry, way: Code, precision: int, rounding: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (coding, deterministic):
        monkeypatch.setattr(module, "PRECISION", precision)
    found = trained(entry)
    if isinstance(found, objectives.Wasserstein):  # whose narrow normals are not where the points are yet: a cell that is
        found.raw.data.zero_()  # 7 standard deviations away takes less than it claims, as no freq is below 2**-24
    found = way.of(found) if way.of else found
    x = points(GAUSSIANS, 15 if way.particles < 10 else 5)
    times = max(1, CODED_DRAWS // way.particles)
    row = measure(found, GAUSSIANS, x, particles=way.particles, latents=way.latents)
    assert row.decoded_equal
    assert row.points == len(x)
    assert (row.dataset, row.model, row.particles) == ("8gaussians", found.title, way.particles)
    figures = [value for value in row.json().values() if isinstance(value, float | int)]
    assert np.isfinite(figures).all()
    with default(torch.float64), torch.no_grad():
        found = found.double().eval()
        lengths = claimed(found, way, np.tile(POINTS.cells(x), (times, 1)))
    tolerance = 0.05 if isinstance(found, priors.ResampledPrior) else 0.01  # its density is constant in cells
    tolerance += rounding * (way.particles - 1)  # few points, many symbols each: the rounding of heads
    assert row.code_length_bits == pytest.approx(np.mean(lengths), abs=tolerance)
    if way.particles == 1:  # by other latents
        assert row.coded_bound_bits == pytest.approx(row.neg_elbo_bits, abs=4 * row.neg_elbo_error)
        assert row.code_length_bits == pytest.approx(
            row.neg_elbo_bits, abs=4 * math.hypot(row.code_length_error, row.neg_elbo_error)
        )


def test_rows_have_names_of_their_own() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    trained_alike = {entry.name: (entry.make().title, entry.steps) for entry in ENTRIES if entry.name != "flow"}
    assert len(set(trained_alike.values())) == len(ENTRIES) - 1
    assert all(entry.make().source for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_weights_are_all_that_a_trained_model_is(entry: Entry) -> None:
    """The page is redrawn from them."""
    found, again = trained(entry, 2).eval(), entry.make().eval()
    again.load_state_dict(found.state_dict())
    x = torch.from_numpy(points(GAUSSIANS, 20)).float()
    with torch.no_grad():
        torch.manual_seed(1)
        expected = found.bound(x, 2)
        torch.manual_seed(1)
        assert torch.equal(again.bound(x, 2), expected)


@pytest.mark.usefixtures("in_float64")
def test_two_part_codes_take_what_the_code_and_the_point_take() -> None:
    with default(torch.float32), torch.enable_grad():
        found = trained(Entry("vq", VectorQuantised)).double()
    assert isinstance(found, TwoPart)
    codec, batch = found.codec(), primed(20, words=8)
    cells = POINTS.cells(points(GAUSSIANS, 20))
    x = POINTS.middles(cells)
    before = sizes(batch)
    codec.push(batch, cells)
    assert all(message.lowest == 8 for message in batch.messages)  # nothing to get back
    grid = 2 * math.log2(1 / POINTS.step)
    assert sizes(batch) - before - grid == pytest.approx((-BITS * found.bound(x, 1)).numpy(), abs=0.01)
    assert torch.all(found.bound(x, 2) >= found.bound(x, 1))  # the sum over all codes
    assert found.log_prior.exp().sum().item() == pytest.approx(1)
    assert codec.pop(batch)[1].tolist() == cells.tolist()
    assert batch.messages == primed(20, words=8).messages


@pytest.mark.parametrize(("precision", "most", "mean"), [(24, 0.02, 0.001), (coding.PRECISION, 0.1, 0.002)])
def test_the_mixture_takes_its_log_density_point_by_point(
    precision: int, most: float, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (coding, mixture):
        monkeypatch.setattr(module, "PRECISION", precision)
    codec, x = mixture.codec(), mixture.sample(np.random.default_rng(1), 200)
    cells = POINTS.cells(x)
    batch, grid = primed(len(x), words=8), math.log2(1 / POINTS.step)
    before = sizes(batch)
    codec.push(batch, cells)
    lengths = sizes(batch) - before - grid
    excess = lengths + mixture.log2_density(POINTS.middles(cells).numpy()[:, 0])
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
    found = trained(ENTRIES[0]).eval()
    (first, error), (second, _) = nll(found, GAUSSIANS), nll(found, GAUSSIANS)
    assert 0 < error < 0.5
    assert first == pytest.approx(second, abs=5 * error)
    assert first != second


# Errata and experiments


def test_errata_are_what_they_say() -> None:
    found = errata(300)
    for erratum in found:
        assert erratum.claim.endswith(".") and erratum.computed.endswith(".")
    said = {
        0: ("variance", "charged_bits", "real_bits", "missing_bits"),
        1: ("formula_bits", "saved_bits", "error"),
        2: ("best_bits", "plain_bits"),
        3: ("entropy_bits", "coded_bits", "error"),
    }
    for place, names in said.items():
        for name in names:
            value = found[place].numbers[name]
            assert any(f"{value:{form}}" in found[place].computed for form in (".4f", ".3f", ".2f", "g")), name
    noise, halved, hundredth, signs = (erratum.numbers for erratum in found)
    assert noise["variance"] == pytest.approx(0.5**4, rel=0.02)
    assert noise["missing_bits"] == pytest.approx(0.5 * (0.5**4 - 0.5**2) * BITS + 1, abs=0.01)
    assert halved["formula_bits"] == pytest.approx(0.5)
    assert halved["saved_bits"] == pytest.approx(0.5, abs=3 * halved["error"])
    assert 5 * halved["error"] < 0.5
    assert hundredth["best_bits"] == pytest.approx(-1.2748, abs=1e-4)
    assert hundredth["best_coded_bits"] == pytest.approx(hundredth["best_bits"], abs=3 * hundredth["error"])
    assert hundredth["plain_bits"] == pytest.approx(0.8402, abs=1e-4)
    assert hundredth["plain_coded_bits"] == pytest.approx(hundredth["plain_bits"], abs=0.01)
    assert signs["coded_bits"] == pytest.approx(2 * signs["n"] + signs["entropy_bits"], abs=3 * signs["error"])


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
    monkeypatch.setattr(table, "ENTRIES", tuple(entry for entry in ENTRIES if entry.name in ("typical", "iwae", "beta", "vq")))
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
    assert len(rows) == len(PLANE) * (1 + 4 + 1 + 1) + 1
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
