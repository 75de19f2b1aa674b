"""Assets in the services have one spelling each, and OpenLineage uses the same names."""

from __future__ import annotations

import pytest
from airflow.sdk import Asset

from sluice_provider.assets import PATHS, convert_asset_to_openlineage, create_asset, dataset_of, uri

SPELLINGS = [
    ("kaleidoscope://API.kaleidoscope.bio:443/operations/op-1/", "kaleidoscope://api.kaleidoscope.bio/operations/op-1"),
    ("kaleidoscope://127.0.0.1:8765/records", "kaleidoscope://127.0.0.1:8765/records"),
    ("kili://cloud.kili-technology.com//projects/cl1", "kili://cloud.kili-technology.com/projects/cl1"),
    ("liquid-decisions://acme.example.com/item-types/Work Order", "liquid-decisions://acme.example.com/item-types/Work%20Order"),
    ("liquid-decisions://acme.example.com/item-types/Work%20Order", "liquid-decisions://acme.example.com/item-types/Work%20Order"),
    ("finspace://finspace.eu-west-1.amazonaws.com/environments/e1/databases/ticks",) * 2,
    ("kaleidoscope://somebody@api.kaleidoscope.bio/operations/op-1", "kaleidoscope://api.kaleidoscope.bio/operations/op-1"),
]  # fmt: skip

WRONG = [
    "kaleidoscope://api.kaleidoscope.bio/experiments/op-1",
    "kaleidoscope://api.kaleidoscope.bio/operations",
    "kaleidoscope:///operations/op-1",
    "kili://cloud.kili-technology.com/",
    "kili://cloud.kili-technology.com/projects/cl1/assets",
    "liquid-decisions://acme.example.com/item-types/Contact?community=x",
    "finspace://finspace.eu-west-1.amazonaws.com/databases/ticks",
]


@pytest.mark.parametrize(("written", "meant"), SPELLINGS)
def test_normalised_uris(written, meant):
    """Airflow itself finds the rules by the provider's description, and uses them."""
    assert Asset(written).uri == meant
    assert Asset(meant).uri == meant


@pytest.mark.parametrize("written", WRONG)
def test_invalid_uris(written):
    """Is refused where the DAG is written, with what would be one."""
    with pytest.raises(ValueError, match=r"it must have the form .*://<host>/"):
        Asset(written)


@pytest.mark.parametrize(
    ("scheme", "segments"), [(scheme, shape) for scheme, paths in PATHS.items() for shape in paths]
)
def test_lineage_uses_the_same_names(scheme, segments):
    """Namespace and name, put together, are the URI: for whatever may be named, also with odd letters in it."""
    pytest.importorskip("airflow.providers.openlineage")
    named = [segment.replace("*", "a/b c") for segment in segments]
    asset = create_asset(scheme=scheme, host="api.example.com", segments=named)
    dataset = convert_asset_to_openlineage(asset, None)
    assert f"{dataset.namespace}/{dataset.name}" == asset.uri == uri(scheme, "https://api.example.com/base", *named)
    assert (dataset.namespace, dataset.name) == dataset_of(asset.uri)
