"""The ground of the simulation: time, the network and its troubles, and the ledgers, in this process."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from pathlib import Path

import pytest

from sluice_provider.apis.finspace import change_requests
from sluice_provider.apis.finspace import endpoints as finspace
from sluice_provider.apis.kaleidoscope import drafts as kaleidoscope_drafts
from sluice_provider.apis.kaleidoscope import endpoints as kaleidoscope
from sluice_provider.apis.kaleidoscope import registration as kaleidoscope_registration
from sluice_provider.apis.kili import endpoints as kili
from sluice_provider.apis.liquid_decisions import endpoints as liquid_decisions
from sluice_provider.apis.liquid_decisions.job_status import job_from_status
from sluice_provider.errors import Conflict, OutcomeUnknown, Unreachable
from sluice_provider.http.bodies import FilePart
from sluice_provider.http.flow import Request
from sluice_sandbox.app import create_app
from sluice_sandbox.context import Context
from sluice_sandbox.finspace.files import Folders, JobFailed
from sluice_sandbox.finspace.store import ENVIRONMENT
from sluice_sandbox.kaleidoscope.store import OPERATION
from sluice_sandbox.kaleidoscope.workspace import FIRST_FILE
from sluice_sandbox.kili.store import CONNECTION, INTEGRATION, PROJECT
from tests.simulation.measure import SCHEDULES, schedule
from tests.simulation.memory import MemoryFolders
from tests.simulation.service import Answer
from tests.simulation.world import (
    LOST_AFTER,
    LOST_BEFORE,
    OK,
    REFUSED,
    SERVICES,
    START,
    World,
    late,
    status,
    throttled,
)

PUSH = Request(
    "POST",
    "push/imports",
    json={"key_field_names": ["symbol"], "data": [{"symbol": "H"}, {"symbol": "He"}]},
    idempotent=True,
)
ITEMS = b'[{"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "4"}]'


@pytest.fixture(autouse=True)
def _virtual_time():
    """The provider reads the time of the world in every test here."""
    with World.clock_in_force():
        yield


def file_of(content: bytes) -> FilePart:
    """A file for Liquid Decisions."""
    return FilePart("file", "items.json", "application/json", lambda: io.BytesIO(content), len(content), "items.json")


# --- the real flows against the real handlers


def test_a_push_through_the_flow_writes_its_records():
    """The import is there at once, runs on the virtual clock, and writes every row once."""
    world = World("kaleidoscope", job_seconds=30.0)
    rows = [{"symbol": "H", "name": "Hydrogen"}, {"symbol": "He", "name": "Helium"}]
    import_id = world.run(kaleidoscope.push_by_field_name(["symbol"], rows, set_name="elements"))
    (job,) = world.jobs()
    assert (job.id, job.kind, job.mark, job.state, job.over) == (import_id, "import", "elements", "created", False)
    assert (job.content, job.started_at, job.done) == ((("H",), ("He",)), START, 0)
    assert world.pushes() == {}
    world.advance(30)
    assert world.run(kaleidoscope.get_import(import_id))["import_status"] == "completed"
    (job,) = world.jobs()
    assert (job.state, job.over, job.done) == ("completed", True, 2)
    assert world.pushes() == {("H",): 1, ("He",): 1}
    assert [str(each) for each in world.log][-1] == f"     30.0 s  GET imports/{import_id}: ok, 200"


def test_a_cloud_storage_is_synchronised():
    """Kili computes and applies on the virtual clock; work and connections are in the ledger."""
    world = World("kili")
    connection_id = world.run(kili.add_connection(PROJECT, INTEGRATION, prefix="cats/"))
    for change in (kili.compute_differences(connection_id), kili.validate_differences(connection_id, "ADD")):
        world.run(change)
        world.advance(60)
    first, added = world.connections()
    assert (first.id, first.assets) == (CONNECTION, ())
    assert (added.id, added.project_id, added.integration_id) == (connection_id, PROJECT, INTEGRATION)
    assert added.assets == ("cats/one.png", "cats/two.png")
    assert [(job.id, job.kind, job.over) for job in world.jobs()] == [
        (connection_id, "check", True),
        (connection_id, "add", True),
    ]
    assert world.jobs()[1].content == added.assets


def test_a_file_is_imported_and_cancelled_half_way():
    """A streamed form goes through; the job stops at its next slice and what was done stays done."""
    world = World("liquid_decisions", job_seconds=10.0)
    job_id = world.run(liquid_decisions.import_file(file_of(ITEMS), "Account", "one", "application/json"))
    world.advance(5)
    world.run(liquid_decisions.cancel_job(job_id))
    world.advance(10)
    (job,) = world.jobs()
    assert (job.mark, job.state, job.over, job.cancel_requested) == ("one", "Canceled", True, True)
    assert job.content == ("1", "2", "3", "4")
    assert job.done == sum(count for (kind, _), count in world.items().items() if kind == "Account") == 2


def test_a_changeset_is_signed_and_applied():
    """The real signature on the virtual clock, and a token that makes the second submission the first."""
    world = World("finspace")
    changes = [change_requests.put("s3://sluice-market-data/hdb/2026.03.01/", "/2026.03.01/")]
    for _ in range(2):
        world.run(finspace.create_changeset(ENVIRONMENT, "markets", changes, client_token="mine"))
        world.advance(30)
    (job,) = world.jobs()
    assert (job.mark, job.state, job.over, job.done) == ("mine", "COMPLETED", True, 1)
    assert job.content == (("PUT", "s3://sluice-market-data/hdb/2026.03.01/", "/2026.03.01/"),)
    assert len(world.files()) == 8


def test_drafts_are_staged_submitted_and_registered():
    """Draft imports, drafts, submissions and what the registrar answered are in the ledger."""
    world = World("kaleidoscope", registrar="completes")
    import_id = world.run(kaleidoscope_drafts.create_draft_import(OPERATION, [{"name": "Aspirin"}, {"name": "TNT"}]))
    assert [(job.id, job.kind, job.state) for job in world.jobs()] == [(import_id, "draft import", "not run")]
    staging = world.run(kaleidoscope_drafts.get_staging(OPERATION))
    world.run(kaleidoscope_drafts.run_draft_import(import_id, ["name"], ["name"], staging))
    world.advance(10)
    drafts = world.drafts()
    assert [(draft.key, draft.archived) for draft in drafts] == [(("Aspirin",), ""), (("TNT",), "")]
    submission = world.run(kaleidoscope_registration.submit_drafts(OPERATION))
    world.advance(10)
    (registration,) = world.registrations()
    assert (registration.id, registration.kind, registration.status, registration.over) == (
        submission["id"],
        "registration",
        "completed",
        True,
    )
    assert (registration.record_ids, registration.statuses) == (
        tuple(draft.id for draft in drafts),
        ("submitted", "completed"),
    )
    again = kaleidoscope_registration.submit_submission_results(OPERATION, registration.id, "success")
    with pytest.raises(Conflict):
        world.run(again)
    assert world.registrations()[0].results_received == 1
    assert {draft.archived for draft in world.drafts()} == {"registered"}
    assert [(job.kind, job.state, job.done) for job in world.jobs()] == [
        ("draft import", "completed", 2),
        ("registration", "completed", 2),
    ]


@pytest.mark.parametrize("links", ["links", "other_host"])
def test_an_export_is_fetched(links):
    """What a link leads to is streamed into its place, with credentials or without."""
    world = World("liquid_decisions", export_links=links)
    job_id = world.run(liquid_decisions.export("Account", "all", "application/json"))
    world.advance(10)
    atomic_file = AtomicFile()
    (link,) = job_from_status(world.run(liquid_decisions.get_job(job_id))).links
    world.run(liquid_decisions.fetch(link, atomic_file))
    assert [each["data"]["id"] for each in json.loads(atomic_file.kept)] == ["A-1", "A-2"]
    (job,) = world.jobs()
    assert (job.kind, job.mark, job.done) == ("export", "all", 1)


class AtomicFile:
    """Where a file lands in memory."""

    kept = b""

    def begin(self) -> io.BytesIO:
        self.file = io.BytesIO()
        self.file.close = lambda: None  # type: ignore[method-assign]
        return self.file

    def commit(self) -> None:
        self.kept = self.file.getvalue()

    def rollback(self) -> None:
        self.kept = b""


def test_a_file_of_the_service_is_downloaded():
    """Kaleidoscope streams its files part by part."""
    world, atomic_file = World("kaleidoscope"), AtomicFile()
    world.exchange(Request("GET", f"files/{FIRST_FILE}", into=atomic_file))
    assert atomic_file.kept.startswith(b"name,smiles")


def test_the_blocking_hook_goes_through_the_world():
    """Its pauses take virtual time, too, also after an interruption."""
    world = World("kaleidoscope")
    world.hook.sleep(5)
    world.hook.interrupt()
    assert world.now == START + 5
    import_id = world.hook.push_by_field_name(["symbol"], [{"symbol": "H"}])
    assert world.hook.get_import(import_id)["import_status"] == "created"
    assert len(world.log) == 2


def test_a_token_that_runs_out_is_replaced():
    """Tokens live on the virtual clock, on both sides."""
    world = World("kaleidoscope", token_lifetime=100)
    for _ in range(5):
        assert world.exchange(PUSH).status == 200
        world.advance(60)
    assert len(world.log) == 5


# --- fates


def test_a_refused_connection_reaches_no_service():
    """The sender knows that nothing was sent."""
    world = World("kaleidoscope")
    with pytest.raises(Unreachable) as caught:
        world.exchange(PUSH, REFUSED)
    assert not caught.value.maybe_applied
    assert (world.jobs(), world.log[-1].status) == ([], 0)


@pytest.mark.parametrize(("fate", "jobs"), [(LOST_BEFORE, 0), (LOST_AFTER, 1)], ids=str)
def test_a_lost_request_may_have_been_done(fate, jobs):
    """The sender cannot know whether it was."""
    world = World("kaleidoscope")
    with pytest.raises(Unreachable) as caught:
        world.exchange(PUSH, fate)
    assert caught.value.maybe_applied
    assert len(world.jobs()) == jobs


def test_a_late_request_lands_at_its_time():
    """Not before, and what the service notes down is the time of landing."""
    world = World("kaleidoscope")
    with pytest.raises(Unreachable, match="ReadTimeout") as caught:
        world.exchange(PUSH, late(90))
    assert caught.value.maybe_applied
    world.advance(89.9)
    assert world.jobs() == []
    assert world.next_landing == START + 90
    world.advance(100)
    (job,) = world.jobs()
    assert (job.started_at, world.now, world.next_landing) == (START + 90, START + 189.9, None)
    assert [(each.at, each.fate, each.status) for each in world.log] == [
        (START, "late 90", 0),
        (START + 90, "landed late", 200),
    ]


def test_late_requests_land_in_the_order_of_their_times():
    """A later request may arrive earlier."""
    world = World("liquid_decisions")
    for name, seconds in (("slow", 50), ("fast", 20)):
        flow = liquid_decisions.import_file(file_of(ITEMS), "Account", name, "application/json")
        with pytest.raises(OutcomeUnknown):
            world.run(flow, lambda _call, seconds=seconds: late(seconds))
    world.advance(60)
    assert [(job.mark, job.started_at - START) for job in world.jobs()] == [("fast", 20), ("slow", 50)]


def test_a_sender_that_waits_sees_the_outcome_later():
    """Meanwhile the request may land."""
    world = World("kaleidoscope")
    with pytest.raises(Unreachable):
        world.exchange(PUSH, late(30).after(60))
    assert (world.now, len(world.jobs())) == (START + 60, 1)


@pytest.mark.parametrize(("fate", "jobs"), [(status(503), 0), (status(502, done=True), 1)], ids=str)
def test_a_status_comes_before_or_after_the_work(fate, jobs):
    """Something in front of the service answers."""
    world = World("kaleidoscope")
    assert world.exchange(PUSH, fate).status == fate.status
    assert len(world.jobs()) == jobs


@pytest.mark.parametrize("service", SERVICES)
def test_a_rate_limited_response_has_retry_after(service):
    """In the service's own form, and nothing was done."""
    world = World(service)
    reply = world.exchange(Request("GET", "anything"), throttled(7))
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")


def test_a_flow_waits_out_what_passes():
    """Retries are the flow's own, its jitter comes from the seed, and the waits take virtual time only."""
    world = World("kaleidoscope", seed=3)
    fates = iter([status(503), throttled(20), LOST_AFTER, OK])
    world.run(kaleidoscope.push_by_field_name(["symbol"], [{"symbol": "H"}]), lambda _call: next(fates))
    assert len(world.jobs()) == 2
    assert 21 < world.now - START < 30


def test_a_form_that_was_not_handed_over_was_not_sent():
    """A connection that is refused has a known outcome, also with a streamed body."""
    world = World("liquid_decisions")
    fates = iter([REFUSED, OK])
    flow = liquid_decisions.import_file(file_of(ITEMS), "Account", "one", "application/json")
    world.run(flow, lambda _call: next(fates))
    assert len(world.jobs()) == 1


# --- the same again, and as the real thing


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_seed_gives_the_same_world(service):
    """Ids, times and ledgers; another seed gives other ids."""

    def ledger(seed: int):
        world = schedule(service, seed)
        return world.everything(), world.log, world.random.random()

    assert ledger(1) == ledger(1)
    assert ledger(1)[2] != ledger(2)[2]
    if service != "kili":  # whose connection is there from the start, with an id that is always the same
        assert ledger(1)[0] != ledger(2)[0]


@pytest.mark.parametrize("service", SERVICES)
def test_the_answers_are_those_of_the_whole_application(service):
    """The short way to the handlers leaves nothing out that could be seen in an answer."""
    world = World(service, seed=5)
    seen = []
    short = world._place.service.answer
    world._place.service.answer = lambda arrival: seen.append((world.now, arrival, short(arrival))) or seen[-1][2]
    try:
        SCHEDULES[service](world)
        world.exchange(Request("GET", "no/such/path"))
    finally:
        del world._place.service.answer
    clock = [START]
    context = Context(lambda: clock[0])
    mock_service = SERVICES[service](context)
    context.ids.seed(5)
    mock_service.reset()
    app = create_app(context, [mock_service], lambda _scope: None)
    for at, arrival, answer in seen:
        clock[0] = at
        assert asyncio.run(whole(app, arrival)) == answer


async def whole(app, arrival) -> Answer:
    """One request to the ASGI application, as a server makes it."""
    path, _, query = arrival.target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": arrival.method,
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "root_path": "",
        "query_string": query,
        "headers": arrival.headers,
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 5000),
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": arrival.body, "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return Answer(sent[0]["status"], sent[0]["headers"], b"".join(each["body"] for each in sent[1:]))


REQUESTS = [
    [("PUT", "s3://sluice-market-data/hdb/", "/")],
    [("PUT", "s3://sluice-market-data/hdb/sym", "/"), ("PUT", "s3://sluice-market-data/hdb/2026.03.01/", "/day/")],
    [("PUT", "s3://sluice-market-data/hdb/", "/"), ("DELETE", "", "/2026.03.01/"), ("DELETE", "", "/sym")],
    [("PUT", "s3://sluice-market-data/hdb/", "/"), ("DELETE", "", "/2026.02.*")],
    [("PUT", "s3://sluice-market-data/hdb/", "/"), ("DELETE", "", "/*/trade/price")],
    [("PUT", "s3://sluice-market-data/hdb/", "/"), ("DELETE", "", "/")],
    [("PUT", "s3://sluice-market-data/hdb/sym/", "/")],
    [("PUT", "s3://sluice-market-data/hdb", "/")],
    [("PUT", "s3://sluice-market-data/nothing/", "/")],
    [("DELETE", "", "/nothing")],
]


@pytest.mark.parametrize("changes", REQUESTS, ids=str)
def test_databases_in_memory_are_like_databases_in_folders(changes):
    """The same files with the same sizes, or the same refusal."""
    requests = [{"changeType": kind, "s3Path": source, "dbPath": target} for kind, source, target in changes]
    outcomes = []
    for folders in (Folders(), MemoryFolders()):
        _ = folders.files("environment", "database"), folders.s3 if type(folders) is Folders else None
        try:
            folders.apply("environment", "database", requests, "")
            outcomes.append(folders.files("environment", "database"))
        except JobFailed as error:
            outcomes.append((error.error_type, error.message))
    assert outcomes[0] == outcomes[1]


# --- what a world does without


def test_a_world_has_no_sockets_threads_or_files(monkeypatch):
    """Everything happens here and now."""

    def forbidden(*_args, **_kwargs):
        raise AssertionError("a simulation does not do this")

    for service in SERVICES:
        schedule(service, 0)  # what is made once may do so
    for owner, name in ((socket, "socket"), (threading.Thread, "start"), (Path, "open"), (asyncio, "new_event_loop")):
        monkeypatch.setattr(owner, name, forbidden)
    for service in SERVICES:
        schedule(service, 1)


def test_there_is_one_world_at_a_time():
    """A world whose place was taken refuses to go on, instead of going on in the other."""
    old = World("kaleidoscope")
    World("kaleidoscope")
    with pytest.raises(RuntimeError, match="another World"):
        old.exchange(PUSH)
