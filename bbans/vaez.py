"""A picture <-> the container of its file: by a model, or stored.

::

    Source -code-> Container -decode-> Picture                 mode model
    Source -store-> Container -unstore-> file or Picture       mode stored

`bbans.api` reads the source and loads the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, FormatError, ModelError, UnsupportedImageError, VerifyError
from bbans.formats import container, stored, wire
from bbans.formats.container import Container, Mode, ModelHeader, Section, SectionKind, StoredMethod
from bbans.formats.forms import Layout
from bbans.formats.metadata import metadata_of, metadata_section
from bbans.images import plain, png, webp
from bbans.images.picture import MAX_PIXELS, Picture, is_source, probe_picture, read_picture, write_picture
from bbans.images.plain import Plain
from bbans.models.photo.geometry import message_count
from bbans.progress import Work
from bbans.results import DEFAULT_EFFORT, Damage, ModeName, Recovered, Restored

if TYPE_CHECKING:
    from bbans.models.registry import PictureCodec


OTHER_ZLIB = "the same pixels and metadata in another file, as the zlib of this machine writes other bytes"

OTHER_STRIPS = "the same pixels and tags in another file, as the libraries of this machine compress strips to other bytes"

_DIGEST_ROWS = 256

_BESIDE_BYTES = 1 << 26
"""Of samples: what is smaller may stay in memory while it is found how the PNG was written."""

_REWRITTEN = 1.01
"""The size of a PNG that is written anew, to that of its source."""


@runtime_checkable
class Recovering(Protocol):
    """A `PictureCodec` that can tell what is left of a damaged picture."""

    def recover(
        self, messages: Sequence[bytes | None], height: int, width: int, channels: int, /
    ) -> tuple[npt.NDArray[np.uint8], list[Damage]]: ...


@runtime_checkable
class Reporting(Protocol):
    """A `PictureCodec` that says how far it is, in the units of `bbans.progress`."""

    def reporting(self, tell: Callable[[int], None], /) -> PictureCodec:
        """The same codec, which calls `tell` with the units of work that are done since the last call; decoding has one a pixel."""

    def units(self, height: int, width: int, effort: int, /) -> int:
        """Those of encoding a picture."""


@dataclass(frozen=True)
class Source:
    """A picture file, and the picture in it unless only the file can be kept."""

    data: bytes
    picture: Picture | None
    format: str
    height: int
    width: int
    channels: int
    bit_depth: int
    wait_for_writing: Callable[[], bytes] = bytes

    @cached_property
    def plain(self) -> Plain | None:
        """What a model may code of the picture; None if there is no such thing."""
        return None if self.picture is None else plain.find(self.picture)

    @property
    def writing(self) -> bytes:
        """How a PNG was written (`png.find_writing`), where that is known; waits until it is."""
        return self.wait_for_writing()


@dataclass(frozen=True)
class Prepared:
    """What a model codes of a source, in the place of its picture: large pictures are not in memory twice.

    Attributes:
        samples: (H, W, C).
        container: of all else but how a PNG was written.
        source: without its picture.
    """

    samples: npt.NDArray[np.uint8]
    container: Container
    source: Source


def read_source(data: bytes, mode: ModeName, pool: Executor | None = None) -> tuple[Source, str | None]:
    """The source in a picture file, and a note for the user.

    Args:
        pool: where it is found how a PNG was written, while the picture is coded.
    Raises: UnsupportedImageError: not a picture, or not one that this mode takes.
    """
    try:
        picture = read_picture(data, any_kind=True)
        source = picture_source(data, picture, find_writing=True, pool=pool)
        if mode == "stored" or source.plain is not None:
            return source, None
        if mode == "model" and picture.bit_depth == 16:
            cause = "some bits of its samples would be lost: it has more than 256 values, or too few pixels for so many"
            raise UnsupportedImageError(f"{picture.kind} is not supported ({cause})")
        if mode == "model":
            read_picture(data)  # raises, and says what is lost
        return source, f"{picture.kind}: stored without the model"
    except UnsupportedImageError:
        info = probe_picture(data)  # raises for what is not a picture at all
        if mode == "model":
            if info.format != "JPEG":
                raise
            return picture_source(data, read_picture(data, decoded=True)), "the pixels of the JPEG are kept, not the JPEG file"
        source = Source(data, None, info.format, info.height, info.width, info.channels, info.bit_depth)
        return source, None if mode == "stored" else f"{info.kind}: stored byte for byte, without the model"


def picture_source(data: bytes, picture: Picture, find_writing: bool = False, pool: Executor | None = None) -> Source:
    """The source of a picture that was read from a file.

    Args:
        find_writing: of a PNG, so that the file comes back byte for byte.
        pool: where that is found.
    """
    height, width, channels = picture.pixels.shape
    source = Source(data, picture, picture.format, height, width, channels, picture.bit_depth)
    if not find_writing or picture.format != "PNG":
        return source
    if pool is not None and picture.pixels.nbytes <= _BESIDE_BYTES:
        return replace(source, wait_for_writing=pool.submit(png.find_writing, data, picture.pixels, picture.bit_depth).result)
    found = png.find_writing(data, picture.pixels, picture.bit_depth)
    return replace(source, wait_for_writing=lambda: found)


def prepare(source: Source, effort: int = DEFAULT_EFFORT, work: Work | None = None) -> Prepared:
    """What a model codes of a source with `plain` samples. The source is not needed any more.

    Raises: ValueError: it has none.
    """
    if source.picture is None or source.plain is None:
        raise ValueError(f"source: a picture of 8-bit gray or RGB for a model, not {source.picture and source.picture.kind}")
    samples, conversions = source.plain.convert(effort, work)
    sections = [Section(SectionKind.CONVERSION, body) for body in conversions]
    all_else = _container(replace(source, wait_for_writing=bytes), Mode.MODEL, 0, source.picture, sections)
    return Prepared(samples, all_else, replace(source, picture=None))


def code(prepared: Prepared, codec: PictureCodec, effort: int = DEFAULT_EFFORT, work: Work | None = None) -> Container:
    """The picture in mode model. Inverse: `decode`."""
    if work is not None and isinstance(codec, Reporting):
        work.expect(codec.units(prepared.container.height, prepared.container.width, effort))
        work.did("coding", 0)
        codec = codec.reporting(partial(work.did, "coding"))
    encoded = codec.encode(prepared.samples, effort)
    messages = [Section(SectionKind.MESSAGE, message) for message in encoded.messages]
    sections = [*prepared.container.sections, *_written(prepared.source), *messages]
    return replace(
        prepared.container,
        method=int(encoded.accounting.changes_bits > 0),
        model=ModelHeader(codec.id, codec.weights_hash, encoded.accounting),
        sections=_sorted(sections),
    )


def decode(contents: Container, codec: PictureCodec) -> Picture:
    """The picture of a file in mode model. Inverse: `code`.

    Raises: FormatError.
    """
    conversions, (height, width, channels), depth = contents.bodies(SectionKind.CONVERSION), _shape(contents), contents.bit_depth
    of_samples = plain.channels_of_samples(conversions, channels, depth)
    samples = codec.decode(contents.bodies(SectionKind.MESSAGE), height, width, of_samples)
    pixels = plain.restore(samples, conversions)
    picture = Picture(pixels, contents.format, metadata_of(contents.sections), depth)
    if picture.palette is not None:
        raise CorruptDataError("metadata: a palette beside the samples of a model")
    return picture


def store(source: Source, work: Work | None = None, effort: int = DEFAULT_EFFORT) -> Container:
    """The picture, or its file, in mode stored. Inverse: `unstore`."""
    beside = sum(len(section.body) + container.entry_bytes(section) for section in _beside(source))
    size = source.height, source.width
    return stored_container(source, *stored.encode(source.data, source.picture, size, beside, work, effort))


def stored_container(source: Source, method: StoredMethod, payload: bytes) -> Container:
    """The container of a payload by any of the methods that the source can be stored by."""
    content = source.data if method.keeps_file or source.picture is None else source.picture
    return _container(source, Mode.STORED, method, content, [Section(SectionKind.PAYLOAD, payload)])


def unstore(contents: Container, tell: Callable[[int], None] = lambda units: None) -> bytes | Picture:
    """The file or the picture of a file in mode stored. Inverse: `store`.

    Args:
        tell: called with the units of work that are done, after each strip of a picture.
    Raises: FormatError.
    """
    if contents.method not in list(StoredMethod):
        raise wire.newer("stored method", contents.method)
    method, metadata, [payload] = (
        StoredMethod(contents.method),
        metadata_of(contents.sections),
        contents.bodies(SectionKind.PAYLOAD),
    )
    if not method.keeps_file:
        palette = png.palette(metadata) if contents.format == "PNG" and contents.channels == 1 else None
        layout = Layout(_shape(contents), contents.bit_depth, palette)
        return Picture(stored.decode_picture(method, payload, layout, tell), contents.format, metadata, contents.bit_depth)
    if metadata:
        raise CorruptDataError("metadata beside a stored file, which has its own")
    return stored.decode_file(method, payload, contents.source_bytes, (contents.height, contents.width))


def _shape(contents: Container) -> tuple[int, int, int]:
    """(H, W, C) of a picture that is kept as its samples. Raises: CorruptDataError: it is too large."""
    if contents.height * contents.width > MAX_PIXELS:
        raise CorruptDataError(f"header: {contents.width} x {contents.height} pixels are more than the limit of {MAX_PIXELS}")
    return contents.height, contents.width, contents.channels


def _beside(source: Source) -> list[Section]:
    """The sections beside the samples of a picture."""
    metadata = b"" if source.picture is None else source.picture.metadata
    sections = [metadata_section(metadata)] if metadata else []
    return sections + _written(source)


def _written(source: Source) -> list[Section]:
    return [Section(SectionKind.PNG_WRITING, source.writing)] if source.writing else []


def _container(source: Source, mode: Mode, method: int, content: bytes | Picture, bodies: list[Section]) -> Container:
    """The container of a source, without a model. `content` is what comes back."""
    sections = [*bodies, *(_beside(source) if isinstance(content, Picture) else [])]
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
        model=None,
        sections=_sorted(sections),
    )


def _sorted(sections: Iterable[Section]) -> tuple[Section, ...]:
    return tuple(sorted(sections, key=lambda section: section.kind))


def restoring_units(what: Source | Container, codec: PictureCodec | None) -> int:
    """The work of decoding a picture and of writing its file."""
    decoding = what.height * what.width if isinstance(codec, Reporting) else 0
    return decoding + stored.decoding_units(what.height, what.width)


def restore(contents: Container, codec: PictureCodec | None, work: Work | None = None) -> Restored:
    """The picture file in a container; in mode model, decoded by `codec`.

    Raises: FormatError.
    """
    content, writing = _content(contents, codec, work, "decoding")
    if isinstance(content, bytes):
        return Restored(content, contents.format)
    if writing is None:
        file = write_picture(content, int(contents.source_bytes * _REWRITTEN))
        return Restored(file, contents.format, None if is_source(content, file) else OTHER_STRIPS)
    file, same = png.rewrite(content.pixels, content.metadata, content.bit_depth, writing)
    return Restored(file, contents.format, None if same else OTHER_ZLIB)


def _content(
    contents: Container, codec: PictureCodec | None, work: Work | None, doing: str
) -> tuple[bytes | Picture, bytes | None]:
    """What a container holds, its content check included, and how the PNG was written, if that is known. Raises: FormatError."""
    work = work or Work()
    work.expect(restoring_units(contents, codec))
    work.did(doing, 0)
    tell = partial(work.did, doing)
    if isinstance(codec, Reporting):
        codec = codec.reporting(tell)
    content = unstore(contents, tell) if codec is None else decode(contents, codec)
    if content_check(content) != contents.content_check:
        raise CorruptDataError("the file decodes, but not to the picture that was compressed: its content check failed")
    writing = next(iter(contents.bodies(SectionKind.PNG_WRITING)), None)
    if writing is not None and not (isinstance(content, Picture) and content.format == "PNG"):
        raise CorruptDataError("a writing of a PNG beside what is none")
    return content, writing


def recover(contents: Container, bodies: Sequence[tuple[SectionKind, bytes | None]], codec: PictureCodec) -> Recovered:
    """What is left of a picture in mode model, from what `container.unpack_damaged` gives.

    Raises: CorruptDataError: nothing is. ModelError: the family of the model has no such thing.
    """
    if not isinstance(codec, Recovering):
        raise ModelError(f"the model '{codec.id}' cannot recover damaged pictures")
    messages = [body for kind, body in bodies if kind == SectionKind.MESSAGE]
    if not any(messages) or len(messages) != message_count(contents.height, contents.width):
        raise CorruptDataError("nothing of it can be recovered")
    conversions = [body for kind, body in bodies if kind == SectionKind.CONVERSION]
    known, depth = [body for body in conversions if body is not None], contents.bit_depth
    height, width, channels = _shape(contents)
    alpha_lost = conversions[-1:] == [None] and channels in (2, 4)
    if len(known) + alpha_lost < len(conversions):
        raise CorruptDataError("nothing of it can be recovered: the section that says of what it was converted is damaged")
    of_samples = plain.channels_of_samples(known, channels - alpha_lost, depth)
    samples, damage = codec.recover(messages, height, width, of_samples)
    pixels = plain.restore(samples, known)
    if alpha_lost:
        pixels = plain.opaque(pixels)
    around = [(kind, body) for kind, body in bodies if kind.is_metadata]
    metadata = metadata_of([Section(kind, body) for kind, body in around if body is not None])
    lost = any(body is None for _, body in around)
    # The metadata of other formats is their header: without it the picture is a PNG.
    format = "PNG" if lost and contents.format not in ("PNG", "WEBP") else contents.format
    picture = Picture(pixels, format, metadata, contents.bit_depth)
    altered = not damage and not lost and not alpha_lost and content_check(picture) != contents.content_check
    return Recovered(write_picture(picture), format, tuple(damage), lost, altered, alpha_lost)


def verify(data: bytes, file: bytes, codec: PictureCodec | None, work: Work | None = None) -> None:
    """Raise VerifyError unless a compressed file restores a picture file, or another one of the same picture."""
    try:
        contents = container.unpack(data)
        content, writing = _content(contents, codec if contents.mode == Mode.MODEL else None, work, "verifying")
        if isinstance(content, bytes):
            same = content == file
        elif writing is not None:
            same = _is(png.rewritten(content.pixels, content.metadata, content.bit_depth, writing)[0], file)
        else:
            check = contents.content_check
            del contents  # as large as the file; and the pixels are larger
            restored = write_picture(content)
            del content
            same = restored == file or content_check(read_picture(restored, any_kind=True)) == check
    except (FormatError, UnsupportedImageError) as error:
        raise VerifyError(f"what was compressed cannot be decompressed: {error}") from error
    if not same:
        raise VerifyError("what was compressed decompresses to another picture")


def _is(parts: Iterable[bytes | memoryview], file: bytes) -> bool:
    """Whether parts are all of a file."""
    left = memoryview(file)
    for part in parts:
        if left[: len(part)] != part:
            return False
        left = left[len(part) :]
    return not left


def fast_bytes(source: Source, samples: npt.NDArray[np.uint8]) -> int:
    """About the size of the stored fallback, for plain samples, in a tenth of its time; 0 if that cannot be told."""
    if max(samples.shape) > webp.MAX_SIDE_PX:
        return 0
    strips = (samples[top:bottom] for top, bottom in stored.strips(source.height, source.width))
    return min(sum(len(webp.encode(strip, quality=0, method=0)) for strip in strips), len(source.data))


def content_check(content: bytes | Picture) -> bytes:
    """Digest of what must come back: a file, or a picture with its format, shape and metadata."""
    digest = hashlib.blake2b(digest_size=wire.CHECK_BYTES)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        depth = () if content.bit_depth == 8 else (content.bit_depth,)
        sizes = b"".join(map(wire.pack_varint, (*content.pixels.shape, *depth, len(content.metadata))))
        digest.update(wire.pack_name(content.format) + sizes + content.metadata)
        for top in range(0, len(content.pixels), _DIGEST_ROWS):
            piece = content.pixels[top : top + _DIGEST_ROWS]
            digest.update(piece.astype("<u2" if content.bit_depth == 16 else np.uint8).tobytes())
    return digest.digest()
