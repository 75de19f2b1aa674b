"""Every flow of FinSpace's API, as a worker and as a triggerer run it, against the sandbox; and what replies mean."""

from __future__ import annotations

import inspect
from datetime import datetime, timezone

import pytest

from sluice_provider.apis.finspace import endpoints as fin
from sluice_provider.apis.finspace import validation as rules
from sluice_provider.apis.finspace.change_requests import delete, put
from sluice_provider.apis.finspace.job_types import (
    JOB_TYPES,
    RETRYABLE_BY_ERROR_TYPE,
    changeset_locator,
    job_from_changeset,
)
from sluice_provider.errors import (
    AuthenticationFailed,
    ClientError,
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    UnexpectedResponse,
    Unreachable,
)
from sluice_provider.http.pagination import token_pages
from sluice_provider.jobs import JobState
from sluice_provider.jobs.polling import Wanted, get_statuses
from tests.flows import FlowRunner, finspace_options, response, run_flow

BUCKET = "s3://sluice-market-data/hdb"
SYM = put(f"{BUCKET}/sym", "/")
DAY = put(f"{BUCKET}/2026.03.02/", "/2026.03.02/")
E = "sluicesandbox4kdbx2026"


def held(sandbox):
    """What the sandbox holds."""
    return sandbox.state()["finspace"]


def test_every_endpoint_is_tested_here():
    """A new flow needs an entry here."""
    flows = [
        name
        for name, thing in inspect.getmembers(fin, inspect.isgeneratorfunction)
        if thing.__module__ == fin.__name__ and not name.startswith("_")
    ]
    here = inspect.getsource(inspect.getmodule(test_every_endpoint_is_tested_here))
    assert [name for name in flows if f"fin.{name}" not in here] == []


# --- the flows


def test_environments(kdb):
    """Listed and alone."""
    [one] = kdb(fin.list_environments())
    assert one == kdb(fin.get_environment(E))
    assert (one["environmentId"], one["status"]) == (E, "CREATED")


def test_databases(kdb, sluice_sandbox):
    """Created, read, listed in pages whose tokens need encoding, and created only if missing."""
    made = kdb(fin.create_database(E, "ticks", "All ticks.", {"team": "kdb"}))
    assert (made["databaseName"], made["description"]) == ("ticks", "All ticks.")
    assert kdb(fin.ensure_database(E, "ticks")) is False
    assert kdb(fin.ensure_database(E, "quotes")) is True
    sluice_sandbox.requests(clear=True)
    assert [each["databaseName"] for each in kdb(fin.list_databases(E, 2))] == ["markets", "ticks", "quotes"]
    assert [each["query"].get("maxResults") for each in sluice_sandbox.requests()] == ["2", "2"]
    assert kdb(fin.get_database(E, "quotes"))["numFiles"] == 0
    with pytest.raises(Conflict) as error:
        kdb(fin.create_database(E, "ticks"))
    assert error.value.code == "ResourceAlreadyExistsException"


def test_another_client_created_the_database(kdb, sluice_sandbox):
    """It was created between the check and the creation."""
    sluice_sandbox.faults([{"method": "GET", "path": "databases/markets", "status": 404}])
    assert kdb(fin.ensure_database(E, "markets")) is False
    with pytest.raises(NotFound):
        kdb(fin.ensure_database("elsewhere", "markets"))


def test_changesets(kdb):
    """Created, read, listed without change requests, found by them."""
    made = kdb(fin.create_changeset(E, "markets", [DAY, SYM], "token-1"))
    again = kdb(fin.create_changeset(E, "markets", [DAY, SYM], "token-1"))
    assert (made["status"], again["changesetId"]) == ("PENDING", made["changesetId"])
    read = kdb(fin.get_changeset(E, "markets", made["changesetId"]))
    assert (read["status"], read["changeRequests"]) == ("COMPLETED", [DAY, SYM])
    [listed] = kdb(fin.list_changesets(E, "markets"))
    assert set(listed) == {
        "changesetId", "createdTimestamp", "lastModifiedTimestamp", "activeFromTimestamp", "status"
    }  # fmt: skip
    at = made["createdTimestamp"].timestamp()
    assert kdb(fin.find_changeset(E, "markets", [DAY, SYM], at)) == made["changesetId"]
    assert kdb(fin.find_changeset(E, "markets", [SYM, DAY], at)) is None
    assert kdb(fin.find_changeset(E, "markets", [DAY, SYM], at + 60)) is None


def test_a_given_token(kdb, sluice_sandbox):
    """Without a token each request creates a changeset, and the rules for tokens hold."""
    ids = {kdb(fin.create_changeset(E, "markets", [SYM]))["changesetId"] for _ in range(2)}
    tokens = [each["json"]["clientToken"] for each in sluice_sandbox.requests()]
    assert (len(ids), len(set(tokens))) == (2, 2)
    assert all(rules.CLIENT_TOKEN.check("client_token", token) for token in tokens)


def test_many_pages(kdb, sluice_sandbox):
    """To the last one, by hand."""
    sluice_sandbox.settings(max_running_changesets=100, page_size=3)
    made = {kdb(fin.create_changeset(E, "markets", [SYM]))["changesetId"] for _ in range(7)}
    listed = kdb(fin.list_changesets(E, "markets"))
    assert (len(listed), {each["changesetId"] for each in listed}) == (7, made)


def test_wanted_changesets_are_found_in_few_pages(kdb, sluice_sandbox):
    """As far as each page has one of them."""
    sluice_sandbox.settings(max_running_changesets=100, page_size=3)
    made = [kdb(fin.create_changeset(E, "markets", [SYM]))["changesetId"] for _ in range(12)]
    listed = [each["changesetId"] for each in kdb(fin.list_changesets(E, "markets"))]
    assert sorted(listed) == sorted(made)
    for wanted, pages in ((listed[:5], 2), (listed, 4), (listed[6:], 1), (["nobody"], 1)):
        sluice_sandbox.requests(clear=True)
        found = {each["changesetId"] for each in kdb(fin.find_changesets(E, "markets", set(wanted)))}
        assert found == (set(wanted) & set(listed) if pages > 1 else set())
        assert len(sluice_sandbox.requests()) == pages


@pytest.mark.parametrize("odd", [5, "many", True, {"a": 1}, [5], ["x"]])
def test_an_odd_changeset_is_a_job(odd):
    """What is odd in it says nothing about its state."""
    raw = {"changesetId": "c", "status": "FAILED", "errorInfo": {"errorType": odd}, "changeRequests": odd}
    job = job_from_changeset(raw)
    assert (job.state, dict(job.counts)) == (JobState.FAILED, {"put": 0, "deleted": 0})


def test_a_listed_changeset_without_a_status():
    """It is requested alone; the others are listed."""
    page = [{"changesetId": str(number), "status": "PENDING"} for number in range(6)] + [{"changesetId": "odd"}]
    wanted = [Wanted(each["changesetId"], changeset_locator(E, "markets")) for each in page]
    played = run_flow(JOB_TYPES["changeset"].list_statuses(wanted), response(200, {"kxChangesets": page}))
    assert [job and job.id for job in played.value] == ["0", "1", "2", "3", "4", "5", None]


def test_states_of_changesets_of_a_database_that_cannot_be_listed(kdb, sluice_sandbox):
    """Those of the others are listed; an error of the service is raised."""
    sluice_sandbox.settings(max_running_changesets=100, job_seconds=60)
    made = [kdb(fin.create_changeset(E, "markets", [SYM]))["changesetId"] for _ in range(6)]
    wanted = [Wanted(each, changeset_locator(E, "markets")) for each in made]
    gone = [Wanted(f"gone{number}", changeset_locator(E, "nowhere")) for number in range(6)]
    found = kdb(JOB_TYPES["changeset"].list_statuses(gone + wanted))
    assert [job and job.id for job in found] == [None] * 6 + made
    sluice_sandbox.faults([{"path": "changesets$", "status": 429, "times": 9}])
    with pytest.raises(RateLimited):
        kdb(JOB_TYPES["changeset"].list_statuses(gone + wanted))


def test_states_of_many_changesets(kdb, sluice_sandbox):
    """Running ones by the listing; those that have ended one by one, as the listing lacks their errors."""
    sluice_sandbox.settings(max_running_changesets=100, job_seconds=60)
    made = [kdb(fin.create_changeset(E, "markets", [SYM]))["changesetId"] for _ in range(10)]
    locator = changeset_locator(E, "markets")
    sluice_sandbox.requests(clear=True)
    found = kdb(JOB_TYPES["changeset"].list_statuses([Wanted(each, locator) for each in made]))
    assert [(job.id, job.state) for job in found] == [(each, JobState.RUNNING) for each in made]
    assert len(sluice_sandbox.requests()) == 1
    sluice_sandbox.advance(1000)
    assert kdb(JOB_TYPES["changeset"].list_statuses([Wanted(each, locator) for each in made])) == [None] * 10
    found = kdb(get_statuses(JOB_TYPES["changeset"], [Wanted(each, locator) for each in made]))
    assert [(job.id, job.state, job.counts["put"]) for job in found] == [(each, JobState.SUCCEEDED, 1) for each in made]


def test_empty_and_repeated_pages():
    """An empty page is not the last; a token that comes twice would never end."""
    answers = [([1], "a"), ([], "b"), ([2], None)]

    def page(_token):
        return answers.pop(0)
        yield

    assert run_flow(token_pages(page)).value == [1, 2]
    answers[:] = [([1], "a"), ([], "b"), ([2], "a")]
    assert isinstance(run_flow(token_pages(page)).error, UnexpectedResponse)


# --- a changeset as a job


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PENDING", JobState.RUNNING),
        ("PROCESSING", JobState.RUNNING),
        ("IN_PROGRESS", JobState.RUNNING),
        ("SOMETHING_NEW", JobState.RUNNING),
        ("COMPLETED", JobState.SUCCEEDED),
        ("FAILED", JobState.FAILED),
    ],
)
def test_states(status, state):
    """Two words end it; every other is under way."""
    job = job_from_changeset({"changesetId": "c", "status": status})
    assert (job.state, job.service_status, job.message, job.retryable) == (state, status, "", None)


def test_error_messages_are_complete():
    """Type and message, and whether a new changeset may cure it."""
    info = {"errorType": "An internal error has occurred.", "errorMessage": "x" * 1000}
    job = job_from_changeset({"changesetId": "c", "status": "FAILED", "errorInfo": info, "changeRequests": [DAY]})
    assert job.message == f"An internal error has occurred. {'x' * 1000}"
    assert (job.retryable, job.counts) == (True, {"put": 1, "deleted": 0})


def test_all_error_types_of_the_model_are_known():
    """Eight sentences: five that a person must cure, three that a new changeset may."""
    assert sorted(RETRYABLE_BY_ERROR_TYPE.values()) == [False] * 5 + [True] * 3


NOON = datetime(2021, 11, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1635768000, NOON),
        (1635768000.123, NOON.replace(microsecond=123000)),
        (1635768000123, NOON.replace(microsecond=123000)),
        ("2021-11-01T12:00:00Z", NOON),
        ("2021-11-01T12:00:00", NOON),
        ("2021-11-01T13:00:00+01:00", NOON),
    ],
)
def test_timestamps(value, time):
    """Seconds on the wire, milliseconds by the documentation, ISO 8601 by botocore's tolerance."""
    played = run_flow(fin.get_database(E, "markets"), response(200, {"createdTimestamp": value, "numFiles": 5}))
    assert played.value == {"createdTimestamp": time, "numFiles": 5}


@pytest.mark.parametrize("value", ["yesterday", True, [], 1e300])
def test_an_invalid_timestamp(value):
    """Is a misunderstanding and no crash."""
    played = run_flow(fin.list_databases(E), response(200, {"kxDatabases": [{"createdTimestamp": value}]}))
    assert isinstance(played.error, UnexpectedResponse)


# --- what replies mean


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ValidationException", ClientError),
        (403, "AccessDeniedException", PermissionDenied),
        (404, "ResourceNotFoundException", NotFound),
        (409, "ConflictException", Conflict),
        (403, "InvalidSignatureException", AuthenticationFailed),
        (403, "UnrecognizedClientException", AuthenticationFailed),
        (403, "ExpiredTokenException", AuthenticationFailed),
        (400, "ThrottlingException", RateLimited),
        (429, "ThrottlingException", RateLimited),
        (500, "InternalServerException", ServerError),
        (503, "", ServerError),
    ],
)
@pytest.mark.parametrize("place", ["header", "code", "__type"])
def test_errors(status, code, kind, place):
    """By the error's own type, wherever the protocol puts it; with its words and the request's id."""
    body = {"message": "because"}
    headers = {"x_amzn_requestid": "r-1"}
    if place == "header" and code:
        headers["x_amzn_errortype"] = f"{code}:http://internal.amazon.com/coral/"
    elif code:
        body[place] = f"com.amazonaws.finspace#{code}"
    played = run_flow(fin.get_database(E, "markets"), *[response(status, body, **headers)] * 5)
    assert type(played.error) is kind
    assert (played.error.status, played.error.code or "", played.error.request_id) == (status, code, "r-1")
    assert "because" in str(played.error)
    assert "r-1" in str(played.error)


def test_the_quota_is_transient_and_other_limits_are_not():
    """Of changesets under way there will be fewer; of databases there will not."""
    full = response(400, {"message": "too many"}, x_amzn_errortype="LimitExceededException")
    assert type(run_flow(fin.create_changeset(E, "markets", [SYM]), *[full] * 5).error) is RateLimited
    assert type(run_flow(fin.create_database(E, "ticks"), full).error) is ClientError


@pytest.mark.parametrize("answer", [[], {}, {"changesetId": ""}, {"changesetId": 5}, "text"])
def test_unexpected_responses(answer):
    """Are a misunderstanding, and are not taken for success."""
    assert isinstance(
        run_flow(fin.create_changeset(E, "markets", [SYM]), response(200, answer)).error, UnexpectedResponse
    )
    assert isinstance(run_flow(fin.get_changeset(E, "markets", "c1"), response(200, answer)).error, UnexpectedResponse)


def test_an_unexpected_listing():
    """Likewise."""
    assert isinstance(run_flow(fin.list_databases(E), response(200, {"kxDatabases": "x"})).error, UnexpectedResponse)
    assert isinstance(run_flow(fin.list_databases(E), response(200, {"kxDatabases": ["x"]})).error, UnexpectedResponse)


# --- transient faults


@pytest.mark.parametrize("trouble", [{"status": 429}, {"status": 500}, {"status": 503}, {"drop": "after"}])
def test_transient_faults(kdb, sluice_sandbox, trouble):
    """The same token each time, and one changeset."""
    sluice_sandbox.faults([{"method": "POST", "path": "/changesets", "times": 3, **trouble}])
    kdb(fin.create_changeset(E, "markets", [SYM]))
    tokens = [each["json"]["clientToken"] for each in sluice_sandbox.requests()]
    assert (len(tokens), len(set(tokens)), len(held(sluice_sandbox)["changesets"])) == (4, 1, 1)
    assert len(kdb.pauses) == 3


def test_lasting_faults(kdb, sluice_sandbox):
    """Five attempts, then the last error."""
    sluice_sandbox.faults([{"path": "/kx", "status": 503, "times": 100}])
    with pytest.raises(ServerError):
        kdb(fin.list_environments())
    assert len(sluice_sandbox.requests()) == 5


def test_requests_are_not_repeated_after_the_token_expires(monkeypatch):
    """Each attempt is as slow as it can be: none starts after the service may have dropped the token."""
    now = [0.0]
    monkeypatch.setattr("sluice_provider.http.retry.time.monotonic", lambda: now[0])
    lost = Unreachable("lost")

    def slow(seconds):
        now[0] += seconds + 120

    played = run_flow(fin.create_changeset(E, "markets", [SYM], "t", 200.0), *[lost] * 5, sleep=slow)
    assert played.error is lost
    assert len(played.calls) == 4
    assert now[0] < fin.CLIENT_TOKEN_LIFETIME - 200.0


def test_a_token_used_for_other_changes(kdb):
    """Is an error that says so."""
    kdb(fin.create_changeset(E, "markets", [SYM], "t"))
    with pytest.raises(Conflict, match="client token was used before") as error:
        kdb(fin.create_changeset(E, "markets", [DAY], "t"))
    assert not error.value.retryable


@pytest.mark.parametrize(
    ("keys", "settings", "words"),
    [
        ({"secret_key": "canary-of-a-secret"}, {}, "signature"),
        ({"access_key": "AKIAUNKNOWN"}, {}, "security token"),
        ({"region": "us-east-1"}, {}, "valid region"),
        ({}, {"signature_clock_skew": 600}, "Signature expired"),
    ],
)
@pytest.mark.parametrize("name", ["worker", "triggerer"])
def test_wrong_credentials(sluice_sandbox, name, keys, settings, words):
    """One request, the service's own words, and no secret in them."""
    runner = FlowRunner(name, finspace_options(sluice_sandbox, **keys))
    sluice_sandbox.settings(**settings)
    with pytest.raises(AuthenticationFailed, match=words) as error:
        runner(fin.list_environments())
    assert len(sluice_sandbox.requests()) == 1
    assert "canary" not in f"{error.value!r}{vars(error.value)}"


# --- rules


@pytest.mark.parametrize(
    "path", ["/", "/2020.01.02/", "/2020.01.02/taq/", "*", "/2020.*", "?", "/" + "x" * 1023 + "/"], ids=lambda p: p[:20]
)
def test_valid_database_paths(path):
    """By the model's pattern, and with wildcards by it alone."""
    rules.check_requests([delete(path)])


@pytest.mark.parametrize(
    "path", ["s3://abc/", "s3://abc/key", "s3://a.b-c/x/y/z/", "s3://abc/with space/ü"], ids=lambda p: p[:20]
)
def test_valid_s3_paths(path):
    """Folders and files."""
    rules.check_requests([put(path, "/")])


@pytest.mark.parametrize("path", ["s3://ab", "s3://AB/x", "s3://abc//x", "s3://abc", "abc/x", "", None, 5, "s3:///x"])
def test_invalid_s3_paths(path):
    """Refused by index and rule."""
    with pytest.raises(InvalidInput, match=r"change_requests\[1\]"):
        rules.check_requests([SYM, {**SYM, "s3Path": path}])


@pytest.mark.parametrize(
    "flow",
    [
        lambda: fin.create_changeset(E, "markets", [SYM] * 33),
        lambda: fin.create_changeset(E, "m", [SYM]),
        lambda: fin.create_changeset(" ", "markets", [SYM]),
        lambda: fin.create_changeset(E, "markets", [SYM], "a_b"),
        lambda: fin.get_changeset(E, "markets", "../x"),
        lambda: fin.get_environment("a/b"),
        lambda: fin.get_database("None", "markets"),
        lambda: fin.create_database(E, "ticks", "no; semicolons"),
        lambda: fin.create_database(E, "ticks", tags={}),
        lambda: fin.create_database(E, "ticks", tags={"aws:x": "y"}),
        lambda: fin.create_database(E, "ticks", tags={"x": "ä"}),
    ],
)
def test_invalid_input_sends_nothing(flow):
    """The rule is named before the first call."""
    played = run_flow(flow())
    assert isinstance(played.error, InvalidInput)
    assert played.calls == []
