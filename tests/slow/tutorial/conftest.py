"""Networks, batches and grids small enough for tests."""

from collections.abc import Iterator

import pytest
import torch

from benchmarks.tutorial import (
    channel,
    deterministic,
    figures,
    likelihoods,
    measuring,
    mixture,
    model,
    objectives,
    pictures,
    table,
    training,
)
from benchmarks.tutorial.measuring import default
from benchmarks.tutorial.model import LatentModel


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks, batches and grids small enough for tests, and the same in each of them."""
    torch.manual_seed(0)
    monkeypatch.setattr(model, "HIDDEN", 16)
    monkeypatch.setattr(LatentModel, "batch", 64)
    monkeypatch.setattr(likelihoods, "SETTLING_POINTS", 1 << 10)
    monkeypatch.setattr(deterministic, "SETTLING_POINTS", 1 << 10)
    monkeypatch.setattr(measuring, "NLL_GRID", (0.5, 12))
    monkeypatch.setattr(measuring, "NLL_PARTICLES", 10)
    monkeypatch.setattr(objectives.Wasserstein, "settling_steps", 3)


@pytest.fixture
def in_float64() -> Iterator[None]:
    with default(torch.float64), torch.no_grad():
        yield


@pytest.fixture
def smaller(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, experiments and figures too."""
    monkeypatch.setattr(figures, "DPI", 20)
    monkeypatch.setattr(training, "POOL", 1 << 12)
    sizes = {
        table: {"ACCURACIES": (3, 6), "EPSILONS": (1.0, 0.1), "DRAWS": (1, 2), "LIMIT_PARTICLES": 5},
        mixture: {"TRAINING_POINTS": 200, "EM_STEPS": 2},
        channel: {"POINTS": 20, "TRIALS": 100, "MOST_BITS": 4},
        pictures: {"DENSITY_CELLS": 16, "DENSITY_PARTICLES": 2, "LATENT_CELLS": 16, "CHANNEL_POINTS": 20},
    }
    for module, of_module in sizes.items():
        for name, size in of_module.items():
            monkeypatch.setattr(module, name, size)
