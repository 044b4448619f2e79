"""Parts of training: the schedule, how many steps a time limit allows, optimisers, the journal and its curve."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bbans.exact.qat import QConv
from bbans.training import trainer
from bbans.training.callbacks import Callbacks, Status
from bbans.training.data.photos import Photo
from bbans.training.journal import Journal, draw
from bbans.training.loop import Machine, train
from bbans.training.optimisers import Muon, make_optimiser, orthogonal
from bbans.training.schedule import Schedule
from bbans.training.tasks import photo as photo_task
from bbans.training.tasks.photo import PhotoTask
from bbans.training.time_budget import Pace, first_plan, second_plan
from tests.models import TINY, picture, random_vae

pytestmark = pytest.mark.usefixtures("one_torch_thread")


# The schedule


def test_schedule() -> None:
    schedule = Schedule(steps=1000, rate=1.0, warm_up=10)
    plan = schedule.plan(1000)
    rates = [schedule.rate_at(step, plan) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[500] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert schedule.kl_weight_at(0, plan) == pytest.approx(0.1)
    assert schedule.kl_weight_at(100, plan) == pytest.approx(0.55)
    assert schedule.kl_weight_at(200, plan) == schedule.kl_weight_at(999, plan) == 1.0
    assert [plan.quantised(step) for step in (0, 499, 500, 999)] == [False, False, True, True]
    assert (plan.every, schedule.plan(50_000).every, replace(schedule, every=7).plan(50).every) == (100, 1000, 7)
    assert plan.final and not Schedule(minutes=3).plan(5).final


def test_a_second_plan_changes_only_what_is_to_come() -> None:
    schedule = Schedule(minutes=5, rate=1.0, decay_from=0.4, quantise_from=0.3)
    plan = schedule.plan(1000)
    assert plan.replan_at == 400 + 30
    for steps in (800, 1000, 3000):
        other = plan.replanned(steps)
        assert other.final and other.steps == steps
        for step in range(401):
            assert schedule.rate_at(step, plan) == schedule.rate_at(step, other)
            assert schedule.kl_weight_at(step, plan) == schedule.kl_weight_at(step, other)
            assert plan.quantised(step) == other.quantised(step)
        before, after = schedule.rate_at(plan.replan_at - 1, plan), schedule.rate_at(plan.replan_at, other)
        assert before == pytest.approx(after, abs=0.02)
        assert schedule.rate_at(steps - 1, other) == pytest.approx(0.01, abs=1e-2)
    late = replace(schedule, quantise_from=0.715).plan(1000)  # half way between there and the end
    assert late.replanned(2430).quantise_start == 430 + 1000


@pytest.mark.parametrize(("plain", "rounded", "report"), [(0.4, 0.6, 3.0), (1.0, 1.0, 0.0), (0.01, 0.03, 40.0)])
@pytest.mark.parametrize("minutes", [0.5, 2, 60])
def test_first_plan_fills_the_time(plain: float, rounded: float, report: float, minutes: float) -> None:
    schedule = Schedule(minutes=minutes, quantise_from=0.7)
    plan = first_plan(schedule, Pace(plain, rounded, report), 60 * minutes)
    reports = math.ceil(plan.steps / plan.every)
    seconds = plan.quantise_start * plain + (plan.steps - plan.quantise_start) * rounded + reports * report
    step_seconds = max(plain, rounded)
    assert 60 * minutes - 3 * step_seconds <= seconds <= 60 * minutes or plan.steps == 1
    assert reports == 1 or reports * report <= 0.06 * 60 * minutes
    assert not plan.final


def test_no_time_left_is_one_step_or_a_tenth_of_the_decay() -> None:
    pace = Pace(1.0, 1.0, 1.0)
    plan = first_plan(Schedule(minutes=1), pace, -5.0)
    assert plan.steps == 1
    plan = Schedule(minutes=1).plan(1000)
    assert second_plan(plan, pace, plan.replan_at, -5.0).steps == plan.replan_at + round(0.1 * (1000 - plan.replan_at))


def test_pace_is_what_is_observed() -> None:
    pace = Pace(1.0, 1.5, 2.0)
    assert (pace.step(False), pace.step(True)) == (1.0, 1.5)
    pace.observe("plain", 1000.0)  # the first may compile
    for _ in range(3):
        pace.observe("plain", 2.0)
    assert (pace.step(False), pace.step(True)) == (2.0, 3.0)
    for _ in range(6):
        pace.observe("rounded", 5.0)
    assert pace.step(True) == 5.0
    assert pace.seconds_of_report() == 2.0
    pace.observe("report", 4.0)
    assert pace.seconds_of_report() == 4.0
    assert Pace(**pace.measured()).step(True) == 1.5


class Clock:
    """Seconds that pass only where `slow` says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def slow(self, function: Callable[..., Any], seconds: Callable[..., float]) -> Callable[..., Any]:
        def slower(*arguments: Any, **named: Any) -> Any:
            self.now += seconds(*arguments, **named)
            return function(*arguments, **named)

        return slower


@pytest.mark.parametrize("load", [1.0, 1.3, 0.8])
def test_minutes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float) -> None:
    """Within 5 %, by a clock of which everything takes its share; also when the machine gets slower or faster on the way."""
    clock = Clock()
    forms: dict[bool, int] = {}

    def advance(self: trainer.Trainer, *_: Any, quantised: bool, **__: Any) -> bool:
        forms[quantised] = forms.get(quantised, 0) + 1
        clock.now += 20.0 if forms[quantised] == 1 else 0.0  # it compiles
        clock.now += (0.15 if quantised else 0.1) * (load if clock.now > 1075 else 1.0)
        self.step += 1
        self.summed += 1
        return False

    monkeypatch.setattr(trainer.Trainer, "advance", advance)
    monkeypatch.setattr(photo_task, "evaluate", clock.slow(lambda *_, **__: {"neg_elbo": 1.0, "kl": 0.0}, lambda *_, **__: 2.0))
    photos = [Photo(Path("x"), "0", picture(32, 32))]
    remaining: list[float] = []
    journal = Journal(tmp_path / "model.jsonl")

    class Watching(Callbacks):
        def status(self, status: Callable[[], Status]) -> None:
            remaining.append(clock.now + status().remaining_seconds)

    began = clock()
    clock.now += 7.0  # imports and pictures
    schedule = Schedule(minutes=5, batch=1, side=16)
    options: dict[str, Any] = {"machine": Machine(float32=True, workers=0), "clock": clock, "began": began}
    train(PhotoTask(photos, photos, TINY), schedule, tmp_path / "model.ckpt", journal=journal, callbacks=Watching(), **options)
    seconds = clock.now - began
    assert abs(seconds - 300) < 0.05 * 300
    assert abs(remaining[-1] - clock.now) < 5
    plans = [row for row in journal.rows if row["kind"] == "plan"]
    assert [plan["final"] for plan in plans] == [False, True]
    assert plans[0]["decay_start"] == plans[1]["decay_start"] < plans[1]["steps"]
    assert (plans[0]["steps"] > plans[1]["steps"]) == (load > 1) or load == 1
    [end] = [row for row in journal.rows if row["kind"] == "end"]
    assert end["seconds"] == seconds


def test_a_plan_of_minutes_trains_as_one_of_steps(tmp_path: Path) -> None:
    """Measuring leaves nothing behind."""
    photos = [Photo(Path("x"), "0", picture(32, 32))]
    machine = Machine(float32=True, workers=0)
    journal = Journal(tmp_path / "model.jsonl")
    by_time = train(
        PhotoTask(photos, [], TINY), Schedule(minutes=0.02, batch=1, side=16), tmp_path / "a.ckpt", machine=machine, journal=journal
    )
    steps = next(row["steps"] for row in reversed(journal.rows) if row["kind"] == "plan")
    if [row["steps"] for row in journal.rows if row["kind"] == "plan"] == [steps, steps]:
        by_steps = train(PhotoTask(photos, [], TINY), Schedule(steps=steps, batch=1, side=16), tmp_path / "b.ckpt", machine=machine)
        for name, value in by_time.state_dict().items():
            assert torch.equal(value, by_steps.state_dict()[name]), name


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
    assert Machine(compiled=compiled).pays_to_compile(Schedule(steps=steps, minutes=minutes)) == expected


def test_no_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", lambda function: fail)
    notes: list[str] = []
    made = trainer.Trainer(random_vae(), Schedule(), float32=True, compiled=True, note=notes.append)
    x = torch.from_numpy(picture(32, 32)).permute(2, 0, 1)[None]
    for _ in range(2):
        made.advance(x, torch.full((1, 2), 0.5), quantised=False, rate=1e-3, kl_weight=1.0)
    assert made.summed == 2 and not made.compiled
    assert notes == ["torch.compile does not work here, so the steps run without it (no compiler)"]


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
