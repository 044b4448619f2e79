"""The chapters as Jupyter notebooks, without outputs: NN-NAME.ipynb in the folder `notebooks`.

They are written from the same texts and modules as the page; `python -m benchmarks.tutorial --redraw` writes them too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .chapters import CHAPTERS, Chapter
from .markdown import source_of
from .page import notebook_name

SETUP = """\
from pathlib import Path

from IPython.display import Image, Markdown, display

from benchmarks.tutorial.chapters import BY_NAME, Run

chapter = BY_NAME["{name}"]
run = Run(Path("tutorial-output"), dataset="8gaussians", share=1 / 8, points=1000)  # share 1 is all of the page's training"""

RUN = """\
results = run.work(chapter)
display(Markdown(chapter.tables(results)))
for path in run.draw(chapter, results):
    display(Image(path))"""


def write(folder: Path) -> None:
    """All of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, chapter in enumerate(CHAPTERS, 1):
        (folder / notebook_name(place, chapter)).write_text(
            json.dumps(notebook(place, chapter), indent=1, ensure_ascii=False) + "\n"
        )


def notebook(place: int, chapter: Chapter) -> dict[str, Any]:
    """Of version 4.5 of the format. It runs in the project's folder, or wherever `benchmarks` can be imported."""
    cells = [
        _cell("markdown", f"# {place}. {chapter.title}\n\n{chapter.idea}\n\n$${chapter.equation}$$"),
        _cell("markdown", f"The lines that matter:\n\n```python\n{source_of(chapter.shows)}\n```"),
        *([_cell("code", chapter.cell.strip())] if chapter.cell else []),
        _cell("code", SETUP.format(name=chapter.name)),
        _cell("code", RUN),
        _cell("markdown", f"**Question.** {chapter.question}"),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"{chapter.name}-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
