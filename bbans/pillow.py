"""Pillow opens and saves .vaez files once this module is imported.

>>> import io
>>> from PIL import Image
>>> import bbans.pillow
>>> file = io.BytesIO()
>>> with Image.open("cli/samples/valley.png") as photo:
...     photo.save(file, "VAEZ", mode="stored")
>>> with Image.open(file) as again:
...     again.format, again.mode, again.size, again.get_format_mimetype()
('VAEZ', 'RGB', (480, 320), 'image/x-vaez')

Opening checks every byte of the file. Pixels are decoded when they are first needed, by a model that all images share if a model
coded them. Mode, size and metadata (`Image.info`) are known before; frames of an animation are there as in its own file.

Saving keeps the mode, the pixels, the palette, and of `Image.info` what a PNG holds: texts, Exif, XMP, ICC profile, resolution,
transparency, gamma and chromaticities. `Image.save` takes the arguments `mode`, `effort`, `model`, `threads`, `device` and `verify`
of `bbans.compress`, and `exif`, `icc_profile`, `dpi`, `xmp` and `pnginfo` of Pillow's PNG. What no file of this format holds is an
OSError that says so: a mode that PNG does not keep exactly, and more than one frame (`save_all`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from bbans import api
from bbans.errors import BbansError
from bbans.formats import container
from bbans.formats.container import Container, Mode, StoredMethod
from bbans.formats.metadata import metadata_of
from bbans.images import npy
from bbans.images.objects import file_to_image, image_to_file
from bbans.images.picture import Picture, write_picture

FORMAT = "VAEZ"
SUFFIX = ".vaez"
MIME = "image/x-vaez"

_OPTIONS = ("mode", "effort", "model", "threads", "device", "verify")
_KEPT = ("exif", "icc_profile", "dpi", "transparency")
_XMP = "XML:com.adobe.xmp"
_NO_TEXT = {"compression"}  # what TIFF says of its own file


class VaezImageFile(ImageFile.ImageFile):
    """A .vaez file, open."""

    format = FORMAT
    format_description = "vaezip"

    _inner: Image.Image | None = None  # the picture file that was compressed, once it is decoded
    _data = b""
    _loaded = True  # of a copy that has no file: pickle makes one without `_open`

    def _open(self) -> None:
        assert self.fp is not None
        with _as_oserror():
            self._data = self.fp.read()
            contents = container.unpack(self._data)
            self._loaded = False
            if not _tells_mode(contents):
                self._show(self._decoded())
            else:
                self._show(_pixel(contents))
                self._size = contents.width, contents.height

    def load(self) -> Any:
        """Decode the pixels, unless they are here. Raises: OSError."""
        if not self._loaded:
            with _as_oserror():
                inner = self._decoded()
                inner.load()
            self._show(inner)
            self.im = inner.im
            self._loaded = True
            if getattr(self, "_exclusive_fp", False) and self.fp is not None:
                self.fp.close()
            self.fp = None
        return super().load()

    def getexif(self) -> Image.Exif:
        """The Exif of the picture file, wherever its format has it."""
        return super().getexif() if self._inner is None else self._inner.getexif()

    @property
    def n_frames(self) -> int:
        """Frames of an animation, pages of a TIFF."""
        return getattr(self._inner, "n_frames", 1)

    @property
    def is_animated(self) -> bool:
        """Whether there is more than one frame."""
        return self.n_frames > 1

    def seek(self, frame: int) -> None:
        """Go to a frame. Raises: EOFError: there is none."""
        if self._inner is None:
            super().seek(frame)
        elif frame != self.tell():
            self._inner.seek(frame)
            self._show(self._inner)
            self._loaded = False

    def tell(self) -> int:
        """The number of the frame."""
        return 0 if self._inner is None else self._inner.tell()

    def _decoded(self) -> Image.Image:
        """The picture file that was compressed, open, but not necessarily loaded."""
        if self._inner is None:
            file = api.decompress(self._data, model=_model()).data
            self._inner = file_to_image(file) if file.startswith(npy.SIGNATURE) else Image.open(io.BytesIO(file))
            self._data = b""
        return self._inner

    def _show(self, inner: Image.Image) -> None:
        """Take over all but the pixels."""
        self._mode, self._size = inner.mode, inner.size
        self.info, self.palette = inner.info, inner.palette


def _tells_mode(contents: Container) -> bool:
    """Whether the mode of the image is known without its file."""
    if contents.mode == Mode.STORED and (contents.method not in list(StoredMethod) or StoredMethod(contents.method).keeps_file):
        return False
    if contents.format == "WEBP" and any(section.kind.is_metadata for section in contents.sections):
        return False  # its metadata has the size
    if contents.format in ("PNG", "WEBP", "QOI"):
        return True
    return contents.bit_depth == 8 and (contents.channels == 3 or (contents.channels == 1 and contents.format in ("PGM", "NPY")))


def _pixel(contents: Container) -> Image.Image:
    """A picture of one pixel of the same kind, with the same metadata: it has the mode and `Image.info` of the whole one."""
    if contents.format not in ("PNG", "WEBP"):  # of others the metadata is a header, with the size
        return Image.new({1: "L", 3: "RGB", 4: "RGBA"}[contents.channels], (1, 1))
    pixel = np.zeros((1, 1, contents.channels), np.uint8 if contents.bit_depth <= 8 else np.uint16)
    file = write_picture(Picture(pixel, contents.format, metadata_of(contents.sections), contents.bit_depth))
    with Image.open(io.BytesIO(file)) as image:
        image.load()  # a PNG may have texts after its pixels
        copied: Image.Image = image.copy()
        return copied


def _save(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    """What `Image.save` calls. Raises: OSError: this format does not hold the image."""
    given = image.encoderinfo
    options = {key: given[key] for key in _OPTIONS if given.get(key) is not None}
    if not {"model", "threads", "device"} & options.keys() and options.get("mode") != "stored":
        options["model"] = _model()
    with _as_oserror():
        file.write(api.compress(image_to_file(image, compress_level=1, **_metadata(image)), **options).data)


def _save_all(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    """What `Image.save` calls for `save_all`. Raises: OSError: there is more than one frame."""
    if getattr(image, "n_frames", 1) > 1 or list(image.encoderinfo.get("append_images", ())):
        raise OSError(f"{FORMAT} holds a single frame: an animation has to be compressed as a file")
    _save(image, file, name)


def _metadata(image: Image.Image) -> dict[str, Any]:
    """The arguments by which Pillow's PNG keeps the metadata of an image. Arguments of `Image.save` go before its `info`."""
    given, info = image.encoderinfo, image.info
    found = {key: given.get(key, info.get(key)) for key in _KEPT}
    chunks = given.get("pnginfo")
    if chunks is None:
        chunks = PngInfo()
        if "gamma" in info:
            chunks.add(b"gAMA", _per_100000(info["gamma"]))
        if "chromaticity" in info:
            chunks.add(b"cHRM", _per_100000(*info["chromaticity"]))
        if "srgb" in info and not found["icc_profile"]:
            chunks.add(b"sRGB", bytes([info["srgb"]]))
        for key, value in info.items():
            if isinstance(key, str) and isinstance(value, str) and _is_keyword(key):
                chunks.add_text(key, value)
        xmp = given.get("xmp", info.get("xmp"))
        if xmp and _XMP not in info:
            chunks.add_itxt(_XMP, xmp.decode("utf-8", "surrogateescape") if isinstance(xmp, bytes) else xmp)
    return {"pnginfo": chunks, **{key: value for key, value in found.items() if value is not None}}


def _is_keyword(key: str) -> bool:
    """Whether a PNG may have a text of that name."""
    return 0 < len(key) < 80 and key.isascii() and key.isprintable() and key == key.strip() and key not in _NO_TEXT


def _per_100000(*numbers: float) -> bytes:
    return b"".join(round(100_000 * number).to_bytes(4, "big") for number in numbers)


@contextmanager
def _as_oserror() -> Iterator[None]:
    """Within this context our errors are OSErrors, as all of Pillow's plugins have them."""
    try:
        yield
    except BbansError as error:
        raise OSError(str(error)) from error


@cache
def _model() -> api.Model:
    """The default model, which all images share; it is loaded when it is first needed, and finds others that files name."""
    return api.Model()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def register() -> None:
    """Make Pillow know the format. Importing this module does."""
    Image.register_open(FORMAT, VaezImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME)


register()
