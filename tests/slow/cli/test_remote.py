"""Inputs and outputs by URL."""

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from vaezip_cli import main

from bbans import api
from bbans.storage import is_url


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's file system in memory, with a picture."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)).save(file, "PPM")
    system.pipe_file("/in/a.ppm", file.getvalue())
    yield system
    for path in system.find("/"):
        system.rm_file(path)


def run(*arguments: object) -> int:
    return main.group.main([str(argument) for argument in arguments], standalone_mode=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("memory://a", True),
        ("s3://bucket/a.png", True),
        ("file:///a", False),
        ("a.png", False),
        ("C://a", False),
        ("a b://c", False),
        ("IMG::1.png", False),
        ("simplecache::s3://bucket/a", True),
    ],
)
def test_what_is_a_url(name: str, expected: bool) -> None:
    assert is_url(name) is expected


def test_there_and_back(memory: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("compress", "memory://in/a.ppm") == 0
    assert "memory://in/a.ppm.vaez: " in capfd.readouterr().err
    assert api.decompress(memory.cat_file("/in/a.ppm.vaez")).data == memory.cat_file("/in/a.ppm")
    assert run("test", "memory://in/a.ppm.vaez") == run("list", "memory://in/a.ppm.vaez") == 0
    assert run("decompress", "memory://in/a.ppm.vaez", "--output-dir", tmp_path) == 0
    assert (tmp_path / "a.ppm").read_bytes() == memory.cat_file("/in/a.ppm")
    assert run("compress", tmp_path / "a.ppm", "-o", "memory://out/b.vaez") == 0
    assert memory.cat_file("/out/b.vaez") == memory.cat_file("/in/a.ppm.vaez")
    assert run("compress", "-r", tmp_path, "--output-dir", "memory://tree") == 0
    assert memory.exists("/tree/a.ppm.vaez")


def test_chains(memory: Any, tmp_path: Path) -> None:
    """A file beside one in a chain is at the same place of the same chain."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("b/c.ppm", memory.cat_file("/in/a.ppm"))
    assert run("compress", f"zip://b/c.ppm::{tmp_path}/a.zip", "--output-dir", tmp_path) == 0
    assert api.decompress(tmp_path / "c.ppm.vaez").data == memory.cat_file("/in/a.ppm")
    assert run("compress", "simplecache::memory://in/a.ppm") == 0
    assert memory.cat_file("/in/a.ppm.vaez") == (tmp_path / "c.ppm.vaez").read_bytes()


def test_a_write_that_fails_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """On storage that has folders, a file gets its name when all of it is there."""
    local = pytest.importorskip("fsspec.implementations.local").LocalFileSystem

    def half(self: Any, path: str, data: bytes, **_: object) -> None:
        Path(path).write_bytes(data[: len(data) // 2])
        raise TimeoutError("the line is dead")

    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 255 " + bytes(6))
    assert run("compress", tmp_path / "a.ppm", "-o", f"local://{tmp_path}/there/a.vaez") == 0
    monkeypatch.setattr(local, "pipe_file", half)
    assert run("compress", tmp_path / "a.ppm", "-o", f"local://{tmp_path}/there/b.vaez") == 1
    assert f"a.ppm: local://{tmp_path}/there/b.vaez: the line is dead." in capfd.readouterr().err
    assert not (tmp_path / "there" / "b.vaez").exists()


def test_nothing_is_overwritten(memory: Any, capfd: pytest.CaptureFixture[str]) -> None:
    memory.pipe_file("/in/a.ppm.vaez", b"mine")
    assert run("compress", "memory://in/a.ppm") == 1
    assert "memory://in/a.ppm.vaez exists: use -f" in capfd.readouterr().err
    assert run("compress", "--skip-existing", "memory://in/a.ppm") == 0
    assert run("compress", "-f", "memory://in/a.ppm", "-o", "memory://in/a.ppm") == 1
    assert memory.cat_file("/in/a.ppm.vaez") == b"mine"
    assert run("compress", "-f", "memory://in/a.ppm") == 0
    assert memory.cat_file("/in/a.ppm.vaez") != b"mine"
    with pytest.raises(main.click.UsageError, match="not for URLs"):
        run("compress", "--rm", "memory://in/a.ppm")


def test_files_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 255 " + bytes(6))
    assert run("compress", f"file://{tmp_path}/a.ppm") == 0
    assert run("decompress", f"file://{tmp_path}/a.ppm.vaez", "-o", f"file://{tmp_path}/b.ppm") == 0
    assert (tmp_path / "b.ppm").read_bytes() == (tmp_path / "a.ppm").read_bytes()


def test_what_is_not_there(memory: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """One line for each, without a word of faults."""
    assert run("compress", "memory://in/none.ppm") == 1
    assert "memory://in/none.ppm: No such file or directory. Nothing was written." in capfd.readouterr().err
    assert run("compress", "nosuch://in/a.ppm") == 1
    text = capfd.readouterr().err
    assert "nosuch" in text and "fault of vaezip" not in text and text.count("\n") == 1
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert run("compress", "memory://in/a.ppm") == 1
    assert "URLs need fsspec: pip install 'bbans[remote]'" in capfd.readouterr().err
