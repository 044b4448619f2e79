"""compress, decompress, inspect: the one place where pictures, models and the container meet.

::

    compress    path, bytes, array, image -picture_file-> file -read_picture-> Picture -model / stored-> Container -pack-> bytes
    decompress  bytes -unpack-> Container -model / stored-> Picture -write_picture-> file -Restored-> array, image, path

What comes back is the picture: its pixels and its metadata. Where a picture is kept as its own file (JPEG, 16 bits,
alpha, palettes, animation), the file itself comes back, byte for byte.

A model is loaded by the first call that needs it, and by no other; a `Model` keeps it. `inspect` needs none.

>>> result = compress("cli/samples/valley.png", mode="stored")
>>> result.info.width, result.info.height, result.info.method
(480, 320, 'webp')
>>> pixels = decompress(result).array()
>>> again = decompress(compress(pixels, mode="stored")).array()
>>> again.dtype, again.shape, bool((again == pixels).all())
(dtype('uint8'), (320, 480, 3), True)
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bbans import vaez
from bbans.errors import ModelMissingError
from bbans.formats import container
from bbans.formats.container import Container, ModelHeader
from bbans.inputs import CompressedLike, PictureLike, compressed_file, named, picture_file
from bbans.models.photo.geometry import is_thin
from bbans.results import Info, ModeName, Restored, Result, StrPath
from bbans.vaez import Source

if TYPE_CHECKING:
    from bbans.models import Weights
    from bbans.models.registry import PictureCodec

CLEARLY_SMALLER = 0.85
"""In mode auto, a file of the model of at most this part of a fast WebP (and of the source) is taken at once. Careful
WebP or LZMA is then 0 to 10 % smaller than the fast one on photos, and takes ten times as long."""


class Model:
    """A model of pictures, loaded and checked once, by the first call that needs it. Any number of threads may use it.

    Args:
        model: id of an installed model, or path of a weight file; the default model if None.
        threads: at most so many; as many as there are cores if None. The bytes do not depend on it, nor on `device`.
        device: cpu or cuda.
    Raises:
        ModelError: there is no such model.
    """

    def __init__(self, model: StrPath | None = None, *, threads: int | None = None, device: str = "cpu") -> None:
        _check_threads(threads)
        self._threads, self._device = threads, device
        self._lock = threading.RLock()
        self._model = None if model is None else Path(model) if isinstance(model, os.PathLike) else model
        self._weights = None if model is None else self._read()
        self._codecs: dict[bytes, PictureCodec] = {}

    @property
    def id(self) -> str:
        """What files call the model."""
        return self._own_weights().id

    @property
    def weights_hash(self) -> str:
        """Of the weight file, in hexadecimal: files carry it too."""
        return self._own_weights().hash.hex()

    def load(self) -> Model:
        """The model itself, loaded and checked.

        Raises: ModelError: it is not for pictures, or cannot run here.
        """
        self._own_codec()
        return self

    def compress(self, source: PictureLike, *, mode: Literal["auto", "model"] = "auto", verify: bool = True) -> Result:
        """The same as `bbans.compress` with this model."""
        if mode not in ("auto", "model"):
            raise ValueError(f"mode: a model codes in mode auto or model, not {mode!r}")
        with named(source):
            return self._compress(picture_file(source), mode, verify)

    def _compress(self, data: bytes, mode: Literal["auto", "model"], verify: bool) -> Result:
        read, note = vaez.read_source(data, mode)
        thin = mode == "auto" and is_thin(read.height, read.width)  # a pixel would cost many times as much
        if read.picture is None or thin:
            if read.picture is not None:
                note = f"a picture of {read.width} x {read.height} pixels is too thin for the model: stored without it"
            return _finish(vaez.store(read), read, None, verify, note)
        codec = self._own_codec()
        coded = vaez.code(read, read.picture, codec)
        if mode == "auto":
            coded_bytes = len(container.pack(coded))
            if coded_bytes > CLEARLY_SMALLER * vaez.fast_bytes(read, read.picture):
                stored = vaez.store(read)
                coded = stored if len(container.pack(stored)) <= coded_bytes else coded
        return _finish(coded, read, codec, verify, note)

    def decompress(self, file: CompressedLike) -> Restored:
        """The same as `bbans.decompress`. A file of another model is decompressed by that one, if it is installed."""
        with named(file):
            parsed = container.unpack(compressed_file(file))
            return vaez.restore(parsed, None if parsed.model is None else self._codec_of(parsed.model))

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

    def _codec_of(self, header: ModelHeader) -> PictureCodec:
        """The codec that a file names. Raises: ModelMissingError, ModelMismatchError; other ModelError."""
        from bbans import models

        with self._lock:
            if header.weights_hash in self._codecs:
                return self._codecs[header.weights_hash]
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
            if weights.hash not in self._codecs:
                self._codecs[weights.hash] = models.load(weights, threads=self._threads, device=self._device)
            return self._codecs[weights.hash]


def load_model(model: StrPath | None = None, *, threads: int | None = None, device: str = "cpu") -> Model:
    """A model, loaded and checked, whose `compress` and `decompress` load nothing again. Arguments as of `Model`.

    Raises:
        ModelMissingError: there is no such model.
        InexactBackendError: this machine cannot run it exactly.
        ModelError: it is not for pictures, or the device is not there.
    """
    return Model(model, threads=threads, device=device).load()


def compress(
    source: PictureLike,
    *,
    mode: ModeName = "auto",
    model: StrPath | Model | None = None,
    threads: int | None = None,
    device: str | None = None,
    verify: bool = True,
) -> Result:
    """A compressed file of a picture. Inverse: `decompress`.

    What comes back of an array is the same array, dtype and shape; of a Pillow image the same mode and pixels; of a file its
    picture and metadata, or every byte: see the top of this module.

    Memory: about 8 bytes a pixel and 200 MB, as headers declare the pixels, which are counted before any is decoded and limited to
    2**30; of an animation only one frame at a time is decoded. Decoding a WebP takes 16 bytes a pixel, and trying how small WebP
    stores a picture 37: that is libwebp's own. What the networks need is added in mode model and auto.

    Args:
        source: a picture file as its path or its bytes; an array, of which the model codes uint8 (H, W), (H, W, 1) and (H, W, 3),
            and all others are stored; or a Pillow image, in a mode that PNG keeps.
        mode: `model` codes the pixels by the model, or raises; `stored` never does; `auto` is the smaller of both. It keeps
            what the model does not code as its file, and stores pictures that are too thin for the model. A JPEG goes through
            the model in mode `model` alone: its pixels are kept then, not its file.
        model: id of an installed model, path of a weight file, or a `Model`; the default model if None.
        threads: at most so many; as many as there are cores if None. The bytes do not depend on it, nor on `device`.
        device: cpu, as for None, or cuda.
        verify: decompress the result and compare, before it is returned.
    Raises:
        UnsupportedImageError: no picture, or one that would lose something (in this mode); says what.
        ModelError: the model is not here or cannot run.
        VerifyError: what was coded did not decode to the same picture.
        ValueError: an argument that cannot be, or two that contradict each other. TypeError: a source of another type.
        OSError: a path that cannot be read.
    """
    if mode not in ("auto", "model", "stored"):
        raise ValueError(f"mode: auto, model or stored, not {mode!r}")
    if mode == "stored":
        _check_threads(threads)
        if model is not None:
            raise ValueError("model: mode stored uses none")
        with named(source):
            read, note = vaez.read_source(picture_file(source), mode)
            return _finish(vaez.store(read), read, None, verify, note)
    return _model(model, threads, device).compress(source, mode=mode, verify=verify)


def decompress(
    file: CompressedLike, *, model: StrPath | Model | None = None, threads: int | None = None, device: str | None = None
) -> Restored:
    """The picture that was compressed: its file in `data`, or as `array()` or `pil()`. Inverse: `compress`.

    Args:
        file: a compressed file as its path or its bytes, or a `Result`.
        model: path of a weight file, for a file whose model is not installed; or a `Model`.
        threads, device: as for `compress`.
    Raises:
        FormatError: no file of ours, damaged, or of a newer version.
        ModelMissingError, ModelMismatchError: the model that the file names is not here.
        InexactBackendError: this machine cannot run the model exactly.
        ValueError, TypeError, OSError: as for `compress`.
    """
    return _model(model, threads, device).decompress(file)


def inspect(file: CompressedLike) -> Info:
    """What a compressed file says of itself, after all its checks passed. Loads no model.

    Args:
        file: as for `decompress`.
    Raises:
        FormatError: no file of ours, damaged, or of a newer version.
        TypeError, OSError: as for `compress`.
    """
    with named(file):
        data = compressed_file(file)
        return vaez.describe(container.unpack(data), len(data))


def _model(model: StrPath | Model | None, threads: int | None, device: str | None) -> Model:
    if not isinstance(model, Model):
        return Model(model, threads=threads, device=device or "cpu")
    for name, value in (("threads", threads), ("device", device)):
        if value is not None:
            raise ValueError(f"{name}: the model has its own: give it to load_model")
    return model


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise ValueError(f"threads: at least 1, or None for all cores, not {threads}")


def _finish(made: Container, source: Source, codec: PictureCodec | None, verify: bool, note: str | None) -> Result:
    """The file of a container. Raises: VerifyError."""
    data = container.pack(made)
    if verify:
        vaez.verify(data, source, codec)
    return Result(data, vaez.describe(made, len(data)), note)
