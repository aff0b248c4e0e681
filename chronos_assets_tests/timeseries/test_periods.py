"""Periods of an import: which ones rows fill, where they start, and hours that clocks show twice."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.params.reader import parse_params
from chronos_assets_tests.timeseries.train_drop import Drop, params_for


@pytest.fixture
def drop(tmp_path):
    return Drop(tmp_path)


def declared(frequency, data=None, **options):
    """Parameters with a ForecastFrequency, and a DataFrequency unless it is left out."""
    from chronos_assets.params.forecast import to_document

    document = to_document(params_for(frequency=frequency, **options))
    document["Datasets"][0].pop("DataFrequency")
    if data:
        document["Datasets"][0]["DataFrequency"] = data
    return parse_params(document)


def csv(rows):
    return "".join(f"{when},{value},{item}\n" for item, when, value in rows)


def daily(start, count, item="a", value=10.0, step=timedelta(days=1), keep=lambda moment: True):
    moments = [datetime.fromisoformat(start) + number * step for number in range(count)]
    return [(item, moment, value) for moment in moments if keep(moment)]


def imported(drop, rows, params):
    drop.put(csv(rows))
    report = drop.run(params)
    manifest = report.manifest
    told = manifest.observed + manifest.aggregated + manifest.missing + manifest.duplicates + manifest.unfinished
    assert report.rows_read == told + sum(manifest.rejected.values())
    return {
        item: {str(when.astype("datetime64[m]")): value for when, value, gap in zip(*series, strict=True) if not gap}
        for item, series in drop.series().items()
    }, report


class TestUnfinished:
    @pytest.mark.parametrize("data", ["D", None])  # declared, and not
    def test_a_week_that_ends_on_a_tuesday_is_left_out(self, drop, data):
        found, report = imported(drop, daily("2023-05-01", 282), declared("W", data))
        assert set(found["a"].values()) == {70.0}
        assert max(found["a"]) == "2024-01-29T00:00"
        assert report.manifest.last == "2024-01-29T00:00:00"
        assert report.manifest.unfinished == 2
        assert any(
            "the last period, 2024-02-05, is left out: its rows end at 2024-02-06" in note for note in report.notes
        )

    def test_a_month_that_ends_on_the_tenth_is_left_out(self, drop):
        found, _ = imported(drop, daily("2023-01-01", 375), declared("M", "D"))
        assert min(found["a"].values()) == 280.0
        assert max(found["a"]) == "2023-12-01T00:00"

    def test_a_day_that_ends_at_six_is_left_out(self, drop):
        rows = daily("2024-01-01", 24 * 20 + 6, step=timedelta(hours=1))
        found, _ = imported(drop, rows, declared("D", "H"))
        assert set(found["a"].values()) == {240.0}
        assert max(found["a"]) == "2024-01-20T00:00"

    def test_a_first_week_that_begins_on_a_thursday_is_left_out(self, drop):
        found, report = imported(drop, daily("2023-05-04", 60), declared("W", "D"))
        assert min(found["a"]) == "2023-05-08T00:00"
        assert any("the first period, 2023-05-01, is left out: its rows begin at 2023-05-04" in n for n in report.notes)

    def test_months_make_quarters_only_in_threes(self, drop):
        rows = [("a", datetime(2020 + n // 12, n % 12 + 1, 1), 5.0) for n in range(2, 38)]
        found, _ = imported(drop, rows, declared("3M", "M"))
        assert set(found["a"].values()) == {15.0}
        assert (min(found["a"]), max(found["a"])) == ("2020-04-01T00:00", "2022-10-01T00:00")

    @pytest.mark.parametrize("count", [11, 23])  # too few quarters to know what is usual, and enough
    @pytest.mark.parametrize("first", [0, 2])
    def test_an_item_has_quarters_of_three_months_only(self, drop, first, count):
        months = [datetime(2020 + n // 12, n % 12 + 1, 1) for n in range(36)]
        rows = [("a", when, 5.0) for when in months] + [("b", when, 5.0) for when in months[first:count]]
        found, _ = imported(drop, rows, declared("3M", "M"))
        assert set(found["a"].values()) == set(found["b"].values()) == {15.0}
        assert max(found["b"]) == ("2021-07-01T00:00" if count == 23 else "2020-07-01T00:00")

    def test_two_whole_years_tell_that_others_are_not(self, drop):
        found, _ = imported(drop, daily("2021-06-24", 1200, value=1.0), declared("Y"))
        assert found["a"] == {"2022-01-01T00:00": 365.0, "2023-01-01T00:00": 365.0}

    def test_one_whole_month_tells_that_others_are_not(self, drop):
        weekdays = daily("2024-01-20", 60, keep=lambda moment: moment.weekday() < 5, value=1.0)
        assert imported(drop, weekdays, declared("M"))[0]["a"] == {"2024-02-01T00:00": 21.0}

    def test_months_that_end_at_a_weekend_are_whole_beside_a_single_other_one(self, drop):
        weekdays = daily("2024-04-01", 91, keep=lambda moment: moment.weekday() < 5, value=1.0)
        assert len(imported(drop, weekdays, declared("M"))[0]["a"]) == 3  # June ends on a Sunday

    def test_one_item_that_comes_late_loses_its_own_week_only(self, drop):
        rows = daily("2023-05-01", 280) + daily("2023-05-01", 275, item="late")
        found, report = imported(drop, rows, declared("W", "D"))
        assert max(found["a"]) == "2024-01-29T00:00"
        assert max(found["late"]) == "2024-01-22T00:00"
        assert set(found["late"].values()) == {70.0}
        assert report.manifest.unfinished == 2

    def test_a_shop_that_closes_at_weekends_has_whole_weeks(self, drop):
        rows = daily("2023-05-01", 7 * 30, keep=lambda moment: moment.weekday() < 5)
        found, report = imported(drop, rows, declared("W", "D"))
        assert (len(found["a"]), report.manifest.unfinished) == (30, 0)

    def test_a_shop_that_closes_at_weekends_and_a_week_up_to_thursday(self, drop):
        rows = daily("2023-05-01", 7 * 30 + 4, keep=lambda moment: moment.weekday() < 5)
        found, report = imported(drop, rows, declared("W", "D"))
        assert (len(found["a"]), report.manifest.unfinished) == (30, 4)

    def test_items_that_sell_now_and_then_keep_their_last_week(self, drop):
        generator = random.Random(5)
        rows = [row for row in daily("2023-05-01", 280, item="rare") if generator.random() < 0.2]
        rows += daily("2023-05-01", 280)
        found, report = imported(drop, rows, declared("W", "D"))
        assert report.manifest.unfinished == 0
        assert sum(found["rare"].values()) == sum(value for item, _, value in rows if item == "rare")

    def test_rows_once_a_period_are_whole_wherever_they_lie(self, drop):
        generator = random.Random(2)
        rows = [("a", datetime(2023, 1, 2) + timedelta(weeks=n, days=generator.randrange(7)), 1.0) for n in range(30)]
        found, report = imported(drop, rows, declared("W"))
        assert (len(found["a"]), report.manifest.unfinished) == (30, 0)

    def test_rows_that_fill_no_period_are_refused(self, drop):
        drop.put(csv(daily("2023-05-03", 3)))
        assert "no period is whole" in str(drop.fail(declared("W", "D")))

    @pytest.mark.parametrize("data", ["D", None])
    def test_a_week_in_the_middle_with_two_days_is_left_out_and_said(self, drop, data):
        rows = [row for place, row in enumerate(daily("2024-01-01", 140)) if not 51 <= place < 56]
        found, report = imported(drop, rows, declared("W", data))
        assert (len(found["a"]), set(found["a"].values())) == (19, {70.0})
        assert "2024-02-19T00:00" not in found["a"]
        assert report.manifest.unfinished == 2
        assert any("left out: 1, such as 2024-02-19 of a with 2 rows for the usual 7" in n for n in report.notes)

    @pytest.mark.parametrize(
        ("frequency", "step", "missing", "left"),
        [
            ("D", timedelta(hours=1), range(30, 43), 19),  # 13 of 24 hours
            ("D", timedelta(hours=1), range(30, 41), 20),  # 11 of 24
            ("H", timedelta(minutes=10), range(31, 35), 79),
            ("M", timedelta(days=1), range(65, 90), 12),
        ],
    )
    def test_outages_of_more_than_half_a_period_are_left_out(self, drop, frequency, step, missing, left):
        count = 480 if frequency != "M" else 31 + 28 + 31 + 30 + 31 + 30 + 31 + 31 + 30 + 31 + 30 + 31 + 31
        rows = [row for place, row in enumerate(daily("2023-01-01", count, step=step)) if place not in missing]
        assert len(imported(drop, rows, declared(frequency))[0]["a"]) == left

    def test_a_week_of_holidays_is_a_week(self, drop):
        rows = daily("2024-01-01", 140, keep=lambda moment: moment.weekday() < 5)
        rows = [row for row in rows if row[1] not in {datetime(2024, 2, 20), datetime(2024, 2, 21)}]
        found, report = imported(drop, rows, declared("W", "D"))
        assert (found["a"]["2024-02-19T00:00"], report.manifest.unfinished) == (30.0, 0)

    def test_sales_now_and_then_are_no_lack_of_rows(self, drop):
        generator = random.Random(1)
        rows = [row for row in daily("2024-01-01", 200) if generator.random() < 0.6]
        _, report = imported(drop, rows + daily("2024-01-01", 203, item="b"), declared("W", "D"))
        assert not any("lack rows" in note for note in report.notes)

    def test_a_mean_of_two_hours_is_no_mean_of_the_day_but_a_maximum_is_one(self, drop):
        rows = [
            row for place, row in enumerate(daily("2024-01-01", 480, step=timedelta(hours=1))) if not 50 <= place < 72
        ]
        for method, left in (("avg", 19), ("max", 20)):
            assert len(imported(drop, rows, declared("D", "H", aggregation=method))[0]["a"]) == left

    @pytest.mark.process
    @given(
        st.sampled_from(
            [("W", "D", 7), ("M", "D", 31), ("D", "H", 24), ("H", "15min", 4), ("6H", "H", 6), ("W", "12H", 14)]
        ),
        st.integers(0, 200),
        st.integers(0, 200),
        st.sampled_from([1, 2, 3, 9]),
        st.booleans(),
    )
    def test_wherever_rows_are_cut_only_whole_periods_stay(self, tmp_path_factory, kind, head, tail, between, told):
        frequency, data, rows_each = kind
        grid = declared(frequency).grid
        step = timedelta(microseconds=Frequency.parse(data).microseconds)
        begin, end = grid.start(
            grid.ordinal(np.array(["2024-01-15"], "datetime64[us]")) + np.array([0, between + 2])
        ).tolist()
        slots = round((end - begin) / step)
        first, last = head % (2 * rows_each), slots - tail % (2 * rows_each)
        rows = [("a", begin + number * step, 1.0) for number in range(first, last)]
        counts = {}
        for _, when, _ in rows:
            start = grid.floor(np.array([when], "datetime64[us]"))
            counts[str(start[0].astype("datetime64[m]"))] = counts.get(str(start[0].astype("datetime64[m]")), 0) + 1
        whole = {}
        for start, count in counts.items():
            moment = np.array([start], "datetime64[us]")
            length = grid.start(grid.ordinal(moment) + 1)[0] - moment[0]
            if count * np.timedelta64(step) == length:
                whole[start] = float(count)
        assume(whole)
        drop = Drop(tmp_path_factory.mktemp("drop"))
        found, _ = imported(drop, rows, declared(frequency, data if told else None))
        assert found["a"] == whole


class TestPlacing:
    @pytest.mark.parametrize(
        ("frequency", "start", "step"),
        [
            ("2W", "2023-01-09", timedelta(weeks=2)),
            ("2D", "2024-01-01", timedelta(days=2)),
            ("8H", "2024-01-01T06:00", timedelta(hours=8)),
            ("4W", "2022-01-03", timedelta(weeks=4)),
            ("W", "2024-01-07", timedelta(weeks=1)),
            ("H", "2024-01-01T00:30", timedelta(hours=1)),
        ],
    )
    def test_declared_multiples_keep_the_dates_of_the_rows(self, drop, frequency, start, step):
        rows = daily(start, 30, step=step)
        found, report = imported(drop, rows, declared(frequency))
        assert list(found["a"]) == [when.isoformat(timespec="minutes") for _, when, _ in rows]
        assert report.manifest.lag_seconds == 0.0
        resolved = report.manifest.resolve(declared(frequency))
        assert (resolved.grid.floor(np.array([rows[0][1]], "datetime64[us]")) == np.datetime64(rows[0][1])).all()

    def test_fiscal_quarters_and_quarter_ends(self, drop):
        rows = [("a", datetime(2019 + (1 + 3 * n) // 12, (1 + 3 * n) % 12 + 1, 1), 1.0) for n in range(12)]
        found, report = imported(drop, rows, declared("3M"))
        assert list(found["a"])[:2] == ["2019-02-01T00:00", "2019-05-01T00:00"]
        assert any("such as 2019-02-01" in note for note in report.notes)

    def test_what_the_boundary_says_is_so_and_known_when_the_row_is_stamped(self, drop):
        rows = [("a", datetime(2023, 1, 1) + timedelta(weeks=n), 1.0) for n in range(1, 30)]  # Sundays
        _, report = imported(drop, rows, declared("W", boundary={"DayOfWeek": "MONDAY"}))
        assert report.manifest.first == "2023-01-02T00:00:00"
        assert report.manifest.lag_seconds == 6 * 86_400
        assert any("that of 2023-01-08 counts for the period of 2023-01-02" in note for note in report.notes)

    @pytest.mark.parametrize(("boundary", "step"), [({"DayOfWeek": "SUNDAY"}, 7), ({"DayOfWeek": "MONDAY"}, 1)])
    def test_rows_at_the_boundary_and_rows_of_all_days_are_not_said_to_lie_within(self, drop, boundary, step):
        rows = [("a", datetime(2023, 1, 1) + timedelta(days=step * n), 1.0) for n in range(150)]
        assert not any(
            "rows lie within" in note for note in imported(drop, rows, declared("W", boundary=boundary))[1].notes
        )

    def test_pairs_of_weeks_of_days_are_refused_without_an_anchor(self, drop):
        rows = daily("2023-01-04", 100)
        drop.put(csv(rows))
        reason = str(drop.fail(declared("2W", "D")))
        assert 'set Chronos.Anchor to the start of one period, for example "2023-01-04' in reason
        report = drop.run(declared("2W", "D", chronos={"Anchor": "2023-01-04"}))
        assert report.manifest.first == "2023-01-04T00:00:00"

    def test_items_paid_in_different_weeks_are_refused(self, drop):
        rows = daily("2023-01-06", 20, step=timedelta(weeks=2))
        rows += daily("2023-01-13", 20, item="b", step=timedelta(weeks=2))
        drop.put(csv(rows))
        assert "the rows don't say which periods of 2W they belong to" in str(drop.fail(declared("2W")))

    def test_sensors_that_report_early_or_late(self, drop):
        generator = random.Random(0)
        rows = [
            ("a", datetime(2024, 1, 1, 1) + timedelta(hours=n, seconds=generator.randint(-45, 45)), float(n))
            for n in range(150)
        ]
        found, report = imported(drop, rows, declared("H"))
        assert list(found["a"].values()) == [float(n) for n in range(150)]
        assert report.manifest.aggregated == 0
        assert any("Chronos.SnapSeconds" in note for note in report.notes)
        strict = drop.run(declared("H", chronos={"SnapSeconds": 0}))
        assert strict.manifest.aggregated > 0


def hours(zone, start, count, step=timedelta(hours=1)):
    moments = [datetime.fromisoformat(start).replace(tzinfo=UTC) + number * step for number in range(count)]
    return [moment.astimezone(ZoneInfo(zone)) for moment in moments]


class TestClocks:
    ZONES = (
        "Europe/Berlin",
        "America/New_York",
        "Australia/Sydney",
        "Europe/London",
        "Australia/Lord_Howe",
        "Asia/Tokyo",
    )

    @pytest.mark.parametrize(
        ("zone", "start"),
        [
            ("Europe/Berlin", "2024-10-25"),
            ("Europe/Berlin", "2024-03-29"),
            ("America/New_York", "2024-11-01"),
            ("America/New_York", "2024-03-08"),
            ("Australia/Sydney", "2024-04-05"),
            ("Australia/Sydney", "2024-10-04"),
            ("Europe/London", "2024-10-25"),
            ("Australia/Lord_Howe", "2024-04-05"),
            ("Australia/Lord_Howe", "2024-10-04"),
            ("Asia/Tokyo", "2024-10-25"),
        ],
    )
    def test_hours_with_offsets_stay_apart_whatever_clocks_do(self, drop, zone, start):
        rows = [("a", moment.isoformat(), 100.0) for moment in hours(zone, start, 72)]
        params = declared("H", pattern="yyyy-MM-dd'T'HH:mm:ssXXX", chronos={"TimeZone": zone})
        found, report = imported(drop, rows, params)
        assert (len(found["a"]), set(found["a"].values())) == (72, {100.0})
        assert report.manifest.filled == 0

    @pytest.mark.process
    @given(st.sampled_from(ZONES), st.datetimes(datetime(2015, 1, 1), datetime(2025, 1, 1)), st.integers(1, 5))
    def test_days_of_a_zone_have_all_of_their_hours(self, tmp_path_factory, zone, start, days):
        local = start.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=ZoneInfo(zone))
        begin, end = local.astimezone(UTC), (local + timedelta(days=days + 2)).astimezone(UTC)
        count = math.ceil((end - begin) / timedelta(hours=1))  # Lord Howe moves its clocks by half an hour
        moments = [(begin + timedelta(hours=n)).astimezone(ZoneInfo(zone)) for n in range(count)]
        drop = Drop(tmp_path_factory.mktemp("drop"))
        params = declared("D", "H", pattern="yyyy-MM-dd'T'HH:mm:ssXXX", chronos={"TimeZone": zone})
        found, _ = imported(drop, [("a", moment.isoformat(), 1.0) for moment in moments], params)
        wanted = {}
        for moment in moments:
            wanted.setdefault(moment.strftime("%Y-%m-%dT00:00"), []).append(1.0)
        assert found["a"] == {day: float(len(values)) for day, values in wanted.items()}

    @pytest.mark.parametrize(
        ("frequency", "zone", "told"), [("D", None, 1), ("W", None, 1), ("D", "Asia/Tokyo", 0), ("H", None, 0)]
    )
    def test_days_of_utc_are_reported_where_no_zone_is_set(self, drop, frequency, zone, told):
        rows = [("a", moment.isoformat(), 1.0) for moment in hours("Asia/Tokyo", "2024-01-01", 24 * 30)]
        chronos = {"TimeZone": zone} if zone else None
        params = declared(frequency, "H", pattern="yyyy-MM-dd'T'HH:mm:ssXXX", chronos=chronos)
        _, report = imported(drop, rows, params)
        assert sum("are those of UTC" in note for note in report.notes) == told

    def test_the_repeated_hour_of_naive_rows_is_the_mean(self, drop):
        moments = hours("Europe/Berlin", "2024-10-25T22:00", 73)
        rows = [("a", moment.replace(tzinfo=None), 100.0) for moment in moments]
        found, report = imported(drop, rows, declared("H", chronos={"TimeZone": "Europe/Berlin"}))
        assert set(found["a"].values()) == {100.0}
        assert any("clocks in Europe/Berlin show twice" in note for note in report.notes)

    def test_two_sales_of_one_hour_are_added_up_in_the_repeated_hour_too(self, drop):
        moments = hours("Europe/Berlin", "2024-10-25T22:00", 73)
        rows = [("a", moment.replace(tzinfo=None), 1.0) for moment in moments for _ in range(2)]
        found, _ = imported(drop, rows, declared("H", chronos={"TimeZone": "Europe/Berlin"}))
        assert found["a"]["2024-10-27T01:00"] == 2.0
