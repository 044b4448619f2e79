"""What a compressed picture says of itself. Imports neither numpy nor Pillow, so that `vaezip list` starts at once."""

from __future__ import annotations

from bbans.formats import container
from bbans.formats.container import TO_THE_BYTE, Container, ConversionNumber, Mode, SectionKind, StoredMethod
from bbans.results import Info, RestoresName, SectionInfo


def inspect(data: bytes) -> Info:
    """What the bytes of a compressed file say of it, once all its checks have passed.

    Raises: FormatError: not a file of ours, damaged, or of a newer version.
    """
    return describe(container.unpack(data), len(data))


def describe(contents: Container, file_bytes: int) -> Info:
    """What a container says of itself; `file_bytes` is the size of its file."""

    def size(*kinds: SectionKind) -> int:
        return sum(len(section.body) for section in contents.sections if section.kind in kinds)

    model = contents.model
    return Info(
        mode="stored" if model is None else "model",
        method=_method_name(contents.method) if model is None else None,
        model=None if model is None else model.id,
        weights_hash=None if model is None else model.weights_hash.hex(),
        format=contents.format,
        width=contents.width,
        height=contents.height,
        channels=contents.channels,
        bit_depth=contents.bit_depth,
        source_bytes=contents.source_bytes,
        file_bytes=file_bytes,
        header_bytes=file_bytes - size(*SectionKind),
        metadata_bytes=size(*(kind for kind in SectionKind if kind.is_metadata), SectionKind.PNG_WRITING),
        coded_bytes=size(SectionKind.PAYLOAD, SectionKind.MESSAGE),
        sections=tuple(SectionInfo(section.kind.name.lower(), len(section.body)) for section in contents.sections),
        accounting=None if model is None else model.accounting,
        restores=_restores(contents),
        conversion=_conversion(contents),
    )


def _conversion(contents: Container) -> str | None:
    numbers = [body[0] if body else 0 for body in contents.bodies(SectionKind.CONVERSION)]
    known = list(ConversionNumber)
    return ", ".join(ConversionNumber(n).name.lower() if n in known else f"unknown ({n})" for n in numbers) or None


def _restores(contents: Container) -> RestoresName:
    """Whether a file comes back to the byte: it is kept, its format has one file for a picture, or how it was written is known."""
    keeps_file = contents.mode == Mode.STORED and contents.method in list(StoredMethod) and StoredMethod(contents.method).keeps_file
    known = contents.format in TO_THE_BYTE or contents.bodies(SectionKind.PNG_WRITING)
    return "file" if keeps_file or known else "picture"


def _method_name(method: int) -> str:
    return StoredMethod(method).name.lower() if method in list(StoredMethod) else f"unknown ({method})"
