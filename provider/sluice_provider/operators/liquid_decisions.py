"""Tasks that import into Liquid Decisions, export from it, and cancel jobs there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from sluice_provider.apis import liquid_decisions
from sluice_provider.assets import dataset_of, uri
from sluice_provider.calls.body import FilePart
from sluice_provider.calls.site import base_url
from sluice_provider.errors import InvalidInput, OutcomeUnknown
from sluice_provider.hooks.base import mask
from sluice_provider.jobs import JobState
from sluice_provider.journal import Story, digest
from sluice_provider.lineage import file_dataset, lineage
from sluice_provider.operators.asking import Asking, Phase, in_doubt
from sluice_provider.operators.base import JobOperator, times
from sluice_provider.sources.blobs import Blob, Landing

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from sluice_provider.calls.flow import Flow
    from sluice_provider.jobs import Work
    from sluice_provider.journal import Intent
    from sluice_provider.lineage import Name

KINDS_OF_FILE = {".csv": "csv", ".txt": "csv", ".json": "json"}
SUFFIX = r"(\.(csv|tsv|txt|jsonl?|xml|zip|gz)){1,2}$"
SUFFIXES = {"application/json": ".json"}


class _BatchOperator(JobOperator):
    """What an import and an export have in common."""

    system = "liquid_decisions"
    kind: ClassVar[str]

    liquid_decisions_conn_id: str
    item_type: str
    job_name: str
    notification_email: str | None
    on_unknown_outcome: str

    def check(self) -> None:
        for name in ("item_type", "job_name", "notification_email", "content_type"):
            value = getattr(self, name)
            optional = name in ("notification_email", "content_type")
            if not (value is None and optional) and (not isinstance(value, str) or not value.strip()):
                raise InvalidInput(f"{name} must be a text that is not empty, not {value!r}")
        if self.on_unknown_outcome not in ("fail", "resubmit"):
            raise InvalidInput(f"on_unknown_outcome must be 'fail' or 'resubmit', not {self.on_unknown_outcome!r}")

    def request(self, job_name: str) -> Flow[str]:
        """What asks for the job."""
        raise NotImplementedError

    # --- the one phase

    def plan(self, story: Story) -> Phase | None:
        if story.entry(self.kind).ended:
            return None
        return Phase(self.kind, self.kind, self._ask_once, self._doubt)

    def marked(self, key: str) -> str:
        """The job's name, with a mark by which a person can find it: the remote has no listing to be searched."""
        return f"{self.job_name} [{key[:10]}]"

    def _ask_once(self, asking: Asking) -> None:
        if asking.entry.parts:
            return
        name = self.marked(asking.key)
        try:
            job_id = asking.send(self.request(name))
        except OutcomeUnknown as error:
            error.hopeless = self.on_unknown_outcome == "fail"
            raise
        self.log.info("Liquid Decisions accepted %r as job %s", name, job_id)

    def _doubt(self, asking: Asking, intent: Intent) -> None:
        name = self.marked(intent.key)
        if self.on_unknown_outcome == "fail":
            in_doubt(asking, intent, f"jobName {name!r}")
        self.log.warning("What became of %r is not known; asking again, as on_unknown_outcome says", name)
        asking.entry.round += 1

    # --- the end

    def manifest(self, story: Story) -> dict[str, Any]:
        entry = story.entry(self.kind)
        ended = entry.ended or {"state": "running", "counts": {}}
        return {
            "system": self.system,
            "state": ended["state"],
            "job_id": entry.ids[0],
            "item_type": self.item_type,
            **ended["counts"],
            **ended.get("brought", {}),
            **times([entry]),
        }

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """OpenLineage asks for this by its name, once the task is over."""
        del task_instance
        address = base_url(self.hook.fields(), self.hook.default_host).rstrip("/")
        items = dataset_of(uri("liquid-decisions", address, "item-types", self.item_type))
        inputs, outputs = self.datasets(items)
        return lineage(address, [self.result["job_id"]], inputs, outputs)

    def datasets(self, items: Name) -> tuple[list[Name], list[Name]]:
        """What is read, and what is written."""
        raise NotImplementedError


class LiquidDecisionsImportOperator(_BatchOperator):
    """Import a file of items into Liquid Decisions, wait until it is done, and return what became of it.

    The file is streamed, so its size does not matter. To be asked twice is to import twice there, so nothing is ever
    sent again once it may have arrived; the job's name gets a mark by which a person can find it.

    Returns `{"system", "state", "job_id", "item_type", "processed", "milliseconds", "file", "bytes", "asked_at",
    "ended_at", "seconds"}`; with `wait_for_completion=False` the remote's counts are missing. Outlets get the same as
    their event's extra.

    Rests on the wiki page "Batch Import and Export" of LiquidAnalytics/ld-api-examples, and on `batchImport.py`.

    :param file: path or URL of a CSV or JSON file, anything that ObjectStoragePath opens (templated)
    :param item_type: the type of the items, as in the schema (templated)
    :param job_name: what to call the job there (templated)
    :param content_type: `csv`, `json` or a media type; by default the file's name tells
    :param template: path or URL of the template for a CSV file (templated)
    :param merge: merge with the items that are there, instead of overriding them
    :param header_row: whether a CSV file begins with a header
    :param notification_email: who gets the remote's e-mail when the job is over (templated)
    :param on_unknown_outcome: when the remote was asked and no answer came: fail without a retry, or let the next try
        ask again, which imports twice if the first asking did arrive
    :param liquid_decisions_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent
    :raises JobFailed: the job was rejected, failed, or was cancelled
    """

    kind = "import"
    template_fields: Sequence[str] = (
        "file",
        "item_type",
        "job_name",
        "template",
        "notification_email",
        "liquid_decisions_conn_id",
    )

    def __init__(
        self,
        *,
        file: Any,
        item_type: str,
        job_name: str,
        content_type: str | None = None,
        template: Any = None,
        merge: bool = False,
        header_row: bool | None = None,
        notification_email: str | None = None,
        on_unknown_outcome: Literal["fail", "resubmit"] = "fail",
        liquid_decisions_conn_id: str = "liquid_decisions_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.file = file
        self.item_type = item_type
        self.job_name = job_name
        self.content_type = content_type
        self.template = template
        self.merge = merge
        self.header_row = header_row
        self.notification_email = notification_email
        self.on_unknown_outcome = on_unknown_outcome

    def check(self) -> None:
        super().check()
        _ = self._blob, self._template, self._type

    @cached_property
    def _blob(self) -> Blob:
        return Blob(self.file, "file")

    @cached_property
    def _template(self) -> Blob | None:
        return None if self.template is None else Blob(self.template, "template")

    @cached_property
    def _type(self) -> str:
        """As the import wants it."""
        word = self.content_type or KINDS_OF_FILE.get(self._blob.suffix)
        if word is None:
            raise InvalidInput(f"file: {self._blob.name} does not say by its name what it is; content_type must")
        return liquid_decisions.content_type_of(word, text=liquid_decisions.IMPORTED_TEXT)

    def fingerprint(self) -> str:
        template = self._template and self._template.fingerprint()
        where = [self.conn_id, self.item_type, self._type, self.merge, self.header_row]
        return digest([self._blob.fingerprint(), template, where])

    def request(self, job_name: str) -> Flow[str]:
        return liquid_decisions.import_file(
            _part("file", self._blob, self._type, {"Expires": "0"}),
            self.item_type,
            job_name,
            self._type,
            # The published script calls its template JSON, whatever is in it.
            _part("template", self._template, liquid_decisions.JSON) if self._template else None,
            self.merge,
            self.header_row,
            self.notification_email,
        )

    def bring(self, phase: Phase, work: Work) -> dict[str, Any]:
        del phase, work
        return {"file": self._blob.name}

    def datasets(self, items: Name) -> tuple[list[Name], list[Name]]:
        return [file_dataset(self._blob.name)], [items]


def _part(name: str, blob: Blob, content_type: str, headers: Mapping[str, str] | None = None) -> FilePart:
    return FilePart(name, blob.filename, content_type, blob.open, blob.size, f"{name}: {blob.name}", headers or {})


class LiquidDecisionsExportOperator(_BatchOperator):
    """Export items from Liquid Decisions, wait until it is done, and bring the files home.

    The wiki promises links to the results, valid for a week, and leaves open whether they stand in the job's status or
    only in the e-mail. Where the status carries links they are fetched into `destination`, streamed, each file there
    whole or not at all; where it carries none the result says so in `note`. Credentials go to the connection's own host
    only. A link may let anybody in, so none is logged or returned.

    Returns `{"system", "state", "job_id", "item_type", "processed", "milliseconds", "files", "note", "asked_at",
    "ended_at", "seconds"}`; `files` are paths. Outlets get the same as their event's extra.

    Rests on the wiki page "Batch Import and Export" of LiquidAnalytics/ld-api-examples, and on `batchExport.py`.

    :param item_type: the type of the items, as in the schema (templated)
    :param job_name: what to call the job there (templated)
    :param content_type: `csv`, `json` or a media type
    :param sql_query: a query whose rows are exported (templated)
    :param filters: only items that match are exported: a dict, or the text of one; values may be path expressions like
        `/Workflow/processStatus[Editing]` (templated)
    :param prefer_query: both a query and filters are given and meant; the remote disregards the filters then
    :param filters_style: how a dict of filters is written: as JSON, or as Python writes it, which the published script
        does
    :param template: the Velocity template that turns an item into a line of CSV: its text, or a `Path` to a file with
        it (templated)
    :param row_header: whether a CSV file begins with a header
    :param notification_email: who gets the remote's e-mail when the job is over (templated)
    :param destination: directory to fetch the results into, anything that ObjectStoragePath reaches (templated)
    :param on_unknown_outcome: when the remote was asked and no answer came: fail without a retry, or let the next try
        ask again
    :param liquid_decisions_conn_id: Airflow connection id
    :raises InvalidInput: before anything is sent
    :raises JobFailed: the job was rejected, failed, or was cancelled
    """

    kind = "export"
    template_fields: Sequence[str] = (
        "item_type",
        "job_name",
        "sql_query",
        "filters",
        "template",
        "notification_email",
        "destination",
        "liquid_decisions_conn_id",
    )
    template_fields_renderers = {"sql_query": "sql", "filters": "json"}

    def __init__(
        self,
        *,
        item_type: str,
        job_name: str,
        content_type: str = "json",
        sql_query: str | None = None,
        filters: Mapping[str, Any] | str | None = None,
        prefer_query: bool = False,
        filters_style: Literal["json", "python"] = "json",
        template: Any = None,
        row_header: bool | None = None,
        notification_email: str | None = None,
        destination: Any = None,
        on_unknown_outcome: Literal["fail", "resubmit"] = "fail",
        liquid_decisions_conn_id: str = "liquid_decisions_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.item_type = item_type
        self.job_name = job_name
        self.content_type = content_type
        self.sql_query = sql_query
        self.filters = filters
        self.prefer_query = prefer_query
        self.filters_style = filters_style
        self.template = template
        self.row_header = row_header
        self.notification_email = notification_email
        self.destination = destination
        self.on_unknown_outcome = on_unknown_outcome

    def check(self) -> None:
        super().check()
        if self.sql_query and self.filters and not self.prefer_query:
            raise InvalidInput(
                "give either sql_query or filters: the remote disregards filters beside a query; "
                "prefer_query=True says that this is meant"
            )
        if self.filters is not None and not isinstance(self.filters, (str, Mapping)):
            raise InvalidInput(f"filters must be a dict, or the text of one, not a {type(self.filters).__name__}")
        if self.filters_style not in ("json", "python"):
            raise InvalidInput(f"filters_style must be 'json' or 'python', not {self.filters_style!r}")
        if self.destination is not None:
            Landing(str(self.destination), "probe")
        _ = self._arguments

    @cached_property
    def _arguments(self) -> dict[str, Any]:
        """All of the flow's, but the name."""
        python_style = self.filters_style == "python"
        filters = liquid_decisions.filters_text(self.filters, python_style=python_style) if self.filters else None
        from_file = isinstance(self.template, PathLike) or hasattr(self.template, "fs")
        return {
            "item_type": self.item_type,
            "content_type": liquid_decisions.content_type_of(self.content_type, text=liquid_decisions.EXPORTED_TEXT),
            "sql_query": self.sql_query or None,
            "filters": filters,
            "template": Blob(self.template, "template").text() if from_file else self.template or None,
            "row_header": self.row_header,
            "notification_email": self.notification_email,
        }

    def fingerprint(self) -> str:
        return digest([self.conn_id, self._arguments])

    def request(self, job_name: str) -> Flow[str]:
        return liquid_decisions.export(job_name=job_name, **self._arguments)

    # --- what was made

    def bring(self, phase: Phase, work: Work) -> dict[str, Any]:
        del phase
        if not work.links:
            who = self.notification_email or "whoever the remote writes to"
            return self._noted(f"the job's status carries no links to the results; they may be in the e-mail to {who}")
        if self.destination is None:
            return self._noted(f"the job's status carries links to {len(work.links)} files; destination fetches them")
        return {"files": [self._fetch(work.jobs[0].id, *numbered) for numbered in enumerate(work.links, 1)]}

    def _noted(self, note: str) -> dict[str, Any]:
        self.log.warning("Nothing was fetched: %s", note)
        return {"files": [], "note": note}

    def _fetch(self, job_id: str, number: int, link: str) -> str:
        """The file's name is ours: what a remote calls it could lead anywhere, and replace anything."""
        if query := urlsplit(link).query:
            mask(query)
        landing = Landing(str(self.destination), f"{_safe(job_id)}-{number}{self._suffix(link)}")
        self.hook.run(liquid_decisions.fetch(link, landing))
        self.log.info("Fetched %s", landing.path)
        return landing.path

    def _suffix(self, link: str) -> str:
        told = re.search(SUFFIX, urlsplit(link).path.lower())
        return told[0] if told else SUFFIXES.get(self._arguments["content_type"], ".csv")

    def datasets(self, items: Name) -> tuple[list[Name], list[Name]]:
        return [items], [file_dataset(path) for path in self.result.get("files", ())]


def _safe(job_id: str) -> str:
    return "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "_" for each in job_id)


class LiquidDecisionsCancelJobOperator(JobOperator):
    """Ask Liquid Decisions to cancel a job, wait until the job is over, and tell how it ended.

    The remote cancels a job "next time it is up for processing", so it may complete all the same. Then the task
    succeeds, too, with `cancelled` false in its result and a warning in its log.

    Returns `{"system", "state", "job_id", "cancelled", "status", "reason", "processed", "milliseconds", "asked_at",
    "ended_at", "seconds"}`.

    Rests on `batchCancel.py` of LiquidAnalytics/ld-api-examples, and on its wiki page "Batch Import and Export".

    :param job_id: the job's id (templated)
    :param liquid_decisions_conn_id: Airflow connection id
    """

    system = "liquid_decisions"
    wanted = frozenset({JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED})
    template_fields: Sequence[str] = ("job_id", "liquid_decisions_conn_id")

    def __init__(
        self, *, job_id: str, liquid_decisions_conn_id: str = "liquid_decisions_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.liquid_decisions_conn_id = liquid_decisions_conn_id
        self.job_id = job_id

    def fingerprint(self) -> str:
        return digest([self.conn_id, self.job_id])

    def plan(self, story: Story) -> Phase | None:
        if story.entry("cancel").ended:
            return None
        return Phase("cancel", "job", self._ask_once, self._doubt)

    def _ask_once(self, asking: Asking) -> None:
        if not asking.entry.parts:
            asking.send(liquid_decisions.cancelled(self.job_id))

    def _doubt(self, asking: Asking, intent: Intent) -> None:
        """To ask again does no harm."""
        del asking, intent

    def bring(self, phase: Phase, work: Work) -> dict[str, Any]:
        del phase
        job = work.jobs[0]
        if job.state is not JobState.CANCELLED:
            self.log.warning("The cancel came too late: %s", job)
        return {"cancelled": job.state is JobState.CANCELLED, "status": job.word, "reason": job.message}

    def manifest(self, story: Story) -> dict[str, Any]:
        entry = story.entry("cancel")
        ended = entry.ended or {"state": "running", "counts": {}}
        told = {"system": self.system, "state": ended["state"], "job_id": entry.ids[0]}
        return {**told, **ended["counts"], **ended.get("brought", {}), **times([entry])}
