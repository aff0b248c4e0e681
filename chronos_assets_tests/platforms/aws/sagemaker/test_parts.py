"""Parts of the client without a server: waits, faults, what is said of jobs, log lines, places of messages."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, UnauthorizedSSOTokenError
from dagster_pipes import decode_param, encode_param

from chronos_assets.platforms.aws.sagemaker import faults
from chronos_assets.platforms.aws.sagemaker.faults import OutOfReach, Timing, call_with_retries, waits
from chronos_assets.platforms.aws.sagemaker.kinds import KINDS, console_url, facts_of, log_url, reason_of, step_of
from chronos_assets.platforms.aws.sagemaker.logs import LogTail, last_lines
from chronos_assets.platforms.aws.sagemaker.messages import S3Place
from chronos_assets_tests.platforms.aws.sagemaker.conftest import QUICK

START = datetime(2024, 1, 1, tzinfo=UTC)


def error(code, message="", status=400):
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "CreateJob"
    )


def test_waits_grow_with_jitter_up_to_the_most():
    taken = list(itertools.islice(waits(1.0, 10.0), 50))
    assert 0.5 <= taken[0] <= 1.0
    assert all(5.0 <= wait <= 10.0 for wait in taken[10:])
    assert len(set(taken)) == 50


@pytest.mark.parametrize(
    "failure, kinds",
    [
        (error("ThrottlingException", "Rate exceeded"), {"is_passing"}),
        (error("ValidationException", "Rate exceeded"), {"is_passing", "is_refused_stop"}),
        (error("InternalFailure", status=500), {"is_passing"}),
        (error("Unknown", status=503), {"is_passing"}),
        (EndpointConnectionError(endpoint_url="https://x"), {"is_passing"}),
        (error("ResourceLimitExceeded"), {"is_no_capacity"}),
        (error("ResourceNotFound"), {"is_gone", "is_refused_stop"}),
        (error("ValidationException", "Requested resource not found."), {"is_gone", "is_refused_stop"}),
        (error("ValidationException", "Could not find requested job with name: x"), {"is_gone", "is_refused_stop"}),
        (error("ResourceInUse"), {"is_name_taken"}),
        (error("AccessDeniedException"), set()),
        (error("ExpiredTokenException", "The security token included in the request is expired"), {"is_expired"}),
        (UnauthorizedSSOTokenError(), {"is_expired"}),
        (ValueError("rate exceeded"), set()),
    ],
    # A set as text has another order in each process, and workers must agree on the names of tests.
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else str(value),
)
def test_errors_are_distinguished(failure, kinds):
    names = ("is_passing", "is_expired", "is_no_capacity", "is_gone", "is_name_taken", "is_refused_stop")
    assert {name for name in names if getattr(faults, name)(failure)} == kinds


@pytest.mark.parametrize(
    "reason, another",
    [
        ("CapacityError: Unable to provision requested ML compute capacity.", True),
        ("InternalServerError: We encountered an internal error. Please try again.", True),
        ("AlgorithmError: See job logs for more information", False),
        ("ClientError: Data download failed", False),
    ],
)
def test_only_what_may_pass_is_worth_another_attempt(reason, another):
    assert faults.is_worth_another(reason) is another


def test_a_call_is_given_up_after_an_outage_and_other_errors_at_once():
    def throttled():
        raise error("ThrottlingException", "Rate exceeded")

    with pytest.raises(OutOfReach, match="no answer for too long: Rate exceeded"):
        call_with_retries(throttled, QUICK, seconds=0.05)
    answers = iter([error("ThrottlingException"), error("AccessDeniedException")])

    def refused():
        raise next(answers)

    with pytest.raises(ClientError, match="AccessDenied"):
        call_with_retries(refused, QUICK)


def test_what_a_job_cost_is_read_from_its_description():
    processing = {
        "ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.c5.xlarge", "InstanceCount": 3}},
        "ProcessingStartTime": START,
        "ProcessingEndTime": START + timedelta(seconds=10),
    }
    assert facts_of(KINDS["processing"], processing) == {
        "instance_type": "ml.c5.xlarge",
        "instance_count": 3,
        "seconds": 10.0,
        "billable_seconds": 30.0,
    }
    training = {
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
        "TrainingTimeInSeconds": 100,
        "BillableTimeInSeconds": 35,
        "EnableManagedSpotTraining": True,
    }
    told = facts_of(KINDS["training"], training)
    assert (told["seconds"], told["billable_seconds"], told["spot_savings_percent"]) == (100.0, 35.0, 65.0)
    tuning = {
        "CreationTime": START,
        "HyperParameterTuningEndTime": START + timedelta(seconds=60),
        "ConsumedResources": {"RuntimeInSeconds": 90},
    }
    assert facts_of(KINDS["tuning"], tuning) == {"seconds": 60.0, "billable_seconds": 90.0}
    assert facts_of(KINDS["training"], {}) == {}


@pytest.mark.parametrize(
    "description, reason",
    [
        (
            {"ExitMessage": "no\ndata", "FailureReason": "AlgorithmError: See logs"},
            "no data (AlgorithmError: See logs)",
        ),
        ({"FailureReason": "AlgorithmError: no data, exit code: 1"}, "AlgorithmError: no data, exit code: 1"),
        ({"ExitMessage": "no data", "FailureReason": "AlgorithmError: no data"}, "AlgorithmError: no data"),
        ({"SecondaryStatus": "MaxRuntimeExceeded"}, "MaxRuntimeExceeded"),
        ({}, "no reason given"),
    ],
)
def test_a_reason_is_one_line(description, reason):
    assert reason_of(description) == reason


def test_a_step_says_what_the_kind_of_job_knows():
    transitions = [{"StatusMessage": "Downloading\nthe image"}]
    training = {
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Downloading",
        "SecondaryStatusTransitions": transitions,
    }
    assert step_of(KINDS["training"], training) == "InProgress, Downloading (Downloading the image)"
    tuning = {
        "HyperParameterTuningJobStatus": "InProgress",
        "TrainingJobStatusCounters": {"InProgress": 2, "Completed": 1, "Stopped": 0},
    }
    assert step_of(KINDS["tuning"], tuning) == "InProgress, Completed 1, InProgress 2"


def test_pages_of_the_consoles():
    assert (
        console_url(KINDS["training"], "eu-west-1", "x")
        == "https://eu-west-1.console.aws.amazon.com/sagemaker/home?region=eu-west-1#/jobs/x"
    )
    assert console_url(KINDS["tuning"], "cn-north-1", "x").startswith("https://cn-north-1.console.amazonaws.cn/")
    assert log_url(KINDS["tuning"], "us-east-1", "x").endswith(
        "log-group/$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3Dx-"
    )


class Logs:
    """CloudWatch with two streams, whose events come as they are added."""

    def __init__(self):
        self.events = {"job/algo-1": [], "job/algo-2": [], "other/algo-1": []}
        self.calls = 0
        self.throttled = 0

    def describe_log_streams(self, *, logGroupName, logStreamNamePrefix, limit):  # noqa: N803
        if not self.events:
            raise error("ResourceNotFoundException")
        names = [name for name in self.events if name.startswith(logStreamNamePrefix)]
        return {"logStreams": [{"logStreamName": name} for name in names[:limit]]}

    def get_log_events(self, *, logGroupName, logStreamName, startFromHead, nextToken="0", limit=2):  # noqa: N803
        self.calls += 1
        if self.throttled:
            self.throttled -= 1
            raise error("ThrottlingException")
        events = self.events[logStreamName]
        begin = int(nextToken) if startFromHead else max(0, len(events) - limit)
        page = events[begin : begin + limit]
        return {"events": page, "nextForwardToken": str(begin + len(page))}

    def add(self, stream, *lines):
        for line in lines:
            self.events[stream].append({"timestamp": sum(map(len, self.events.values())), "message": line})


def test_a_log_is_followed_without_a_line_twice_and_ever_less_often_while_it_is_silent():
    now, logs, lines = [0.0], Logs(), []
    tail = LogTail(logs, "g", "job/", lines.append, Timing(logs_first=1.0, logs_most=8.0), clock=lambda: now[0])
    logs.add("job/algo-1", "a", "b", "c", "d\x1b[0m\n")
    logs.add("job/algo-2", "e")
    logs.add("other/algo-1", "not mine")
    tail.poll()
    assert lines == ["a", "b", "c", "d [0m", "e"]
    tail.poll()  # not yet due
    logs.throttled = 1
    logs.add("job/algo-2", "f")
    now[0] = 2.0
    tail.poll()
    assert lines[5:] == []
    now[0] = 10.0
    tail.poll()
    assert lines[5:] == ["f"]
    calls = logs.calls
    for second in range(11, 111):
        now[0] = float(second)
        tail.poll()
    assert 2 * 10 <= logs.calls - calls <= 2 * 35
    tail.poll(now=True)
    assert lines[5:] == ["f"]


def test_the_last_lines_are_those_of_all_streams_by_time():
    logs = Logs()
    logs.add("job/algo-1", "a", "b")
    logs.add("job/algo-2", "c", " ")
    logs.add("job/algo-1", "d")
    assert last_lines(logs, "g", "job/", QUICK, lines=3) == ["b", "c", "d"]
    logs.events.clear()
    assert last_lines(logs, "g", "job/", QUICK) == []


@pytest.mark.parametrize("prefix", ["", ".pipes", "a/long/prefix/of/a/store/.pipes", "p" * 90])
def test_places_of_pipes_fit_in_an_environment_variable(prefix):
    place = S3Place("b" * 63, prefix, "forecast-2024-01-01-10-00-2024-02-01-09-00-0123456789ab-a999", 256)
    for params in (place.context_params, place.message_params):
        assert len(encode_param(params)) <= 256
        assert decode_param(encode_param(params)) == params
    assert place.key("1.json") == f"{place.message_params['key_prefix']}/1.json"
    assert place.folder.startswith(f"{prefix}/" if prefix else "forecast")
