"""The documentation site: links that lead somewhere, and no warnings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from vaezip_cli.docs import texts

ROOT = Path(__file__).parents[2]


def test_links_to_what_is_on_the_site_stay() -> None:
    text = "[a](../b.md#c) [code](x.py) ![p](p.png) [out](https://a.b/c) [here](#d) [folder](notebooks) [no](gone.png)"
    kept = texts.with_links(text, "benchmarks/tutorial/README.md", {"benchmarks/b.md"})
    assert kept == "[a](../b.md#c) code p [out](https://a.b/c) [here](#d) folder no"
    page = "benchmarks/results/kodak.md"
    shown = list(texts.pictures((ROOT / page).read_text(encoding="utf-8"), page))
    assert shown and all((ROOT / own).is_file() for own in shown)
    assert texts.with_links("[F](cli/docs/pages/fleets.md)", "README.md", set()) == "[F](fleets.md)"


def test_every_text_and_every_module_of_the_reference_is_there() -> None:
    found = list(texts.find())
    assert {"README.md", "bbans/formats/FORMAT.md", "benchmarks/tutorial/README.md", "benchmarks/results/kodak.md"} <= set(found)
    assert texts.reference("codecs", ("bbans.ans",)) == "# Codecs\n\n::: bbans.ans\n"


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "-f",
        "cli/docs/mkdocs.yml",
        "-d",
        str(tmp_path / "site"),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's view of another program's next version
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert "bb_ans" in (tmp_path / "site" / "reference" / "codecs.html").read_text(encoding="utf-8")
    assert "SetReader" in (tmp_path / "site" / "reference" / "archives.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "benchmarks" / "tutorial" / "index.html").is_file()
