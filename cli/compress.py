"""vaezip compress: pictures to .vaez files."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import bbans
from bbans.errors import ModelError, UnsupportedImageError
from bbans.formats import archive, container
from bbans.progress import Progress
from bbans.results import DEFAULT_EFFORT, EFFORTS, ModeName, Result
from bbans.storage import RemoteFile

from . import batch, files, inputs, jobs, output, report
from .inputs import Item


@click.command("compress")
@jobs.options
@click.option(
    "--mode",
    type=click.Choice(["auto", "model", "stored"]),
    default="auto",
    show_default=True,
    help="Code by the model, store without it, or take the smaller.",
)
@click.option(
    "--effort",
    type=click.IntRange(EFFORTS.start, EFFORTS.stop - 1),
    default=DEFAULT_EFFORT,
    show_default=True,
    help="Less is quicker, more is smaller.",
)
@click.option("--model", metavar="ID|FILE", help="Use this installed model or weight file.  [default: the best one]")
@click.option("--strip", is_flag=True, help="Drop metadata of PNG, WebP, JPEG; say what.")
@click.option("--no-verify", is_flag=True, help="Write without decompressing and comparing first.")
def command(
    inputs: tuple[str, ...], mode: ModeName, effort: int, model: str | None, strip: bool, no_verify: bool, **options: Any
) -> int:
    """Compress pictures: IN becomes IN.vaez, and IN is kept.

    The result is decompressed and compared before it is written. Lossless WebP files and some PNG files come back with the same
    pixels and metadata, all others as the same file. With -r the pictures in folders are compressed; --output-dir gets the same
    folders and links.

    Memory: about 8 bytes a pixel and 200 MB to read a picture (20 bytes for WebP), 37 bytes a pixel to store it, 150 MB for the
    model, 40 MB more from effort 7 on, and 20 MB for each of its threads. Files are compressed several at a time, but no more than
    134 megapixels.

    \b
    Examples:
      vaezip compress a.png b.png --output-dir packed
      vaezip compress -r photos --output-dir packed --skip-existing
      vaezip compress --mode model -o photo.vaez photo.png
    """
    job = jobs.Job(**options)
    jobs.start(inputs, job)
    for fault, present in {
        "--mode stored uses no model": mode == "stored" and model is not None,
        "--rm needs the check that --no-verify leaves out": job.remove and no_verify,
    }.items():
        if present:
            raise click.UsageError(fault, click.get_current_context())
    api = bbans.api  # imported now, not by several threads at a time
    found = _pictures(inputs, job)
    at_once, threads = batch.workers(job, len(found.items))
    # One for all inputs: the first that needs the model loads it.
    try:
        codec = None if mode == "stored" else api.Model(model, threads=threads, device=job.device)
    except ModelError as error:
        raise output.hinted(error, "is not for pictures", "vaezip pack uses it") from error
    budget = batch.PixelBudget()

    def compress(item: Item, progress: Progress | None) -> batch.Product:
        if item.link:
            return batch.link(item, job)
        target = job.target(item, files.compressed_name(item.source))
        data, status = files.read_with_status(item.source)
        if data.startswith((container.MAGIC, archive.MAGIC)):
            if target is None:
                raise UnsupportedImageError("it is compressed already")
            raise output.Skip("it is compressed already", loud=True)
        pixels = files.count_pixels(data, job.max_pixels)
        if job.dry_run:
            place = "to stdout" if target is None else f"to {target}"
            return batch.Product(f"{item.source}: would be compressed {place}", fields={"target": target and str(target)})
        with budget.hold(pixels):
            began = time.perf_counter()
            try:
                result = api.compress(
                    data, mode=mode, effort=effort, model=codec, strip=strip, verify=not no_verify, progress=progress
                )
            except ModelError as error:
                raise output.hinted(error, "is not for pictures", "vaezip pack uses it") from error
            seconds = time.perf_counter() - began
        product = _product(item, target, result, model, seconds, job, status)
        if not strip:
            return product
        return replace(
            product,
            notes=[*product.notes, _dropped(result)],
            fields={**product.fields, "dropped": dict(result.dropped)},
            source_bytes=len(data),
        )

    return batch.run(found, compress, job, at_once=at_once, effect=jobs.NOTHING_WRITTEN, smaller=True)


def _dropped(result: Result) -> str:
    """What --strip left out, for a person."""
    from bbans.images.strip import FORMATS

    if result.dropped:
        return "dropped: " + ", ".join(f"{name} {output.size(count)}" for name, count in result.dropped)
    if result.info.format in FORMATS:
        return "there was no metadata to drop"
    return f"nothing was dropped: --strip knows no metadata of {result.info.format}"


def _pictures(sources: tuple[str, ...], job: jobs.Job) -> inputs.Inputs:
    """The files that are named, and those in folders that are named like pictures."""
    suffixes = files.picture_suffixes() if job.recursive else set()
    found = inputs.expand(
        sources,
        recursive=job.recursive,
        wanted=lambda name: Path(name).suffix.lower() in suffixes,
        omit=job.output_dir,
    )
    # What earlier runs wrote beside the pictures needs no word.
    found.left_out = [name for name in found.left_out if not name.endswith((files.SUFFIX, files.ARCHIVE_SUFFIX))]
    note = found.note("not named like pictures")
    if note and not job.quiet:
        output.note(note)
    return found


def _product(
    item: Item, target: Path | RemoteFile | None, result: Result, model: str | None, seconds: float, job: jobs.Job, status: Any
) -> batch.Product:
    info = result.info
    notes = [result.note] if result.note else []
    if model is not None and info.mode == "stored" and not notes:
        notes.append(f"the model {model} was not used: {info.method} is smaller (--mode model insists)")
    line = ""
    if target is not None or job.verbose:
        line = f"{target or 'stdout'}: {output.sizes(info, exact=job.verbose > 0)}, {output.how(info)}"
    return batch.Product(
        line if not job.verbose else f"{line}, {seconds:.2f} s",
        target,
        result.data,
        {"target": target and str(target), "seconds": seconds, **report.info_object(info)},
        notes,
        status,
        info.source_bytes,
        info.file_bytes,
    )
