"""What a chapter is, and what it takes to run one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import table
from ..markdown import Results
from ..pictures import Models
from ..rows import BY_NAME


@dataclass(frozen=True)
class Figure:
    """NAME.png: what it shows, how it is drawn, and the entries whose trained models it looks into."""

    name: str
    caption: str
    draw: Callable[[Results, Models, Path], None]
    models: tuple[str, ...] = ()


def plot(name: str, caption: str, draw: Callable[[Results, Path], None]) -> Figure:
    """A figure of results."""
    return Figure(name, caption, lambda results, models, path: draw(results, path))


def picture(name: str, caption: str, draw: Callable[[Models, Path], None], models: tuple[str, ...]) -> Figure:
    """A figure of trained models."""
    return Figure(name, caption, lambda results, models, path: draw(models, path), models)


@dataclass(frozen=True)
class Chapter:
    """One idea.

    Args:
        name: of the command and of the notebook.
        idea: two sentences.
        equation: LaTeX.
        shows: functions and methods, the lines that matter.
        entries: whose rows it needs.
        parts: of the results that it needs beside them, as in table.PARTS.
        tables: Markdown of the results.
        answer: of the results too, as figures are in it.
        cell: more code for the notebook.
    """

    name: str
    title: str
    idea: str
    equation: str
    shows: tuple[Callable[..., Any], ...]
    figures: tuple[Figure, ...]
    tables: Callable[[Results], str]
    question: str
    answer: Callable[[Results], str]
    entries: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    cell: str = ""


@dataclass
class Run:
    """Models trained, measured and looked into at a size of one's own.

    Args:
        folder: where weights and figures go.
        dataset: what models are trained on.
        share: of the steps of each training.
        points: to code with each model.
    """

    folder: Path
    dataset: str = "8gaussians"
    share: float = 1 / 8
    points: int = 1000
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def work(self, chapter: Chapter) -> dict[str, Any]:
        """The results that a chapter needs."""
        results: dict[str, Any] = {"rows": [row for name in chapter.entries for row in self.rows(name)]}
        for name in chapter.parts:
            part = table.PARTS[name]
            results[name] = part.work(self.trained(*part.models), self.points)
        return results

    def draw(self, chapter: Chapter, results: Results) -> list[Path]:
        """The chapter's figures."""
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for figure in chapter.figures:
            paths.append(self.folder / f"{figure.name}.png")
            figure.draw(results, self.trained(*figure.models), paths[-1])
        return paths

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Of an entry, trained here."""
        if BY_NAME[name].weights:
            self.trained(BY_NAME[name].weights)
        return table.rows_of((name, self.dataset, self.share, self.points, self.folder / "weights"))

    def trained(self, *names: str) -> Models:
        """Entries whose weights are kept, trained here if they are not yet."""
        for name in names:
            if name not in self.models:
                if not table.path_of(self.folder / "weights", name, self.dataset).exists():
                    table.keep(name, self.dataset, self.share, self.folder / "weights")
                self.models[name] = {self.dataset: table.load(self.folder / "weights", name, self.dataset)}
        return {name: self.models[name] for name in names}
