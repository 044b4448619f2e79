"""Our codecs as jobs: sets of images as archives of `bbans.sets`, pictures as files of `bbans.compress`.

An archive is encoded in one fresh process and decoded in another: nothing but the file passes between them. Start-up (a process,
imports, weights, self-check, first calls, and an archive of two images) is timed apart; a call is timed from file to file. Encoding
is without the verification that `vaezip` makes before it writes anything: here all is decoded anyway, and timed apart.
"""

from __future__ import annotations

import functools
import io
import multiprocessing
import operator
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import bbans
from bbans import models
from bbans.accounting import Accounting
from bbans.formats.archive import read_head
from bbans.formats.groups import Group
from bbans.models.registry import family_of

from .datasets import DataSet
from .jobs import ARCHIVE, CHAIN, EACH, PARTS, Step, compare, task_of
from .machine import watch
from .rows import Cost

if TYPE_CHECKING:
    from bbans.models.sets import SetCodec

WARM_IMAGES = 2


@dataclass(frozen=True)
class Arguments:
    """What both processes get."""

    model: str
    scheme: str
    chunk: int | None
    threads: int


class ArchiveJob:
    """The images of a set in one archive. `chunk`: None for what `vaezip pack` takes.

    With `each`, every image is an archive of its own.
    """

    parts = 1

    def __init__(
        self,
        data: DataSet,
        folder: Path,
        model: str,
        scheme: str,
        chunk: int | None = None,
        threads: int = 1,
        each: bool = False,
    ) -> None:
        assert isinstance(data.images, np.ndarray)
        count = len(data.images)
        layout = EACH if each else CHAIN if chunk == count else ARCHIVE
        self.task = task_of(data, "vaezip", layout, threads, model, scheme)
        self.arguments = Arguments(model, scheme, chunk, threads)
        self.folder = folder
        self.warm = _save(folder / f"{data.name}-warm.npy", data.images[:WARM_IMAGES])
        self.sources = [
            _save(folder / f"{data.name}-{'each' if each else 'all'}-{count}-{index}.npy", images)
            for index, images in enumerate(np.split(data.images, count) if each else [data.images])
        ]

    def step(self, part: int) -> Step:
        """Two processes, each started for this alone. Files are written and read one after the other."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as encoder, ProcessPoolExecutor(1, mp_context=context) as decoder:
            workers = encoder, decoder
            *_, start_up_s = self._there_and_back(workers, [self.warm])
            packed, decoding, _ = self._there_and_back(workers, self.sources)
        return Step(packed.files, packed.cost, decoding, packed.accounting, packed.chunks, packed.header_bytes, start_up_s)

    def _there_and_back(
        self, workers: tuple[ProcessPoolExecutor, ProcessPoolExecutor], sources: list[Path]
    ) -> tuple[Packed, Cost, tuple[float, float]]:
        """What encoding and decoding took, and the seconds of each with all around it. Raises: MismatchError."""
        archives = [self.folder / f"{source.stem}.vaeza" for source in sources]
        restored = [self.folder / f"{source.stem}-restored.npy" for source in sources]
        encoder, decoder = workers
        start = time.perf_counter()
        packed = encoder.submit(encode, sources, archives, self.arguments).result()
        middle = time.perf_counter()
        decoding = decoder.submit(decode, archives, restored, self.arguments).result()
        end = time.perf_counter()
        compare([np.load(path) for path in sources], [np.load(path) for path in restored])
        for path in (*archives, *restored):
            path.unlink()
        return packed, decoding, (middle - start, end - middle)


@dataclass(frozen=True)
class Packed:
    """What the encoding process tells."""

    files: list[int]
    cost: Cost
    accounting: Accounting
    chunks: int
    header_bytes: int


def encode(sources: list[Path], archives: list[Path], arguments: Arguments) -> Packed:
    """Pack arrays into archives. Inverse: decode. Raises: ValueError when LZMA was smaller than the model."""
    from bbans import sets

    codec = _codec(arguments)
    with watch() as watched:
        for source, target in zip(sources, archives, strict=True):
            with target.open("w+b") as file:
                sets.pack(source, file, model=codec, chunk=arguments.chunk, threads=arguments.threads, verify=False)
    sizes = [path.stat().st_size for path in archives]
    groups = [_group(path) for path in archives]
    terms = [group.model.accounting for group in groups if group.model is not None]
    if len(terms) < len(groups):
        raise ValueError(f"LZMA was smaller than the model {arguments.model}")
    accounting = functools.reduce(operator.add, terms)
    chunks, messages = sum(len(group.chunks) for group in groups), sum(group.size for group in groups)
    return Packed(sizes, watched.cost, accounting, chunks, sum(sizes) - messages)


def decode(archives: list[Path], arrays: list[Path], arguments: Arguments) -> Cost:
    """Unpack archives into arrays. Inverse: encode."""
    from bbans import sets

    codec = _codec(arguments)
    with watch() as watched:
        for source, target in zip(archives, arrays, strict=True):
            with source.open("rb") as file:
                np.save(target, sets.ArchiveReader(file, model=codec).array())
    return watched.cost


def _group(path: Path) -> Group:
    with path.open("rb") as file:
        [group] = read_head(file)[0].groups
    return group


@functools.cache
def _codec(arguments: Arguments) -> SetCodec:
    return models.load_set(arguments.model, scheme=arguments.scheme, threads=arguments.threads)


def _save(path: Path, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Path:
    """Images (N, H, W, C) as an .npy, gray ones without their last axis."""
    np.save(path, images[..., 0] if images.shape[3] == 1 else images)
    return path


class PhotoJob:
    """Every picture as a file of its own, all by one model: `vaezip compress --mode model --no-verify`."""

    def __init__(self, data: DataSet, model: str, threads: int) -> None:
        self.task = task_of(data, "vaezip", EACH, threads, model)
        self.parts = min(PARTS, len(data.images))
        self._arguments: dict[str, Any] = {"model": model, "threads": threads}
        self._pictures = [(pixels, _png(pixels)) for pixels in data.images]
        start = time.perf_counter()
        packed = bbans.compress(self._pictures[0][1], mode="model", verify=False, **self._arguments)
        middle = time.perf_counter()
        bbans.decompress(packed.data, **self._arguments)
        self._start_up_s = middle - start, time.perf_counter() - middle
        weights = models.read(model)
        self._backend = family_of(weights).load_network(weights, threads=threads).backend

    def step(self, part: int) -> Step:
        share = self._pictures[part :: self.parts]
        with watch() as encoding:
            packed = [bbans.compress(png, mode="model", verify=False, **self._arguments) for _, png in share]
        with watch() as decoding:
            restored = [bbans.decompress(file.data, **self._arguments).data for file in packed]
        shapes = [pixels.shape for pixels, _ in share]
        decoded = [np.asarray(Image.open(io.BytesIO(data))).reshape(shape) for data, shape in zip(restored, shapes, strict=True)]
        compare([pixels for pixels, _ in share], decoded)
        terms = [file.info.accounting for file in packed if file.info.accounting is not None]
        return Step(
            [len(file.data) for file in packed],
            encoding.cost,
            decoding.cost,
            functools.reduce(operator.add, terms),
            start_up_s=self._start_up_s,
            backend=self._backend,
        )


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
