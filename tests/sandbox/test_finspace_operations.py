"""The pretended FinSpace: what it keeps, what it refuses, and how it changes a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox.signed import Client

BUCKET = "s3://sluice-market-data/hdb"
DAY = {"changeType": "PUT", "s3Path": f"{BUCKET}/2026.03.02/", "dbPath": "/2026.03.02/"}
SYM = {"changeType": "PUT", "s3Path": f"{BUCKET}/sym", "dbPath": "/"}
GONE = {"changeType": "DELETE", "dbPath": "/2026.03.02/"}


@pytest.fixture
def fin(sluice_sandbox):
    """A client; changesets are over at the first look."""
    sluice_sandbox.settings(job_seconds=0)
    return Client(sluice_sandbox)


def tree(sandbox, database="markets"):
    """The files of a database."""
    held = sandbox.state()["finspace"]["databases"]
    return next(each["tree"] for each in held if each["name"] == database)


def refusal(answer):
    """Status, type, and that there are words and a request id."""
    assert answer.json()["message"]
    assert answer.headers["x-amzn-requestid"]
    return answer.status_code, answer.headers["x-amzn-errortype"]


# --- the life of a changeset


@pytest.mark.parametrize("word", ["IN_PROGRESS", "PROCESSING"])
def test_a_changeset_runs(fin, sluice_sandbox, word):
    """PENDING, under way by either of its names, COMPLETED; times in seconds."""
    sluice_sandbox.settings(job_seconds=40, running_changeset_status=word)
    made = fin.change(DAY, SYM).json()
    assert (made["status"], made["changeRequests"]) == ("PENDING", [DAY, SYM])
    assert len(made["changesetId"]) == 22
    sluice_sandbox.advance(20)
    assert fin.look(made["changesetId"])["status"] == word
    assert tree(sluice_sandbox) == {}
    sluice_sandbox.advance(20)
    ended = fin.look(made["changesetId"])
    assert ended["status"] == "COMPLETED"
    assert "errorInfo" not in ended
    assert ended["activeFromTimestamp"] - ended["createdTimestamp"] == pytest.approx(40, abs=0.01)
    assert 1e9 < ended["createdTimestamp"] < 1e10


def test_changes_are_made_in_order(fin, sluice_sandbox):
    """What is deleted after it was put is gone; what is put after it was deleted is there."""
    fin.done(DAY, SYM, GONE, token="a")
    assert list(tree(sluice_sandbox)) == ["/sym"]
    fin.done(GONE, DAY, token="b")
    assert "/2026.03.02/trade/price" in tree(sluice_sandbox)


def test_the_tree_is_real(fin, sluice_sandbox):
    """A person can look at it."""
    fin.done(DAY, SYM)
    folder = Path(sluice_sandbox.state()["finspace"]["folder"])
    assert (folder / "databases" / fin.environment / "markets" / "sym").read_text() == "AAPL\nMSFT\nNVDA\n"
    database = fin.get(f"{fin.base}/markets").json()
    assert (database["numFiles"], database["numChangesets"]) == (9, 1)
    assert database["lastCompletedChangesetId"]


def test_wildcards(fin, sluice_sandbox):
    """The pattern of a database path allows them."""
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
def test_a_changeset_fails_whole(fin, sluice_sandbox, path, settings, kind):
    """With the service's sentence, and nothing of it is done."""
    sluice_sandbox.settings(**settings)
    ended = fin.done(DAY, {**SYM, "s3Path": path})
    assert (ended["status"], ended["errorInfo"]["errorType"]) == ("FAILED", kind)
    assert ended["errorInfo"]["errorMessage"]
    assert tree(sluice_sandbox) == {}


def test_a_file_is_no_folder(fin, sluice_sandbox):
    """What is put into a file fails, and the database is as it was."""
    fin.done(SYM, token="a")
    ended = fin.done({**SYM, "dbPath": "/sym/"}, token="b")
    assert (ended["status"], ended["errorInfo"]["errorType"]) == ("FAILED", "The inputs to this request are invalid.")
    assert list(tree(sluice_sandbox)) == ["/sym"]


def test_a_changeset_may_be_late(fin, sluice_sandbox):
    """A replica lags: the first looks find nothing."""
    sluice_sandbox.settings(changeset_not_found_polls=2)
    changeset_id = fin.change(SYM).json()["changesetId"]
    path = f"{fin.base}/markets/changesets/{changeset_id}"
    assert [fin.get(path).status_code for _ in range(3)] == [404, 404, 200]


def test_reset(fin, sluice_sandbox):
    """Changesets, files and databases are as at the start, and so is the bucket."""
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


def test_a_client_token_is_known_again_for_ten_minutes(fin, sluice_sandbox):
    """The same request gives the same changeset; another request with it is refused; later it is forgotten."""
    first = fin.change(SYM).json()["changesetId"]
    sluice_sandbox.advance(590)
    assert fin.change(SYM).json()["changesetId"] == first
    answer = fin.change(DAY)
    assert refusal(answer) == (409, "ConflictException")
    assert answer.json()["reason"]
    sluice_sandbox.advance(10)
    assert fin.change(SYM).json()["changesetId"] != first


def test_ten_changesets_at_a_time(fin, sluice_sandbox):
    """The quota of an environment; a repeated request takes no more of it."""
    sluice_sandbox.settings(job_seconds=10)
    assert [fin.change(SYM, token=f"t{number}").status_code for number in range(10)] == [200] * 10
    assert refusal(fin.change(SYM, token="t10")) == (400, "LimitExceededException")
    assert fin.change(SYM, token="t9").status_code == 200
    sluice_sandbox.advance(10)
    assert fin.change(SYM, token="t10").status_code == 200


def test_databases(fin):
    """Made once; with the same token it is the same request."""
    asked = {"databaseName": "ticks", "clientToken": "a", "description": "All ticks.", "tags": {"team": "kdb"}}
    made = fin.post(fin.base, **asked)
    assert (made.status_code, made.json()["description"]) == (200, "All ticks.")
    assert fin.post(fin.base, **asked).status_code == 200
    assert refusal(fin.post(fin.base, **{**asked, "clientToken": "b"})) == (409, "ResourceAlreadyExistsException")
    assert refusal(fin.post(fin.base, **{**asked, "databaseName": "other"})) == (409, "ConflictException")


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
def test_wrong_changesets(fin, wrong):
    """400 with AWS's own type."""
    content = {"changeRequests": [SYM], "clientToken": "t", **wrong}
    answer = fin.post(f"{fin.base}/markets/changesets", **content)
    assert refusal(answer) == (400, "ValidationException")


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
def test_wrong_databases(fin, wrong):
    """400 likewise."""
    content = {"databaseName": "ticks", "clientToken": "t", **wrong}
    assert refusal(fin.post(fin.base, **content)) == (400, "ValidationException")


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
def test_wrong_questions(fin, path, status, kind):
    """Each with its type."""
    assert refusal(fin.get(path.format(base=fin.base))) == (status, kind)


def test_paths_that_are_none(fin):
    """404, as AWS says it."""
    answer = fin.get("kx/nothing")
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


def test_throttling(fin, sluice_sandbox):
    """The rate limit of all remotes, in this one's words."""
    sluice_sandbox.settings(rate_limit=1)
    fin.get("kx/environments")
    assert refusal(fin.get("kx/environments")) == (429, "ThrottlingException")


def test_the_page_shows_changesets(fin, sluice_sandbox):
    """With what they change."""
    import httpx

    changeset_id = fin.done(SYM)["changesetId"]
    page = httpx.get(sluice_sandbox.url).text
    assert all(text in page for text in (changeset_id, "PUT /", "Amazon FinSpace", "files: 1"))
