"""vaezip decompress: .vaez files to pictures."""

from __future__ import annotations

import time
from typing import Any

import click

import bbans
from bbans.errors import CorruptDataError, FormatError, UnsupportedImageError
from bbans.formats import archive, container
from bbans.progress import Progress
from bbans.results import Info

from . import batch, files, inputs, jobs, output
from .inputs import Item


@click.command("decompress")
@jobs.options
@click.option("--model", metavar="FILE", help="Weight file of a model that is not installed.")
@click.option("--recover", is_flag=True, help="Write what is good of a damaged picture, and say what is not.")
@click.option("--exact-file", is_flag=True, help="An error where a PNG comes back as another file, because zlib differs.")
def command(inputs: tuple[str, ...], model: str | None, recover: bool, exact_file: bool, **options: Any) -> int:
    """Write pictures back: IN.vaez becomes IN, and IN.vaez is kept.

    With -r the .vaez files in folders are decompressed; --output-dir gets the same folders and links. With --recover, what is
    damaged of a picture that the model coded is written coarser, or as a chequered gray where nothing is left of it, and the exit
    code is 3 all the same.

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
    codec = bbans.api.Model(model, threads=threads, device=job.device)  # one for all inputs: it loads each model once
    budget = batch.PixelBudget()

    def decompress(item: Item, progress: Progress | None) -> batch.Product:
        if item.link:
            return batch.link(item, job)
        if job.skip_existing:  # before a file is read for nothing
            job.target(item, files.restored_name(item.source, ""))
        data, status = files.read_with_status(item.source)
        try:
            info = inspect(data, job.max_pixels)
        except CorruptDataError:
            if not recover or job.dry_run:
                raise
            return _recovered(item, data, codec, job)
        target = job.target(item, files.restored_name(item.source, info.format))
        if job.dry_run:
            place = "to stdout" if target is None else f"to {target}"
            return batch.Product(f"{item.source}: would be decompressed {place}", fields={"target": target and str(target)})
        with budget.hold(info.width * info.height):
            began = time.perf_counter()
            try:
                restored = codec.decompress(data, progress=progress)
            except CorruptDataError:  # all checks of its parts hold
                if not recover:
                    raise
                return _recovered(item, data, codec, job)
            seconds = time.perf_counter() - began
        if exact_file and restored.note:
            raise UnsupportedImageError(f"{item.source}: {restored.note}")
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
        notes = [restored.note] if restored.note else []
        return batch.Product(line, target, restored.data, fields, notes, status, len(data), len(restored.data))

    return batch.run(found, decompress, job, at_once=at_once, effect=jobs.NOTHING_WRITTEN)


def _recovered(item: Item, data: bytes, codec: bbans.api.Model, job: jobs.Job) -> batch.Product:
    """What is left of a damaged file. Raises: FormatError: nothing is; ModelError."""
    contents, _ = container.unpack_damaged(data)
    _check_pixels(contents.width, contents.height, job.max_pixels)
    recovered = codec.recover(data)
    target = job.target(item, files.restored_name(item.source, recovered.format))
    altered = "no part of the file is damaged, but this is not the picture that was compressed: its content check failed"
    whole = altered if recovered.altered else "all pixels are there"
    lines = [str(damage) for damage in recovered.damage] or [whole]
    lost = ["the metadata is lost"] * recovered.metadata_lost + ["the alpha is lost: all is opaque"] * recovered.alpha_lost
    notes = [f"damaged: {line}" for line in [*lines, *lost]]
    fields = {
        "target": target and str(target),
        "damage": [vars(damage) for damage in recovered.damage],
        "altered": recovered.altered,
        "code": 3,
    }
    line = f"{target or 'stdout'}: {output.size(len(recovered.data), job.verbose > 0)}, {recovered.format}, not whole"
    return batch.Product(
        line, target, recovered.data, fields, notes, None, len(data), len(recovered.data), code=jobs.CORRUPT, status_word="damaged"
    )


def compressed(sources: tuple[str, ...], job: jobs.Job) -> inputs.Inputs:
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
    info = bbans.inspect(data)
    _check_pixels(info.width, info.height, max_pixels)
    return info


def _check_pixels(width: int, height: int, limit: int | None) -> None:
    if limit is not None and width * height > limit:
        raise UnsupportedImageError(f"it has more pixels than --max-pixels {limit} ({width} x {height})")
