"""Compiling works without a cache, with a damaged one, and never uses a stale one. Each in a copy of the package."""

import os
import pathlib
import shutil
import subprocess
import sys

import bbans

SOURCES = ("__init__.py", "_jit.py", "errors.py", "ans.py")
PUSH = "from bbans import ans; print(ans.push(ans.Message.empty(), 3, 2, 4).to_words().tolist())"


def copy_package(folder):
    package = folder / "bbans"
    package.mkdir()
    for name in SOURCES:
        shutil.copy(pathlib.Path(bbans.__file__).parent / name, package / name)
    return package


def run(folder, code, **environment):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "PYTHON"))}
    command = [sys.executable, "-W", "error", "-c", f"import bbans; assert {str(folder)!r} in bbans.__file__; {code}"]
    clean |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=clean, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_no_folder_can_be_written(tmp_path):
    """No folder can be made below a file, whoever runs the test."""
    package = copy_package(tmp_path)
    (package / "__pycache__").write_text("")
    nowhere = str(package / "__pycache__" / "below")
    code = f"from bbans import _jit; _jit.before_first_compile(lambda: print('compiling')); {PUSH}"
    environment = {"NUMBA_CACHE_DIR": nowhere, "XDG_CACHE_HOME": nowhere, "HOME": nowhere}
    for _ in range(2):
        assert run(tmp_path, code, **environment).split("\n") == ["compiling", "[4, 3]"]


def test_the_cache_is_used_and_may_be_damaged_or_vanish(tmp_path):
    copy_package(tmp_path)
    cache = tmp_path / "cache"
    code = f"from bbans import _jit; _jit.before_first_compile(lambda: print('compiling')); {PUSH}"
    environment = {"NUMBA_CACHE_DIR": str(cache)}
    assert run(tmp_path, code, **environment) == "compiling\n[4, 3]"
    assert run(tmp_path, code, **environment) == "[4, 3]"
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:20])
    assert run(tmp_path, code, **environment) == "compiling\n[4, 3]"
    assert run(tmp_path, code, **environment) == "[4, 3]"
    vanish = f"import shutil, bbans.ans; shutil.rmtree({str(cache)!r}); open({str(cache)!r}, 'w').close()"
    assert run(tmp_path, f"{vanish}; {PUSH}", **environment) == "[4, 3]"


def test_an_edit_of_a_callee_is_seen(tmp_path):
    """numba alone would go on using the caller's machine code."""
    package = copy_package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    callee = "from bbans._jit import jit\n\n\n@jit\ndef number():\n    return {}\n"
    caller = "from bbans._jit import jit\nfrom bbans.callee import number\n\n\n@jit\ndef call():\n    return number()\n"
    (package / "caller.py").write_text(caller)
    for number in (1, 2):
        (package / "callee.py").write_text(callee.format(number))
        assert run(tmp_path, "from bbans.caller import call; print(call())", **environment) == str(number)
