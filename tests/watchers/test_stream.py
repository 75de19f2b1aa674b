"""The watcher in Airflow's own stream manager, without the rest: what it tells, and what it remembers when."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.watchers import KaleidoscopeRegistrationTrigger

pytestmark = pytest.mark.airflow


class Store:
    """An asset's state store, which outlives the triggerer. Values cross as JSON, as they do in Airflow."""

    def __init__(self):
        self.kept, self.broken = {}, 0

    async def aget(self, key):
        """As of `AssetStateStoreAccessors`."""
        if self.broken:
            from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
            from airflow.sdk.execution_time.comms import ErrorResponse

            self.broken -= 1
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))
        return json.loads(self.kept[key]) if key in self.kept else None

    async def aset(self, key, value):
        """As of `AssetStateStoreAccessors`."""
        self.kept[key] = json.dumps(value)


class Triggerer:
    """Runs watchers as Airflow's runner does: what they fire is stored when somebody says so."""

    def __init__(self):
        from airflow.triggers.shared_stream import SharedStreamManager

        self.manager = SharedStreamManager()
        self.fired = asyncio.Queue()
        self.tasks = []

    def start(self, trigger, store):
        """A watcher begins."""
        trigger.asset_state_store = store
        self.tasks.append(asyncio.create_task(self._run(len(self.tasks) + 1, trigger)))

    async def _run(self, number, trigger):
        key = trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        async for event in trigger.filter_shared_stream(stream):
            seq = self.manager.bind_pending_event(trigger_id=number, key=key)
            await self.fired.put((number, event.payload["events"], seq))

    async def next(self, seconds=8.0):
        """What is fired next."""
        return await asyncio.wait_for(self.fired.get(), seconds)

    async def quiet(self, seconds=2.5):
        """Whether nothing is fired."""
        await asyncio.sleep(seconds)
        return self.fired.empty()

    async def die(self):
        """Without a word."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for group in self.manager._groups.values():
            group._poll_task.cancel()


@asynccontextmanager
async def alive():
    """A triggerer for a while."""
    triggerer = Triggerer()
    try:
        yield triggerer
    finally:
        await triggerer.die()


def watcher(sandbox, **more):
    """Looks every second."""
    operation = sandbox.state()["kaleidoscope"]["ids"]["operation_id"]
    return KaleidoscopeRegistrationTrigger([operation], **{"poll_interval": 1, "repeat_after": 60, **more})


def run(scenario):
    """On a loop of its own."""
    return asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.fixture
def sandbox(sluice_sandbox, sluice_connections):
    """Where the watcher looks."""
    return sluice_sandbox


NONSENSE = {
    "path": "/registration_submissions$",
    "status": 200,
    "body": [{"id": "s-1", "status": "pending", "submitted_record_ids": 5}],
}


def test_what_was_not_stored_is_told_again(sandbox):
    """The triggerer dies after firing: the next one fires the same events, with the same identities."""
    store = Store()
    files = {sandbox.register_file(f"{number}.csv", "name\nC\n")["file_id"] for number in range(3)}

    async def scenario():
        async with alive() as first:
            first.start(watcher(sandbox), store)
            _, told, _ = await first.next()
            assert await first.quiet(), "what is under way is not told beside"
        async with alive() as second:
            second.start(watcher(sandbox), store)
            _, again, seq = await second.next()
            second.manager.confirm_persisted([seq])
            await asyncio.sleep(1.5)
        return told, again

    told, again = run(scenario)
    assert {each["file_id"] for each in told} == files, "all of one look in one event"
    assert [each["id"] for each in told] == [each["id"] for each in again]
    assert len(store.kept) == 1


def test_what_was_stored_is_not_told_again(sandbox):
    """Only what came meanwhile."""
    store = Store()
    sandbox.register_file("1.csv", "name\nC\n")

    async def scenario():
        async with alive() as first:
            first.start(watcher(sandbox), store)
            _, _, seq = await first.next()
            first.manager.confirm_persisted([seq])
            await asyncio.sleep(1)
        new = sandbox.register_file("2.csv", "name\nC\n")["file_id"]
        async with alive() as second:
            second.start(watcher(sandbox), store)
            _, told, _ = await second.next()
            assert [each["file_id"] for each in told] == [new]

    run(scenario)


def test_watchers_of_a_connection_share_their_looks(sandbox):
    """Each is told what it asked for, and has a memory of its own."""
    files, drafts = Store(), Store()

    async def scenario():
        async with alive() as triggerer:
            triggerer.start(watcher(sandbox, event_types=["registration_submitted"]), files)
            triggerer.start(watcher(sandbox, event_types=["registration_drafts_submitted"]), drafts)
            triggerer.start(watcher(sandbox), Store())
            sandbox.register_file("1.csv", "name\nC\n")
            sandbox.stage_drafts({"name": "Aspirin"}, submit="registration")
            sandbox.stage_drafts({"name": "Caffeine"}, submit="validation")
            found = {}
            while len({(who, each["event"]) for who, told in found.items() for each in told}) < 5:
                who, told, seq = await triggerer.next()
                found.setdefault(who, []).extend(told)
                triggerer.manager.confirm_persisted([seq])
            sandbox.requests(clear=True)
            await asyncio.sleep(3)
            return {who: {each["event"].removeprefix("registration_") for each in told} for who, told in found.items()}

    found = run(scenario)
    assert found == {
        1: {"submitted"},
        2: {"drafts_submitted"},
        3: {"submitted", "drafts_submitted", "drafts_validation_requested"},
    }
    paths = [each["path"].rpartition("/")[2] for each in sandbox.requests()]
    assert 2 <= paths.count("registrations") <= 4
    assert 2 <= paths.count("registration_submissions") <= 4


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 404}, {"status": 200, "body": [7]}, NONSENSE])
def test_a_bad_look_is_not_the_end(sandbox, fault):
    """Nor a store that cannot be read at first: then nothing is told before it can."""
    store = Store()
    store.broken = 1
    sandbox.faults([{"method": "GET", "path": "/registrations$", "times": 1, **fault}])
    sandbox.register_file("1.csv", "name\nC\n")

    async def scenario():
        async with alive() as triggerer:
            triggerer.start(watcher(sandbox), store)
            _, told, _ = await triggerer.next(15)
            return told

    assert len(run(scenario)) == 1
    assert store.broken == 0


def test_without_shared_streams_it_looks_for_itself(sandbox):
    """Airflow before 3.3 calls `run`."""
    file_id = sandbox.register_file("1.csv", "name\nC\n")["file_id"]

    async def scenario():
        events = watcher(sandbox).run()
        told = await anext(events)
        await events.aclose()
        return told.payload["events"]

    assert [each["file_id"] for each in run(scenario)] == [file_id]


def test_a_watcher_is_known_by_its_arguments():
    """They go through Airflow's database and make the same watcher, and hold no secret."""
    trigger = KaleidoscopeRegistrationTrigger(["op-1", "op-2", "op-1"], "k", 5, 50, ["registration_submitted"])
    path, kwargs = trigger.serialize()
    assert path == "sluice_provider.watchers.KaleidoscopeRegistrationTrigger"
    assert KaleidoscopeRegistrationTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)
    assert kwargs["operation_ids"] == ["op-1", "op-2"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"operation_ids": "op-1"}, "operation_ids"),
        ({"operation_ids": []}, "operation_ids"),
        ({"operation_ids": [None]}, "operation_ids"),
        ({"event_types": ["everything"]}, "event_types"),
        ({"event_types": []}, "event_types"),
        ({"poll_interval": 0.1}, "poll_interval"),
        ({"poll_interval": 60, "repeat_after": 30}, "repeat_after"),
    ],
)
def test_wrong_arguments_are_told_when_the_dag_is_parsed(more, words):
    """And not when nobody looks."""
    with pytest.raises(InvalidInput, match=words):
        KaleidoscopeRegistrationTrigger(**{"operation_ids": ["op-1"], **more})
