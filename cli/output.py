"""What the user sees: results on stdout, all else on stderr, one line each."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback as traceback_module
from typing import TYPE_CHECKING

from bbans.errors import BbansError

if TYPE_CHECKING:
    from bbans.accounting import Accounting
    from bbans.results import Info


class Refused(Exception):
    """Writing would destroy or lose something; the message says what."""


def error(message: str) -> None:
    """One line on stderr, if there is one to write to."""
    if sys.stderr is not None:  # print would take stdout instead, where the data may be
        with contextlib.suppress(OSError):
            print("vaezip:", printable(" ".join(message.split())), file=sys.stderr, flush=True)


note = error


def printable(text: str) -> str:
    """The text with escapes for what would break its line or command the terminal: file names may hold anything."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def cause(problem: BaseException) -> str:
    """What an exception says, in words for a user, without a full stop."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    if isinstance(problem, MemoryError):
        return "not enough memory"
    if isinstance(problem, BbansError | Refused):
        return str(problem).rstrip(".")
    return f"{type(problem).__name__}: {problem} (a fault of vaezip; VAEZIP_DEBUG=1 shows where)"


def require_torch(command: str) -> None:
    """Raises Refused, with what to do, where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise Refused(f"{command} needs torch: pip install 'bbans[train]'") from None


def traceback(wanted: bool = False) -> None:
    """The traceback of the exception at hand, for those who asked for it."""
    if (wanted or os.environ.get("VAEZIP_DEBUG")) and sys.stderr is not None:
        traceback_module.print_exc()


def close_stdout(code: int) -> int:
    """The exit code, after the last of stdout is out: a reader that went away is a failure, but not a traceback."""
    if sys.stdout is None:  # closed by the caller
        return code
    try:
        sys.stdout.flush()
    except OSError:
        # Python flushes once more when it ends, and would complain on its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    return code


def table(rows: list[list[str]]) -> str:
    """Columns as wide as their longest entry: the first to the left, all others to the right."""
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
    """Where bits come from, in a table; the last row is the sum of all above it.

    Args:
        coded_bytes: all messages together.
        rest: the name and the bytes of what is no message.
    """
    name, rest_bytes = rest
    file_bits = 8 * (coded_bytes + rest_bytes)
    entries = [
        ("-log2 p(x|z)", bits.likelihood_bits),
        ("-log2 p(z)", bits.prior_bits),
        ("+log2 q(z|x), given back", -bits.posterior_bits),
        ("initial bits", bits.initial_bits),
        ("rounding to whole words", 8 * coded_bytes - bits.net_bits),
        (name, 8 * rest_bytes),
        ("file", file_bits),
    ]
    return [
        ["where the bits go", "bits", "bits/dim", "share"],
        *([name, str(count), f"{count / dims:.4f}", f"{100 * count / file_bits:.2f} %"] for name, count in entries),
    ]


def indent(text: str) -> str:
    """The text, two columns to the right."""
    return "\n".join("  " + line for line in text.splitlines())


def how(info: Info) -> str:
    """Such as `model photo-2` or `stored webp`."""
    return f"{info.mode} {info.model or info.method}"


def sizes(info: Info) -> str:
    """Such as `1000 -> 600 bytes (60.0 %, 2.500 bits/dim)`."""
    share = ratio(info.file_bytes, info.source_bytes)
    return f"{info.source_bytes} -> {info.file_bytes} bytes ({share}, {info.bits_per_dim:.3f} bits/dim)"


def ratio(file_bytes: int, source_bytes: int) -> str:
    """Such as `60.0 %`; a header may claim a source of no bytes."""
    return f"{100 * file_bytes / source_bytes:.1f} %" if source_bytes else "-"
