"""The families of models: a row for each, with all that the rest of the package knows of it. No torch before it is needed.

A family is a folder of this package, or of another package that names it as an entry point of the group `bbans.models`. To code
pictures of any size, or sets of images of one size, it has::

    config    a frozen dataclass of sizes that names the layers: a PictureConfig, or for sets an ImageConfig
    vae       config -> training form: x (B, C, H, W) uint8, noise (B, n) -> bbans.models.losses.Bits
    network   (config, layers, backend) -> integer form, whose digest() is what weight files carry; one for pictures of any size
              takes a number of threads as well
    codec     any size: (network, weights) -> PictureCodec; sets: (network, scheme) -> bbans.models.sets.ImageCoder

A weight file names its family; `bbans.models.load` and `load_set` make a codec of it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from bbans.errors import ModelError
from bbans.exact.selfcheck import Network
from bbans.models.config import ImageConfig, ModelConfig, PictureConfig, from_json, to_json
from bbans.models.grids import Samples
from bbans.models.weights import PHOTO, Weights, pack, unpack

if TYPE_CHECKING:
    from bbans.accounting import Encoded
    from bbans.exact.network import IntConv
    from bbans.exact.qat import Quantised
    from bbans.models.elbo import Draws
    from bbans.models.sets import ImageCoder

ENTRY_POINTS = "bbans.models"
ELBO_OF_SETS = "bbans.models.elbo:draw"


class PictureCodec(Protocol):
    """Encoder and decoder of pictures of any size with one model."""

    @property
    def id(self) -> str:
        """The model's; files name it."""

    @property
    def weights_hash(self) -> bytes: ...

    def encode(self, pixels: Samples, effort: int, /) -> Encoded:
        """The messages of a picture (H, W, 3) RGB or (H, W, 1) gray. Inverse: decode.

        effort: 1 to 9, the more the more time for fewer bytes. A family need not look at it.
        """

    def decode(self, messages: Sequence[bytes], height: int, width: int, channels: int, /) -> Samples:
        """The picture (height, width, channels). Raises: CorruptDataError."""


@dataclass(frozen=True)
class Family:
    """A family of models. Its parts are named as `module:attribute`, so that they are imported when they are used.

    Args:
        name: as weight files and `vaezip train --model` have it.
        batch: samples of a training step, where the user names no number.
        widen: (model, config) -> model of that config, to be trained further; None where a model keeps its sizes.
        widened: the sizes that may change so.
        start_values: (network, weights, pictures) -> arrays of a weight file that coding starts from, learned with the integer form
            once that is trained; None where there are none.
        elbo: (network, images, draws, seed) -> bbans.models.elbo.Draws, for benchmarks; None where there is none.
    """

    name: str
    config: str
    vae: str
    network: str
    codec: str
    batch: int = 128
    widen: str | None = None
    widened: frozenset[str] = frozenset()
    elbo: str | None = None
    start_values: str | None = None

    @property
    def config_class(self) -> type[ModelConfig]:
        return cast(type[ModelConfig], _load(self.config))

    @property
    def any_size(self) -> bool:
        """Whether its models take pictures of any size; else they take sets of images of one size."""
        return issubclass(self.config_class, PictureConfig)

    def config_of(self, weights: Weights) -> ModelConfig:
        """The sizes of a model. Raises: ModelError for weights of another family, or whose sizes are not those of this one."""
        if weights.architecture != self.name:
            raise ModelError(f"the model '{weights.id}' is of the family '{weights.architecture}', not '{self.name}'")
        return from_json(self.config_class, weights.config, weights.id)

    def sizes(self) -> dict[str, Any]:
        """The sizes that a user may choose, and their defaults: of a family for sets, none that the images decide."""
        default = self.config_class()
        decided = {field.name for field in fields(ImageConfig)} - {"components"} if not self.any_size else set()
        return {field.name: getattr(default, field.name) for field in fields(default) if field.name not in decided}

    def make(self, config: ModelConfig, start: Weights | None = None) -> Quantised:
        """A model to be trained: new, or the one that exports to `start`, with the sizes of `config`.

        Raises: ModelError when `start` is of another family, or of sizes that cannot change to these.
        """
        if start is None:
            return cast("Quantised", _load(self.vae)(config))
        model = self.import_(start)
        if model.config == config:
            return model
        if self.widen is None:
            raise ModelError(f"the model '{start.id}' has other sizes, and models of the family '{self.name}' keep theirs")
        return cast("Quantised", _load(self.widen)(model, config))

    def export(self, model: Quantised, id: str) -> bytes:
        """The weight file of a model. Inverse: import_. Raises: ModelError when a layer breaks the bound of exactness."""
        from bbans.exact.export import export_layers

        layers, config = export_layers(model), cast(ModelConfig, model.config)
        digest = self.build(config, layers, "reference").digest()
        return pack(id, to_json(config), digest, layers, self.name)

    def with_start_values(self, data: bytes, pictures: Sequence[Samples]) -> bytes:
        """A weight file with start values, learned from pictures (H, W, 3); for a family that has none, the same bytes.

        Raises: ModelError for bytes that are no weight file of the family.
        """
        if self.start_values is None:
            return data
        weights = unpack(data, "the new model")
        arrays = _load(self.start_values)(self.load_network(weights), weights, pictures)
        return pack(weights.id, weights.config, weights.digest, weights.layers, self.name, arrays)

    def import_(self, weights: Weights) -> Quantised:
        """The model, to be trained further, that exports to these weights. Inverse: export.

        Raises: ModelError for weights of another family.
        """
        from bbans.exact.export import import_layers

        model = _load(self.vae)(self.config_of(weights))
        import_layers(model, weights.layers)
        return cast("Quantised", model)

    def build(self, config: ModelConfig, layers: Mapping[str, IntConv], backend: str, *machine: Any) -> Any:
        """The integer form of a model on a backend. `machine`: threads, of families for pictures of any size."""
        return _load(self.network)(config, layers, backend, *machine)

    def load_network(self, weights: Weights, backend: str | None = None, device: str = "cpu", threads: int | None = None) -> Any:
        """The integer form, a `Network`, on the first backend that passes the self-check; or on `backend` alone.

        Raises: ModelError, InexactBackendError: see `bbans.models.load`.
        """
        from bbans.exact.runtime import cores, first_exact

        config = self.config_of(weights)
        if weights.arrays and self.start_values is None:
            raise ModelError(f"the model '{weights.id}' has start values, which the family '{self.name}' does not know")
        machine = (threads or cores(),) if self.any_size else ()

        def build(name: str) -> Network:
            return cast(Network, self.build(config, weights.layers, name, *machine))

        return first_exact(weights.id, weights.digest, build, device, backend)

    def picture_codec(self, network: Any, weights: Weights) -> PictureCodec:
        """The codec of a network for pictures of any size."""
        return cast(PictureCodec, _load(self.codec)(network, weights))

    def image_coder(self, network: Any, scheme: str | None) -> ImageCoder:
        """A network for sets with a scheme of bits-back coding; None for its own. Raises: ModelError when it does not fit."""
        return cast("ImageCoder", _load(self.codec)(network, scheme))

    def schemes(self, weights: Weights, particles: Iterable[int] = ()) -> list[str]:
        """Names of the schemes of bits-back coding for a model for sets, its own first; those with particles with so many each."""
        return cast("ImageCoder", _load(self.codec)).schemes(self.config_of(weights), particles)

    def draw(self, network: Any, images: Any, draws: int, seed: int = 0) -> Draws:
        """The bits of images under a network, by independent draws of their latents. Raises: ModelError for lack of `elbo`."""
        if self.elbo is None:
            raise ModelError(f"the family '{self.name}' cannot tell its negative ELBO")
        return cast("Draws", _load(self.elbo)(network, images, draws, seed))


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name=PHOTO,
            config="bbans.models.photo.config:PhotoConfig",
            vae="bbans.models.photo.vae:PhotoVAE",
            network="bbans.models.photo.network:PhotoNetwork",
            codec="bbans.models.photo.codec:PhotoCodec",
            elbo="bbans.models.photo.elbo:draw",
            start_values="bbans.models.photo.learning:learn_starts",
            batch=16,
        ),
        Family(
            name="markov",
            config="bbans.models.markov.config:MarkovConfig",
            vae="bbans.models.markov.vae:MarkovVAE",
            network="bbans.models.markov.network:MarkovNetwork",
            codec="bbans.models.markov.codec:MarkovCoder",
            elbo=ELBO_OF_SETS,
        ),
        Family(
            name="topdown",
            config="bbans.models.topdown.config:TopDownConfig",
            vae="bbans.models.topdown.vae:TopDownVAE",
            network="bbans.models.topdown.network:TopDownNetwork",
            codec="bbans.models.topdown.codec:TopDownCoder",
            elbo=ELBO_OF_SETS,
            widen="bbans.models.topdown.widen:widen",
            widened=frozenset({"context", "features", "hidden", "depth"}),
        ),
    )
}
"""The families of this package."""


@cache
def families() -> dict[str, Family]:
    """All families by name: those of this package, then those of others, which take no name that there is already.

    Warns of entry points that cannot be used; the rest goes on without them.
    """
    from importlib import metadata  # it takes a while, and a family of this package needs none

    known = dict(FAMILIES)
    for point in metadata.entry_points(group=ENTRY_POINTS):
        try:
            family = point.load()
            if not isinstance(family, Family):
                raise TypeError(f"it is {type(family).__name__}, not a Family")
            if family.name in known:
                raise ValueError(f"there is a family '{family.name}' already")
            known[family.name] = family
        except Exception as error:  # whatever the code of another package raises
            warnings.warn(f"the entry point '{point.name}' of {ENTRY_POINTS} is left out: {error}", stacklevel=2)
    return known


def family_of(weights: Weights) -> Family:
    """The family of a model. Raises: ModelError when no package here has it."""
    name = weights.architecture
    family = FAMILIES.get(name) or families().get(name)
    if family is None:
        raise ModelError(f"the model '{weights.id}' is of the family '{name}', which is not installed ({', '.join(families())})")
    return family


def _load(part: str) -> Any:
    """What `module:attribute` names."""
    module, _, attribute = part.partition(":")
    return getattr(importlib.import_module(module), attribute)
