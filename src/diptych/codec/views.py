"""Views: the dial between the picture for machines and the one for people.

The machine view is the codec's own ``g_s``. The human view has tuned weights for some or all of its stages.
A dial between 0 (machine) and 1 (human) interpolates the weights (as ESRGAN does between its two generators);
only tuned layers differ, so only they are blended.
"""

from __future__ import annotations

from diptych.errors import DiptychError

MACHINE, HUMAN = 0.0, 1.0
_NAMES = {"machine": MACHINE, "human": HUMAN}
AUTO = "auto"
"""The view that a file itself advises."""


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
