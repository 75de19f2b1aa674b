"""All that one pretended Kaleidoscope workspace holds, in one place; a reset makes a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sluice_sandbox.kaleidoscope.drafts import Drafts
from sluice_sandbox.kaleidoscope.fields import stable_id
from sluice_sandbox.kaleidoscope.files import Files
from sluice_sandbox.kaleidoscope.registrations import Cases
from sluice_sandbox.kaleidoscope.store import OPERATION, Store
from sluice_sandbox.kaleidoscope.validation import read_json, unknown
from sluice_sandbox.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluice_sandbox.context import Stage
    from sluice_sandbox.kaleidoscope.files import File
    from sluice_sandbox.kaleidoscope.registrations import Case

DEFINITION = stable_id("activity_definition")
PROPERTY = stable_id("property", "registration_file")
PROPERTY_FIELD = stable_id("property_field", "registration_file")
FIRST_FILE = stable_id("file", "compounds.csv")


class Ask(NamedTuple):
    """An authorised request, as far as a handler needs to know it; `root` is the base URL it came to."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    content_type: str
    body: bytes
    root: str = ""

    def json(self) -> Any:
        """The body, or a refusal."""
        return read_json(self.body, self.content_type)


class Workspace:
    """Records and imports, files, drafts, and what was asked of the registrar."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.store = Store(stage)
        self.files = Files(self.store.since, FIRST_FILE, stage.ids)
        self.drafts = Drafts(self.store, stage.ids)
        self.cases = Cases(stage, self._came_to_its_end)
        self.webhooks = Webhooks(stage.settings, stage.ids)
        self.property: File | None = None  # what was uploaded last to be registered

    @property
    def staging(self) -> bool:
        """Whether the operation has a table in which drafts are staged."""
        return self.stage.settings.staging_table

    def settle(self) -> None:
        """Finish what is due by now."""
        self.store.settle()
        self.cases.settle(self.stage.clock.now())

    def look(self) -> None:
        """Somebody looks how far something is: the clock may be set to move on at each look."""
        self.stage.clock.look()
        self.settle()

    def operation(self, ask: Ask) -> str:
        """The operation of the path, which must be there."""
        operation_id = ask.path["operation_id"]
        if operation_id != OPERATION:
            unknown("Operation", operation_id)
        return operation_id

    def landed(self, operation_id: str) -> list[str]:
        """The ids of the records of an operation."""
        return [each.id for each in self.store.records.values() if operation_id in each.operation_ids]

    def _came_to_its_end(self, case: Case, now: float) -> None:
        self.drafts.registered(case, now)

    def state(self) -> dict[str, Any]:
        """For `/control/state`."""
        cases = [(case.kind, case.state_json()) for case in self.cases.by_id.values()]
        return {
            "files": [file.to_json() for file in self.files.by_id.values()],
            "registrations": [each for kind, each in cases if kind == "file"],
            "submissions": [each for kind, each in cases if kind != "file"],
            "drafts": self.drafts.to_json(),
            "webhooks": self.webhooks.to_json(),
        }
