"""TABLES.md: every row of the results, and what their columns mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .coding import CHAINS, POINTS, PRECISION
from .figures import by_dataset, name_of, title_of
from .flow import Flow
from .markdown import Results, Row, coded, number, signed, table
from .measuring import ACTIVE_VARIANCE, CODED_DRAWS, IWAE_PARTICLES, NLL_PARTICLES
from .model import FREE_BITS, LatentModel
from .objectives import Wasserstein
from .posteriors import ImportanceWeighted
from .published import PUBLISHED
from .rows import STEPS

ACCURACY = round(-math.log2(POINTS.step))  # n, of the grid of points
CLOSE = 0.01  # bits, or as a share: a code length that is as near to a bound is said to agree
SURE = 3  # standard errors: a difference that is larger is one

TEXT = """\
# Tables

All models of [the tutorial's page](README.md) with all their columns. Figures are bits per point, where a uniform density on the
square takes 0.

## Columns

- **steps** of training, with {batch} points each; {iwae_batch} for IWAE, {flow_batch} for the flow. More of them still help, so
  models of {steps} are to be compared with the typical VAE of as many. The decoders of Wasserstein auto-encoders get their
  posterior in {settling} more.
- **points** that are coded, with draws that no model was trained with; every row of a data set takes the first of the same draws.
- **H**: the entropy of the data.
- **-ELBO**: what bits-back takes in the mean.
- **NLL**: -log2 p(x) of the model, by importance sampling with up to {nll_particles} draws of z, on the tutorial's square. NLL
  less H is what the model loses, -ELBO less NLL what the posterior loses, once H less what the true density takes for these points
  is added.
- **IWAE**: the negative IWAE bound of {iwae_particles} draws of z, or of K where a row is coded with K > 1. In the mean it is
  between -ELBO and NLL.
- **active**: latents whose posterior mean moves with the point, by a variance above {active}. Free bits are enough for that: with
  beta = 4 both are active, and say 0.05 bits each.
- **as coded**: -ELBO once more, or the IWAE bound for K > 1, by the integer freqs of the code. A freq is at least 1 of
  2^{precision}, so each of a number's two digits costs at most {precision} bits, where a density may ask for hundreds. It is
  below the bound where narrow likelihoods meet broad posteriors: a code is shorter there than its density says.
- **code length**: by how much messages grew, for each point, with its standard error. Points go on {chains} messages, the first
  {chains} on one each, then the next {chains} on top of these: 10,000 points are {chains} messages of 100. A point is coded as a
  cell of a grid of 2^{n} cells in a unit of each direction, and the {two_n} bits that this takes under a uniform density are
  taken off. Points are coded {coded_draws} times, on other messages and with other draws of z (once for K > {half}, and for codes
  without draws): one draw each would leave their mean uncertain by 0.01 bits.
- **initial**: bits that a message must hold before its first point: the 31 of its head, and words of 32 below, as many as any of
  the messages used. They are needed once for a message, and come back when it is decoded, so code length does not count them.
- **beyond**: code length less the bound as coded, with the standard error that draws of z give their difference.

*Free bits.* Where the KL term has a closed form, training does not charge the first {free_bits} bits of each latent of each
point, as in the tutorial. Where it is sampled (full covariance, inverse-autoregressive, learned priors, VampPrior, LARS) it does
not charge the first {all_free_bits} bits of its mean over the batch. IWAE, flow, VQ-VAE and the auto-encoder have none, nor has
the first training of Wasserstein auto-encoders. No bound and no code length here leaves out any bits.

*Errors.* -ELBO, IWAE and code length are of the same points, drawn from the data: the draw moves all three together by about the
standard error that code lengths have, up or down. H and NLL are sums over a grid, weighted by the true density, and have no such
error. So all three may be a little below NLL and H: compare them with what the true density takes for these points. On another
machine trainings end elsewhere: most code lengths by less than 0.02 bits, those of the flow and of VQ-VAE by up to 0.2, those of
IWAE coded with one or two draws by up to 1.5. Rows in
italics are the tutorial's Tables 1 and 2. Standard errors of the other columns, and the source of each model, are in
[tutorial.json](../results/tutorial.json).

*Codes in two parts.* The codes of VQ-VAE and of the auto-encoder have nothing to get back. Their -ELBO is -log2 p(k) p(x|k) for
the code k that is sent, NLL and IWAE are of p(x), the exact sum over all k. Of the mixture -ELBO, as coded and NLL are -log2 p(x)
of the points that are coded.

## Do code lengths agree with their bounds?

{verdict}

{tables}
"""


def write(results: Results, folder: Path) -> None:
    """TABLES.md in `folder`."""
    rows = results["rows"]
    text = TEXT.format(
        batch=LatentModel.batch,
        iwae_batch=ImportanceWeighted.batch,
        flow_batch=Flow.batch,
        steps=STEPS,
        settling=Wasserstein.settling_steps,
        nll_particles=NLL_PARTICLES,
        iwae_particles=IWAE_PARTICLES,
        active=ACTIVE_VARIANCE,
        precision=PRECISION,
        chains=CHAINS,
        n=ACCURACY,
        two_n=2 * ACCURACY,
        coded_draws=CODED_DRAWS,
        half=CODED_DRAWS // 2,
        free_bits=FREE_BITS,
        all_free_bits=2 * FREE_BITS,
        verdict=_verdict(rows),
        tables="\n\n".join(f"## {title_of(name)}\n\n{_measured(of_data)}" for name, of_data in by_dataset(rows).items()),
    )
    (folder / "TABLES.md").write_text(text)


def _verdict(rows: Sequence[Row]) -> str:
    """What the tables show together: whether points came back, and whether code lengths are those promised."""
    wrong = [row for row in rows if not row["decoded_equal"]]
    decoded = f"**not in {_named(wrong)}**" if wrong else "in every row"
    of_density = [row for row in rows if not _close(row, _bound(row))]
    shorter = [row for row in of_density if row["code_length_bits"] < row[_bound(row)]]
    longer = [row for row in of_density if row["code_length_bits"] > row[_bound(row)]]
    of_freqs = [row for row in rows if not _close(row, "coded_bound_bits")]
    off = [row for row in of_freqs if abs(beyond(row)) > SURE * row["beyond_error"]]
    unsure = [row for row in of_freqs if row not in off]
    text = (
        f"Points came out as they went in, and left the message as it had been, {decoded}. Code length is within {CLOSE} bits or "
        f"{100 * CLOSE:g} % of its bound, -ELBO or IWAE with K > 1, in {len(rows) - len(of_density)} of {len(rows)} rows."
    )
    text += f" It is shorter in {_named(shorter)}." if shorter else ""
    text += f" It is longer in {_named(longer)}." if longer else ""
    text += f" It is as near to its bound as coded in {len(rows) - len(of_freqs)} rows."
    text += f" In {_named(unsure)} the difference is larger, but less than {SURE} of its standard errors." if unsure else ""
    return text + (f" **It is larger than that in {_named(off)}.**" if off else "")


def _named(rows: Sequence[Row]) -> str:
    """Models with their data sets, each model once."""
    datasets: dict[str, list[str]] = {}
    for row in rows:
        datasets.setdefault(name_of(row), []).append(title_of(row["dataset"]))
    return "; ".join(f"{model} ({', '.join(titles)})" for model, titles in datasets.items())


def _measured(rows: Sequence[Row]) -> str:
    """The table of a data set, published rows at its end, and below it what was coded where the objective is no code length."""
    readings = list(dict.fromkeys(row["reading"] for row in rows if row["reading"]))

    def name(row: Row) -> str:
        return name_of(row) + (f" <sup>{readings.index(row['reading']) + 1}</sup>" if row["reading"] else "")

    bounds = {"-ELBO": "neg_elbo_bits", "NLL": "nll_bits", "IWAE": "iwae_bits"}
    columns: dict[str, Callable[[Row], str]] = {
        "model": name,
        "steps": partial(number, key="steps", form="d"),
        "points": partial(number, key="points", form="d"),
        "H": partial(number, key="entropy_bits"),
        **{head: partial(number, key=key) for head, key in bounds.items()},
        "active": partial(number, key="active_latents", form="d"),
        "as coded": partial(number, key="coded_bound_bits"),
        "code length": coded,
        "initial": partial(number, key="initial_bits", form="d"),
        "beyond": lambda row: f"{signed(beyond(row))} ± {row['beyond_error']:.3f}",
    }
    lines = [[show(row) for show in columns.values()] for row in rows]
    for row in PUBLISHED:
        if row["dataset"] == rows[0]["dataset"]:
            claimed = [number(row, key, ".2f") for key in bounds.values()]
            lines.append([f"*{row['model']}, published*", "", "", "", *claimed, "", "", "", "", ""])
    notes = [f"<sup>{place}</sup> {reading}" for place, reading in enumerate(readings, 1)]
    limits = {row["flow_bits"] for row in rows} - {None}
    notes += [f"The flow itself takes {bits:.3f} for these points by -log2 p(x): what its VAEs tend to." for bits in limits]
    return "\n\n".join([table(tuple(columns), lines), *notes])


def _bound(row: Row) -> str:
    """The key of what is coded: -ELBO, or the bound of several particles."""
    return "neg_elbo_bits" if row["particles"] == 1 else "iwae_bits"


def beyond(row: Row) -> float:
    """By how much a code length is above its bound as coded."""
    return float(row["code_length_bits"] - row["coded_bound_bits"])


def _close(row: Row, bound: str) -> bool:
    """Whether the code length is as near to a bound as it should be."""
    return abs(row["code_length_bits"] - row[bound]) <= CLOSE * max(1.0, abs(row["code_length_bits"]))
