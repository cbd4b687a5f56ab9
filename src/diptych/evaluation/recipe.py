"""What an evaluation measures: codecs, task networks, views, anchors and metrics, over photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.results import ORIGINAL

Quality = Annotated[float, Field(ge=0, le=100)]
Metric = Literal[
    "psnr",
    "ssim",
    "ms_ssim",
    "psnr_hvs",
    "ssimulacra2",
    "cvvdp",
    "vmaf",
    "lpips",
    "butteraugli",
    "dists",
    "vgg",
    "features",
    "distances",
    "sharpness",
    "detail",
    "grid",
    "spectral",
]
View = Literal["machine", "human"] | Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Part of a recipe: what it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Gaussian(Settings):
    """A blur: ``sigma`` in pixels."""

    kind: Literal["gaussian"]
    sigma: float = Field(gt=0)


class Bilateral(Settings):
    """A blur that stops at edges: ``sigma`` in pixels, ``contrast`` in levels of 255."""

    kind: Literal["bilateral"]
    sigma: float = Field(gt=0)
    contrast: float = Field(gt=0)


Filter = Annotated[Gaussian | Bilateral, Field(discriminator="kind")]


class CodecFile(Settings):
    """A codec, or another way to decode its files.

    Attributes:
        model: codec file; the shipped one if not given.
        view: view file of the human view; the one that belongs to ``model`` if not given.
        decoder: whose ``g_s`` decodes instead: another codec's file, or one with other upsamplers.
        filter: what every picture goes through.
        optimize: steps of the search for better latents of each file, see :mod:`diptych.tasks.latent_search`.
        views: that are measured; the recipe's if not given.
    """

    model: Path | None = None
    view: Path | None = None
    decoder: Path | None = None
    filter: Filter | None = None
    optimize: int = Field(default=0, ge=0)
    views: list[View] | None = Field(default=None, min_length=1)


def _file(value: Any) -> Any:
    return {"model": value} if isinstance(value, str | Path) else value


class Evaluation(Settings):
    """An evaluation. Paths are relative to the folder the command runs in.

    Attributes:
        photos: folder of photos.
        names: use only these of its files, relative to it; all if empty.
        labels: COCO-format JSON of these photos, for the task networks.
        codecs: by name a codec file, or what :class:`CodecFile` says; the shipped one, ``diptych``, if not given.
            Those of one ``model`` and ``optimize`` read the same files. All are compared with the first.
        tasks: weights or descriptions of task networks by name. One is scored by AP against the labels if they
            know a class of it, by name; otherwise by how far it agrees with what it finds in the originals.
        qualities: of the codecs.
        views: of each of their files.
        anchors: settings to run, by name of the anchor.
        matched: anchors to run also at the size of each of the codecs' files, photo by photo.
        metrics: measured on every picture; ``sharpness``, ``detail``, ``grid`` and ``spectral``, which are about
            what decoders leave, on views alone.
        bpp_range: where BD-rates are taken.
        limit: use only this many photos; 0 for all.
        resamples: of the photos, behind every interval.
        seed: of the resamples.
        batch: pictures a task network sees together.
        workers: processes that share the photos, each with its part of the cores.
        device: where codecs and task networks compute: ``cpu``, or ``cuda``.
        cache: folder that keeps what took long (anchors' files, what people and task networks see, photos that are
            done) for later.
        out: results file; curves are drawn beside it.
    """

    photos: Path
    names: list[str] = []
    labels: Path | None = None
    codecs: dict[str, Annotated[CodecFile, BeforeValidator(_file)]] = Field(
        default={"diptych": CodecFile()}, min_length=1
    )
    tasks: dict[str, Path] = {}
    qualities: list[Quality] = Field(min_length=1)
    views: list[View] = Field(default=["machine", "human"], min_length=1)
    anchors: dict[str, list[int]] = {}
    matched: list[str] = []
    metrics: list[Metric] = ["psnr", "ssim", "ms_ssim", "sharpness", "grid", "spectral"]
    bpp_range: tuple[float, float] = (0.1, 0.8)
    limit: int = Field(default=0, ge=0)
    resamples: int = Field(default=1000, ge=1)
    seed: int = 0
    batch: int = Field(default=8, ge=1)
    workers: int = Field(default=1, ge=1)
    device: str = "cpu"
    cache: Path = Path(".diptych-cache")
    out: Path

    @field_validator("anchors", "matched")
    @classmethod
    def _known(cls, anchors: dict[str, list[int]] | list[str]) -> dict[str, list[int]] | list[str]:
        for name in anchors:
            if name not in ANCHORS:
                raise ValueError(f"there is no anchor '{name}'; choose from {', '.join(ANCHORS)}")
            allowed = ANCHORS[name].settings
            for setting in anchors[name] if isinstance(anchors, dict) else ():
                if setting not in allowed:
                    raise ValueError(f"{name} has no setting {setting}, only {allowed[0]} to {allowed[-1]}")
        return anchors

    @field_validator("codecs")
    @classmethod
    def _distinct(cls, codecs: dict[str, CodecFile]) -> dict[str, CodecFile]:
        for name in codecs:
            if name in ANCHORS or name == ORIGINAL:
                raise ValueError(f"a codec cannot be called '{name}', which means something else in the tables")
        return codecs

    @model_validator(mode="after")
    def _used(self) -> Evaluation:
        for key in ("labels", "batch"):
            if key in self.model_fields_set and getattr(self, key) is not None and not self.tasks:
                raise ValueError(f"'{key}' is for task networks, and the recipe names no 'tasks'")
        if "distances" in self.metrics and not self.tasks:
            raise ValueError("'distances' are those of the task networks, and the recipe names no 'tasks'")
        return self

    def views_of(self, name: str) -> list[View]:
        """The views that are measured of a codec's files."""
        return self.codecs[name].views or self.views
