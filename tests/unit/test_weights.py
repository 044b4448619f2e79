"""Weight files: round trip, names and hashes, damage."""

import random
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bbans import models
from bbans.errors import ModelError, ModelMismatchError, ModelMissingError
from bbans.exact.network import to_tensors
from bbans.formats.tensors import pack_tensors
from bbans.models import store
from bbans.models import weights as module
from bbans.models.registry import FAMILIES
from bbans.models.weights import PHOTO
from tests.models import TINY, random_vae, weight_file, weights, write_weight_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed models that has the tiny one."""
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "none"))
    write_weight_file(tmp_path / "tiny.safetensors")
    return tmp_path


def test_round_trip(tmp_path: Path) -> None:
    path = write_weight_file(tmp_path / "any name")
    read, made = models.read(path), weights()
    assert (read.id, read.config, read.digest, read.hash) == ("tiny", asdict(TINY), made.digest, made.hash)
    assert read.layers.keys() == made.layers.keys()
    for name, layer in made.layers.items():
        assert read.layers[name].relu == layer.relu
        for part in ("weight", "bias", "exponent"):
            assert np.array_equal(getattr(read.layers[name], part), getattr(layer, part))
            assert getattr(read.layers[name], part).dtype == getattr(layer, part).dtype
    assert module.pack(read.id, read.config, read.digest, read.layers) == weight_file()


def test_fingerprint() -> None:
    """Pinned: files carry it."""
    assert module.fingerprint(b"").hex() == "e4a6a0577479b2b4"
    assert module.fingerprint(weight_file()) != module.fingerprint(weight_file(seed=1))


def test_installed(folder: Path) -> None:
    assert models.installed() == {"tiny": folder / "tiny.safetensors"}
    assert models.read("tiny").hash == weights().hash
    assert models.find("tiny", weights().hash).config == asdict(TINY)


@pytest.fixture
def user_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Beside the folder of installed models, one of the user's."""
    own = folder / "own"
    own.mkdir()
    monkeypatch.setenv("BBANS_MODELS", str(own))
    return own


def test_models_of_the_user(folder: Path, user_folder: Path) -> None:
    data = FAMILIES[PHOTO].export(random_vae(seed=2), "mine")
    (user_folder / "mine.safetensors").write_bytes(data)
    assert models.installed() == {"tiny": folder / "tiny.safetensors", "mine": user_folder / "mine.safetensors"}
    assert models.read("mine").hash == models.find("mine", module.fingerprint(data)).hash == module.fingerprint(data)


def test_two_files_of_one_id(folder: Path, user_folder: Path) -> None:
    """By id alone it is the one that is shipped; a file gets the one that it was written with."""
    write_weight_file(user_folder / "tiny.safetensors", seed=1)
    own, shipped = weights(seed=1).hash, weights().hash
    assert models.installed() == {"tiny": folder / "tiny.safetensors"}
    assert models.read("tiny").hash == models.find("tiny", shipped).hash == shipped
    assert models.find("tiny", own).hash == own
    with pytest.raises(ModelMismatchError, match=f"{bytes(8).hex()}.*{shipped.hex()}, {own.hex()}"):
        models.find("tiny", bytes(8))


def test_a_file_under_the_name_of_another_model(user_folder: Path) -> None:
    write_weight_file(user_folder / "other.safetensors")
    with pytest.raises(ModelError, match=r"other.safetensors holds the model 'tiny': .* called tiny.safetensors"):
        models.read("other")


@pytest.mark.parametrize(
    ("platform", "variable", "inside"),
    [
        ("linux", "XDG_DATA_HOME", "bbans/models"),
        ("linux", None, ".local/share/bbans/models"),
        ("darwin", None, "Library/Application Support/bbans/models"),
        ("win32", "LOCALAPPDATA", "bbans/models"),
        ("win32", None, "AppData/Local/bbans/models"),
    ],
)
def test_where_the_models_of_the_user_are(
    platform: str, variable: str | None, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.sys, "platform", platform)
    for name in ("BBANS_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable or "HOME", str(tmp_path))
    assert store.user_folder() == tmp_path / inside


def test_the_default_is_installed() -> None:
    assert models.DEFAULT_MODEL in models.installed()
    assert models.read().id == models.DEFAULT_MODEL


def test_missing(folder: Path) -> None:
    for name in (None, "other", folder / "no.safetensors", folder):
        with pytest.raises(ModelMissingError, match="tiny"):
            models.read(name)
    with pytest.raises(ModelMissingError, match="'other'.*0102.*tiny"):
        models.find("other", bytes([1, 2, 3, 4, 5, 6, 7, 8]))
    with pytest.raises(ModelMissingError):
        models.find("tiny", weights().hash, also=folder / "no.safetensors")


def test_mismatch(folder: Path) -> None:
    with pytest.raises(ModelMismatchError, match=f"{bytes(8).hex()}.*{weights().hash.hex()}"):
        models.find("tiny", bytes(8))
    other = write_weight_file(folder / "tiny.safetensors", seed=1)
    with pytest.raises(ModelMismatchError):
        models.find("tiny", weights().hash)
    with pytest.raises(ModelMismatchError):
        models.find("tiny", weights().hash, also=other)


def test_a_file_given_by_hand_counts_by_its_hash(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    moved = Path(shutil.move(folder / "tiny.safetensors", elsewhere / "renamed"))
    assert models.find("tiny", weights().hash, also=moved).hash == weights().hash


def usable(path: Path, every_backend: bool = False) -> bool:
    """Whether a file gives a codec. Any refusal but a ModelError is a failure of the test. The reference takes a second."""
    try:
        models.load(models.read(path), threads=1, backend=None if every_backend else "native")
    except ModelError:
        return False
    return True


def test_flips_in_the_header(tmp_path: Path) -> None:
    """Nothing but ModelError, and what still loads has another hash. All of the metadata, and some of the long list of tensors."""
    data, path = weight_file(), tmp_path / "damaged"
    size = 8 + int.from_bytes(data[:8], "little")
    rng = random.Random(0)
    places = [*range(400), *range(400, size, 37)]
    assert data.index(b'"digest') < 400
    refused = 0
    for number, at in enumerate(places):
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        refused += not usable(path, number % 50 == 0)
        with pytest.raises(ModelError):
            models.find("tiny", weights().hash, also=path)
    assert refused > 0.8 * len(places)


def test_flips_in_the_tensors(tmp_path: Path) -> None:
    """The hash finds every flip; the digest those that matter."""
    data, path = weight_file(), tmp_path / "damaged"
    start = 8 + int.from_bytes(data[:8], "little")
    rng = random.Random(0)
    for number in range(30):
        damaged = bytearray(data)
        damaged[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        usable(path, number % 10 == 0)
        with pytest.raises(ModelError):
            models.find("tiny", weights().hash, also=path)


def test_cut_short(tmp_path: Path) -> None:
    data, path = weight_file(), tmp_path / "cut"
    start = 8 + int.from_bytes(data[:8], "little")
    for size in (0, 1, 7, 8, 9, 100, start - 1, start, start + 1, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ModelError, match="cut is not a weight file"):
            models.read(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ModelError):
        models.read(path)


NO_MODEL = [None, "", "{", "[]", "3", '{"id": "tiny"}', '{"id": "", "config": 3, "digest": ""}', 9000 * "["]


@pytest.mark.parametrize("described", NO_MODEL)
def test_metadata_of_another_kind(tmp_path: Path, described: str | None) -> None:
    tensors = to_tensors(weights().layers)
    path = tmp_path / "foreign"
    path.write_bytes(pack_tensors(tensors, {} if described is None else {"bbans": described}))
    with pytest.raises(ModelError, match="foreign is not a weight file"):
        models.read(path)


def test_not_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ModelError, match="photo.png is not a weight file"):
        models.read(path)


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    path = write_weight_file(tmp_path / "tiny.safetensors")
    script = "import sys; from bbans import models; print(models.read(sys.argv[1]).id, 'torch' in sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", script, str(path)], text=True)
    assert output.split() == ["tiny", "False"]
