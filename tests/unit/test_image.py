"""Every kind of picture file: read exactly, or refused by name and stored as a file, or refused as no picture."""

import io
import struct
import tracemalloc
import warnings
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import chunks, pngfile
from bbans.images import picture as picture_module
from bbans.images.picture import Picture, PictureInfo, probe_picture, read_picture, write_picture
from bbans.images.pillow import open_any

RGB = np.random.default_rng(3).integers(0, 256, (13, 11, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(48) * 3, np.arange(64)).astype(np.uint8)[..., None] + np.array([0, 20, 40], np.uint8)
SIZES = [(1, 1), (1, 7), (17, 1), (13, 11), (51, 76)]


def save(pixels: np.ndarray, format: str, **options) -> bytes:
    file = io.BytesIO()
    source = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    source.save(file, format, **options)
    return file.getvalue()


def frames(format: str, **options) -> bytes:
    pictures = [Image.fromarray(RGB), Image.fromarray(255 - RGB), Image.fromarray(RGB // 2)]
    return save(pictures[0], format, save_all=True, append_images=pictures[1:], **options)


PIXEL_FILES = {
    "PNG": lambda p: save(p, "PNG"),
    "WEBP": lambda p: save(p, "WEBP", lossless=True, exact=True),
    "BMP": lambda p: save(p, "BMP"),
    "PPM": lambda p: save(p, "PPM"),
    "NPY": lambda p: npy(p),
}


def npy(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PIXEL_FILES)
def test_rgb_comes_back(name, size):
    pixels = np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8)
    data = PIXEL_FILES[name](pixels)
    picture = read_picture(data)
    assert picture.format == name
    assert np.array_equal(picture.pixels, pixels)
    written = write_picture(picture)
    assert read_picture(written) == picture
    if name in ("BMP", "PPM", "NPY"):
        assert written == data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("format", "name"), [("PNG", "PNG"), ("PPM", "PGM")])
def test_gray_comes_back(format, name, size):
    pixels = np.random.default_rng(5).integers(0, 256, size, dtype=np.uint8)
    picture = read_picture(save(pixels, format))
    assert picture.format == name
    assert np.array_equal(picture.pixels, pixels[..., None])
    written = write_picture(picture)
    assert read_picture(written) == picture
    with Image.open(io.BytesIO(written)) as again:
        assert again.mode == "L"


def test_webp_metadata_comes_back_with_its_bytes_and_order():
    data = save(RGB, "WEBP", lossless=True, exact=True, icc_profile=b"profile", exif=b"MM\0*exif", xmp=b"<x/>")
    data = data[:4] + (len(data) + 10 - 8).to_bytes(4, "little") + data[8:] + b"ODDS\1\0\0\0x\0"  # an unknown chunk
    picture = read_picture(data)
    before, after = chunks.unpack(picture.metadata)
    assert [kind for kind, _ in before] == [b"VP8X", b"ICCP"]
    assert after == [(b"EXIF", b"MM\0*exif"), (b"XMP ", b"<x/>"), (b"ODDS", b"x")]
    written = write_picture(picture)
    assert read_picture(written) == picture
    with Image.open(io.BytesIO(written)) as again:
        assert again.info["icc_profile"] == b"profile"
        assert np.array_equal(np.asarray(again), RGB)


def test_headers_of_pnm_and_bmp_come_back():
    pnm = b"P6 # made by hand\n#\n11\t13\r\n255\n" + RGB.tobytes()
    assert write_picture(read_picture(pnm)) == pnm
    bmp = bytearray(save(RGB, "BMP"))
    bmp[38:46] = b"\1\2\3\4\5\6\7\x08"  # a resolution
    bmp[10:14] = (54 + 6).to_bytes(4, "little")
    bmp[54:54] = b"gap..."
    assert write_picture(read_picture(bytes(bmp))) == bytes(bmp)
    top_down = bytes(bmp[:22]) + (-13).to_bytes(4, "little", signed=True) + bytes(bmp[26:])
    assert np.array_equal(read_picture(top_down).pixels, RGB[::-1])
    assert write_picture(read_picture(top_down)) == top_down
    with Image.open(io.BytesIO(top_down)) as by_pillow:
        assert np.array_equal(np.asarray(by_pillow), RGB[::-1])


def test_jpeg_as_decoded_pixels_only_on_request():
    exif = Image.Exif()
    exif[0x0112] = 6  # an orientation: kept, and not applied
    data = save(SMOOTH, "JPEG", icc_profile=b"profile", exif=exif, xmp=b"<x/>")
    with pytest.raises(UnsupportedImageError, match=r"JPEG is not supported .only its decoded pixels would be kept"):
        read_picture(data)
    picture = read_picture(data, decoded=True)
    assert picture.format == "PNG"
    written = write_picture(picture)
    with Image.open(io.BytesIO(data)) as jpeg, Image.open(io.BytesIO(written)) as png:
        png.load()
        assert np.array_equal(np.asarray(jpeg), np.asarray(png))
        assert png.info["icc_profile"] == b"profile"
        assert png.getexif()[0x0112] == 6
        assert png.info["xmp"] == b"<x/>"


def test_a_faulty_exif_in_a_jpeg_does_not_matter():
    data = save(SMOOTH, "JPEG", exif=b"Exif\0\0MM\0*exif")
    assert probe_picture(data).kind == "8-bit RGB JPEG"
    before, _ = chunks.unpack(read_picture(data, decoded=True).metadata)
    assert before == [(b"eXIf", b"MM\0*exif")]


def test_cmyk_jpeg_is_never_converted():
    data = save(Image.new("CMYK", (5, 4)), "JPEG")
    with pytest.raises(UnsupportedImageError, match="CMYK"):
        read_picture(data, decoded=True)
    assert probe_picture(data).channels == 4


RGBA = np.dstack([RGB, RGB[..., :1]])
RGBA[..., 3] = 0  # colours under full transparency
OTHERS = {  # name: (file, part of the reason, channels, bit depth, frames)
    "rgba png": (save(RGBA, "PNG"), "alpha", 4, 8, 1),
    "la png": (save(Image.new("LA", (3, 4)), "PNG"), "alpha", 2, 8, 1),
    "gray16 png": (save(RGB[..., 0].astype(np.uint16) * 257, "PNG"), "8 bits per sample", 1, 16, 1),
    "bilevel png": (save(Image.new("1", (3, 4)), "PNG"), "bit depth", 1, 1, 1),
    "palette png": (save(Image.fromarray(RGB).quantize(7), "PNG"), "palette", 1, 4, 1),
    "apng": (frames("PNG"), "animation", 3, 8, 3),
    "png with a tail": (save(RGB, "PNG") + b"tail", "4 bytes after its end", 3, 8, 1),
    "rgba webp": (save(RGBA, "WEBP", lossless=True, exact=True), "alpha", 4, 8, 1),
    "lossy webp": (save(SMOOTH, "WEBP"), "lossy", 3, 8, 1),
    "animated webp": (frames("WEBP", lossless=True), "animation", 3, 8, 3),
    "gif": (frames("GIF"), "GIF", 1, 8, 3),
    "jpeg": (save(SMOOTH, "JPEG"), "JPEG", 3, 8, 1),
    "progressive jpeg": (save(SMOOTH, "JPEG", progressive=True), "JPEG", 3, 8, 1),
    "tiff": (save(SMOOTH, "TIFF", compression="jpeg"), "TIFF", 3, 8, 1),
    "gray16 tiff": (save(RGB[..., 0].astype(np.uint16), "TIFF"), "TIFF", 1, 16, 1),
    "gray16 pgm": (save(RGB[..., 0].astype(np.uint16), "PPM"), "16-bit gray PGM", 1, 16, 1),
    "pbm": (save(Image.new("1", (3, 4)), "PPM"), "1-bit gray PBM", 1, 1, 1),
    "tga": (save(RGBA, "TGA"), "TGA", 4, 8, 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_are_refused_by_name_but_recognised(name):
    data, reason, channels, bit_depth, n_frames = OTHERS[name]
    with pytest.raises(UnsupportedImageError, match=reason):
        read_picture(data)
    info = probe_picture(data)
    with Image.open(io.BytesIO(data)) as by_pillow:
        assert (info.format, info.width, info.height) == (by_pillow.format, *by_pillow.size)
    assert info.frames == n_frames
    assert info.bit_depth == bit_depth
    assert info.channels == channels
    assert f"{bit_depth}-bit" in info.kind


def test_probe_says_what_it_is():
    kinds = {name: probe_picture(file).kind for name, (file, *_) in OTHERS.items()}
    assert kinds["gray16 png"] == "16-bit gray PNG"
    assert kinds["apng"] == "animated 8-bit RGB PNG"
    assert kinds["gray16 pgm"] == "16-bit gray PPM"
    assert kinds["gray16 tiff"] == "16-bit gray TIFF"
    assert probe_picture(save(Image.fromarray(RGB).quantize(7), "BMP")).kind == "8-bit palette BMP"
    assert kinds["gif"] == "8-bit palette GIF of 3 frames"
    assert kinds["rgba webp"] == "8-bit RGB and alpha WEBP"
    assert probe_picture(save(RGB, "PNG")) == PictureInfo("PNG", 11, 13, 3, 8, "8-bit RGB PNG", 1)


def test_a_faulty_note_in_a_png_does_not_matter():
    """Metadata is kept, not interpreted: Pillow alone refuses this file."""
    note = chunks.pack([(b"iCCP", b"no profile")], [])
    data = write_picture(Picture(RGB, "PNG", note))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))
    assert probe_picture(data).kind == "8-bit RGB PNG"
    assert read_picture(data).metadata == note


@pytest.mark.parametrize("data", [b"", b"\0", b"BM", b"P6", b"P5 1", b"RIFF", b"RIFF\4\0\0\0WEBP", b"no picture\n" * 99])
def test_no_picture(data):
    for function in (read_picture, probe_picture):
        with pytest.raises(UnsupportedImageError):
            function(data)


def test_postscript_is_not_run():
    with pytest.raises(UnsupportedImageError, match="known format"):
        probe_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")


@pytest.mark.parametrize("name", PIXEL_FILES)
def test_every_cut_of_a_pixel_file_is_found(name):
    data = PIXEL_FILES[name](RGB)
    for size in range(len(data)):
        with pytest.raises(UnsupportedImageError):
            read_picture(data[:size])


@pytest.mark.parametrize("name", ["rgba png", "apng", "rgba webp", "lossy webp", "jpeg", "progressive jpeg", "tiff"])
def test_files_cut_in_half_are_found(name):
    data = OTHERS[name][0]
    for part in (2, 3, 5, 7):
        with pytest.raises(UnsupportedImageError):
            probe_picture(data[: len(data) * part // 8])


@pytest.mark.parametrize("name", [*PIXEL_FILES, "JPEG", "GIF", "TIFF"])
def test_damage_raises_only_the_typed_error(name):
    """No other exception escapes and no warning; without a checksum in the format, a flip may be a valid picture."""
    rng = np.random.default_rng(6)
    data = save(SMOOTH, name) if name in ("JPEG", "GIF", "TIFF") else PIXEL_FILES[name](RGB)
    for _ in range(150):
        damaged = bytearray(data)
        for i in rng.integers(0, min(len(data), 200), 3):
            damaged[i] = rng.integers(0, 256)
        for function in (read_picture, probe_picture):
            try:
                function(bytes(damaged), max_pixels=1 << 16)
            except UnsupportedImageError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("name", [*PIXEL_FILES, "JPEG", "GIF", "TIFF"])
def test_max_pixels(name):
    data = PIXEL_FILES.get(name, lambda p: save(p, name))(RGB)
    assert probe_picture(data, max_pixels=143).width == 11
    with pytest.raises(UnsupportedImageError, match="limit of 142 pixels"):
        probe_picture(data, max_pixels=142)
    if name in PIXEL_FILES:
        assert read_picture(data, max_pixels=143).pixels.shape == (13, 11, 3)
        with pytest.raises(UnsupportedImageError, match="limit of 142 pixels"):
            read_picture(data, max_pixels=142)


@pytest.mark.parametrize("size", [(16384, 1), (1, 16384)])
def test_a_webp_that_could_not_be_written_again(size):
    """The format has room for one pixel more than the encoder takes."""
    stream = b"\x2f" + (size[0] - 1 | size[1] - 1 << 14).to_bytes(4, "little")
    data = b"RIFF" + (4 + 8 + 6).to_bytes(4, "little") + b"WEBPVP8L\5\0\0\0" + stream + b"\0"
    with pytest.raises(UnsupportedImageError, match="over 16383 pixels"):
        read_picture(data)


def test_max_pixels_is_for_all_frames_together():
    assert probe_picture(frames("GIF"), max_pixels=3 * 143).frames == 3
    with pytest.raises(UnsupportedImageError, match="together"):
        probe_picture(frames("GIF"), max_pixels=3 * 143 - 1)


def gif(size: int, *frames: tuple[int, int]) -> bytes:
    """A GIF with a canvas of that side and frames (width, height) that hold no data, but one of 1 x 1 pixels."""
    screen = b"GIF89a" + size.to_bytes(2, "little") * 2 + b"\x80\0\0" + bytes(6)
    for width, height in frames:
        data = b"\2\2\x44\1\0" if width == height == 1 else b"\2\0"
        screen += b"," + bytes(4) + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\0" + data
    return screen + b";"


def webp_frames(size: int, *sides: int) -> bytes:
    """An animated WebP with a canvas of that side and square frames that hold nothing."""
    canvas = (size - 1).to_bytes(3, "little") * 2
    body = b"VP8X" + (10).to_bytes(4, "little") + b"\2\0\0\0" + canvas + b"ANIM" + (6).to_bytes(4, "little") + bytes(6)
    for side in sides:
        body += b"ANMF" + (16).to_bytes(4, "little") + bytes(6) + (side - 1).to_bytes(3, "little") * 2 + bytes(4)
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body


def apng(size: int, *sides: int) -> bytes:
    """An animated PNG with a canvas of that side and square frames that hold nothing."""
    control = [(b"fcTL", struct.pack(">IIIII", 2 * n, side, side, 0, 0) + bytes(6)) for n, side in enumerate(sides)]
    data = [(b"fdAT", struct.pack(">I", 2 * n + 1)) for n in range(len(sides))]
    header = (b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0))
    all_chunks = [header, (b"acTL", struct.pack(">II", len(sides), 0)), (b"IDAT", b"")]
    all_chunks += [chunk for pair in zip(control, data, strict=True) for chunk in pair]
    return pngfile.SIGNATURE + b"".join(map(pngfile.chunk_bytes, [*all_chunks, (b"IEND", b"")]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gif(32767, (32767, 32767), (32767, 32767)), "together"),
        (gif(9, *[(8000, 8000)] * 17), "together"),
        (webp_frames(16384, *[16384] * 5), "together"),
        (apng(32767, 32767), "together"),
        (gif(65535, (1, 1)), "larger than the limit"),
    ],
)
def test_what_frames_take_together_is_known_before_any_is_decoded(data, message, monkeypatch):
    """Some hundred bytes that promise gigapixels."""
    monkeypatch.setattr(picture_module, "open_any", None)  # whoever calls it fails
    assert len(data) < 1000
    with pytest.raises(UnsupportedImageError, match=message):
        probe_picture(data)


def test_frames_take_no_canvas(monkeypatch):
    """Pillow composes frames on the canvas: here a gigapixel of a hundred bytes."""
    sizes = []

    @contextmanager
    def open_and_note(data, max_pixels):
        with open_any(data, max_pixels) as image:
            sizes.append(image.size)
            yield image

    monkeypatch.setattr(picture_module, "open_any", open_and_note)
    info = probe_picture(gif(30000, (1, 1), (1, 1), (1, 1)))
    assert (info.width, info.height, info.frames) == (30000, 30000, 3)
    assert sizes == [(1, 1)] * 3


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_frames_of_parts_of_the_canvas(format):
    """Encoders keep what changes: with other sizes and places, palettes and alpha, in any of the frames."""
    pictures = [Image.new("RGBA", (40, 30), (9, 99, 199, 255)) for _ in range(4)]
    pictures[1].paste((255, 0, 0, 255), (3, 4, 11, 12))
    pictures[2].paste((0, 0, 255, 100), (20, 20, 39, 29))
    data = save(pictures[0], format, save_all=True, append_images=pictures[1:], duration=[10, 20, 30, 40])
    info = probe_picture(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (info.width, info.height, info.frames) == (40, 30, image.n_frames)
    for size in range(10, len(data) - 12, 7):
        with suppress(UnsupportedImageError):  # only a GIF need have no end: it has fewer frames then
            assert probe_picture(data[:size]).frames < info.frames and format == "GIF"


def test_a_default_picture_that_is_no_frame_of_an_animated_png():
    pictures = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    data = save(pictures[0], "PNG", save_all=True, append_images=pictures, default_image=True)
    with Image.open(io.BytesIO(data)) as image:
        assert probe_picture(data).frames == image.n_frames == 3


def test_reading_takes_the_file_and_the_pixels_once():
    """Of what Python and numpy allocate."""
    flat = np.full((2000, 2000, 3), 7, np.uint8)
    noise = np.random.default_rng(11).integers(0, 256, (500, 500, 3), np.uint8)
    for pixels, format in [(flat, "PNG"), (noise, "PNG"), (flat, "WEBP")]:
        data = save(pixels, format, **({"lossless": True} if format == "WEBP" else {}))
        if format == "PNG":
            parsed = pngfile.parse(data, pixels.size)
            data = pngfile.assemble(data[16:29], [], [b"".join(parsed.stream)])  # all in one chunk
        tracemalloc.start()
        read_picture(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < pixels.size + (3 << 20)


def test_frames_are_decoded_into_their_pixels_alone():
    """Pillow has a canvas twice, and its own image."""
    image = Image.new("RGB", (1500, 1500), (9, 99, 199))
    still = save(np.asarray(image), "WEBP", lossless=True)
    data = webp_frames(1500, 1500, 1500)
    frame = bytes(6) + (1499).to_bytes(3, "little") * 2 + bytes(4) + still[12:]
    data = data[: data.index(b"ANMF")] + 2 * (b"ANMF" + len(frame).to_bytes(4, "little") + frame)
    data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    tracemalloc.start()
    assert probe_picture(data).frames == 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3.5 * 1500 * 1500


def test_settings_of_the_process_are_put_back(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    filters = list(warnings.filters)
    with pytest.raises(UnsupportedImageError):
        probe_picture(OTHERS["jpeg"][0][:-200])
    assert probe_picture(OTHERS["jpeg"][0]).width == 64
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 7)
    assert warnings.filters == filters


@pytest.mark.parametrize(
    "picture",
    [
        Picture(RGB, "XYZ"),
        Picture(RGB, "PGM"),
        Picture(RGB[..., :1], "WEBP"),
        Picture(RGB[..., :2], "PPM"),
        Picture(RGB, "PNG", b"", 16),
        Picture(RGB.astype(np.uint16), "PNG"),
        Picture(RGB.astype(np.uint16), "PPM", b"", 8),
        Picture(RGB[..., 0:1].astype(np.uint8), "PBM", b"", 1),
        Picture(RGB, "PNG", b"", 4),
        Picture(np.zeros((2, 2, 5), np.uint8), "PNG"),
        Picture(RGB[:0], "PNG"),
        Picture(RGB[..., 0], "PNG"),
        Picture(np.zeros((1, 16384, 3), np.uint8), "WEBP"),
        Picture(RGB, "BMP"),
        Picture(RGB[1:], "BMP", read_picture(save(RGB, "BMP")).metadata),
        Picture(RGB, "PPM", b"P6 11 12 255\n"),
        Picture(RGB, "PPM", b"P6 11 13 255\nx"),
        Picture(RGB, "PPM", b"P6 11"),
        Picture(RGB, "NPY", npy(RGB[1:])[:128]),
        Picture(RGB, "NPY", npy(RGB.astype(np.int8))[:128]),
        Picture(RGB, "NPY", npy(np.asfortranarray(RGB))[:128]),
        Picture(RGB, "NPY", npy(RGB)[:129]),
        Picture(RGB, "NPY", npy(RGB)[:127]),
        Picture(RGB, "WEBP", b"\0\0\0\0ANIM\0\0\0\0VP8L"),
    ],
)
def test_parts_that_do_not_belong_together(picture):
    with pytest.raises(CorruptDataError):
        write_picture(picture)


def test_pictures_are_equal_by_their_parts():
    picture = Picture(RGB, "PNG", b"")
    assert picture == Picture(RGB.copy(), "PNG")
    assert picture != Picture(RGB, "PPM")
    assert picture != Picture(RGB, "PNG", b"x")
    assert picture != Picture(RGB[:, ::-1], "PNG")
    assert picture != "picture"
