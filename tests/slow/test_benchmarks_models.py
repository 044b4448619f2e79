"""The bounds beside our models' rows, and our codecs as jobs of the benchmark suite. Models are untrained: small and random."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
import torch

from bbans.exact.export import export_layers
from bbans.models.batches import as_floats
from bbans.models.config import ImageConfig
from bbans.models.elbo import draw, log_mass, sample_bits
from bbans.models.grids import LATENT_LEVELS, LOG_SCALE_MIN
from bbans.models.markov.config import MarkovConfig
from bbans.models.markov.network import MarkovNetwork
from bbans.models.registry import FAMILIES
from bbans.models.topdown.codec import TopDownCoder
from bbans.models.topdown.config import TopDownConfig
from bbans.models.topdown.network import TopDownNetwork
from benchmarks import command, jobs, machine, theory
from benchmarks.craystack import CraystackJob
from benchmarks.datasets import DataSet
from benchmarks.ours import ArchiveJob
from benchmarks.rows import PREFIX, SCATTER, Row, Scatter, from_json, read
from tests.models import TINY, codec, picture


def network(
    config: ImageConfig, noise: float = 0.3, change: Callable[[Any], None] = lambda model: None
) -> tuple[torch.nn.Module, MarkovNetwork | TopDownNetwork]:
    """A random model whose latents matter: untrained heads hardly look at their inputs."""
    torch.manual_seed(0)
    family = FAMILIES["markov" if isinstance(config, MarkovConfig) else "topdown"]
    model = family.make(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.add_((noise if name.endswith("weight") else noise / 3) * torch.randn_like(value))
        change(model)
    made = family.build(config, export_layers(model), "reference")
    assert isinstance(made, MarkovNetwork | TopDownNetwork)
    return model, made


def test_bounds_are_those_of_the_exact_sum_over_latents() -> None:
    """One latent has 128 values: p(x) and the ELBO can be added up."""

    def widen(model: Any) -> None:
        """So that draws from q reach wherever p(z|x) is: else the mean of weights is a matter of luck."""
        model.posterior[0].out.weight.mul_(0.2)
        model.posterior[0].out.bias[0, 1:] = 2.5

    config = MarkovConfig(height=2, width=2, latents=(1,), hidden=(8,))
    _, made = network(config, change=widen)
    assert isinstance(made, MarkovNetwork)
    images = np.array(list(itertools.product((0, 1), repeat=4)), np.uint8).reshape(-1, 2, 2, 1)
    z = np.arange(LATENT_LEVELS, dtype=np.int64)[:, None]
    outputs = as_floats(made.likelihood(z), made.likelihood_exponents)
    top = made.top(LATENT_LEVELS)
    prior = -log_mass(z.astype(float), top.mean / 64, LOG_SCALE_MIN + top.scale / 16, LATENT_LEVELS - 1)[:, 0] / math.log(2)
    likelihood = np.stack([sample_bits(config, image[None].repeat(LATENT_LEVELS, 0), outputs) for image in images])
    assert np.exp2(-prior).sum() == pytest.approx(1)
    assert np.exp2(-likelihood).sum(0) == pytest.approx(np.ones(LATENT_LEVELS))  # over all images
    exact = -np.log2(np.exp2(-likelihood - prior).sum(1))
    given = made.posterior_of_samples(images)
    log_q = np.stack(
        [log_mass(z[:, 0].astype(float), m / 64, LOG_SCALE_MIN + s / 16, 127) for m, s in zip(given.mean, given.scale, strict=True)]
    )
    elbo = (np.exp(log_q) * (likelihood + prior + log_q / math.log(2))).sum(1)
    assert (elbo > exact).all()

    draws = draw(made, images, draws=2000, seed=1)
    assert abs(draws.neg_elbo.sum() - elbo.sum()) < 4 * draws.standard_error
    assert draws.standard_error < 0.05 * (elbo - exact).sum()
    assert draws.iwae(1) == pytest.approx(draws.neg_elbo)
    bounds = [draws.iwae(k).sum() for k in (1, 2, 5, 50, 2000)]
    assert bounds == sorted(bounds, reverse=True)
    assert draws.iwae(2000) == pytest.approx(exact, abs=0.1)
    with pytest.raises(ValueError, match="fewer than 2001 particles"):
        draws.iwae(2001)


@pytest.mark.parametrize(
    "config",
    [
        TopDownConfig(height=4, width=4, divisors=(4,), widths=(8,), blocks=(1,), latents=((2,),), features=4, hidden=8, context=2),
        TopDownConfig(
            height=4,
            width=4,
            symbols=256,
            divisors=(4, 2),
            widths=(8, 8),
            blocks=(0, 1),
            latents=((2,), (1, 1)),
            features=4,
            hidden=8,
        ),
        TopDownConfig(
            height=4,
            width=8,
            channels=3,
            symbols=256,
            divisors=(4,),
            widths=(8,),
            blocks=(1,),
            latents=((2,),),
            features=4,
            hidden=8,
        ),
        TopDownConfig(
            height=4,
            width=4,
            channels=3,
            symbols=256,
            divisors=(4,),
            widths=(8,),
            blocks=(1,),
            latents=((2,),),
            features=0,
            context=0,
        ),
    ],
)
def test_likelihoods_are_those_of_the_coder(config: TopDownConfig) -> None:
    """But for tables: the coder's own integer log-frequencies, pixel by pixel, against masses of all pixels at once."""
    _, made = network(config, noise=0.1)
    assert isinstance(made, TopDownNetwork)
    rng = np.random.default_rng(0)
    lowest, beyond = (0, 2) if config.binary else (112, 144)  # neighbours are alike: no frequency is at its floor of 1
    x = rng.integers(lowest, beyond, (2, *config.shape), np.uint8)
    state = made.start(2)
    for layer in range(len(made.places)):
        state = made.descend(layer, state, rng.integers(0, LATENT_LEVELS, made.prior(layer, state).mean.shape))
    coded = TopDownCoder(made, None)._likelihood.codec(made.pixels(state)).log_freqs(x, True)
    assert sample_bits(config, x, made.outputs(x, state)) == pytest.approx(-coded / 2**16, rel=2e-3, abs=0.2)


@pytest.mark.parametrize(
    "config",
    [
        MarkovConfig(height=4, width=4, symbols=256, latents=(3, 2), hidden=(8, 8)),
        TopDownConfig(
            height=4, width=4, divisors=(4, 2), widths=(8, 8), blocks=(0, 1), latents=((2,), (1, 1)), features=4, hidden=8
        ),
    ],
)
def test_draws_have_the_bits_of_the_training_form(config: ImageConfig) -> None:
    model, made = network(config)
    x = np.random.default_rng(0).integers(0, config.symbols, (3, *config.shape), np.uint8)
    draws = draw(made, x, draws=300)
    with torch.no_grad():
        torch.manual_seed(1)
        noise = torch.rand(900, config.latent_count).clamp(1e-6, 1 - 1e-6)
        bits = model(torch.from_numpy(x).permute(0, 3, 1, 2).repeat(300, 1, 1, 1), noise)
    for ours, trained in ((draws.likelihood, bits.likelihood()), (draws.prior - draws.posterior, bits.kl())):
        error = math.hypot(float(ours.std()), float(trained.std())) / math.sqrt(900)
        assert abs(float(ours.mean()) - float(trained.mean())) < 5 * error + 0.01 * abs(float(trained.mean()))


@pytest.mark.parametrize("channels", [1, 3])
def test_draws_of_pictures_have_the_length_of_their_messages(channels: int) -> None:
    """But for the adaptive stage: without it."""
    config = replace(TINY, adaptive=False)
    coder, pixels = codec(config), picture(70, 90, channels)
    drawn = FAMILIES["photo"].draw(coder.network, [pixels, pixels[:9, :7]], 8)
    assert drawn.bits.shape == (8, 2)
    for number, image in enumerate((pixels, pixels[:9, :7])):
        net_bits = coder.encode(image).accounting.net_bits
        assert net_bits == pytest.approx(drawn.neg_elbo[number], rel=0.002, abs=6 * drawn.bits[:, number].std() + 1)


@pytest.mark.parametrize(("scheme", "particles"), [("bb-ans", 1), ("mcbits-50", 50), ("mcbits-coupled-5", 5), (None, 1)])
def test_particles_of_schemes(scheme: str | None, particles: int) -> None:
    assert theory.particles_of(scheme) == particles


def test_a_set_is_measured_by_our_archives(tmp_path: Path) -> None:
    """From the command to the JSON: files from fresh processes, decoded and compared, beside what the model could code them in."""
    config = MarkovConfig(height=6, width=6, latents=(2,), hidden=(8,))
    model, _ = network(config)
    weights = tmp_path / "tiny-1.safetensors"
    weights.write_bytes(FAMILIES["markov"].export(model, "tiny-1"))
    images = (np.random.default_rng(0).random((150, 6, 6)) < 0.4).astype(np.uint8)
    np.save(tmp_path / "dots.npy", images)
    arguments = [str(tmp_path / "dots.npy"), "--model", str(weights), "--codec", "", "--quick", "--threads", "1"]

    def measured(*options: str) -> Row:
        out = ["--out", str(tmp_path / "out"), "--allow-dirty"]
        result = click.testing.CliRunner().invoke(command.command, [*arguments, *out, *options])
        assert result.exit_code == 0, result.output
        [row] = read(tmp_path / "out" / f"{PREFIX}dots.json")
        return row

    assert measured("--sizes").speed is None
    row = measured("--speeds")
    assert (row.dataset, row.codec, row.model, row.scheme, row.layout) == ("dots", "vaezip", "tiny-1", "bb-ans", "archive")
    assert (row.images, row.threads, row.error, row.trained_for_it) == (150, 1, None, True)
    assert row.bytes is not None and row.accounting and row.bound and row.speed and row.chunks and row.header_bytes
    assert row.bound.kind == "pure VAE"
    coded = row.accounting.likelihood_bits + row.accounting.prior_bits - row.accounting.posterior_bits
    of_one_draw = row.bound.neg_elbo_error * math.sqrt(row.bound.draws)
    assert coded / images.size == pytest.approx(row.bound.neg_elbo_bits_per_dim, abs=4 * of_one_draw)
    assert 8 * (row.bytes - row.header_bytes) == pytest.approx(coded + row.accounting.initial_bits, abs=64 * row.chunks)
    assert row.overhead == pytest.approx(8 * row.bytes / images.size / row.bound.neg_elbo_bits_per_dim - 1)
    assert row.bound.neg_elbo_error < 0.01 * row.bound.neg_elbo_bits_per_dim
    assert min(row.speed.encode.wall_s, row.speed.decode.wall_s, *row.speed.start_up_s) > 0
    assert row.speed.encode.cpu_s and row.speed.decode.cpu_s
    scatter = from_json(Scatter, json.loads((tmp_path / "out" / f"{SCATTER}dots-tiny-1-bb-ans.json").read_text()))
    assert len(scatter.code_bits) == len(scatter.neg_elbo_bits) == 150 - theory.CHAIN_IMAGES
    assert np.mean(scatter.code_bits) == pytest.approx(np.mean(scatter.neg_elbo_bits), abs=4 * of_one_draw * images[0].size)


def test_a_small_set_whole_and_each_image_alone_are_files_of_their_own(tmp_path: Path) -> None:
    """Of at most EACH_IMAGES images, the jobs of all layouts have as many."""
    data = DataSet("dots", "dots", np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4, 1))
    whole, each = (ArchiveJob(data, tmp_path, "tiny-1", "bb-ans", each=each) for each in (False, True))
    assert np.array_equal(np.concatenate([np.load(path) for path in whole.sources]), data.images[..., 0])  # type: ignore[call-overload]
    assert [np.load(path).shape for path in each.sources] == [(1, 4, 4)] * 3


@pytest.mark.parametrize("symbols", [2, 256])
def test_craystack_takes_fewer_bits_by_single_images(tmp_path: Path, symbols: int) -> None:
    """What its lanes cost at the start; all is decoded and compared."""
    pytest.importorskip("craystack")
    model, _ = network(MarkovConfig(height=4, width=4, symbols=symbols, latents=(2,), hidden=(8,)), noise=0.1)
    weights = tmp_path / "tiny-1.safetensors"
    weights.write_bytes(FAMILIES["markov"].export(model, "tiny-1"))
    images = np.random.default_rng(0).integers(0, symbols, (10, 4, 4, 1), np.uint8)
    data = DataSet("dots", "dots", images, symbols)
    tasks = [CraystackJob(data, str(weights), batch) for batch in (1, 10)]
    single, together = jobs.measure(data, tasks, machine.stamp())
    assert (single.error, together.error) == (None, None)
    assert single.bytes is not None and together.bytes is not None
    assert 8 * (together.bytes - single.bytes) > 31 * 9 * (16 + 2) / 2
