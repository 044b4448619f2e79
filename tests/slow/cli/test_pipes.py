"""pack and unpack through pipes and as JSON; vaezip bench with names that are none."""

import errno
import io
import json
import os
import resource
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
    return subprocess.run(command, input=stdin, capture_output=True, timeout=600, check=False)


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
    assert vaezip("unpack", tmp_path / "in.vaeza", "b.ppm", "-c").stdout == done.stdout
    with pytest.raises(main.click.UsageError, match="-c excludes -o"):
        run("unpack", tmp_path / "in.vaeza", "-c", "-o", "x")


def test_tars_through_pipes(tmp_path: Path) -> None:
    """`tar c | vaezip pack`, and `vaezip unpack | tar x`, with links and times."""
    (source := tmp_path / "in" / "sub").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)).save(source / "a.ppm")
    (source / "b.ppm").symlink_to("a.ppm")
    os.utime(source / "a.ppm", ns=(5, 1_700_000_000_000_000_007))
    os.utime(source / "b.ppm", ns=(5, 1_600_000_000_000_000_000), follow_symlinks=False)
    made = subprocess.run(["tar", "c", "--format=pax", "-C", tmp_path / "in", "sub"], capture_output=True, check=True).stdout
    assert vaezip("pack", "-", "-o", tmp_path / "x.vaeza", stdin=made).returncode == 0
    piped = vaezip("pack", "-", stdin=made)
    assert piped.stdout == (tmp_path / "x.vaeza").read_bytes() and piped.stderr == b""
    assert vaezip("test", tmp_path / "x.vaeza", "--against", tmp_path / "in").returncode == 0
    out = vaezip("unpack", "-", "-c", stdin=piped.stdout)
    assert out.returncode == 0
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "x", "-C", tmp_path / "out"], input=out.stdout, check=True)
    assert vaezip("unpack", tmp_path / "x.vaeza", "-o", tmp_path / "out2").returncode == 0
    for folder in (tmp_path / "out" / "sub", tmp_path / "out2" / "sub"):
        assert (folder / "a.ppm").read_bytes() == (source / "a.ppm").read_bytes()
        assert os.readlink(folder / "b.ppm") == "a.ppm"
        for name in ("a.ppm", "b.ppm"):
            assert (folder / name).lstat().st_mtime_ns == (source / name).lstat().st_mtime_ns
    assert vaezip("pack", "-", stdin=made[:2000]).stderr == b"vaezip: -: a damaged tar: it is cut short. Nothing was written.\n"


def test_links_of_archives(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By name, in a list, over other links, and never out of the folder or through a link."""
    (source := tmp_path / "in").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)).save(source / "a.ppm")
    (source / "link").symlink_to("a.ppm")
    assert run("pack", source) == 0
    assert run("list", "-v", tmp_path / "in.vaeza") == 0
    assert "1 files and 1 link, with times" in (text := capfd.readouterr().out) and "link -> a.ppm" in text
    (out := tmp_path / "out").mkdir()
    (out / "link").symlink_to("elsewhere")
    assert run("unpack", tmp_path / "in.vaeza", "link", "-o", out) == 1
    assert "use -f" in capfd.readouterr().err and os.readlink(out / "link") == "elsewhere"
    assert run("unpack", tmp_path / "in.vaeza", "link", "-f", "-o", out) == 0
    assert os.readlink(out / "link") == "a.ppm" and not (out / "a.ppm").exists()
    (source / "far").symlink_to("/etc")
    assert run("pack", "-f", source) == 4
    assert "'far' is a link to '/etc', outside of the folder: --follow packs what links lead to" in capfd.readouterr().err
    (source / "far").unlink()
    (source / "sub").mkdir()
    (source / "a.ppm").rename(source / "sub" / "a.ppm")
    assert run("pack", "-f", source) == 0
    (tmp_path / "out3").mkdir()
    (tmp_path / "out3" / "sub").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    assert run("unpack", tmp_path / "in.vaeza", "-o", tmp_path / "out3") == 1
    assert "is a link, and what it leads to may lie elsewhere" in capfd.readouterr().err
    assert not [*(tmp_path / "elsewhere").iterdir()]


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
    np.save(tmp_path / "wide.npy", DIGITS.astype(np.int32))
    assert run("pack", tmp_path / "wide.npy") == 4
    text = capfd.readouterr().err
    assert text.count("wide.npy") == 1 and "int32" in text  # the name once
    with pytest.raises(main.click.UsageError, match="both go to stdout"):
        run("pack", "--json", tmp_path / "a.npy", "-o", "-")


def test_a_full_disk_is_that_of_the_target(tmp_path: Path) -> None:
    """The line begins with the source, and says which file could not be written."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (50, 60, 61), np.uint8))
    done = subprocess.run(
        [sys.executable, "-m", "vaezip_cli.main", "pack", "a.npy", "-o", "b.vaeza", "--mode", "stored"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1 and [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert done.stderr == "vaezip: a.npy: b.vaeza cannot be written: File too large. Nothing was written.\n"


def test_a_full_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", DIGITS)

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bbans.sets.writer.tempfile.SpooledTemporaryFile", lambda size: Full())
    assert run("pack", tmp_path / "a.npy", "--mode", "stored") == 1
    assert "the folder for temporary files, " in (text := capfd.readouterr().err) and "a.npy.vaeza" not in text


def test_json_of_a_demonstration(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    assert run("demo", "--json", tmp_path / "a.png", tmp_path / "none.png") == 1
    done, failed = map(json.loads, capfd.readouterr().out.splitlines())
    assert done["status"] == "done" and [way["mode"] for way in done["ways"]] == ["stored", "model"]
    assert {way["comes_back"] for way in done["ways"]} <= {"the same file", "the same picture"}
    assert (failed["status"], failed["code"]) == ("failed", 1)


def test_json_of_an_export_that_fails(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("export", "--json", tmp_path / "none.ckpt", "--out", tmp_path / "a.safetensors") == 1
    assert json.loads(capfd.readouterr().out)["status"] == "failed"


def test_json_of_a_training_that_fails(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("train", "--json", "-q", tmp_path / "nowhere", "--out", tmp_path / "a.safetensors") == 1
    found = json.loads(capfd.readouterr().out)
    assert found["status"] == "failed" and found["code"] == 1 and "No such file" in found["error"]


def test_json_of_a_benchmark(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.save(tmp_path / "tiny.npy", DIGITS)
    options = ["--codec", "", "--sizes", "--json", "--model", "mnist-bits-paper-1", "--draws", "2"]
    assert main.run(["bench", str(tmp_path / "tiny.npy"), *options]) == 0
    [line] = capfd.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["schema"] == 1 and {row["dataset"] for row in found["rows"]} == {"tiny"}
    assert all(row["bits_per_dim"] > 0 for row in found["rows"])


def test_list_says_what_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    golden = Path(__file__).parents[2] / "data" / "golden"
    names = ["model.vaez", "jpeg.jpg.vaez", "files.vaeza", "wide.vaeza"]
    assert run("list", *(golden / name for name in names)) == 0
    lines = capfd.readouterr().out.splitlines()[1:5]
    assert [next(word for word in ("picture", "files", "file", "array") if f" {word} " in line) for line in lines] == [
        "picture",
        "file",
        "files",
        "array",
    ]


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
