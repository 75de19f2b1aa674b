"""Hooks: endpoints that block and await, clients, connections, Test connection, errors, links and secrets."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import pydoc
import time
from types import SimpleNamespace

import httpx
import pytest
import structlog

from sluice_provider.apis.kaleidoscope import endpoints as api
from sluice_provider.errors import (
    AddressRefused,
    AuthenticationFailed,
    InvalidConnection,
    InvalidInput,
    NotFound,
    Unreachable,
)
from sluice_provider.hooks import base, shared
from sluice_provider.hooks.base import Endpoint, hook_for
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.services import SERVICES
from sluice_provider.sources.output_files import AtomicFile
from tests.flows import FakeSleep, hook_options, logged_requests

pytestmark = pytest.mark.usefixtures("sluice_connections")

H = {"symbol": "H", "name": "Hydrogen"}


@pytest.fixture
def connect(monkeypatch, sluice_connections):
    """Changes the connection to the sandbox, as a user would."""

    def change(extra=None, **fields):
        connection = {**json.loads(sluice_connections["kaleidoscope_default"]), **fields}
        connection["extra"] = {"verify": False, **connection["extra"], **(extra or {})}
        monkeypatch.setenv("AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT", json.dumps(connection))

    change()
    return change


@pytest.fixture
def hook(connect):
    """Leads to the sandbox and never really waits."""
    hook = KaleidoscopeHook()
    pauses = FakeSleep()
    hook.sleep, hook.async_sleep = pauses, pauses.aio
    yield hook
    hook.close()


@pytest.fixture(params=["worker", "triggerer"])
def run_endpoint(request):
    """Calls an endpoint of a hook: `hook.get_import(id)` or `await hook.get_import.aio(id)`."""

    def blocking(endpoint, *args, **kwargs):
        return endpoint(*args, **kwargs)

    def awaiting(endpoint, *args, **kwargs):
        return asyncio.run(endpoint.aio(*args, **kwargs))

    return blocking if request.param == "worker" else awaiting


# --- endpoints


def test_an_endpoint(hook, run_endpoint, sluice_sandbox):
    """The same request and the same value, blocking and awaiting."""
    sluice_sandbox.settings(job_seconds=0)
    import_id = run_endpoint(hook.push_by_field_name, ["symbol"], [H], set_name="first")
    assert run_endpoint(hook.get_import, import_id)["import_result"]["records_created"] == 1
    assert logged_requests(sluice_sandbox)[0]["json"]["set_name"] == "first"


def test_errors_are_raised(hook, run_endpoint):
    """With their own class."""
    with pytest.raises(NotFound):
        run_endpoint(hook.get_import, import_id="nobody")


@pytest.mark.parametrize("link", ["http://169.254.169.254/latest", "http://localhost:{port}/kaleidoscope/programs"])
def test_a_refused_redirect(hook, run_endpoint, sluice_sandbox, tmp_path, link):
    """The error names host, reason, field and connection; neither a try nor the file is left behind."""
    link = link.format(port=sluice_sandbox.url.rpartition(":")[2])
    redirect = {"path": "records/export/csv", "status": 302, "headers": {"Location": link}}
    sluice_sandbox.faults([redirect])
    with pytest.raises(AddressRefused) as error:
        run_endpoint(hook.export_records, "a.csv", "slice", AtomicFile(str(tmp_path), "a.csv"))
    host = httpx.URL(link).host
    assert f"leads to {link.rpartition('/')[0].removesuffix('/kaleidoscope')}, to which nothing was sent" in str(
        error.value
    )
    assert f"add {host} to result_hosts in the connection" in str(error.value)
    assert "(Kaleidoscope at http://127.0.0.1:" in str(error.value)
    assert "connection 'kaleidoscope_default')" in str(error.value)
    assert (error.value.retryable, hook.sleep, list(tmp_path.iterdir())) == (False, [], [])
    assert len(logged_requests(sluice_sandbox)) == 1


def test_a_permitted_redirect(hook, run_endpoint, connect, sluice_sandbox, tmp_path):
    """The connection lists the name and the address, which is an internal one; no credentials are sent there."""
    connect({"result_hosts": "local*, 127.0.0.0/8"})
    link = f"http://localhost:{sluice_sandbox.url.rpartition(':')[2]}/store/a.csv"
    redirect = {"path": "records/export/csv", "status": 302, "headers": {"Location": link}}
    sluice_sandbox.faults([redirect])
    with pytest.raises(NotFound, match=r"GET records/export/csv \(redirected to http://localhost:\d+\) returned 404"):
        run_endpoint(hook.export_records, "a.csv", "slice", AtomicFile(str(tmp_path), "a.csv"))


def test_result_hosts_that_cannot_be_used(hook, run_endpoint, connect):
    """The error names connection and field."""
    connect({"result_hosts": "https://files.example.com/x"})
    with pytest.raises(InvalidConnection, match="connection 'kaleidoscope_default': result_hosts contains what is"):
        run_endpoint(hook.get_programs)


def test_sleeps_are_the_hooks_own(hook, run_endpoint, sluice_sandbox):
    """Blocking and awaiting each have their own sleep function."""
    sluice_sandbox.faults([{"path": "programs", "status": 429, "headers": {"Retry-After": "5"}}])
    assert run_endpoint(hook.get_programs)
    assert hook.sleep == [5.0]


def test_the_user_agent(hook, run_endpoint, sluice_sandbox):
    """Names the provider's version, on token requests, too."""
    run_endpoint(hook.get_programs)
    agents = {request["headers"]["user-agent"] for request in sluice_sandbox.requests()}
    assert agents == {base.USER_AGENT}
    assert "airflow-provider-sluice/" in base.USER_AGENT


def test_every_flow_has_an_endpoint():
    """Under its own name; nothing of the API is missing."""
    flows = {
        name: flow
        for name, flow in inspect.getmembers(api, inspect.isgeneratorfunction)
        if flow.__module__ == api.__name__ and not name.startswith("_")
    }
    assert flows
    for name, flow in flows.items():
        assert isinstance(vars(KaleidoscopeHook)[name], Endpoint)
        assert getattr(KaleidoscopeHook(), name).flow is flow


def test_an_endpoint_looks_like_a_method():
    """Name, docstring and signature are the flow's, and the return type is the flow's value; `.aio` is a coroutine
    function."""
    method = KaleidoscopeHook().get_import
    assert str(inspect.signature(method)) == "(import_id: 'str') -> 'JsonObject'"
    assert inspect.signature(method.aio) == inspect.signature(method)
    assert inspect.iscoroutinefunction(method.aio)
    assert (method.__name__, method.__doc__) == ("get_import", api.get_import.__doc__)
    assert list(inspect.signature(KaleidoscopeHook.get_import).parameters) == ["self", "import_id"]


def test_help_shows_the_endpoints():
    """`help()` of a hook, and of one endpoint, shows signatures and docstrings."""
    assert "get_import(import_id: 'str') -> 'JsonObject'" in pydoc.plain(
        pydoc.render_doc(KaleidoscopeHook().get_import)
    )
    shown = pydoc.plain(pydoc.render_doc(KaleidoscopeHook))
    assert "get_import(self, import_id: 'str') -> 'JsonObject'" in shown
    assert api.get_import.__doc__.splitlines()[0] in shown


# --- clients


def test_a_worker_keeps_one_client(hook):
    """For all requests of a hook, until it is closed; then it makes a new one."""
    first = hook.get_conn()
    hook.get_programs()
    assert hook.get_conn() is first
    hook.close()
    hook.close()
    assert first.is_closed
    assert hook.get_conn() is not first


def test_a_thousand_triggers_share_a_client(connect):
    """One for an event loop and connection, whichever hook uses it."""

    async def clients(count):
        return {id(await KaleidoscopeHook().aget_conn()) for _ in range(count)}

    assert len(asyncio.run(clients(50))) == 1


def test_triggers_that_start_together_share_a_client(connect):
    """None of them makes one while another is making it."""
    made = []

    class Counted(KaleidoscopeHook):
        def _open_client(self, client_class, fields):
            made.append(fields)
            return super()._open_client(client_class, fields)

    async def clients(count):
        return {id(client) for client in await asyncio.gather(*(Counted().aget_conn() for _ in range(count)))}

    assert len(asyncio.run(clients(100))) == len(made) == 1


def test_a_changed_connection_has_another_client(connect, monkeypatch):
    """So that a triggerer that runs for months uses the new password, a few seconds late; running flows keep the old
    client."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, time=time.time, sleep=time.sleep, now=0.0)
    monkeypatch.setattr(base, "time", clock)

    async def clients():
        found = [await KaleidoscopeHook().aget_conn()]
        for change in ({"password": "another"}, {}):
            connect(**change)
            clock.now += shared.LOOKUP_SECONDS - 0.1
            found.append(await KaleidoscopeHook().aget_conn())
            clock.now += 0.1
            found.append(await KaleidoscopeHook().aget_conn())
        return found

    first, still_first, second, still_second, third = asyncio.run(clients())
    assert first is still_first is third
    assert second is still_second
    assert first is not second


def test_a_connection_is_read_again_when_its_credentials_were_rejected(connect):
    """At once, as they may have changed."""

    async def clients():
        hook = KaleidoscopeHook()
        first = await hook.aget_conn()
        connect(password="another")
        hook.forget_connection()
        return first, await hook.aget_conn()

    first, second = asyncio.run(clients())
    assert first is not second


def test_triggers_share_one_look_up_of_their_connection(connect, monkeypatch):
    """Each is a round trip to the triggerer's supervisor. It outlives the trigger that started it, and a failed one is
    not kept."""
    contexts, outcomes = [], []

    async def aget_connection(conn_id):
        contexts.append(structlog.contextvars.get_contextvars())
        await asyncio.sleep(0)
        if outcomes:
            raise outcomes.pop()
        return original(conn_id)

    original = KaleidoscopeHook.get_connection
    monkeypatch.setattr(KaleidoscopeHook, "aget_connection", staticmethod(aget_connection))

    async def fields():
        structlog.contextvars.bind_contextvars(trigger_id=7)
        first = asyncio.ensure_future(KaleidoscopeHook().afields())
        others = [asyncio.ensure_future(KaleidoscopeHook().afields()) for _ in range(100)]
        await asyncio.sleep(0)
        first.cancel()
        found = await asyncio.gather(*others)
        KaleidoscopeHook().forget_connection()
        outcomes.append(RuntimeError("no supervisor"))
        with pytest.raises(RuntimeError):
            await KaleidoscopeHook().afields()
        return [*found, await KaleidoscopeHook().afields()]

    assert {each.conn_id for each in asyncio.run(fields())} == {"kaleidoscope_default"}
    assert contexts == [{}] * 3, "not in the context of the trigger that was first"


def test_a_secret_is_masked_once_on_an_event_loop(connect, monkeypatch):
    """Each time is a round trip to the triggerer's supervisor."""
    masked = []
    monkeypatch.setattr(base, "mask", masked.append)

    async def fields():
        for _ in range(3):
            hook = KaleidoscopeHook()
            await hook.afields()
            hook.forget_connection()
        connect(password="another")
        await hook.afields()

    asyncio.run(fields())
    login = "sluice-sandbox"
    secrets = ("kaleidoscope-sandbox-secret", "another")
    assert masked == [each for secret in secrets for each in (secret, f"{login}:{secret}")]


def test_event_loops_do_not_share_clients(connect):
    """A client belongs to its loop, and is forgotten after it, also after it has been used."""

    async def client():
        await KaleidoscopeHook().get_programs.aio()
        assert len(shared.loop_state.values) == 1
        return await KaleidoscopeHook().aget_conn()

    assert asyncio.run(client()) is not asyncio.run(client())


def test_many_triggers_at_once(connect, sluice_sandbox):
    """A hundred of them start together: one token request, one client."""

    async def together():
        return await asyncio.gather(*(KaleidoscopeHook().get_programs.aio() for _ in range(100)))

    assert all(asyncio.run(together()))
    assert len(logged_requests(sluice_sandbox, "oauth/token")) == 1


# --- the connection


def test_another_connection_id(monkeypatch, sluice_connections, sluice_sandbox):
    """Is used."""
    monkeypatch.setenv("AIRFLOW_CONN_LAB", sluice_connections["kaleidoscope_default"])
    monkeypatch.delenv("AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT")
    hook = KaleidoscopeHook("lab")
    assert hook.get_programs()
    assert hook_for("kaleidoscope", "lab").conn_id == "lab"
    hook.close()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_hooks_by_name(service):
    """As triggers and operators find them; without an id, the service's default."""
    assert (hook_for(service.name, "").conn_id, hook_for(service.name, "").service) == (
        service.default_conn_id,
        service.name,
    )


@pytest.mark.parametrize("name", ["", "nobody", "kaleidoscope.", "../kaleidoscope"])
def test_unknown_names(name):
    """Of a newer version, or invalid: the error lists the known ones."""
    with pytest.raises(InvalidInput, match="this version knows kaleidoscope"):
        hook_for(name, "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"login": None}, r"the field Client ID \(login\) is empty"),
        ({"password": " "}, r"the field Client secret \(password\) is empty"),
        ({"host": "ftp://h"}, "host must be"),
        ({"port": 1}, "^connection 'kaleidoscope_default': host has port"),
        ({"extra": {"iap_audience": 7}}, "iap_audience must be a string"),
        ({"extra": {"proxy": "nonsense"}}, "proxy must be a URL"),
    ],
    ids=str,
)
def test_invalid_connections(hook, run_endpoint, connect, sluice_sandbox, fields, words):
    """The error names the field, before anything is sent, blocking and awaiting."""
    if "port" in fields:
        fields = {"port": 1, "host": f"{sluice_sandbox.url}/kaleidoscope"}
    connect(**fields)
    with pytest.raises(InvalidConnection, match=words):
        run_endpoint(hook.get_programs)
    assert sluice_sandbox.requests() == []


@pytest.mark.parametrize("extra", ["[1]", "7", '"text"'])
def test_an_extra_that_is_no_object(monkeypatch, extra):
    """Airflow accepts it; the hook says what it must be."""
    from airflow.sdk import Connection

    conn = Connection(conn_id="kaleidoscope_default", conn_type="kaleidoscope", extra=extra)
    with pytest.raises(InvalidConnection, match="Extra is not a JSON object"):
        base.fields_of(conn)


def test_the_default_address():
    """Host and port may be empty."""
    from airflow.sdk import Connection

    fields = base.fields_of(Connection(conn_id="c", conn_type="kaleidoscope", login="id", password="secret"))
    assert KaleidoscopeHook().client_config(fields).base_url == "https://api.kaleidoscope.bio/"


# --- the button in the UI


def test_test_connection_succeeds(hook):
    """One sentence that names what was found."""
    workspace = hook.get_active_workspace()
    sentence = f"Connected to workspace 'Sluice sandbox' ({workspace['id']})."
    assert hook.test_connection() == (True, sentence)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"password": "wrong"}, "AuthenticationFailed: the token endpoint returned 401"),
        ({"login": ""}, "InvalidConnection: connection 'kaleidoscope_default': the field Client ID"),
        (
            {"host": "http://127.0.0.1", "port": 9},
            "Unreachable: getting a token for GET workspaces/active: ConnectError",
        ),
    ],
    ids=str,
)
def test_test_connection_fails(hook, connect, fields, words):
    """One sentence that names what is wrong."""
    connect(**fields)
    good, said = hook.test_connection()
    assert not good
    assert said.startswith(words)


# --- errors


def test_an_unreachable_host_is_named(hook, run_endpoint, connect):
    """With service, address and connection, and the fields to check."""
    connect(host="http://127.0.0.1", port=9)
    with pytest.raises(Unreachable) as error:
        run_endpoint(hook.get_programs)
    assert str(error.value).endswith(
        " (Kaleidoscope at http://127.0.0.1:9, connection 'kaleidoscope_default');"
        " check Host (host), Port (port) in the connection"
    )


def test_wrong_credentials_name_their_fields(hook, run_endpoint, connect):
    """As the form labels them."""
    connect(password="wrong")
    with pytest.raises(AuthenticationFailed) as error:
        run_endpoint(hook.get_programs)
    assert str(error.value).endswith("; check Client ID (login), Client secret (password) in the connection")
    assert "connection 'kaleidoscope_default')" in str(error.value)


def test_the_context_is_added_once(hook):
    """Also if an error passes through two hooks."""
    error = NotFound("GET x returned 404")
    error.add_context("Kaleidoscope at https://k, connection 'c'", "check x")
    error.add_context("Kili at https://i, connection 'd'", "check y")
    assert str(error) == "GET x returned 404 (Kaleidoscope at https://k, connection 'c'); check x"


def test_errors_of_arguments_keep_their_message(hook, run_endpoint):
    """They are not about the connection."""
    with pytest.raises(InvalidInput) as error:
        run_endpoint(hook.push_by_field_name, ["symbol"], [{"symbol": float("nan")}])
    assert "connection" not in str(error.value)


def test_retries_are_logged(hook, run_endpoint, sluice_sandbox, caplog):
    """With service and connection, the service's words, and the delay."""
    caplog.set_level(logging.INFO)
    sluice_sandbox.faults([{"path": "programs", "status": 503, "headers": {"Retry-After": "5"}}])
    run_endpoint(hook.get_programs)
    assert "Kaleidoscope, connection 'kaleidoscope_default': GET programs returned 503" in caplog.text
    assert "; attempt 1 of 5; sleeping 5.0 s" in caplog.text


# --- links


@pytest.mark.parametrize(
    ("web_url", "locator", "url"),
    [
        ("https://app.example.com/", {}, "https://app.example.com/imports/i%2F1"),
        ("https://app.example.com", {"operation_id": "o 1"}, "https://app.example.com/operations/o%201"),
        ("", {"operation_id": "o"}, ""),
    ],
)
def test_links(hook, connect, web_url, locator, url):
    """To the operation if there is one, else to the import; empty without a web_url."""
    connect({"web_url": web_url})
    assert hook.job_url("import", "i/1", locator, hook.fields()) == url


# --- secrets


@pytest.fixture
def masked(monkeypatch):
    """The secrets that Airflow masks in its logs."""
    import airflow.sdk.log

    secrets = []
    monkeypatch.setattr(airflow.sdk.log, "mask_secret", lambda secret, name=None: secrets.append(str(secret)))
    return secrets


def test_secrets_are_masked_before_they_are_used(hook, run_endpoint, connect, masked):
    """The password, secrets in extra, every extra header, and the token; blocking and awaiting."""
    extra = {"proxy_password": "proxy-canary", "extra_headers": {"X-Key": "header-canary"}}
    connect(extra)
    run_endpoint(hook.get_programs)
    before = set(masked)  # what comes next masks them again
    token = hook_options(hook)["auth"].token_cache.get()
    assert token
    assert {"kaleidoscope-sandbox-secret", "proxy-canary", "header-canary", token} <= before


def test_no_secret_is_shown(hook, run_endpoint, connect, caplog):
    """Not by a hook, its client or its error; not in the log of a failure, at any level."""
    caplog.set_level(logging.DEBUG)
    connect({"proxy_password": "proxy-canary", "extra_headers": {"X-Key": "header-canary"}}, password="secret-canary")
    with pytest.raises(AuthenticationFailed) as error:
        run_endpoint(hook.get_programs)
    said, words = hook.test_connection(), f"{error.value!r} {vars(error.value)}"
    assert "canary" not in f"{caplog.text} {words} {said} {hook!r} {hook.fields()!r} {vars(hook)} {hook.get_conn()!r}"
    assert "canary" not in repr([vars(state) for state in shared.loop_state.values.values()])


def test_behind_iap(hook, connect):
    """`iap_audience` in the connection adds Google's token."""
    connect({"iap_audience": "audience"})
    assert hook_options(hook)["auth"]._iap.audience == "audience"


@pytest.mark.parametrize(("behind_iap", "worn"), [(True, None), (False, "Bearer t")])
def test_the_tokens_headers(behind_iap, worn):
    """In its own header, and in Authorization unless that is Google's."""
    from sluice_provider.hooks.kaleidoscope import _apply_token

    headers = httpx.Headers()
    _apply_token(headers, "t", behind_iap)
    assert headers["X-Kal-Authorization"] == "Bearer t"
    assert headers.get("Authorization") == worn
