"""The commands that look: test, estimate, inspect, doctor, models, completion, manual."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vaezip_cli import completion, doctor, estimate, main, manual, progress
from vaezip_cli import inspect as cli_inspect

from bbans import api, models, sets
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.elbo import draw, pixel_bits
from bbans.models.registry import family_of
from tests.make_golden import FOLDER

GRAY = FOLDER / "gray.safetensors"


def run(*arguments: object) -> int:
    code = main.group.main([str(argument) for argument in arguments], standalone_mode=False)
    return code or 0


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The golden picture, and its file by the model beside it."""
    path = tmp_path / "photo.png"
    path.write_bytes((FOLDER / "photo-6.png").read_bytes())
    path.with_name("photo.png.vaez").write_bytes((FOLDER / "photo-6.png.vaez").read_bytes())
    return path


def test_test_of_a_picture(photo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    packed = f"{photo}.vaez"
    before = sorted(photo.parent.iterdir())
    assert run("test", packed, "--against", photo) == 0
    assert f"photo.png.vaez: the same file as {photo}" in capfd.readouterr().err
    assert run("test", packed) == 0 and "photo.png.vaez: whole" in capfd.readouterr().err
    assert sorted(photo.parent.iterdir()) == before
    with Image.open(photo) as image:
        changed = image.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(photo)
    assert run("test", packed, "--against", photo) == 1
    assert "another picture than" in capfd.readouterr().err
    assert run("test", packed, "--against", photo.with_name("none.png")) == 1
    assert "none.png cannot be read: No such file" in capfd.readouterr().err
    Path(packed).write_bytes(Path(packed).read_bytes()[:-1])
    assert run("test", packed) == 3


def test_test_of_folders_and_archives(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos, packed = tmp_path / "photos", tmp_path / "packed"
    (photos / "sub").mkdir(parents=True)
    for number, name in enumerate(["a.ppm", "sub/b.bmp", "c.gif"]):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)).save(photos / name)
    assert run("compress", "-q", "-r", photos, "--output-dir", packed) == 0
    sets.pack(photos, packed / "photos.vaeza")
    digits = np.random.default_rng(0).integers(0, 2, (4, 28, 28), np.uint8)
    np.save(tmp_path / "digits.npy", digits)
    sets.pack(digits, tmp_path / "digits.vaeza", chunk=2)
    capfd.readouterr()
    assert run("test", "--json", "-r", packed, "--against", photos) == 0
    objects = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(objects) == 4 and all(found["result"].startswith(("the same file", "3 images: the same")) for found in objects)
    assert run("test", tmp_path / "digits.vaeza", "--against", tmp_path / "digits.npy") == 0
    np.save(tmp_path / "digits.npy", 1 - digits)
    assert run("test", tmp_path / "digits.vaeza", "--against", tmp_path / "digits.npy") == 1
    (photos / "a.ppm").write_bytes(b"P6 1 1 255 abc")
    assert run("test", "-r", packed, "--against", photos) == 1
    data = bytearray((tmp_path / "digits.vaeza").read_bytes())
    data[-1] ^= 1
    (tmp_path / "digits.vaeza").write_bytes(data)
    assert run("test", tmp_path / "digits.vaeza") == 3


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (300, 500), (470, 471), (320, 4800), (4800, 320), (1, 10**6), (2000, 3000), (100, 9000)]
)
def test_squares_lie_in_the_picture_and_apart(height: int, width: int) -> None:
    parts = estimate.squares(height, width)
    seen = np.zeros((height, width), np.uint8)
    for rows, columns in parts:
        assert 0 <= rows.start < rows.stop <= height and 0 <= columns.start < columns.stop <= width
        seen[rows, columns] += 1
    assert seen.max() == 1
    assert len(parts) == 1 or seen.sum() <= estimate.SQUARES * estimate.SIDE_PX**2
    assert len(parts) <= estimate.SQUARES


def test_estimate(photo: Path, tmp_path: Path, sample_png: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("estimate", "--json", photo) == 0
    [found] = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert found["exact"] and found["estimated_bytes"] == pytest.approx(photo.with_name("photo.png.vaez").stat().st_size, abs=8)
    picture = np.asarray(Image.open(photo).convert("RGB"))
    large = tmp_path / "large.png"
    Image.fromarray(np.tile(picture, (600 // picture.shape[0] + 1, 600 // picture.shape[1] + 1, 1))).save(large)
    assert run("estimate", large) == 0
    assert "about" in capfd.readouterr().out
    (tmp_path / "text.png").write_text("no picture")
    assert run("estimate", tmp_path / "text.png") == 4


def test_bits_of_pixels_add_up_to_the_bound(photo: Path) -> None:
    """The map is the likelihood and the latents of `elbo.draw`, pixel by pixel."""
    weights = models.read()
    network = family_of(weights).load_network(weights)
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    for part in (pixels, pixels[:, :, :1], pixels[:1], pixels[:33, :47]):
        of_pixels, of_latents = pixel_bits(network, np.ascontiguousarray(part))
        assert of_pixels.shape == of_latents.shape == part.shape[:2] and of_pixels.min() >= 0
        bits = draw(network, [np.ascontiguousarray(part)], draws=1).bits
        assert of_pixels.sum() + of_latents.sum() == pytest.approx(bits.sum(), rel=0.02)
    assert isinstance(models.load(weights), PhotoCodec)
    noisy = pixels.copy()
    noisy[:, : pixels.shape[1] // 2] = 128
    left, right = np.array_split(pixel_bits(network, noisy)[0], 2, axis=1)
    assert left.sum() < right.sum() / 3


def test_inspect(photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    heat = tmp_path / "heat.png"
    assert run("inspect", f"{photo}.vaez", "--heatmap", heat) == 0
    text = capfd.readouterr().out
    assert "where the bits go" in text and "% of the bits" in text and "heat map" in text
    with Image.open(heat) as drawn, Image.open(photo) as original:
        assert (drawn.mode, drawn.size) == ("RGB", original.size) and len(drawn.getcolors(10**6) or ()) > 50
    assert run("inspect", photo, "--heatmap", heat) == 1
    assert "heat.png exists: use -f" in capfd.readouterr().err
    assert run("inspect", "--json", photo, "--heatmap", heat, "-f") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["mode"] == "model" and 0 <= found["latents_share"] < 0.1
    stored = tmp_path / "stored.vaez"
    stored.write_bytes(api.compress(photo.read_bytes(), mode="stored").data)
    assert run("inspect", stored, "--heatmap", heat, "-f") == 0
    assert "were it coded by the model" in capfd.readouterr().out


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


def test_progress_of_inspect_and_estimate(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((200, 24)))
    monkeypatch.setattr(cli_inspect, "Ticker", lambda quiet: progress.Ticker(quiet, 0.0, 0.0))
    monkeypatch.setattr(estimate, "Ticker", lambda quiet: progress.Ticker(quiet, 0.0, 0.0))
    monkeypatch.setattr(estimate, "SIDE_PX", 16)
    wide = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 99, 3), np.uint8)).save(wide)
    for arguments, words in {
        ("inspect", photo): ["photo.png: coding, "],
        ("inspect", f"{photo}.vaez", "--heatmap", tmp_path / "bits.png"): ["photo.png.vaez: decoding, ", "counting the bits"],
        ("estimate", wide): ["wide.png: squares coded: 0 of 6", "wide.png: squares coded: 5 of 6"],
    }.items():
        for quiet in (False, True):
            terminal = Terminal()
            with contextlib.redirect_stderr(terminal):
                assert run(*arguments, *(["-q"] if quiet else []), *(["-f"] if "--heatmap" in arguments and quiet else [])) == 0
            text = terminal.getvalue()
            assert [word in text for word in words] == [not quiet] * len(words), text
            assert text.endswith("" if quiet else "\r\x1b[K")


def test_doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    best = next(way for way in doctor.ways(["cpu"]) if way.backend == "native")
    assert {way.backend for way in doctor.ways(["cpu"])} == {"native", "reference"}
    assert doctor.ways(["cuda"]) == [doctor.Way("cuda")]
    monkeypatch.setattr(doctor, "ways", lambda devices: [best])
    assert run("doctor") == 0
    assert capfd.readouterr().out.endswith("this machine reproduces format v1 bit for bit: yes\n")
    for name in ("photo-6.png", "photo-6.png.vaez"):
        (tmp_path / name).write_bytes((doctor.FOLDER / name).read_bytes())
    digests = json.loads((doctor.FOLDER / doctor.SETS).read_text())
    (tmp_path / doctor.SETS).write_text(json.dumps({"mnist-bits-1": digests["mnist-1"], "none": ""}))
    monkeypatch.setattr(doctor, "FOLDER", tmp_path)
    assert run("doctor", "--json") == 1
    *found, last = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [check["fault"] and check["fault"][:20] for check in found] == [None, "it makes other bits", "no model 'none': it "]
    assert last["reproduces"] is False


def test_the_golden_files_of_the_doctor_are_the_golden_files() -> None:
    for name in ("photo-6.png", "photo-6.png.vaez"):
        assert (doctor.FOLDER / name).read_bytes() == (FOLDER / name).read_bytes()
    shipped = {id for id in models.installed() if not family_of(models.read(id)).any_size}
    assert json.loads((doctor.FOLDER / doctor.SETS).read_text()).keys() == shipped


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gray.safetensors").write_bytes(GRAY.read_bytes())
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv("BBANS_MODELS", str(tmp_path))
    assert run("models", "--json") == 4
    out, err = capfd.readouterr()
    objects = {found.get("id", found["file"]): found for found in map(json.loads, out.splitlines())}
    assert "broken.safetensors: it is not a weight file" in err and err.count("\n") == 1
    weights = models.read(GRAY)
    assert objects["gray"]["weights_hash"] == weights.hash.hex() and objects["gray"]["takes"] == "images of 4x3x1"
    assert objects["photo-6"]["default"] and objects["photo-6"]["takes"] == "pictures"
    assert objects["mnist-bits-1"]["takes"] == "images of 28x28x1, binary"
    monkeypatch.setenv("BBANS_MODELS", str(tmp_path / "none"))
    assert run("models") == 0 and "photo-6" in capfd.readouterr().out


def test_completion() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert completion.VARIABLE in completion.script(shell) and "vaezip" in completion.script(shell)
    environment = {**os.environ, completion.VARIABLE: "bash_complete", "COMP_WORDS": "vaezip compress --sk", "COMP_CWORD": "2"}
    done = subprocess.run([sys.executable, "-m", "vaezip_cli.main"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,--skip-existing"]


def test_manual(tmp_path: Path) -> None:
    page = manual.page()
    for name in main.COMMANDS:
        assert f'.SS "vaezip {name} ' in page
    assert r"\-\-skip\-existing" in page and ".SH EXIT STATUS" in page
    for line in page.splitlines():  # roff takes what begins so for a command
        assert not line.startswith("'") and (
            not line.startswith(".") or line.split()[0] in (".TH", ".SH", ".B", ".SS", ".PP", ".TP", ".nf", ".fi")
        )
