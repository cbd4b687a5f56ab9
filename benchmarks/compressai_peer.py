"""CompressAI's half of ``speed.py``: run by CompressAI's own interpreter, told what to do line by line.

It reads one JSON request a line, ``{"model": .., "do": "encode" | "decode"}``, and answers with one line, the
seconds that it took. The first line of all is ``{"picture": path, "threads": n, "bpp": b}``, answered with
versions.

Pretrained weights are a download, so the networks keep their random initial weights; every layer does the same
arithmetic as a trained one. The entropy coder's load is made that of a trained model: see :func:`calibrate`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import compressai
import numpy as np
import torch
from compressai.zoo import bmshj2018_factorized, bmshj2018_hyperprior
from PIL import Image
from torch import Tensor

MODELS = {"hyperprior": bmshj2018_hyperprior, "factorized": bmshj2018_factorized}
QUALITY = 3


def calibrate(model: Any, x: Tensor, bpp: float) -> Any:
    """Give ``model`` latents whose spread over channels resembles a trained codec's, at about ``bpp``.

    Standard deviations fall geometrically over the channels, from a common maximum to a fiftieth of it; the
    last convolution of ``g_a`` is scaled to give just these on ``x``, and the hyperprior's scales (or the
    factorized prior's slopes) are set to match. The common maximum is found by bisection on the size of streams.
    """
    y = model.g_a(x)
    spread, mean = y.std((0, 2, 3)), y.mean((0, 2, 3))
    last = model.g_a[-1]
    weight, bias = last.weight.data.clone() / spread[:, None, None, None], (last.bias.data - mean) / spread
    low, high = 0.05, 50.0
    for _ in range(8):
        largest = (low * high) ** 0.5
        deviation = largest * 50 ** -torch.linspace(0, 1, len(spread))
        last.weight.data, last.bias.data = weight * deviation[:, None, None, None], bias * deviation
        _match_prior(model, deviation)
        model.update(force=True)
        if 8 * _size(model.compress(x)) > bpp * x.shape[2] * x.shape[3]:
            high = largest
        else:
            low = largest
    return model


def _match_prior(model: Any, deviation: Tensor) -> None:
    if hasattr(model, "h_s"):
        model.h_s[-2].weight.data.zero_()
        model.h_s[-2].bias.data = deviation.clone()
        return
    prior = model.entropy_bottleneck
    for layer, matrix in enumerate(prior.matrices):
        slope = 1.8 / deviation if layer == 0 else torch.ones_like(deviation)
        raw = torch.log(torch.expm1((slope / matrix.shape[2]).clamp(max=60)))
        matrix.data = raw[:, None, None].expand_as(matrix).clone()
        prior.biases[layer].data.zero_()
    prior.quantiles.data = (8 * deviation)[:, None, None] * torch.tensor([-1.0, 0.0, 1.0])


def _size(coded: dict[str, Any]) -> int:
    return sum(len(stream) for streams in coded["strings"] for stream in streams)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    torch.set_num_threads(order["threads"])
    torch.manual_seed(0)
    pixels = np.asarray(Image.open(order["picture"]).convert("RGB"))
    with torch.inference_mode():
        x = _tensor(pixels)
        models = {name: calibrate(make(QUALITY).eval(), x, order["bpp"]) for name, make in MODELS.items()}
        coded = {name: model.compress(x) for name, model in models.items()}
        sizes = {name: _size(streams) for name, streams in coded.items()}
        print(
            json.dumps({"compressai": compressai.__version__, "torch": torch.__version__, "bytes": sizes}),
            flush=True,
        )
        for line in sys.stdin:
            request = json.loads(line)
            model, streams = models[request["model"]], coded[request["model"]]
            start = time.perf_counter()
            if request["do"] == "encode":
                model.compress(_tensor(pixels))
            else:
                decoded = model.decompress(streams["strings"], streams["shape"])["x_hat"]
                (decoded[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
            print(time.perf_counter() - start, flush=True)


def _tensor(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


if __name__ == "__main__":
    main()
