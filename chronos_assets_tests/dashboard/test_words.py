"""Texts that are safe where they go, and numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from chronos_assets.dashboard import words

NOW = datetime(2024, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize("seconds, text", [
    (5, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (86_400 * 45, "1 month ago"), (86_400 * 800, "2 years ago"),
])  # fmt: skip
def test_how_long_ago(seconds: int, text: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    "value, text", [(None, "–"), (float("nan"), "–"), (0.123456, "0.1235"), (-1234567.0, "-1,234,567")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert words.number(value) == text


def test_a_csv_has_every_value_and_no_formula() -> None:
    frame = pd.DataFrame(
        {
            "item_id": ["=1+1", "@x", "-2+3+cmd|' /C calc'!A0", "-5", 'a"b\n', "plain"],
            "value": [1.5, float("nan"), 3, 4, 5, 6],
        }
    )
    lines = words.csv_text(frame).splitlines()
    assert lines[0] == "item_id,value"
    assert [line.partition(",")[0] for line in lines[1:5]] == ["'=1+1", "'@x", "'-2+3+cmd|' /C calc'!A0", "-5"]
    assert lines[2] == "'@x,"
    assert words.csv_text(frame).count('"a""b\n"') == 1


def test_a_name_shows_as_it_is_in_markdown() -> None:
    assert words.plain("[a](http://x) <b> :red[x] $y$") == r"\[a\]\(http\:\/\/x\) \<b\> \:red\[x\] \$y\$"


def test_a_file_name_has_no_path_in_it() -> None:
    assert words.csv_name(["../../etc/passwd"]) == "etc-passwd.csv"
    assert words.csv_name(["…"]) == "forecast.csv"
