"""Imports go down only, in all of `bbans`, `cli` and `benchmarks`, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
#: From the bottom up. A module imports from layers below its own, and from the packages that stand in its own entry.
LAYERS = [
    {"bbans.errors", "bbans.accounting", "bbans.files", "bbans.progress", "bbans.tables"},
    {
        "bbans._core",
        "bbans.formats.tensors",
        "bbans.formats.wire",
        "bbans.formats.lzma2",
        "bbans.images.pillow",
        "bbans.images.runs",
        "bbans.formats.manifest",
        "bbans.storage",
    },
    {"bbans.images.rows"},
    {"bbans.ans"}
    | {f"bbans.formats.{name}" for name in ("blob", "container", "groups", "names")}
    | {f"bbans.images.{name}" for name in ("chunks", "frames", "pngfilters", "qoi", "raster", "tiles")},
    {"bbans.codecs", "bbans.formats.entries"}
    | {f"bbans.formats.{name}" for name in ("forms", "jxl", "metadata")}
    | {f"bbans.images.{name}" for name in ("channels", "gaps", "gif", "headers", "npy", "pngfile", "tiff", "webp")},
    {
        "bbans.combinators",
        "bbans.meter",
        "bbans.formats.jpeg",
        "bbans.formats.archive",
        "bbans.images.apng",
        "bbans.images.conversion",
        "bbans.images.strip",
        "bbans.images.tiffstrips",
        "bbans.images.pngstream",
    },
    {"bbans.images.png", "bbans.formats.words"},
    {"bbans.images.picture"},
    {"bbans.bitsback", "bbans.craystack", "bbans.formats.stored", "bbans.images.objects"},
    {"bbans.montecarlo", "bbans.results", "bbans.images.plain"},
    {"bbans.inputs", "bbans.inspection"},
    {"bbans.exact"},
    {"bbans.models"},
    {"bbans.vaez"},
    {"bbans.api"},
    {"bbans.sets", "bbans.pillow"},
    {"bbans.array_chunks", "bbans.shards"},
    {"bbans.datasets", "bbans.fleet", "bbans.numcodecs", "bbans.zarr"},
    {"bbans.training"},
    {"benchmarks"},
    {"cli"},
]
FACES = {"bbans", "bbans.formats", "bbans.images"}  # they hand names on, the first one late: see bbans/__init__.py
ROOTS = {"vaezip_cli": "cli", "vaezip_bench": "benchmarks"}  # as installed
MODULES = sorted(path for folder in ("bbans", "cli", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module of ours or of others that a file imports, at its top or in a function."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (rooted(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) + 1 - node.level], *([node.module] if node.module else [])])
            base = rooted(base if node.level else node.module or "")
            for alias in node.names:  # `from bbans import api` names a module, `from bbans.errors import FormatError` does not
                name = f"{base}.{alias.name}"
                yield name if (ROOT / name.replace(".", "/")).exists() or (ROOT / f"{name.replace('.', '/')}.py").exists() else base


def rooted(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"{ROOTS.get(first, first)}.{rest}" if rest else ROOTS.get(first, first)


def entry(name: str) -> str | None:
    """The entry of LAYERS that a module belongs to; None for modules of others, and for packages that only hand names on."""
    for prefix in set().union(*LAYERS):
        if name == prefix or name.startswith(f"{prefix}."):
            return prefix
    assert name in FACES or name.split(".")[0] not in {"bbans", "cli", "benchmarks"}, f"{name} is in no layer"
    return None


def layer(name: str) -> int | None:
    """The number of the layer that a module belongs to."""
    own = entry(name)
    return next((rank for rank, entries in enumerate(LAYERS) if own in entries), None)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    """To a layer below, or to the same package: modules that share a layer do not know each other."""
    own = layer(name_of(path))
    for name in imports(path):
        other = layer(name)
        if own is not None and other is not None and entry(name) != entry(name_of(path)):
            assert other < own, f"{name_of(path)} imports {name}"


def test_the_library_imports_no_command() -> None:
    for path in MODULES:
        if path.is_relative_to(ROOT / "bbans"):
            assert not {"cli", "benchmarks", "click"} & {name.split(".")[0] for name in imports(path)}, path


def test_training_is_imported_by_commands_alone() -> None:
    users = {name_of(path) for path in MODULES for name in imports(path) if name.startswith("bbans.training")}
    assert not {name for name in users if name.startswith("bbans.") and not name.startswith("bbans.training")}


def test_no_two_classes_share_a_name() -> None:
    classes = Counter(
        node.name
        for path in MODULES
        if not path.is_relative_to(ROOT / "benchmarks")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in classes.items() if count > 1} == {
        "Archive",  # the index of one, and a data set of PyTorch
        "PhotoCodec",  # of this library, of numcodecs and of Zarr
    }


def test_the_container_knows_nothing_of_pictures_or_models() -> None:
    container = ROOT / "bbans" / "formats" / "container.py"
    assert {name.split(".")[0] for name in imports(container)} <= {*sys.stdlib_module_names, "bbans"}


def test_the_core_knows_numpy_alone() -> None:
    modules = [path for path in (ROOT / "bbans" / "_core").glob("*.py") if path.name != "build_core.py"]
    assert {name.split(".")[0] for path in modules for name in imports(path)} <= {*sys.stdlib_module_names, "bbans", "numpy"}
    assert {name.split(".")[0] for name in imports(ROOT / "bbans" / "_core" / "build_core.py")} <= {
        *sys.stdlib_module_names,
        "setuptools",
    }


def test_torch_is_imported_by_what_trains() -> None:
    """And by the backend of GPUs, when it is chosen, and where commands see whether it is there."""
    users = {name_of(path) for path in MODULES for name in imports(path) if name.split(".")[0] == "torch"}
    trains = ("bbans.training.", "bbans.exact.qat", "bbans.exact.export", "bbans.exact.backends", "bbans.models.losses")
    trains = (
        *trains,
        "bbans.datasets",
        "bbans.models.blocks",
        "benchmarks.ablation",
        "benchmarks.detail",
        "benchmarks.loader",
        "benchmarks.tutorial.",
        "cli.train",
        "cli.output",
    )
    assert not {name for name in users if not name.startswith(trains) and name.rpartition(".")[2] not in ("vae", "widen")}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import vaezip_cli.main, bbans", {"torch", "numpy", "PIL"}),
        ("import bbans; bbans.inspect", {"torch"}),
        ("import bbans.models, bbans.models.photo.codec, bbans.models.topdown.codec, bbans.models.markov.codec", {"torch", "PIL"}),
        ("import bbans.sets, bbans.api", {"torch"}),
    ],
)
def test_start_is_light(code: str, absent: set[str]) -> None:
    script = f"{code}; import sys; print(sorted({absent!r} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


WITHOUT = """
import sys
for name in {absent}:
    sys.modules[name] = None  # an import of it fails
from vaezip_cli import main
sys.exit(main.run(sys.argv[1:]))
"""
HEAVY = ("torch", "numba", "safetensors", "matplotlib", "scipy", "imagecodecs")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], "Commands:"),
        (["--version"], "model photo-6"),
        (["completion", "bash"], "_vaezip_completion"),
        (["models"], "mnist-bits-1"),
        *((command.split(), "--help") for command in ("compress -h", "decompress -h", "test -h", "estimate -h", "demo -h")),
        (["list", "photo-6.png.vaez", "jpeg.jpg.vaez"], "model photo-6"),
        (["list", "-v", "model.vaez", "files.vaeza", "top-down.vaeza"], "where the bits go"),
    ],
)
def test_looking_needs_the_standard_library_and_click_alone(arguments: list[str], shown: str) -> None:
    command = [sys.executable, "-c", WITHOUT.format(absent=("numpy", "PIL", *HEAVY)), *arguments]
    done = subprocess.run(command, cwd=ROOT / "tests" / "data" / "golden", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


def test_coding_needs_numpy_and_pillow_alone(tmp_path: Path) -> None:
    """A photo by the model and an array by a model for sets, there and back, as commands."""

    def vaezip(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT.format(absent=HEAVY), *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    photo = ROOT / "cli" / "samples" / "valley.png"
    vaezip("compress", "--mode", "model", "--no-verify", "-o", "photo.vaez", str(photo))
    vaezip("decompress", "photo.vaez", "-o", "photo.png")
    with Image.open(photo) as before, Image.open(tmp_path / "photo.png") as after:
        assert (before.mode, before.size, before.tobytes()) == (after.mode, after.size, after.tobytes())
    digits = np.random.default_rng(0).integers(0, 2, (5, 28, 28)).astype(np.uint8)
    np.save(tmp_path / "digits.npy", digits)
    for model in ("mnist-bits-1", "mnist-bits-paper-1"):
        vaezip("pack", "-f", "--no-verify", "--model", model, "digits.npy")
        vaezip("unpack", "digits.npy.vaeza", "-f", "-o", "again.npy")
        assert np.array_equal(np.load(tmp_path / "again.npy"), digits)
        assert model in vaezip("list", "-v", "digits.npy.vaeza")
    assert "photo-6" in vaezip("list", "photo.vaez")
