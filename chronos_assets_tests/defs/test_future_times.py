"""A file from a machine whose clock is ahead: it doesn't win over corrections for ever, and the import says so."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.pipeline.inference import _with_covariates
from chronos_assets.planning.listing import trusted_times
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import DATASET_KEY
from chronos_assets.timeseries.dataset.sampling import Sample
from chronos_assets.timeseries.dataset.shards import iter_series, list_shards
from chronos_assets_tests.defs.line import Line, hourly_rows, make_line
from chronos_assets_tests.models.tiny import folder_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_line(tmp_path / "store", instance, model=str(folder_of("bolt")), days=4)


@pytest.mark.parametrize(
    ("ahead", "doubted"),
    [
        (timedelta(days=1500), True),
        (timedelta(hours=1), True),
        (timedelta(minutes=1), False),
        (-timedelta(days=1), False),
    ],
)
def test_only_a_time_well_in_the_future_is_doubted(ahead: timedelta, doubted: bool) -> None:
    given = [ObjectInfo("train/a.csv", 1, "a", NOW + ahead), ObjectInfo("train/b.csv", 1, "b", NOW - timedelta(days=9))]
    trusted, notes = trusted_times(given, NOW)
    assert bool(notes) is doubted
    assert (trusted == given) is not doubted
    assert (max(trusted, key=lambda info: info.last_modified).key == "train/b.csv") is doubted


def test_a_correction_counts_against_a_file_dated_in_the_future(line: Line) -> None:
    wrong = line.root / "train" / "demand.csv"
    os.utime(wrong, (4_000_000_000, 4_000_000_000))
    rows = [row.split(",", 2) for row in hourly_rows(1)]
    line.put("train/correction.csv", "\n".join(f"{when},99,{item}" for when, _, item in rows) + "\n")
    assert line.run(["target_time_series"]).success
    dataset = line.group.store.snapshot(DATASET_KEY)
    params = line.state.params
    corrected = [series for shard in list_shards(dataset) for series in iter_series(shard, params.dimensions)]
    assert all((series.target[:24] == 99).all() and (series.target[24:] != 99).all() for series in corrected)
    assert any("train/demand.csv is dated 2096-" in note for note in line.state.require_manifest().notes)


def test_a_file_dated_in_the_future_does_not_say_what_the_columns_of_covariates_are(line: Line) -> None:
    line.put("related/now.csv", "item_id,timestamp,price\na,2024-01-01 00:00:00,1.5\n")
    line.put("related/ahead.csv", "item_id,timestamp,weather\na,2024-01-01 00:00:00,2.5\n")
    os.utime(line.root / "related" / "ahead.csv", (4_000_000_000, 4_000_000_000))
    related = _with_covariates(line.group, line.state.params, Sample(None, [], [], [])).related
    assert related is not None
    assert [attribute.name for attribute in related.covariates] == ["price"]
