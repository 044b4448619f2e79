"""The worked example of the tutorial: its numbers, and the same with the library."""

import contextlib
import io
import math

import pytest

from bbans.ans import Message
from bbans.bitsback import bb_ans
from bbans.codecs import categorical
from benchmarks.tutorial import by_hand
from benchmarks.tutorial.by_hand import LIKELIHOOD, MESSAGE, POSTERIOR, PRIOR, endings, neg_elbo, nll, receive, send, steps

TOP = 2**30  # the example's states are what a head has below this


def test_the_worked_example() -> None:
    assert f"{MESSAGE:b}" == "101101101001" and MESSAGE == 2921
    assert [step.state for step in steps()] == [2193, 3507, 7011, 3507, 2193, 2921]
    assert [step.what for step in steps()] == [
        "pop z = 0 by q(z|x) = 12/16",
        "push x = 0 by p(x|z) = 10/16",
        "push z = 0 by p(z) = 8/16",
        "pop z = 0 by p(z) = 8/16",
        "pop x = 0 by p(x|z) = 10/16",
        "push z = 0 by q(z|x) = 12/16",
    ]
    assert [round(step.bits, 3) for step in steps()] == [-0.415, 0.678, 1.0, -1.0, -0.678, 0.415]
    assert math.log2(7011 / 2921) == pytest.approx(sum(step.bits for step in steps()[:3]), abs=1e-3)
    assert [eval(step.arithmetic) for step in steps()] == [step.state for step in steps()]


@pytest.mark.parametrize("x", [0, 1, 2])
def test_every_message_comes_back(x: int) -> None:
    for state in [*range(16, 64), *range(MESSAGE - 20, MESSAGE + 20)]:
        assert receive(send(state, x)) == (state, x)


@pytest.mark.parametrize("x", [0, 1, 2])
def test_the_mean_of_all_endings_is_the_negative_elbo(x: int) -> None:
    assert sum(endings(x)) / 16 == pytest.approx(neg_elbo(x))
    assert (round(neg_elbo(0), 3), round(nll(0), 3)) == (1.447, 1.415)
    assert (neg_elbo(1), nll(1)) == (2, 2)  # q(z|x) is p(z|x)
    for end, bits in enumerate(endings(x)):
        state = (MESSAGE // 16 << 20) + end  # the longer the message, the less its rounding is felt
        assert math.log2(send(state, x) / state) == pytest.approx(bits, abs=1e-6)


@pytest.mark.parametrize("end", range(16))
def test_the_library_takes_the_same_steps(end: int) -> None:
    state = MESSAGE // 16 * 16 + end
    message, heads = Message.from_words([5, state]), []

    def noted(codec_push_or_pop: Message) -> Message:
        heads.append(int(codec_push_or_pop.head[0]) % TOP)
        return codec_push_or_pop

    message, z = categorical(POSTERIOR[0]).pop(message)
    noted(message)
    message = noted(categorical(LIKELIHOOD[z]).push(message, 0))
    noted(categorical(PRIOR).push(message, z))
    assert heads == [step.state for step in steps(state)[:3]]
    codec = bb_ans(categorical(PRIOR), lambda z: categorical(LIKELIHOOD[z]), lambda x: categorical(POSTERIOR[x]))
    message = Message.from_words([5, state])
    before = message.bits
    message = codec.push(message, 0)
    assert message.bits - before == pytest.approx(endings()[end], abs=1e-6)
    message, x = codec.pop(message)
    assert (x, int(message.head[0])) == (0, 5 * 2**32 + state)


def test_the_ten_lines_print_the_same_numbers() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(by_hand.WITH_BBANS, {})
    assert printed.getvalue() == "7011\n0 2921\n"
    assert len([line for line in by_hand.WITH_BBANS.splitlines() if line]) <= 10
