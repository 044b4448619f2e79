"""Between trained layers and integer ones: there and back, and staying within the bound of exactness."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bbans import models
from bbans.errors import ModelError
from bbans.exact.export import export_conv, export_layers, import_conv, import_layers, keep_exact
from bbans.exact.network import ACCUMULATOR_LIMIT, ACTIVATION_MAX, IntConv
from bbans.exact.qat import ACTIVATION_STEP, QConv, set_quantised
from bbans.models.photo.vae import PhotoVAE
from bbans.models.registry import FAMILIES
from tests.models import TINY, WITHOUT_LATENTS, picture, random_vae, weights, write_weight_file

PHOTOS = FAMILIES["photo"]


def assert_equal_layers(mine: dict[str, IntConv], theirs: dict[str, IntConv]) -> None:
    assert mine.keys() == theirs.keys()
    for name, layer in mine.items():
        for part in ("weight", "bias", "exponent"):
            assert np.array_equal(getattr(layer, part), getattr(theirs[name], part)), (name, part)
        assert layer.relu == theirs[name].relu


@pytest.mark.parametrize("model", [None, "photo-6"])
def test_import_and_export_give_equal_integers(model: str | None) -> None:
    given = weights() if model is None else models.read(model)
    imported = PHOTOS.import_(given)
    assert_equal_layers(export_layers(imported), given.layers)


def test_export_and_import_give_the_same_network() -> None:
    """Rounded weights are on the grid already: what comes back computes the same, to the last bit when rounding is on."""
    model = random_vae()
    again = PhotoVAE(TINY)
    import_layers(again, export_layers(model))
    set_quantised(again, True)
    x, noise = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None], torch.full((1, 10), 0.3)
    with torch.no_grad():
        assert torch.equal(model(x, noise).likelihood(), again(x, noise).likelihood())
        assert torch.equal(model(x, noise).kl(), again(x, noise).kl())


def test_a_model_in_any_memory_format_gives_the_same_file(tmp_path: Path) -> None:
    model = random_vae()
    expected = write_weight_file(tmp_path / "tiny.safetensors").read_bytes()
    assert PHOTOS.export(model, "tiny") == expected
    assert PHOTOS.export(model.to(memory_format=torch.channels_last), "tiny") == expected  # type: ignore[call-overload]


def test_weights_of_another_model() -> None:
    with pytest.raises(ModelError, match="do not fit the model: .*posterior_in"):
        import_layers(PhotoVAE(TINY), weights(WITHOUT_LATENTS).layers)
    layers = dict(weights().layers)
    layers["first"] = layers["inject.0"]
    with pytest.raises(ModelError, match="first: a layer of shape"):
        import_layers(PhotoVAE(TINY), layers)
    foreign = models.Weights("other", b"", {"depth": 3}, "", {})
    with pytest.raises(ModelError, match="'other' is of another architecture"):
        PHOTOS.import_(foreign)
    with pytest.raises(ModelError):
        import_conv(QConv(2, 3, 3, variants=2), export_conv(QConv(2, 3, 3)))


def test_weights_beyond_the_exact_range_are_projected_onto_it() -> None:
    """Only the channels that break the bound change, by equal amounts, and as little as that takes."""
    torch.manual_seed(0)
    conv = QConv(300, 3, 3)
    with torch.no_grad():
        conv.weight[0] = torch.rand(300, 3, 3) * 0.2 + 0.8
        conv.weight[2].abs_()
    before = conv.weight.detach().clone()
    with pytest.raises(ModelError, match="channel 0"):
        export_conv(conv)
    assert keep_exact(torch.nn.Sequential(conv)) == ["0"]
    layer = export_conv(conv)
    reach = np.abs(layer.weight.astype(int)).sum((1, 2, 3)) * ACTIVATION_MAX
    assert 0.9 * ACCUMULATOR_LIMIT < reach[0] < ACCUMULATOR_LIMIT
    assert torch.equal(conv.weight[1:], before[1:])
    kept = conv.weight[0] > 0
    shrunk = (before[0] - conv.weight[0])[kept]
    assert shrunk.max() - shrunk.min() < 1e-6
    assert kept.any() and (before[0][~kept] <= shrunk.max() + 1e-6).all()
    assert keep_exact(torch.nn.Sequential(conv)) == []


def test_weights_and_biases_go_to_the_nearest_integers() -> None:
    torch.manual_seed(0)
    conv = QConv(5, 40, 3)
    with torch.no_grad():
        conv.bias.normal_()
    layer = export_conv(conv)
    unit = 2.0 ** layer.exponent.astype(float)
    assert np.array_equal(layer.weight, np.rint(conv.weight.detach().double().numpy() * unit[:, None, None, None]))
    assert np.array_equal(layer.bias, np.rint(conv.bias.detach().double().numpy() / ACTIVATION_STEP * unit))


def test_a_bias_beyond_the_exact_range_is_an_error() -> None:
    conv = QConv(2, 3, 3)
    with torch.no_grad():
        conv.bias[0, 1] = 1e7
    with pytest.raises(ModelError, match="0: the bias of channel 1 is out of the range"):
        keep_exact(torch.nn.Sequential(conv))
