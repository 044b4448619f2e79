"""The training loop: steps, reports, checkpoints, and going on from one."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bbans.errors import TrainingError
from bbans.exact.export import keep_exact
from bbans.exact.qat import Quantised, set_quantised
from bbans.models.weights import Weights
from bbans.training import checkpoint as checkpoints
from bbans.training.callbacks import Callbacks, Status, Stopped
from bbans.training.data.batches import batches_from
from bbans.training.distributed import Processes
from bbans.training.journal import Journal
from bbans.training.schedule import Schedule
from bbans.training.tasks.task import TrainingTask
from bbans.training.time_budget import Pace, make_budget
from bbans.training.trainer import Trainer

CHECKPOINT_SECONDS = 600.0  # between two checkpoints, where reports are rarer
# Compiling takes two minutes on two cores, with rounding and without: it pays in runs of so many minutes, or of so many pixels.
COMPILE_MINUTES, COMPILE_MINUTES_CUDA, COMPILE_PX = 20.0, 5.0, 3000 * 16 * 64**2


@dataclass(frozen=True)
class Machine:
    """How a run is computed: this changes how long it takes, and the last digits of its numbers."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    float32: bool = False
    compiled: bool | None = None  # None: when the run is long enough to pay for it
    workers: int = 1  # processes that make batches

    def pays_to_compile(self, schedule: Schedule, sample_px: int) -> bool:
        """Whether to compile. It follows from the settings and the size of a sample alone: a repeated run computes the same."""
        if self.compiled is not None:
            return self.compiled
        if schedule.steps is None:
            return schedule.minutes >= (COMPILE_MINUTES_CUDA if self.device.type == "cuda" else COMPILE_MINUTES)
        return schedule.steps * schedule.batch * sample_px >= COMPILE_PX


def train(
    task: TrainingTask,
    schedule: Schedule,
    checkpoint: Path,
    *,
    start: Weights | None = None,
    machine: Machine | None = None,
    processes: Processes | None = None,
    journal: Journal | None = None,
    callbacks: Callbacks | None = None,
    clock: Callable[[], float] = time.monotonic,
    began: float | None = None,
) -> Quantised:
    """Train, or go on from `checkpoint` where it exists, and return the averaged model, quantised.

    Args:
        start: weights to start from, of the same config.
        journal: gets a row for every report, and others about the run.
        clock: seconds; the time limit counts from `began` on, to the last checkpoint.
    Raises: Stopped; TrainingError for a checkpoint of another run, when nothing can be learned, or when another process is gone;
    CorruptDataError for a broken checkpoint; OSError when one cannot be written.
    """
    run = _Run(
        task,
        schedule,
        checkpoint,
        start,
        machine or Machine(),
        processes or Processes(),
        journal or Journal(),
        callbacks or Callbacks(),
        clock,
        clock() if began is None else began,
    )
    cuda = run.machine.device.type == "cuda"
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[run.machine.device] if cuda else []))
        if cuda:  # every step has the same shapes: let cuDNN try its algorithms once
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True))
        run.prepare()
        run.go()
    set_quantised(run.trainer.average, True)
    return run.trainer.average


@dataclass
class _Run:
    """The arguments of `train`, and what they become."""

    task: TrainingTask
    schedule: Schedule
    checkpoint: Path
    start: Weights | None
    machine: Machine
    processes: Processes
    journal: Journal
    callbacks: Callbacks
    clock: Callable[[], float]
    began: float
    seconds_before: float = 0.0  # of earlier sessions
    saved_at: float = 0.0
    pace: Pace = field(default_factory=Pace)

    def prepare(self) -> None:
        """Make or restore all that the steps need."""
        schedule, machine = self.schedule, self.machine
        saved = self.processes.from_first(lambda: checkpoints.load(self.checkpoint, self.identity()))
        torch.manual_seed(schedule.seed)
        self.trainer = Trainer(
            self.task.make(self.start).to(machine.device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            schedule,
            float32=machine.float32,
            compiled=saved["compiled"]
            if saved and machine.compiled is None
            else machine.pays_to_compile(schedule, self.task.sample_px(schedule)),
            processes=self.processes,
            note=self.callbacks.note,
        )
        self.batches = self.task.batches(schedule, self.processes)
        self.journal.begin(json.loads(saved["rows"]) if saved else [])
        self._journal("start", **self._about())
        if saved:
            self.trainer.restore(saved)
            self.seconds_before = saved["seconds"]
        self.budget = make_budget(schedule, self.seconds, self.pace, saved)
        self.saved_at = self.clock()
        limit = f"{schedule.steps} steps" if schedule.steps else f"{schedule.minutes:g} minutes"
        self.callbacks.note(f"{f'going on after step {self.trainer.step}' if saved else 'training'}: {limit} in all")

    def go(self) -> None:
        """All steps that are left."""
        trainer, schedule, budget = self.trainer, self.schedule, self.budget
        with closing(batches_from(self.batches, trainer.step, self.machine.device, self.machine.workers)) as batches:
            while budget.share < 1:
                quantised = schedule.quantised_at(budget.share)
                rate, kl_weight = schedule.rate_at(trainer.step, budget.share), schedule.kl_weight_at(budget.share)
                signals, began = self._signals(), self.clock()
                x, noise = next(batches)
                stop, abandoned, *told = trainer.advance(
                    x, noise, quantised=quantised, rate=rate, kl_weight=kl_weight, signals=signals
                )
                self.pace.add_step(quantised, self.clock() - began)
                if budget.advance(trainer.step, told):
                    self._report(quantised, rate, kl_weight)
                elif stop or abandoned or self.clock() - self.saved_at > CHECKPOINT_SECONDS:
                    self._save()
                self.callbacks.step(functools.partial(self.status, quantised))
                if abandoned and budget.share < 1:
                    raise TrainingError(f"stopped after step {trainer.step}: the torchrun of a process of the run has ended")
                if stop and budget.share < 1:
                    raise Stopped(trainer.step, budget.remaining(trainer.step)[0])
        self._journal("end", step=trainer.step, seconds=self.seconds())
        self.callbacks.note(f"{trainer.step} steps done, {self.seconds():.1f} s from the start to the last checkpoint")

    def seconds(self) -> float:
        """Since the run began, in all sessions."""
        return self.seconds_before + self.clock() - self.began

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return {
            **self.task.identity(),
            "schedule": asdict(self.schedule),
            "start": self.start.hash.hex() if self.start else None,
            "float32": self.machine.float32,
        }

    def status(self, quantised: bool) -> Status:
        """After a step with rounding or without."""
        steps, seconds = self.budget.remaining(self.trainer.step)
        return Status(self.trainer.step, steps, quantised, seconds, self.trainer.means())

    def _signals(self) -> list[float]:
        """What this process tells all others: whether to stop, for one reason or the other, and the first what its budget says."""
        told = self.budget.look()
        return [
            float(self.callbacks.stop()),
            float(self.processes.abandoned),
            *(told if self.processes.first else [0.0] * len(told)),
        ]

    def _report(self, quantised: bool, rate: float, kl_weight: float) -> None:
        trainer, began = self.trainer, self.clock()
        for name in sorted({*keep_exact(trainer.model), *keep_exact(trainer.average)}):
            self.callbacks.note(f"step {trainer.step}: weights of {name} were shrunk to what integers can add up exactly")
        if not trainer.summed:
            raise TrainingError(f"none of the last {trainer.skipped} steps had a finite gradient: try a lower rate")
        status = self.status(quantised)
        row = {"step": trainer.step, "steps": status.steps, "quantised": quantised, "rate": rate, "kl_weight": kl_weight}
        row |= {**trainer.means(), "skipped": trainer.skipped}
        if self.processes.first:
            set_quantised(trainer.average, quantised)
            rates = self.task.evaluate(trainer.average, autocast=not self.machine.float32)
            row |= {f"valid_{name}": value for name, value in rates.items()}
        self._journal("report", **row)
        trainer.clear()
        self._save()
        self.journal.draw(self.callbacks.note)
        self.pace.add_report(self.clock() - began)
        self.callbacks.report(row, status)

    def _save(self) -> None:
        if self.processes.first:
            state = {**self.identity(), **self.trainer.state(), "budget": self.budget.state(), "seconds": self.seconds()}
            state |= {"compiled": self.trainer.compiled, "rows": json.dumps(self.journal.rows)}
            checkpoints.save(self.checkpoint, state)
        self.saved_at = self.clock()

    def _journal(self, kind: str, **row: Any) -> None:
        self.journal.add({"kind": kind, **row})

    def _about(self) -> dict[str, Any]:
        """The run and its machine, for the journal."""
        device = self.machine.device
        about: dict[str, Any] = self.identity()
        about |= {**self.task.counts(), "processes": self.processes.size}
        about |= {"compiled": self.trainer.compiled, "torch": torch.__version__, "threads": torch.get_num_threads()}
        about |= {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"}
        return about
