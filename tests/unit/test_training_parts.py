"""Parts of training: the schedule, steps and time, optimisers, the journal and its curve."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bbans.exact.qat import QConv
from bbans.training import trainer
from bbans.training.journal import Journal, draw, is_of_no_use
from bbans.training.loop import Machine
from bbans.training.optimisers import Muon, make_optimiser, orthogonal
from bbans.training.schedule import Schedule
from bbans.training.time_budget import Pace, StepBudget, make_budget
from tests.models import picture, random_vae

# The schedule


def test_schedule() -> None:
    schedule = Schedule(rate=1.0, warm_up=10)
    rates = [schedule.rate_at(step, step / 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[500] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert schedule.kl_weight_at(0) == pytest.approx(0.1)
    assert schedule.kl_weight_at(0.1) == pytest.approx(0.55)
    assert schedule.kl_weight_at(0.2) == schedule.kl_weight_at(0.999) == 1.0
    assert replace(schedule, kl_until=0.0).kl_weight_at(0.0) == 1.0
    assert [schedule.quantised_at(share) for share in (0, 0.499, 0.5, 0.999)] == [False, False, True, True]
    assert not replace(schedule, quantise_from=1.0).quantised_at(0.999)


# Steps and time


def test_a_budget_of_steps() -> None:
    pace = Pace()
    budget = make_budget(Schedule(steps=7, every=3), lambda: 0.0, pace)
    shares, reports = [], []
    for step in range(1, 8):
        shares.append(budget.share)
        pace.add_step(False, 2.0)
        if budget.advance(step, budget.look()):
            reports.append(step)
        assert budget.remaining(step)[0] == 7
    assert shares == [step / 7 for step in range(7)] and budget.share == 1
    assert reports == [3, 6, 7]
    assert make_budget(Schedule(steps=7), lambda: 0.0, pace, {"step": 3}).share == 3 / 7
    assert [StepBudget(steps, None, pace).every for steps in (50, 5000, 50_000)] == [100, 100, 1000]
    pace.add_report(10.0)
    assert StepBudget(7, 3, pace).remaining(2) == (7, 5 * 2.0 + 3 * 10.0)


def test_pace_is_that_of_late() -> None:
    pace = Pace()
    assert pace.compiled
    pace.add_step(False, 1000.0)  # may compile
    assert (pace.compiled, pace.step) == (True, 0.0)
    for seconds in (1.0, 3.0):
        pace.add_step(False, seconds)
    assert (pace.compiled, pace.step) == (False, 2.0)
    pace.add_step(True, 1000.0)
    assert (pace.compiled, pace.step) == (True, 2.0)
    pace.add_step(True, 5.0)
    assert pace.step == 5.0
    for _ in range(500):
        pace.add_step(True, 1.0)
    assert pace.step == pytest.approx(1.0, abs=0.01)
    for seconds in (4.0, 2.0):
        pace.add_report(seconds)
    assert pace.report == 3.0


@dataclass
class Run:
    """What a run came to whose steps take as long as `load` says, by a clock that nothing else moves."""

    minutes: float
    load: Callable[[float], float]
    processes: int = 1
    cut: int | None = None
    now: float = 7.0  # imports and pictures
    steps: int = 0
    reports: int = 0
    shares: list[float] = field(default_factory=list)
    remaining: list[float] = field(default_factory=list)
    expected_steps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schedule = Schedule(minutes=self.minutes, rate=1.0, warm_up=5)
        pace = Pace()
        budget = make_budget(self.schedule, lambda: self.now, pace)
        while budget.share < 1:
            quantised = self.schedule.quantised_at(budget.share)
            self.shares.append(budget.share)
            told, began = budget.look(), self.now
            self.now += (0.15 if quantised else 0.1) * self.load(self.now)
            told = [float(np.float32(signal) / np.float32(self.processes) * np.float32(self.processes)) for signal in told]
            self.steps += 1
            pace.add_step(quantised, self.now - began)
            if budget.advance(self.steps, told):
                began = self.now
                self.now += 2.0 * self.load(self.now)
                pace.add_report(self.now - began)
                self.reports += 1
            steps, seconds = budget.remaining(self.steps)
            self.remaining.append(seconds)
            self.expected_steps.append(steps)
            if self.steps == self.cut:
                budget = make_budget(self.schedule, lambda: self.now, pace, {"step": self.steps, "budget": budget.state()})

    @property
    def rates(self) -> list[float]:
        return [self.schedule.rate_at(step, share) for step, share in enumerate(self.shares)]


@pytest.mark.parametrize("processes", [1, 7])
@pytest.mark.parametrize(
    "load",
    [
        lambda now: 1.0,
        lambda now: 100.0 if now < 60 else 1.0,  # somebody else has the machine when the run begins
        lambda now: 1.0 if now < 1000 else 10.0,
        lambda now: 1.0 if now < 2500 else 10.0,  # in the decay
        lambda now: 10.0 if now < 1500 else 1.0,
        lambda now: 1.0 + 3 * (now // 300 % 2),
    ],
    ids=["even", "busy at first", "slower", "slower late", "faster", "by turns"],
)
def test_minutes_are_kept_whatever_the_load(load: Callable[[float], float], processes: int) -> None:
    run = Run(60, load, processes)
    assert 0.97 * 3600 < run.now < 1.03 * 3600
    assert 5 <= run.reports <= 51
    rates = run.rates
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[-1] < 0.02
    assert max(a - b for a, b in pairwise(rates[5:])) < 0.05  # it falls in many steps
    shares = [share for share in run.shares if share < 0.5]
    assert len(shares) > 0.1 * run.steps


def test_what_is_left_is_known_on_the_way() -> None:
    run = Run(60, lambda now: 1.0)
    late = run.steps * 3 // 4  # when steps are rounded
    assert run.expected_steps[late] == pytest.approx(run.steps, rel=0.02)
    assert run.remaining[100] > run.remaining[late] > 600 > 3 > run.remaining[-2] >= run.remaining[-1] == 0


def test_a_plan_survives_a_busy_start() -> None:
    """Two cores that another process hogs for a minute made 345 steps of 140 minutes, whose decay began at the 173rd."""
    run = Run(140, lambda now: 250.0 if now < 60 else 1.0)
    quiet = Run(140, lambda now: 1.0)
    constant = [sum(share < 0.5 for share in run.shares) for run in (run, quiet)]
    assert constant[0] > 0.95 * constant[1]
    assert run.now == pytest.approx(quiet.now, rel=0.01)


def test_a_halted_run_still_decays() -> None:
    """A machine that stood still past the end: the rate falls in some more steps, and not at once."""
    run = Run(60, lambda now: 20_000.0 if 2000 < now < 2002 else 1.0)
    halted = next(step for step, (a, b) in enumerate(pairwise(run.remaining)) if a - b > 1000)
    assert run.steps - halted > 0.01 * halted
    rates = run.rates[halted:]
    assert max(a - b for a, b in pairwise(rates)) < 0.05 and rates[-1] < 0.02


def test_time_is_kept_over_sessions() -> None:
    run = Run(60, lambda now: 1.0, cut=5000)
    assert 0.97 * 3600 < run.now < 1.03 * 3600
    assert run.shares == sorted(run.shares)


def test_short_runs() -> None:
    """Of steps that take a good part of the time, or more than all of it."""
    assert Run(0.05, lambda now: 1.0).steps == 1  # the time was up before the first step
    assert Run(0.5, lambda now: 30.0).steps <= 9
    assert Run(1, lambda now: 10.0).now < 1.3 * 60 + 20  # and the last report


def test_checkpoints_with_a_plan_of_steps() -> None:
    """As they were once, for runs of minutes: the share is what the plan says, and the time that is left takes it to the end."""
    now = 1800.0
    saved = {"step": 600, "plan": {"steps": 1000}, "pace": {}}
    budget = make_budget(Schedule(minutes=60), lambda: now, Pace(), saved)
    assert budget.share == 0.6
    assert make_budget(Schedule(minutes=60), lambda: now, Pace(), {"step": 1000, "plan": {"steps": 1000}}).share == 1


@pytest.mark.parametrize(
    ("compiled", "steps", "minutes", "expected"),
    [
        (None, None, 19, False),
        (None, None, 20, True),
        (None, 100, 60, False),
        (None, 3000, 60, True),
        (True, 1, 1, True),
        (False, None, 99, False),
    ],
)
def test_what_is_compiled(compiled: bool | None, steps: int | None, minutes: float, expected: bool) -> None:
    assert Machine(compiled=compiled).pays_to_compile(Schedule(steps=steps, minutes=minutes), 64**2) == expected


def test_small_samples_are_not_compiled() -> None:
    """So many steps on images of 28 x 28 take less time than the compiler."""
    assert not Machine().pays_to_compile(Schedule(steps=1900, batch=128), 28**2)
    assert Machine().pays_to_compile(Schedule(steps=2000, batch=128), 28**2)


def test_no_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", lambda function: fail)
    notes: list[str] = []
    compiled = trainer.Trainer(random_vae(), Schedule(), float32=True, compiled=True, note=notes.append)
    x = torch.from_numpy(picture(32, 32)).permute(2, 0, 1)[None]
    for _ in range(2):
        compiled.advance(x, torch.full((1, 2), 0.5), quantised=False, rate=1e-3, kl_weight=1.0)
    assert compiled.summed == 2 and not compiled.compiled
    assert notes == [
        "compiling the step without rounding: that takes a minute or two",
        "torch.compile does not work here, so the steps run without it (no compiler)",
    ]


# Optimisers


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 30), (2, 30, 5)])
def test_orthogonal(shape: tuple[int, int, int]) -> None:
    """The singular vectors stay, the singular values come near 1."""
    torch.manual_seed(0)
    x = torch.randn(shape)
    y = orthogonal(x)
    assert y.shape == shape
    assert torch.allclose(y, orthogonal(100 * x), atol=0.03)
    values = torch.linalg.svdvals(y)
    assert 0.3 < values.min() <= values.max() < 1.3
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    turned = u.mT @ y @ v.mT
    assert torch.allclose(turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)), atol=0.05)  # bfloat16


def test_muon_treats_equal_shapes_together_and_alone_alike() -> None:
    torch.manual_seed(0)
    values, gradients = torch.randn(3, 4, 2, 3, 3), torch.randn(2, 3, 4, 2, 3, 3)
    together = [nn.Parameter(value.clone()) for value in values]
    alone = [nn.Parameter(value.clone()) for value in values]
    optimisers = [Muon(together, lr=0.1), *(Muon([parameter], lr=0.1) for parameter in alone)]
    for step in range(2):
        for parameter, other, gradient in zip(together, alone, gradients[step], strict=True):
            parameter.grad, other.grad = gradient.clone(), gradient.clone()
        for optimiser in optimisers:
            optimiser.step()
    for parameter, other, value in zip(together, alone, values, strict=True):
        assert torch.allclose(parameter, other, atol=1e-6)
        assert 0.05 < (parameter - value).norm() < 0.6
    assert optimisers[0].state_dict()["state"][0]["momentum"].shape == (4, 2, 3, 3)


def test_muon_leaves_biases_and_heads_to_adam() -> None:
    model = random_vae()
    muon, adam = (part for part, _ in make_optimiser("muon", model).parts)
    chosen = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = {id(p) for group in adam.param_groups for p in group["params"]}
    for name, module in model.named_modules():
        if isinstance(module, QConv):
            assert (id(module.weight) in chosen) == module.relu == ("out" not in name)
            assert id(module.bias) in rest
    assert chosen | rest == {id(p) for p in model.parameters()} and not chosen & rest
    with pytest.raises(ValueError, match="one of adam, muon"):
        make_optimiser("sgd", model)


# The journal

REPORTS = [{"kind": "report", "step": 10 * n, "train": 5.0 / n, "valid_neg_elbo": 5.5 / n, "quantised": n > 2} for n in range(1, 5)]


def test_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "model.jsonl")
    journal.begin([{"kind": "start", "text": "é"}])
    journal.add(REPORTS[0])
    rows = [json.loads(line) for line in (tmp_path / "model.jsonl").read_text().splitlines()]
    assert rows == journal.rows == [{"kind": "start", "text": "é"}, REPORTS[0]]
    assert journal.reports() == REPORTS[:1]
    journal.begin([])
    assert (tmp_path / "model.jsonl").read_bytes() == b""
    with pytest.raises(OSError, match="nowhere/model.jsonl cannot be written"):
        Journal(tmp_path / "nowhere" / "model.jsonl").add({})


def test_only_the_journal_of_a_run_without_a_checkpoint_is_of_no_use(tmp_path: Path) -> None:
    path = tmp_path / "model.jsonl"
    assert not is_of_no_use(path)
    start = json.dumps({"kind": "start", "schedule": {}}) + "\n"
    for text, expected in {
        "": True,
        start: True,
        start + '{"kind": "report", "st': True,
        start + 2 * '{"kind": "report"}\n': False,
        "[]": False,
        '{"kind": "start"}\n': False,
        "a line of somebody": False,
    }.items():
        path.write_text(text)
        assert is_of_no_use(path) == expected, text
    path.write_bytes(b"\xff")
    assert not is_of_no_use(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("reports", [REPORTS, REPORTS[:1], [{**row, "valid_neg_elbo": math.nan} for row in REPORTS]])
def test_curve(tmp_path: Path, reports: list[dict[str, Any]]) -> None:
    pytest.importorskip("matplotlib")
    draw(reports, tmp_path / "model.png")
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "model.png"]


def test_no_curve_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    notes: list[str] = []
    journal = Journal(None, tmp_path / "model.png")
    journal.begin(REPORTS)
    journal.draw(notes.append)
    journal.draw(notes.append)
    assert len(notes) == 1 and "pip install 'bbans[train]'" in notes[0]
    assert list(tmp_path.iterdir()) == []
