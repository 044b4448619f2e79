"""compress, decompress, inspect: the one place where pictures, models and the container meet.

::

    compress    file bytes -read_picture-> Picture -models / stored-> sections -container.pack-> bytes
    decompress  bytes -container.unpack-> sections -models / stored-> Picture -write_picture-> file bytes

What comes back is the picture: its pixels and its metadata. Where a picture is kept as its own file (JPEG, 16 bits,
alpha, palettes, animation), the file itself comes back, byte for byte.

Networks are loaded by the first call that needs them; `inspect` never does.

>>> from pathlib import Path
>>> png = Path("cli/samples/valley.png").read_bytes()
>>> result = compress(png, mode="stored")
>>> result.info.width, result.info.height, result.info.method
(480, 320, 'webp')
>>> restored = decompress(result.data)
>>> read_picture(restored.data) == read_picture(png)
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bbans.accounting import Accounting
from bbans.errors import CorruptDataError, FormatError, UnsupportedImageError, UnsupportedVersionError, VerifyError
from bbans.formats import container, stored, wire
from bbans.formats.container import Container, Mode, ModelHeader, Section, SectionKind
from bbans.images import webp
from bbans.images.picture import MAX_PIXELS, Picture, probe_picture, read_picture, write_picture

if TYPE_CHECKING:
    from bbans.models.photo.codec import Encoded

ModeName = Literal["auto", "model", "stored"]
Pixels = npt.NDArray[np.uint8]

CLEARLY_SMALLER = 0.85
"""In mode auto, a file of the model of at most this part of a fast WebP (and of the source) is taken at once. Careful
WebP or LZMA is then 0 to 10 % smaller than the fast one on photos, and takes ten times as long."""


class PictureCodec(Protocol):
    """What a model of `bbans.models` does for this module."""

    @property
    def id(self) -> str: ...

    @property
    def weights_hash(self) -> bytes: ...

    def encode(self, pixels: Pixels, /) -> Encoded: ...

    def decode(self, messages: Sequence[bytes], height: int, width: int, channels: int, /) -> Pixels: ...


@dataclass(frozen=True)
class SectionInfo:
    """A section of a file: ``kind`` is metadata, payload or message."""

    kind: str
    size_bytes: int


@dataclass(frozen=True)
class Info:
    """What a file says of itself."""

    mode: Literal["model", "stored"]
    method: str | None
    """How it is stored: file, file_lzma, webp or lzma. None in mode model."""
    model: str | None
    weights_hash: str | None
    format: str
    """Of the picture file that comes back."""
    width: int
    height: int
    channels: int
    bit_depth: int
    source_bytes: int
    file_bytes: int
    header_bytes: int
    metadata_bytes: int
    """In mode model. A stored payload holds its own metadata."""
    coded_bytes: int
    """Of the payload, or of all messages."""
    sections: tuple[SectionInfo, ...]
    accounting: Accounting | None

    @property
    def bits_per_dim(self) -> float:
        """8 * file_bytes / (H * W * C): bits per sub-pixel, header and metadata included."""
        return 8 * self.file_bytes / (self.height * self.width * self.channels)


@dataclass(frozen=True)
class Result:
    """A compressed file. ``note`` is what the user should know of how it was done, if anything."""

    data: bytes
    info: Info
    note: str | None = None


@dataclass(frozen=True)
class Restored:
    """A picture file, and the name of its format (PNG, JPEG, PGM, ...)."""

    data: bytes
    format: str


def compress(
    data: bytes,
    *,
    mode: ModeName = "auto",
    model: str | PictureCodec | None = None,
    threads: int | None = None,
    device: str = "cpu",
    verify: bool = True,
) -> Result:
    """A compressed file of a picture file. Inverse: `decompress`.

    Args:
        data: the bytes of a picture file.
        mode: ``model`` codes the pixels by the model, or raises; ``stored`` never does; ``auto`` is the smaller of
            both, and keeps what the model does not code as it is. A JPEG goes through the model only if asked for by name:
            its pixels are kept then, not its file.
        model: id of an installed model, or path of a weight file, or its codec, loaded before; the default model if None.
        threads: at most so many; as many as there are cores if None. The bytes do not depend on it, nor on `device`.
        device: cpu or cuda.
        verify: decompress the result and compare, before it is returned.
    Raises:
        UnsupportedImageError: no picture, or one that would lose something in this mode; says what.
        ModelError: the model is not here or cannot run.
        VerifyError: what was coded did not decode to the same picture.
    """
    if mode not in ("auto", "model", "stored"):
        raise ValueError(f"mode is auto, model or stored, not {mode!r}")
    source, note = _read(data, mode)
    if source.picture is None or mode == "stored":
        codec = None
        packed = container.pack(_store(source))
    else:
        codec = _codec(model, threads, device)
        packed = container.pack(_code(source, source.picture, codec))
        if mode == "auto" and len(packed) > CLEARLY_SMALLER * _fast_bytes(source, source.picture):
            packed = min(container.pack(_store(source)), packed, key=len)
    parsed = container.unpack(packed)
    if verify:
        _verify(parsed, source, codec)
    return Result(packed, _info(parsed, packed), note)


def decompress(
    data: bytes, *, model: str | PictureCodec | None = None, threads: int | None = None, device: str = "cpu"
) -> Restored:
    """The picture file that was compressed. Inverse: `compress`.

    Args:
        data: the bytes of a compressed file.
        model: path of a weight file, to be used instead of the installed ones; still the one that the file names. A codec,
            loaded before, is used where it is the one that the file names.
        threads, device: as for `compress`.
    Raises:
        FormatError: no file of ours, damaged, or of a newer version.
        ModelMissingError, ModelMismatchError: the model that the file names is not here.
        InexactBackendError: this machine cannot run the model exactly.
    """
    parsed = container.unpack(data)
    return _restore(parsed, None if parsed.model is None else _codec(model, threads, device, parsed.model))


def inspect(data: bytes) -> Info:
    """What a compressed file says of itself, after all its checks passed. Loads no model.

    Raises:
        FormatError: no file of ours, damaged, or of a newer version.
    """
    return _info(container.unpack(data), data)


def before_first_compile(listener: Callable[[], None]) -> None:
    """Have `listener` called once, before this process compiles a part of the coder that no cache holds yet.

    That takes some seconds, in the first run after an installation.
    """
    from bbans import _jit

    _jit.before_first_compile(listener)


@dataclass(frozen=True)
class _Source:
    """A picture file, and the picture in it unless that can only be kept as its file."""

    data: bytes
    picture: Picture | None
    format: str
    height: int
    width: int
    channels: int
    bit_depth: int


def _read(data: bytes, mode: ModeName) -> tuple[_Source, str | None]:
    """The picture to compress, and a note for the user.

    Raises: UnsupportedImageError: no picture, or none that this mode takes.
    """
    try:
        return _source(data, read_picture(data)), None
    except UnsupportedImageError:
        found = probe_picture(data)  # raises for what is no picture at all
        if mode == "model":
            if found.format != "JPEG":
                raise
            return _source(data, read_picture(data, decoded=True)), "the pixels of the JPEG are kept, not the JPEG file"
        source = _Source(data, None, found.format, found.height, found.width, found.channels, found.bit_depth)
        return source, None if mode == "stored" else f"{found.kind}: stored byte for byte, without the model"


def _source(data: bytes, picture: Picture) -> _Source:
    height, width, channels = picture.pixels.shape
    return _Source(data, picture, picture.format, height, width, channels, 8)


def _codec(given: str | PictureCodec | None, threads: int | None, device: str, header: ModelHeader | None = None) -> PictureCodec:
    """The codec that was given or asked for; for a file with a header of its model, that one.

    Raises: ModelError.
    """
    from bbans import models

    if given is None or isinstance(given, str):
        weights = given if header is None else models.find(header.id, header.weights_hash, also=given)
        return models.load(weights, threads=threads, device=device)
    if header is not None and (given.id, given.weights_hash) != (header.id, header.weights_hash):
        return _codec(None, threads, device, header)
    return given


def _code(source: _Source, picture: Picture, codec: PictureCodec) -> Container:
    """The picture in mode model. Inverse: `_decode`."""
    encoded = codec.encode(picture.pixels)
    bits = encoded.accounting
    accounting = Accounting(
        likelihood_bits=round(bits.likelihood_bits),
        prior_bits=round(bits.prior_bits),
        posterior_bits=round(bits.posterior_bits),
        initial_bits=round(bits.initial_bits),
    )
    metadata = [Section(SectionKind.METADATA, picture.metadata)] if picture.metadata else []
    messages = [Section(SectionKind.MESSAGE, message) for message in encoded.messages]
    return _container(
        source,
        mode=Mode.MODEL,
        method=0,
        content=picture.pixels,
        model=ModelHeader(codec.id, codec.weights_hash, accounting),
        sections=(*metadata, *messages),
    )


def _decode(parsed: Container, codec: PictureCodec) -> Picture:
    """The picture of a file in mode model. Inverse: `_code`."""
    if parsed.channels not in (1, 3) or parsed.bit_depth != 8:
        raise FormatError(f"no model codes {parsed.channels} channels of {parsed.bit_depth} bits")
    if parsed.height * parsed.width > MAX_PIXELS:
        raise CorruptDataError(f"the file claims {parsed.width} x {parsed.height} pixels, more than a picture may have")
    messages = parsed.bodies(SectionKind.MESSAGE)
    pixels = codec.decode(messages, parsed.height, parsed.width, parsed.channels)
    return Picture(pixels, parsed.format, b"".join(parsed.bodies(SectionKind.METADATA)))


def _store(source: _Source) -> Container:
    """The picture, or its file, in mode stored. Inverse: `_unstore`."""
    method, payload = stored.encode(source.data, source.picture)
    as_picture = method in (stored.Method.WEBP, stored.Method.LZMA)
    return _container(
        source,
        mode=Mode.STORED,
        method=method,
        content=source.picture.pixels if source.picture and as_picture else source.data,
        model=None,
        sections=(Section(SectionKind.PAYLOAD, payload),),
    )


def _unstore(parsed: Container) -> bytes | Picture:
    """The picture of a file in mode stored, or its file. Inverse: `_store`."""
    if parsed.method not in list(stored.Method):
        raise UnsupportedVersionError(f"stored method {parsed.method} is of a newer vaezip: install it to read this file")
    [payload] = parsed.bodies(SectionKind.PAYLOAD)
    kept = stored.decode(parsed.method, payload)
    if isinstance(kept, Picture):
        inside, header = (kept.format, *kept.pixels.shape), (parsed.format, parsed.height, parsed.width, parsed.channels)
        if inside != header:
            raise CorruptDataError(f"the stored picture is {inside}, but the header says {header}")
    return kept


def _container(
    source: _Source,
    *,
    mode: Mode,
    method: int,
    content: bytes | Pixels,
    model: ModelHeader | None,
    sections: tuple[Section, ...],
) -> Container:
    return Container(
        mode=mode,
        method=method,
        format=source.format,
        source_bytes=len(source.data),
        height=source.height,
        width=source.width,
        channels=source.channels,
        bit_depth=source.bit_depth,
        content_check=_content_check(content),
        model=model,
        sections=sections,
    )


def _restore(parsed: Container, codec: PictureCodec | None) -> Restored:
    """The picture file of a container; the codec is given in mode model."""
    kept = _unstore(parsed) if codec is None else _decode(parsed, codec)
    if _content_check(kept.pixels if isinstance(kept, Picture) else kept) != parsed.content_check:
        raise CorruptDataError("the file decodes, but not to the picture that was compressed: its content check failed")
    return Restored(write_picture(kept) if isinstance(kept, Picture) else kept, parsed.format)


def _verify(parsed: Container, source: _Source, codec: PictureCodec | None) -> None:
    """Raises VerifyError unless the container gives back the very file, or one that reads as the same picture."""
    try:
        restored = _restore(parsed, codec if parsed.mode == Mode.MODEL else None).data
        same = restored == source.data or (source.picture is not None and read_picture(restored) == source.picture)
    except (FormatError, UnsupportedImageError) as error:
        raise VerifyError(f"what was compressed cannot be decompressed: {error}") from error
    if not same:
        raise VerifyError("what was compressed decompresses to another picture")


def _fast_bytes(source: _Source, picture: Picture) -> int:
    """About what the stored fallback would take, in a tenth of its time; 0 if that cannot be said."""
    height, width, _ = picture.pixels.shape
    if max(height, width) > webp.MAX_SIDE_PX:
        return 0
    fast = webp.encode(np.broadcast_to(picture.pixels, (height, width, 3)), quality=0, method=0)
    return min(len(fast), len(source.data))


def _content_check(content: bytes | Pixels) -> bytes:
    """Digest of what must come back: a file, or the pixels with their shape."""
    digest = hashlib.blake2b(digest_size=wire.CHECK_BYTES)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        digest.update(b"".join(wire.pack_varint(side) for side in content.shape))
        digest.update(np.ascontiguousarray(content).data)
    return digest.digest()


def _info(parsed: Container, data: bytes) -> Info:
    def size(kind: SectionKind) -> int:
        return sum(len(body) for body in parsed.bodies(kind))

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
        file_bytes=len(data),
        header_bytes=len(data) - sum(len(section.body) for section in parsed.sections),
        metadata_bytes=size(SectionKind.METADATA),
        coded_bytes=size(SectionKind.PAYLOAD) + size(SectionKind.MESSAGE),
        sections=tuple(SectionInfo(section.kind.name.lower(), len(section.body)) for section in parsed.sections),
        accounting=None if model is None else model.accounting,
    )


def _method_name(method: int) -> str:
    return stored.Method(method).name.lower() if method in list(stored.Method) else f"unknown ({method})"
