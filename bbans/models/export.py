"""Between trained models and weight files: ``python -m bbans.models.export model.ckpt --id mine-1 --out mine-1.safetensors``.

The command is for the checkpoint of a run that still goes on; a run that ends exports itself (`bbans.training`). The digest that
backends are checked against is made by the reference backend.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import torch

from bbans.exact.export import export_layers, import_layers
from bbans.models.families import FAMILIES
from bbans.models.photo.config import PhotoConfig, config_of
from bbans.models.photo.network import PhotoNetwork
from bbans.models.photo.vae import PhotoVAE
from bbans.models.small_layout import from_json
from bbans.models.weights import PHOTO, Weights, pack


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


def export_checkpoint(checkpoint: Path, id: str) -> bytes:
    """The weight file of a checkpoint's averaged model. Raises: ModelError when a layer breaks the bound of exactness."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    name = state.get("family", PHOTO)  # none in those of before there were families
    if name == PHOTO:
        photo = PhotoVAE(PhotoConfig(**state["config"]))
        photo.load_state_dict(state["average"])
        return export_model(photo, id)
    family = FAMILIES[name]
    model = family.model(from_json(family.config, state["config"], id))
    model.load_state_dict(state["average"])
    return family.export(model, id)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.option("--id", required=True, help="Name that files coded with the model will carry.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def main(checkpoint: Path, id: str, out: Path) -> None:
    """Write the integer weights of CHECKPOINT."""
    data = export_checkpoint(checkpoint, id)
    out.write_bytes(data)
    click.echo(f"{out}: {len(data)} bytes")


if __name__ == "__main__":
    main()
