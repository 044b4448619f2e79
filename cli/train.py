"""vaezip train: a model of one's own, from folders of pictures or arrays of images."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbans.models.registry import Family, families
from bbans.models.weights import PHOTO
from bbans.training.callbacks import Stopped
from bbans.training.journal import is_of_no_use
from bbans.training.outputs import Outputs
from bbans.training.schedule import Schedule

from . import files, jobs, output, report
from .console import Console, Interruption
from .export import SUFFIX, model_name
from .sizes import DEFAULTS, sizes_of

if TYPE_CHECKING:
    from bbans.training.run import FileRates

BATCHES = ", ".join(f"{name} {family.batch}" for name, family in families().items())


@dataclass(frozen=True)
class TrainOptions:
    """What the user asks for, as click parses it."""

    inputs: tuple[Path, ...]
    out: Path
    valid: tuple[Path, ...]
    family: str
    binarise: str | None
    minutes: float | None
    steps: int | None
    source: str | None
    id: str | None
    size: tuple[str, ...]
    batch: int | None
    side: int | None
    optimiser: str
    rate: float
    warm_up: int
    decay_from: float
    quantise_from: float
    kl_until: float
    pixels: float
    only: str
    every: int | None
    seed: int
    float32: bool
    compiled: bool | None
    threads: int | None
    workers: int | None
    device: str
    no_evaluation: bool
    force: bool
    as_json: bool
    quiet: bool
    verbose: int

    @property
    def row(self) -> Family:
        """The family of models."""
        return families()[self.family]


@click.command("train")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="MODEL", type=click.Path(path_type=Path), help=f"Weight file (*{SUFFIX}).")
@click.option(
    "--valid",
    multiple=True,
    metavar="INPUT",
    type=click.Path(path_type=Path),
    help="Measure with these pictures.  [default: 5 % of INPUT]",
)
@click.option("--model", "family", type=click.Choice(list(families())), default=PHOTO, show_default=True, help="Family of models.")
@click.option(
    "--binarise", type=click.Choice(["sampled", "threshold"]), help="Make 8-bit images 0 and 1; sampled: anew for every use."
)
@click.option(
    "--minutes",
    metavar="M",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Train for so long.  [default: {Schedule.minutes:.0f}]",
)
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="Train for so many steps instead.")
@click.option("--from", "source", metavar="ID", help="Start from an installed model or a weight file.")
@click.option("--id", metavar="NAME", help="Name of the model in files.  [default: MODEL's]")
@click.option("--size", multiple=True, metavar="NAME=N", help=f"A size of the model. {DEFAULTS}.")
@click.option("--batch", metavar="N", type=click.IntRange(min=1), help=f"Samples of a step, in each process.  [default: {BATCHES}]")
@click.option("--side", type=click.IntRange(min=16), help=f"Side of a crop of a photo: a power of two.  [default: {Schedule.side}]")
@click.option(
    "--optimiser",
    type=click.Choice(["adam", "muon"]),
    default=Schedule.optimiser,
    show_default=True,
    help="muon suits convolutions.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0), default=Schedule.rate, show_default=True, help="Learning rate, at its highest."
)
@click.option(
    "--warm-up",
    metavar="N",
    type=click.IntRange(min=1),
    default=Schedule.warm_up,
    show_default=True,
    help="Steps until the rate is at its highest.",
)
@click.option(
    "--decay-from",
    type=click.FloatRange(0, 0.99),
    default=Schedule.decay_from,
    show_default=True,
    help="Share of the run after which the rate falls.",
)
@click.option(
    "--quantise-from",
    type=click.FloatRange(0, 1),
    default=Schedule.quantise_from,
    show_default=True,
    help="Share of the run after which weights and activations are rounded.",
)
@click.option(
    "--kl-warm-up",
    "kl_until",
    type=click.FloatRange(0, 1),
    default=Schedule.kl_until,
    show_default=True,
    help="Share of the run in which the KL term gets its full weight.",
)
@click.option(
    "--pixels",
    type=click.FloatRange(0, 1, min_open=True),
    default=Schedule.pixels,
    show_default=True,
    help="Share of an image's pixels that a step looks at, of models with pixel layers.",
)
@click.option("--only", metavar="NAME", default="", help="Train only the layers whose names begin so.")
@click.option("--every", metavar="N", type=click.IntRange(min=1), help="Steps between reports.  [default: 50 reports]")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=Schedule.seed, show_default=True, help="Of everything random."
)
@click.option("--float32", is_flag=True, help="No bfloat16: on the CPU the same numbers every time.")
@click.option("--compile/--no-compile", "compiled", default=None, help="Use torch.compile.  [default: in long runs]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all]")
@click.option(
    "--workers", type=click.IntRange(min=0), metavar="N", help="Processes that make batches.  [default: 1; images: 0; GPU: 8]"
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where the network runs.")
@click.option("--no-evaluation", is_flag=True, help="Do not compress real files at the end.")
@click.option("-f", "--force", is_flag=True, help="Replace existing files.")
@report.option
@jobs.loudness
def command(**options: Any) -> int:
    """Train a model on pictures, for `vaezip compress --model MODEL` or `vaezip pack --model MODEL`.

    INPUT is a folder of photos, or an archive or a set of them. Families for sets of images take images of one size: idx, .npy or
    .npz files (FILE.npz:KEY), a folder, or an archive.

    Beside MODEL are written a checkpoint (.ckpt), a journal (.jsonl) and a curve (.png). After an interruption the same command
    goes on from the checkpoint. --minutes counts from the start to the last checkpoint, also on a busy machine; export and the
    compressing of real files come after.

    \b
    Examples:
      vaezip train photos --out mine.safetensors --minutes 480
      vaezip train train-images-idx3-ubyte.gz --model markov --binarise sampled --out digits.safetensors
      torchrun --nproc-per-node 2 --no-python vaezip train photos --out mine.safetensors --device cuda
    """
    wanted = TrainOptions(**options)
    schedule, name = check(wanted)
    out = wanted.out
    with Interruption() as interruption:
        try:
            check_outputs(out, wanted.force)
            with Console(interruption, wanted.quiet) as console:
                rates = train(wanted, name, schedule, console)
        except Stopped as stopped:
            if os.environ.get("RANK", "0") == "0":  # of several processes one says it
                output.error(interrupted(stopped, out))
                if wanted.as_json:
                    report.failure(str(out), interrupted(stopped, out), 128 + interruption.number)
            return 128 + interruption.number
        except Exception as error:
            output.error(f"{output.cause(error)}. {left(out)}")
            output.traceback(error if wanted.verbose > 1 else None)
            if wanted.as_json:
                report.failure(str(out), output.cause(error), jobs.exit_code(error))
            return jobs.exit_code(error)
    if wanted.as_json:
        if os.environ.get("RANK", "0") == "0":
            fields = {"model": name, "file_bytes": out.stat().st_size, "rates": [vars(rate) for rate in rates]}
            report.line(str(out), {"status": "done", "target": str(out), **fields})
    elif rates and not wanted.quiet:
        click.echo(table(rates))
    return 0


def check(options: TrainOptions) -> tuple[Schedule, str]:
    """The schedule that the options ask for, and the model's name. Raises: UsageError."""
    context = click.get_current_context()
    if options.minutes is not None and options.steps is not None:
        raise click.UsageError("--minutes and --steps exclude each other", context)
    name = model_name(options.out, options.id)
    row = options.row
    if not row.any_size and options.side is not None:
        raise click.UsageError("--side is for models of pictures of any size: images of sets are taken whole", context)
    if row.any_size and options.binarise is not None:
        raise click.UsageError("--binarise is for models of sets of images", context)
    side = Schedule.side if options.side is None else options.side
    if side & (side - 1):
        raise click.UsageError(f"--side is a power of two, not {side}", context)
    sizes = sizes_of(options.family, options.size)
    if options.source is not None and sizes.keys() - row.widened:
        others = f", but for {', '.join(sorted(row.widened))}" if row.widened else ""
        raise click.UsageError(f"--from brings its own sizes: no --size with it{others}", context)
    schedule = Schedule(
        steps=options.steps,
        minutes=options.minutes or Schedule.minutes,
        batch=(options.batch or row.batch) * int(os.environ.get("WORLD_SIZE", "1")),
        side=side,
        optimiser=options.optimiser,
        rate=options.rate,
        warm_up=options.warm_up,
        decay_from=options.decay_from,
        quantise_from=options.quantise_from,
        kl_until=options.kl_until,
        every=options.every,
        only=options.only,
        pixels=options.pixels,
        seed=options.seed,
    )
    return schedule, name


def check_outputs(out: Path, force: bool) -> None:
    """Raises Refused, if other files are in the way.

    Where there is a checkpoint, they are its run's own; so is the journal of a run that died before it.
    """
    outputs = Outputs(out)
    files.check_target(out, files.PIPE, force=force)
    if not outputs.checkpoint.exists():
        files.check_target(outputs.journal, files.PIPE, force=force or is_of_no_use(outputs.journal))
        files.check_target(outputs.curve, files.PIPE, force=force)


def train(options: TrainOptions, name: str, schedule: Schedule, console: Console) -> list[FileRates]:
    """Everything that takes torch."""
    began = time.monotonic()
    first = os.environ.get("RANK", "0") == "0"
    callbacks = console if first else Console(console.interruption, quiet=True)
    callbacks.note("loading torch and the pictures")  # which takes seconds, so it is said first
    output.require_torch("vaezip train")
    import torch

    from bbans import models
    from bbans.training.distributed import device_of, join
    from bbans.training.loop import Machine
    from bbans.training.run import run
    from bbans.training.tasks import read_task

    if options.threads:
        torch.set_num_threads(options.threads)
    device = device_of(options.device)
    start = None if options.source is None else models.read(options.source)
    workers = options.workers
    if workers is None:  # to fetch images from a process costs more than to make them
        workers = 8 if device.type == "cuda" else int(options.row.any_size)
    processes = join(device)
    outputs = Outputs(options.out)
    try:
        task = read_task(
            options.inputs,
            options.valid,
            options.family,
            sizes_of(options.family, options.size),
            side=schedule.side,
            start=start,
            binarised=options.binarise,
            omit=[outputs.curve],
            callbacks=callbacks,
        )
        return run(
            task,
            outputs,
            name,
            schedule,
            start=start,
            machine=Machine(device, options.float32, options.compiled, workers),
            processes=processes,
            callbacks=callbacks,
            threads=options.threads,
            evaluated=not options.no_evaluation,
            began=began,
        )
    finally:
        processes.close()


def table(rates: list[FileRates]) -> str:
    """Training and validation pictures side by side, as real files."""
    rows = [["bits/dim of whole files", *(rate.name for rate in rates)]]
    rows.append(["pictures, all decoded and compared", *(str(rate.pictures) for rate in rates)])
    rows.append(["this model", *(f"{rate.bits_per_dim:.4f}" for rate in rates)])
    for other in rates[0].others:
        values = [rate.others[other] for rate in rates]
        rows.append([other, *("-" if value is None else f"{value:.4f}" for value in values)])
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
