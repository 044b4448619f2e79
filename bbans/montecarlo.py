"""Monte Carlo bits-back: bits-back coding whose net length is a tighter bound than the negative ELBO.

It pops K latents instead of one, the particles, and codes the data with one of them, chosen by weight: see
`importance_sampling`. See bbans.bitsback for all schemes, and for what they take.

Source: Y. Ruan, K. Ullrich, D. Severo, J. Townsend, A. Khisti, A. Doucet, A. Makhzani, C. J. Maddison, "Improving lossless
compression rates via Monte Carlo bits-back coding", ICML 2021.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bbans.ans import AnyMessage, Batch, Message, splitmix64
from bbans.bitsback import Conditional
from bbans.codecs import ArrayCodec, Codec, Intervals, categorical, uniform
from bbans.tables import IntArray, freqs_from_log2

X = TypeVar("X")


def importance_sampling(
    prior: Codec[IntArray], likelihood: Conditional[IntArray, X], posterior: Conditional[X, IntArray], particles: int
) -> Codec[X]:
    """BB-IS of Monte Carlo bits-back: BB-ANS that pops K = `particles` latents and codes x with one of them, chosen by weight.

    ::

        push x, downwards                                     pop x, upwards
    1   pop  z_1 .. z_K by q(z | x)                           push z_K .. z_1 by q(z | x)
    2   pop  k by w_k = p(x | z_k) p(z_k) / q(z_k | x)        push k by w_k
    3   push z_i by q(z | x), all i but k, the last first     pop  z_i by q(z | x), all i but k
    4   push x by p(x | z_k)                                  pop  x by p(x | z_k)
    5   push z_k by p(z)                                      pop  z_k by p(z)
    6   push k, all alike                                     pop  k

    The net length is -log2 of the mean weight, so its mean is the negative IWAE bound, which falls from the negative ELBO (K = 1,
    where this is bb_ans, to the bit) towards -log2 p(x). The K latents of step 1 need initial bits, most of which step 3 gives
    back.

    log2 w_k is the integer sum of log_freqs, so it is the same in a batch and alone, and tables.freqs_from_log2 makes k's
    freqs of it.

    Args: as bb_ans; the codecs must have log_freqs, and latents are arrays.
    Raises: CorruptDataError from push when the message holds fewer bits than the latents need.
    """
    _check_particles(particles)
    chosen_joint = _chosen_joint(prior, likelihood, particles)

    def push(message: AnyMessage, data: X) -> AnyMessage:
        q = posterior(data)
        latents = []
        for _ in range(particles):
            message, latent = q.pop(message)
            latents.append(latent)
        message, chosen = _weighing(prior, likelihood, q, data, latents, message).pop(message)
        stack = np.stack(latents)
        for j in reversed(range(particles - 1)):
            message = q.push(message, _pick(stack, j + (chosen <= j)))
        latent = _pick(stack, chosen)
        return chosen_joint.push(message, (data, latent, chosen))

    def pop(message: AnyMessage) -> tuple[AnyMessage, X]:
        message, (data, latent, chosen) = chosen_joint.pop(message)
        q = posterior(data)
        latents = [latent]
        for _ in range(particles - 1):
            message, other = q.pop(message)
            latents.append(other)
        stack = np.stack(latents)  # z_k, then the others
        latents = [_pick(stack, np.where(chosen == i, 0, i + (chosen > i))) for i in range(particles)]
        message = _weighing(prior, likelihood, q, data, latents, message).push(message, chosen)
        for latent in reversed(latents):
            message = q.push(message, latent)
        return message, data

    return Codec(push, pop)


def coupled_importance_sampling(
    prior: Codec[IntArray], likelihood: Conditional[IntArray, X], posterior: Conditional[X, IntArray], particles: int
) -> Codec[X]:
    """BB-CIS of Monte Carlo bits-back: importance_sampling whose K latents all come from one uniform draw s.

    ::

        push x, downwards                                     pop x, upwards
    1   pop  s, all alike; z_i = the z whose interval of      push s
             q(z | x) holds (s + c_i) mod 2**precision
    2   pop  k by w_k = p(x | z_k) p(z_k) / q(z_k | x)        push k by w_k
    3   push the place of (s + c_k) mod 2**precision in       pop  it: s, and so all z_i, are known
             the interval of z_k, all alike
    4 .. 6   as importance_sampling

    Every latent is an array of numbers, and s, c_i and these steps are arrays as well. Each z_i alone is a sample of q, so the net
    length is that of importance_sampling but for the dependence of samples; at the same time the initial bits are `precision`
    for each number of z, whatever K is.

    The shifts are constants: c_i of number d of D in z is the first `precision` bits of value i D + d of splitmix64().

    Args: as importance_sampling; the codecs of the posterior must be ArrayCodecs, which have intervals.
    """
    _check_particles(particles)
    chosen_joint = _chosen_joint(prior, likelihood, particles)

    def push(message: AnyMessage, data: X) -> AnyMessage:
        q = posterior(data)
        intervals, shifts, mask = _coupling(q, particles, message)
        message, draw = uniform(mask + 1, intervals.shape).pop(message)
        latents = [intervals.search((draw + shift) & mask) for shift in shifts]
        message, chosen = _weighing(prior, likelihood, q, data, latents, message).pop(message)
        latent = _pick(np.stack(latents), chosen)
        start, freq = intervals.locate(latent)
        message = uniform(freq).push(message, ((draw + shifts[chosen]) & mask) - start)
        return chosen_joint.push(message, (data, latent, chosen))

    def pop(message: AnyMessage) -> tuple[AnyMessage, X]:
        message, (data, latent, chosen) = chosen_joint.pop(message)
        q = posterior(data)
        intervals, shifts, mask = _coupling(q, particles, message)
        start, freq = intervals.locate(latent)
        message, place = uniform(freq).pop(message)
        draw = (start + place - shifts[chosen]) & mask
        latents = [intervals.search((draw + shift) & mask) for shift in shifts]
        message = _weighing(prior, likelihood, q, data, latents, message).push(message, chosen)
        return uniform(mask + 1, intervals.shape).push(message, draw), data

    return Codec(push, pop)


def _check_particles(particles: int) -> None:
    if particles < 1:
        raise ValueError(f"Monte Carlo bits-back needs at least one particle, not {particles}")


def _chosen_joint(
    prior: Codec[IntArray], likelihood: Conditional[IntArray, X], particles: int
) -> Codec[tuple[X, IntArray, IntArray]]:
    """Steps 4 to 6: (x, z_k, k) by p(k) p(z_k) p(x | z_k). k is a number for a Message, one for each message of a Batch."""

    def index(message: Message | Batch) -> ArrayCodec:
        return uniform(particles, (len(message),) if isinstance(message, Batch) else ())

    def push(message: AnyMessage, symbol: tuple[X, IntArray, IntArray]) -> AnyMessage:
        data, latent, chosen = symbol
        message = likelihood(latent).push(message, data)
        message = prior.push(message, latent)
        return index(message).push(message, chosen)

    def pop(message: AnyMessage) -> tuple[AnyMessage, tuple[X, IntArray, IntArray]]:
        message, chosen = index(message).pop(message)
        message, latent = prior.pop(message)
        message, data = likelihood(latent).pop(message)
        return message, (data, latent, chosen)

    return Codec(push, pop)


def _weighing(
    prior: Codec[IntArray],
    likelihood: Conditional[IntArray, X],
    posterior: Codec[IntArray],
    data: X,
    latents: Sequence[IntArray],
    message: Message | Batch,
) -> ArrayCodec:
    """q(k | z_1 .. z_K, x), in proportion to p(x | z_k) p(z_k) / q(z_k | x)."""
    rows = isinstance(message, Batch)
    logs = [prior.log_freqs(z, rows) + likelihood(z).log_freqs(data, rows) - posterior.log_freqs(z, rows) for z in latents]
    return categorical(freqs_from_log2(np.stack(logs, -1)))


def _coupling(posterior: Codec[IntArray], particles: int, message: Message | Batch) -> tuple[Intervals, IntArray, int]:
    """(intervals of the posterior, shifts c_i (K, *shape of z without rows), 2**precision - 1)."""
    if not isinstance(posterior, ArrayCodec):
        raise ValueError("coupled importance sampling shifts latents, so its posterior is an ArrayCodec, which has intervals")
    intervals = posterior.intervals
    shape = intervals.shape[1:] if isinstance(message, Batch) else intervals.shape
    values = splitmix64(particles * math.prod(shape)) >> np.uint64(64 - intervals.precision)
    return intervals, values.astype(np.int64).reshape(particles, *shape), (1 << intervals.precision) - 1


def _pick(stack: IntArray, index: IntArray) -> IntArray:
    """stack[index] of latents (K, ..), or for indices (rows,) the row r of stack[index[r]], (K, rows, ..)."""
    return stack[index, np.arange(len(index))] if np.ndim(index) else stack[index]
