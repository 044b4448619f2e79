"""Interoperation with craystack: words that it produced for fixed inputs, and the adapter with it when it is importable.

`data/craystack_words.json` holds inputs and words. It was made by craystack itself (commit in the file), with

    python -m tests.unit.test_craystack COMMIT

where craystack is importable; only `generate` below uses it.
"""

import json
import pathlib
import sys

import numpy as np
import pytest

from bbans import tables
from bbans.ans import Message
from bbans.codecs import Codec, categorical, logistic, uniform
from bbans.combinators import repeat
from bbans.craystack import codec_from_craystack, codec_to_craystack, from_craystack, load, to_craystack
from bbans.errors import CorruptDataError
from tests.checks import check_codec
from tests.reference.distributions import logistic_start

DATA = pathlib.Path(__file__).parents[1] / "data" / "craystack_words.json"


def our_codec(case):
    """The array codec of a case: all rows of symbols, one symbol for each lane in a row."""
    shape = np.shape(case["symbols"])
    if case["kind"] == "uniform":
        return uniform(1 << case["precision"], shape)
    if case["kind"] == "categorical":
        return categorical(case["freqs"], shape)
    return logistic(case["means"], case["scale_indices"], case["n"])


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("kind", ["uniform", "categorical", "logistic"])
def test_words_of_craystack(kind, lanes):
    case = json.loads(DATA.read_text())["cases"][f"{kind}, {lanes} lanes"]
    codec = our_codec(case)
    start = Message.from_words(case["start"], lanes)
    message = codec.push(start.copy(), case["symbols"])
    assert message.to_words().tolist() == case["words"]
    assert message.size >= start.size + lanes
    message, symbols = codec.pop(Message.from_words(case["words"], lanes))
    assert symbols.tolist() == case["symbols"]
    assert message == start


def test_containers():
    message = Message.random(np.random.default_rng(0), 5, 2)
    head, tail = to_craystack(message)
    assert np.array_equal(np.concatenate([head >> 32, head & 0xFFFFFFFF, tail[0]]), message.to_words())
    assert from_craystack((head.reshape(2, 1), (tail[0][:2], (tail[0][2:], ())))) == message
    assert to_craystack(Message.empty())[1] == ()
    assert from_craystack(to_craystack(Message.empty())).is_initial()


def test_their_view_of_our_codecs():
    """Our codecs keep craystack's protocol and the shape of its heads."""
    push, pop = codec_to_craystack(uniform(256, (6,)))
    state = (np.full((2, 3), 1 << 40, np.uint64), ())
    (pushed,) = push(state, np.arange(6))
    assert pushed[0].shape == (2, 3)
    popped, symbols = pop(pushed)
    assert symbols.tolist() == list(range(6))
    assert np.array_equal(popped[0], state[0])
    assert popped[1] == ()


def test_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "craystack", None)
    with pytest.raises(ImportError, match="no package registry.*git clone.*pip install -e"):
        load()


# With craystack itself.


@pytest.fixture
def craystack():
    return pytest.importorskip("craystack", reason="craystack is on no package registry", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore")
def test_its_codecs_on_our_messages(craystack):
    rng = np.random.default_rng(0)
    flat = codec_from_craystack(craystack.Uniform(12))
    check_codec(flat, rng.integers(0, 1 << 12, 3, np.uint64), 3)
    square = codec_from_craystack(craystack.repeat(craystack.Bernoulli(0.2, 14), 50), (2, 2))
    check_codec(square, list(rng.integers(0, 2, (50, 2, 2), np.uint64)), 4)
    probabilities = rng.dirichlet(np.ones(7), 3)
    check_codec(codec_from_craystack(craystack.Categorical(probabilities, 20)), rng.integers(0, 7, 3), 3)


@pytest.mark.filterwarnings("ignore")
def test_mixed_company(craystack):
    """One message, theirs and ours in turns, is the message of either alone."""
    symbols = np.arange(40, dtype=np.uint64).reshape(10, 4)
    mixed, alone = Message.empty(4), craystack.base_message((4,))
    for row, codec in zip(symbols, [codec_from_craystack(craystack.Uniform(12)), uniform(1 << 12, (4,))] * 5, strict=True):
        mixed = codec.push(mixed, row)
        (alone,) = craystack.Uniform(12).push(alone, row)
    assert mixed.to_words().tolist() == craystack.rans.flatten(alone).tolist()
    state = to_craystack(mixed)
    for row in symbols[::-1]:
        state, popped = craystack.Uniform(12).pop(state)
        assert popped.tolist() == row.tolist()


@pytest.mark.filterwarnings("ignore")
def test_our_codecs_inside_theirs(craystack):
    codec = craystack.repeat(codec_to_craystack(logistic([64, 128], [30, 40], 4)), 20)
    symbols = list(np.random.default_rng(0).integers(0, 4, (20, 2)))
    (state,) = codec.push(craystack.base_message((2,)), symbols)
    ours_alone = repeat(logistic([64, 128], [30, 40], 4), 20).push(Message.empty(2), symbols)
    assert craystack.rans.flatten(state).tolist() == ours_alone.to_words().tolist()
    state, popped = codec.pop(state)
    assert np.array_equal(popped, symbols)
    assert craystack.is_empty(state)


def test_it_invents_no_bits_on_our_messages(craystack):
    codec = codec_from_craystack(craystack.repeat(craystack.Uniform(16), 9))
    with pytest.raises(CorruptDataError, match="ran dry"):
        codec.pop(Message.empty(2))
    with pytest.raises(CorruptDataError, match="ran dry"):
        codec.pop(Message.random(np.random.default_rng(0), 3, 2))


def generate(commit):
    """Inputs, and the words that craystack makes of them."""
    craystack = load()
    rng = np.random.default_rng(2019)
    cases = {}
    for lanes, rows in ((1, 24), (4, 8)):
        shape = (rows, lanes)
        freqs = tables.quantise_probabilities(rng.dirichlet(np.ones(11)), 16)
        means, scales = rng.integers(-300, 64 * 32, shape), rng.integers(0, 128, shape)
        for case in (
            {"kind": "uniform", "precision": 13, "symbols": rng.integers(0, 1 << 13, shape)},
            {"kind": "categorical", "freqs": freqs, "symbols": rng.choice(11, shape, p=freqs / freqs.sum())},
            {"kind": "logistic", "n": 32, "means": means, "scale_indices": scales, "symbols": rng.integers(0, 32, shape)},
        ):
            start = Message.random(rng, 3, lanes).to_words()
            state = craystack.rans.unflatten(start, (lanes,))
            for row in reversed(range(rows)):
                (state,) = their_codec(craystack, case, row).push(state, case["symbols"][row].astype(np.uint64))
            case |= {"start": start, "words": craystack.rans.flatten(state)}
            cases[f"{case['kind']}, {lanes} lanes"] = {name: np.asarray(value).tolist() for name, value in case.items()}
    text = json.dumps({"made_by": f"https://github.com/j-towns/craystack/tree/{commit}", "cases": cases})
    DATA.write_text(text.replace(', "', ',\n"') + "\n")


def their_codec(craystack, case, row) -> Codec:
    lanes = len(case["symbols"][row])
    if case["kind"] == "uniform":
        return craystack.Uniform(case["precision"])
    if case["kind"] == "categorical":
        return craystack.CategoricalNew(np.tile(case["freqs"], (lanes, 1)), 16)
    scales = tables.inverse_scales()[case["scale_indices"][row]]
    edges = np.array(
        [
            [logistic_start(x, case["n"], m, s, tables.logistic_table()) for x in range(case["n"] + 1)]
            for m, s in zip(case["means"][row], scales, strict=True)
        ]
    )
    which = np.arange(lanes)

    def interval(symbol):
        symbol = symbol.astype(np.int64)
        return edges[which, symbol], edges[which, symbol + 1] - edges[which, symbol]

    def symbol_at(cf):
        return (edges[:, 1:] <= cf[:, None]).sum(1)

    return craystack.codecs.NonUniform(interval, symbol_at, tables.PRECISION)


if __name__ == "__main__":
    generate(sys.argv[1])
