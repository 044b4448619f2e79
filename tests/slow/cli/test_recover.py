"""What is left of damaged pictures: `PhotoCodec.recover`, `Model.recover` and `vaezip decompress --recover`."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vaezip_cli import main

import bbans
from bbans.errors import CorruptDataError
from bbans.formats import container
from bbans.formats.container import SectionKind
from bbans.models.photo.geometry import regions
from bbans.results import Damage
from tests.make_golden import pinned_picture
from tests.models import codec, picture


def damaged(data: bytes, *numbers: int) -> bytes:
    """A file with the last byte of these sections changed."""
    contents = container.unpack(data)
    changed = bytearray(data)
    ends = np.cumsum([len(section.body) for section in contents.sections]) + len(data)
    ends -= sum(len(section.body) for section in contents.sections)
    for number in numbers:
        changed[ends[number] - 1] ^= 1
    return bytes(changed)


def test_regions_are_lost_alone() -> None:
    coder = codec()
    pixels = picture(20, 1600, 3)
    encoded = coder.encode(pixels).messages
    (first, left), (second, right) = regions(20, 1600)
    whole, none = coder.recover(encoded, 20, 1600, 3)
    assert np.array_equal(whole, pixels) and none == []
    found, damage = coder.recover([None, *encoded[1:]], 20, 1600, 3)
    assert damage == [Damage(0, 20, left.start, left.stop, 0)]
    assert np.array_equal(found[second, right], pixels[second, right])
    assert set(np.unique(found[first, left])) == {96, 160}
    with pytest.raises(CorruptDataError, match="messages"):
        coder.recover(encoded[1:], 20, 1600, 3)


def test_a_damaged_strip_leaves_the_coarser_levels() -> None:
    coder = codec()
    pixels = pinned_picture(640, 640, 1)
    encoded = coder.encode(pixels).messages
    assert len(encoded) > 2
    found, damage = coder.recover([*encoded[:-1], None], 640, 640, 1)
    assert damage == [Damage(0, 640, 0, 640, 2)] and found.shape == pixels.shape
    assert np.array_equal(found[::2, ::2], pixels[::2, ::2]) and np.array_equal(found[1::2, 1::2], pixels[::2, ::2])


@pytest.fixture(scope="module")
def photo() -> bytes:
    """The file of a PNG of two regions with a text, by the default model."""
    y, x, c = np.ogrid[:12, :1600, :3]
    pixels = ((3 * x + 5 * y + 40 * c + x * y % 7) % 256).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", dpi=(300, 300))
    return bbans.compress(file.getvalue(), mode="model").data


def test_the_command_writes_what_is_good(photo: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    original = bbans.decompress(photo).array()
    packed, target = tmp_path / "a.png.vaez", tmp_path / "a.png"

    def run(*arguments: object) -> int:
        return main.group.main(["decompress", *map(str, arguments), str(packed)], standalone_mode=False)

    messages = [place for place, section in enumerate(container.unpack(photo).sections) if section.kind == SectionKind.MESSAGE]
    packed.write_bytes(damaged(photo, messages[-1]))
    assert run() == 3 and not target.exists()
    assert run("--recover", "--rm", "--json") == 3 and packed.exists()
    out, err = capfd.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert found["status"] == "damaged" and found["code"] == 3 and len(found["damage"]) == 1
    assert "damaged: rows 0 to 11, columns" in err and "not whole" in err
    with Image.open(target) as image:
        array = np.asarray(image)
        assert round(image.info["dpi"][0]) == 300
    left = found["damage"][0]["left"]
    assert left > 0 and np.array_equal(array[:, :left], original[:, :left]) and not np.array_equal(array, original)
    assert run("--recover", "-f", "--max-pixels", 9) == 4

    packed.write_bytes(damaged(photo, 0))  # the metadata
    assert container.unpack(photo).sections[0].kind in (SectionKind.METADATA, SectionKind.PACKED_METADATA)
    assert run("--recover", "-f") == 3
    assert "all pixels are there" in capfd.readouterr().err
    with Image.open(target) as image:
        assert np.array_equal(np.asarray(image), original) and "dpi" not in image.info

    packed.write_bytes(photo[:-1])  # cut short
    assert run("--recover", "-f") == 3 and target.exists()
    packed.write_bytes(photo)
    assert run("--recover", "-f") == 0

    target.unlink()
    for data in (damaged(photo, *messages), photo[:20], bbans.compress(original, mode="stored").data[:-1], b"no file of ours"):
        packed.write_bytes(data)
        assert run("--recover") == 3 and not target.exists()


def test_a_file_that_was_signed_again_is_not_called_whole(photo: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its parts hold, but what they decode to is not what was compressed."""
    contents = container.unpack(photo)
    signed = container.pack(dataclasses.replace(contents, content_check=bytes(8)))
    recovered = bbans.load_model().recover(signed)
    assert recovered.altered and recovered.damage == () and not recovered.metadata_lost
    assert not bbans.load_model().recover(photo).altered

    packed, target = tmp_path / "a.png.vaez", tmp_path / "a.png"
    packed.write_bytes(signed)
    assert main.group.main(["decompress", str(packed)], standalone_mode=False) == 3 and not target.exists()
    capfd.readouterr()
    assert main.group.main(["decompress", "--recover", "--json", str(packed)], standalone_mode=False) == 3
    out, err = capfd.readouterr()
    assert "not the picture that was compressed" in err and "all pixels are there" not in err
    found = json.loads(out.splitlines()[-1])
    assert (found["altered"], found["code"], found["status"]) == (True, 3, "damaged")
    assert target.read_bytes() == recovered.data


def test_metadata_that_is_a_header(tmp_path: Path) -> None:
    """Without it the picture becomes a PNG, under a name that says so."""
    pixels = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    data = bbans.compress(b"P6 # text\n6 5 255\n" + pixels.tobytes(), mode="model").data
    assert container.unpack(data).sections[0].kind != SectionKind.MESSAGE
    recovered = bbans.load_model().recover(damaged(data, 0))
    assert recovered.format == "PNG" and recovered.metadata_lost and recovered.damage == ()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(recovered.data))), pixels)
