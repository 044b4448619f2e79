"""Mixtures of discretised logistics from the integer parameters of a pixel, as coders have them. Compiled.

A pixel's row of parameters has, for K components and C colours in coding order (G, R, B; or gray alone)::

    C K logits in 1/16 nat | C K means in 1/64, relative to the reference | C K scales | 3 K slopes in 1/64: R|G, B|G, B|R

without slopes for gray. All are integers; who makes the row rounds and clamps them, and decides what stands for a scale: its index,
or the inverse scale of that index.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from bbans._jit import jit
from bbans.tables import weights_from_logits


@jit
def fill_mixture(row, reference, colours, colour, green, red, logits, means, scales, weights, exponentials):
    """Fill means, scales and weights (K,) with the mixture of one sample.

    `reference` is four times a sample value; `colour` counts in coding order; `green`, `red`: four times the residuals of those
    colours, which only later ones look at.
    """
    k = len(means)
    for i in range(k):
        logits[i] = row[colour * k + i]
        scales[i] = row[(2 * colours + colour) * k + i]
        mean = 16 * reference + row[(colours + colour) * k + i]
        if colour == 1:
            mean += (row[9 * k + i] * green + 2) >> 2
        elif colour == 2:
            mean += (row[10 * k + i] * green + row[11 * k + i] * red + 2) >> 2
        means[i] = mean
    weights_from_logits(logits, exponentials, weights)
