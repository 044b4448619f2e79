"""The commands of the README's chapter "Use" run as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.make_golden import FOLDER

ROOT = Path(__file__).parents[3]


def blocks(language: str, chapter: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = text[text.index(f"## {chapter}\n") :]
    part = part[: part.index("\n## ", 1)]
    return re.findall(rf"^```{language}\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


def test_the_chapter_use_runs_as_it_stands(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((FOLDER / "photo-6.png").read_bytes())
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for number, name in enumerate(["one.ppm", "sub/two two.jpg"]):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8, 3), np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "link.ppm").symlink_to("one.ppm")
    found = blocks("sh", "Use")
    assert len(found) == 3
    script = "\n".join(["set -e", f'vaezip() {{ {shlex.quote(sys.executable)} -m vaezip_cli.main "$@"; }}', *found])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["diff", "-r", "photos", "back"], cwd=tmp_path, check=False).returncode == 0
    assert "bit for bit: yes" in done.stdout and (tmp_path / "out.vaez").read_bytes() == (tmp_path / "a.png.vaez").read_bytes()


def test_the_example_of_zarr_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    [block] = blocks("py", "In Python")
    exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "photos.zarr" / "zarr.json").exists()
