"""A codec for other runtimes: its float networks as ONNX files. ``docs/export.md`` shows how devices use them.

codec ──> encoder.onnx, view-human.onnx, checked
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diptych.bitstream import ONE_TILE_PIXELS, padded_area
from diptych.codec.views import dial
from diptych.errors import DiptychError, extra
from diptych.io.files import make_folder, refuse_existing, write_bytes

if TYPE_CHECKING:
    from diptych.codec.codec import Codec


def export(
    codec: Codec,
    folder: Path,
    view: str = "human",
    size: tuple[int, int] | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write the encoder and one view of a codec as ONNX.

    Args:
        codec: with the view.
        folder: where to write; created if it is not there.
        view: ``machine``, ``human`` or a position between 0 (machine) and 1 (human).
        size: width and height of the pictures in pixels; None for any.
        half: whether convolutions, and their weights, are in float16.
        overwrite: whether files in ``folder`` may be replaced.

    Returns:
        The files, ``encoder.onnx`` first.

    Raises:
        DiptychError: if the extra ``onnx`` is not installed, there is no such view, the size is none of a file that
            is one tile, or a file cannot be written. Nothing is written unless everything could be made.
    """
    with extra("onnx", "an export"):
        import onnx

        from diptych.export import networks
    if size is not None and (min(size) < 1 or padded_area(*size) > ONE_TILE_PIXELS):
        raise DiptychError(
            f"{size[0]}x{size[1]} pixels are not a picture of one tile: each side is 1 or more, and together they "
            f"make {ONE_TILE_PIXELS:,} pixels at most when rounded up to multiples of 64"
        )
    position = dial(view)
    targets = [folder / "encoder.onnx", folder / f"view-{view}.onnx"]
    for target in targets:
        refuse_existing(target, overwrite)
    form = networks.Form(size[::-1] if size else None, half)
    weights = codec.transforms.decoder(position)
    models = [networks.encoder(codec.frozen, form), networks.view(codec.frozen, weights, form)]
    for model in models:
        facts = {"model_id": codec.model_id.hex(), "precision": "float16" if half else "float32"}
        onnx.helper.set_model_props(model, facts)
        onnx.checker.check_model(model, full_check=True)
    make_folder(folder)
    for target, model in zip(targets, models, strict=True):
        write_bytes(model.SerializeToString(), target, overwrite)
    return targets
