"""Workload: learn a predictor's weights and calibration from the past of a dataset.

    python -m chronos_assets.workloads.learn

Two kinds of parameters (one JSON document). Those of the workload `forecast`, with `windows` and `zero_shot`: a zero-shot
predictor for each window, from what was known by its as-of; where several instances forecast, it is learned here before. Or,
for a trained version:

```
model               the candidate's label; its folder is the channel `model`, or packed in it as a training job leaves it
base                reference of the base model that is a member beside it; null: none is
horizon, frequency, alignment, filling, dimensions, context_length, batch_size, precision, seed, holidays    as the forecast
                    has them
predictor           {"members", "per_item", "backtest_windows", "max_cost", "metric"}
validation_windows, test_windows    as the train workload has them: 2 and 2
max_series          at most so many series, chosen by `seed` (default 256)
```

Channels: reads `dataset` (all shards), `related_time_series` and `item_metadata` where there are covariates, for a version
`model`, and for windows, if given, `predictors` with what was learned before. Writes to `predictors` for windows a file for
each predictor, named by what it was learned from (`predictors.opening.learned_key`), or for a version `predictor.json`, and
the folder `base` with a copy of the base model where it has a weight and is not the bundled one. Where the candidate is
packed (`model.tar.gz`), an archive of that name has the whole version: checkpoint, predictor, base model, and what an endpoint
has to know of items and holidays (`predictors.covariates.ServedCovariates`).

**What is seen.** A version's weights are learned on the validation windows of `timeseries.dataset.holdout` and on those
before them, as many as a zero-shot predictor has; never on the test windows, which the gate compares on. Of the checkpoint
only the validation windows tell, which come after what it was trained on: on those before, the base model stands in for it
with errors as much smaller as the checkpoint's have clearly been (`backtester.StandIns`). Weights learned on the few validation
windows alone were often worse than the zero-shot predictor's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from chronos_assets.container.archives import MODEL_ARCHIVE, pack_folder, unpack
from chronos_assets.container.contract import Reporter, Workspace, run_workload
from chronos_assets.container.parameters import Count, CountOrNone, Text, checked, read_parameters
from chronos_assets.models.checkpoints import BUNDLED, ModelDescription, describe_model
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.params.predictor import CHRONOS, TUNED, PredictorParams
from chronos_assets.predictors.backtest_windows import SAMPLE
from chronos_assets.predictors.covariates import METADATA_CHANNEL, holiday_document, keep_beside, open_covariates
from chronos_assets.predictors.dataset_past import sampled_series
from chronos_assets.predictors.dataset_request import DatasetRequest
from chronos_assets.predictors.forecast_request import parse_request, plan_windows
from chronos_assets.predictors.members.regression import History
from chronos_assets.predictors.opening import Network, known_predictors, learn_as_of, windows_as_of
from chronos_assets.predictors.predictor import BASE_FOLDER, PREDICTOR_FILE, RECIPE_VERSION
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.zero_shot import learn_predictor
from chronos_assets.timeseries.dataset.holdout import Holdout, plan_holdout
from chronos_assets.timeseries.dataset.shards import Manifest, Series, list_shards


@checked
@dataclass(frozen=True, kw_only=True)
class VersionRequest(DatasetRequest):
    """The parameters of a version's predictor, checked."""

    model: Text
    predictor: PredictorParams
    base: str | None = None
    validation_windows: Count = 2
    test_windows: CountOrNone = 2
    max_series: Count = SAMPLE


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Learn what is asked for."""
    document = workspace.parameters()
    (_learn_windows if "windows" in document else _learn_version)(document, workspace, reporter)


def _learn_windows(document: Mapping[str, Any], workspace: Workspace, reporter: Reporter) -> None:
    request = parse_request(document)
    folder = workspace.input("dataset")
    dataset = Manifest.read(folder)
    dataset.check("forecast", request.grid.frequency, request.dimensions)
    windows = plan_windows(request, dataset)
    covariates = open_covariates(workspace, request.grid, dataset, request.holidays)
    network = Network(
        describe_model(request.model),
        request.horizon,
        request.levels,
        context_length=request.context_length,
        seasons=request.grid.frequency.candidate_seasons,
        batch_size=request.batch_size,
        precision=request.precision,  # as the forecast job has it, which would learn the same; the series, too
        series=dataset.series,
    )
    ordinals = {window.key: window.ordinal for window in windows}
    reading = request.reading(request.grid, request.zero_shot, covariates)
    known = known_predictors(
        workspace.optional_input("predictors"),
        reading,
        network.description.digest,
        ordinals,
        data_version=dataset.data_version,
        log=reporter.log,
    )
    missing = {key: ordinal for key, ordinal in ordinals.items() if key not in known}
    learned = learn_as_of(
        list_shards(folder),
        reading,
        network,
        missing,
        data_version=dataset.data_version,
        log=reporter.log,
        covariates=covariates,
    )
    output = workspace.output("predictors")
    for predictor in (*known.values(), *learned.values()):
        (output / f"{predictor.learned['key']}.json").write_bytes(predictor.to_json())


def _learn_version(document: Mapping[str, Any], workspace: Workspace, reporter: Reporter) -> None:
    request = read_parameters(VersionRequest, "learning", document)
    given = workspace.input("model")
    if not (given / MODEL_ARCHIVE).is_file():
        _learn_around(given, request, workspace, reporter)
        return
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.scratch) as folder:
        version = Path(folder) / "version"
        unpack(given / MODEL_ARCHIVE, version)
        _learn_around(version, request, workspace, reporter)
        # What a base model may have brought along is another predictor's.
        (version / PREDICTOR_FILE).unlink(missing_ok=True)
        shutil.rmtree(version / BASE_FOLDER, ignore_errors=True)
        output = workspace.output("predictors")
        shutil.copytree(output, version, dirs_exist_ok=True)
        keep_beside(version, workspace.optional_input(METADATA_CHANNEL), holiday_document(request.holidays))
        pack_folder(version, output / MODEL_ARCHIVE)


def _learn_around(checkpoint: Path, request: VersionRequest, workspace: Workspace, reporter: Reporter) -> None:
    """Learn the predictor of a checkpoint's folder."""
    folder = workspace.input("dataset")
    dataset = Manifest.read(folder)
    dataset.check("learning", request.grid.frequency, request.dimensions)
    holdout = plan_holdout(
        *dataset.span(request.grid),
        request.horizon,
        validation_windows=request.validation_windows,
        test_windows=request.test_windows,
    )
    began = time.monotonic()
    sampled = _sampled(list_shards(folder), request, holdout)
    covariates = open_covariates(workspace, request.grid, dataset, request.holidays)
    end = holdout.validation_end
    reading = request.reading(request.grid, request.predictor, covariates)
    # As the zero-shot predictor of the gate, see `learn_as_of`.
    past, windows = windows_as_of(sampled, reading, end, covariates, anchor=end)
    networks = {TUNED: describe_model(checkpoint)}
    if request.base is not None:
        networks[CHRONOS] = describe_model(request.base)
    predictor = learn_predictor(
        windows,
        {name: _forecaster(description, request) for name, description in networks.items()},
        Recipe(
            request.horizon,
            request.grid.frequency.candidate_seasons,
            request.predictor.metric,
            request.predictor.max_cost,
            request.predictor.per_item,
        ),
        wanted=request.predictor.members,
        learned={
            "source": "past windows",
            "trained_until": request.grid.iso(holdout.training_end),
            "until": request.grid.iso(end),
            "data_version": dataset.data_version,
            "recipe": RECIPE_VERSION,
        },
        histories=[History(item.values, item.covariates) for item in past if item.covariates],
        trained_until=holdout.training_end,
        categories=covariates.categories if covariates is not None else None,
        progress=lambda done, total: reporter.progress(done, total, "windows forecast by all members"),
    )
    output = workspace.output("predictors")
    predictor.save(output)
    if CHRONOS in networks and request.base != BUNDLED and CHRONOS in predictor.checkpoints:
        shutil.copytree(networks[CHRONOS].folder, output / BASE_FOLDER, ignore=shutil.ignore_patterns("*.md", ".*"))
    reporter.log(f"learned from {len(windows)} windows in {time.monotonic() - began:.1f} s")
    reporter.message({"predictor": predictor.to_document(), "seconds": round(time.monotonic() - began, 3)})


def _forecaster(description: ModelDescription, request: VersionRequest) -> Forecaster:
    """A network, ready for the backtests."""
    return Network(
        description,
        request.horizon,
        (0.5,),
        context_length=request.context_length,
        seasons=request.grid.frequency.candidate_seasons,
        batch_size=request.batch_size,
    ).alone


def _sampled(shards: list[Path], request: VersionRequest, holdout: Holdout) -> list[Series]:
    """Some of the series that had begun by the end of the validation windows."""
    end = holdout.validation_end
    return sampled_series(shards, request.dimensions, request.grid, [end], request.seed, request.max_series)[end]


if __name__ == "__main__":
    run_workload(main)
