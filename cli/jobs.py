"""What `compress`, `decompress` and `list` share: options, the loop over inputs, exit codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from bbans.errors import FormatError, ModelError, UnsupportedImageError, UnsupportedVersionError

from . import files, output

NOTHING_WRITTEN = "Nothing was written."

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Job:
    """The options that `compress` and `decompress` share, and where results go."""

    output: str | None
    output_dir: str | None
    force: bool
    threads: int | None
    device: str
    quiet: bool
    verbose: int
    written: set[Path] = field(default_factory=set)

    def target(self, source: str, name: str) -> Path | None:
        """Where the result of a source goes; None is stdout.

        Raises: Refused: it may not be written there.
        """
        if self.output == files.PIPE or (source == files.PIPE and self.output is None):
            target = None
        elif self.output is not None:
            target = Path(self.output)
        else:
            target = Path(self.output_dir or Path(source).parent) / name
            if target in self.written:
                raise output.Refused(f"{target} was just written, for another input")
        files.check_target(target, source, force=self.force)
        return target

    def write(self, target: Path | None, data: bytes, source: str) -> None:
        """Write a result, all of it or nothing."""
        files.write(target, data, like=source, force=self.force)
        if target is not None:
            self.written.add(target)

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


def options(function: Function) -> Function:
    """The options of `Job`."""
    for option in (
        loudness,
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where networks run."),
        click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads. [default: all]"),
        click.option("-f", "--force", is_flag=True, help="Replace existing files."),
        click.option("--output-dir", metavar="DIR", help="Write into this folder. [default: beside the input]"),
        click.option("-o", "--output", metavar="OUT", help="Write to this file; - is stdout."),
        inputs,
    ):
        function = option(function)
    return function


def start(inputs: Sequence[str], job: Job) -> None:
    """Raise UsageError for options that contradict each other."""
    if job.output is not None and job.output_dir is not None:
        raise click.UsageError("-o and --output-dir exclude each other", click.get_current_context())
    if "" in (job.output, job.output_dir):
        raise click.UsageError("an empty name for the output", click.get_current_context())
    if job.output is not None and len(inputs) > 1:
        raise click.UsageError("-o takes one input: use --output-dir for several", click.get_current_context())
    if job.output_dir is not None and files.PIPE in inputs:
        raise click.UsageError("--output-dir has no name for stdin: use -o", click.get_current_context())


def run(inputs: Sequence[str], work: Callable[[str], None], *, effect: str, verbose: int) -> int:
    """Do the work for each input, and go on after errors. Returns the highest exit code.

    Args:
        effect: how the line of an error ends: what became of the output.
    """
    code = 0
    for source in inputs:
        try:
            work(source)
        except BrokenPipeError:
            raise  # nobody reads stdout any more: the other inputs are in vain too
        except Exception as error:
            output.error(f"{source}: {output.cause(error)}. {effect}")
            output.traceback(verbose > 1)
            code = max(code, exit_code(error))
    return code


def exit_code(error: Exception) -> int:
    """3 for corrupt data, 4 for what this installation does not support, 1 for I/O and all else."""
    if isinstance(error, UnsupportedImageError | UnsupportedVersionError | ModelError):
        return 4
    return 3 if isinstance(error, FormatError) else 1
