"""vaezip train as a user runs it: from a folder of pictures to files of the new model; errors; interruptions."""

import contextlib
import gzip
import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from vaezip_cli import main, train
from vaezip_cli.console import Console
from vaezip_cli.output import size
from vaezip_cli.sizes import sizes_of

from bbans import api, models
from bbans.images.picture import read_picture
from bbans.models.registry import families
from bbans.training.callbacks import Status, Stopped
from tests.models import picture
from tests.training import folder_of_pictures

SMALL = ["--size", "width=8", "--size", "blocks=1", "--side", "32", "--batch", "1", "--threads", "1", "--workers", "0"]


@dataclass(frozen=True)
class Done:
    """What a command has left."""

    returncode: int
    stdout: str
    stderr: str


def vaezip(*arguments: object) -> Done:
    """The command in this process, which is left as it was."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook, threads = sys.unraisablehook, torch.get_num_threads()
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = main.run([*map(str, arguments)])
    finally:
        sys.unraisablehook = hook
        torch.set_num_threads(threads)
        for number, handler in signals.items():
            signal.signal(number, handler)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "photos")


@dataclass(frozen=True)
class Trained:
    """A run of four steps, and its files."""

    photos: Path
    out: Path
    done: Done


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    photos, out = folder_of_pictures(folder / "photos"), folder / "mine-1.safetensors"
    (photos / "broken.png").write_bytes(b"no picture")
    Image.fromarray(picture(40, 48, 4, seed=5)).save(photos / "alpha.png")
    done = vaezip("train", photos, "--out", out, "--steps", "4", "--every", "2", *SMALL)
    assert done.returncode == 0, done.stderr
    return Trained(photos, out, done)


def test_what_a_run_says_and_writes(trained: Trained) -> None:
    lines = trained.done.stderr.splitlines()
    assert all(line.startswith("vaezip: ") for line in lines)
    assert lines[0] == "vaezip: loading torch and the pictures"
    for words in (
        "broken.png: not a picture",
        "1 of 4 pictures are held out",
        "training: 4 steps in all",
        "step 2/4, ",
        "step 4/4, 0 s to go: loss ",
        "4 steps done",
    ):
        assert sum(words in line for line in lines) == 1, words
    table = trained.done.stdout.splitlines()
    assert table[0].split()[-2:] == ["training", "validation"]
    assert [line.split()[-2:] for line in table[1:2]] == [["1", "1"]]
    assert all(2 < float(rate) < 12 for line in table[2:] for rate in line.split()[-2:]) and len(table) == 4

    out = trained.out
    assert models.read(out).id == "mine-1"
    assert models.read(out).config["width"] == 8
    suffixes = {"ckpt", "jsonl", "safetensors"}
    if any("matplotlib" in line for line in lines):
        assert not out.with_suffix(".png").exists()
    else:
        suffixes.add("png")
    assert {path.suffix[1:] for path in out.parent.iterdir() if path.stem == out.stem} == suffixes
    rows = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["start", "report", "report", "end", "file", "file", "evaluation"]
    assert 8 * rows[5]["file_bytes"] / rows[5]["dims"] == pytest.approx(rows[6]["validation_bits_per_dim"])


def test_files_of_the_new_model(trained: Trained, tmp_path: Path) -> None:
    source, packed = trained.photos / "0.png", tmp_path / "0.png.vaez"
    done = vaezip("compress", "--mode", "model", "--model", trained.out, "--threads", "1", "-o", packed, source)
    assert done.returncode == 0 and "model mine-1" in done.stderr
    assert api.inspect(packed.read_bytes()).weights_hash == models.read(trained.out).hash.hex()
    back = tmp_path / "back.png"
    assert vaezip("decompress", "--model", trained.out, "--threads", "1", "-o", back, packed).returncode == 0
    assert read_picture(back.read_bytes()) == read_picture(source.read_bytes())


def test_export_of_a_checkpoint(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "mine-0.safetensors"
    done = vaezip("export", trained.out.with_suffix(".ckpt"), "--out", out, "--id", "mine-1")
    assert (done.returncode, done.stderr) == (0, f"vaezip: {out}: {size(len(out.read_bytes()))}, model 'mine-1'\n")
    exported, whole = models.read(out), models.read(trained.out)
    assert (exported.id, exported.digest) == (whole.id, whole.digest)
    assert whole.arrays and not exported.arrays  # what the adaptive stage starts from is learned at the end of a training


def test_a_second_run(trained: Trained, tmp_path: Path) -> None:
    """It replaces nothing unasked; from the weights of the first it goes on with its sizes."""
    again = vaezip("train", trained.photos, "--out", trained.out, "--steps", "4", "--every", "2", *SMALL)
    assert again.returncode == 1 and "exists: use -f to replace it" in again.stderr
    tuned = tmp_path / "tuned.safetensors"
    arguments = ["--steps", "1", "--rate", "0", "--from", trained.out, "--id", "mine-2", "--no-evaluation", *SMALL[4:]]
    done = vaezip("train", trained.photos, "--out", tuned, *arguments)
    assert done.returncode == 0, done.stderr
    assert models.read(tuned).id == "mine-2"
    for name, layer in models.read(trained.out).layers.items():
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
    weights = models.read(out)
    assert (weights.id, weights.architecture, weights.config["latents"]) == ("mine", "topdown", [[2, 2], []])
    schedule = json.loads(out.with_suffix(".jsonl").read_text().splitlines()[0])["schedule"]
    assert (schedule["batch"], schedule["kl_until"]) == (families()["topdown"].batch, 0.5)

    done = vaezip("train", idx, *family, "--out", more, "--from", out, "--size", "context=1", "--no-evaluation")
    assert done.returncode == 0, done.stderr
    assert models.read(more).config == weights.config | {"context": 1}


def test_interrupted_and_resumed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a signal, at any step: the checkpoint holds it, and the same command goes on to what an uncut run gives."""
    arguments = ["--steps", "12", "--every", "5", "--rate", "0.002", "--float32", "--no-evaluation", "--valid", photos, *SMALL]
    cut, uncut = tmp_path / "cut.safetensors", tmp_path / "uncut.safetensors"
    (tmp_path / "more").mkdir()
    Image.fromarray(picture(64, 64, seed=9)).save(tmp_path / "more" / "9.png")
    command = ["train", photos, tmp_path / "more", "--id", "mine", *arguments]

    def step(self: Console, status: Callable[[], Status]) -> None:
        if status().step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)  # as torchrun does: no reason to hurry

    with monkeypatch.context() as patch:
        patch.setattr(Console, "step", step)
        done = vaezip(*command, "--out", cut)
    assert done.returncode == 130
    checkpoint = cut.with_suffix(".ckpt")
    last = f"vaezip: interrupted after step 7 of 12. {checkpoint} is its checkpoint: the same command goes on from there."
    assert done.stderr.splitlines()[-1] == last
    assert torch.load(checkpoint, weights_only=True)["step"] == 7
    assert not cut.exists()
    other = vaezip(*command, "--out", cut, "--seed", "1")
    assert other.returncode == 1 and "is of another run (seed 0 there, 1 here)" in other.stderr
    for out in (cut, uncut):
        done = vaezip(*command, "--out", out)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert ("going on after step 7: 12 steps in all" in done.stderr) == (out == cut)
    assert cut.read_bytes() == uncut.read_bytes()


def test_disk_full(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    command = [sys.executable, "-m", "vaezip_cli.main", "train", photos, "--out", out, "--steps", "2", *SMALL]
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"vaezip: {out.with_suffix('.ckpt')} cannot be written: File too large. No weights were written."
    )
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "mine.jsonl"}
    again = vaezip(*command[3:], "--no-evaluation")  # the same command starts again: there is nothing to lose
    assert again.returncode == 0 and out.exists(), again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "--out", "a.safetensors"], 1, "nowhere: No such file or directory. No weights were written."),
        (["empty", "--out", "a.safetensors"], 1, "empty: no picture of at least 64 x 64 pixels (0 are smaller)"),
        (["photos", "--out", "a.safetensors"], 1, "photos: no picture of at least 64 x 64 pixels (3 are smaller)"),
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
        (["photos", "--out", "a.safetensors", "--size", "width=8", "--from", "photo-6"], 2, "no --size with it"),
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
    assert sizes_of(family, settings) == chosen
    assert all(type(value) is type(sizes_of(family, settings)[name]) for name, value in chosen.items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(photos: Path, tmp_path: Path) -> None:
    done = vaezip("train", photos, "--out", tmp_path / "a.safetensors", "--device", "cuda", *SMALL)
    assert done.returncode == 4
    assert "the device 'cuda:0' cannot be used" in done.stderr.splitlines()[1] and done.stderr.count("\n") == 2


def test_help_needs_no_torch() -> None:
    assert "--minutes" in vaezip("train", "--help").stdout
    code = "import vaezip_cli.train, sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_interruptions_say_what_is_left(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    assert train.interrupted(Stopped(), out) == "interrupted before the first step of this session. No weights were written."
    out.with_suffix(".ckpt").touch()
    assert "after step 3 of 9. " in train.interrupted(Stopped(3, 9), out) and "goes on from there" in train.left(out)
    out.touch()
    assert train.interrupted(Stopped(), out) == f"interrupted while real files were measured. {out} is written."
