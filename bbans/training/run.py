"""The whole way from a task to a weight file and its rates: what `vaezip train` does once the pictures are read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bbans.files import write_whole
from bbans.models.weights import Weights
from bbans.training.callbacks import Callbacks
from bbans.training.distributed import Processes
from bbans.training.journal import Journal
from bbans.training.loop import Machine, train
from bbans.training.outputs import Outputs
from bbans.training.schedule import Schedule
from bbans.training.tasks.task import Measured, TrainingTask


@dataclass(frozen=True)
class FileRates:
    """Bits/dim of real files, all decoded and compared; and of other codes of the same pictures, by name."""

    name: str
    pictures: int
    bits_per_dim: float
    others: dict[str, float | None]


def run(
    task: TrainingTask,
    out: Outputs,
    id: str,
    schedule: Schedule,
    *,
    start: Weights | None = None,
    machine: Machine,
    processes: Processes,
    callbacks: Callbacks,
    threads: int | None = None,
    evaluated: bool = True,
    clock: Callable[[], float] = time.monotonic,
    began: float | None = None,
) -> list[FileRates]:
    """Train, export, and measure real files; the rates of training and validation pictures.

    Only the first process writes; the others return no rates. Arguments as of `train`, and:
        id: name that files coded with the model will carry.
        threads, evaluated: for real files at the end, and whether to measure them.
    Raises: as `train`; VerifyError; Stopped.
    """
    began = clock() if began is None else began
    journal = Journal(out.journal, out.curve) if processes.first else Journal()
    model = train(
        task,
        schedule,
        out.checkpoint,
        start=start,
        machine=machine,
        processes=processes,
        journal=journal,
        callbacks=callbacks,
        clock=clock,
        began=began,
    )
    if not processes.first:
        return []
    callbacks.note("writing the model, with what its coder starts from if it learns that")
    data = task.export(model.cpu(), id)
    write_whole(out.weights, data)
    callbacks.note(f"{out.weights}: {len(data)} bytes, model '{id}'")
    if not evaluated:
        return []
    measured: dict[str, list[Measured]] = {}
    for files in task.measure(model, out.weights, threads=threads, device=machine.device.type, callbacks=callbacks):
        journal.add({"kind": "file", "set": files.name, **files.row})
        measured.setdefault(files.name, []).append(files)
    rates = [mean_rates(name, files) for name, files in measured.items()]
    journal.add({"kind": "evaluation", **{f"{r.name}_bits_per_dim": r.bits_per_dim for r in rates}, "seconds": clock() - began})
    return rates


def mean_rates(name: str, measured: list[Measured]) -> FileRates:
    """All bits over all dimensions: of our files, and of each other code over those pictures that have it."""

    def rate(other: str) -> float | None:
        pairs = [(bits, files.dims) for files in measured if (bits := files.others[other]) is not None]
        return sum(bits for bits, _ in pairs) / sum(dims for _, dims in pairs) if pairs else None

    ours = 8 * sum(files.file_bytes for files in measured) / sum(files.dims for files in measured)
    return FileRates(name, sum(files.pictures for files in measured), ours, {other: rate(other) for other in measured[0].others})
