"""What the pretended FinSpace holds: one environment, its databases, and their changesets."""

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

ENVIRONMENT = "sluicesandbox4kdbx2026"  # 22 characters, small letters and digits, as the real ones
ACCOUNT = "123456789012"
TOKEN_LIFE = 600.0  # seconds for which a client token is remembered (API reference: it expires in 10 minutes)
RUNNING, COMPLETED, FAILED = "RUNNING", "COMPLETED", "FAILED"
_ALPHABET = string.ascii_letters + string.digits

Raw = dict[str, Any]


@dataclass
class Changeset:
    """`state` is RUNNING, COMPLETED or FAILED; what the service calls the first of these is another matter."""

    id: str
    environment: str
    database: str
    requests: list[Raw]
    created: float
    ends: float
    fate: str = ""
    hidden: int = 0  # so many looks find nothing yet
    state: str = RUNNING
    modified: float = 0.0
    error: Raw | None = None
    token: str = ""  # the client token that it was first asked for with

    @property
    def over(self) -> bool:
        """Nothing more will happen."""
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


class Tokens:
    """Client tokens, each with what it was used for and what came of it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._used: dict[tuple[str, str], tuple[str, str, float]] = {}

    def used(self, operation: str, token: str, content: Mapping[str, Any]) -> tuple[bool, str] | None:
        """Whether it was for the same, and the id that came of it; None where the token is new or forgotten."""
        known = self._used.get((operation, token))
        if known is None or self._now() - known[2] >= TOKEN_LIFE:
            return None
        return known[0] == _digest(content), known[1]

    def note(self, operation: str, token: str, content: Mapping[str, Any], outcome: str) -> None:
        """From now on it is used."""
        self._used[operation, token] = _digest(content), outcome, self._now()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Store:
    """Everything; time passes in `settle`."""

    def __init__(self, context: Context, folders: Folders) -> None:
        self._context = context
        self.folders = folders
        self.created = context.clock.now()
        self.databases: dict[str, Database] = {}
        self.tokens = Tokens(context.clock.now)

    def add_database(self, name: str, **more: Any) -> Database:
        """A new one, empty."""
        self.databases[name] = Database(name, ENVIRONMENT, self._context.clock.now(), **more)
        return self.databases[name]

    @property
    def changesets(self) -> list[Changeset]:
        """All, oldest first."""
        found = (each for database in self.databases.values() for each in database.changesets.values())
        return sorted(found, key=lambda each: each.created)

    def running(self) -> int:
        """How many are not over."""
        return sum(not each.over for each in self.changesets)

    def add_changeset(self, database: Database, requests: list[Raw], token: str) -> Changeset:
        """Asked for; it starts at once and ends after `job_seconds`."""
        settings, now = self._context.settings, self._context.clock.now()
        fate = ""
        if settings.fail_changesets:
            settings.fail_changesets -= 1
            fate = settings.changeset_error_type
        name = self._context.ids.letters(_ALPHABET, 22)
        changeset = Changeset(
            name,
            ENVIRONMENT,
            database.name,
            requests,
            now,
            now + settings.job_seconds,
            fate,
            settings.changeset_not_found_polls,
        )
        changeset.modified, changeset.token = now, token
        database.changesets[name] = changeset
        return changeset

    def settle(self) -> None:
        """What was to end by now has ended, in the order in which it was asked for."""
        for each in self.changesets:
            if not each.over and self._context.clock.now() >= each.ends:
                self._end(each)

    def _end(self, changeset: Changeset) -> None:
        changeset.modified = changeset.ends
        try:
            if changeset.fate:
                raise JobFailed(changeset.fate, "The sandbox was told to let this changeset fail")
            denied = self._context.settings.denied_bucket
            self.folders.apply(changeset.environment, changeset.database, changeset.requests, denied)
            changeset.state = COMPLETED
        except JobFailed as undone:
            changeset.state = FAILED
            changeset.error = {"errorType": undone.kind, "errorMessage": undone.message[:1000]}
