"""Assets in the services: their URIs, and their names in OpenLineage.

    kaleidoscope://api.kaleidoscope.bio/operations/<id>         also programs, sources and files/<id>, and records alone
    kili://cloud.kili-technology.com/projects/<id>
    liquid-decisions://your-company.example.com/item-types/<name>
    finspace://finspace.eu-west-1.amazonaws.com/environments/<id>/databases/<name>

The host is the API's. Characters other than letters, digits, `-`, `.`, `_` and `~` are percent-encoded. OpenLineage's
namespace is the part before the path, its name is the path, so an asset and its dataset are recognisably the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from openlineage.client.event_v2 import Dataset

PATHS: Mapping[str, Sequence[Sequence[str]]] = {
    "kaleidoscope": (("operations", "*"), ("programs", "*"), ("sources", "*"), ("files", "*"), ("records",)),
    "kili": (("projects", "*"),),
    "liquid-decisions": (("item-types", "*"),),
    "finspace": (("environments", "*", "databases", "*"),),
}
"""The allowed paths; `*` is an id or a name."""


def uri(scheme: str, address: str, *segments: str) -> str:
    """The URI of an asset in a service.

    :param address: the API's URL or host
    :param segments: as in `PATHS`, with ids and names not encoded
    """
    netloc = urlsplit(address if "://" in address else f"//{address}").netloc
    host = netloc.rpartition("@")[2].lower().removesuffix(":443")
    return f"{scheme}://{host}/{'/'.join(quote(segment, safe='~') for segment in segments)}"


def create_asset(
    *, scheme: str, host: str, segments: Sequence[str], name: str | None = None, extra: dict[str, Any] | None = None
) -> Asset:
    """`create_asset(scheme="kili", host="cloud.kili-technology.com", segments=["projects", "cl..."])`"""
    from airflow.sdk import Asset

    asset_uri = uri(scheme, host, *segments)
    return Asset(name=name or asset_uri, uri=asset_uri, extra=extra or {})


def sanitize_uri(parts: SplitResult) -> SplitResult:
    """The normalised URI. Airflow calls this for each asset in a DAG file.

    :raises ValueError: the URI is not one of the service's; the message has the supported forms
    """
    segments = [unquote(segment) for segment in parts.path.split("/") if segment]
    known = PATHS[parts.scheme]
    if not parts.hostname or parts.query or not any(_matches(segments, path) for path in known):
        forms = " or ".join(f"{parts.scheme}://<host>/{'/'.join(path).replace('*', '<id>')}" for path in known)
        raise ValueError(f"{parts.geturl()!r} is not a valid asset URI; it must have the form {forms}")
    return urlsplit(uri(parts.scheme, parts.netloc, *segments))


def _matches(segments: Sequence[str], path: Sequence[str]) -> bool:
    return len(segments) == len(path) and all(part in ("*", each) for part, each in zip(path, segments, strict=True))


def dataset_of(asset_uri: str) -> tuple[str, str]:
    """The OpenLineage namespace and name of an asset's URI."""
    parts = urlsplit(asset_uri)
    return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """Called by Airflow's OpenLineage provider if such an asset is an inlet or an outlet."""
    del lineage_context
    from sluice_provider.compat import Dataset

    namespace, name = dataset_of(asset.uri)
    return Dataset(namespace=namespace, name=name)
