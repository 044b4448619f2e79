"""The table of what each part of the photo model's coder saves: its switches switch, and its rows are of real messages."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import numpy as np
import pytest
from PIL import Image

from benchmarks import command, stages
from tests.models import picture, write_weight_file


def test_the_command_measures_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(picture(96, 80)).save(photos / "a.png")
    model = write_weight_file(tmp_path / "tiny.safetensors")
    monkeypatch.setattr(stages, "STAGES", stages.STAGES[1:3])
    args = ["stages", str(photos), "--model", str(model), "--threads", "1", "--out", str(tmp_path), "--allow-dirty"]
    ran = click.testing.CliRunner().invoke(command.command, args)
    assert ran.exit_code == 0, ran.output
    path = tmp_path / f"{stages.PREFIX}photos.json"
    known = stages.read(path)
    assert known is not None and known.dims == 96 * 80 * 3
    assert [stage.what for stage in known.stages] == [stage.what for stage in stages.STAGES]
    sizes = [sum(stage.files) for stage in known.stages]
    assert len(set(sizes)) == len(sizes)  # each part does something
    assert json.loads(path.read_text())["stages"][1]["files"] == [sizes[1]]
    rows = [line for line in stages.table(known) if line.startswith("|")]
    assert f"| {8 * sizes[1] / known.dims:.4f} | {100 * (sizes[1] / sizes[0] - 1):+.2f} % |" in rows[3]


def test_a_picture_that_does_not_come_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_weight_file(tmp_path / "tiny.safetensors")
    monkeypatch.setattr("bbans.models.photo.codec.PhotoCodec.decode", lambda self, messages, *size: np.zeros(size, np.uint8))
    with pytest.raises(click.ClickException, match="does not come back"):
        stages.measure(stages.STAGES[0], str(model), [picture(32, 32)], 1)
