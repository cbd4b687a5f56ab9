"""What ``encode --keep`` and ``--target`` aim at: what task networks find in the decoded picture, or a metric."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

import typer

from diptych.cli.console import Facts
from diptych.codec.views import dial
from diptych.errors import DiptychError, extra

if TYPE_CHECKING:
    from PIL import Image

    from diptych.codec.codec import Codec
    from diptych.tasks import Task
    from diptych.tasks.detector import Detector

METRICS = {
    "ssimulacra2": ("people", 1),
    "psnr": ("metrics", 1),
    "ssim": ("metrics", 1),
    "lpips": ("people", -1),
}
"""By name: the module of ``diptych.evaluation``, and whether more (1) or less (-1) is better."""

KeepShare = Annotated[
    float | None,
    typer.Option(
        "--keep",
        metavar="0..1",
        help="The smallest file in which a task network finds this share of what it finds in the photo.",
        show_default=False,
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="FILE",
        help="A task network for --keep, .safetensors or .yaml; of several, all have to agree.",
        show_default="the one in the package",
    ),
]
MetricTarget = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="METRIC=VALUE",
        help=f"The smallest file that reaches a value of {', '.join(METRICS)}.",
        show_default=False,
    ),
]
MeasuredView = Annotated[
    str | None,
    typer.Option(
        "--view",
        metavar="machine|human|0..1",
        help="The view that --keep or --target looks at.",
        show_default="machine for --keep, human for --target",
    ),
]

Encode = Callable[[float], bytes]
"""From quality to file."""
Judge = Callable[["Image.Image"], float]
"""Scores a decoded picture; higher is better."""


class Goal(Protocol):
    """What a decoded picture has to reach; it can be pickled.

    Attributes:
        measure: name of what is measured.
        view: in which it is measured, as :meth:`Codec.decode` takes it.
        wanted: the score that is enough.
        steady: whether the score grows with every step of quality.
    """

    @property
    def measure(self) -> str: ...

    @property
    def view(self) -> str: ...

    @property
    def wanted(self) -> float: ...

    @property
    def steady(self) -> bool: ...

    def prepare(self) -> None:
        """Load what it needs.

        Raises:
            DiptychError: if that is not here.
        """
        ...

    def judge(self, photo: Image.Image) -> Judge:
        """What scores decoded pictures of ``photo``."""
        ...

    def shown(self, score: float) -> float:
        """The score as its measure counts."""
        ...


@dataclass(frozen=True)
class Keep:
    """That task networks find in the decoded picture what they find in the photo.

    Attributes:
        wanted: F1 of the detections, of the worst of the networks, 0..1.
        tasks: files of the networks, for :func:`diptych.tasks.load_task`; none: the one in the package.
    """

    wanted: float
    tasks: tuple[str, ...]
    view: str

    measure = "agreement"
    steady = False

    def prepare(self) -> None:
        self._networks()

    def judge(self, photo: Image.Image) -> Judge:
        from diptych.tasks.agreement import kept
        from diptych.tasks.view_hint import predicted

        found = [(network, predicted(network, photo)) for network in self._networks()]
        return lambda picture: min(kept(wanted, predicted(network, picture)) for network, wanted in found)

    def shown(self, score: float) -> float:
        return score

    def _networks(self) -> list[Task | Detector]:
        from diptych.tasks.detector import shipped_detector

        return [_network(path) for path in self.tasks] or [shipped_detector()]


@dataclass(frozen=True)
class Target:
    """That a metric of the decoded picture against the photo reaches a value.

    Attributes:
        measure: one of :data:`METRICS`.
        value: of it, at least, or at most where less is better.
    """

    measure: str
    value: float
    view: str

    steady = True

    @property
    def wanted(self) -> float:
        return self.shown(self.value)

    def prepare(self) -> None:
        self._metric()

    def judge(self, photo: Image.Image) -> Judge:
        metric = self._metric()

        def score(picture: Image.Image) -> float:
            value = metric(photo, picture)
            if math.isnan(value):
                raise DiptychError(f"a picture of {photo.width} x {photo.height} is too small for {self.measure}")
            return self.shown(value)

        return score

    def shown(self, score: float) -> float:
        return METRICS[self.measure][1] * score

    def _metric(self) -> Callable[[Image.Image, Image.Image], float]:
        with extra("eval", f"--target {self.measure}"):
            module = import_module(f"diptych.evaluation.{METRICS[self.measure][0]}")
        metric: Callable[[Image.Image, Image.Image], float] = getattr(module, self.measure)
        return metric


class Coded(NamedTuple):
    """A file, and what is to be said of how it was made.

    Attributes:
        data: its bytes.
        words: what it reached, for the user.
        notes: what else the user should know.
        facts: the same for the manifest, if there are any.
    """

    data: bytes
    words: str = ""
    notes: Sequence[str] = ()
    facts: Facts | None = None


def reach(goal: Goal, codec: Codec, photo: Image.Image, encode: Encode) -> Coded:
    """The smallest file of ``photo`` that reaches a goal, or the best where none does."""
    from diptych.codec.rate_control import smallest

    judge = goal.judge(photo)
    found = smallest(encode, lambda data: judge(codec.decode(data, goal.view)), goal.wanted, goal.steady)
    score, wanted = goal.shown(found.score), goal.shown(goal.wanted)
    view = goal.view if goal.view in ("machine", "human") else f"{float(goal.view):g}"
    words = f"quality {found.quality}, {goal.measure} {score:.4g} in view {view}, {found.codings} codings"
    missed = f"none of {found.codings} codings reaches {goal.measure} {wanted:g}; this is the best of them"
    facts: Facts = {"measure": goal.measure, "score": score, "reached": found.reached}
    return Coded(found.data, words, [] if found.reached else [missed], facts)


def goal_of(keep: float | None, tasks: Sequence[str] | None, target: str | None, view: str | None) -> Goal | None:
    """The goal that the options of a command ask for, if any, with what it needs loaded.

    Raises:
        typer.BadParameter: if they are malformed or do not go together.
        DiptychError: as :meth:`Goal.prepare`.
    """
    if tasks and keep is None:
        raise typer.BadParameter("--task names a network for --keep, which is missing")
    if view is not None and keep is None and target is None:
        raise typer.BadParameter("--view says where --keep or --target looks; both are missing")
    if view is not None:
        try:
            dial(view)
        except DiptychError as error:
            raise typer.BadParameter(str(error)) from None
    goal: Goal | None = None
    if keep is not None:
        if not 0 < keep <= 1:
            raise typer.BadParameter(f"--keep is a share above 0 and up to 1, not {keep:g}")
        goal = Keep(keep, tuple(tasks or ()), view or "machine")
    elif target is not None:
        goal = Target(*_metric_and_value(target), view or "human")
    if goal:
        goal.prepare()
    return goal


def _metric_and_value(target: str) -> tuple[str, float]:
    found = re.fullmatch(rf"({'|'.join(METRICS)})=(-?\d+(?:\.\d*)?|-?\.\d+)", target)
    if not found:
        raise typer.BadParameter(f"a target is METRIC=VALUE with one of {', '.join(METRICS)}, not '{target}'")
    return found[1], float(found[2])


@cache
def _network(path: str) -> Task:
    with extra("train", f"--task {path}"):
        from diptych.tasks import load_task

        network: Task = load_task(path)
    if not getattr(network, "classes", ()) or not hasattr(network, "predict"):
        raise DiptychError(f"{path} finds no objects, so there is nothing to keep")
    return network
