"""`Chronos.Training` of params.json: when a model is trained, from what, how it is searched for, gated and served.

Here belong the section's keys, their values and defaults, and the ranges of a search, which the platforms' tuners know
too. What a hyperparameter does is in `workloads.train`; when the policy asks for a training is in `planning.retraining`.

=================  ====================================================================================================
key                meaning
=================  ====================================================================================================
Strategy           "TRAIN" (default): from the base model; "RETRAIN": on from the version in use; "NONE": never
MaxAge             seconds after which a version is trained again once the data changed (default 604800, a week)
DriftFactor        trained again when the live wQL is above so many times that at registration (default 1.25) ...
DriftWindows       ... on average over at least so many scored windows (default 7)
BaseModels         models to tune, as CHRONOS_BASE_MODEL names them (default: that one)
SyntheticShare     probability of a training window to be synthetic, the others are the user's (default 0.1)
ValidationWindows  windows of one horizon held out to choose by (default 2)
TestWindows        windows after those, held out for the gate (default 2)
Hyperparameters    of every trial: name -> value, over the defaults
Ranges             searched: name -> {"Type": "Continuous" | "Integer", "Min", "Max", "Scale": "linear" | "log"} or
                   {"Type": "Categorical", "Values": [...]} (default: learning_rate, continuous 1e-5 ... 1e-4, log)
MaxJobs            trials in all (default 2); MaxParallelJobs: at once (default 1); RandomSeed: of the search (default 10)
Approval           "auto" (default): a version that is not worse is approved, any other rejected; "manual": held
Synthetic          {"Seed", "Length", "MaxKernels", "Train", "Validation", "Test"} of the synthetic series
=================  ====================================================================================================

Scales and ranges are those of SageMaker's ParameterRanges:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ParameterRanges.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, cast, get_args

from chronos_assets.params.declared_options import (
    Option,
    any_seed,
    nested,
    one_of,
    options_document,
    read_options,
    whole,
)
from chronos_assets.params.document import MISSING, Section, nearest
from chronos_assets.params.hyperparameters import HYPERPARAMETERS, Hyperparameter, Scalar
from chronos_assets.system import document_digest

Strategy = Literal["TRAIN", "RETRAIN", "NONE"]
ApprovalMode = Literal["auto", "manual"]
Scale = Literal["linear", "log"]

WEEK = 604_800.0


@dataclass(frozen=True)
class ContinuousRange:
    """A hyperparameter that may be any number from `low` to `high`."""

    low: float
    high: float
    scale: Scale = "linear"


@dataclass(frozen=True)
class IntegerRange:
    """A hyperparameter that may be any whole number from `low` to `high`, both included."""

    low: int
    high: int
    scale: Scale = "linear"


@dataclass(frozen=True)
class CategoricalRange:
    """A hyperparameter that is one of `values`."""

    values: tuple[Scalar, ...]


Range = ContinuousRange | IntegerRange | CategoricalRange

DEFAULT_RANGES: Mapping[str, Range] = {"learning_rate": ContinuousRange(1e-5, 1e-4, "log")}


@dataclass(frozen=True)
class SyntheticParams:
    """Of the synthetic series: `seed`, `length` in periods, kernels in one at most, number of series per split."""

    seed: Annotated[int, Option("Seed", any_seed)] = 0
    length: Annotated[int, Option("Length", whole(64, 8192))] = 1024
    max_kernels: Annotated[int, Option("MaxKernels", whole(1, 5))] = 5
    train: Annotated[int, Option("Train", whole(1, 1_000_000))] = 100
    validation: Annotated[int, Option("Validation", whole(1, 1_000_000))] = 100
    test: Annotated[int, Option("Test", whole(1, 1_000_000))] = 100


def _at_least_one(section: Section, key: str) -> float | None:
    value = section.positive(key)
    if value is not None and value < 1:
        section.wrong(key, "below 1 it would ask for training while the model is better than it was", "write 1 or more")
    return value


def _share(section: Section, key: str) -> float | None:
    return section.number(
        key, lambda number: 0 <= number <= 1, "this must be a probability", "write a number from 0 to 1, unquoted"
    )


def _read_names(section: Section, key: str) -> tuple[str, ...] | None:
    value = section.take(key)
    if value is MISSING:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(item, str) and item.strip() for item in names):
        section.wrong(
            key, "this must be a list of models", 'write for example ["bundled", "amazon/chronos-bolt-small"]'
        )
        return None
    if len(set(names)) < len(names):
        section.wrong(key, "a model is listed twice", "keep one of them")
    return tuple(item.strip() for item in names)


def _read_hyperparameters(section: Section, key: str) -> dict[str, Scalar] | None:
    found = section.section(key)
    if found is None:
        return None
    values: dict[str, Scalar] = {}
    for name, known in HYPERPARAMETERS.items():
        value = found.take(name)
        if value is not MISSING and value in known:
            values[name] = known.checked(value)
        elif value is not MISSING:
            found.wrong(name, f"this must be {known.expected}", f"write {known.expected}, {_quoting(known)}")
    found.finish({})
    return values


def _quoting(known: Hyperparameter) -> str:
    return "quoted" if known.kind is str else "unquoted"


@dataclass(frozen=True, kw_only=True)
class TrainingParams:
    """The section, checked; see the module's table. `base_models` is empty where CHRONOS_BASE_MODEL is meant."""

    strategy: Annotated[Strategy, Option("Strategy", one_of(Strategy))] = "TRAIN"
    max_age: Annotated[float, Option("MaxAge", Section.positive)] = WEEK
    drift_factor: Annotated[float, Option("DriftFactor", _at_least_one)] = 1.25
    drift_windows: Annotated[int, Option("DriftWindows", whole(1))] = 7
    base_models: Annotated[tuple[str, ...], Option("BaseModels", _read_names, list)] = ()
    synthetic_share: Annotated[float, Option("SyntheticShare", _share)] = 0.1
    validation_windows: Annotated[int, Option("ValidationWindows", whole(1, 100))] = 2
    test_windows: Annotated[int, Option("TestWindows", whole(1, 100))] = 2
    hyperparameters: Annotated[Mapping[str, Scalar], Option("Hyperparameters", _read_hyperparameters, dict)] = field(
        default_factory=dict
    )
    ranges: Mapping[str, Range] = field(default_factory=lambda: dict(DEFAULT_RANGES))
    max_jobs: Annotated[int, Option("MaxJobs", whole(1, 1000))] = 2
    max_parallel_jobs: Annotated[int, Option("MaxParallelJobs", whole(1, 100))] = 1
    random_seed: Annotated[int, Option("RandomSeed", any_seed)] = 10
    approval: Annotated[ApprovalMode, Option("Approval", one_of(ApprovalMode))] = "auto"
    synthetic: Annotated[SyntheticParams, nested("Synthetic", SyntheticParams)] = SyntheticParams()

    @property
    def search_digest(self) -> str:
        """SHA-256 of what a search depends on beside the data: not of when to train, nor of what to approve."""
        document = asdict(self)
        for name in ("max_age", "drift_factor", "drift_windows", "approval"):
            del document[name]
        return document_digest(document, sort_keys=True)


def read_training(chronos: Section, key: str) -> TrainingParams | None:
    """The `Training` section of `Chronos`; what is wrong with it goes to the section's findings."""
    section = chronos.section(key)
    if section is None:
        return None
    read = read_options(TrainingParams, section)
    read = replace(read, ranges=_read_ranges(section, read.hyperparameters))
    section.finish({})
    return read


def training_document(training: TrainingParams) -> dict[str, Any]:
    """The JSON value of the section that reads back as `training`: only what differs from the defaults."""
    document = options_document(TrainingParams, training)
    if training.ranges != TrainingParams().ranges:
        document["Ranges"] = {name: _range_document(item) for name, item in training.ranges.items()}
    return document


def _range_document(item: Range) -> dict[str, Any]:
    if isinstance(item, CategoricalRange):
        return {"Type": "Categorical", "Values": list(item.values)}
    kind = "Integer" if isinstance(item, IntegerRange) else "Continuous"
    return {"Type": kind, "Min": item.low, "Max": item.high, "Scale": item.scale}


def _read_ranges(section: Section, fixed: Mapping[str, Scalar]) -> Mapping[str, Range]:
    inner = section.section("Ranges")
    if inner is None:
        return {name: item for name, item in DEFAULT_RANGES.items() if name not in fixed}
    ranges: dict[str, Range] = {}
    for name in inner.value:
        if name not in HYPERPARAMETERS:
            inner.has(name)
            fix = nearest(name, list(HYPERPARAMETERS)) or f"write one of {', '.join(HYPERPARAMETERS)}"
            inner.wrong(name, "this is not a hyperparameter", fix)
            continue
        if name in fixed:
            inner.wrong(name, "this is both fixed in Hyperparameters and searched for", "keep one of them")
        one = inner.section(name)
        found = None if one is None else _read_range(one, HYPERPARAMETERS[name])
        if found is not None:
            ranges[name] = found
    return ranges


def _read_range(section: Section, known: Hyperparameter) -> Range | None:
    form = section.choice("Type", ("Continuous", "Integer", "Categorical"), required=True)
    if form is None:
        return None
    if form == "Categorical":
        values = section.take("Values", required="list the values it may have")
        section.finish({})
        if values is MISSING:
            return None
        if not isinstance(values, list) or not values or not all(value in known for value in values):
            section.wrong("Values", f"each of them must be {known.expected}", "list at least one")
            return None
        return CategoricalRange(tuple(known.checked(value) for value in values))
    if known.kind is not (int if form == "Integer" else float):
        fit = {int: "Integer", float: "Continuous", str: "Categorical"}[known.kind]
        kind = {int: "a whole number", float: "a number", str: "text"}[known.kind]
        section.wrong("Type", f"the hyperparameter is {kind}", f'write "{fit}"')
        return None
    scale = cast(Scale, section.choice("Scale", get_args(Scale)) or "linear")
    low, high = (_bound(section, name, known) for name in ("Min", "Max"))
    section.finish({})
    if low is None or high is None:
        return None
    if not low < high:
        section.wrong("Max", "this is not above Min", "write a larger number")
        return None
    if scale == "log" and low <= 0:
        section.wrong("Min", "a log scale begins above 0", 'write a number above 0, or "Scale": "linear"')
        return None
    return IntegerRange(int(low), int(high), scale) if known.kind is int else ContinuousRange(low, high, scale)


def _bound(section: Section, name: str, known: Hyperparameter) -> float | None:
    value = section.take(name, required=f"write {known.expected}")
    if value is MISSING:
        return None
    if value not in known:
        section.wrong(name, f"this must be {known.expected}", f"write {known.expected}, unquoted")
        return None
    return float(value) if known.kind is float else int(value)
