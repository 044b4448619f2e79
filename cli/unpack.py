"""vaezip unpack: the images of an archive, as files or as an array."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import click

from bbans import sets, shards
from bbans.errors import BbansError, CorruptDataError
from bbans.formats.entries import Link
from bbans.formats.manifest import NAME
from bbans.formats.words import images_in_words
from bbans.sets import tar as tars
from bbans.sets.arrays import write_npy
from bbans.storage import is_url

from . import archives, files, jobs, manifests, output, progress, report, shardset


@dataclass(frozen=True)
class UnpackJob:
    """The options of the command, and whether images are named."""

    target: str | None
    named: bool
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
@click.option("-c", "--stdout", "to_stdout", is_flag=True, help="Write to stdout, as -o - does.")
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
    to_stdout: bool,
    model: str | None,
    threads: int | None,
    recover: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
) -> int:
    """Unpack an archive: an array to an .npy file, files into a folder.

    Of a set, give its folder, by path or URL: it is unpacked shard by shard.

    With names or numbers (from 0), only these images are unpacked, and only their chunks read. Of a damaged archive of files, all
    undamaged files are written, and the others reported, with exit code 3. Of a damaged array nothing is written without --recover.
    To stdout go arrays, a file if it is the only one named, and else files as a tar.

    \b
    Examples:
      vaezip unpack mnist.vaeza -o mnist.npy
      vaezip unpack photos.vaeza sea.png 17 -o two
      vaezip unpack photos.vaeza sea.png -c > sea.png
      vaezip unpack photos.vaeza -c | tar x
    """
    for problem, present in {
        "an empty name for the output": target == "",
        "-c excludes -o": to_stdout and target is not None,
        "--json and the result would both go to stdout": as_json
        and (to_stdout or target == files.PIPE or (source == files.PIPE and target is None)),
    }.items():
        if present:
            raise click.UsageError(problem, click.get_current_context())
    target = files.PIPE if to_stdout else target
    job = UnpackJob(target, bool(wanted), recover, force, quiet, as_json, progress.Ticker(quiet))
    codes = [0]

    def unpack(source: str) -> None:
        if source != files.PIPE and (manifests.is_set(source) or is_url(source)):
            with shards.open_archive(source, model=model, threads=threads) as opened:
                if isinstance(opened, shards.SetReader):
                    report_lost(source, unpack_set(source, opened, [archives.number(opened, name) for name in wanted] or None, job))
                else:
                    unpack_one(source, opened)
            return
        archive: str | BinaryIO = io.BytesIO(files.read(source)) if source == files.PIPE else source
        with sets.open_archive(archive, model=model, threads=threads) as reader:
            unpack_one(source, reader)

    def unpack_one(source: str, reader: sets.ArchiveReader) -> None:
        numbers, links = archives.choose(reader, wanted)
        try:
            if reader.archive.array is None:
                lost = unpack_files(source, reader, sorted(set(numbers)), links, job)
            else:
                lost = unpack_array(source, reader, numbers if wanted else None, job)
        finally:
            job.ticker.clear()
        if reader.surplus_bytes:
            lost.append(sets.Lost((), CorruptDataError(f"{reader.surplus_bytes} bytes too many after the last chunk")))
        report_lost(source, [(reader, lost)])

    def report_lost(source: str, found: Sequence[tuple[sets.ArchiveReader, list[sets.Lost]]]) -> None:
        for reader, entry in ((reader, entry) for reader, lost in found for entry in lost):
            effect = "Not written" if reader.archive.array is None else "Zeros in their place"
            place = f"{images_in_words(reader.archive, entry.images)}: " if entry.images else ""
            output.error(f"{source}: {place}{output.cause(entry.error)}{f'. {effect}' if entry.images else ''}.")
            codes.append(jobs.exit_code(entry.error))
            if as_json:
                report.failure(source, f"{place}{output.cause(entry.error)}", codes[-1])

    return max(jobs.run([source], unpack, effect=jobs.NOTHING_WRITTEN, verbose=verbose, as_json=as_json), *codes)


def unpack_set(
    source: str, reader: shards.SetReader, numbers: Sequence[int] | None, job: UnpackJob
) -> list[tuple[sets.ArchiveReader, list[sets.Lost]]]:
    """Write the files of a set shard by shard, or its array. Returns what is lost of each shard."""
    place = job.place(source.replace(os.sep, "/").rstrip("/").removesuffix(f"/{NAME}"), ".npy" if reader.is_array else "")
    if place is not None and is_url(job.target or ""):
        raise output.Refused("unpack writes to this machine, not to URLs")
    if reader.is_array:
        files.check_target(place, source, force=job.force)
        with files.replacing_or_stdout(place, None, job.force) as file:
            shape = shardset.write_array(file, reader, numbers)
        job.say(source, place, f"{reader.manifest.dtype} {shape}", {"dtype": reader.manifest.dtype, "shape": shape})
        return []
    if place is None:
        raise output.Refused("of a set, only an array goes to stdout")
    quiet = replace(job, target=str(place), quiet=True, as_json=False)
    lost = []
    for shard, places in shardset.in_shards(reader, numbers):
        job.ticker("unpacking", reader.first(shard), len(reader))
        own = reader.shard(shard)
        lost.append((own, unpack_files(source, own, range(len(own)) if places is None else places, range(len(own.links)), quiet)))
    job.ticker.clear()
    written = (len(reader) if numbers is None else len(set(numbers))) - sum(len(own.images) for _, part in lost for own in part)
    job.say(source, place, f"{written} file{output.plural(written)}", {"files": written})
    return lost


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


def unpack_files(
    source: str, reader: sets.ArchiveReader, numbers: Sequence[int], links: Sequence[int], job: UnpackJob
) -> list[sets.Lost]:
    """Write files and links into a folder, or to stdout. Returns those that are not written."""
    place = job.place(source, "")
    names = [*(reader.names[number] for number in numbers), *(reader.links[link].name for link in links)]
    lost: dict[int, tuple[list[int], BbansError]] = {}  # those of a chunk have one error
    if place is None:
        files.check_target(None, source, force=job.force)
    else:
        files.check_names([*names, *(reader.links[link].target for link in links)])
        files.check_below(place, names, force=job.force)
    if place is None and job.named and len(numbers) == 1 and not links:
        files.write(None, reader[reader.names[numbers[0]]].data, like=None, force=False)
        return []
    times = reader.times or (0,) * (len(reader) + len(reader.links))
    with _to_tar() if place is None else _to_folder(place, job.force, bool(reader.times)) as goal:
        for done, (number, restored) in enumerate(reader.files(numbers)):
            job.ticker("unpacking", done, len(numbers))
            if isinstance(restored, BbansError):
                lost.setdefault(id(restored), ([], restored))[0].append(number)
            else:
                goal.add(reader.names[number], restored.data, times[number])
        for link in links:
            goal.link(reader.links[link], times[len(reader) + link])
    written = len(numbers) - sum(len(images) for images, _ in lost.values())
    what = f"{written} file{output.plural(written)}" + (f" and {len(links)} link{output.plural(len(links))}" if links else "")
    job.say(source, place, what, {"files": written, "links": len(links)})
    return [sets.Lost(images, error) for images, error in lost.values()]


class _Goal(Protocol):
    """Where files and links go. Times are in nanoseconds since 1970."""

    def add(self, name: str, data: bytes, time: int, /) -> None: ...
    def link(self, link: Link, time: int, /) -> None: ...


@dataclass(frozen=True)
class _Tar:
    tar: tarfile.TarFile

    def add(self, name: str, data: bytes, time: int) -> None:
        tars.add_file(self.tar, name, data, time)

    def link(self, link: Link, time: int) -> None:
        tars.add_link(self.tar, link, time)


@contextlib.contextmanager
def _to_tar() -> Iterator[_Goal]:
    """A tar to stdout."""
    with tars.open_tar(sys.stdout.buffer) as tar:
        yield _Tar(tar)
    sys.stdout.buffer.flush()


@dataclass(frozen=True)
class _Folder:
    folder: Path
    timed: bool

    def add(self, name: str, data: bytes, time: int) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):  # as where A and a are one name
            raise output.Refused(f"{name} has the name of another file here: unpack them one by one, by name")
        path.write_bytes(data)
        self._date(path, time)

    def link(self, link: Link, time: int) -> None:
        path = self.folder / link.name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(link.target, path)
        self._date(path, time)

    def _date(self, path: Path, time: int) -> None:
        if self.timed:
            with contextlib.suppress(OSError, OverflowError, NotImplementedError):  # file systems and systems know fewer times
                os.utime(path, ns=(time, time), follow_symlinks=False)


@contextlib.contextmanager
def _to_folder(place: Path, force: bool, timed: bool) -> Iterator[_Goal]:
    """A folder, in which all appears when it is whole."""
    with files.staging(place, force) as folder:
        yield _Folder(folder, timed)
