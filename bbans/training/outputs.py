"""The files of a run.

::

    out.safetensors   integer weights of the averaged model, for `vaezip compress --model`
    out.ckpt          checkpoint: the same call goes on from it
    out.jsonl         what was reported (bbans.training.journal), and in the end the size of each file
    out.png           the curve
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outputs:
    """The files of a run."""

    weights: Path

    @property
    def checkpoint(self) -> Path:
        return self.weights.with_suffix(".ckpt")

    @property
    def journal(self) -> Path:
        return self.weights.with_suffix(".jsonl")

    @property
    def curve(self) -> Path:
        return self.weights.with_suffix(".png")
