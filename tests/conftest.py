"""Fixtures shared by all tests: a small untrained codec in a file, and a browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # threads that wait for work take the other workers' cores; before torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from diptych.codec.codec import Codec, load
from diptych.codec.weights import load_codec
from diptych.training.export import save_model, save_view, trainable
from samples import lively_model

hypothesis.settings.register_profile(  # how fast a machine is, is no property of the code
    "diptych", max_examples=50, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("diptych")


@pytest.fixture(scope="session")
def codec_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec file with a human view beside it."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(lively_model(), path, {"stage": "test"})
    frozen = load_codec(path)
    stage = trainable(frozen).g_s.stages.latent.state_dict()
    tuned = {f"stages.latent.{k}": v + 0.05 * torch.randn_like(v) for k, v in stage.items()}
    save_view(tuned, frozen.model_id, path.with_suffix(".human.safetensors"), {})
    return path


@pytest.fixture(scope="session")
def codec(codec_file: Path) -> Codec:
    return load(codec_file)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Closed after each file: while it is open, no other event loop can run in this thread."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
