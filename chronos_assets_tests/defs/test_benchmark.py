"""`zero_shot_benchmark` through Dagster: killed in the middle, continued, its files and what the UI shows."""

from __future__ import annotations

import base64
import csv
import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from chronos_assets.benchmark import models as benchmark_models
from chronos_assets.benchmark.models import local_contenders
from chronos_assets.defs.assets.benchmark import benchmark_assets
from chronos_assets.pipeline import benchmark
from chronos_assets.pipeline.benchmark import find_contenders
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.local.publishing import publish_directory
from chronos_assets.settings import Settings
from chronos_assets.store_layout import MEASURED_KEY
from chronos_assets_tests import forks
from chronos_assets_tests.defs.line import failure_reason
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.timeseries.benchmark_folder import noisy_season, write_published, write_set

SETS = ("m4_hourly", "monash_hospital")

# Imports no torch itself, as a run of the asset does not.
RUN = """
import sys
import dagster as dg
from chronos_assets.defs.assets.benchmark import benchmark_assets
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.local.publishing import publish_directory
from chronos_assets.settings import Settings
from chronos_assets.benchmark import models as benchmark_models
from chronos_assets_tests.forks.killed import kill_at
naive = benchmark_models.local_contenders(optional=False)
benchmark_models.local_contenders = lambda: naive
root, model = sys.argv[1:]
kill_at("chronos_assets.pipeline.benchmark:_measure_set", 2)
group = Group(Settings(store=root + "/store", benchmark_data=root + "/sets", base_model=model))
with dg.DagsterInstance.ephemeral() as instance:
    dg.materialize(benchmark_assets(group), instance=instance)
"""


def write_sets(folder: Path) -> Path:
    write_set(folder, "monash_hospital", noisy_season(12, 60))
    write_set(folder, "m4_hourly", noisy_season(4, 240, season=24), "h")
    scores = {"monash_hospital": (0.2, 2.0), "nn5": (1.0, 1.0)}
    halves = {name: (wql / 2, mase / 4) for name, (wql, mase) in scores.items()}
    write_published(folder, {"seasonal-naive": scores, "chronos-bolt-tiny": halves})
    return folder


def group_of(root: Path | str, **settings: Any) -> Group:
    """A group whose base model is a tiny one, on the sets in `root`."""
    data = {"benchmark_data": str(Path(root) / "sets"), "base_model": str(folder_of("bolt"))} | settings
    return Group(Settings(store=str(Path(root) / "store"), **data))


def materialize(group: Group, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    # The optional libraries are the workload tests' matter, and take seconds to import.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_models, "local_contenders", lambda: local_contenders(optional=False))
        return dg.materialize(benchmark_assets(group), instance=instance, raise_on_error=False)


def kept(root: Path) -> dict[str, tuple[int, int]]:
    """The results that are kept, with what changes when one is rebuilt."""
    folder = root / "store" / MEASURED_KEY
    files = folder.glob("*.json") if folder.is_dir() else ()
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


@dataclass
class Resumed:
    root: Path
    before: dict[str, tuple[int, int]]
    result: dg.ExecuteInProcessResult
    log: list[str]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resumed]:
    """A benchmark killed after its first set, and run again."""
    root = tmp_path_factory.mktemp("benchmark")
    write_sets(root / "sets")
    command = (forks.CODE, RUN, str(root), str(folder_of("bolt")))
    killed = forks.run(*command, folder=root, environment=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = kept(root)
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(group_of(root), instance)
        yield Resumed(root, before, result, [record.user_message for record in instance.all_logs(result.run_id)])


def materialization(result: dg.ExecuteInProcessResult) -> dg.AssetMaterialization:
    (event,) = result.get_asset_materialization_events()
    return event.step_materialization_data.materialization


def rows(metadata: Any, name: str) -> list[dict[str, Any]]:
    return [dict(record.data) for record in metadata[name].records]


def test_a_killed_benchmark_goes_on_with_the_next_set(resumed: Resumed) -> None:
    assert resumed.result.success
    models = 3  # the tiny one, the bundled one, seasonal naive
    assert len(resumed.before) == models
    after = kept(resumed.root)
    assert len(after) == models * len(SETS)
    assert {name: after[name] for name in resumed.before} == resumed.before
    assert materialization(resumed.result).metadata["kept_results"].value == len(resumed.before)
    assert not any("m4_hourly: 3 models" in line for line in resumed.log)
    assert any("monash_hospital: 3 models to measure" in line for line in resumed.log)


def test_the_tables_have_every_model_and_set(resumed: Resumed) -> None:
    metadata = materialization(resumed.result).metadata
    scores = rows(metadata, "scores")
    assert [row["set"] for row in scores] == [name for name in SETS for _ in range(3)]
    naive = [row for row in scores if row["model"] == "Seasonal naive"]
    assert {(row["relative_wql"], row["relative_mase"]) for row in naive} == {(1.0, 1.0)}
    assert {row["benchmark"] for row in scores if row["set"] == "m4_hourly"} == {"in-domain"}

    aggregates = {(row["benchmark"], row["model"]): row for row in rows(metadata, "aggregate")}
    published = aggregates["zero-shot", "chronos-bolt-tiny"]
    assert (published["kind"], published["relative_wql"], published["relative_mase"]) == ("published", 0.5, 0.25)
    assert published["sets"] == 1  # nn5 is not among the sets here
    ours = aggregates["zero-shot", "bundled"]
    assert (ours["kind"], ours["sets"], ours["sampled"]) == ("ours", 1, False)
    assert metadata["bundled_relative_wql"].value == ours["relative_wql"]
    assert metadata["bundled_coverage_80"].value == pytest.approx(ours["coverage_80"])


def test_the_figure_is_in_the_metadata_and_small(resumed: Resumed) -> None:
    markdown = materialization(resumed.result).metadata["figure"].value
    picture = base64.b64decode(markdown.split("base64,")[1].rstrip(")"))
    assert picture.startswith(b"\x89PNG")
    assert 1_000 < len(picture) <= 30_000


def test_the_files_are_published(resumed: Resumed) -> None:
    folder = resumed.root / "store" / "benchmark"
    assert folder.is_symlink()
    assert {path.name for path in folder.iterdir()} == {"results.csv", "aggregate.csv", "figure.png", "figure.svg"}
    with (folder / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3 * len(SETS) + 3  # published: one in the folder, two beside the code
    values = materialization(resumed.result).metadata.values()
    paths = [value.path for value in values if isinstance(value, dg.PathMetadataValue)]
    assert len(paths) == 4
    assert all(path is not None and Path(path).is_file() for path in paths)


def test_a_benchmark_that_is_done_measures_only_a_new_model(
    resumed: Resumed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "copy"  # what other tests look at stays as it is
    shutil.copytree(resumed.root, root, symlinks=True)
    before, version = kept(root), os.readlink(root / "store" / "benchmark")
    jobs: list[dict[str, Any]] = []
    monkeypatch.setattr(
        benchmark, "_measure_set", lambda group, context, name, contenders: jobs.append({name: contenders}) or {}
    )
    with dg.DagsterInstance.ephemeral() as instance:
        again = materialize(group_of(root), instance)
        assert again.success
        assert not jobs
        assert kept(root) == before
        assert os.readlink(root / "store" / "benchmark") == version
        tags = materialization(again).tags or {}
        assert tags["dagster/data_version"] == (materialization(resumed.result).tags or {})["dagster/data_version"]

        damaged = root / "store" / MEASURED_KEY / min(before)
        whole = damaged.read_text()
        damaged.write_text("half of a re")
        materialize(group_of(root), instance)
        assert [len(contenders) for job in jobs for contenders in job.values()] == [1]
        jobs.clear()
        damaged.write_text(whole)

        materialize(group_of(root, benchmark_models=(str(folder_of("chronos2")),)), instance)
        references = {
            contender.reference for job in jobs for contenders in job.values() for contender in contenders.values()
        }
        assert str(folder_of("chronos2")) in references
        assert "" not in references


def test_the_configured_models_are_measured_beside_the_bundled_one(tmp_path: Path) -> None:
    tuned = tmp_path / "store" / "models" / "shop-123"
    shutil.copytree(folder_of("bolt"), tmp_path / "staged")
    publish_directory(tuned, tmp_path / "staged")
    group = group_of(tmp_path, benchmark_models=("bundled", str(tuned), str(folder_of("chronos2"))))
    assert [(item.name, item.kind) for item in find_contenders(group)][:2] == [
        ("bundled", "ours"),
        ("shop-123", "ours"),
    ]
    assert find_contenders(group)[2].kind == "foundation"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"benchmark_data": ""}, r"could not be fetched from the Hugging Face Hub .* set CHRONOS_BENCHMARK_DATA"),
        ({"benchmark_data": "/none"}, "no benchmark data at /none: set CHRONOS_BENCHMARK_DATA to a folder"),
        ({"benchmark_models": ("/none",)}, "model '/none': there is no such folder"),
    ],
)
def test_without_data_or_model_the_run_says_what_to_set(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    write_sets(tmp_path / "sets")
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(group_of(tmp_path, **settings), instance)
    assert not result.success
    assert re.search(reason, failure_reason(result))
    assert not (tmp_path / "store" / "benchmark").exists()


def test_results_of_a_set_are_kept_when_a_later_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sets(tmp_path / "sets")
    monkeypatch.setattr(benchmark, "find_contenders", lambda group: local_contenders(optional=False))
    (tmp_path / "sets" / "monash_hospital.jsonl.gz").write_bytes(b"nonsense")
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(group_of(tmp_path), instance)
    assert not result.success
    assert "monash_hospital.jsonl.gz" in failure_reason(result)
    assert len(kept(tmp_path)) == 1
