"""The job that changes a kdb database of Amazon FinSpace by changesets, one after the other.

While the service remembers a client token, a repeated request returns the same changeset. After that, if a request got
no response, its changeset is searched for among those of the database, by its change requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sluice_provider.apis.finspace import endpoints as api
from sluice_provider.apis.finspace import validation as rules
from sluice_provider.apis.finspace.change_requests import MAX_REQUESTS
from sluice_provider.apis.finspace.job_types import changeset_locator
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.apis.validation import check_whole_number
from sluice_provider.errors import Unreachable
from sluice_provider.http.flow import Flow
from sluice_provider.http.polling import Elapsed
from sluice_provider.jobs.polling import VISIBILITY_GRACE_SECONDS
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord, digest, times
from sluice_provider.jobs.spec import (
    JobSpec,
    Phase,
    Prepared,
    ReconcileResult,
    RepeatRequest,
    Unit,
    reconcile_by_search,
)

CHANGESET = "changeset-"
"""Prefix of the phases' names; a newer version may have other phases, too."""


class ChangesetJob(JobSpec):
    """
    :param client_token: used instead of a generated one
    :param max_requests: the maximum number of change requests in one changeset
    :param ensure_database: create the database first if it does not exist
    """

    service = "finspace"

    def __init__(
        self,
        *,
        environment_id: str,
        database_name: str,
        change_requests: Sequence[Mapping[str, Any]],
        client_token: str | None,
        max_requests: int,
        ensure_database: bool,
        region_name: str | None,
    ) -> None:
        self.environment_id = environment_id
        self.database_name = database_name
        self.change_requests = change_requests
        self.client_token = client_token
        self.ensure_database = ensure_database
        self._max_requests = max_requests
        self._region_name = region_name

    @property
    def locator(self) -> Mapping[str, str]:
        return changeset_locator(self.environment_id, self.database_name, self._region_name)

    @property
    def database(self) -> str:
        """For log messages."""
        return f"{self.environment_id}/{self.database_name}"

    def validate(self) -> None:
        rules.check_database(self.environment_id, self.database_name)
        rules.check_requests(self.change_requests)
        if self.client_token is not None:
            rules.CLIENT_TOKEN.check("client_token", self.client_token)
        check_whole_number("max_requests_per_changeset", self._max_requests, 1, MAX_REQUESTS)

    def fingerprint(self) -> Any:
        return [dict(self.locator), [dict(request) for request in self.change_requests], self.client_token]

    # --- a dry run

    def preview(self) -> Flow[JsonObject]:
        """All changesets, in order."""
        for number, start in enumerate(range(0, len(self.change_requests), self._max_requests), 1):
            requests = self.change_requests[start : start + self._max_requests]
            self.log.info("Changeset %d of %s: %d changes, in this order", number, self.database, len(requests))
            for index, request in enumerate(requests, start):
                source = f" from {request['s3Path']}" if request.get("s3Path") else ""
                self.log.info("  [%d] %s %s%s", index, request["changeType"], request["dbPath"], source)
        return {**self.manifest(JobRecord("")), "state": "planned"}
        yield  # makes this a flow

    # --- the phases

    def next_phase(self, record: JobRecord) -> Phase | None:
        """The changeset after those that have ended; their sizes say where it starts."""
        phases = _changesets(record)
        ended = [phase for phase in phases if phase.outcome]
        start = sum(map(self._size, ended))
        if start >= len(self.change_requests) and len(ended) == len(phases):
            return None
        name = f"{CHANGESET}{len(ended) + 1}"
        return _CreateChangeset(self, name, start, self._requests(start, record.phase(name)))

    def _size(self, phase: PhaseRecord) -> int:
        """The size with which it was submitted: the limit may have been changed since."""
        return phase.size or (phase.intent.size if phase.intent else 0) or self._max_requests

    def _requests(self, start: int, phase: PhaseRecord) -> Sequence[Mapping[str, Any]]:
        return self.change_requests[start : start + self._size(phase)]

    # --- the result

    def manifest(self, record: JobRecord) -> JsonObject:
        phases = [phase for phase in _changesets(record) if phase.submissions]
        changesets = list(self._changed(phases))
        return {
            "service": self.service,
            "state": "succeeded" if self.next_phase(record) is None else "running",
            "environment_id": self.environment_id,
            "database_name": self.database_name,
            "changeset_ids": [each["id"] for each in changesets],
            "put": sum(len(each["put"]) for each in changesets),
            "deleted": sum(len(each["deleted"]) for each in changesets),
            "changesets": changesets,
            **times(phases),
        }

    def _changed(self, phases: Sequence[PhaseRecord]) -> Iterator[JsonObject]:
        """The changes of each changeset, by database path."""
        start = 0
        for phase in phases:
            requests = self._requests(start, phase)
            start += len(requests)
            paths = {
                change: [request["dbPath"] for request in requests if request["changeType"] == change]
                for change in rules.CHANGE_TYPES
            }
            yield {"id": phase.ids[0], "put": paths["PUT"], "deleted": paths["DELETE"]}


def _changesets(record: JobRecord) -> list[PhaseRecord]:
    return [phase for phase in record.phases if phase.name.startswith(CHANGESET)]


class _CreateChangeset(Phase):
    """One changeset.

    :param start: the index of its first request among all of the job's
    """

    send_window = api.MAX_TOKEN_AGE
    items = "change requests"

    def __init__(self, spec: ChangesetJob, name: str, start: int, requests: Sequence[Mapping[str, Any]]) -> None:
        last = start + len(requests) >= len(spec.change_requests)
        super().__init__(name, "changeset", spec.locator, last=last)
        self._spec = spec
        self._start = start
        self._requests = requests

    def units(self, record: PhaseRecord) -> Iterator[Unit]:
        if not record.submissions:
            yield Unit(self._start, len(self._requests))

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        spec = self._spec
        if spec.ensure_database and self._start == 0:
            created = yield from api.ensure_database(spec.environment_id, spec.database_name)
            if created:
                spec.log.info("Created FinSpace database %s", spec.database)
        return Prepared(key=self._own_token(record))

    def _own_token(self, record: PhaseRecord) -> str:
        """Derived from the user's token, if there is one: the same token again would return the first changeset."""
        token = self._spec.client_token
        if not token:
            return ""
        first = self._start == 0 and not record.attempt
        return token if first else digest([token, record.name, record.attempt])[:32]

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        spec, age = self._spec, Elapsed(intent.at)()
        if age >= api.MAX_TOKEN_AGE:
            raise Unreachable(
                "not sent: FinSpace may have forgotten the request's client token and could apply it twice",
                maybe_applied=False,
            )
        changeset = yield from api.create_changeset(
            spec.environment_id, spec.database_name, self._requests, intent.key, age
        )
        changeset_id = changeset["changesetId"]
        spec.log.info(
            "FinSpace accepted %d changes of database %s as changeset %s",
            len(self._requests),
            spec.database,
            changeset_id,
        )
        return changeset_id

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        age = Elapsed(intent.at)()
        if age < api.MAX_TOKEN_AGE:
            return RepeatRequest(f"its client token is {age:.0f} s old, so FinSpace returns the same changeset")
        return (
            yield from reconcile_by_search(
                lambda: self._find(intent), intent, visible_after=api.MAX_TOKEN_AGE + VISIBILITY_GRACE_SECONDS
            )
        )

    def _find(self, intent: Intent) -> Flow[str | None]:
        return api.find_changeset(self._spec.environment_id, self._spec.database_name, self._requests, intent.at)
