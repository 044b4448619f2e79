"""What the tutorial published: Tables 1 and 2 of Yu 2020, in bits per point. Its entropies are in `data`."""

from __future__ import annotations

from typing import Any

PUBLISHED: list[dict[str, Any]] = [
    {"dataset": "8gaussians", "model": "VAE", "neg_elbo_bits": -1.83, "nll_bits": -1.87},
    {"dataset": "checkerboard", "model": "VAE", "neg_elbo_bits": -0.72, "nll_bits": -0.81},
    {"dataset": "2spirals", "model": "VAE", "neg_elbo_bits": -1.99, "nll_bits": -2.15},
    {"dataset": "8gaussians", "model": "IWAE", "iwae_bits": -1.84, "nll_bits": -1.91},
    {"dataset": "checkerboard", "model": "IWAE", "iwae_bits": -0.81, "nll_bits": -0.87},
    {"dataset": "2spirals", "model": "IWAE", "iwae_bits": -2.24, "nll_bits": -2.29},
]
