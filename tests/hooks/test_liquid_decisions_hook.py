"""The connection to Liquid Decisions: what is in it, what is missing in it, and the button that tests it."""

from __future__ import annotations

import json
import re

import pytest

from sluice_provider import get_provider_info
from sluice_provider.hooks.liquid_decisions import LiquidDecisionsHook

SECRETS = ("liquid-decisions-sandbox-password", "liquid-decisions-client-secret")


@pytest.fixture
def connect(sluice_sandbox, monkeypatch):
    """A hook whose connection differs from the right one in this."""

    def hook(**changes):
        connection = json.loads(sluice_sandbox.connections()["liquid_decisions_default"])
        extra = {**connection["extra"], **changes.pop("extra", {})}
        connection |= {**changes, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_LD", json.dumps(connection))
        return LiquidDecisionsHook("ld")

    return hook


def test_test_connection(connect):
    """Names the community and the user."""
    assert connect().test_connection() == (True, "Connected to community 'Sluice' as 'sluice@example.com'.")


def test_test_connection_without_token_info(connect, sluice_sandbox):
    """A valid token is enough."""
    sluice_sandbox.faults([{"path": "tokenInfo", "status": 404, "times": 9}])
    assert connect().test_connection() == (True, "Connected: the token is valid.")


def test_no_client_id(connect):
    """The Java example sends no client id and secret."""
    assert connect(extra={"client_id": None, "client_secret": ""}).test_connection()[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong-password"}, "AuthenticationFailed: .* The user id or password is wrong"),
        ({"extra": {"client_secret": "wrong-secret"}}, "AuthenticationFailed: .* Client authentication failed"),
        (
            {"extra": {"community": "Other"}},
            "AuthenticationFailed: .* The scope does not contain a community of this user",
        ),
        ({"extra": {"community": None}}, "InvalidConnection: .* Community .community. is empty"),
        ({"extra": {"community": "two words"}}, "InvalidConnection: .*community must not contain spaces"),
        ({"login": ""}, "InvalidConnection: .*Login .login. is empty"),
        ({"password": None}, "InvalidConnection: .*Password .password. is empty"),
        ({"host": "", "port": None}, "InvalidConnection: .*host must be a host name"),
    ],
    ids=str,
)
def test_test_connection_says_what_is_wrong(connect, changes, words):
    """In one sentence, and without a secret."""
    fine, message = connect(**changes).test_connection()
    assert not fine
    assert re.search(words, message), message
    assert not any(secret in message for secret in (*SECRETS, "wrong-password", "wrong-secret"))


def test_a_rejection_with_status_200(connect, sluice_sandbox):
    """The vendor's demos check `error` before the status."""
    body = {"error": "invalid_grant", "error_description": "no such user"}
    sluice_sandbox.faults([{"path": "oauth2/token$", "status": 200, "body": body, "times": 9}])
    assert (
        connect().test_connection()[1].startswith("AuthenticationFailed: the token endpoint returned 200: no such user")
    )


def test_the_token_request(connect, sluice_sandbox):
    """The password grant, with the community in the scope, once for many requests."""
    hook = connect()
    hook.validate_token()
    hook.get_token_info()
    grants = [each["json"] for each in sluice_sandbox.requests() if each["path"].endswith("oauth2/token")]
    assert grants == [
        {
            "grant_type": "password",
            "username": "sluice@example.com",
            "password": "***",
            "scope": "community=Sluice",
            "client_id": "sluice-sandbox",
            "client_secret": "***",
        }
    ]


def test_the_form():
    """Airflow's API redacts secrets by their names."""
    (form,) = [c for c in get_provider_info()["connection-types"] if c["connection-type"] == "liquid_decisions"]
    assert {"community", "client_id", "client_secret"} <= set(form["conn-fields"])
    hidden = [name for name, field in form["conn-fields"].items() if field["schema"].get("format") == "password"]
    assert sorted(hidden) == ["client_secret", "proxy_password"]
