"""Random crops of photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from diptych.data.photos import Photos
from diptych.data.sampling import Split, in_validation
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


def numbers(photos: Photos) -> set[int]:
    """Which photos are shown when each of them is asked for."""
    random = np.random.default_rng(0)
    return {int(photos.sample(index, random).photo[0, 0, 2]) for _ in range(4) for index in range(len(photos))}


def test_a_broken_photo_is_replaced_and_named(tmp_path: Path) -> None:
    write(tmp_path, *(coordinates(40, 40, number) for number in range(3)))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "2.png").write_bytes(b"no picture")
    photos = Photos(tmp_path)
    assert numbers(photos) == {0, 1}
    assert sorted(photos.broken) == ["2.png", "deep/1.png"]
    assert all(photos.broken.values())


def test_folders_without_a_usable_photo_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no photo")
    with pytest.raises(RecipeError, match="no photos under"):
        Photos(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(RecipeError, match="none of the photos"):
        Photos(tmp_path)


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
    assert numbers(photos) == {0, 1}
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
    pixels = Photos(tmp_path).pixels(0)
    assert pixels is not None
    assert pixels.shape == (40, 40, 3)
    expected = grey if mode != "1" else np.asarray(image.convert("L"))
    assert abs(float(pixels.mean()) - expected.mean()) < 5
    assert int(pixels.max()) - int(pixels.min()) > 242


def test_photos_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(coordinates(30, 50, 0)).save(tmp_path / "photo.png", exif=exif)
    pixels = Photos(tmp_path).pixels(0)
    assert pixels is not None
    assert pixels.shape == (50, 30, 3)


def test_a_sample_has_nothing_in_it(tmp_path: Path) -> None:
    write(tmp_path, *(coordinates(40, 40, number) for number in range(2)))
    (tmp_path / "1.png").write_bytes(b"no picture")
    photo, boxes, labels, masks = Photos(tmp_path).sample(1, np.random.default_rng(0))
    assert np.array_equal(photo, coordinates(40, 40, 0))
    assert (boxes.shape, labels.shape, masks.shape) == ((0, 4), (0,), (0, 40, 40))


def test_limit_takes_the_first_photos(photos: Photos) -> None:
    limited = Photos(photos.folder, limit=2)
    assert [path.name for path in limited.paths] == ["0.png", "1.png"]
    assert numbers(limited) == {0, 1}


def test_too_few_photos_for_two_parts(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    empty: Split = "train" if in_validation("a.png") else "validation"
    with pytest.raises(RecipeError, match=f"leave none for '{empty}': set split=all"):
        Photos(tmp_path, split=empty)
