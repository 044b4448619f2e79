"""Write the golden files of the photo model anew: ``python -m tests.make_golden``, from the root of the repository.

Only for a deliberate change of the format, with a line under "Format" in the CHANGELOG. Files of users no longer decode then.

``tiny.safetensors`` is a model with random weights, ``messages.json`` pictures with their messages (base64), and the SHA-256 of the
messages of pictures that are too large to keep, made by ``pinned_picture``. The ``.vaez`` files hold the gray one of the pictures,
as a PNG with a text, by the model and by each method of the stored fallback.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bbans import api, chunks, container, image, models, stored
from bbans.models.photo_layout import PhotoConfig
from tests.models import picture, weight_file

FOLDER = Path(__file__).parent / "data" / "golden"
CONFIG = PhotoConfig(width=8, blocks=1, carried=2, head=8, components=2, latents=2, latent_width=4)
PICTURES = {"colours": (41, 66, 3, "photo"), "gray": (40, 35, 1, "photo"), "noise": (9, 5, 3, "noise"), "pixel": (1, 1, 3, "noise")}
PINNED = {"regions": (16, 1600, 3), "strips": (640, 640, 1)}


def pinned_picture(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """(height, width, channels), by integers alone."""
    y, x, c = np.ogrid[:height, :width, :channels]
    return ((y * y // 60 + 2 * x + (x * y >> 7) % 9 + 40 * c) % 256).astype(np.uint8)


def digest(messages: Sequence[bytes]) -> str:
    """SHA-256 over the lengths and bytes of messages."""
    return hashlib.sha256(b"".join(len(message).to_bytes(8, "little") + message for message in messages)).hexdigest()


def kept_picture(pixels: NDArray[np.uint8]) -> image.Picture:
    """What the ``.vaez`` files give back."""
    return image.Picture(pixels, "PNG", chunks.pack([(b"tEXt", b"Comment\0kept")], [], b"IDAT"))


def files(picture: image.Picture, coder: models.PhotoCodec) -> dict[str, bytes]:
    """A ``.vaez`` file of the picture in each way, whichever is the smallest, by name."""
    data = image.write(picture)
    source = api._source(data, picture)
    payloads = {
        stored.Method.FILE: stored._crc(data) + data,
        stored.Method.FILE_LZMA: stored._encode_file(data),
        stored.Method.WEBP: stored._encode_picture(picture, stored._encode_webp(picture.pixels)),
        stored.Method.LZMA: stored._encode_picture(picture, stored._encode_rows(picture.pixels)),
    }
    made = {"model": container.pack(api._code(source, picture, coder))}
    for method, payload in payloads.items():
        content = picture.pixels if method in (stored.Method.WEBP, stored.Method.LZMA) else data
        sections = (container.Section(container.SectionKind.PAYLOAD, payload),)
        mode = container.Mode.STORED
        packed = api._container(source, mode=mode, method=method, content=content, model=None, sections=sections)
        made[method.name.lower()] = container.pack(packed)
    return made


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = FOLDER / "tiny.safetensors"
    model.write_bytes(weight_file(CONFIG))
    coder = models.load(model, threads=1, backend="reference")
    pictures = {}
    for name, (height, width, channels, kind) in PICTURES.items():
        pixels = picture(height, width, channels, kind=kind)
        messages = [base64.b64encode(message).decode() for message in coder.encode(pixels).messages]
        pictures[name] = {"shape": pixels.shape, "pixels": base64.b64encode(pixels.tobytes()).decode(), "messages": messages}
    for name, data in files(kept_picture(picture(*PICTURES["gray"][:3], kind=PICTURES["gray"][3])), coder).items():
        (FOLDER / f"{name}.vaez").write_bytes(data)
    pinned = {name: digest(coder.encode(pinned_picture(*shape)).messages) for name, shape in PINNED.items()}
    (FOLDER / "messages.json").write_text(json.dumps({"pictures": pictures, "pinned": pinned}, indent=1) + "\n")


if __name__ == "__main__":
    main()
