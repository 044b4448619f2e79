"""The integer tables: the values that files depend on, and intervals that fit together for every parameter."""

import decimal
import functools
import hashlib
import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans import tables
from tests.reference import distributions

TOTAL = 1 << 24

DIGESTS = {
    "logistic_table": "c8751efb26e0f8c555795375e0e426115b9fc35344b3d7c61742ddc17586d930",
    "inverse_scales": "154861a6f660fb706462a8ca9dca4faaa48875e7e55ccfcf1245d6a937f7405a",
    "exp_table": "eb9d1d5e5ea839215649213a864858d1644613cd909a453dcf45d86830b45c44",
    "exp2_table": "c64639391bcb7f63dfc298fe83040b9baa50e57a822d5ece7943ff94c94f0d60",
    "log2_table": "8bfd8a272766e9c8877e476c7ff778ae6bf9c05ad255462212bd4be98750cf1d",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_tables_are_those_of_the_format(name):
    """A change of one entry makes every file unreadable."""
    table = getattr(tables, name)()
    assert table.dtype == np.int64
    assert not table.flags.writeable
    assert hashlib.sha256(table.astype("<i8").tobytes()).hexdigest() == DIGESTS[name]


def test_tables_are_what_they_say():
    logistic = tables.logistic_table()
    exact = [TOTAL / (1 + math.exp(-(i - 512) / 32)) for i in range(1, 1024)]
    assert np.abs(logistic[1:1024] - exact).max() < 0.5 + 1e-6
    assert logistic[[0, 512, 1024, 1025]].tolist() == [0, TOTAL // 2, TOTAL, TOTAL]
    assert np.all(np.diff(logistic) >= 0)
    scales = [(1 << 20) * 32 / 64 * math.exp(3 - i / 16) for i in range(128)]
    assert np.abs(tables.inverse_scales() - scales).max() < 0.5 + 1e-6
    assert np.abs(tables.exp2_table() - [TOTAL * 2 ** (-d / 256) for d in range(256)]).max() < 0.5 + 1e-6
    assert np.abs(tables.log2_table() - [2**32 * math.log2(1 + i / 1024) for i in range(1025)]).max() < 0.5 + 1e-3
    exps = [65536 * math.exp(-d / 16) for d in range(256)]
    assert np.abs(tables.exp_table() - exps).max() < 0.5 + 1e-6


@pytest.mark.parametrize("end", [2, 3, 4, 5, 10, 8192])
def test_logarithms_by_factors(end):
    with decimal.localcontext(tables.DECIMAL):
        logs = tables.logarithms(end)
        assert len(logs) == end
        for number in (*range(1, min(end, 300)), *range(max(1, end - 50), end)):
            assert abs(logs[number] - decimal.Decimal(number).ln()) < decimal.Decimal("1e-36")


# The specification, in Python's integers and as slowly as it is written.


def reference_logistic(x, mean, scale):
    table = tables.logistic_table().tolist()
    place = (64 * x - 32 - mean) * int(tables.inverse_scales()[scale]) + 512 * 2**20
    if place <= 0:
        return 0
    if place >= 1024 * 2**20:
        return TOTAL
    entry, fraction = place >> 20, (place >> 4) & 0xFFFF
    return table[entry] + ((table[entry + 1] - table[entry]) * fraction >> 16)


def reference_cf(x, n, means, scales, weights):
    edges = [0 if x == 0 else TOTAL if x == n else reference_logistic(x, *p) for p in zip(means, scales, strict=True)]
    return (sum(w * c for w, c in zip(weights, edges, strict=True)) * (TOTAL - n) >> 38) + x


def reference_weights(logits):
    e = [int(tables.exp_table()[min(max(logits) - logit, 255)]) for logit in logits]
    weights = [(value << 14) // sum(e) for value in e]
    weights[e.index(max(e))] += (1 << 14) - sum(weights)
    return weights


def reference_freqs(logs):
    below = [(max(logs) - value + 128) // 256 for value in logs]
    parts = [int(tables.exp2_table()[d % 256]) >> (d // 256) for d in below]
    freqs = [part * (TOTAL - len(logs)) // sum(parts) + 1 for part in parts]
    freqs[logs.index(max(logs))] += TOTAL - sum(freqs)
    return freqs


def check_mixture(n, means, scales, weights):
    """Every symbol has an interval, they tile the range in order, and the search finds each from both of its ends."""
    mean, scale = np.array(means, np.int64), tables.inverse_scales()[list(scales)]
    weight, table = np.array(weights, np.int64), tables.logistic_table()
    starts = [distributions.mixture_cf(x, n, mean, scale, weight, table) for x in range(n + 1)]
    assert starts == [reference_cf(x, n, means, scales, weights) for x in range(n + 1)]
    assert starts[0] == 0
    assert starts[n] == TOTAL
    freqs = np.diff(starts)
    assert freqs.min() >= 1
    for x in range(n):
        for cf in (starts[x], starts[x + 1] - 1):
            assert distributions.mixture_search(cf, n, mean, scale, weight, table) == (x, starts[x], freqs[x])
    if len(means) == 1:
        assert starts == [distributions.logistic_start(x, n, mean[0], scale[0], table) for x in range(n + 1)]
        for x in range(n):
            for cf in (starts[x], starts[x + 1] - 1):
                assert distributions.logistic_search(cf, n, mean[0], scale[0], table) == (x, starts[x], freqs[x])


@pytest.mark.parametrize("n", [1, 2, 17, 256])
@pytest.mark.parametrize("scale", [0, 64, 127])
@pytest.mark.parametrize("mean", [-(2**31), -100, 0, 31, 32, 8000, 255 * 64, 2**31 - 1])
def test_logistics(n, scale, mean):
    check_mixture(n, [mean], [scale], [1 << 14])


@pytest.mark.parametrize("weights", [[0, 0, 1 << 14], [1 << 14, 0, 0], [1, 1, (1 << 14) - 2], [5461, 5461, 5462]])
@pytest.mark.parametrize("scales", [[0, 0, 0], [127, 127, 127], [0, 64, 127]])
def test_mixtures(weights, scales):
    check_mixture(256, [-500, 8000, 2**31 - 1], scales, weights)


def test_a_large_alphabet():
    check_mixture(4096, [100_000, 131_000], [80, 10], [1 << 13, 1 << 13])


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_random_mixtures(data):
    k = data.draw(st.integers(1, 5))
    logits = data.draw(st.lists(st.integers(-300, 300), min_size=k, max_size=k))
    means = data.draw(st.lists(st.integers(-2000, 6000), min_size=k, max_size=k))
    scales = data.draw(st.lists(st.integers(0, 127), min_size=k, max_size=k))
    check_mixture(data.draw(st.integers(1, 70)), means, scales, reference_weights(logits))


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_weights_from_logits(logits):
    weights = np.empty(len(logits), np.int64)
    distributions.weights_from_logits(np.array(logits), tables.exp_table(), weights)
    assert weights.tolist() == reference_weights(logits)
    assert weights.sum() == 1 << 14
    assert weights.min() >= 0


def test_equal_logits_give_the_rest_to_the_first():
    weights = np.empty(3, np.int64)
    distributions.weights_from_logits(np.array([4, 4, 4]), tables.exp_table(), weights)
    assert weights.tolist() == [5462, 5461, 5461]


@pytest.mark.parametrize("power", range(32))
def test_logarithms(power):
    log2, table = distributions.log2, tables.log2_table()
    assert log2(1 << power, table) == power << 16
    for freq in {(1 << power) - 1, (1 << power) + 1, 5 << power >> 2, int(1.000488 * (1 << power))}:
        if 1 <= freq <= 1 << 31:
            assert abs(log2(freq, table) - 65536 * math.log2(freq)) < 0.52


@given(st.lists(st.integers(-(1 << 22), 1 << 22) | st.integers(-500, 500), min_size=1, max_size=60))
@settings(deadline=None)
def test_freqs_of_logarithms(logs):
    freqs = tables.freqs_from_log2(logs)
    assert freqs.tolist() == reference_freqs(logs)
    assert freqs.sum() == TOTAL
    assert freqs.min() >= 1
    weights = 2.0 ** ((np.array(logs) - max(logs)) / 65536)
    assert np.all(np.abs(freqs / TOTAL - weights / weights.sum()) < 1e-5 + 0.003 * weights / weights.sum())
    assert np.array_equal(tables.freqs_from_log2(np.add([logs, logs], [[12345], [1 << 59]])), [freqs, freqs])


def test_freqs_of_logarithms_exactly():
    assert tables.freqs_from_log2([7]).tolist() == [TOTAL]
    assert tables.freqs_from_log2([2 << 16, 1 << 16, 1 << 16]).tolist() == [1 + (TOTAL - 3) // 2 + 1, 4194304, 4194304]
    assert tables.freqs_from_log2([[0, -100 << 16], [-(1 << 60), 0]]).tolist() == [[TOTAL - 1, 1], [1, TOTAL - 1]]
    assert tables.freqs_from_log2([1, 1, 1]).tolist() == [5592406, 5592405, 5592405]  # the rest to the first of the largest


@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=64).filter(lambda p: sum(p) > 1e-3),
    st.integers(6, 31),
)
@settings(deadline=None)
def test_quantised_probabilities(probabilities, precision):
    freqs = tables.quantise_probabilities(probabilities, precision)
    assert freqs.min() >= 1
    assert freqs.sum() == 1 << precision
    room = (1 << precision) - len(probabilities)
    assert np.all(np.abs(freqs - 1 - np.array(probabilities) / math.fsum(probabilities) * room) <= 1 + 1e-6)


def test_quantised_probabilities_exactly():
    assert tables.quantise_probabilities([0.5, 0.25, 0.25, 0], 4).tolist() == [7, 4, 4, 1]
    assert tables.quantise_probabilities([1, 1, 1], 3).tolist() == [3, 3, 2]
    assert tables.quantise_probabilities([[1, 3], [3, 1]], 2).tolist() == [[2, 2], [3, 1]]


def test_the_sum_of_probabilities_is_exact():
    """So what is left over goes to the second: its remainder is just below 1/2, that of the first farther below.

    Added one by one, the small ones are lost in the sum of the large: then both remainders are 1/2, and the first one gets it.
    """
    small = 0.9 * 2.0**-51
    assert functools.reduce(operator.add, [3, 1, *[small] * 4]) == 4  # from Python 3.12 on, `sum` keeps what is lost
    assert tables.quantise_probabilities([3, 1, *[small] * 4], 31).tolist() == [1610612732, 536870912, 1, 1, 1, 1]


@pytest.mark.parametrize("scale", [1e308, 2.0**960, 2.0**-1022, 5e-324])
def test_probabilities_of_any_size(scale):
    """Sums that are no float, and the smallest floats."""
    assert tables.quantise_probabilities([scale, scale], 12).tolist() == [2048, 2048]
    assert tables.quantise_probabilities(np.full((2, 3), scale), 3).tolist() == [[3, 3, 2]] * 2
    assert tables.quantise_probabilities([scale, 0], 31).tolist() == [(1 << 31) - 1, 1]


def test_probabilities_of_very_different_sizes():
    assert tables.quantise_probabilities([1.7e308, 5e-324], 4).tolist() == [15, 1]
    assert tables.quantise_probabilities([1.7e308, 1e292, 1e300, 1.7e308], 24).tolist() == [8388607, 1, 1, 8388607]


@pytest.mark.parametrize(
    "p", [[], 1.0, [0, 0], [-1, 2], [-1e308, 1e308], [-5e-324, 1], [np.nan, 1], [np.inf, 1], [10**400, 1], [1] * 17]
)
def test_no_probabilities(p):
    with pytest.raises(ValueError):
        tables.quantise_probabilities(p, 4)


@pytest.mark.parametrize("precision", [-1, 32, 60])
def test_no_precision(precision):
    with pytest.raises(ValueError, match="precision"):
        tables.quantise_probabilities([1, 1, 1], precision)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(6, 31))
@settings(deadline=None)
def test_quantised_cdf(shares, precision):
    """Every symbol has an interval, they tile the range in order, and the search finds each from both of its ends."""
    below, n = np.sort([*shares, 1.0]), len(shares)
    locate, search = tables.quantise_cdf(lambda k: below[k], n, precision)
    starts, freqs = locate(np.arange(n))
    assert starts[0] == 0
    assert freqs.min() >= 1
    assert np.array_equal(starts[1:], (starts + freqs)[:-1])
    assert starts[-1] + freqs[-1] == 1 << precision
    assert search(starts).tolist() == search(starts + freqs - 1).tolist() == list(range(n))
    assert np.all(np.abs(starts[1:] - below[1:-1] * (1 << precision)) <= n)
    assert [int(search(np.int64(cf))) for cf in starts] == list(range(n))


def test_quantised_cdf_exactly():
    locate, search = tables.quantise_cdf(lambda k: k / 4, 4, 5)
    assert [part.tolist() for part in locate(np.arange(4))] == [[0, 8, 16, 24], [8] * 4]
    assert search(np.arange(32)).tolist() == [cf // 8 for cf in range(32)]
    locate, search = tables.quantise_cdf(lambda k: 1 - 0.5**k, 1 << 20, 31)  # a large alphabet needs no table
    assert locate(np.array([0, 1, (1 << 20) - 1]))[1].tolist() == [
        ((1 << 31) - (1 << 20)) // 2 + 1,
        ((1 << 31) - (1 << 20)) // 4 + 1,
        1,
    ]
    assert search(np.array([(1 << 31) - 1])).tolist() == [(1 << 20) - 1]
    assert [part.tolist() for part in tables.quantise_cdf(lambda k: 0.5 + 0 * k, 1, 0)[0](np.array([0]))] == [[0], [1]]


def test_no_cdf():
    for n, precision in ((0, 4), (17, 4), (2, 32), (1, -1)):
        with pytest.raises(ValueError, match="symbols"):
            tables.quantise_cdf(lambda k: k / 17, n, precision)
    locate, search = tables.quantise_cdf(lambda k: k * np.nan, 4, 8)
    for wrong in ([-1], [4], [1]):
        with pytest.raises(ValueError):
            locate(np.array(wrong))
    with pytest.raises(ValueError, match="from 0 to 1"):
        search(np.array([9]))
