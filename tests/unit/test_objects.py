"""Arrays and Pillow images, there and back; and the NPY files that arrays are kept as."""

import io

import numpy as np
import pytest
from PIL import Image

from bbans.errors import UnsupportedImageError
from bbans.images import npy
from bbans.images.objects import PNG_MODES, array_to_file, file_to_array, file_to_image, image_to_file
from bbans.images.picture import probe_picture, read_picture, write_picture

RNG = np.random.default_rng(1)
RGBA = RNG.integers(0, 256, (7, 9, 4), np.uint8)


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def picture_file(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


ARRAYS = {
    "gray": RGBA[..., 0],
    "gray with an axis": RGBA[..., :1],
    "RGB": RGBA[..., :3],
    "columns first": np.asfortranarray(RGBA[..., 0]),
    "every second": RGBA[::2, ::-2, :3],
    "RGBA": RGBA,
    "bool": RGBA[..., 0] > 99,
    "int8": RGBA.astype(np.int8),
    "float32": RNG.normal(size=(3, 5)).astype(np.float32),
    "big-endian": np.arange(6, dtype=">u2").reshape(2, 3),
    "complex": np.array([1 + 2j]),
    "scalar": np.array(7, np.uint8),
    "one axis": np.arange(9, dtype=np.uint8),
    "four axes": np.zeros((2, 3, 4, 5), np.uint8),
    "text": np.array(["a", "\u65e5\u672c"]),
    "fields": np.array([(1, 2.0)], dtype=[("a", "u1"), ("b", "<f8")]),
    "dates": np.array(["2026-01-01"], dtype="datetime64[D]"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back(name: str) -> None:
    array = ARRAYS[name]
    file = array_to_file(array)
    back = file_to_array(file)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)
    assert back.flags.writeable
    assert np.array_equal(np.load(io.BytesIO(file)), array)
    info = probe_picture(file)
    assert (info.format, info.bit_depth) == ("NPY", 8 * array.itemsize)
    assert info.height * info.width * info.channels == array.size
    assert str(array.dtype) in info.kind


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (1234567, 3), (1, 1, 1), (70, 2, 3)])
def test_the_plain_header_is_the_one_that_numpy_writes(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.uint8)
    assert saved(array) == npy.plain_header(shape) + bytes(array.size)
    picture = read_picture(saved(array))
    header = npy.plain_header(shape) if len(shape) == 3 and shape[2] == 1 else b""
    assert picture.metadata == (b"\0\0\x80\1" + header if header else b"")
    assert write_picture(picture) == saved(array)


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_other_versions_of_npy(version: tuple[int, int]) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, RGBA[..., :3], version=version)
    picture = read_picture(file.getvalue())
    assert np.array_equal(picture.pixels, RGBA[..., :3])
    assert write_picture(picture) == file.getvalue()


def test_arrays_that_are_not_kept() -> None:
    for array, message in [
        (np.array([None, "x"]), "Python objects"),
        (np.array([({},)], dtype=[("a", object)]), "Python objects"),
        (np.ma.masked_array([1, 2], [True, False]), "its mask would be lost"),
    ]:
        with pytest.raises(UnsupportedImageError, match=message):
            array_to_file(array)
    with pytest.raises(UnsupportedImageError, match="Python objects"):
        probe_picture(npy.plain_header((1, 8)).replace(b"|u1", b"|O ").replace(b"|O ", b"|O8") + bytes(8))
    with pytest.raises(UnsupportedImageError, match="empty: its shape is .0, 4."):
        probe_picture(saved(np.zeros((0, 4))))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, -1), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, True), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': 2, }",
        "{'descr': '|u1', 'fortran_order': 0, 'shape': (2,), }",
        "{'descr': 'u99', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '|u1', 'shape': (2,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        "[]",
        "__import__('os')",
        "(" * 5000,
        "",
    ],
)
def test_headers_that_are_none(header: str) -> None:
    text = header.encode() + b"\n" if header else b""
    data = npy.SIGNATURE + b"\1\0" + len(text).to_bytes(2, "little") + text + bytes(2)
    for function in (read_picture, probe_picture, file_to_array):
        with pytest.raises(UnsupportedImageError, match="damaged"):
            function(data)


def test_npy_that_is_longer_or_shorter() -> None:
    data = saved(RGBA[..., 0])
    for changed, message in [(data[:-1], "cut short"), (data + b"x", "1 bytes follow")]:
        for function in (read_picture, probe_picture, file_to_array):
            with pytest.raises(UnsupportedImageError, match=message):
                function(changed)


def image_of(mode: str) -> Image.Image:
    if mode == "P":
        return Image.fromarray(RGBA[..., :3]).quantize(9)
    if mode == "I;16":
        return Image.fromarray(RGBA[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(RGBA).convert(mode)


@pytest.mark.parametrize("mode", PNG_MODES)
def test_images_come_back(mode: str) -> None:
    image = image_of(mode)
    assert image.mode == mode
    file = image_to_file(image)
    back = file_to_image(file)
    assert (back.mode, back.size, back.tobytes()) == (image.mode, image.size, image.tobytes())
    assert back.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()
    array = file_to_array(file)
    assert np.array_equal(array, np.asarray(image.convert("RGB") if mode == "P" else image))
    assert array.dtype == {"1": np.bool_, "I;16": np.uint16}.get(mode, np.uint8)


def test_palettes_of_few_colours_and_of_clear_ones() -> None:
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2))
    image.putpalette(bytes(range(12)))
    assert image.mode == "P"
    assert file_to_image(image_to_file(image)).tobytes() == image.tobytes()
    image.putpalette(bytes(range(9)))  # Pillow would write two bits a pixel, whatever the pixels are
    with pytest.raises(UnsupportedImageError, match="beyond its palette"):
        image_to_file(image)
    image = image_of("P")
    image.info["transparency"] = 3
    array = file_to_array(image_to_file(image))
    assert array.shape == (7, 9, 4) and np.array_equal(array, np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize("mode", ["I", "F", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "PA", "La", "RGBa"])
def test_images_that_no_png_keeps(mode: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"mode {mode} is not supported"):
        image_to_file(Image.new(mode, (3, 2)))


def test_images_that_cannot_be_loaded() -> None:
    with pytest.raises(UnsupportedImageError, match="empty .0 x 3"):
        image_to_file(Image.new("L", (0, 3)))
    data = picture_file(Image.fromarray(RGBA[..., :3]), "BMP")
    with Image.open(io.BytesIO(data[:-30])) as image, pytest.raises(UnsupportedImageError, match="cannot be loaded"):
        image_to_file(image)


def test_an_icc_profile_is_kept() -> None:
    image = image_of("RGB")
    image.info["icc_profile"] = b"some profile"
    assert file_to_image(image_to_file(image)).info["icc_profile"] == b"some profile"


def test_arrays_as_images() -> None:
    for name in ("gray", "gray with an axis", "RGB"):
        image = file_to_image(array_to_file(ARRAYS[name]))
        assert image.mode == ("RGB" if name == "RGB" else "L")
        assert image.tobytes() == ARRAYS[name].tobytes()
    with pytest.raises(UnsupportedImageError, match="float32 array .* is not a picture"):
        file_to_image(array_to_file(ARRAYS["float32"]))


def test_pictures_of_which_no_array_would_be_exact() -> None:
    frames = [Image.fromarray(RGBA[..., :3]), Image.fromarray(255 - RGBA[..., :3])]
    animated = picture_file(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(UnsupportedImageError, match="2 frames"):
        file_to_array(animated)
    assert getattr(file_to_image(animated), "n_frames", 1) == 2
    deep = b"P6 2 1 65535\n" + bytes(range(12))
    with pytest.raises(UnsupportedImageError, match="16 bits a sample, of which Pillow decodes 8"):
        file_to_array(deep)
    for data in (b"", b"no picture"):
        for function in (file_to_array, file_to_image):
            with pytest.raises(UnsupportedImageError):
                function(data)
