"""vaezip bench: the benchmark suite. In a checkout it is the folder `benchmarks`, and runs as ``python -m benchmarks`` too."""

from __future__ import annotations

from vaezip_bench.command import command

__all__ = ["command"]
