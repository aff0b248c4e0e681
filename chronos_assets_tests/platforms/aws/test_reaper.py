"""Jobs whose run is gone, and those that only look like it."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from chronos_assets.defs.orphan_job_sensor import reaper_sensor
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.aws.reaper import GRACE, Reaper, RunEnd, RunningJob, orphans
from chronos_assets.platforms.aws.tags import CODE_LOCATION, RUN_ID, STORE
from chronos_assets.settings import Settings
from chronos_assets_tests.platforms.aws.sagemaker.conftest import QUICK, instance  # noqa: F401
from chronos_assets_tests.platforms.aws.sagemaker.requests import processing, shell, training

NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)
OLD, NEW = NOW - 3 * GRACE, NOW - GRACE / 2
WAIT = shell("exec sleep 60")


@pytest.mark.parametrize(
    "created, run, gone",
    [
        (OLD, RunEnd(None), False),  # it runs
        (OLD, None, True),
        (NEW, None, False),  # its run may not be recorded yet
        (OLD, RunEnd(OLD + timedelta(minutes=1)), True),
        (OLD, RunEnd(NEW), False),  # a retry may attach to it
        (NEW, RunEnd(OLD), False),
    ],
)
def test_a_job_is_an_orphan_once_its_run_is_gone_for_a_while(created, run, gone):
    job = RunningJob("training", "x", "run", created)
    assert orphans([job], {"run": run} if run else {}, NOW) == ([job] if gone else [])


def tagged(run_id="run", location="here", store="s3://data/shop"):
    tags = {CODE_LOCATION: location, STORE: store, RUN_ID: run_id}
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def test_only_jobs_of_the_deployment_are_seen_and_all_pages_of_them(aws):
    aws.bucket("data")
    client = aws.clients()("sagemaker")
    client.create_training_job(TrainingJobName="t", Tags=tagged(), **training(WAIT))
    client.create_processing_job(ProcessingJobName="p", Tags=tagged("other"), **processing(WAIT))
    client.create_processing_job(ProcessingJobName="theirs", Tags=tagged(location="there"), **processing(WAIT))
    client.create_processing_job(ProcessingJobName="dev", Tags=tagged(store="s3://dev/shop"), **processing(WAIT))
    client.create_processing_job(ProcessingJobName="untagged", **processing(WAIT))
    client.create_processing_job(ProcessingJobName="done", Tags=tagged(), **processing(shell("exit 0")))
    assert aws.job("done").done.wait(120)
    aws.faults.throttle("ListTags")
    reaper = Reaper(aws.clients(), "here", "s3://data/shop", timing=QUICK)
    found = reaper.running()
    assert [(job.kind, job.name, job.run_id) for job in found] == [
        ("training", "t", "run"),
        ("processing", "p", "other"),
    ]
    for job in found:
        reaper.stop(job)
    for name in ("t", "p"):
        assert aws.job(name).done.wait(120)
        assert aws.job(name).status == "Stopped"
    assert reaper.running() == []
    assert not aws.job("dev").done.is_set()


def test_the_sensor_says_what_it_saw_and_stopped(aws, instance, tmp_path, monkeypatch):  # noqa: F811
    aws.bucket("data")
    group = Group(
        Settings.from_env(
            {"CHRONOS_DEPLOYMENT": "aws", "CHRONOS_STORE": "s3://data/shop", "CHRONOS_CACHE": str(tmp_path)}
        )
    )
    sensor = reaper_sensor(group)

    def tick():
        return sensor(dg.build_sensor_context(instance=instance)).skip_message

    assert tick() == "0 jobs running, none without its run"
    job = dg.define_asset_job("work")
    run = instance.create_run_for_job(dg.Definitions(assets=[thing], jobs=[job]).resolve_job_def("work"))
    client = aws.clients()("sagemaker")
    for name, run_id in (("mine", run.run_id), ("orphan", "gone")):
        client.create_training_job(
            TrainingJobName=name, Tags=tagged(run_id, location="chronos-assets"), **training(WAIT)
        )
    assert tick() == "2 jobs running, none without its run"
    monkeypatch.setattr("chronos_assets.platforms.aws.reaper.GRACE", timedelta(0))
    assert tick() == "2 jobs running, stopped orphan"
    assert aws.job("orphan").done.wait(120)
    assert tick() == "1 job running, none without its run"


@dg.asset
def thing():
    return 1
