"""The pages of the documentation site that are texts of the repository: a hook of MkDocs, which finds them where they are.

They keep their paths, so that links between them, and to pictures beside them, hold. Links to code and to folders become plain
text: there is no copy of those on the site. The reference is made of docstrings: a page for each entry of `REFERENCE`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TEXTS = (
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "bbans/formats/*.md", "bbans/models/*.md", "bbans/models/weights/*.md"),
    *("benchmarks/*.md", "benchmarks/results/*.md", "benchmarks/tutorial/*.md"),
)
GUIDES = ("expect.md", "fleets.md")
"""Written for the site: in its own folder."""
PICTURES = {".png", ".svg"}
REFERENCE = {
    "pictures": ("bbans.api", "bbans.results", "bbans.errors", "bbans.progress", "bbans.pillow"),
    "archives": (
        *("bbans.shards.pack", "bbans.shards.open_archive", "bbans.shards.pack_shards", "bbans.shards.reader.SetReader"),
        *("bbans.sets.writer.pack", "bbans.sets.reader.ArchiveReader", "bbans.fleet", "bbans.datasets", "bbans.storage"),
        *("bbans.numcodecs", "bbans.zarr"),
    ),
    "codecs": ("bbans.ans", "bbans.codecs", "bbans.combinators", "bbans.tables", "bbans.bitsback", "bbans.montecarlo"),
    "models": ("bbans.models", "bbans.models.registry", "bbans.models.weights"),
}
_LINK = re.compile(r"(!?)\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the texts, the pictures that they show, and the reference."""
    from mkdocs.structure.files import File

    texts = list(find())
    pages = {*texts, *GUIDES}
    for page in texts:
        content = with_links((ROOT / page).read_text(encoding="utf-8"), page, pages)
        files.append(File.generated(config, page, content=content))
        for picture in pictures(content, page):
            if files.get_file_from_path(picture) is None:
                files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    for name, modules in REFERENCE.items():
        files.append(File.generated(config, f"reference/{name}.md", content=reference(name, modules)))
    return files


def find() -> Iterator[str]:
    """The paths of all texts."""
    for pattern in TEXTS:
        yield from (path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob(pattern)))


def with_links(text: str, page: str, pages: set[str]) -> str:
    """The text of a page, with those links alone that lead to something on the site."""

    def kept(match: re.Match[str]) -> str:
        target, _, _ = match[3].partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        outside = ":" in match[3] or not target
        folder, _, guide = path.rpartition("/")
        if folder == "cli/docs/pages" and guide in GUIDES:
            return f"{match[1]}[{match[2]}]({guide})"
        on_site = path in pages or (Path(path).suffix in PICTURES and (ROOT / path).is_file())
        return match[0] if outside or on_site else match[2]

    return _LINK.sub(kept, text)


def pictures(text: str, page: str) -> Iterator[str]:
    """The paths of the pictures that a page shows or links to."""
    for match in _LINK.finditer(text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[3]))
        if Path(path).suffix in PICTURES and (ROOT / path).is_file():
            yield path


def reference(name: str, modules: tuple[str, ...]) -> str:
    """A page that mkdocstrings fills."""
    return "\n\n".join([f"# {name.capitalize()}", *(f"::: {module}" for module in modules)]) + "\n"
