"""Lossless rates of other codecs on folders of pictures: ``python -m benchmarks.peers FOLDER [--json OUT]``.

One file per picture, decoded and compared. Needs the extra ``bench`` (imagecodecs).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Pair = tuple[Callable[[Pixels], bytes], Callable[[bytes], Pixels]]

PEERS: dict[str, Pair] = {
    "PNG": (lambda x: imagecodecs.png_encode(x, level=9), imagecodecs.png_decode),
    "WebP lossless, method 6": (lambda x: imagecodecs.webp_encode(x, lossless=True, method=6, level=100), imagecodecs.webp_decode),
    "JPEG XL, effort 7": (lambda x: imagecodecs.jpegxl_encode(x, lossless=True, effort=7), imagecodecs.jpegxl_decode),
    "JPEG XL, effort 9": (lambda x: imagecodecs.jpegxl_encode(x, lossless=True, effort=9), imagecodecs.jpegxl_decode),
}


def measure(pixels: list[Pixels], encode: Callable[[Pixels], bytes], decode: Callable[[bytes], Pixels]) -> float:
    """Bits/dim of all pictures together. Raises: ClickException when one does not come back."""
    size = 0
    for picture in pixels:
        data = encode(picture)
        if not np.array_equal(decode(data), picture):
            raise click.ClickException("a picture does not come back as it was")
        size += len(data)
    return 8 * size / sum(picture.size for picture in pixels)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "out", default=None, type=click.Path(path_type=Path))
def main(folder: Path, out: Path | None) -> None:
    """Measure the PNG and WebP pictures below FOLDER."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".webp"))
    pixels = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    rates = {}
    for name, (encode, decode) in PEERS.items():
        rates[name] = measure(pixels, encode, decode)
        click.echo(f"{name}: {rates[name]:.4f}")
    if out:
        found = {"imagecodecs": imagecodecs.__version__, "pictures": len(files), "bits_per_dim": rates}
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
