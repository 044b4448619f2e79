"""vaezip test: decode compressed files without writing anything, and compare with the originals."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bbans
from bbans.errors import BbansError, CorruptDataError, UnsupportedImageError, VerifyError
from bbans.formats import archive
from bbans.progress import Progress

from . import archives, batch, files, inputs, jobs, output
from .decompress import inspect
from .inputs import Item

if TYPE_CHECKING:
    from bbans import sets


@click.command("test")
@jobs.inputs
@click.option("--against", metavar="ORIGINAL", help="Compare with this file; with files of the same names in this folder.")
@click.option("--model", metavar="FILE", help="Weight file of a model that is not installed.")
@jobs.machine
def command(inputs: tuple[str, ...], against: str | None, model: str | None, **options: Any) -> int:
    """Decode compressed files and archives, with all of their checks, and write nothing.

    Exit code 3 for a damaged file, 1 for one that holds something else than ORIGINAL.

    \b
    Examples:
      vaezip test photo.png.vaez --against photo.png
      vaezip test -r packed --against photos
    """
    job = jobs.Job(**options)
    found = _compressed(inputs, job)
    at_once, threads = batch.workers(job, len(found.items))
    codec = bbans.api.Model(model, threads=threads, device=job.device)
    budget = batch.PixelBudget()

    def test(item: Item, progress: Progress | None) -> batch.Product:
        data = files.read(item.source)
        began = time.perf_counter()
        if data.startswith(archive.MAGIC):
            with bbans.sets.open_archive(io.BytesIO(data), model=model, threads=threads) as reader:
                words = test_archive(reader, _original(item, against, None))
                source_bytes = reader.archive.source_bytes
        else:
            info = inspect(data, job.max_pixels)
            with budget.hold(info.width * info.height):
                restored = codec.decompress(data, progress=progress)
            words = compare(restored.data, _original(item, against, info.format)) or "whole"
            source_bytes = info.source_bytes
        seconds = time.perf_counter() - began
        fields = {"result": words, "source_bytes": source_bytes, "file_bytes": len(data), "seconds": seconds}
        return batch.Product(f"{item.source}: {words}", fields=fields, source_bytes=len(data))

    return batch.run(found, test, job, at_once=at_once, effect="")


def _compressed(sources: tuple[str, ...], job: jobs.Job) -> inputs.Inputs:
    """The files that are named, and those of ours in folders; links there lead to files that are tested anyway, or are others'."""
    suffixes = (files.SUFFIX, files.ARCHIVE_SUFFIX)
    found = inputs.expand(sources, recursive=job.recursive, wanted=lambda name: name.endswith(suffixes))
    found.items = [item for item in found.items if not item.link]
    return found


def _original(item: Item, against: str | None, format: str | None) -> Path | None:
    """The file to compare with. Archives (no format) of folders are compared with the folder itself."""
    if against is None or not Path(against).is_dir():
        return None if against is None else Path(against)
    if format is not None:
        return Path(against, item.below, files.restored_name(item.source, format))
    name = Path(item.source).name.removesuffix(files.ARCHIVE_SUFFIX)
    inside = Path(against, item.below, name)
    return inside if name and inside.exists() else Path(against)


def compare(restored: bytes, original: Path | None) -> str | None:
    """How a restored file equals the original one; None if there is nothing to compare with.

    Raises: VerifyError: it does not. OSError.
    """
    from bbans.images.picture import read_picture

    if original is None:
        return None
    try:
        data = original.read_bytes()
    except OSError as error:
        raise OSError(error.errno, f"{original} cannot be read: {error.strerror or error}") from error
    if data == restored:
        return f"the same file as {original}"
    try:
        same = read_picture(restored, any_kind=True) == read_picture(data, any_kind=True, decoded=True)
    except UnsupportedImageError:
        same = False
    if not same:
        raise VerifyError(f"another picture than {original}")
    return f"the same pixels and metadata as {original}"


def test_archive(reader: sets.ArchiveReader, original: Path | None) -> str:
    """Decode all images. Raises: VerifyError: others than the original ones; CorruptDataError, ModelError, OSError."""
    import numpy as np

    from bbans.sets.arrays import read_array

    if reader.surplus_bytes:
        raise CorruptDataError(f"{reader.surplus_bytes} bytes too many after the last chunk")
    count = f"{len(reader)} image{output.plural(len(reader))}"
    if reader.archive.array is not None:
        images, lost = reader.recover()
        if lost:
            raise type(lost[0].error)(archives.cause(reader.archive, lost))
        if original is None:
            return f"{count}: whole"
        other = read_array(original)
        if other.dtype != images.dtype or not np.array_equal(other, images):
            raise VerifyError(f"other images than {original}")
        return f"{count}: the same array as in {original}"
    for number, restored in reader.files():
        if isinstance(restored, BbansError):
            raise type(restored)(f"{reader.names[number]}: {restored}")
        compare(restored.data, None if original is None else original / reader.names[number])
    for link in reader.links:
        if original is not None and _target(original / link.name) != link.target:
            raise VerifyError(f"{original / link.name} is not a link to {link.target}")
    return f"{count}: whole" if original is None else f"{count}: the same as in {original}"


def _target(path: Path) -> str | None:
    """What a symbolic link holds; None if there is none."""
    return os.readlink(path) if path.is_symlink() else None
