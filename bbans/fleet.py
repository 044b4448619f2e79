"""Engines that run the packing of shards: processes of this machine, or a cluster of Dask (`pip install 'bbans[fleet]'`).

::

    with fleet.engine("tcp://scheduler:8786") as engine:
        bbans.pack("s3://photos", "s3://archive/set", executor=engine.executor, threads=engine.threads)

    fleet.graph("s3://photos", "s3://archive/set").compute()         # the same as a graph of Dask, to run it oneself

Scheduling, retries, dead workers and the dashboard are Dask's. `bbans.pack` takes any other `concurrent.futures.Executor` too, such
as that of mpi4py.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bbans.exact.runtime import cores
from bbans.formats.manifest import Manifest, Part, shard_name
from bbans.sets.writer import PackMode
from bbans.shards import state
from bbans.shards.arrays import Rows, rows_of, spans
from bbans.shards.source import ShardSource, open_source
from bbans.shards.task import PackOptions, ShardTask, pack_shard, source_digest
from bbans.shards.work import BlockWork
from bbans.shards.write import SHARD_BYTES, SHARD_IMAGES, check_target, plan, whole
from bbans.storage import Folder

RETRIES = 3
"""Of a task that fails: storage may be away for a while. What is wrong with a picture is still wrong then."""
DEATHS = 100
"""Workers that may die with a task before it counts as failed: of a cluster on this machine."""

_LOCAL = re.compile(r"local(?::([1-9]\d*))?")


@dataclass(frozen=True)
class Engine:
    """What runs tasks. `threads`: of each task; None: what it has. `dashboard`: a link to where Dask shows what goes on."""

    executor: Executor
    threads: int | None = None
    dashboard: str | None = None


@contextmanager
def engine(where: str = "local") -> Iterator[Engine]:
    """An engine, which ends with this context.

    Args:
        where: `local` or `local:N`, so many processes of this machine, which share its cores: a LocalCluster of Dask, which
            survives their deaths, or a process pool where Dask is not installed. Or a scheduler of Dask, `tcp://HOST:8786`.
    Raises: ValueError: another name. ModuleNotFoundError: no Dask. OSError: no scheduler there.
    """
    local = _LOCAL.fullmatch(where)
    if local:
        workers = int(local[1] or cores())
        with _local(workers, max(1, cores() // workers)) as found:
            yield found
        return
    if "://" not in where:
        raise ValueError(f"{where!r}: local, local:N, or the address of a scheduler, such as tcp://host:8786")
    distributed = _distributed()
    with distributed.Client(where) as client:
        yield Engine(client.get_executor(retries=RETRIES), 1, client.dashboard_link)


@contextmanager
def _local(workers: int, threads: int) -> Iterator[Engine]:
    if importlib.util.find_spec("distributed") is None:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield Engine(pool, threads)
        return
    distributed = _distributed()
    import dask

    class Deaf(distributed.WorkerPlugin):  # type: ignore[misc, name-defined]
        """Ctrl-C is for whoever has started the cluster, which then ends its workers."""

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "logging.distributed": "critical",
        # Workers would give memory back after every array, and packing photos would take a fifth more time.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    }
    with (
        _silent("tornado.application"),  # what fails reaches the tasks' futures; the rest is of a cluster that is taken apart
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, silence_logs="CRITICAL", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(Deaf(), name="deaf")
        yield Engine(client.get_executor(retries=RETRIES), threads, client.dashboard_link)


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Within this context a logger says nothing."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ModuleNotFoundError("clusters need Dask: pip install 'bbans[fleet]'") from None
    return distributed


def graph(
    source: Any,
    target: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    shard_images: int = SHARD_IMAGES,
    model: str | Path | None = None,
    scheme: str | None = None,
    chunk: int | None = None,
    mode: PackMode = "auto",
    threads: int | None = None,
    verify: bool = True,
    times: bool = True,
    read_back: bool = False,
) -> Any:
    """A `dask.delayed.Delayed` that packs a source into a set, and whose value is the `Manifest`.

    The source is listed now, and shards that are complete are left out. Blocks of a Dask array go from worker to worker: its own
    tasks are part of the graph. Arguments and errors as of `bbans.shards.pack_shards`.
    """
    from dask import delayed

    options = PackOptions(None if model is None else str(model), scheme, chunk, mode, threads, verify, times)
    check_target(source, str(target))
    pack = delayed(pack_shard, pure=False)
    if hasattr(source, "dask"):
        return _graph_of_blocks(source, str(target), options, read_back, shard_bytes, shard_images)
    found = open_source(source, shard_bytes, shard_images)
    parts = []
    for task in plan(found, str(target), options, read_back):
        name = f"pack-shard-{task.file}" if task.kept is None else f"check-shard-{task.file}"
        parts.append(task.settled or pack(task, dask_key_name=name))
    rows = None if found.rows is None else replace(found.rows, load=_nothing)
    return delayed(_finish, pure=False)(str(target), rows, parts, dask_key_name=f"write-manifest-{target}")


def _graph_of_blocks(array: Any, target: str, options: PackOptions, read_back: bool, shard_bytes: int, shard_images: int) -> Any:
    from dask import delayed

    rows = rows_of(array, "array", max(array.chunks[0]), "")
    _, kept = state.earlier(Folder(target))
    parts = []
    for number, (start, stop) in enumerate(spans(rows, shard_bytes, shard_images)):
        name = shard_name(number)
        task = delayed(_pack_block, pure=False)
        parts.append(task(array[start:stop], start, target, name, options, read_back, kept, dask_key_name=f"pack-shard-{name}"))
    return delayed(_finish, pure=False)(target, replace(rows, load=_nothing), parts, dask_key_name=f"write-manifest-{target}")


def _pack_block(
    block: Any, start: int, target: str, file: str, options: PackOptions, read_back: bool, kept: dict[str, Part]
) -> Part:
    work = BlockWork(start, block)
    digest = source_digest(work, options)
    part = kept.get(digest)
    return pack_shard(ShardTask(work, target, file, digest, options, read_back, part if part and part.file == file else None))


def _finish(target: str, rows: Rows | None, parts: Sequence[Part]) -> Manifest:
    result = whole(ShardSource(iter(()), len(parts), 0, rows), list(parts))
    state.finish(Folder(target), result)
    return result


def _nothing(start: int, stop: int) -> Any:
    """In the place of an array that is not to travel."""
    raise NotImplementedError
