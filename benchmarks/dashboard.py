"""The dashboard over many items, measured in a headless browser.

    python -m benchmarks.dashboard                                    2,000 items of 200 periods
    python -m benchmarks.dashboard --items 100000 --periods 400       the size that the limits are for
    python -m benchmarks.dashboard --store <folder>                   a store that is there, made by this command before

Each page is opened `--repeats` times in one browser, as somebody does who comes back to it: seconds from the click until its
heading stands (first content), until its first chart or table stands, and until nothing is computed any more. Before the first
of these the page is opened once for nothing, so that neither the browser's cache nor Python's imports are measured; the answers
that the server keeps are cleared by a refresh of the tables (a touch of their file) before each page's first opening, which is
given by itself. Items differ from one opening to the next; `typed` is the item's page as it follows a name typed into its box.
Processor time of the server is given beside, which other work on the machine doesn't change much.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import duckdb
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright

from chronos_assets.params.forecast import to_document
from chronos_assets.params.reader import parse_params
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tables import LocalTables
from chronos_assets.store_layout import DATABASE_KEY
from chronos_assets.timeseries.dataset.shards import Manifest, Shard
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

HORIZON, AS_OFS, START = 28, 6, date(2024, 1, 1)
METRICS = (
    "wql_p10", "wql_p50", "wql_p90", "wql", "wape", "rmse", "mase", "mape", "mae", "bias", "weighted_bias",
    "tracking_signal", "coverage_80", "error_contribution",
)  # fmt: skip
PARAMS = {
    "DatasetGroup": {"DatasetGroupName": "Benchmark", "Domain": "CUSTOM"},
    "Predictor": {"ForecastHorizon": HORIZON, "FeaturizationConfig": {"ForecastFrequency": "D"}},
    "TimestampFormat": "yyyy-MM-dd",
    "Datasets": [
        {
            "Domain": "CUSTOM",
            "DatasetType": "TARGET_TIME_SERIES",
            "DataFrequency": "D",
            "Schema": {
                "Attributes": [
                    {"AttributeName": "timestamp", "AttributeType": "timestamp"},
                    {"AttributeName": "target_value", "AttributeType": "float"},
                    {"AttributeName": "item_id", "AttributeType": "string"},
                ]
            },
        }
    ],
}


def main() -> int:
    """Measure and print; 1 where a page is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--periods", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dashboard-") as scratch:
        store = given.store or Path(scratch) / "store"
        if not store.exists():
            seconds = make_store(store, given.items, given.periods)
            print(f"{given.items:,} items of {given.periods} periods; tables refreshed in {seconds:.1f} s")
        measure(store, given.items, given.repeats)
    return 0


def make_store(root: Path, items: int, periods: int) -> float:
    """A store as the pipeline leaves it: dataset, `AS_OFS` weekly forecasts, scores of those observed; seconds of a refresh."""
    params = parse_params(PARAMS)
    root.mkdir(parents=True)
    (root / "params.json").write_text(json.dumps(to_document(params)))
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(
            f"CREATE TABLE ids AS SELECT 'product-' || lpad(i::VARCHAR, 7, '0') AS item_id, i FROM range({items}) r(i)"
        )
        dataset = root / "dataset/target_time_series"
        dataset.mkdir(parents=True)
        first = f"TIMESTAMP '{START}'"
        shards = max(1, items * periods // 2_500_000)
        for shard in range(shards):
            _copy(
                connection,
                f"SELECT item_id, {first} + INTERVAL (t) DAY AS timestamp, 50 + i % 97 + 20 * sin(t / 7 * 6.28) + 9 * random() "
                f"AS target, false AS filled FROM ids, range({periods}) q(t) WHERE hash(i) % {shards} = {shard} "
                "ORDER BY item_id, t",
                dataset / f"part-{shard:05d}.parquet",
            )
        last = START + timedelta(days=periods - 1)
        (dataset / DATASET_MANIFEST).write_text(
            Manifest(
                data_version="benchmark", first=f"{START}T00:00:00", last=f"{last}T00:00:00", frequency="D", dimensions=(),
                series=items, rows=items * periods, observed=items * periods, filled=0, missing=0, aggregated=0,
                duplicates=0, rejected={}, files={}, n_shards=shards,
                shards=tuple(Shard(f"part-{shard:05d}.parquet", 0, 0, 0, "") for shard in range(shards)),
            ).to_json()
        )  # fmt: skip
        for number in range(AS_OFS):
            end = periods - 7 * (AS_OFS - 1 - number)
            as_of = (START + timedelta(days=end - 1)).isoformat()
            path = root / f"history/as_of={as_of}/forecast.parquet"
            path.parent.mkdir(parents=True)
            _copy(
                connection,
                f"SELECT item_id, {first} + INTERVAL (t + {end}) DAY AS timestamp, 40.0 + i % 97 + random() AS p10, "
                f"50.0 + i % 97 + random() AS p50, 60.0 + i % 97 + random() AS p90 FROM ids, "
                f"range({HORIZON}) q(t) ORDER BY item_id, t",
                path,
            )
            if end + HORIZON <= periods:
                _score(connection, root, as_of, end)
        (root / "forecast").mkdir()
        shutil.copyfile(path, root / "forecast/forecast.parquet")
    (root / "forecast/manifest.json").write_text(json.dumps(_manifest(as_of, items)))
    begun = time.monotonic()
    LocalTables(memory_limit="2GB").refresh(open_store(root), params)
    return time.monotonic() - begun


def _score(connection: duckdb.DuckDBPyConnection, root: Path, as_of: str, end: int) -> None:
    names = ", ".join(f"('{name}', {place})" for place, name in enumerate(METRICS))
    path = root / f"accuracy/as_of={as_of}/metrics.parquet"
    path.parent.mkdir(parents=True)
    tail = "random() AS value, random() AS seasonal_naive, 'naive' AS baseline, 28::BIGINT AS points, 0::BIGINT AS excluded"
    none = "NULL::VARCHAR AS segment_by, NULL::VARCHAR AS segment_value, metric"
    _copy(
        connection,
        f"SELECT 'all' AS level, NULL::VARCHAR AS item_id, {none}, {tail} FROM (VALUES {names}) v(metric, place) UNION ALL "
        f"SELECT 'item', item_id, {none}, {tail} FROM (FROM ids, (VALUES {names}) v(metric, place) ORDER BY item_id, place)",
        path,
    )
    path = root / f"anomalies/as_of={as_of}/anomalies.parquet"
    path.parent.mkdir(parents=True)
    _copy(
        connection,
        f"SELECT item_id, TIMESTAMP '{START}' + INTERVAL ({end + 3}) DAY AS timestamp, 200.0 AS target, 40.0 AS band_low, "
        "50.0 AS band_middle, 60.0 AS band_high, 3.0 AS deviation FROM ids WHERE i % 50 = 0 ORDER BY item_id",
        path,
    )


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")


def _manifest(as_of: str, items: int) -> dict[str, object]:
    first = date.fromisoformat(as_of) + timedelta(days=1)
    return {
        "as_of": as_of, "context_end": f"{as_of}T00:00:00", "forecast_start": f"{first}T00:00:00",
        "forecast_end": f"{first + timedelta(days=HORIZON - 1)}T00:00:00", "series": items, "horizon": HORIZON,
        "model": {"reference": "benchmark"}, "data_version": "benchmark",
    }  # fmt: skip


def measure(store: Path, items: int, repeats: int) -> None:
    """Open each page and print what it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "chronos_assets.dashboard.server", "--port", str(port)]
    server = subprocess.Popen(
        command, env={**os.environ, "CHRONOS_STORE": str(store.resolve())}, stdout=subprocess.DEVNULL
    )
    try:
        with sync_playwright() as playwright:
            path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            _until_it_answers(page, url)
            print(
                f"{'page':24}{'first content':>15}{'first chart':>13}{'all':>7}{'server CPU':>14}   seconds; "
                f"first opening, then the median of "
                f"{repeats}"
            )
            for name in ("overview", "items", "item", "typed"):
                _visit(page, url, name, 0)  # imports, and the browser's cache
                if name != "typed":
                    (store / DATABASE_KEY).touch()
                rows = []
                for number in range(repeats + 1):
                    before = _cpu(server.pid)
                    rows.append([*_visit(page, url, name, 7919 * (number + 1) % items), _cpu(server.pid) - before])
                again = [statistics.median(column) for column in zip(*rows[1:], strict=True)]
                for title, times in (("first", rows[0]), ("again", again)):
                    heading, chart, end, cpu = times
                    print(f"{f'{name}, {title}':24}{heading:>15.2f}{chart:>13.2f}{end:>7.2f}{cpu:>14.2f}")
            browser.close()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _until_it_answers(page: Page, url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            page.goto(url)
            page.locator("h1").first.wait_for(timeout=60_000)
            return
        except PlaywrightError:
            time.sleep(1)
    raise SystemExit(f"nothing answers at {url}")


def _visit(page: Page, url: str, name: str, item: int) -> list[float]:
    """Seconds to the heading, to the first chart or table, and until the script has ended."""
    product = f"product-{item:07d}"
    begun = time.monotonic()
    if name == "typed" and item:
        box = page.get_by_role("combobox", name="Item", exact=True)
        box.fill(product)
        box.press("Enter")
    else:
        path = {"item": f"item?item={product}", "typed": f"item?item={product}", "overview": ""}.get(name, name)
        page.goto(f"{url}/{path}", wait_until="commit")
    heading = page.locator("h1", has_text=product) if name in ("item", "typed") else page.locator("h1")
    heading.first.wait_for()
    content = time.monotonic() - begun
    page.locator('[data-testid="stVegaLiteChart"], [data-testid="stDataFrame"]').first.wait_for()
    chart = time.monotonic() - begun
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')")
    return [content, chart, time.monotonic() - begun]


def _cpu(process: int) -> float:
    """Seconds of processor time that a process has used; NaN where the system doesn't tell (it is Linux's way)."""
    path = Path(f"/proc/{process}/stat")
    if not path.exists():
        return float("nan")
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())
