"""Weight files: safetensors with integer layers, the model's id and sizes, and the digest that a correct backend gives.

Read and written without torch, and without pickle. numpy is imported by the first file: `vaezip models` opens none in this way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bbans.errors import CorruptDataError, ModelError
from bbans.formats.wire import is_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bbans.exact.network import IntConv

SUFFIX = ".safetensors"
HASH_BYTES = 8
LEARNED = "learned."  # begins the names of arrays that are no layers: what coding starts from, of families that learn on the way
PHOTO = "photo"  # the family of files that name none


@dataclass(frozen=True)
class Weights:
    """A weight file, read.

    `config` holds the fields of the family's config, `digest` what its network's digest must return, `architecture` the family,
    `arrays` what is no layer, by names that begin with `LEARNED`.
    """

    id: str
    hash: bytes
    config: dict[str, Any]
    digest: str
    layers: dict[str, IntConv]
    architecture: str = PHOTO
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def takes(self, shape: tuple[int, int, int], symbols: int) -> bool:
        """Whether it is for sets of images (H, W, C) of samples 0 .. symbols - 1."""
        names = ("height", "width", "channels", "symbols")
        return tuple(self.config.get(name) for name in names) == (*shape, symbols)


def unpack(data: bytes, name: str) -> Weights:
    """The weights of a file of that name. Inverse: pack. Raises: ModelError for bytes that are no weight file."""
    from bbans.exact.network import from_tensors
    from bbans.formats.tensors import unpack_tensors

    try:
        tensors, metadata = unpack_tensors(data)
        described = json.loads(metadata["bbans"])
        arrays = {key: array for key, array in tensors.items() if key.startswith(LEARNED)}
        layers = from_tensors({key: array for key, array in tensors.items() if key not in arrays})
        if not is_name(str(described["id"])):
            raise ValueError("its id is not a name")
        return Weights(
            id=str(described["id"]),
            hash=fingerprint(data),
            config=dict(described["config"]),
            digest=str(described["digest"]),
            layers=layers,
            architecture=str(described.get("architecture", PHOTO)),
            arrays=arrays,
        )
    except (ValueError, KeyError, TypeError, RecursionError, CorruptDataError) as error:
        raise ModelError(f"{name} is not a weight file of a bbans model ({error})") from None


def pack(
    id: str,
    config: Mapping[str, Any],
    digest: str,
    layers: Mapping[str, IntConv],
    architecture: str = PHOTO,
    arrays: Mapping[str, NDArray[np.generic]] | None = None,
) -> bytes:
    """The bytes of a weight file. Inverse: unpack. Raises: ValueError for an id that files cannot carry."""
    from bbans.exact.network import to_tensors
    from bbans.formats.tensors import pack_tensors

    if not is_name(id):
        raise ValueError(f"a model's id is made of letters, digits, dots, hyphens and underscores, not {id!r}")
    described = {"id": id, "config": dict(config), "digest": digest}
    if architecture != PHOTO:
        described["architecture"] = architecture
    return pack_tensors({**to_tensors(layers), **(arrays or {})}, {"bbans": json.dumps(described, sort_keys=True)})


def fingerprint(data: bytes) -> bytes:
    """The hash by which files name their weights: 8 bytes of BLAKE2b over the weight file."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()
