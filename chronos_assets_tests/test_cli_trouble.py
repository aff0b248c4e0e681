"""The `chronos-assets` command in trouble: odd paths, wrong dates, folders that people removed by hand."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from dagster._utils.error import SerializableErrorInfo

from chronos_assets.cli import copying, main
from chronos_assets.defs.outcomes import root_message
from chronos_assets_tests import forks
from chronos_assets_tests.defs.line import PARAMS, hourly_rows
from chronos_assets_tests.models.tiny import folder_of

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _write_data(tmp_path / "data")


def _write_data(folder: Path) -> Path:
    """A user's folder with one series of three days."""
    (folder / "train").mkdir(parents=True)
    params = json.loads(json.dumps(PARAMS))
    params["Predictor"]["ForecastHorizon"] = 5
    (folder / "params.json").write_text(json.dumps(params))
    _write(folder, datetime(2024, 1, 1))
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that a run has published to."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as environment:
        environment.chdir(folder)
        environment.delenv("DAGSTER_HOME", raising=False)
        environment.setenv("CHRONOS_BASE_MODEL", str(folder_of("bolt")))
        environment.setenv("CHRONOS_STORE", str(folder / "store"))
        assert main(["run", "--data", str(_write_data(folder / "data")), "--backtest-windows", "0"]) == 0
    return folder / "store"


@pytest.fixture
def store(tmp_path: Path, published: Path) -> Path:
    """The store of `command` with a copy of `published` in it."""
    return shutil.copytree(published, tmp_path / "store", symlinks=True)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process, in an empty folder; exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("CHRONOS_BASE_MODEL", str(folder_of("bolt")))
    monkeypatch.setenv("CHRONOS_STORE", str(tmp_path / "store"))

    def run(*arguments: object, **settings: str) -> tuple[int, str, str]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return run


def _write(folder: Path, first: datetime) -> None:
    (folder / "train" / "a.csv").write_text("\n".join(hourly_rows(3, first=first, items=["a"])) + "\n")


def _run(command: Command, data: Path, windows: int = 0, **settings: str) -> tuple[int, str, str]:
    return command("run", "--data", data, "--backtest-windows", windows, **settings)


@pytest.mark.parametrize(
    ("store", "text"),
    [
        ("{}/file", "is a file: set CHRONOS_STORE to a folder"),
        ("{}/file/store", "Not a directory"),
        ("ftp://somewhere/x", "set CHRONOS_STORE to a folder or to s3://bucket/prefix"),
        ("{}/a?b", "choose another store"),
        ("{}/a%20b", "choose another store"),
        ("{}/a\\b", "choose another store"),
    ],
)
def test_a_store_that_can_not_be_used_is_reported_in_one_line(
    tmp_path: Path, command: Command, data: Path, store: str, text: str
) -> None:
    (tmp_path / "file").touch()
    before = sorted(tmp_path.iterdir())
    status, _, errors = _run(command, data, CHRONOS_STORE=store.format(tmp_path))
    assert status == 1
    assert text in errors
    assert len(errors.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("first", "start", "text"),
    [
        (datetime(1950, 1, 1), "2000-01-01", "set CHRONOS_PARTITION_START"),
        (datetime(2250, 1, 1), "2000-01-01", "after the last partition"),
        (datetime(2024, 1, 1), "2200-01-01", "CHRONOS_PARTITION_START"),
    ],
)
def test_data_outside_all_partitions_is_reported(
    command: Command, data: Path, first: datetime, start: str, text: str
) -> None:
    _write(data, first)
    status, _, errors = _run(command, data, CHRONOS_PARTITION_START=start)
    assert status == 1
    assert text in errors.splitlines()[-1]


def test_the_backtest_stays_within_the_partitions(command: Command, data: Path) -> None:
    status, output, _ = _run(command, data, 1, CHRONOS_PARTITION_START="2024-01-03")
    assert status == 0
    assert "no earlier partition" in output


def test_what_people_removed_from_the_store_is_made_again(command: Command, data: Path, store: Path) -> None:
    csv = store / "forecast" / "forecast.csv"
    before = csv.read_bytes()
    (store / "forecast").unlink()  # the link to the version
    shutil.rmtree(store / "tables")
    status, output, _ = _run(command, data)
    assert status == 0
    assert "Nothing new" not in output
    assert csv.read_bytes() == before
    assert (store / "tables" / "forecast.duckdb").is_file()
    csv.unlink()
    assert _run(command, data)[0] == 0
    assert csv.read_bytes() == before
    assert "Nothing new" in _run(command, data)[1]


def test_a_wrong_date_empties_nothing_and_its_forecast_goes_when_it_is_fixed(
    command: Command, data: Path, store: Path
) -> None:
    before = (store / "forecast" / "forecast.csv").read_bytes()

    wrong = store / "train" / "wrong.csv"
    wrong.write_text("2250-01-01 00:00:00,1,a\n")
    status, output, _ = _run(command, data)
    assert status == 0
    assert "1 row far ahead of all others left out, from 2250-01-01" in output
    assert (store / "forecast" / "forecast.csv").read_bytes() == before

    wrong.write_text("2024-01-05 00:00:00,1,a\n")
    assert _run(command, data)[0] == 0
    assert json.loads((store / "forecast" / "manifest.json").read_text())["as_of"] == "2024-01-05"
    wrong.unlink()
    assert _run(command, data)[0] == 0
    assert (store / "forecast" / "forecast.csv").read_bytes() == before


def test_dagsters_files_are_in_the_store_however_it_is_named(
    tmp_path: Path, command: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, folder in (("~/one", tmp_path / "home" / "one"), ((tmp_path / "two").as_uri(), tmp_path / "two")):
        (data / "params.json").write_text("{")  # an import that fails is enough
        assert _run(command, data, CHRONOS_STORE=name)[0] == 1
        assert (folder / ".dagster").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "home", "two"}


@pytest.mark.usefixtures("store")
def test_a_question_that_makes_no_sense_is_reported(command: Command) -> None:
    for arguments, text in (
        (("a", "--start", "2024-02-01", "--end", "2024-01-01"), "is after the end"),
        (("a", "--start", "2024-02-01T00:00:00Z", "--end", "2024-01-01"), "is after the end"),
        (("a", "--start", "2024-01-01T00:00:00+01:00", "--end", "2024-02-01"), "without a time zone"),
        (("\udcff",), "is not valid Unicode"),
    ):
        status, _, errors = command("query", *arguments)
        assert status == 1
        assert text in errors


def test_a_mean_alone_is_forecast_and_scored(command: Command, data: Path) -> None:
    params = json.loads((data / "params.json").read_text())
    params["Forecast"]["ForecastTypes"] = ["mean"]
    (data / "params.json").write_text(json.dumps(params))
    status, output, errors = _run(command, data, 1)
    assert status == 0, errors
    assert "1 as-of windows" in output


def test_a_copy_that_fails_leaves_nothing_behind(
    tmp_path: Path, command: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: BinaryIO) -> None:
        target.write(path.read_bytes()[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(copying, "_read_whole", full)
    status, _, errors = _run(command, data)
    assert status == 1
    assert "No space left on device" in errors
    assert list((tmp_path / "store" / "train").iterdir()) == []


def test_two_processes_may_open_a_new_instance_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from chronos_assets.defs.instance import open_instance\n"
        "with open_instance(Path(sys.argv[1])) as instance: instance.all_asset_keys()"
    )
    command = (forks.CODE, program, str(tmp_path / "home"))
    with ThreadPoolExecutor(3) as at_once:
        started = [at_once.submit(forks.run, *command, folder=tmp_path, environment=os.environ) for _ in range(3)]
    ended = [process.result() for process in started]
    assert [(process.stderr[-500:], process.returncode) for process in ended] == [("", 0)] * 3


def test_an_interrupted_step_says_so() -> None:
    error = SerializableErrorInfo("x\n", [], "DagsterExecutionInterruptedError")
    outer = SerializableErrorInfo("Error occurred while executing op", [], "DagsterExecutionStepExecutionError", error)
    assert root_message(outer).startswith("interrupted")
