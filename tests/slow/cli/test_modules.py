"""The command's own functions, where a process of its own would show less."""

import os
import re
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from vaezip_cli import compress, decompress, demo, files, jobs, main, output

from bbans import errors, models
from bbans.models.store import read
from tests.models import codec, weights, write_weight_file


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("img.png.vaez", "PNG", "img.png"),
        ("img.jpg.vaez", "JPEG", "img.jpg"),
        ("img.jpg.vaez", "PNG", "img.jpg.png"),
        ("img.JPEG.vaez", "PNG", "img.JPEG.png"),
        ("noname.vaez", "PNG", "noname"),
        ("a.b.vaez.vaez", "PNG", "a.b.vaez"),
        ("renamed", "WEBP", "renamed.webp"),
        (".vaez", "PNG", ".png"),
    ],
)
def test_restored_name(name: str, format: str, expected: str) -> None:
    assert files.restored_name(f"folder/{name}", format) == expected


@pytest.mark.parametrize("name", ["img.png", "img", "a.vaez", ".hidden", "x.tar.gz"])
def test_names_are_inverse(name: str) -> None:
    assert files.restored_name(files.compressed_name(name), "PNG") == name


@pytest.mark.parametrize("interruption", [main.Signalled(15), OSError("disk full")])
def test_interrupted_writes_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")

    def interrupt(descriptor: int) -> None:
        raise interruption

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(type(interruption)):
        files.write(target, b"after", like=None, force=True)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_write_does_not_replace_what_came_in_between(tmp_path: Path) -> None:
    target = tmp_path / "target"
    files.check_target(target, files.PIPE, force=False)
    target.write_bytes(b"someone else's")
    with pytest.raises(output.Refused):
        files.write(target, b"after", like=None, force=False)
    assert target.read_bytes() == b"someone else's"


def test_an_error_of_the_target_names_the_target(tmp_path: Path) -> None:
    """The line begins with the source, which is not to blame."""
    with pytest.raises(FileNotFoundError, match="nowhere/target cannot be written: No such file or directory"):
        files.write(tmp_path / "nowhere" / "target", b"", like=None, force=False)


def test_a_file_system_without_modes_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    source = tmp_path / "source"
    source.write_bytes(b"")
    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    files.write(tmp_path / "target", b"data", like=source.stat(), force=False)
    assert (tmp_path / "target").read_bytes() == b"data"


def test_a_private_picture_stays_private_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"")
    source.chmod(0o600)
    modes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: modes.append(os.fstat(descriptor).st_mode & 0o777))
    files.write(tmp_path / "target", b"data", like=source.stat(), force=False)
    assert modes == [0o600]


def test_printable() -> None:
    assert output.printable("a b-\u00e9\u65e5.png") == "a b-\u00e9\u65e5.png"
    assert output.printable("\x1b[31m\n\udcff") == "\\x1b[31m\\n\\udcff"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FileNotFoundError(2, "No such file or directory"), 1, "No such file or directory"),
        (MemoryError(), 1, "not enough memory"),
        (errors.VerifyError("another picture."), 1, "another picture"),
        (errors.CorruptDataError("damaged"), 3, "damaged"),
        (errors.FormatError("not a vaezip file"), 3, "not a vaezip file"),
        (errors.UnsupportedVersionError("newer"), 4, "newer"),
        (errors.UnsupportedImageError("16 bits"), 4, "16 bits"),
        (errors.ModelMismatchError("other weights"), 4, "other weights"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero (a fault of vaezip"),
    ],
)
def test_every_exception_is_a_code_and_one_line(
    error: Exception, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(source: str) -> None:
        raise error

    assert jobs.run(["a\nb"], work, effect=jobs.NOTHING_WRITTEN, verbose=0) == code
    text = capsys.readouterr().err
    assert text.startswith(f"vaezip: a b: {words}") and text.endswith(". Nothing was written.\n")
    assert text.count("\n") == 1


def test_traceback_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    def work(source: str) -> None:
        raise ZeroDivisionError

    jobs.run(["a"], work, effect="", verbose=2)
    assert "Traceback" in capsys.readouterr().err


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the models that were loaded; a tiny one is the default."""
    loaded: list[str] = []
    tiny = codec()

    def load(model: models.Weights, **options: object) -> object:
        loaded.append(model.id)
        return tiny

    monkeypatch.setattr(models, "load", load)
    monkeypatch.setattr(models, "read", lambda model=None: weights() if model is None else read(model))
    return loaded


def test_a_command_loads_a_model_once(tmp_path: Path, tiny_png: bytes, loads: list[str]) -> None:
    path = str(write_weight_file(tmp_path / "tiny.safetensors"))
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for picture in pictures:
        picture.write_bytes(tiny_png)
    arguments = ["-q", "--mode", "model", "--model", path, *map(str, pictures)]
    assert compress.command.main(arguments, standalone_mode=False) == 0
    assert loads == ["tiny"]
    packed = [f"{picture}.vaez" for picture in pictures]
    assert decompress.command.main(["-q", "-f", "--model", path, *packed], standalone_mode=False) == 0
    assert loads == ["tiny"] * 2
    assert demo.command.main(["-q", *map(str, pictures)], standalone_mode=False) == 0
    assert len(loads) == 3


def test_a_command_loads_no_model_that_it_does_not_need(tmp_path: Path, tiny_png: bytes, loads: list[str]) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(tiny_png)
    assert compress.command.main(["-q", "--mode", "stored", str(picture)], standalone_mode=False) == 0
    assert decompress.command.main(["-q", "-f", f"{picture}.vaez"], standalone_mode=False) == 0
    assert loads == []


def test_arrays_there_and_back(tmp_path: Path, loads: list[str]) -> None:
    """Their files come back byte for byte, by the model or not."""
    arrays = {
        "pixels": np.arange(60, dtype=np.uint8).reshape(4, 5, 3),
        "numbers": np.arange(60.0).reshape(4, 15),
    }
    for name, array in arrays.items():
        path = tmp_path / f"{name}.npy"
        np.save(path, array)
        before = path.read_bytes()
        assert compress.command.main(["-q", str(path)], standalone_mode=False) == 0
        path.unlink()
        assert decompress.command.main(["-q", f"{path}.vaez"], standalone_mode=False) == 0
        assert path.read_bytes() == before


def test_table() -> None:
    assert output.table([["name", "bytes"], ["a", "7"]]) == "name  bytes\na         7"


@pytest.mark.parametrize(
    "arguments", [["train", "photos", "--out", "a.safetensors"], ["export", "a.ckpt", "--out", "a.safetensors"]]
)
def test_without_torch_it_says_how_to_get_it(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main.run(arguments) == 1
    assert f"vaezip {arguments[0]} needs torch: pip install 'bbans[train]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_help_has_an_example(name: str) -> None:
    command = main.group.get_command(click.Context(main.group), name)
    assert command is not None
    assert re.search(rf"^ *Examples?:\n *(.* )?vaezip {name}\b", command.help or "", re.MULTILINE)
