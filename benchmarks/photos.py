"""Rates and times of the photo model on folders of pictures: ``python -m benchmarks.photos FOLDER [--elbo] [--json OUT]``.

Every rate is that of the file that ``vaezip compress`` would write, and every file is decoded and compared. Times are of the whole
calls in memory, on a warm process. ``--elbo`` adds the negative ELBO (see benchmarks/elbo.py), ``--checkpoint`` the float model's
before quantisation.
"""

from __future__ import annotations

import io
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

import bbans
from bbans import models
from bbans.api import ModeName
from benchmarks.elbo import neg_elbo

SUFFIXES = (".png", ".webp", ".ppm", ".bmp")


def measure(file: Path, mode: ModeName, codec_args: dict[str, Any], codec: models.PhotoCodec | None, draws: int) -> dict[str, Any]:
    """One row: sizes in bytes, rates in bits/dim, times in seconds."""
    data = file.read_bytes()
    start = time.perf_counter()
    packed = bbans.compress(data, mode=mode, verify=False, **codec_args)
    encode = time.perf_counter() - start
    start = time.perf_counter()
    restored = bbans.decompress(packed.data, **codec_args)
    decode = time.perf_counter() - start
    before, after = (np.asarray(Image.open(io.BytesIO(b))) for b in (data, restored.data))
    if not np.array_equal(before, after):
        raise click.ClickException(f"{file}: it does not come back as it was")
    dims = before.size
    row: dict[str, Any] = {"file": file.name, "mode": packed.info.mode, "dims": dims, "file_bytes": len(packed.data)}
    row |= {"bits_per_dim": 8 * len(packed.data) / dims, "encode_s": encode, "decode_s": decode}
    accounting = packed.info.accounting
    if accounting:
        row |= {name: getattr(accounting, name) for name in ("likelihood_bits", "prior_bits", "posterior_bits", "initial_bits")}
    if codec and draws:
        elbo = neg_elbo(codec, before if before.ndim == 3 else before[..., None], draws)
        row |= {"neg_elbo": elbo.neg_elbo_bits / dims, "neg_elbo_error": elbo.standard_error_bits / dims}
    return row


def macs_per_pixel(weights: models.Weights) -> float:
    """Multiplications that a decoder runs for each pixel, halos of tiles not counted; a level has 1/4 of a position per pixel."""
    shares = {"carry": 1 / 4, "prior_hidden": 1 / 256, "prior_out": 1 / 256, "posterior_hidden": 1 / 256, "posterior_out": 1 / 256}
    finest = sum(layer.macs * shares.get(name, 1.0) / 4 for name, layer in weights.layers.items())
    return finest * 4 / 3


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def float_neg_elbo(checkpoint: Path, files: list[Path], quantised: bool) -> float:
    """Mean negative ELBO in bits/dim of a checkpoint's averaged model in float32, on centre crops of 256 x 256."""
    import torch

    from bbans.exact.qat import set_quantised
    from bbans.models.photo import PhotoVAE
    from bbans.models.photo_layout import PhotoConfig
    from bbans.training.loop import evaluate

    state = torch.load(checkpoint, weights_only=True)
    model = PhotoVAE(PhotoConfig(**state["config"]))
    model.load_state_dict(state["average"])
    set_quantised(model, quantised)
    photos = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    return evaluate(model, photos, autocast=False)["neg_elbo"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--model", default=None, help="Model id or weight file; the default model if not given.")
@click.option("--mode", default="model", type=click.Choice(["model", "auto", "stored"]), show_default=True)
@click.option("--threads", default=None, type=int)
@click.option("--elbo", "draws", default=0, help="Draws of z for the negative ELBO; 0 leaves it out.")
@click.option("--checkpoint", default=None, type=click.Path(path_type=Path, exists=True), help="Training checkpoint of the model.")
@click.option("--json", "out", default=None, type=click.Path(path_type=Path), help="Write the rows as JSON.")
def main(
    folder: Path, model: str | None, mode: ModeName, threads: int | None, draws: int, checkpoint: Path | None, out: Path | None
) -> None:
    """Measure the pictures below FOLDER."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise click.ClickException(f"{folder}: no pictures")
    arguments: dict[str, Any] = {"model": model, "threads": threads}
    codec = models.load(model, threads=threads) if draws else None
    bbans.decompress(bbans.compress(files[0].read_bytes(), mode="model", verify=False, **arguments).data, **arguments)  # warm
    rows = []
    for file in files:
        rows.append(measure(file, mode, arguments, codec, draws))
        figures = {c: rows[-1][c] for c in ("bits_per_dim", "neg_elbo", "encode_s", "decode_s") if c in rows[-1]}
        click.echo(f"{file.name:40.40} {rows[-1]['mode']:6} " + " ".join(f"{c} {v:.4f}" for c, v in figures.items()))
    total = summary(rows)
    if checkpoint:
        total["crops_neg_elbo_float"] = float_neg_elbo(checkpoint, files, quantised=False)
        total["crops_neg_elbo_quantised"] = float_neg_elbo(checkpoint, files, quantised=True)
    for name, value in total.items():
        click.echo(f"{name}: {value:.5g}" if isinstance(value, float) else f"{name}: {value}")
    if out:
        weights = models.read(model)
        about: dict[str, Any] = {"macs_per_pixel": macs_per_pixel(weights)}
        about |= {"processor": processor(), "threads": threads or os.cpu_count(), "python": platform.python_version()}
        about |= {"bbans": bbans.__version__, "model": weights.id, "weights": weights.hash.hex()}
        out.write_text(json.dumps({"about": about, "total": total, "rows": rows}, indent=1) + "\n")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals over rows: total bits by total dimensions, mean over pictures, shares."""
    dims = sum(row["dims"] for row in rows)
    coded = [row for row in rows if row["mode"] == "model"]
    total: dict[str, Any] = {"pictures": len(rows), "by_the_model": len(coded)}
    total["bits_per_dim"] = 8 * sum(row["file_bytes"] for row in rows) / dims
    total["mean_bits_per_dim"] = float(np.mean([row["bits_per_dim"] for row in rows]))
    if rows[0].get("neg_elbo"):
        total["neg_elbo"] = sum(row["neg_elbo"] * row["dims"] for row in rows) / dims
        total["overhead_percent"] = 100 * (total["bits_per_dim"] / total["neg_elbo"] - 1)
    if coded:
        coded_dims = sum(row["dims"] for row in coded)
        for name in ("likelihood_bits", "prior_bits", "posterior_bits", "initial_bits"):
            total[name.replace("_bits", "_bits_per_dim")] = sum(row[name] for row in coded) / coded_dims
        total["given_back_percent"] = 12.5 * sum(r["posterior_bits"] for r in coded) / sum(r["file_bytes"] for r in coded)
    total["encode_s"], total["decode_s"] = (float(np.mean([row[c] for row in rows])) for c in ("encode_s", "decode_s"))
    return total


if __name__ == "__main__":
    main()
