"""The SQL tables as Glue has them: documents for CreateTable and UpdateTable, made from what the store shows.

Here: where each table's Parquet is, its columns, the partition projection, the views' text. Elsewhere:
calls (`tables.py`); what the columns mean (`platforms.tables`).

- `train_shards` is the version of the dataset that is shown, so that a refresh switches from one to the next at once.
  `train` is a view over it: SQL has NULL for what is missing, where the files have NaN, which would spoil every sum.
- `forecast_history`, `accuracy`, `anomalies`, `members`, `forecast_explanations` and `forecast_levels` have a folder for each
  partition, under stable names. Athena works out the partitions from `as_of`'s format (partition projection), so that a new
  one is there without a call. Their type is `date`, from the first partition on to tomorrow: `injected` would refuse queries
  without a WHERE, `enum` would need a call for each partition. It counts in days, which hits weekly and monthly keys too; a
  folder that isn't there costs one listing request and is no error.
- Keys of hourly windows stand escaped in the names of their folders, which a projection's template can't say. So these
  partitions are registered, each with its location, and a new one is there from the next refresh on.
- Glue has names in lower case. Parquet columns are found by name, whatever their case.

https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.partition_folders import partition_folder, partition_of
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.store import manifest_of, published_partitions
from chronos_assets.platforms.tables import (
    COMMENTS,
    MEMBER_VIEWS,
    PARTITION_TABLES,
    column_comment,
    forecast_columns,
    forecast_type_names,
    in_order,
    member_view_columns,
    member_view_sql,
    train_columns,
    view_keys,
    view_sql,
    what_if_columns,
)
from chronos_assets.store_layout import DATASET_KEY, FORECAST_KEY, history_key
from chronos_assets.system import document_digest
from chronos_assets.timeseries.dataset.duckdb_sql import identifier
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

SHARDS = "train_shards"
VIEW = "forecast_vs_history"

_Made = tuple[Sequence[str], Sequence[str]]  # dimensions and forecast types of a partition's files

# Which store a table is of, so that two of them can't take each other's tables away.
STORE_PARAMETER = "chronos-assets.store"
# Digest of a partition's columns, which a listing of partitions leaves out, since they are most of it.
COLUMNS_PARAMETER = "chronos-assets.columns"

_GLUE_TYPES = {
    "VARCHAR": "string",
    "TIMESTAMP": "timestamp",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "BIGINT": "bigint",
}
_SHARDS_COMMENT = "Files of the table train: NaN where it has NULL"
_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"


@dataclass(frozen=True)
class Contents:
    """What the store shows.

    Attributes:
        url: of the store.
        shards: `s3://` prefix of the dataset's version; of an empty folder if there is none.
        forecast: `s3://` prefix of the current forecast's partition; of an empty folder if there is none.
        first: key of the first partition; empty if there is none.
        registered: folder of a table -> names of its partitions' folders, where Athena can't work them out; empty where it can.
        train, current, what_if: column -> type (DuckDB's name) of the tables' files.
        partitions: those of `PARTITION_TABLES`, by table.
    """

    url: str
    shards: str
    forecast: str
    first: str
    registered: Mapping[str, Sequence[str]]
    train: Mapping[str, str]
    current: Mapping[str, str]
    what_if: Mapping[str, str]
    partitions: Mapping[str, Mapping[str, str]]


def read_contents(store: S3Store, params: ForecastParams) -> Contents:
    """Look at what is published; what isn't yet has the columns that are to come."""
    # By key; the folder of an hourly partition may have its former name.
    made = {partition_of(name): (name, manifest) for name, _, manifest in store.manifests("history")}
    history = {key: manifest for key, (_, manifest) in made.items() if key is not None}
    scored = [key for key, _, _ in published_partitions(store, "accuracy")]
    made_for = [*history, *scored]
    hourly = any(":" in key for key in made_for)  # some may be, of a store whose cadence was changed
    try:
        dataset = Manifest.from_json(store.read(DATASET_KEY, DATASET_MANIFEST))
        shards, dimensions = store.snapshot_uri(DATASET_KEY), dataset.dimensions
    except FileNotFoundError:
        shards, dimensions = f"{store.url}/{DATASET_KEY}/none/", params.dimensions
    types = forecast_type_names(params)
    shown = manifest_of(store, FORECAST_KEY)
    of_scenarios = [manifest for _, _, manifest in store.manifests("what_if_forecasts")]
    of_scored: list[_Made] = [(history[key]["dimensions"], ()) for key in scored if key in history]
    # By table; its partitions may have been made with other parameters.
    made_with: dict[str, list[_Made]] = {
        "forecast_history": [(one["dimensions"], one["columns"]) for _, one in sorted(history.items())],
        "accuracy": of_scored,
        "anomalies": of_scored,
        "members": [(one["dimensions"], ()) for one in history.values() if "predictor" in one],
        "forecast_levels": [((), one["columns"]) for _, _, one in store.manifests("levels")],
    }
    as_of = shown["as_of"] if shown else "none"
    forecast = f"history/{made[as_of][0]}" if as_of in made else history_key(as_of)
    return Contents(
        url=store.url,
        shards=shards,
        forecast=f"{store.url}/{forecast}/",
        first=min(made_for, default=""),
        registered={one.folder: tuple(store.folders(one.folder)) for one in PARTITION_TABLES.values()}
        if hourly
        else {},
        train=train_columns(dimensions),
        current=columns_of(shown) if shown else forecast_columns(params.dimensions, types),
        what_if=_united(
            [what_if_columns(manifest["dimensions"], manifest["columns"]) for manifest in of_scenarios]
            or [what_if_columns(params.dimensions, types)]
        ),
        partitions={
            name: _united(table.columns(*each) for each in made_with.get(name) or [(params.dimensions, types)])
            for name, table in PARTITION_TABLES.items()
        },
    )


def columns_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Column -> type of the forecast that a manifest is of."""
    return forecast_columns(manifest["dimensions"], manifest["columns"])


def _united(tables: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Columns of partitions that may have been made with other parameters: the table has all of them."""
    types = {name: kind for table in tables for name, kind in table.items()}
    return {name: types[name] for name in in_order(types)}


def table_inputs(contents: Contents, database: str) -> Iterator[dict[str, Any]]:
    """Every table and view, in an order in which each finds what it is over; the view `forecast_vs_history` is the last."""
    yield _table(contents, SHARDS, contents.train, contents.shards)
    yield _table(contents, "forecast", contents.current, contents.forecast)
    for name, table in PARTITION_TABLES.items():
        location = f"{contents.url}/{table.folder}/"
        # Said of registered ones, too: a table that was made with a projection has it until it is switched off.
        found = {"projection.enabled": "false"} if contents.registered else projection(location, contents.first)
        yield _table(contents, name, contents.partitions[name], location) | {
            "PartitionKeys": [_column(name, "as_of", "VARCHAR")],
            "Parameters": {**_parameters(contents), **found},
        }
    # The folder of each scenario, whose name the rows have: nothing has to be projected.
    yield _table(contents, "what_if_forecasts", contents.what_if, f"{contents.url}/what_if_forecasts/")
    train, current = ([name.lower() for name in columns] for columns in (contents.train, contents.current))
    yield _view(contents, database, "train", contents.train, _train_sql(train))
    members = {name.lower(): kind for name, kind in contents.partitions["members"].items()}
    for view in MEMBER_VIEWS:
        columns = member_view_columns(view, members)
        yield _view(contents, database, view, columns, member_view_sql(view, members))
    yield _view(contents, database, VIEW, _view_columns(train, current), view_sql(train, current))


def partition_inputs(contents: Contents, table: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The partitions that are registered of a table; None of one that has none, or whose Athena works out."""
    partitioned = PARTITION_TABLES.get(table["Name"])
    if partitioned is None or not contents.registered:
        return None
    storage = table["StorageDescriptor"]
    columns = [{"Name": column["Name"], "Type": column["Type"]} for column in storage["Columns"]]
    digest = document_digest(columns)
    return [
        {
            "Values": [key],
            "Parameters": {"classification": "parquet", COLUMNS_PARAMETER: digest},
            "StorageDescriptor": {**storage, "Columns": columns, "Location": f"{storage['Location']}{name}/"},
        }
        for name in contents.registered[partitioned.folder]
        if (key := partition_of(name)) is not None
    ]


def projection(location: str, first: str) -> dict[str, str]:
    """Properties by which Athena works out the partitions of a table.

    Args:
        location: of the table.
        first: key of the first partition; empty while there is none.
    """
    return {
        "projection.enabled": "true",
        "projection.as_of.type": "date",
        "projection.as_of.format": "yyyy-MM-dd",
        "projection.as_of.range": f"{first or 'NOW'},NOW+1DAYS",
        "projection.as_of.interval": "1",
        "projection.as_of.interval.unit": "DAYS",
        "storage.location.template": f"{location}{partition_folder('')}${{as_of}}/",
    }


def _table(contents: Contents, name: str, columns: Mapping[str, str], location: str) -> dict[str, Any]:
    """A table over Parquet files."""
    return {
        "Name": name,
        "Description": COMMENTS[name][0] if name in COMMENTS else _SHARDS_COMMENT,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": _parameters(contents),
        "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [_column("train" if name == SHARDS else name, column, kind) for column, kind in columns.items()],
            "Location": location,
            "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
            "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe"},
        },
    }


def _parameters(contents: Contents) -> dict[str, str]:
    return {"EXTERNAL": "TRUE", "classification": "parquet", STORE_PARAMETER: contents.url}


def _column(table: str, name: str, kind: str) -> dict[str, str]:
    return {"Name": name.lower(), "Type": _GLUE_TYPES[kind], "Comment": column_comment(table, name)}


def _train_sql(columns: Sequence[str]) -> str:
    shown = ", ".join(
        "CASE WHEN is_finite(target) THEN target END AS target" if name == "target" else identifier(name)
        for name in columns
    )
    return f"SELECT {shown} FROM {SHARDS}"  # noqa: S608 - quoted names


def _view_columns(train: Sequence[str], forecast: Sequence[str]) -> dict[str, str]:
    keys = dict.fromkeys(view_keys(train, forecast), "VARCHAR")
    return {**keys, "timestamp": "TIMESTAMP", "type": "VARCHAR", "value": "DOUBLE"}


def _view(contents: Contents, database: str, name: str, columns: Mapping[str, str], sql: str) -> dict[str, Any]:
    """A view as Athena's own CREATE VIEW leaves it in Glue; through Glue it needs no query, and has comments."""
    document = {
        "originalSql": sql,
        "catalog": "awsdatacatalog",
        "schema": database,
        "columns": [{"name": column.lower(), "type": kind.lower()} for column, kind in columns.items()],
    }
    return {
        "Name": name,
        "Description": COMMENTS[name][0],
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {"presto_view": "true", "comment": "Presto View", STORE_PARAMETER: contents.url},
        "PartitionKeys": [],
        "ViewOriginalText": f"/* Presto View: {base64.b64encode(json.dumps(document).encode()).decode()} */",
        "ViewExpandedText": "/* Presto View */",
        "StorageDescriptor": {
            "Columns": [_column(name, column, kind) for column, kind in columns.items()],
            "SerdeInfo": {"Name": "-", "SerializationLibrary": "-"},
        },
    }
