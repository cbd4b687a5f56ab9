"""The page in a real browser, on a real server: drop, dials, boxes, downloads; nothing leaves the machine."""

import base64
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.bitstream import unpack
from diptych.codec.codec import Codec
from samples import picture

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")]

PATIENCE = 60_000
IDLE = "body:not(.busy)"


@pytest.fixture(scope="module")
def address(codec_file: Path, pictures: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "diptych", "serve", str(pictures), "--port", "0", "--jobs", "1"]
    command += ["--model", str(codec_file), "--token", "s3cret"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[1]
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened; afterwards it must have said nothing on the console and asked nobody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    context.close()
    own = address.partition("#")[0]
    assert said == []
    assert [url for url in asked if not url.startswith((own, f"blob:{own}"))] == []


def drop(page: Any, name: str, content: bytes) -> None:
    transfer = page.evaluate_handle(
        """([name, content]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            return transfer;
        }""",
        [name, base64.b64encode(content).decode()],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def move(page: Any, dial: str, value: float) -> None:
    script = "(dial, value) => { dial.value = value; dial.dispatchEvent(new Event('input', { bubbles: true })); }"
    page.eval_on_selector(dial, script, value)


def settled(page: Any) -> None:
    page.wait_for_selector("#save-picture:visible")
    page.wait_for_selector(IDLE)
    assert page.text_content("#error") == ""


def shown(page: Any, image: str) -> str:
    """Address of a picture that has been loaded."""
    assert page.eval_on_selector(image, "(image) => image.complete && image.naturalWidth") == 90
    return page.get_attribute(image, "src")


def saved(page: Any, link: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click(link)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_a_dropped_photo_follows_the_dials(page: Any, jpeg: bytes) -> None:
    drop(page, "my photo.jpg", jpeg)
    settled(page)
    before = page.text_content("#bytes"), page.text_content("#bpp"), shown(page, "#left"), shown(page, "#right")
    move(page, "#quality", 90)
    page.wait_for_selector(f"#right:not([src='{before[3]}'])")
    settled(page)
    after = page.text_content("#bytes"), page.text_content("#bpp"), shown(page, "#left"), shown(page, "#right")
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[2] == before[2]
    move(page, "#view", 0)
    page.wait_for_selector(f"#right:not([src='{after[3]}'])")
    settled(page)
    assert page.text_content("#right-name") == "Right: machine view"
    assert page.text_content("#bytes") == after[0]
    name, content = saved(page, "#save-dip")
    header, _ = unpack(content)
    assert (name, header.quality) == ("my photo.dip", 90)
    name, content = saved(page, "#save-picture")
    assert (name, content[:4]) == ("my photo-machine.png", b"\x89PNG")


def test_a_dropped_dip_file_is_shown_in_both_views(page: Any, dip: bytes) -> None:
    drop(page, "file.dip", dip)
    settled(page)
    assert page.input_value("#reference") == "machine"
    assert page.is_disabled("#quality")
    assert page.text_content("#quality-value") == "60"
    assert shown(page, "#left") != shown(page, "#right")


def test_the_dial_of_a_stored_dip_file_asks_the_server_for_nothing(page: Any, codec: Codec, dip: bytes) -> None:
    drop(page, "file.dip", dip)
    settled(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for view, name in ((0.37, "0.37"), (0, "machine")):
        before = shown(page, "#right")
        move(page, "#view", view)
        page.wait_for_selector(f"#right:not([src='{before}'])")
        settled(page)
        called, content = saved(page, "#save-picture")
        assert called == f"file-{name}.png"
        expected = np.asarray(codec.decode(dip, view)).astype(int)
        with Image.open(BytesIO(content)) as image:
            assert np.abs(np.asarray(image.convert("RGB")) - expected).max() <= 2
    assert [url for url in asked if not url.startswith("blob:")] == []


def test_what_the_browser_cannot_decode_the_server_does(browser: Any, address: str, dip: bytes) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.route("**/codecs/**", lambda route: route.abort())
    page.goto(address)
    with page.expect_request("**/decode?view=1"):
        drop(page, "file.dip", dip)
    settled(page)
    shown(page, "#right")
    page.close()


def test_detections_and_the_map_come_and_go(page: Any, jpeg: bytes) -> None:
    drop(page, "photo.jpg", jpeg)
    settled(page)
    page.check("#detections")
    page.wait_for_selector("#found:visible")
    page.check("#map")
    page.wait_for_selector("#heat:visible")
    settled(page)
    assert "on the left" in page.text_content("#found-words")
    shown(page, "#heat")
    page.uncheck("#map")
    page.uncheck("#detections")
    page.wait_for_selector("#heat", state="hidden")
    page.wait_for_selector("#found", state="hidden")


def test_the_slider_divides_the_pictures(page: Any, jpeg: bytes) -> None:
    drop(page, "photo.jpg", jpeg)
    settled(page)
    page.focus("#at")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.eval_on_selector("#pair", "(pair) => pair.style.getPropertyValue('--at')") == "51%"
    box = page.locator("#at").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert 20 < float(page.input_value("#at")) < 30
    page.select_option("#zoom", "4")
    assert page.locator("#pair").bounding_box()["width"] == 4 * 90


def test_a_picture_of_the_folder_is_opened_by_a_click(page: Any) -> None:
    page.wait_for_selector("#thumbnails img")
    page.click("#thumbnails button >> nth=1")
    settled(page)
    assert page.get_attribute("#thumbnails button >> nth=1", "aria-pressed") == "true"
    assert page.text_content("#size") == "90 \N{MULTIPLICATION SIGN} 61"


def test_an_error_is_one_sentence_and_goes_away(browser: Any, address: str, jpeg: bytes) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    drop(page, "notes.txt", b"not a picture")
    page.wait_for_selector("#error:visible")
    assert page.text_content("#error").startswith("Cannot read the file: it is not a picture")
    drop(page, "photo.jpg", jpeg)
    settled(page)
    page.close()


def test_the_token_is_asked_for_and_hidden(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address.partition("#")[0])
    page.fill("#token", "s3cret")
    page.click("#token-form button")
    page.wait_for_selector("#thumbnails img")
    assert not page.is_visible("#token-form")
    page.close()
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("#thumbnails button")
    assert "token" not in page.url
    page.close()


def test_the_page_of_the_api_names_its_routes(page: Any, address: str) -> None:
    page.click("nav a")
    page.wait_for_selector("article")
    assert "POST /encode" in page.text_content("#routes")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out(browser: Any, address: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    for place in (address, address.replace("/#", "/docs#")):
        page.goto(place)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_wide_pictures_fit(page: Any) -> None:
    wide = BytesIO()
    picture(900, 20).save(wide, "PNG")
    drop(page, "wide.png", wide.getvalue())
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
