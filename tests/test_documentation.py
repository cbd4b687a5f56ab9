"""The documentation does what it says: its examples run, its site is whole.

Blocks of ``sh`` and ``python`` run page by page in one folder, in order, on small pictures and with the shipped
codec; a search takes fewer steps. A block named in the line before it is written to a file. What is too heavy, or
cannot run here, says so in its title. The tutorial has a test of its own.
"""

import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from shutil import copy, copytree
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import diptych
from diptych.cli.main import app
from samples import picture

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
TUTORIAL = DOCS / "tutorial-your-detector.md"
PAGES = sorted([REPOSITORY / "README.md", *DOCS.glob("*.md")])
NOT_RUN = "not run by the tests"
RUN, WRITTEN, SHOWN = ("sh", "python"), ("yaml", "json"), ("", "text", "html", "js")
BUDGET = {"--optimize 30": "--optimize 2", "steps=30": "steps=2"}
FENCE = re.compile(r"(?:^`(\S+)`:\n\n)?^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(diptych|pip|python3?|curl|accelerate|import|from) ", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: the file it is to be written to, language, whether it says that it is not run, and text."""

    file: str
    language: str
    skipped: bool
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    for generous, tiny in BUDGET.items():
        text = text.replace(generous, tiny)
    found = FENCE.findall(text)
    return [Block(file, info.split(" ")[0], NOT_RUN in info, text) for file, info, text in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in RUN + WRITTEN + SHOWN, block
        hidden = block.language in SHOWN and not block.skipped and COMMAND.search(block.text)
        assert not hidden, f"runs, or says '{NOT_RUN}': {block.text}"


def test_tables_are_those_of_the_results() -> None:
    make = runpy.run_path(str(REPOSITORY / "results" / "make.py"))
    for page in make["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert make["filled"](text) == text, f"python results/make.py changes {page.name}"


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples find in their folder: photos, files of the codec, weights of some network."""
    folder = tmp_path_factory.mktemp("given")
    for name in ("photo.jpg", "camera/one.jpg", "camera/day/two.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        picture(112, 80, seed=len(name)).save(folder / name)
    (folder / "archive").mkdir()
    data = diptych.load().encode(picture(112, 80), quality=40)
    for name in ("old.dip", "archive/first.dip", "archive/second.dip"):
        (folder / name).write_bytes(data)
    (folder / "outputs").mkdir()
    for name in ("decoded.png", "outputs/one.png"):
        picture(208, 176).save(folder / name)
    weights = REPOSITORY / "src" / "diptych" / "weights"
    copy(weights / "codec.safetensors", folder / "codec.safetensors")
    copy(weights / "codec.human.safetensors", folder / "newer-human.safetensors")
    some_networks(folder)
    return folder


def some_networks(folder: Path) -> None:
    """Files for ``diptych lint``: upsamplers of nobody in particular."""
    onnx = pytest.importorskip("onnx")
    noise = np.random.default_rng(0).standard_normal
    transposed, bias, shuffled = (noise(shape, np.float32) for shape in ((16, 8, 4, 4), 8, (48, 8, 3, 3)))
    layers = {"decoder.3.weight": transposed, "decoder.3.bias": bias, "tail.0.weight": shuffled}
    save_file(layers, folder / "other.safetensors")
    layer = onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    weight = onnx.numpy_helper.from_array(transposed, "w")
    graph = onnx.helper.make_graph([layer], "superres", ends[:1], ends[1:], [weight])
    onnx.save(onnx.helper.make_model(graph), str(folder / "superres.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=lambda page: page.name)
def test_examples(page: Path, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    copytree(given, folder)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python" and not block.skipped:
            exec(compile(block.text, str(page), "exec"), names)
        elif block.language == "sh" and not block.skipped:
            for line in block.text.replace("\\\n", " ").splitlines():
                carry_out(shlex.split(line, comments=True))


def carry_out(words: list[str]) -> None:
    """Run a line of a shell block: a command of this package, or the installation of parts that it has."""
    if words[:1] == ["diptych"]:
        result = CliRunner().invoke(app, list(expanded(words[1:])))
        assert result.exit_code == 0, (words, result.output, result.exception)
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        wanted = re.findall(r"\[(.*?)\]", " ".join(words))
        assert all(extra in extras for group in wanted for extra in group.split(",")), words
    else:
        assert not words, f"the tests cannot run {shlex.join(words)}: say '{NOT_RUN}'"


def expanded(words: list[str]) -> Iterator[str]:
    """What a shell makes of unquoted stars; the quoted ones the command expands as well."""
    for word in words:
        matches = sorted(str(path) for path in Path().glob(word)) if "*" in word else []
        yield from matches or [word]


class Requests(HTMLParser):
    """Everything that a browser would fetch for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        fetched = [given.get("src", ""), given.get("srcset", "")]
        if tag == "link" and given.get("rel") not in ("next", "prev", "canonical"):
            fetched.append(given.get("href", ""))
        self.wanted += [address for address in fetched if address]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built with warnings as errors."""
    mkdocs = pytest.importorskip("mkdocs.commands.build")
    pytest.importorskip("mkdocstrings_handlers.python")
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    mkdocs.build(load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def test_the_site_asks_no_other_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text(encoding="utf-8"))
        assert [url for url in requests.wanted if re.match(r"(\w+:)?//", url)] == [], page


def test_the_reference_is_made_from_the_docstrings(site: Path) -> None:
    reference = (site / "api.html").read_text(encoding="utf-8")
    for name in ("load", "Codec.encode", "data.dip.DipDataset", "tasks.Task", "errors.BitstreamError"):
        assert f'id="diptych.{name}"' in reference
    assert re.findall(r":(?:class|func|meth|attr|data):|^::$", reference, re.MULTILINE) == []
