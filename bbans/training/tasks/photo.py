"""Training of the photo model: random crops, centre crops to watch it, whole pictures in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from bbans.errors import TrainingError
from bbans.exact.qat import Quantised
from bbans.models.config import PictureConfig, to_json
from bbans.models.registry import families
from bbans.models.weights import PHOTO, Weights
from bbans.training.data.batches import Batches
from bbans.training.data.crops import Crops
from bbans.training.data.photos import HELD_OUT, Photo, fingerprint, hold_out, read_photos, without
from bbans.training.distributed import Processes
from bbans.training.metrics import FileSize, evaluate, file_sizes
from bbans.training.schedule import Schedule
from bbans.training.tasks.task import Batch, Measured, Progress, share


@dataclass(frozen=True)
class PhotoTask:
    """A photo model and its photos."""

    photos: Sequence[Photo]
    valid: Sequence[Photo]
    config: PictureConfig
    family: str = PHOTO

    def identity(self) -> dict[str, Any]:
        data = fingerprint(self.photos, self.valid)
        return {"family": self.family, "config": to_json(self.config), "data": data, "binarise": None}

    def counts(self) -> dict[str, int]:
        return {"pictures": len(self.photos), "held_out": len(self.valid)}

    def make(self, start: Weights | None) -> Quantised:
        return families()[self.family].make(self.config, start)

    def batches(self, schedule: Schedule, processes: Processes) -> Dataset[Batch]:
        crops = Crops([photo.pixels for photo in self.photos], schedule.side, schedule.seed)
        count = share(schedule, processes)
        return Batches(crops, count, self.config.noise_size(schedule.side), processes.rank, processes.size)

    def evaluate(self, model: Quantised, autocast: bool) -> dict[str, float]:
        if not self.valid:
            return {}
        return evaluate(model, [photo.pixels for photo in self.valid], autocast=autocast)

    def export(self, model: Quantised, id: str) -> bytes:
        return families()[self.family].export(model, id)

    def measure(
        self, model: Quantised, weights: Path, *, threads: int | None, device: str, progress: Progress
    ) -> Iterator[Measured]:
        """Of training pictures as many as are held out, at least one."""
        for name, chosen in (("training", self.photos[: max(1, len(self.valid))]), ("validation", self.valid)):
            for number, size in enumerate(file_sizes(chosen, weights, threads=threads, device=device)):
                yield _measured(size, name)
                progress(name, number + 1, len(chosen))


def _measured(size: FileSize, name: str) -> Measured:
    webp_bits = None if size.webp_bytes is None else 8.0 * size.webp_bytes
    row = {**asdict(size), "path": str(size.path)}
    return Measured(name, 1, size.dims, size.file_bytes, {"WebP, lossless": webp_bits}, row)


def read_photo_task(
    folders: Sequence[Path],
    valid: Sequence[Path],
    config: PictureConfig,
    side: int,
    *,
    omit: Sequence[Path] = (),
    note: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
    family: str = PHOTO,
) -> PhotoTask:
    """The pictures below the folders, those to measure with below `valid`, or else a share held out.

    Arguments and errors as of `read_photos`; TrainingError too when nothing is left to train on.
    """

    def read(where: Sequence[Path]) -> list[Photo]:
        return read_photos(where, side, omit=omit, note=note, check=check)

    photos = read(folders)
    if valid:
        held_out = read(valid)
        count = len(photos)
        photos = without(photos, held_out)
        if not photos:
            raise TrainingError("all pictures are validation pictures: nothing is left to train on")
        if len(photos) < count:
            note(f"{count - len(photos)} validation pictures are among the training pictures too: not trained on")
    else:
        photos, held_out = hold_out(photos)
        if held_out:
            part = f"{len(held_out)} of {len(photos) + len(held_out)} pictures ({100 * HELD_OUT:.0f} %, by their hashes)"
            note(f"{part} are held out to measure with; --valid names others")
        else:
            note("one picture cannot be split: nothing is held out to measure with")
    note(
        f"training on {len(photos)} pictures, {sum(photo.pixels.size for photo in photos) / 3e6:.0f} million pixels; "
        f"{len(held_out)} to measure with"
    )
    return PhotoTask(photos, held_out, config, family)
