"""Neighbours of inputs that went wrong, made up here: for kinds of fault whose other tests are about few of their forms.

Each class is a kind, and says in a sentence what must never happen again. Neighbours of the other kinds are tested with the
parts that they concern; the inputs themselves in `test_cases`.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.calendar.time_zones import local_now
from chronos_assets.container.archives import ArchiveError, unpack
from chronos_assets.models.quantiles import clip_at_zero, in_whole_numbers, is_integral, mean_of_quantiles
from chronos_assets.params.forecast import Attribute
from chronos_assets.params.inference import infer
from chronos_assets.params.reader import parse_params
from chronos_assets.pipeline import forecast_windows
from chronos_assets.pipeline.account import unseen_rows
from chronos_assets.pipeline.partitions import forecast_partitions
from chronos_assets.planning.listing import why_ignored
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.serving.web_guard import WebGuard
from chronos_assets.settings import Cadence, Settings
from chronos_assets.timeseries.dataset.sample import sample_params
from chronos_assets.timeseries.dataset.sampling import sample_files
from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest
from chronos_assets.timeseries.forecast.csv_export import write_forecast_csv
from chronos_assets.timeseries.forecast.query import QueryError, SeriesQuestion, query_forecast, render_csv
from chronos_assets.timeseries.published_files import DATASET_MANIFEST
from chronos_assets.timeseries.scoring.accuracy import evaluate_partition
from chronos_assets.timeseries.scoring.baselines import Past, choose_baseline
from chronos_assets.timeseries.scoring.checks import check_accuracy
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    MadeSeries,
    make_params,
    write_dataset,
    write_forecast,
)
from chronos_assets_tests.timeseries.train_drop import HOURS, Drop, params_for, rows

CLOCKS = ("Pacific/Kiritimati", "Pacific/Chatham", "Asia/Kathmandu", "America/St_Johns", "Pacific/Pago_Pago")


@pytest.fixture
def drop(tmp_path: Path) -> Drop:
    return Drop(tmp_path)


class TestTheClockOfPartitions:
    """Kind 6: windows end at now on the data's own clock; what `run` says of rows ahead of it is tested with `run`."""

    @pytest.mark.parametrize("cadence", ["hourly", "daily", "weekly", "monthly"])
    @pytest.mark.parametrize("zone", CLOCKS)
    @pytest.mark.parametrize("moment", ["2024-02-29T11:59", "2024-12-31T10:00", "2024-03-31T00:59", "2024-06-30T23:59"])
    def test_the_window_of_any_clock_exists_and_holds_its_present(
        self, monkeypatch: pytest.MonkeyPatch, cadence: Cadence, zone: str, moment: str
    ) -> None:
        now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        settings = Settings(partitions=cadence, partition_start="2024-01-01")
        monkeypatch.setattr(forecast_windows, "local_now", lambda clock: local_now(clock, now))
        state: Any = SimpleNamespace(clock=zone, group=SimpleNamespace(settings=settings))
        end = forecast_windows.all_windows(state).end
        there = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert there < end
        assert end - there <= {"hourly": timedelta(hours=1), "daily": timedelta(days=1)}.get(
            cadence, timedelta(days=31)
        )
        with dg.partition_loading_context(effective_dt=now):
            last = forecast_partitions(settings).get_last_partition_window()
        assert last is not None
        assert last.end.replace(tzinfo=None) >= end

    @pytest.mark.parametrize(
        ("made", "periods"),
        [
            ({"context_end": "2024-01-02T14:00:00"}, 9),
            ({"context_end": "2024-01-02T22:00:00"}, 1),
            ({"context_end": "2024-01-02T22:00:00", "complete_periods": True}, 0),  # the last hour isn't over
            ({"context_end": "2024-01-02T23:00:00"}, 0),
        ],
    )
    @pytest.mark.parametrize("clock", [None, "Asia/Tokyo"])
    def test_only_rows_that_are_still_to_come_are_said(
        self, tmp_path: Path, made: dict[str, Any], periods: int, clock: str | None
    ) -> None:
        params = make_params()
        dataset = write_dataset(tmp_path, params, [MadeSeries(("a",), "2024-01-01", range(48))])
        state: Any = SimpleNamespace(require_manifest=lambda: Manifest.read(dataset), params=params, clock=clock)
        said = unseen_rows(state, made)
        assert bool(said) == bool(periods)
        for _, text in said:
            assert text.startswith(f"{periods} period")
            assert "to 2024-01-02T23:00:00" in text
            assert f"the clock of {clock or 'UTC'}" in text


class TestIdsOfSeveralFiles:
    """Kind 11: an item is one series whatever type its id has in which file, and no two become one."""

    TIMES = pa.array([f"2024-01-01 0{hour}:00:00" for hour in range(3)])

    def table(self, ids: pa.Array, **columns: pa.Array) -> pa.Table:
        return pa.table({"timestamp": self.TIMES, "target_value": [1.0, 2.0, 3.0], "item_id": ids, **columns})

    @pytest.mark.parametrize("stores", [pa.array([7.0] * 3), pa.array([7] * 3, pa.int16()), pa.array(["7"] * 3)])
    def test_a_dimension_is_one_as_well(self, drop: Drop, stores: pa.Array) -> None:
        params = params_for(columns=("timestamp", "target_value", "item_id", "store"), dimensions=("store",))
        drop.put("2024-01-01 03:00:00,4,a,7\n").put_table(self.table(pa.array(["a"] * 3), store=stores)).run(params)
        assert drop.targets() == {("a", "7"): [1, 2, 3, 4]}

    @pytest.mark.parametrize(
        "number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**64 - 1], ids=["2^53+1", "-2^53-1", "2^63-1", "2^64-1"]
    )
    def test_whole_numbers_of_any_size_are_exact(self, drop: Drop, number: int) -> None:
        kind = pa.uint64() if number > 2**63 else pa.int64()
        drop.put(f"2024-01-01 03:00:00,4,{number}\n").put_table(self.table(pa.array([number] * 3, kind))).run()
        assert drop.targets() == {str(number): [1, 2, 3, 4]}

    def test_long_decimals_are_exact(self, drop: Drop) -> None:
        number = 12345678901234567890123
        ids = pa.array([str(number)] * 3).cast(pa.decimal128(30, 0))
        drop.put(f"2024-01-01 03:00:00,4,{number}\n").put_table(self.table(ids)).run()
        assert drop.targets() == {str(number): [1, 2, 3, 4]}

    def test_a_zero_has_no_sign(self, drop: Drop) -> None:
        drop.put("2024-01-01 03:00:00,4,0\n").put_table(self.table(pa.array([0.0, -0.0, 0.0]))).run()
        assert drop.targets() == {"0": [1, 2, 3, 4]}

    def test_leading_zeros_make_another_item(self, drop: Drop) -> None:
        drop.put("2024-01-01 00:00:00,4,0123\n").put_table(self.table(pa.array([123.0] * 3))).run()
        assert drop.targets().keys() == {"0123", "123"}


class TestNamesThatLookAlike:
    """Kind 11: what may be one item under two names is reported, and left as it is."""

    @pytest.mark.parametrize(
        "names",
        [
            ("A1", "a1"),
            ("A1", "A1 "),
            ("A1", "A\u200b1"),
            ("A 1", "A\u00a01"),
            ("007", "7"),
            ("7", "7.0"),
            ("'007", "007"),
            ("Z\u00fc", "Zu\u0308"),
        ],
    )
    def test_are_said_to_be_series_of_their_own(self, drop: Drop, names: tuple[str, str]) -> None:
        for name in (*names, "b"):
            drop.put(HOURS.replace(",a", f",{name}"))
        notes = [note for note in drop.run().notes if "are series of their own" in note]
        assert set(drop.targets()) == {*names, "b"}
        assert len(notes) == 1
        assert " and ".join(map(ascii, sorted(names))) in notes[0]

    @pytest.mark.parametrize("names", [("10", "100"), ("0", "00x"), ("a-1", "a1"), ("\u00fc", "u"), ("1.5", "15")])
    def test_others_are_not(self, drop: Drop, names: tuple[str, str]) -> None:
        for name in names:
            drop.put(HOURS.replace(",a", f",{name}"))
        assert not any("are series of their own" in note for note in drop.run().notes)


class TestManyFiles:
    """Kind 8: what is said of many files is said in a few lines."""

    def test_exports_that_overlap(self, drop: Drop) -> None:
        for _ in range(12):
            drop.put("timestamp,target_value,item_id,x\n" + HOURS.replace(",a", ",a,1"))
        notes = drop.run().notes
        assert "columns that the schema does not have were ignored: x (in 12 files, such as train/11.csv)" in notes
        assert "3 rows of train/0.csv gave way to train/11.csv, which is newer" in notes
        assert "18 more rows of 11 files gave way to newer ones" in notes
        assert len(notes) <= 10

    @pytest.mark.parametrize(("step", "frequency", "one_in"), [(7, "D", "7"), (1, "H", "24"), (1, "D", "")])
    def test_rows_that_come_less_often_than_declared(self, drop: Drop, step: int, frequency: str, one_in: str) -> None:
        days = [datetime(2024, 1, 1) + timedelta(days=step * number) for number in range(10)]
        report = drop.put(rows(*(f"{day},1,a" for day in days))).run(params_for(frequency=frequency))
        said = [
            note for note in report.notes if note.startswith(f"of the periods of {frequency} about one in {one_in} ")
        ]
        assert len(said) == bool(one_in)


class TestRowsThatAreOdd:
    """Kinds 7 and 12: what spreadsheets and null dates leave is no row, or is reported."""

    @pytest.mark.parametrize("blank", [",,", " , ,", ",,,,", ",, "])
    def test_delimiters_alone_are_no_row(self, drop: Drop, blank: str) -> None:
        report = drop.put(
            "timestamp,target_value,item_id\n" + HOURS + f"{blank}\n" * 50 + "2024-01-01 03:00:00,4,a\n"
        ).run()
        assert (report.rows_read, drop.targets()) == (4, {"a": [1, 2, 3, 4]})

    @pytest.mark.parametrize(("odd", "count"), [(["1970-01-01"], 1), (["1900-01-01", "1900-01-02"] * 6, 12), ([], 0)])
    def test_rows_far_before_all_others_are_reported(self, drop: Drop, odd: list[str], count: int) -> None:
        days = [*odd, *(f"{datetime(2024, 1, 1) + timedelta(days=number):%Y-%m-%d}" for number in range(200))]
        report = drop.put(rows(*(f"{day},1,a" for day in days))).run(params_for(frequency="D", pattern="yyyy-MM-dd"))
        said = [note for note in report.notes if "far before all others" in note]
        assert [note.split(" far")[0] for note in said] == ([f"{count} row{'s' * (count > 1)}"] if count else [])
        assert report.manifest.first[:10] == days[0]

    @pytest.mark.parametrize(
        ("data", "forecast", "said"),
        [
            ("W", "M", True),
            ("2D", "W", True),
            ("5H", "D", True),
            ("D", "M", False),
            ("6H", "W", False),
            ("3M", "Y", False),
        ],
    )
    def test_periods_that_hold_no_whole_ones_are_reported(self, data: str, forecast: str, said: bool) -> None:
        document = sample_params()
        document["Datasets"][0]["DataFrequency"] = data
        document["Predictor"]["FeaturizationConfig"]["ForecastFrequency"] = forecast
        notes = parse_params(document).notes
        assert any(f"don't consist of whole periods of {data}" in note for note in notes) == said


class TestMarksOfMissingValues:
    """Kind 10: what spreadsheets and statistics write where a value is missing is no bad row, and no 0."""

    MARKS = (
        "#N/A",
        "#N/A N/A",
        "#NV",
        "#DIV/0!",
        ".",
        "..",
        "-",
        "--",
        "\u2013",
        " - ",
        "n.a.",
        "<NA>",
        "(null)",
        "-1.#IND",
        ":",
    )

    def test_count_as_missing_and_are_said(self, drop: Drop) -> None:
        times = [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(48)]
        cells = [self.MARKS[hour // 3] if hour % 3 == 1 and hour < 45 else "7" for hour in range(48)]
        text = rows(
            "timestamp,target_value,item_id", *(f"{time},{cell},a" for time, cell in zip(times, cells, strict=True))
        )
        sample = sample_files(drop.put(text).files)
        params = infer(sample.header, sample.rows)
        said = "Guessed: missing values of target_value are written '-', '#N/A', '#N/A N/A', '#NV', and are no zeros (15 of 48"
        assert [note for note in params.notes if note.startswith(said)]
        drop.run(params)
        assert np.isnan(drop.targets()["a"]).sum() == len(self.MARKS)

    @pytest.mark.parametrize("mark", ["#REF!", "closed", "*", "-5-", "1.2.3", "0-"])
    def test_other_texts_are_bad_rows(self, drop: Drop, mark: str) -> None:
        assert f"{mark!r} is not a number" in str(drop.put(HOURS + f"2024-01-01 03:00:00,{mark},a\n").fail())


class TestTimesInParquet:
    """Kind 9: instants and clock times of Parquet mean what they mean in CSV, whatever the machine's own clock is."""

    @pytest.mark.parametrize("unit", ["us", "ns"])
    @pytest.mark.parametrize("clock", ["America/New_York", "Asia/Kolkata"])
    def test_instants_are_those_of_the_zone(
        self, drop: Drop, monkeypatch: pytest.MonkeyPatch, unit: str, clock: str
    ) -> None:
        monkeypatch.setenv("TZ", clock)
        midnights = [datetime(2024, 3, 30 + day, tzinfo=ZoneInfo("Europe/Berlin")) for day in range(2)]
        times = pa.array(midnights, pa.timestamp(unit, "Europe/Berlin"))
        drop.put_table(pa.table({"timestamp": times, "target_value": [1.0, 2.0], "item_id": ["a", "a"]}))
        report = drop.run(params_for(frequency="D", chronos={"TimeZone": "Europe/Berlin"}))
        assert (report.manifest.first, report.manifest.last) == ("2024-03-30T00:00:00", "2024-03-31T00:00:00")
        sample = sample_files(drop.files)
        assert [row[0] for row in sample.rows] == ["2024-03-30 00:00:00+01", "2024-03-31 00:00:00+01"]

    def test_digits_may_be_a_number(self, drop: Drop) -> None:
        days = pa.array([20240131, 20240201])
        drop.put_table(pa.table({"timestamp": days, "target_value": [1.0, 2.0], "item_id": ["a", "a"]}))
        drop.run(params_for(frequency="D", pattern="yyyyMMdd"))
        assert drop.targets() == {"a": [1, 2]}
        assert "of type BIGINT; store timestamps or text" in str(drop.fail(params_for(frequency="D")))

    def test_clock_times_are_those_of_the_zone_as_in_csv(self, drop: Drop) -> None:
        params = params_for(pattern="yyyy-MM-dd'T'HH:mm:ssXXX", chronos={"TimeZone": "Europe/Berlin"})
        drop.put("2024-07-01T22:00:00+02:00,1,a\n2024-07-01T23:00:00,2,a\n")
        times = pa.array([datetime(2024, 7, 2, hour) for hour in range(2)], pa.timestamp("us"))
        drop.put_table(pa.table({"timestamp": times, "target_value": [3.0, 4.0], "item_id": ["a", "a"]})).run(params)
        assert drop.targets() == {"a": [1, 2, 3, 4]}


def pattern(*values: float, count: int, trend: float = 0.01) -> np.ndarray:
    return np.resize(np.array(values, dtype=float), count) + trend * np.arange(count)


class TestTheNaiveForecastBeside:
    """Kind 13: a model is never called better than naive where a season of the calendar does better."""

    @pytest.mark.parametrize(
        ("frequency", "values", "count", "horizon", "name"),
        [
            ("D", (0, 9, 8, 9, 12, 20, 25), 150, 14, "seasonal naive, 7 days"),  # closed on Sundays
            ("D", (5, 9, 8, 9, 12, 20, 25, 6, 9, 8, 9, 12, 20, 24), 150, 14, "seasonal naive, 7 days"),  # paid biweekly
            ("30min", tuple(range(48)) * 5 + (3,) * 96, 336 * 4, 48, "seasonal naive, 168 h"),  # offices
            ("M", (5, 5, 6, 7, 5, 5, 6, 5, 6, 9, 20, 60), 72, 6, "seasonal naive, 12 months"),  # Christmas
            ("W", (3,) * 40 + (9, 20, 40, 60, 80, 90) + (30,) * 6, 260, 8, "seasonal naive, 52 weeks"),
            ("15min", (1, 1, 9, 1), 600, 12, "seasonal naive, 1 h"),
        ],
    )
    def test_the_season_that_people_would_use_is_found(
        self, frequency: str, values: tuple[float, ...], count: int, horizon: int, name: str
    ) -> None:
        past = pattern(*values, count=count)
        assert choose_baseline([Past(past, past)], Frequency.parse(frequency), horizon).name == name

    def test_one_odd_series_does_not_decide_for_the_others(self) -> None:
        weekly = pattern(1, 9, 8, 9, 12, 20, 25, count=150)
        walk = np.cumsum(np.random.default_rng(0).normal(size=150)) + 50
        pasts = [Past(values, values) for values in (walk, *(weekly * scale for scale in range(1, 8)))]
        assert choose_baseline(pasts, Frequency.parse("D"), 7).season == 7

    @pytest.mark.parametrize(("level", "word"), [(12.0, "worse than"), (None, "at least as good as")])
    def test_better_than_the_last_value_is_not_better_than_naive(
        self, tmp_path: Path, level: float | None, word: str
    ) -> None:
        params = make_params(frequency="D", horizon=7)
        values = pattern(1, 9, 8, 9, 12, 20, 25, count=70)
        made = values[63:] if level is None else np.full(7, level)
        forecast = {name: (made + step).tolist() for name, step in (("p10", -0.01), ("p50", 0), ("p90", 0.01))}
        dataset = write_dataset(tmp_path / "dataset", params, [MadeSeries(("a",), "2024-01-01", values)])
        path = write_forecast(tmp_path / "forecast.parquet", params, "2024-03-04", {("a",): forecast})
        report = evaluate_partition(path, DatasetFolder(dataset), params, np.datetime64("2024-03-03", "us"))
        last_value = np.abs(values[62] - values[63:]).sum()
        assert np.abs(made - values[63:]).sum() < last_value
        assert f"{word} seasonal naive, 7 days" in check_accuracy(report).description


LEVELS = (0.1, 0.5, 0.9)


class TestNothingBelowZero:
    """Kind 14: what was never negative is not forecast so, and quantiles and mean stay one distribution."""

    @pytest.mark.parametrize(
        "quantiles", [(-0.0, 0.0, 0.0), (-3.0, -0.0, 0.0), (-1e-300, -0.0, 5.0), (-9.0, -5.0, -1.0)]
    )
    def test_a_zero_has_no_sign(self, quantiles: tuple[float, ...]) -> None:
        made = np.array([quantiles])
        clipped, mean = clip_at_zero(made, mean_of_quantiles(made, LEVELS), LEVELS)
        assert not np.signbit(clipped).any()
        assert not np.signbit(mean).any()

    @given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3).map(sorted))
    def test_whole_numbers_stay_in_order_above_zero_and_near(self, values: list[float]) -> None:
        whole = in_whole_numbers(np.array([values]), [True])[0]
        assert (np.diff(whole) >= 0).all()
        assert (whole >= 0).all()
        assert is_integral(whole)
        assert np.abs(whole - values).max() < 0.5 + 1e-9

    def test_whole_numbers_beyond_the_exact_ones_stay(self) -> None:
        values = np.array([[2.0**53, 2.0**60, 1e300]])
        assert np.array_equal(in_whole_numbers(values, [True]), values)

    def test_the_others_keep_their_fractions(self) -> None:
        values = np.array([[0.4, 1.5, 2.6], [0.4, 1.5, 2.6]])
        assert in_whole_numbers(values, [True, False]).tolist() == [[0, 2, 3], [0.4, 1.5, 2.6]]

    @pytest.mark.parametrize(
        ("values", "whole"), [([1, np.nan, 3], True), ([1, 2.5], False), ([np.nan], True), ([-4, 0], True)]
    )
    def test_gaps_are_no_fractions(self, values: list[float], whole: bool) -> None:
        assert is_integral(np.array(values)) == whole


class TestColumnsByTheirPlace:
    """Kind 16: a header that fits no schema is read by place where all fits; a column may be called Type."""

    @pytest.mark.parametrize(
        "text",
        [
            "timestamp,Menge,item_id\n" + HOURS,  # one name of three is another
            '"Time Stamp";"Units Sold";"Article No."\n' + HOURS.replace(",", ";"),
            "\ufeffDate Time\tQty (pcs)\tSKU #\r\n" + HOURS.replace(",", "\t").replace("\n", "\r\n"),
            "Type,type.1,TYPE 2\n" + HOURS,
        ],
    )
    def test_the_service_read_these(self, drop: Drop, text: str) -> None:
        report = drop.put(text).run()
        assert drop.targets() == {"a": [1, 2, 3]}
        assert report.rows_read == 3
        assert any("read by their place" in note for note in report.notes)

    def test_in_gzip_too(self, drop: Drop) -> None:
        drop.put(gzip.compress(("ds,y,sku\n" + HOURS).encode()), "a.csv.gz").run()
        assert drop.targets() == {"a": [1, 2, 3]}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (rows("ds,y,sku,colour", "2024-01-01 00:00:00,1,a,red"), "has 4 columns instead of 3"),  # which one is it?
            (rows("ds,y", "2024-01-01 00:00:00,1"), "has 2 columns instead of 3"),
            (rows("ds,sku,y", "2024-01-01 00:00:00,a,1"), "there is no column"),
            (rows("ds,y,timestamp", "2024-01-01 00:00:00,1,a"), "there is no column"),  # a known name elsewhere
        ],
    )
    def test_what_does_not_fit_is_refused_with_its_columns(self, drop: Drop, text: str, reason: str) -> None:
        said = str(drop.put(text).fail())
        assert "train/0.csv" in said
        assert reason in said

    @pytest.mark.parametrize("name", ["type", "Type", "TYPE"])
    def test_a_column_called_type_may_be_a_key(self, drop: Drop, name: str) -> None:
        days = [datetime(2024, 1, 1) + timedelta(days=number) for number in range(40)]
        made = [[item, kind, f"{day:%Y-%m-%d}", f"{day.day}.5"] for day in days for item in "ab" for kind in ("x", "y")]
        params = infer(["item_id", name, "date", "qty"], made)
        renamed = f"c_{name}"  # `type` is a name of the tables' own
        assert (params.item_column, params.dimensions) == ("item_id", (renamed,))
        declared = params_for(columns=("timestamp", "target_value", "item_id", renamed), dimensions=(renamed,))
        drop.put(f"timestamp,target_value,item_id,{name}\n" + HOURS.replace(",a", ",a,x")).run(declared)
        assert drop.targets() == {("a", "x"): [1, 2, 3]}

    @pytest.mark.parametrize(
        ("names", "ours"),
        [((), "type"), (("TYPE",), "forecast_type"), (("type", "forecast_type"), "forecast_forecast_type")],
    )
    def test_the_columns_of_forecast_csv_have_names_of_their_own(
        self, tmp_path: Path, names: tuple[str, ...], ours: str
    ) -> None:
        params = make_params()
        params = make_params(attributes=(*params.attributes, *(Attribute(name, "string") for name in names)))
        band = {"p10": [1.0], "p50": [2.0], "p90": [3.0]}
        forecast = write_forecast(tmp_path / "forecast.parquet", params, "2024-01-02", {("a",): band})
        assert write_forecast_csv(tmp_path, forecast, None, params).columns[-1] == ours
        header = (tmp_path / "forecast.csv").read_text().splitlines()[0].split(",")
        assert len({name.casefold() for name in header}) == len(header)


class TestDailyLife:
    """Kind 18: what is left out is named with its reason, and what is asked for is answered."""

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("sales.xls", "neither CSV nor Parquet"),
            ("export.json", "neither CSV nor Parquet"),
            ("scan.pdf", "neither CSV nor Parquet"),
            ("a.csv.zip", "neither CSV nor Parquet"),
            ("2024.01/notes.docx", "neither CSV nor Parquet"),
            ("~$sales.csv", "temporary"),
            ("sales.csv.crdownload", "temporary"),
            (".DS_Store", "hidden"),
            ("_delta_log/0.parquet", "hidden"),
            ("README", "neither CSV nor Parquet"),
            ("SALES.CSV", None),
            ("2024.01/part-0000", None),
            ("A.CSV.GZ", None),
            ("x.PARQ", None),
        ],
    )
    def test_files_are_data_or_named(self, name: str, reason: str | None) -> None:
        found = why_ignored(ObjectInfo(f"train/{name}", 9, "e", datetime.now(UTC)))
        assert found is None if reason is None else found is not None and reason in found

    def test_an_answer_in_csv_has_every_digit(self, tmp_path: Path) -> None:
        value = 0.1 + 0.2
        band = {"p10": [value], "p50": [1e-9], "p90": [123456789.123]}
        path = write_forecast(tmp_path / "forecast.parquet", make_params(), "2024-01-02", {("-rf *",): band})
        text = render_csv(query_forecast(path, SeriesQuestion("-rf *")))
        assert text == f"timestamp,p10,p50,p90\n2024-01-02T00:00:00,{value!r},1e-09,123456789.123"

    @pytest.mark.parametrize("asked", ["item 1", "ITEM-1", "item-1 "])
    def test_a_name_that_is_nearly_one_is_answered_with_that(self, tmp_path: Path, asked: str) -> None:
        band = {"p10": [1.0], "p50": [2.0], "p90": [3.0]}
        forecasts_by_key = {("item-1",): band, ("other",): band}
        path = write_forecast(tmp_path / "forecast.parquet", make_params(), "2024-01-02", forecasts_by_key)
        with pytest.raises(QueryError, match=r"did you mean 'item-1'"):
            query_forecast(path, SeriesQuestion(asked))


def status_of(method: str, path: str, headers: list[tuple[str, str]], content: bytes = b"{}") -> int:
    """What a guarded server on loopback answers."""

    async def ask() -> int:
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
        routes = [Route("/{rest:path}", lambda _: PlainTextResponse("done"), methods=methods)]
        transport = httpx.ASGITransport(WebGuard(Starlette(routes=routes), json_only=["/graphql"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as client:
            return (await client.request(method, path, headers=headers, content=content)).status_code

    return asyncio.run(ask())


JSON = ("content-type", "application/json")
HOST = ("host", "127.0.0.1:3000")


class TestStrangers:
    """Kind 19: a foreign page drives nothing, and what is damaged is told in a sentence that says what to do."""

    @pytest.mark.parametrize(
        ("method", "path", "headers", "status"),
        [
            ("POST", "/graphql", [HOST, ("content-type", "Application/JSON; charset=utf-8")], 200),
            ("POST", "/graphql", [HOST, ("content-type", "text/json")], 415),
            ("POST", "/graphql", [HOST, ("content-type", "text/plain; application/json")], 415),
            ("POST", "/graphql/", [HOST, ("content-type", "text/plain")], 415),
            ("PUT", "/graphql", [HOST, ("content-type", "text/plain")], 415),
            ("HEAD", "/graphql?query=mutation{x}", [HOST], 405),
            ("GET", "/graphql?query=mutation{x}", [HOST, ("sec-fetch-site", "none")], 405),
            ("POST", "/graphql", [("host", "127.0.0.1.:3000"), JSON], 421),
            ("POST", "/graphql", [("host", "127.1:3000"), JSON], 421),
            ("POST", "/graphql", [("host", "localhost.evil.example"), JSON], 421),
            ("POST", "/graphql", [HOST, ("host", "evil.example"), JSON], 421),
            ("POST", "/graphql", [HOST, JSON, ("origin", "http://127.0.0.1:3000.evil.example")], 403),
            ("POST", "/graphql", [HOST, JSON, ("origin", "http://127.0.0.1")], 403),
            ("DELETE", "/models/1", [HOST, ("sec-fetch-site", "same-site")], 403),
        ],
    )
    def test_a_request_is_our_own_or_refused(
        self, method: str, path: str, headers: list[tuple[str, str]], status: int
    ) -> None:
        assert status_of(method, path, headers) == status

    @pytest.mark.parametrize(
        "text", ["", "{", "null", "[]", '"dataset"', "{}", '{"format_version": "new"}', '{"format_version": 99}', "\0"]
    )
    def test_a_manifest_that_is_none_says_what_to_do(self, tmp_path: Path, text: str) -> None:
        (tmp_path / DATASET_MANIFEST).write_text(text)
        with pytest.raises(DatasetError, match=r"import the data again|upgrade"):
            Manifest.read(tmp_path)

    @pytest.mark.parametrize("name", ["a/" * 60 + "../" * 61 + "x", "./../x", "a/b/../../../x"])
    def test_long_ways_out_of_an_archive_are_refused(self, tmp_path: Path, name: str) -> None:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        with pytest.raises(ArchiveError, match="outside"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "inner" / "model")
        assert not list(tmp_path.rglob("x"))
