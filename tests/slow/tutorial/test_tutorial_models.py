"""The tutorial's models: every identity against brute-force sums."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from benchmarks.tutorial import (
    flow,
    likelihoods,
    objectives,
    posteriors,
    priors,
)
from benchmarks.tutorial.coding import standard_error
from benchmarks.tutorial.data import GAUSSIANS
from benchmarks.tutorial.flow import Flow, NearDeterministic
from benchmarks.tutorial.model import BITS, FREE_BITS, LatentModel, draw, log_prob
from tests.tutorial import latent_grid, points, summed, trained_flow


def test_nothing_of_torch_is_changed_by_the_import() -> None:
    assert Distribution._validate_args is __debug__
    with pytest.raises(ValueError, match="constraint"):
        Normal(0.0, -1.0)


# What all rows share: the ELBO, its terms, and the bounds, by sums over a grid of latents


@pytest.mark.usefixtures("in_float64")
def test_kl_in_closed_form_is_the_sum_over_a_grid() -> None:
    vae = LatentModel().double()
    z, area = latent_grid()
    for x in torch.tensor([[0.1, -0.3], [0.4, 0.4]]):
        q = vae.posterior(x)
        log_q = log_prob(vae.posterior(x.expand_as(z)), z)
        expected = (log_q.exp() * (log_q - log_prob(vae.prior(), z))).sum() * area
        assert vae.kl(q, torch.zeros(2)).item() == pytest.approx(expected.item(), abs=1e-6)
        assert expected > 4 * FREE_BITS / BITS


@pytest.mark.usefixtures("in_float64")
def test_kl_asks_nothing_of_the_free_bits() -> None:
    vae = LatentModel().double()
    assert vae.kl(vae.prior(), torch.zeros(7, 2)).tolist() == pytest.approx([2 * FREE_BITS / BITS] * 7)


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
    vae = make().double()
    x = torch.tensor([0.2, -0.1])
    evidence, elbo, kl = summed(vae, x)
    draws = vae.bound(x.expand(20_000, 2), 1)
    assert kl > 0
    assert elbo + kl == pytest.approx(evidence, abs=1e-6)
    wide = Normal(torch.zeros(()), 2.0)  # log p(x) once more, by importance sampling without q
    z = wide.sample(torch.Size([50_000, 2]))
    weights = log_prob(vae.likelihood(z), x.expand_as(z)) + log_prob(vae.prior(), z) - wide.log_prob(z).sum(-1)
    assert (torch.logsumexp(weights, 0) - math.log(len(z))).item() == pytest.approx(evidence, abs=0.04)
    assert draws.mean().item() == pytest.approx(evidence - kl, abs=4 * standard_error(draws))


@pytest.mark.usefixtures("in_float64")
def test_more_particles_bring_the_bound_nearer_to_log_p() -> None:
    vae = LatentModel().double()
    x = torch.tensor([0.2, -0.1])
    evidence, elbo, _ = summed(vae, x)
    before, before_error = elbo, 0.0
    for particles, repeats in ((2, 30_000), (10, 10_000), (100, 2000)):
        draws = vae.bound(x.expand(repeats, 2), particles)
        now, now_error = draws.mean().item(), standard_error(draws)
        assert now > before + 2 * math.hypot(before_error, now_error)
        assert now < evidence + 3 * now_error
        before, before_error = now, now_error
    assert evidence - now < (evidence - elbo) / 2


@pytest.mark.usefixtures("in_float64")
def test_an_iwae_is_trained_by_the_bound_of_its_particles() -> None:
    vae, x = posteriors.ImportanceWeighted().double(), torch.tensor([[0.2, -0.1]]).expand(5000, 2)
    elbo, bound = (vae.bound(x, particles) for particles in (1, vae.particles))
    assert vae.particles == 10
    assert bound.mean() > elbo.mean() + 10 * math.hypot(standard_error(elbo), standard_error(bound))
    losses = torch.stack([vae.loss(part) for part in x.split(500)])
    assert losses.mean().item() == pytest.approx(-bound.mean().item(), abs=5 * standard_error(bound))


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("latents", [1, 3])
def test_a_model_of_any_number_of_latents_has_its_elbo(latents: int) -> None:
    vae, x = LatentModel(latents).double(), torch.tensor([[0.2, -0.1]]).expand(5000, 2)
    elbo, bound = vae.bound(x, 1), vae.bound(x, 50)
    assert draw(vae.posterior(x), x.shape[:-1], latents).shape == (5000, latents)
    assert -vae.loss(x).item() == pytest.approx(elbo.mean().item(), abs=5 * standard_error(elbo))
    assert bound.mean() > elbo.mean()


@pytest.mark.usefixtures("in_float64")
def test_a_model_is_a_density_of_points() -> None:
    """p(x_1|z) p(x_2|x_1, z) of the decoder that sees x_1 sums to 1 over the plane."""
    vae = likelihoods.AutoregressiveDecoder().double()
    x, area = latent_grid(4.0, 200)
    assert log_prob(vae.likelihood(torch.tensor([0.3, -1.0])), x).exp().sum().item() * area == pytest.approx(1, abs=1e-4)


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
    vae = make().double().eval()
    vae.settle(lambda n: torch.zeros(n, 2))
    prior = vae.prior()
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
@pytest.mark.parametrize("draws", [3, 100])
def test_a_resampled_prior_is_of_accepted_draws_and_the_last_one(draws: int) -> None:
    vae = priors.ResampledPrior().double().eval()
    vae.draws = draws
    vae.settle(lambda n: torch.zeros(n, 2))
    z, area = latent_grid(4.9, 160)
    normal = torch.exp(-z.square().sum(-1) / 2) / (2 * math.pi)
    accepted = normal * torch.sigmoid(vae.acceptance(z)[..., 0])
    rejected = 1 - float(accepted.sum()) * area
    expected = (sum(rejected**before * accepted for before in range(draws - 1)) + rejected ** (draws - 1) * normal).log()
    near = z.norm(dim=-1) < 3
    assert (log_prob(vae.prior(), z) - expected)[near].abs().max().item() < 0.06  # a cell of 1/40 where the slope is 3
    assert (log_prob(vae.prior(), z) - expected)[near].mean().item() == pytest.approx(0, abs=0.002)
    assert (vae.log_prior(z) - expected)[near].abs().max().item() < 0.01  # what training sees


@pytest.mark.usefixtures("in_float64")
def test_a_resampled_prior_moves_both_latents() -> None:
    vae = priors.ResampledPrior().double()
    z, step, log_mean = torch.randn(20, 2), 1e-5, torch.tensor(-1.0)
    with torch.enable_grad():
        gradient = torch.autograd.grad(vae.log_density(z.requires_grad_(), log_mean).sum(), z)[0]
    for d in range(2):
        moved = step * torch.eye(2)[d]
        slope = (vae.log_density(z + moved, log_mean) - vae.log_density(z - moved, log_mean)) / (2 * step)
        assert gradient[:, d].tolist() == pytest.approx(slope.tolist(), abs=1e-6)


@pytest.mark.usefixtures("in_float64")
def test_log_mse_is_the_elbo_with_the_best_variance() -> None:
    vae = likelihoods.LogMeanSquaredError().double()
    x = torch.from_numpy(points(GAUSSIANS, 300))
    losses = []
    torch.manual_seed(3)
    by_log = vae.loss(x).item()
    torch.manual_seed(3)
    squared, kl = vae.squared_errors(x)
    for factor in (0.9, 1.0, 1.1):
        variance = factor * squared.mean()
        losses.append((0.5 * (squared / variance + (2 * math.pi * variance).log()).sum(-1) + kl).mean().item())
    assert by_log == pytest.approx(losses[1])
    assert min(losses) == losses[1]


@pytest.mark.usefixtures("in_float64")
def test_plain_mse_is_the_elbo_with_variance_one_half() -> None:
    vae = likelihoods.MeanSquaredError().double()
    x = torch.from_numpy(points(GAUSSIANS, 300))
    torch.manual_seed(3)
    plain = vae.loss(x)
    torch.manual_seed(3)
    assert (LatentModel.loss(vae, x) - plain).item() == pytest.approx(math.log(math.pi))  # of the normals


@pytest.mark.usefixtures("in_float64")
def test_a_beta_vae_counts_the_kl_term_four_times_and_is_read_by_its_elbo() -> None:
    vae, x = objectives.BetaVAE().double(), torch.from_numpy(points(GAUSSIANS, 300))
    torch.manual_seed(3)
    loss = vae.loss(x).item()
    torch.manual_seed(3)
    q = vae.posterior(x)
    z = draw(q, x.shape[:-1])
    kl, likelihood = vae.kl(q, z).mean().item(), log_prob(vae.likelihood(z), x).mean().item()
    assert kl > 0.1
    assert loss == pytest.approx(4 * kl - likelihood)
    assert "beta = 4" in vae.title
    elbo = vae.bound(x.repeat(20, 1), 1)
    assert elbo.mean().item() == pytest.approx(likelihood - kl, abs=5 * standard_error(elbo) * 20**0.5)


@pytest.mark.usefixtures("in_float64")
def test_mmd_is_nothing_for_equal_distributions() -> None:
    same = torch.tensor([objectives.mmd(torch.randn(100, 2), torch.randn(100, 2)) for _ in range(200)])
    other = torch.stack([objectives.mmd(torch.randn(100, 2), torch.randn(100, 2) + 1) for _ in range(10)])
    assert same.mean().item() == pytest.approx(0, abs=4 * standard_error(same))
    assert other.min() > 0.2


@pytest.mark.usefixtures("in_float64")
def test_sliced_w1_is_the_mean_of_w1_along_lines() -> None:
    a = torch.randn(500, 2)
    assert objectives.sliced_w1(a, a[torch.randperm(500)]).item() == pytest.approx(0)
    moved = objectives.sliced_w1(a, a + torch.tensor([3.0, 0.0]), 5000)  # along a line at angle t by 3 |cos t|
    assert moved.item() == pytest.approx(3 * 2 / math.pi, rel=0.02)
    assert objectives.sliced_w1(a, 2 * a).item() == pytest.approx(math.sqrt(2 / math.pi), rel=0.1)


def test_wasserstein_auto_encoders_differ_in_their_distance() -> None:
    x = torch.from_numpy(points(GAUSSIANS, 64)).float()
    for make, distance in ((objectives.Wasserstein, objectives.mmd), (objectives.SlicedWasserstein, objectives.sliced_w1)):
        vae = make()
        torch.manual_seed(1)
        loss = vae.loss(x).item()
        torch.manual_seed(1)
        z = vae.map(x)
        error = (x - vae.decoder(z)).square().sum(-1).mean()
        assert loss == pytest.approx((error + vae.weight * distance(z, torch.randn_like(z))).item())


@pytest.mark.usefixtures("in_float64")
def test_a_flow_is_a_density_and_has_an_inverse() -> None:
    vae = Flow().double()
    x, area = latent_grid(2.5, 250)
    assert vae.bound(x, 1).exp().sum().item() * area == pytest.approx(1, abs=1e-3)
    assert torch.allclose(vae(vae.inverse(x)[0]), x)


@pytest.mark.usefixtures("in_float64")
def test_near_deterministic_models_tend_to_the_flow() -> None:
    vae = trained_flow()
    x = torch.from_numpy(points(GAUSSIANS, 20))
    exact = vae.bound(x, 1)
    gaps = []
    for epsilon in (0.1, 0.03, 0.01, 0.001):
        near = NearDeterministic(vae, epsilon)
        gaps.append((exact - near.bound(x.repeat(100, 1), 1).view(100, 20).mean(0)).abs().max().item())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.01


@pytest.mark.usefixtures("in_float64")
def test_a_flow_is_trained_by_the_elbo_of_its_near_deterministic_model() -> None:
    vae = trained_flow()
    x = torch.from_numpy(points(GAUSSIANS, 10)).repeat(500, 1)
    losses = torch.stack([vae.loss(part) for part in x.split(100)])
    negative = -NearDeterministic(vae, flow.TRAINED_EPSILON).bound(x, 1).view(500, 10)
    error = math.hypot(losses.std().item() / 50**0.5, negative.mean(1).std().item() / 500**0.5)
    assert losses.mean().item() == pytest.approx(negative.mean().item(), abs=4 * error)
    assert error < 0.1
