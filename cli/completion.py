"""vaezip completion: what a shell needs to complete commands, options and file names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_VAEZIP_COMPLETE"
"""Set by the script: then the command prints completions instead of doing anything."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of a shell.

    \b
    Examples:
      vaezip completion bash >> ~/.bashrc
      vaezip completion zsh >> ~/.zshrc
      vaezip completion fish > ~/.config/fish/completions/vaezip.fish
    """
    click.echo(script(shell))
    return 0


def script(shell: str) -> str:
    """The script that completes `vaezip` in a shell."""
    from .main import group

    kind = get_completion_class(shell)
    assert kind is not None  # click has these three
    made = kind(group, {}, "vaezip", VARIABLE)
    # Its `source` would ask the installed bash for its version, which is not the one that will read the script.
    return made.source_template % made.source_vars()
