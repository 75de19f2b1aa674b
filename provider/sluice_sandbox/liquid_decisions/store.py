"""The data of a Liquid Decisions community: items by type, batch jobs, and notification e-mails (not sent)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice_sandbox.liquid_decisions.files import InvalidFile, matches, query, write
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluice_sandbox.context import Context
    from sluice_sandbox.liquid_decisions.files import Data

SLICES = 4
"""Number of slices in which a job is processed; it is cancelled only between two of them."""

START = {"Account": [{"id": "A-1", "name": "Acme", "city": "Ghent"}, {"id": "A-2", "name": "Birch", "city": "Oslo"}]}


@dataclass
class Job:
    """One batch job. It processes its rows slice by slice during `seconds`."""

    kind: str
    fields: dict[str, str]
    created_at: float
    seconds: float
    files: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, Data]] = field(default_factory=list)
    rejected: str = ""
    fails: bool = False
    cancel_requested_at: float | None = None
    applied: int = 0
    finished: bool = False
    links: list[str] = field(default_factory=list)
    base: tuple[str, str] = ("", "")
    id: str = field(kw_only=True)

    @property
    def item_type(self) -> str:
        """The type of the items."""
        return self.fields.get("itemType", "")

    @property
    def cancelled_at(self) -> float | None:
        """ "Next time it is up for processing" (wiki); None for a job in its last slice, which runs to its end."""
        starts = [self.created_at + self.seconds * number / (SLICES + 1) for number in range(1, SLICES + 1)]
        requested = self.cancel_requested_at
        return None if requested is None else next((start for start in starts if start >= requested), None)

    @property
    def ends_at(self) -> float:
        """When it is finished, cancelled or rejected."""
        return self.created_at if self.rejected else self.cancelled_at or self.created_at + self.seconds

    def status(self, now: float) -> str:
        """One of the eight statuses in the wiki."""
        if self.rejected:
            return "Rejected"
        if now >= self.ends_at:
            return "Canceled" if self.cancelled_at else "Failed" if self.fails else "Completed"
        if self.cancel_requested_at is not None:
            return "Canceling"
        return "Accepted" if now < self.created_at + self.seconds / (SLICES + 1) else "Processing"

    def processed(self, now: float) -> int:
        """Number of rows in the finished slices."""
        if self.rejected or not self.seconds:
            return 0 if self.rejected else len(self.rows)
        slices = int((min(now, self.ends_at) - self.created_at) * (SLICES + 1) / self.seconds + 1e-9)
        return len(self.rows) * max(0, slices - 1) // SLICES


@dataclass
class Item:
    """`arrivals` counts the imports of the item, so that tests can detect duplicates."""

    data: Data
    arrivals: int = 0


@dataclass
class StoredFile:
    """A file of an export; its link with `signature` needs no token."""

    content: bytes
    kind: str
    expires_at: float
    signature: str


class Store:
    """All data of the one community."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.items = {kind: {each["id"]: Item(dict(each)) for each in start} for kind, start in START.items()}
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, StoredFile] = {}
        self.emails: list[dict[str, Any]] = []

    def start(self, job: Job) -> Job:
        """Start a job, or reject it. It keeps the settings of this moment."""
        settings = self._context.settings
        if settings.reject_jobs and not job.rejected:
            settings.reject_jobs -= 1
            job.rejected = "Rejected by the sandbox setting reject_jobs"
        elif not job.rejected and settings.fail_jobs:
            settings.fail_jobs -= 1
            job.fails = True
        self.jobs[job.id] = job
        self.process_due()
        return job

    def process_due(self) -> None:
        """Process all jobs up to the current time, oldest first."""
        now = self._context.clock.now()
        for job in self.jobs.values():
            if not job.finished:
                self._advance(job, now)

    def _advance(self, job: Job, now: float) -> None:
        if job.kind == "import":
            due = job.processed(now)
            for action, data in job.rows[job.applied : due]:
                self._apply(job, action, data)
            job.applied = due
        if now < job.ends_at:
            return
        job.finished = True
        if job.kind == "export" and job.status(now) == "Completed":
            try:
                self._export(job)
            except InvalidFile as problem:
                job.rejected = str(problem)
        self._mail(job, job.status(now))

    def _apply(self, job: Job, action: str, data: Data) -> None:
        """Create, update or delete the item with this id. Merging keeps fields that the file does not have."""
        items = self.items.setdefault(job.item_type, {})
        key = str(data.get("id") or json.dumps(data, sort_keys=True))
        if action == "Delete":
            items.pop(key, None)
            return
        item = items.setdefault(key, Item({}))
        item.arrivals += 1
        merging = action == "Merge" or flag(job.fields, "merge")
        item.data = {**item.data, **data} if merging else data

    # Export

    def select(self, job: Job) -> list[Data]:
        """The rows of an export. A query takes precedence over filters."""
        items = [item.data for item in self.items.get(job.item_type, {}).values()]
        if job.fields.get("sqlQuery"):
            return query(job.fields["sqlQuery"], job.item_type, items)
        filters = job.files.get("filters", {})
        selected = [data for data in items if matches(data, filters)]
        if job.fields.get("contentType") != "application/json":
            return selected
        headers = {"category": "entity", "type": job.item_type, "action": "Create"}
        return [{"headers": headers, "data": data} for data in selected]

    def _export(self, job: Job) -> None:
        settings, ids = self._context.settings, self._context.ids
        rows = self.select(job)
        job.rows = [("Export", row) for row in rows]
        as_json = job.fields.get("contentType") == "application/json"
        size = settings.export_rows_per_file or len(rows) or 1
        for start in range(0, len(rows) or 1, size):
            content = write(
                rows[start : start + size],
                as_json=as_json,
                template=job.fields.get("template"),
                header=flag(job.fields, "rowHeader", "headerRow"),
            )
            token = ids.token(12)
            kind = "json" if as_json else "csv"
            stored = StoredFile(content, kind, self._context.clock.now() + settings.link_lifetime, ids.token(12))
            self.files[token] = stored
            job.links.append(_link(job, token, stored, settings.export_links))

    def _mail(self, job: Job, status: str) -> None:
        if job.fields.get("notificationEmail"):
            self.emails.append(
                {
                    "to": job.fields["notificationEmail"],
                    "subject": f"{job.fields.get('jobName')}: {status}",
                    "text": reason(job, status, "email"),
                    "links": list(job.links),
                    "job_id": job.id,
                }
            )

    # Status

    def status_json(self, job: Job) -> dict[str, Any]:
        """The wiki's "Batch Status Response", numbers as strings. Where it has links is not documented: a setting."""
        now, where = self._context.clock.now(), self._context.settings.export_links
        status = job.status(now)
        ran = max(0.0, min(now, job.ends_at) - job.created_at)
        echoed = ("notificationEmail", "jobName", "contentType", "itemType")
        content: dict[str, Any] = {
            "submitTime": (iso(job.created_at) or "")[:19] + "+0000",
            "jobId": job.id,
            **{name: job.fields[name] for name in echoed if name in job.fields},
            "recordsProcessed": str(job.processed(now)),
            "runTime": str(round(ran * 1000)),
            "status": status,
            "reason": reason(job, status, where),
        }
        return {**content, "links": list(job.links)} if job.links and where in ("links", "other_host") else content


def reason(job: Job, status: str, where: str) -> str:
    """The message of a status; that of Accepted is the wiki's."""
    texts = {
        "Accepted": "The file has been stored and the job is ready for processing",
        "Processing": "The job has begun processing",
        "Canceling": "A request to cancel the job has been received",
        "Canceled": "The job has been canceled",
        "Completed": "The job has been completed",
        "Failed": "The job could not be processed: the item service did not answer",
        "Rejected": job.rejected,
    }
    links = f". Results: {', '.join(job.links)}." if job.links and where == "reason" else ""
    return texts[status] + links


def _link(job: Job, token: str, stored: StoredFile, where: str) -> str:
    home, elsewhere = job.base
    name = f"{token}/export.{stored.kind}"
    if where == "other_host":
        return f"{elsewhere}/storage/{name}?signature={stored.signature}"
    return f"{home}/ls/api/batch/download/{name}"


def flag(fields: Mapping[str, str], *names: str) -> bool:
    """Whether one of these form fields is true."""
    return any(fields.get(name, "").casefold() in ("true", "1", "yes") for name in names)
