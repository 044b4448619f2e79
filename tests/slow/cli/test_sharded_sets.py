"""pack, list and unpack of sets of archives as a user runs them: on engines, by URL, again after an interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from vaezip_cli import main

import bbans
from bbans.shards import SetReader

ROOT = Path(__file__).parents[3]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 small text files in two folders, and a picture."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number in range(40):
        (tmp_path / "in" / ("sub" if number % 2 else "") / f"{number:02}.txt").write_text(f"text {number}")
    (tmp_path / "in" / "valley.png").write_bytes((ROOT / "tests" / "data" / "golden" / "photo-6.png").read_bytes())
    return tmp_path / "in"


def vaezip(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = main.run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes: tasks run in threads of the test."""
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import contextmanager

    from bbans import fleet

    @contextmanager
    def engine(where):  # type: ignore[no-untyped-def]
        with ThreadPoolExecutor(1) as pool:
            yield fleet.Engine(pool, 1)

    monkeypatch.setattr(fleet, "engine", engine)


def test_a_folder_as_a_set_and_back(folder: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = vaezip(capsys, "pack", "in", "-o", "set/", "--shard-count", 8, "--mode", "stored")
    assert (code, out) == (0, "") and "set/: 41 images in " in err
    code, out, err = vaezip(capsys, "pack", "in", "-o", "set/", "--shard-count", 8, "--mode", "stored", "--json", "--verify")
    packed = json.loads(out)
    assert packed["images"] == 41 and packed["kept"] == packed["shards"] > 4 and "were complete before" in err
    code, out, _ = vaezip(capsys, "list", "set")
    assert code == 0 and out.startswith("set: 41 images in ") and out.count("\n") == 1
    code, out, _ = vaezip(capsys, "list", "-v", "set/manifest.jsonl")
    assert out.count("set-0000") >= packed["shards"] - 1 and "00.txt" in out
    code, out, _ = vaezip(capsys, "list", "--json", "set")
    assert json.loads(out)["shards"] == packed["shards"]
    code, out, err = vaezip(capsys, "unpack", "set", "-o", "back")
    assert (code, err) == (0, "vaezip: back: 41 files\n") and files_of(Path("back")) == files_of(folder)
    code, out, err = vaezip(capsys, "unpack", "set", "-o", "two", "sub/07.txt", 0)
    assert (code, files_of(Path("two"))) == (0, {"sub/07.txt": b"text 7", "00.txt": b"text 0"})
    damaged = bytearray(Path("set/set-00001.vaeza").read_bytes())
    damaged[-1] ^= 1
    Path("set/set-00001.vaeza").write_bytes(damaged)
    code, out, err = vaezip(capsys, "unpack", "set", "-o", "most")
    assert code == 3 and "Not written" in err and len(files_of(Path("most"))) == 40
    assert vaezip(capsys, "pack", "in", "-o", "set/", "--shard-count", 8, "--mode", "stored", "--verify", "-q")[0] == 0
    assert vaezip(capsys, "unpack", "set", "-f", "-o", "most", "-q")[0] == 0 and files_of(Path("most")) == files_of(folder)


def test_an_array_as_a_set_and_back(folder: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    digits = np.random.default_rng(0).integers(0, 2, (30, 6, 7)).astype(bool)
    np.save("digits.npy", digits)
    assert vaezip(capsys, "pack", "digits.npy", "--shard-size", "0.5kB", "--mode", "stored")[0] == 0
    assert len(list(Path("digits.npy.set").glob("*.vaeza"))) == 3
    code, _, err = vaezip(capsys, "unpack", "digits.npy.set", "-o", "again.npy")
    assert (code, err) == (0, "vaezip: again.npy: bool (30, 6, 7)\n")
    again = np.load("again.npy")
    assert again.dtype == bool and np.array_equal(again, digits)
    assert vaezip(capsys, "unpack", "digits.npy.set", "29", "3", "-o", "two.npy")[0] == 0
    assert np.array_equal(np.load("two.npy"), digits[[29, 3]])


def test_sets_in_storage(folder: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for name, data in files_of(folder).items():
        system.pipe_file(f"/cli-sets/in/{name}", data)
    try:
        assert vaezip(capsys, "pack", "memory://cli-sets/in", "-o", "memory://cli-sets/out", "--shard-count", 9)[0] == 0
        assert vaezip(capsys, "list", "memory://cli-sets/out")[1].startswith("memory://cli-sets/out: 41 images in ")
        assert vaezip(capsys, "unpack", "memory://cli-sets/out", "-o", "back")[0] == 0
        assert files_of(Path("back")) == files_of(folder)
        code, _, _ = vaezip(capsys, "unpack", "memory://cli-sets/out/set-00000.vaeza", "-o", "one")
        assert code == 0 and 0 < len(files_of(Path("one"))) < 10
        assert vaezip(capsys, "unpack", "memory://cli-sets/nothing", "-o", "none")[0] == 3
    finally:
        system.rm("/cli-sets", recursive=True)


def test_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, message in [
        (["in", "-o", "set/", "--on", "nowhere"], 1, "--on: 'nowhere': local, local:N, or the address of a scheduler"),
        (["in", "-o", "set/", "--shard-size", "many"], 2, "is no size, such as 250MB or 1GiB"),
        (["in", "-o", "-", "--shard-size", "1GB"], 2, "a set does not go through pipes"),
        (["in", "-o", "in/set/", "--on", "local:1"], 1, "lies in the folder that is packed"),
    ]:
        found = vaezip(capsys, "pack", *arguments)
        assert (found[0], found[1]) == (code, "") and message in found[2]


def test_an_interrupted_job_goes_on(folder: Path) -> None:
    """The client dies by SIGKILL; what is complete is not packed again, and the bytes are those of an uninterrupted job."""
    command = [sys.executable, "-m", "vaezip_cli.main", "pack", "in", "--shard-count", "4", "--mode", "stored", "--on", "local:2"]
    for number in range(40, 400):
        (folder / f"{number}.txt").write_text(f"text {number}")
    assert subprocess.run([*command, "-o", "whole/"], capture_output=True, check=False).returncode == 0
    expected = files_of(Path("whole"))
    first = subprocess.Popen([*command, "-o", "set/"], stderr=subprocess.DEVNULL)
    lines: list[Path] = []
    while first.poll() is None and len(lines) < 5:
        lines = list(Path("set").glob("*.json"))
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(lines) >= 5 and not Path("set/manifest.jsonl").exists()
    again = subprocess.run([*command, "-o", "set/", "--json"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    done = json.loads(again.stdout)
    assert 5 <= done["kept"] < done["shards"]
    assert files_of(Path("set")) == expected
    with bbans.open_archive("set") as images:
        assert isinstance(images, SetReader) and len(images) == 401


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_ctrl_c_ends_all_processes_and_says_so_in_a_line(folder: Path) -> None:
    command = [sys.executable, "-m", "vaezip_cli.main", "pack", "in", "-o", "set/", "--shard-count", "2", "--on", "local:2"]
    for number in range(40, 400):
        (folder / f"{number}.txt").write_text(f"text {number}")
    job = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and len(list(Path("set").glob("*.json"))) < 3:
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGINT)
    # All its processes hold this pipe, so it ends with the last of them. (Whether the process group is gone says less: where
    # nobody waits for orphans, as in many containers, a dead process stays in it.)
    _, errors = job.communicate()
    assert job.returncode == 130 and errors.strip() == "vaezip: interrupted. The file at hand was not written."


def test_an_error_of_a_worker_is_a_line(folder: Path) -> None:
    command = [sys.executable, "-m", "vaezip_cli.main", "pack", "in", "-o", "set/", "--shard-count", "20", "--on", "local:1"]
    done = subprocess.run([*command, "--model", "no-such-model"], capture_output=True, text=True, check=False)
    assert done.returncode == 4 and done.stderr.count("\n") == 1, done.stderr
    assert "vaezip: in: set-0000" in done.stderr and done.stderr.endswith("the same command goes on from there.\n")
