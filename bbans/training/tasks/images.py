"""Training of the models for sets of images of one size: whole images in bulk, real archives in the end.

A batch is cut from one permutation of all images after the other. The permutation is a function of the seed and the epoch; the
noise of the latents and, where 8-bit samples are drawn anew as 0 or 1 for every use, their draws are functions of the seed and
the step: of the batch of all processes together, of which each takes its rows.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bbans import sets
from bbans.errors import ModelError, TrainingError, VerifyError
from bbans.exact.qat import Quantised
from bbans.models.config import ImageConfig, from_json, to_json
from bbans.models.losses import Bits
from bbans.models.registry import families
from bbans.models.weights import Weights
from bbans.training.data.crops import Pixels
from bbans.training.data.images import (
    HELD_OUT_IMAGES_MOST,
    ImageSet,
    binarise,
    fingerprint_of,
    hold_out_images,
    read_images,
    without_images,
)
from bbans.training.data.photos import HELD_OUT
from bbans.training.distributed import Processes
from bbans.training.schedule import Schedule
from bbans.training.tasks.task import Batch, Measured, Progress, share

EVALUATED_MOST = 2000  # images of a report, evenly spaced in what is held out
EVALUATION_BATCH = 250
NOISE, DRAWS = 1, 2  # streams of a step's random numbers


@dataclass(frozen=True)
class ImageBatches(Dataset[Batch]):
    """The batches of one of ``size`` processes by step: images (count, H, W, C) uint8 and their noise (count, n).

    All processes together take the samples ``step * count * size`` and on, whatever their number. ``sampled``: images are
    8-bit, and what comes out is 0 or 1.
    """

    pixels: Pixels
    count: int
    noise: int
    seed: int
    sampled: bool = False
    rank: int = 0
    size: int = 1

    def __getitem__(self, step: int) -> Batch:
        total = self.count * self.size
        rows = slice(self.rank * self.count, (self.rank + 1) * self.count)
        x = self.pixels[order(self.seed, len(self.pixels), step * total + rows.start, self.count)]
        if self.sampled:
            every = np.zeros((total, *x.shape[1:]), np.uint8)
            every[rows] = x
            x = binarise(every, "sampled", np.random.default_rng((self.seed, step, DRAWS)))[rows]
        return torch.from_numpy(x), uniform(np.random.default_rng((self.seed, step, NOISE)), total, self.noise)[rows]


def order(seed: int, images: int, first: int, count: int) -> NDArray[np.int64]:
    """The images of the samples ``first`` to ``first + count``, (count,)."""
    parts = []
    while count:
        epoch, start = divmod(first, images)
        part = _permutation(seed, images, epoch)[start : start + count]
        parts.append(part)
        first, count = first + len(part), count - len(part)
    return np.concatenate(parts)


def uniform(rng: np.random.Generator, rows: int, columns: int) -> Tensor:
    """Noise of latents, in (0, 1). Both ends are left out: their logits are not finite."""
    return torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, (rows, columns)).astype(np.float32))


@functools.lru_cache(maxsize=2)  # a batch may lie in two epochs
def _permutation(seed: int, images: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(images)


def evaluate_images(model: Quantised, pixels: Pixels, noise: int, autocast: bool) -> dict[str, float]:
    """Mean negative ELBO of the images (N, H, W, C) in bits/dim, and the KL term's part. The same for the same model."""
    device = next(model.parameters()).device
    likelihood = kl = 0.0
    for first in range(0, len(pixels), EVALUATION_BATCH):
        x = torch.from_numpy(pixels[first : first + EVALUATION_BATCH]).to(device).permute(0, 3, 1, 2)
        draws = uniform(np.random.default_rng((1, first)), len(x), noise).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            bits: Bits = model(x, draws)
        likelihood += bits.likelihood().double().sum().item()
        kl += bits.kl().double().sum().item()
    return {"neg_elbo": (likelihood + kl) / pixels.size, "kl": kl / pixels.size}


@dataclass(frozen=True)
class ImageTask:
    """A model for images of one size and its images.

    Args:
        images: to train on; 8-bit, or 0 and 1.
        valid: to measure with.
        binarised: how 8-bit samples become 0 and 1 (`images.binarise`); None where they stay what they are.
    """

    family: str
    config: ImageConfig
    images: ImageSet
    valid: ImageSet
    binarised: str | None = None

    def identity(self) -> dict[str, Any]:
        data = fingerprint_of(self.images, self.valid)
        return {"family": self.family, "config": to_json(self.config), "data": data, "binarise": self.binarised}

    def counts(self) -> dict[str, int]:
        return {"pictures": len(self.images), "held_out": len(self.valid)}

    def make(self, start: Weights | None) -> Quantised:
        return families()[self.family].make(self.config, start)

    def batches(self, schedule: Schedule, processes: Processes) -> Dataset[Batch]:
        pixels, sampled = self.images.pixels, self.binarised == "sampled"
        if self.binarised == "threshold":
            pixels = binarise(pixels, "threshold", np.random.default_rng(0))
        count = share(schedule, processes)
        return ImageBatches(pixels, count, self.config.latent_count, schedule.seed, sampled, processes.rank, processes.size)

    def evaluate(self, model: Quantised, autocast: bool) -> dict[str, float]:
        if not len(self.valid):
            return {}
        chosen = self._measurable(self.valid)[:: -(-len(self.valid) // EVALUATED_MOST)]
        return evaluate_images(model, chosen, self.config.latent_count, autocast)

    def export(self, model: Quantised, id: str) -> bytes:
        return families()[self.family].export(model, id)

    def measure(
        self, model: Quantised, weights: Path, *, threads: int | None, device: str, progress: Progress
    ) -> Iterator[Measured]:
        """Archives of some training images and of all that is held out, on the CPU. The model's negative ELBO is beside."""
        some = self.images[: min(max(1, len(self.valid)), HELD_OUT_IMAGES_MOST)]
        for name, images in (("training", some), ("validation", self.valid)):
            if len(images):
                pixels = self._measurable(images)
                file_bytes = _archived(pixels, weights, threads, functools.partial(_progress, progress, name))
                elbo = evaluate_images(model, pixels, self.config.latent_count, autocast=False)["neg_elbo"]
                row = {"images": len(pixels), "dims": pixels.size, "file_bytes": file_bytes, "neg_elbo": elbo}
                yield Measured(name, len(pixels), pixels.size, file_bytes, {"its negative ELBO": elbo * pixels.size}, row)

    def _measurable(self, images: ImageSet) -> Pixels:
        """As the model takes them: of 8-bit images the same zeros and ones each time."""
        return images.pixels if self.binarised is None else binarise(images.pixels, self.binarised, np.random.default_rng(0))


def _archived(pixels: Pixels, weights: Path, threads: int | None, progress: Callable[[str, int, int], None]) -> int:
    """Bytes of an archive of the images by the model of that file. Raises: VerifyError when others come back."""
    file = io.BytesIO()
    sets.pack(pixels, file, model=weights, threads=threads, verify=False, progress=progress)
    if not np.array_equal(sets.ArchiveReader(file, model=weights, threads=threads).array(), pixels):
        raise VerifyError(f"{weights}: other images came back from the new model")
    return len(file.getvalue())


def _progress(progress: Progress, name: str, what: str, done: int, total: int) -> None:
    progress(name, done, total)


def read_image_task(
    inputs: Sequence[Path],
    valid: Sequence[Path],
    family: str,
    sizes: Mapping[str, Any],
    *,
    start: Weights | None = None,
    binarised: str | None = None,
    omit: Sequence[Path] = (),
    note: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> ImageTask:
    """The images of the inputs, those to measure with of `valid`, or else a share held out.

    Args:
        sizes: fields of the family's config, but for those that the images decide.
        start: a model of that family to take all sizes from but for those of a topdown model's pixel layers among `sizes`.
        binarised: how 8-bit samples become 0 and 1; None where they stay what they are.
    Other arguments and errors as of `read_images`; TrainingError too for images that cannot be binarised, for `valid` of another
    shape, and when nothing is left to train on; ModelError when no model of the family, or not that model, is for such images.
    """
    images = read_images(inputs, omit=omit, note=note, check=check)
    if valid:
        held_out = read_images(valid, omit=omit, note=note, check=check)
        if held_out.shape != images.shape:
            raise TrainingError(f"images to train on are {images.size}, those to measure with {held_out.size}")
        count = len(images)
        images = without_images(images, held_out)
        if not len(images):
            raise TrainingError("all images are validation images: nothing is left to train on")
        if len(images) < count:
            note(f"{count - len(images)} of {count} images are validation images too: not trained on")
    else:
        images, held_out = hold_out_images(images)
        part = f"{len(held_out)} of {len(images) + len(held_out)} images (at most {100 * HELD_OUT:.0f} %, by their hashes)"
        note(f"{part} are held out to measure with; --valid names others")
    if images.binary and (held_out.binary or not len(held_out)):
        if binarised:
            raise TrainingError("the images have two values already: there is nothing to binarise")
        images, held_out = images.of_bits(), held_out.of_bits()
        symbols, values = 2, "0 and 1"
    elif binarised:
        symbols, values = 2, f"0 and 1 ({binarised})"
    else:
        symbols, values = 256, "of 8 bits"
    note(f"training on {len(images)} images, {images.size}, samples {values}; {len(held_out)} to measure with")
    return ImageTask(family, _config(family, images.shape, symbols, sizes, start), images, held_out, binarised)


def _config(family: str, shape: tuple[int, int, int], symbols: int, sizes: Mapping[str, Any], start: Weights | None) -> ImageConfig:
    kind = cast(type[ImageConfig], families()[family].config_class)
    height, width, channels = shape
    if start is None:
        return kind(height=height, width=width, channels=channels, symbols=symbols, **sizes)
    if not start.takes(shape, symbols):
        raise ModelError(f"the model '{start.id}' is for other images than {height}x{width}x{channels} with {symbols} values")
    return replace(from_json(kind, start.config, start.id), **sizes)
