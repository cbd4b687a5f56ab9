"""Write the figures of the README and of the documentation from the results files: python results/make.py

A table stands between `<!-- NAME: of what -->` and `<!-- end -->`; NAME is one of the functions under TABLES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from diptych.evaluation.results import BdRate, Interval, Results, Variant, read
from diptych.evaluation.tables import METRICS, Sheet, worst_first

RESULTS = Path(__file__).parent
PAGES = tuple(
    RESULTS.parent / page
    for page in ("README.md", *(f"docs/{name}.md" for name in ("evaluation", "search", "ablation")))
)
BLOCK = re.compile(r"(<!-- (\w+): [^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
ANCHORS = {
    "avif-default": "AVIF",
    "jxl": "JPEG XL",
    "webp": "WebP",
    "vvc": "VVC",
    "vvc-slower": "VVC, preset `slower`",
}
NETWORKS = {
    "mask-rcnn": "Mask R-CNN in the package (trained for)",
    "fcos": "FCOS (trained for)",
    "fastestdet": "FastestDet (never trained for)",
    "nanodet": "NanoDet-m (never trained for)",
    "yunet": "YuNet, faces (never trained for)",
    "ultralight": "Ultra-Light, faces (never trained for)",
    "text": "PP-OCR, text (its detector trained for)",
    "class": "EfficientNet-Lite1, what the photo shows (never trained for)",
}
PEOPLE = ("ssimulacra2", "cvvdp", "vmaf", "lpips", "butteraugli", "psnr_hvs", "psnr")
VIEWS = ("machine", "human")
STRIDES = (2, 4, 8, 16)


def found(name: str) -> Results:
    return read(RESULTS / f"{name}.json")


def detectors() -> list[Results]:
    """The detectors on 400 photos."""
    return [read(path) for path in sorted(RESULTS.glob("eval-voc*.json"))]


def glance() -> Sheet:
    """People and machines, the same files."""
    kodak, anchors = found("eval-kodak"), ("avif-default", "jxl", "vvc")
    looks = [("people: equal SSIMULACRA 2.1", kodak, "human", "ssimulacra2")]
    for task in ("nanodet", "fastestdet"):
        name = NETWORKS[task].partition(" (")[0]
        looks += [
            (f"machines: equal AP50 of {name}", results, "machine", f"{task}.ap50")
            for results in detectors()
            if task in results.tasks
        ]
    rows = [
        [f"{who} ({len(results.photos.names)} photos)", *_percents(_rates(results.bd_rate, *how), anchors)]
        for who, results, *how in looks
    ]
    return Sheet("", ["bits of a `.dip` file for the same result", "against AVIF", "JPEG XL", "VVC"], rows)


def people() -> Sheet:
    """Bits of the human view at equal score of what people see, Kodak."""
    return _people(found("eval-kodak"), ("avif-default", "jxl", "webp", "vvc"))


def people_voc() -> Sheet:
    """The same on photos of VOC."""
    return _people(found("eval-people"), ("avif-default", "jxl", "vvc"))


def vgg() -> Sheet:
    """What VGG16 sees of both views, against AVIF."""
    rates = [entry for entry in found("eval-vgg").bd_rate if entry.against == "avif-default"]
    rows = [
        [f"{METRICS[entry.metric]}, {entry.view} view", *_percents({"": entry}, ("",), True)] for entry in rates
    ]
    return Sheet("", ["at equal", "AVIF"], rows)


def presets() -> Sheet:
    """Bits of the human view against two presets of VVC."""
    return _people(found("eval-vvc"), ("vvc", "vvc-slower"))


def machines() -> Sheet:
    """Bits of both views at equal AP50."""
    rows = []
    for task in NETWORKS:
        entries = [entry for results in detectors() for entry in results.bd_rate]
        for view in VIEWS:
            rates = _rates(entries, view, f"{task}.ap50")
            if rates:
                rows.append([f"{NETWORKS[task]}, {view} view", *_percents(rates, ("avif-default", "vvc"), True)])
    return Sheet("", ["at equal AP50 of", "AVIF", "VVC"], rows)


def judges() -> Sheet:
    """Every judge, the worst first."""
    results = found("judges")
    scores = [entry for entry in results.bd_rate if not entry.metric.endswith(".ap")]
    rows = []
    for view, metric in dict.fromkeys((entry.view, entry.metric) for entry in worst_first(scores)):
        task, _, kind = metric.rpartition(".")
        rates = _rates(scores, view, metric)
        how = results.tasks[task] if kind == "ap50" else METRICS[kind]
        rows.append([f"{NETWORKS[task]}: {how}, {view} view", *_percents(rates, ("avif-default", "vvc"), True)])
    return Sheet("", [f"at equal score of ({len(results.photos.names)} photos)", "AVIF", "VVC"], rows)


def needed() -> Sheet:
    """Bits per pixel that keep a share of the accuracy."""
    shares, rows = (0.9, 0.95), []
    for task in NETWORKS:
        rates = {
            (entry.codec, entry.view, entry.share): "—" if entry.value is None else f"{entry.value:.2f}"
            for results in detectors()
            for entry in results.needed
            if entry.metric == f"{task}.ap50"
        }
        if rates:
            cells = [
                cell
                for share in shares
                for cell in (
                    ", ".join(rates["diptych", view, share] for view in VIEWS),
                    *(rates[anchor, None, share] for anchor in ("avif-default", "vvc")),
                )
            ]
            rows.append([NETWORKS[task], *cells])
    head = [head for share in shares for head in (f"{share:.0%}: machine view, human view", "AVIF", "VVC")]
    return Sheet("", ["network", *head], rows)


def anchors() -> Sheet:
    """What made the anchors' files: versions, options, command lines."""
    made = {
        name: how for file in ("eval-voc", "eval-kodak", "eval-pixel") for name, how in found(file).anchors.items()
    }
    return Sheet("", ["anchor", "encoder and options"], [[f"`{name}`", f"`{how}`"] for name, how in made.items()])


def views() -> Sheet:
    """What the human view changes in the same files."""
    results = found("eval-voc")
    points = {(point.view, point.setting): point.summary for point in results.points if point.codec == "diptych"}
    differences = {entry.tested: entry.difference for entry in results.comparisons}
    usual = ", ".join(f"{results.natural[f'grid_{stride}']:.1f}" for stride in STRIDES)
    rows = []
    for setting in sorted(setting for view, setting in points if view == "human" and setting is not None):
        machine, human = (points[view, setting] for view in VIEWS)
        change = differences[Variant(codec="diptych", setting=setting, view="human")]
        grid = ", ".join(_both(machine, human, f"grid_{stride}", ".1f") for stride in STRIDES)
        rows.append(
            [
                *(f"{setting:g}", f"{_value(machine, 'bpp'):.3f}", f"{_value(change, 'psnr'):+.2f} dB"),
                *(f"{_value(change, 'ssim'):+.3f}", grid, _both(machine, human, "detail", ".2f")),
                _both(machine, human, "mask-rcnn.ap50", ".3f"),
            ]
        )
    strides = f"grid at stride 2, 4, 8, 16 (95 % of photos: below {usual})"
    return Sheet("", ["quality", "bpp", "PSNR", "SSIM", strides, "detail kept", "mask AP50"], rows)


def search() -> Sheet:
    """What the encoder's search saves, at equal distance of features and for people."""
    rates = {entry.metric: entry for entry in found("eval-search").bd_rate if entry.view == "machine"}
    names = NETWORKS | {"mask-rcnn": "Mask R-CNN in the package (searched for)"}
    looks = {f"features of {names[task]}": f"{task}.distance" for task in ("mask-rcnn", "fcos", "fastestdet")}
    looks |= {METRICS[metric]: metric for metric in ("ssimulacra2", "psnr")}
    rows = [[name, *_percents({"": rates[metric]}, ("",), True)] for name, metric in looks.items()]
    return Sheet("", ["at equal", "bits of searched files against plain ones"], rows)


def ablation() -> Sheet:
    """Every row minus the base codec, in the same bytes; means over the qualities."""
    results = found("ablation")
    grids = {(point.codec, point.view): point.summary for point in results.points if point.setting is None}
    base = results.comparisons[0].reference.codec
    rows = [["base codec", "", "", "", "", "", "", _grid(grids[base, "machine"])]]
    for entry in results.comparisons:
        if entry.tested.setting is None:
            name = entry.tested.codec + (f" {entry.tested.view}" if isinstance(entry.tested.view, float) else "")
            change = entry.difference
            rows.append(
                [
                    *(name, _interval(entry.percent["mask-rcnn.ap50"], "+.1f", " %")),
                    *(f"{_value(change, 'psnr'):+.2f} dB", f"{_value(change, 'ssim'):+.3f}"),
                    *(f"{_value(change, 'ssimulacra2'):+.1f}", f"{_value(change, 'lpips'):+.3f}"),
                    f"{_value(entry.percent, 'features'):+.0f} %",
                    _grid(grids[entry.tested.codec, entry.tested.view]),
                ]
            )
    head = ["AP50", "PSNR", "SSIM", "SSIMULACRA 2.1", "LPIPS", "features", "grid, stride 4; detail kept"]
    return Sheet("", ["row", *head], rows)


def decoders() -> Sheet:
    """Bits against AVIF after the same training of one decoder, or of two."""
    rates = {
        (entry.codec, entry.view, entry.metric): entry
        for entry in found("eval-decoders").bd_rate
        if entry.against == "avif-default"
    }
    columns = (("one", "machine"), ("two", "machine"), ("two", "human"))
    metrics = {f"AP50 of {NETWORKS[task]}": f"{task}.ap50" for task in ("mask-rcnn", "fastestdet")}
    metrics |= {METRICS[metric]: metric for metric in ("ssimulacra2", "lpips", "psnr")}
    rows = [
        [name, *(cell for column in columns for cell in _percents({"": rates[*column, metric]}, ("",), True))]
        for name, metric in metrics.items()
    ]
    return Sheet("", ["at equal", "one decoder", "two: machine view", "two: human view"], rows)


TABLES: dict[str, Callable[[], Sheet]] = {
    table.__name__: table
    for table in (
        glance,
        people,
        people_voc,
        vgg,
        presets,
        machines,
        judges,
        needed,
        anchors,
        views,
        search,
        ablation,
        decoders,
    )
}


def filled(text: str) -> str:
    """A page with its tables made anew."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]().markdown()}\n\n{block[3]}", text)


def _people(results: Results, anchors: tuple[str, ...]) -> Sheet:
    rows = []
    for metric in PEOPLE:
        rates = _rates(results.bd_rate, "human", metric)
        if rates:
            rows.append([METRICS[metric], *_percents(rates, anchors, True)])
    return Sheet("", ["at equal", *(ANCHORS[anchor] for anchor in anchors)], rows)


def _rates(entries: list[BdRate], view: str, metric: str) -> dict[str, BdRate]:
    return {entry.against: entry for entry in entries if (entry.view, entry.metric) == (view, metric)}


def _percents(rates: dict[str, BdRate], anchors: tuple[str, ...], spreads: bool = False) -> Iterator[str]:
    for anchor in anchors:
        entry = rates.get(anchor)
        if entry is None or entry.value is None:
            yield "—"
            continue
        ends = (entry.low, entry.high)
        known = spreads and None not in ends
        yield f"{entry.value:+.0f} %" + (f" ({entry.low:+.0f} .. {entry.high:+.0f})" if known else "")


def _both(machine: dict[str, Interval], human: dict[str, Interval], metric: str, form: str) -> str:
    return " to ".join(format(_value(summary, metric), form) for summary in (machine, human))


def _grid(summary: dict[str, Interval]) -> str:
    return f"{_value(summary, 'grid_4'):.1f}; {_value(summary, 'detail'):.2f}"


def _interval(found: Interval, form: str, unit: str) -> str:
    return (
        "—"
        if None in (found.value, found.low, found.high)
        else (f"{found.value:{form}}{unit} ({found.low:{form}} .. {found.high:{form}})")
    )


def _value(summary: dict[str, Interval], metric: str) -> float:
    value = summary[metric].value
    assert value is not None, metric
    return value


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
