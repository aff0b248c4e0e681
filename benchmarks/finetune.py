"""Fine-tuning: steps per second of the project's loop beside the Hugging Face Trainer with the same model and windows.

    python benchmarks/finetune.py                      the bundled model, batches of 32, contexts of 512, one thread
    python benchmarks/finetune.py --model FOLDER --steps 20 --pairs 7 --threads 2

Both train all weights in float32 with fused AdamW, linear decay and clipped gradients, log the loss every five steps,
draw their windows from the same source as they go, and write nothing. They take turns, and a ratio is the median of the
pairs' ratios, so that a slow minute of the machine hits both; the processor's time a step is less disturbed by what else
runs than steps per second by the clock are. Start-up (loading, the Trainer's own preparation, the first step) is left
out for both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from chronos_assets.models.finetuning import FinetunePlan, finetune
from chronos_assets.models.finetuning_data import Mixture, TrainingSeries, WindowShape, WindowSource
from chronos_assets.models.loading import LoadedModel, load_model

PREDICTION_LENGTH = 64
PERIODS = 4_000
LOG_EVERY = 5


def windows(model: LoadedModel, options: argparse.Namespace, seed: int) -> Mixture:
    """Windows of noisy seasons, as a user's hourly series have them."""
    rng = np.random.default_rng(0)
    time_of_day = np.arange(PERIODS)
    values = [100 + 10 * np.sin(2 * np.pi * time_of_day / 24 + i) + rng.normal(size=PERIODS) for i in range(20)]
    series = [TrainingSeries(item, np.ones(PERIODS, dtype=bool)) for item in values]
    shape = WindowShape(options.context_length, PREDICTION_LENGTH, min_past=options.context_length)
    return Mixture(
        {WindowSource("target", series, shape, PREDICTION_LENGTH): 1.0},
        family=model.description.family,
        batch_size=options.batch_size,
        context_length=options.context_length,
        seed=seed,
    )


class Clock:
    """Reads the clock and the processor's time at the start of each step."""

    def __init__(self) -> None:
        self.read: list[tuple[float, float]] = []

    def step(self) -> None:
        """A step begins."""
        self.read.append((time.perf_counter(), time.process_time()))

    def seconds(self, steps: int) -> tuple[float, float]:
        """Seconds a step by the clock and by the processor, over the last `steps`; the last reading ends them."""
        (start, worked), (end, done) = self.read[-1 - steps], self.read[-1]
        return (end - start) / steps, (done - worked) / steps


def ours(options: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Seconds a step of the project's loop."""
    model, clock = load_model(options.model, device="cpu", trainable=True), Clock()
    mixture = windows(model, options, seed)

    def batch(step: int) -> Any:
        clock.step()
        return mixture.batch(step)

    plan = FinetunePlan(max_steps=options.steps + 2, eval_every=options.steps + 2, log_every=LOG_EVERY)
    finetune(model, batch, plan, lambda: 1.0)
    return clock.seconds(options.steps)


class Rows(IterableDataset):
    """The same windows one by one, as the Trainer wants them."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        step = 0
        while True:
            batch = self.mixture.batch(step)
            for context, target in zip(batch.context, batch.target, strict=True):
                yield {"context": torch.from_numpy(context), "target": torch.from_numpy(target)}
            step += 1


class Steps(TrainerCallback):
    """Tells a clock of the Trainer's steps."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_begin(self, *arguments: Any, **more: Any) -> None:
        """See `Clock.step`."""
        self.clock.step()


def theirs(options: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Seconds a step of the Trainer."""
    model, clock = load_model(options.model, device="cpu", trainable=True), Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model.pipeline.inner_model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=options.steps + 2,
                per_device_train_batch_size=options.batch_size,
                learning_rate=5e-5,
                lr_scheduler_type="linear",
                optim="adamw_torch_fused",
                max_grad_norm=1.0,
                logging_steps=LOG_EVERY,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                remove_unused_columns=False,
                dataloader_num_workers=0,
                dataloader_pin_memory=False,
                disable_tqdm=True,
            ),
            train_dataset=Rows(windows(model, options, seed)),
            callbacks=[Steps(clock)],
        )
        trainer.pop_callback(PrinterCallback)
        trainer.pop_callback(ProgressCallback)
        trainer.train()
    return clock.seconds(options.steps)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--steps", type=int, default=16, help="of each run, after the first")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--context-length", type=int, default=512)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    description = load_model(options.model, device="cpu").description
    print(
        f"{description.reference} ({description.family}, {description.parameters:,} weights), batches of "
        f"{options.batch_size}, contexts of {options.context_length}, {options.threads} thread(s), "
        f"{options.pairs} pairs of {options.steps} steps"
    )
    ratios: list[tuple[float, float]] = []
    times: list[tuple[float, ...]] = []
    for pair in range(options.pairs):
        if pair % 2:
            trainer, own = theirs(options, pair), ours(options, pair)
        else:
            own, trainer = ours(options, pair), theirs(options, pair)
        times.append((*own, *trainer))
        ratios.append((trainer[0] / own[0], trainer[1] / own[1]))
        print(f"  pair {pair + 1}: {_said(*own)}; Trainer {_said(*trainer)}")
    clock, worked, their_clock, their_worked = (statistics.median(column) for column in zip(*times, strict=True))
    by_clock, by_processor = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median: {_said(clock, worked)}; Trainer {_said(their_clock, their_worked)}")
    print(
        f"faster than the Trainer by the clock {by_clock:.2f} times, by the processor's time {by_processor:.2f} times"
    )


def _said(clock: float, worked: float) -> str:
    return f"{1 / clock:.2f} steps/s, {1000 * worked:.0f} ms of the processor a step"


if __name__ == "__main__":
    main()
