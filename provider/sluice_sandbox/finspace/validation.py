"""Input validation by the constraints of FinSpace's service model (API version 2021-03-12), in AWS's words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from sluice_sandbox.service import ErrorResponse, Json

if TYPE_CHECKING:
    from collections.abc import Mapping


class TextRule(NamedTuple):
    """Minimum and maximum length of a string, and its pattern."""

    min_length: int
    max_length: int
    pattern: str = ""


ENVIRONMENT = TextRule(1, 32, r".*\S.*")
ID = TextRule(1, 26, r"^[a-zA-Z0-9]{1,26}$")
DATABASE = TextRule(3, 63, r"^[a-zA-Z0-9][a-zA-Z0-9-_]*[a-zA-Z0-9]$")
CHANGESET = TextRule(1, 26, r"^[a-zA-Z0-9]+$")
DB_PATH = TextRule(1, 1025, r"^(\*)*[\/\?\*]([^\/]+\/){0,2}[^\/]*$")
S3_PATH = TextRule(9, 1093, r"^s3:\/\/[a-z0-9][a-z0-9-.]{1,61}[a-z0-9]\/([^\/]+\/)*[^\/]*$")
TOKEN = TextRule(1, 64, r"^[a-zA-Z0-9-]+$")
DESCRIPTION = TextRule(1, 1000, r"^[a-zA-Z0-9. ]{1,1000}$")
TAG_KEY = TextRule(1, 128, r"^(?!aws:)[a-zA-Z+-=._:/]+$")
TAG_VALUE = TextRule(1, 256, r"^[a-zA-Z0-9+-=._:@ ]+$")


def error(status: int, error_type: str, message: str, **more: str) -> Json:
    """An error response of the rest-json protocol: the type in a header, the message in the body."""
    response = Json({"message": message, **more}, status)
    response.headers["x-amzn-errortype"] = error_type
    return response


def abort(status: int, error_type: str, message: str, **more: str) -> NoReturn:
    """Answer with an error."""
    raise ErrorResponse(error(status, error_type, message, **more))


def invalid(message: str) -> NoReturn:
    """Answer that the input violates a constraint."""
    abort(400, "ValidationException", message)


def _constraint_error(value: object, name: str, rule: str) -> NoReturn:
    invalid(
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must {rule}"
    )


def check_text(value: object, name: str, rule: TextRule) -> str:
    """A string within its limits."""
    if value is None:
        _constraint_error("null", name, "not be null")
    if not isinstance(value, str):
        _constraint_error(value, name, "be a string")
    if len(value) < rule.min_length:
        _constraint_error(value, name, f"have length greater than or equal to {rule.min_length}")
    if len(value) > rule.max_length:
        _constraint_error(value, name, f"have length less than or equal to {rule.max_length}")
    if rule.pattern and not re.fullmatch(rule.pattern, value):
        _constraint_error(value, name, f"satisfy regular expression pattern: {rule.pattern}")
    return value


def read_body(body: bytes) -> dict[str, Any]:
    """A JSON object; an empty body counts as an empty object."""
    try:
        content = json.loads(body or b"{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        abort(400, "SerializationException", "Unexpected content in the body of the request")
    return content


def check_requests(value: object) -> list[dict[str, Any]]:
    """The change requests in order, 1 to 32."""
    if not isinstance(value, list) or not 1 <= len(value) <= 32:
        rule = "have length greater than or equal to 1 and less than or equal to 32"
        _constraint_error("null" if value is None else "a list", "changeRequests", rule)
    for number, each in enumerate(value, 1):
        _check_request(each, f"changeRequests.{number}.member")
    return value


def _check_request(each: object, name: str) -> None:
    if not isinstance(each, dict):
        _constraint_error(each, name, "be a structure")
    if each.get("changeType") not in ("PUT", "DELETE"):
        _constraint_error(each.get("changeType"), f"{name}.changeType", "satisfy enum value set: [DELETE, PUT]")
    path = check_text(each.get("dbPath"), f"{name}.dbPath", DB_PATH)
    if not any(wildcard in path for wildcard in "*?") and not (path.startswith("/") and path.endswith("/")):
        # A rule of the FinSpace User Guide that the pattern does not express; the message is a guess.
        invalid(f"The dbPath of {name} must start and end with a slash: {path}")
    if each["changeType"] == "PUT" and each.get("s3Path") is None:
        invalid(f"s3Path is required for change type PUT at '{name}'")
    if each.get("s3Path") is not None:
        check_text(each["s3Path"], f"{name}.s3Path", S3_PATH)


def check_tags(tags: object) -> None:
    """A map of 1 to 50 tags."""
    if not isinstance(tags, dict) or not 1 <= len(tags) <= 50:
        _constraint_error(tags, "tags", "have between 1 and 50 entries")
    for key, value in tags.items():
        check_text(key, "tags", TAG_KEY)
        check_text(value, f"tags.{key}", TAG_VALUE)


def page_size(query: Mapping[str, str], server_limit: int, limit: int | None = 100) -> int:
    """The size of a page: `maxResults`, but not more than `server_limit`."""
    text = query.get("maxResults")
    if text is None:
        return server_limit
    if not text.isascii() or not text.isdigit():
        abort(400, "SerializationException", "maxResults is not a number")
    if limit is not None and int(text) > limit:
        _constraint_error(text, "maxResults", f"have value less than or equal to {limit}")
    return min(int(text), server_limit) or server_limit
