"""`python -m tests.fuzz.interrupted`: the command is killed at random moments, its disk is full, its folder cannot be written.

Whatever happens, each file is as it was or as it would have been without it, and the command, run again, ends as if nothing had
been. Only files with temporary names may be left, and those only by a kill.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURES = 5

Files = dict[str, bytes]


@dataclass(frozen=True)
class Command:
    """What is run in a folder, and the files that must be there before."""

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "vaezip_cli.main")


NAMES = tuple(f"pictures/{number} ä.png" for number in range(PICTURES))
COMMANDS = (
    Command("compress", ("compress", "--mode", "stored", "-f", *NAMES)),
    Command("decompress", ("decompress", "-f", *(f"{name}.vaez" for name in NAMES)), ("compress",)),
    Command("compress, inputs removed", ("compress", "--mode", "stored", "-f", "-r", "--rm", "pictures")),
    Command("decompress, inputs removed", ("decompress", "-f", "-r", "--rm", "pictures"), ("compress, inputs removed",)),
    Command("pack", ("pack", "--mode", "stored", "-f", "pictures", "-o", "set.vaeza")),
    Command("unpack", ("unpack", "-f", "set.vaeza", "-o", "there"), ("pack",)),
)


@dataclass
class Trial:
    """A command, the files before it, those after it when nothing disturbs it, and the seconds that it takes."""

    command: Command
    before: Files
    after: Files
    seconds: float

    def kill(self, folder: Path, moment: float) -> str | None:
        """Kill the command after a share of its time, and run it again. Returns what is wrong, or None."""
        _write(folder, self.before)
        process = _start(folder, self.command)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment * self.seconds)
        process.kill()
        process.communicate()
        left = _read(folder, temporary=False)
        fault = self._fault(left)
        if fault or left == self.after:
            return fault
        if _run(folder, self.command).returncode or _read(folder, temporary=False) != self.after:
            return "run again, it does not end as it should"
        return None

    def refuse(self, folder: Path, prepare: Callable[[], None], changed: str | None = None) -> str | None:
        """Run the command in a process that is prepared so that it cannot write."""
        _write(folder, self.before)
        if changed is not None:
            (folder / changed).mkdir(exist_ok=True)
            (folder / changed).chmod(0o555)
        try:
            done = _run(folder, self.command, prepare)
        finally:
            if changed is not None:
                (folder / changed).chmod(0o755)
        left = _read(folder)
        fault = self._fault(left)
        if fault:
            return fault
        if done.returncode == 0 and left != self.after:
            return "the exit code is 0, but not all is written"
        if done.returncode and (not done.stderr.startswith("vaezip: ") or "Traceback" in done.stderr):
            return f"no line of an error: {done.stderr[-300:]}"
        return None

    def _fault(self, left: Files) -> str | None:
        for name in sorted(self.before.keys() | self.after.keys() | left.keys()):
            now, was, would = (files.get(name) for files in (left, self.before, self.after))
            if now not in (was, would):
                return f"{name} is neither as it was nor as it should be"
            if was is not None and now is None:
                made = name.removesuffix(".vaez") if name.endswith(".vaez") else name + ".vaez"
                if left.get(made) != self.after[made]:
                    return f"{name} was removed, and {made} is not there"
        return None


def trials(folder: Path) -> list[Trial]:
    """Each command, run once undisturbed."""
    made: list[Trial] = []
    for command in COMMANDS:
        before = _sources()
        for trial in made:
            if trial.command.name in command.needs:
                before = dict(trial.after)
        if command.name == "decompress":  # so that each picture that is written anew shows: others of the same names
            before |= {name: b"another" for name in NAMES}
        _write(folder, before)
        begun = time.monotonic()
        done = _run(folder, command)
        assert done.returncode == 0, done.stderr
        made.append(Trial(command, before, _read(folder), time.monotonic() - begun))
        assert made[-1].after != before
    return made


def kills(folder: Path, moments: int, seed: int = 0) -> list[str]:
    """What is wrong after so many kills at random moments, the commands in turn."""
    rng, made, faults = random.Random(seed), trials(folder), []
    for number in range(moments):
        trial = made[number % len(made)]
        moment = rng.random()
        fault = trial.kill(folder, moment)
        if fault:
            faults.append(f"{trial.command.name} killed after {moment:.0%} of its time: {fault}")
    return faults


def full_disks(folder: Path, limits: tuple[int, ...] = (0, 1, 300, 700)) -> list[str]:
    """What is wrong where a file can have no more than so many bytes."""
    faults = []
    for trial in trials(folder):
        for limit in limits:
            fault = trial.refuse(folder, lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
            if fault:
                faults.append(f"{trial.command.name} with files of at most {limit} bytes: {fault}")
    return faults


def closed_folders(folder: Path) -> list[str]:
    """What is wrong where the target's folder cannot be written."""
    faults = []
    for trial in trials(folder):
        closed = {"pack": ".", "unpack": "there"}.get(trial.command.name, "pictures")
        fault = trial.refuse(folder, _like_anyone, closed)
        if fault:
            faults.append(f"{trial.command.name} into a folder that cannot be written: {fault}")
    return faults


def _like_anyone() -> None:
    """From the next program on, the administrator is not above the permissions of files any more."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError("capabilities cannot be dropped")


def _sources() -> Files:
    rng = np.random.default_rng(0)
    made = {}
    for name in NAMES:
        smooth = np.add.outer(np.arange(40), 2 * np.arange(60))[..., None] + rng.integers(0, 6, (40, 60, 3))
        path = Path(tempfile.gettempdir(), f"vaezip-{os.getpid()}.png")
        Image.fromarray(smooth.astype(np.uint8)).save(path)
        made[name] = path.read_bytes()
        path.unlink()
    return made


def _start(folder: Path, command: Command, prepare: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command.program, *command.arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def _run(folder: Path, command: Command, prepare: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    process = _start(folder, command, prepare)
    _, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, "", errors)


def _write(folder: Path, files: Files) -> None:
    """Make the folder hold just these files, all of one time, which archives keep."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        os.utime(folder / name, (1_000_000_000, 1_000_000_000))


def _read(folder: Path, temporary: bool = True) -> Files:
    """The files in a folder; `temporary`: also those with temporary names."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if temporary or not _is_temporary(path)}


def _is_temporary(path: Path) -> bool:
    return any(part.startswith(".vaezip-") and part.endswith(".tmp") for part in path.parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.interrupted", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="at which it is killed [200]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where, such as on a small disk [a temporary folder]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        faults = kills(folder, options.moments, options.seed)
        print(f"killed at {options.moments} random moments: {len(faults)} faults")
        for what, found in (("full disks", full_disks(folder)), ("folders that cannot be written", closed_folders(folder))):
            print(f"{what}: {len(found)} faults")
            faults += found
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
