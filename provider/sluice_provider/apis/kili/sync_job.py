"""The job that synchronizes a Kili project with its bucket.

It runs in rounds: compute differences, apply additions, apply removals. A further round is needed only if Kili applied
fewer differences than requested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sluice_provider.apis.kili import endpoints as api
from sluice_provider.apis.kili.job_spec import COMPUTE, KiliJobSpec
from sluice_provider.apis.kili.model import MaskSecret
from sluice_provider.apis.validation import check_id
from sluice_provider.errors import InvalidInput, JobFailed, NotFound, SafetyLimitExceeded
from sluice_provider.http.flow import Flow
from sluice_provider.jobs.model import JobGroup
from sluice_provider.jobs.record import Intent, JobRecord, PhaseRecord
from sluice_provider.jobs.spec import Found, Phase, Prepared, ReconcileResult, Unit

ROUNDS = 3
"""Rounds after which remaining differences are an error."""

FIND, ADD, REMOVE = "find connection", "apply additions", "apply removals"


class SyncJob(KiliJobSpec):
    """
    :param connection_id: the connection; without it, the only one of this project and integration
    :param remove: also apply removals
    :param dry_run: compute the differences, and apply none of them
    :param max_removed: a number of assets, or a fraction of them as a float
    :param verify: compute the differences again at the end
    """

    dry_run_in_service = True

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
        mask_secret: MaskSecret,
    ) -> None:
        super().__init__(mask_secret)
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
                raise InvalidInput(
                    "cloud_storage_connection_id cannot be combined with project_id or cloud_storage_integration_id"
                )
        else:
            check_id("project_id", self.project_id)
            check_id("cloud_storage_integration_id", self.integration_id)
        limit = self._max_removed
        if limit is None:
            return
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= 0:
            raise InvalidInput(
                f"max_removed must be a number of assets (0 or more) or a fraction of them (0.0 to 1.0), not {limit!r}"
            )
        if isinstance(limit, float) and limit > 1:
            raise InvalidInput(
                f"max_removed is a float, thus a fraction, and must be at most 1.0, not {limit!r}; "
                f"for a number of assets use an int"
            )

    def fingerprint(self) -> Any:
        return ["sync", self.connection_id, self.project_id, self.integration_id, self._remove, self._dry_run]

    # --- the phases

    def next_phase(self, record: JobRecord) -> Phase | None:
        if not record.phase(FIND).outcome:
            return _FindConnection(self)
        for number in range(1, ROUNDS + 1):
            phase = self._phase_in_round(record, number)
            if phase is not None or not self._needs_another_round(record, number):
                return phase
        return None

    def _phase_in_round(self, record: JobRecord, number: int) -> Phase | None:
        computed = record.phase(_phase_name(COMPUTE, number))
        if not computed.outcome:
            return self.computation_phase(record, computed.name, last=self._dry_run)
        to_apply = number == 1 or self._incomplete(record, number - 1)  # else this round only verifies the result
        steps = self._needed_steps(computed.outcome["counts"]) if to_apply else []
        for step in steps:
            phase = record.phase(_phase_name(step, number))
            if not phase.outcome:
                return self._apply_phase(record, step, phase.name, last=step == steps[-1])
            if _incomplete(phase):
                break
        return None

    def _needed_steps(self, counts: Mapping[str, int]) -> list[str]:
        """The steps that follow from computed differences."""
        steps = {ADD: counts["to_add"], REMOVE: counts["to_remove"] if self._remove else 0}
        return [] if self._dry_run else [step for step, count in steps.items() if count]

    def _needs_another_round(self, record: JobRecord, number: int) -> bool:
        """Kili applied fewer differences than requested, or `verify` is set."""
        return self._incomplete(record, number) or (self._verify and bool(_application_records(record, number)))

    def _incomplete(self, record: JobRecord, number: int) -> bool:
        return any(_incomplete(phase) for phase in _application_records(record, number))

    def _apply_phase(self, record: JobRecord, step: str, name: str, *, last: bool) -> Phase:
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

    # --- checks of a phase's result

    def check_result(self, phase: Phase, work: JobGroup) -> None:
        counts = work.counts
        if phase.job_type == "computation" and self._remove:
            self._check_limit(counts["to_remove"], counts["assets"])
        left = counts["expected"] - counts["applied"] if phase.job_type == "application" else 0
        if left and phase.name in (_phase_name(ADD, ROUNDS), _phase_name(REMOVE, ROUNDS)):
            error = JobFailed(
                f"Kili has not applied all differences of connection {work.jobs[0].id} after {ROUNDS} rounds "
                f"({phase.locator['type']}: {work}, {left} left). Clear this task to synchronize again"
            )
            error.retryable = False
            raise error

    def _check_limit(self, removed: int, assets: int) -> None:
        """:raises SafetyLimitExceeded: too many assets would be removed, and this is not a dry run"""
        limit = self._max_removed
        if limit is None or not removed:
            return
        allowed = limit * assets if isinstance(limit, float) else limit
        if removed <= allowed:
            return
        message = f"{removed} of {assets} assets would be removed, and max_removed is {limit!r}"
        if not self._dry_run:
            raise SafetyLimitExceeded(
                f"{message}: nothing was removed. Check that the bucket is complete and that Kili can access it; "
                "if the removals are intended, raise max_removed"
            )
        self.log.warning("%s: without dry_run this task would fail", message)

    # --- the result

    def manifest(self, record: JobRecord) -> dict[str, Any]:
        result = {**self.common_result(record), "dry_run": self._dry_run}
        ended = [(phase.name, phase.outcome["counts"]) for phase in record.phases if phase.outcome]
        computed = [(index, counts) for index, (name, counts) in enumerate(ended) if name.startswith(COMPUTE)]
        if not computed:
            return result
        (_, first), (since, latest), (_, now) = computed[0], computed[-1], ended[-1]
        return {
            **result,
            **{name: first[name] for name in ("total", "to_add", "to_remove")},
            "added": _sum_applied(ended, ADD),
            "removed": _sum_applied(ended, REMOVE),
            "left": latest["to_add"] + latest["to_remove"] - _sum_applied(ended[since:], ""),
            "assets_before": first["assets"],
            "assets_after": now["assets"],
        }


class _FindConnection(Phase):
    """Nothing is submitted: the connection is looked up, and the phase ends when it is idle."""

    def __init__(self, spec: SyncJob) -> None:
        super().__init__(FIND, "connection", last=False)
        self._spec = spec

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        connection_id = self._spec.connection_id or (yield from self._find_only_connection())
        status = yield from api.get_connection_status(connection_id)
        return Prepared(found=connection_id, locator={"project_id": status.project_id})

    def _find_only_connection(self) -> Flow[str]:
        """
        :raises NotFound: there is none
        :raises InvalidInput: there are several
        """
        project_id, integration_id = self._spec.project_id, self._spec.integration_id
        found = yield from api.list_connections(project_id, integration_id)
        ids = [each["id"] for each in found if each.get("projectId") == project_id]
        if not ids:
            raise NotFound(f"Kili project {project_id} has no cloud storage connection of integration {integration_id}")
        if len(ids) > 1:
            raise InvalidInput(
                f"Kili project {project_id} has {len(ids)} connections of integration {integration_id}: "
                f"set cloud_storage_connection_id to one of {', '.join(ids[:10])}"
            )
        return ids[0]


class _ApplyDifferences(Phase):
    """Kili applies the additions, or the removals. Applying them twice cannot be detected, so a request is repeated
    only after it was seen to have no effect and the differences were computed again.

    :param type: ADD or REMOVE
    :param check_count: raises an error if that many assets must not be changed
    """

    def __init__(
        self,
        spec: SyncJob,
        name: str,
        type: str,  # noqa: A002 - Kili's word
        connection_id: str,
        project_id: str,
        check_count: Callable[[int], None],
        *,
        last: bool,
    ) -> None:
        super().__init__(name, "application", {"type": type, "project_id": project_id}, last=last)
        self._spec = spec
        self._type = type
        self._connection_id = connection_id
        self._check_count = check_count

    def prepare(self, unit: Unit, record: PhaseRecord) -> Flow[Prepared]:
        status = yield from api.get_connection_status(self._connection_id)
        expected = status.to_add if self._type == "ADD" else status.to_remove
        self._check_count(expected)
        locator = {"assets": str(status.assets), "expected": str(expected)}
        if expected:
            return Prepared(locator=locator)
        self._spec.log.warning(
            "Kili has nothing left to %s for connection %s: another client has already applied the differences",
            self._type,
            self._connection_id,
        )
        return Prepared(found=self._connection_id, locator=locator)

    def submit(self, unit: Unit, intent: Intent, record: PhaseRecord) -> Flow[str]:
        return api.validate_differences(self._connection_id, self._type)

    def reconcile(self, intent: Intent, record: PhaseRecord) -> Flow[ReconcileResult]:
        """Polled as if it had been accepted: if it had no effect, the next round requests it again."""
        self._spec.log.warning(
            "Kili did not answer the request to %s; polling connection %s to see whether it has started",
            self._type,
            self._connection_id,
        )
        return Found(self._connection_id)
        yield  # makes this a generator


def _phase_name(step: str, number: int) -> str:
    """The name of a step's phase in a round; in the first round it has no number."""
    return f"{step} {number}" if number > 1 else step


def _application_records(record: JobRecord, number: int) -> list[PhaseRecord]:
    names = (_phase_name(ADD, number), _phase_name(REMOVE, number))
    return [phase for phase in record.phases if phase.name in names]


def _incomplete(phase: PhaseRecord) -> bool:
    """The phase ended with fewer differences applied than requested."""
    return bool(phase.outcome) and phase.outcome["counts"]["applied"] < int(phase.locator["expected"])  # type: ignore[index]


def _sum_applied(ended: Sequence[tuple[str, Mapping[str, int]]], step: str) -> int:
    return sum(counts.get("applied", 0) for name, counts in ended if name.startswith(step))
