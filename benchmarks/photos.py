"""Rates and times of the photo model on folders of pictures: ``python -m benchmarks.photos FOLDER [--elbo N] [--json OUT]``.

Every rate is that of the file that ``vaezip compress`` would write, and every file is decoded and compared. Times are of the whole
calls in memory, on a warm process, JPEG XL's at its best effort beside them. ``--ablate`` codes every picture again without the
adaptive stage, and tells the networks' time from the coder's; ``--elbo`` adds the negative ELBO (see benchmarks/elbo.py), which
the code length without the adaptive stage is compared with; ``--checkpoint`` the float model's before quantisation.
"""

from __future__ import annotations

import io
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import bbans
from bbans import models
from bbans.models.photo.codec import PhotoCodec
from bbans.results import ModeName

from .elbo import neg_elbo
from .machine import processor

SUFFIXES = (".png", ".webp", ".ppm", ".bmp")


def measure(
    file: Path, mode: ModeName, codec_args: dict[str, Any], codec: PhotoCodec | None, ablate: bool, draws: int, jpeg_xl: bool
) -> dict[str, Any]:
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
    if jpeg_xl:
        import imagecodecs  # of the extra bench

        start = time.perf_counter()
        peer = imagecodecs.jpegxl_encode(before, lossless=True, effort=9)
        row["jpeg_xl_s"] = time.perf_counter() - start
        row["jpeg_xl_bits_per_dim"] = 8 * len(peer) / dims
    accounting = packed.info.accounting
    if accounting:
        row |= {name: getattr(accounting, name) for name in ("likelihood_bits", "prior_bits", "posterior_bits", "initial_bits")}
    pixels = before if before.ndim == 3 else before[..., None]
    if codec and ablate:
        row |= shares_of_time(codec, pixels)
        row["without_adaptive_bits_per_dim"] = 8 * without_adaptive(codec, pixels) / dims
    if codec and draws:
        elbo = neg_elbo(codec, pixels, draws)
        row |= {"neg_elbo": elbo.neg_elbo_bits / dims, "neg_elbo_error": elbo.standard_error_bits / dims}
    return row


def without_adaptive(codec: PhotoCodec, pixels: NDArray[np.uint8]) -> int:
    """Bytes of a picture's messages when the mixtures are taken as the networks give them."""
    codec.phases.adaptive = False
    try:
        messages = codec.encode(pixels).messages
        if not np.array_equal(codec.decode(messages, *pixels.shape), pixels):
            raise click.ClickException("a picture does not come back as it was without the adaptive stage")
    finally:
        codec.phases.adaptive = codec.network.config.adaptive
    return sum(len(message) for message in messages)


def shares_of_time(codec: PhotoCodec, pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Seconds in the networks and seconds in all else (the coder, for the most part) of encoding and decoding a picture."""
    seconds = 0.0

    def timed(stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            nonlocal seconds
            start = time.perf_counter()
            try:
                return stage(*values)
            finally:
                seconds += time.perf_counter() - start

        return run

    stages = ("first_input", "trunk", "head", "prior", "posterior")
    found = {}
    for name in stages:
        setattr(codec.network, name, timed(getattr(codec.network, name)))
    try:
        start = time.perf_counter()
        messages = codec.encode(pixels).messages
        found["encode_network_s"], found["encode_coder_s"] = seconds, time.perf_counter() - start - seconds
        seconds, start = 0.0, time.perf_counter()
        codec.decode(messages, *pixels.shape)
        found["decode_network_s"], found["decode_coder_s"] = seconds, time.perf_counter() - start - seconds
    finally:
        for name in stages:
            delattr(codec.network, name)
    return found


def macs_per_pixel(weights: models.Weights) -> float:
    """Multiplications that a decoder runs for each pixel, halos of tiles not counted; a level has 1/4 of a position per pixel."""
    shares = {"carry": 1 / 4, "prior_hidden": 1 / 256, "prior_out": 1 / 256, "posterior_hidden": 1 / 256, "posterior_out": 1 / 256}
    twice = ("hidden.0", "hidden.1", "out.0", "out.1")  # once more with the posterior's mode, and once for the residuals of x11
    shares |= dict.fromkeys(twice, 2.0)
    shares |= {"hidden.0": 3.0, "out.0": 3.0} if weights.config.get("adaptive", True) else dict.fromkeys(twice, 1.0)
    finest = sum(layer.macs * shares.get(name, 1.0) / 4 for name, layer in weights.layers.items())
    return finest * 4 / 3


def float_neg_elbo(checkpoint: Path, files: list[Path], quantised: bool) -> float:
    """Mean negative ELBO in bits/dim of a checkpoint's averaged model in float32, on centre crops of 256 x 256."""
    import torch

    from bbans.exact.qat import set_quantised
    from bbans.models.photo.config import PhotoConfig
    from bbans.models.photo.vae import PhotoVAE
    from bbans.training.metrics import evaluate

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
@click.option("--ablate", is_flag=True, help="Also without the adaptive stage; and the shares of time.")
@click.option("--jpeg-xl", is_flag=True, help="Also JPEG XL, effort 9, and its time. Needs the extra bench.")
@click.option("--elbo", "draws", default=0, help="Draws of z for the negative ELBO; 0 leaves it out.")
@click.option("--checkpoint", default=None, type=click.Path(path_type=Path, exists=True), help="Training checkpoint of the model.")
@click.option("--json", "out", default=None, type=click.Path(path_type=Path), help="Write the rows as JSON.")
def main(
    folder: Path,
    model: str | None,
    mode: ModeName,
    threads: int | None,
    ablate: bool,
    jpeg_xl: bool,
    draws: int,
    checkpoint: Path | None,
    out: Path | None,
) -> None:
    """Measure the pictures below FOLDER."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise click.ClickException(f"{folder}: no pictures")
    arguments: dict[str, Any] = {"model": model, "threads": threads}
    codec = cast(PhotoCodec, models.load(model, threads=threads)) if draws or ablate else None
    bbans.decompress(bbans.compress(files[0].read_bytes(), mode="model", verify=False, **arguments).data, **arguments)  # warm
    rows = []
    for file in files:
        rows.append(measure(file, mode, arguments, codec, ablate, draws, jpeg_xl))
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
        about["backend"] = (codec or cast(PhotoCodec, models.load(model, threads=threads))).network.backend
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
    if "without_adaptive_bits_per_dim" in rows[0]:
        plain = sum(row["without_adaptive_bits_per_dim"] * row["dims"] for row in rows) / dims
        total["without_adaptive_bits_per_dim"] = plain
        total["adaptive_percent"] = 100 * (total["bits_per_dim"] / plain - 1)
        if "neg_elbo" in total:
            total["overhead_percent"] = 100 * (plain / total["neg_elbo"] - 1)
    if "jpeg_xl_s" in rows[0]:
        total["jpeg_xl_bits_per_dim"] = sum(row["jpeg_xl_bits_per_dim"] * row["dims"] for row in rows) / dims
    if coded:
        coded_dims = sum(row["dims"] for row in coded)
        for name in ("likelihood_bits", "prior_bits", "posterior_bits", "initial_bits"):
            total[name.replace("_bits", "_bits_per_dim")] = sum(row[name] for row in coded) / coded_dims
        total["given_back_percent"] = 12.5 * sum(r["posterior_bits"] for r in coded) / sum(r["file_bytes"] for r in coded)
    for name in rows[0]:
        if name.endswith("_s"):
            total[name] = float(np.mean([row[name] for row in rows]))
    return total


if __name__ == "__main__":
    main()
