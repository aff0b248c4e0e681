"""The endpoint's schema: what is read, what is refused and with which words, what is answered."""

import csv
import io
import json
import math
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.calendar.periods import period
from chronos_assets.container import contract
from chronos_assets.serving.answers import render
from chronos_assets.serving.requests import parse
from chronos_assets.serving.schema import (
    CONTENT_TYPES,
    CSV,
    JSON,
    JSON_LINES,
    InvocationError,
    Limits,
    Parameters,
    Prediction,
    Schema,
    accepted,
    content_type,
)
from chronos_assets_tests.workloads.requests import MALFORMED, malformed

BOLT = Schema("model v1", (0.1, 0.9), joint=False)
CHRONOS_2 = Schema("model v2", (0.01, 0.99), joint=True)


def request(inputs, **parameters):
    return json.dumps({"inputs": inputs, "parameters": parameters} if parameters else {"inputs": inputs}).encode()


def refused(body, kind=JSON, schema=BOLT, query=""):
    with pytest.raises(InvocationError) as caught:
        parse(body if isinstance(body, bytes) else body.encode(), kind, schema, query)
    return caught.value


def predictions_of(calls):
    """Predictions whose numbers tell their place: series, period, level."""
    made = []
    for call in calls:
        horizon, width = call.parameters.prediction_length, len(call.parameters.quantile_levels)
        some = []
        for number, item in enumerate(call.inputs):
            shape = (*item.target.shape[:-1], horizon)
            mean = 100.0 * number + np.broadcast_to(np.arange(horizon), shape)
            some.append(Prediction(mean, mean[..., None] + np.arange(width) / 10))
        made.append(some)
    return made


def test_a_jumpstart_request_is_read_and_answered():
    body = request(
        [
            {"target": [1, 2.5, None], "item_id": "a", "start": "2024-01-01T00:00:00"},
            {"target": [4], "item_id": "b", "start": "2024-01-31"},
        ],
        prediction_length=2,
        quantile_levels=[0.1, 0.9],
        freq="1h",
        batch_size=256,
        cross_learning=False,
    )
    calls = parse(body, JSON, BOLT)
    first, second = calls[0].inputs
    np.testing.assert_array_equal(first.target, [1, 2.5, math.nan])
    assert (second.item_id, second.start) == ("b", datetime(2024, 1, 31))
    assert calls[0].parameters == Parameters(2, (0.1, 0.9), Frequency.parse("H"))
    assert json.loads(render(calls, predictions_of(calls), JSON)) == {
        "predictions": [
            {"mean": [0, 1], "0.1": [0, 1], "0.9": [0.1, 1.1], "item_id": "a", "start": "2024-01-01T03:00:00"},
            {"mean": [100, 101], "0.1": [100, 101], "0.9": [100.1, 101.1], "item_id": "b"}
            | {"start": "2024-01-31T01:00:00"},
        ]
    }


def test_what_is_not_given_has_jumpstarts_defaults_and_is_not_answered():
    calls = parse(request([{"target": [1, 2]}]), JSON, BOLT)
    assert calls[0].parameters == Parameters(1, (0.1, 0.5, 0.9), None, 256, cross_learning=False)
    assert set(json.loads(render(calls, predictions_of(calls), JSON))["predictions"][0]) == {
        "mean",
        "0.1",
        "0.5",
        "0.9",
    }


def test_a_bare_list_is_one_series():
    (call,) = parse(request([10001, 10002, None], prediction_length=3), JSON, BOLT)
    np.testing.assert_array_equal(call.inputs[0].target, [10001, 10002, math.nan])
    assert len(json.loads(render([call], predictions_of([call]), JSON))["predictions"]) == 1


def test_several_dimensions_and_covariates_are_chronos_2s():
    item = {
        "target": [[1, 2, 3], [4, None, 6]],
        "past_covariates": {"price": [1, 2, 3], "promo": ["no", "no", "yes"]},
        "future_covariates": {"promo": ["no", "yes"]},
    }
    (call,) = parse(request([item], prediction_length=2, cross_learning=True), JSON, CHRONOS_2)
    (series,) = call.inputs
    assert call.joint
    assert series.target.shape == (2, 3)
    assert series.future_covariates["promo"].tolist() == ["no", "yes"]
    answer = json.loads(render([call], predictions_of([call]), JSON))["predictions"][0]
    assert answer["mean"] == [[0, 1], [0, 1]]
    assert answer["0.9"] == [[0.2, 1.2], [0.2, 1.2]]


@pytest.mark.parametrize(
    ("item", "parameters", "field"),
    [
        ({"target": [[1, 2]]}, {}, "inputs[0].target"),
        ({"target": [1, 2], "past_covariates": {"x": [1, 2]}}, {}, "inputs[0].past_covariates"),
        ({"target": [1, 2], "future_covariates": {"x": [1]}}, {}, "inputs[0].future_covariates"),
        ({"target": [1, 2]}, {"cross_learning": True}, "parameters.cross_learning"),
    ],
)
def test_other_families_name_the_field_that_they_do_not_read(item, parameters, field):
    error = refused(request([item], **parameters))
    assert (error.status, error.field) == (400, field)
    assert "serve a Chronos-2 model" in error.message
    if "future_covariates" not in item:  # there it lacks its past, too
        parse(request([item], **parameters), JSON, CHRONOS_2)


def test_levels_outside_of_the_models_range_are_refused_with_the_range():
    error = refused(request([{"target": [1]}], quantile_levels=[0.5, 0.05]))
    assert error.field == "parameters.quantile_levels[1]"
    assert error.message == "0.05: model v1 forecasts levels from 0.1 to 0.9"


@pytest.mark.parametrize(("body", "field", "words"), MALFORMED)
def test_a_malformed_request_names_the_field_and_the_fix(body, field, words):
    error = refused(body)
    assert (error.status, error.field) == (400, field)
    assert words in error.message


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (b"[" * 100_000 + b"]" * 100_000, JSON, "body"),
        (b'{"inputs":' * 5_000, JSON, "body"),
        (b'{"inputs": [{"target": ["\xff"]}]}', JSON, "body"),
        (b'{"inputs": [{"target": [' + b"9" * 5_000 + b"]}]}", JSON, "inputs[0].target[0]"),
        (b'{"inputs": [{"target": [1e999]}]}', JSON, "inputs[0].target[0]"),
        (b'{"inputs": [{"target": [1], "item_id": "\\ud800"}]}', JSON, "inputs[0].item_id"),
        (b'{"target": [1]}\n{"target": [1, "x"]}\n', JSON_LINES, "line 2: target[1]"),
        (b'{"target": [1]}\n\n{"inputs": [{"target": []}]}', JSON_LINES, "line 3: inputs[0].target"),
        (b"\n\n", JSON_LINES, "body"),
        (b"item_id,timestamp,target\na,2024-01-01,x\n", CSV, "line 2, column target"),
        (b"item_id,timestamp,target\na,yesterday,1\n", CSV, "line 2, column timestamp"),
        (b"a,2024-01-02,1\na,2024-01-01,1\n", CSV, "line 2, column timestamp"),
        (b"a,2024-01-01,1\na,2024-01-02,2\na,2024-01-03 12:00,2\n", CSV, "line 3, column timestamp"),
        (b"a,2024-01-01,1\n", CSV, "query.freq"),
        (b"a,2024-01-01,1\na,2024-01-01T00:00:07,1\n", CSV, "query.freq"),
        (b"item_id,price,target\na,1,1\n", CSV, "line 1, column price"),
        (b"1,2\n", CSV, "line 1"),
        (b"1\n2,3\n", CSV, "line 2"),
        (b"target\n1_000\n", CSV, "line 2, column target"),
        (b"target\ninf\n", CSV, "line 2, column target"),
        (b"", CSV, "line 1"),
        (b"target\n", CSV, "body"),
        (b'target\n"' + b"1" * 200_000, CSV, "body"),
    ],
)
def test_bodies_that_break_readers_are_refused(body, kind, field):
    error = refused(body, kind)
    assert (error.status, error.field) == (400, field)


@pytest.mark.parametrize(
    ("body", "limits", "field"),
    [
        (request([{"target": [1, 2, 3]}]), Limits(max_body_bytes=20), "body"),
        (request([{"target": [1]}, {"target": [1]}]), Limits(max_series=1), "inputs"),
        (request([{"target": [1, 2, 3]}]), Limits(max_points=2), "inputs"),
        (
            request([{"target": [1]}], prediction_length=10),
            Limits(max_answer_values=39),
            "parameters.prediction_length",
        ),
    ],
)
def test_what_is_too_large_is_413(body, limits, field):
    error = refused(body, schema=Schema("m", (0.1, 0.9), joint=False, limits=limits))
    assert (error.status, error.field) == (413, field)


def test_json_lines_are_answered_line_by_line():
    body = b'{"target": [1], "item_id": "a"}\n\n{"inputs": [[1, 2]], "parameters": {"prediction_length": 2}}\n'
    assert refused(body, JSON_LINES).field == "line 3: inputs[0]"
    body = body.replace(b"[[1, 2]]", b"[1, 2]")
    calls = parse(body, JSON_LINES, BOLT, "quantile_levels=0.5")
    lines = [json.loads(line) for line in render(calls, predictions_of(calls), JSON_LINES).splitlines()]
    assert lines == [{"mean": [0], "0.5": [0], "item_id": "a"}, {"predictions": [{"mean": [0, 1], "0.5": [0, 1]}]}]
    flat = json.loads(render(calls, predictions_of(calls), JSON))
    assert flat["predictions"] == [lines[0], *lines[1]["predictions"]]
    one = parse(request([{"target": [1]}, {"target": [2]}]), JSON, BOLT)
    assert len(render(one, predictions_of(one), JSON_LINES).splitlines()) == 2


def test_csv_goes_both_ways():
    body = b"Target,timestamp,Item ID\n1,2024-01-31,x\n5,2024-01-01,y\n,2024-02-29,x\n3,2024-04-30,x\n"
    calls = parse(body, CSV, BOLT, "prediction_length=2&quantile_levels=0.5,0.9&freq=M")
    x, y = calls[0].inputs
    np.testing.assert_array_equal(x.target, [1, math.nan, math.nan, 3])
    assert (y.item_id, y.target.tolist()) == ("y", [5.0])
    rows = list(csv.reader(io.StringIO(render(calls, predictions_of(calls), CSV).decode())))
    assert rows == [
        ["item_id", "timestamp", "mean", "0.5", "0.9"],
        ["x", "2024-05-31T00:00:00", "0.0", "0.0", "0.1"],
        ["x", "2024-06-30T00:00:00", "1.0", "1.0", "1.1"],
        ["y", "2024-02-01T00:00:00", "100.0", "100.0", "100.1"],
        ["y", "2024-03-01T00:00:00", "101.0", "101.0", "101.1"],
    ]


def test_csv_may_be_the_target_alone():
    calls = parse(b"1\n2\nnan\n", CSV, BOLT, attributes="trace-7&id=%ff&prediction_length=2&quantile_levels=0.5")
    assert render(calls, predictions_of(calls), CSV) == b"period,mean,0.5\n1,0.0,0.0\n2,1.0,1.0\n"


@pytest.mark.parametrize(
    ("first", "second", "frequency"),
    [
        ("2024-01-01", "2024-01-02", "D"),
        ("2024-01-01", "2024-01-08", "W"),
        ("2024-01-01T00:00", "2024-01-01T00:15", "15min"),
        ("2024-01-01T00:00", "2024-01-01T06:00", "6H"),
        ("2024-01-31", "2024-02-29", "M"),
        ("2024-01-15", "2024-04-15", "3M"),
        ("2023-01-01", "2024-01-01", "Y"),
    ],
)
def test_csv_tells_its_frequency_by_two_rows(first, second, frequency):
    (call,) = parse(f"a,{first},1\na,{second},2\n".encode(), CSV, BOLT)
    assert str(call.parameters.freq) == frequency


@pytest.mark.parametrize(
    ("days", "frequency", "periods"),
    [
        ("2024-01-01 2024-01-03 2024-01-04", "D", 4),  # a gap at the beginning
        ("2024-01-05 2024-01-08 2024-01-09 2024-01-10", "D", 6),  # working days
        ("2023-02-28 2023-03-31 2023-04-30", "M", 3),
        ("2023-01-02 2023-01-30 2023-02-27 2023-03-27", "4W", 4),  # of which one step is a month
        ("2022-12-04 2023-01-01 2023-02-01 2023-03-01", "M", None),
    ],
)
def test_csv_tells_its_frequency_by_most_of_the_rows(days, frequency, periods):
    body = "".join(f"a,{day},1\n" for day in days.split()).encode()
    if periods is None:
        assert f"periods of {frequency} after line 1" in refused(body, CSV).message
        return
    (call,) = parse(body, CSV, BOLT)
    assert (str(call.parameters.freq), len(call.inputs[0].target)) == (frequency, periods)


def test_items_of_several_frequencies_are_not_taken_for_one_with_gaps():
    hours = "".join(f"a,2024-01-01T{hour:02}:00,1\n" for hour in range(9))
    days = "".join(f"b,2024-01-{day:02},1\n" for day in range(1, 5))
    error = refused(hours + days, CSV)
    assert error.field == "line 10"
    assert "the rows of this item come every D, those of others every H" in error.message
    (call,) = parse((hours + days).encode(), CSV, BOLT, "freq=H")
    assert [len(item.target) for item in call.inputs] == [9, 73]


def test_a_predictor_takes_series_of_the_seasons_that_it_was_learned_from():
    hourly = Schema("model v3", (0.01, 0.99), joint=False, seasons=(24, 168))
    series = [{"target": [1, 2], "start": "2024-01-01"}]
    error = refused(request(series, freq="D"), schema=hourly)
    assert error.field == "parameters.freq"
    assert error.message.startswith(
        "D: model v3 was learned from series with seasons of 24 and 168 periods, series of D have a season of 7 periods"
    )
    assert refused("a,2024-01-01,1\na,2024-01-02,1\n", CSV, hourly).field == "query.freq"
    assert refused(request(series, freq="h"), schema=replace(hourly, seasons=())).message.startswith("H: ")
    for freq, seasons in (("D", None), ("h", (24, 168)), ("D", (7,)), ("Y", ())):
        parse(request(series, freq=freq), JSON, replace(hourly, seasons=seasons))


@pytest.mark.parametrize(
    ("header", "kind"),
    [(None, JSON), ("", JSON), ("Application/JSON; charset=UTF-8", JSON), ("application/x-jsonlines", JSON_LINES)],
)
def test_content_types_that_are_read(header, kind):
    assert content_type(header) == kind


def test_what_is_registered_of_a_model_is_what_it_speaks():
    assert contract.CONTENT_TYPES == contract.RESPONSE_TYPES == CONTENT_TYPES


@pytest.mark.parametrize(
    "header",
    ["application/x-npy", "application/x-pickle", "application/octet-stream", "text/plain", "text/csv; charset=utf-16"],
)
def test_content_types_that_are_not_read_are_415(header):
    with pytest.raises(InvocationError) as caught:
        content_type(header)
    assert (caught.value.status, caught.value.field) == (415, "Content-Type")


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, JSON_LINES),
        ("*/*", JSON_LINES),
        ("application/*", JSON_LINES),
        ("text/csv", CSV),
        ("application/json;q=0.2, text/csv;q=0.9", CSV),
        ("text/html, application/json", JSON),
    ],
)
def test_accept_chooses_the_answers_type(header, kind):
    assert accepted(header, JSON_LINES) == kind


@pytest.mark.parametrize("header", ["text/html", "text/csv;q=0", "application/x-npy", ";;;,,,"])
def test_an_answer_that_is_not_given_is_406(header):
    with pytest.raises(InvocationError) as caught:
        accepted(header, JSON)
    assert caught.value.status == 406


@pytest.mark.parametrize(
    ("start", "frequency", "number", "expected"),
    [
        ("2024-01-31", "M", 1, "2024-02-29"),
        ("2024-02-29", "M", 1, "2024-03-31"),
        ("2024-01-30", "M", 1, "2024-02-29"),
        ("2024-01-30", "M", 2, "2024-03-30"),
        ("2024-11-01", "3M", 1, "2025-02-01"),
        ("2024-02-29", "Y", 1, "2025-02-28"),
        ("2024-12-31", "W", 1, "2025-01-07"),
        ("2024-12-31T23:45:00", "15min", 1, "2025-01-01T00:00:00"),
    ],
)
def test_periods_follow_the_calendar(start, frequency, number, expected):
    assert period(datetime.fromisoformat(start), Frequency.parse(frequency), number) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("freq", ["h", "1h", "D", "15min", "T", "M", "ME", "MS", "QS", "W-SUN", "2W-MON", "YE-DEC"])
def test_pandas_names_of_frequencies_are_read(freq):
    calls = parse(request([{"target": [1], "start": "2024-01-31"}], freq=freq), JSON, BOLT)
    assert "start" in json.loads(render(calls, predictions_of(calls), JSON))["predictions"][0]


values = st.none() | st.floats(-1e280, 1e280) | st.integers(-(10**17), 10**17)


@pytest.mark.process
@given(
    targets=st.lists(
        st.lists(values, min_size=1, max_size=8).filter(lambda v: any(x is not None for x in v)), min_size=1
    ),
    horizon=st.integers(1, 20),
    levels=st.lists(st.floats(0.1, 0.9), min_size=1, max_size=9, unique=True),
    kind=st.sampled_from([JSON, JSON_LINES, CSV]),
)
def test_every_number_of_a_sound_request_comes_through(targets, horizon, levels, kind):
    body = request([{"target": target} for target in targets], prediction_length=horizon, quantile_levels=levels)
    calls = parse(body, JSON, BOLT)
    for target, item in zip(targets, calls[0].inputs, strict=True):
        expected = [math.nan if value is None else float(value) for value in target]
        np.testing.assert_array_equal(item.target, expected)
    content = render(calls, predictions_of(calls), kind).decode()
    if kind == CSV:
        header, *rows = csv.reader(io.StringIO(content))
        assert header == ["period", "mean", *map(repr, levels)]
        assert len(rows) == horizon * len(targets)
        return
    documents = json.loads(content)["predictions"] if kind == JSON else list(map(json.loads, content.splitlines()))
    assert len(documents) == len(targets)
    for number, document in enumerate(documents):
        assert document["mean"] == [100.0 * number + step for step in range(horizon)]
        assert set(document) == {"mean", *map(repr, levels)}


def parsed(*request):
    try:
        return parse(*request), None
    except InvocationError as error:
        return (), error


@pytest.mark.process
@given(malformed())
@example(("text/csv", b"a,0001-01-01T00:00+23:59,1\na,0001-01-01T00:00-23:59,1\n", ""))
@example(("application/json", b'{"inputs": [{"target": [1], "start": "9999-12-31"}], "parameters": {"freq": "Y"}}', ""))
def test_whatever_comes_is_read_or_refused_by_a_field(case):
    kind, body, query = case
    for schema in (BOLT, CHRONOS_2):
        calls, error = parsed(body, kind, schema, query)
        if error is not None:
            assert error.status in (400, 413)
            assert error.document()["error"]["field"]
            json.dumps(error.document())
        for call in calls:
            assert all(np.isfinite(item.target).any() for item in call.inputs)
        for answer in (JSON, JSON_LINES, CSV):
            render(calls, predictions_of(calls), answer)
