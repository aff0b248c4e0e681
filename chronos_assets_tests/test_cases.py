"""Inputs that went wrong once, after bug reports of people who do this job: each is run, and shows its right value.

The folders lie beside the checkout, each with a README that says what happened and what is right. Neighbours of the same
kinds, made up here, are tested where the parts they concern are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from chronos_assets.pipeline.published import forecast_manifest
from chronos_assets_tests.defs.test_sensors import Daemon
from chronos_assets_tests.product import Outcome, Product

pytestmark = pytest.mark.process  # each case runs Dagster's graph

Right = Callable[[Product, Path], None]
CASES: dict[str, Right] = {}
# Their READMEs give the level of the forecast, which takes a model that forecasts.
LEVELS = {
    "35b-daily-as-weekly-declared",
    "37-daily-as-monthly-midmonth",
    "37b-hourly-as-daily-6am",
    "81-same-size-mtime",
}


def case(name: str) -> Callable[[Right], Right]:
    """A function that runs a case's folder and asserts what is right."""

    def add(right: Right) -> Right:
        CASES[name] = right
        return right

    return add


@pytest.fixture
def product(name: str, tmp_path: Path) -> Iterator[Product]:
    variables = {"CHRONOS_SENSOR_SECONDS": "5", "CHRONOS_SETTLE_SECONDS": "5"}
    if name in LEVELS:
        variables["CHRONOS_BASE_MODEL"] = "bundled"
    with dg.DagsterInstance.ephemeral() as instance:
        yield Product(tmp_path, instance, variables)


@pytest.fixture
def folder(name: str, shared_cases: Path, product: Product) -> Path:
    """The case's folder, and a copy of it where the product looks."""
    folder = shared_cases / name
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in {"README", "make.py"}:
            copy = product.put(path.relative_to(folder).as_posix(), path.read_bytes())
            status = path.stat()
            os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    return folder


def succeeded(product: Product) -> str:
    """What a run says that publishes a forecast."""
    outcome = product.run()
    assert not outcome.error, outcome.said
    return outcome.said


def refused(product: Product) -> Outcome:
    outcome = product.run()
    assert outcome.error
    assert "Traceback" not in outcome.said
    return outcome


def test_every_case_is_tried(shared_cases: Path) -> None:
    assert sorted(path.name for path in shared_cases.iterdir() if path.is_dir()) == sorted(CASES)


# --- phases, periods, frequency


def dates_go_on(frequency: str, *dates: str) -> Right:
    def right(product: Product, folder: Path) -> None:
        said = succeeded(product)
        assert product.frequency == frequency
        assert product.dates()[: len(dates)] == list(dates)
        assert f"({frequency})" in said or frequency in said

    return right


case("08-4weekly")(dates_go_on("4W", "2024-03-25", "2024-04-22", "2024-05-20"))
case("34-biweekly-odd")(dates_go_on("2W", "2024-07-08", "2024-07-22", "2024-08-05"))
case("34d-quarter-end-last-day")(dates_go_on("3M", "2023-12-31", "2024-03-31", "2024-06-30"))
case("34e-8h-shifts-6-14-22")(dates_go_on("8H", "2024-01-20 22:00:00", "2024-01-21 06:00:00", "2024-01-21 14:00:00"))
case("34h-jitter")(dates_go_on("H", "2024-01-09 07:00:00", "2024-01-09 08:00:00"))
case("34l-2W-params")(dates_go_on("2W", "2024-07-08 00:00:00", "2024-07-22 00:00:00", "2024-08-05 00:00:00"))
case("34m-3M-feb-params")(dates_go_on("3M", "2023-11-01 00:00:00", "2024-02-01 00:00:00", "2024-05-01 00:00:00"))
case("34p-2D-odd")(dates_go_on("2D", "2024-03-19", "2024-03-21", "2024-03-23"))
case("36-business-month-end")(dates_go_on("M", "2023-12-31", "2024-01-31", "2024-02-29"))


@case("107-monthly-one-odd-date")
def _(product: Product, folder: Path) -> None:
    dates_go_on("M", "2022-12-01", "2023-01-01", "2023-02-01")(product, folder)
    assert "1 of 60 rows looked at do not lie where a period starts, such as that of 20" in succeeded(product)


@case("36d-10day-dekad")
def _(product: Product, folder: Path) -> None:
    assert "how often rows come can't be determined: the most common step is 10 days" in refused(product).error


@case("36h-many-series-by-date")
def _(product: Product, folder: Path) -> None:
    said = succeeded(product)
    assert "6,000 series" in said
    assert product.frequency == "D"


@case("38-lookahead-quarter")
def _(product: Product, folder: Path) -> None:
    succeeded(product)
    assert product.values()[0] == 9999
    line = product.line()
    for key, known in (("2023-10-01", "2023-09-30"), ("2023-11-01", "2023-09-30"), ("2023-12-01", "2023-12-31")):
        assert line.run(["forecasts"], key).success
        assert str(forecast_manifest(line.group, key)["context_end"])[:10] == known


def whole_periods(last: str, left_out: str, low: float, high: float) -> Right:
    """The last whole period, what is said of the one after it, and where forecasts of a level series lie."""

    def right(product: Product, folder: Path) -> None:
        said = succeeded(product)
        assert product.dates()[0] == f"{last} 00:00:00"
        assert f"the last period, {left_out}, is left out" in said
        assert all(low <= value <= high for value in product.values()[1:])

    return right


case("35b-daily-as-weekly-declared")(whole_periods("2024-01-29", "2024-02-05", 65, 75))
case("37-daily-as-monthly-midmonth")(whole_periods("2023-12-01", "2024-01-01", 275, 325))
case("37b-hourly-as-daily-6am")(whole_periods("2024-01-30", "2024-01-31", 230, 250))


# --- clocks


@case("30-dst-autumn-offset")
def _(product: Product, folder: Path) -> None:
    said = succeeded(product)
    assert "rows of an hour that clocks in Europe/Berlin show twice, of which the mean is taken: 2" in said
    observed = product.observed()
    assert set(observed.values()) == {100.0}
    assert "2024-10-27T02:00:00" in observed


@case("32-daily-local-midnight-offset")
def _(product: Product, folder: Path) -> None:
    said = succeeded(product)
    assert "Chronos.TimeZone" in said
    assert (min(product.observed()), max(product.observed())) == ("2024-03-20T00:00:00", "2024-04-18T00:00:00")
    assert product.dates()[:2] == ["2024-04-18 00:00:00+02:00", "2024-04-19 00:00:00+02:00"]


@case("61-dst-forecast-spring")
def _(product: Product, folder: Path) -> None:
    succeeded(product)
    instants = [datetime.fromisoformat(text).astimezone(UTC) for text in product.dates()]
    assert instants == [datetime(2024, 3, 30, 22, tzinfo=UTC) + timedelta(hours=step) for step in range(49)]


@case("67-tokyo-hourly")
def _(product: Product, folder: Path) -> None:
    now = datetime.now(ZoneInfo("Asia/Tokyo")).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=back) for back in range(336, 0, -1)]
    rows = "".join(f"a,{hour},{50 + hour.hour}\n" for hour in hours)
    product.put("train/a.csv", "item_id,timestamp,target_value\n" + rows)
    succeeded(product)
    assert product.dates() == [str(hours[-1] + timedelta(hours=step)) for step in range(7)]


# --- dates that are wrong


def stray_left_out(stray: str) -> Right:
    def right(product: Product, folder: Path) -> None:
        said = succeeded(product)
        assert f"1 row far ahead of all others left out, from {stray}" in said
        assert stray[:7] not in (product.store / "forecast" / "forecast.csv").read_text()
        assert product.dates()[:2] == ["2024-02-29", "2024-03-01"]
        assert "% of the periods between" not in said  # the stray row doesn't make the others look sparse

    return right


case("39-typo-date-ahead")(stray_left_out("2024-09-01"))
case("63b-far-future-typo")(stray_left_out("2042-03-01"))


@case("21-timestamps")
def _(product: Product, folder: Path) -> None:
    said = succeeded(product)
    assert {"v5", "v6"} <= {row["item_id"] for row in product.forecast()}
    assert "33 read, 9 used, 21 set aside (bad_timestamp), 3 set aside (timestamp_out_of_range)" in said


# --- columns


def items_are(*names: str, column: str = "item_id", said: str = "") -> Right:
    def right(product: Product, folder: Path) -> None:
        text = succeeded(product)
        assert {row[column] for row in product.forecast()} == set(names)
        assert said in text

    return right


case("01-pandas-index")(items_are("a", "b"))
case("03-na-dimension")(items_are("NA", "EU", "APAC", column="region", said="each value of region"))
case("102b-unicode-header")(items_are("a", column="c_5546_54c1", said="日付 (c_65e5_4ed8 in params.json)"))
case("40o-sep-line")(items_are("a", "b", said="line 1 (sep=,) names the delimiter and is no row"))
case("50g-float-ids")(items_are("123", "456"))
case("50k-nested")(items_are("a", said="columns that the schema does not have were ignored: x, l"))


@case("71-favorita")
def _(product: Product, folder: Path) -> None:
    said = succeeded(product)
    assert "each family with each value of store_nbr makes a series of its own (4 series of about 30 rows" in said
    assert "Not used: id, onpromotion." in said


@case("71b-walmart")
def _(product: Product, folder: Path) -> None:
    said = succeeded(product)
    assert "each Dept with each value of Store makes a series of its own (6 series of about 60 rows" in said
    assert "360 read, 360 used" in said


@case("93b-duplicates-in-file-inferred")
def _(product: Product, folder: Path) -> None:
    assert "50% of the rows repeat a timestamp" in refused(product).error


# --- files and lines


@case("40c-utf16le-nobom")
def _(product: Product, folder: Path) -> None:
    assert "train/a.csv: the file is UTF-16" in refused(product).error


@case("40f-trailing-delim-rows-only")
def _(product: Product, folder: Path) -> None:
    said = succeeded(product)
    assert "train/a.csv: rows end in a delimiter (line 2, say)" in said
    assert "30 read, 30 used" in said


@case("70-one-ragged-row")
def _(product: Product, folder: Path) -> None:
    assert "train/a.csv, line 426: 'item7, 5mm,2024-01-05,5' has 4 columns instead of 3" in refused(product).error


@case("70b-one-ragged-row-short")
def _(product: Product, folder: Path) -> None:
    assert "train/a.csv, line 2402: 'Total' has 1 column instead of 3" in refused(product).error


@case("64-ignored")
def _(product: Product, folder: Path) -> None:
    said = refused(product).said
    for name in ("_sales.csv", "c.xlsx", "d.txt", "train/b.parq", "train/part-0000, line 1"):
        assert name in said
    # Whole ones are read by the same names.
    shutil.copyfile(product.data / "train" / "a.csv", product.data / "train" / "part-0000")
    (product.data / "train" / "b.parq").unlink()
    said = succeeded(product)
    assert all(name in said for name in ("_sales.csv", "c.xlsx", "d.txt"))
    assert "gave way to train/part-0000" in said


@case("91-header-only-file")
def _(product: Product, folder: Path) -> None:
    assert "train/d2.csv: left out: the file has no rows, only a header" in succeeded(product)


# --- one command after another


@case("80-removed-file")
def _(product: Product, folder: Path) -> None:
    assert "train/bad.csv" in refused(product).error
    (product.data / "train" / "bad.csv").unlink()
    assert "removed from the store, as they are no longer in the folder: train/bad.csv" in succeeded(product)


@case("81-same-size-mtime")
def _(product: Product, folder: Path) -> None:
    succeeded(product)
    assert product.values()[1] == pytest.approx(10, abs=1)
    path = product.data / "train" / "a.csv"
    status = path.stat()
    path.write_text(
        "".join(line.removesuffix(",10\n") + ",99\n" if line.endswith(",10\n") else line for line in path.open())
    )
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert "Nothing new" not in succeeded(product)
    assert product.values()[1] == pytest.approx(99, abs=5)


@case("82-inferred-params-stale")
def _(product: Product, folder: Path) -> None:
    succeeded(product)
    assert product.frequency == "W"
    shutil.copyfile(folder / "daily.csv", product.data / "train" / "a.csv")
    said = succeeded(product)
    assert product.frequency == "D"
    assert "inferred again" in said
    assert '"W" -> "D"' in said


@case("97-wrong-file-deleted")
def _(product: Product, folder: Path) -> None:
    succeeded(product)
    before = (product.store / "forecast" / "forecast.csv").read_text()
    daemon = Daemon(product.line())
    daemon.quiet()
    wrong = product.store / "train" / "wrong.csv"
    shutil.copyfile(folder / "wrong.csv", wrong)
    daemon.quiet()
    assert product.dates()[0] == "2024-03-05 00:00:00"
    wrong.unlink()
    daemon.quiet()
    assert (product.store / "forecast" / "forecast.csv").read_text() == before


@case("98-backfill-beyond-data")
def _(product: Product, folder: Path) -> None:
    succeeded(product)
    assert product.line().run(["forecasts"], "2024-06-01").success
    shutil.copyfile(folder / "next.csv", product.store / "train" / "next.csv")
    said = succeeded(product)
    assert product.dates()[0] == "2024-03-05 00:00:00"
    assert "2024-03-05T00:00:00 (partition 2024-03-05)" in said


@case("99-future-mtime")
def _(product: Product, folder: Path) -> None:
    train = product.data / "train"
    later = datetime.now(UTC) + timedelta(days=1000)
    os.utime(train / "a.csv", (later.timestamp(), later.timestamp()))
    text = (train / "a.csv").read_text()
    (train / "e.csv").write_text(text.replace(",10\n", ",99\n"))
    said = succeeded(product)
    assert "train/a.csv is dated" in said
    assert "in the future" in said
    assert set(product.observed().values()) == {99.0}


@pytest.mark.parametrize("name", list(CASES))
def test_shows_what_is_right(name: str, product: Product, folder: Path) -> None:
    CASES[name](product, folder)
