"""No figure in the README, the model cards and DECISIONS.md that is not in committed JSON."""

import re
import shlex

import click
import pytest

from bbans import models
from benchmarks import claims, command, report
from benchmarks.report import BEGIN, END
from benchmarks.tutorial.__main__ import main as tutorial

ROOT = claims.ROOT
PHOTO_CARD = f"{report.CARDS}/photo-6.md"


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return claims.texts()


def test_all_figures_are_in_the_json(files: dict[str, str]) -> None:
    assert {"README.md", PHOTO_CARD, "bbans/models/DECISIONS.md"} < set(files)
    assert [str(problem) for problem in claims.check(files)] == []


@pytest.mark.parametrize("name", ["README.md", PHOTO_CARD])
def test_a_result_that_is_typed_in_is_found(files: dict[str, str], name: str) -> None:
    rate = re.search(r"\b\d\.\d{3}\b", files[name][files[name].index(BEGIN) :])
    assert rate is not None
    typed = files[name].replace(rate[0], f"{float(rate[0]) - 0.1:.3f}")
    assert claims.check({name: typed})


def test_every_figure_of_the_decisions_is_looked_up(files: dict[str, str]) -> None:
    name = claims.DECISIONS
    rates = list(re.finditer(r"\d\.\d{4}", files[name]))
    assert rates
    for rate in rates:
        other = f"{float(rate[0]) + 0.0011:.4f}"
        assert claims.check({name: files[name][: rate.start()] + other + files[name][rate.end() :]}), rate[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Files are 12.3 % smaller.", "12.3 %"),
        ("| a | 1.234 |", "1.234"),
        ("<!-- figures: latents-kodak.json -->\n2.8278 and 2.8279", "2.8279"),
        ("<!-- figures: latents-kodak.json -->\n2.8278\n<!-- figures: -->\n2.8278", "2.8278"),
        ("<!-- figures: latents-kodak.json -->\n-2.8278", "-2.8278"),
        ("<!-- figures: no-such.json -->\n24", "24"),
    ],
)
def test_a_number_without_a_source_is_found(text: str, what: str) -> None:
    assert [problem.text for problem in claims.check({"bbans/models/DECISIONS.md": text})] == [what]


@pytest.mark.parametrize(
    "text",
    [
        "`vaezip --level 9.25`, [a page](page-1.25.html), photo-6, crops of 256 x 256, 8-bit",
        "```sh\nvaezip 1.25\n```",
        "<!-- figures: latents-kodak.json -->\nOf 24 pictures, 2.828 and 2.83.",
    ],
)
def test_code_names_and_sizes_are_no_figures(text: str) -> None:
    assert claims.check({"bbans/models/DECISIONS.md": text}) == []


def test_a_block_is_what_the_json_gives(files: dict[str, str]) -> None:
    [problem] = claims.check({PHOTO_CARD: files[PHOTO_CARD].replace(END, f"One more line.\n{END}")})
    assert (problem.text, "python -m benchmarks report" in problem.what) == ("One more line.", True)
    assert claims.check({PHOTO_CARD: files[PHOTO_CARD].replace(BEGIN, "")})
    assert claims.check({"bbans/models/DECISIONS.md": f"{BEGIN}\n1\n{END}\n"})


@pytest.mark.parametrize("id", models.installed())
def test_cards_name_the_weights(files: dict[str, str], id: str) -> None:
    """Size, hash and number of parameters of the file itself."""
    card, weights = files[f"{report.CARDS}/{id}.md"], models.read(id)
    [line] = re.findall(rf"^\| weights \| .*`{id}\.safetensors`.*$", card, re.MULTILINE)
    assert f"BLAKE2b-64 {weights.hash.hex()}" in line
    for size in re.findall(r"([\d,]+) bytes", line):
        path = report.README.parent / report.CARDS / f"{id}.safetensors"
        assert int(size.replace(",", "")) == path.stat().st_size
    for parameters in re.findall(r"^\| parameters \| (\S+) million", card, re.MULTILINE):
        count = sum(layer.weight.size + layer.bias.size for layer in weights.layers.values()) / 1e6
        assert float(parameters) == pytest.approx(count, rel=0.05)


COMMANDS = re.findall(r"`((?:python|make|vaezip) [^`]*)`", (ROOT / "benchmarks" / "CLAIMS.md").read_text())
"""Those that show what the README says."""


@pytest.mark.parametrize("text", COMMANDS)
def test_the_commands_that_show_a_claim_are_there(text: str) -> None:
    program, *arguments = shlex.split(text)
    if program == "make":
        assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text()
    elif program == "vaezip":
        assert (ROOT / "cli" / f"{arguments[0]}.py").exists()
    elif arguments[1] == "pytest":
        assert len(arguments) > 2
        for name in arguments[2:]:
            path, _, test = name.partition("::")
            assert f"\ndef {test}" in (ROOT / path).read_text(), name
    else:
        parse({"benchmarks": command.command, "benchmarks.tutorial": tutorial}[arguments[1]], arguments[2:])


def parse(parser: click.Command, arguments: list[str]) -> None:
    """Raises: UsageError for options that a command does not have."""
    if isinstance(parser, command.Suite):
        name = arguments[0] if arguments[0] in command.COMMANDS else "run"
        found = parser.get_command(click.Context(parser), name)
        assert found is not None
        return parse(found, arguments[name != "run" :])
    parser.make_context("python", list(arguments))


def test_a_command_that_is_not_there_is_found() -> None:
    with pytest.raises(click.UsageError):
        parse(command.command, ["detail", "--no-such-option"])
    with pytest.raises(click.UsageError):
        parse(tutorial, ["no-such-chapter"])
