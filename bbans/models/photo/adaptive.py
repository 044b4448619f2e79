"""The adaptive stage of the photo model: each pixel of a phase is coded with what those before it have taught, in integers.

The networks give every symbol of a phase a mixture of logistics without looking at the other symbols of that phase. Encoder and
decoder then go through the symbols one by one, and correct each mixture by what the symbols before it have shown::

    mean    + a linear function of residuals       online least mean squares, a set of weights for each class of spread
              and of a prediction from pixels      online least squares on the pixels around, solved every 64 symbols
            + a bias                               for each pattern of the signs of five neighbours' residuals
    scale   x a factor                             for each class of spread and of the neighbours' actual errors
    shares  mapped by a monotone piecewise linear function, so that the shares of actual symbols are evenly spread

A pixel is then coded by decisions: whether its value is at least the corrected mean, and outward from there until it lies between
two thresholds; if these are a few values apart, decisions go on inside. The corrected mixture codes what is left. Four sets of
weights mix each decision's probability, in the domain of logits, and their votes are mixed again. What is mixed::

    models      the corrected mixture
                the networks' own
                the corrected one, with edges between values placed by how often known pixels of the level have each
    histograms  of how far values turned out to be from what pixels around made expect: means of nearest pixels, moved by the step
                of one known colour or of another, the two predictions, and eight pixels singly; by how far those are from each
                other, or by errors around
    maps        from contexts to probabilities: on which side of the threshold pixels around lie, where the mean does, and which
                colours go together: R - G with B - G here, either with those of pixels around, or with G

Where colours were converted, or a picture was made brighter, some values come rarely or never: the third model's edges leave them
less room. They take widths of values, for G as such, for R given G, and for B - G given R - G (`bbans._core.photo.find_widths`).

A residual is the distance of a pixel from the mean of its network's mixture, in units of that mixture's spread: so pictures,
colours and places of different noise teach the same weights. The gradients are those of the logistic log-likelihood.

State belongs to one strip of one phase, so strips stay independent of each other. It starts from values that the model has learned
(`bbans.models.photo.start`). Residuals and features
are in spreads with 8 fractional bits, biases in spreads with 20; weights have 24 fractional bits, slopes of the likelihood 12; the
corrections of scales are in sixteenths of a nat with 16.

Sources: linear prediction by least mean squares on the coded past with context mixing of scales, as in TMW (Meyer and Tischer,
1997) and Monkey's Audio; least squares on neighbouring pixels, Li and Orchard, "Edge-directed prediction for lossless compression
of natural images", 2001; logistic mixing of binary decisions and context maps, PAQ (Mahoney, 2005), and histograms of residuals as
its inputs, paq8px; values that come rarely, Pinho, "An online preprocessing technique for improving the lossless compression of
images with sparse histograms", 2002. FORMAT.md, section 5.6, specifies it.
"""

from __future__ import annotations

import decimal
import functools

import numpy as np
from numpy.typing import NDArray

from bbans.tables import DECIMAL, SCALES, frozen, log2_table, rounded

ENERGY_CLASSES = 16  # quarter octaves of the neighbours' errors

_ONE = 256  # a residual of one spread
_RESIDUAL_LIMIT = 6 * _ONE
_STEP_LIMIT = 64  # of a scale's correction, in sixteenths of a nat

# Where x11, x01 and x10 look at residuals of the phases before them, as (phase, row, column).
EARLIER = (
    (),
    ((0, 0, 0), (0, -1, 0), (0, 0, 1), (0, -1, 1), (0, 0, -1), (0, -1, -1)),
    ((0, 0, 0), (0, 0, -1), (1, 0, 0), (1, 1, 0), (1, 0, -1), (1, 1, -1), (0, 1, 0), (0, 1, -1), (0, -1, 0), (0, -1, -1)),
)


@functools.lru_cache(maxsize=1)
def adaptive_tables() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(spreads, energy classes, factors, logarithms), read-only.

    Spreads (128,): round(1024 exp(i / 16 - 3)), scales in 1/1024 of a pixel value. Energy classes (1537,): that of a mean error in
    1/256 of a spread. Factors (129,): round(2**16 exp((64 - i) / 16)), by which a step of i - 64 divides residuals. Logarithms
    (4353,): of 8 i + 4, as `bbans.tables.log2_table` has them, in 1/1024.
    """
    with decimal.localcontext(DECIMAL):
        sixteenth = (decimal.Decimal(1) / 16).exp()
        spreads = [rounded(1024 * sixteenth ** (i - 48)) for i in range(SCALES)]
        factors = [rounded((1 << 16) * sixteenth ** (_STEP_LIMIT - i)) for i in range(2 * _STEP_LIMIT + 1)]
        quarter = decimal.Decimal(2) ** (decimal.Decimal(1) / 4)
        edges = [rounded(_ONE * (quarter ** (j - 10) - decimal.Decimal("0.02"))) for j in range(1, ENERGY_CLASSES)]
    classes = np.searchsorted(edges, np.arange(_RESIDUAL_LIMIT + 1), side="right")
    return frozen(spreads), frozen(classes), frozen(factors), frozen(_logarithms(8 * np.arange(4353) + 4))


def _logarithms(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Natural logarithms of integers below 2**31, in 1/1024, rounded down twice."""
    exponents = np.frexp(numbers)[1] - 1
    mantissas = log2_table()[(numbers << (31 - exponents)) >> 21 & 1023]
    logarithms: NDArray[np.int64] = ((exponents << 16) + (mantissas >> 16)) * 45426 >> 22
    return logarithms
