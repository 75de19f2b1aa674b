"""Tokens of the mock Kaleidoscope: expiry, rotation, revocation, and headers."""

from __future__ import annotations

import pytest


def test_credentials_are_checked(kal):
    """A wrong secret answers 401 with code and message."""
    answer = kal.grant(grant_type="client_credentials", client_id=kal.credentials["client_id"], client_secret="no")
    assert answer.status_code == 401
    assert {"code", "message"} <= set(answer.json())


def test_unknown_grant_and_json_are_refused(kal):
    """Two grants are supported, form-encoded only."""
    assert kal.grant(grant_type="password").status_code == 400
    assert kal.http.post("auth/oauth/token", json={"grant_type": "client_credentials"}).status_code == 415


def test_a_token_expires(kal, sluice_sandbox):
    """After expires_in seconds of the sandbox's clock."""
    assert kal.pair["expires_in"] == 3600
    sluice_sandbox.advance(3590)
    assert kal.get("programs").status_code == 200
    sluice_sandbox.advance(10)
    assert kal.get("programs").status_code == 401


def test_token_lifetime_setting(kal, sluice_sandbox):
    """For new tokens."""
    sluice_sandbox.settings(token_lifetime=700)
    assert kal.grant().json()["expires_in"] == 700


def test_refresh_rotates(kal):
    """A refresh returns another pair; the previous access token stays valid."""
    pair = kal.grant(grant_type="refresh_token", refresh_token=kal.pair["refresh_token"]).json()
    assert pair["refresh_token"] != kal.pair["refresh_token"]
    assert kal.get("programs").status_code == 200


def test_a_reused_refresh_token_revokes_the_family(kal):
    """All tokens of the grant are revoked, those of another grant are not."""
    first, other = kal.pair, kal.grant().json()
    second = kal.grant(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert kal.grant(grant_type="refresh_token", refresh_token=first["refresh_token"]).status_code == 401
    for pair, status in ((first, 401), (second, 401), (other, 200)):
        kal.pair = pair
        assert kal.get("programs").status_code == status
    assert kal.grant(grant_type="refresh_token", refresh_token=second["refresh_token"]).status_code == 401


@pytest.mark.parametrize("life", [0, 3600])
def test_a_refresh_token_outlives_the_access_token(kal, sluice_sandbox, life):
    """A refresh after expiry works."""
    sluice_sandbox.advance(life)
    assert kal.grant(grant_type="refresh_token", refresh_token=kal.pair["refresh_token"]).status_code == 200


def test_token_in_either_header(kal):
    """X-Kal-Authorization takes precedence; Authorization is for the oldest clients, or has an IAP token."""
    token, other = f"Bearer {kal.pair['access_token']}", "Bearer iap"
    for headers, status in (
        ({"Authorization": token}, 200),
        ({"X-Kal-Authorization": token, "Authorization": other}, 200),
        ({"X-Kal-Authorization": other, "Authorization": token}, 401),
        ({"Authorization": kal.pair["access_token"]}, 401),
        ({}, 401),
    ):
        answer = kal.http.get("programs", headers=headers)
        assert answer.status_code == status
        assert status == 200 or {"code", "message"} <= set(answer.json())


def test_reset_invalidates_tokens(kal, sluice_sandbox):
    """All tokens of before answer 401."""
    sluice_sandbox.reset()
    assert kal.get("programs").status_code == 401
