"""Several processes against one, measured and planned."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bbans
from benchmarks import drill, fleet, loader

MEASURED = {"manifest_bytes_a_shard": 350.0, "manifest_seconds_a_shard": 1e-5, "task_overhead_seconds": 0.01}


def test_a_job_of_any_size() -> None:
    crops = fleet.plan(10**9, 3000, 0.01, MEASURED)
    assert (crops.shards, crops.manifest_bytes, crops.list_requests) == (100_000, 35e6, 10**6)
    assert crops.cores_at_most == pytest.approx(10_000 * 0.01 / 0.01) and crops.core_hours == pytest.approx(1e7 / 3600)
    photos = fleet.plan(10**6, 20_000_000, 100.0, MEASURED)
    assert photos.shards == -(-(10**6) // 12) and photos.scheduler_seconds == pytest.approx(photos.shards * 0.01)
    text = fleet.table(3000, 0.01, MEASURED)
    assert text.count("\n| 10^") == 7 and "One scheduler keeps 10,000 cores busy." in text


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_measurement(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    measured = fleet.measure(images=12, workers=1, shard_images=6)
    assert measured["images"] == 12 and measured["one"]["file_bytes"] == measured["many"]["file_bytes"] > 0
    assert 0 < measured["many"]["task_seconds"] <= measured["many"]["seconds"] and measured["engine_share"] < 1
    assert measured["machine_speed_up"] > 0.1  # of one worker, about 1
    assert json.loads(json.dumps(measured))["shards"] == measured["shards"] >= 2
    assert fleet.table(3000, 0.01, measured)


def test_who_is_killed(tmp_path: Path) -> None:
    """The worker that has been busy for longest, of those of this client, and none twice."""
    log = tmp_path / "log"
    processes = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(3)]
    try:
        earlier, idle, busy = (process.pid for process in processes)
        log.write_text(f"0 a {earlier}\n")
        job = drill.Drill([sys.executable, "-c", ""], log)
        job.start()
        log.write_text(f"{log.read_text()}0 b {idle}\n0 c {busy}\n1 b {idle}\n0 d {busy}\nnot yet who")
        assert drill.lines(log)[1:4] == [drill.Line(False, "b", idle), drill.Line(False, "c", busy), drill.Line(True, "b", idle)]
        job.kill_worker()
        job.kill_worker()
        assert processes[2].wait(60) < 0 and job.worker_deaths == 1
        assert processes[0].poll() is processes[1].poll() is None
        job.kill_client()
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_drill(tmp_path: Path) -> None:
    """Whoever is killed, and when, the bytes are the same, or this raises."""
    pytest.importorskip("distributed")
    fleet.write_crops(tmp_path / "crops", 48)
    found = drill.drill(tmp_path / "crops", tmp_path, workers=2, shard_images=4, every=6.0)
    assert found["begun"] >= found["ended"] >= found["shards"] >= 12 and found["ended_twice"] <= found["ended"] - found["shards"]
    assert found["client_deaths"] <= 1 and json.loads(json.dumps(found)) == found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork, in a process that has threads
def test_what_a_loader_reads(tmp_path: Path) -> None:
    bbans.pack(np.random.default_rng(0).integers(0, 256, (30, 6, 7), np.uint8), tmp_path / "a.vaeza", mode="stored", chunk=5)
    found = loader.measure(tmp_path / "a.vaeza", batch=4, workers=2, rounds=1)
    assert found["images"] == 30 and list(found["ways"]) == ["decoder", "in_order", "in_order_by_workers", "mixed_by_workers"]
    assert all(own["images_per_second"] > 0 and own["cpu_seconds"] > 0 for own in found["ways"].values())
