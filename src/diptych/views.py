"""Views: which layers of ``g_s`` a person's picture is made with, and the dial between machine and human.

The machine view is the codec's own ``g_s``. The human view has tuned weights for some or all of its stages.
A dial between 0 (machine) and 1 (human) interpolates the weights (as ESRGAN does between its two generators);
only tuned layers differ, so only they are blended.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call

from diptych.errors import DiptychError, ModelError
from diptych.nn.precision import infer
from diptych.nn.transforms import Synthesis

MACHINE, HUMAN = 0.0, 1.0
_NAMES = {"machine": MACHINE, "human": HUMAN}


def dial(view: str | float) -> float:
    """Position of a view on the dial: ``machine`` is 0, ``human`` is 1, numbers stand for themselves.

    Raises:
        DiptychError: if ``view`` is neither a known name nor a number in 0..1.
    """
    try:
        position = _NAMES[view] if view in _NAMES else float(view)
    except (TypeError, ValueError):
        raise DiptychError(f"there is no view '{view}': use machine, human or a number from 0 to 1") from None
    if not 0 <= position <= 1:
        raise DiptychError(f"the view {position:g} is outside 0 (machine) to 1 (human)")
    return position


def is_view_file(view: str) -> bool:
    """Whether what a user named as a view is the file of one, rather than a place on the dial."""
    return view.endswith(".safetensors")


class Views:
    """``g_s`` at any position of the dial.

    Args:
        g_s: the machine's synthesis transform.
        human: tuned layers by their name inside ``g_s``; empty if the codec has no human view.
    """

    def __init__(self, g_s: Synthesis, human: Mapping[str, Tensor]) -> None:
        self.g_s = g_s
        own = dict(g_s.named_parameters())
        self.tuned = {name: (own[name].detach(), layer.to(own[name])) for name, layer in human.items()}

    def synthesize(self, y_hat: Tensor, quality: Tensor, position: float) -> Tensor:
        """``g_s`` at ``position``: ``(B, M, h, w)`` to ``(B, 3, 16h, 16w)``, not clamped.

        Raises:
            ModelError: if a human view is asked for and the codec has none.
        """
        if position == MACHINE:
            return infer(self.g_s, y_hat, quality)
        if not self.tuned:
            raise ModelError("this codec has no human view: decode the machine view, or pass a view file")
        layers = {name: torch.lerp(a, b, position) for name, (a, b) in self.tuned.items()}
        return infer(partial(functional_call, self.g_s, layers), (y_hat, quality))
