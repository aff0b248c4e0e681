"""docker/compose.yaml: one host, nothing open to others, no secret in it, the same names as image and instance."""

import re
from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.docker.dockerfile import DOCKER, read

TEXT = (DOCKER / "compose.yaml").read_text()


@pytest.fixture
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(TEXT)
    return document


def test_it_is_dagsters_three_processes_and_its_database(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"postgres", "code-location", "webserver", "daemon", "dashboard"}
    commands = {name: service["command"][:2] for name, service in compose["services"].items() if "command" in service}
    assert commands["code-location"] == ["dagster", "api"]
    assert commands["webserver"][0] == read("dagster.Dockerfile")[-1].command("CMD")[0]
    assert commands["daemon"] == ["dagster-daemon", "run"]
    assert "deploy" not in compose["services"]["daemon"]


def test_the_dashboard_starts_only_where_it_is_asked_for(compose: dict[str, Any]) -> None:
    """Beyond loopback it refuses to start without a login, which not everybody has."""
    dashboard = compose["services"]["dashboard"]
    assert dashboard["profiles"] == ["dashboard"]
    module, port = dashboard["command"][2], dashboard["command"][-1]
    assert find_spec(module) is not None
    assert dashboard["ports"] == [f"127.0.0.1:${{DASHBOARD_PORT:-8501}}:{port}"]
    assert {"profiles"} & set(compose["services"]["webserver"]) == set()


def test_only_the_web_servers_are_reachable_and_from_this_host_only(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(ports) == {"webserver", "dashboard"}
    assert all(port.startswith("127.0.0.1:") for listed in ports.values() for port in listed)


def test_the_password_comes_from_a_file_that_git_ignores(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            if "PASSWORD" in name:
                assert re.fullmatch(r"\$\{DAGSTER_POSTGRES_PASSWORD:\?[^}]+\}", value)
    assert "*.env" in (DOCKER / ".gitignore").read_text().split()


def test_processes_have_the_variables_that_instance_and_workspace_read(compose: dict[str, Any]) -> None:
    wanted = set(
        re.findall(
            r"env: (\w+)", (DOCKER / "dagster-postgres.yaml").read_text() + (DOCKER / "workspace.yaml").read_text()
        )
    )
    for name in ("code-location", "webserver", "daemon"):
        environment = compose["services"][name]["environment"]
        assert wanted <= set(environment)
        assert environment["DAGSTER_CODE_LOCATION_HOST"] in compose["services"]


def test_what_must_outlive_a_container_is_in_a_volume(compose: dict[str, Any]) -> None:
    _, _, final = read("dagster.Dockerfile")
    mounted = {}
    for name, service in compose["services"].items():
        for volume in service["volumes"]:
            # The source may be a variable with a default: ${NAME:-volume}.
            source, _, target = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", volume).partition(":")
            assert source in compose["volumes"]
            mounted[name, target] = source
    assert ("postgres", "/var/lib/postgresql/data") in mounted
    assert mounted["code-location", final.environment()["CHRONOS_STORE"]] == "store"
    # The code location writes the logs of steps, the web server shows them.
    logs = compose["services"]["webserver"]["environment"]["DAGSTER_LOGS"]
    assert mounted["code-location", logs] == mounted["webserver", logs]
    # A new volume gets owner and rights of the folder in the image.
    for (name, target), _ in mounted.items():
        assert name == "postgres" or target in final.shell()


def test_every_process_is_looked_after(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped"
        assert "no-new-privileges:true" in service["security_opt"]
        # The web server's is the image's.
        assert ("healthcheck" in service) == (name != "webserver")
        if name != "postgres":
            assert service["cap_drop"] == ["ALL"]
            assert all(need["condition"] == "service_healthy" for need in service["depends_on"].values())


def test_the_build_is_that_of_the_dockerfile(compose: dict[str, Any]) -> None:
    build = compose["services"]["code-location"]["build"]
    assert (DOCKER / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]).is_file()
    images = {service["image"] for name, service in compose["services"].items() if name != "postgres"}
    assert len(images) == 1
