"""The base class of all operators that submit a job. The job itself is described by a `JobSpec`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sluice_provider.compat import HAVE_RETRY_POLICY, default_deferrable
from sluice_provider.errors import InvalidInput
from sluice_provider.runtime.retry import DEFAULT
from sluice_provider.runtime.task import RemoteJobTask, fail_for_good, seconds

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from sluice_provider.jobs.record import JobRecord
    from sluice_provider.jobs.spec import JobSpec
    from sluice_provider.lineage import Datasets
    from sluice_provider.runtime.run import JobRun

MAX_LINEAGE_IDS = 100


def _check_input(wanted: bool) -> None:
    """:raises InvalidInput: before anything is submitted, if this Airflow has no tasks that wait for an answer"""
    from sluice_provider.compat.human_input import can_wait_for_input

    if wanted and not can_wait_for_input():
        raise InvalidInput(
            "on_unknown_outcome='ask' needs Airflow 3.3, whose Required Actions can resume a waiting task; set it to "
            "'fail' to decide by marking the task as success or clearing it"
        )


class RemoteJobOperator(RemoteJobTask):
    """Submit a job to a service, wait until it is over, and return its result.

    To write your own, override `job` and, if you use OpenLineage, `datasets`. Everything else is final.

    Returns the manifest of the job's spec. If anything was submitted more than once, also `replaced_jobs`, the 20
    latest jobs that a later one replaced: `[{"id": str or None, "state", "rows"}]`, with `rows` only where the service
    reports how many it had processed; and `rows_maybe_twice`, the sum of these. With `wait_for_completion=False`,
    `state` is "running", and `ended_at` and `seconds` are None. Times are ISO 8601 in UTC.

    :param wait_for_completion: wait until the job is over; else return as soon as the service has accepted it
    :param deferrable: wait in the triggerer, holding no worker slot (default: Airflow's `default_deferrable`)
    :param durable: a retry reconnects to the job that an earlier try submitted; with False it submits again. Needs
        Airflow 3.3; before, a retry always submits again
    :param poll_interval: seconds between two status checks at the most; a young job is polled more often
    :param timeout: seconds after the submission until the wait is given up, however often the task is retried
    :param cancel_on_kill: cancel the job when a user ends or clears the task, where the service can
    :param dry_run: read and check everything, log what would be submitted, with the first rows as they would be sent,
        and submit nothing. The result then has the state "planned", and numbers
    :param on_unknown_outcome: if only a person can find out what became of a request without a response: `fail` without
        a retry, or `ask`: wait for the answer in Airflow's Required Actions, holding no slot (Airflow 3.3)
    :param retry_policy: Airflow 3.3: by default an error that is not retryable is not retried, and the delay before
        the next try is the one that the service asks for
    :raises InvalidInput: before anything is submitted
    :raises OutcomeUnknown: a request got no response, and whether it was applied cannot be determined
    :raises JobFailed: the job failed or was cancelled, with the service's message
    :raises TimedOut: the job is not over `timeout` after its submission; it continues in the service
    """

    __supports_durable_execution = True

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        durable: bool = True,
        poll_interval: float | timedelta = 60.0,
        timeout: float | timedelta = timedelta(days=1),
        cancel_on_kill: bool = True,
        on_unknown_outcome: str = "fail",
        dry_run: bool = False,
        retry_policy: Any = DEFAULT,
        **kwargs: Any,
    ) -> None:
        if HAVE_RETRY_POLICY:
            kwargs["retry_policy"] = retry_policy
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.durable = durable
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.timeout = seconds(timeout, "timeout")
        self.cancel_on_kill = cancel_on_kill
        if on_unknown_outcome not in ("ask", "fail"):
            raise InvalidInput(f"on_unknown_outcome must be one of 'ask', 'fail', not {on_unknown_outcome!r}")
        self.on_unknown_outcome = on_unknown_outcome
        self._dry_run = dry_run  # `dry_run` itself is a method of every operator
        self.result: dict[str, Any] = {}
        self.__run: JobRun | None = None
        self.__ids: list[str] = []

    # --- to override

    def job(self) -> JobSpec:
        """The job, by the rendered arguments."""
        raise NotImplementedError

    def datasets(self) -> Datasets:
        """For OpenLineage: the datasets that the task read and wrote; called once `result` is set."""
        from sluice_provider.lineage import Datasets

        return Datasets()

    # --- what Airflow calls

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit, or reconnect; then wait here, or in the triggerer if `self.deferrable`."""
        with self.__worker_run(context, "nothing was submitted: ") as run:
            if self._dry_run and not run.spec.dry_run_in_service:
                return self.__finish(context, self.__plan(run.spec))
            return self.__end(context, run.start())

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Resume after the deferral, with the trigger's event."""
        with self.__worker_run(context) as run:
            return self.__end(context, run.resume(event))

    def execute_answered(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Resume with a person's answer about a request whose outcome is unknown."""
        with self.__worker_run(context) as run:
            return self.__end(context, run.answered(event))

    def execute_after_trigger_death(self, context: Context, reason: str) -> dict[str, Any]:
        """Resume after the trigger ended without an event."""
        with self.__worker_run(context) as run:
            return self.__end(context, run.resume_after_trigger_death(reason))

    def on_kill(self) -> None:
        """Cancel the job if a user ended the task; let it continue if the platform did."""
        if self.__run is not None:
            self.__run.terminate()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Called by OpenLineage, by this name, once the task is over."""
        from sluice_provider.lineage import lineage

        del task_instance
        address = self.hook.client_config(self.hook.fields()).base_url.rstrip("/")
        return lineage(self.service, address, self.__ids, self.datasets())

    # --- a dry run

    def dry_run(self) -> None:
        """Check everything and log what would be submitted: the same without a run, with arguments as they are."""
        spec = self.job()
        with closing(spec):
            self.__plan(spec)
        self.hook.close()

    def __plan(self, spec: JobSpec) -> dict[str, Any]:
        spec.log = self.log
        spec.validate()
        if (reading := spec.read_before_input()) is not None:
            self.hook.run(reading)
        spec.fingerprint()
        plan = {} if spec.dry_run_in_service else self.hook.run(spec.preview())
        self.log.info("Dry run: everything is valid, and nothing was submitted to %s", self.hook.hook_name)
        return {"service": spec.service, "state": "planned", **plan}

    # --- one worker run

    @contextmanager
    def __worker_run(self, context: Context, prefix: str = "") -> Iterator[JobRun]:
        """However it ends, the input's temporary files are closed."""
        from sluice_provider.jobs.lifecycle import Options
        from sluice_provider.runtime.failures import shown_on_page
        from sluice_provider.runtime.run import JobRun

        request_input = self.on_unknown_outcome == "ask"
        options = Options(
            self.wait_for_completion, self.deferrable, self.timeout, self.durable, request_input=request_input
        )
        self.__run = None
        with (
            fail_for_good(not HAVE_RETRY_POLICY),
            shown_on_page(self, context, lambda: self.__run, prefix=prefix),
        ):
            _check_input(request_input)
            self.__run = JobRun(self, self.job(), context, options)
            with closing(self.__run.spec):
                yield self.__run

    def __end(self, context: Context, record: JobRecord) -> dict[str, Any]:
        from sluice_provider.redaction import redact_value
        from sluice_provider.runtime.run import replaced_jobs

        assert self.__run is not None  # noqa: S101 - begun before
        spec = self.__run.spec
        ids = dict.fromkeys(submission.id for phase in record.phases for submission in phase.submissions)
        self.__ids = list(ids)[:MAX_LINEAGE_IDS]
        self.job_url = self.job_url or str(record.summary.get("url") or "")
        result = redact_value({**spec.manifest(record), **replaced_jobs(record)})
        return self.__finish(context, {**result, "url": self.job_url} if self.operator_extra_links else result)

    def __finish(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        self.result = result
        self.log.info("Result: %s", json.dumps(result))
        for outlet in self.outlets:
            if hasattr(outlet, "uri"):
                context["outlet_events"][outlet].extra.update(result)
        self.hook.close()
        return result
