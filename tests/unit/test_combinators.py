"""Codecs of codecs: exact inverses, whatever they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans.ans import Batch, Message
from bbans.codecs import Codec, categorical, logistic, mixture, uniform
from bbans.combinators import beside, dependent, mapped, repeat, serial, sized, substack
from bbans.errors import CorruptDataError
from tests.checks import check_batch, check_codec


def test_combinators():
    rng = np.random.default_rng(0)
    codec = serial([uniform(5, (2,)), repeat(logistic(100, 50, 8), 3), categorical([3, 5])])
    check_codec(codec, [np.array([4, 0]), list(rng.integers(0, 8, 3)), 1])
    check_codec(substack(repeat(uniform(1 << 20, (2,)), 9), lambda head: head[1:3]), [rng.integers(0, 9, 2)] * 9, 4)
    check_codec(substack(uniform(1 << 20), lambda head: head[2]), 77, 3)
    check_codec(serial([]), [])


def test_combinators_want_as_many_symbols():
    for codec in (serial([uniform(4)]), repeat(uniform(4), 1)):
        with pytest.raises(ValueError):
            codec.push(Message.empty(), [1, 2])


def test_combinators_take_batches():
    rng = np.random.default_rng(1)
    symbols = rng.integers(0, 20, (5, 4))
    means, scales = rng.integers(0, 64 * 20, (5, 4, 3)), rng.integers(20, 100, (5, 4, 3))
    codec = serial([mixture(means, scales, [4000, 8000, 4384], 20), repeat(uniform(20, (5, 4)), 2)])
    batch = codec.push(Batch([Message.empty() for _ in range(5)]), [symbols, [symbols, symbols]])
    batch, popped = codec.pop(batch)
    assert np.array_equal(popped[1][1], symbols)
    assert all(message.is_initial() for message in batch.messages)


def test_log_freqs_of_combinators():
    codec = serial([uniform(8, (3,)), repeat(categorical([1, 3]), 2)])
    assert codec.log_freqs([np.zeros(3, int), [0, 0]], False) == -(9 + 4) << 16
    batch = serial([uniform(8, (2, 3)), repeat(uniform(4, (2,)), 2)])
    assert batch.log_freqs([np.zeros((2, 3), int), [[0, 0], [1, 1]]], True).tolist() == [-13 << 16] * 2
    assert substack(codec, lambda head: head[:1]).log_freqs([np.zeros(3, int), [0, 0]], False) == -13 << 16
    unweighed = serial([codec, Codec(codec.push, codec.pop)])
    with pytest.raises(ValueError, match="no log_freqs"):
        unweighed.log_freqs([[np.zeros(3, int), [0, 0]]] * 2, False)


def test_substack_leaves_other_lanes_alone():
    message = Message.random(np.random.default_rng(0), 9, 4)
    heads = message.head.copy()
    message = substack(repeat(uniform(1 << 30, (2,)), 4), lambda head: head[::2]).push(message, [[1, 2]] * 4)
    assert np.array_equal(message.head == heads, [False, True, False, True])
    assert message.size > 9


def test_the_lowest_size_of_a_substack():
    codec = substack(uniform(1 << 30, (2, 4)), lambda head: head[:2])
    message, symbol = codec.pop(Message.primed(50, 3))
    low = message.size
    message = codec.push(message, symbol)
    assert message.size == 50
    assert message.lowest == low


# Dependent symbols.


@dependent
def walk(steps, start=128):
    """Each number is near the one before."""
    x = yield logistic(64 * start, 60, 256)
    for _ in range(steps):
        x = yield logistic(64 * x, 30, 256)


@dependent
def text():
    """A length, and as many letters."""
    length = yield uniform(1000)
    for _ in range(length):
        yield uniform(26)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30), st.integers(0, 255))
@settings(deadline=None)
def test_each_symbol_depends_on_those_before(symbols, start):
    net_bits = check_codec(walk(len(symbols) - 1, start=start), symbols)
    means, scales = [64 * x for x in [start, *symbols[:-1]]], [60] + [30] * (len(symbols) - 1)
    known = logistic(means, scales, 256)
    assert walk(len(symbols) - 1, start).push(Message.primed(9), symbols) == known.push(Message.primed(9), symbols)
    assert walk(len(symbols) - 1, start).log_freqs(symbols, False) == known.log_freqs(symbols, False)
    assert net_bits == pytest.approx(-known.log_freqs(symbols, False) / 65536, abs=0.01 * len(symbols))


@pytest.mark.parametrize("letters", [[], [3], [25, 0, 7]])
def test_how_many_symbols_there_are_may_depend_on_one(letters):
    assert check_codec(text(), [len(letters), *letters]) == pytest.approx(np.log2(1000) + len(letters) * np.log2(26), abs=0.01)
    with pytest.raises(ValueError, match="or more codecs"):
        text().push(Message.empty(), [len(letters) + 1, *letters])
    with pytest.raises(ValueError, match="symbols for"):
        text().push(Message.empty(), [len(letters), *letters, 1])


def test_no_codec_at_all():
    check_codec(serial([]), [])
    with pytest.raises(ValueError, match="1 symbols for 0 codecs"):
        serial([]).push(Message.empty(), [1])
    with pytest.raises(ValueError, match="0 symbols for 0 or more codecs"):
        serial([uniform(2)]).push(Message.empty(), [])


def test_dependent_codecs_nest_and_take_batches():
    @dependent
    def pair(rows):
        word = yield walk(1, 100 if rows is None else np.full(rows, 100))
        yield logistic(64 * word[1], 20, 256)

    symbols = np.random.default_rng(0).integers(0, 256, (2, 6))
    count = symbols.shape[1]
    codec = pair(count)
    batch = codec.push(Batch([Message.primed(50, seed=i) for i in range(count)]), (list(symbols), symbols[0]))
    for i, message in enumerate(batch.messages):
        assert message == pair(None).push(Message.primed(50, seed=i), (list(symbols[:, i]), symbols[0, i]))
    batch, popped = codec.pop(batch)
    assert np.array_equal(popped[0], symbols) and np.array_equal(popped[1], symbols[0])
    assert all(message.is_primed(i) for i, message in enumerate(batch.messages))


def test_dependent_keeps_the_name_and_the_docstring():
    assert walk.__name__ == "walk" and "near" in walk.__doc__


# Symbols in another form, and for so many messages.


def test_mapped():
    codec = mapped(repeat(uniform(10), 3), lambda digits: int("".join(map(str, digits))), lambda n: [int(d) for d in f"{n:03}"])
    for n in (0, 7, 999):
        check_codec(codec, n)
        assert codec.log_freqs(n, False) == repeat(uniform(10), 3).log_freqs([n // 100, n // 10 % 10, n % 10], False)


def test_sized():
    codec = sized(lambda count: logistic(np.full((count, 3), 320), 40, 20))
    symbols = np.random.default_rng(0).integers(0, 20, (5, 3))
    check_codec(codec, symbols[:1])
    check_batch(lambda i: codec if isinstance(i, slice) else logistic(np.full(3, 320), 40, 20), symbols)


def test_beside():
    stored = []
    codec = serial([beside(stored), uniform(9), beside(stored)])
    message = codec.push(Message.empty(), ["a", 5, "b"])
    assert stored == ["b", "a"]
    assert message == uniform(9).push(Message.empty(), 5)
    message, symbols = codec.pop(message)
    assert symbols == ("a", 5, "b") and stored == []
    assert message.is_initial()
    with pytest.raises(CorruptDataError, match="beside"):
        codec.pop(message)
