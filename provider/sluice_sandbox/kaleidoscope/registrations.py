"""The lifecycle of registrations of files and submissions of drafts.

The statuses `pending`, `validated`, `validation_failed`, `submitted`, `completed` and `failed` are kalbio's
(0.7.0: registration.py); the transitions between them are a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice_sandbox.kaleidoscope.fields import stable_id
from sluice_sandbox.kaleidoscope.store import WORKSPACE
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sluice_sandbox.context import Context

USER = stable_id("user")  # submits
REGISTRAR = stable_id("registrar")  # returns the results

STATUSES = ("pending", "validated", "validation_failed", "submitted", "completed", "failed")
FILE, REGISTRATION, VALIDATION = "file", "registration", "validation"
FINAL_STATUS = {
    FILE: {"success": "completed", "error": "failed"},
    REGISTRATION: {"success": "completed", "error": "failed"},
    VALIDATION: {"success": "validated", "error": "validation_failed"},
}
FAILED = ("error", "failed", "validation_failed")  # statuses of one record; a guess, as they are free text


@dataclass(eq=False)
class Registration:
    """One registration of a file, or one submission of drafts."""

    kind: str
    operation_id: str
    record_ids: list[str]
    created_at: float
    status: str
    file_id: str | None = None
    message: str | None = None
    updated_by: str = USER
    updated_at: float = 0.0
    history: list[tuple[float, str, str | None]] = field(default_factory=list)
    results_received: int = 0  # including rejected ones, so that tests can detect repeated results
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # by record id
    key_field_names: list[str] = field(default_factory=list)
    answered: bool = False  # results were received, but may not have taken effect
    outcome: str = "success"
    due: float | None = None  # when the outcome takes effect
    id: str = field(kw_only=True)

    def __post_init__(self) -> None:
        self.updated_at = self.created_at
        self.history.append((self.created_at, self.status, self.message))

    @property
    def over(self) -> bool:
        """The status is final. A validation also ends with results, not with a mere status update."""
        validated = self.kind == VALIDATION and self.answered and self.status in FINAL_STATUS[VALIDATION].values()
        return validated or self.status in ("completed", "failed")

    @property
    def busy(self) -> bool:
        """Its drafts must not be cleared or replaced."""
        return self.status in ("pending", "submitted")

    def set_status(self, status: str, message: str | None, now: float, *, by: str = REGISTRAR) -> None:
        """Set status and message. That a message stays until the next one is a guess."""
        self.status, self.updated_at, self.updated_by = status, now, by
        self.message = self.message if message is None else message
        self.history.append((now, status, message))

    def errors(self) -> list[dict[str, Any]]:
        """Errors of the failed records; only if the registration as a whole failed (kalbio: record_errors)."""
        shown = ("failed", "validation_failed") if self.kind != FILE else ("failed",)
        return [_error(each) for each in self.results.values() if has_failed(each)] if self.status in shown else []

    def record_status(self, record_id: str) -> tuple[str, str | None]:
        """Status and error message of one draft: the registrar's result if there is one, else the submission's status.

        The registrar's status is free text, a draft's is not; that it becomes success or error only is a guess.
        """
        result = self.results.get(record_id)
        if result is None or self.status not in FINAL_STATUS[self.kind].values():
            return self.status, None
        return FINAL_STATUS[self.kind]["error" if has_failed(result) else "success"], result.get("error_message")

    def to_json(self) -> dict[str, Any]:
        """As the API returns it: a RegistrationFile, or a RegistrationSubmission."""
        own = {
            "id": self.id,
            "workspace_id": WORKSPACE,
            "operation_id": self.operation_id,
            "status": self.status,
            "message": self.message,
            "created_by": USER,
            "last_updated_by": self.updated_by,
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
        }
        if self.kind == FILE:
            # The message is returned by its older name, too (kalbio 0.7.0: a comment in RegistrationFile).
            return {**own, "file_id": self.file_id, "error_message": self.message}
        return {**own, "submission_type": self.kind, "file_ids": [], "submitted_record_ids": self.record_ids}

    def state_json(self) -> dict[str, Any]:
        """For `/control/state`, with data that the API does not return."""
        return {
            **self.to_json(),
            "record_ids": self.record_ids,
            "record_errors": self.errors(),
            "results": list(self.results.values()),
            "results_received": self.results_received,
            "history": [{"at": iso(at), "status": status, "message": message} for at, status, message in self.history],
        }


def has_failed(result: Mapping[str, Any]) -> bool:
    """Whether the record failed."""
    return bool(result.get("error_message")) or result["status"] in FAILED


def _error(result: Mapping[str, Any]) -> dict[str, Any]:
    """kalbio 0.7.0: registration.py, RegistrationResultError."""
    return {
        "source_record_id": result["record_id"],
        "status": result["status"],
        "error_message": result.get("error_message"),
    }


class Registrations:
    """All registrations in order of creation.

    :param on_closed: is called with a registration and the time when it is closed
    """

    def __init__(self, context: Context, on_closed: Callable[[Registration, float], None]) -> None:
        self._context = context
        self._on_closed = on_closed
        self._waiting: list[Registration] = []
        self.by_id: dict[str, Registration] = {}

    def open(self, registration: Registration) -> Registration:
        """Add a registration. The automatic registrar, if set, returns its results after `job_seconds`."""
        self.by_id[registration.id] = registration
        settings = self._context.settings
        if settings.registrar:
            registration.outcome = {"completes": "success", "fails": "error"}[settings.registrar]
            self._schedule(registration, registration.created_at + settings.job_seconds)
        return registration

    def set_results(self, registration: Registration, content: Mapping[str, Any], now: float) -> None:
        """The registrar's results. The status is `submitted` while they are processed (kalbio: "Results have been
        submitted for processing"), for `results_processing_seconds`."""
        registration.answered, registration.outcome = True, content["status"]
        registration.key_field_names = content.get("key_field_names", [])
        registration.results = {each["record_id"]: each for each in content.get("records", [])}
        message = content.get("message", content.get("error_message"))
        if self._context.settings.results_processing_seconds:
            registration.set_status("submitted", message, now)
            self._schedule(registration, now + self._context.settings.results_processing_seconds)
        else:
            self._close(registration, FINAL_STATUS[registration.kind][registration.outcome], message, now)

    def push(self, registration: Registration, status: str, message: str | None, now: float) -> None:
        """A status update of the registrar. That it may be a final status is a guess."""
        registration.set_status(status, message, now)
        if registration.over:
            self._close(registration, "", None, now)

    def process_due(self, now: float) -> None:
        """Apply the results that are due, in order of their time."""
        for registration in sorted(self._waiting, key=lambda registration: registration.due or 0.0):
            if registration.due is not None and registration.due <= now:
                self._close(registration, FINAL_STATUS[registration.kind][registration.outcome], None, registration.due)

    def _schedule(self, registration: Registration, due: float) -> None:
        registration.due = due
        if registration not in self._waiting:
            self._waiting.append(registration)

    def _close(self, registration: Registration, status: str, message: str | None, now: float) -> None:
        """Set the final status, unless `status` is empty (set already), and call `on_closed`."""
        if registration in self._waiting:
            self._waiting.remove(registration)
        registration.due = None
        if status:
            if not registration.answered and registration.outcome == "error":
                registration.results = {each: _automatic_error(each) for each in registration.record_ids}
                message = "Rejected by the automatic registrar"
            registration.answered = True
            registration.set_status(status, message, now)
        self._on_closed(registration, now)

    def of(self, operation_id: str, *kinds: str) -> list[Registration]:
        """Those of one operation and of these kinds, newest first; for files that order is a guess."""
        found = [
            registration
            for registration in self.by_id.values()
            if registration.operation_id == operation_id and registration.kind in kinds
        ]
        return found[::-1]


def latest_for(registrations: Iterable[Registration], record_id: str) -> Registration | None:
    """The first of these that contains the record."""
    return next((registration for registration in registrations if record_id in registration.record_ids), None)


def _automatic_error(record_id: str) -> dict[str, Any]:
    return {"record_id": record_id, "status": "error", "error_message": "Record rejected by the automatic registrar"}
