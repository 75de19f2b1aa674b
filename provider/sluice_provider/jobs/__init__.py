"""What all services have in common: a job that was submitted, has an id, and ends. No Airflow, no service in here.

model.py       plain data: a job, its state, a reference to it
polling.py     job types; looking at several jobs as one piece of work
record.py      what a task keeps of its work: the schema and its encoding
storage.py     the record as keys and values of bounded size
lifecycle.py   what happens next: pure, without clock or I/O
spec.py        what a service's job is; composed into an operator
execution.py   runs the lifecycle: a generator that yields what it wants done
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
