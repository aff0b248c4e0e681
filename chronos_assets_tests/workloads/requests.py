"""Malformed requests: a list of those that people make, and a strategy for all others.

Nothing here is a test: the suite and `benchmarks/malformed_requests.py` use it.
"""

import json

from hypothesis import strategies as st

_ONE = '{"inputs": [{"target": [1, 2]%s}], "parameters": {%s}}'

# Body, the field that the error must name, words that its message must have.
MALFORMED = [
    ("", "body", "not JSON"),
    ("{", "body", "not JSON at line 1, column 2"),
    ("[1, 2]", "body", "a list is no request"),
    ("{}", "inputs", "required"),
    ('{"inputs": []}', "inputs", "an empty list"),
    ('{"inputs": {"target": [1]}}', "inputs", "give a list of series"),
    ('{"inputs": "x"}', "inputs", "give a list of series"),
    ('{"inputs": [1], "extra": 1}', "extra", "unknown key: there are inputs, parameters"),
    ('{"inputs": [1, "2"]}', "inputs[1]", '"2" is not a number'),
    ('{"inputs": [null, null]}', "inputs", "no observation"),
    ('{"inputs": [[1, 2]]}', "inputs[0]", "is no series"),
    ('{"inputs": [{"target": [1]}, 7]}', "inputs[1]", "7 is no series"),
    ('{"inputs": [{}]}', "inputs[0].target", "required"),
    ('{"inputs": [{"target": []}]}', "inputs[0].target", "an empty list"),
    ('{"inputs": [{"target": 5}]}', "inputs[0].target", "give a list of numbers"),
    ('{"inputs": [{"target": [null]}]}', "inputs[0].target", "no observation"),
    ('{"inputs": [{"target": [1, true]}]}', "inputs[0].target[1]", "true is not a number"),
    ('{"inputs": [{"target": [1, "2"]}]}', "inputs[0].target[1]", '"2" is not a number'),
    ('{"inputs": [{"target": [1, NaN]}]}', "inputs[0].target[1]", "write null"),
    ('{"inputs": [{"target": [-Infinity]}]}', "inputs[0].target[0]", "-Infinity is not a number"),
    ('{"inputs": [{"target": [1e291]}]}', "inputs[0].target[0]", "scale the values down"),
    ('{"inputs": [{"target": [1], "target": [2]}]}', "target", "given twice"),
    ('{"inputs": [{"target": [1], "items": 3}]}', "inputs[0].items", "unknown key"),
    (_ONE % (', "item_id": 7', ""), "inputs[0].item_id", "give text"),
    (_ONE % (', "start": "2024-01-01"', ""), "parameters.freq", "inputs[0].start is given"),
    (_ONE % ("", '"freq": "h"'), "inputs[0].start", "required"),
    (_ONE % (', "start": "today"', '"freq": "h"'), "inputs[0].start", "write 2024-01-31"),
    (_ONE % (', "start": 20240101', '"freq": "h"'), "inputs[0].start", "write 2024-01-31"),
    (_ONE % (', "start": "9999-12-31T23"', '"freq": "h"'), "inputs[0].start", "year 9999"),
    (_ONE % (', "start": "2024-01-01"', '"freq": "fortnight"'), "parameters.freq", "is not a frequency"),
    (_ONE % (', "start": "2024-01-01"', '"freq": 1'), "parameters.freq", "give the name of a frequency"),
    (_ONE % (', "past_covariates": 3', ""), "inputs[0].past_covariates", "give an object"),
    (_ONE % (', "past_covariates": {"x": [1]}', ""), "inputs[0].past_covariates.x", "1 values, where target has 2"),
    (_ONE % (', "past_covariates": {"x": [1, "a"]}', ""), "inputs[0].past_covariates.x[1]", "is not a number"),
    (_ONE % (', "future_covariates": {"x": [1, 2]}', ""), "inputs[0].future_covariates.x", "prediction_length has 1"),
    (_ONE % ("", '"prediction_length": 0'), "parameters.prediction_length", "from 1 to 1024"),
    (_ONE % ("", '"prediction_length": 1.5'), "parameters.prediction_length", "from 1 to 1024"),
    (_ONE % ("", '"prediction_length": true'), "parameters.prediction_length", "from 1 to 1024"),
    (_ONE % ("", '"prediction_length": 1025'), "parameters.prediction_length", "from 1 to 1024"),
    (_ONE % ("", '"quantile_levels": 0.5'), "parameters.quantile_levels", "give a list of levels"),
    (_ONE % ("", '"quantile_levels": []'), "parameters.quantile_levels", "an empty list"),
    (_ONE % ("", '"quantile_levels": [0.5, 0.5]'), "parameters.quantile_levels[1]", "twice"),
    (_ONE % ("", '"quantile_levels": [NaN]'), "parameters.quantile_levels[0]", "NaN: "),
    (_ONE % ("", '"batch_size": -1'), "parameters.batch_size", "whole number"),
    (_ONE % ("", '"cross_learning": 1'), "parameters.cross_learning", "write true or false"),
    (_ONE % ("", '"horizon": 5'), "parameters.horizon", "unknown key: there are prediction_length"),
    ('{"inputs": [1], "parameters": [1]}', "parameters", "give an object"),
    ('{"inputs": [{"target": [1], "item_id": "a"}, {"target": [1], "item_id": "a"}]}', "inputs[1].item_id", "differ"),
]

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["2024-01-01", "9999-12-31T23:59", "0001-01-01", "h", "M", "D", "\ud800", "", 10**400, 1e300, -0.0]
    )
)
_TREES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
_TARGETS = (
    st.lists(st.integers(-5, 5) | st.none() | st.floats(), max_size=6)
    | st.lists(st.lists(st.integers(0, 3) | st.none(), min_size=1, max_size=3), max_size=3)
    | _TREES
)
_COVARIATES = st.dictionaries(st.sampled_from("xyz"), st.lists(_SCALARS, max_size=3) | _TREES, max_size=2) | _TREES
_SERIES = st.fixed_dictionaries(
    {},
    optional={
        "target": _TARGETS,
        "item_id": _SCALARS,
        "start": _SCALARS,
        "past_covariates": _COVARIATES,
        "future_covariates": _COVARIATES,
        "other": _SCALARS,
    },
)
_PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "prediction_length": _TREES | st.integers(-1, 2000),
        "quantile_levels": st.lists(st.floats(0, 1) | _SCALARS, max_size=4) | _TREES,
        "freq": _SCALARS,
        "batch_size": _SCALARS,
        "cross_learning": _SCALARS,
        "other": _SCALARS,
    },
)
_REQUESTS = st.fixed_dictionaries(
    {}, optional={"inputs": st.lists(_SERIES | _TREES, max_size=3) | _TARGETS, "parameters": _PARAMETERS | _TREES}
)
_CELLS = st.text(max_size=6) | st.sampled_from(
    [
        "1",
        "2.5",
        "",
        "nan",
        "a",
        "2024-01-01",
        "2024-01-02",
        "0001-01-01",
        "9999-12-31",
        "target",
        "item_id",
        '"',
        "1e999",
    ]
)


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


_JSON = (_REQUESTS | _TREES).map(_dumped)
_LINES = st.lists((_SERIES | _REQUESTS | _TREES).map(_dumped) | st.binary(max_size=8), max_size=4).map(b"\n".join)
_CSV = st.lists(st.lists(_CELLS, max_size=4).map(",".join), max_size=5).map(
    lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
)
_QUERIES = st.sampled_from(
    [
        "",
        "prediction_length=3",
        "prediction_length=x",
        "freq=D",
        "freq=M",
        "quantile_levels=0.5,0.5",
        "a=b",
        "%ff=%ff",
        "&&",
    ]
)


def _cut(body: bytes, place: int, junk: bytes) -> bytes:
    """A body with some bytes replaced: what a broken client or line makes of it."""
    place %= len(body) + 1
    return body[:place] + junk + body[place + len(junk) :]


def malformed() -> st.SearchStrategy[tuple[str, bytes, str]]:
    """Content type, body and query of requests, of which nearly all are malformed."""
    broken = st.builds(_cut, _JSON, st.integers(0, 400), st.binary(max_size=3))
    return (
        st.tuples(st.just("application/json"), _JSON | broken | st.binary(max_size=40), _QUERIES)
        | st.tuples(st.just("application/jsonlines"), _LINES | broken, _QUERIES)
        | st.tuples(st.just("text/csv"), _CSV | st.binary(max_size=40), _QUERIES)
    )
