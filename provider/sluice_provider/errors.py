"""Every exception of the package, split by who must act.

    SluiceError
    ├── InvalidInput              the DAG's author: an argument, a record or a file is wrong; nothing was sent
    │   └── InvalidConnection     whoever keeps the Airflow connection: a field is missing or wrong; nothing was sent
    ├── Unreachable           nobody answered: network, DNS, TLS, timeout
    ├── ClientError               the remote said no (4xx), and why
    │   ├── AuthenticationFailed  401: the credentials are wrong or expired
    │   ├── PermissionDenied        403: the credentials are known but may not do this
    │   ├── NotFound          404: an id in the call does not exist there
    │   ├── Conflict          409: it clashes with what is there already
    │   ├── TooLarge          413: the request is over the remote's size limit
    │   └── RateLimited         429: too many requests; `retry_after` says when to come back
    ├── ServerError                the remote failed (5xx)
    ├── UnexpectedResponse         an answer, or an event, is not of the promised shape
    ├── OutcomeUnknown               asked and never answered: the work may or may not have begun
    ├── SafetyLimitExceeded             going on would go beyond a limit that the author set, so it was not gone on
    ├── TimedOut              the job outlived its deadline and may still be running
    └── JobFailed                the job ended badly
        └── RowsRejected      the job ended, but the remote turned rows away

Every error pickles (Airflow moves exceptions between processes) and `hopeless` says whether trying the very same
thing again can be expected to help. No message, attribute or chained exception holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping


class SluiceError(Exception):
    """The root: catch this to catch everything that this package raises."""

    hopeless: bool = False
    """True when the same call with the same input will fail again, so that a retry only costs time."""

    retry_after: float | None = None
    """Seconds after which the remote asked to be called again, if it did."""

    acted: bool = False
    """An earlier attempt of the same call was not answered, so it may have been done, whatever this error says."""


class InvalidInput(SluiceError, ValueError):
    """What the author gave cannot be sent. Nothing was sent."""

    hopeless = True


class InvalidConnection(InvalidInput):
    """A field of the Airflow connection is missing or wrong. Nothing was sent."""


class Unreachable(SluiceError):
    """Nobody answered. `sent` tells whether the request may have reached the remote."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Answered(SluiceError):
    """The remote answered, with a status that is an error. Raised only as one of its kinds.

    :param path: which part of the request it is about, for remotes that say so (GraphQL)
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
    """The remote understood and said no (4xx)."""

    hopeless = True


class AuthenticationFailed(ClientError):
    """401: the credentials are wrong, expired or revoked."""


class PermissionDenied(ClientError):
    """403: these credentials may not do this."""


class NotFound(ClientError):
    """404: an id in the call is unknown to the remote."""


class Conflict(ClientError):
    """409: the call clashes with what the remote already holds."""


class TooLarge(ClientError):
    """413: the request is over the remote's size limit."""


class RateLimited(ClientError):
    """429: too many requests. Nothing was done; later it will be."""

    hopeless = False


class ServerError(Answered):
    """The remote failed (5xx). `sent` is False when it failed before our request could have been acted on."""

    sent: bool = True


class UnexpectedResponse(SluiceError):
    """An answer or an event is not of the promised shape."""


class OutcomeUnknown(SluiceError):
    """The remote was asked and no answer came, so the work may or may not have begun."""

    hopeless = True


class SafetyLimitExceeded(SluiceError):
    """Going on would go beyond a limit that the author set, so it was not gone on. The message names the numbers."""

    hopeless = True


class TimedOut(SluiceError):
    """The job outlived its deadline. It may still be running: the message says what became of it."""


class JobFailed(SluiceError):
    """The job ended badly, in the remote's own words."""


class RowsRejected(JobFailed):
    """The job ended and the remote turned rows away, which the author said must not pass."""

    hopeless = True


REFUSALS: Mapping[int, type[ClientError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
}
