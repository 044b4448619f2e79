"""The rows of the table: which models, how long they train, how they are coded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import flow
from .coding import LATENTS, Grid
from .deterministic import Autoencoder, VectorQuantised
from .flow import Flow, NearDeterministic
from .likelihoods import AutoregressiveDecoder, LogisticVAE, LogMeanSquaredError, MeanSquaredError
from .model import LatentModel
from .objectives import BetaVAE, Wasserstein
from .posteriors import FullCovariance, ImportanceWeighted, InverseAutoregressive
from .priors import LearnedPrior, ResampledPrior, VampPrior

STEPS = 6000
EPSILONS = (0.01, 0.003, 0.001)


@dataclass(frozen=True)
class Code:
    """One way to code with a trained model: a row.

    Args:
        of: makes the model that is coded from the one that was trained.
        plain: whether it is coded without clean bits as well.
    """

    particles: int = 1
    latents: Grid = LATENTS
    of: Callable[[LatentModel], LatentModel] | None = None
    plain: bool = False


@dataclass(frozen=True)
class Entry:
    """A model to train and its rows."""

    name: str
    make: Callable[[], LatentModel]
    steps: int = STEPS
    codes: tuple[Code, ...] = (Code(),)


def _near(epsilon: float) -> Code:
    return Code(1, flow.LATENTS, lambda model: NearDeterministic(model, epsilon))  # type: ignore[arg-type]


ENTRIES = (
    Entry("typical", LatentModel, 4 * STEPS, (Code(plain=True),)),
    Entry("typical-short", LatentModel),
    Entry("logistic", LogisticVAE),
    Entry("mse", MeanSquaredError, codes=(Code(), Code(of=lambda model: model.read()))),  # type: ignore[operator]
    Entry("log-mse", LogMeanSquaredError),
    Entry("iwae", ImportanceWeighted, 6 * STEPS, tuple(Code(k) for k in (1, 2, 5, 10))),
    Entry("full-covariance", FullCovariance),
    Entry("flow", Flow, 2000, tuple(_near(epsilon) for epsilon in EPSILONS)),
    Entry("iaf", InverseAutoregressive),
    Entry("learned-prior", LearnedPrior),
    Entry("vampprior", VampPrior),
    Entry("lars", ResampledPrior),
    Entry("beta", BetaVAE, codes=(Code(plain=True),)),
    Entry("wae", Wasserstein),
    Entry("vq", VectorQuantised),
    Entry("autoencoder", Autoencoder),
    Entry("autoregressive", AutoregressiveDecoder),
)
