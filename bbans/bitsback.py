"""Bits-back coding: models with latents as codecs.

A model with latents gives p(x) as a sum over z that is too long to compute. Bits-back pays for one z, and gets the bits
that chose it back::

        push x, downwards                            pop x, upwards
    1   pop  z by q(z | x)     + log2 q(z | x)       push z by q(z | x)
    2   push x by p(x | z)     - log2 p(x | z)       pop  x by p(x | z)
    3   push z by p(z)         - log2 p(z)           pop  z by p(z)

The middle column is what the message grows by, in bits; its mean over z ~ q(z|x) is the negative ELBO. The latents are
such samples as far as the bits that they are popped from look random. Bits of well-modelled data do. Those of a prior
that its latents do not follow (a bad posterior, or a decoder that ignores z) do not, and then the message is longer.

Step 1 pops before anything of x is on the message, so the message must hold about `-log2 q(z|x)` bits: the *initial
bits*. They come back when x is popped, so they can be whatever has to be stored anyway (symbols pushed before), or
those of Message.primed, which need not be stored beyond what is used of them. With too few the pop raises CorruptDataError;
nothing is invented.

The schemes::

    scheme                        latents        net length       initial bits
    bb_ans                        one            negative ELBO    those of z
    bb_ans_with_fallback          one, or none   negative ELBO    none: with too few it codes no z
    top_down                      L, top-down    negative ELBO    those of all L
    markov                        L, a chain     negative ELBO    those of all L
    bit_swap                      L, a chain     negative ELBO    those of about one
    importance_sampling           one            -IWAE-K bound    those of K latents             } bbans.montecarlo
    coupled_importance_sampling   one            about the same   `precision` for each number    }

All distributions here are codecs (bbans.codecs) or functions that return one. The schemes code on a Message or on a Batch; on
a Batch data and latents have a row for each message, and so have the codecs that the caller makes of them. A new scheme is
a function here that returns a codec; a line in CHAINS lets Markov models and their files choose it by name.

>>> import numpy as np
>>> from bbans.ans import Message
>>> from bbans.codecs import bernoulli, logistic
>>> codec = bb_ans(
...     prior=logistic(32 * 64, 64, 64),  # z in 0 .. 63
...     likelihood=lambda z: bernoulli([8 * (z - 32), 4 * (z - 32)]),  # two pixels that mostly are 1 where z is large
...     posterior=lambda x: logistic(32 * 64 + 300 * (2 * x - 1).sum(), 56, 64),
... )
>>> message = codec.push(Message.primed(words=1), np.array([1, 1]))
>>> message, x = codec.pop(message)
>>> x.tolist(), message.is_primed()
([1, 1], True)

Sources: J. Townsend, T. Bird, D. Barber, "Practical lossless compression with latent variables using bits back coding",
ICLR 2019; J. Townsend, T. Bird, J. Kunze, D. Barber, "HiLLoC: lossless image compression with hierarchical latent
variable models", ICLR 2020; F. H. Kingma, P. Abbeel, J. Ho, "Bit-Swap: recursive bits-back coding for lossless compression
with hierarchical latent variables", ICML 2019.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from bbans.ans import AnyMessage, Batch
from bbans.codecs import ArrayCodec, Codec
from bbans.combinators import dependent, mapped
from bbans.errors import CorruptDataError

C = TypeVar("C")
X = TypeVar("X")
Z = TypeVar("Z")
Conditional = Callable[[X], Codec[Z]]  # Conditional[X, Z]: the codec of z for a given x


def bb_ans(prior: Codec[Z], likelihood: Callable[[Z], Codec[X]], posterior: Callable[[X], Codec[Z]]) -> Codec[X]:
    """The codec of data x under a model with one latent z.

    Args: prior p(z); likelihood(z) = p(x|z); posterior(x) = q(z|x), which must be the same codec whenever x is.
    Raises: CorruptDataError from push when the message holds fewer bits than z ~ q(z|x) needs.
    """

    def push(message: AnyMessage, data: X) -> AnyMessage:
        message, latent = posterior(data).pop(message)
        message = likelihood(latent).push(message, data)
        return prior.push(message, latent)

    def pop(message: AnyMessage) -> tuple[AnyMessage, X]:
        message, latent = prior.pop(message)
        message, data = likelihood(latent).pop(message)
        return posterior(data).push(message, latent), data

    return Codec(push, pop)


def bb_ans_with_fallback(
    prior: Codec[Z],
    likelihood: Callable[[Z], Codec[X]],
    posterior: Callable[[X], Codec[Z]],
    fallback: Z,
    flag: Codec[int] | ArrayCodec,
) -> Codec[X]:
    """bb_ans that needs no initial bits: where the message holds too few for z, x is coded with `fallback`, and z not at all.

    ::

        push x                                      pop x
        pop  z by q(z | x)                          pop  the flag
        with enough bits                            if it is 1
            push x by p(x | z)                          pop  z by p(z)
            push z by p(z)                              pop  x by p(x | z)
            push 1 by flag                              push z by q(z | x)
        with too few, the message as before         if it is 0
            push x by p(x | fallback)                   pop  x by p(x | fallback)
            push 0 by flag

    Args: as bb_ans; fallback, for example the mode of the prior; flag, the codec of whether z is coded: uniform(2) puts it on
    the message, combinators.beside keeps it elsewhere. A Batch has one flag, 1 if each of its messages holds enough bits.
    """

    def push(message: AnyMessage, data: X) -> AnyMessage:
        message, latent, coded = _pop_if_enough(message, posterior(data), fallback)
        message = likelihood(latent).push(message, data)
        if coded:
            message = prior.push(message, latent)
        return flag.push(message, int(coded))

    def pop(message: AnyMessage) -> tuple[AnyMessage, X]:
        message, coded = flag.pop(message)
        latent = fallback
        if coded:
            message, latent = prior.pop(message)
        message, data = likelihood(latent).pop(message)
        if coded:
            message = posterior(data).push(message, latent)
        return message, data

    return Codec(push, pop)


def _pop_if_enough(message: AnyMessage, codec: Codec[Z], fallback: Z) -> tuple[AnyMessage, Z, bool]:
    """(message, symbol, True), or with too few bits for it (message as it was, fallback, False)."""
    messages = message.messages if isinstance(message, Batch) else [message]
    saved = [own.copy() for own in messages]
    try:
        message, symbol = codec.pop(message)
    except CorruptDataError:
        for own, before in zip(messages, saved, strict=True):
            own.restore(before)
        return message, fallback, False
    return message, symbol, True


def top_down(
    model: Callable[[], Generator[tuple[Codec[Z], C], Z, Codec[X]]], posterior: Callable[[X], Callable[[C], Codec[Z]]]
) -> Codec[X]:
    """The codec of data x under a model with latents z_L (top) .. z_1, in the top-down order of both p and q.

    ::

        p(x, z) = p(z_L) p(z_L-1 | z_L) .. p(z_1 | z_2 .. z_L) p(x | z)       z_L -> z_L-1 -> .. -> z_1 -> x
        q(z | x) = q(z_L | x) q(z_L-1 | z_L, x) .. q(z_1 | z_2 .. z_L, x)

        push x   pop z_L .. z_1, top first, by q; push x by p(x | z); push z_1 .. z_L, top last, by p

    so that pop meets every latent after those that it depends on.

    The model is a generator function. For each latent, from the top, it yields the prior and a context, which is what the
    posterior has to know of the latents above, and is sent the latent; at last it returns the likelihood. posterior(x) is a
    function of a context. Each push and pop calls both once. Where a state h sums up the latents, for example::

        def model():                                          def posterior(x):
            h = start                                             features = bottom_up(x)
            for layer in layers:                                  def q(context):
                z = yield layer.prior(h), (layer, h)                  layer, h = context
                h = layer.descend(h, z)                               return layer.posterior(h, features)
            return likelihood(h)                                  return q

    Raises: CorruptDataError from push when the message holds fewer bits than the latents need.
    """

    def descend(
        message: AnyMessage, choose: Callable[[Codec[Z], C], Codec[Z]]
    ) -> tuple[AnyMessage, list[tuple[Codec[Z], C, Z]], Codec[X]]:
        """Pop the latents: (message, (prior, context, latent) for each, likelihood)."""
        steps, latent = model(), None
        levels: list[tuple[Codec[Z], C, Z]] = []
        while True:
            try:
                prior, context = steps.send(latent)  # type: ignore[arg-type]  # the first is None
            except StopIteration as end:
                return message, levels, end.value
            message, latent = choose(prior, context).pop(message)
            levels.append((prior, context, latent))

    def push(message: AnyMessage, data: X) -> AnyMessage:
        q = posterior(data)
        message, levels, likelihood = descend(message, lambda prior, context: q(context))
        message = likelihood.push(message, data)
        for prior, _, latent in reversed(levels):
            message = prior.push(message, latent)
        return message

    def pop(message: AnyMessage) -> tuple[AnyMessage, X]:
        message, levels, likelihood = descend(message, lambda prior, context: prior)
        message, data = likelihood.pop(message)
        q = posterior(data)
        for _, context, latent in reversed(levels):
            message = q(context).push(message, latent)
        return message, data

    return Codec(push, pop)


def markov(prior: Codec[X], likelihoods: Sequence[Conditional[X, X]], posteriors: Sequence[Conditional[X, X]]) -> Codec[X]:
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
    if not likelihoods:
        return prior

    @dependent
    def downwards() -> Generator[Codec[X], X, None]:  # z_L .. z_1
        latent = yield prior
        for likelihood in reversed(likelihoods[1:]):
            latent = yield likelihood(latent)

    @dependent
    def upwards(data: X) -> Generator[Codec[X], X, None]:  # z_1 .. z_L
        for posterior in posteriors:
            data = yield posterior(data)

    def backwards(chain: Sequence[X]) -> Sequence[X]:
        return chain[::-1]

    return bb_ans(downwards(), lambda chain: likelihoods[0](chain[-1]), lambda x: mapped(upwards(x), backwards, backwards))


def bit_swap(prior: Codec[X], likelihoods: Sequence[Conditional[X, X]], posteriors: Sequence[Conditional[X, X]]) -> Codec[X]:
    """The codec of `markov` with the same arguments, its steps interleaved: BB-ANS whose prior is BB-ANS, and so on to the top.

    ::

        push x   pop z_1 by q(z_1 | x);   push x by p(x | z_1)
                 pop z_2 by q(z_2 | z_1); push z_1 by p(z_1 | z_2)
                 ..                       push z_L by p(z_L)

    What x puts on the message pays for z_2, what z_1 puts there for z_3, and so on: only z_1 needs initial bits, and z_l+1 those
    that it takes beyond what z_l-1 has brought. The net length is that of `markov`.

    Posteriors that go from the top down, as those of `top_down`, cannot be interleaved. Pop meets x last, after all latents, and
    has to push z_L, .., z_2 back by q in between, so these q's may not depend on what is popped later: only q(z_1 | x) may know
    x, and q(z_l+1 | z_l) knows z_l alone. From the top down, every q(z_l | above, x) knows x.
    """
    _check_pairs(likelihoods, posteriors)
    codec = prior
    for likelihood, posterior in zip(reversed(likelihoods), reversed(posteriors), strict=True):
        codec = bb_ans(codec, likelihood, posterior)
    return codec


Chain = Callable[[Codec[Any], Sequence[Conditional[Any, Any]], Sequence[Conditional[Any, Any]]], Codec[Any]]
CHAINS: dict[str, Chain] = {"bb-ans": markov, "bit-swap": bit_swap}
"""Schemes for a chain of latents, by the names that files carry."""


def _check_pairs(likelihoods: Sequence[object], posteriors: Sequence[object]) -> None:
    if len(likelihoods) != len(posteriors):
        raise ValueError(f"{len(likelihoods)} likelihoods do not go with {len(posteriors)} posteriors")
