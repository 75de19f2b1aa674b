"""The parts of Kili's data that this package uses, and the status of a connection as one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

from sluice_provider.apis.validation import check_strings
from sluice_provider.errors import InvalidInput
from sluice_provider.jobs import Job, JobState

MaskSecret = Callable[[str], object]
"""Called with a secret before it is used, so that it is masked in logs."""


class Viewer(TypedDict):
    id: str
    email: str


class Project(TypedDict):
    id: str
    title: str
    inputType: str


class Integration(TypedDict, total=False):
    """Only the requested fields are present."""

    id: str
    name: str
    platform: str
    status: str
    azureIsUsingServiceCredentials: bool | None
    azureSASToken: str | None
    azureConnectionURL: str | None


class DifferencesSummary(TypedDict):
    added: int | None
    removed: int | None
    total: int | None


class Connection(TypedDict, total=False):
    """Only the requested fields are present. Two of them have other names on older servers: see `FIELD_FALLBACKS`."""

    id: str
    projectId: str
    numberOfAssets: int | None
    selectedFolders: list[str] | None
    prefix: str | None
    include: list[str] | None
    exclude: list[str] | None
    isJsonProcessingEnabled: bool | None
    isChecking: bool | None
    isApplyingDataDifferences: bool | None
    lastCheck: str | None
    dataDifferencesSummary: DifferencesSummary | None
    dataIntegration: Integration | None


class ConnectionSettings(NamedTuple):
    """Which files of an integration a connection uses (kili `cloud_storage/mappers.py`).

    :param selected_folders: None is all folders, an empty list none
    :param prefix: one path that ends with a slash
    :param include: patterns of files to use
    :param exclude: patterns of files not to use; takes precedence over `include`
    """

    selected_folders: Sequence[str] | None = None
    prefix: str | None = None
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    is_json_processing_enabled: bool | None = None

    def validate(self) -> None:
        """:raises InvalidInput: a value has the wrong type or format"""
        for name in ("selected_folders", "include", "exclude"):
            check_strings(name, getattr(self, name), empty=True)
        if self.prefix is not None and (not self.prefix.endswith("/") or "*" in self.prefix):
            raise InvalidInput(f"prefix must be one path that ends with a slash, without '*', not {self.prefix!r}")

    def match(self, connection: Connection) -> bool:
        """Whether a connection has these settings. Kili may return an omitted value as null or as an empty list."""
        folders, json_processing = self.selected_folders, self.is_json_processing_enabled
        if (None if folders is None else list(folders)) != connection.get("selectedFolders"):
            return False
        if json_processing is not None and json_processing != bool(connection.get("isJsonProcessingEnabled")):
            return False
        return (
            (self.prefix or None) == (connection.get("prefix") or None)
            and sorted(self.include or ()) == sorted(connection.get("include") or ())
            and sorted(self.exclude or ()) == sorted(connection.get("exclude") or ())
        )


class ConnectionStatus(NamedTuple):
    """The status of a connection.

    :param checking: Kili is computing the differences
    :param applying: Kili is applying differences; None if the server does not report it
    :param last_check: when the differences were last computed, in the server's format; "" if never
    :param total: the number of differences
    """

    id: str
    project_id: str
    checking: bool
    applying: bool | None
    last_check: str
    assets: int
    to_add: int
    to_remove: int
    total: int

    @property
    def activity(self) -> str:
        """What Kili is doing; "" if the connection is idle."""
        return "computing differences" if self.checking else "applying differences" if self.applying else ""

    @property
    def counts(self) -> dict[str, int]:
        return {"assets": self.assets, "to_add": self.to_add, "to_remove": self.to_remove, "total": self.total}

    def as_job(self, state: JobState, service_status: str, message: str = "", **counts: int) -> Job:
        return Job(self.id, state, service_status, message, {**self.counts, **counts})
