"""The pixels of a phase of the photo model. photo.c has the loops, and says what they do."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from bbans._core.convolution import variants
from bbans._core.library import I16, I32, I64, U8, U16, U32, U64, Integer, Structure, checked, fields, function
from bbans._core.tables import Tables

Bytes = npt.NDArray[np.uint8]
Shorts = npt.NDArray[np.int16]
Widths = npt.NDArray[np.uint16]


class Phase(Structure):
    """What is known of a strip of a phase before its pixels are coded; phase.h has its twin. Made by `phase`."""

    FIELDS: ClassVar = {
        **dict.fromkeys(("height", "width", "colours", "components"), Integer),
        **dict.fromkeys(("references", "near", "params", "earlier"), I16),
        **dict.fromkeys(("nears", "phases", "earlier_height", "earlier_width", "top"), Integer),
        "places": I64,
        **dict.fromkeys(("count_places", "adaptive", "decided"), Integer),
        "canvas": U8,
        **dict.fromkeys(("canvas_width", "row", "column"), Integer),
        "learned": I32,
        "sums": I64,
        "widths": U16,
        "variant": Integer,
    }
    _fields_ = fields(FIELDS)


LEARNED = np.dtype(
    [
        (name, np.int32, shape)
        for name, shape in (
            ("weights", (3, 8, 32)),
            ("weights_seen", (3, 8)),
            ("biases", (3, 243)),
            ("steps", (3, 8, 16)),
            ("steps_seen", (3, 8, 16)),
            ("maps", (3, 8, 17)),
            ("maps_seen", (3, 8)),
            ("node_weights", (3, 8, 32)),
            ("class_weights", (3, 128, 32)),
            ("variety_weights", (3, 256, 32)),
            ("position_weights", (3, 243, 32)),
            ("nodes_seen", (3, 8)),
            ("classes_seen", (3, 128)),
            ("varieties_seen", (3, 256)),
            ("positions_seen", (3, 243)),
            ("vote_weights", (3, 8, 4)),
        )
    ]
)
"""What a strip learns, but for sums and histograms, as photo.c has it: for each colour in coding order, spread class, and so
on. Units: `bbans.models.photo.adaptive`."""

TAPS = 42
"""Of least squares, at most."""

NAMES = LEARNED.names or ()

SUMS = (3, (TAPS + 1) * (TAPS + 2) // 2)
"""For each colour the triangle of sums of products, row by row, of taps and the target, as least_squares.h has it."""


class Start(NamedTuple):
    """What a strip starts from, or has learned. Shapes: learned (1,) of LEARNED; sums SUMS int64."""

    learned: npt.NDArray[np.void]
    sums: npt.NDArray[np.int64]


_PIECE = 1 << 16
_STATE = (U64, U32, Integer, Integer)  # head, words, how many there is room for, how many there are
_TABLES = ctypes.POINTER(Tables)
_most_intervals = function("most_intervals")
_learned_size, _count_sums, _state_room = function("learned_size"), function("count_sums"), function("state_room")
_note = function("note_pixels", U8, ctypes.POINTER(Phase), I32, I32, U8, I32, I32, _TABLES, I64, I32, I64)
_push = function("push_noted", *_STATE, I32, I32, Integer)
_pop = function("pop_pixels", *_STATE, U8, ctypes.POINTER(Phase), I32, I32, U8, _TABLES, I64)
_count_counts, _count_widths = function("count_counts"), function("count_widths")
_find_widths = function("find_widths", U8, Integer, I32, U16)
_residuals = function("phase_residuals", U8, ctypes.POINTER(Phase), I16, _TABLES)


def phase(
    references: Shorts,
    params: Shorts,
    colours: int,
    near: Shorts | None = None,
    earlier: Shorts | None = None,
    top: int = 0,
    places: npt.NDArray[np.int64] | None = None,
    adaptive: bool = False,
    canvas: Bytes | None = None,
    corner: tuple[int, int] = (1, 1),
    decided: bool = True,
    start: Start | None = None,
    widths: Widths | None = None,
    variant: str | None = None,
) -> Phase:
    """A strip of a phase.

    Shapes: references (h, w, 3), four times a pixel; params (h, w, 12 K) as `PhotoNetwork.head` gives them; near (n, h, w, 3),
    four times a pixel that is known, less the reference; earlier (phases, H + 2, W + 2, 3), the residuals of the phases before on
    the whole grid with a border of zeros, colours in coding order, of which this strip begins at row `top`; places (m, 3) of
    phase, row and column, where to look in them; canvas (2 h + 4, 2 w + 4 or more, 3), the strip's part of `Level.canvas`, which
    is written to. corner: row and column of the phase among the four of a picture. colours: 3, or 1 for gray pictures, whose R
    and B are G. The adaptive stage alone takes earlier, places, canvas, corner and start, all of which it needs; decided says
    whether it codes pixels by decisions, which need widths, as `find_widths` gives them. variant: of `convolution.VARIANTS`, None
    for the best. Raises: ValueError for shapes that do not fit together, KeyError for a variant that this processor does not
    have.
    """
    height, width, _ = references.shape
    near = np.zeros((0, height, width, 3), np.int16) if near is None else near
    earlier = np.zeros((0, height + 2, width + 2, 3), np.int16) if earlier is None else earlier
    places = np.zeros((0, 3), np.int64) if places is None else places
    canvas = np.zeros((0, 0, 3), np.uint8) if canvas is None else canvas
    learned, sums = start or empty_start()
    fits = params.shape[:2] == (height, width) and not params.shape[2] % 12 and near.shape[1:] == references.shape
    colours_last = references.shape[2] == 3 and earlier.ndim == 4 and earlier.shape[3] == 3 and canvas.shape[2:] == (3,)
    if adaptive:
        fits = fits and canvas.shape[0] == 2 * height + 4 and canvas.shape[1] >= 2 * width + 4
        fits = fits and start is not None and _is_whole(start)
        fits = fits and (not decided or (widths is not None and widths.size == _count_widths()))
    if not fits or not colours_last or places.shape[1:] != (3,):
        raise ValueError("the arrays of a phase do not fit together")
    return Phase(
        height=height,
        width=width,
        colours=colours,
        components=params.shape[2] // 12,
        references=references,
        near=near,
        params=params,
        earlier=earlier,
        nears=len(near),
        phases=len(earlier),
        earlier_height=earlier.shape[1],
        earlier_width=earlier.shape[2],
        top=top,
        places=places,
        count_places=len(places),
        adaptive=adaptive,
        decided=decided,
        canvas=canvas,
        canvas_width=canvas.shape[1],
        row=corner[0],
        column=corner[1],
        learned=learned.view(np.int32),
        sums=sums,
        widths=np.zeros(0, np.uint16) if widths is None else widths,
        variant=variants()[variant] if variant else max(variants().values()),
    )


def _is_whole(start: Start) -> bool:
    sizes: tuple[int, int] = _learned_size(), _count_sums()
    return (start.learned.nbytes, start.sums.size) == sizes


def empty_start() -> Start:
    """Room for what a strip learns, zeros."""
    return Start(np.zeros(1, LEARNED), np.zeros(SUMS, np.int64))


def find_widths(pixels: Bytes) -> Widths:
    """How wide the interval of each value is, as decisions take it, where pixels (n, 3) are known: see widths.h.

    Raises: ValueError for another shape.
    """
    if pixels.ndim != 2 or pixels.shape[1] != 3:
        raise ValueError(f"the known pixels are of shape {pixels.shape}, not (n, 3)")
    counts, widths = np.zeros(_count_counts(), np.int32), np.zeros(_count_widths(), np.uint16)
    checked(_find_widths(np.ascontiguousarray(pixels), len(pixels), counts, widths))
    return widths


Noted = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""(starts, freqs) of intervals with precision 24, in the order of popping."""


def note_pixels(pixels: Bytes, strip: Phase, tables: Tables, learned: Start | None = None) -> Noted:
    """The intervals of pixels (h, w, 3): several of each; `push_noted` pushes them. `learned` is filled with what was learned."""
    _check(pixels, strip)
    most = _most_intervals() * int(strip.height * strip.width * strip.colours)
    starts, freqs = np.empty(most, np.int32), np.empty(most, np.int32)
    left = learned or empty_start()
    if not _is_whole(left):
        raise ValueError("the room for what is learned is of another size")
    ends = starts, freqs, ctypes.byref(tables), _state(), left.learned.view(np.int32), left.sums
    count = checked(_note(pixels, ctypes.byref(strip), *_room(strip), *ends))
    return starts[:count], freqs[:count]


def words_needed(noted: Noted) -> int:
    """Enough words for the intervals, in which a symbol costs at most 1/64 of a bit more than its share says."""
    count, bits = noted[1].size, 0
    for start in range(0, count, _PIECE):  # frexp takes three times as much memory as its numbers
        freqs = noted[1][start : start + _PIECE]
        bits += 25 * freqs.size - int(np.frexp(freqs)[1].sum())
    return (bits + count // 64) // 32 + 2


def push_noted(head: npt.NDArray[np.uint64], words: Any, size: int, noted: Noted) -> int:
    """The size of a one-lane message after pushing. It must have room for `words_needed`. Inverse of both: `pop_pixels`."""
    _check_head(head)
    return checked(_push(head, words, words.size, size, *noted, noted[0].size))


def pop_pixels(head: npt.NDArray[np.uint64], words: Any, size: int, pixels: Bytes, strip: Phase, tables: Tables) -> int:
    """Pop pixels (h, w, 3) into an array. Inverse: `push_noted`. Raises: CorruptDataError when the message runs dry."""
    _check(pixels, strip)
    _check_head(head)
    return checked(_pop(head, words, words.size, size, pixels, ctypes.byref(strip), *_room(strip), ctypes.byref(tables), _state()))


def residuals(pixels: Bytes, strip: Phase, tables: Tables) -> Shorts:
    """The residuals of a known phase, colours in coding order: (h, w, 3)."""
    _check(pixels, strip)
    out = np.zeros(pixels.shape, np.int16)
    checked(_residuals(pixels, ctypes.byref(strip), out, ctypes.byref(tables)))
    return out


def _check(pixels: Bytes, strip: Phase) -> None:
    if pixels.shape != (strip.height, strip.width, 3):
        raise ValueError("the arrays of a phase do not fit together")


def _state() -> npt.NDArray[np.int64]:
    """Room for what a walk learns; the stacks of some threads have none for it."""
    return np.empty(_state_room(), np.int64)


def _check_head(head: npt.NDArray[np.uint64]) -> None:
    if head.shape != (1,):
        raise ValueError(f"a phase goes on a message of one lane, not of {head.size}")


def _room(strip: Phase) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Bytes]:
    """Where the walk notes residuals, with zeros around, how large errors are, and how far single pixels were in two rows."""
    own = np.zeros(((strip.height + 2) * (strip.width + 4), 3), np.int32)
    errors = np.full(((strip.height + 1) * (strip.width + 2), 3), 256, np.int32)
    return own, errors, np.full((2, strip.width + 2, 3, 8), 6, np.uint8)
