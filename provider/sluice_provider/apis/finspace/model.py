"""FinSpace's data in the API's own spelling (service model of API version 2021-03-12), with timestamps as datetimes."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from sluice_provider.apis.finspace.change_requests import ChangeRequest


class ErrorInfo(TypedDict, total=False):
    """Why a changeset failed; `errorType` is one of the service model's ErrorDetails."""

    errorMessage: str
    errorType: str


class Changeset(TypedDict, total=False):
    """A changeset. Listings leave out its requests and its error."""

    changesetId: str
    environmentId: str
    databaseName: str
    changeRequests: list[ChangeRequest]
    createdTimestamp: datetime
    activeFromTimestamp: datetime
    lastModifiedTimestamp: datetime
    status: str
    errorInfo: ErrorInfo


class Database(TypedDict, total=False):
    databaseName: str
    databaseArn: str
    environmentId: str
    description: str
    createdTimestamp: datetime
    lastModifiedTimestamp: datetime
    lastCompletedChangesetId: str
    numBytes: int
    numChangesets: int
    numFiles: int


class Environment(TypedDict, total=False):
    """The members that are used here; the service returns more."""

    environmentId: str
    name: str
    status: str
    createdTimestamp: datetime
    updateTimestamp: datetime
