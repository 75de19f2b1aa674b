"""Asking Kaleidoscope for what must not be asked for twice. It has no idempotency keys, but it can be looked at.

What was there before is noted before the asking. When an answer is lost, or the task died before it was written down,
whatever is there now and was not there before is ours; only when nothing has come of the asking is it made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from sluice_provider.apis.base import trace
from sluice_provider.apis.kaleidoscope_rules import check_ids
from sluice_provider.assets import dataset_of, uri
from sluice_provider.calls.site import base_url
from sluice_provider.errors import Conflict, OutcomeUnknown, Unreachable
from sluice_provider.journal import Story, digest
from sluice_provider.lineage import Name, lineage
from sluice_provider.links import KaleidoscopeLink
from sluice_provider.operators.asking import Asking, Phase
from sluice_provider.operators.base import JobOperator, times

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from sluice_provider.calls.flow import Flow
    from sluice_provider.jobs import Work
    from sluice_provider.journal import Entry, Intent

ASKINGS = 2
"""So often one try asks, if nothing comes of it."""

BEFORE = "before"
"""The note of what was there before: of no use once the id is known, and it may be long."""


class OperationOperator(JobOperator):
    """What all tasks have in common whose work belongs to an operation. It is one phase."""

    system = "kaleidoscope"
    operator_extra_links = (KaleidoscopeLink(),)
    phase: ClassVar[str]

    kaleidoscope_conn_id: str
    operation_id: str

    @property
    def kind(self) -> str:
        """What is waited for, a key of the hook's kinds."""
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        """The arguments that say what is asked for: part of the fingerprint and of the result."""
        raise NotImplementedError

    def check(self) -> None:
        check_ids(self, "operation_id")

    def fingerprint(self) -> str:
        return digest([self.conn_id, self.phase, self.told()])

    # --- the one phase

    def plan(self, story: Story) -> Phase | None:
        if story.entry(self.phase).ended:
            return None
        where = {"operation_id": self.operation_id}
        return Phase(self.phase, self.kind, self.ask, self.doubt, where)

    def ask(self, asking: Asking) -> None:
        """Ask for all that the journal does not hold yet."""
        raise NotImplementedError

    def doubt(self, asking: Asking, intent: Intent) -> None:
        """Find out what became of an asking that was never answered."""
        raise NotImplementedError

    # --- the end

    def bring(self, phase: Phase, work: Work) -> dict[str, Any]:
        del phase
        return {"status": work.jobs[0].word}

    def manifest(self, story: Story) -> dict[str, Any]:
        entry = story.entry(self.phase)
        ended = entry.ended or {"state": "running", "counts": {}}
        return {
            "system": self.system,
            "state": ended["state"],
            **self.told(),
            **self.ids(entry),
            **ended.get("brought", {}),
            **ended["counts"],
            **times([entry]),
            "url": self.job_url,
        }

    def ids(self, entry: Entry) -> dict[str, Any]:
        """What the work is called there, for the result."""
        raise NotImplementedError

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """OpenLineage asks for this by its name, once the task is over."""
        del task_instance
        address = base_url(self.hook.fields(), self.hook.default_host).rstrip("/")
        inputs, outputs = self.datasets(dataset_of(uri(self.system, address, "operations", self.operation_id)))
        return lineage(address, self.asked(), inputs, outputs)

    def asked(self) -> list[str]:
        """Ids of the work, from the result."""
        return [str(value) for name, value in self.result.items() if name in ("registration_id", "submission_id")]

    def datasets(self, operation: Name) -> tuple[list[Name], list[Name]]:
        """What is read, and what is written."""
        return [], [operation]


class OnceOperator(OperationOperator):
    """A single asking."""

    def prepare(self, asking: Asking) -> str | None:
        """Note what is there before. An id, if what is to be asked for is there already and will do."""
        raise NotImplementedError

    def request(self, asking: Asking) -> Flow[str]:
        """What asks, and returns the id of what it made."""
        raise NotImplementedError

    def find(self, note: Mapping[str, str]) -> Flow[str | None]:
        """One look for what an asking has made, by what was noted before it."""
        raise NotImplementedError

    def ask(self, asking: Asking) -> None:
        if not asking.entry.parts and not any(self._ask_once(asking) for _ in range(ASKINGS)):
            raise Unreachable(f"this {self.phase} was asked for {ASKINGS} times, and nothing came of it")
        asking.entry.note.pop(BEFORE, None)

    def _ask_once(self, asking: Asking) -> bool:
        """Whether it is there now."""
        if self._is_there(asking):
            return True
        try:
            job_id = asking.send(self.request(asking))
        except OutcomeUnknown as error:
            self.log.warning("%s; looking what became of it", error)
            return self._found(asking)
        except Conflict:
            # Somebody else was faster: does that do?
            if not self._is_there(asking):
                raise
            return True
        self.log.info("Kaleidoscope accepted this %s: %s", self.phase, job_id)
        return True

    def _is_there(self, asking: Asking) -> bool:
        there = self.prepare(asking)
        if there is not None:
            asking.found(there)
        return there is not None

    def doubt(self, asking: Asking, intent: Intent) -> None:
        del intent
        self.log.warning("An earlier try asked and did not learn of the answer; looking what became of it")
        self._found(asking)

    def _found(self, asking: Asking) -> bool:
        intent = asking.entry.intent
        assert intent is not None  # noqa: S101 - nothing else is looked for
        note = dict(asking.entry.note)
        found = asking.run(trace(lambda: self.find(note), intent.at))
        if found is None:
            self.log.warning("Nothing came of it, so it is asked for now")
            asking.not_found()
            return False
        self.log.warning("It was done: going on with %s", found)
        asking.found(found)
        return True
