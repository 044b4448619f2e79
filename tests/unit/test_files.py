"""Files that are written whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bbans import files
from bbans.files import atomic_write, working_folder, write_whole


def test_the_name_comes_last(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"before")
    with atomic_write(target) as file:
        file.write(b"after")
        assert target.read_bytes() == b"before"
    assert target.read_bytes() == b"after" and os.listdir(tmp_path) == ["a"]


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "a"
    for _ in range(2):
        with pytest.raises(ValueError, match="halfway"), atomic_write(target) as file:
            file.write(b"half")
            raise ValueError("halfway")
        assert os.listdir(tmp_path) == [path.name for path in [target] if path.exists()]
        target.write_bytes(b"before")
    assert target.read_bytes() == b"before"


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with pytest.raises(FileExistsError), atomic_write(target, replace=False) as file:
        file.write(b"ours")
        target.write_bytes(b"theirs")  # comes while ours is written
    assert target.read_bytes() == b"theirs" and os.listdir(tmp_path) == ["a"]


def test_mode_and_times_of_another_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"")
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 5000))
    with atomic_write(target, like=source.stat()) as file:
        [temporary] = set(os.listdir(tmp_path)) - {"source"}
        assert stat.S_IMODE((tmp_path / temporary).stat().st_mode) == 0o600
        file.write(b"x")
    assert (stat.S_IMODE(target.stat().st_mode), target.stat().st_mtime_ns) == (0o640, 10**18 + 5000)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere/a cannot be written: No such file or directory"):
        write_whole(tmp_path / "nowhere" / "a", b"data")
    (tmp_path / "a").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", b"ours", replace=False)
    assert (tmp_path / "a").read_bytes() == b"theirs"


def test_a_folder_that_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="halfway"), working_folder() as folder:
        (folder / "in").mkdir()
        (folder / "in" / "a").write_bytes(b"half")
        raise ValueError("halfway")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(files.fcntl is None, reason="no locks here")
def test_the_folder_of_a_process_that_was_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next that is made removes it, and none of a process that still runs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """
import os, signal, sys
from bbans.files import working_folder
with working_folder() as folder:
    (folder / "a").write_bytes(b"half a shard")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL if sys.stdin.readline() == "die\\n" else signal.SIGCONT)
"""
    command, environment = [sys.executable, "-c", code], os.environ | {"TMPDIR": str(tmp_path)}
    other = tmp_path / "vaezip-other"
    other.mkdir()
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        left = Path(process.stdout.readline().strip())
        with working_folder() as own, working_folder() as second:
            assert sorted(tmp_path.iterdir()) == sorted([left, own, second, other])
        process.stdin.write("die\n")
        process.stdin.close()
        assert process.wait() == -signal.SIGKILL
    assert sorted(tmp_path.iterdir()) == sorted([left, other]) and (left / "a").exists()
    with working_folder() as own:
        assert sorted(tmp_path.iterdir()) == sorted([own, other])


@pytest.mark.skipif(files.fcntl is None, reason="no locks here")
def test_a_new_folder_that_another_process_removes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before it is locked: then another is made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make, made = tempfile.mkdtemp, []

    def removed(**options: str) -> str:
        made.append(make(**options))
        if len(made) == 1:
            files._remove_working_folders()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", removed)
    with working_folder() as folder:
        assert [str(folder)] == made[1:] and folder.is_dir() and not Path(made[0]).exists()
