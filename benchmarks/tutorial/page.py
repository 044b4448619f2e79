"""The page: Markdown of tutorial.json. Every result comes from there, but for what the tutorial published."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from . import figures, pictures
from .coding import CHAINS, POINTS, PRECISION
from .data import PLANE
from .experiments import CELLS_IN_STD
from .figures import by_dataset, title_of
from .flow import Flow
from .measuring import CODED_DRAWS, IWAE_PARTICLES, NLL_PARTICLES
from .model import FREE_BITS, LatentModel
from .objectives import BetaVAE, Wasserstein
from .pictures import DARK
from .posteriors import ImportanceWeighted
from .rows import STEPS

Row = Mapping[str, Any]

PUBLISHED: list[dict[str, Any]] = [
    {"dataset": "8gaussians", "model": "VAE", "neg_elbo_bits": -1.83, "nll_bits": -1.87},
    {"dataset": "checkerboard", "model": "VAE", "neg_elbo_bits": -0.72, "nll_bits": -0.81},
    {"dataset": "2spirals", "model": "VAE", "neg_elbo_bits": -1.99, "nll_bits": -2.15},
    {"dataset": "8gaussians", "model": "IWAE", "iwae_bits": -1.84, "nll_bits": -1.91},
    {"dataset": "checkerboard", "model": "IWAE", "iwae_bits": -0.81, "nll_bits": -0.87},
    {"dataset": "2spirals", "model": "IWAE", "iwae_bits": -2.24, "nll_bits": -2.29},
]
"""Tables 1 and 2 of the tutorial, in bits per point. Its entropies are in `data`."""

MODULES = (
    *("data", "model", "training", "coding", "measuring", "rows"),
    *("likelihoods", "posteriors", "priors", "objectives", "deterministic", "flow", "mixture"),
    *("by_hand", "jensen", "channel"),
    *("experiments", "errata", "table", "figures", "pictures", "page"),
)
"""Of this folder, in the order in which to read them."""

ACCURACY = round(-math.log2(POINTS.step))  # n, of the grid of points
CLOSE = 0.01  # bits, or as a share: a code length that is as near to the negative ELBO is said to agree
SURE = 3  # standard errors: a difference that is larger is one
FLAT = 0.02  # bits: a code length that is as near to that on the finest grid is flat; draws of latents are half of it

PAGE = """\
# From Bayes' rule to a file

The models of [R. Yu, "A tutorial on VAEs: from Bayes' rule to lossless compression", 2020](https://arxiv.org/abs/2006.10273)
and some of their relatives, trained on points of the plane with two latent dimensions. The tutorial says that the negative ELBO
is a code length. Here it is checked: points are coded by bits-back and decoded again, and the message is measured.

`python -m benchmarks.tutorial` writes this page.

## In short

Bits-back pops a latent z from the message by q(z|x), pushes the point x by p(x|z), and pushes z by p(z). The message grows by
-log2 p(x|z) p(z) / q(z|x) bits, in the mean -ELBO. The decoder does it backwards and pushes what was popped again. Monte Carlo
bits-back draws several z for a point and takes the bits of the tighter IWAE bound.

So these bounds are code lengths. The nearer they are to the entropy H, the shorter the code: better posteriors, learned priors and
more draws help. All figures are bits per point, where a uniform density takes 0.

{summary}

*These points* is what the true density takes for the points that are coded, *published* are the tutorial's -ELBO and bound.

## One idea, one file

{modules}

## Data

The entropy H is what no code for such points can beat in the mean. The unit of area is the square that the points are in, so a
uniform density has H = 0, and one that is crowded into less has less. The tutorial's entropies are sums over the square alone,
where 0.02 % of the 8 Gaussians are not. The very points that are coded here are a draw, and the true density itself takes a little
more or less for them than H. One more set is of single numbers: a mixture of three normals, whose posterior is known. There
-ELBO, as coded and NLL are -log p(x) of the very points that are coded.

{entropies}

## Models and codes

- **steps** of training, with {batch} points each; {iwae_batch} for IWAE, {flow_batch} for the flow. More of them still help,
  so models of {steps} are to be compared with the typical VAE of as many. The decoder of the Wasserstein auto-encoder gets its
  posterior in {settling} more. Free bits: where the KL term has a closed form, training does not charge the first {free_bits}
  bits of each latent of each point, as in the tutorial; where it is sampled (full covariance, inverse-autoregressive, learned
  priors), the first {all_free_bits} bits of its mean over the batch; by the IWAE bound, and for the flow, VQ-VAE and the plain
  auto-encoder, it charges all. No bound and no code length here leaves out any bits.
- **H**: the entropy of the data.
- **-ELBO**: what bits-back should take in the mean.
- **NLL**: -log p(x) of the model, by importance sampling with {nll_particles} draws of z, on the tutorial's square. -ELBO less NLL
  is what the posterior loses, NLL less H what the model loses.
- **IWAE**: the negative IWAE bound of {iwae_particles} draws of z, or of K where a row has K > 1. In the mean it is between -ELBO
  and NLL.
- **active**: latents whose posterior mean moves with the point.
- **code length**: by which the message grew for each point, with its standard error: {chains} messages of {points_each} points
  each, one after the other. A point is coded as a cell of a grid of
  2^{n} cells in a unit of each direction; the {two_n} bits that this takes under a uniform density are taken off. Points are coded
  {coded_draws} times, on other messages, with other draws of z, less often with K > 1: one draw each would leave their mean
  uncertain by 0.01 bits.
- **initial**: bits that a message must hold before its first point: the 31 of its head and words of 32 below, as many as any of
  the messages used. They are needed once, not for each point, and come back when the message is decoded, so code length does
  not count them; a message of {points_each} points that had to pay for them would take a {points_each}th of them more for each.
- **as coded**: -ELBO once more, or IWAE with K > 1, by the integer freqs of the code. A freq is at least 1 of 2^{precision}, so
  each of a number's two digits costs at most {precision} bits, where a density may ask for hundreds. That tells where narrow
  likelihoods meet broad posteriors: a code is shorter there than a density says.
- **beyond**: code length less the bound as coded, with the standard error that draws of z give their difference.

By the plain MSE and with beta = {beta:g} latents say little: no such code is shorter than that of one Gaussian by more than
{shorter:.2f} bits, and as trained, with a variance of 1/2, the plain MSE takes {longer:.1f} to {longest:.1f} bits more than that.

{gaussians}

-ELBO, IWAE and code length are of the same points, drawn from the data: the draw moves all three together by about the standard
error that code lengths have, up or down. H and NLL are sums over a grid, weighted by the true density, and have no such error. So
all three may be a little below NLL and H: compare them with what the true density takes for these points. Rows in italics are
the tutorial's Tables 1 and 2. Standard errors of the other columns, and the source of each model, are in
[tutorial.json](../results/tutorial.json).

The codes of VQ-VAE and of the auto-encoder are in two parts, with nothing to get back. Their -ELBO is -log p(k) p(x|k) for the
code k that is sent, NLL and IWAE are of p(x), the exact sum over all k: the difference is what bits-back would save.

{verdict}

{tables}

## More particles, shorter codes

One model, trained by the IWAE bound of {iwae_particles} draws, coded with K. It counts on {iwae_particles}: with one its code is
longer than that of a uniform density. Monte Carlo bits-back draws K latents for a point and codes it with one of them, chosen by
weight. In the mean that takes the negative IWAE bound of K particles as coded, which falls from -ELBO towards the NLL as K grows.
Bars are standard errors: how far code lengths may be from the mean over all points and latents. With small K the latents make
most of it, with large K the points, and these are the same for all K.

![code length against particles](particles.png)

## Clean bits

Bits-back draws z from what is on top of the message: the z of the point before. As long as latents are in the mean as p(z) says,
these bits are as good as random. Where they are not, a z is not a draw from q(z|x). With q(z|x) near to p(z) it is even the same
z again and again, so that one bad z is paid for by many points. Here the bits are moved by pseudo-random numbers first, which
the decoder knows too, as it has the point by then. Nothing is added to the message by that. Code lengths, as everywhere net of
initial bits, without it:

{clean}

## Densities and latents

The tutorial's Figure 1: the density of the data beside those of models.

![densities](density.png)

Its Figure 2: each latent has the colour of the point that it is decoded to. A point's hue is where it is, its brightness the
true density. Dark latents are decoded to where there are no points: p(z) spends mass on them, and the data has no use for it.

![colours of latents](latent_space.png)

How much of p(z), over the square of the figure, is decoded to where the true density is below {dark_below} of its maximum:

{dark}

## Latents as a noisy channel

Section 4.3: the encoder sends latents with noise, and the decoder hears them. Across is what the latents of a point cost, its
KL term L_reg. Up is d R, what d latents can carry through such noise: the sum of log2(1/sigma) over the latents. In the mean
over points (a cross) the two are equal where the posteriors of all points together match the prior. (It is enough that
sigma^2 + mu^2 is 1 in the mean, for each latent.)

![cost against capacity](noisy_channel.png)

## How fine a grid

Section 4.2: a number of infinite accuracy would take infinitely many bits. On a grid of 2^n cells in a unit a point takes 2 n
bits more than its density says, once a density hardly changes within a cell. Code length less 2 n stays within {flat_within}
bits of that on the finest grid from {flat}.

![code length against accuracy](accuracy.png)

## One Gaussian, two optima

Section 5.2: the data is one Gaussian. A VAE may ignore its latent and say everything in p(x|z), or say everything in the
latent, with a p(x|z) whose standard deviation is a small epsilon times that of the data. Both are optima of the ELBO, and so is
everything between: all should have the same code length. What grows as epsilon falls is the KL term: z says more, and x given z
takes as much less. The initial bits are another thing: those of a draw from q on the grid of z, here in the mean over points.
On one grid, fine enough for the sharpest q, a sharper q takes fewer; on grids that go with epsilon, of {cells_in_std} cells in a
standard deviation of q, it takes the same.

{two_optima}

![two optima](two_optima.png)

## Errata

What the tutorial says, and what a computation says.

{errata}

Measured on {processor}, {cores} cores. The trainings took {hours:.1f} hours of one of them.
"""


def write(results: Mapping[str, Any], folder: Path) -> None:
    """README.md in `folder`. It links to the modules and to the figures beside it: NAME.png of the function NAME of `figures`.

    Args:
        results: rows (of `measuring.Row.json`); entropies (of `table.entropies`); dark (dataset, model, share);
            accuracy and two_optima (as the figures of these names); errata (place, claim, computed); machine (processor, cores).
    """
    rows = results["rows"]
    text = PAGE.format(
        modules="\n".join(f"- [{name}.py]({name}.py): {_first_line(name)}" for name in MODULES),
        entropies=_entropies(results["entropies"]),
        nll_particles=NLL_PARTICLES,
        iwae_particles=IWAE_PARTICLES,
        summary=_summary(rows, results["entropies"]),
        free_bits=FREE_BITS,
        all_free_bits=2 * FREE_BITS,
        chains=CHAINS,
        points_each=max(row["points"] for row in rows) // CHAINS,
        **_against_gaussian(rows, results["entropies"]),
        beta=BetaVAE.beta,
        batch=LatentModel.batch,
        iwae_batch=ImportanceWeighted.batch,
        flow_batch=Flow.batch,
        steps=STEPS,
        settling=Wasserstein.settling_steps,
        n=ACCURACY,
        two_n=2 * ACCURACY,
        coded_draws=CODED_DRAWS,
        precision=PRECISION,
        verdict=_verdict(rows),
        tables="\n\n".join(f"### {title_of(name)}\n\n{_measured(of_data)}" for name, of_data in by_dataset(rows).items()),
        clean=_clean([row for row in rows if row["plain_bits"] is not None]),
        dark_below=DARK,
        dark=_dark(results["dark"]),
        flat_within=FLAT,
        flat=", ".join(
            f"n = {_flat_from(of_data)} for {title_of(name)}" for name, of_data in by_dataset(results["accuracy"]).items()
        ),
        cells_in_std=CELLS_IN_STD,
        two_optima=_two_optima(results["two_optima"]),
        errata=_table(
            ("where", "claim", "computed"),
            [(row["place"], row["claim"], row["computed"]) for row in results["errata"]],
            numbers=False,
        ),
        processor=results["machine"]["processor"],
        cores=results["machine"]["cores"],
        hours=sum({(row["entry"], row["dataset"]): row["training_s"] for row in rows}.values()) / 3600,
    )
    (folder / "README.md").write_text(text)


def draw(results: Mapping[str, Any], models: pictures.Models, folder: Path) -> None:
    """All figures of the page."""
    for show in (figures.accuracy, figures.two_optima, figures.particles):
        show(results, folder / f"{show.__name__}.png")
    for look in (pictures.density, pictures.latent_space, pictures.noisy_channel):
        look(models, folder / f"{look.__name__}.png")


def _first_line(module: str) -> str:
    doc = import_module(f".{module}", __package__).__doc__
    return doc.splitlines()[0] if doc else ""


def _summary(rows: Sequence[Row], entropies: Sequence[Row]) -> str:
    """The tutorial's bounds beside ours and what was coded, and the model whose code is shortest."""
    truth = {row["dataset"]: row for row in entropies}

    def cells(of_data: Sequence[Row], entry: str, particles: int, model: str, bound: str) -> list[str]:
        row = next(row for row in of_data if (row["entry"], row["particles"]) == (entry, particles))
        claimed = [one for one in PUBLISHED if (one["dataset"], one["model"]) == (row["dataset"], model)]
        return [*([_number(claimed[0], bound, ".2f")] if claimed else [""]), _number(row, bound), _number(row, "code_length_bits")]

    lines = []
    for name, of_data in by_dataset([row for row in rows if row["dataset"] in PLANE]).items():
        shortest = min(of_data, key=lambda row: float(row["code_length_bits"]))
        lines.append(
            [
                *(title_of(name), _number(truth[name], "entropy_bits"), _number(truth[name], "points_bits")),
                *cells(of_data, "typical", 1, "VAE", "neg_elbo_bits"),
                *cells(of_data, "iwae", IWAE_PARTICLES, "IWAE", "iwae_bits"),
                f"{shortest['model']}: {_number(shortest, 'code_length_bits')}",
            ]
        )
    heads = ("data set", "H", "these points", "VAE, published", "-ELBO", "coded", "IWAE, published", "bound", "coded")
    return _table((*heads, "shortest code"), lines)


def _against_gaussian(rows: Sequence[Row], entropies: Sequence[Row]) -> dict[str, Any]:
    """Codes of the rows that train by the plain MSE or with beta, beside what one Gaussian takes."""
    gaussian = {row["dataset"]: float(row["gaussian_bits"]) for row in entropies}
    trained, read, beta = (
        [row for row in rows if test(row)] for test in (_as_trained, _as_read, lambda row: row["entry"] == "beta")
    )

    def saved(some: Sequence[Row]) -> list[float]:
        return [gaussian[row["dataset"]] - row["code_length_bits"] for row in some]

    lines = [
        [title_of(name), f"{gaussian[name]:.3f}"]
        + [_number(row, "code_length_bits") for some in (trained, read, beta) for row in some if row["dataset"] == name]
        for name in gaussian
    ]
    heads = ("data set", "one Gaussian", "plain MSE, as trained", "plain MSE, best variance", f"beta = {BetaVAE.beta:g}")
    longer = [-bits for bits in saved(trained)]
    return {
        "shorter": max(saved([*read, *beta])),
        "longer": min(longer),
        "longest": max(longer),
        "gaussians": _table(heads, lines),
    }


def _as_trained(row: Row) -> bool:
    return bool(row["entry"] == "mse" and not row["reading"])


def _as_read(row: Row) -> bool:
    return bool(row["entry"] == "mse" and row["reading"])


def _entropies(rows: Sequence[Row]) -> str:
    def agrees(row: Row) -> str:
        if row["published"] is None:
            return ""
        off = row["square_bits"] - row["published"]
        return "yes" if abs(off) <= 0.005 else f"no: {off:+.3f}"  # half of the last digit that it gives

    lines = [
        (
            title_of(row["dataset"]),
            *(_number(row, "entropy_bits", ".4f"), _number(row, "square_bits", ".4f"), _number(row, "published", ".2f")),
            agrees(row),
            f"{row['points_bits']:.3f} ± {row['points_error']:.3f}",
        )
        for row in rows
    ]
    return _table(("data set", "H", "on the square", "the tutorial's", "agrees", "of the coded points"), lines)


def _verdict(rows: Sequence[Row]) -> str:
    """What the tables show together: whether points came back, and whether code lengths are those promised."""
    wrong = [row for row in rows if not row["decoded_equal"]]
    decoded = f"**not in {_named(wrong)}**" if wrong else "in every row"
    of_density = [row for row in rows if not _close(row, _bound(row))]
    shorter = [row for row in of_density if row["code_length_bits"] < row[_bound(row)]]
    longer = [row for row in of_density if row["code_length_bits"] > row[_bound(row)]]
    of_freqs = [row for row in rows if not _close(row, "coded_bound_bits")]
    unsure = [row for row in of_freqs if abs(_beyond(row)) <= SURE * row["beyond_error"]]
    off = [row for row in of_freqs if abs(_beyond(row)) > SURE * row["beyond_error"]]
    text = (
        f"Points came out as they went in, and left the message as it had been, {decoded}. Code length is within {CLOSE} bits or "
    )
    text += f"{_percent(CLOSE, 0)} of its bound, -ELBO or IWAE with K > 1, in {len(rows) - len(of_density)} of {len(rows)} rows. "
    text += f"It is shorter in {_named(shorter)}. " if shorter else ""
    text += f"It is longer in {_named(longer)}. " if longer else ""
    text += f"It is as near to its bound as coded in {len(rows) - len(of_freqs)} rows."
    text += f" In {_named(unsure)} the difference is larger, but less than {SURE} of its standard errors." if unsure else ""
    return text + (f" **It is larger than that in {_named(off)}.**" if off else "")


def _named(rows: Sequence[Row]) -> str:
    """Models with their data sets, each model once."""
    datasets: dict[str, list[str]] = {}
    for row in rows:
        datasets.setdefault(figures.name_of(row), []).append(title_of(row["dataset"]))
    return "; ".join(f"{model} ({', '.join(titles)})" for model, titles in datasets.items())


def _measured(rows: Sequence[Row]) -> str:
    """The table of a data set, published rows at its end, and below it what was coded where the objective is no code length."""
    readings = list(dict.fromkeys(row["reading"] for row in rows if row["reading"]))

    def name(row: Row) -> str:
        note = f" <sup>{readings.index(row['reading']) + 1}</sup>" if row["reading"] else ""
        return f"{figures.name_of(row)}{note}"

    bounds = {"-ELBO": "neg_elbo_bits", "NLL": "nll_bits", "IWAE": "iwae_bits"}
    columns: dict[str, Callable[[Row], str]] = {
        "model": name,
        "steps": partial(_number, key="steps", form="d"),
        "H": partial(_number, key="entropy_bits"),
        **{head: partial(_number, key=key) for head, key in bounds.items()},
        "active": partial(_number, key="active_latents", form="d"),
        "as coded": partial(_number, key="coded_bound_bits"),
        "code length": lambda row: f"{row['code_length_bits']:.3f} ± {row['code_length_error']:.3f}",
        "initial": partial(_number, key="initial_bits", form="d"),
        "beyond": lambda row: f"{_beyond(row):+.3f} ± {row['beyond_error']:.3f}",
    }
    lines = [[show(row) for show in columns.values()] for row in rows]
    for row in PUBLISHED:
        if row["dataset"] == rows[0]["dataset"]:
            claimed = [_number(row, key, ".2f") for key in bounds.values()]
            lines.append([f"*{row['model']}, published*", "", "", *claimed, "", "", "", "", ""])
    notes = [f"<sup>{place}</sup> {reading}" for place, reading in enumerate(readings, 1)]
    limits = {row["flow_bits"] for row in rows} - {None}
    notes += [f"The flow itself takes {bits:.3f} for these points by -log p(x): what its VAEs tend to." for bits in limits]
    points = ", ".join(str(n) for n in sorted({row["points"] for row in rows}))
    return "\n\n".join([_table(tuple(columns), lines), f"Of {points} points.", *notes])


def _bound(row: Row) -> str:
    """The key of what is coded: -ELBO, or the bound of several particles."""
    return "neg_elbo_bits" if row["particles"] == 1 else "iwae_bits"


def _beyond(row: Row) -> float:
    return float(row["code_length_bits"] - row["coded_bound_bits"])


def _close(row: Row, bound: str) -> bool:
    """Whether the code length is as near to a bound as it should be."""
    return abs(row["code_length_bits"] - row[bound]) <= CLOSE * max(1.0, abs(row["code_length_bits"]))


def _clean(rows: Sequence[Row]) -> str:
    heads = {"-ELBO": "neg_elbo_bits", "code length": "code_length_bits", "without": "plain_bits"}
    lines = [[title_of(row["dataset"]), row["model"], *(_number(row, key) for key in heads.values())] for row in rows]
    return _table(("data set", "model", *heads), lines)


def _dark(rows: Sequence[Row]) -> str:
    models = list(dict.fromkeys(row["model"] for row in rows))
    lines = []
    for name, of_data in by_dataset(rows).items():
        shares = {row["model"]: _percent(row["share"], 1) for row in of_data}
        lines.append([title_of(name), *(shares.get(model, "") for model in models)])
    return _table(("data set", *models), lines)


def _flat_from(rows: Sequence[Row]) -> int:
    """The least n from which on code lengths are near that of the largest."""
    finest, *coarser = sorted(rows, key=lambda row: -int(row["n"]))
    n = int(finest["n"])
    for row in coarser:
        if abs(row["code_length_bits"] - finest["code_length_bits"]) > FLAT:
            break
        n = int(row["n"])
    return n


def _two_optima(rows: Sequence[Row]) -> str:
    lines = [
        (
            "latent ignored" if row["epsilon"] is None else f"epsilon = {row['epsilon']:g}",
            _number(row, "code_length_bits"),
            _number(row, "entropy_bits"),
            _number(row, "kl_bits", ".2f"),
            _number(row, "initial_bits", ".1f"),
            _number(row, "own_grid_initial_bits", ".1f"),
        )
        for row in rows
    ]
    return _table(("optimum", "code length", "H", "KL", "initial", "initial, on a grid of its own"), lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """Markdown. Columns after the first are to the right where they are numbers."""
    lines = [heads, ["---", *(["---:" if numbers else "---"] * (len(heads) - 1))], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _number(row: Row, key: str, form: str = ".3f") -> str:
    """Empty where there is no such figure."""
    value = row.get(key)
    return "" if value is None else format(value, form)


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"
