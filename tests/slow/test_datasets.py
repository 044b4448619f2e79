"""Archives as data sets: the same pictures in every worker and rank, and models that are trained on them."""

import subprocess
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import bbans
from bbans.datasets import Archive, ChunkBatches
from bbans.errors import UnsupportedImageError
from bbans.sets.group import GroupReader
from bbans.training.data.archived import is_archived
from bbans.training.data.images import read_images
from bbans.training.data.photos import read_photos

SECONDS = 240
"""The longest that anything is waited for, on a machine that others use too."""
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 6, 7, 3), np.uint8)


def packed(folder: Path, source: Any, kind: str) -> Path:
    target = folder / ("set" if kind == "set" else "one.vaeza")
    bbans.pack(source, target, mode="stored", **({"shard_images": 8} if kind == "set" else {}))
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, image in enumerate(IMAGES[:20]):
        Image.fromarray(image[..., 0] if number % 2 else image).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("kind", ["archive", "set"])
def test_images_of_an_array(tmp_path: Path, kind: str) -> None:
    archive = Archive(packed(tmp_path, IMAGES, kind))
    expected = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    assert len(archive) == 50 and torch.equal(archive[17], expected[17]) and torch.equal(archive[-1], expected[49])
    wanted = [40, 3, 3, -2, 17]
    assert torch.equal(torch.stack(archive.__getitems__(wanted)), expected[wanted])
    assert archive[0].dtype == torch.uint8 and archive[0].is_contiguous()
    archive[5].zero_()  # a copy
    assert torch.equal(archive[5], expected[5])
    with pytest.raises(IndexError):
        archive[50]
    archive.close()
    assert torch.equal(archive[1], expected[1])
    archive.close()


@pytest.mark.parametrize("kind", ["archive", "set"])
def test_pictures_of_files(folder: Path, tmp_path: Path, kind: str) -> None:
    archive = Archive(packed(tmp_path, folder, kind), transform=lambda image: image.float() / 255)
    for number in (0, 1, 19):
        image = IMAGES[number] if number % 2 == 0 else IMAGES[number][..., :1]
        assert torch.equal(archive[number], torch.from_numpy(image).permute(2, 0, 1) / 255)
    assert [own.shape[0] for own in archive.__getitems__([3, 4, 4])] == [1, 3, 3]
    archive.close()


def test_what_is_no_picture_of_8_bits(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("no picture")
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "in" / "b.png")
    Image.fromarray(np.eye(4, 5) > 0).save(tmp_path / "in" / "c.png")
    archive = Archive(packed(tmp_path, tmp_path / "in", "archive"))
    with pytest.raises(UnsupportedImageError, match="image 0: "):
        archive[0]
    with pytest.raises(UnsupportedImageError, match="image 1: samples of uint16; tensors are uint8"):
        archive[1]
    assert (archive[2][0] > 0).tolist() == (np.eye(4, 5) > 0).tolist()
    archive.close()


def flat(batches: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def chunks_of(archive: Archive, images: list[int]) -> set[int]:
    return {chunk for chunk, own in enumerate(archive.reader.chunks()) if set(own) & set(images)}


@pytest.mark.parametrize("kind", ["archive", "set"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_of_chunks(tmp_path: Path, kind: str, workers: int) -> None:
    """Every image once; each worker has chunks of its own, but for those where the share of one ends."""
    options = {"shard_images": 24} if kind == "set" else {}
    target = tmp_path / kind if kind == "set" else tmp_path / "one.vaeza"
    bbans.pack(IMAGES, target, mode="stored", chunk=4, **options)
    archive = Archive(target)
    assert list(archive.reader.chunks()[0]) == [0, 1, 2, 3]
    batches = ChunkBatches(archive, 3, workers=workers, pool=8, seed=5)
    found = list(batches)
    assert len(found) == len(batches) == 17 and sorted(flat(found)) == list(range(50))
    assert [len(batch) for batch in found].count(3) == 16 and found == list(batches)
    shares = [chunks_of(archive, flat(found[worker::workers])) for worker in range(workers)]
    assert sum(map(len, shares)) <= len(archive.reader.chunks()) + workers - 1
    assert len(chunks_of(archive, flat(found[::workers][:2]))) <= 4  # mixed, but not among all
    batches.set_epoch(1)
    assert list(batches) != found and sorted(flat(batches)) == list(range(50))
    assert flat(ChunkBatches(archive, 50, shuffle=False)) == list(range(50))
    archive.close()


def test_batches_of_ranks(tmp_path: Path) -> None:
    """As many for each, of other images."""
    archive = Archive(packed(tmp_path, IMAGES, "archive"))
    ranks = [list(ChunkBatches(archive, 4, workers=2, rank=rank, size=3)) for rank in range(3)]
    images = flat(map(flat, ranks))
    assert [list(map(len, batches)) for batches in ranks] == [[4] * 4] * 3 and len(set(images)) == 48
    for wrong in ({"batch_size": 0}, {"batch_size": 1, "pool": 0}):
        with pytest.raises(ValueError, match="at least 1, not 0"):
            ChunkBatches(archive, **wrong)
    archive.close()


def test_each_chunk_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an epoch whose pools fit into the cache; and again where nothing is kept."""
    decoded: list[int] = []
    decode = GroupReader._decode

    def counted(self: GroupReader, decoder: Any, chunks: Any) -> Any:
        decoded.extend(chunks)
        return decode(self, decoder, chunks)

    monkeypatch.setattr(GroupReader, "_decode", counted)
    bbans.pack(IMAGES, tmp_path / "one.vaeza", mode="stored", chunk=4, verify=False)
    for cache_bytes in (1 << 20, 0):
        archive = Archive(tmp_path / "one.vaeza", cache_bytes=cache_bytes)
        decoded.clear()
        for batch in ChunkBatches(archive, 3, pool=8):
            expected = torch.from_numpy(IMAGES[batch]).permute(0, 3, 1, 2)
            assert torch.equal(torch.stack(archive.__getitems__(batch)), expected)
        assert set(decoded) == set(range(13)) and (len(decoded) == 13) == (cache_bytes > 0)
        archive.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork, in a process that has threads
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["archive", "set"])
def test_workers_of_a_loader(tmp_path: Path, start: str, kind: str) -> None:
    archive = Archive(packed(tmp_path, IMAGES, kind))
    assert len(archive) == 50 and archive[3] is not None  # opened here, and again in each worker
    loader = DataLoader(archive, batch_size=7, num_workers=2, multiprocessing_context=start, timeout=SECONDS)
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    archive.close()


RANK = """
import sys, torch
from datetime import timedelta
from torch.utils.data import DataLoader, DistributedSampler
from bbans.datasets import Archive
torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=SECONDS))
archive = Archive(sys.argv[1])
loader = DataLoader(archive, batch_size=4, sampler=DistributedSampler(archive, shuffle=False), num_workers=1, timeout=SECONDS)
total = sum(batch.long().sum() for batch in loader)
torch.distributed.all_reduce(total)
if torch.distributed.get_rank() == 0:
    print(int(total))
torch.distributed.destroy_process_group()
"""


def test_ranks_of_torchrun(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(RANK.replace("SECONDS", str(SECONDS)))
    target = packed(tmp_path, IMAGES, "set")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "rank.py", str(target)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=2 * SECONDS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == int(IMAGES.sum(dtype=np.int64))


@pytest.mark.parametrize("kind", ["archive", "set"])
def test_training_reads_archives(folder: Path, tmp_path: Path, kind: str) -> None:
    """The same pictures as of the folder, with the same hashes."""
    target = packed(tmp_path, folder, kind)
    assert is_archived(target) and not is_archived(folder) and not is_archived(tmp_path / "nothing")
    ours, theirs = read_photos([target], 1), read_photos([folder], 1)
    assert ours.signature == theirs.signature and len(ours) == 20
    for left, right in zip(ours.pixels, theirs.pixels, strict=True):
        assert np.array_equal(left, right)
    assert ours.photos[0].path.parent == target


@pytest.mark.parametrize("kind", ["archive", "set"])
def test_training_reads_archives_of_arrays(tmp_path: Path, kind: str) -> None:
    target = packed(tmp_path, IMAGES, kind)
    np.save(tmp_path / "images.npy", IMAGES)
    ours, theirs = read_images([target]), read_images([tmp_path / "images.npy"])
    assert np.array_equal(ours.pixels, theirs.pixels) and ours.signature == theirs.signature
    photos = read_photos([target], 1)
    assert len(photos) == 50 and {own.tobytes() for own in photos.pixels} == {own.tobytes() for own in IMAGES}
