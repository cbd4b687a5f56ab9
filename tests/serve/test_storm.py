"""The load test of benchmarks/serve.py, a small one."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def benchmark_module() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "serve.py"
    spec = importlib.util.spec_from_file_location("serve_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_storm_of_requests_is_weathered(benchmark_module: ModuleType, codec_file: Path) -> None:
    figures = benchmark_module.run(150, 75, 120, codec_file)
    assert figures["violations"] == []
    assert figures["crashes"] == 0
    assert figures["valid_served"] == 75
    assert set(figures["statuses"]) <= {0, 200, 400, 401, 403, 404, 405, 413, 415, 422, 429}
    if Path("/proc/self/smaps_rollup").exists():
        assert 0 < figures["peak_bytes_server"] < 2**28


def test_a_wrong_answer_would_be_noticed(benchmark_module: ModuleType) -> None:
    call = benchmark_module.Call("encode", b"", (), (200,))
    right = benchmark_module.Answer(200, {}, b"right")
    assert benchmark_module._problem(call, right, right) is None
    assert benchmark_module._problem(call, right._replace(body=b"wrong"), right)
    assert benchmark_module._problem(call, right._replace(status=500), right)
    hostile = call._replace(wanted=(413,))
    assert benchmark_module._problem(hostile, right, None)
    assert benchmark_module._problem(hostile, right._replace(status=413, body=b"<html>"), None)
