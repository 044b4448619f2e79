"""Archives as data sets: the same pictures in every worker and rank, and models that are trained on them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import bbans
from bbans.datasets import Archive
from bbans.errors import UnsupportedImageError
from bbans.training.data.archived import is_archived
from bbans.training.data.images import read_images
from bbans.training.data.photos import read_photos

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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork, in a process that has threads
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["archive", "set"])
def test_workers_of_a_loader(tmp_path: Path, start: str, kind: str) -> None:
    archive = Archive(packed(tmp_path, IMAGES, kind))
    assert len(archive) == 50 and archive[3] is not None  # opened here, and again in each worker
    loader = DataLoader(archive, batch_size=7, num_workers=2, multiprocessing_context=start)
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    archive.close()


RANK = """
import sys, torch
from torch.utils.data import DataLoader, DistributedSampler
from bbans.datasets import Archive
torch.distributed.init_process_group("gloo")
archive = Archive(sys.argv[1])
loader = DataLoader(archive, batch_size=4, sampler=DistributedSampler(archive, shuffle=False), num_workers=1)
total = sum(batch.long().sum() for batch in loader)
torch.distributed.all_reduce(total)
if torch.distributed.get_rank() == 0:
    print(int(total))
torch.distributed.destroy_process_group()
"""


def test_ranks_of_torchrun(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(RANK)
    target = packed(tmp_path, IMAGES, "set")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "rank.py", str(target)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
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
