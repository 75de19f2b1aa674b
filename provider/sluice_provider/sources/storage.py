"""Paths and URLs in the storages that Airflow's ObjectStoragePath supports."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from sluice_provider.errors import InvalidInput

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

LOCAL = ("", "file", "local")
"""Protocols of paths on this machine."""
MISSING_SOURCE = ": the XCom, parameter or variable that it is taken from does not exist"
"""Why a path is None, or the string 'None', which is how a template renders None."""


def redact_url(path: str) -> str:
    """A URL without user, password and query, where presigned URLs have their signature."""
    if "://" not in path:
        return path
    parts = urlsplit(path)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def storage_path(path: str, argument: str) -> ObjectStoragePath:
    """A path in any storage that ObjectStoragePath supports.

    :param argument: the name of the argument, for error messages
    :raises InvalidInput: this worker does not support the storage
    """
    from airflow.sdk import ObjectStoragePath

    try:
        storage = ObjectStoragePath(path)
        _ = storage.fs  # raises an error if the protocol is not known
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"{argument}: {redact_url(path)}: {unsupported_storage(error, path)}") from None
    return storage


def unsupported_storage(error: Exception, path: str) -> str:
    """The message for an error of ObjectStoragePath, without secrets."""
    reason = str(error).replace(path, redact_url(path))
    return f"cannot be opened on this worker: {reason}. Check that the library or Airflow provider for it is installed"


def cannot_be_read(name: str, error: OSError) -> InvalidInput:
    """The error for a file that does not exist or cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return InvalidInput(f"{name}: no such file, or it is not accessible from this worker")
    return InvalidInput(f"{name}: cannot be read ({type(error).__name__})")
