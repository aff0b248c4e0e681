"""Fine-tuning of a Chronos model of any family: one loop, with checkpoints, validation and the best weights kept.

Here belong the schedule, the loop, checkpoints and saving. Batches come from `finetuning_data`, a family's loss from
`finetuning_families`, validation is a function that the caller gives; files, parameters and exit codes are in
`workloads.train`.

The recipe is the blueprint's: AdamW, linear decay after a short warm-up, gradients clipped, float32 (on a CPU bfloat16
is slower and loses digits). Everything drawn at random in a step follows from (seed, step), dropout too: a run killed
at any moment resumes from its last checkpoint as if nothing had happened, and gives the same weights on the same
machine with the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from chronos_assets.models.finetuning_data import Batch, FinetuningError
from chronos_assets.models.finetuning_families import Loss, add_lora, loss_of, training_mode
from chronos_assets.models.loading import LoadedModel
from chronos_assets.models.saving import take_saved
from chronos_assets.system import replaced

FinetuneMode = Literal["full", "lora"]

SAVED = ("config.json", "generation_config.json", "model.safetensors")
"""What a saved model consists of; the second only of families that generate."""

_DROPOUT_STREAM = 1  # of the random numbers of a step; its windows have the stream without a number


@dataclass(frozen=True)
class FinetunePlan:
    """The recipe.

    Attributes:
        mode: "full" changes all weights; "lora" low-rank matrices beside them, which are merged in the end.
        learning_rate: peak; it rises over `warmup_ratio` of the steps, then falls linearly to 0 at `max_steps`.
        max_steps: optimiser steps in all.
        weight_decay: decoupled, of matrices only.
        max_grad_norm: gradients are scaled down to this norm.
        lora_rank, lora_alpha: of the low-rank matrices, and the factor they are scaled by (alpha / rank).
        seed: of LoRA's first matrices and of dropout.
        eval_every, checkpoint_every, log_every: in steps.
    """

    mode: FinetuneMode = "full"
    learning_rate: float = 5e-5
    max_steps: int = 60
    weight_decay: float = 0.0
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    lora_rank: int = 8
    lora_alpha: int = 16
    seed: int = 0
    eval_every: int = 20
    checkpoint_every: int = 20
    log_every: int = 5

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""
        warmup = math.ceil(self.warmup_ratio * self.max_steps)
        rising = (step + 1) / warmup if step < warmup else 1.0
        falling = (self.max_steps - step) / max(1, self.max_steps - warmup)
        return self.learning_rate * max(0.0, min(rising, falling))


@dataclass(frozen=True)
class FinetuneProgress:
    """What a run reports while it runs.

    Attributes:
        step, steps: done, and in all.
        loss: mean over the steps since the last that was reported; None where only a validation is reported.
        learning_rate: of the latest step.
        eta_seconds: until the end, at the pace so far.
        validation_wql: of the present weights, where they were just validated.
    """

    step: int
    steps: int
    loss: float | None = None
    learning_rate: float = 0.0
    eta_seconds: float = 0.0
    validation_wql: float | None = None


@dataclass(frozen=True)
class Finetuned:
    """A finished run. The model's network holds the weights of `best_step`.

    Attributes:
        base_validation_wql: of the model before the first step.
        validation_wql: of the weights kept, the least of all that were validated.
        best_step: after which step those were.
        curve: (step, mean loss since the one before).
        validation: (step, wQL).
        resumed_from: the step that the last checkpoint was made at; None if the run was not broken.
        seconds: over all attempts.
    """

    base_validation_wql: float
    validation_wql: float
    best_step: int
    curve: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]
    resumed_from: int | None
    seconds: float


def finetune(
    model: LoadedModel,
    batches: Callable[[int], Batch],
    plan: FinetunePlan,
    validate: Callable[[], float],
    *,
    checkpoint: Path | None = None,
    recipe: dict[str, Any] | None = None,
    report: Callable[[FinetuneProgress], None] = lambda progress: None,
) -> Finetuned:
    """Fine-tune `model` in place, and leave it with the best of the weights that were validated.

    Args:
        model: to start from, loaded as trainable.
        batches: the batch of a step, counted from 0.
        plan: the recipe.
        validate: wQL of the model with its present weights; called in evaluation mode before the first step, every
            `eval_every` steps and at the end.
        checkpoint: file to resume from if it is there, and to write every `checkpoint_every` steps.
        recipe: what else must not change between a checkpoint and the run that resumes from it; JSON values.
        report: called every `log_every` steps, and after each validation (at step 0 with that of the base model).

    Raises:
        FinetuningError: the loss is not finite, or the checkpoint is of another recipe.
        ValueError: the model's forecasts would not see the training.
    """
    if model.network is not None:
        raise ValueError("the model was loaded for forecasts alone: load_model(..., trainable=True)")
    torch.manual_seed(_torch_seed(plan.seed, plan.max_steps))
    network = model.pipeline.inner_model
    wrapped = add_lora(model, plan.lora_rank, plan.lora_alpha) if plan.mode == "lora" else network
    run = _FinetuneLoop(model, wrapped, loss_of(model, wrapped), batches, plan, validate, report)
    started = time.monotonic()
    resumed_from = None
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint, recipe or {})
        resumed_from = run.state.step
    else:
        run.state.base_validation = run.validated()
        report(FinetuneProgress(0, plan.max_steps, validation_wql=run.state.base_validation))
    run.train(checkpoint, recipe or {}, started)
    run.take_best()
    if plan.mode == "lora":
        # The merged module is the network that LoRA was put into; only its inner layers are replaced.
        wrapped.merge_and_unload()
    network.eval()
    state = run.state
    return Finetuned(
        base_validation_wql=state.base_validation,
        validation_wql=state.best_validation,
        best_step=state.best_step,
        curve=tuple(state.curve),
        validation=tuple(state.validation),
        resumed_from=resumed_from,
        seconds=state.seconds,
    )


def save_model(model: LoadedModel, folder: Path) -> None:
    """Write the model as a plain checkpoint into `folder`: `SAVED`, and nothing else stays there."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / ".partial"
    model.pipeline.inner_model.save_pretrained(staging, max_shard_size="1TB")
    written = take_saved(staging, folder, SAVED)
    for other in folder.iterdir():
        if other.name not in written:
            other.unlink()


@dataclass
class _FinetuneState:
    """What a run has found out so far; with weights and optimiser, what a checkpoint holds."""

    step: int = 0
    base_validation: float = math.nan
    best_validation: float = math.inf
    best_step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    pending: list[float] = field(default_factory=list)  # losses since the last that was reported
    seconds: float = 0.0


class _FinetuneLoop:
    """The loop and all that it changes."""

    def __init__(
        self,
        model: LoadedModel,
        network: Any,
        loss: Loss,
        batches: Callable[[int], Batch],
        plan: FinetunePlan,
        validate: Callable[[], float],
        report: Callable[[FinetuneProgress], None],
    ) -> None:
        self.model, self.network = model, network
        self.loss, self.batches, self.plan, self.validate, self.report = loss, batches, plan, validate, report
        self.weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        matrices = [weight for weight in self.weights.values() if weight.ndim >= 2]
        others = [weight for weight in self.weights.values() if weight.ndim < 2]
        groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
        used = [group for group in groups if group["params"]]
        self.optimiser = torch.optim.AdamW(used, lr=plan.learning_rate, fused=True)
        self.state = _FinetuneState()
        self.best: dict[str, torch.Tensor] = {}

    def train(self, checkpoint: Path | None, recipe: dict[str, Any], started: float) -> None:
        """Make the steps that are left."""
        plan, state = self.plan, self.state
        first, before = state.step, state.seconds
        with training_mode(self.model, self.network):
            while state.step < plan.max_steps:
                rate = self._step(state.step)
                state.step += 1
                elapsed = time.monotonic() - started
                state.seconds = before + elapsed
                eta = elapsed / (state.step - first) * (plan.max_steps - state.step)
                last = state.step == plan.max_steps
                if last or state.step % plan.log_every == 0:
                    loss = float(np.mean(state.pending))
                    state.pending.clear()
                    state.curve.append((state.step, loss))
                    self.report(FinetuneProgress(state.step, plan.max_steps, loss, rate, eta))
                if last or state.step % plan.eval_every == 0:
                    self._evaluate()
                if checkpoint is not None and (last or state.step % plan.checkpoint_every == 0):
                    self.save(checkpoint, recipe)

    def _step(self, step: int) -> float:
        """One step of the optimiser; its learning rate."""
        rate = self.plan.learning_rate_at(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(_torch_seed(self.plan.seed, step))
        loss = self.loss(self.batches(step))
        value = loss.item()
        self._check("loss", value, step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.plan.max_grad_norm)
        self._check("norm of the gradient", float(norm), step)
        self.optimiser.step()
        self.state.pending.append(value)
        return rate

    def _check(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise FinetuningError(
                f"the {what} is {value} at step {step + 1} of {self.plan.max_steps} with learning_rate "
                f"{self.plan.learning_rate:g}: start again with a lower learning_rate, such as "
                f"{self.plan.learning_rate / 10:g}"
            )

    def _evaluate(self) -> None:
        """Validate the present weights, and keep them if they are the best so far."""
        state = self.state
        wql = self.validated()
        state.validation.append((state.step, wql))
        if wql < state.best_validation:
            state.best_validation, state.best_step = wql, state.step
            self.best = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.report(FinetuneProgress(state.step, self.plan.max_steps, validation_wql=wql))

    def validated(self) -> float:
        """The wQL of the present weights.

        Raises:
            FinetuningError: it is not a number.
        """
        training = self.network.training
        self.network.eval()
        wql = self.validate()
        self.network.train(training)
        if not math.isfinite(wql):
            raise FinetuningError(
                f"validation wQL is {wql} at step {self.state.step}: the model's forecasts of the validation windows "
                "are not finite; start again with a lower learning_rate"
            )
        return wql

    def take_best(self) -> None:
        """Put the best weights back in place."""
        with torch.no_grad():
            for name, weight in self.best.items():
                self.weights[name].copy_(weight)

    def save(self, path: Path, recipe: dict[str, Any]) -> None:
        """Write a checkpoint that is whole or not there: a kill leaves the one before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "recipe": recipe,
            "state": vars(self.state),
            "weights": {name: weight.detach() for name, weight in self.weights.items()},
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
        }
        with replaced(path) as part:
            torch.save(content, part)

    def restore(self, path: Path, recipe: dict[str, Any]) -> None:
        """Take over a checkpoint made by the same recipe."""
        content = torch.load(path, weights_only=True, map_location="cpu")
        then = content["recipe"]
        changed = sorted(key for key in {*then, *recipe} if then.get(key) != recipe.get(key))
        if changed:
            raise FinetuningError(f"{path} was made with another {', '.join(changed)}: remove it to start again")
        self.state = _FinetuneState(**content["state"])
        self.best = content["best"]
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(content["weights"][name])
        self.optimiser.load_state_dict(content["optimiser"])


def _torch_seed(seed: int, step: int) -> int:
    """Seed of torch's generator for one step: dropout."""
    return int(np.random.SeedSequence((seed, step, _DROPOUT_STREAM)).generate_state(1, np.uint64)[0] >> 1)
