"""A changeset as a job. It cannot be cancelled: the API has no operation for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set

from sluice_provider.apis.finspace.endpoints import find_changesets, get_changeset
from sluice_provider.apis.finspace.model import Changeset, ErrorInfo
from sluice_provider.errors import ClientError
from sluice_provider.http.flow import Flow
from sluice_provider.jobs import Job, JobState
from sluice_provider.jobs.polling import MIN_LISTED, JobType, Locator, Wanted, of_the_service

log = logging.getLogger(__name__)

JOB_STATES = {"COMPLETED": JobState.SUCCEEDED, "FAILED": JobState.FAILED}
"""Every other status is running. The service model has PENDING and PROCESSING; the service was also seen to return
IN_PROGRESS."""

RETRYABLE_BY_ERROR_TYPE = {
    "The inputs to this request are invalid.": False,
    "Service limits have been exceeded.": False,
    "Missing required permission to perform this request.": False,
    "One or more inputs to this request were not found.": False,
    "A user recoverable error has occurred": False,
    "The system temporarily lacks sufficient resources to process the request.": True,
    "An internal error has occurred.": True,
    "Cancelled": True,
}
"""The service model's ErrorDetails, which are whole sentences, and whether a new changeset with the same requests may
succeed."""


def job_from_changeset(changeset: Changeset) -> Job:
    """A changeset as a job; its counts are the numbers of its changes by type. Odd ones are not counted."""
    info = changeset.get("errorInfo")
    error: ErrorInfo = info if isinstance(info, dict) else {}
    error_type, error_message = str(error.get("errorType") or ""), error.get("errorMessage") or ""
    requests: object = changeset.get("changeRequests")
    listed = requests if isinstance(requests, list) else []
    changes = [request.get("changeType") for request in listed if isinstance(request, dict)]
    return Job(
        id=changeset["changesetId"],
        state=JOB_STATES.get(changeset["status"], JobState.RUNNING),
        service_status=changeset["status"],
        message=f"{error_type} {error_message}".strip(),
        counts={"put": changes.count("PUT"), "deleted": changes.count("DELETE")},
        retryable=RETRYABLE_BY_ERROR_TYPE.get(error_type),
    )


def changeset_locator(environment_id: str, database_name: str, region_name: str | None = None) -> Locator:
    """What is needed besides its id to find a changeset.

    :param region_name: only if it is not the connection's
    """
    database = {"environment_id": environment_id, "database_name": database_name}
    return {**database, "region_name": region_name} if region_name else database


def _get_changeset_status(changeset_id: str, locator: Locator) -> Flow[Job]:
    changeset = yield from get_changeset(locator["environment_id"], locator["database_name"], changeset_id)
    return job_from_changeset(changeset)


def _list_changeset_statuses(wanted: Sequence[Wanted]) -> Flow[list[Job | None]]:
    """Those that are still running: the listing has neither the errors nor the changes of a changeset, so those that
    have ended are requested one by one, once."""
    running: dict[str, Job] = {}
    for environment_id, database_name in {_database_of(each) for each in wanted}:
        here = {each.id for each in wanted if _database_of(each) == (environment_id, database_name)}
        if len(here) < MIN_LISTED:
            continue
        for changeset in (yield from _find_listed(environment_id, database_name, here)):
            job = job_from_changeset(changeset)._replace(counts={})
            if not job.state.over:
                running[job.id] = job
    return [running.get(each.id) for each in wanted]


def _find_listed(environment_id: str, database_name: str, wanted: Set[str]) -> Flow[list[Changeset]]:
    """None where only this database cannot be listed: it may be gone, or not permitted."""
    try:
        return (yield from find_changesets(environment_id, database_name, wanted))
    except ClientError as error:
        if of_the_service(error):
            raise
        log.info(
            "The changesets of database %s in environment %s could not be listed, so each is requested alone: %s",
            *(database_name, environment_id, error),
        )
        return []


def _database_of(wanted: Wanted) -> tuple[str, str]:
    return wanted.locator["environment_id"], wanted.locator["database_name"]


JOB_TYPES: Mapping[str, JobType] = {
    "changeset": JobType("changeset", _get_changeset_status, list_statuses=_list_changeset_statuses)
}
