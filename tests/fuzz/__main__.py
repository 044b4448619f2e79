"""`python -m tests.fuzz`: changed files and random messages by the hundred thousand, and a table of what became of them.

Exit code: 1 if there are findings. Each names its input: `--again .vaez:1234 --out FILE` runs that one alone, and keeps its bytes.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz import kernels, ours, pictures
from tests.fuzz.harness import FAULTS, OUTCOMES, Tally, Target, attempt, run

TARGETS: dict[str, Target] = {target.name: target for target in (*kernels.TARGETS, *ours.TARGETS, *pictures.TARGETS)}
COLUMNS = ("what", "inputs", *OUTCOMES, *FAULTS, "MiB", "seconds")


def main() -> int:
    options = _options()
    if options.again:
        return _again(options)
    rows, findings = [], []
    for name in options.only or TARGETS:
        target = TARGETS[name]
        tally = run(target, options.seed, 0, options.inputs * target.share // 1000)
        rows.append(_row(name, tally))
        findings += tally.findings
        print(*([_line(COLUMNS)] if len(rows) == 1 else []), _line(rows[-1]), sep="\n", flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\nMiB and seconds: the most that one input took. {used.ru_utime + used.ru_stime:.0f} seconds of the processor in all.")
    alike: Counter[tuple[str, str, str]] = Counter()
    for finding in findings:
        kind = finding.target, finding.fault, _last_line(finding.message)
        alike[kind] += 1
        if alike[kind] == 1:
            print(f"\n{finding.target}:{finding.number} (seed {options.seed}): {finding.fault}: {finding.message}")
    for (name, fault, line), count in alike.items():
        print(f"{count:>8} x {name}: {fault}: {line}")
    return 1 if findings else 0


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many, shared out among all kinds [100000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=TARGETS, help="inputs of this kind")
    parser.add_argument("--again", metavar="KIND:NUMBER", help="run one input in this process")
    parser.add_argument("--out", type=Path, help="with --again: keep the input here")
    return parser.parse_args()


def _again(options: Any) -> int:
    name, _, number = options.again.rpartition(":")
    case = TARGETS[name].input(options.seed, int(number))
    if options.out:
        data = case if isinstance(case, bytes) else getattr(case, "data", case[-1] if isinstance(case, tuple) else b"")
        options.out.write_bytes(data)
    outcome, message = attempt(TARGETS[name], options.seed, int(number))
    print(f"{outcome}: {message}")
    return 1 if outcome in FAULTS else 0


def _row(name: str, tally: Tally) -> list[str]:
    counts = [tally.outcomes[outcome] for outcome in (*OUTCOMES, *FAULTS)]
    return [name, *map(str, [sum(counts), *counts, tally.grown_bytes >> 20]), f"{tally.seconds:.2f}"]


def _last_line(message: str) -> str:
    return message.strip().rpartition("\n")[2]


def _line(cells: Any) -> str:
    return " ".join(f"{cell:>{10 if place == 0 else 8}}" for place, cell in enumerate(cells))


if __name__ == "__main__":
    sys.exit(main())
