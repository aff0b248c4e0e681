"""What `synthetic_dataset` does: the parameters of KernelSynth's series, drawing them in a job, whether they are current.

Elsewhere: how a series is drawn (`kernelsynth`), the program (`workloads.generate`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from chronos_assets.params.training import TrainingParams
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.materializations import latest_metadata
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.jobs import JobRequest, job_name
from chronos_assets.store_layout import SYNTHETIC_KEY
from chronos_assets.timeseries.published_files import MANIFEST


@dataclass(frozen=True)
class Synthetic:
    """What `synthetic_dataset` made: the manifest beside the files, what the workload reported, in how long, by which job."""

    manifest: Mapping[str, Any]
    message: Mapping[str, Any]
    seconds: float
    facts: Mapping[str, Any]


def make_synthetic(state: GroupState, context: dg.AssetExecutionContext) -> Synthetic:
    """Draw the three splits and publish them."""
    group = state.group
    request = JobRequest(
        workload="generate",
        name=job_name("generate", *group.settings.key_prefix),
        parameters=synthetic_parameters(state.setup.training),
        outputs=("synthetic",),
    )
    with group.jobs.run(context, request) as result:
        manifest = json.loads((result.outputs["synthetic"] / MANIFEST).read_bytes())
        group.store.publish(SYNTHETIC_KEY, result.outputs["synthetic"])
    message: Mapping[str, Any] = next((item["synthetic"] for item in result.messages if "synthetic" in item), {})
    return Synthetic(manifest, message, result.seconds, result.facts)


def synthetic_parameters(training: TrainingParams) -> dict[str, Any]:
    """The JSON document that the generate workload reads."""
    synthetic = training.synthetic
    return {
        "seed": synthetic.seed,
        "length": synthetic.length,
        "max_kernels": synthetic.max_kernels,
        "sizes": {"train": synthetic.train, "validation": synthetic.validation, "test": synthetic.test},
    }


def synthetic_manifest(group: Group) -> dict[str, Any] | None:
    """Manifest of the synthetic dataset; None if there is none, or a damaged one."""
    manifest = group.read_json(f"{SYNTHETIC_KEY}/{MANIFEST}")
    return manifest if manifest is not None and manifest.keys() >= {"data_version", "files", "parameters"} else None


def synthetic_is_current(state: GroupState, instance: dg.DagsterInstance) -> bool:
    """Whether the synthetic series that are there are those that the parameters ask for."""
    group = state.group
    manifest = synthetic_manifest(group)
    if manifest is None or not latest_metadata(instance, group.key("synthetic_dataset")):
        return False
    wanted = synthetic_parameters(state.setup.training)
    listed = group.store.list(SYNTHETIC_KEY)
    sizes = {info.key.rpartition("/")[2]: info.size for info in listed if info.key.endswith(".arrow")}
    return sizes == {name: file["bytes"] for name, file in manifest["files"].items()} and all(
        manifest["parameters"].get(name) == value for name, value in wanted.items()
    )
