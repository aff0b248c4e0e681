"""What the bundled model is trained as: the network's shape, the plan of a stage, and the stages in turn.

Here belongs what a reader of the model's card looks up. How a stage is trained lives in `pretraining`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

QUANTILES = (0.01, *(round(0.05 * k, 2) for k in range(1, 20)), 0.99)
"""The 21 levels of Chronos-2."""


@dataclass(frozen=True)
class ModelShape:
    """The network: a T5 encoder over patches of the context, and a decoder that reads it for one block of steps.

    A patch is as long as the block that is forecast, and patches overlap: one look at the right patch is then enough to
    copy a cycle, whatever its period, and one dot product to find where the past resembles the present.
    """

    d_model: int = 128
    d_ff: int = 512
    d_kv: int = 16
    num_heads: int = 8
    num_layers: int = 4
    num_decoder_layers: int = 2
    context_length: int = 1024
    prediction_length: int = 64
    patch_size: int = 64
    patch_stride: int = 16
    quantiles: tuple[float, ...] = QUANTILES


@dataclass(frozen=True)
class TrainingPlan:
    """One stage of a recipe. Learning rate: linear warm-up, constant, then linear decay to 0 over the last `decay_steps`.

    Attributes:
        seed: of the initial weights and of every window.
        steps: optimiser steps in all.
        decay_steps: steps of the final decay. Both may change when a run is resumed before its decay has begun: a
            longer run is then the same as one planned so from the start.
        warmup_steps: steps over which the learning rate rises.
        learning_rate: peak, for both optimisers.
        weight_decay: decoupled, of matrices only.
        points_per_batch: windows times context length, so that short contexts come in larger batches.
        context_lengths: lengths of context that batches are drawn from, one length per batch.
        length_weights: relative frequency of each length.
        closer: how much closer patches follow each other than in `ModelShape`; the context is as much shorter (`shape_at`).
        curriculum_steps: steps over which the mixture of families moves from clean seasons to the realistic one.
        ema_decay: of the average of the weights, which is what is validated and saved.
        max_grad_norm: gradients are scaled down to this norm.
        bfloat16: whether matrix products run in bfloat16 (weights stay float32).
        compiled: whether the loss goes through torch.compile.
        validate_every, checkpoint_every, log_every: in steps.
        validation_windows: per family.
    """

    seed: int = 20261122
    steps: int = 6_500
    decay_steps: int = 2_300
    warmup_steps: int = 300
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    points_per_batch: int = 32_768
    context_lengths: tuple[int, ...] = (128, 256, 512)
    length_weights: tuple[float, ...] = (0.2, 0.3, 0.5)
    closer: int = 1
    curriculum_steps: int = 4_000
    ema_decay: float = 0.999
    max_grad_norm: float = 1.0
    bfloat16: bool = True
    compiled: bool = True
    validate_every: int = 1_000
    checkpoint_every: int = 500
    log_every: int = 50
    validation_windows: int = 64


RECIPE = (
    TrainingPlan(closer=2),
    # From the averaged weights of the first stage, at a rate high enough to leave their hollow.
    TrainingPlan(
        seed=20261123,
        steps=11_500,
        decay_steps=8_500,
        warmup_steps=200,
        learning_rate=1.5e-3,
        closer=2,
        curriculum_steps=0,
    ),
    # Lower, so that what is known is kept. Contexts of one patch are what every short series is padded to.
    TrainingPlan(
        seed=20261125,
        steps=2_900,
        decay_steps=2_800,
        warmup_steps=60,
        learning_rate=7e-4,
        context_lengths=(64, 128, 256, 512),
        length_weights=(0.2, 0.2, 0.25, 0.35),
        curriculum_steps=0,
        closer=2,
        ema_decay=0.995,
    ),
    # Long, from a rate that forgets the decay before. Half of the steps are of long contexts, which take most of the time.
    TrainingPlan(
        seed=20261126,
        steps=12_500,
        decay_steps=12_400,
        warmup_steps=100,
        learning_rate=1.2e-3,
        context_lengths=(64, 128, 256, 512),
        length_weights=(0.14, 0.22, 0.12, 0.52),
        curriculum_steps=0,
        closer=2,
    ),
    # Again, with prices in the mixture, which are known by nothing but their last value.
    TrainingPlan(
        seed=20261127,
        steps=10_000,
        decay_steps=9_900,
        warmup_steps=100,
        learning_rate=1e-3,
        context_lengths=(64, 128, 256, 512),
        length_weights=(0.12, 0.2, 0.1, 0.58),
        curriculum_steps=0,
        closer=2,
    ),
    # Patches twice as far apart, so that twice the context costs the same.
    TrainingPlan(
        seed=20261128,
        steps=13_800,
        decay_steps=13_700,
        warmup_steps=100,
        learning_rate=1e-3,
        points_per_batch=49_152,
        context_lengths=(64, 128, 256, 512, 1024),
        length_weights=(0.13, 0.17, 0.08, 0.2, 0.42),
        curriculum_steps=0,
    ),
    # Again, with cycles on levels that go elsewhere: a jump or a trend blurs what is copied over it.
    TrainingPlan(
        seed=20261129,
        steps=12_900,
        decay_steps=12_800,
        warmup_steps=100,
        learning_rate=1e-3,
        points_per_batch=49_152,
        context_lengths=(64, 128, 256, 512, 1024),
        length_weights=(0.12, 0.16, 0.07, 0.2, 0.45),
        curriculum_steps=0,
    ),
    # On a GPU, in larger batches. A part of the steps is of months, quarters and years, of few cycles on levels that shift.
    TrainingPlan(
        seed=20261130,
        steps=26_742,
        decay_steps=26_742,
        warmup_steps=200,
        learning_rate=1.4e-3,
        points_per_batch=131_072,
        context_lengths=(64, 128, 256, 512, 1024),
        length_weights=(0.22, 0.22, 0.14, 0.16, 0.26),
        curriculum_steps=0,
    ),
)
"""The skill of copying cycles first, then precision on realistic mixtures, more families, short and long contexts, few cycles.

The card of the bundled model says which of them made it, and what each brings and costs.
"""


def shape_at(plan: TrainingPlan, shape: ModelShape) -> ModelShape:
    """Return the network of a stage on the way to `shape`."""
    context, stride = shape.context_length // plan.closer, shape.patch_stride // plan.closer
    return replace(shape, context_length=context, patch_stride=stride)
