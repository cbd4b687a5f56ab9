"""Every kind of row, from recipe to tables; what is kept; what is refused."""

import json
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diptych.codec.codec import load
from diptych.codec.weights import load_view, save_view
from diptych.errors import DiptychError, RecipeError
from diptych.evaluation.ablation import run
from diptych.evaluation.ablation.decoders import Decoders, Source
from diptych.evaluation.ablation.recipe import Ablation
from diptych.io.recipes import read_recipe
from samples import picture

from .conftest import TinyAblation

pytestmark = pytest.mark.slow
COLUMNS = {"ap50", "ap", "psnr", "ssim", "ms_ssim", "features", "sharpness", "detail", "grid_2", "grid_16"}


def test_table_1_in_one_command(finished: TinyAblation) -> None:
    results = json.loads((finished.folder / "results/ablation.json").read_text())
    names = [row["name"] for row in finished.content["rows"]]
    assert [row["name"] for row in results["rows"]] == names
    assert results["provenance"]["command"].endswith("ablation.yaml evaluation.resamples=10")
    assert [rate["value"] > 0 for rate in results["bpp"]] == [True, True]
    base, patches = results["rows"][:2]
    assert all(value == 0 for found in base["difference"].values() for value in found.values() if value is not None)
    assert patches["paper_change"] == {"mAP_percent": -1.83, "psnr": 0.831, "ssim": 0.055}
    for row in results["rows"]:
        found = row["summary"]
        assert {
            "psnr",
            "ssim",
            "features",
            "sharpness",
            "detail",
            "grid_2",
            "grid_16",
            "ap",
            "ap50",
        } <= found.keys()
        assert found["psnr"]["low"] <= found["psnr"]["value"] <= found["psnr"]["high"]
        assert np.mean([at["summary"]["psnr"]["value"] for at in row["at"]]) == pytest.approx(
            found["psnr"]["value"]
        )
        shift = found["psnr"]["value"] - base["summary"]["psnr"]["value"]
        assert row["difference"]["psnr"]["value"] == pytest.approx(shift)
    table = (finished.folder / "results/ablation.md").read_text()
    assert all(table.count(f"\n| {name} |") == 2 for name in names)
    assert "mAP -1.8 %, +0.83 dB, SSIM +0.055" in table
    for figure in ("psnr-ap50", "dial"):
        assert (finished.folder / f"results/ablation-{figure}.svg").read_text().startswith("<?xml")


def test_rows_share_their_files_and_the_base_is_the_machine_view(finished: TinyAblation) -> None:
    settings = read_recipe(finished.recipe(), Ablation)
    weights = finished.weights()
    assert weights.keys() == {"3-patches", "resize", "shuffle"}
    sources = [Source(row, weights.get(row.slug, row.view or row.decoder)) for row in settings.rows]
    base, tuned = load(finished.codec), load(finished.codec, weights["3-patches"])
    names = [row.name for row in settings.rows]
    for size, quality in (((131, 77), 5), ((64, 33), 50), ((1, 1), 95)):
        image = picture(*size, seed=3)
        data = base.encode(image, quality)
        assert [source.load(base).codec.encode(image, quality) for source in sources] == [data] * len(sources)
        pictures = dict(zip(names, Decoders(base, sources).decode_views(data, names), strict=True))
        wanted = {
            "base codec": base.decode(data, "machine"),
            "3 patches": tuned.decode(data, "human"),
            "shipped": base.decode(data, "human"),
            "half": base.decode(data, 0.5),
        }
        for name, expected in wanted.items():
            assert np.array_equal(np.asarray(pictures[name]), np.asarray(expected)), name
        distinct = {np.asarray(made).tobytes() for made in pictures.values()}
        assert len(distinct) == len(names) or size == (1, 1)


def test_nothing_is_done_twice(finished: TinyAblation) -> None:
    rows, measured = finished.files("rows"), finished.files("cache")
    elsewhere = [f"out={finished.folder / 'again' / 'ablation.json'}"]
    run(finished.recipe(), elsewhere)
    assert finished.files("rows") == rows
    assert finished.files("cache") == measured


def test_a_training_that_was_cut_off_goes_on_and_other_settings_are_trained_beside_it(tiny: TinyAblation) -> None:
    tiny.content["rows"] = tiny.content["rows"][:2]
    run(tiny.recipe())
    weights = tiny.weights()["3-patches"]
    before = load_file(weights)
    (weights.parent / "row.json").unlink()
    weights.unlink()
    run(tiny.recipe())
    after = load_file(weights)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

    kept = tiny.files("rows")
    tiny.content["rows"][1]["train"]["mse_over"] = "crop"
    run(tiny.recipe())
    assert tiny.files("rows").items() > kept.items()
    assert len(list(tiny.folder.glob("rows/3-patches-*/row.json"))) == 2


def test_only_a_row_whose_weights_changed_is_measured_again(tiny: TinyAblation) -> None:
    own = tiny.folder / "own.safetensors"
    copy(tiny.view, own)
    rows = tiny.content["rows"]
    tiny.content["rows"] = [rows[0], rows[6], {"name": "own", "view": str(own)}]
    run(tiny.recipe())
    before = tiny.files("cache")
    frozen = load(tiny.codec).frozen
    layers = {name: layer * 1.1 for name, layer in load_view(own, frozen).items()}
    save_view(layers, frozen.model_id, own, {})
    run(tiny.recipe())
    photos, qualities = 2, 2
    measured_and_seen = 2
    assert len(tiny.files("cache").items() - before.items()) == photos * qualities * measured_and_seen


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"train": {}, "base": True}, "exactly one of"),
        ({}, "exactly one of"),
        ({"base": True}, "exactly one row"),
        ({"base": True, "blend": 0.5}, "belongs to 'view'"),
        ({"filter": {"kind": "median", "sigma": 1}}, "median"),
        ({"name": "base codec", "train": {}}, "several rows"),
        ({"train": {"stages": 9}}, "row 'bad'.*cannot be tuned"),
        ({"train": {"patch": 128}}, "row 'bad'.*do not fit"),
        ({"train": {"gan_wait": 1}}, "row 'bad'.*gan_wait"),
        ({"train": {"photos": "nowhere"}}, "nowhere"),
        ({"train": {}, "recipe": "nowhere.yaml"}, "row 'bad'.*nowhere.yaml"),
        ({"view": "nowhere.safetensors"}, "row 'bad'.*nowhere"),
        ({"decoder": "nowhere.safetensors"}, "row 'bad'.*nowhere"),
    ],
)
def test_a_bad_row_is_refused_before_anything_is_trained(
    tiny: TinyAblation, row: dict[str, Any], message: str
) -> None:
    tiny.content["rows"].append({"name": "bad"} | row)
    with pytest.raises(DiptychError, match=message):
        run(tiny.recipe())
    assert not tiny.files("rows")


def test_views_and_decoders_of_other_codecs_are_refused(tiny: TinyAblation) -> None:
    tiny.content["codec"] = str(tiny.other)
    with pytest.raises(DiptychError, match=r"row 'shipped'.*is a view of codec"):
        run(tiny.recipe())
    assert not tiny.files("rows")


def test_photos_and_labels_are_checked_before_anything_is_trained(tiny: TinyAblation) -> None:
    (Path(tiny.content["evaluation"]["photos"]) / "2.png").write_bytes(b"not a photo")
    with pytest.raises(RecipeError, match=r"2\.png"):
        run(tiny.recipe())
    assert not tiny.files("rows")
