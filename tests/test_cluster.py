"""Coding on a Ray cluster of this machine: two nodes, of which one is killed."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.cluster import decode, encode, on_cluster
from diptych.codec.codec import Codec
from samples import picture

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
PHOTOS = 24


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor, the first with a port for clients; tests may kill the second."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    head = {**node, "include_dashboard": False, "ray_client_server_port": port}
    found = Cluster(initialize_head=True, head_node_args=head)
    found.client_address = f"ray://127.0.0.1:{port}"
    found.second = found.add_node(**node)
    found.wait_for_nodes()
    yield found
    found.shutdown()


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:1", "connection refused"), ("nonsense://head", "module: nonsense does not exist")],
)
def test_no_cluster(tmp_path: Path, address: str, reason: str) -> None:
    picture(9, 9).save(tmp_path / "a.png")
    words = [sys.executable, "-m", "diptych", "encode", "a.png", "--cluster", address]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"diptych: error: there is no Ray cluster at '{address}': {reason}")
    assert len(done.stderr.splitlines()) == 1


def command(address: str, model: Path, *more: object) -> list[str]:
    words = [sys.executable, "-m", "diptych", "encode", "in", "-o", "out", "--cluster", address]
    return [*words, "--model", str(model), "--manifest", "m.jsonl", *map(str, more)]


def check(folder: Path, codec: Codec) -> None:
    """Everything is there once, and is what one process makes."""
    lines = [json.loads(line) for line in (folder / "m.jsonl").read_text().splitlines()]
    assert sorted(line["source"] for line in lines) == [f"in/{number:02}.png" for number in range(PHOTOS)]
    shown = [path.name for path in (folder / "out").iterdir() if not path.name.startswith(".")]  # a worker's rest
    assert sorted(shown) == [f"{number:02}.dip" for number in range(PHOTOS)]
    for line in lines:
        data = (folder / line["output"]).read_bytes()
        assert line["error"] is None
        assert line["sha256"] == hashlib.sha256(data).hexdigest()
        assert data == codec.encode(picture(96, 64, int(Path(line["source"]).stem)), 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(PHOTOS):
        picture(96, 64, number).save(tmp_path / f"in/{number:02}.png")
    return tmp_path


def wait_for_files(folder: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 100
    while not list((folder / "out").glob("*.dip")) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_files_are_those_of_one_process(cluster: Any, folder: Path, codec_file: Path, codec: Codec) -> None:
    done = subprocess.run(command(cluster.address, codec_file), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == PHOTOS
    assert done.stderr.startswith(f"files: {PHOTOS} of {PHOTOS}, ")
    assert len(done.stderr.splitlines()) == 1
    check(folder, codec)


def test_the_driver_is_killed(cluster: Any, folder: Path, codec_file: Path, codec: Codec) -> None:
    process = subprocess.Popen(
        command(cluster.address, codec_file), cwd=folder, stdout=subprocess.DEVNULL, text=True
    )
    wait_for_files(folder, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    resumed = command(cluster.address, codec_file, "--resume")
    done = subprocess.run(resumed, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(folder, codec)


def test_bad_photos_fail_alone(cluster: Any, folder: Path, codec_file: Path) -> None:
    (folder / "in/bad.jpg").write_bytes(b"nothing")
    done = subprocess.run(command(cluster.address, codec_file), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "diptych: error: cannot read in/bad.jpg: " in done.stderr
    assert "1 of 25 files failed" in done.stderr
    assert len(list((folder / "out").iterdir())) == PHOTOS


def test_what_workers_die_of_costs_itself_alone(cluster: Any, codec_file: Path) -> None:
    def work(_: Codec, number: int) -> str:
        if number == 17:
            os._exit(1)
        return f"{number} is done"

    said: list[str] = []
    items = range(40)  # several in a task
    on_cluster(items, work, lambda number: f"{number} is lost", str(codec_file), cluster.address, said.append)
    assert sorted(said) == sorted(f"{number} is {'lost' if number == 17 else 'done'}" for number in items)


def test_by_a_client(cluster: Any, folder: Path, codec_file: Path, codec: Codec) -> None:
    """From a machine that is not part of the cluster."""
    words = command(cluster.client_address, codec_file)
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(folder, codec)
    words = [sys.executable, "-m", "diptych", "decode", "out", "-o", "back", "--cluster", cluster.client_address]
    done = subprocess.run([*words, "--model", str(codec_file)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for number in range(PHOTOS):
        with Image.open(folder / f"back/{number:02}.png") as shown:
            assert shown.tobytes() == codec.decode((folder / f"out/{number:02}.dip").read_bytes()).tobytes()


def test_nodes_with_another_version(cluster: Any, folder: Path, codec_file: Path) -> None:
    """Of which the driver knows something that the nodes do not."""
    program = (
        "import diptych.cli.console as c, sys; c.Other = type('Other', (c.JobRunner,), {'__module__': c.__name__})"
    )
    program += "; c.JobRunner = c.Other; from diptych.cli.main import app; app(sys.argv[1:])"
    words = [sys.executable, "-c", program, *command(cluster.address, codec_file)[3:]]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"diptych: error: the Ray cluster at '{cluster.address}' needs Diptych 0.")


def test_data_sets(cluster: Any, codec: Codec) -> None:
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    try:
        pictures = [np.asarray(picture(32 + 16 * (number % 2), 32, number)) for number in range(4)]
        rows = [{"image": pixels, "number": number} for number, pixels in enumerate(pictures)]
        coded = encode(ray.data.from_items(rows), quality=30, codec=codec).materialize()
        shown = decode(coded, "human", column="dip", codec=codec).take_all()
        files = {row["number"]: row["dip"] for row in coded.take_all()}
    finally:
        ray.shutdown()
    assert files == {number: codec.encode(pixels, 30) for number, pixels in enumerate(pictures)}
    for row in shown:
        assert (row["image"] == np.asarray(codec.decode(files[row["number"]], "human"))).all()


def test_a_node_is_killed(cluster: Any, folder: Path, codec_file: Path, codec: Codec) -> None:
    process = subprocess.Popen(
        command(cluster.address, codec_file),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_files(folder, process)
    [raylet] = cluster.second.all_processes["raylet"]
    workers = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(raylet.process.pid)], capture_output=True, text=True
    )
    for pid in [raylet.process.pid, *map(int, workers.stdout.split())]:
        os.kill(pid, signal.SIGKILL)
    assert process.poll() is None
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    check(folder, codec)


def test_an_evaluation(cluster: Any, tmp_path: Path, codec_file: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        picture(96, 64, number).save(tmp_path / f"photos/{number}.png")
    (tmp_path / "mine.yaml").write_text(
        f"photos: photos\ncodecs: {{mine: {codec_file}}}\nqualities: [20, 60]\nviews: [machine]\n"
        "metrics: [psnr, ssim]\nanchors: {jpeg: [20, 60]}\nresamples: 10\nout: found.json\n"
    )
    found = []
    for more in ([], ["--cluster", cluster.address]):
        words = [sys.executable, "-m", "diptych", "evaluate", "mine.yaml", f"cache=cache{len(found)}", *more]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / "found.json").read_text())["points"])
    assert found[0] == found[1]
