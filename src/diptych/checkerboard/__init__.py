"""Does an upsampler make a grid? Its kernels tell, without any picture.

    file -> upsamplers -> DC gain of each phase -> how unequal they are -> verdict

:func:`lint` does it for a file of weights; :func:`grid_share` is the measure.
"""

from diptych.checkerboard.polyphase import Finding, check, grid_share, phase_gains
from diptych.checkerboard.safetensors_layers import Hint, lint, read_upsamplers
from diptych.checkerboard.upsampler import Upsampler

__all__ = [
    "Finding",
    "Hint",
    "Upsampler",
    "check",
    "grid_share",
    "lint",
    "phase_gains",
    "read_upsamplers",
]
