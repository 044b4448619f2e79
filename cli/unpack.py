"""vaezip unpack: the images of an archive, as files or as an array."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from bbans import sets
from bbans.errors import BbansError, CorruptDataError
from bbans.formats.words import images_in_words
from bbans.sets.arrays import write_npy

from . import archives, files, jobs, output, progress, report


@dataclass(frozen=True)
class UnpackJob:
    """The options of the command."""

    target: str | None
    recover: bool
    force: bool
    quiet: bool
    as_json: bool
    ticker: progress.Ticker

    def place(self, source: str, suffix: str) -> Path | None:
        """Where the images go; None is stdout."""
        if self.target == files.PIPE or (source == files.PIPE and self.target is None):
            return None
        return Path(self.target) if self.target else archives.unpacked_name(Path(source), suffix)

    def say(self, source: str, place: Path | None, what: str, fields: dict[str, object]) -> None:
        """What was written."""
        if not self.quiet and place is not None:
            output.note(f"{place}: {what}")
        if self.as_json:
            report.line(source, {"status": "done", "target": place and str(place), **fields})


@click.command("unpack")
@click.argument("source", metavar="SET.vaeza")
@click.argument("wanted", nargs=-1, metavar="[NAME|INDEX...]")
@click.option("-o", "--output", "target", metavar="DIR|ARRAY.npy", help="Write here; - is stdout.  [default: SET, or SET.npy]")
@click.option("--model", metavar="FILE", help="Weight file of a model that is not installed.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all]")
@click.option("--recover", is_flag=True, help="Write a damaged array too, with zeros for lost images.")
@click.option("-f", "--force", is_flag=True, help="Replace existing files.")
@report.option
@jobs.loudness
def command(
    source: str,
    wanted: tuple[str, ...],
    target: str | None,
    model: str | None,
    threads: int | None,
    recover: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> int:
    """Unpack an archive: an array to an .npy file, files into a folder.

    With names or numbers (from 0), only these images are unpacked, and only their chunks read. Of a damaged archive of files, all
    undamaged files are written, and the others reported, with exit code 3. Of a damaged array nothing is written without --recover.
    To stdout go arrays, and single files.

    \b
    Examples:
      vaezip unpack mnist.vaeza -o mnist.npy
      vaezip unpack photos.vaeza sea.png 17 -o two
      vaezip unpack photos.vaeza sea.png -o - > sea.png
    """
    if target == "":
        raise click.UsageError("an empty name for the output", click.get_current_context())
    if as_json and (target == files.PIPE or (source == files.PIPE and target is None)):
        raise click.UsageError("--json and the result would both go to stdout", click.get_current_context())
    job = UnpackJob(target, recover, force, quiet, as_json, progress.Ticker(quiet))
    codes = [0]

    def unpack(source: str) -> None:
        archive: str | BinaryIO = io.BytesIO(files.read(source)) if source == files.PIPE else source
        with sets.open_archive(archive, model=model, threads=threads) as reader:
            numbers = [archives.number(reader, name) for name in wanted] or None
            work = unpack_files if reader.archive.array is None else unpack_array
            try:
                lost = work(source, reader, numbers, job)
            finally:
                job.ticker.clear()
            if reader.surplus_bytes:
                lost.append(sets.Lost((), CorruptDataError(f"{reader.surplus_bytes} bytes too many after the last chunk")))
        effect = "Not written" if reader.archive.array is None else "Zeros in their place"
        for entry in lost:
            place = f"{images_in_words(reader.archive, entry.images)}: " if entry.images else ""
            output.error(f"{source}: {place}{output.cause(entry.error)}{f'. {effect}' if entry.images else ''}.")
            codes.append(jobs.exit_code(entry.error))
            if as_json:
                report.failure(source, f"{place}{output.cause(entry.error)}", codes[-1])

    return max(jobs.run([source], unpack, effect=jobs.NOTHING_WRITTEN, verbose=verbose, as_json=as_json), *codes)


def unpack_array(source: str, reader: sets.ArchiveReader, numbers: Sequence[int] | None, job: UnpackJob) -> list[sets.Lost]:
    """Write an array, or some images of one. Returns the images that are zeros in it."""
    place = job.place(source, ".npy")
    files.check_target(place, source, force=job.force)
    images, lost = reader.recover(numbers)
    if lost and not job.recover:
        raise type(lost[0].error)(f"{archives.cause(reader.archive, lost)}; --recover writes the others")
    with files.replacing_or_stdout(place, None, job.force) as file:
        write_npy(file, images)
    job.say(source, place, f"{images.dtype} {images.shape}", {"dtype": str(images.dtype), "shape": images.shape})
    return lost


def unpack_files(source: str, reader: sets.ArchiveReader, numbers: Sequence[int] | None, job: UnpackJob) -> list[sets.Lost]:
    """Write files into a folder, or one to stdout. Returns those that are not written."""
    place = job.place(source, "")
    wanted = range(len(reader)) if numbers is None else sorted(set(numbers))
    if place is None:
        if len(wanted) != 1:
            raise output.Refused(f"only a single file goes to stdout, and there are {len(wanted)}: name one")
        files.check_target(None, source, force=job.force)
        files.write(None, reader[reader.names[wanted[0]]].data, like=None, force=False)
        return []
    files.check_below(place, (reader.names[number] for number in wanted), force=job.force)
    lost: dict[int, tuple[list[int], BbansError]] = {}  # those of a chunk have one error
    written = 0
    with files.staging(place, job.force) as folder:
        for number, restored in reader.files(wanted):
            if isinstance(restored, BbansError):
                lost.setdefault(id(restored), ([], restored))[0].append(number)
                continue
            path = folder / reader.names[number]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(restored.data)
            written += 1
            job.ticker("unpacking", written, len(wanted))
    job.say(source, place, f"{written} file{output.plural(written)}", {"files": written})
    return [sets.Lost(images, error) for images, error in lost.values()]
