"""The models for small images: training form against integer form, schemes, chunks, backends, and what a weight file must say."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from bbans import models
from bbans.ans import Message
from bbans.errors import CorruptDataError, ModelError
from bbans.exact.export import keep_exact
from bbans.exact.qat import set_quantised
from bbans.meter import head_bits
from bbans.models import Weights, read
from bbans.models.batches import MAX_BATCH
from bbans.models.config import ImageConfig, from_json, to_json
from bbans.models.markov.config import MarkovConfig
from bbans.models.registry import FAMILIES
from bbans.models.topdown.config import TopDownConfig
from bbans.models.topdown.widen import widen
from tests.arithmetic import ARITHMETICS, use

PAPER = MarkovConfig(height=6, width=5, symbols=2, latents=(7,), hidden=(11,))
MARKOV = MarkovConfig(height=4, width=6, symbols=256, components=2, latents=(6, 5, 3), hidden=(12, 10, 8))
COLOURS = MarkovConfig(height=4, width=4, channels=3, symbols=256, components=2, latents=(6,), hidden=(12,))
PURE = TopDownConfig(8, 8, 1, 2, 1, (8, 4), (10, 12), (1, 1), ((5,), (2, 1)), features=3, hidden=8, depth=0, context=0)
CONTEXT = TopDownConfig(8, 12, 1, 256, 3, (4,), (12,), (1,), ((2, 2),), features=4, hidden=8, depth=2, context=2)
RGB = TopDownConfig(8, 8, 3, 256, 2, (8, 4, 2), (10, 12, 8), (0, 1, 1), ((3,), (), (1,)), features=4, hidden=8, context=1)
DENSE = TopDownConfig(6, 4, 1, 256, 2, (2,), (12,), (1,), ((3, 2),), features=0, hidden=1, context=0)
BITS = replace(DENSE, symbols=2)
CONFIGS = {
    "dense": DENSE,
    "bits": BITS,
    "paper": PAPER,
    "markov": MARKOV,
    "colours": COLOURS,
    "pure": PURE,
    "context": CONTEXT,
    "rgb": RGB,
}
SCHEMES = [
    ("paper", "bb-ans"),
    ("paper", "mcbits-3"),
    ("paper", "mcbits-coupled-3"),
    ("markov", "bb-ans"),
    ("markov", "bit-swap"),
    ("colours", "bb-ans"),
    ("colours", "mcbits-2"),
    ("pure", "top-down"),
    ("context", "top-down"),
    ("rgb", "top-down"),
    ("dense", "top-down"),
]


def family_of(config: ImageConfig) -> str:
    return "markov" if isinstance(config, MarkovConfig) else "topdown"


@cache
def model_of(name: str) -> torch.nn.Module:
    """A model away from where training begins, so that every layer matters, yet with priors that go with their posteriors: what is
    less likely than a table's smallest freq costs less than the training form believes."""
    torch.manual_seed(3)
    model = FAMILIES[family_of(CONFIGS[name])].make(CONFIGS[name])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        for layer, weight in model.named_parameters():
            if layer.endswith(".posterior.weight"):
                weight.mul_(0.05)
    set_quantised(model, True)
    keep_exact(model)
    return model


@cache
def weights_of(name: str, folder: str) -> Weights:
    path = f"{folder}/{name}.safetensors"
    with open(path, "wb") as file:
        file.write(FAMILIES[family_of(CONFIGS[name])].export(model_of(name), name))
    return read(path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("small"))


def images_of(config: ImageConfig, count: int, seed: int = 0) -> np.ndarray:
    """Smooth images with some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(config.height)[:, None], np.arange(config.width)
    phase = rng.uniform(0, 6, (count, 1, 1, config.channels))
    waves = 128 + 40 * np.sin(0.7 * rows + 0.5 * columns)[None, :, :, None] * np.cos(phase)
    x = np.clip(waves + rng.normal(0, 12, (count, *config.shape)), 0, 255).astype(np.uint8)
    return x >> 7 if config.binary else x


@pytest.mark.parametrize(("name", "scheme"), SCHEMES)
def test_round_trip(name: str, scheme: str, folder: str) -> None:
    codec = models.load_set(weights_of(name, folder), scheme=scheme, threads=1)
    images = images_of(CONFIGS[name], 7)
    encoded = codec.encode(images, 3)
    assert len(encoded.messages) == 3 and codec.scheme == scheme
    assert np.array_equal(codec.decode(encoded.messages, [3, 3, 1]), images)
    assert np.array_equal(codec.decode(encoded.messages[1:2], [3]), images[3:6])
    assert np.array_equal(codec.decode(encoded.messages[::-1], [1, 3, 3]), images[[6, 3, 4, 5, 0, 1, 2]])


@pytest.mark.parametrize("name", CONFIGS)
def test_same_bytes_by_every_arithmetic_and_thread_count_and_batch(name: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, images = weights_of(name, folder), images_of(CONFIGS[name], 6)
    expected = models.load_set(weights, threads=1, backend="reference").encode(images, 2).messages
    for arithmetic in ARITHMETICS:
        with monkeypatch.context() as patch:
            backend = use(arithmetic, patch)
            for threads in (1, 2, 3):
                codec = models.load_set(weights, threads=threads, backend=backend)
                assert codec.encode(images, 2).messages == expected
                assert np.array_equal(codec.decode(expected, [2, 2, 2]), images)
    alone = models.load_set(weights, threads=1)
    assert [alone.encode(images[i : i + 2], 2).messages[0] for i in (0, 2, 4)] == expected


@pytest.mark.parametrize("name", CONFIGS)
def test_code_length_is_the_training_forms_negative_elbo(name: str, folder: str) -> None:
    config, model = CONFIGS[name], model_of(name)
    images = images_of(config, 60)
    codec = models.load_set(weights_of(name, folder), threads=1)
    # each image alone: an untrained model's latents do not follow its prior, so what they leave on a chain does not look random
    parts = codec.encode(images, 1).accounting
    net = parts.net_bits - parts.initial_bits
    x = torch.from_numpy(np.repeat(images, 20, 0)).permute(0, 3, 1, 2)
    noise = torch.rand(len(x), model.config.latent_count, generator=torch.Generator().manual_seed(1)).clamp(1e-6, 1 - 1e-6)
    with torch.no_grad():
        bits = model(x, noise)
    per_image = (bits.likelihood() + bits.kl()).view(len(images), 20)
    neg_elbo = per_image.mean(1).sum().item()
    error = (per_image.var(1).sum() * (1 + 1 / 20)).sqrt().item()  # the code draws each once
    assert abs(net - neg_elbo) < 4 * error + 0.005 * neg_elbo


@pytest.mark.parametrize("name", CONFIGS)
def test_accounting_is_the_message(name: str, folder: str) -> None:
    encoded = models.load_set(weights_of(name, folder), threads=2).encode(images_of(CONFIGS[name], 60), 30)
    assert abs(encoded.accounting.net_bits - 8 * sum(map(len, encoded.messages))) < 2 * 40


@pytest.mark.parametrize("name", ["context", "rgb"])
def test_a_share_of_the_pixels_stands_for_all(name: str) -> None:
    model, config = deepcopy(model_of(name)), CONFIGS[name]
    x = torch.from_numpy(images_of(config, 3)).permute(0, 3, 1, 2)
    noise = torch.full((3, model.config.latent_count), 0.5)
    with torch.no_grad():
        whole = model(x, noise).likelihood()
        model.pixel_share, shares = 0.25, []
        for offset in np.arange(config.height * config.width) / (config.height * config.width) + 1e-3:
            chosen = model._pixels_of_step(torch.full((1, 1), float(offset)), config.height * config.width // 4)
            assert len(set(chosen.tolist())) == config.height * config.width // 4
            noise[0, 0] = float(offset)
            shares.append(model(x, noise).likelihood()[1:])
    assert torch.allclose(torch.stack(shares).mean(0), whole[1:], rtol=0.01)


def test_initial_bits_of_schemes(folder: str) -> None:
    images = images_of(MARKOV, 40)
    weights = weights_of("markov", folder)
    every = models.load_set(weights, scheme="bb-ans", threads=1).encode(images, 40).accounting
    swapped = models.load_set(weights, scheme="bit-swap", threads=1).encode(images, 40).accounting
    assert swapped.initial_bits < every.initial_bits
    net_every, net_swapped = (a.net_bits - a.initial_bits for a in (every, swapped))
    assert abs(net_every - net_swapped) < 0.02 * net_every


def test_chunks_beyond_a_batch(folder: str) -> None:
    images = images_of(PURE, 2 * MAX_BATCH + 3)
    codec = models.load_set(weights_of("pure", folder), threads=2)
    encoded = codec.encode(images, 1)
    assert len(encoded.messages) == len(images)
    assert np.array_equal(codec.decode(encoded.messages, [1] * len(images)), images)


@pytest.mark.parametrize("name", ["pure", "bits"])
def test_a_widened_model_begins_as_it_was(name: str) -> None:
    pure, config = model_of(name), CONFIGS[name]
    assert isinstance(config, TopDownConfig)
    wanted = replace(config, context=2) if config.features else replace(config, context=2, features=2, hidden=6, depth=2)
    wide = widen(pure, wanted)
    set_quantised(wide, True)
    x = torch.from_numpy(images_of(config, 5)).permute(0, 3, 1, 2)
    noise = torch.rand(5, pure.config.latent_count, generator=torch.Generator().manual_seed(1)).clamp(0.01, 0.99)
    with torch.no_grad():
        before, after = pure(x, noise), wide(x, noise)
    assert wide.config == wanted
    assert torch.allclose(before.likelihood(), after.likelihood(), rtol=1e-4 if config.features else 0.02)  # logits get coarser
    assert torch.allclose(before.kl(), after.kl(), rtol=1e-4)


@pytest.mark.parametrize("name", ["context", "rgb"])
def test_more_context_changes_nothing_at_first(name: str) -> None:
    old, config = model_of(name), CONFIGS[name]
    assert isinstance(config, TopDownConfig)
    wide = widen(old, replace(config, context=config.context + 1))
    set_quantised(wide, True)
    x = torch.from_numpy(images_of(config, 3)).permute(0, 3, 1, 2)
    noise = torch.full((3, old.config.latent_count), 0.3)
    with torch.no_grad():
        assert torch.allclose(old(x, noise).likelihood(), wide(x, noise).likelihood(), rtol=1e-4)


@pytest.mark.parametrize(("name", "sizes"), [("context", {"context": 1}), ("context", {"hidden": 5}), ("rgb", {"depth": 2})])
def test_new_pixel_layers_leave_the_rest(name: str, sizes: dict[str, int]) -> None:
    old, config = model_of(name), CONFIGS[name]
    assert isinstance(config, TopDownConfig)
    wide = widen(old, replace(config, **sizes))
    weights = old.state_dict()
    for layer, weight in wide.state_dict().items():
        kept = layer in weights and weights[layer].shape == weight.shape and torch.equal(weights[layer], weight)
        assert kept != layer.startswith("pixel."), layer


@pytest.mark.parametrize(
    ("name", "sizes", "reason"),
    [
        ("pure", {"widths": (9, 9)}, "no other sizes"),
        ("pure", {"features": 7}, "keeps these"),
        ("dense", {"features": 2, "context": 1}, "no pixel layers"),
        ("bits", {"features": 3, "context": 1}, "no pixel layers"),
    ],
)
def test_what_cannot_be_added(name: str, sizes: dict[str, object], reason: str) -> None:
    config = CONFIGS[name]
    assert isinstance(config, TopDownConfig)
    with pytest.raises(ModelError, match=reason):
        widen(model_of(name), replace(config, **sizes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_come_back(name: str, folder: str) -> None:
    weights, config = weights_of(name, folder), CONFIGS[name]
    family = FAMILIES[weights.architecture]
    assert family.config_of(weights) == config
    assert weights.takes(config.shape, config.symbols) and not weights.takes(config.shape, 258 - config.symbols)
    again = family.export(family.import_(weights), name)
    with open(f"{folder}/{name}.safetensors", "rb") as file:
        assert again == file.read()
    other = FAMILIES["topdown" if family.name == "markov" else "markov"]
    with pytest.raises(ModelError, match="family"):
        other.import_(weights)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("paper", "top-down"),
        ("markov", "mcbits-2"),
        ("pure", "bb-ans"),
        ("paper", "mcbits-0"),
        ("paper", "none"),
        ("pure", "bit-swap"),
    ],
)
def test_schemes_that_do_not_fit(name: str, scheme: str, folder: str) -> None:
    with pytest.raises(ModelError, match=scheme):
        models.load_set(weights_of(name, folder), scheme=scheme)


def test_the_photo_model_is_not_for_sets() -> None:
    with pytest.raises(ModelError, match="not for sets"):
        models.load_set(models.DEFAULT_MODEL)


@pytest.mark.parametrize("damage", ["flip", "cut", "count", "empty", "other model"])
def test_damage_is_noticed(damage: str, folder: str) -> None:
    codec = models.load_set(weights_of("context", folder), threads=1)
    images = images_of(CONTEXT, 4)
    (message,), count = codec.encode(images, 4).messages, 4
    if damage == "flip":
        message = message[:-5] + bytes([message[-5] ^ 1]) + message[-4:]
    elif damage == "cut":
        message = message[:-8]
    elif damage == "count":
        count = 3
    elif damage == "empty":
        message = b""
    else:
        message = models.load_set(weights_of("context", folder), threads=1).encode(images[:2], 4).messages[0] + message[:4]
    with pytest.raises(CorruptDataError):
        codec.decode([message], [count])


def test_images_that_do_not_fit(folder: str) -> None:
    codec = models.load_set(weights_of("paper", folder), threads=1)
    images = images_of(PAPER, 3)
    for wrong in (images[:, :, :4], images.astype(np.int64), images[:0], images * 2):
        with pytest.raises(ValueError, match="paper"):
            codec.encode(wrong, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbols": 3},
        {"components": 6},
        {"height": 0},
        {"symbols": 2, "channels": 3},
        {"divisors": (3,)},
        {"divisors": (4, 2)},
        {"latents": ((),)},
        {"context": 10},
        {"latents": ((5000,),)},
    ],
)
def test_sizes_that_make_no_model(wrong: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        replace(CONTEXT, **wrong)


def test_sizes_of_weight_files_are_exactly_those() -> None:
    given = to_json(CONTEXT)
    assert from_json(TopDownConfig, given, "x") == CONTEXT
    for wrong in ({**given, "more": 1}, {**given, "context": True}, {**given, "latents": [2]}, {"height": 8}):
        with pytest.raises(ModelError, match="architecture"):
            from_json(TopDownConfig, wrong, "x")


def test_bits_of_heads() -> None:
    for head in (1 << 31, (1 << 31) + 1, 3 << 40, (1 << 63) - 1, Message.primed(1).head[0]):
        assert abs(head_bits(int(head)) / 65536 - np.log2(float(head))) < 2e-5
