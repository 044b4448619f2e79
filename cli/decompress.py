"""vaezip decompress: .vaez files to pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bbans import api

from . import files, jobs


@click.command("decompress")
@jobs.options
@click.option("--model", metavar="FILE", help="Weight file of a model that is not installed.")
def command(inputs: tuple[str, ...], model: str | None, **options: Any) -> int:
    """Write pictures back: IN.vaez becomes IN, and IN.vaez is kept.

    \b
    Examples:
      vaezip decompress photo.png.vaez
      vaezip decompress - < photo.vaez > photo.png
    """
    job = jobs.Job(**options)
    jobs.start(inputs, job)
    codec = api.Model(model, threads=job.threads, device=job.device)  # one for all inputs: it loads each model once

    def decompress(source: str) -> None:
        data = files.read(source)
        info = api.inspect(data)
        target = job.target(source, files.restored_name(Path(source), info.format))
        began = time.perf_counter()
        restored = codec.decompress(data)
        took_seconds = time.perf_counter() - began
        job.write(target, restored.data, source)
        if target is not None or job.verbose:
            line = f"{target or 'stdout'}: {len(restored.data)} bytes, {restored.format}"
            job.note(source, line if not job.verbose else f"{line}, {took_seconds:.2f} s")

    return jobs.run(inputs, decompress, effect=jobs.NOTHING_WRITTEN, verbose=job.verbose)
