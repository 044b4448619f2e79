"""The record of a run: JSON lines and the curve of its rates, kept with its weights.

Rows of the kind `report` hold nothing but what follows from seed, pictures and settings, or from the clock where that limits the
run: a run of steps that was cut has the same ones. Times and machines are in rows of other kinds.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bbans.files import write_whole

Row = dict[str, Any]


class Journal:
    """The rows of a run so far, kept in a file of JSON lines, and drawn.

    Args:
        path: of the file, and `curve` of the drawing; None for neither, as in all processes but the first.
    """

    def __init__(self, path: Path | None = None, curve: Path | None = None) -> None:
        self.path, self.curve = path, curve
        self.rows: list[Row] = []

    def begin(self, rows: Sequence[Row]) -> None:
        """Write these rows, and no others that a cut session may have left. Raises: OSError that names the file."""
        self.rows = list(rows)
        if self.path is not None:
            write_whole(self.path, "".join(_line(row) for row in rows).encode())

    def add(self, row: Row) -> None:
        """Append a row. Raises: OSError that names the file."""
        self.rows.append(row)
        if self.path is not None:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(_line(row))
            except OSError as error:
                raise OSError(error.errno, f"{self.path} cannot be written: {error.strerror or error}") from error

    def reports(self) -> list[Row]:
        return [row for row in self.rows if row["kind"] == "report"]

    def draw(self, note: Callable[[str], None]) -> None:
        """Draw the curve of all reports. Where that cannot be done, `note` gets one line. Raises: OSError that names the file."""
        if self.curve is not None:
            try:
                draw(self.reports(), self.curve)
            except ImportError:
                note(f"{self.curve} is not drawn: it takes matplotlib (pip install 'bbans[train]')")
                self.curve = None


def is_of_no_use(path: Path) -> bool:
    """Whether a file is empty, or the journal of a run that ended before its first checkpoint, with one report at most."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        row = json.loads(lines[0]) if lines else None
    except (OSError, ValueError):
        return False
    started = isinstance(row, dict) and row.get("kind") == "start" and "schedule" in row
    return not lines or (started and len(lines) <= 2)


def draw(reports: Sequence[Row], path: Path) -> None:
    """Write the curve of training and validation rates as a PNG, whole. Raises: ImportError without matplotlib; OSError.

    The first tenth of the steps falls steeply and would flatten the rest, so it is outside when there is more to see.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, train = [row["step"] for row in reports], [row["train"] for row in reports]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, train, label="training", color="tab:gray", linewidth=1)
    valid = [row.get("valid_neg_elbo", math.nan) for row in reports]
    if not all(map(math.isnan, valid)):
        axes.plot(steps, valid, label="validation, moving average", color="tab:blue")
    rounded = next((row["step"] for row in reports if row["quantised"]), None)
    if rounded is not None:
        axes.axvline(rounded, color="tab:orange", linestyle=":", label="rounding on")
    late = [rate for row, rate in zip(2 * list(reports), [*train, *valid], strict=True) if row["step"] > steps[-1] / 10]
    late = [rate for rate in late if math.isfinite(rate)]
    if len(late) > 1 and max(late) > min(late):
        margin = 0.05 * (max(late) - min(late))
        axes.set_ylim(min(late) - margin, max(late) + margin)
    axes.set(xlabel="step", ylabel="negative ELBO, bits/dim")
    axes.grid(alpha=0.3)
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    write_whole(path, file.getvalue())


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"
