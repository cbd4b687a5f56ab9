"""Where the heat maps of ``decode --map`` and ``grid --map`` go."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import DiptychError
from diptych.io.files import (
    STANDARD,
    plan_jobs,
)

if TYPE_CHECKING:
    pass


def maps_beside(
    inputs: list[str], output: str, reads: Collection[str], suffix: str, overwrite: bool
) -> dict[Path, Path]:
    plan = plan_jobs(inputs, output, reads, suffix, overwrite)
    if plan.refused:
        raise DiptychError(plan.refused[0])
    if any(job.target == STANDARD for job in plan.jobs):
        raise DiptychError("a map cannot go to standard output; name a file for --map")
    return {job.source: job.target for job in plan.jobs}
