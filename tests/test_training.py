"""Training: crops by index, a loss that falls, resuming as if uninterrupted, and the way from photos to a codec."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bbans import models
from bbans.models.photo import PhotoVAE
from bbans.models.photo_layout import PhotoConfig
from bbans.training.data import Crops, change_acquisition, load_photos
from bbans.training.loop import Schedule, batch_of, evaluate, json_lines, noise_size, train
from tests.models import TINY, picture, random_vae

PHOTOS = [picture(48, 60), picture(40, 90, seed=1)]


pytestmark = pytest.mark.usefixtures("one_torch_thread")


# Data


def test_crops_are_a_function_of_seed_and_index() -> None:
    crops = Crops(PHOTOS, 32, seed=7)
    again = Crops([photo.copy() for photo in PHOTOS], 32, seed=7)
    forward = [crops.sample(index, 5) for index in range(30)]
    backward = [again.sample(index, 5) for index in reversed(range(30))][::-1]
    for (x, noise), (y, other) in zip(forward, backward, strict=True):
        assert x.shape == (32, 32, 3)
        assert x.dtype == np.uint8
        assert np.array_equal(x, y)
        assert np.array_equal(noise, other)
        assert 0 < noise.min() < noise.max() < 1
    assert len({x.tobytes() for x, _ in forward}) == 30
    assert not np.array_equal(forward[0][0], Crops(PHOTOS, 32, seed=8).sample(0, 5)[0])


def test_noise_does_not_depend_on_the_photos() -> None:
    assert np.array_equal(Crops(PHOTOS, 32, 1).sample(3, 9)[1], Crops(PHOTOS[:1], 16, 1).sample(3, 9)[1])


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
    crops = Crops(PHOTOS, 32, 0)
    x, noise = batch_of(crops, 6, 3, TINY, torch.device("cpu"))
    assert x.shape == (3, 3, 32, 32)
    pixels, uniform = crops.sample(7, noise_size(TINY, 32))
    assert np.array_equal(x[1].permute(1, 2, 0).numpy(), pixels)
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
    size = noise_size(TINY, side)
    assert size == {16: 0, 32: 2, 64: 10, 256: 170}[side]
    with torch.no_grad():
        model(torch.zeros(1, 3, side, side, dtype=torch.uint8), torch.full((1, size + 3), 0.5))
    assert model.left == 3


def test_photos_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(PHOTOS[1]).save(tmp_path / "b.png")
    Image.fromarray(PHOTOS[0]).save(tmp_path / "a" / "z.PNG")
    Image.fromarray(PHOTOS[0][:20]).save(tmp_path / "small.png")
    (tmp_path / "notes.txt").write_text("no picture")
    photos = load_photos([tmp_path], smallest=32)
    assert [photo.shape for photo in photos] == [(48, 60, 3), (40, 90, 3)]
    with pytest.raises(ValueError, match="64x64"):
        load_photos([tmp_path], smallest=64)


# The loop


def test_schedule() -> None:
    schedule = Schedule(steps=1000, rate=1.0, warm_up=10)
    rates = [schedule.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[500] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert schedule.kl_weight_at(0) == pytest.approx(0.1)
    assert schedule.kl_weight_at(100) == pytest.approx(0.55)
    assert schedule.kl_weight_at(200) == schedule.kl_weight_at(999) == 1.0


QUICK = Schedule(steps=20, batch=2, side=32, rate=4e-3, warm_up=3)


def test_loss_falls(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    model = train(PHOTOS, PHOTOS, TINY, QUICK, tmp_path / "model.pt", every=5, report=rows.append)
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert [row["quantised"] for row in rows] == [False, False, True, True]
    assert rows[-1]["valid_neg_elbo"] < rows[0]["valid_neg_elbo"] - 0.1
    assert rows[-1]["train"] < rows[0]["train"]
    assert model.quantised
    assert evaluate(model, PHOTOS) == evaluate(model, PHOTOS)
    assert evaluate(model, PHOTOS)["neg_elbo"] == rows[-1]["valid_neg_elbo"]


def test_resuming_is_as_if_uninterrupted(tmp_path: Path) -> None:
    uncut = train(PHOTOS, [], TINY, QUICK, tmp_path / "uncut.pt", every=5)

    class Interrupted(Exception):
        pass

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 15:
            raise Interrupted

    cut = tmp_path / "cut.pt"
    with pytest.raises(Interrupted):
        train(PHOTOS, [], TINY, QUICK, cut, every=5, report=stop)
    assert torch.load(cut, weights_only=True)["step"] == 10
    torch.manual_seed(99)  # whatever happened in between
    resumed = train(PHOTOS, [], TINY, QUICK, cut, every=5)
    for (name, mine), theirs in zip(resumed.state_dict().items(), uncut.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    states = [torch.load(path, weights_only=True) for path in (cut, tmp_path / "uncut.pt")]
    assert states[0]["step"] == states[1]["step"] == 20
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.pt"
    short = Schedule(steps=2, batch=1, side=32)
    first = train(PHOTOS, [], TINY, short, checkpoint)
    written = checkpoint.read_bytes()
    again = train(PHOTOS, [], TINY, short, checkpoint)
    assert checkpoint.read_bytes() == written
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match="was trained as"):
        train(PHOTOS, [], PhotoConfig(width=8, blocks=1, carried=4, head=8, latents=0), short, checkpoint)


def test_every_parameter_learns() -> None:
    """None is out of reach of the gradient, with and without rounding."""
    for quantised in (True, False):
        model = random_vae()
        for module in model.modules():
            if hasattr(module, "quantised"):
                module.quantised = quantised
        x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None]
        bits = model(x, torch.full((1, noise_size(TINY, 64)), 0.3))
        (bits.likelihood() + bits.kl()).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_json_lines(tmp_path: Path) -> None:
    report = json_lines(tmp_path / "curve.jsonl")
    report({"step": 1, "train": 2.5})
    report({"step": 2})
    assert (tmp_path / "curve.jsonl").read_text() == '{"step": 1, "train": 2.5}\n{"step": 2}\n'


def test_from_photos_to_a_codec(tmp_path: Path) -> None:
    """The two commands, as the README has them, and a picture through what they made."""
    folder, checkpoint, weights = tmp_path / "photos", tmp_path / "model.pt", tmp_path / "mine.safetensors"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(picture(70, 80, seed=index)).save(folder / f"{index}.png")

    def run(*arguments: str | Path) -> str:
        return subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    sizes = ("--steps", "2", "--batch", "1", "--width", "8", "--latents", "2", "--threads", "1")
    output = run("bbans.training", folder, "--valid", folder, "--out", checkpoint, *sizes)
    assert "step 2 steps 2" in output
    assert json.loads(checkpoint.with_suffix(".jsonl").read_text())["step"] == 2
    output = run("bbans.models.export", checkpoint, "--id", "mine-1", "--out", weights)
    assert f"{weights.stat().st_size} bytes" in output
    coder = models.load(weights, threads=1)
    assert (coder.id, coder.network.config.width) == ("mine-1", 8)
    pixels = picture(70, 80)
    encoded = coder.encode(pixels)
    assert np.array_equal(coder.decode(encoded.messages, *pixels.shape), pixels)
    assert sum(map(len, encoded.messages)) < pixels.size
