"""Builds the compiled core when the package is built: the build backend of pyproject.toml, and the command that compiles.

The C compiler is `$CC`, else the first of cc, gcc and clang on the PATH that runs. Where there is none, and on Windows, the backend
asks pip for `ziglang`, a wheel that brings one. The library is loaded by ctypes and knows nothing of Python, so that one wheel
serves every version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

FOLDER = Path(__file__).parent
LIBRARY = {"win32": "core.dll", "darwin": "core.dylib"}.get(sys.platform, "core.so")
FLAGS = ["-std=c99", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-strict-aliasing", "-Wall", "-Wextra"]

STRIPPED = [] if sys.platform == "darwin" else ["-s"]  # zig's library is half of debug information; Apple's linker takes no -s
ZIG = [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]  # by itself it compiles for this very processor


def compiler() -> list[str] | None:
    """The command of this machine's C compiler; None where there is none."""
    if os.environ.get("CC"):
        return os.environ["CC"].split()
    if sys.platform == "win32":  # GCC of MinGW lays AVX registers where they must not be (its bug 54412)
        return None
    return next(([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name)) and runs(path)), None)


def runs(path: str) -> bool:
    """Whether a compiler does; that of macOS is a stub until Apple's tools are installed."""
    return subprocess.run([path, "--version"], capture_output=True).returncode == 0


def processors() -> list[str]:
    """The flags of Apple's compiler for the processors that the wheel's name stands for."""
    both = "-arch arm64 -arch x86_64" if sysconfig.get_platform().endswith("universal2") else ""
    return os.environ.get("ARCHFLAGS", both).split()


def compile_core(target: Path, command: list[str] | None = None, folder: Path = FOLDER) -> None:
    """Compile the core, from the sources in a folder, into a shared library. Raises: RuntimeError with what the compiler said."""
    command = command or ([*found, *processors()] if (found := compiler()) else ZIG)
    sources = sorted(str(path) for path in folder.glob("*.c"))
    flags = [*FLAGS, *(os.environ.get("CFLAGS", "").split() or STRIPPED)]
    with tempfile.TemporaryDirectory(dir=target.parent) as name:  # for Windows, compilers write more than one file
        built = Path(name, target.name)
        done = subprocess.run([*command, *flags, *sources, "-o", str(built)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the C compiler failed ({' '.join(command)}):\n{done.stderr}")
        os.replace(built, target)  # processes may run what is there


class BuildCore(build_py):
    """build_py, and the core compiled into the package."""

    def run(self) -> None:
        super().run()
        folder = FOLDER if self.editable_mode else Path(self.build_lib) / "bbans" / "_core"
        folder.mkdir(parents=True, exist_ok=True)
        compile_core(folder / LIBRARY)


class PlatformWheel(bdist_wheel):
    """bdist_wheel for a platform and every Python: the library is called by ctypes."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *([] if compiler() else ["ziglang"])]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(config_settings), *([] if compiler() else ["ziglang"])]


if __name__ == "__main__":
    compile_core(FOLDER / LIBRARY)
