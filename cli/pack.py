"""vaezip pack: many images to one archive."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import click

from bbans import sets
from bbans.errors import UnsupportedImageError
from bbans.sets.arrays import split_key
from bbans.sets.writer import PackMode

from . import archives, files, jobs, output, progress, report, shardset


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
@click.option(
    "--verify/--no-verify",
    default=None,
    help="--no-verify: do not decode and compare. --verify: of sets, also read back what was written, complete shards too.",
)
@shardset.options
@click.option("--no-times", is_flag=True, help="Leave out when files were changed: the same files give the same archive.")
@click.option("--follow", is_flag=True, help="Pack the files that links lead to, instead of the links.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@report.option
@jobs.loudness
def command(
    source: str,
    target: str | None,
    model: str | None,
    scheme: str | None,
    chunk: int | None,
    mode: PackMode,
    threads: int | None,
    verify: bool | None,
    shard_size: int | None,
    shard_count: int | None,
    where: str | None,
    no_times: bool,
    follow: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> int:
    """Pack the images of a folder or an array into one file, an archive; or into a folder of archives, a set.

    INPUT is a folder; a tar, compressed or not; an array of uint8, uint16 or bool, (N, H, W) or (N, H, W, C), in an .npy or .npz
    file (FILE.npz:KEY for one of several); or an idx file, gzipped or not. A tar or an array may come from stdin, and the archive
    go to stdout.

    Images of one shape are coded together, by the model for that shape that makes them smallest: a PNG comes back as the same
    picture with its metadata, in a file that is written anew. Other pictures are compressed one by one, as by vaezip compress,
    and other files are kept as they are. Images are coded in chunks: small chunks are quick to read and lose little to damage,
    large ones take fewer bytes. Everything is decoded and compared before the archive appears under its name.

    Times come back, and links stay links; one that leads out of the folder is an error.

    With --shard-size, --shard-count, --on, or an output that ends in / or is a URL, a set is written: shards, each an archive, and
    a manifest. INPUT may then be a URL, a Zarr array, or tar files (*.tar, train-{0000..0099}.tar), each a shard. Shards are packed
    at the same time, on this machine or by Dask, and are the same bytes wherever that is. The same command again goes on where it
    was interrupted, and packs what has changed since. Links are followed in a set: what one leads to may be in another shard.

    \b
    Examples:
      vaezip pack t10k-images-idx3-ubyte.gz -o mnist.vaeza
      vaezip pack photos --chunk 64
      tar c photos | vaezip pack - -o photos.vaeza
      vaezip pack s3://bucket/photos -o s3://bucket/packed/ --shard-size 1GB --on tcp://scheduler:8786
      vaezip pack - -o - < digits.npy > digits.vaeza
    """
    to_stdout = target == files.PIPE or (source == files.PIPE and target is None)
    for problem, present in {
        "an empty name for the output": target == "",
        "--mode stored uses no model": mode == "stored" and bool(model or scheme),
        "--json and the result would both go to stdout": as_json and to_stdout,
        "a set does not go through pipes": (to_stdout or source == files.PIPE) and any((shard_size, shard_count, where)),
    }.items():
        if present:
            raise click.UsageError(problem, click.get_current_context())
    job = shardset.SetJob(
        model,
        scheme,
        chunk,
        mode,
        threads,
        verify is not False,
        bool(verify),
        not no_times,
        shard_size,
        shard_count,
        where,
        quiet,
        verbose,
        as_json,
    )
    if source != files.PIPE and target != files.PIPE and shardset.wanted(source, target, job):

        def pack_set(source: str) -> None:
            shardset.pack(source, target or str(shardset.default_target(source)), job)

        return jobs.run([source], pack_set, effect=shardset.EFFECT, verbose=verbose, as_json=as_json)
    ticker = progress.Ticker(quiet)

    def pack(source: str) -> None:
        path, _ = split_key(source)
        piped = source == files.PIPE
        status = None if piped else os.stat(path)
        place = None if to_stdout else Path(target) if target else archives.packed_name(source)
        files.check_target(place, str(path), force=force)
        if place is not None and path.is_dir() and place.resolve().is_relative_to(path.resolve()):
            raise output.Refused(f"{place} lies in the folder that is packed")
        began = time.perf_counter()
        try:
            with ExitStack() as until:
                images = until.enter_context(files.spooled()) if piped else source
                packed = sets.pack(
                    images,
                    until.enter_context(files.replacing_or_stdout(place, None if path.is_dir() else status, force)),
                    model=model,
                    scheme=scheme,
                    chunk=chunk,
                    mode=mode,
                    threads=threads,
                    verify=verify is not False,
                    times=not no_times,
                    follow=follow,
                    progress=ticker,
                )
        except UnsupportedImageError as error:
            raise output.hinted(error, "outside of the folder", "--follow packs what links lead to") from error
        finally:
            ticker.clear()
        seconds = time.perf_counter() - began
        if as_json:
            fields = {"target": str(place), "notes": packed.notes, "seconds": seconds}
            report.line(source, {"status": "done", **fields, **archives.index_object(packed.archive, packed.file_bytes)})
        if not quiet and (place is not None or verbose):
            for note in packed.notes:
                output.note(f"{source}: {note}")
            line = archives.sizes(packed.archive, packed.file_bytes, exact=verbose > 0)
            output.note(f"{place or 'stdout'}: {line}" + (f", {seconds:.2f} s" if verbose else ""))

    return jobs.run([source], pack, effect=jobs.NOTHING_WRITTEN, verbose=verbose, as_json=as_json)
