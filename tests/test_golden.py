"""Golden files: what was written once decodes for ever, and is written the same. See make_golden.py before changing one.

The tables that the messages rest on are pinned in test_tables.py.
"""

import base64
import hashlib
import json

import numpy as np
import pytest

from bbans import models
from bbans.exact.backends import BACKENDS
from bbans.models import photo_level
from bbans.models.photo_codec import PhotoCodec
from bbans.models.photo_network import Grid
from tests.format_decoder import Decoder, cuts, strip_edges
from tests.make_golden import FOLDER, PICTURES, PINNED, digest, pinned_picture

FILES = {
    "tiny.safetensors": "a78e843a70d0dc220c213508edb031f426c189f52d772848548cd1568c74727e",
    "messages.json": "0d2b0efb00f53b36e200ed1d7724eb6cdc8be1625ef5833cc2ccfcfa96b7cc0c",
}


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads((FOLDER / "messages.json").read_text())


@pytest.fixture(scope="module", params=BACKENDS)
def coder(request: pytest.FixtureRequest) -> PhotoCodec:
    return models.load(FOLDER / "tiny.safetensors", threads=1, backend=request.param)


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_the_old_ones(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == FILES[name]


def test_all_are_there(golden: dict) -> None:
    assert golden["pictures"].keys() == PICTURES.keys()
    assert golden["pinned"].keys() == PINNED.keys()
    flags = {name: base64.b64decode(case["messages"][0])[0] for name, case in golden["pictures"].items()}
    assert flags == {"colours": 0b1, "gray": 0b1, "noise": 0, "pixel": 0}


@pytest.mark.parametrize("name", PICTURES)
def test_messages_decode_and_are_made_again(golden: dict, coder: PhotoCodec, name: str) -> None:
    case = golden["pictures"][name]
    pixels = np.frombuffer(base64.b64decode(case["pixels"]), np.uint8).reshape(case["shape"])
    messages = [base64.b64decode(message) for message in case["messages"]]
    assert np.array_equal(coder.decode(messages, *pixels.shape), pixels)
    assert coder.encode(pixels).messages == messages


@pytest.mark.parametrize("name", PINNED)
def test_large_pictures_give_the_pinned_messages(golden: dict, name: str) -> None:
    pixels = pinned_picture(*PINNED[name])
    coder = models.load(FOLDER / "tiny.safetensors", threads=1)
    messages = coder.encode(pixels).messages
    assert len(messages) == {"regions": 2, "strips": 3}[name]
    assert digest(messages) == golden["pinned"][name]
    assert np.array_equal(coder.decode(messages, *pixels.shape), pixels)


@pytest.mark.parametrize("name", PICTURES)
def test_a_decoder_made_from_the_specification_reads_them(golden: dict, name: str) -> None:
    """FORMAT.md says all that is needed."""
    case = golden["pictures"][name]
    decoded = Decoder((FOLDER / "tiny.safetensors").read_bytes()).decode(
        [base64.b64decode(message) for message in case["messages"]], *case["shape"]
    )
    assert decoded.tobytes() == base64.b64decode(case["pixels"])


@pytest.mark.parametrize("size", [1, 2, 1535, 1536, 1537, 1793, 3072, 3073, 5000, 18433, 100_000])
def test_regions_are_cut_as_the_specification_says(size: int) -> None:
    assert [(part.start, part.stop) for part, _ in photo_level.regions(size, 1)] == cuts(size)
    assert [(part.start, part.stop) for _, part in photo_level.regions(1, size)] == cuts(size)


def test_strips_are_cut_as_the_specification_says() -> None:
    for h in (1, 63, 64, 65, 200, 321, 640, 705, 767, 768):
        for w in (1, 100, 256, 511, 512, 768):
            strips = photo_level.Level(0, 2 * h, 2 * w, Grid(h, w, 0), np.zeros(0, np.uint8), [], [], []).strips()
            assert [0, *(strip.stop for strip in strips)] == strip_edges(h, w)
            assert [strip.start for strip in strips] == strip_edges(h, w)[:-1]
