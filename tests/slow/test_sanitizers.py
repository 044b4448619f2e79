"""The compiled core with the compiler's sanitizers of addresses and of undefined behaviour: nothing to find by its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bbans._core.build_core import LIBRARY, compile_core, compiler

ROOT = Path(__file__).parents[2]
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"

#: Scales 4 channels of 250 positions, or of more than there are; by exponents as they must be, or not.
MISTAKE = """
import ctypes, sys, numpy as np
from bbans._core.convolution import Scaling
from bbans._core.library import PATH, library
positions, exponent = map(int, sys.argv[1:])
by = Scaling(**{name: np.full(4, exponent if name == "exponents" else 1, np.int32) for name in Scaling.FIELDS})
sums, out = np.zeros(1000, np.int32), np.zeros(1000, np.int16)
address = lambda array: ctypes.c_void_p(array.ctypes.data)
print(PATH, flush=True)
library().scale(ctypes.c_int64(0), address(sums), ctypes.c_int64(positions), ctypes.c_int64(4), ctypes.byref(by), address(out))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process whose core watches itself. The interpreter does not, so the library that notes addresses must come first."""
    command = compiler()
    if command is None:
        pytest.skip("no C compiler")
    runtime = subprocess.run([*command, "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(runtime):
        pytest.skip("the C compiler has no library for its sanitizers")
    path = tmp_path_factory.mktemp("core") / LIBRARY
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CFLAGS", FLAGS)
        try:
            compile_core(path, command)
        except RuntimeError as error:
            pytest.skip(f"the C compiler has no sanitizers: {error}")
    options = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    return {**os.environ, **options, "LD_PRELOAD": runtime, "BBANS_CORE": str(path)}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("positions", "exponent", "message"),
    [(250, 9, None), (251, 9, "heap-buffer-overflow"), (250, 99, "runtime error: shift exponent 99 is too large")],
)
def test_mistakes_are_found(environment: dict[str, str], positions: int, exponent: int, message: str | None) -> None:
    """Else it would say little that nothing is found."""
    done = run(environment, "-c", MISTAKE, str(positions), str(exponent))
    assert done.stdout.strip() == environment["BBANS_CORE"]
    assert bool(done.returncode) == bool(message)
    assert (message or "") in done.stderr


def test_nothing_is_found(environment: dict[str, str]) -> None:
    files = map(str, sorted((ROOT / "tests" / "unit").glob("test_core_*.py")))
    done = run(environment, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *files)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
