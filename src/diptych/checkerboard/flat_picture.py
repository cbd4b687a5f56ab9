"""What a codec makes of nothing: the grid that it leaves on a flat grey.

The condition of :mod:`diptych.checkerboard.polyphase` looks at one layer at a time, and a later layer may undo what
an earlier one does. A codec of one's own can be asked as a whole.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from diptych.codec.architecture import STRIDE
from diptych.codec.codec import Codec

GREYS = (32, 128, 224)
SIDE = 16 * STRIDE
MARGIN = 4 * STRIDE
"""The border of the picture, where a codec reacts to its edge."""


def flat_grid(codec: Codec, quality: float = 20) -> dict[str, float]:
    """How much a flat picture varies over the 16 x 16 phases once it has been coded.

    Returns:
        For ``machine`` and, if the codec has one, ``human``: root mean square over phases and three greys, in
        levels of 255.
    """
    views = ["machine", "human"] if codec.has_human_view else ["machine"]
    squares: dict[str, list[float]] = {view: [] for view in views}
    for grey in GREYS:
        data = codec.encode(Image.new("RGB", (SIDE, SIDE), (grey,) * 3), quality)
        for view, picture in zip(views, codec.decode_views(data, views), strict=True):
            inner = np.asarray(picture.convert("L"), np.float64)[MARGIN:-MARGIN, MARGIN:-MARGIN]
            blocks = inner.reshape(len(inner) // STRIDE, STRIDE, -1, STRIDE)
            squares[view].append(float(blocks.mean((0, 2)).var()))
    return {view: float(np.sqrt(np.mean(values))) for view, values in squares.items()}
