"""Random crops of photos."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from diptych.data.photos import Photos
from diptych.data.split import Split, in_validation
from diptych.errors import RecipeError


def coordinates(height: int, width: int, number: int) -> np.ndarray:
    """A photo whose pixels name their place: (row, column, number of the photo)."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, number)], axis=2).astype(np.uint8)


def write(folder: Path, *photos: np.ndarray) -> Path:
    for number, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    return Photos(write(folder, *(coordinates(50, 70, number) for number in range(4))))


@given(seed=st.integers(0, 2**31), step=st.integers(0, 10**6))
def test_crops_are_pieces_of_the_photos_flipped_or_turned(photos: Photos, seed: int, step: int) -> None:
    crops = photos.crops(seed, step, 4, 32)
    assert (crops.shape, crops.dtype) == ((4, 3, 32, 32), torch.float32)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    for rows, columns, number in (crops * 255).round().int().numpy():
        if (np.diff(rows, axis=0) == 0).all():
            rows, columns = rows.T, columns.T
        assert (np.diff(rows, axis=1) == 0).all()
        assert (np.diff(columns, axis=0) == 0).all()
        assert sorted(rows[:, 0]) == list(range(rows.min(), rows.min() + 32))
        assert sorted(columns[0]) == list(range(columns.min(), columns.min() + 32))
        assert np.unique(number).size == 1
    assert torch.equal(crops, photos.crops(seed, step, 4, 32))


def test_every_epoch_shows_every_photo(photos: Photos) -> None:
    for epoch in range(3):
        shown = torch.cat([photos.crops(5, 2 * epoch + half, 2, 8) for half in range(2)])
        assert sorted((shown[:, 2, 0, 0] * 255).int().tolist()) == [0, 1, 2, 3]


def test_all_eight_orientations_occur(tmp_path: Path) -> None:
    photos = Photos(write(tmp_path, coordinates(16, 16, 0)))
    corners = {tuple(photos.crops(0, step, 1, 16)[0, :2, 0, :2].flatten().tolist()) for step in range(80)}
    assert len(corners) == 8


def test_crops_differ_between_steps_and_seeds(photos: Photos) -> None:
    crops = [photos.crops(seed, step, 4, 32) for seed in range(2) for step in range(3)]
    assert len({crop.numpy().tobytes() for crop in crops}) == 6


@pytest.mark.parametrize(("height", "width"), [(20, 64), (64, 20), (3, 2), (1, 1)])
def test_small_photos_are_extended_by_reflection(tmp_path: Path, height: int, width: int) -> None:
    crops = Photos(write(tmp_path, coordinates(height, width, 9))).crops(0, 0, 1, 32)
    rows, columns, _ = (crops[0] * 255).round().int().numpy()
    if rows[0, 0] != rows[0, 1] or columns[0, 0] != columns[1, 0]:
        rows, columns = rows.T, columns.T
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    assert (np.abs(np.diff(rows[:, 0])) <= 1).all()
    assert (np.abs(np.diff(columns[0])) <= 1).all()
    for side, seen in ((height, rows[:, 0]), (width, columns[0])):
        assert len(set(seen)) == min(side, 32)


def test_a_broken_photo_is_replaced_and_named(tmp_path: Path) -> None:
    write(tmp_path, *(coordinates(40, 40, number) for number in range(3)))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "2.png").write_bytes(b"no picture")
    photos = Photos(tmp_path)
    crops = [photos.crops(0, step, 4, 16) for step in range(3)]
    shown = {int(number) for crop in crops for number in (crop[:, 2, 0, 0] * 255).round()}
    assert shown == {0, 1}
    assert sorted(photos.broken) == ["2.png", "deep/1.png"]
    assert all(photos.broken.values())
    again = Photos(tmp_path)
    assert torch.equal(again.crops(0, 2, 4, 16), crops[2])


def test_folders_without_a_usable_photo_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no photo")
    with pytest.raises(RecipeError, match="no photos under"):
        Photos(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(RecipeError, match="none of the photos"):
        Photos(tmp_path).crops(0, 0, 1, 16)


def test_photos_are_found_below_folders_and_links(tmp_path: Path) -> None:
    inside, outside = tmp_path / "photos", tmp_path / "elsewhere"
    for folder in (inside / "deep" / "deeper", outside):
        folder.mkdir(parents=True)
    write(inside / "deep" / "deeper", coordinates(40, 40, 0))
    write(outside, coordinates(40, 40, 1))
    (inside / "deep" / "circle").symlink_to(inside)
    (inside / "more").symlink_to(outside)
    (inside / "lost.jpg").symlink_to(tmp_path / "none.jpg")
    write_hidden = inside / "._0.png"
    write_hidden.write_bytes(b"resource fork")
    photos = Photos(inside)
    names = [path.relative_to(inside).as_posix() for path in photos.paths]
    assert names == ["deep/deeper/0.png", "lost.jpg", "more/0.png"]
    shown = {int(number) for step in range(6) for number in photos.crops(0, step, 2, 8)[:, 2, 0, 0] * 255}
    assert shown == {0, 1}
    assert list(photos.broken) == ["lost.jpg"]
    assert photos.problems[0].startswith("Photo lost.jpg was left out: ")
    assert "no such file" in photos.problems[0]
    assert photos.summary().splitlines() == [f"3 photos in {inside}, without labels", *photos.problems]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_photos_of_any_kind(tmp_path: Path, mode: str) -> None:
    grey = np.linspace(0, 255, 40 * 40).reshape(40, 40).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert("RGB" if mode == "P" else "L").convert(mode)
    image.save(tmp_path / "photo.tif")
    crop = Photos(tmp_path).crops(0, 0, 1, 40)
    assert crop.shape == (1, 3, 40, 40)
    expected = grey if mode != "1" else np.asarray(image.convert("L"))
    assert abs(float(crop.mean()) - expected.mean() / 255) < 0.02
    assert float(crop.max() - crop.min()) > 0.95


def test_photos_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(coordinates(30, 50, 0)).save(tmp_path / "photo.png", exif=exif)
    pixels = Photos(tmp_path).pixels(0)
    assert pixels is not None
    assert pixels.shape == (50, 30, 3)


def test_crops_do_not_depend_on_the_memory(photos: Photos) -> None:
    size = 50 * 70 * 3
    for memory in (0, size, 2 * size + 1):
        small = Photos(photos.folder, memory=memory)
        for step in (3, 0, 9):
            assert torch.equal(small.crops(1, step, 4, 32), photos.crops(1, step, 4, 32))


def test_a_sample_has_nothing_in_it(tmp_path: Path) -> None:
    write(tmp_path, *(coordinates(40, 40, number) for number in range(2)))
    (tmp_path / "1.png").write_bytes(b"no picture")
    photo, boxes, labels, masks = Photos(tmp_path).sample(1, np.random.default_rng(0))
    assert np.array_equal(photo, coordinates(40, 40, 0))
    assert (boxes.shape, labels.shape, masks.shape) == ((0, 4), (0,), (0, 40, 40))


def test_limit_takes_the_first_photos(photos: Photos) -> None:
    limited = Photos(photos.folder, limit=2)
    assert [path.name for path in limited.paths] == ["0.png", "1.png"]
    numbers = (limited.crops(0, 0, 4, 8)[:, 2, 0, 0] * 255).int().tolist()
    assert sorted(numbers) == [0, 0, 1, 1]


def test_too_few_photos_for_two_parts(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    empty: Split = "train" if in_validation("a.png") else "validation"
    with pytest.raises(RecipeError, match=f"leave none for '{empty}': set split=all"):
        Photos(tmp_path, split=empty)
