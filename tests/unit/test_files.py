"""Files that are written whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from bbans.files import atomic_write, write_whole


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
