"""Things that tests are made of: an untrained codec and pictures of any size."""

import numpy as np
import torch
from PIL import Image

from diptych.codec.architecture import Widths
from diptych.nn.context import SCANS
from diptych.nn.model import DEFAULT_SCAN, CodecModel

SMALL = Widths(latent=12, eighth=16, quarter=8, hyper_latent=8, hyper_analysis=16, hyper=16, context=16)


def lively_model(seed: int = 0, scan: str = DEFAULT_SCAN) -> CodecModel:
    """A random codec whose latents are large enough for symbols to vary, and whose passes depend on each other."""
    torch.manual_seed(seed)
    model = CodecModel(SMALL, SCANS[scan](SMALL.latent))
    with torch.no_grad():
        model.g_a.down.weight.mul_(30)
        model.h_a.mix.weight.mul_(30)
        model.prior.mean.normal_()
        model.prior.index.uniform_(1, 6)
        model.g_s.stages.eighth[0].weight.mul_(0.2)
        for round_ in model.context.rounds:
            round_.project.weight.normal_(0, 0.1)
    return model


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth random picture with some texture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth).astype(np.int16) + rng.integers(-12, 13, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
