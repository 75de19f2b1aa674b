"""What all services have in common: jobs that are submitted, have an id, and end. No Airflow, no service-specific code.

model.py       plain data: a job, its state, a reference to it
polling.py     job types; polling several jobs together
record.py      what a task stores about its jobs: the schema and its encoding
storage.py     the record as keys and values of bounded size
lifecycle.py   what happens next: pure, without clock or I/O
spec.py        what a service's job is; an operator has one
execution.py   runs the lifecycle: a generator that yields requests and other effects
"""

from __future__ import annotations

from sluice_provider.jobs.model import (
    Job,
    JobGroup,
    JobRef,
    JobState,
    Rejection,
    StatusObserver,
    WaitResult,
    WaitStatus,
    check_rejections,
    read_event,
)

__all__ = [
    "Job",
    "JobGroup",
    "JobRef",
    "JobState",
    "Rejection",
    "StatusObserver",
    "WaitResult",
    "WaitStatus",
    "check_rejections",
    "read_event",
]
