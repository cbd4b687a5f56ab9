"""torchvision's detectors with the user's own weights.

picture -> the model's own resizing and normalization -> backbone -> heads -> losses | detections
                                                           └ features
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import detection, get_model, get_model_builder, list_models
from torchvision.models.detection.faster_rcnn import FasterRCNN

from diptych.errors import ModelError
from diptych.tasks.descriptions import TorchvisionDescription, located

_WRAPPERS = ("model", "state_dict", "model_state_dict")
_COUNTERS = ".num_batches_tracked"


class TorchvisionTask(nn.Module):
    """A detection or instance-segmentation model of torchvision, frozen, its batch norms as they were trained.

    ``loss`` samples boxes with torch's global generator in models that do so.

    Args:
        model: the network, as torchvision builds it.
        classes: names of its classes without the background.
    """

    def __init__(self, model: Any, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.net = model
        self.net.backbone = _Backbone(model.backbone)
        self.net.transform.min_size = self.net.transform.min_size[-1:]  # with several, training draws one
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What the model's backbone gives for ``images`` (float (B, 3, H, W) in [0, 1]), at the size to which the
        model resizes them."""
        resized, _ = self.net.transform(list(images))
        return {level: found.float() for level, found in self.net.backbone(resized.tensors).items()}

    def loss(
        self,
        images: Tensor,
        targets: Sequence[dict[str, Tensor]],
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The model's own training losses.

        Args:
            images: float (B, 3, H, W) in [0, 1]; the losses are differentiable with respect to it.
            targets: per picture ``boxes`` float (n, 4), ``labels`` int64 (n,) from 1 or -1 for boxes to be ignored,
                and, for models that segment, ``masks`` uint8 (n, H, W). One-stage models cannot ignore a box: there
                it is left out.
            features: what :meth:`features` gave for ``images``, if that is known already.
        """
        known = self.features(images) if features is None else features
        ignoring = isinstance(self.net, FasterRCNN)
        wanted = [dict(target) if ignoring else _without_ignored(target) for target in targets]
        self.net.train()
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.Dropout):
                module.eval()
        self.net.backbone.known = known
        try:
            with torch.autocast(images.device.type, enabled=False):
                return self.net(list(images.float()), wanted)
        finally:
            self.net.backbone.known = None
            self.net.eval()

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Detections in each picture (float (3, H, W) in [0, 1]), best first.

        In a picture so thin that the model would shrink its short side to nothing, nothing is found.

        Returns:
            per picture boxes float (n, 4) in its pixels, labels int64 (n,), scores float (n,) in [0, 1], and masks
            float (n, 1, H, W) in [0, 1] where the model segments.
        """
        usable = [image for image in images if not self._too_thin(image)]
        found = iter(self.net(usable) if usable else [])
        return [self._nothing(image) if self._too_thin(image) else next(found) for image in images]

    @classmethod
    def restore(cls, description: TorchvisionDescription) -> TorchvisionTask:
        """The model of a description with its weights.

        Raises:
            ModelError: there is no such model, or the weights are not those of this model with these classes.
        """
        classes = description.names()
        if not classes:
            raise ModelError(f"The description of {description.model} names no classes.")
        model = _model(description, len(classes))
        path = located(description.checkpoint)
        _load(model, _checkpoint(path), f"The checkpoint {path} does not fit {description.model}", len(classes))
        return cls(model, classes)

    def _too_thin(self, image: Tensor) -> bool:
        transform = self.net.transform
        if transform.fixed_size is not None:
            return False
        short, long = sorted(image.shape[1:])
        factor = min(transform.min_size[0] / short, transform.max_size / long)
        return short * factor < 1

    def _nothing(self, image: Tensor) -> dict[str, Tensor]:
        found = {
            "boxes": image.new_zeros(0, 4),
            "labels": image.new_zeros(0, dtype=torch.int64),
            "scores": image.new_zeros(0),
        }
        segments = getattr(getattr(self.net, "roi_heads", None), "mask_predictor", None) is not None
        return found | ({"masks": image.new_zeros(0, 1, *image.shape[1:])} if segments else {})


class _Backbone(nn.Module):
    """A backbone that hands out features which are known already instead of computing them again."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body
        self.known: dict[str, Tensor] | None = None

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if self.known is not None:
            return self.known
        found = self.body(images)
        return {"0": found} if isinstance(found, Tensor) else found


def _model(description: TorchvisionDescription, classes: int) -> nn.Module:
    names = [name for name in list_models(module=detection) if not name.startswith("keypoint")]
    if description.model not in names:
        raise ModelError(f"torchvision has no detector '{description.model}'; it has {', '.join(names)}.")
    fixed = {"weights": None, "weights_backbone": None, "num_classes": classes + 1}
    try:
        model = get_model(description.model, **(description.options | fixed))
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision cannot build {description.model} with these options: {error}.") from None
    for option in description.options.keys() - _options(description.model, model):
        raise ModelError(f"torchvision's {description.model} has no option '{option}'.")
    return model


def _options(name: str, model: nn.Module) -> set[str]:
    """What a builder knows; it ignores everything else without a word."""
    return {p for call in (get_model_builder(name), type(model).__init__) for p in signature(call).parameters}


def _checkpoint(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"The checkpoint {path} is damaged or holds more than tensors; save the model's state_dict() alone."
        ) from None
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        reason = (str(error) or "it is empty").splitlines()[0]
        raise ModelError(f"The checkpoint {path} cannot be read: {reason}.") from None
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"The checkpoint {path} holds no state_dict.")
    return content


def _load(model: nn.Module, weights: Mapping[str, Tensor], failure: str, classes: int) -> None:
    given = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    own = model.state_dict()
    for name, tensor in own.items():
        if name.endswith(_COUNTERS):
            continue
        if name not in given:
            raise ModelError(f"{failure}: it lacks '{name}'.")
        if given[name].shape != tensor.shape:
            shapes = f"{tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
            raise ModelError(
                f"{failure}: '{name}' is {shapes} for {classes} classes and the background; are the classes right?"
            )
    more = sorted(name for name in given if name not in own and not name.endswith(_COUNTERS))
    if more:
        raise ModelError(f"{failure}: '{more[0]}' is not in the model.")
    model.load_state_dict({name: given.get(name, tensor) for name, tensor in own.items()})


def _without_ignored(target: dict[str, Tensor]) -> dict[str, Tensor]:
    kept = target["labels"] > 0
    return {name: value[kept] for name, value in target.items()}
