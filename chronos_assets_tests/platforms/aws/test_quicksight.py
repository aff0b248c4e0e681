"""The data source and the data set in QuickSight, made and made again: requests checked by botocore."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.quicksight import publish_data_set
from chronos_assets.platforms.store import StoreError
from chronos_assets.settings import AwsSettings

ACCOUNT = "123456789012"
ANALYST = f"arn:aws:quicksight:us-east-1:{ACCOUNT}:user/default/ann"
SETTINGS = AwsSettings(glue_database="shop_eu", quicksight_principal=ANALYST)
SOURCE = {"AwsAccountId": ACCOUNT, "DataSourceId": "shop-eu"}
SET = {"AwsAccountId": ACCOUNT, "DataSetId": "shop-eu"}
SOURCE_ARN = f"arn:aws:quicksight:us-east-1:{ACCOUNT}:datasource/shop-eu"
SET_ARN = f"arn:aws:quicksight:us-east-1:{ACCOUNT}:dataset/shop-eu"
VIEW = {
    "Name": "forecast_vs_history",
    "StorageDescriptor": {
        "Columns": [
            {"Name": "item_id", "Type": "string"},
            {"Name": "timestamp", "Type": "timestamp"},
            {"Name": "value", "Type": "double"},
        ]
    },
}
PHYSICAL = {
    "view": {
        "RelationalTable": {
            "DataSourceArn": SOURCE_ARN,
            "Catalog": "AwsDataCatalog",
            "Schema": "shop_eu",
            "Name": "forecast_vs_history",
            "InputColumns": [
                {"Name": "item_id", "Type": "STRING"},
                {"Name": "timestamp", "Type": "DATETIME"},
                {"Name": "value", "Type": "DECIMAL"},
            ],
        }
    }
}


def client(service: str) -> Any:
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")  # noqa: S106


class QuickSight:
    """A client that expects calls in an order, and what is given of them."""

    def __init__(self) -> None:
        quicksight, sts = client("quicksight"), client("sts")
        self.stub, identity = Stubber(quicksight), Stubber(sts)
        identity.add_response("get_caller_identity", {"Account": ACCOUNT})
        for stub in (self.stub, identity):
            stub.activate()
        self.clients = AwsClients("us-east-1", quicksight=quicksight, sts=sts)

    def status(self, status: str, **more: Any) -> None:
        self.stub.add_response("describe_data_source", {"DataSource": {"Status": status, **more}}, SOURCE)

    def publish(self) -> None:
        publish_data_set(self.clients, SETTINGS, "shop", VIEW, poll_seconds=0)
        self.stub.assert_no_pending_responses()


SOURCE_FACTS = {
    **SOURCE,
    "Name": "shop (Athena)",
    "DataSourceParameters": {"AthenaParameters": {"WorkGroup": "chronos-assets"}},
}
SET_FACTS = {**SET, "Name": "shop: forecast and history", "ImportMode": "DIRECT_QUERY", "PhysicalTableMap": PHYSICAL}


def owned(*some: str) -> list[dict[str, Any]]:
    return [{"Principal": ANALYST, "Actions": [f"quicksight:{action}" for action in some]}]


def test_a_source_and_a_set_are_made_and_owned_by_the_principal() -> None:
    quicksight = QuickSight()
    source_owner = owned(
        "DescribeDataSource", "DescribeDataSourcePermissions", "PassDataSource", "UpdateDataSource",
        "DeleteDataSource", "UpdateDataSourcePermissions",
    )  # fmt: skip
    quicksight.stub.add_response(
        "create_data_source", {"Arn": SOURCE_ARN}, {**SOURCE_FACTS, "Type": "ATHENA", "Permissions": source_owner}
    )
    quicksight.status("CREATION_IN_PROGRESS")
    quicksight.status("CREATION_SUCCESSFUL")
    quicksight.stub.add_response("create_data_set", {"Arn": SET_ARN}, {**SET_FACTS, "Permissions": ANY})
    quicksight.publish()


def test_those_that_are_there_are_brought_up_to_date() -> None:
    quicksight = QuickSight()
    quicksight.stub.add_client_error("create_data_source", "ResourceExistsException")
    quicksight.stub.add_response("update_data_source", {"Arn": SOURCE_ARN}, SOURCE_FACTS)
    quicksight.stub.add_response("update_data_source_permissions", {}, {**SOURCE, "GrantPermissions": ANY})
    quicksight.status("UPDATE_SUCCESSFUL")
    quicksight.stub.add_client_error("create_data_set", "ResourceExistsException")
    quicksight.stub.add_response("update_data_set", {"Arn": SET_ARN}, SET_FACTS)
    quicksight.stub.add_response("update_data_set_permissions", {}, {**SET, "GrantPermissions": ANY})
    quicksight.publish()


def test_a_source_that_can_not_be_made_is_reported_with_the_reason() -> None:
    quicksight = QuickSight()
    quicksight.stub.add_response("create_data_source", {"Arn": SOURCE_ARN})
    quicksight.status("CREATION_FAILED", ErrorInfo={"Message": "no access to Athena"})
    with pytest.raises(StoreError, match=r"CREATION_FAILED: no access to Athena; allow QuickSight"):
        quicksight.publish()


def test_a_refusal_names_the_fix() -> None:
    quicksight = QuickSight()
    quicksight.stub.add_client_error("create_data_source", "AccessDeniedException")
    with pytest.raises(StoreError, match=r"no data set shop: .*AccessDenied.*unset CHRONOS_QUICKSIGHT_PRINCIPAL"):
        quicksight.publish()
