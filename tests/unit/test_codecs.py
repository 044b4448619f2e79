"""Codecs: exact inverses for every shape and number of lanes, exact words, rates, damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans import tables
from bbans.ans import Batch, Message
from bbans.codecs import bernoulli, categorical, from_intervals, logistic, mixture, uniform
from bbans.combinators import serial, substack
from bbans.errors import CorruptDataError
from tests.checks import check_batch, check_codec

SHAPES = [(), (1,), (7,), (3, 5), (2, 0, 3)]
LANES = st.integers(1, 5)


def random_mixture(rng, shape, k, n):
    means = rng.integers(-64, 64 * n + 64, (*shape, k))
    scales = rng.integers(0, 128, (*shape, k))
    weights = tables.quantise_probabilities(rng.random((*shape, k)), tables.WEIGHT_BITS)
    return means, scales, weights


def test_exact_words():
    """A change of any of these makes every file unreadable."""
    message = Message.empty()
    message = uniform(1000, (3,)).push(message, [1, 500, 999])
    message = categorical([1, 2, 5], (4,)).push(message, [0, 1, 2, 2])
    message = logistic([640, 700, -50], [48, 0, 127], 256).push(message, [11, 10, 255])
    message = mixture([[640, 700], [0, 9000]], [[20, 60]], [[16000, 384]], 256).push(message, [10, 200])
    assert message.to_words().tolist() == WORDS


WORDS = [10350, 332188640, 3451888716, 1771692901]


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data(), lanes=LANES)
@settings(deadline=None, max_examples=20)
def test_uniform(shape, data, lanes):
    n = data.draw(st.one_of(st.integers(1, 300), st.sampled_from([1 << 16, (1 << 31) - 1, 1 << 31])))
    symbols = np.random.default_rng(n).integers(0, n, shape)
    net_bits = check_codec(uniform(n, shape), symbols, lanes)
    assert net_bits == pytest.approx(symbols.size * np.log2(n), abs=1e-3 * max(symbols.size, 1))


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 99), n=st.integers(1, 40), lanes=LANES)
@settings(deadline=None, max_examples=20)
def test_categorical(shape, seed, n, lanes):
    rng = np.random.default_rng(seed)
    freqs = tables.quantise_probabilities(rng.random((*shape, n)) ** 4 + 1e-9, 12)
    check_codec(categorical(freqs), rng.integers(0, n, shape), lanes)
    if freqs.ndim == 1:
        check_codec(categorical(freqs, (4, 3)), rng.integers(0, n, (4, 3)), lanes)


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 99), n=st.integers(1, 300), lanes=LANES)
@settings(deadline=None, max_examples=20)
def test_logistic(shape, seed, n, lanes):
    rng = np.random.default_rng(seed)
    means, scales = rng.integers(-500, 64 * n + 500, shape), rng.integers(0, 128, shape)
    check_codec(logistic(means, scales, n), rng.integers(0, n, shape), lanes)


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 99), n=st.integers(1, 300), k=st.integers(1, 4), lanes=LANES)
@settings(deadline=None, max_examples=20)
def test_mixture(shape, seed, n, k, lanes):
    rng = np.random.default_rng(seed)
    check_codec(mixture(*random_mixture(rng, shape, k, n), n), rng.integers(0, n, shape), lanes)


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 99), lanes=LANES)
@settings(deadline=None, max_examples=20)
def test_bernoulli(shape, seed, lanes):
    rng = np.random.default_rng(seed)
    check_codec(bernoulli(rng.integers(-1200, 1200, shape)), rng.integers(0, 2, shape), lanes)


def test_a_bernoulli_is_a_logistic_of_two():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.integers(-2000, 2000, 500), [-(2**31) + 1, 2**31 - 100]])
    symbols = rng.integers(0, 2, logits.shape)
    one = bernoulli(logits).push(Message.empty(), symbols)
    assert one == logistic(32 + logits, 48, 2).push(Message.empty(), symbols)
    chance_bits = bernoulli(logits[:500]).log_freqs(symbols[:500], False) / 65536
    signed = np.where(symbols[:500], 1, -1) * logits[:500] / 64
    kept = np.abs(signed) < 10  # beyond, the floor of a freq shows
    assert bernoulli(logits[:500][kept]).log_freqs(symbols[:500][kept], False) / 65536 == pytest.approx(
        -np.log2(1 + np.exp(-signed[kept])).sum(), rel=1e-4
    )
    assert chance_bits > -500 * 24


def test_uniforms_of_different_sizes():
    ns = np.array([1, 2, 3, 1000, 1 << 20, (1 << 31) - 2, (1 << 31) - 1, 1 << 31])
    for symbols in (ns - 1, ns // 2, ns * 0):
        check_codec(uniform(ns), symbols)
        assert check_codec(uniform(ns[:5]), symbols[:5]) == pytest.approx(np.log2(ns[:5]).sum(), abs=0.002)
    assert check_codec(uniform(np.int64(300), (2,)), [7, 299]) == pytest.approx(2 * np.log2(300), abs=0.01)
    for wrong in (np.array([0, 4]), np.array([(1 << 31) + 1])):
        with pytest.raises(ValueError):
            uniform(wrong)
    with pytest.raises(ValueError):
        uniform(ns).push(Message.empty(), ns)


def test_a_logistic_is_a_mixture_of_one():
    rng = np.random.default_rng(0)
    means, scales, symbols = rng.integers(0, 6400, 50), rng.integers(0, 128, 50), rng.integers(0, 100, 50)
    one = logistic(means, scales, 100).push(Message.empty(), symbols)
    other = mixture(means[:, None], scales[:, None], [1 << 14], 100).push(Message.empty(), symbols)
    assert one == other


def test_arrays_are_symbols_in_a_row():
    """An array codec is the same as one codec for each symbol, the last pushed first."""
    rng = np.random.default_rng(0)
    means, scales, symbols = rng.integers(0, 6400, 9), rng.integers(0, 128, 9), rng.integers(0, 100, 9)
    whole = logistic(means, scales, 100).push(Message.empty(), symbols)
    single = [logistic(m, s, 100) for m, s in zip(means, scales, strict=True)]
    assert serial(single).push(Message.empty(), list(symbols)) == whole


def test_lanes_take_turns():
    symbols = np.arange(7)
    message = uniform(256, (7,)).push(Message.empty(3), symbols)
    rows = Message.empty(3)
    for row in ([6], [3, 4, 5], [0, 1, 2]):
        view = slice(len(row))
        rows = substack(uniform(256, (len(row),)), lambda head, view=view: head[view]).push(rows, row)
    assert message == rows


def test_types_of_symbols():
    codec = uniform(256, (3,))
    for dtype in (np.uint8, np.int32, np.uint64):
        _, symbols = codec.pop(codec.push(Message.empty(), np.array([1, 2, 255], dtype)))
        assert symbols.dtype == np.int64
    _, symbol = uniform(256).pop(uniform(256).push(Message.empty(), 7))
    assert symbol == 7
    assert np.shape(symbol) == ()


@pytest.mark.parametrize("lanes", [1, 3])
def test_rate_of_a_mixture(lanes):
    """Net bits of samples are within 0.01 % of -log2 of the real-valued distribution that they are drawn from."""
    rng, n, size = np.random.default_rng(0), 256, 20_000
    means, scales = rng.integers(40 * 64, 216 * 64, (size, 3)), rng.integers(60, 100, (size, 3))
    weights = tables.quantise_probabilities(rng.random((size, 3)), tables.WEIGHT_BITS)
    sigma = np.exp(-3 + scales / 16)[..., None]
    inner = np.arange(1, n) - 0.5 - means[..., None] / 64
    edges = np.pad(1 / (1 + np.exp(-inner / sigma)), ((0, 0), (0, 0), (1, 0)))
    cdf = np.concatenate([(edges * weights[..., None] / (1 << 14)).sum(1), np.ones((size, 1))], 1)
    symbols = (rng.random((size, 1)) >= cdf[:, 1:]).sum(1)
    rows = np.arange(size)
    entropy_bits = -np.log2(cdf[rows, symbols + 1] - cdf[rows, symbols]).sum()
    net_bits = check_codec(mixture(means, scales, weights, n), symbols, lanes)
    assert net_bits == pytest.approx(entropy_bits, rel=1e-4)


# Batches, and what Monte Carlo bits-back needs.

RNG = np.random.default_rng(1)
MEANS, SCALES_ = RNG.integers(0, 64 * 20, (5, 4, 3)), RNG.integers(20, 100, (5, 4, 3))
WEIGHTS = tables.quantise_probabilities(RNG.random((5, 4, 3)), tables.WEIGHT_BITS)
SIZES = RNG.integers(1, 1000, (5, 4))
FREQS = tables.quantise_probabilities(RNG.random((5, 4, 20)), 12)
BATCHES = {  # codec of row(s) i, symbols of all rows
    "uniform": (lambda i: uniform(20, SIZES[i].shape), RNG.integers(0, 20, (5, 4))),
    "uniforms": (lambda i: uniform(SIZES[i]), SIZES - 1),
    "categorical": (lambda i: categorical(FREQS[i]), RNG.integers(0, 20, (5, 4))),
    "shared": (lambda i: categorical(FREQS[0, 0], SIZES[i].shape), RNG.integers(0, 20, (5, 4))),
    "bernoulli": (lambda i: bernoulli(MEANS[i] - 640), RNG.integers(0, 2, (5, 4, 3))),
    "logistic": (lambda i: logistic(MEANS[i], SCALES_[i], 20), RNG.integers(0, 20, (5, 4, 3))),
    "mixture": (lambda i: mixture(MEANS[i], SCALES_[i], WEIGHTS[i], 20), RNG.integers(0, 20, (5, 4))),
    "numbers": (lambda i: logistic(MEANS[i, 0, 0], 40, 20), RNG.integers(0, 20, 5)),
    "nothing": (lambda i: logistic(MEANS[i, :0], 40, 20), np.zeros((5, 0, 3), int)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_its_messages(name):
    check_batch(*BATCHES[name])


def test_a_batch_wants_a_row_for_each_message():
    for shape in ((), (4,), (6, 2)):
        with pytest.raises(ValueError, match="batch of 5"):
            uniform(4, shape).push(Batch([Message.empty() for _ in range(5)]), np.zeros(shape, int))


def test_a_batch_may_be_empty():
    assert uniform(4, (0, 3)).pop(Batch([]))[1].shape == (0, 3)
    assert uniform(4, (0, 3)).log_freqs(np.zeros((0, 3), int), True).tolist() == []


@pytest.mark.parametrize("name", BATCHES)
def test_log_freqs_are_the_length(name):
    codec_of, symbols = BATCHES[name]
    codec = codec_of(slice(0, 5))
    rows = codec.log_freqs(symbols, True)
    assert rows.dtype == np.int64
    assert rows.tolist() == [codec_of(i).log_freqs(symbols[i], False) for i in range(5)]
    assert codec.log_freqs(symbols, False) == rows.sum()
    assert check_codec(codec, symbols) == pytest.approx(-rows.sum() / 65536, abs=0.05)


@pytest.mark.parametrize("name", BATCHES)
def test_intervals_are_those_that_are_coded(name):
    codec_of, symbols = BATCHES[name]
    codec = codec_of(slice(0, 5))
    shape, precision, locate, search = codec.intervals
    starts, freqs = locate(symbols)
    assert shape == starts.shape == freqs.shape == symbols.shape
    assert np.array_equal(search(starts), symbols)
    assert np.array_equal(search(starts + freqs - 1), symbols)
    last = locate(search(np.full(shape, (1 << precision) - 1)))
    assert np.all(sum(last) == 1 << precision)
    assert np.all(search(np.zeros(shape, int)) == 0)
    with pytest.raises(ValueError):
        locate(symbols[:4])


# Codecs of any intervals.

TABLE = np.array([0, 1, 4, 10, 16])  # starts of four symbols in 16


def from_table(shape=()):
    return from_intervals(
        lambda x: (TABLE[x], TABLE[x + 1] - TABLE[x]), lambda cfs: np.searchsorted(TABLE, cfs, "right") - 1, 4, shape
    )


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 99), lanes=LANES)
@settings(deadline=None, max_examples=20)
def test_any_intervals_are_coded_as_a_table(shape, seed, lanes):
    symbols = np.random.default_rng(seed).integers(0, 4, shape)
    check_codec(from_table(shape), symbols, lanes)
    message = from_table(shape).push(Message.primed(9, lanes), symbols)
    assert message == categorical(np.diff(TABLE), shape).push(Message.primed(9, lanes), symbols)


def test_any_intervals_in_batches():
    symbols = np.random.default_rng(0).integers(0, 4, (5, 3))
    check_batch(lambda i: from_table((5, 3)[isinstance(i, int) :]), symbols)
    rows = np.arange(5)  # a parameter for each message
    ramp = lambda i: from_intervals(lambda x: (x << rows[i], 1 << rows[i]), lambda cfs: cfs >> rows[i], 10, np.shape(rows[i]))  # noqa: E731
    check_batch(ramp, np.array([1000, 500, 250, 125, 60]))


def test_scalar_functions_make_a_codec_of_one_number():
    """With branches, as one writes them for numbers."""

    def locate(x):
        return (0, 3) if x == 0 else (3, 1)

    codec = from_intervals(locate, lambda cf: 0 if cf < 3 else 1, 2)
    assert check_codec(serial([codec] * 5), [0, 1, 1, 0, 1]) == pytest.approx(2 * np.log2(4 / 3) + 3 * 2)


def test_any_intervals_have_all_that_array_codecs_have():
    own, table = from_table((7,)), categorical(np.diff(TABLE), (7,))
    symbols = np.array([0, 1, 2, 3, 2, 1, 0])
    assert own.log_freqs(symbols, False) == table.log_freqs(symbols, False)
    assert np.array_equal(own.intervals.locate(symbols), table.intervals.locate(symbols))
    assert own.intervals.search(TABLE[symbols]).tolist() == symbols.tolist()
    assert own.intervals[:2] == table.intervals[:2]


@pytest.mark.parametrize("locate", [lambda x: (x, 0), lambda x: (-1, 2), lambda x: (15, 2), lambda x: (0.0, 1)])
def test_intervals_that_are_none(locate):
    with pytest.raises(ValueError, match="interval"):
        from_intervals(locate, lambda cf: cf, 4).push(Message.empty(), 3)
    with pytest.raises(ValueError, match="interval"):
        from_intervals(locate, lambda cf: cf, 4).pop(Message.primed(2))


def test_intervals_that_do_not_fit_together():
    codec = from_intervals(lambda x: (x, 1), lambda cf: (cf + 1) % 16, 4)
    with pytest.raises(ValueError, match="not inverse"):
        codec.pop(codec.push(Message.empty(), 3))
    with pytest.raises(ValueError, match="precision"):
        from_intervals(lambda x: (x, 1), lambda cf: cf, 32)
    with pytest.raises(ValueError, match="shape"):
        from_table((2,)).push(Message.empty(), 1)


def test_a_distribution_by_its_cdf():
    """A Poisson distribution: the net bits of samples are those of its probabilities."""
    rng, rate, n = np.random.default_rng(0), 3.5, 200
    log_p = -rate + np.arange(n) * np.log(rate) - np.cumsum(np.log(np.maximum(np.arange(n), 1)))
    below = np.concatenate([[0], np.cumsum(np.exp(log_p))])
    codec = from_intervals(*tables.quantise_cdf(lambda k: below[k], n, 24), 24, (3000,))
    symbols = rng.poisson(rate, 3000)
    assert check_codec(codec, symbols) == pytest.approx(-log_p[symbols].sum() / np.log(2), rel=1e-3)
    with pytest.raises(ValueError, match="0 .. 199"):
        codec.push(Message.empty(), np.full(3000, 200))


CODECS = {
    "uniform": (uniform(300, (40,)), 300),
    "categorical": (categorical([1, 3, 28], (40,)), 3),
    "logistic": (logistic(np.arange(40) * 64, 40, 40), 40),
    "from_intervals": (from_intervals(*tables.quantise_cdf(lambda k: (k / 4) ** 2, 4, 8), 8, (40,)), 4),
    "mixture": (mixture(np.arange(120).reshape(40, 3) * 20, 40, [4000, 8000, 4384], 40), 40),
}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("lanes", [1, 2])
def test_every_cut_is_noticed(name, lanes):
    codec, n = CODECS[name]
    symbols = np.random.default_rng(0).integers(0, n, 40)
    words = codec.push(Message.empty(lanes), symbols).to_words()
    for size in range(len(words)):
        with pytest.raises(CorruptDataError):
            codec.pop(Message.from_words(words[:size], lanes))


@pytest.mark.parametrize("name", CODECS)
def test_foreign_words_never_crash(name):
    codec, n = CODECS[name]
    rng = np.random.default_rng(0)
    for _ in range(50):
        message, symbols = codec.pop(Message.random(rng, 40))
        assert symbols.min() >= 0
        assert symbols.max() < n
        assert not message.is_initial()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("wrong", [np.full(40, -1), np.full(40, 300), np.zeros(39, int), np.zeros(40), 0])
def test_wrong_symbols(name, wrong):
    with pytest.raises(ValueError):
        CODECS[name][0].push(Message.empty(), wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: uniform(0),
        lambda: uniform((1 << 31) + 1),
        lambda: categorical([]),
        lambda: categorical(4),
        lambda: categorical([0, 4]),
        lambda: categorical([1.0, 3.0]),
        lambda: categorical([1, 2]),
        lambda: categorical([[1, 3], [2, 6]]),
        lambda: categorical([[1, 3], [2, 2]], (2,)),
        lambda: categorical([1 << 31, 1 << 31]),
        lambda: categorical(np.array([1 << 63, 1 << 63, 4], np.uint64)),
        lambda: logistic(0, 128, 4),
        lambda: logistic(0, -1, 4),
        lambda: logistic(0.5, 1, 4),
        lambda: logistic(1 << 31, 1, 4),
        lambda: logistic(0, 1, 0),
        lambda: logistic(0, 1, (1 << 16) + 1),
        lambda: logistic([0, 0], [1, 1, 1], 4),
        lambda: mixture([0, 0], [1, 1], [1 << 13, 1 << 12], 4),
        lambda: mixture([0, 0], [1, 1], [1 << 15, -(1 << 14)], 4),
        lambda: mixture(0, 1, 1 << 14, 4),
        lambda: mixture(np.zeros((2, 0), int), np.zeros((2, 0), int), np.zeros((2, 0), int), 4),
    ],
)
def test_wrong_parameters(make):
    with pytest.raises(ValueError):
        make()
