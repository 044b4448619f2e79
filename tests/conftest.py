"""Fixtures of more than one module."""

import os
import signal
import zlib
from pathlib import Path

import hypothesis
import pytest

# A time limit for an example would test the machine; examples from a seed of their own make every run the same.
hypothesis.settings.register_profile("bbans", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("bbans")

ROOT = Path(__file__).parents[1]

os.environ["BBANS_MODELS"] = str(ROOT / "tests" / "none")  # no test depends on the models of whoever runs it

# A float sum's order, and so training, depends on the number of threads; and those of small networks only wait for each other.
# Before torch and numpy are imported; the processes that tests start have it, too.
os.environ["OMP_NUM_THREADS"] = "1"

# nohup, and shells that run something in the background, ignore it, and so would every process from here on.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sample_png() -> bytes:
    """The photo that ships with the command: 480 x 320, 8-bit RGB."""
    return (ROOT / "cli" / "samples" / "valley.png").read_bytes()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


@pytest.fixture(scope="session")
def tiny_png() -> bytes:
    """5 x 3 RGB, with a text chunk."""
    rows = b"".join(b"\0" + bytes((17 * x + 40 * y + 3 * c) % 256 for x in range(5) for c in range(3)) for y in range(3))
    header = (5).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    text = _chunk(b"tEXt", b"Comment\0kept")
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + text + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
