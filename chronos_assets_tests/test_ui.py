"""The UI as its user meets it: the command starts it, a real browser looks at it, a dropped file turns a partition green."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from playwright.sync_api import Page, Response, sync_playwright

from chronos_assets.defs.outcomes import RANGE_TAGS
from chronos_assets.platforms.local.registry import LocalRegistry
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.warm_workers import WorkloadProcess
from chronos_assets_tests import forks
from chronos_assets_tests.chromium import CHROMIUM_FLAGS, chromium
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.defs.line import Line, hourly_rows, make_line
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.ports import free_port
from chronos_assets_tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

STEP_SECONDS = 150
LOOK_SECONDS = 0.3
_wait_until = partial(wait_until, seconds=STEP_SECONDS, look_every=LOOK_SECONDS)
# Spinners and fades would be drawn sixty times a second, by the processor.
STILL = """addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "*, *::before, *::after { animation: none !important; transition: none !important }";
  document.head.append(style);
})"""
FOLLOW = "path => { history.pushState(null, '', path); dispatchEvent(new PopStateEvent('popstate')) }"


@dataclass
class Ui:
    line: Line
    url: str
    dashboard: str
    page: Page


def _wait(what: str, done: Callable[[], bool], process: WorkloadProcess, log: Path) -> None:
    deadline = time.monotonic() + STEP_SECONDS
    while time.monotonic() < deadline:
        if done():
            return
        if process.poll() is not None:
            break
        time.sleep(LOOK_SECONDS)
    pytest.fail(f"{what} did not happen within {STEP_SECONDS} s; the end of the log:\n{log.read_text()[-3000:]}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5) as answer:  # noqa: S310 - our own server
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`chronos-assets ui` on a store with four days of data, and a browser."""
    browser_path = chromium()
    root = tmp_path_factory.mktemp("ui")
    model = str(folder_of("bolt"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("CHRONOS_", "DAGSTER_"))},
        **forks.for_cold_programs(),
        "CHRONOS_STORE": str(root / "store"),
        "CHRONOS_BASE_MODEL": model,
        "CHRONOS_PARTITION_START": "2023-12-01",
        "CHRONOS_SETTLE_SECONDS": "1",
        "CHRONOS_DASHBOARD_DECISIONS": "yes",
        "CHRONOS_SENSOR_SECONDS": "2",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    with dg.DagsterInstance.ephemeral() as unused:
        line = make_line(root / "store", unused, model=model, days=4)
    log = root / "ui.log"
    with log.open("wb") as output:
        # Forked, it ends at Ctrl-C even where the tests themselves were told not to.
        process = forks.start(
            "chronos_assets.cli",
            "ui",
            "--port",
            str(port),
            folder=REPOSITORY,
            environment=environment,
            stdout=output.fileno(),
            stderr=output.fileno(),
        )
    try:
        _wait("the UI's start", lambda: _answers(url), process, log)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=CHROMIUM_FLAGS)
            page = browser.new_page(viewport={"width": 1500, "height": 1200}, reduced_motion="reduce")
            page.add_init_script(STILL)
            page.set_default_timeout(60_000)
            ui = Ui(line, url, _address(log, "dashboard"), page)
            _wait("the first forecast", lambda: _published(line, "2024-01-04"), process, log)
            yield ui
            browser.close()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


BACKFILL = """mutation ($range: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $range) { __typename ... on PythonError { message } }
}"""


@dataclass
class Backfill:
    """A backfill that was asked for: its partitions, and the current forecast's manifest at that time."""

    keys: list[str]
    current: bytes


@pytest.fixture(scope="module")
def backfill(ui: Ui) -> Backfill:
    """A backfill of two days; Dagster looks for new ones every 30 seconds."""
    asked = Backfill(["2024-01-02", "2024-01-03"], (ui.line.root / "forecast" / "manifest.json").read_bytes())
    selected = {"assetSelection": [{"path": ["forecasts"]}], "partitionNames": asked.keys}
    answer = _graphql(ui, BACKFILL, range=selected)
    assert answer["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer
    return asked


def _address(log: Path, name: str) -> str:
    """The address that `ui` printed for one of its servers."""
    found = re.search(rf"^{name}: +(http://\S+)$", log.read_text(), re.MULTILINE)
    assert found is not None, log.read_text()
    return found[1]


def _published(line: Line, key: str) -> bool:
    path = line.root / "forecast" / "manifest.json"
    return path.exists() and f'"as_of": "{key}"' in path.read_text()


def test_a_page_of_another_site_drives_nothing(ui: Ui) -> None:
    mutation = {"query": 'mutation { deletePipelineRun(runId: "none") { __typename } }'}

    def status(method: str, **request: Any) -> int:
        return httpx.request(method, f"{ui.url}/graphql", timeout=30, **request).status_code

    assert status("POST", json=mutation) == 200
    assert status("GET", params=mutation) == 405
    assert status("POST", content=json.dumps(mutation), headers={"content-type": "text/plain"}) == 415
    assert status("POST", json=mutation, headers={"host": "evil.example"}) == 421
    assert status("POST", json=mutation, headers={"origin": "https://evil.example"}) == 403


def test_the_asset_graph_shows_the_groups(ui: Ui) -> None:
    _visit(ui, "/asset-groups")
    for group in ("dataset", "forecasts", "evaluation", "training", "registry", "serving"):
        ui.page.get_by_text(group, exact=True).first.wait_for()


def test_a_forecast_partition_is_green_and_shows_its_pictures(ui: Ui) -> None:
    _show_partition(ui, "forecasts", "2024-01-04")
    picture = ui.page.locator('img[src^="data:image/svg+xml"]').first
    picture.wait_for()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    ui.page.get_by_text("Materialized", exact=True).first.wait_for()


def test_a_dropped_file_is_seen_imported_and_forecast_and_the_old_window_scored(ui: Ui) -> None:
    _leave(ui)
    ui.line.put("train/july.csv", "\n".join(hourly_rows(2, first=datetime(2024, 1, 5))) + "\n")
    scores = ui.line.root / "accuracy" / "as_of=2024-01-04" / "metrics.parquet"
    _wait_until(
        lambda: _published(ui.line, "2024-01-06") and scores.exists(),
        otherwise="july.csv was dropped, but no forecast as of its last day came",
    )
    _show_partition(ui, "forecasts", "2024-01-06")
    ui.page.get_by_text("Materialized", exact=True).first.wait_for()
    _show_partition(ui, "forecast_accuracy", "2024-01-04")
    ui.page.get_by_text("wql_seasonal_naive", exact=True).first.wait_for()


@pytest.mark.usefixtures("backfill")  # asked for in time
def test_the_dashboard_shows_the_dropped_file_on_the_items_page(ui: Ui) -> None:
    _leave(ui)
    deadline = time.monotonic() + STEP_SECONDS
    tables = ui.line.root / "tables" / "forecast.duckdb"
    published = (ui.line.root / "forecast" / "manifest.json").stat().st_mtime
    while not tables.exists() or tables.stat().st_mtime < published:  # to load the page is no way to wait
        assert time.monotonic() < deadline, "the tables were not refreshed"
        time.sleep(LOOK_SECONDS)
    while (observed := _downloaded(ui, "item?item=client_a"))[-1] < "2024-01-06 23:00:00":
        assert time.monotonic() < deadline, f"the page ends with {observed[-1]}"
        time.sleep(LOOK_SECONDS)
    ui.page.get_by_role("heading", name="client_a").wait_for()
    chart = ui.page.get_by_test_id("stVegaLiteChart").first
    chart.wait_for()
    ui.page.get_by_text("Accuracy", exact=True).wait_for()
    chart.hover()
    with ui.page.expect_download() as picture:
        ui.page.get_by_role("button", name="Download as PNG").first.click()
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")


def test_the_dashboard_finds_an_item_by_typing_and_its_address_is_a_link_to_it(ui: Ui) -> None:
    ui.page.goto(f"{ui.dashboard}/item")
    box = ui.page.get_by_role("combobox", name="Item")
    box.fill("ent_b")
    box.press("Enter")
    ui.page.get_by_role("heading", name="client_b").wait_for()
    ui.page.wait_for_url("**/item?item=client_b")


def test_the_dashboard_ranks_items_and_says_what_happened(ui: Ui) -> None:
    ui.page.goto(f"{ui.dashboard}/items")
    ui.page.get_by_test_id("stDataFrame").wait_for()
    ui.page.get_by_text("3 series.").wait_for()
    # Ours alone, which writes no formula; the table's own would.
    ui.page.get_by_test_id("stDataFrame").hover()
    assert ui.page.get_by_role("button", name="Download as CSV").count() == 1
    ui.page.goto(ui.dashboard)
    ui.page.get_by_text("The forecast uses data up to").wait_for()
    ui.page.get_by_text("All series together").wait_for()
    ui.page.get_by_test_id("stVegaLiteChart").first.wait_for()
    ui.page.get_by_text(re.compile("succeeded")).first.wait_for()


def test_a_page_of_another_site_reads_no_forecast(ui: Ui) -> None:
    assert httpx.get(ui.dashboard, timeout=30).status_code == 200
    assert httpx.get(ui.dashboard, headers={"host": "evil.example"}, timeout=30).status_code == 421
    assert httpx.get(ui.dashboard, headers={"origin": "https://evil.example"}, timeout=30).status_code == 403


def test_a_range_selected_for_a_backfill_is_one_run_and_leaves_the_current_forecast(ui: Ui, backfill: Backfill) -> None:
    """What the dialog's button sends, and what comes of it."""
    _leave(ui)
    made = [ui.line.root / "history" / f"as_of={key}" / "forecast.parquet" for key in backfill.keys]
    _wait_until(lambda: all(path.exists() for path in made), otherwise="the backfill made no forecasts")
    _show_partition(ui, "forecasts", "2024-01-02")
    ui.page.get_by_text("Materialized", exact=True).first.wait_for()
    runs = _graphql(ui, "{ runsOrError { ... on Runs { results { tags { key value } } } } }")["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs]
    (ranged,) = [run for run in tags if "dagster/backfill" in run]
    assert [ranged[tag] for tag in RANGE_TAGS] == backfill.keys
    assert (ui.line.root / "forecast" / "manifest.json").read_bytes() == backfill.current


def test_a_version_is_approved_from_the_page_with_a_reason(ui: Ui) -> None:
    store = open_store(ui.line.root)
    shutil.copytree(folder_of("bolt"), ui.line.root / "models" / "tuned")
    document = {"created": "2024-01-06T00:00:00+00:00", "data_version": "d", "metrics": {"wql": 0.5}, "gate": {}}
    registry = LocalRegistry(store)
    group = ui.line.state.params.package_group
    registry.register(
        group, model="models/tuned", identity="1", document=document, status="PendingManualApproval", reason="waits"
    )
    ui.page.goto(f"{ui.dashboard}/models")
    ui.page.get_by_label("Reason").fill("better in the shops")
    ui.page.get_by_role("button", name=f"Approve {group}/1").click()
    ui.page.get_by_text(f"In use: {group}/1").wait_for()
    (version,) = registry.versions(group)
    assert (version.status, version.reason) == ("Approved", "better in the shops")


def _downloaded(ui: Ui, page: str) -> list[str]:
    """Times of the observations in the CSV that a page offers."""
    ui.page.goto(f"{ui.dashboard}/{page}")
    with ui.page.expect_download() as download:
        ui.page.get_by_role("button", name="Download as CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    return [row["timestamp"] for row in rows if row["observed"]]


def _show_partition(ui: Ui, asset: str, key: str) -> None:
    """Open a partition's page once Dagster has recorded it: after its files are there, and the page may not ask again."""
    query = (
        "query Made($key: AssetKeyInput!, $partitions: [String!]!) { assetNodeOrError(assetKey: $key) "
        "{ ... on AssetNode { latestMaterializationByPartition(partitions: $partitions) { runId } } } }"
    )
    named: dict[str, Any] = {"key": {"path": [asset]}, "partitions": [key]}
    _wait_until(
        lambda: any(_graphql(ui, query, **named)["assetNodeOrError"]["latestMaterializationByPartition"]),
        otherwise=f"{asset} of {key} was not recorded",
    )
    _visit(ui, f"/assets/{asset}?view=partitions&partition={key}")


def _visit(ui: Ui, path: str) -> None:
    """Show one of Dagster's pages; from another of them as a link does, which doesn't load all of its program again."""
    if ui.page.url.startswith(f"{ui.url}/"):
        ui.page.evaluate(FOLLOW, path)
    else:
        ui.page.goto(ui.url + path)


def _leave(ui: Ui) -> None:
    """Show nothing before a long wait, in which Dagster's pages would ask their server again and again."""
    ui.page.goto("about:blank")


def _is_about(name: str) -> Callable[[Response], bool]:
    """Whether an answer is to a question that names something."""
    return lambda answer: f'"{name}"' in (answer.request.post_data or "")


def _graphql(ui: Ui, query: str, **variables: object) -> Any:
    answer = ui.page.request.post(f"{ui.url}/graphql", data={"query": query, "variables": variables}).json()
    assert not answer.get("errors"), answer
    return answer["data"]


def test_the_automation_page_shows_the_sensors_running(ui: Ui) -> None:
    _visit(ui, "/automation")
    for name in ("train_files_sensor", "new_data_sensor", "run_outcome_sensor"):
        ui.page.get_by_text(name, exact=True).first.wait_for()


def test_an_asset_of_the_training_line_is_made_by_a_click_and_shows_its_series(ui: Ui) -> None:
    _visit(ui, "/assets/synthetic_dataset?view=overview")
    ui.page.get_by_text("Materialize", exact=True).first.click()
    path = ui.line.root / "datasets" / "synthetic" / "manifest.json"
    _wait_until(path.exists, otherwise="the button made no series")
    query = (
        "query Made($key: AssetKeyInput!) { assetOrError(assetKey: $key) "
        "{ ... on Asset { assetMaterializations(limit: 1) { runId } } } }"
    )
    _wait_until(
        lambda: _graphql(ui, query, key={"path": ["synthetic_dataset"]})["assetOrError"].get("assetMaterializations"),
        otherwise="the series were not recorded",
    )
    ui.page.goto(f"{ui.url}/assets/synthetic_dataset?view=overview")
    picture = ui.page.locator('img[src^="data:image/svg+xml"]').first
    picture.wait_for()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")


def test_the_decisions_about_a_version_are_buttons(ui: Ui) -> None:
    for name in ("approve_model", "reject_model", "roll_back_model"):
        with ui.page.expect_response(_is_about(name)):  # what was shown before has such a button, too
            _visit(ui, f"/locations/chronos_assets/jobs/{name}/playground")
        ui.page.get_by_text("Launch Run", exact=True).first.wait_for()
