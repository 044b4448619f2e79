"""Pictures without their metadata: `strip=True` and `vaezip compress --strip`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo
from vaezip_cli import main

import bbans
from bbans.errors import UnsupportedImageError
from bbans.images import apng
from bbans.images.pngfile import parse
from bbans.images.strip import strip

PIXELS = (np.add.outer(np.arange(20) ** 2, np.arange(30))[..., None] + 50 * np.arange(3)).astype(np.uint8)
TURNED = Image.Exif()
TURNED[274] = 6
UPRIGHT = Image.Exif()
UPRIGHT[270] = "sea"


def saved(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, format, **options)
    return file.getvalue()


def text() -> PngInfo:
    info = PngInfo()
    info.add_text("Title", "sea")
    info.add_text("Comment", "to and fro", zip=True)
    return info


RICH = {"exif": TURNED.tobytes(), "icc_profile": b"profile" * 9}
FILES = {  # name: (file, names of what is dropped)
    "png": (saved("PNG", pnginfo=text(), dpi=(72, 72), **RICH) + b"tail", {"iCCP", "tEXt", "zTXt", "pHYs", "eXIf", "after"}),
    "palette": (saved("PNG", Image.fromarray(PIXELS).quantize(9), pnginfo=text(), transparency=2), {"tEXt", "zTXt"}),
    "webp": (saved("WEBP", lossless=True, xmp=b"<x/>", **RICH), {"ICCP", "EXIF", "XMP"}),
    "lossy webp": (saved("WEBP", Image.fromarray(PIXELS).convert("RGBA"), **RICH), {"ICCP", "EXIF"}),
    "jpeg": (saved("JPEG", comment=b"sea", xmp=b"<x/>", **RICH) + b"tail", {"Exif", "ICC", "XMP", "comment", "after"}),
    "progressive jpeg": (saved("JPEG", progressive=True, exif=UPRIGHT.tobytes()), {"Exif"}),
    "cmyk jpeg": (saved("JPEG", Image.new("CMYK", (9, 9), (7, 80, 90, 0)), icc_profile=b"profile"), {"ICC"}),
}


@pytest.mark.parametrize("name", FILES)
def test_metadata_is_dropped_and_pixels_stay(name: str) -> None:
    data, expected = FILES[name]
    kept, dropped = strip(data, 1 << 20)
    assert len(kept) < len(data) and sum(size for _, size in dropped) == len(data) - len(kept)
    names = " ".join(name for name, _ in dropped)
    assert len(dropped) == len(expected)
    assert all(word in names or (word in ("eXIf", "EXIF") and "Exif with an orientation" in names) for word in expected)
    assert strip(kept, 1 << 20) == (kept, ())
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(kept)) as after:
        assert (after.mode, after.tobytes()) == (before.mode, before.tobytes())
        assert after.getpalette() == before.getpalette() and after.info.get("transparency") == before.info.get("transparency")
        assert not after.info.keys() & {"icc_profile", "exif", "xmp", "Title", "comment", "dpi"} or name.endswith("jpeg")
        assert not dict(after.getexif()) and "icc_profile" not in after.info
    result = bbans.compress(data, mode="stored", strip=True)
    assert result.dropped == dropped
    with Image.open(io.BytesIO(bbans.decompress(result).data)) as back:
        assert back.tobytes() == after.tobytes() and "icc_profile" not in back.info


def test_adobe_and_jfif_stay() -> None:
    """The former says how colours are coded."""
    data = FILES["cmyk jpeg"][0]
    assert b"Adobe" in strip(data, 1 << 20)[0]
    assert strip(FILES["jpeg"][0], 1 << 20)[0][6:10] == b"JFIF"


def test_animations_stay() -> None:
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    png = saved("PNG", frames[0], save_all=True, append_images=frames[1:], pnginfo=text(), duration=70)
    kept, dropped = strip(png, 1 << 20)
    assert {name for name, _ in dropped} == {"tEXt", "zTXt"}
    assert len(apng.parse(parse(kept, 1 << 20)).frames) == 2
    webp = saved("WEBP", frames[0], save_all=True, append_images=frames[1:], lossless=True, exif=TURNED.tobytes())
    kept, dropped = strip(webp, 1 << 20)
    assert [name for name, _ in dropped] == ["Exif with an orientation"]
    with Image.open(io.BytesIO(kept)) as image:
        assert image.n_frames == 2


def test_other_formats_are_left_alone() -> None:
    for format in ("TIFF", "BMP", "GIF"):
        data = saved(format)
        assert strip(data, 1 << 20) == (data, ())


def test_a_file_without_metadata_stays_the_same() -> None:
    for format in ("PNG", "WEBP", "JPEG"):
        data = saved(format)
        assert strip(data, 1 << 20) == (data, ())


@pytest.mark.parametrize("end", [1, 3, 25, 60, 200, -2])
def test_broken_jpegs(end: int) -> None:
    data = saved("JPEG", exif=UPRIGHT.tobytes())
    if end < 3:
        data = data[:3] + data[3:end] if end > 0 else data[:end]
    with pytest.raises(UnsupportedImageError, match="JPEG"):
        strip(data[:end] if end > 2 else data, 1 << 20)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_the_command_says_what_it_dropped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, data in [("a.jpg", FILES["jpeg"][0]), ("b.png", saved("PNG")), ("c.tif", saved("TIFF"))]:
        (tmp_path / name).write_bytes(data)
    names = [str(tmp_path / name) for name in ("a.jpg", "b.png", "c.tif")]
    assert main.group.main(["compress", "--strip", "--mode", "stored", *names], standalone_mode=False) in (0, None)
    _, err = capfd.readouterr()
    assert "a.jpg: dropped: " in err and "Exif with an orientation" in err and "comment 7 bytes" in err
    assert "b.png: there was no metadata to drop" in err
    assert "c.tif: nothing was dropped: --strip knows no metadata of TIFF" in err
    assert main.group.main(["compress", "--strip", "-f", "--json", "--mode", "stored", *names], standalone_mode=False) in (0, None)
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    dropped = {Path(one["file"]).name: one["dropped"] for one in found if "dropped" in one}
    assert dropped["a.jpg"]["comment"] == 7 and dropped["b.png"] == {} == dropped["c.tif"]
