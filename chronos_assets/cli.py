"""The `chronos-assets` command: what it reads from its arguments and prints. What it does is done elsewhere."""

from __future__ import annotations

import argparse
import getpass
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.notices import one_line
from chronos_assets.platforms.store import StoreError
from chronos_assets.settings import Settings, SettingsError

if TYPE_CHECKING:
    from chronos_assets.defs.main_job import MainJobResult
    from chronos_assets.pipeline.group import Group
    from chronos_assets.platforms.registry import PackageVersion
    from chronos_assets.platforms.store import Store

STORES = Path("stores")
CONFIG = Path("dagster.yaml")


class UsageError(ChronosAssetsError):
    """The command can't do what was asked; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0, or 1 with the reason on standard error."""
    options = _parser().parse_args(arguments)
    # A notice's log line would repeat what the command itself prints.
    logging.getLogger("chronos_assets").addHandler(logging.NullHandler())
    try:
        return int(options.command(options) or 0)
    except (UsageError, SettingsError, StoreError) as error:
        print(f"chronos-assets: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # No space, no permission, a file where a folder should be: the system's word and the path say it all.
        place = error.filename2 or error.filename
        print(f"chronos-assets: {f'{place}: ' if place else ''}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("chronos-assets: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chronos-assets", description="Published quantile forecasts from train files."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser(
        "run", help="import what is new, tune a model if one is due, forecast, score a backtest, publish, serve"
    )
    run.add_argument("--data", type=Path, help="folder with params.json and train/; it is only read")
    run.add_argument("--backtest-windows", type=int, default=7, metavar="N", help="as-of windows to score (default 7)")
    run.add_argument("--no-training", action="store_true", help="leave the model as it is, even if a training is due")
    run.set_defaults(command=_run)

    ui = commands.add_parser("ui", help="the Dagster UI with sensors on, on the same store")
    ui.add_argument("--data", type=Path, help="the folder that `run` was given")
    ui.add_argument("--port", type=int, default=3000)
    ui.set_defaults(command=_ui)

    query = commands.add_parser("query", help="the current forecast of one item")
    query.add_argument("item_id")
    query.add_argument("--data", type=Path, help="the folder that `run` was given")
    query.add_argument(
        "--dimension", action="append", default=[], metavar="NAME=VALUE", help="filter by a forecast dimension"
    )
    query.add_argument("--start", help="first timestamp, ISO 8601")
    query.add_argument("--end", help="last timestamp, ISO 8601")
    query.add_argument("--format", choices=("table", "json"), default="table")
    query.set_defaults(command=_query)

    model = commands.add_parser("model", help="versions of the tuned model: list, approve, reject, roll-back")
    model.add_argument("action", choices=("list", "approve", "reject", "roll-back"))
    model.add_argument("version", type=int, nargs="?", help="number of the version to approve or reject (the newest)")
    model.add_argument("--reason", default="", help="for the version's history")
    model.add_argument("--data", type=Path, help="the folder that `run` was given")
    model.set_defaults(command=_model)

    endpoint = commands.add_parser("endpoint", help="the HTTP endpoint of the version in use: status, deploy, stop")
    endpoint.add_argument("action", choices=("status", "deploy", "stop"))
    endpoint.add_argument("--data", type=Path, help="the folder that `run` was given")
    endpoint.set_defaults(command=_endpoint)

    july = commands.add_parser("sample-july", help="the month after the built-in sample, to drop into train/")
    july.add_argument("path", type=Path)
    july.set_defaults(command=_sample_july)

    validate = commands.add_parser("validate", help="everything wrong with a params.json, at once")
    validate.add_argument("path", type=Path)
    validate.set_defaults(command=_validate)

    doctor = commands.add_parser("doctor", help="what stands in the way of a run, before anything is launched")
    doctor.add_argument("--data", type=Path, help="the folder that `run` was given")
    doctor.set_defaults(command=_doctor)

    pipeline = commands.add_parser(
        "sagemaker-pipeline", help="the training line as a SageMaker Pipelines definition, for runs without Dagster"
    )
    pipeline.add_argument("--upsert", action="store_true", help="make the pipeline, or bring it up to date")
    pipeline.add_argument("--name", default="", help="of the pipeline (made from the model package group's)")
    pipeline.add_argument("--base-model", default="", help="to tune (the first of the parameters' base models)")
    pipeline.set_defaults(command=_sagemaker_pipeline)
    return parser


def settings_for(data: Path | None, env: dict[str, str] | None = None) -> Settings:
    """The environment's settings; a data folder gets a store of its own unless `CHRONOS_STORE` names one."""
    values = dict(os.environ) if env is None else env
    settings = Settings.from_env(values)
    if data is not None and not values.get("CHRONOS_STORE"):
        folder = data.resolve()
        slug = re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-") or "data"
        settings = replace(
            settings, store=str(STORES / f"{slug}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}")
        )
    return settings


def dagster_home(settings: Settings) -> Path:
    """Folder of the Dagster instance: `DAGSTER_HOME`, else inside a local store, else beside the user.

    Raises:
        UsageError: Dagster's SQLite storage would take the path for another one.
    """
    from chronos_assets.platforms.local.store import store_folder

    store = store_folder(settings.store)
    home = Path(settings.dagster_home).expanduser() if settings.dagster_home else (store or Path()) / ".dagster"
    # Dagster puts the path into a URL as it is.
    if found := re.search(r"\?|%[0-9A-Fa-f]{2}", str(home.absolute())):
        raise UsageError(
            f"{home.absolute()}: Dagster can't keep its database in a path with {found[0]!r}: "
            "choose another store (CHRONOS_STORE), or set DAGSTER_HOME to a folder without it"
        )
    return home


def _group(settings: Settings) -> Group:
    from chronos_assets.pipeline.group import Group

    return Group(settings)


def _run(options: argparse.Namespace) -> int:
    import dagster as dg

    from chronos_assets.definitions import group_definitions
    from chronos_assets.defs.main_job import MainJobError, end_dead_runs, open_instance, run_main_job

    # Dagster says of parts of its own Pipes that they are in preview; that is nothing a user can act on.
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    if options.backtest_windows < 0:
        raise UsageError("--backtest-windows must not be negative")
    settings = settings_for(options.data)
    home = dagster_home(settings)
    group = _group(settings)
    if options.data is not None:
        copy_data(options.data, group)
    elif not any(group.store.list("train")):
        from chronos_assets.timeseries.dataset.sample import write_sample

        print(f"{group.store.url} has no train files: writing the sample (10 electricity clients, hourly, one year)")
        with tempfile.TemporaryDirectory() as folder:
            write_sample(Path(folder))
            copy_data(Path(folder), group)
    with open_instance(home, CONFIG) as instance:
        for run_id in end_dead_runs(instance):
            print(f"run {run_id} had died; marked as failed")
        try:
            result = run_main_job(
                group,
                group_definitions(group),
                instance,
                backtest_windows=options.backtest_windows,
                train=not options.no_training,
            )
        except MainJobError as error:
            raise UsageError(str(error)) from error
    if not result.runs:
        print("Nothing new: train files, parameters and model are those of the last run. No work was done.")
    _print_summary(group, result, options.data)
    if result.training_failure:
        raise UsageError(f"the forecast is published, but the training failed: {result.training_failure}")
    return 0


def copy_data(data: Path, group: Group) -> None:
    """Copy `params.json` and the files of `train/` into the store, those that are new or changed.

    Times are kept where the store can keep them: of two files with the same timestamps, the newer one's rows win.
    """
    from chronos_assets.platforms.local.store import store_folder

    train = data / "train"
    if not train.is_dir():
        raise UsageError(f"{data} has no folder train/: put the *.csv, *.csv.gz or *.parquet files there")
    sources = [path for path in train.rglob("*") if path.is_file() and not path.name.startswith(".")]
    # Of two files with the same timestamps the later one's rows win: where times can't be kept, their order can.
    sources.sort(key=lambda path: (path.stat().st_mtime_ns, path))
    if (data / "params.json").is_file():
        sources.append(data / "params.json")
    remote = store_folder(group.store.url) is None
    for source in sources:
        key = source.relative_to(data).as_posix()
        if remote:
            _upload(source, group.store, key)
        else:
            _copy_file(source, group.store.local_path(key))


def _upload(source: Path, store: Store, key: str) -> None:
    """Put a file that is new or changed: of another size, or written after the object was."""
    there, status = store.head(key), source.stat()
    if there is None or there.size != status.st_size or there.last_modified.timestamp() < status.st_mtime:
        store.put_file(key, source)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file with its time; `target` is the old one or the whole new one, also while another run does the same."""
    if _same_file(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".copy-", suffix=".partial", dir=target.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        shutil.copy2(source, partial)
        partial.chmod(0o644)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _same_file(source: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    one, other = source.stat(), target.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _print_summary(group: Group, result: MainJobResult, data: Path | None) -> None:
    from chronos_assets.pipeline import staging
    from chronos_assets.pipeline.forecasts import forecast_manifest
    from chronos_assets.store_layout import FORECAST_KEY

    manifest = forecast_manifest(group, result.window.key)
    if not manifest["series"]:
        raise UsageError(_nothing_forecast(group, manifest, result.window.key))
    flag = f" DATA={shlex.quote(str(data))}" if data is not None else ""
    option = f" --data {shlex.quote(str(data))}" if data is not None else ""
    rows = [
        ("forecast", staging.place(group, f"{FORECAST_KEY}/forecast.csv")),
        ("", staging.place(group, f"{FORECAST_KEY}/forecast.parquet")),
        ("SQL tables", group.tables.place(group.store)),
        ("as of", f"{manifest['context_end']} (partition {result.window.key})"),
        ("series, steps", f"{manifest['series']:,} series × {manifest['horizon']} steps"),
    ]
    if manifest["skipped_count"]:
        reasons = "; ".join(f"{number:,} {reason}" for reason, number in manifest["skipped_reasons"].items())
        rows.append(("not forecast", reasons))
    rows += [
        ("model", f"{manifest['model']['reference']} ({manifest['model']['parameters']:,} parameters)"),
        *backtest_rows(group, result),
        *training_rows(group, result),
        ("what next", f"make ui{flag}, then open http://127.0.0.1:3000"),
        (
            "",
            f"chronos-assets query{option} {_first_item(group.store.snapshot(FORECAST_KEY) / 'forecast.parquet')}",
        ),
    ]
    print("\nForecast published\n")
    # Not wrapped: a path is there to be copied.
    for label, text in rows:
        print(f"  {label:<14} {text}")


def _nothing_forecast(group: Group, manifest: dict[str, Any], key: str) -> str:

    reasons = "; ".join(f"{number:,} {reason}" for reason, number in manifest["skipped_reasons"].items())
    last = GroupState(group).require_manifest().last
    return (
        f"no series could be forecast as of {key} ({reasons or 'none has begun'}); what was published before stays. "
        f"The train files end at {last}: is that right, and are the values?"
    )


def backtest_rows(group: Group, result: MainJobResult) -> list[tuple[str, str]]:
    """Mean wQL and MASE over the backtest windows beside seasonal naive, as rows of the summary."""
    import pyarrow.parquet as pq

    from chronos_assets.pipeline.forecasts import forecast_manifest
    from chronos_assets.store_layout import accuracy_key

    if not result.backtest:
        return [("backtest", "none: no earlier partition has a horizon that is observed")]
    scores: dict[str, list[tuple[float, float]]] = {"wql": [], "mase": []}
    for window in result.backtest:
        path = group.store.snapshot(accuracy_key(window.key)) / "metrics.parquet"
        for row in pq.read_table(path, filters=[("level", "=", "all")]).to_pylist():
            if row["metric"] in scores and row["value"] is not None and row["seasonal_naive"] is not None:
                scores[row["metric"]].append((row["value"], row["seasonal_naive"]))
    rows = [("backtest", f"{len(result.backtest)} as-of windows, {result.backtest[0].key} … {result.backtest[-1].key}")]
    for name, label in (("wql", "wQL"), ("mase", "MASE")):
        pairs = scores[name]
        if not pairs:
            rows.append((f"  {label}", "undefined for this data"))
            continue
        ours, naive = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        share = f"   ({ours / naive:.2f} of it)" if naive > 0 else ""
        rows.append((f"  {label}", f"{ours:.4f}   seasonal naive {naive:.4f}{share}"))
    flattered = sum(forecast_manifest(group, window.key)["trained_on_later_data"] for window in result.backtest)
    if flattered:
        rows.append(
            ("", f"{flattered} of these windows were forecast by a model that was trained or chosen on later data")
        )
    return rows


def training_rows(group: Group, result: MainJobResult) -> list[tuple[str, str]]:
    """The last search, what the gate said, the version in use and the endpoint, as rows of the summary."""
    from chronos_assets.pipeline import training

    if result.training_failure:
        return [("training", f"FAILED: {one_line(result.training_failure)}")]
    state = GroupState(group)
    tuned, registered = training.read_tuned(group), state.versions
    if tuned is None or not registered:
        return [("training", result.training)]
    best, newest = tuned["candidates"][tuned["best"]], registered[-1]
    trials = [trial for candidate in tuned["candidates"] for trial in candidate["trials"]]
    chosen = ", ".join(f"{key} {_short(value)}" for key, value in best["chosen"].items())
    model = state.model_in_use
    rows = [
        ("trials", f"{len(trials)}; best: {chosen or 'as given'}, validation wQL {best['objective']:.4f}"),
        ("gate", _gate(newest)),
        ("version", model.label if model.key else f"{model.label}, {model.note}"),
    ]
    return [*rows, *_endpoint_rows(group)]


def _gate(version: PackageVersion) -> str:
    """The verdict, and the wQL of everything that was held against each other."""
    from chronos_assets.timeseries.scoring.gate import TITLES

    gate = version.document.get("gate")
    if gate is None:  # registered by another program
        return f"{version.status}: {version.reason}"
    candidate, *others = gate["rows"]
    told = ", ".join(f"{TITLES[row['model']]} {_number(row['wql'])}" for row in others)
    return f"{version.status}: test wQL {_number(candidate['wql'])}; {told}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _endpoint_rows(group: Group) -> list[tuple[str, str]]:
    from chronos_assets.pipeline import serving
    from chronos_assets.platforms.endpoints import EndpointError

    setup = GroupState(group).setup
    try:
        state = group.endpoints.describe(serving.endpoint_name(GroupState(group)))
    except EndpointError as error:
        return [("endpoint", str(error))]
    if state is None:
        return [("endpoint", "none")]
    if not state.healthy:
        return [("endpoint", f"{state.url} does not answer: chronos-assets endpoint deploy")]
    request = serving.golden_request(GroupState(group), setup)
    try:
        prediction = group.endpoints.invoke(state.name, request)["predictions"][0]
    except EndpointError as error:
        return [("endpoint", f"{state.url} gave no answer: {error}")]
    values = ", ".join(f"{value:.4g}" for value in prediction["mean"][:4])
    return [
        ("endpoint", f"{state.url}/invocations ({state.version})"),
        ("  sample", f"{request['inputs'][0]['item_id']}: mean {values} …"),
    ]


def _first_item(path: Path) -> str:
    import pyarrow.parquet as pq

    batch = next(pq.ParquetFile(path).iter_batches(batch_size=1, columns=["item_id"]), None)
    return shlex.quote(batch.column(0)[0].as_py()) if batch is not None and batch.num_rows else "<item_id>"


def _ui(options: argparse.Namespace) -> int:
    from chronos_assets.defs.main_job import end_dead_runs, open_instance
    from chronos_assets.platforms.local.store import store_folder

    settings = settings_for(options.data)
    home = dagster_home(settings).resolve()
    store = store_folder(settings.store)
    with open_instance(home, CONFIG) as instance:
        end_dead_runs(instance)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CHRONOS_STORE": settings.store if store is None else str(store.resolve()),
        "CHRONOS_UI_URL": os.environ.get("CHRONOS_UI_URL") or f"http://127.0.0.1:{options.port}",
    }
    source = ["-w", "workspace.yaml"] if Path("workspace.yaml").is_file() else ["-m", "chronos_assets.definitions"]
    program = [sys.executable, "-m", "chronos_assets.defs.ui_server"]
    os.execve(  # noqa: S606 - our own interpreter
        sys.executable, [*program, "dev", *source, "-h", "127.0.0.1", "-p", str(options.port)], environment
    )


def _query(options: argparse.Namespace) -> int:
    from chronos_assets.timeseries.forecast.query import QueryError, render_table

    group = _group(settings_for(options.data))
    dimensions = _dimensions(options.dimension)
    start, end = _moment("--start", options.start), _moment("--end", options.end)
    try:
        answer = group.tables.query(group.store, options.item_id, dimensions=dimensions, start=start, end=end)
    except FileNotFoundError as error:
        raise UsageError(f"no forecast in {group.store.url} yet: run `make run` first") from error
    except QueryError as error:
        raise UsageError(str(error)) from error
    print(json.dumps(answer, indent=2) if options.format == "json" else render_table(answer))
    return 0


def _model(options: argparse.Namespace) -> int:
    import dagster as dg

    from chronos_assets.pipeline import serving

    if options.version is not None and options.action not in ("approve", "reject"):
        raise UsageError(f"model {options.action} takes no version: see `chronos-assets model list`")
    group = _group(settings_for(options.data))
    try:
        if options.action != "list":
            by = f"{getpass.getuser()} (command line)"
            action = options.action.replace("-", "_")
            serving.decide_version(
                GroupState(group), action, options.version, by=by, reason=options.reason, log=_Printer()
            )
        _print_versions(group)
    except dg.Failure as error:
        raise UsageError(str(error)) from error
    return 0


def _print_versions(group: Group) -> None:
    from chronos_assets.pipeline import training

    state = GroupState(group)
    name, registered = training.package_group(state), state.versions
    if not registered:
        print(f"no version of {name} is registered yet: `make run` trains one")
        return
    in_use = state.version_in_use
    for item in registered:
        mark = "*" if in_use is not None and item.version == in_use.version else " "
        wql = item.document["metrics"].get("wql")
        score = "" if wql is None else f"wQL {wql:.4f}  "
        print(f"{mark} {item.version:>3}  {item.status:<22} {item.document['created']}  {score}{item.reason}")
    print("* in use" if in_use is not None else "none is in use: the zero-shot base model forecasts")


def _endpoint(options: argparse.Namespace) -> int:
    import dagster as dg

    from chronos_assets.pipeline import serving
    from chronos_assets.platforms.endpoints import EndpointError

    group = _group(settings_for(options.data))
    try:
        name = serving.endpoint_name(GroupState(group))
        if options.action == "deploy":
            serving.deploy(GroupState(group), _Printer())
        elif options.action == "stop":
            print(f"endpoint {name} stopped" if group.endpoints.delete(name) else f"no endpoint {name} is up")
            return 0
        for label, text in _endpoint_rows(group):
            print(f"{label:<10} {text}")
    except (dg.Failure, EndpointError) as error:
        raise UsageError(str(error)) from error
    return 0


class _Printer:
    """A log for what runs outside of Dagster."""

    def info(self, message: str) -> None:
        print(message)

    def warning(self, message: str) -> None:
        print(message, file=sys.stderr)


def _doctor(options: argparse.Namespace) -> int:
    from chronos_assets.platforms.checkup import any_failed, render

    settings = settings_for(options.data)
    if settings.deployment == "aws":
        from chronos_assets.platforms.aws import doctor as aws_doctor
        from chronos_assets.platforms.aws.clients import clients_of

        findings = aws_doctor.examine(settings, clients_of(settings))
    else:
        from chronos_assets.platforms.local import doctor as local_doctor

        findings = local_doctor.examine(settings)
    print(render(findings))
    return int(any_failed(findings))


def _sagemaker_pipeline(options: argparse.Namespace) -> int:
    import dagster as dg

    from chronos_assets.pipeline.sagemaker_pipeline import training_pipeline
    from chronos_assets.platforms.aws.pipeline_definition import PipelineError

    settings = settings_for(None)
    if settings.deployment != "aws":
        raise UsageError("a pipeline runs on AWS: set CHRONOS_DEPLOYMENT=aws, and CHRONOS_STORE to s3://bucket/prefix")
    try:
        pipeline = training_pipeline(GroupState(_group(settings)), base_model=options.base_model, name=options.name)
        print(pipeline.upsert() if options.upsert else pipeline.definition())
    except (dg.Failure, PipelineError) as error:
        raise UsageError(str(error)) from error
    return 0


def _moment(option: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: write it as 2014-11-30 or 2014-11-30T12:00:00") from error


def _dimensions(pairs: Sequence[str]) -> dict[str, str]:
    named = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--dimension {pair}: write NAME=VALUE")
        named[name] = value
    return named


def _sample_july(options: argparse.Namespace) -> int:
    from chronos_assets.timeseries.dataset.sample import write_july

    if not options.path.parent.is_dir():
        raise UsageError(f"{options.path.parent} is not a folder: give a path in the store's train/")
    write_july(options.path)
    print(f"{options.path} written")
    return 0


def _validate(options: argparse.Namespace) -> int:
    from chronos_assets.params.forecast import ParamsError
    from chronos_assets.params.reader import load_params

    try:
        params = load_params(options.path.read_bytes(), source=str(options.path))
    except OSError as error:
        raise UsageError(f"{options.path}: {error.strerror}") from error
    except ParamsError as error:
        raise UsageError(str(error)) from error
    quantiles = ", ".join(f"{level:g}" for level in params.quantiles) or "none"
    print(f"{options.path} is valid: {params.horizon} periods of {params.frequency}, quantiles {quantiles}")
    for note in params.notes:
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
