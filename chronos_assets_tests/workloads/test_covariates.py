"""Forecasts that read covariates: what they may see as of a window, the same bytes alone and in a range, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.container.archives import MODEL_ARCHIVE, pack_folder, unpack
from chronos_assets.container.contract import WorkloadError, Workspace
from chronos_assets.container.remote_files import REMOTE_FILES, remote_files_document
from chronos_assets.predictors import backtest
from chronos_assets.predictors.covariates import (
    CovariateFolders,
    ServedCovariates,
    calendar_columns,
    open_covariates,
    read_holidays,
)
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.predictors.traits import TraitEffects
from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest
from chronos_assets.timeseries.forecast.files import series_traits
from chronos_assets.workloads import evaluate, explain, forecast, learn
from chronos_assets_tests.models import tiny
from chronos_assets_tests.predictors.demand import Demand, shops
from chronos_assets_tests.timeseries.builders import (
    MadeRelated,
    MadeSeries,
    make_metadata,
    make_params,
    make_related,
    write_dataset,
)
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.processing_root import processing_root

pytestmark = pytest.mark.process  # most learn a predictor: half a second each

HORIZON, PERIODS = 7, 170
START = "2023-01-01"
WINDOWS = [
    {"key": "2023-06-01", "end": "2023-06-02T00:00:00"},  # after 152 periods
    {"key": "2023-06-05", "end": "2023-06-06T00:00:00"},  # after 156
]
CUT = 156
FEASTS = {"countries": [], "days": {"feast": ["2023-01-21", "2023-03-07", "2023-04-21", "2023-06-05"]}}


@pytest.fixture(scope="module")
def sales() -> list[Demand]:
    return shops(items=12, periods=PERIODS, horizon=HORIZON)


def write(folder: Path, sales: list[Demand], *, visits_from: int | None = None, known: tuple[str, ...] = ()) -> Path:
    """A folder of inputs: the dataset, its related time series (visits are past-only), its metadata."""
    params = make_params(frequency="D", horizon=HORIZON)
    keys = [(f"item-{number:02d}",) for number in range(len(sales))]
    dataset = write_dataset(
        folder / "dataset",
        params,
        [MadeSeries(key, START, one.values[:PERIODS]) for key, one in zip(keys, sales, strict=True)],
    )
    related = []
    for number, (key, one) in enumerate(zip(keys, sales, strict=True)):
        visits = np.random.default_rng(number).normal(100, 10, PERIODS)
        if visits_from is not None:
            visits[visits_from:] += 1000
        values = {name: list(one.covariates.known[name]) for name in ("price", "promotion")}
        related.append(MadeRelated(key, START, {**values, "visits": [*visits, *([np.nan] * HORIZON)]}))
    make_related(folder / "related_time_series", dataset, related, known=known or ("price", "promotion"))
    make_metadata(
        folder / "item_metadata", {key[0]: {"colour": "red" if key[0] < "item-06" else "blue"} for key in keys}
    )
    return folder


def folders_of(inputs: Path) -> dict[str, Path]:
    """The channels that a folder has."""
    return {path.name: path for path in inputs.iterdir()}


def prepare(root: Path, inputs: Path, **changes: Any) -> Workspace:
    parameters = {
        "windows": WINDOWS[1:],
        "frequency": "D",
        "horizon": HORIZON,
        "quantiles": [0.1, 0.5, 0.9],
        "model": str(tiny.folder_of("bolt")),
        "zero_shot": {"members": ["theta", "seasonal_naive", "regression"]},
        "holidays": FEASTS,
        **changes,
    }
    return processing_root(root, parameters, folders_of(inputs))


def run(root: Path, inputs: Path, **changes: Any) -> Path:
    workspace = prepare(root, inputs, **changes)
    forecast.main(workspace, Listener())
    return workspace.output("forecast")


def explain_last(root: Path, inputs: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """The manifest of the explanation of a job's last window."""
    channels = root / "channels"
    channels.mkdir(parents=True)
    for path in inputs.iterdir():
        (channels / path.name).symlink_to(path)
    (channels / "forecast").mkdir()
    urls = {path.name: path.as_uri() for path in (output / "as_of=2023-06-05").iterdir()}
    (channels / "forecast" / REMOTE_FILES).write_text(remote_files_document(urls))
    workspace = prepare(root, channels, **changes)
    explain.main(workspace, Listener())
    return json.loads((workspace.output("explanations") / "manifest.json").read_text())


def bytes_of(output: Path, key: str = "2023-06-05") -> bytes:
    return (output / f"as_of={key}" / "forecast.parquet").read_bytes()


def predictor_of(output: Path, key: str = "2023-06-05") -> dict[str, Any]:
    return json.loads((output / f"as_of={key}" / "predictor.json").read_text())


def error_of(output: Path, sales: list[Demand]) -> float:
    made = pq.read_table(output / "as_of=2023-06-05" / "forecast.parquet", partitioning=None)["p50"].to_numpy()
    actual = np.concatenate([one.values[CUT : CUT + HORIZON] for one in sales])
    return float(np.abs(made - actual).sum() / actual.sum())


def test_covariates_are_used_and_named(tmp_path, sales, monkeypatch):
    monkeypatch.setattr(backtest, "LEAST_ITEMS", 5)  # so that weights follow from what series look like
    inputs = write(tmp_path / "in", sales)
    output = run(tmp_path / "job", inputs)
    document = predictor_of(output)
    assert document["weights"]["regression/theta"] > 0.5
    names = {column["name"] for column in document["regression"]["columns"]}
    assert {"price", "promotion", "visits", "holiday:feast", "calendar:day_of_week", "colour"} <= names
    manifest = json.loads((output / "as_of=2023-06-05" / "manifest.json").read_text())
    assert manifest["covariates"]["item_metadata"] == ["colour"]
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "dataset").symlink_to(tmp_path / "in" / "dataset")
    without = run(tmp_path / "without", bare, holidays=None)
    assert "regression" not in predictor_of(without)
    assert error_of(output, sales) < 0.7 * error_of(without, sales)
    folder = output / "as_of=2023-06-05"
    effects = TraitEffects(np.zeros(6), np.ones(6), np.linspace(-0.3, 0.3, 12).reshape(6, 2))
    halves = replace(
        Predictor.from_json(json.dumps(document).encode()),
        members=("theta", "regression/theta"),
        weights=np.array([0.5, 0.5]),
        items={},
        segments={},
        traits=effects,
    )
    halves.save(folder)
    explain_last(tmp_path / "why", inputs, output)
    table = pq.read_table(Workspace(tmp_path / "why").output("explanations") / "explanations.parquet")
    weights = {key[0]: halves.weights_of(key, row)[1] for key, row in series_traits(folder, ()).items()}
    assert dict(zip(table["item_id"].to_pylist(), table["weight"].to_pylist(), strict=True)) == pytest.approx(weights)
    assert len(set(weights.values())) > 1


def test_what_comes_after_the_as_of_changes_no_byte(tmp_path, sales):
    expected = bytes_of(run(tmp_path / "job", write(tmp_path / "in", sales)))
    later = [Demand(one.values.copy(), one.covariates) for one in sales]
    for one in later:
        one.values[CUT:] *= 100
    changed = write(tmp_path / "later", later, visits_from=CUT)
    assert bytes_of(run(tmp_path / "again", changed)) == expected
    known = [Demand(one.values, _beyond(one, CUT + HORIZON)) for one in sales]
    assert bytes_of(run(tmp_path / "known", write(tmp_path / "beyond", known))) == expected
    # That what comes before does change them shows that the two comparisons could fail.
    seen = [Demand(one.values, _beyond(one, CUT)) for one in sales]
    assert bytes_of(run(tmp_path / "seen", write(tmp_path / "within", seen))) != expected
    assert bytes_of(run(tmp_path / "past", write(tmp_path / "visits", sales, visits_from=CUT - 60))) != expected


def _beyond(one: Demand, period: int) -> Any:
    from chronos_assets_tests.predictors.demand import changed

    return changed(one.covariates, period, price=1.0, promotion=1.0)


def test_past_only_prices_are_not_read_ahead(tmp_path, sales):
    expected = bytes_of(run(tmp_path / "job", write(tmp_path / "in", sales, known=("promotion",))))
    dearer = [Demand(one.values, _prices(one, CUT)) for one in sales]
    again = write(tmp_path / "dearer", dearer, known=("promotion",))
    assert bytes_of(run(tmp_path / "again", again)) == expected


def _prices(one: Demand, period: int) -> Any:
    from chronos_assets_tests.predictors.demand import changed

    return changed(one.covariates, period, price=99.0)


def test_one_window_and_a_range_give_the_same_bytes(tmp_path, sales):
    inputs = write(tmp_path / "in", sales)
    together = run(tmp_path / "range", inputs, windows=WINDOWS)
    alone = run(tmp_path / "alone", inputs)
    for path in sorted((alone / "as_of=2023-06-05").iterdir()):
        assert path.read_bytes() == (together / "as_of=2023-06-05" / path.name).read_bytes(), path.name


def test_a_network_that_reads_covariates_sees_what_is_known_and_no_more(tmp_path, sales):
    natively = {"model": str(tiny.folder_of("chronos2")), "zero_shot": {"members": ["chronos/covariates"]}}
    inputs = write(tmp_path / "in", sales)
    output = run(tmp_path / "job", inputs, **natively)
    assert predictor_of(output)["weights"] == {"chronos/covariates": 1.0}
    assert bytes_of(run(tmp_path / "range", inputs, windows=WINDOWS, **natively)) == bytes_of(output)
    known = [Demand(one.values, _beyond(one, CUT + HORIZON)) for one in sales]
    assert bytes_of(
        run(tmp_path / "beyond", write(tmp_path / "later", known, visits_from=CUT), **natively)
    ) == bytes_of(output)
    explained = explain_last(tmp_path / "why", inputs, output, **natively)
    assert {row["attribute"] for row in explained["attributes"]} == {"holiday:feast", "price", "promotion", "visits"}
    assert (explained["series"], explained["weight"], explained["link"]) == (12, 1.0, None)
    assert explained["attributes"][0]["mean_absolute_units"] > 0
    header = (Workspace(tmp_path / "why").output("explanations") / "explanations.csv").read_text().splitlines()[0]
    assert '"Holiday_feast-RawImpactScore","Holiday_feast-NormalizedImpactScore","price-RawImpactScore"' in header
    seen = [Demand(one.values, _beyond(one, CUT)) for one in sales]
    assert bytes_of(run(tmp_path / "seen", write(tmp_path / "within", seen), **natively)) != bytes_of(output)


def test_learning_before_gives_the_same_predictor(tmp_path, sales):
    inputs = write(tmp_path / "in", sales)
    workspace = prepare(tmp_path / "learn", inputs)
    learn.main(workspace, Listener())
    (path,) = workspace.output("predictors").glob("*.json")
    learned = json.loads(path.read_text())
    used = predictor_of(run(tmp_path / "job", inputs))
    assert learned["regression"] == used["regression"]
    assert learned["weights"] == used["weights"]


@pytest.mark.parametrize("members", [["tuned/covariates"], ["regression/tuned", "tuned/1"]])
def test_a_trained_version_learns_from_covariates_too(tmp_path, sales, members):
    channels = tmp_path / "channels"
    inputs = write(channels, sales)
    (channels / "model").symlink_to(tiny.folder_of("chronos2"))
    workspace = prepare(tmp_path / "learn", inputs)
    given = json.loads(workspace.parameters_file.read_text())
    version = {
        "model": "candidate",
        "predictor": {"members": members, "per_item": False},
        **{part: given[part] for part in ("frequency", "horizon", "holidays")},
    }
    workspace.parameters_file.write_text(json.dumps(version))
    learn.main(workspace, Listener())
    document = json.loads((workspace.output("predictors") / "predictor.json").read_text())
    assert document["weights"][members[0]] > 0.5


def test_a_packed_version_has_what_an_endpoint_knows_of_items_and_holidays(tmp_path, sales):
    channels = tmp_path / "channels"
    inputs = write(channels, sales[:2])
    (channels / "model").mkdir()
    pack_folder(tiny.folder_of("bolt"), channels / "model" / MODEL_ARCHIVE)
    workspace = prepare(tmp_path / "learn", inputs)
    version = {"model": "candidate", "predictor": {"members": ["tuned/1"]}, "frequency": "D", "horizon": HORIZON}
    workspace.parameters_file.write_text(json.dumps(version | {"holidays": FEASTS}))
    learn.main(workspace, Listener())
    unpack(workspace.output("predictors") / MODEL_ARCHIVE, tmp_path / "version")
    served = ServedCovariates.load(tmp_path / "version")
    assert served.of("item-01") == {"colour": "red"}
    assert served.categories["colour"]["item-01"] == "red"
    assert served.holidays == read_holidays(FEASTS)


def test_the_gate_reads_covariates(tmp_path, sales):
    inputs = write(tmp_path / "in", sales)
    model = str(tiny.folder_of("bolt"))
    scores = []
    for name, holidays in (("with", {"countries": ["DE"]}), ("without", None)):
        folder = inputs
        if name == "without":
            folder = tmp_path / "bare"
            folder.mkdir()
            (folder / "dataset").symlink_to(inputs / "dataset")
        parameters = {
            "models": {"candidate": model, "base": model},
            "horizon": HORIZON,
            "quantiles": [0.1, 0.5, 0.9],
            "frequency": "D",
            "zero_shot": {"members": ["theta", "seasonal_naive", "regression"]},
            "holidays": holidays,
        }
        workspace = processing_root(tmp_path / name, parameters, folders_of(folder))
        evaluate.main(workspace, Listener())
        document = json.loads((workspace.output("evaluation") / "metrics.json").read_text())
        scores.append(document["models"]["base"]["metrics"]["wql"])
    assert scores[0] < 0.7 * scores[1]


def test_related_series_of_another_dataset_are_refused(tmp_path, sales):
    inputs = write(tmp_path / "in", sales)
    other = write(tmp_path / "other", sales[:5])
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "dataset").symlink_to(inputs / "dataset")
    (mixed / "related_time_series").symlink_to(other / "related_time_series")
    with pytest.raises(DatasetError, match="materialize related_time_series again"):
        run(tmp_path / "job", mixed)


def test_what_isnt_a_calendar_of_holidays_is_refused(tmp_path, sales):
    with pytest.raises(WorkloadError, match="holidays is"):
        run(tmp_path / "job", write(tmp_path / "in", sales), holidays={"Countries": ["DE"]})
    assert read_holidays({"countries": ["DE"], "days": {"own": ["2024-01-01"]}}) == HolidayCalendar(
        ("DE",), (("own", ("2024-01-01",)),)
    )


def test_series_and_related_series_are_joined_and_cut(tmp_path, sales):
    inputs = write(tmp_path / "in", sales[:3])
    grid = Grid(Frequency.parse("D"))
    workspace = processing_root(tmp_path / "job", {}, folders_of(inputs))
    source = open_covariates(workspace, grid, Manifest.read(inputs / "dataset"), None)
    assert isinstance(source, CovariateFolders)
    first = int(grid.ordinal(np.array([np.datetime64(START, "us")]))[0])
    related = source.of_series([("item-01",), ("nobody",)])
    assert list(related) == [("item-01",)]
    found = source.as_of(("item-01",), related["item-01",], first + 9, 4, 3)
    price = sales[1].covariates.known["price"]
    assert found.known["price"].tolist() == price[6:13].tolist()
    assert len(found.past["visits"]) == 4
    assert found.static == {"colour": "red"}
    beyond = source.as_of(("item-01",), related["item-01",], first + PERIODS + HORIZON - 2, 2, 3)
    assert beyond.known["price"][:3].tolist() == price[-3:].tolist()
    assert np.isnan(beyond.known["price"][3:]).all()
    nothing = source.as_of(("nobody",), None, first + 9, 4, 3)
    assert set(nothing.known) == {"calendar:day_of_week", "calendar:month"}
    assert nothing.static == {"colour": ""}


@pytest.mark.parametrize(
    ("frequency", "start", "expected"),
    [
        ("H", "2024-02-29T23:00", {"hour": [23.0, 0.0], "day_of_week": [3.0, 4.0], "month": [2.0, 3.0]}),
        ("D", "2024-12-31", {"day_of_week": [1.0, 2.0], "month": [12.0, 1.0]}),
        ("M", "2024-12-01", {"month": [12.0, 1.0]}),
        ("Y", "2024-01-01", {}),
    ],
)
def test_the_calendar_has_the_cycles_that_are_longer_than_a_period(frequency, start, expected):
    grid = Grid(Frequency.parse(frequency))
    first = int(grid.ordinal(np.array([np.datetime64(start, "us")]))[0])
    found = {name: values.tolist() for name, values in calendar_columns(grid, first, 2).items()}
    assert found == {f"calendar:{name}": values for name, values in expected.items()}
