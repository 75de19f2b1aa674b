"""All data of one Kaleidoscope workspace; a reset creates a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sluice_sandbox.kaleidoscope.drafts import Drafts
from sluice_sandbox.kaleidoscope.fields import stable_id
from sluice_sandbox.kaleidoscope.files import Files
from sluice_sandbox.kaleidoscope.registrations import Registrations
from sluice_sandbox.kaleidoscope.store import OPERATION, Store
from sluice_sandbox.kaleidoscope.validation import not_found, read_json
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


class ApiRequest(NamedTuple):
    """An authenticated request, as handlers need it; `root` is the base URL it was sent to."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    content_type: str
    body: bytes
    root: str = ""

    def json(self) -> Any:
        """The parsed body; answers with an error if it is invalid."""
        return read_json(self.body, self.content_type)


class Workspace:
    """Records, imports, files, drafts, registrations and webhooks."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.store = Store(context)
        self.files = Files(self.store.since, FIRST_FILE, context.ids)
        self.drafts = Drafts(self.store, context.ids)
        self.registrations = Registrations(context, self._on_closed)
        self.webhooks = Webhooks(context.settings, context.ids)
        self.property: File | None = None  # the last file that was uploaded to the property

    @property
    def staging(self) -> bool:
        """Whether the operation has a staging table for drafts."""
        return self.context.settings.staging_table

    def process_due(self) -> None:
        """Finish the imports and registrations that are due."""
        self.store.process_due()
        self.registrations.process_due(self.context.clock.now())

    def on_poll(self) -> None:
        """A status poll: the clock advances by `advance_per_poll`."""
        self.context.clock.on_poll()
        self.process_due()

    def operation(self, request: ApiRequest) -> str:
        """The operation in the path; answers 404 if it is unknown."""
        operation_id = request.path["operation_id"]
        if operation_id != OPERATION:
            not_found("Operation", operation_id)
        return operation_id

    def operation_record_ids(self, operation_id: str) -> list[str]:
        """Ids of the records of an operation."""
        return [each.id for each in self.store.records.values() if operation_id in each.operation_ids]

    def _on_closed(self, registration: Registration, now: float) -> None:
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
