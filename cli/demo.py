"""vaezip demo: compress and decompress a sample picture, with a table of sizes."""

from __future__ import annotations

import importlib.resources
import time
from pathlib import Path

import click

import bbans
from bbans.errors import VerifyError
from bbans.results import ModeName

from . import files, jobs, output, report

SAMPLE = Path(str(importlib.resources.files(__package__))) / "samples" / "valley.png"


@click.command("demo")
@click.argument("inputs", nargs=-1, metavar="[IN...]")
@report.option
@jobs.loudness
def command(inputs: tuple[str, ...], as_json: bool, quiet: bool, verbose: int) -> int:
    """Compress and decompress pictures, with the model and without, and show the sizes. Writes no file.

    Without IN it takes a sample photo. Times include loading.

    \b
    Example:
      vaezip demo photo.png
    """
    codec = bbans.api.Model()  # one for all inputs

    def work(source: str) -> None:
        show(source, codec, as_json)

    return jobs.run(inputs or [str(SAMPLE)], work, effect="", verbose=verbose, as_json=as_json)


def show(source: str, codec: bbans.api.Model, as_json: bool = False) -> None:
    """Print the table of one picture. Raises: VerifyError: another picture came back."""
    data = files.read(source)
    ways: list[dict[str, object]] = []
    rows = [["", "bytes", "bits/dim", "compress", "decompress", "comes back"]]
    modes: tuple[ModeName, ...] = ("stored", "model")
    for mode in modes:
        began = time.perf_counter()
        result = bbans.compress(data, mode=mode, model=None if mode == "stored" else codec, verify=False)
        compressed = time.perf_counter()
        restored = codec.decompress(result.data)
        decompressed = time.perf_counter()
        info = result.info
        if not rows[1:]:
            dims = info.height * info.width * info.channels
            raw_bytes = -(-dims * info.bit_depth // 8)
            rows += [
                ["raw pixels", str(raw_bytes), f"{8 * raw_bytes / dims:.3f}", "", "", ""],
                [f"{info.format} file", str(len(data)), f"{8 * len(data) / dims:.3f}", "", "", ""],
            ]
        ways.append(
            {
                **report.info_object(info),
                "compress_seconds": compressed - began,
                "decompress_seconds": decompressed - compressed,
                "comes_back": what_came_back(data, restored.data),
            }
        )
        rows.append(
            [
                f"vaezip --mode {mode} ({output.how(info)})",
                str(info.file_bytes),
                f"{info.bits_per_dim:.3f}",
                f"{compressed - began:.2f} s",
                f"{decompressed - compressed:.2f} s",
                str(ways[-1]["comes_back"]),
            ]
        )
    if as_json:
        report.line(source, {"status": "done", "ways": ways})
        return
    click.echo(f"{output.printable(Path(source).name)}: {info.width} x {info.height}, {info.channels} x {info.bit_depth} bits")
    click.echo(output.table(rows))


def what_came_back(data: bytes, restored: bytes) -> str:
    from bbans.images.picture import read_picture

    if restored == data:
        return "the same file"
    if read_picture(restored) == read_picture(data):
        return "the same picture"
    raise VerifyError("another picture came back")
