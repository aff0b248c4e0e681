"""Item metadata from users' files: one row for each item, whatever the files say twice."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chronos_assets.params.attributes import Attribute, CovariateSchema, MetadataParams
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.covariate_files import metadata_source, target_source
from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest, read_item_metadata
from chronos_assets.timeseries.dataset.metadata_importing import MetadataReport, import_metadata
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.shard_files import FolderFiles
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets_tests.timeseries.builders import MadeSeries, make_params, write_dataset

COLUMNS = (Attribute("brand", "string"), Attribute("size", "float"))
START = datetime(2024, 2, 1, tzinfo=UTC)


def params_of(**changes: str) -> ForecastParams:
    schema = CovariateSchema((Attribute("item_id", "string"), *COLUMNS), "item_id")
    return replace(make_params(frequency="D"), metadata=MetadataParams(schema), **changes)  # type: ignore[arg-type]


def run(folder: Path, *texts: str, params: ForecastParams | None = None) -> MetadataReport:
    params = params or params_of()
    dataset = write_dataset(
        folder / "dataset", params, [MadeSeries((item,), "2024-01-01", [1.0]) for item in ("a", "b", "c")]
    )
    files = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.csv"
        path.write_text(text)
        files.append(TrainFile(path, f"item_metadata/{number}.csv", START + timedelta(days=number)))
    source = metadata_source(files, params)
    assert source is not None
    return import_metadata(
        [source],
        FolderFiles(dataset),
        output=folder / "out",
        rejected=folder / "rejected",
        resources=Resources(threads=1),
    )


def test_one_row_for_each_item(tmp_path: Path) -> None:
    report = run(tmp_path, "item_id,brand,size\nb,Acme,2\na, Acme ,\n")
    items = read_item_metadata(tmp_path / "out")
    assert items.of("a")["brand"] == items.of("b")["brand"] == "Acme"
    assert math.isnan(items.of("a")["size"])  # type: ignore[arg-type]
    assert (report.manifest.items, report.manifest.uncovered, report.manifest.newcomers) == (2, 1, 0)
    assert report.manifest.constant == ("brand", "size")
    assert MetadataManifest.read(tmp_path / "out") == report.manifest


def test_the_newest_file_wins_and_equal_rows_are_one(tmp_path: Path) -> None:
    report = run(
        tmp_path,
        "item_id,brand,size\na,old,1\nb,x,1\n",
        "item_id,size,brand\na,,new\nnew,3,y\nnew,3,y\n",
    )
    items = read_item_metadata(tmp_path / "out")
    assert items.items == ("a", "b", "new")
    assert items.of("a")["brand"] == "new"
    assert math.isnan(items.of("a")["size"])  # type: ignore[arg-type]
    assert "items with metadata, but without a past: 1 (new)" in report.manifest.notes


def test_two_rows_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFailure, match=r"item_metadata/0.csv: item a has several rows that differ in size"):
        run(tmp_path, "item_id,brand,size\na,x,1\nb,x,1\na,x,2\n")


def test_files_without_a_header_are_read_by_place(tmp_path: Path) -> None:
    run(tmp_path, "a,x,1\nb,y,2\n")
    assert read_item_metadata(tmp_path / "out").of("b") == {"brand": "y", "size": 2.0}


def test_bad_rows_are_named_or_set_aside(tmp_path: Path) -> None:
    text = "item_id,brand,size\na,x,big\n,y,1\nb,z,2\n"
    with pytest.raises(ImportFailure, match="the item metadata can't be imported") as caught:
        run(tmp_path, text)
    assert [(row.line, row.column) for row in caught.value.rows] == [(2, "size"), (3, "item_id")]
    report = run(tmp_path, text, params=params_of(bad_rows="quarantine"))
    assert report.manifest.items == 1
    assert "big" in report.rejected_files["item_metadata/0.csv"].read_text()


def test_columns_of_the_train_files_give_the_latest_value(tmp_path: Path) -> None:
    params = make_params(frequency="D", timestamp_format="yyyy-MM-dd")
    params = replace(params, attributes=(*params.attributes, *COLUMNS), metadata=MetadataParams(columns=COLUMNS))
    series = [MadeSeries((item,), "2024-01-01", [1.0]) for item in ("a", "b")]
    dataset = write_dataset(tmp_path / "dataset", params, series)
    train = tmp_path / "train.csv"
    train.write_text(
        "item_id,timestamp,target_value,brand,size\n"
        "a,2024-01-03,1,new,\na,2024-01-01,1,old,5\nb,2024-01-01,1,x,7\nb,2024-01-02,1,x,\n"
    )
    source = target_source([TrainFile(train, "train/t.csv", START)], params, COLUMNS)
    assert source is not None
    report = import_metadata(
        [source],
        FolderFiles(dataset),
        output=tmp_path / "out",
        rejected=tmp_path / "rejected",
        resources=Resources(threads=1),
    )
    items = read_item_metadata(tmp_path / "out")
    assert items.of("a") == {"brand": "new", "size": 5.0}
    assert items.of("b") == {"brand": "x", "size": 7.0}
    assert report.manifest.notes == (
        "brand differs between rows of 1 items (a): the latest counts; a value that changes belongs in Chronos.Related",
    )
