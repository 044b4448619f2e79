"""Write the golden files anew: ``python -m tests.make_golden`` with ``photo``, ``sets``, ``stored`` or ``default``.

Only for a deliberate change of the format, with a line under "Format" in the CHANGELOG. Files of users no longer decode then.

photo: ``tiny.safetensors`` is a model with random weights and learned start values, ``messages.json`` pictures with their messages
(base64), and the SHA-256 of the messages of pictures that are too large to keep, made by ``pinned_picture``. The ``.vaez`` files
hold the gray one of the pictures, as a PNG with a text, by the model and by each method of the stored fallback; those in
``converted`` what comes of ``converted_picture`` by each conversion.

stored: a ``.vaez`` file of each of ``kept_kinds``, PNGs of other kinds, by the method and in the form of its name; and files of a
JPEG and of ``written_png``.

default: ``photo-6.png.vaez``, the picture beside it by the default model, and what `vaezip doctor` checks, in ``cli/golden``.

sets: an archive for every scheme, and those without a model, of what ``archived`` gives; and the models, with random weights.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from vaezip_cli import doctor

import bbans
from bbans import models, sets, vaez
from bbans.exact.network import IntConv
from bbans.formats import container, stored
from bbans.formats.container import ConversionNumber, StoredMethod
from bbans.formats.forms import Form
from bbans.formats.metadata import profiles
from bbans.images import chunks, pngfile
from bbans.images.conversion import convert
from bbans.images.picture import Picture, read_picture, write_picture
from bbans.images.rows import filter_rows
from bbans.images.rows import pack as pack_rows
from bbans.models.config import ImageConfig, to_json
from bbans.models.markov.config import MarkovConfig
from bbans.models.photo import tuning
from bbans.models.photo.config import PhotoConfig
from bbans.models.registry import FAMILIES, PictureCodec, family_of
from bbans.models.store import SHIPPED
from bbans.models.topdown.config import TopDownConfig
from bbans.models.weights import PHOTO, pack
from tests.models import picture, weight_file

FOLDER = Path(__file__).parent / "data" / "golden"
CONFIG = PhotoConfig(width=8, blocks=1, carried=2, head=8, components=2, latents=2, latent_width=4)
PICTURES = {
    "colours": (41, 66, 3, "photo"),
    "gray": (40, 35, 1, "photo"),
    "noise": (9, 5, 3, "noise"),
    "pixel": (1, 1, 3, "noise"),
    "quick": (40, 35, 3, "photo"),
    "tuned": (64, 96, 3, "gradient"),
}
EFFORTS = {"quick": 1, "tuned": 9}
"""Of pictures that are not coded with the default one."""

PINNED = {"regions": (16, 1600, 3), "strips": (640, 640, 1)}

MODELS = {
    "binary": MarkovConfig(height=6, width=5, symbols=2, latents=(4,), hidden=(5,)),
    "gray": MarkovConfig(height=4, width=3, symbols=256, components=2, latents=(4, 3), hidden=(5, 4)),
    "colours": TopDownConfig(4, 6, 3, 256, 1, (2, 1), (4, 3), (0, 1), ((2,), (1,)), features=2, hidden=4, context=1),
}
ARCHIVES = {  # by name, which is the scheme if there is a model, and images in a chunk
    "bb-ans": ("binary", 4),
    "mcbits-3": ("binary", 4),
    "mcbits-coupled-3": ("binary", 4),
    "bit-swap": ("gray", 3),
    "top-down": ("colours", 2),
    "lzma": (None, 4),
    "wide": (None, 2),
    "one-by-one": (None, None),
    "files": (None, None),
}
LINKS = {"more/first": "../0.png", "more/others": "./", "nowhere": "more/gone"}
"""Those in the archive of files, by name."""
TIMES = {
    "0.png": 1_700_000_000_123_456_789,
    "1.png": 1_700_000_000 * 10**9,
    "2.png": -1,
    "more/with a text.png": 0,
    "read me": 4_000_000_000 * 10**9 + 1,
    "more/first": 1_700_000_000 * 10**9 + 5,
    "more/others": -(10**9),
    "nowhere": 1,
}
"""Of its files and links, in nanoseconds since 1970."""


def pinned_picture(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """(height, width, channels), by integers alone."""
    y, x, c = np.ogrid[:height, :width, :channels]
    return ((y * y // 60 + 2 * x + (x * y >> 7) % 9 + 40 * c) % 256).astype(np.uint8)


def digest(messages: Sequence[bytes]) -> str:
    """SHA-256 over the lengths and bytes of messages."""
    return hashlib.sha256(b"".join(len(message).to_bytes(8, "little") + message for message in messages)).hexdigest()


def kept_picture(pixels: NDArray[np.uint8]) -> Picture:
    """What the ``.vaez`` files give back."""
    return Picture(pixels, "PNG", chunks.pack([(b"tEXt", b"Comment\0kept")], []))


def files(picture: Picture, coder: PictureCodec) -> dict[str, bytes]:
    """A ``.vaez`` file of the picture in each way, whichever is the smallest, by name."""
    source = vaez.picture_source(write_picture(picture), picture)
    made = {"model": container.pack(vaez.code(vaez.prepare(source), coder))}
    for method in StoredMethod:
        if method == StoredMethod.JPEG:
            continue
        if method.keeps_file:
            payload = stored.encode_file(method, source.data)
        else:
            payload = stored.encode_picture(method, picture)
        made[method.name.lower()] = container.pack(vaez.stored_container(source, method, payload))
    return made


def kept_kinds() -> dict[str, tuple[Picture, StoredMethod, Form]]:
    """By file name: pictures of every number of channels and every bit depth, with a method and a form to keep them."""
    row, column = np.ogrid[:7, :21]
    gray = (row * 9 + column * column) % 251
    wide = np.stack([gray * 201 + 77 * c for c in range(4)], axis=2).astype(np.uint16)
    bytes_ = (wide >> 6).astype(np.uint8)
    colours = [(b"PLTE", bytes(range(0, 240, 5))), (b"tRNS", bytes([9, 0, 200]))]
    indices = ((row // 2 + column // 3) % 16).astype(np.uint8)[..., None]
    text = [(b"tEXt", b"Comment\0" + b"to and fro, " * 9)]
    tall = np.full((6_921, 303, 1), 70)

    def of(
        samples: NDArray[np.integer], bit_depth: int, before: list[tuple[bytes, bytes]], *how: int
    ) -> tuple[Picture, StoredMethod, Form]:
        dtype = np.uint16 if bit_depth == 16 else np.uint8
        return Picture(samples.astype(dtype), "PNG", chunks.pack(before, []), bit_depth), StoredMethod(how[0]), Form(how[1])

    return {
        "gray-1-rows": of(indices & 1, 1, [], 3, 0),
        "gray-2-webp": of(indices & 3, 2, text, 2, 0),
        "gray-4-jxl": of(indices, 4, text, 4, 0),
        "gray-16-jxl": of(wide[..., :1], 16, [], 4, 0),
        "gray-alpha-8-webp": of(bytes_[..., :2], 8, [], 2, 0),
        "gray-alpha-16-rows": of(wide[..., :2], 16, [], 3, 0),
        "rgb-16-jxl": of(wide[..., :3], 16, [], 4, 0),
        "rgb-16-eight-bits-jxl": of(bytes_[..., :3] * np.uint16(257), 16, [], 4, 2),
        "rgba-8-webp": of(bytes_, 8, [], 2, 0),
        "rgba-8-jxl": of(bytes_, 8, [], 4, 0),
        "rgba-16-jxl": of(wide, 16, [], 4, 0),
        "rgba-16-rows": of(wide, 16, [], 3, 0),
        "palette-4-jxl": of(indices, 4, colours, 4, 0),
        "palette-4-colours-jxl": of(indices, 4, colours, 4, 1),
        "palette-8-colours-webp": of(indices, 8, colours[:1], 2, 1),
        "strips-jxl": of(tall, 8, [], 4, 0),
    }


def converted_picture(number: int) -> NDArray[np.uint8]:
    """(24, 50, C), of luma and chroma, but for a line across it; some pixels are clipped. Or one with gaps, or with alpha."""
    if number >= ConversionNumber.GAPS:
        y, x, c = np.ogrid[:24, :50, :3]
        pixels = (y * y // 9 + 2 * x + (x * y * (c + 3) >> 7) % 9 + 20 * c).astype(np.uint8)
        if number == ConversionNumber.ALPHA:
            return np.concatenate([pixels, (x * 5 + y * y // 8 + 0 * c[..., :1]).clip(0, 255).astype(np.uint8)], axis=2)
        if number == ConversionNumber.CHANNELS:
            return np.concatenate([pixels, np.full((24, 50, 1), 200, np.uint8)], axis=2)
        return np.array([min(255, (20 * value + 7) // 13) for value in range(256)], np.uint8)[pixels]
    y, x = np.ogrid[:24, :50]
    luma = 10 * y + 3 * x % 90 + (x * y) % 7
    chroma = [np.clip(y + x // 2 - 20, -luma, 255 - luma), 30 - y - x // 3]
    samples = np.stack([luma + chroma[0], luma, luma + chroma[1]], axis=2).clip(0, 255).astype(np.uint8)
    pixels = convert(samples, bytes([number]))
    pixels[11, :25] = 1, 254, 3
    return pixels


def kept_rasters() -> dict[str, bytes]:
    """By file name: files of formats that come back byte for byte, by integers alone."""
    pixels = pinned_picture(7, 21, 4)
    wide = pixels.astype(np.uint16) * 200 + 7
    bits = np.packbits(pixels[..., 0] >> 5 & 1, axis=1)
    bmp = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 90, 0, 0, 62, 40, 21, 7, 1, 1, 0, 28, 0, 0, 2, 2) + b"\0\0\0\0\xff\xff\xff\0"
    tags = {256: 21, 257: 7, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 279: 294}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiff = b"II*\0" + (302).to_bytes(4, "little") + wide[..., 0].astype("<u2").tobytes() + b"\x08\0" + directory + bytes(4)
    npy = io.BytesIO()
    np.save(npy, wide[..., :2])
    lzw = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(lzw, "TIFF", compression="tiff_lzw", tiffinfo={317: 2, 278: 3})
    entries = b"".join(struct.pack(">HHQQ", tag, 16, 1, value) for tag, value in (tags | {258: 8, 273: 16, 279: 147}).items())
    big = b"MM\0+\0\x08\0\0" + struct.pack(">Q", 163) + pixels[..., 0].tobytes() + struct.pack(">Q", 8) + entries + bytes(8)
    tiles = np.zeros((2, 16, 16), np.uint8)
    tiles[:, :7], tiles[1, :7, :5] = pixels[:, :16, 0], pixels[:, 16:, 0]  # the second one has the first one's pixels beside it
    tags_of_tiles = {256: 21, 257: 7, 258: 8, 259: 1, 262: 1, 277: 1, 322: 16, 323: 16, 324: (2, 646), 325: (2, 654)}
    tiled = b"II*\0" + (520).to_bytes(4, "little") + tiles.tobytes() + b"\x0a\0"
    for tag, value in tags_of_tiles.items():
        tiled += struct.pack("<HHII", tag, 4, *(value if isinstance(value, tuple) else (1, value)))
    tiled += bytes(4) + struct.pack("<4I", 8, 264, 256, 256)
    rows = [tuple(pixel.tobytes() for pixel in row[[0, 7, 14], :3]) for row in pixels]
    runs = b"".join(b"\x82" + three + b"\x81" + two + b"\0" + one for three, two, one in rows)
    return {
        "bigtiff": big,
        "bmp": bmp + np.pad(bits, ((0, 0), (0, 1))).tobytes(),
        "npy": npy.getvalue(),
        "pam": b"P7\nWIDTH 21\nHEIGHT 7\nDEPTH 3\nMAXVAL 65535\nENDHDR\n" + wide[..., :3].astype(">u2").tobytes(),
        "qoi": imagecodecs.qoi_encode(pixels // 9 * 9),
        "tga": struct.pack("<BBBHHBHHHHBB", 3, 0, 2, 0, 0, 0, 0, 0, 21, 7, 32, 8) + b"sea" + pixels[..., [2, 1, 0, 3]].tobytes(),
        "tga-runs": struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 6, 7, 24, 0) + runs,
        "tiff": tiff + b"a tail",
        "tiff-lzw": lzw.getvalue(),
        "tiff-tiles": tiled,
    }


def written_png() -> bytes:
    """A PNG by zlib, in several IDATs and with different filters."""
    pixels = pinned_picture(24, 50, 3)
    rows = filter_rows(pack_rows(pixels, 8), 3, np.arange(24, dtype=np.uint8) % 5)
    stream = zlib.compress(rows.tobytes(), 9)
    header = struct.pack(">IIBBBBB", 50, 24, 8, 2, 0, 0, 0)
    return pngfile.assemble(header, [(b"tEXt", b"Comment\0kept")], [stream[i : i + 500] for i in range(0, len(stream), 500)])


def profiled() -> Picture:
    """Gray, with the ICC profile that most pictures have, as Photoshop writes it."""
    profile = profiles()[1590:4206]
    return Picture(pinned_picture(7, 21, 1), "PNG", chunks.pack([(b"iCCP", b"Photoshop ICC profile\0\0" + profile)], []))


def kept_file(picture: Picture, method: StoredMethod, form: Form) -> bytes:
    """The ``.vaez`` file of a picture by a method, in a form."""
    source = vaez.picture_source(write_picture(picture), picture)
    return container.pack(vaez.stored_container(source, method, stored.encode_picture(method, picture, form)))


def random_weights(config: ImageConfig, id: str, reach: int = 16, seed: int = 0) -> bytes:
    """The weight file of a model for small images whose heads' outputs are about `reach` in size: far above 16 they are clamped."""
    rng = np.random.default_rng(seed)
    layers = {}
    for name, (c_out, c_in, kernel, variants, relu) in config.layers().items():
        size = 40 if relu else reach
        spread = 73 * 30 * np.sqrt(c_in * kernel**2)  # of a sum of weights times activations
        exponent = np.full(c_out, np.clip(np.rint(np.log2(spread / size)), 0, 12), np.int8)
        bias = rng.integers(-size, size, (variants, c_out)) << exponent
        weight = rng.integers(-127, 128, (c_out, c_in, kernel, kernel))
        layers[name] = IntConv(weight.astype(np.int8), bias.astype(np.int32), exponent, relu)
    family = FAMILIES["markov" if isinstance(config, MarkovConfig) else "topdown"]
    with torch.inference_mode():
        digest = family.build(config, layers, "reference").digest()
    return pack(id, to_json(config), digest, layers, family.name)


def set_images(config: ImageConfig, count: int) -> NDArray[np.uint8]:
    """(count, H, W, C) of 0 .. symbols - 1, by integers alone."""
    n, y, x, c = np.ogrid[:count, : config.height, : config.width, : config.channels]
    values = (23 * y * y + 17 * x + 61 * n + 40 * c + (x * y * (n + 3)) % 29) % 256
    return (values >> 7 if config.binary else values).astype(np.uint8)


def archived(name: str) -> NDArray[np.uint8] | NDArray[np.bool_] | NDArray[np.uint16] | dict[str, bytes]:
    """What the archives hold: arrays, of bool, uint8, uint16 or two values, of three axes or four; or files by name."""
    binary = set_images(MODELS["binary"], 9)[..., 0]
    colours = set_images(MODELS["colours"], 3)
    if name == "bb-ans":
        return binary > 0
    if name.startswith("mcbits"):
        return binary * np.uint8(1 if name == "mcbits-3" else 255)
    if name == "bit-swap":
        return set_images(MODELS["gray"], 7)
    if name == "wide":
        row, column = np.ogrid[:6, :7]
        return np.stack([row * 1000 + column * 37 + n * 9 for n in range(5)]).astype(np.uint16)
    if name == "one-by-one":
        return np.stack([picture(40, 36, 3, seed=seed) for seed in range(2)])
    if name == "lzma":
        return pinned_picture(8, 9, 3) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    pictures = {f"{i}.png": write_picture(Picture(pixels, "PNG", b"")) for i, pixels in enumerate(colours)}
    pictures["more/with a text.png"] = write_picture(kept_picture(colours[0]))
    return pictures | {"read me": b"no picture"}


def set_archive(name: str) -> bytes:
    """The archive of that name, by the model in its golden file."""
    (model, chunk), source, file = ARCHIVES[name], archived(name), io.BytesIO()
    about = name == "files"  # links and times
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(source, dict):
            for path, data in source.items():
                (Path(folder) / path).parent.mkdir(exist_ok=True)
                (Path(folder) / path).write_bytes(data)
            if about:
                for path, target in LINKS.items():
                    (Path(folder) / path).symlink_to(target)
                for path, time in TIMES.items():
                    os.utime(Path(folder) / path, ns=(time, time), follow_symlinks=False)
            source = folder
        if model is None:
            sets.pack(source, file, chunk=chunk, mode="stored", threads=1, times=about)
        else:
            sets.pack(source, file, model=FOLDER / f"{model}.safetensors", scheme=name, chunk=chunk, threads=1, times=False)
    return file.getvalue()


def write_photo() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = FOLDER / "tiny.safetensors"
    model.write_bytes(FAMILIES[PHOTO].with_start_values(weight_file(CONFIG), [picture(48, 64, seed=seed) for seed in range(3)]))
    coder = models.load(model, threads=1, backend="reference")
    pictures = {}
    tuning.LEAST_POSITIONS = 0  # the golden picture is small
    for name, (height, width, channels, kind) in PICTURES.items():
        pixels = picture(height, width, channels, kind=kind)
        messages = [base64.b64encode(message).decode() for message in coder.encode(pixels, EFFORTS.get(name, 5)).messages]
        pictures[name] = {"shape": pixels.shape, "pixels": base64.b64encode(pixels.tobytes()).decode(), "messages": messages}
    for name, data in files(kept_picture(picture(*PICTURES["gray"][:3], kind=PICTURES["gray"][3])), coder).items():
        (FOLDER / f"{name}.vaez").write_bytes(data)
    for number in ConversionNumber:
        picture_ = kept_picture(converted_picture(number))
        source = vaez.picture_source(write_picture(picture_), picture_)
        (FOLDER / "converted" / f"{number}.vaez").write_bytes(container.pack(vaez.code(vaez.prepare(source), coder)))
    pinned = {name: digest(coder.encode(pinned_picture(*shape)).messages) for name, shape in PINNED.items()}
    (FOLDER / "messages.json").write_text(json.dumps({"pictures": pictures, "pinned": pinned}, indent=1) + "\n")


def write_sets() -> None:
    for name, config in MODELS.items():
        (FOLDER / f"{name}.safetensors").write_bytes(random_weights(config, name))
    for name in ARCHIVES:
        (FOLDER / f"{name}.vaeza").write_bytes(set_archive(name))


def write_stored() -> None:
    for name, kind in kept_kinds().items():
        (FOLDER / "kinds" / f"{name}.vaez").write_bytes(kept_file(*kind))
    (FOLDER / "profile.vaez").write_bytes(kept_file(profiled(), StoredMethod.ROWS_LZMA, Form.SAMPLES))
    for name, data in kept_rasters().items():
        picture = read_picture(data, any_kind=True)
        source = vaez.picture_source(data, picture)
        made = vaez.stored_container(source, StoredMethod.ROWS_LZMA, stored.encode_picture(StoredMethod.ROWS_LZMA, picture))
        (FOLDER / "kinds" / f"{name}.vaez").write_bytes(container.pack(made))
    (FOLDER / "writing.png.vaez").write_bytes(bbans.compress(written_png(), mode="stored").data)
    file = io.BytesIO()
    with Image.open(FOLDER / "photo-6.png") as photo:
        photo.crop((0, 0, 120, 90)).save(file, "JPEG", quality=95, comment=b"kept")
    (FOLDER / "jpeg.jpg.vaez").write_bytes(bbans.compress(file.getvalue(), mode="stored").data)


def write_default() -> None:
    data = bbans.compress((FOLDER / "photo-6.png").read_bytes(), mode="model").data
    for folder in (FOLDER, doctor.FOLDER):
        (folder / "photo-6.png.vaez").write_bytes(data)
    sets = [id for id, path in models.installed().items() if path.parent == SHIPPED and not family_of(models.read(id)).any_size]
    digests = {id: doctor.golden_digest(id) for id in sets}
    (doctor.FOLDER / doctor.SETS).write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    {"photo": write_photo, "sets": write_sets, "stored": write_stored, "default": write_default}[sys.argv[1]]()
