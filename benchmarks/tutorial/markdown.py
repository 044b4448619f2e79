"""Markdown of results: tables, numbers, and the lines of a function."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .figures import name_of, title_of

Row = Mapping[str, Any]
Results = Mapping[str, Any]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """Columns after the first are to the right where they are numbers."""
    lines = [heads, ["---", *(["---:" if numbers else "---"] * (len(heads) - 1))], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(row: Row, key: str, form: str = ".3f") -> str:
    """Empty where there is no such figure."""
    value = row.get(key)
    return "" if value is None else format(value, form)


def signed(value: float, digits: int = 3) -> str:
    """With its sign; what rounds to zero is +0."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def rows_of(results: Results, *entries: str) -> list[Row]:
    """Of these entries, in their order in the results: by data set."""
    return [row for row in results["rows"] if row["entry"] in entries]


def by_model(results: Results, entries: Sequence[str], columns: Mapping[str, Callable[[Row], str]]) -> str:
    """A table with a line for each row of some entries, and these columns beside its data set and name."""
    lines = [
        [title_of(row["dataset"]), name_of(row), *(show(row) for show in columns.values())] for row in rows_of(results, *entries)
    ]
    return table(("data set", "model", *columns), lines)


def bits(key: str) -> Callable[[Row], str]:
    """A column of by_model."""
    return lambda row: number(row, key)


def coded(row: Row) -> str:
    """A column of by_model: the code length with its standard error."""
    return f"{row['code_length_bits']:.3f} ± {row['code_length_error']:.3f}"


def source_of(shown: Sequence[Callable[..., Any]]) -> str:
    """The source of functions and methods. Before methods a comment has the name of their class."""
    parts, last = [], ""
    for one in shown:
        owner = one.__qualname__.rpartition(".")[0]
        parts.append((f"# {owner}\n" if owner not in ("", last) else "") + lines_of(one))
        last = owner
    return "\n\n\n".join(parts)


def lines_of(shown: Callable[..., Any]) -> str:
    """The source of a function or method, without its docstring."""
    source = textwrap.dedent(inspect.getsource(shown))
    [tree] = ast.parse(source).body
    lines = source.splitlines()
    body = getattr(tree, "body", [])
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        end = body[0].end_lineno or 0
        del lines[body[0].lineno - 1 : end + (end < len(lines) and not lines[end])]  # and the empty line after it
    return "\n".join(lines).strip()
