"""Kili behind an Airflow connection."""

from __future__ import annotations

import asyncio
import json

import pytest

from sluice_provider.errors import AuthenticationFailed
from sluice_provider.hooks.kili import KiliHook


@pytest.fixture
def conn(sluice_connections):
    """The connection's fields, to be changed."""
    return json.loads(sluice_connections["kili_default"])


@pytest.fixture
def store(monkeypatch):
    """Put a connection where Airflow finds it."""
    return lambda fields: monkeypatch.setenv("AIRFLOW_CONN_KILI_DEFAULT", json.dumps(fields))


def test_test_connection_says_whose_key_it_is(conn):
    """In a sentence."""
    fine, words = KiliHook().test_connection()
    assert fine
    assert "sandbox@example.com" in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "a-wrong-key-0123"}, "AuthenticationFailed"),
        ({"password": ""}, "API key"),
        ({"host": "http://127.0.0.1/kili/nowhere"}, "NotFound"),
        ({"host": "not a host"}, "host"),
    ],
    ids=str,
)
def test_test_connection_says_what_is_wrong(conn, store, changes, words):
    """In a sentence without the key."""
    store({**conn, **changes})
    fine, message = KiliHook().test_connection()
    assert not fine
    assert words in message
    assert "a-wrong-key" not in message


def test_blocking_and_awaiting_send_the_same(conn, sluice_sandbox):
    """The same request."""
    ids = sluice_sandbox.state()["kili"]["ids"]
    hook = KiliHook()
    assert hook.get_cloud_storage_integration(ids["integration_id"])["name"] == "Pictures"
    awaited = asyncio.run(KiliHook().get_cloud_storage_integration.aio(ids["integration_id"]))
    assert awaited == hook.get_cloud_storage_integration(ids["integration_id"])


def test_a_rejected_key_is_not_shown(conn, store, caplog):
    """Neither in the error nor in a log."""
    caplog.set_level("DEBUG")
    store({**conn, "password": "a-wrong-key-0123"})
    with pytest.raises(AuthenticationFailed) as caught:
        KiliHook().get_viewer()
    assert "a-wrong-key" not in f"{caught.value!r} {vars(caught.value)} {caplog.text}"


def test_test_connection_does_not_wait_for_a_service_that_is_down(conn, store):
    """A refused port is reported at once: somebody waits, and a thread of the API server is held."""
    store({**conn, "host": "http://127.0.0.1:9", "port": None})
    hook = KiliHook()
    hook.sleep = lambda seconds: pytest.fail(f"slept {seconds} s")
    ok, message = hook.test_connection()
    assert not ok
    assert "ConnectError" in message
