"""Checkup of the VPC that jobs run in: whether it is one, and whether S3 can be reached from it.

Here: subnets, security groups, routes and endpoints. Elsewhere: how checks run (`doctor`).

The network interfaces of jobs have no public address, so a route to an internet gateway leads them nowhere; a NAT does, and
so does an endpoint of S3. Without either a job hangs in its first download until its time is up.

https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html
"""

from __future__ import annotations

from typing import Any

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.sagemaker.faults import code_of, text_of
from chronos_assets.platforms.checkup import CheckProblem
from chronos_assets.settings import AwsSettings

EVERYWHERE = "0.0.0.0/0"


def network(clients: AwsClients, aws: AwsSettings) -> str | None:
    """Where jobs run: subnets and security groups that fit each other, several zones, and a way to S3.

    Raises:
        CheckProblem: they don't, or it isn't.
    """
    if not (aws.subnets and aws.security_groups):
        return None
    ec2 = clients("ec2")
    try:
        subnets = ec2.describe_subnets(SubnetIds=list(aws.subnets))["Subnets"]
        groups = ec2.describe_security_groups(GroupIds=list(aws.security_groups))["SecurityGroups"]
    except Exception as error:
        if not code_of(error).endswith((".NotFound", ".Malformed")):
            raise
        fix = "set CHRONOS_SUBNETS and CHRONOS_SECURITY_GROUPS to ids of this region"
        raise CheckProblem(text_of(error), fix) from error
    vpcs = sorted({item["VpcId"] for item in (*subnets, *groups)})
    if len(vpcs) > 1:
        raise CheckProblem(
            f"subnets and security groups are of several VPCs: {', '.join(vpcs)}", "choose them from one"
        )
    cut_off = [item["SubnetId"] for item in subnets if not _reaches_s3(ec2, item)]
    if cut_off:
        service = f"com.amazonaws.{ec2.meta.region_name}.s3"
        raise CheckProblem(
            f"jobs in {', '.join(cut_off)} would wait for their data forever: there is no way from there to S3",
            f"add a gateway endpoint for {service} to their route tables, which costs nothing, or a NAT",
        )
    zones = sorted({item["AvailabilityZone"] for item in subnets})
    what = f"{len(subnets)} subnets of {vpcs[0]}, which reach S3, in {', '.join(zones)}"
    if len(zones) < 2:
        fix = "add one in another zone: an instance type may have no capacity, or not be offered, in one of them"
        raise CheckProblem(what, fix, "warning")
    return what


def _reaches_s3(ec2: Any, subnet: dict[str, Any]) -> bool:
    """Whether a job in a subnet can reach S3: by an endpoint of the VPC, or by a way out that needs no public address."""
    in_vpc = {"Name": "vpc-id", "Values": [subnet["VpcId"]]}
    tables = ec2.describe_route_tables(Filters=[in_vpc])["RouteTables"]
    table = _table_of(subnet["SubnetId"], tables)
    name = {"Name": "service-name", "Values": [f"com.amazonaws.{ec2.meta.region_name}.s3"]}
    for endpoint in ec2.describe_vpc_endpoints(Filters=[in_vpc, name])["VpcEndpoints"]:
        if endpoint.get("VpcEndpointType") == "Interface" or (
            table is not None and table["RouteTableId"] in endpoint.get("RouteTableIds", [])
        ):
            return True
    return table is not None and any(_leads_out(route) for route in table.get("Routes", []))


def _table_of(subnet: str, tables: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The route table of a subnet: its own, else the main one of the VPC."""
    main = None
    for table in tables:
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet:
                return table
            if association.get("Main"):
                main = table
    return main


def _leads_out(route: dict[str, Any]) -> bool:
    if route.get("DestinationCidrBlock") != EVERYWHERE or route.get("State") == "blackhole":
        return False
    return not str(route.get("GatewayId") or "").startswith("igw-")
