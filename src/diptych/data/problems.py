"""What a run is told about its data before it starts."""

from collections.abc import Sequence
from pathlib import Path

from diptych.io.files import make_folder, write_bytes

SHOWN = 5
"""Problems that are named on the terminal; the rest is counted."""


def summary(facts: str, problems: Sequence[str], file: Path | None = None) -> str:
    """A line of facts and the first problems, one a line.

    Args:
        facts: what the data are.
        problems: one sentence each.
        file: where to list all problems if they are too many to be shown; replaced if it exists.

    Raises:
        DiptychError: the file cannot be written.
    """
    lines = [facts, *problems[:SHOWN]]
    if len(problems) > SHOWN:
        more = f"... and {len(problems) - SHOWN:,} more problems"
        if file is not None:
            make_folder(file.parent)
            write_bytes(
                "".join(f"{problem}\n" for problem in problems).encode(errors="replace"), file, overwrite=True
            )
            more += f", all in {file}"
        lines.append(more)
    return "\n".join(lines)
