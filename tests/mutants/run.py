"""Puts one mistake at a time into a copy of the code, and prints which tests see it: `make mutants`, or

::

    python -m tests.mutants.run [WORD...]      only those mutations that have one of these words in what they are said to do

The named tests are run once on the copy as it is: what they refuse then says nothing of a mutation. Exit code: 1 if a mutation
lives, no longer matches the code, or breaks it before a test runs.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "tutorial-output", "*.ckpt")
LIMIT_S = 600  # of the clock: what runs for longer goes round in circles
TESTS_FAILED = 1  # an exit code of pytest; those above say that no test has failed
KILLED, OUT_OF_TIME, LIVES, NO_MATCH, BROKEN = "killed", "killed (out of time)", "LIVES", "NO MATCH", "BROKEN"
COLUMNS = ("mutation", "in", "result", "by", "CPU s")


@dataclass(frozen=True)
class Outcome:
    """What became of a mutation, and the test that saw it."""

    result: str
    by: str = ""

    @property
    def seen(self) -> bool:
        return self.result in (KILLED, OUT_OF_TIME)


def main(words: Sequence[str], mutations: Sequence[Mutation] = MUTATIONS, root: Path = ROOT) -> int:
    chosen = [mutation for mutation in mutations if not words or any(word in mutation.what for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(shutil.copytree(root, Path(folder) / "tree", ignore=NOT_COPIED))
        whole = pytest(tree, sorted({test for mutation in chosen for test in mutation.tests}))
        if whole.result != LIVES:
            print(f"mutants: the tests do not pass on the code as it is: {whole.by or whole.result}", file=sys.stderr)
            return 1
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        outcomes = []
        for mutation in chosen:
            before = cpu_s()
            outcomes.append(outcome := try_one(tree, mutation))
            cells = mutation.what, mutation.file, outcome.result, outcome.by, f"{cpu_s() - before:.1f}"
            print(f"| {' | '.join(cells)} |", flush=True)
    seen = sum(outcome.seen for outcome in outcomes)
    print(f"\n{seen} of {len(chosen)} killed, {cpu_s():.0f} CPU s")
    return int(seen < len(chosen))


def try_one(tree: Path, mutation: Mutation) -> Outcome:
    """Apply a mutation, run its tests, and take it back."""
    path = tree / mutation.file
    text = path.read_text() if path.exists() else ""
    mutated = text
    for old, new in mutation.edits:
        if mutated.count(old) != 1:
            return Outcome(NO_MATCH, f"{mutated.count(old)} times: `{old.strip()}`")
        mutated = mutated.replace(old, new)
    compiled = path.suffix in (".c", ".h")
    try:
        write(path, mutated)
        if compiled and not build(tree):
            return Outcome(BROKEN, "does not compile")
        return pytest(tree, mutation.tests)
    finally:
        write(path, text)
        if compiled:
            build(tree)


def write(path: Path, text: str) -> None:
    """Replace a file. Python takes byte code for that of a source of the same size and second, so there must be none."""
    path.write_text(text)
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)


def build(tree: Path) -> bool:
    """Compile the core of the copy."""
    return subprocess.run([sys.executable, "bbans/_core/build_core.py"], cwd=tree, capture_output=True).returncode == 0


def pytest(tree: Path, tests: Sequence[str]) -> Outcome:
    """Run tests in the copy, which comes before an installed package of the same name, up to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return Outcome(OUT_OF_TIME)
    if done.returncode == 0:
        return Outcome(LIVES)
    failed = re.search(r"^(?:FAILED|ERROR) (?:\S*/)?(\S+?)(?:\[| - |$)", done.stdout, re.MULTILINE)
    if done.returncode != TESTS_FAILED or failed is None:
        return Outcome(BROKEN, (done.stdout + done.stderr).strip().splitlines()[-1])
    return Outcome(KILLED, failed[1])


def cpu_s() -> float:
    """Of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    start = time.monotonic()
    code = main(sys.argv[1:])
    print(f"{time.monotonic() - start:.0f} s of the clock")
    sys.exit(code)
