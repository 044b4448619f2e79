"""The entry point: runs a sub-command, and turns every outcome into an exit code and at most one line.

Sub-commands are imported when they are called, so that `vaezip --help` needs neither numpy nor torch.

    0  done                                  4  unsupported picture or version, or a missing model
    1  I/O and other failures                130, 143  interrupted, terminated
    2  wrong usage
    3  corrupt data, or not a file of vaezip
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from . import output

COMMANDS = {
    "compress": "Compress pictures, verified before anything is written.",
    "decompress": "Write the pictures back.",
    "test": "Check compressed files and archives by decoding them.",
    "list": "Show what compressed files and archives hold, and where their bits go.",
    "inspect": "Show one picture in detail, and where its bits go as a heat map.",
    "estimate": "Say about how small pictures would become, and how long it would take.",
    "pack": "Put many images into one archive: a folder, an array or an idx file.",
    "unpack": "Write the images of an archive back, all or some.",
    "train": "Train a model on your own pictures.",
    "export": "Write the weights of a training run that still goes on.",
    "models": "Show the installed models.",
    "doctor": "Check that this machine reproduces the format bit for bit.",
    "bench": "Measure vaezip and other codecs on the data sets of the field.",
    "demo": "Compress and decompress a sample picture, and show the sizes.",
    "completion": "Print the completion script of a shell.",
    "manual": "Print the manual page.",
}

EXIT_CODES = {
    "0": "done",
    "1": "I/O and other failures",
    "2": "wrong usage",
    "3": "corrupt data, or not a file of vaezip",
    "4": "an unsupported picture or version, or a missing model",
    "130, 143": "interrupted, terminated",
}

EXAMPLES = """\b
Examples:
  vaezip compress photo.png            writes photo.png.vaez
  vaezip decompress photo.png.vaez     writes photo.png
  vaezip list -v *.vaez
  vaezip compress - < in.png > out.vaez
"""


class LazyGroup(click.Group):
    """A group whose commands are in modules of the same names, imported when called; COMMANDS has their help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"{__package__}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class Signalled(BaseException):
    """SIGINT or SIGTERM as an exception, so that every `finally` still runs."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def print_version(ctx: click.Context, _: click.Parameter, show: bool) -> None:
    """Versions of the program, of the format and the model that it writes, and of torch, if it is there."""
    if show:
        from importlib.metadata import PackageNotFoundError, version

        from bbans import __version__, models
        from bbans.formats import container

        torch = "no torch"
        with contextlib.suppress(PackageNotFoundError):
            torch = f"torch {version('torch')}"
        click.echo(f"vaezip {__version__} (format {container.VERSION}, model {models.DEFAULT_MODEL}, {torch})")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,  # or the whole help would be the one line of an error
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXAMPLES,
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show versions.")
def group() -> None:
    """Lossless compression of pictures by bits-back coding: the same picture comes back, to the last bit."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit.

    At once, when all is written: Python would spend half a second to take torch apart, deaf to signals meanwhile.
    """
    code = run(arguments)
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
    os._exit(code)


def run(arguments: Sequence[str] | None) -> int:
    """Run the command line. Returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # which nohup and shells set for background jobs
            signal.signal(number, _raise_signalled)
    sys.unraisablehook = _send_again
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold any bytes
    try:
        code = group.main(arguments, prog_name="vaezip", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "vaezip"
        output.error(f"{error.format_message().rstrip('.')}. See '{path} --help'.")
        code = error.exit_code
    except Signalled as interruption:
        name = "interrupted" if interruption.number == signal.SIGINT else "terminated"
        output.error(f"{name}. The file at hand was not written.")
        code = 128 + interruption.number
    except BrokenPipeError:
        code = 1
    except Exception as error:
        from . import jobs

        output.error(output.cause(error))
        output.traceback()
        code = jobs.exit_code(error)
    return output.close_stdout(code or 0)


def _raise_signalled(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends the program at once
    raise Signalled(number)


def _send_again(lost: sys.UnraisableHookArgs) -> None:
    """What Python calls for an exception in a callback from C, as torch has them: it goes no further from there."""
    if isinstance(lost.exc_value, Signalled):
        number = lost.exc_value.number
        signal.signal(number, _raise_signalled)
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()  # when the callback has returned
    else:
        sys.__unraisablehook__(lost)


if __name__ == "__main__":
    main()
