"""What encoder-side search saves: bits at equal feature distance, of the task network searched for and of others.

    python benchmarks/search.py ../shared/data/voc/val --photos 6 --out results/search.json
    python benchmarks/search.py ../shared/data/voc/val --labels ../shared/data/voc/val.json --photos 100 \\
        --qualities 10 25 --steps 30 --dead-zones

The codec's own curve over ``CURVE`` is interpolated between means over the photos, both axes logarithmic; a
saving is how far a variant's bits lie below it at the variant's own distance, or squared error. Distances are
averaged over three sizes of the picture. A dead zone, the classical way to save bits without a search, stands
beside it: residuals shrink by a share of a quantization step before they are rounded. ``--labels`` adds mask AP50
(box AP50 where a task network has no masks).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import interpolate, pad

from diptych.bitstream import Header
from diptych.codec.architecture import HYPER_STRIDE
from diptych.codec.codec import Codec, Refine
from diptych.codec.defaults import CODEC, TASK
from diptych.codec.weights import load_codec
from diptych.data.coco import CocoDataset
from diptych.data.photos import Photos
from diptych.io.files import write_bytes
from diptych.nn.arrays import model_of
from diptych.nn.losses import feature_distance
from diptych.tasks import load_task
from diptych.tasks.latent_search import Search

TASKS = {"mask-rcnn": TASK, "fastestdet": Path("recipes/tasks/fastestdet.yaml")}
"""The one that is searched for comes first."""
CURVE = (3, 6, 10, 14, 19, 25, 31, 38, 44, 50, 57, 65)
SIZES = (0.65, 0.8, 1.0)


def dead_zone(codec: Codec, width: float) -> Refine:
    """Latents that are rounded toward their predictions unless they are 0.5 + ``width`` steps away."""
    model = model_of(codec.frozen.arrays, codec.frozen.widths).eval()

    def quantized(residual: Tensor) -> Tensor:
        return residual.sign() * torch.floor(residual.abs() + 0.5 - width)

    @torch.inference_mode()
    def refine(y: NDArray[np.float32], pixels: NDArray[np.uint8], header: Header) -> NDArray[np.float32]:
        latents, (height, right) = torch.from_numpy(y)[None], y.shape[1:]
        z = model.h_a(pad(latents, (0, -right % HYPER_STRIDE, 0, -height % HYPER_STRIDE), mode="replicate"))
        z_mean, _ = model.prior(torch.tensor([header.quality], dtype=torch.float32))
        features, prediction = (part[:, :, :height, :right] for part in model.h_s((z - z_mean).round() + z_mean))
        found: NDArray[np.float32] = model.context(latents, features, prediction, quantized)[1][0].numpy()
        return found

    return refine


class Meter:
    """Measures files of some photos with every task network.

    Args:
        photos: by number, uint8 ``(height, width, 3)``.
        dataset: of the same photos, for AP50.
    """

    def __init__(self, codec: Codec, photos: list[np.ndarray], dataset: CocoDataset | None) -> None:
        self.codec, self.photos, self.dataset = codec, photos, dataset
        self.tasks = {name: load_task(path) for name, path in TASKS.items()}
        self.wanted = [self._features(picture_of(pixels)) for pixels in photos]

    def __call__(self, quality: float, refine: Refine | None = None) -> dict[str, float]:
        """Means over the photos: ``bpp``, ``seconds`` of encoding, ``mse``, a distance and AP50 per network."""
        rows, seen = [], []
        for pixels, wanted in zip(self.photos, self.wanted, strict=True):
            start = time.perf_counter()
            data = self.codec.encode(pixels, quality, refine=refine)
            row = {"seconds": time.perf_counter() - start, "bpp": 8 * len(data) / pixels[..., 0].size}
            x, x_hat = picture_of(pixels), picture_of(np.asarray(self.codec.decode(data, "machine")))
            row["mse"] = float((x - x_hat).square().mean()) * 255**2
            found = self._features(x_hat)
            for name in self.tasks:
                pairs = zip(wanted[name], found[name], strict=True)
                row[name] = float(np.mean([float(feature_distance(a, b)) for a, b in pairs]))
            rows.append(row)
            seen.append(x_hat[0])
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        return means | self._scores(seen)

    def _scores(self, pictures: list[Tensor]) -> dict[str, float]:
        if self.dataset is None:
            return {}
        found = {}
        for name, task in self.tasks.items():
            score = task.score((task.predict([picture])[0] for picture in pictures), self.dataset)
            found[f"{name} AP50"] = score.get("AP50", score["box_AP50"])
        return found

    @torch.no_grad()
    def _features(self, x: Tensor) -> dict[str, list[dict[str, Tensor]]]:
        views = [interpolate(x, scale_factor=size, mode="bilinear", align_corners=False) for size in SIZES]
        return {name: [task.features(view) for view in views] for name, task in self.tasks.items()}


def picture_of(pixels: np.ndarray) -> Tensor:
    """``(1, 3, H, W)`` in 0..1."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def saved(curve: list[dict[str, float]], point: dict[str, float], what: str) -> float:
    """Share of the bits that the curve takes for the same ``what`` that the point saves; NaN beyond its ends."""
    ends = curve[-1][what], curve[0][what]
    if not ends[0] <= point[what] <= ends[1]:
        return float("nan")
    along = [np.log([row[name] for row in reversed(curve)]) for name in (what, "bpp")]
    return float(1 - point["bpp"] / np.exp(np.interp(np.log(point[what]), *along)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of photos")
    parser.add_argument("--labels", type=Path, help="COCO labels of the photos")
    parser.add_argument("--photos", type=int, default=6, help="how many, evenly spread")
    parser.add_argument("--qualities", type=float, nargs="+", default=[10, 25, 50])
    parser.add_argument("--steps", type=int, nargs="*", default=[10, 30, 100])
    parser.add_argument("--dead-zones", type=float, nargs="*", default=[0.05, 0.1, 0.2], help="in steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    codec = Codec(load_codec(CODEC))
    dataset, photos = None, []
    if arguments.labels:
        dataset = CocoDataset(arguments.folder, arguments.labels, limit=arguments.photos)
        photos = [dataset.sample(k, np.random.default_rng(0)).photo for k in range(len(dataset))]
    else:
        folder = Photos(arguments.folder)
        places = np.linspace(0, len(folder) - 1, arguments.photos).round().astype(int)
        photos = [pixels for place in places if (pixels := folder.pixels(int(place))) is not None]
    meter = Meter(codec, photos, dataset)
    variants: dict[str, Callable[[], Refine | None]] = {"plain": lambda: None}
    variants |= {f"dead zone {width:g}": partial(dead_zone, codec, width) for width in arguments.dead_zones}
    searched = meter.tasks["mask-rcnn"]
    variants |= {f"search {steps}": partial(Search, codec, searched, steps) for steps in arguments.steps}
    curve = [meter(quality) for quality in CURVE]
    rows: list[dict[str, Any]] = []
    for quality in arguments.qualities:
        for name, make in variants.items():
            row = meter(quality, make())
            row |= {f"saved, {what}": saved(curve, row, what) for what in (*TASKS, "mse")}
            rows.append({"quality": quality, "variant": name, **row})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    show(rows)
    if arguments.out:
        found = {
            "command": " ".join(["python", *sys.argv]),
            "model_id": codec.model_id.hex(),
            "photos": len(photos),
        }
        write_bytes(json.dumps(found | {"curve": curve, "rows": rows}, indent=1).encode(), arguments.out, True)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the figures."""
    names = [name for name in rows[0] if name not in ("quality", "variant")]
    table = Table("quality", "variant", *names)
    for row in rows:
        figures = (f"{row[name]:.1%}" if name.startswith("saved") else f"{row[name]:.4g}" for name in names)
        table.add_row(f"{row['quality']:g}", row["variant"], *figures)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
