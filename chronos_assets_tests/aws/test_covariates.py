"""Covariates with `CHRONOS_DEPLOYMENT=aws`: published on S3 beside the dataset, and given to the forecast's job as channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import dagster as dg
import pytest

from chronos_assets.pipeline.covariate_imports import stale_inputs
from chronos_assets.store_layout import METADATA_KEY, RELATED_KEY
from chronos_assets.timeseries.dataset.item_metadata import read_item_metadata
from chronos_assets.timeseries.dataset.related import iter_related
from chronos_assets.timeseries.dataset.related_memory import RelatedMemory
from chronos_assets_tests.aws.line import CloudLine, cloud_group, cloud_line, environment
from chronos_assets_tests.defs.line import FIRST, ITEMS, PARAMS, failure_reason
from chronos_assets_tests.defs.test_covariate_line import INPUTS, brands, declared, prices
from chronos_assets_tests.defs.test_training_line import noisy_rows

if TYPE_CHECKING:
    from chronos_assets_tests.aws.moto_server import AwsServer


@pytest.fixture
def line(aws: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudLine]:
    monkeypatch.setattr("chronos_assets.pipeline.dataset_import.least_shards", lambda _group: 3)
    bucket = aws.bucket("covariate-store")
    with dg.DagsterInstance.ephemeral() as instance:
        rows = noisy_rows(4)
        # Of the three imports that of the related time series reads more than the limit: it is a job.
        variables = {**aws.env, **environment(bucket, tmp_path), "CHRONOS_IMPORT_JOB_BYTES": f"{len(rows.encode())}B"}
        made = cloud_line(cloud_group(variables), instance)
        made.put("params.json", declared())
        made.put("train/demand.csv", rows)
        made.put("related/prices.csv", prices(5))
        made.put("item_metadata/items.csv", brands())
        yield made


def test_covariates_are_published_on_s3_and_withdrawn(
    aws: AwsServer, line: CloudLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = line.run(INPUTS)
    assert result.success, failure_reason(result)
    (call,) = aws.calls_of("CreateProcessingJob")
    inputs = {item["InputName"]: item["S3Input"]["S3Uri"].rpartition("/")[2] for item in call["ProcessingInputs"]}
    assert inputs == {"parameters": "", "beside": "", "train": "train.json"}
    assert line.metadata("related_time_series")["log_url"].startswith("https://")
    assert not list(line.group.store.list(".jobs"))
    store, related = line.group.store, line.state.related_manifest
    assert related is not None
    folder = store.snapshot(RELATED_KEY)
    shards = [related.shard(folder, number) for number in range(related.n_shards)]
    assert {one.key for shard in shards if shard for one in iter_related(shard, related)} == {(item,) for item in ITEMS}
    assert read_item_metadata(store.snapshot(METADATA_KEY)).of(ITEMS[0]) == {"brand": "b0"}
    assert line.state.covariates.channels == {"related_time_series": RELATED_KEY, "item_metadata": METADATA_KEY}
    assert stale_inputs(line.state, line.instance) == []

    # What has changed is below the limit: the run reads it itself, and leaves the other files where they are.
    hour = f"{FIRST + timedelta(days=5)}"
    line.put("related/next.csv", f"item_id,timestamp,price\n{ITEMS[0]},{hour},9\n")
    load = Mock(side_effect=RelatedMemory.load)
    monkeypatch.setattr(RelatedMemory, "load", load)
    assert line.run(INPUTS[1:2]).success
    assert aws.calls_of("CreateProcessingJob") == [call]
    assert load.call_count == 1  # not once to decide, and again to import
    count = len(related.shards)
    said = f"1 of 2 files read, 1 unchanged; 0 of {count} shards rewritten, 1 with a new tail only, {count - 1} kept"
    assert line.metadata("related_time_series")["what_was_read"] == said
    folder = store.snapshot(RELATED_KEY)
    again = [
        one for number in range(3) if (shard := related.shard(folder, number)) for one in iter_related(shard, related)
    ]
    assert {one.key for one in again} == {(item,) for item in ITEMS}

    line.put("params.json", json.dumps(PARAMS))
    assert stale_inputs(line.state, line.instance) == INPUTS
    assert line.run(INPUTS).success
    assert (line.state.related_manifest, line.state.metadata_manifest) == (None, None)
    assert line.state.covariates.channels == {}
    assert stale_inputs(line.state, line.instance) == []
