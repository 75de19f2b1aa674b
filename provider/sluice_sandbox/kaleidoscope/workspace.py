"""All that one pretended Kaleidoscope workspace holds, in one place; a reset makes a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sluice_sandbox.kaleidoscope.drafts import Drafts
from sluice_sandbox.kaleidoscope.fields import stable_id
from sluice_sandbox.kaleidoscope.files import Files
from sluice_sandbox.kaleidoscope.registrations import Registrations
from sluice_sandbox.kaleidoscope.store import OPERATION, Store
from sluice_sandbox.kaleidoscope.validation import read_json, unknown
from sluice_sandbox.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluice_sandbox.context import Context
    from sluice_sandbox.kaleidoscope.files import File
    from sluice_sandbox.kaleidoscope.registrations import Registration

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

    def __init__(self, context: Context) -> None:
        self.context = context
        self.store = Store(context)
        self.files = Files(self.store.since, FIRST_FILE, context.ids)
        self.drafts = Drafts(self.store, context.ids)
        self.registrations = Registrations(context, self._came_to_its_end)
        self.webhooks = Webhooks(context.settings, context.ids)
        self.property: File | None = None  # what was uploaded last to be registered

    @property
    def staging(self) -> bool:
        """Whether the operation has a table in which drafts are staged."""
        return self.context.settings.staging_table

    def settle(self) -> None:
        """Finish what is due by now."""
        self.store.settle()
        self.registrations.settle(self.context.clock.now())

    def look(self) -> None:
        """Somebody looks how far something is: the clock may be set to move on at each look."""
        self.context.clock.look()
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

    def _came_to_its_end(self, registration: Registration, now: float) -> None:
        self.drafts.registered(registration, now)

    def state(self) -> dict[str, Any]:
        """For `/control/state`."""
        registrations = [
            (registration.kind, registration.state_json()) for registration in self.registrations.by_id.values()
        ]
        return {
            "files": [file.to_json() for file in self.files.by_id.values()],
            "registrations": [each for kind, each in registrations if kind == "file"],
            "submissions": [each for kind, each in registrations if kind != "file"],
            "drafts": self.drafts.to_json(),
            "webhooks": self.webhooks.to_json(),
        }
