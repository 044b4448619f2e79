"""Training on images of one size: resuming, what the images decide, real archives in the end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bbans import models, sets
from bbans.errors import ModelError, TrainingError, VerifyError
from bbans.exact.qat import Quantised
from bbans.models.config import ImageConfig
from bbans.models.markov.config import MarkovConfig
from bbans.models.registry import FAMILIES
from bbans.models.topdown.config import TopDownConfig
from bbans.models.weights import Weights
from bbans.training.callbacks import Callbacks, Stopped
from bbans.training.checkpoint import export_checkpoint
from bbans.training.data.batches import uniform
from bbans.training.data.images import ImageSet, binarise, image_set
from bbans.training.distributed import Processes
from bbans.training.loop import Machine, train
from bbans.training.metrics import evaluate_images
from bbans.training.outputs import Outputs
from bbans.training.run import run
from bbans.training.schedule import Schedule
from bbans.training.tasks.images import ImageTask, read_image_task
from tests.training import Rows, drawings, save

SIZES: dict[str, dict[str, Any]] = {
    "markov": {"latents": (3, 2), "hidden": (8, 6)},
    "topdown": {
        "divisors": (8, 4),
        "widths": (8, 8),
        "blocks": (0, 0),
        "latents": ((2,), (1,)),
        "features": 4,
        "hidden": 8,
        "context": 0,
    },
}
EXACT = Machine(float32=True, workers=0)
QUICK = Schedule(steps=20, batch=8, rate=1e-2, warm_up=3, every=5)
ONE = Processes()


def task_of(family: str, kind: str = "8-bit", count: int = 60) -> ImageTask:
    """Of gray or RGB drawings of 8 bits, of binary ones, or of gray ones that are binarised."""
    pixels = drawings(count, channels=3 if kind == "RGB" else 1)
    binary = kind in ("binary", "sampled", "threshold")
    images = image_set(binarise(pixels, "threshold", np.random.default_rng(0)) if kind == "binary" else pixels)
    shape = {"height": 8, "width": 8, "channels": pixels.shape[3], "symbols": 2 if binary else 256, "components": 2}
    config = FAMILIES[family].config_class(**shape, **SIZES[family])
    return ImageTask(family, config, images[: count - 10], images[count - 10 :], kind if kind in ("sampled", "threshold") else None)


# The loop


@pytest.mark.parametrize("kind", ["8-bit", "RGB", "sampled", "threshold", "binary"])
@pytest.mark.parametrize("family", ["markov", "topdown"])
def test_loss_falls(tmp_path: Path, family: str, kind: str) -> None:
    task, callbacks = task_of(family, kind), Rows()
    trained = train(task, QUICK, tmp_path / "model.ckpt", machine=EXACT, callbacks=callbacks)
    rows = callbacks.rows
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert [row["quantised"] for row in rows] == [False, False, True, True]
    assert rows[-1]["train"] < rows[0]["train"]
    assert all(np.isfinite(row["valid_neg_elbo"]) for row in rows)
    assert trained.quantised
    assert task.evaluate(trained, autocast=False)["neg_elbo"] == rows[-1]["valid_neg_elbo"]


def test_evaluation_is_a_mean_over_all_images() -> None:
    """Whatever the batches; and of what is held out no more than it can take."""
    task = task_of("markov")
    model = task.make(None)
    noise = uniform(np.random.default_rng((1, 0)), 60, 5)
    pixels = torch.from_numpy(task.images.pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        bits = model(pixels, noise[:50])
    rates = evaluate_images(model, task.images.pixels, autocast=False)
    assert rates["kl"] == pytest.approx(bits.kl().mean().item() / 64, rel=1e-5)
    assert rates["neg_elbo"] == pytest.approx((bits.kl() + bits.likelihood()).mean().item() / 64, rel=1e-5)
    assert replace(task, valid=task.images[:0]).evaluate(model, autocast=False) == {}


@pytest.mark.parametrize(("family", "cuts"), [("markov", [3, 15]), ("topdown", [10])])
def test_resuming_is_as_if_uninterrupted(tmp_path: Path, family: str, cuts: list[int]) -> None:
    task = task_of(family, "sampled")

    def once(name: str, stop_after: int = -1) -> Quantised:
        return train(task, QUICK, tmp_path / f"{name}.ckpt", machine=EXACT, callbacks=Rows(stop_after))

    uncut = once("uncut").state_dict()
    for cut in cuts:
        with pytest.raises(Stopped):
            once("cut", cut)
        torch.manual_seed(cut)
    resumed = once("cut").state_dict()
    assert resumed.keys() == uncut.keys()
    assert all(torch.equal(resumed[name], uncut[name]) for name in uncut)
    states = [torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("cut", "uncut")]
    rows = [[row for row in json.loads(state["rows"]) if row["kind"] == "report"] for state in states]
    assert rows[0] == rows[1] and len(rows[0]) == 4


def test_checkpoints_of_other_runs(tmp_path: Path) -> None:
    checkpoint, short = tmp_path / "model.ckpt", Schedule(steps=1, batch=2)
    task = task_of("markov", "sampled")
    train(task, short, checkpoint, machine=EXACT)
    for other, words in (
        (replace(task, binarised="threshold"), "binarise sampled there, threshold here"),
        (replace(task, images=task.valid), "its pictures are others"),
        (replace(task, config=replace(task.config, latents=(3, 1))), r"latents \[3, 2\] there, \[3, 1\] here"),
        (task_of("topdown", "sampled"), "family markov there, topdown here"),
    ):
        with pytest.raises(TrainingError, match=words):
            train(other, short, checkpoint, machine=EXACT)


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(TrainingError, match="3 processes cannot share a batch of 8 evenly"):
        task_of("markov").batches(QUICK, Processes(0, 3))


# From inputs to archives


def read(inputs: list[Path], *valid: Path, family: str = "markov", **options: Any) -> tuple[ImageTask, list[str]]:
    told = Rows()
    return read_image_task(inputs, valid, family, SIZES[family], callbacks=told, **options), told.notes


def test_what_the_images_decide(tmp_path: Path) -> None:
    gray = save(tmp_path / "gray.npy", drawings(40)[..., 0])
    bits = save(tmp_path / "bits.npy", drawings(40, seed=1)[..., 0] > 99)
    more = save(tmp_path / "more.npy", np.concatenate([drawings(40)[:10, ..., 0], drawings(20, seed=2)[..., 0]]))
    task, notes = read([gray])
    assert isinstance(task.config, MarkovConfig) and task.config.latents == (3, 2)
    assert (task.config.shape, task.config.symbols, task.binarised) == ((8, 8, 1), 256, None)
    assert "2 of 40 pictures are held out" in notes[0]
    assert notes[1] == "training on 38 images, 8x8x1, samples of 8 bits; 2 to measure with"
    task, notes = read([gray], more, binarised="sampled")
    assert (len(task.images), len(task.valid), task.config.symbols) == (30, 30, 2)
    assert notes[0] == "10 of 40 pictures are validation pictures too: not trained on"
    assert "samples 0 and 1 (sampled)" in notes[1]
    task, notes = read([bits])
    assert task.config.symbols == 2 and set(np.unique(task.images.pixels)) == {0, 1}
    assert read([gray], bits)[0].config.symbols == 256
    with pytest.raises(TrainingError, match="two values already"):
        read([bits], binarised="sampled")
    with pytest.raises(TrainingError, match="all pictures are validation pictures"):
        read([gray], gray)
    with pytest.raises(TrainingError, match="images to train on are 8x8x1, those to measure with 4x4x1"):
        read([gray], save(tmp_path / "small.npy", drawings(3, side=4)))
    with pytest.raises(ModelError, match="binary images have one channel"):
        read([save(tmp_path / "rgb.npy", drawings(3, channels=3) // 255)])


def weights_of(task: ImageTask, path: Path) -> Weights:
    torch.manual_seed(0)
    path.write_bytes(task.export(task.make(None), path.stem))
    return models.read(path)


def test_starting_from_weights(tmp_path: Path) -> None:
    """With a rate of nothing they come out as they went in; a context may be added, and changes nothing at first."""
    task = task_of("topdown", "binary")
    start = weights_of(task, tmp_path / "plain.safetensors")
    trained = train(task, Schedule(steps=1, batch=2, rate=0.0), tmp_path / "a.ckpt", start=start, machine=EXACT)
    assert models.read(tmp_path / "plain.safetensors").hash == start.hash
    exported = tmp_path / "again.safetensors"
    exported.write_bytes(task.export(trained, "plain"))
    assert exported.read_bytes() == (tmp_path / "plain.safetensors").read_bytes()

    bits = save(tmp_path / "bits.npy", task.images.pixels)
    read_on = {"binarised": None, "start": start}
    same = read_image_task([bits], [], "topdown", {}, **read_on)  # type: ignore[arg-type]
    assert same.config == task.config
    wider = read_image_task([bits], [], "topdown", {"context": 2}, **read_on)  # type: ignore[arg-type]
    assert isinstance(wider.config, TopDownConfig) and wider.config.context == 2
    widened = wider.make(start)
    assert wider.evaluate(widened, False) == pytest.approx(same.evaluate(same.make(start), False), rel=1e-6)
    with pytest.raises(ModelError, match="'plain' is for other images than 8x8x1 with 256 values"):
        read_image_task([save(tmp_path / "gray.npy", drawings(9))], [], "topdown", {}, start=start)
    with pytest.raises(ModelError, match="of the family 'topdown', not 'markov'"):
        task_of("markov", "binary").make(start)


def test_a_run_ends_with_real_archives(tmp_path: Path) -> None:
    """Packed with the new model, decoded and compared; a checkpoint gives the very same weights."""
    task, out, callbacks = task_of("markov", "sampled"), Outputs(tmp_path / "mine.safetensors"), Rows()
    rates = run(task, out, "mine", QUICK, machine=EXACT, processes=ONE, callbacks=callbacks, threads=1)
    assert [(rate.name, rate.pictures) for rate in rates] == [("training", 10), ("validation", 10)]
    assert models.read(out.weights).architecture == "markov"
    assert export_checkpoint(out.checkpoint, "mine") == out.weights.read_bytes()
    rows = [json.loads(line) for line in out.journal.read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["start", *4 * ["report"], "end", "file", "file", "evaluation"]
    for rate, row in zip(rates, rows[-3:-1], strict=True):
        assert row["set"] == rate.name and row["dims"] == 640
        assert rate.bits_per_dim == 8 * row["file_bytes"] / 640 > rate.others["its negative ELBO"] == row["neg_elbo"]
    assert rates[1].others["its negative ELBO"] == rows[4]["valid_neg_elbo"]


def test_other_images_from_the_new_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, path = task_of("markov", "binary"), tmp_path / "mine.safetensors"
    weights_of(task, path)
    monkeypatch.setattr(sets.ArchiveReader, "array", lambda self: 1 - task.valid.pixels)
    with pytest.raises(VerifyError, match="mine.safetensors: other images came back from the new model"):
        list(task.measure(task.make(None), path, threads=1, device="cpu", callbacks=Callbacks()))


def test_configs_know_their_noise() -> None:
    for family in SIZES:
        task = task_of(family)
        assert isinstance(task.config, ImageConfig) and isinstance(task.images, ImageSet)
        assert task.config.latent_count == task.batches(QUICK, ONE)[0][1].shape[1]
