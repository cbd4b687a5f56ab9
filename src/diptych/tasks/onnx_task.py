"""A user's network in ONNX as a task network: its features for training, its detections for measuring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from diptych.errors import ModelError
from diptych.tasks.descriptions import OnnxDescription, located
from diptych.tasks.label_free import LabelFree
from diptych.tasks.onnx_graph import TorchGraph, at_size, read_graph, session, torch_graph
from diptych.tasks.postprocessing import decode
from diptych.tasks.preprocessing import Size, network_input, place

_SAMPLE = (192, 256)


class OnnxTask(LabelFree):
    """A network in ONNX.

    Its own training loss is not in the graph, so that :meth:`loss` is empty and training compares features.

    Args:
        description: of the network.

    Attributes:
        classes: names of the classes its decoder finds.

    Raises:
        ModelError: the network cannot be used as described.
    """

    def __init__(self, description: OnnxDescription) -> None:
        super().__init__()
        self.classes = description.names()
        self._how, self._decoder = description.input, description.decoder
        graph = read_graph(located(description.network))
        self._graph = graph._replace(proto=None)
        nchw = self._how.layout == "nchw"
        sides = graph.shape[2:] if nchw else graph.shape[1:3]
        self._fixed: Size | None = (sides[0], sides[1]) if sides[0] and sides[1] else None
        self._check_shape(graph.shape[1 if nchw else 3])
        sample = self._input(_picture(_SAMPLE))
        self._session = session(graph)
        self.net = torch_graph(graph, description.features, sample)
        self._sized: dict[torch.Size, nn.Module] = {}
        self._batches = graph.shape[0] is None and _takes_two(self.net, sample)
        self.eval()
        self._predicted(_picture(_SAMPLE)[0])  # so that an unfit decoder shows now

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Chosen tensors of the graph, by name and with a first axis of B, for ``images`` (float (B, 3, H, W) in
        [0, 1]); computed in float32."""
        with torch.autocast(images.device.type, enabled=False):
            x = self._input(images)
            if self._batches:
                return self._computed(x)
            found = [self._computed(one) for one in x.split(1)]
            return {name: torch.cat([each[name] for each in found]) for name in self.net.names}

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """What onnxruntime and the decoder find in each picture (float (3, H, W) in [0, 1]), best first.

        Returns:
            per picture boxes float (n, 4) in its pixels, labels int64 (n,), scores float (n,); without a decoder,
            the raw outputs of the network by name.
        """
        return [self._predicted(image.cpu()) for image in images]

    def _computed(self, x: Tensor) -> dict[str, Tensor]:
        """On a GPU by the graph for this one size: it need not wait for the CPU, and a CUDA graph can hold it."""
        if not x.is_cuda:
            return dict(self.net(x))
        if x.shape not in self._sized:
            self._sized[x.shape] = at_size(self.net, x)
        return dict(self._sized[x.shape](x))

    def _predicted(self, image: Tensor) -> dict[str, Tensor]:
        size = (image.shape[1], image.shape[2])
        where = place(self._how, size, self._fixed, enlarge=True)
        x = network_input(image[None], self._how, where)
        given = self._session.run(None, {self._graph.input: x.numpy()})
        outputs = dict(zip(self._graph.outputs, given, strict=True))
        if self._decoder is None:
            return {name: torch.from_numpy(output) for name, output in outputs.items()}
        found = decode(self._decoder, outputs, where.canvas, len(self.classes))
        return found | {"boxes": where.in_picture(found["boxes"])}

    def _input(self, images: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        return network_input(images, self._how, place(self._how, size, self._fixed, enlarge=False))

    def _check_shape(self, channels: int | None) -> None:
        path, batch = self._graph.path, self._graph.shape[0]
        if channels not in (3, None):
            raise ModelError(f"The network {path} takes {channels} channels where its description says 3 colours.")
        if batch not in (1, None):
            raise ModelError(f"The network {path} takes {batch} pictures at once; one or any number is needed.")
        fixed = f"The network {path} takes {_sides(self._fixed)} pixels only"
        if self._fixed and self._how.resize == "keep":
            raise ModelError(f"{fixed}, so that 'keep' is not possible.")
        if self._fixed and self._how.size not in (None, self._fixed):
            raise ModelError(f"{fixed}, not {_sides(self._how.size)}.")
        if not self._fixed and not self._how.size and self._how.resize != "keep":
            raise ModelError(f"The network {path} leaves its size open: its description must say one.")


def _picture(size: Size) -> Tensor:
    """Something with edges and colours to compare two computations on: float (1, 3, height, width) in [0, 1]."""
    coarse = torch.rand(1, 3, size[0] // 8, size[1] // 8, generator=torch.Generator().manual_seed(0))
    return interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def _takes_two(net: TorchGraph, sample: Tensor) -> bool:
    """Whether a graph that says so does take several pictures at once; some have their number built in."""
    try:
        found = net(torch.cat([sample, sample]))
    except RuntimeError:
        return False
    return all(len(tensor) == 2 for tensor in found.values())


def _sides(size: Size | None) -> str:
    return "x".join(map(str, size or ()))
