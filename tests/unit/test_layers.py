"""Imports go down only, in all of `bbans`, `cli` and `benchmarks`, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: From the bottom up. A module imports from layers below its own, and from the packages that stand in its own entry.
LAYERS = [
    {"bbans.errors", "bbans.accounting", "bbans.files", "bbans.tables"},
    {
        "bbans._core",
        "bbans.formats.tensors",
        "bbans.formats.wire",
        "bbans.formats.lzma2",
        "bbans.images.pillow",
    },
    {"bbans.ans"}
    | {f"bbans.formats.{name}" for name in ("blob", "container", "names")}
    | {f"bbans.images.{name}" for name in ("chunks", "frames")},
    {"bbans.codecs", "bbans.formats.archive"} | {f"bbans.images.{name}" for name in ("gif", "npy", "png", "raster", "webp")},
    {"bbans.combinators", "bbans.meter", "bbans.images.apng"},
    {"bbans.images.picture"},
    {"bbans.bitsback", "bbans.craystack", "bbans.formats.stored", "bbans.images.objects"},
    {"bbans.montecarlo", "bbans.results"},
    {"bbans.inputs"},
    {"bbans.exact"},
    {"bbans.models"},
    {"bbans.vaez"},
    {"bbans.api"},
    {"bbans.sets"},
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


def test_the_container_knows_nothing_of_pictures_or_models() -> None:
    container = ROOT / "bbans" / "formats" / "container.py"
    assert {name.split(".")[0] for name in imports(container)} <= {*sys.stdlib_module_names, "bbans"}


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
