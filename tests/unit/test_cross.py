"""`make cross` where its tools are missing. With them it takes minutes."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.cross import run


@pytest.mark.parametrize(("options", "code"), [([], 2), (["--if-possible"], 0)])
@pytest.mark.parametrize("missing", ["qemu", "ziglang"])
def test_a_missing_tool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str, options: list[str], code: int
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something was run")

    monkeypatch.setattr(sys, "argv", ["run", *options])
    monkeypatch.setattr(shutil, "which", lambda name: None if missing in name else f"/usr/bin/{name}")
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None if name == missing else object())
    monkeypatch.delenv("ZIG", raising=False)
    monkeypatch.setattr(subprocess, "run", forbidden)
    assert run.main() == code
    assert f"there is no {missing}" in capsys.readouterr().err
