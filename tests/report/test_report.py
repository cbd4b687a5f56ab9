"""Reports: all of a results file on one page, and refusals in one line."""

import json
import re
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from diptych.cli.main import app
from diptych.codec.codec import Codec
from diptych.errors import DiptychError, ModelError, PictureError
from diptych.evaluation import plot, tables
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.results import read, read_if_results
from diptych.report.demo import NO_TASK
from diptych.report.draw import Found, draw_detections
from diptych.report.examples import example, layer_of
from diptych.report.make import Made, run
from diptych.training.export import save_model
from samples import lively_model, picture

RESULTS = Path(__file__).parents[2] / "results"


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.refers += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def make(source: Path, folder: Path, codec: Codec, photo: Path | None = None, task: Any = None) -> Made:
    return run([source], [photo] if photo else [], folder / "report.html", codec, task, 60)


@pytest.mark.slow
def test_all_on_one_page_that_needs_nothing(results_file: Path, tmp_path: Path, codec: Codec, spotter: Any) -> None:
    photo = tmp_path / "<b>odd & name.png"
    picture(203, 171).save(photo)
    made = make(results_file, tmp_path, codec, photo, spotter)
    assert made.notes == []
    html = made.path.read_text(encoding="utf-8")
    page = Page(html)
    assert all(refer.startswith(("data:", "#")) for refer in page.refers)
    assert "link" in page.tags
    assert html.count("<script") == 1
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert photo.name in page.text
    assert "<b>odd" not in html
    for words in (
        "spotter: mask AP50",
        "PSNR, dB",
        "For machines",
        "For people",
        "Bits per pixel needed",
        "Difference map",
        "tiny.yaml",
        "SHA-256",
    ):
        assert words in page.text
    assert "None of the results below" not in page.text
    assert "no model card" not in page.text


@pytest.mark.slow
def test_curves_of_every_codec_in_the_colours_of_the_page(results_file: Path, tmp_path: Path, codec: Codec) -> None:
    html = make(results_file, tmp_path, codec).path.read_text(encoding="utf-8")
    drawings = re.findall(r'<figure class="chart".*?</figure>', html, re.DOTALL)
    assert [re.findall('aria-label="(.*?) against', drawing) for drawing in drawings] == [
        ["PSNR, dB"],
        ["grid, stride 4"],
        ["spotter: AP50"],
    ]
    words = Page(drawings[0]).text
    assert all(f"diptych, {view}" in words for view in ("machine", "human"))
    assert all(anchor in words for anchor in read(results_file).anchors)
    assert "uncompressed" in Page(drawings[2]).text
    names = re.findall(r'\bid="([^"]*)"', html)
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_without_matplotlib_the_tables_stay(
    results_file: Path, tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    made = make(results_file, tmp_path, codec)
    html = made.path.read_text(encoding="utf-8")
    assert "no curves are drawn: they need pip install 'diptych[eval]'" in made.notes
    assert 'class="chart"' not in html
    assert "Everything measured" in html


def test_tables_hold_every_number_of_the_file(results_file: Path) -> None:
    found = read(results_file)
    sheets = {sheet.title: sheet for sheet in tables.sheets(found)}
    assert len(sheets) == 6
    for sheet in sheets.values():
        assert {len(row) for row in sheet.rows} == {len(sheet.head)}
    everything = sheets["Everything measured"]
    assert len(everything.rows) == len(found.points)
    text = "\n".join(" ".join(row) for row in everything.rows)
    for point in found.points:
        if point.codec == "diptych":
            assert tables.spread(point.summary["psnr"], ".2f") in text
    needed = sheets["Bits per pixel needed for a share of the score on the originals"]
    assert needed.head == ["", "", "90%", "95%", "99%"]
    assert {tuple(row[:2]) for row in needed.rows} >= {
        ("spotter: mask AP50", each) for each in ("diptych, human view", "JPEG")
    }
    for entry in found.bd_rate:
        machines = "." in entry.metric
        sheet = next(sheet for name, sheet in sheets.items() if name.startswith("For machines") == machines)
        assert any(tables.saving(entry) in row for row in sheet.rows)


def test_one_table_in_three_forms() -> None:
    sheet = tables.Sheet("Odd & <ends>", ["", "a|b"], [["<one>", "1"], ["two", "x" * 40]], "A note.")
    console = Console(file=StringIO(), width=80)
    console.print(sheet.terminal())
    assert isinstance(console.file, StringIO)
    printed = console.file.getvalue()
    assert all(words in printed for words in ("Odd & <ends>", "<one>", "a|b", "x" * 40, "A note."))
    assert sheet.markdown().splitlines()[:3] == ["|  | a\\|b |", "| --- | --- |", "| <one> | 1 |"]
    html = Page(sheet.html())
    assert all(words in html.text for words in ("<one>", "a|b", "x" * 40))
    assert "<one>" not in sheet.html()
    assert sheet.html().count('class="text"') == 1


def test_the_worst_of_many_judges_comes_first(results_file: Path) -> None:
    entry = read(results_file).bd_rate[0]
    values = {"a": -50.0, "b": 10.0, "c": None, "d": -10.0}
    entries = [
        entry.model_copy(update={"metric": f"{name}.ap50", "value": value}) for name, value in values.items()
    ]
    entries.append(entries[0].model_copy(update={"against": "vvc", "value": 0.0}))
    order = list(dict.fromkeys(each.metric for each in tables.worst_first(entries)))
    assert order == ["c.ap50", "b.ap50", "a.ap50", "d.ap50"]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_results_of_the_repository_can_be_shown(path: Path) -> None:
    found = read_if_results(path)
    if found is None:
        assert "format" not in json.loads(path.read_text())
        return
    for sheet in tables.sheets(found):
        assert sheet.rows
        assert {len(row) for row in sheet.rows} == {len(sheet.head)}
    certain = any(each.low is not None for point in found.points for each in point.summary.values())
    assert plot.figures(found) or not certain or len(found.models) > plot.MOST


def test_numbers_that_are_not_defined(results_file: Path, tmp_path: Path) -> None:
    content = json.loads(results_file.read_text())
    for point in content["points"]:
        for found in point["summary"].values():
            found |= {"low": None, "high": None}
    for entry in content["bd_rate"]:
        entry |= {"value": None, "low": None, "high": None, "problem": "no shared quality"}
    content["needed"][0] |= {"value": None, "low": None, "high": None, "reached": 0.25}
    path = tmp_path / "undefined.json"
    path.write_text(json.dumps(content))
    assert plot.figures(read(path)) == {}
    machines, people, needed, *_ = tables.sheets(read(path))
    assert people.rows[0][1] == machines.rows[0][1] == "no shared quality"
    assert "not reached (in 75% of resamples)" in needed.rows[0]


@pytest.mark.slow
def test_the_shipped_photo_without_a_machine(results_file: Path, tmp_path: Path, codec: Codec) -> None:
    made = make(results_file, tmp_path, codec)
    assert made.notes == [NO_TASK]
    html = made.path.read_text(encoding="utf-8")
    assert "chelsea.jpg" in html
    assert "Detections:" not in html
    assert 'type="checkbox"' not in html


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (150, 40)])
def test_photos_too_small_for_the_grid_meter(tmp_path: Path, codec: Codec, size: tuple[int, int]) -> None:
    path = tmp_path / "small.png"
    picture(*size).save(path)
    shown = example(path, 30, codec, None)
    assert [each.name for each in shown.maps] == ["Difference map"]
    assert (shown.grid is None) == (min(size) < 32)
    assert [shot.name for shot in shown.shots] == ["Original", "Machine view", "Human view", "JPEG", "AVIF"]


@pytest.mark.slow
def test_what_is_shown_is_what_the_files_hold(tmp_path: Path, codec: Codec, spotter: Any) -> None:
    path = tmp_path / "photo.png"
    picture(200, 180).save(path)
    shown = example(path, 60, codec, spotter)
    data = codec.encode(Image.open(path), 60)
    assert shown.length == len(data)
    for shot, view in zip(shown.shots[1:3], ("machine", "human"), strict=True):
        assert np.array_equal(np.asarray(shot.picture), np.asarray(codec.decode(data, view)))
    for shot, name in zip(shown.shots[3:], ("jpeg", "avif"), strict=True):
        smallest = ANCHORS[name].settings[0]
        fits = shot.length <= len(data)
        assert fits or shot.length == len(ANCHORS[name].encode(Image.open(path), smallest))
        assert fits == shot.detail.startswith("quality")


def test_a_large_photo_is_shown_smaller(tmp_path: Path, codec: Codec) -> None:
    path = tmp_path / "large.png"
    picture(1700, 64).save(path)
    shown = example(path, 20, codec, None)
    assert {shot.picture.size for shot in shown.shots} == {(1600, 60)}
    assert shown.scale == pytest.approx(1600 / 1700)


def test_a_layer_draws_what_drawing_on_the_picture_draws() -> None:
    mask = np.zeros((64, 80), np.float32)
    mask[10:40, 20:60] = 1
    found = [Found("cat", 0.3, 0.9, (20, 10, 60, 40), mask)]
    photo = picture(80, 64)
    layer = layer_of(found, photo.size)
    scale = layer.width // photo.width
    drawn = draw_detections(photo, found, scale)
    background = photo.resize(layer.size, Image.Resampling.BICUBIC).convert("RGBA")
    laid = Image.alpha_composite(background, layer).convert("RGB")
    assert np.abs(np.asarray(laid).astype(int) - np.asarray(drawn)).max() <= 3
    assert np.asarray(layer_of([], (50, 50)))[..., 3].max() == 0


def test_refusals(results_file: Path, tmp_path: Path, codec: Codec) -> None:
    content = json.loads(results_file.read_text())

    def written(name: str, **changes: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({**content, **changes}))
        return path

    text = tmp_path / "text.json"
    text.write_text("{")
    none = tmp_path / "none.json"
    none.write_text('{"settings": {}}')
    for path, message in (
        (tmp_path / "missing.json", r"cannot read .*missing\.json: no such file"),
        (text, r"text\.json cannot be read"),
        (none, r"no results that a report shows in .*none\.json"),
        (written("newer.json", format="diptych-results-2"), "of the format 'diptych-results-2'"),
        (written("empty.json", points=[]), "damaged at 'points'"),
        (written("odd.json", points=[{"codec": 1}]), r"damaged at 'points\.0\.codec'"),
        (written("number.json", photos=3), "damaged at 'photos'"),
    ):
        with pytest.raises(DiptychError, match=message):
            make(path, tmp_path, codec)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"broken\.jpg"):
        make(results_file, tmp_path, codec, broken)
    assert not (tmp_path / "report.html").exists()


def test_files_are_not_replaced(results_file: Path, tmp_path: Path, codec: Codec) -> None:
    before = results_file.read_bytes()
    with pytest.raises(DiptychError, match="read and written at once"):
        run([results_file], [], results_file, codec, overwrite=True)
    assert results_file.read_bytes() == before
    target = tmp_path / "report.html"
    target.write_text("mine")
    with pytest.raises(DiptychError, match="--overwrite"):
        make(results_file, tmp_path, codec)
    assert target.read_text() == "mine"


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.mark.slow
def test_command(results_file: Path, tmp_path: Path, codec_file: Path) -> None:
    photo, other, page = tmp_path / "photo.png", tmp_path / "other.json", tmp_path / "page.html"
    picture(40, 50).save(photo)
    other.write_text("[1, 2]")
    arguments = [results_file, other, "--photo", photo, "--photo", photo, "--model", codec_file, "-o", page]
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    assert f"wrote {page}" in result.stdout
    assert re.search(r"note: \S+other\.json is left out", result.stderr)
    text = Page(page.read_text(encoding="utf-8")).text
    assert text.count("photo.dip, quality 40") == 4
    assert f"--model {codec_file}" in text
    assert "no model card" in text
    again = command(*arguments)
    assert again.exit_code == 1
    assert again.stderr.splitlines()[-1].endswith("use --overwrite to replace it")
    assert command(other, "--model", codec_file, "-o", tmp_path / "x.html").exit_code == 1
    assert command(results_file, "-q", 101).exit_code == 2
    assert command(tmp_path / "none" / "*.json").exit_code == 1


def test_a_codec_without_a_human_view(results_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "alone.safetensors"
    save_model(lively_model(), path, {"stage": "test"})
    result = command(results_file, "--model", path, "-o", tmp_path / "page.html")
    assert result.exit_code == 1
    assert ModelError.__name__ not in result.stderr
    assert "no human view" in result.stderr
    assert not (tmp_path / "page.html").exists()


def test_people_and_machines_have_a_part_each(results_file: Path, tmp_path: Path, codec: Codec) -> None:
    html = make(results_file, tmp_path, codec).path.read_text(encoding="utf-8")
    people, machines, everything = (
        Page(html[html.index(f'<section id="{part}">') :].partition("</section>")[0]).text
        for part in ("people", "machines", "everything")
    )
    assert "PSNR, dB" in people
    assert "AP50" not in people
    assert "spotter: mask AP50" in machines
    assert "PSNR" not in machines
    assert "Everything measured" in everything
