"""vaezip train as a user runs it: from a folder of pictures to files of the new model; errors; interruptions."""

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from vaezip_cli import progress, train

from bbans import api, models
from bbans.images.picture import read_picture
from bbans.training.callbacks import Stopped
from tests.models import picture

VAEZIP = [sys.executable, "-m", "vaezip_cli.main"]
SMALL = ["--size", "width=8", "--size", "blocks=1", "--side", "32", "--batch", "1", "--threads", "1", "--workers", "0"]


def vaezip(*arguments: object, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    environment = {**os.environ, "VAEZIP_DEBUG": ""}
    command = [*VAEZIP, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False, preexec_fn=limit)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(picture(40, 48, seed=index)).save(folder / f"{index}.png")
    return folder


def test_from_photos_to_files_of_the_new_model(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine-1.safetensors"
    (photos / "broken.png").write_bytes(b"no picture")
    Image.fromarray(picture(40, 48, 4, seed=5)).save(photos / "alpha.png")
    done = vaezip("train", photos, "--out", out, "--steps", "4", "--every", "2", *SMALL)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("vaezip: ") for line in lines)
    for words in ("broken.png: not a picture", "1 of 4 pictures (5 %", "step 2/4, ", "step 4/4, 0 s to go: loss ", "4 steps done"):
        assert sum(words in line for line in lines) == 1, words
    table = done.stdout.splitlines()
    assert table[0].split()[-2:] == ["training", "validation"]
    assert [line.split()[-2:] for line in table[1:2]] == [["1", "1"]]
    assert all(2 < float(rate) < 12 for line in table[2:] for rate in line.split()[-2:]) and len(table) == 4

    assert models.read(out).id == "mine-1"
    assert models.read(out).config["width"] == 8
    suffixes = {"ckpt", "jsonl", "safetensors"}
    if any("matplotlib" in line for line in lines):
        assert not out.with_suffix(".png").exists()
    else:
        suffixes.add("png")
    assert {path.suffix[1:] for path in tmp_path.iterdir() if path.is_file()} == suffixes
    rows = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["start", "plan", "report", "report", "end", "file", "file", "evaluation"]
    assert 8 * rows[6]["file_bytes"] / rows[6]["dims"] == pytest.approx(rows[7]["validation_bits_per_dim"])

    exported = tmp_path / "mine-0.safetensors"
    assert vaezip("export", out.with_suffix(".ckpt"), "--out", exported, "--id", "mine-1").returncode == 0
    assert exported.read_bytes() == out.read_bytes()
    exported.unlink()

    source = photos / "0.png"
    packed = vaezip("compress", "--mode", "model", "--model", out, "--threads", "1", source)
    assert packed.returncode == 0 and "model mine-1" in packed.stderr
    assert api.inspect((photos / "0.png.vaez").read_bytes()).weights_hash == models.read(out).hash.hex()
    back = vaezip("decompress", "--model", out, "--threads", "1", "-o", tmp_path / "back.png", photos / "0.png.vaez")
    assert back.returncode == 0
    assert read_picture((tmp_path / "back.png").read_bytes()) == read_picture(source.read_bytes())

    again = vaezip("train", photos, "--out", out, "--steps", "4", "--every", "2", *SMALL)
    assert again.returncode == 1 and "exists: use -f to replace it" in again.stderr
    tuned = tmp_path / "tuned.safetensors"
    sizeless = [option for option in SMALL if option not in ("--size", "width=8", "blocks=1")]
    done = vaezip("train", photos, "--out", tuned, "--steps", "1", "--rate", "0", "--from", out, "--id", "mine-2", *sizeless)
    assert done.returncode == 0, done.stderr
    assert models.read(tuned).id == "mine-2"
    for name, layer in models.read(out).layers.items():
        assert (layer.weight == models.read(tuned).layers[name].weight).all()


def test_from_an_array_to_an_archive(tmp_path: Path) -> None:
    """The same command for a family for images of one size; its model codes archives, and can be trained further."""
    images = np.concatenate([picture(8, 8, 1, seed=seed)[None] for seed in range(40)])
    idx = tmp_path / "images-idx3-ubyte.gz"
    idx.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 8, 0, 0, 0, 8]) + images.tobytes()))
    out, more = tmp_path / "mine.safetensors", tmp_path / "more.safetensors"
    family = ["--model", "topdown", "--binarise", "sampled", "--steps", "2", "--threads", "1", "--kl-warm-up", "0.5"]
    sizes = ["divisors=8,4", "latents=2,2/", "widths=8,8", "blocks=0,0", "features=2", "hidden=8", "context=0"]
    done = vaezip("train", idx, *family, "--out", out, *(word for size in sizes for word in ("--size", size)))
    assert done.returncode == 0, done.stderr
    assert "training on 38 images, 8x8x1, samples 0 and 1 (sampled); 2 to measure with" in done.stderr
    table = done.stdout.splitlines()
    assert [line.split()[-2:] for line in table[:2]] == [["training", "validation"], ["2", "2"]]
    assert table[3].startswith("its negative ELBO ") and len(table) == 4
    trained = models.read(out)
    assert (trained.id, trained.architecture, trained.config["latents"]) == ("mine", "topdown", [[2, 2], []])
    schedule = json.loads(out.with_suffix(".jsonl").read_text().splitlines()[0])["schedule"]
    assert (schedule["batch"], schedule["kl_until"]) == (train.BATCH_OF_IMAGES, 0.5)

    done = vaezip("train", idx, *family, "--out", more, "--from", out, "--size", "context=1", "--no-evaluation")
    assert done.returncode == 0, done.stderr
    assert models.read(more).config == trained.config | {"context": 1}


def test_interrupted_and_resumed(photos: Path, tmp_path: Path) -> None:
    """By a signal, at any step: the checkpoint holds it, and the same command goes on to what an uncut run gives."""
    arguments = ["--steps", "120", "--every", "50", "--float32", "--no-evaluation", "--valid", photos, *SMALL]
    arguments[4:4] = ["--rate", "0.002"]
    cut, uncut = tmp_path / "cut.safetensors", tmp_path / "uncut.safetensors"
    (tmp_path / "more").mkdir()
    Image.fromarray(picture(64, 64, seed=9)).save(tmp_path / "more" / "9.png")
    command = ["train", photos, tmp_path / "more", "--id", "mine", *arguments]
    with subprocess.Popen([*VAEZIP, *map(str, command), "--out", str(cut)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "training on 1 pictures" not in process.stderr.readline():
            pass
        while not cut.with_suffix(".jsonl").exists() or '"plan"' not in cut.with_suffix(".jsonl").read_text():
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # as torchrun does: no reason to hurry
        assert process.wait(timeout=120) == 130
        line = process.stderr.read()
    line = line.splitlines()[-1]
    assert line.startswith("vaezip: interrupted after step ")
    assert f"{cut.with_suffix('.ckpt')} is its checkpoint: the same command goes on from there." in line
    step = torch.load(cut.with_suffix(".ckpt"), weights_only=True)["step"]
    assert 0 < step < 120 and f"step {step} of 120" in line
    assert not cut.exists()
    other = vaezip(*command, "--out", cut, "--seed", "1")
    assert other.returncode == 1 and "is of another run (seed 0 there, 1 here)" in other.stderr
    for out in (cut, uncut):
        done = vaezip(*command, "--out", out)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert cut.read_bytes() == uncut.read_bytes()


def test_disk_full(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    done = vaezip("train", photos, "--out", out, "--steps", "2", *SMALL, limit_bytes=100_000)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"vaezip: {out.with_suffix('.ckpt')} cannot be written: File too large. No weights were written."
    )
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "mine.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "--out", "a.safetensors"], 1, "nowhere: No such file or directory. No weights were written."),
        (["empty", "--out", "a.safetensors"], 1, "empty: no picture of at least 64 x 64 pixels (0 smaller ones, 0 unreadable)"),
        (["photos", "--out", "a.safetensors"], 1, "photos: no picture of at least 64 x 64 pixels (3 smaller ones, 0 unreadable)"),
        (["photos", "--out", "no/a.safetensors"], 1, "no is no folder"),
        (["photos", "--out", "a.safetensors", "--from", "photo-0"], 4, "no model 'photo-0'"),
        (["photos", "--out", "photos.safetensors"], 1, "photos.png exists: use -f to replace it"),
        (["photos", "--out", "broken.safetensors", "--side", "32"], 3, "broken.ckpt is no checkpoint of a training run"),
        (["photos", "--side", "32", "--valid", "photos", "--out", "a.safetensors"], 1, "nothing is left to train on"),
        (["photos"], 2, "Missing option"),
        (["--out", "a.safetensors"], 2, "Missing argument"),
        (["photos", "--out", "a.pt"], 2, "the name of --out ends in .safetensors"),
        (["photos", "--out", "a b.safetensors"], 2, "'a b': use --id"),
        (["photos", "--out", "a.safetensors", "--minutes", "1", "--steps", "1"], 2, "exclude each other"),
        (["photos", "--out", "a.safetensors", "--minutes", "0"], 2, "--minutes"),
        (["photos", "--out", "a.safetensors", "--side", "48"], 2, "--side is a power of two, not 48"),
        (["photos", "--out", "a.safetensors", "--size", "depth=3"], 2, "'depth=3' is not NAME=NUMBER"),
        (["photos", "--out", "a.safetensors", "--size", "width=x"], 2, "'width=x' is not NAME=NUMBER"),
        (["photos", "--out", "a.safetensors", "--size", "width=8", "--from", "photo-2"], 2, "no --size with it"),
        (["photos", "--out", "a.safetensors", "--optimiser", "sgd"], 2, "--optimiser"),
        (
            ["photos", "--out", "a.safetensors", "--model", "markov", "--side", "32"],
            2,
            "--side is for models of pictures of any size",
        ),
        (["photos", "--out", "a.safetensors", "--binarise", "sampled"], 2, "--binarise is for models of sets of images"),
        (["photos", "--out", "a.safetensors", "--model", "resnet"], 2, "--model"),
        (["photos", "--out", "a.safetensors", "--model", "markov", "--size", "latents=4,x"], 2, "'latents=4,x' is not NAME=NUMBER"),
        (["photos", "--out", "a.safetensors", "--model", "markov", "--size", "channels=1"], 2, "latents=40, hidden=100"),
        (["photos", "--out", "a.safetensors", "--model", "topdown", "--from", "x", "--size", "widths=9,9"], 2, "no --size with it"),
        (["labels.npy", "--out", "a.safetensors", "--model", "markov"], 4, "labels.npy: its shape is (9,); images are"),
        (["photos", "--out", "a.safetensors", "--model", "topdown"], 4, "do not divide each other and 40x48"),
    ],
)
def test_errors(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("photos.png").write_bytes(b"somebody's picture")
    Path("broken.ckpt").write_bytes(b"no checkpoint")
    np.save("labels.npy", np.zeros(9, np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = vaezip("train", *arguments, "--steps", "1") if code != 2 else vaezip("train", *arguments)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vaezip: ") and words in last
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["broken.ckpt", "--out", "a.safetensors"], 3, "broken.ckpt is no checkpoint of a training run, or damaged"),
        (["none.ckpt", "--out", "a.safetensors"], 1, "No such file or directory. Nothing was written."),
        (["broken.ckpt", "--out", "old.safetensors"], 1, "exists: use -f to replace it"),
        (["broken.ckpt", "--out", "a.pt"], 2, "the name of --out ends in .safetensors"),
        (["broken.ckpt", "--out", "a.safetensors", "--id", "a b"], 2, "'a b': use --id"),
    ],
)
def test_errors_of_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.ckpt").write_bytes(b"no checkpoint")
    Path("old.safetensors").write_bytes(b"somebody's model")
    done = vaezip("export", *arguments)
    assert done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1
    assert Path("old.safetensors").read_bytes() == b"somebody's model" and not Path("a.safetensors").exists()


@pytest.mark.parametrize(
    ("family", "settings", "chosen"),
    [
        ("photo", ("width=8", "adaptive=0"), {"width": 8, "adaptive": False}),
        ("markov", ("latents=50", "hidden=200"), {"latents": (50,), "hidden": (200,)}),
        ("markov", ("latents=20,10", "components=3"), {"latents": (20, 10), "components": 3}),
        ("topdown", ("latents=20,20/2,2/", "context=0"), {"latents": ((20, 20), (2, 2), ()), "context": 0}),
    ],
)
def test_sizes(family: str, settings: tuple[str, ...], chosen: dict[str, object]) -> None:
    assert train.sizes_of(family, settings) == chosen
    assert all(type(value) is type(train.sizes_of(family, settings)[name]) for name, value in chosen.items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(photos: Path, tmp_path: Path) -> None:
    done = vaezip("train", photos, "--out", tmp_path / "a.safetensors", "--device", "cuda", *SMALL)
    assert done.returncode == 4
    assert "the device 'cuda:0' cannot be used" in done.stderr and done.stderr.count("\n") == 1


def test_help_needs_no_torch() -> None:
    assert "--minutes" in vaezip("train", "--help").stdout
    code = "import vaezip_cli.train, sys; print('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3600 * 30 + 61, "30 h 01 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_interruptions_say_what_is_left(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    assert train.interrupted(Stopped(), out) == "interrupted before the first step of this session. No weights were written."
    out.with_suffix(".ckpt").touch()
    assert "after step 3 of 9. " in train.interrupted(Stopped(3, 9), out) and "goes on from there" in train.left(out)
    out.touch()
    assert train.interrupted(Stopped(), out) == f"interrupted while real files were measured. {out} is written."
