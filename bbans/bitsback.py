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
bits*. They come back when x is popped, so they can be whatever has to be stored anyway (symbols pushed before). With
too few of them the pop raises CorruptDataError; nothing is invented. Message.random gives random ones, from an explicit
generator, for experiments.

All distributions here are codecs (bbans.codecs) or functions that return one.

Sources: J. Townsend, T. Bird, D. Barber, "Practical lossless compression with latent variables using bits back coding",
ICLR 2019; J. Townsend, T. Bird, J. Kunze, D. Barber, "HiLLoC: lossless image compression with hierarchical latent
variable models", ICLR 2020.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bbans.ans import Message
from bbans.codecs import Codec

Latents = tuple[Any, ...]


def bb_ans(prior: Codec, likelihood: Callable[[Any], Codec], posterior: Callable[[Any], Codec]) -> Codec:
    """The codec of data x under a model with one latent z.

    Args: prior p(z); likelihood(z) = p(x|z); posterior(x) = q(z|x), which must be the same codec whenever x is.
    Raises: CorruptDataError from push when the message holds fewer bits than z ~ q(z|x) needs.
    """

    def push(message: Message, data: Any) -> Message:
        message, latent = posterior(data).pop(message)
        message = likelihood(latent).push(message, data)
        return prior.push(message, latent)

    def pop(message: Message) -> tuple[Message, Any]:
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

    def push(message: Message, data: Any) -> Message:
        latents: Latents = ()
        for posterior in posteriors:
            message, latent = posterior(data, latents).pop(message)
            latents = (*latents, latent)
        message = likelihood(latents).push(message, data)
        for level in reversed(range(len(priors))):
            message = priors[level](latents[:level]).push(message, latents[level])
        return message

    def pop(message: Message) -> tuple[Message, Any]:
        latents: Latents = ()
        for prior in priors:
            message, latent = prior(latents).pop(message)
            latents = (*latents, latent)
        message, data = likelihood(latents).pop(message)
        for level in reversed(range(len(posteriors))):
            message = posteriors[level](data, latents[:level]).push(message, latents[level])
        return message, data

    return Codec(push, pop)
