"""The shipped model: a file that it wrote must be read for ever, and be written again to the last byte."""

from pathlib import Path

import numpy as np
import pytest

import bbans
from bbans import models
from bbans.images.picture import read_picture
from tests.arithmetic import ARITHMETICS, use

FOLDER = Path(__file__).parents[1] / "data" / "golden"
SAMPLE = Path(__file__).parents[2] / "cli" / "samples" / "valley.png"


@pytest.mark.parametrize("threads", [1, 2])
def test_its_files_are_read_and_written_as_ever(threads: int) -> None:
    source, packed = (FOLDER / "photo-6.png").read_bytes(), (FOLDER / "photo-6.png.vaez").read_bytes()
    assert bbans.inspect(packed).model == "photo-6"
    assert read_picture(bbans.decompress(packed, threads=threads).data) == read_picture(source)
    assert bbans.compress(source, mode="model", threads=threads).data == packed


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_every_arithmetic_writes_the_same_bytes(arithmetic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = read_picture((FOLDER / "photo-6.png").read_bytes()).pixels
    packed = bbans.compress((FOLDER / "photo-6.png").read_bytes(), mode="model").data
    codec = models.load("photo-6", threads=1, backend=use(arithmetic, monkeypatch))
    encoded = codec.encode(pixels)
    assert all(message in packed for message in encoded.messages)
    assert np.array_equal(codec.decode(encoded.messages, *pixels.shape), pixels)


def test_the_sample_is_smaller_by_the_model_than_stored() -> None:
    source = SAMPLE.read_bytes()
    by_the_model = bbans.compress(source, mode="model", verify=False)
    assert len(by_the_model.data) < len(bbans.compress(source, mode="stored", verify=False).data)
    accounting = by_the_model.info.accounting
    assert accounting is not None
    assert accounting.posterior_bits > 0 and accounting.prior_bits > 0
    assert accounting.initial_bits == 0
    net_bits = accounting.likelihood_bits + accounting.prior_bits - accounting.posterior_bits
    # Beyond what the accounting says there are the messages' heads and checks, the header and the directory.
    assert net_bits / 8 < len(by_the_model.data) < net_bits / 8 + 200
