"""`python -m benchmarks` and `vaezip bench`: the table without a sub-command, and the other benchmarks by name."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

COMMANDS = {
    "run": "Measure data sets by all codecs (this is what runs without a sub-command).",
    "report": "Write tables and plots from the JSON of results.",
    "datasets": "Write the images of a data set as an array.",
    "crops": "Write 32 x 32 crops of photos as an array (benchmarks.photos32).",
    "detail": "The photo model on pictures, in detail.",
    "stages": "What each part of the photo model's coder saves and takes.",
    "latents": "What the latents of photo models save: trains three small ones, or takes yours.",
    "coder": "Nanoseconds a symbol of the entropy coder.",
}
JSON_SCHEMA = 1
"""The version of what --json prints: counts up when a key is removed or changes its meaning."""

MODULES = {"crops": "photos32"}  # of commands whose module has the name of a data set


class Suite(click.Group):
    """Its commands are imported when called; options without a command are those of `run`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "run":
            return run
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"{__package__}.{MODULES.get(cmd_name, cmd_name)}").main
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in COMMANDS and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group("bench", cls=Suite, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def command() -> None:
    """Bits/dim, speed and memory of vaezip and other codecs, on real files that are decoded and compared.

    \b
    Examples:
      vaezip bench --quick
      vaezip bench my-photos/ my-array.npy
    """


@click.command()
@click.argument("names", nargs=-1, metavar="[DATASET...]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of data sets. [default: $VAEZIP_DATA]")
@click.option("--quick", is_flag=True, help="Under three minutes, on what ships with the benchmarks.")
@click.option("--images", type=click.IntRange(min=2), metavar="N", help="Only the first N images of each data set.")
@click.option("--model", "models", multiple=True, metavar="ID", help="Models or weight files of ours. [default: all that fit]")
@click.option("--codec", "codecs", multiple=True, default=("*",), metavar="PATTERN", help="Other codecs; '' for none. [default: *]")
@click.option("--layout", "layouts", multiple=True, default=("*",), metavar="PATTERN", help="Of all codecs. [default: *]")
@click.option("--mcbits", is_flag=True, help="Also Monte Carlo bits-back, with 1 to 50 particles.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1), help="Times are medians over so many.")
@click.option("--draws", type=click.IntRange(min=2), metavar="N", help="Of z for each image, for the ELBO. [default: 10, quick 2]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="[default: all cores]")
@click.option("--sizes", "parts", flag_value="sizes", help="Sizes and bounds without times: for a machine with other work.")
@click.option("--speeds", "parts", flag_value="speeds", help="Sizes and times without bounds: those of rows in --out are kept.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write JSON, Markdown and plots into this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each data set, instead of tables.")
@click.option("--allow-dirty", is_flag=True, help="Write results of a checkout with changes.")
def run(
    names: tuple[str, ...],
    data: Path | None,
    quick: bool,
    images: int | None,
    models: tuple[str, ...],
    codecs: tuple[str, ...],
    layouts: tuple[str, ...],
    mcbits: bool,
    rounds: int,
    draws: int | None,
    threads: int | None,
    parts: str | None,
    out: Path | None,
    as_json: bool,
    allow_dirty: bool,
) -> None:
    """Measure data sets, by name or path (a folder of pictures, an idx, .npy or .npz file), by all codecs.

    Exit code 1 when a codec failed or gave back something else, 2 when a data set that was named is not there.
    """
    from bbans.exact.runtime import cores

    from . import datasets, machine, report, rows, tables
    from .run import ALL, MCBITS_PARTICLES, Options, table, write

    options = Options(
        threads=threads or cores(),
        images=images,
        rounds=rounds,
        draws=draws or (2 if quick else 10),
        codecs=codecs,
        layouts=layouts,
        models=models,
        particles=MCBITS_PARTICLES if mcbits else (),
        quick=quick,
        parts=parts or ALL,
    )
    if out is not None and not allow_dirty:
        rows.refuse_dirty([machine.commit()])
    for name in names:
        datasets.check_name(name)
    failed, measured = False, 0
    for results in table(
        names or (datasets.QUICK if quick else datasets.FULL), data, options, lambda line: click.echo(line, err=True)
    ):
        measured += 1
        if as_json:
            click.echo(rows.in_a_line({"schema": JSON_SCHEMA, "rows": [rows.to_json(row) for row in results.rows]}))
        else:
            click.echo("\n".join(["", *tables.full(results.rows), ""]))
        failed |= any(row.error is not None for row in results.rows)
        if out is not None:
            write(results, out, allow_dirty=True)  # it was asked before
    if out is not None:
        report.write_folder(out)
    missing = measured < len(names)  # of those that the user named
    click.get_current_context().exit(2 if missing else int(failed))
