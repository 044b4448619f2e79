"""vaezip pack: many images to one archive."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from bbans import sets
from bbans.sets.arrays import split_key
from bbans.sets.writer import PackMode

from . import archives, files, jobs, output, progress


@click.command("pack")
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", "target", metavar="SET.vaeza", help="Write to this file.  [default: INPUT.vaeza]")
@click.option("--model", metavar="ID|FILE", help="Code what it fits by this model.  [default: chosen by the first images]")
@click.option("--scheme", metavar="NAME", help="Scheme of bits-back coding, such as bit-swap.  [default: the model's]")
@click.option(
    "--chunk", type=click.IntRange(min=1), metavar="N", help="Images in a chunk.  [default: chosen by what a chunk costs]"
)
@click.option("--mode", type=click.Choice(["auto", "stored"]), default="auto", show_default=True, help="Use models, or none.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all]")
@click.option("--no-verify", is_flag=True, help="Do not decode and compare.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@jobs.loudness
def command(
    source: str,
    target: str | None,
    model: str | None,
    scheme: str | None,
    chunk: int | None,
    mode: PackMode,
    threads: int | None,
    no_verify: bool,
    force: bool,
    quiet: bool,
    verbose: int,
) -> int:
    """Pack the images of a folder or an array into one file, an archive.

    INPUT is a folder; an array of uint8 or bool, (N, H, W) or (N, H, W, C), in an .npy or .npz file (FILE.npz:KEY for one of
    several); or an idx file, gzipped or not.

    Images of one shape are coded by the model for that shape that makes them smallest. Other pictures are compressed one by one,
    and other files are kept as they are. Images are coded in chunks: small chunks are quick to read and lose little to damage,
    large ones take fewer bytes. Everything is decoded and compared before the archive appears under its name.

    \b
    Examples:
      vaezip pack t10k-images-idx3-ubyte.gz -o mnist.vaeza
      vaezip pack photos --chunk 64
    """
    if target == "" or (mode == "stored" and (model or scheme)):
        problem = "an empty name for the output" if target == "" else "--mode stored uses no model"
        raise click.UsageError(problem, click.get_current_context())
    ticker = progress.Ticker(quiet)

    def pack(source: str) -> None:
        path, _ = split_key(source)
        status = os.stat(path)
        place = Path(target) if target else archives.packed_name(source)
        files.check_target(place, str(path), force=force)
        if path.is_dir() and place.resolve().is_relative_to(path.resolve()):
            raise output.Refused(f"{place} lies in the folder that is packed")
        began = time.perf_counter()
        try:
            with files.replacing(place, None if path.is_dir() else status, force) as file:
                packed = sets.pack(
                    source,
                    file,
                    model=model,
                    scheme=scheme,
                    chunk=chunk,
                    mode=mode,
                    threads=threads,
                    verify=not no_verify,
                    progress=ticker,
                )
        finally:
            ticker.clear()
        took_seconds = time.perf_counter() - began
        if not quiet:
            line = archives.sizes(packed.archive, packed.file_bytes)
            for note in (*packed.notes, f"{place}: {line}" + (f", {took_seconds:.2f} s" if verbose else "")):
                output.note(f"{source}: {note}")

    return jobs.run([source], pack, effect=jobs.NOTHING_WRITTEN, verbose=verbose)
