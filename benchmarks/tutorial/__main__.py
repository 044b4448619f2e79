"""`python -m benchmarks.tutorial`: train all models of the page, code with them, write tables, figures and notebooks.

::

    python -m benchmarks.tutorial CHAPTER           one chapter, in under five minutes; figures go to --page
    python -m benchmarks.tutorial --redraw          the page again from the results and weights that are there
    python -m benchmarks.tutorial                   what is not there yet: goes on where it was stopped
    python -m benchmarks.tutorial --anew            everything: two and a half hours of a core, half of that on two
    python -m benchmarks.tutorial --share 0.02 --out T/tutorial.json --page T
                                                    elsewhere, with so little training that only the machinery is seen

Results go to benchmarks/results/tutorial.json, the page, its figures and the notebooks beside this file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import torch

from bbans.exact.runtime import cores

from . import appendix, chapters, notebooks, page, table
from .data import PLANE

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "tutorial.json"
FULL, SMALL = (1.0, table.POINTS), (1 / 8, 1000)  # share and points, of the page and of a chapter


@click.command()
@click.argument("chapter", required=False, type=click.Choice(sorted(chapters.BY_NAME)))
@click.option("--dataset", default="8gaussians", show_default=True, type=click.Choice(sorted(PLANE)), help="Of a chapter's models.")
@click.option("--share", type=float, help="Of the steps of each training.  [default: 1, for a chapter 1/8]")
@click.option("--points", type=click.IntRange(min=1), help="To code with each model.  [default: 10000, for a chapter 1000]")
@click.option("--anew", is_flag=True, help="Forget the rows that are there.")
@click.option("--redraw", is_flag=True, help="Train nothing: the page from what is there.")
@click.option("--processes", type=click.IntRange(min=1), help="[default: all cores]")
@click.option(
    *("--out", "path"),
    default=RESULTS,
    type=click.Path(path_type=Path, resolve_path=True),
    show_default="benchmarks/results/tutorial.json",
    help="JSON.",
)
@click.option(
    *("--page", "folder"),
    type=click.Path(path_type=Path, resolve_path=True),
    help="Of the page, figures, notebooks and weights.  [default: benchmarks/tutorial, for a chapter tutorial-output]",
)
def main(
    chapter: str | None,
    dataset: str,
    share: float | None,
    points: int | None,
    anew: bool,
    redraw: bool,
    processes: int | None,
    path: Path,
    folder: Path | None,
) -> None:
    """Train the models of the tutorial on toy data, code with them, and write the page; or run one CHAPTER."""
    torch.set_num_threads(1)
    if chapter:
        run = chapters.Run(folder or Path("tutorial-output"), dataset, share or SMALL[0], points or SMALL[1])
        return show(chapters.BY_NAME[chapter], run)
    folder = folder or HERE
    share, points = share or FULL[0], points or FULL[1]
    if not redraw and (share, points) != FULL and (path == RESULTS or folder == HERE):
        raise click.UsageError("with other --share or --points, say with --out and --page where: not over the full results")
    if redraw and anew:
        raise click.UsageError("--redraw is of results that are there, --anew forgets them")
    weights = folder / "weights"
    results: table.Results = json.loads(path.read_text()) if path.exists() and not anew else {"rows": []}
    if not redraw:
        table.compute(results, share, points, processes or cores(), path, weights)
        click.echo(f"took {sum(os.times()[:4]) / 60:.1f} minutes of a core", err=True)  # of this process and those it waited for
    if missing := table.missing(results, weights):
        raise click.UsageError(f"{path}: there is nothing to redraw without {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    page.draw(results, table.kept(weights), folder)
    page.write(results, folder)
    appendix.write(results, folder)
    notebooks.write(folder / "notebooks")


def show(chapter: chapters.Chapter, run: chapters.Run) -> None:
    """What a chapter says, in the terminal."""
    click.echo(f"{chapter.title}\n\n{chapter.idea}\n")
    results = run.work(chapter)
    click.echo(f"{chapter.tables(results)}\n")
    for path in run.draw(chapter, results):
        click.echo(f"figure: {path}")
    click.echo(f"\n{chapter.question}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.tutorial")
