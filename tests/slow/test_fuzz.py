"""The fuzz command: it finds what it is for, and on some inputs of each kind nothing. The command that is killed and refused."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from bbans.errors import CorruptDataError
from tests.fuzz import interrupted
from tests.fuzz.harness import FAULTS, Limits, Target, Wrong, run

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it takes fork and limits of processes"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of fork, in a process that has threads
]

if sys.platform != "win32":
    from tests.fuzz.__main__ import TARGETS

LIMITS = Limits(memory_bytes=64 << 20, address_bytes=1 << 30, seconds=0.5)


def fail(error: Exception) -> None:
    raise error


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def hold(mebibytes: int) -> None:
    assert np.ones(mebibytes << 20, np.uint8).any()


def refuse_for_want_of_memory() -> None:
    """As readers do that turn every error into one of theirs."""
    try:
        hold(8 << 10)
    except MemoryError as error:
        raise CorruptDataError("it takes more memory than there is") from error


FAULTY: dict[str, Callable[[], None]] = {
    "wrong": lambda: fail(Wrong("another picture")),
    "untyped": lambda: fail(IndexError("17")),
    "memory": lambda: hold(200),
    "time": lambda: spin(0.7),
    "died": lambda: os.kill(os.getpid(), signal.SIGKILL),
}
LIKE = {"memory, hidden": ("memory", refuse_for_want_of_memory), "time without end": ("time", lambda: time.sleep(600))}


@pytest.mark.parametrize("name", [*FAULTS, *LIKE])
def test_it_finds(name: str) -> None:
    """The fifth of nine inputs does it; the others are read, or refused if their numbers are odd."""
    fault, misbehave = LIKE.get(name) or (name, FAULTY[name])
    limits = dataclasses.replace(LIMITS, waited_seconds=10) if name == "time without end" else LIMITS
    target = Target("any", 0, Random.random, lambda _: None, limits=limits)
    numbers = {target.input(7, number): number for number in range(9)}

    def check(case: float) -> None:
        if numbers[case] == 4:
            misbehave()
        if numbers[case] % 2:
            raise CorruptDataError("odd")

    tally = run(dataclasses.replace(target, check=check, expected=(CorruptDataError,)), 7, 0, 9)
    assert [(found.number, found.fault) for found in tally.findings] == [(4, fault)]
    assert +tally.outcomes == {"read": 4, "refused": 4, fault: 1}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    """Among the first inputs of each kind. `make fuzz` takes more."""
    tally = run(TARGETS[name], 0, 0, TARGETS[name].share)
    assert not tally.findings
    assert min(tally.outcomes["read"], tally.outcomes["refused"]) > 0


def test_inputs_are_made_again() -> None:
    for target in TARGETS.values():
        assert target.input(1, 2) == target.input(1, 2) != target.input(1, 3)


def test_nothing_is_lost_by_a_kill(tmp_path: Path) -> None:
    assert interrupted.kills(tmp_path, 10) == []


def test_nothing_is_lost_on_a_full_disk(tmp_path: Path) -> None:
    assert interrupted.full_disks(tmp_path, (300,)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the administrator can write anywhere")
def test_nothing_is_lost_in_a_closed_folder(tmp_path: Path) -> None:
    assert interrupted.closed_folders(tmp_path) == []


def test_a_half_file_is_found(tmp_path: Path) -> None:
    """The trial itself: a command that writes in place is caught. It kills itself, so that no machine is too slow."""
    code = "import os; file = open('a', 'wb'); file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    trial = interrupted.Trial(interrupted.Command("slow", (), program=("-c", code)), {"a": b"before"}, {"a": b"after"}, 600)
    assert trial.kill(tmp_path, 1.0) == "a is neither as it was nor as it should be"
