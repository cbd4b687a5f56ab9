"""VVC (H.266) still pictures through FFmpeg: VVenC in, FFmpeg's own decoder out.

    RGB ── even size, edges repeated ── BT.709, full range, 10 bits, 4:2:0 ── VVenC ── file
    file ── VVC decoder ── RGB ── cropped

A file is the raw VVC stream with one byte before it, which says whether a column and a row were added: 4:2:0
streams have even sizes. All of it counts: parameter sets, slice and this byte; there is no container. The decoder
knows the colour space by convention, as it does for JPEG.
"""

from __future__ import annotations

import io
import re
from functools import cached_property

import numpy as np
from PIL import Image

from diptych.errors import DiptychError
from diptych.evaluation import ffmpeg
from diptych.evaluation.ffmpeg import ACCURATE, QUIET
from diptych.io.pixels import Picture, pixels

_TO_YUV = f"scale=out_color_matrix=bt709:out_range=full:out_chroma_loc=left:flags=lanczos+{ACCURATE}"
_TO_RGB = f"scale=in_color_matrix=bt709:in_range=full:in_chroma_loc=left:flags=spline+{ACCURATE}"
# Of the kernels in FFmpeg's scaler these two lose least by 4:2:0. One picture needs neither delimiters nor the
# reference lists of long groups of pictures: 25 bytes less than by default.
_ENCODER = "-c:v libvvenc -preset {} -qpa 0 -vvenc-params accessunitdelimiter=0:gopsize=16 -threads 1"


class VvcAnchor:
    """VVenC at a fixed quantization parameter, the setting: from 63 (smallest file) down to 0.

    Args:
        preset: of VVenC: ``faster``, ``fast``, ``medium``, ``slow`` or ``slower``.
    """

    settings = range(63, -1, -1)

    def __init__(self, name: str, preset: str) -> None:
        self.name, self._encoder = name, _ENCODER.format(preset)

    @cached_property
    def made_with(self) -> str:
        version = ffmpeg.said(self._ffmpeg, "-version").partition(" Copyright")[0]
        trial = f"-loglevel verbose -f lavfi -i color=size=64x64 -frames:v 1 {self._encoder} -f null -"
        vvenc = re.search(r"libvvenc version: (\S+)", ffmpeg.said(self._ffmpeg, trial))
        encoder = f"VVenC {vvenc.group(1) if vvenc else 'of unknown version'}"
        return f"{encoder}, {version}; {self._encoder} -vf {_TO_YUV}"

    def encode(self, picture: Picture, setting: int) -> bytes:
        array = pixels(picture)
        odd_height, odd_width = (side % 2 for side in array.shape[:2])
        even = np.pad(array, ((0, odd_height), (0, odd_width), (0, 0)), mode="edge")
        return bytes([2 * odd_height + odd_width]) + self._stream(even, setting)

    def decode(self, data: bytes) -> Image.Image:
        """As :meth:`diptych.evaluation.anchors.Anchor.decode`.

        Raises:
            DiptychError: if ``data`` is no such file.
        """
        if len(data) < 2 or data[0] > 3:
            raise DiptychError("this is not a file of the anchor vvc")
        convert = f"-frames:v 1 -vf {_TO_RGB} -pix_fmt rgb24 -c:v ppm"
        stdout = ffmpeg.run(self._ffmpeg, f"{QUIET} -f vvc -i - {convert} -f image2pipe -", data[1:])
        with Image.open(io.BytesIO(stdout), formats=("PPM",)) as picture:
            odd_height, odd_width = divmod(data[0], 2)
            return picture.crop((0, 0, picture.width - odd_width, picture.height - odd_height))

    def _stream(self, even: np.ndarray, qp: int) -> bytes:
        height, width = even.shape[:2]
        source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -i -"
        convert = f"-vf {_TO_YUV} -pix_fmt yuv420p10le"
        try:
            return ffmpeg.run(
                self._ffmpeg, f"{QUIET} {source} {convert} {self._encoder} -qp {qp} -f vvc -", even.tobytes()
            )
        except DiptychError as error:  # FFmpeg gives VVenC a buffer of width x height bytes
            raise DiptychError(f"VVenC cannot code {width} x {height} pixels at QP {qp}: {error}") from None

    @cached_property
    def _ffmpeg(self) -> str:
        return ffmpeg.find("the anchor vvc", encoder="libvvenc", decoder="vvc")
