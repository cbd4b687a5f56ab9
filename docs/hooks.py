"""Brings what the pages link to outside of ``docs/`` into the site.

::

    docs/evaluation.md ──[...](../results/README.md)──> results/README.md ──> page repository/results/README.md

So one link is right in the repository and in the site. Markdown, code and folders become pages, all else is copied;
pages that came in this way may bring others. A link to nothing is a warning, and fails a strict build.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
CODE = {".py": "python", ".yaml": "yaml", ".toml": "toml"}

log = logging.getLogger("mkdocs.hooks.repository")
homes: dict[str, str] = {}
"""Where pages that were brought in lie in the repository, by their path in the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is linked to, and what that links to."""
    homes.clear()
    todo = list(files.documentation_pages())
    while todo:
        page = todo.pop()
        for target in LINK.findall(FENCE.sub("", page.content_string)):
            path = _in_repository(page.src_uri, target)
            place = _in_site(path)
            if path.startswith("docs/") or files.get_file_from_path(place):
                continue
            if not (ROOT / path).exists():
                log.warning("%s links to %s, which does not exist", page.src_uri, path)
                continue
            files.append(_brought(path, place, config))
            if place.endswith(".md"):
                todo.append(files.src_uris[place])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at where their targets are in the site."""
    here = page.file.src_uri

    def rewritten(link: re.Match[str]) -> str:
        return relpath(_in_site(_in_repository(here, link[1])), dirname(here) or ".")

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(rewritten, text) for text in parts[::2]]
    return "".join(parts)


def _in_repository(page: str, target: str) -> str:
    """The path in the repository that a page of the site links to."""
    return normpath(join(dirname(homes.get(page, f"docs/{page}")), target))


def _in_site(path: str) -> str:
    """Where a file or folder of the repository is in the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    full = ROOT / path
    if (full / "README.md").is_file():
        return f"repository/{path}/README.md"
    return f"repository/{path}" + ".md" * (full.is_dir() or full.suffix in CODE)


def _brought(path: str, place: str, config: MkDocsConfig) -> File:
    """The file or folder ``path`` of the repository as a file of the site."""
    full = ROOT / path
    if (full / "README.md").is_file():
        path, full = f"{path}/README.md", full / "README.md"
    homes[place] = path
    made = partial(File.generated, config, place, inclusion=InclusionLevel.NOT_IN_NAV)
    if full.is_dir():
        homes[place] = f"{path}/."
        names = sorted(file.name for file in full.iterdir() if file.is_file())
        return made(content=f"# {path}/\n\n" + "".join(f"- [{name}]({name})\n" for name in names))
    if language := CODE.get(full.suffix):
        return made(content=f"# {path}\n\n```{language}\n{full.read_text(encoding='utf-8')}```\n")
    return made(abs_src_path=str(full))
