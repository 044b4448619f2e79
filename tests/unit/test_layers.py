"""Imports go down only, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: From the bottom up. A module imports from layers below its own, and from its own package.
LAYERS = [
    {"bbans", "bbans.formats", "bbans.images", "bbans.errors", "bbans.files", "bbans._jit", "bbans.accounting"},
    {"bbans.ans", "bbans.tables", "bbans.formats.wire", "bbans.formats.lzma2", "bbans.images.chunks", "bbans.images.pillow"},
    {"bbans.images.frames", "bbans.kernels", "bbans.formats.container", "bbans.formats.blob", "bbans.formats.names"},
    {"bbans.codecs", "bbans.formats.archive", "bbans.images.gif", "bbans.images.png", "bbans.images.raster", "bbans.images.webp"},
    {"bbans.combinators", "bbans.images.apng"},
    {"bbans.bitsback", "bbans.craystack", "bbans.meter", "bbans.images.picture", "bbans.results"},
    {"bbans.montecarlo"},
    {"bbans.exact", "bbans.formats.stored"},
    {"bbans.models"},
    {"bbans.vaez"},
    {"bbans.api"},
    {"bbans.sets"},
    {"bbans.training"},
    {"cli"},
]
MODULES = sorted(path for folder in ("bbans", "cli") for path in (ROOT / folder).rglob("*.py"))


def unit(module: str) -> str:
    """A module of bbans, one of its sub-packages as a whole (of formats and images, each module), or the command line."""
    parts = module.split(".")
    depth = 3 if module.startswith(("bbans.formats.", "bbans.images.")) else 2
    return parts[0] if parts[0] == "cli" else ".".join(parts[:depth])


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module is not None
            # `from bbans import api` names a module, `from bbans.errors import FormatError` does not
            packages = ("bbans", "bbans.formats", "bbans.images")
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if node.module in packages else [node.module]


def layer(name: str) -> int:
    [found] = [rank for rank, names in enumerate(LAYERS) if name in names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    own = unit(name_of(path))
    for imported in map(unit, imports(path)):
        if imported.split(".")[0] != "bbans" or imported == own or imported == "bbans.__version__":
            continue
        # Its names are loaded late, see bbans/__init__.py.
        assert own == "bbans" or layer(imported) < layer(own), f"{own} imports {imported}"


def test_the_library_imports_no_command() -> None:
    commands = {"click", "cli", "vaezip_cli", "benchmarks", "vaezip_bench"}
    for path in MODULES:
        if name_of(path).startswith("bbans"):
            assert not commands & {name.split(".")[0] for name in imports(path)}, name_of(path)


def test_training_is_not_imported_by_coding() -> None:
    users = {name_of(path) for path in MODULES for name in imports(path) if unit(name) == "bbans.training"}
    assert {name for name in users if unit(name) != "bbans.training"} == {"cli.console", "cli.export", "cli.train"}


def test_the_container_knows_nothing_of_pictures_or_models() -> None:
    assert {name.split(".")[0] for name in imports(ROOT / "bbans" / "formats" / "container.py")} <= {
        *sys.stdlib_module_names,
        "bbans",
    }


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import vaezip_cli.main, bbans", {"torch", "numba", "numpy", "PIL"}),
        ("import bbans; bbans.inspect", {"torch", "numba"}),
        ("import bbans.models", {"torch", "numba"}),
    ],
)
def test_start_is_light(code: str, absent: set[str]) -> None:
    script = f"{code}; import sys; print(sorted({absent!r} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
