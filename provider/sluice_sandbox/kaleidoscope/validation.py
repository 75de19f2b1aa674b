"""Input validation and errors of Kaleidoscope's backend, which is Fastify with Zod (a comment in kalbio's client).

Error bodies are Fastify's where it defines one; the messages of validation details are a guess in Zod's style.
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

from sluice_sandbox.service import ErrorResponse, Json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Issue = tuple[list[str | int], str]


def error(status: int, code: str, message: str, **more: Any) -> Json:
    """An error response: the vendor's client reads `code` and `message`, the rest is as in Fastify."""
    content = {"statusCode": status, "code": code, "error": HTTPStatus(status).phrase, "message": message, **more}
    return Json(content, status)


def abort(status: int, code: str, message: str, **more: Any) -> NoReturn:
    """Answer with an error."""
    raise ErrorResponse(error(status, code, message, **more))


def not_found(what: str, which: str | None) -> NoReturn:
    """Answer 404."""
    abort(404, "NOT_FOUND", f"{what} {which} not found")


def check_size(body: bytes, limit: int) -> None:
    """Fastify's bodyLimit (default 1 MiB) and its error."""
    if len(body) > limit:
        response = {
            "statusCode": 413,
            "code": "FST_ERR_CTP_BODY_TOO_LARGE",
            "error": "Payload Too Large",
            "message": "Request body is too large",
        }
        raise ErrorResponse(Json(response, 413))


def read_json(body: bytes, content_type: str) -> Any:
    """The parsed JSON body, as strict as JavaScript, with errors in Fastify's order."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        abort(415, "FST_ERR_CTP_INVALID_MEDIA_TYPE", f"Unsupported Media Type: {content_type or 'none'}")
    if not body:
        abort(400, "FST_ERR_CTP_EMPTY_JSON_BODY", "Body cannot be empty when content-type is set to 'application/json'")
    try:
        return json.loads(body, parse_constant=_finite, parse_float=_finite)
    except ValueError:
        message = "Body is not valid JSON but content-type is set to 'application/json'"
        abort(400, "FST_ERR_CTP_INVALID_JSON_BODY", message)


def _finite(text: str) -> float:
    """Not NaN and not Infinity, which Python would let pass."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def check_push(content: Any, *, by_field_id: bool) -> None:
    """Reject what is not the body of a push by name, or by field id (contracts of kalbio 0.2.0 up to 0.7.0)."""
    keys = "key_field_ids" if by_field_id else "key_field_names"
    members = _BY_ID if by_field_id else _BY_NAME
    check_members(content, members, keys, "data")
    _abort_on_issues(list(_row_issues(content["data"], content[keys])))


def check_members(
    content: Any, members: Mapping[str, Callable[[Any], str]], *required: str, at: Sequence[str | int] = ()
) -> None:
    """Reject what is not an object with these members; `at` is where in the body it is."""
    issues: list[Issue] = [([], "Invalid input: expected object")]
    if isinstance(content, dict):
        issues = [([name], "Unrecognized key") for name in content if name not in members]
        issues += [([name], "Required") for name in required if name not in content]
        issues += [([name], problem) for name, value in content.items() if (problem := members.get(name, _any)(value))]
    _abort_on_issues([([*at, *path], message) for path, message in issues])


def _abort_on_issues(issues: list[Issue]) -> None:
    if issues:
        path, message = issues[0]
        where = "/".join(["body", *map(str, path)])
        details = {"issues": [{"path": path, "message": message} for path, message in issues[:20]]}
        abort(400, "FST_ERR_VALIDATION", f"{where} {message}", details=details)


def check_rows(rows: list[Any], keys: list[str], at: str) -> None:
    """Reject rows without their key."""
    _abort_on_issues([([at, *path[1:]], message) for path, message in _row_issues(rows, keys)])


def _row_issues(rows: list[Any], keys: list[str]) -> Iterator[Issue]:
    """Rows need a value for every key field, and fields need a name."""
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            yield ["data", number], "Invalid input: expected object"
            continue
        for name in keys:
            value = row.get(name)
            if value is None or value == "" or isinstance(value, (dict, list)):
                yield ["data", number, name], "Required: a row needs a value for every key field"
        if "" in row:
            yield ["data", number, ""], "Too small: a field name has at least 1 character"


def _any(_value: Any) -> str:
    """Any value: record_view_ids by name is ignored by the server, even null (kalbio's deprecation note)."""
    return ""


def text(value: Any) -> str:
    """A string."""
    return "" if isinstance(value, str) else "Invalid input: expected string"


def texts(value: Any) -> str:
    """A list of strings."""
    valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return "" if valid else "Invalid input: expected array of strings"


def one_of(*choices: str) -> Callable[[Any], str]:
    """One of these strings."""
    expected = "|".join(f'"{each}"' for each in choices)
    return lambda value: "" if value in choices else f"Invalid option: expected one of {expected}"


def _keys(value: Any) -> str:
    if texts(value) or not value:
        return texts(value) or "Too small: expected at least 1 item"
    return "" if len(set(value)) == len(value) and all(value) else "Invalid input: key fields must be named, and once"


def boolean(value: Any) -> str:
    """True or false."""
    return "" if isinstance(value, bool) else "Invalid input: expected boolean"


def objects(value: Any) -> str:
    """A list of objects."""
    valid = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return "" if valid else "Invalid input: expected array of objects"


def some_objects(value: Any) -> str:
    """A list of at least one object."""
    return objects(value) or ("" if value else "Too small: expected at least 1 item")


def _rows(value: Any) -> str:
    if not isinstance(value, list):
        return "Invalid input: expected array"
    return "" if value else "Too small: expected at least 1 item"


_COMMON = {"data": _rows, "program_id": text, "operation_id": text, "set_name": text}
_BY_NAME = {
    **_COMMON,
    "key_field_names": _keys,
    "record_view_ids": _any,
    "record_view_id": text,
    "add_fields_to_record_view_ids": texts,
}
_BY_ID = {**_COMMON, "key_field_ids": _keys, "record_view_ids": texts}
