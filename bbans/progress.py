"""How far a call is, for whoever asked. Nothing here looks at a clock: rates and times are of those who ask.

>>> work = Work(lambda what, done, total: print(what, done, "of", total))
>>> work.expect(100)
>>> work.did("coding", 40)
coding 40 of 100
"""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is going on, units of work that are done, and units in all.

A unit is about the time that the default model takes for a pixel. The units in all may change on the way.
"""


class Work:
    """Counts the work that is done and that is still expected, and tells it."""

    def __init__(self, tell: Progress | None = None) -> None:
        self._tell, self.done, self.total = tell, 0, 0

    def expect(self, units: int) -> None:
        """So many units more, or fewer, than it seemed."""
        self.total += units

    def did(self, what: str, units: int) -> None:
        """So many units are done: by now there were as many in all, whatever was expected."""
        self.done += units
        self.total = max(self.total, self.done)
        if self._tell is not None:
            self._tell(what, self.done, self.total)

    def end(self, what: str) -> None:
        """All is done that was expected."""
        self.did(what, self.total - self.done)
