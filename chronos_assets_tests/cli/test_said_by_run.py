"""What `run` says of a folder's files and rows, and that what it leaves is right: inputs that people had in their folders."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets_tests.defs.line import PARAMS
from chronos_assets_tests.product import Product

pytestmark = pytest.mark.process  # each runs Dagster's graph

Command = Callable[[], tuple[int, str]]
HEADER = "item_id,timestamp,target_value\n"


def days(item: str, first: str, count: int, value: float | None = None, step: int = 1) -> str:
    start = datetime.fromisoformat(first)
    return "".join(
        f"{item},{start + timedelta(days=step * n):%Y-%m-%d},{n % 5 + 1 if value is None else value:g}\n"
        for n in range(count)
    )


@pytest.fixture
def product(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Product]:
    """The command without a process of its own; a test may give it variables."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Product(tmp_path, instance, getattr(request, "param", None))


@pytest.fixture
def train(product: Product) -> Path:
    return product.data / "train"


@pytest.fixture
def run(product: Product) -> Command:
    """`run` on the folder: its status, and everything that it says."""

    def command() -> tuple[int, str]:
        outcome = product.run()
        return int(bool(outcome.error)), outcome.said

    return command


def forecast(tmp_path: Path) -> str:
    return (tmp_path / "store" / "forecast" / "forecast.csv").read_text()


def test_a_file_taken_out_of_the_folder_blocks_nothing_any_more(train: Path, run: Command) -> None:
    (train / "good.csv").write_text(HEADER + days("a", "2024-01-01", 40))
    (train / "bad.csv").write_text(HEADER + "a,2024-13-45,xx\n")
    status, said = run()
    assert status == 1
    assert "train/bad.csv" in said
    (train / "bad.csv").unlink()
    status, said = run()
    assert status == 0, said
    assert "removed from the store, as they are no longer in the folder: train/bad.csv" in said


def test_another_content_of_the_same_size_and_time_is_forecast(train: Path, run: Command, tmp_path: Path) -> None:
    path = train / "a.csv"
    path.write_text(HEADER + days("a", "2024-01-01", 40, value=10))
    assert run()[0] == 0
    assert ",10.0," in forecast(tmp_path)
    status = path.stat()
    path.write_text(HEADER + days("a", "2024-01-01", 40, value=99))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "Nothing new" not in run()[1]
    assert ",99.0," in forecast(tmp_path)


def test_a_daily_file_in_the_place_of_a_weekly_one_is_daily(train: Path, run: Command, tmp_path: Path) -> None:
    (train / "a.csv").write_text(HEADER + days("a", "2023-01-02", 41, step=7))
    assert run()[0] == 0
    (train / "a.csv").write_text(HEADER + days("a", "2024-01-01", 61))
    status, said = run()
    assert status == 0, said
    assert "inferred again" in said
    assert '"W" -> "D"' in said
    assert "2024-03-01" in forecast(tmp_path)


def test_one_row_in_2042_is_left_out_and_said(train: Path, run: Command, tmp_path: Path) -> None:
    text = "".join(days(item, "2024-01-01", 60) for item in "abc")
    (train / "a.csv").write_text(HEADER + text + "a,2042-03-01,5\n")
    status, said = run()
    assert status == 0, said
    assert "2042-03-01" in said
    assert "2024-03-01" in forecast(tmp_path)
    assert "2042" not in forecast(tmp_path)


def test_one_row_half_a_year_ahead_does_not_move_the_forecast_without_a_word(train: Path, run: Command) -> None:
    text = "".join(days(item, "2024-01-01", 60) for item in "abcde")
    (train / "a.csv").write_text(HEADER + text + "c,2024-09-01,12\n")
    status, said = run()
    assert status == 0, said
    assert "2024-09-01" in said


def test_files_that_are_no_data_are_named(train: Path, run: Command) -> None:
    (train / "a.csv").write_text(HEADER + days("a", "2024-01-01", 30, value=1))
    for name in ("c.xlsx", "d.txt", "_sales.csv"):
        (train / name).write_text("x")
    status, said = run()
    assert status == 0, said
    assert all(name in said for name in ("c.xlsx", "d.txt", "_sales.csv"))


def test_a_file_appended_to_itself_is_refused_or_said(train: Path, run: Command) -> None:
    (train / "d1.csv").write_text(HEADER + 2 * days("a", "2024-01-01", 40))
    status, said = run()
    assert "50%" in said or "50 %" in said or "40 added to another of the same period" in said, said
    assert status == 1 or "80 read" in said


def test_every_row_is_accounted_for(train: Path, run: Command) -> None:
    (train / "a.csv").write_text(HEADER + days("a", "2024-01-01", 40) + "a,2024-01-05,\n")
    (train / "b.csv").write_text(HEADER + days("a", "2024-02-01", 9, value=7))
    status, said = run()
    assert status == 0, said
    assert "50 read, 40 used, 9 replaced by a newer file, 1 without a value" in said


def test_series_that_end_early_are_said(train: Path, run: Command) -> None:
    (train / "a.csv").write_text(HEADER + days("a", "2024-01-01", 90) + days("old", "2024-01-01", 40))
    status, said = run()
    assert status == 0, said
    assert "old on 2024-02-09" in said


def test_forecasts_kept_above_zero_are_said_and_are(train: Path, run: Command, tmp_path: Path) -> None:
    (train / "a.csv").write_text(
        HEADER + days("a", "2024-01-01", 60, value=0) + "b,2024-01-01,0\n" + days("b", "2024-01-02", 59)
    )
    status, said = run()
    assert status == 0, said
    values = [float(line.split(",")[2]) for line in forecast(tmp_path).splitlines()[1:]]
    assert min(values) >= 0


@pytest.mark.parametrize("product", [{"CHRONOS_PARTITIONS": "hourly"}], indirect=True)
def test_rows_ahead_of_a_clock_that_nobody_named_are_said(train: Path, run: Command, tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    hours = [now + timedelta(hours=9 - back) for back in range(200, 0, -1)]
    (train / "a.csv").write_text(HEADER + "".join(f"a,{hour},{50 + hour.hour}.5\n" for hour in hours))
    status, said = run()
    assert status == 0, said
    first = datetime.fromisoformat(min(line.split(",")[1] for line in forecast(tmp_path).splitlines()[1:]))  # joins
    assert first <= datetime.now(UTC).replace(tzinfo=None)
    unseen = round((hours[-1] - first) / timedelta(hours=1))
    assert f"{unseen} periods after it, to {hours[-1].isoformat()}: still to come on the clock of UTC" in said


def test_series_not_forecast_are_named_and_the_join_row_can_be_left_out(
    train: Path, run: Command, tmp_path: Path
) -> None:
    document = json.loads(json.dumps(PARAMS))
    document["Predictor"]["ForecastHorizon"] = 4
    document["Chronos"] |= {"MinObservations": 5, "JoinRow": False}
    (train.parent / "params.json").write_text(json.dumps(document))
    lines = [f"{datetime(2024, 1, 1) + timedelta(hours=hour)},{hour % 24 + 1},a\n" for hour in range(200)]
    lines += [f"2024-01-01 0{hour}:00:00,1,brief\n" for hour in range(3)]
    (train / "a.csv").write_text("".join(lines))
    status, said = run()
    assert status == 0, said
    assert "brief (last observed 2024-01-01" in said
    times = {line.split(",")[0] for line in forecast(tmp_path).splitlines()[1:]}
    assert sorted(times) == [f"2024-01-09 {hour:02d}:00:00" for hour in range(8, 12)]
