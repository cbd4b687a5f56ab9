"""Where the heat maps of ``decode --map`` and ``grid --map`` go."""

from __future__ import annotations

from collections.abc import Collection

from diptych.errors import DiptychError
from diptych.io.files import (
    STANDARD,
    plan_jobs,
)
from diptych.io.places import Name


def maps_beside(
    inputs: list[str], output: str, reads: Collection[str], suffix: str, overwrite: bool
) -> dict[Name, Name]:
    plan = plan_jobs(inputs, output, reads, suffix, overwrite)
    if plan.refused:
        raise DiptychError(plan.refused[0])
    if any(job.target == STANDARD for job in plan.jobs):
        raise DiptychError("a map cannot go to standard output; name a file for --map")
    return {job.source: job.target for job in plan.jobs}
