"""Work on many files, several at a time: one line of progress, an error for each that fails, a summary.

Threads read and compute. The main thread writes, in the order of the inputs, so that a signal finds no other that is at it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bbans.files import remove_stale
from bbans.progress import Progress
from bbans.storage import RemoteFile, is_url

from . import files, jobs, output, report
from .inputs import Inputs, Item, folders
from .progress import ProgressLine, duration

PIXELS_AT_ONCE = 1 << 27
"""Pictures that are coded at the same time have at most so many pixels together, unless one alone has more."""

REFRESH_SECONDS = 0.2

_MALLOC = {-3: 4 << 20, -1: 16 << 20}
"""M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in malloc.h of the GNU C library: blocks of so many bytes go back to the system when they
are freed, and of smaller ones what is more than so many bytes."""


@dataclass(frozen=True)
class Product:
    """What became of a file.

    Attributes:
        data: to be written to `target`, or to stdout if that is None; None: nothing is written.
        line: for people.
        fields: for --json.
        status: of the source when it was read.
        code: the exit code, of what is written though not all is well; the source is kept then.
        status_word: for --json.
    """

    line: str
    target: Path | RemoteFile | None = None
    data: bytes | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()
    status: os.stat_result | None = None
    source_bytes: int = 0
    result_bytes: int = 0
    code: int = 0
    status_word: str = "done"


@dataclass(frozen=True)
class FileProgress:
    """How far a file is that is worked on: units done and in all (see `bbans.progress`), since when, and when that was told."""

    doing: str
    done: int
    total: int
    began: float
    told: float

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    def left_seconds(self, now: float) -> float:
        """How long the rest takes, if it goes on as it did. Raises: ZeroDivisionError: nothing is done yet."""
        return max(0.0, (self.told - self.began) * (self.total - self.done) / self.done - (now - self.told))


@dataclass
class Tally:
    """How far the work is.

    Attributes:
        parts: how far the files are that are worked on, as far as that is told.
    """

    files: int
    size_bytes: int
    began: float = field(default_factory=time.monotonic)
    clock: Callable[[], float] = time.monotonic
    parts: dict[Item, FileProgress] = field(default_factory=dict)
    done: int = 0
    skipped: int = 0
    failed: int = 0
    handled_bytes: int = 0
    worked_bytes: int = 0
    source_bytes: int = 0
    result_bytes: int = 0

    def watch(self, item: Item) -> Progress:
        """What a file is worked on with, to tell how far it is: in any thread."""

        def tell(doing: str, done: int, total: int) -> None:
            now, before = self.clock(), self.parts.get(item)
            self.parts[item] = FileProgress(doing, done, total, before.began if before else now, now)

        return tell

    def progress(self, item: Item) -> str:
        """Such as `12 of 300 files, 45.3 MB of 120 MB, 1.20 MB/s, 1 min 02 s to go: sea.png`.

        Of a single file, such as `sea.png: coding, 38 %, 125 kB/s, 40 s to go`, and its time as long as there is nothing to tell.
        """
        name, now = output.printable(item.source), self.clock()
        if self.files == 1:
            part = self.parts.get(item)
            if part is None or not part.done:
                return f"{name}: {duration(now - self.began)}"
            words = [part.doing, f"{100 * part.share:.0f} %"]
            if item.size_bytes and part.told > part.began:
                words.append(f"{output.size(round(item.size_bytes * part.share / (part.told - part.began)))}/s")
            return f"{name}: {', '.join([*words, f'{duration(part.left_seconds(now))} to go'])}"
        count = self.done + self.skipped + self.failed
        begun = sum(item.size_bytes * part.share for item, part in list(self.parts.items()))
        handled, worked = round(self.handled_bytes + begun), self.worked_bytes + begun
        words = [f"{count} of {self.files} files", f"{output.size(handled)} of {output.size(self.size_bytes)}"]
        if worked:
            rate = worked / (now - self.began)
            words += [f"{output.size(round(rate))}/s", f"{duration((self.size_bytes - handled) / rate)} to go"]
        return f"{', '.join(words)}: {name}"

    def summary(self, smaller: bool) -> str:
        """Such as `300 files, 120 MB -> 45.1 MB (37.6 %), 210 s; 3 skipped, 1 failed`."""
        text = f"{self.done} file{output.plural(self.done)}, {output.size(self.source_bytes)}"
        if self.result_bytes:
            text += f" -> {output.size(self.result_bytes)}"
            text += f" ({output.ratio(self.result_bytes, self.source_bytes)})" if smaller else ""
        text += f", {duration(time.monotonic() - self.began)}"
        rest = [f"{count} {what}" for what, count in (("skipped", self.skipped), ("failed", self.failed)) if count]
        return "; ".join([text, ", ".join(rest)]) if rest else text


class PixelBudget:
    """Lets so many pixels be worked on at a time; a larger picture when there is no other."""

    def __init__(self, pixels: int = PIXELS_AT_ONCE) -> None:
        self._pixels, self._held, self._free = pixels, 0, threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and keep it while this context lasts."""
        with self._free:
            self._free.wait_for(lambda: not self._held or self._held + pixels <= self._pixels)
            self._held += pixels
        try:
            yield
        finally:
            with self._free:
                self._held -= pixels
                self._free.notify_all()


def give_back_large_blocks() -> None:
    """Let large blocks of memory go back to the system when they are freed, where the C library is that of GNU.

    It sets its limits to the size of what was freed, and then each thread keeps its own: 100 MB for a large picture. What is taken
    and freed for each strip of a picture stays below them, as the system needs time to clear memory.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in _MALLOC.items():
                mallopt(parameter, value)


def workers(job: jobs.Job, items: int) -> tuple[int, int]:
    """(files at a time, threads for each): all cores for either."""
    from bbans.exact.runtime import cores

    threads = job.threads or cores()
    at_once = 1 if job.device != "cpu" else max(1, min(threads, items))
    return at_once, max(1, threads // at_once)


def run(
    found: Inputs,
    work: Callable[[Item, Progress | None], Product],
    job: jobs.Job,
    *,
    at_once: int,
    effect: str,
    smaller: bool = False,
) -> int:
    """Do the work for each file, and write what comes of it. Returns the highest exit code.

    Args:
        work: called in threads, and with something to tell how far it is, if anybody sees it.
        effect: how the line of an error ends.
        smaller: whether the summary has the ratio of the sizes.
    """
    give_back_large_blocks()
    tally = Tally(len(found.items), sum(item.size_bytes for item in found.items))
    line = ProgressLine(job.quiet or job.no_progress)
    many = tally.files + len(found.faults) > 1
    code = 0
    for source, error in found.faults:
        tally.failed += 1
        code = max(code, jobs.fail(source, error, effect=effect, verbose=job.verbose, as_json=job.as_json))
    if job.output_dir is not None and not job.dry_run and not is_url(job.output_dir):
        for folder in folders(found.items):
            files.make_folder(Path(job.output_dir, folder))
            remove_stale(Path(job.output_dir, folder))
    pool = ThreadPoolExecutor(at_once)
    queue: deque[tuple[Item, Future[Product]]] = deque()
    items = iter(found.items)
    ended = False
    try:
        while True:
            while len(queue) < 4 * at_once and (item := next(items, None)) is not None:
                queue.append((item, pool.submit(work, item, tally.watch(item) if line.wanted else None)))
            if not queue:
                break
            item, future = queue.popleft()
            while not wait([future], REFRESH_SECONDS if line.wanted else None).done:
                line.show(tally.progress(item))
            try:
                product = future.result()
                line.clear()
                _commit(item, product, job, tally)
                code = max(code, product.code)
            except output.Skip as skip:
                line.clear()
                tally.skipped += 1
                if skip.loud or job.verbose or not job.recursive:
                    job.note(item.source, f"{skip}: skipped")
                if job.as_json:
                    report.line(item.source, {"status": "skipped", "reason": str(skip)})
            except BrokenPipeError:
                raise  # nobody reads stdout any more: the other files are in vain too
            except Exception as error:
                line.clear()
                tally.failed += 1
                code = max(code, jobs.fail(item.source, error, effect=effect, verbose=job.verbose, as_json=job.as_json))
            tally.parts.pop(item, None)
            tally.handled_bytes += item.size_bytes
        ended = True
    finally:
        line.clear()
        pool.shutdown(wait=False, cancel_futures=True)
        if not ended and job.recursive and not job.quiet:
            output.note(f"{tally.done} of {tally.files} files are done: with --skip-existing the same command goes on from there")
    if many and not job.quiet and not job.dry_run:
        output.note(tally.summary(smaller))
    return code


def _commit(item: Item, product: Product, job: jobs.Job, tally: Tally) -> None:
    """Write a product, and say so."""
    kept = None
    if product.data is not None:
        kept = job.write(product.target, product.data, item.source, product.status, sound=not product.code)
    tally.done += 1
    tally.source_bytes += product.source_bytes
    tally.result_bytes += product.result_bytes
    tally.worked_bytes += item.size_bytes
    for note in (*(product.notes if job.verbose or product.code or not job.recursive else ()), *([kept] if kept else [])):
        if product.code:
            output.error(f"{item.source}: {note}")
        else:
            job.note(item.source, note)
    if not job.quiet and product.line and (job.verbose or job.dry_run or not job.recursive):
        output.note(product.line)
    if job.as_json:
        report.line(
            item.source, {"status": product.status_word, **product.fields, **({"notes": product.notes} if product.notes else {})}
        )


def link(item: Item, job: jobs.Job) -> Product:
    """What becomes of a link in a folder: --output-dir gets the same link. Raises: Skip: there is none. Refused, OSError."""
    if job.output_dir is None or is_url(job.output_dir):
        raise output.Skip("a link stays as it is")
    target = Path(job.output_dir, item.below, Path(item.source).name)
    if job.skip_existing and os.path.lexists(target):
        raise output.Skip(f"{target} is there already")
    if job.dry_run:
        return Product(f"{item.source}: would be linked as {target}")
    files.repeat_link(item.source, target, force=job.force)
    return Product(f"{target}: a link, as before", fields={"target": str(target), "link": os.readlink(item.source)})
