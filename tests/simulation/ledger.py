"""What a service really did, read from the sandbox's own state: what the invariants of a simulation are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sluice_sandbox.finspace.service import FinSpace
from sluice_sandbox.kaleidoscope.service import Kaleidoscope
from sluice_sandbox.kili.service import Kili
from sluice_sandbox.liquid_decisions.service import LiquidDecisions

if TYPE_CHECKING:
    from sluice_sandbox.kaleidoscope.registrations import Registration
    from sluice_sandbox.kaleidoscope.store import Import
    from sluice_sandbox.kili.store import Connection, Task
    from sluice_sandbox.liquid_decisions.store import Job
    from sluice_sandbox.service import MockService


class ServiceJob(NamedTuple):
    """A job of any service.

    :param id: of the job; Kili's work has no id of its own, so there it is the connection's
    :param kind: `import`, `draft import`, `file`, `registration`, `validation`, `check`, `add`, `remove`, `export`,
        `changeset`
    :param mark: by which it is distinguished from others: set name, job name, client token, file id
    :param state: in the service's words
    :param over: nothing more will happen to it
    :param started_at: when it was submitted; seconds since 1970
    :param cancel_requested: a user requested its cancellation
    :param content: what it was submitted with: keys of rows, ids of records, paths, change requests
    :param done: how much of the content has taken effect
    """

    id: str
    kind: str
    mark: str
    state: str
    over: bool
    started_at: float
    cancel_requested: bool
    content: tuple[Any, ...]
    done: int


class ServiceRegistration(NamedTuple):
    """A registration of a file, or a submission of drafts.

    :param results_received: how often results came for it, refused ones included
    """

    id: str
    kind: str
    status: str
    over: bool
    operation_id: str
    file_id: str
    record_ids: tuple[str, ...]
    results_received: int
    statuses: tuple[str, ...]


class ServiceDraft(NamedTuple):
    """A draft; `archived` says why it has left the staging table: registered, cleared or replaced."""

    id: str
    key: tuple[str, ...]
    archived: str


class ServiceConnection(NamedTuple):
    """A cloud storage connection of Kili. An asset that was added twice is there twice."""

    id: str
    project_id: str
    integration_id: str
    assets: tuple[str, ...]
    to_add: tuple[str, ...]
    to_remove: tuple[str, ...]
    last_check: float | None


def jobs(mock_service: MockService) -> list[ServiceJob]:
    """All jobs, in the order in which they were submitted."""
    if isinstance(mock_service, Kaleidoscope):
        here = mock_service.workspace
        now = here.context.clock.now()
        found = [_import(each, now) for each in here.store.imports.values()]
        return [*found, *(_registration_job(each) for each in here.registrations.by_id.values())]
    if isinstance(mock_service, Kili):
        connections = mock_service.store.connections.values()
        tasks = [_task(connection, task) for connection in connections for task in connection.history]
        return sorted(tasks, key=lambda job: job.started_at)
    if isinstance(mock_service, LiquidDecisions):
        now = mock_service.context.clock.now()
        return [_batch_job(each, now) for each in mock_service.store.jobs.values()]
    assert isinstance(mock_service, FinSpace)
    return [
        ServiceJob(
            each.id,
            "changeset",
            each.token,
            each.state,
            each.over,
            each.created,
            cancel_requested=False,
            content=tuple(_frozen(request) for request in each.requests),
            done=len(each.requests) if each.state == "COMPLETED" else 0,
        )
        for each in mock_service.store.changesets
    ]


def _frozen(request: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(request[name]) for name in ("changeType", "s3Path", "dbPath") if name in request)


def _import(job: Import, now: float) -> ServiceJob:
    submitted = not (job.write and job.run_at is None)
    if not submitted:
        state = "not run"
    elif job.done:
        state = "failed" if job.fails else "completed"
    else:
        state = "processing" if now >= job.started_at else "created"
    kind = "draft import" if job.write else "import"
    at = job.created_at if job.run_at is None else job.run_at
    return ServiceJob(job.id, kind, job.set_name or "", state, job.done, at, False, tuple(job.keys), len(job.records))


def _registration_job(registration: Registration) -> ServiceJob:
    done = len(registration.record_ids) if registration.over else 0
    mark, records = registration.file_id or "", tuple(registration.record_ids)
    return ServiceJob(
        registration.id,
        registration.kind,
        mark,
        registration.status,
        registration.over,
        registration.created_at,
        False,
        records,
        done,
    )


def _task(connection: Connection, task: Task) -> ServiceJob:
    over = task not in connection.running
    state = "over" if over else "running"
    paths = tuple(task.paths or ())
    return ServiceJob(connection.id, task.kind.lower(), "", state, over, task.requested_at, False, paths, task.done)


def _batch_job(job: Job, now: float) -> ServiceJob:
    content = tuple(str(data.get("id", number)) for number, (_action, data) in enumerate(job.rows))
    return ServiceJob(
        job.id,
        job.kind,
        job.fields.get("jobName", ""),
        job.status(now),
        now >= job.ends_at,
        job.created_at,
        job.cancel_requested_at is not None,
        content,
        job.applied if job.kind == "import" else len(job.links),
    )


# --- one service at a time


def pushes(mock_service: MockService) -> dict[tuple[str, ...], int]:
    """Kaleidoscope: how often each record was written, by the values of its key."""
    assert isinstance(mock_service, Kaleidoscope)
    return {tuple(each.key.values()): each.pushes for each in mock_service.workspace.store.records.values()}


def registrations(mock_service: MockService) -> list[ServiceRegistration]:
    """Kaleidoscope: registrations and submissions, oldest first."""
    assert isinstance(mock_service, Kaleidoscope)
    return [
        ServiceRegistration(
            each.id,
            each.kind,
            each.status,
            each.over,
            each.operation_id,
            each.file_id or "",
            tuple(each.record_ids),
            each.results_received,
            tuple(status for _at, status, _message in each.history),
        )
        for each in mock_service.workspace.registrations.by_id.values()
    ]


def drafts(mock_service: MockService) -> list[ServiceDraft]:
    """Kaleidoscope: all drafts there ever were, oldest first."""
    assert isinstance(mock_service, Kaleidoscope)
    found = mock_service.workspace.drafts.by_id.values()
    return [ServiceDraft(each.id, tuple(each.record.key.values()), each.archived) for each in found]


def connections(mock_service: MockService) -> list[ServiceConnection]:
    """Kili: all connections, the one of the start first."""
    assert isinstance(mock_service, Kili)
    return [
        ServiceConnection(
            each.id,
            each.project_id,
            each.integration.id,
            tuple(each.assets),
            tuple(each.to_add),
            tuple(each.to_remove),
            each.last_check,
        )
        for each in mock_service.store.connections.values()
    ]


def items(mock_service: MockService) -> dict[tuple[str, str], int]:
    """Liquid Decisions: how often each item arrived, by its type and key; those of the start never did."""
    assert isinstance(mock_service, LiquidDecisions)
    types = mock_service.store.items.items()
    return {(name, key): item.arrivals for name, found in types for key, item in found.items()}


def files(mock_service: MockService) -> dict[tuple[str, str], int]:
    """FinSpace: the sizes of all files, by database and path."""
    assert isinstance(mock_service, FinSpace)
    store = mock_service.store
    found = ((each.name, store.folders.files(each.environment, each.name)) for each in store.databases.values())
    return {(name, path): size for name, sizes in found for path, size in sizes.items()}


def everything(mock_service: MockService) -> tuple[Any, ...]:
    """All of the above that there is of a service, to be compared as a whole."""
    more: dict[type, tuple[Any, ...]] = {
        Kaleidoscope: (pushes, registrations, drafts),
        Kili: (connections,),
        LiquidDecisions: (items,),
        FinSpace: (files,),
    }
    return (jobs(mock_service), *(read(mock_service) for read in more[type(mock_service)]))
