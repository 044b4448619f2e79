"""The integer photo model: the integers of the training form, whatever the tiles and the backend; none that rounds is used."""

import dataclasses
import itertools
import sys

import numpy as np
import pytest
import torch

from bbans import models
from bbans.ans import Batch
from bbans.codecs import Codec
from bbans.errors import InexactBackendError, ModelError
from bbans.exact.backends import BACKENDS, LAYERS, Activations, Layer, Native, Sums
from bbans.exact.export import export_layers
from bbans.exact.network import IntConv
from bbans.exact.qat import ACTIVATION_STEP
from bbans.models.grids import LATENT_CENTRE, Latent
from bbans.models.photo import geometry
from bbans.models.photo import network as photo_network
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.config import BLOCK, LEVELS_OF_BIAS, PHASES, PhotoConfig
from bbans.models.photo.level import Level
from bbans.models.photo.network import PhotoNetwork
from bbans.models.photo.vae import PhotoVAE
from tests.arithmetic import ARITHMETICS, use
from tests.models import TINY, WITHOUT_LATENTS, codec, picture, random_vae, weights

HEIGHT, WIDTH = 128, 64  # powers of two, as the training form wants them


def levels_of(coder: PhotoCodec, pixels: np.ndarray) -> list[Level]:
    """All levels of a picture, the coarsest first."""
    return list(coder.levels(pixels))


class Trace:
    """Outputs of the training form's modules over a run, in integer units, (H, W, C) each, and the inputs of some."""

    def __init__(self, model: PhotoVAE, pixels: np.ndarray, noise: torch.Tensor) -> None:
        self.outputs: dict[str, list[np.ndarray]] = {}
        self.inputs: dict[str, list[np.ndarray]] = {}
        hooks = [module.register_forward_hook(self._hook(name)) for name, module in model.named_modules() if name]
        with torch.no_grad():
            self.bits = model(torch.from_numpy(pixels).permute(2, 0, 1)[None], noise)
        for hook in hooks:
            hook.remove()

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def note(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            for kept, tensor in ((self.outputs, output), (self.inputs, inputs[0])):
                kept.setdefault(name, []).append(tensor[0].permute(1, 2, 0).double().numpy() / ACTIVATION_STEP)

        return note


def uniform_noise(config: PhotoConfig, seed: int = 0) -> torch.Tensor:
    size = 2 * config.noise_size(max(HEIGHT, WIDTH))
    return torch.from_numpy(np.random.default_rng(seed).uniform(1e-3, 1 - 1e-3, (1, size)).astype(np.float32))


@pytest.mark.parametrize("config", [TINY, WITHOUT_LATENTS], ids=["latents", "none"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_integers_are_those_of_the_training_form(config: PhotoConfig, arithmetic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training form runs over whole levels, the integer form over tiles, and both give the same numbers."""
    backend = use(arithmetic, monkeypatch)
    pixels = picture(HEIGHT, WIDTH)
    trace = Trace(random_vae(config), pixels, uniform_noise(config))
    coder = codec(config, backend=backend)
    levels = levels_of(coder, pixels)
    assert [level.index for level in levels] == [4, 3, 2, 1, 0]
    with_latents = 0
    for at, level in enumerate(levels):
        for phase in range(3):
            features = level.grid.inner(level.features(phase))
            assert features.max() > features.min()
            assert np.array_equal(features, trace.outputs[f"trunk.{phase}"][at])
            z = None
            if level.has_latents:
                z = trace.inputs[f"hidden.{phase}"][at][::BLOCK, ::BLOCK, : config.latents].astype(np.uint8)
                check_latents(level.prior, level.posterior, trace, with_latents)
                mode = level.posterior.mode()
                if phase == 2:
                    assert np.abs(z.astype(int) - mode).max() <= 1  # the mean is rounded in 1/64 here, there not
            check_head(level.params(phase, z), trace.outputs[f"out.{phase}"][at], config.components)
        with_latents += level.has_latents
    assert with_latents == (2 if config.latents else 0)


def check_head(params: np.ndarray, out: np.ndarray, k: int) -> None:
    """`out`: the head's outputs in units of 1/16, as an accumulator scaled by its exponent."""
    logits, means, scales, slopes = np.split(out, [3 * k, 6 * k, 9 * k], axis=2)
    expected = [
        np.rint(logits).clip(-16383, 16383),
        np.rint(64 * means).clip(-32767, 32767),
        (np.rint(scales) + 48).clip(0, 127),
        np.rint(4 * slopes).clip(-128, 128),
    ]
    assert np.array_equal(params, np.concatenate(expected, axis=2))
    assert params.std(axis=(0, 1)).mean() > 1


def check_latents(prior: Latent, posterior: Latent, trace: Trace, at: int) -> None:
    p_mean, p_scale = np.split(trace.outputs["prior_out"][at], 2, axis=2)
    q_mean, q_scale = np.split(trace.outputs["posterior_out"][at], 2, axis=2)
    mean = 64 * LATENT_CENTRE + np.rint(64 * p_mean)
    scale = (48 + np.rint(p_scale)).clip(0, 127)
    assert np.array_equal(prior.mean, mean)
    assert np.array_equal(prior.scale, scale)
    assert np.array_equal(posterior.mean, mean + np.rint(64 * q_mean))
    assert np.array_equal(posterior.scale, (scale + np.rint(q_scale)).clip(0, 127))
    assert len(np.unique(posterior.mean - prior.mean)) > 2


def test_code_length_is_the_negative_elbo() -> None:
    """Net bits of real messages against what the training form says of the same picture and the same latents, part by part.

    Without the adaptive stage, of which training does not know.
    """
    pixels, config = picture(HEIGHT, WIDTH), dataclasses.replace(TINY, adaptive=False)
    coder = codec(config)
    drawn: dict[int, np.ndarray] = {}

    class Watched(PhotoCodec):
        def latent_codec(self, level: Level, latent: Latent) -> Codec[np.ndarray]:
            codec = super().latent_codec(level, latent)

            def pop(batch: Batch) -> tuple[Batch, np.ndarray]:
                batch, drawn[level.index] = codec.pop(batch)
                return batch, drawn[level.index]

            return Codec(codec.push, pop)

    watched = Watched(coder.network, weights(config))
    encoded = watched.encode(pixels)
    assert encoded.messages[0][0] == 0b11
    noise = []
    for level in levels_of(coder, pixels):
        if not level.has_latents:
            continue
        mean, log_scale = level.posterior.mean / 64, level.posterior.scale / 16 - 3
        uniform = 1 / (1 + np.exp(-(drawn[level.index] - mean) / np.exp(log_scale)))
        noise.append(uniform.transpose(2, 0, 1).reshape(-1))
    bits = Trace(random_vae(config), pixels, torch.from_numpy(np.concatenate(noise)[None].astype(np.float32))).bits
    accounting = encoded.accounting
    assert accounting.prior_bits == pytest.approx(sum(b.item() for b in bits.prior), rel=0.02)  # tails: 24 bits are the least mass
    assert accounting.posterior_bits == pytest.approx(sum(b.item() for b in bits.posterior), rel=0.02)  # scales: two roundings
    assert accounting.likelihood_bits == pytest.approx(bits.likelihood().item(), rel=1e-4)
    elbo = (bits.likelihood() + bits.kl()).item()
    assert 8 * sum(map(len, encoded.messages)) == pytest.approx(elbo, rel=1e-4, abs=72)


@pytest.mark.parametrize(("config", "tiles"), [(TINY, (16, 32, 128)), (TINY, (32,)), (TINY, (16,)), (WITHOUT_LATENTS, (8,))])
@pytest.mark.parametrize("size", [(130, 75), (31, 33), (90, 12)])
def test_tiles_change_nothing(
    monkeypatch: pytest.MonkeyPatch, config: PhotoConfig, tiles: tuple[int, ...], size: tuple[int, int]
) -> None:
    coder, pixels = codec(config), picture(*size)
    expected_levels, expected = levels_of(coder, pixels), coder.encode(pixels).messages
    monkeypatch.setattr(geometry, "TILES", tiles)
    for level, other in zip(levels_of(coder, pixels), expected_levels, strict=True):
        for phase in range(3):
            assert np.array_equal(level.grid.inner(level.features(phase)), other.grid.inner(other.features(phase)))
    assert coder.encode(pixels).messages == expected


@pytest.mark.parametrize("config", [TINY, WITHOUT_LATENTS])
@pytest.mark.parametrize("size", [(1, 300), (300, 2), (7, 280), (290, 9), (29, 140), (31, 300)])
def test_thin_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch, config: PhotoConfig, size: tuple[int, int]) -> None:
    coder, pixels = codec(config), picture(*size)
    assert levels_of(coder, pixels)[-1].grid.tile in [shape[:: 1 if size[0] < size[1] else -1] for shape in geometry.THIN_TILES]
    messages = coder.encode(pixels).messages
    assert np.array_equal(coder.decode(messages, *size, 3), pixels)
    monkeypatch.setattr(geometry, "THIN_TILES", ())
    assert levels_of(coder, pixels)[-1].grid.tile == (64, 64)
    assert coder.encode(pixels).messages == messages


def work_per_pixel(monkeypatch: pytest.MonkeyPatch, height: int, width: int) -> float:
    """How many outputs the layers compute for each pixel of a picture that is coded."""
    outputs = 0

    class Counting(Native):
        def __call__(self, x: Activations, skip: Activations | None = None, variant: int = 0) -> Activations:
            nonlocal outputs
            y = super().__call__(x, skip, variant)
            outputs += y.size
            return y

        def sums(self, x: Activations) -> Sums:
            nonlocal outputs
            y = super().sums(x)
            outputs += y.size
            return y

    with monkeypatch.context() as patch:
        patch.setitem(LAYERS, "native", Counting)
        coder = codec(backend="native")
        outputs = 0
        coder.encode(picture(height, width, kind="flat"))
    return outputs / (height * width)


@pytest.mark.parametrize(("height", "width", "most"), [(1, 1500, 16), (1500, 1, 16), (2, 1500, 9), (5, 1500, 5), (12, 1500, 5)])
def test_thin_pictures_cost_what_their_pixels_cost(monkeypatch: pytest.MonkeyPatch, height: int, width: int, most: int) -> None:
    assert work_per_pixel(monkeypatch, height, width) < most * work_per_pixel(monkeypatch, 256, 256)


@pytest.mark.parametrize(("height", "width"), [(9, 14), (14, 9), (5, 6), (33, 1)])
def test_pixels_that_are_known_before_a_phase(height: int, width: int) -> None:
    pixels = picture(height, width, 3, kind="noise")
    finest = levels_of(codec(), pixels)[-1]
    before = np.zeros((height, width), bool)
    for phase, (row, column) in enumerate(((0, 0), *PHASES[:2])):
        before[row::2, column::2] = True
        known = finest.known(phase)
        assert known.dtype == np.uint8 and sorted(known.tolist()) == sorted(pixels[before].tolist())


def test_features_outside_the_picture_are_zero() -> None:
    for level in levels_of(codec(), picture(75, 37)):
        for phase in range(3):
            features = level.features(phase)
            level.grid.inner(features)[...] = 0
            assert not features.any()


@pytest.mark.parametrize("config", [TINY, WITHOUT_LATENTS], ids=["latents", "none"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_every_arithmetic_gives_the_same_digest(config: PhotoConfig, arithmetic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = PhotoNetwork(config, export_layers(random_vae(config)), use(arithmetic, monkeypatch), threads=2)
    assert network.digest() == weights(config).digest


@pytest.mark.parametrize("part", ["weight", "bias", "exponent"])
def test_digest_sees_every_layer(part: str) -> None:
    """All of a layer's weights, biases or exponents move, since some of its channels may be dead."""
    for name, layer in weights().layers.items():
        array = getattr(layer, part)
        step = {"weight": 30, "bias": 1 << 14, "exponent": 1}[part]
        changed = np.where(array > 0, array - step, array + step).astype(array.dtype)
        layers = dict(weights().layers) | {name: dataclasses.replace(layer, **{part: changed})}
        assert PhotoNetwork(TINY, layers, "native").digest() != weights().digest, name


@pytest.mark.parametrize("name", ["carry", "first", "inject.1", "trunk.0.0.b", "hidden.2", "out.1", "prior_out"])
def test_digest_sees_one_weight(name: str) -> None:
    """One weight of a layer moves by one, the least there is. Of four, since some channels may be dead."""
    layer, seen = weights().layers[name], 0
    for at in range(4):
        weight = layer.weight.copy()
        weight[at, at, 0, 0] += 1
        layers = dict(weights().layers) | {name: dataclasses.replace(layer, weight=weight)}
        seen += PhotoNetwork(TINY, layers, "native").digest() != weights().digest
    assert seen > 0


def make_inexact(monkeypatch: pytest.MonkeyPatch, backend: str, from_side: int) -> None:
    """Let a backend's heads keep 8 bits of their sums, for inputs of at least so many positions a side."""
    exact: type[Layer] = LAYERS[backend]

    class Rounding(exact):  # type: ignore[misc, valid-type]
        def sums(self, x: Activations) -> Sums:
            y = super().sums(x)
            return torch.from_numpy(y).bfloat16().int().numpy() if x.shape[2] >= from_side else y

    monkeypatch.setitem(LAYERS, backend, Rounding)


@pytest.mark.parametrize("from_side", [0, 64])
def test_a_backend_that_rounds_is_passed_over(monkeypatch: pytest.MonkeyPatch, from_side: int) -> None:
    """Also one that does so for large tiles alone, as libraries that choose their algorithm by size may."""
    for name, following in itertools.pairwise(BACKENDS["cpu"]):
        assert codec().network.backend == name
        make_inexact(monkeypatch, name, from_side)
        with pytest.raises(InexactBackendError, match=name):
            codec(backend=name)
        assert codec().network.backend == following
    make_inexact(monkeypatch, BACKENDS["cpu"][-1], from_side)
    with pytest.raises(InexactBackendError, match="none of"):
        codec()


@pytest.mark.parametrize("when", ["made", "called"])
def test_a_backend_that_the_library_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    class Lacking(Native):
        def __init__(self, layer: IntConv) -> None:
            if when == "made":
                raise RuntimeError("no such operator")
            super().__init__(layer)

        def __call__(self, x: Activations, skip: Activations | None = None, variant: int = 0) -> Activations:
            raise NotImplementedError("no such kernel")

    monkeypatch.setitem(LAYERS, BACKENDS["cpu"][0], Lacking)
    assert codec(threads=2).network.backend == BACKENDS["cpu"][1]


def test_a_wrong_digest_is_refused() -> None:
    with pytest.raises(InexactBackendError):
        models.load(dataclasses.replace(weights(), digest="0" * 64), threads=1)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("nowhere", "cuda:x"):
        with pytest.raises(ModelError, match=f"the device '{device}': there are cpu, cuda"):
            models.load(weights(), threads=1, device=device)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match="cannot run on the device 'cuda': .* needs torch"):
        models.load(weights(), threads=1, device="cuda")


def test_levels_beyond_the_last_bias_share_it() -> None:
    network, grid = codec().network, codec().network.grid(20, 20)
    buffer = photo_network._probe(grid, 6 + TINY.carried, 3)
    outputs = [network.trunk(0, level, grid, buffer) for level in range(LEVELS_OF_BIAS + 1)]
    assert np.array_equal(outputs[-1], outputs[-2])
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(outputs[:-1]))
