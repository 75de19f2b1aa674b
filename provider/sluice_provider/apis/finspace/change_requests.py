"""The changes of a kdb database that a changeset makes, in the API's own spelling (API version 2021-03-12)."""

from __future__ import annotations

from typing import TypedDict

MAX_REQUESTS = 32
"""Change requests in one changeset."""


class _RequiredMembers(TypedDict):
    changeType: str
    dbPath: str


class ChangeRequest(_RequiredMembers, total=False):
    """One change of a database."""

    s3Path: str


def put(s3_path: str, db_path: str) -> ChangeRequest:
    """Add or update: all files of a folder in S3 (which ends with a slash), or one file, are copied to a folder of the
    database."""
    return {"changeType": "PUT", "s3Path": s3_path, "dbPath": db_path}


def delete(db_path: str) -> ChangeRequest:
    """Delete the files under a path of the database."""
    return {"changeType": "DELETE", "dbPath": db_path}
