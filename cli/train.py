"""vaezip train: a model of one's own, from folders of pictures or arrays of images."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from bbans.models.registry import families
from bbans.models.weights import PHOTO
from bbans.training.callbacks import Stopped
from bbans.training.outputs import Outputs
from bbans.training.schedule import Schedule

from . import files, jobs, output
from .export import SUFFIX, model_name
from .progress import Console, Interruption, Worker

if TYPE_CHECKING:
    from bbans.models import Weights
    from bbans.models.config import PictureConfig
    from bbans.training.callbacks import Callbacks
    from bbans.training.run import Rates
    from bbans.training.tasks.task import Task

SIZES = {name: family.sizes() for name, family in families().items()}
BATCHES = ", ".join(f"{name} {family.batch}" for name, family in families().items())


def sizes_of(family: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the family's config that ``name=1``, ``name=1,2`` or ``name=1,2/3`` sets. Raises: BadParameter."""
    chosen: dict[str, Any] = {}
    sizes = SIZES[family]
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            chosen[name] = _like(sizes[name], value)
        except (KeyError, ValueError):
            names = ", ".join(f"{name}={_text(default)}" for name, default in sizes.items())
            raise click.BadParameter(
                f"{setting!r} is not NAME=NUMBER with a name and form of {names}", param_hint="--size"
            ) from None
    return chosen


def _like(default: Any, text: str) -> Any:
    """The number, or tuple of numbers or of tuples of them, that a text means: of the default's form. Inverse: _text."""
    if not isinstance(default, tuple):
        if not text.isdecimal():
            raise ValueError(text)
        return type(default)(int(text))
    if isinstance(default[0], tuple):
        return tuple(_like(default[0], part) for part in text.split("/"))
    return tuple(_like(default[0], part) for part in text.split(",") if text)


def _text(value: Any) -> str:
    """Such as `64`, `256,64` or `20,20/2,2`. Inverse: _like."""
    if not isinstance(value, tuple):
        return str(int(value))
    return ("/" if isinstance(value[0], tuple) else ",").join(map(_text, value))


DEFAULTS = ". ".join(
    f"{family}: {', '.join(f'{name} {_text(default)}' for name, default in sizes.items())}" for family, sizes in SIZES.items()
)


@click.command("train")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="MODEL", type=click.Path(path_type=Path), help=f"Weight file (*{SUFFIX}).")
@click.option(
    "--valid", multiple=True, metavar="INPUT", type=click.Path(path_type=Path), help="Measure with these.  [default: 5 % of INPUT]"
)
@click.option("--model", "family", type=click.Choice(list(SIZES)), default=PHOTO, show_default=True, help="Family of models.")
@click.option("--binarise", type=click.Choice(["sampled", "threshold"]), help="Make 8-bit images 0 and 1; sampled: anew each time.")
@click.option(
    "--minutes", metavar="M", type=click.FloatRange(min=0, min_open=True), help=f"Train so long.  [default: {Schedule.minutes:.0f}]"
)
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="Train so many steps instead.")
@click.option("--from", "source", metavar="ID", help="Start from an installed model or weight file.")
@click.option("--id", metavar="NAME", help="Name of the model in files.  [default: MODEL's]")
@click.option("--size", multiple=True, metavar="NAME=N", help=f"Of the model. {DEFAULTS}.")
@click.option(
    "--batch",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"Samples a step and process.  [default: {BATCHES}]",
)
@click.option("--side", type=click.IntRange(min=16), help=f"Side of a crop of a photo: a power of two.  [default: {Schedule.side}]")
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
@click.option(
    "--kl-warm-up",
    "kl_until",
    type=click.FloatRange(0, 1),
    default=Schedule.kl_until,
    show_default=True,
    help="Share until the KL term has its weight.",
)
@click.option(
    "--pixels",
    type=click.FloatRange(0, 1, min_open=True),
    default=Schedule.pixels,
    show_default=True,
    help="Share of an image's pixels that a step of a topdown model looks at.",
)
@click.option("--only", metavar="NAME", default="", help="Train the layers whose names begin so.  [default: all]")
@click.option("--every", metavar="N", type=click.IntRange(min=1), help="Steps between reports.  [default: 50 reports]")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=Schedule.seed, show_default=True, help="Of all that is random."
)
@click.option("--float32", is_flag=True, help="No bfloat16: on the CPU the same numbers each time.")
@click.option("--compile/--no-compile", "compiled", default=None, help="By torch.compile.  [default: if it is worth it]")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Use at most N threads.  [default: all]")
@click.option(
    "--workers", type=click.IntRange(min=0), metavar="N", help="Processes that make batches.  [default: 1; images: 0; GPU: 8]"
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where the network runs.")
@click.option("--no-evaluation", is_flag=True, help="Do not measure real files at the end.")
@click.option("-f", "--force", is_flag=True, help="Replace existing files.")
@jobs.loudness
def command(inputs: tuple[Path, ...], out: Path, quiet: bool, verbose: int, force: bool, **options: Any) -> int:
    """Train a model on pictures, for `vaezip compress --model MODEL` and `vaezip pack --model MODEL`.

    INPUT is a folder of photos; for the other families of models images of one size: idx, .npy or .npz files (FILE.npz:KEY), or
    a folder.

    Beside MODEL it keeps a checkpoint (.ckpt; the same command goes on from it), a journal (.jsonl) and the curve (.png).
    --minutes is from start to last checkpoint; export and the measuring of real files come after.

    \b
    Examples:
      vaezip train photos --out mine.safetensors --minutes 480
      vaezip train train-images-idx3-ubyte.gz --model markov --binarise sampled --out digits.safetensors
      torchrun --nproc-per-node 2 --no-python vaezip train photos --out mine.safetensors --device cuda
    """
    schedule, name = check(out, **options)
    with Interruption() as interruption:
        console = Console(interruption, quiet)
        try:
            check_outputs(out, force)
            rates = train(inputs, out, name, schedule, console, **options)
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
    family: str,
    binarise: str | None,
    side: int | None,
    source: str | None,
    size: tuple[str, ...],
    **rest: Any,
) -> tuple[Schedule, str]:
    """The schedule that the options ask for, and the model's name. Raises: UsageError."""
    context = click.get_current_context()
    if minutes is not None and steps is not None:
        raise click.UsageError("--minutes and --steps exclude each other", context)
    name = model_name(out, id)
    row = families()[family]
    if not row.any_size and side is not None:
        raise click.UsageError("--side is for models of pictures of any size: images of sets are taken whole", context)
    if row.any_size and binarise is not None:
        raise click.UsageError("--binarise is for models of sets of images", context)
    side = Schedule.side if side is None else side
    if side & (side - 1):
        raise click.UsageError(f"--side is a power of two, not {side}", context)
    sizes = sizes_of(family, size)
    if source is not None and sizes.keys() - row.widened:
        others = f", but for {', '.join(sorted(row.widened))}" if row.widened else ""
        raise click.UsageError(f"--from brings its own sizes: no --size with it{others}", context)
    batch = rest["batch"] or row.batch
    fields = ("optimiser", "rate", "warm_up", "decay_from", "quantise_from", "kl_until", "every", "only", "pixels", "seed")
    schedule = Schedule(
        steps=steps,
        minutes=minutes or Schedule.minutes,
        batch=batch * int(os.environ.get("WORLD_SIZE", "1")),
        side=side,
        **{field: rest[field] for field in fields},
    )
    return schedule, name


def check_outputs(out: Path, force: bool) -> None:
    """Raises Refused, if files of others are in the way. What a checkpoint stands beside is its run's own."""
    outputs = Outputs(out)
    files.check_target(out, files.PIPE, force=force)
    if not outputs.checkpoint.exists():
        for companion in (outputs.journal, outputs.curve):
            files.check_target(companion, files.PIPE, force=force)


def train(inputs: tuple[Path, ...], out: Path, name: str, schedule: Schedule, console: Console, **options: Any) -> list[Rates]:
    """Everything that takes torch."""
    began = time.monotonic()
    import torch

    from bbans import models
    from bbans.training.distributed import device_of, join
    from bbans.training.loop import Machine
    from bbans.training.run import run

    if options["threads"]:
        torch.set_num_threads(options["threads"])
    device = device_of(options["device"])
    start = None if options["source"] is None else models.read(options["source"])
    workers = options["workers"]
    if workers is None:  # to fetch images from a process costs more than to make them
        workers = 8 if device.type == "cuda" else int(families()[options["family"]].any_size)
    processes = join(device)
    callbacks = console if processes.first else Worker(console.interruption)
    outputs = Outputs(out)
    try:
        rates = run(
            read_task(inputs, outputs, schedule, start, callbacks, **options),
            outputs,
            name,
            schedule,
            start=start,
            machine=Machine(device, options["float32"], options["compiled"], workers),
            processes=processes,
            callbacks=callbacks,
            threads=options["threads"],
            evaluated=not options["no_evaluation"],
            began=began,
        )
    finally:
        processes.close()
    return rates


def read_task(
    inputs: tuple[Path, ...],
    outputs: Outputs,
    schedule: Schedule,
    start: Weights | None,
    callbacks: Callbacks,
    *,
    family: str,
    size: tuple[str, ...],
    valid: tuple[Path, ...],
    binarise: str | None,
    **_: Any,
) -> Task:
    """The model that is asked for, and its pictures."""

    def check() -> None:
        if callbacks.stop():
            raise Stopped

    reading: dict[str, Any] = {"omit": [outputs.curve], "note": callbacks.note, "check": check}
    sizes = sizes_of(family, size)
    row = families()[family]
    if row.any_size:
        from bbans.training.tasks.photo import read_photo_task

        config = cast("PictureConfig", row.config_of(start) if start else row.config_class(**sizes))
        return read_photo_task(inputs, valid, config, schedule.side, family=family, **reading)
    from bbans.training.tasks.images import read_image_task

    return read_image_task(inputs, valid, family, sizes, start=start, binarised=binarise, **reading)


def table(rates: list[Rates]) -> str:
    """Training and validation pictures side by side, as real files."""
    rows = [["bits/dim of whole files", *(rate.name for rate in rates)]]
    rows.append(["pictures, all decoded and compared", *(str(rate.pictures) for rate in rates)])
    rows.append(["this model", *(f"{rate.bits_per_dim:.4f}" for rate in rates)])
    for other in rates[0].beside:
        found = [rate.beside[other] for rate in rates]
        rows.append([other, *("-" if rate is None else f"{rate:.4f}" for rate in found)])
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
