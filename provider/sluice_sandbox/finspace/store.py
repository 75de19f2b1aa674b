"""The data of the mock FinSpace: one environment, its databases, and their changesets."""

from __future__ import annotations

import hashlib
import json
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice_sandbox.finspace.files import Folders, JobFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluice_sandbox.context import Context

ENVIRONMENT = "sluicesandbox4kdbx2026"  # 22 lower-case letters and digits, as real ids
ACCOUNT = "123456789012"
TOKEN_LIFE = 600.0  # seconds (API reference: a client token expires after 10 minutes)
RUNNING, COMPLETED, FAILED = "RUNNING", "COMPLETED", "FAILED"
_ALPHABET = string.ascii_letters + string.digits

Raw = dict[str, Any]


@dataclass
class Changeset:
    """`state` is RUNNING, COMPLETED or FAILED; the API reports RUNNING as PENDING or as `running_changeset_status`."""

    id: str
    environment: str
    database: str
    requests: list[Raw]
    created: float
    ends: float
    failure_type: str = ""  # the errorType it will fail with
    not_found_polls: int = 0  # number of next reads that answer 404
    state: str = RUNNING
    modified: float = 0.0
    error: Raw | None = None
    token: str = ""  # the client token it was created with

    @property
    def over(self) -> bool:
        """Completed or failed."""
        return self.state != RUNNING


@dataclass
class Database:
    """Its files are in `Folders`."""

    name: str
    environment: str
    created: float
    description: str | None = None
    tags: Raw | None = None
    changesets: dict[str, Changeset] = field(default_factory=dict)


class ClientTokens:
    """Client tokens (idempotency keys), each with the request and the id it created."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._used: dict[tuple[str, str], tuple[str, str, float]] = {}

    def used(self, operation: str, token: str, content: Mapping[str, Any]) -> tuple[bool, str] | None:
        """Whether the content is the same, and the id that was created; None if the token is new or has expired."""
        known = self._used.get((operation, token))
        if known is None or self._now() - known[2] >= TOKEN_LIFE:
            return None
        return known[0] == _digest(content), known[1]

    def remember(self, operation: str, token: str, content: Mapping[str, Any], outcome: str) -> None:
        """Store the id that a request with this token created."""
        self._used[operation, token] = _digest(content), outcome, self._now()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Store:
    """All data; changesets finish in `process_due`."""

    def __init__(self, context: Context, folders: Folders) -> None:
        self._context = context
        self.folders = folders
        self.created = context.clock.now()
        self.databases: dict[str, Database] = {}
        self.tokens = ClientTokens(context.clock.now)

    def add_database(self, name: str, **more: Any) -> Database:
        """Add an empty database."""
        self.databases[name] = Database(name, ENVIRONMENT, self._context.clock.now(), **more)
        return self.databases[name]

    @property
    def changesets(self) -> list[Changeset]:
        """All changesets, oldest first."""
        found = (each for database in self.databases.values() for each in database.changesets.values())
        return sorted(found, key=lambda each: each.created)

    def running(self) -> int:
        """The number of unfinished changesets."""
        return sum(not each.over for each in self.changesets)

    def add_changeset(self, database: Database, requests: list[Raw], token: str) -> Changeset:
        """Add a changeset, which starts at once and ends after `job_seconds`."""
        settings, now = self._context.settings, self._context.clock.now()
        failure_type = ""
        if settings.fail_changesets:
            settings.fail_changesets -= 1
            failure_type = settings.changeset_error_type
        name = self._context.ids.letters(_ALPHABET, 22)
        changeset = Changeset(
            name,
            ENVIRONMENT,
            database.name,
            requests,
            now,
            now + settings.job_seconds,
            failure_type,
            settings.changeset_not_found_polls,
        )
        changeset.modified, changeset.token = now, token
        database.changesets[name] = changeset
        return changeset

    def process_due(self) -> None:
        """Finish the changesets that are due, oldest first."""
        for each in self.changesets:
            if not each.over and self._context.clock.now() >= each.ends:
                self._finish(each)

    def _finish(self, changeset: Changeset) -> None:
        changeset.modified = changeset.ends
        try:
            if changeset.failure_type:
                raise JobFailed(changeset.failure_type, "Failed by the sandbox setting fail_changesets")
            denied = self._context.settings.denied_bucket
            self.folders.apply(changeset.environment, changeset.database, changeset.requests, denied)
            changeset.state = COMPLETED
        except JobFailed as error:
            changeset.state = FAILED
            changeset.error = {"errorType": error.error_type, "errorMessage": error.message[:1000]}
