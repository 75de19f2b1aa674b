"""The mock FinSpace: its data, input validation, and changes of a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox.sigv4_client import Client

BUCKET = "s3://sluice-market-data/hdb"
DAY = {"changeType": "PUT", "s3Path": f"{BUCKET}/2026.03.02/", "dbPath": "/2026.03.02/"}
SYM = {"changeType": "PUT", "s3Path": f"{BUCKET}/sym", "dbPath": "/"}
GONE = {"changeType": "DELETE", "dbPath": "/2026.03.02/"}


@pytest.fixture
def fin(sluice_sandbox):
    """A client; changesets complete at once."""
    sluice_sandbox.settings(job_seconds=0)
    return Client(sluice_sandbox)


def tree(sandbox, database="markets"):
    """The files of a database."""
    held = sandbox.state()["finspace"]["databases"]
    return next(each["tree"] for each in held if each["name"] == database)


def status_and_type(response):
    """Status and error type; there must be a message and a request id."""
    assert response.json()["message"]
    assert response.headers["x-amzn-requestid"]
    return response.status_code, response.headers["x-amzn-errortype"]


# --- the life of a changeset


@pytest.mark.parametrize("word", ["IN_PROGRESS", "PROCESSING"])
def test_a_changeset_runs(fin, sluice_sandbox, word):
    """PENDING, running under either name, COMPLETED; times in seconds."""
    sluice_sandbox.settings(job_seconds=40, running_changeset_status=word)
    created = fin.change(DAY, SYM).json()
    assert (created["status"], created["changeRequests"]) == ("PENDING", [DAY, SYM])
    assert len(created["changesetId"]) == 22
    sluice_sandbox.advance(20)
    assert fin.get_changeset(created["changesetId"])["status"] == word
    assert tree(sluice_sandbox) == {}
    sluice_sandbox.advance(20)
    ended = fin.get_changeset(created["changesetId"])
    assert ended["status"] == "COMPLETED"
    assert "errorInfo" not in ended
    assert ended["activeFromTimestamp"] - ended["createdTimestamp"] == pytest.approx(40, abs=0.01)
    assert 1e9 < ended["createdTimestamp"] < 1e10


def test_changes_are_applied_in_order(fin, sluice_sandbox):
    """A file is absent if deleted after a put, and present if put after a delete."""
    fin.done(DAY, SYM, GONE, token="a")
    assert list(tree(sluice_sandbox)) == ["/sym"]
    fin.done(GONE, DAY, token="b")
    assert "/2026.03.02/trade/price" in tree(sluice_sandbox)


def test_databases_are_folders_on_disk(fin, sluice_sandbox):
    """The state has their path."""
    fin.done(DAY, SYM)
    folder = Path(sluice_sandbox.state()["finspace"]["folder"])
    assert (folder / "databases" / fin.environment / "markets" / "sym").read_text() == "AAPL\nMSFT\nNVDA\n"
    database = fin.get(f"{fin.base}/markets").json()
    assert (database["numFiles"], database["numChangesets"]) == (9, 1)
    assert database["lastCompletedChangesetId"]


def test_wildcards(fin, sluice_sandbox):
    """A database path can contain wildcards."""
    fin.done(DAY, SYM, token="a")
    fin.done({"changeType": "DELETE", "dbPath": "/2026.*"}, token="b")
    assert list(tree(sluice_sandbox)) == ["/sym"]


@pytest.mark.parametrize(
    ("path", "settings", "kind"),
    [
        (f"{BUCKET}/2019.01.01/", {}, "One or more inputs to this request were not found."),
        (f"{BUCKET}/sym/", {}, "One or more inputs to this request were not found."),
        ("s3://no-such-bucket/x", {}, "One or more inputs to this request were not found."),
        ("s3://sluice-market-data/../../x", {}, "The inputs to this request are invalid."),
        (
            f"{BUCKET}/sym",
            {"denied_bucket": "sluice-market-data"},
            "Missing required permission to perform this request.",
        ),
        (f"{BUCKET}/sym", {"fail_changesets": 1}, "An internal error has occurred."),
        (f"{BUCKET}/sym", {"fail_changesets": 1, "changeset_error_type": "Cancelled"}, "Cancelled"),
    ],
)
def test_a_failed_changeset_changes_nothing(fin, sluice_sandbox, path, settings, kind):
    """With the service's error, and no change is applied."""
    sluice_sandbox.settings(**settings)
    ended = fin.done(DAY, {**SYM, "s3Path": path})
    assert (ended["status"], ended["errorInfo"]["errorType"]) == ("FAILED", kind)
    assert ended["errorInfo"]["errorMessage"]
    assert tree(sluice_sandbox) == {}


def test_a_file_used_as_a_folder(fin, sluice_sandbox):
    """A put below a file fails, and the database is unchanged."""
    fin.done(SYM, token="a")
    ended = fin.done({**SYM, "dbPath": "/sym/"}, token="b")
    assert (ended["status"], ended["errorInfo"]["errorType"]) == ("FAILED", "The inputs to this request are invalid.")
    assert list(tree(sluice_sandbox)) == ["/sym"]


def test_a_new_changeset_is_not_found_at_first(fin, sluice_sandbox):
    """The first reads answer 404, as from a lagging replica."""
    sluice_sandbox.settings(changeset_not_found_polls=2)
    changeset_id = fin.change(SYM).json()["changesetId"]
    path = f"{fin.base}/markets/changesets/{changeset_id}"
    assert [fin.get(path).status_code for _ in range(3)] == [404, 404, 200]


def test_reset(fin, sluice_sandbox):
    """Changesets, databases and bucket are restored."""
    fin.done(SYM)
    bucket = Path(sluice_sandbox.state()["finspace"]["folder"]) / "s3" / "sluice-market-data"
    (bucket / "mine").write_text("a person's")
    fin.post(fin.base, databaseName="other", clientToken="t")
    sluice_sandbox.reset()
    held = sluice_sandbox.state()["finspace"]
    assert (held["changesets"], [each["name"] for each in held["databases"]]) == ([], ["markets"])
    assert tree(sluice_sandbox) == {}
    assert [each.name for each in (Path(held["folder"]) / "s3" / "sluice-market-data").iterdir()] == ["hdb"]


# --- tokens and limits


def test_a_client_token_is_idempotent_for_ten_minutes(fin, sluice_sandbox):
    """The same request returns the same changeset, another one with the token is an error; then the token expires."""
    first = fin.change(SYM).json()["changesetId"]
    sluice_sandbox.advance(590)
    assert fin.change(SYM).json()["changesetId"] == first
    response = fin.change(DAY)
    assert status_and_type(response) == (409, "ConflictException")
    assert response.json()["reason"]
    sluice_sandbox.advance(10)
    assert fin.change(SYM).json()["changesetId"] != first


def test_quota_of_running_changesets(fin, sluice_sandbox):
    """More are rejected; a repeated request does not count twice."""
    sluice_sandbox.settings(job_seconds=10)
    assert [fin.change(SYM, token=f"t{number}").status_code for number in range(10)] == [200] * 10
    assert status_and_type(fin.change(SYM, token="t10")) == (400, "LimitExceededException")
    assert fin.change(SYM, token="t9").status_code == 200
    sluice_sandbox.advance(10)
    assert fin.change(SYM, token="t10").status_code == 200


def test_databases(fin):
    """Created once; a repeated request with the same token is idempotent."""
    body = {"databaseName": "ticks", "clientToken": "a", "description": "All ticks.", "tags": {"team": "kdb"}}
    created = fin.post(fin.base, **body)
    assert (created.status_code, created.json()["description"]) == (200, "All ticks.")
    assert fin.post(fin.base, **body).status_code == 200
    assert status_and_type(fin.post(fin.base, **{**body, "clientToken": "b"})) == (
        409,
        "ResourceAlreadyExistsException",
    )
    assert status_and_type(fin.post(fin.base, **{**body, "databaseName": "other"})) == (409, "ConflictException")


# --- what is refused


@pytest.mark.parametrize(
    "wrong",
    [
        {"changeRequests": []},
        {"changeRequests": [SYM] * 33},
        {"changeRequests": None},
        {"changeRequests": ["x"]},
        {"changeRequests": [{**SYM, "changeType": "XX"}]},
        {"changeRequests": [{**SYM, "dbPath": "sym"}]},
        {"changeRequests": [{**SYM, "dbPath": "//"}]},
        {"changeRequests": [{**SYM, "dbPath": "/a/b/c/"}]},
        {"changeRequests": [{**SYM, "dbPath": "/sym"}]},
        {"changeRequests": [{**SYM, "dbPath": "/" + "x" * 1025}]},
        {"changeRequests": [{**SYM, "s3Path": "s3://bucket"}]},
        {"changeRequests": [{**SYM, "s3Path": "http://bucket/key"}]},
        {"changeRequests": [{"changeType": "PUT", "dbPath": "/"}]},
        {"clientToken": None},
        {"clientToken": "x" * 65},
        {"clientToken": "a_b"},
    ],
    ids=repr,
)
def test_invalid_changesets(fin, wrong):
    """400 with AWS's error type."""
    content = {"changeRequests": [SYM], "clientToken": "t", **wrong}
    response = fin.post(f"{fin.base}/markets/changesets", **content)
    assert status_and_type(response) == (400, "ValidationException")


@pytest.mark.parametrize(
    "wrong",
    [
        {"databaseName": "ab"},
        {"databaseName": "-ab"},
        {"databaseName": None},
        {"clientToken": None},
        {"description": "no; semicolons"},
        {"tags": {}},
        {"tags": {"aws:x": "y"}},
    ],
    ids=repr,
)
def test_invalid_databases(fin, wrong):
    """400 with AWS's error type."""
    content = {"databaseName": "ticks", "clientToken": "t", **wrong}
    assert status_and_type(fin.post(fin.base, **content)) == (400, "ValidationException")


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("kx/environments/other", 404, "ResourceNotFoundException"),
        ("kx/environments/other/databases", 404, "ResourceNotFoundException"),
        ("{base}/other", 404, "ResourceNotFoundException"),
        ("{base}/ab", 400, "ValidationException"),
        ("{base}/markets/changesets/unknown", 404, "ResourceNotFoundException"),
        ("{base}/markets/changesets/no-such", 400, "ValidationException"),
        ("{base}?maxResults=101", 400, "ValidationException"),
        ("{base}?maxResults=x", 400, "SerializationException"),
        ("{base}?nextToken=x", 400, "ValidationException"),
    ],
)
def test_invalid_reads(fin, path, status, kind):
    """Each has its error type."""
    assert status_and_type(fin.get(path.format(base=fin.base))) == (status, kind)


def test_unknown_paths(fin):
    """404 in AWS's format."""
    response = fin.get("kx/nothing")
    assert (response.status_code, response.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


def test_throttling(fin, sluice_sandbox):
    """The rate limit in FinSpace's error format."""
    sluice_sandbox.settings(rate_limit=1)
    fin.get("kx/environments")
    assert status_and_type(fin.get("kx/environments")) == (429, "ThrottlingException")


def test_the_page_shows_changesets(fin, sluice_sandbox):
    """With their changes."""
    import httpx

    changeset_id = fin.done(SYM)["changesetId"]
    page = httpx.get(sluice_sandbox.url).text
    assert all(text in page for text in (changeset_id, "PUT /", "Amazon FinSpace", "files: 1"))
