"""Chapters on bounds and limits: several draws of z, flows, two optima, the noisy channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import figures
from ..channel import SIGMA, channel
from ..coding import PRECISION
from ..experiments import CELLS_IN_STD, linear_vae
from ..figures import by_dataset, title_of
from ..flow import TRAINED_EPSILON, Flow, NearDeterministic
from ..markdown import Results, Row, bits, by_model, coded, number, rows_of, table
from ..model import LatentModel
from ..pictures import noisy_channel
from ..posteriors import ImportanceWeighted
from ..rows import TRAINED_WITH
from .base import Chapter, picture, plot
from .models import compared

PAIRS = ("typical", "iwae")
FAMILY = tuple(f"iwae-{draws}" for draws in TRAINED_WITH)


def _particles(results: Results) -> str:
    """The VAE's own weights, a line for each data set and a column for each number of draws."""
    rows = by_dataset(rows_of(results, "particles"))
    limits = {row["dataset"]: row for row in results["limits"] if row["entry"] == "particles"}
    counts = sorted({row["particles"] for of_data in rows.values() for row in of_data})
    lines = [
        [title_of(name), *(number(row, "code_length_bits") for row in of_data), number(limits[name], "points_nll_bits")]
        for name, of_data in rows.items()
    ]
    points = next(iter(rows.values()))[0]["points"]
    return (
        table(("data set", *(f"K = {count}" for count in counts), "-log2 p(x)"), lines)
        + f"\n\nThe typical VAE's own weights; code lengths of {points} points. In the figure bars are errors by the draw of "
        "latents, and a line is the bound as coded. Both vary by about 0.01 bits, so not every one is below the one before; a dot "
        "within its error of 0 is drawn at that error, and a line has a gap where it is below 0. With 50 draws a point takes "
        "hundreds of pushes and pops, and each is rounded on a head that may be but 31 bits long: that adds less than 0.01 bits."
    )


def _iwae(results: Results) -> str:
    """Both families: one model coded with K, and models trained with K and coded with K."""
    rows = by_dataset(rows_of(results, "iwae"))
    counts = sorted({row["particles"] for of_data in rows.values() for row in of_data})
    lines = [[title_of(name), *(number(row, "code_length_bits") for row in of_data)] for name, of_data in rows.items()]
    trained_with = {"typical": 1, "iwae": ImportanceWeighted().particles}
    pairs = [row for row in rows_of(results, *trained_with) if row["particles"] == trained_with[row["entry"]]]
    steps = {row["entry"]: row["steps"] for row in pairs}
    columns = {
        "trained and coded with": lambda row: str(row["particles"]),
        "bound": lambda row: number(row, "neg_elbo_bits" if row["particles"] == 1 else "iwae_bits"),
        "NLL": bits("nll_bits"),
        "code length": coded,
    }
    family = rows_of(results, *FAMILY)
    unused = [row for row in family if row["active_latents"] == 1]
    most = max(TRAINED_WITH)
    fewer = [title_of(name) for name, of_data in by_dataset(family).items() if of_data[-1]["particles"] < most]
    elsewhere = f" For {' and '.join(fewer)} with K = {most} see below." if fewer else ""
    sizes = [[title_of(row["dataset"]), *(show(row) for show in columns.values())] for row in family]
    return "\n\n".join(
        [
            "One model, trained with 10 draws and coded with K:",
            table(("data set", *(f"K = {count}" for count in counts)), lines),
            "A model for each K, trained with K draws and coded with K:",
            table(("data set", *columns), sizes),
            f"All of these by the loss above, for {family[0]['steps']} steps of {ImportanceWeighted.batch} points, without free "
            f"bits; code lengths are of {family[0]['points']} points.{elsewhere}{_collapsed(unused)}",
            f"Two that were trained for longer, the VAE for {steps['typical']} steps of {LatentModel.batch} points with free bits, "
            f"the IWAE for {steps['iwae']} of {ImportanceWeighted.batch} without:",
            by_model({"rows": pairs}, tuple(trained_with), columns),
        ]
    )


def _collapsed(rows: Sequence[Row]) -> str:
    """What to say of models with a latent that is not used."""
    grouped = by_dataset(rows).items()
    names = ", ".join(
        f"{title_of(name)} with K = {' and '.join(str(row['particles']) for row in of_data)}" for name, of_data in grouped
    )
    return f" For {names} one of the two latents is not used: free bits are there to prevent that." if rows else ""


def _iwae_answer(results: Results) -> str:
    rows = rows_of(results, "iwae")
    one = [row for row in rows if row["particles"] == 1]
    low, high = min(row["code_length_bits"] for row in one), max(row["code_length_bits"] for row in one)
    return (
        f"It takes {low:.1f} to {high:.1f} bits, where a uniform density takes 0. Its q(z|x) is broad, as the best of ten draws is "
        "all that the bound needs, and a single z is a bad one now and then, which costs tens of bits. (-ELBO is larger still: a "
        f"density asks for hundreds of bits where the integer freqs of a code ask for {PRECISION} a digit at most.)"
    )


def _gain(results: Results) -> str:
    rows = by_dataset(rows_of(results, "particles"))
    gains = []
    for name, (one, *_, last) in rows.items():
        error = math.hypot(one["beyond_error"], last["beyond_error"])
        gains.append(f"{title_of(name)} {one['code_length_bits'] - last['code_length_bits']:.2f} ± {error:.2f}")
    most = next(iter(rows.values()))[-1]["particles"]
    return f"With {most} draws: {', '.join(gains)} bits a point."


def _flow(results: Results) -> str:
    columns = {"-ELBO": bits("neg_elbo_bits"), "code length": coded, "the flow": bits("flow_bits")}
    return by_model(results, ("flow",), columns) + (
        "\n\n*The flow*: -log2 p(x) of f itself; J is its Jacobian. f is trained by the -ELBO at epsilon = "
        f"{TRAINED_EPSILON:g}, for {rows_of(results, 'flow')[0]['steps']} steps of {Flow.batch} points."
    )


def _two_optima(results: Results) -> str:
    lines = [
        (
            "latent ignored" if row["epsilon"] is None else f"epsilon = {row['epsilon']:g}",
            *(number(row, "code_length_bits"), number(row, "entropy_bits"), number(row, "kl_bits", ".2f")),
            *(number(row, "initial_bits", ".1f"), number(row, "own_grid_initial_bits", ".1f")),
        )
        for row in results["two_optima"]
    ]
    return (
        table(("optimum", "code length", "H", "KL", "initial", "initial, on a grid of its own"), lines)
        + "\n\n*Initial*: the bits that a first z takes off the message. On one grid, fine enough for the sharpest q, a sharper q "
        f"takes fewer; on grids that go with epsilon, of {CELLS_IN_STD} cells in a standard deviation of q, it takes the same."
    )


def _channel(results: Results) -> str:
    lines = [
        [
            *(title_of(row["dataset"]), row["model"], number(row, "cost_bits", ".2f"), number(row, "capacity_bits", ".2f")),
            *(number(row, "words", ".1f"), number(row, "distortion_bits", ".2f")),
        ]
        for row in results["channel"]
    ]
    uses = sorted({row["uses"] for row in results["packing"]})
    wrong = {(row["rate"], row["uses"]): number(row, "wrong", ".3f") for row in results["packing"]}
    rates = sorted({row["rate"] for row in results["packing"]})
    packed = [[f"bits a use: {rate:g}", *(wrong.get((rate, use), "") for use in uses)] for rate in rates]
    return "\n\n".join(
        [
            table(("data set", "model", "L_reg", "d R", "words 2^(d R)", "distortion"), lines),
            f"Spheres in numbers: a channel with sigma = {SIGMA:g} carries log2(1/{SIGMA:g}) = 1 bit a use, so there is room for "
            f"2^d words "
            "in d uses. So often the nearest of 2^(rate x d) random words is not the one that was sent:",
            table(("rate", *(f"d = {use}" for use in uses)), packed),
            "With fewer words than there is room for, mistakes become ever rarer as d grows, with more of them ever more frequent.",
        ]
    )


CHAPTERS = (
    Chapter(
        "particles",
        "More particles, shorter codes",
        "Monte Carlo bits-back draws K latents for a point, codes it with one of them chosen by weight, and takes the bound of K "
        "draws: it falls from -ELBO towards -log2 p(x) as K grows. The model stays as it is, and nothing is trained anew.",
        r"-E \log_2 \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)} \;\to\; -\log_2 p(x)",
        (LatentModel.log_weights, LatentModel.bound),
        (plot("particles", "bits beyond -log2 p(x)", figures.particles),),
        _particles,
        "What is the gain of many draws for a model that was trained with one?",
        _gain,
        entries=("particles", "iwae"),
        parts=("limits",),
    ),
    Chapter(
        "iwae",
        "Trained with K draws",
        "An IWAE is trained by the bound of K draws itself, which asks less of q(z|x): one of K has to be good. So it has to be "
        "coded with as many.",
        r"\text{loss} = -E \log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}",
        (ImportanceWeighted.loss, LatentModel.bound),
        (
            plot("trained_with", "trained with K draws and coded with K", figures.trained_with),
            compared("iwae", PAIRS),
        ),
        _iwae,
        "What does the model that was trained with 10 draws take with one?",
        _iwae_answer,
        entries=(*FAMILY, *PAIRS),
        parts=("entropies",),
    ),
    Chapter(
        "flow",
        "Near-deterministic: the VAE that becomes a flow",
        "With p(x|z) = N(f(z), eps^2) and a q(z|x) to match, all small eps have the same code length: that of the flow f by the "
        "change of variables (Section 3.3). z says more as eps falls, and x given z takes as much less.",
        r"-\text{ELBO} \;\to\; -\log_2 p\left(f^{-1}(x)\right) - \log_2 \left|\det \frac{\partial f^{-1}}{\partial x}\right|, "
        r"\qquad "
        r"q(z|x) = N\left(f^{-1}(x),\, \epsilon^2 J^{-1} J^{-T}\right)",
        (NearDeterministic.posterior, NearDeterministic.likelihood, Flow.bound),
        (compared("flow", ("flow",)),),
        _flow,
        "Why is eps = 0.01 longer than the flow itself?",
        lambda results: (
            "f is not linear within 0.01, so N(f^-1(x), ...) is not the true posterior there; how far it is from it is paid for, "
            "as the KL of the two. For smaller eps the difference falls."
        ),
        entries=("flow",),
        parts=("entropies",),
    ),
    Chapter(
        "two-optima",
        "One Gaussian, two optima",
        "The data is one Gaussian. A VAE may ignore its latent and say everything in p(x|z), or say everything in the latent, "
        "with a p(x|z) whose standard deviation is epsilon times that of the data: both are optima of the ELBO, and so is "
        "everything between (Section 5.2).",
        r"p(x|z) = N\left(\sqrt{1-\epsilon^2}\,s z,\; \epsilon^2 s^2\right), \qquad "
        r"q(z|x) = N\left(\sqrt{1-\epsilon^2}\,x/s,\; \epsilon^2\right)",
        (linear_vae,),
        (plot("two_optima", "code length, KL term and initial bits", figures.two_optima),),
        _two_optima,
        "The KL term grows without limit as epsilon falls. Who pays for it?",
        lambda results: (
            "p(x|z): it takes one bit less whenever the KL term takes one more. Only initial bits on one fine grid differ, and "
            "these are needed once and come back."
        ),
        parts=("two_optima",),
    ),
    Chapter(
        "channel",
        "Latents as a noisy channel",
        "The encoder sends latents with noise, and the decoder hears them (Section 4.3): the KL term L_reg is what they cost, d R "
        "what d latents can carry through the noise. In pictures: 2^(d R) balls of noise have room in the ball of all that can be "
        "heard.",
        r"R = \log_2 \frac1\sigma, \qquad L_{reg} = \sum_d \left(R_d + \frac{\sigma_d^2 + \mu_d^2 - 1}{2 \ln 2}\right), "
        r"\qquad "
        r"\left(\frac{\sqrt d}{\sqrt d\,\sigma}\right)^d = 2^{dR}",
        (channel,),
        (
            picture(
                "noisy_channel", "L_reg against d R: a dot is a point, a cross the mean of all", noisy_channel, ("typical", "beta")
            ),
            plot("packing", "words that are heard wrongly", figures.packing),
        ),
        _channel,
        "L_reg and d R of a VAE agree in the mean, point by point they do not. When do they agree in the mean?",
        lambda results: (
            "When sigma^2 + mu^2 is 1 in the mean over points and latents: so it is where the posteriors of all points together "
            "match the prior. A point with latents further out than most has a longer code than its noise says."
        ),
        parts=("channel", "packing"),
    ),
)
