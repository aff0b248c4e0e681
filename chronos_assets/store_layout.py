"""The keys of a store's objects, each named once.

Here: names and key functions, nothing that reads or writes.
"""

from __future__ import annotations

from chronos_assets.partition_folders import partition_folder

PARAMS_KEY = "params.json"
DRAFT_KEY = "params.draft.json"
TRAIN_KEY = "train"
RELATED_FILES_KEY = "related"
METADATA_FILES_KEY = "item_metadata"
DATASET_KEY = "dataset/target_time_series"
RELATED_KEY = "dataset/related_time_series"
METADATA_KEY = "dataset/item_metadata"
FORECAST_KEY = "forecast"
REJECTED_KEY = "rejected"
# The drop zone of scenarios.
WHAT_IF_KEY = "what_if"
# Exports with the columns and shapes of Amazon Forecast: its backtests, and what its monitor reports.
BACKTEST_KEY = "backtest"
MONITOR_KEY = "monitor"
# What the command remembers: of the user's folder, and for the UI.
MIRROR_KEY = ".data-folder.json"
# From which files params.json was inferred.
INFERRED_KEY = ".inferred-params.json"
# What the import of the train files leaves for the next one; without it that reads everything.
IMPORT_MEMORY_KEY = ".import-memory.npz"
RELATED_MEMORY_KEY = ".related-memory.npz"
# What values and names in the train files looked like when they were imported.
FILE_REMARKS_KEY = ".file-remarks.json"
# Predictors: zero-shot ones that were learned from the dataset as it is; the one that is served.
LEARNED_KEY = "predictors/learned"
ZERO_SHOT_KEY = "predictors/zero-shot"
# How long the forecast windows of the store are, and where they start.
WINDOWS_KEY = ".windows.json"
RUN_SETTINGS_KEY = ".run-settings.json"

# Forecasts that one job has made for runs to come, and what it reported of them.
PREPARED_KEY = ".prepared"
# Synthetic series, checkpoints, and what the last search for them came to.
SYNTHETIC_KEY = "datasets/synthetic"
MODELS_KEY = "models"
TUNED_KEY = "models/tuned_checkpoints.json"
# The zero-shot benchmark, and each result that it has measured.
BENCHMARK_KEY = "benchmark"
MEASURED_KEY = ".benchmark"
# The SQL tables, and the notices, of a store on this machine.
DATABASE_KEY = "tables/forecast.duckdb"
NOTICES_KEY = "notices.jsonl"
# What is under way: folders of jobs and searches, files that are staged, what servers and SageMaker's Pipelines are given.
JOBS_KEY = ".jobs"
TUNING_KEY = ".tuning"
SCRATCH_KEY = ".staging"
ENDPOINTS_KEY = ".endpoints"
PIPES_KEY = ".pipes"
PIPELINES_KEY = ".pipelines"


_SCENARIO = "scenario="


def scenario_of(folder: str) -> str | None:
    """The scenario whose folder has this name; None if it is no scenario's."""
    return folder.removeprefix(_SCENARIO) if folder.startswith(_SCENARIO) else None


def history_key(key: str) -> str:
    """Store key of the folder that holds partition `key`'s forecast."""
    return f"history/{partition_folder(key)}"


def scenario_key(scenario: str) -> str:
    """Store key of the folder that holds a scenario's forecast beside the baseline."""
    return f"what_if_forecasts/{_SCENARIO}{scenario}"


def explanations_key(key: str) -> str:
    """Store key of the folder that says what drove partition `key`'s forecast."""
    return f"explanations/{partition_folder(key)}"


def accuracy_key(key: str) -> str:
    """Store key of the folder that holds partition `key`'s scores."""
    return f"accuracy/{partition_folder(key)}"


def anomalies_key(key: str) -> str:
    """Store key of the folder that holds the actuals far outside partition `key`'s band."""
    return f"anomalies/{partition_folder(key)}"


def members_key(key: str) -> str:
    """Store key of the folder that says which members made partition `key`'s forecast."""
    return f"members/{partition_folder(key)}"


def levels_key(key: str) -> str:
    """Store key of the folder that holds the sums of partition `key`'s forecast."""
    return f"levels/{partition_folder(key)}"
