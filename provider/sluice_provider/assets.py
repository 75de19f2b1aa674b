"""Assets on the remotes: what their URIs look like, and what OpenLineage calls them.

    kaleidoscope://api.kaleidoscope.bio/operations/<id>         also programs, sources and files/<id>, and records alone
    kili://cloud.kili-technology.com/projects/<id>
    liquid-decisions://your-company.example.com/item-types/<name>
    finspace://finspace.eu-west-1.amazonaws.com/environments/<id>/databases/<name>

The host is the API's. Names are kept apart by percent signs where they hold more than letters, digits, `-`, `.`, `_`
and `~`. OpenLineage's namespace is what comes before the path, its name is the path, so that an asset in a schedule and
a dataset in lineage can be seen to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from openlineage.client.event_v2 import Dataset

SHAPES: Mapping[str, Sequence[Sequence[str]]] = {
    "kaleidoscope": (("operations", "*"), ("programs", "*"), ("sources", "*"), ("files", "*"), ("records",)),
    "kili": (("projects", "*"),),
    "liquid-decisions": (("item-types", "*"),),
    "finspace": (("environments", "*", "databases", "*"),),
}
"""What may follow the host; a star is an id or a name."""


def uri(scheme: str, address: str, *segments: str) -> str:
    """The URI of something on a remote.

    :param address: the API's, as a URL or a host
    :param segments: as in `SHAPES`, with the ids and names as they are
    """
    netloc = urlsplit(address if "://" in address else f"//{address}").netloc
    host = netloc.rpartition("@")[2].lower().removesuffix(":443")
    return f"{scheme}://{host}/{'/'.join(quote(segment, safe='~') for segment in segments)}"


def create_asset(
    *, scheme: str, host: str, segments: Sequence[str], name: str | None = None, extra: dict[str, Any] | None = None
) -> Asset:
    """`create_asset(scheme="kili", host="cloud.kili-technology.com", segments=["projects", "cl..."])`"""
    from airflow.sdk import Asset

    place = uri(scheme, host, *segments)
    return Asset(name=name or place, uri=place, extra=extra or {})


def sanitize_uri(parts: SplitResult) -> SplitResult:
    """One spelling for each asset; Airflow asks for it when a DAG file names one.

    :raises ValueError: for a URI that is none of the remote's, with those that are
    """
    segments = [unquote(segment) for segment in parts.path.split("/") if segment]
    known = SHAPES[parts.scheme]
    if not parts.hostname or parts.query or not any(_fits(segments, shape) for shape in known):
        shapes = " or ".join(f"{parts.scheme}://<host>/{'/'.join(shape).replace('*', '<id>')}" for shape in known)
        raise ValueError(f"not an asset of this remote: {parts.geturl()!r}; it must look like {shapes}")
    return urlsplit(uri(parts.scheme, parts.netloc, *segments))


def _fits(segments: Sequence[str], shape: Sequence[str]) -> bool:
    return len(segments) == len(shape) and all(part in ("*", each) for part, each in zip(shape, segments, strict=True))


def dataset_of(place: str) -> tuple[str, str]:
    """OpenLineage's namespace and name of a URI as above."""
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """Airflow's OpenLineage provider asks for this when such an asset is an inlet or an outlet."""
    del lineage_context
    from sluice_provider.compat import Dataset

    namespace, name = dataset_of(asset.uri)
    return Dataset(namespace=namespace, name=name)
