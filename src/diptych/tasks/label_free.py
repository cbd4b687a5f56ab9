"""What task networks without a training loss have in common: nothing to learn from labels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class LabelFree(nn.Module):
    """A frozen network whose features alone count in training; see :class:`diptych.tasks.TaskNetwork`."""

    def loss(
        self,
        images: Tensor,
        targets: Sequence[dict[str, Tensor]],
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Nothing: labels say nothing of this network's answer."""
        return {}
