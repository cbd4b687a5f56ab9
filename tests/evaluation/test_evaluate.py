"""Evaluations from recipe to results, over real files of two small photos."""

import dataclasses
import io
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageFilter
from rich.console import Console
from torch import Tensor

from diptych.errors import DiptychError, RecipeError
from diptych.evaluation import people, plot, results
from diptych.evaluation.anchors import ANCHORS, PillowAnchor
from diptych.evaluation.evaluate import run
from diptych.evaluation.metrics import psnr
from pictures import textured

QUALITIES = [5, 25, 60]
INSTANCE = (20, 30, 40, 30)


class JpegCodec:
    """A codec whose machine view is a JPEG and whose human view is a blurred one."""

    model_id = b"jpeg"

    def encode(self, image: Image.Image, quality: float) -> bytes:
        return ANCHORS["jpeg"].encode(image, int(quality))

    def decode_views(self, data: bytes, views: Sequence[str | float]) -> list[Image.Image]:
        machine = ANCHORS["jpeg"].decode(data)
        human = machine.filter(ImageFilter.GaussianBlur(0.4))
        return [human if view == "human" else machine for view in views]


class BrightSpots:
    """A task network that finds the instance where it is bright, and counts the pictures it was shown."""

    classes = ("spot",)

    def __init__(self) -> None:
        self.seen: list[int] = []

    def loss(self, images: Tensor, targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        raise NotImplementedError

    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        self.seen += [hash(image.numpy().tobytes()) for image in images]
        masks = [(image.mean(dim=0) > 0.8).float()[None, None] for image in images]
        return [
            {
                "labels": torch.tensor([1]),
                "scores": torch.tensor([0.9]),
                "masks": mask,
                "boxes": torch.zeros(1, 4),
            }
            for mask in masks
        ]


class Sharp(BrightSpots):
    """Finds the instance only in pictures as sharp as the originals."""

    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        found = super().predict(images)
        rough = [image.diff(dim=2).abs().mean() > 0.01 for image in images]
        return [{k: v[: int(r)] for k, v in f.items()} for f, r in zip(found, rough, strict=True)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos with a white rectangle each, and its labels."""
    folder = tmp_path_factory.mktemp("photos")
    x, y, width, height = INSTANCE
    images, annotations = [], []
    for number, size in enumerate([(96, 80), (75, 101)]):
        pixels = textured(*size, seed=number)
        pixels[y : y + height, x : x + width] = 250
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": 7 + number, "file_name": f"{number}.png", "width": size[0], "height": size[1]})
        outline = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotations.append(
            {
                "id": number + 1,
                "image_id": 7 + number,
                "category_id": 1,
                "bbox": INSTANCE,
                "area": width * height,
                "iscrowd": 0,
                "segmentation": [outline],
            }
        )
    labels = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "spot"}]}
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


def recipe(folder: Path, **settings: object) -> Path:
    path = folder / "recipe.yaml"
    defaults = {
        "qualities": QUALITIES,
        "resamples": 20,
        "cache": str(folder / "cache"),
        "out": str(folder / "results" / "found.json"),
    }
    path.write_text(
        yaml.safe_dump(defaults | {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()})
    )
    return path


@pytest.fixture(scope="module")
def spots() -> BrightSpots:
    return BrightSpots()


@pytest.fixture(scope="module")
def found(photos: Path, spots: BrightSpots, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    path = recipe(
        folder,
        photos=photos,
        labels=photos / "labels.json",
        anchors={"jpeg": [5, 40], "webp": [0, 20, 60]},
        matched=["jpeg", "webp"],
        metrics=["psnr", "ssim", "ms_ssim", "ssimulacra2", "lpips", "sharpness", "grid", "spectral"],
        anchor_metrics=["psnr", "ssim", "ms_ssim", "ssimulacra2", "lpips"],
        bpp_range=[0.1, 8],
    )
    return run(path, ["batch=3"], JpegCodec(), spots)


def point(content: dict, codec: str, setting: float | None, view: str | None = None, matched: bool = False) -> dict:
    key = (codec, setting, view, matched)
    (entry,) = [p for p in content["points"] if (p["codec"], p["setting"], p["view"], p["matched"]) == key]
    return entry


def test_rates_are_those_of_real_files(found: Path, photos: Path) -> None:
    content = results.read(found)
    assert content["photos"] == {"names": ["0.png", "1.png"], "pixels": [96 * 80, 75 * 101]}
    files = [ANCHORS["jpeg"].encode(Image.open(photos / f"{n}.png"), 25) for n in range(2)]
    entry = point(content, "diptych", 25, "machine")
    assert entry["rows"]["bytes"] == [len(file) for file in files]
    bpp = np.mean([len(f) * 8 / p for f, p in zip(files, content["photos"]["pixels"], strict=True)])
    assert entry["summary"]["bpp"]["value"] == pytest.approx(bpp)
    expected = psnr(Image.open(photos / "0.png"), ANCHORS["jpeg"].decode(files[0]))
    assert entry["rows"]["psnr"][0] == pytest.approx(expected, abs=1e-4)


def test_every_variant_is_there(found: Path) -> None:
    content = results.read(found)
    assert len(content["points"]) == 1 + 3 * 2 + 5 + 3 * 2
    assert set(point(content, "diptych", 5, "human")["summary"]) >= {
        *("bpp", "psnr", "ssim", "ms_ssim", "sharpness", "grid_2", "grid_4", "grid_16", "spectral_8"),
        *("ap", "ap50", "ap_relative", "ap50_relative"),
    }
    assert "psnr" not in point(content, "original", None)["summary"]
    assert point(content, "diptych", 5, "human")["summary"]["ms_ssim"]["value"] is None


def test_task_network_is_scored_against_the_labels(found: Path) -> None:
    content = results.read(found)
    assert point(content, "original", None)["summary"]["ap"] == {"value": 1, "low": 1, "high": 1}
    entry = point(content, "diptych", 60, "machine")["summary"]
    assert entry["ap50"]["value"] == pytest.approx(1)
    assert entry["ap_relative"]["value"] == pytest.approx(entry["ap"]["value"])


def test_no_picture_is_looked_at_twice(found: Path, spots: BrightSpots) -> None:
    assert len(spots.seen) == len(set(spots.seen))


def test_matched_anchors_stay_in_the_bytes(found: Path) -> None:
    content = results.read(found)
    for quality in QUALITIES:
        ours = point(content, "diptych", quality, "machine")["rows"]
        assert point(content, "jpeg", quality, matched=True)["rows"]["bytes"] == ours["bytes"]
        webp = point(content, "webp", quality, matched=True)["rows"]
        for size, budget, fits in zip(webp["bytes"], ours["bytes"], webp["fits"], strict=True):
            assert fits == (size <= budget)


def test_differences_are_paired(found: Path) -> None:
    content = results.read(found)
    named = {(c["tested"], c["reference"]): c["difference"] for c in content["comparisons"]}
    assert len(named) == 3 * (1 + 2 * 2)
    rows = [point(content, "diptych", 25, view)["rows"]["psnr"] for view in ("human", "machine")]
    difference = named["diptych q25 human", "diptych q25 machine"]
    assert difference["psnr"]["value"] == pytest.approx(np.mean(np.subtract(*rows)), abs=1e-4)
    same = named["diptych q25 machine", "jpeg in the bytes of q25"]
    assert same["psnr"] == {"value": 0, "low": 0, "high": 0}
    assert same["ap"] == {"value": 0, "low": 0, "high": 0}


def test_bd_rates(found: Path) -> None:
    content = results.read(found)
    entries = {(e["view"], e["anchor"], e["metric"]): e for e in content["bd_rate"]}
    same = entries["machine", "jpeg", "psnr"]
    assert same["value"] == pytest.approx(0, abs=8)
    assert same["shared"][0] < same["shared"][1]
    assert same["defined"] == 1
    assert not same["problem"]
    assert entries["machine", "webp", "psnr"]["low"] <= entries["machine", "webp", "psnr"]["high"]
    for metric in ("ssimulacra2", "lpips"):  # at equal score, whichever way is better
        same = entries["machine", "jpeg", metric]
        assert same["value"] == pytest.approx(0, abs=15)
        assert same["shared"][0] < same["shared"][1]
    assert entries["human", "jpeg", "lpips"]["value"] > same["value"] + 5  # the blurred view
    reached = [p["summary"]["lpips"]["value"] for p in content["points"] if p["codec"] == "jpeg"]
    assert min(reached) <= entries["machine", "jpeg", "lpips"]["shared"][0]
    perfect = entries["machine", "webp", "ap50"]
    assert perfect["value"] is None
    assert perfect["problem"]


def test_rates_needed_for_accuracy(found: Path) -> None:
    content = results.read(found)
    needed = {(e["codec"], e["view"], e["share"]): e for e in content["needed"]}
    assert set(needed) == {
        (codec, view, share)
        for codec, view in [("diptych", "machine"), ("diptych", "human"), ("jpeg", None), ("webp", None)]
        for share in (0.9, 0.95, 0.99)
    }
    for entry in needed.values():
        rates = [
            p["summary"]["bpp"]["value"]
            for p in content["points"]
            if (p["codec"], p["view"], p["matched"]) == (entry["codec"], entry["view"], False)
        ]
        assert entry["target"] == pytest.approx(entry["share"])
        assert entry["at_smallest"] == (entry["value"] == min(rates))
        assert entry["value"] is None or min(rates) <= entry["value"] <= max(rates)


@pytest.mark.slow
def test_what_is_never_reached_is_said(photos: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, photos=photos, labels=photos / "labels.json", qualities=[1], anchors={"vvc": [63, 60]})
    content = results.read(run(path, codec=JpegCodec(), task=Sharp()))
    reached = {codec: [e for e in content["needed"] if e["codec"] == codec] for codec in ("vvc", "diptych")}
    assert all(e["value"] is None and e["reached"] == 0 and e["high"] is None for e in reached["vvc"])
    assert all(e["at_smallest"] and e["reached"] == 1 for e in reached["diptych"])
    console = Console(file=io.StringIO(), width=300)
    results.show(content, console)
    assert isinstance(console.file, io.StringIO)
    assert "not reached" in console.file.getvalue()


def test_encoders_are_recorded(found: Path) -> None:
    content = results.read(found)
    assert content["anchors"] == {name: ANCHORS[name].made_with for name in ("jpeg", "webp")}
    assert content["overlap"] == "segm"


def test_provenance(found: Path) -> None:
    content = results.read(found)
    assert content["provenance"]["command"].endswith("recipe.yaml batch=3")
    assert content["provenance"]["versions"]["python"] == platform.python_version()
    assert content["provenance"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert content["recipe"]["batch"] == 3
    assert content["model_id"] == b"jpeg".hex()


def test_table(found: Path) -> None:
    console = Console(file=io.StringIO(), width=300)
    results.show(results.read(found), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "2 photos" in text
    assert "BD-rate" in text


def test_curves_are_drawn_beside_the_results(found: Path) -> None:
    metrics = ("psnr", "ssimulacra2", "lpips", "ap50", "grid_4")
    first = {found.with_name(f"found-{metric}.svg"): b"" for metric in metrics}
    first = {path: path.read_bytes() for path in first}
    assert plot.plot_all(found) == list(first)
    assert {path: path.read_bytes() for path in first} == first


def test_curves_hold_every_view_and_anchor_of_the_results(found: Path) -> None:
    written = results.read(found)
    figures = plot.figures(written)
    for metric, figure in figures.items():
        [axes] = figure.axes
        labels = axes.get_legend_handles_labels()[1]
        assert sum(label.startswith("diptych, ") for label in labels) == 2
        assert ("uncompressed" in labels) == (metric in ("ap50", "grid_4"))
        low, high = axes.get_ylim()
        for one in written["points"]:
            value = one["summary"].get(metric, {"value": None})["value"]
            assert one["matched"] or value is None or low <= value <= high


@pytest.mark.slow
def test_same_numbers_again(photos: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, photos=photos, anchors={"jpeg": [10, 30]}, limit=2)
    runs = [results.read(run(path, [f"out={tmp_path}/{k}.json"], JpegCodec())) for k in range(2)]
    for name in ("points", "comparisons", "bd_rate"):
        assert runs[0][name] == runs[1][name]


@pytest.mark.slow
def test_several_processes_give_the_same(photos: Path, codec_file: Path, task_file: Path, tmp_path: Path) -> None:
    path = recipe(
        tmp_path,
        photos=photos,
        labels=photos / "labels.json",
        model=codec_file,
        view=codec_file.with_suffix(".human.safetensors"),
        task=task_file,
        metrics=["psnr"],
        anchors={"jpeg": [10, 40], "jxl": [20]},
    )
    alone = results.read(run(path, [f"out={tmp_path}/1.json"]))
    together = results.read(run(path, [f"out={tmp_path}/2.json", "workers=2", f"cache={tmp_path}/other"]))
    for name in ("photos", "anchors", "overlap"):
        assert together[name] == alone[name]
    for one, other in zip(together["points"], alone["points"], strict=True):
        assert one["rows"]["bytes"] == other["rows"]["bytes"]
        if one["codec"] == "diptych":  # each process chooses its precision
            assert one["rows"]["psnr"] == pytest.approx(other["rows"]["psnr"], abs=0.05)
        else:
            assert one == other


def test_real_codec(photos: Path, codec_file: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, photos=photos, model=codec_file, qualities=[20], views=["machine", 0.5, "human"])
    content = results.read(run(path))
    assert set(content["provenance"]["weights"]) == {"codec", "human"}
    sizes = {tuple(p["rows"]["bytes"]) for p in content["points"] if p["codec"] == "diptych"}
    assert len(sizes) == 1
    assert 0 not in sizes.pop()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"qualities": [101]}, "less than or equal to 100"),
        ({"views": ["both"]}, "views"),
        ({"anchors": {"gif": [1]}}, "no anchor 'gif'"),
        ({"anchors": {"jpeg": [0]}}, "no setting 0"),
        ({"anchors": {"vvc": [64]}}, "no setting 64, only 63 to 0"),
        ({"workers": 0}, "workers"),
        ({"photos": "nowhere"}, "nowhere"),
        ({"metrics": ["vmaf"]}, "metrics"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_recipes(photos: Path, tmp_path: Path, settings: dict, message: str) -> None:
    path = recipe(tmp_path, **({"photos": photos} | settings))
    with pytest.raises(RecipeError, match=message):
        run(path, codec=JpegCodec())
    assert not (tmp_path / "results" / "found.json").exists()


def test_a_missing_anchor_is_named_before_the_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = ANCHORS["heic"]
    assert isinstance(anchor, PillowAnchor)
    monkeypatch.setitem(ANCHORS, "heic", dataclasses.replace(anchor))
    anchor.library.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    run(recipe(tmp_path, photos=photos, limit=1), codec=JpegCodec())
    with pytest.raises(DiptychError, match=r"pip install 'diptych\[eval\]'"):
        run(recipe(tmp_path, photos=photos, anchors={"heic": [30]}), codec=JpegCodec())


def test_a_missing_tool_is_named_before_the_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    people._tool_version.cache_clear()
    with pytest.raises(DiptychError, match="apt install libjxl-devtools"):
        run(recipe(tmp_path, photos=photos, anchor_metrics=["butteraugli"]), codec=JpegCodec())
    assert not (tmp_path / "results" / "found.json").exists()


def test_a_task_needs_labels(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no labels"):
        run(recipe(tmp_path, photos=photos), codec=JpegCodec(), task=BrightSpots())


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [True, False])
def test_only_the_photos_that_are_named(photos: Path, tmp_path: Path, labelled: bool) -> None:
    more = {"labels": photos / "labels.json"} if labelled else {}
    path = recipe(tmp_path, photos=photos, metrics=["psnr"], **more)
    assert results.read(run(path, ["names=[1.png]"], JpegCodec()))["photos"]["names"] == ["1.png"]
    content = results.read(run(path, ["names=[1.png, 0.png]", "limit=1"], JpegCodec()))
    assert content["photos"] == {"names": ["1.png"], "pixels": [75 * 101]}
    with pytest.raises(RecipeError, match=r"no photo 2\.png"):
        run(path, ["names=[1.png, 2.png]"], JpegCodec())


def test_a_broken_photo_stops_the_evaluation(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes((photos / "0.png").read_bytes())
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(RecipeError, match=r"1\.png"):
        run(recipe(tmp_path, photos=tmp_path), codec=JpegCodec())


def test_results_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DiptychError, match="no evaluation results"):
        results.read(tmp_path / "other.json")
    with pytest.raises(DiptychError, match="cannot be read"):
        results.read(tmp_path / "missing.json")
