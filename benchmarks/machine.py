"""What a figure was measured on: machine, versions, commit; and the memory and time of a call."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bbans.exact.runtime import cores

from .rows import Cost, Stamp

PACKAGES = ("bbans", "numpy", "torch", "pillow", "imagecodecs", "craystack")
ROOT = Path(__file__).resolve().parent.parent
REPORTS = ("benchmarks/results", "README.md")
"""What measuring changes itself: a tree that differs in nothing else is not dirty."""
_STATUS, _CLEAR, _CPUINFO = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/cpuinfo")
_MIB = 1024  # of the kB of /proc


def stamp() -> Stamp:
    """This machine, now."""
    return Stamp(
        commit=commit(),
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        processor=_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=cores(),
        system=f"{platform.system()} {platform.machine()}",
        versions=versions(),
        vnni=vnni(_cpuinfo("flags")),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def about() -> dict[str, Any]:
    """The same as a dictionary of `machine`, `versions` and `commit`, for results that are no rows."""
    now = stamp()
    machine = {"processor": now.processor, "cores": now.cores, "system": now.system, "vnni": now.vnni}
    return {"machine": machine, "versions": now.versions, "commit": now.commit}


def vnni(flags: str | None) -> bool | None:
    """Whether an x86 processor with these flags has VNNI; None where there are none to look at."""
    return None if flags is None else not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags.split())


def _cpuinfo(field: str) -> str | None:
    """A field of the first processor, where the system tells."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    values = [value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == field]
    return values[0] if values else None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    known = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


def commit(root: Path = ROOT) -> str | None:
    """The commit of the checkout in this folder, `-dirty` when anything but REPORTS differs; None where there is no checkout."""
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", ".", *(f":!{path}" for path in REPORTS))
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changed else head


class Watch:
    """`cost`: what a block of code took, threads included; complete after the block."""

    cost: Cost


@contextmanager
def watch() -> Iterator[Watch]:
    """Measure a block of code. Its memory is the peak above what was resident before; Linux alone can tell."""
    measured = Watch()
    try:
        _CLEAR.write_text("5")
        before: int | None = _resident("VmRSS")
    except OSError:
        before = None
    wall, cpu = time.perf_counter(), time.process_time()
    yield measured
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    mib = None if before is None else (_resident("VmHWM") - before) / _MIB
    measured.cost = Cost(wall, cpu, mib)


def _resident(field: str) -> int:
    """A field of the process's status, in KiB."""
    [size] = re.findall(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(size)
