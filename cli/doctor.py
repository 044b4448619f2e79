"""vaezip doctor: whether this machine codes as all others do, shown with pictures and messages that ship with the command."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from bbans import models
from bbans._core import convolution
from bbans.errors import BbansError
from bbans.exact.backends import cuda_is_there
from bbans.exact.runtime import cores
from bbans.formats import container
from bbans.formats.container import SectionKind
from bbans.models.weights import Weights
from bbans.results import DEFAULT_EFFORT

from . import files, output, report
from .progress import ProgressLine

FOLDER = Path(str(importlib.resources.files(__package__))) / "golden"
"""Pictures with their files by the default model, and SETS. `python -m tests.make_golden default` writes them."""
SETS = "sets.json"
"""By the ids of models for sets of images: the digest of the messages of `golden_images`."""
IMAGES, CHUNK = 5, 3


@dataclass(frozen=True)
class Check:
    """A model on a backend. `fault`: what went wrong; None: all bits are right."""

    model: str
    backend: str
    threads: int
    fault: str | None


@dataclass(frozen=True)
class Way:
    """A backend; of `native` a variant, by the instructions that it needs."""

    backend: str
    variant: str | None = None
    threads: int = 1

    @property
    def name(self) -> str:
        return self.backend if self.variant is None else f"{self.backend}, {self.variant}"

    def context(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.variant is None else convolution.using(self.variant)


@click.command("doctor")
@report.option
@click.option("--device", type=click.Choice(["cpu", "cuda"]), multiple=True, help="Only this one.  [default: all there are]")
def command(as_json: bool, device: Sequence[str]) -> int:
    """Check that this machine reproduces the format bit for bit, on every backend, kind of instructions and number of threads.

    Pictures and images that ship with the command are coded and decoded by every shipped model. Exit code 1 if a bit differs.

    \b
    Example:
      vaezip doctor --json
    """
    rows = [["model", "backend", "threads", "result"]]
    good = True
    line = ProgressLine(quiet=as_json)
    for check in checks(ways(device or devices())):
        line.show(f"{check.model}, {check.backend}: {check.fault or 'bit for bit'}")
        good &= check.fault is None
        rows.append([check.model, check.backend, str(check.threads), check.fault or "bit for bit"])
        if as_json:
            report.line(check.model, {"status": "failed" if check.fault else "done", **asdict(check)})
    line.clear()
    if not as_json:
        click.echo(output.table(rows) + "\n")
    answer = "yes" if good else "no"
    if as_json:
        report.line("", {"status": "done", "format": container.VERSION, "reproduces": good})
    else:
        click.echo(f"this machine reproduces format v{container.VERSION} bit for bit: {answer}")
    return 0 if good else 1


def devices() -> list[str]:
    """cpu; and cuda, if torch is installed and finds one."""
    return ["cpu", "cuda"] if cuda_is_there() else ["cpu"]


def ways(devices: Sequence[str]) -> list[Way]:
    """All that is to be checked on these devices."""
    found = []
    if "cpu" in devices:
        *others, best = convolution.variants()
        found += [Way("native", best, threads) for threads in dict.fromkeys((1, cores()))]
        found += [Way("native", variant) for variant in others]
        found.append(Way("reference"))
    if "cuda" in devices:
        found.append(Way("cuda"))
    return found


def checks(ways: Sequence[Way]) -> Iterator[Check]:
    """Every golden vector in every way."""
    for file in sorted(FOLDER.glob("*" + files.SUFFIX)):
        contents = container.unpack(file.read_bytes())
        assert contents.model is not None
        for way in ways:
            yield Check(contents.model.id, way.name, way.threads, fault_of_picture(contents, file.with_suffix(""), way))
    for id, digest in json.loads((FOLDER / SETS).read_text()).items():
        for way in dict((way.backend, way) for way in reversed(ways)).values():  # the first of each backend
            yield Check(id, way.name, way.threads, fault_of_images(id, digest, way))


def fault_of_picture(contents: container.Container, original: Path, way: Way) -> str | None:
    """What is wrong with coding a picture in this way; None if nothing is."""
    header, pixels = contents.model, files.plain_picture(original.read_bytes())[1].samples
    assert header is not None
    messages = contents.bodies(SectionKind.MESSAGE)
    with way.context():
        try:
            weights = models.find(header.id, header.weights_hash)
            codec = models.load(weights, threads=way.threads, backend=way.backend)
            if codec.encode(pixels, DEFAULT_EFFORT).messages != messages:
                return "it makes other bits"
            if not np.array_equal(codec.decode(messages, *pixels.shape), pixels):
                return "it makes another picture"
        except BbansError as error:
            return str(error)
    return None


def fault_of_images(id: str, expected: str, way: Way) -> str | None:
    """What is wrong with coding images by a model for sets in this way; None if nothing is."""
    with way.context():
        try:
            weights = models.read(id)
            codec = models.load_set(weights, threads=way.threads, backend=way.backend)
            images = golden_images(weights)
            messages = codec.encode(images, CHUNK).messages
            if digest(messages) != expected:
                return "it makes other bits"
            if not np.array_equal(codec.decode(messages, [CHUNK, IMAGES - CHUNK]), images):
                return "it makes other images"
        except BbansError as error:
            return str(error)
    return None


def golden_images(weights: Weights) -> npt.NDArray[np.uint8]:
    """Images (IMAGES, H, W, C) for a model, by integers alone."""
    height, width, channels = (weights.config[name] for name in ("height", "width", "channels"))
    n, y, x, c = np.ogrid[:IMAGES, :height, :width, :channels]
    values = (23 * y * y // 9 + 17 * x + 61 * n + 40 * c + (x * y * (n + 3)) % 29) % 256
    images: npt.NDArray[np.uint8] = (values >> 7 if weights.config["symbols"] == 2 else values).astype(np.uint8)
    return images


def golden_digest(id: str) -> str:
    """What SETS has of a model: made by the reference backend."""
    weights = models.read(id)
    return digest(models.load_set(weights, threads=1, backend="reference").encode(golden_images(weights), CHUNK).messages)


def digest(messages: Sequence[bytes]) -> str:
    """SHA-256 over the lengths and bytes of messages."""
    return hashlib.sha256(b"".join(len(message).to_bytes(8, "little") + message for message in messages)).hexdigest()
