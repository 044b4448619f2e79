"""Rows of results: JSON, merging, stamps, and what is committed."""

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import click.testing
import pytest

from bbans.accounting import Accounting
from benchmarks import command, detail, latents, machine, report, rows, tables
from benchmarks.rows import Bound, Cost, DirtyTreeError, Row, Scatter, Speed, Stamp

STAMP = Stamp("0123456789ab", "2026-01-01", "P", 2, "Linux x86_64", {"python": "3.11"})
ROW = Row(
    "mnist", "MNIST", "PNG", "each alone", 10, 7840, 7840, 2, STAMP, bytes=1960, speed=Speed(Cost(1, 2, 3.5), Cost(1), 1, STAMP)
)
OURS = replace(
    ROW, codec="vaezip", model="m-1", accounting=Accounting(9, 3, 1, 7), bound=Bound("ab", "pure VAE", 10, 1.5, 0.01), files=(5, 6)
)


@pytest.mark.parametrize(
    "row", [ROW, OURS, replace(ROW, bytes=None, speed=None, error="E: no"), replace(ROW, stamp=replace(STAMP, commit=None))]
)
def test_rows_come_back_from_json(row: Row) -> None:
    as_json = json.loads(json.dumps(rows.to_json(row)))
    assert rows.from_json(Row, as_json) == row
    assert as_json.get("bits_per_dim") == row.bits_per_dim
    with pytest.raises(TypeError):
        rows.from_json(Row, {**as_json, "bits_per_pixel": 1})


@pytest.mark.parametrize(
    ("wall", "cpu", "text"), [(0.073, 0.114, "73 ms (114)"), (1.94, 2.8, "1.9 s (2.8)"), (3.7e-5, 4e-5, "37 µs (40)")]
)
def test_times_have_two_digits_and_no_exponent(wall: float, cpu: float, text: str) -> None:
    assert tables.time_of(Cost(10 * wall, 10 * cpu), 10) == text


def test_numbers_that_json_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        rows.dump(tmp_path / "x.json", {"error": math.nan})
    with pytest.raises(ValueError, match="Out of range float"):
        rows.write([replace(OURS, bound=Bound("ab", "pure VAE", 1, 1.5, math.nan))], tmp_path)


def test_json_is_written_by_one_function() -> None:
    """Which refuses NaN. The tutorial writes its own, with the same refusal."""
    for path in (report.README.parent / "benchmarks").glob("*.py"):
        if path.name != "rows.py":
            assert "json.dump" not in path.read_text(), path


def test_results_take_the_place_of_older_ones(tmp_path: Path) -> None:
    rows.write([ROW, OURS], tmp_path)
    [path] = rows.write([replace(ROW, bytes=1)], tmp_path)
    assert rows.read(path) == [replace(ROW, bytes=1), OURS]


def test_sizes_and_speeds_are_measured_apart(tmp_path: Path) -> None:
    """A row keeps what was not measured again, as long as its files are the same."""
    faster = Speed(Cost(0.1), Cost(0.1), 3, STAMP)
    [path] = rows.write([OURS], tmp_path)
    rows.write([replace(OURS, speed=None)], tmp_path)
    assert rows.read(path) == [OURS]
    rows.write([replace(OURS, speed=faster, bound=None)], tmp_path)
    assert rows.read(path) == [replace(OURS, speed=faster)]
    rows.write([replace(OURS, bytes=7, speed=None, bound=None)], tmp_path)
    assert rows.read(path) == [replace(OURS, bytes=7, speed=None, bound=None)]


def test_results_of_a_dirty_tree_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dirty = replace(ROW, stamp=replace(STAMP, commit="0123456789ab-dirty"))
    with pytest.raises(DirtyTreeError, match="--allow-dirty"):
        rows.write([ROW, dirty], tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(machine, "commit", lambda: "0123456789ab-dirty")
    result = click.testing.CliRunner().invoke(command.command, ["nothing", "--out", str(tmp_path)])
    assert (result.exit_code, "--allow-dirty" in result.output) == (1, True)


def test_a_tree_is_dirty_but_for_what_measuring_writes(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=A", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    assert machine.commit(tmp_path) is None
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "a.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    clean = machine.commit(tmp_path)
    assert clean is not None
    assert len(clean) == 12
    (tmp_path / "benchmarks" / "results" / "x.json").write_text("[]")
    assert machine.commit(tmp_path) == clean
    (tmp_path / "a.py").write_text("2")
    assert machine.commit(tmp_path) == f"{clean}-dirty"


def test_vnni_is_read_from_the_flags() -> None:
    assert machine.vnni("fpu avx2 avx512_vnni") is True
    assert machine.vnni("fpu avx_vnni") is True
    assert machine.vnni("fpu avx2 avx512bw") is False
    assert machine.vnni(None) is None
    assert replace(STAMP, vnni=False).machine == "P, 2 cores without VNNI"


def committed() -> list[Path]:
    return sorted(path for path in report.RESULTS.iterdir() if path.suffix in (".json", ".jsonl"))


@pytest.mark.parametrize("path", committed(), ids=lambda path: path.name)
def test_committed_results_are_strict_json_of_commits(path: Path) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{path}: {constant}")

    for text in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
        json.loads(text, parse_constant=refuse)
    assert "-dirty" not in path.read_text()


def test_committed_rows_are_rows() -> None:
    tables = report.read_tables(report.RESULTS)
    assert tables
    for row in (row for table in tables for row in table):
        assert row.stamp.commit is not None, row.key
        assert row.error is None, row.key
        assert not row.files or sum(row.files) == row.bytes, row.key
    for path in committed():
        if path.name.startswith(rows.SCATTER):
            assert rows.from_json(Scatter, json.loads(path.read_text())).code_bits
        if path.name.startswith(detail.PREFIX):
            known = detail.read(path)
            assert known is not None and known.stamp.commit is not None
        if path.name.startswith(latents.PREFIX):
            assert latents.read(path) is not None


def test_committed_pages_are_what_the_json_gives() -> None:
    for path, text in report.pages(report.RESULTS).items():
        assert path.read_text() == text, path
