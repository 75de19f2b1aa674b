"""Lists an Azure container that uses service credentials, which Kili cannot list itself.

The rules and their order are those of the vendor's client (kili 26.2.4, `use_cases/cloud_storage/azure.py`). Requires
azure-storage-blob (extra `azure`). It lists page by page; only the names and content types of matching blobs are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict
from urllib.parse import quote, unquote, urlsplit

from sluice_provider.apis.kili.model import Connection, Integration, MaskSecret
from sluice_provider.errors import ClientError, InvalidInput, PermissionDenied, ServerError, SluiceError, Unreachable

TYPES: Mapping[str, tuple[str, ...]] = {
    "IMAGE": ("image",),
    "VIDEO": ("video",),
    "PDF": ("application/pdf",),
    "TEXT": ("application/json", "text/plain", "text/html", "text/csv", "text/xml"),
}
"""Prefixes of the content types that a project of each input type accepts."""

NO_TYPE = "Objects with missing content-type were ignored"
OTHER_TYPE = "Objects with unsupported content-type for this type of project were ignored"

RESULT_HOSTS = "*.blob.core.windows.net, *.blob.core.usgovcloudapi.net, *.blob.core.chinacloudapi.cn"
"""Azure's own hosts, to which Kili's connection URL may lead without being listed in the connection."""

NETLOC = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?"
"""Host and port that all URL parsers read in the same way: the one that is checked, and the one of Azure's client."""

Blob = tuple[str, "str | None"]
"""Name and content type."""


class Listing(TypedDict):
    """The listing of a container as `computeDifferences` expects it."""

    blobPaths: list[str]
    contentTypes: list[str]
    warnings: list[str]


def list_container(connection: Connection, input_type: str, mask_secret: MaskSecret) -> Listing:
    """The blobs of a connection's container. Blocks.

    :raises InvalidInput: the integration's credentials are not readable, or projects of this type cannot use Azure
    """
    integration = connection.get("dataIntegration") or Integration()
    sas, url = integration.get("azureSASToken"), integration.get("azureConnectionURL")
    for secret in _secret_variants(sas) if sas else ():
        mask_secret(secret)
    if not sas or not url:
        raise InvalidInput(
            f"Kili integration {integration.get('id')!r} uses Azure service credentials, but this API key cannot read "
            "both its azureSASToken and its azureConnectionURL. Use the API key of an organization admin"
        )
    if input_type not in TYPES:
        raise InvalidInput(
            f"Kili project {connection.get('projectId')!r} has the input type {input_type!r}, which cannot be imported "
            f"from Azure; supported are {', '.join(TYPES)}"
        )
    blobs = _list_blobs(url, sas, connection.get("prefix"))
    return azure_payload(filter_blobs(blobs, connection), TYPES[input_type])


def filter_blobs(blobs: Iterable[Blob], connection: Connection) -> Iterator[Blob]:
    """The blobs that match the connection's settings. Azure has applied the prefix; folders count only without one."""
    folders = connection.get("selectedFolders") if connection.get("prefix") is None else None
    include, exclude = _patterns(connection.get("include")), _patterns(connection.get("exclude"))
    for name, content_type in blobs:
        if folders is not None and not any(name.startswith(folder) for folder in folders):
            continue
        if include and not any(pattern.match(name) for pattern in include):
            continue
        if not any(pattern.match(name) for pattern in exclude):
            yield name, content_type


def azure_payload(blobs: Iterable[Blob], types: Sequence[str]) -> Listing:
    """The blobs whose content type the project accepts, with a warning for each reason why others were left out."""
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
    """A pattern without `*` is a prefix; with it, it matches the whole name, where `*` is one or more characters."""
    return [
        re.compile("^" + ".+".join(map(re.escape, each.split("*"))) + ("$" if "*" in each else ""))
        for each in patterns or ()
    ]


def _secret_variants(sas: str) -> set[str]:
    """All forms in which the token may appear in a log: the whole token, and its signature, quoted and unquoted."""
    signature = next((part[4:] for part in sas.lstrip("?").split("&") if part.startswith("sig=")), "")
    unquoted = unquote(signature)
    return {sas, sas.lstrip("?"), signature, unquoted, quote(unquoted, safe="")} - {""}


def _list_blobs(url: str, sas: str, prefix: str | None) -> Iterator[Blob]:
    account, container = _split_container_url(url)
    try:
        from azure.core.exceptions import AzureError, HttpResponseError
        from azure.storage.blob import ContainerClient
    except ImportError:
        raise InvalidInput(
            "the Kili integration uses Azure service credentials, so its container is listed from here. This requires "
            "azure-storage-blob: pip install 'airflow-provider-sluice[azure]'"
        ) from None
    failure: SluiceError | None = None
    try:
        with ContainerClient(account, container, credential=sas.lstrip("?"), permit_redirects=False) as client:
            for blob in client.list_blobs(name_starts_with=prefix):
                yield blob.name, getattr(blob.content_settings, "content_type", None)
    except HttpResponseError as error:
        failure = _listing_error(
            container, error.status_code, str(getattr(error, "error_code", None) or "no reason given")
        )
    except AzureError as error:
        failure = Unreachable(f"listing the Azure container {container!r}: {type(error).__name__}", maybe_applied=False)
    if failure:  # raised here: Azure's error contains the URL with the token, and must not become its __context__
        raise failure


def _split_container_url(url: str) -> tuple[str, str]:
    """Account and container of `https://<account>.blob.core.windows.net/<container>`, or of a path-style address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidInput("the Kili integration's azureConnectionURL is not a URL") from None
    path, _, container = parts.path.strip("/").rpartition("/")
    if parts.scheme not in ("http", "https") or not re.fullmatch(NETLOC, parts.netloc) or not container:
        raise InvalidInput("the Kili integration's azureConnectionURL is not the URL of an Azure container")
    return f"{parts.scheme}://{parts.netloc}/{path}".rstrip("/"), container


def _listing_error(container: str, status: int | None, code: str) -> SluiceError:
    message = f"listing the Azure container {container!r} failed with status {status}: {code}"
    if status in (401, 403):
        return PermissionDenied(message, status=status)
    if status is not None and status < 500:
        return ClientError(message, status=status)
    error = ServerError(message, status=status)
    error.maybe_applied = False  # nothing was sent to Kili yet
    return error
