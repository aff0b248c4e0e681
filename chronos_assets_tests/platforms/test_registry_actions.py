"""Approving, rejecting and rolling back: which version is in use afterwards."""

import pytest

from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.local.registry import LocalRegistry
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.registry import Registry, RegistryError, approve, reject, roll_back


@pytest.fixture(params=["local", pytest.param("aws", marks=pytest.mark.aws)])
def empty(request, tmp_path):
    """A registry without versions, on either platform, and the key of a model."""
    if request.param == "local":
        return LocalRegistry(open_store(tmp_path)), "models/m"
    from chronos_assets.platforms.aws.registry import SageMakerRegistry
    from chronos_assets_tests.platforms.aws import deployment

    aws = request.getfixturevalue("aws")
    store = deployment.open_store(aws, request.getfixturevalue("s3_server"), tmp_path)
    model = deployment.publish_model(store, tmp_path)
    clients = deployment.clients_of(aws)
    return SageMakerRegistry(AwsDeployment(clients, store, deployment.SETTINGS, deployment.LOCATION)), model


@pytest.fixture
def registry(empty):
    """Builds a registry whose versions 1, 2, ... have the given statuses, by their first letters."""

    def make(letters: str) -> Registry:
        registry, model = empty
        names = {"A": "Approved", "R": "Rejected", "P": "PendingManualApproval"}
        for number, letter in enumerate(letters):
            registry.register(
                "retail",
                model=model,
                identity=str(number),
                document={},
                status=names[letter],
                reason="as the gate said",
            )
        return registry

    return make


def letters(registry):
    return "".join(item.status[0] for item in registry.versions("retail"))


def number(version):
    return version.version if version else None


@pytest.mark.parametrize(
    ("before", "version", "after"),
    [
        ("P", 1, "A"),
        ("R", 1, "A"),
        ("AP", 2, "AA"),
        ("AA", 1, "AR"),
        ("PAA", 1, "ARR"),
        ("RAPRA", 2, "RAPRR"),
        ("APA", 3, "APA"),
    ],
)
def test_an_approved_version_is_the_one_in_use(registry, before, version, after):
    made = registry(before)
    change = approve(made, "retail", version, by="ann", reason="it is better")
    assert letters(made) == after
    assert number(change.after) == version
    assert number(change.before) == (before.rindex("A") + 1 if "A" in before else None)
    assert [item.version for item in change.rejected] == [
        place + 1 for place, (old, new) in enumerate(zip(before, after, strict=True)) if (old, new) == ("A", "R")
    ]
    versions = made.versions("retail")
    for item in change.rejected:
        reason = versions[item.version - 1].history[-1]["reason"]
        assert reason == f"superseded by the approval of retail/{version}: it is better"
        assert versions[item.version - 1].history[0]["reason"] == "as the gate said"


def test_approving_what_is_in_use_changes_nothing(registry):
    made = registry("RA")
    before = made.versions("retail")
    assert approve(made, "retail", 2, by="ann").rejected == ()
    assert made.versions("retail") == before


def test_without_a_reason_the_history_says_who(registry):
    made = registry("PA")
    approve(made, "retail", 1, by="ann")
    first, second = made.versions("retail")
    assert (first.reason, first.history[-1]["by"]) == ("approved by ann", "ann")
    assert second.reason == "superseded by the approval of retail/1"


def test_a_rejected_version_gives_way_to_the_approved_one_before(registry):
    made = registry("APA")
    change = reject(made, "retail", 3, by="ann", reason="drifted")
    assert (number(change.before), number(change.after)) == (3, 1)
    assert letters(made) == "APR"
    assert made.versions("retail")[2].reason == "drifted"
    again = reject(made, "retail", 3, by="bob")
    assert (number(again.before), number(again.after), again.rejected) == (1, 1, ())
    assert len(made.versions("retail")[2].history) == 2
    assert number(reject(made, "retail", 2, by="ann").after) == 1


def test_rolling_back_goes_to_the_approved_one_before_and_at_last_to_none(registry):
    made = registry("ARA")
    change = roll_back(made, "retail", by="ann", reason="worse in July")
    assert (number(change.before), number(change.after), letters(made)) == (3, 1, "ARR")
    assert made.versions("retail")[2].reason == "rolled back: worse in July"
    change = roll_back(made, "retail", by="ann")
    assert (number(change.before), change.after, letters(made)) == (1, None, "RRR")
    assert made.versions("retail")[0].reason == "rolled back by ann"
    with pytest.raises(RegistryError, match="no version of retail is approved"):
        roll_back(made, "retail", by="ann")


def test_a_roll_back_of_one_decision_is_made_once(registry):
    made = registry("AAA")
    by = "job roll_back_model, run 1a2b3c4d"
    assert number(roll_back(made, "retail", by=by, once=True).after) == 2
    again = roll_back(made, "retail", by=by, once=True)
    assert (number(again.before), number(again.after), again.rejected) == (2, 2, ())
    assert number(roll_back(made, "retail", by="job roll_back_model, run 5e6f7a8b", once=True).after) == 1


def test_two_that_roll_back_at_once_go_back_one_version(registry):
    made = registry("AA")

    class Overtaken:
        """Someone else rolls back between looking and rejecting."""

        def versions(self, group):
            return made.versions(group)

        def set_status(self, *args, **kwargs):
            roll_back(made, "retail", by="bob")
            return made.set_status(*args, **kwargs)

    with pytest.raises(RegistryError, match="retail/2 is Rejected, no longer Approved"):
        roll_back(Overtaken(), "retail", by="ann")
    assert letters(made) == "AR"


@pytest.mark.parametrize(
    "other", [roll_back, lambda *args, by: approve(*args, 1, by=by)], ids=["rolls back", "approves"]
)
def test_an_approval_is_not_in_the_way_of_who_rejects_the_newer_version_at_once(registry, other):
    made = registry("AA")

    class Overtaken:
        """Someone else decides between looking and rejecting."""

        def versions(self, group):
            return made.versions(group)

        def set_status(self, *args, **kwargs):
            if letters(made) == "AA":
                other(made, "retail", by="bob")
            return made.set_status(*args, **kwargs)

    change = approve(Overtaken(), "retail", 1, by="ann")
    assert (number(change.before), number(change.after), change.rejected) == (2, 1, ())
    assert letters(made) == "AR"


def test_what_is_not_there_can_not_be_approved_or_rejected(registry):
    made = registry("A")
    for action in (approve, reject):
        with pytest.raises(RegistryError, match="there is no version 4 of retail"):
            action(made, "retail", 4, by="ann")
    assert letters(made) == "A"
