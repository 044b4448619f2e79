"""Runs targets on made inputs in child processes, and notes what must not happen.

::

    read       the input was taken, and all that is said of it holds
    refused    an error of ours
    wrong      another picture or message came back
    untyped    an exception of another kind
    memory     the process grew by more than the limit
    time       more seconds of the processor than the limit, or no end at all
    died       the process was killed by a signal

The input with a number is made from the seed, the target's name and that number alone, so each can be made again on any machine.

A generator of our own in place of a fuzzer that watches which branches are taken (atheris, which builds for few Pythons and needs
clang): the inputs are made of the formats' own fields, which such a tool would have to find first, and the same run can be had
again anywhere without installing anything. POSIX only: it takes fork and limits of processes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from bbans.errors import BbansError, VerifyError

OUTCOMES = ("read", "refused")
FAULTS = ("wrong", "untyped", "memory", "time", "died")


class Wrong(Exception):
    """Something else came back than what is promised."""


@dataclass(frozen=True)
class Limits:
    """For one input: `memory_bytes` beyond what the process takes before it, and seconds of the processor."""

    memory_bytes: int = 256 << 20
    address_bytes: int = 2 << 30
    seconds: float = 5.0
    waited_seconds: float = 120.0


@dataclass(frozen=True)
class Target:
    """What is tried.

    `make` gives an input; `check` takes it, and raises Wrong where what comes back is not what was promised, or an error of ours.
    `share` of all inputs, in thousandths. `expected` are the errors that it may raise.
    """

    name: str
    share: int
    make: Callable[[Random], Any]
    check: Callable[[Any], None]
    expected: tuple[type[BaseException], ...] = (BbansError,)
    limits: Limits = field(default_factory=Limits)

    def input(self, seed: int, number: int) -> Any:
        """The input of that number."""
        return self.make(Random(f"{seed}/{self.name}/{number}"))


class Finding(NamedTuple):
    """An input that did what none may do."""

    target: str
    number: int
    fault: str
    message: str


@dataclass
class Tally:
    """What became of a target's inputs, and the most that one of them took."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    grown_bytes: int = 0
    seconds: float = 0.0


class _Shared(ctypes.Structure):
    """What a child has done so far; it stays when the child dies."""

    _fields_ = (
        ("number", ctypes.c_int64),  # of the input at hand
        ("counts", ctypes.c_int64 * len((*OUTCOMES, *FAULTS))),
        ("grown_bytes", ctypes.c_int64),
        ("seconds", ctypes.c_double),
    )


def run(target: Target, seed: int, start: int, stop: int, batch: int = 2000) -> Tally:
    """Try the inputs start .. stop - 1."""
    tally = Tally()
    context = multiprocessing.get_context("fork")
    while start < stop:
        shared = context.Value(_Shared, lock=False)
        shared.number = start
        receiver, sender = context.Pipe(duplex=False)
        with tempfile.TemporaryFile() as last_words:
            child = context.Process(target=_child, args=(target, seed, min(start + batch, stop), shared, sender, last_words))
            child.start()
            sender.close()
            fault = _wait(tally, receiver, child, shared, target.limits.waited_seconds)
            last_words.seek(0)
            if fault:
                fault = fault[0], f"{fault[1]}\n{last_words.read().decode(errors='replace')[:3000]}".strip()
        receiver.close()
        tally.outcomes.update(dict(zip((*OUTCOMES, *FAULTS), shared.counts, strict=True)))
        tally.grown_bytes, tally.seconds = max(tally.grown_bytes, shared.grown_bytes), max(tally.seconds, shared.seconds)
        start = shared.number
        if fault:
            tally.findings.append(Finding(target.name, start, *fault))
            tally.outcomes[fault[0]] += 1
            start += 1
    return tally


def _wait(tally: Tally, receiver: Any, child: Any, shared: Any, patience: float) -> tuple[str, str] | None:
    """Take a child's findings until it ends. Returns the fault of the input at hand, if it did not end well."""
    seen, since = shared.number, time.monotonic()
    while True:
        try:
            while receiver.poll(0.2):
                tally.findings.append(receiver.recv())
        except EOFError:
            child.join()
            return None if child.exitcode == 0 else ("died", f"exit code {child.exitcode}")
        if shared.number != seen:
            seen, since = shared.number, time.monotonic()
        elif time.monotonic() - since > patience:
            child.kill()
            child.join()
            return "time", f"no end within {patience:g} seconds"


def _child(target: Target, seed: int, stop: int, shared: Any, sender: Any, last_words: Any) -> None:
    limits, places = target.limits, {name: place for place, name in enumerate((*OUTCOMES, *FAULTS))}
    faulthandler.enable(last_words)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries say there what they think of broken files
    _limit(limits)
    base = _peak_bytes()
    while shared.number < stop:
        begun = time.process_time()
        outcome, message = attempt(target, seed, shared.number)
        seconds = time.process_time() - begun
        if outcome in OUTCOMES and seconds > limits.seconds:
            outcome, message = "time", f"{seconds:.1f} seconds"
        shared.grown_bytes, shared.seconds = max(shared.grown_bytes, _peak_bytes() - base), max(shared.seconds, seconds)
        too_large = shared.grown_bytes > limits.memory_bytes
        if too_large:
            outcome, message = "memory", f"{shared.grown_bytes >> 20} MiB more"
        if outcome not in OUTCOMES:
            sender.send(Finding(target.name, shared.number, outcome, message))
        shared.counts[places[outcome]] += 1
        shared.number += 1
        if too_large:  # the mark stays where it is: the next input needs another process
            break


def attempt(target: Target, seed: int, number: int) -> tuple[str, str]:
    """(outcome, message) of an input."""
    case = target.input(seed, number)
    try:
        target.check(case)
    except (Wrong, VerifyError) as error:
        return "wrong", str(error)
    except BaseException as error:
        if _ran_out(error):
            return "memory", "an allocation failed"
        if isinstance(error, target.expected):
            return "refused", str(error)
        return "untyped", "".join(traceback.format_exception(error)[-6:])
    return "read", ""


def _ran_out(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _limit(limits: Limits) -> None:
    if sys.platform == "linux":
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak is what there is now: a child begins with its parent's, files of libraries included
    if sys.platform == "linux" and "BBANS_CORE" not in os.environ:  # with sanitizers it takes terabytes of addresses
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + limits.address_bytes,) * 2)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
