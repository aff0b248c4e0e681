"""params.json: the pipeline's own file, what each key does, and everything that can be wrong with one."""

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import APPLICABLE_ALIGNMENT, MAX_MULTIPLE, Alignment, Frequency, Grid, Unit
from chronos_assets.params.document import Problem
from chronos_assets.params.exports import BacktestParams, ExportParams
from chronos_assets.params.forecast import (
    DOMAINS,
    HORIZON_LIMIT,
    Attribute,
    Filling,
    ForecastParams,
    ParamsError,
    quantile_name,
    to_document,
)
from chronos_assets.params.predictor import MEMBER_NAMES, PredictorParams, member_in_words
from chronos_assets.params.reader import load_params, parse_params
from chronos_assets.params.reconciliation import ReconcileParams
from chronos_assets.params.training import TrainingParams
from chronos_assets_tests.test_training_params import trainings

PIPELINE = Path("samples/amazon_forecast/testing-data")


def document(**changes: Any) -> dict[str, Any]:
    """A small good file in the shape of the pipeline's sample; `changes` set keys by their path, `...` removes one.

    A path is written with __ between its steps: Predictor__ForecastHorizon, Datasets__0__Domain.
    """
    built: dict[str, Any] = {
        "DatasetGroup": {"DatasetGroupName": "shop", "Domain": "RETAIL"},
        "Predictor": {"ForecastHorizon": 7, "FeaturizationConfig": {"ForecastFrequency": "D"}},
        "Forecast": {"ForecastTypes": ["0.10", "0.50", "0.90"]},
        "TimestampFormat": "yyyy-MM-dd",
        "Datasets": [
            {
                "DatasetName": "sales",
                "Domain": "RETAIL",
                "DatasetType": "TARGET_TIME_SERIES",
                "DataFrequency": "D",
                "Schema": {
                    "Attributes": [
                        {"AttributeName": "item_id", "AttributeType": "string"},
                        {"AttributeName": "timestamp", "AttributeType": "timestamp"},
                        {"AttributeName": "demand", "AttributeType": "float"},
                        {"AttributeName": "store_id", "AttributeType": "string"},
                    ]
                },
            }
        ],
    }
    for path, value in changes.items():
        *steps, last = path.split("__")
        place: Any = built
        for step in steps:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        key: Any = int(last) if isinstance(place, list) else last
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return built


def problems(changed: Any) -> dict[str, Problem]:
    """The problems of a document by key; the document must have some."""
    with pytest.raises(ParamsError) as refusal:
        parse_params(changed)
    found = refusal.value.problems
    assert len({problem.key for problem in found}) == len(found), f"several problems at one key: {refusal.value}"
    return {problem.key: problem for problem in found}


def only_problem(changed: Any) -> Problem:
    (problem,) = problems(changed).values()
    return problem


# --- the pipeline's own files


def test_the_pipelines_sample_is_read_as_it_is(shared_data: Path) -> None:
    params = load_params((shared_data / PIPELINE / "params.json").read_bytes())
    assert params == ForecastParams(
        dataset_group="GithubExample",
        domain="CUSTOM",
        attributes=(
            Attribute("timestamp", "timestamp"),
            Attribute("target_value", "float"),
            Attribute("item_id", "string"),
        ),
        item_column="item_id",
        timestamp_column="timestamp",
        target_column="target_value",
        dimensions=(),
        data_frequency=Frequency(1, Unit.HOUR),
        frequency=Frequency(1, Unit.HOUR),
        horizon=72,
        quantiles=(0.1, 0.5, 0.9),
        mean=False,
        timestamp_format="yyyy-MM-dd hh:mm:ss",
        aggregation="sum",
        filling=Filling(middlefill="nan", backfill="nan"),
        perform_delete=False,
        bad_rows="fail",
    )
    assert parse_params(to_document(params)) == params
    said = "\n".join(params.notes)
    for key in ("Predictor.PerformAutoML", "Predictor.PredictorName", "Forecast.ForecastName", "Datasets[0].Dataset"):
        assert key in said


def test_the_pipelines_template_lists_every_placeholder_at_once(shared_data: Path) -> None:
    with pytest.raises(ParamsError) as refusal:
        load_params((shared_data / PIPELINE / "params_example.json").read_text(), "params_example.json")
    keys = {problem.key for problem in refusal.value.problems}
    assert keys == {
        "ForecastParameters[0].DatasetGroup.Domain",
        "ForecastParameters[0].Predictor.FeaturizationConfig.ForecastFrequency",
        *(f"Datasets[{n}].{key}" for n in (0, 1) for key in ("DatasetType", "Domain", "DatasetFrequency")),
        *(f"Datasets[{n}].Schema.{key}" for n in (0, 1) for key in ("item_id", "timestamp", "demand")),
    }
    assert str(refusal.value).startswith("params_example.json: 14 problems\n")


def test_the_templates_layout_is_read_once_it_is_filled_in() -> None:
    template = {
        "ForecastParameters": [
            {
                "DatasetGroup": {"DatasetGroupName": "shop", "Domain": "RETAIL"},
                "Predictor": {
                    "PredictorName": "p",
                    "AlgorithmArn": "arn:aws:forecast:::algorithm/ARIMA",
                    "ForecastHorizon": 7,
                    "FeaturizationConfig": {"ForecastFrequency": "D", "ForecastDimensions": "store_id"},
                },
                "Forecast": {"ForecastName": "f", "ForecastTypes": ["0.01"]},
            }
        ],
        "TimestampFormat": "yyyy-MM-dd",
        "Datasets": [
            {
                "DatasetType": "TARGET_TIME_SERIES",
                "DatasetFrequency": "D",
                "Schema": {"item_id": "string", "timestamp": "timestamp", "demand": "float", "store_id": "string"},
            }
        ],
    }
    expected = document(
        Predictor__FeaturizationConfig__ForecastDimensions=["store_id"],
        Forecast__ForecastTypes=["0.01"],
        Predictor__AlgorithmArn="arn:aws:forecast:::algorithm/ARIMA",
    )
    assert parse_params(template) == parse_params(expected)


@pytest.mark.parametrize("wrapped", [[], [{}, {}]])
def test_a_store_takes_one_set_of_parameters(wrapped: list[Any]) -> None:
    assert "one set of parameters" in problems({"ForecastParameters": wrapped})["ForecastParameters"].reason


def test_parameters_stand_either_wrapped_or_at_the_top() -> None:
    both = document()
    both["ForecastParameters"] = [{name: both[name] for name in ("DatasetGroup", "Predictor", "Forecast")}]
    assert set(problems(both)) == {"DatasetGroup", "Predictor", "Forecast"}


# --- what the keys do


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_has_its_own_field_names(domain: str) -> None:
    names = DOMAINS[domain]
    schema = [(names.item, "string"), (names.timestamp, "timestamp"), (names.target, "integer")]
    params = parse_params(
        document(
            DatasetGroup__Domain=domain,
            Datasets__0__Domain=domain,
            Datasets__0__Schema__Attributes=[{"AttributeName": n, "AttributeType": t} for n, t in schema],
        )
    )
    assert (params.item_column, params.timestamp_column, params.target_column) == (
        names.item,
        names.timestamp,
        names.target,
    )


def test_the_domains_are_the_services_seven() -> None:
    assert {name: (domain.item, domain.timestamp, domain.target) for name, domain in DOMAINS.items()} == {
        "RETAIL": ("item_id", "timestamp", "demand"),
        "CUSTOM": ("item_id", "timestamp", "target_value"),
        "INVENTORY_PLANNING": ("item_id", "timestamp", "demand"),
        "EC2_CAPACITY": ("instance_type", "timestamp", "number_of_instances"),
        "WORK_FORCE": ("workforce_type", "timestamp", "workforce_demand"),
        "WEB_TRAFFIC": ("item_id", "timestamp", "value"),
        "METRICS": ("metric_name", "timestamp", "metric_value"),
    }


def test_dimensions_come_in_the_order_of_the_schema() -> None:
    changed = document(Predictor__FeaturizationConfig__ForecastDimensions=["store_id", "city"])
    changed["Datasets"][0]["Schema"]["Attributes"].insert(0, {"AttributeName": "city", "AttributeType": "string"})
    assert parse_params(changed).dimensions == ("city", "store_id")


def test_a_column_outside_of_the_dimensions_is_read_over_and_said() -> None:
    params = parse_params(document())
    assert params.dimensions == ()
    assert any("store_id is not used: rows that differ only in it are aggregated" in note for note in params.notes)


@pytest.mark.parametrize(
    ("types", "quantiles", "mean"),
    [
        (["0.10", "0.50", "0.90"], (0.1, 0.5, 0.9), False),
        ([".9", ".01", "mean", "0.5"], (0.01, 0.5, 0.9), True),
        ([0.99, 0.07], (0.07, 0.99), False),
        (["mean"], (), True),
        ("0.5", (0.5,), False),
        (..., (0.1, 0.5, 0.9), False),
    ],
)
def test_forecast_types(types: Any, quantiles: tuple[float, ...], mean: bool) -> None:
    params = parse_params(document(Forecast__ForecastTypes=types))
    assert (params.quantiles, params.mean) == (quantiles, mean)


def test_every_hundredth_is_a_quantile_as_text_and_as_number() -> None:
    percents = range(1, 100)
    expected = tuple(percent / 100 for percent in percents)
    for spelled in (
        [f"0.{percent:02d}" for percent in percents],
        [f".{percent:02d}" for percent in percents],
        [p / 100 for p in percents],
    ):
        assert parse_params(document(Forecast__ForecastTypes=spelled)).quantiles == expected
    assert [quantile_name(level) for level in (0.01, 0.1, 0.29, 0.5, 0.57, 0.99)] == [
        "p01",
        "p10",
        "p29",
        "p50",
        "p57",
        "p99",
    ]


@pytest.mark.parametrize("level", [0.0, 1.0, 0.975, -0.1, 0.005])
def test_other_levels_have_no_column(level: float) -> None:
    with pytest.raises(ValueError, match="hundredths"):
        quantile_name(level)


def test_the_forecasts_types_win_over_the_predictors() -> None:
    params = parse_params(document(Predictor__ForecastTypes=["0.05", "mean"]))
    assert params.quantiles == (0.1, 0.5, 0.9)
    assert any("Predictor.ForecastTypes is not used" in note for note in params.notes)
    params = parse_params(document(Predictor__ForecastTypes=["0.05", "mean"], Forecast=...))
    assert (params.quantiles, params.mean) == ((0.05,), True)


OLD = "Predictor__FeaturizationConfig__Featurizations"


def featurization(**parameters: Any) -> list[dict[str, Any]]:
    method = {"FeaturizationMethodName": "filling", "FeaturizationMethodParameters": parameters}
    return [{"AttributeName": "demand", "FeaturizationPipeline": [method]}]


def auto_predictor(**parameters: Any) -> dict[str, Any]:
    return {"AttributeConfigs": [{"AttributeName": "demand", "Transformations": parameters}]}


@pytest.mark.parametrize("spelling", ["Featurizations", "AttributeConfigs"])
def test_filling_and_aggregation_in_both_spellings_of_the_service(spelling: str) -> None:
    parameters = {"aggregation": "avg", "frontfill": "none", "middlefill": "zero", "backfill": "value"}
    parameters["backfill_value"] = "-2.5"
    if spelling == "Featurizations":
        params = parse_params(document(**{OLD: featurization(**parameters)}))
    else:
        params = parse_params(document(Predictor__DataConfig=auto_predictor(**parameters)))
    assert params.aggregation == "avg"
    assert params.filling == Filling("zero", "value", None, -2.5)
    assert parse_params(to_document(params)) == params


@pytest.mark.parametrize("method", ["zero", "nan", "median", "mean", "min", "max"])
def test_every_fill_method(method: str) -> None:
    params = parse_params(document(**{OLD: featurization(middlefill=method, backfill=method)}))
    assert (params.filling.middlefill, params.filling.backfill) == (method, method)
    assert not any("service's" in note for note in params.notes)


def test_gaps_stay_missing_unless_asked_otherwise_and_this_is_said() -> None:
    assert parse_params(document()).filling == Filling("nan", "nan")
    assert any('default was "zero"' in note for note in parse_params(document()).notes)
    half = parse_params(document(**{OLD: featurization(middlefill="zero")}))
    assert half.filling == Filling("zero", "nan")
    assert any("backfill is not given" in note for note in half.notes)


@pytest.mark.parametrize(
    ("frequency", "boundary", "alignment"),
    [
        ("D", {"Hour": 6}, Alignment(hour=6)),
        ("W", {"DayOfWeek": "MONDAY"}, Alignment(day_of_week=0)),
        ("2W", {"DayOfWeek": "SUNDAY"}, Alignment(day_of_week=6)),
        ("M", {"DayOfMonth": 15}, Alignment(day_of_month=15)),
        ("3M", {"DayOfMonth": 15, "Hour": 8}, Alignment(day_of_month=15, hour=8)),
        ("Y", {"Month": "APRIL", "DayOfMonth": 6}, Alignment(month=4, day_of_month=6)),
    ],
)
def test_time_alignment_boundary(frequency: str, boundary: dict[str, Any], alignment: Alignment) -> None:
    params = parse_params(
        document(Predictor__FeaturizationConfig__ForecastFrequency=frequency, Predictor__TimeAlignmentBoundary=boundary)
    )
    assert params.alignment == alignment
    assert params.grid == Grid(Frequency.parse(frequency), alignment)
    assert to_document(params)["Predictor"]["TimeAlignmentBoundary"] == boundary


def test_the_auto_predictors_flat_keys() -> None:
    flat = document(
        Predictor__FeaturizationConfig=...,
        Predictor__ForecastFrequency="W",
        Predictor__ForecastDimensions=["store_id"],
        Predictor__ExplainPredictor=True,
        Predictor__OptimizationMetric="WAPE",
        Predictor__MonitorConfig={"MonitorName": "m"},
    )
    params = parse_params(flat)
    assert (str(params.frequency), str(params.data_frequency), params.dimensions) == ("W", "D", ("store_id",))
    for key in ("ExplainPredictor", "MonitorConfig"):
        assert any(note.startswith(f"Predictor.{key} = ") for note in params.notes)


MEANINGLESS = {
    "Tags": [{"Key": "a", "Value": "b"}],
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "DatasetGroup__Tags": [],
    "DatasetGroup__DatasetArns": [],
    "Predictor__PredictorName": "p",
    "Predictor__PerformAutoML": True,
    "Predictor__PerformHPO": False,
    "Predictor__HPOConfig": {"ParameterRanges": {}},
    "Predictor__TrainingParameters": {"epochs": "500"},
    "Predictor__InputDataConfig": {"DatasetGroupArn": "arn"},
    "Predictor__EncryptionConfig": {"KMSKeyArn": "k", "RoleArn": "r"},
    "Predictor__DataConfig__DatasetGroupArn": "arn",
    "Forecast__ForecastName": "f",
    "Forecast__TimeSeriesSelector": {},
    "Datasets__0__DatasetArn": "arn",
    "Datasets__0__EncryptionConfig": {},
    "GeolocationFormat": "LAT_LONG",
    "TimeZone": "Europe/Berlin",
}


@pytest.mark.parametrize("path", MEANINGLESS)
def test_keys_without_a_meaning_here_are_accepted_and_reported(path: str) -> None:
    params = parse_params(document(**{path: MEANINGLESS[path]}))
    assert params == parse_params(document())
    key = path.rsplit("__", maxsplit=1)[-1]
    key = {"InputDataConfig": "DatasetGroupArn"}.get(key, key)
    reports = [note for note in params.notes if f"{key} = " in note and "is not used: " in note]
    assert len(reports) == 1
    assert reports[0].endswith(".")


@pytest.mark.parametrize(
    ("algorithm", "members"),
    [
        ("ETS", ("ets", "log_ets")),
        ("NPTS", ("npts",)),
        ("ARIMA", ("autoregression",)),
        ("CNN-QR", ("chronos", "tuned", "pooled")),
    ],
)
def test_an_algorithm_of_the_service_is_answered_by_the_nearest_members(
    algorithm: str, members: tuple[str, ...]
) -> None:
    arn = f"arn:aws:forecast:::algorithm/{algorithm}"
    params = parse_params(document(Predictor__AlgorithmArn=arn))
    assert params.predictor.members == members
    assert any(f"AlgorithmArn = {algorithm}: forecasts are made by" in note for note in params.notes)
    chosen = parse_params(document(Predictor__AlgorithmArn=arn, Chronos__Predictor__Members=["chronos/mean4", "theta"]))
    assert chosen.predictor.members == ("chronos/mean4", "theta")
    assert params.digest != parse_params(document()).digest


def test_the_predictors_options_are_read_back_and_wrong_ones_named() -> None:
    options = {"Members": ["theta"], "PerItem": False, "BacktestWindows": 4, "MaxCost": 3.5}
    params = parse_params(document(Chronos__Predictor=options, Predictor__OptimizationMetric="MASE"))
    assert params.predictor == PredictorParams(("theta",), False, 4, 3.5, "MASE")
    assert parse_params(to_document(params)) == params
    with pytest.raises(ParamsError, match=r'write for example \["pooled", "theta"\]'):
        parse_params(document(Chronos__Predictor={"Members": ["pooled"]}))
    wrong = {"Members": ["thetta"], "PerItem": "no", "BacktestWindows": 0, "MaxCost": -1, "Nonsense": 1}
    with pytest.raises(ParamsError) as caught:
        parse_params(document(Chronos__Predictor=wrong, Predictor__OptimizationMetric="MSE"))
    for said in ('did you mean "theta"?', "PerItem", "BacktestWindows", "MaxCost", "Nonsense", "OptimizationMetric"):
        assert said in str(caught.value)


def test_every_member_has_a_description_of_its_own() -> None:
    described = {name: member_in_words(name) for name in MEMBER_NAMES}
    assert all(words != name for name, words in described.items())
    assert (
        len(set(described.values())) == len(described) - 2
    )  # chronos/1 and tuned/1 are what they are called without a rate
    assert (
        described["chronos/adjusted24"]
        == "the Chronos model, on the history without its season, in means of 24 periods"
    )
    assert member_in_words("of a later release") == "of a later release"


def test_a_geolocation_is_text() -> None:
    params = parse_params(document(Datasets__0__Schema__Attributes__3__AttributeType="geolocation"))
    assert params.attributes[3] == Attribute("store_id", "string")
    assert any("weather is not used" in note for note in params.notes)


def test_a_horizon_beyond_the_services_limit_is_allowed_and_noted() -> None:
    params = parse_params(document(Predictor__ForecastHorizon=501))
    assert params.horizon == 501
    assert any("limit of 500" in note for note in params.notes)
    assert not any("limit" in note for note in parse_params(document(Predictor__ForecastHorizon=500)).notes)


def test_without_a_data_frequency_the_forecasts_is_taken() -> None:
    params = parse_params(
        document(Datasets__0__DataFrequency=..., Predictor__FeaturizationConfig__ForecastFrequency="W")
    )
    assert str(params.data_frequency) == "W"
    assert any("DataFrequency is not given" in note for note in params.notes)


def test_without_a_format_timestamps_have_seconds() -> None:
    assert parse_params(document(TimestampFormat=...)).timestamp_format == "yyyy-MM-dd HH:mm:ss"
    assert parse_params(document(TimestampFormat=..., Datasets__0__TimestampFormat="dd.MM.yyyy")).timestamp_format == (
        "dd.MM.yyyy"
    )


def test_our_own_options() -> None:
    options = {
        "BadRows": "quarantine",
        "TimeZone": "Europe/Berlin",
        "ContextLength": 512,
        "BatchSize": 64,
        "Precision": "float32",
        "Seed": 7,
        "MinObservations": 3,
        "MaxDataAge": 86400,
        "BadFiles": "quarantine",
        "NonNegative": False,
        "Integers": True,
        "ColdStart": False,
        "JoinRow": False,
        "QuoteFormulas": True,
        "Export": {"Compression": "GZIP", "MaxMegabytes": 500},
        "Anomalies": {"Threshold": 3.5},
        "Reconcile": {"Levels": [], "Method": "min_trace"},
    }
    params = parse_params(document(Chronos=options))
    assert (params.bad_files, params.non_negative, params.join_row) == ("quarantine", False, False)
    assert params.quote_formulas
    assert (params.integers, parse_params(document()).integers) == (True, False)
    assert (params.cold_start, parse_params(document()).cold_start) == (False, None)
    assert params.export == ExportParams("CSV", "GZIP", 500)
    assert (params.reconcile, parse_params(document()).reconcile) == (ReconcileParams((), "min_trace"), None)
    assert not parse_params(document()).quote_formulas
    assert (params.anomaly_threshold, parse_params(document()).anomaly_threshold) == (3.5, 2.0)
    # How forecasts are judged is nothing that they depend on.
    changed = parse_params(document(Chronos={**options, "Anomalies": {"Threshold": 1}}))
    assert changed.digest == params.digest
    assert parse_params(document()).non_negative is None
    assert parse_params(document(Chronos={"NonNegative": True})).non_negative is True
    assert params.bad_rows == "quarantine"
    assert params.time_zone == "Europe/Berlin"
    assert (params.context_length, params.batch_size, params.seed) == (512, 64, 7)
    assert (params.precision, parse_params(document()).precision) == ("float32", "bf16")
    assert (params.min_observations, params.max_data_age) == (3, 86400.0)
    assert to_document(params)["Chronos"] == options
    assert "Chronos" not in to_document(parse_params(document()))


def test_a_files_own_column_names() -> None:
    attributes = [
        {"AttributeName": "Timestamp", "AttributeType": "timestamp"},
        {"AttributeName": "Model_ID", "AttributeType": "string"},
        {"AttributeName": "Order_Quantity", "AttributeType": "float"},
    ]
    columns = {"item_id": "Model_ID", "timestamp": "Timestamp", "demand": "Order_Quantity"}
    params = parse_params(document(Datasets__0__Schema__Attributes=attributes, Chronos={"Columns": columns}))
    assert (params.item_column, params.timestamp_column, params.target_column) == (
        "Model_ID",
        "Timestamp",
        "Order_Quantity",
    )
    assert to_document(params)["Chronos"] == {"Columns": columns}


def test_files_of_a_single_series_need_no_item_column() -> None:
    changed = document(Chronos={"Columns": {"item_id": None}})
    del changed["Datasets"][0]["Schema"]["Attributes"][0]
    params = parse_params(changed)
    assert params.item_column is None
    assert params.constant_item == "shop"
    assert parse_params(document()).constant_item is None
    assert parse_params(to_document(params)) == params


# --- what is refused


def wrong(path: str, value: Any, key: str, reason: str, fix: str) -> Any:
    return pytest.param({path: value}, key, reason, fix, id=f"{path}={str(value)[:30]}")


FREQUENCY = "Predictor__FeaturizationConfig__ForecastFrequency"
FREQUENCY_KEY = "Predictor.FeaturizationConfig.ForecastFrequency"
DIMENSIONS = "Predictor__FeaturizationConfig__ForecastDimensions"
DIMENSIONS_KEY = "Predictor.FeaturizationConfig.ForecastDimensions"
SCHEMA = "Datasets__0__Schema__Attributes"
SCHEMA_KEY = "Datasets[0].Schema.Attributes"
BOUNDARY = "Predictor__TimeAlignmentBoundary"
BOUNDARY_KEY = "Predictor.TimeAlignmentBoundary"
FILLED_KEY = "Predictor.FeaturizationConfig.Featurizations[{}].AttributeName"
FILL_KEY = "Predictor.FeaturizationConfig.Featurizations[0].FeaturizationPipeline[0].FeaturizationMethodParameters"
NO_NUMBER = {"middlefill": "value", "middlefill_value": "x"}
NOT_FINITE = {"middlefill": "value", "middlefill_value": "nan"}


@pytest.mark.parametrize(
    ("changes", "key", "reason", "fix"),
    [
        wrong("DatasetGroup", ..., "DatasetGroup", "required", "DatasetGroupName"),
        wrong("DatasetGroup", "shop", "DatasetGroup", "must be an object", "{"),
        wrong("DatasetGroup__DatasetGroupName", ..., "DatasetGroup.DatasetGroupName", "required", "name"),
        wrong("DatasetGroup__DatasetGroupName", "a b", "DatasetGroup.DatasetGroupName", "not a name", "letter"),
        wrong("DatasetGroup__DatasetGroupName", "9a", "DatasetGroup.DatasetGroupName", "not a name", "letter"),
        wrong("DatasetGroup__DatasetGroupName", "a" * 64, "DatasetGroup.DatasetGroupName", "not a name", "63"),
        wrong("DatasetGroup__DatasetGroupName", "a\nb", "DatasetGroup.DatasetGroupName", "not a name", "letter"),
        wrong("DatasetGroup__DatasetGroupName", 5, "DatasetGroup.DatasetGroupName", "must be text", "quotes"),
        wrong("DatasetGroup__Domain", "RETIAL", "DatasetGroup.Domain", "not one of", '"RETAIL"?'),
        wrong("DatasetGroup__Domain", None, "DatasetGroup.Domain", "not one of", "WEB_TRAFFIC"),
        wrong("Datasets__0__Domain", "CUSTOM", "Datasets[0].Domain", "differs from DatasetGroup.Domain", "RETAIL"),
        wrong("Predictor", ..., "Predictor", "required", "ForecastHorizon"),
        wrong("Predictor__ForecastHorizon", ..., "Predictor.ForecastHorizon", "required", "number of periods"),
        wrong("Predictor__ForecastHorizon", 0, "Predictor.ForecastHorizon", "out of range", "from 1 to"),
        wrong("Predictor__ForecastHorizon", -3, "Predictor.ForecastHorizon", "out of range", "from 1 to"),
        wrong("Predictor__ForecastHorizon", HORIZON_LIMIT + 1, "Predictor.ForecastHorizon", "out of range", "from 1"),
        wrong("Predictor__ForecastHorizon", "7 d", "Predictor.ForecastHorizon", "whole number", "from 1"),
        wrong("Predictor__ForecastHorizon", 7.5, "Predictor.ForecastHorizon", "whole number", "from 1"),
        wrong("Predictor__ForecastHorizon", True, "Predictor.ForecastHorizon", "whole number", "from 1"),
        wrong(FREQUENCY, ..., FREQUENCY_KEY, "required", "1-59min"),
        wrong(FREQUENCY, "60min", FREQUENCY_KEY, "not a frequency", 'write "H"'),
        wrong(FREQUENCY, "W-MON", FREQUENCY_KEY, "not a frequency", "weeks begin by TimeAlignmentBoundary"),
        wrong(FREQUENCY, "fortnightly", FREQUENCY_KEY, "not a frequency", "1-59min"),
        wrong(FREQUENCY, 5, FREQUENCY_KEY, "must be text", "quotes"),
        wrong("Predictor__ForecastFrequency", "W", "Predictor.ForecastFrequency", "contradicts", "keep one"),
        wrong(DIMENSIONS, ["shop"], DIMENSIONS_KEY, "no column shop", "Datasets[0].Schema"),
        wrong(DIMENSIONS, ["stor_id"], DIMENSIONS_KEY, "no column stor_id", '"store_id"?'),
        wrong(DIMENSIONS, ["demand"], DIMENSIONS_KEY, "not an extra column", "further columns"),
        wrong(DIMENSIONS, ["item_id"], DIMENSIONS_KEY, "not an extra column", "further columns"),
        wrong(DIMENSIONS, ["store_id", "store_id"], DIMENSIONS_KEY, "given twice", "once"),
        wrong(DIMENSIONS, {"a": 1}, DIMENSIONS_KEY, "list of column names", "store_id"),
        wrong(DIMENSIONS, [1], DIMENSIONS_KEY, "list of column names", "store_id"),
        wrong("Forecast__ForecastTypes__0", "0.101", "Forecast.ForecastTypes[0]", "not a forecast type", "0.99"),
        wrong("Forecast__ForecastTypes__0", "1.0", "Forecast.ForecastTypes[0]", "not a forecast type", "0.99"),
        wrong("Forecast__ForecastTypes__0", "0.00", "Forecast.ForecastTypes[0]", "not a forecast type", "0.01"),
        wrong("Forecast__ForecastTypes__0", "90", "Forecast.ForecastTypes[0]", "not a forecast type", '"0.90"?'),
        wrong("Forecast__ForecastTypes__0", "p05", "Forecast.ForecastTypes[0]", "not a forecast type", '"0.05"?'),
        wrong("Forecast__ForecastTypes__0", "median", "Forecast.ForecastTypes[0]", "not a forecast type", "mean"),
        wrong("Forecast__ForecastTypes__0", None, "Forecast.ForecastTypes[0]", "not a forecast type", "mean"),
        wrong("Forecast__ForecastTypes__0", True, "Forecast.ForecastTypes[0]", "not a forecast type", "mean"),
        wrong("Forecast__ForecastTypes__0", ".5", "Forecast.ForecastTypes[1]", "given twice", "keep one"),
        wrong("Forecast__ForecastTypes", [], "Forecast.ForecastTypes", "not empty", "0.50"),
        wrong("Forecast__ForecastTypes", {}, "Forecast.ForecastTypes", "not empty", "0.50"),
        wrong("Forecast__ForecastQuantiles", ["0.2"], "Forecast.ForecastQuantiles", "contradicts", "keep one"),
        wrong("TimestampFormat", "yyyy-mm-dd", "TimestampFormat", "not the month", "yyyy-MM-dd"),
        wrong("TimestampFormat", 5, "TimestampFormat", "must be text", "yyyy-MM-dd"),
        wrong("Datasets__0__TimestampFormat", "dd.MM.yyyy", "Datasets[0].TimestampFormat", "contradicts", "keep one"),
        wrong("Datasets", ..., "Datasets", "required", "TARGET_TIME_SERIES"),
        wrong("Datasets", [], "Datasets", "none of them is a TARGET_TIME_SERIES", "DatasetType"),
        wrong("Datasets", "x", "Datasets", "must be a list", "["),
        wrong("Datasets", ["x"], "Datasets[0]", "must be an object", "{"),
        wrong("Datasets__0__DatasetType", "TARGET_TIMESERIES", "Datasets[0].DatasetType", "not one of", "TIME_SERIES"),
        wrong("Datasets__0__DatasetType", "ITEM_METADATA", "Datasets", "none of them", "TARGET_TIME_SERIES"),
        wrong("Datasets__0__DataFrequency", "W", "Datasets[0].DataFrequency", "can't be forecast", '"W" or coarser'),
        wrong("Datasets__0__DataFrequency", "5m", "Datasets[0].DataFrequency", "not a frequency", "min for minutes"),
        wrong("Datasets__0__DataFrequency", "H", "TimestampFormat", "can't tell apart rows every hour", "HH:mm:ss"),
        wrong("Datasets__0__Schema", ..., "Datasets[0].Schema", "required", "Attributes"),
        wrong("Datasets__0__Schema", {}, "Datasets[0].Schema", "no columns", "list the columns"),
        wrong("Datasets__0__Schema", [], "Datasets[0].Schema", "must be an object", "{"),
        wrong(f"{SCHEMA}__3__AttributeName", '"; DROP', f"{SCHEMA_KEY}[3].AttributeName", "not a name", "letter"),
        wrong(f"{SCHEMA}__3__AttributeName", ..., f"{SCHEMA_KEY}[3].AttributeName", "required", "name the column"),
        wrong(f"{SCHEMA}__3__AttributeName", "Demand", f"{SCHEMA_KEY}[3].AttributeName", "given twice", "once"),
        wrong(f"{SCHEMA}__3__AttributeType", "str", f"{SCHEMA_KEY}[3].AttributeType", "not a type", "timestamp"),
        wrong(f"{SCHEMA}__3__AttributeType", "Strin", f"{SCHEMA_KEY}[3].AttributeType", "not a type", '"string"?'),
        wrong(f"{SCHEMA}__3__AttributeType", ["a"], f"{SCHEMA_KEY}[3].AttributeType", "not a type", "timestamp"),
        wrong(f"{SCHEMA}__3__AttributeType", ..., f"{SCHEMA_KEY}[3].AttributeType", "required", "timestamp"),
        wrong(f"{SCHEMA}__2", ..., "Datasets[0].Schema", "column demand is missing", "Chronos.Columns"),
        wrong(f"{SCHEMA}__0", ..., "Datasets[0].Schema", "column item_id is missing", '{"item_id": null}'),
        wrong(f"{SCHEMA}__2__AttributeType", "string", "Datasets[0].Schema", "type that demand can't have", '"float"'),
        wrong(f"{SCHEMA}__1__AttributeType", "string", "Datasets[0].Schema", "timestamp can't have", '"timestamp"'),
        wrong(f"{SCHEMA}__0__AttributeType", "integer", "Datasets[0].Schema", "item_id can't have", '"string"'),
        wrong("PerformDelete", "no", "PerformDelete", "true or false", "unquoted"),
        wrong(BOUNDARY, {"DayOfWeek": "MONDAY"}, BOUNDARY_KEY, "day_of_week does not apply to", "remove"),
        wrong(BOUNDARY, {"Hour": 24}, f"{BOUNDARY_KEY}.Hour", "out of range", "from 0 to 23"),
        wrong(BOUNDARY, {"Month": "apri"}, f"{BOUNDARY_KEY}.Month", "not one of", '"APRIL"?'),
        wrong(BOUNDARY, {"Minute": 3}, f"{BOUNDARY_KEY}.Minute", "unknown", "remove"),
        wrong(OLD, featurization(middlefill="zeros"), f"{FILL_KEY}.middlefill", "not one of", '"zero"?'),
        wrong(OLD, featurization(aggregation="mean"), f"{FILL_KEY}.aggregation", "not one of", "avg"),
        wrong(OLD, featurization(frontfill="zero"), f"{FILL_KEY}.frontfill", "not one of", "none"),
        wrong(OLD, featurization(futurefill="zero"), f"{FILL_KEY}.futurefill", "no future", "remove"),
        wrong(OLD, featurization(middlefill="value"), f"{FILL_KEY}.middlefill_value", "no value is given", '"0"'),
        wrong(OLD, featurization(**NO_NUMBER), f"{FILL_KEY}.middlefill_value", "must be a number", "2.5"),
        wrong(OLD, featurization(**NOT_FINITE), f"{FILL_KEY}.middlefill_value", "must be a number", "2.5"),
        wrong(OLD, featurization(backfill="zero", backfill_value=1), f"{FILL_KEY}.backfill_value", 'not "value"', "remove"),
        wrong(OLD, featurization() * 2, FILLED_KEY.format(1), "filled twice", "keep one"),
        wrong(OLD, [{**featurization()[0], "AttributeName": "store_id"}], FILLED_KEY.format(0), "only", '"demand"'),
        wrong("Chronos", {"BadRows": "ignore"}, "Chronos.BadRows", "not one of", "quarantine"),
        wrong("Chronos", {"TimeZone": "Europe/Berln"}, "Chronos.TimeZone", "IANA", '"Europe/Berlin"?'),
        wrong("Chronos", {"TimeZone": "../../etc/passwd"}, "Chronos.TimeZone", "IANA", "Europe/Berlin"),
        wrong("Chronos", {"ContextLength": 0}, "Chronos.ContextLength", "out of range", "1 or more"),
        wrong("Chronos", {"BatchSize": "8_0"}, "Chronos.BatchSize", "whole number", "1 or more"),
        wrong("Chronos", {"Seed": -1}, "Chronos.Seed", "out of range", "from 0"),
        wrong("Chronos", {"MinObservations": 0}, "Chronos.MinObservations", "out of range", "1 or more"),
        wrong("Chronos", {"NonNegative": "auto"}, "Chronos.NonNegative", "true or false", "unquoted"),
        wrong("Chronos", {"SnapSeconds": 50_000}, "Chronos.SnapSeconds", "next one", "half of a period"),
        wrong("Chronos", {"MaxDataAge": 0}, "Chronos.MaxDataAge", "above 0", "a number"),
        wrong("Chronos", {"MaxDataAge": "1h"}, "Chronos.MaxDataAge", "above 0", "a number"),
        wrong("Chronos", {"TimeZone": "UTC+1"}, "Chronos.TimeZone", "not an IANA", "a place"),
        wrong("Chronos", {"Anomalies": {"Threshold": 0.5}}, "Chronos.Anomalies.Threshold", "1 or more", "outside"),
        wrong("Chronos", {"Anomalies": {"Treshold": 3}}, "Chronos.Anomalies.Treshold", "unknown", '"Threshold"?'),
        wrong("Chronos", {"Context_Length": 5}, "Chronos.Context_Length", "unknown", '"ContextLength"?'),
        wrong("Chronos", {"Columns": {"demand": None}}, "Chronos.Columns.demand", "not a name", "letter"),
        wrong("Chronos", {"Columns": {"demand": "sold"}}, "Datasets[0].Schema", "column sold is missing", "add it"),
        wrong("Chronos", {"Columns": {"target_value": "x"}}, "Chronos.Columns.target_value", "unknown", "remove"),
        wrong("Predictor__PerformAutoMl", True, "Predictor.PerformAutoMl", "unknown", '"PerformAutoML"?'),
        wrong("Forecast__ForecastType", [], "Forecast.ForecastType", "unknown", '"ForecastTypes"?'),
        wrong("Datasets__0__Frequency", "D", "Datasets[0].Frequency", "unknown", "Frequency"),
        wrong("Banana", 1, "Banana", "unknown", "remove"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_problem_that_names_key_value_reason_and_fix(
    changes: dict[str, Any], key: str, reason: str, fix: str
) -> None:
    problem = only_problem(document(**changes))
    assert problem.key == key
    assert reason in problem.reason
    assert fix in problem.fix


RESERVED = ["filled", "mean", "p10", "P05", "as_of", "Target", "level", "seasonal_naive"]


@pytest.mark.parametrize("name", RESERVED)
def test_a_dimension_may_not_have_the_name_of_a_forecast_column(name: str) -> None:
    changed = document(**{f"{SCHEMA}__3__AttributeName": name, DIMENSIONS: [name]})
    assert "forecast files" in only_problem(changed).reason
    # As a column that is read over, it is harmless.
    parse_params(document(**{f"{SCHEMA}__3__AttributeName": name}))


def test_a_dimension_must_be_text() -> None:
    changed = document(**{f"{SCHEMA}__3__AttributeType": "integer", DIMENSIONS: ["store_id"]})
    assert only_problem(changed).reason == "a dimension must be a string, not integer"


def test_one_column_can_not_have_two_roles() -> None:
    changed = document(Chronos={"Columns": {"item_id": "store_id"}})
    parse_params(changed)
    changed["Chronos"]["Columns"]["demand"] = "timestamp"
    assert {"Chronos.Columns", "Datasets[0].Schema"} == set(problems(changed))


def test_two_targets_are_one_too_many() -> None:
    changed = document()
    changed["Datasets"].append(copy.deepcopy(changed["Datasets"][0]))
    assert only_problem(changed).key == "Datasets[1].DatasetType"


def test_a_horizon_must_stay_within_the_calendar() -> None:
    changed = document(**{FREQUENCY: "Y", "Predictor__ForecastHorizon": 5000})
    assert "5,000 years ahead" in only_problem(changed).reason
    parse_params(document(**{FREQUENCY: "Y", "Predictor__ForecastHorizon": 500}))


def test_all_problems_are_reported_together() -> None:
    changed = document(
        DatasetGroup__Domain="SHOP",
        Predictor__ForecastHorizon=0,
        Predictor__Horizon=3,
        Forecast__ForecastTypes=["0.5", "max"],
        TimestampFormat="YYYY",
        Datasets__0__DataFrequency="1h30",
        Chronos={"BadRows": 1, "Sed": 2},
    )
    assert set(problems(changed)) == {
        "DatasetGroup.Domain",
        "Predictor.ForecastHorizon",
        "Predictor.Horizon",
        "Forecast.ForecastTypes[1]",
        "TimestampFormat",
        "Datasets[0].DataFrequency",
        "Chronos.BadRows",
        "Chronos.Sed",
    }


def test_an_error_reads_as_a_list_and_survives_pickling() -> None:
    with pytest.raises(ParamsError) as refusal:
        parse_params(document(Predictor__ForecastHorizon=0), source="s3://bucket/params.json")
    text = (
        "s3://bucket/params.json: 1 problem\n"
        "  - Predictor.ForecastHorizon = 0: this is out of range; write a number from 1 to 100000"
    )
    assert str(refusal.value) == text
    copied = pickle.loads(pickle.dumps(refusal.value))  # noqa: S301 - our own bytes
    assert (str(copied), copied.problems) == (text, refusal.value.problems)


# --- the text of the file


def test_text_and_bytes_with_and_without_a_byte_order_mark() -> None:
    text = json.dumps(document())
    expected = parse_params(document())
    for variant in (text, text.encode(), "\ufeff" + text, text.encode("utf-8-sig"), text.encode("utf-16")):
        assert load_params(variant) == expected


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ('{\n  "DatasetGroup": {},\n}', "line 3, column 1", "not JSON: nothing follows the last comma"),
        (" \n", "line 2, column 1", "the file is empty"),
        ("{'a': 1}", "line 1, column 2", "not JSON: JSON has straight double quotes only"),
        ('{"a": “b”}', "line 1, column 7", "straight double quotes"),
        ('{"a": 1, // all\n"b": 2}', "line 1, column 10", "JSON has no comments"),
        ('{"a": True}', "line 1, column 7", "Python"),
        ('{\xa0"a": 1}', "line 1, column 2", "U+00A0"),
        ("a: 1", "line 1, column 1", "not JSON: Expecting value"),
        (b'{"a": "\xff"}', "byte 7", "not UTF-8"),
        ("[" * 100_000, "(file)", "nested too deeply"),
        ('{"Predictor": {"ForecastHorizon": NaN}}', "(file)", "NaN is not JSON"),
        ('{"Predictor": {"ForecastHorizon": 1' + "0" * 5000 + "}}", "(file)", "5001 digits"),
        ("[]", "(file)", "must be an object"),
        ("null", "(file)", "must be an object"),
    ],
)
def test_text_that_is_no_parameter_file_is_refused_with_its_place(text: str | bytes, key: str, reason: str) -> None:
    with pytest.raises(ParamsError) as refusal:
        load_params(text)
    (problem,) = refusal.value.problems
    assert problem.key == key
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("path", "usual", "written"),
    [
        ("DatasetGroup__Domain", "RETAIL", "Retail "),
        ("Datasets__0__DatasetType", "TARGET_TIME_SERIES", "target_time_series"),
        ("Predictor__ForecastHorizon", 72, "72"),
        ("Predictor__ForecastHorizon", 72, 72.0),
        (FREQUENCY, "D", "daily"),
        (FREQUENCY, "3M", "Quarterly"),
        (FREQUENCY, "3D", "3 days"),
        (f"{SCHEMA}__0__AttributeType", "string", "String"),
        (BOUNDARY, {"Hour": 6}, {"Hour": "6"}),
        ("PerformDelete", False, "False"),
        ("Forecast__ForecastTypes", ["0.10", "0.50", "mean"], ["p10", "P50", "Mean"]),
        ("Chronos", {"MaxDataAge": 3600, "BadRows": "quarantine"}, {"MaxDataAge": "3600", "BadRows": "QUARANTINE"}),
    ],
)
def test_values_are_read_as_people_write_them(path: str, usual: object, written: object) -> None:
    assert parse_params(document(**{path: written})) == parse_params(document(**{path: usual}))


def test_keys_given_twice_are_problems_wherever_they_stand() -> None:
    text = json.dumps(document(Tags=[{"Key": "a"}]))
    text = text.replace('"ForecastHorizon": 7', '"ForecastHorizon": 7, "ForecastHorizon": 8')
    text = text.replace('{"Key": "a"}', '{"Key": "a", "Key": "a"}').replace(
        '"Forecast": {', '"Forecast": {}, "Forecast": {'
    )
    with pytest.raises(ParamsError) as refusal:
        load_params(text)
    keys = [problem.key for problem in refusal.value.problems]
    assert sorted(keys) == ["Forecast", "Predictor.ForecastHorizon", "Tags[0].Key"]


def test_long_values_are_cut_in_messages() -> None:
    problem = only_problem(document(DatasetGroup__Domain="x" * 10_000))
    assert problem.value is not None
    assert len(problem.value) == 80


# --- properties


names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,20}", fullmatch=True)


@st.composite
def parameters(draw: st.DrawFn) -> ForecastParams:
    domain = draw(st.sampled_from(sorted(DOMAINS)))
    fields = DOMAINS[domain]
    own_names = draw(st.booleans())
    item, timestamp, target = (
        ("It", "When", "How_Many") if own_names else (fields.item, fields.timestamp, fields.target)
    )
    dimensions = draw(st.lists(st.sampled_from(["store", "city", "channel"]), unique=True))
    columns = [Attribute(timestamp, "timestamp"), Attribute(target, draw(st.sampled_from(["float", "integer"])))]
    single = draw(st.booleans())
    if not single:
        columns.append(Attribute(item, "string"))
    columns += [Attribute(name, "string") for name in dimensions]
    columns += [Attribute("extra", draw(st.sampled_from(["string", "float", "integer", "timestamp"])))]
    attributes = tuple(draw(st.permutations(columns)))
    every = [Frequency(n, unit) for unit in Unit for n in range(1, MAX_MULTIPLE[unit] + 1)]
    frequency = draw(st.sampled_from(every))
    finer = [f for f in every if f.approximate_seconds <= frequency.approximate_seconds]
    ranges = {"month": (1, 12), "day_of_month": (1, 31), "day_of_week": (0, 6), "hour": (0, 23)}
    parts = APPLICABLE_ALIGNMENT[frequency.unit]
    methods = st.sampled_from(["zero", "nan", "median", "mean", "min", "max", "value"])
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    middlefill, backfill = draw(methods), draw(methods)
    percents = draw(st.lists(st.integers(1, 99), unique=True, max_size=8))
    return ForecastParams(
        dataset_group=draw(names),
        domain=domain,
        attributes=attributes,
        item_column=None if single else item,
        timestamp_column=timestamp,
        target_column=target,
        dimensions=tuple(column.name for column in attributes if column.name in dimensions),
        data_frequency=draw(st.sampled_from(finer)),
        frequency=frequency,
        alignment=Alignment(**{part: draw(st.none() | st.integers(*ranges[part])) for part in parts}),
        horizon=draw(st.integers(1, 900)),
        quantiles=tuple(percent / 100 for percent in sorted(percents)),
        mean=not percents or draw(st.booleans()),
        timestamp_format=draw(st.sampled_from(["yyyy-MM-dd hh:mm:ss", "dd/MM/yyyy HH:mm", "yyyy-MM-dd'T'HH:mm:ssX"])),
        aggregation=draw(st.sampled_from(["sum", "avg", "first", "min", "max"])),
        filling=Filling(
            middlefill,
            backfill,
            draw(numbers) if middlefill == "value" else None,
            draw(numbers) if backfill == "value" else None,
        ),
        perform_delete=draw(st.booleans()),
        bad_rows=draw(st.sampled_from(["fail", "quarantine"])),
        time_zone=draw(st.sampled_from([None, "UTC", "Asia/Tokyo"])),
        context_length=draw(st.none() | st.integers(1, 10_000)),
        batch_size=draw(st.none() | st.integers(1, 10_000)),
        seed=draw(st.integers(0, 2**32 - 1)),
        min_observations=draw(st.integers(1, 100)),
        max_data_age=draw(st.none() | st.floats(min_value=1e-3, max_value=1e12)),
        anomaly_threshold=draw(st.floats(min_value=1, max_value=1e6)),
        training=draw(trainings()),
    )


@pytest.mark.process
@given(parameters())
def test_a_written_file_reads_back_as_the_same_parameters(params: ForecastParams) -> None:
    text = json.dumps(to_document(params))
    again = load_params(text)
    assert again == params
    assert again.digest == params.digest
    assert to_document(again) == to_document(params)


@pytest.mark.process
@given(parameters(), parameters())
def test_the_digest_tells_apart_what_a_forecast_depends_on(one: ForecastParams, other: ForecastParams) -> None:
    def data_only(params: ForecastParams) -> ForecastParams:
        return replace(params, training=TrainingParams(), anomaly_threshold=2.0, perform_delete=False)

    assert (one.digest == other.digest) == (data_only(one) == data_only(other))
    assert one.digest == data_only(one).digest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a document."""
    found = [path]
    if isinstance(value, dict):
        found += [place for key, child in value.items() for place in places(child, (*path, key))]
    elif isinstance(value, list):
        found += [place for index, child in enumerate(value) for place in places(child, (*path, index))]
    return found


FULL = document(
    **{
        OLD: featurization(aggregation="avg", middlefill="value", middlefill_value="1", backfill="mean"),
        DIMENSIONS: ["store_id"],
        "Predictor__TimeAlignmentBoundary": {"Hour": 3},
        "Predictor__DataConfig": {
            "AttributeConfigs": [],
            "AdditionalDatasets": [{"Name": "holiday", "Configuration": {"CountryCode": ["US"]}}],
        },
        "Chronos": {"Holidays": {"Countries": ["DE-BY"], "Days": {"a": ["2024-01-01"]}, "File": "days.csv"}}
        | {"BadRows": "fail", "TimeZone": "UTC", "Columns": {"item_id": "item_id"}, "MaxDataAge": 3.5}
        | {
            "Training": {
                "Strategy": "RETRAIN",
                "BaseModels": ["bundled"],
                "Hyperparameters": {"max_steps": 10},
                "Ranges": {
                    "learning_rate": {"Type": "Continuous", "Min": 1e-5, "Max": 1e-3, "Scale": "log"},
                    "batch_size": {"Type": "Categorical", "Values": [8, 16]},
                },
                "Synthetic": {"Train": 10},
            }
        },
    }
)


def check_outcome(changed: Any) -> None:
    """A document is read, and then survives being written, or it is refused with reasons."""
    problems: tuple[Problem, ...] = ()
    try:
        params = parse_params(changed)
    except ParamsError as refusal:
        problems = refusal.problems
    else:
        assert parse_params(to_document(params)) == params
        return
    assert problems
    assert all(problem.key and problem.reason and problem.fix for problem in problems)


@pytest.mark.process
@given(st.sampled_from(places(FULL)), json_values)
def test_any_value_anywhere_is_read_or_refused_but_never_crashes(path: tuple[Any, ...], value: Any) -> None:
    changed: Any = copy.deepcopy(FULL)
    if not path:
        changed = value
    else:
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
    check_outcome(changed)


@pytest.mark.process
@given(st.lists(st.sampled_from([place for place in places(FULL) if place]), min_size=1, max_size=3, unique=True))
def test_any_missing_key_is_a_default_or_a_problem(paths: list[tuple[Any, ...]]) -> None:
    changed: Any = copy.deepcopy(FULL)
    # The last place first, so that the paths of the others stay what they were.
    for path in sorted(paths, key=places(FULL).index, reverse=True):
        place = changed
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
    check_outcome(changed)


def test_perform_delete_says_what_it_deletes() -> None:
    assert not any("PerformDelete" in note for note in parse_params(document(PerformDelete=False)).notes)
    params = parse_params(document(PerformDelete=True))
    assert params.perform_delete
    assert any("PerformDelete" in note and "endpoint" in note for note in params.notes)


def test_names_with_blanks_are_those_of_the_schema_everywhere() -> None:
    text = json.dumps(document()).replace('"store_id"', '"Store Id (new)"').replace('"demand"', '"Order Quantity"')
    written = json.loads(text)
    written["Chronos"] = {"Columns": {"demand": "Order Quantity"}}
    params = parse_params(written)
    assert params.target_column == "Order_Quantity"
    assert "Store_Id_new" in {attribute.name for attribute in params.attributes}
    assert any("'Order Quantity' is called Order_Quantity here" in note for note in params.notes)


@pytest.mark.parametrize("name", ["type", "Type"])
def test_a_column_may_be_called_type(name: str) -> None:
    params = parse_params(json.loads(json.dumps(document()).replace('"store_id"', f'"{name}"')))
    assert name in {attribute.name for attribute in params.attributes}
    assert any("forecast.csv calls its own forecast_type" in note for note in params.notes)


def test_backtests_are_the_service_s_and_nothing_that_a_forecast_depends_on() -> None:
    evaluation = {"NumberOfBacktestWindows": 3, "BackTestWindowOffset": 48}
    params = parse_params(document(Predictor__ForecastHorizon=24, Predictor__EvaluationParameters=evaluation))
    assert params.backtest == BacktestParams(3, 48)
    assert to_document(params)["Predictor"]["EvaluationParameters"] == evaluation
    assert parse_params(to_document(params)) == params
    plain = parse_params(document(Predictor__ForecastHorizon=24))
    assert plain.backtest == BacktestParams(1, None)
    assert plain.digest == params.digest


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"Predictor__ForecastHorizon": 24, "Predictor__EvaluationParameters": {"BackTestWindowOffset": 12}},
            r"Predictor.EvaluationParameters.BackTestWindowOffset = 12: a window of 24 periods .*; write 24 or more",
        ),
        (
            {"Predictor__EvaluationParameters": {"NumberOfBacktestWindows": 6}},
            r"Predictor.EvaluationParameters.NumberOfBacktestWindows = 6: .*1 to 5",
        ),
        ({"Chronos": {"Export": {"ExportFormat": "XML"}}}, r"Chronos.Export.ExportFormat = \"XML\""),
        (
            {"Chronos": {"Export": {"ExportFormat": "PARQUET", "Compression": "GZIP"}}},
            r"Chronos.Export.Compression = \"GZIP\": Parquet files compress by themselves",
        ),
        ({"Chronos": {"Export": {"MaxMegabytes": 0}}}, r"Chronos.Export.MaxMegabytes = 0"),
        ({"Chronos": {"Export": {"Gzip": True}}}, r"Chronos.Export.Gzip"),
    ],
)
def test_exports_that_cannot_be_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ParamsError, match=problem):
        parse_params(document(**changes))
