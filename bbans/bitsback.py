"""Bits-back coding: latent-variable models as codecs.

A model with latents gives p(x) as a sum over z that is too long to compute. Bits-back pays for one z, and gets the bits
that chose it back::

        push x, downwards                            pop x, upwards
    1   pop  z by q(z | x)     + log2 q(z | x)       push z by q(z | x)
    2   push x by p(x | z)     - log2 p(x | z)       pop  x by p(x | z)
    3   push z by p(z)         - log2 p(z)           pop  z by p(z)

The middle column is what the message grows by, in bits; its mean over z ~ q(z|x) is the negative ELBO. The latents are
such samples as far as the bits that they are popped from look random. Bits of well-modelled data do; those of a prior
that its latents do not follow (a bad posterior, or a decoder that ignores z) do not, and then the message is longer.

Step 1 pops before anything of x is on the message, so the message must hold about ``-log2 q(z|x)`` bits: the *initial
bits*. They come back when x is popped, so they can be whatever has to be stored anyway (symbols pushed before), or
those of Message.primed, which need not be stored beyond what is used of them. With too few the pop raises CorruptDataError;
nothing is invented.

========================================  ==========================  =====================  ================================
scheme                                    latents                     net length             initial bits
========================================  ==========================  =====================  ================================
bb_ans                                    one                         negative ELBO          those of z
hierarchical                              L, top-down                 negative ELBO          those of all L
markov                                    L, a chain                  negative ELBO          those of all L
bit_swap                                  L, a chain                  negative ELBO          those of about one
importance_sampling                       one                         -IWAE-K bound          those of K latents
coupled_importance_sampling               one                         about the same         `precision` bits for each number
========================================  ==========================  =====================  ================================

All distributions here are codecs (bbans.codecs) or functions that return one. The schemes code on a Message or on a Batch; on
a Batch data and latents have a row for each message, and so have the codecs that the caller makes of them.

Sources: J. Townsend, T. Bird, D. Barber, "Practical lossless compression with latent variables using bits back coding",
ICLR 2019; J. Townsend, T. Bird, J. Kunze, D. Barber, "HiLLoC: lossless image compression with hierarchical latent
variable models", ICLR 2020; F. H. Kingma, P. Abbeel, J. Ho, "Bit-Swap: recursive bits-back coding for lossless compression
with hierarchical latent variables", ICML 2019; Y. Ruan, K. Ullrich, D. Severo, J. Townsend, A. Khisti, A. Doucet,
A. Makhzani, C. J. Maddison, "Improving lossless compression rates via Monte Carlo bits-back coding", ICML 2021.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bbans.ans import AnyMessage, Batch, splitmix64
from bbans.codecs import Codec, Intervals, categorical, uniform
from bbans.tables import IntArray, freqs_from_log2

Latents = tuple[Any, ...]
Conditional = Callable[[Any], Codec]


def bb_ans(prior: Codec, likelihood: Conditional, posterior: Conditional) -> Codec:
    """The codec of data x under a model with one latent z.

    Args: prior p(z); likelihood(z) = p(x|z); posterior(x) = q(z|x), which must be the same codec whenever x is.
    Raises: CorruptDataError from push when the message holds fewer bits than z ~ q(z|x) needs.
    """

    def push(message: AnyMessage, data: Any) -> AnyMessage:
        message, latent = posterior(data).pop(message)
        message = likelihood(latent).push(message, data)
        return prior.push(message, latent)

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        message, latent = prior.pop(message)
        message, data = likelihood(latent).pop(message)
        return posterior(data).push(message, latent), data

    return Codec(push, pop)


def hierarchical(
    priors: Sequence[Callable[[Latents], Codec]],
    likelihood: Callable[[Latents], Codec],
    posteriors: Sequence[Callable[[Any, Latents], Codec]],
) -> Codec:
    """The codec of data x under a model with latents z_L (top) .. z_1, in the top-down order of both p and q.

    ::

        p(x, z) = p(z_L) p(z_L-1 | z_L) .. p(z_1 | z_2 .. z_L) p(x | z)       z_L -> z_L-1 -> .. -> z_1 -> x
        q(z | x) = q(z_L | x) q(z_L-1 | z_L, x) .. q(z_1 | z_2 .. z_L, x)

        push x   pop z_L .. z_1, top first, by q; push x by p(x | z); push z_1 .. z_L, top last, by p

    so that pop meets every latent after those that it hangs on.

    Args, all top first: priors[l](above) = p(z | above), likelihood(latents) = p(x | z), posteriors[l](x, above) = q(z
    | above, x), where `above` is the tuple of the latents before it.
    Raises: CorruptDataError from push when the message holds fewer bits than the latents need.
    """
    if len(priors) != len(posteriors):
        raise ValueError(f"{len(priors)} priors do not go with {len(posteriors)} posteriors")

    def push(message: AnyMessage, data: Any) -> AnyMessage:
        latents: Latents = ()
        for posterior in posteriors:
            message, latent = posterior(data, latents).pop(message)
            latents = (*latents, latent)
        message = likelihood(latents).push(message, data)
        for level in reversed(range(len(priors))):
            message = priors[level](latents[:level]).push(message, latents[level])
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        latents: Latents = ()
        for prior in priors:
            message, latent = prior(latents).pop(message)
            latents = (*latents, latent)
        message, data = likelihood(latents).pop(message)
        for level in reversed(range(len(posteriors))):
            message = posteriors[level](data, latents[:level]).push(message, latents[level])
        return message, data

    return Codec(push, pop)


def markov(prior: Codec, likelihoods: Sequence[Conditional], posteriors: Sequence[Conditional]) -> Codec:
    """The codec of data x under a model whose latents z_1 .. z_L (top) are a chain in p and in q, in BB-ANS order.

    ::

        p(x, z) = p(z_L) p(z_L-1 | z_L) .. p(z_1 | z_2) p(x | z_1)            z_L -> .. -> z_1 -> x
        q(z | x) = q(z_1 | x) q(z_2 | z_1) .. q(z_L | z_L-1)                  x -> z_1 -> .. -> z_L

        push x   pop z_1 .. z_L by q; push x by p(x | z_1), z_1 by p(z_1 | z_2), .., z_L by p(z_L)

    Args: prior p(z_L); likelihoods[0](z_1) = p(x | z_1), likelihoods[l](z_l+1) = p(z_l | z_l+1); posteriors[0](x) = q(z_1 | x),
    posteriors[l](z_l) = q(z_l+1 | z_l).
    Raises: CorruptDataError from push when the message holds fewer bits than the latents need.
    """
    _check_pairs(likelihoods, posteriors)

    def push(message: AnyMessage, data: Any) -> AnyMessage:
        chain = [data]
        for posterior in posteriors:
            message, latent = posterior(chain[-1]).pop(message)
            chain.append(latent)
        for likelihood, symbol, above in zip(likelihoods, chain[:-1], chain[1:], strict=True):
            message = likelihood(above).push(message, symbol)
        return prior.push(message, chain[-1])

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        message, latent = prior.pop(message)
        chain = [latent]
        for likelihood in reversed(likelihoods):
            message, symbol = likelihood(chain[-1]).pop(message)
            chain.append(symbol)
        for posterior, latent, below in zip(reversed(posteriors), chain[:-1], chain[1:], strict=True):
            message = posterior(below).push(message, latent)
        return message, chain[-1]

    return Codec(push, pop)


def bit_swap(prior: Codec, likelihoods: Sequence[Conditional], posteriors: Sequence[Conditional]) -> Codec:
    """The codec of `markov` with the same arguments, its steps interleaved: BB-ANS whose prior is BB-ANS, and so on to the top.

    ::

        push x   pop z_1 by q(z_1 | x);   push x by p(x | z_1)
                 pop z_2 by q(z_2 | z_1); push z_1 by p(z_1 | z_2)
                 ..                       push z_L by p(z_L)

    What x puts on the message pays for z_2, z_1 for z_3, so only z_1 needs initial bits, and z_l+1 those that it takes more
    than z_l-1 has brought. The net length is that of `markov`.

    A posterior in the top-down order of `hierarchical` cannot be interleaved. Whoever pops meets x last, after all latents,
    and has to push z_L, .., z_2 back by q in between, so these q's may look at nothing that is popped later: only q(z_1 | x) may
    know x, q(z_l+1 | z_l) knows z_l alone. Top-down, every q(z_l | above, x) knows x.
    """
    _check_pairs(likelihoods, posteriors)
    codec = prior
    for likelihood, posterior in zip(reversed(likelihoods), reversed(posteriors), strict=True):
        codec = bb_ans(codec, likelihood, posterior)
    return codec


def importance_sampling(prior: Codec, likelihood: Conditional, posterior: Conditional, particles: int) -> Codec:
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

    Args: as bb_ans, whose codecs must have log_freqs; latents are arrays.
    Raises: CorruptDataError from push when the message holds fewer bits than the latents need.
    """
    _check_particles(particles)
    chosen_joint = _chosen_joint(prior, likelihood, particles)

    def push(message: AnyMessage, data: Any) -> AnyMessage:
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

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
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


def coupled_importance_sampling(prior: Codec, likelihood: Conditional, posterior: Conditional, particles: int) -> Codec:
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

    Args: as importance_sampling; the codecs of the posterior must also have intervals, as array codecs have.
    """
    _check_particles(particles)
    chosen_joint = _chosen_joint(prior, likelihood, particles)

    def push(message: AnyMessage, data: Any) -> AnyMessage:
        q = posterior(data)
        intervals, shifts, mask = _coupling(q, particles, message)
        message, draw = uniform(mask + 1, intervals.shape).pop(message)
        latents = [intervals.search((draw + shift) & mask) for shift in shifts]
        message, chosen = _weighing(prior, likelihood, q, data, latents, message).pop(message)
        latent = _pick(np.stack(latents), chosen)
        start, freq = intervals.locate(latent)
        message = uniform(freq).push(message, ((draw + shifts[chosen]) & mask) - start)
        return chosen_joint.push(message, (data, latent, chosen))

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
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


def _check_pairs(likelihoods: Sequence[Conditional], posteriors: Sequence[Conditional]) -> None:
    if len(likelihoods) != len(posteriors):
        raise ValueError(f"{len(likelihoods)} likelihoods do not go with {len(posteriors)} posteriors")


def _check_particles(particles: int) -> None:
    if particles < 1:
        raise ValueError(f"Monte Carlo bits-back needs at least one particle, not {particles}")


def _chosen_joint(prior: Codec, likelihood: Conditional, particles: int) -> Codec:
    """Steps 4 to 6: (x, z_k, k) by p(k) p(z_k) p(x | z_k). k is a number for a Message, one for each message of a Batch."""

    def index(message: AnyMessage) -> Codec:
        return uniform(particles, (len(message),) if isinstance(message, Batch) else ())

    def push(message: AnyMessage, symbol: Any) -> AnyMessage:
        data, latent, chosen = symbol
        message = likelihood(latent).push(message, data)
        message = prior.push(message, latent)
        return index(message).push(message, chosen)

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        message, chosen = index(message).pop(message)
        message, latent = prior.pop(message)
        message, data = likelihood(latent).pop(message)
        return message, (data, latent, chosen)

    return Codec(push, pop)


def _weighing(
    prior: Codec, likelihood: Conditional, posterior: Codec, data: Any, latents: Sequence[Any], message: AnyMessage
) -> Codec:
    """q(k | z_1 .. z_K, x), in proportion to p(x | z_k) p(z_k) / q(z_k | x)."""
    rows = isinstance(message, Batch)

    def log2(codec: Codec, symbol: Any) -> Any:
        if codec.log_freqs is None:
            raise ValueError("Monte Carlo bits-back weighs latents, and a codec that it was given has no log_freqs")
        return codec.log_freqs(symbol, rows)

    logs = [log2(prior, z) + log2(likelihood(z), data) - log2(posterior, z) for z in latents]
    return categorical(freqs_from_log2(np.stack(logs, -1)))


def _coupling(posterior: Codec, particles: int, message: AnyMessage) -> tuple[Intervals, IntArray, int]:
    """(intervals of the posterior, shifts c_i (K, *shape of z without rows), 2**precision - 1)."""
    intervals = posterior.intervals
    if intervals is None:
        raise ValueError("coupled importance sampling shifts latents, and its posterior is a codec that has no intervals")
    shape = intervals.shape[1:] if isinstance(message, Batch) else intervals.shape
    values = splitmix64(particles * math.prod(shape)) >> np.uint64(64 - intervals.precision)
    return intervals, values.astype(np.int64).reshape(particles, *shape), (1 << intervals.precision) - 1


def _pick(stack: IntArray, index: Any) -> Any:
    """stack[index] of latents (K, ..), or for indices (rows,) the row r of stack[index[r]], (K, rows, ..)."""
    return stack[index, np.arange(len(index))] if np.ndim(index) else stack[index]
