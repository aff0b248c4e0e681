"""Scenarios through Dagster: dropped files become partitions, forecasts beside the baseline, tables; and what goes wrong."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import streamlit as st
import uvicorn
from PIL import Image
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright
from streamlit.runtime import Runtime
from streamlit.testing.v1 import AppTest

from chronos_assets.dashboard import server, session, words
from chronos_assets.dashboard.charts import VERMILION
from chronos_assets.defs.launcher import Launcher
from chronos_assets.defs.what_if_sensor import what_if_sensor
from chronos_assets.pipeline.account import scenario_rows
from chronos_assets.pipeline.endpoint_comparison import compare_endpoint
from chronos_assets.pipeline.forecasts import withdraw_outdated_explanation
from chronos_assets.pipeline.serving import deploy
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.tables import tables_lineage
from chronos_assets.pipeline.what_if import (
    gone_scenarios,
    is_beside_current,
    on_clock,
    read_replacements,
    scenario_files,
    stale_scenarios,
    withdraw_gone_scenarios,
)
from chronos_assets.planning.scenarios import MOST_AT_ONCE, plan_scenarios
from chronos_assets.predictors.scenario import Scenario, ScenarioError, read_transformations
from chronos_assets.store_layout import DATASET_KEY, RELATED_KEY, explanations_key, history_key, scenario_key
from chronos_assets_tests import forks
from chronos_assets_tests.chromium import CHROMIUM_FLAGS, chromium
from chronos_assets_tests.dashboard.fresh_pages import fresh_pages  # noqa: F401 - a fixture
from chronos_assets_tests.defs.line import PARAMS, Line, failure_reason, make_line
from chronos_assets_tests.defs.quick_jobs import QuickJobs
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.ports import free_port
from chronos_assets_tests.predictors.demand import ELASTICITY, PROMOTION, shops
from chronos_assets_tests.serving.quick_endpoints import QuickEndpoints
from chronos_assets_tests.timeseries.builders import MadeRelated, make_related

DAYS, HORIZON = 170, 7
FIRST, LAST = date(2023, 12, 1), "2024-05-18"
CHEAPER = {"TimeSeriesTransformations": [{"Action": {"AttributeName": "price", "Operation": "MULTIPLY", "Value": 0.9}}]}
COLOUR = {"TimeSeriesTransformations": [{"Action": {"AttributeName": "colour", "Operation": "ADD", "Value": 1}}]}


def params() -> dict[str, Any]:
    """Daily sales with related time series, forecast by few members."""
    document = copy.deepcopy(PARAMS)
    document["Predictor"]["ForecastHorizon"] = HORIZON
    document["Predictor"]["FeaturizationConfig"]["ForecastFrequency"] = "D"
    (target,) = document["Datasets"]
    target["DataFrequency"] = "D"
    attributes = [("item_id", "string"), ("timestamp", "timestamp"), ("price", "float"), ("promotion", "float")]
    schema = {"Attributes": [{"AttributeName": name, "AttributeType": kind} for name, kind in attributes]}
    document["Datasets"].append(
        {
            "DatasetName": "ShopRelated",
            "Domain": "CUSTOM",
            "DatasetType": "RELATED_TIME_SERIES",
            "DataFrequency": "D",
            "Schema": schema,
        }
    )
    document["Chronos"] |= {
        "Predictor": {"Members": ["theta", "seasonal_naive", "regression"]},
        "Export": {"Compression": "GZIP"},
        "Reconcile": {},
    }
    return document


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Twelve shops' sales and prices, and the current forecast."""
    sales = shops(items=12, periods=DAYS, horizon=HORIZON)
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(tmp_path_factory.mktemp("store"), instance, model=str(folder_of("bolt")))
        line.group.overrides["jobs"] = QuickJobs(line.group.store)
        line.put("params.json", json.dumps(params()))
        rows = [
            f"{FIRST + timedelta(days=day)} 00:00:00,{one.values[day]},item-{number:02d}"
            for number, one in enumerate(sales)
            for day in range(DAYS)
        ]
        line.put("train/demand.csv", "\n".join(rows) + "\n")
        assert line.run(["target_time_series"]).success
        staged = tmp_path_factory.mktemp("related") / "staged"
        related = [
            MadeRelated(
                (f"item-{number:02d}",),
                str(FIRST),
                {name: list(one.covariates.known[name]) for name in ("price", "promotion")},
            )
            for number, one in enumerate(sales)
        ]
        make_related(staged, line.group.store.snapshot(DATASET_KEY), related, known=("price", "promotion"))
        line.group.store.publish(RELATED_KEY, staged)
        assert line.run(["forecasts"], LAST).success
        yield line


def drop(line: Line, name: str, content: Any) -> None:
    line.put(f"what_if/{name}", content if isinstance(content, str) else json.dumps(content))
    stem = name.partition(".")[0]
    line.instance.add_dynamic_partitions("what_if_scenarios", [stem])


def forecast(line: Line, scenario: str) -> dg.ExecuteInProcessResult:
    return line.run(["what_if_forecasts"], scenario, job="forecast_scenarios")


def test_a_lower_price_sells_more_by_the_elasticity_beside_the_baseline(line: Line) -> None:
    drop(line, "cheaper.json", CHEAPER)
    assert forecast(line, "cheaper").success
    folder = line.group.store.snapshot(scenario_key("cheaper"))
    table = pq.read_table(folder / "what_if.parquet", partitioning=None)
    assert table.schema.names[:4] == ["scenario", "as_of", "item_id", "timestamp"]
    ratio = table["mean"].to_numpy() / table["baseline_mean"].to_numpy()
    assert np.log(ratio).mean() / np.log(0.9) == pytest.approx(ELASTICITY, rel=0.2)
    with gzip.open(folder / "forecast.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * HORIZON
    first = rows[0]
    assert (first["item_id"], first["timestamp"]) == ("item-00", "2024-05-19 00:00:00")
    assert float(first["difference"]) == pytest.approx(float(first["mean"]) - float(first["baseline_mean"]))
    metadata = line.metadata("what_if_forecasts", "cheaper")
    assert metadata["relative_difference"] == pytest.approx(0.9**ELASTICITY - 1, rel=0.25)
    assert metadata["series_changed"] == 12
    assert "█" in metadata["difference"]
    (label, text), *_ = scenario_rows(GroupState(line.group))
    assert (label, text) == ("scenarios", f"cheaper: {line.group.place(scenario_key('cheaper'))}")
    assert len(metadata["difference"]) < 1000


def test_a_csv_replaces_what_was_planned(line: Line) -> None:
    drop(line, "feast.csv", "item_id,timestamp,price,promotion\nitem-03,2024-05-20,,1\nitem-03,2024-05-21,2.5,\n")
    assert forecast(line, "feast").success
    table = pq.read_table(line.group.store.snapshot(scenario_key("feast")) / "what_if.parquet", partitioning=None)
    moved = table.filter(table["difference"].to_numpy() != 0).to_pylist()
    assert {row["item_id"] for row in moved} == {"item-03"}
    assert {str(row["timestamp"])[:10] for row in moved} <= {"2024-05-20", "2024-05-21"}


def test_the_tables_hold_every_scenario(line: Line) -> None:
    drop(line, "cheaper.json", CHEAPER)
    assert forecast(line, "cheaper").success
    assert line.run(["forecast_tables"]).success
    with duckdb.connect(line.metadata("forecast_tables")["dagster/uri"], read_only=True) as connection:
        rows = connection.execute(
            "SELECT scenario, as_of, count(*), sum(mean) > sum(baseline_mean) FROM what_if_forecasts "
            "WHERE scenario = 'cheaper' GROUP BY ALL"
        ).fetchall()
        totals = connection.execute(
            "SELECT level, value, series, count(*), abs(sum(mean) - (SELECT sum(mean) FROM forecast)) < 1e-6 "
            "FROM forecast_levels WHERE as_of = ? GROUP BY ALL",
            [LAST],
        ).fetchall()
    assert rows == [("cheaper", LAST, 12 * HORIZON, True)]
    assert totals == [("total", "total", 12, HORIZON, True)]


def test_a_scenario_whose_file_is_gone_is_withdrawn_with_the_next_tables(line: Line) -> None:
    folder = shutil.copytree(line.group.store.snapshot(scenario_key("cheaper")), line.root / ".staged-gone")
    line.group.store.publish(scenario_key("gone"), folder, data="what_if.parquet")
    assert is_beside_current(line.group, "gone")
    assert gone_scenarios(line.group) == ["gone"]
    before = tables_lineage(line.state)
    withdraw_gone_scenarios(line.group)
    assert (gone_scenarios(line.group), tables_lineage(line.state)) == ([], before)
    assert line.group.store.shown(scenario_key("gone")) is None
    assert not is_beside_current(line.group, "gone")
    assert is_beside_current(line.group, "cheaper")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("odd.json", "{", "what_if/odd.json can't be read"),
        ("unknown.json", COLOUR, "there is no attribute 'colour'"),
        ("nobody.csv", "item_id,timestamp,price\nnobody,2024-05-20,1\n", "line 2: there is no series with item_id 'nobody'"),
        ("headless.csv", "item-03,2024-05-20,1\n", "what_if/headless.csv, line 1: the header must name item_id and timestamp"),
    ],
)  # fmt: skip
def test_wrong_scenarios_say_what_is_wrong(line: Line, name: str, content: Any, reason: str) -> None:
    drop(line, name, content)
    result = forecast(line, name.partition(".")[0])
    assert not result.success
    assert reason in failure_reason(result)


def test_a_scenario_without_a_file_says_where_to_put_one(line: Line) -> None:
    line.instance.add_dynamic_partitions("what_if_scenarios", ["ghost"])
    assert "there is no scenario ghost: put ghost.json or ghost.csv into" in failure_reason(forecast(line, "ghost"))


def test_an_outdated_baseline_is_refused(line: Line) -> None:
    drop(line, "cheaper.json", CHEAPER)
    before = json.dumps(params())
    changed = params()
    changed["Chronos"]["Seed"] = 5
    line.put("params.json", json.dumps(changed))
    try:
        assert "materialize its partition of forecasts again" in failure_reason(forecast(line, "cheaper"))
    finally:
        line.put("params.json", before)


def test_the_sensor_adds_partitions_and_asks_once_the_files_are_quiet(line: Line) -> None:
    sensor = what_if_sensor(line.group, [line.definitions.resolve_job_def("forecast_scenarios")])
    line.put("what_if/fresh.json", json.dumps(CHEAPER))

    def tick(cursor: str | None) -> dg.SensorResult:
        context = dg.build_sensor_context(
            instance=line.instance, cursor=cursor, definitions=line.definitions, sensor_name="what_if_sensor"
        )
        found = sensor(context)
        assert isinstance(found, dg.SensorResult)
        return found

    first = tick(None)
    assert not first.run_requests
    (added,) = first.dynamic_partitions_requests or []
    assert "fresh" in added.partition_keys
    second = tick(first.cursor)
    assert "fresh" in {request.partition_key for request in second.run_requests or []}
    assert not tick(second.cursor).run_requests


def test_other_files_are_no_scenarios(line: Line) -> None:
    line.put("what_if/notes.txt", "hello")
    line.put("what_if/.hidden.json", "{}")
    line.put("what_if/10% off.json", "{}")
    assert not {"notes", ".hidden", "hidden", "10% off"} & set(scenario_files(line.group))
    assert scenario_rows(GroupState(line.group))[-1][1].startswith(
        "ignored: 10% off.json, notes.txt; call a scenario <name>.json"
    )


def test_half_written_files_wait_and_changed_ones_come_again() -> None:
    plan = plan_scenarios({"a": "1"}, "base", None)
    assert (plan.requests, plan.scenarios) == ((), ("a",))
    assert "may still be written" in plan.message
    plan = plan_scenarios({"a": "1"}, "base", plan.cursor)
    assert [request.scenario for request in plan.requests] == ["a"]
    again = plan_scenarios({"a": "1"}, "base", plan.cursor)
    assert not again.requests
    changed = plan_scenarios({"a": "2"}, "base", again.cursor)
    assert not changed.requests
    assert plan_scenarios({"a": "2"}, "base", changed.cursor).requests
    rebased = plan_scenarios({"a": "1"}, "other", again.cursor)
    assert rebased.requests[0].run_key != plan.requests[0].run_key


def test_without_a_forecast_scenarios_wait() -> None:
    first = plan_scenarios({"a": "1"}, None, None)
    second = plan_scenarios({"a": "1"}, None, first.cursor)
    assert not second.requests
    assert "no current forecast" in second.message
    assert plan_scenarios({"a": "1"}, "base", second.cursor).requests


def test_many_scenarios_come_in_several_ticks() -> None:
    files = {f"s{number:03d}": "1" for number in range(MOST_AT_ONCE + 5)}
    first = plan_scenarios(files, "base", None)
    second = plan_scenarios(files, "base", first.cursor)
    third = plan_scenarios(files, "base", second.cursor)
    assert (len(second.requests), len(third.requests)) == (MOST_AT_ONCE, 5)


def test_a_line_of_another_width_is_named() -> None:
    with pytest.raises(ScenarioError, match=r"what_if/x\.csv, line 3: 2 cells, the header has 3"):
        read_replacements("item_id,timestamp,price\na,2024-01-01,1\na,2024-01-01\n", "what_if/x.csv")


def test_a_column_that_is_there_twice_is_refused_and_lines_may_end_as_they_like() -> None:
    with pytest.raises(ScenarioError, match=r"what_if/x\.csv, line 1: the header names price twice"):
        read_replacements("item_id,timestamp,price,price\na,2024-01-01,1,2\n", "what_if/x.csv")
    (row,) = read_replacements("item_id,timestamp,price\ra,2024-01-01,1\r", "what_if/x.csv")
    assert row.values == {"price": "1"}


def test_times_with_an_offset_are_those_of_the_datasets_clock() -> None:
    text = (
        "item_id,timestamp,price\na,2024-07-01T00:00:00+05:00,1\na,2024-07-01T00:00:00Z,1\na,2024-07-01,1\na,soon,1\n"
    )
    condition = {"AttributeName": "Timestamp", "Condition": "LESS_THAN", "AttributeValue": "2024-07-01T00:00:00+05:00"}
    action = {"AttributeName": "price", "Operation": "ADD", "Value": 1}
    made = read_transformations([{"Action": action, "TimeSeriesConditions": [condition]}], "x")
    for clock, moved in ((None, "2024-06-30T19:00:00"), ("Europe/Berlin", "2024-06-30T21:00:00")):
        found = on_clock(Scenario("x", made, read_replacements(text, "x")), clock)
        assert [row.timestamp for row in found.replacements] == [moved, "2024-07-01T00:00:00Z", "2024-07-01", "soon"]
        assert found.transformations[0].conditions[0].value == moved


def test_two_files_of_one_kind_are_not_one_scenario(line: Line) -> None:
    line.put("what_if/spring/twin.json", json.dumps(CHEAPER))
    drop(line, "twin.json", CHEAPER)
    assert "several files of one kind, what_if/spring/twin.json, what_if/twin.json" in failure_reason(
        forecast(line, "twin")
    )


def explained(line: Line) -> Path:
    """The folder of the last partition's explanation."""
    if not line.group.store.shown(explanations_key(LAST)):
        assert line.run(["forecast_explanations"], LAST, job="__ASSET_JOB").success
    return line.group.store.snapshot(explanations_key(LAST))


def test_explanations_are_in_units_and_add_up_to_what_is_known_of_the_truth(line: Line) -> None:
    sales = shops(items=12, periods=DAYS, horizon=HORIZON)
    table = pq.read_table(explained(line) / "explanations.parquet", partitioning=None).to_pylist()
    forecasts = pq.read_table(line.group.store.snapshot(history_key(LAST)) / "forecast.parquet", partitioning=None)
    means = forecasts["mean"].to_numpy().reshape(12, HORIZON)
    found: dict[tuple[str, int], dict[str, float]] = {}
    for row in table:
        day = (row["timestamp"].date() - FIRST).days - DAYS
        found.setdefault((row["item_id"], day), {})[row["attribute"]] = row["impact_units"]
    ratios = []
    for number, one in enumerate(sales):
        price, promotion = one.covariates.known["price"], one.covariates.known["promotion"]
        for day in range(HORIZON):
            # What the true effects say against their mean over the past.
            truth = ELASTICITY * (np.log(price[DAYS + day]) - np.log(price[:DAYS]).mean())
            truth += np.log(PROMOTION) * (promotion[DAYS + day] - promotion[:DAYS].mean())
            parts = found[f"item-{number:02d}", day]
            total = parts["price"] + parts["promotion"]
            calendar = parts["calendar"]
            if abs(truth) > 0.25:
                ratios.append(total / (means[number, day] - calendar) / -np.expm1(-truth))
    assert np.median(ratios) == pytest.approx(1, abs=0.15)


def test_impacts_are_between_minus_one_and_one_in_the_services_columns(line: Line) -> None:
    with (explained(line) / "explanations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["item_id", "timestamp", "calendar-RawImpactScore", "calendar-NormalizedImpactScore"]
    assert len(rows) == 12 * HORIZON
    scores = np.array(
        [[float(row[f"{name}-NormalizedImpactScore"]) for name in ("calendar", "price", "promotion")] for row in rows]
    )
    assert np.abs(scores).max() == pytest.approx(1)
    assert (np.abs(scores) <= 1).all()


def test_the_ui_has_the_attributes_as_bars_and_the_tables_hold_them(line: Line) -> None:
    explained(line)
    metadata = line.metadata("forecast_explanations", LAST)
    assert "█" in metadata["impacts"]
    header, *bars = metadata["impacts"].strip("`\n").splitlines()
    assert "lowers|raises" in header
    sizes = [float(bar.split()[-1]) for bar in bars]
    assert sizes == sorted(sizes, reverse=True)
    assert len(metadata["impacts"]) < 1000
    assert metadata["weight_of_covariates"] > 0.5
    rows = line.table("forecast_explanations", "attributes", LAST)
    assert {row["attribute"] for row in rows} == {"calendar", "price", "promotion"}
    assert line.run(["forecast_tables"]).success
    with duckdb.connect(line.metadata("forecast_tables")["dagster/uri"], read_only=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM forecast_explanations WHERE as_of = ?", [LAST]).fetchall()
    assert count == (12 * HORIZON * 3,)


def test_killed_runs_leave_what_was_published_and_the_next_one_the_same_bytes(line: Line, tmp_path: Path) -> None:
    drop(line, "cheaper.json", CHEAPER)
    assert forecast(line, "cheaper").success
    # What their jobs left: of the scenario the forecast alone, of the explanation all that was published.
    job = tmp_path / "what_if" / f"as_of={LAST}"
    shutil.copytree(line.group.store.snapshot(scenario_key("cheaper")), job)
    shutil.copytree(explained(line), tmp_path / "explanation")
    manifest = json.loads((job / "manifest.json").read_bytes())
    added = ("comparison", "scenario_name", "made_from")
    (job / "manifest.json").write_text(
        json.dumps({name: value for name, value in manifest.items() if name not in added})
    )
    command = ("chronos_assets_tests.defs.scenario_driver", str(line.root), str(folder_of("bolt")))
    started = {"folder": tmp_path, "environment": os.environ}
    done = forks.run(*command, str(tmp_path), "cheaper", LAST, **started)
    assert done.returncode == 0, done.stderr
    for saw in json.loads(done.stdout).values():
        assert saw["old"] > 5
        assert saw["new"] > 0


def test_an_explanation_goes_with_the_forecast_that_it_is_of(line: Line, tmp_path: Path) -> None:
    explained(line)
    withdraw_outdated_explanation(line.group, LAST)
    assert line.group.store.shown(explanations_key(LAST))
    folder = shutil.copytree(line.group.store.snapshot(history_key(LAST)), tmp_path / "before")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")
    line.group.store.publish(history_key(LAST), other, data="forecast.parquet")
    withdraw_outdated_explanation(line.group, LAST)
    assert line.group.store.shown(explanations_key(LAST)) is None
    line.group.store.publish(history_key(LAST), folder, data="forecast.parquet")


def test_a_partition_without_a_forecast_can_not_be_explained(line: Line) -> None:
    result = line.run(["forecast_explanations"], "2024-05-01", job="__ASSET_JOB")
    assert "partition 2024-05-01 has no forecast" in failure_reason(result)


@pytest.fixture(scope="module")
def endpoint(line: Line) -> QuickEndpoints:
    """The group's endpoint, deployed as the asset does it, and the tables with the scenario that it is compared with."""
    endpoints = line.group.overrides["endpoints"] = QuickEndpoints(line.group.store)
    deploy(line.state, logging.getLogger(__name__))
    drop(line, "cheaper.json", CHEAPER)
    assert forecast(line, "cheaper").success
    assert line.run(["forecast_tables"]).success
    return endpoints


def test_the_endpoint_is_asked_with_the_covariates_that_the_forecast_read(line: Line, endpoint: QuickEndpoints) -> None:
    compared = compare_endpoint(line.state)
    asked = endpoint.asked[-1]["inputs"][0]
    assert asked["past_covariates"].keys() == asked["future_covariates"].keys() == {"price", "promotion"}
    assert compared.series == 3
    assert compared.difference is not None
    assert compared.difference < 1e-5


@pytest.fixture
def what_if_page(
    line: Line,
    endpoint: QuickEndpoints,
    monkeypatch: pytest.MonkeyPatch,
    fresh_pages: None,  # noqa: F811 - the fixture
) -> AppTest:
    """The page What-if of an item, which asks that endpoint."""
    monkeypatch.setattr(session, "Group", lambda _: line.group)
    script = "from chronos_assets.dashboard import what_if, session\nsession.in_words(what_if.show)()\n"
    page = AppTest.from_string(script, default_timeout=120)
    page.query_params["item"] = "item-03"
    return page.run()


def test_the_page_asks_the_endpoint_and_gets_what_a_scenario_gets(line: Line, what_if_page: AppTest) -> None:
    folder = line.group.store.snapshot(scenario_key("cheaper"))
    table = pq.read_table(folder / "what_if.parquet", partitioning=None, filters=[("item_id", "==", "item-03")])
    totals = [words.number(table[name].to_numpy().sum()) for name in ("baseline_p50", "p50")]
    assert [metric.value for metric in what_if_page.metric[:2]] == [totals[0], totals[0]]
    (slider,) = what_if_page.slider  # of the price; a promotion is on or off
    slider.set_value(-10).run()
    assert not what_if_page.exception
    assert [metric.value for metric in what_if_page.metric[:2]] == [totals[1], totals[0]]
    asked = line.group.endpoints.asked[-1]["inputs"][0]  # type: ignore[attr-defined] - of this test's endpoints
    assert asked["item_id"] == "item-03"
    ratio = np.divide(asked["future_covariates"]["price"], asked["baseline_covariates"]["price"])
    assert ratio == pytest.approx([0.9] * HORIZON)
    assert asked["future_covariates"]["promotion"] == asked["baseline_covariates"]["promotion"]
    said = " ".join(str(caption.value) for caption in what_if_page.caption)
    assert "Answered by" in said
    assert "differs from the published one" not in said


def test_a_switch_turns_a_promotion_on_in_every_period(line: Line, what_if_page: AppTest) -> None:
    (switch,) = what_if_page.get("button_group")
    switch.set_value("on").run()
    assert not what_if_page.exception
    assert line.group.endpoints.asked[-1]["inputs"][0]["future_covariates"]["promotion"] == [1.0] * HORIZON  # type: ignore[attr-defined]


def test_without_an_endpoint_the_page_says_what_to_do_and_still_offers_the_scenario(
    line: Line, what_if_page: AppTest
) -> None:
    endpoints = line.group.endpoints
    line.group.overrides["endpoints"] = gone = QuickEndpoints(line.group.store)
    vars(line.group).pop("endpoints", None)
    try:
        st.cache_data.clear()
        what_if_page.slider[0].set_value(-10).run()
        assert not what_if_page.exception
        assert "endpoint deploy" in what_if_page.info[0].value
        assert "7 of 7 periods are other than planned" in " ".join(str(text.value) for text in what_if_page.caption)
        assert not gone.asked
    finally:
        line.group.overrides["endpoints"] = endpoints
        vars(line.group).pop("endpoints", None)


@pytest.fixture
def dashboard(line: Line, endpoint: QuickEndpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a dashboard that asks that endpoint: in this process, which has everything imported."""
    monkeypatch.setattr(session, "Group", lambda _: line.group)
    servers: list[uvicorn.Server] = []
    run = uvicorn.Server.run

    def kept(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        servers.append(self)
        run(self, sockets)

    monkeypatch.setattr(uvicorn.Server, "run", kept)
    # Streamlit adds the page's folder to the path. Jobs get the path of this process, and with another one than their server
    # has they are started cold.
    monkeypatch.setattr(sys, "path", list(sys.path))
    port = free_port()
    thread = threading.Thread(target=server.serve, args=("127.0.0.1", port), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    for one in servers:
        one.should_exit = True
    thread.join(30)
    Runtime._instance = None
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.mark.browser
def test_moving_the_slider_moves_the_line(dashboard: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(0)  # however busy the machine: the test as a whole has a limit
        while True:
            try:
                page.goto(f"{dashboard}/what-if?item=item-03")
                break
            except PlaywrightError:
                time.sleep(0.1)
        page.get_by_text("Answered by").wait_for()
        before = 0.0
        while not before or _height_of_line(page) != before:  # the chart is drawn after the text, and more than once
            before = _height_of_line(page)
            page.wait_for_timeout(500)
        while not page.get_by_text("7 of 7 periods are other than planned").is_visible():
            page.get_by_role("slider").first.press("Home")  # half the price, by keyboard
            page.wait_for_timeout(500)
        # An elasticity of -1.8: it sells about three times as much.
        while _height_of_line(page) < before + 20:
            page.wait_for_timeout(200)
        browser.close()


def _height_of_line(page: Page) -> float:
    """Pixels from the bottom of the chart to the line of the what-if, on average."""
    picture = Image.open(io.BytesIO(page.get_by_test_id("stVegaLiteChart").first.screenshot())).convert("RGB")
    pixels = np.asarray(picture).astype(int)[picture.height // 4 :]  # below the legend
    colour = [int(VERMILION[place : place + 2], 16) for place in (1, 3, 5)]
    rows = np.nonzero(np.abs(pixels - colour).sum(axis=2) < 60)[0]
    return float(len(pixels) - rows.mean()) if len(rows) else 0.0


def test_a_run_forecasts_what_is_stale(line: Line) -> None:
    drop(line, "cheaper.json", CHEAPER)
    assert "cheaper" in stale_scenarios(line.state)
    assert forecast(line, "cheaper").success
    assert "cheaper" not in stale_scenarios(line.state)
    noted: list[str] = []
    launcher = Launcher(line.group, line.definitions, line.instance, noted.append)
    line.put("what_if/plain.json", json.dumps(CHEAPER))
    launcher.attempt_scenario("plain")
    assert not noted
    assert "plain" not in stale_scenarios(line.state)
    line.put("what_if/broken.json", "{")
    launcher.attempt_scenario("broken")
    assert "scenario broken has no forecast" in noted[0]
    assert "can't be read" in noted[0]
