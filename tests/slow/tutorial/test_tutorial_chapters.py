"""The tutorial's chapters and notebooks."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click.testing
import pytest

from benchmarks.plots import pyplot
from benchmarks.tutorial import chapters, markdown, notebooks, page, table
from benchmarks.tutorial.__main__ import HERE, RESULTS, main
from benchmarks.tutorial.chapters import BY_NAME, CHAPTERS, Chapter
from benchmarks.tutorial.likelihoods import LogisticVAE
from benchmarks.tutorial.model import LatentModel
from benchmarks.tutorial.objectives import mmd

pytestmark = pytest.mark.usefixtures("smaller")
EACH = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all chapters, so that what one has trained is there for the next."""
    return tmp_path_factory.mktemp("chapters")


@EACH
def test_a_chapter_is_an_idea_a_few_lines_a_figure_and_a_question(chapter: Chapter) -> None:
    assert chapter.idea.endswith(".") and chapter.question.endswith("?")
    assert chapter.idea.count(". ") == 1, "two sentences"
    assert 1 <= len([line for line in markdown.source_of(chapter.shows).splitlines() if line]) <= 36
    assert chapter.figures
    assert set(chapter.entries) <= table.BY_NAME.keys() and set(chapter.parts) <= table.PARTS.keys()
    answer = chapter.answer(json.loads(RESULTS.read_text()))
    assert answer.endswith((".", ".)")) and "nan" not in answer


def test_lines_say_whose_methods_they_are() -> None:
    shown = markdown.source_of([LatentModel.posterior, LatentModel.bound, LogisticVAE.likelihood, mmd])
    assert re.findall(r"^(?:#|def) \w+", shown, re.MULTILINE) == [
        *("# LatentModel", "def posterior", "def bound", "# LogisticVAE", "def likelihood", "def mmd")
    ]


def test_chapters_have_names_of_their_own() -> None:
    assert len(BY_NAME) == len(CHAPTERS)
    figures = [figure.name for chapter in CHAPTERS for figure in chapter.figures]
    assert len(set(figures)) == len(figures)


def test_the_command_runs_a_chapter(folder: Path) -> None:
    options = ["clean-bits", "--share", "0.0005", "--points", "20", "--dataset", "ring", "--page", str(folder / "ring")]
    result = click.testing.CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    assert "| Ring | beta-VAE (beta = 4) |" in result.output
    assert (folder / "ring" / "clean.png").exists()


@EACH
def test_the_committed_notebook_is_the_chapter(chapter: Chapter) -> None:
    place = CHAPTERS.index(chapter) + 1
    committed = json.loads((HERE / "notebooks" / page.notebook_name(place, chapter)).read_text())
    assert committed == notebooks.notebook(place, chapter)
    assert len(list((HERE / "notebooks").iterdir())) == len(CHAPTERS)
    assert all(cell.get("outputs", []) == [] for cell in committed["cells"])


def smaller_notebook(chapter: Chapter, folder: Path) -> dict[str, Any]:
    """The committed notebook, with as little training and as few points as in the other tests."""
    path = HERE / "notebooks" / page.notebook_name(CHAPTERS.index(chapter) + 1, chapter)
    text = path.read_text().replace('Path(\\"tutorial-output\\")', f'Path(\\"{folder}\\")')
    return dict(json.loads(text.replace("share=1 / 8, points=1000", "share=0.0005, points=20")))


@EACH
def test_a_chapter_runs_by_its_notebook(chapter: Chapter, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has small networks, and no IPython."""
    shown: list[Any] = []
    stand_in: Any = ModuleType("IPython.display")
    stand_in.Image, stand_in.Markdown, stand_in.display = Path, str, shown.append
    pyplot().close(pyplot().figure())  # the first time, it looks into IPython
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", stand_in)
    scope: dict[str, Any] = {}
    for cell in smaller_notebook(chapter, folder)["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
    tables, *images = shown
    rows = scope["results"]["rows"]
    assert {row["entry"] for row in rows} == set(chapter.entries)
    assert all(row["decoded_equal"] and row["dataset"] == "8gaussians" for row in rows)
    assert tables == chapter.tables(scope["results"]) and "| ---" in tables
    assert [image.name for image in images] == [f"{figure.name}.png" for figure in chapter.figures]
    assert all(image.read_bytes().startswith(b"\x89PNG") for image in images)


@pytest.mark.parametrize("name", ["by-hand", "jensen"])
def test_a_notebook_runs_in_jupyter(name: str, folder: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.reads(json.dumps(smaller_notebook(chapters.BY_NAME[name], folder)), as_version=4)
    nbformat.validate(notebook)
    client: Callable[..., Any] = nbclient.NotebookClient
    done = client(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(HERE.parents[1])}}).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("text/markdown" in output.get("data", {}) for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output.output_type != "error" for output in outputs)
