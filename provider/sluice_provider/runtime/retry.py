"""Whether and when a failed try is retried: the default `retry_policy` of this package's operators (Airflow 3.3).

An error that is not retryable ends the task now, whatever `retries` says; a service's Retry-After sets the delay before
the next try; everything else is left to the task's own settings.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sluice_provider.errors import SluiceError

if TYPE_CHECKING:
    from sluice_provider.compat import RetryDecision


class SluiceRetryPolicy:
    """Reads `retryable` and `retry_after` off the package's own errors.

    It has the methods of Airflow's base class without inheriting from it: importing that is slow for every DAG file,
    and only a failing task uses it.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        from sluice_provider.compat import RetryDecision

        if not isinstance(exception, SluiceError):
            return RetryDecision.default()
        if not exception.retryable:
            return RetryDecision.fail(
                f"{type(exception).__name__}: not retryable, as the next try would fail the same way"
            )
        if exception.retry_after is not None:
            delay = timedelta(seconds=exception.retry_after)
            return RetryDecision.retry(delay, f"the service asked for a delay of {delay} before the next request")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> SluiceRetryPolicy:  # noqa: ARG003 - it has no settings
        return cls()


DEFAULT = SluiceRetryPolicy()
