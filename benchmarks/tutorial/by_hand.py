"""Bits-back by hand: a latent z in {0, 1}, a symbol x in {0, 1, 2}, and a message of twelve bits.

A message is one number, its state. Probabilities are sixteenths, and a symbol owns `freq` of them that begin at `start`. Push and
pop are those of bbans.ans, which keeps its head in [2**31, 2**63) and words below it; here the state is small and has no words::

    push   state = (state // freq) * 16 + state % freq + start
    pop    state = freq * (state // 16) + state % 16 - start       for the symbol whose sixteenths hold state % 16

The sender pops z by q(z|x), pushes x by p(x|z) and pushes z by p(z). The receiver undoes the three steps in the opposite order.

Sources: Duda, "Asymmetric numeral systems", 2013; Townsend, Bird and Barber, "Practical lossless compression with latent variables
using bits back coding", ICLR 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PRIOR = (8, 8)  # p(z), in sixteenths
LIKELIHOOD = ((10, 4, 2), (2, 4, 10))  # p(x|z), a row for each z
POSTERIOR = ((12, 4), (8, 8), (4, 12))  # q(z|x), a row for each x
MESSAGE = 0b1011_0110_1001  # the twelve bits that are there before
X = 0  # what is sent

Freqs = tuple[int, ...]

WITH_BBANS = """\
from bbans.ans import Message
from bbans.bitsback import bb_ans
from bbans.codecs import categorical

likelihoods, posteriors = [[10, 4, 2], [2, 4, 10]], [[12, 4], [8, 8], [4, 12]]
codec = bb_ans(categorical([8, 8]), lambda z: categorical(likelihoods[z]), lambda x: categorical(posteriors[x]))
message = Message.from_words([5, 0b1011_0110_1001])
message = codec.push(message, 0)
print(int(message.head[0]) % 2**30)
message, x = codec.pop(message)
print(int(x), int(message.head[0]) % 2**30)
"""
"""The same with the library; a test runs it. Its head is at least 2**31, so 5 * 2**32 lies on top of the twelve bits. Every step
below divides that without remainder and leaves a multiple of 2**30, so the last 30 bits of the head are the states here."""


def push(state: int, symbol: int, freqs: Freqs) -> int:
    """The state with a symbol on it. Inverse: pop."""
    start, freq = sum(freqs[:symbol]), freqs[symbol]
    return (state // freq) * 16 + state % freq + start


def pop(state: int, freqs: Freqs) -> tuple[int, int]:
    """The state without the symbol on top of it, and that symbol. Inverse: push."""
    symbol = next(s for s in range(len(freqs)) if state % 16 < sum(freqs[: s + 1]))
    start, freq = sum(freqs[:symbol]), freqs[symbol]
    return freq * (state // 16) + state % 16 - start, symbol


def send(state: int, x: int) -> int:
    """The state with x on it. Inverse: receive."""
    state, z = pop(state, POSTERIOR[x])
    state = push(state, x, LIKELIHOOD[z])
    return push(state, z, PRIOR)


def receive(state: int) -> tuple[int, int]:
    """The state as it was before x was sent, and x. Inverse: send."""
    state, z = pop(state, PRIOR)
    state, x = pop(state, LIKELIHOOD[z])
    return push(state, z, POSTERIOR[x]), x


@dataclass(frozen=True)
class Step:
    """One push or pop: what it does, its arithmetic, the state after it, and by how many bits the message grows by its freq."""

    who: str
    what: str
    arithmetic: str
    state: int
    bits: float


def steps(state: int = MESSAGE, x: int = X) -> list[Step]:
    """The sender's three and the receiver's three."""
    taken: list[Step] = []

    def note(who: str, verb: str, symbol: int, by: str, freq: int, arithmetic: str, after: int) -> None:
        name, bits = by[2], math.log2(16 / freq) * (1 if verb == "push" else -1)
        taken.append(Step(who, f"{verb} {name} = {symbol} by {by} = {freq}/16", arithmetic, after, bits))

    def pushed(who: str, state: int, symbol: int, by: str, freqs: Freqs) -> int:
        start, freq, after = sum(freqs[:symbol]), freqs[symbol], push(state, symbol, freqs)
        note(who, "push", symbol, by, freq, f"({state} // {freq}) * 16 + {state} % {freq} + {start}", after)
        return after

    def popped(who: str, state: int, by: str, freqs: Freqs) -> tuple[int, int]:
        after, symbol = pop(state, freqs)
        start, freq = sum(freqs[:symbol]), freqs[symbol]
        note(who, "pop", symbol, by, freq, f"{freq} * ({state} // 16) + {state} % 16 - {start}", after)
        return after, symbol

    state, z = popped("sender", state, "q(z|x)", POSTERIOR[x])
    state = pushed("sender", state, x, "p(x|z)", LIKELIHOOD[z])
    state = pushed("sender", state, z, "p(z)", PRIOR)
    state, z = popped("receiver", state, "p(z)", PRIOR)
    state, x = popped("receiver", state, "p(x|z)", LIKELIHOOD[z])
    pushed("receiver", state, z, "q(z|x)", POSTERIOR[x])
    return taken


def endings(x: int = X) -> list[float]:
    """By how many bits x makes the message longer, for each of the sixteen ends that a message may have: its last four bits."""
    return [sum(step.bits for step in steps(MESSAGE // 16 * 16 + end, x)[:3]) for end in range(16)]


def neg_elbo(x: int = X) -> float:
    """The mean over q(z|x) of log2 q(z|x) / (p(x|z) p(z)), in bits."""
    return sum(q / 16 * math.log2(q / 16 / (LIKELIHOOD[z][x] / 16 * PRIOR[z] / 16)) for z, q in enumerate(POSTERIOR[x]))


def nll(x: int = X) -> float:
    """-log2 p(x), in bits."""
    return -math.log2(sum(LIKELIHOOD[z][x] / 16 * PRIOR[z] / 16 for z in range(len(PRIOR))))
