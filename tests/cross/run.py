"""Replays calls of the compiled core on other processors, and prints a table of what came out: `make cross`.

The core is compiled by the C compiler of the wheel ziglang (`zig cc`), once for each processor, and run by qemu's user mode
(qemu-user-static in Debian). The first row is this machine: its own compiler, with the address and undefined behaviour sanitisers.
For Windows, the program is run by wine, where there is one; for macOS it is only built.
Exit code: 1 if an answer differs; 2 if a tool is missing, or 0 with `--if-possible`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bbans._core.build_core import FLAGS, FOLDER, compiler
from bbans._core.convolution import VARIANTS

HERE = Path(__file__).parent
SANITISED = ["-std=c99", "-O2", "-g", "-fno-strict-aliasing", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
TARGETS = {  # of zig: what qemu calls the processor, its byte order, and flags
    "aarch64-linux-musl": ("aarch64", "little"),
    "arm-linux-musleabihf": ("arm", "little", "-mcpu=generic+v7a+neon+vfp3"),
    "riscv64-linux-musl": ("riscv64", "little"),
    "x86-linux-musl": ("i386", "little"),
    "s390x-linux-musl": ("s390x", "big"),
}
SYSTEMS = ("x86_64-windows-gnu", "aarch64-windows-gnu", "x86_64-macos", "aarch64-macos")
WINE = ["sh", "-c", 'wine "$@"; code=$?; wineserver -w; exit $code', "wine"]
"""Runs a program of the first, and waits for the server, which writes into its folder to the last."""
COLUMNS = ("processor", "byte order", "convolutions", "calls", "answers")

Row = tuple[str, str, list[str], list[str] | None]  # processor, byte order, the compiler's command, what runs the program


def this_machine() -> list[Row]:
    own = compiler()
    return [(f"this machine, {Path(own[0]).name} with sanitisers", sys.byteorder, [*own, *SANITISED], [])] if own else []


def others() -> list[Row]:
    """Raises: FileNotFoundError when a tool is missing."""
    flags = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC")]
    processors: list[Row] = [
        (target, order, [*zig(), "cc", "-target", target, *own, *flags, "-static"], emulator(name))
        for target, (name, order, *own) in TARGETS.items()
    ]
    wine = WINE if shutil.which("wine") else None
    return processors + [
        (target, "little", [*zig(), "cc", "-target", target, *flags], wine if target == SYSTEMS[0] else None) for target in SYSTEMS
    ]


def emulator(name: str) -> list[str]:
    """What runs a program of another processor, with all instructions that qemu has. Raises: FileNotFoundError"""
    found = shutil.which(f"qemu-{name}-static") or shutil.which(f"qemu-{name}")
    if not found:
        raise FileNotFoundError(f"there is no qemu-{name}: install qemu-user-static (Debian) or qemu-user")
    return [found, *([] if name == "riscv64" else ["-cpu", "max"])]  # older ones have no `max` of riscv64


def zig() -> list[str]:
    """`$ZIG`, or the wheel of this environment. Raises: FileNotFoundError"""
    if os.environ.get("ZIG"):
        return os.environ["ZIG"].split()
    if not importlib.util.find_spec("ziglang"):
        raise FileNotFoundError("there is no ziglang: pip install ziglang, or set ZIG to a command such as `python -m ziglang`")
    return [sys.executable, "-m", "ziglang"]


def replay(compile_: list[str], run: list[str] | None, folder: Path) -> tuple[bool, str, int, str]:
    """Whether all answers are equal, the variants of convolutions, how many calls there were, and the answer as a word."""
    program = folder / f"{uuid.uuid4().hex}.exe"
    sources = [str(HERE / "replay.c"), *map(str, sorted(FOLDER.glob("*.c")))]
    built = subprocess.run([*compile_, f"-I{folder}", *sources, "-o", str(program)], capture_output=True, text=True)
    if built.returncode:
        return False, "", 0, f"does not compile: {built.stderr.strip()}"
    if run is None:
        return True, "", 0, "built, not run"
    wine = {"WINEPREFIX": str(folder / "wine"), "WINEDEBUG": "-all"}
    command = [*run, str(program), str(folder / "vectors.bin")]
    done = subprocess.run(command, env=os.environ | wine, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        return False, "", 0, f"exit code {done.returncode}: {done.stderr.strip()}"
    variants, *lines = done.stdout.splitlines()
    rows = [line.split() for line in lines]
    different = [name for name, _, answer in rows if answer != "equal"]
    names = ", ".join(VARIANTS[int(number)] for number in variants.split())
    return not different, names, sum(int(calls) for _, calls, _ in rows), ", ".join(different) + " differ" if different else "equal"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-possible", action="store_true", help="where ziglang or qemu is missing, do nothing")
    options = parser.parse_args()
    try:
        rest = others()  # first: nothing is run where a tool is missing
    except FileNotFoundError as error:
        print(f"cross: {error}{'. Nothing was tried.' if options.if_possible else ''}", file=sys.stderr)
        return 0 if options.if_possible else 2
    work = [*this_machine(), *rest]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "tests.cross.record", name], check=True, cwd=HERE.parents[1])
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        all_equal = True
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda row: replay(row[2], row[3], folder), work)
            for (processor, order, *_), (equal, variants, calls, answer) in zip(work, answers, strict=True):
                all_equal &= equal
                print(f"| {processor} | {order} | {variants} | {calls} | {answer} |", flush=True)
    return 0 if all_equal else 1


if __name__ == "__main__":
    sys.exit(main())
