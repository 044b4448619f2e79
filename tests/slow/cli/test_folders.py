"""Many files in one command: folders there and back, runs that were killed, what is skipped, removed and reported."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vaezip_cli import batch, compress, decompress, inputs, main, output

from bbans import api
from bbans.files import atomic_write, temporary_name

VAEZIP = [sys.executable, "-m", "vaezip_cli.main"]


def vaezip(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*VAEZIP, *map(str, arguments)], input=stdin, capture_output=True, timeout=600, check=False, cwd=cwd)


def run(*arguments: object) -> int:
    """In this process: much faster."""
    return main.group.main([str(argument) for argument in arguments], standalone_mode=False)


def png(number: int, side: int = 9) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures with all kinds of names and times, as stored PNGs are the same file only by luck: JPEG, PPM and others."""
    folder = tmp_path / "my photos"
    for number, name in enumerate(
        ["a b.ppm", "sub/日本.JPG", "sub/deep er/Jürgen.bmp", "x.gif", "same.png.jpg", "-f.tif", "'q\".ppm"]
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 9, 3), np.uint8)).save(path, compression=None)
        path.chmod(0o600 + 0o044 * (number % 2))
        os.utime(path, ns=(10**18, 10**18 + 123_456_789 * number))
    (folder / "link.ppm").symlink_to("a b.ppm")
    (folder / "sub" / "folder").symlink_to("deep er")
    (folder / "sub" / "dangling.png").symlink_to("/nowhere/at all")
    return folder


def tree(folder: Path) -> dict[str, object]:
    """All that counts of a folder: bytes, links, modes, times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name, status = str(path.relative_to(folder)), path.lstat()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes(), status.st_mode, status.st_mtime_ns
        else:
            found[name] = None
    return found


def test_a_folder_there_and_back(photos: Path, tmp_path: Path) -> None:
    done = vaezip("compress", "-r", photos, "--output-dir", "packed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"" and done.stderr.count(b"\n") == 1
    assert b"vaezip: 10 files, " in done.stderr
    packed = tmp_path / "packed"
    assert (packed / "sub" / "deep er" / "Jürgen.bmp.vaez").is_file() and os.readlink(packed / "link.ppm") == "a b.ppm"
    assert vaezip("decompress", "-q", "-r", "packed", "--output-dir", "back", cwd=tmp_path).stderr == b""
    assert tree(tmp_path / "back") == tree(photos)
    again = vaezip("compress", "-r", photos, "--output-dir", "packed", "--skip-existing", cwd=tmp_path)
    assert again.returncode == 0 and b"0 files, " in again.stderr and b"10 skipped" in again.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_and_started_again(tmp_path: Path, number: signal.Signals) -> None:
    photos, packed, back = (tmp_path / name for name in ("photos", "packed", "back"))
    photos.mkdir()
    for count in range(20):
        Image.fromarray(np.random.default_rng(count).integers(0, 256, (60, 60, 3), np.uint8)).save(photos / f"{count}.ppm")
    for command, source, target in (("compress", photos, packed), ("decompress", packed, back)):
        options = ["--mode", "stored"] if command == "compress" else []
        arguments = [*VAEZIP, command, "-q", *options, "-r", str(source), "--output-dir", str(target)]
        with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
            while process.poll() is None and len(list(target.glob("*"))) < 5:
                time.sleep(0.005)
            process.send_signal(number)
        (target / temporary_name()).write_bytes(b"half a picture")  # as SIGKILL may leave one
        assert vaezip(*arguments[3:], "--skip-existing").returncode == 0
    assert tree(back) == tree(photos)


def test_what_is_in_use_is_not_stale(photos: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    with atomic_write(packed / "other") as file:
        assert run("compress", "-q", "-r", photos, "--output-dir", packed) == 0
        file.write(b"still here")
    assert (packed / "other").read_bytes() == b"still here"


def test_beside_the_pictures_and_away_with_them(photos: Path) -> None:
    before = tree(photos)
    assert run("compress", "-q", "-r", "--rm", photos) == 0
    names = {path.name for path in photos.rglob("*") if path.is_file() and not path.is_symlink()}
    assert names and all(name.endswith(".vaez") for name in names)
    assert (photos / "link.ppm").is_symlink()
    assert run("decompress", "-q", "-r", "--rm", photos) == 0
    assert tree(photos) == before


def test_the_folder_of_results_may_lie_inside(photos: Path) -> None:
    for _ in range(2):
        assert run("compress", "-q", "-f", "-r", photos, "--output-dir", photos / "packed") == 0
    assert not list((photos / "packed").rglob("packed"))


def test_other_files_in_folders_are_left_out_and_named(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (photos / "notes.txt").write_text("no picture")
    (photos / "broken.png").write_bytes(png(0)[:-30])
    assert run("compress", "-r", photos) == 4
    lines = capfd.readouterr().err.splitlines()
    assert f"left out 1 file not named like pictures: {photos / 'notes.txt'}" in lines[0]
    assert "broken.png: " in lines[1] and "1 failed" in lines[2] and len(lines) == 3
    assert run("decompress", "-r", "-f", photos) == 0


def test_files_that_are_compressed_already_are_skipped_with_a_note(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 255 " + bytes(6))
    (tmp_path / "b.vaez").write_bytes(api.compress(png(1), mode="stored").data)
    assert run("compress", tmp_path / "a.ppm", tmp_path / "b.vaez") == 0
    assert "b.vaez: it is compressed already: skipped" in capfd.readouterr().err
    assert not (tmp_path / "b.vaez.vaez").exists()
    done = vaezip("compress", "-", stdin=(tmp_path / "b.vaez").read_bytes())
    assert (done.returncode, done.stdout) == (4, b"") and b"it is compressed already" in done.stderr


def test_the_source_stays_where_the_result_is_not_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source, link = tmp_path / "a.png", tmp_path / "link.png"
    source.write_bytes(png(0))
    link.symlink_to(source)
    assert run("compress", "--rm", link) == 0
    assert "link.png: kept: it is a link" in capfd.readouterr().err and link.is_symlink()
    genuine = api.compress

    def compress_slowly(*arguments: object, **options: object) -> api.Result:
        source.write_bytes(png(1) + bytes(3))
        return genuine(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(api, "compress", compress_slowly)
    assert run("compress", "--rm", source) == 0
    assert "a.png: kept: it has changed meanwhile" in capfd.readouterr().err and source.exists()
    monkeypatch.undo()
    with pytest.raises(main.click.UsageError, match="--no-verify"):
        run("compress", "--rm", "--no-verify", source)
    damaged = tmp_path / "b.png.vaez"
    damaged.write_bytes((tmp_path / "a.png.vaez").read_bytes()[:-1])
    assert run("decompress", "--rm", damaged) == 3 and damaged.exists()


def test_dry_run(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = tree(tmp_path)
    assert run("compress", "--dry-run", "--rm", "-r", photos, "--output-dir", tmp_path / "packed") == 0
    text = capfd.readouterr().err
    assert text.count("\n") == 10 and f"x.gif: would be compressed to {tmp_path / 'packed' / 'x.gif.vaez'}" in text
    assert tree(tmp_path) == before


def test_json(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One object for each file, errors and skipped ones too."""
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run("compress", "--json", "-r", photos, "--output-dir", tmp_path / "packed") == 4
    objects = {Path(found["file"]).name: found for found in map(json.loads, capfd.readouterr().out.splitlines())}
    assert len(objects) == 11 and {found["schema"] for found in objects.values()} == {1}
    assert objects["broken.png"]["status"] == "failed" and objects["broken.png"]["code"] == 4 and objects["broken.png"]["error"]
    picture = objects["a b.ppm"]
    assert picture["status"] == "done" and Path(picture["target"]).stat().st_size == picture["file_bytes"]
    assert objects["link.ppm"]["link"] == "a b.ppm"
    assert run("decompress", "--json", "-r", tmp_path / "packed", "--output-dir", photos, "--skip-existing") == 0
    assert {found["status"] for found in map(json.loads, capfd.readouterr().out.splitlines())} == {"skipped"}
    done = vaezip("compress", "--json", "-o", "-", photos / "a b.ppm")
    assert done.returncode == 2 and b"--json and the result would both go to stdout" in done.stderr


def test_c_is_for_stdout(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    packed = vaezip("compress", "-c", "--mode", "stored", tmp_path / "a.png")
    assert packed.stdout == api.compress(png(0), mode="stored").data
    (tmp_path / "a.vaez").write_bytes(packed.stdout)
    assert Image.open(io.BytesIO(vaezip("decompress", "-c", tmp_path / "a.vaez").stdout)).size == (9, 9)
    assert vaezip("compress", "-c", tmp_path / "a.png", tmp_path / "a.png").returncode == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.vaez"}


def test_max_pixels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Both ways by the header alone; an animation by all of its frames."""
    source = tmp_path / "a.png"
    source.write_bytes(png(0))
    assert run("compress", "--max-pixels", 81, source) == 0
    assert run("compress", "--max-pixels", 80, "-f", source) == 4
    assert "--max-pixels 80" in capfd.readouterr().err
    assert run("decompress", "--max-pixels", 80, "-f", tmp_path / "a.png.vaez") == 4
    assert run("decompress", "--max-pixels", 81, "-f", tmp_path / "a.png.vaez") == 0
    frames = [Image.new("L", (6, 4), shade) for shade in (0, 90, 180)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert run("compress", "--max-pixels", 71, tmp_path / "a.gif") == 4
    np.save(tmp_path / "a.npy", np.zeros((9, 10), np.uint8))
    assert run("compress", "--max-pixels", 89, tmp_path / "a.npy") == 4


def test_results_do_not_depend_on_how_many_work(photos: Path, tmp_path: Path) -> None:
    for threads in (1, 3):
        assert run("compress", "-q", "-r", "--threads", threads, photos, "--output-dir", tmp_path / str(threads)) == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_auto_says_when_it_did_not_use_the_model_that_was_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 64), (1, 2, 3)).save(tmp_path / "flat.png")
    assert run("compress", "--model", "photo-6", tmp_path / "flat.png") == 0
    assert "flat.png: the model photo-6 was not used: " in capfd.readouterr().err
    assert run("compress", "-f", tmp_path / "flat.png") == 0
    assert "was not used" not in capfd.readouterr().err


def test_other_commands_are_named_where_they_are_meant(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 28, 28), np.uint8))
    assert run("pack", "-q", tmp_path / "a.npy") == 0
    assert run("decompress", tmp_path / "a.npy.vaeza") == 3
    assert "it is an archive: vaezip unpack takes it" in capfd.readouterr().err
    (tmp_path / "a.png").write_bytes(png(0))
    assert run("compress", "--model", "mnist-1", tmp_path / "a.png") == 4
    assert "vaezip pack uses it" in capfd.readouterr().err


def test_a_budget_lets_one_large_picture_through_when_it_is_alone() -> None:
    budget = batch.PixelBudget(100)
    with budget.hold(1000):
        assert budget._held == 1000
    with budget.hold(60), budget.hold(40):
        assert budget._held == 100
    assert budget._held == 0


def test_progress_and_summary() -> None:
    tally = batch.Tally(files=300, size_bytes=120_000_000, began=time.monotonic() - 30, done=10, skipped=2)
    tally.handled_bytes = tally.worked_bytes = 40_000_000
    assert tally.progress(inputs.Item("sea.png")) == "12 of 300 files, 40.0 MB of 120 MB, 1.33 MB/s, 1 min 00 s to go: sea.png"
    tally.source_bytes, tally.result_bytes = 40_000_000, 10_000_000
    assert tally.summary(smaller=True) == "10 files, 40.0 MB -> 10.0 MB (25.0 %), 30 s; 2 skipped"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (68_912, "68.9 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (10**17, "100000 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert output.size(count) == text
    assert output.size(count, exact=True) == f"{count} byte{'s' if count > 1 else ''}"


def test_commands_have_their_options() -> None:
    for command in (compress.command, decompress.command):
        names = {name for parameter in command.params for name in parameter.opts}
        assert {"-r", "--skip-existing", "--rm", "-k", "--dry-run", "--json", "-c", "--max-pixels", "--threads"} <= names
