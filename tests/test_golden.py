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
from bbans.models.photo_codec import PhotoCodec
from tests.make_golden import FOLDER, PICTURES, PINNED, digest, pinned_picture

FILES = {
    "tiny.safetensors": "7f018b160ac142014a34fbd1c35a01c75f630aba5df47c5783835f54d3b2900b",
    "messages.json": "4b7e2e9100b59d993fdc6c561428f693bb09ec411c9b3d38bd29d9b6d50e3462",
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
