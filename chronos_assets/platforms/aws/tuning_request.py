"""A search for hyperparameters as a request to SageMaker: pure functions, no call is made here.

Here: which field of a tuning or training job says what, the names that searches get, and what can be refused
before anything is created. Elsewhere: sending and watching it (`tuning.py`), what came of it
(`tuning_results.py`).

A name is `tune-<lineage>-<identity>`. Searches of one lineage (deployment, base model, hyperparameters, objective) may
start warm from each other, and are found by the beginning of their names; the identity is a digest of everything that
the result depends on, so that the same search has the same name and is paid for once.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chronos_assets.params.training import CategoricalRange, IntegerRange, Range
from chronos_assets.platforms.aws.machines import cluster, image_for, missing_settings, output_key, vpc
from chronos_assets.platforms.job_names import json_digest
from chronos_assets.platforms.tuning import (
    LOSS_REGEX,
    STEP_REGEX,
    VALIDATION_REGEX,
    SearchError,
    TuningRequest,
    check_search,
)
from chronos_assets.settings import AwsSettings

OBJECTIVE = "validation_wql"  # the metric that SageMaker minimises

MAX_HYPERPARAMETERS, MAX_VALUE = 100, 2500
MAX_RANGES, MAX_CATEGORIES, MAX_RANGE_VALUE = 30, 30, 256
MAX_SEED = 2**31 - 1


def check_tuning(request: TuningRequest, settings: AwsSettings) -> None:
    """Refuse a search that SageMaker couldn't run, before anything is created.

    Raises:
        SearchError: of what is wrong with it, and how to fix it.
    """
    check_search(request)
    problems = [
        *(f"{name} is not set: `chronos-assets doctor` says to what" for name in missing_settings(settings)),
        *_unreachable_inputs(request),
        *_hyperparameter_problems(request),
        *_range_problems(request),
    ]
    if problems:
        raise SearchError(f"search {request.name}: {'; '.join(problems)}")


def lineage_name(request: TuningRequest, code_location: str) -> str:
    """Beginning of the names of all searches that one of these may start warm from."""
    # A parent must have as many hyperparameters, and the same objective.
    names = sorted([*request.hyperparameters, *request.ranges])
    return f"tune-{json_digest([code_location, request.hyperparameters.get('base_model'), names, VALIDATION_REGEX], 8)}"


def search_name(request: TuningRequest, channels: Mapping[str, str], settings: AwsSettings, code_location: str) -> str:
    """Name of a search; with the suffix of an attempt it has at most 32 characters.

    Args:
        request: the search.
        channels: input channel -> S3 prefix of the version that is read.
        settings: of the deployment on AWS.
        code_location: Dagster's name of the code location.
    """
    ranges = {name: [type(item).__name__, asdict(item)] for name, item in request.ranges.items()}
    identity = [
        request.name,
        dict(request.hyperparameters),
        ranges,
        dict(channels),
        request.max_jobs,
        request.random_seed,
        image_for(settings, settings.training_instance),
    ]
    return f"{lineage_name(request, code_location)}-{json_digest(identity, 12)}"


def tuning_job(
    request: TuningRequest,
    name: str,
    *,
    channels: Mapping[str, str],
    folder: str,
    settings: AwsSettings,
    tags: Sequence[Mapping[str, str]] = (),
    parent: str = "",
) -> dict[str, Any]:
    """The CreateHyperParameterTuningJob request of a search with ranges.

    Args:
        request: the search.
        name: of the tuning job.
        channels: input channel -> S3 prefix.
        folder: S3 prefix for what its training jobs leave.
        settings: of the deployment on AWS.
        tags: of the tuning job.
        parent: tuning job that it starts warm from; empty: none.
    """
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": OBJECTIVE},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": request.max_jobs,
                "MaxParallelTrainingJobs": min(request.max_parallel_jobs, request.max_jobs),
            },
            "ParameterRanges": _ranges(request.ranges),
            "TrainingJobEarlyStoppingType": "Auto",
            "RandomSeed": request.random_seed % (MAX_SEED + 1),
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": _static(request),
            "AlgorithmSpecification": _algorithm(request, settings),
            **_training(channels, folder, settings),
        },
        **(
            {
                "WarmStartConfig": {
                    "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
                    "WarmStartType": "TransferLearning",
                }
            }
            if parent
            else {}
        ),
        **({"Tags": [dict(tag) for tag in tags]} if tags else {}),
    }


def training_job(
    request: TuningRequest,
    name: str,
    *,
    channels: Mapping[str, str],
    folder: str,
    settings: AwsSettings,
    tags: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """The CreateTrainingJob request of a search that has nothing to choose: SageMaker's tuner wants a range."""
    return {
        "TrainingJobName": name,
        "HyperParameters": _static(request),
        "AlgorithmSpecification": _algorithm(request, settings),
        **_training(channels, folder, settings),
        **({"Tags": [dict(tag) for tag in tags]} if tags else {}),
    }


def _unreachable_inputs(request: TuningRequest) -> list[str]:
    problems = [
        f"input channel {channel!r} is the folder {source} of this machine, which SageMaker can't read: "
        "publish it to the store, and give its key"
        for channel, source in request.inputs.items()
        if isinstance(source, Path)
    ]
    base = request.hyperparameters.get("base_model")
    if isinstance(base, str) and os.path.isabs(base) and "model" not in request.inputs:
        problems.append(
            f"the base model {base} is a folder of this machine, which SageMaker can't read: "
            "name `bundled`, an id of the Hub or an s3:// prefix"
        )
    return problems


def _hyperparameter_problems(request: TuningRequest) -> list[str]:
    static = _static(request)
    problems = [
        f"hyperparameter {name!r} has {len(value)} characters as JSON, SageMaker takes {MAX_VALUE}"
        for name, value in static.items()
        if len(value) > MAX_VALUE
    ]
    # The tuner adds one of its own, the name of the objective.
    number = len(static) + len(request.ranges) + 1
    if number > MAX_HYPERPARAMETERS:
        problems.append(f"there are {number} hyperparameters, SageMaker takes {MAX_HYPERPARAMETERS}")
    return problems


def _range_problems(request: TuningRequest) -> list[str]:
    problems = []
    if len(request.ranges) > MAX_RANGES:
        problems.append(f"there are {len(request.ranges)} ranges, SageMaker searches {MAX_RANGES} at most")
    for name, item in request.ranges.items():
        if not isinstance(item, CategoricalRange):
            continue
        if len(item.values) > MAX_CATEGORIES:
            problems.append(f"range of {name!r} has {len(item.values)} values, SageMaker takes {MAX_CATEGORIES}")
        if any(len(json.dumps(value)) > MAX_RANGE_VALUE for value in item.values):
            problems.append(f"range of {name!r} has a value of more than {MAX_RANGE_VALUE} characters")
    return problems


def _static(request: TuningRequest) -> dict[str, str]:
    # Every value is a string to SageMaker; a string of JSON tells "1" from 1.
    return {name: json.dumps(value, allow_nan=False) for name, value in request.hyperparameters.items()}


def _ranges(ranges: Mapping[str, Range]) -> dict[str, Any]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, item in ranges.items():
        if isinstance(item, CategoricalRange):
            values = [json.dumps(value, allow_nan=False) for value in item.values]
            kinds.setdefault("CategoricalParameterRanges", []).append({"Name": name, "Values": values})
            continue
        kind = "IntegerParameterRanges" if isinstance(item, IntegerRange) else "ContinuousParameterRanges"
        kinds.setdefault(kind, []).append(
            {
                "Name": name,
                "MinValue": repr(item.low),
                "MaxValue": repr(item.high),
                "ScalingType": "Logarithmic" if item.scale == "log" else "Linear",
            }
        )
    return kinds


def _algorithm(request: TuningRequest, settings: AwsSettings) -> dict[str, Any]:
    return {
        "TrainingImage": image_for(settings, settings.training_instance),
        "TrainingInputMode": "File",
        "MetricDefinitions": [
            {"Name": OBJECTIVE, "Regex": VALIDATION_REGEX},
            {"Name": "loss", "Regex": LOSS_REGEX},
            {"Name": "step", "Regex": STEP_REGEX},
        ],
    }


def _training(channels: Mapping[str, str], folder: str, settings: AwsSettings) -> dict[str, Any]:
    """What a training job and the definition of a tuning job's training jobs have in common."""
    common: dict[str, Any] = {
        "RoleArn": settings.role,
        "OutputDataConfig": {
            "S3OutputPath": f"{folder.rstrip('/')}/output",
            **output_key(settings),
        },
        "ResourceConfig": cluster(settings, settings.training_instance),
        "StoppingCondition": {"MaxRuntimeInSeconds": settings.job_seconds},
        "RetryStrategy": {"MaximumRetryAttempts": settings.job_attempts},
        **vpc(settings),
    }
    if channels:
        common["InputDataConfig"] = [_channel(name, uri) for name, uri in channels.items()]
    if settings.spot:
        # Waiting for an instance counts; as long again is room for interruptions.
        common["StoppingCondition"]["MaxWaitTimeInSeconds"] = 2 * settings.job_seconds
        common["EnableManagedSpotTraining"] = True
        common["CheckpointConfig"] = {"S3Uri": f"{folder.rstrip('/')}/checkpoints"}
    return common


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "CompressionType": "None"}
