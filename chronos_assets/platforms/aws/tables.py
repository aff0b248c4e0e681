"""SQL tables over the store's files in AWS: a Glue database, queried through Athena.

Here: bringing the database up to date, and questions to it. Elsewhere: what the tables look like
(`glue_tables.py`), how a query is run (`athena.py`).

No data are copied: a refresh writes the tables' descriptions, each in one atomic call, and only those that changed.
Whoever queries meanwhile sees a table as it was or as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.platforms.aws.athena import Athena, AthenaError, QueryTiming
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.glue_tables import (
    STORE_PARAMETER,
    VIEW,
    columns_of,
    partition_inputs,
    read_contents,
    table_inputs,
)
from chronos_assets.platforms.aws.quicksight import publish_data_set
from chronos_assets.platforms.aws.refusals import refusals
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.store import Store, StoreError, manifest_of
from chronos_assets.platforms.tables import TABLES, TablesError, item_query
from chronos_assets.settings import AwsSettings
from chronos_assets.store_layout import DATASET_KEY, FORECAST_KEY
from chronos_assets.timeseries.forecast.query import SUGGESTIONS, SeriesQuestion, ask

# Partitions in one request, https://docs.aws.amazon.com/glue/latest/webapi/API_BatchCreatePartition.html and its neighbours.
MOST_WRITTEN, MOST_DELETED = 100, 25
_CANDIDATES = 200  # items that are compared here with an unknown one
_DEFAULT_TIMING = QueryTiming()

T = TypeVar("T")


class AthenaTables:
    """`Tables` in a Glue database."""

    def __init__(self, clients: AwsClients, settings: AwsSettings, *, timing: QueryTiming = _DEFAULT_TIMING) -> None:
        self._clients = clients
        self._settings = settings
        self._athena = Athena(clients, settings.glue_database, settings.athena_workgroup, timing)

    def place(self, store: Store) -> str:
        """See `Tables.place`: the database's name."""
        with self._explained():
            table = self._table(VIEW)
        return self._settings.glue_database if table and _owner(table) == store.url else ""

    def is_whole(self, store: Store) -> bool:
        """See `Tables.is_whole`: Glue's tables are descriptions of the store's own files."""
        return bool(self.place(store))

    def refresh(self, store: Store, params: ForecastParams) -> dict[str, int]:
        """Bring the tables up to date with the store; rows of each, and of the view, as Athena counts them.

        What does not exist yet gives empty tables with the same columns. Counting shows that each table can be read.

        Raises:
            StoreError: Glue, Athena or QuickSight refuse, the tables are those of another store, or can't be read.
        """
        contents = read_contents(cast("S3Store", store), params)
        wanted_tables = list(table_inputs(contents, self._settings.glue_database))
        with self._explained():
            self._make_database()
            for wanted in wanted_tables:
                self._create_or_update(wanted, partition_inputs(contents, wanted))
        counts = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in TABLES)  # noqa: S608 - constants
        rows = {str(table): int(count) for table, count in self._athena.rows(counts)}
        if self._settings.quicksight_principal:
            publish_data_set(self._clients, self._settings, params.dataset_group, wanted_tables[-1])
        return rows

    def version(self, store: Store) -> str:
        """See `Tables.version`: when the view was changed, and what the store shows."""
        with self._explained():
            table = self._table(VIEW)
        if not table or _owner(table) != store.url:
            raise FileNotFoundError(f"the Glue database {self._settings.glue_database} has no tables of {store.url}")
        shown = [str(table.get("UpdateTime", "")), *map(store.shown, (DATASET_KEY, FORECAST_KEY))]
        return "/".join(map(str, shown))

    def sql(self, store: Store) -> GlueSql:
        """See `Tables.sql`: the Glue database, asked through Athena."""
        self.version(store)
        return GlueSql(self._clients, self._settings.glue_database, self._athena)

    def query(self, store: Store, question: SeriesQuestion) -> dict[str, Any]:
        """See `Tables.query`."""
        manifest = manifest_of(store, FORECAST_KEY)
        if manifest is None:
            raise FileNotFoundError(f"there is no forecast in {store.url}")
        table = _AthenaForecast(self._athena, list(columns_of(manifest)))
        return ask(table, question)

    @property
    def _glue(self) -> Any:
        return self._clients("glue")

    def _make_database(self) -> None:
        name = self._settings.glue_database
        try:
            self._glue.get_database(Name=name)
        except self._glue.exceptions.EntityNotFoundException:
            description = "Forecasts, their history and accuracy"
            self._glue.create_database(DatabaseInput={"Name": name, "Description": description})

    def _table(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(self._glue.get_table(DatabaseName=self._settings.glue_database, Name=name)["Table"])
        except self._glue.exceptions.EntityNotFoundException:
            return None

    def _create_or_update(self, wanted: dict[str, Any], partitions: Sequence[Mapping[str, Any]] | None) -> None:
        """Create a table, or change it to what is wanted, with its registered partitions if it has such."""
        database, name = self._settings.glue_database, wanted["Name"]
        # First those: a table that is made to read them has them then.
        found = self._table(name)
        if found is None:
            try:
                self._glue.create_table(DatabaseName=database, TableInput=wanted)
                self._register(name, partitions)
                return
            except self._glue.exceptions.AlreadyExistsException:
                found = self._table(name) or {}  # by another refresh, at the same time
        owner, store = _owner(found), wanted["Parameters"][STORE_PARAMETER]
        if owner != store:
            raise StoreError(
                f"the table {name} of the Glue database {database} is not one of {store} but of "
                f"{owner or 'somebody else'}: set CHRONOS_GLUE_DATABASE to a database of its own"
            )
        self._register(name, partitions)
        if not _contains(found, wanted):
            # Without an archive: every refresh that moves the dataset would leave a version of the table.
            self._glue.update_table(DatabaseName=database, TableInput=wanted, SkipArchive=True)

    def _register(self, table: str, partitions: Sequence[Mapping[str, Any]] | None) -> None:
        """Make a table's partitions in Glue these; None leaves them alone."""
        if partitions is None:
            return
        name = {"DatabaseName": self._settings.glue_database, "TableName": table}
        wanted = {partition["Values"][0]: partition for partition in partitions}
        pages = self._glue.get_paginator("get_partitions").paginate(**name, ExcludeColumnSchema=True)
        found = {partition["Values"][0]: partition for page in pages for partition in page["Partitions"]}
        made = [partition for key, partition in wanted.items() if key not in found]
        listed = {key: _without_columns(partition) for key, partition in wanted.items() if key in found}
        changed = [found[key] for key, partition in listed.items() if not _contains(found[key], partition)]
        for batch in _batches(made, MOST_WRITTEN):
            answer = self._glue.batch_create_partition(**name, PartitionInputList=batch)
            _check(table, answer, "AlreadyExistsException")  # another refresh, at the same time
        for batch in _batches(changed, MOST_WRITTEN):
            entries = [
                {"PartitionValueList": old["Values"], "PartitionInput": wanted[old["Values"][0]]} for old in batch
            ]
            _check(table, self._glue.batch_update_partition(**name, Entries=entries))
        for batch in _batches(sorted(found.keys() - wanted.keys()), MOST_DELETED):
            gone = [{"Values": [key]} for key in batch]
            answer = self._glue.batch_delete_partition(**name, PartitionsToDelete=gone)
            _check(table, answer, "EntityNotFoundException")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn boto3's errors into a `StoreError` that names the database and how to fix it."""
        try:
            yield
        except BotoCoreError:  # no connection, no credentials
            with refusals(StoreError, f"asking the Glue database {self._settings.glue_database}"):
                raise
        except ClientError as error:
            raise StoreError(
                f"the tables of the Glue database {self._settings.glue_database} can't be brought up to date: {error}; "
                "create the database, or set CHRONOS_GLUE_DATABASE to one that this identity may read and change "
                "(glue:GetDatabase, CreateDatabase, GetTable, CreateTable, UpdateTable, GetPartitions, "
                "BatchCreatePartition, BatchUpdatePartition, BatchDeletePartition)"
            ) from error


class GlueSql:
    """`SqlTables` of a Glue database."""

    def __init__(self, clients: AwsClients, database: str, athena: Athena) -> None:
        self._clients = clients
        self._database = database
        self._athena = athena

    def columns(self, table: str) -> tuple[str, ...]:
        """See `SqlTables.columns`."""
        glue = self._clients("glue")
        with refusals(TablesError, f"Glue's table {self._database}.{table} can't be read"):
            try:
                found = glue.get_table(DatabaseName=self._database, Name=table)["Table"]
            except glue.exceptions.EntityNotFoundException:
                return ()
        partitions = found.get("PartitionKeys", [])
        return tuple(column["Name"] for column in [*partitions, *found["StorageDescriptor"]["Columns"]])

    def rows(self, sql: str, values: Sequence[str | datetime] = ()) -> list[tuple[Any, ...]]:
        """See `SqlTables.rows`."""
        try:
            return self._athena.rows(sql, values)
        except AthenaError as error:
            raise TablesError(str(error)) from error

    def item_rows(self, table: str, columns: Sequence[str], key: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """See `SqlTables.item_rows`."""
        return self.rows(*item_query(table, columns, key))


class _AthenaForecast:
    """The table `forecast` of Athena, as `timeseries.forecast.query` asks it."""

    def __init__(self, athena: Athena, columns: Sequence[str]) -> None:
        self.columns = columns
        self.rows = athena.rows

    def similar_items(self, item_id: str) -> list[str]:
        """Items that differ in few characters, or that hold the text."""
        wanted = item_id.lower()
        found = self.rows(
            "SELECT DISTINCT item_id FROM forecast WHERE strpos(lower(item_id), ?) > 0 "  # noqa: S608 - constants
            f"OR levenshtein_distance(lower(item_id), ?) <= {max(1, len(wanted) // 3)} ORDER BY 1 LIMIT {_CANDIDATES}",
            [wanted, wanted],
        )
        likest = sorted((row[0] for row in found), key=lambda item: (-_likeness(item.lower(), wanted), item))
        return likest[:SUGGESTIONS]


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _without_columns(partition: Mapping[str, Any]) -> dict[str, Any]:
    """What a listing of partitions has of one."""
    storage = {name: value for name, value in partition["StorageDescriptor"].items() if name != "Columns"}
    return {**partition, "StorageDescriptor": storage}


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _check(table: str, answer: Mapping[str, Any], *expected: str) -> None:
    """Refuse an answer to a batch that names errors other than those expected."""
    errors = [error for error in answer.get("Errors", []) if error["ErrorDetail"]["ErrorCode"] not in expected]
    if errors:
        key = errors[0].get("PartitionValues") or errors[0].get("PartitionValueList")
        detail = errors[0]["ErrorDetail"]
        raise StoreError(
            f"Glue refused {len(errors)} partitions of {table}, the first {key}: {detail['ErrorCode']}: "
            f"{detail.get('ErrorMessage', '')}; materialize forecast_tables again"
        )


def _owner(table: Mapping[str, Any]) -> str:
    """URL of the store that a table is of; empty for a table of somebody else."""
    return str(table.get("Parameters", {}).get(STORE_PARAMETER, ""))


def _contains(found: Any, wanted: Any) -> bool:
    """Whether a document that Glue gave says all that another says; Glue adds fields of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_contains(found.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return len(found or []) == len(wanted) and all(map(_contains, found or [], wanted))
    return bool(found == wanted)
