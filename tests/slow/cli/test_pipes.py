"""pack and unpack through pipes and as JSON; vaezip bench with names that are none."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vaezip_bench import report
from vaezip_cli import main

from bbans import sets

DIGITS = np.random.default_rng(0).integers(0, 2, (5, 28, 28), np.uint8)


def vaezip(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vaezip_cli.main", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def run(*arguments: object) -> int:
    return main.group.main([str(argument) for argument in arguments], standalone_mode=False)


def test_arrays_through_pipes() -> None:
    file = io.BytesIO()
    np.save(file, DIGITS)
    packed = vaezip("pack", "-", stdin=file.getvalue())
    assert (packed.returncode, packed.stderr) == (0, b"") and packed.stdout.startswith(b"VAEA")
    back = vaezip("unpack", "-", stdin=packed.stdout)
    assert (back.returncode, back.stdout, back.stderr) == (0, file.getvalue(), b"")
    one = vaezip("unpack", "-", "3", stdin=packed.stdout)
    assert np.array_equal(np.load(io.BytesIO(one.stdout)), DIGITS[3:4])
    wrong = vaezip("pack", "-", "-o", "-", stdin=b"no array")
    assert (wrong.returncode, wrong.stdout) == (4, b"")
    assert wrong.stderr == b"vaezip: -: not an array of images: neither idx nor .npy nor .npz. Nothing was written.\n"


def test_a_single_file_to_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.ppm", "b.ppm"):
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (5, 6, 3), np.uint8)).save(tmp_path / "in" / name)
    sets.pack(tmp_path / "in", tmp_path / "in.vaeza")
    done = vaezip("unpack", tmp_path / "in.vaeza", "b.ppm", "-o", "-")
    assert done.stdout == (tmp_path / "in" / "b.ppm").read_bytes()
    assert run("unpack", tmp_path / "in.vaeza", "-o", "-") == 1
    assert "only a single file goes to stdout, and there are 2" in capfd.readouterr().err


def test_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", DIGITS)
    assert run("pack", "--json", tmp_path / "a.npy") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["status"] == "done" and found["images"] == 5 and found["shape"] == [5, 28, 28]
    assert found["file_bytes"] == Path(found["target"]).stat().st_size and found["groups"][0]["chunks"] == 1
    assert run("unpack", "--json", "-f", tmp_path / "a.npy.vaeza") == 0
    assert json.loads(capfd.readouterr().out)["shape"] == [5, 28, 28]
    assert run("pack", "--json", tmp_path / "none.npy") == 1
    assert json.loads(capfd.readouterr().out)["error"] == "No such file or directory"
    np.save(tmp_path / "wide.npy", DIGITS.astype(np.uint16))
    assert run("pack", tmp_path / "wide.npy") == 4
    text = capfd.readouterr().err
    assert text.count("wide.npy") == 1 and "uint16" in text  # the name once
    with pytest.raises(main.click.UsageError, match="both go to stdout"):
        run("pack", "--json", tmp_path / "a.npy", "-o", "-")


@pytest.mark.parametrize("name", ["no-such-set", "missing.json", "/nowhere/at/all"])
def test_bench_of_a_set_that_is_none(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", name]) == 2
    text = capfd.readouterr().err
    assert text.startswith(f"vaezip: {name} is neither a folder or array nor one of the data sets") and text.count("\n") == 1


def test_bench_of_a_set_that_is_not_here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["bench", "kodak", "--data", str(tmp_path)]) == 2
    text = capfd.readouterr().err
    assert text.startswith("kodak is left out") and text.count("\n") == 1


def test_bench_report_without_a_folder_or_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["bench", "report", str(tmp_path / "none")]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    (tmp_path / "README.md").write_text("# Nothing of ours\n")
    monkeypatch.setattr(report, "write_folder", lambda folder: [])
    monkeypatch.setattr(report, "blocks", lambda: {"README.md": "a block"})
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    assert main.run(["bench", "report"]) == 2
    text = capfd.readouterr().err
    assert "README.md: it has no part between" in text and text.count("\n") == 1
    (tmp_path / "README.md").unlink()
    assert main.run(["bench", "report"]) == 0
