"""Training of a Chronos-Bolt model on windows that are drawn as it goes, on a CPU or a GPU.

Here belong the network, the loss, the schedule, checkpoints and the loop. The network's shape and the stages live in
`pretraining_recipe`, what a window is in `chronos_assets.kernelsynth.windows`, parameters, folders and exit codes in
`chronos_assets.workloads.pretrain`.

The data of a step is a pure function of (seed, step): a run killed at any moment resumes from its last checkpoint as if
nothing had happened, and gives the same weights on the same machine.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.kernelsynth import families, windows
from chronos_assets.models.distance_bias import initial_bias, weights_at_stride
from chronos_assets.models.pretraining_recipe import ModelShape, TrainingPlan, shape_at
from chronos_assets.models.saving import take_saved
from chronos_assets.system import replaced
from chronos_assets.wording import first_line

if TYPE_CHECKING:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting

logger = logging.getLogger(__name__)

VALIDATION_SEED = 7_919_000_000
"""Entropy of the validation windows; no training step shares it, whatever the seed of the run."""


@dataclass(frozen=True)
class PretrainProgress:
    """What a stage reports while it runs: rates are per second, `remaining` is in seconds."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    windows_per_second: float
    remaining: float
    validation: Mapping[str, float] = field(default_factory=dict)


class TrainingError(ChronosAssetsError, RuntimeError):
    """Training cannot continue; the message says why, in one line."""


def build_model(shape: ModelShape, seed: int) -> ChronosBoltModelForForecasting:
    """Return a freshly initialised model, the same for the same `shape` and `seed`.

    T5 sums far distances into shared buckets, and its attention across to the decoder knows no position at all. Copying
    a cycle needs both, so every distance gets a bucket of its own, and half of the heads start with waves over the
    distance, through which a patch can tell how far it is from the token that ends the sequence.
    """
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    patches = -(-shape.context_length // shape.patch_stride) + 2
    config = T5Config(
        d_model=shape.d_model,
        d_ff=shape.d_ff,
        d_kv=shape.d_kv,
        num_heads=shape.num_heads,
        num_layers=shape.num_layers,
        num_decoder_layers=shape.num_decoder_layers,
        dropout_rate=0.0,
        vocab_size=2,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        feed_forward_proj="relu",
        # Half of the buckets are of one direction, and half of those are exact.
        relative_attention_num_buckets=4 * patches,
        relative_attention_max_distance=2 * patches,
        use_cache=False,
        chronos_config={
            "context_length": shape.context_length,
            "prediction_length": shape.prediction_length,
            "input_patch_size": shape.patch_size,
            "input_patch_stride": shape.patch_stride,
            "quantiles": list(shape.quantiles),
            "use_reg_token": True,
        },
    )
    config.architectures = [ChronosBoltModelForForecasting.__name__]
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    torch.manual_seed(seed)
    model = ChronosBoltModelForForecasting(config)
    with torch.no_grad():
        bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        bias.copy_(initial_bias(2 * patches, shape.num_heads, shape.patch_size // shape.patch_stride))
        # The first forecasts should be near the mean of the context: from far off, the way back costs many steps.
        for layer in (model.output_patch_embedding.output_layer, model.output_patch_embedding.residual_layer):
            layer.weight.mul_(0.02)
    return model


def pinball(prediction: Tensor, target: Tensor, levels: Tensor, weight: Tensor) -> Tensor:
    """Return twice the quantile loss, averaged over levels and over all steps by `weight`; NaN targets count 0.

    `prediction` is (n, levels, horizon), `target` and `weight` (n, horizon), `levels` (levels,).
    """
    observed = ~torch.isnan(target)
    error = torch.where(observed, target, 0.0).unsqueeze(1) - prediction
    tau = levels[None, :, None]
    loss = 2.0 * torch.maximum(tau * error, (tau - 1.0) * error).mean(dim=1)
    return (weight * observed * loss).sum() / (weight * observed).sum().clamp(min=1e-9)


class _Relu(torch.autograd.Function):
    """A rectifier whose way back reads its result, which the next matrix product keeps anyway.

    torch.compile otherwise writes and reads a mask of booleans as well, which on CPUs costs a quarter of a step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = x.clamp(min=0)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return gradients[0] * torch.sign(result)


class _RectifiedLinear(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _Relu.apply(x)  # type: ignore[no-untyped-call] # torch says nothing of it
        return result


def learning_rate_at(step: int, plan: TrainingPlan) -> float:
    """Return the learning rate of `step`, counted from 0."""
    rising = (step + 1) / max(plan.warmup_steps, 1)
    falling = (plan.steps - step) / max(plan.decay_steps, 1)
    return plan.learning_rate * min(1.0, rising, max(falling, 0.0))


def mixture_at(step: int, plan: TrainingPlan, context_length: int) -> dict[str, float]:
    """Return the weights of the families at `step`: clean seasons first, in the end what such contexts really hold."""
    share = min(step / max(plan.curriculum_steps, 1), 1.0) if plan.curriculum_steps else 1.0
    start, end = families.CURRICULUM_START, families.realistic(context_length)
    return {name: (1 - share) * start.get(name, 0.0) + share * weight for name, weight in end.items()}


def batch_at(step: int, plan: TrainingPlan, shape: ModelShape) -> windows.Windows:
    """Return the windows of `step`: all of one context length, drawn from the plan's."""
    return windows.training_windows(*_drawn_at(step, plan, shape))


def _drawn_at(
    step: int, plan: TrainingPlan, shape: ModelShape
) -> tuple[tuple[int, int, int], dict[str, float], int, int, int]:
    """What `training_windows` is given for `step`: a process that draws needs no network."""
    rng = np.random.default_rng((plan.seed, step, 0))
    share = np.array(plan.length_weights) / sum(plan.length_weights)
    length = int(rng.choice(plan.context_lengths, p=share))
    number = max(plan.points_per_batch // length, 1)
    return (plan.seed, step, 1), mixture_at(step, plan, length), number, length, shape.prediction_length


def validation_sets(shape: ModelShape, number: int) -> dict[str, windows.Windows]:
    """Return `number` windows of every family, the same for every run."""
    length = min(512, shape.context_length)
    return {
        name: windows.training_windows(
            (VALIDATION_SEED, index), {name: 1.0}, number, length, shape.prediction_length, missing=False
        )
        for index, name in enumerate(families.FAMILIES)
    }


@torch.inference_mode()
def validate(model: torch.nn.Module, sets: Mapping[str, windows.Windows], levels: Tensor) -> dict[str, float]:
    """Return, by family, the weighted quantile loss relative to repeating the cycle that fits each context best.

    `model` is on the device of `levels`. The key `all` holds the geometric mean over families. Below 1 is better than
    repeating.
    """
    result = {}
    for name, batch in sets.items():
        parts = (
            batch.context,
            batch.target,
            batch.weight,
            windows.repeat_forecast(batch.context, batch.target.shape[1]),
        )
        context, target, weight, repeated = (torch.from_numpy(part).to(levels.device) for part in parts)
        prediction = model(context=context).quantile_preds
        baseline = pinball(repeated[:, None, :].expand_as(prediction), target, levels, weight)
        result[name] = float(pinball(prediction, target, levels, weight) / baseline)
    result["all"] = math.exp(float(np.mean(np.log(list(result.values())))))
    return result


def make_optimisers(model: torch.nn.Module, plan: TrainingPlan) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the Transformer blocks, and AdamW for everything else."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and ".block." in name and "bias" not in name]
    chosen = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(
        inner, lr=plan.learning_rate, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(rest, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adamw]


def train(
    shape: ModelShape,
    plan: TrainingPlan,
    checkpoints: Path | None = None,
    report: Callable[[PretrainProgress], None] | None = None,
    initial: ChronosBoltModelForForecasting | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> ChronosBoltModelForForecasting:
    """Train a model for one stage and return it on the CPU, holding the averaged weights.

    Args:
        shape: the network.
        plan: the stage.
        checkpoints: folder for `last.pt`, written atomically; a run whose folder holds one resumes from it.
        report: called every `log_every` steps, and with validation losses every `validate_every`.
        initial: a model of the same shape whose weights to start from, instead of random ones; its patches may be closer.
        device: where the network is: `cpu`, `cuda`, `cuda:1`.
        workers: processes that draw windows; 0 is a thread of this one, enough for a few steps a second.

    Raises:
        TrainingError: if the loss is not finite, or the checkpoint is of another recipe.
    """
    state = _PretrainState.fresh(shape, plan, initial, device)
    if checkpoints is not None and (checkpoints / "last.pt").exists():
        state.restore(checkpoints / "last.pt", _recipe(shape, plan))
        logger.info("resumed at step %d", state.step)

    _rectify(state.model)
    levels = torch.tensor(shape.quantiles, device=device)
    sets = validation_sets(shape, plan.validation_windows)
    loss_of = _loss_of(state.model, levels, plan)
    start, began, seen = state.step, time.monotonic(), 0
    losses: list[float] = []
    for step, batch in _prefetched(start, plan, shape, workers):
        loss = loss_of(*(torch.from_numpy(part).to(device) for part in (batch.context, batch.target, batch.weight)))
        losses.append(_finite(loss.item(), step, plan))
        state.learn(loss, step, plan)
        seen += len(batch.context)

        last = state.step == plan.steps
        validating = last or state.step % plan.validate_every == 0
        if report is not None and (validating or state.step % plan.log_every == 0):
            elapsed = time.monotonic() - began
            report(
                PretrainProgress(
                    step=state.step,
                    steps=plan.steps,
                    loss=float(np.mean(losses)),
                    learning_rate=learning_rate_at(step, plan),
                    windows_per_second=seen / elapsed,
                    remaining=elapsed / (state.step - start) * (plan.steps - state.step),
                    validation=validate(state.average, sets, levels) if validating else {},
                )
            )
            losses.clear()
        if checkpoints is not None and (last or state.step % plan.checkpoint_every == 0):
            state.save(checkpoints / "last.pt", _recipe(shape, plan))
    return state.average.cpu()


def _rectify(model: ChronosBoltModelForForecasting) -> None:
    """Put `_RectifiedLinear` in the place of a model's rectifiers: training is quicker."""
    for module in model.modules():
        if isinstance(getattr(module, "act", None), torch.nn.ReLU):
            module.act = _RectifiedLinear()


def _finite(loss: float, step: int, plan: TrainingPlan) -> float:
    """A loss, if it is finite."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"loss is {loss} at step {step}: lower learning_rate, now {plan.learning_rate:g}, and resume"
        )
    return loss


def _loss_of(
    model: ChronosBoltModelForForecasting, levels: Tensor, plan: TrainingPlan
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of a model on a batch: of its contexts, targets and their weights."""
    autocast = torch.autocast(levels.device.type, torch.bfloat16) if plan.bfloat16 else nullcontext()

    def batch_loss(context: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        with autocast:
            prediction = model(context=context).quantile_preds
        return pinball(prediction.float(), target, levels, weight)

    return torch.compile(batch_loss, dynamic=False) if plan.compiled else batch_loss


def train_stages(
    shape: ModelShape,
    stages: Sequence[TrainingPlan],
    checkpoints: Path | None = None,
    report: Callable[[int, PretrainProgress], None] | None = None,
    device: str = "cpu",
    workers: int = 0,
    initial: ChronosBoltModelForForecasting | None = None,
    first: int = 1,
) -> ChronosBoltModelForForecasting:
    """Train through `stages`, each from the averaged weights of the one before, and return the last one's model.

    Checkpoints are `<number>/last.pt` in `checkpoints`, where `first` is the number of the first of `stages`. The first
    argument of `report` is that number; other arguments are those of `train`, `initial` that of the first stage.
    """
    model = initial
    for number, plan in enumerate(stages, start=first):
        folder = None if checkpoints is None else checkpoints / str(number)
        reported = None if report is None else partial(report, number)
        model = train(shape_at(plan, shape), plan, folder, reported, model, device, workers)
    if model is None:
        raise TrainingError("there is no stage to train")
    return model


def load_model(folder: Path, shape: ModelShape) -> ChronosBoltModelForForecasting:
    """Read a model that was saved in `folder`, to train on; its context and its stride may be others than `shape` has.

    Raises:
        TrainingError: there is none, or its network is another one than `shape`.
    """
    from chronos.chronos_bolt import ChronosBoltModelForForecasting

    try:
        model = ChronosBoltModelForForecasting.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        context, stride = (model.config.chronos_config[key] for key in ("context_length", "input_patch_stride"))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise TrainingError(f"there is no Chronos-Bolt model in {folder} to start from: {first_line(error)}") from error
    expected = build_model(replace(shape, context_length=context, patch_stride=stride), 0)
    sizes, wanted = ({name: tuple(p.shape) for name, p in m.state_dict().items()} for m in (model, expected))
    if sizes != wanted or model.config.chronos_config != expected.config.chronos_config:
        raise TrainingError(f"the model in {folder} is another network than the parameters': give its shape")
    return model


def save_model(model: ChronosBoltModelForForecasting, folder: Path) -> None:
    """Write config.json and model.safetensors into `folder`, each replaced atomically."""
    staging = folder.with_name(folder.name + ".partial")
    model.save_pretrained(staging, safe_serialization=True)
    folder.mkdir(parents=True, exist_ok=True)
    take_saved(staging, folder, ("config.json", "model.safetensors"))


def _prefetched(
    start: int, plan: TrainingPlan, shape: ModelShape, workers: int
) -> Iterator[tuple[int, windows.Windows]]:
    """Yield (step, windows) from `start` to the end, drawing the next batches while the present one is used."""
    # Not forked: a child of a process that runs threads or CUDA may hang. It imports what draws, and no network.
    pool: Executor = (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
        if workers
        else ThreadPoolExecutor(max_workers=1)
    )

    def draw(step: int) -> Future[windows.Windows]:
        if workers:
            return pool.submit(windows.training_windows, *_drawn_at(step, plan, shape))
        return pool.submit(batch_at, step, plan, shape)

    with pool:
        coming: deque[Future[windows.Windows]] = deque()
        for step in range(start, plan.steps):
            ahead = min(step + 1 + 2 * workers, plan.steps - 1)
            while step + len(coming) <= ahead:
                coming.append(draw(step + len(coming)))
            yield step, coming.popleft().result()


def _recipe(shape: ModelShape, plan: TrainingPlan) -> dict[str, Any]:
    """Return what must not change between a checkpoint and the run that resumes from it."""
    free = {"steps", "decay_steps", "learning_rate", "compiled", "log_every", "validate_every", "checkpoint_every"}
    return {"shape": asdict(shape), "plan": {key: value for key, value in asdict(plan).items() if key not in free}}


@dataclass
class _PretrainState:
    """All that a run changes, and so all that a checkpoint holds."""

    model: ChronosBoltModelForForecasting
    average: ChronosBoltModelForForecasting
    optimisers: list[torch.optim.Optimizer]
    step: int = 0

    @classmethod
    def fresh(
        cls, shape: ModelShape, plan: TrainingPlan, initial: ChronosBoltModelForForecasting | None, device: str
    ) -> _PretrainState:
        model, average = build_model(shape, plan.seed), build_model(shape, plan.seed)
        if initial is not None:
            weights = weights_at_stride(initial, shape.patch_stride)
            model.load_state_dict(weights)
            average.load_state_dict(weights)
        model.to(device)
        return cls(model, average.to(device), make_optimisers(model, plan))

    def learn(self, loss: Tensor, step: int, plan: TrainingPlan) -> None:
        """Take the step of this number, down the gradient of its loss."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, plan)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), plan.max_grad_norm)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        # The average starts short, or it would remember the initial weights for long.
        self.follow(min(plan.ema_decay, (step + 1) / (step + 10)))
        self.step = step + 1

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the model."""
        for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)

    def save(self, path: Path, recipe: dict[str, Any]) -> None:
        """Write a checkpoint that is whole or not there: a kill leaves the one before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "step": self.step,
            "recipe": recipe,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        with replaced(path) as part:
            torch.save(content, part)

    def restore(self, path: Path, recipe: dict[str, Any]) -> None:
        """Take over a checkpoint made by the same recipe."""
        content = torch.load(path, map_location=self.model.device, weights_only=True)
        then = content["recipe"]
        changed = [key for part in recipe for key in recipe[part] if then[part].get(key) != recipe[part][key]]
        if changed:
            raise TrainingError(f"{path} was made with another {', '.join(changed)}: remove it to start again")
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        for optimiser, saved in zip(self.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = int(content["step"])
