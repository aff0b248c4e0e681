"""What people and accidents do to the training line's files: rebuilt where they can be, else told in a line."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from chronos_assets.cli import main
from chronos_assets.defs.dead_runs import PROCESS_TAG, end_dead_runs
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.pipeline import serving, training, tuning
from chronos_assets.pipeline.clean_up import clean_up
from chronos_assets.pipeline.decisions import decide_version
from chronos_assets.pipeline.synthetic import synthetic_is_current
from chronos_assets.pipeline.tuning import read_tuned, tuned_is_current
from chronos_assets.platforms.local.processes import start_time
from chronos_assets.platforms.local.publishing import publish_directory
from chronos_assets.store_layout import SYNTHETIC_KEY, TUNED_KEY
from chronos_assets_tests.defs.line import PARAMS, Line, make_line
from chronos_assets_tests.models.tiny import folder_of, save_bolt

CANDIDATE = {
    "base_model": "bundled",
    "started_from": "",
    "model": "models/Shop-0123456789ab",
    "digest": "",
    "trial": 0,
    "objective": 0.1,
    "chosen": {},
    "report": {},
    "trials": [],
}
SEARCH: dict[str, Any] = {
    "search": "",
    "data_version": "",
    "synthetic_version": "",
    "best": 0,
    "candidates": [CANDIDATE],
}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_line(tmp_path / "store", instance, model=str(folder_of("bolt")))


def register(line: Line, model: str, *, status: Any = "Approved", **document: Any) -> None:
    known = {"created": datetime.now(UTC).isoformat(), "data_version": "of it", "metrics": {"wql": 0.1}}
    line.group.registry.register(
        "Shop", model=model, identity=model, document=known | document, status=status, reason="for the test"
    )


def test_runs_of_processes_that_are_gone_are_ended_whoever_has_their_number_now(line: Line) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = start_time(other.pid)
        host = socket.gethostname()
        alive = [f"{host}:{other.pid}:{started}", f"{host}:{os.getpid()}:{start_time(os.getpid())}"]
        elsewhere = f"elsewhere.{host}:{other.pid}:long ago"
        reused = f"{host}:{os.getpid()}:long ago"
        runs = {
            tag: line.instance.create_run_for_job(
                line.definitions.resolve_job_def("retrain"),
                status=dg.DagsterRunStatus.STARTED,
                tags={PROCESS_TAG: tag} if tag else {},
            ).run_id
            for tag in (*alive, elsewhere, reused, "")
        }
        assert end_dead_runs(line.instance) == [runs[reused]]
        assert end_dead_runs(line.instance) == []
        other.communicate()
    assert end_dead_runs(line.instance) == [runs[alive[0]]]


@pytest.mark.parametrize(
    "text",
    [
        '{"search": ',
        "[]",
        "\x00",
        json.dumps(SEARCH | {"best": 1}),
        json.dumps(SEARCH | {"candidates": [{"model": "models/Shop-0123456789ab"}]}),
        json.dumps({name: value for name, value in SEARCH.items() if name != "search"}),
    ],
)
def test_a_damaged_document_of_the_search_counts_as_none(line: Line, text: str) -> None:
    line.put(TUNED_KEY, json.dumps(SEARCH))
    assert read_tuned(line.group) == SEARCH
    line.put(TUNED_KEY, text)
    assert read_tuned(line.group) is None
    assert not tuned_is_current(line.state, line.instance)


def test_synthetic_series_that_are_not_whole_are_made_again(line: Line) -> None:
    made = line.run(["synthetic_dataset"], job="retrain")
    assert made.success
    folder = line.root / SYNTHETIC_KEY
    assert synthetic_is_current(line.state, line.instance)
    whole = (folder / "train.arrow").read_bytes()
    (folder / "train.arrow").write_bytes(whole[:-1])
    assert not synthetic_is_current(line.state, line.instance)
    (folder / "train.arrow").unlink()
    assert not synthetic_is_current(line.state, line.instance)
    (folder / "train.arrow").write_bytes(whole)
    assert synthetic_is_current(line.state, line.instance)
    (folder / "manifest.json").write_text('{"parameters": ')
    assert not synthetic_is_current(line.state, line.instance)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"created": "yesterday"}, "no ISO time as created"),
        ({"created": None}, "no ISO time as created"),
        ({"data_version": 7}, "no text as data_version"),
        ({"metrics": [0.1]}, "no object of numbers as metrics"),
        ({"metrics": {"wql": "0.1"}}, "no object of numbers as metrics"),
    ],
)
def test_a_version_edited_by_hand_is_reported_in_a_line(line: Line, change: dict[str, Any], part: str) -> None:
    register(line, "models/Shop-0123456789ab")
    path = line.root / "packages" / "Shop" / "1.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"document": document["document"] | change}))
    with pytest.raises(ChronosAssetsError) as failure:
        training.is_due(line.state, datetime(2026, 1, 1))
    assert "Shop/1" in str(failure.value)
    assert part in str(failure.value)


def test_a_damaged_checkpoint_of_the_version_in_use_says_how_to_go_on(line: Line) -> None:
    folder = save_bolt(line.root / "models" / "Shop-0123456789ab")
    register(line, "models/Shop-0123456789ab", model_digest=describe_model(folder).digest)
    assert line.state.model_in_use.label == "Shop/1"
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ChronosAssetsError, match=r"not the files that were registered.*chronos-assets model reject 1"):
        _ = line.state.model_in_use
    weights.unlink()
    with pytest.raises(ChronosAssetsError, match=r"holds no weights.*chronos-assets model reject 1"):
        _ = line.state.model_in_use
    # It can be done as told.
    for action in ("approve", "reject"):
        with pytest.raises(ChronosAssetsError, match="there is no version 0 of Shop: there is 1 "):
            decide_version(line.state, action, 0, by="test", log=Silent())
    decided = decide_version(line.state, "reject", 1, by="test", log=Silent())
    assert decided.model.label == str(folder_of("bolt"))


class Silent:
    def info(self, message: str) -> None:
        pass


def test_base_models_that_can_not_give_the_quantiles_are_refused_before_the_search(line: Line, tmp_path: Path) -> None:
    narrow = save_bolt(tmp_path / "narrow", levels=[0.2, 0.5, 0.8])
    line.put("params.json", json.dumps(PARAMS | {"Chronos": {"Training": {"BaseModels": ["bundled", str(narrow)]}}}))
    with pytest.raises(ChronosAssetsError, match=r"quantiles 0\.1, 0\.9 are outside of what model .*narrow"):
        tuning._starting_points(line.state)


def publish(line: Line, *names: str) -> None:
    for name in names:
        line.put(f"made/{name}/config.json", "{}")
        publish_directory(line.root / "models" / name, line.root / "made" / name)


def show_forecast_by(line: Line, digest: str) -> None:
    line.put("forecast/manifest.json", json.dumps({"model": {"digest": digest}}))


def search(line: Line, *names: str) -> None:
    candidates = [CANDIDATE | {"model": f"models/{name}"} for name in names]
    line.put(TUNED_KEY, json.dumps(SEARCH | {"candidates": candidates}))


def test_clean_up_keeps_what_somebody_has_yet_to_decide_about_and_what_another_group_made(line: Line) -> None:
    names = ["Shop-00000000000a", "Shop-00000000000b", "Shop-00000000000c", "Shop-2-00000000000d", "Shop-mine"]
    publish(line, *names)
    register(line, "models/Shop-00000000000a", status="Rejected")
    register(line, "models/Shop-00000000000b", status="PendingManualApproval")
    search(line, "Shop-00000000000a", *names[2:])
    show_forecast_by(line, describe_model(folder_of("bolt")).digest)
    removed = clean_up(line.state)
    assert removed is not None
    assert removed.models == ("models/Shop-00000000000a", "models/Shop-00000000000c")
    left = sorted(path.name for path in (line.root / "models").glob("Shop-*"))
    assert left == ["Shop-00000000000b", "Shop-2-00000000000d", "Shop-mine"]


def test_clean_up_waits_for_the_forecast_of_the_model_in_use_and_spares_a_search_under_way(line: Line) -> None:
    save_bolt(line.root / "made" / "tuned", levels=[0.1, 0.5, 0.9])
    digest = describe_model(line.root / "made" / "tuned").digest
    publish_directory(line.root / "models" / "Shop-00000000000a", line.root / "made" / "tuned")
    register(line, "models/Shop-00000000000a", model_digest=digest)
    publish(line, "Shop-00000000000b")
    search(line, "Shop-00000000000b")
    assert clean_up(line.state) is None
    show_forecast_by(line, describe_model(folder_of("bolt")).digest)
    assert clean_up(line.state) is None
    show_forecast_by(line, digest)
    for removed in (("models/Shop-00000000000a",), ()):
        cleaned = clean_up(line.state)
        assert cleaned is not None
        assert cleaned.models == removed
    register(line, "models/Shop-00000000000b", status="Rejected")
    cleaned = clean_up(line.state)
    assert cleaned is not None
    assert cleaned.models == ("models/Shop-00000000000b",)


def test_a_damaged_state_of_the_endpoint_is_reported_in_a_line(
    line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line.put(".endpoints/Shop/state.json", "{")
    assert serving.is_deployed(line.state)
    assert not serving.endpoint_is_current(line.state)
    monkeypatch.setenv("CHRONOS_STORE", str(line.root))
    assert main(["endpoint", "status"]) == 0
    assert "is not an endpoint's state" in capsys.readouterr().out
    assert main(["endpoint", "stop"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "remove that file" in told[0]
