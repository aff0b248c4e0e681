"""Any dirty files: never a traceback, and never a row that disappears without being counted."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.params.columns import REWRITE, InferenceError
from chronos_assets.params.draft import with_guesses
from chronos_assets.params.forecast import ParamsError, to_document
from chronos_assets.params.inference import infer, likely_keys
from chronos_assets.params.reader import parse_params
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.importing import import_target_time_series
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.sampling import sample_files, sample_series
from chronos_assets.timeseries.dataset.train_files import TrainFile

START = datetime(2024, 1, 1)

days = st.integers(0, 40).map(lambda day: str((START + timedelta(days=day)).date()))
items = st.sampled_from(["a", "b", "NA", "null", "Zürich", "7", '"x, y"', '"say ""hi"""', " padded "])
values = st.sampled_from(["1", "2.5", "-3", "0", "", "NaN", "1e3"])
good = st.tuples(items, days, values).map(",".join)
# Each is one record, whatever is wrong with it.
bad = st.sampled_from(
    [
        *("Total", "a,b", "a,2024-01-05,1,extra", "a,2024-13-05,1", "a,,1", ",2024-01-05,1", "a,2024-01-05,one"),
        *(
            "a,2024-01-05,inf",
            "a,2024-01-05,1_0",
            'a,2024-01-05,"1',
            "a,3024-01-05,1",
            ",,",
            "a;2024-01-05;1",
            "# note",
        ),
        "a,2042-01-05,1",
    ]
)
lines = st.lists(st.one_of(good, good, good, bad, st.just("")), max_size=40)
HEADERS = [
    "item_id,timestamp,target_value",
    "Item_ID;x",
    "",
    "sku,day,qty",
    "商品,日付,売上",
    "item_id,timestamp,target_value,",
]
files = st.tuples(
    st.sampled_from(HEADERS),
    lines,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["plain", "plain", "gzip", "latin", "utf-16", "bom", "sep"]),
)

PARAMS = {
    "DatasetGroup": {"DatasetGroupName": "dirty", "Domain": "CUSTOM"},
    "Predictor": {"ForecastHorizon": 2, "FeaturizationConfig": {"ForecastFrequency": "D"}},
    "TimestampFormat": "yyyy-MM-dd",
    "Datasets": [
        {
            "DatasetType": "TARGET_TIME_SERIES",
            "DataFrequency": "D",
            "Schema": {
                "Attributes": [
                    {"AttributeName": "item_id", "AttributeType": "string"},
                    {"AttributeName": "timestamp", "AttributeType": "timestamp"},
                    {"AttributeName": "target_value", "AttributeType": "float"},
                ]
            },
        }
    ],
    "Chronos": {"BadRows": "quarantine"},
}


def _bytes(header, lines, end, form):
    text = "".join(line + end for line in ([header] if header else []) + lines)
    match form:
        case "gzip":
            return gzip.compress(text.encode())
        case "latin":
            return text.encode("latin-1", errors="replace")
        case "utf-16":
            return text.encode("utf-16-le")
        case "bom":
            return b"\xef\xbb\xbf" + text.encode()
        case "sep":
            return f"sep=,{end}{text}".encode()
        case _:
            return text.encode()


def _written(folder: Path, drop) -> list[TrainFile]:
    found = []
    for number, (header, lines, end, form) in enumerate(drop):
        path = folder / f"{number}"
        path.write_bytes(_bytes(header, lines, end, form))
        found.append(TrainFile(path, f"train/{number}.csv", datetime(2024, 2, 1 + number, tzinfo=UTC)))
    return found


def _check_words(error: Exception, folder: Path) -> None:
    assert str(error)
    assert str(folder) not in str(error)


def _check_draft(error: InferenceError) -> None:
    """A draft is left unless the file has to be written otherwise, and refused for nothing but what it asks to choose."""
    draft = error.draft
    assert (draft is None) == (error.role == REWRITE)
    if draft is None:
        return
    if "CHOOSE" not in json.dumps({key: value for key, value in draft.items() if key != "Chronos"} | _columns(draft)):
        parse_params(draft)
    else:
        with pytest.raises(ParamsError):
            parse_params(draft)


def _columns(draft: Any) -> dict[str, Any]:
    return {"Columns": draft.get("Chronos", {}).get("Columns")}


def _check_account(report, drop):
    manifest = report.manifest
    rejected = sum(manifest.rejected.values())
    left = manifest.missing + manifest.duplicates + manifest.unfinished + manifest.ahead + rejected
    assert report.rows_read == sum(manifest.files.values())
    assert report.rows_read == manifest.observed + manifest.aggregated + left
    if left:
        assert any(note.startswith(f"of {report.rows_read:,} rows read, ") for note in report.notes)
    for (header, lines, _, _), contents in zip(drop, (file.contents for file in report.files), strict=True):
        written = sum(bool(line.strip(" ,")) for line in lines)
        # A header, a comment above the rows; or a first row that reads as a header.
        assert written - 1 - sum(line.startswith("#") for line in lines) <= contents.rows <= written + bool(header)
        if contents.rows < written:
            assert contents.header or contents.notes


@pytest.mark.process
@given(st.lists(files, min_size=1, max_size=3))
def test_with_parameters_every_row_is_accounted_for(tmp_path_factory, drop):
    folder = tmp_path_factory.mktemp("dirty")
    params = parse_params(PARAMS)
    try:
        report = import_target_time_series(
            _written(folder, drop),
            params,
            output=folder / "out",
            rejected=folder / "rejected",
            resources=Resources(threads=1),
        )
    except ImportFailure as failure:
        _check_words(failure, folder)
        return
    _check_account(report, drop)


@pytest.mark.process
@given(st.lists(files, min_size=1, max_size=3), st.integers(5, 200))
def test_without_parameters_files_are_understood_or_refused_in_words(tmp_path_factory, drop, limit):
    folder = tmp_path_factory.mktemp("dirty")
    found = _written(folder, drop)
    try:
        sample = sample_files(found, limit)
        if not sample.complete and sample.header is not None:
            sample = sample_series(found, sample, likely_keys(sample.header, sample.rows, sample.files), limit)
        params = infer(sample.header, sample.rows, files=sample.files, stretches=sample.stretches)
    except InferenceError as error:
        _check_words(error, folder)
        _check_draft(error)
        return
    except FileProblem as problem:
        _check_words(problem, folder)
        return
    document = with_guesses(to_document(params), params.notes)
    document["Chronos"]["BadRows"] = "quarantine"
    params = parse_params(document)
    try:
        report = import_target_time_series(
            found, params, output=folder / "out", rejected=folder / "rejected", resources=Resources(threads=1)
        )
    except ImportFailure as failure:
        _check_words(failure, folder)
        return
    assert set(params.guesses) <= set(report.notes)
    manifest = report.manifest
    left = manifest.missing + manifest.duplicates + manifest.unfinished + manifest.ahead
    assert report.rows_read == manifest.observed + manifest.aggregated + left + sum(manifest.rejected.values())
