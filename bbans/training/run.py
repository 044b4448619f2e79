"""The whole way from folders of pictures to a weight file and its rates: what ``vaezip train`` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bbans.errors import TrainingError
from bbans.models.export import export_model
from bbans.models.photo_layout import PhotoConfig
from bbans.models.weights import Weights
from bbans.training.checkpoint import write_whole
from bbans.training.distributed import Processes
from bbans.training.evaluation import FileSize, bits_per_dim, file_sizes
from bbans.training.journal import Journal
from bbans.training.listener import Listener, Stopped
from bbans.training.loop import Machine, train
from bbans.training.outputs import Outputs
from bbans.training.photos import HELD_OUT, Photo, hold_out, read_photos, without
from bbans.training.schedule import Schedule


@dataclass(frozen=True)
class Rates:
    """Bits/dim of real files, each decompressed and compared; of a WebP of the same pictures beside."""

    name: str
    pictures: int
    bits_per_dim: float
    webp: float | None


def run(
    folders: list[Path],
    valid: list[Path],
    out: Outputs,
    id: str,
    config: PhotoConfig,
    schedule: Schedule,
    *,
    start: Weights | None = None,
    machine: Machine,
    processes: Processes,
    listener: Listener,
    threads: int | None = None,
    evaluated: bool = True,
    clock: Callable[[], float] = time.monotonic,
    began: float | None = None,
) -> list[Rates]:
    """Train on the pictures below the folders, export, and measure; the rates of training and validation pictures.

    Only the first process writes; the others return no rates. Arguments as of `train`, and:
        valid: folders to measure with; with none, a share of the pictures is held out.
        id: name that files coded with the model will carry.
        threads, evaluated: of the measuring in real files, and whether to do it.
    Raises: as `train`; TrainingError when there are no pictures; Stopped.
    """
    began = clock() if began is None else began
    photos, held_out = _pictures(folders, valid, out, schedule.side, listener)
    journal = Journal(out.journal, out.curve) if processes.first else Journal()
    model = train(
        photos,
        held_out,
        config,
        schedule,
        out.checkpoint,
        start=start,
        machine=machine,
        processes=processes,
        journal=journal,
        listener=listener,
        clock=clock,
        began=began,
    )
    if not processes.first:
        return []
    data = export_model(model.cpu(), id)
    write_whole(out.weights, data)
    listener.note(f"{out.weights}: {len(data)} bytes, model '{id}'")
    if not evaluated:
        return []
    sizes: dict[str, list[FileSize]] = {"training": [], "validation": []}
    for name, chosen in (("training", photos[: max(1, len(held_out))]), ("validation", held_out)):
        for number, size in enumerate(file_sizes(chosen, out.weights, threads=threads, device=machine.device.type)):
            journal.add({"kind": "file", "set": name, **asdict(size), "path": str(size.path)})
            sizes[name].append(size)
            listener.measured(name, number + 1, len(chosen))
            if listener.stop():
                raise Stopped
    rates = [_rates(name, found) for name, found in sizes.items() if found]
    journal.add({"kind": "evaluation", **{f"{r.name}_bits_per_dim": r.bits_per_dim for r in rates}, "seconds": clock() - began})
    return rates


def _pictures(
    folders: list[Path], valid: list[Path], out: Outputs, side: int, listener: Listener
) -> tuple[list[Photo], list[Photo]]:
    """The pictures to train on and to measure with."""

    def check() -> None:
        if listener.stop():
            raise Stopped

    def read(where: list[Path]) -> list[Photo]:
        return read_photos(where, side, omit=[out.curve], note=listener.note, check=check)

    photos = read(folders)
    if valid:
        held_out = read(valid)
        count = len(photos)
        photos = without(photos, held_out)
        if not photos:
            raise TrainingError("all pictures are validation pictures: nothing is left to train on")
        if len(photos) < count:
            listener.note(f"{count - len(photos)} validation pictures are among the training pictures too: not trained on")
    else:
        photos, held_out = hold_out(photos)
        if held_out:
            share = f"{len(held_out)} of {len(photos) + len(held_out)} pictures ({100 * HELD_OUT:.0f} %, by their hashes)"
            listener.note(f"{share} are held out to measure with; --valid names others")
        else:
            listener.note("one picture cannot be split: nothing is held out to measure with")
    listener.note(
        f"training on {len(photos)} pictures, {sum(photo.pixels.size for photo in photos) / 3e6:.0f} million pixels; "
        f"{len(held_out)} to measure with"
    )
    return photos, held_out


def _rates(name: str, sizes: list[FileSize]) -> Rates:
    ours = bits_per_dim(sizes, lambda size: size.file_bytes)
    assert ours is not None
    return Rates(name, len(sizes), ours, bits_per_dim(sizes, lambda size: size.webp_bytes))
