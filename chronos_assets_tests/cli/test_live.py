"""What the user sees while a run continues: bars, losses that fall, plain lines where there is no terminal."""

import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from chronos_assets.cli.live import LiveView, PlainView, Progress, TrialView, bars, progress_of, view


def _record(message: str, step: str = "forecasts", level: int = logging.INFO, event: Any = None) -> logging.LogRecord:
    record = logging.LogRecord("chronos_assets", level, "", 0, f"job - run - {step} - {message}", None, None)
    record.dagster_meta = {"step_key": step, "orig_message": message, "dagster_event": event}
    return record


def _failure(step: str, reason: str) -> logging.LogRecord:
    data = SimpleNamespace(user_failure_data=SimpleNamespace(description=reason), error=None)
    event = SimpleNamespace(
        event_type_value="STEP_FAILURE", is_step_failure=True, is_step_success=False, step_failure_data=data
    )
    return _record(f'Execution of step "{step}" failed.', step, logging.ERROR, event)


def _event(step: str, message: str, kind: str = "STEP_START") -> logging.LogRecord:
    event = SimpleNamespace(event_type_value=kind, is_step_failure=False, is_step_success=kind == "STEP_SUCCESS")
    return _record(message, step, logging.DEBUG, event)


@pytest.mark.parametrize(
    ("message", "progress"),
    [
        ("series x windows forecast: 1,200 / 7,000 (17%)", Progress(1200, 7000)),
        ("windows forecast by zero-shot: 3 / 3 (100%)", Progress(3, 3)),
        ("read: 45%", Progress(45, 100)),
        ("scored 2024-01-10 (1 of 2): 72 points", Progress(1, 2)),
        ("series made: 0 / 0", None),
        ("importing 2 files, 30,847 bytes", None),
        ("trial 0: step 20, loss 0.5", None),
    ],
)
def test_progress_is_read_from_what_steps_log(message: str, progress: Progress | None) -> None:
    assert progress_of(message) == progress


def test_a_trials_losses_are_kept_as_they_fall() -> None:
    trial = TrialView()
    for message in (
        "trial 1 starts: learning_rate 3e-05",
        "trial 1: step 1,020, loss 0.5, learning rate 1e-05, 30 s left",
        "trial 1: step 1,040, loss 2.5e-1, validation 0.21, learning rate 1e-05",
        "trial 1 completed after 12.0 s: validation 0.2",
    ):
        trial.read(message)
    assert trial == TrialView(step="1,040", losses=[0.5, 0.25], validation="0.2", state="completed")


def test_bars_go_from_the_highest_to_the_lowest() -> None:
    assert bars([3.0, 2.0, 1.0]) == "█▅▁"
    assert bars([]) == ""
    assert bars([1.0, 1.0]) == "▁▁"
    assert len(bars([float(value) for value in range(100)])) == 24


def test_a_terminal_gets_a_live_view_and_everything_else_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with view(io.StringIO()) as shown:
        assert isinstance(shown, PlainView)
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    with view(terminal) as shown:
        assert isinstance(shown, LiveView)


def test_the_live_view_shows_steps_and_trials_and_leaves_the_reason_of_a_failure_to_the_end() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with LiveView(console) as shown:
        # As Dagster does when it configures logging: it closes all handlers that there are.
        shown.close()
        for record in (
            _record("importing 1 files", "target_time_series"),
            _record("trial 0: step 20, loss 0.5", "tuned_checkpoints"),
            _record("trial 0: step 40, loss 0.25, validation 0.21", "tuned_checkpoints"),
            _failure("forecasts", "no series could be forecast: check the train files"),
            _record("Dependencies for step forecast_tables failed: ['forecasts']. Not executing.", "", logging.ERROR),
            _event("forecasts", "Started execution of step"),
        ):
            shown.handle(record)
        shown.note("waiting for the model slot, which run 1234 holds")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for words in (
        "target_time_series",
        "tuned_checkpoints",
        "0.2500",
        "█▁",
        "0.21",
        "waiting for the model slot, which run 1234 holds",
    ):
        assert words in text
    assert "no series could be forecast" not in text
    assert "Dependencies for step" not in text
    assert "Started execution" not in text


def test_plain_lines_say_nothing_of_dagsters_own_and_leave_the_reason_of_a_failure_to_the_end() -> None:
    stream = io.StringIO()
    with PlainView(stream) as shown:
        for record in (
            _event("forecasts", "Started execution of step"),
            _record("series x windows forecast: 1 / 2 (50%)"),
            _record("[pipes] external process successfully opened dagster pipes."),
            _failure("forecasts", "it can't be done"),
            _record("Dependencies for step forecast_tables failed: ['forecasts']. Not executing.", "", logging.ERROR),
        ):
            shown.handle(record)
        shown.note("a note")
    lines = stream.getvalue().splitlines()
    assert lines[0][10:] == f"{'forecasts':<20}  series x windows forecast: 1 / 2 (50%)"
    assert lines[1:] == ["a note"]


def test_a_step_is_done_when_it_says_so_not_when_one_part_of_it_is() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with LiveView(console) as shown:
        shown.handle(_event("model_package", "Started execution"))
        shown.handle(_record("windows forecast by zero-shot: 3 / 3 (100%)", "model_package"))
        (task,) = shown._tasks.tasks
        assert not task.finished
        shown.handle(_event("model_package", "Finished execution", "STEP_SUCCESS"))
        assert task.finished


def test_a_step_that_was_cut_off_is_not_shown_as_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    shown = LiveView(console)
    shown.handle(_event("tuned_checkpoints", "Started execution"))
    with pytest.raises(KeyboardInterrupt), shown:
        raise KeyboardInterrupt
    (task,) = shown._tasks.tasks
    assert not task.finished


def test_a_process_that_ends_at_once_leaves_the_cursor_in_the_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with LiveView(console) as shown:
        assert isinstance(console.file, io.StringIO)
        written = len(console.file.getvalue())
        shown.abandon()
        assert "\x1b[?25h" in console.file.getvalue()[written:]
