"""An evaluation from recipe to results.

    recipe -> photos -> runner -> measurements -> summary -> results.json, curves

One photo at a time: its pictures are measured and forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.checkerboard.baseline import FEW_TILES, STRIDES, natural
from diptych.codec import defaults
from diptych.codec.codec import load
from diptych.codec.registry import human_beside
from diptych.evaluation import results
from diptych.evaluation.aggregate import Summary
from diptych.evaluation.measurements import Measurements
from diptych.evaluation.plot import plot_all
from diptych.evaluation.runner import Evaluation, Runner, measure_all, measure_in_processes, photos_of
from diptych.evaluation.variants import Codec
from diptych.io.files import make_folder
from diptych.io.recipes import read_recipe
from diptych.tasks import Task


def run(recipe: Path, overrides: Sequence[str] = (), codec: Codec | None = None, task: Task | None = None) -> Path:
    """Evaluate by ``recipe``, print a table, write the results and draw the curves.

    Args:
        recipe: YAML file of an :class:`~diptych.evaluation.runner.Evaluation`.
        overrides: ``key=value`` strings that replace its entries.
        codec: stands in for the recipe's model; all work is then done in this process, as with ``task``.
        task: stands in for the recipe's task.

    Returns:
        The results file.

    Raises:
        DiptychError: if the recipe, the photos, the weights or an anchor cannot be used.
    """
    settings = read_recipe(recipe, Evaluation, overrides)
    make_folder(settings.out.parent)
    photos, dataset = photos_of(settings)
    truth = dataset.truth() if dataset else None
    runner = Runner(settings, truth, task)
    encoders = {name: anchor.made_with for name, anchor in runner.anchors.items()}
    meters = runner.metrics
    overlap = runner.accuracy and runner.accuracy.overlap
    own = codec or load(settings.model, settings.view)
    measurements = Measurements()
    if settings.workers == 1 or codec or task:
        measured = measure_all(runner, photos, own)
    else:
        measured = measure_in_processes(settings, truth, photos)
    for one in measured:
        measurements.add(one)
    summary = Summary(measurements, settings.resamples, settings.seed, settings.bpp_range)
    found = {
        "format": results.FORMAT,
        "provenance": results.provenance(recipe, overrides, _weights(settings)),
        "model_id": own.model_id.hex(),
        "recipe": settings.model_dump(mode="json"),
        "anchors": encoders,
        "metrics": meters,
        "overlap": overlap,
        "photos": {"names": measurements.names, "pixels": measurements.pixels},
        "natural": {f"grid_{stride}": natural("phase", stride, 95, FEW_TILES) for stride in STRIDES},
        "points": summary.points(),
        "comparisons": summary.comparisons(),
        "bd_rate": summary.bd_rates(),
        "needed": summary.needed(),
    }
    results.write(found, settings.out)
    results.show(results.read(settings.out))
    plot_all(settings.out)
    return settings.out


def _weights(settings: Evaluation) -> dict[str, Path]:
    """The files behind the evaluation, by role; those that are not there are left out."""
    model = settings.model or defaults.CODEC
    files = {"codec": model, "human": settings.view or human_beside(model), "task": settings.task}
    return {role: path for role, path in files.items() if path is not None and path.is_file()}
