"""Every exception of this package, grouped by who must act.

    SluiceError                   retry
    ├── InvalidInput              no     the DAG's author: an argument, a record or a file is wrong; nothing was sent
    │   └── InvalidConnection     no     a field of the Airflow connection is missing or wrong; nothing was sent
    ├── Unreachable               yes    no response: network, DNS, TLS, timeout
    ├── AddressRefused            no     a link of the service leads to a host that the connection does not permit
    ├── ClientError               no     the service rejected the request (4xx), with its reason
    │   ├── AuthenticationFailed  no     401: the credentials are wrong or expired
    │   ├── PermissionDenied      no     403: the credentials are valid but may not do this
    │   ├── NotFound              no     404: an id in the request does not exist in the service
    │   ├── Conflict              no     409: the request conflicts with what the service already holds
    │   ├── TooLarge              no     413: the request is over the service's size limit
    │   └── RateLimited           yes    429: too many requests; `retry_after` says when to try again
    ├── ServerError               yes    the service failed (5xx)
    ├── UnexpectedResponse        yes    a response, or an event, does not have the documented shape
    │   └── ResponseTooLarge      no     a response or listing is longer than what is read into memory
    ├── OutcomeUnknown            no     submitted without a response: the job may or may not have started
    ├── SafetyLimitExceeded       no     continuing would exceed a limit that the DAG's author set
    ├── TimedOut                  yes    the job had not ended at its deadline, and may still be running
    └── JobFailed                 yes    the job failed or was cancelled
        └── RowsRejected          no     the job ended, but the service rejected rows

Attributes of every error:

    retryable      whether a retry with the same input can help (the column "retry"). A single error may know better
                   than its class: a `JobFailed` is not retryable if the service says that it would fail again. An error
                   that is not retryable ends the task, whatever its `retries`
    maybe_applied  whether the service may have applied the request that this error is about
    retry_after    seconds after which the service wants the next request, or None
    context        service, address and connection, once the hook has added them to the message

and of those that stand for a response (`ClientError`, `ServerError` and their subclasses):

    status         the HTTP status
    code           the service's own error code, or None
    body           the beginning of the response body
    request_id     the service's name for this request, for its support, or None
    path           which part of the request it is about, for services that say so (GraphQL), or ""

Every error pickles (Airflow moves exceptions between processes). No message, attribute or chained exception holds a
secret.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluice_provider.redaction import redact_message


class SluiceError(Exception):
    """The root: catch this to catch everything that this package raises."""

    retryable: bool = True
    """Whether the same request with the same input may succeed later."""

    maybe_applied: bool = True
    """Whether the service may have applied the request, in this attempt or in an earlier one that got no response."""

    retry_after: float | None = None
    """Seconds after which the service wants the next request, if it said so."""

    def __init__(self, *args: object) -> None:
        """Every message is redacted here, as it may repeat what a service said."""
        super().__init__(*(redact_message(each) if isinstance(each, str) else each for each in args))

    def add_context(self, context: str, hint: str = "") -> None:
        """Complete the message, once.

        :param context: which service, address and connection it is about
        :param hint: what to do
        """
        if not hasattr(self, "context"):
            self.context = context
            self.args = (f"{self} ({context})" + (f"; {hint}" if hint else ""),)


class InvalidInput(SluiceError, ValueError):
    """An argument, a record or a file is wrong. Nothing was sent."""

    retryable = False
    maybe_applied = False


class InvalidConnection(InvalidInput):
    """A field of the Airflow connection is missing or wrong. Nothing was sent."""


class Unreachable(SluiceError):
    """No response came."""

    def __init__(self, message: str, *, maybe_applied: bool = True) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class AddressRefused(SluiceError):
    """A link or redirect of the service leads to a host or address that the connection does not permit. Nothing was
    sent there; if it is where results are kept, the field `result_hosts` of the connection permits it."""

    retryable = False
    maybe_applied = False


class StatusError(SluiceError):
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
        self.code = redact_message(code) if code else code
        self.path = redact_message(path)
        self.body = redact_message(body)
        self.retry_after = retry_after
        self.request_id = redact_message(request_id) if request_id else request_id


class ClientError(StatusError):
    """The service rejected the request (4xx)."""

    retryable = False
    maybe_applied = False


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
    """429: too many requests. The request was not applied; later it can be."""

    retryable = True


class ServerError(StatusError):
    """The service failed (5xx)."""


class UnexpectedResponse(SluiceError):
    """A response or an event does not have the documented shape."""


class ResponseTooLarge(UnexpectedResponse):
    """A response, its headers, or a listing is longer than what is read. The message says how much that is."""

    retryable = False


class OutcomeUnknown(SluiceError):
    """A job was submitted and no response came: it may or may not have started. The message says what to look for."""

    retryable = False


class SafetyLimitExceeded(SluiceError):
    """Continuing would exceed a limit that the DAG's author set. The message names the numbers."""

    retryable = False


class TimedOut(SluiceError):
    """The job had not ended at its deadline. It may still be running: the message says what state it was last in."""


class JobFailed(SluiceError):
    """The job failed or was cancelled; in the service's own words."""

    maybe_applied = False


class RowsRejected(JobFailed):
    """The job ended and the service rejected rows, and `on_rejected_rows` says that the task fails then."""

    retryable = False


CLIENT_ERRORS: Mapping[int, type[ClientError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
}
