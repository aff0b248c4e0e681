"""The import as a whole: deterministic, sharded, out of core, equal to an import by hand; and the real samples."""

import csv
import gzip
import io
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import Alignment
from chronos_assets.params.reader import parse_params
from chronos_assets.timeseries.dataset import importing
from chronos_assets.timeseries.dataset.partitioning import RowPartitions
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.sample import sample_params
from chronos_assets.timeseries.dataset.shards import Manifest, iter_series, list_shards, shard_number
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets_tests.timeseries.slow_import import slow_import
from chronos_assets_tests.timeseries.train_drop import HOURS, START, Drop, params_for, rows


@pytest.fixture
def drop(tmp_path):
    return Drop(tmp_path)


def many_rows(series=40, steps=30):
    start = datetime(2024, 1, 1)
    return rows(
        *(
            f"{start + timedelta(hours=step)},{step + key / 8},item {key}"
            for step in range(steps)
            for key in range(series)
        )
    )


class TestDataset:
    def test_the_same_files_give_the_same_bytes_whatever_the_order_and_the_threads(self, drop, tmp_path):
        params = params_for(filling={"middlefill": "mean", "backfill": "median"}, frequency="30min")
        drop.put(many_rows(), "b.csv").put(many_rows(7, 40), "a.csv", minutes=0).run(
            params, shard_bytes=4000, resources=Resources(threads=1)
        )
        expected = drop.bytes()
        drop.files.reverse()
        drop.run(params, shard_bytes=4000, resources=Resources(threads=4))
        assert drop.bytes() == expected
        assert len(expected) > 3

    @pytest.mark.process
    def test_rows_that_went_to_disk_give_the_same_bytes(self, drop, monkeypatch):
        params = params_for(columns=("timestamp", "target_value", "item_id"), filling={"middlefill": "max"})
        drop.put(many_rows()).put(many_rows(50, 8)).run(params, shard_bytes=6000)
        expected = drop.bytes()
        monkeypatch.setattr(importing, "RowPartitions", partial(RowPartitions, memory_bytes=5000))
        drop.run(params, shard_bytes=6000, resources=Resources(threads=2))
        assert drop.bytes() == expected

    def test_a_series_is_whole_in_the_shard_of_its_hash(self, drop):
        drop.put(many_rows()).run(shard_bytes=1500)
        manifest = Manifest.read(drop.output)
        assert len(manifest.shards) > 4
        for path in list_shards(drop.output):
            for series in iter_series(path):
                assert path.name == f"part-{shard_number(series.key, manifest.n_shards):05d}.parquet"
                assert len(series.target) == 30
        assert sum(shard.series for shard in manifest.shards) == 40

    @pytest.mark.parametrize("shard_bytes", [1500, 64 << 20])
    def test_more_shards_for_more_readers_hold_the_same_data_version(self, drop, shard_bytes):
        params = params_for(filling={"middlefill": "mean", "backfill": "median"})
        drop.put(many_rows())
        plain = drop.run(params, shard_bytes=shard_bytes).manifest
        expected = drop.series()
        manifest = drop.run(params, shard_bytes=shard_bytes, min_shards=16, resources=Resources(threads=2)).manifest
        assert 16 <= manifest.n_shards < 16 + plain.n_shards
        assert manifest.n_shards % plain.n_shards == 0
        assert manifest.data_version == plain.data_version
        assert (manifest.series, manifest.rows) == (plain.series, plain.rows)
        for path in list_shards(drop.output):
            assert all(
                path.name == f"part-{shard_number(series.key, manifest.n_shards):05d}.parquet"
                for series in iter_series(path)
            )
        for key, arrays in drop.series().items():
            for one, other in zip(arrays, expected[key], strict=True):
                np.testing.assert_array_equal(one, other)
        assert drop.run(params, shard_bytes=shard_bytes, min_shards=1).manifest == plain

    @pytest.mark.process
    def test_shards_are_about_as_large_as_asked_for(self, drop):
        assert importing.DEFAULT_SHARD_BYTES == 64 << 20
        values = np.random.default_rng(0).normal(size=(200, 400))
        moments = [f"{datetime(2024, 1, 1) + timedelta(hours=step)}" for step in range(400)]
        drop.put(rows(*(f"{moments[s]},{values[k, s]},item {k}" for k in range(200) for s in range(400))))
        drop.run(shard_bytes=200_000)
        sizes = [path.stat().st_size for path in list_shards(drop.output)]
        assert len(sizes) == 4
        assert min(sizes) > 100_000
        assert max(sizes) < 300_000

    def test_columns_types_and_order_on_disk(self, drop):
        drop.put(many_rows(3, 2)).run()
        schema = pq.read_schema(list_shards(drop.output)[0])
        assert [(field.name, str(field.type)) for field in schema] == [
            ("item_id", "string"),
            ("timestamp", "timestamp[us]"),
            ("target", "double"),
            ("filled", "bool"),
        ]
        kinds = duckdb.sql(f"DESCRIBE FROM '{drop.output}/*.parquet'").fetchall()
        assert [kind[1] for kind in kinds] == ["VARCHAR", "TIMESTAMP", "DOUBLE", "BOOLEAN"]

    def test_the_data_version_is_of_the_series_and_not_of_the_files(self, drop):
        first = drop.put(HOURS, "a.csv").run().manifest.data_version
        drop.files.clear()
        assert drop.put("timestamp,target_value,item_id\n" + HOURS, "b.csv").run().manifest.data_version == first
        drop.files.clear()
        assert drop.put(HOURS.replace(",3,", ",4,")).run().manifest.data_version != first
        drop.files.clear()
        other = params_for(filling={"backfill": "zero"})
        assert drop.put(HOURS).run(other).manifest.data_version != first

    def test_what_an_earlier_import_left_in_the_staging_folder_is_removed(self, drop):
        drop.put(many_rows()).run(shard_bytes=1500)
        drop.files.clear()
        drop.put(HOURS).run()
        assert sorted(drop.bytes()) == ["_manifest.json", "part-00000.parquet"]

    def test_progress_goes_through_the_stages_and_never_back(self, drop):
        seen = []
        drop.put(many_rows()).put(HOURS).run(
            resources=Resources(progress=lambda stage, done: seen.append((stage, done)))
        )
        order = ["read", "aggregate", "write"]
        assert seen == sorted(seen, key=lambda entry: (order.index(entry[0]), entry[1]))
        assert [(stage, 1.0) in seen for stage in order] == [True] * 3

    def test_the_manifest_is_plain_json(self, drop):
        report = drop.put(HOURS).run()
        document = json.loads((drop.output / "_manifest.json").read_text())
        assert (document["first"], document["last"]) == ("2024-01-01T00:00:00", "2024-01-01T02:00:00")
        assert document["shards"][0]["sha256"] == report.manifest.shards[0].sha256
        assert Manifest.read(drop.output) == report.manifest


items = st.sampled_from(["a", "B", "01", "x,y", 'q"t', "é"])
values = st.one_of(st.none(), st.integers(-99, 99).map(float), st.floats(-1e6, 1e6).map(lambda value: round(value, 3)))
spans = {"30min": 30 * 60, "H": 3600, "D": 86400, "W": 7 * 86400, "M": 30 * 86400}
fills = st.sampled_from(["nan", "zero", "value", "mean", "median", "min", "max"])


@st.composite
def datasets(draw):
    """A frequency and up to three files of rows; steps of a third of a period, so that periods are shared and skipped."""
    frequency = draw(st.sampled_from(sorted(spans)))
    step = spans[frequency] // 3
    moments = st.integers(0, 40).map(lambda number: datetime(2024, 1, 30, 5) + timedelta(seconds=number * step))
    row = st.tuples(items, moments, values)
    return frequency, draw(st.lists(st.lists(row, min_size=1, max_size=25), min_size=1, max_size=3))


def as_csv(table, form):
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if form == "quoted" else csv.QUOTE_MINIMAL)
    if form == "header":
        writer.writerow(["item_id", "timestamp", "target_value"])
    for item, when, value in table:
        cells = {"timestamp": str(when), "target_value": "" if value is None else repr(value), "item_id": item}
        order = ("item_id", "timestamp", "target_value") if form == "header" else tuple(cells)
        writer.writerow([cells[name] for name in order])
    data = text.getvalue().encode()
    return gzip.compress(data) if form == "gzip" else data


def as_parquet(table):
    sink = io.BytesIO()
    columns = {
        "item_id": [row[0] for row in table],
        "timestamp": pa.array([row[1] for row in table], pa.timestamp("us")),
    }
    columns["target_value"] = pa.array([row[2] for row in table], pa.float64())
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.process
@given(
    datasets(),
    st.sampled_from(["sum", "avg", "first", "min", "max"]),
    fills,
    fills,
    st.lists(st.sampled_from(["plain", "header", "quoted", "gzip", "parquet"]), min_size=3, max_size=3),
    st.permutations(range(3)),
)
def test_any_dataset_equals_an_import_by_hand(tmp_path_factory, dataset, aggregation, middle, back, forms, listing):
    frequency, tables = dataset
    expected = slow_import(tables, frequency, aggregation, middle, back, (-7.5, 3.25))
    drop = Drop(tmp_path_factory.mktemp("drop"))
    for table, form in zip(tables, forms, strict=False):
        drop.put(as_parquet(table) if form == "parquet" else as_csv(table, form), minutes=len(drop.files))
    drop.files = [drop.files[place] for place in listing if place < len(drop.files)]
    filling = {"middlefill": middle, "backfill": back}
    filling |= {"middlefill_value": "-7.5"} if middle == "value" else {}
    filling |= {"backfill_value": "3.25"} if back == "value" else {}
    params = params_for(frequency=frequency, aggregation=aggregation, filling=filling)
    # The calendar's own periods, wherever the few rows of an example lie.
    params = replace(params, alignment=Alignment(anchor="2024-01-01"))
    if not expected:
        assert re.search("no good row of any file has a value|no period is whole", str(drop.fail(params)))
        return
    drop.run(params, shard_bytes=500)
    found = drop.series()
    assert sorted(found) == sorted(expected)
    for item, (timestamps, target, filled) in found.items():
        starts, numbers, flags = zip(*expected[item], strict=True)
        assert timestamps.astype(object).tolist() == list(starts)
        np.testing.assert_allclose(target, numbers, rtol=1e-9, atol=1e-6)
        assert filled.tolist() == list(flags)


def document_for(names, frequency, pattern, **extra):
    """params.json for files with other names, the columns given as name -> type."""
    document = sample_params()
    document["TimestampFormat"] = pattern
    document["Datasets"][0]["DataFrequency"] = frequency
    attributes = [{"AttributeName": name, "AttributeType": kind} for name, kind in names.items()]
    document["Datasets"][0]["Schema"]["Attributes"] = attributes
    document["Predictor"]["FeaturizationConfig"] = {"ForecastFrequency": frequency}
    return {**document, **extra}


class TestRealSamples:
    def run(self, drop, path, params):
        drop.files.append(TrainFile(path, f"train/{path.name}", START))
        return drop.run(params)

    def test_the_pipelines_own_sample(self, drop, shared_data):
        folder = shared_data / "samples/amazon_forecast/testing-data"
        params = parse_params(json.loads((folder / "params.json").read_text()))
        report = self.run(drop, folder / "train/item-demand-time.csv", params)
        manifest = report.manifest
        assert (manifest.series, manifest.rows, manifest.filled, report.rows_read) == (3, 23973, 0, 23973)
        assert (manifest.first, manifest.last) == ("2014-01-01T01:00:00", "2014-11-29T23:00:00")
        assert drop.targets()["client_12"][0] == 38.34991708126038

    def test_hourly_electricity_of_ten_clients_without_a_header(self, drop, shared_data):
        report = self.run(drop, shared_data / "samples/amazon_forecast/electricityusagedata.csv", params_for())
        assert (report.manifest.series, report.manifest.rows, report.manifest.filled) == (10, 87600, 0)

    def test_hourly_household_power_in_gzip_with_other_names_and_no_item(self, drop, shared_data):
        names = {"datetime": "timestamp", "Global_active_power": "float"}
        columns = {"item_id": None, "timestamp": "datetime", "target_value": "Global_active_power"}
        document = document_for(names, "H", "yyyy-MM-dd HH:mm:ss", Chronos={"Columns": columns})
        path = shared_data / "samples/household_power/household_power_hourly.csv.gz"
        report = self.run(drop, path, parse_params(document))
        assert (report.manifest.rows, report.manifest.missing) == (34588, 431)
        assert report.files[0].contents.header

    def test_monthly_demand_by_item_and_store(self, drop, shared_data):
        names = {"item_id": "string", "store_id": "string", "timestamp": "timestamp", "demand": "float"}
        document = document_for(names, "M", "yyyy-MM-dd")
        document["DatasetGroup"]["Domain"] = document["Datasets"][0]["Domain"] = "RETAIL"
        document["Predictor"]["FeaturizationConfig"]["ForecastDimensions"] = ["store_id"]
        path = shared_data / "samples/amazon_forecast/related/consumer_electronics_TTS.csv"
        report = self.run(drop, path, parse_params(document))
        assert (report.manifest.series, report.manifest.rows, report.manifest.filled) == (1500, 36000, 0)
        assert drop.targets()["item_001", "store_001"][0] == 305.824943

    def test_monthly_orders_on_the_last_days_of_the_month_with_names_of_their_own(self, drop, shared_data):
        names = {"Timestamp": "timestamp", "Model_ID": "string", "Order_Quantity": "float"}
        columns = {"item_id": "Model_ID", "timestamp": "Timestamp", "target_value": "Order_Quantity"}
        document = document_for(names, "M", "yyyy-MM-dd HH:mm:ss", Chronos={"Columns": columns})
        path = shared_data / "samples/amazon_forecast/related/instrument_TTS.csv"
        report = self.run(drop, path, parse_params(document))
        assert (report.manifest.series, report.manifest.rows, report.manifest.filled) == (20, 12026, 0)

    def test_taxi_demand_with_a_header_and_many_gaps(self, drop, shared_data):
        params = params_for(columns=("timestamp", "item_id", "target_value"))
        report = self.run(drop, shared_data / "samples/amazon_forecast/sample_demand.csv", params)
        assert (report.manifest.series, report.manifest.observed, report.manifest.filled) == (20, 78015, 126688)


# --- one series that is larger than memory


@pytest.mark.parametrize("method", ["sum", "avg", "first", "min", "max"])
def test_a_series_in_parts_is_the_same_series(tmp_path, monkeypatch, method):
    lines = [
        f"2024-01-01 {at // 3600:02d}:{at // 60 % 60:02d}:{at % 60:02d},{at % 13},{'ab'[at % 7 == 0]}"
        for at in range(9000)
    ]
    again = [f"2024-01-01 01:{at:02d}:00,5,a" for at in range(60)]

    def outcome(folder):
        drop = Drop(folder).put(rows(*lines)).put(rows(*again))
        report = drop.run(params_for(frequency="15min", aggregation=method))
        return report.manifest.data_version, report.manifest.aggregated, report.manifest.duplicates, drop.bytes()

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = outcome(tmp_path / "whole")
    monkeypatch.setattr("chronos_assets.timeseries.dataset.importing._Import._rows_at_once", lambda self: 1000)
    assert outcome(tmp_path / "parts") == whole


def test_a_period_beyond_memory_is_refused_with_its_rows_and_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("chronos_assets.timeseries.dataset.importing._Import._rows_at_once", lambda self: 100)
    lines = [f"2024-01-01 00:{at // 60:02d}:{at % 60:02d},1,a" for at in range(1000)]
    failure = (
        Drop(tmp_path)
        .put(rows(*lines))
        .fail(params_for(frequency="D"), resources=Resources(memory_limit="500MB", threads=1))
    )
    assert "the period 2024-01-01T00:00:00 has 1,000 rows" in str(failure)
    assert "more than the 200 that CHRONOS_MEMORY_LIMIT=500MB holds at once" in str(failure)


@pytest.mark.parametrize(
    ("horizon", "note"),
    [
        (
            60,
            "ForecastHorizon 60 is long for the 48 periods of these data: no past window can be scored; 16 would leave",
        ),
        (30, "past windows are scored with at most 18 periods before them; 16 would leave"),
        (24, None),
    ],
)
def test_a_horizon_that_leaves_no_backtest_is_said(tmp_path, horizon, note):
    rows = "".join(f"2024-01-{1 + hour // 24:02d} {hour % 24:02d}:00:00,{hour},a\n" for hour in range(48))
    report = Drop(tmp_path).put(rows).run(replace(params_for(), horizon=horizon))
    assert [note in found for found in report.notes if "ForecastHorizon" in found] == ([True] if note else [])
