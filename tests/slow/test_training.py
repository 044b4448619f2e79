"""Training: crops by index, a loss that falls, resuming as if uninterrupted, two processes as one."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bbans.errors import CorruptDataError, TrainingError
from bbans.exact.qat import Quantised
from bbans.models.photo.config import PhotoConfig
from bbans.models.photo.vae import PhotoVAE
from bbans.models.registry import FAMILIES
from bbans.models.weights import PHOTO
from bbans.training import checkpoint as checkpoints
from bbans.training import loop
from bbans.training.callbacks import Status, Stopped
from bbans.training.data.batches import Batches, batches_from
from bbans.training.data.crops import Crops, change_acquisition
from bbans.training.data.photos import Photo, fingerprint, hold_out, read_photos, without
from bbans.training.journal import Journal
from bbans.training.loop import Machine, train
from bbans.training.metrics import evaluate
from bbans.training.schedule import Schedule
from bbans.training.tasks.photo import PhotoTask
from bbans.training.trainer import Trainer
from tests.callbacks import Rows
from tests.models import TINY, picture, random_vae, weights

PIXELS = [picture(48, 60), picture(40, 90, seed=1)]
PHOTOS = [Photo(Path(f"{index}.png"), f"{index:032}", pixels) for index, pixels in enumerate(PIXELS)]
TASK, UNWATCHED = PhotoTask(PHOTOS, PHOTOS, TINY), PhotoTask(PHOTOS, [], TINY)
CPU = torch.device("cpu")
EXACT = Machine(float32=True, workers=0)

pytestmark = pytest.mark.usefixtures("one_torch_thread")


# Data


def test_crops_are_a_function_of_seed_and_index() -> None:
    crops = Crops(PIXELS, 32, seed=7)
    again = Crops([photo.copy() for photo in PIXELS], 32, seed=7)
    forward = [crops.sample(index, 5) for index in range(30)]
    backward = [again.sample(index, 5) for index in reversed(range(30))][::-1]
    for (x, noise), (y, other) in zip(forward, backward, strict=True):
        assert x.shape == (32, 32, 3)
        assert x.dtype == np.uint8
        assert np.array_equal(x, y)
        assert np.array_equal(noise, other)
        assert 0 < noise.min() < noise.max() < 1
    assert len({x.tobytes() for x, _ in forward}) == 30
    assert not np.array_equal(forward[0][0], Crops(PIXELS, 32, seed=8).sample(0, 5)[0])


def test_noise_does_not_depend_on_the_photos() -> None:
    assert np.array_equal(Crops(PIXELS, 32, 1).sample(3, 9)[1], Crops(PIXELS[:1], 16, 1).sample(3, 9)[1])


def test_plain_crops_are_parts_of_a_photo() -> None:
    photo = np.arange(40 * 50 * 3).reshape(40, 50, 3).astype(np.uint8)
    crops = Crops([photo], 24, seed=0, augment=False)
    windows = np.lib.stride_tricks.sliding_window_view(photo, (24, 24), axis=(0, 1)).transpose(0, 1, 3, 4, 2).reshape(-1, 24, 24, 3)
    for index in range(6):
        crop = crops.sample(index, 1)[0]
        looks = [crop, crop[:, ::-1], crop.transpose(1, 0, 2), crop.transpose(1, 0, 2)[:, ::-1]]
        assert any((windows == look).all(axis=(1, 2, 3)).any() for look in looks)


def test_acquisitions_change_some_crops() -> None:
    crop = picture(32, 32)
    changed = [change_acquisition(crop, np.random.default_rng(seed)) for seed in range(60)]
    assert all(x.shape == crop.shape and x.dtype == np.uint8 for x in changed)
    assert 15 < sum(not np.array_equal(x, crop) for x in changed) < 55


def test_batches_are_consecutive_samples() -> None:
    crops = Crops(PIXELS, 32, 0)
    x, noise = Batches(crops, 3, TINY.noise_size(32))[2]
    assert x.shape == (3, 32, 32, 3)
    pixels, uniform = crops.sample(7, TINY.noise_size(32))
    assert np.array_equal(x[1].numpy(), pixels)
    assert np.array_equal(noise[1].numpy(), uniform)


@pytest.mark.parametrize("side", [16, 32, 64, 256])
def test_noise_size_is_what_a_picture_takes(side: int) -> None:
    class Counting(PhotoVAE):
        left: int

        def _level(self, x: Any, level: Any, coarse: Any, noise: Any, bits: Any) -> Any:
            carried, noise = super()._level(x, level, coarse, noise, bits)
            self.left = noise.shape[1]
            return carried, noise

    model = Counting(TINY)
    size = TINY.noise_size(side)
    assert size == {16: 0, 32: 2, 64: 10, 256: 170}[side]
    with torch.no_grad():
        model(torch.zeros(1, 3, side, side, dtype=torch.uint8), torch.full((1, size + 3), 0.5))
    assert model.left == 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_do_not_depend_on_who_makes_them(workers: int) -> None:
    crops = Crops(PIXELS, 16, 0)
    state = torch.get_rng_state()
    with closing(batches_from(Batches(crops, 3, 5), 4, CPU, workers)) as batches:
        for step in (4, 5, 6):
            x, noise = next(batches)
            assert x.is_contiguous(memory_format=torch.channels_last)
            for index in range(3):
                pixels, uniform = crops.sample(3 * step + index, 5)
                assert np.array_equal(x[index].permute(1, 2, 0).numpy(), pixels)
                assert np.array_equal(noise[index].numpy(), uniform)
    assert torch.equal(torch.get_rng_state(), state)


def test_processes_share_a_batch() -> None:
    crops = Crops(PIXELS, 16, 0)
    whole = Batches(crops, 4, 5)[3]
    parts = [Batches(crops, 2, 5, rank, 2)[3] for rank in (0, 1)]
    for part in (0, 1):
        assert torch.equal(whole[part], torch.cat([parts[0][part], parts[1][part]]))


# Pictures


def folder_of_pictures(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.fromarray(picture(40, 48, seed=index)).save(folder / f"{index}.png")
    return folder


def test_photos_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(PIXELS[1]).save(tmp_path / "b.png")
    Image.fromarray(PIXELS[1]).save(tmp_path / "the same.png")
    Image.fromarray(PIXELS[0]).save(tmp_path / "a" / "z.PNG")
    Image.fromarray(PIXELS[0][:20]).save(tmp_path / "small.png")
    Image.fromarray(PIXELS[0][..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(PIXELS[0][..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(PIXELS[0]).save(tmp_path / "curve.png", compress_level=1)
    (tmp_path / "broken.png").write_bytes((tmp_path / "b.png").read_bytes()[:300])
    (tmp_path / "notes.txt").write_text("no picture")
    notes: list[str] = []
    photos = read_photos([tmp_path, tmp_path / "b.png"], 32, omit=[tmp_path / "curve.png"], note=notes.append)
    assert sorted(photo.path.name for photo in photos) == ["b.png", "gray.png", "z.PNG"]
    assert [photo.digest for photo in photos] == sorted(photo.digest for photo in photos)
    assert {photo.pixels.shape for photo in photos} == {(48, 60, 3), (40, 90, 3)}
    assert [
        "broken.png: " in notes[0],
        "deep.png: more than 8 bits" in notes[1],
        "side of less than 32 pixels: 1 of 4 pictures" in notes[2],
    ] == 3 * [True]
    with pytest.raises(TrainingError, match="no picture of at least 64 x 64 pixels .4 smaller ones, 2 unreadable."):
        read_photos([tmp_path], 64, omit=[tmp_path / "curve.png"])
    with pytest.raises(FileNotFoundError, match="nowhere: No such file"):
        read_photos([tmp_path / "nowhere"], 32)


def test_order_and_split_follow_the_contents(tmp_path: Path) -> None:
    first = read_photos([folder_of_pictures(tmp_path / "one", 40)], 32)
    for path in (tmp_path / "one").iterdir():
        path.rename(path.with_name(f"{hash(path.name) % 1000}-{path.name}"))
    second = read_photos([(tmp_path / "one").rename(tmp_path / "two")], 32)
    assert [photo.digest for photo in first] == [photo.digest for photo in second]
    training, held_out = hold_out(second)
    assert len(held_out) == 2 and len(training) == 38
    assert {photo.digest for photo in held_out} == {photo.digest for photo in hold_out(first[::-1])[1]}
    assert without(first, held_out) == [photo for photo in first if photo.digest in {photo.digest for photo in training}]
    assert fingerprint(training, held_out) != fingerprint(training) != fingerprint(held_out, training)
    assert [len(part) for part in hold_out(first[:2])] == [1, 1]
    assert [len(part) for part in hold_out(first[:1])] == [1, 0]


# The loop

QUICK = Schedule(steps=20, batch=2, side=32, rate=4e-3, warm_up=3, every=5)


def test_loss_falls(tmp_path: Path) -> None:
    callbacks = Rows()
    model = train(TASK, QUICK, tmp_path / "model.ckpt", machine=Machine(workers=0), callbacks=callbacks)
    rows = callbacks.rows
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert [row["quantised"] for row in rows] == [False, False, True, True]
    assert rows[-1]["valid_neg_elbo"] < rows[0]["valid_neg_elbo"] - 0.1
    assert rows[-1]["train"] < rows[0]["train"]
    assert rows[-1]["loss"] == rows[-1]["train"] != rows[0]["loss"]
    assert model.quantised
    assert isinstance(model, PhotoVAE)
    assert evaluate(model, PIXELS) == evaluate(model, PIXELS)
    assert evaluate(model, PIXELS)["neg_elbo"] == rows[-1]["valid_neg_elbo"]


def assert_equal_states(mine: Any, theirs: Any, name: str = "state") -> None:
    """To the last bit, all the way down."""
    if isinstance(mine, torch.Tensor):
        assert torch.equal(mine, theirs), name
    elif isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), name
        for key in mine:
            assert_equal_states(mine[key], theirs[key], f"{name}.{key}")
    elif isinstance(mine, list):
        for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            assert_equal_states(a, b, f"{name}.{index}")
    else:
        assert mine == theirs, name


@pytest.mark.parametrize(("optimiser", "cuts"), [("adam", [3]), ("adam", [10]), ("muon", [7, 15, 19])])
def test_resuming_is_as_if_uninterrupted(tmp_path: Path, optimiser: str, cuts: list[int]) -> None:
    """Wherever it is cut: before rounding, at a report, between two."""
    schedule = replace(QUICK, optimiser=optimiser)

    def run(name: str, stop_after: int = -1) -> Quantised:
        journal = Journal(tmp_path / f"{name}.jsonl")
        callbacks = Rows(stop_after)
        return train(TASK, schedule, tmp_path / f"{name}.ckpt", machine=EXACT, journal=journal, callbacks=callbacks)

    uncut = run("uncut")
    for cut in cuts:
        before = torch.get_rng_state()
        with pytest.raises(Stopped) as stopped:
            run("cut", cut)
        assert stopped.value.step == cut
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(cut)  # whatever happens in between
        (tmp_path / "cut.jsonl").write_text("left by a session that was cut between its row and its checkpoint")
    resumed = run("cut")
    assert_equal_states(dict(resumed.state_dict()), dict(uncut.state_dict()))
    states = [torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("cut", "uncut")]
    for state in states:
        state["rows"] = reports_of(state["rows"])
        assert len(state["rows"]) == 4
        del state["seconds"]
    assert_equal_states(*states)
    journals = [(tmp_path / f"{name}.jsonl").read_text() for name in ("cut", "uncut")]
    assert reports_of(f"[{','.join(journals[0].splitlines())}]") == reports_of(f"[{','.join(journals[1].splitlines())}]")


def reports_of(rows: str) -> list[dict[str, Any]]:
    return [row for row in json.loads(rows) if row["kind"] == "report"]


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    short = Schedule(steps=2, batch=1, side=32)
    first = train(UNWATCHED, short, checkpoint, machine=EXACT)
    written = checkpoint.read_bytes()
    again = train(UNWATCHED, short, checkpoint, machine=EXACT)
    assert checkpoint.read_bytes() == written
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_checkpoints_of_other_runs(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    short = Schedule(steps=2, batch=1, side=32)
    train(UNWATCHED, short, checkpoint, machine=EXACT)
    written = checkpoint.read_bytes()

    def refused(words: str, photos: Sequence[Photo] = PHOTOS, config: PhotoConfig = TINY, **changes: Any) -> None:
        machine = changes.pop("machine", EXACT)
        start = changes.pop("start", None)
        with pytest.raises(TrainingError, match=words):
            train(PhotoTask(photos, [], config), replace(short, **changes), checkpoint, machine=machine, start=start)
        assert checkpoint.read_bytes() == written

    refused("model.ckpt is of another run .latents 2 there, 0 here.: delete it", config=replace(TINY, latents=0))
    refused("rate 0.001 there, 0.002 here; steps 2 there, 3 here", rate=0.002, steps=3)
    refused("its pictures are others", photos=PHOTOS[:1])
    refused("it started from other weights", start=weights())
    refused("float32 True there, False here", machine=Machine(workers=0))
    place = written.index(torch.load(checkpoint, weights_only=True)["model"]["out.0.bias"].numpy().tobytes())
    flipped = written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :]
    for damaged in (b"", written[:-100], written[:500], b"PK" + bytes(500), written.replace(b"rows", b"sore"), flipped):
        checkpoint.write_bytes(damaged)
        with pytest.raises(CorruptDataError, match="model.ckpt is no checkpoint of a training run, or damaged"):
            train(UNWATCHED, short, checkpoint, machine=EXACT)


def test_checkpoints_of_before_there_were_families(tmp_path: Path) -> None:
    """They are of the photo model, and runs go on from them."""
    checkpoint = tmp_path / "model.ckpt"
    with pytest.raises(Stopped):
        train(UNWATCHED, QUICK, checkpoint, machine=EXACT, callbacks=Rows(stop_after=3))
    state = torch.load(checkpoint, weights_only=True)
    torch.save({name: value for name, value in state.items() if name not in ("family", "binarise")}, checkpoint)
    with pytest.raises(Stopped) as stopped:
        train(UNWATCHED, QUICK, checkpoint, machine=EXACT, callbacks=Rows(stop_after=1))
    assert stopped.value.step == 4


def test_checkpoints_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "model.ckpt"
    with pytest.raises(Stopped):
        train(UNWATCHED, QUICK, checkpoint, machine=EXACT, callbacks=Rows(stop_after=3))
    written = checkpoint.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="model.ckpt cannot be written: No space left on device"):
        train(UNWATCHED, QUICK, checkpoint, machine=EXACT)
    assert checkpoint.read_bytes() == written
    assert list(tmp_path.iterdir()) == [checkpoint]
    monkeypatch.undo()
    assert checkpoints.load(checkpoint, torch.load(checkpoint, weights_only=True)) is not None
    assert checkpoints.load(tmp_path / "none.ckpt", {}) is None


def test_checkpoints_come_between_rare_reports(tmp_path: Path) -> None:
    ticks = iter(range(0, 1_000_000, 100))  # seconds: the clock is read twice a step or more
    steps = []

    class Watching(Rows):
        def status(self, status: Callable[[], Status]) -> None:
            if (tmp_path / "model.ckpt").exists():
                steps.append(torch.load(tmp_path / "model.ckpt", weights_only=True)["step"])

    train(
        UNWATCHED,
        replace(QUICK, every=20),
        tmp_path / "model.ckpt",
        machine=EXACT,
        callbacks=Watching(),
        clock=lambda: next(ticks),
    )
    assert 2 < len(set(steps)) < 15


def test_starting_from_weights(tmp_path: Path) -> None:
    """With a rate of nothing they come out as they went in; no pictures change that."""
    still = Schedule(steps=2, batch=1, side=32, rate=0.0)
    trained = train(UNWATCHED, still, tmp_path / "model.ckpt", start=weights(), machine=EXACT)
    assert_equal_states(dict(trained.state_dict()), dict(FAMILIES[PHOTO].import_(weights()).state_dict()))


def test_only_some_layers_learn(tmp_path: Path) -> None:
    start = weights()
    before = dict(FAMILIES[PHOTO].import_(start).named_parameters())
    trained = train(TASK, replace(QUICK, steps=3, only="hidden."), tmp_path / "model.ckpt", start=start, machine=EXACT)
    changed = {name for name, value in trained.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("hidden.")}
    with pytest.raises(TrainingError, match="begin with 'pixel'"):
        train(TASK, replace(QUICK, only="pixel"), tmp_path / "other.ckpt", machine=EXACT)


def test_gradients_that_are_not_finite_change_nothing(tmp_path: Path) -> None:
    trainer = Trainer(random_vae(), QUICK, float32=True)
    x, noise = Batches(Crops(PIXELS, 32, 0), 2, TINY.noise_size(32))[0]
    x = x.permute(0, 3, 1, 2)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.advance(x, torch.full_like(noise, float("nan")), quantised=False, rate=1e-3, kl_weight=1.0)
    assert (trainer.step, trainer.skipped, trainer.summed) == (1, 1, 0)
    assert_equal_states(dict(trainer.model.state_dict()), before)
    assert_equal_states(dict(trainer.average.state_dict()), before)
    trainer.advance(x, noise, quantised=False, rate=1e-3, kl_weight=1.0)
    assert (trainer.step, trainer.skipped, trainer.summed) == (2, 1, 1)
    assert all(np.isfinite(value) for value in trainer.means().values())
    assert not torch.equal(trainer.model.state_dict()["first.weight"], before["first.weight"])


def test_a_run_without_any_finite_gradient_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Schedule, "kl_weight_at", lambda *_: float("nan"))
    with pytest.raises(TrainingError, match="none of the last 5 steps had a finite gradient: try a lower --rate"):
        train(UNWATCHED, QUICK, tmp_path / "model.ckpt", machine=EXACT)


def test_weights_that_leave_the_exact_range_are_brought_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "keep_exact", lambda model: ["first"])
    callbacks = Rows()
    train(UNWATCHED, Schedule(steps=1, batch=1, side=32), tmp_path / "model.ckpt", machine=EXACT, callbacks=callbacks)
    assert any("step 1: weights of first were shrunk" in note for note in callbacks.notes)


def test_every_parameter_learns() -> None:
    """None is out of reach of the gradient, with and without rounding."""
    for quantised in (True, False):
        model = random_vae()
        for module in model.modules():
            if hasattr(module, "quantised"):
                module.quantised = quantised
        x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None]
        bits = model(x, torch.full((1, TINY.noise_size(64)), 0.3))
        (bits.likelihood() + bits.kl()).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


# Several processes


def run_together(folder: Path, out: Path, size: int, *arguments: str) -> dict[str, Any]:
    """The checkpoint of a run of so many processes, as torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vaezip_cli.main", "train", str(folder), "--out", str(out), *arguments]
    started = []
    for rank in range(size):
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{name: str(value) for name, value in group.items()}}
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for rank, process in enumerate(started):
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert rank == 0 or "step" not in errors
    state: dict[str, Any] = torch.load(out.with_suffix(".ckpt"), weights_only=True)
    return state


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """20 float32 steps, two times 4 crops and one time 8: the same samples, sums in another order."""
    folder = folder_of_pictures(tmp_path / "photos")
    small = ["--side", "32", "--size", "width=8", "--size", "blocks=1", "--threads", "1", "--workers", "0"]
    arguments = ["--steps", "20", "--every", "5", "--float32", "--no-evaluation", *small]
    one = run_together(folder, tmp_path / "one.safetensors", 1, "--batch", "8", *arguments)
    two = run_together(folder, tmp_path / "two.safetensors", 2, "--batch", "4", *arguments)
    for part in ("model", "average"):
        assert one[part].keys() == two[part].keys()
        for name, value in one[part].items():
            assert torch.allclose(value, two[part][name], rtol=0, atol=1e-4), (part, name)
    reports = [reports_of(state["rows"]) for state in (one, two)]
    assert len(reports[0]) == 4
    for mine, theirs in zip(*reports, strict=True):
        for key in ("loss", "train", "valid_neg_elbo"):
            assert mine[key] == pytest.approx(theirs[key], abs=1e-3)
    assert json.loads(two["rows"])[0]["processes"] == 2
