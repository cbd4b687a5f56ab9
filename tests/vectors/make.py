"""Make the test vectors: two tiny codecs, files that they wrote, and what must be read from them.

    python tests/vectors/make.py --replace

The vectors stand for the promise that files of version 1 stay readable, so they are not to be made again
unless the format itself has changed. Weights, tables and pictures come from integer arithmetic and SHAKE-256, hence
from no library's random numbers; the files are encoded in floating point and may differ between machines.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

import diptych.codec.codec as codec_module
from diptych.bitstream import SYMBOL_LIMIT, Container, Header, SymbolTables, encode, pack, unpack
from diptych.codec.architecture import QUALITY_KNOTS, Widths
from diptych.codec.codec import Codec, load
from diptych.codec.weights import CODEC_FORMAT, read_arrays, write_arrays
from diptych.nn.context import SCANS
from diptych.nn.model import CodecModel
from diptych.training.export import save_model

FOLDER = Path(__file__).parent
WIDTHS = Widths(latent=8, eighth=12, quarter=6, hyper_latent=6, hyper_analysis=8, hyper=10, context=7)
CODECS = {"codec": "checkerboard", "quadtree": "quadtree"}
"""Name and scan of each codec."""
LARGEST_HALF_WIDTH = 20
LIVELY = {"g_a.down.weight": 12.0, "h_a.mix.weight": 3.0, "g_s.stages.eighth.0.weight": 0.15}
LIVELY |= {f"context.rounds.{number}.{part}.weight": 3.0 for number in range(3) for part in ("spatial", "expand")}
"""Factors that make latents vary, activations reach their clamps, and the machine view end near 0..1."""
PICTURES = [
    (1, 1, 50),
    (17, 33, 12.34),
    (64, 64, 0),
    (64, 64, 50),
    (64, 64, 100),
    (150, 100, 94.99),
]
"""Width, height and quality of the plain vectors."""
QUADTREE_PICTURES = [(1, 1, 50), (70, 40, 80)]
"""The same for the codec of four passes."""


class Vector(NamedTuple):
    name: str
    data: bytes
    has_picture: bool = True


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform float64 in -1..1, always the same for the same name."""
    raw = hashlib.shake_256(name.encode()).digest(2 * math.prod(shape))
    return np.frombuffer(raw, "<i2").reshape(shape) / 2.0**15


def write_codec(path: Path, scan: str) -> None:
    """A codec of random weights, whose symbols vary and often escape from its short, asymmetric tables."""
    model = CodecModel(WIDTHS, SCANS[scan](WIDTHS.latent))
    weights = {name: torch.from_numpy(weight(name, tuple(old.shape))) for name, old in model.state_dict().items()}
    model.load_state_dict(weights)
    save_model(model, path, {"made_by": "tests/vectors/make.py"})
    arrays, metadata = read_arrays(path, CODEC_FORMAT)
    arrays |= {f"tables.{name}": array for name, array in tables().to_arrays().items()}
    write_arrays(path, arrays, metadata)
    sort_metadata(path)


def sort_metadata(path: Path) -> None:
    """Give a safetensors file's metadata an order, which is random otherwise."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(end - 8)
    path.write_bytes(data[:8] + text + data[end:])


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random weights of one parameter, float32."""
    values = noise(name, shape)
    if name.startswith("gains."):
        slope = 1.4 if name == "gains.log_gain" else -1.4
        values = slope * np.linspace(-1, 1, QUALITY_KNOTS)[:, None] + values / 8
    elif name == "prior.index":
        values = 3.5 + 2.5 * values
    elif name.endswith("weight"):
        values *= math.sqrt(3 / math.prod(shape[1:])) * LIVELY.get(name, 1)
    elif name != "prior.mean":
        values /= 8
    return values.astype(np.float32)


def tables() -> SymbolTables:
    """64 tables, each wider than the one before, cut off where some symbols have to escape."""
    half_width = np.empty(64, np.int32)
    frequencies = np.zeros((64, 2 * LARGEST_HALF_WIDTH + 2), np.int32)
    scale = 0.11
    for table, row in enumerate(frequencies):
        h = min(int(3 * scale), LARGEST_HALF_WIDTH)
        squares = [((k - 0.2) / scale) * ((k - 0.2) / scale) for k in range(-h, h + 1)]
        shares = [int(2**20 / (1 + square * square)) for square in squares] + [1000]
        row[: len(shares)] = [1 + share * 2**23 // sum(shares) for share in shares]
        row[h] += 2**24 - row.sum()
        half_width[table] = h
        scale *= 1.1
    return SymbolTables(half_width, frequencies)


def picture(width: int, height: int) -> Image.Image:
    """Stripes and noise."""
    y, x, channel = np.indices((height, width, 3))
    stripes = np.abs((3 * x + 2 * y + 50 * channel) % 256 - 128)
    grain = 40 * noise("picture", (height, width, 3))
    return Image.fromarray((60 + stripes + grain).clip(0, 255).astype(np.uint8))


def vectors(codec: Codec, other: Codec) -> Iterator[Vector]:
    for width, height, quality in PICTURES:
        yield Vector(f"{width}x{height}-q{quality:g}", codec.encode(picture(width, height), quality))
    with patch.object(codec_module, "ONE_TILE_PIXELS", 0), patch.object(codec_module, "TILE", 64):
        tiles = unpack(codec.encode(picture(150, 100), 50))
    hinted = tiles._replace(header=tiles.header._replace(hint=0.5))
    yield Vector("tiles-150x100-q50", pack(hinted))
    yield from extremes(codec, "")
    for width, height, quality in QUADTREE_PICTURES:
        data = other.encode(picture(width, height), quality)
        yield Vector(f"quadtree-{width}x{height}-q{quality:g}", data, has_picture=False)
    yield from extremes(other, "quadtree-")


def extremes(codec: Codec, prefix: str) -> Iterator[Vector]:
    """Files of symbols of all magnitudes and both signs, and of the largest ones alone, for the clamps."""
    shape = (WIDTHS.latent, 2, 3)
    z, y = magnitudes("z", (WIDTHS.hyper_latent, 1, 1)), magnitudes("y", shape)
    largest = np.where(noise("signs", shape) < 0, 1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1).astype(np.int32)
    for name, symbols in (("extremes", y), ("largest", largest)):
        payload = encode(chunks(codec, 70, z, symbols), codec.frozen.entropy.tables)
        data = pack(Container(Header(40, 24, 70, codec.model_id), [payload]))
        yield Vector(f"{prefix}{name}-40x24-q70", data, has_picture=False)


def chunks(codec: Codec, quality: int, z: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Symbols and tables of every chunk of a tile.

    Args:
        quality: a multiple of 10.
        z: int32 ``(Nz, 1, 1)``, the symbols of the hyper-latents.
        y: int32 ``(M, h, w)``, those of the latents, h and w at most 4.
    """
    entropy, knot = codec.frozen.entropy, quality // 10
    found = [(z.ravel(), entropy.prior_index[knot])]

    def code(now: np.ndarray, mean: np.ndarray, tables: np.ndarray) -> np.ndarray:
        found.append((y.ravel()[now], tables))
        return found[-1][0]

    entropy.walk(256.0 * z + entropy.prior_mean[knot][:, None, None], y.shape[1:], code)
    return found


def magnitudes(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random int32 symbols, whose number of bits is uniform, and the largest and smallest there are."""
    bits, mantissa = noise(f"{name} bits", shape), noise(f"{name} mantissa", shape)
    symbols = (mantissa * 2.0 ** np.floor(10.5 * (bits + 1))).astype(np.int32)
    symbols.flat[:2] = SYMBOL_LIMIT - 1, 1 - SYMBOL_LIMIT
    return symbols.clip(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(folder: Path) -> None:
    """Write the codecs, their files, pictures in the machine view, and ``vectors.json``."""
    for name, scan in CODECS.items():
        write_codec(folder / f"{name}.safetensors", scan)
    codecs = {name: load(folder / f"{name}.safetensors") for name in CODECS}
    names, latents = [f"{name}.safetensors" for name in CODECS], {}
    for name, data, has_picture in vectors(*codecs.values()):
        codec = codecs["quadtree" if name.startswith("quadtree") else "codec"]
        (folder / f"{name}.dip").write_bytes(data)
        names.append(f"{name}.dip")
        latents[name] = sha256(codec.latents(data).values.astype("<i4").tobytes())
        if has_picture:
            codec.decode(data, "machine").save(folder / f"{name}.png", optimize=True)
            names.append(f"{name}.png")
    files = {name: sha256((folder / name).read_bytes()) for name in names}
    models = {codec.model_id.hex(): f"{name}.safetensors" for name, codec in codecs.items()}
    content = {"codecs": models, "latents": latents, "files": files}
    (folder / "vectors.json").write_bytes((json.dumps(content, indent=1) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the test vectors.")
    parser.add_argument("--replace", action="store_true", help="replace those that are there")
    if not parser.parse_args().replace and (FOLDER / "vectors.json").exists():
        parser.error("the vectors are there and frozen; a change of the format takes --replace")
    write(FOLDER)
    digest = sha256((FOLDER / "vectors.json").read_bytes())
    print(f"wrote vectors.json, SHA-256 {digest}: FROZEN in tests/codec/test_vectors.py has to be changed to this")


if __name__ == "__main__":
    main()
