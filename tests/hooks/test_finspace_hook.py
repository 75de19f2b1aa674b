"""FinSpace through Airflow's own AWS connection: address, region, credentials, roles; and what is wrong, in words."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import botocore.session
import pytest

from sluice_provider.apis.finspace import endpoints as fin
from sluice_provider.errors import (
    AuthenticationFailed,
    InvalidConnection,
    RateLimited,
    ServerError,
    SluiceError,
    Unreachable,
)
from sluice_provider.hooks import base, finspace
from sluice_provider.hooks.base import hook_for
from sluice_provider.hooks.finspace import FinSpaceHook
from tests.flows import FlowRunner, hook_options
from tests.loopback import Answer, serve

BLOCKING_AND_AWAITING = pytest.mark.parametrize("name", ["worker", "triggerer"])
ENVIRONMENT = "sluicesandbox4kdbx2026"
CANARY = "canary-of-a-secret-key"


@pytest.fixture(autouse=True, scope="module")
def models_read_once():
    """Each new session of botocore reads megabytes of JSON, the same every time: a second of CPU in each test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """No AWS settings, files or metadata service of the machine that runs the tests."""
    for name in ("PROFILE", "DEFAULT_REGION", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
def connect(sluice_sandbox, monkeypatch):
    """Point the connection at the sandbox; extra and fields may be others."""

    def point(extra=None, **fields):
        connection = json.loads(sluice_sandbox.connections()["aws_default"])
        connection["extra"] = {**connection["extra"], **(extra or {})}
        connection.update(fields)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))

    point()
    return point


def list_environments(name, hook=None):
    """One read, blocking or awaiting, without real sleeps."""
    hook = hook or FinSpaceHook()
    hook.sleep, hook.async_sleep = lambda _seconds: None, _awake
    if name == "worker":
        return hook.list_environments()
    return asyncio.run(hook.list_environments.aio())


async def _awake(_seconds):
    return None


# --- getting in


@BLOCKING_AND_AWAITING
def test_the_connection(connect, sluice_sandbox, name):
    """Credentials, region and endpoint come from the connection."""
    [environment] = list_environments(name)
    assert environment["environmentId"] == ENVIRONMENT
    assert sluice_sandbox.requests()[0]["headers"]["user-agent"].startswith("airflow-provider-sluice/")


def test_test_connection(connect):
    """What was found, or what is wrong, in a sentence."""
    assert FinSpaceHook().test_connection() == (True, "Connected; 1 kdb environments are here: sluice-sandbox.")
    connect(password="wrong")
    fine, words = FinSpaceHook().test_connection()
    assert not fine
    assert words.startswith("AuthenticationFailed")
    assert "signature" in words


@pytest.mark.parametrize(
    ("extra", "region", "url"),
    [
        ({"region_name": "us-east-2"}, None, "https://finspace.us-east-2.amazonaws.com/"),
        ({"region_name": "us-east-2"}, "eu-west-1", "https://finspace.eu-west-1.amazonaws.com/"),
        ({"endpoint_url": "http://127.0.0.1:9/all"}, None, "http://127.0.0.1:9/all/"),
        ({"service_config": {"finspace": {"endpoint_url": "https://kdb.internal"}}}, None, "https://kdb.internal/"),
    ],
)
def test_the_address(connect, extra, region, url):
    """AWS's regional one, unless the connection has another; the hook's region precedes the connection's."""
    connect(extra={"service_config": {}, **extra})
    hook = FinSpaceHook(region_name=region)
    assert hook.client_config(hook.fields()).base_url == url


def test_the_machines_region_is_the_last_resort(connect, monkeypatch):
    """Without one the error names the field."""
    connect(extra={"region_name": None})
    with pytest.raises(InvalidConnection, match="region_name is missing"):
        list_environments("worker")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert list_environments("worker")


def test_settings_of_botocore(connect, tmp_path):
    """`verify` and `config_kwargs` of the connection mean what they mean in the Amazon provider."""
    config = {"connect_timeout": 3, "read_timeout": 7, "proxies": {"https": "http://proxy:3128"}}
    connect(extra={"verify": str(tmp_path / "ca.pem"), "config_kwargs": config})
    hook = FinSpaceHook()
    place = hook.client_config(hook.fields())
    assert (place.connect_timeout, place.read_timeout, place.proxy) == (3.0, 7.0, "http://proxy:3128")
    assert (place.verify, place.ca_bundle) == (True, str(tmp_path / "ca.pem"))
    connect(extra={"verify": False})
    hook = FinSpaceHook()
    assert hook.client_config(hook.fields()).verify is False


def test_two_regions_do_not_share_a_client(connect):
    """One connection, one loop, two regions."""

    async def clients():
        return [await FinSpaceHook(region_name=region).aget_conn() for region in (None, "us-east-1", None)]

    first, other, again = asyncio.run(clients())
    assert first is again
    assert first is not other


def test_a_job_has_its_own_region():
    """A trigger finds the region in the job's locator."""
    hook = hook_for("finspace", "", {"environment_id": "e", "region_name": "eu-west-2"})
    assert (hook.conn_id, hook.region_name) == ("aws_default", "eu-west-2")


@BLOCKING_AND_AWAITING
def test_without_a_connection_the_machines_credentials_are_used(sluice_sandbox, monkeypatch, name):
    """As in all of Airflow's AWS operators: its credentials, its region, AWS's address."""
    keys = sluice_sandbox.state()["credentials"]["finspace"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["secret_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", keys["region"])
    hook = FinSpaceHook("not_there")
    fields = hook.fields() if name == "worker" else asyncio.run(hook.afields())
    place = hook.client_config(fields)
    assert place.base_url == "https://finspace.eu-west-1.amazonaws.com/"
    assert hook.auth(fields, place)._credentials().access_key == keys["access_key"]


# --- roles


def sts(*answers):
    """An STS that gives these answers, one after the other, the last one for ever."""
    left = list(answers)
    return lambda _request: left.pop(0) if len(left) > 1 else left[0]


def session(sandbox, seconds=3600.0):
    """An answer of STS: credentials of a role that are good for so long."""
    keys = sandbox.state()["finspace"]["session"]
    ends = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return Answer(
        200,
        "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
        f"<AccessKeyId>{keys['access_key']}</AccessKeyId><SecretAccessKey>{keys['secret_key']}</SecretAccessKey>"
        f"<SessionToken>{keys['token']}{int(time.time())}</SessionToken><Expiration>{ends.isoformat()}</Expiration>"
        "</Credentials><AssumedRoleUser><Arn>a</Arn><AssumedRoleId>r</AssumedRoleId></AssumedRoleUser>"
        "</AssumeRoleResult></AssumeRoleResponse>",
    )


@pytest.fixture
def assume(connect, sluice_sandbox):
    """A hook whose connection assumes a role at this STS."""

    def hook(sts_server):
        service = {
            "sts": {"endpoint_url": sts_server.url},
            "finspace": {"endpoint_url": f"{sluice_sandbox.url}/finspace"},
        }
        connect(extra={"role_arn": "arn:aws:iam::123456789012:role/kdb", "service_config": service})
        return FinSpaceHook()

    return hook


@BLOCKING_AND_AWAITING
def test_a_role_is_assumed_once(assume, sluice_sandbox, name):
    """Its credentials are used for request after request."""
    with serve(sts(session(sluice_sandbox))) as sts_server:
        hook = assume(sts_server)
        sluice_sandbox.faults([{"path": "kx", "status": 503, "times": 3}])
        assert list_environments(name, hook)
        assert len(sts_server.seen) == 1
    assert len(sluice_sandbox.requests()) == 4


@BLOCKING_AND_AWAITING
def test_a_role_is_assumed_again_when_its_session_ends(assume, sluice_sandbox, name):
    """A long job outlives a session: the next request is signed with new credentials."""
    with serve(sts(session(sluice_sandbox, seconds=2), session(sluice_sandbox))) as sts_server:
        hook = assume(sts_server)
        sluice_sandbox.faults([{"path": "kx", "status": 503, "times": 1}])
        assert list_environments(name, hook)
        assert len(sts_server.seen) >= 2


@BLOCKING_AND_AWAITING
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", AuthenticationFailed),
        (400, "Throttling", RateLimited),
        (500, "InternalFailure", ServerError),
    ],
)
def test_sts_rejects_the_request(assume, sluice_sandbox, name, status, code, kind):
    """The error has its words, and nothing was sent to FinSpace."""
    words = f"<ErrorResponse><Error><Code>{code}</Code><Message>not for you</Message></Error></ErrorResponse>"
    with serve(sts(Answer(status, words))) as sts_server, pytest.raises(kind, match="not for you"):
        list_environments(name, assume(sts_server))
    assert sluice_sandbox.requests() == []


@BLOCKING_AND_AWAITING
def test_sts_is_unreachable(assume, name):
    """A transient error, and nothing was sent."""
    with serve(sts(Answer())) as sts_server:
        hook = assume(sts_server)
    with pytest.raises(Unreachable) as error:
        list_environments(name, hook)
    assert error.value.maybe_applied is False


@BLOCKING_AND_AWAITING
def test_new_credentials_on_the_machine_are_used(connect, sluice_sandbox, monkeypatch, name):
    """A hook reads the machine's credentials file again from time to time."""
    now, keys = [0.0], sluice_sandbox.state()["credentials"]["finspace"]
    monkeypatch.setattr(finspace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    connect(login=None, password=None)
    file = Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"])

    def write(secret):
        file.write_text(f"[default]\naws_access_key_id={keys['access_key']}\naws_secret_access_key={secret}\n")

    hook = FinSpaceHook()
    client = FlowRunner(name, hook_options(hook))
    write("old")
    with pytest.raises(AuthenticationFailed):
        client(fin.list_environments())
    write(keys["secret_key"])
    now[0] += finspace.REFRESH_INTERVAL
    assert client(fin.list_environments())


# --- what is wrong


@BLOCKING_AND_AWAITING
def test_no_credentials_at_all(connect, name):
    """The error names the connection and where credentials were searched."""
    connect(login=None, password=None)
    with pytest.raises(InvalidConnection, match="'aws_default': login and password are empty"):
        list_environments(name)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"role_arn": "a", "assume_role_method": "magic"}, "magic"),
        ({"profile_name": "nobody"}, "nobody"),
        ({"config_kwargs": {"no_such": 1}}, "no_such"),
        ({"service_config": "text"}, "cannot be used"),
        ({"service_config": {"finspace": {"endpoint_url": "ftp://x"}}}, "https://"),
    ],
)
def test_invalid_settings(connect, extra, words):
    """Are an InvalidConnection with a plain message."""
    connect(extra=extra, **({"login": None, "password": None} if "profile_name" in extra else {}))
    with pytest.raises(InvalidConnection, match=words):
        list_environments("worker")


def test_without_the_amazon_provider(connect, monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "airflow.providers.amazon.aws.hooks", None)
    with pytest.raises(InvalidConnection, match=r"airflow-provider-sluice\[finspace\]"):
        list_environments("worker")


@BLOCKING_AND_AWAITING
def test_no_secret_is_shown(connect, caplog, monkeypatch, name):
    """Neither in errors nor in logs nor in what the hook shows of itself; and all of them are masked, since botocore
    writes the session token that it signs into its own log, at DEBUG."""
    masked = []
    monkeypatch.setattr(base, "mask", masked.append)
    monkeypatch.setattr(finspace, "mask", masked.append)
    connect(password=CANARY, extra={"aws_session_token": "canary-of-a-session-token"})
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpcore")
    with pytest.raises(SluiceError) as error:
        list_environments(name)
    lines = [record.getMessage() for record in caplog.records if record.name != "botocore.auth"]
    shown = f"{error.value!r}{vars(error.value)}{error.value.__context__!r}{lines}{FinSpaceHook()!r}"
    assert CANARY not in caplog.text
    assert "canary" not in shown
    assert {CANARY, "canary-of-a-session-token"} <= set(masked)
