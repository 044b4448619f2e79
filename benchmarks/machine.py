"""What a figure was measured on: machine, versions, commit; and the memory of a call."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bbans.exact.runtime import cores

PACKAGES = ("bbans", "numpy", "numba", "torch", "pillow", "imagecodecs", "craystack")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MIB = 1024  # of the kB of /proc


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def about() -> dict[str, Any]:
    """`machine`, `versions` and `commit`: what every row of results carries."""
    return {
        "machine": {"processor": processor(), "cores": cores(), "system": f"{platform.system()} {platform.machine()}"},
        "versions": versions(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that this file is in, ``-dirty`` when something was changed since; None in an installation."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


class Memory:
    """`mib`: how far resident memory rose above what it was before the call; None where the system does not tell."""

    mib: float | None = None


@contextmanager
def watch_memory() -> Iterator[Memory]:
    """Measure the peak of a block of code, threads included. Linux alone can reset its high-water mark."""
    memory = Memory()
    try:
        _CLEAR.write_text("5")
        before = _resident("VmRSS")
    except OSError:
        yield memory
        return
    yield memory
    memory.mib = (_resident("VmHWM") - before) / _MIB


def _resident(field: str) -> int:
    """A field of the process's status, in KiB."""
    [found] = re.findall(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(found)
