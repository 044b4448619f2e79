"""What the tests of benchmarks/tutorial share."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.tutorial import training
from benchmarks.tutorial.data import GAUSSIANS, Data, midpoints
from benchmarks.tutorial.flow import Flow
from benchmarks.tutorial.measuring import default
from benchmarks.tutorial.model import LatentModel, log_prob
from benchmarks.tutorial.rows import ENTRIES, Entry

ROWS = [  # those of `particles` are as the typical VAE's and the IWAE's
    pytest.param(entry, way, id=f"{entry.name}-{i}")
    for entry in ENTRIES
    for i, way in enumerate(entry.codes)
    if entry.name != "particles"
]


def points(data: Data, n: int) -> np.ndarray:
    return data.sample(np.random.default_rng(1), n)


def trained(entry: Entry, steps: int = 5) -> LatentModel:
    vae = entry.make()
    training.fit(vae, lambda n: torch.from_numpy(points(GAUSSIANS, n)).float(), steps)
    return vae


def latent_grid(limit: float = 6.0, cells: int = 240) -> tuple[Tensor, float]:
    """Middles of cells (cells, cells, 2), and the area of one."""
    side = torch.from_numpy(midpoints(limit, cells))
    return torch.stack(torch.meshgrid(side, side, indexing="ij"), -1), (2 * limit / cells) ** 2


def summed(vae: LatentModel, x: Tensor) -> tuple[float, float, float]:
    """Of a point (2,): log p(x), the ELBO, and KL(q(z|x) || p(z|x)), in nats, each a sum of its own over the grid."""
    z, area = latent_grid()
    log_q = log_prob(vae.posterior(x.expand_as(z)), z)
    log_joint = log_prob(vae.prior(), z) + log_prob(vae.likelihood(z), x.expand_as(z))
    evidence = (torch.logsumexp(log_joint.flatten(), 0) + math.log(area)).item()
    q = log_q.exp() * area
    assert q.sum().item() == pytest.approx(1, abs=1e-4)
    return evidence, (q * (log_joint - log_q)).sum().item(), (q * (log_q - (log_joint - evidence))).sum().item()


@cache
def trained_flow() -> Flow:
    """One for all tests, which leave it as it is."""
    with default(torch.float32), torch.enable_grad():
        vae = trained(next(entry for entry in ENTRIES if entry.name == "flow"), 20)
    assert isinstance(vae, Flow)
    return vae.double()
