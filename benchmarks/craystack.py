"""craystack beside our code: its BB-ANS on our models, and its coder on the distributions of benchmarks/coder.py.

As in its example of the BB-ANS paper: a message has a lane for each latent and each pixel of a batch of images, codecs are made
from floats, the message starts without any bits, and at the end all lanes are coded into one. Parameters are those that the integer
network gives, so the model is the same as ours but for the rounding of tables.

Lanes cost bits at the start: batches of 10, as in its example, make 8,340 of them for images of 784 pixels and 50 latents. That is
what it costs to save calls of numpy, so both are measured: single images for the rate, batches for speed.

Source: https://github.com/j-towns/craystack, examples/binary_mnist_vae.py (MIT licence).
"""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import Any

import numpy as np

from bbans import models
from bbans.craystack import load
from bbans.models.batches import as_floats
from bbans.models.elbo import BINARY_LOGIT_LIMIT, mixture
from bbans.models.grids import LATENT_LEVELS, LOG_SCALE_MIN, Latent
from bbans.models.markov.network import MarkovNetwork
from bbans.models.registry import family_of

from .coder import Figures, best, draw, figures_of
from .datasets import DataSet
from .jobs import CHAIN, Step, compare, task_of
from .machine import watch

BATCHES = (1, 10)
PRECISION = 24
LATENT_BITS, PIXEL_BITS = 7, 8
HEAD_BITS = 31
"""That a lane holds before anything is pushed."""
CODER_RUNS = 3


class CraystackJob:
    """A set by a Markov model of one layer of latents, gray or binary. Raises: ImportError when craystack cannot be imported.

    A message has a lane for each latent and pixel of `batch` images: few lanes cost few bits at the start, many cost less time.
    """

    parts = 1

    def __init__(self, data: DataSet, model: str, batch: int) -> None:
        self._library = load()
        weights = models.read(model)
        network = family_of(weights).load_network(weights)
        assert isinstance(network, MarkovNetwork) and isinstance(data.images, np.ndarray) and not len(data.images) % batch
        self._network, self._batch = network, batch
        self._images = data.images.reshape(-1, batch * network.config.dims)
        self._lanes = batch * (network.config.latents[0] + network.config.dims)
        codec = f"craystack's BB-ANS, {'single images' if batch == 1 else f'batches of {batch}'}"
        self.task = task_of(data, codec, CHAIN, 1, weights.id, "bb-ans")

    def step(self, part: int) -> Step:
        codec = self._codec()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Popping from empty message")  # how it gets its initial bits
            with watch() as encoding:
                (message,) = codec.push(self._library.base_message(self._lanes), list(self._images.astype(np.uint64)))
                words = self._library.flatten(message)
            with watch() as decoding:
                _, decoded = codec.pop(self._library.unflatten(words, self._lanes))
        compare(list(self._images), [np.asarray(batch, np.uint8) for batch in decoded])
        return Step([4 * len(words)], encoding.cost, decoding.cost)

    def _codec(self) -> Any:
        """push(message, batches), pop(message)."""
        library, network, c = self._library, self._network, self._network.config
        latents = c.latents[0]
        edge = self._batch * latents

        def logistic(latent: Latent) -> Any:
            """A mixture of one: Logistic_UnifBins itself gives no valid intervals in its tails at this precision."""
            mean, log_scale = (v.reshape(-1, 1) for v in (latent.mean / 64, LOG_SCALE_MIN + latent.scale / 16))
            bins = PRECISION, LATENT_BITS, -0.5, LATENT_LEVELS - 0.5
            codec = library.LogisticMixture_UnifBins(mean, log_scale, np.zeros_like(mean), *bins)
            return library.substack(codec, lambda head: head[:edge])

        def likelihood(z: Any) -> Any:
            sums = network.likelihood(z.astype(np.int64).reshape(self._batch, latents))
            outputs = as_floats(sums, network.likelihood_exponents)
            if c.binary:
                logit = np.clip(np.rint(4 * outputs[:, 0].astype(np.float64)) / 64, -BINARY_LOGIT_LIMIT, BINARY_LOGIT_LIMIT)
                codec = library.Bernoulli(1 / (1 + np.exp(-logit.reshape(-1))), PRECISION)
            else:
                flat = (parameters.reshape(-1, c.components) for parameters in mixture(c, outputs))
                codec = library.LogisticMixture_UnifBins(*flat, PRECISION, PIXEL_BITS, -0.5, 255.5)
            return library.substack(codec, lambda head: head[edge:])

        def posterior(x: Any) -> Any:
            return logistic(network.posterior_of_samples(x.astype(np.uint8).reshape(self._batch, *c.shape)))

        one = _bits_back(library)(logistic(network.top(self._batch)), likelihood, posterior)
        return library.repeat(one, len(self._images))


def _bits_back(library: Any) -> Any:
    """craystack.bb_ans.BBANS, which the package does not import by itself."""
    return importlib.import_module(f"{library.__name__}.bb_ans").BBANS


def coder(size: int) -> list[Figures]:
    """Its coder on as many lanes as there are symbols: its fastest way. None where it is not installed."""
    try:
        library = load()
    except ImportError:
        return []
    bins = 24, 8, -0.5, 255.5
    figures = []
    for components, name in ((1, "logistic"), (3, "mixture of 3")):
        drawn = draw(np.random.default_rng(0), size, components)
        means, log_scales = drawn.means / 64, drawn.scales / 16 - 3
        if components == 1:  # its intervals must be wide enough for 24 bits, so scales are kept from being very small
            make = functools.partial(library.Logistic_UnifBins, means[:, 0], np.maximum(log_scales[:, 0], 0), *bins)
        else:
            make = functools.partial(
                library.LogisticMixture_UnifBins, means, log_scales, np.log(np.maximum(drawn.weights, 1)), *bins
            )
        make_s, codec = best(make, CODER_RUNS)
        symbols = drawn.symbols.astype(np.uint64)
        push_s, (state,) = best(functools.partial(_push, library, codec, symbols), CODER_RUNS)
        pop_s, (_, popped) = best(functools.partial(codec.pop, state), CODER_RUNS)
        assert np.array_equal(popped, symbols)
        head, tail = state
        bits = float(np.log2(head.astype(float)).sum()) - HEAD_BITS * size + 32 * _tail_words(tail)
        figures.append(figures_of("craystack", name, size, size, (make_s, push_s, pop_s), bits))
    return figures


def _push(library: Any, codec: Any, symbols: Any) -> Any:
    return codec.push(library.base_message(symbols.shape), symbols)


def _tail_words(tail: Any) -> int:
    count = 0
    while tail:
        words, tail = tail
        count += len(words)
    return count
