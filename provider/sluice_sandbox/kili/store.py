"""The data of the mock Kili: integrations with buckets, connections, and the assets imported through them.

Differences between files and assets are computed and applied by tasks that take time on the sandbox's clock.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice_sandbox.kili.bucket import Bucket, Filter
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sluice_sandbox.context import Context


def stable_id(name: str) -> str:
    """An id that is the same in every sandbox, with the length of Kili's ids."""
    return "c" + uuid.uuid5(uuid.NAMESPACE_URL, f"https://sandbox.sluice/kili/{name}").hex[:24]


PROJECT, INTEGRATION, AZURE, CONNECTION, ORGANIZATION, USER = map(
    stable_id, ("project", "integration", "azure", "connection", "organization", "user")
)


@dataclass
class Integration:
    """A bucket that the organization has access to."""

    name: str
    platform: str
    bucket: Bucket
    status: str = "CONNECTED"
    more: dict[str, Any] = field(default_factory=dict)
    id: str = field(kw_only=True)

    @property
    def listed_by_client(self) -> bool:
        """Kili cannot list this bucket; the client sends the list of files."""
        return self.platform == "Azure" and bool(self.more.get("azureIsUsingServiceCredentials"))


@dataclass
class Task:
    """Computing differences (CHECK) or applying them (ADD, REMOVE), between `starts_at` and `ends_at`.

    :param paths: the files to apply, or for CHECK those that the client listed, None if Kili lists the bucket
    :param done: number of paths that were applied so far
    """

    kind: str  # CHECK, ADD or REMOVE
    requested_at: float
    starts_at: float
    ends_at: float
    paths: list[str] | None = None
    done: int = 0

    def is_visible(self, now: float) -> bool:
        """Whether the connection shows its flag."""
        return self.starts_at <= now

    def due(self, now: float) -> int:
        """How many of its paths are to be applied by now."""
        count = len(self.paths or ())
        if now >= self.ends_at:
            return count
        return max(0, int(count * (now - self.starts_at) / (self.ends_at - self.starts_at)))


@dataclass
class Connection:
    """An integration that is used in a project. An asset that was added twice is listed twice."""

    project_id: str
    integration: Integration
    filter: Filter
    is_json_processing_enabled: bool | None = None
    last_check: float | None = None
    to_add: list[str] = field(default_factory=list)
    to_remove: list[str] = field(default_factory=list)
    assets: list[str] = field(default_factory=list)
    running: list[Task] = field(default_factory=list)
    history: list[Task] = field(default_factory=list)
    id: str = field(kw_only=True)

    def is_busy(self, now: float, *, checking: bool) -> bool:
        """The API's isChecking, or isApplyingDataDifferences."""
        return any((task.kind == "CHECK") is checking and task.is_visible(now) for task in self.running)

    def status(self, now: float) -> str:
        """`checking`, `applying` or `idle`, for the status page."""
        if self.is_busy(now, checking=True):
            return "checking"
        return "applying" if self.is_busy(now, checking=False) else "idle"


class Store:
    """One organization with one project."""

    def __init__(self, context: Context, make_bucket: Callable[[], Bucket] = Bucket) -> None:
        self._context = context
        azure = {"azureIsUsingServiceCredentials": True, "azureTenantId": "sandbox"}
        bucket = make_bucket()
        self.integrations = {
            each.id: each
            for each in (
                Integration("Pictures", "CustomS3", bucket, id=INTEGRATION),
                Integration("Azure pictures", "Azure", make_bucket(), more=azure, id=AZURE),
            )
        }
        first = Connection(PROJECT, self.integrations[INTEGRATION], Filter(), id=CONNECTION)
        self.connections = {first.id: first}

    def new_id(self) -> str:
        """A new id with the length of Kili's ids."""
        return "c" + self._context.ids.hexadecimal(24)

    def close(self) -> None:
        """Remove the folders of all buckets."""
        for integration in self.integrations.values():
            integration.bucket.close()

    @property
    def now(self) -> float:
        """The sandbox's time."""
        return self._context.clock.now()

    def count_assets(self, project_id: str) -> int:
        """All assets of a project, with those that did not come through a connection."""
        own = sum(len(each.assets) for each in self.connections.values() if each.project_id == project_id)
        return own + self._context.settings.other_assets

    def start(self, connection: Connection, kind: str, paths: list[str] | None = None) -> None:
        """Start a task. A check is not started again while one is running."""
        settings, now = self._context.settings, self.now
        if kind == "CHECK" and any(task.kind == "CHECK" for task in connection.running):
            return
        if kind != "CHECK":
            paths = list(connection.to_add if kind == "ADD" else connection.to_remove)
            if settings.ignore_validations:
                settings.ignore_validations -= 1
                return
            paths = paths[: settings.max_applied_differences or len(paths)]
        starts_at = now + settings.busy_flag_delay
        task = Task(kind, now, starts_at, starts_at + settings.job_seconds, paths)
        connection.running.append(task)
        connection.history.append(task)

    def process_due(self) -> None:
        """Advance all tasks to the current time."""
        for connection in self.connections.values():
            for task in list(connection.running):
                self._advance(connection, task)

    def _advance(self, connection: Connection, task: Task) -> None:
        now = self.now
        if task.kind == "CHECK":
            if now >= task.ends_at:
                self._compare(connection, task)
        else:
            for path in (task.paths or ())[task.done : task.due(now)]:
                _apply(connection, task.kind, path)
            task.done = max(task.done, task.due(now))
        if now >= task.ends_at:
            connection.running.remove(task)

    def _compare(self, connection: Connection, task: Task) -> None:
        files = connection.integration.bucket.files() if task.paths is None else task.paths
        selected = connection.filter.select(files)
        connection.to_add = [name for name in selected if name not in set(connection.assets)]
        connection.to_remove = [name for name in connection.assets if name not in set(selected)]
        connection.last_check = task.ends_at

    def to_json(self, *, with_records: bool = True) -> dict[str, Any]:
        """For `/control/state`."""
        self.process_due()
        return {
            "ids": {
                "project_id": PROJECT,
                "integration_id": INTEGRATION,
                "connection_id": CONNECTION,
                "azure_id": AZURE,
            },
            "buckets": {each.id: str(each.bucket.path) for each in self.integrations.values()} if with_records else {},
            "project_assets": self.count_assets(PROJECT),
            "connections": [self._connection(each, with_records) for each in self.connections.values()],
        }

    def _connection(self, each: Connection, with_records: bool) -> dict[str, Any]:
        return {
            "id": each.id,
            "status": each.status(self.now),
            "integration_id": each.integration.id,
            "filter": dict(each.filter._asdict()),
            "last_check": iso(each.last_check),
            "tasks": [task.kind for task in each.history],
            **({"assets": each.assets, "to_add": each.to_add, "to_remove": each.to_remove} if with_records else {}),
        }


def _apply(connection: Connection, kind: str, path: str) -> None:
    pending = connection.to_add if kind == "ADD" else connection.to_remove
    if path in pending:
        pending.remove(path)
    if kind == "ADD":
        connection.assets.append(path)
    elif path in connection.assets:
        connection.assets.remove(path)


def page(items: Sequence[Any], skip: int, first: int) -> list[Any]:
    """One page of a listing."""
    return list(items)[skip : skip + first]


def set_members(where: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The members of a filter that are set."""
    return {name: where[name] for name in names if where.get(name) is not None}
