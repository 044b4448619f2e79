"""How far one picture is: what the library tells, and the line that the command makes of it."""

import contextlib
import io
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vaezip_cli import batch, jobs, progress
from vaezip_cli.inputs import Inputs, Item

import bbans
from bbans import vaez
from bbans.formats import stored
from bbans.models.photo import geometry, tuning
from bbans.progress import Progress, Work
from tests.models import codec, picture, write_weight_file


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.lines.append((what, done, total))

    def check(self, *stages: str) -> None:
        """What is done grows to all of it, in these stages."""
        done = [line[1] for line in self.lines]
        assert done == sorted(done) and all(0 <= line[1] <= line[2] for line in self.lines)
        assert done[-1] == self.lines[-1][2] > 0
        assert tuple(dict.fromkeys(line[0] for line in self.lines)) == stages


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weight_file(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several regions, and levels of several strips."""
    monkeypatch.setattr(geometry, "REGION_SIDE", 96)
    monkeypatch.setattr(geometry, "REGION_STEP", 32)
    monkeypatch.setattr(geometry, "STRIP_POSITIONS", 500)
    monkeypatch.setattr(geometry, "STRIP_STEP", 16)


@pytest.mark.parametrize("effort", [1, 5, 9])
@pytest.mark.parametrize("size", [(130, 70, 3), (61, 97, 1), (1, 200, 3), (9, 5, 3)])
def test_a_codec_tells_all_of_its_work(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int, int], effort: int) -> None:
    cut_small(monkeypatch)
    monkeypatch.setattr(tuning, "LEAST_POSITIONS", 1)
    monkeypatch.setattr(tuning, "PLANS", {9: replace(tuning.PLANS[9], steps=10, batch=64)})
    coder, pixels = codec(), picture(*size)
    steps: list[int] = []
    encoded = coder.reporting(steps.append).encode(pixels, effort)
    height, width, _ = size
    assert sum(steps) == coder.units(height, width, effort) and min(steps) >= 0
    assert coder.units(height, width, effort) > height * width or effort < 9 or max(height, width) < 20
    assert encoded == coder.encode(pixels, effort)
    steps.clear()
    assert np.array_equal(coder.reporting(steps.append).decode(encoded.messages, *size), pixels)
    assert sum(steps) == height * width
    assert max(steps) < height * width or max(height, width) < 20  # not all at once


@pytest.mark.parametrize("verify", [True, False])
def test_compressing_by_the_model(weight_file: Path, verify: bool) -> None:
    told, pixels = Told(), picture(90, 80)
    packed = bbans.compress(pixels, mode="model", model=weight_file, verify=verify, progress=told)
    told.check("coding", *(["verifying"] if verify else []))
    # The time of the check is expected from the beginning.
    assert told.lines[0] == ("coding", 0, 90 * 80 + (90 * 80 + stored.decoding_units(90, 80) if verify else 0))
    assert packed == bbans.compress(pixels, mode="model", model=weight_file)
    back = Told()
    assert np.array_equal(bbans.decompress(packed, model=weight_file, progress=back).array(), pixels)
    back.check("decoding")
    assert len(back.lines) > 5


def test_compressing_by_the_smaller(weight_file: Path) -> None:
    """What is stored after all is not verified by the model."""
    told = Told()
    packed = bbans.compress(picture(40, 40, kind="noise"), model=weight_file, progress=told)
    assert packed.info.mode == "stored"
    told.check("coding", "storing", "verifying")


def test_strips_that_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "STRIP_PX", 1000)
    monkeypatch.setattr(stored, "CAREFUL_PX", 100)
    monkeypatch.setattr(stored, "EFFORTS", {})
    pixels, told, back = picture(90, 40), Told(), Told()
    packed = bbans.compress(pixels, mode="stored", progress=told)
    assert packed.info.method == "jxl"
    told.check("storing", "verifying")
    storing = [done for what, done, _ in told.lines if what == "storing"]
    assert storing == [0, 333, 666, 1000, 1200]
    assert np.array_equal(bbans.decompress(packed, progress=back).array(), pixels)
    back.check("decoding")
    assert len(back.lines) > 4


def test_a_codec_that_cannot_tell() -> None:
    """A family of another package needs neither method."""

    class Silent:
        id, weights_hash = "silent-1", bytes(8)

        def __init__(self) -> None:
            self.encode, self.decode = codec().encode, codec().decode

    file = bbans.compress(picture(20, 30), mode="stored").data  # any: only its picture is asked for
    source, _ = vaez.read_source(bbans.decompress(file).data, "stored")
    told = Told()
    contents = vaez.code(vaez.prepare(source), Silent(), work=Work(told))
    assert told.lines == []
    assert vaez.restore(contents, Silent(), Work(told)).data == source.data
    assert told.lines == [("decoding", 0, stored.decoding_units(20, 30))]


def test_whoever_is_told_may_end_the_work(weight_file: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bbans.compress(picture(90, 80), mode="model", model=weight_file, progress=stop)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def tally(files: int, size_bytes: int) -> tuple[batch.Tally, Clock]:
    clock = Clock()
    return batch.Tally(files, size_bytes, began=clock(), clock=clock), clock


def test_the_line_of_one_picture() -> None:
    item = Item("a\nb.png", size_bytes=1_000_000)
    one, clock = tally(1, 1_000_000)
    clock.now += 2
    assert one.progress(item) == r"a\nb.png: 2 s"
    tell = one.watch(item)
    clock.now += 1
    tell("coding", 0, 400)
    clock.now += 10
    assert one.progress(item) == r"a\nb.png: 13 s"  # a rate of nothing is none
    tell("coding", 100, 400)
    assert one.progress(item) == r"a\nb.png: coding, 25 %, 25.0 kB/s, 30 s to go"
    clock.now += 5
    assert one.progress(item) == r"a\nb.png: coding, 25 %, 25.0 kB/s, 25 s to go"  # as it goes on meanwhile
    clock.now += 50
    assert one.progress(item).endswith("25 %, 25.0 kB/s, 0 s to go")
    tell("verifying", 400, 400)
    assert one.progress(item) == r"a\nb.png: verifying, 100 %, 15.4 kB/s, 0 s to go"


def test_the_line_of_stdin_has_no_rate() -> None:
    item = Item("-")
    one, clock = tally(1, 0)
    tell = one.watch(item)
    tell("coding", 0, 4)
    clock.now += 3
    tell("coding", 1, 4)
    assert one.progress(item) == "-: coding, 25 %, 9 s to go"


def test_pictures_that_are_begun_count_among_many() -> None:
    items = [Item(f"{name}.png", size_bytes=1_000_000) for name in "abcd"]
    many, clock = tally(4, 4_000_000)
    many.watch(items[0])("coding", 1, 2)
    many.watch(items[1])("coding", 0, 0)
    clock.now += 10
    assert many.progress(items[0]) == "0 of 4 files, 500 kB of 4.00 MB, 50.0 kB/s, 1 min 10 s to go: a.png"


class Terminal(io.StringIO):
    """A terminal that calls at each text."""

    def __init__(self, seen: Callable[[str], None]) -> None:
        super().__init__()
        self.seen = seen

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, text: str) -> int:
        self.seen(text)
        return super().write(text)


def run_one(monkeypatch: pytest.MonkeyPatch, job: jobs.Job, work: Callable[[Progress | None], None], stderr: io.StringIO) -> str:
    """What stands on stderr when a file was worked on."""
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    monkeypatch.setattr(batch, "REFRESH_SECONDS", 0.001)
    monkeypatch.setattr(batch, "ProgressLine", lambda quiet: progress.ProgressLine(quiet, 0.0, 0.0))

    def worked(item: Item, tell: Progress | None) -> batch.Product:
        work(tell)
        return batch.Product("done")

    with contextlib.redirect_stderr(stderr):
        assert batch.run(Inputs([Item("a.png", size_bytes=1000)]), worked, job, at_once=1, effect="") == 0
    return stderr.getvalue()


def test_a_terminal_shows_the_line_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = threading.Event()

    def work(tell: Progress | None) -> None:
        assert tell is not None
        tell("coding", 0, 100)
        tell("coding", 45, 100)
        assert shown.wait(60)

    terminal = Terminal(lambda text: shown.set() if "a.png: coding, 45 %" in text else None)
    text = run_one(monkeypatch, jobs.Job(), work, terminal)
    assert text.endswith("\r\x1b[Kvaezip: done\n")


@pytest.mark.parametrize("kind", ["quiet", "no progress", "no terminal"])
def test_nothing_is_told_where_nobody_sees_it(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    job = jobs.Job(quiet=kind == "quiet", no_progress=kind == "no progress")
    told: list[Progress | None] = []
    terminal = io.StringIO() if kind == "no terminal" else Terminal(lambda text: None)
    text = run_one(monkeypatch, job, told.append, terminal)
    assert told == [None]
    assert text == ("" if kind == "quiet" else "vaezip: done\n")
