"""What the modules of the package import, read from their source."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/diptych"
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The module or sub-package directly in the package that a file is part of."""
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "diptych" if part == "__init__" else part


def imported(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{name.name}" for name in node.names)
