"""Labels made by the shipped task network: the file, what is in it, and training on it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from typer.testing import CliRunner

from diptych.cli.main import app
from diptych.codec.defaults import CAT, TASK
from diptych.data.coco import CocoDataset
from diptych.errors import DiptychError, ModelError
from diptych.io.images import read_picture
from diptych.tasks import load_task
from diptych.tasks.pseudo_labels import SIDE, label
from diptych.training import run
from samples import picture

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is stored under an EXIF orientation."""


def cat(path: Path, orientation: int = 1) -> Path:
    """The cat, stored so that the EXIF orientation turns it upright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    with Image.open(CAT) as image:
        stored = image.transpose(UPRIGHT[orientation]) if orientation > 1 else image
        stored.save(path, exif=exif)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/{cat.png, deep/turned.png, noise.png, broken.png}"""
    cat(tmp_path / "photos" / "cat.png")
    cat(tmp_path / "photos" / "deep" / "turned.png", 6)
    picture(90, 70).save(tmp_path / "photos" / "noise.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_what_is_found_is_what_the_task_network_finds(folder: Path, tmp_path: Path) -> None:
    made = label(folder, TASK, tmp_path / "labels.json", 0.3)
    assert (made.photos, len(made.problems)) == (3, 1)
    assert made.problems[0].startswith("broken.png was left out: ")
    data = CocoDataset(folder, tmp_path / "labels.json")
    network = load_task(TASK)
    assert data.classes == network.classes
    assert data.problems == []
    assert [data.name(k) for k in range(3)] == ["cat.png", "deep/turned.png", "noise.png"]
    pixels = torch.from_numpy(np.array(read_picture(CAT).image)).permute(2, 0, 1).float() / 255
    [found] = network.predict([pixels])
    certain = found["scores"] >= 0.3
    boxes, labels, masks = data.instances(0)
    assert labels.tolist() == found["labels"][certain].tolist()
    assert network.classes[labels[0] - 1] == "cat"
    assert np.allclose(boxes, found["boxes"][certain].numpy(), atol=0.02)
    assert np.array_equal(masks, found["masks"][certain, 0].numpy() > 0.5)
    scores = [entry["score"] for entry in read(tmp_path / "labels.json")["annotations"][: len(labels)]]
    assert np.allclose(scores, found["scores"][certain], atol=1e-4)


@pytest.fixture(scope="module")
def upright_cat(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    folder = tmp_path_factory.mktemp("upright")
    cat(folder / "cat.png")
    label(folder, TASK, folder / "labels.json")
    return CocoDataset(folder, folder / "labels.json")


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def filled(box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    x0, y0, x1, y1 = box.round().astype(int)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos_are_seen_upright_and_labelled_as_stored(
    tmp_path: Path, upright_cat: CocoDataset, orientation: int
) -> None:
    cat(tmp_path / "photos" / "cat.png", orientation)
    label(tmp_path / "photos", TASK, tmp_path / "labels.json")
    data = CocoDataset(tmp_path / "photos", tmp_path / "labels.json")
    with Image.open(tmp_path / "photos" / "cat.png") as image:
        assert data.photo(0).shape[:2] == image.size[::-1]
    ([box], _, [mask]), ([wanted_box], _, [wanted_mask]) = data.instances(0), upright_cat.instances(0)
    wanted = [Image.fromarray(each) for each in (filled(wanted_box, wanted_mask.shape), wanted_mask)]
    if orientation > 1:
        wanted = [each.transpose(UPRIGHT[orientation]) for each in wanted]
    assert overlap(filled(box, mask.shape), np.asarray(wanted[0])) > 0.98
    assert np.array_equal(mask, np.asarray(wanted[1]))


@pytest.mark.slow
def test_large_photos_are_seen_smaller_and_labelled_at_their_size(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with Image.open(CAT) as image:
        image.resize((SIDE + 460, 1668)).save(tmp_path / "photos" / "large.jpg")
    cat(tmp_path / "photos" / "small.png")
    label(tmp_path / "photos", TASK, tmp_path / "labels.json")
    data = CocoDataset(tmp_path / "photos", tmp_path / "labels.json")
    assert data.photo(0).shape == (1668, SIDE + 460, 3)
    [large], [small] = data.instances(0)[2], data.instances(1)[2]
    enlarged = np.asarray(Image.fromarray(small).resize(large.shape[::-1]))
    assert overlap(large, enlarged) > 0.9


@pytest.mark.slow
def test_the_command_and_its_output(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "labels.json"
    arguments = ["label", str(folder), "--task", str(TASK), "-o", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {output}: 3 photos, {len(read(output)['annotations'])} instances\n"
    [note] = result.stderr.splitlines()
    assert note.startswith("diptych: note: broken.png was left out: ")
    assert [path.name for path in output.parent.iterdir()] == ["labels.json"]
    first = output.read_bytes()
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert CliRunner().invoke(app, [*arguments[:2], "-o", str(output), "--overwrite"]).exit_code == 0
    assert output.read_bytes() == first


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    for number in range(5):
        picture(60, 40 + number, seed=number).save(folder / f"{number:02}.png")
    label(folder, TASK, tmp_path / "whole.json", 0.05)
    code = f"from pathlib import Path; from diptych.tasks.pseudo_labels import label; label(Path({str(folder)!r}), "
    code += f"Path({str(TASK)!r}), Path({str(tmp_path / 'labels.json')!r}), 0.05)"
    victim = subprocess.Popen([sys.executable, "-c", code])
    notes = tmp_path / ".diptych-labels.json.part"
    while victim.poll() is None and (not notes.exists() or notes.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "labels.json").exists()
    notes.write_bytes(notes.read_bytes() + b'["cut of')
    known = json.loads(notes.read_bytes().splitlines()[1])[0]
    (folder / known).write_bytes(b"no longer a picture")
    made = label(folder, TASK, tmp_path / "labels.json", 0.05)
    assert made.problems == []
    assert (tmp_path / "labels.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not notes.exists()


@pytest.mark.slow
def test_notes_of_another_run_are_not_used(folder: Path, tmp_path: Path) -> None:
    label(folder, TASK, tmp_path / "whole.json", 0.3)
    for notes in (b"", b"not JSON\n", b'{"task": "other"}\n["cat.png", [1, 1], []]\n', b"5\n5\n"):
        (tmp_path / ".diptych-labels.json.part").write_bytes(notes)
        label(folder, TASK, tmp_path / "labels.json", 0.3, overwrite=True)
        assert (tmp_path / "labels.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_folders_and_task_networks_that_cannot_be_used(folder: Path, tmp_path: Path, codec_file: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DiptychError, match="no photos in"):
        label(tmp_path / "empty", TASK, tmp_path / "labels.json")
    (tmp_path / "empty" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DiptychError, match=r"none of the photos .* can be read"):
        label(tmp_path / "empty", TASK, tmp_path / "labels.json")
    with pytest.raises(ModelError, match="no task network"):
        label(folder, codec_file, tmp_path / "labels.json")
    (tmp_path / "features.yaml").write_text("kind: features\n")
    with pytest.raises(ModelError, match="finds no objects"):
        label(folder, tmp_path / "features.yaml", tmp_path / "labels.json")
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "empty", "features.yaml"}


@pytest.mark.slow
def test_a_network_trains_on_these_labels(folder: Path, tmp_path: Path) -> None:
    label(folder, TASK, tmp_path / "labels.json")
    recipe = tmp_path / "task.yaml"
    recipe.write_text(
        f"photos: {folder}\nlabels: {tmp_path / 'labels.json'}\nbatch: 2\ncrop: 64\nsize: 64\nimagenet: false\n"
        f"loop: {{out: {tmp_path / 'out'}, steps: 2, threads: 1, precision: fp32, warmup: 1}}\n"
    )
    assert load_task(run("task", recipe)).classes == load_task(TASK).classes


@pytest.mark.slow
def test_a_codec_trains_on_these_labels(folder: Path, tmp_path: Path, codec_file: Path) -> None:
    label(folder, TASK, tmp_path / "labels.json")
    recipe = tmp_path / "base.yaml"
    recipe.write_text(
        f"photos: [{{folder: {folder}, labels: {tmp_path / 'labels.json'}}}]\n"
        f"start: {codec_file}\ntasks: [{TASK}]\n"
        f"batch: 2\ncrop: 64\nhandover: 0\n"
        f"loop: {{out: {tmp_path / 'out'}, steps: 2, threads: 1, precision: fp32, warmup: 1}}\n"
    )
    assert run("base", recipe).is_file()
