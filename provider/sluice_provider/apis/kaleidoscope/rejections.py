"""Rows that Kaleidoscope rejected, kept in a file: all of them, where a job's status has the first hundred."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from sluice_provider.apis.checked_rows import CheckedRows, LocatedRow
from sluice_provider.apis.kaleidoscope.endpoints import get_import, import_job
from sluice_provider.apis.payloads import JsonObject
from sluice_provider.errors import InvalidInput, SluiceError
from sluice_provider.http.concurrency import ConcurrencyLimit
from sluice_provider.http.flow import Flow, Gather
from sluice_provider.jobs import Job, JobGroup, JobState, Rejection
from sluice_provider.jobs.model import FIX_AND_CLEAR
from sluice_provider.jobs.record import PhaseRecord, Submission
from sluice_provider.sources.rejected import RejectedRowsFile

AT_ONCE = 20
"""Imports that are read at the same time: as many as there are connections."""


class KeptRejections:
    """Where the rejected rows of a task go, if its author wants to keep them.

    :param path: of the file, or None
    """

    def __init__(self, path: Any) -> None:
        self._path = path
        self._count = 0

    def __bool__(self) -> bool:
        return self._path is not None

    def validate(self) -> None:
        """:raises InvalidInput: nothing can be written there"""
        if self:
            RejectedRowsFile(self._path)

    def then(self, otherwise: str = FIX_AND_CLEAR) -> str:
        """What to do about rejected rows, for the error message.

        :param otherwise: if they were not kept
        """
        if not self._count:
            return otherwise
        return (
            f"All {self._count} rejected rows are in {self._path}, with the reasons: fix and push that file, "
            "or fix the source and clear this task; to accept rejected rows, set on_rejected_rows='warn'"
        )

    def of_job(self, jobs: Flow[Job], work: JobGroup) -> Flow[JsonObject]:
        """Keep the rejections of a job whose rows this task does not know: by key only.

        :param jobs: the job with all of its rejections
        :param work: as it was polled
        """
        if not self or not work.counts.get("rejected"):
            return self._nothing()
        file = RejectedRowsFile(self._path)
        _add(file, (yield from jobs).rejections, {})
        return self._written(file)

    def of_imports(
        self, record: PhaseRecord, rows: CheckedRows, keys: Sequence[str], work: JobGroup, log: Any
    ) -> Flow[JsonObject]:
        """Keep the rejected rows of imports, with their fields and where they were in the source.

        :param record: of the imports; its facts have the digest of the rows that were sent
        :param rows: read again, if this process has not read them
        :param keys: names of their key fields
        :param work: the imports as they were polled; nothing is kept before all have succeeded
        """
        if not self or not work.counts.get("rejected") or work.state is not JobState.SUCCEEDED:
            return self._nothing()
        file = RejectedRowsFile(self._path)
        submissions = sorted(record.submissions, key=lambda each: each.start)
        sent = _sent_rows(submissions, rows, record.facts.get("digest"), log)
        rest = iter(submissions)
        while some := list(islice(rest, AT_ONCE)):
            raws = yield Gather([get_import(each.id) for each in some], ConcurrencyLimit(AT_ONCE))
            for raw in raws:
                if isinstance(raw, SluiceError):
                    raise raw
                located = next(sent, [])
                rejections = import_job(raw, shown=None).rejections
                if rejections:
                    _add(file, rejections, {_identifier(row.fields, keys): row for row in located})
        return self._written(file)

    def _nothing(self) -> JsonObject:
        return {"rejected_to": None, "rejected_rows": 0} if self else {}

    def _written(self, file: RejectedRowsFile) -> JsonObject:
        file.write()
        self._count = file.count
        return {"rejected_to": file.path if file.count else None, "rejected_rows": file.count}


def _sent_rows(
    submissions: Sequence[Submission], rows: CheckedRows, digest: object, log: Any
) -> Iterator[list[LocatedRow]]:
    """The rows of each submission; nothing once they cannot be read any more."""
    try:
        yield from rows.slices((each.rows for each in submissions), digest)
    except InvalidInput as error:
        log.warning("Rejected rows are kept by their keys only, without their other fields: %s", error)


def _add(file: RejectedRowsFile, rejections: Iterable[Rejection], rows: Mapping[str, LocatedRow]) -> None:
    """A row with several errors is added once, with all reasons."""
    ordered = sorted(rejections, key=lambda each: each.row)
    for key, same in groupby(ordered, key=lambda each: each.row):
        reason = "; ".join(f"{each.field}={each.value}: {each.reason}" for each in same)
        row = rows.get(key, LocatedRow({}, "", ""))
        file.add(row.fields, reason=reason, key=key, position=row.position, source=row.source)


def _identifier(fields: JsonObject, keys: Sequence[str]) -> str:
    """As Kaleidoscope names a record in its errors: by the values of its key fields. How it joins several of them is
    not documented."""
    values = (fields.get(name) for name in keys)
    return ", ".join(value if isinstance(value, str) else json.dumps(value) for value in values)
