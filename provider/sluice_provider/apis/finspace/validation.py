"""FinSpace's rules for arguments, checked before anything is sent.

Lengths and patterns are those of the service model (API version 2021-03-12); that a database path starts and ends with
a slash is a rule of the API reference (CreateKxChangeset, ChangeRequest).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sluice_provider.apis.validation import check_string
from sluice_provider.errors import InvalidInput

MEMBERS = ("changeType", "s3Path", "dbPath")
CHANGE_TYPES = ("PUT", "DELETE")


class Rule(NamedTuple):
    """
    :param pattern: compiled when it is first used, as every DAG file imports this module
    :param description: of the pattern, for error messages
    """

    min_length: int
    max_length: int
    pattern: str
    description: str

    def check(self, name: str, value: object) -> str:
        """:raises InvalidInput: naming the rule"""
        text = check_string(name, value)
        if not self.min_length <= len(text) <= self.max_length:
            raise InvalidInput(
                f"{name} must have {self.min_length} to {self.max_length} characters, not {len(text)}: {text!r:.100}"
            )
        if not re.fullmatch(self.pattern, text):
            raise InvalidInput(f"{name} must be {self.description}, not {text!r:.200}")
        return text


NAME = r"[a-zA-Z0-9][a-zA-Z0-9_-]*[a-zA-Z0-9]"
ENVIRONMENT_ID = Rule(1, 32, r"(?s:.)*\S(?s:.)*", "an id that is not blank")
DATABASE_NAME = Rule(3, 63, NAME, "letters, digits, - and _, with a letter or digit at both ends")
LISTED_ID = Rule(1, 26, r"[a-zA-Z0-9]+", "letters and digits")
CHANGESET_ID = LISTED_ID
CLIENT_TOKEN = Rule(1, 64, r"[a-zA-Z0-9-]+", "letters, digits and -")
DESCRIPTION = Rule(1, 1000, r"[a-zA-Z0-9. ]+", "letters, digits, spaces and dots")
TAG_KEY = Rule(1, 128, r"(?!aws:)[a-zA-Z+-=._:/]+", "letters, digits and + - = . _ : /, and not start with aws:")
TAG_VALUE = Rule(1, 256, r"[a-zA-Z0-9+-=._:@ ]+", "letters, digits, spaces and + - = . _ : @")
S3_PATH = Rule(
    9,
    1093,
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/([^/]+/)*[^/]*",
    "s3://bucket/ and a key: a folder ends with a slash, a file does not, and no part of it is empty",
)
DB_PATH = Rule(
    1,
    1025,
    r"\**[/?*]([^/]+/){0,2}[^/]*",
    "a path with a slash at both ends and at most two folders, like /2020.01.02/ or /",
)


def check_requests(requests: object, max_requests: int | None = None) -> None:
    """
    :param requests: change requests in the API's own spelling
    :raises InvalidInput: naming the index and the rule
    """
    if isinstance(requests, (str, bytes, Mapping)) or not isinstance(requests, Sequence):
        raise InvalidInput(f"change_requests must be a list of dicts, not {type(requests).__name__}")
    if not requests:
        raise InvalidInput("change_requests is empty: a changeset needs at least one change request")
    if max_requests is not None and len(requests) > max_requests:
        raise InvalidInput(f"a changeset can have at most {max_requests} change requests, not {len(requests)}")
    for index, request in enumerate(requests):
        _check_request(f"change_requests[{index}]", request)


def _check_request(name: str, request: Any) -> None:
    if not isinstance(request, Mapping):
        raise InvalidInput(f"{name} must be a dict, not {type(request).__name__}")
    unknown = [member for member in request if member not in MEMBERS]
    if unknown:
        raise InvalidInput(f"{name} has the unknown member {unknown[0]!r}; supported are {', '.join(MEMBERS)}")
    change = request.get("changeType")
    if change not in CHANGE_TYPES:
        raise InvalidInput(f"{name}: changeType must be PUT or DELETE, not {change!r}")
    path = DB_PATH.check(f"{name}: dbPath", request.get("dbPath"))
    if not (path.startswith("/") and path.endswith("/")) and not any(wild in path for wild in "*?"):
        raise InvalidInput(f"{name}: dbPath must start and end with a slash, not {path!r:.200}")
    if change == "PUT" and request.get("s3Path") is None:
        raise InvalidInput(f"{name}: a PUT requires an s3Path")
    if request.get("s3Path") is not None:
        S3_PATH.check(f"{name}: s3Path", request["s3Path"])


def check_database(environment_id: object, database_name: object) -> None:
    """:raises InvalidInput: naming the rule"""
    ENVIRONMENT_ID.check("environment_id", environment_id)
    DATABASE_NAME.check("database_name", database_name)


def check_tags(tags: object) -> None:
    """:raises InvalidInput: naming the tag"""
    if not isinstance(tags, Mapping) or not 1 <= len(tags) <= 50:
        raise InvalidInput("tags must be a dict of 1 to 50 strings")
    for key, value in tags.items():
        TAG_KEY.check(f"tags: the key {key!r:.140}", key)
        TAG_VALUE.check(f"tags[{key!r}]", value)
