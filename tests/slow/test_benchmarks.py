"""The benchmark suite: data sets, layouts, interleaving, tables. Without imagecodecs and matplotlib, all but their own parts."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
from PIL import Image

from bbans.accounting import Accounting
from benchmarks import command, datasets, jobs, libjxl, peers, photos32, report, run, tables
from benchmarks.datasets import DataSet, MissingDataError
from benchmarks.jobs import EACH, SHEET
from benchmarks.peers import Peer
from benchmarks.rows import Bound, Cost, Row, Scatter, Speed, Stamp

STAMP = Stamp("c0ffee", "2026-01-01", "P", 2, "Linux x86_64", {"python": "3.11"}, vnni=True, load=0.1)
SPEED = Speed(Cost(0.5, 0.9), Cost(0.25), 1, STAMP)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a photo of noise, one in a folder below, and one that is too small."""
    folder = tmp_path / "photos" / "valid"
    (folder / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, height, width in (("b.png", 100, 90), ("below/a.png", 64, 300), ("a.png", 63, 100)):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    return folder


def test_photos32_are_the_crops_that_the_rule_says(photos: Path) -> None:
    crops = photos32.crops([photos], 5, seed=7)
    assert crops.shape == (5, 32, 32, 3)
    pixels = np.asarray(Image.open(photos / "below" / "a.png")).astype(int)
    factor, top, left = photos32.place(7, 3, 64, 300)
    assert (factor, top) == (2, 0)  # nothing else fits into 64 rows
    means = [
        [pixels[top + 2 * y : top + 2 * y + 2, left + 2 * x : left + 2 * x + 2].sum((0, 1)) for x in range(32)] for y in range(32)
    ]
    assert np.array_equal(crops[3], (np.array(means) + 2) // 4)


def test_photos32_are_a_function_of_seed_and_index(photos: Path) -> None:
    assert np.array_equal(photos32.crops([photos], 3, seed=7), photos32.crops([photos], 5, seed=7)[:3])
    assert not np.array_equal(photos32.crops([photos], 5, seed=8), photos32.crops([photos], 5, seed=7))
    assert [photos32.place(0, i, 768, 1024) for i in range(3)] == [(4, 605, 673), (8, 2, 470), (3, 64, 361)]


def test_downscaling_rounds_halves_up() -> None:
    pixels = np.array([[0, 0, 255, 255], [1, 1, 255, 254]], np.uint8)[..., None]
    assert photos32.downscale(pixels, 2)[..., 0].tolist() == [[1, 255]]


def test_no_command_hides_a_data_set() -> None:
    assert not set(command.COMMANDS) & set(datasets.SOURCES)
    result = click.testing.CliRunner().invoke(command.command, ["crops", "--help"])
    assert result.exit_code == 0
    assert "crops" in result.output


def test_photos32_writes_an_array(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    result = click.testing.CliRunner().invoke(photos32.main, [str(photos), "--out", str(out), "--count", "4", "--seed", "7"])
    assert result.exit_code == 0, result.output
    assert np.array_equal(np.load(out), photos32.crops([photos], 4, seed=7))


def test_sampled_images_follow_their_values() -> None:
    levels = np.repeat(np.array([0, 51, 255], np.uint8), 10_000).reshape(3, 100, 100, 1)
    means = datasets.sampled(levels).mean((1, 2, 3))
    assert means[0] == 0
    assert means[2] == 1
    assert means[1] == pytest.approx(0.2, abs=0.02)
    assert not np.array_equal(datasets.sampled(levels, 1), datasets.sampled(levels, 2))
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]  # of splitmix64 from 0, as published
    for number, below in zip(first, (0, 1), strict=True):
        assert [datasets.sampled(np.full((1, 1, 2, 1), number % 255 + up, np.uint8))[0, 0, below, 0] for up in (0, 1)] == [0, 1]


def test_what_ships_is_there() -> None:
    fashion = datasets.load("fashion-500")
    assert isinstance(fashion.images, np.ndarray)
    assert fashion.images.shape == (500, 28, 28, 1)
    assert (fashion.first(3).dims, fashion.first(3).pixels, fashion.is_set) == (3 * 784, 3 * 784, True)
    samples = datasets.load("samples")
    assert (samples.is_set, samples.images[0].shape) == (False, (320, 480, 3))


@pytest.mark.parametrize("name", [name for name in datasets.FULL])
def test_a_missing_set_is_a_line_that_says_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        MissingDataError, match=f"^{name} is left out .*(Get https?://|Get .* into DIR|photos of your own)"
    ) as error:
        datasets.load(name, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "path"),
    [("mnist", "mnist/t10k-images-idx3-ubyte"), ("kodak", "kodak/kodim01.png"), ("cifar-10", "cifar-10/cifar-10-python.tar.gz")],
)
def test_only_official_files_are_taken(tmp_path: Path, name: str, path: str) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_bytes(b"another file")
    with pytest.raises(MissingDataError, match="not the official file: its SHA-256 is"):
        datasets.load(name, tmp_path)


def test_paths_are_data_sets(photos: Path, tmp_path: Path) -> None:
    folder = datasets.load(str(photos))
    assert [image.shape for image in folder.images] == [(63, 100, 3), (100, 90, 3), (64, 300, 3)]
    np.save(tmp_path / "bits.npy", np.eye(4, dtype=np.uint8)[None].repeat(2, 0))
    bits = datasets.load(str(tmp_path / "bits.npy"))
    assert isinstance(bits.images, np.ndarray)
    assert (bits.images.shape, bits.symbols, bits.name) == ((2, 4, 4, 1), 2, "bits")
    with pytest.raises(MissingDataError, match="neither a data set"):
        datasets.load("nothing")


def test_a_set_is_written_for_pack(tmp_path: Path) -> None:
    result = click.testing.CliRunner().invoke(datasets.main, ["fashion-500", "--out", str(tmp_path / "x.npy")])
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "x.npy").shape == (500, 28, 28)


def test_no_contact_sheet_is_larger_than_its_limit() -> None:
    assert jobs.sheets((28, 28, 1), 10_000) == 2
    assert jobs.sheets((28, 28, 1), 73**2) == 1
    assert jobs.sheets((32, 64, 3), 32**2 + 1) == 2
    assert jobs.sheets((5000, 10, 1), 3) == 3
    images = np.zeros((-(-10_000 // 2), 28, 28, 1), np.uint8)
    assert max(jobs.contact_sheet(images).shape) <= jobs.SHEET_SIDE


def test_sheets_together_hold_all_images(monkeypatch: pytest.MonkeyPatch, small: DataSet) -> None:
    monkeypatch.setattr(jobs, "SHEET_SIDE", 12)  # two images of 5 x 6 a side
    [row] = jobs.measure(small, [jobs.PeerJob(raw(), small, SHEET, threads=2)], STAMP)
    assert row.error is None
    four = [jobs.contact_sheet(small.images[at : at + 4]) for at in (0, 4, 8)]  # type: ignore[arg-type]
    assert row.bytes == sum(len(zlib.compress(sheet.tobytes())) for sheet in four)


@pytest.mark.parametrize("shape", [(1, 2, 3, 1), (4, 2, 3, 3), (7, 3, 2, 1)])
def test_tiles_are_the_inverse_of_the_contact_sheet(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    sheet = jobs.contact_sheet(images)
    assert abs(sheet.shape[0] / shape[1] - sheet.shape[1] / shape[2]) <= 1
    assert np.array_equal(jobs.tiles(sheet, shape), images)


def raw(name: str = "raw", broken: bool = False) -> Peer:
    def decode(data: bytes, shape: tuple[int, ...]) -> datasets.Pixels:
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape) ^ np.uint8(broken)

    return Peer(name, lambda x, _: zlib.compress(x.tobytes()), decode)


@pytest.fixture
def small() -> DataSet:
    return DataSet("small", "small images", np.random.default_rng(0).integers(0, 4, (12, 5, 6, 1), np.uint8))


def test_rows_have_the_sizes_of_files(small: DataSet) -> None:
    tasks = [jobs.PeerJob(raw(), small, layout, threads=2) for layout in (EACH, SHEET)]
    each, sheet = jobs.measure(small, tasks, STAMP, rounds=2)
    assert each.bytes == sum(len(zlib.compress(image.tobytes())) for image in small.images)
    assert sheet.bytes == len(zlib.compress(jobs.contact_sheet(small.images).tobytes()))  # type: ignore[arg-type]
    assert each.bits_per_dim == 8 * each.bytes / (12 * 30)
    assert each.speed is not None
    assert (each.error, each.speed.rounds, each.files) == (None, 2, ())
    assert min(each.speed.encode.wall_s, each.speed.decode.wall_s) > 0
    assert each.speed.encode.cpu_s is not None


def test_rows_of_pictures_have_each_file(small: DataSet) -> None:
    pictures = DataSet("pictures", "pictures", list(small.images))
    [row] = jobs.measure(pictures, [jobs.PeerJob(raw(), pictures, EACH, threads=2)], STAMP)
    assert row.files == tuple(len(zlib.compress(image.tobytes())) for image in small.images)


def test_a_mismatch_is_an_error_and_no_number(small: DataSet) -> None:
    said: list[str] = []
    tasks = [jobs.PeerJob(raw(broken=broken), small, EACH, 1) for broken in (True, False)]
    bad, good = jobs.measure(small, tasks, STAMP, say=said.append)
    assert bad.error == "MismatchError: image 0 does not come back as it was"
    assert (bad.bytes, bad.bits_per_dim, bad.speed) == (None, None, None)
    assert good.error is None
    assert said == ["raw, each alone: MismatchError: image 0 does not come back as it was"]


def test_jobs_take_turns(small: DataSet) -> None:
    turns: list[tuple[str, int]] = []

    class Turn:
        def __init__(self, codec: str, parts: int) -> None:
            self.task = jobs.Task(codec, EACH, 1, 1, 1, 1)
            self.parts = parts

        def step(self, part: int) -> jobs.Step:
            turns.append((self.task.codec, part))
            return jobs.Step([1], Cost(1.0 + len(turns), 2.0 * len(turns)), Cost(1.0, mib=2.0))

    first, _ = jobs.measure(small, [Turn("a", 2), Turn("b", 1)], STAMP, rounds=2)
    assert turns == [("a", 0), ("b", 0), ("a", 1)] * 2
    assert first.speed is not None  # medians over rounds, summed over parts
    assert first.speed.encode == Cost((2 + 5) / 2 + (4 + 7) / 2, (2 + 8) / 2 + (6 + 12) / 2, None)
    assert first.speed.decode == Cost(2.0, None, 2.0)


def test_the_colour_transform_has_an_inverse() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    assert np.array_equal(peers.untransform(peers.transform(pixels)), pixels)
    assert not np.array_equal(peers.transform(pixels), pixels)


@pytest.mark.parametrize(("channels", "symbols"), [(1, 2), (1, 256), (3, 256)])
def test_every_peer_gives_back_what_it_was_given(channels: int, symbols: int) -> None:
    pytest.importorskip("imagecodecs")
    pixels = np.random.default_rng(0).integers(0, symbols, (20, 30, channels), np.uint8)
    for peer in peers.peers(channels, symbols):
        if "-I" in peer.name and libjxl.libraries() is None:
            continue
        data = peer.encode(pixels, 1)
        assert isinstance(data, bytes)
        assert np.array_equal(peer.decode(data, pixels.shape), pixels), peer.name


def test_without_imagecodecs_there_is_a_message(monkeypatch: pytest.MonkeyPatch, small: DataSet) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    said: list[str] = []
    assert run.peer_jobs(small, run.Options(threads=1), said.append) == []
    assert said == ["other codecs are left out: imagecodecs is not installed (pip install 'bbans[bench]')"]


def row(**fields: Any) -> Row:
    """Ten images of MNIST's shape in 2 bits/dim."""
    common = {"dataset": "mnist", "title": "MNIST", "codec": "PNG, level 9", "layout": SHEET, "images": 10, "dims": 7840}
    figures = {"pixels": 7840, "threads": 2, "stamp": STAMP, "bytes": 1960, "speed": SPEED}
    return Row(**{**common, **figures, **fields})  # type: ignore[arg-type]


BOUND = Bound("c0", "pure VAE", 10, 1.4925, 0.001)
OURS = row(
    codec="vaezip",
    model="m-1",
    scheme="bb-ans",
    layout=jobs.ARCHIVE,
    bytes=1470,
    accounting=Accounting(9000, 3000, 1000, 700),
    chunks=2,
    header_bytes=3,
    bound=BOUND,
    speed=replace(SPEED, start_up_s=(3.0, 2.0)),
)


def test_the_full_table_marks_ours_and_what_is_published() -> None:
    failed = row(codec="WebP", bytes=None, speed=None, error="ValueError: no")
    lines = tables.full([row(), OURS, failed])
    assert len({line.count("|") for line in lines}) == 1
    first = ["| *BB-ANS*", "| **vaezip m-1**, bb-ans", "| *Bit-Swap*", "| PNG, level 9", "| WebP"]
    assert [line.split(" | ")[0] for line in lines[2:]] == first
    assert "published" in lines[2]
    assert "| **1.5000** | 1.4925 | +0.50 % | 1.4107 | 350 x 2 | 50 ms (90) | 25 ms |" in lines[3]
    assert lines[-1].endswith("**failed**: ValueError: no |")


def test_the_readme_has_four_columns_of_figures_and_models_of_these_images_alone() -> None:
    foreign = replace(OURS, model="n-1", trained_for_it=False, bytes=1000)
    some = replace(OURS, model="p-1", images=5)
    one_thread = replace(OURS, layout=jobs.CHAIN, threads=1, bytes=1200)
    other = row(codec="QOI", bytes=100)
    alone = row(codec="PNG, level 9", layout=EACH, bytes=99)
    lines = tables.brief([row(), OURS, foreign, some, one_thread, other, alone])
    assert lines[0] == "| codec | bits/dim | overhead | encode | decode |"
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert [name for name in names if not name.startswith("*B")] == [
        "**vaezip m-1**, bb-ans, archive",
        "PNG, level 9, contact sheet",
    ]


def test_the_readme_says_which_models_see_pixels_and_leaves_out_what_is_empty() -> None:
    context = replace(OURS, model="c-1", bound=replace(BOUND, kind="with pixel context"), speed=None)
    lines = tables.brief([row(speed=None), replace(OURS, speed=None), context])
    assert lines[0] == "| codec | bits/dim | overhead |"
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert {"**vaezip m-1**, bb-ans, archive", "**vaezip c-1**, bb-ans, with pixel context, archive"} < set(names)


def test_a_model_of_other_images_has_no_overhead() -> None:
    assert OURS.overhead == pytest.approx(1.5 / 1.4925 - 1)
    foreign = replace(OURS, trained_for_it=False)
    assert foreign.overhead is None
    assert tables.FOREIGN in tables.full([foreign])[3]
    assert replace(OURS, bound=replace(BOUND, adaptive=True)).overhead is None


def test_models_are_for_the_images_that_they_were_trained_on() -> None:
    mnist = DataSet("mnist", "MNIST", [], models=datasets.SOURCES["mnist"].models)
    assert [mnist.trained(id) for id in ("mnist-1", "mnist-paper-1", "mnist-bits-1", "fashion-1", None)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert DataSet("mine", "mine", []).trained("fashion-1")


def test_published_rows_say_where_they_are_from() -> None:
    for published in tables.published():
        assert published.dataset in datasets.SOURCES
        assert published.status in tables.MARKS
        assert published.bits_per_dim > 0


def test_bit_swap_is_sorted_by_pixels_of_mnist() -> None:
    """The paper's figure is of images padded to 32 x 32."""
    [bit_swap] = [row for row in tables.published() if (row.dataset, row.codec) == ("mnist", "Bit-Swap")]
    assert bit_swap.printed is not None
    assert bit_swap.bits_per_dim == pytest.approx(bit_swap.printed * 32**2 / 28**2, abs=0.005)


def test_the_report_counts_pictures_and_has_tables_and_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    scatter = Scatter("mnist", "m-1", "bb-ans", 784, (9, 10), (9, 11))
    run.write(run.Results([row(), OURS], [scatter]), tmp_path)
    pictures = {"dataset": "kodak", "title": "Kodak", "layout": EACH}
    ours = row(**pictures, codec="vaezip", model="photo-6", files=(10, 20, 30), bytes=60, accounting=Accounting(400, 10, 5, 0))
    others = [
        row(**pictures, codec="JPEG XL, effort 7", files=(9, 19, 29), bytes=57),
        row(**pictures, codec="JPEG XL, effort 9", files=(11, 19, 30), bytes=60),
        row(**pictures, codec="JPEG XL, effort 10, -g 3 -E 3 -I 100", files=(9, 19, 30), bytes=58),
    ]
    run.write(run.Results([ours, *others]), tmp_path)
    report.write_folder(tmp_path)
    text = (tmp_path / "mnist.md").read_text()
    assert "times on P, 2 cores with VNNI, at c0ffee." in text
    assert "m-1 3.0 s and 2.0 s" in text
    for name in ("rate-mnist", "bits-mnist", "scatter-mnist-m-1-bb-ans"):
        assert f"({name}.png)" in text
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    kodak = (tmp_path / "kodak.md").read_text()
    counts = "JPEG XL, effort 9 on 1 of 3; JPEG XL, effort 10, -g 3 -E 3 -I 100 on 2 of 3"
    assert f"Pictures on which JPEG XL is smaller than vaezip: {counts}." in kodak
    assert "(pictures-kodak.png)" in kodak
    assert "- [Kodak](kodak.md)\n- [MNIST](mnist.md)" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(("layouts", "found"), [(("*",), [EACH, SHEET]), (("contact *", "archive"), [SHEET])])
def test_layouts_are_chosen_by_patterns(small: DataSet, layouts: tuple[str, ...], found: list[str]) -> None:
    pytest.importorskip("imagecodecs")
    options = run.Options(threads=1, codecs=("zstd*",), layouts=layouts, models=("mnist-1",))
    assert [row.layout for row in run.measure_set(small, options, lambda text: None).rows] == found


def test_the_command_runs_without_a_sub_command(tmp_path: Path) -> None:
    for arguments in (["--help"], ["datasets", "--help"]):
        result = click.testing.CliRunner().invoke(command.command, arguments)
        assert result.exit_code == 0, result.output
    result = click.testing.CliRunner().invoke(command.command, ["--data", str(tmp_path), "cifar-10"])
    assert (result.exit_code, "cifar-10 is left out" in result.output) == (2, True)
