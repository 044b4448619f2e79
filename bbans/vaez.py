"""A picture <-> the container of its file: by a model, or stored.

::

    Source -code-> Container -decode-> Picture                 mode model
    Source -store-> Container -unstore-> file or Picture       mode stored

Forward and inverse stand side by side. Reading bytes and loading models is done in `bbans.api`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, FormatError, UnsupportedImageError, UnsupportedVersionError, VerifyError
from bbans.formats import container, stored, wire
from bbans.formats.container import Container, Mode, ModelHeader, Section, SectionKind
from bbans.images import webp
from bbans.images.picture import MAX_PIXELS, Picture, probe_picture, read_picture, write_picture
from bbans.results import Info, ModeName, Restored, SectionInfo

if TYPE_CHECKING:
    from bbans.models.registry import PictureCodec

Pixels = npt.NDArray[np.uint8]

_PICTURE_METHODS = (stored.Method.WEBP, stored.Method.LZMA)
"""Those that keep pixels and metadata. The others keep the file."""


@dataclass(frozen=True)
class Source:
    """A picture file, and the picture in it unless that can only be kept as its file."""

    data: bytes
    picture: Picture | None
    format: str
    height: int
    width: int
    channels: int
    bit_depth: int


def read_source(data: bytes, mode: ModeName) -> tuple[Source, str | None]:
    """The picture to compress, and a note for the user.

    Raises: UnsupportedImageError: no picture, or none that this mode takes.
    """
    try:
        return source_of(data, read_picture(data)), None
    except UnsupportedImageError:
        info = probe_picture(data)  # raises for what is no picture at all
        if mode == "model":
            if info.format != "JPEG":
                raise
            return source_of(data, read_picture(data, decoded=True)), "the pixels of the JPEG are kept, not the JPEG file"
        source = Source(data, None, info.format, info.height, info.width, info.channels, info.bit_depth)
        return source, None if mode == "stored" else f"{info.kind}: stored byte for byte, without the model"


def source_of(data: bytes, picture: Picture) -> Source:
    """The source of a file that was read as this picture."""
    height, width, channels = picture.pixels.shape
    return Source(data, picture, picture.format, height, width, channels, 8)


def code(source: Source, picture: Picture, codec: PictureCodec) -> Container:
    """The picture in mode model. Inverse: `decode`."""
    encoded = codec.encode(picture.pixels)
    metadata = [Section(SectionKind.METADATA, picture.metadata)] if picture.metadata else []
    messages = [Section(SectionKind.MESSAGE, message) for message in encoded.messages]
    return make_container(
        source,
        mode=Mode.MODEL,
        method=0,
        content=picture.pixels,
        model=ModelHeader(codec.id, codec.weights_hash, encoded.accounting),
        sections=(*metadata, *messages),
    )


def decode(parsed: Container, codec: PictureCodec) -> Picture:
    """The picture of a file in mode model. Inverse: `code`.

    Raises: FormatError.
    """
    if parsed.channels not in (1, 3) or parsed.bit_depth != 8:
        raise FormatError(f"no model codes {parsed.channels} channels of {parsed.bit_depth} bits")
    if parsed.height * parsed.width > MAX_PIXELS:
        raise CorruptDataError(f"the file claims {parsed.width} x {parsed.height} pixels, more than a picture may have")
    messages = parsed.bodies(SectionKind.MESSAGE)
    pixels = codec.decode(messages, parsed.height, parsed.width, parsed.channels)
    return Picture(pixels, parsed.format, b"".join(parsed.bodies(SectionKind.METADATA)))


def store(source: Source) -> Container:
    """The picture, or its file, in mode stored. Inverse: `unstore`."""
    method, payload = stored.encode(source.data, source.picture)
    return make_container(
        source,
        mode=Mode.STORED,
        method=method,
        content=source.picture.pixels if source.picture and method in _PICTURE_METHODS else source.data,
        model=None,
        sections=(Section(SectionKind.PAYLOAD, payload),),
    )


def unstore(parsed: Container) -> bytes | Picture:
    """The file or the picture of a file in mode stored. Inverse: `store`.

    Raises: FormatError.
    """
    if parsed.method not in list(stored.Method):
        raise UnsupportedVersionError(f"stored method {parsed.method} is of a newer vaezip: {wire.UPDATE_ADVICE}")
    [payload] = parsed.bodies(SectionKind.PAYLOAD)
    content = stored.decode(parsed.method, payload)
    if isinstance(content, Picture):
        inside, header = (content.format, *content.pixels.shape), (parsed.format, parsed.height, parsed.width, parsed.channels)
        if inside != header:
            raise CorruptDataError(f"the stored picture is {inside}, but the header says {header}")
    return content


def make_container(
    source: Source,
    *,
    mode: Mode,
    method: int,
    content: bytes | Pixels,
    model: ModelHeader | None,
    sections: tuple[Section, ...],
) -> Container:
    """The container of a source. `content` is what comes back: the file, or pixels."""
    return Container(
        mode=mode,
        method=method,
        format=source.format,
        source_bytes=len(source.data),
        height=source.height,
        width=source.width,
        channels=source.channels,
        bit_depth=source.bit_depth,
        content_check=content_check(content),
        model=model,
        sections=sections,
    )


def restore(parsed: Container, codec: PictureCodec | None) -> Restored:
    """The picture file of a container. `codec` is needed in mode model.

    Raises: FormatError.
    """
    content = unstore(parsed) if codec is None else decode(parsed, codec)
    if content_check(content.pixels if isinstance(content, Picture) else content) != parsed.content_check:
        raise CorruptDataError("the file decodes, but not to the picture that was compressed: its content check failed")
    return Restored(write_picture(content) if isinstance(content, Picture) else content, parsed.format)


def verify(data: bytes, source: Source, codec: PictureCodec | None) -> None:
    """Raises VerifyError unless a compressed file gives back the very source, or a file that reads as the same picture."""
    try:
        parsed = container.unpack(data)
        restored = restore(parsed, codec if parsed.mode == Mode.MODEL else None).data
        same = restored == source.data or (source.picture is not None and read_picture(restored) == source.picture)
    except (FormatError, UnsupportedImageError) as error:
        raise VerifyError(f"what was compressed cannot be decompressed: {error}") from error
    if not same:
        raise VerifyError("what was compressed decompresses to another picture")


def fast_bytes(source: Source, picture: Picture) -> int:
    """About what the stored fallback would take, in a tenth of its time; 0 if that cannot be said."""
    if max(picture.pixels.shape) > webp.MAX_SIDE_PX:
        return 0
    return min(len(webp.encode(picture.pixels, quality=0, method=0)), len(source.data))


def content_check(content: bytes | Pixels) -> bytes:
    """Digest of what must come back: a file, or the pixels with their shape."""
    digest = hashlib.blake2b(digest_size=wire.CHECK_BYTES)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        digest.update(b"".join(wire.pack_varint(side) for side in content.shape))
        digest.update(np.ascontiguousarray(content).data)
    return digest.digest()


def describe(parsed: Container, file_bytes: int) -> Info:
    """What a container of a file of that size says of itself."""

    def size(*kinds: SectionKind) -> int:
        return sum(len(section.body) for section in parsed.sections if section.kind in kinds)

    model = parsed.model
    return Info(
        mode="stored" if model is None else "model",
        method=_method_name(parsed.method) if model is None else None,
        model=None if model is None else model.id,
        weights_hash=None if model is None else model.weights_hash.hex(),
        format=parsed.format,
        width=parsed.width,
        height=parsed.height,
        channels=parsed.channels,
        bit_depth=parsed.bit_depth,
        source_bytes=parsed.source_bytes,
        file_bytes=file_bytes,
        header_bytes=file_bytes - size(*SectionKind),
        metadata_bytes=size(SectionKind.METADATA),
        coded_bytes=size(SectionKind.PAYLOAD, SectionKind.MESSAGE),
        sections=tuple(SectionInfo(section.kind.name.lower(), len(section.body)) for section in parsed.sections),
        accounting=None if model is None else model.accounting,
    )


def _method_name(method: int) -> str:
    return stored.Method(method).name.lower() if method in list(stored.Method) else f"unknown ({method})"
