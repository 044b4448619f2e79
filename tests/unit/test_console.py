"""What a training run says of itself: one line that changes on a terminal; elsewhere lines that never stay away for minutes."""

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from vaezip_cli import progress
from vaezip_cli.console import Console, Interruption, describe
from vaezip_cli.progress import ProgressLine, Ticker

from bbans.training.callbacks import Status

MEANS = {"loss": 3.25, "train": 3.125}


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal of 30 columns as stderr. Not a fixture: pytest puts its own stderr in place after those."""
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((30, 24)))
    with contextlib.redirect_stderr(Terminal()) as stderr:
        yield stderr


def status(step: int, means: dict[str, float] = MEANS) -> Callable[[], Status]:
    return lambda: Status(step, 90, step > 45, 3130.0, means)


def test_describe() -> None:
    assert describe(status(3)(), MEANS, None) == "step 3/90, 52 min 10 s to go: loss 3.2500, train 3.1250 bits/dim"
    assert describe(status(46)(), MEANS, 3.5).endswith("train 3.1250 bits/dim, valid 3.5000, rounding")


def test_without_a_terminal_lines_come_at_least_each_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    console = Console(Interruption(), quiet=False, clock=clock)
    times = []
    console.note("loading")
    assert capsys.readouterr().err == "vaezip: loading\n"
    for second in range(1, 400):
        clock.now = float(second)
        if second < 20:
            console.progress("reading pictures", second, 20)
        else:
            console.step(status(second))
        if capsys.readouterr().err.count("\n"):
            times.append(second)
    assert times == [5, 15, 35, 75, 135, 195, 255, 315, 375]
    console.report({**MEANS, "valid_neg_elbo": 3.5}, status(400)())
    assert capsys.readouterr().err == "vaezip: " + describe(status(400)(), MEANS, 3.5) + "\n"
    clock.now += 500
    console.step(status(401, {"loss": 0.0}))  # right after a report there are no means
    assert capsys.readouterr().err == ""


def test_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with terminal(monkeypatch) as stderr:
        console = Console(Interruption(), quiet=True, clock=clock)
        console.note("loading")
        clock.now = 1000.0
        console.step(lambda: pytest.fail("it costs a wait for the device"))
        console.report({**MEANS}, status(5)())
    assert stderr.getvalue() == ""


def test_on_a_terminal_one_line_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with terminal(monkeypatch) as stderr:
        console = Console(Interruption(), quiet=False, clock=clock)
        console.progress("reading pictures", 1, 20)
        console.progress("reading pictures", 2, 20)  # within the same second
        clock.now = 1.5
        console.step(status(7))
        assert stderr.getvalue() == "\r\x1b[Kreading pictures: 1 of 20\r\x1b[Kstep 7/90, 52 min 10 s to go:"  # 29 columns
        console.note("a note")
    assert stderr.getvalue().endswith("\r\x1b[Kvaezip: a note\n")


def test_what_takes_long_is_said_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """While a step is compiled nothing calls the console."""
    clock = Clock()
    console = Console(Interruption(), quiet=False, clock=clock)
    console.note("compiling")
    assert capsys.readouterr().err == "vaezip: compiling\n"
    said = {}
    for second in range(1, 200):
        clock.now = float(second)
        console.still()
        said[second] = capsys.readouterr().err
    assert {second: text for second, text in said.items() if text} == {
        60: "vaezip: compiling: 1 min 00 s so far\n",
        120: "vaezip: compiling: 2 min 00 s so far\n",
        180: "vaezip: compiling: 3 min 00 s so far\n",
    }
    with terminal(monkeypatch) as stderr:
        console = Console(Interruption(), quiet=False, clock=clock)
        console.note("compiling")
        for _ in range(7):
            clock.now += 1
            console.still()
    assert stderr.getvalue() == "vaezip: compiling\n" + "".join(f"\r\x1b[Kcompiling: {n} s so far" for n in (5, 6, 7))


def test_a_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()
    monkeypatch.setattr(Console, "still", lambda self: called.set())
    with Console(Interruption(), quiet=True):
        assert called.wait(60)


def test_ticker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes less than a second needs no line."""
    clock = Clock()
    with terminal(monkeypatch) as stderr:
        ticker = Ticker(quiet=False, clock=clock)
        ticker("packing", 1, 9)
        assert stderr.getvalue() == ""
        clock.now = 1.0
        ticker("packing", 2, 9)
        ticker("packing", 3, 9)
        assert stderr.getvalue() == "\r\x1b[Kpacking: 2 of 9"
        ticker.clear()
        ticker.clear()
    assert stderr.getvalue() == "\r\x1b[Kpacking: 2 of 9\r\x1b[K"


def test_no_line_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(quiet=False, patience_seconds=0.0)
    line.show("text")
    line.clear()
    assert not line.due and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3600 * 30 + 61, "30 h 01 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
