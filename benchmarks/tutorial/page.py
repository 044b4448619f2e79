"""README.md: the chapters, written from their texts and from tutorial.json; and all figures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .chapters import CHAPTERS, Chapter
from .figures import by_dataset, title_of
from .markdown import Results, Row, number, source_of, table
from .measuring import IWAE_PARTICLES
from .pictures import Models
from .published import PUBLISHED

MODULES = (
    *("by_hand", "jensen", "data", "mixture", "model", "training", "coding", "measuring", "rows"),
    *("likelihoods", "posteriors", "priors", "objectives", "deterministic", "flow", "channel"),
    *("experiments", "errata", "table", "figures", "pictures", "markdown", "page", "appendix", "notebooks"),
)
"""Of this folder, in the order in which to read them."""

TEXT = """\
# From Bayes' rule to a file

The models of [R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", 2020](https://arxiv.org/abs/2006.10273) and
some of their relatives, trained on points of the plane with two latent dimensions. The tutorial says that the negative ELBO is a
code length. Here it is checked: points are coded by bits-back and decoded again, and the message is measured.

A chapter is one idea, its equation, the lines of code that matter, a figure, what was measured, and one question. Each runs by
itself, with less training than the figures here, in less than five minutes:

```
python -m benchmarks.tutorial by-hand                    a chapter: its figures, and its tables in the terminal
python -m benchmarks.tutorial vae --dataset 2spirals     with other data
python -m benchmarks.tutorial                            all of this page: two and a half hours of a core
```

and each is a [notebook](notebooks). All rows with all columns are in [TABLES.md](TABLES.md), all figures in
[tutorial.json](../results/tutorial.json), and what is wrong in the tutorial's text is [below](#errata).

{contents}

## In short

Bits-back pops a latent z from the message by q(z|x), pushes the point x by p(x|z), and pushes z by p(z). The message grows by
-log2 p(x|z) p(z) / q(z|x) bits, in the mean -ELBO. The decoder does it backwards and pushes what was popped again. Monte Carlo
bits-back draws several z for a point and takes the bits of the tighter IWAE bound.

So these bounds are code lengths. The nearer they are to the entropy H, the shorter the code: better posteriors, learned priors
and more draws help. All figures are bits per point, where a uniform density on the square takes 0.

{summary}

*These points* is what the true density takes for the points that are coded, *published* are the tutorial's -ELBO and bound. Code
lengths, -ELBO and bounds are of 10,000 points on 100 messages where nothing else is said; H, and NLL in the chapters, are means
over the density itself. So a code length may be below H or NLL by what the draw of points happens to be easier.

{chapters}

## Errata

What the tutorial says, and what a computation says.

{errata}

## One idea, one file

{modules}

Measured on {processors}. The trainings took {hours:.1f} hours of one core.
"""


def write(results: Mapping[str, Any], folder: Path) -> None:
    """README.md in `folder`. It links to the modules, to the notebooks, and to the figures beside it."""
    rows = results["rows"]
    text = TEXT.format(
        contents="\n".join(f"{place}. [{chapter.title}](#{_anchor(place, chapter)})" for place, chapter in enumerate(CHAPTERS, 1)),
        summary=_summary(rows, results["entropies"]),
        chapters="\n\n".join(_chapter(place, chapter, results) for place, chapter in enumerate(CHAPTERS, 1)),
        errata=errata(results),
        modules="\n".join(f"- [{name}.py]({name}.py): {_first_line(name)}" for name in MODULES),
        processors=" and ".join(sorted({row["processor"] for row in rows})),
        hours=sum({(row["entry"], row["dataset"]): row["training_s"] for row in rows}.values()) / 3600,
    )
    (folder / "README.md").write_text(text)


def draw(results: Results, models: Models, folder: Path, chapters: Sequence[Chapter] = CHAPTERS) -> None:
    """All figures of the page."""
    for chapter in chapters:
        for figure in chapter.figures:
            figure.draw(results, models, folder / f"{figure.name}.png")


def _anchor(place: int, chapter: Chapter) -> str:
    """As GitHub makes it of a heading."""
    kept = "".join(letter for letter in f"{place}. {chapter.title}".lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _chapter(place: int, chapter: Chapter, results: Results) -> str:
    sources = list(dict.fromkeys(inspect.getmodule(shown).__name__.rsplit(".", 1)[-1] for shown in chapter.shows))  # type: ignore[union-attr]
    where = [
        f"`python -m benchmarks.tutorial {chapter.name}`",
        f"[notebook](notebooks/{notebook_name(place, chapter)})",
        *(f"[{name}.py]({name}.py)" for name in sources),
    ]
    figures = [f"![{figure.caption}]({figure.name}.png)" for figure in chapter.figures]
    return "\n\n".join(
        [
            f"## {place}. {chapter.title}",
            chapter.idea,
            f"$${chapter.equation}$$",
            f"```python\n{source_of(chapter.shows)}\n```",
            *figures,
            chapter.tables(results),
            f"*{chapter.question}* {chapter.answer(results)}",
            " · ".join(where),
        ]
    )


def notebook_name(place: int, chapter: Chapter) -> str:
    return f"{place:02d}-{chapter.name}.ipynb"


def errata(results: Results) -> str:
    lines = [(row["place"], row["claim"], row["computed"]) for row in results["errata"]]
    return table(("where", "claim", "computed"), lines, numbers=False)


def _first_line(module: str) -> str:
    doc = import_module(f".{module}", __package__).__doc__
    return doc.splitlines()[0] if doc else ""


def _summary(rows: Sequence[Row], entropies: Sequence[Row]) -> str:
    """The tutorial's bounds beside ours and what was coded, and the model whose code is shortest."""
    truth = {row["dataset"]: row for row in entropies}

    def cells(of_data: Sequence[Row], entry: str, particles: int, model: str, bound: str) -> list[str]:
        row = next(row for row in of_data if (row["entry"], row["particles"]) == (entry, particles))
        claimed = [one for one in PUBLISHED if (one["dataset"], one["model"]) == (row["dataset"], model)]
        return [*([number(claimed[0], bound, ".2f")] if claimed else [""]), number(row, bound), number(row, "code_length_bits")]

    lines = []
    for name, of_data in by_dataset([row for row in rows if row["dataset"] in truth]).items():
        most = max(row["points"] for row in of_data)
        shortest = min((row for row in of_data if row["points"] == most), key=lambda row: float(row["code_length_bits"]))
        lines.append(
            [
                *(title_of(name), number(truth[name], "entropy_bits"), number(truth[name], "points_bits")),
                *cells(of_data, "typical", 1, "VAE", "neg_elbo_bits"),
                *cells(of_data, "iwae", IWAE_PARTICLES, "IWAE", "iwae_bits"),
                f"{shortest['model']}: {number(shortest, 'code_length_bits')}",
            ]
        )
    heads = ("data set", "H", "these points", "VAE, published", "-ELBO", "coded", "IWAE, published", "bound", "coded")
    return table((*heads, "shortest code"), lines)
