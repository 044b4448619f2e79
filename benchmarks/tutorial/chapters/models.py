"""Chapters on models: the VAE, what its three parts can be, and how many latents it needs."""

from __future__ import annotations

from ..figures import above, latents, name_of, title_of
from ..likelihoods import AutoregressiveDecoder, LogisticVAE
from ..markdown import Results, Row, bits, by_model, coded, number, percent, rows_of, signed, table
from ..measuring import blur, latent_bits
from ..model import FREE_BITS, LatentModel
from ..pictures import DARK, density, latent_space
from ..posteriors import FullCovariance, InverseAutoregressive
from ..priors import LearnedPrior, VampPrior
from ..published import PUBLISHED
from .base import Chapter, Figure, picture, plot

USED = 2 * FREE_BITS  # bits
COLUMNS = {"-ELBO": bits("neg_elbo_bits"), "NLL": bits("nll_bits"), "code length": coded}


def compared(name: str, entries: tuple[str, ...]) -> Figure:
    """A figure of code lengths beyond the true density's."""
    caption = "code lengths beyond what the true density takes for the same points"
    return plot(name, caption, lambda results, path: above(results, path, entries))


def _vae(results: Results) -> str:
    truth = {row["dataset"]: row for row in results["entropies"]}
    claims = {row["dataset"]: row for row in PUBLISHED if row["model"] == "VAE"}
    lines = [
        [
            *(title_of(row["dataset"]), str(row["steps"]), number(truth[row["dataset"]], "entropy_bits")),
            *(number(claims.get(row["dataset"], {}), "neg_elbo_bits", ".2f"), number(row, "neg_elbo_bits"), coded(row)),
            *(number(claims.get(row["dataset"], {}), "nll_bits", ".2f"), number(row, "nll_bits")),
        ]
        for row in rows_of(results, "typical", "typical-short")
    ]
    heads = ("data set", "steps", "H", "-ELBO, published", "-ELBO", "code length", "NLL, published", "NLL")
    return table(heads, lines)


def _priors(results: Results) -> str:
    models = list(dict.fromkeys(row["model"] for row in results["dark"]))
    shares = {(row["dataset"], row["model"]): percent(row["share"]) for row in results["dark"]}
    datasets = list(dict.fromkeys(row["dataset"] for row in results["dark"]))
    lines = [[title_of(name), *(shares[name, model] for model in models)] for name in datasets]
    return "\n\n".join(
        [
            by_model(results, PRIORS, COLUMNS),
            "-ELBO may be below NLL: it is of the points that are coded, NLL of the density, see the chapter on posteriors.",
            "*Dark*: the share of p(z), over the square of the figure, that is decoded to where the true density is below "
            f"{DARK} of its maximum:",
            table(("data set", *models), lines),
        ]
    )


def _gap(results: Results) -> str:
    """What the posterior loses, and what the model loses beside."""
    easier = {row["dataset"]: row["entropy_bits"] - row["points_bits"] for row in results["entropies"]}
    columns = {
        **COLUMNS,
        "KL(q(z|x) || p(z|x))": lambda row: f"{row['neg_elbo_bits'] - row['nll_bits'] + easier[row['dataset']]:.3f}",
        "NLL - H": lambda row: f"{row['nll_bits'] - row['entropy_bits']:.3f}",
    }
    shown = {row["dataset"] for row in results["rows"]}
    by = ", ".join(f"{title_of(name)} {signed(bits)}" for name, bits in easier.items() if name in shown)
    return by_model(results, POSTERIORS, columns) + (
        "\n\n-ELBO is of the points that are coded, NLL of the density, so their difference is not yet the KL: by the true density "
        f"these points take less than H, by {by} bits, which are added."
    )


def _least(results: Results, *entries: str) -> str:
    """The model with the shortest code, for each data set."""
    named = []
    for dataset in dict.fromkeys(row["dataset"] for row in results["rows"] if row["entry"] in entries):
        row = min((row for row in rows_of(results, *entries) if row["dataset"] == dataset), key=lambda row: row["code_length_bits"])
        named.append(f"{title_of(dataset)} {name_of(row)} ({number(row, 'code_length_bits')})")
    return "; ".join(named)


def _latents(results: Results) -> str:
    columns = {
        "KL of each latent": lambda row: ", ".join(f"{term:.3f}" for term in row["latent_bits"]),
        "used": lambda row: str(used(row)),
        "active": lambda row: number(row, "active_latents", "d"),
        "blur": lambda row: percent(row["blur"], 2),
        **COLUMNS,
    }
    most = rows_of(results, LATENTS[-1])[0]
    unused = sum(term for term in most["latent_bits"] if term <= USED)
    return by_model(results, LATENTS, columns) + (
        f"\n\n*Used*: latents with a KL term above {USED} bits, twice their free bits. *Active*: those whose posterior mean has a "
        f"variance "
        "above 0.01 over the data, as is usual; but training does not charge for free bits, so a latent that is not used takes "
        "some of "
        f"them, and moves by more than that. Of {len(most['latent_bits'])} latents those that are not used cost {unused:.3f} bits "
        f"together. These models are trained for {most['steps']} steps, and code lengths are of {most['points']} points."
    )


def used(row: Row) -> int:
    """How many latents say more than what is free."""
    return sum(term > USED for term in row["latent_bits"])


DECODERS = ("typical-short", "logistic", "autoregressive")
POSTERIORS = ("typical-short", "full-covariance", "iaf")
PRIORS = ("typical-short", "learned-prior", "vampprior", "lars")
LATENTS = ("latents-1", "latents-2", "latents-4")

CHAPTERS = (
    Chapter(
        "vae",
        "The VAE: -ELBO is a code length",
        "A decoder network makes p(x|z), an encoder network makes q(z|x), and both are trained to make -ELBO small. Bits-back with "
        "them takes -ELBO for a point in the mean, so training makes the code short.",
        r"-\text{ELBO} = E_{q(z|x)}\left[-\log_2 p(x|z)\right] + KL\left(q(z|x)\,\|\,p(z)\right)",
        (LatentModel.posterior, LatentModel.prior, LatentModel.likelihood, LatentModel.loss),
        (
            picture(
                "density", "the tutorial's Figure 1: the density of the data beside those of models", density, ("typical", "iwae")
            ),
        ),
        lambda results: (
            _vae(results)
            + "\n\nWith four times the steps the code is shorter: models of other chapters train for 6000 steps where "
            f"nothing else is said, and compare with the VAE of 6000. The loss does not charge the first {FREE_BITS} bits of each "
            "latent (free bits, as in the tutorial). Where the KL term is sampled (chapters on posteriors and priors), it does not "
            f"charge the first {2 * FREE_BITS} bits of the mean over a batch, and IWAE, flow and codes in two parts have no free "
            "bits. -ELBO and code length here charge everything."
        ),
        "NLL is below -ELBO. Can a code take only the NLL?",
        lambda results: (
            "Not by bits-back with this q(z|x): it takes NLL + KL(q(z|x) || p(z|x)). A better q(z|x) brings it nearer, and so do "
            "several draws of z for each point."
        ),
        entries=("typical", "typical-short"),
        parts=("entropies",),
    ),
    Chapter(
        "decoders",
        "What the decoder says",
        "A decoder may say other things of x than two independent Gaussians: logistics with longer tails, which change little, or "
        "x_2 given x_1. What it says itself no latent has to say.",
        r"p(x|z) = p(x_1|z)\,p(x_2|x_1, z)",
        (LogisticVAE.likelihood, AutoregressiveDecoder.likelihood),
        (compared("decoders", DECODERS),),
        lambda results: by_model(results, DECODERS, COLUMNS),
        "How is a point coded whose second number depends on the first?",
        lambda results: (
            "Number by number: x_1 is decoded first, then x_2 by its distribution given x_1. So x_2 is pushed first, as what is "
            "pushed last is popped first."
        ),
        entries=DECODERS,
        parts=("entropies",),
    ),
    Chapter(
        "posteriors",
        "What the posterior loses",
        "-ELBO is more than NLL by KL(q(z|x) || p(z|x)), as q(z|x) is a simple density and p(z|x) is not. A normal of any "
        "covariance, or a chain q(z_1|x) q(z_2|z_1, x), can be nearer to it, and coding is as easy.",
        r"-\text{ELBO} = -\log_2 p(x) + KL\left(q(z|x)\,\|\,p(z|x)\right)",
        (FullCovariance.posterior, InverseAutoregressive.posterior),
        (compared("posteriors", POSTERIORS),),
        _gap,
        "With these posteriors NLL falls as well, and not only its distance from -ELBO, if that falls at all. Why?",
        lambda results: (
            "The decoder is trained by -ELBO, so it is held where the simple q(z|x) is near to p(z|x). With a better q(z|x) it may "
            "have posteriors of more shapes, and so fit the data better."
        ),
        entries=POSTERIORS,
        parts=("entropies",),
    ),
    Chapter(
        "priors",
        "What the prior wastes",
        "A standard normal p(z) spends mass on latents that are decoded to where there are no points, and the KL term pays for "
        "it. A learned prior puts its mass where the posteriors are; LARS accepts draws from N(z) with probability a(z), and takes "
        "the 100th as it is, which is c.",
        r"p(z) = \sum_k \pi_k\,N(z; \mu_k, \sigma_k^2), \qquad p(z) = \sum_k \pi_k\,q(z|u_k), \qquad p(z) \propto N(z)\,(a(z) + c)",
        (LearnedPrior.prior, VampPrior.prior),
        (
            picture(
                "latent_space",
                "the tutorial's Figure 2: latents have the colour of the point that they are decoded to, dark where there are none",
                latent_space,
                ("typical", "iwae"),
            ),
            compared("priors", PRIORS),
        ),
        _priors,
        "Which prior gives the shortest code?",
        lambda results: (
            f"{_least(results, *PRIORS)}. Trained anew, code lengths move by 0.02 bits, so models within that are alike."
        ),
        entries=PRIORS,
        parts=("dark", "entropies"),
    ),
    Chapter(
        "latents",
        "Latents that are not used, and blur",
        "Points of the plane have two numbers, so a VAE has use for two latents: with one it is left with blur, which p(x|z) says "
        "as noise, and with more than two the rest say next to nothing. Free bits are free in training alone: what they say costs "
        "its bits in the code.",
        r"KL_d = E_x\,KL\left(q(z_d|x)\,\|\,p(z_d)\right), \qquad \text{blur} = E_{q(z|x)}\operatorname{Var}(x|z) \,/\, "
        r"\operatorname{Var}(x)",
        (latent_bits, blur),
        (plot("latents", "against the number of latents", latents),),
        _latents,
        "Two latents are enough. Why is there any blur with two?",
        lambda results: (
            "A sharper p(x|z) needs a sharper q(z|x), and its KL term costs as many bits as p(x|z) saves, once the decoder is as "
            "good as linear within q(z|x): see the chapter on two optima. Nothing is gained by less blur then."
        ),
        entries=LATENTS,
    ),
)
