"""The report in a real browser: moved by keyboard, on a phone, in the dark, on paper, without a network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diptych.codec.codec import Codec
from diptych.report.make import run
from samples import picture

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, results_file: Path, codec: Codec, spotter: Any) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name, size in {"wide": (240, 176), "tall": (170, 230)}.items():
        photo = picture(*size)
        photo.paste("white", (40, 50, 100, 110))
        photo.save(folder / f"{name}.png")
    photos = [folder / "wide.png", folder / "tall.png"]
    return run([results_file], photos, folder / "report.html", codec, spotter, 60).path


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Any]:
    """A function that opens the page; at the end, nothing was complained about and nothing was fetched."""
    complaints, fetched, contexts = [], [], []

    def open_page(size: dict[str, int] = DESK, scheme: str = "light") -> Any:
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in fetched if not url.startswith("data:")} == {page_file.as_uri()}


def edge(page: Any) -> str:
    """Where the right picture of the first photo begins."""
    return page.eval_on_selector(".side + .side", "side => getComputedStyle(side).clipPath")


def test_pictures_load(opened: Any) -> None:
    page = opened()
    sizes = page.eval_on_selector_all("img", "all => all.map(one => one.complete && one.naturalWidth)")
    assert len(sizes) > 2 * (2 * 5 + 3 + 5)
    assert all(sizes)
    assert page.locator(".photo").count() == 2
    assert page.locator(".chart > svg").count() == 3


def test_slider_by_keyboard(opened: Any) -> None:
    page = opened()
    slider = page.locator("input[type=range]").first
    reached = 0
    while not slider.evaluate("one => one === document.activeElement"):
        page.keyboard.press("Tab")
        reached += 1
        assert reached < 30
    start = edge(page)
    for key, place in (("ArrowRight", "50.5"), ("PageDown", "40.5"), ("Home", "0"), ("End", "100")):
        page.keyboard.press(key)
        assert slider.input_value() == place
    assert edge(page) == "inset(0px 0px 0px 100%)" != start


def test_slider_by_mouse_and_choice_of_pictures(opened: Any) -> None:
    page = opened()
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert float(page.locator("input[type=range]").first.input_value()) == pytest.approx(25, abs=2)
    left = page.locator("select").first
    names = left.locator("option").all_text_contents()
    assert names[:5] == ["Original", "Machine view", "Human view", "JPEG", "AVIF"]
    assert names[5:] == ["Difference map", "Grid, machine view", "Grid, human view"]
    for name in names:
        left.select_option(label=name)
        assert stage.locator(".side img").first.get_attribute("alt") == name


def test_detections_on_and_off(opened: Any) -> None:
    page = opened()
    layer = page.locator(".stage .layer").first
    assert not layer.is_visible()
    page.locator("input[type=checkbox]").first.focus()
    page.keyboard.press("Space")
    assert layer.is_visible()
    page.keyboard.press("Space")
    assert not layer.is_visible()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_fits_the_screen_by_day_and_night(opened: Any, size: dict[str, int], tmp_path: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = opened(size, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        path = tmp_path / f"{scheme}.png"
        page.screenshot(path=path)
        brightness[scheme] = Image.open(path).convert("L").getpixel((2, 2))
    assert brightness["light"] > 230
    assert brightness["dark"] < 50


def test_on_paper(opened: Any) -> None:
    page = opened()
    folded = page.locator("details:not([open])")
    assert folded.count()
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert folded.count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".compare").first.is_visible()
    assert page.locator(".shots img").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 27, 26)"


def test_readable_without_script(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert not page.locator(".compare").first.is_visible()
    assert page.locator(".shots figure").first.is_visible()
    context.close()
