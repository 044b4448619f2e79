"""Networks, batches and grids small enough for tests."""

from collections.abc import Iterator

import pytest
import torch

from benchmarks.tutorial import deterministic, likelihoods, measuring, model, objectives
from benchmarks.tutorial.measuring import default
from benchmarks.tutorial.model import LatentModel


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, one_torch_thread: None) -> None:
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
