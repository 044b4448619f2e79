"""The models that code pictures: families in a registry, weight files by id, and codecs. Importing it imports no torch.

A file of ours names the model's id and the first 8 bytes of the weights' hash; nothing else decodes it.

One module each: `registry` has a row for each family of models, `store` finds weight files, `weights` reads and writes them. A
family is a folder: `photo` for pictures of any size, `markov` and `topdown` for sets of images of one size, which `sets` codes by
one of the `schemes`. What families share is in `config`, `grids`, `losses`, `blocks`, `batches` and `image_codecs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bbans.errors import ModelError
from bbans.models.store import DEFAULT_MODEL, find, installed, read
from bbans.models.weights import Weights

if TYPE_CHECKING:
    from bbans.models.registry import PictureCodec
    from bbans.models.sets import SetCodec

__all__ = ["DEFAULT_MODEL", "Weights", "find", "installed", "load", "load_set", "read"]


def load(
    model: str | Path | Weights | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
    backend: str | None = None,
) -> PictureCodec:
    """The codec of a model for pictures of any size, on the first backend that passes the model's self-check.

    Args:
        model: weights, or what `read` takes: an installed model's id, a weight file, None for the default.
        threads: of the networks and of the coder; None for all cores.
        backend: the only one to try, by its name in bbans.exact.backends.

    Raises: ModelMissingError when there is no such model; InexactBackendError when no backend of this machine reproduces its
    integers; ModelError for weights of another kind of models, or a device that is not there.
    """
    from bbans.models.registry import family_of

    weights = model if isinstance(model, Weights) else read(model)
    family = family_of(weights)
    if not family.any_size:
        raise ModelError(f"the model '{weights.id}' is not for pictures of any size, but for sets of images of one size")
    return family.picture_codec(family.load_network(weights, backend, device, threads), weights)


def load_set(
    model: str | Path | Weights,
    *,
    scheme: str | None = None,
    threads: int | None = None,
    backend: str | None = None,
) -> SetCodec:
    """The codec of sets of images by a model, on the first backend that passes the model's self-check.

    Args:
        model: as of `load`.
        scheme: of bits-back coding, as bbans.models.schemes names them; None for the model's own.
        threads: chunks are shared among so many; None for all cores.

    Raises: as `load`; ModelError as well for a scheme that does not go with the model.
    """
    from bbans.exact.runtime import cores
    from bbans.models.registry import family_of
    from bbans.models.sets import SetCodec

    weights = model if isinstance(model, Weights) else read(model)
    family = family_of(weights)
    if family.any_size:
        raise ModelError(f"the model '{weights.id}' is not for sets of images, but for pictures of any size")
    network = family.load_network(weights, backend)
    return SetCodec(weights, network.config, family.image_coder(network, scheme), threads or cores())
