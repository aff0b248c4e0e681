"""What `run` says of a folder's files and rows, and that what it leaves is right: inputs that people had in their folders.

Those that went wrong once are in `test_cases.py`.
"""

import json
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


def test_rows_are_accounted_for_early_ends_said_and_no_forecast_is_below_zero(
    train: Path, run: Command, tmp_path: Path
) -> None:
    zero = days("zero", "2024-01-01", 90, value=0)
    (train / "a.csv").write_text(
        HEADER + days("a", "2024-01-01", 90) + "a,2024-01-05,\n" + days("old", "2024-01-01", 40) + zero
    )
    (train / "b.csv").write_text(HEADER + days("a", "2024-02-01", 9, value=7))
    status, said = run()
    assert status == 0, said
    assert "230 read, 220 used, 9 replaced by a newer file, 1 without a value" in said
    assert "old on 2024-02-09" in said
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
