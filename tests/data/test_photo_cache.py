"""Decoded photos within a budget of memory."""

from multiprocessing import get_all_start_methods
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from torch.utils.data import DataLoader, Dataset

from diptych.data.photo_cache import PhotoFile, PhotoStore, in_parallel, read_pixels
from diptych.data.photos import Photos
from diptych.errors import PictureError
from diptych.io.images import read_picture, read_stored, stored_size
from samples import picture

COUNT, WIDTH, HEIGHT = 6, 24, 16
BYTES = 3 * WIDTH * HEIGHT


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[PhotoFile]:
    folder = tmp_path_factory.mktemp("store")
    for number in range(COUNT):
        picture(WIDTH, HEIGHT, seed=number).save(folder / f"{number}.png")
    return [PhotoFile(f"{number}.png", folder / f"{number}.png") for number in range(COUNT)]


@settings(max_examples=40)
@given(st.integers(0, (COUNT + 1) * BYTES), st.lists(st.integers(0, COUNT - 1), max_size=20))
def test_photos_are_right_and_the_last_ones_stay(files: list[PhotoFile], memory: int, order: list[int]) -> None:
    store = PhotoStore(files, memory)
    for index in order:
        assert np.array_equal(store.get(index), np.asarray(picture(WIDTH, HEIGHT, seed=index)))
    latest = list(dict.fromkeys(reversed(order)))[: memory // BYTES]
    again = [store.get(index) for index in latest]
    assert all(store.get(index) is pixels for index, pixels in zip(latest, again, strict=True))


def test_what_is_kept_is_not_read_again(tmp_path: Path) -> None:
    for number in range(3):
        picture(WIDTH, HEIGHT, seed=number).save(tmp_path / f"{number}.png")
    store = PhotoStore([PhotoFile(f"{k}", tmp_path / f"{k}.png") for k in range(3)], 2 * BYTES)
    for index in (0, 1, 2):
        assert store.get(index) is not None
    for path in tmp_path.iterdir():
        path.unlink()
    assert [store.get(index) is None for index in range(3)] == [True, False, False]
    assert list(store.broken) == [0]


def test_a_photo_larger_than_the_budget_drives_nothing_out(files: list[PhotoFile], tmp_path: Path) -> None:
    picture(500, 400).save(tmp_path / "large.png")
    store = PhotoStore([files[0], PhotoFile("large", tmp_path / "large.png")], 2 * BYTES)
    first, large = store.get(0), store.get(1)
    assert large is not None
    assert large.shape == (400, 500, 3)
    assert store.get(0) is first


@pytest.mark.parametrize("orientation", [None, *range(9), 77])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_stored_and_upright(tmp_path: Path, orientation: int | None, suffix: str) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"photo{suffix}"
    picture(40, 24).save(path, exif=exif)
    stored = read_stored(path)
    with Image.open(path) as image:
        assert stored_size(path) == stored.image.size == image.size
        assert np.array_equal(np.asarray(stored.image), np.asarray(image.convert("RGB")))
    assert np.array_equal(np.asarray(stored.upright()), np.asarray(read_picture(path).image))


def test_a_photo_of_another_size_than_its_labels(files: list[PhotoFile]) -> None:
    with pytest.raises(PictureError, match="24x16 pixels, its labels are for 16x24"):
        read_pixels(files[0]._replace(size=(HEIGHT, WIDTH)))


def test_broken_files_have_no_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match="not a picture"):
        stored_size(tmp_path / "a.png")
    with pytest.raises(PictureError, match="no such file"):
        read_stored(tmp_path / "b.png")


def test_threads_read_at_once_and_leave_pillow_as_it_was(files: list[PhotoFile]) -> None:
    before = Image.MAX_IMAGE_PIXELS
    many = [*files, PhotoFile("none", Path("none.png"))] * 20

    def read(file: PhotoFile) -> bool:
        try:
            return read_pixels(file).shape == (HEIGHT, WIDTH, 3)
        except PictureError:
            return file.name == "none"

    assert all(in_parallel(read, many, "reading"))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_results_of_many_threads_are_in_order(count: int) -> None:
    assert list(in_parallel(lambda k: k * k, range(count), "squaring")) == [k * k for k in range(count)]


class Samples(Dataset[torch.Tensor]):
    def __init__(self, photos: Photos) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return 6

    def __getitem__(self, step: int) -> torch.Tensor:
        return torch.from_numpy(
            self.photos.sample(step % len(self.photos), np.random.default_rng(step)).photo.copy()
        )


@pytest.mark.slow
@pytest.mark.parametrize("start", sorted({"fork", "spawn"} & set(get_all_start_methods())))
def test_worker_processes_see_the_same_photos(files: list[PhotoFile], start: str) -> None:
    photos = Photos(files[0].path.parent, memory=4 * BYTES)
    made = DataLoader(Samples(photos), batch_size=None, num_workers=2, multiprocessing_context=start)
    assert all(torch.equal(photo, Samples(photos)[step]) for step, photo in enumerate(made))
