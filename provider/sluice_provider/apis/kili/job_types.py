"""Kili's job types: how the state of each is derived from the status of its connection or integration."""

from __future__ import annotations

from sluice_provider.apis.kili.endpoints import compute_differences, get_connection_status, get_integration
from sluice_provider.apis.kili.model import MaskSecret
from sluice_provider.errors import ClientError, OutcomeUnknown
from sluice_provider.http.flow import Flow
from sluice_provider.jobs import Job, JobState
from sluice_provider.jobs.polling import JobType, Locator


def _get_connection_status(connection_id: str, _without_none: Locator) -> Flow[Job]:
    """Succeeded when the connection is idle: it neither computes nor applies differences for any client."""
    status = yield from get_connection_status(connection_id)
    if status.activity:
        return status.as_job(JobState.RUNNING, status.activity)
    return status.as_job(JobState.SUCCEEDED, "idle")


def _get_computation_status(connection_id: str, locator: Locator) -> Flow[Job]:
    """Succeeded when computed. `isChecking` becomes true some time after the request, so false means nothing until
    `lastCheck` has changed."""
    status = yield from get_connection_status(connection_id)
    if status.checking:
        return status.as_job(JobState.RUNNING, status.activity)
    if status.last_check == locator["last_check"]:
        return status.as_job(JobState.NOT_FOUND, "not started", "no differences were computed since the request")
    if status.total and not (status.to_add or status.to_remove):
        contradiction = f"{status.total} differences in total, but 0 to add and 0 to remove"
        return status.as_job(JobState.NOT_FOUND, "inconsistent", contradiction)
    return status.as_job(JobState.SUCCEEDED, "computed")


def _get_application_status(connection_id: str, locator: Locator) -> Flow[Job]:
    """Succeeded when applied. Only the connection's own assets are counted: those of the project may change for other
    reasons."""
    status = yield from get_connection_status(connection_id)
    adding, expected = locator["type"] == "ADD", int(locator["expected"])
    applied = max(0, (status.assets - int(locator["assets"])) * (1 if adding else -1))
    remaining = status.to_add if adding else status.to_remove
    if status.activity:
        state = JobState.RUNNING
    elif applied >= expected or (status.applying is None and applied and not remaining):
        state = JobState.SUCCEEDED
    else:
        # Either not started yet, or ended with fewer than expected. A server that does not report whether it is
        # applying differences is assumed to be.
        state = JobState.RUNNING if status.applying is None else JobState.NOT_FOUND
    done = min(applied, expected)
    job = status.as_job(
        state, f"{applied} of {expected} {'added' if adding else 'removed'}", applied=done, expected=expected
    )
    return job._replace(done=done, total=expected)


def _accept_partial_result(job: Job) -> Job:
    """Kili is not applying differences any more, so nothing will be added to what was applied."""
    return job._replace(state=JobState.SUCCEEDED)


def _get_integration_status(integration_id: str, locator: Locator) -> Flow[Job]:
    found = yield from get_integration(integration_id)
    status = str(found.get("status"))
    return Job(integration_id, JobState.SUCCEEDED if status == locator["status"] else JobState.RUNNING, status)


def _get_added_status(connection_id: str, _without_none: Locator) -> Flow[Job]:
    """Succeeded as soon as the connection exists."""
    return (yield from get_connection_status(connection_id)).as_job(JobState.SUCCEEDED, "exists")


def _get_new_files_status(connection_id: str, locator: Locator, mask_secret: MaskSecret) -> Flow[Job]:
    """Succeeded when there are enough new files. Kili compares only on request, so every status check that finds too
    few of them requests it.

    Differences that were computed before the wait began may be outdated and do not count.
    """
    status = yield from get_connection_status(connection_id)
    if status.activity:
        return status.as_job(JobState.RUNNING, status.activity)
    new_files = f"{status.to_add} new files"
    if status.last_check != locator["last_check"] and status.to_add >= int(locator["minimum"]):
        return status.as_job(JobState.SUCCEEDED, new_files)
    try:
        yield from compute_differences(connection_id, mask_secret)
    except OutcomeUnknown:
        pass  # the next status check sees the computation, or requests it again
    except ClientError:
        if not (yield from get_connection_status(connection_id)).checking:
            raise
    return status.as_job(JobState.RUNNING, new_files)


def job_types(mask_secret: MaskSecret) -> dict[str, JobType]:
    """None of these jobs can be cancelled: the API has no operation for it."""
    return {
        "added_connection": JobType("connection", _get_added_status),
        "connection": JobType("connection", _get_connection_status),
        "computation": JobType("computation of differences", _get_computation_status),
        "application": JobType(
            "application of differences", _get_application_status, on_not_found=_accept_partial_result
        ),
        "integration": JobType("integration", _get_integration_status),
        "difference": JobType(
            "difference", lambda each, locator: _get_new_files_status(each, locator, mask_secret), fixed_interval=True
        ),
    }
