"""The core: the photo model's pixels against plain Python; what it refuses; any bytes as messages."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans._core import photo
from bbans._core.convolution import variants
from bbans._core.library import BAD_ARGUMENT
from bbans._core.photo import LEARNED
from bbans._core.tables import core_tables
from bbans.ans import HEAD_MIN, Message
from bbans.errors import CorruptDataError
from bbans.models.photo.adaptive import EARLIER, adaptive_tables
from bbans.models.photo.config import PHASES
from bbans.models.photo.start import LIMITS, MIXED, from_arrays, plain_starts, to_arrays
from bbans.tables import exp_table, inverse_scales, log2_table, logistic_table
from tests.core import MESSAGES, Array, State, assert_equal, refuses_other_arrays, state
from tests.reference import photo as slow_photo

TABLES = logistic_table(), exp_table(), inverse_scales(), *adaptive_tables(), log2_table()
CORE_TABLES = core_tables(*adaptive_tables())
K_AND_COLOURS = [(3, 3), (1, 3), (2, 1), (3, 1), (5, 3)]


class Strip(NamedTuple):
    """What is known of a phase, in the order in which `photo.phase` takes it; and the pixels that widths were found from."""

    references: Array
    params: Array
    colours: int
    near: Array
    earlier: Array
    top: int
    places: Array
    adaptive: bool
    canvas: Array
    corner: tuple[int, int]
    decided: bool
    start: photo.Start
    widths: Array | None
    known: Array

    def fresh(self) -> Strip:
        """With a canvas of its own, as coding writes to it."""
        return self._replace(canvas=self.canvas.copy())

    def phase(self, variant: str | None = None) -> photo.Phase:
        return photo.phase(*self[:-1], variant=variant)


def some_strip(
    rng: np.random.Generator, height: int, width: int, k: int, colours: int, phase: int, adaptive: bool, wild: bool = False
) -> tuple[Strip, Array]:
    """A strip and pixels: like those of pictures, or with everything at the ends of its range."""
    whole, top = height + 3, int(rng.integers(0, 4))
    base = rng.integers(60, 190, (height, width, 1))
    pixels = np.clip(base + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    references = 4 * base + rng.integers(-20, 20, (height, width, 3))
    limits = (30, 300, (30, 95), 128)
    near, residual = 100, 500
    if wild:
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        references, limits = rng.integers(0, 1021, (height, width, 3)), (16383, 32767, (0, 127), 128)
        near, residual = 1020, 1536
    if colours == 1:
        pixels[...] = pixels[..., 1:2]
    logits, means, scales, slopes = limits
    ranges = (-logits, logits), (-means, means), scales, (-slopes, slopes)
    params = np.concatenate([rng.integers(low, high + 1, (height, width, 3 * k)) for low, high in ranges], axis=2)
    known = some_known(rng, wild)
    return Strip(
        references.astype(np.int16),
        params.astype(np.int16),
        colours,
        rng.integers(-near, near + 1, (0 if phase == 0 else 2, height, width, 3)).astype(np.int16),
        rng.integers(-residual, residual + 1, (phase, whole + 2, width + 2, 3)).astype(np.int16),
        top,
        np.array(EARLIER[phase] if adaptive else (), np.int64).reshape(-1, 3),
        adaptive,
        rng.integers(0, 256, (2 * height + 4, 2 * width + 4 + 2 * int(rng.integers(2)), 3)).astype(np.uint8) // (1 if wild else 6)
        + (0 if wild else 100),
        PHASES[phase],
        True,
        some_start(rng, phase),
        photo.find_widths(known),
        known,
    ), pixels


def some_known(rng: np.random.Generator, wild: bool = False) -> Array:
    """Pixels (n, 3) of which some values come often and others never; wild: any, a few of them very often; or none."""
    if wild:
        some = rng.integers(0, 256, (int(rng.integers(0, 30)), 3))
        return np.repeat(some, rng.integers(0, 3000, len(some)), axis=0).astype(np.uint8)
    pixels = rng.integers(60, 190, (4000, 1)) + rng.normal(0, 6, (4000, 3))
    values = np.clip(pixels, 0, 255).astype(np.uint8)
    return (values - values % rng.integers(1, 5)).astype(np.uint8)


def some_start(rng: np.random.Generator, phase: int) -> photo.Start:
    """Plain start values, or any that a model may have."""
    if rng.integers(2):
        return plain_starts()[phase]
    arrays = {
        name: rng.integers(*LIMITS.get(name, (0, 1 << 20)), (3, *shape), endpoint=True)
        for name, shape in [(name, LEARNED[name].shape) for name in LEARNED.names or ()] + [("factors", (3, 946))]
    }
    arrays["maps"].sort(-1)
    arrays["maps"][..., 0], arrays["maps"][..., -1] = 0, 1 << 24
    return from_arrays(
        {f"learned.{name}": array.astype(np.int16 if name in MIXED else np.int32) for name, array in arrays.items()}
    )[phase]


def push_pixels(heads: Array, words: Array, size: int, pixels: Array, phase: photo.Phase, tables: Any) -> int:
    return photo.push_noted(heads, words, size, photo.note_pixels(pixels, phase, tables))


def check_strip(strip: Strip, pixels: Array) -> None:
    rng = np.random.default_rng(1)
    count = 5 * pixels.shape[0] * pixels.shape[1] * strip.colours
    before = state(rng, 1, 9, count)

    def phase(variant: str | None = None) -> photo.Phase:
        return strip.fresh().phase(variant)

    def theirs() -> tuple[Any, ...]:
        return (
            strip.references,
            strip.near,
            strip.params,
            strip.colours,
            strip.earlier,
            strip.top,
            strip.places,
            strip.adaptive,
            strip.canvas.copy(),
            strip.corner,
            strip.decided,
            strip.start.learned[0],
            strip.start.sums,
            strip.known,
            TABLES,
        )

    words, any_message, same = before.words.copy(), state(rng, 1, count), np.zeros_like(pixels)
    head, expected = slow_photo.push_pixels(before.heads[0], words, 9, pixels.copy(), *theirs())
    head_left, left = slow_photo.pop_pixels(any_message.heads[0], any_message.words, any_message.size, same, *theirs())
    for variant in variants():
        ours = before.copy()
        size = push_pixels(*ours, pixels, phase(variant), CORE_TABLES)
        assert_equal(ours, size, State(np.array([head]), words, 0), expected)
        popped, tail = np.zeros_like(pixels), ours.words[:size].copy()
        assert_equal(ours, photo.pop_pixels(ours.heads, tail, size, popped, phase(variant), CORE_TABLES), before, 9)
        assert np.array_equal(popped, pixels)
        ours = any_message.copy()
        size = photo.pop_pixels(*ours, popped, phase(variant), CORE_TABLES)
        assert_equal(ours, size, State(np.array([head_left]), any_message.words, 0), left)
        assert np.array_equal(popped, same)
    residuals = photo.residuals(pixels, phase(), CORE_TABLES)
    assert residuals.dtype == np.int16
    assert np.array_equal(residuals, slow_photo.residuals(pixels, strip.references, strip.params, strip.colours, TABLES))


@pytest.mark.parametrize("wild", [False, True], ids=["like pictures", "wild"])
@pytest.mark.parametrize("adaptive", [False, True], ids=["plain", "adaptive"])
@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize(("k", "colours"), K_AND_COLOURS)
def test_pixels(k: int, colours: int, phase: int, adaptive: bool, wild: bool) -> None:
    rng = np.random.default_rng(k)
    for height, width in ((3, 4), (1, 3), (3, 1)):
        check_strip(*some_strip(rng, height, width, k, colours, phase, adaptive, wild))


@pytest.mark.parametrize("decided", [True, False], ids=["by decisions", "without"])
@pytest.mark.parametrize("wild", [False, True], ids=["like pictures", "wild"])
def test_pixels_once_something_is_learned(wild: bool, decided: bool) -> None:
    strip, pixels = some_strip(np.random.default_rng(5), 14, 20, 3, 3, 2, True, wild)
    check_strip(strip._replace(decided=decided), pixels)


@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize(("k", "colours"), K_AND_COLOURS)
def test_pixels_without_decisions(k: int, colours: int, phase: int) -> None:
    for wild in (False, True):
        strip, pixels = some_strip(np.random.default_rng(k), 3, 4, k, colours, phase, True, wild)
        check_strip(strip._replace(decided=False), pixels)


@given(st.integers(0, 1 << 32), st.booleans())
@settings(max_examples=30)
def test_widths(seed: int, wild: bool) -> None:
    known = some_known(np.random.default_rng(seed), wild)
    widths, slow = photo.find_widths(known), slow_photo.Widths(known)
    tables = slow.of_green[None], slow.of_red, slow.of_differences
    sums = [np.pad(table.cumsum(axis=1), ((0, 0), (1, 0))).ravel() for table in tables]
    assert widths.dtype == np.uint16
    assert np.array_equal(widths, np.concatenate(sums) % 65536)


def test_widths_by_hand() -> None:
    assert (np.diff(photo.find_widths(np.zeros((0, 3), np.uint8))[:257]) == 256).all()
    gray = np.repeat(np.array([[100]] * 90 + [[102]] * 20, np.uint8), 3, axis=1)
    widths = np.diff(photo.find_widths(gray)[:257].astype(int))
    assert widths[97:106].tolist() == [256, 128, 85, 606, 74, 288, 177, 209, 256]


def test_widths_of_other_arrays() -> None:
    known = some_known(np.random.default_rng(1))
    expected = photo.find_widths(known)
    assert np.array_equal(photo.find_widths(np.repeat(known, 2, axis=0)[::2]), expected)
    for wrong in (known[:, :2], np.append(known, known, axis=1), known.ravel(), known[None]):
        with pytest.raises(ValueError, match=r"\(n, 3\)"):
            photo.find_widths(wrong)
    with pytest.raises(TypeError):
        photo.find_widths(known.astype(np.int16))
    assert photo._find_widths(known, -1, np.zeros(0, np.int32), expected) == BAD_ARGUMENT


def from_sums(factors: Array) -> photo.Start:
    """Plain start values but for least squares."""
    return plain_starts()[2]._replace(sums=from_arrays(to_arrays(plain_starts(), factors))[2].sums)


def test_least_squares_of_the_largest_differences() -> None:
    """Nothing leaves 64 bits: in plain Python it could not."""
    rng = np.random.default_rng(7)
    strip, pixels = some_strip(rng, 24, 40, 1, 3, 2, True, wild=True)
    params = strip.params.copy()
    params[..., 6:9] = 0  # narrow mixtures, so that samples weigh the most
    pixels = (255 * rng.integers(0, 2, pixels.shape)).astype(np.uint8)
    canvas = (255 * rng.integers(0, 2, strip.canvas.shape)).astype(np.uint8)
    check_strip(strip._replace(params=params, canvas=canvas), pixels)
    full = from_sums(np.full((3, 3, 946), 1 << 20, np.int32))
    check_strip(strip._replace(params=params, canvas=canvas, start=full), pixels)
    same = np.repeat(canvas[..., :1], 3, 2)  # taps that say the same
    check_strip(strip._replace(params=params, canvas=same), np.repeat(pixels[..., :1], 3, 2))


def test_more_components_than_any_model_has() -> None:
    check_strip(*some_strip(np.random.default_rng(5), 2, 2, 8, 3, 1, True))
    strip, pixels = some_strip(np.random.default_rng(5), 2, 2, 9, 3, 1, True)
    with pytest.raises(ValueError):
        photo.residuals(pixels, strip.phase(), CORE_TABLES)


@pytest.mark.parametrize("adaptive", [False, True])
def test_strips_that_do_not_fit(adaptive: bool) -> None:
    strip, pixels = some_strip(np.random.default_rng(3), 4, 5, 2, 3, 2, True)
    strip = strip._replace(adaptive=adaptive)
    assert strip.widths is not None
    message = state(np.random.default_rng(0), 1, 60, 300)

    def code(**changes: Any) -> None:
        phase = strip.fresh()._replace(**changes).phase()
        photo.residuals(pixels, phase, CORE_TABLES)
        push_pixels(*message.copy(), pixels.copy(), phase, CORE_TABLES)
        photo.pop_pixels(*message.copy(), pixels.copy(), phase, CORE_TABLES)

    code()
    wrong: list[dict[str, Any]] = [
        {"references": strip.references[:3]},
        {"references": strip.references[..., :2].copy()},
        {"references": strip.references[:0], "params": strip.params[:0], "near": strip.near[:, :0].copy()},
        {"params": strip.params[..., :-1].copy()},
        {"params": strip.params[:, :-1].copy()},
        {"params": strip.params[..., :0].copy()},
        {"near": strip.near[:, :-1].copy()},
        {"near": np.concatenate([strip.near] * 2)},
        {"earlier": strip.earlier[..., :2].copy()},
        {"earlier": strip.earlier[0]},
        {"places": strip.places[:, :2].copy()},
        {"colours": 2},
        {"colours": 0},
    ]
    if adaptive:  # else nothing is looked up
        wrong += [
            {"canvas": strip.canvas[:-1]},
            {"canvas": np.concatenate([strip.canvas, strip.canvas])},
            {"canvas": strip.canvas[:, :13].copy()},
            {"canvas": strip.canvas[..., :2].copy()},
            *({"corner": corner} for corner in ((0, 0), (2, 1), (-1, 1), (1, -1), (1, 2))),
            {"start": None},
            {"start": strip.start._replace(sums=strip.start.sums[:2])},
            {"start": strip.start._replace(learned=np.zeros(2, LEARNED))},
            {"widths": None},
            {"widths": strip.widths[:-1]},
            {"widths": np.append(strip.widths, strip.widths[:1])},
            {"earlier": strip.earlier[:1]},
            {"earlier": strip.earlier[:, :5].copy()},
            {"earlier": strip.earlier[:, :, :-2].copy()},
            {"top": -1 - strip.top},
            {"top": 5},
            {"top": 1 << 40},
            {"places": strip.places[:5]},
            {"places": np.concatenate([strip.places, strip.places[:1]])},
            *({"places": strip.places + np.array(move)} for move in ([1, 0, 0], [-1, 0, 0], [0, 9, 0], [0, 0, 2], [0, 0, -1])),
        ]
    for changes in wrong:
        with pytest.raises(ValueError):
            code(**changes)
    for name in ("references", "params", "near", "earlier", "places"):
        array = getattr(strip, name)
        for other in (array.astype(np.int32), array.astype(array.dtype.newbyteorder()), np.repeat(array, 2, -1)[..., ::2]):
            with pytest.raises(TypeError):
                code(**{name: other})
    for other in (strip.canvas.astype(np.int8), np.repeat(strip.canvas, 2, -1)[..., ::2]):
        with pytest.raises(TypeError):
            code(canvas=other)
    for other in (strip.widths.astype(np.int16), strip.widths.byteswap().view(strip.widths.dtype.newbyteorder())):
        with pytest.raises(TypeError):
            code(widths=other)


def test_pixels_that_do_not_fit() -> None:
    strip, pixels = some_strip(np.random.default_rng(3), 4, 5, 2, 3, 2, True)
    phase, message = strip.phase(), state(np.random.default_rng(0), 1, 60, 300)
    for function in (push_pixels, photo.pop_pixels):
        refuses_other_arrays(function, (*message.copy(), pixels.copy(), phase, CORE_TABLES))
        for heads in (message.heads[:0], np.repeat(message.heads, 2)):
            with pytest.raises(ValueError, match="one lane"):
                function(heads, message.words, 60, pixels.copy(), phase, CORE_TABLES)
        for size in (-1, 361):
            with pytest.raises(ValueError):
                function(message.heads, message.words, size, pixels.copy(), phase, CORE_TABLES)
        with pytest.raises(ValueError):
            function(*message.copy(), pixels.copy(), phase, core_tables())
    for wrong in (pixels[:3], pixels[:, :4].copy(), pixels[..., :2].copy()):
        with pytest.raises(ValueError):
            photo.residuals(wrong, phase, CORE_TABLES)
    refuses_other_arrays(photo.residuals, (pixels, phase, CORE_TABLES))
    with pytest.raises(ValueError):
        photo.residuals(pixels, phase, core_tables())
    with pytest.raises(ValueError, match="room"):
        push_pixels(message.heads, message.words[:61].copy(), 61, pixels, phase, CORE_TABLES)


def test_room_for_what_is_learned_is_whole() -> None:
    strip, pixels = some_strip(np.random.default_rng(3), 4, 5, 2, 3, 2, True)
    for room in (
        photo.empty_start()._replace(sums=np.zeros(0, np.int64)),
        photo.empty_start()._replace(learned=np.zeros(0, LEARNED)),
    ):
        with pytest.raises(ValueError, match="another size"):
            photo.note_pixels(pixels, strip.phase(), CORE_TABLES, room)


def test_pixels_of_a_message_that_runs_dry() -> None:
    strip, pixels = some_strip(np.random.default_rng(3), 4, 5, 2, 3, 2, True, wild=True)
    phase = strip.phase()
    head, words = np.array([HEAD_MIN], np.uint64), np.zeros(300, np.uint32)
    size = push_pixels(head, words, 0, pixels, phase, CORE_TABLES)
    assert size > 5
    for start in range(1, size):  # without the words at the bottom, which come last
        with pytest.raises(CorruptDataError, match="ran dry"):
            photo.pop_pixels(head.copy(), words[start:size].copy(), size - start, np.zeros_like(pixels), phase, CORE_TABLES)


@cache
def small_strip(adaptive: bool, decided: bool, colours: int) -> tuple[photo.Phase, Array]:
    strip, pixels = some_strip(np.random.default_rng(4), 3, 4, 2, colours, 2, adaptive, wild=True)
    return strip._replace(decided=decided).phase(), pixels


@given(MESSAGES, st.booleans(), st.booleans(), st.sampled_from([1, 3]))
@settings(max_examples=200)
def test_any_bytes_as_pixels(data: bytes, adaptive: bool, decided: bool, colours: int) -> None:
    phase, known = small_strip(adaptive, decided, colours)
    pixels = np.zeros_like(known)
    try:
        message = Message.from_bytes(data)
        before = message.copy()
        message.resize(photo.pop_pixels(message.head, message.words, message.size, pixels, phase, CORE_TABLES))
    except CorruptDataError:
        return
    noted = photo.note_pixels(pixels, phase, CORE_TABLES)
    message.reserve(photo.words_needed(noted))
    message.resize(photo.push_noted(message.head, message.words, message.size, noted))
    assert message == before
