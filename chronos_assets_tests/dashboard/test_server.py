"""Who may reach the dashboard, and which options Streamlit gets."""

from __future__ import annotations

import json

import pytest

from chronos_assets.dashboard import server
from chronos_assets.settings import Settings

LOGIN = {name: f"https://{name}.example" for name in server.LOGIN}


def settings(login: object = None) -> Settings:
    return Settings(dashboard_login="" if login is None else login if isinstance(login, str) else json.dumps(login))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_login(host: str) -> None:
    assert server.login_of(settings(), host) == {}


@pytest.mark.parametrize("host", ["10.0.0.7", "::", "forecasts.example"])
def test_beyond_loopback_it_refuses_to_start_without_a_login(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(server.LoginError, match="CHRONOS_DASHBOARD_LOGIN"):
        server.login_of(settings(), host)
    assert server.login_of(settings(LOGIN), host) == LOGIN


@pytest.mark.parametrize("login, said", [
    ("{", "not JSON"),
    ("[]", "lacks redirect_uri"),
    ({**LOGIN, "client_secret": ""}, "lacks client_secret"),
    ({name: value for name, value in LOGIN.items() if name != "cookie_secret"}, "lacks cookie_secret"),
])  # fmt: skip
def test_a_login_that_lacks_something_is_refused_wherever_it_listens(login: object, said: str) -> None:
    with pytest.raises(server.LoginError, match=said):
        server.login_of(settings(login), "127.0.0.1")


def test_a_server_without_a_login_ends_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CHRONOS_DASHBOARD_LOGIN", raising=False)
    assert server.main(["--host", "10.0.0.7", "--port", "1"]) == 1
    printed = capsys.readouterr()
    assert "starts only with a login" in printed.err
    assert not printed.out  # an address at which nothing answers


def test_it_answers_to_loopback_and_to_the_name_that_the_login_comes_back_to() -> None:
    assert server.hosts_of({}) == {"127.0.0.1", "localhost", "::1"}
    assert "redirect_uri.example" in server.hosts_of(LOGIN)


def test_streamlit_protects_against_forged_requests_and_sends_nothing_home() -> None:
    from streamlit import config

    chosen = server.options("127.0.0.1", 8501)
    assert chosen["server.enableXsrfProtection"] is True
    assert chosen["browser.gatherUsageStats"] is False
    assert chosen["client.showErrorDetails"] == "none"
    assert set(chosen) <= set(config.get_config_options())


def test_the_secret_of_the_login_is_not_in_what_settings_print() -> None:
    assert "cookie_secret" not in repr(settings(LOGIN))
