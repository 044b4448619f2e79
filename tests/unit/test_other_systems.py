"""What differs on Windows and macOS, as far as it can be tried anywhere."""

import os
import sys
import sysconfig
from pathlib import Path, PureWindowsPath

import pytest
from vaezip_cli import files as cli_files
from vaezip_cli import manifests, shardset
from vaezip_cli.output import Refused
from vaezip_cli.unpack import _to_folder

from bbans import files, storage
from bbans._core import build_core

fcntl = pytest.importorskip("fcntl")


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_compiler_that_does_not_run_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the stub of macOS, until Apple's tools are installed."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    program(tmp_path / "cc", "exit 1")
    clang = program(tmp_path / "clang", "exit 0")
    monkeypatch.setattr(build_core.shutil, "which", lambda name: str(tmp_path / name) if (tmp_path / name).exists() else None)
    assert build_core.compiler() == [str(clang)]
    clang.unlink()
    assert build_core.compiler() is None
    assert "ziglang" in build_core.get_requires_for_build_wheel()


def test_on_windows_the_compiler_is_that_of_pip_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build_core.shutil, "which", lambda name: sys.executable)
    assert build_core.compiler() == [sys.executable]
    monkeypatch.setattr(sys, "platform", "win32")
    assert build_core.compiler() is None
    monkeypatch.setenv("CC", "clang --target=x86_64-w64-mingw32")
    assert build_core.compiler() == ["clang", "--target=x86_64-w64-mingw32"]


def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The arguments that the compiler gets, whichever it is; it writes another file beside its result."""
    log, target = tmp_path / "log", tmp_path / "package" / "core.dll"
    target.parent.mkdir(exist_ok=True)
    script = f'echo "$*" > {log}; for last; do :; done; echo library > "$last"; echo more > "$(dirname "$last")/codecs.lib"'
    fake = program(tmp_path / "compiler", script)
    if build_core.compiler() is None:
        monkeypatch.setattr(build_core, "ZIG", [str(fake), *build_core.ZIG[1:]])
    else:
        monkeypatch.setenv("CC", str(fake))
    build_core.compile_core(target)
    assert os.listdir(target.parent) == ["core.dll"] and target.read_text() == "library\n"
    return log.read_text()


def test_pips_compiler_compiles_for_every_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By itself `zig cc` uses all that this machine's processor has: a wheel would end with an illegal instruction elsewhere."""
    monkeypatch.setattr(build_core, "compiler", lambda: None)
    assert "-mcpu=baseline" in compiled(monkeypatch, tmp_path).split()


def test_a_wheel_for_two_processors_has_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "cc")
    monkeypatch.delenv("ARCHFLAGS", raising=False)
    assert "-arch" not in compiled(monkeypatch, tmp_path)
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "macosx-10.13-universal2")
    assert "-arch arm64 -arch x86_64" in compiled(monkeypatch, tmp_path)
    monkeypatch.setenv("ARCHFLAGS", "-arch x86_64")
    assert "-arch x86_64" in compiled(monkeypatch, tmp_path) and "arm64" not in (tmp_path / "log").read_text()


def test_times_are_set_when_the_file_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows sets them once more when an open file is closed."""
    target, closed = tmp_path / "a", []
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "copy_status", lambda *_: closed.append(file.closed))
    with files.atomic_write(target, like=tmp_path.stat()) as file:
        file.write(b"all")
    assert closed == [True] and target.read_bytes() == b"all"


def test_files_are_forced_to_the_disk_by_descriptors_to_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows refuses others."""
    modes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE))
    (tmp_path / "a").write_bytes(b"before")
    with cli_files.staging(tmp_path, force=True) as staged:
        (staged / "a").write_bytes(b"after")
    assert modes == [os.O_RDWR] and (tmp_path / "a").read_bytes() == b"after"


@pytest.mark.parametrize("path", [r"..\a", "C:a", "C:/a", "a/..\\..\\b", "nul", "sub/COM1.png", "a/.. /b", "a.", "a?b", "a\tb"])
def test_names_that_windows_takes_for_others(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    cli_files.check_names([path])
    monkeypatch.setattr(cli_files, "_WINDOWS", True)
    cli_files.check_names(["a.png", "sub/ü (2).png", ".hidden", "null", "../up", "com1x"])
    with pytest.raises(Refused, match="is no path on Windows"):
        cli_files.check_names(["a.png", path])


def test_two_files_of_one_name(tmp_path: Path) -> None:
    """`A` and `a`, where that is one name."""
    with pytest.raises(Refused, match="the name of another file here"), _to_folder(tmp_path / "out", False, False) as goal:
        goal.add("sub/a", b"first", 0)
        goal.add("sub/a", b"second", 0)
    assert not os.listdir(tmp_path)


def test_drives_are_no_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(map(storage.is_url, (r"C:\a.png", "C:/a.png", "C://a.png", "file:///C:/a.png")))
    assert storage.local("file:///C:/a b.png") == "/C:/a b.png"
    monkeypatch.setattr(storage, "_WINDOWS", True)
    assert storage.local("file:///C:/a b.png") == "C:/a b.png"
    assert storage.local("/C:/a") == "/C:/a" and storage.local("C:/a") == "C:/a" and storage.local("file:///srv/a") == "/srv/a"


def test_paths_with_backslashes(monkeypatch: pytest.MonkeyPatch) -> None:
    job = shardset.SetJob(*[None] * len(shardset.SetJob.__dataclass_fields__))
    monkeypatch.setattr(os, "sep", "\\")
    assert storage.split("C:\\a\\train-*.tar") == (storage.Folder("C:/a"), "train-*.tar")
    assert storage.split("a\\b") == storage.split("a/b") == (storage.Folder("a"), "b")
    assert shardset.wanted("photos", "set\\", job) and not shardset.wanted("photos", "set", job)
    assert shardset.default_target("photos\\").name == "photos.set"
    monkeypatch.setattr(manifests, "PurePath", PureWindowsPath)
    assert manifests.is_set("set\\manifest.jsonl") and manifests.is_set("s3://bucket/set/manifest.jsonl")
