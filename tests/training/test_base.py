"""Training a codec for a task network: what comes out, and the handover from fidelity to the task."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from diptych.codec.codec import load
from diptych.codec.weights import load_codec
from diptych.errors import DiptychError, ModelError, RecipeError
from diptych.io.recipes import read_recipe
from diptych.training import run
from diptych.training.base import BaseRecipe, BaseStage
from diptych.training.export import load_model
from diptych.training.losses import HumanError
from samples import picture


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, photos: Path, codec_file: Path, task_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("base")
    path = folder / "base.yaml"
    path.write_text(
        f"photos: {{folder: {photos}, labels: {photos / 'labels.json'}}}\n"
        f"start: {codec_file}\ntasks: [{task_file}]\n"
        f"batch: 2\ncrop: 64\nhandover: 0.4\ntask_weight: 100\n"
        f"loop: {{out: {folder / 'out'}, steps: 2, threads: 1, precision: fp32, warmup: 1}}\n"
    )
    return path


@pytest.fixture(scope="module")
def settings_of(recipe: Path) -> BaseRecipe:
    return read_recipe(recipe, BaseRecipe)


def loss_at(stage: BaseStage, progress: float) -> float:
    torch.manual_seed(7)
    with torch.no_grad():
        return float(stage.losses("codec", stage.batch(0, 0), torch.tensor(progress))["loss"])


def test_a_trained_codec_codes(recipe: Path, codec_file: Path, task_file: Path) -> None:
    task = task_file.read_bytes()
    path = run("base", recipe)
    codec = load(path)
    for size in ((70, 50), (64, 128)):
        decoded = codec.decode(codec.encode(picture(*size), quality=30), "machine")
        assert decoded.size == size
    before, after = (load_model(p).state_dict() for p in (codec_file, path))
    assert before.keys() == after.keys()
    for part in ("g_a.", "g_s.", "h_a.", "h_s."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part)), part
    assert task_file.read_bytes() == task
    checkpoint = torch.load(path.with_name("checkpoint.pt"), weights_only=True)
    assert checkpoint["model"].keys() == {f"codec.{name}" for name in before}
    assert load_codec(path).metadata["stage"] == "base"


def test_the_task_network_reaches_the_codec_but_does_not_learn(settings_of: BaseRecipe) -> None:
    stage = BaseStage(settings_of.model_copy(update={"mse_weight": (0.0, 0.0)}))
    losses = stage.losses("codec", stage.batch(0, 0), torch.tensor(1.0))
    assert all(torch.isfinite(loss) for loss in losses.values())
    for name in ("task", "features"):
        (gradient,) = torch.autograd.grad(losses[name], stage.model.codec.g_a.down.weight, retain_graph=True)
        assert gradient.abs().max() > 0, name
    losses["loss"].backward()
    assert all(p.grad is None for task in stage.tasks.tasks for p in task.parameters())


@pytest.fixture(scope="module")
def stage(settings_of: BaseRecipe) -> BaseStage:
    return BaseStage(settings_of)


@pytest.mark.slow
@settings(max_examples=8)
@given(share=st.floats(0, 1), after=st.floats(0.4, 1))
def test_the_handover_is_linear_and_then_over(stage: BaseStage, share: float, after: float) -> None:
    first, last = loss_at(stage, 0.0), loss_at(stage, 1.0)
    assert first != last
    assert loss_at(stage, 0.4 * share) == pytest.approx(first + share * (last - first), rel=1e-4)
    assert loss_at(stage, after) == pytest.approx(last, rel=1e-4)


@pytest.mark.slow
def test_only_fidelity_counts_at_the_start_and_only_the_rest_at_the_end(settings_of: BaseRecipe) -> None:
    def losses(progress: float, **weights: object) -> float:
        return loss_at(BaseStage(settings_of.model_copy(update=weights)), progress)

    plain = losses(0.0)
    assert losses(0.0, task_weight=0.0, feature_weight=0.0, mse_weight=(1.0, 5.0)) == pytest.approx(plain, rel=1e-4)
    assert losses(0.0, mse_weight=(2.0, 0.1)) > plain
    late = losses(0.5)
    assert losses(0.5, mse_weight=(9.0, 0.1)) == pytest.approx(late, rel=1e-4)
    for more in ({"task_weight": 200.0}, {"feature_weight": 600.0}, {"mse_weight": (1.0, 0.2)}):
        assert losses(0.5, **more) > late
    assert losses(0.0, handover=0.0) == pytest.approx(losses(1.0), rel=1e-4)


def test_a_batch_has_crops_and_targets(stage: BaseStage) -> None:
    crops, _, targets = stage.batch(0, 3)
    assert crops.x.shape == (2, 3, 64, 64)
    assert len(targets) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [("start=/nowhere.safetensors", "no weights file"), ("tasks=[/nowhere.safetensors]", "nowhere")],
)
def test_missing_weights_are_named(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        run("base", recipe, [override])


def test_a_codec_is_no_task_network(recipe: Path, codec_file: Path) -> None:
    with pytest.raises(ModelError, match="no task network"):
        run("base", recipe, [f"tasks=[{codec_file}]"])


def test_without_labels_only_features_are_compared(settings_of: BaseRecipe) -> None:
    plain = [source.model_copy(update={"labels": None}) for source in settings_of.photos]
    stage = BaseStage(
        settings_of.model_copy(update={"photos": plain, "task_weight": 0.0, "mse_weight": (0.0, 0.0)})
    )
    losses = stage.losses("codec", stage.batch(0, 0), torch.tensor(1.0))
    assert losses["task"] == 0
    assert losses["features"] > 0


def test_losses_need_labels(settings_of: BaseRecipe) -> None:
    plain = [source.model_copy(update={"labels": None}) for source in settings_of.photos]
    with pytest.raises(RecipeError, match="needs labels"):
        BaseStage(settings_of.model_copy(update={"photos": plain}))


@pytest.mark.slow
def test_two_decoders_are_exported_and_one_file_has_two_views(recipe: Path, tmp_path: Path) -> None:
    human = ["human={mse_weight: [0.2, 0.6], ssimulacra_weight: 2, grid_weight: 1}", f"loop.out={tmp_path / 'two'}"]
    path = run("base", recipe, human)
    codec = load(path)
    data = codec.encode(picture(70, 50), quality=30)
    machine, person = codec.decode_views(data, ["machine", "human"])
    assert machine.size == person.size == (70, 50)
    assert np.any(np.asarray(machine) != np.asarray(person))
    again = run(
        "base", recipe, [*human[:1], f"loop.out={tmp_path / 'on'}", f"start={path}", f"human_start={beside(path)}"]
    )
    assert load_file(beside(again)).keys() == load_file(beside(path)).keys()


def beside(codec: Path) -> Path:
    return codec.with_suffix(".human.safetensors")


@pytest.mark.slow
def test_both_decoders_teach_the_encoder(settings_of: BaseRecipe) -> None:
    def gradient(**changed: object) -> torch.Tensor:
        stage = BaseStage(settings_of.model_copy(update={"feature_weight": 0.0, "task_weight": 0.0, **changed}))
        torch.manual_seed(0)
        stage.losses("codec", stage.batch(0, 0), torch.tensor(1.0))["loss"].backward()
        found = stage.model.codec.g_a.down.weight.grad
        assert found is not None
        return found

    alone = gradient()
    with_human = gradient(human=HumanError(mse_weight=(1.0, 1.0)))
    assert (alone - with_human).norm() > 0.05 * alone.norm()
    shared = gradient(human=HumanError(mse_weight=(1.0, 1.0)), one_decoder=True)
    assert torch.allclose(shared, with_human, rtol=1e-3, atol=1e-6)  # where the second decoder starts as the first


@pytest.mark.slow
def test_one_decoder_is_the_only_view(recipe: Path, tmp_path: Path) -> None:
    path = run(
        "base", recipe, ["human={mse_weight: [0.2, 0.6]}", "one_decoder=true", f"loop.out={tmp_path / 'one'}"]
    )
    assert not beside(path).exists()
    codec = load(path)
    data = codec.encode(picture(70, 50))
    with pytest.raises(DiptychError, match="human"):
        codec.decode(data, "human")


@pytest.mark.slow
def test_a_run_with_two_decoders_resumes_to_the_bit(recipe: Path, tmp_path: Path) -> None:
    human = ["human={ssimulacra_weight: 1, grid_weight: 1}", "loop.steps=4", "loop.checkpoint_minutes=0"]
    whole = run("base", recipe, [*human, f"loop.out={tmp_path / 'whole'}"])
    script = f"from pathlib import Path; from diptych.training import run; run('base', Path({str(recipe)!r}), "
    parts = [*human, f"loop.out={tmp_path / 'parts'}", "loop.log_every=1"]
    victim = subprocess.Popen([sys.executable, "-c", f"{script}{parts!r})"], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    for line in victim.stdout:
        if "step 2 " in line:
            break
    victim.kill()
    victim.communicate()
    resumed = run("base", recipe, parts, resume=True)
    for one, other in ((whole, resumed), (beside(whole), beside(resumed))):
        assert all(
            torch.equal(a, b) for a, b in zip(load_file(one).values(), load_file(other).values(), strict=True)
        )
