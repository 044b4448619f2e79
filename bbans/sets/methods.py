"""The methods of an archive: how each packs and unpacks a group of images.

::

    MODEL   images of one shape, by a model        many in a chunk
    LZMA    images of one shape, by LZMA
    VAEZ    a picture, as `bbans.api` keeps it     one in a chunk; of an array, each image as an array of its own
    FILE    any file, by LZMA

To add a method, give it a number and the fields of its header in `bbans.formats.groups`, and here a class and a place in a list.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

import numpy as np

from bbans import api
from bbans.accounting import Accounting, Encoded
from bbans.errors import CorruptDataError, UnsupportedImageError, VerifyError
from bbans.formats.archive import ArraySpec
from bbans.formats.blob import pack_blob, unpack_blob
from bbans.formats.groups import Filter, Group, GroupMethod
from bbans.formats.wire import ByteReader
from bbans.results import Restored

from .arrays import Images, from_samples, to_samples
from .chunk import Content, FileContent, ImagesContent, Pixels, Shape, digest, unpack_samples
from .lzma import LzmaCodec
from .model import ModelCodec, ModelLoader

MAX_FILE_BYTES = 1 << 32
"""Limit for a file of the method FILE."""

ALONE_SAMPLES = 1 << 12
"""Images of an array with at least so many samples are tried one by one: smaller ones would be mostly headers."""

ALONE_TRIAL_IMAGES = 4
"""They take long: so many are tried."""

Decoder = Callable[[Sequence[bytes], Sequence[int]], Sequence[Content]]
"""(bodies of chunks, number of images in each) -> what they hold. Raises: BbansError: one of them cannot be decoded."""


class SamplesCodec(Protocol):
    """Codes chunks of images of one shape."""

    @property
    def name(self) -> str:
        """Such as `LZMA` or `mnist-1 (bb-ans)`."""

    @property
    def shape(self) -> Shape:
        """(H, W, C) of the images."""

    @property
    def binary(self) -> bool:
        """Whether samples that are 0 or 255 are to be coded as 0 and 1."""

    @property
    def chunk(self) -> int | None:
        """The best number of images in a chunk; None if that depends on what a chunk costs besides its images."""

    @property
    def alone(self) -> bool:
        """Whether a chunk holds one image, which has its own check."""

    def encode(self, images: Pixels, chunk: int) -> Encoded:
        """Messages of `chunk` images (N, H, W, C) each; the last may hold fewer."""

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Pixels:
        """The images (N, H, W, C) of messages that hold so many each. Inverse: `encode`. Raises: CorruptDataError."""

    def cost_bits(self, images: Pixels) -> tuple[float, float]:
        """Bits for an image, and bits that each chunk takes besides its images: estimated by coding these images."""

    def group(self, count: int, chunk: int, unit: int, accounting: Accounting) -> Group:
        """A group that this codec codes, without its chunks."""


class ArchiveMethod(ABC):
    """A way to keep the images of a group."""

    number: ClassVar[GroupMethod]

    @abstractmethod
    def decoder(self, group: Group, models: ModelLoader, array: ArraySpec | None) -> Decoder:
        """What decodes the chunks of a group, of that array or, if it is None, of files. Raises: ModelError, CorruptDataError."""


class SamplesMethod(ArchiveMethod):
    """A way to keep images of one shape, many in a chunk. `pack` takes the codec that makes the first images smallest."""

    @abstractmethod
    def codecs(self, shape: Shape, binary: bool, models: ModelLoader, array: ArraySpec | None) -> Sequence[SamplesCodec]:
        """The codecs to choose from for images (H, W, C), binary ones or not, of that array or of files. Raises: ModelError."""


class FileMethod(ArchiveMethod):
    """A way to keep single files."""

    pictures: ClassVar[bool]
    """Whether it keeps nothing but pictures."""

    @abstractmethod
    def encode(self, data: bytes, models: ModelLoader, verify: bool) -> tuple[bytes, bytes] | None:
        """The body and the check of a file; None if it is not for such files. Raises: ModelError, VerifyError."""


class ModelMethod(SamplesMethod):
    """Images of one shape as messages of a model."""

    number = GroupMethod.MODEL

    def codecs(self, shape: Shape, binary: bool, models: ModelLoader, array: ArraySpec | None) -> Sequence[SamplesCodec]:
        return [ModelCodec(model) for model in models.fitting(shape, binary)]

    def decoder(self, group: Group, models: ModelLoader, array: ArraySpec | None) -> Decoder:
        assert group.model is not None
        model = models.find(group.model)
        if tuple(model.shape) != group.shape:
            raise CorruptDataError(f"index: images of {group.shape} by the model '{model.id}', which is for {model.shape}")
        return _samples_decoder(ModelCodec(model), group, array)


class LzmaMethod(SamplesMethod):
    """Images of one shape as streams of LZMA."""

    number = GroupMethod.LZMA

    def codecs(self, shape: Shape, binary: bool, models: ModelLoader, array: ArraySpec | None) -> Sequence[SamplesCodec]:
        if models.only and models.fitting(shape, binary):
            return []  # the user named that model
        return [LzmaCodec(shape, filter) for filter in (Filter.NONE, Filter.BITS if binary else Filter.ROWS)]

    def decoder(self, group: Group, models: ModelLoader, array: ArraySpec | None) -> Decoder:
        assert group.shape is not None
        return _samples_decoder(LzmaCodec(group.shape, group.filter), group, array)


@dataclass(frozen=True)
class VaezCodec:
    """A `SamplesCodec`: each image of an array as a file of `bbans.api`."""

    array: ArraySpec
    models: ModelLoader
    name = "one by one"
    binary = False
    chunk = 1
    alone = True

    @property
    def shape(self) -> Shape:
        return self.array.image_shape

    def encode(self, images: Pixels, chunk: int) -> Encoded:
        return Encoded([self._encode(image) for image in from_samples(images, self.array)], Accounting(0, 0, 0, 0))

    def _encode(self, image: Images) -> bytes:
        if self.models.stored:
            return api.compress(image, mode="stored", verify=False).data
        return self.models.default_photo.compress(image, verify=False).data

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Pixels:
        return np.concatenate([to_samples(self._decode(message)[None]) for message in messages])

    def _decode(self, message: bytes) -> Images:
        try:
            image = self.models.photo.decompress(message).array()
        except UnsupportedImageError as error:
            raise CorruptDataError(f"the file of an image of an array is no array: {error}") from error
        if image.shape != self.array.shape[1:] or image.dtype != self.array.dtype:
            raise CorruptDataError(f"an image of {image.dtype} {image.shape}, where the array has others")
        return cast(Images, image)

    def cost_bits(self, images: Pixels) -> tuple[float, float]:
        trial = images[:ALONE_TRIAL_IMAGES]
        return 8 * sum(map(len, self.encode(trial, 1).messages)) / len(trial), 0.0

    def group(self, count: int, chunk: int, unit: int, accounting: Accounting) -> Group:
        return Group(GroupMethod.VAEZ, count, chunk)


class VaezMethod(SamplesMethod, FileMethod):
    """Pictures as files of `bbans.api`, which have their own check. Of arrays the images that are not small."""

    number = GroupMethod.VAEZ
    pictures = True

    def encode(self, data: bytes, models: ModelLoader, verify: bool) -> tuple[bytes, bytes] | None:
        try:
            if models.stored:
                return api.compress(data, mode="stored", verify=verify).data, b""
            return models.default_photo.compress(data, verify=verify).data, b""
        except UnsupportedImageError:
            return None

    def codecs(self, shape: Shape, binary: bool, models: ModelLoader, array: ArraySpec | None) -> Sequence[SamplesCodec]:
        if array is None or array.dtype == "bool" or math.prod(shape) < ALONE_SAMPLES or models.only:
            return []
        return [VaezCodec(array, models)]

    def decoder(self, group: Group, models: ModelLoader, array: ArraySpec | None) -> Decoder:
        if array is not None:
            codec = VaezCodec(array, models)
            return lambda bodies, counts: [ImagesContent(codec.decode([body], [1]), checked=b"") for body in bodies]
        return lambda bodies, counts: [FileContent(models.photo.decompress(body), b"") for body in bodies]


class AnyFileMethod(FileMethod):
    """Any file as its bytes, by LZMA where that is smaller."""

    number = GroupMethod.FILE
    pictures = False

    def encode(self, data: bytes, models: ModelLoader, verify: bool) -> tuple[bytes, bytes] | None:
        body = pack_blob(data)
        if verify and _unpack_file(body) != data:
            raise VerifyError("what was packed unpacks to another file")
        return body, digest(data)

    def decoder(self, group: Group, models: ModelLoader, array: ArraySpec | None) -> Decoder:
        def decode(body: bytes) -> FileContent:
            data = _unpack_file(body)
            return FileContent(Restored(data, ""), digest(data))

        return lambda bodies, counts: [decode(body) for body in bodies]


def _samples_decoder(codec: SamplesCodec, group: Group, array: ArraySpec | None) -> Decoder:
    def decode(bodies: Sequence[bytes], counts: Sequence[int]) -> Sequence[Content]:
        unpacked = [unpack_samples(body, 0 if array else count) for body, count in zip(bodies, counts, strict=True)]
        symbols = codec.decode([message for _, message in unpacked], counts)
        samples = symbols if group.unit == 1 else symbols * np.uint8(group.unit)
        if array and array.dtype == "bool" and samples.max() > 1:
            raise CorruptDataError("the chunk decodes, but to samples other than 0 or 1")
        parts = np.split(samples, np.cumsum(counts)[:-1])
        return [ImagesContent(part, wrappers) for part, (wrappers, _) in zip(parts, unpacked, strict=True)]

    return decode


def _unpack_file(body: bytes) -> bytes:
    reader = ByteReader(body, "file")
    data = unpack_blob(reader, MAX_FILE_BYTES)
    if reader.position != len(body):
        raise CorruptDataError("file: bytes follow after its end")
    return data


_VAEZ = VaezMethod()
SAMPLES_METHODS: Sequence[SamplesMethod] = (ModelMethod(), LzmaMethod(), _VAEZ)
FILE_METHODS: Sequence[FileMethod] = (_VAEZ, AnyFileMethod())
"""The first one that takes a file keeps it."""

METHODS: dict[GroupMethod, ArchiveMethod] = {method.number: method for method in (*SAMPLES_METHODS, *FILE_METHODS)}
