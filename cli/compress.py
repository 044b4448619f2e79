"""vaezip compress: pictures to .vaez files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bbans import api
from bbans.results import ModeName

from . import files, jobs, output


@click.command("compress")
@jobs.options
@click.option(
    "--mode",
    type=click.Choice(["auto", "model", "stored"]),
    default="auto",
    show_default=True,
    help="Code by the model, store without it, or take the smaller.",
)
@click.option("--model", metavar="ID|FILE", help="Use this installed model or weight file. [default: the best one]")
@click.option("--no-verify", is_flag=True, help="Write without decompressing and comparing first.")
def command(inputs: tuple[str, ...], mode: ModeName, model: str | None, no_verify: bool, **options: Any) -> int:
    """Compress pictures: IN becomes IN.vaez, and IN is kept.

    The result is decompressed and compared before it is written. Pictures of 8-bit RGB and gray (PNG, lossless WebP, BMP, PPM,
    PGM, NPY) come back with the same pixels and metadata, all others as the same file.

    Memory: about 8 bytes a pixel and 200 MB to read a picture (20 bytes for WebP), 37 bytes a pixel to store it, and what the model
    needs. A picture that declares more than 2**30 pixels, all frames together, is refused before anything is decoded.

    \b
    Examples:
      vaezip compress a.png b.png --output-dir packed
      vaezip compress --mode model -o photo.vaez photo.png
    """
    job = jobs.Job(**options)
    jobs.start(inputs, job)
    if mode == "stored" and model is not None:
        raise click.UsageError("--mode stored uses no model", click.get_current_context())
    # One for all inputs: the first that needs the model loads it.
    codec = None if mode == "stored" else api.Model(model, threads=job.threads, device=job.device)

    def compress(source: str) -> None:
        target = job.target(source, files.compressed_name(Path(source)))
        data = files.read(source)
        began = time.perf_counter()
        result = api.compress(data, mode=mode, model=codec, verify=not no_verify)
        took_seconds = time.perf_counter() - began
        job.write(target, result.data, source)
        if result.note:
            job.note(source, result.note)
        if target is not None or job.verbose:
            info = result.info
            line = f"{target or 'stdout'}: {output.sizes(info)}, {output.how(info)}"
            job.note(source, line if not job.verbose else f"{line}, {took_seconds:.2f} s")

    return jobs.run(inputs, compress, effect=jobs.NOTHING_WRITTEN, verbose=job.verbose)
