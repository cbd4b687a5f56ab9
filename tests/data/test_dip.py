"""Data sets of ``.dip`` files, in this process and in workers."""

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from diptych.codec import engine
from diptych.codec.codec import Codec
from diptych.data.dip import DecodeDip, DipDataset
from diptych.errors import BitstreamError, DiptychError
from diptych.tasks import shipped_task
from samples import picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, codec: Codec) -> Path:
    folder = tmp_path_factory.mktemp("dips")
    for number in range(7):
        path = folder / ("cats" if number % 2 else "dogs") / f"{number}.dip"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(codec.encode(picture(20 + number, 33, number), 50))
    return folder


def expected(codec: Codec, path: Path, view: str | float) -> torch.Tensor:
    return torch.from_numpy(np.array(codec.decode(path.read_bytes(), view))).permute(2, 0, 1) / 255


@pytest.mark.parametrize("view", ["machine", "human", 0.25])
def test_items_are_the_decoded_files(folder: Path, codec: Codec, codec_file: Path, view: str | float) -> None:
    dataset = DipDataset(folder, view, model=codec_file)
    assert len(dataset) == 7
    for image, path in zip((dataset[i] for i in range(7)), dataset.files, strict=True):
        assert image.dtype == torch.float32
        assert torch.equal(image, expected(codec, path, view))


def test_view_file(folder: Path, codec: Codec, codec_file: Path) -> None:
    beside = codec_file.with_suffix(".human.safetensors")
    image = DecodeDip("human", codec_file, beside)(folder / "dogs/0.dip")
    assert torch.equal(image, expected(codec, folder / "dogs/0.dip", "human"))


@pytest.mark.slow
@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_decode(folder: Path, codec: Codec, codec_file: Path, start: str, workers: int) -> None:
    dataset = DipDataset(folder, "machine", model=codec_file, target=_name)
    loader = DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=list, multiprocessing_context=start)
    found = [item for batch in loader for item in batch]
    assert [name for _, name in found] == [path.name for path in dataset.files]
    for (image, _), path in zip(found, dataset.files, strict=True):  # a fork may get another engine
        assert torch.allclose(image, expected(codec, path, "machine"), atol=2.1 / 255)


def _name(path: Path) -> str:
    return path.name


def test_workers_feed_the_task_network(folder: Path, codec_file: Path) -> None:
    task = shipped_task()
    dataset = DipDataset(folder / "cats", "machine", model=codec_file)
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=list)
    found = [detections for images in loader for detections in task.predict(images)]
    assert len(found) == 3
    assert all(set(detections) == {"boxes", "labels", "scores", "masks"} for detections in found)


def test_batches_are_decoded_together(
    folder: Path, codec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the engine gains from it: a GPU's, which is the CPU's as well where there is no other."""
    monkeypatch.setattr(engine, "_ON_CPU", {"torch": engine._ON_CPU["torch"]})
    files = [tmp_path / f"{number}.dip" for number in range(5)]
    for path, source in zip(files, sorted(folder.rglob("*.dip")), strict=False):
        path.write_bytes(source.read_bytes())
    files.insert(2, Path(shutil.copy(files[0], tmp_path / "again.dip")))
    one_codec = Path(shutil.copy(codec_file, tmp_path))  # another name, so that no other test has loaded it
    dataset = DipDataset(files, "machine", model=one_codec, target=_name, transform=lambda image: image * 2)
    assert dataset.decode.in_batches
    loader = DataLoader(dataset, batch_size=4, collate_fn=list)
    for (image, name), path in zip((item for batch in loader for item in batch), files, strict=True):
        assert name == path.name
        assert torch.allclose(image, 2 * dataset.decode(path), atol=2.1 / 255)
    files[1].write_bytes(b"nothing")
    with pytest.raises(DiptychError, match=re.escape(str(files[1]))):
        list(loader)


def test_transform(folder: Path, codec_file: Path) -> None:
    dataset = DipDataset(sorted(folder.rglob("*.dip"))[:2], transform=lambda image: image.mean(), model=codec_file)
    assert [dataset[i].shape for i in range(2)] == [(), ()]


def test_loader_of_torchvision(folder: Path, codec: Codec, codec_file: Path) -> None:
    dataset = ImageFolder(str(folder), loader=DecodeDip("machine", codec_file), is_valid_file=lambda path: True)
    assert dataset.classes == ["cats", "dogs"]
    image, label = dataset[0]
    assert label == 0
    assert torch.equal(image, expected(codec, folder / "cats/1.dip", "machine"))


def test_a_transform_is_small_and_can_be_pickled(folder: Path, codec_file: Path) -> None:
    decode = DecodeDip("human", codec_file)
    image = decode(folder / "dogs/0.dip")
    pickled = pickle.dumps(decode)
    assert len(pickled) < 1000
    assert torch.equal(pickle.loads(pickled)((folder / "dogs/0.dip").read_bytes()), image)
    assert repr(decode) == "DecodeDip(view='human')"


def test_errors_name_the_file(tmp_path: Path, codec_file: Path, folder: Path) -> None:
    with pytest.raises(DiptychError, match="nothing to read"):
        DipDataset(tmp_path)
    (tmp_path / "bad.dip").write_bytes((folder / "dogs/0.dip").read_bytes()[:-1])
    with pytest.raises(BitstreamError, match=r"bad\.dip: The file is truncated"):
        DipDataset(tmp_path, model=codec_file)[0]
    with pytest.raises(DiptychError, match="no such file"):
        DipDataset(tmp_path / "none.dip", model=codec_file)[0]
