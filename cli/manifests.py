"""Sets of archives on the command line, by their manifests alone: what `list` shows of them."""

from __future__ import annotations

from pathlib import Path, PurePath, PurePosixPath

from bbans.formats import manifest
from bbans.formats.manifest import Manifest
from bbans.storage import Folder, is_url, local

from . import output
from .output import plural


def is_set(source: str) -> bool:
    """Whether a name is that of a set of archives: its folder, or its manifest."""
    if PurePath(source).name == manifest.NAME:
        return True
    if is_url(source):
        return not PurePosixPath(source).suffix
    return (Path(local(source)) / manifest.NAME).is_file()


def read(source: str) -> Manifest:
    """The manifest of a set. Raises: FormatError, OSError."""
    folder = source.removesuffix(manifest.NAME).rstrip("/") or "."
    return Manifest.unpack(Folder(folder).read(manifest.NAME))


def fields(contents: Manifest) -> dict[str, object]:
    """A set as a JSON object."""
    return {
        "mode": "set",
        "images": contents.images,
        "shards": len(contents.parts),
        "dtype": contents.dtype,
        "shape": contents.shape,
        "source_bytes": contents.source_bytes,
        "file_bytes": contents.file_bytes,
        "models": sorted({model for part in contents.parts for model in part.models}),
    }


def sizes(contents: Manifest) -> str:
    """Such as `20000 images in 2 shards, 60.1 MB -> 40.2 MB (66.9 %)`."""
    change = f"{output.size(contents.source_bytes)} -> {output.size(contents.file_bytes)}"
    share = output.ratio(contents.file_bytes, contents.source_bytes)
    count = len(contents.parts)
    return f"{contents.images} image{plural(contents.images)} in {count} shard{plural(count)}, {change} ({share})"


def show(source: str, verbose: bool) -> str:
    """A set in words, for `list`."""
    contents = read(source)
    lines = [f"{output.printable(source)}: {sizes(contents)}"]
    if verbose:
        rows = [["shard", "images", "source", "file", "first", "models"]]
        for part in contents.parts:
            counts = (str(part.images), output.size(part.source_bytes), output.size(part.file_bytes))
            rows.append([part.file, *counts, output.printable(part.first), ", ".join(part.models)])
        lines.append(output.indent(output.table(rows)))
    return "\n".join(lines)
