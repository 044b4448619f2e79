"""Every pop of the compiled core on random messages: what it pops, pushed again, gives the message back."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np

from bbans._core import photo
from bbans.ans import HEAD_MIN, Message
from bbans.errors import CorruptDataError
from tests.fuzz.harness import Target, Wrong
from tests.unit.test_core_codecs import CASES, COUNT
from tests.unit.test_core_codecs import made as made_case
from tests.unit.test_core_images import SAMPLES, made_samples
from tests.unit.test_core_photo import CORE_TABLES, small_strip

Case = tuple[str, int, bytes]  # a kernel, lanes, bytes of a message


@cache
def kernels() -> dict[str, Callable[[Message], None]]:
    """By name, what pops symbols of a message and pushes them again."""
    found: dict[str, Callable[[Message], None]] = {}
    for name in CASES:
        found[f"codecs, {name}"] = _symbols(name)
    for name in SAMPLES:
        found[f"samples, {name}"] = _samples(name)
    for name, kind in {"plain": (False, False), "adaptive": (True, False), "by decisions": (True, True)}.items():
        for colours in (1, 3):
            found[f"pixels, {colours} colours, {name}"] = _pixels(*kind, colours)
    return found


def make(rng: Random) -> Case:
    name = rng.choice(sorted(kernels()))
    lanes = rng.choice([1, 1, 1, 2, 3, 7]) if name.startswith("codecs") else 1
    if rng.random() < 0.1:
        return name, lanes, rng.randbytes(rng.randrange(100))
    heads = [rng.choice([HEAD_MIN, (HEAD_MIN << 32) - 1, rng.randrange(HEAD_MIN, HEAD_MIN << 32)]) for _ in range(lanes)]
    size = rng.choice([0, 1, rng.randrange(20), rng.randrange(400)])
    word = rng.choice([lambda: rng.getrandbits(32), lambda: 0, lambda: (1 << 32) - 1, lambda: rng.getrandbits(rng.randrange(33))])
    words = [head >> 32 for head in heads] + [head & 0xFFFFFFFF for head in heads] + [word() for _ in range(size)]
    return name, lanes, np.array(words, "<u4").tobytes()


def check(case: Case) -> None:
    name, lanes, data = case
    message = Message.from_bytes(data, lanes)
    before = message.copy()
    kernels()[name](message)
    if message != before:
        raise Wrong(f"{name}: what was popped does not give the message back")


def _symbols(name: str) -> Callable[[Message], None]:
    def code(message: Message) -> None:
        case = made_case(name)
        symbols = np.zeros(COUNT, np.int64)
        message.resize(case.loops.pop(message.head, message.words, message.size, symbols, 0, COUNT, *case.own))
        message.reserve(COUNT)
        message.resize(case.loops.push(message.head, message.words, message.size, symbols, 0, COUNT, *case.own))

    return code


def _samples(name: str) -> Callable[[Message], None]:
    def code(message: Message) -> None:
        loops, known, own, *_ = made_samples(name)
        image = np.zeros_like(known)
        message.resize(loops.pop(message.head, message.words, message.size, image, own))
        message.reserve(image.size)
        message.resize(loops.push(message.head, message.words, message.size, image, own))

    return code


def _pixels(adaptive: bool, decided: bool, colours: int) -> Callable[[Message], None]:
    def code(message: Message) -> None:
        phase, known = small_strip(adaptive, decided, colours)
        pixels: Any = np.zeros_like(known)
        message.resize(photo.pop_pixels(message.head, message.words, message.size, pixels, phase, CORE_TABLES))
        noted = photo.note_pixels(pixels, phase, CORE_TABLES)
        message.reserve(photo.words_needed(noted))
        message.resize(photo.push_noted(message.head, message.words, message.size, noted))

    return code


TARGETS = [Target("kernels", 400, make, check, (CorruptDataError,))]
