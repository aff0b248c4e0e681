"""Related time series from users' files: read, aggregated, filled, put beside the dataset's shards."""

import gzip
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.calendar.frequencies import Alignment
from chronos_assets.params.attributes import Attribute, CovariateSchema, RelatedFilling, RelatedParams
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.covariate_files import related_source, target_source
from chronos_assets.timeseries.dataset.related import RelatedManifest, RelatedSeries, iter_related
from chronos_assets.timeseries.dataset.related_importing import RelatedReport, import_related
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.shard_files import FolderFiles
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets.timeseries.import_task import ImportFiles, ImportTask, run_import
from chronos_assets_tests.timeseries.builders import MadeSeries, make_params, write_dataset

NAN = math.nan


def daily(
    *,
    filling: dict[str, RelatedFilling] | None = None,
    columns: dict[str, str] | None = None,
    item: str | None = "item_id",
    dimensions: tuple[str, ...] = (),
    related_dimensions: tuple[str, ...] | None = None,
    known: dict[str, bool] | None = None,
    **changes: Any,
) -> ForecastParams:
    """Daily series with a horizon of three days, and related time series of `columns` (name -> type)."""
    columns = {"price": "float"} if columns is None else columns
    own = dimensions if related_dimensions is None else related_dimensions
    keys = [*([Attribute(item, "string")] if item else []), *(Attribute(name, "string") for name in own)]
    attributes = (*keys, Attribute("timestamp", "timestamp"))
    schema = CovariateSchema(
        (*attributes, *(Attribute(name, kind) for name, kind in columns.items())),  # type: ignore[arg-type]
        item,
        "timestamp",
        own,
    )
    return make_params(
        frequency="D",
        timestamp_format="yyyy-MM-dd",
        dimensions=dimensions,
        related=RelatedParams(schema, filling=tuple((filling or {}).items())),
        known_in_advance=tuple((known or {}).items()),
        **changes,
    )


class Drop:
    """A dataset of four days (1st to 4th of January) and files of related time series for it."""

    def __init__(self, folder: Path, params: ForecastParams, keys: list[tuple[str, ...]], *, shards: int = 2) -> None:
        self.folder = folder
        self.params = params
        series = [MadeSeries(key, "2024-01-01", [1.0, 2.0, 3.0, 4.0]) for key in keys]
        self.dataset = write_dataset(folder / "dataset", params, series, shards=shards)
        self.files: list[TrainFile] = []

    def put(self, text: str | bytes, name: str = "related/a.csv", *, days: int = 0) -> "Drop":
        path = self.folder / name.replace("/", "_")
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        self.files.append(TrainFile(path, name, datetime(2024, 2, 1, tzinfo=UTC) + timedelta(days=days)))
        return self

    def run(self, **options: Any) -> RelatedReport:
        source = related_source(self.files, self.params)
        assert source is not None
        return import_related(
            [source],
            self.params,
            FolderFiles(self.dataset),
            output=self.folder / "related",
            rejected=self.folder / "rejected",
            resources=Resources(threads=2),
            **options,
        )

    def series(self, **options: Any) -> dict[tuple[str, ...], RelatedSeries]:
        self.run(**options)
        return read_all(self.folder / "related")


def read_all(folder: Path) -> dict[tuple[str, ...], RelatedSeries]:
    manifest = RelatedManifest.read(folder)
    shards = [manifest.shard(folder, number) for number in range(manifest.n_shards)]
    return {one.key: one for shard in shards if shard for one in iter_related(shard, manifest)}


def days(one: RelatedSeries, manifest: RelatedManifest, name: str) -> dict[str, Any]:
    """Values by day of January."""
    starts = manifest.grid.start(one.first + np.arange(len(one))).astype("datetime64[D]")
    return {str(day)[-2:]: value for day, value in zip(starts, one.values[name], strict=True)}


def test_values_stand_on_the_datasets_grid_up_to_the_horizon(tmp_path: Path) -> None:
    drop = Drop(tmp_path, daily(), [("a",), ("b",)])
    drop.put(
        "item_id,timestamp,price\na,2023-12-30,9\na,2024-01-02,2\na,2024-01-04,4\na,2024-01-09,9\nb,2024-01-07,7\n"
    )
    found = drop.series()
    manifest = RelatedManifest.read(tmp_path / "related")
    a, b = found[("a",)], found[("b",)]
    # Before the dataset begins, and after its horizon ends, nothing is kept.
    np.testing.assert_equal(
        days(a, manifest, "price"), {"01": NAN, "02": 2, "03": NAN, "04": 4, "05": NAN, "06": NAN, "07": NAN}
    )
    assert days(b, manifest, "price") == {"07": 7}
    manifest.check(Manifest.read(drop.dataset))


def test_what_reaches_beyond_the_targets_end_is_known_in_advance_unless_said_otherwise(tmp_path: Path) -> None:
    rows = "item_id,timestamp,price,footfall\na,2024-01-04,1,5\na,2024-01-05,2,\n"
    columns = {"price": "float", "footfall": "integer"}
    for number, (known, expected) in enumerate(
        [({}, (True, False)), ({"price": False}, (False, False)), ({"footfall": True}, (True, True))]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = Drop(folder, daily(columns=columns, known=known), [("a",)]).put(rows).run().manifest
        assert tuple(attribute.known_in_advance for attribute in made.attributes) == expected
        assert [attribute.last for attribute in made.attributes] == ["2024-01-05T00:00:00", "2024-01-04T00:00:00"]


def test_a_stray_row_makes_no_attribute_known_in_advance(tmp_path: Path) -> None:
    rows = "".join(f"i{number},2024-01-04,{number}\n" for number in range(21))
    drop = Drop(tmp_path, daily(), [("a",)]).put(f"item_id,timestamp,price\n{rows}i1,2024-01-06,5\ni2,2024-01-05,5\n")
    made = drop.run().manifest
    assert [(each.known_in_advance, each.last) for each in made.attributes] == [(False, "2024-01-06T00:00:00")]
    assert any("for 2 of 21 series only" in note for note in made.notes)
    drop.put("i3,2024-01-05,5\n", "related/b.csv", days=1)
    assert [each.known_in_advance for each in drop.run().manifest.attributes] == [True]


def test_a_row_dated_years_ahead_supplies_no_future(tmp_path: Path) -> None:
    drop = Drop(tmp_path, daily(), [("a",), ("b",)]).put("item_id,timestamp,price\na,2024-01-04,1\nb,2024-01-04,2\n")
    drop.put("item_id,timestamp,price\na,2042-01-04,1\n", "related/b.csv")
    assert [each.known_in_advance for each in drop.run().manifest.attributes] == [False]


def test_a_flag_that_only_stands_where_it_is_set_is_reported(tmp_path: Path) -> None:
    drop = Drop(tmp_path, daily(), [("a",)]).put("item_id,timestamp,price\na,2024-01-01,1\na,2024-01-04,1\n")
    assert any("the same value in all periods that have one, 50% from" in note for note in drop.run().manifest.notes)
    drop.put("item_id,timestamp,price\na,2024-01-02,1\na,2024-01-03,1\n", "related/b.csv")
    assert any("price has the same value everywhere" in note for note in drop.run().manifest.notes)


def test_gaps_are_filled_as_each_attribute_says(tmp_path: Path) -> None:
    filling = {
        "price": RelatedFilling("mean", "zero", futurefill="max"),
        "units": RelatedFilling(futurefill="value", futurefill_value=-1.5),
    }
    drop = Drop(tmp_path, daily(filling=filling, columns={"price": "float", "units": "float"}), [("a",)])
    drop.put("item_id,timestamp,price,units\na,2024-01-01,2,1\na,2024-01-03,6,\na,2024-01-06,,8\n")
    one = drop.series()[("a",)]
    manifest = RelatedManifest.read(tmp_path / "related")
    # Between two values the mean, up to the dataset's end zero, then the largest value.
    assert days(one, manifest, "price") == {"01": 2, "02": 2, "03": 6, "04": 0, "05": 6, "06": 6, "07": 6}
    np.testing.assert_equal(
        days(one, manifest, "units"), {"01": 1, "02": NAN, "03": NAN, "04": NAN, "05": NAN, "06": 8, "07": -1.5}
    )
    # What is filled to the horizon is known in advance.
    assert [attribute.known_in_advance for attribute in manifest.attributes] == [True, True]


def test_finer_rows_become_means_and_most_frequent_texts(tmp_path: Path) -> None:
    params = daily(
        columns={"price": "float", "event": "string", "stock": "integer"},
        filling={"stock": RelatedFilling(aggregation="max")},
    )
    params = replace(params, timestamp_format="yyyy-MM-dd HH:mm:ss")
    rows = [("00", 1, "sale", 5), ("06", 2, "none today", 9), ("12", 6, "sale", 1), ("18", 3, "", 2)]
    text = "item_id,timestamp,price,event,stock\n"
    text += "".join(f"a,2024-01-02 {hour}:00:00,{price},{event},{stock}\n" for hour, price, event, stock in rows)
    one = Drop(tmp_path, params, [("a",)]).put(text).series()[("a",)]
    assert {name: values.tolist() for name, values in one.values.items()} == {
        "price": [3.0],
        "event": ["sale"],
        "stock": [9.0],
    }


@pytest.mark.parametrize(
    ("prices", "aggregation", "value", "said"),
    [
        (
            "3 5",
            None,
            4,
            "price: 1 row has the timestamp of another row of the same series, with other values at 1 of the ",
        ),
        ("3 5", "max", 5, "(3 and 5 for a at 2024-01-02): the largest is taken"),
        ("3 3 3", None, 3, ""),
        ("3 3 3", "sum", 9, "2 rows have the timestamp of another row of the same series: they are added up"),
    ],
)
def test_rows_of_one_time_are_reported_where_it_makes_a_difference(
    tmp_path: Path, prices: str, aggregation: Any, value: float, said: str
) -> None:
    drop = Drop(tmp_path, daily(filling={"price": RelatedFilling(aggregation=aggregation)}), [("a",), ("b",)])
    drop.put("item_id,timestamp,price\n" + "".join(f"a,2024-01-02,{price}\n" for price in prices.split()))
    notes = drop.run().manifest.notes
    assert read_all(tmp_path / "related")[("a",)].values["price"].tolist() == [value]
    assert any(said in note for note in notes if "another row" in note) == bool(said)


def test_texts_of_one_time_that_differ_are_refused_but_in_an_hour_that_comes_twice(tmp_path: Path) -> None:
    params = replace(daily(columns={"sky": "string"}), timestamp_format="yyyy-MM-dd HH:mm")
    drop = Drop(tmp_path, params, [("a",)])
    drop.put("item_id,timestamp,sky\na,2024-01-02 00:00,clear\na,2024-01-02 00:00,clear\n")
    assert not any("another row" in note for note in drop.run().manifest.notes)
    drop.put("item_id,timestamp,sky\na,2024-01-03 02:00,rain\na,2024-01-03 02:00,clear\n", "related/b.csv")
    with pytest.raises(
        ImportFailure, match="differ in sky, such as 'clear' and 'rain' for a at 2024-01-03 02:00:00; keep"
    ):
        drop.run()
    drop.files.pop()
    drop.put("item_id,timestamp,sky\na,2023-10-29 02:00,rain\na,2023-10-29 02:00,clear\n", "related/b.csv")
    assert any("sky: 2 rows have the timestamp of another row" in note for note in drop.run().manifest.notes)


def test_rows_without_item_or_dimension_apply_to_all(tmp_path: Path) -> None:
    keys = [("a", "n"), ("a", "s"), ("b", "n")]
    shops = daily(dimensions=("region",), item=None, related_dimensions=("region",))
    found = Drop(tmp_path, shops, keys).put("region,timestamp,price\nn,2024-01-01,1\ns,2024-01-01,2\n").series()
    assert {key: one.values["price"].tolist() for key, one in found.items()} == {
        ("a", "n"): [1.0],
        ("a", "s"): [2.0],
        ("b", "n"): [1.0],
    }
    for folder, params, text in (
        ("items", daily(dimensions=("region",), related_dimensions=()), "item_id,timestamp,price\na,2024-01-01,1\n"),
        ("all", daily(dimensions=("region",), item=None, related_dimensions=()), "timestamp,price\n2024-01-01,1\n"),
    ):
        (tmp_path / folder).mkdir()
        drop = Drop(tmp_path / folder, params, keys).put(text)
        expected = {("a", "n"), ("a", "s"), ("b", "n")} if folder == "all" else {("a", "n"), ("a", "s")}
        assert drop.series().keys() == expected
        assert RelatedManifest.read(tmp_path / folder / "related").uncovered == 3 - len(expected)


def test_series_without_a_past_are_kept(tmp_path: Path) -> None:
    found = Drop(tmp_path, daily(), [("a",)]).put("item_id,timestamp,price\nnew,2024-01-05,1\n").series()
    assert found.keys() == {("new",)}


def test_the_newest_file_wins(tmp_path: Path) -> None:
    drop = Drop(tmp_path, daily(), [("a",)])
    drop.put("item_id,timestamp,price\na,2024-01-01,1\na,2024-01-02,2\n", days=1)
    drop.put("price,item_id,timestamp\n9,a,2024-01-01\n", "related/b.csv.gz", days=2)
    drop.files[1].path.write_bytes(gzip.compress(drop.files[1].path.read_bytes()))
    drop.put("a,2024-01-02,8\n", "related/old.csv")  # without a header, and older
    assert drop.series()[("a",)].values["price"].tolist() == [9.0, 2.0]


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    drop = Drop(tmp_path, daily(columns={"promotion": "integer", "event": "string", "price": "float"}), [("7",)])
    table = pa.table(
        {
            "item_id": [7, 7],
            "timestamp": [datetime(2024, 1, 1), datetime(2024, 1, 2)],
            "promotion": [True, None],
            "event": pa.array(["sale", None]).dictionary_encode(),
            "price": pa.array([1.25, None], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    drop.put((tmp_path / "p.parquet").read_bytes(), "related/p.parquet")
    one = drop.series()[("7",)]
    np.testing.assert_equal(one.values["promotion"], [1.0])
    assert one.values["event"].tolist() == ["sale"]
    assert one.values["price"].tolist() == [1.25]


BAD = """item_id,timestamp,price,event
a,2024-01-01,1,x
a,2024-13-01,2,x
a,2024-01-02,cheap,x
,2024-01-02,1,x
a,2024-01-03,inf,x
a,2024-01-04,4,y
"""


def test_bad_rows_are_reported_with_line_and_column(tmp_path: Path) -> None:
    drop = Drop(tmp_path, daily(columns={"price": "float", "event": "string"}), [("a",)]).put(BAD)
    with pytest.raises(ImportFailure, match="the related time series can't be imported") as caught:
        drop.run()
    assert [(row.line, row.column, row.reason) for row in caught.value.rows] == [
        (3, "timestamp", "bad_timestamp"),
        (4, "price", "not_a_number"),
        (5, "item_id", "empty_identifier"),
        (6, "price", "not_finite"),
    ]
    assert not list((tmp_path / "related").iterdir())


def test_bad_rows_are_set_aside(tmp_path: Path) -> None:
    params = daily(columns={"price": "float", "event": "string"}, bad_rows="quarantine")
    report = Drop(tmp_path, params, [("a",)]).put(BAD).run()
    assert report.manifest.rejected == {
        "bad_timestamp": 1,
        "not_a_number": 1,
        "empty_identifier": 1,
        "not_finite": 1,
    }
    assert "cheap" in report.rejected_files["related/a.csv"].read_text()
    assert report.rows_read == 6
    assert read_all(tmp_path / "related")[("a",)].values["event"].tolist() == ["x", None, None, "y"]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    drop = Drop(tmp_path, daily(), [("a",)]).put("item_id,timestamp,prise\na,2024-01-01,1\n")
    with pytest.raises(ImportFailure, match=r"related/a.csv: there is no column 'price'; the file has"):
        drop.run()


def test_what_explains_nothing_or_is_missing_is_named(tmp_path: Path) -> None:
    params = daily(columns={"price": "float", "flat": "float", "empty": "string"})
    drop = Drop(tmp_path, params, [("a",), ("b",), ("c",)])
    drop.put(
        "item_id,timestamp,price,flat,empty\na,2024-01-01,1,3,\na,2024-01-07,2,3,NA\n"
        "b,2024-01-01,1,3,\nb,2024-01-05,2,,\nC ,2024-01-05,2,,\n"
    )
    made = drop.run().manifest
    assert (made.constant, made.empty, made.uncovered) == (("flat",), ("empty",), 1)
    assert made.items_without_future == {"price": 1, "flat": 1}
    assert [note.split(":")[0] for note in made.notes] == [
        "series of the dataset without related time series",
        "related time series of series that the dataset doesn't have",
        "names that differ only in case, blanks, forms of letters or leading zeros are not the same",
        "price is known in advance, but ends before the horizon for 1 series",
        "flat is known in advance, but ends before the horizon for 1 series",
        "flat has the same value in all periods that have one, 38% from the first to the last of each series; nothing is "
        "known of the others",
        "empty has no value at all",
        "price has a value in 38% of the periods from the first to the last of each series; nothing is known of the others",
    ]
    assert "'C ' and 'c'; write them as the train files do" in made.notes[2]
    assert made.notes[0].endswith(": 1 of 3 ('c')")
    assert made.notes[1].endswith(": 1 ('C ')")


def test_columns_of_the_train_files_stand_beside_those_of_related_files(tmp_path: Path) -> None:
    params = daily()
    own = (Attribute("footfall", "integer"), Attribute("event", "string"))
    assert params.related is not None
    params = replace(
        params,
        attributes=(*params.attributes, *own),
        related=replace(params.related, columns=own),
    )
    drop = Drop(tmp_path, params, [("a",), ("b",)]).put("item_id,timestamp,price\na,2024-01-02,2\n")
    train = tmp_path / "train.csv"
    train.write_text(
        "item_id,timestamp,target_value,footfall,event\na,2024-01-01,5,10,\nb,2024-01-01,5,11,x\na,2024-01-05,,12,y\n"
    )
    files = [TrainFile(train, "train/t.csv", datetime(2024, 2, 1, tzinfo=UTC))]
    sources = [related_source(drop.files, params), target_source(files, params, own)]
    report = import_related(
        [source for source in sources if source],
        params,
        FolderFiles(drop.dataset),
        output=tmp_path / "related",
        rejected=tmp_path / "rejected",
        resources=Resources(threads=1),
    )
    assert [(each.name, each.known_in_advance) for each in report.manifest.attributes] == [
        ("price", False),
        ("footfall", True),
        ("event", True),
    ]
    found = read_all(tmp_path / "related")
    np.testing.assert_equal(found[("a",)].values["footfall"], [10, NAN, NAN, NAN, 12])
    np.testing.assert_equal(found[("a",)].values["price"], [NAN, 2, NAN, NAN, NAN])
    assert found[("b",)].values["event"].tolist() == ["x"]


STARTS = np.arange("2021-01", "2024-01", dtype="datetime64[M]").astype("datetime64[D]")
ENDS = np.arange("2021-02", "2024-02", dtype="datetime64[M]").astype("datetime64[D]") - 1
BUSINESS = np.busday_offset(ENDS + 1, -1, roll="forward")
SUNDAYS = np.arange("2023-01-01", "2024-01-01", 7, dtype="datetime64[D]")
SHIFTS = np.arange("2024-01-01T06", "2024-02-01T06", 24, dtype="datetime64[h]")


@pytest.mark.parametrize(
    ("frequency", "target", "related", "said"),
    [
        ("W", SUNDAYS, SUNDAYS + 1, "2023-01-02T00:00 would count for the one of 2023-01-01T00:00; date both alike"),
        ("M", ENDS, STARTS, "2021-01-01T00:00 would count for the one of 2020-12-31T00:00"),
        ("M", ENDS, np.arange(STARTS[0], ENDS[-1]), "2021-01-30T00:00 would count for the one of 2020-12-31T00:00"),
        ("D", SHIFTS, SHIFTS.astype("datetime64[D]"), "2024-01-01T00:00 would count for the one of 2023-12-31T06:00"),
        ("W", SUNDAYS, SUNDAYS, ""),
        ("W", SUNDAYS, SUNDAYS[8:9] + 1, ""),  # a single event
        ("D", SHIFTS, SHIFTS + 6, ""),  # noon of the same day
        ("M", STARTS + 14, STARTS + 19, ""),
        ("W", SUNDAYS, np.arange(SUNDAYS[0], SUNDAYS[-1]), ""),
        ("M", STARTS, ENDS, ""),
        ("M", BUSINESS, BUSINESS, ""),
    ],
)
def test_rows_that_lie_elsewhere_in_a_period_than_the_targets_are_refused(
    tmp_path: Path, frequency: str, target: Any, related: Any, said: str
) -> None:
    columns = (Attribute("timestamp", "timestamp"), Attribute("price", "float"))
    schema = CovariateSchema(columns, None, "timestamp")
    params = make_params(frequency=frequency, related=RelatedParams(schema))

    def run(files: list[TrainFile], name: str, params: ForecastParams, **options: Any) -> Any:
        task = ImportTask(params, "1GB", **options.pop("task", {}))
        return run_import(
            task, ImportFiles(files, **options), dataset=tmp_path / name, report=tmp_path / f"{name}-report"
        )

    def written(name: str, lines: list[str]) -> list[TrainFile]:
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        return [TrainFile(tmp_path / f"{name}.csv", f"{name}/a.csv", datetime(2024, 2, 1, tzinfo=UTC))]

    def times(moments: Any) -> list[str]:
        return [str(moment).replace("T", " ") for moment in moments.astype("datetime64[s]")]

    train = written(
        "train", ["timestamp,target_value,item_id", *(f"{each},{n},a" for n, each in enumerate(times(target)))]
    )
    beside = written("related", ["timestamp,price", *(f"{each},{n}" for n, each in enumerate(times(related)))])
    run(train, "dataset", params)
    own = {"task": {"table": "related_time_series"}, "dataset": FolderFiles(tmp_path / "dataset")}
    if said:
        with pytest.raises(ImportFailure, match=said):
            run(beside, "out", params, **own)
        declared = replace(params, alignment=Alignment(**Manifest.read(tmp_path / "dataset").alignment or {}))
        assert run(beside, "out", declared, **own).manifest.rows
        return
    run(beside, "out", params, **own)
    if len(related) == len(target):
        np.testing.assert_equal(read_all(tmp_path / "out")[("a",)].values["price"], np.arange(len(target)))


@pytest.mark.process
def test_many_rows_go_through_the_disk_and_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"price": "float", "event": "string"}
    keys = [(f"i{number}",) for number in range(40)]
    rows = [
        f"i{item},2024-01-0{day},{item * day},{'odd' if (item + day) % 2 else 'even'}"
        for day in (3, 1, 2, 5)
        for item in range(40)
    ]
    versions = []
    for folder in ("memory", "disk"):
        (tmp_path / folder).mkdir()
        drop = Drop(tmp_path / folder, daily(columns=columns), keys, shards=5)
        drop.put("item_id,timestamp,price,event\n" + "\n".join(rows))
        if folder == "disk":
            monkeypatch.setattr(
                "chronos_assets.timeseries.dataset.partitioning.RowPartitions.__init__.__defaults__", (1,)
            )
        versions.append(drop.run().manifest.data_version)
    assert versions[0] == versions[1]
    found = read_all(tmp_path / "disk" / "related")
    assert found.keys() == set(keys)
    assert found[("i7",)].values["price"].tolist()[:3] == [7.0, 14.0, 21.0]
