"""The command as a whole: its commands, and what becomes of an error.

An error is at most `MAX_LINES` lines on standard error: what, where, how to fix it. `--verbose` adds the traceback.
Exit status: 0; 1 with a reason, or silently when nobody reads the output any more; 2 for arguments that don't parse; 130
when interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from chronos_assets.cli import backfill, dashboard, doctor, endpoint, model, query, run, sagemaker, ui, user_files
from chronos_assets.errors import ChronosAssetsError, disk_trouble

MAX_LINES = 5
WIDEST = 1500  # characters of a line: a reason that quotes a whole document helps nobody
MISUSED = 2
INTERRUPTED = 130
NOBODY_READS = 1  # typer's own, where it notices first

VERBOSE = "--verbose"

app = typer.Typer(
    help="From train files to published quantile forecasts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _everywhere(
    verbose: Annotated[bool, typer.Option(VERBOSE, help="Show the traceback of an error (after any command).")] = False,
) -> None:
    """What every command has; `main` has taken the option out of the arguments already."""


app.command("run")(run.run)
app.command("ui")(ui.ui)
app.command("dashboard")(dashboard.dashboard)
app.command("backfill")(backfill.backfill)
app.command("query")(query.query)
app.add_typer(model.app, name="model")
app.add_typer(endpoint.app, name="endpoint")
app.command("validate")(user_files.validate)
app.command("melt")(user_files.melt)
app.command("doctor")(doctor.doctor)
app.command("sample-july")(user_files.sample_july)
app.command("sagemaker-pipeline")(sagemaker.sagemaker_pipeline)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    given, verbose = _without_verbose(sys.argv[1:] if arguments is None else arguments)
    # A notice's log line would repeat what the command itself prints.
    logging.getLogger("chronos_assets").addHandler(logging.NullHandler())
    try:
        status = typer.main.get_command(app).main(given, prog_name="chronos-assets", standalone_mode=False)
        sys.stdout.flush()
        if status == INTERRUPTED:
            print("chronos-assets: interrupted", file=sys.stderr)
        return int(status or 0)
    except BrokenPipeError:
        # The rest has no reader; without this Python complains once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except Exception as error:  # noqa: BLE001 - the edge: whatever went wrong is reported in words
        if verbose:
            traceback.print_exc()
        print("\n".join(_shortened(f"chronos-assets: {explain(error)}", getattr(error, "log", None))), file=sys.stderr)
        return MISUSED if isinstance(error, TyperException) else 1


def _without_verbose(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Arguments without `--verbose`, wherever it stands, and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != VERBOSE]
    return [*options, *arguments[end:]], len(options) < end


def explain(error: Exception) -> str:
    """What went wrong, for a user: what, where and how to fix it, as far as the error knows."""
    if isinstance(error, ChronosAssetsError):
        return str(error)
    if isinstance(error, TyperException):
        return f"{error.format_message()}\nSee chronos-assets {''.join(_command_of(error))}--help"
    if trouble := disk_trouble(error):
        return trouble
    if isinstance(error, OSError):
        # No permission, a file where a folder should be: the system's word and the path say it all.
        place = error.filename2 or error.filename
        return f"{f'{place}: ' if place else ''}{error.strerror or error}"
    return (
        f"{type(error).__name__}: {error}\nThis is not an error that was expected: run the command again with {VERBOSE} and "
        "report what it prints."
    )


def _command_of(error: TyperException) -> list[str]:
    """Words of the command whose arguments didn't parse, each with a space after it."""
    context = getattr(error, "ctx", None)
    return [f"{word} " for word in context.command_path.split()[1:]] if context else []


def _shortened(text: str, log: Path | None) -> list[str]:
    """The lines of `text`, or their beginning, where the rest is, and the last line: it says how to fix it."""
    lines = [line if len(line) <= WIDEST else f"{line[: WIDEST - 2]} …" for line in text.rstrip().splitlines()]
    if len(lines) <= MAX_LINES:
        return lines
    left_out = f"… and {len(lines) - MAX_LINES + 1} more lines{f' in {log}' if log else ''}"
    return [*lines[: MAX_LINES - 2], left_out, lines[-1]]
