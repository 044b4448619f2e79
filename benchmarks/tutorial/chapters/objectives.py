"""Chapters on objectives that are no code lengths, on codes without bits back, and on what bits-back needs."""

from __future__ import annotations

from .. import figures
from ..coding import CHAINS, PRECISION, dithered
from ..deterministic import TwoPart, VectorQuantised
from ..figures import title_of
from ..likelihoods import log_mse, plain_mse
from ..markdown import Results, bits, by_model, coded, number, rows_of, signed, table
from ..objectives import BetaVAE, Wasserstein, mmd, sliced_w1
from ..pictures import blur
from .base import Chapter, picture, plot
from .models import compared

MSE = ("mse", "log-mse")
DISTANCES = ("typical-short", "beta", "wae", "wae-w1")
TWO_PART = ("typical-short", "vq", "autoencoder")


def _mse(results: Results) -> str:
    gaussian = {row["dataset"]: row["gaussian_bits"] for row in results["entropies"]}
    columns = {
        "code length": coded,
        "less one Gaussian's": lambda row: signed(row["code_length_bits"] - gaussian[row["dataset"]]),
    }
    falls = [
        [str(row["factor"]), number(row, "mse_gradient", ".4f"), number(row, "log_mse_gradient", ".2f")]
        for row in results["gradients"]
    ]
    return "\n\n".join(
        [
            table(("errors less by c", "gradient of MSE", "gradient of log MSE"), falls),
            by_model(results, MSE, columns),
        ]
    )


def _mse_answer(results: Results) -> str:
    gaussian = {row["dataset"]: row["gaussian_bits"] for row in results["entropies"]}
    trained = [row["code_length_bits"] - gaussian[row["dataset"]] for row in rows_of(results, "mse") if not row["reading"]]
    read = [row["code_length_bits"] - gaussian[row["dataset"]] for row in rows_of(results, "mse") if row["reading"]]
    return (
        f"As trained it takes {min(trained):.1f} to {max(trained):.1f} bits more than one Gaussian, as a variance of 1/2 is absurd "
        f"for points a few hundredths apart. The same networks with the variance that fits take {signed(min(read))} to "
        f"{signed(max(read))} bits more: beside such a likelihood the KL term leaves latents no more than their free "
        "bits, and they say next to nothing."
    )


def _distances(results: Results) -> str:
    gaussian = {row["dataset"]: row["gaussian_bits"] for row in results["entropies"]}
    columns = {
        "-ELBO": bits("neg_elbo_bits"),
        "NLL": bits("nll_bits"),
        "code length": coded,
        "one Gaussian": lambda row: f"{gaussian[row['dataset']]:.3f}",
    }
    return by_model(results, DISTANCES, columns) + (
        f"\n\nRead as codes: beta-VAE by its own ELBO (beta = 1 in place of {BetaVAE.beta:g}). A Wasserstein auto-encoder has no "
        f"posterior; its decoder stays, and gets a variance and a posterior, trained by the ELBO for {Wasserstein.settling_steps} "
        f"steps afterwards."
    )


def _distances_answer(results: Results) -> str:
    gaussian = {row["dataset"]: row["gaussian_bits"] for row in results["entropies"]}
    differences = [row["code_length_bits"] - gaussian[row["dataset"]] for row in rows_of(results, "beta")]
    return (
        f"Within {max(abs(bits) for bits in differences):.2f} bits of one Gaussian's: with beta = {BetaVAE.beta:g} a bit of z "
        f"costs four, "
        "so latents say no more than their free bits, and what is drawn from p(x|z) is one blurred spot."
    )


def _two_part(results: Results) -> str:
    columns = {
        "code length": coded,
        "-log2 p(k) p(x|k)": bits("neg_elbo_bits"),
        "-log2 p(x)": bits("iwae_bits"),
        "lost": lambda row: f"{row['neg_elbo_bits'] - row['iwae_bits']:.3f}",
    }
    return by_model(results, TWO_PART[1:], columns) + (
        "\n\n-log2 p(x) is the exact sum over all codes k. *Lost* is -log2 p(k|x) in the mean: what bits-back would save. Where a "
        "code length is less than -log2 p(k) p(x|k), a few points are so far from what their code stands for that the density asks "
        f"for more bits than the code has: its integer freqs take {PRECISION} for each of a number's two digits at most."
    )


def _clean(results: Results) -> str:
    rows = rows_of(results, "typical", "beta")
    initial, points = max(row["initial_bits"] for row in rows), rows[0]["points"]
    columns = {"-ELBO": bits("neg_elbo_bits"), "code length": coded, "without": bits("plain_bits")}
    return by_model(results, ("typical", "beta"), columns) + (
        f"\n\nWhat is counted: by how much {CHAINS} messages of {points // CHAINS} points each have grown. The pseudo-random "
        f"numbers are known to both sides and add nothing. Initial bits are not counted: a message must hold {initial} before its "
        f"first point, the 31 "
        "of its head and words of 32, as many as any of the messages used; they are needed once, and all of them come back."
    )


def _clean_answer(results: Results) -> str:
    worst = max(rows_of(results, "beta"), key=lambda row: row["plain_bits"] - row["neg_elbo_bits"])
    return (
        f"Those of beta = {BetaVAE.beta:g}: on {title_of(worst['dataset'])} {worst['plain_bits']:.3f} in place of "
        f"{worst['neg_elbo_bits']:.3f} bits. Its q(z|x) is nearly p(z), so a z that was pushed by p(z) is popped by q(z|x) as "
        f"nearly the "
        "same z, again and again, and one bad z is paid for by many points."
    )


CHAPTERS = (
    Chapter(
        "mse",
        "What the plain MSE costs",
        "Who trains by the squared error, summed over the numbers of a point, has chosen a Gaussian of variance 1/2, mostly "
        "unaware (Section 5.1). The logarithm of the mean squared error (MSE) stands for the variance that fits best.",
        r"\min_v\left(\frac{MSE}{v} + \log v\right) = 1 + \log MSE, \qquad "
        r"\frac{\partial\,MSE}{\partial \mu} \propto \mu - x, \qquad \frac{\partial \log MSE}{\partial \mu} \propto \frac{\mu - "
        r"x}{MSE}",
        (plain_mse, log_mse),
        (
            plot("gradients", "gradients as errors fall", figures.gradients),
            compared("mse", MSE),
        ),
        lambda results: (
            _mse(results)
            + "\n\nWhen all errors fall by c, the gradient of the MSE falls by c too, and the KL term's, which knows nothing of "
            "errors, is all that is left. The gradient of log MSE does not fall: it grows by c, as the variance falls with the "
            "errors."
        ),
        "How far is the plain MSE from one Gaussian that is fitted to all points, with no latents at all?",
        _mse_answer,
        entries=MSE,
        parts=("entropies", "gradients"),
    ),
    Chapter(
        "distances",
        "Objectives that are no code lengths",
        "beta times the KL term, or a distance of all encoded points together from p(z) in its place (MMD, or W1 along random "
        "lines), may be better for whatever latents are wanted for. As codes the networks take their own -ELBO, and that is "
        "longer.",
        r"-\log p(x|z) + \beta\,KL, \qquad |x - f(z)|^2 + \lambda\,MMD^2, \qquad |x - f(z)|^2 + \lambda\,E_\theta W_1(\theta^T "
        r"z, \theta^T z'), "
        r"\; z' \sim p(z)",
        (mmd, sliced_w1),
        (
            compared("distances", DISTANCES),
            picture(
                "blur", "the data; the means of p(x|z) for z from p(z); draws from p(x|z) around them", blur, ("typical", "beta")
            ),
        ),
        _distances,
        f"What is left of a code by beta = {BetaVAE.beta:g}?",
        _distances_answer,
        entries=DISTANCES,
        parts=("entropies",),
    ),
    Chapter(
        "two-part",
        "Codes in two parts: no bits back",
        "A deterministic encoder names one of K codes, and the message is the code's number by p(k) and the point by p(x|k). That "
        "is a valid code, but it pays for the choice of k, which bits-back would get back.",
        r"-\log_2 p(k)\,p(x|k) = -\log_2 p(x) - \log_2 p(k|x)",
        (VectorQuantised.assign, TwoPart.bound),
        (compared("two-part", TWO_PART),),
        _two_part,
        "The auto-encoder has 1024 codes, the VQ-VAE 64. Why does the first lose more?",
        lambda results: (
            "With more codes, more of them could stand for the same point: each has a smaller share of p(k|x), and the name of the "
            "one that is sent costs more."
        ),
        entries=TWO_PART,
        parts=("entropies",),
    ),
    Chapter(
        "clean-bits",
        "Clean bits, initial bits",
        "Bits-back draws z from what is on top of the message, the z of the point before: random bits as long as latents are as "
        "p(z) says, and else not a draw from q(z|x). Here they are moved by pseudo-random numbers first, which the decoder knows "
        "too, as it has the point by then.",
        r"z = \text{pop}\left(\text{message} + h(x)\right), \qquad h(x) \text{ known to both sides}",
        (dithered,),
        (plot("clean", "with and without, beyond -ELBO", figures.clean),),
        _clean,
        "Which codes suffer without?",
        _clean_answer,
        entries=("typical", "beta"),
    ),
)
