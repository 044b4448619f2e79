"""`import bbans.pillow`: .vaez files in Pillow and imageio."""

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence
from PIL.PngImagePlugin import PngInfo

import bbans
import bbans.pillow
from bbans import api
from bbans.errors import CorruptDataError, UnsupportedImageError

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def saved(image: Image.Image, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, "VAEZ", **{"mode": "stored", **options})
    return file


@pytest.fixture
def photo(sample_png: bytes) -> Image.Image:
    """A corner of the sample, small enough for the model."""
    with Image.open(io.BytesIO(sample_png)) as image:
        return image.crop((0, 0, 64, 48))


def test_a_file_of_the_command_opens_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png.vaez"
    path.write_bytes((GOLDEN / "photo-6.png.vaez").read_bytes())
    with Image.open(path) as image, Image.open(GOLDEN / "photo-6.png") as original:
        assert (image.format, image.get_format_mimetype()) == ("VAEZ", "image/x-vaez")
        assert (image.mode, image.size, image.info) == (original.mode, original.size, original.info)
        assert image.tobytes() == original.tobytes()
        image.seek(0)
        with pytest.raises(EOFError):
            image.seek(1)


def test_pixels_of_a_model_are_decoded_when_they_are_needed(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = PngInfo()
    texts.add_text("Title", "Valley")
    file = saved(photo, mode="model", pnginfo=texts, dpi=(254, 254))
    calls = []
    genuine = api.decompress

    def decompress(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return genuine(*arguments, **options)

    monkeypatch.setattr(bbans.pillow.api, "decompress", decompress)
    with Image.open(file) as image:
        assert (image.mode, image.size) == (photo.mode, photo.size)
        assert image.info["Title"] == "Valley" and image.info["dpi"] == pytest.approx((254, 254), abs=0.01)
        before = dict(image.info)
        assert not calls
        assert image.tobytes() == photo.tobytes()
        assert image.info == before
        image.load()
        image.putpixel((0, 0), (1, 2, 3))
        assert image.getpixel((0, 0)) == (1, 2, 3)
    assert len(calls) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA"])
def test_every_mode_of_png_comes_back(mode: str) -> None:
    numbers = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(numbers.integers(0, 65536, (7, 5), np.uint16))
    elif mode == "P":
        image = Image.fromarray(numbers.integers(0, 256, (7, 5, 3), np.uint8)).quantize(9)
    else:
        image = Image.fromarray(numbers.integers(0, 256, (7, 5, 4), np.uint8)).convert(mode)
    with Image.open(saved(image)) as again:
        assert (again.mode, again.size) == (mode, image.size)
        assert again.getpalette() == image.getpalette() and again.mode == mode
        assert again.tobytes() == image.tobytes()


def test_metadata_comes_back(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a valley"
    chromaticity = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    photo.info = {
        "Title": "Valley",
        "Author": "Jürgen 日本",
        "exif": exif.tobytes(),
        "gamma": 0.45455,
        "chromaticity": chromaticity,
        "transparency": (1, 2, 3),
        "xmp": b"<x:xmpmeta/>",
        "compression": "raw",
        ("not", "text"): 1,
    }
    with Image.open(saved(photo, icc_profile=b"profile", dpi=(300, 300))) as again:
        again.load()
        assert again.info["Title"] == "Valley" and again.info["Author"] == "Jürgen 日本"
        assert again.getexif()[0x010E] == "a valley"
        assert again.info["gamma"] == 0.45455 and again.info["chromaticity"] == chromaticity
        assert again.info["transparency"] == (1, 2, 3) and again.info["xmp"] == b"<x:xmpmeta/>"
        assert again.info["icc_profile"] == b"profile" and round(again.info["dpi"][0]) == 300
        assert "compression" not in again.info
        with Image.open(saved(again)) as third:  # what came back is kept once more
            third.load()
            assert third.info == again.info


def test_frames_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("L", (6, 4), shade) for shade in (0, 90, 180)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    packed = bbans.compress(file.getvalue()).data
    with Image.open(io.BytesIO(packed)) as image, Image.open(file) as original:
        assert image.n_frames == 3 and image.is_animated  # type: ignore[attr-defined]
        for own, other in zip(ImageSequence.Iterator(image), ImageSequence.Iterator(original), strict=True):
            assert own.convert("RGB").tobytes() == other.convert("RGB").tobytes()
            assert own.info["duration"] == 50
        image.seek(1)
        assert image.tell() == 1
        with pytest.raises(OSError, match="a single frame"):
            image.save(io.BytesIO(), "VAEZ", save_all=True)
        image.save(io.BytesIO(), "VAEZ", mode="stored")  # this frame


def test_arrays_are_pictures_too() -> None:
    array = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    with Image.open(io.BytesIO(bbans.compress(array, mode="stored").data)) as image:
        assert np.array_equal(np.asarray(image), array)
    with pytest.raises(OSError, match="float64 array"):
        Image.open(io.BytesIO(bbans.compress(array * 0.5, mode="stored").data))


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "YCbCr", "LAB", "HSV", "PA"])
def test_modes_that_it_does_not_hold_are_refused_by_name(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.vaez"
    with pytest.raises(OSError, match=f"mode {mode} is not supported"):
        Image.new(mode, (3, 2)).save(path)
    assert not path.exists()


def test_damage_is_an_oserror_that_says_what() -> None:
    data = bytearray((GOLDEN / "photo-6.png.vaez").read_bytes())
    data[-1] ^= 1
    with pytest.raises(OSError, match="check failed") as caught:
        Image.open(io.BytesIO(bytes(data)))
    assert isinstance(caught.value.__cause__, CorruptDataError)


def test_a_bomb_is_refused_before_it_is_decoded(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(photo, mode="model", verify=False)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(file)


def test_our_own_files_are_no_pictures_to_compress(photo: Image.Image) -> None:
    with pytest.raises(UnsupportedImageError, match="not a picture of a known format"):
        bbans.compress(saved(photo).getvalue())


def test_options_go_to_the_compressor(photo: Image.Image) -> None:
    assert api.inspect(saved(photo, mode="model", verify=False).getvalue()).mode == "model"
    assert saved(photo, mode="model", threads=1).getvalue() == saved(photo, mode="model").getvalue()
    with pytest.raises(OSError, match="no model 'none'"):
        saved(photo, mode="auto", model="none")


def test_pickle_and_copy(photo: Image.Image) -> None:
    with Image.open(saved(photo)) as image:
        assert pickle.loads(pickle.dumps(image)).tobytes() == image.copy().tobytes() == photo.tobytes()


def test_by_name_in_another_process(tmp_path: Path, photo: Image.Image) -> None:
    """The suffix alone decides, and no file is left open."""
    script = """
import sys
from PIL import Image
import bbans.pillow
Image.open(sys.argv[1]).save(sys.argv[2], mode="stored")
image = Image.open(sys.argv[2])
image.load()
image.save(sys.argv[3])
"""
    source, packed, back = (tmp_path / name for name in ("a.png", "a.vaez", "b.png"))
    photo.save(source)
    subprocess.run([sys.executable, "-W", "error", "-c", script, source, packed, back], check=True)
    with Image.open(back) as again:
        assert again.tobytes() == photo.tobytes()


def test_imageio(tmp_path: Path, photo: Image.Image) -> None:
    imageio = pytest.importorskip("imageio.v3")
    path = tmp_path / "a.vaez"
    imageio.imwrite(path, np.asarray(photo), plugin="pillow", extension=".vaez", mode="RGB")
    assert np.array_equal(imageio.imread(path, plugin="pillow"), np.asarray(photo))
