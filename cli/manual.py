"""vaezip manual: the manual page, made of the help of all commands."""

from __future__ import annotations

import re

import click

from . import output
from .main import COMMANDS, EXIT_CODES, group


@click.command("manual")
def command() -> int:
    """Print the manual page, in the language of man.

    \b
    Examples:
      vaezip manual | man -l -
      vaezip manual > ~/.local/share/man/man1/vaezip.1
    """
    click.echo(page())
    return 0


def page() -> str:
    """The whole page."""
    from bbans import __version__

    lines = [f'.TH VAEZIP 1 "" "vaezip {__version__}" "User Commands"', ".SH NAME"]
    context = click.Context(group, info_name="vaezip")
    lines += [r"vaezip \- " + escaped((group.help or "").rstrip(".").replace("Lossless", "lossless", 1))]
    lines += [".SH SYNOPSIS", r".B vaezip", r"\fICOMMAND\fR [\fIOPTIONS\fR] ..."]
    lines += [".SH COMMANDS"]
    for name in COMMANDS:
        found = group.get_command(context, name)
        if found is not None:
            lines += section(found, click.Context(found, info_name=name, parent=context))
    lines += [".SH EXIT STATUS", *(line for code, text in EXIT_CODES.items() for line in (".TP", code, escaped(text)))]
    return "\n".join(lines)


def section(found: click.Command, context: click.Context) -> list[str]:
    """A command: its usage, what it does, its options."""
    usage = " ".join(found.collect_usage_pieces(context))
    lines = [f'.SS "vaezip {found.name} {escaped(usage)}"']
    for paragraph in (found.help or "").split("\n\n"):
        literal = paragraph.startswith("\b")
        text = paragraph.removeprefix("\b").strip("\n")
        lines += [".PP", *([".nf"] if literal else []), *map(escaped, text.splitlines()), *([".fi"] if literal else [])]
    if isinstance(found, click.Group):
        lines += [
            line
            for name in found.list_commands(context)
            for line in (".TP", rf"\fB{name}\fR", "A command of its own: see its --help.")
        ]
    for parameter in found.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [".TP", rf"\fB{escaped(record[0])}\fR", escaped(re.sub(r"\s+", " ", record[1]))]
    return lines


def escaped(text: str) -> str:
    """The text as roff takes it: no line begins with a command, and hyphens stay hyphens."""
    text = output.printable(text).replace("\\", r"\e").replace("-", r"\-")
    return r"\&" + text if text.startswith((".", "'")) else text
