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
from diptych.evaluation import people, plot, run, tables
from diptych.evaluation.anchors import ANCHORS, PillowAnchor
from diptych.evaluation.harness import evaluate
from diptych.evaluation.metrics import psnr
from diptych.evaluation.recipe import Evaluation
from diptych.evaluation.results import BdRate, Comparison, Point, Results, read
from diptych.io.recipes import read_recipe
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


def measured(
    path: Path, overrides: Sequence[str] = (), codec: JpegCodec | None = None, **tasks: BrightSpots
) -> Results:
    """What an evaluation by stand-ins finds; without any, by the files that the recipe names."""
    settings = read_recipe(path, Evaluation, overrides)
    command = ["diptych evaluate", str(path), *overrides]
    return evaluate(settings, command, {"diptych": codec or JpegCodec()}, tasks)


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
def file(photos: Path, spots: BrightSpots, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    path = recipe(
        folder,
        photos=photos,
        labels=photos / "labels.json",
        tasks={"spots": "stand-in.yaml"},
        anchors={"jpeg": [5, 40], "webp": [0, 20, 60]},
        matched=["jpeg", "webp"],
        metrics=["psnr", "ssim", "ms_ssim", "ssimulacra2", "lpips", "sharpness", "grid", "spectral"],
        bpp_range=[0.1, 8],
    )
    measured(path, ["batch=3"], spots=spots)
    return folder / "results" / "found.json"


@pytest.fixture(scope="module")
def found(file: Path) -> Results:
    return read(file)


def point(
    found: Results, codec: str, setting: float | None, view: str | None = None, matched: bool = False
) -> Point:
    key = (codec, setting, view, matched)
    (entry,) = [p for p in found.points if (p.codec, p.setting, p.view, p.matched is not None) == key]
    return entry


def value(found: Point, metric: str) -> float:
    number = found.summary[metric].value
    assert number is not None
    return number


def bd_rates(found: Results) -> dict[tuple[object, str, str], BdRate]:
    return {(entry.view, entry.against, entry.metric): entry for entry in found.bd_rate}


def comparisons(found: Results) -> dict[tuple[str, str], Comparison]:
    return {(str(entry.tested), str(entry.reference)): entry for entry in found.comparisons}


def shown(found: Results) -> str:
    console = Console(file=io.StringIO(), width=300)
    tables.show(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_rates_are_those_of_real_files(found: Results, photos: Path) -> None:
    assert found.photos.model_dump() == {"names": ["0.png", "1.png"], "pixels": [96 * 80, 75 * 101]}
    files = [ANCHORS["jpeg"].encode(Image.open(photos / f"{n}.png"), 25) for n in range(2)]
    entry = point(found, "diptych", 25, "machine")
    assert entry.rows["bytes"] == [len(file) for file in files]
    bpp = np.mean([len(f) * 8 / p for f, p in zip(files, found.photos.pixels, strict=True)])
    assert value(entry, "bpp") == pytest.approx(bpp)
    expected = psnr(Image.open(photos / "0.png"), ANCHORS["jpeg"].decode(files[0]))
    assert entry.rows["psnr"][0] == pytest.approx(expected, abs=1e-4)


def test_every_variant_is_there(found: Results) -> None:
    means = 2
    assert len(found.points) == 1 + 3 * 2 + 5 + 3 * 2 + means
    assert set(point(found, "diptych", 5, "human").summary) >= {
        *("bpp", "psnr", "ssim", "ms_ssim", "sharpness", "grid_2", "grid_4", "grid_16", "spectral_8"),
        *("spots.ap", "spots.ap50", "spots.ap_relative", "spots.ap50_relative"),
    }
    assert set(point(found, "webp", 20).summary) == {
        *("bpp", "psnr", "ssim", "ms_ssim", "ssimulacra2", "lpips"),
        *("spots.ap", "spots.ap50", "spots.ap_relative", "spots.ap50_relative"),
    }
    assert "psnr" not in point(found, "original", None).summary
    assert point(found, "diptych", 5, "human").summary["ms_ssim"].value is None


def test_means_over_the_qualities(found: Results) -> None:
    for view in ("machine", "human"):
        at = [value(point(found, "diptych", quality, view), "psnr") for quality in QUALITIES]
        assert value(point(found, "diptych", None, view), "psnr") == pytest.approx(np.mean(at))


def test_task_network_is_scored_against_the_labels(found: Results) -> None:
    assert found.tasks == {"spots": "mask AP50"}
    assert point(found, "original", None).summary["spots.ap"].model_dump() == {"value": 1, "low": 1, "high": 1}
    entry = point(found, "diptych", 60, "machine")
    assert value(entry, "spots.ap50") == pytest.approx(1)
    assert value(entry, "spots.ap_relative") == pytest.approx(value(entry, "spots.ap"))


def test_no_picture_is_looked_at_twice(found: Results, spots: BrightSpots) -> None:
    assert len(spots.seen) == len(set(spots.seen))


def test_matched_anchors_stay_in_the_bytes(found: Results) -> None:
    for quality in QUALITIES:
        ours = point(found, "diptych", quality, "machine").rows
        assert point(found, "jpeg", quality, matched=True).rows["bytes"] == ours["bytes"]
        webp = point(found, "webp", quality, matched=True).rows
        for size, budget, fits in zip(webp["bytes"], ours["bytes"], webp["fits"], strict=True):
            assert fits == (size <= budget)


def test_differences_are_paired(found: Results) -> None:
    named = comparisons(found)
    assert len(named) == 3 * (1 + 2 * 2) + 1
    rows = [point(found, "diptych", 25, view).rows["psnr"] for view in ("human", "machine")]
    difference = named["diptych q25 human", "diptych q25 machine"].difference
    assert difference["psnr"].value == pytest.approx(np.mean(np.subtract(*rows)), abs=1e-4)
    means = [value(point(found, "diptych", None, view), "psnr") for view in ("human", "machine")]
    overall = named["diptych mean over qualities human", "diptych mean over qualities machine"].difference
    assert overall["psnr"].value == pytest.approx(np.subtract(*means))
    same = named["diptych q25 machine", "jpeg in the bytes of diptych q25"]
    assert same.difference["psnr"].model_dump() == {"value": 0, "low": 0, "high": 0}
    assert same.percent["spots.ap"].model_dump() == {"value": 0, "low": 0, "high": 0}


def test_bd_rates(found: Results) -> None:
    entries = bd_rates(found)
    same = entries["machine", "jpeg", "psnr"]
    assert same.value == pytest.approx(0, abs=8)
    assert same.shared[0] < same.shared[1]
    assert same.defined == 1
    assert not same.problem
    assert entries["machine", "webp", "psnr"].low <= entries["machine", "webp", "psnr"].high
    for metric in ("ssimulacra2", "lpips"):  # at equal score, whichever way is better
        same = entries["machine", "jpeg", metric]
        assert same.value == pytest.approx(0, abs=15)
        assert same.shared[0] < same.shared[1]
    assert entries["human", "jpeg", "lpips"].value > same.value + 5  # the blurred view
    reached = [value(p, "lpips") for p in found.points if p.codec == "jpeg"]
    assert min(reached) <= entries["machine", "jpeg", "lpips"].shared[0]
    perfect = entries["machine", "webp", "spots.ap50"]
    assert perfect.value is None
    assert perfect.problem
    assert not any(name.startswith(("grid", "sharpness", "bpp")) for _, _, name in entries)


def test_rates_needed_for_accuracy(found: Results) -> None:
    needed = {(e.codec, e.view, e.share): e for e in found.needed}
    assert set(needed) == {
        (codec, view, share)
        for codec, view in [("diptych", "machine"), ("diptych", "human"), ("jpeg", None), ("webp", None)]
        for share in (0.9, 0.95, 0.99)
    }
    for entry in needed.values():
        rates = [
            value(p, "bpp")
            for p in found.points
            if (p.codec, p.view, p.matched) == (entry.codec, entry.view, None) and p.setting is not None
        ]
        assert entry.metric == "spots.ap50"
        assert entry.target == pytest.approx(entry.share)
        assert entry.at_smallest == (entry.value == min(rates))
        assert entry.value is None or min(rates) <= entry.value <= max(rates)


@pytest.mark.slow
def test_what_is_never_reached_is_said(photos: Path, tmp_path: Path) -> None:
    settings = {"photos": photos, "labels": photos / "labels.json", "tasks": {"sharp": "stand-in.yaml"}}
    path = recipe(tmp_path, **settings, qualities=[1], anchors={"vvc": [63, 60]})
    found = measured(path, sharp=Sharp())
    reached = {codec: [e for e in found.needed if e.codec == codec] for codec in ("vvc", "diptych")}
    assert all(e.value is None and e.reached == 0 and e.high is None for e in reached["vvc"])
    assert all(e.at_smallest and e.reached == 1 for e in reached["diptych"])
    assert "not reached" in shown(found)


def test_encoders_are_recorded(found: Results) -> None:
    assert found.anchors == {name: ANCHORS[name].made_with for name in ("jpeg", "webp")}
    assert set(found.metrics) == {"ssimulacra2", "lpips"}


def test_provenance(found: Results) -> None:
    assert found.provenance.command.endswith("recipe.yaml batch=3")
    assert found.provenance.versions["python"] == platform.python_version()
    assert found.provenance.versions["torch"] == torch.__version__.split("+")[0]
    assert found.recipe["batch"] == 3
    assert found.models == {"diptych": b"jpeg".hex()}


def test_terminal(found: Results) -> None:
    text = shown(found)
    assert "2 photos" in text
    assert "For people: % of bits at equal score" in text
    assert "For machines: % of bits at equal score, worst first" in text
    assert "…" not in text


def test_curves_are_drawn_beside_the_results(file: Path, found: Results) -> None:
    metrics = ("psnr", "ssimulacra2", "lpips", "spots-ap50", "grid_4")
    first = {file.with_name(f"found-{metric}.svg"): b"" for metric in metrics}
    first = {path: path.read_bytes() for path in first}
    assert plot.plot_all(found, file) == list(first)
    assert {path: path.read_bytes() for path in first} == first


def test_curves_hold_every_view_and_anchor_of_the_results(found: Results) -> None:
    for metric, figure in plot.figures(found).items():
        [axes] = figure.axes
        labels = axes.get_legend_handles_labels()[1]
        assert sum(label.startswith("diptych, ") for label in labels) == 2
        assert ("uncompressed" in labels) == (metric in ("spots.ap50", "grid_4"))
        low, high = axes.get_ylim()
        for one in found.points:
            at = one.summary[metric].value if metric in one.summary else None
            assert one.matched is not None or one.setting is None or at is None or low <= at <= high


@pytest.mark.slow
def test_same_numbers_again(photos: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, photos=photos, anchors={"jpeg": [10, 30]}, limit=2)
    first, second = (measured(path, [f"out={tmp_path}/{k}.json"]) for k in range(2))
    assert (first.points, first.comparisons, first.bd_rate) == (second.points, second.comparisons, second.bd_rate)


def test_codecs_that_write_other_files_are_compared_with_the_first(photos: Path, tmp_path: Path) -> None:
    class Coarser(JpegCodec):
        """Writes larger files, and shows no more for it."""

        model_id = b"else"

        def encode(self, image: Image.Image, quality: float) -> bytes:
            return super().encode(image, quality) + bytes(200)

        def decode_views(self, data: bytes, views: Sequence[str | float]) -> list[Image.Image]:
            return super().decode_views(data[:-200], views)

    files = {"view": "a.safetensors", "views": ["human"]}
    codecs = {"one": "one.safetensors", "same": {"model": "one.safetensors"} | files, "other": "other.safetensors"}
    settings = {"codecs": codecs, "views": ["machine"], "metrics": ["psnr"], "bpp_range": [0.1, 8]}
    path = recipe(tmp_path, photos=photos, matched=["jpeg"], **settings)
    settings = read_recipe(path, Evaluation)
    found = evaluate(settings, [], {"one": JpegCodec(), "same": JpegCodec(), "other": Coarser()})
    assert [(e.codec, e.against) for e in found.bd_rate] == [("other", "one")]
    assert found.bd_rate[0].value > 0
    pairs = set(comparisons(found))
    assert ("same q25 human", "one q25 machine") in pairs
    assert ("other q25 machine", "jpeg in the bytes of other q25") in pairs
    assert ("same q25 human", "jpeg in the bytes of one q25") in pairs
    assert not any("other" in tested and reference.startswith("one") for tested, reference in pairs)
    files = {
        codec: point(found, codec, 25, view).rows["bytes"]
        for codec, view in (("one", "machine"), ("same", "human"))
    }
    assert files["one"] == files["same"]


@pytest.fixture(scope="module")
def real(photos: Path, codec_file: Path, task_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of a real codec and an untrained task network, one process."""
    return recipe(
        tmp_path_factory.mktemp("real"),
        photos=photos,
        labels=photos / "labels.json",
        codecs={"diptych": {"model": str(codec_file), "view": str(codec_file.with_suffix(".human.safetensors"))}},
        tasks={"small": str(task_file)},
        metrics=["psnr", "distances"],
        anchors={"jpeg": [10, 40], "jxl": [20]},
    )


@pytest.mark.slow
def test_several_processes_give_the_same(real: Path, tmp_path: Path) -> None:
    alone = read(run(real, [f"out={tmp_path}/1.json"]))
    together = read(run(real, [f"out={tmp_path}/2.json", "workers=2", f"cache={tmp_path}/other"]))
    for name in ("photos", "anchors", "tasks"):
        assert getattr(together, name) == getattr(alone, name)
    for one, other in zip(together.points, alone.points, strict=True):
        assert one.rows.get("bytes") == other.rows.get("bytes")
        if one.codec == "diptych":  # each process chooses its precision
            assert value(one, "psnr") == pytest.approx(value(other, "psnr"), abs=0.05)
        else:
            assert one == other
    assert set(alone.provenance.weights) == {"diptych", "diptych, human", "small"}
    assert value(point(alone, "jpeg", 10), "small.distance") > value(point(alone, "jpeg", 40), "small.distance") > 0
    assert ("machine", "jpeg", "small.distance") in bd_rates(alone)


def test_a_run_that_was_stopped_goes_on(real: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    settings = [f"cache={cache}", "metrics=[psnr, distances]"]
    run(real, [*settings, f"out={tmp_path}/1.json", "limit=1"])
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    once = read(run(real, [*settings, f"out={tmp_path}/2.json"]))
    after = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert before.items() < after.items()
    again = read(run(real, [*settings, f"out={tmp_path}/3.json"]))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == after
    assert (again.points, again.bd_rate, again.photos) == (once.points, once.bd_rate, once.photos)


def test_real_codec(photos: Path, codec_file: Path, tmp_path: Path) -> None:
    codecs = {"mine": str(codec_file)}
    path = recipe(tmp_path, photos=photos, codecs=codecs, qualities=[20], views=["machine", 0.5, "human"])
    found = read(run(path))
    assert set(found.provenance.weights) == {"mine", "mine, human"}
    sizes = {tuple(p.rows["bytes"]) for p in found.points if p.codec == "mine"}
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
        ({"metrics": ["fid"]}, "metrics"),
        ({"metrics": ["distances"]}, "names no 'tasks'"),
        ({"batch": 4}, "names no 'tasks'"),
        ({"labels": "labels.json"}, "names no 'tasks'"),
        ({"codecs": {}}, "codecs"),
        ({"codecs": {"jpeg": {}}}, "cannot be called 'jpeg'"),
        ({"codecs": {"mine": {"modle": "x"}}}, "modle"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_recipes(photos: Path, tmp_path: Path, settings: dict, message: str) -> None:
    path = recipe(tmp_path, **({"photos": photos} | settings))
    with pytest.raises(RecipeError, match=message):
        measured(path)
    assert not (tmp_path / "results" / "found.json").exists()


def test_a_codec_that_cannot_be_used_is_named_before_the_work(
    photos: Path, codec_file: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(codec_file.read_bytes())
    for codec, message in (("nowhere.safetensors", "the codec 'bad': .*nowhere"), (str(alone), "no human view")):
        with pytest.raises(DiptychError, match=message):
            run(recipe(tmp_path, photos=photos, codecs={"bad": codec}))


def test_a_missing_anchor_is_named_before_the_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = ANCHORS["heic"]
    assert isinstance(anchor, PillowAnchor)
    monkeypatch.setitem(ANCHORS, "heic", dataclasses.replace(anchor))
    anchor.library.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    measured(recipe(tmp_path, photos=photos, limit=1))
    with pytest.raises(DiptychError, match=r"pip install 'diptych\[eval\]'"):
        measured(recipe(tmp_path, photos=photos, anchors={"heic": [30]}))


def test_a_missing_tool_is_named_before_the_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    people._tool_version.cache_clear()
    with pytest.raises(DiptychError, match="apt install libjxl-devtools"):
        measured(recipe(tmp_path, photos=photos, metrics=["butteraugli"]))
    assert not (tmp_path / "results" / "found.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [True, False])
def test_only_the_photos_that_are_named(photos: Path, tmp_path: Path, labelled: bool) -> None:
    tasks = {"spots": BrightSpots()} if labelled else {}
    more = {"labels": photos / "labels.json", "tasks": {"spots": "stand-in.yaml"}} if labelled else {}
    path = recipe(tmp_path, photos=photos, metrics=["psnr"], **more)
    assert measured(path, ["names=[1.png]"], **tasks).photos.names == ["1.png"]
    content = measured(path, ["names=[1.png, 0.png]", "limit=1"], **tasks)
    assert content.photos.model_dump() == {"names": ["1.png"], "pixels": [75 * 101]}
    with pytest.raises(RecipeError, match=r"no photo 2\.png"):
        measured(path, ["names=[1.png, 2.png]"], **tasks)


def test_a_broken_photo_stops_the_evaluation(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes((photos / "0.png").read_bytes())
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(RecipeError, match=r"1\.png"):
        measured(recipe(tmp_path, photos=tmp_path))


def test_results_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DiptychError, match="no results of an evaluation"):
        read(tmp_path / "other.json")
    with pytest.raises(DiptychError, match="cannot read"):
        read(tmp_path / "missing.json")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_device_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DiptychError, match="there is no GPU"):
        run(recipe(tmp_path, photos=photos, qualities=[20], device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_files_of_a_gpu(photos: Path, codec_file: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, photos=photos, codecs={"mine": str(codec_file)}, qualities=[20], metrics=["psnr"])
    here, there = (
        read(run(path, [f"device={device}", f"out={tmp_path}/{device}.json"])) for device in ("cpu", "cuda")
    )
    for one, other in zip(here.points, there.points, strict=True):
        assert one.rows.get("psnr") == pytest.approx(other.rows.get("psnr"), abs=0.01)
