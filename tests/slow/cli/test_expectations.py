"""The page "What you may expect": its commands run as they stand, and print what it says."""

import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[3] / "cli" / "docs" / "pages" / "expect.md"
#: As after an installation, whatever is on the PATH.
PRELUDE = f"""
set -e
python() {{ {shlex.quote(sys.executable)} "$@"; }}
vaezip() {{ python -m vaezip_cli.main "$@"; }}
"""


def chapters() -> list[tuple[str, str]]:
    """(title, text) of each chapter; what stands before the first is the first."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [("preparations", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]


def examples(text: str) -> Iterator[tuple[str, str]]:
    """(commands, what they print) of a chapter."""
    for commands, _, printed in re.findall(r"^```sh\n(.*?)^```\n(\n^```text\n(.*?)^```)?", text, re.MULTILINE | re.DOTALL):
        yield commands, printed


def is_printed(expected: str, printed: str) -> bool:
    """Whether a text is the expected one, in which `...` stands for anything."""
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


def test_the_page_has_twenty_two_points_with_commands() -> None:
    numbers = [title.partition(".")[0] for title, text in chapters()[1:] if list(examples(text))]
    assert numbers == [str(number) for number in range(1, 23)]


def test_other_words_are_seen() -> None:
    """The comparison itself."""
    assert is_printed("a ... c\n", "a b c\n")
    assert not is_printed("a ... c\n", "a b d\n") and not is_printed("a\n", "a\nb\n")


def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    for title, text in chapters():
        for commands, expected in examples(text):
            if "numcodecs" in commands and importlib.util.find_spec("numcodecs") is None:
                continue
            done = subprocess.run(
                ["bash", "-c", PRELUDE + commands],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (title, done.stdout)
            assert is_printed(expected, done.stdout), f"{title}\nexpected:\n{expected}\nprinted:\n{done.stdout}"
