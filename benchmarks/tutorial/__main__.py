"""``python -m benchmarks.tutorial``: train all models of the page, code with them, write the table and the figures.

::

    python -m benchmarks.tutorial --redraw          the page again from the results and weights that are there
    python -m benchmarks.tutorial                   the rows that are not there yet: goes on where it was stopped
    python -m benchmarks.tutorial --anew            everything, about an hour and a half on two cores
    python -m benchmarks.tutorial --share 0.02 --out T/tutorial.json --page T
                                                    elsewhere, with so little training that only the machinery is seen

Results go to benchmarks/results/tutorial.json, the page and its figures beside this file.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch

from bbans.exact.runtime import cores

from . import page, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "tutorial.json"


@click.command()
@click.option("--share", default=1.0, show_default=True, help="Of the steps of each training.")
@click.option("--points", default=table.POINTS, show_default=True, help="To code with each model.")
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
    default=HERE,
    type=click.Path(path_type=Path, resolve_path=True),
    show_default="benchmarks/tutorial",
    help="Of the page, figures and weights.",
)
def main(share: float, points: int, anew: bool, redraw: bool, processes: int | None, path: Path, folder: Path) -> None:
    """Train the models of the tutorials on toy data, code with them, and write the page."""
    if not redraw and (share, points) != (1.0, table.POINTS) and (path == RESULTS or folder == HERE):
        raise click.UsageError("with other --share or --points, say with --out and --page where: not over the full results")
    if redraw and anew:
        raise click.UsageError("--redraw is of results that are there, --anew forgets them")
    torch.set_num_threads(1)
    weights = folder / "weights"
    results: table.Results = json.loads(path.read_text()) if path.exists() and not anew else {"rows": []}
    if not redraw:
        table.compute(results, share, points, processes or cores(), path, weights)
    if missing := table.missing(results, weights):
        raise click.UsageError(f"{path}: there is nothing to redraw without {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    page.draw(results, table.kept(weights), folder)
    page.write(results, folder)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.tutorial")
