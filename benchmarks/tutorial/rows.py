"""The rows of the table: which models, how long they train, how they are coded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import flow
from .coding import LATENTS, Grid
from .data import GAUSSIANS, PLANE, SPIRALS
from .deterministic import Autoencoder, VectorQuantised
from .flow import Flow, NearDeterministic
from .likelihoods import AutoregressiveDecoder, LogisticVAE, LogMeanSquaredError, MeanSquaredError
from .model import LatentModel
from .objectives import BetaVAE, SlicedWasserstein, Wasserstein
from .posteriors import FullCovariance, ImportanceWeighted, InverseAutoregressive
from .priors import LearnedPrior, ResampledPrior, VampPrior

STEPS = 6000
EPSILONS = (0.01, 0.003, 0.001)
LATENT_COUNTS = (1, 2, 4)
TRAINED_WITH = (1, 2, 5, 10)  # draws


@dataclass(frozen=True)
class Code:
    """One way to code with a trained model: a row.

    Args:
        read: makes the model that is coded from the one that was trained.
        plain: whether it is coded without clean bits as well.
    """

    particles: int = 1
    latents: Grid = LATENTS
    read: Callable[[LatentModel], LatentModel] | None = None
    plain: bool = False


@dataclass(frozen=True)
class Entry:
    """A model to train and its rows.

    Args:
        share: of the points that are coded: less where a point takes long.
        weights: the entry whose trained weights it takes, where it trains none.
        blur: whether to measure `Row.blur`.
    """

    name: str
    make: Callable[[], LatentModel]
    steps: int = STEPS
    codes: tuple[Code, ...] = (Code(),)
    datasets: tuple[str, ...] = tuple(PLANE)
    share: float = 1.0
    weights: str = ""
    blur: bool = False


def _near(epsilon: float) -> Code:
    return Code(1, flow.LATENTS, lambda model: NearDeterministic(model, epsilon))  # type: ignore[arg-type]


def _latents(count: int) -> Entry:
    return Entry(f"latents-{count}", partial(_with_latents, count), STEPS // 2, datasets=(GAUSSIANS.name,), share=0.1, blur=True)


def _trained_with(draws: int) -> Entry:
    datasets = (GAUSSIANS.name, SPIRALS.name) if draws < 10 else (GAUSSIANS.name,)  # `iwae` is of 10 draws, trained for longer
    return Entry(f"iwae-{draws}", partial(ImportanceWeighted, draws), codes=(Code(draws),), datasets=datasets, share=0.1)


def _with_latents(count: int) -> LatentModel:
    model = LatentModel(count)
    model.title = f"typical VAE, latents: {count}"
    return model


ENTRIES = (
    Entry("typical", LatentModel, 4 * STEPS, (Code(plain=True),)),
    Entry("typical-short", LatentModel),
    Entry("logistic", LogisticVAE),
    Entry("mse", MeanSquaredError, codes=(Code(), Code(read=lambda model: model.read()))),  # type: ignore[operator]
    Entry("log-mse", LogMeanSquaredError),
    Entry("iwae", ImportanceWeighted, 6 * STEPS, tuple(Code(k) for k in (1, 2, 5, 10))),
    *(_trained_with(draws) for draws in TRAINED_WITH),
    Entry("particles", LatentModel, 4 * STEPS, tuple(Code(k) for k in (1, 2, 5, 10, 20, 50)), share=0.1, weights="typical"),
    Entry("full-covariance", FullCovariance),
    Entry("flow", Flow, 2000, tuple(_near(epsilon) for epsilon in EPSILONS)),
    Entry("iaf", InverseAutoregressive),
    Entry("learned-prior", LearnedPrior),
    Entry("vampprior", VampPrior),
    Entry("lars", ResampledPrior),
    Entry("beta", BetaVAE, codes=(Code(plain=True),)),
    Entry("wae", Wasserstein),
    Entry("wae-w1", SlicedWasserstein, datasets=(GAUSSIANS.name, SPIRALS.name)),
    Entry("vq", VectorQuantised),
    Entry("autoencoder", Autoencoder),
    Entry("autoregressive", AutoregressiveDecoder),
    *(_latents(count) for count in LATENT_COUNTS),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}
