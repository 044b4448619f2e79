"""What a run trains: a family of models on its pictures (`task`). One module for each kind of family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from bbans.models.config import PictureConfig
from bbans.models.registry import families
from bbans.models.weights import Weights
from bbans.training.callbacks import Callbacks
from bbans.training.tasks.images import read_image_task
from bbans.training.tasks.photo import read_photo_task
from bbans.training.tasks.task import TrainingTask


def read_task(
    inputs: Sequence[Path],
    valid: Sequence[Path],
    family: str,
    sizes: Mapping[str, Any],
    *,
    side: int,
    start: Weights | None = None,
    binarised: str | None = None,
    omit: Sequence[Path] = (),
    callbacks: Callbacks | None = None,
) -> TrainingTask:
    """A model of a family and the pictures of the inputs: of any size, or images of one size, as the family says.

    Args:
        side: of crops, of a family for pictures of any size.
    Other arguments and errors as of `read_photo_task` and `read_image_task`.
    """
    row = families()[family]
    if not row.any_size:
        return read_image_task(inputs, valid, family, sizes, start=start, binarised=binarised, omit=omit, callbacks=callbacks)
    config = cast(PictureConfig, row.config_of(start) if start else row.config_class(**sizes))
    return read_photo_task(inputs, valid, config, side, family=family, omit=omit, callbacks=callbacks)
