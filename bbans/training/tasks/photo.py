"""Training of models for pictures of any size: random crops, centre crops to watch it, whole pictures in the end."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from bbans import api
from bbans.errors import UnsupportedImageError, VerifyError
from bbans.exact.qat import Quantised
from bbans.images import webp
from bbans.models.config import PictureConfig, to_json
from bbans.models.registry import families
from bbans.models.weights import PHOTO, Weights
from bbans.training.callbacks import Callbacks
from bbans.training.data.acquisition import luma_and_chroma
from bbans.training.data.batches import CropBatches, PixelsAndNoise
from bbans.training.data.crops import RandomCrops
from bbans.training.data.photos import HELD_OUT_MOST, Photo, PhotoSet, read_photos
from bbans.training.data.pictures import Pixels, divide, fingerprint
from bbans.training.distributed import Processes
from bbans.training.metrics import evaluate_photos
from bbans.training.schedule import Schedule
from bbans.training.tasks.task import Measured, share

CROPS, CROP_SIDE = 120, 256  # at most


@dataclass(frozen=True)
class PhotoTask:
    """A model for pictures of any size, and photos to train on and to measure with."""

    photos: PhotoSet
    valid: PhotoSet
    config: PictureConfig
    family: str = PHOTO

    def identity(self) -> dict[str, Any]:
        data = fingerprint(self.photos, self.valid)
        return {"family": self.family, "config": to_json(self.config), "data": data, "binarise": None}

    def counts(self) -> dict[str, int]:
        return {"pictures": len(self.photos), "held_out": len(self.valid)}

    def sample_px(self, schedule: Schedule) -> int:
        return schedule.side**2

    def make(self, start: Weights | None) -> Quantised:
        return families()[self.family].make(self.config, start)

    def batches(self, schedule: Schedule, processes: Processes) -> Dataset[PixelsAndNoise]:
        crops = RandomCrops(self.photos.pixels, schedule.side, schedule.seed)
        noise = self.config.noise_size(schedule.side)
        return CropBatches(crops, share(schedule, processes), noise, processes.rank, processes.size)

    def evaluate(self, model: Quantised, autocast: bool) -> dict[str, float]:
        return evaluate_photos(model, self.valid.pixels, autocast=autocast) if len(self.valid) else {}

    def export(self, model: Quantised, id: str) -> bytes:
        """With what the coder starts from, which takes minutes on large photos."""
        family = families()[self.family]
        return family.with_start_values(family.export(model, id), self._crops())

    def _crops(self) -> list[Pixels]:
        """Some of the photos as they are, and half as many as luma and chroma, for what is learned with the integer form."""
        side = min(CROP_SIDE, *(side for photo in self.photos.pixels for side in photo.shape[:2]))
        crops = RandomCrops(self.photos.pixels, side, 0, augment=False)
        plain = [crops.sample(index, 1)[0] for index in range(min(CROPS, 4 * len(self.photos)))]
        return plain + [luma_and_chroma(crop, np.random.default_rng(index)) for index, crop in enumerate(plain[::2])]

    def measure(
        self, model: Quantised, weights: Path, *, threads: int | None, device: str, callbacks: Callbacks
    ) -> Iterator[Measured]:
        """Of training pictures as many as are held out, at least one."""
        some = self.photos.photos[: max(1, len(self.valid))]
        codec = api.Model(weights, threads=threads, device=device)
        for name, photos in (("training", some), ("validation", self.valid.photos)):
            for number, photo in enumerate(photos):
                callbacks.check()
                callbacks.progress(f"compressing and decompressing {name} pictures", number, len(photos))
                yield _measure(photo, name, codec)


def _measure(photo: Photo, name: str, codec: api.Model) -> Measured:
    """Compress a picture whole, decompress it and compare.

    A picture that the model does not take as its file has it (with alpha, say) is taken as the pixels that it was trained on.
    Raises: VerifyError when another picture comes back.
    """
    data = photo.path.read_bytes()
    try:
        packed = codec.compress(data, mode="model", verify=False)
        pixels = _pixels(data)
    except UnsupportedImageError:
        pixels = photo.pixels
        data = b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()
        packed = codec.compress(data, mode="model", verify=False)
    restored = codec.decompress(packed.data)
    if not np.array_equal(_pixels(restored.data), pixels):
        raise VerifyError(f"{photo.path}: another picture came back from the new model")
    fits = max(photo.pixels.shape) <= webp.MAX_SIDE_PX
    webp_bytes = len(webp.encode(photo.pixels)) if fits else None
    row = {"path": str(photo.path), "dims": pixels.size, "file_bytes": len(packed.data), "webp_bytes": webp_bytes}
    others = {"WebP, lossless": None if webp_bytes is None else 8.0 * webp_bytes}
    return Measured(name, 1, pixels.size, len(packed.data), others, row)


def _pixels(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def read_photo_task(
    folders: Sequence[Path],
    valid: Sequence[Path],
    config: PictureConfig,
    side: int,
    *,
    family: str = PHOTO,
    omit: Sequence[Path] = (),
    callbacks: Callbacks | None = None,
) -> PhotoTask:
    """The pictures below the folders, those to measure with below `valid`, or else a share held out.

    Arguments and errors as of `read_photos`; TrainingError too when nothing is left to train on.
    """
    callbacks = callbacks or Callbacks()
    photos = read_photos(folders, side, omit=omit, callbacks=callbacks)
    others = read_photos(valid, side, omit=omit, callbacks=callbacks) if valid else None
    photos, held_out = divide(photos, others, HELD_OUT_MOST, callbacks.note)
    callbacks.note(
        f"training on {len(photos)} pictures, {sum(pixels.size for pixels in photos.pixels) / 3e6:.0f} million pixels; "
        f"{len(held_out)} to measure with"
    )
    return PhotoTask(photos, held_out, config, family)
