"""A small forecast line for tests: a store with three hourly series, a tiny model, an ephemeral Dagster instance."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.definitions import group_definitions
from chronos_assets.defs.launcher import Launcher
from chronos_assets.defs.outcomes import RANGE_TAGS
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.settings import Settings

FIRST = datetime(2024, 1, 1)
ITEMS = ("client_a", "client_b", 'client, "c"')

PARAMS = {
    "DatasetGroup": {"DatasetGroupName": "Shop", "Domain": "CUSTOM"},
    "Predictor": {
        "PredictorName": "ShopPredictor",
        "ForecastHorizon": 24,
        "FeaturizationConfig": {"ForecastFrequency": "H"},
    },
    "Forecast": {"ForecastName": "ShopForecast", "ForecastTypes": ["0.10", "0.50", "0.90", "mean"]},
    "TimestampFormat": "yyyy-MM-dd HH:mm:ss",
    "Datasets": [
        {
            "DatasetName": "ShopTarget",
            "Domain": "CUSTOM",
            "DatasetType": "TARGET_TIME_SERIES",
            "DataFrequency": "H",
            "Schema": {
                "Attributes": [
                    {"AttributeName": "timestamp", "AttributeType": "timestamp"},
                    {"AttributeName": "target_value", "AttributeType": "float"},
                    {"AttributeName": "item_id", "AttributeType": "string"},
                ]
            },
        }
    ],
    "PerformDelete": False,
    # Tests of the training line switch it on.
    "Chronos": {"Training": {"Strategy": "NONE"}},
}


def hourly_rows(days: int, *, first: datetime = FIRST, items: Sequence[str] = ITEMS) -> Iterable[str]:
    """CSV rows of a daily pattern, one hour each, items one after another."""
    for number, item in enumerate(items, 1):
        quoted = '"' + item.replace('"', '""') + '"'
        for hour in range(24 * days):
            moment = first + timedelta(hours=hour)
            yield f"{moment:%Y-%m-%d %H:%M:%S},{number * (10 + moment.hour % 12)},{quoted}"


@dataclass
class Line:
    """A group, its definitions and an instance."""

    group: Group
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    @property
    def state(self) -> GroupState:
        """What the group says now: read again at each call."""
        return GroupState(self.group)

    @property
    def launcher(self) -> Launcher:
        return Launcher(self.group, self.definitions, self.instance)

    @property
    def root(self) -> Path:
        return self.group.store.local_path("train").parent

    def put(self, key: str, text: str) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(
        self, assets: Sequence[str], keys: tuple[str, str] | str | None = None, job: str = "refresh_forecasts"
    ) -> dg.ExecuteInProcessResult:
        """Run some assets of a job, for one partition, or a range given by its first and last key."""
        tags = dict(zip(RANGE_TAGS, keys, strict=True)) if isinstance(keys, tuple) else {}
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=keys if isinstance(keys, str) else None,
            asset_selection=[self.group.key(name) for name in assets],
            tags=tags,
            raise_on_error=False,
            run_config={"loggers": {"console": {}}},
        )

    def metadata(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        from chronos_assets.pipeline.materializations import latest_metadata

        return latest_metadata(self.instance, self.group.key(asset), partition)

    def table(self, asset: str, name: str, partition: str | None = None) -> list[dict[str, Any]]:
        """Rows of a table in the metadata of an asset's latest materialization."""
        query = dg.AssetRecordsFilter(
            asset_key=self.group.key(asset), asset_partitions=[partition] if partition else None
        )
        materialization = self.instance.fetch_materializations(query, limit=1).records[0].asset_materialization
        assert materialization is not None
        value = materialization.metadata[name]
        assert isinstance(value, dg.TableMetadataValue)
        return [dict(record.data) for record in value.records]

    def notices(self) -> list[dict[str, Any]]:
        path = self.root / "notices.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def make_line(
    root: Path, instance: dg.DagsterInstance, *, model: str = "bundled", days: int = 10, **settings: Any
) -> Line:
    """A line in `root` with `params.json` and one train file of `days` days."""
    group = Group(Settings(store=str(root), base_model=model, partition_start="2023-12-01", **settings))
    line = Line(group, instance, group_definitions(group))
    line.put("params.json", json.dumps(PARAMS))
    line.put("train/demand.csv", "\n".join(hourly_rows(days)) + "\n")
    return line


def failure_reason(result: dg.ExecuteInProcessResult) -> str:
    """Description of the first step failure of a run."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            return (data.user_failure_data.description if data.user_failure_data else None) or data.error_display_string
    raise AssertionError("no step failed")
