"""Liquid Decisions' job types. A job has the same status and can be cancelled whatever its type."""

from __future__ import annotations

from collections.abc import Mapping

from sluice_provider.apis.liquid_decisions.endpoints import cancel_job, get_job
from sluice_provider.apis.liquid_decisions.job_status import job_from_status
from sluice_provider.errors import ClientError
from sluice_provider.http.flow import Flow
from sluice_provider.jobs import Job
from sluice_provider.jobs.polling import JobType, Locator


def _get_job_status(job_id: str, _locator: Locator) -> Flow[Job]:
    return job_from_status((yield from get_job(job_id)))


def _cancel_job(job_id: str, _locator: Locator) -> Flow[None]:
    """Not an error if the job has already ended, or is not known any more."""
    try:
        yield from cancel_job(job_id)
    except ClientError as error:
        if error.status not in (404, 409):
            raise


JOB_TYPES: Mapping[str, JobType] = {
    name: JobType(name, _get_job_status, _cancel_job) for name in ("import", "export", "job")
}
