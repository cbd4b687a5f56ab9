"""Resuming, averaging and the choice of precision, on a real (small) pixel training."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from diptych.errors import DiptychError, ModelError, RecipeError
from diptych.training import build, run
from diptych.training.capture import copy_into, on_device, set_rate
from diptych.training.optim import KernelMuon, muon_and_adamw
from diptych.training.stage import LoopSettings
from diptych.training.trainer import fastest_precision


def pixel_recipe(folder: Path, photos: Path, steps: int = 6) -> Path:
    recipe = folder / "pixel.yaml"
    recipe.write_text(
        f"photos: {photos}\nbatch: 1\ncrop: 64\n"
        f"loop: {{out: {folder / 'out'}, steps: {steps}, threads: 1, precision: fp32, warmup: 1, "
        "log_every: 1, checkpoint_minutes: 0}\n"
    )
    return recipe


@pytest.mark.slow
def test_a_run_killed_and_resumed_equals_an_uninterrupted_one(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = load_file(run("pixel", pixel_recipe(tmp_path / "a", photos, steps=12)))
    recipe = pixel_recipe(tmp_path / "b", photos, steps=12)
    code = f"from pathlib import Path; from diptych.training import run; run('pixel', Path({str(recipe)!r}))"
    victim = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert victim.stdout is not None
    for line in victim.stdout:
        if "step 4 " in line:
            break
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    assert not (tmp_path / "b/out/weights.safetensors").exists()
    assert (tmp_path / "b/out/checkpoint.pt").exists()
    resumed = load_file(run("pixel", recipe, resume=True))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_run_is_not_overwritten_by_accident(tmp_path: Path, photos: Path) -> None:
    recipe = pixel_recipe(tmp_path, photos, steps=1)
    run("pixel", recipe)
    with pytest.raises(ModelError, match="--resume"):
        run("pixel", recipe)


def test_resuming_nothing_is_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(ModelError, match="nothing to resume"):
        run("pixel", pixel_recipe(tmp_path, photos), resume=True)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path, photos: Path) -> None:
    recipe = pixel_recipe(tmp_path, photos)
    (tmp_path / "out").mkdir()
    torch.save({"step": 1, "model": {}}, tmp_path / "out/checkpoint.pt")
    with pytest.raises(ModelError, match="does not fit this recipe"):
        run("pixel", recipe, resume=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loop.steps=none", "loop.steps"),
        ("loop.speed=1", "loop.speed"),
        ("crop=100", "crop"),
        ("crop", "key=value"),
        ("photos.x=1", "not a section"),
        ("photos=/nowhere", "no photos under"),
        ("start=/nowhere.safetensors", "no weights file"),
    ],
)
def test_wrong_recipes_are_named(tmp_path: Path, photos: Path, override: str, message: str) -> None:
    with pytest.raises((RecipeError, ModelError), match=message):
        run("pixel", pixel_recipe(tmp_path, photos), [override])


def test_missing_and_malformed_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        run("pixel", tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(RecipeError, match="not a mapping"):
        run("pixel", tmp_path / "list.yaml")
    with pytest.raises(RecipeError, match="no training stage"):
        run("paint", tmp_path / "list.yaml")


def test_learning_rate_rises_rests_and_falls() -> None:
    settings = LoopSettings(out=Path("."), steps=100, warmup=10, decay=0.5)
    factors = [settings.lr_factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[30] == 1
    assert factors[75] == pytest.approx(0.5)
    assert 0 < factors[99] < 0.03
    assert factors[50:] == sorted(factors[50:], reverse=True)


@pytest.mark.slow
def test_precision_is_measured_in_about_a_second() -> None:
    start = time.monotonic()
    assert fastest_precision(torch.device("cpu")) in {"fp32", "bf16"}
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_moves_kernels_by_orthogonal_steps(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(6, 8, 3, bias=False).to(memory_format=layout)
    before = conv.weight.detach().clone()
    (optimizer,) = muon_and_adamw([conv], lr=0.1)
    assert isinstance(optimizer, KernelMuon)
    (conv(torch.randn(2, 6, 9, 9)) * torch.randn(2, 8, 7, 7)).sum().backward()
    optimizer.step()
    moved = (conv.weight.detach() - before).flatten(1)
    singular = torch.linalg.svdvals(moved) / (0.1 * 0.2 * 54**0.5)
    assert 0.5 < float(singular.min()) <= float(singular.max()) < 1.5


@pytest.mark.slow
def test_batches_prepared_ahead_change_nothing(tmp_path: Path, photos: Path) -> None:
    recipe = pixel_recipe(tmp_path, photos, steps=3)
    alone = load_file(run("pixel", recipe, [f"loop.out={tmp_path / 'alone'}"]))
    ahead = load_file(run("pixel", recipe, [f"loop.out={tmp_path / 'ahead'}", "loop.workers=2"]))
    assert all(torch.equal(alone[name], ahead[name]) for name in alone)


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["plain", "checkerboard", "quadtree"])
def test_every_scan_trains(tmp_path: Path, photos: Path, scan: str) -> None:
    weights = load_file(run("pixel", pixel_recipe(tmp_path, photos, steps=1), [f"scan={scan}"]))
    assert len(weights["passes"].unique()) == {"plain": 1, "checkerboard": 2, "quadtree": 4}[scan]


def test_the_path_of_a_gpu_has_the_losses_of_the_loaders(tmp_path: Path, photos: Path) -> None:
    """Photos kept on the device and crops cut there, on the CPU."""
    recipe = pixel_recipe(tmp_path, photos)
    host, device = (build("pixel", recipe, ["zoom=[0.6, 1.4]", "batch=3"])[0] for _ in range(2))
    crops = device.crops()
    assert crops is not None
    crops.keep_on(torch.device("cpu"))
    for number in range(4):
        losses = []
        for stage in (host, device):
            torch.manual_seed(number)
            losses.append(stage.losses("codec", stage.batch(1, number), torch.tensor(0.0)))
        for name, value in losses[0].items():
            assert torch.allclose(value, losses[1][name], rtol=1e-3), name


def test_photos_kept_on_the_device_train_a_codec(tmp_path: Path, photos: Path) -> None:
    weights = load_file(run("pixel", pixel_recipe(tmp_path, photos, steps=2), ["loop.keep_photos=device"]))
    assert all(value.float().isfinite().all() for value in weights.values())


def test_a_recorded_steps_inputs_are_overwritten_in_place() -> None:
    class Pair(NamedTuple):
        pictures: torch.Tensor
        more: list[torch.Tensor]

    first = Pair(torch.zeros(2, 3), [torch.ones(1)])
    kept = on_device(first, torch.device("cpu"))
    addresses = [kept.pictures.data_ptr(), kept.more[0].data_ptr()]
    copy_into(kept, Pair(torch.full((2, 3), 7.0), [torch.full((1,), 8.0)]))
    assert [kept.pictures.data_ptr(), kept.more[0].data_ptr()] == addresses
    assert kept.pictures.eq(7).all()
    assert kept.more[0].eq(8).all()
    assert first.pictures.eq(0).all()


def test_a_rate_in_a_tensor_moves_kernels_as_a_number_does() -> None:
    moved = []
    for rate in (0.1, torch.tensor(0.1)):
        torch.manual_seed(0)
        conv = torch.nn.Conv2d(6, 8, 3, bias=False)
        (optimizer,) = muon_and_adamw([conv], lr=0.5)
        optimizer.param_groups[0]["lr"] = rate
        set_rate(optimizer.param_groups[0], 0.2)
        conv(torch.randn(2, 6, 9, 9)).square().sum().backward()
        optimizer.step()
        moved.append(conv.weight.detach())
    assert torch.equal(*moved)


def cli(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def only_line(result: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("diptych:")]
    assert "Traceback" not in result.stderr
    [line] = lines
    return line


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith("events.")}


@pytest.mark.slow
def test_weights_are_not_replaced_unless_told(tmp_path: Path, photos: Path) -> None:
    recipe = pixel_recipe(tmp_path, photos, steps=1)
    weights = tmp_path / "out/weights.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"mine")
    with pytest.raises(DiptychError, match=r"weights.safetensors exists already; use --overwrite"):
        run("pixel", recipe)
    assert weights.read_bytes() == b"mine"
    run("pixel", recipe, overwrite=True)
    assert len(weights.read_bytes()) > 1000
    run("pixel", recipe, overwrite=True)  # now there is a checkpoint as well


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"text", b"half"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, photos: Path, content: bytes) -> None:
    recipe = pixel_recipe(tmp_path, photos, steps=1)
    run("pixel", recipe)
    checkpoint = tmp_path / "out/checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    with pytest.raises(ModelError, match=r"checkpoint.pt is damaged"):
        run("pixel", recipe, resume=True)


def test_a_checkpoint_that_is_a_folder_is_named(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "out/checkpoint.pt").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"cannot read .*checkpoint.pt: is a directory"):
        run("pixel", pixel_recipe(tmp_path, photos), resume=True)


def test_a_folder_whose_name_is_taken(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(DiptychError, match="cannot create the folder"):
        run("pixel", pixel_recipe(tmp_path, photos))


@pytest.mark.slow
def test_full_disk(tmp_path: Path, photos: Path) -> None:
    """A limit on the size of files stands for a disk: half of a checkpoint fits."""
    recipe = pixel_recipe(tmp_path, photos, steps=2)
    run("pixel", recipe)
    before = (tmp_path / "out/checkpoint.pt").read_bytes()

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))

    for arguments in (["--resume", "loop.steps=4"], [f"loop.out={tmp_path / 'new'}"]):
        line = only_line(cli("train", "pixel", recipe, *arguments, preexec_fn=limit))
        assert re.search(r"error: cannot write .*/(checkpoint.pt|weights.safetensors): file too large$", line)
    assert (tmp_path / "out/checkpoint.pt").read_bytes() == before
    assert names(tmp_path / "out") == {"checkpoint.pt", "weights.safetensors"}
    assert names(tmp_path / "new") <= {"weights.safetensors"}


@pytest.mark.slow
def test_interrupt_saves_a_checkpoint(tmp_path: Path, photos: Path) -> None:
    recipe = pixel_recipe(tmp_path, photos, steps=1000)
    command = [sys.executable, "-m", "diptych", "train", "pixel", str(recipe), "loop.checkpoint_minutes=60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "step 3 " in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
        assert process.wait() == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    step = int(re.search(r"interrupted after step (\d+): --resume goes on", rest)[1])  # type: ignore[index]
    assert torch.load(tmp_path / "out/checkpoint.pt")["step"] == step
    assert names(tmp_path / "out") == {"checkpoint.pt"}
    run("pixel", recipe, [f"loop.steps={step + 1}"], resume=True)
    assert torch.load(tmp_path / "out/checkpoint.pt")["step"] == step + 1


@pytest.mark.slow
def test_a_recipe_that_changed_is_said(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = pixel_recipe(tmp_path, photos, steps=2)
    run("pixel", recipe)
    run("pixel", recipe, resume=True)
    assert "has changed" not in capsys.readouterr().out
    run("pixel", recipe, ["loop.steps=3", "loop.lr=0.001"], resume=True)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert said == [
        "note: the recipe has changed since the checkpoint: loop.steps was 2, is 3",
        "note: the recipe has changed since the checkpoint: loop.lr was 0.002, is 0.001",
    ]
