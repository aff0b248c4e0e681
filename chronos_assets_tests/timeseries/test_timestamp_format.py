"""The letters of TimestampFormat, read by DuckDB and Python, and written."""

import datetime as dt
from functools import cache

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.timestamp_format import (
    TimestampFormatError,
    Token,
    format_timestamps,
    has_offset,
    parse_pattern,
    parse_timestamp,
    resolution,
    sql_parse,
    to_strptime,
)

# pattern, strptime, 2014-01-02 13:04:05.120 as text, what of it the pattern keeps
EXAMPLES = [
    ("yyyy-MM-dd", "%Y-%m-%d", "2014-01-02", "2014-01-02T00:00"),
    ("yyyy-MM-dd HH:mm:ss", "%Y-%m-%d %H:%M:%S", "2014-01-02 13:04:05", "2014-01-02T13:04:05"),
    # The service's sample writes hh for the 24 hours of its file.
    ("yyyy-MM-dd hh:mm:ss", "%Y-%m-%d %H:%M:%S", "2014-01-02 13:04:05", "2014-01-02T13:04:05"),
    ("yyyy-MM-dd hh:mm:ss a", "%Y-%m-%d %I:%M:%S %p", "2014-01-02 01:04:05 PM", "2014-01-02T13:04:05"),
    ("dd/MM/yyyy HH:mm", "%d/%m/%Y %H:%M", "02/01/2014 13:04", "2014-01-02T13:04"),
    ("M/d/yyyy h:mm a", "%m/%d/%Y %I:%M %p", "1/2/2014 1:04 PM", "2014-01-02T13:04"),
    ("dd.MM.yy", "%d.%m.%y", "02.01.14", "2014-01-02T00:00"),
    ("yyyyMMddHHmmss", "%Y%m%d%H%M%S", "20140102130405", "2014-01-02T13:04:05"),
    ("yyyy-MM-dd'T'HH:mm:ss", "%Y-%m-%dT%H:%M:%S", "2014-01-02T13:04:05", "2014-01-02T13:04:05"),
    ("yyyy-MM-ddTHH:mm", "%Y-%m-%dT%H:%M", "2014-01-02T13:04", "2014-01-02T13:04"),
    ("yyyy-MM-dd HH:mm:ss.SSS", "%Y-%m-%d %H:%M:%S.%f", "2014-01-02 13:04:05.120", "2014-01-02T13:04:05.120"),
    ("yyyy-MM-dd HH:mm:ss.S", "%Y-%m-%d %H:%M:%S.%f", "2014-01-02 13:04:05.1", "2014-01-02T13:04:05.100"),
    ("d MMM yyyy", "%d %b %Y", "2 Jan 2014", "2014-01-02T00:00"),
    ("MMMM d, yyyy", "%B %d, %Y", "January 2, 2014", "2014-01-02T00:00"),
    ("EEE, dd MMM yyyy", "%a, %d %b %Y", "Thu, 02 Jan 2014", "2014-01-02T00:00"),
    ("EEEE yyyy-MM-dd", "%A %Y-%m-%d", "Thursday 2014-01-02", "2014-01-02T00:00"),
    ("yyyy-DDD", "%Y-%j", "2014-002", "2014-01-02T00:00"),
    ("yyyy/MM", "%Y/%m", "2014/01", "2014-01-01T00:00"),
    ("yyyy", "%Y", "2014", "2014-01-01T00:00"),
    ("QQQ yyyy", "%m %Y", "Q1 2014", "2014-01-01T00:00"),
    ("YYYY-'W'ww", "%G-W%V-%u", "2014-W01", "2013-12-30T00:00"),
    ("YYYY'W'wwe", "%GW%V%u", "2014W014", "2014-01-02T00:00"),
    ("'KW' w YYYY", "KW %V %G-%u", "KW 1 2014", "2013-12-30T00:00"),
    ("yyyyMMdd'T'HHmm", "%Y%m%dT%H%M", "20140102T1304", "2014-01-02T13:04"),
    ("'it''s' yyyy'%'", "it's %Y%%", "it's 2014%", "2014-01-01T00:00"),
]
MOMENT = np.array(["2014-01-02T13:04:05.120"], dtype="datetime64[us]")


@cache
def in_tokyo() -> duckdb.DuckDBPyConnection:
    """A connection whose own time zone must not matter."""
    return duckdb.connect().execute("SET TimeZone = 'Asia/Tokyo'")


def in_duckdb(texts: list[str], pattern: str, time_zone: str | None = None) -> list[dt.datetime | None]:
    query = f"SELECT {sql_parse('text', pattern, time_zone)} FROM (SELECT unnest(?::VARCHAR[]) AS text)"
    return [row[0] for row in in_tokyo().execute(query, [texts]).fetchall()]


@pytest.mark.parametrize(("pattern", "directives", "text", "kept"), EXAMPLES)
def test_timestamps_are_written_and_read_by_the_pattern(pattern: str, directives: str, text: str, kept: str) -> None:
    assert to_strptime(pattern) == directives
    assert format_timestamps(MOMENT, pattern) == [text]
    expected = dt.datetime.fromisoformat(kept)
    texts = [text, text.lower()] if "w" in pattern else [text]
    assert [parse_timestamp(each, pattern) for each in texts] == [expected] * len(texts)
    assert in_duckdb(texts, pattern) == [expected] * len(texts)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("yyyy-MM-dd", "2014-02-30"),
        ("yyyy-MM-dd", "2014-01-02 00:00:00"),
        ("yyyy-MM-dd", "02.01.2014"),
        ("yyyy-MM-dd HH:mm:ss", "2014-01-02"),
        ("yyyy-MM-dd HH:mm:ss", "2014-01-02 24:00:00"),
        ("yyyy-MM-dd HH:mm:ssXXX", "2014-01-02 23:00:00"),
        ("yyyy-MM-dd", ""),
        ("yyyy-MM-dd", "null"),
        ("yyyy-MM-dd hh:mm a", "2014-01-02 13:00 PM"),
        ("yyyy-QQQ", "2014-Q5"),
        ("YYYY-'W'ww", "2014-W00"),
        ("YYYY-'W'ww", "2023-W53"),  # of a year of 52
        ("d MMM yyyy", "2 Brumaire 2014"),
        ("EEE, d MMM yyyy", "Do, 2 Jan 2014"),
        ("epoch seconds", "1e9"),
        ("epoch seconds", "-99999999999"),  # before the year 1
        ("epoch seconds", "1388668445120000"),
    ],
)
def test_text_that_does_not_match_is_no_timestamp(pattern: str, text: str) -> None:
    assert parse_timestamp(text, pattern) is None
    assert in_duckdb([text], pattern) == [None]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("d. MMMM yyyy", "3. März 2024"),
        ("dd MMM yyyy", "03 mars 2024"),
        ("d 'de' MMMM 'de' yyyy", "3 de marzo de 2024"),
        ("YYYY 'kw'ww-e", "2024 KW09-7"),
        ("YYYY-'W'ww-e", "2024-w09-7"),
        ("d MMM. yyyy", "3 Mär. 2024"),
        ("EEE, dd-MMM-yy", "Sun, 03-MRT-24"),
    ],
)
def test_names_of_months_are_read_in_other_languages_and_weeks_in_any_case(pattern: str, text: str) -> None:
    assert parse_timestamp(text, pattern) == dt.datetime(2024, 3, 3)
    assert in_duckdb([text], pattern) == [dt.datetime(2024, 3, 3)]


@pytest.mark.parametrize(("pattern", "text"), [("epoch seconds", "{}"), ("epoch milliseconds", "{}250")])
def test_seconds_since_1970_are_moments_of_utc(pattern: str, text: str) -> None:
    texts = [text.format(1_719_835_200), text.format(-86_400), f"{text.format(1_719_835_200)}.0"]
    for zone, hours in ((None, 0), ("Europe/Berlin", 2)):
        moments = [parse_timestamp(each, pattern, zone) for each in texts]
        assert moments[0] == moments[2] == dt.datetime(2024, 7, 1, 12 + hours, microsecond=250_000 * ("250" in text))
        assert in_duckdb(texts, pattern, zone) == moments
        assert format_timestamps(np.array(moments[:1], "datetime64[us]"), pattern, zone) == texts[:1]
    assert has_offset(pattern)


OFFSETS = ["2024-07-01T12:00:00Z", "2024-07-01T14:00:00+02:00", "2024-07-01T14:00:00+0200", "2024-07-01T14:00:00+02"]
OFFSETS += ["2024-07-01T06:30:00-05:30", "2024-07-01T12:00:00z"]


@pytest.mark.parametrize(
    ("time_zone", "clock"),
    [(None, "2024-07-01T12:00"), ("UTC", "2024-07-01T12:00"), ("America/New_York", "2024-07-01T08:00")],
)
def test_offsets_become_the_clock_of_the_time_zone(time_zone: str | None, clock: str) -> None:
    expected = [dt.datetime.fromisoformat(clock)] * len(OFFSETS)
    pattern = "yyyy-MM-dd'T'HH:mm:ssXXX"
    assert in_duckdb(OFFSETS, pattern, time_zone) == expected
    assert [parse_timestamp(text, pattern, time_zone) for text in OFFSETS] == expected


def test_without_an_offset_the_time_zone_changes_nothing() -> None:
    text, pattern = "2024-07-01 12:00:00", "yyyy-MM-dd HH:mm:ss"
    assert parse_timestamp(text, pattern, "Asia/Tokyo") == dt.datetime(2024, 7, 1, 12)
    assert in_duckdb([text], pattern, "Asia/Tokyo") == [dt.datetime(2024, 7, 1, 12)]
    assert format_timestamps(np.array(["2024-07-01T12"], dtype="datetime64[us]"), pattern, "Asia/Tokyo") == [text]


@pytest.mark.parametrize(
    ("letters", "utc", "berlin", "kolkata"),
    [
        ("X", "Z", "+02", "+0530"),
        ("XX", "Z", "+0200", "+0530"),
        ("XXX", "Z", "+02:00", "+05:30"),
        ("Z", "+0000", "+0200", "+0530"),
        ("ZZ", "+00:00", "+02:00", "+05:30"),
    ],
)
def test_offsets_are_written_as_the_letters_say(letters: str, utc: str, berlin: str, kolkata: str) -> None:
    summer = np.array(["2024-07-01T12"], dtype="datetime64[us]")
    for time_zone, offset in ((None, utc), ("Europe/Berlin", berlin), ("Asia/Kolkata", kolkata)):
        text = format_timestamps(summer, f"yyyy-MM-dd HH:mm{letters}", time_zone)
        assert text == [f"2024-07-01 12:00{offset}"]
        assert in_duckdb(text, f"yyyy-MM-dd HH:mm{letters}", time_zone) == [dt.datetime(2024, 7, 1, 12)]
    west = format_timestamps(summer, f"yyyy-MM-dd HH:mm{letters}", "America/St_Johns")
    assert west[0].removeprefix("2024-07-01 12:00") in {"-0230", "-02:30"}


def test_years_of_two_digits_turn_over_in_1969() -> None:
    assert in_duckdb(["01/01/68", "01/01/69"], "dd/MM/yy") == [dt.datetime(2068, 1, 1), dt.datetime(1969, 1, 1)]
    assert parse_timestamp("01/01/68", "dd/MM/yy") == dt.datetime(2068, 1, 1)


def test_tokens_join_neighbouring_literals() -> None:
    assert parse_pattern("yyyy' - 'MM") == (Token("y", "yyyy"), Token("", " - "), Token("M", "MM"))


@pytest.mark.parametrize(
    ("pattern", "frequency"),
    [
        ("yyyy", "Y"),
        ("yyyyQQQ", "3M"),
        ("yyyy-MM", "M"),
        ("YYYY-'W'ww", "W"),
        ("YYYY-'W'ww-e", "D"),
        ("yyyy-MM-dd", "D"),
        ("yyyy-DDD", "D"),
        ("yyyy-MM-dd HH", "H"),
        ("yyyy-MM-dd hh a", "H"),
        ("yyyy-MM-dd HH:mm", "1min"),
        ("yyyy-MM-dd HH:mm:ss", "1min"),
        ("epoch seconds", "1min"),
    ],
)
def test_resolution_is_the_finest_period_the_pattern_tells_apart(pattern: str, frequency: str) -> None:
    assert str(resolution(pattern)) == frequency


def test_only_x_and_z_are_offsets() -> None:
    assert has_offset("yyyy-MM-dd HH:mmX")
    assert has_offset("yyyy-MM-dd HH:mmZ")
    assert not has_offset("yyyy-MM-dd HH:mm'Z'")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("yyyy-mm-dd", "the day .d. but not the month"),
        ("yyyy-MM-dd HH:MM:ss", "the month .M. twice"),
        ("YYYY-MM-DD", "letters of weeks .* write yyyy-MM-dd for dates"),
        ("yyyy-'W'ww", "letters of weeks"),
        ("YYYY'W'we", "'we' .* runs together"),
        ("yyyy-Q", "write 'QQQ'"),
        ("yyyy-MM QQQ", "the quarter .Q. beside parts of it"),
        ("yyyy-MM-dd hours", "has no meaning"),
        ("MM-dd HH:mm", "no year"),
        ("", "no year"),
        ("yyyy-MM-dd ss", "the second .s. but not the minute"),
        ("yyyy-MM-dd mm", "the minute .m. but not the hour"),
        ("yyyy-MM HH", "the hour .H. but not the day"),
        ("yyyy-MM-dd 'at", "not closed"),
        ("yyyy-MM-dd HH:mm a", "AM/PM .a. without a 12-hour hour"),
        ("yyyy-MM-dd HH:mm:ss.SSSSSSSSS", "microsecond"),
        ("yyyyy-MM-dd", "too long"),
        ("yyy-MM-dd", "ambiguous"),
        ("Md yyyy", "runs together"),
        ("EEE yyyy-MM", "the day of the week .E. but not the day"),
        ("dMyyyy", "runs together"),
        ("yyyy-MM-dd hh HH", "the hour .H. twice"),
        ("X yyyy-MM-dd", "must come last"),
        ("yyyy-MM-DDD", "beside month or day"),
        ("Tyyyy-MM-dd", "has no meaning"),
    ],
)
def test_a_pattern_that_makes_no_point_in_time_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(TimestampFormatError, match=reason):
        parse_pattern(pattern)


def test_a_missing_timestamp_has_no_text() -> None:
    with pytest.raises(ValueError, match="NaT"):
        format_timestamps(np.array(["NaT"], dtype="datetime64[us]"), "yyyy-MM-dd")


def test_no_timestamps_make_no_texts() -> None:
    assert format_timestamps(np.array([], dtype="datetime64[us]"), "yyyy-MM-dd") == []


DATES = ["yyyy-MM-dd", "dd/MM/yyyy", "M/d/yyyy", "yyyyMMdd", "d MMM yyyy", "EEE MMMM dd yyyy", "yyyy-DDD"]
TIMES = ["HH:mm:ss.SSSSSS", "hh:mm:ss.SSSSSS a", "h:mm:ss.SSSSSS a", "H:mm:ss.SSSSSS"]
ZONES = st.sampled_from([None, "UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"])


@pytest.mark.process
@given(
    st.sampled_from(DATES),
    st.sampled_from(TIMES),
    st.sampled_from(["", "X", "XX", "XXX", "Z", "ZZ"]),
    st.lists(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)), min_size=1, max_size=20),
    ZONES,
)
def test_what_is_written_is_read_back(
    date: str, time: str, offset: str, moments: list[dt.datetime], time_zone: str | None
) -> None:
    pattern = f"{date} {time}{offset}"
    if offset:
        # Local times before standard time had offsets with seconds, and those of the changing clocks occur twice.
        moments = [moment.replace(year=2000 + moment.year % 100, month=6, day=15) for moment in moments]
    texts = format_timestamps(np.array(moments, dtype="datetime64[us]"), pattern, time_zone)
    assert in_duckdb(texts, pattern, time_zone) == moments
    assert [parse_timestamp(text, pattern, time_zone) for text in texts] == moments


@given(st.text(alphabet="yMdDHhmsSaEXZT -:/.,'%q", max_size=25))
def test_any_pattern_is_refused_or_reads_what_it_writes(pattern: str) -> None:
    try:
        parse_pattern(pattern)
    except TimestampFormatError:
        return
    text = format_timestamps(MOMENT, pattern)[0]
    moment = parse_timestamp(text, pattern)
    assert moment is not None
    # A month stands for its first day, and so on.
    assert moment <= MOMENT[0].astype(dt.datetime)
    assert format_timestamps(np.array([moment], dtype="datetime64[us]"), pattern)[0] == text
