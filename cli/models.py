"""vaezip models: the installed models. Reads the headers of weight files alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click

from . import output, report


@click.command("models")
@report.option
def command(as_json: bool) -> int:
    """Show the installed models: those that are shipped, and those in the folder that BBANS_MODELS names.

    A compressed file names its model and the hash of its weights, and nothing else decodes it.

    \b
    Example:
      BBANS_MODELS=my-models vaezip models
    """
    from bbans.models.store import DEFAULT_MODEL, installed, user_folder

    code = 0
    rows = [["model", "family", "takes", "size", "weights", ""]]
    for id, path in installed().items():
        try:
            fields = describe(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            output.error(
                f"{path}: it is not a weight file of a bbans model ({output.cause(error) if isinstance(error, OSError) else error})"
            )
            if as_json:
                report.failure(str(path), "it is not a weight file of a bbans model", 4)
            code = 4
            continue
        default = id == DEFAULT_MODEL
        if as_json:
            report.line(str(path), {"id": id, "default": default, **fields})
        size = output.size(fields["file_bytes"])
        rows.append([id, fields["family"], fields["takes"], size, fields["weights_hash"], "default" if default else ""])
    if not as_json:
        click.echo(output.table(rows))
        click.echo(f"\nMore models: in {output.printable(str(user_folder()))}, or a file by --model FILE.")
    return code


def describe(path: Path) -> dict[str, Any]:
    """What a weight file says of itself. Raises: OSError; ValueError, KeyError, TypeError: it is none."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    described = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["bbans"])
    config = described["config"]
    kind = "pictures"
    if {"height", "width", "channels", "symbols"} <= config.keys():
        kind = "images of {height}x{width}x{channels}".format(**config) + (", binary" if config["symbols"] == 2 else "")
    return {
        "family": described.get("architecture", "photo"),
        "takes": kind,
        "file_bytes": len(data),
        # As bbans.models.weights.fingerprint has it, which takes numpy to import.
        "weights_hash": hashlib.blake2b(data, digest_size=8).hexdigest(),
    }
