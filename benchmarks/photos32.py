"""photos32: 32 x 32 area-downscaled crops of a photo folder, as one array (N, 32, 32, 3) uint8.

::

    python -m benchmarks.photos32 FOLDER... --out crops.npy [--count N] [--seed S]

Stands in for the photo sets that cannot be shipped, and is never compared with CIFAR-10 or ImageNet32: the photos are others, and
so is the downscaling. It is a function of the pictures, their relative paths, and the seed, in integers alone:

- pictures: every file below the folders whose suffix is one of SUFFIXES, folder by folder in the order given, in a folder sorted
  by the relative path as POSIX text; converted to RGB by Pillow, orientation tags ignored. Those with a side below 64 are left out;
- crop i of the set is of picture i modulo their number, so a smaller count is the beginning of a larger one;
- its place: SHA-256 of the ASCII text `photos32:SEED:i` (decimal numbers), as four big-endian 64-bit numbers a, b, c, d.
  Factor k = 2 + a mod (m - 1), m = min(8, shorter side // 32); side s = 32 k; top = b mod (height - s + 1);
  left = c mod (width - s + 1);
- area-downscaling: each pixel is the mean of k x k pixels, in each channel (sum + k*k // 2) // (k*k): halves are rounded up.

Lossy photos (JPEG, lossy WebP) are as exact as their decoder; every other step gives the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
FACTORS = (2, 8)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".ppm", ".bmp", ".tif", ".tiff")


def pictures(folders: Sequence[Path]) -> list[Path]:
    """The pictures that are large enough, in their order. Raises: FileNotFoundError when there are none."""
    large = []
    for folder in folders:
        files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
            with Image.open(path) as picture:
                if min(picture.size) >= FACTORS[0] * SIDE:
                    large.append(path)
    if not large:
        raise FileNotFoundError(f"{', '.join(map(str, folders))}: no pictures of at least 64 x 64 pixels")
    return large


def place(seed: int, index: int, height: int, width: int) -> tuple[int, int, int]:
    """Factor, top and left of a crop in a picture of that size."""
    digest = hashlib.sha256(f"photos32:{seed}:{index}".encode()).digest()
    a, b, c = (int.from_bytes(digest[at : at + 8], "big") for at in (0, 8, 16))
    lowest, highest = FACTORS
    factor = lowest + a % (min(highest, min(height, width) // SIDE) - lowest + 1)
    return factor, b % (height - factor * SIDE + 1), c % (width - factor * SIDE + 1)


def downscale(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The mean of factor x factor pixels: (H * factor, W * factor, C) -> (H, W, C)."""
    height, width, channels = pixels.shape
    blocks = pixels.reshape(height // factor, factor, width // factor, factor, channels)
    sums = blocks.sum((1, 3), dtype=np.uint32)
    means: NDArray[np.uint8] = ((sums + factor**2 // 2) // factor**2).astype(np.uint8)
    return means


def crops(folders: Sequence[Path], count: int, seed: int = 0) -> NDArray[np.uint8]:
    """The first `count` crops of the pictures below the folders, (count, 32, 32, 3)."""
    files = pictures(folders)
    out = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for number, file in enumerate(files[:count]):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        for index in range(number, count, len(files)):
            factor, top, left = place(seed, index, *pixels.shape[:2])
            out[index] = downscale(pixels[top : top + SIDE * factor, left : left + SIDE * factor], factor)
    return out


@click.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER, metavar="FOLDER...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .npy file to write.")
@click.option("--count", default=2000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True, type=int)
def main(folders: tuple[Path, ...], out: Path, count: int, seed: int) -> None:
    """Write 32 x 32 crops of the photos below the folders as an array (COUNT, 32, 32, 3) uint8."""
    try:
        array = crops(folders, count, seed)
    except OSError as error:
        raise click.ClickException(str(error)) from None
    with out.open("wb") as file:  # np.save would add a suffix
        np.save(file, array)
    click.echo(f"{out}: {array.shape} from {len(pictures(folders))} photos, SHA-256 {hashlib.sha256(array.tobytes()).hexdigest()}")


if __name__ == "__main__":
    main()
