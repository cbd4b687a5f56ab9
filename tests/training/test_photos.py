"""Training crops: what they show, and that it does not matter where they are cut."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.data.crops import cut_target
from diptych.data.photo_cache import Sample
from diptych.errors import RecipeError
from diptych.training.photos import PhotoSource, TrainingPhotos
from samples import picture

CPU = torch.device("cpu")


def coordinates(height: int, width: int, number: int) -> np.ndarray:
    """A photo whose pixels say where they are and whose they are."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, number)], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, (height, width) in enumerate([(50, 70), (64, 40), (90, 33), (41, 41)]):
        Image.fromarray(coordinates(height, width, number)).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
@given(seed=st.integers(0, 2**31), number=st.integers(0, 10**6))
def test_unscaled_crops_are_pieces_of_the_photos_mirrored_or_not(folder: Path, seed: int, number: int) -> None:
    photos = TrainingPhotos([PhotoSource(folder=folder)], 4, 32)
    crops, _ = photos.draw(seed, number)
    assert crops.x.shape == (4, 3, 32, 32)
    for (rows, columns, whose), photo, window in zip(
        (crops.x * 255).numpy(), crops.photo, crops.window, strict=True
    ):
        top, left, extent, flip = window.tolist()
        assert np.allclose(rows, top + np.arange(32)[:, None], atol=0.02)
        across = left + np.arange(32)
        assert np.allclose(columns, across[::-1] if flip else across, atol=0.02)
        assert np.allclose(whose, photo)
        assert extent == 32
    again, _ = TrainingPhotos([PhotoSource(folder=folder)], 4, 32).draw(seed, number)
    assert torch.equal(crops.x, again.x)


@given(number=st.integers(0, 10**6), low=st.floats(0.3, 1), high=st.floats(1, 2))
def test_crops_cut_on_a_device_are_those_that_workers_cut(
    folder: Path, number: int, low: float, high: float
) -> None:
    source, zoom = [PhotoSource(folder=folder)], (low, high)
    loaded, resident = TrainingPhotos(source, 5, 24, zoom), TrainingPhotos(source, 5, 24, zoom)
    resident.keep_on(CPU)
    ours, theirs = loaded.draw(3, number)[0], resident.draw(3, number)[0]
    assert not len(theirs.x)
    assert torch.allclose(loaded.pictures(ours, CPU), resident.pictures(theirs, CPU), atol=1e-4)


def test_small_photos_are_enlarged(tmp_path: Path) -> None:
    Image.fromarray(coordinates(3, 90, 7)).save(tmp_path / "thin.png")
    crops, _ = TrainingPhotos([PhotoSource(folder=tmp_path)], 2, 32).draw(0, 0)
    assert crops.window[:, 2].tolist() == [3, 3]
    assert np.allclose(crops.x[:, 2] * 255, 7)


def test_every_epoch_shows_every_photo_and_shares_are_kept(tmp_path: Path, folder: Path) -> None:
    picture(60, 60).save(tmp_path / "other.png")
    sources = [PhotoSource(folder=tmp_path, share=1), PhotoSource(folder=folder, share=3.6)]
    photos = TrainingPhotos(sources, 5, 16)
    for number in range(3):
        drawn = photos.draw(1, number)[0].photo.tolist()
        assert drawn[0] == 0
        assert sorted(drawn[1:]) == [1, 2, 3, 4]
    with pytest.raises(RecipeError, match="no place for every folder"):
        TrainingPhotos([PhotoSource(folder=tmp_path, share=0.01), sources[1]], 5, 16)


@given(top=st.floats(0, 30), left=st.floats(0, 30), extent=st.floats(10, 60), flip=st.booleans())
def test_targets_follow_their_pictures(top: float, left: float, extent: float, flip: bool) -> None:
    """Every box is the one around its mask, where the whole object is in the crop."""
    masks = np.zeros((1, 100, 100), np.uint8)
    masks[0, 20:60, 35:75] = 1
    sample = Sample(coordinates(100, 100, 0), np.array([[35, 20, 75, 60]], np.float32), np.array([3]), masks)
    target = cut_target(sample, (top, left, extent, float(flip)), 48, ignore=-1)
    for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
        rows, columns = mask.amax(1).nonzero().flatten(), mask.amax(0).nonzero().flatten()
        around = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert torch.allclose(box, around.float(), atol=max(1.0, 48 / extent))
        share = float(mask.sum()) * (extent / 48) ** 2 / 1600
        assert label == (3 if share > 0.43 else -1) or 0.37 < share < 0.43


def test_labels_stay_on_the_cpu(photos: Path) -> None:
    labelled = PhotoSource(folder=photos, labels=photos / "labels.json")
    drawn = TrainingPhotos([labelled], 2, 48)
    assert drawn.classes == ("square", "box")
    assert len(drawn.draw(0, 0)[1]) == 2
    with pytest.raises(RecipeError, match="not kept on a device"):
        drawn.keep_on(CPU)
