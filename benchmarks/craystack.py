"""craystack's own BB-ANS on one of our models: its coder, its codecs, its way to lay images side by side, our networks.

As in craystack's example of the BB-ANS paper: a message has a lane for each latent and each pixel of BATCH images, codecs are made
from floats, the message starts without any bits, and at the end all lanes are coded into one. What the lanes cost is part of the
bytes; net of them it is in the row as for all others. Parameters are those that the integer network gives, so the model is the
same as ours but for the rounding of tables.

Source: https://github.com/j-towns/craystack, examples/binary_mnist_vae.py (MIT licence).
"""

from __future__ import annotations

import importlib
import time
import warnings
from typing import Any

import numpy as np
import torch

from bbans import models
from bbans.craystack import load
from bbans.models.grids import LATENT_LEVELS, LOG_SCALE_MIN, Latent
from bbans.models.markov.network import MarkovNetwork
from bbans.models.registry import family_of

from .datasets import DataSet
from .jobs import CHAIN, Step, compare
from .machine import watch_memory
from .set_elbo import LOGIT_LIMIT, mixture

BATCH = 10
PRECISION = 24
LATENT_BITS, PIXEL_BITS = 7, 8
HEAD_BITS = 31
"""That a lane holds before anything is pushed."""


class CraystackJob:
    """A set by a Markov model of one layer of latents, gray or binary. Raises: ImportError when craystack cannot be imported."""

    codec = "craystack's BB-ANS"
    layout = CHAIN
    parts = 1

    def __init__(self, data: DataSet, model: str) -> None:
        self._library = load()
        weights = models.read(model)
        network = family_of(weights).load_network(weights)
        assert isinstance(network, MarkovNetwork) and isinstance(data.images, np.ndarray)
        self._network = network
        count = len(data.images) // BATCH * BATCH
        self._images = data.images[:count].reshape(-1, BATCH * network.config.dims)
        self.images, self.dims, self.pixels = count, self._images.size, self._images.size
        self._lanes = BATCH * (network.config.latents[0] + network.config.dims)
        self.about: dict[str, Any] = {
            "model": weights.id,
            "scheme": "bb-ans",
            "threads": 1,
            "initial_bits": HEAD_BITS * self._lanes,
        }

    def step(self, part: int) -> Step:
        codec = self._codec()
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Popping from empty message")  # how it gets its initial bits
            with watch_memory() as encoding:
                start = time.perf_counter()
                (message,) = codec.push(self._library.base_message(self._lanes), list(self._images.astype(np.uint64)))
                words = self._library.flatten(message)
                encode_s = time.perf_counter() - start
            with watch_memory() as decoding:
                start = time.perf_counter()
                _, decoded = codec.pop(self._library.unflatten(words, self._lanes))
                decode_s = time.perf_counter() - start
        compare(list(self._images), [np.asarray(batch, np.uint8) for batch in decoded])
        return Step(4 * len(words), encode_s, decode_s, encoding.mib, decoding.mib)

    def _codec(self) -> Any:
        """push(message, batches), pop(message)."""
        library, network, c = self._library, self._network, self._network.config
        latents = c.latents[0]
        edge = BATCH * latents

        def logistic(given: Latent) -> Any:
            """A mixture of one: Logistic_UnifBins itself gives no valid intervals in its tails at this precision."""
            mean, log_scale = (v.reshape(-1, 1) for v in (given.mean / 64, LOG_SCALE_MIN + given.scale / 16))
            bins = PRECISION, LATENT_BITS, -0.5, LATENT_LEVELS - 0.5
            codec = library.LogisticMixture_UnifBins(mean, log_scale, np.zeros_like(mean), *bins)
            return library.substack(codec, lambda head: head[:edge])

        def likelihood(z: Any) -> Any:
            outputs = network.likelihood(z.astype(np.int64).reshape(BATCH, latents))
            if c.binary:
                logit = np.clip(np.rint(4 * outputs[:, 0].astype(np.float64)) / 64, -LOGIT_LIMIT, LOGIT_LIMIT)
                codec = library.Bernoulli(1 / (1 + np.exp(-logit.reshape(-1))), PRECISION)
            else:
                flat = (parameters.reshape(-1, c.components) for parameters in mixture(c, outputs))
                codec = library.LogisticMixture_UnifBins(*flat, PRECISION, PIXEL_BITS, -0.5, 255.5)
            return library.substack(codec, lambda head: head[edge:])

        def posterior(x: Any) -> Any:
            return logistic(network.posterior_of_samples(x.astype(np.uint8).reshape(BATCH, *c.shape)))

        one = bits_back(library)(logistic(network.top(BATCH)), likelihood, posterior)
        return library.repeat(one, len(self._images))


def bits_back(library: Any) -> Any:
    """craystack.bb_ans.BBANS, which the package does not import by itself."""
    return importlib.import_module(f"{library.__name__}.bb_ans").BBANS
