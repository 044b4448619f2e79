"""The compiled core: every function against plain Python (tests/reference), to the bit; what it refuses; any bytes as messages.

tests/slow/test_sanitizers.py runs this file by a core that watches its own memory and arithmetic. Arrays are as large as they must
be and no larger, so that it notices what is read or written beyond them.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans._core import codecs, images, photo
from bbans._core.convolution import Scaling, convolve, pack, scale, variants
from bbans._core.library import library
from bbans._core.tables import core_tables
from bbans.ans import HEAD_MIN, Message
from bbans.errors import CorruptDataError
from bbans.exact.backends import Reference
from bbans.exact.network import IntConv
from bbans.models.photo.adaptive import EARLIER, adaptive_tables
from bbans.tables import exp_table, inverse_scales, log2_table, logistic_table
from tests.reference import codecs as slow
from tests.reference import images as slow_images
from tests.reference import photo as slow_photo
from tests.reference.distributions import log2

Array = np.ndarray[Any, Any]
WORDS = st.lists(st.integers(0, (1 << 31) - 1), min_size=2, max_size=40).map(lambda words: np.array(words, "<u4").tobytes())
MESSAGES = st.binary(max_size=160) | WORDS  # the latter with heads as they must be


class State(NamedTuple):
    """A message: heads, words of which there are `size`, and room for more."""

    heads: Array
    words: Array
    size: int

    def copy(self) -> State:
        return State(self.heads.copy(), self.words.copy(), self.size)


def state(rng: np.random.Generator, lanes: int, size: int, room: int = 0) -> State:
    heads = rng.integers(HEAD_MIN, HEAD_MIN << 32, lanes, np.uint64)
    return State(heads, rng.integers(0, 1 << 32, size + room, np.uint32), size)


def assert_equal(left: State, left_size: int, right: State, right_size: int) -> None:
    assert left_size == right_size
    assert np.array_equal(left.heads, right.heads)
    assert np.array_equal(left.words[:left_size], right.words[:right_size])


# Distributions.


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


def refuses_other_arrays(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Each array in turn is of another type, of another byte order, not contiguous, or none at all."""
    for at, array in enumerate(arguments):
        if not isinstance(array, np.ndarray):
            continue
        wider = np.zeros((*array.shape, 2), array.dtype)[..., 0]
        wider[...] = array
        others = [array.astype(np.float64), array.astype(array.dtype.newbyteorder()), wider]
        others.append(array.astype(np.int32 if array.dtype.itemsize == 8 else np.int64))
        for other in others:
            if other.dtype == array.dtype and other.flags.c_contiguous:
                continue  # one byte has no order; one element is contiguous
            with pytest.raises((TypeError, ValueError)):
                call(*arguments[:at], other, *arguments[at + 1 :])
        with pytest.raises((TypeError, ValueError, AttributeError)):
            call(*arguments[:at], None, *arguments[at + 1 :])


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


# The photo model's pixels.


TABLES = logistic_table(), exp_table(), inverse_scales(), *adaptive_tables()
CORE_TABLES = core_tables(*adaptive_tables())
K_AND_COLOURS = [(3, 3), (1, 3), (2, 1), (3, 1), (5, 3)]


class Strip(NamedTuple):
    """What is known of a phase, in the order in which `photo.phase` takes it."""

    references: Array
    params: Array
    colours: int
    near: Array
    earlier: Array
    top: int
    places: Array
    adaptive: bool


def some_strip(
    rng: np.random.Generator, height: int, width: int, k: int, colours: int, phase: int, adaptive: bool, wild: bool = False
) -> tuple[Strip, Array]:
    """A strip and pixels: like those of pictures, or with everything at the ends of its range."""
    whole, top = height + 3, int(rng.integers(0, 4))
    base = rng.integers(60, 190, (height, width, 1))
    pixels = np.clip(base + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    references = 4 * base + rng.integers(-20, 20, (height, width, 3))
    limits = (30, 300, (30, 95), 128)
    near, residual = 100, 500
    if wild:
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        references, limits = rng.integers(0, 1021, (height, width, 3)), (16383, 32767, (0, 127), 128)
        near, residual = 1020, 1536
    if colours == 1:
        pixels[...] = pixels[..., 1:2]
    logits, means, scales, slopes = limits
    ranges = (-logits, logits), (-means, means), scales, (-slopes, slopes)
    params = np.concatenate([rng.integers(low, high + 1, (height, width, 3 * k)) for low, high in ranges], axis=2)
    return Strip(
        references.astype(np.int16),
        params.astype(np.int16),
        colours,
        rng.integers(-near, near + 1, (0 if phase == 0 else 2, height, width, 3)).astype(np.int16),
        rng.integers(-residual, residual + 1, (phase, whole + 2, width + 2, 3)).astype(np.int16),
        top,
        np.array(EARLIER[phase] if adaptive else (), np.int64).reshape(-1, 3),
        adaptive,
    ), pixels


def check_strip(strip: Strip, pixels: Array) -> None:
    rng = np.random.default_rng(1)
    count = pixels.shape[0] * pixels.shape[1] * strip.colours
    before = state(rng, 1, 9, count)
    phase = photo.phase(*strip)
    theirs = (
        strip.references,
        strip.near,
        strip.params,
        strip.colours,
        strip.earlier,
        strip.top,
        strip.places,
        strip.adaptive,
        TABLES,
    )
    ours, words = before.copy(), before.words.copy()
    size = photo.push_pixels(*ours, pixels, phase, CORE_TABLES)
    head, expected = slow_photo.push_pixels(before.heads[0], words, 9, pixels.copy(), *theirs)
    assert_equal(ours, size, State(np.array([head]), words, 0), expected)
    popped, tail = np.zeros_like(pixels), ours.words[:size].copy()
    assert_equal(ours, photo.pop_pixels(ours.heads, tail, size, popped, phase, CORE_TABLES), before, 9)
    assert np.array_equal(popped, pixels)
    any_message = state(rng, 1, count)
    ours, same = any_message.copy(), np.zeros_like(pixels)
    size = photo.pop_pixels(*ours, popped, phase, CORE_TABLES)
    head, expected = slow_photo.pop_pixels(any_message.heads[0], any_message.words, any_message.size, same, *theirs)
    assert_equal(ours, size, State(np.array([head]), any_message.words, 0), expected)
    assert np.array_equal(popped, same)
    residuals = photo.residuals(pixels, phase, CORE_TABLES)
    assert residuals.dtype == np.int16
    assert np.array_equal(residuals, slow_photo.residuals(pixels, strip.references, strip.params, strip.colours, TABLES))


@pytest.mark.parametrize("wild", [False, True], ids=["like pictures", "wild"])
@pytest.mark.parametrize("adaptive", [False, True], ids=["plain", "adaptive"])
@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize(("k", "colours"), K_AND_COLOURS)
def test_pixels(k: int, colours: int, phase: int, adaptive: bool, wild: bool) -> None:
    rng = np.random.default_rng(k)
    for height, width in ((3, 4), (1, 3), (3, 1)):
        check_strip(*some_strip(rng, height, width, k, colours, phase, adaptive, wild))


@pytest.mark.parametrize("wild", [False, True], ids=["like pictures", "wild"])
def test_pixels_once_something_is_learned(wild: bool) -> None:
    check_strip(*some_strip(np.random.default_rng(5), 14, 20, 3, 3, 2, True, wild))


def test_more_components_than_any_model_has() -> None:
    check_strip(*some_strip(np.random.default_rng(5), 2, 2, 8, 3, 1, True))
    strip, pixels = some_strip(np.random.default_rng(5), 2, 2, 9, 3, 1, True)
    with pytest.raises(ValueError):
        photo.residuals(pixels, photo.phase(*strip), CORE_TABLES)


@pytest.mark.parametrize("adaptive", [False, True])
def test_strips_that_do_not_fit(adaptive: bool) -> None:
    strip, pixels = some_strip(np.random.default_rng(3), 4, 5, 2, 3, 2, True)
    strip = strip._replace(adaptive=adaptive)
    message = state(np.random.default_rng(0), 1, 60, 60)

    def code(**changes: Any) -> None:
        phase = photo.phase(*strip._replace(**changes))
        photo.residuals(pixels, phase, CORE_TABLES)
        photo.push_pixels(*message.copy(), pixels.copy(), phase, CORE_TABLES)
        photo.pop_pixels(*message.copy(), pixels.copy(), phase, CORE_TABLES)

    code()
    wrong: list[dict[str, Any]] = [
        {"references": strip.references[:3]},
        {"references": strip.references[..., :2].copy()},
        {"references": strip.references[:0], "params": strip.params[:0], "near": strip.near[:, :0].copy()},
        {"params": strip.params[..., :-1].copy()},
        {"params": strip.params[:, :-1].copy()},
        {"params": strip.params[..., :0].copy()},
        {"near": strip.near[:, :-1].copy()},
        {"near": np.concatenate([strip.near] * 2)},
        {"earlier": strip.earlier[..., :2].copy()},
        {"earlier": strip.earlier[0]},
        {"places": strip.places[:, :2].copy()},
        {"colours": 2},
        {"colours": 0},
    ]
    if adaptive:  # else nothing is looked up
        wrong += [
            {"earlier": strip.earlier[:1]},
            {"earlier": strip.earlier[:, :5].copy()},
            {"earlier": strip.earlier[:, :, :-2].copy()},
            {"top": -1 - strip.top},
            {"top": 5},
            {"top": 1 << 40},
            {"places": strip.places[:5]},
            {"places": np.concatenate([strip.places, strip.places[:1]])},
            *({"places": strip.places + np.array(move)} for move in ([1, 0, 0], [-1, 0, 0], [0, 9, 0], [0, 0, 2], [0, 0, -1])),
        ]
    for changes in wrong:
        with pytest.raises(ValueError):
            code(**changes)
    for name in ("references", "params", "near", "earlier", "places"):
        array = getattr(strip, name)
        for other in (array.astype(np.int32), array.astype(array.dtype.newbyteorder()), np.repeat(array, 2, -1)[..., ::2]):
            with pytest.raises(TypeError):
                code(**{name: other})


def test_pixels_that_do_not_fit() -> None:
    strip, pixels = some_strip(np.random.default_rng(3), 4, 5, 2, 3, 2, True)
    phase, message = photo.phase(*strip), state(np.random.default_rng(0), 1, 60, 60)
    for function in (photo.push_pixels, photo.pop_pixels):
        refuses_other_arrays(function, (*message.copy(), pixels.copy(), phase, CORE_TABLES))
        for heads in (message.heads[:0], np.repeat(message.heads, 2)):
            with pytest.raises(ValueError, match="one lane"):
                function(heads, message.words, 60, pixels.copy(), phase, CORE_TABLES)
        for size in (-1, 121):
            with pytest.raises(ValueError):
                function(message.heads, message.words, size, pixels.copy(), phase, CORE_TABLES)
        with pytest.raises(ValueError):
            function(*message.copy(), pixels.copy(), phase, core_tables())
    for wrong in (pixels[:3], pixels[:, :4].copy(), pixels[..., :2].copy()):
        with pytest.raises(ValueError):
            photo.residuals(wrong, phase, CORE_TABLES)
    refuses_other_arrays(photo.residuals, (pixels, phase, CORE_TABLES))
    with pytest.raises(ValueError):
        photo.residuals(pixels, phase, core_tables())
    with pytest.raises(ValueError, match="room"):
        photo.push_pixels(message.heads, message.words, 61, pixels, phase, CORE_TABLES)


def test_pixels_of_a_message_that_runs_dry() -> None:
    strip, pixels = some_strip(np.random.default_rng(3), 4, 5, 2, 3, 2, True, wild=True)
    phase = photo.phase(*strip)
    head, words = np.array([HEAD_MIN], np.uint64), np.zeros(60, np.uint32)
    size = photo.push_pixels(head, words, 0, pixels, phase, CORE_TABLES)
    assert size > 5
    for start in range(1, size):  # without the words at the bottom, which come last
        with pytest.raises(CorruptDataError, match="ran dry"):
            photo.pop_pixels(head.copy(), words[start:size].copy(), size - start, np.zeros_like(pixels), phase, CORE_TABLES)


@cache
def small_strip(adaptive: bool, colours: int) -> tuple[photo.Phase, Array]:
    strip, pixels = some_strip(np.random.default_rng(4), 3, 4, 2, colours, 2, adaptive, wild=True)
    return photo.phase(*strip), pixels


@given(MESSAGES, st.booleans(), st.sampled_from([1, 3]))
@settings(max_examples=200)
def test_any_bytes_as_pixels(data: bytes, adaptive: bool, colours: int) -> None:
    phase, known = small_strip(adaptive, colours)
    pixels = np.zeros_like(known)
    try:
        message = Message.from_bytes(data)
        before = message.copy()
        message.resize(photo.pop_pixels(message.head, message.words, message.size, pixels, phase, CORE_TABLES))
    except CorruptDataError:
        return
    message.reserve(pixels.size)
    message.resize(photo.push_pixels(message.head, message.words, message.size, pixels, phase, CORE_TABLES))
    assert message == before


# Samples of small images.


SAMPLE_TABLES = logistic_table(), exp_table(), inverse_scales(), log2_table()
NO_LAYERS = tuple(np.zeros(shape, np.float32) for shape in ((1, 1), 1, (0, 1, 1), (0, 1), (1, 1), 1))


class Samples(NamedTuple):
    """Loops over an image, the image, what it brings along, and the same for the plain loops."""

    loops: images.SampleLoops
    image: Array
    own: Array
    known: Array
    theirs: tuple[Any, ...]


def some_image(rng: np.random.Generator, shape: tuple[int, int, int], binary: bool) -> Array:
    image = rng.integers(0, 2, shape) if binary else np.clip(rng.normal(128, 40, shape), 0, 255)
    return image.astype(np.uint8)


def count_outputs(shape: tuple[int, int, int], components: int) -> int:
    return (3 if shape[2] == 1 else 12) * components or 1


def by_outputs(shape: tuple[int, int, int], components: int, reach: int, relative: bool = False) -> Samples:
    """A likelihood of which a network says all; accumulators are up to `reach`."""
    rng = np.random.default_rng(2)
    size = count_outputs(shape, components), shape[0] * shape[1]
    exponents, own = rng.integers(0, 16, size), rng.integers(-reach, reach + 1, size).astype(np.int32)
    loops = images.SampleLoops(shape, components, exponents=exponents, relative=relative)
    known = np.ldexp(own.astype(np.float32), -exponents)
    return Samples(loops, some_image(rng, shape, not components), own, known, (NO_LAYERS, -1, relative, components, SAMPLE_TABLES))


def some_layer(rng: np.random.Generator, inputs: int, outputs: int) -> tuple[Array, Array, Array]:
    """Of a dense layer: weight, bias, exponent."""
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    return weight, rng.integers(-9000, 9000, outputs).astype(np.int32), rng.integers(4, 11, outputs).astype(np.int8)


def by_layers(
    shape: tuple[int, int, int], components: int, radius: int, hidden: int, depth: int, features: int, relative: bool
) -> Samples:
    """A likelihood with pixel layers."""
    rng = np.random.default_rng(2)
    inputs = 2 * radius * (radius + 1) * shape[2] + features
    enter, leave = some_layer(rng, inputs, hidden), some_layer(rng, hidden, count_outputs(shape, components))
    middle = [some_layer(rng, hidden, hidden) for _ in range(depth)]
    dense = images.dense(*enter), [images.dense(*layer) for layer in middle], images.dense(*leave)
    own = (rng.integers(0, 128, (features, shape[0] * shape[1])) * (rng.random((features, 1)) < 0.7)).astype(np.uint8)

    def floats(layer: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        weight, bias, exponent = layer
        transposed = np.ldexp(weight.astype(np.float32), -exponent.astype(np.int32)[:, None]).T
        return np.ascontiguousarray(transposed), np.ldexp(bias.astype(np.float32), -exponent.astype(np.int32))

    inner = [floats(layer) for layer in middle]
    between = (
        np.array([weight for weight, _ in inner], np.float32).reshape(depth, hidden, hidden),
        np.array([bias for _, bias in inner], np.float32).reshape(depth, hidden),
    )
    theirs = (*floats(enter), *between, *floats(leave)), radius, relative, components, SAMPLE_TABLES
    loops = images.SampleLoops(shape, components, layers=dense, radius=radius, relative=relative)
    return Samples(loops, some_image(rng, shape, not components), own, own.astype(np.float32), theirs)


SAMPLES: dict[str, Callable[[], Samples]] = {
    "binary": lambda: by_outputs((5, 4, 1), 0, 1 << 14),
    "binary, wild": lambda: by_outputs((5, 4, 1), 0, (1 << 24) - 1),
    "gray": lambda: by_outputs((4, 4, 1), 5, 1 << 14),
    "gray, wild": lambda: by_outputs((4, 4, 1), 3, (1 << 24) - 1),
    "colours": lambda: by_outputs((3, 4, 3), 2, 1 << 14),
    "colours, wild": lambda: by_outputs((3, 4, 3), 1, (1 << 24) - 1),
    "colours, relative": lambda: by_outputs((3, 4, 3), 2, 1 << 14, relative=True),
    "binary by layers": lambda: by_layers((5, 4, 1), 0, 2, 13, 2, 6, False),
    "gray by layers": lambda: by_layers((3, 5, 1), 5, 3, 9, 1, 5, False),
    "colours by layers": lambda: by_layers((4, 3, 3), 3, 1, 17, 1, 4, True),
    "colours by wide layers": lambda: by_layers((2, 3, 3), 5, 2, 48, 2, 16, True),
    "no context": lambda: by_layers((2, 3, 3), 1, 0, 4, 0, 2, False),
    "no features": lambda: by_layers((3, 3, 1), 1, 1, 4, 0, 0, True),
    "one pixel": lambda: by_layers((1, 1, 3), 2, 2, 4, 1, 1, True),
}


@pytest.fixture(params=SAMPLES)
def samples(request: pytest.FixtureRequest) -> Samples:
    return SAMPLES[request.param]()


@pytest.mark.parametrize("variant", variants())
def test_samples(samples: Samples, variant: str) -> None:
    loops, image, own, known, theirs = samples
    loops._fixed.variant = variants()[variant]
    rng = np.random.default_rng(1)
    before = state(rng, 1, 9, image.size)
    ours, words = before.copy(), before.words.copy()
    size = loops.push(*ours, image, own)
    head, expected = slow_images.push_samples(before.heads[0], words, 9, image, known, *theirs)
    assert_equal(ours, size, State(np.array([head]), words, 0), expected)
    popped, tail = np.zeros_like(image), ours.words[:size].copy()
    assert_equal(ours, loops.pop(ours.heads, tail, size, popped, own), before, 9)
    assert np.array_equal(popped, image)
    assert loops.log_freqs(image, own) == slow_images.log_freqs_of_samples(image, known, *theirs)
    any_message = state(rng, 1, image.size)
    ours, same = any_message.copy(), np.zeros_like(image)
    size = loops.pop(*ours, popped, own)
    head, expected = slow_images.pop_samples(any_message.heads[0], any_message.words, any_message.size, same, known, *theirs)
    assert_equal(ours, size, State(np.array([head]), any_message.words, 0), expected)
    assert np.array_equal(popped, same)


def test_images_that_do_not_fit(samples: Samples) -> None:
    loops, image, own, *_ = samples
    count = image.size
    message = state(np.random.default_rng(0), 1, count, count)
    refuses_other_arrays(loops.log_freqs, (image, own))
    for function in (loops.push, loops.pop):
        refuses_other_arrays(function, (*message.copy(), image.copy(), own))
        for heads in (message.heads[:0], np.repeat(message.heads, 2)):
            with pytest.raises(ValueError, match="one lane"):
                function(heads, message.words, count, image.copy(), own)
        for size in (-1, 2 * count + 1):
            with pytest.raises(ValueError):
                function(message.heads, message.words, size, image.copy(), own)
        for x, row in (
            (image[:-1], own),
            (image[None], own),
            (image, own[:, :-1].copy()),
            (image, np.concatenate([own, own, own[:1]])),
        ):
            if row.shape != own.shape or x.shape != image.shape:
                with pytest.raises(ValueError):
                    function(*message.copy(), x.copy(), row)
    with pytest.raises(ValueError, match="room"):
        loops.push(message.heads, message.words, count + 1, image, own)


def test_samples_of_a_message_that_runs_dry(samples: Samples) -> None:
    loops, image, own, *_ = samples
    head, words = np.array([HEAD_MIN], np.uint64), np.zeros(image.size, np.uint32)
    size = loops.push(head, words, 0, image, own)
    for start in range(1, size):
        with pytest.raises(CorruptDataError, match="ran dry"):
            loops.pop(head.copy(), words[start:size].copy(), size - start, np.zeros_like(image), own)


def test_likelihoods_that_there_are_not() -> None:
    rng = np.random.default_rng(0)

    def layers(**changes: Any) -> images.SampleLoops:
        sizes = {"inputs": 12 + 4, "hidden": 5, "between": 5, "last": 5, "outputs": 24} | changes
        enter = images.dense(*some_layer(rng, sizes["inputs"], sizes["hidden"]))
        middle = [images.dense(*some_layer(rng, sizes["hidden"], sizes["between"]))]
        leave = images.dense(*some_layer(rng, sizes["last"], sizes["outputs"]))
        return images.SampleLoops((3, 4, 3), changes.get("k", 2), layers=(enter, middle, leave), radius=changes.get("radius", 1))

    layers()
    for wrong in (
        {"inputs": 11},
        {"between": 4},
        {"between": 6},
        {"last": 4},
        {"outputs": 23},
        {"k": 9},
        {"k": -1},
        {"radius": -1},
    ):
        with pytest.raises(ValueError):
            layers(**wrong)
    for shape, components, size in (
        ((3, 4, 1), 2, (5, 12)),
        ((3, 4, 1), 2, (6, 11)),
        ((3, 4, 1), 2, (72,)),
        ((3, 4, 3), 0, (1, 12)),
        ((3, 4, 2), 1, (12, 12)),
        ((0, 4, 1), 1, (3, 0)),
        ((3, 4, 1), 9, (27, 12)),
    ):
        with pytest.raises(ValueError):
            images.SampleLoops(shape, components, exponents=np.zeros(size, np.uint8))
    weight, bias, exponent = some_layer(rng, 4, 3)
    for parts in (
        (weight, bias[:2], exponent),
        (weight, bias, exponent[:2]),
        (weight[:2], bias, exponent),
        (weight[0], bias, exponent),
    ):
        with pytest.raises(ValueError):
            images.dense(*parts)


@cache
def made_samples(name: str) -> Samples:
    return SAMPLES[name]()


@given(MESSAGES, st.sampled_from(sorted(SAMPLES)))
@settings(max_examples=200)
def test_any_bytes_as_samples(data: bytes, name: str) -> None:
    loops, known, own, *_ = made_samples(name)
    image = np.zeros_like(known)
    try:
        message = Message.from_bytes(data)
        before = message.copy()
        message.resize(loops.pop(message.head, message.words, message.size, image, own))
    except CorruptDataError:
        return
    message.reserve(image.size)
    message.resize(loops.push(message.head, message.words, message.size, image, own))
    assert message == before


# Integer layers. Backends are in test_exact.py.


def view(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    """Activations of a shape: an array of its own, or a view as layers may be given one."""
    count, height, width, channels = shape
    if kind == "own":
        return rng.integers(0, 128, shape).astype(np.uint8)
    if kind == "inside":
        return rng.integers(0, 128, (count, height + 3, width + 5, channels)).astype(np.uint8)[:, 2:-1, 1:-4]
    if kind == "every second row":
        return rng.integers(0, 128, (2 * count, 2 * height, width, channels)).astype(np.uint8)[::2, 1::2]
    if kind == "upside down":
        return rng.integers(0, 128, shape).astype(np.uint8)[::-1, ::-1]
    if kind == "one for all":
        return np.broadcast_to(rng.integers(0, 128, (1, 1, width, channels)).astype(np.uint8), shape)
    axes = {"channels first": (0, 2, 3, 1), "columns first": (0, 2, 1, 3)}[kind]
    order = np.argsort(axes)
    return rng.integers(0, 128, [shape[axis] for axis in order]).astype(np.uint8).transpose(axes)


VIEWS = ("own", "inside", "every second row", "upside down", "one for all")
ANY_ORDER = ("channels first", "columns first")  # dense where there is one channel, or one column


@given(st.data())
@settings(max_examples=200)
def test_layers_of_any_shape(data: st.DataObject) -> None:
    """By every variant, from any view whose rows are dense."""
    k = data.draw(st.sampled_from([1, 3]))
    inputs, outputs = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    count, height, width = data.draw(st.integers(0, 3)), data.draw(st.integers(k - 1, 20)), data.draw(st.integers(k - 1, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    dense = [*VIEWS, *(ANY_ORDER[:1] if inputs == 1 else ()), *(ANY_ORDER[1:] if 1 in (height, width) else ())]
    x = view(rng, (count, height, width, inputs), data.draw(st.sampled_from(dense)))
    shape = count, height - k + 1, width - k + 1, outputs
    skip = view(rng, shape, data.draw(st.sampled_from(VIEWS))) if data.draw(st.booleans()) else None
    size = np.array([data.draw(st.sampled_from([1, 20, 127]))])
    weight = rng.integers(-size, size + 1, (outputs, inputs, k, k)).astype(np.int8)
    bias = rng.integers(-(1 << 14), 1 << 14, (1, outputs)).astype(np.int32)
    layer = IntConv(weight, bias, rng.integers(0, 16, outputs).astype(np.int8), relu=True)
    packed, plain = pack(layer.weight, layer.bias[0], layer.exponent), Reference(layer)
    for variant in variants():
        sums = convolve(packed, x, sums=True, variant=variant)
        assert sums.dtype == np.int32 and np.array_equal(sums, plain.sums(x))
        y = convolve(packed, x, skip, variant=variant)
        assert y.dtype == np.uint8 and np.array_equal(y, plain(x, skip))


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("k", [1, 3])
def test_layers_at_the_ends_of_their_range(variant: str, k: int) -> None:
    """Sums up to 2**24 - 1 that any exponent rounds, and a skip on top."""
    inputs = 780 if k == 1 else 86
    for sign in (1, -1):
        for exponent in range(16):
            weight = np.full((17, inputs, k, k), sign * 127, np.int8)
            left = (1 << 24) - 1 - 127 * 127 * inputs * k * k - (127 << exponent)
            layer = IntConv(weight, np.full((1, 17), sign * left, np.int32), np.full(17, exponent, np.int8), relu=True)
            packed, plain = pack(layer.weight, layer.bias[0], layer.exponent), Reference(layer)
            x, skip = np.full((1, k, k + 4, inputs), 127, np.uint8), np.full((1, 1, 5, 17), 127, np.uint8)
            assert np.array_equal(convolve(packed, x, sums=True, variant=variant), plain.sums(x))
            for onto in (None, skip):
                assert np.array_equal(convolve(packed, x, onto, variant=variant), plain(x, onto))


def test_the_best_variant_is_taken() -> None:
    packed = pack(np.ones((2, 3, 1, 1), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8))
    x = np.arange(30, dtype=np.uint8).reshape(1, 2, 5, 3)
    assert np.array_equal(convolve(packed, x), convolve(packed, x, variant=list(variants())[-1]))
    assert list(variants().values()) == sorted(variants().values()) and "portable" in variants()


def test_variants_that_there_are_not() -> None:
    packed = pack(np.ones((2, 3, 1, 1), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8))
    with pytest.raises(KeyError):
        convolve(packed, np.zeros((1, 1, 1, 3), np.uint8), variant="avx1024")
    assert [library().has_convolution(ctypes.c_int64(number)) for number in (-1, 7, 1 << 40)] == [0, 0, 0]


def test_activations_that_do_not_fit() -> None:
    packed = pack(np.ones((2, 3, 3, 3), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8))
    x, skip = np.ones((2, 5, 6, 3), np.uint8), np.ones((2, 3, 4, 2), np.uint8)
    convolve(packed, x, skip)
    wrong = [x.astype(np.int8), x.astype(np.int64), x[..., :2].copy(), x[0], x[None], np.ones((2, 5, 6, 6), np.uint8)[..., ::2]]
    wrong += [np.ones((2, 5, 12, 3), np.uint8)[:, :, ::2], x[:, :, ::-1], x[:, :1], x[:, :, :1], x.transpose(0, 2, 1, 3)]
    for other in wrong:
        with pytest.raises(ValueError):
            convolve(packed, other)
    wrong = [skip.astype(np.int8), skip[:1], skip[:, :2], skip[:, :, :3], skip[..., :1], skip[0], skip[:, :, ::-1]]
    wrong += [
        np.ones((2, 3, 8, 2), np.uint8)[:, :, ::2],
        np.ones((2, 3, 4, 4), np.uint8)[..., ::2],
        np.ones((2, 4, 3, 2), np.uint8),
    ]
    for other in wrong:
        with pytest.raises(ValueError):
            convolve(packed, x, other)
    with pytest.raises(ValueError):
        convolve(packed, np.ones((1, 1, 9, 3), np.uint8))


def test_layers_that_there_are_not() -> None:
    weight, bias, exponent = np.ones((2, 3, 3, 3), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8)
    pack(weight, bias, exponent)
    for parts in (
        (weight[0], bias, exponent),
        (weight[..., :1], bias, exponent),
        (weight[:, :0], bias, exponent),
        (weight, bias[:1], exponent),
        (weight, bias, exponent[:1]),
        (weight, bias[None], exponent),
    ):
        with pytest.raises(ValueError):
            pack(*parts)
    with pytest.raises(TypeError):
        pack(weight.astype(np.int16), bias, exponent)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (0, 5), (4, 1)])
def test_scaling(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    channels = shape[-1]
    parts = {
        "exponents": rng.integers(0, 16, channels),
        "factors": rng.choice([1, 4, 64], channels),
        "offsets": rng.integers(-60, 60, channels),
        "lows": rng.choice([-32767, 0], channels),
        "highs": rng.choice([127, 32767], channels),
    }
    by = Scaling(**{name: values.astype(np.int32) for name, values in parts.items()})
    sums = rng.integers(-(1 << 24) + 1, 1 << 24, shape).astype(np.int32)
    scaled = scale(sums, by)
    assert scaled.dtype == np.int16 and scaled.shape == shape
    for row, got in zip(sums.reshape(-1, channels), scaled.reshape(-1, channels), strict=True):
        for channel, value in enumerate(row):
            exponent, factor, offset, low, high = (int(values[channel]) for values in parts.values())
            assert got[channel] == min(max(round(Fraction(int(value) * factor, 1 << exponent)) + offset, low), high)
    refuses_other_arrays(scale, (sums, by))
    for wrong in (np.zeros((2, channels + 1), np.int32), np.zeros((2, 0), np.int32), np.array(1, np.int32)):
        with pytest.raises(ValueError):
            scale(wrong, by)
    for name, values in parts.items():
        with pytest.raises(ValueError):
            scale(sums, Scaling(**{key: (part[:-1] if key == name else part).astype(np.int32) for key, part in parts.items()}))
        with pytest.raises(TypeError):
            Scaling(**{name: values})


# The library.


def test_a_library_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import bbans.codecs"],
        env={**os.environ, "BBANS_CORE": "/nowhere/core.so", "LD_PRELOAD": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert "ImportError: the compiled core of bbans cannot be loaded (/nowhere/core.so" in done.stderr
    assert "install the package again (pip install -e . in a checkout)" in done.stderr
