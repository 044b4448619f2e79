"""The adaptive stage: exact inverses, bounds, and that it learns what it is there for. Its bits are pinned by the golden files."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans.accounting import Encoded
from bbans.models.photo.adaptive import adaptive_tables
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.start import plain_starts
from bbans.tables import inverse_scales, log2_table, logistic_table
from tests.models import TINY, codec, picture
from tests.reference import photo
from tests.reference.photo import BINS, MOST_FEATURES

TOTAL = 1 << 24


def size(encoded: Encoded) -> int:
    return sum(len(message) for message in encoded.messages)


def mixer_at_start() -> photo.Mixer:
    return photo.Mixer(logistic_table(), plain_starts()[0].learned[0])


@pytest.fixture(scope="module")
def coders() -> tuple[PhotoCodec, PhotoCodec]:
    """Without and with the stage, the same weights."""
    return codec(replace(TINY, adaptive=False)), codec(TINY)


@pytest.mark.parametrize("kind", ["photo", "gradient", "flat"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_learns_what_a_poor_model_does_not_know(coders: tuple[PhotoCodec, PhotoCodec], kind: str, channels: int) -> None:
    pixels = picture(160, 200, channels, kind=kind)
    without, with_it = (coder.encode(pixels) for coder in coders)
    assert size(with_it) < 0.9 * size(without)
    for coder, encoded in zip(coders, (without, with_it), strict=True):
        assert np.array_equal(coder.decode(encoded.messages, *pixels.shape), pixels)


def test_it_costs_nothing_where_pixels_tell_nothing_of_each_other(coders: tuple[PhotoCodec, PhotoCodec]) -> None:
    pixels = picture(160, 200, 3, kind="noise")
    assert size(coders[1].encode(pixels)) <= size(coders[0].encode(pixels))


def random_map(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    edges = np.arange(BINS + 1, dtype=np.int64) << 20
    for times in range(1, 400):
        low, high = np.sort(rng.integers(0, TOTAL + 1, 2))
        if seed % 3 == 0:
            high = low
        photo.learn_map(edges, low, high, times)
    return edges


@pytest.mark.parametrize("seed", range(9))
def test_maps_keep_their_ends_and_their_order(seed: int) -> None:
    edges = random_map(seed)
    assert edges[0] == 0 and edges[-1] == TOTAL
    assert np.all(np.diff(edges) >= 0)
    shares = np.linspace(0, TOTAL, 999).astype(np.int64)
    mapped = np.array([photo.mapped(share, edges) for share in shares])
    assert mapped[0] == 0 and mapped[-1] == TOTAL and np.all(np.diff(mapped) >= 0)


def test_a_map_learns_where_symbols_fall() -> None:
    edges = np.arange(BINS + 1, dtype=np.int64) << 20
    for times in range(1, 3000):
        photo.learn_map(edges, 3 << 20, 4 << 20, times)
    assert edges[3] < 0.05 * TOTAL and edges[4] > 0.95 * TOTAL


@given(st.lists(st.tuples(st.integers(-20_000, 40_000), st.integers(0, 127), st.integers(1, 9)), min_size=3, max_size=3),
       st.integers(0, 8), st.integers(0, TOTAL - 1))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_search_finds_the_interval_that_holds_cf(mixture: list[tuple[int, int, int]], seed: int, cf: int) -> None:
    means, indices, parts = (np.array(column, np.int64) for column in zip(*mixture, strict=True))
    weights = parts * (1 << 14) // parts.sum()
    weights[0] += (1 << 14) - weights.sum()
    scales, edges, table = inverse_scales()[indices], random_map(seed), logistic_table()
    centre, spread = photo.describe(means, indices, weights, adaptive_tables()[0])
    symbol, low, high, start, stop = photo.mapped_search(cf, centre, spread, means, scales, weights, edges, table)
    assert 0 <= symbol < 256 and start <= cf < stop
    assert (low, start) == photo.mapped_cf(symbol, means, scales, weights, edges, table)
    assert (high, stop) == photo.mapped_cf(symbol + 1, means, scales, weights, edges, table)


def test_weights_stay_in_bounds_however_wrong_they_are() -> None:
    weights, features = np.zeros(MOST_FEATURES, np.int32), np.full(MOST_FEATURES, 1536, np.int32)
    for sign in (1, -1):
        for times in range(1, 4000):
            photo.learn_shift(features, 27, weights, sign * 4096, times)
        assert np.all(weights[:27] == sign * (1 << 26)) and not weights[27:].any()
        shift = photo.predicted_shift(features, 27, weights, sign << 21, 1 << 21)
        assert abs(shift) < 1 << 32


def test_least_mean_squares_finds_the_weights() -> None:
    rng = np.random.default_rng(3)
    true, weights = np.array([0.5, -0.3, 0.2, 0.0]), np.zeros(MOST_FEATURES, np.int32)
    features = np.zeros(MOST_FEATURES, np.int32)
    factors = adaptive_tables()[2]
    for times in range(1, 20_000):
        features[:4] = np.clip(rng.normal(0, 256, 4), -1536, 1536)
        target = int(features[:4] @ true + rng.logistic(0, 64))
        shift = photo.predicted_shift(features, 4, weights, 0, 1024) * 4  # spread 1: 64ths to 256ths
        gradient, _ = photo.likelihood_slope(target - shift, 0, logistic_table(), factors)
        photo.learn_shift(features, 4, weights, gradient, times)
    assert np.allclose(weights[:4] / 2**24, true, atol=0.06)


@pytest.mark.parametrize(("deviation", "sign"), [(2000, 1), (-2000, -1), (0, 0)])
def test_likelihood_slope_is_that_of_the_logistic(deviation: int, sign: int) -> None:
    factors = adaptive_tables()[2]
    for step in (-64, -10, 0, 10, 64):
        gradient, stretch = photo.likelihood_slope(deviation, step, logistic_table(), factors)
        z = float(np.clip(deviation / 256 * np.exp(-step / 16), -4088 / 256, 4088 / 256))
        assert gradient / 4096 == pytest.approx(np.tanh(z / 2), abs=0.02) and np.sign(gradient) == sign
        assert stretch / 4096 == pytest.approx(min(z * np.tanh(z / 2) - 1, 3), abs=0.2)


@pytest.mark.parametrize(("offset", "least"), [(3, 328), (50, 131)])
def test_falling_rate_is_what_the_specification_says(offset: int, least: int) -> None:
    for times in range(1, 2000):
        assert photo.falling_rate(times, offset, least) == max(least, 65536 // (times + offset))


def test_classes_are_octaves_of_the_spread() -> None:
    for spread in (51, 255, 256, 511, 512, 16383, 16384, 1 << 21):
        assert photo.spread_class(spread) == sum(spread >= 256 << i for i in range(7))


def test_tables_are_close_to_what_they_stand_for() -> None:
    spreads, classes, factors, logarithms = adaptive_tables()
    assert np.allclose(spreads, 1024 * np.exp(np.arange(128) / 16 - 3), rtol=0.01)
    assert np.allclose(factors, 65536 * np.exp((64 - np.arange(129)) / 16), rtol=0.001)
    assert classes[0] == 0 and classes[-1] == 15 and np.all(np.diff(classes) >= 0) and np.all(np.diff(classes) <= 1)
    assert np.allclose(logarithms / 1024, np.log(8 * np.arange(4353) + 4), atol=0.002)


NOTHING = [0] * 32  # what all inputs say


def decisions(mixer: photo.Mixer, probability: float, inputs: list[int], variety: int = 0) -> float:
    """Have a mixer learn decisions of that probability; what it gives at last."""
    rng = np.random.default_rng(2)
    for _ in range(3000):
        _, decision = mixer.mix(list(inputs), 0, 0, 0, variety, 0)
        mixer.learn(bool(rng.random() < probability), decision)
    return mixer.mix(list(inputs), 0, 0, 0, variety, 0)[0] / TOTAL


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.5, 0.97])
def test_decisions_learn_how_often_the_answer_is_yes(probability: float) -> None:
    assert decisions(mixer_at_start(), probability, [1024, *NOTHING[1:]]) == pytest.approx(probability, abs=0.04)


def test_decisions_learn_whom_to_trust_by_variety() -> None:
    mixer, agreed = mixer_at_start(), [0, 0, 0, 1024, *NOTHING[4:]]
    for _ in range(3000):
        for variety, yes in ((7, True), (8, False)):
            mixer.learn(yes, mixer.mix(list(agreed), 0, 0, 0, variety, 0)[1])
    varieties = mixer.weights["variety"][0]
    assert varieties[7][3] > 1 << 20 and varieties[8][3] < -(1 << 20)
    p, other = (mixer.mix(list(agreed), 0, 0, 0, variety, 0)[0] / TOTAL for variety in (7, 8))
    assert p > 0.9 and other < 0.1


def test_the_corrected_mixture_counts_most_at_the_start() -> None:
    mixer = mixer_at_start()
    for logit in (-5000, 0, 1750):
        p, _ = mixer.mix([logit] * 32, 1, 2, 3, 4, 5)
        assert p / TOTAL == pytest.approx(1 / (1 + np.exp(-26 / 32 * logit / 1024)), abs=0.001)  # weights of 8 and 18 of 1 in 32
    alone = [abs(mixer.mix([0] * i + [1024] + [0] * (31 - i), 1, 2, 3, 4, 5)[0] - TOTAL // 2) for i in range(32)]
    assert alone[0] > 6 * max(alone[1:]) and min(alone[1:19]) > 0 and not any(alone[19:])  # maps know nothing yet


def test_varieties_tell_apart_how_far_the_nearest_pixels_are() -> None:
    canvas, found = np.zeros((5, 5, 3), np.int64), set()
    for first in range(17):
        for second in range(17):
            canvas[1, 1], canvas[3, 3], canvas[1, 3], canvas[3, 1] = 100, 100 + first, 100 - second, 100
            found.add(photo.expectations(canvas, 2, 2, 0, (1, 1), 0, photo.Distances())[2])
    assert found == set(range(256))


@pytest.mark.parametrize(("colour", "expected"), [(0, 60), (1, 60 + 7), (2, 60 + 9)])
def test_nearest_pixels_are_moved_by_the_step_of_the_colour_before(colour: int, expected: int) -> None:
    canvas = np.full((5, 5, 3), 60)
    canvas[2, 2] = 60 + 9, 60 + 7, 0  # R, G
    means, single, *_ = photo.expectations(canvas, 2, 2, colour, (0, 1), 3, photo.Distances())
    assert [value for value, _ in means] == 3 * [expected] + 3 * [(60, 60, 67)[colour]]
    assert [value for value, _ in single] == 8 * [(60, 67, 67)[colour]]


def test_single_pixels_are_taken_by_how_far_they_were() -> None:
    far = photo.Distances()
    for y, x, off in ((0, 0, 1), (0, 1, 5), (0, 2, 90), (1, 0, 3)):
        far.at = y, x
        far.note(2, 100, [100 + off] * 8)
    far.at = 1, 1
    assert far.contexts(2) == [15] * 8 and far.contexts(0) == [12] * 8  # (3 * 3 + 3 * 5 + 1 + 60) >> 2; nothing noted
    far.noted[0, 2, 2] = [2] * 8
    assert far.contexts(2) == [(3 * 3 + 3 * 5 + 1 + 2) >> 2] * 8


@pytest.mark.parametrize("colour", [0, 1, 2])
def test_contexts_tell_apart_where_a_threshold_lies(colour: int) -> None:
    canvas = np.random.default_rng(colour).integers(0, 256, (5, 5, 3))
    means, single, _, known = photo.expectations(canvas, 2, 2, colour, (0, 1), 3, photo.Distances())
    values = [value for value, _ in [*means, (90, 0), (91, 0), *single]]
    found = [photo.contexts_of(x, 64 * 90, values, known) for x in range(1, 256)]
    assert all(len({contexts[i] for contexts, _ in found}) > 1 for i in range(13))
    assert {position for _, position in found} <= set(range(243))
    assert len({contexts[5] for contexts, _ in found}) == 255


def test_chances_learn_how_often_the_answer_is_yes() -> None:
    maps, logarithms, key = photo.ContextMaps(), adaptive_tables()[3], (0, 0, (1, 2))
    assert maps.input(key, logarithms) == 0
    for _ in range(2000):
        maps.learn([key], True)
    yes = maps.chances[key][0]
    assert yes > 0.995 * 65536 and maps.input(key, logarithms) / 1024 == pytest.approx(
        np.log((yes + 256) / (65792 - yes)), abs=0.05
    )
    maps.learn([key], False)
    assert maps.chances[key] == [yes - (yes * 127 + (1 << 14) - 1 >> 15), 255]


def test_histograms_learn_how_often_distances_come() -> None:
    histograms, key = photo.Histograms(), (0, 0, 0)
    rng = np.random.default_rng(1)
    assert [histograms.below(key, distance) for distance in (-300, -16, 16, 300)] == [0, 0, 32767, 32767]
    for distance in rng.choice([-40, -2, 5, 90], 5000, p=[0.1, 0.2, 0.3, 0.4]):
        histograms.learn(key, int(distance))
    shares = np.diff([histograms.below(key, distance) for distance in range(-16, 17)]) / 32767
    assert shares[[0, 14, 21, 31]] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.1)
    assert shares[[0, 14, 21, 31]].sum() > 0.99 and (shares >= 0).all()


@given(st.lists(st.integers(-300, 300), max_size=60))
@settings(max_examples=50)
def test_shares_of_histograms_ascend(distances: list[int]) -> None:
    histograms, key = photo.Histograms(), (0, 0, 0)
    histograms.below(key, 0)
    for distance in distances * 5:
        histograms.learn(key, distance)
    shares = histograms.shares[key]
    assert shares == sorted(shares) and shares[0] == 0 and shares[32] == 32767


@given(st.integers(0, 1 << 32), st.integers(1, 255), st.sampled_from([0, 1, 2]))
@settings(max_examples=50)
def test_uneven_edges_ascend_to_the_even_ones(seed: int, threshold: int, colour: int) -> None:
    rng = np.random.default_rng(seed)
    known = rng.integers(0, 256, (50, 3)).repeat(rng.integers(0, 1000, 50), axis=0)
    first, widths = photo.Widths(known).around(rng.integers(0, 256, 3), colour, threshold)
    edges = [photo.uneven_edge(x, first, widths) for x in range(257)]
    assert edges == sorted(edges)
    for x in [*range(max(threshold - 8, 0) + 1), *range(min(threshold + 8, 256), 257)]:
        assert edges[x] == 64 * x - 32


def test_values_that_often_come_are_wide() -> None:
    known = np.repeat(np.arange(0, 256, 2), 1000)[:, None].repeat(3, axis=1)
    first, widths = photo.Widths(known).around((100, 100, 0), 0, 100)
    edges = [photo.uneven_edge(x, first, widths) for x in range(96, 105)]
    assert np.allclose(np.diff(edges), [124, 4] * 4, atol=5)


@given(st.integers(1, TOTAL - 1))
def test_a_logit_is_that_of_two_shares(yes: int) -> None:
    expected = np.clip(np.log(yes / (TOTAL - yes)), -7.9, 7.9)
    assert photo.logit_of(yes, TOTAL - yes, log2_table()) / 1024 == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("taps", [1, 5, 42])
def test_least_squares_find_the_coefficients(taps: int) -> None:
    rng = np.random.default_rng(taps)
    true = rng.normal(0, 1 / np.sqrt(taps), taps)
    squares = photo.LeastSquares(taps, np.zeros(946, np.int64))
    for number in range(1, 600):
        features = rng.integers(-400, 400, taps)
        squares.add([*map(int, features), int(features @ true)], 3000)
        if number % 100 == 0:
            squares.solve()
    assert np.allclose(np.array(squares.coefficients) / 65536, true, atol=0.01)
