"""vaezip unpack: the images of an archive, as files or as an array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bbans import sets
from bbans.errors import BbansError, CorruptDataError
from bbans.sets.arrays import write_npy

from . import archives, files, jobs, output


@dataclass(frozen=True)
class Job:
    """The options of the command."""

    target: str | None
    recover: bool
    force: bool
    quiet: bool
    ticker: output.Ticker


@click.command("unpack")
@click.argument("source", metavar="SET.vaeza")
@click.argument("wanted", nargs=-1, metavar="[NAME|INDEX...]")
@click.option("-o", "--output", "target", metavar="DIR|ARRAY.npy", help="Write here.  [default: SET, or SET.npy]")
@click.option("--model", metavar="FILE", help="Weight file of a model that is not installed.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all]")
@click.option("--recover", is_flag=True, help="Write a damaged array too, with zeros for the images that are lost.")
@click.option("-f", "--force", is_flag=True, help="Replace existing files.")
@jobs.loudness
def command(
    source: str,
    wanted: tuple[str, ...],
    target: str | None,
    model: str | None,
    threads: int | None,
    recover: bool,
    force: bool,
    quiet: bool,
    verbose: int,
) -> int:
    """Write the images of an archive back: an array as .npy, pictures with their names into a folder.

    With names or numbers (from 0), only those, and only their chunks are read. Of a damaged archive of pictures all that is good is
    written, and the rest reported with exit code 3; of a damaged array nothing is, unless --recover is given.

    \b
    Examples:
      vaezip unpack mnist.vaeza -o mnist.npy
      vaezip unpack photos.vaeza sea.png 17 -o two
    """
    if target == "":
        raise click.UsageError("an empty name for the output", click.get_current_context())
    job = Job(target, recover, force, quiet, output.Ticker(quiet))
    codes = [0]

    def unpack(source: str) -> None:
        if not quiet:
            output.announce_compiling()
        with open(source, "rb") as file:
            reader = sets.ArchiveReader(file, model=model, threads=threads)
            numbers = [archives.number(reader, name) for name in wanted] or None
            work = unpack_pictures if reader.archive.array is None else unpack_array
            try:
                lost = work(source, reader, numbers, job)
            finally:
                job.ticker.clear()
            if reader.surplus_bytes:
                lost.append(([], CorruptDataError(f"{reader.surplus_bytes} bytes too many after the last chunk")))
        effect = "Not written" if reader.archive.array is None else "Zeros in their place"
        for images, error in lost:
            place = f"{archives.some(reader.archive, images)}: " if images else ""
            output.error(f"{source}: {place}{output.cause(error)}{f'. {effect}' if images else ''}.")
            codes.append(jobs.exit_code(error))

    return max(jobs.run([source], unpack, effect=jobs.NOTHING_WRITTEN, verbose=verbose), *codes)


_Lost = list[tuple[list[int], BbansError]]
"""Images that do not come, and why."""


def unpack_array(source: str, reader: sets.ArchiveReader, numbers: Sequence[int] | None, job: Job) -> _Lost:
    target = Path(job.target) if job.target else archives.unpacked_name(Path(source), ".npy")
    files.check_target(target, source, force=job.force)
    images, lost = reader.recover(numbers)
    if lost and not job.recover:
        more = f" (and {len(lost) - 1} more chunks)" if len(lost) > 1 else ""
        [first, *_] = lost
        raise type(first.error)(f"{archives.some(reader.archive, first.images)}: {first.error}{more}; --recover writes the others")
    with files.replacing(target, None, job.force) as file:
        write_npy(file, images)
    if not job.quiet:
        output.note(f"{source}: {target}: {images.dtype} {images.shape}")
    return [(entry.images, entry.error) for entry in lost]


def unpack_pictures(source: str, reader: sets.ArchiveReader, numbers: Sequence[int] | None, job: Job) -> _Lost:
    target = Path(job.target) if job.target else archives.unpacked_name(Path(source), "")
    names = reader.archive.names
    asked: Iterable[int] = range(len(names)) if numbers is None else sorted(set(numbers))
    files.check_below(target, (names[number] for number in asked), force=job.force)
    lost: dict[int, tuple[list[int], BbansError]] = {}
    written = 0
    with files.staging(target, job.force) as folder:
        for number, found in reader.pictures(numbers):
            if isinstance(found, BbansError):
                lost.setdefault(id(found), ([], found))[0].append(number)
                continue
            path = folder / names[number]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(found)
            written += 1
            job.ticker("unpacking", written, len(names) if numbers is None else len(set(numbers)))
    if not job.quiet:
        output.note(f"{source}: {target}: {written} file{'' if written == 1 else 's'}")
    return list(lost.values())
