"""What the pages show, opened: the group, its tables, what is published, what runs.

Here: finding those, and a sentence for each way in which they may not be there. Elsewhere: questions to the
tables (`queries`), drawing.

Nothing is written, neither by reading nor by looking for what isn't there: a params.json, for example, is never made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.store import manifest_of
from chronos_assets.platforms.tables import SqlTables
from chronos_assets.store_layout import DATASET_KEY, DRAFT_KEY, FORECAST_KEY, PARAMS_KEY, TRAIN_KEY
from chronos_assets.timeseries.dataset.shards import Manifest

if TYPE_CHECKING:
    import dagster as dg

    from chronos_assets.pipeline.serving import CovariatesRead

# Asset -> what a run of it does, in the order of the graph.
WORK = {
    "target_time_series": "import",
    "related_time_series": "import",
    "item_metadata": "import",
    "forecasts": "forecast",
    "forecast_accuracy": "scoring",
    "forecast_tables": "refresh of the tables",
    "synthetic_dataset": "synthetic series",
    "tuned_checkpoints": "training",
    "model_package": "gate",
    "endpoint": "deployment",
    "what_if_forecasts": "what-if forecast",
    "forecast_explanations": "explanation",
    "zero_shot_benchmark": "benchmark",
}


MANIFEST_KEYS = frozenset({"as_of", "context_end", "forecast_start", "forecast_end", "model"})  # what the pages need


class NothingToShow(ChronosAssetsError):
    """There is nothing to show yet; the message says what is missing and what to do."""


@dataclass(frozen=True)
class RunSummary:
    """A run that is on its way: what it does, in words, and since when (aware)."""

    work: str
    since: datetime | None


@dataclass(frozen=True)
class ServedModel:
    """The group's endpoint: who answers, and what of a request it reads.

    Attributes:
        name: of the endpoint.
        version: what it serves, for people.
        identity: digest of that.
        current: whether it is what forecasts are made with now.
        read: which attributes it reads, if so.
        frequency: of the periods, as a request names it.
    """

    name: str
    version: str
    identity: str
    current: bool
    read: CovariatesRead
    frequency: str


@dataclass(frozen=True)
class StoreSource:
    """Where everything comes from."""

    group: Group

    def tables_version(self) -> str:
        """Changes when the tables do.

        Raises:
            NothingToShow: there are none.
            TablesError: they can't be read.
        """
        try:
            return self.group.tables.version(self.group.store)
        except FileNotFoundError as error:
            raise NothingToShow(self.what_is_missing()) from error

    def tables(self) -> SqlTables:
        """The SQL tables as they are now.

        Raises:
            NothingToShow: there are none.
            TablesError: they can't be read.
        """
        try:
            return self.group.tables.sql(self.group.store)
        except FileNotFoundError as error:
            raise NothingToShow(self.what_is_missing()) from error

    def forecast(self) -> Mapping[str, Any] | None:
        """Manifest of the current forecast; None if there is none.

        Raises:
            NothingToShow: it can't be read.
        """
        try:
            found = manifest_of(self.group.store, FORECAST_KEY)
            if found is not None and not found.keys() >= MANIFEST_KEYS:
                raise ValueError(f"it is no object with {', '.join(sorted(MANIFEST_KEYS))}")
        except ValueError as error:
            raise NothingToShow(
                f"the manifest of the current forecast can't be read ({error}): run the job refresh_forecasts again"
            ) from error
        return found

    def dataset(self) -> Manifest | None:
        """Manifest of the dataset; None if there has been no import.

        Raises:
            DatasetError: it can't be read.
        """
        from chronos_assets.timeseries.dataset.shards import Manifest
        from chronos_assets.timeseries.published_files import DATASET_MANIFEST

        try:
            return Manifest.from_json(self.group.store.read(DATASET_KEY, DATASET_MANIFEST))
        except FileNotFoundError:
            return None

    def notices(self, count: int) -> list[Mapping[str, Any]]:
        """The newest notices, newest first."""
        return self.group.notices.recent(count)

    def endpoint(self) -> ServedModel:
        """The group's endpoint.

        Raises:
            NothingToShow: none answers, what it serves can't be read, its state is damaged, or AWS refuses to tell.
        """
        from chronos_assets.pipeline.serving import covariates_read, endpoint_name, wanted_identity
        from chronos_assets.pipeline.state import GroupState

        state = GroupState(self.group)
        if state.params_text is None:
            raise NothingToShow(f"There is no {PARAMS_KEY}, so nobody knows which endpoint is this group's.")
        try:
            name = endpoint_name(state)
            served = self.group.endpoints.describe(name)
            if served is None or not served.healthy:
                raise NothingToShow(
                    f"No endpoint answers, so the forecast under other values can't be drawn here: `chronos-assets endpoint "
                    f"deploy` starts {name}. A scenario that you save is forecast without it."
                )
            current = served.identity == wanted_identity(state)
            frequency = str(state.params.frequency)
            return ServedModel(name, served.version, served.identity, current, covariates_read(state), frequency)
        except ChronosAssetsError as error:
            raise NothingToShow(str(error)) from error

    def runs(self) -> list[RunSummary]:
        """Runs that are queued or on their way, oldest first; none where Dagster has no storage yet."""
        if self._instance is None:
            return []
        import dagster as dg

        going = [
            dg.DagsterRunStatus.QUEUED,
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.NOT_STARTED,
        ]
        records = self._instance.get_run_records(filters=dg.RunsFilter(statuses=going), limit=20)
        return [
            RunSummary(
                _run_in_words(record.dagster_run),
                datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None,
            )
            for record in reversed(records)
        ]

    def what_is_missing(self) -> str:
        """Why there are no tables, and what to do, in a sentence or two."""
        store, drop_zone = self.group.store, self.group.place(TRAIN_KEY)
        if runs := self.runs():
            return f"A run is on its way ({runs[0].work}); what it makes appears here as soon as it is done."
        if self.dataset() is not None:
            return (
                "The data are imported, but there are no tables yet: with `chronos-assets ui` running the forecast comes by "
                "itself; `chronos-assets run` makes it now."
            )
        if store.exists(DRAFT_KEY) and not store.exists(PARAMS_KEY):
            draft = self.group.place(DRAFT_KEY)
            return f"The files leave a choice to you: look at {draft}, choose, and save it as {PARAMS_KEY} beside it."
        files = sum(1 for _ in store.list(f"{TRAIN_KEY}/"))
        if files:
            return (
                f"{files} {'file is' if files == 1 else 'files are'} in {drop_zone}, and not imported yet: with "
                "`chronos-assets ui` running that happens by itself within a minute; `chronos-assets run` does it now."
            )
        return (
            f"There are no data yet: put a CSV or Parquet file with items, timestamps and values into {drop_zone}, or run "
            "`chronos-assets run`, which makes a sample."
        )

    @cached_property
    def _instance(self) -> dg.DagsterInstance | None:
        """Dagster's storage, if it is there."""
        import dagster as dg

        home = self.group.dagster_home
        return dg.DagsterInstance.from_config(str(home)) if (home / "dagster.yaml").is_file() else None


def _run_in_words(run: dg.DagsterRun) -> str:
    """What a run does, in words."""
    if run.asset_selection:
        names = {key.path[-1] for key in run.asset_selection}
        return ", ".join(dict.fromkeys(words for name, words in WORK.items() if name in names)) or run.job_name
    return run.job_name.replace("_", " ")
