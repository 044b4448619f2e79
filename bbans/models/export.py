"""Between the training form of the photo model and its weight files.

The digest that backends are checked against is computed by the reference backend.
"""

from __future__ import annotations

from dataclasses import asdict

import torch

from bbans.exact.export import export_layers, import_layers
from bbans.models.photo.config import config_of
from bbans.models.photo.network import PhotoNetwork
from bbans.models.photo.vae import PhotoVAE
from bbans.models.weights import Weights, pack


def export_model(model: PhotoVAE, id: str) -> bytes:
    """The weight file of a model. Inverse: import_model. Raises: ModelError when a layer breaks the bound of exactness."""
    layers = export_layers(model)
    with torch.inference_mode():
        digest = PhotoNetwork(model.config, layers, "reference").digest()
    return pack(id, asdict(model.config), digest, layers)


def import_model(weights: Weights) -> PhotoVAE:
    """The model, to be trained further, that exports to these weights. Inverse: export_model.

    Raises: ModelError for weights of another architecture.
    """
    model = PhotoVAE(config_of(weights))
    import_layers(model, weights.layers)
    return model
