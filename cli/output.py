"""What the user sees: results on stdout, everything else on stderr, one line each."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback as traceback_module
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from bbans.errors import BbansError

if TYPE_CHECKING:
    from bbans.accounting import Accounting
    from bbans.results import Info


Function = TypeVar("Function", bound=Callable[..., Any])


class Refused(Exception):
    """Writing would destroy or lose something; the message says what."""


class Skip(Exception):
    """A file needs no work; the message says why. A loud one is said even where there are many."""

    def __init__(self, message: str, loud: bool = False) -> None:
        super().__init__(message)
        self.loud = loud


def error(message: str) -> None:
    """Write a line to stderr, if it is open."""
    if sys.stderr is not None:  # print would fall back to stdout, where the data may be
        with contextlib.suppress(OSError):
            print("vaezip:", printable(" ".join(message.split())), file=sys.stderr, flush=True)


note = error


def printable(text: str) -> str:
    """The text with escapes for characters that would break the line or control the terminal: file names may have any."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def cause(problem: BaseException) -> str:
    """The message of an exception for the user, without a full stop."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    if isinstance(problem, MemoryError):
        return "not enough memory"
    if isinstance(problem, BbansError | Refused):
        return str(problem).rstrip(".")
    return f"{type(problem).__name__}: {problem} (a fault of vaezip; VAEZIP_DEBUG=1 shows where)"


def require_torch(command: str) -> None:
    """Raise Refused, with advice, if torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise Refused(f"{command} needs torch: pip install 'bbans[train]'") from None


def hinted(problem: BbansError, sign: str, hint: str) -> BbansError:
    """The error with a hint at the end, if its message has that sign."""
    return type(problem)(f"{problem}: {hint}") if sign in str(problem) and hint not in str(problem) else problem


def traceback(problem: BaseException | None = None) -> None:
    """Write the traceback of an exception to stderr; where VAEZIP_DEBUG says so, of the current one too."""
    if problem is None and os.environ.get("VAEZIP_DEBUG"):
        problem = sys.exc_info()[1]
    if problem is not None and sys.stderr is not None:
        traceback_module.print_exception(problem)


def close_stdout(code: int) -> int:
    """Flush stdout; returns the exit code. If nobody reads stdout any more, that is 1, without a traceback."""
    if sys.stdout is None:  # closed by the caller
        return code
    try:
        sys.stdout.flush()
    except OSError:
        # Python flushes once more when it ends, and would print an error of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    return code


def table(rows: list[list[str]]) -> str:
    """Rows as aligned columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = (
            entry.rjust(width) if place else entry.ljust(width)
            for place, (entry, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def accounting_rows(bits: Accounting, coded_bytes: int, rest: tuple[str, int], dims: int) -> list[list[str]]:
    """A table of where the bits of a file come from; the last row is the sum of the others.

    Args:
        coded_bytes: size of all messages.
        rest: name and size in bytes of the rest of the file.
    """
    name, rest_bytes = rest
    file_bits = 8 * (coded_bytes + rest_bytes)
    entries = [
        ("-log2 p(x|z)", bits.likelihood_bits),
        ("-log2 p(z)", bits.prior_bits),
        ("+log2 q(z|x), given back", -bits.posterior_bits),
        ("initial bits", bits.initial_bits),
        *([("changes of the networks", bits.changes_bits)] if bits.changes_bits else []),
        ("rounding to whole words", 8 * coded_bytes - bits.net_bits),
        (name, 8 * rest_bytes),
        ("file", file_bits),
    ]
    return [
        ["where the bits go", "bits", "bits/dim", "share"],
        *([name, str(count), f"{count / dims:.4f}", f"{100 * count / file_bits:.2f} %"] for name, count in entries),
    ]


def indent(text: str) -> str:
    """The text, indented by two columns."""
    return "\n".join("  " + line for line in text.splitlines())


def how(info: Info) -> str:
    """Such as `model photo-6` or `stored webp`."""
    return f"{info.mode} {info.model or info.method}"


def size(count: int, exact: bool = False) -> str:
    """Such as `617 bytes`, `68.9 kB`, `1.20 MB`; exactly, `68912 bytes`."""
    if exact or count < 1000:
        return f"{count} byte{plural(count)}"
    units = ["kB", "MB", "GB", "TB"]
    value = count / 1000
    while value >= 999.5 and units[1:]:
        value /= 1000
        units.pop(0)
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {units[0]}"


def plural(count: int) -> str:
    return "" if count == 1 else "s"


def sizes(info: Info, exact: bool = False) -> str:
    """Such as `1.00 kB -> 600 bytes (60.0 %, 2.500 bits/dim)`."""
    share = ratio(info.file_bytes, info.source_bytes)
    change = f"{size(info.source_bytes, exact)} -> {size(info.file_bytes, exact)}"
    return f"{change} ({share}, {info.bits_per_dim:.3f} bits/dim)"


def ratio(file_bytes: int, source_bytes: int) -> str:
    """Such as `60.0 %`, or `-`: a header may claim a source of no bytes."""
    return f"{100 * file_bytes / source_bytes:.1f} %" if source_bytes else "-"
