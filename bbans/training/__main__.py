"""Train the photo model: ``python -m bbans.training PHOTOS... --valid FOLDER --out model.pt --steps 10000``.

Writes the checkpoint (resumed when it exists) at --out and its curve as JSON lines beside it. Exporting the checkpoint as
integer weights is ``python -m bbans.models.export``.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from bbans.models.photo_layout import PhotoConfig
from bbans.training.data import load_photos
from bbans.training.loop import Schedule, json_lines, train


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--valid", type=click.Path(path_type=Path, exists=True), help="Folder of validation photos.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint to write, and to resume from.")
@click.option("--steps", default=Schedule.steps, show_default=True)
@click.option("--batch", default=Schedule.batch, show_default=True)
@click.option("--latents", default=PhotoConfig.latents, show_default=True, help="Channels of z; 0 trains without.")
@click.option("--width", default=PhotoConfig.width, show_default=True)
@click.option("--seed", default=Schedule.seed, show_default=True)
@click.option("--threads", default=0, help="CPU threads; 0 leaves it to torch.")
@click.option("--device", default="cpu", show_default=True)
def main(
    folders: tuple[Path, ...],
    valid: Path | None,
    out: Path,
    steps: int,
    batch: int,
    latents: int,
    width: int,
    seed: int,
    threads: int,
    device: str,
) -> None:
    """Train the photo model on the pictures below FOLDERS."""
    if threads:
        torch.set_num_threads(threads)
    schedule = Schedule(steps=steps, batch=batch, seed=seed)
    config = PhotoConfig(latents=latents, width=width)
    photos = load_photos(list(folders), smallest=schedule.side)
    held_out = load_photos([valid], smallest=schedule.side) if valid else []
    log = json_lines(out.with_suffix(".jsonl"))

    def report(row: dict[str, object]) -> None:
        log(row)
        click.echo(" ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))

    train(photos, held_out, config, schedule, out, device=device, report=report)


if __name__ == "__main__":
    main()
