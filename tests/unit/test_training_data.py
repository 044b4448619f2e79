"""Pictures to train on: what is read and held out, crops and batches as functions of seed and step."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bbans.errors import TrainingError, UnsupportedImageError
from bbans.training.callbacks import Stopped
from bbans.training.data import images as image_sets
from bbans.training.data.acquisition import change_acquisition, luma_and_chroma
from bbans.training.data.batches import CropBatches, ImageBatches, batches_from, order, uniform
from bbans.training.data.crops import RandomCrops
from bbans.training.data.images import ImageSet, binarise, image_set, read_images
from bbans.training.data.photos import Photo, PhotoSet, read_photos
from bbans.training.data.pictures import divide, fingerprint, hold_out, without
from tests.models import picture
from tests.training import Rows, drawings, folder_of_pictures, save

PIXELS = [picture(48, 60), picture(40, 90, seed=1)]
CPU = torch.device("cpu")


# Photos


def test_photos_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(PIXELS[1]).save(tmp_path / "b.png")
    Image.fromarray(PIXELS[1]).save(tmp_path / "the same.png")
    Image.fromarray(PIXELS[0]).save(tmp_path / "a" / "z.PNG")
    Image.fromarray(PIXELS[0][:20]).save(tmp_path / "small.png")
    Image.fromarray(PIXELS[0][..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(PIXELS[0][..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(PIXELS[0]).save(tmp_path / "curve.png", compress_level=1)
    (tmp_path / "broken.png").write_bytes((tmp_path / "b.png").read_bytes()[:300])
    (tmp_path / "notes.txt").write_text("no picture")
    told = Rows()
    photos = read_photos([tmp_path, tmp_path / "b.png"], 32, omit=[tmp_path / "curve.png"], callbacks=told)
    assert sorted(photo.path.name for photo in photos.photos) == ["b.png", "gray.png", "z.PNG"]
    assert photos.digests.tolist() == sorted(photos.digests.tolist())
    assert {pixels.shape for pixels in photos.pixels} == {(48, 60, 3), (40, 90, 3)}
    assert [
        "broken.png: " in told.notes[0],
        "deep.png: more than 8 bits" in told.notes[1],
        "side of less than 32 pixels: 1 of 4 pictures" in told.notes[2],
    ] == 3 * [True]
    assert told.counts[-1] == ("reading pictures", 6, 7)
    with pytest.raises(TrainingError, match="no picture of at least 64 x 64 pixels .4 are smaller."):
        read_photos([tmp_path], 64, omit=[tmp_path / "curve.png"])
    with pytest.raises(FileNotFoundError, match="nowhere: No such file"):
        read_photos([tmp_path / "nowhere"], 32)
    with pytest.raises(Stopped):
        read_photos([tmp_path], 32, callbacks=Rows(stop_after=1))


def test_order_and_split_follow_the_contents(tmp_path: Path) -> None:
    first = read_photos([folder_of_pictures(tmp_path / "one", 40)], 32)
    for number, path in enumerate(sorted((tmp_path / "one").iterdir())):
        path.rename(path.with_name(f"{number * 7 % 40}-{path.name}"))
    second = read_photos([(tmp_path / "one").rename(tmp_path / "two")], 32)
    assert first.digests.tolist() == second.digests.tolist()
    training, held_out = hold_out(second, most=32)
    assert len(held_out) == 2 and len(training) == 38
    turned = PhotoSet(first.photos[::-1])
    assert set(hold_out(turned, most=32)[1].digests.tolist()) == set(held_out.digests.tolist())
    assert without(first, held_out).digests.tolist() == training.digests.tolist()
    assert fingerprint(training, held_out) != fingerprint(training) != fingerprint(held_out, training)
    assert [len(part) for part in hold_out(PhotoSet(first.photos[:2]), most=32)] == [1, 1]
    assert [len(part) for part in hold_out(PhotoSet(first.photos[:1]), most=32)] == [1, 0]


def test_fingerprints_are_those_of_earlier_checkpoints() -> None:
    photos = PhotoSet(tuple(Photo(Path("x"), f"{index:032x}", PIXELS[0]) for index in range(3)))
    assert fingerprint(photos, PhotoSet()) == "87db3789869ba37ee54943662d1e367a"
    images = image_set(drawings(3))
    assert fingerprint(images, images[:1]) == "1be5a6d4824fb4984f6b56d21d80aabd"


# Sets of images


def test_images_of_arrays_and_folders(tmp_path: Path) -> None:
    """Arrays come in their order, pictures in that of their contents, whatever they are called."""
    pixels = drawings(12, channels=3)
    array = save(tmp_path / "a.npy", pixels[:5])
    folder = tmp_path / "folder"
    folder.mkdir()
    for index in range(5, 12):
        Image.fromarray(pixels[index]).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    Image.fromarray(pixels[0]).save(folder / "curve.png")
    Image.fromarray(pixels[0].astype(np.uint16)[..., 0]).save(folder / "deep.png")
    told = Rows()
    images = read_images([folder, array], omit=[folder / "curve.png"], callbacks=told)
    assert images.shape == (8, 8, 3) and images.size == "8x8x3" and len(images) == 12
    assert np.array_equal(images.pixels[:5], pixels[:5])
    assert {image.tobytes() for image in images.pixels[5:]} == {image.tobytes() for image in pixels[5:]}
    assert ["broken.png: " in told.notes[0], "deep.png: more than 8 bits" in told.notes[1], len(told.notes)] == [True, True, 2]
    for index in range(5, 12):
        (folder / f"{index}.png").rename(folder / f"{(index * 5) % 7}-.png")
    again = read_images([array, folder], omit=[folder / "curve.png"])
    assert np.array_equal(again.pixels, images.pixels)
    assert fingerprint(again) == fingerprint(images) != fingerprint(images, images)


def test_images_of_other_kinds(tmp_path: Path) -> None:
    gray = save(tmp_path / "gray.npy", drawings(3)[..., 0])
    bits = save(tmp_path / "bits.npy", drawings(3)[..., 0] > 99)
    assert read_images([gray]).shape == (8, 8, 1)
    assert read_images([bits]).binary and not read_images([gray]).binary
    assert set(np.unique(read_images([bits]).as_bits().pixels)) == {0, 1}
    rgb = save(tmp_path / "rgb.npy", drawings(3, channels=3))
    with pytest.raises(
        TrainingError, match="rgb.npy is of 8x8x3, but .*gray.npy of 8x8x1: a model of this family is for images of"
    ):
        read_images([gray, rgb])
    with pytest.raises(UnsupportedImageError, match="float.npy: its elements are float64"):
        read_images([save(tmp_path / "float.npy", np.zeros((2, 8, 8)))])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty: no images"):
        read_images([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_images([tmp_path / "nowhere"])


@pytest.mark.parametrize(("top", "binary"), [(0, True), (1, True), (255, True), (254, False)])
def test_what_is_binary(top: int, binary: bool) -> None:
    images = image_set(drawings(4) // 255 * np.uint8(top))
    assert images.binary == binary
    assert not image_set(drawings(4)).binary
    if binary:
        assert np.array_equal(images.as_bits().pixels, images.pixels > 0)


def test_split_of_images_follows_the_contents() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), np.uint8)
    pixels[50:60] = pixels[40:50]  # equal ones stay together
    images = image_set(pixels)
    most = image_sets.HELD_OUT_MOST
    training, held_out = hold_out(images, most)
    assert 4 <= len(held_out) <= 9 and len(training) + len(held_out) == 100
    assert not set(training.digests.tolist()) & set(held_out.digests.tolist())
    turned = image_set(pixels[::-1])
    assert set(hold_out(turned, most)[1].digests.tolist()) == set(held_out.digests.tolist())
    assert np.array_equal(without(images, held_out).pixels, training.pixels)
    assert [len(part) for part in hold_out(images[40:60], most, share=1.0)] == [2, 18]
    assert [len(part) for part in hold_out(images[:1], most)] == [1, 0]
    many = image_set(np.arange(60000, dtype=np.uint16).view(np.uint8).reshape(-1, 1, 2, 1))
    assert len(hold_out(many, most)[1]) == most


def test_pictures_to_measure_with() -> None:
    """A share of the pictures, or others that the user names; of these none is trained on."""
    notes: list[str] = []
    images = image_set(drawings(40))
    training, valid = divide(images, None, 2000, notes.append)
    assert (len(training), len(valid)) == (38, 2)
    training, valid = divide(images, image_set(drawings(40)[:10]), 2000, notes.append)
    assert (len(training), len(valid)) == (30, 10)
    training, valid = divide(images[:1], None, 2000, notes.append)
    assert (len(training), len(valid)) == (1, 0)
    assert notes == [
        "2 of 40 pictures are held out to measure with, by their hashes",
        "10 of 40 pictures are validation pictures too: not trained on",
        "a single picture cannot be split: nothing is held out to measure with",
    ]
    with pytest.raises(TrainingError, match="all pictures are validation pictures: nothing is left to train on"):
        divide(images[:5], images, 2000, notes.append)


def test_binarised() -> None:
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8), (4000, 256))
    sampled = binarise(pixels, "sampled", np.random.default_rng(0))
    assert set(np.unique(sampled)) == {0, 1}
    assert not sampled[:, 0].any() and sampled[:, 255].all()
    assert np.abs(sampled.mean(0) - np.arange(256) / 255).max() < 0.04
    threshold = binarise(pixels, "threshold", np.random.default_rng(0))
    assert not threshold[:, :128].any() and threshold[:, 128:].all()


# Crops


def test_crops_are_a_function_of_seed_and_index() -> None:
    crops = RandomCrops(PIXELS, 32, seed=7)
    again = RandomCrops([photo.copy() for photo in PIXELS], 32, seed=7)
    forward = [crops.sample(index, 5) for index in range(30)]
    backward = [again.sample(index, 5) for index in reversed(range(30))][::-1]
    for (x, noise), (y, other) in zip(forward, backward, strict=True):
        assert x.shape == (32, 32, 3)
        assert x.dtype == np.uint8
        assert np.array_equal(x, y)
        assert np.array_equal(noise, other)
        assert 0 < noise.min() < noise.max() < 1
    assert len({x.tobytes() for x, _ in forward}) == 30
    assert not np.array_equal(forward[0][0], RandomCrops(PIXELS, 32, seed=8).sample(0, 5)[0])


def test_noise_does_not_depend_on_the_photos() -> None:
    assert np.array_equal(RandomCrops(PIXELS, 32, 1).sample(3, 9)[1], RandomCrops(PIXELS[:1], 16, 1).sample(3, 9)[1])


def test_plain_crops_are_parts_of_a_photo() -> None:
    photo = np.arange(40 * 50 * 3).reshape(40, 50, 3).astype(np.uint8)
    crops = RandomCrops([photo], 24, seed=0, augment=False)
    windows = np.lib.stride_tricks.sliding_window_view(photo, (24, 24), axis=(0, 1)).transpose(0, 1, 3, 4, 2).reshape(-1, 24, 24, 3)
    for index in range(6):
        crop = crops.sample(index, 1)[0]
        looks = [crop, crop[:, ::-1], crop.transpose(1, 0, 2), crop.transpose(1, 0, 2)[:, ::-1]]
        assert any((windows == look).all(axis=(1, 2, 3)).any() for look in looks)


def test_acquisitions_change_some_crops() -> None:
    crop = picture(32, 32)
    changed = [change_acquisition(crop, np.random.default_rng(seed)) for seed in range(60)]
    assert all(x.shape == crop.shape and x.dtype == np.uint8 for x in changed)
    assert 15 < sum(not np.array_equal(x, crop) for x in changed) < 55


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize("seed", range(8))
def test_luma_and_chroma_are_paler_and_smoother(seed: int, side: int) -> None:
    crop = picture(side, side)
    pale = luma_and_chroma(crop, np.random.default_rng(seed))
    assert pale.shape == crop.shape and pale.dtype == np.uint8

    def colour(x: np.ndarray[Any, np.dtype[np.uint8]]) -> float:
        return float(np.abs(x[..., 0].astype(int) - x[..., 1]).mean())

    assert colour(pale) < colour(crop)
    assert np.abs(np.diff(pale[..., 0].astype(int) - pale[..., 1], axis=0)).mean() <= colour(crop)


def test_luma_and_chroma_of_gray_are_gray() -> None:
    gray = np.repeat(picture(32, 32)[..., :1], 3, 2)
    for seed in range(6):
        pale = luma_and_chroma(gray, np.random.default_rng(seed))
        assert np.array_equal(pale, np.repeat(pale[..., :1], 3, 2))


# Batches


def test_batches_of_crops_are_consecutive_samples() -> None:
    crops = RandomCrops(PIXELS, 32, 0)
    x, noise = CropBatches(crops, 3, 10)[2]
    assert x.shape == (3, 32, 32, 3)
    pixels, uniform = crops.sample(7, 10)
    assert np.array_equal(x[1].numpy(), pixels)
    assert np.array_equal(noise[1].numpy(), uniform)


def test_an_epoch_is_every_image_once() -> None:
    chosen = [order(3, 50, first, 8) for first in range(0, 400, 8)]  # 8 epochs, cut across their ends
    epochs = np.concatenate(chosen).reshape(8, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({epoch.tobytes() for epoch in epochs}) == 8
    assert np.array_equal(order(3, 50, 45, 120), np.concatenate([epochs[0, 45:], epochs[1], epochs[2], epochs[3, :15]]))
    assert not np.array_equal(order(4, 50, 0, 50), epochs[0])


@pytest.mark.parametrize("sampled", [False, True])
def test_batches_of_images_are_a_function_of_seed_and_step(sampled: bool) -> None:
    pixels = drawings(30)
    batches = ImageBatches(pixels, 8, 5, seed=7, sampled=sampled)
    for step in (0, 3, 5):
        x, noise = batches[step]
        again, other = ImageBatches(pixels.copy(), 8, 5, seed=7, sampled=sampled)[step]
        assert x.shape == (8, 8, 8, 1) and x.dtype == torch.uint8
        assert noise.shape == (8, 5) and noise.dtype == torch.float32
        assert noise.min() > 0 and noise.max() < 1
        assert torch.equal(x, again) and torch.equal(noise, other)
        if not sampled:
            assert np.array_equal(x.numpy(), pixels[order(7, 30, 8 * step, 8)])
    assert not torch.equal(batches[0][1], batches[1][1])
    assert not torch.equal(batches[0][1], ImageBatches(pixels, 8, 5, seed=8)[0][1])


def test_images_are_drawn_anew_for_every_use() -> None:
    pixels = np.full((1, 8, 8, 1), 128, np.uint8)
    batches = ImageBatches(pixels, 4, 2, seed=0, sampled=True)
    drawn = {image.tobytes() for step in range(5) for image in batches[step][0].numpy()}
    assert len(drawn) == 20


def test_noise_stays_inside() -> None:
    """The ends of (0, 1) have no finite logit, and float32 would round to them."""

    class Ends:
        def uniform(self, low: float, high: float, shape: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
            return np.array([[low, high]])

    assert torch.isfinite(torch.logit(uniform(Ends(), 1, 2))).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("sampled", [None, False, True])
def test_processes_share_a_batch(sampled: bool | None) -> None:
    """Of crops, and of images."""
    crops, pixels = RandomCrops(PIXELS, 16, 0), drawings(30)

    def batch(count: int, rank: int = 0, size: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        if sampled is None:
            return CropBatches(crops, count, 5, rank, size)[9]
        return ImageBatches(pixels, count, 5, 1, sampled, rank, size)[9]

    parts = [batch(4, rank, 2) for rank in (0, 1)]
    for part, whole in enumerate(batch(8)):
        assert torch.equal(whole, torch.cat([parts[0][part], parts[1][part]]))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("batches", [CropBatches(RandomCrops(PIXELS, 16, 0), 3, 5), ImageBatches(drawings(30), 3, 5, 5, True)])
def test_batches_do_not_depend_on_who_makes_them(batches: CropBatches | ImageBatches, workers: int) -> None:
    state = torch.get_rng_state()
    with closing(batches_from(batches, 4, CPU, workers)) as ahead:
        for step in (4, 5, 6):
            x, noise = next(ahead)
            assert x.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(x, batches[step][0].permute(0, 3, 1, 2)) and torch.equal(noise, batches[step][1])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_set_of_some_images() -> None:
    images = image_set(drawings(9))
    some = images[np.arange(9) % 2 == 0]
    assert isinstance(some, ImageSet) and len(some) == 5
    assert np.array_equal(some.digests, image_set(some.pixels).digests)
