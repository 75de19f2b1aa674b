"""What is in an Azure container behind service credentials, which Kili cannot list by itself.

The rules, and their order, are those of the vendor's client (kili 26.2.4, `use_cases/cloud_storage/azure.py`). Rests on
azure-storage-blob (extra `azure`), whose listing comes page by page; only names and types of what is wanted are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from sluice_provider.errors import ClientError, InvalidInput, PermissionDenied, ServerError, SluiceError, Unreachable

TYPES: Mapping[str, tuple[str, ...]] = {
    "IMAGE": ("image",),
    "VIDEO": ("video",),
    "PDF": ("application/pdf",),
    "TEXT": ("application/json", "text/plain", "text/html", "text/csv", "text/xml"),
}
"""What a project of an input type can show, by the beginning of the content type."""

NO_TYPE = "Objects with missing content-type were ignored"
OTHER_TYPE = "Objects with unsupported content-type for this type of project were ignored"

Blob = tuple[str, "str | None"]
"""Name and content type."""


def payload(connection: Mapping[str, Any], input_type: str, conceal: Callable[[str], object]) -> dict[str, list[str]]:
    """What `computeDifferences` wants to be told of the container. Blocks.

    :raises InvalidInput: the integration does not let its credentials be read, or no such project can be filled
    """
    integration = connection["dataIntegration"]
    sas, url = integration.get("azureSASToken"), integration.get("azureConnectionURL")
    for shown in _shown(sas) if sas else ():
        conceal(shown)
    if not sas or not url:
        raise InvalidInput(
            f"the integration {integration.get('id')!r} uses Azure service credentials, and its azureSASToken and "
            "azureConnectionURL cannot both be read with this API key"
        )
    if input_type not in TYPES:
        raise InvalidInput(
            f"a project of type {input_type!r} cannot be filled from Azure; it can be {', '.join(TYPES)}"
        )
    blobs = _list_blobs(url, sas, connection.get("prefix"))
    return choose(wanted(blobs, connection), TYPES[input_type])


def wanted(blobs: Iterable[Blob], connection: Mapping[str, Any]) -> Iterator[Blob]:
    """Those that the connection is for. The prefix was applied by Azure; folders count only without one."""
    folders = connection.get("selectedFolders") if connection.get("prefix") is None else None
    include, exclude = (_patterns(connection.get(name)) for name in ("include", "exclude"))
    for name, content_type in blobs:
        if folders is not None and not any(name.startswith(folder) for folder in folders):
            continue
        if include and not any(pattern.match(name) for pattern in include):
            continue
        if not any(pattern.match(name) for pattern in exclude):
            yield name, content_type


def choose(blobs: Iterable[Blob], types: Sequence[str]) -> dict[str, list[str]]:
    """Those that the project can show, and why others are missing."""
    paths: list[str] = []
    content_types: list[str] = []
    warnings: set[str] = set()
    for name, content_type in blobs:
        if not content_type:
            warnings.add(NO_TYPE)
        elif not content_type.startswith(tuple(types)):
            warnings.add(OTHER_TYPE)
        else:
            paths.append(name)
            content_types.append(content_type)
    return {"blobPaths": paths, "contentTypes": content_types, "warnings": sorted(warnings)}


def _patterns(patterns: Sequence[str] | None) -> list[re.Pattern[str]]:
    """Without a star, a beginning; with one, the whole name, each star at least one of any characters."""
    return [
        re.compile("^" + ".+".join(map(re.escape, each.split("*"))) + ("$" if "*" in each else ""))
        for each in patterns or ()
    ]


def _shown(sas: str) -> set[str]:
    """The token as it may turn up somewhere: whole, and its signature in both ways of writing it."""
    signature = next((part[4:] for part in sas.lstrip("?").split("&") if part.startswith("sig=")), "")
    plain = unquote(signature)
    return {sas, sas.lstrip("?"), signature, plain, quote(plain, safe="")} - {""}


def _list_blobs(url: str, sas: str, prefix: str | None) -> Iterator[Blob]:
    account, container = _split(url)
    try:
        from azure.core.exceptions import AzureError, HttpResponseError
        from azure.storage.blob import ContainerClient
    except ImportError:
        raise InvalidInput(
            "the integration uses Azure service credentials, so its container is listed from here, which needs "
            "azure-storage-blob: pip install 'airflow-provider-sluice[azure]'"
        ) from None
    trouble: SluiceError | None = None
    try:
        with ContainerClient(account, container, credential=sas.lstrip("?")) as client:
            for blob in client.list_blobs(name_starts_with=prefix):
                yield blob.name, getattr(blob.content_settings, "content_type", None)
    except HttpResponseError as error:
        trouble = _refused(container, error.status_code, str(getattr(error, "error_code", None) or "no reason given"))
    except AzureError as error:
        trouble = Unreachable(f"listing the Azure container {container!r}: {type(error).__name__}", maybe_applied=False)
    if trouble:  # raised out here, as Azure's error holds the URL and so the token, and would come along as its context
        raise trouble


def _split(url: str) -> tuple[str, str]:
    """Account and container of `https://<account>.blob.core.windows.net/<container>`, or of a path-style address."""
    parts = urlsplit(url)
    path, _, container = parts.path.strip("/").rpartition("/")
    if parts.scheme not in ("http", "https") or not parts.hostname or not container:
        raise InvalidInput("the integration's azureConnectionURL is not the URL of a container")
    return f"{parts.scheme}://{parts.netloc}/{path}".rstrip("/"), container


def _refused(container: str, status: int | None, code: str) -> SluiceError:
    words = f"Azure answered {status} to listing the container {container!r}: {code}"
    if status in (401, 403):
        return PermissionDenied(words, status=status)
    if status is not None and status < 500:
        return ClientError(words, status=status)
    broken = ServerError(words, status=status)
    broken.maybe_applied = False  # Kili was not asked for anything yet
    return broken
