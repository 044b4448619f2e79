"""vaezip export: the weight file of a training run's checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from bbans.formats.wire import is_name

from . import files, jobs, output, report

SUFFIX = ".safetensors"


def model_name(out: Path, id: str | None) -> str:
    """The name that files coded with a model carry: `id`, or the weight file's. Raises: UsageError for a bad name of either."""
    context = click.get_current_context()
    if out.suffix != SUFFIX:
        raise click.UsageError(f"the name of --out ends in {SUFFIX}", context)
    name = out.stem if id is None else id
    if not is_name(name):
        raise click.UsageError(
            f"a model's name is made of letters, digits, dots, hyphens and underscores, not {name!r}: use --id", context
        )
    return name


@click.command("export")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="MODEL", type=click.Path(path_type=Path), help=f"Weight file (*{SUFFIX}).")
@click.option("--id", metavar="NAME", help="Name of the model in files.  [default: MODEL's]")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@report.option
@jobs.loudness
def command(checkpoint: Path, out: Path, id: str | None, force: bool, as_json: bool, quiet: bool, verbose: int) -> int:
    """Write the weights of a checkpoint (*.ckpt), to try a model while `vaezip train` goes on.

    They lack what the coder of photos starts from, which is learned at the end: files are up to 1 % larger than they will be.

    \b
    Example:
      vaezip export mine.ckpt --out sample.safetensors
    """
    name = model_name(out, id)

    def work(source: str) -> None:
        files.check_target(out, source, force=force)
        output.require_torch("vaezip export")
        from bbans.training.checkpoint import export_checkpoint

        data = export_checkpoint(checkpoint, name)
        files.write(out, data, like=None, force=force)
        if not quiet:
            output.note(f"{out}: {output.size(len(data), verbose > 0)}, model '{name}'")
        if as_json:
            report.line(source, {"status": "done", "target": str(out), "model": name, "file_bytes": len(data)})

    return jobs.run([str(checkpoint)], work, effect=jobs.NOTHING_WRITTEN, verbose=verbose, as_json=as_json)
