"""vaezip list: what compressed files hold. Loads neither models nor numpy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import click

from bbans import inspection
from bbans.accounting import Accounting
from bbans.formats import archive
from bbans.results import Info

from . import archives, files, jobs, manifests, output, report
from .inputs import expand
from .output import plural


@click.command("list")
@jobs.inputs
@click.option("-r", "--recursive", is_flag=True, help="Take the files in folders.")
@report.option
@jobs.loudness
def command(inputs: tuple[str, ...], recursive: bool, as_json: bool, quiet: bool, verbose: int) -> int:
    """Show mode, model, sizes and bits/dim of compressed files and archives; with -v, where their bits go.

    What comes back is the same file, byte for byte, or a picture: the same pixels and metadata in a file written anew.

    All checksums are verified, but no pixels are decoded. Bits/dim are bits of the file per sub-pixel.

    \b
    Examples:
      vaezip list -r packed
      vaezip list -v photo.png.vaez
    """
    lines: list[Line] = []

    def show(source: str) -> None:
        if manifests.is_set(source):
            if as_json:
                report.line(source, manifests.fields(manifests.read(source)))
            else:
                click.echo(manifests.show(source, verbose > 0))
            return
        data = files.read(source)
        contents = archives.inspect(data) if data.startswith(archive.MAGIC) else inspection.inspect(data)
        if isinstance(contents, archives.Contents):
            line, fields, text = archive_line(contents), archives.as_object(contents), archives.details(contents)
        else:
            line, fields, text = picture_line(contents), report.info_object(contents), details(contents)
        lines.append(dataclasses.replace(line, source=source))
        if as_json:
            report.line(source, fields)
        elif verbose:
            click.echo(f"{output.printable(source)}\n{text}\n")
        if isinstance(contents, archives.Contents):
            contents.check()

    of_sets = [] if recursive else list(filter(manifests.is_set, inputs))
    others = [source for source in inputs if source not in of_sets]
    found = expand(others, recursive=recursive, wanted=lambda name: name.endswith((files.SUFFIX, files.ARCHIVE_SUFFIX)))
    sources = [*of_sets, *(item.source for item in found.items if not item.link)]
    code = jobs.run(sources, show, effect="", verbose=verbose, as_json=as_json)
    code = max([code, *(jobs.fail(*fault, effect="", verbose=verbose, as_json=as_json) for fault in found.faults)])
    if lines and not as_json and not verbose:
        rows = [["file", "picture", "how", "back", "source", "file", "ratio", "bits/dim"], *map(row, lines)]
        click.echo(output.table(rows if len(lines) == 1 else [*rows, row(total(lines))]))
    return code


@dataclass(frozen=True)
class Line:
    """A row of the table. `back`: what comes back. `dims`: sub-pixels of the file, None if they are not known."""

    source: str
    picture: str
    how: str
    back: str
    source_bytes: int
    file_bytes: int
    dims: int | None
    by_model: bool


def picture_line(info: Info) -> Line:
    return Line(
        source="",
        picture=f"{info.width}x{info.height}x{info.channels}",
        how=output.how(info),
        back=info.restores,
        source_bytes=info.source_bytes,
        file_bytes=info.file_bytes,
        dims=info.height * info.width * info.channels,
        by_model=info.mode == "model",
    )


def archive_line(contents: archives.Contents) -> Line:
    return Line(
        source="",
        picture=contents.kind,
        how=contents.how,
        back="array" if contents.index.array else "files",
        source_bytes=contents.index.source_bytes,
        file_bytes=contents.file_bytes,
        dims=contents.dims,
        by_model=any(group.model for group in contents.index.groups),
    )


def row(line: Line) -> list[str]:
    return [
        output.printable(line.source),
        line.picture,
        line.how,
        line.back,
        output.size(line.source_bytes),
        output.size(line.file_bytes),
        output.ratio(line.file_bytes, line.source_bytes),
        "-" if line.dims is None else f"{8 * line.file_bytes / line.dims:.3f}",
    ]


def total(lines: list[Line]) -> Line:
    counts = [line.dims for line in lines]
    return Line(
        source=f"total of {len(lines)}",
        picture="",
        how=f"{sum(line.by_model for line in lines)} by model",
        back="",
        source_bytes=sum(line.source_bytes for line in lines),
        file_bytes=sum(line.file_bytes for line in lines),
        dims=None if None in counts else sum(filter(None, counts)),
        by_model=False,
    )


_CONVERSIONS = {
    "jfif": "the luma and chroma of a decoded JPEG",
    "webp": "the luma and chroma of a decoded WebP",
    "photo_cd": "the luma and chroma of a Photo CD",
    "gaps": "numbers of the values that there are",
    "channels": "a picture of fewer channels or bits",
    "alpha": "colours, beside an alpha channel",
}
_RESTORES = {"file": "the file, byte for byte", "picture": "the picture and its metadata, in a new file"}


def details(info: Info) -> str:
    """All that a file says of itself, in lines for people."""
    counts = [f"header {info.header_bytes}", f"metadata {info.metadata_bytes}"]
    messages = sum(section.kind == "message" for section in info.sections)
    counts.append(f"{info.coded_bytes} in {messages} message{plural(messages)}" if messages else f"payload {info.coded_bytes}")
    if converted := _conversion_bytes(info):
        counts.append(f"conversion {converted}")
    lines = [
        f"  picture   {info.width} x {info.height}, {info.channels} x {info.bit_depth} bits, {info.format}",
        f"  how       {output.how(info)}" + (f", weights {info.weights_hash}" if info.weights_hash else ""),
        *(f"  pixels    coded as {_CONVERSIONS.get(name, name)}" for name in (info.conversion or "").split(", ") if name),
        f"  sizes     {output.sizes(info, exact=True)}",
        f"  bytes     {', '.join(counts)}",
        f"  restores  {_RESTORES[info.restores]}",
        f"  checks    header and {len(info.sections)} section{plural(len(info.sections))}: whole",
    ]
    if info.accounting is not None:
        lines.append(output.indent(output.table(accounting_rows(info, info.accounting))))
    return "\n".join(lines)


def accounting_rows(info: Info, bits: Accounting) -> list[list[str]]:
    """A table of where the bits of a file of the model come from."""
    dims = info.height * info.width * info.channels
    converted = _conversion_bytes(info)
    rest = "header, metadata, conversion" if converted else "header, metadata"
    return output.accounting_rows(bits, info.coded_bytes, (rest, info.header_bytes + info.metadata_bytes + converted), dims)


def _conversion_bytes(info: Info) -> int:
    return sum(section.size_bytes for section in info.sections if section.kind == "conversion")
