"""The lifecycle that registrations of files and submissions of drafts share: from asked for to answered.

`pending`, `validated`, `validation_failed`, `submitted`, `completed`, `failed`: the words are kalbio's
(0.7.0: registration.py); which may follow which it does not say, so what is said about that here is a guess.
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

USER = stable_id("user")  # who asks
REGISTRAR = stable_id("registrar")  # who answers

STATUSES = ("pending", "validated", "validation_failed", "submitted", "completed", "failed")
FILE, REGISTRATION, VALIDATION = "file", "registration", "validation"
ENDS = {
    FILE: {"success": "completed", "error": "failed"},
    REGISTRATION: {"success": "completed", "error": "failed"},
    VALIDATION: {"success": "validated", "error": "validation_failed"},
}
BAD = ("error", "failed", "validation_failed")  # of one record; its status is a free text, so which are bad is a guess


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
    results_received: int = 0  # also those refused, so that a test can see an answer given twice
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # the registrar's, by record id
    key_field_names: list[str] = field(default_factory=list)
    answered: bool = False  # there are results, though perhaps they are still being processed
    outcome: str = "success"
    due: float | None = None  # when the outcome takes effect
    id: str = field(kw_only=True)

    def __post_init__(self) -> None:
        self.updated_at = self.created_at
        self.history.append((self.created_at, self.status, self.message))

    @property
    def over(self) -> bool:
        """Nothing more will happen to it. A dry run is over with its verdict, unless that was only said on the way."""
        verdict = self.kind == VALIDATION and self.answered and self.status in ENDS[VALIDATION].values()
        return verdict or self.status in ("completed", "failed")

    @property
    def busy(self) -> bool:
        """Its drafts are not to be taken away."""
        return self.status in ("pending", "submitted")

    def move(self, status: str, message: str | None, now: float, *, by: str = REGISTRAR) -> None:
        """On to the next status. A message stays until there is another: a guess."""
        self.status, self.updated_at, self.updated_by = status, now, by
        self.message = self.message if message is None else message
        self.history.append((now, status, message))

    def errors(self) -> list[dict[str, Any]]:
        """Of the records that failed; there are some only once all has (kalbio: record_errors)."""
        shown = ("failed", "validation_failed") if self.kind != FILE else ("failed",)
        return [_error(each) for each in self.results.values() if is_bad(each)] if self.status in shown else []

    def verdict(self, record_id: str) -> tuple[str, str | None]:
        """What became of one draft: the registrar's word on it if there is one, else what became of the submission.

        The registrar's status is a free text and a draft's is not, so it can only be good or bad: a guess.
        """
        result = self.results.get(record_id)
        if result is None or self.status not in ENDS[self.kind].values():
            return self.status, None
        return ENDS[self.kind]["error" if is_bad(result) else "success"], result.get("error_message")

    def to_json(self) -> dict[str, Any]:
        """As the API shows it: a RegistrationFile, or a RegistrationSubmission."""
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
            # The older name of the message stays beside the newer one (kalbio 0.7.0: a comment in RegistrationFile).
            return {**own, "file_id": self.file_id, "error_message": self.message}
        return {**own, "submission_type": self.kind, "file_ids": [], "submitted_record_ids": self.record_ids}

    def state_json(self) -> dict[str, Any]:
        """For `/control/state`: also what the API does not show."""
        return {
            **self.to_json(),
            "record_ids": self.record_ids,
            "record_errors": self.errors(),
            "results": list(self.results.values()),
            "results_received": self.results_received,
            "history": [{"at": iso(at), "status": status, "message": message} for at, status, message in self.history],
        }


def is_bad(result: Mapping[str, Any]) -> bool:
    """Whether this record failed."""
    return bool(result.get("error_message")) or result["status"] in BAD


def _error(result: Mapping[str, Any]) -> dict[str, Any]:
    """kalbio 0.7.0: registration.py, RegistrationResultError."""
    return {
        "source_record_id": result["record_id"],
        "status": result["status"],
        "error_message": result.get("error_message"),
    }


class Registrations:
    """All of them in the order of asking; `effect` is told when one has come to its end."""

    def __init__(self, context: Context, effect: Callable[[Registration, float], None]) -> None:
        self._context = context
        self._effect = effect
        self._waiting: list[Registration] = []
        self.by_id: dict[str, Registration] = {}

    def open(self, registration: Registration) -> Registration:
        """Asked for. With a registrar of the sandbox's own the answer comes by itself, when a job's time is over."""
        self.by_id[registration.id] = registration
        settings = self._context.settings
        if settings.registrar:
            registration.outcome = {"completes": "success", "fails": "error"}[settings.registrar]
            self._later(registration, registration.created_at + settings.job_seconds)
        return registration

    def answer(self, registration: Registration, content: Mapping[str, Any], now: float) -> None:
        """The registrar's results. While they are processed the status is `submitted` (kalbio: "Results have been
        submitted for processing"); how long that takes is a setting."""
        registration.answered, registration.outcome = True, content["status"]
        registration.key_field_names = content.get("key_field_names", [])
        registration.results = {each["record_id"]: each for each in content.get("records", [])}
        message = content.get("message", content.get("error_message"))
        if self._context.settings.results_processing_seconds:
            registration.move("submitted", message, now)
            self._later(registration, now + self._context.settings.results_processing_seconds)
        else:
            self._end(registration, ENDS[registration.kind][registration.outcome], message, now)

    def push(self, registration: Registration, status: str, message: str | None, now: float) -> None:
        """The registrar says how far it is. That it may also say the end in this way is a guess."""
        registration.move(status, message, now)
        if registration.over:
            self._end(registration, "", None, now)

    def settle(self, now: float) -> None:
        """What is due by now takes effect, in the order in which it came due."""
        for registration in sorted(self._waiting, key=lambda registration: registration.due or 0.0):
            if registration.due is not None and registration.due <= now:
                self._end(registration, ENDS[registration.kind][registration.outcome], None, registration.due)

    def _later(self, registration: Registration, due: float) -> None:
        registration.due = due
        if registration not in self._waiting:
            self._waiting.append(registration)

    def _end(self, registration: Registration, status: str, message: str | None, now: float) -> None:
        """The new status, if it does not have it already, and the effect; nobody is waited for any more."""
        if registration in self._waiting:
            self._waiting.remove(registration)
        registration.due = None
        if status:
            if not registration.answered and registration.outcome == "error":
                registration.results = {each: _refused(each) for each in registration.record_ids}
                message = "The registrar refused it"
            registration.answered = True
            registration.move(status, message, now)
        self._effect(registration, now)

    def of(self, operation_id: str, *kinds: str) -> list[Registration]:
        """Of one operation, newest first; for files that order is a guess."""
        found = [
            registration
            for registration in self.by_id.values()
            if registration.operation_id == operation_id and registration.kind in kinds
        ]
        return found[::-1]


def about(registrations: Iterable[Registration], record_id: str) -> Registration | None:
    """The first of these that is about this record."""
    return next((registration for registration in registrations if record_id in registration.record_ids), None)


def _refused(record_id: str) -> dict[str, Any]:
    return {"record_id": record_id, "status": "error", "error_message": "The registrar refused this record"}
