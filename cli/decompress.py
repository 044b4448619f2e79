"""vaezip decompress: .vaez files to pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bbans import api
from bbans.errors import FormatError, UnsupportedImageError
from bbans.formats import archive
from bbans.results import Info

from . import batch, files, inputs, jobs, output
from .inputs import Item


@click.command("decompress")
@jobs.options
@click.option("--model", metavar="FILE", help="Weight file of a model that is not installed.")
def command(inputs: tuple[str, ...], model: str | None, **options: Any) -> int:
    """Write pictures back: IN.vaez becomes IN, and IN.vaez is kept.

    With -r the .vaez files in folders are decompressed; --output-dir gets the same folders and links.

    \b
    Examples:
      vaezip decompress photo.png.vaez
      vaezip decompress -r packed --output-dir photos
      vaezip decompress - < photo.vaez > photo.png
    """
    job = jobs.Job(**options)
    jobs.start(inputs, job)
    found = compressed(inputs, job)
    at_once, threads = batch.workers(job, len(found.items))
    codec = api.Model(model, threads=threads, device=job.device)  # one for all inputs: it loads each model once
    budget = batch.Budget()

    def decompress(item: Item) -> batch.Product:
        if item.link:
            return batch.link(item, job)
        if job.skip_existing:  # before a file is read for nothing
            job.target(item, files.restored_name(Path(item.source), ""))
        data, status = files.read_with_status(item.source)
        info = inspect(data, job.max_pixels)
        target = job.target(item, files.restored_name(Path(item.source), info.format))
        if job.dry_run:
            place = "to stdout" if target is None else f"to {target}"
            return batch.Product(f"{item.source}: would be decompressed {place}", fields={"target": target and str(target)})
        with budget.hold(info.width * info.height):
            began = time.perf_counter()
            restored = codec.decompress(data)
            seconds = time.perf_counter() - began
        line = ""
        if target is not None or job.verbose:
            line = f"{target or 'stdout'}: {output.size(len(restored.data), job.verbose > 0)}, {restored.format}"
        fields = {
            "target": target and str(target),
            "format": restored.format,
            "source_bytes": len(restored.data),
            "file_bytes": len(data),
            "seconds": seconds,
        }
        line = line if not job.verbose else f"{line}, {seconds:.2f} s"
        return batch.Product(line, target, restored.data, fields, (), status, len(data), len(restored.data))

    return batch.run(found, decompress, job, at_once=at_once, effect=jobs.NOTHING_WRITTEN)


def compressed(sources: tuple[str, ...], job: jobs.Job) -> inputs.Found:
    """The files that are named, and the .vaez files in folders."""
    found = inputs.expand(sources, recursive=job.recursive, wanted=lambda name: name.endswith(files.SUFFIX), omit=job.output_dir)
    found.left_out = [name for name in found.left_out if name.endswith(files.ARCHIVE_SUFFIX)]
    note = found.note("that are archives: vaezip unpack takes them")
    if note and not job.quiet:
        output.note(note)
    return found


def inspect(data: bytes, max_pixels: int | None) -> Info:
    """What a compressed picture says of itself. Raises: FormatError, UnsupportedImageError: more pixels than the limit."""
    if data.startswith(archive.MAGIC):
        raise FormatError("it is an archive: vaezip unpack takes it")
    info = api.inspect(data)
    if max_pixels is not None and info.width * info.height > max_pixels:
        raise UnsupportedImageError(f"it has more pixels than --max-pixels {max_pixels} ({info.width} x {info.height})")
    return info
