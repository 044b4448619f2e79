"""Our codecs as jobs: sets of images as archives of `bbans.sets`, pictures as files of `bbans.compress`.

An archive is encoded in one fresh process and decoded in another: nothing but the file passes between them. Start-up (a process,
imports, weights, self-check, first calls, and an archive of two images) is timed apart; a call is timed from file to file. Encoding
is without the verification that `vaezip` makes before it writes anything: here all is decoded anyway, and timed apart.
"""

from __future__ import annotations

import functools
import io
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import bbans
from bbans.formats.archive import read_head

from .datasets import DataSet
from .jobs import ARCHIVE, CHAIN, EACH, PARTS, Step, compare
from .machine import watch_memory

if TYPE_CHECKING:
    from bbans.models.sets import SetCodec

WARM_IMAGES = 2
TERMS = ("likelihood_bits", "prior_bits", "posterior_bits", "initial_bits")


@dataclass(frozen=True)
class Arguments:
    """What both processes are told."""

    model: str
    scheme: str | None
    chunk: int | None
    threads: int | None


class ArchiveJob:
    """The images of a set in one archive. ``scheme`` and ``chunk``: None for what `vaezip pack` takes.

    With ``each``, every image is an archive of its own.
    """

    codec = "vaezip"
    parts = 1

    def __init__(
        self,
        data: DataSet,
        folder: Path,
        model: str,
        scheme: str | None = None,
        chunk: int | None = None,
        threads: int | None = None,
        each: bool = False,
    ) -> None:
        assert isinstance(data.images, np.ndarray)
        self.images, self.dims, self.pixels = len(data.images), data.dims, data.pixels
        self.layout = EACH if each else CHAIN if chunk == self.images else ARCHIVE
        self.about: dict[str, Any] = {"model": Path(model).stem, "scheme": scheme, "threads": threads}
        self.arguments = Arguments(model, scheme, chunk, threads)
        self.folder = folder
        self.warm = _save(folder / f"{data.name}-warm.npy", data.images[:WARM_IMAGES])
        self.sources = [
            _save(folder / f"{data.name}-{self.images}-{index}.npy", images)
            for index, images in enumerate(np.split(data.images, self.images) if each else [data.images])
        ]

    def step(self, part: int) -> Step:
        """Two processes, each started for this alone. Files are written and read one after the other."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as encoder, ProcessPoolExecutor(1, mp_context=context) as decoder:
            workers = encoder, decoder
            _, (self.about["start_up_s"], self.about["start_up_decode_s"]) = self._there_and_back(workers, [self.warm])
            (encoded, decoded), _ = self._there_and_back(workers, self.sources)
        self.about |= encoded["about"]
        return Step(encoded["bytes"], encoded["s"], decoded["s"], encoded["mib"], decoded["mib"])

    def _there_and_back(
        self, workers: tuple[ProcessPoolExecutor, ProcessPoolExecutor], sources: list[Path]
    ) -> tuple[list[dict[str, Any]], list[float]]:
        """What encoding and decoding told, and the seconds of each with all around it. Raises: MismatchError."""
        archives = [self.folder / f"{source.stem}.vaeza" for source in sources]
        restored = [self.folder / f"{source.stem}-restored.npy" for source in sources]
        results, seconds = [], []
        for worker, work, given, made in zip(workers, (encode, decode), (sources, archives), (archives, restored), strict=True):
            start = time.perf_counter()
            results.append(worker.submit(work, given, made, self.arguments).result())
            seconds.append(time.perf_counter() - start)
        compare([np.load(path) for path in sources], [np.load(path) for path in restored])
        for path in (*archives, *restored):
            path.unlink()
        return results, seconds


def encode(sources: list[Path], archives: list[Path], arguments: Arguments) -> dict[str, Any]:
    """Pack arrays into archives, and tell seconds, MiB, bytes, and where the bits are. Inverse: decode."""
    from bbans import sets

    codec = _codec(arguments.model, arguments.scheme, arguments.threads)

    def pack(source: Path, target: Path) -> None:
        with target.open("w+b") as file:
            sets.pack(source, file, model=codec, chunk=arguments.chunk, threads=arguments.threads, verify=False)

    found = _timed(pack, sources, archives)
    about: dict[str, Any] = dict.fromkeys(TERMS, 0) | {"chunks": 0, "header_bytes": 0}
    for path in archives:
        with path.open("rb") as file:
            [group] = read_head(file)[0].groups
        about["header_bytes"] += path.stat().st_size - group.size
        about["chunks"] += len(group.chunks)
        about["chunk"] = group.chunk
        if group.model is None:
            raise ValueError(f"LZMA was smaller than the model {arguments.model}")
        about["scheme"] = group.model.scheme
        for term in TERMS:
            about[term] += getattr(group.model.accounting, term)
    return found | {"about": about}


def decode(archives: list[Path], arrays: list[Path], arguments: Arguments) -> dict[str, Any]:
    """Unpack archives into arrays: the scheme is the one that the file names. Inverse: encode."""
    from bbans import sets

    with archives[0].open("rb") as file:
        model = read_head(file)[0].groups[0].model
    assert model is not None  # encode saw to it
    codec = _codec(arguments.model, model.scheme, arguments.threads)

    def unpack(source: Path, target: Path) -> None:
        with source.open("rb") as file:
            np.save(target, sets.ArchiveReader(file, model=codec).array())

    return _timed(unpack, archives, arrays)


@functools.cache
def _codec(model: str, scheme: str | None, threads: int | None) -> SetCodec:
    from bbans import models

    return models.load_set(model, scheme=scheme, threads=threads)


def _timed(work: Callable[[Path, Path], None], sources: list[Path], targets: list[Path]) -> dict[str, Any]:
    with watch_memory() as memory:
        start = time.perf_counter()
        for source, target in zip(sources, targets, strict=True):
            work(source, target)
        seconds = time.perf_counter() - start
    return {"s": seconds, "mib": memory.mib, "bytes": sum(path.stat().st_size for path in targets)}


def _save(path: Path, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Path:
    """Images (N, H, W, C) as an .npy, gray ones without their last axis."""
    np.save(path, images[..., 0] if images.shape[3] == 1 else images)
    return path


class PhotoJob:
    """Every picture as a file of its own, all by the photo model: `vaezip compress --mode model --no-verify`."""

    codec = "vaezip"
    layout = EACH

    def __init__(self, data: DataSet, model: str, threads: int | None = None) -> None:
        self.images, self.dims, self.pixels = len(data.images), data.dims, data.pixels
        self.parts = min(PARTS, self.images)
        self.arguments: dict[str, Any] = {"model": model, "threads": threads}
        self.about: dict[str, Any] = {"model": Path(model).stem, "scheme": None, "threads": threads}
        self.pictures = [(pixels, _png(pixels)) for pixels in data.images]
        start = time.perf_counter()
        bbans.decompress(bbans.compress(self.pictures[0][1], mode="model", verify=False, **self.arguments).data, **self.arguments)
        self.about["start_up_s"] = time.perf_counter() - start
        self.about |= dict.fromkeys(TERMS, 0)
        self.seen: set[int] = set()

    def step(self, part: int) -> Step:
        share = self.pictures[part :: self.parts]
        with watch_memory() as encoding:
            start = time.perf_counter()
            packed = [bbans.compress(png, mode="model", verify=False, **self.arguments) for _, png in share]
            encode_s = time.perf_counter() - start
        with watch_memory() as decoding:
            start = time.perf_counter()
            restored = [bbans.decompress(file.data, **self.arguments).data for file in packed]
            decode_s = time.perf_counter() - start
        shapes = [pixels.shape for pixels, _ in share]
        decoded = [np.asarray(Image.open(io.BytesIO(data))).reshape(shape) for data, shape in zip(restored, shapes, strict=True)]
        compare([pixels for pixels, _ in share], decoded)
        if part not in self.seen:
            self.seen.add(part)
            for file in packed:
                assert file.info.accounting is not None  # mode model
                for term in TERMS:
                    self.about[term] += getattr(file.info.accounting, term)
        return Step(sum(len(file.data) for file in packed), encode_s, decode_s, encoding.mib, decoding.mib)


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
