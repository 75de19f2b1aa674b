"""The mock Kili by plain HTTP: authentication, differences, tasks, and errors."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import httpx
import pytest

from sluice_sandbox.kili.bucket import Filter

GET_CONNECTION = """query dataConnection($where: DataConnectionIdWhere!) { data: dataConnection(where: $where) {
    id isChecking isApplyingDataDifferences lastCheck lastChecked numberOfAssets
    dataDifferencesSummary { added removed total } dataIntegration { platform } } }"""
COMPUTE = "mutation c($where: DataConnectionIdWhere!) { data: computeDifferences(where: $where) { id } }"
APPLY = "mutation v($where: ValidateDataDifferencesWhere!) { data: validateDataDifferences(where: $where) { id } }"
COUNT = "query c($where: AssetWhere!) { data: countAssets(where: $where) }"


class Client:
    """A minimal client with the API key."""

    def __init__(self, http, sandbox):
        self.http, self.sandbox = http, sandbox
        state = sandbox.state()
        self.ids, self.key = state["kili"]["ids"], state["credentials"]["kili"]["api_key"]
        self.me = {"id": self.ids["connection_id"]}
        self.bucket = Path(state["kili"]["buckets"][self.ids["integration_id"]])

    def post(self, query, key=None, **variables):
        """The response."""
        headers = {"Authorization": f"X-API-Key: {key or self.key}"}
        return self.http.post("graphql", json={"query": query, "variables": variables}, headers=headers)

    def execute(self, query, **variables):
        """The value of the root field."""
        return self.post(query, **variables).json()["data"]["data"]

    def poll(self):
        """Read the first connection."""
        return self.execute(GET_CONNECTION, where=self.me)

    def apply(self, kind):
        """Apply ADD or REMOVE."""
        return self.execute(APPLY, where={"connectionId": self.me["id"], "type": kind})

    def summary(self):
        """The numbers of additions and removals."""
        found = self.poll()["dataDifferencesSummary"]
        return found["added"], found["removed"]


@pytest.fixture
def kili(sluice_sandbox):
    """A client of a reset Kili whose tasks finish at once."""
    sluice_sandbox.settings(job_seconds=0)
    with httpx.Client(base_url=f"{sluice_sandbox.url}/kili/api/label/v2/", trust_env=False) as http:
        yield Client(http, sluice_sandbox)


def test_wrong_api_key(kili):
    """With `extensions`, which the vendor's client needs; the version endpoint needs the key, too."""
    answer = kili.post("{ viewer { id } }", key="wrong")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")
    assert kili.http.get("version").status_code == 401


def test_first_query_of_the_vendors_client(kili):
    """A plain JSON body, and a response with the viewer's data."""
    body = b'{"query":"{ viewer { id email } }"}'
    headers = {"Authorization": f"X-API-Key: {kili.key}", "Content-Type": "application/json"}
    for content, more in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        text = kili.http.post("graphql", content=content, headers={**headers, **more}).text
        assert '"id"' in text
        assert '"email"' in text
    assert kili.http.post("graphql", content=b"{", headers=headers).status_code == 400


@pytest.mark.parametrize("query", ["{ nothing }", "{", "query x($a: Nobody!) { viewer { id } }", ""])
def test_invalid_query(kili, query):
    """400, and every error has a code."""
    answer = kili.post(query)
    assert answer.status_code == 400
    assert all(error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED" for error in answer.json()["errors"])


def test_differences_are_computed_from_files_against_assets(kili):
    """New files, removed files, and what was applied."""
    assert (kili.poll()["lastCheck"], kili.summary()) == (None, (0, 0))
    kili.execute(COMPUTE, where=kili.me)
    assert kili.summary() == (3, 0)
    kili.apply("ADD")
    assert (kili.summary(), kili.poll()["numberOfAssets"]) == ((0, 0), 3)
    (kili.bucket / "cats" / "one.png").unlink()
    (kili.bucket / "half.png.part").write_bytes(b"")
    assert kili.summary() == (0, 0)
    kili.execute(COMPUTE, where=kili.me)
    assert kili.summary() == (0, 1)
    kili.apply("REMOVE")
    assert (kili.poll()["numberOfAssets"], kili.summary()) == (2, (0, 0))


def test_task_duration_and_flag_delay(kili):
    """The flag appears, the numbers change, the flag disappears; the old summary stays until then."""
    kili.sandbox.settings(job_seconds=30, busy_flag_delay=5)
    kili.execute(COMPUTE, where=kili.me)
    assert (kili.poll()["isChecking"], kili.summary()) == (False, (0, 0))
    kili.sandbox.advance(6)
    assert (kili.poll()["isChecking"], kili.poll()["lastCheck"]) == (True, None)
    kili.sandbox.advance(30)
    assert (kili.poll()["isChecking"], kili.summary()) == (False, (3, 0))
    assert kili.poll()["lastCheck"] == kili.poll()["lastChecked"] is not None
    kili.apply("ADD")
    assert kili.poll()["isApplyingDataDifferences"] is False
    kili.sandbox.advance(6 + 20)
    poll = kili.poll()
    assert (poll["isApplyingDataDifferences"], poll["numberOfAssets"]) == (True, 2)
    kili.sandbox.advance(10)
    assert (kili.poll()["isApplyingDataDifferences"], kili.poll()["numberOfAssets"]) == (False, 3)


def test_repeated_requests_are_executed_twice(kili):
    """So that tests detect a client that repeats requests blindly."""
    kili.sandbox.settings(job_seconds=0)
    kili.execute(COMPUTE, where=kili.me)
    kili.poll()
    kili.sandbox.settings(job_seconds=10)
    kili.apply("ADD")
    kili.apply("ADD")
    kili.sandbox.advance(11)
    assert kili.poll()["numberOfAssets"] == 6


def test_assets_of_other_imports(kili):
    """By a setting: the project's count changes, the connection's does not."""
    where = {"project": {"id": kili.ids["project_id"]}, "label": {}, "issue": {}}
    kili.sandbox.settings(other_assets=7, other_assets_per_count=2)
    assert [kili.execute(COUNT, where=where), kili.execute(COUNT, where=where)] == [9, 11]
    assert kili.poll()["numberOfAssets"] == 0


def test_concurrent_checks(kili):
    """Ignored or rejected, by a setting, as the real behaviour is not documented."""
    kili.sandbox.settings(job_seconds=30)
    for _ in range(2):
        kili.execute(COMPUTE, where=kili.me)
    assert kili.sandbox.state()["kili"]["connections"][0]["tasks"] == ["CHECK"]
    kili.sandbox.settings(reject_concurrent_checks=True)
    assert "already" in kili.post(COMPUTE, where=kili.me).json()["errors"][0]["message"]


def test_unknown_connection(kili):
    """Null for a query, an error for a mutation."""
    assert kili.execute(GET_CONNECTION, where={"id": "nobody"}) is None
    answer = kili.post(COMPUTE, where={"id": "nobody"})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (200, "NOT_FOUND")


def test_bucket_has_its_folder(kili):
    """Given as an S3 endpoint, so that examples can write files."""
    query = "query i($where: DataIntegrationWhere!) { data: dataIntegrations(where: $where, skip: 0, first: 9) { %s } }"
    [found] = kili.execute(query % "s3Endpoint s3BucketName", where={"id": kili.ids["integration_id"]})
    assert Path(found["s3Endpoint"].removeprefix("file://"), found["s3BucketName"]) == kili.bucket
    assert (kili.bucket / "cats" / "one.png").read_bytes().startswith(b"\x89PNG")


def test_create_update_delete_integrations(kili):
    """Created, changed, deleted."""
    create = "mutation c($data: DataIntegrationData!) { data: createDataIntegration(data: $data) { id status } }"
    made = kili.execute(create, data={"name": "New", "platform": "AWS", "status": "CHECKING"})
    change = """mutation u($data: DataIntegrationData!, $where: DataIntegrationWhere!) {
        data: updatePropertiesInDataIntegration(data: $data, where: $where) { name status } }"""
    changed = kili.execute(change, data={"status": "CONNECTED"}, where={"id": made["id"]})
    assert (made["status"], changed) == ("CHECKING", {"name": "New", "status": "CONNECTED"})
    delete = "mutation d($where: DataIntegrationWhere!) { data: deleteDataIntegration(where: $where) }"
    assert kili.execute(delete, where={"id": made["id"]}) == made["id"]


def test_reset(kili):
    """Assets, files and connections are restored."""
    kili.execute(COMPUTE, where=kili.me)
    kili.apply("ADD")
    old = kili.bucket
    kili.sandbox.reset()
    state = kili.sandbox.state()["kili"]
    assert (state["connections"][0]["assets"], state["connections"][0]["last_check"]) == ([], None)
    assert not old.exists()


def test_secrets_are_masked(kili):
    """Also if the vendor's client sends the key as a variable."""
    query = "query apiKeys($where: ApiKeyWhere!) { data: apiKeys(where: $where, skip: 0, first: 1) { expiryDate } }"
    [found] = kili.execute(query, where={"key": kili.key})
    assert found["expiryDate"].endswith("Z")
    assert kili.execute(query, where={"key": "another"}) == []
    kili.http.get(f"{kili.sandbox.url}/kili/azure/account/x?sig=c2VjcmV0")
    for seen in (kili.sandbox.requests(clear=True), kili.sandbox.requests()):
        assert kili.key not in json.dumps(seen)
        assert "c2VjcmV0" not in json.dumps(seen)
    kili.execute(query, where={"key": kili.key})
    assert kili.key not in json.dumps(kili.sandbox.requests())


def test_azure_needs_the_sas_token(kili):
    """Only List Blobs is supported."""
    url = f"{kili.sandbox.url}/kili/azure/account/{kili.ids['azure_id']}"
    assert kili.http.get(url).headers["x-ms-error-code"] == "AuthenticationFailed"


def test_project_page(kili):
    """The project's page, and the sandbox's status page."""
    kili.execute(COMPUTE, where=kili.me)
    kili.apply("ADD")
    page = kili.http.get(f"{kili.sandbox.url}/kili/label/projects/{kili.ids['project_id']}/")
    assert "cats/one.png" in page.text
    assert kili.http.get(f"{kili.sandbox.url}/kili/label/projects/nobody/").status_code == 404
    assert "add finished" in kili.http.get(f"{kili.sandbox.url}/").text


def test_kili_without_graphql_core(kili, monkeypatch):
    """501 with the command to install; other services are not affected."""
    monkeypatch.setitem(sys.modules, "graphql", None)
    from sluice_sandbox.kili import schema as kili_schema

    kili_schema.schema.cache_clear()
    answer = kili.post("{ viewer { id } }")
    assert (answer.status_code, "airflow-provider-sluice[sandbox]" in answer.text) == (501, True)
    assert kili.http.post(f"{kili.sandbox.url}/kaleidoscope/auth/oauth/token", data={}).status_code == 415


FILES = ["a.png", "cats/one.png", "cats/two.png", "dogs/one.png"]


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (Filter(), FILES),
        (Filter(selected_folders=[]), []),
        (Filter(selected_folders=["cats"]), FILES[1:3]),
        (Filter(selected_folders=["cats"], prefix="dogs/"), FILES[3:]),
        (Filter(include=["cats", "dogs/*"]), FILES[1:]),
        (Filter(include=["one"]), []),
        (Filter(include=["*one*"]), [FILES[1], FILES[3]]),
        (Filter(include=["cats"], exclude=["*two.png"]), [FILES[1]]),
        (Filter(exclude=["*"]), []),
        (Filter(include=["a.png*"]), []),
    ],
    ids=str,
)
def test_connection_filter(chosen, names):
    """Prefix, folders, include, exclude; `*` matches one character or more, and the pattern the whole name."""
    assert chosen.select(FILES) == names
