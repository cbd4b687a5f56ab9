"""Results on disk and on screen."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from diptych.errors import DiptychError
from diptych.io.files import make_folder, write_bytes

FORMAT = "diptych-evaluation-1"
_WITH_INTERVAL = ("ap50", "ap50_relative")
_PACKAGES = (
    *("diptych", "torch", "torchvision", "torchmetrics", "timm", "numpy", "scipy", "bjontegaard"),
    *("pillow", "pycocotools", "ssimulacra2"),
)
_SHOWN = (
    *("bpp", "psnr", "ssim", "ms_ssim", "ssimulacra2", "lpips", "butteraugli", "sharpness"),
    *("grid_2", "grid_4", "grid_8", "grid_16", "ap"),
    *_WITH_INTERVAL,
)
_WIDTH = 160


def provenance(recipe: Path, overrides: Sequence[str], weights: dict[str, Path]) -> dict[str, Any]:
    """What is needed to make the same numbers again: commit, command, versions and hashes of the weights.

    Args:
        weights: files by role.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["diptych evaluate", str(recipe), *overrides]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "weights": {role: hashlib.sha256(path.read_bytes()).hexdigest() for role, path in weights.items()},
        "versions": {"python": platform.python_version()} | _versions(),
        "machine": {"processor": platform.machine(), "cpus": os.cpu_count()},
    }


def write(results: dict[str, Any], path: Path) -> None:
    """Write ``results`` as JSON, one line per entry of its lists, atomically; NaN and infinity become null.

    Raises:
        DiptychError: if the file cannot be written.
    """
    lines = []
    for key, value in _finite(results).items():
        if isinstance(value, list):
            entries = ",\n  ".join(json.dumps(entry, separators=(",", ":")) for entry in value)
            lines.append(f"{json.dumps(key)}: [\n  {entries}\n ]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    make_folder(path.parent)
    write_bytes(("{\n " + ",\n ".join(lines) + "\n}\n").encode(), path, overwrite=True)


def read(path: Path) -> dict[str, Any]:
    """The results in ``path``; null stays None.

    Raises:
        DiptychError: if they cannot be read or are something else.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DiptychError(f"the results {path} cannot be read: {error}") from None
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise DiptychError(f"{path} holds no evaluation results of this version")
    return results


def show(results: dict[str, Any], console: Console | None = None) -> None:
    """Print the most telling columns of every variant, the BD-rates, and the rates that accuracy needs."""
    console = console or Console()
    console.width = max(console.width, _WIDTH)
    console.print(_points_table(results))
    if any("grid_4" in point["summary"] for point in results["points"]):
        bars = ", ".join(f"{name} {bar:.2f}" for name, bar in results["natural"].items())
        console.print(f"95 % of photos score at most: {bars}\n")
    if results["bd_rate"]:
        console.print(_bd_table(results))
    if results.get("needed"):
        console.print(_needed_table(results))


def _points_table(results: dict[str, Any]) -> Table:
    points = results["points"]
    columns = [name for name in _SHOWN if any(name in point["summary"] for point in points)]
    title = f"{len(results['photos']['names'])} photos, 95 % intervals"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in ("codec", "setting", "view", *columns):
        table.add_column(name, justify="left" if name in ("codec", "view") else "right", no_wrap=True)
    for point in points:
        setting = "" if point["setting"] is None else f"{point['setting']:g}"
        named = [point["codec"], f"= {setting}" if point["matched"] else setting, str(point["view"] or "")]
        table.add_row(*named, *(_cell(name, point["summary"].get(name)) for name in columns))
    return table


def _bd_table(results: dict[str, Any]) -> Table:
    table = Table(title="BD-rate, % (negative: fewer bits at equal quality)", title_justify="left", box=SIMPLE)
    for name in ("view", "against", "at equal", "BD-rate", "interval"):
        table.add_column(name)
    for entry in results["bd_rate"]:
        low, high = (_number(entry[bound], "+.1f") for bound in ("low", "high"))
        percent = _number(entry["value"], "+.1f")
        spread = entry.get("problem") or f"{low} .. {high}{_part(entry.get('defined'))}"
        table.add_row(str(entry["view"]), entry["anchor"], entry["metric"], percent, spread)
    return table


def _needed_table(results: dict[str, Any]) -> Table:
    table = Table(title="bpp needed for a share of the uncompressed AP50", title_justify="left", box=SIMPLE)
    shares = sorted({entry["share"] for entry in results["needed"]})
    for name in ("codec", "view", *(f"{share:.0%}" for share in shares)):
        table.add_column(name)
    cells: dict[tuple[str, str], list[str]] = {}
    for entry in sorted(results["needed"], key=lambda entry: entry["share"]):
        cells.setdefault((entry["codec"], str(entry["view"] or "")), []).append(_rate(entry))
    for named, rates in cells.items():
        table.add_row(*named, *rates)
    return table


def _rate(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return f"not reached{_part(1 - entry['reached'])}"
    low, high = (_number(entry[bound], ".3f") for bound in ("low", "high"))
    most = "<= " if entry["at_smallest"] else ""
    return f"{most}{entry['value']:.3f} ({low} .. {'not reached' if entry['high'] is None else high})"


def _part(share: float | None) -> str:
    """In how many of the resamples, unless it is in all."""
    return "" if share is None or share == 1 else f" (in {share:.0%} of resamples)"


def _cell(name: str, found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    digits = ".2f" if name.startswith(("psnr", "ssimulacra2", "grid", "spectral")) else ".3f"
    cell = _number(found["value"], digits)
    if name in _WITH_INTERVAL:
        cell += f" {_number(found['low'], digits)}..{_number(found['high'], digits)}"
    return cell


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
