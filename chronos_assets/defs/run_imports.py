"""What the process that forks runs has imported: a module to be imported by its fork server, see `forked_runs`.

Here: which modules a run needs beside the definitions, which load few. Elsewhere: anything that computes, or
starts a thread, before the fork.
"""

import atexit
import gc
import importlib
import logging

from chronos_assets.defs.instance import read_migrations_once
from chronos_assets.defs.instance_engines import keep_engines
from chronos_assets.defs.step_output import show_by_threads

MODULES = (
    "chronos_assets.definitions",
    "dagster._grpc.impl",
    "dagster._core.storage.sqlite_storage",
    "duckdb",
    "pandas",
    "pyarrow.parquet",
    "chronos_assets.platforms.local.jobs",
    "chronos_assets.platforms.local.platform",
    "chronos_assets.platforms.local.tables",
    "chronos_assets.timeseries.dataset.importing",
    "chronos_assets.timeseries.forecast.csv_export",
    "chronos_assets.timeseries.forecast.query",
    "chronos_assets.timeseries.forecast.sparkline",
)

for _module in MODULES:
    try:
        importlib.import_module(_module)
    except Exception as error:  # noqa: BLE001 - each run imports it again, and reports why it can't
        logging.getLogger(__name__).warning("runs import %s themselves: %s", _module, error)
read_migrations_once()
keep_engines()
show_by_threads()
gc.collect()
gc.freeze()  # a collection in a run would copy the pages that it shares with this process
atexit.register(gc.unfreeze)  # or DuckDB reports all that it still has
