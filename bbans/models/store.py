"""Where weight files are: those that come with the package, and those in the user's folder.

The user's folder is the one that the environment variable `BBANS_MODELS` names, or else `bbans/models` where the system keeps
programs' data of a user (`~/.local/share` on Linux). A file there is named after its model: `ID.safetensors`.

Two files may be of one id, as when a later version ships a model that the user has already. By its id alone one asks for the one
that is shipped, so that no file in the user's folder changes what this package does without it. A packed file names the
hash of its weights as well, and gets those, wherever they are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bbans.errors import ModelError, ModelMismatchError, ModelMissingError
from bbans.models.weights import SUFFIX, Weights, unpack

DEFAULT_MODEL = "photo-6"
SHIPPED = Path(__file__).parent / "weights"
VARIABLE = "BBANS_MODELS"


def user_folder() -> Path:
    """The folder of the user's own weight files; it need not exist."""
    folder = os.environ.get(VARIABLE)
    if folder:
        return Path(folder)
    if sys.platform == "win32":
        data = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    else:
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "bbans" / "models"


def installed() -> dict[str, Path]:
    """The weight files at hand by model id: those that are shipped, then the user's own of other ids."""
    files: dict[str, Path] = {}
    for path in _files():
        files.setdefault(path.name.removesuffix(SUFFIX), path)
    return files


def read(model: str | Path | None = None) -> Weights:
    """The weights of an installed model (by id; None is the default), or of a weight file (by its path).

    Raises: ModelMissingError when there is no such model; ModelError for a file that is not one of our weight files, or is
    installed under the name of another model.
    """
    name = model or DEFAULT_MODEL
    path = installed().get(str(name))
    try:
        weights = _read(path or Path(name))
    except OSError:
        raise ModelMissingError(f"no model '{name}': it is neither installed ({_known()}) nor a weight file") from None
    if path and weights.id != str(name):
        raise ModelError(f"{path} holds the model '{weights.id}': to be installed it is called {weights.id}{SUFFIX}")
    return weights


def find(id: str, hash: bytes, also: str | Path | None = None) -> Weights:
    """The weights that a file was written with: installed, or in the weight file `also`.

    Raises: ModelMissingError when the model is not here, ModelMismatchError when its weights are others.
    """
    if also is not None:
        candidates = [read(also)]
    else:
        candidates = [_read(path) for path in _files() if path.name == id + SUFFIX]
    if not candidates:
        raise ModelMissingError(
            f"it needs the model '{id}' (weights {hash.hex()}), which is not installed (installed: {_known()}); "
            "give its weight file with --model, or install the version of bbans that has it"
        )
    for weights in candidates:
        if weights.hash == hash:
            return weights
    others = ", ".join(weights.hash.hex() for weights in candidates)
    raise ModelMismatchError(f"it needs the model '{id}' with weights {hash.hex()}, but the weights at hand are {others}")


def _files() -> Iterator[Path]:
    """All weight files, the shipped ones first."""
    for folder in (SHIPPED, user_folder()):
        yield from sorted(folder.glob(f"*{SUFFIX}"))


def _read(path: Path) -> Weights:
    return unpack(path.read_bytes(), path.name)


def _known() -> str:
    return ", ".join(installed()) or "none"
