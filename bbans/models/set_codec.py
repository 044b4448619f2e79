"""Sets of small images to messages by bits-back coding, and back: a model, a scheme, and chunks in lockstep.

::

    images   0 1 2 .. M-1 | M .. 2M-1 | 2M .. N-1        a chunk is one message on which its images are chained
    step t   image t of every chunk at the same time: the networks see a batch, each message only its own image

A chunk's images are pushed last first, so that the first comes back first. Its initial bits are those of Message.primed, of which
only those that were touched are kept; when all images are popped, they must be what is left: a check.

Schemes, by the names that files carry (see bbans.bitsback):

=========================  =====================================================
bb-ans                     Markov models: all latents are drawn, then all is pushed
bit-swap                   Markov models, a layer at a time: initial bits of one layer
top-down                   top-down models
mcbits-K                   Markov models of one layer: importance sampling with K particles
mcbits-coupled-K           the same with particles from one draw
=========================  =====================================================
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bbans import bitsback, montecarlo
from bbans.accounting import Accounting
from bbans.ans import AnyMessage, Batch, Message
from bbans.codecs import Codec, logistic
from bbans.errors import CorruptDataError, ModelError
from bbans.exact.network import IntConv
from bbans.exact.runtime import coding, cores, first_exact, own_thread
from bbans.models import small_kernels as kernels
from bbans.models.families import FAMILIES
from bbans.models.small_layout import LATENT_LEVELS, SmallConfig, TopDownConfig, from_json
from bbans.models.small_network import MAX_BATCH, Latent, MarkovNetwork, Samples, SmallNetwork, TopDownNetwork, batch_size, padded
from bbans.models.weights import Weights
from bbans.tables import exp_table, inverse_scales, log2_table, logistic_table

Tables = tuple[NDArray[np.int64], ...]
Layers = tuple[NDArray[np.float32], ...]

_LATENT_BITS = 64  # of a message, for each latent and particle: more than any draw takes
_NO_LAYERS: Layers = tuple(np.zeros(shape, np.float32) for shape in ((1, 1), 1, (0, 1, 1), (0, 1), (1, 1), 1))


Compose = Callable[[Codec[Any], Sequence[bitsback.Conditional[Any, Any]], Sequence[bitsback.Conditional[Any, Any]]], Codec[Any]]
"""(p(z_L), likelihoods, posteriors) to the codec of a Markov model, as bbans.bitsback.markov takes them."""

_CHAINS: dict[str, Compose] = {"bb-ans": bitsback.markov, "bit-swap": bitsback.bit_swap}


@dataclass
class SetEncoded:
    """The messages of a set's chunks, and where their bits went."""

    messages: list[bytes]
    accounting: Accounting


class Model(Protocol):
    """A model with a scheme: the codec of a batch of images (B, H, W, C), one on each message."""

    def codec(self, meter: Meter) -> Codec[Any]: ...


class SetCodec:
    """Encoder and decoder of sets of images of one shape.

    Args:
        weights: what the model was made of; files name its id and hash.
        config: what images it takes.
        model: the networks on the backend to use, with a scheme.
        scheme: the scheme's name.
        particles: how many draws of all latents the scheme makes.
    """

    def __init__(self, weights: Weights, config: SmallConfig, model: Model, scheme: str, particles: int, threads: int) -> None:
        self.id, self.weights_hash, self.scheme = weights.id, weights.hash, scheme
        self.shape, self.symbols = config.shape, config.symbols
        self._model, self._threads = model, threads
        self._primed_words = 64 + config.latent_count * _LATENT_BITS * particles // 32

    def encode(self, images: Samples, chunk: int) -> SetEncoded:
        """The messages of chunks of `chunk` images each; the last may have fewer. Inverse: decode.

        Shapes: images (N, H, W, C) of 0 .. symbols - 1. Raises: ValueError for others.
        """
        if images.shape[1:] != self.shape or images.dtype != np.uint8 or not len(images) or chunk < 1:
            raise ValueError(f"the model '{self.id}' takes images of shape {self.shape}, not {images.dtype} {images.shape}")
        if int(images.max()) >= self.symbols:
            raise ValueError(f"the model '{self.id}' takes samples 0 .. {self.symbols - 1}")
        starts = range(0, len(images), chunk)
        messages = [Message.primed(self._primed_words) for _ in starts]
        primed = bits_of(messages[0])
        lengths = [min(chunk, len(images) - start) for start in starts]

        def encode(first: int, last: int) -> Meter:
            meter = Meter()
            codec = self._model.codec(meter)
            for step in reversed(range(lengths[first])):
                active = _active(lengths, first, last, step)
                x = np.ascontiguousarray(images[[starts[i] + step for i in range(first, active)]])
                codec.push(Batch(messages[first:active]), x)
            return meter

        meters = self._each(encode, lengths)
        initial_bits = sum(31 + 32 * (self._primed_words - message.lowest) for message in messages)
        growth = bits_of(Batch(messages)) - len(messages) * primed
        likelihood, prior = (sum(meter.bits[name] for meter in meters) for name in ("likelihood", "prior"))
        accounting = Accounting(likelihood >> 16, prior >> 16, max(0, likelihood + prior - growth >> 16), initial_bits)
        return SetEncoded([message.drop_untouched().to_bytes() for message in messages], accounting)

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Samples:
        """The images (N, H, W, C) of chunks of so many images, N in all. Inverse: encode.

        Raises: CorruptDataError when a message is not one of so many images and this model.
        """
        order = sorted(range(len(counts)), key=lambda i: -counts[i])
        lengths = [counts[i] for i in order]
        opened = [Message.from_bytes(messages[i]) for i in order]
        ends = np.cumsum(counts, dtype=np.int64)
        starts = [int(ends[i]) - counts[i] for i in order]
        images = np.empty((sum(counts), *self.shape), np.uint8)

        def decode(first: int, last: int) -> None:
            codec = self._model.codec(Meter())
            for step in range(lengths[first] if last > first else 0):
                active = _active(lengths, first, last, step)
                _, x = codec.pop(Batch(opened[first:active]))
                images[[starts[i] + step for i in range(first, active)]] = x

        self._each(decode, lengths)
        if not all(message.is_primed() for message in opened):
            raise CorruptDataError("a message holds other initial bits than it began with: it is damaged or another model wrote it")
        return images

    def _each(self, work: Callable[[int, int], Any], lengths: list[int]) -> list[Any]:
        """`work` for groups of chunks, one for each thread and of at most a batch. `lengths` do not grow."""
        groups = max(min(self._threads, len(lengths)), -(-len(lengths) // MAX_BATCH))
        edges = [len(lengths) * i // groups for i in range(groups + 1)]

        def alone(first: int, last: int) -> Any:
            with own_thread():
                return work(first, last)

        with coding():
            if self._threads == 1 or groups == 1:
                return [alone(first, last) for first, last in pairwise(edges)]
            with ThreadPoolExecutor(self._threads) as pool:
                return list(pool.map(alone, edges[:-1], edges[1:]))


def _active(lengths: Sequence[int], first: int, last: int, step: int) -> int:
    """The end of the chunks from `first` on that have an image `step`."""
    while last > first and lengths[last - 1] <= step:
        last -= 1
    return last


@dataclass
class Meter:
    """What was pushed by a codec, in 2**-16 bit, by the codec's name."""

    bits: Counter[str] = field(default_factory=Counter)

    def of(self, name: str, codec: Codec[Any]) -> Codec[Any]:
        """The codec with its pushes counted."""

        def push(message: AnyMessage, symbol: Any) -> AnyMessage:
            before = bits_of(message)
            message = codec.push(message, symbol)
            self.bits[name] += bits_of(message) - before
            return message

        return replace(codec, push=push)


def bits_of(message: Message | Batch) -> int:
    """Bits on the messages in 2**-16 bit, by integers alone: files hold the sums, so no logarithm may round here."""
    return sum((m.size << 21) + head_bits(int(m.head[0])) for m in (message.messages if isinstance(message, Batch) else [message]))


def head_bits(head: int) -> int:
    """log2 of a head, in 2**-16 bit."""
    table = log2_table()
    exponent = head.bit_length() - 1
    mantissa = head << 20 >> exponent  # in [2**20, 2**21): ten bits choose an entry, ten lie between two
    entry, fraction = mantissa >> 10 & 1023, mantissa & 1023
    below = int(table[entry])
    return (exponent << 16) + (below + ((int(table[entry + 1]) - below) * fraction >> 10) >> 16)


def latent_codec(given: Latent) -> Codec[Any]:
    """The codec of latents (B, n)."""
    return logistic(given.mean, given.scale, LATENT_LEVELS)


class Likelihoods:
    """Codecs of images given what a network made of their latents (see bbans.models.small_kernels)."""

    def __init__(self, config: SmallConfig, layers: Layers = _NO_LAYERS) -> None:
        self._config = config
        tables: Tables = logistic_table(), exp_table(), inverse_scales(), log2_table()
        layered = isinstance(config, TopDownConfig) and config.features > 0
        radius = config.context if isinstance(config, TopDownConfig) and layered else -1
        relative = isinstance(config, TopDownConfig) and config.reference
        components = 0 if config.binary else config.components
        self._rest = layers, radius, relative, components, tables

    def codec(self, given: NDArray[np.float32]) -> Codec[Any]:
        """The codec of images (B, H, W, C). Shapes: given (B, n, H * W), outputs or features of each pixel."""
        shape = len(given), *self._config.shape

        def push(message: AnyMessage, x: Any) -> AnyMessage:
            def one(own: Message, pixels: Samples, row: NDArray[np.float32]) -> None:
                own.reserve(pixels.size)
                own.head[0], size = kernels.push_samples(own.head[0], own.words, own.size, pixels, row, *self._rest)
                own.resize(size)

            _rows(message).map(one, x, given)
            return message

        def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
            x = np.empty(shape, np.uint8)

            def one(own: Message, pixels: Samples, row: NDArray[np.float32]) -> None:
                own.head[0], size = kernels.pop_samples(own.head[0], own.words, own.size, pixels, row, *self._rest)
                own.resize(size)

            _rows(message).map(one, x, given)
            return message, x

        def log_freqs(x: Any, rows: bool) -> Any:
            sums = np.array([kernels.log_freqs_of_samples(own, row, *self._rest) for own, row in zip(x, given, strict=True)])
            return sums if rows else sums.sum()

        return Codec(push, pop, log_freqs)


def _rows(message: Message | Batch) -> Batch:
    return message if isinstance(message, Batch) else Batch([message])


class MarkovCoder:
    """A Markov model with one of its schemes."""

    def __init__(self, network: MarkovNetwork, compose: Compose) -> None:
        self._network, self._compose = network, compose
        self._likelihoods = Likelihoods(network.config)

    def codec(self, meter: Meter) -> Codec[Any]:
        """See Model."""
        network, depth = self._network, len(self._network.config.latents)

        def top(batch: int) -> Codec[Any]:
            return meter.of("prior", latent_codec(network.top(batch)))

        def prior(level: int, z: Any) -> Codec[Any]:
            return meter.of("prior", latent_codec(network.prior(level, z)))

        def likelihood(z: Any) -> Codec[Any]:
            return meter.of("likelihood", self._likelihoods.codec(network.likelihood(z)))

        def posterior(level: int, below: Any) -> Codec[Any]:
            given = network.posterior(level, below) if level else network.posterior_of_samples(below)
            return latent_codec(given)

        likelihoods: list[bitsback.Conditional[Any, Any]] = [
            likelihood,
            *(functools.partial(prior, level) for level in range(1, depth)),
        ]
        posteriors: list[bitsback.Conditional[Any, Any]] = [functools.partial(posterior, level) for level in range(depth)]

        def of(batch: int) -> Codec[Any]:
            return self._compose(top(batch), likelihoods, posteriors)

        return _by_batch(of)


class TopDownCoder:
    """A top-down model with its scheme. States on the way down are kept, as every layer needs that of the layer before."""

    def __init__(self, network: TopDownNetwork) -> None:
        self._network = network
        self._likelihoods = Likelihoods(network.config, _pixel_layers(network) if network.config.features else _NO_LAYERS)

    def codec(self, meter: Meter) -> Codec[Any]:
        """See Model."""
        network = self._network

        def of(batch: int) -> Codec[Any]:
            size = batch_size(batch)
            states = [network.start(size)]  # before the first latents, after the first, ..
            given: list[Latent] = []
            seen: list[Any] = []

            def reach(above: bitsback.Latents) -> None:
                while len(states) <= len(above):
                    layer = len(states) - 1
                    states.append(network.descend(layer, states[layer], padded(above[layer])))  # type: ignore[arg-type]

            def prior_of(above: bitsback.Latents) -> Latent:
                reach(above)
                while len(given) <= len(above):
                    given.append(network.prior(len(given), states[len(given)]))
                return given[len(above)]

            def prior(above: bitsback.Latents) -> Codec[Any]:
                return meter.of("prior", latent_codec(_cut(prior_of(above), batch)))

            def posterior(x: Samples, above: bitsback.Latents) -> Codec[Any]:
                if not seen:
                    seen.extend(network.up(padded(x)))  # type: ignore[arg-type]
                p = prior_of(above)
                q = network.posterior(len(above), states[len(above)], seen, p)
                return latent_codec(_cut(q, batch))

            def likelihood(latents: bitsback.Latents) -> Codec[Any]:
                reach(latents)
                features = states[-1][:batch].flatten(2).float().contiguous().numpy()
                return meter.of("likelihood", self._likelihoods.codec(features))

            layers = len(network.places)
            return bitsback.hierarchical([prior] * layers, likelihood, [posterior] * layers)

        return _by_batch(of)


def _cut(given: Latent, batch: int) -> Latent:
    return Latent(given.mean[:batch], given.scale[:batch])


def _pixel_layers(network: TopDownNetwork) -> Layers:
    """Weights (inputs, outputs) and biases of the pixel layers, scaled by 2**-exponent; the hidden ones stacked."""
    width, depth = network.config.hidden, network.config.depth
    hidden = [_scaled(network.weights[f"pixel.hidden.{index}"]) for index in range(depth)]
    weights = np.array([weight for weight, _ in hidden], np.float32).reshape(depth, width, width)
    biases = np.array([bias for _, bias in hidden], np.float32).reshape(depth, width)
    return *_scaled(network.weights["pixel.enter"]), weights, biases, *_scaled(network.weights["pixel.out"])


def _scaled(layer: IntConv) -> Layers:
    scale = np.ldexp(1.0, -layer.exponent.astype(np.int32))
    weight = np.ascontiguousarray((layer.weight[:, :, 0, 0] * scale[:, None]).T, np.float32)
    return weight, np.ascontiguousarray(layer.bias[0] * scale, np.float32)


def _by_batch(of: Callable[[int], Codec[Any]]) -> Codec[Any]:
    """The codec whose parts are made for the batch at hand."""

    def push(message: AnyMessage, x: Any) -> AnyMessage:
        return of(len(x)).push(message, x)

    def pop(message: AnyMessage) -> tuple[AnyMessage, Any]:
        return of(len(_rows(message))).pop(message)

    return Codec(push, pop)


def monte_carlo(scheme: str) -> tuple[Callable[..., Codec[Any]], int] | None:
    """The scheme of bbans.bitsback and its particles; None for the name of another."""
    found = re.fullmatch(r"mcbits-(coupled-)?([1-9][0-9]{0,3})", scheme)
    if not found:
        return None
    return montecarlo.coupled_importance_sampling if found[1] else montecarlo.importance_sampling, int(found[2])


def _coder(network: SmallNetwork, scheme: str | None) -> tuple[Model, str, int]:
    """The model with a scheme, its name, and how many particles it draws. Raises: ModelError when they do not fit."""
    if isinstance(network, TopDownNetwork):
        scheme = scheme or "top-down"
        if scheme != "top-down":
            raise ModelError(f"the scheme '{scheme}' is not for top-down models: theirs is 'top-down'")
        return TopDownCoder(network), scheme, 1
    assert isinstance(network, MarkovNetwork)
    depth = len(network.config.latents)
    scheme = scheme or ("bb-ans" if depth == 1 else "bit-swap")
    if scheme in _CHAINS:
        return MarkovCoder(network, _CHAINS[scheme]), scheme, 1
    found = monte_carlo(scheme)
    if found is None:
        raise ModelError(f"there is no scheme '{scheme}'")
    if depth > 1:
        raise ModelError(f"the scheme '{scheme}' is for models with one layer of latents, and this one has {depth}")
    kind, particles = found

    def compose(
        prior: Codec[Any],
        likelihoods: Sequence[bitsback.Conditional[Any, Any]],
        posteriors: Sequence[bitsback.Conditional[Any, Any]],
    ) -> Codec[Any]:
        return kind(prior, likelihoods[0], posteriors[0], particles)

    return MarkovCoder(network, compose), scheme, particles


def load_network(weights: Weights, backend: str | None = None) -> SmallNetwork:
    """The network of a model for sets. Raises: ModelError, as bbans.models.load_set."""
    if weights.architecture not in FAMILIES:
        raise ModelError(f"the model '{weights.id}' is not for sets of images: it is of the family '{weights.architecture}'")
    family = FAMILIES[weights.architecture]
    config = from_json(family.config, weights.config, weights.id)

    def build(name: str) -> SmallNetwork:
        return family.network(config, weights.layers, name)

    return first_exact(weights.id, weights.digest, build, "cpu", backend, f"the model '{weights.id}' cannot run here")


def load_set_codec(weights: Weights, *, scheme: str | None, threads: int | None, backend: str | None) -> SetCodec:
    """See bbans.models.load_set."""
    network = load_network(weights, backend)
    coder, scheme, particles = _coder(network, scheme)
    return SetCodec(weights, network.config, coder, scheme, particles, threads or cores())
