"""Families of models: the rows of this package, and those of other packages, from training to files and back."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bbans
from bbans import models, sets
from bbans.errors import ModelError
from bbans.images.picture import read_picture
from bbans.models import registry
from bbans.models.markov.config import MarkovConfig
from bbans.models.registry import FAMILIES, families, family_of
from bbans.models.topdown.config import TopDownConfig
from tests.models import TINY, weights
from tests.toys import FLAT, MEANS, SCHEME, FlatConfig, MeanConfig

MEAN = MeanConfig(height=5, width=4, symbols=2)


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BBANS_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Install a package that has these entry points."""

    def installing(*points: str) -> None:
        folder = tmp_path_factory.mktemp("site")
        info = folder / "toys-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[bbans.models]", *points, ""]))
        monkeypatch.syspath_prepend(folder)
        families.cache_clear()

    yield installing
    monkeypatch.undo()
    families.cache_clear()


def test_every_part_of_a_row_is_there() -> None:
    for name, family in FAMILIES.items():
        assert family.name == name
        for part in (family.config, family.vae, family.network, family.codec, family.widen, family.elbo):
            assert part is None or callable(registry._load(part))
        assert family.widened <= family.sizes().keys()


def test_sizes_that_a_user_chooses() -> None:
    assert FAMILIES["photo"].sizes() == {name: getattr(type(TINY)(), name) for name in TINY.__dataclass_fields__}
    assert FAMILIES["markov"].sizes() == {"components": 5, "latents": (40,), "hidden": (100,)}
    decided = {"height", "width", "channels", "symbols"}
    assert FAMILIES["topdown"].sizes().keys() == TopDownConfig.__dataclass_fields__.keys() - decided


def test_which_take_pictures_of_any_size() -> None:
    assert {name for name, family in FAMILIES.items() if family.any_size} == {"photo"}
    with pytest.raises(ModelError, match="'mnist-paper-1' is not for pictures of any size"):
        models.load("mnist-paper-1")
    with pytest.raises(ModelError, match="'photo-6' is not for sets of images"):
        models.load_set("photo-6")


def test_models_that_keep_their_sizes() -> None:
    photo = FAMILIES["photo"]
    assert photo.make(TINY, weights()).config == TINY
    with pytest.raises(ModelError, match="'tiny' has other sizes, and models of the family 'photo' keep theirs"):
        photo.make(replace(TINY, width=8), weights())
    with pytest.raises(ModelError, match="'tiny' is of the family 'photo', not 'markov'"):
        FAMILIES["markov"].make(MarkovConfig(), weights())


def test_a_family_that_is_not_installed() -> None:
    with pytest.raises(ModelError, match="'tiny' is of the family 'means', which is not installed .photo, markov, topdown."):
        family_of(replace(weights(), architecture="means"))


def test_a_family_for_sets_of_another_package(install: object, user_folder: Path) -> None:
    """Exported, put into the user's folder, chosen by `pack`, and found again by the archive."""
    install("means = tests.toys:MEANS")  # type: ignore[operator]
    model = MEANS.make(MEAN)
    with torch.no_grad():
        model.out.weight.zero_()
        model.out.bias.fill_(-3)
    (user_folder / "means-1.safetensors").write_bytes(MEANS.export(model, "means-1"))
    weights = models.read("means-1")
    assert family_of(weights) is families()["means"] and families()["means"].sizes().keys() == {"components", "extra"}
    images = (np.random.default_rng(0).random((300, *MEAN.shape)) < 0.05).astype(np.uint8)
    codec = models.load_set("means-1", threads=1)
    encoded = codec.encode(images, 100)
    assert np.array_equal(codec.decode(encoded.messages, [100, 100, 100]), images)
    [scheme] = families()["means"].schemes(weights)
    assert codec.scheme == scheme == SCHEME
    draws = families()["means"].draw(families()["means"].load_network(weights), images, 2)
    assert draws.neg_elbo.sum() == pytest.approx(encoded.accounting.likelihood_bits, rel=0.001)
    with torch.no_grad():
        trained = model(torch.from_numpy(images).permute(0, 3, 1, 2), torch.empty(300, 0))
    assert trained.likelihood().sum().item() == pytest.approx(draws.neg_elbo.sum(), rel=0.05)  # not quantised
    file = io.BytesIO()
    packed = sets.pack(images, file, threads=1)
    assert [group.model.id for group in packed.archive.groups if group.model] == ["means-1"]
    assert np.array_equal(sets.ArchiveReader(file, threads=1).array(), images)


def test_a_family_for_pictures_of_another_package(install: object, tmp_path: Path, tiny_png: bytes) -> None:
    install("flat = tests.toys:FLAT")  # type: ignore[operator]
    path = tmp_path / "flat-1.safetensors"
    path.write_bytes(FLAT.export(FLAT.make(FlatConfig()), "flat-1"))
    assert FLAT.any_size and family_of(models.read(path)) is families()["flat"]
    packed = bbans.compress(tiny_png, mode="model", model=str(path), threads=1)
    assert packed.info.model == "flat-1" and packed.info.accounting is not None
    assert packed.info.accounting.likelihood_bits == 8 * 5 * 3 * 3
    restored = bbans.decompress(packed.data, model=str(path), threads=1)
    assert read_picture(restored.data) == read_picture(tiny_png)
    with pytest.raises(ModelError, match="cannot tell its negative ELBO"):
        FLAT.draw(None, [], 1)


def test_entry_points_that_cannot_be_used(install: object) -> None:
    points = ["missing = no_such_module:FAMILY", "wrong = os:sep", "clash = tests.toys:CLASH", "means = tests.toys:MEANS"]
    install(*points)  # type: ignore[operator]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert families() == FAMILIES | {"means": MEANS}
    reasons = sorted(str(warning.message) for warning in caught)
    assert len(reasons) == 3
    assert "'clash' of bbans.models is left out: there is a family 'markov' already" in reasons[0]
    assert "'missing'" in reasons[1] and "no_such_module" in reasons[1]
    assert "'wrong' of bbans.models is left out: it is str, not a Family" in reasons[2]


def test_what_is_shipped_needs_no_entry_points(install: object) -> None:
    """A broken package of another must not stand in the way of files of this one."""
    install("missing = no_such_module:FAMILY")  # type: ignore[operator]
    assert family_of(weights()) is FAMILIES["photo"]
