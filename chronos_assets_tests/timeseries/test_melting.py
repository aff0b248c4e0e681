"""Wide files as rows."""

import csv
import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from chronos_assets.params.columns import Column, InferenceError
from chronos_assets.params.inference import infer
from chronos_assets.params.spread_timestamps import spread_timestamp
from chronos_assets.params.timestamp_columns import timestamp_readings
from chronos_assets.params.wide_times import wide_times
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.melting import MeltError, melt
from chronos_assets.timeseries.dataset.sampling import sample_files
from chronos_assets.timeseries.dataset.train_files import TrainFile

WIDE = "date,HU FL,it's,note\n" + "".join(
    f"2024-01-{day:02d},{day}.5,{'' if day == 3 else day},x\n" for day in range(1, 31)
)


def _file(path: Path, data: str | bytes) -> TrainFile:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return TrainFile(path, path.name, datetime(2024, 1, 1, tzinfo=UTC))


def _parquet(path: Path) -> TrainFile:
    source = _file(path.with_suffix(".csv"), WIDE)
    duckdb.sql(f"COPY (FROM read_csv('{source.path}')) TO '{path}' (FORMAT parquet)")
    return TrainFile(path, path.name, source.last_modified)


@pytest.mark.parametrize("kind", ["csv", "gz", "parquet"])
def test_each_column_of_numbers_becomes_a_series(tmp_path: Path, kind: str) -> None:
    source = {
        "csv": lambda: _file(tmp_path / "w.csv", WIDE),
        "gz": lambda: _file(tmp_path / "w.csv.gz", gzip.compress(WIDE.encode())),
        "parquet": lambda: _parquet(tmp_path / "w.parquet"),
    }[kind]()
    target = tmp_path / "long.csv"
    assert melt(source, target) == (59, ("HU FL", "it's"))
    sample = sample_files([TrainFile(target, "long.csv", source.last_modified)])
    params = infer(sample.header, sample.rows)
    assert (params.item_column, params.timestamp_column, params.target_column) == (
        "item_id",
        "timestamp",
        "target_value",
    )
    sums = duckdb.sql(f"SELECT item_id, sum(target_value) FROM '{target}' GROUP BY 1 ORDER BY 1").fetchall()
    assert sums == [("HU FL", sum(range(1, 31)) + 15), ("it's", sum(range(1, 31)) - 3)]


def test_some_columns_only(tmp_path: Path) -> None:
    assert melt(_file(tmp_path / "w.csv", WIDE), tmp_path / "long.csv", ["hu_fl"]) == (30, ("HU FL",))


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeltError, match="no column price to choose; there are HU FL, it's"):
        melt(_file(tmp_path / "w.csv", WIDE), tmp_path / "long.csv", ["price"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("date,a,a\n" + "2024-01-01,1,2\n", "two columns called a"),
        ("date,a,A\n" + "2024-01-01,1,2\n", "two columns called a"),
        ("date,a,b\n2024-01-01,1,2\n2024-01-02,3\n2024-01-03,1,2\n", "line 3 has 2 columns instead of 3"),
        ("date,a,b\n2024-01-01,1,2\n2024-01-02,3,4,5\n2024-01-03,1,2\n", "line 3 has 4 columns instead of 3"),
        ("date;a;b\n2024-01-01;1,500;2\n2024-01-02;3,500;4\n", "'1,500' in the column a is not a number"),
        ("date;a;b\n2024-01-01;1,5;2.5\n2024-01-02;3,5;4.5\n", "'1,5' in the column a is not a number"),
        ("date,Süd,b\n2024-01-01,1,2\n".encode("latin-1"), "not UTF-8"),
        ("\n" + WIDE.replace("\n", "\r\n"), r"no row was found\): see that all rows .* end alike"),
    ],
)
def test_what_would_lose_or_double_values_is_refused(tmp_path: Path, data: str | bytes, reason: str) -> None:
    with pytest.raises((MeltError, FileProblem), match=reason):
        melt(_file(tmp_path / "w.csv", data), tmp_path / "long.csv")


@pytest.mark.parametrize(
    "data", ["sep=;\n" + WIDE.replace(",", ";"), "# made by a meter\n" + WIDE, WIDE + ",,,\n" * 20]
)
def test_lines_around_the_rows_are_none(tmp_path: Path, data: str) -> None:
    assert melt(_file(tmp_path / "w.csv", data), tmp_path / "long.csv") == (59, ("HU FL", "it's"))


def test_decimal_commas_are_written_as_they_are_and_read_by_the_import(tmp_path: Path) -> None:
    days = [f"2024-01-{day:02d};{day},5;{day}\n" for day in range(1, 29)]
    melt(_file(tmp_path / "w.csv", "Tag;Bonn;Ulm\n" + "".join(days)), tmp_path / "long.csv")
    header, *rows = csv.reader((tmp_path / "long.csv").read_text().splitlines())
    assert rows[:2] == [["2024-01-01", "Bonn", "1,5"], ["2024-01-01", "Ulm", "1"]]
    assert infer(header, rows).decimal_comma


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeltError, match="no header"):
        melt(_file(tmp_path / "w.csv", "2024-01-01,1,2\n2024-01-02,3,4\n"), tmp_path / "long.csv")


def rows_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


FRENCH = ["janv.", "févr.", "mars", "avril", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."]
A_YEAR = [date(2024, 1, 1) + timedelta(days=number) for number in range(366)]
SPREAD = {
    "date and time": ("Date;Time;load\n", [f"{1 + n // 24}/1/2007;{n % 24:02d}:00:00;{n}.5\n" for n in range(72)]),
    "date and hour": ("date,hour,load\n", [f"2024-01-{1 + n // 24:02d},{n % 24},{n}.5\n" for n in range(72)]),
    "date and half-hour": (
        "date,time_id,load\n",
        [f"2024-01-{1 + n // 48:02d},{n % 48 + 1},{n}.5\n" for n in range(144)],
    ),
    "date and quarter": ("date,SP,load\n", [f"2024-01-{1 + n // 96:02d},{n % 96},{n}.5\n" for n in range(288)]),
    "year and month": ("year,month,load\n", [f"{2018 + n // 12},{n % 12 + 1},{n}.5\n" for n in range(72)]),
    "year and quarter": ("year,quarter,load\n", [f"{2000 + n // 4},{n % 4 + 1},{n}.5\n" for n in range(72)]),
    "names of months": ("Year,Mois,load\n", [f"{2018 + n // 12},{FRENCH[n % 12]},{n}.5\n" for n in range(72)]),
    "a hierarchy of dates": (
        "Year,Quarter,Month,Day,load\n",
        [f"{day.year},Qtr {(day.month + 2) // 3},{day:%B},{day.day},{n}.5\n" for n, day in enumerate(A_YEAR)],
    ),
    "a year beside a company's": (
        "Fiscal Year,Year,Month,Fiscal Month,load\n",
        [f"FY{2018 + (n + 6) // 12},{2018 + n // 12},{n % 12 + 1},P{(n + 6) % 12 + 1},{n}.5\n" for n in range(72)],
    ),
    "years backwards": ("Year,Month,load\n", [f"{2018 - n // 12},{12 - n % 12},{n}.5\n" for n in range(72)]),
    "Qtr 1": ("Year,Quarter,load\n", [f"{2000 + n // 4},Qtr {n % 4 + 1},{n}.5\n" for n in range(72)]),
    "year, month and day": ("year,month,day,load\n", [f"2024,{1 + n // 28},{n % 28 + 1},{n}.5\n" for n in range(56)]),
}


@pytest.mark.parametrize(
    ("kind", "second", "frequency"),
    [
        ("date and time", "1/1/2007 01:00:00", "H"),
        ("date and hour", "2024-01-01 01:00:00", "H"),
        ("date and half-hour", "2024-01-01 00:30:00", "30min"),
        ("date and quarter", "2024-01-01 00:15:00", "15min"),
        ("year and month", "2018-02-01", "M"),
        ("year and quarter", "2000-04-01", "3M"),
        ("names of months", "2018-02-01", "M"),
        ("a hierarchy of dates", "2024-01-02", "D"),
        ("Qtr 1", "2000-04-01", "3M"),
        ("a year beside a company's", "2018-02-01", "M"),
        ("years backwards", "2018-11-01", "M"),
        ("year, month and day", "2024-01-02", "D"),
    ],
)
def test_a_timestamp_spread_over_columns_is_joined(tmp_path: Path, kind: str, second: str, frequency: str) -> None:
    header, lines = SPREAD[kind]
    source = _file(tmp_path / "w.csv", header + "".join(lines))
    sample = sample_files([source])
    with pytest.raises(InferenceError, match=r"the timestamp is spread over the columns .* \(`chronos-assets melt"):
        infer(sample.header, sample.rows)
    target = tmp_path / "long.csv"
    assert melt(source, target) == (len(lines), ("load",))
    assert rows_of(target)[2] == f"{second},load,1.5"
    long = sample_files([TrainFile(target, "long.csv", source.last_modified)])
    assert str(infer(long.header, long.rows).frequency) == frequency


HOURS_AS_COLUMNS = ["H{}", "{:02d}:00", "{}h"]
MONTHS = [f"{date(2024, month, 1):%b}" for month in range(1, 13)]
DATES = [f"{day:02d}/01/2024" for day in range(1, 25)]


@pytest.mark.parametrize(
    ("header", "first", "row", "frequency"),
    [
        *(
            (["date", *map(form.format, range(24))], "2024-01-31", "2024-01-31 07:00:00", "H")
            for form in HOURS_AS_COLUMNS
        ),
        (["date", *(f"HE{hour}" for hour in range(1, 25))], "1/31/2024", "1/31/2024 07:00:00", "H"),
        (["date", *(f"h{hour}" for hour in range(24))], "2024-01-31 00:00:00", "2024-01-31 07:00:00", "H"),
        (["date", "item_id", *map(str, range(1, 25))], "2024-01-31,x", "x,2024-01-31 07:00:00", "H"),
        (["year", "month", "day", *(f"H{n}" for n in range(24))], "2024,1,31", "2024-01-31 07:00:00", "H"),
        (["date", *(f"{n // 2:02d}:{n % 2 * 3}0" for n in range(48))], "2024-01-31", "2024-01-31 03:30:00", "30min"),
        (["date", *(f"{n:02d}:00-{n + 1:02d}:00" for n in range(8, 20))], "2024-01-31", "2024-01-31 15:00:00", "H"),
        (["month", *map(str, range(1, 32))], "2024-01", "2024-01-08", "D"),
        (["year", "month", *(f"d{day}" for day in range(1, 32))], "2024,1", "2024-01-08", "D"),
        (["year", *map(str, range(1, 13))], "2024", "2024-08-01", "M"),
        (["Year", *MONTHS], "2024", "2024-08-01", "M"),
        (["year", *(f"M{month:02d}" for month in range(1, 13))], "2024", "2024-08-01", "M"),
        (["shop", *DATES], "b", "b,08/01/2024", "D"),
        (["shop", "lat", *(f"2024-{month:02d}" for month in range(1, 13))], "b,52.5", "b,2024-08", "M"),
        (["shop", *map(str, range(2000, 2024))], "b", "b,2007-01-01", "Y"),
    ],
)
def test_columns_that_are_times_become_timestamps(
    tmp_path: Path, header: list[str], first: str, row: str, frequency: str
) -> None:
    count = len(header) - 1 - first.count(",")
    lines = [",".join(header), ",".join([first, *map(str, range(count))])]
    source = _file(tmp_path / "w.csv", "\n".join(lines) + "\n")
    sample = sample_files([source])
    with pytest.raises(InferenceError, match=r"one column for each: `chronos-assets melt FILE OUTPUT`") as refusal:
        infer(sample.header, sample.rows)
    assert refusal.value.draft is None  # which would ask for one of the hours as the target
    target = tmp_path / "long.csv"
    assert melt(source, target)[0] == count
    assert rows_of(target)[8] == f"{row},7"
    long = sample_files([TrainFile(target, "long.csv", source.last_modified)])
    assert str(infer(long.header, long.rows).frequency) == frequency


NUMBERS = [str(number) for number in range(100)]


@pytest.mark.parametrize(
    ("header", "first", "reason"),
    [
        *((["date", *(f"{name}{hour}" for hour in range(1, count))], "2024-01-31", "comes twice or is missing where clocks")
          for count in (24, 26) for name in ("h", "")),
        (["date", *(f"H{hour}" for hour in range(24) if hour != 3)], "2024-01-31", "which one comes twice or is missing"),
        (["date", "00:00", "01:00", "02:00", "02:00 (2)", "03:00"], "2024-01-31", "which one comes twice"),
        (["date", "1", "2", "3A", "3B", *NUMBERS[4:25]], "2024-01-31", "which one comes twice"),
        (["date", *NUMBERS[1:49]], "2024-01-31", "perhaps half-hours of a date"),
        (["date", *NUMBERS[1:32]], "2024-01-01", "perhaps days of a month"),
        (["week", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], "2024-01-01", "which of them week names is not said"),
        (["week", *(f"day{number}" for number in range(1, 8))], "2024-01-01", "which of them week names is not said"),
        (["year", *(f"W{number}" for number in range(1, 53))], "2024", "whose first days are not said"),
        (["year", "1", "2", "3", "4"], "2024", "perhaps the quarters of a year"),
        (["year", *MONTHS[3:], *MONTHS[:3]], "2024", "seems to begin with another month than January"),
        (["item", "2023H1", "2023H2", "2024H1", "2024H2"], "x", "are periods, .* whose dates are not said"),
        (["item", *(f"d_{number}" for number in range(1, 40))], "x", "are periods, .* whose dates are not said"),
        (["fiscal_year", *MONTHS], "2024", "seems to begin with another month than January"),
    ],
)  # fmt: skip
def test_columns_that_may_be_several_times_are_refused(
    tmp_path: Path, header: list[str], first: str, reason: str
) -> None:
    lines = [",".join([name, *map(str, range(5, len(header) + 4))]) for name in (first,)]
    source = _file(tmp_path / "w.csv", "\n".join([",".join(header), *lines]) + "\n")
    sample = sample_files([source])
    with pytest.raises(InferenceError, match=reason):
        infer(sample.header, sample.rows)
    with pytest.raises(MeltError, match=reason):
        melt(source, tmp_path / "long.csv")


@pytest.mark.parametrize(
    ("header", "times"),
    [
        (["year", "Q1", "Q2", "Q3", "Q4"], ["-01-01", "-04-01", "-07-01", "-10-01"]),
        (["year", "Feb", "ene", "abr"], ["-02-01", "-01-01", "-04-01"]),
        (["date", "7 AM", "2 PM", "9 pm"], [" 07:00:00", " 14:00:00", " 21:00:00"]),
        (["date", "8 am", "4 pm", "12 am"], [" 00:00:00", " 08:00:00", " 16:00:00"]),  # a midnight that ends the day
        (["date", "9 am", "4 pm", "12 am"], None),  # of which date the last one is, nobody can tell
        (["year", "Q4", "Q3", "Q2", "Q1"], ["-10-01", "-07-01", "-04-01", "-01-01"]),
        (["date", "h0", "h1", "h2"], None),  # where there are only some hours, these are names like others
        (["date", *(f"hour_{hour}" for hour in range(24))], None),  # of 0 and 1, that say which hour it is
    ],
)
def test_parts_of_a_time_by_their_names(header: list[str], times: list[str] | None) -> None:
    base, flag = "2024" if header[0] == "year" else "2024-01-31", "0" if len(header) > 20 else "5"
    columns = [Column(place, name, name, (flag if place else base,)) for place, name in enumerate(header)]
    wide = wide_times(sorted(columns, key=lambda column: column.header != "ene"))
    assert (wide and dict(zip([c.header for c in wide.columns], wide.times, strict=True))) == (
        times and dict(zip(header[1:], times, strict=True))
    )


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("date,hour,load\n", [f"2024-01-{1 + n // 24:02d},{n % 24 + 1},{n}\n" for n in range(72)]),
        ("Fiscal Year,Month,load\n", [f"{2018 + n // 12},{MONTHS[n % 12]},{n}\n" for n in range(72)]),
        ("Year,Fiscal Month,load\n", [f"{2018 + n // 12},{MONTHS[n % 12]},{n}\n" for n in range(72)]),
        ("Year,Month,load\n", [f"{2018 + n // 12},{MONTHS[(n + 6) % 12]},{n}\n" for n in range(72)]),
        ("Year,Month,load\n", [f"{2024 - n // 12},{(5 - n) % 12 + 1},{n}\n" for n in range(72)]),
        ("Year,Quarter,load\n", [f"{2000 + n // 4},Q{(n + 2) % 4 + 1},{n}\n" for n in range(72)]),
        ("date,time_id,load\n", [f"2024-01-{1 + n // 24:02d},{n % 24 + 1},{n}\n" for n in range(72)]),
        (
            "date,period,load\n",  # clocks are put back on the third day
            [f"2024-10-{25 + n // 48},{n % 48 + 1},{n}\n" for n in range(144)]
            + ["2024-10-27,49,1\n", "2024-10-27,50,1\n"],
        ),
        ("year,week,load\n", [f"{2018 + n // 52},{n % 52 + 1},{n}\n" for n in range(150)]),
    ],
)
def test_parts_that_may_mean_two_things_are_refused(tmp_path: Path, header: str, rows: list[str]) -> None:
    with pytest.raises(
        InferenceError, match=r"spread over the columns .*: join them into one, such as [^(]*$"
    ) as refusal:
        melt(_file(tmp_path / "w.csv", header + "".join(rows)), tmp_path / "long.csv")
    assert ("23:00 for 24" in str(refusal.value)) == (header.startswith("date") and len(rows) == 72)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("date,item_id,hour,sales\n", "2024-01-{day:02d},a,{hour},{n}\n"),  # when it sold best, once a day
        ("timestamp,year,month,day,sales\n", "2024-01-{day:02d} 00:00:00,2024,1,{day},{n}\n"),
        ("date,year,week,sales\n", "2024-01-{day:02d},2024,{week},{n}\n"),
        ("date,year,month,day,sales\n", "{day} January 2024,2024,January,{day},{n}\n"),
        ("date,sales,8 am,12:30 pm,6 pm\n", "2024-01-{day:02d},{n},{day},{hour},{week}\n"),
        ("date,sales,d1,d2,d3,d4,d5,d6,d7\n", "2024-01-{day:02d},{n},{day},{day},{day},{day},{day},{day},{day}\n"),
    ],
)
def test_columns_beside_a_whole_timestamp_are_no_parts_of_it(tmp_path: Path, header: str, row: str) -> None:
    text = "".join(row.format(day=1 + n, hour=9 + n % 5, week=1 + n // 7, n=n * n % 11) for n in range(31))
    sample = sample_files([_file(tmp_path / "w.csv", header + text)])
    params = infer(sample.header, sample.rows)
    assert (str(params.frequency), params.target_column) == ("D", "sales")


def test_rows_of_one_timestamp_need_what_tells_them_apart(tmp_path: Path) -> None:
    text = "".join(f"2024-01-{day:02d},{shop},{day},{2 * day}\n" for day in range(1, 11) for shop in "xy")
    source = _file(tmp_path / "w.csv", "date,shop,sales,guests\n" + text)
    with pytest.raises(MeltError, match=r"10 rows whose timestamp was there before: .* --keep"):
        melt(source, tmp_path / "long.csv")
    assert melt(source, tmp_path / "long.csv", keep=["shop"]) == (40, ("sales", "guests"))
    assert rows_of(tmp_path / "long.csv")[:3] == [
        "timestamp,shop,item_id,target_value",
        "2024-01-01,x,sales,1",
        "2024-01-01,x,guests,2",
    ]


def test_one_series_of_several_items_keeps_their_ids(tmp_path: Path) -> None:
    text = "".join(
        f"2024-01-{day:02d},{hour},{item},{hour}\n" for day in range(1, 4) for hour in range(24) for item in "xy"
    )
    source = _file(tmp_path / "w.csv", "date,hour,item_id,sales\n" + text)
    assert melt(source, tmp_path / "long.csv", ["sales"], ["item_id"]) == (144, ("sales",))
    assert rows_of(tmp_path / "long.csv")[:2] == ["timestamp,item_id,target_value", "2024-01-01 00:00:00,x,0"]


@pytest.mark.parametrize(
    ("name", "is_time"),
    [
        ("time_id", True),
        ("SETTLEMENT_PERIOD", True),
        ("TradingPeriod", True),
        ("half_hour_no", True),
        ("SP", True),
        ("time_zone_id", False),
        ("hh_id", False),  # of a household
        ("lead_time", False),
        ("store_id", False),
    ],
)
def test_parts_of_a_day_are_numbered_by_columns_of_such_names(name: str, is_time: bool) -> None:
    dates = tuple(f"2024-01-{1 + n // 48:02d}" for n in range(144))
    columns = [
        Column(0, "date", "date", dates),
        Column(1, name, name, tuple(str(n % 48 + 1) for n in range(144))),
    ]
    assert (spread_timestamp(columns) is not None) == is_time


def test_what_numbers_parts_of_a_day_may_be_no_time() -> None:
    columns = [
        Column(0, "date", "date", tuple(f"2024-01-{1 + n // 48:02d}" for n in range(144))),
        Column(1, "slot", "slot", tuple(str(n % 48 + 1) for n in range(144))),
    ]
    with pytest.raises(
        InferenceError, match=r"or, if slot is no time of a day, name it in .*ForecastDimensions of a params"
    ):
        timestamp_readings(columns, None)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("geo," + ",".join(f"2024-{month:02d}" for month in range(1, 13)), "DE"),
        ("year," + ",".join(f"{date(2024, month, 1):%b}" for month in range(1, 13)), "2024"),
    ],
)
def test_months_with_marks_behind_their_numbers_are_not_left_out(tmp_path: Path, header: str, key: str) -> None:
    text = f"{header}\n{key}," + ",".join(["1.5"] * 10 + ["2.5 p", "3.5 p"]) + "\n"
    with pytest.raises(MeltError, match=r"'2.5 p' in the column (2024-11|Nov) is not a number; write it without signs"):
        melt(_file(tmp_path / "w.csv", text), tmp_path / "long.csv")
    assert melt(_file(tmp_path / "w.csv", text.replace(" p", "")), tmp_path / "long.csv")[0] == 12


@pytest.mark.parametrize("form", ["%I:%M %p", "%I:%M%p", "%I:%M:%S %p"])
def test_hours_of_half_days_beside_a_date_are_joined(tmp_path: Path, form: str) -> None:
    hours = [datetime(2024, 1, day, hour) for day in range(1, 20) for hour in range(24)]
    text = "Date,Time,kWh\n" + "".join(f"{hour:%m/%d/%Y},{hour.strftime(form)},{hour.hour}\n" for hour in hours)
    target = tmp_path / "long.csv"
    assert melt(_file(tmp_path / "w.csv", text), target)[0] == len(hours)
    sample = sample_files([TrainFile(target, "long.csv", datetime(2024, 1, 1, tzinfo=UTC))])
    assert str(infer(sample.header, sample.rows).frequency) == "H"
    days = [[f"{hour:%m/%d/%Y}", f"0{6 + hour.day % 2}:1{hour.day % 7} AM", "1.5"] for hour in hours[::24]]
    assert str(infer(["date", "sunrise", "kWh"], days).frequency) == "D"
