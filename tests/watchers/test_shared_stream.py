"""The watcher in Airflow's own stream manager, without the rest: what it reports, and what it stores when."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from sluice_provider.errors import InvalidInput
from sluice_provider.watchers import KaleidoscopeRegistrationTrigger

pytestmark = pytest.mark.airflow


class Store:
    """An asset's state store, which survives the triggerer. Values are passed as JSON, as in Airflow."""

    def __init__(self):
        self.values, self.failures = {}, 0

    async def aget(self, key):
        """As of `AssetStateStoreAccessors`."""
        if self.failures:
            from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
            from airflow.sdk.execution_time.comms import ErrorResponse

            self.failures -= 1
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))
        return json.loads(self.values[key]) if key in self.values else None

    async def aset(self, key, value):
        """As of `AssetStateStoreAccessors`."""
        self.values[key] = json.dumps(value)


class Triggerer:
    """Runs watchers as Airflow's runner does. A test decides when a fired event is stored."""

    def __init__(self):
        from airflow.triggers.shared_stream import SharedStreamManager

        self.manager = SharedStreamManager()
        self.fired = asyncio.Queue()
        self.tasks = []

    def start(self, trigger, store):
        """Start a watcher."""
        trigger.asset_state_store = store
        self.tasks.append(asyncio.create_task(self._run(len(self.tasks) + 1, trigger)))

    async def _run(self, number, trigger):
        key = trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        async for event in trigger.filter_shared_stream(stream):
            seq = self.manager.bind_pending_event(trigger_id=number, key=key)
            await self.fired.put((number, event.payload["events"], seq))

    async def next(self, seconds=8.0):
        """The next event: number of the watcher, registrations, sequence number."""
        return await asyncio.wait_for(self.fired.get(), seconds)

    async def is_quiet(self, seconds=2.5):
        """Whether nothing is fired for so long."""
        await asyncio.sleep(seconds)
        return self.fired.empty()

    async def kill(self):
        """Stop without any clean-up of the watchers' own."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for group in self.manager._groups.values():
            group._poll_task.cancel()


@asynccontextmanager
async def running_triggerer():
    """A triggerer that is killed at the end."""
    triggerer = Triggerer()
    try:
        yield triggerer
    finally:
        await triggerer.kill()


def watcher(sandbox, **more):
    """A watcher of the sandbox's operation that polls every second."""
    operation = sandbox.state()["kaleidoscope"]["ids"]["operation_id"]
    return KaleidoscopeRegistrationTrigger([operation], **{"poll_interval": 1, "repeat_after": 60, **more})


def run(scenario):
    """Run a coroutine function in a new event loop."""
    return asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.fixture
def sandbox(sluice_sandbox, sluice_connections):
    """The sandbox that the watcher polls."""
    return sluice_sandbox


MALFORMED = {
    "path": "/registration_submissions$",
    "status": 200,
    "body": [{"id": "s-1", "status": "pending", "submitted_record_ids": 5}],
}


def test_events_that_were_not_stored_are_repeated(sandbox):
    """The triggerer is killed after firing: the next one fires the same events, with the same ids."""
    store = Store()
    files = {sandbox.register_file(f"{number}.csv", "name\nC\n")["file_id"] for number in range(3)}

    async def scenario():
        async with running_triggerer() as first:
            first.start(watcher(sandbox), store)
            _, reported, _ = await first.next()
            assert await first.is_quiet(), "events in flight are not repeated"
        async with running_triggerer() as second:
            second.start(watcher(sandbox), store)
            _, again, seq = await second.next()
            second.manager.confirm_persisted([seq])
            await asyncio.sleep(1.5)
        return reported, again

    reported, again = run(scenario)
    assert {each["file_id"] for each in reported} == files, "one event with all registrations of a poll"
    assert [each["id"] for each in reported] == [each["id"] for each in again]
    assert len(store.values) == 1


def test_events_that_were_stored_are_not_repeated(sandbox):
    """After a restart, only new registrations are reported."""
    store = Store()
    sandbox.register_file("1.csv", "name\nC\n")

    async def scenario():
        async with running_triggerer() as first:
            first.start(watcher(sandbox), store)
            _, _, seq = await first.next()
            first.manager.confirm_persisted([seq])
            await asyncio.sleep(1)
        new = sandbox.register_file("2.csv", "name\nC\n")["file_id"]
        async with running_triggerer() as second:
            second.start(watcher(sandbox), store)
            _, reported, _ = await second.next()
            assert [each["file_id"] for each in reported] == [new]

    run(scenario)


def test_watchers_of_a_connection_share_a_polling_loop(sandbox):
    """Each reports the event types that it was configured for, and has its own state."""
    files, drafts = Store(), Store()

    async def scenario():
        async with running_triggerer() as triggerer:
            triggerer.start(watcher(sandbox, event_types=["registration_submitted"]), files)
            triggerer.start(watcher(sandbox, event_types=["registration_drafts_submitted"]), drafts)
            triggerer.start(watcher(sandbox), Store())
            sandbox.register_file("1.csv", "name\nC\n")
            sandbox.stage_drafts({"name": "Aspirin"}, submit="registration")
            sandbox.stage_drafts({"name": "Caffeine"}, submit="validation")
            found = {}
            while len({(number, each["event"]) for number, events in found.items() for each in events}) < 5:
                number, events, seq = await triggerer.next()
                found.setdefault(number, []).extend(events)
                triggerer.manager.confirm_persisted([seq])
            sandbox.requests(clear=True)
            await asyncio.sleep(3)
            return {
                number: {each["event"].removeprefix("registration_") for each in events}
                for number, events in found.items()
            }

    found = run(scenario)
    assert found == {
        1: {"submitted"},
        2: {"drafts_submitted"},
        3: {"submitted", "drafts_submitted", "drafts_validation_requested"},
    }
    paths = [each["path"].rpartition("/")[2] for each in sandbox.requests()]
    assert 2 <= paths.count("registrations") <= 4
    assert 2 <= paths.count("registration_submissions") <= 4


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 404}, {"status": 200, "body": [7]}, MALFORMED])
def test_a_failed_poll_is_retried(sandbox, fault):
    """And so is reading the state store; nothing is reported before that has succeeded."""
    store = Store()
    store.failures = 1
    sandbox.faults([{"method": "GET", "path": "/registrations$", "times": 1, **fault}])
    sandbox.register_file("1.csv", "name\nC\n")

    async def scenario():
        async with running_triggerer() as triggerer:
            triggerer.start(watcher(sandbox), store)
            _, reported, _ = await triggerer.next(15)
            return reported

    assert len(run(scenario)) == 1
    assert store.failures == 0


def test_without_shared_streams_it_polls_itself(sandbox):
    """Airflow before 3.3 calls `run`."""
    file_id = sandbox.register_file("1.csv", "name\nC\n")["file_id"]

    async def scenario():
        events = watcher(sandbox).run()
        event = await anext(events)
        await events.aclose()
        return event.payload["events"]

    assert [each["file_id"] for each in run(scenario)] == [file_id]


def test_serialization():
    """A watcher is restored from Airflow's database with the same arguments."""
    trigger = KaleidoscopeRegistrationTrigger(["op-1", "op-2", "op-1"], "k", 5, 50, ["registration_submitted"])
    path, kwargs = trigger.serialize()
    assert path == "sluice_provider.watchers.KaleidoscopeRegistrationTrigger"
    assert KaleidoscopeRegistrationTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)
    assert kwargs["operation_ids"] == ["op-1", "op-2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operation_ids": "op-1"}, "operation_ids"),
        ({"operation_ids": []}, "operation_ids"),
        ({"operation_ids": [None]}, "operation_ids"),
        ({"event_types": ["everything"]}, r"event_types must be one or more of .*, not \['everything'\]"),
        ({"event_types": []}, "event_types"),
        ({"poll_interval": 0.1}, "poll_interval must be at least 1 s, not 0.1"),
        ({"poll_interval": 60, "repeat_after": 30}, r"repeat_after must be at least poll_interval \(60 s\), not 30"),
    ],
)
def test_invalid_arguments_fail_when_the_dag_is_parsed(arguments, message):
    """Not later in the triggerer."""
    with pytest.raises(InvalidInput, match=message):
        KaleidoscopeRegistrationTrigger(**{"operation_ids": ["op-1"], **arguments})
