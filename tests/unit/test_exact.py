"""Integer layers: every backend and variant against plain integer loops, the bound of exactness, export from training."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from bbans.errors import CorruptDataError, ModelError
from bbans.exact.backends import BACKENDS, LAYERS, Cuda, Layer, layer_class
from bbans.exact.export import export_conv, export_layers
from bbans.exact.network import ACCUMULATOR_LIMIT, ACTIVATION_MAX, IntConv, from_tensors, to_tensors
from bbans.exact.qat import ACTIVATION_STEP, REVIVAL, QConv, activation, pool, round_ste, set_quantised, weight_exponents
from tests.arithmetic import ARITHMETICS, maker
from tests.models import random_vae

Make = Callable[[IntConv], Layer]


@pytest.fixture(params=ARITHMETICS)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """What makes a layer of an arithmetic."""
    return maker(request.param, monkeypatch)


def reference(layer: IntConv, x: np.ndarray, skip: np.ndarray | None, variant: int) -> np.ndarray:
    """The accumulators of a head, or the activations of a relu layer, in int64. Shapes: x (C_in, H, W), skip (C_out, H', W')."""
    c_out, c_in, k, _ = layer.weight.shape
    height, width = x.shape[1] - k + 1, x.shape[2] - k + 1
    total = np.zeros((c_out, height, width), np.int64)
    for out in range(c_out):
        total[out] += int(layer.bias[variant, out])
        for c in range(c_in):
            for dy in range(k):
                for dx in range(k):
                    total[out] += int(layer.weight[out, c, dy, dx]) * x[c, dy : dy + height, dx : dx + width]
        e = int(layer.exponent[out])
        if skip is not None:
            total[out] += skip[out] << e
        if layer.relu:
            floor = total[out] >> e
            rest, half = total[out] - (floor << e), (1 << e) >> 1
            up = (rest > half) | ((rest == half) & (floor & 1 == 1)) if e else np.zeros_like(floor, bool)
            total[out] = np.clip(floor + up, 0, ACTIVATION_MAX)
    return total


def activations(a: np.ndarray) -> np.ndarray:
    """Integers (C, H, W) as layers take them: channels last, a part of something larger, as tiles are."""
    channels, height, width = a.shape
    around = np.full((1, height + 3, width + 5, channels), 99, np.uint8)
    inside = around[:, 2:-1, 1:-4]
    inside[0] = a.transpose(1, 2, 0)
    return inside


def run(make: Make, layer: IntConv, x: np.ndarray, skip: np.ndarray | None, variant: int) -> np.ndarray:
    """What a layer computes, as `reference` has it."""
    made = make(layer)
    if layer.relu:
        y = made(activations(x), None if skip is None else activations(skip), variant)
        assert y.dtype == np.uint8
    else:
        y = made.sums(activations(x))
        assert y.dtype == np.int32
    return y[0].transpose(2, 0, 1).astype(np.int64)


def random_layer(rng: np.random.Generator, c_in: int, c_out: int, k: int, relu: bool, exponents: np.ndarray) -> IntConv:
    weight = rng.integers(-127, 128, (c_out, c_in, k, k)).astype(np.int8)
    bias = rng.integers(-(1 << 12), 1 << 12, (3, c_out)).astype(np.int32)
    return IntConv(weight, bias, exponents.astype(np.int8), relu)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("k", "c_in", "c_out"), [(1, 5, 7), (3, 4, 6), (3, 16, 16), (1, 1, 1), (3, 6, 64), (1, 72, 36), (5, 3, 2)])
def test_backends_compute_the_integers(make: Make, relu: bool, k: int, c_in: int, c_out: int) -> None:
    rng = np.random.default_rng((k, c_in, c_out))
    for exponents in (np.zeros(c_out), np.full(c_out, 15), rng.integers(0, 16, c_out), rng.integers(6, 10, c_out)):
        layer = random_layer(rng, c_in, c_out, k, relu, exponents)
        x = rng.integers(0, 128, (c_in, 9, 7 + k))
        skip = rng.integers(0, 128, (c_out, 10 - k, 8)) if relu else None
        for variant in range(3 if relu else 1):
            for given in (skip, None):
                expected = reference(layer, x, given, variant)
                assert np.array_equal(run(make, layer, x, given, variant), expected)


def test_halves_are_rounded_to_even(make: Make) -> None:
    """0.5, 1.5, 2.5 and 3.5 become 0, 2, 2, 4, and what is not half is rounded as usual."""
    layer = IntConv(np.ones((1, 1, 1, 1), np.int8), np.zeros((1, 1), np.int32), np.array([2], np.int8), relu=True)
    x = np.array([[[1, 2, 3, 6, 10, 14, 11, 127]]])
    assert run(make, layer, x, None, 0).tolist() == [[[0, 0, 1, 2, 2, 4, 3, 32]]]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_accumulators_are_exact(make: Make, sign: int) -> None:
    """All weights and activations at their ends and the bias one below the bound: 2**24 - 1 is reached, and is odd."""
    reach = 64 * 9 * 127 * 127 + (127 << 15)
    bias = ACCUMULATOR_LIMIT - 1 - reach
    weight = np.full((1, 64, 3, 3), sign * 127, np.int8)
    layer = IntConv(weight, np.full((1, 1), sign * bias, np.int32), np.array([15], np.int8), relu=False)
    x = np.full((64, 16, 16), 127)
    x[3, 5, 5] = 126
    y = run(make, layer, x, None, 0)
    assert np.array_equal(y, reference(layer, x, None, 0))
    assert abs(y[0, -1, -1]) == 64 * 9 * 127 * 127 + bias
    with pytest.raises(ModelError, match="2\\*\\*24"):
        IntConv(weight, layer.bias + np.int32(sign), layer.exponent, relu=False)


@pytest.mark.parametrize("exponent", [0, 1, 2, 8, 15])
def test_sums_are_rounded_and_clamped(make: Make, exponent: int) -> None:
    """Every half from below zero to beyond a byte, what lies beside it, and the largest sums, by a channel's bias each."""
    halves = (np.arange(-130, 300) << exponent) + ((1 << exponent) >> 1)
    largest = ACCUMULATOR_LIMIT - 1 - 127 * 127 - (127 << exponent)
    bias = np.concatenate([halves - 1, halves, halves + 1, [-largest, largest]])
    weight = np.resize(np.array([1, -1, 127, -127], np.int8), (bias.size, 1, 1, 1))
    layer = IntConv(weight, bias.astype(np.int32)[None], np.full(bias.size, exponent, np.int8), relu=True)
    x = np.array([[[0, 1, 0, 127, 127, 2]]])
    skip = np.tile(np.array([[[0, 1, 127, 126, 127, 3]]]), (bias.size, 1, 1))
    for given in (None, skip):
        expected = reference(layer, x, given, 0)
        assert set(expected.flat) == set(range(ACTIVATION_MAX + 1))
        assert np.array_equal(run(make, layer, x, given, 0), expected)


@pytest.mark.parametrize("signs", ["+", "-", "+-"])
def test_pairs_of_extreme_products_do_not_saturate(make: Make, signs: str) -> None:
    """Processors without VNNI add pairs of products in 16 bits: 2 * 127 * 127 is within, by the ranges of the contract."""
    weight = np.resize(np.array([{"+": 127, "-": -127}[sign] for sign in signs], np.int8), (8, 64, 3, 3))
    for exponent, relu in ((0, True), (15, True), (0, False), (15, False)):
        layer = IntConv(weight, np.zeros((1, 8), np.int32), np.full(8, exponent, np.int8), relu)
        x, skip = np.full((64, 9, 9), 127), np.full((8, 7, 7), 127) if relu else None
        assert np.array_equal(run(make, layer, x, skip, 0), reference(layer, x, skip, 0))


def test_threads_share_a_layer_and_inputs_are_left_alone(make: Make) -> None:
    rng = np.random.default_rng(2)
    layer = random_layer(rng, 16, 16, 3, True, np.full(16, 9))
    made = make(layer)
    x, skip = rng.integers(0, 128, (16, 40, 40)), rng.integers(0, 128, (16, 38, 38))
    inputs, parts = [activations(x)], [activations(skip)]
    for arrays in (inputs, parts):
        arrays.append(arrays[0].copy())  # nothing around it: it might be added to in place
        for array in arrays:
            array.flags.writeable = False
    expected = reference(layer, x, skip, 0).transpose(1, 2, 0)

    def work(index: int) -> bool:
        return np.array_equal(made(inputs[index % 2], parts[index // 2 % 2])[0], expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(40)))
    for arrays, values in ((inputs, x), (parts, skip)):
        assert all(np.array_equal(array[0].transpose(2, 0, 1), values) for array in arrays)


@pytest.mark.parametrize("exponents", [[0, 0, 0], [15, 15, 15], [0, 1, 9]])
def test_outputs_of_a_head(make: Make, exponents: list[int]) -> None:
    """Sums times a factor of each channel, in units of 1, halves to the even number."""
    rng = np.random.default_rng(7)
    layer = random_layer(rng, 2, 3, 1, False, np.array(exponents))
    x, factors = rng.integers(0, 128, (2, 30, 40)), np.array([64, 1, 4])
    sums = reference(layer, x, None, 0)
    y = make(layer).head(activations(x), factors)[0]
    assert y.dtype == np.int64
    for channel, exponent in enumerate(exponents):
        expected = [round(Fraction(int(value) * int(factors[channel]), 1 << exponent)) for value in sums[channel].flat]
        assert y[..., channel].ravel().tolist() == expected


def test_a_gpu_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match=r"'cuda' needs torch: pip install 'bbans\[train\]'"):
        LAYERS["cuda"](IntConv(**parts(), relu=True))


def test_nothing_is_rounded_by_a_callers_autocast() -> None:
    rng = np.random.default_rng(4)
    layer = random_layer(rng, 16, 16, 3, False, np.zeros(16))
    x = rng.integers(0, 128, (16, 9, 9))
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert np.array_equal(run(partial(Cuda, device="cpu"), layer, x, None, 0), reference(layer, x, None, 0))


def test_a_backend_that_there_is_not() -> None:
    assert layer_class("reference") is LAYERS["reference"]
    assert set(LAYERS) >= {*BACKENDS["cpu"], *BACKENDS["cuda"]}
    with pytest.raises(ModelError, match="no backend 'int4'"):
        layer_class("int4")


def parts(**changes: np.ndarray) -> dict[str, np.ndarray]:
    given = {"weight": np.ones((2, 3, 3, 3), np.int8), "bias": np.zeros((1, 2), np.int32), "exponent": np.zeros(2, np.int8)}
    return given | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": np.ones((2, 3, 3), np.int8)},
        {"weight": np.array(1, np.int8)},
        {"weight": np.ones((2, 3, 3, 1), np.int8)},
        {"weight": np.ones((2, 3, 2, 2), np.int8)},
        {"weight": np.ones((3, 3, 3, 3), np.int8)},
        {"weight": np.ones((2, 0, 3, 3), np.int8)},
        {"weight": np.full((2, 3, 3, 3), -128, np.int8)},
        {"bias": np.zeros(2, np.int32)},
        {"bias": np.zeros((1, 3), np.int32)},
        {"bias": np.zeros((0, 2), np.int32)},
        {"exponent": np.zeros(3, np.int8)},
        {"exponent": np.array([0, 16], np.int8)},
        {"exponent": np.array([0, -1], np.int8)},
    ],
)
def test_layers_that_are_none(changes: dict[str, np.ndarray]) -> None:
    IntConv(**parts(), relu=True)
    with pytest.raises(ModelError):
        IntConv(**parts(**changes), relu=True)


def test_tensors_and_back() -> None:
    rng = np.random.default_rng(5)
    layers = {name: random_layer(rng, 3, 4, 3, name == "a.b", rng.integers(0, 16, 4)) for name in ("a.b", "a.c")}
    again = from_tensors(to_tensors(layers))
    assert again.keys() == layers.keys()
    for name, layer in layers.items():
        assert again[name].relu == layer.relu
        for part in ("weight", "bias", "exponent"):
            assert np.array_equal(getattr(again[name], part), getattr(layer, part))


@pytest.mark.parametrize("part", ["weight", "bias", "exponent", "relu"])
def test_tensors_that_are_no_layers(part: str) -> None:
    tensors = to_tensors({"a": IntConv(**parts(), relu=True)})
    with pytest.raises(CorruptDataError):
        from_tensors({key: value for key, value in tensors.items() if key != f"a.{part}"})
    for value in (tensors[f"a.{part}"].astype(np.float32), tensors[f"a.{part}"].astype(np.int16), np.array([], np.uint8)):
        with pytest.raises((CorruptDataError, ModelError)):
            from_tensors(tensors | {f"a.{part}": value})


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("kernel", "centred"), [(1, 0), (1, 3), (3, 0), (3, 3)])
def test_export_computes_what_training_did(kernel: int, centred: int, relu: bool) -> None:
    """A quantised layer's outputs, exactly: the centre folded into the bias, the border beyond zero."""
    torch.manual_seed(3)
    conv = QConv(6, 9, kernel, centre=64, centred=centred, variants=2, relu=relu)
    with torch.no_grad():
        conv.weight[0] = 0  # exponent at its largest
        conv.weight[1] *= 3000  # exponent at its smallest, the weight clamped
        conv.bias.copy_(torch.randint(-40, 40, conv.bias.shape) * ACTIVATION_STEP)
    set_quantised(conv, True)
    layer = export_conv(conv)
    assert layer.relu == relu
    assert layer.exponent.max() == 15
    assert layer.exponent.min() == 0
    rng = np.random.default_rng(1)
    x = rng.integers(0, 128, (6, 8, 11))
    skip = rng.integers(0, 128, (9, 8, 11)) if relu else None
    margin = kernel // 2
    padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    for variant in (0, 1):
        conv.double()
        given = None if skip is None else torch.from_numpy(skip)[None] * ACTIVATION_STEP
        with torch.no_grad():
            y = conv(torch.from_numpy(x)[None].double() * ACTIVATION_STEP, given, variant)[0].numpy() / ACTIVATION_STEP
        expected = reference(layer, padded, skip, variant)
        scale = 1.0 if relu else 2.0 ** -layer.exponent.astype(np.float64)[:, None, None]
        assert np.array_equal(y, expected * scale)


def test_export_of_a_model_names_its_layers() -> None:
    model = random_vae()
    layers = export_layers(model)
    assert {name for name, module in model.named_modules() if isinstance(module, QConv)} == layers.keys()
    assert not layers["out.0"].relu
    assert layers["first"].bias.shape == (4, 16)


def test_export_refuses_what_floats_cannot_add_up() -> None:
    conv = QConv(900, 1, 3)
    with torch.no_grad():
        conv.weight.fill_(0.9)
    assert conv.weight[0].numel() * 115 * 127 > ACCUMULATOR_LIMIT
    with pytest.raises(ModelError, match="channel 0"):
        export_conv(conv)


def test_weight_exponents() -> None:
    largest = torch.tensor([127.0, 127.5, 63.5, 63.6, 1.0, 0.0, 300.0])
    weight = (largest * torch.tensor([1, -1, 1, -1, 1, 1, 1])).view(-1, 1, 1, 1)
    assert weight_exponents(weight).tolist() == [0, 0, 1, 0, 6, 15, 0]


def test_activations_are_rounded_to_even_and_clamped() -> None:
    x = torch.tensor([-1.0, 0.5, 1.5, 2.5, 2.6, 126.5, 127.4, 300.0]) * ACTIVATION_STEP
    assert (activation(x, True) / ACTIVATION_STEP).tolist() == [0, 0, 2, 2, 3, 126, 127, 127]
    assert activation(x, False).tolist() == x.clamp(0, 127 * ACTIVATION_STEP).tolist()


@pytest.mark.parametrize("quantised", [True, False])
@pytest.mark.parametrize(("pull", "expected"), [(1, [0, 1, 1, 1]), (-1, [-REVIVAL, -1, -1, 0])], ids=["down", "up"])
def test_gradients_pass_the_rounding(quantised: bool, pull: int, expected: list[float]) -> None:
    """As if there were none inside the range; from outside only those that pull back into it."""
    x = torch.tensor([-1.0, 0.3, 3.3, 9.0], requires_grad=True)
    (pull * activation(x, quantised)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx(expected)


def test_gradients_pass_a_rounding_to_integers() -> None:
    y = torch.tensor([0.4, 2.5], requires_grad=True)
    rounded = round_ste(y)
    (rounded * torch.tensor([3.0, 5.0])).sum().backward()
    assert rounded.tolist() == [0, 2]
    assert y.grad is not None
    assert y.grad.tolist() == [3, 5]


def test_gradients_reach_weights_through_their_grid() -> None:
    torch.manual_seed(0)
    conv = QConv(2, 3, 3, relu=False)
    x = torch.rand(1, 2, 5, 5)
    grads = []
    for quantised in (False, True):
        set_quantised(conv, quantised)
        conv.zero_grad()
        conv(x).sum().backward()
        assert conv.weight.grad is not None
        grads.append(conv.weight.grad.clone())
    assert torch.equal(grads[0], grads[1])
    assert grads[0].abs().min() > 0


def test_pooling_sums_blocks_and_counts_zero_outside() -> None:
    x = torch.arange(2 * 5 * 7).view(1, 2, 5, 7) % 128 * ACTIVATION_STEP
    pooled = pool(x, 4, 2, quantised=True)
    assert pooled.shape == (1, 2, 2, 2)
    corner = (x[0, 1, 4:, 4:] / ACTIVATION_STEP).sum().item() / 4
    assert pooled[0, 1, 1, 1].item() / ACTIVATION_STEP == min(127, round(corner))
