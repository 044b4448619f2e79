"""Sets packed by Dask: the same bytes as by one process, whatever becomes of its workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bbans
from bbans import fleet, shards

distributed = pytest.importorskip("distributed")

#: What distributed and its event loop leave behind when they end is theirs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(120):
        (folder / f"{number:03}.bin").write_bytes(rng.bytes(200))
    return folder


@pytest.fixture
def expected(folder: Path, tmp_path: Path) -> dict[str, bytes]:
    shards.pack(folder, tmp_path / "one", shard_images=4)
    return files_of(tmp_path / "one")


@pytest.fixture(scope="module")
def engine() -> Iterator[fleet.Engine]:
    with fleet.engine("local:2") as engine:
        yield engine


def test_workers_keep_their_memory(engine: fleet.Engine) -> None:
    """Dask would have glibc give it back after every array, which costs a fifth of the time of photos."""
    found = distributed.default_client().run(os.environ.get, "MALLOC_TRIM_THRESHOLD_")
    assert set(found.values()) == {os.environ.get("MALLOC_TRIM_THRESHOLD_")}


def test_processes_of_this_machine(engine: fleet.Engine, folder: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    assert engine.threads == max(1, fleet.cores() // 2) and (engine.dashboard or "").startswith("http")
    done = bbans.pack(folder, tmp_path / "set", executor=engine.executor, shard_images=4, threads=engine.threads)
    assert isinstance(done, shards.PackedSet) and files_of(tmp_path / "set") == expected


def test_a_process_pool(folder: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        shards.pack(folder, tmp_path / "set", executor=pool, shard_images=4)
    assert files_of(tmp_path / "set") == expected


def test_a_pool_stands_in_for_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.importlib.util, "find_spec", lambda name: None)
    with fleet.engine("local:1") as engine:
        assert isinstance(engine.executor, ProcessPoolExecutor) and engine.dashboard is None


def test_names_of_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("remote", "local:0", "local:x", ""):
        with pytest.raises(ValueError, match="local, local:N, or the address of a scheduler"), fleet.engine(where):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match="clusters need Dask: pip install"), fleet.engine("tcp://nowhere:8786"):
        pass


def test_a_scheduler_by_its_address(engine: fleet.Engine, folder: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    address = distributed.default_client().scheduler.address
    with fleet.engine(address) as other:
        assert other.threads == 1
        shards.pack(folder, tmp_path / "set", executor=other.executor, shard_images=4, threads=1)
    assert files_of(tmp_path / "set") == expected


def test_the_graph(engine: fleet.Engine, folder: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    graph = fleet.graph(folder, tmp_path / "set", shard_images=4, threads=1)
    assert f"pack-shard-set-{3:05}.vaeza" in dict(graph.dask)
    manifest = graph.compute()
    assert files_of(tmp_path / "set") == expected and isinstance(manifest, shards.Manifest)
    again = fleet.graph(folder, tmp_path / "set", shard_images=4, threads=1, read_back=True)
    assert not any(str(key).startswith("pack-shard") for key in dict(again.dask)) and again.compute() == manifest
    assert len(dict(fleet.graph(folder, tmp_path / "set", shard_images=4).dask)) == 1


def test_blocks_of_a_dask_array(engine: fleet.Engine, tmp_path: Path) -> None:
    import dask.array

    images = np.random.default_rng(0).integers(0, 256, (50, 6, 7), np.uint8)
    lazy = dask.array.from_array(images, chunks=(8, 6, 7))
    shards.pack(images, tmp_path / "here", shard_images=16, mode="stored")
    shards.pack(lazy, tmp_path / "lazy", shard_images=20, mode="stored", executor=engine.executor)
    fleet.graph(lazy, tmp_path / "graph", shard_images=20, mode="stored").compute()
    assert files_of(tmp_path / "lazy") == files_of(tmp_path / "graph") == files_of(tmp_path / "here")
    written = (tmp_path / "graph" / "set-00001.vaeza").stat().st_mtime_ns
    fleet.graph(lazy, tmp_path / "graph", shard_images=20, mode="stored").compute()
    assert (tmp_path / "graph" / "set-00001.vaeza").stat().st_mtime_ns == written
    with bbans.open_archive(tmp_path / "lazy") as archived:
        assert np.array_equal(archived[:], images)


def test_zarr_on_a_cluster(engine: fleet.Engine, tmp_path: Path) -> None:
    """Chunks are coded by the workers, and read back here; then the Zarr array becomes a set."""
    pytest.importorskip("zarr")
    import dask.array
    import zarr

    rng = np.random.default_rng(0)
    photos = np.cumsum(rng.integers(0, 2, (4, 24, 32, 3), np.uint8), axis=2, dtype=np.uint8)
    lazy = dask.array.from_array(photos, chunks=(1, 24, 32, 3))
    stored = zarr.create_array(
        str(tmp_path / "photos.zarr"),
        shape=photos.shape,
        chunks=(1, 24, 32, 3),
        dtype="uint8",
        serializer={"name": "bbans.photo"},
        compressors=None,
    )
    lazy.to_zarr(stored)
    assert np.array_equal(zarr.open_array(str(tmp_path / "photos.zarr"), mode="r")[:], photos)
    assert np.array_equal(dask.array.from_zarr(str(tmp_path / "photos.zarr")).compute(), photos)
    shards.pack(tmp_path / "photos.zarr", tmp_path / "set", executor=engine.executor, shard_images=3, threads=1)
    with bbans.open_archive(tmp_path / "set") as archived:
        assert np.array_equal(archived[:], photos)


def test_workers_that_die(folder: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    """A worker is killed by SIGKILL, again and again: the others do its work, and the bytes are the same."""
    killed: list[int] = []
    over = threading.Event()

    def kill(client: Any) -> None:
        while not over.wait(1.0) and len(killed) < 3:
            pids = list(client.run(os.getpid).values())
            if pids:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

    with fleet.engine("local:2") as engine:
        client = distributed.default_client()
        killer = threading.Thread(target=kill, args=(client,))
        killer.start()
        try:
            shards.pack(
                folder,
                tmp_path / "set",
                executor=engine.executor,
                shard_images=4,
                threads=1,
                progress=lambda state: time.sleep(0.1),
            )
        finally:
            over.set()
            killer.join()
    assert killed and files_of(tmp_path / "set") == expected


def test_the_command_on_a_cluster(engine: fleet.Engine, folder: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    address = distributed.default_client().scheduler.address
    command = [
        sys.executable,
        "-m",
        "vaezip_cli.main",
        "pack",
        str(folder),
        "-o",
        f"{tmp_path}/set/",
        "--shard-count",
        "4",
        "--on",
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "120 images in " in done.stderr, done.stderr
    assert files_of(tmp_path / "set") == expected
