"""What a `DataLoader` with workers reads of an archive, against its decoder in one process: `python -m benchmarks.fleet loader`.

Each way opens the archive anew and takes all of its images once. The ways take turns, so that a machine that others use slows all
of them; on such a machine CPU seconds, in which those of workers are, say more than the clock.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from torch.utils.data import DataLoader

import bbans
from bbans.datasets import Archive, ChunkBatches


def measure(archive: Path, *, batch: int, workers: int, rounds: int) -> dict[str, Any]:
    """Images in a second and CPU seconds of each way, medians of so many rounds."""
    with bbans.open_archive(archive) as reader:
        images = len(reader)

    def decoder() -> int:
        with bbans.open_archive(archive, threads=1) as reader:
            return sum(1 for _ in reader)

    def in_order(workers: int) -> int:
        with closing(Archive(archive)) as own:
            return _taken(DataLoader(own, batch_size=batch, num_workers=workers, collate_fn=len))

    def mixed(workers: int) -> int:
        own = Archive(archive)
        batches = ChunkBatches(own, batch, workers=workers)
        own.close()
        return _taken(DataLoader(own, batch_sampler=batches, num_workers=workers, collate_fn=len))

    ways: dict[str, Callable[[], int]] = {
        "decoder": decoder,
        "in_order": lambda: in_order(0),
        "in_order_by_workers": lambda: in_order(workers),
        "mixed_by_workers": lambda: mixed(workers),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began, cpu = time.perf_counter(), _cpu_seconds()
            if way() != images:
                raise SystemExit(f"{name}: not all images came")
            spent[name].append((time.perf_counter() - began, _cpu_seconds() - cpu))
    found = {
        name: {
            "images_per_second": images / median(clock for clock, _ in own),
            "cpu_seconds": median(cpu for _, cpu in own),
            "images_per_cpu_second": images / median(cpu for _, cpu in own),
        }
        for name, own in spent.items()
    }
    return {"images": images, "batch": batch, "workers": workers, "rounds": rounds, "ways": found}


def _taken(loader: DataLoader[Any]) -> int:
    """Images that came. Workers have ended when this returns."""
    return sum(loader)


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(own.ru_utime + own.ru_stime for own in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
