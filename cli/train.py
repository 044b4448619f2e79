"""vaezip train: a model of one's own, from folders of pictures."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbans.container import is_name
from bbans.models.photo_layout import PhotoConfig
from bbans.training.listener import Stopped
from bbans.training.outputs import Outputs
from bbans.training.schedule import Schedule

from . import files, jobs, output
from .progress import Console, Interruption, Worker

if TYPE_CHECKING:
    from bbans.training.run import Rates

SUFFIX = ".safetensors"
SIZES: dict[str, Any] = asdict(PhotoConfig())


def sizes_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """The fields of PhotoConfig that ``name=number`` sets. Raises: BadParameter."""
    chosen: dict[str, Any] = {}
    for setting in settings:
        name, _, number = setting.partition("=")
        if name not in SIZES or not number.isdecimal():
            raise click.BadParameter(f"{setting!r} is not NAME=NUMBER with a name of {', '.join(SIZES)}", param_hint="--size")
        chosen[name] = type(SIZES[name])(int(number))
    return chosen


@click.command("train")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="MODEL", type=click.Path(path_type=Path), help=f"Weight file (*{SUFFIX}).")
@click.option(
    "--valid", multiple=True, metavar="DIR", type=click.Path(path_type=Path), help="Measure with these.  [default: 5 % of DIR]"
)
@click.option(
    "--minutes", metavar="M", type=click.FloatRange(min=0, min_open=True), help=f"Train so long.  [default: {Schedule.minutes:.0f}]"
)
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="Train so many steps instead.")
@click.option("--from", "source", metavar="ID", help="Start from an installed model or weight file.")
@click.option("--id", metavar="NAME", help="Name of the model in files.  [default: MODEL's]")
@click.option(
    "--size", multiple=True, metavar="NAME=N", help="; ".join(f"{name} {default}" for name, default in SIZES.items()) + "."
)
@click.option(
    "--batch", metavar="N", type=click.IntRange(min=1), default=Schedule.batch, show_default=True, help="Crops a step and process."
)
@click.option(
    "--side", type=click.IntRange(min=16), default=Schedule.side, show_default=True, help="Side of a crop: a power of two."
)
@click.option(
    "--optimiser",
    type=click.Choice(["adam", "muon"]),
    default=Schedule.optimiser,
    show_default=True,
    help="Muon: for convolutions.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0), default=Schedule.rate, show_default=True, help="Learning rate at its full height."
)
@click.option(
    "--warm-up", type=click.IntRange(min=1), metavar="N", default=Schedule.warm_up, show_default=True, help="Steps up to there."
)
@click.option(
    "--decay-from", type=click.FloatRange(0, 0.99), default=Schedule.decay_from, show_default=True, help="Share of constant rate."
)
@click.option(
    "--quantise-from",
    type=click.FloatRange(0, 1),
    default=Schedule.quantise_from,
    show_default=True,
    help="Share without rounding.",
)
@click.option("--every", metavar="N", type=click.IntRange(min=1), help="Steps between reports.  [default: 50 reports]")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=Schedule.seed, show_default=True, help="Of all that is random."
)
@click.option("--float32", is_flag=True, help="No bfloat16: on the CPU the same numbers each time.")
@click.option("--compile/--no-compile", "compiled", default=None, help="By torch.compile.  [default: if it is worth it]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all]")
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Processes that cut crops.  [default: 1; GPU: 8]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where the network runs.")
@click.option("--no-evaluation", is_flag=True, help="Do not measure real files at the end.")
@click.option("-f", "--force", is_flag=True, help="Replace existing files.")
@jobs.loudness
def command(folders: tuple[Path, ...], out: Path, quiet: bool, verbose: int, force: bool, **options: Any) -> int:
    """Train a model on the pictures below DIR, for `vaezip compress --model MODEL`.

    Beside MODEL it keeps a checkpoint (.ckpt; the same command goes on from it), a journal (.jsonl) and the curve (.png).
    --minutes is from start to last checkpoint; export and the measuring of real files come after.

    \b
    Examples:
      vaezip train photos --out mine.safetensors --minutes 480
      torchrun --nproc-per-node 2 -m bbans.training photos --out mine.safetensors --device cuda
    """
    schedule, name = check(out, **options)
    with Interruption() as interruption:
        console = Console(interruption, quiet)
        try:
            check_outputs(out, force)
            rates = train(folders, out, name, schedule, console, **options)
        except Stopped as stopped:
            console.clear()
            if os.environ.get("RANK", "0") == "0":  # of several processes one says it
                output.error(interrupted(stopped, out))
            return 128 + interruption.number
        except Exception as error:
            console.clear()
            output.error(f"{output.cause(error)}. {left(out)}")
            output.traceback(verbose > 1)
            return jobs.exit_code(error)
    console.clear()
    if rates and not quiet:
        click.echo(table(rates))
    return 0


def check(
    out: Path,
    *,
    id: str | None,
    minutes: float | None,
    steps: int | None,
    side: int,
    source: str | None,
    size: tuple[str, ...],
    **rest: Any,
) -> tuple[Schedule, str]:
    """The schedule that the options ask for, and the model's name. Raises: UsageError."""
    context = click.get_current_context()
    if minutes is not None and steps is not None:
        raise click.UsageError("--minutes and --steps exclude each other", context)
    if out.suffix != SUFFIX:
        raise click.UsageError(f"the name of --out ends in {SUFFIX}", context)
    if side & (side - 1):
        raise click.UsageError(f"--side is a power of two, not {side}", context)
    if size and source is not None:
        raise click.UsageError("--from brings its own sizes: no --size with it", context)
    sizes_of(size)
    name = out.stem if id is None else id
    if not is_name(name):
        raise click.UsageError(
            f"a model's name is made of letters, digits, dots, hyphens and underscores, not {name!r}: use --id", context
        )
    schedule = Schedule(
        steps=steps,
        minutes=minutes or Schedule.minutes,
        batch=rest["batch"] * int(os.environ.get("WORLD_SIZE", "1")),
        side=side,
        **{field: rest[field] for field in ("optimiser", "rate", "warm_up", "decay_from", "quantise_from", "every", "seed")},
    )
    return schedule, name


def check_outputs(out: Path, force: bool) -> None:
    """Raises Refused, if files of others are in the way. What a checkpoint stands beside is its run's own."""
    outputs = Outputs(out)
    files.check_target(out, files.PIPE, force=force)
    if not outputs.checkpoint.exists():
        for companion in (outputs.journal, outputs.curve):
            files.check_target(companion, files.PIPE, force=force)


def train(folders: tuple[Path, ...], out: Path, name: str, schedule: Schedule, console: Console, **options: Any) -> list[Rates]:
    """Everything that takes torch."""
    began = time.monotonic()
    import torch

    from bbans import models
    from bbans.models.photo_layout import config_of
    from bbans.training.distributed import device_of, join
    from bbans.training.loop import Machine
    from bbans.training.run import run

    if options["threads"]:
        torch.set_num_threads(options["threads"])
    device = device_of(options["device"])
    start = None if options["source"] is None else models.read(options["source"])
    workers = options["workers"]
    if workers is None:
        workers = 1 if device.type == "cpu" else 8
    processes = join(device)
    listener = console if processes.first else Worker(console.interruption)
    try:
        rates = run(
            list(folders),
            list(options["valid"]),
            Outputs(out),
            name,
            config_of(start) if start else replace(PhotoConfig(), **sizes_of(options["size"])),
            schedule,
            start=start,
            machine=Machine(device, options["float32"], options["compiled"], workers),
            processes=processes,
            listener=listener,
            threads=options["threads"],
            evaluated=not options["no_evaluation"],
            began=began,
        )
    finally:
        processes.close()
    return rates


def table(rates: list[Rates]) -> str:
    """Training and validation pictures side by side, as real files."""
    rows = [["bits/dim of whole files", *(rate.name for rate in rates)]]
    rows.append(["pictures, all decoded and compared", *(str(rate.pictures) for rate in rates)])
    rows.append(["this model", *(f"{rate.bits_per_dim:.4f}" for rate in rates)])
    rows.append(["WebP, lossless", *("-" if rate.webp is None else f"{rate.webp:.4f}" for rate in rates)])
    return output.table(rows)


def interrupted(stopped: Stopped, out: Path) -> str:
    """What became of the run, and how it goes on."""
    if stopped.step is not None:
        return f"interrupted after step {stopped.step} of {stopped.steps}. {left(out)}"
    if out.exists():
        return f"interrupted while real files were measured. {out} is written."
    return f"interrupted before the first step of this session. {left(out)}"


def left(out: Path) -> str:
    """What a run that ended early has left on the disk."""
    checkpoint = Outputs(out).checkpoint
    if checkpoint.exists():
        return f"{checkpoint} is its checkpoint: the same command goes on from there."
    return "No weights were written."
