"""Kili's flows in worker and triggerer, against the sandbox."""

from __future__ import annotations

import json

import httpx
import pytest

from sluice_provider.apis.kili import azure as kili_azure
from sluice_provider.apis.kili import endpoints as kili
from sluice_provider.errors import (
    AddressRefused,
    AuthenticationFailed,
    ClientError,
    InvalidInput,
    NotFound,
    ServerError,
    UnexpectedResponse,
)
from sluice_provider.http.auth import ApiKey
from sluice_provider.http.client_config import ConnectionFields
from tests.flows import FakeSleep, FlowRunner, response, run_flow


def options(sandbox, key=""):
    """What the hook gives to its httpx clients, made without Airflow."""
    place = f"{sandbox.url}/kili/api/label/v2/"
    key = key or sandbox.state()["credentials"]["kili"]["api_key"]
    return {"base_url": place, "auth": ApiKey("X-API-Key:", key), "trust_env": False}


@pytest.fixture(params=["worker", "triggerer"])
def run(request, sluice_sandbox):
    """As a worker does, and as a triggerer does; operations finish at once."""
    sluice_sandbox.settings(job_seconds=0)
    return FlowRunner(request.param, options(sluice_sandbox), FakeSleep(sluice_sandbox.advance))


@pytest.fixture
def ids(sluice_sandbox):
    """Of what the sandbox holds."""
    return sluice_sandbox.state()["kili"]["ids"]


def test_the_viewer(run):
    """Whom the key belongs to."""
    assert run(kili.get_viewer())["email"] == "sandbox@example.com"


def test_a_wrong_key_is_refused_once(run, sluice_sandbox):
    """And named for what it is."""
    run.options = options(sluice_sandbox, "wrong-key")
    with pytest.raises(AuthenticationFailed) as caught:
        run(kili.get_viewer())
    assert caught.value.code == "UNAUTHENTICATED"
    assert "wrong-key" not in str(caught.value)
    assert len(sluice_sandbox.requests()) == 1


def test_projects(run, ids):
    """Input type, assets, and one that is not there."""
    assert run(kili.get_project(ids["project_id"]))["inputType"] == "IMAGE"
    assert run(kili.count_assets(ids["project_id"])) == 0
    with pytest.raises(NotFound, match="nobody"):
        run(kili.get_project("nobody"))


def test_integrations(run, ids):
    """Listed and counted by all that they can be filtered by."""
    assert [each["id"] for each in run(kili.list_integrations())] == [ids["integration_id"], ids["azure_id"]]
    assert run(kili.list_integrations())[0].keys() == {"id", "name", "platform", "status"}
    for where, count in (({"platform": "Azure"}, 1), ({"status": "CHECKING"}, 0), ({"name": "Pictures"}, 1), ({}, 2)):
        assert run(kili.count_integrations(**where)) == len(run(kili.list_integrations(**where))) == count
    with pytest.raises(NotFound, match="nobody"):
        run(kili.get_integration("nobody"))


def test_connections_come_in_pages_and_are_not_counted(run, ids, sluice_sandbox, monkeypatch):
    """Page after page until a short one."""
    assert kili.PAGE == 100
    monkeypatch.setattr(kili, "PAGE", 5)
    made = [run(kili.add_connection(ids["project_id"], ids["azure_id"], [])) for _ in range(kili.PAGE)]
    sluice_sandbox.requests(clear=True)
    assert [each["id"] for each in run(kili.list_connections(ids["project_id"]))] == [ids["connection_id"], *made]
    pages = [request["json"]["variables"] for request in sluice_sandbox.requests()]
    assert [(each["first"], each["skip"]) for each in pages] == [(5, 0), (5, 5)]
    assert not any("countDataIntegrations" in request["json"]["query"] for request in sluice_sandbox.requests())
    by_integration = run(kili.list_connections(integration_id=ids["integration_id"]))
    assert [each["id"] for each in by_integration] == [ids["connection_id"]]


def test_listing_connections_requires_a_filter():
    """Neither project nor integration is a mistake."""
    assert isinstance(run_flow(kili.list_connections()).error, InvalidInput)


def test_a_connection_that_is_not_there(run):
    """Kili says null."""
    with pytest.raises(NotFound, match="nobody"):
        run(kili.get_connection_status("nobody"))


def test_adding_sends_only_what_is_given(run, ids, sluice_sandbox):
    """An empty list is something, nothing is nothing."""
    run(kili.add_connection(ids["project_id"], ids["integration_id"], prefix="a/", include=[], exclude=["b"]))
    sent = sluice_sandbox.requests()[-1]["json"]["variables"]["data"]
    pair = {"projectId": ids["project_id"], "integrationId": ids["integration_id"]}
    assert sent == {**pair, "prefix": "a/", "include": [], "exclude": ["b"]}


def test_differences(run, ids, sluice_sandbox):
    """Computed, then applied."""
    me = ids["connection_id"]
    assert run(kili.get_connection_status(me)).last_check == ""
    assert run(kili.compute_differences(me)) == me
    status = run(kili.get_connection_status(me))
    assert (status.to_add, status.to_remove, status.total, status.assets, status.activity) == (3, 0, 3, 0, "")
    assert run(kili.validate_differences(me, "ADD")) == me
    status = run(kili.get_connection_status(me))
    assert (status.to_add, status.total, status.assets) == (0, 0, 3)
    assert run(kili.count_assets(ids["project_id"])) == 3
    with pytest.raises(InvalidInput):
        run(kili.validate_differences(me, "BOTH"))


def test_activity_of_a_connection(run, ids, sluice_sandbox):
    """Checking, then applying, each some time after the request."""
    sluice_sandbox.settings(job_seconds=100, busy_flag_delay=10)
    me = ids["connection_id"]
    for flow, word in (
        (kili.compute_differences(me), "computing differences"),
        (kili.validate_differences(me, "ADD"), "applying differences"),
    ):
        run(flow)
        assert run(kili.get_connection_status(me)).activity == ""
        sluice_sandbox.advance(20)
        assert run(kili.get_connection_status(me)).activity == word
        sluice_sandbox.advance(100)
        assert run(kili.get_connection_status(me)).activity == ""


def test_a_server_without_the_newer_fields(run, ids, sluice_sandbox):
    """Requested again by the older name, without the fields that it lacks."""
    run(kili.compute_differences(ids["connection_id"]))
    new = run(kili.get_connection_status(ids["connection_id"]))
    sluice_sandbox.settings(legacy_schema=True)
    old = run(kili.get_connection_status(ids["connection_id"]))
    assert (old.last_check, old.applying, new.applying) == (new.last_check, None, False)


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_unknown_field_is_recognised_with_any_status(status):
    """Also where there is no code that calls the query invalid."""
    unknown = response(status, {"errors": [{"message": 'Cannot query field "lastCheck"', "extensions": {}}]})
    good = response(200, {"data": {"data": {"id": "c", "lastCheck": "then"}}})
    played = run_flow(kili.get_connection_status("c"), unknown, good)
    assert played.value.last_check == "then"
    assert "lastCheck: lastChecked" in played.calls[1].json["query"]


def test_a_field_that_no_server_has_is_an_error(run, ids):
    """And not an endless loop."""
    with pytest.raises(ClientError, match="nonsense") as caught:
        run(kili.get_connection(ids["connection_id"], ["id", "nonsense"]))
    assert caught.value.code == "GRAPHQL_VALIDATION_FAILED"


@pytest.mark.parametrize("answer", [None, {}, {"id": ""}, "c1"], ids=str)
def test_an_answer_without_an_id(answer):
    """The requested operation cannot be named."""
    played = run_flow(kili.validate_differences("c1", "ADD"), response(200, {"data": {"data": answer}}))
    assert isinstance(played.error, UnexpectedResponse)


# --- Azure


@pytest.fixture
def azure(run, ids):
    """A connection of the Azure integration; skipped where Azure's client is not installed."""
    pytest.importorskip("azure.storage.blob", reason="azure-storage-blob is not installed (extra azure)")
    return lambda **filters: run(kili.add_connection(ids["project_id"], ids["azure_id"], **filters))


@pytest.fixture
def blobs(sluice_sandbox, ids):
    """The folder that is the container."""
    from pathlib import Path

    return Path(sluice_sandbox.state()["kili"]["buckets"][ids["azure_id"]])


def test_an_azure_container_is_listed_from_here(run, azure, blobs, sluice_sandbox):
    """Page by page; names and types in parallel, and why others are missing."""
    (blobs / "notes.txt").write_text("x")
    (blobs / "unknown").write_text("x")
    sluice_sandbox.settings(page_size=2)
    masked = []
    assert run(kili.compute_differences(azure(), masked.append))
    [sent] = [each["json"]["variables"] for each in sluice_sandbox.requests() if "blobPaths" in str(each["json"])]
    assert sent["data"] == {
        "blobPaths": ["cats/one.png", "cats/two.png", "dogs/one.png"],
        "contentTypes": ["image/png"] * 3,
        "warnings": [
            "Objects with missing content-type were ignored",
            "Objects with unsupported content-type for this type of project were ignored",
        ],
    }
    pages = [each for each in sluice_sandbox.requests() if "azure" in each["path"]]
    assert len(pages) == 3
    assert any("sig=" in each for each in masked)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"prefix": "cats/"}, ["cats/one.png", "cats/two.png"]),
        ({"prefix": "cats/", "selected_folders": ["dogs/"]}, ["cats/one.png", "cats/two.png"]),
        ({"selected_folders": ["dogs"]}, ["dogs/one.png"]),
        ({"selected_folders": []}, []),
        ({"include": ["*one*"]}, ["cats/one.png", "dogs/one.png"]),
        ({"include": ["cats", "dogs"], "exclude": ["cats/*.png"]}, ["dogs/one.png"]),
        ({"include": ["one"]}, []),
        ({"exclude": ["*"]}, []),
    ],
    ids=str,
)
def test_an_azure_container_is_filtered(run, azure, filters, names, sluice_sandbox):
    """By prefix, folders, include and exclude, in this order."""
    made = azure(**filters)
    run(kili.compute_differences(made))
    [sent] = [each["json"]["variables"] for each in sluice_sandbox.requests() if "blobPaths" in str(each["json"])]
    assert sent["data"]["blobPaths"] == names
    assert run(kili.get_connection_status(made)).to_add == len(names)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 403, "headers": {"x-ms-error-code": "AuthorizationFailure"}}, ClientError),
        ({"status": 404}, ClientError),
        ({"status": 501}, ServerError),
    ],
    ids=str,
)
def test_azure_errors(run, azure, fault, error, sluice_sandbox):
    """A typed error without the token, in its words, its context or its pickle."""
    import pickle

    made = azure()
    sluice_sandbox.faults([{"method": "GET", "path": "azure", "times": 10, **fault}])
    with pytest.raises(error) as caught:
        run(kili.compute_differences(made))
    assert str(fault["status"]) in str(caught.value)
    assert caught.value.__context__ is None or not any(word in str(caught.value.__context__) for word in ("sig=",))
    assert b"sig=" not in pickle.dumps(caught.value)
    assert "computeDifferences" not in str(sluice_sandbox.requests())


def test_the_token_is_never_logged(run, azure, caplog, sluice_sandbox):
    """With debug logging Azure's client logs URLs; the token in them is masked."""
    caplog.set_level("DEBUG")
    masked = []
    run(kili.compute_differences(azure(), masked.append))
    shown = caplog.text
    assert "c2x1aWNlIHNhbmRib3" in shown
    for secret in sorted(masked, key=len, reverse=True):
        shown = shown.replace(secret, "***")
    assert "c2x1aWNlIHNhbmRib3" not in shown
    assert "c2x1aWNlIHNhbmRib3" not in json.dumps(sluice_sandbox.requests())


def test_airflow_masks_the_token(azure, sluice_connections):
    """The hook masks it in Airflow's log, in worker and triggerer."""
    import asyncio

    from airflow.sdk._shared.secrets_masker import redact
    from airflow.sdk.log import mask_secret  # noqa: F401 - sets the masker up

    from sluice_provider.hooks.kili import KiliHook
    from sluice_sandbox.kili.azure import SAS

    made = azure()
    KiliHook().compute_differences(made)
    assert "c2x1aWNlIHNhbmRib3" not in str(redact(f"GET http://host/?{SAS}"))
    assert asyncio.run(KiliHook().compute_differences.aio(made)) == made


def test_without_azures_client(run, ids, monkeypatch):
    """A plain word on what to install."""
    import sys

    for name in ("azure.storage.blob", "azure.core.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    made = run(kili.add_connection(ids["project_id"], ids["azure_id"]))
    with pytest.raises(InvalidInput, match=r"airflow-provider-sluice\[azure\]"):
        run(kili.compute_differences(made))


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("http://169.254.169.254/latest/meta-data", AddressRefused, "add 169.254.169.254 to result_hosts"),
        ("http://localhost:1/account/container", AddressRefused, "add localhost to result_hosts"),
        ("https://a.blob.core.windows.net.evil.example/c", AddressRefused, "neither the connection's own host"),
        ("http://[::1", UnexpectedResponse, "a link of the service is not a URL"),
    ],
)
def test_a_container_elsewhere(run, ids, monkeypatch, url, error, words):
    """Kili says where the container is: it could be a host of the worker's network. Nothing is listed there."""
    made = run(kili.add_connection(ids["project_id"], ids["azure_id"]))
    listed = []
    monkeypatch.setattr(kili_azure, "list_container", lambda *_: listed.append(1))
    original = kili.get_connection

    def moved(*args):
        connection = yield from original(*args)
        integration = {**(connection.get("dataIntegration") or {})}
        return {**connection, "dataIntegration": {**integration, "azureConnectionURL": url}}

    monkeypatch.setattr(kili, "get_connection", moved)
    with pytest.raises(error, match=words):
        run(kili.compute_differences(made))
    assert listed == []


def test_azures_own_hosts_are_permitted():
    """Without being listed; and those that are listed."""
    from sluice_provider.hooks.kili import KiliHook

    config = KiliHook().client_config(fields(extra={"result_hosts": "files.example.com"}))
    for host in ("account.blob.core.windows.net", "a.blob.core.usgovcloudapi.net", "files.example.com"):
        config.result_hosts.check(httpx.URL(f"https://{host}/container"))
    with pytest.raises(AddressRefused):
        config.result_hosts.check(httpx.URL("https://blob.core.windows.net.example/container"))


@pytest.mark.parametrize("url", ["http://127.0.0.1\\@a.blob.core.windows.net/c", "http://a@127.0.0.1/c", "http://[::1"])
def test_urls_that_parsers_read_differently(url):
    """Are refused: the host that was checked must be the one that Azure's client requests."""
    integration = {"id": "i", "azureSASToken": "sig=abc", "azureConnectionURL": url}
    with pytest.raises(InvalidInput, match="azureConnectionURL is not"):
        kili_azure.list_container({"dataIntegration": integration}, "IMAGE", lambda _secret: None)


def test_other_projects_cannot_be_filled_from_azure():
    """Before anything is listed."""
    from sluice_provider.apis.kili.azure import list_container

    integration = {"id": "i", "azureSASToken": "sig=abc", "azureConnectionURL": "https://a.blob.core.windows.net/c"}
    with pytest.raises(InvalidInput, match="LLM_RLHF"):
        list_container({"dataIntegration": integration}, "LLM_RLHF", lambda _secret: None)
    with pytest.raises(InvalidInput, match="azureSASToken"):
        list_container({"dataIntegration": {**integration, "azureSASToken": None}}, "IMAGE", lambda _secret: None)
    with pytest.raises(InvalidInput, match="not the URL of an Azure container"):
        list_container({"dataIntegration": {**integration, "azureConnectionURL": "a/b"}}, "IMAGE", lambda _secret: None)


# --- the hook's own


def fields(**more):
    """A connection of this type."""
    return ConnectionFields("kili_default", **{"password": "key", **more})


@pytest.mark.parametrize(
    ("host", "port", "base", "web"),
    [
        (None, None, "https://cloud.kili-technology.com/api/label/v2/", "https://cloud.kili-technology.com"),
        ("cloud.eastus.kili-technology.com", None, "https://cloud.eastus.kili-technology.com/api/label/v2/", None),
        ("https://kili.example.com/api/label/v2/graphql", 8443, "https://kili.example.com:8443/api/label/v2/", None),
        ("http://here/proxy/api/label/v2/graphql/", None, "http://here/proxy/api/label/v2/", "http://here/proxy"),
        ("http://here/api/label/v2", None, "http://here/api/label/v2/", "http://here"),
    ],
)
def test_where_the_endpoint_is(host, port, base, web):
    """Host names, whole URLs, and the web URL of a project."""
    from sluice_provider.hooks.kili import KiliHook

    hook, conn = KiliHook(), fields(host=host, port=port)
    assert hook.client_config(conn).base_url == base
    link = hook.job_url("computation", "c", {"project_id": "p/1"}, conn)
    assert link == f"{web or base.removesuffix('/api/label/v2/')}/label/projects/p%2F1/"
    other = fields(host=host, port=port, extra={"web_url": "https://people/"})
    assert hook.job_url("computation", "c", {"project_id": "p"}, other) == "https://people/label/projects/p/"
    assert hook.job_url("computation", "c", {}, conn) == ""


@pytest.mark.parametrize("key", [None, "", " ", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_one(key):
    """Named as a field, and never shown."""
    from sluice_provider.errors import InvalidConnection
    from sluice_provider.hooks.kili import KiliHook

    hook, conn = KiliHook(), fields(password=key)
    with pytest.raises(InvalidConnection) as caught:
        hook.auth(conn, hook.client_config(conn))
    assert not (key and key.strip()) or key not in str(caught.value)
