"""Results as JSON: a line for each file, errors too, on stdout."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from . import output

if TYPE_CHECKING:
    from bbans.results import Info

SCHEMA = 1
"""The version of the objects: counts up when a key is removed or changes its meaning."""


def option(function: output.Function) -> output.Function:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each file, errors too.")(function)


def line(source: str, fields: Mapping[str, object]) -> None:
    """Print the object of a file."""
    click.echo(json.dumps({"schema": SCHEMA, "file": source, **fields}))


def failure(source: str, cause: str, code: int) -> None:
    """Print the object of a file that failed; `code` is the exit code that it gives."""
    line(source, {"status": "failed", "error": cause, "code": code})


def info_object(info: Info) -> dict[str, object]:
    """The fields of a compressed picture."""
    return {
        **dataclasses.asdict(info),
        "bits_per_dim": info.bits_per_dim,
        "given_back_share": given_back_share(info),
    }


def given_back_share(info: Info) -> float | None:
    """The share of the file's bits by which it would be larger without bits-back."""
    return None if info.accounting is None else info.accounting.posterior_bits / (8 * info.file_bytes)
