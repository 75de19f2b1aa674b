"""What a Liquid Decisions community holds: items by type, batch jobs, and the e-mails that would have been sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice_sandbox.liquid_decisions.files import BadFile, matches, query, write
from sluice_sandbox.settings import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluice_sandbox.context import Context
    from sluice_sandbox.liquid_decisions.files import Data

SLICES = 4
"""A job is up for processing so many times, and cancelling happens only then."""

START = {"Account": [{"id": "A-1", "name": "Acme", "city": "Ghent"}, {"id": "A-2", "name": "Birch", "city": "Oslo"}]}


@dataclass
class Job:
    """One batch job. What it does to the items it does slice by slice, as its time goes by."""

    kind: str
    fields: dict[str, str]
    created_at: float
    seconds: float
    files: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, Data]] = field(default_factory=list)
    rejected: str = ""
    fails: bool = False
    cancel_asked_at: float | None = None
    applied: int = 0
    settled: bool = False
    links: list[str] = field(default_factory=list)
    base: tuple[str, str] = ("", "")
    id: str = field(kw_only=True)

    @property
    def item_type(self) -> str:
        """What it imports or exports."""
        return self.fields.get("itemType", "")

    @property
    def cancelled_at(self) -> float | None:
        """ "Next time it is up for processing"; a job in its last slice is not up for processing again."""
        starts = [self.created_at + self.seconds * number / (SLICES + 1) for number in range(1, SLICES + 1)]
        asked = self.cancel_asked_at
        return None if asked is None else next((start for start in starts if start >= asked), None)

    @property
    def ends_at(self) -> float:
        """When it is over."""
        return self.created_at if self.rejected else self.cancelled_at or self.created_at + self.seconds

    def status(self, now: float) -> str:
        """One of the wiki's eight."""
        if self.rejected:
            return "Rejected"
        if now >= self.ends_at:
            return "Canceled" if self.cancelled_at else "Failed" if self.fails else "Completed"
        if self.cancel_asked_at is not None:
            return "Canceling"
        return "Accepted" if now < self.created_at + self.seconds / (SLICES + 1) else "Processing"

    def processed(self, now: float) -> int:
        """Rows that are done: those of the slices that have ended."""
        if self.rejected or not self.seconds:
            return 0 if self.rejected else len(self.rows)
        gone = int((min(now, self.ends_at) - self.created_at) * (SLICES + 1) / self.seconds + 1e-9)
        return len(self.rows) * max(0, gone - 1) // SLICES


@dataclass
class Item:
    """`arrivals` counts how often it came, so that a test can see one doubled."""

    data: Data
    arrivals: int = 0


@dataclass
class Stored:
    """A file that an export made; `signature` lets in whoever has it."""

    content: bytes
    kind: str
    until: float
    signature: str


class Store:
    """Everything of the one community."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.items = {kind: {each["id"]: Item(dict(each)) for each in start} for kind, start in START.items()}
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, Stored] = {}
        self.emails: list[dict[str, Any]] = []

    def take_on(self, job: Job) -> Job:
        """A job begins, or is rejected; the settings of this moment are the ones that count for it."""
        settings = self._context.settings
        if settings.reject_jobs and not job.rejected:
            settings.reject_jobs -= 1
            job.rejected = "The job was rejected, as the sandbox was told to do"
        elif not job.rejected and settings.fail_jobs:
            settings.fail_jobs -= 1
            job.fails = True
        self.jobs[job.id] = job
        self.settle()
        return job

    def settle(self) -> None:
        """Do what is due by now, oldest job first."""
        now = self._context.clock.now()
        for job in self.jobs.values():
            if not job.settled:
                self._go_on(job, now)

    def _go_on(self, job: Job, now: float) -> None:
        if job.kind == "import":
            due = job.processed(now)
            for action, data in job.rows[job.applied : due]:
                self._apply(job, action, data)
            job.applied = due
        if now < job.ends_at:
            return
        job.settled = True
        if job.kind == "export" and job.status(now) == "Completed":
            try:
                self._export(job)
            except BadFile as problem:
                job.rejected = str(problem)
        self._mail(job, job.status(now))

    def _apply(self, job: Job, action: str, data: Data) -> None:
        """An item is known by its id. Merging keeps what the file does not tell; overriding does not."""
        items = self.items.setdefault(job.item_type, {})
        key = str(data.get("id") or json.dumps(data, sort_keys=True))
        if action == "Delete":
            items.pop(key, None)
            return
        known = items.setdefault(key, Item({}))
        known.arrivals += 1
        merging = action == "Merge" or flag(job.fields, "merge")
        known.data = {**known.data, **data} if merging else data

    # Exporting

    def choose(self, job: Job) -> list[Data]:
        """The rows of an export: a query wins over filters."""
        items = [item.data for item in self.items.get(job.item_type, {}).values()]
        if job.fields.get("sqlQuery"):
            return query(job.fields["sqlQuery"], job.item_type, items)
        filters = job.files.get("filters", {})
        chosen = [data for data in items if matches(data, filters)]
        if job.fields.get("contentType") != "application/json":
            return chosen
        headers = {"category": "entity", "type": job.item_type, "action": "Create"}
        return [{"headers": headers, "data": data} for data in chosen]

    def _export(self, job: Job) -> None:
        settings, ids = self._context.settings, self._context.ids
        rows = self.choose(job)
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
            stored = Stored(content, kind, self._context.clock.now() + settings.link_lifetime, ids.token(12))
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

    # Telling

    def status_json(self, job: Job) -> dict[str, Any]:
        """The wiki's "Batch Status Response", numbers as texts. Where links stand is not said, so it is a setting."""
        now, where = self._context.clock.now(), self._context.settings.export_links
        status = job.status(now)
        ran = max(0.0, min(now, job.ends_at) - job.created_at)
        echoed = ("notificationEmail", "jobName", "contentType", "itemType")
        told: dict[str, Any] = {
            "submitTime": (iso(job.created_at) or "")[:19] + "+0000",
            "jobId": job.id,
            **{name: job.fields[name] for name in echoed if name in job.fields},
            "recordsProcessed": str(job.processed(now)),
            "runTime": str(round(ran * 1000)),
            "status": status,
            "reason": reason(job, status, where),
        }
        return {**told, "links": list(job.links)} if job.links and where in ("links", "other_host") else told


def reason(job: Job, status: str, where: str) -> str:
    """The message that goes with a status; those of Accepted are the wiki's."""
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


def _link(job: Job, token: str, stored: Stored, where: str) -> str:
    home, elsewhere = job.base
    name = f"{token}/export.{stored.kind}"
    if where == "other_host":
        return f"{elsewhere}/storage/{name}?signature={stored.signature}"
    return f"{home}/ls/api/batch/download/{name}"


def flag(fields: Mapping[str, str], *names: str) -> bool:
    """However a truth may be written."""
    return any(fields.get(name, "").casefold() in ("true", "1", "yes") for name in names)
