"""Groups training, registry and serving: synthetic series, searched checkpoints, registered versions, the endpoint."""

import dagster as dg

from chronos_assets.defs import training_metadata
from chronos_assets.defs.checks import gate_check, gate_result
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline import serving
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.packaging import package
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.synthetic import make_synthetic
from chronos_assets.pipeline.tuning import tune
from chronos_assets.store_layout import MODELS_KEY, SYNTHETIC_KEY

SYNTHETIC_DATASET = """Synthetic series by KernelSynth: `train`, `validation` and `test` splits, as GluonTS Arrow files.

Each is a draw of a Gaussian process whose kernel is a random sum and product of one to five of 33 kernels (Chronos paper,
section 4.2). The same parameters give the same bytes. `Chronos.Training.Synthetic` in `params.json` sets seed, length,
kernels and sizes.
"""

TUNED_CHECKPOINTS = """The best checkpoint of a search for hyperparameters, of each base model in `Chronos.Training.BaseModels`.

Every trial fine-tunes the base model on a mixture of the user's series and synthetic ones, and is judged by its wQL on
validation windows that it never trained on; the test windows after those are left to the gate. A search that was killed
continues where it was: finished trials are kept, and the one that ran continues from its last checkpoint. The checkpoint
(`config.json` and safetensors) is kept under `models/`.
"""

MODEL_PACKAGE = """The best candidate, compared with the base model, the version in use and seasonal naive, and registered.

All forecast the same held-out windows of the user's data. With `Chronos.Training.Approval` = `auto` a candidate whose wQL
is not above that of any of them becomes the version in use; a worse one is registered as Rejected, with the reason and
the bootstrap interval of the difference. `manual` leaves it PendingManualApproval.

### To decide by hand
Launch the job `approve_model`, `reject_model` or `roll_back_model`, or run `chronos-assets model approve VERSION`. The
endpoint follows at once, and forecasts follow with the next run or sensor tick.
"""

ENDPOINT = """The version in use behind an HTTP endpoint that outlives the run; the zero-shot base model while none is approved.

Deployment is blue/green: the new server answers a request before it takes over, and no request is lost; if it fails, the
old one continues. It speaks SageMaker's protocol and the Chronos JumpStart schema, so boto3's `sagemaker-runtime` works.
"""


def training_assets(group: Group) -> list[dg.AssetsDefinition]:
    """`synthetic_dataset` and `tuned_checkpoints`."""

    @dg.asset(
        key=group.key("synthetic_dataset"),
        group_name="training",
        description=SYNTHETIC_DATASET,
        owners=group.settings.owners,
        kinds={"numpy", "arrow"},
        metadata={"dagster/uri": f"{group.settings.store}/{SYNTHETIC_KEY}"},
    )
    def synthetic_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            made = make_synthetic(GroupState(group), context)
            return dg.MaterializeResult(
                metadata=training_metadata.synthetic(group, made),
                data_version=dg.DataVersion(made.manifest["data_version"]),
            )

    @dg.asset(
        key=group.key("tuned_checkpoints"),
        deps=[group.key("synthetic_dataset"), group.key("target_time_series")],
        group_name="training",
        description=TUNED_CHECKPOINTS,
        owners=group.settings.owners,
        kinds={"pytorch", "optuna"},
        metadata={"dagster/uri": f"{group.settings.store}/{MODELS_KEY}"},
        pool=group.named("training"),
    )
    def tuned_checkpoints(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            tuned = tune(GroupState(group), context)
            return dg.MaterializeResult(
                metadata=training_metadata.tuned(group, tuned), data_version=dg.DataVersion(tuned.version)
            )

    return [synthetic_dataset, tuned_checkpoints]


def version_assets(group: Group) -> list[dg.AssetsDefinition]:
    """`model_package` and `endpoint`."""

    @dg.asset(
        key=group.key("model_package"),
        deps=[group.key("tuned_checkpoints"), group.key("target_time_series")],
        group_name="registry",
        description=MODEL_PACKAGE,
        owners=group.settings.owners,
        kinds={"pytorch", "json"},
        metadata={"dagster/uri": f"{group.settings.store}/packages"},
        check_specs=[gate_check(group)],
        pool=group.named("training"),
    )
    def model_package(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            packaged = package(GroupState(group), context)
            return dg.MaterializeResult(
                metadata=training_metadata.package(group, packaged),
                data_version=dg.DataVersion(f"{packaged.version.identity[:16]}-{packaged.version.status}"),
                check_results=[gate_result(packaged)],
            )

    @dg.asset(
        key=group.key("endpoint"),
        deps=[group.key("model_package")],
        group_name="serving",
        description=ENDPOINT,
        owners=group.settings.owners,
        kinds={"pytorch", "http"},
    )
    def endpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            deployed = serving.deploy(GroupState(group), context.log)
            return dg.MaterializeResult(
                metadata=training_metadata.endpoint(group, deployed),
                data_version=dg.DataVersion(deployed.state.identity),
            )

    return [model_package, endpoint]
