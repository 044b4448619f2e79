"""The core: loops of distributions and lanes against plain Python; what they refuse; any bytes as messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans._core import codecs
from bbans.ans import HEAD_MIN, Message
from bbans.errors import CorruptDataError
from bbans.tables import inverse_scales, log2_table, logistic_table
from tests.core import MESSAGES, Array, State, assert_equal, refuses_other_arrays, state
from tests.reference import codecs as slow
from tests.reference.distributions import log2


@dataclass
class Case:
    """A distribution: its loops, the plain ones, and the parameters of some symbols for either."""

    loops: codecs.Loops
    plain: tuple[Callable[..., int], Callable[..., int], Callable[..., None]]
    symbols: Array
    own: tuple[Any, ...]
    theirs: tuple[Any, ...]


COUNT = 30


def some_scales(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return inverse_scales()[np.where(rng.random(shape) < 0.2, rng.choice([0, 127], shape), rng.integers(0, 128, shape))]


def some_means(rng: np.random.Generator, shape: tuple[int, ...], n: int) -> Array:
    """In the range of symbols and around it, and some at the ends of what is allowed."""
    ends = rng.choice([-(1 << 31) + 1, (1 << 31) - 1, 0], shape)
    return np.where(rng.random(shape) < 0.2, ends, rng.integers(-64 * (n // 2 + 2), 64 * (n + n // 2 + 2), shape))


def uniform(rng: np.random.Generator, step: int) -> Case:
    n = rng.choice([1, 2, 3, 255, 256, (1 << 31) - 1, 1 << 31], COUNT) if step else np.array([1000])
    plain = slow.push_uniform, slow.pop_uniform, slow.uniform_intervals
    own = n, step, 31
    return Case(codecs.UNIFORM, plain, rng.integers(0, np.broadcast_to(n, COUNT)), own, own)


def table(rng: np.random.Generator, step: int, n: int = 20) -> Case:
    freqs = rng.integers(1, 50, (COUNT if step else 1, n))
    freqs[:, -1] += 2048 - freqs.sum(1)
    edges = np.concatenate([np.zeros((len(freqs), 1), np.int64), np.cumsum(freqs, 1)], 1)
    plain = slow.push_table, slow.pop_table, slow.table_intervals
    return Case(codecs.TABLE, plain, rng.integers(0, n, COUNT), (edges, n + 1, step, 11), (edges, step, 11))


def bernoulli(rng: np.random.Generator) -> Case:
    logits = np.where(rng.random(COUNT) < 0.2, rng.choice([-(1 << 31) + 1, (1 << 31) - 1], COUNT), rng.integers(-1500, 1500, COUNT))
    plain = slow.push_bernoulli, slow.pop_bernoulli, slow.bernoulli_intervals
    return Case(codecs.BERNOULLI, plain, rng.integers(0, 2, COUNT), (logits,), (logits, logistic_table()))


def logistic(rng: np.random.Generator, n: int) -> Case:
    own = n, some_means(rng, (COUNT,), n), some_scales(rng, (COUNT,))
    plain = slow.push_logistic, slow.pop_logistic, slow.logistic_intervals
    return Case(codecs.LOGISTIC, plain, rng.integers(0, n, COUNT), own, (*own, logistic_table()))


def mixture(rng: np.random.Generator, n: int, k: int) -> Case:
    weights = rng.multinomial(1 << 14, rng.dirichlet(np.full(k, 0.3)), COUNT)
    rows = some_means(rng, (COUNT, k), n), some_scales(rng, (COUNT, k)), weights
    plain = slow.push_mixture, slow.pop_mixture, slow.mixture_intervals
    return Case(codecs.MIXTURE, plain, rng.integers(0, n, COUNT), (n, k, *rows), (n, *rows, logistic_table()))


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    "uniform": lambda rng: uniform(rng, 1),
    "uniform, all alike": lambda rng: uniform(rng, 0),
    "table": lambda rng: table(rng, 1),
    "table, all alike": lambda rng: table(rng, 0),
    "table of one symbol": lambda rng: table(rng, 1, 1),
    "bernoulli": bernoulli,
    "logistic": lambda rng: logistic(rng, 256),
    "logistic of one symbol": lambda rng: logistic(rng, 1),
    "logistic of many": lambda rng: logistic(rng, 1 << 16),
    "mixture": lambda rng: mixture(rng, 256, 5),
    "mixture of one": lambda rng: mixture(rng, 256, 1),
    "mixture of many": lambda rng: mixture(rng, 1 << 16, 2),
    "mixture of two symbols": lambda rng: mixture(rng, 2, 9),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param](np.random.default_rng(0))


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(("begin", "end"), [(0, COUNT), (4, 25), (7, 7), (COUNT, COUNT)])
def test_push_and_pop(case: Case, lanes: int, begin: int, end: int) -> None:
    (push, pop, _), symbols = case.plain, case.symbols
    before = state(np.random.default_rng(lanes), lanes, 5, end - begin)
    ours, theirs = before.copy(), before.copy()
    size = case.loops.push(*ours, symbols, begin, end, *case.own)
    assert_equal(ours, size, theirs, push(*theirs, symbols, begin, end, *case.theirs))
    popped, words = np.full_like(symbols, -1), ours.words[:size].copy()
    assert_equal(State(ours.heads, words, 0), case.loops.pop(ours.heads, words, size, popped, begin, end, *case.own), before, 5)
    assert np.array_equal(popped[begin:end], symbols[begin:end])
    assert np.all(popped[:begin] == -1) and np.all(popped[end:] == -1)
    assert pop(theirs.heads, theirs.words, size, popped, begin, end, *case.theirs) == 5


@pytest.mark.parametrize("lanes", [1, 3])
def test_pop_of_any_message(case: Case, lanes: int) -> None:
    """Symbols that nobody pushed, and their intervals; pushed again they give the message back."""
    before = state(np.random.default_rng(lanes), lanes, COUNT)
    ours, theirs = before.copy(), before.copy()
    symbols, same = np.zeros(COUNT, np.int64), np.ones(COUNT, np.int64)
    size = case.loops.pop(*ours, symbols, 0, COUNT, *case.own)
    assert_equal(ours, size, theirs, case.plain[1](*theirs, same, 0, COUNT, *case.theirs))
    assert np.array_equal(symbols, same)
    again = np.concatenate([ours.words[:size], np.zeros(COUNT, np.uint32)])
    assert case.loops.push(ours.heads, again, size, symbols, 0, COUNT, *case.own) == COUNT
    assert_equal(State(ours.heads, again, 0), COUNT, before, COUNT)


def test_intervals(case: Case) -> None:
    found = np.zeros((2, COUNT), np.int64), np.ones((2, COUNT), np.int64)
    case.loops.intervals(case.symbols, *found[0], *case.own)
    case.plain[2](case.symbols, *found[1], *case.theirs)
    assert np.array_equal(*found)
    assert found[0][1].min() >= 1


def test_interval_that_a_peek_is_in(case: Case) -> None:
    """What a head of one word finds lies in the interval that it says."""
    for seed in range(20):
        ours = state(np.random.default_rng(seed), COUNT, COUNT)
        symbols, starts, freqs = np.zeros((3, COUNT), np.int64)
        precision = case.own[-1] if case.loops in (codecs.UNIFORM, codecs.TABLE) else 24
        cfs = (ours.heads & np.uint64((1 << precision) - 1)).astype(np.int64)
        case.loops.pop(*ours, symbols, 0, COUNT, *case.own)
        case.loops.intervals(symbols, starts, freqs, *case.own)
        assert np.all(starts <= cfs) and np.all(cfs < starts + freqs)


def test_a_message_that_runs_dry(case: Case) -> None:
    """Of a pop that fails nothing is left but symbols; it fails again."""
    for lanes in (1, 3):
        empty = State(np.full(lanes, HEAD_MIN, np.uint64), np.zeros(0, np.uint32), 0)
        for _ in range(2):
            symbols = np.zeros(COUNT, np.int64)
            try:
                size = case.loops.pop(*empty.copy(), symbols, 0, COUNT, *case.own)
            except CorruptDataError as error:
                assert "ran dry" in str(error)
                assert case.plain[1](*empty.copy(), symbols, 0, COUNT, *case.theirs) < 0
            else:  # symbols that are certain take no bits
                assert size == 0
                starts, freqs = np.zeros((2, COUNT), np.int64)
                case.loops.intervals(symbols, starts, freqs, *case.own)
                assert np.all(starts == 0)


def test_room_for_words(case: Case) -> None:
    """A word for each symbol must find room, needed or not, and a size is that of a message."""
    full = state(np.random.default_rng(0), 1, 4, COUNT)
    for words, size, begin, end in (
        (full.words[:-1], 4, 0, COUNT),
        (full.words, 5, 0, COUNT),
        (full.words, -1, 0, COUNT),
        (full.words, 4, -1, 3),
        (full.words, 4, 3, 2),
        (full.words, 4, 0, COUNT + 1),
    ):
        with pytest.raises(ValueError):
            case.loops.push(full.heads, words, size, case.symbols, begin, end, *case.own)
    for words, size, begin, end in ((full.words, len(full.words) + 1, 0, 3), (full.words, -1, 0, 3), (full.words, 4, 0, COUNT + 1)):
        with pytest.raises(ValueError):
            case.loops.pop(full.heads, words, size, case.symbols.copy(), begin, end, *case.own)
    assert np.array_equal(full.heads, state(np.random.default_rng(0), 1, 4, COUNT).heads)


def test_a_message_without_lanes(case: Case) -> None:
    none = State(np.zeros(0, np.uint64), np.zeros(COUNT, np.uint32), 0)
    for loop in case.loops[:2]:
        with pytest.raises(ValueError):
            loop(*none, case.symbols.copy(), 0, COUNT, *case.own)
        assert loop(*none, case.symbols.copy(), 3, 3, *case.own) == 0


def test_fewer_parameters_than_symbols(case: Case) -> None:
    full = state(np.random.default_rng(0), 1, COUNT, COUNT)
    starts, freqs = np.zeros((2, COUNT), np.int64)
    for at, array in enumerate(case.own):
        if not isinstance(array, np.ndarray):
            continue
        own = (*case.own[:at], np.ascontiguousarray(array[:-1]), *case.own[at + 1 :])
        for loop in case.loops[:2]:
            with pytest.raises(ValueError):
                loop(*full.copy(), case.symbols.copy(), 0, COUNT, *own)
        with pytest.raises(ValueError):
            case.loops.intervals(case.symbols, starts, freqs, *own)


def test_intervals_are_as_many_as_symbols(case: Case) -> None:
    starts, freqs = np.zeros((2, COUNT - 1), np.int64)
    with pytest.raises(ValueError):
        case.loops.intervals(case.symbols, starts, freqs, *case.own)


@pytest.mark.parametrize("columns", [-1, 0, 1])
def test_tables_without_symbols(columns: int) -> None:
    rng = np.random.default_rng(0)
    edges = np.zeros((COUNT, 4), np.int64)
    for loop in codecs.TABLE[:2]:
        with pytest.raises(ValueError):
            loop(*state(rng, 1, COUNT, COUNT), np.zeros(COUNT, np.int64), 0, COUNT, edges, columns, 1, 4)


@pytest.mark.parametrize("step", [-1, 2, 1 << 40])
def test_steps_beyond_the_parameters(step: int) -> None:
    rng = np.random.default_rng(0)
    for loop in codecs.UNIFORM[:2]:
        with pytest.raises(ValueError):
            loop(*state(rng, 1, COUNT, COUNT), np.zeros(COUNT, np.int64), 0, COUNT, np.full(COUNT, 9), step, 8)


def test_arrays_of_another_kind(case: Case) -> None:
    full = state(np.random.default_rng(0), 3, COUNT, COUNT)
    for loop in case.loops[:2]:
        arguments = (*full.copy(), case.symbols.copy(), 0, COUNT, *case.own)
        loop(*arguments)
        refuses_other_arrays(loop, (*full.copy(), case.symbols.copy(), 0, COUNT, *case.own))
    refuses_other_arrays(case.loops.intervals, (case.symbols, *np.zeros((2, COUNT), np.int64), *case.own))


def some_intervals(rng: np.random.Generator, count: int, precision: int) -> tuple[Array, Array]:
    starts = rng.integers(0, 1 << precision, count)
    return starts, rng.integers(1, (1 << precision) - starts + 1)


@pytest.mark.parametrize("precision", [0, 1, 12, 24, 31])
@pytest.mark.parametrize("lanes", [1, 3])
def test_any_intervals(lanes: int, precision: int) -> None:
    rng = np.random.default_rng(precision)
    starts, freqs = some_intervals(rng, COUNT, precision)
    ours = state(rng, lanes, 5, COUNT - 2)
    theirs = ours.copy()
    size = codecs.push_intervals(*ours, starts, 1, COUNT - 1, freqs, precision)
    assert_equal(ours, size, theirs, slow.push_intervals(*theirs, starts, 1, COUNT - 1, freqs, precision))
    refuses_other_arrays(codecs.push_intervals, (*ours.copy(), starts, 0, 3, freqs, precision))
    with pytest.raises(ValueError):
        codecs.push_intervals(*ours, starts, 0, COUNT - 1, freqs, precision)
    with pytest.raises(ValueError):
        codecs.push_intervals(ours.heads, ours.words, 0, starts, 0, COUNT - 2, freqs[:-3], precision)


@pytest.mark.parametrize("precision", [0, 1, 12, 24, 31])
@pytest.mark.parametrize("lanes", [1, 3])
def test_lanes(lanes: int, precision: int) -> None:
    rng = np.random.default_rng(precision)
    before = state(rng, lanes, 5, lanes)
    ours, theirs = before.copy(), before.copy()
    starts, freqs = some_intervals(rng, lanes, precision)
    size = codecs.push_lanes(*ours, starts, freqs, precision)
    assert_equal(ours, size, theirs, slow.push_intervals(*theirs, starts, 0, lanes, freqs, precision))
    for some in range(1, lanes + 1):
        ours_too, theirs_too = ours.copy(), ours.copy()
        words = ours.words[:size].copy()
        left = codecs.pop_lanes(ours_too.heads, words, size, starts[:some], freqs[:some], precision)
        expected = slow.pop_intervals(theirs_too.heads, theirs_too.words, size, starts[:some], freqs[:some], precision)
        assert_equal(State(ours_too.heads, words, 0), left, theirs_too, expected)
    assert_equal(ours_too, left, before, 5)


def test_lanes_that_do_not_fit() -> None:
    full = state(np.random.default_rng(0), 3, 4, 3)
    starts, freqs = np.zeros(3, np.int64), np.full(3, 1 << 8)
    for function in (codecs.push_lanes, codecs.pop_lanes):
        refuses_other_arrays(function, (*full.copy(), starts, freqs, 8))
        for s, f in ((starts[:2], freqs), (starts, freqs[:2]), (np.zeros(4, np.int64), np.ones(4, np.int64))):
            with pytest.raises(ValueError):
                function(*full, s, f, 8)
        for size in (-1, 8):
            with pytest.raises(ValueError):
                function(full.heads, full.words, size, starts, freqs, 8)
    for function, some in ((codecs.push_lanes, 2), (codecs.push_lanes, 0), (codecs.pop_lanes, 0)):
        with pytest.raises(ValueError):
            function(*full, starts[:some], freqs[:some], 8)
    with pytest.raises(ValueError):
        codecs.push_lanes(full.heads, full.words, 5, starts, freqs, 8)
    low = np.full(3, HEAD_MIN, np.uint64)
    with pytest.raises(CorruptDataError, match="ran dry"):
        codecs.pop_lanes(low, full.words, 0, starts, np.ones(3, np.int64), 8)
    assert np.all(low == HEAD_MIN)


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 12])
def test_logarithms(parts: int) -> None:
    freqs = np.array([1, 2, 3, 1 << 31, (1 << 31) - 1, 1 << 24, 12345, 77, 1 << 12, 4097, 8191, 10])
    ours, theirs = np.zeros((2, parts), np.int64)
    codecs.sum_log_freqs(freqs, 24, ours)
    slow.sum_log_freqs(freqs, 24, log2_table(), theirs)
    assert np.array_equal(ours, theirs)
    rows = freqs[: len(freqs) // parts * parts].reshape(parts, -1)
    assert ours.tolist() == [sum(int(log2(freq, log2_table())) - (24 << 16) for freq in row) for row in rows]
    codecs.sum_log_freqs(freqs, 24, ours[:0])
    refuses_other_arrays(codecs.sum_log_freqs, (freqs, 24, ours))


@given(MESSAGES, st.sampled_from([1, 3]), st.sampled_from(sorted(CASES)))
@settings(max_examples=300)
def test_any_bytes_as_symbols(data: bytes, lanes: int, name: str) -> None:
    """They are symbols, and the message comes back, or an error of ours."""
    case = made(name)
    try:
        message = Message.from_bytes(data, lanes)
        before = message.copy()
        symbols = np.zeros(COUNT, np.int64)
        message.resize(case.loops.pop(message.head, message.words, message.size, symbols, 0, COUNT, *case.own))
    except CorruptDataError:
        return
    message.reserve(COUNT)
    message.resize(case.loops.push(message.head, message.words, message.size, symbols, 0, COUNT, *case.own))
    assert message == before


@cache
def made(name: str) -> Case:
    return CASES[name](np.random.default_rng(0))
