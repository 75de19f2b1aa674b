"""How FinSpace's responses are read: its error codes, its timestamps, and bodies that must be JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from sluice_provider.apis.payloads import JsonObject
from sluice_provider.errors import (
    AuthenticationFailed,
    PermissionDenied,
    RateLimited,
    SluiceError,
    StatusError,
    UnexpectedResponse,
)
from sluice_provider.http.flow import Request, Response
from sluice_provider.http.responses import error_from
from sluice_provider.redaction import excerpt

ERRORS_BY_CODE: Mapping[str, type[StatusError]] = {
    "AccessDeniedException": PermissionDenied,
    **dict.fromkeys(
        (
            "ExpiredTokenException",
            "IncompleteSignatureException",
            "InvalidSignatureException",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ),
        AuthenticationFailed,
    ),
}
"""AWS answers all of these with status 403, also if the credentials are invalid or missing (Common Errors)."""


def error_from_response(request: Request, response: Response) -> SluiceError | None:
    return _error_from(request, response, transient_codes=("ThrottlingException",))


def changeset_error_from_response(request: Request, response: Response) -> SluiceError | None:
    """As `error_from_response`; here the exceeded limit is that of changesets in progress, ten by default (AWS General
    Reference), which is transient."""
    return _error_from(request, response, transient_codes=("ThrottlingException", "LimitExceededException"))


def _error_from(request: Request, response: Response, transient_codes: tuple[str, ...]) -> SluiceError | None:
    """The error for the response's error code. Its message contains the code and the request id, for AWS's support.

    :param transient_codes: error codes after which the request may be repeated later
    """
    error = error_from(request, response)
    if not isinstance(error, StatusError):
        return error
    code = _error_code(response) or error.code
    transient = code in transient_codes
    error_type: type[StatusError] = RateLimited if transient else ERRORS_BY_CODE.get(code or "", type(error))
    details = ", ".join(text for text in (code, error.request_id and f"request {error.request_id}") if text)
    return error_type(
        f"{error} ({details})" if details else str(error),
        status=error.status,
        code=code,
        body=error.body,
        retry_after=error.retry_after,
        request_id=error.request_id,
    )


def _error_code(response: Response) -> str:
    """The protocol (rest-json) has it in a header, before a colon; or in the body, after a `#`."""
    header = response.headers.get("x-amzn-errortype", "")
    if header:
        return header.partition(":")[0]
    try:
        body = response.json()
    except UnexpectedResponse:
        return ""
    found = (body.get("code") or body.get("__type") or "") if isinstance(body, dict) else ""
    return str(found).rpartition("#")[2]


def parse_timestamp(value: object) -> datetime:
    """The service sends seconds since 1970, the documentation says milliseconds, and botocore also accepts ISO 8601.

    :raises UnexpectedResponse: it is none of these
    """
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value.replace("Z", "+00:00"))
            return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    raise UnexpectedResponse(f"FinSpace returned an invalid timestamp: {excerpt(value, 100)}")


def with_timestamps(raw: JsonObject) -> JsonObject:
    """The object with its timestamps as datetimes."""
    if not isinstance(raw, dict):
        raise UnexpectedResponse(
            f"FinSpace returned a listing with an item that is not a JSON object: {excerpt(raw, 200)}"
        )
    return {
        name: parse_timestamp(value) if name.endswith("Timestamp") and value is not None else value
        for name, value in raw.items()
    }
