"""Monte Carlo bits-back: bits-back coding whose net length is a tighter bound than the negative ELBO.

It pops K latents instead of one, the particles, and codes the data with one of them, chosen by weight: see
`importance_sampling`. See bbans.bitsback for all schemes, and for what they take.

Source: Y. Ruan, K. Ullrich, D. Severo, J. Townsend, A. Khisti, A. Doucet, A. Makhzani, C. J. Maddison, "Improving lossless
compression rates via Monte Carlo bits-back coding", ICML 2021.
"""

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import numpy as np

from bbans.ans import AnyMessage, Batch, Message, splitmix64
from bbans.bitsback import Conditional
from bbans.codecs import ArrayCodec, Codec, Intervals, categorical, uniform
from bbans.combinators import dependent
from bbans.tables import IntArray, freqs_from_log2

X = TypeVar("X")


def importance_sampling(
    prior: Codec[IntArray], likelihood: Conditional[IntArray, X], posterior: Conditional[X, IntArray], particles: int
) -> Codec[X]:
    """BB-IS: BB-ANS that pops K = `particles` latents and codes x with one of them, chosen by its weight.

    ::

        push x, downwards                                     pop x, upwards
    1   pop  z_1 .. z_K by q(z | x)                           push z_K .. z_1 by q(z | x)
    2   pop  k by w_k = p(x | z_k) p(z_k) / q(z_k | x)        push k by w_k
    3   push z_i by q(z | x), all i but k, the last first     pop  z_i by q(z | x), all i but k
    4   push x by p(x | z_k)                                  pop  x by p(x | z_k)
    5   push z_k by p(z)                                      pop  z_k by p(z)
    6   push k, uniform                                       pop  k, uniform

    The net length is -log2 of the mean weight, so its mean is the negative IWAE bound, which falls from the negative ELBO (for
    K = 1, where this is bb_ans to the bit) towards -log2 p(x). Step 1 needs initial bits for K latents; step 3 gives most of
    them back.

    log2 w_k is a sum of integers, log_freqs, and so the same in a batch and alone; tables.freqs_from_log2 makes freqs of k
    from it.

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
        return chosen_joint(message).push(message, (chosen, latent, data))

    def pop(message: AnyMessage) -> tuple[AnyMessage, X]:
        message, (chosen, latent, data) = chosen_joint(message).pop(message)
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
    """BB-CIS: importance_sampling whose K latents all come from one uniform draw s.

    ::

        push x, downwards                                     pop x, upwards
    1   pop  s, uniform; z_i = the z whose interval of        push s, uniform
             q(z | x) holds (s + c_i) mod 2**precision
    2   pop  k by w_k = p(x | z_k) p(z_k) / q(z_k | x)        push k by w_k
    3   push how far (s + c_k) mod 2**precision lies in       pop  that, uniform: s and so all z_i
             the interval of z_k, uniform
    4 .. 6   as importance_sampling

    A latent is an array of numbers; s, c_i and these steps are arrays alike. Each z_i on its own is a sample of q, so the net
    length is that of importance_sampling, but for the dependence of the samples. The initial bits are `precision` for each
    number of z, for any K.

    The shifts are constants: c_i of number d of the D in z is the first `precision` bits of value i D + d of splitmix64().

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
        return chosen_joint(message).push(message, (chosen, latent, data))

    def pop(message: AnyMessage) -> tuple[AnyMessage, X]:
        message, (chosen, latent, data) = chosen_joint(message).pop(message)
        q = posterior(data)
        intervals, shifts, mask = _coupling(q, particles, message)
        start, freq = intervals.locate(latent)
        message, offset = uniform(freq).pop(message)
        draw = (start + offset - shifts[chosen]) & mask
        latents = [intervals.search((draw + shift) & mask) for shift in shifts]
        message = _weighing(prior, likelihood, q, data, latents, message).push(message, chosen)
        return uniform(mask + 1, intervals.shape).push(message, draw), data

    return Codec(push, pop)


Particles = Callable[[Codec[Any], Conditional[Any, Any], Conditional[Any, Any], int], Codec[Any]]
PARTICLES: dict[str, Particles] = {"mcbits": importance_sampling, "mcbits-coupled": coupled_importance_sampling}
"""Schemes for one latent and a number of particles, by the names that files carry."""


def _check_particles(particles: int) -> None:
    if particles < 1:
        raise ValueError(f"Monte Carlo bits-back needs at least one particle, not {particles}")


def _chosen_joint(
    prior: Codec[IntArray], likelihood: Conditional[IntArray, X], particles: int
) -> Callable[[Message | Batch], Codec[Sequence[Any]]]:
    """Steps 4 to 6: (k, z_k, x) by p(k) p(z_k) p(x | z_k). k is a number for a Message, one for each message of a Batch."""

    @dependent
    def joint(message: Message | Batch) -> Generator[Codec[Any], Any, None]:
        yield uniform(particles, (len(message),) if isinstance(message, Batch) else ())
        latent = yield prior
        yield likelihood(latent)

    return joint


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
