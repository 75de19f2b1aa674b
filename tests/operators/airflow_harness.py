"""Tasks in the real Airflow, one worker run at a time, in this process, with Airflow's task runner, API and database.

    task = airflow.task(KaleidoscopePushOperator, task_id="push", records=[...], key_field_names=["symbol"])
    task.run()            until the try is over, through the triggerer if it defers
    task.clear().run()    clears the task and runs it again

Every worker run gets a new operator, as in a new process. Sleeps take no time: they advance the test's clock and the
sandbox's.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import httpx
import pytest
import structlog

from tests.airflow_markers import IN_PROCESS, require_marker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sluice_provider.jobs.record import JobRecord, PhaseRecord
    from sluice_provider.testing import SandboxClient

ELEMENTS = [
    {"symbol": "H", "name": "Hydrogen", "atomic_number": 1},
    {"symbol": "He", "name": "Helium", "atomic_number": 2},
    {"symbol": "Li", "name": "Lithium", "atomic_number": 3},
]
SECRET = "kaleidoscope-sandbox-secret"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


class ProcessDied(BaseException):
    """Simulates the death of the process: no error handler in it may catch this."""


# --- Airflow


@cache
def metadata_database() -> None:
    """A database of our own, whatever Airflow was set to before; made once."""
    home = Path(tempfile.mkdtemp(prefix="sluice-tests-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ.setdefault("AIRFLOW_HOME", str(home))
    os.environ |= {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__OPENLINEAGE__DISABLED": "True",
    }
    from airflow import settings
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    settings.configure_vars()
    settings.reconfigure_orm()
    initdb()
    with create_session() as session:
        session.add(DagBundleModel(name="tests"))


class Airflow:
    """Makes DAG runs in the database."""

    _numbers = count(1)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def dag_run(self, make: Callable[[], object], **settings: Any) -> DagRunHarness:
        """A new run of the DAG whose tasks `make` makes, again for every worker run."""
        return DagRunHarness(self.clock, f"dag_{next(self._numbers)}", make, settings)

    def task(
        self, operator: type, *, task_id: str = "push", dag: dict[str, Any] | None = None, **args: Any
    ) -> TaskHarness:
        """A task that is alone in its run; `args` can be changed between two worker runs."""
        dag_run = self.dag_run(lambda: operator(task_id=task_id, **args), **(dag or {}))
        return dag_run.task(task_id, args=args)


class DagRunHarness:
    """A DAG run."""

    def __init__(self, clock: Clock, dag_id: str, make: Callable[[], object], settings: dict[str, Any]) -> None:
        from airflow._shared.timezones import timezone
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.serialization.definitions.dag import SerializedDAG
        from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        self.clock = clock
        self.dag_id = dag_id
        self._make = make
        self._settings = settings
        dag = self.dag()
        with create_session() as session:
            lazy = LazyDeserializedDAG.from_dag(dag)
            SerializedDAG.bulk_write_to_db("tests", None, [lazy], session=session)
            SerializedDagModel.write_dag(lazy, bundle_name="tests", session=session)
        now = timezone.utcnow()
        DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)).create_dagrun(
            run_id="run",
            logical_date=now,
            data_interval=(now, now),
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
        )

    def dag(self) -> Any:
        """As a new process reads it from its file."""
        from airflow.sdk import DAG

        with DAG(self.dag_id, schedule=None, **self._settings) as dag:
            self._make()
        return dag

    def task(self, task_id: str, map_index: int = -1, args: dict[str, Any] | None = None) -> TaskHarness:
        """One of its task instances."""
        return TaskHarness(self, task_id, map_index, args or {})


class TaskHarness:
    """One task instance, from its first try on."""

    def __init__(self, dag_run: DagRunHarness, task_id: str, map_index: int, args: dict[str, Any]) -> None:
        self.dag_run = dag_run
        self.task_id = task_id
        self.map_index = map_index
        self.args = args
        self.log: list[str] = []
        self.error: BaseException | None = None
        self.operator: Any = None

    # -- its state

    @property
    def _name(self) -> dict[str, Any]:
        return {
            "dag_id": self.dag_run.dag_id,
            "run_id": "run",
            "task_id": self.task_id,
            "map_index": self.map_index,
        }

    def _row(self, session: Any) -> Any:
        from airflow.models.taskinstance import TaskInstance
        from sqlalchemy import select

        return session.scalars(select(TaskInstance).filter_by(**self._name)).one()

    @contextmanager
    def row(self) -> Iterator[Any]:
        """Its row in the database, to read and to change."""
        from airflow.utils.session import create_session

        with create_session() as session:
            yield self._row(session)

    @property
    def state(self) -> str:
        """As the user sees it."""
        with self.row() as row:
            return str(getattr(row.state, "value", row.state))

    @property
    def retry_seconds(self) -> float:
        """How long Airflow waits before the next try."""
        with self.row() as row:
            row.task = self.operator
            return float((row.next_retry_datetime() - row.end_date).total_seconds())

    def xcom(self, key: str = "return_value") -> Any:
        """Its XCom under a key."""
        from airflow.models.xcom import XComModel

        return self._value(XComModel, key)

    @property
    def result(self) -> dict[str, Any]:
        """What the task returned."""
        result: dict[str, Any] = self.xcom()
        return result

    def stored(self, key: str) -> Any:
        """What is in its task state store under a key, or None."""
        from airflow.models.task_state_store import TaskStateStoreModel

        return json.loads(self._value(TaskStateStoreModel, key) or "null")

    @property
    def head(self) -> dict[str, Any]:
        """The head of its record, as it is written."""
        return self.stored("sluice_record") or {}

    @property
    def stored_values(self) -> list[str]:
        """All values in its task state store, as they are written."""
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            return list(session.scalars(select(TaskStateStoreModel.value).filter_by(**self._name)))

    @property
    def summary(self) -> dict[str, Any]:
        """What the Jobs page shows of it."""
        return self.head.get("summary") or {}

    @property
    def record(self) -> JobRecord:
        """Its record, as the next try reads it."""
        from sluice_provider.jobs.storage import RecordStorage

        record = RecordStorage(SimpleNamespace(get=self.stored, set=None)).load()
        assert record is not None, "there is no record"
        return record

    @property
    def phase(self) -> PhaseRecord:
        """The latest phase of its record."""
        return self.record.phases[-1]

    def history(self, what: str) -> list[str]:
        """The texts of one kind of event in its history."""
        pieces = [self.stored(f"sluice_record_history_{number}") or [] for number in range(8)]
        return [text for piece in pieces for _, kind, text in piece if kind == what]

    def _value(self, model: Any, key: str) -> Any:
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            return session.scalar(select(model.value).filter_by(key=key, **self._name))

    def logged(self, *words: str) -> bool:
        """Whether one line of its log holds all of these words."""
        return any(all(word in line for word in words) for line in self.log)

    # -- events

    def worker_run(self) -> TaskHarness:
        """From being queued until it defers or ends."""
        from airflow.sdk.execution_time.supervisor import run_task_in_process

        dag = self.dag_run.dag()
        with structlog.testing.capture_logs() as lines:
            outcome = run_task_in_process(ti=self._queue(), task=dag.task_dict[self.task_id])
        self._note(lines)
        self.operator, self.error = outcome.ti.task, outcome.error
        return self

    def _queue(self) -> Any:
        """As the scheduler does: a resumed or rescheduled task continues its try, any other starts a new one."""
        from airflow.utils.state import TaskInstanceState

        with self.row() as row:
            if row.state not in (TaskInstanceState.SCHEDULED, TaskInstanceState.UP_FOR_RESCHEDULE):
                row.try_number += 1
            row.state = TaskInstanceState.QUEUED
            return self._sdk(row)

    def _sdk(self, row: Any) -> Any:
        from airflow.sdk.api.datamodels._generated import TaskInstance

        return TaskInstance(
            id=row.id, try_number=row.try_number, dag_version_id=row.dag_version_id, queue="default", **self._name
        )

    def _note(self, lines: list[Any]) -> None:
        self.log += [f"{line['log_level'].upper()} {line['event']} {line.get('exc_info', '')}" for line in lines]

    def run(self) -> TaskHarness:
        """Until the try is over, through the triggerer as often as it defers."""
        self.worker_run()
        while self.state in ("deferred", "up_for_reschedule"):
            if self.state == "deferred":
                self.fire()
            else:
                self.dag_run.clock.move(self.operator.poke_interval)
            self.worker_run()
        return self

    def defer(self) -> TaskHarness:
        """Its first worker run, which must defer."""
        assert self.worker_run().state == "deferred", self.error
        return self

    def retry(self, **changes: Any) -> TaskHarness:
        """The next try after a failed one, with changed arguments of the operator if any."""
        assert self.state == "up_for_retry", (self.state, self.error)
        self.args.update(changes)
        return self.run()

    def clear(self) -> TaskHarness:
        """As a user does."""
        from airflow.models.taskinstance import clear_task_instances
        from airflow.utils.session import create_session

        with create_session() as session:
            clear_task_instances([self._row(session)], session)
        return self

    def delete_state(self) -> TaskHarness:
        """A user deletes the task's state store."""
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.utils.session import create_session
        from sqlalchemy import delete

        with create_session() as session:
            session.execute(delete(TaskStateStoreModel).filter_by(**self._name))
        return self

    @contextmanager
    def death(self, moment: str, nth: int = 1) -> Iterator[None]:
        """The process dies at the nth moment of this kind within the block."""
        with process_death_at(moment, nth):
            yield
        assert isinstance(self.error, ProcessDied), self.error

    # -- the triggerer

    def trigger(self) -> Any:
        """The trigger as the triggerer makes it from the database."""
        from airflow.models.trigger import Trigger
        from airflow.sdk._shared.module_loading import import_string
        from airflow.sdk.serde import deserialize
        from sqlalchemy.orm import object_session

        with self.row() as row:
            session = object_session(row)
            assert session is not None
            stored = session.get(Trigger, row.trigger_id)
            assert stored is not None
            trigger = import_string(stored.classpath)(**cast(dict[str, Any], deserialize(stored.kwargs)))
            trigger.task_instance = self._sdk(row)
        return trigger

    def in_triggerer(self, work: Callable[[Any], Any], trigger: Any = None) -> Any:
        """The outcome of `await work(trigger)`, with what a triggerer has around it."""
        import psutil  # type: ignore[import-untyped]
        from airflow.sdk.execution_time.supervisor import (
            InProcessSupervisorComms,
            InProcessTestSupervisor,
            set_supervisor_comms,
        )

        trigger = trigger or self.trigger()
        supervisor = InProcessTestSupervisor(
            id=trigger.task_instance.id,
            pid=os.getpid(),
            process=psutil.Process(),
            process_log=structlog.get_logger(logger_name="task").bind(),
            client=InProcessTestSupervisor._api_client(),
        )

        class Comms(InProcessSupervisorComms):  # a triggerer's can also be awaited
            async def asend(self, message: Any) -> Any:
                return self.send(message)

        supervisor.comms = Comms(supervisor=supervisor)
        with set_supervisor_comms(supervisor.comms), structlog.testing.capture_logs() as lines:
            outcome = asyncio.run(work(trigger))
        self._note(lines)
        return outcome

    def event(self) -> Any:
        """The event that the trigger yields when its wait is over."""

        async def first(trigger: Any) -> Any:
            return (await anext(trigger.run())).payload

        return json.loads(json.dumps(self.in_triggerer(first)))

    def fire(self, event: Any = ...) -> TaskHarness:
        """Resume the task with the trigger's event, or with another one."""
        from airflow.models.trigger import Trigger
        from airflow.triggers.base import TriggerEvent
        from sqlalchemy.orm import object_session

        event = self.event() if event is ... else event
        with self.row() as row:
            session = object_session(row)
            assert session is not None
            Trigger.submit_event(row.trigger_id, TriggerEvent(event), session=session)
        return self

    def fail_trigger(self) -> TaskHarness:
        """The trigger raises an unexpected error."""
        from airflow.models.trigger import Trigger
        from sqlalchemy.orm import object_session

        with self.row() as row:
            session = object_session(row)
            assert session is not None
            Trigger.submit_failure(row.trigger_id, ValueError("no such module"), session=session)
        return self

    def time_out_trigger(self) -> TaskHarness:
        """The trigger hangs until Airflow's own timeout ends it."""
        from airflow.models.trigger import TRIGGER_FAIL_REPR, TriggerFailureReason
        from airflow.utils.state import TaskInstanceState

        with self.row() as row:
            row.next_method = TRIGGER_FAIL_REPR
            row.next_kwargs = {"error": TriggerFailureReason.TRIGGER_TIMEOUT}
            row.trigger_id, row.state = None, TaskInstanceState.SCHEDULED
        return self


# --- process deaths


@contextmanager
def process_death_at(moment: str, nth: int = 1) -> Iterator[None]:
    """Die at the nth moment of this kind, which is a call of httpx or Airflow, never of the package."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    moments: dict[str, tuple[type, str, bool, Callable[..., Any]]] = {
        "before submitting": (httpx.Client, "send", True, _is_submission),
        "after submitting": (httpx.Client, "send", False, _is_submission),
        "intent written": (TaskStateStoreAccessor, "set", False, _has_intent),
        "job written": (TaskStateStoreAccessor, "set", False, _has_submission),
        "all written": (TaskStateStoreAccessor, "set", False, _is_complete),
        "end written": (TaskStateStoreAccessor, "set", False, _has_ended),
        "publishing": (RuntimeTaskInstance, "xcom_push", True, lambda key, *_: key == "job_ids"),
    }
    owner, name, before, meant = moments[moment]
    original = getattr(owner, name)
    seen = count(1)

    def fatal(self: Any, *args: Any, **kwargs: Any) -> Any:
        fate = meant(*args, *kwargs.values()) and next(seen) == nth
        if fate and before:
            raise ProcessDied(moment)
        outcome = original(self, *args, **kwargs)
        if fate:
            raise ProcessDied(moment)
        return outcome

    with mock.patch.object(owner, name, fatal):
        yield


def _is_submission(request: httpx.Request, *_: Any) -> bool:
    paths = (
        *("push/imports", "batch/import", "batch/export", "/changesets", "/register/", "/run", "_drafts"),
        *("/registration_files/", "/registration_submissions/"),
    )
    return request.method == "POST" and any(path in request.url.path for path in paths)


def _open_phase(key: str, value: Any) -> dict[str, Any]:
    return (value.get("open") or [{}])[-1] if key == "sluice_record" else {}


def _has_intent(key: str, value: Any) -> bool:
    return bool(_open_phase(key, value).get("intent"))


def _is_complete(key: str, value: Any) -> bool:
    return bool(_open_phase(key, value).get("complete"))


def _has_submission(key: str, value: Any) -> bool:
    return "_log_" in key and '"submissions"' in value[1].splitlines()[-1]


def _has_ended(key: str, value: Any) -> bool:
    return key == "sluice_record" and bool(value["seed"]) and not value["open"]


# --- time


class Clock:
    """The time as the package reads it. Its sleeps take no time: they move it on, and the sandbox's clock too."""

    def __init__(self, sandbox: SandboxClient) -> None:
        self._sandbox = sandbox
        self.ahead = 0.0
        self.sleeps: list[float] = []
        self.on_sleep: Callable[[], object] = lambda: None

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += seconds
        self._sandbox.advance(seconds)

    def sleep(self, seconds: float) -> None:
        assert len(self.sleeps) < 1000, "this wait never ends"
        self.sleeps.append(seconds)
        self.on_sleep()
        self.move(seconds)

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Every module of the package that reads the time reads this one."""
        import airflow.sdk.bases.sensor

        from sluice_provider import progress, shared_poller
        from sluice_provider.hooks import base as hooks
        from sluice_provider.http import auth, drivers, polling, responses, retry
        from sluice_provider.jobs import execution, lifecycle
        from sluice_provider.operators.kaleidoscope import files as kaleidoscope_files
        from sluice_provider.runtime import run, sensor

        shown = SimpleNamespace(time=self.time, monotonic=self.monotonic, sleep=self.sleep)
        with ExitStack() as stack:
            for module in (
                progress,
                shared_poller,
                auth,
                drivers,
                polling,
                responses,
                retry,
                hooks,
                execution,
                kaleidoscope_files,
                run,
                sensor,
                airflow.sdk.bases.sensor,
            ):
                stack.enter_context(mock.patch.object(module, "time", shown))
            # One write for each submission, so that a death can be aimed at any of them.
            stack.enter_context(mock.patch.object(execution, "GROUP_SAVE_INTERVAL_SECONDS", 0.0))
            stack.enter_context(mock.patch.object(execution, "MAX_GROUP_SAVE_INTERVAL_SECONDS", 0.0))
            # A task that can defer does so at once, so that a test says when its job ends.
            stack.enter_context(mock.patch.object(lifecycle, "BRIEF_WAIT_SECONDS", 0.0))
            stack.enter_context(mock.patch.object(hooks, "asyncio", _Asyncio(self.async_sleep)))
            yield


class _Asyncio:
    """The module, but for its sleep."""

    def __init__(self, sleep: Any) -> None:
        self.sleep = sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


# --- input that changes


@contextmanager
def file_changes(path: Path, then: str | None) -> Iterator[None]:
    """After it was read once, a file has other content, or is deleted."""
    from sluice_provider.sources.readers import FileSource

    original = FileSource.chunks

    def read(self: Any, skip: int = 0) -> Iterator[Any]:
        yield from original(self, skip)
        path.unlink(missing_ok=True) if then is None else path.write_text(then)

    with mock.patch.object(FileSource, "chunks", read):
        yield


# --- the service


class KaleidoscopeSandbox:
    """The sandbox's Kaleidoscope as tests see it."""

    def __init__(self, sandbox: SandboxClient) -> None:
        self._sandbox = sandbox
        self.settings, self.faults, self.requests = sandbox.settings, sandbox.faults, sandbox.requests

    @property
    def imports(self) -> list[str]:
        """Ids of its imports, oldest first."""
        return [each["id"] for each in self._sandbox.state()["kaleidoscope"]["imports"]]

    @property
    def records(self) -> dict[str, int]:
        """How often each record arrived, by its key."""
        records = self._sandbox.state()["kaleidoscope"]["records"]
        return {", ".join(record["key"].values()): record["pushes"] for record in records}

    @property
    def pushes(self) -> list[dict[str, Any]]:
        """Bodies of the pushes, also of those that were refused or dropped."""
        return [each["json"] for each in self._sandbox.requests() if "push/imports" in each["path"]]

    @property
    def sent(self) -> list[list[str]]:
        """The symbols in each push."""
        return [[record["symbol"] for record in push["data"]] for push in self.pushes]

    @property
    def polls(self) -> int:
        """The number of status checks of imports."""
        return sum("kaleidoscope/imports/" in each["path"] for each in self._sandbox.requests())

    def inject_fault(self, method: str, path: str, **fault: Any) -> None:
        """Let requests of this kind fail: all, unless `times` limits them."""
        self._sandbox.faults([{"method": method, "path": path, "times": 10_000, **fault}])


# --- fixtures


@pytest.fixture
def service(sluice_sandbox: SandboxClient) -> KaleidoscopeSandbox:
    """The sandbox's Kaleidoscope."""
    return KaleidoscopeSandbox(sluice_sandbox)


@pytest.fixture
def clock(sluice_sandbox: SandboxClient) -> Iterator[Clock]:
    """The clock in force."""
    clock = Clock(sluice_sandbox)
    with clock.patched():
        yield clock


@pytest.fixture
def airflow(clock: Clock, sluice_connections: dict[str, str]) -> Airflow:
    """A real Airflow in this process, whose default connections lead to the sandbox."""
    require_marker(*IN_PROCESS)
    metadata_database()
    return Airflow(clock)


@pytest.fixture
def push(airflow: Airflow) -> Callable[..., TaskHarness]:
    """A push of a few elements, with three retries; arguments as for the operator."""
    from sluice_provider.operators.kaleidoscope import KaleidoscopePushOperator

    def make_task(**args: Any) -> TaskHarness:
        dag = args.pop("dag", None)
        args = {"records": ELEMENTS, "key_field_names": ["symbol"], "retries": 3, **args}
        return airflow.task(KaleidoscopePushOperator, dag=dag, **args)

    return make_task
