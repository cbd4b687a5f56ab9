"""The page as a person uses it: drop a file, move the dial, download; on a phone, in the dark, from a folder."""

import re
from io import BytesIO
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.codec.codec import Codec
from diptych.page import write
from page.conftest import Open, in_page
from samples import picture

pytestmark = pytest.mark.slow
DOCS = Path(__file__).parents[2] / "docs" / "browser.md"
DROP = """async (bytes, name) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name));
    document.getElementById("drop").dispatchEvent(
        new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
IDLE = "body:not(.busy)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, codec_file: Path) -> Path:
    path = tmp_path_factory.mktemp("page") / "viewer"
    write(path, [codec_file])
    return path


@pytest.fixture(scope="module")
def dip(codec: Codec) -> bytes:
    return codec.encode(picture(90, 61), quality=60)


def dropped(page: Any, data: bytes, name: str = "my photo.dip") -> None:
    page.wait_for_selector("body.ready")
    in_page(page, DROP, data, name)
    page.wait_for_selector("#show:visible, #error:visible")
    page.wait_for_selector(IDLE)


def turn(page: Any, value: float) -> None:
    script = "(dial, value) => { dial.value = value; dial.dispatchEvent(new Event('input', { bubbles: true })); }"
    page.eval_on_selector("#view", script, value)
    page.wait_for_selector(IDLE)


def saved(page: Any) -> tuple[str, np.ndarray]:
    with page.expect_download() as download:
        page.click("#save")
    content = Path(download.value.path()).read_bytes()
    return download.value.suggested_filename, np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(int)


def test_both_views_the_dial_and_downloads(opened: Open, folder: Path, codec: Codec, dip: bytes) -> None:
    page = opened(folder)
    dropped(page, dip)
    assert page.text_content("#bytes") == f"{len(dip)} bytes"
    assert page.text_content("#size") == "90 \N{MULTIPLICATION SIGN} 61"
    assert page.text_content("#codec") == codec.model_id.hex()
    assert page.eval_on_selector("#machine", "(picture) => picture.canvas.width") == 90
    for value, name, view in ((0.35, "0.35", 0.35), (0, "machine", "machine"), (1, "human", "human")):
        turn(page, value)
        assert page.text_content("#view-value") == name
        filename, levels = saved(page)
        assert filename == f"my photo-{name}.png"
        assert np.abs(levels - np.asarray(codec.decode(dip, view)).astype(int)).mean() < 0.8


def test_the_slider_divides_the_pictures(opened: Open, folder: Path, dip: bytes) -> None:
    page = opened(folder)
    dropped(page, dip)
    page.focus("#at")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.eval_on_selector("#pair", "(pair) => pair.style.getPropertyValue('--at')") == "51%"


def test_an_error_is_one_sentence_without_a_picture(opened: Open, folder: Path, dip: bytes) -> None:
    page = opened(folder)
    dropped(page, dip)
    dropped(page, dip[:-1])
    page.wait_for_selector("#error:visible")
    assert page.text_content("#error") == "The file is truncated in tile 1 of 1."
    assert not page.is_visible("#show")
    assert not page.is_visible("#save")
    dropped(page, dip)
    page.wait_for_selector("#show:visible")
    assert not page.is_visible("#error")


def test_a_codec_without_a_human_view(opened: Open, tmp_path: Path, codec_file: Path, dip: bytes) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(codec_file.read_bytes())
    write(tmp_path / "viewer", [alone])
    page = opened(tmp_path / "viewer")
    dropped(page, dip)
    assert page.is_visible("#no-human")
    assert page.is_disabled("#view")
    assert saved(page)[0] == "my photo-machine.png"


@pytest.mark.parametrize("width", [390, 1440])
def test_fits_the_screen_by_day_and_night(opened: Open, folder: Path, codec: Codec, width: int) -> None:
    data = codec.encode(picture(900, 40))
    brightness = {}
    for scheme in ("light", "dark"):
        page = opened(folder, viewport={"width": width, "height": 844}, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        dropped(page, data)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.is_visible("#save")
        shot = Image.open(BytesIO(page.screenshot())).convert("L")
        brightness[scheme] = shot.getpixel((2, 2))
    assert brightness["light"] > 230
    assert brightness["dark"] < 50


def test_opened_as_a_file_it_says_what_to_do(browser: Any, folder: Path) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto((folder / "index.html").as_uri())
    page.wait_for_selector("#needs-server:visible")
    assert "python -m http.server" in page.text_content("#needs-server")
    assert not page.is_visible("main")
    assert said == []
    page.close()


def test_the_element_of_the_documentation(opened: Open, folder: Path, tmp_path: Path, dip: bytes) -> None:
    copytree(folder, tmp_path / "viewer")
    (tmp_path / "photo.dip").write_bytes(dip)
    (tmp_path / "broken.dip").write_bytes(dip[:30])
    (example,) = re.findall(r"```html[^\n]*\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "use.html").write_text(f'<!doctype html><link rel="icon" href="viewer/icon.svg">{example}')
    page = opened(tmp_path, "use.html")
    page.wait_for_function("document.querySelector('dip-image')?.canvas?.width === 90")
    machine = page.evaluate("document.querySelector('dip-image').canvas.toDataURL()")
    painted = """(view) => new Promise((resolve) => {
        const picture = document.querySelector("dip-image");
        picture.addEventListener("load", () => resolve(picture.canvas.toDataURL()), { once: true });
        picture.view = view;
    })"""
    assert page.evaluate(painted, "machine") != page.evaluate(painted, "human") == machine
    failed = """(src) => new Promise((resolve) => {
        const picture = document.querySelector("dip-image");
        const tell = ({ message }) => resolve([message, picture.canvas.hidden]);
        picture.addEventListener("error", tell, { once: true });
        picture.src = src;
    })"""
    assert page.evaluate(failed, "broken.dip") == ["The file is truncated in tile 1 of 1.", True]
