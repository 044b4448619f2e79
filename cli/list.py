"""vaezip list: what compressed files hold. Loads no model."""

from __future__ import annotations

import dataclasses
import json

import click

from bbans import api
from bbans.container import Accounting

from . import files, jobs, output

SCHEMA = 1
"""Of the JSON objects; counts up when a key changes its meaning or goes away."""


@click.command("list")
@jobs.inputs
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file, one a line.")
@jobs.loudness
def command(inputs: tuple[str, ...], as_json: bool, quiet: bool, verbose: int) -> int:
    """Show mode, model, sizes and bits/dim of compressed files; with -v, where their bits go.

    All checks of a file are made, but its pixels are not decoded. Bits/dim are bits of the file per sub-pixel.
    """
    rows = [["file", "picture", "how", "source", "bytes", "ratio", "bits/dim"]]
    infos: list[api.Info] = []

    def show(source: str) -> None:
        info = api.inspect(files.read(source))
        infos.append(info)
        if as_json:
            click.echo(json.dumps(as_object(source, info)))
        elif verbose:
            click.echo(f"{output.printable(source)}\n{details(info)}\n")
        else:
            rows.append(row(source, info))

    code = jobs.run(inputs, show, effect="", verbose=verbose)
    if len(rows) > 1:
        if len(infos) > 1:
            rows.append(total(infos))
        click.echo(output.table(rows))
    return code


def as_object(source: str, info: api.Info) -> dict[str, object]:
    """The JSON object of a file."""
    return {
        "schema": SCHEMA,
        "file": source,
        **dataclasses.asdict(info),
        "bits_per_dim": info.bits_per_dim,
        "given_back_share": given_back_share(info),
    }


def given_back_share(info: api.Info) -> float | None:
    """How much larger the file would be without bits-back: bits that q gives back, as a part of the file's bits."""
    return None if info.accounting is None else info.accounting.posterior_bits / (8 * info.file_bytes)


def plural(count: int) -> str:
    return "" if count == 1 else "s"


def row(source: str, info: api.Info) -> list[str]:
    return [
        output.printable(source),
        f"{info.width}x{info.height}x{info.channels}",
        output.how(info),
        str(info.source_bytes),
        str(info.file_bytes),
        output.ratio(info.file_bytes, info.source_bytes),
        f"{info.bits_per_dim:.3f}",
    ]


def total(infos: list[api.Info]) -> list[str]:
    source_bytes = sum(info.source_bytes for info in infos)
    file_bytes = sum(info.file_bytes for info in infos)
    dims = sum(info.height * info.width * info.channels for info in infos)
    by_model = sum(info.mode == "model" for info in infos)
    return [
        f"total of {len(infos)}",
        "",
        f"{by_model} by model",
        str(source_bytes),
        str(file_bytes),
        output.ratio(file_bytes, source_bytes),
        f"{8 * file_bytes / dims:.3f}",
    ]


def details(info: api.Info) -> str:
    """All that a file says of itself, as lines for people."""
    counts = [f"header {info.header_bytes}", f"metadata {info.metadata_bytes}"]
    messages = sum(section.kind == "message" for section in info.sections)
    counts.append(f"{info.coded_bytes} in {messages} message{plural(messages)}" if messages else f"payload {info.coded_bytes}")
    lines = [
        f"  picture   {info.width} x {info.height}, {info.channels} x {info.bit_depth} bits, {info.format}",
        f"  how       {output.how(info)}" + (f", weights {info.weights_hash}" if info.weights_hash else ""),
        f"  sizes     {output.sizes(info)}",
        f"  bytes     {', '.join(counts)}",
        f"  checks    header and {len(info.sections)} section{plural(len(info.sections))}: whole",
    ]
    if info.accounting is not None:
        lines.append(output.indent(output.table(accounting_rows(info, info.accounting))))
    return "\n".join(lines)


def accounting_rows(info: api.Info, bits: Accounting) -> list[list[str]]:
    """Where the bits of a file of the model come from; the last row is the sum of all above it."""
    file_bits = 8 * info.file_bytes
    dims = info.height * info.width * info.channels
    entries = [
        ("-log2 p(x|z)", bits.likelihood_bits),
        ("-log2 p(z)", bits.prior_bits),
        ("+log2 q(z|x), given back", -bits.posterior_bits),
        ("initial bits", bits.initial_bits),
        ("rounding to whole words", 8 * info.coded_bytes - bits.net_bits),
        ("header, metadata", 8 * (info.header_bytes + info.metadata_bytes)),
        ("file", file_bits),
    ]
    return [
        ["where the bits go", "bits", "bits/dim", "share"],
        *([name, str(count), f"{count / dims:.4f}", f"{100 * count / file_bits:.2f} %"] for name, count in entries),
    ]
