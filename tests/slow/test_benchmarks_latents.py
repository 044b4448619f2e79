"""The ablation of latents: what its three models are, and the command that trains and measures them."""

import dataclasses
import json
from pathlib import Path

import click.testing
import numpy as np
import pytest
import torch

from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.config import PhotoConfig
from bbans.training.callbacks import Callbacks
from bbans.training.distributed import Processes
from bbans.training.schedule import Schedule
from benchmarks import command, latents, report
from benchmarks.ablation import ControlVAE, half_and_end, tasks, without_latents
from benchmarks.detail import macs_per_pixel
from benchmarks.latents import CONTROL, WITH, WITHOUT, ControlCodec
from tests.models import TINY, codec, picture, random_vae, weights
from tests.training import folder_of_pictures

PLAIN = dataclasses.replace(TINY, adaptive=False)


def control() -> ControlCodec:
    return ControlCodec(codec(PLAIN).network, weights(PLAIN))


def test_the_control_is_trained_as_it_is_coded() -> None:
    """The bits of the training form are those of real messages, without any for z, and nothing is drawn."""
    pixels = picture(128, 64)
    model = ControlVAE(PLAIN)
    model.load_state_dict(random_vae(PLAIN).state_dict())
    for module in model.modules():
        if hasattr(module, "quantised"):
            module.quantised = True
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    low, high = (torch.full((1, PLAIN.noise_size(128)), uniform) for uniform in (0.1, 0.9))
    with torch.no_grad():
        bits = model(x, low)
        assert torch.equal(model(x, high).likelihood(), bits.likelihood())
        assert not torch.equal(random_vae(PLAIN)(x, high).likelihood(), random_vae(PLAIN)(x, low).likelihood())
    encoded = control().encode(pixels)
    assert np.array_equal(control().decode(encoded.messages, *pixels.shape), pixels)
    assert not bits.prior and encoded.accounting.prior_bits == encoded.accounting.posterior_bits == 0
    assert encoded.messages[0][0] == 0  # no level says that its z is coded
    assert encoded.accounting.likelihood_bits == pytest.approx(bits.likelihood().item(), rel=1e-4)


def test_the_control_has_no_use_for_a_posterior() -> None:
    model = ControlVAE(PLAIN)
    x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None]
    model(x, torch.rand(1, PLAIN.noise_size(64))).likelihood().sum().backward()
    used = {name.split("_")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert "prior" in used and "posterior" not in used


@pytest.mark.parametrize("config", [TINY, PhotoConfig(), PhotoConfig(width=32, blocks=1, head=32, latent_width=16)])
def test_a_decoder_without_latents_does_no_less_work(config: PhotoConfig) -> None:
    plain = without_latents(config)
    assert plain == dataclasses.replace(config, latents=0, head=plain.head)
    assert macs_per_pixel(config) <= macs_per_pixel(plain) < 1.02 * macs_per_pixel(config)


def test_all_three_see_the_same_crops(tmp_path: Path) -> None:
    schedule = Schedule(steps=1, batch=2, side=32)
    by_name = tasks(folder_of_pictures(tmp_path / "photos"), TINY, schedule.side, Callbacks())
    crops = [torch.as_tensor(task.batches(schedule, Processes())[3][0]) for task in by_name.values()]
    assert [*by_name] == [WITH, WITHOUT, CONTROL]
    assert torch.equal(crops[0], crops[1]) and torch.equal(crops[0], crops[2])


def test_the_command_trains_three_and_writes_the_table(tmp_path: Path) -> None:
    photos, out = folder_of_pictures(tmp_path / "photos"), tmp_path / "out"
    options = ["latents", str(photos), "--train", str(photos), "--weights", str(tmp_path / "weights"), "--width", "8"]
    options += ["--steps", "2", "--batch", "2", "--side", "32", "--threads", "1", "--out", str(out), "--allow-dirty"]
    for _ in range(2):  # the second time all is trained
        result = click.testing.CliRunner().invoke(command.command, options)
        assert result.exit_code == 0, result.output
    table = latents.read(out / "latents-trained-photos.json")
    assert table is not None and table.training is not None and table.stamp is not None
    assert (table.pictures, table.training.steps, table.training.batch, table.training.side) == (3, 2, 2, 32)
    files = {name: tmp_path / "weights" / f"{name}.safetensors" for name in (WITH, WITHOUT, CONTROL)}
    codecs = latents.codecs_of(*map(str, files.values()))
    assert [type(codec) for codec in codecs] == [PhotoCodec, PhotoCodec, ControlCodec]
    for rates, own in zip((table.with_z, table.without, table.control), codecs, strict=True):
        size = sum(len(message) for seed in range(3) for message in own.encode(picture(40, 48, seed=seed)).messages)
        assert rates.bits_per_dim == pytest.approx(8 * size / (3 * 40 * 48 * 3))
        assert rates.weights == own.weights_hash.hex()
    macs = table.training.macs_per_pixel
    assert json.loads((out / "latents-trained-photos.json").read_text())["training"]["macs_per_pixel"] == macs
    assert macs[CONTROL] == macs[WITH] <= macs[WITHOUT]
    words = "\n".join(report.latents_table(table))
    assert "2 steps of 2 crops of 32 x 32" in words and f"{table.control.bits_per_dim:.4f}" in words


def test_how_far_a_training_is(tmp_path: Path) -> None:
    journal = tmp_path / "with.jsonl"
    rows = [{"kind": "report", "step": step, "valid_neg_elbo": bits} for step, bits in ((100, 4.0), (200, 3.5), (400, 3.25))]
    journal.write_text("\n".join(map(json.dumps, [*rows, {"kind": "end", "step": 400, "seconds": 1.0}])))
    assert half_and_end(journal, 400) == (3.5, 3.25)
    assert half_and_end(journal, 200) == (4.0, 3.5)
    assert half_and_end(journal, 800) is None
    training = latents.Training(9, 400, 16, 64, {WITH: 7000.0}, {WITH: 3.5}, {WITH: 3.25})
    assert "with 3.500 to 3.250 bits/dim" in "\n".join(report.how_trained(training))
    assert report.how_far(dataclasses.replace(training, halfway={}, at_end={})) == []


@pytest.mark.parametrize(
    "options", [[], ["--with", "a", "--without", "b"], ["--train", "."], ["--train", ".", "--weights", "w", "--with", "a"]]
)
def test_it_is_either_to_train_or_to_measure(options: list[str]) -> None:
    result = click.testing.CliRunner().invoke(command.command, ["latents", "samples", *options])
    assert result.exit_code == 2 and "say --train and --weights" in result.output
