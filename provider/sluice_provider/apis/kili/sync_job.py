"""What it is to bring a Kili project in line with its bucket, as a job.

It goes in rounds: compute the differences, apply additions, apply removals. One round is enough, unless Kili did less
than it was told to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sluice_provider.apis.kili import endpoints as api
from sluice_provider.apis.kili.jobs import COMPUTE, KiliJob
from sluice_provider.apis.validation import check_id
from sluice_provider.errors import InvalidInput, JobFailed, NotFound, SafetyLimitExceeded
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import Found, Phase, Prepared, ReconcileResult, Unit

Raw = dict[str, Any]

ROUNDS = 3
"""So often differences are computed and applied before it is an error that some stay."""

FIND, ADD, REMOVE = "find connection", "apply additions", "apply removals"


class SyncJob(KiliJob):
    """
    :param connection_id: the connection; without one there is one of this project and integration
    :param remove: also apply removals
    :param dry_run: compute the differences, and apply nothing
    :param max_removed: a number of assets, or a fraction of them as a float
    :param verify: compute the differences once more at the end
    """

    def __init__(
        self,
        *,
        connection_id: str | None,
        project_id: str | None,
        integration_id: str | None,
        remove: bool,
        dry_run: bool,
        max_removed: float | None,
        verify: bool,
        conceal: api.Conceal,
    ) -> None:
        super().__init__(conceal)
        self.connection_id = connection_id
        self.project_id = project_id
        self.integration_id = integration_id
        self._remove = remove
        self._dry_run = dry_run
        self._max_removed = max_removed
        self._verify = verify

    # --- the arguments

    def validate(self) -> None:
        if self.connection_id is not None:
            check_id("cloud_storage_connection_id", self.connection_id)
            if (self.project_id, self.integration_id) != (None, None):
                raise InvalidInput("give a cloud_storage_connection_id, or project_id and cloud_storage_integration_id")
        else:
            check_id("project_id", self.project_id)
            check_id("cloud_storage_integration_id", self.integration_id)
        limit = self._max_removed
        if limit is None:
            return
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= 0:
            raise InvalidInput(f"max_removed must be a number from 0, or a fraction from 0.0 to 1.0, not {limit!r}")
        if isinstance(limit, float) and limit > 1:
            raise InvalidInput(
                f"max_removed as a fraction is at the most 1.0, not {limit!r}; a number of assets is whole"
            )

    def fingerprint(self) -> Any:
        return ["sync", self.connection_id, self.project_id, self.integration_id, self._remove, self._dry_run]

    # --- the phases

    def next_phase(self, record: JobRecord) -> Phase | None:
        if not record.phase(FIND).outcome:
            return _FindConnection(self)
        for number in range(1, ROUNDS + 1):
            phase = self._in_round(record, number)
            if phase is not None or not self._another_round(record, number):
                return phase
        return None

    def _in_round(self, record: JobRecord, number: int) -> Phase | None:
        computed = record.phase(_named(COMPUTE, number))
        if not computed.outcome:
            return self.computing(record, computed.name, last=self._dry_run)
        to_apply = number == 1 or self._fell_short(record, number - 1)  # else this round is the proof at the end
        steps = self._steps(computed.outcome["counts"]) if to_apply else []
        for step in steps:
            phase = record.phase(_named(step, number))
            if not phase.outcome:
                return self._applying(record, step, phase.name, last=step == steps[-1])
            if _fell_short(phase):
                break
        return None

    def _steps(self, counts: Mapping[str, int]) -> list[str]:
        """What a computation leads to."""
        steps = {ADD: counts["to_add"], REMOVE: counts["to_remove"] if self._remove else 0}
        return [] if self._dry_run else [step for step, count in steps.items() if count]

    def _another_round(self, record: JobRecord, number: int) -> bool:
        """Kili did not do all that it was told to, or the author wants a proof."""
        return self._fell_short(record, number) or (self._verify and bool(_applied(record, number)))

    def _fell_short(self, record: JobRecord, number: int) -> bool:
        return any(_fell_short(phase) for phase in _applied(record, number))

    def _applying(self, record: JobRecord, step: str, name: str, *, last: bool) -> Phase:
        first = record.phase(COMPUTE).outcome or {"counts": {"assets": 0}}
        removing = step == REMOVE
        return _ApplyDifferences(
            self,
            name,
            "REMOVE" if removing else "ADD",
            self.connection_of(record),
            self.project_of(record),
            lambda count: self._check_limit(count, first["counts"]["assets"]) if removing else None,
            last=last,
        )

    def connection_of(self, record: JobRecord) -> str:
        return record.phase(FIND).ids[0]

    def project_of(self, record: JobRecord) -> str:
        return record.phase(FIND).locator["project_id"]

    # --- is it good enough?

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        counts = work.counts
        if phase.job_type == "computation" and self._remove:
            self._check_limit(counts["to_remove"], counts["assets"])
        left = counts["expected"] - counts["applied"] if phase.job_type == "application" else 0
        if left and phase.name in (_named(ADD, ROUNDS), _named(REMOVE, ROUNDS)):
            told = f"Kili was told {ROUNDS} times to {phase.locator['type']}"
            error = JobFailed(f"{told} and did not do all of it: {work}, {left} left; clear this task to begin anew")
            error.retryable = False
            raise error

    def _check_limit(self, removed: int, assets: int) -> None:
        """:raises SafetyLimitExceeded: unless nothing is going to be removed anyway"""
        limit = self._max_removed
        if limit is None or not removed:
            return
        allowed = limit * assets if isinstance(limit, float) else limit
        if removed <= allowed:
            return
        words = f"{removed} of {assets} assets would be removed, and max_removed is {limit!r}"
        if not self._dry_run:
            raise SafetyLimitExceeded(f"{words}: nothing was removed. Is the bucket complete, and can Kili reach it?")
        self.log.warning("%s: without dry_run this would fail", words)

    # --- the end

    def manifest(self, record: JobRecord) -> Raw:
        result = {**self.common(record), "dry_run": self._dry_run}
        ended = [(phase.name, phase.outcome["counts"]) for phase in record.phases if phase.outcome]
        computed = [(index, counts) for index, (name, counts) in enumerate(ended) if name.startswith(COMPUTE)]
        if not computed:
            return result
        (_, first), (since, latest), (_, now) = computed[0], computed[-1], ended[-1]
        return {
            **result,
            **{name: first[name] for name in ("total", "to_add", "to_remove")},
            "added": _sum(ended, ADD),
            "removed": _sum(ended, REMOVE),
            "left": latest["to_add"] + latest["to_remove"] - _sum(ended[since:], ""),
            "assets_before": first["assets"],
            "assets_after": now["assets"],
        }


class _FindConnection(Phase):
    """Nothing is submitted: the connection is found, and over when it is idle."""

    def __init__(self, spec: SyncJob) -> None:
        super().__init__(FIND, "connection", last=False)
        self._spec = spec

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        connection_id = self._spec.connection_id or (yield from self._only_one())
        look = yield from api.look_at(connection_id)
        return Prepared(found=connection_id, locator={"project_id": look.project_id})

    def _only_one(self) -> Flow[str]:
        """:raises InvalidInput: there are several"""
        project_id, integration_id = self._spec.project_id, self._spec.integration_id
        pair = f"integration {integration_id} in project {project_id}"
        found = yield from api.list_connections(project_id, integration_id)
        ids = [str(each["id"]) for each in found if each.get("projectId") == project_id]
        if not ids:
            raise NotFound(f"there is no cloud storage connection of {pair}")
        if len(ids) > 1:
            raise InvalidInput(f"there are {len(ids)} connections of {pair}: choose one of {', '.join(ids[:10])}")
        return ids[0]


class _ApplyDifferences(Phase):
    """Kili adds, or removes. To do it twice cannot be told from once, so it is never requested again before it was seen
    to come to nothing, and the differences were computed anew.

    :param type: ADD or REMOVE
    :param permit: raises an error if so many are too many
    """

    def __init__(
        self,
        spec: SyncJob,
        name: str,
        type: str,  # noqa: A002 - Kili's word
        connection_id: str,
        project_id: str,
        permit: Callable[[int], None],
        *,
        last: bool,
    ) -> None:
        super().__init__(name, "application", {"type": type, "project_id": project_id}, last=last)
        self._spec = spec
        self._type = type
        self._connection_id = connection_id
        self._permit = permit

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        look = yield from api.look_at(self._connection_id)
        expected = look.to_add if self._type == "ADD" else look.to_remove
        self._permit(expected)
        known = {"assets": str(look.assets), "expected": str(expected)}
        if expected:
            return Prepared(locator=known)
        self._spec.log.warning("Nothing is left to %s: somebody else has done it meanwhile", self._type.lower())
        return Prepared(found=self._connection_id, locator=known)

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return api.validate_differences(self._connection_id, self._type)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        """Watched like one that was answered: when nothing comes of it for long enough, the next round does it."""
        self._spec.log.warning("Watching whether Kili began to %s", self._type.lower())
        return Found(self._connection_id)
        yield  # a flow, though one without a call


def _named(step: str, number: int) -> str:
    """A phase of a round; the first round's have no number."""
    return f"{step} {number}" if number > 1 else step


def _applied(record: JobRecord, number: int) -> list[PhaseRecord]:
    names = (_named(ADD, number), _named(REMOVE, number))
    return [phase for phase in record.phases if phase.name in names]


def _fell_short(phase: PhaseRecord) -> bool:
    """It ended with less than was requested."""
    return bool(phase.outcome) and phase.outcome["counts"]["applied"] < int(phase.locator["expected"])  # type: ignore[index]


def _sum(ended: Sequence[tuple[str, Mapping[str, int]]], step: str) -> int:
    return sum(counts.get("applied", 0) for name, counts in ended if name.startswith(step))
