"""Every number in the README, the model cards and DECISIONS.md is in committed JSON, or stands in ALLOWED with a reason.

What stands between the marks `<!-- results -->` and `<!-- end of results -->` is written by report.py, and must be what it writes.
Elsewhere a comment names the files of benchmarks/results that the numbers after it are from, up to the next such comment::

    <!-- figures: table-kodak.json latents-kodak.json -->

A number agrees with a value that is rounded to its digits, in per cent, thousands or millions where it says so. Lists of numbers,
which have the figures of single images, are left out: in those, one would find any number. So are code and addresses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .report import BEGIN, END, RESULTS, blocks

ROOT = RESULTS.parent.parent
FILES = ("README.md", "bbans/models/DECISIONS.md", "bbans/models/weights/*.md")
NOT_CLAIMS = ("bbans/models/weights/NOTICE.md",)
"""It names photos and licences."""

_NUMBER = re.compile(r"(?<![\w.,#/^-])([-+−]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?![\w/]|\.\d)(?: ?(%|thousand|million))?")
_CODE = re.compile(r"```.*?```|`[^`]{1,400}`|\]\([^)]*\)|<!--.*?-->|https?://\S+", re.DOTALL)
_SCOPE = re.compile(r"<!-- figures: ([^>]*?) ?-->")
_UNITS = {"": 1.0, "%": 100.0, "thousand": 1e-3, "million": 1e-6}


@dataclass(frozen=True)
class Allowed:
    """Numbers that are no results: those inside what `pattern` finds in the files that `files` matches."""

    files: str
    pattern: str
    reason: str


CARDS, DECISIONS = "bbans/models/weights/*.md", "bbans/models/DECISIONS.md"
ALLOWED = (
    Allowed(
        "*", r"\d+ x \d+( and \d+ x \d+)?|\b\d+-bit\b|\b\d+ bits\b(?! (a|per) )|effort \d+", "sizes, bits of a sample, settings"
    ),
    Allowed("README.md", r"Python \d+\.\d+", "a version"),
    Allowed("README.md", r"\((N, )?(H, W|\d+, \d+)(, \d)?\)", "shapes of arrays"),
    Allowed("README.md", r"[\d,]+ lines of C|\d+ % of a quick|\d+ bytes larger", "sizes and limits that the code has"),
    Allowed("README.md", r"It is \d+ MB on Linux: [^.]*\.|it is \d+\sMB:", "what pip writes"),
    Allowed("README.md", r"Exit codes:[^.]*\.|exits with \d", "exit codes"),
    Allowed(CARDS, r"^\| (sizes|latents|parameters|weights|data|training|the same by the command) \|.*", "how it was made"),
    Allowed(CARDS, r"^\d+\. photo-\d: .*|^ {3}.*", "how it was trained"),
    Allowed(DECISIONS, r"section \d\.\d|\d+ channels|\d+ MiB", "where it is, and sizes"),
    Allowed(CARDS, r"^\d+ crops \(\d+ million pixels\).*|^\d+ x \d+ pixels,.*", "what it was trained on"),
)


@dataclass(frozen=True)
class Problem:
    """A number without a source, or a block that is not what the JSON gives."""

    file: str
    line: int
    text: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}: {self.what}"


def texts(root: Path = ROOT) -> dict[str, str]:
    """The files that are checked, by their path from the root."""
    paths = sorted(path for pattern in FILES for path in root.glob(pattern))
    named = {path.relative_to(root).as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in named.items() if name not in NOT_CLAIMS}


def check(files: Mapping[str, str]) -> list[Problem]:
    """The problems of files, by their path from the root."""
    generated = blocks()
    return [problem for name, text in files.items() for problem in (*_block(name, text, generated), *_numbers(name, text))]


def _block(name: str, text: str, generated: Mapping[str, str]) -> Iterator[Problem]:
    begin, end = text.find(BEGIN), text.find(END)
    if name not in generated and begin < 0:
        return
    if begin < 0 or end < begin:
        yield Problem(name, 1, BEGIN, "the marks of the results are missing")
        return
    stands = text[begin + len(BEGIN) : end].strip("\n").splitlines()
    expected = generated.get(name, "").strip("\n").splitlines()
    if stands != expected:
        index = next((i for i, (a, b) in enumerate(zip(stands, expected, strict=False)) if a != b), min(len(stands), len(expected)))
        line = text[:begin].count("\n") + 2 + index
        yield Problem(
            name, line, stands[index] if index < len(stands) else END, "not what the JSON gives: python -m benchmarks report"
        )


def _numbers(name: str, text: str) -> Iterator[Problem]:
    """The numbers outside of blocks, code and addresses that have no source."""
    text = re.sub(f"{BEGIN}.*?{END}", _blank, text, flags=re.DOTALL)
    scopes = [(match.start(), match[1].split()) for match in _SCOPE.finditer(text)]
    allowed = [rule.pattern for rule in ALLOWED if fnmatch(name, rule.files)]
    spans = [match.span() for pattern in allowed for match in re.finditer(pattern, text, re.MULTILINE)]
    for match in _NUMBER.finditer(_CODE.sub(_blank, text)):
        if any(begin <= match.start() and match.end(2) <= end for begin, end in spans):
            continue
        before = [names for begin, names in scopes if begin < match.start()]
        sources = before[-1] if before else []
        if not any(_agrees(match, value) for source in sources for value in values(source)):
            line = text[: match.start()].count("\n") + 1
            yield Problem(name, line, match[0], f"it is not in {', '.join(sources) or 'any JSON that the file names'}")


def _blank(match: re.Match[str]) -> str:
    """As many lines and columns, without content."""
    return re.sub(r"[^\n]", " ", match[0])


def _agrees(match: re.Match[str], value: float) -> bool:
    sign, digits, unit = match[1], match[2].replace(",", ""), match[3] or ""
    decimals = len(digits.partition(".")[2])
    if sign and (value < 0) != (sign in "-−"):
        return False
    return bool(abs(abs(value) * _UNITS[unit] - float(digits)) <= 0.5 * 10**-decimals + 1e-9)


def values(source: str) -> set[float]:
    """All numbers of a file of results, but for those in lists of numbers; none where there is no such file."""
    path = RESULTS / source
    text = path.read_text() if path.exists() else "{}"
    lines = text.splitlines() if source.endswith(".jsonl") else [text]
    return {number for line in lines for number in _leaves(json.loads(line))}


def _leaves(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                yield from _leaves(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)
