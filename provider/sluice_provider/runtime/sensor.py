"""The base class of all sensors: wait for a job that was submitted elsewhere, in the worker (poke, reschedule) or in
the triggerer. The same lifecycle as operators, whose job is found instead of submitted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from sluice_provider import compat
from sluice_provider.compat import default_deferrable
from sluice_provider.errors import SluiceError, TimedOut
from sluice_provider.runtime.task import MAX_SECONDS, RemoteJobTask, fail_for_good, seconds

if TYPE_CHECKING:
    from airflow.sdk import Context, PokeReturnValue

    from sluice_provider.http.flow import Flow
    from sluice_provider.jobs.model import JobGroup
    from sluice_provider.jobs.record import JobRecord
    from sluice_provider.jobs.watched_job import WatchedJob
    from sluice_provider.runtime.run import JobRun


class RemoteJobSensor(RemoteJobTask, BaseSensorOperator):
    """Wait for a job that was submitted elsewhere.

    To write your own, override `job`. A job that failed fails the sensor, or skips it with `soft_fail`, in every
    mode; without a retry, unless the service says that the failure is temporary. A sensor cancels nothing.

    Returns what the job returns, by default `{"ids", "state"}` and the service's counts.

    :param deferrable: wait in the triggerer, holding no worker slot (default: Airflow's `default_deferrable`)
    :param poll_interval: deferrable: seconds between two status checks at the most (default: `poke_interval`)
    """

    __supports_durable_execution = True

    def __init__(self, *, deferrable: bool | None = None, poll_interval: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(self.poke_interval if poll_interval is None else poll_interval, "poll_interval")
        self.__run: JobRun | None = None
        self.__seen: JobGroup | None = None  # by the status check before the wait, so that the first poke has it
        self.__failures = 0

    # --- to override

    def job(self) -> WatchedJob:
        """The job to wait for, by the rendered arguments."""
        raise NotImplementedError

    # --- what Airflow calls

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait here, by poking; or in the triggerer if `self.deferrable`."""
        with self.__ending(context):
            return self.__end(self.__begin(context).start())

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 - Airflow's signature
        """Check the status once. Retryable errors are only raised after too many of them in a row."""
        from airflow.sdk import PokeReturnValue

        from sluice_provider.http.polling import PollSchedule

        assert self.__run is not None  # noqa: S101 - `execute` makes it
        work, self.__seen = self.__seen, None
        try:
            work = work or self.hook.run(self.__poll(self.__run))
        except SluiceError as error:
            self.__failures += 1
            if not error.retryable or self.__failures >= PollSchedule().max_failures:
                raise
            self.log.warning("Status check failed (%d in a row), polling continues: %s", self.__failures, error)
            return PokeReturnValue(False)
        self.__failures = 0
        return PokeReturnValue(work.over, work if work.over else None)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Resume after the deferral, with the trigger's event."""
        with self.__ending(context):
            return self.__end(self.__begin(context).resume(event))

    def execute_after_trigger_death(self, context: Context, reason: str) -> dict[str, Any]:
        """Resume after the trigger ended without an event."""
        with self.__ending(context):
            return self.__end(self.__begin(context).resume_after_trigger_death(reason))

    # --- one worker run

    @contextmanager
    def __ending(self, context: Context) -> Iterator[None]:
        from sluice_provider.runtime.failures import shown_on_page

        with self.__skipping(), fail_for_good(True), shown_on_page(self, context, lambda: self.__run):
            yield

    def __begin(self, context: Context) -> JobRun:
        from sluice_provider.jobs.lifecycle import Options
        from sluice_provider.runtime.run import JobRun

        options = Options(deferrable=self.deferrable, timeout=min(self.timeout, MAX_SECONDS), watch_only=True)
        self.__run = JobRun(self, self.job(), context, options, lambda: self.__wait_here(context))
        return self.__run

    def __wait_here(self, context: Context) -> JobGroup:
        """With Airflow's own loop, which handles poke and reschedule, timeouts and backoff."""
        self.__seen = self.__run.last_work if self.__run is not None else None
        work: JobGroup = super().execute(context)
        return work

    def __poll(self, run: JobRun) -> Flow[JobGroup]:
        from sluice_provider.jobs.polling import JobPoller
        from sluice_provider.jobs.watched_job import PHASE

        ref, record = run.execution.ref, run.execution.record
        since = record.phase(PHASE).submitted_at if record else time.time()
        work = yield from JobPoller(self.hook.job_type(ref.job_type), ref, lambda: time.time() - since).poll()
        run.observe(ref, work)
        return work

    def __end(self, record: JobRecord) -> dict[str, Any]:
        assert self.__run is not None  # noqa: S101 - begun before
        self.job_url = self.job_url or str(record.summary.get("url") or "")
        result = self.__run.spec.manifest(record)
        self.hook.close()
        return result

    @contextmanager
    def __skipping(self) -> Iterator[None]:
        """Airflow handles `soft_fail` only where it pokes and where it resumes, so it is handled here for all modes.
        Our `TimedOut` becomes a sensor's timeout."""
        try:
            yield
        except (compat.AirflowFailException, compat.AirflowSensorTimeout, TimedOut) as error:
            if self.soft_fail:
                raise compat.AirflowSkipException(f"skipped, as soft_fail is set: {error}") from error
            if isinstance(error, TimedOut):
                raise compat.AirflowSensorTimeout(str(error)) from error
            raise
