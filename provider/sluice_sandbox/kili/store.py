"""What Kili holds: integrations over buckets, connections, and the assets that came through them. Differences are
computed from files against assets; that, and applying them, takes time on the sandbox's clock."""

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
    """The same id for the same thing in every sandbox; of the length that Kili's have."""
    return "c" + uuid.uuid5(uuid.NAMESPACE_URL, f"https://sandbox.sluice/kili/{name}").hex[:24]


PROJECT, INTEGRATION, AZURE, CONNECTION, ORGANIZATION, USER = map(
    stable_id, ("project", "integration", "azure", "connection", "organization", "user")
)


@dataclass
class Integration:
    """A bucket that the organization can reach."""

    name: str
    platform: str
    bucket: Bucket
    status: str = "CONNECTED"
    more: dict[str, Any] = field(default_factory=dict)
    id: str = field(kw_only=True)

    @property
    def listed_by_client(self) -> bool:
        """Kili cannot list it by itself."""
        return self.platform == "Azure" and bool(self.more.get("azureIsUsingServiceCredentials"))


@dataclass
class Task:
    """Checking or applying: it shows some time after it was asked for, and then takes its time.

    `paths` is what there is to apply, or what the client says that the bucket holds.
    """

    kind: str  # CHECK, ADD or REMOVE
    asked_at: float
    begins: float
    ends: float
    paths: list[str] | None = None
    done: int = 0

    def shows(self, now: float) -> bool:
        """Whether its flag is up."""
        return self.begins <= now

    def due(self, now: float) -> int:
        """How many of its paths must be through by now."""
        count = len(self.paths or ())
        if now >= self.ends:
            return count
        return max(0, int(count * (now - self.begins) / (self.ends - self.begins)))


@dataclass
class Connection:
    """An integration used in a project. An asset that was added twice is there twice."""

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

    def flag(self, now: float, *, checking: bool) -> bool:
        """isChecking, or isApplyingDataDifferences."""
        return any((task.kind == "CHECK") is checking and task.shows(now) for task in self.running)

    def status(self, now: float) -> str:
        """In a word, for people."""
        return "checking" if self.flag(now, checking=True) else "applying" if self.flag(now, checking=False) else "idle"


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
        """Of the length that Kili's have."""
        return "c" + self._context.ids.hexadecimal(24)

    def close(self) -> None:
        """Away with the folders."""
        for integration in self.integrations.values():
            integration.bucket.close()

    @property
    def now(self) -> float:
        """On the sandbox's clock."""
        return self._context.clock.now()

    def count_assets(self, project_id: str) -> int:
        """All of a project, with those that somebody else imports at the same time."""
        own = sum(len(each.assets) for each in self.connections.values() if each.project_id == project_id)
        return own + self._context.settings.other_assets

    def begin(self, connection: Connection, kind: str, paths: list[str] | None = None) -> None:
        """Something is asked for. Asked for while it is going on, checking is not begun again."""
        settings, now = self._context.settings, self.now
        if kind == "CHECK" and any(task.kind == "CHECK" for task in connection.running):
            return
        if kind != "CHECK":
            paths = list(connection.to_add if kind == "ADD" else connection.to_remove)
            if settings.ignore_validations:
                settings.ignore_validations -= 1
                return
            paths = paths[: settings.max_applied_differences or len(paths)]
        begins = now + settings.busy_flag_delay
        task = Task(kind, now, begins, begins + settings.job_seconds, paths)
        connection.running.append(task)
        connection.history.append(task)

    def settle(self) -> None:
        """Bring everything to where it is by now."""
        for connection in self.connections.values():
            for task in list(connection.running):
                self._advance(connection, task)

    def _advance(self, connection: Connection, task: Task) -> None:
        now = self.now
        if task.kind == "CHECK":
            if now >= task.ends:
                self._compare(connection, task)
        else:
            for path in (task.paths or ())[task.done : task.due(now)]:
                _apply(connection, task.kind, path)
            task.done = max(task.done, task.due(now))
        if now >= task.ends:
            connection.running.remove(task)

    def _compare(self, connection: Connection, task: Task) -> None:
        there = connection.integration.bucket.files() if task.paths is None else task.paths
        wanted = connection.filter.choose(there)
        connection.to_add = [name for name in wanted if name not in set(connection.assets)]
        connection.to_remove = [name for name in connection.assets if name not in set(wanted)]
        connection.last_check = task.ends

    def to_json(self, *, with_records: bool = True) -> dict[str, Any]:
        """For `/control/state`."""
        self.settle()
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
    """One page."""
    return list(items)[skip : skip + first]


def given(where: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """What a filter really filters by."""
    return {name: where[name] for name in names if where.get(name) is not None}
