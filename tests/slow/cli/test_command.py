"""The command as a user runs it: pipes, signals, exit codes, names, what is left on the disk."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bbans import api, models
from bbans.formats import container
from bbans.images.picture import read_picture

GRAY = Path(__file__).parents[2] / "data" / "golden" / "gray.safetensors"
VAEZIP = [sys.executable, "-m", "vaezip_cli.main"]


def vaezip(*arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "VAEZIP_DEBUG": "", **environment}
    return subprocess.run(
        [*VAEZIP, *map(str, arguments)], input=stdin, capture_output=True, env=environment, timeout=600, check=False
    )


def assert_one_line(done: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    """It failed with that code and a single line that has those words."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert done.stdout == b""
    assert text.startswith("vaezip: ") and text.count("\n") == 1, text
    for word in words:
        assert word in text


@pytest.fixture
def png(tmp_path: Path, tiny_png: bytes) -> Path:
    path = tmp_path / "img.png"
    path.write_bytes(tiny_png)
    return path


@pytest.fixture
def packed(png: Path) -> Path:
    path = png.with_name("img.png.vaez")
    path.write_bytes(api.compress(png.read_bytes(), mode="stored").data)
    return path


def test_there_and_back(png: Path) -> None:
    png.chmod(0o640)
    os.utime(png, ns=(10**18, 10**18 + 123))
    done = vaezip("compress", "--mode", "stored", png)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"bits/dim" in done.stderr
    original = png.read_bytes()
    png.unlink()
    assert vaezip("decompress", "-q", f"{png}.vaez").stderr == b""
    assert read_picture(png.read_bytes()) == read_picture(original)
    assert png.stat().st_mode & 0o777 == 0o640
    assert png.stat().st_mtime_ns == 10**18 + 123
    assert {path.name for path in png.parent.iterdir()} == {"img.png", "img.png.vaez"}


def test_there_and_back_by_the_model(png: Path) -> None:
    target = png.with_name("packed")
    done = vaezip("compress", "--mode", "model", "--threads", "1", "-o", target, png)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    again = vaezip("compress", "--mode", "model", "--threads", "2", "-o", "-", png)
    assert again.stdout == target.read_bytes()
    assert api.inspect(target.read_bytes()).mode == "model"
    back = vaezip("decompress", "-o", "-", target)
    assert read_picture(back.stdout) == read_picture(png.read_bytes())


def test_pipes(tiny_png: bytes) -> None:
    done = vaezip("compress", "--mode", "stored", "-", stdin=tiny_png)
    assert (done.returncode, done.stderr) == (0, b"")
    back = vaezip("decompress", "-", stdin=done.stdout)
    assert (back.returncode, back.stderr) == (0, b"")
    assert read_picture(back.stdout) == read_picture(tiny_png)


def test_file_to_stdout_and_stdin_to_file(png: Path, packed: Path) -> None:
    assert vaezip("decompress", "-o", "-", packed).stdout == api.decompress(packed.read_bytes()).data
    target = png.with_name("other")
    assert vaezip("compress", "--mode", "stored", "-o", target, "-", stdin=png.read_bytes()).returncode == 0
    assert target.read_bytes() == packed.read_bytes()


def test_no_binary_to_a_terminal(png: Path, packed: Path) -> None:
    master, slave = pty.openpty()
    try:
        for command in (["compress", "-o", "-", png], ["decompress", "-o", "-", packed]):
            arguments = [*VAEZIP, *map(str, command)]
            done = subprocess.run(arguments, stdout=slave, stderr=subprocess.PIPE, check=False)
            assert done.returncode == 1
            assert b"terminal" in done.stderr
    finally:
        os.close(master)
        os.close(slave)


def test_existing_targets(png: Path, packed: Path) -> None:
    original = png.read_bytes()
    packed.write_bytes(b"mine")
    assert_one_line(vaezip("compress", png), 1, "img.png.vaez exists", "use -f", "Nothing was written.")
    assert packed.read_bytes() == b"mine"
    assert vaezip("compress", "-f", "--mode", "stored", png).returncode == 0
    assert_one_line(vaezip("decompress", packed), 1, "img.png exists", "use -f")
    assert_one_line(vaezip("compress", "-f", "-o", png, png), 1, "same file")
    link = png.with_name("link")
    link.hardlink_to(png)
    assert_one_line(vaezip("compress", "-f", "-o", link, png), 1, "same file")
    assert_one_line(vaezip("compress", "-f", "-o", png.parent, png), 1, "is not a file")
    assert_one_line(vaezip("compress", "-f", "-o", "/dev/null", png), 1, "is not a file")
    assert png.read_bytes() == original


def test_output_dir_and_files_of_one_name(png: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "img.png").write_bytes(png.read_bytes())
    assert_one_line(vaezip("compress", "--output-dir", png / "out", png), 1, "img.png/out cannot be made: Not a directory")
    out = tmp_path / "new" / "out"
    assert vaezip("compress", "--dry-run", "--output-dir", out, png).returncode == 0
    assert not out.parent.exists()
    done = vaezip("compress", "-q", "-f", "--mode", "stored", "--output-dir", out, png, tmp_path / "sub" / "img.png")
    assert done.returncode == 1
    assert b"just written" in done.stderr
    assert [path.name for path in out.iterdir()] == ["img.png.vaez"]


def test_many_files_go_on_and_give_the_highest_code(png: Path, packed: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.vaez"
    damaged.write_bytes(packed.read_bytes()[:-1])
    png.unlink()
    done = vaezip("decompress", tmp_path / "missing.vaez", damaged, packed)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 3
    assert ["missing.vaez: No such file" in lines[0], "cut short" in lines[1], "img.png: " in lines[2]] == [True] * 3
    assert lines[3].startswith("vaezip: 1 file, ") and lines[3].endswith("; 2 failed")
    assert png.exists()


def test_bad_input(png: Path, packed: Path, tmp_path: Path, tiny_png: bytes) -> None:
    """Each class: its code, one line, nothing written."""
    data = packed.read_bytes()
    parsed = container.unpack(data)
    model = container.ModelHeader("no-such-model", bytes(8), container.Accounting(1, 0, 0, 0))
    sections = (container.Section(container.SectionKind.MESSAGE, b"?"),)
    fields = {**vars(parsed), "mode": container.Mode.MODEL, "method": 0, "model": model, "sections": sections}
    png.unlink()
    packed.unlink()
    cases = {
        "not a vaezip file": (b"\x89PNG", 3),
        "it is empty": (b"", 3),
        "cut short": (data[: len(data) // 2], 3),
        "bytes too many": (data + b"\0", 3),
        "): its check failed": (data[:-1] + bytes([data[-1] ^ 1]), 3),
        "header: its check failed": (data[:7] + bytes([data[7] ^ 1]) + data[8:], 3),
        "newer": (b"VAEZ\x02" + data[5:], 4),
        "no-such-model": (container.pack(container.Container(**fields)), 4),
    }
    for number, (words, (content, code)) in enumerate(cases.items()):
        path = tmp_path / f"{number}.png.vaez"
        path.write_bytes(content)
        assert_one_line(vaezip("decompress", path), code, str(path), words, "Nothing was written.")
    png.write_bytes(tiny_png)
    assert_one_line(vaezip("compress", "--model", "no-such-model", png, png), 4, "no-such-model")
    assert_one_line(vaezip("compress", "--model", GRAY, png), 4, "'gray' is not for pictures of any size, but for sets of images")
    png.unlink()
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert_one_line(vaezip("compress", text), 4, "not a picture", "Nothing was written.")
    assert_one_line(vaezip("compress", "-", stdin=b""), 4, "the file is empty", "Nothing was written.")
    assert_one_line(vaezip("compress", tmp_path / "missing"), 1, "No such file")
    assert_one_line(vaezip("compress", tmp_path), 1, "is a folder: -r takes the files in it")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.png.vaez" for number in range(8)] + ["text.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["compres"],
        ["compress"],
        ["compress", "--level", "9", "a"],
        ["compress", "--threads", "0", "a"],
        ["compress", "--mode", "best", "a"],
        ["compress", "--effort", "0", "a"],
        ["compress", "-o", "x", "a", "b"],
        ["compress", "-o", "x", "--output-dir", "y", "a"],
        ["compress", "-o", "", "a"],
        ["compress", "--output-dir", "", "a"],
        ["compress", "--output-dir", "y", "-"],
        ["compress", "--mode", "stored", "--model", "photo-6", "a"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = vaezip(*arguments)
    assert_one_line(done, 2, "--help")
    assert len(done.stderr) < 150


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        (["compress", "--mode", "stored", "-o", "-", "img.png", ">&-"], 1, b"stdout is closed"),
        (["list", "img.png.vaez", ">&-"], 0, b""),
        (["compress", "-", "<&-"], 1, b"stdin is closed"),
        (["decompress", "-v", "-o", "-", "img.png.vaez", "2>&-"], 0, b""),
        (["compress", "-f", "--mode", "stored", "img.png", "2>/dev/full"], 0, b""),
    ],
)
def test_closed_streams(packed: Path, command: list[str], code: int, error: bytes) -> None:
    line = " ".join([*VAEZIP, *command])
    done = subprocess.run(["sh", "-c", line], cwd=packed.parent, capture_output=True, check=False)
    assert done.returncode == code
    assert error in done.stderr and done.stderr.count(b"\n") == bool(error), done.stderr
    assert done.stdout == (api.decompress(packed.read_bytes()).data if "2>&-" in command else b"")


def test_names_that_are_no_text(packed: Path) -> None:
    """Nothing in a name breaks a line or gets to the terminal as a command."""
    for name in (b"\x1b[31mred.vaez", b"new\nline.vaez", b"no-utf-8-\xff.vaez"):
        path = os.path.join(os.fsencode(packed.parent), name)
        with open(path, "wb") as file:
            file.write(packed.read_bytes())
        for arguments in (["list", path], ["list", path + b"x"], ["decompress", "-o", "-", path + b"x"]):
            done = subprocess.run([*VAEZIP, *arguments], capture_output=True, check=False)  # type: ignore[list-item]
            assert b"\x1b" not in done.stdout + done.stderr
            assert (done.stdout + done.stderr).count(b"\n") == (2 if done.returncode == 0 else 1)


def test_double_dash_ends_options(tmp_path: Path, tiny_png: bytes) -> None:
    (tmp_path / "-f.png").write_bytes(tiny_png)
    arguments = [*VAEZIP, "compress", "-q", "--mode", "stored", "--", "-f.png"]
    assert subprocess.run(arguments, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "-f.png.vaez").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(png: Path, number: signal.Signals, code: int) -> None:
    """While it waits for the second input, after the first was written."""
    arguments = [*VAEZIP, "compress", "--mode", "stored", str(png), "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, **pipes) as process:  # type: ignore[call-overload]
        assert b"img.png.vaez" in process.stderr.readline()
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=600) == code
        rest = process.stderr.read()
    assert rest.startswith(b"vaezip: ") and rest.count(b"\n") == 1
    assert {path.name for path in png.parent.iterdir()} == {"img.png", "img.png.vaez"}


def test_a_signal_in_a_callback_from_c_is_not_lost() -> None:
    """Python drops exceptions there. A lost one would end in exit code 0 after all."""
    program = """
import ctypes, os, signal, time
from vaezip_cli import main

def work(*_, **__):
    ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGTERM))()
    time.sleep(20)

main.group.main = work
main.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert_one_line(done, 143, "terminated")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, sample_png: bytes) -> None:
    path = tmp_path / "large.vaez"
    path.write_bytes(api.compress(sample_png, mode="stored", verify=False).data)
    arguments = [*VAEZIP, "decompress", "-o", "-", str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=600) == 1


def test_list(png: Path, packed: Path, tmp_path: Path) -> None:
    done = vaezip("list", packed, packed)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and len(lines) == 4
    assert "5x3x3" in lines[1] and "stored" in lines[1] and lines[3].startswith("total of 2")

    objects = [json.loads(line) for line in vaezip("list", "--json", packed, png, packed).stdout.splitlines()]
    failure = objects.pop(1)
    assert failure.pop("error").startswith("not a vaezip file") and len(objects) == 2
    assert failure == {"schema": 1, "file": str(png), "status": "failed", "code": 3}
    info = api.inspect(packed.read_bytes())
    assert objects[0]["schema"] == 1 and objects[0]["file"] == str(packed)
    assert objects[0]["bits_per_dim"] == info.bits_per_dim
    assert info.metadata_bytes > 0
    assert objects[0]["restores"] in ("file", "picture")  # by which zlib the PNG was written
    assert objects[0]["sections"][:2] == [
        {"kind": "metadata", "size_bytes": info.metadata_bytes - sum(one.size_bytes for one in info.sections[2:])},
        {"kind": "payload", "size_bytes": info.coded_bytes},
    ]
    done = vaezip("list", png)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (3, b"", 1)


def test_list_of_a_model_file_adds_up(packed: Path) -> None:
    parsed = container.unpack(packed.read_bytes())
    model = container.ModelHeader("no-such-model", bytes(8), container.Accounting(7000, 900, 800, 0))
    sections = (container.Section(container.SectionKind.MESSAGE, bytes(900)),)
    fields = {**vars(parsed), "mode": container.Mode.MODEL, "method": 0, "model": model, "sections": sections}
    data = container.pack(container.Container(**fields))
    packed.write_bytes(data)
    lines = vaezip("list", "-v", packed).stdout.decode().splitlines()
    start = next(number for number, line in enumerate(lines) if "where the bits go" in line)
    bits = [int(line.rsplit("%", 1)[0].split()[-3]) for line in lines[start + 1 : start + 8]]
    assert bits[:4] == [7000, 900, -800, 0]
    assert sum(bits[:-1]) == bits[-1] == 8 * len(data)
    [found] = [json.loads(line) for line in vaezip("list", "--json", packed).stdout.splitlines()]
    assert found["given_back_share"] == 800 / (8 * len(data))


def test_list_of_a_file_that_claims_a_source_of_no_bytes(packed: Path) -> None:
    parsed = container.unpack(packed.read_bytes())
    packed.write_bytes(container.pack(container.Container(**{**vars(parsed), "source_bytes": 0})))
    for arguments in ([packed, packed], ["-v", packed]):
        done = vaezip("list", *arguments)
        assert (done.returncode, done.stderr) == (0, b"")


def test_help_and_version() -> None:
    assert b"decompress" in vaezip("--help").stdout
    for command in ("compress", "decompress", "list", "demo"):
        done = vaezip(command, "--help")
        assert done.returncode == 0 and done.stdout.count(b"\n") < 50
    assert f"format {container.VERSION}, model {models.DEFAULT_MODEL}, torch " in vaezip("--version").stdout.decode()
