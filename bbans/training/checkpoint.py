"""Checkpoints: all that a run needs to go on as if it had not been cut.

What is random in a run is a function of its seed and of the step (`bbans.training.data`), so the step is the position in the
data. The state of torch's own generator is kept all the same, for models that draw from it.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from bbans.errors import CorruptDataError, ModelError, TrainingError
from bbans.files import write_whole
from bbans.models.config import from_json
from bbans.models.registry import families
from bbans.models.weights import PHOTO

FORMAT = 1
IDENTITY = ("family", "config", "schedule", "data", "binarise", "start", "float32")
"""The parts of a checkpoint that say what run it is of. Another device or number of processes may go on with it."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole, or not at all. Inverse: load. Raises: OSError that names the file."""
    file = io.BytesIO()
    torch.save({"format": FORMAT, **state}, file)
    write_whole(path, file.getvalue())


def load(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint of that run, on the CPU; None when there is no file. Inverse: save.

    Raises: CorruptDataError for a file that is no checkpoint, TrainingError for one of another run, OSError.
    """
    if not path.exists():
        return None
    state = read(path)
    differences = _differences(state, identity)
    if differences:
        raise TrainingError(
            f"{path} is of another run ({'; '.join(differences[:4])}): delete it to start afresh, or write to another file"
        )
    return state


def read(path: Path) -> dict[str, Any]:
    """The checkpoint of any run, on the CPU. Raises: CorruptDataError for a file that is no checkpoint, OSError."""
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:  # torch itself reads over damage inside a tensor
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"the check of {damaged} failed")
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise ValueError(f"its format is {state['format']}, not {FORMAT}")
        state = {"family": PHOTO, "binarise": None, **state}  # checkpoints of the photo model once had neither
        missing = [name for name in (*IDENTITY, "average") if name not in state]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
    except Exception as error:  # torch, zipfile and pickle raise nearly every class there is
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptDataError(
            f"{path} is no checkpoint of a training run, or damaged ({cause}): delete it to start afresh"
        ) from None
    return state


def export_checkpoint(path: Path, id: str) -> bytes:
    """The weight file of a checkpoint's averaged model, without start values of its coder: training learns them at its end.

    Raises: CorruptDataError for a file that is no checkpoint; ModelError for one of a family that is not here, or when a layer
    breaks the bound of exactness; OSError.
    """
    state = read(path)
    family = families().get(state["family"])
    if family is None:
        raise ModelError(f"{path} is of the family '{state['family']}', which is not installed")
    model = family.make(from_json(family.config_class, state["config"], id))
    model.load_state_dict(state["average"])
    return family.export(model, id)


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Such as `rate 0.001 there, 0.002 here`; hashes are not shown."""
    words = {"data": "its pictures are others", "start": "it started from other weights"}
    lines = []
    for name in IDENTITY:
        there, here = theirs[name], ours[name]
        if isinstance(there, dict) and isinstance(here, dict):
            for key in sorted(there.keys() | here.keys()):
                if there.get(key) != here.get(key):
                    all_of_them = ", in all processes together" if key == "batch" else ""
                    lines.append(f"{key} {there.get(key)} there, {here.get(key)} here{all_of_them}")
        elif there != here:
            lines.append(words.get(name, f"{name} {there} there, {here} here"))
    return lines
