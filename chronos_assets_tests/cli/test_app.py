"""The command as a whole: errors in a few lines, the traceback when asked for, bad arguments, a reader that leaves."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chronos_assets.cli import app, main
from chronos_assets.cli.common import UsageError

Raise = Callable[[Exception], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Raise:
    """Let the next command raise an error when it asks for its settings."""

    def arrange(error: Exception) -> None:
        def settings_for(_data: object) -> None:
            raise error

        monkeypatch.setattr("chronos_assets.cli.query.settings_for", settings_for)

    return arrange


def test_a_long_reason_is_cut_in_the_middle_and_says_where_the_rest_is(
    failing: Raise, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failing(UsageError("\n".join(f"line {number}" for number in range(20)), tmp_path / "run.log"))
    assert main(["query", "x"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == app.MAX_LINES
    assert lines[0] == "chronos-assets: line 0"
    assert lines[-2] == f"… and 16 more lines in {tmp_path / 'run.log'}"
    assert lines[-1] == "line 19"  # how to fix it


def test_an_error_that_nobody_foresaw_is_reported_without_a_traceback_until_it_is_asked_for(
    failing: Raise, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ZeroDivisionError("by zero"))
    assert main(["query", "x"]) == 1
    short = capsys.readouterr().err
    assert "ZeroDivisionError: by zero" in short
    assert "--verbose" in short
    assert "Traceback" not in short
    assert len(short.splitlines()) <= app.MAX_LINES
    for arguments in (["--verbose", "query", "x"], ["query", "x", "--verbose"]):
        assert main(arguments) == 1
        assert "Traceback" in capsys.readouterr().err


def test_the_systems_errors_name_the_path(failing: Raise, capsys: pytest.CaptureFixture[str]) -> None:
    failing(PermissionError(13, "Permission denied", "/some/where"))
    assert main(["query", "x"]) == 1
    assert capsys.readouterr().err == "chronos-assets: /some/where: Permission denied\n"
    failing(OSError(30, "Read-only file system", "/some/where"))
    assert main(["query", "x"]) == 1
    assert "/some/where: Read-only file system: make it writable, or set CHRONOS_STORE" in capsys.readouterr().err
    failing(RuntimeError("(sqlite3.OperationalError) database or disk is full\n[SQL: CREATE TABLE …]"))
    assert main(["query", "x"]) == 1
    assert "no space is left on the disk of the store: free some" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words", "where"),
    [
        (["qurey", "x"], "Did you mean 'query'?", "chronos-assets --help"),
        (["query"], "Missing argument", "chronos-assets query --help"),
        (["model", "aprove"], "Did you mean 'approve'", "chronos-assets model --help"),
        (["model", "approve", "x"], "valid integer", "chronos-assets model approve --help"),
        (["query", "x", "--format", "xml"], "'xml' is not one of", "chronos-assets query --help"),
    ],
)
def test_arguments_that_do_not_parse_are_explained(
    arguments: list[str], words: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == app.MISUSED
    errors = capsys.readouterr().err
    assert words in errors
    assert where in errors
    assert len(errors.splitlines()) <= app.MAX_LINES


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = (
        "import sys; from chronos_assets.cli import main; from pathlib import Path\n"
        "def much(path: Path) -> None: print('x' * 1_000_000)\n"
        "from chronos_assets.cli.app import app; app.command('much')(much)\n"
        "sys.exit(main(['much', 'here']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == ""
    assert process.returncode == app.NOBODY_READS


def test_help_loads_neither_dagster_nor_what_commands_work_with() -> None:
    program = (
        "import sys; from chronos_assets.cli import main\n"
        "main(['--help'])\n"
        "heavy = {'dagster', 'duckdb', 'pyarrow', 'pandas', 'numpy', 'torch', 'boto3', 'obstore', 'pydantic'}\n"
        "sys.exit(', '.join(sorted(heavy & sys.modules.keys())) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "ui", "query", "model", "endpoint", "validate", "doctor"):
        assert command in done.stdout
