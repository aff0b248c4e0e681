"""docs/aws-permissions.md is true: of the template, of the code, and of botocore's models."""

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from chronos_assets.platforms.aws.endpoint_request import SERVERLESS_LIMITS
from chronos_assets.platforms.aws.machines import GPU_HOSTS, has_gpu, unusable
from chronos_assets.platforms.aws.metrics import MAX_DATA
from chronos_assets.platforms.aws.multipart_copy import GIB, MIB, S3Limits
from chronos_assets.serving.schema import Limits
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.docker.permissions import NEEDS, Need, table
from chronos_assets_tests.docker.template import load, resolved, statements
from chronos_assets_tests.docker.test_template import S3_ACTIONS, SQS_ACTIONS, _called
from chronos_assets_tests.platforms.aws.test_machines import cuda_of_the_image, shape

PAGE = (REPOSITORY / "docs" / "aws-permissions.md").read_text()


@pytest.fixture(scope="module")
def allowed() -> dict[str, set[str]]:
    """Resource of the template -> what it allows."""
    found: dict[str, set[str]] = {}
    for statement in statements(load()):
        if statement.allows:
            found.setdefault(statement.resource, set()).update(statement.actions)
    return found


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.call)
def test_the_template_allows_what_a_call_needs(allowed: dict[str, set[str]], need: Need) -> None:
    callers = set().union(*(allowed[name] for name in need.who))
    assert need.caller <= callers, need.caller - callers
    if need.role:
        assert need.actions <= allowed[need.role], need.actions - allowed[need.role]
    assert bool(need.role) == bool(need.actions)


@pytest.mark.process
def test_every_call_that_a_service_works_off_is_in_the_table() -> None:
    """What only reads, or is done when it is answered, needs nothing but its own action."""
    told = set().union(*(need.caller for need in NEEDS))
    later = re.compile(r"sagemaker:(Create|Start|Invoke|Update(Endpoint|Pipeline))|athena:Start|ecs:Run")
    done_at_once = {"sagemaker:CreateModelPackageGroup"}
    assert {action for action in _called() if later.match(action)} - done_at_once <= told


OF_AN_IMPORT = {
    ("SageMakerRole", "s3:GetObject"): ["train/a/b.csv", ".import-memory.npz", "versions/dataset/x/part-0.parquet"],
    ("SageMakerRole", "s3:PutObject"): [".jobs/import/output/a/dataset/part-0.parquet"],
    ("DataPolicy", "s3:GetObject"): [".jobs/import/output/a/dataset/part-0.parquet"],
    ("DataPolicy", "s3:PutObject"): ["versions/dataset/x/part-0.parquet", "dataset/x/part-0.parquet"],
}


def test_an_import_may_read_and_write_its_objects() -> None:
    names, template = {"BucketName": "bucket", "Prefix": "store"}, load()
    for (who, action), keys in OF_AN_IMPORT.items():
        given = [
            str(pattern)
            for statement in statements(template)
            if statement.resource == who and statement.allows and action in statement.actions
            for pattern in resolved(statement.resources, names)
        ]
        for key in keys:
            assert any(fnmatchcase(f"arn:aws:s3:::bucket/store/{key}", pattern) for pattern in given), key


def test_actions_are_written_as_aws_has_them() -> None:
    """Each is an operation of its service, or one of the few that are about something else."""
    import botocore.session

    session = botocore.session.get_session()
    renamed = {f"s3:{name}" for name in S3_ACTIONS.values()} | {f"sqs:{name}" for name in SQS_ACTIONS.values()}
    no_operations = {
        "iam:PassRole",
        "sagemaker:InvokeEndpoint",
        "sagemaker:InvokeEndpointAsync",
        "s3:ListMultipartUploadParts",
        "s3:GetBucketNotification",
        "lakeformation:GetDataAccess",
    }
    for need in NEEDS:
        for action in (need.caller | need.actions) - renamed - no_operations:
            prefix, _, name = action.partition(":")
            assert name in session.get_service_model(prefix).operation_names, action


def test_the_page_shows_the_table() -> None:
    shown = PAGE.split("chronos_assets_tests.docker.permissions -->\n\n")[1].split("\n\n<!-- end")[0]
    assert shown == table()


# --- the other tables -------------------------------------------------------------------------------------------------


def _rows(title: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_every_gpu_family_of_endpoints_is_in_the_table_with_its_host() -> None:
    hosted, refused, _ = _rows("GPUs of endpoints")
    families = {name.split(".")[1].split("-")[0] for name in shape("ProductionVariantInstanceType") if has_gpu(name)}
    told = set(re.findall(r"`(\w+)`", hosted[0]))
    too_old = set(re.findall(r"`(\w+)`", refused[0]))
    assert told | too_old == families
    assert all(unusable(f"ml.{family}.xlarge") for family in too_old)
    assert not [family for family in told if unusable(f"ml.{family}.xlarge")]
    host = GPU_HOSTS
    dots = [".".join(map(str, version)) for version in (host.cuda, cuda_of_the_image())]
    assert hosted[1:] == [f"`{host.name}`", str(host.driver), *dots]


def _limit(what: str) -> list[str]:
    return next(row for row in _rows("Sizes and numbers") if what in row[0])


def test_the_limits_are_those_of_the_code() -> None:
    limits = S3Limits()
    assert _limit("one copy")[1] == f"{limits.copy_bytes // GIB} GiB"
    assert _limit("parts of an upload")[1].startswith(f"{limits.parts:,} of {limits.part_bytes // MIB} MiB")
    assert f"{Limits().max_body_bytes // MIB} MB" in _limit("real-time")[2]
    serverless = _limit("serverless")
    assert serverless[1].startswith(f"{SERVERLESS_LIMITS['max_body_bytes'] // MIB} MB")
    assert f"{SERVERLESS_LIMITS['max_answer_values']:,} numbers" in serverless[2]
    assert _limit("metrics of one request")[1].startswith(f"{MAX_DATA:,}")
    lengths: dict[str, Any] = {
        name: _model().shape_for(name).metadata["max"]
        for name in ("ProcessingJobName", "EndpointName", "ModelName", "HyperParameterTuningJobName")
    }
    assert lengths.pop("HyperParameterTuningJobName") == 32
    assert set(lengths.values()) == {63}


def _model() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


def test_every_test_that_is_named_is_there() -> None:
    for _, held in _rows("Which test holds which rule"):
        file = ""
        for given, name in re.findall(r"`([\w/.]*)::(\w+)`", held):
            file = given or file
            assert f"def {name}(" in (REPOSITORY / "chronos_assets_tests" / file).read_text(), f"{file}::{name}"
        for module in re.findall(r"python -m benchmarks\.(\w+)", held):
            assert (REPOSITORY / "benchmarks" / f"{module}.py").is_file()
        assert file or "benchmarks" in held
