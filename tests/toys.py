"""Families of models as another package would bring them: one for sets, one for pictures of any size. Both without latents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bbans.accounting import Accounting, Encoded
from bbans.ans import Message
from bbans.codecs import Codec, uniform
from bbans.errors import CorruptDataError
from bbans.exact import selfcheck
from bbans.exact.backends import Sums
from bbans.exact.network import IntConv
from bbans.exact.qat import QConv, Quantised
from bbans.meter import Meter
from bbans.models import Weights
from bbans.models.batches import BatchNetwork, Walk, as_floats
from bbans.models.config import ImageConfig, PictureConfig, Shapes
from bbans.models.grids import Latent, Levels, Samples
from bbans.models.image_codecs import ImageLikelihood
from bbans.models.losses import Bits, sample_bits
from bbans.models.registry import Family

SCHEME = "direct"


@dataclass(frozen=True)
class MeanConfig(ImageConfig):
    """Each sample has a distribution of its own, the same for all images."""

    extra: int = 1  # something that a user may choose

    @property
    def latent_count(self) -> int:
        return 0

    def layers(self) -> Shapes:
        return {"out": (self.outputs * self.height * self.width, 1, 1, 1, False)}


class MeanVAE(Quantised):
    def __init__(self, config: MeanConfig) -> None:
        super().__init__()
        self.config, self.noise_size = config, config.latent_count
        self.out = QConv(1, config.outputs * config.height * config.width, 1, relu=False)

    def forward(self, x: Tensor, noise: Tensor) -> Bits:
        c = self.config
        out = self.out(torch.ones(len(x), 1, 1, 1)).view(len(x), c.outputs, c.height, c.width)
        return Bits([sample_bits(x, out, None, c, self.quantised)])


class MeanNetwork(BatchNetwork):
    def sums(self, batch: int) -> Sums:
        ones = self.levels(np.full((batch, 1), 16, np.int64))
        return self.layers["out"].sums(ones).reshape(batch, self.config.outputs, -1)

    @property
    def exponents(self) -> NDArray[np.int64]:
        return self.layers["out"].exponents.reshape(self.config.outputs, -1)

    def walks(self, x: Samples, draw: Callable[[Latent], Levels]) -> Iterator[Walk]:
        while True:
            yield Walk([], as_floats(self.sums(len(x)), self.exponents))

    def _run_stages(self, batch: int) -> list[NDArray[np.generic]]:
        return [self.sums(batch)]


class MeanCoder:
    scheme, particles = SCHEME, 1

    def __init__(self, network: MeanNetwork, scheme: str | None) -> None:
        self._network = network
        self._likelihood = ImageLikelihood(network.config, exponents=network.exponents)

    @staticmethod
    def schemes(config: MeanConfig, particles: Iterable[int]) -> list[str]:
        return [SCHEME]

    def codec(self, batch: int, meter: Meter) -> Codec[Samples]:
        return meter.count("likelihood", self._likelihood.codec(self._network.sums(batch)))


MEANS = Family(
    name="means",
    config="tests.toys:MeanConfig",
    vae="tests.toys:MeanVAE",
    network="tests.toys:MeanNetwork",
    codec="tests.toys:MeanCoder",
    elbo="bbans.models.elbo:draw",
)


@dataclass(frozen=True)
class FlatConfig(PictureConfig):
    """All pixels alike."""

    width: int = 2

    def noise_size(self, side: int) -> int:
        return 0

    def layers(self) -> Shapes:
        return {"layer": (self.width, 1, 1, 1, False)}


class FlatVAE(Quantised):
    def __init__(self, config: FlatConfig) -> None:
        super().__init__()
        self.config, self.layer = config, QConv(1, config.width, 1, relu=False)

    def forward(self, x: Tensor, noise: Tensor) -> Bits:
        return Bits([torch.full((len(x),), 8.0 * x[0].numel()) + 0 * self.layer(torch.ones(len(x), 1, 1, 1)).sum()])


class FlatNetwork:
    def __init__(self, config: FlatConfig, layers: Mapping[str, IntConv], backend: str, threads: int = 1) -> None:
        config.check_layers(layers)
        self.config, self.backend, self.weight = config, backend, layers["layer"].weight

    def digest(self) -> str:
        return selfcheck.digest([self.weight])


class FlatCodec:
    def __init__(self, network: FlatNetwork, weights: Weights) -> None:
        self.id, self.weights_hash = weights.id, weights.hash

    def encode(self, pixels: Samples, effort: int) -> Encoded:
        message = uniform(256, pixels.shape).push(Message.empty(), pixels)
        return Encoded([message.to_bytes()], Accounting(8 * pixels.size, 0, 0, 0))

    def decode(self, messages: Sequence[bytes], height: int, width: int, channels: int) -> Samples:
        if len(messages) != 1:
            raise CorruptDataError("a picture is one message")
        message, pixels = uniform(256, (height, width, channels)).pop(Message.from_bytes(messages[0]))
        if not message.is_initial():
            raise CorruptDataError("the message holds more than the picture")
        return pixels.astype(np.uint8)


FLAT = Family(
    name="flat",
    config="tests.toys:FlatConfig",
    vae="tests.toys:FlatVAE",
    network="tests.toys:FlatNetwork",
    codec="tests.toys:FlatCodec",
)
CLASH = Family(name="markov", config=FLAT.config, vae=FLAT.vae, network=FLAT.network, codec=FLAT.codec)
