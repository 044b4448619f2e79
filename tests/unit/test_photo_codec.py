"""Pictures to messages and back: every size and kind, the same bytes everywhere, damage, and the accounting."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbans import models
from bbans.accounting import Encoded
from bbans.ans import Message
from bbans.codecs import Codec
from bbans.errors import CorruptDataError, ModelError
from bbans.exact.backends import BACKENDS
from bbans.models.photo import geometry
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.config import COARSEST
from bbans.models.photo.level import Level
from bbans.models.photo.network import PhotoNetwork
from tests.models import TINY, WITHOUT_LATENTS, codec, picture, weights, write_weight_file

SIZES = [(1, 1), (1, 7), (17, 1), (2, 2), (4, 4), (5, 4), (4, 5), (33, 31), (64, 1), (129, 130)]


@pytest.fixture(scope="module")
def coder() -> PhotoCodec:
    return codec()


def check(coder: PhotoCodec, pixels: np.ndarray, effort: int = 5) -> Encoded:
    """What is decoded is the picture, the accounting adds up, and nothing was read that is not in the messages."""
    encoded = coder.encode(pixels, effort)
    before = pixels.copy()
    assert np.array_equal(coder.decode(encoded.messages, *pixels.shape), before)
    parts = encoded.accounting
    net = parts.likelihood_bits + parts.prior_bits - parts.posterior_bits + parts.initial_bits
    total = 8 * sum(len(message) for message in encoded.messages)
    # a message: its head's first 31 bits, and up to 32 more until a word is full; a region's first has a byte of flags
    assert -1 <= total - net - 31 * len(encoded.messages) < 64 + 40 * len(encoded.messages)
    return encoded


@pytest.mark.parametrize("kind", ["photo", "noise", "flat", "gradient"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_round_trip(coder: PhotoCodec, height: int, width: int, channels: int, kind: str) -> None:
    encoded = check(coder, picture(height, width, channels, kind=kind))
    assert len(encoded.messages) == 1


@pytest.mark.parametrize("size", [(1, 1), (35, 70), (129, 130)])
def test_round_trip_without_latents(size: tuple[int, int]) -> None:
    encoded = check(codec(WITHOUT_LATENTS), picture(*size))
    assert encoded.messages[0][0] == 0
    assert encoded.accounting.prior_bits == encoded.accounting.posterior_bits == 0


def test_the_least_picture_is_its_pixels(coder: PhotoCodec) -> None:
    """Up to COARSEST a side there is no network: 8 bits each, G R B, on a head of 2**31."""
    [message] = coder.encode(np.array([[[1, 2, 3]]], np.uint8)).messages
    assert message == bytes([0]) + Message.from_words([0x80_00_00, 0x03_01_02]).to_bytes()
    largest = picture(COARSEST, COARSEST, 1, kind="noise")
    assert coder.encode(largest).accounting.likelihood_bits == pytest.approx(8 * COARSEST**2, abs=1e-6)


def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions of at most 96 pixels a side, strips of 16 rows of a grid."""
    monkeypatch.setattr(geometry, "REGION_SIDE", 96)
    monkeypatch.setattr(geometry, "REGION_STEP", 32)
    monkeypatch.setattr(geometry, "STRIP_POSITIONS", 500)
    monkeypatch.setattr(geometry, "STRIP_STEP", 16)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["photo", "flat"])
@pytest.mark.parametrize("size", [(96, 96), (97, 65), (200, 131), (150, 20)])
def test_regions_and_strips(
    monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec, size: tuple[int, int], channels: int, kind: str
) -> None:
    cut_small(monkeypatch)
    encoded = check(coder, picture(*size, channels, kind=kind))
    parts = list(geometry.regions(*size))
    assert len(parts) == {(96, 96): 1, (97, 65): 2, (200, 131): 6, (150, 20): 2}[size]
    if size != (150, 20):
        assert len(encoded.messages) > len(parts)
    # regions are coded on their own: the first one's messages are those of the picture it would be
    rows, columns = parts[0]
    alone = coder.encode(picture(*size, channels, kind=kind)[rows, columns]).messages
    assert encoded.messages[: len(alone)] == alone


def test_geometry_of_a_large_picture() -> None:
    """The pinned cuts: a change of them is a change of the format."""
    cuts = [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in geometry.regions(1536, 3100)]
    assert cuts == [(0, 1536, 0, 1152), (0, 1536, 1152, 2304), (0, 1536, 2304, 3100)]
    network = codec().network
    grid = network.grid(768, 576)
    assert [rows.start for rows in grid.strips()] == [0, 128, 256, 384, 512, 640]
    assert grid.strips()[-1].stop == 768
    assert [(rows.start, rows.stop) for rows in network.grid(130, 126).strips()] == [(0, 130)]
    assert [(rows.start, rows.stop) for rows in network.grid(129, 128).strips()] == [(0, 64), (64, 129)]
    assert len(network.grid(63, 400).strips()) == len(network.grid(31, 768).strips()) == 1
    assert len(network.grid(65, 400).strips()) == 2
    assert geometry.level_sizes(1536, 1)[-2:] == [(6, 1), (3, 1)]


def test_thin_is_what_costs_many_times_as_much() -> None:
    assert geometry.is_thin(1, 60_000) and geometry.is_thin(60_000, 7)
    assert not any(geometry.is_thin(*size) for size in [(1, 1), (1, 128), (8, 60_000), (1000, 1000)])


@pytest.mark.parametrize(("backend", "threads"), [*((backend, 1) for backend in BACKENDS["cpu"]), ("native", 2), ("reference", 3)])
def test_the_same_bytes_everywhere(monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec, backend: str, threads: int) -> None:
    cut_small(monkeypatch)
    pixels = picture(97, 40)
    expected = coder.encode(pixels).messages
    other = codec(backend=backend, threads=threads)
    monkeypatch.setattr(geometry, "TILES", (16,))  # several tiles a level, for threads to share
    assert other.encode(pixels).messages == expected
    assert np.array_equal(other.decode(expected, *pixels.shape), pixels)


def test_the_same_bytes_again(coder: PhotoCodec) -> None:
    pixels = picture(50, 40)
    strided = np.empty((50, 80, 3), np.uint8)[:, ::2]
    strided[...] = pixels
    assert coder.encode(pixels).messages == coder.encode(pixels).messages == coder.encode(strided).messages


# Latents


def test_latents_are_coded_where_there_are_bits_for_them(coder: PhotoCodec) -> None:
    encoded = coder.encode(picture(129, 130))
    assert encoded.messages[0][0] == 0b111  # grids of 65, 33 and 17 have blocks; those of 9 and less have none
    assert encoded.accounting.prior_bits > encoded.accounting.posterior_bits > 100


def test_x10_knows_what_the_posterior_says_of_z(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mode stands for z, as z itself is drawn from the bits of x10. Where the latents of a level are not coded, too."""
    coder, asked = codec(), []
    likelihood = coder.likelihood.codec

    def noted(level: Level, phase: int, colours: int, z: np.ndarray | None) -> Codec[np.ndarray]:
        if phase == 2 and level.has_latents:
            asked.append((level, z))
        return likelihood(level, phase, colours, z)

    monkeypatch.setattr(coder.likelihood, "codec", noted)
    check(coder, picture(129, 130))
    assert sorted(level.index for level, _ in asked) == [0, 0, 1, 1, 2, 2]
    for level, z in asked:
        assert np.array_equal(z, level.posterior.mode())
        assert not np.array_equal(z, level.prior.mode())


def certain_of_flat_pictures() -> PhotoCodec:
    """A codec whose x10 costs next to nothing in a flat picture: its mixtures sit on the reference with the least scale."""
    layer = weights().layers["out.2"]
    units = np.zeros((12, TINY.components))
    units[6:9] = -48  # of the log scales, in 1/16: index 0
    bias = (units.reshape(1, -1) * 2.0**layer.exponent).astype(np.int32)
    sure = dataclasses.replace(layer, weight=np.zeros_like(layer.weight), bias=bias)
    return PhotoCodec(PhotoNetwork(TINY, dict(weights().layers) | {"out.2": sure}, "native"), weights())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_little_effort_leaves_out_decisions(coder: PhotoCodec, size: tuple[int, int], channels: int) -> None:
    """By a flag of each region, by which any decoder knows."""
    pixels = picture(*size, channels)
    encoded = check(coder, pixels, 1)
    usual = coder.encode(pixels)
    assert encoded.messages[0][0] == usual.messages[0][0] | (0x80 if max(size) > 4 else 0)
    assert coder.encode(pixels, 2).messages == encoded.messages
    assert coder.encode(pixels, 3).messages == usual.messages
    if min(size) > 100:
        assert sum(map(len, encoded.messages)) > sum(map(len, usual.messages))


def test_without_an_adaptive_stage_there_are_no_decisions() -> None:
    coder = codec(dataclasses.replace(TINY, adaptive=False))
    pixels = picture(20, 20)
    [message] = coder.encode(pixels, 1).messages
    assert message[0] == 0
    with pytest.raises(CorruptDataError, match="decisions"):
        coder.decode([b"\x80" + message[1:]], 20, 20, 3)


def test_latents_wait_for_bits() -> None:
    """Where x10 has too few bits z is the prior's mode, and the level is coded without it; coarser levels then have bits."""
    sure = certain_of_flat_pictures()
    flat = check(sure, picture(129, 130, kind="flat"))
    assert flat.messages[0][0] == 0b110
    assert check(sure, picture(129, 130, kind="noise")).messages[0][0] == 0b111


def test_one_poor_strip_leaves_its_level_without_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)
    sure = certain_of_flat_pictures()
    pixels = picture(96, 96, kind="noise")
    assert check(sure, pixels).messages[0][0] == 0b011
    pixels[30:70] = 77  # the second of three strips of the finest level, and what its references reach
    encoded = check(sure, pixels)
    assert encoded.messages[0][0] == 0b010
    assert len(encoded.messages) == 4


def test_a_head_runs_once_for_each_z(monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec) -> None:
    """x11 and x01 with z and with the mode, x10 with the mode, in each level. Without latents z and mode are the same."""
    runs: list[tuple[int, int]] = []
    head = PhotoNetwork.head

    def counted(network: PhotoNetwork, phase: int, grid: geometry.Grid, *rest: Any) -> np.ndarray:
        runs.append((grid.height, phase))
        return head(network, phase, grid, *rest)

    monkeypatch.setattr(PhotoNetwork, "head", counted)
    pixels = picture(40, 40)
    once = [(size, phase) for size in (10, 20) for phase in (0, 0, 1, 1, 2)]
    messages = coder.encode(pixels).messages
    assert messages[0][0] == 0b1
    assert sorted(run for run in runs if run[0] in (10, 20)) == once
    runs.clear()
    coder.decode(messages, *pixels.shape)
    assert sorted(run for run in runs if run[0] in (10, 20)) == once


# Damage


@pytest.fixture(scope="module")
def two_regions(coder: PhotoCodec) -> tuple[np.ndarray, list[bytes]]:
    """A picture with two regions of which the first has strips."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut_small(monkeypatch)
        pixels = picture(97, 70)
        return pixels, coder.encode(pixels).messages


Change = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: [],
        lambda m: m[:-1],
        lambda m: m[1:],
        lambda m: [*m, m[-1]],
        lambda m: [*m, b""],
        lambda m: [m[1], m[0], *m[2:]],
        lambda m: [*m[:-1], b""],
        lambda m: [b"", *m[1:]],
        lambda m: [m[0][:1], *m[1:]],
        lambda m: [m[0][:-1], *m[1:]],
        lambda m: [m[0][:-4], *m[1:]],
        lambda m: [*m[:-1], m[-1][:-4]],
        lambda m: [*m[:-1], m[-1] + bytes(4)],
        lambda m: [m[0] + bytes(4), *m[1:]],
        lambda m: [m[0][:1] + bytes(8) + m[0][9:], *m[1:]],
        lambda m: [m[0][:1] + b"\xff" * 8 + m[0][9:], *m[1:]],
        lambda m: [bytes([m[0][0] | 0x80]) + m[0][1:], *m[1:]],
        lambda m: [bytes([m[0][0] | 0x40]) + m[0][1:], *m[1:]],
        lambda m: [bytes([m[0][0] | 0x08]) + m[0][1:], *m[1:]],
    ],
)
def test_messages_that_are_not_the_picture(
    monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec, two_regions: tuple[np.ndarray, list[bytes]], change: Change
) -> None:
    cut_small(monkeypatch)
    pixels, messages = two_regions
    assert len(messages) > 3
    assert np.array_equal(coder.decode(messages, *pixels.shape), pixels)
    with pytest.raises(CorruptDataError):
        coder.decode(change(list(messages)), *pixels.shape)


@pytest.mark.parametrize("shape", [(97, 70, 1), (70, 97, 3), (96, 70, 3), (97, 69, 3), (1, 1, 3), (200, 70, 3)])
def test_a_wrong_size(
    monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec, two_regions: tuple[np.ndarray, list[bytes]], shape: tuple[int, int, int]
) -> None:
    cut_small(monkeypatch)
    with pytest.raises(CorruptDataError):
        coder.decode(two_regions[1], *shape)


def forbid_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise AssertionError("a network ran")

    monkeypatch.setattr(PhotoNetwork, "trunk", run)


@pytest.mark.parametrize("size", [(1536, 1536), (6000, 4000), (1, 60_000), (1 << 30, 1), (1 << 31, 1 << 31)])
def test_a_size_of_more_messages_costs_nothing(monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec, size: tuple[int, int]) -> None:
    """A small file of a flat picture, its size changed: it would decode for long before its messages run dry."""
    messages = coder.encode(picture(48, 32, kind="flat")).messages
    forbid_networks(monkeypatch)
    with pytest.raises(CorruptDataError, match="here are 1"):
        coder.decode(messages, *size, 3)


@pytest.mark.parametrize(
    "change", [lambda m: [*m[:1], m[1] + b"?", *m[2:]], lambda m: [bytes([0x20 | m[0][0]]) + m[0][1:], *m[1:]]]
)
def test_no_network_runs_on_what_is_no_message(
    monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec, two_regions: tuple[np.ndarray, list[bytes]], change: Change
) -> None:
    cut_small(monkeypatch)
    forbid_networks(monkeypatch)
    with pytest.raises(CorruptDataError):
        coder.decode(change(two_regions[1]), *two_regions[0].shape)


@pytest.mark.parametrize("size", [(1, 1), (97, 70), (200, 131), (96, 193), (1, 700)])
def test_the_size_says_how_many_messages(monkeypatch: pytest.MonkeyPatch, coder: PhotoCodec, size: tuple[int, int]) -> None:
    cut_small(monkeypatch)
    assert geometry.message_count(*size) == len(coder.encode(picture(*size)).messages)


def test_so_many_pixels_have_a_message() -> None:
    """What the time to decode is bounded by. Sides beyond REGION_SIDE are cut into these."""
    sides = [*range(1, 1537, 45), 127, 128, 129, 511, 512, 513, 1535, 1536]
    most = max(h * w / geometry.message_count(h, w) for h in sides for w in sides)
    assert 200_000 < most < 220_000


def test_another_model(coder: PhotoCodec) -> None:
    pixels = picture(40, 40)
    with pytest.raises(CorruptDataError):
        codec(seed=1).decode(coder.encode(pixels).messages, *pixels.shape)


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 3), (9, 5, 1), (33, 40, 3)])
def test_flipped_bits(coder: PhotoCodec, height: int, width: int, channels: int) -> None:
    """A flip is an error of the one kind, or it gives another picture; never the same one, never another exception."""
    pixels = picture(height, width, channels)
    [message] = coder.encode(pixels).messages
    rng = random.Random(0)
    places = range(8 * len(message)) if len(message) < 100 else [*range(72), *rng.sample(range(72, 8 * len(message)), 60)]
    errors = 0
    for place in places:
        damaged = bytearray(message)
        damaged[place // 8] ^= 1 << place % 8
        try:
            decoded = coder.decode([bytes(damaged)], *pixels.shape)
        except CorruptDataError:
            errors += 1
        else:
            assert not np.array_equal(decoded, pixels), f"bit {place}"
    assert errors > len(places) / 4


# Loading


def test_load_by_path(tmp_path: Path) -> None:
    path = write_weight_file(tmp_path / "other.safetensors")
    coder = models.load(path, threads=1)
    assert (coder.id, coder.weights_hash) == ("tiny", weights().hash)
    check(coder, picture(30, 20))
    assert models.load(models.read(path)).encode(picture(30, 20)) == coder.encode(picture(30, 20))


@pytest.mark.parametrize(
    "config",
    [
        {"wings": 2},
        {"width": 17},
        {"width": "16"},
        {"width": 16.5},
        {"width": -16},
        {"blocks": 2},
        {"blocks": 0},
        {"blocks": 10**9},
        {"components": 2},
        {"components": 0},
        {"latents": 0},
        {"latents": 3},
    ],
)
def test_configurations_that_are_not_the_weights(config: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        models.load(dataclasses.replace(weights(), config=weights().config | config), threads=1)


@pytest.mark.parametrize("name", ["carry", "trunk.1.0.a", "posterior_out"])
def test_layers_that_are_not_the_model(name: str) -> None:
    layers = dict(weights().layers)
    layer = layers.pop(name)
    fewer = dataclasses.replace(layer, weight=layer.weight[:, :-1])
    for wrong in (layers, layers | {name: fewer}, layers | {name: layer, "more": layer}):
        with pytest.raises(ModelError):
            models.load(dataclasses.replace(weights(), layers=wrong), threads=1)


def test_fewer_biases_or_another_kind_of_output() -> None:
    for name, changes in (("first", {"bias": weights().layers["first"].bias[:1]}), ("out.0", {"relu": True})):
        layers = dict(weights().layers)
        layers[name] = dataclasses.replace(layers[name], **changes)
        with pytest.raises(ModelError):
            models.load(dataclasses.replace(weights(), layers=layers), threads=1)
