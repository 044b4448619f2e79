"""compress, decompress, inspect: the place where pictures, models and the container meet.

::

    compress    path, bytes, array, image -picture_file-> file -read_picture-> Picture -model / stored-> Container -pack-> bytes
    decompress  bytes -unpack-> Container -model / stored-> Picture -write_picture-> file -Restored-> array, image, path

What comes back is the picture, its pixels and its metadata. A picture that is kept as its own file (JPEG, animation, and formats
that are not taken apart) comes back byte for byte.

The first call that needs a model loads it, and a `Model` keeps it. `inspect` needs none.

>>> result = compress("cli/samples/valley.png", mode="stored")
>>> result.info.width, result.info.height, result.info.method
(480, 320, 'jxl')
>>> pixels = decompress(result).array()
>>> again = decompress(compress(pixels, mode="stored")).array()
>>> again.dtype, again.shape, bool((again == pixels).all())
(dtype('uint8'), (320, 480, 3), True)
"""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bbans import inspection, vaez
from bbans.errors import CorruptDataError, ModelMissingError
from bbans.formats import container
from bbans.formats.container import Container, ModelHeader
from bbans.images.picture import MAX_PIXELS, read_picture
from bbans.images.strip import Dropped
from bbans.images.strip import strip as without_metadata
from bbans.inputs import CompressedLike, PictureLike, compressed_file, named, picture_file
from bbans.models.photo.geometry import is_thin
from bbans.progress import Progress, Work
from bbans.results import DEFAULT_EFFORT, EFFORTS, Info, ModeName, Recovered, Restored, Result, StrPath

if TYPE_CHECKING:
    from bbans.models import Weights
    from bbans.models.registry import PictureCodec

FLAT = 1 / 16
"""In mode auto, a picture of which a fast WebP takes at most this share of the samples is stored without running the model. Many
graphics and screenshots are so, photos never; the model would take many times as long for a larger file."""

CLEARLY_SMALLER = 0.85
"""In mode auto, the file of the model is taken at once if it is at most this share of a fast WebP (and of the source). A careful
WebP, or LZMA, is 0 to 10 % smaller than the fast WebP on photos, and takes ten times as long."""

SMALL_PX = 1 << 12
"""In mode auto, pictures of up to so many pixels are always stored as well: on some LZMA is 10 % smaller than all else."""


class Model:
    """A model of pictures. The first call that needs it loads and checks it, once; any number of threads may share it.

    Args:
        model: id of an installed model, or path of a weight file; None is the default model.
        threads: the most to use; None is as many as there are cores. The bytes depend neither on it nor on `device`.
        device: cpu or cuda.
    Raises:
        ModelError: there is no such model.
        ValueError: threads.
    """

    def __init__(self, model: StrPath | None = None, *, threads: int | None = None, device: str = "cpu") -> None:
        _check_threads(threads)
        self._threads, self._device = threads, device
        self._lock = threading.RLock()
        self._model = None if model is None else Path(model) if isinstance(model, os.PathLike) else model
        self._weights = None if model is None else self._read()
        self._codecs: dict[tuple[str, bytes], PictureCodec] = {}

    @property
    def id(self) -> str:
        """The name of the model in files."""
        return self._own_weights().id

    @property
    def weights_hash(self) -> str:
        """The hash of the weight file in files, in hexadecimal."""
        return self._own_weights().hash.hex()

    def load(self) -> Model:
        """Load and check the model now; returns the model itself.

        Raises: ModelError: it is not for pictures of any size, or cannot run here.
        """
        self._own_codec()
        return self

    def compress(
        self,
        source: PictureLike,
        *,
        mode: Literal["auto", "model"] = "auto",
        effort: int = DEFAULT_EFFORT,
        strip: bool = False,
        verify: bool = True,
        progress: Progress | None = None,
    ) -> Result:
        """As `bbans.compress` with this model."""
        if mode not in ("auto", "model"):
            raise ValueError(f"mode: auto or model for a model, not {mode!r}")
        _check_effort(effort)
        with named(source):
            file, dropped = _file(source, strip)
            work = Work(progress)
            with contextlib.nullcontext() if self._threads == 1 else ThreadPoolExecutor(1) as pool:
                result, codec = self._compress(file, mode, effort, verify, work, pool)
            if verify:
                vaez.verify(result.data, file, codec, work)
            work.end("verifying" if verify else "coding")
            return replace(result, dropped=dropped)

    def _compress(
        self, file: bytes, mode: Literal["auto", "model"], effort: int, verify: bool, work: Work, pool: Executor | None
    ) -> tuple[Result, PictureCodec | None]:
        """The result, not verified, and the codec that it needs. The pixels end here: verification decodes them anew.

        pool: see `vaez.read_source`.
        """
        source, note = vaez.read_source(file, mode, pool)
        thin = mode == "auto" and is_thin(source.height, source.width)  # a pixel would cost many times as much
        if source.plain is None or thin:
            if source.plain is not None:
                note = f"a picture of {source.width} x {source.height} pixels is too thin for the model: stored without it"
            return _result(vaez.store(source, work, effort), note), None
        fast_bytes = vaez.fast_bytes(source, source.plain.samples) if mode == "auto" else None
        if fast_bytes is not None and fast_bytes <= FLAT * source.plain.samples.nbytes:
            return _result(vaez.store(source, work, effort), note), None
        prepared, source = vaez.prepare(source, effort, work), replace(source, picture=None)  # the picture is large
        codec = self._own_codec()
        ahead = vaez.restoring_units(source, codec) if verify else 0
        work.expect(ahead)
        contents = vaez.code(prepared, codec, effort, work)
        del prepared
        if fast_bytes is not None and _may_be_larger(contents, fast_bytes):
            stored = vaez.store(replace(source, picture=read_picture(file, any_kind=True)), work, effort)
            contents = min(stored, contents, key=lambda made: len(container.pack(made)))
        work.expect(-ahead)  # verification expects it itself
        return _result(contents, note), codec

    def decompress(self, file: CompressedLike, *, progress: Progress | None = None) -> Restored:
        """As `bbans.decompress`. A file of another model is decompressed by that one, if it is installed."""
        with named(file):
            work = Work(progress)
            contents = container.unpack(compressed_file(file))
            restored = vaez.restore(contents, None if contents.model is None else self._named_codec(contents.model), work)
            work.end("decoding")
            return restored

    def recover(self, file: CompressedLike) -> Recovered:
        """What is left of a damaged picture that a model coded: whole regions, and coarser ones where messages are damaged.

        Raises: FormatError: not a file of ours, of a newer version, damaged in its header, or stored without a model. ModelError.
        """
        with named(file):
            contents, bodies = container.unpack_damaged(compressed_file(file))
            if contents.model is None:
                raise CorruptDataError("it is damaged, and nothing can be recovered of what is stored without a model")
            return vaez.recover(contents, bodies, self._named_codec(contents.model))

    def _read(self) -> Weights:
        from bbans import models

        return models.read(self._model)

    def _own_weights(self) -> Weights:
        with self._lock:
            if self._weights is None:
                self._weights = self._read()
            return self._weights

    def _own_codec(self) -> PictureCodec:
        return self._codec(self._own_weights())

    def _named_codec(self, header: ModelHeader) -> PictureCodec:
        """The codec of the model that a file names. Raises: ModelMissingError, ModelMismatchError; other ModelError."""
        from bbans import models

        with self._lock:
            if (header.id, header.weights_hash) in self._codecs:
                return self._codecs[header.id, header.weights_hash]
            own = self._weights
            if own is not None and (own.id, own.hash) == (header.id, header.weights_hash):
                return self._codec(own)
            try:
                return self._codec(models.find(header.id, header.weights_hash))
            except ModelMissingError:
                if self._model is None:
                    raise
                return self._codec(models.find(header.id, header.weights_hash, also=self._model))

    def _codec(self, weights: Weights) -> PictureCodec:
        from bbans import models

        with self._lock:
            key = weights.id, weights.hash
            if key not in self._codecs:
                self._codecs[key] = models.load(weights, threads=self._threads, device=self._device)
            return self._codecs[key]


def load_model(model: StrPath | None = None, *, threads: int | None = None, device: str = "cpu") -> Model:
    """A model, loaded and checked, so that its `compress` and `decompress` load nothing again.

    Args: see `Model`.
    Raises:
        ModelMissingError: there is no such model.
        InexactBackendError: this machine cannot run it exactly.
        ModelError: it is not for pictures of any size, or there is no such device.
        ValueError: threads.
    """
    return Model(model, threads=threads, device=device).load()


def compress(
    source: PictureLike,
    *,
    mode: ModeName = "auto",
    effort: int = DEFAULT_EFFORT,
    model: StrPath | Model | None = None,
    threads: int | None = None,
    device: str | None = None,
    strip: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
) -> Result:
    """A compressed file of a picture. Inverse: `decompress`.

    An array comes back with the same dtype, shape and elements, a Pillow image with the same mode and pixels, and a file with the
    same picture and metadata or, where that is how it is kept, the same bytes.

    Memory: 200 MB, and about 8 bytes a pixel with the files: 4 bytes for each pixel that headers declare, three times the file;
    twice as much with alpha or 16 bits. Pixels are at most 2**30, counted before any is decoded; frames of animations come one at a
    time. libwebp takes 37 bytes a pixel to write a WebP, libjxl 18 for a JPEG of up to 2**26 pixels. The model takes 150 MB more,
    and 20 MB for each thread.

    Args:
        source: a picture file as a path or as bytes; an array, which is a picture if it is uint8 of shape (H, W) or
            (H, W, 1 to 4), or uint16 with 256 values at most, and else stored; or a Pillow image in a mode that PNG keeps.
        mode: `model` codes by the model, or raises; `stored` does not use it; `auto` takes the smaller of both, and stores what
            the model does not code or is too thin for it. A JPEG is coded by the model in mode `model` only: then its pixels come
            back, not its file.
        effort: 1 to 9; 3 to 6 are the same. 1 and 2 take a quarter less time, in both directions, for files
            about 1 % larger. 7 to 9 tune the networks to each picture: that takes 2 to 20 s of a core for each part of up to 2.4
            megapixels, and no more time to decompress, for files up to 1 % smaller. Floats decide then what is sent, so another
            machine may make other bytes; any machine reads them. What is stored without the model is tried by more of JPEG XL's
            efforts, too: at 7 by 8, which takes 3 times as long, at 8 and 9 by 9, which takes 8 times as long and more.
        model: id of an installed model, path of a weight file, or a `Model`; None is the default model.
        threads: the most to use; None is as many as there are cores. The bytes depend neither on it nor on `device`.
        device: cpu or cuda; None is cpu.
        strip: leave out the metadata of a PNG, WebP or JPEG: ICC profile, Exif, XMP, texts and all else that pixels do not need.
            `dropped` of the result says what. The file without it is what comes back.
        verify: decompress the result and compare before it is returned.
        progress: called now and then, in this thread, with what is going on (`coding`, `storing`, `verifying`), units of work that
            are done, and units in all, which change on the way where it turns out what else is worth trying; at the end both are
            equal. A unit takes about as long as a pixel takes the default model.
    Raises:
        UnsupportedImageError: not a picture, or one of which this mode would lose something; says what.
        ModelError: there is no such model, or it cannot run here.
        VerifyError: the result does not decompress to the same picture.
        ValueError: arguments that are out of range or contradict each other. TypeError: a source of another type.
        OSError: a path that cannot be read.
    """
    if mode not in ("auto", "model", "stored"):
        raise ValueError(f"mode: auto, model or stored, not {mode!r}")
    _check_effort(effort)
    if mode == "stored":
        _check_threads(threads)
        if model is not None:
            raise ValueError("model: mode stored uses none")
        with named(source):
            data, dropped = _file(source, strip)
            work = Work(progress)
            result = _stored(data, work, effort)
            if verify:
                vaez.verify(result.data, data, None, work)
            work.end("verifying" if verify else "storing")
            return replace(result, dropped=dropped)
    return _model(model, threads, device).compress(source, mode=mode, effort=effort, strip=strip, verify=verify, progress=progress)


def decompress(
    file: CompressedLike,
    *,
    model: StrPath | Model | None = None,
    threads: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Restored:
    """The picture that was compressed: its file is `data`, and `array()` and `pil()` decode it. Inverse: `compress`.

    Args:
        file: a compressed file as a path or as bytes, or a `Result`.
        model: path of a weight file, where the file's model is not installed; or a `Model`.
        threads, device, progress: as for `compress`; what is going on is `decoding`.
    Raises:
        FormatError: not a file of ours, damaged, or of a newer version.
        ModelMissingError, ModelMismatchError: the file's model is not here.
        InexactBackendError: this machine cannot run the model exactly.
        ValueError, TypeError, OSError: as for `compress`.
    """
    return _model(model, threads, device).decompress(file, progress=progress)


def inspect(file: CompressedLike) -> Info:
    """What a compressed file says of itself, once all its checks have passed. Loads no model.

    Args:
        file: as for `decompress`.
    Raises:
        FormatError: not a file of ours, damaged, or of a newer version.
        TypeError, OSError: as for `compress`.
    """
    with named(file):
        return inspection.inspect(compressed_file(file))


def _model(model: StrPath | Model | None, threads: int | None, device: str | None) -> Model:
    if not isinstance(model, Model):
        return Model(model, threads=threads, device=device or "cpu")
    for name, value in (("threads", threads), ("device", device)):
        if value is not None:
            raise ValueError(f"{name}: a Model has its own, which load_model takes")
    return model


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise ValueError(f"threads: at least 1, or None for all cores, not {threads}")


def _check_effort(effort: int) -> None:
    if effort not in EFFORTS:
        raise ValueError(f"effort: 1 to 9, not {effort}")


def _may_be_larger(contents: Container, fast_bytes: int) -> bool:
    """Whether a picture may be smaller stored than by the model, of which a fast WebP takes so many bytes."""
    small = contents.height * contents.width <= SMALL_PX
    return small or len(container.pack(contents)) > CLEARLY_SMALLER * fast_bytes


def _file(source: PictureLike, strip: bool) -> tuple[bytes, Dropped]:
    """The bytes of a picture file, and what was left out."""
    file = picture_file(source)
    return without_metadata(file, MAX_PIXELS) if strip else (file, ())


def _stored(file: bytes, work: Work, effort: int) -> Result:
    source, note = vaez.read_source(file, "stored")
    return _result(vaez.store(source, work, effort), note)


def _result(contents: Container, note: str | None) -> Result:
    data = container.pack(contents)
    return Result(data, inspection.describe(contents, len(data)), note)
