"""Training of models for sets of images of one size: whole images in bulk, real archives in the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch.utils.data import Dataset

from bbans import sets
from bbans.errors import ModelError, TrainingError, VerifyError
from bbans.exact.qat import Quantised
from bbans.models.config import ImageConfig, to_json
from bbans.models.registry import families
from bbans.models.weights import Weights
from bbans.training.callbacks import Callbacks
from bbans.training.data.batches import ImageBatches, PixelsAndNoise
from bbans.training.data.images import HELD_OUT_MOST, ImageSet, binarise, read_images
from bbans.training.data.pictures import Pixels, divide, fingerprint
from bbans.training.distributed import Processes
from bbans.training.metrics import evaluate_images
from bbans.training.schedule import Schedule
from bbans.training.tasks.task import Measured, share

EVALUATED_MOST = 2000  # images of a report, evenly spaced in what is held out


@dataclass(frozen=True)
class ImageTask:
    """A model for images of one size and its images.

    Args:
        images: to train on; 8-bit, or 0 and 1.
        valid: to measure with.
        binarised: how 8-bit samples become 0 and 1 (`binarise`); None where they stay what they are.
    """

    family: str
    config: ImageConfig
    images: ImageSet
    valid: ImageSet
    binarised: str | None = None

    def identity(self) -> dict[str, Any]:
        data = fingerprint(self.images, self.valid)
        return {"family": self.family, "config": to_json(self.config), "data": data, "binarise": self.binarised}

    def counts(self) -> dict[str, int]:
        return {"pictures": len(self.images), "held_out": len(self.valid)}

    def sample_px(self, schedule: Schedule) -> int:
        return self.config.height * self.config.width

    def make(self, start: Weights | None) -> Quantised:
        return families()[self.family].make(self.config, start)

    def batches(self, schedule: Schedule, processes: Processes) -> Dataset[PixelsAndNoise]:
        pixels, sampled = self.images.pixels, self.binarised == "sampled"
        if self.binarised == "threshold":
            pixels = binarise(pixels, "threshold", np.random.default_rng(0))
        count = share(schedule, processes)
        return ImageBatches(pixels, count, self.config.latent_count, schedule.seed, sampled, processes.rank, processes.size)

    def evaluate(self, model: Quantised, autocast: bool) -> dict[str, float]:
        if not len(self.valid):
            return {}
        return evaluate_images(model, self._as_coded(self.valid)[:: -(-len(self.valid) // EVALUATED_MOST)], autocast)

    def export(self, model: Quantised, id: str) -> bytes:
        return families()[self.family].export(model, id)

    def measure(
        self, model: Quantised, weights: Path, *, threads: int | None, device: str, callbacks: Callbacks
    ) -> Iterator[Measured]:
        """Archives of some training images and of all that are held out, on the CPU; and the model's negative ELBO of them."""

        def progress(what: str, done: int, total: int) -> None:
            callbacks.check()
            callbacks.progress(f"{what} {name} images", done, total)

        some = self.images[: min(max(1, len(self.valid)), HELD_OUT_MOST)]
        for name, images in (("training", some), ("validation", self.valid)):
            if len(images):
                pixels = self._as_coded(images)
                file_bytes = _archive_bytes(pixels, weights, threads, progress)
                elbo = evaluate_images(model, pixels, autocast=False)["neg_elbo"]
                row = {"images": len(pixels), "dims": pixels.size, "file_bytes": file_bytes, "neg_elbo": elbo}
                yield Measured(name, len(pixels), pixels.size, file_bytes, {"its negative ELBO": elbo * pixels.size}, row)

    def _as_coded(self, images: ImageSet) -> Pixels:
        """As the model takes them: of 8-bit images the same zeros and ones each time."""
        return images.pixels if self.binarised is None else binarise(images.pixels, self.binarised, np.random.default_rng(0))


def _archive_bytes(pixels: Pixels, weights: Path, threads: int | None, progress: Callable[[str, int, int], None]) -> int:
    """Bytes of an archive of the images by the model of that file. Raises: VerifyError when others come back."""
    file = io.BytesIO()
    sets.pack(pixels, file, model=weights, threads=threads, verify=False, progress=progress)
    if not np.array_equal(sets.ArchiveReader(file, model=weights, threads=threads).array(), pixels):
        raise VerifyError(f"{weights}: other images came back from the new model")
    return len(file.getvalue())


def read_image_task(
    inputs: Sequence[Path],
    valid: Sequence[Path],
    family: str,
    sizes: Mapping[str, Any],
    *,
    start: Weights | None = None,
    binarised: str | None = None,
    omit: Sequence[Path] = (),
    callbacks: Callbacks | None = None,
) -> ImageTask:
    """The images of the inputs, those to measure with of `valid`, or else a share held out.

    Args:
        sizes: fields of the family's config, but for those that the images decide.
        start: a model of that family to take all sizes from but for those among `sizes`.
        binarised: how 8-bit samples become 0 and 1; None where they stay what they are.
    Other arguments and errors as of `read_images`; TrainingError too for images that cannot be binarised, for `valid` of another
    shape, and when nothing is left to train on; ModelError when no model of the family, or not that model, is for such images.
    """
    callbacks = callbacks or Callbacks()
    images = read_images(inputs, omit=omit, callbacks=callbacks)
    others = read_images(valid, omit=omit, callbacks=callbacks) if valid else None
    if others and others.shape != images.shape:
        raise TrainingError(f"images to train on are {images.size}, those to measure with {others.size}")
    images, held_out = divide(images, others, HELD_OUT_MOST, callbacks.note)
    if images.binary and (held_out.binary or not len(held_out)):
        if binarised:
            raise TrainingError("the images have two values already: there is nothing to binarise")
        images, held_out = images.as_bits(), held_out.as_bits()
        symbols, values = 2, "0 and 1"
    elif binarised:
        symbols, values = 2, f"0 and 1 ({binarised})"
    else:
        symbols, values = 256, "of 8 bits"
    callbacks.note(f"training on {len(images)} images, {images.size}, samples {values}; {len(held_out)} to measure with")
    return ImageTask(family, _config(family, images.shape, symbols, sizes, start), images, held_out, binarised)


def _config(family: str, shape: tuple[int, int, int], symbols: int, sizes: Mapping[str, Any], start: Weights | None) -> ImageConfig:
    row = families()[family]
    height, width, channels = shape
    if start is None:
        kind = cast(type[ImageConfig], row.config_class)
        return kind(height=height, width=width, channels=channels, symbols=symbols, **sizes)
    config = cast(ImageConfig, row.config_of(start))
    if not start.takes(shape, symbols):
        raise ModelError(f"the model '{start.id}' is for other images than {height}x{width}x{channels} with {symbols} values")
    return replace(config, **sizes)
