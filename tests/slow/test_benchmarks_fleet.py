"""Several processes against one, measured and planned."""

import json
from pathlib import Path

import pytest

from benchmarks import fleet

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
    assert json.loads(json.dumps(measured))["shards"] == measured["shards"] >= 2
    assert fleet.table(3000, 0.01, measured)
