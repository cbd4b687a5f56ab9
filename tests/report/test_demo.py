"""The demo: all its files, a report that needs nothing else, and its refusals."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from diptych.cli.main import app
from diptych.codec.codec import Codec
from diptych.codec.defaults import CAT
from diptych.errors import DiptychError, ModelError, PictureError
from diptych.report.demo import NO_TASK, run
from diptych.report.draw import Found, draw_detections, found_in
from diptych.report.examples import detail, psnr
from samples import picture


class CatFinder:
    """A task network that finds the left half of every picture to be a cat, and less surely a dog."""

    classes = ("bird", "cat", "dog")

    def predict(self, images: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        found = []
        for image in images:
            _, height, width = image.shape
            mask = torch.zeros(2, 1, height, width)
            mask[:, :, :, : width // 2] = 1
            box = torch.tensor([0.0, 0.0, width / 2, height])
            found.append(
                {
                    "boxes": torch.stack([box, box]),
                    "labels": torch.tensor([3, 2]),
                    "scores": torch.tensor([0.3, 0.9]),
                    "masks": mask,
                }
            )
        return found


class Sources(HTMLParser):
    """Everything a page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, value or "") for name, value in attributes if name in ("src", "href", "srcset")]


def demo(folder: Path, codec: Codec, photo: Path | None = None, task: Any = None, overwrite: bool = False) -> Any:
    return run(photo, folder, 30, codec, task, overwrite=overwrite)


def test_shipped_photo_without_a_task_network(tmp_path: Path, codec: Codec) -> None:
    result = demo(tmp_path / "new" / "out", codec)
    assert [path.name for path in result.files] == [
        "chelsea.dip",
        "machine.png",
        "human.png",
        "views.png",
        "report.html",
    ]
    assert result.notes == [NO_TASK]
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {path.name for path in result.files}
    data = result.files[0].read_bytes()
    for path, view in zip(result.files[1:3], ("machine", "human"), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(codec.decode(data, view)))
    assert "Detections" not in result.files[-1].read_text(encoding="utf-8")


@pytest.mark.slow
def test_report_needs_nothing_beside_it(tmp_path: Path, codec: Codec) -> None:
    html = demo(tmp_path, codec, task=CatFinder()).files[-1].read_text(encoding="utf-8")
    sources = Sources(html).found
    assert sources
    assert all(value.startswith(("data:", "#")) for _, value in sources)
    assert not re.search(r"@import|url\(", html)
    pictures = [value for tag, value in sources if tag == "img"]
    assert len(pictures) == 4 * 2 + 3 + 4 + 1  # with their detections, maps, details, the scale
    assert "prefers-color-scheme: dark" in html


@pytest.mark.slow
def test_detections_are_drawn_on_both_views(tmp_path: Path, codec: Codec) -> None:
    result = demo(tmp_path, codec, task=CatFinder())
    drawn = [path for path in result.files if path.stem.endswith("-detections")]
    assert [path.name for path in drawn] == ["machine-detections.png", "human-detections.png"]
    assert result.notes == []
    assert Image.open(drawn[0]).size == (902, 600)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (97, 31), (1700, 40)])
def test_photos_of_any_size(tmp_path: Path, codec: Codec, size: tuple[int, int]) -> None:
    picture(*size).save(tmp_path / "p.png")
    result = demo(tmp_path / "out", codec, tmp_path / "p.png", CatFinder())
    assert Image.open(tmp_path / "out" / "human.png").size == size
    assert f"{size[0]:,} \u00d7 {size[1]:,}" in result.files[-1].read_text(encoding="utf-8")


def test_name_of_the_photo_is_escaped(tmp_path: Path, codec: Codec) -> None:
    photo = tmp_path / "<b>{{size}} & co.png"
    picture(40, 30).save(photo)
    html = demo(tmp_path / "out", codec, photo).files[-1].read_text(encoding="utf-8")
    assert "&lt;b&gt;{{size}} &amp; co.png" in html
    assert "<b>{{size}}" not in html


def test_notes_of_the_photo_are_passed_on(tmp_path: Path, codec: Codec) -> None:
    Image.new("RGBA", (20, 20)).save(tmp_path / "clear.png")
    notes = demo(tmp_path / "out", codec, tmp_path / "clear.png", CatFinder()).notes
    assert notes == ["its transparent parts are shown on white"]


@pytest.mark.slow
def test_existing_files_are_kept_unless_told(tmp_path: Path, codec: Codec) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(DiptychError, match="--overwrite"):
        demo(tmp_path, codec)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    demo(tmp_path, codec, overwrite=True)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") != "mine"


def test_photo_is_never_replaced(tmp_path: Path, codec: Codec) -> None:
    picture(20, 20).save(tmp_path / "human.png")
    with pytest.raises(PictureError, match="read and written at once"):
        demo(tmp_path, codec, tmp_path / "human.png", overwrite=True)


@pytest.mark.parametrize("name", ["none.jpg", "bad.jpg"])
def test_unreadable_photo_leaves_nothing(tmp_path: Path, codec: Codec, name: str) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"rubbish")
    with pytest.raises(PictureError, match=name):
        demo(tmp_path / "out", codec, tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_codec_without_a_human_view_leaves_nothing(tmp_path: Path, codec: Codec) -> None:
    bare = codec.with_view({})
    with pytest.raises(ModelError, match="no human view"):
        demo(tmp_path / "out", bare)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_says_where_everything_is(tmp_path: Path, codec_file: Path) -> None:
    picture(60, 40).save(tmp_path / "p.png")
    arguments = ["demo", tmp_path / "p.png", "-o", tmp_path / "out", "-q", 10, "--model", codec_file]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    for path in (tmp_path / "out").iterdir():
        assert f"wrote {path}\n" in result.stdout
    assert f"open {tmp_path / 'out' / 'report.html'}" in result.stdout


def test_uncertain_detections_are_left_out() -> None:
    [found] = found_in(CatFinder().predict([torch.zeros(3, 8, 10)])[0], CatFinder.classes)
    assert (found.name, found.box) == ("cat", (0, 0, 5, 8))
    assert found.score == pytest.approx(0.9)
    assert found.mask.shape == (8, 10)


def test_drawing_colours_the_mask_and_leaves_the_rest() -> None:
    mask = np.zeros((60, 80))
    mask[:, :40] = 1
    grey = Image.new("RGB", (80, 60), (90, 90, 90))
    drawn = draw_detections(grey, [Found("cat", 0.0, 0.8, (10, 20, 30, 50), mask)], scale=2)
    assert drawn.size == (160, 120)
    assert drawn.getpixel((120, 60)) == (90, 90, 90)
    red, green, _ = drawn.getpixel((40, 70))  # type: ignore[misc]
    assert red > 120 > green
    assert grey.getpixel((0, 0)) == (90, 90, 90)


@pytest.mark.parametrize("box", [(-50, -50, 500, 500), (60, 40, 20, 10), (300, 300, 400, 400)])
def test_boxes_outside_the_picture_do_no_harm(box: tuple[float, float, float, float]) -> None:
    found = Found("a very long name indeed", 0.3, 0.6, box, np.zeros((20, 30)))
    assert draw_detections(Image.new("RGB", (30, 20)), [found]).size == (30, 20)


def test_detail_finds_the_difference() -> None:
    first = Image.new("RGB", (300, 200))
    second = first.copy()
    second.paste("white", (250, 150, 260, 160))
    left, top, right, bottom = detail(first, second)
    assert left <= 250
    assert top <= 150
    assert right >= 260
    assert bottom >= 160
    assert (right - left, bottom - top) == (96, 96)


def test_psnr() -> None:
    black = Image.new("RGB", (4, 4))
    assert psnr(black, black) == float("inf")
    assert psnr(black, Image.new("RGB", (4, 4), (255, 255, 255))) == 0
    noisy = Image.fromarray(np.full((4, 4, 3), 16, np.uint8))
    assert psnr(black, noisy) == pytest.approx(24.0486, abs=1e-3)


def test_shipped_photo_is_small_and_without_metadata() -> None:
    data = CAT.read_bytes()
    assert len(data) < 120_000
    assert not {"exif", "icc_profile", "comment"} & set(Image.open(BytesIO(data)).info)
