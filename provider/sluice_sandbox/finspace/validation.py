"""What FinSpace refuses, by the constraints in its service model (API version 2021-03-12), in AWS's usual words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from sluice_sandbox.service import ErrorResponse, Json

if TYPE_CHECKING:
    from collections.abc import Mapping


class Text(NamedTuple):
    """How long a text may be, and its pattern."""

    least: int
    most: int
    pattern: str = ""


ENVIRONMENT = Text(1, 32, r".*\S.*")
ID = Text(1, 26, r"^[a-zA-Z0-9]{1,26}$")
DATABASE = Text(3, 63, r"^[a-zA-Z0-9][a-zA-Z0-9-_]*[a-zA-Z0-9]$")
CHANGESET = Text(1, 26, r"^[a-zA-Z0-9]+$")
DB_PATH = Text(1, 1025, r"^(\*)*[\/\?\*]([^\/]+\/){0,2}[^\/]*$")
S3_PATH = Text(9, 1093, r"^s3:\/\/[a-z0-9][a-z0-9-.]{1,61}[a-z0-9]\/([^\/]+\/)*[^\/]*$")
TOKEN = Text(1, 64, r"^[a-zA-Z0-9-]+$")
DESCRIPTION = Text(1, 1000, r"^[a-zA-Z0-9. ]{1,1000}$")
TAG_KEY = Text(1, 128, r"^(?!aws:)[a-zA-Z+-=._:/]+$")
TAG_VALUE = Text(1, 256, r"^[a-zA-Z0-9+-=._:@ ]+$")


def error(status: int, kind: str, message: str, **more: str) -> Json:
    """An error as the rest-json protocol has it: the type in a header, the words in the body."""
    response = Json({"message": message, **more}, status)
    response.headers["x-amzn-errortype"] = kind
    return response


def refuse(status: int, kind: str, message: str, **more: str) -> NoReturn:
    """Say no."""
    raise ErrorResponse(error(status, kind, message, **more))


def invalid(message: str) -> NoReturn:
    """The input does not satisfy the constraints."""
    refuse(400, "ValidationException", message)


def _unfit(value: object, name: str, rule: str) -> NoReturn:
    invalid(
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must {rule}"
    )


def check_text(value: object, name: str, rule: Text) -> str:
    """A text within its limits; absent is null."""
    if value is None:
        _unfit("null", name, "not be null")
    if not isinstance(value, str):
        _unfit(value, name, "be a string")
    if len(value) < rule.least:
        _unfit(value, name, f"have length greater than or equal to {rule.least}")
    if len(value) > rule.most:
        _unfit(value, name, f"have length less than or equal to {rule.most}")
    if rule.pattern and not re.fullmatch(rule.pattern, value):
        _unfit(value, name, f"satisfy regular expression pattern: {rule.pattern}")
    return value


def read_body(body: bytes) -> dict[str, Any]:
    """A JSON object; nothing at all is an empty one."""
    try:
        content = json.loads(body or b"{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        refuse(400, "SerializationException", "Unexpected content in the body of the request")
    return content


def check_requests(value: object) -> list[dict[str, Any]]:
    """The change requests, in order."""
    if not isinstance(value, list) or not 1 <= len(value) <= 32:
        rule = "have length greater than or equal to 1 and less than or equal to 32"
        _unfit("null" if value is None else "a list", "changeRequests", rule)
    for number, each in enumerate(value, 1):
        _check_request(each, f"changeRequests.{number}.member")
    return value


def _check_request(each: object, name: str) -> None:
    if not isinstance(each, dict):
        _unfit(each, name, "be a structure")
    if each.get("changeType") not in ("PUT", "DELETE"):
        _unfit(each.get("changeType"), f"{name}.changeType", "satisfy enum value set: [DELETE, PUT]")
    path = check_text(each.get("dbPath"), f"{name}.dbPath", DB_PATH)
    if not any(wild in path for wild in "*?") and not (path.startswith("/") and path.endswith("/")):
        # A FinSpace User Guide rule that the model's pattern does not show; its words here are a guess.
        invalid(f"The dbPath of {name} must start and end with a slash: {path}")
    if each["changeType"] == "PUT" and each.get("s3Path") is None:
        invalid(f"s3Path is required for change type PUT at '{name}'")
    if each.get("s3Path") is not None:
        check_text(each["s3Path"], f"{name}.s3Path", S3_PATH)


def check_tags(tags: object) -> None:
    """A map of 1 to 50."""
    if not isinstance(tags, dict) or not 1 <= len(tags) <= 50:
        _unfit(tags, "tags", "have between 1 and 50 entries")
    for key, value in tags.items():
        check_text(key, "tags", TAG_KEY)
        check_text(value, f"tags.{key}", TAG_VALUE)


def page_size(query: Mapping[str, str], most: int, limit: int | None = 100) -> int:
    """How many to list: what is asked for, and never more than the service gives."""
    text = query.get("maxResults")
    if text is None:
        return most
    if not text.isascii() or not text.isdigit():
        refuse(400, "SerializationException", "maxResults is not a number")
    if limit is not None and int(text) > limit:
        _unfit(text, "maxResults", f"have value less than or equal to {limit}")
    return min(int(text), most) or most
