"""Every exception of the package, split by who must act.

    SluiceError                   retry
    ├── InvalidInput              no     the DAG's author: an argument, a record or a file is wrong; nothing was sent
    │   └── InvalidConnection     no     a field of the Airflow connection is missing or wrong; nothing was sent
    ├── Unreachable               yes    no response: network, DNS, TLS, timeout
    ├── ClientError               no     the service refused the request (4xx), with its reason
    │   ├── AuthenticationFailed  no     401: the credentials are wrong or expired
    │   ├── PermissionDenied      no     403: the credentials are valid but may not do this
    │   ├── NotFound              no     404: an id in the request does not exist there
    │   ├── Conflict              no     409: the request conflicts with what is there already
    │   ├── TooLarge              no     413: the request is over the service's size limit
    │   └── RateLimited           yes    429: too many requests; `retry_after` says when to try again
    ├── ServerError               yes    the service failed (5xx)
    ├── UnexpectedResponse        yes    a response, or an event, is not of the documented shape
    ├── OutcomeUnknown            no     submitted, without a response: the job may or may not have begun
    ├── SafetyLimitExceeded       no     going on would exceed a limit that the DAG's author set
    ├── TimedOut                  yes    the job is not over at its deadline, and may still be running
    └── JobFailed                 yes    the job failed, or was cancelled
        └── RowsRejected          no     the job ended, but the service rejected rows

`retry` is whether a retry with the same input can help: `not hopeless`. A single error may know better than its class:
a `JobFailed` is hopeless if the service says that the same job would fail again. A hopeless error ends the task,
whatever its `retries`.

Every error pickles (Airflow moves exceptions between processes). No message, attribute or chained exception holds a
secret.
"""

from __future__ import annotations

from collections.abc import Mapping


class SluiceError(Exception):
    """The root: catch this to catch everything that this package raises."""

    hopeless: bool = False
    """True when the same request with the same input will fail again, so that a retry only costs time."""

    retry_after: float | None = None
    """Seconds after which the service wants the next request, if it said so."""

    acted: bool = False
    """An earlier attempt of the same request got no response, so it may have been applied, whatever this error says."""

    @property
    def maybe_applied(self) -> bool:
        """Whether the request that this error is about may have been applied by the service."""
        refused = isinstance(self, (ClientError, InvalidInput, JobFailed)) or not getattr(self, "sent", True)
        return self.acted or not refused


class InvalidInput(SluiceError, ValueError):
    """An argument, a record or a file is wrong. Nothing was sent."""

    hopeless = True


class InvalidConnection(InvalidInput):
    """A field of the Airflow connection is missing or wrong. Nothing was sent."""


class Unreachable(SluiceError):
    """No response came. `sent` is whether the request may have reached the service."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Answered(SluiceError):
    """The service responded with an error status. Raised only as one of its subclasses.

    :param path: which part of the request it is about, for services that say so (GraphQL)
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        body: str = "",
        retry_after: float | None = None,
        request_id: str | None = None,
        path: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.path = path
        self.body = body
        self.retry_after = retry_after
        self.request_id = request_id


class ClientError(Answered):
    """The service refused the request (4xx)."""

    hopeless = True


class AuthenticationFailed(ClientError):
    """401: the credentials are wrong, expired or revoked."""


class PermissionDenied(ClientError):
    """403: these credentials may not do this."""


class NotFound(ClientError):
    """404: an id in the request does not exist in the service."""


class Conflict(ClientError):
    """409: the request conflicts with what the service already holds."""


class TooLarge(ClientError):
    """413: the request is over the service's size limit."""


class RateLimited(ClientError):
    """429: too many requests. Nothing was done; later it will be."""

    hopeless = False


class ServerError(Answered):
    """The service failed (5xx). `sent` is False when it failed before the request could have been applied."""

    sent: bool = True


class UnexpectedResponse(SluiceError):
    """A response or an event is not of the documented shape."""


class OutcomeUnknown(SluiceError):
    """A job was submitted and no response came, so it may or may not have begun. The message says what to look for."""

    hopeless = True


class SafetyLimitExceeded(SluiceError):
    """Going on would exceed a limit that the DAG's author set. The message names the numbers."""

    hopeless = True


class TimedOut(SluiceError):
    """The job is not over at its deadline. It may still be running: the message says how it was seen last."""


class JobFailed(SluiceError):
    """The job failed, or was cancelled; in the service's own words."""


class RowsRejected(JobFailed):
    """The job ended and the service rejected rows, which `on_rejected_rows` does not let pass."""

    hopeless = True


REFUSALS: Mapping[int, type[ClientError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
}
