"""The floor plan of ``CONTRIBUTING.md`` is that of the code."""

import re
from graphlib import TopologicalSorter

from imports import FILES, ROOT, imported, part_of

ROW = re.compile(r"^\| (\d) \| `(\w+)` \|", re.MULTILINE)


PLAN = {part: int(floor) for floor, part in ROW.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))}
PARTS = {part_of(path) for path in FILES}


def parts_below(part: str) -> set[str]:
    """The other parts that a part imports."""
    names = {name for path in FILES if part_of(path) == part for name in imported(path)}
    ours = [name.split(".") for name in names if name.partition(".")[0] == "diptych"]
    found = {name[1] if len(name) > 1 and name[1] in PARTS else "diptych" for name in ours}
    return found - {part}


def test_every_part_is_in_the_plan() -> None:
    assert set(PLAN) == PARTS


def test_parts_import_from_below() -> None:
    upwards = {(part, other) for part in PARTS for other in parts_below(part) if PLAN[other] > PLAN[part]}
    assert upwards == set()


def test_no_part_imports_itself_in_a_circle() -> None:
    assert set(TopologicalSorter({part: parts_below(part) for part in PARTS}).static_order()) == PARTS


def test_what_parts_do_not_know() -> None:
    for part, foreign in {
        "bitstream": {"torch"},
        "io": {"torch"},
        "nn": {"pathlib", "os", "io", "PIL", "safetensors"},
    }.items():
        known = {name.partition(".")[0] for path in FILES if part_of(path) == part for name in imported(path)}
        assert known & foreign == set(), part
