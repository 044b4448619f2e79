"""A job whose workers are killed one after the other, and whose client is killed once: `python -m benchmarks.fleet drill`.

The client is a process of its own. Its tasks leave a line in a file when they begin and when they end,
by which this process knows whom to kill, and in the end what was done in vain or twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bbans import fleet, shards

ROOT = Path(__file__).parents[1]
CLIENT = "import sys; from benchmarks.drill import client; client(*sys.argv[1:])"
PATIENCE_SECONDS = 600.0
"""Without a shard that ends."""
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Line:
    """That a task has begun, or ended, in a process."""

    ended: bool
    shard: str
    pid: int


def note(log: str, ended: bool, shard: str) -> None:
    """Add a line. Processes do so at the same time: each line is one write to the end of the file."""
    with open(log, "ab", buffering=0) as file:
        file.write(f"{int(ended)} {shard} {os.getpid()}\n".encode())


def lines(log: Path) -> list[Line]:
    """All lines so far. Inverse: `note`."""
    if not log.exists():
        return []
    words = [line.split(" ") for line in log.read_text().split("\n")[:-1]]
    return [Line(ended == "1", shard, int(pid)) for ended, shard, pid in words]


def noted(log: str, call: Callable[..., Any], task: Any, *others: Any) -> Any:
    """The task, between its two lines."""
    note(log, False, task.file)
    result = call(task, *others)
    note(log, True, task.file)
    return result


class Noted(Executor):
    """Another executor, whose tasks leave lines."""

    def __init__(self, executor: Executor, log: str) -> None:
        self._executor, self._log = executor, log

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        return self._executor.submit(noted, self._log, call, *arguments, **options)


def client(crops: str, target: str, log: str, shard_images: str, workers: str) -> None:
    """Pack as `vaezip pack --on local:N` does."""
    with fleet.engine(f"local:{workers}") as engine:
        shards.pack(crops, target, executor=Noted(engine.executor, log), shard_images=int(shard_images), threads=1)


@dataclass
class Drill:
    """A job that is under way, and what was killed of it."""

    command: list[str]
    log: Path
    began: float = field(default_factory=time.monotonic)
    process: subprocess.Popen[bytes] | None = None
    before: int = 0
    killed: set[int] = field(default_factory=set)
    worker_deaths: int = 0

    def start(self) -> None:
        """Start a client, for the first time or again."""
        self.before = len(lines(self.log))
        self.killed = set()
        self.process = subprocess.Popen(self.command, cwd=ROOT)

    def kill_client(self) -> None:
        """As a machine does that loses its power. Its workers notice that it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_worker(self) -> None:
        """The one that has been at its task for the longest time."""
        busy: dict[int, str] = {}
        for line in lines(self.log)[self.before :]:
            if line.ended:
                busy.pop(line.pid, None)
            elif line.pid not in self.killed:
                busy[line.pid] = line.shard
        for pid in list(busy)[:1]:
            os.kill(pid, signal.SIGKILL)
            self.killed.add(pid)
            self.worker_deaths += 1


def drill(crops: Path, folder: Path, *, workers: int, shard_images: int, every: float) -> dict[str, Any]:
    """Pack crops while a worker is killed every so many seconds, and at half of the shards the client; then compare and count.

    After a death the next one waits for a shard that ends.

    Args:
        crops: a folder of files, by its whole path. folder: for what is written, likewise.
    Raises: SystemExit: the bytes are not those of one process, the client fails, or nothing goes on.
    """
    one, many, log = folder / "one", folder / "many", folder / "log"
    shards.pack(crops, one, shard_images=shard_images, threads=1)
    expected = files_of(one)
    count = sum(name.endswith(".vaeza") for name in expected)
    command = [sys.executable, "-c", CLIENT, *map(str, (crops, many, log, shard_images, workers))]
    job = Drill(command, log)
    job.start()
    assert job.process is not None
    next_death, cut, done, done_then, last = job.began + every, False, 0, 0, job.began
    try:
        while job.process.poll() is None:
            time.sleep(LOOK_SECONDS)
            now, ended = time.monotonic(), sum(line.ended for line in lines(log))
            if ended > done:
                done, last = ended, now
            if now - last > PATIENCE_SECONDS:
                raise SystemExit(f"nothing has ended for {PATIENCE_SECONDS:g} s")
            if not cut and 2 * done >= count:
                job.kill_client()
                job.start()
                cut = True
            elif now >= next_death and done > done_then:  # else workers that need longer to start would never end anything
                job.kill_worker()
                next_death, done_then = now + every, done
    finally:
        job.kill_client()
    seconds = time.monotonic() - job.began
    if job.process.returncode != 0:
        raise SystemExit(f"the client has failed: {job.process.returncode}")
    if files_of(many) != expected:
        raise SystemExit("the killed workers have left other bytes than one process")
    begun = Counter(line.shard for line in lines(log) if not line.ended)
    ended_of = Counter(line.shard for line in lines(log) if line.ended)
    return {
        "workers": workers,
        "shards": count,
        "every_seconds": every,
        "seconds": seconds,
        "worker_deaths": job.worker_deaths,
        "client_deaths": int(cut),
        "begun": sum(begun.values()),
        "ended": sum(ended_of.values()),
        "ended_twice": sum(times > 1 for times in ended_of.values()),
    }


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of the files of a set."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
