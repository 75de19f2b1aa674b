"""The declarations of connection fields: forms, checks and documentation come from them."""

from __future__ import annotations

import json
import logging
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import sluice_provider
from sluice_provider.connection_fields import CONNECTION_TYPES, EXTRA_FIELDS, KALEIDOSCOPE, KILI, STANDARD
from sluice_provider.hooks import base
from sluice_provider.hooks.finspace import FinSpaceHook
from sluice_provider.hooks.kaleidoscope import KaleidoscopeHook
from sluice_provider.http.client_config import ConnectionFields

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_warnings_yet(monkeypatch):
    """Each test starts as a new process does."""
    monkeypatch.setattr(base, "_warned", set())


@pytest.fixture
def connect(monkeypatch, sluice_connections):
    """Changes the extra of the sandbox's Kaleidoscope connection."""

    def change(**extra):
        connection = json.loads(sluice_connections["kaleidoscope_default"])
        connection["extra"] = {**connection["extra"], **extra}
        monkeypatch.setenv("AIRFLOW_CONN_KALEIDOSCOPE_DEFAULT", json.dumps(connection))

    return change


# --- the form


def test_the_form_has_every_field():
    """Standard fields are relabelled or hidden, all others are fields of the form; secrets are shown as passwords."""
    described = {each["connection-type"]: each for each in sluice_provider.get_provider_info()["connection-types"]}
    assert described.keys() == CONNECTION_TYPES.keys()
    for conn_type, fields in CONNECTION_TYPES.items():
        shown = described[conn_type]
        assert set(shown["ui-field-behaviour"]["hidden-fields"]) == set(STANDARD) - set(fields)
        assert shown["conn-fields"].keys() == fields.keys() - set(STANDARD)
        for name, field in shown["conn-fields"].items():
            assert (field["schema"].get("format") == "password") is fields[name].secret
            assert "null" in field["schema"]["type"]
    assert described["kili"]["ui-field-behaviour"]["relabeling"] == {"host": "Endpoint", "password": "API key"}


def test_a_name_means_the_same_in_all_connection_types():
    """Parsing looks a field up by its name alone."""
    for fields in CONNECTION_TYPES.values():
        for name, field in fields.items():
            if name not in STANDARD:
                other = EXTRA_FIELDS[name]
                assert (field.type, field.default, field.secret) == (other.type, other.default, other.secret)


@pytest.mark.parametrize("field", EXTRA_FIELDS.values(), ids=lambda field: field.name)
def test_every_field_is_masked_if_it_is_secret(field):
    """What the declaration calls secret, and nothing else that is declared."""
    fields = ConnectionFields("c", extra={field.name: '{"a": "canary"}'})
    assert bool(fields.secrets()) is (field.secret or field.name == "extra_headers")


# --- unknown fields


@pytest.mark.parametrize(
    ("extra", "declared", "warnings"),
    [
        ({"verfy": False}, KALEIDOSCOPE, ["unknown field 'verfy' in Extra; did you mean 'verify'?"]),
        ({"Proxy": ""}, KILI, ["unknown field 'Proxy' in Extra; did you mean 'proxy'?"]),
        ({"owner": "us"}, KILI, ["unknown field 'owner' in Extra; it has no effect"]),
        ({"community": "x"}, KILI, ["unknown field 'community' in Extra; it has no effect"]),
        ({"web_url": "https://k"}, KILI, []),
        ({"__extra__": "{}", "extra__kili__proxy": None}, KILI, []),
    ],
)
def test_unknown_fields(extra, declared, warnings):
    """Each is named, with the most similar known one; what Airflow itself stores in an Extra is not."""
    found = ConnectionFields("lab", extra=extra).unknown(declared)
    assert found == [f"connection 'lab': {warning}" for warning in warnings]


def test_a_misspelt_field_is_a_warning(connect, caplog):
    """In the log once per process, and in the result of Test connection, which still succeeds."""
    connect(verfy=False)
    good, message = KaleidoscopeHook().test_connection()
    assert good
    assert message.endswith(
        "Warning: connection 'kaleidoscope_default': unknown field 'verfy' in Extra; did you mean 'verify'?"
    )
    KaleidoscopeHook().fields()
    assert [each.levelno for each in caplog.records if "verfy" in each.getMessage()] == [logging.WARNING]


def test_the_sandbox_uses_known_fields_only(connect, caplog):
    """Its connections give no warning."""
    connect()
    assert KaleidoscopeHook().test_connection()[0]
    assert "unknown field" not in caplog.text


def test_the_amazon_connection_is_not_checked(monkeypatch, caplog):
    """It belongs to the Amazon provider, which knows its fields."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": {"verfy": False}}))
    FinSpaceHook().fields()
    assert "unknown field" not in caplog.text


# --- documentation


def test_the_documentation_is_up_to_date():
    """docs/connections.md has the tables that tools/connection_docs.py makes; run it after a change."""
    spec = spec_from_file_location("connection_docs", ROOT / "tools" / "connection_docs.py")
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.PAGE.read_text()
    assert tool.updated(page) == page
    for conn_type in CONNECTION_TYPES:
        assert tool.table(conn_type) in page
