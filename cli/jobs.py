"""What commands for many files share: options, where results go, exit codes, the loop over inputs one by one.

`batch.run` is the loop of those that work on several at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from bbans.errors import FormatError, ModelError, UnsupportedImageError, UnsupportedVersionError
from bbans.storage import RemoteFile, is_url, local

from . import files, output, report
from .inputs import Item
from .output import Function

NOTHING_WRITTEN = "Nothing was written."
CORRUPT = 3
"""The exit code for corrupt data."""


@dataclass
class Job:
    """The options that `compress` and `decompress` share, and where results go."""

    output: str | None = None
    output_dir: str | None = None
    to_stdout: bool = False
    force: bool = False
    keep: bool = False
    remove: bool = False
    recursive: bool = False
    skip_existing: bool = False
    dry_run: bool = False
    max_pixels: int | None = None
    threads: int | None = None
    device: str = "cpu"
    as_json: bool = False
    no_progress: bool = False
    quiet: bool = False
    verbose: int = 0
    written: set[Path | RemoteFile] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.output, self.output_dir = (name and local(name) for name in (self.output, self.output_dir))

    def target(self, item: Item, name: str) -> Path | RemoteFile | None:
        """Where the result of a file goes; None is stdout.

        Raises: Refused: it may not be written there. Skip: it is there, and may stay.
        """
        target = self._place(item, name)
        if target is not None and target in self.written:
            raise output.Refused(f"{target} was just written, for another input")
        if self.skip_existing and target is not None and (target.is_file() if isinstance(target, Path) else target.exists()):
            raise output.Skip(f"{target} is there already")
        makes_folders = self.dry_run and self.output_dir is not None
        if not isinstance(target, Path) or target.parent.is_dir() or not makes_folders:
            files.check_target(target, item.source, force=self.force)
        return target

    def _place(self, item: Item, name: str) -> Path | RemoteFile | None:
        if self.output == files.PIPE or self.to_stdout or (item.source == files.PIPE and self.output is None):
            return None
        if self.output is not None:
            return RemoteFile(self.output) if is_url(self.output) else Path(self.output)
        if self.output_dir is None:
            return RemoteFile(item.source).beside(name) if is_url(item.source) else Path(item.source).with_name(name)
        if is_url(self.output_dir):
            return RemoteFile("/".join([self.output_dir.rstrip("/"), *item.below.parts, name]))
        return Path(self.output_dir, item.below, name)

    def write(
        self, target: Path | RemoteFile | None, data: bytes, source: str, status: os.stat_result | None, sound: bool = True
    ) -> str | None:
        """Write a result, all of it or nothing, and remove the source if the user said so and it is sound; returns why not."""
        if target in self.written:
            raise output.Refused(f"{target} was just written, for another input")
        files.write(target, data, like=status, force=self.force)
        if target is None:
            return None
        self.written.add(target)
        return files.remove(source, status, target) if self.remove and sound and isinstance(target, Path) else None

    def note(self, source: str, message: str) -> None:
        """A line for the user, without -q."""
        if not self.quiet:
            output.note(f"{source}: {message}")


def loudness(function: Function) -> Function:
    """The options -q and -v."""
    for option in (
        click.option("-v", "--verbose", count=True, help="Say more; twice: show tracebacks of errors."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    ):
        function = option(function)
    return function


def inputs(function: Function) -> Function:
    """The argument IN..."""
    return click.argument("inputs", nargs=-1, required=True, metavar="IN...")(function)


def machine(function: Function) -> Function:
    """The options that say how to work: all but where results go."""
    for option in (
        loudness,
        click.option("--no-progress", is_flag=True, help="No line of progress on the terminal."),
        report.option,
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where networks run."),
        click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all cores]"),
        click.option(
            "--max-pixels",
            type=click.IntRange(min=1),
            metavar="N",
            help="Refuse larger pictures by their headers.  [default: 2**30]",
        ),
        click.option("-r", "--recursive", is_flag=True, help="Take the files in folders."),
    ):
        function = option(function)
    return function


def options(function: Function) -> Function:
    """The argument IN... and the options of `Job`."""
    for option in (
        machine,
        click.option("--dry-run", is_flag=True, help="Only say what would be written."),
        click.option("--skip-existing", is_flag=True, help="Leave out what has been written before."),
        click.option("--rm", "remove", is_flag=True, help="Remove each input once its result is checked and on the disk."),
        click.option("-k", "--keep", is_flag=True, help="Keep the inputs, as is the default."),
        click.option("-f", "--force", is_flag=True, help="Replace existing files."),
        click.option("-c", "--stdout", "to_stdout", is_flag=True, help="Write to stdout, as -o - does."),
        click.option("--output-dir", metavar="DIR", help="Write into this folder, which is made.  [default: beside the input]"),
        click.option("-o", "--output", metavar="OUT", help="Write to this file; - is stdout."),
        inputs,
    ):
        function = option(function)
    return function


def start(inputs: Sequence[str], job: Job) -> None:
    """Raise UsageError for options that contradict each other."""
    several = len(inputs) > 1 or any(source != files.PIPE and os.path.isdir(source) for source in inputs)
    stdout = job.to_stdout or job.output == files.PIPE or (files.PIPE in inputs and job.output is None)
    faults = {
        "-o and --output-dir exclude each other": job.output is not None and job.output_dir is not None,
        "an empty name for the output": "" in (job.output, job.output_dir),
        "-c excludes -o and --output-dir": job.to_stdout and (job.output or job.output_dir) is not None,
        "-o takes one input: use --output-dir for several": job.output is not None and several,
        "-c takes one input": job.to_stdout and several,
        "--output-dir has no name for stdin: use -o": job.output_dir is not None and files.PIPE in inputs,
        "-k and --rm exclude each other": job.keep and job.remove,
        "--rm needs an output file: stdout may be lost": job.remove and stdout,
        "--json and the result would both go to stdout": job.as_json and stdout,
        "--skip-existing and -f exclude each other": job.skip_existing and job.force,
        "--rm is for files on this machine, not for URLs": job.remove
        and any(is_url(name or "") for name in (*inputs, job.output, job.output_dir)),
    }
    for fault, present in faults.items():
        if present:
            raise click.UsageError(fault, click.get_current_context())


def run(inputs: Sequence[str], work: Callable[[str], None], *, effect: str, verbose: int, as_json: bool = False) -> int:
    """Do the work for each input, and go on after errors. Returns the highest exit code.

    Args:
        effect: how the line of an error ends: what became of the output.
        as_json: print an object for each error as well.
    """
    code = 0
    for source in inputs:
        try:
            work(source)
        except BrokenPipeError:
            raise  # nobody reads stdout any more: the other inputs are in vain too
        except Exception as error:
            code = max(code, fail(source, error, effect=effect, verbose=verbose, as_json=as_json))
    return code


def fail(source: str, error: Exception, *, effect: str, verbose: int, as_json: bool) -> int:
    """Say that a file failed, and why. Returns the exit code."""
    code, cause = exit_code(error), output.cause(error).removeprefix(f"{source}: ")
    output.error(f"{source}: {cause}. {effect}")
    output.traceback(error if verbose > 1 else None)
    if as_json:
        report.failure(source, cause, code)
    return code


def exit_code(error: Exception) -> int:
    """3 for corrupt data, 4 for what this installation does not support, 1 for I/O and all else."""
    if isinstance(error, UnsupportedImageError | UnsupportedVersionError | ModelError):
        return 4
    return CORRUPT if isinstance(error, FormatError) else 1
