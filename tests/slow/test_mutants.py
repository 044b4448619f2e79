"""The run of mutations itself, on a tree of two files."""

from pathlib import Path

import pytest

from tests.mutants import run
from tests.mutants.mutations import MUTATIONS, Mutation

CODE = "def twice(x: int) -> int:\n    return 2 * x\n\n\ndef unused() -> int:\n    return 1\n"
TESTS = "from code_of import twice\n\n\ndef test_twice() -> None:\n    assert twice(3) == 6\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "code_of.py").write_text(CODE)
    (tmp_path / "test_code.py").write_text(TESTS)
    return tmp_path


def mutation(what: str, old: str, new: str, test: str = "test_code.py") -> Mutation:
    return Mutation(what, "code_of.py", ((old, new),), (test,))


KILLED = mutation("adds one", "2 * x", "2 * x + 1")
LIVES = mutation("changes what no test sees", "return 1", "return 2")


def test_a_mutation_that_a_test_sees(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([], [KILLED], tree) == 0
    printed = capsys.readouterr().out
    assert "| adds one | code_of.py | killed | test_code.py::test_twice |" in printed and "1 of 1 killed" in printed
    assert (tree / "code_of.py").read_text() == CODE


def test_one_that_lives_is_no_success(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([], [LIVES, KILLED], tree) == 1
    printed = capsys.readouterr().out
    assert "| changes what no test sees | code_of.py | LIVES |" in printed and "1 of 2 killed" in printed
    assert run.main(["adds"], [LIVES, KILLED], tree) == 0  # that one alone


@pytest.mark.parametrize(
    ("broken", "result"),
    [
        (mutation("is not there", "3 * x", "2 * x"), "NO MATCH | 0 times"),
        (mutation("is there twice", "int", "str"), "NO MATCH | 3 times"),
        (mutation("is no Python", "2 * x", "2 *"), "BROKEN |"),
        (mutation("has another word in a test's name", "2 * x", "3 * x", "test_code.py::test_thrice"), ""),
    ],
)
def test_what_shows_nothing_is_no_success(tree: Path, capsys: pytest.CaptureFixture[str], broken: Mutation, result: str) -> None:
    assert run.main([], [broken], tree) == 1
    printed = capsys.readouterr()
    assert result in printed.out if result else "do not pass on the code as it is" in printed.err


def test_tests_must_pass_before(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "code_of.py").write_text(CODE.replace("2 * x", "3 * x"))
    assert run.main([], [mutation("takes one", "3 * x", "3 * x - 1")], tree) == 1
    assert "test_code.py::test_twice" in capsys.readouterr().err


def test_the_list_says_what_it_does() -> None:
    assert len({mutation.what for mutation in MUTATIONS}) == len(MUTATIONS) >= 40
    for mutation in MUTATIONS:
        assert (run.ROOT / mutation.file).exists(), mutation.what
        assert all((run.ROOT / test.partition("::")[0]).exists() for test in mutation.tests), mutation.what
        assert all(old != new for old, new in mutation.edits), mutation.what
        assert all((run.ROOT / mutation.file).read_text().count(old) == 1 for old, _ in mutation.edits), mutation.what
