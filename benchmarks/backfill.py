"""A backfill of daily partitions in one run beside one run per partition, through Dagster, on the built-in sample.

    python -m benchmarks.backfill [--partitions 60] [--single 5]

Both go through the same job, checks and publishing. The ratio is of seconds per partition; runs of one partition are
spread over the same range, and `--single` of them are timed (their median counts), since they all cost the same.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import dagster as dg

from chronos_assets.definitions import group_definitions
from chronos_assets.defs.outcomes import RANGE_TAGS
from chronos_assets.pipeline.group import Group
from chronos_assets.planning.windows import window_for_key
from chronos_assets.settings import Settings
from chronos_assets.timeseries.dataset.sample import write_sample

LAST_DAY = "2025-06-30"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=60)
    parser.add_argument("--single", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        group = Group(Settings(store=folder))
        write_sample(Path(folder))
        job = group_definitions(group).resolve_job_def("refresh_forecasts")

        def run(asset: str, **how: object) -> float:
            started = time.perf_counter()
            result = job.execute_in_process(instance=instance, asset_selection=[group.key(asset)], **how)  # type: ignore[arg-type]
            if not result.success:
                raise SystemExit(f"{asset} failed")
            return time.perf_counter() - started

        run("target_time_series")
        keys = group.partitions.get_partition_keys()
        last = keys.index(window_for_key(LAST_DAY, "daily").key)
        chosen = keys[last - options.partitions + 1 : last + 1]
        step = max(1, len(chosen) // options.single)
        singles = [run("forecasts", partition_key=key) for key in chosen[::step][: options.single]]
        together = run("forecasts", tags=dict(zip(RANGE_TAGS, (chosen[0], chosen[-1]), strict=True)))
    alone, shared = statistics.median(singles), together / len(chosen)
    print(f"one run of {len(chosen)} partitions: {together:.1f} s, {shared:.2f} s per partition")
    spread = f"median of {len(singles)}, {min(singles):.2f} to {max(singles):.2f}"
    print(f"one run per partition: {alone:.2f} s per partition ({spread})")
    print(f"ratio: {alone / shared:.1f}")


if __name__ == "__main__":
    main()
