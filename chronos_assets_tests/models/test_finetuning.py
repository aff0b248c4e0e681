"""Fine-tuning of the three families on tiny checkpoints: it learns, repeats itself, resumes, and saves what it has."""

import importlib.util
import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from chronos_assets.models import finetuning, finetuning_families
from chronos_assets.models.finetuning import FinetunePlan, finetune, save_model
from chronos_assets.models.finetuning_data import (
    Batch,
    FinetuningError,
    Mixture,
    TrainingSeries,
    WindowShape,
    WindowSource,
)
from chronos_assets.models.finetuning_families import IGNORED_LABEL, loss_of, t5_inputs
from chronos_assets.models.finetuning_validation import Validation, ValidationWindow
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets_tests.models import tiny

pytestmark = pytest.mark.process  # trains, on tiny networks

FAMILIES = ("bolt", "chronos2", "t5")
LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seasons(count=4, length=160, level=50.0):
    rng = np.random.default_rng(0)
    time = np.arange(length)
    values = [level + 10 * np.sin(2 * np.pi * time / 8 + phase) + rng.normal(size=length) for phase in range(count)]
    return [TrainingSeries(item, np.ones(length, bool)) for item in values]


def setting(family, folder=None, *, drop_prob=0.0, horizon=8):
    """A model, its batches, and the wQL of its forecasts of windows that it isn't trained on."""
    model = load_model(folder or tiny.folder_of(family), trainable=True)
    series = seasons()
    training = [TrainingSeries(item.values[:-horizon], item.observed[:-horizon]) for item in series]
    shape = WindowShape(context_length=32, prediction_length=8, drop_prob=drop_prob)
    source = WindowSource("target", training, shape, 8)
    mixture = Mixture({source: 1.0}, family=family, batch_size=8, context_length=32, seed=3)
    windows = [ValidationWindow(item.values[:-horizon], item.values[-horizon:]) for item in series]
    validation = Validation(Forecaster(model, horizon, LEVELS, context_length=32), windows)
    return model, mixture.batch, validation.wql


def plan(**changes):
    return FinetunePlan(
        **{"learning_rate": 5e-3, "max_steps": 6, "eval_every": 3, "log_every": 2, "checkpoint_every": 2, **changes}
    )


def weights_of(model):
    return {name: value.clone() for name, value in model.pipeline.inner_model.state_dict().items()}


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_is_saved_as_a_plain_checkpoint(family, mode, tmp_path):
    model, batches, validate = setting(family)
    before, reports = weights_of(model), []
    steps = 20 if family == "t5" else 40
    rate = 2e-2 if mode == "lora" else 1e-2
    done = finetune(
        model,
        batches,
        plan(mode=mode, max_steps=steps, eval_every=steps // 2, learning_rate=rate),
        validate,
        report=reports.append,
    )
    losses = [report.loss for report in reports if report.loss is not None]
    assert losses[-1] < 0.95 * losses[0]
    assert done.validation_wql < done.base_validation_wql
    assert done.validation_wql == min(wql for _, wql in done.validation)
    assert reports[0].validation_wql == done.base_validation_wql
    assert reports[0].step == 0

    save_model(model, tmp_path / "model")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files == {"config.json", "model.safetensors"} | ({"generation_config.json"} if family == "t5" else set())
    after, loaded = weights_of(model), load_model(tmp_path / "model")
    assert after.keys() == before.keys()
    assert not equal(after, before)
    assert equal(after, weights_of(loaded))
    from chronos import BaseChronosPipeline  # takes seconds to import

    assert type(BaseChronosPipeline.from_pretrained(tmp_path / "model")) is type(model.pipeline)
    configs = [
        json.loads((folder / "config.json").read_text()) for folder in (tiny.folder_of(family), tmp_path / "model")
    ]
    assert configs[0]["chronos_config"].items() <= configs[1]["chronos_config"].items()
    assert configs[0]["chronos_pipeline_class"] == configs[1]["chronos_pipeline_class"]


def untied_t5(folder):
    """A T5 whose output layer is not the embedding, as the published checkpoints are."""
    shutil.copytree(tiny.folder_of("t5"), folder)
    tensors = load_file(folder / "model.safetensors")
    head = torch.randn(tensors["shared.weight"].shape, generator=torch.Generator().manual_seed(1))
    save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("tied", [True, False])
def test_t5_gives_the_same_logits_after_saving_and_loading_tied_or_not(tied, mode, tmp_path):
    model, batches, validate = setting("t5", None if tied else untied_t5(tmp_path / "untied"))
    network = model.pipeline.inner_model
    assert torch.equal(network.lm_head.weight, network.shared.weight) == tied
    finetune(model, batches, plan(mode=mode, max_steps=2, eval_every=2), validate)
    assert torch.equal(network.lm_head.weight, network.shared.weight) == tied
    save_model(model, tmp_path / "model")
    inputs = {name: value.to(model.device) for name, value in t5_inputs(model, batches(0)).items()}
    with torch.inference_mode():
        wanted = network(**inputs).logits
        given = load_model(tmp_path / "model").pipeline.inner_model(**inputs).logits
    assert torch.equal(wanted, given)


@pytest.mark.parametrize(("family", "mode"), [("bolt", "full"), ("bolt", "lora"), ("chronos2", "full"), ("t5", "full")])
def test_a_broken_run_goes_on_to_the_weights_of_an_unbroken_one_and_another_seed_gives_others(family, mode, tmp_path):
    recipe, last = {"seed": 3}, tmp_path / "checkpoints" / "last.pt"

    def setting_with_gaps():
        return setting(family, drop_prob=0.2)

    model, batches, validate = setting_with_gaps()
    assert model.pipeline.inner_model.config.dropout_rate > 0  # dropout is drawn again in each step
    whole = finetune(model, batches, plan(mode=mode), validate)
    wanted = weights_of(model)

    def breaking(step):
        if step == 5:
            raise KeyboardInterrupt
        return batches(step)

    model, _, validate = setting_with_gaps()
    with pytest.raises(KeyboardInterrupt):
        finetune(model, breaking, plan(mode=mode), validate, checkpoint=last, recipe=recipe)
    model, _, validate = setting_with_gaps()
    done = finetune(model, batches, plan(mode=mode), validate, checkpoint=last, recipe=recipe)
    assert done.resumed_from == 4
    assert equal(weights_of(model), wanted)
    assert (done.curve, done.validation) == (whole.curve, whole.validation)
    assert (done.base_validation_wql, done.best_step) == (whole.base_validation_wql, whole.best_step)
    assert done.seconds > 0

    # After the end there is nothing left to do but to take the best weights.
    model, _, validate = setting_with_gaps()
    finetune(model, breaking, plan(mode=mode), validate, checkpoint=last, recipe=recipe)
    assert equal(weights_of(model), wanted)

    model, _, validate = setting_with_gaps()
    finetune(model, batches, plan(mode=mode, seed=1), validate)
    assert not equal(weights_of(model), wanted)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    last = tmp_path / "last.pt"
    model, batches, validate = setting("bolt")
    finetune(model, batches, plan(), validate, checkpoint=last, recipe={"seed": 3, "learning_rate": 1e-3})
    with pytest.raises(FinetuningError, match=r"made with another learning_rate, mixture: remove it"):
        finetune(model, batches, plan(), validate, checkpoint=last, recipe={"seed": 3, "mixture": {"target": 1}})


def test_the_best_weights_are_kept_not_the_last():
    model, batches, _ = setting("bolt")
    seen = []
    values = iter([0.5, 0.9, 0.4, 0.7])

    def validate():
        seen.append(weights_of(model))
        return next(values)

    done = finetune(model, batches, plan(eval_every=2), validate)
    assert (done.base_validation_wql, done.validation_wql, done.best_step) == (0.5, 0.4, 4)
    assert done.validation == ((2, 0.9), (4, 0.4), (6, 0.7))
    assert equal(weights_of(model), seen[2])
    assert not equal(weights_of(model), seen[3])


def test_the_base_is_no_candidate():
    model, batches, _ = setting("bolt")
    before = weights_of(model)
    values = iter([0.1, 0.9, 0.8])
    done = finetune(model, batches, plan(), lambda: next(values))
    assert (done.base_validation_wql, done.validation_wql) == (0.1, 0.8)
    assert not equal(weights_of(model), before)


def test_a_loss_that_is_not_finite_names_step_rate_and_fix():
    model, batches, validate = setting("bolt")
    with pytest.raises(FinetuningError, match=r"is (nan|inf) at step \d of 6 with learning_rate 1e\+30: .* lower"):
        finetune(model, batches, plan(learning_rate=1e30, max_grad_norm=1e9), validate)


def test_forecasts_that_are_not_finite_are_reported_not_compared():
    model, batches, validate = setting("bolt")
    with torch.no_grad():
        model.pipeline.inner_model.shared.weight.fill_(torch.nan)
    with pytest.raises(FinetuningError, match="validation wQL is nan at step 0"):
        finetune(model, batches, plan(), validate)


def test_lora_without_peft_is_an_error_not_a_full_fine_tune(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        finetuning_families.importlib.util, "find_spec", lambda name: None if name == "peft" else found(name)
    )
    model, batches, validate = setting("chronos2")
    before = weights_of(model)
    with pytest.raises(FinetuningError, match=r"pip install 'chronos-assets\[lora\]'"):
        finetune(model, batches, plan(mode="lora"), validate)
    assert equal(weights_of(model), before)


def test_lora_trains_a_small_part_and_leaves_the_rest_alone():
    model, batches, validate = setting("chronos2")
    before = weights_of(model)
    finetune(model, batches, plan(mode="lora"), validate)
    after = weights_of(model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    targets = finetuning_families.LORA_TARGETS["chronos2"]
    assert all(name.removesuffix(".weight").endswith(targets) for name in changed)


def test_the_schedule_rises_and_falls_linearly_to_zero():
    rates = [
        FinetunePlan(max_steps=100, warmup_ratio=0.1, learning_rate=1.0).learning_rate_at(step) for step in range(101)
    ]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0.0
    assert FinetunePlan(max_steps=10, warmup_ratio=0.0, learning_rate=1.0).learning_rate_at(0) == 1.0


def test_t5_sees_tokens_of_its_own_tokenizer_and_ignores_what_is_missing():
    model, _, _ = setting("t5")
    context = np.array([[np.nan, 1.0, -1.0, 1.0]], dtype=np.float32)
    target = np.array([[1.0, np.nan, -1.0]], dtype=np.float32)
    inputs = t5_inputs(model, Batch(context, target))
    tokenizer, config = model.pipeline.tokenizer, model.pipeline.model.config
    assert inputs["attention_mask"].tolist() == [[False, True, True, True, True]]
    assert inputs["input_ids"][0, 0] == config.pad_token_id
    assert inputs["input_ids"][0, -1] == inputs["labels"][0, -1] == config.eos_token_id
    up, down = inputs["input_ids"][0, 1], inputs["input_ids"][0, 2]
    ignored = IGNORED_LABEL
    assert inputs["labels"][0, :-1].tolist() == [up, ignored, down, *[ignored] * (config.prediction_length - 3)]
    values = tokenizer.output_transform(torch.tensor([[[up, down]]]), torch.tensor([1.0]))
    assert values.flatten().tolist() == pytest.approx([1.0, -1.0], abs=0.5)


def test_the_losses_of_bolt_and_chronos2_are_twice_their_quantile_losses_on_the_context_s_scale():
    for family in ("bolt", "chronos2"):
        model, batches, _ = setting(family)
        network = model.pipeline.inner_model.eval()
        batch = batches(0)
        with torch.inference_mode():
            given = float(loss_of(model, network)(batch))
            raw = network(context=torch.from_numpy(batch.context).to(model.device)).quantile_preds[..., :8]
            raw = raw.double().cpu().numpy()
        std = np.nanstd(batch.context, axis=1)[:, None, None]
        mean = np.nanmean(batch.context, axis=1)[:, None, None]
        squash = np.arcsinh if family == "chronos2" else (lambda values: values)
        prediction, target = squash((raw - mean) / std), squash((batch.target[:, None] - mean) / std)
        levels = np.array(model.description.quantiles)[None, :, None]
        error = target - prediction
        loss = 2 * np.maximum(levels * error, (levels - 1) * error)  # (rows, levels, 8)
        wanted = loss.mean(axis=1).sum(axis=-1).mean() if family == "bolt" else loss.mean(axis=-1).sum(axis=-1).mean()
        assert given == pytest.approx(wanted, rel=1e-4)


def test_wql_of_a_validation_is_that_of_the_forecasts():
    model, _, validate = setting("bolt")
    series = seasons()
    forecast = Forecaster(model, 8, LEVELS, context_length=32).forecast([item.values[:-8] for item in series])
    actual = np.array([item.values[-8:] for item in series])
    levels = np.array(LEVELS)
    error = actual[..., None] - forecast.quantiles
    loss = 2 * np.maximum(levels * error, (levels - 1) * error)
    assert validate() == pytest.approx((loss.sum(axis=(0, 1)) / np.abs(actual).sum()).mean(), rel=1e-12)


def test_validation_needs_an_observation_other_than_zero():
    model, _, _ = setting("bolt")
    forecaster = Forecaster(model, 2, LEVELS)
    for actual in ([0.0, np.nan], [np.nan, np.nan]):
        with pytest.raises(FinetuningError, match="no observation other than 0"):
            Validation(forecaster, [ValidationWindow(np.arange(9.0), np.array(actual))])
    with pytest.raises(FinetuningError, match="no observation other than 0"):
        Validation(forecaster, [])


def test_a_window_without_a_forecast_does_not_count():
    model, _, _ = setting("bolt")
    forecaster = Forecaster(model, 2, LEVELS, context_length=32)
    good = ValidationWindow(np.arange(9.0), np.array([9.0, 10.0]))
    stale = ValidationWindow(np.concatenate([[1.0, 2.0], np.full(40, np.nan)]), np.array([5.0, 6.0]))
    assert Validation(forecaster, [good, stale]).wql() == Validation(forecaster, [good]).wql()
    assert not math.isnan(Validation(forecaster, [good]).wql())


def test_saving_leaves_nothing_else_in_the_folder(tmp_path):
    (tmp_path / "optimizer.pt").write_text("left by someone")
    model, _, _ = setting("bolt")
    finetuning.save_model(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_model_whose_forecasts_would_not_see_the_training_is_refused():
    model, batches, validate = setting("bolt")
    with pytest.raises(ValueError, match="trainable=True"):
        finetune(load_model(model.description.folder), batches, plan(), validate)
