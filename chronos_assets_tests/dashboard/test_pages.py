"""The pages in their many states, without a browser: what they say of a full store, an empty one, a damaged one."""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from chronos_assets.dashboard import session, what_if
from chronos_assets.dashboard.queries import ItemSeries
from chronos_assets.dashboard.source import StoreSource
from chronos_assets.dashboard.what_if import scenario_rows
from chronos_assets.dashboard.words import csv_text, plain
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.what_if import read_scenario, with_dimensions
from chronos_assets.platforms.local.registry import LocalRegistry
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tables import LocalTables
from chronos_assets.platforms.registry import PackageVersion
from chronos_assets.settings import Settings
from chronos_assets_tests.dashboard.fresh_pages import fresh_pages  # noqa: F401 - a fixture
from chronos_assets_tests.dashboard.stores import EVIL, OLD, full_store, write_store
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.timeseries.builders import make_params

pytestmark = pytest.mark.process  # each test runs a Streamlit script

SCRIPT = """
import streamlit as st
from chronos_assets.dashboard import {page}
from chronos_assets.dashboard.session import in_words

in_words({page}.show)()
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "store"
    full_store(root)
    return root


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, fresh_pages: None) -> Any:  # noqa: F811 - the fixture
    def opened(root: Path, name: str, typed: str = "", **query: str) -> AppTest:
        monkeypatch.setenv("CHRONOS_STORE", str(root))
        app = AppTest.from_string(SCRIPT.format(page=name), default_timeout=120)
        if typed:
            app.session_state["search"] = typed
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return opened


def said(app: AppTest) -> str:
    """Everything that a page says in words."""
    assert not app.exception, app.exception
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error, app.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


PAGES = ("overview", "items", "item", "what_if", "models")


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_store_is_a_sentence_and_what_to_do(page: Any, tmp_path: Path, name: str) -> None:
    app = page(tmp_path / "store", name)
    assert "There are no data yet" in said(app)
    assert "chronos\\-assets run" in said(app)
    # Looking at a store leaves no trace in it.
    assert not (tmp_path / "store" / "params.json").exists()


@pytest.mark.parametrize("name", ["overview", "items", "item", "what_if"])
def test_files_that_are_not_imported_yet_are_named(page: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "demand.csv").write_text("timestamp,target_value,item_id\n")
    assert "1 file is in" in said(page(tmp_path, name))


@pytest.mark.parametrize("name", ["overview", "items", "item", "what_if"])
def test_tables_that_are_missing_or_damaged_are_a_sentence(page: Any, tmp_path: Path, name: str) -> None:
    write_store(tmp_path)
    assert "there are no tables yet" in said(page(tmp_path, name))
    (tmp_path / "tables").mkdir(exist_ok=True)
    (tmp_path / "tables" / "forecast.duckdb").write_bytes(b"no database")
    app = page(tmp_path, name)
    assert "materialize forecast\\_tables" in said(app)


def test_a_damaged_manifest_and_a_broken_params_json_are_sentences(page: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    (tmp_path / "store/forecast/manifest.json").write_text('{"as_of": "2024-01-04"}')
    assert "it is no object with as_of, context_end" in said(page(tmp_path / "store", "overview")).replace("\\", "")
    (tmp_path / "store/forecast/manifest.json").write_text("{")
    (tmp_path / "store/params.json").write_text("{}")
    assert "manifest of the current forecast can't be read" in said(page(tmp_path / "store", "overview")).replace(
        "\\", ""
    )
    assert "Correct params.json" in said(page(tmp_path / "store", "models")).replace("\\", "")


def test_tables_of_an_older_version_are_a_sentence(page: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    with duckdb.connect(str(tmp_path / "store/tables/forecast.duckdb")) as connection:
        connection.execute("DROP TABLE anomalies; DROP TABLE accuracy")
    for name in ("overview", "items", "item"):
        app = page(tmp_path / "store", name, **({"item": "milk", "shop": "north"} if name == "item" else {}))
        assert "materialize forecast\\_tables" in said(app), name


def test_covariates_that_can_not_be_read_leave_the_rest_of_the_page(page: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    for asset in ("related_time_series", "item_metadata"):
        for file in (tmp_path / "store/dataset" / asset).resolve().glob("*.parquet"):
            file.write_bytes(b"no Parquet")
    app = page(tmp_path / "store", "item", item="milk", shop="north")
    assert "materialize item\\_metadata" in said(app)
    assert "Accuracy" in said(app)
    app = page(tmp_path / "store", "items")
    assert "materialize item\\_metadata" in said(app)
    assert len(app.dataframe[0].value) == 4
    assert "materialize related\\_time\\_series" in said(page(tmp_path / "store", "what_if", item="milk", shop="north"))


def test_a_run_on_its_way_is_named_where_there_is_nothing_yet(page: Any, tmp_path: Path) -> None:
    home = tmp_path / ".dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_run(
            dg.DagsterRun(
                job_name="refresh_forecasts",
                run_id=str(uuid.uuid4()),
                status=dg.DagsterRunStatus.STARTED,
                asset_selection=frozenset({dg.AssetKey("target_time_series")}),
            )
        )
    assert "In progress: import" in said(page(tmp_path, "overview"))
    assert "A run is on its way \\(import\\)" in said(page(tmp_path, "item"))


def test_partitions_that_are_gone_leave_what_the_tables_know(page: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    for folder in ("history", "accuracy", "anomalies", "members"):
        shutil.rmtree(tmp_path / "store" / folder)
    assert "uses data up to" in said(page(tmp_path / "store", "overview"))
    LocalTables().refresh(open_store(tmp_path / "store"), make_params(dimensions=("shop",), horizon=48))
    assert "No forecast has been scored yet" in said(page(tmp_path / "store", "overview"))
    assert "None of its forecasts has been scored yet" in said(
        page(tmp_path / "store", "item", item="milk", shop="north")
    )
    assert "No forecast has been scored yet" in said(page(tmp_path / "store", "items"))


def test_an_error_that_nobody_expected_is_a_sentence_too(
    page: Any, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chronos_assets.dashboard import queries

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret details")

    monkeypatch.setattr(queries, "columns", broken)
    app = page(whole, "items")
    assert "This page can't be shown: ZeroDivisionError" in said(app)
    assert "secret details" not in said(app)


def test_the_overview_says_how_fresh_how_good_and_what_happened(
    page: Any, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(whole, "overview")
    text = said(app).replace("\\", "")
    assert "uses data up to **2024-01-04 23:00**" in text
    assert "Model: tiny/model" in text
    assert "score_forecasts as of 2024-01-03 failed in forecasts: the disk is full: make room" in text
    assert [metric.label for metric in app.metric] == ["wQL", "WAPE", "Bias", "Inside the 80 % band"]
    assert "Segments" in text
    assert "newer" not in text
    assert "- **rows**: 0 read, 480 used" in text
    assert "- **related**: 3 series: known in advance price; known afterwards event" in text
    assert "The data go on to 2024-01-05 23:00, which this forecast hasn't seen" in text
    assert app.selectbox(key="sum").options == ["everything", "brand: Acme", "brand: Dairy <b>"]
    assert "still hold another forecast" not in text
    later = {**(session.source().forecast() or {}), "as_of": "2024-01-06", "forecast_start": "2024-01-07T00:00:00"}
    monkeypatch.setattr(StoreSource, "forecast", lambda _: later)
    app.selectbox(key="sum").set_value(("brand", "Dairy <b>")).run()
    assert "The SQL tables, which these pages read, still hold another forecast" in said(app)


def test_the_ranking_follows_the_choice_and_the_filters(page: Any, whole: Path) -> None:
    app = page(whole, "items")
    assert app.dataframe[0].value["item_id"].iloc[0] == "bread"
    app.selectbox(key="rank").set_value("Bias (tracking signal)").run()
    assert app.dataframe[0].value["item_id"].iloc[0] == "milk"
    app.text_input(key="text").set_value("BREAD").run()
    assert set(app.dataframe[0].value["item_id"]) == {"bread"}
    app.selectbox(key="dimension_shop").set_value("south").run()
    assert list(app.dataframe[0].value["shop"]) == ["south"]
    app.text_input(key="text").set_value("nothing like it").run()
    assert "No series matches" in said(app)


def test_the_page_of_an_item_is_reached_by_its_address(page: Any, whole: Path) -> None:
    app = page(whole, "item", item="bread", shop="north")
    text = said(app)
    assert "bread \\/ north" in text
    assert "Actuals far outside the band" in text
    assert "What makes its forecast" in text
    assert list(app.dataframe[-1].value.columns)[:4] == ["forecast as of", "period", "observed", "how far"]
    assert "Times are UTC; the export has them on the clock of Europe\\/Berlin." in text
    assert app.multiselect[0].value == [OLD]  # the newest whose periods are all observed
    assert dict(app.query_params) == {"item": "bread", "shop": "north"}


@pytest.mark.parametrize("typed, shown", [
    ("mil", "milk \\/ north"),
    ("bread / south", "bread \\/ south"),
    ("bre", "Choose one, or type more"),
    ("zzz", "No item has zzz in its name"),
    ("", "Type a part of a name"),
])  # fmt: skip
def test_a_name_is_searched_for_by_a_part_of_it(page: Any, whole: Path, typed: str, shown: str) -> None:
    app = page(whole, "item", typed=typed)
    assert shown in said(app)
    if typed == "bre":
        assert list(app.radio[0].options) == ["bread / north", "bread / south"]


def test_an_item_that_is_gone_is_a_sentence(page: Any, whole: Path) -> None:
    text = said(page(whole, "item", item="gone", shop="north")).replace("\\", "")
    assert "There is no forecast of gone / north: it may be" in text
    assert "Accuracy" not in text  # nor anything else about nothing


def test_a_series_that_the_forecast_left_out_has_its_reason(
    page: Any, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {**(StoreSource(Group(Settings(store=str(whole)))).forecast() or {})}
    made["skipped"] = [{"item": ["gone", "north"], "reason": "2 observations before the as-of, 3 are needed"}]
    monkeypatch.setattr(StoreSource, "forecast", lambda _: made)
    text = said(page(whole, "item", item="gone", shop="north"))
    assert "2 observations before the as" in text.replace("\\", "")


def test_names_are_data_wherever_they_are_shown(page: Any, whole: Path) -> None:
    app = page(whole, "item", item=EVIL, shop="north")
    assert app.title[0].value.startswith("\\=\\<b\\>x\\<\\/b\\>\\[a\\]")
    assert not any(element.allow_html for element in (*app.markdown, *app.title) if hasattr(element, "allow_html"))


ODD_NAMES = (
    '=HYPERLINK("http://evil.example","x")<script>alert(1)</script>',
    "a/b\\c?d#e&f=g%20" + "x" * 300,
    '🥛 it\'s "quoted"; DROP TABLE forecast',
)


def test_odd_names_are_found_by_typing_by_their_address_and_in_csv(page: Any, tmp_path: Path) -> None:
    params = write_store(tmp_path, tuple(sorted((name, "n/s") for name in ODD_NAMES)))
    LocalTables().refresh(open_store(tmp_path), params)
    for name in ODD_NAMES:
        app = page(tmp_path, "item", typed=name)
        assert plain(name) in app.title[0].value, name
        assert dict(app.query_params) == {"item": name, "shop": "n/s"}
        assert "What makes its forecast" in said(app)
    listed = page(tmp_path, "items").dataframe[0].value
    assert set(listed["item_id"]) == set(ODD_NAMES)
    cells = [row[0] for row in csv.reader(csv_text(listed).splitlines())]
    assert not [cell for cell in cells if cell.startswith("=")]


def registered(root: Path, count: int = 2) -> None:
    registry = LocalRegistry(open_store(root))
    for number in range(1, count + 1):
        document = {
            "created": f"2024-01-0{number}T00:00:00+00:00", "data_version": "d", "metrics": {"wql": 0.5 / number}, "gate": {},
        }  # fmt: skip
        registry.register(
            "group",
            model=f"models/v{number}",
            identity=str(number),
            document=document,
            status="Approved",
            reason="better",
        )


def test_decisions_are_off_unless_the_setting_allows_them(page: Any, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    registered(tmp_path / "store")
    app = page(tmp_path / "store", "models")
    assert list(app.dataframe[1].value["status"]) == ["in use", "approved"]
    assert not app.button
    assert "CHRONOS_DASHBOARD_DECISIONS" in said(app).replace("\\", "")


def test_a_version_is_rejected_with_a_reason_only(
    page: Any, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHRONOS_DASHBOARD_DECISIONS", "yes")
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    registered(tmp_path / "store")
    app = page(tmp_path / "store", "models")
    reject = next(button for button in app.button if button.label.startswith("Reject group/2"))
    reject.click().run()
    assert "Say why" in said(app)
    app.text_input[0].set_value("worse in the shops")
    next(button for button in app.button if button.label.startswith("Reject group/2")).click().run()
    kept = json.loads((tmp_path / "store/packages/group/2.json").read_text())
    assert (kept["status"], kept["reason"]) == ("Rejected", "worse in the shops")
    assert kept["history"][-1]["by"].endswith("(dashboard)")
    assert list(app.dataframe[1].value["status"]) == ["rejected", "in use"]


def test_the_version_before_is_taken_back_with_a_reason_only(
    page: Any, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHRONOS_DASHBOARD_DECISIONS", "yes")
    monkeypatch.setenv("CHRONOS_BASE_MODEL", str(folder_of("bolt")))
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    registered(tmp_path / "store")
    shutil.copytree(folder_of("bolt"), tmp_path / "store/models/v1")
    app = page(tmp_path / "store", "models")
    assert "In use: **group\\/2**" in said(app)

    def press() -> None:
        next(button for button in app.button if button.label.startswith("Roll back")).click().run()

    press()
    assert "Say why" in said(app)
    assert [version.status for version in versions(tmp_path / "store")] == ["Approved", "Approved"]
    app.text_input[0].set_value("too high since June")
    registry = LocalRegistry(open_store(tmp_path / "store"))
    registry.set_status("group", 2, "Rejected", reason="in another tab", by="somebody")
    press()  # what this page doesn't show yet is not rolled back as well
    assert "In use: **group\\/1**" in said(app)
    registry.set_status("group", 2, "Approved", reason="in another tab", by="somebody")
    app.run()
    press()
    assert "In use: **group\\/1**" in said(app)
    assert "in use now: group/1" in said(app).replace("\\", "")
    second = versions(tmp_path / "store")[1]
    assert (second.status, second.reason) == ("Rejected", "rolled back: too high since June")
    app.text_input[0].set_value("that one, too")
    press()
    assert "No version is in use" in said(app)


def versions(root: Path) -> list[PackageVersion]:
    return LocalRegistry(open_store(root)).versions("group")


def test_a_series_is_named_by_its_item_and_its_dimensions() -> None:
    assert ItemSeries("bread", (("shop", "north"),)).name == "bread / north"


def test_items_can_be_filtered_by_their_metadata(page: Any, whole: Path) -> None:
    app = page(whole, "items")
    assert list(app.selectbox(key="metadata_brand").options) == ["Acme", "Dairy <b>"]
    app.selectbox(key="metadata_brand").set_value("Acme").run()
    assert set(app.dataframe[0].value["item_id"]) == {"bread"}
    app.text_input(key="text").set_value("milk").run()
    assert "No series matches" in said(app)


def test_the_page_of_an_item_has_its_covariates_where_there_are(page: Any, whole: Path) -> None:
    text = said(page(whole, "item", item="milk", shop="north")).replace("\\", "")
    assert "What else is known" in text
    assert "Known in advance: price." in text
    assert "brand **Dairy <b>**" in text
    assert "What moves it" in text
    text = said(page(whole, "item", item=EVIL, shop="north"))
    assert "What else is known" not in text


def test_a_scenario_is_made_of_what_a_slider_changes_and_saved_where_the_setting_allows_it(
    page: Any, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole, tmp_path / "store", symlinks=True)
    app = page(tmp_path / "store", "what_if", item="milk", shop="north")
    assert "Move a slider" in said(app)
    app.slider[0].set_value(-50).run()
    assert "48 of 48 periods are other than planned" in said(app)
    assert "CHRONOS_DASHBOARD_DECISIONS" in said(app).replace("\\", "")
    assert not app.button

    monkeypatch.setenv("CHRONOS_DASHBOARD_DECISIONS", "yes")
    st.cache_resource.clear()
    app = page(tmp_path / "store", "what_if", item="milk", shop="north")
    app.slider[0].set_value(-50).run()
    app.text_input[0].set_value("../../half").run()
    assert "Use letters, digits" in said(app)
    app.text_input[0].set_value("half-price").run()
    app.button[0].click().run()
    assert "Saved as" in said(app)
    rows = (tmp_path / "store/what_if/half-price.csv").read_text().splitlines()
    assert rows[:2] == ["item_id,shop,timestamp,price", "milk,north,2024-01-05T00:00:00,0.5"]
    assert len(rows) == 1 + 48
    # What was saved is what the pipeline reads.
    saved = with_dimensions(read_scenario(Group(Settings(store=str(tmp_path / "store"))), "half-price"), ("shop",))
    first = saved.replacements[0]
    assert (first.key, first.values) == ({"item_id": "milk", "shop": "north"}, {"price": "0.5"})
    app.button[0].click().run()
    assert "choose another name" in said(app)


def test_a_scenario_holds_only_what_differs() -> None:
    planned = pd.DataFrame(
        {"timestamp": pd.date_range("2024-01-05", periods=3), "price": [1.0, 2.0, None], "event": ["a", None, "b"]}
    )
    edited = planned.assign(price=[1.0, 3.0, None])
    rows = scenario_rows(ItemSeries("milk", (("shop", "north"),)), planned, edited)
    assert rows.to_dict("records") == [
        {"item_id": "milk", "shop": "north", "timestamp": "2024-01-06T00:00:00", "price": 3.0}
    ]
    assert scenario_rows(ItemSeries("milk"), planned, planned.copy()).empty


def test_the_forecast_of_a_scenario_stands_beside_the_baseline(
    page: Any, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = page(whole, "what_if", item="milk", shop="north")
    assert [metric.value for metric in app.metric] == ["3,696", "2,688"]
    assert "Scenarios" in said(app)
    assert "not forecast beside the current forecast" not in said(app)
    monkeypatch.setattr(what_if, "is_beside_current", lambda *_: False)
    assert "not forecast beside the current forecast" in said(app.run())
    assert "Nothing is known in advance" in said(page(whole, "what_if", item=EVIL, shop="north"))
