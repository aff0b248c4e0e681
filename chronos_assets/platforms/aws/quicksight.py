"""The forecast in QuickSight: an Athena data source, and a data set over the view `forecast_vs_history`.

Here: both of them, made or brought up to date, owned by the principal of the settings. Elsewhere: the
view itself (`glue_tables.py`); analyses, which people make.

Their ids are made from the database's name, so that a repetition finds them. The data set queries Athena directly, without
a copy in SPICE that would have to be refreshed and is paid for.

https://docs.aws.amazon.com/quicksight/latest/APIReference/API_CreateDataSet.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.store import StoreError
from chronos_assets.settings import AwsSettings

POLL_SECONDS, READY_SECONDS = 1.0, 60.0  # a data source is ready within seconds

# The two sets of actions that QuickSight calls an owner's; it takes no others.
SOURCE_ACTIONS = (
    "DescribeDataSource",
    "DescribeDataSourcePermissions",
    "PassDataSource",
    "UpdateDataSource",
    "DeleteDataSource",
    "UpdateDataSourcePermissions",
)
SET_ACTIONS = (
    "DescribeDataSet",
    "DescribeDataSetPermissions",
    "PassDataSet",
    "DescribeIngestion",
    "ListIngestions",
    "UpdateDataSet",
    "DeleteDataSet",
    "CreateIngestion",
    "CancelIngestion",
    "UpdateDataSetPermissions",
)

_TYPES = {"string": "STRING", "timestamp": "DATETIME", "double": "DECIMAL"}


def publish_data_set(
    clients: AwsClients,
    settings: AwsSettings,
    name: str,
    view: Mapping[str, Any],
    *,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Make the data source and the data set, or bring them up to date.

    Args:
        clients: of the account and the region in which QuickSight is.
        settings: `quicksight_principal` becomes the owner.
        name: of the dataset group, for people.
        view: the view as Glue is given it.
        poll_seconds: between two looks at whether the data source is ready.

    Raises:
        StoreError: QuickSight refuses, or can't make the data source.
    """
    try:
        _publish(clients, settings, name, view, poll_seconds)
    except ClientError as error:
        raise StoreError(
            f"QuickSight has no data set {name}: {error}; allow this identity the quicksight: actions on data sources and "
            "data sets, subscribe the account, or unset CHRONOS_QUICKSIGHT_PRINCIPAL"
        ) from error


def _publish(
    clients: AwsClients, settings: AwsSettings, name: str, view: Mapping[str, Any], poll_seconds: float
) -> None:
    quicksight = clients("quicksight")
    account = clients("sts").get_caller_identity()["Account"]
    identity = settings.glue_database.replace("_", "-")
    source = {
        "AwsAccountId": account,
        "DataSourceId": identity,
        "Name": f"{name} (Athena)"[:128],
        "DataSourceParameters": {"AthenaParameters": {"WorkGroup": settings.athena_workgroup}},
    }
    arn = _create_or_update(
        quicksight,
        lambda: quicksight.create_data_source(
            **source, Type="ATHENA", Permissions=_owned(settings.quicksight_principal, SOURCE_ACTIONS)
        ),
        lambda: quicksight.update_data_source(**source),
        lambda: quicksight.update_data_source_permissions(
            AwsAccountId=account,
            DataSourceId=identity,
            GrantPermissions=_owned(settings.quicksight_principal, SOURCE_ACTIONS),
        ),
    )
    _wait(quicksight, account, identity, poll_seconds)
    columns = view["StorageDescriptor"]["Columns"]
    data_set = {
        "AwsAccountId": account,
        "DataSetId": identity,
        "Name": f"{name}: forecast and history"[:128],
        "ImportMode": "DIRECT_QUERY",
        "PhysicalTableMap": {
            "view": {
                "RelationalTable": {
                    "DataSourceArn": arn,
                    "Catalog": "AwsDataCatalog",
                    "Schema": settings.glue_database,
                    "Name": view["Name"],
                    "InputColumns": [{"Name": column["Name"], "Type": _TYPES[column["Type"]]} for column in columns],
                }
            }
        },
    }
    _create_or_update(
        quicksight,
        lambda: quicksight.create_data_set(**data_set, Permissions=_owned(settings.quicksight_principal, SET_ACTIONS)),
        lambda: quicksight.update_data_set(**data_set),
        lambda: quicksight.update_data_set_permissions(
            AwsAccountId=account,
            DataSetId=identity,
            GrantPermissions=_owned(settings.quicksight_principal, SET_ACTIONS),
        ),
    )


def _create_or_update(
    quicksight: Any, create: Callable[[], Any], update: Callable[[], Any], grant: Callable[[], Any]
) -> str:
    """Create a resource, or update the one that is there and grant it to the principal; its ARN."""
    try:
        return str(create()["Arn"])
    except quicksight.exceptions.ResourceExistsException:
        arn = str(update()["Arn"])
        grant()
        return arn


def _wait(quicksight: Any, account: str, identity: str, poll_seconds: float) -> None:
    """Until a data set can be made of the data source."""
    end = time.monotonic() + READY_SECONDS
    while True:
        source = quicksight.describe_data_source(AwsAccountId=account, DataSourceId=identity)["DataSource"]
        if source["Status"].endswith("_SUCCESSFUL"):
            return
        if source["Status"].endswith("_FAILED") or time.monotonic() >= end:
            reason = source.get("ErrorInfo", {}).get("Message", "no reason given")
            raise StoreError(
                f"QuickSight's data source {identity} is {source['Status']}: {reason}; allow QuickSight the bucket and "
                "Athena (Manage QuickSight, Security & permissions), or unset CHRONOS_QUICKSIGHT_PRINCIPAL"
            )
        time.sleep(poll_seconds)


def _owned(principal: str, actions: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"Principal": principal, "Actions": [f"quicksight:{action}" for action in actions]}]
