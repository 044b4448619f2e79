"""Checks that carry most tests of the coder."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bbans.ans import Batch, Message
from bbans.codecs import Codec


def check_codec(codec: Codec[Any], symbol: Any, lanes: int = 1, words: int = 300, seed: int = 0) -> float:
    """Push and pop on a message that is not empty restore both the symbol and the message. Returns the net bits."""
    start = Message.random(np.random.default_rng(seed), words, lanes)
    before = start.copy()
    message = codec.push(start, symbol)
    net_bits = message.bits - before.bits
    message = Message.from_bytes(message.to_bytes(), lanes)  # nothing outside the bytes is needed
    message, popped = codec.pop(message)
    assert_equal(popped, symbol)
    assert message == before
    return net_bits


def check_batch(codec_of: Callable[[Any], Codec[Any]], rows: Any, words: int = 300) -> None:
    """A batch does on each message what a lone message does, to the bit, and pop restores all of them.

    `codec_of` makes the codec of the parameters rows[a:b], or of those of one row, rows[i]; its symbols are rows themselves.
    """
    count = len(rows)
    started = [Message.primed(words, seed=i) for i in range(count)]
    batch = codec_of(slice(0, count)).push(Batch([message.copy() for message in started]), rows)
    for i, message in enumerate(batch.messages):
        lone = codec_of(i).push(started[i].copy(), rows[i])
        assert message == lone
        assert message.lowest == lone.lowest
    batch, popped = codec_of(slice(0, count)).pop(batch)
    assert_equal(popped, rows)
    assert list(batch.messages) == started


def assert_equal(left: Any, right: Any) -> None:
    """Equal numbers, arrays or nested lists of them, in shape too."""
    if isinstance(left, list | tuple) or isinstance(right, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_equal(a, b)
    else:
        assert np.shape(left) == np.shape(right)
        assert np.array_equal(left, right)
