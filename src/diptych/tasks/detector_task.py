"""What the package's own detectors share: files and prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from diptych.codec.weights import write_arrays
from diptych.errors import ModelError
from diptych.nn.transforms import channels_last
from diptych.tasks.backbone import normalized
from diptych.tasks.fpn import Pyramid
from diptych.tasks.settings import DetectorSettings


class DetectorTask(nn.Module):
    """A detector of torchvision's on a small ImageNet network, whose weights are one file.

    Args:
        settings: shape of the network.
    """

    KIND: ClassVar[str]
    Settings: ClassVar[type[DetectorSettings]]

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.settings = settings
        self.net = self.network(settings)

    @staticmethod
    @abstractmethod
    def network(settings: Any) -> Any:
        """torchvision's detector of this shape, untrained, with a :class:`Pyramid` as its backbone."""

    @abstractmethod
    def loss(
        self,
        images: Tensor,
        targets: Sequence[dict[str, Tensor]],
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The detector's training losses at the pictures' own size; see ``TaskNetwork.loss``."""

    def nothing(self, image: Tensor) -> dict[str, Tensor]:
        """What ``predict`` returns for a picture without detections."""
        return {
            "boxes": image.new_zeros(0, 4),
            "labels": image.new_zeros(0).long(),
            "scores": image.new_zeros(0),
        }

    @property
    def backbone(self) -> Pyramid:
        found = self.net.backbone
        assert isinstance(found, Pyramid)
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; label ``k`` (1-based) is ``classes[k - 1]``."""
        return self.settings.classes

    def resize(self, size: int) -> None:
        """Let ``predict`` scale pictures to another long side, in pixels."""
        self.net.transform.min_size, self.net.transform.max_size = (size,), size
        self.settings = self.settings.model_copy(update={"size": size})

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Feature pyramid of ``images`` (float (B, 3, H, W) in [0, 1]): float (B, channels, H/s, W/s) per level,
        at strides 8, 16, 32 and 64."""
        return {level: f.float() for level, f in self.net.backbone(normalized(images)).items()}

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Detections in each picture (float (3, H, W) in [0, 1]), best first. Deterministic.

        In a picture so thin that nothing of its short side would be left at ``size``, nothing is found.

        Returns:
            per picture boxes float (n, 4) in its pixels, labels int64 (n,), scores float (n,) in [0, 1], and masks
            float (n, 1, H, W) in [0, 1] where the network segments.
        """
        self.net.eval()
        usable = [image for image in images if not self._too_thin(image)]
        found = iter(self.net(usable) if usable else [])
        return [self.nothing(image) if self._too_thin(image) else next(found) for image in images]

    def _too_thin(self, image: Tensor) -> bool:
        short, long = sorted(image.shape[1:])
        return long > short and long >= self.settings.size * short

    def save(self, path: str | Path) -> None:
        """Write the weights in float16, atomically, with the description ``load_task`` needs."""
        weights = {name: w.detach().half().cpu().numpy() for name, w in self.state_dict().items()}
        write_arrays(Path(path), weights, {"kind": self.KIND, "settings": self.settings.model_dump_json()})

    @classmethod
    def restore(cls, settings: Any, weights: Mapping[str, Tensor]) -> Self:
        """The frozen network of a settings dictionary and its weights.

        Raises:
            ModelError: they do not belong together.
        """
        try:
            task = cls(cls.Settings.model_validate(settings))
            task.load_state_dict({name: w.float() for name, w in weights.items()})
        except (ValidationError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"its weights do not fit its description ({reason}).") from error
        task.requires_grad_(False).eval()
        return channels_last(task)


def in_float32(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Forward hook: losses and box coordinates are computed in float32, autocast or not."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, Mapping):
        return {name: value.float() for name, value in outputs.items()}
    return type(outputs)(in_float32(module, inputs, part) for part in outputs)
