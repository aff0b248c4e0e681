import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from chronos_assets.container.contract import Workspace, execute
from chronos_assets.kernelsynth import families
from chronos_assets.models import pretraining, pretraining_recipe
from chronos_assets.models.distance_bias import TABLE, weights_at_stride
from chronos_assets.workloads import pretrain
from chronos_assets_tests import forks

SHAPE = pretraining_recipe.ModelShape(
    d_model=16, d_ff=32, d_kv=4, num_heads=4, num_layers=1, num_decoder_layers=1, context_length=64, prediction_length=8
)
PLAN = pretraining_recipe.TrainingPlan(
    steps=6,
    decay_steps=3,
    warmup_steps=2,
    points_per_batch=512,
    context_lengths=(32, 64),
    length_weights=(1.0, 1.0),
    curriculum_steps=4,
    bfloat16=False,
    compiled=False,
    validate_every=6,
    checkpoint_every=2,
    log_every=2,
    validation_windows=4,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_schedule_rises_holds_and_falls_to_zero():
    plan = pretraining_recipe.TrainingPlan(steps=100, warmup_steps=10, decay_steps=20, learning_rate=1.0)
    rates = [pretraining.learning_rate_at(step, plan) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[50] == rates[80] == 1.0
    assert rates[90] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.05)
    assert rates[100] == 0.0


def test_a_longer_plan_is_the_same_until_the_shorter_one_decays():
    short = pretraining_recipe.TrainingPlan(steps=100, decay_steps=20)
    long = replace(short, steps=400, decay_steps=50)
    for step in (0, 40, 80):
        assert pretraining.learning_rate_at(step, short) == pretraining.learning_rate_at(step, long)
        assert pretraining.mixture_at(step, short, 512) == pretraining.mixture_at(step, long, 512)


def test_the_mixture_moves_from_clean_seasons_to_the_realistic_one():
    plan = pretraining_recipe.TrainingPlan(curriculum_steps=100)
    first, middle, last = (pretraining.mixture_at(step, plan, 512) for step in (0, 50, 5000))
    assert {name: weight for name, weight in first.items() if weight} == families.CURRICULUM_START
    assert sum(middle.values()) == pytest.approx(1.0)
    assert last == families.REALISTIC
    assert pretraining.mixture_at(5000, plan, families.SHORT_CONTEXT) == families.SHORT
    assert pretraining.mixture_at(5000, plan, 1024) == families.LONG


def test_batches_hold_a_fixed_number_of_points():
    sizes = {batch.context.shape for batch in (pretraining.batch_at(step, PLAN, SHAPE) for step in range(20))}
    assert sizes == {(16, 32), (8, 64)}


def test_pinball_is_twice_the_quantile_loss_over_observed_steps():
    prediction = torch.tensor([[[1.0, 1.0, 9.0], [2.0, 2.0, 9.0]]])
    target = torch.tensor([[3.0, 0.0, float("nan")]])
    loss = pretraining.pinball(prediction, target, torch.tensor([0.1, 0.5]), torch.tensor([[3.0, 1.0, 5.0]]))
    first, second = 2 * np.mean([0.1 * 2, 0.5 * 1]), 2 * np.mean([0.9 * 1, 0.5 * 2])
    assert loss.item() == pytest.approx((3 * first + second) / 4)


def test_pinball_of_targets_that_are_all_missing_is_zero():
    missing = torch.full((1, 3), float("nan"))
    loss = pretraining.pinball(torch.ones(1, 2, 3), missing, torch.tensor([0.1, 0.5]), torch.ones(1, 3))
    assert loss.item() == 0.0


def test_the_loss_of_the_model_itself_agrees_but_for_the_weights():
    model = pretraining.build_model(SHAPE, 0)
    batch = pretraining.batch_at(0, PLAN, SHAPE)
    context = torch.from_numpy(batch.context)
    target = torch.nan_to_num(torch.from_numpy(batch.target))
    output = model(context=context, target=target.clone())
    ours = pretraining.pinball(output.quantile_preds, target, torch.tensor(SHAPE.quantiles), torch.ones_like(target))
    assert ours.item() * SHAPE.prediction_length == pytest.approx(output.loss.item(), rel=1e-3)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_cheap_rectifier_has_the_gradient_of_the_usual_one(compiled):
    x = torch.tensor([-2.0, -0.0, 0.0, 0.5, 3.0], requires_grad=True)
    # What a compiler's front end makes of it; the machine code that it would continue to make takes half a minute.
    rectify = pretraining._RectifiedLinear()
    rectify = torch.compile(rectify, backend="aot_eager") if compiled else rectify
    (rectify(x) * torch.arange(5.0)).sum().backward()
    ours, x.grad = x.grad, None
    (torch.relu(x) * torch.arange(5.0)).sum().backward()
    assert torch.equal(ours, x.grad)


def test_every_distance_between_patches_has_a_bias_of_its_own():
    model = pretraining.build_model(SHAPE, 0)
    attention = model.encoder.block[0].layer[0].SelfAttention
    patches = SHAPE.context_length // SHAPE.patch_stride + 2
    buckets = attention._relative_position_bucket(
        torch.arange(-patches, patches + 1),
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    assert len(buckets.unique()) == 2 * patches + 1


def test_training_is_deterministic_and_lowers_the_loss():
    reports = []
    plan = replace(PLAN, steps=40, decay_steps=20, learning_rate=5e-3, validate_every=40)
    first = pretraining.train(SHAPE, plan, report=reports.append)
    assert equal(weights_of(first), weights_of(pretraining.train(SHAPE, plan)))
    assert reports[-1].step == plan.steps
    assert reports[-1].remaining == 0.0
    assert set(reports[-1].validation) == {*families.FAMILIES, "all"}
    sets = pretraining.validation_sets(SHAPE, plan.validation_windows)
    fresh = pretraining.validate(pretraining.build_model(SHAPE, plan.seed), sets, torch.tensor(SHAPE.quantiles))
    assert reports[-1].validation["all"] < 0.9 * fresh["all"]


def test_a_resumed_run_gives_the_weights_of_an_unbroken_one(tmp_path):
    whole = pretraining.train(SHAPE, PLAN)
    pretraining.train(SHAPE, replace(PLAN, steps=3, decay_steps=0), tmp_path)
    steps = []
    resumed = pretraining.train(SHAPE, PLAN, tmp_path, lambda progress: steps.append(progress.step))
    assert min(steps) > 3
    assert equal(weights_of(whole), weights_of(resumed))


def test_a_stage_starts_from_the_average_of_the_one_before(tmp_path):
    told = []
    # The first one's patches are closer to each other, too.
    stages = (replace(PLAN, closer=2), replace(PLAN, seed=1, steps=4))
    first = pretraining.train(pretraining_recipe.shape_at(stages[0], SHAPE), stages[0])
    expected = pretraining.train(SHAPE, stages[1], initial=first)
    done = pretraining.train_stages(
        SHAPE, stages, tmp_path, lambda number, progress: told.append((number, progress.step))
    )
    assert equal(weights_of(done), weights_of(expected))
    assert not equal(weights_of(done), weights_of(pretraining.train(SHAPE, stages[1])))
    assert told == [(1, 2), (1, 4), (1, 6), (2, 2), (2, 4)]

    again = pretraining.train_stages(SHAPE, stages, tmp_path, lambda *_: told.append("trained again"))
    assert equal(weights_of(again), weights_of(done))
    assert "trained again" not in told


def test_patches_twice_as_far_apart_say_the_same_to_the_token_that_forecasts():
    close = pretraining.build_model(replace(SHAPE, context_length=128, patch_stride=8), 0)
    far = pretraining.build_model(replace(SHAPE, context_length=256, patch_stride=16), 1)
    far.load_state_dict(weights_at_stride(close, 16))
    context = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(far(context=context).quantile_preds, close(context=context).quantile_preds)
    # From the token at the end: one stride to the last patch, then two old strides for each new one.
    for before, after in zip(close.state_dict()[TABLE].chunk(2), far.state_dict()[TABLE].chunk(2), strict=True):
        assert torch.equal(after[:6], before[[0, 1, 3, 5, 7, 9]])
        assert torch.equal(after[-1], before[-1])
    with pytest.raises(ValueError, match="every 16 steps can't become every 8"):
        weights_at_stride(far, 8)


def test_windows_drawn_by_processes_are_those_of_the_thread():
    assert equal(weights_of(pretraining.train(SHAPE, PLAN, workers=2)), weights_of(pretraining.train(SHAPE, PLAN)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_too_and_its_checkpoints_go_on_anywhere(tmp_path):
    plan = replace(PLAN, bfloat16=True, compiled=True)
    pretraining.train(SHAPE, replace(plan, steps=4, decay_steps=1), tmp_path, device="cuda")
    model = pretraining.train(SHAPE, replace(plan, compiled=False), tmp_path, device="cpu")
    assert model.device.type == "cpu"
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    pretraining.train(SHAPE, replace(PLAN, steps=2), tmp_path)
    with pytest.raises(pretraining.TrainingError, match="another d_ff, seed"):
        pretraining.train(replace(SHAPE, d_ff=64), replace(PLAN, seed=1), tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(monkeypatch, tmp_path):
    drawn = pretraining.batch_at

    def poisoned(step, plan, shape):
        batch = drawn(step, plan, shape)
        if step == 4:
            batch.weight[:] = np.nan
        return batch

    monkeypatch.setattr(pretraining, "batch_at", poisoned)
    with pytest.raises(pretraining.TrainingError, match="loss is nan at step 4"):
        pretraining.train(SHAPE, PLAN, tmp_path)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 4


def test_a_saved_model_loads_through_the_plain_pipeline(tmp_path):
    model = pretraining.build_model(SHAPE, 0).eval()
    pretraining.save_model(model, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert not (tmp_path / "model.partial").exists()
    from chronos import BaseChronosPipeline  # takes seconds to import

    pipeline = BaseChronosPipeline.from_pretrained(tmp_path / "model")
    context = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(pipeline.predict(context), model(context=context).quantile_preds)


def document(stages="3"):
    """Parameters of so many stages; what a stage is judged by is drawn once, at its end."""
    judged = {"validate_every": 8, "validation_windows": 1}
    fields = {**vars(SHAPE), **vars(PLAN), "threads": 1, "steps": 8, "device": "cpu", **judged, "stages": int(stages)}
    return {name: json.dumps(value) for name, value in fields.items()}


def give(root, parameters):
    given = Workspace(root).hyperparameters_file
    given.parent.mkdir(parents=True)
    given.write_text(json.dumps(parameters))
    return root


def test_a_workload_killed_in_its_last_stage_goes_on_to_the_same_model(tmp_path):
    killed, whole = (give(tmp_path / name, document(stages="2")) for name in ("killed", "whole"))
    environment = {**os.environ, "CHRONOS_ML_ROOT": str(killed)}
    # Each stage saves four times: the first checkpoint of the second is there.
    call = ("chronos_assets.models.pretraining:_PretrainState.save", "6")
    program = (forks.KILLED, *call, "chronos_assets.workloads.pretrain")
    ended = forks.run(*program, folder=tmp_path, environment=environment, kind=forks.CONTAINER)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (killed / "model").exists()
    assert torch.load(killed / "checkpoints" / "2" / "last.pt", weights_only=True)["step"] == 2

    for root in (killed, whole):
        assert execute(pretrain.main, Workspace(root)) == 0
    weights = [(root / "model" / "model.safetensors").read_bytes() for root in (killed, whole)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    "wrong, reason",
    [
        ({"stepz": "3"}, "unknown parameters: stepz"),
        ({"steps": '"many"'}, "parameter steps must be a int, not 'many'"),
        ({"bfloat16": "1"}, "parameter bfloat16 must be a bool, not 1"),
        ({"stages": "0"}, "parameter stages must be 1 to 8, not 0"),
        ({"first_stage": "4"}, "parameter first_stage must be 1 to 3, not 4"),
        ({"first_stage": "2"}, "first_stage is 2: give the model of the stage before it as initial"),
        ({"device": '"tpu"'}, "parameter device must be auto, cpu or cuda, not tpu"),
    ],
)
def test_a_failure_is_one_line_and_a_non_zero_exit(tmp_path, wrong, reason):
    workspace = Workspace(give(tmp_path / "job", {**document(), **wrong}))
    assert execute(pretrain.main, workspace) == 1
    assert workspace.failure_file.read_text() == reason


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no GPU"):
        pretrain.parse_parameters({"device": "cuda"})


def test_without_parameters_all_stages_of_the_recipe_are_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = pretrain.parse_parameters({})
    assert (given.shape, given.stages) == (pretraining_recipe.ModelShape(), pretraining_recipe.RECIPE)
    assert (given.device, given.threads, given.workers) == ("cpu", 0, 0)


def test_a_gpu_is_taken_where_there_is_one_and_fed_by_processes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    given = pretrain.parse_parameters({})
    assert given.device == "cuda"
    assert given.workers >= 1


def test_parameters_are_those_of_every_stage_and_each_stage_has_a_seed_of_its_own():
    stages = pretrain.parse_parameters({"device": "cpu", "steps": 7, "seed": 3}).stages
    assert [(plan.steps, plan.seed) for plan in stages] == [
        (7, 3 + index) for index in range(len(pretraining_recipe.RECIPE))
    ]
    assert len({plan.seed for plan in pretraining_recipe.RECIPE}) == len(pretraining_recipe.RECIPE)
    assert pretrain.parse_parameters({"device": "cpu", "stages": 1}).stages == pretraining_recipe.RECIPE[:1]


def test_a_stage_alone_goes_on_from_a_saved_model(tmp_path):
    start = pretraining.build_model(pretraining_recipe.shape_at(replace(PLAN, closer=2), SHAPE), 5)
    pretraining.save_model(start, tmp_path / "saved")
    chosen = {"first_stage": "2", "stages": "2", "initial": json.dumps(str(tmp_path / "saved")), "steps": 2}
    root = give(tmp_path / "job", {**document(), **chosen})
    given = pretrain.parse_parameters(Workspace(root).hyperparameters())
    assert [plan.seed for plan in given.stages] == [PLAN.seed + 1]
    assert execute(pretrain.main, Workspace(root)) == 0
    assert [folder.name for folder in (root / "checkpoints").iterdir()] == ["2"]
    trained = pretraining.train_stages(SHAPE, given.stages, initial=start)
    saved = torch.load(root / "checkpoints" / "2" / "last.pt", weights_only=True)["average"]
    assert equal(saved, weights_of(trained))


@pytest.mark.parametrize(
    "folder, reason",
    [("nothing", "there is no Chronos-Bolt model in .*nothing to start from"), ("other", "is another network")],
)
def test_a_model_that_can_not_be_started_from_is_refused(tmp_path, folder, reason):
    pretraining.save_model(pretraining.build_model(replace(SHAPE, d_ff=64), 0), tmp_path / "other")
    with pytest.raises(pretraining.TrainingError, match=reason):
        pretraining.load_model(tmp_path / folder, SHAPE)


def test_the_last_stage_sees_contexts_of_one_patch_which_are_mostly_short():
    plan = replace(pretraining_recipe.RECIPE[-1], points_per_batch=6400, context_lengths=(64,), length_weights=(1.0,))
    batch = pretraining.batch_at(0, plan, pretraining_recipe.ModelShape())
    assert batch.context.shape == (100, 64)
    assert 0.6 < np.isnan(batch.context[:, 0]).mean() < 0.95
