"""PatchGAN discriminator (Isola et al., CVPR 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Judges every neighbourhood of a patch on its own.

    ::

        patch (B, 3, p, p) ──[conv 4x4 s2, leaky ReLU] x3──conv 3x3── logits (B, 1, p/8, p/8)

    Spectral norms (Miyato et al., ICLR 2018) keep it from running away from a decoder of which only a few
    layers may follow. No normalization layer: statistics over a patch would hide a grid's contrast.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, 2 * width, 4 * width):
            layers += [spectral_norm(nn.Conv2d(channels, out, 4, 2, 1)), nn.LeakyReLU(0.2)]
            channels = out
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 3, padding=1)))

    def forward(self, patches: Tensor) -> Tensor:
        return self.layers(patches * 2 - 1)
