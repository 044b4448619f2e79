"""Monte Carlo bits-back: exact inverses, lengths that are the IWAE bounds, initial bits."""

import functools
import itertools
import math

import numpy as np
import pytest

from bbans.ans import Batch, Message
from bbans.bitsback import bb_ans
from bbans.codecs import Codec, bernoulli, categorical, logistic, uniform
from bbans.combinators import serial
from bbans.errors import CorruptDataError
from bbans.montecarlo import coupled_importance_sampling, importance_sampling
from bbans.tables import quantise_probabilities
from tests.checks import check_batch, check_codec

SCHEMES = {"independent": importance_sampling, "coupled": coupled_importance_sampling}

# A toy whose sums can be done: two latents of 5 values, one datum of 8.

PRECISION, LATENTS, SYMBOLS = 20, 5, 8
RNG = np.random.default_rng(0)
PRIOR = quantise_probabilities(RNG.random((2, LATENTS)), PRECISION)
LIKELIHOOD = quantise_probabilities(RNG.random((LATENTS, LATENTS, SYMBOLS)) ** 4 + 0.01, PRECISION)
P_Z = PRIOR[0][:, None] * PRIOR[1] / 2.0 ** (2 * PRECISION)
P_XZ = P_Z[..., None] * LIKELIHOOD / 2.0**PRECISION  # (z, z, x)
EVIDENCE = P_XZ.sum((0, 1))
MARGINALS = np.stack([P_XZ.sum(1).T, P_XZ.sum(0).T], 1) / EVIDENCE[:, None, None]  # of p(z | x), (x, 2, z)
POSTERIOR = quantise_probabilities(MARGINALS + 0.2, PRECISION)
Q = POSTERIOR[:, 0, :, None] * POSTERIOR[:, 1, None, :] / 2.0 ** (2 * PRECISION)  # (x, z, z)


def toy(scheme, rows, *particles):
    """For a Batch of so many messages, or a Message, rows None."""
    shape = () if rows is None else (rows,)
    prior = categorical(np.broadcast_to(PRIOR, (*shape, 2, LATENTS)))
    return scheme(prior, lambda z: categorical(LIKELIHOOD[z[..., 0], z[..., 1]]), lambda x: categorical(POSTERIOR[x]), *particles)


def toy_of(scheme, particles):
    return lambda i: toy(scheme, None if isinstance(i, int) else i.stop - i.start, particles)


def iwae_bits(x, particles):
    """The exact mean of -log2 of the mean weight, over all multisets of latents."""
    q, weights = Q[x].reshape(-1), (P_XZ[..., x] / Q[x]).reshape(-1)
    total = 0.0
    for chosen in itertools.combinations_with_replacement(range(len(q)), particles):
        counts = np.bincount(chosen, minlength=len(q))
        ways = math.factorial(particles) / math.prod(math.factorial(c) for c in counts)
        total -= ways * np.prod(q**counts) * np.log2(weights[list(chosen)].mean())
    return total


@functools.cache
def net_bits(name, particles, rows=6000):
    """Bits a datum of data that follow the model, and the data's shares.

    Each is alone on its message: in a chain z would be popped from bits that a prior has left which this bad posterior does not
    match on average, and such bits are not random (see bbans.bitsback).
    """
    rng = np.random.default_rng(5)
    data = rng.choice(SYMBOLS, rows, p=EVIDENCE / EVIDENCE.sum())
    scheme = bb_ans if name == "bb_ans" else SCHEMES[name]
    codec = toy(scheme, rows, *([particles] if particles else []))
    batch = Batch([Message.primed(40, seed=i) for i in range(rows)])
    before = sum(message.bits for message in batch.messages)
    batch = codec.push(batch, data)
    bits = sum(message.bits for message in batch.messages) - before
    return bits / rows, np.bincount(data, minlength=SYMBOLS) / rows


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("particles", [1, 2, 7])
def test_inverse(name, particles):
    rng = np.random.default_rng(0)
    codec = toy(SCHEMES[name], None, particles)
    check_codec(serial([codec] * 30), list(rng.integers(0, SYMBOLS, 30)))
    check_batch(toy_of(SCHEMES[name], particles), rng.integers(0, SYMBOLS, 12))


@pytest.mark.parametrize("particles", [1, 2, 3])
def test_the_mean_length_is_the_bound(particles):
    measured, shares = net_bits("independent", particles)
    exact = sum(share * iwae_bits(x, particles) for x, share in enumerate(shares))
    assert measured == pytest.approx(exact, rel=0.015)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_length_falls_to_the_evidence(name):
    lengths = [net_bits(name, particles)[0] for particles in (1, 3, 8, 20)]
    shares = net_bits(name, 1)[1]
    evidence = -(shares * np.log2(EVIDENCE)).sum()
    overheads = np.array(lengths) - evidence
    assert overheads[0] > 0.1 * evidence
    assert np.all(overheads[1:] < 0.7 * overheads[:-1])
    assert abs(overheads[-1]) < 0.02 * evidence


def test_one_particle_is_bb_ans():
    """Independent: to the bit. Coupled: in length."""
    assert net_bits("independent", 1)[0] == net_bits("bb_ans", 0)[0]
    message, other = Message.primed(90), Message.primed(90)
    for x in range(SYMBOLS):
        message, other = toy(importance_sampling, None, 1).push(message, x), toy(bb_ans, None).push(other, x)
    assert message == other
    assert net_bits("coupled", 1)[0] == pytest.approx(net_bits("bb_ans", 0)[0], rel=0.015)


# Images of a linear model: many latents and pixels.

WIDE = 30
PROJECTION = np.random.default_rng(1).integers(-4, 5, (WIDE, 200))


def images(scheme, rows, particles):
    shape = (WIDE,) if rows is None else (rows, WIDE)
    return scheme(
        logistic(np.full(shape, 32 * 64), 64, 64),
        lambda z: bernoulli((z - 32) @ PROJECTION),
        lambda x: logistic(32 * 64 + (2 * x - 1) @ PROJECTION.T * 8, 40, 64),
        particles,
    )


def sample_images(count):
    rng = np.random.default_rng(2)
    logits = np.rint(np.clip(rng.logistic(size=(count, WIDE)) * np.e, -32, 31)) @ PROJECTION
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits / 64))).astype(int)


@pytest.mark.parametrize("name", SCHEMES)
def test_images(name):
    x = sample_images(6)
    check_batch(lambda i: images(SCHEMES[name], None if isinstance(i, int) else 6, 5), x)


def test_initial_bits():
    """Independent particles need theirs one by one, coupled ones once."""
    x, used = sample_images(1)[0], {}
    for name, particles in itertools.product(SCHEMES, (2, 10, 40)):
        message = images(SCHEMES[name], None, particles).push(Message.primed(2000), x)
        used[name, particles] = 32 * (2000 - message.lowest)
        message, popped = images(SCHEMES[name], None, particles).pop(message.drop_untouched())
        assert np.array_equal(popped, x)
        assert message.is_primed()
        with pytest.raises(CorruptDataError, match="ran dry"):
            images(SCHEMES[name], None, particles).push(Message.primed(used[name, particles] // 32 - 1), x)
    one = (used["independent", 40] - used["independent", 2]) / 38  # the bits of a latent
    assert 2 * WIDE < one < 5 * WIDE
    for particles in (2, 10, 40):
        assert used["independent", particles] == pytest.approx(particles * one, rel=0.1, abs=40)
        assert 24 * WIDE - 32 <= used["coupled", particles] <= 24 * WIDE + 32


def test_foreign_words_never_crash():
    for name in SCHEMES:
        for seed in range(20):
            message, x = images(SCHEMES[name], None, 3).pop(Message.primed(300, seed=seed))
            assert set(x.tolist()) <= {0, 1}
            assert not message.is_primed(seed)


def test_what_cannot_be_weighed_or_shifted():
    plain = uniform(4, (2,))
    for scheme in SCHEMES.values():
        with pytest.raises(ValueError, match="at least one"):
            scheme(plain, lambda z: plain, lambda x: plain, 0)
        unweighed = Codec(plain.push, plain.pop)
        with pytest.raises(ValueError, match="log_freqs"):
            scheme(unweighed, lambda z: plain, lambda x: plain, 2).push(Message.primed(50), [1, 2])
    codec = coupled_importance_sampling(plain, lambda z: plain, lambda x: Codec(plain.push, plain.pop, plain.log_freqs), 2)
    with pytest.raises(ValueError, match="intervals"):
        codec.push(Message.primed(50), [1, 2])
