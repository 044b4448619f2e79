"""The rANS message: exact words, inverse operations, damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans import ans
from bbans.ans import HEAD_MIN, Batch, Message, splitmix64
from bbans.errors import CorruptDataError


@st.composite
def interval(draw):
    """(start, freq, precision)"""
    precision = draw(st.integers(0, 31))
    start = draw(st.integers(0, (1 << precision) - 1))
    return start, draw(st.integers(1, (1 << precision) - start)), precision


def test_words_of_one_symbol():
    # head 2**31 = 2**30 * 2 + 0  ->  2**30 * 2**4 + 0 + 3 = 4 * 2**32 + 3
    assert ans.push(Message.empty(), [3], [2], 4).to_words().tolist() == [4, 3]


def test_words_of_a_full_head():
    message = Message.from_words([0x7FFFFFFF, 0x89ABCDEF])  # freq 1 of 2**16: the head must be below 2**47
    message = ans.push(message, [5], [1], 16)
    assert message.to_words().tolist() == [0x7FFF, 0xFFFF0005, 0x89ABCDEF]


def test_heads_at_the_ends_of_their_range():
    """A head of freq * 2**(63 - precision) is too large to push on, one of 2**31 needs no word."""
    message = Message.from_words([0x8000, 0, 7])
    message = ans.push(message, [5], [1], 16)
    assert message.to_words().tolist() == [0, 0x80000005, 0, 7]
    message = ans.pop(message, [5], [1], 16)
    assert message.to_words().tolist() == [0x8000, 0, 7]
    message = ans.push(Message.empty(), [3], [2], 4)
    assert ans.pop(message, [3], [2], 4).is_initial()


def test_words_of_lanes():
    # High halves, low halves, then the tail with the lanes of one push in order and the latest push first.
    message = Message.from_words([0x7FFFFFF1, 0x7FFFFFF2, 0x11, 0x22], 2)
    message = ans.push(message, [7, 8], [1, 1], 16)
    assert message.to_words().tolist() == [0x7FFF, 0x7FFF, 0xFFF10007, 0xFFF20008, 0x11, 0x22]
    message = ans.push(message, [7, 8], [1, 1], 20)
    assert message.to_words()[4:].tolist() == [0xFFF10007, 0xFFF20008, 0x11, 0x22]


def test_empty():
    message = Message.empty(3)
    assert message.is_initial()
    assert message.bits == 3 * 31
    assert message.to_words().tolist() == [0, 0, 0, HEAD_MIN, HEAD_MIN, HEAD_MIN]
    assert not ans.push(message, 0, 1, 4).is_initial()


@given(st.lists(interval(), max_size=80), st.integers(1, 4), st.integers(0, 3))
@settings(deadline=None)
def test_pop_undoes_push(intervals, lanes, words):
    message = Message.random(np.random.default_rng(len(intervals)), words, lanes)
    before = message.copy()
    for start, freq, precision in intervals:
        message = ans.push(message, start, freq, precision)
        assert np.all(message.head >= np.uint64(HEAD_MIN))
        assert np.all(message.head < np.uint64(HEAD_MIN << 32))
    message = Message.from_bytes(message.to_bytes(), lanes)
    for start, freq, precision in reversed(intervals):
        cf = ans.peek(message, precision)
        assert np.all((start <= cf) & (cf < start + freq))
        message = ans.pop(message, start, freq, precision)
    assert message == before


@given(st.lists(interval(), max_size=80), st.integers(1, 3))
@settings(deadline=None)
def test_push_undoes_pop(intervals, lanes):
    """Any message can be read as symbols of any distribution: what bits-back needs."""
    message = Message.random(np.random.default_rng(len(intervals)), 200, lanes)
    before, popped = message.copy(), []
    for _, freq, precision in intervals:
        freq = 1 << (freq.bit_length() - 1)  # intervals of one width tile the range
        start = ans.peek(message, precision) // freq * freq
        message = ans.pop(message, start, freq, precision)
        assert np.all(message.head >= np.uint64(HEAD_MIN))
        popped.append((start, freq, precision))
    for start, freq, precision in reversed(popped):
        message = ans.push(message, start, freq, precision)
    assert message == before


def test_length_is_the_information_content():
    rng = np.random.default_rng(0)
    message, ideal = Message.empty(), 0.0
    for _ in range(2000):
        freq = int(rng.integers(1, 1 << 20))
        message = ans.push(message, int(rng.integers(0, (1 << 24) - freq)), freq, 24)
        ideal += 24 - np.log2(freq)
    assert message.bits - 31 == pytest.approx(ideal, rel=1e-5)
    assert message.bits <= 8 * len(message.to_bytes()) <= message.bits + 33


def test_every_cut_is_noticed():
    message = Message.empty()
    for symbol in range(40):
        message = ans.push(message, symbol, 1, 12)
    words = message.to_words()
    for size in range(len(words)):
        with pytest.raises(CorruptDataError):
            message = Message.from_words(words[:size])
            for symbol in reversed(range(40)):
                assert ans.peek(message, 12) == symbol  # right until the words run out
                message = ans.pop(message, symbol, 1, 12)


def test_running_dry_is_for_good():
    message = Message.empty()
    for _ in range(3):
        with pytest.raises(CorruptDataError, match="ran dry"):
            ans.pop(message, 0, 1, 12)


@pytest.mark.parametrize(
    ("words", "lanes"),
    [
        ([], 1),
        ([1], 1),
        ([1, 1, 1], 2),
        ([0, HEAD_MIN - 1], 1),
        ([HEAD_MIN, 0], 1),
        ([0xFFFFFFFF, 0xFFFFFFFF], 1),
        ([1, 0, 0, 5], 2),
    ],
)
def test_foreign_words(words, lanes):
    with pytest.raises(CorruptDataError):
        Message.from_words(words, lanes)


def test_bytes():
    message = Message.random(np.random.default_rng(1), 5, 2)
    data = message.to_bytes()
    assert len(data) == 4 * (2 * 2 + 5)
    assert data[:4] == int(message.to_words()[0]).to_bytes(4, "little")
    assert Message.from_bytes(data, 2) == message
    with pytest.raises(CorruptDataError, match="4-byte"):
        Message.from_bytes(data[:-1], 2)


def test_a_copy_is_independent():
    message = Message.random(np.random.default_rng(2), 5)
    words = message.to_words()
    copy = message.copy()
    ans.push(ans.push(copy, 0, 1, 31), 0, 1, 31)
    assert copy != message
    assert np.array_equal(message.to_words(), words)


def test_a_message_takes_back_what_its_copy_holds():
    message = Message.primed(5)
    saved = message.copy()
    message = ans.push(message, 1, 1, 31)
    for _ in range(3):
        message = ans.pop(message, int(ans.peek(message, 31)[0]), 1, 31)
    message.restore(saved)
    assert message == Message.primed(5) and message.lowest == 5
    message = ans.push(message, 0, 1, 31)
    assert saved == Message.primed(5)


def test_equal_messages_have_equal_lanes():
    """The words of one lane can be read as those of two."""
    words = [1, 2, 3, 4, 5]
    one, two = Message.from_words(words, 1), Message.from_words(words, 2)
    assert one.to_words().tolist() == two.to_words().tolist()
    assert one != two
    assert one == Message.from_words(words, 1) and two == Message.from_words(words, 2)
    assert one != words


def test_random_messages_come_from_the_generator():
    first, second = (Message.random(np.random.default_rng(7), 10) for _ in range(2))
    assert first == second
    assert first != Message.random(np.random.default_rng(8), 10)
    assert repr(Message.empty()) == "<Message of 1 lanes, 31.0 bits>"


@pytest.mark.parametrize(
    ("start", "freq", "precision"), [(0, 0, 8), (-1, 2, 8), (255, 2, 8), (0, 1, 32), (0, 1, -1), ([0, 0], 1, 8)]
)
def test_wrong_intervals(start, freq, precision):
    with pytest.raises(ValueError):
        ans.push(Message.empty(), start, freq, precision)


def test_pop_refuses_another_interval():
    message = ans.push(Message.empty(), 7, 2, 8)
    with pytest.raises(ValueError, match="peek"):
        ans.pop(message, 9, 2, 8)


def test_a_message_has_lanes():
    with pytest.raises(ValueError, match="lane"):
        Message.empty(0)


# Initial bits.


def test_the_generator_of_initial_bits():
    """Values that its authors and others publish for seeds 0 and 1234567."""
    assert splitmix64(1).tolist() == [0xE220A8397B1DCDAF]
    assert splitmix64(3, 1234567).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(0).tolist() == []


def test_a_primed_message():
    values = splitmix64(5, 9) >> np.uint64(32)
    message = Message.primed(3, 2, seed=9)
    assert message.head.tolist() == [HEAD_MIN + int(value) // 2 for value in values[:2]]
    assert message.to_words()[4:].tolist() == values[2:].tolist()
    assert message.is_primed(9)
    assert not message.is_primed()
    assert Message.primed(0).to_words().tolist() == [0, HEAD_MIN + 0xE220A839 // 2]
    assert ans.push(Message.primed(3), 0, 1, 31).is_primed() is False


def test_fewer_initial_words_are_the_top_of_more():
    few, more = Message.primed(4), Message.primed(9)
    assert few.to_words().tolist() == more.to_words()[:6].tolist()


@given(st.lists(st.tuples(st.booleans(), interval()), max_size=60))
@settings(deadline=None)
def test_the_lowest_size_is_what_is_needed(steps):
    """Words never reached can be left out, and not one more."""

    def code(message):
        for is_push, (start, freq, precision) in steps:
            if not is_push:
                freq = 1 << (freq.bit_length() - 1)
                start = ans.peek(message, precision)[0] // freq * freq
            message = (ans.push if is_push else ans.pop)(message, start, freq, precision)
        return message

    plenty = 100
    message = code(Message.primed(plenty))
    needed = plenty - message.lowest
    dropped = message.copy().drop_untouched()
    assert dropped == code(Message.primed(needed))
    assert dropped.lowest == 0
    if needed:
        with pytest.raises(CorruptDataError):
            code(Message.primed(needed - 1))


def test_a_copy_knows_its_lowest_size():
    message = ans.pop(Message.primed(9), int(ans.peek(Message.primed(9), 31)[0]), 1, 31)
    assert message.lowest == message.copy().lowest == 8


# Batches.


def test_a_map_over_a_batch():
    messages = [Message.primed(0, seed=i) for i in range(7)]
    batch = Batch(messages)
    assert len(batch) == 7 and repr(batch) == "<Batch of 7 messages>"
    rows = np.arange(14).reshape(7, 2)
    results = batch.map(lambda message, row, letter: (message, row.tolist(), letter), rows, "abcdefg")
    assert results == [(messages[i], [2 * i, 2 * i + 1], "abcdefg"[i]) for i in range(7)]
    assert batch[:3].messages == messages[:3]
    assert Batch([]).map(lambda message: 1) == []
    with pytest.raises(ValueError):
        batch.map(lambda message, row: None, rows[:6])
