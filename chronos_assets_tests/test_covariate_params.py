"""params.json about covariates: related time series, item metadata, holidays; what is read, and what is refused."""

from typing import Any

import pytest

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.params.attributes import Attribute, RelatedFilling
from chronos_assets.params.forecast import DOMAINS, ForecastParams, to_document
from chronos_assets.params.reader import parse_params
from chronos_assets.params.reconciliation import ReconcileParams
from chronos_assets_tests.test_params import document, only_problem

RELATED_COLUMNS = {
    "item_id": "string",
    "timestamp": "timestamp",
    "store_id": "string",
    "price": "float",
    "promotion": "integer",
    "event": "string",
}
METADATA_COLUMNS = {"item_id": "string", "brand": "string", "size": "float"}


def with_covariates(
    related: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    filling: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A good file with both data sets, and `filling` for attributes; `changes` as in `document`."""
    built = document(**changes)
    built["Datasets"] += [
        {"DatasetType": "RELATED_TIME_SERIES", "Schema": RELATED_COLUMNS if related is None else related},
        {"DatasetType": "ITEM_METADATA", "Schema": METADATA_COLUMNS if metadata is None else metadata},
    ]
    if filling is not None:
        built["Predictor"]["DataConfig"] = {
            "AttributeConfigs": [
                {"AttributeName": name, "Transformations": parameters} for name, parameters in filling.items()
            ]
        }
    return built


def read(**arguments: Any) -> ForecastParams:
    """The parameters, which must read back from their own document."""
    params = parse_params(with_covariates(**arguments))
    assert parse_params(to_document(params)) == params
    return params


def test_both_data_sets_are_read_with_their_keys() -> None:
    params = read(Predictor__FeaturizationConfig__ForecastDimensions=["store_id"])
    assert params.related is not None
    assert params.metadata is not None
    schema = params.related.dataset
    assert schema is not None
    assert (schema.item_column, schema.timestamp_column, schema.dimensions) == ("item_id", "timestamp", ("store_id",))
    assert schema.covariates == (
        Attribute("price", "float"),
        Attribute("promotion", "integer"),
        Attribute("event", "string"),
    )
    assert params.metadata.covariates == (Attribute("brand", "string"), Attribute("size", "float"))
    assert params.digest != parse_params(document()).digest


def test_without_the_item_rows_apply_to_all_items() -> None:
    params = read(related={"timestamp": "timestamp", "oil": "float"}, metadata=METADATA_COLUMNS)
    assert params.related is not None
    assert params.related.dataset is not None
    assert params.related.dataset.item_column is None
    assert params.related.dataset.covariates == (Attribute("oil", "float"),)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_has_its_own_names(domain: str) -> None:
    names = DOMAINS[domain]
    target = {names.item: "string", names.timestamp: "timestamp", names.target: "float"}
    built = with_covariates(
        related={names.item: "string", names.timestamp: "timestamp", "price": "float"},
        metadata={names.item: "string", "brand": "string"},
        DatasetGroup__Domain=domain,
        Datasets__0__Domain=domain,
        Datasets__0__Schema=target,
    )
    params = parse_params(built)
    assert params.related is not None
    assert params.metadata is not None
    assert params.related.dataset is not None
    assert params.metadata.dataset is not None
    assert params.related.dataset.item_column == params.metadata.dataset.item_column == names.item


def test_other_names_of_the_target_hold_for_all_data_sets() -> None:
    params = read(
        related={"sku": "string", "day": "timestamp", "price": "float"},
        metadata={"item_id": "string", "brand": "string"},
        Datasets__0__Schema={"sku": "string", "day": "timestamp", "demand": "float"},
        Chronos__Columns={"item_id": "sku", "timestamp": "day"},
    )
    assert params.related is not None
    assert params.metadata is not None
    assert params.related.dataset is not None
    assert params.metadata.dataset is not None
    assert (params.related.dataset.item_column, params.related.dataset.timestamp_column) == ("sku", "day")
    assert params.metadata.dataset.item_column == "item_id"


def test_filling_is_read_for_each_attribute() -> None:
    params = read(
        filling={
            "price": {"middlefill": "median", "backfill": "mean", "futurefill": "value", "futurefill_value": "2.5"},
            "promotion": {"aggregation": "max", "middlefill": "zero", "futurefill": "zero"},
            "demand": {"middlefill": "zero", "backfill": "zero"},
        }
    )
    assert params.related is not None
    assert dict(params.related.filling) == {
        "price": RelatedFilling("median", "mean", futurefill="value", futurefill_value=2.5),
        "promotion": RelatedFilling("zero", futurefill="zero", aggregation="max"),
    }
    assert params.filling.middlefill == "zero"


def test_columns_of_the_train_files_may_be_covariates() -> None:
    schema = {
        "item_id": "string",
        "timestamp": "timestamp",
        "demand": "float",
        "Sell Price": "float",
        "brand": "string",
        "note": "string",
    }
    chronos = {"Related": ["Sell Price"], "Metadata": ["brand"], "KnownInAdvance": {"Sell_Price": False}}
    params = parse_params(document(Datasets__0__Schema=schema, Chronos=chronos))
    assert params.related is not None
    assert params.metadata is not None
    assert (params.related.dataset, params.related.columns) == (None, (Attribute("Sell_Price", "float"),))
    assert params.metadata.columns == (Attribute("brand", "string"),)
    assert params.known_in_advance == (("Sell_Price", False),)
    assert [note for note in params.notes if note.startswith("The column note")] == [
        "The column note is not used: rows that differ only in it are aggregated; ForecastDimensions would keep them apart."
    ]
    assert parse_params(to_document(params)) == params


def test_holidays_come_from_the_services_keys_and_ours() -> None:
    newer = document(
        Predictor__DataConfig__AdditionalDatasets=[
            {"Name": "holiday", "Configuration": {"CountryCode": ["US", "ca"]}},
            {"Name": "weather"},
        ],
        Chronos__Holidays={"Countries": ["DE-BY", "US"], "Days": {"sale": ["2024-11-29"]}, "File": "days.csv"},
    )
    params = parse_params(newer)
    assert params.holidays == HolidayCalendar(("US", "CA", "DE-BY"), (("sale", ("2024-11-29",)),), "days.csv")
    assert parse_params(to_document(params)) == params
    assert any(
        "AdditionalDatasets[1]: the weather of the service is not available: supply it" in n for n in params.notes
    )
    features = [{"Name": "holiday", "Value": "JP"}, {"Name": "weather", "Value": "true"}]
    older = parse_params(document(Predictor__InputDataConfig__SupplementaryFeatures=features))
    assert older.holidays == HolidayCalendar(("JP",))
    assert any("SupplementaryFeatures[1]: the weather" in note for note in older.notes)


FOLDER = "Datasets[1]"


@pytest.mark.parametrize(
    ("arguments", "key", "reason", "fix"),
    [
        ({"related": {"item_id": "string", "price": "float"}}, f"{FOLDER}.Schema", "no timestamp", "ITEM_METADATA"),
        ({"related": {"item_id": "string", "timestamp": "timestamp"}}, f"{FOLDER}.Schema", "only keys", "explain"),
        ({"related": RELATED_COLUMNS | {"demand": "float"}}, f"{FOLDER}.Schema", "can't explain itself", "remove"),
        ({"related": RELATED_COLUMNS | {"until": "timestamp"}}, f"{FOLDER}.Schema", "second timestamp", "string"),
        ({"related": RELATED_COLUMNS | {"item_id": "integer"}}, f"{FOLDER}.Schema", "item_id has a type", "string"),
        ({"metadata": {"brand": "string"}}, "Datasets[2].Schema", "there is no item", "add the column item_id"),
        ({"metadata": METADATA_COLUMNS | {"price": "float"}}, "Datasets", "two data sets", "rename"),
        ({"filling": {"event": {"middlefill": "zero"}}}, None, "event holds texts", "nan"),
        ({"filling": {"price": {"futurefill": "value"}}}, None, "no value is given", "0"),
        ({"filling": {"prize": {"middlefill": "zero"}}}, None, "no such column", "price"),
        ({"filling": {"demand": {"futurefill": "zero"}}}, None, "no future to fill", "remove"),
        ({"Chronos__KnownInAdvance": {"prise": True}}, "Chronos.KnownInAdvance.prise", "no such related", "price"),
        ({"Chronos__KnownInAdvance": {"price": "yes"}}, "Chronos.KnownInAdvance.price", "true or false", "unquoted"),
        ({"Chronos__Related": ["demand"]}, "Chronos.Related", "a key or the target", "further columns"),
        ({"Chronos__Metadata": ["stor_id"]}, "Chronos.Metadata", "no column stor_id", "store_id"),
        ({"Chronos__Related": "store_id"}, "Chronos.Related", "must be a list", "price"),
        ({"Chronos__Holidays": {"Countries": ["Germany"]}}, "Chronos.Holidays.Countries", "no calendar", "DE"),
        ({"Chronos__Holidays": {"Countries": ["DE-XY"]}}, "Chronos.Holidays.Countries", "subdivision XY of DE", "DE-"),
        ({"Chronos__Holidays": {}}, "Chronos.Holidays", "no holidays", "Countries"),
        ({"Chronos__Holidays": {"Days": {"a": ["29.11.2024"]}}}, "Chronos.Holidays.Days", "days of a", "2024-11-29"),
        ({"Chronos__Holidays": {"Days": ["2024-11-29"]}}, "Chronos.Holidays.Days", "an object", "Black Friday"),
        (
            {"Predictor__DataConfig__AdditionalDatasets": [{"Name": "holiday"}]},
            "Predictor.DataConfig.AdditionalDatasets[0].Configuration",
            "no country",
            "CountryCode",
        ),
        (
            {"Predictor__InputDataConfig__SupplementaryFeatures": [{"Name": "holyday", "Value": "US"}]},
            "Predictor.InputDataConfig.SupplementaryFeatures[0].Name",
            "not one of",
            "holiday",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(arguments: dict[str, Any], key: str | None, reason: str, fix: str) -> None:
    problem = only_problem(with_covariates(**arguments))
    assert key is None or problem.key == key
    assert reason in problem.reason
    assert fix in problem.fix


def test_coarser_rows_are_refused() -> None:
    built = with_covariates()
    built["Datasets"][1]["DataFrequency"] = "W"
    problem = only_problem(built)
    assert problem.key == "Datasets[1].DataFrequency"
    assert "repeat each row" in problem.fix
    built["Datasets"][1]["DataFrequency"] = "H"
    finer = parse_params(built).related
    assert finer is not None
    assert finer.dataset is not None
    assert finer.dataset.data_frequency == Frequency.parse("H")


def test_one_data_set_of_each_type() -> None:
    built = with_covariates()
    built["Datasets"].append(built["Datasets"][1])
    assert "more than one related time series" in only_problem(built).reason


def test_levels_of_sums_are_dimensions_and_texts_of_the_metadata() -> None:
    dimensions = ["store_id"]
    params = read(
        Predictor__FeaturizationConfig__ForecastDimensions=dimensions,
        Chronos={"Reconcile": {"Levels": ["brand", "store_id"]}},
    )
    assert params.reconcile == ReconcileParams(("brand", "store_id"), "bottom_up")
    assert params.digest != read(Predictor__FeaturizationConfig__ForecastDimensions=dimensions).digest


@pytest.mark.parametrize(
    ("levels", "reason", "fix"),
    [
        (["brnad"], "there is no such forecast dimension or attribute", "brand"),
        (["price"], "there is no such forecast dimension or attribute", "write some of brand"),
        (["size"], "a level is a category, and this is a number", 'make it a "string"'),
        (["brand", "brand"], "this level is given twice", "name every level once"),
        (["total"], "the total is above all levels anyway", "leave it out"),
        ("brand", "this must be a list of columns", 'write for example ["category", "brand"]'),
    ],
)
def test_levels_that_are_none_are_refused(levels: Any, reason: str, fix: str) -> None:
    problem = only_problem(with_covariates(Chronos={"Reconcile": {"Levels": levels}}))
    assert problem.key == "Chronos.Reconcile.Levels"
    assert reason in problem.reason
    assert fix in problem.fix


def test_sums_need_a_mean_or_two_quantiles() -> None:
    problem = only_problem(document(Chronos={"Reconcile": {}}, Forecast__ForecastTypes=["0.9"]))
    assert "Chronos.Reconcile adds up means, and one quantile has none" in problem.reason
    assert parse_params(document(Chronos={"Reconcile": {}}, Forecast__ForecastTypes=["mean"])).reconcile is not None
