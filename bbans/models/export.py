"""From a training checkpoint to a weight file: ``python -m bbans.models.export model.pt --id photo-1 --out photo-1.safetensors``.

The digest that backends are checked against is made by the reference backend.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import torch

from bbans.exact.export import export_layers
from bbans.models.photo import PhotoVAE
from bbans.models.photo_layout import PhotoConfig
from bbans.models.photo_network import PhotoNetwork
from bbans.models.weights import pack


def export_checkpoint(checkpoint: Path, id: str) -> bytes:
    """The weight file of a checkpoint's averaged model. Raises: ModelError when a layer breaks the bound of exactness."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = PhotoConfig(**state["config"])
    model = PhotoVAE(config)
    model.load_state_dict(state["average"])
    layers = export_layers(model)
    with torch.inference_mode():
        digest = PhotoNetwork(config, layers, "reference").digest()
    return pack(id, asdict(config), digest, layers)


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
