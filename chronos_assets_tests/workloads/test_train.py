"""The train workload on small data: what it leaves, what it refuses, what it never sees, and that a kill costs little."""

import io
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import torch

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, execute
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.models.finetuning import FinetuneProgress
from chronos_assets.models.finetuning_validation import SAMPLED_WINDOWS
from chronos_assets.models.loading import load_model
from chronos_assets.platforms.tuning import LOSS_REGEX, STEP_REGEX, VALIDATION_REGEX
from chronos_assets.training.log import TrainingLog, progress_lines
from chronos_assets.training.request import TrainRequest, parse_request
from chronos_assets.workloads import train
from chronos_assets_tests import forks
from chronos_assets_tests.models import tiny
from chronos_assets_tests.workloads.small_dataset import write_dataset
from chronos_assets_tests.workloads.training_root import HORIZON, PERIODS, SMALL, lay_out, seasons, write_synthetic


@pytest.fixture(autouse=True)
def as_before():
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


def run(root, parameters=SMALL, *, family="bolt", **channels):
    """Run the workload in this process; its report."""
    workspace = Workspace(lay_out(root, parameters, model=tiny.folder_of(family), **channels))
    status = execute(train.main, workspace)
    assert status == 0, workspace.failure_file.read_text()
    return json.loads((root / "output" / "data" / "training.json").read_text())


def refused(root, parameters, **channels):
    """The one-line reason of a run that fails."""
    workspace = Workspace(lay_out(root, parameters, **{"model": tiny.folder_of("bolt"), **channels}))
    assert execute(train.main, workspace) == 1
    assert not workspace.model.exists()
    return workspace.failure_file.read_text()


def model_bytes(root):
    return (root / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("family", ["bolt", "chronos2", "t5"])
def test_a_job_leaves_a_model_and_a_report(tmp_path, family, capsys):
    report = run(tmp_path, {**SMALL, "base_model": "my/model"}, family=family, synthetic=True)
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files == {"config.json", "model.safetensors"} | ({"generation_config.json"} if family == "t5" else set())
    load_model(tmp_path / "model")
    assert (report["base_model"], report["family"]) == ("my/model", family)
    assert (
        report["base_digest"]
        == describe_model(tiny.folder_of(family)).digest
        != describe_model(tmp_path / "model").digest
    )
    assert report["data_versions"] == {"target": "version", "synthetic": "made up"}
    assert report["hyperparameters"]["mixture"] == {"target": 0.9, "synthetic": 0.1}
    assert report["hyperparameters"]["drop_prob"] == (0.2 if family == "t5" else 0.0)
    assert [step for step, _ in report["curve"]] == [2, 4, 6]
    assert [step for step, _ in report["validation"]] == [3, 6]
    assert report["validation_wql"] == min(wql for _, wql in report["validation"])
    assert report["steps"] == 6
    assert report["resumed_from"] is None
    # 140 hours from the first of January: two test windows of 6, two validation windows before, the rest to train on.
    assert report["training_cutoff"] == "2024-01-05T19:00:00"
    assert report["validation_end"] == "2024-01-06T07:00:00"
    assert report["holdout"]["test_end"] == "2024-01-06T19:00:00"

    # The metric definitions of the platforms find every number, and the last validation is that of the weights saved.
    lines = capsys.readouterr().err.splitlines()
    found = [
        [(int(re.search(STEP_REGEX, line)[1]), float(match[1])) for line in lines if (match := re.search(regex, line))]
        for regex in (LOSS_REGEX, VALIDATION_REGEX)
    ]
    assert found[0] == [(step, pytest.approx(loss, abs=1e-6)) for step, loss in report["curve"]]
    best = (report["best_step"], report["validation_wql"])
    assert found[1] == [(step, pytest.approx(wql, abs=1e-6)) for step, wql in [*report["validation"], best]]


def test_what_is_held_out_changes_nothing(tmp_path):
    """A spy: other values in the test windows give the same weights and validation; in the validation windows, the same
    weights of the last step."""
    parameters = {**SMALL, "eval_every": 6}
    reports, weights = {}, {}
    for name, changed in (
        ("as it is", 0),
        ("test", 2 * HORIZON),
        ("validation", 4 * HORIZON),
        ("training", 4 * HORIZON + 20),
    ):
        root = tmp_path / name
        series = seasons()
        for _, values in series.values():
            values[PERIODS - changed :] = [1000.0 + 7 * hour for hour in range(changed)]
        lay_out(root, parameters, target=False, model=tiny.folder_of("bolt"))
        write_dataset(root / "input" / "data" / "target", series)
        assert execute(train.main, Workspace(root)) == 0
        reports[name] = json.loads((root / "output" / "data" / "training.json").read_text())
        weights[name] = model_bytes(root)
    assert weights["test"] == weights["as it is"]
    assert reports["test"]["validation"] == reports["as it is"]["validation"]
    assert weights["validation"] == weights["as it is"]
    assert reports["validation"]["validation"] != reports["as it is"]["validation"]
    assert weights["training"] != weights["as it is"]


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.002}, {"batch_size": 5}, {"context_length": 24}, {"prediction_length": 4}, {"seed": 1},
        {"weight_decay": 5.0}, {"warmup_ratio": 0.9}, {"max_grad_norm": 0.001}, {"mixture": {"synthetic": 1}},
        {"min_past": 20}, {"drop_prob": 0.5}, {"max_steps": 3}, {"finetune_mode": "lora"}, {"horizon": 12},
        {"validation_windows": 5}, {"test_windows": 6}, {"max_training_series": 1}, {"filling": {"middlefill": "zero"}},
        {"eval_every": 1, "learning_rate": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_parameter_changes_something(tmp_path, change, plain):
    root = tmp_path / "job"
    lay_out(root, {**SMALL, **change}, target=False, synthetic=True, model=tiny.folder_of("bolt"))
    write_dataset(root / "input" / "data" / "target", seasons(), filled={("item 0",): range(10, 90, 3)})
    assert execute(train.main, Workspace(root)) == 0
    assert model_bytes(root) != plain


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The weights of a job with the parameters as they are."""
    root = tmp_path_factory.mktemp("plain") / "job"
    lay_out(root, SMALL, target=False, synthetic=True, model=tiny.folder_of("bolt"))
    write_dataset(root / "input" / "data" / "target", seasons(), filled={("item 0",): range(10, 90, 3)})
    assert execute(train.main, Workspace(root)) == 0
    return model_bytes(root)


def test_without_series_of_the_user_the_synthetic_ones_validate(tmp_path):
    report = run(
        tmp_path,
        {name: SMALL[name] for name in SMALL if name not in ("horizon", "frequency")},
        target=False,
        synthetic=True,
    )
    assert (report["training_cutoff"], report["validation_end"], report["holdout"]) == (None, None, None)
    assert report["validated_windows"] == 5
    assert report["hyperparameters"]["mixture"] == {"synthetic": 1.0}


def test_the_validation_is_capped_and_chosen_by_the_seed(tmp_path):
    reports = [
        run(tmp_path / f"{seed} {cap}", {**SMALL, "seed": seed, "max_validation_series": cap})
        for seed, cap in ((0, 2), (1, 2), (0, 100))
    ]
    assert [report["validated_windows"] for report in reports] == [4, 4, 8]  # windows: two of each series
    assert len({report["base_validation_wql"] for report in reports}) == 3


def test_a_family_that_samples_validates_on_few_windows(tmp_path):
    parameters = {**SMALL, "validation_windows": 5, "max_steps": 1}
    assert run(tmp_path / "t5", parameters, family="t5")["validated_windows"] == SAMPLED_WINDOWS
    assert run(tmp_path / "bolt", parameters)["validated_windows"] == 20


def test_quantiles_beyond_the_model_are_left_out_of_the_validation(tmp_path):
    folder = tiny.save_bolt(tmp_path / "narrow", levels=[0.1, 0.5, 0.9])
    root = lay_out(tmp_path / "job", {**SMALL, "quantiles": [0.01, 0.5, 0.9]}, model=folder)
    assert execute(train.main, Workspace(root)) == 0
    report = json.loads((root / "output" / "data" / "training.json").read_text())
    assert report["hyperparameters"]["quantiles"] == [0.5, 0.9]


def test_a_killed_job_goes_on_to_the_same_model(tmp_path):
    parameters = {**SMALL, "max_steps": 12, "checkpoint_every": 5, "eval_every": 4, "log_every": 1}
    roots = [lay_out(tmp_path / name, parameters, model=tiny.folder_of("bolt")) for name in ("killed", "whole")]
    environment = {**os.environ, "CHRONOS_ML_ROOT": str(roots[0])}
    program = (
        forks.KILLED,
        "chronos_assets.models.finetuning:_FinetuneLoop._step",
        "8",
        "chronos_assets.workloads.train",
    )
    ended = forks.run(*program, folder=tmp_path, environment=environment, kind=forks.CONTAINER)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (roots[0] / "model").exists()
    reports = []
    for root in roots:
        assert execute(train.main, Workspace(root)) == 0
        reports.append(json.loads((root / "output" / "data" / "training.json").read_text()))
    assert reports[0]["resumed_from"] == 5
    assert reports[1]["resumed_from"] is None
    assert model_bytes(roots[0]) == model_bytes(roots[1])
    for name in ("curve", "validation", "base_validation_wql", "best_step"):
        assert reports[0][name] == reports[1][name]


def test_jobs_that_share_a_folder_keep_their_checkpoints_apart(tmp_path, monkeypatch):
    places = []
    for name in ("search-1", "search-2"):
        monkeypatch.setenv("TRAINING_JOB_NAME", name)
        places.append(train._checkpoint(Workspace(tmp_path)))
    assert places == [tmp_path / "checkpoints" / name / "last.pt" for name in ("search-1", "search-2")]
    monkeypatch.delenv("TRAINING_JOB_NAME")
    assert train._checkpoint(Workspace(tmp_path)) == tmp_path / "checkpoints" / "last.pt"


def test_other_data_or_parameters_are_no_continuation(tmp_path):
    root = lay_out(tmp_path, SMALL, model=tiny.folder_of("bolt"))
    assert execute(train.main, Workspace(root)) == 0
    shutil.rmtree(root / "input")
    shutil.rmtree(root / "model")
    reason = refused(root, {**SMALL, "batch_size": 5}, synthetic=True)
    assert "was made with another batch_size, data_versions, mixture: remove it to start again" in reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"learning_rat": 1, "max_steps": "many", "seed": -1, "quantiles": [0.5, 1.0]},
            [
                "learning_rat not known (there are base_model, ",
                "max_steps is 'many'",
                "seed is -1",
                "quantiles is [0.5, 1.0]",
            ],
        ),
        ({"finetune_mode": "half"}, ['finetune_mode is \'half\': it must be "full" or "lora"']),
        ({"mixture": {"target": 0.5, "synthetic": 0.5}}, ["synthetic has 0.5 but the job has no such channel"]),
        ({"mixture": {"target": 0.5}}, ["sum to 0.5, not to 1"]),
        ({"mixture": {"tarket": 1}}, ["no source tarket"]),
        ({"horizon": 40}, ["the series have 140 periods, and 162 are needed"]),
        ({"min_past": 116}, ["the series have 140 periods, and 141 are needed"]),
        ({"context_length": 65}, ["context_length is 65", "has 64 at most"]),
        ({"prediction_length": 17}, ["prediction_length is 17", "has 16 at most"]),
        ({"horizon": None}, ["horizon not given"]),
        ({"frequency": "D"}, ["the dataset has frequency H", "is to have D"]),
        ({"dimensions": ["store"]}, ["is to have H and ['store']"]),
        ({"filling": {"middle": "zero"}}, ["filling.middle not known"]),
        ({"learning_rate": 1e30, "max_grad_norm": 1e8}, ["start again with a lower learning_rate"]),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, changes, words):
    reason = refused(tmp_path, {**SMALL, **changes})
    assert all(word in reason for word in words), reason
    assert "\n" not in reason


def test_levels_that_the_model_does_not_have_are_refused(tmp_path):
    folder = tiny.save_bolt(tmp_path / "narrow", levels=[0.1, 0.5, 0.9])
    reason = refused(tmp_path / "job", {**SMALL, "quantiles": [0.01, 0.99]}, model=folder)
    assert "none of the quantiles [0.01, 0.99] is among those that" in reason
    assert "0.1 to 0.9" in reason


def test_an_empty_split_and_a_missing_file_are_named(tmp_path):
    root = lay_out(tmp_path / "empty", SMALL, target=False, model=tiny.folder_of("bolt"))
    write_synthetic(root / "input" / "data" / "synthetic", count=0)
    assert execute(train.main, Workspace(root)) == 1
    assert "validation.arrow holds 0 series" in Workspace(root).failure_file.read_text()

    root = lay_out(tmp_path / "short", SMALL, target=False, model=tiny.folder_of("bolt"))
    write_synthetic(root / "input" / "data" / "synthetic", length=8)
    assert execute(train.main, Workspace(root)) == 1
    assert "none of them longer than prediction_length, which is 8" in Workspace(root).failure_file.read_text()

    root = lay_out(tmp_path / "missing", SMALL, synthetic=True, model=tiny.folder_of("bolt"))
    (root / "input" / "data" / "synthetic" / "train.arrow").unlink()
    assert execute(train.main, Workspace(root)) == 1
    assert "train.arrow" in Workspace(root).failure_file.read_text()


def test_no_channel_at_all_is_refused(tmp_path):
    assert "nothing to train on" in refused(tmp_path, SMALL, target=False)


def test_parameters_come_as_json_or_as_sagemaker_and_its_tuner_pass_them():
    request = parse_request(
        {"_tuning_objective_metric": "validation_wql", "sagemaker_region": "x", "max_steps": 7, "min_past": None}
    )
    assert request == TrainRequest(max_steps=7)
    with pytest.raises(WorkloadError, match="threads is True: it must be a whole number"):
        parse_request({"threads": True})


def test_progress_has_no_number_with_an_exponent():
    lines = progress_lines(FinetuneProgress(3, 10, 1e-5, 1e-7, 2.4, 12345678.0))
    assert lines == [
        "{'step': 3, 'loss': 0.000010, 'learning_rate': 0.0000001000, 'eta_seconds': 2}",
        "{'step': 3, 'validation_wql': 12345678.000000}",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Heard:
    """A reporter that Dagster listens to."""

    attached = True

    def __init__(self):
        self.lines = []

    def log(self, message):
        self.lines.append(message)


def test_a_person_at_a_terminal_sees_a_bar_and_dagster_a_line_now_and_then():
    stream, heard = Terminal(), Heard()
    with TrainingLog(heard, stream) as log:
        for step in range(1, 11):
            log.tell(FinetuneProgress(step, 10, 0.5, 1e-4, 10 - step))
        log.tell(FinetuneProgress(10, 10, validation_wql=0.25))
    text = stream.getvalue()
    assert f"|{'█' * 10}{' ' * 10}| 5/10, loss 0.5000, 5 s to go, learning rate 0.0001" in text
    assert text.count("'loss'") == 10
    assert heard.lines == [
        "step 1/10, loss 0.5000, 9 s to go, learning rate 0.0001",
        "step 10/10, loss 0.5000, 0 s to go, learning rate 0.0001",
        "step 10/10, validation wQL 0.2500",
    ]


def test_by_hand_only_the_metric_lines_are_written():
    stream = io.StringIO()
    with TrainingLog(Reporter(), stream) as log:
        log.tell(FinetuneProgress(1, 10, 0.5, 1e-4, 9))
    assert stream.getvalue().splitlines() == [
        "{'step': 1, 'loss': 0.500000, 'learning_rate': 0.0001000000, 'eta_seconds': 9}"
    ]


def test_series_of_different_starts_are_cut_at_the_same_period(tmp_path):
    root = lay_out(tmp_path, SMALL, target=False, model=tiny.folder_of("bolt"))
    series = seasons(2)
    late = np.sin(np.arange(20.0)).tolist()  # begins after the last period of training: 140 - 20 > 140 - 24 - 1
    series[("late",)] = ("2024-01-06T00:00:00", late)
    write_dataset(root / "input" / "data" / "target", series)
    assert execute(train.main, Workspace(root)) == 0
    report = json.loads((root / "output" / "data" / "training.json").read_text())
    assert report["series"] == {"target": 2}
    assert report["validated_windows"] == 5  # the late one has begun by the second validation window
