"""An import as a job: it leaves what an import in this process leaves, and nothing of files that changed meanwhile."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.covariate_imports import CovariateImport, import_covariates
from chronos_assets.pipeline.covariate_kinds import KINDS
from chronos_assets.pipeline.dataset_import import import_dataset, plan_import
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.imports import job_request
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.folder_files import folder_digest
from chronos_assets.platforms.jobs import JobRequest, JobResult
from chronos_assets.platforms.local.store import open_store
from chronos_assets.settings import Settings
from chronos_assets.store_layout import DATASET_KEY, IMPORT_MEMORY_KEY, METADATA_KEY, RELATED_KEY
from chronos_assets.timeseries.import_task import TRAIN
from chronos_assets_tests.defs.line import FIRST, PARAMS, hourly_rows
from chronos_assets_tests.defs.quick_jobs import QuickJobs
from chronos_assets_tests.defs.test_covariate_line import brands, declared, prices

FOLDERS = (DATASET_KEY, RELATED_KEY, METADATA_KEY)
LOG = logging.getLogger(__name__)
CONTEXT = SimpleNamespace(log=LOG)


class MeddlingJobs(QuickJobs):
    """Jobs during which something else happens."""

    during: Callable[[], object] = staticmethod(lambda: None)
    wrote: frozenset[str] = frozenset()

    def run(self, context: Any, request: JobRequest) -> JobResult:
        made = super().run(context, request)
        self.wrote = frozenset(
            path.name for key in made.stored.values() for path in self._store.local_path(key).iterdir()
        )
        self.during()
        return made


def group(root: Path, limit: int | None, **chronos: Any) -> Group:
    store = open_store(root)
    made = Group(Settings(store=str(root), import_job_bytes=limit), {"store": store, "jobs": MeddlingJobs(store)})
    made.store.put("params.json", json.dumps({**PARAMS, "Chronos": {**PARAMS["Chronos"], **chronos}}).encode())
    return made


def put_days(group: Group, name: str, after: int, days: int, *more: str) -> None:
    rows = [*hourly_rows(days, first=FIRST + timedelta(days=after)), *more]
    group.store.put(f"train/{name}.csv", "\n".join(rows).encode())


def left(group: Group) -> dict[str, str]:
    """Everything that imports publish but the notes for the next one, which have the times of the files."""
    shown = {key: group.store.snapshot(key) for key in FOLDERS if group.store.shown(key)}
    rejected = {info.key: group.store.get(info.key).decode() for info in group.store.list("rejected")}
    return {key: folder_digest(folder) for key, folder in shown.items()} | rejected


def group_with_covariates(root: Path, limit: int | None) -> Group:
    """Prices in a file and in a column of the train file, brands in a file; one row of each is bad."""
    made = group(root, limit)
    document = json.loads(declared(BadRows="quarantine", Related=["visits"]))
    target = document["Datasets"][0]["Schema"]["Attributes"]
    target.append({"AttributeName": "visits", "AttributeType": "integer"})
    made.store.put("params.json", json.dumps(document).encode())
    put_days(made, "june", 0, 4)
    rows = made.store.get("train/june.csv").decode().splitlines()
    made.store.put("train/june.csv", "\n".join(f"{row},{place % 7}" for place, row in enumerate(rows)).encode())
    made.store.put("related/prices.csv", f"{prices(5)}client_a,2024-01-01 00:00:00,cheap\n".encode())
    made.store.put("item_metadata/items.csv", f"{brands()},none\n".encode())
    import_dataset(GroupState(made), CONTEXT)
    return made


def import_beside(group: Group) -> list[CovariateImport]:
    return [import_covariates(GroupState(group), kind, CONTEXT) for kind in KINDS]


def requested(group: Group) -> JobRequest:
    plan = plan_import(GroupState(group), LOG)
    return job_request(group, plan, plan.files)


def said(caplog: pytest.LogCaptureFixture, group: Group) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, LOG.name):
        import_dataset(GroupState(group), CONTEXT)
    # How far it is, is said every few seconds: of a slow machine only.
    lines = [line for line in caplog.messages if not line.endswith("%")]
    return [line.partition(", more than CHRONOS_IMPORT_JOB_BYTES")[0] for line in lines]


@pytest.mark.process
def test_a_job_leaves_what_an_import_in_this_process_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here, there = (group(tmp_path / name, limit, BadRows="quarantine") for name, limit in (("here", None), ("job", 0)))
    # The first file is the largest, so that the later ones are imported as changes; the last one is about days of the first.
    for name, after, days in (("june", 0, 4), ("today", 4, 1), ("tomorrow", 5, 1), ("again", 0, 1)):
        lines = []
        for each in (here, there):
            put_days(each, name, after, days, "no time,1,=client_a")
            lines.append(said(caplog, each))
        assert lines[0] == [line for line in lines[1] if "won't do" not in line]
        assert left(here) == left(there)
        if name == "tomorrow":
            assert "1 of 3 files read, 2 unchanged; 1 of 1 shards rewritten, 0 kept" in lines[1]
    assert set(left(there)) == {
        DATASET_KEY,
        *(f"rejected/{name}.csv" for name in ("june", "today", "tomorrow", "again")),
    }
    assert here.jobs.requests == []  # type: ignore[attr-defined]
    given = [[info.key[6:-4] for info in request.objects["train"]] for request in there.jobs.requests]  # type: ignore[attr-defined]
    assert given == [["june"], ["today"], ["tomorrow"], ["again"], ["again", "june", "today", "tomorrow"]]
    # Nothing has changed: nothing is read.
    before = left(there)
    assert "0 of 4 files read, 4 unchanged; 0 of 1 shards rewritten, 1 kept" in said(caplog, there)
    assert TRAIN not in there.jobs.requests[-1].objects  # type: ignore[attr-defined]
    assert there.jobs.wrote == {"_manifest.json"}  # type: ignore[attr-defined]
    assert left(there) == before
    assert not any(there.store.local_path(".jobs").iterdir())


def test_a_file_that_changes_under_the_job_is_not_published(tmp_path: Path) -> None:
    made = group(tmp_path, 0)
    put_days(made, "june", 0, 2)
    made.jobs.during = lambda: put_days(made, "june", 0, 3)  # type: ignore[attr-defined]
    with pytest.raises(ChronosAssetsError, match=r"train/june\.csv changed while the job .* nothing was published"):
        import_dataset(GroupState(made), CONTEXT)
    assert made.store.shown(DATASET_KEY) is None
    assert not made.store.exists(IMPORT_MEMORY_KEY)
    # A new file is no reason: the next import reads it.
    made.jobs.during = lambda: put_days(made, "july", 30, 1)  # type: ignore[attr-defined]
    assert import_dataset(GroupState(made), CONTEXT).manifest.files == {"train/june.csv": 216}


@pytest.mark.process
def test_a_job_leaves_the_covariates_that_an_import_in_this_process_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chronos_assets.pipeline.dataset_import.least_shards", lambda _group: 3)
    here, there = (group_with_covariates(tmp_path / str(limit), limit) for limit in (None, 0))
    told = [[(made.manifest, made.notes) for made in import_beside(each)] for each in (here, there)]
    assert told[0] == told[1]
    assert left(here) == left(there)
    assert len(left(there)) == len(FOLDERS) + 2
    related, _ = (made.manifest for made in import_beside(there))
    assert [each.name for each in related.attributes] == ["price", "visits"]
    (_, first, second, *_) = there.jobs.requests  # type: ignore[attr-defined]
    assert [info.key for info in first.objects[TRAIN]] == ["related/prices.csv", "train/june.csv"]
    assert [info.key for info in second.objects[TRAIN]] == ["item_metadata/items.csv"]
    # Of what has changed a job is given the new file alone, and leaves the same.
    for each in (here, there):
        each.store.put(
            "related/next.csv", f"item_id,timestamp,price\nclient_a,{FIRST + timedelta(days=5)},9\n".encode()
        )
    told = [[made.facts.get("what_was_read") for made in import_beside(each)] for each in (here, there)]
    assert told[0] == told[1]
    assert str(told[0][0]).startswith("1 of 3 files read, 2 unchanged; 0 of ")
    assert left(here) == left(there)
    assert [info.key for info in there.jobs.requests[-2].objects[TRAIN]] == ["related/next.csv"]  # type: ignore[attr-defined]
    # A file that changes meanwhile, a killed run, and a row that can't be imported: what was there stays.
    before = left(there)
    there.store.put("related/prices.csv", prices(5, value=3.0).encode())
    changed = partial(there.store.put, "related/prices.csv", prices(5, value=2.0).encode())
    there.jobs.during = changed  # type: ignore[attr-defined]
    with pytest.raises(
        ChronosAssetsError, match=r"related/prices\.csv changed while .*, materialize related_time_series again"
    ):
        import_beside(there)
    there.jobs.during = killed  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        import_beside(there)
    there.jobs.during = lambda: None  # type: ignore[attr-defined]
    there.store.put("params.json", declared().encode())
    there.store.put("related/prices.csv", f"{prices(5)}client_a,2024-01-01 00:00:00,cheap\n".encode())
    with pytest.raises(
        ChronosAssetsError, match=r"related/prices\.csv, line 362, column price: 'cheap' is not a number"
    ):
        import_beside(there)
    assert left(there) == before


@pytest.mark.parametrize("place", ["publish", "put_file"])
def test_a_run_that_is_killed_leaves_a_dataset_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    made = group(tmp_path, 0)
    put_days(made, "june", 0, 2)
    import_dataset(GroupState(made), CONTEXT)
    shown = made.store.shown(DATASET_KEY)
    put_days(made, "june", 0, 3)
    with monkeypatch.context() as patch:
        patch.setattr(type(made.store), place, killed)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(GroupState(made), CONTEXT)
    # Before it is published, or after: but never half of it.
    assert (made.store.shown(DATASET_KEY) == shown) == (place == "publish")
    assert import_dataset(GroupState(made), CONTEXT).manifest.rows == 3 * 72
    fresh = group(tmp_path / "fresh", None)
    put_days(fresh, "june", 0, 3)
    import_dataset(GroupState(fresh), CONTEXT)
    assert left(made) == left(fresh)


def killed(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt


def test_a_file_that_changed_before_the_job_read_it_is_refused_at_once(tmp_path: Path) -> None:
    made = group(tmp_path, 0)
    put_days(made, "june", 0, 2)
    request = requested(made)
    put_days(made, "june", 0, 3)
    with pytest.raises(ChronosAssetsError, match=r"train/june\.csv has [\d,]+ bytes instead of [\d,]+: it has changed"):
        made.jobs.run(CONTEXT, request)


def test_bad_rows_are_told_by_a_job_as_they_are_in_this_process(tmp_path: Path) -> None:
    told = []
    for limit in (None, 0):
        made = group(tmp_path / str(limit), limit)
        put_days(made, "june", 0, 1, *(f"no time {number},1,client_a" for number in range(30)))
        with pytest.raises(ChronosAssetsError) as failure:
            import_dataset(GroupState(made), CONTEXT)
        told.append(str(failure.value))
    assert told[0] == told[1]
    assert len(told[1].splitlines()) > 20


def test_a_job_fails_at_once_where_its_disk_is_too_small(tmp_path: Path) -> None:
    made = group(tmp_path, 0)
    put_days(made, "june", 0, 1)
    request = requested(made)
    size = made.store.head("train/june.csv").size  # type: ignore[union-attr]
    assert request.disk_bytes == (size + request.parameters["space"], int(3.4 * size))
    large = JobRequest(**{**vars(request), "parameters": {**request.parameters, "space": 10**18}})
    with pytest.raises(
        ChronosAssetsError,
        match=r"needs 1,000,000,000\.0 GB of disk at least beside its inputs, .* CHRONOS_IMPORT_VOLUME",
    ):
        made.jobs.run(CONTEXT, large)


def test_parameters_are_inferred_from_no_more_than_fits_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("old", "new")):
        made = group(tmp_path, 3000)
        header = "timestamp,target_value,item_id"
        made.store.put(f"train/{name}.csv", "\n".join([header, *hourly_rows(2 - number)]).encode())
    made.store.delete("params.json")
    read: list[str] = []
    fetch = type(made.store).fetch
    monkeypatch.setattr(type(made.store), "fetch", lambda store, key: read.append(key) or fetch(store, key))
    plan = plan_import(GroupState(made), LOG)
    assert read == ["train/new.csv"]
    assert plan.as_job
    assert "Guessed from 1 of 2 files: all have more than CHRONOS_IMPORT_JOB_BYTES." in plan.params.guesses


def test_a_file_that_goes_while_values_are_looked_at_is_for_the_import_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = group(tmp_path / "store", None)
    put_days(made, "a", 0, 3)
    monkeypatch.setattr(made.store, "fetch", Mock(side_effect=FileNotFoundError))
    assert plan_import(GroupState(made), LOG).notes == ()


def test_only_files_above_the_limit_make_a_job(tmp_path: Path) -> None:
    put_days(group(tmp_path, None), "june", 0, 1)
    size = (tmp_path / "train/june.csv").stat().st_size
    assert [plan_import(GroupState(group(tmp_path, limit)), LOG).as_job for limit in (None, size, size - 1)] == [
        False,
        False,
        True,
    ]
