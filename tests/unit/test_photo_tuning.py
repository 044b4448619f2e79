"""Heads tuned to a picture: the gradients, the code of the changes, and that they are used only where they pay."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vaezip_cli import output

import bbans
from bbans.ans import Message
from bbans.errors import CorruptDataError
from bbans.exact.backends import BACKENDS
from bbans.formats.container import unpack
from bbans.models.elbo import mixture_bits
from bbans.models.grids import LOG_SCALE_MIN
from bbans.models.photo import changes as changes_module
from bbans.models.photo import codec as codec_module
from bbans.models.photo import geometry, tuning
from bbans.models.photo.changes import REACH, Changes, changed, changes_codec
from bbans.models.photo.config import PhotoConfig
from bbans.models.photo.level import Level
from tests import format_file_decoder
from tests.make_golden import CONFIG
from tests.models import TINY, WITHOUT_LATENTS, codec, picture, weights, write_weight_file

ROWS, COLUMNS = TINY.outputs, TINY.head + 1

NETWORKS_ALONE = replace(WITHOUT_LATENTS, adaptive=False)  # what the adaptive stage learns leaves little to tune


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures are tuned too, not for long, and untrained models in all they say."""
    monkeypatch.setattr(tuning, "LEAST_POSITIONS", 0)
    plans = {
        effort: replace(plan, kinds=(*plan.kinds, range(4)), steps=200, batch=256, rate=0.3, price_bits=2.0)
        for effort, plan in tuning.PLANS.items()
    }
    monkeypatch.setattr(tuning, "PLANS", plans)


def outputs_and_pixels(count: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(k)
    spread = np.repeat([20.0, 5.0, 10.0, 8.0], 3 * k)
    centres = rng.integers(0, 1021, (count, 3)) / 4
    pixels = np.clip(np.rint(centres + rng.normal(0, 4, (count, 3))), 0, 255)
    pixels[:4] = [[0, 255, 0], [255, 0, 255], [0, 0, 0], [255, 255, 255]]
    centres[:4] = pixels[:4] + np.array([2, -2, 3])
    return rng.normal(0, 1, (count, 12 * k)) * spread, centres, pixels


@pytest.mark.parametrize("k", [1, 3])
def test_the_loss_is_the_length_of_the_pixels(k: int) -> None:
    outputs, centres, pixels = outputs_and_pixels(200, k)
    logits, means, scales, slopes = outputs.reshape(200, 4, 3, k).swapaxes(0, 1)
    log_weights = logits / 16 - np.logaddexp.reduce(logits / 16, axis=-1, keepdims=True)
    exact = mixture_bits(pixels, centres, means, LOG_SCALE_MIN + (scales + 48) / 16, log_weights, slopes / 16)
    likely = exact < 15  # the loss has a floor below
    assert likely.mean() > 0.5
    assert np.allclose(tuning.bits(outputs, centres, pixels)[likely], exact[likely], atol=0.02)


@pytest.mark.parametrize("colours", [1, 3])
def test_gradients_are_those_of_the_loss(colours: int) -> None:
    outputs, centres, pixels = outputs_and_pixels(40, 3)
    slopes = tuning.gradient(outputs, centres, pixels, colours)
    for place in range(outputs.shape[1]):
        step = np.zeros(outputs.shape[1])
        step[place] = 1e-4
        ahead, behind = (tuning.bits(outputs + sign * step, centres, pixels)[:, :colours].sum(1) for sign in (1, -1))
        assert np.allclose(slopes[:, place], (ahead - behind) / 2e-4, atol=1e-4)


def some_changes(seed: int, levels: int = 2) -> dict[int, dict[int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    found = {}
    for level in range(levels):
        phases = [phase for phase in range(3) if rng.random() < 0.7]
        reach = rng.choice([0, 1, 3, REACH])
        found[level] = {phase: rng.integers(-reach, reach + 1, (ROWS, COLUMNS)) for phase in phases}
    return found


@given(st.integers(0, 1 << 30), st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_changes_come_back(seed: int, levels: int) -> None:
    sent, coder = some_changes(seed, levels), changes_codec(TINY, levels)
    message = coder.push(Message.random(np.random.default_rng(seed), 5), sent)
    message, found = coder.pop(message)
    assert message == Message.random(np.random.default_rng(seed), 5)
    assert found.keys() == sent.keys()
    for level, phases in sent.items():
        assert found[level].keys() == phases.keys()
        assert all(np.array_equal(found[level][phase], own) for phase, own in phases.items())


def test_a_level_without_changes_may_be_missing() -> None:
    _, found = changes_codec(TINY, 2).pop(changes_codec(TINY, 2).push(Message.empty(), {}))
    assert found == {0: {}, 1: {}}


def test_few_changes_take_few_bits() -> None:
    config = PhotoConfig()
    changes = np.random.default_rng(0).choice([-1, 0, 1], (config.outputs, config.head + 1), p=[0.05, 0.9, 0.05])
    message = changes_codec(config, 1).push(Message.empty(), {0: {0: changes}})
    assert 32 * message.size < changes.size  # of five bits each, if nothing were learned


def test_frequencies_fill_their_range() -> None:
    counts = np.array([[1] * 31, [1, 2**20] + 29 * [1], 31 * [2**20]])
    freqs = changes_module._freqs(counts)
    assert freqs.min() >= 1 and np.all(freqs.sum(-1) == 1 << 16)


@pytest.mark.parametrize("by", [REACH, -REACH])
def test_weights_out_of_range(by: int) -> None:
    layer = weights().layers["out.0"]
    assert np.abs(layer.weight).max() > 70
    with pytest.raises(CorruptDataError, match="range"):
        changed(replace(layer, weight=np.sign(by) * np.abs(layer.weight)), np.full((ROWS, COLUMNS), by))
    low = np.full(ROWS, 9, np.int8)
    wide = replace(
        layer, weight=np.zeros_like(layer.weight), exponent=low, bias=np.full((1, ROWS), (1 << 24) - (127 << 9) - 1, np.int32)
    )
    with pytest.raises(CorruptDataError, match=r"2\*\*24"):
        changed(wide, np.ones((ROWS, COLUMNS), np.int64))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("config", "size"), [(NETWORKS_ALONE, (64, 74)), (CONFIG, (64, 90))], ids=["networks alone", "latents"])
def test_tuned_pictures_are_smaller_and_come_back(
    config: PhotoConfig, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every backend, from messages of one strip and of several."""
    coder, pixels = codec(config), picture(*size, kind="gradient")
    usual, encoded = coder.encode(pixels), coder.encode(pixels, 9)
    assert encoded.messages[0][0] & 0x40
    assert len(encoded.messages[0]) < len(usual.messages[0])
    assert encoded.accounting.changes_bits > 100 and usual.accounting.changes_bits == 0
    assert 0 <= 8 * len(encoded.messages[0]) - 8 - 31 - encoded.accounting.net_bits <= 33
    for backend in BACKENDS["cpu"]:
        assert np.array_equal(codec(config, backend=backend).decode(encoded.messages, *pixels.shape), pixels)
    assert codec(config, threads=2).encode(pixels, 9).messages == encoded.messages
    monkeypatch.setattr(geometry, "STRIP_STEP", 16)
    monkeypatch.setattr(geometry, "STRIP_POSITIONS", 16 * 37)
    encoded = coder.encode(pixels, 9)
    assert len(encoded.messages) > 1
    assert np.array_equal(coder.decode(encoded.messages, *pixels.shape), pixels)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("channels", [1, 3])
def test_only_heads_of_colours_that_are_coded_change_and_only_the_kinds_of_a_candidate(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "PLANS", {9: replace(tuning.PLANS[9], price_bits=0.0)})
    pixels = picture(40, 40, channels)
    level = list(codec().levels(np.repeat(pixels, 3 // channels, 2)))[-1]
    candidates = tuning.tune(level, channels, 9)
    assert len(candidates) == len(tuning.PLANS[9].kinds) > 1
    for kinds, candidate in zip(tuning.PLANS[9].kinds, candidates, strict=True):
        assert candidate
        for changes in candidate.values():
            by_kind = changes.reshape(4, 3, TINY.components, -1).any((2, 3))
            assert by_kind[tuning.MEANS].tolist() == [True, channels == 3, channels == 3]
            others = [kind for kind in range(4) if kind not in kinds]
            assert not by_kind[others].any()
            if channels == 1:
                assert not by_kind[:3, 1:].any() and not by_kind[tuning.SLOPES].any()


def test_changes_that_do_not_pay_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages are those of the default effort."""
    coder, pixels = codec(), picture(60, 74)
    usual, asked = coder.encode(pixels), []

    small = np.pad((np.abs(weights().layers["out.0"].weight[..., 0, 0]) < 123).astype(int), ((0, 0), (0, 1)))

    def useless(level: Level, colours: int, effort: int, tell: Callable[[int], None]) -> list[Changes]:
        asked.append((level.index, effort))
        return [{0: np.random.default_rng(0).integers(0, 2, (ROWS, COLUMNS)) * small}] if level.index < 2 else []

    monkeypatch.setattr(codec_module, "tune", useless)
    assert coder.encode(pixels, 7) == usual
    assert (1, 7) in asked


def test_each_phase_has_the_candidate_that_is_best_for_it() -> None:
    def trial(changes: Changes, likelihoods: list[int], costs: list[int]) -> tuning.Trial:
        return tuning.Trial(changes, [], Counter(), 0, likelihoods, costs)

    one, other = (np.full((ROWS, COLUMNS), value) for value in (1, 2))
    plain = trial({}, [100, 100, 100], [0, 0, 0])
    first = trial({0: one, 1: one, 2: one}, [80, 95, 60], [10, 10, 10])
    second = trial({0: other, 2: other}, [60, 100, 65], [35, 0, 1])
    best = tuning.best_of_phases([plain, first, second])
    assert best.keys() == {0, 2} and best[0] is one and best[2] is other
    assert tuning.best_of_phases([plain]) == {}
    assert plain.has({}) and not plain.has(best) and not second.has(best) and trial(best, [0] * 3, [0] * 3).has(best)
    assert not first.has({0: one, 1: one, 2: one.copy()})


def test_little_pictures_and_efforts_are_not_tuned() -> None:
    coder, pixels = codec(), picture(60, 74)
    assert all(coder.encode(pixels, effort) == coder.encode(pixels) for effort in (3, 4, 6, 9))


@pytest.mark.usefixtures("eager")
def test_damaged_changes_are_an_error_or_another_picture() -> None:
    coder, pixels = codec(NETWORKS_ALONE), picture(60, 74, kind="gradient")
    [message] = coder.encode(pixels, 7).messages
    assert message[0] & 0x40
    rng, errors = random.Random(0), 0
    for _ in range(30):
        damaged = bytearray(message)
        place = rng.randrange(8, 8 * 120)
        damaged[place // 8] ^= 1 << place % 8
        try:
            assert not np.array_equal(coder.decode([bytes(damaged)], *pixels.shape), pixels)
        except CorruptDataError:
            errors += 1
    assert errors > 20


@given(st.binary(min_size=8, max_size=900))
@settings(max_examples=40, deadline=None)
def test_any_bytes_as_changes(data: bytes) -> None:
    try:
        codec().decode([b"\x41" + data], 20, 24, 3)
    except CorruptDataError:
        return
    raise AssertionError("it decodes")


@pytest.mark.usefixtures("eager")
def test_files_say_what_changes_take(tmp_path: Path) -> None:
    pixels = picture(60, 74, kind="gradient")
    pixels[..., 0] = pixels[::-1, :, 0]  # else they are tones of a gray
    model = write_weight_file(tmp_path / "tiny.safetensors", NETWORKS_ALONE)
    result = bbans.compress(pixels, mode="model", effort=9, model=model)
    assert unpack(result.data).method == 1
    assert bbans.inspect(result).accounting == result.info.accounting
    assert result.info.accounting.changes_bits > 100
    decoded = format_file_decoder.decode(result.data, lambda *_: pixels)
    assert decoded.format == "NPY"
    rows = output.accounting_rows(result.info.accounting, result.info.coded_bytes, ("rest", 0), pixels.size)
    assert ["changes of the networks", str(result.info.accounting.changes_bits)] in [row[:2] for row in rows]
