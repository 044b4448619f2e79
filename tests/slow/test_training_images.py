"""Training on images of one size: what is read, batches in bulk, resuming, two processes as one, real archives."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bbans import models, sets
from bbans.errors import ModelError, TrainingError, UnsupportedImageError, VerifyError
from bbans.exact.qat import Quantised
from bbans.models.config import ImageConfig
from bbans.models.markov.config import MarkovConfig
from bbans.models.registry import FAMILIES
from bbans.models.topdown.config import TopDownConfig
from bbans.models.weights import Weights
from bbans.sets.arrays import write_npy
from bbans.training.callbacks import Stopped
from bbans.training.checkpoint import export_checkpoint
from bbans.training.data.batches import batches_from
from bbans.training.data.images import (
    HELD_OUT_IMAGES_MOST,
    ImageSet,
    binarise,
    fingerprint_of,
    hold_out_images,
    image_set,
    read_images,
    without_images,
)
from bbans.training.distributed import Processes
from bbans.training.loop import Machine, train
from bbans.training.outputs import Outputs
from bbans.training.run import run
from bbans.training.schedule import Schedule
from bbans.training.tasks.images import ImageBatches, ImageTask, evaluate_images, order, read_image_task, uniform
from tests.callbacks import Rows

pytestmark = pytest.mark.usefixtures("one_torch_thread")

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
CPU = torch.device("cpu")
EXACT = Machine(float32=True, workers=0)
QUICK = Schedule(steps=20, batch=8, rate=1e-2, warm_up=3, every=5)
ONE = Processes()


def drawings(count: int, side: int = 8, channels: int = 1, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bars on a dark ground, with soft edges: (count, side, side, channels)."""
    rng = np.random.default_rng(seed)
    at, width = rng.uniform(1, side - 1, (2, count, 1, 1, 1))
    x = np.arange(side)[:, None]
    light = np.clip(width / 3 - abs(x - at) + 0.5, 0, 1) * np.array([255, 200, 150][:channels])
    return np.broadcast_to(light, (count, side, side, channels)).astype(np.uint8)


def task_of(family: str, kind: str = "8-bit", count: int = 60) -> ImageTask:
    """Of gray or RGB drawings of 8 bits, of binary ones, or of gray ones that are binarised."""
    pixels = drawings(count, channels=3 if kind == "RGB" else 1)
    binary = kind in ("binary", "sampled", "threshold")
    images = image_set(binarise(pixels, "threshold", np.random.default_rng(0)) if kind == "binary" else pixels)
    shape = {"height": 8, "width": 8, "channels": pixels.shape[3], "symbols": 2 if binary else 256, "components": 2}
    config = FAMILIES[family].config_class(**shape, **SIZES[family])
    return ImageTask(family, config, images[: count - 10], images[count - 10 :], kind if kind in ("sampled", "threshold") else None)


def save(path: Path, array: np.ndarray[Any, Any]) -> Path:
    with path.open("wb") as file:
        write_npy(file, array)
    return path


# Images


def test_images_of_arrays_and_folders(tmp_path: Path) -> None:
    """Arrays come in their order, pictures in that of their contents, whatever they are called."""
    pixels = drawings(12, channels=3)
    array = save(tmp_path / "a.npy", pixels[:5])
    folder = tmp_path / "folder"
    folder.mkdir()
    for index in range(5, 12):
        Image.fromarray(pixels[index]).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    Image.fromarray(pixels[0]).save(folder / "curve.png")
    Image.fromarray(pixels[0].astype(np.uint16)[..., 0]).save(folder / "deep.png")
    notes: list[str] = []
    images = read_images([folder, array], omit=[folder / "curve.png"], note=notes.append)
    assert images.shape == (8, 8, 3) and images.size == "8x8x3" and len(images) == 12
    assert np.array_equal(images.pixels[:5], pixels[:5])
    assert {image.tobytes() for image in images.pixels[5:]} == {image.tobytes() for image in pixels[5:]}
    assert ["broken.png: " in notes[0], "deep.png: more than 8 bits" in notes[1], len(notes)] == [True, True, 2]
    for index in range(5, 12):
        (folder / f"{index}.png").rename(folder / f"{(index * 5) % 7}-.png")
    again = read_images([array, folder], omit=[folder / "curve.png"])
    assert np.array_equal(again.pixels, images.pixels)
    assert fingerprint_of(again) == fingerprint_of(images) != fingerprint_of(images, images)


def test_images_of_other_kinds(tmp_path: Path) -> None:
    gray = save(tmp_path / "gray.npy", drawings(3)[..., 0])
    bits = save(tmp_path / "bits.npy", drawings(3)[..., 0] > 99)
    assert read_images([gray]).shape == (8, 8, 1)
    assert read_images([bits]).binary and not read_images([gray]).binary
    assert set(np.unique(read_images([bits]).of_bits().pixels)) == {0, 1}
    rgb = save(tmp_path / "rgb.npy", drawings(3, channels=3))
    with pytest.raises(
        TrainingError, match="rgb.npy is of 8x8x3, but .*gray.npy of 8x8x1: a model of this family is for images of"
    ):
        read_images([gray, rgb])
    with pytest.raises(UnsupportedImageError, match="float.npy: its elements are float64"):
        read_images([save(tmp_path / "float.npy", np.zeros((2, 8, 8)))])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty: no images"):
        read_images([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_images([tmp_path / "nowhere"])


@pytest.mark.parametrize(("top", "binary"), [(0, True), (1, True), (255, True), (254, False)])
def test_what_is_binary(top: int, binary: bool) -> None:
    images = image_set(drawings(4) // 255 * np.uint8(top))
    assert images.binary == binary
    assert not image_set(drawings(4)).binary
    if binary:
        assert np.array_equal(images.of_bits().pixels, images.pixels > 0)


def test_split_follows_the_contents() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), np.uint8)
    pixels[50:60] = pixels[40:50]  # equal ones stay together
    images = image_set(pixels)
    training, held_out = hold_out_images(images)
    assert 4 <= len(held_out) <= 9 and len(training) + len(held_out) == 100
    assert not set(training.digests.tolist()) & set(held_out.digests.tolist())
    turned = image_set(pixels[::-1])
    assert set(hold_out_images(turned)[1].digests.tolist()) == set(held_out.digests.tolist())
    assert np.array_equal(without_images(images, held_out).pixels, training.pixels)
    assert [len(part) for part in hold_out_images(images[40:60], share=1.0)] == [2, 18]
    assert [len(part) for part in hold_out_images(images[:1])] == [1, 0]
    many = image_set(np.arange(60000, dtype=np.uint16).view(np.uint8).reshape(-1, 1, 2, 1))
    assert len(hold_out_images(many)[1]) == HELD_OUT_IMAGES_MOST


def test_binarised() -> None:
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8), (4000, 256))
    sampled = binarise(pixels, "sampled", np.random.default_rng(0))
    assert set(np.unique(sampled)) == {0, 1}
    assert not sampled[:, 0].any() and sampled[:, 255].all()
    assert np.abs(sampled.mean(0) - np.arange(256) / 255).max() < 0.04
    threshold = binarise(pixels, "threshold", np.random.default_rng(0))
    assert not threshold[:, :128].any() and threshold[:, 128:].all()


# Batches


def test_an_epoch_is_every_image_once() -> None:
    chosen = [order(3, 50, first, 8) for first in range(0, 400, 8)]  # 8 epochs, cut across their ends
    epochs = np.concatenate(chosen).reshape(8, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({epoch.tobytes() for epoch in epochs}) == 8
    assert np.array_equal(order(3, 50, 45, 120), np.concatenate([epochs[0, 45:], epochs[1], epochs[2], epochs[3, :15]]))
    assert not np.array_equal(order(4, 50, 0, 50), epochs[0])


@pytest.mark.parametrize("sampled", [False, True])
def test_batches_are_a_function_of_seed_and_step(sampled: bool) -> None:
    pixels = drawings(30)
    batches = ImageBatches(pixels, 8, 5, seed=7, sampled=sampled)
    for step in (0, 3, 5):
        x, noise = batches[step]
        again, other = ImageBatches(pixels.copy(), 8, 5, seed=7, sampled=sampled)[step]
        assert x.shape == (8, 8, 8, 1) and x.dtype == torch.uint8
        assert noise.shape == (8, 5) and noise.dtype == torch.float32
        assert noise.min() > 0 and noise.max() < 1
        assert torch.equal(x, again) and torch.equal(noise, other)
        if not sampled:
            assert np.array_equal(x.numpy(), pixels[order(7, 30, 8 * step, 8)])
    assert not torch.equal(batches[0][1], batches[1][1])
    assert not torch.equal(batches[0][1], ImageBatches(pixels, 8, 5, seed=8)[0][1])


def test_images_are_drawn_anew_for_every_use() -> None:
    pixels = np.full((1, 8, 8, 1), 128, np.uint8)
    batches = ImageBatches(pixels, 4, 2, seed=0, sampled=True)
    drawn = {image.tobytes() for step in range(5) for image in batches[step][0].numpy()}
    assert len(drawn) == 20


def test_noise_stays_inside() -> None:
    """The ends of (0, 1) have no finite logit, and float32 would round to them."""

    class Ends:
        def uniform(self, low: float, high: float, shape: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
            return np.array([[low, high]])

    assert torch.isfinite(torch.logit(uniform(Ends(), 1, 2))).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("sampled", [False, True])
def test_processes_share_a_batch(sampled: bool) -> None:
    pixels = drawings(30)
    whole = ImageBatches(pixels, 8, 5, 1, sampled)[9]
    parts = [ImageBatches(pixels, 4, 5, 1, sampled, rank, 2)[9] for rank in (0, 1)]
    for part in (0, 1):
        assert torch.equal(whole[part], torch.cat([parts[0][part], parts[1][part]]))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_do_not_depend_on_who_makes_them(workers: int) -> None:
    task = task_of("markov", "sampled")
    made = task.batches(replace(QUICK, seed=5), ONE)
    with closing(batches_from(made, 4, CPU, workers)) as batches:
        for step in (4, 5):
            x, noise = next(batches)
            expected = ImageBatches(task.images.pixels, 8, 5, 5, True)[step]
            assert torch.equal(x, expected[0].permute(0, 3, 1, 2)) and torch.equal(noise, expected[1])


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
    found = evaluate_images(model, task.images.pixels, 5, autocast=False)
    assert found["kl"] == pytest.approx(bits.kl().mean().item() / 64, rel=1e-5)
    assert found["neg_elbo"] == pytest.approx((bits.kl() + bits.likelihood()).mean().item() / 64, rel=1e-5)
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
    notes: list[str] = []
    return read_image_task(inputs, valid, family, SIZES[family], note=notes.append, **options), notes


def test_what_the_images_decide(tmp_path: Path) -> None:
    gray = save(tmp_path / "gray.npy", drawings(40)[..., 0])
    bits = save(tmp_path / "bits.npy", drawings(40, seed=1)[..., 0] > 99)
    more = save(tmp_path / "more.npy", np.concatenate([drawings(40)[:10, ..., 0], drawings(20, seed=2)[..., 0]]))
    task, notes = read([gray])
    assert isinstance(task.config, MarkovConfig) and task.config.latents == (3, 2)
    assert (task.config.shape, task.config.symbols, task.binarised) == ((8, 8, 1), 256, None)
    assert "2 of 40 images (at most 5 %, by their hashes) are held out" in notes[0]
    assert notes[1] == "training on 38 images, 8x8x1, samples of 8 bits; 2 to measure with"
    task, notes = read([gray], more, binarised="sampled")
    assert (len(task.images), len(task.valid), task.config.symbols) == (30, 30, 2)
    assert notes[0] == "10 of 40 images are validation images too: not trained on"
    assert "samples 0 and 1 (sampled)" in notes[1]
    task, notes = read([bits])
    assert task.config.symbols == 2 and set(np.unique(task.images.pixels)) == {0, 1}
    assert read([gray], bits)[0].config.symbols == 256
    with pytest.raises(TrainingError, match="two values already"):
        read([bits], binarised="sampled")
    with pytest.raises(TrainingError, match="all images are validation images"):
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
    made = wider.make(start)
    assert wider.evaluate(made, False) == pytest.approx(same.evaluate(same.make(start), False), rel=1e-6)
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
    assert [row["kind"] for row in rows] == ["start", "plan", *4 * ["report"], "end", "file", "file", "evaluation"]
    for rate, row in zip(rates, rows[-3:-1], strict=True):
        assert row["set"] == rate.name and row["dims"] == 640
        assert rate.bits_per_dim == 8 * row["file_bytes"] / 640 > rate.beside["its negative ELBO"] == row["neg_elbo"]
    assert rates[1].beside["its negative ELBO"] == rows[5]["valid_neg_elbo"]


def test_other_images_from_the_new_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, path = task_of("markov", "binary"), tmp_path / "mine.safetensors"
    weights_of(task, path)
    monkeypatch.setattr(sets.ArchiveReader, "array", lambda self: 1 - task.valid.pixels)
    with pytest.raises(VerifyError, match="mine.safetensors: other images came back from the new model"):
        list(task.measure(task.make(None), path, threads=1, device="cpu", progress=lambda name, done, total: None))


def test_configs_know_their_noise() -> None:
    for family in FAMILIES:
        task = task_of(family)
        assert isinstance(task.config, ImageConfig) and isinstance(task.images, ImageSet)
        assert task.make(None).noise_size == task.config.latent_count == task.batches(QUICK, ONE)[0][1].shape[1]
