"""Time the decoder in a browser, and compare what it decodes with what the package does.

    npm install --prefix ort onnxruntime-web
    python benchmarks/browser.py ../shared/data/kodak --out results/browser.json \\
        --ort ort/node_modules/onnxruntime-web/dist

For each photo: the latents (bytes to `y_hat`), then the machine's view and the human one, one after the other, in
milliseconds of the page. `--ort` also runs `g_s` in ONNX Runtime Web, on one thread, on latents of the same size,
in turn with ours. Chromium is headless; the first photo is decoded once before, unmeasured.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import shutil
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import diptych
from diptych.codec.engine.graphs import synthesis
from diptych.page import write

ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
DECODE = """async (content) => {
    const { open } = await import("/diptych.js");
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const times = [performance.now()];
    const file = await open(bytes);
    times.push(performance.now());
    const views = [];
    for (const view of ["machine", "human"]) {
        views.push(await file.decode(view));
        times.push(performance.now());
    }
    const text = ({ data }) => {
        const parts = [];
        for (let at = 0; at < data.length; at += 4096) {
            parts.push(String.fromCharCode(...data.subarray(at, at + 4096)));
        }
        return btoa(parts.join(""));
    };
    const hash = await crypto.subtle.digest("SHA-256", file.latents);
    return { times, views: views.map(text), hash: [...new Uint8Array(hash)] };
}"""
ORT = """async (shape) => {
    const ort = await import("/ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/";
    globalThis.session ??= await ort.InferenceSession.create("/g_s.onnx", { executionProviders: ["wasm"] });
    const numbers = (count) => new Float32Array(count).fill(0.1);
    const tensor = (shape) => new ort.Tensor("float32", numbers(shape.reduce((a, b) => a * b)), shape);
    const inputs = { x: tensor(shape), offset: tensor([1, shape[1], 1, 1]) };
    const start = performance.now();
    await session.run(inputs);
    return performance.now() - start;
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=6)
    parser.add_argument("--quality", type=float, default=40)
    parser.add_argument("--ort", type=Path, help="dist folder of onnxruntime-web")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        viewer = Path(scratch) / "viewer"
        files = write(viewer)
        facts: dict[str, Any] = {
            "diptych": diptych.__version__,
            "folder_bytes": sum((viewer / file).stat().st_size for file in files),
            "program_bytes": sum((viewer / file).stat().st_size for file in files if file.suffix != ".safetensors"),
        }
        if options.ort:
            add_ort(viewer, options.ort)
            facts["ort_bytes"] = sum((viewer / name).stat().st_size for name in ORT_FILES)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=viewer))
        Thread(target=server.serve_forever, daemon=True).start()
        photos = sorted(options.photos.glob("*.webp"))[: options.limit]
        facts |= measure(f"http://127.0.0.1:{server.server_port}/codecs/codecs.json", photos, options)
        server.shutdown()
    options.out.write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps({name: value for name, value in facts.items() if name != "photos"}, indent=1))


def add_ort(viewer: Path, dist: Path) -> None:
    """The same graph, and what runs it."""
    from diptych.codec.engine.onnx import model

    weights = diptych.load().frozen.network("g_s")
    del weights["quality.knots"]
    (viewer / "g_s.onnx").write_bytes(model(*synthesis(weights)).SerializeToString())
    for name in ORT_FILES:
        shutil.copy(dist / name, viewer)


def measure(address: str, photos: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    codec = diptych.load()
    rows = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)  # a document without the viewer's content security policy, for ONNX Runtime Web
        for path in [photos[0], *photos]:
            data = codec.encode(Image.open(path), options.quality)
            found = page.evaluate(DECODE, base64.b64encode(data).decode())
            latents = codec.latents(data)
            same = hashlib.sha256(latents.values.astype("<i4").tobytes()).digest() == bytes(found["hash"])
            times = np.diff(found["times"]).round(1).tolist()
            row = {"photo": path.name, "size": codec.decode(data).size, "same_latents": same}
            row |= dict(zip(("latents_ms", "machine_ms", "human_ms"), times, strict=True))
            for view, content in zip(("machine", "human"), found["views"], strict=True):
                row[f"{view}_levels_off"] = levels_off(content, codec.decode(data, view))
            if options.ort:
                row["ort_ms"] = round(page.evaluate(ORT, [1, *latents.values.shape]), 1)
            rows.append(row)
        version = browser.version
        browser.close()
    rows = rows[1:]
    medians = {name: median(row[name] for row in rows) for name in rows[0] if name.endswith("_ms")}
    off = {name: max(row[name] for row in rows) for name in rows[0] if name.endswith("_off")}
    machine = {"chromium": version, "cores": os.cpu_count(), "load": os.getloadavg()}
    return {**machine, **medians, **off, "same_latents": all(row["same_latents"] for row in rows), "photos": rows}


def levels_off(content: str, view: Image.Image) -> int:
    """The largest difference of a sample from the package's view."""
    levels = np.frombuffer(base64.b64decode(content), np.uint8).reshape(view.height, view.width, 4)[..., :3]
    return int(np.abs(levels.astype(int) - np.asarray(view).astype(int)).max())


if __name__ == "__main__":
    main()
