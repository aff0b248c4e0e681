"""README and docs are true: commands, variables, options, defaults and paths are the code's, and none is left out."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.defs.main_job import run_main_job
from chronos_assets.params.forecast import ParamsError
from chronos_assets.params.reader import parse_params
from chronos_assets.params.training import TrainingParams
from chronos_assets.platforms.local.warm_workers import WARM_WORKERS
from chronos_assets.settings import IMPORT_JOB_BYTES_ON_AWS, SENSOR_SECONDS_ON_AWS, AwsSettings, Settings
from chronos_assets.store_layout import BENCHMARK_KEY, MODELS_KEY, SYNTHETIC_KEY
from chronos_assets.timeseries.dataset.sample import sample_params, write_sample
from chronos_assets.training.request import TrainRequest
from chronos_assets_tests.commands import options, subcommands
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.defs.line import PARAMS, hourly_rows, make_line
from chronos_assets_tests.defs.test_covariate_line import DATASETS, brands, prices
from chronos_assets_tests.models.tiny import folder_of

DOCS = REPOSITORY / "docs"
README = (REPOSITORY / "README.md").read_text()
PAGES = [README, *((REPOSITORY / name).read_text() for name in ("CONTRIBUTING.md", "benchmarks/README.md"))]
PAGES += [page.read_text() for page in sorted(DOCS.rglob("*.md"))]


def _section(page: str, title: str) -> str:
    """The part of a page of `docs/` below a heading, down to the next heading of any level."""
    text = (DOCS / page).read_text()
    return re.split(r"\n#+ ", re.split(rf"\n#+ {re.escape(title)}\n", text, maxsplit=1)[1], maxsplit=1)[0]


def _rows(text: str) -> Iterator[list[str]]:
    """Cells of the rows of a section's tables whose first cell is code."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _code(cell: str) -> str:
    found = re.match(r"`([^`]*)`", cell)
    return found[1] if found else cell


def test_every_make_target_is_documented_and_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    assert targets == set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    assert set(re.findall(r"\bmake ([a-z-]+)\b(?=[ `\n])", _commands())) == targets


def _commands() -> str:
    """Blocks of commands, and inline code, of all pages."""
    blocks = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]
    return "\n".join([*blocks, *(code for page in PAGES for code in re.findall(r"`[^`\n]+`", page))])


def test_every_subcommand_is_documented_and_exists_with_its_options() -> None:
    used = re.findall(r"chronos-assets ([a-z][a-z-]*)(.*)", _commands())
    commands = subcommands()
    # `make run` and `make ui` call the commands of the same name.
    assert {name for name, _ in used} | {"run", "ui"} == set(commands)
    for name, arguments in used:
        assert set(re.findall(r"--[a-z-]+", arguments)) <= options(commands[name])


def test_every_benchmark_is_documented_and_exists_with_its_options() -> None:
    folder = REPOSITORY / "benchmarks"
    commands = re.findall(r"`python (?:-m )?benchmarks[./](\w+)(?:\.py)?([^`]*)`", (folder / "README.md").read_text())
    assert {name for name, _ in commands} == {path.stem for path in folder.glob("*.py")} - {
        "__main__",
        "processes",
        "proxy_panels",
        "proxy_sets",
    }
    for name, arguments in commands:
        source = (folder / f"{name}.py").read_text()
        assert all(f'add_argument("{option}"' in source for option in re.findall(r"--[a-z-]+", arguments))


def test_the_item_that_is_asked_for_is_one_of_the_sample(tmp_path: Path) -> None:
    write_sample(tmp_path)
    (item,) = set(re.findall(r"chronos-assets query (\w+)", "\n".join(PAGES)))
    (train,) = (tmp_path / "train").iterdir()
    assert f",{item}\n" in train.read_text()
    assert parse_params(sample_params()).item_column == "item_id"


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {_code(name): default for name, default, _ in _rows(_section("settings.md", "Everywhere"))}
    # Warm workers are a matter of the launcher's, which reads the variable itself.
    assert set(documented) - {WARM_WORKERS} == set(
        re.findall(r"`((?:CHRONOS|DAGSTER)_[A-Z_]+)`", Settings.__doc__ or "")
    )
    defaults = {
        WARM_WORKERS: "on",
        "CHRONOS_MAX_UNPACKED": "100 times the file's size, `1GB` at least",
        "CHRONOS_DEPLOYMENT": Settings.deployment,
        "CHRONOS_STORE": Settings.store,
        "CHRONOS_PARTITIONS": Settings.partitions,
        "CHRONOS_PARTITION_START": f"{Settings.partition_start} (daily)",
        "CHRONOS_BASE_MODEL": Settings.base_model,
        "CHRONOS_MEMORY_LIMIT": Settings.memory_limit,
        "CHRONOS_IMPORT_JOB_BYTES": f"none (`{IMPORT_JOB_BYTES_ON_AWS}` on AWS)",
        "CHRONOS_SETTLE_SECONDS": f"{Settings.settle_seconds:g}",
        "CHRONOS_SENSOR_SECONDS": f"{Settings.sensor_interval_seconds} ({SENSOR_SECONDS_ON_AWS} on AWS)",
        "CHRONOS_UI_URL": Settings.ui_url,
        "CHRONOS_OWNERS": ",".join(Settings.owners),
        "CHRONOS_KEY_PREFIX": "/".join(Settings.key_prefix) or "none",
        "CHRONOS_BENCHMARK_DATA": "the Hub",
        "CHRONOS_BENCHMARK_MODELS": "none",
        "CHRONOS_DASHBOARD_DECISIONS": "no",
        "CHRONOS_DASHBOARD_LOGIN": Settings.dashboard_login or "none",
        "DAGSTER_HOME": "<store>/.dagster",
    }
    assert {name: _code(default) for name, default in documented.items()} == defaults


def test_no_variable_is_left_out_or_made_up() -> None:
    documented = set(re.findall(r"CHRONOS_[A-Z]+(?:_[A-Z]+)*", "".join(PAGES)))
    read = {
        name
        for path in (REPOSITORY / "chronos_assets").rglob("*.py")
        for name in re.findall(r"CHRONOS_[A-Z]+(?:_[A-Z]+)*", path.read_text())
    }
    # Between a launcher and its workload: nothing for a user to set. Tests read where the samples are.
    internal = {name for name in read | documented if name.startswith("CHRONOS_ML_")} | {"CHRONOS_SHARED_DATA"}
    assert documented - internal == read - internal


def test_every_setting_of_a_deployment_on_aws_is_documented_with_its_default() -> None:
    rows = [row for row in _rows(_section("aws.md", "Settings")) if row[0].startswith(("`CHRONOS_", "`AWS_"))]
    documented = {_code(name): _code(default) for name, _, default, _ in rows}
    variables = dict(re.findall(r"^ +(\w+): `((?:CHRONOS|AWS)_[A-Z_]+)`", AwsSettings.__doc__ or "", re.M))
    defaults = {field.name: getattr(AwsSettings(), field.name) for field in fields(AwsSettings)}
    assert variables.keys() == defaults.keys()
    assert documented.keys() >= set(variables.values())
    named = {name: value for name, value in defaults.items() if value and not isinstance(value, bool)}
    assert {name: documented[variables[name]] for name in named} == {name: str(value) for name, value in named.items()}


def test_every_option_of_our_own_in_params_json_is_documented() -> None:
    documented = {_code(name) for name, _, _ in _rows(_section("params.md", "Chronos"))} - {"Chronos."}
    # Notes for people, which may hold anything.
    checked = documented - {"Guessed", "Draft"}
    document = {**PARAMS, "Chronos": {name: [] for name in (*checked, "Nonsense")}}
    with pytest.raises(ParamsError) as error:
        parse_params(document)
    problems = [str(problem) for problem in error.value.problems]
    assert len(problems) == len(checked) + 1
    (unknown,) = [problem for problem in problems if "is unknown" in problem]
    said, _, listed = unknown.partition(", or write one of ")
    assert said == "Chronos.Nonsense = []: this key is unknown; remove it"
    assert set(listed.split(", ")) == documented


def test_every_option_of_the_training_is_documented() -> None:
    documented = [
        name for row in _rows(_section("params.md", "Chronos.Training")) for name in re.findall(r"`([^`]*)`", row[0])
    ]
    assert documented[0] == "Chronos.Training."
    # `max_age` is the key `MaxAge`.
    there = {field.name.title().replace("_", "") for field in fields(TrainingParams)}
    assert set(documented[1:]) == there
    default = TrainingParams()
    page = (DOCS / "params.md").read_text()
    for name, value in (("MaxAge", default.max_age), ("SyntheticShare", default.synthetic_share)):
        assert f"| `{name}` | {value:g} |" in page
    jobs = (default.max_jobs, default.max_parallel_jobs, default.random_seed)
    assert f"| {', '.join(map(str, jobs))} | trials in all" in page


def test_every_fixed_default_of_a_hyperparameter_is_documented() -> None:
    documented = {_code(row[0]): _code(row[1]) for row in _rows(_section("params.md", "Hyperparameters"))}
    defaults = {field.name: field.default for field in fields(TrainRequest)}
    fixed = {
        name: value for name, value in defaults.items() if isinstance(value, int | float | str) and name in documented
    }
    assert len(fixed) >= 11
    assert {name: documented[name] for name in fixed} == {
        name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in fixed.items()
    }


def test_the_store_has_the_paths_that_are_documented_and_no_others(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(tmp_path, instance, model=str(folder_of("bolt")), days=4)
        chronos = {"BadRows": "quarantine", **PARAMS["Chronos"]}
        line.put(
            "params.json", json.dumps({**PARAMS, "Datasets": [*PARAMS["Datasets"], *DATASETS], "Chronos": chronos})
        )
        line.put("related/prices.csv", prices(5))
        line.put("item_metadata/items.csv", brands())
        line.put("train/late.csv", "\n".join([*hourly_rows(1), "2024-01-02 00:00:00,oops,client_a"]) + "\n")
        run_main_job(line.launcher, backtest_windows=1)
    documented = re.findall(r"^(\S+)", _section("operations.md", "The store").split("```")[1], re.MULTILINE)
    # Of training, benchmark, scenarios, explanations and sums, which this run is spared; their own tests look for these.
    spared = (SYNTHETIC_KEY, MODELS_KEY, "packages", BENCHMARK_KEY, "what_if_forecasts", "explanations", "levels")
    elsewhere = [path for path in documented if path.startswith(spared)]
    assert len(elsewhere) == 8
    documented = [path for path in documented if path not in elsewhere]
    for path in documented:
        pattern = path.replace("<key>", "*").rstrip("/")
        assert list(tmp_path.glob(pattern)), f"{path} is in the docs, but no run writes it"
    shown = {path.split("/")[0] for path in documented}
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == shown
