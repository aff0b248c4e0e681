"""Rows far ahead of all others are left out and said; what only looks so is kept."""

from datetime import datetime, timedelta

import pytest

from chronos_assets_tests.timeseries.train_drop import Drop, params_for, rows


@pytest.fixture
def drop(tmp_path):
    return Drop(tmp_path)


def days(item, count, first="2024-01-01", step=1):
    start = datetime.fromisoformat(first)
    return [f"{start + timedelta(days=step * at)},1,{item}" for at in range(count)]


@pytest.mark.parametrize(
    ("stray", "items"),
    [
        ("2042-03-01 00:00:00,1,a", "abc"),  # two digits exchanged
        ("2024-09-01 00:00:00,1,c", "abcde"),  # the wrong month
        ("2099-12-31 00:00:00,1,new", "ab"),  # a date that stands for "never"
        ("2042-03-01 00:00:00,1,a", "a"),  # the only series
    ],
)
def test_a_row_far_ahead_neither_stops_nor_moves_anything(drop, stray, items):
    report = drop.put(rows(*(row for item in items for row in days(item, 60)), stray)).run(params_for(frequency="D"))
    manifest = report.manifest
    assert manifest.last == "2024-02-29T00:00:00"
    assert manifest.ahead == 1
    assert report.rows_read == manifest.observed + manifest.ahead
    where = stray[:10]
    assert any(f"1 row far ahead of all others left out, from {where}" in note for note in report.notes)


@pytest.mark.parametrize(
    "lines",
    [
        days("a", 60) + days("a", 1, "2024-04-01"),  # a gap shorter than the data
        days("a", 60, step=30) + days("a", 1, "2030-01-01"),  # rows now and then
        days("a", 60) + days("a", 5, "2026-01-01"),  # more than a slip
        days("a", 10) + days("a", 1, "2026-01-01"),  # too little to know
    ],
)
def test_what_data_may_be_is_kept(drop, lines):
    report = drop.put(rows(*lines)).run(params_for(frequency="D"))
    assert report.manifest.ahead == 0
    assert report.manifest.observed == len(lines)
