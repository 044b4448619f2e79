"""The models that code pictures: a registry of weight files by id, and their codecs. Importing it imports no torch.

A file of ours names the model's id and the first 8 bytes of the weights' hash; nothing else decodes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bbans.errors import ModelError
from bbans.models.weights import DEFAULT_MODEL, PHOTO, Weights, find, installed, read

if TYPE_CHECKING:
    from bbans.models.photo.codec import PhotoCodec
    from bbans.models.set_codec import SetCodec

__all__ = ["DEFAULT_MODEL", "Weights", "find", "installed", "load", "load_set", "read"]


def load(
    model: str | Path | Weights | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
    backend: str | None = None,
) -> PhotoCodec:
    """The codec of a model, on the first backend that passes the model's self-check, or on the one asked for.

    Args:
        model: weights, or what `read` takes: an installed model's id, a weight file, None for the default.
        threads: of the networks and of the coder; None for all cores.

    Raises: ModelMissingError when there is no such model; InexactBackendError when no backend of this machine reproduces its
    integers; ModelError for weights of an unknown architecture or of a model for sets, or a device that is not there.
    """
    from bbans.models.photo.codec import load_photo_codec

    weights = model if isinstance(model, Weights) else read(model)
    if weights.architecture != PHOTO:
        raise ModelError(f"the model '{weights.id}' is not for pictures of any size, but for sets of images of one size")
    return load_photo_codec(weights, threads=threads, device=device, backend=backend)


def load_set(
    model: str | Path | Weights,
    *,
    scheme: str | None = None,
    threads: int | None = None,
    backend: str | None = None,
) -> SetCodec:
    """The codec of sets of small images by a model, on the first backend that passes the model's self-check.

    Args:
        model: as of `load`.
        scheme: of bits-back coding, as bbans.models.set_codec names them; None for the model's own.
        threads: chunks are shared among so many; None for all cores.

    Raises: as `load`; ModelError as well for a scheme that does not go with the model.
    """
    from bbans.models.set_codec import load_set_codec

    weights = model if isinstance(model, Weights) else read(model)
    return load_set_codec(weights, scheme=scheme, threads=threads, backend=backend)
