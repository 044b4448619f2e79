"""Chapters on codes: bits-back by hand, entropy, latents, and why -ELBO is the longer of two lengths."""

from __future__ import annotations

from collections.abc import Mapping

from .. import by_hand, coding, experiments, figures, jensen, mixture
from ..data import SPIRAL_STD, Data
from ..figures import title_of
from ..markdown import Results, number, signed, table
from .base import Chapter, plot

HALF_A_DIGIT = 0.005  # of the entropies that the tutorial gives
FLAT = 0.02  # bits: a code length that is as near to that on the finest grid is flat; draws of latents are half of it


def _steps(results: Results) -> str:
    lines = [["", "the message", "", f"{by_hand.MESSAGE} = {by_hand.MESSAGE:b} in binary", ""]]
    lines += [[step.who, step.what, step.arithmetic, str(step.state), f"{step.bits:+.3f}"] for step in by_hand.steps()]
    lengths = sorted(set(by_hand.endings()))
    count = {bits: by_hand.endings().count(bits) for bits in lengths}
    return "\n\n".join(
        [
            table(("", "step", "arithmetic", "state", "bits"), lines, numbers=False),
            f"The sender's three steps make the message {lengths[0]:.3f} bits longer, and log2(7011 / 2921) is as much. Of the "
            f"sixteen ends that a message may have, {count[lengths[0]]} give z = 0 and {lengths[0]:.3f} bits, {count[lengths[1]]} "
            f"give z = 1 and {lengths[1]:.3f} bits. Their mean is {by_hand.neg_elbo():.3f} bits, which is -ELBO; -log2 p(x) is "
            f"{by_hand.nll():.3f}. The receiver ends with x and with the twelve bits that were there before.",
            "The same in ten lines with `bbans`, which print 7011, then 0 and 2921. Its head is at least 2^31, so 5 x 2^32 lies on "
            "top of the twelve bits. Each step divides that without remainder, and the last 30 bits of the head are the states "
            "above.",
            f"```python\n{by_hand.WITH_BBANS.strip()}\n```",
        ]
    )


def _entropies(results: Results) -> str:
    def agrees(row: Mapping[str, float]) -> str:
        if row["published"] is None:
            return ""
        off = row["square_bits"] - row["published"]
        return "yes" if abs(off) <= HALF_A_DIGIT else f"no: {off:+.4f}"

    lines = [
        (
            title_of(str(row["dataset"])),
            *(number(row, "entropy_bits", ".4f"), number(row, "square_bits", ".4f"), number(row, "published", ".2f")),
            *(agrees(row), f"{row['points_bits']:.3f} ± {row['points_error']:.3f}", number(row, "gaussian_bits")),
        )
        for row in results["entropies"]
    ]
    heads = ("data set", "H", "on the square", "the tutorial's", "agrees", "of the coded points", "one Gaussian")
    return table(heads, lines)


def _mixtures(results: Results) -> str:
    lines = [
        [
            *(str(row["components"]), number(row, "entropy_bits"), number(row, "nll_bits")),
            *(number(row, "code_length_bits"), signed(row["code_length_bits"] - row["entropy_bits"])),
        ]
        for row in results["mixtures"]
    ]
    return table(("normals", "H", "-log2 p(x)", "code length", "code length - H"), lines)


def _averages(results: Results) -> str:
    lines = [
        [
            *(str(row["draws"]), number(row, "bound_bits"), number(row, "nll_bits")),
            f"{row['code_length_bits']:.3f} ± {row['code_length_error']:.3f}",
        ]
        for row in results["averages"]
    ]
    return table(("draws K", "-E log2 of the mean weight", "-log2 p(x)", "code length"), lines)


def _accuracy(results: Results) -> str:
    lines = [
        [
            str(row["n"]),
            number(row, "code_length_bits"),
            number(row, "neg_elbo_bits"),
            f"{row['code_length_bits'] + 2 * row['n']:.3f}",
        ]
        for row in results["accuracy"]
    ]
    return table(("n", "code length - 2 n", "-ELBO", "code length"), lines) + (
        f"\n\nOf {title_of(results['accuracy'][0]['dataset'])}, by the typical VAE. -ELBO is of the points as they are, on no "
        "grid, by draws of z of its own."
    )


def _flat_from(results: Results) -> int:
    """The least n from which on code lengths are near that of the largest."""
    finest, *coarser = sorted(results["accuracy"], key=lambda row: -int(row["n"]))
    n = int(finest["n"])
    for row in coarser:
        if abs(row["code_length_bits"] - finest["code_length_bits"]) > FLAT:
            break
        n = int(row["n"])
    return n


def _square(results: Results) -> str:
    return ", ".join(f"{title_of(row['dataset'])} {row['gaussian_bits'] - row['entropy_bits']:.2f}" for row in results["entropies"])


CHAPTERS = (
    Chapter(
        "by-hand",
        "Bits-back by hand",
        "The sender pops a latent z off the message by q(z|x), pushes x by p(x|z) and pushes z by p(z); the receiver does the "
        "opposite, last step first. The bits that chose z are lent, not spent: they come back when the receiver pushes z again.",
        r"\text{length} = \log_2 q(z|x) - \log_2 p(x|z) - \log_2 p(z), \qquad E_{q(z|x)}\,\text{length} = -\text{ELBO}",
        (by_hand.push, by_hand.pop, by_hand.send, by_hand.receive),
        (plot("by_hand", "the message's bits after each step", figures.by_hand),),
        _steps,
        "For which x does bits-back take -log2 p(x) bits, whichever z it draws?",
        lambda results: (
            "For x = 1. There q(z|x) = (8, 8)/16 is p(z|x) itself, and "
            f"-ELBO = -log2 p(x) = {by_hand.neg_elbo(1):g} bits. For x = 0 the posterior is (10, 2)/12, not (12, 4)/16, and "
            f"KL(q(z|x) || p(z|x)) = {by_hand.neg_elbo(0) - by_hand.nll(0):.3f} bits is what a point takes more in the mean."
        ),
        cell=by_hand.WITH_BBANS,
    ),
    Chapter(
        "entropy",
        "Entropy: what no code can beat",
        "The entropy H of the data is the least that a code can take in the mean, and only a code that knows the density takes "
        "it. The unit of area is the square that the points are in: a uniform density there has H = 0, and one that is crowded "
        "into less has less than 0.",
        r"H = -\int p(x) \log_2 p(x)\,dx",
        (Data.gaussian_bits,),
        (plot("data", "the four densities", figures.data),),
        lambda results: (
            _entropies(results)
            + "\n\n*On the square*: the tutorial's entropies are sums over the square alone, where 0.02 % of the 8 "
            f"Gaussians are not. *Agrees*: within {HALF_A_DIGIT}, half of its last digit. *Of the coded points*: what the true "
            "density takes for the points that are coded on this page, "
            "which are a draw, with its standard error. *One Gaussian*: the normal that fits best."
        ),
        "One Gaussian that fits takes 0.5 log2 of (2 pi e)^2 det(covariance) bits. How much of that is due to its being the wrong "
        "density?",
        lambda results: f"All that is above H: {_square(results)} bits for each point.",
        parts=("entropies",),
    ),
    Chapter(
        "mixtures",
        "Latents: three Gaussians where one fits badly",
        "One Gaussian cannot follow a density of three heaps; a sum of three can, and which of them a number is from is a latent "
        "z. Here the posterior p(z|x) is known, so that bits-back takes -log2 p(x) for every number, and EM trains the model.",
        r"p(x) = \sum_z p(z)\,p(x|z), \qquad q(z|x) = p(z|x) = \frac{p(z)\,p(x|z)}{p(x)}",
        (mixture.fit,),
        (plot("mixtures", "fits of one, two and three", figures.mixtures),),
        _mixtures,
        "What would a code take that names z and does not get its bits back?",
        lambda results: (
            "With z drawn from p(z|x), -log2 p(z) p(x|z) = -log2 p(x) - log2 p(z|x): in the mean more by the entropy of p(z|x), "
            "which is little where heaps lie apart and up to log2(3) bits where they overlap."
        ),
        parts=("mixtures",),
    ),
    Chapter(
        "jensen",
        "The mean of logarithms and the logarithm of a mean",
        "The weight w = p(x, z) / q(z|x) of a draw from q(z|x) has the mean p(x). -ELBO is the mean of -log2 w, and that is never "
        "less than -log2 of the mean: a rare z with a tiny weight costs much in the one and next to nothing in the other.",
        r"-E \log_2 w \;\ge\; -\log_2 E\,w = -\log_2 p(x), \qquad w = \begin{cases}1 & 0.9\\ 2^{-10} & 0.1\end{cases}"
        r"\;\Rightarrow\; 1 \ge 0.15",
        (jensen.bound,),
        (plot("averages", "bits beyond -log2 p(x)", figures.averages),),
        lambda results: (
            _averages(results) + "\n\nCode lengths are of bits-back, and of Monte Carlo bits-back for K > 1: the mean of "
            f"{results['averages'][0]['points']} messages. Every symbol of a code has a share, so p(x|z = 0) is 1 - 2^-20 and not "
            f"1."
        ),
        "Two draws bring it from 1 bit to 0.28. Why so much?",
        lambda results: "The mean of two weights is tiny only if both are rare, which has a chance of 0.01 in place of 0.1.",
        parts=("averages",),
    ),
    Chapter(
        "accuracy",
        "How fine a grid",
        "A number of infinite accuracy would take infinitely many bits (Section 4.2). On a grid of 2^n cells in a unit a point "
        "takes 2 n bits more than its density says, once the density hardly changes within a cell.",
        r"-\log_2 P(\text{cell}) \approx -\log_2 \left(p(x)\,2^{-2n}\right) = 2n - \log_2 p(x)",
        (experiments.bits_on_grid, coding.Grid.cells, coding.Grid.middles),
        (plot("accuracy", "distance from -ELBO", figures.accuracy),),
        _accuracy,
        "From which n on is code length - 2 n flat?",
        lambda results: (
            f"Within {FLAT} bits of the finest grid from n = {_flat_from(results)} on, for "
            f"{title_of(results['accuracy'][0]['dataset'])}. A cell is then {2.0 ** -_flat_from(results):.4f} wide, and the finest "
            f"thing that there is to show, the blur of the arms of the spirals, has a standard deviation of {SPIRAL_STD:g}."
        ),
        parts=("accuracy",),
    ),
)
