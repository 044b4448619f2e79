"""Training of photo models: a loss that falls, resuming as if uninterrupted, minutes that are kept, two processes as one."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bbans.errors import CorruptDataError, TrainingError
from bbans.exact.qat import Quantised
from bbans.models.photo.config import PhotoConfig
from bbans.models.photo.vae import PhotoVAE
from bbans.models.registry import FAMILIES
from bbans.models.weights import PHOTO
from bbans.training import checkpoint as checkpoints
from bbans.training import loop, trainer
from bbans.training.callbacks import Status, Stopped
from bbans.training.data.batches import CropBatches
from bbans.training.data.crops import RandomCrops
from bbans.training.data.photos import Photo, PhotoSet
from bbans.training.journal import Journal
from bbans.training.loop import Machine, train
from bbans.training.metrics import evaluate_photos
from bbans.training.schedule import Schedule
from bbans.training.tasks import photo as photo_tasks
from bbans.training.tasks.photo import PhotoTask, read_photo_task
from bbans.training.trainer import Trainer
from tests.models import TINY, picture, random_vae, weights
from tests.training import Rows, folder_of_pictures

PIXELS = [picture(48, 60), picture(40, 90, seed=1)]
PHOTOS = PhotoSet(tuple(Photo(Path(f"{index}.png"), f"{index:032}", pixels) for index, pixels in enumerate(PIXELS)))
TASK, UNWATCHED = PhotoTask(PHOTOS, PHOTOS, TINY), PhotoTask(PHOTOS, PhotoSet(), TINY)
EXACT = Machine(float32=True, workers=0)


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
    assert evaluate_photos(model, PIXELS, True) == TASK.evaluate(model, autocast=True)
    assert evaluate_photos(model, PIXELS, True)["neg_elbo"] == rows[-1]["valid_neg_elbo"]


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


@pytest.mark.parametrize(("optimiser", "cuts"), [("adam", [2, 6]), ("muon", [4, 9, 11])])
def test_resuming_is_as_if_uninterrupted(tmp_path: Path, optimiser: str, cuts: list[int]) -> None:
    """Wherever it is cut: before rounding, at a report, between two."""
    schedule = replace(QUICK, steps=12, every=3, optimiser=optimiser)

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

    def refused(words: str, photos: PhotoSet = PHOTOS, config: PhotoConfig = TINY, **changes: Any) -> None:
        machine = changes.pop("machine", EXACT)
        start = changes.pop("start", None)
        with pytest.raises(TrainingError, match=words):
            train(PhotoTask(photos, PhotoSet(), config), replace(short, **changes), checkpoint, machine=machine, start=start)
        assert checkpoint.read_bytes() == written

    refused("model.ckpt is of another run .latents 2 there, 0 here.: delete it", config=replace(TINY, latents=0))
    refused("rate 0.001 there, 0.002 here; steps 2 there, 3 here", rate=0.002, steps=3)
    refused("batch 1 there, 2 here, in all processes together", batch=2)
    refused("its pictures are others", photos=PhotoSet(PHOTOS.photos[:1]))
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
        def step(self, status: Callable[[], Status]) -> None:
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
    x, noise = CropBatches(RandomCrops(PIXELS, 32, 0), 2, TINY.noise_size(32))[0]
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
    with pytest.raises(TrainingError, match="none of the last 5 steps had a finite gradient: try a lower rate"):
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


# Minutes


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("load", [1.0, 5.0, 0.5])
def test_minutes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float) -> None:
    """By a clock of which everything takes its share; also when the machine gets slower or faster on the way, and over a cut."""
    clock = Clock()
    forms: set[bool] = set()

    def advance(self: trainer.Trainer, *_: Any, quantised: bool, signals: list[float], **__: Any) -> list[float]:
        clock.now += 0.0 if quantised in forms else 20.0  # it compiles
        forms.add(quantised)
        clock.now += (1.5 if quantised else 1.0) * (load if clock.now > 1200 else 1.0)
        self.step += 1
        self.summed += 1
        return signals

    def evaluate(*_: Any, **__: Any) -> dict[str, float]:
        clock.now += 2.0
        return {"neg_elbo": 1.0, "kl": 0.0}

    monkeypatch.setattr(trainer.Trainer, "advance", advance)
    monkeypatch.setattr(photo_tasks, "evaluate_photos", evaluate)
    photos = PhotoSet((Photo(Path("x"), "0", picture(32, 32)),))
    task, schedule = PhotoTask(photos, photos, TINY), Schedule(minutes=20, batch=1, side=16)
    journal = Journal(tmp_path / "model.jsonl")
    remaining: list[float] = []

    class Watching(Rows):
        def step(self, status: Callable[[], Status]) -> None:
            super().step(status)
            remaining.append(clock.now + status().remaining_seconds)

    seconds = 0.0
    for stop_after in (100, -1):
        began = clock()
        clock.now += 7.0  # imports and pictures
        watching = Watching(stop_after)
        try:
            train(
                task,
                schedule,
                tmp_path / "model.ckpt",
                machine=replace(EXACT, compiled=False),
                journal=journal,
                callbacks=watching,
                clock=clock,
                began=began,
            )
        except Stopped as stopped:
            assert stop_after == stopped.step == 100 and stopped.steps is not None and stopped.steps > 300
        seconds += clock.now - began
    assert abs(seconds - 1200) < 0.03 * 1200
    assert abs(remaining[len(remaining) // 2] - clock.now) < 50
    rates = [row["rate"] for row in journal.reports()]
    assert rates[-1] < 0.02 * schedule.rate and len(rates) > 10
    [end] = [row for row in journal.rows if row["kind"] == "end"]
    assert end["seconds"] == seconds


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
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert rank == 0 or not errors
    return checkpoints.read(out.with_suffix(".ckpt"))


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """20 float32 steps, two times 4 crops and one time 8: the same samples, sums in another order."""
    folder = folder_of_pictures(tmp_path / "photos")
    small = ["--side", "32", "--size", "width=8", "--size", "blocks=1", "--threads", "1", "--workers", "0"]
    arguments = ["--steps", "20", "--every", "5", "--float32", "--no-evaluation", "--batch", "4"]
    two = run_together(folder, tmp_path / "two.safetensors", 2, *arguments, *small)
    task = read_photo_task([folder], [], PhotoConfig(width=8, blocks=1), 32)
    train(task, Schedule(steps=20, every=5, side=32, batch=8), tmp_path / "one.ckpt", machine=EXACT)
    one = checkpoints.read(tmp_path / "one.ckpt")
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
