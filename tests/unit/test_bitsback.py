"""Bits-back: exact inverses, and code lengths that are the negative ELBO."""

import numpy as np
import pytest

from bbans.ans import Batch, Message
from bbans.bitsback import bb_ans, bb_ans_with_fallback, bit_swap, markov, top_down
from bbans.codecs import Codec, categorical, logistic, uniform
from bbans.combinators import beside, repeat
from bbans.errors import CorruptDataError
from bbans.tables import quantise_probabilities
from tests.checks import check_batch, check_codec

PRECISION = 20
LATENTS, SYMBOLS = 6, 9


def random_freqs(seed, *shape):
    rng = np.random.default_rng(seed)
    return quantise_probabilities(rng.random(shape) ** 3 + 0.01, PRECISION)


PRIOR = random_freqs(0, LATENTS)
LIKELIHOOD = random_freqs(1, LATENTS, SYMBOLS)
JOINT = PRIOR[:, None] / PRIOR.sum() * LIKELIHOOD / LIKELIHOOD[0].sum()  # p(z, x)
EVIDENCE = JOINT.sum(0)  # p(x)
EXACT = quantise_probabilities((JOINT / EVIDENCE).T, PRECISION)  # q(z|x) = p(z|x)
ROUGH = quantise_probabilities((JOINT / EVIDENCE).T + PRIOR / PRIOR.sum(), PRECISION)  # half exact, half the prior


def toy(posterior):
    return bb_ans(categorical(PRIOR), lambda z: categorical(LIKELIHOOD[z]), lambda x: categorical(posterior[x]))


def sample(size):
    return list(np.random.default_rng(3).choice(SYMBOLS, size, p=EVIDENCE / EVIDENCE.sum()))


def teller(log):
    """told(name, value): a codec that only tells what happens, and pops the value."""

    def told(name, value):
        def push(message, symbol):
            log.append(f"push {name} {symbol}")
            return message

        def pop(message):
            log.append(f"pop {name}")
            return message, value

        return Codec(push, pop)

    return told


def test_the_steps_are_those_of_the_paper():
    log = []
    told = teller(log)
    codec = bb_ans(told("p(z)", "z"), lambda z: told(f"p(x|{z})", "x"), lambda x: told(f"q(z|{x})", "z"))
    message = codec.push(Message.empty(), "x")
    assert log == ["pop q(z|x)", "push p(x|z) x", "push p(z) z"]
    log.clear()
    assert codec.pop(message) == (message, "x")
    assert log == ["pop p(z)", "pop p(x|z)", "push q(z|x) z"]


def test_the_steps_from_the_top_down():
    log = []
    told = teller(log)

    def model():
        b = yield told("p(b)", "b"), "b|"
        a = yield told(f"p(a|{b})", "a"), f"a|{b},"
        return told(f"p(x|{a},{b})", "x")

    codec = top_down(model, lambda x: lambda context: told(f"q({context}{x})", context[0]))
    message = codec.push(Message.empty(), "x")
    assert log == ["pop q(b|x)", "pop q(a|b,x)", "push p(x|a,b) x", "push p(a|b) a", "push p(b) b"]
    log.clear()
    assert codec.pop(message) == (message, "x")
    assert log == ["pop p(b)", "pop p(a|b)", "pop p(x|a,b)", "push q(a|b,x) a", "push q(b|x) b"]


@pytest.mark.parametrize("posterior", [EXACT, ROUGH], ids=["exact", "rough"])
def test_inverse(posterior):
    check_codec(repeat(toy(posterior), 200), sample(200))


def test_with_the_exact_posterior_the_length_is_that_of_the_evidence():
    """Whatever latents are chosen: -log2 p(x|z) p(z) / p(z|x) = -log2 p(x)."""
    data = sample(3000)
    net_bits = check_codec(repeat(toy(EXACT), len(data)), data)
    assert net_bits == pytest.approx(-np.log2(EVIDENCE[data]).sum(), rel=1e-4)


def test_length_is_the_negative_elbo():
    data = sample(20_000)
    q = ROUGH / ROUGH[0].sum()
    neg_elbo_bits = (q * (np.log2(q) - np.log2(JOINT.T))).sum(1)
    codec, message = toy(ROUGH), Message.random(np.random.default_rng(4), 10)
    initial_bits = message.bits
    for x in data:
        message = codec.push(message, x)
    assert message.bits - initial_bits == pytest.approx(neg_elbo_bits[data].sum(), rel=0.005)
    assert neg_elbo_bits[data].sum() > 1.04 * -np.log2(EVIDENCE[data]).sum()  # rough enough to tell them apart


def test_too_few_initial_bits():
    """An empty message cannot choose a latent; one word is enough for it."""
    codec = bb_ans(uniform(1 << 24), lambda z: uniform(2), lambda x: uniform(1 << 24))
    with pytest.raises(CorruptDataError, match="ran dry"):
        codec.push(Message.empty(), 1)
    check_codec(codec, 1, words=1)


def test_hierarchy():
    """Three latents, each dependent on all above it. With exact posteriors the length is that of the evidence."""
    rng = np.random.default_rng(5)
    sizes = (3, 4, 5)
    p1, p2, p3 = random_freqs(6, 3), random_freqs(7, 3, 4), random_freqs(8, 3, 4, 5)
    px = random_freqs(9, 3, 4, 5, SYMBOLS)
    joint = p1[:, None, None, None] * p2[:, :, None, None] * p3[..., None].astype(float) * px / 2.0 ** (4 * PRECISION)
    evidence = joint.sum((0, 1, 2))
    posterior = np.moveaxis(joint / evidence, -1, 0)  # (x, z3, z2, z1)
    q1 = quantise_probabilities(posterior.sum((2, 3)), PRECISION)
    q2 = quantise_probabilities(posterior.sum(3), PRECISION)
    q3 = quantise_probabilities(posterior, PRECISION)
    assert q3.shape == (SYMBOLS, *sizes)

    def model():
        a = yield categorical(p1), (q1,)
        b = yield categorical(p2[a]), (q2, a)
        c = yield categorical(p3[a, b]), (q3, a, b)
        return categorical(px[a, b, c])

    codec = top_down(model, lambda x: lambda context: categorical(context[0][(x, *context[1:])]))
    data = list(rng.choice(SYMBOLS, 2000, p=evidence / evidence.sum()))
    net_bits = check_codec(repeat(codec, len(data)), data)
    assert net_bits == pytest.approx(-np.log2(evidence[data]).sum(), rel=1e-3)


def one_latent(prior):
    def model():
        z = yield prior, None
        return categorical(LIKELIHOOD[z])

    return top_down(model, lambda x: lambda _: categorical(ROUGH[x]))


def test_a_hierarchy_of_one_is_bb_ans():
    one = one_latent(categorical(PRIOR))
    messages = [Message.random(np.random.default_rng(0), 20) for _ in range(2)]
    for x in sample(50):
        messages = [one.push(messages[0], x), toy(ROUGH).push(messages[1], x)]
    assert messages[0] == messages[1]


def test_a_state_goes_down_the_levels():
    """A top-down model that sums its latents up in a state; model and posterior run once for each push or pop."""
    runs = []

    def model():
        runs.append("p")
        state = 0
        for level in range(3):
            z = yield uniform(4), (level, state)
            state = state * 4 + z
        return logistic(64 * state, 40, 64)

    def posterior(x):
        runs.append("q")

        def q(context):
            level, state = context
            return logistic(64 * (int(x) >> 2 * (2 - level)) - 64 * 4 * state, 30, 4)

        return q

    codec = top_down(model, posterior)
    for x in range(64):
        check_codec(codec, x)
    assert runs == ["q", "p", "p", "q"] * 64


def test_a_hierarchy_without_latents_is_its_likelihood():
    def model():
        yield from ()
        return uniform(9)

    check_codec(top_down(model, lambda x: None), 4)


# Too few bits for a latent.


def test_the_steps_with_a_fallback():
    log, stored = [], []
    told = teller(log)

    def dry(message):
        raise CorruptDataError("dry")

    for posterior, steps in (
        (lambda x: told(f"q(z|{x})", "z"), ["pop q(z|x)", "push p(x|z) x", "push p(z) z"]),
        (lambda x: Codec(None, dry), ["push p(x|mode) x"]),
    ):
        codec = bb_ans_with_fallback(told("p(z)", "z"), lambda z: told(f"p(x|{z})", "x"), posterior, "mode", beside(stored))
        message = codec.push(Message.empty(), "x")
        assert (log, stored) == (steps, [len(steps) // 3])
        assert codec.pop(message) == (message, "x")
        assert stored == []
        log.clear()


def with_fallback(flag, rows=None):
    """z takes 24 bits."""
    shape = () if rows is None else (rows,)
    z = uniform(1 << 24, shape)
    return bb_ans_with_fallback(z, lambda z: uniform(2 + z % 7), lambda x: z, np.full(shape, 5)[()], flag)


@pytest.mark.parametrize("words", range(4))
def test_a_fallback_needs_no_initial_bits(words):
    codec = repeat(with_fallback(uniform(2)), 12)
    check_codec(codec, [1, 0] * 6, words=words)
    message = codec.push(Message.empty(), [1, 0] * 6)
    message, symbols = codec.pop(Message.from_bytes(message.to_bytes()))
    assert symbols == (1, 0) * 6
    assert message.is_initial()


def test_with_enough_bits_the_fallback_is_bb_ans():
    z = uniform(1 << 24)
    plain = bb_ans(z, lambda z: uniform(2 + z % 7), lambda x: z)
    message = with_fallback(uniform(2)).push(Message.primed(3), 1)
    assert message == uniform(2).push(plain.push(Message.primed(3), 1), 1)
    message = with_fallback(uniform(2)).push(Message.empty(), 1)
    assert message == uniform(2).push(uniform(2 + 5).push(Message.empty(), 1), 0)


@pytest.mark.parametrize("words", [(1, 1, 1), (1, 1, 0), (0, 1, 1)])
def test_one_message_with_too_few_bits_decides_for_its_batch(words):
    stored = []
    codec = with_fallback(beside(stored), 3)
    messages = [Message.primed(n) if n else Message.empty() for n in words]
    batch = codec.push(Batch([message.copy() for message in messages]), np.array([1, 0, 1]))
    assert stored == [int(all(words))]
    if not all(words):
        without = uniform(np.full(3, 2 + 5)).push(Batch([message.copy() for message in messages]), np.array([1, 0, 1]))
        assert list(batch.messages) == list(without.messages)
        assert [message.lowest for message in batch.messages] == list(words)
    batch, x = codec.pop(batch)
    assert x.tolist() == [1, 0, 1]
    assert list(batch.messages) == messages


def test_what_was_popped_is_put_back_even_where_a_posterior_pushes():
    """The posterior is bits-back itself, so its pop writes words before the message runs dry."""
    wide = uniform(1 << 31)
    posterior = repeat(bb_ans(repeat(wide, 3), lambda y: wide, lambda z: repeat(wide, 3)), 3)
    codec = bb_ans_with_fallback(posterior, lambda z: uniform(2), lambda x: posterior, (0, 0, 0), beside(stored := []))
    for words in range(9):
        before = Message.random(np.random.default_rng(words), words)
        message = codec.push(before.copy(), 1)
        assert stored == [int(words > 4)]
        if words <= 4:
            assert message == uniform(2).push(before.copy(), 1)
        assert codec.pop(message) == (before, 1)


# Chains of latents.


def test_the_steps_of_chains():
    log = []
    told = teller(log)
    model = (
        told("p(c)", "c"),
        [lambda a: told(f"p(x|{a})", "x"), lambda b: told(f"p(a|{b})", "a"), lambda c: told(f"p(b|{c})", "b")],
        [lambda x: told(f"q(a|{x})", "a"), lambda a: told(f"q(b|{a})", "b"), lambda b: told(f"q(c|{b})", "c")],
    )
    markov(*model).push(Message.empty(), "x")
    assert log == ["pop q(a|x)", "pop q(b|a)", "pop q(c|b)", "push p(x|a) x", "push p(a|b) a", "push p(b|c) b", "push p(c) c"]
    log.clear()
    assert markov(*model).pop(Message.empty())[1] == "x"
    assert log == ["pop p(c)", "pop p(b|c)", "pop p(a|b)", "pop p(x|a)", "push q(c|b) c", "push q(b|a) b", "push q(a|x) a"]
    log.clear()
    bit_swap(*model).push(Message.empty(), "x")
    assert log == ["pop q(a|x)", "push p(x|a) x", "pop q(b|a)", "push p(a|b) a", "pop q(c|b)", "push p(b|c) b", "push p(c) c"]
    log.clear()
    assert bit_swap(*model).pop(Message.empty())[1] == "x"
    assert log == ["pop p(c)", "pop p(b|c)", "push q(c|b) c", "pop p(a|b)", "push q(b|a) b", "pop p(x|a)", "push q(a|x) a"]


WIDTH, LEVELS, STEP = 40, 64, 2.0
VARIANCES = [25 + STEP**2 * steps for steps in range(4)]  # of z_3, z_2, z_1, x


def near(mean, variance):
    """Logistics about `mean`, of so many squared scales."""
    return logistic(np.rint(64 * mean).astype(int), round(16 * (np.log(variance) / 2 + 3)), LEVELS)


def walk(order, rows=None):
    """Random walks z_3 -> z_2 -> z_1 -> x, and the way back as it is for normal steps."""
    shape = (WIDTH,) if rows is None else (rows, WIDTH)

    def back(level):
        share = VARIANCES[level - 1] / VARIANCES[level]
        return lambda below: near(32 + share * (below - 32), share * STEP**2)

    return order(near(np.full(shape, 32), VARIANCES[0]), [lambda z: near(z, STEP**2)] * 3, [back(3), back(2), back(1)])


def walks(count):
    rng = np.random.default_rng(0)
    steps = rng.logistic(size=(4, count, WIDTH)) * np.array([5, STEP, STEP, STEP])[:, None, None]
    return np.clip(np.rint(32 + steps.sum(0)), 0, LEVELS - 1).astype(int)


@pytest.mark.parametrize("order", [markov, bit_swap])
def test_chains_take_batches(order):
    check_batch(lambda i: walk(order, None if isinstance(i, int) else 5), walks(5))


def test_interleaving_changes_the_initial_bits_and_not_the_length():
    data = walks(300)
    chains = {order: repeat(walk(order), len(data)) for order in (markov, bit_swap)}
    net_bits = [check_codec(codec, list(data)) for codec in chains.values()]
    assert net_bits[0] == pytest.approx(net_bits[1], rel=0.005)
    one_layer = -near(np.full(WIDTH, 32), 3.5).log_freqs(np.full(WIDTH, 32) + np.arange(WIDTH) % 8 - 4, False) / 65536
    initial_bits = [32 * (2000 - codec.push(Message.primed(2000), list(data)).lowest) for codec in chains.values()]
    assert initial_bits[0] == pytest.approx(3 * one_layer, rel=0.2)
    assert initial_bits[1] == pytest.approx(one_layer, rel=0.3)


def test_chains_of_one_and_of_none():
    for order in (markov, bit_swap):
        message, other = Message.primed(50), Message.primed(50)
        one = order(categorical(PRIOR), [lambda z: categorical(LIKELIHOOD[z])], [lambda x: categorical(ROUGH[x])])
        for x in sample(50):
            message, other = one.push(message, x), toy(ROUGH).push(other, x)
        assert message == other
        check_codec(order(uniform(9), [], []), 4)
        with pytest.raises(ValueError, match="1 likelihoods do not go with 0 posteriors"):
            order(uniform(2), [lambda z: uniform(2)], [])


@pytest.mark.parametrize("from_the_top", [False, True])
def test_one_latent_takes_batches(from_the_top):
    def codec_of(i):
        prior = categorical(PRIOR, () if isinstance(i, int) else (12,))
        if from_the_top:
            return one_latent(prior)
        return bb_ans(prior, lambda z: categorical(LIKELIHOOD[z]), lambda x: categorical(ROUGH[x]))

    check_batch(codec_of, np.array(sample(12)))
